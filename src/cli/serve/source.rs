//! Where settings come from, so that they can be read again while the server runs.

use std::path::{Path, PathBuf};

use super::looks::Looks;
use crate::config::{ConfigError, FILE_NAME, File, Settings};

/// The site file of an installed server, used in folders that are no site themselves.
const INSTALLED: &str = "/etc/bivouac/site.toml";

/// A site file, and the flags that override it.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Source {
    /// The file that was named; nothing for that of the working folder, which need not be there.
    named: Option<PathBuf>,
    flags: File,
    /// What the file looked like before it was read.
    seen: Looks,
}

impl Source {
    /// What `--site` names; else the working folder, when it has a site file or profiles; else the installed server.
    pub(in crate::cli) fn new(named: Option<PathBuf>, flags: File) -> Self {
        let named = named.or_else(|| installed(Path::new(""), Path::new(INSTALLED)));
        let seen = Looks::of_file(named.as_deref().unwrap_or(Path::new(FILE_NAME)));
        Self { named, flags, seen }
    }

    /// The file that is read, if it is there.
    pub(super) fn file(&self) -> &Path {
        self.named.as_deref().unwrap_or(Path::new(FILE_NAME))
    }

    /// What it looked like before it was read.
    pub(super) fn seen(&self) -> Looks {
        self.seen.clone()
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it cannot be read or used.
    pub(in crate::cli) fn read(&self) -> Result<Settings, ConfigError> {
        Settings::load(self.named.as_deref(), self.flags.clone())
    }

    /// Reads it again. A file that was there and is gone is an error: nobody means to lose all settings at once.
    ///
    /// # Errors
    /// When it cannot be read or used.
    pub(super) fn read_again(&self, was_there: bool) -> Result<Settings, ConfigError> {
        let path = was_there.then(|| self.file()).or(self.named.as_deref());
        Settings::load(path, self.flags.clone())
    }
}

/// The site file of the installed server, if it is to be used in `folder`.
fn installed(folder: &Path, file: &Path) -> Option<PathBuf> {
    let is_site = folder.join(FILE_NAME).exists() || folder.join("profiles").is_dir();
    (!is_site && file.exists()).then(|| file.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_server_is_meant_only_where_there_is_no_other_site() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("site.toml");
        let work = folder.path().join("work");
        std::fs::create_dir(&work).unwrap();
        assert_eq!(installed(&work, &file), None, "it is not there");
        std::fs::write(&file, "").unwrap();
        assert_eq!(installed(&work, &file), Some(file.clone()));
        std::fs::write(work.join(FILE_NAME), "").unwrap();
        assert_eq!(installed(&work, &file), None);
        std::fs::remove_file(work.join(FILE_NAME)).unwrap();
        std::fs::create_dir(work.join("profiles")).unwrap();
        assert_eq!(installed(&work, &file), None);
    }
}
