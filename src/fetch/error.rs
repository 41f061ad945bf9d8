//! Everything that can go wrong between a mirror and the cache.

use std::error::Error;
use std::fmt::Display;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;

use super::modloop::ModloopError;
use super::openpgp::SignatureError;
use super::{InitramfsError, Kernels, ListingError};
use crate::apk::SignedIndexError;
use crate::disk::DiskError;
use crate::model::alpine::{Arch, Flavor, Version};
use crate::model::digest::Digest;
use crate::wire::kernel::KernelError;
use crate::wire::squashfs::SquashfsError;

/// Why something could not be fetched. Each message names the file and what to do; what was expected and what was found
/// is in it where there are two such things.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address is not one to download from.
    #[error("`{url}` is not an address to download from: {reason}")]
    Address {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client; check the system's certificates and the proxy settings")]
    Client(#[source] reqwest::Error),
    /// No connection, or no answer.
    #[error("no answer from {url}")]
    Unreachable {
        /// The file.
        url: String,
        /// What failed.
        source: reqwest::Error,
    },
    /// The answer is that there is no such file.
    #[error("{url} does not exist on the server ({status})")]
    NotFound {
        /// The file.
        url: String,
        /// 404 or 410.
        status: StatusCode,
    },
    /// The answer is some other refusal.
    #[error("{url} was answered with {status}; the file was expected")]
    Status {
        /// The file.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// A redirect that is not followed.
    #[error("{url} is redirected in a way that is not followed; use another mirror")]
    Redirect {
        /// The file.
        url: String,
        /// Why not.
        source: RedirectFault,
    },
    /// A web page in place of the file.
    #[error("{url} was answered with a web page instead of the file; a proxy or a login page may stand between")]
    WebPage {
        /// The file.
        url: String,
    },
    /// The server announces another length than the file must have.
    #[error("{url} has {found} bytes, expected {expected}; the mirror may be out of date or broken: use another one")]
    Length {
        /// The file.
        url: String,
        /// Bytes expected.
        expected: u64,
        /// Bytes announced.
        found: u64,
    },
    /// More bytes than the file may have.
    #[error("{url} has more than {limit} bytes, which is all it may have; the mirror may be broken: use another one")]
    TooLarge {
        /// The file.
        url: String,
        /// Bytes allowed.
        limit: u64,
    },
    /// The answer ended before the file did.
    #[error("{url} was cut off after {found} bytes{}", then(", expected ", expected.as_ref()))]
    Cut {
        /// The file.
        url: String,
        /// Bytes expected, when known.
        expected: Option<u64>,
        /// Bytes received.
        found: u64,
        /// What ended it, when it was not the server closing the connection in good order.
        source: Option<reqwest::Error>,
    },
    /// A download that was cut off does not go on where it ended; it starts again.
    #[error("{url} cannot be continued after {found} bytes")]
    Resume {
        /// The file.
        url: String,
        /// Bytes received before.
        found: u64,
    },
    /// A server that sends, but hardly anything.
    #[error(
        "{url} came with only {found} bytes in {}; at least {least} are expected", humantime::format_duration(*patience)
    )]
    TooSlow {
        /// The file.
        url: String,
        /// Bytes received.
        found: u64,
        /// Bytes expected in that time.
        least: u64,
        /// The time.
        patience: Duration,
    },
    /// A download that took longer than any may.
    #[error("{url} was not complete after {}; use a nearer mirror", humantime::format_duration(*limit))]
    OutOfTime {
        /// The file.
        url: String,
        /// How long it may take.
        limit: Duration,
    },
    /// Every mirror failed, each in its own way.
    #[error("none of the {} mirrors is of use{}", .0.len(), each(.0))]
    Several(Vec<Self>),
    /// Something that was never fetched, or was deleted since, is asked for offline.
    #[error(
        "{} cannot be had offline; run `bivouac fetch --packages` once without --offline", missing.join(", ")
    )]
    Offline {
        /// What is missing.
        missing: Vec<String>,
    },
    /// What mirrors offer is asked for offline; the cache does not know it.
    #[error("only mirrors know what they offer; leave out --offline")]
    OfflineSurvey,
    /// Somebody who verifies what was downloaded does not accept it.
    #[error("{url} is refused")]
    Refused {
        /// The file.
        url: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A passing failure that did not pass.
    #[error(
        "gave up on {url} after {attempts} attempt{}; check the network and the proxy settings, or use another mirror",
        if *attempts == 1 { "" } else { "s" }
    )]
    GaveUp {
        /// The file.
        url: String,
        /// How often it was tried.
        attempts: usize,
        /// How the last attempt failed.
        source: Box<Self>,
    },
    /// The bytes are not those that were promised.
    #[error(
        "{url} has the {algorithm} checksum {found}, expected {expected}; do not use it: try again or use another mirror"
    )]
    Checksum {
        /// The file.
        url: String,
        /// `SHA-256` or `SHA-512`.
        algorithm: &'static str,
        /// What was promised.
        expected: String,
        /// What the bytes have.
        found: String,
    },
    /// A list of releases, or a checksum file, is not what it should be.
    #[error("cannot use {url}; the mirror may be broken: use another one")]
    Listing {
        /// The file.
        url: String,
        /// What is wrong with it.
        source: ListingError,
    },
    /// A folder without a list of releases.
    #[error(
        "there are no releases of `{folder}` for {arch}: {url} does not exist; check the release and the architecture, \
         `bivouac fetch --list` shows what there is"
    )]
    NoReleases {
        /// `latest-stable`, a branch, or `edge`.
        folder: String,
        /// The architecture asked for.
        arch: Arch,
        /// Where the list should be.
        url: String,
    },
    /// A branch that is being prepared.
    #[error(
        "branch `{folder}` is there for {arch}, but nothing of it is released yet: {url} does not exist; choose an older \
         branch until then"
    )]
    NotReleased {
        /// `latest-stable`, a branch, or `edge`.
        folder: String,
        /// The architecture asked for.
        arch: Arch,
        /// Where the list should be.
        url: String,
    },
    /// A list that names an older release than before.
    #[error(
        "{url} names release {found}, and {expected} was fetched before; the mirror is out of date, or somebody replays an \
         old list: use another mirror, or switch the check `replay` off"
    )]
    Replayed {
        /// The list.
        url: String,
        /// The newest release seen.
        expected: Version,
        /// What it names now.
        found: Version,
    },
    /// A list that names other bytes for a release than before.
    #[error(
        "{url} names a tarball of {version} with SHA-256 {found}, and {expected} was fetched before; releases never change: \
         use another mirror, or switch the check `replay` off"
    )]
    Replaced {
        /// The list.
        url: String,
        /// The release.
        version: Version,
        /// What its tarball was.
        expected: Digest,
        /// What it is said to be now.
        found: Digest,
    },
    /// A list that gives a tarball another name than it had.
    #[error(
        "{url} names the tarball with SHA-256 {sha256} {found}, and it was fetched as {expected}; the mirror passes one \
         release off as another: use another mirror, or switch the check `replay` off"
    )]
    Renamed {
        /// The list.
        url: String,
        /// The tarball.
        sha256: Digest,
        /// What it was called.
        expected: String,
        /// What it is called now.
        found: String,
    },
    /// A tarball that was signed at a time at which no release of its version can have been.
    #[error(
        "{url} was made {}, and the signature of {other} {}; {version} cannot be that release: the mirror passes one \
         release off as another, use another mirror, or switch the check `replay` off",
        humantime::format_rfc3339_seconds(*signed), humantime::format_rfc3339_seconds(*other_signed)
    )]
    Disorder {
        /// The signature.
        url: String,
        /// What it is said to be of.
        version: Version,
        /// When it was made.
        signed: SystemTime,
        /// A release of the same branch.
        other: Version,
        /// When the signature of that was made.
        other_signed: SystemTime,
    },
    /// A tarball for machines of another kind.
    #[error(
        "{file} of {tarball} is for another architecture than {arch} (ELF machine {found}, expected {expected}); the tarball is refused"
    )]
    OtherArch {
        /// The member.
        file: String,
        /// The tarball's name.
        tarball: String,
        /// The architecture its name says.
        arch: Arch,
        /// The machine its programs are for.
        found: u16,
        /// The machine they should be for.
        expected: u16,
    },
    /// A tarball without a signature.
    #[error("{file} is not signed: {url} does not exist; use another mirror, or switch the check `signature` off")]
    NotSigned {
        /// Where the signature should be.
        url: String,
        /// The tarball's name.
        file: String,
    },
    /// A tarball whose signature does not count.
    #[error("{url} is not a good signature of {file}; the tarball is refused")]
    Signature {
        /// The signature.
        url: String,
        /// The tarball's name.
        file: String,
        /// Why not.
        source: SignatureError,
    },
    /// Releases, but nothing to boot from the network.
    #[error(
        "`{folder}` has no netboot release for {arch} yet, says {url}; choose an older branch or another architecture"
    )]
    NoNetboot {
        /// `latest-stable`, a branch, or `edge`.
        folder: String,
        /// The architecture asked for.
        arch: Arch,
        /// The list of releases.
        url: String,
    },
    /// An exact version that is not there.
    #[error("there is no netboot release {version} for {arch}: {url} does not exist{}", then("; the newest of that branch is ", newest.as_ref()))]
    NoVersion {
        /// The version asked for.
        version: Version,
        /// The architecture asked for.
        arch: Arch,
        /// The checksum file that should be beside it.
        url: String,
        /// What the branch's list names instead.
        newest: Option<Version>,
    },
    /// A flavor that the release does not have.
    #[error("Alpine {version} for {arch} has no kernel flavor `{flavor}`; it has {}", listed(present))]
    NoFlavor {
        /// The flavor asked for.
        flavor: Flavor,
        /// The release.
        version: Version,
        /// Its architecture.
        arch: Arch,
        /// The flavors its tarball has, sorted.
        present: Vec<Flavor>,
    },
    /// A member of the tarball that must not be there.
    #[error("`{member}` in {tarball} {fault}; the tarball is refused")]
    Member {
        /// The tarball's name.
        tarball: String,
        /// The member's name.
        member: String,
        /// What is wrong with it.
        fault: MemberFault,
    },
    /// A tarball with a kernel but without what belongs to it.
    #[error("{tarball} has no `{member}`; the tarball is refused")]
    Incomplete {
        /// The tarball's name.
        tarball: String,
        /// The member that is missing.
        member: String,
    },
    /// A tarball that unpacks to more than it may.
    #[error("{tarball} unpacks to more than {limit} bytes; the tarball is refused")]
    Bomb {
        /// The tarball's name.
        tarball: String,
        /// Bytes allowed.
        limit: u64,
    },
    /// A tarball that is no tar archive in gzip form.
    #[error("cannot unpack {tarball}; the tarball is refused")]
    Tarball {
        /// The tarball's name.
        tarball: String,
        /// What the decoder says.
        source: std::io::Error,
    },
    /// An initramfs that cannot be read.
    #[error("cannot read {file} of {tarball}; the tarball is refused")]
    Initramfs {
        /// The member.
        file: String,
        /// The tarball's name.
        tarball: String,
        /// What is wrong with it.
        source: InitramfsError,
    },
    /// A kernel whose header is not one.
    #[error("cannot read {file} of {tarball}; the tarball is refused")]
    Kernel {
        /// The member.
        file: String,
        /// The tarball's name.
        tarball: String,
        /// What is wrong with it.
        source: KernelError,
    },
    /// A modloop that is no squashfs image.
    #[error("cannot read {file} of {tarball}; the tarball is refused")]
    Modloop {
        /// The member.
        file: String,
        /// The tarball's name.
        tarball: String,
        /// What is wrong with it.
        source: SquashfsError,
    },
    /// A modloop whose signature does not count.
    #[error("{file} of {tarball} is refused")]
    ModloopSignature {
        /// The member.
        file: String,
        /// The tarball's name.
        tarball: String,
        /// Why.
        source: ModloopError,
    },
    /// Files of different kernel builds.
    #[error("flavor `{flavor}` of {tarball} is not one set: it has {kernels}; the tarball is refused")]
    NotOneSet {
        /// The tarball's name.
        tarball: String,
        /// The flavor.
        flavor: Flavor,
        /// What the files tell.
        kernels: Kernels,
    },
    /// The cache's disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectFault {
    /// There are too many, or they lead in a circle.
    #[error("there are more than {limit} redirects, the last to {to}")]
    TooMany {
        /// How many are followed.
        limit: usize,
        /// Where the next one leads.
        to: String,
    },
    /// From https to http: what arrives could be anybody's.
    #[error("it leads from https to {to}, which is not encrypted")]
    Unencrypted {
        /// Where it leads.
        to: String,
    },
}

