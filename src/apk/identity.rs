//! What names the exact bytes of a package: the digest of its control segment.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// The identity of a package (`C:` in an index): the digest of its compressed control segment,
/// which in turn names the digest of its data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// `Q1…`: what Alpine's version 2 packages carry.
    Sha1([u8; 20]),
    /// `Q2…`.
    Sha256([u8; 32]),
}

/// A text that is not a package identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a package checksum; it starts with Q1, Q2, X1 or X2")]
pub struct IdentityError(
    /// The text as it was given.
    pub String,
);

impl Identity {
    /// The identity of the same kind as `self` that a control segment really has.
    #[must_use]
    pub fn of_same_kind(&self, control: &[u8]) -> Self {
        match self {
            Self::Sha1(_) => Self::sha1(control),
            Self::Sha256(_) => Self::sha256(control),
        }
    }

    /// The SHA-1 identity of a compressed control segment, as Alpine's indexes write it.
    #[must_use]
    pub fn sha1(control: &[u8]) -> Self {
        Self::Sha1(Sha1::digest(control).into())
    }

    /// The SHA-256 identity of a compressed control segment.
    #[must_use]
    pub fn sha256(control: &[u8]) -> Self {
        Self::Sha256(Sha256::digest(control).into())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha1(digest) => write!(f, "Q1{}", STANDARD.encode(digest)),
            Self::Sha256(digest) => write!(f, "Q2{}", STANDARD.encode(digest)),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    /// Reads `Q1` and `Q2` (base64) and `X1` and `X2` (hexadecimal). As in apk, a value marked
    /// SHA-1 that has the length of SHA-256 is SHA-256.
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let decoded = match text.split_at_checked(2) {
            Some(("Q1" | "Q2", digest)) => STANDARD.decode(digest).ok(),
            Some(("X1" | "X2", digest)) => unhex(digest),
            _ => None,
        };
        let marked_sha256 = text.as_bytes().get(1) == Some(&b'2');
        decoded
            .and_then(|bytes| match <[u8; 20]>::try_from(bytes) {
                Ok(digest) => (!marked_sha256).then_some(Self::Sha1(digest)),
                Err(bytes) => bytes.try_into().ok().map(Self::Sha256),
            })
            .ok_or_else(|| IdentityError(text.to_owned()))
    }
}

/// Reads hexadecimal of either case.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some(nibble(high)? << 4 | nibble(low)?)).collect()
}

fn nibble(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// Writes lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_four_spellings_are_read() {
        let sha1 = Identity::Sha1([0xab; 20]);
        let sha256 = Identity::Sha256([0xcd; 32]);
        assert_eq!(sha1.to_string(), "Q1q6urq6urq6urq6urq6urq6urq6s=");
        for (text, expected) in [
            (sha1.to_string(), sha1),
            (format!("X1{}", "ab".repeat(20)), sha1),
            (sha256.to_string(), sha256),
            (format!("X2{}", "CD".repeat(32)), sha256),
            (format!("X1{}", "cd".repeat(32)), sha256),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn digests_of_the_wrong_length_or_kind_are_refused() {
        let sha1_marked_sha256 = format!("X2{}", "ab".repeat(20));
        for text in ["", "Q", "Q1", "Q1AAAA", "Q3AAAA", "X1abc", "Q1é", sha1_marked_sha256.as_str()] {
            assert!(text.parse::<Identity>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(digest: [u8; 32]) {
            let identity = Identity::Sha256(digest);
            prop_assert_eq!(identity.to_string().parse(), Ok(identity));
            prop_assert_eq!(unhex(&hex(&digest)), Some(digest.to_vec()));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[QX]{0,1}[12]{0,1}\\PC{0,64}") {
            let _ = text.parse::<Identity>();
        }
    }
}
