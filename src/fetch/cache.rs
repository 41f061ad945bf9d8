//! The folder that keeps what was fetched. Everything in it is named by the digest of the tarball it came from and never
//! changes, so all profiles and mirrors share it.
//!
//! | Path | What |
//! |---|---|
//! | `lock` | held by whoever adds or removes something; readers need it not |
//! | `tarballs/<sha256>.tar.gz` | a verified netboot tarball |
//! | `netboot/<sha256>-<flavor>/` | `vmlinuz-F`, `initramfs-F`, `modloop-F` of one flavor, and `set.json`, put there by one rename |
//!
//! Names that begin with `.tmp-` are unfinished; the next holder of the lock removes them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{FetchError, Release};
use crate::disk::{self, DiskError, Lock};
use crate::model::alpine::Flavor;
use crate::model::digest::Digest;

/// The name of the record beside the files of a set.
const RECORD: &str = "set.json";

/// The largest record read.
const LARGEST_RECORD: u64 = 64 << 10;

/// The version of the record's form; one of another form is fetched again.
const FORM: u32 = 1;

/// The three kinds of file of a netboot set, by how their names begin (REL-2).
pub(super) const KERNEL: &str = "vmlinuz";
pub(super) const INITRAMFS: &str = "initramfs";
pub(super) const MODLOOP: &str = "modloop";

/// A file in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it was when it was unpacked. The length is compared on each use, this digest is not: who copies the file
    /// compares it.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// A kernel and what belongs to it, from one tarball. Served under other names than these, the modloop is not verified
/// by the machine (ML-3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetbootSet {
    /// The release they are from.
    pub release: Release,
    /// The kernel flavor.
    pub flavor: Flavor,
    /// `vmlinuz-F`.
    pub kernel: CachedFile,
    /// `initramfs-F`.
    pub initramfs: CachedFile,
    /// `modloop-F`.
    pub modloop: CachedFile,
    /// The kernel release (`uname -r`), when the kernel image or the initramfs tells it; they agree if both do.
    pub kernel_version: Option<String>,
}

/// Digest and length of a file of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recorded {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// What is recorded of a set when it is unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    form: u32,
    release: Release,
    flavor: Flavor,
    kernel: Recorded,
    initramfs: Recorded,
    modloop: Recorded,
    kernel_version: Option<String>,
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Opens a cache; the folder and what is above it are made when they are missing.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self, FetchError> {
        let cache = Self { folder: folder.to_owned() };
        disk::create_dir_all(&cache.tarballs())?;
        disk::create_dir_all(&cache.sets())?;
        Ok(cache)
    }

    /// A set that was fetched before and is complete, without reading any of its files. One whose record or lengths are
    /// wrong counts as missing.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn netboot_set(&self, release: &Release, flavor: &Flavor) -> Result<Option<NetbootSet>, FetchError> {
        let folder = self.set_folder(release, flavor);
        let record = match disk::read_bounded(&folder.join(RECORD), LARGEST_RECORD) {
            Ok(bytes) => serde_json::from_slice::<Record>(&bytes).ok(),
            Err(error) if error.is_not_found() || matches!(error, DiskError::TooLarge { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let is_asked_for = |it: &Record| it.form == FORM && it.release.sha256 == release.sha256 && it.flavor == *flavor;
        Ok(record.filter(is_asked_for).and_then(|it| it.set_in(&folder, release)))
    }

    /// Takes the lock of the cache if nobody has it.
    pub(super) fn try_lock(&self) -> Result<Lock, DiskError> {
        Lock::try_acquire(&self.folder.join("lock"))
    }

    /// Removes what crashed fetches left.
    pub(super) fn sweep(&self, held: &Lock) -> Result<(), DiskError> {
        for folder in [self.tarballs(), self.sets()] {
            disk::sweep(&folder, held)?;
        }
        Ok(())
    }

    /// Where the tarball of a release is, or belongs.
    pub(super) fn tarball(&self, release: &Release) -> PathBuf {
        self.tarballs().join(format!("{}.tar.gz", release.sha256))
    }

    /// Where a set is, or belongs.
    pub(super) fn set_folder(&self, release: &Release, flavor: &Flavor) -> PathBuf {
        self.sets().join(format!("{}-{flavor}", release.sha256))
    }

    /// The folder of all sets; new ones are filled beside them.
    pub(super) fn sets(&self) -> PathBuf {
        self.folder.join("netboot")
    }

    fn tarballs(&self) -> PathBuf {
        self.folder.join("tarballs")
    }
}

impl Record {
    /// The record of a set just unpacked.
    pub(super) const fn new(
        release: Release,
        flavor: Flavor,
        [kernel, initramfs, modloop]: [Recorded; 3],
        kernel_version: Option<String>,
    ) -> Self {
        Self { form: FORM, release, flavor, kernel, initramfs, modloop, kernel_version }
    }

    /// Writes the record beside the files.
    pub(super) fn write(&self, folder: &Path) -> Result<(), DiskError> {
        let json = serde_json::to_vec_pretty(self).expect("a record has only text, numbers and plain names");
        disk::write_atomic(&folder.join(RECORD), &json)
    }

    /// The set in `folder`, if all three files have the recorded length.
    fn set_in(self, folder: &Path, release: &Release) -> Option<NetbootSet> {
        let flavor = self.flavor;
        let cached = |kind: &str, recorded: Recorded| {
            let path = folder.join(format!("{kind}-{flavor}"));
            let is_whole = fs::symlink_metadata(&path).is_ok_and(|it| it.is_file() && it.len() == recorded.size);
            is_whole.then_some(CachedFile { path, digest: recorded.digest, size: recorded.size })
        };
        Some(NetbootSet {
            kernel: cached(KERNEL, self.kernel)?,
            initramfs: cached(INITRAMFS, self.initramfs)?,
            modloop: cached(MODLOOP, self.modloop)?,
            release: release.clone(),
            kernel_version: self.kernel_version,
            flavor,
        })
    }
}
