//! A tarball on its way into the cache: a file that one fetch at a time may write, and that the next one continues when
//! a fetch is killed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::sink::{Growing, Growth};
use crate::disk::{self, DiskError};
use std::sync::Arc;

/// The file, locked.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    path: PathBuf,
}

impl Partial {
    /// Takes the file, which is made when it is missing; nothing while somebody else has it.
    pub(super) fn try_claim(path: &Path) -> Result<Option<Self>, DiskError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(disk::failed("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(disk::failed("lock", path)(source)),
        }
        // Whoever had it until now may have removed it; then this is a file without a name.
        let inode = |it: fs::Metadata| (it.dev(), it.ino());
        let (held, named) = (file.metadata().map(inode), fs::metadata(path).map(inode));
        let is_there = matches!((held, named), (Ok(held), Ok(named)) if held == named);
        Ok(is_there.then(|| Self { file, path: path.to_owned() }))
    }

    /// The file as a download writes it.
    pub(super) fn growing(&self, growth: &Arc<Growth>) -> Result<Growing, DiskError> {
        let handle = self.file.try_clone().map_err(disk::failed("open a second time", &self.path))?;
        Ok(Growing { handle, path: self.path.clone(), growth: Arc::clone(growth) })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file, while nobody else can have it.
    pub(super) fn discard(self) -> Result<(), DiskError> {
        disk::remove(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_the_file_and_the_next_finds_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let first = Partial::try_claim(&path).unwrap().unwrap();
        assert!(Partial::try_claim(&path).unwrap().is_none());
        fs::write(&path, b"begin").unwrap();
        drop(first);
        let second = Partial::try_claim(&path).unwrap().unwrap();
        assert_eq!(fs::read(second.path()).unwrap(), b"begin");
        second.discard().unwrap();
        assert!(!path.exists());
    }
}
