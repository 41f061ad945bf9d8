//! Fingerprints: the names of keys that cannot be chosen.

use std::{fmt, str::FromStr};

use sha1::{Digest as _, Sha1};

/// Bytes of a fingerprint; SHA-1 has as many.
const LENGTH: usize = 20;

/// The fingerprint of a version 4 key: SHA-1 of its public half (RFC 4880, section 12.2).
///
/// Collisions of SHA-1 do no harm here: who could make two keys of one fingerprint holds both. Another key for a
/// fingerprint that is given would take a second preimage, which nobody can compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; LENGTH]);

impl Fingerprint {
    /// The fingerprint with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// The fingerprint of the key with this text to hash: 0x99, two bytes of length, the packet's body.
    pub(super) fn of(hashed: &[u8]) -> Self {
        Self(Sha1::digest(hashed).into())
    }

    /// The key ID, by which older signatures name their key: the last eight bytes.
    pub(super) fn key_id(&self) -> [u8; 8] {
        *self.0.last_chunk().expect("a fingerprint has twenty bytes")
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the fingerprint of a key; it has 40 hexadecimal digits, as `gpg --fingerprint` shows them, and a \
     shorter key ID is not enough"
)]
pub struct FingerprintError(String);

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Reads 40 hexadecimal digits of either case; spaces between them are skipped.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let refused = || FingerprintError(text.to_owned());
        let mut digits = text.chars().filter(|&character| character != ' ').map(|digit| digit.to_digit(16));
        let mut bytes = [0; LENGTH];
        for byte in &mut bytes {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else { return Err(refused()) };
            *byte = u8::try_from(high << 4 | low).expect("two hexadecimal digits are a byte");
        }
        if digits.next().is_some() { Err(refused()) } else { Ok(Self(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0482D84022F52DF1C4E7CD43293ACD0907D9495A";

    #[test]
    fn a_fingerprint_is_read_with_and_without_spaces_and_written_without() {
        let plain: Fingerprint = TEXT.parse().unwrap();
        assert_eq!(plain.to_string(), TEXT);
        assert_eq!("0482 D840 22F5 2DF1 C4E7  CD43 293A CD09 07D9 495A".parse(), Ok(plain));
        assert_eq!(TEXT.to_lowercase().parse(), Ok(plain));
        assert_eq!(plain.key_id(), [0x29, 0x3A, 0xCD, 0x09, 0x07, 0xD9, 0x49, 0x5A]);
    }

    #[test]
    fn a_key_id_and_other_texts_are_not_fingerprints() {
        let long = format!("{TEXT}0");
        for text in ["", "293ACD0907D9495A", &TEXT[1..], &long, &TEXT.replace('A', "G"), &TEXT.replace('A', "é")] {
            assert_eq!(text.parse::<Fingerprint>(), Err(FingerprintError(text.to_owned())));
        }
    }
}
