//! One bivouac at a time: an advisory lock on a file that is never removed, because removing it would let two
//! processes lock two different files of the same name.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::{DiskError, failed};

/// A held lock; dropping it, or the end of the process however it ends, lets the next one in.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, waiting as long as another process holds it. The lock file is made when it is missing.
    ///
    /// # Errors
    /// When the lock file cannot be opened or locked.
    pub fn acquire(path: &Path) -> Result<Self, DiskError> {
        let file = open(path)?;
        file.lock().map_err(failed("lock", path))?;
        Ok(Self { _file: file })
    }

    /// Takes the lock together with others who share it, waiting as long as somebody has it alone.
    ///
    /// # Errors
    /// When the lock file cannot be opened or locked.
    pub fn share(path: &Path) -> Result<Self, DiskError> {
        let file = open(path)?;
        file.lock_shared().map_err(failed("lock", path))?;
        Ok(Self { _file: file })
    }

    /// Takes the lock, or says at once that another process has it.
    ///
    /// # Errors
    /// [`DiskError::Busy`] while another process holds it; otherwise as [`Lock::acquire`].
    pub fn try_acquire(path: &Path) -> Result<Self, DiskError> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(DiskError::Busy { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed("lock", path)(source)),
        }
    }
}

fn open(path: &Path) -> Result<File, DiskError> {
    // Nothing is ever written: the file is opened for writing only because some file systems ask for it.
    OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed("open the lock file", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_is_in_the_way_and_gets_in_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::acquire(&path).unwrap();
        assert_eq!(
            Lock::try_acquire(&path).unwrap_err().to_string(),
            format!("another bivouac is using {}; wait for it to finish, or stop it", path.display())
        );
        drop(held);
        drop(Lock::try_acquire(&path).unwrap());
    }

    #[test]
    fn several_share_a_lock_that_nobody_then_has_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let shared = [Lock::share(&path).unwrap(), Lock::share(&path).unwrap()];
        assert!(matches!(Lock::try_acquire(&path), Err(DiskError::Busy { .. })));
        drop(shared);
        drop(Lock::try_acquire(&path).unwrap());
    }

    #[test]
    fn a_lock_in_a_missing_folder_names_the_file() {
        let error = Lock::acquire(Path::new("/nowhere/lock")).unwrap_err();
        assert_eq!(error.to_string(), "cannot open the lock file /nowhere/lock");
    }
}
