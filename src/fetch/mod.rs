//! From Alpine's mirrors to verified files in a cache.
//!
//! [`Mirrors`] resolve what a profile asks for to one [`Release`], download that release's netboot tarball (the only
//! thing Alpine hashes and signs), verify it, and unpack its files into a [`Cache`], from which each kernel flavor is a
//! [`NetbootSet`]. The rolling `netboot/` folder of the mirrors is never used (REL-1, REL-2). Package indexes and
//! packages are kept in the same cache.
//!
//! What is verified: the tarball by SHA-256, SHA-512 and OpenPGP signature, the modloop by the signature its initramfs
//! brings, and that kernel, initramfs and modloop are of one kernel release; [`Checks`] says with which keys.
//!
//! What the caching mirror asks of Alpine's mirrors is in [`Mirrors`] too: a file again unless it is as it was, and files
//! straight to the disk.
//!
//! Whatever a mirror sends may be hostile: sizes are bounded before bytes are read, names are checked before files are
//! made, and a file that is refused leaves nothing behind.

mod cache;
mod checks;
mod download;
mod error;
mod initramfs;
mod inspect;
mod mirrors;
mod modloop;
mod openpgp;
mod package_keys;
mod pages;
mod partial;
mod progress;
mod record;
mod relay;
mod release;
mod resolve;
mod secdb;
mod sink;
mod streams;
mod survey;
mod tarball;
mod transfer;

pub use cache::{Cache, package_name};
pub use checks::{Checks, Kernels};
pub use download::{Downloader, Expect, HttpSettings, Proxy, Source};
pub use error::{FetchError, MemberFault, RedirectFault};
pub use initramfs::{InitramfsError, InitramfsFacts};
pub use mirrors::{FetchedIndex, Mirrors, PackagePlace, Wish};
pub use modloop::ModloopError;
pub use openpgp::{
    DetachedSignature, FileHashes, Fingerprint, FingerprintError, FormatError, ReleaseKey, ReleaseKeyError,
    ReleaseKeys, SignatureError, SubkeyFault,
};
pub use package_keys::alpine_keys;
pub use pages::PageEntry;
pub use progress::{Progress, Silent};
pub use record::{CachedFile, Facts, NetbootSet};
pub use relay::{Known, Renewed};
pub use release::{ListingError, Release};
pub use secdb::secdb;
pub use survey::{FlavorOffer, Offer, Scope, Survey};
pub use transfer::Validators;
