//! Detached OpenPGP signatures of release files, by keys that somebody pinned.
//!
//! Alpine signs each netboot tarball with a key of its release engineer; a site may sign files of its own with a key made
//! by GnuPG. A [`ReleaseKey`] is one such key, chosen by its [`Fingerprint`]; a [`DetachedSignature`] is read before the
//! file is downloaded, [`FileHashes`] runs along with the download, and [`DetachedSignature::verify`] joins the three.
//!
//! It reads what those signatures need and refuses the rest by name: version 4 keys and signatures (RFC 4880; RFC 9580
//! keeps them), RSA of 2048 to 8192 bits and Ed25519 in both its encodings, SHA-256 and SHA-512, signatures of type 0x00.
//! It never signs, encrypts or decrypts, and knows no web of trust: the pin is the whole of it.
//!
//! **Expiry is not looked at**, neither of a key nor of a signature: who pins a key has decided to trust it, and an old
//! release has to stay verifiable after its key ran out. A key or subkey that was revoked is refused.
//!
//! The crates for all of OpenPGP are out: `pgp` brings the crate `rsa` with its timing leak RUSTSEC-2023-0071, and
//! `sequoia-openpgp` is LGPL with some 150 packages. The mathematics are those of `aws-lc-rs`, as everywhere in Bivouac.

mod armor;
mod binding;
mod components;
mod detached;
mod error;
mod fingerprint;
mod hash;
mod packet;
mod public_key;
mod release_key;
mod signature;
mod subpacket;

#[cfg(test)]
mod fixtures;

pub use detached::DetachedSignature;
pub use error::{FormatError, ReleaseKeyError, SignatureError, SubkeyFault};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use hash::FileHashes;
pub use release_key::{ReleaseKey, ReleaseKeys};

/// The longest key or signature file, in bytes. Alpine's key has 3 KiB; one with the certifications of a hundred others
/// still fits.
pub(super) const FILE_LIMIT: usize = 64 * 1024;
