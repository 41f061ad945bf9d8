//! Blobs: files named by the SHA-256 of their bytes.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

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

    /// Puts bytes into the store and names them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if !self.has_blob(&digest, bytes.len() as u64) {
            let _lock = self.lock()?;
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
        if self.has_blob(expected, size) {
            return Ok(());
        }
        let _lock = self.lock()?;
        let path = self.blob_path(expected);
        let folder = make_parent(&path)?;
        let mut input = File::open(source).map_err(disk::failed("open", source))?;
        let mut output = TempFile::new_in(&folder)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = input.read(&mut buffer).map_err(disk::failed("read", source))?;
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            hasher.update(bytes);
            output.file().write_all(bytes).map_err(disk::failed("write", &path))?;
        }
        let found = hasher.finish();
        if found != *expected {
            return Err(StoreError::WrongBlob { path: source.to_owned(), expected: *expected, found });
        }
        Ok(output.publish(&path)?)
    }
}

fn make_parent(path: &Path) -> Result<PathBuf, DiskError> {
    let folder = disk::folder_of(path).to_owned();
    disk::create_dir_all(&folder)?;
    Ok(folder)
}
