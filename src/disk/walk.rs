//! What lies below a folder, in an order that depends on the names alone.

use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::DiskError;

/// One thing below the folder walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its path from that folder on.
    pub relative: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// What a [`Found`] is. Links are never followed, so a link to a folder is a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, to anything or nothing.
    Link,
    /// A device, pipe or socket.
    Special,
}

/// Everything below `root`, folders before their content, siblings by the bytes of their names.
///
/// # Errors
/// When `root` or a folder below it cannot be read.
pub fn walk(root: &Path) -> Result<Vec<Found>, DiskError> {
    let mut found = Vec::new();
    for entry in WalkDir::new(root).min_depth(1).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            let source = error.into_io_error().unwrap_or_else(|| io::Error::other("a folder contains itself"));
            DiskError::Io { action: "list", path, source }
        })?;
        let kind = match entry.file_type() {
            it if it.is_file() => Kind::File,
            it if it.is_dir() => Kind::Folder,
            it if it.is_symlink() => Kind::Link,
            _ => Kind::Special,
        };
        let relative = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_owned();
        found.push(Found { relative, kind });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_order_is_by_name_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("b/deep")).unwrap();
        for name in ["c", "a", "b/z", "b/deep/x"] {
            fs::write(root.join(name), b"").unwrap();
        }
        symlink("b", root.join("link")).unwrap();
        let found: Vec<_> =
            walk(root).unwrap().into_iter().map(|it| (it.relative.to_str().unwrap().to_owned(), it.kind)).collect();
        let expected = [
            ("a", Kind::File),
            ("b", Kind::Folder),
            ("b/deep", Kind::Folder),
            ("b/deep/x", Kind::File),
            ("b/z", Kind::File),
            ("c", Kind::File),
            ("link", Kind::Link),
        ];
        assert_eq!(found, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }

    #[test]
    fn a_missing_folder_is_named() {
        assert_eq!(walk(Path::new("/nowhere")).unwrap_err().to_string(), "cannot list /nowhere");
    }
}
