//! Why a file cannot be served, or a mirror not be filled.

use crate::disk::DiskError;
use crate::fetch::FetchError;
use crate::model::alpine::{Arch, RepositoryName};

/// Why a file cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// No mirror has it, or it is nothing that a mirror has.
    #[error("there is no {0}")]
    Missing(String),
    /// Nothing of an architecture could be verified.
    #[error("no key is known that signs packages for {0}; add it to `verify.package-keys`")]
    NoKey(Arch),
    /// It will take longer than a client should wait.
    #[error("{0} is still on its way from upstream; ask again")]
    Waiting(String),
    /// Too many clients wait already.
    #[error("too many clients wait for files from upstream; ask again")]
    Busy,
    /// Upstream does not have it as it should be.
    #[error("{path} cannot be had from upstream")]
    Upstream {
        /// Where it is on a mirror.
        path: String,
        /// Why not.
        source: Box<FetchError>,
    },
    /// An old index in place of a newer one.
    #[error(
        "the index is of `{found}`, and that of `{expected}` was fetched before; the mirror is out of date, or somebody replays \
         an old index"
    )]
    Replayed {
        /// What the newer one says of itself.
        expected: String,
        /// What this one says of itself.
        found: String,
    },
    /// A repository that the site does not mirror.
    #[error("the site does not mirror `{0}`; add it to `caching-mirror.repositories`")]
    NotMirrored(RepositoryName),
    /// An index that should be brought up to date, and cannot be.
    #[error("upstream does not say whether the index of {0} is still the newest; the log has more")]
    Stale(String),
    /// Repositories with more than may be kept.
    #[error(
        "the packages take {needed} bytes, and `caching-mirror.size` is {limit}; raise it, or name fewer repositories"
    )]
    TooSmall {
        /// Bytes of all packages.
        needed: u64,
        /// Bytes that may be kept.
        limit: u64,
    },
    /// An image, while signatures are not checked.
    #[error("{0} is not served: nothing else vouches for it while the check `signature` is off")]
    Unsigned(String),
    /// The keys that count cannot be read.
    #[error("the keys of the netboot sets cannot be read")]
    Keys(#[source] Box<FetchError>),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A part of the program failed; the log has more.
    #[error("the file got lost on its way; the server's log has more")]
    Lost,
}

impl MirrorError {
    pub(super) fn upstream(path: String, source: FetchError) -> Self {
        match source {
            FetchError::NotFound { .. } => Self::Missing(path),
            FetchError::Disk(error) => Self::Disk(error),
            source => Self::Upstream { path, source: Box::new(source) },
        }
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text += &format!(": {cause_text}");
        }
        source = cause.source();
    }
    text
}
