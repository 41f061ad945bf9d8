//! Content digests: what a file is called once its bytes are known. Never reads a file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {algorithm} digest: {digits} lower-case hexadecimal digits are expected")]
pub struct DigestError {
    /// The text as given, cut to a length that fits an error message.
    text: String,
    /// `SHA-256` or `SHA-512`.
    algorithm: &'static str,
    /// How many digits the algorithm has.
    digits: usize,
}

/// A SHA-256 digest (FIPS 180-4), written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

/// A SHA-512 digest (FIPS 180-4), written as 128 lower-case hexadecimal digits. Only Alpine's checksum files need it;
/// everything Bivouac names is named by [`Digest`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest512([u8; 64]);

impl Digest {
    /// The digest of bytes that are already in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first twelve digits: enough for a person to tell bundles apart, not a name.
    #[must_use]
    pub fn short(&self) -> String {
        let first = self.0.first_chunk::<6>().expect("there are 32");
        digits_of(first, &mut [0; 12]).to_owned()
    }

    /// The 32 bytes themselves.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<[u8; 64]> for Digest512 {
    fn from(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }
}

impl Digest512 {
    /// The digest of bytes that are already in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha512::digest(bytes).into())
    }
}

/// A [`Digest`] of bytes that arrive piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes the next bytes; how they are cut into pieces makes no difference.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything taken.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// The text forms both digests share.
macro_rules! written_in_hexadecimal {
    ($type:ident, $bytes:literal, $algorithm:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut digits = [0; 2 * $bytes];
                out.write_str(digits_of(&self.0, &mut digits))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl FromStr for $type {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<Self, DigestError> {
                let mut bytes = [0; $bytes];
                if decode(text, &mut bytes).is_none() {
                    return Err(DigestError {
                        text: text.chars().take(2 * $bytes + 8).collect(),
                        algorithm: $algorithm,
                        digits: 2 * $bytes,
                    });
                }
                Ok(Self(bytes))
            }
        }

        impl TryFrom<String> for $type {
            type Error = DigestError;

            fn try_from(text: String) -> Result<Self, DigestError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(digest: $type) -> Self {
                digest.to_string()
            }
        }
    };
}

written_in_hexadecimal!(Digest, 32, "SHA-256");
written_in_hexadecimal!(Digest512, 64, "SHA-512");

/// The lower-case hexadecimal digits of `bytes`, written into `digits`, of which there are twice as many. Every URL of a
/// boot has some, so they are not formatted one by one.
pub(super) fn digits_of<'a>(bytes: &[u8], digits: &'a mut [u8]) -> &'a str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let (pairs, _) = digits.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]];
    }
    std::str::from_utf8(digits).expect("digits are ASCII")
}

/// Fills `bytes` from exactly twice as many lower-case digits. Upper case is refused, so that one digest has one name.
pub(super) fn decode(text: &str, bytes: &mut [u8]) -> Option<()> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(())
}

/// The value of one lower-case hexadecimal digit.
const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// FIPS 180-4 example "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_digest_of_abc_is_the_one_of_the_standard() {
        assert_eq!(Digest::of(b"abc").to_string(), ABC);
        assert!(Digest512::of(b"abc").to_string().starts_with("ddaf35a193617abacc417349ae204131"));
    }

    #[test]
    fn a_stream_and_a_slice_give_the_same_digest() {
        let mut short = Hasher::default();
        for piece in [b"a".as_slice(), b"", b"bc"] {
            short.update(piece);
        }
        assert_eq!(short.finish(), Digest::of(b"abc"));
    }

    #[test]
    fn only_64_lower_case_digits_are_a_digest() {
        assert_eq!(ABC.parse::<Digest>().unwrap(), Digest::of(b"abc"));
        for wrong in
            ["", &ABC[1..], &ABC.to_uppercase(), &format!("{ABC}0"), &format!("{ABC} "), &ABC.replace('b', "g")]
        {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
        assert_eq!(
            "short".parse::<Digest>().unwrap_err().to_string(),
            "`short` is not a SHA-256 digest: 64 lower-case hexadecimal digits are expected"
        );
    }

    #[test]
    fn json_holds_a_digest_as_text() {
        let json = serde_json::to_string(&Digest::of(b"abc")).unwrap();
        assert_eq!(json, format!("\"{ABC}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), Digest::of(b"abc"));
        assert!(serde_json::from_str::<Digest>("\"abc\"").is_err());
    }

    proptest! {
        #[test]
        fn every_digest_survives_its_text(bytes: [u8; 32]) {
            let digest = Digest::from(bytes);
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
            prop_assert_eq!(digest.as_bytes(), &bytes);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = text.parse::<Digest>();
            let _ = text.parse::<Digest512>();
        }
    }
}
