//! Whole-file writes that are seen entirely or not at all.

use std::io::Write as _;
use std::path::Path;

use super::{DiskError, TempFile, failed, folder_of};

/// Writes a file that readers see either as it was or as it is now, also after a crash or a power cut. Its mode is
/// 0644 less the umask.
///
/// # Errors
/// When the folder cannot be written to, or is full; the old file is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    finish(TempFile::new_in(folder_of(path))?, path, bytes)
}

/// As [`write_atomic`], for keys and other secrets: only the owner can read the file (0600), from its first byte on.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_atomic_private(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    finish(TempFile::new_private_in(folder_of(path))?, path, bytes)
}

fn finish(mut file: TempFile, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    file.file().write_all(bytes).map_err(failed("write", path))?;
    file.publish(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_private_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_atomic_private(&path, b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_target_that_cannot_be_replaced_stays_and_the_new_file_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        let error = write_atomic(&path, b"new").unwrap_err();
        assert_eq!(error.to_string(), format!("cannot replace {}", path.display()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
