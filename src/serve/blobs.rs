//! Blobs that are open: each mapped once for all transfers, and compared with its name before the first byte is served
//! (DESIGN 4.4), because a disk may fail and nothing on a machine checks a kernel.
//!
//! Those used least recently are closed when there are too many, and all that are idle after a while: what the store
//! deletes gives its room on the disk back only when it is closed.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::lock;
use crate::disk::{self, Seen};
use crate::model::digest::Digest;
use crate::store::Store;

/// How many blobs are open at most; a fleet boots few bundles at a time, of some hundred packages each.
const MAX_OPEN: usize = 512;

/// How many blobs are remembered to be what their name says, while they are closed.
const MAX_CHECKED: usize = 16_384;

/// How long a blob that nobody asks for stays open. Transfers under way keep it by themselves.
const IDLE: Duration = Duration::from_secs(60);

/// The blobs that are open.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    open: Mutex<HashMap<Digest, Open>>,
    /// Which files were compared with their names.
    checked: Mutex<HashMap<Digest, Seen>>,
}

#[derive(Debug)]
struct Open {
    /// Nothing until it was opened; all who ask meanwhile wait for the same look at it.
    bytes: Arc<OnceCell<Bytes>>,
    used: Instant,
}

impl Blobs {
    /// The bytes of a blob.
    ///
    /// # Errors
    /// When it cannot be read, or its bytes are not what its name says; asked for again, it is looked at again.
    pub(super) async fn open(&self, store: &Store, digest: Digest) -> io::Result<Bytes> {
        let cell = self.place(digest, Instant::now());
        let opened = cell.get_or_try_init(|| async move {
            let (path, known) = (store.blob_path(&digest), lock(&self.checked).get(&digest).copied());
            let (bytes, seen) = tokio::task::spawn_blocking(move || {
                let (bytes, seen) = disk::map_seen(&path).map_err(io::Error::other)?;
                if known != Some(seen) {
                    disk::bring_into_memory(&bytes)?;
                    check(digest, &bytes)?;
                }
                Ok::<_, io::Error>((bytes, seen))
            })
            .await??;
            let mut checked = lock(&self.checked);
            if checked.len() >= MAX_CHECKED {
                checked.clear();
            }
            checked.insert(digest, seen);
            Ok(bytes)
        });
        opened.await.cloned()
    }

    /// Closes what nobody asked for in a while.
    pub(super) fn close_idle(&self) {
        let now = Instant::now();
        lock(&self.open).retain(|_, blob| now.duration_since(blob.used) < IDLE);
    }

    /// Where the bytes of a blob are or will be.
    fn place(&self, digest: Digest, now: Instant) -> Arc<OnceCell<Bytes>> {
        let mut open = lock(&self.open);
        if open.len() >= MAX_OPEN
            && !open.contains_key(&digest)
            && let Some(oldest) = open.iter().min_by_key(|(_, blob)| blob.used).map(|(digest, _)| *digest)
        {
            open.remove(&oldest);
        }
        let blob = open.entry(digest).or_insert_with(|| Open { bytes: Arc::default(), used: now });
        blob.used = now;
        Arc::clone(&blob.bytes)
    }
}

fn check(digest: Digest, bytes: &[u8]) -> io::Result<()> {
    let found = Digest::of(bytes);
    if found == digest {
        return Ok(());
    }
    let why = format!("its SHA-256 is {found}; delete the file and build the profile again");
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_blob_is_mapped_once_until_it_is_idle() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let digest = store.put_bytes(b"kernel").unwrap();
        let blobs = Blobs::default();
        let first = blobs.open(&store, digest).await.unwrap();
        tokio::time::advance(IDLE / 2).await;
        blobs.close_idle();
        let second = blobs.open(&store, digest).await.unwrap();
        assert_eq!(first.as_ptr(), second.as_ptr());
        tokio::time::advance(IDLE).await;
        blobs.close_idle();
        assert!(lock(&blobs.open).is_empty());
        assert_eq!(first, &b"kernel"[..], "a transfer under way keeps it");
        let third = blobs.open(&store, digest).await.unwrap();
        assert_ne!(first.as_ptr(), third.as_ptr());
    }

    #[tokio::test(start_paused = true)]
    async fn those_used_least_recently_are_closed_when_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let blobs = Blobs::default();
        let digests: Vec<Digest> =
            (0..=MAX_OPEN).map(|number| store.put_bytes(&number.to_le_bytes()).unwrap()).collect();
        for digest in &digests[..MAX_OPEN] {
            tokio::time::advance(Duration::from_millis(1)).await;
            blobs.open(&store, *digest).await.unwrap();
        }
        tokio::time::advance(Duration::from_millis(1)).await;
        blobs.open(&store, digests[0]).await.unwrap();
        blobs.open(&store, digests[MAX_OPEN]).await.unwrap();
        let open = lock(&blobs.open);
        assert_eq!(open.len(), MAX_OPEN);
        assert!(open.contains_key(&digests[0]) && !open.contains_key(&digests[1]));
    }

    #[tokio::test]
    async fn a_file_that_took_the_place_of_a_checked_one_is_checked_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let digest = store.put_bytes(b"kernel").unwrap();
        let blobs = Blobs::default();
        blobs.open(&store, digest).await.unwrap();
        lock(&blobs.open).clear();
        let path = store.blob_path(&digest);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"kernel!").unwrap();
        let error = blobs.open(&store, digest).await.unwrap_err();
        assert!(error.to_string().contains("delete the file and build the profile again"), "{error}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"kernel").unwrap();
        assert_eq!(blobs.open(&store, digest).await.unwrap(), &b"kernel"[..]);
    }
}