/// Why a member of a tarball is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemberFault {
    /// Absolute, with `..`, or not UTF-8.
    #[error("does not have a plain relative name")]
    Name,
    /// A symbolic link, a device, a pipe or something unknown; or one of these or a hard link in place of a file.
    #[error("is not a regular file or a folder")]
    Kind,
    /// A second member of the same name.
    #[error("is there twice")]
    Twice,
    /// One of more files than a release can have.
    #[error("is one of too many kernels")]
    TooMany,
    /// A name or size in an extension header that is too long or contradicts the member's own.
    #[error("has an extension header that cannot be believed")]
    Extension,
    /// The archive ends within it.
    #[error("is cut off")]
    Cut,
}

/// A text with what it introduces, or nothing.
fn then(text: &str, what: Option<&impl Display>) -> String {
    what.map(|it| format!("{text}{it}")).unwrap_or_default()
}

/// Flavors as a sentence lists them.
fn listed(flavors: &[Flavor]) -> String {
    let quoted: Vec<_> = flavors.iter().map(|it| format!("`{it}`")).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}

/// Each failure with its causes, one a line.
fn each(errors: &[FetchError]) -> String {
    let mut text = String::new();
    for error in errors {
        text += &format!("\n  {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            text += &format!(": {cause}");
            source = cause.source();
        }
    }
    text
}

