//! Where the iPXE binaries of a site are.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::config::Settings;
use crate::disk;
use crate::serve::loaders::{DEFAULT_FOLDERS, Loaders};

/// The loaders machines of this site are handed: those added to it, then those of the folder the site file names or of
/// the distribution, with the site's rules.
pub(super) fn find(settings: &Settings) -> anyhow::Result<Loaders> {
    let folders: Vec<PathBuf> = match &settings.loaders {
        Some(folder) => {
            disk::list(folder).context("the folder of loaders cannot be used")?;
            vec![folder.clone()]
        }
        None => DEFAULT_FOLDERS.iter().map(PathBuf::from).collect(),
    };
    Ok(Loaders::find(&settings.own_loaders(), &folders).with_rules(settings.loader_rules.clone()))
}
