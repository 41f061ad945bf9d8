//! The two hashes that signatures may use.

use std::fmt;

use aws_lc_rs::{
    digest::{self, Context, Digest},
    signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaParameters},
};

/// A hash that is strong enough, and that [`FileHashes`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    /// The hash with that number (RFC 4880, section 9.4).
    pub(super) fn numbered(number: u8) -> Option<Self> {
        match number {
            8 => Some(Self::Sha256),
            10 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// A hash that has seen nothing yet.
    pub(super) fn start(self) -> Context {
        Context::new(match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        })
    }

    /// How RSA signs with it: PKCS #1 v1.5, the only padding OpenPGP has (RFC 4880, section 5.2.2).
    pub(super) fn rsa(self) -> &'static RsaParameters {
        match self {
            Self::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
        }
    }
}

/// SHA-256 and SHA-512 of a file, computed in one pass while it streams in.
///
/// A signature is over the file *and* a trailer of the signature's own. The running state is what
/// [`DetachedSignature::verify`](super::DetachedSignature::verify) continues, so the file need not be read again, and
/// the same pass gives the digests to compare with a mirror's lists.
#[derive(Clone)]
pub struct FileHashes {
    sha256: Context,
    sha512: Context,
}

impl FileHashes {
    /// Of no bytes yet.
    #[must_use]
    pub fn new() -> Self {
        Self { sha256: Hash::Sha256.start(), sha512: Hash::Sha512.start() }
    }

    /// Adds the file's next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.sha512.update(bytes);
    }

    /// SHA-256 of all bytes so far.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        bytes_of(&self.sha256.clone().finish())
    }

    /// SHA-512 of all bytes so far.
    #[must_use]
    pub fn sha512(&self) -> [u8; 64] {
        bytes_of(&self.sha512.clone().finish())
    }

    /// A copy of the running state, to be continued.
    pub(super) fn running(&self, hash: Hash) -> Context {
        match hash {
            Hash::Sha256 => self.sha256.clone(),
            Hash::Sha512 => self.sha512.clone(),
        }
    }
}

fn bytes_of<const N: usize>(digest: &Digest) -> [u8; N] {
    digest.as_ref().try_into().expect("the length of a digest is that of its hash")
}

impl Default for FileHashes {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FileHashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileHashes").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    #[test]
    fn the_digests_are_those_of_all_pieces_and_can_be_continued() {
        let mut hashes = FileHashes::new();
        hashes.update(b"a");
        assert_eq!(hashes.sha256(), <[u8; 32]>::from(sha2::Sha256::digest(b"a")));
        hashes.update(b"bc");
        assert_eq!(hashes.sha256(), <[u8; 32]>::from(sha2::Sha256::digest(b"abc")));
        assert_eq!(hashes.sha512(), <[u8; 64]>::from(sha2::Sha512::digest(b"abc")));
    }
}