impl FetchError {
    /// Whether another attempt may succeed.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Cut { .. } | Self::Resume { .. } | Self::TooSlow { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            _ => false,
        }
    }

    /// Whether a server was left because it did not answer, or not well, so that patience might help.
    pub(super) fn gave_up(&self) -> bool {
        match self {
            Self::GaveUp { .. } => true,
            Self::Several(all) => all.iter().any(Self::gave_up),
            _ => false,
        }
    }

    /// Whether no other mirror can help.
    pub(super) const fn is_decisive(&self) -> bool {
        matches!(self, Self::Disk(_) | Self::NoFlavor { .. } | Self::Offline { .. })
    }

    /// Whether it is a package index that nobody who is trusted has signed.
    #[must_use]
    pub fn is_unknown_key(&self) -> bool {
        match self {
            Self::Refused { source, .. } => {
                matches!(source.downcast_ref(), Some(SignedIndexError::UnknownKey { .. }))
            }
            Self::Several(parts) => parts.iter().any(Self::is_unknown_key),
            _ => false,
        }
    }

    /// One error for the failures of all servers, each of them once; where none has a file, that is what is said.
    pub(super) fn of_all(failures: Vec<Self>) -> Self {
        let mut errors: Vec<Self> = Vec::new();
        for failure in failures {
            // A tarball is looked for on every mirror, whichever of them named it.
            let parts = if let Self::Several(parts) = failure { parts } else { vec![failure] };
            for part in parts {
                if errors.iter().all(|known| known.to_string() != part.to_string()) {
                    errors.push(part);
                }
            }
        }
        let is_missing = |error: &Self| matches!(error, Self::NotFound { .. });
        if errors.len() == 1 || errors.iter().all(is_missing) {
            errors.truncate(1);
        }
        match errors.pop() {
            Some(only) if errors.is_empty() => only,
            Some(last) => {
                errors.push(last);
                Self::Several(errors)
            }
            None => Self::Address { url: String::new(), reason: "no server was named".to_owned() },
        }
    }
}
