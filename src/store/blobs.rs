//! Blobs: files named by the SHA-256 of their bytes.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Store, StoreError};
use crate::disk::{self, DiskError, TempFile};
use crate::model::digest::{Digest, Hasher};

impl Store {
    /// Where the blob `digest` is or would be.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        let (shard, _) = name.split_at(2);
        self.root.join("blobs").join(shard).join(&name)
    }

    /// Whether the blob is there with that length. Bytes are not read: they were checked when it was put.
    #[must_use]
    pub fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        std::fs::metadata(self.blob_path(digest)).is_ok_and(|meta| meta.is_file() && meta.len() == size)
    }

    /// Whether the blob is there already; if so it counts as put now, so that no clean-up takes it away from a build that
    /// is not finished. Under the lock.
    fn is_put(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let is_there = self.has_blob(digest, size);
        if is_there {
            disk::set_time(&self.blob_path(digest), SystemTime::now())?;
        }
        Ok(is_there)
    }

    /// Puts bytes into the store and names them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let _lock = self.lock()?;
        if !self.is_put(&digest, bytes.len() as u64)? {
            let path = self.blob_path(&digest);
            make_parent(&path)?;
            disk::write_atomic(&path, bytes)?;
        }
        Ok(digest)
    }

    /// Copies a file into the store, checking on the way that it is what `expected` says.
    ///
    /// # Errors
    /// When it cannot be read or written, or has another digest; then nothing is stored.
    pub fn put_file(&self, source: &Path, expected: &Digest, size: u64) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        if self.is_put(expected, size)? {
            return Ok(());
        }
        let path = self.blob_path(expected);
        let folder = make_parent(&path)?;
        let mut input = File::open(source).map_err(disk::failed("open", source))?;
        let mut output = TempFile::new_in(&folder)?;
        let found = pump(&mut input, |error| disk::failed("read", source)(error).into(), &mut |bytes| {
            Ok::<_, StoreError>(output.file().write_all(bytes).map_err(disk::failed("write", &path))?)
        })?;
        if found != *expected {
            return Err(StoreError::WrongBlob { path: source.to_owned(), expected: *expected, found });
        }
        Ok(output.publish(&path)?)
    }

    /// Takes a file into the store that nobody changes in place, checking that it is what `expected` says: as another name
    /// for the same bytes, where the file system can do that, or as a copy.
    ///
    /// # Errors
    /// As [`put_file`](Self::put_file).
    pub fn share_file(&self, source: &Path, expected: &Digest, size: u64) -> Result<(), StoreError> {
        {
            let _lock = self.lock()?;
            if self.is_put(expected, size)? {
                return Ok(());
            }
            let mut input = File::open(source).map_err(disk::failed("open", source))?;
            let unreadable = |error| StoreError::from(disk::failed("read", source)(error));
            let found = pump(&mut input, unreadable, &mut |_| Ok(()))?;
            if found != *expected {
                return Err(StoreError::WrongBlob { path: source.to_owned(), expected: *expected, found });
            }
            let path = self.blob_path(expected);
            let folder = make_parent(&path)?;
            disk::remove(&path)?;
            if std::fs::hard_link(source, &path).is_ok() {
                return Ok(disk::sync_folder(&folder)?);
            }
        }
        self.put_file(source, expected, size)
    }

    /// Gives the bytes of a blob to `take`, piece by piece, and checks that they are what its name says.
    ///
    /// # Errors
    /// [`StoreError::WrongBlob`] when they are not, which `take` has seen by then; when they cannot be read; what `take`
    /// says.
    pub(crate) fn read_blob<E: From<StoreError>>(
        &self,
        digest: &Digest,
        take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = self.blob_path(digest);
        let failed = |action| {
            let path = path.clone();
            move |error| E::from(disk::failed(action, &path)(error).into())
        };
        let mut file = File::open(&path).map_err(failed("open"))?;
        let found = pump(&mut file, failed("read"), take)?;
        if found != *digest {
            return Err(StoreError::WrongBlob { path, expected: *digest, found }.into());
        }
        Ok(())
    }

    /// Whether the blob is there, byte for byte.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub(super) fn is_intact(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        if !self.has_blob(digest, size) {
            return Ok(false);
        }
        match self.read_blob(digest, &mut |_| Ok(())) {
            Ok(()) => Ok(true),
            Err(StoreError::WrongBlob { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Reads to the end, gives each piece to `take`, and returns the digest of all.
pub(super) fn pump<E>(
    input: &mut dyn Read,
    unreadable: impl Fn(io::Error) -> E,
    take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<Digest, E> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = match input.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { return Ok(hasher.finish()) };
        hasher.update(bytes);
        take(bytes)?;
    }
}

pub(super) fn make_parent(path: &Path) -> Result<PathBuf, DiskError> {
    let folder = disk::folder_of(path).to_owned();
    disk::create_dir_all(&folder)?;
    Ok(folder)
}
