//! The indexes on the disk, to the byte as they came.
//!
//! Each repository has a folder, `indexes/BRANCH/REPOSITORY/ARCH/`:
//!
//! | File | What |
//! |---|---|
//! | `APKINDEX.tar.gz` | the index |
//! | `former` | packages that are held and that the index names no more, in the form of an index |
//! | `note.json` | where it came from, and when it was last said to be the newest |

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::age::Edition;
use super::listing::{Listing, Read};
use super::shelf::Shelf;
use super::{Repository, chain};
use crate::apk::{IndexPackage, KeyRing, SignedIndex};
use crate::disk::{self, Clean, DiskError, Lock};
use crate::fetch::{Known, package_name};
use crate::model::digest::Digest;

/// The name of an index on a mirror and here.
pub(super) const INDEX: &str = "APKINDEX.tar.gz";

const FORMER: &str = "former";
const NOTE: &str = "note.json";

/// The largest index, list of former packages, and note that is read back.
const LARGEST_INDEX: u64 = 64 << 20;
const LARGEST_NOTE: u64 = 64 << 10;

/// An index and what is in it.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) bytes: Bytes,
    pub(super) digest: Digest,
    /// The name of the key that signed it.
    pub(super) key: String,
    pub(super) edition: Edition,
    pub(super) listing: Listing,
    /// Packages that it named once, and that may still be held.
    pub(super) former: Listing,
}

/// An index, and how far it is to be trusted to be the newest.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) index: Arc<Index>,
    /// When a mirror last said so.
    pub(super) checked: SystemTime,
    /// When it was taken in; for no other index of its repository is it the same, to the second.
    pub(super) taken: SystemTime,
    pub(super) known: Option<Known>,
}

impl Held {
    /// The package that a file is; one of former times only while it is held.
    pub(super) fn find(&self, file: &str, shelf: &Shelf) -> Option<&IndexPackage> {
        let is_held = |package: &&IndexPackage| shelf.has(&package_name(&package.identity().to_string()));
        self.index.listing.find(file).or_else(|| self.index.former.find(file).filter(is_held))
    }
}

/// What is written down of an index.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The index that is meant.
    sha256: Digest,
    known: Known,
    /// In seconds since 1970, as the next.
    checked: u64,
    taken: u64,
}

/// Their folder.
#[derive(Debug)]
pub(super) struct Indexes {
    folder: PathBuf,
    /// The lock of the mirror.
    lock: PathBuf,
}

impl Indexes {
    pub(super) fn new(folder: &Path, lock: &Path) -> Self {
        Self { folder: folder.to_owned(), lock: lock.to_owned() }
    }

    /// Whether there is something to read of a repository.
    pub(super) fn has(&self, repository: &Repository) -> bool {
        self.of(repository).join(INDEX).exists()
    }

    /// The index of a repository, verified with these keys; nothing when none is kept.
    ///
    /// # Errors
    /// Why it cannot be used, in words.
    pub(super) fn read(&self, repository: &Repository, keys: &KeyRing) -> Result<Option<Held>, String> {
        let folder = self.of(repository);
        let bytes = match disk::read_bounded(&folder.join(INDEX), LARGEST_INDEX) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(chain(&error)),
        };
        let (index, signed) = SignedIndex::open(&bytes, keys).map_err(|error| chain(&error))?;
        let Read { listing, edition } = Read::of(&index).map_err(|error| chain(&error))?;
        let former = disk::read_bounded(&folder.join(FORMER), LARGEST_INDEX).unwrap_or_default();
        let former = Listing::parse(&String::from_utf8_lossy(&former)).unwrap_or_default();
        let digest = Digest::of(&bytes);
        let note = disk::read_bounded(&folder.join(NOTE), LARGEST_NOTE).ok();
        let note = note.and_then(|json| serde_json::from_slice::<Note>(&json).ok()).filter(|it| it.sha256 == digest);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let (known, checked, taken) = match note {
            Some(note) => (Some(note.known), at(note.checked), at(note.taken)),
            None => (None, SystemTime::UNIX_EPOCH, SystemTime::now()),
        };
        let index = Index { bytes, digest, key: signed.key, edition, listing, former };
        Ok(Some(Held { index: Arc::new(index), checked, taken, known }))
    }

    /// Keeps an index, and the records of packages that it names no more.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, repository: &Repository, bytes: &[u8], former: &str) -> Result<(), DiskError> {
        let folder = self.of(repository);
        disk::create_dir_all(&folder)?;
        let _shared = Lock::share(&self.lock)?;
        // First what would be lost.
        disk::write_atomic(&folder.join(FORMER), former.as_bytes())?;
        disk::write_atomic(&folder.join(INDEX), bytes)
    }

    /// Keeps what is known of an index.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write_note(&self, repository: &Repository, held: &Held) -> Result<(), DiskError> {
        let Some(known) = &held.known else { return Ok(()) };
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let (checked, taken) = (seconds(held.checked), seconds(held.taken));
        let note = Note { sha256: held.index.digest, known: known.clone(), checked, taken };
        let json = serde_json::to_vec_pretty(&note).expect("a note has only text and numbers");
        let _shared = Lock::share(&self.lock)?;
        disk::write_atomic(&self.of(repository).join(NOTE), &json)
    }

    /// The repositories whose indexes are kept, by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn known(&self) -> Result<Vec<Repository>, DiskError> {
        let repositories = kept(&self.folder)?.into_iter().filter_map(|index| {
            let mut parts = index.strip_prefix(&self.folder).ok()?.iter().map(|part| part.to_string_lossy());
            Some(Repository {
                branch: parts.next()?.parse().ok()?,
                repository: parts.next()?.parse().ok()?,
                arch: parts.next()?.parse().ok()?,
            })
        });
        Ok(repositories.collect())
    }

    fn of(&self, repository: &Repository) -> PathBuf {
        self.folder.join(repository.to_string())
    }
}

/// Every index in a folder.
fn kept(folder: &Path) -> Result<Vec<PathBuf>, DiskError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let found = disk::walk(folder)?.into_iter().map(|found| found.relative);
    Ok(found.filter(|path| path.ends_with(INDEX)).map(|path| folder.join(path)).collect())
}

/// Removes the indexes that nobody has asked for since a time.
pub(super) fn clean(folder: &Path, unused_since: SystemTime, clean: &mut Clean) -> Result<(), DiskError> {
    for index in kept(folder)? {
        let [former, note] = [FORMER, NOTE].map(|name| index.with_file_name(name));
        // The note is written anew each time somebody asks and a mirror answers.
        let used = if note.exists() { disk::examine(&note)?.1 } else { disk::examine(&index)?.1 };
        if used < unused_since {
            for file in [index, former, note].iter().filter(|file| file.exists()) {
                clean.away(file)?;
            }
        }
    }
    Ok(())
}
