//! Whether every service that a machine starts is there once its packages are (OVL-26, SVC-3). The lint guesses before
//! there are packages; this knows.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::lint::covers;
use super::{BuildError, Recipe};
use crate::apk::PackageFile;
use crate::disk;
use crate::model::manifest::PackageEntry;
use crate::model::name::nearest;
use crate::wire::apkovl::Tree;

/// The folder of service scripts, and that of runlevels, relative to the machine's root.
const SCRIPTS: &str = "etc/init.d/";
const RUNLEVELS: &str = "etc/runlevels/";

/// The rule's id, by which a profile may allow what is found.
const RULE: &str = "OVL-26";

/// Refuses a service whose script neither the overlay nor a package brings. The packages are read one after the other
/// until nothing is missing, those first that are likely to have services.
pub(super) fn check(recipe: &Recipe, tree: &Tree, packages: &[(PackageEntry, PathBuf)]) -> Result<(), BuildError> {
    let is_allowed = |path: &str| recipe.allowed.iter().any(|allow| allow.rule == RULE && covers(allow, Some(path)));
    let mut missing: BTreeSet<&str> = tree
        .iter()
        .filter(|(path, _)| !is_allowed(path))
        .filter_map(|(path, _)| path.strip_prefix(RUNLEVELS)?.split_once('/').map(|(_, name)| name))
        .filter(|name| !name.contains('/') && tree.get(&format!("{SCRIPTS}{name}")).is_none())
        .collect();
    let mut known = BTreeSet::new();
    let mut likely: Vec<&(PackageEntry, PathBuf)> = packages.iter().collect();
    likely.sort_by_key(|(package, _)| !(package.name == "openrc" || package.name.ends_with("-openrc")));
    for (package, path) in likely {
        if missing.is_empty() {
            return Ok(());
        }
        let bytes = disk::read_bounded(path, package.size)?;
        let failed = |source| BuildError::Unreadable { name: package.file_name(), source };
        for name in PackageFile::read(&bytes).map_err(failed)?.names(SCRIPTS).map_err(failed)? {
            missing.remove(name.as_str());
            known.insert(name);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let each = missing.iter().map(|name| match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("`{name}` (did you mean `{near}`?)"),
        None => format!("`{name}`"),
    });
    Err(BuildError::NoService { profile: recipe.name.clone(), services: each.collect::<Vec<_>>().join(", ") })
}
