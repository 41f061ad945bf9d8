//! What the cache remembers of a tarball whose files it has: which files, what was checked, and by which key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Release;
use crate::model::alpine::{Flavor, Version};
use crate::model::check::Check;
use crate::model::digest::Digest;

/// The version of the record's form; one of another form is fetched again.
pub(super) const FORM: u32 = 3;

/// The three kinds of file of a netboot set, by how their names begin (REL-2).
pub(super) const KERNEL: &str = "vmlinuz";
pub(super) const INITRAMFS: &str = "initramfs";
pub(super) const MODLOOP: &str = "modloop";
pub(super) const KINDS: [&str; 3] = [KERNEL, INITRAMFS, MODLOOP];

/// A file in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it was when it was unpacked, and is as far as its length and time tell. Who copies the file compares it.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// A kernel and what belongs to it, from one tarball. A modloop that is served under another name than `modloop-F` is
/// not verified by the machine (ML-3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetbootSet {
    /// The release they are from.
    pub release: Release,
    /// Fingerprint of the OpenPGP key that signed the tarball; nothing when that was not checked.
    pub release_key: Option<String>,
    /// The kernel flavor.
    pub flavor: Flavor,
    /// `vmlinuz-F`.
    pub kernel: CachedFile,
    /// `initramfs-F`.
    pub initramfs: CachedFile,
    /// `modloop-F`.
    pub modloop: CachedFile,
    /// What the files say about themselves.
    pub facts: Facts,
}

/// What the three files of a set say about themselves and each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The kernel release (`uname -r`), when one of the files tells it.
    pub kernel: Option<String>,
    /// The keys by which the booted system accepts packages: file name below `etc/apk/keys`, and PEM text.
    pub apk_keys: BTreeMap<String, String>,
    /// Whether the initramfs brings signatures of a modloop.
    pub modloop_is_signed: bool,
    /// The key that signed the modloop; nothing when its initramfs brings no signature, or that was not checked.
    pub modloop_key: Option<String>,
    /// The checks that were made.
    pub made: BTreeSet<Check>,
}

/// Digest and length of a file of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recorded {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// A tarball that was fetched, verified and unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) form: u32,
    pub(super) release: Release,
    /// Fingerprint of the key that signed it.
    pub(super) release_key: Option<String>,
    /// When it was signed, in seconds since 1970.
    pub(super) signed_at: Option<u64>,
    pub(super) flavors: BTreeMap<Flavor, RecordedSet>,
    /// Flavors that have a kernel but lack something, and what.
    pub(super) incomplete: BTreeMap<Flavor, String>,
}

/// One flavor of a tarball.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordedSet {
    pub(super) kernel: Recorded,
    pub(super) initramfs: Recorded,
    pub(super) modloop: Recorded,
    /// Nothing until somebody asked for the flavor.
    pub(super) facts: Option<Facts>,
}

/// The newest release of a branch that was fetched: a mirror that shows an older one lags behind or lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    pub(super) version: Version,
    /// When its tarball was signed, in seconds since 1970; nothing when that was not checked.
    pub(super) signed_at: Option<u64>,
}

impl RecordedSet {
    /// The files, each with the beginning of its name.
    pub(super) const fn files(&self) -> [(&'static str, Recorded); 3] {
        [(KERNEL, self.kernel), (INITRAMFS, self.initramfs), (MODLOOP, self.modloop)]
    }
}
