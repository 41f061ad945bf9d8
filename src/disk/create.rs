//! New files, folders and links, of which none replaces or follows what is there.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::Path;

use super::{DiskError, failed, folder_of, sync_folder};

/// Writes a file that is not there yet, with these permission bits less the umask, and writes it back.
///
/// # Errors
/// When something has the name, a link to nowhere included, or the system refuses.
pub fn create_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write", path))
}

/// Makes a folder that is not there yet, with these permission bits less the umask.
///
/// # Errors
/// As [`create_file`].
pub fn create_folder(path: &Path, mode: u32) -> Result<(), DiskError> {
    DirBuilder::new().mode(mode).create(path).map_err(failed("create the folder", path))
}

/// Makes a symbolic link that is not there yet.
///
/// # Errors
/// As [`create_file`].
pub fn create_link(path: &Path, target: &str) -> Result<(), DiskError> {
    symlink(target, path).map_err(failed("create the link", path))
}

/// Gives a folder another name, which nothing has that is not an empty folder, and makes that survive a power cut.
///
/// # Errors
/// When something has the name, or the system refuses; the folder is then where it was.
pub fn move_folder(from: &Path, to: &Path) -> Result<(), DiskError> {
    fs::rename(from, to).map_err(failed("put in place the folder", to))?;
    sync_folder(folder_of(to))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn nothing_that_is_there_is_replaced_or_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        create_link(&at("link"), "target").unwrap();
        assert_eq!(
            create_file(&at("link"), b"x", 0o644).unwrap_err().to_string(),
            format!("cannot create {}", at("link").display())
        );
        assert!(!at("target").exists());
        create_file(&at("file"), b"x", 0o600).unwrap();
        assert_eq!(fs::metadata(at("file")).unwrap().permissions().mode() & 0o777, 0o600);
        for taken in ["file", "link"] {
            assert!(create_file(&at(taken), b"y", 0o644).is_err());
            assert!(create_folder(&at(taken), 0o755).is_err());
            assert!(create_link(&at(taken), "z").is_err());
        }
        assert_eq!(fs::read(at("file")).unwrap(), b"x");
        create_folder(&at("full"), 0o755).unwrap();
        create_file(&at("full/file"), b"", 0o644).unwrap();
        create_folder(&at("new"), 0o755).unwrap();
        assert!(move_folder(&at("new"), &at("full")).is_err() && at("full/file").exists());
        move_folder(&at("new"), &at("newer")).unwrap();
        assert!(at("newer").is_dir() && !at("new").exists());
    }
}
