//! What a tree looks like without reading any file: enough to notice that somebody changed it.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use super::{DiskError, failed};

/// The looks of any number of files and trees, in the order in which they were added.
///
/// Two that are equal mean that nothing was changed in between, as long as the first one was [settled](Self::settled).
#[derive(Debug, Clone, Default)]
pub struct Appearance {
    hasher: Sha256,
    newest: Option<SystemTime>,
}

impl Appearance {
    /// Adds everything below a folder, but for files of the name `except` directly in it. Of folders only names and modes
    /// count: what comes and goes in them is seen anyway. A folder that does not exist looks like none.
    ///
    /// # Errors
    /// When something cannot be examined.
    pub fn tree(&mut self, root: &Path, except: &str) -> Result<(), DiskError> {
        self.bytes(root.as_os_str().as_bytes());
        for entry in WalkDir::new(root).sort_by_file_name() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if error.depth() == 0 && is_missing(&error) => return Ok(()),
                Err(error) => {
                    let path = error.path().unwrap_or(root).to_owned();
                    let source = error.into_io_error().unwrap_or_else(|| io::Error::other("it contains itself"));
                    return Err(DiskError::Io { action: "list", path, source });
                }
            };
            if entry.depth() == 1 && entry.file_name() == except {
                continue;
            }
            let meta = std::fs::symlink_metadata(entry.path()).map_err(failed("examine", entry.path()))?;
            self.bytes(entry.path().strip_prefix(root).unwrap_or(entry.path()).as_os_str().as_bytes());
            self.meta(&meta);
        }
        Ok(())
    }

    /// Adds one file; one that does not exist looks like none.
    ///
    /// # Errors
    /// When it cannot be examined.
    pub fn file(&mut self, path: &Path) -> Result<(), DiskError> {
        self.bytes(path.as_os_str().as_bytes());
        match std::fs::metadata(path) {
            Ok(meta) => self.meta(&meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("examine", path)(error)),
        }
        Ok(())
    }

    /// Adds anything else.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update((bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }

    fn meta(&mut self, meta: &std::fs::Metadata) {
        self.hasher.update(meta.mode().to_le_bytes());
        if meta.is_dir() {
            return;
        }
        for number in [meta.dev(), meta.ino(), meta.size(), meta.mtime().cast_unsigned(), meta.ctime().cast_unsigned()]
        {
            self.hasher.update(number.to_le_bytes());
        }
        for nanoseconds in [meta.mtime_nsec(), meta.ctime_nsec()] {
            self.hasher.update(nanoseconds.to_le_bytes());
        }
        let seconds = Duration::from_secs(meta.ctime().try_into().unwrap_or(0));
        let changed = UNIX_EPOCH + seconds + Duration::from_nanos(meta.ctime_nsec().try_into().unwrap_or(0));
        self.newest = self.newest.max(Some(changed));
    }

    /// The SHA-256 of it, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        self.hasher.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether a change since `then` would be seen, whatever it is: file systems count time in ticks, and a file that is
    /// changed twice within one looks the same after both. `then` is when somebody began to read the files.
    #[must_use]
    pub fn settled(&self, then: SystemTime) -> bool {
        self.newest.is_none_or(|newest| newest + TICK < then)
    }
}

/// Longer than any tick of the clock by which Linux dates changes (1 to 10 ms).
pub const TICK: Duration = Duration::from_millis(20);

fn is_missing(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn look(root: &Path) -> String {
        let mut appearance = Appearance::default();
        appearance.tree(root, "lock").unwrap();
        appearance.digest()
    }

    #[test]
    fn every_change_shows() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/c"), b"1").unwrap();
        symlink("c", root.join("a/b/link")).unwrap();
        let mut seen = vec![look(root)];
        let mut changed = |what: &str| {
            let now = look(root);
            assert!(!seen.contains(&now), "{what} does not show");
            seen.push(now);
        };
        let file = root.join("a/b/c");
        let before = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(root.join("a/b/other"), b"2").unwrap();
        fs::rename(root.join("a/b/other"), &file).unwrap();
        File::open(&file).unwrap().set_modified(before).unwrap();
        changed("another file of the same size and time");
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        changed("the mode of a file");
        fs::set_permissions(root.join("a"), Permissions::from_mode(0o700)).unwrap();
        changed("the mode of a folder");
        fs::rename(&file, root.join("a/c")).unwrap();
        changed("another place");
        fs::remove_file(root.join("a/b/link")).unwrap();
        changed("a link that is gone");
        symlink("d", root.join("a/b/link")).unwrap();
        changed("another link");
        fs::create_dir(root.join("empty")).unwrap();
        changed("an empty folder");
    }

    #[test]
    fn what_is_left_out_and_folders_that_are_missing_make_no_difference() {
        let folder = tempfile::tempdir().unwrap();
        let before = look(folder.path());
        fs::write(folder.path().join("lock"), b"1").unwrap();
        assert_eq!(look(folder.path()), before);
        fs::create_dir(folder.path().join("a")).unwrap();
        let before = look(folder.path());
        fs::write(folder.path().join("a/lock"), b"1").unwrap();
        assert_ne!(look(folder.path()), before, "only directly in the folder");
        assert_eq!(look(Path::new("/nowhere")), look(Path::new("/nowhere")));
        assert_ne!(look(Path::new("/nowhere")), look(Path::new("/somewhere")));
    }

    #[test]
    fn what_was_changed_a_moment_ago_is_not_settled() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), b"1").unwrap();
        let mut appearance = Appearance::default();
        appearance.tree(folder.path(), "lock").unwrap();
        let changed = fs::metadata(folder.path().join("a")).unwrap();
        let changed =
            UNIX_EPOCH + Duration::new(changed.ctime().cast_unsigned(), u32::try_from(changed.ctime_nsec()).unwrap());
        assert!(!appearance.settled(changed + TICK));
        assert!(appearance.settled(changed + TICK * 2));
        assert!(Appearance::default().settled(changed));
    }
}
