//! The SHA-256 fingerprint of a certificate, as people compare it.

use std::fmt;
use std::str::FromStr;

use crate::model::digest::Digest;

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the SHA-256 fingerprint of a certificate: 32 pairs of hexadecimal digits, with or without colons"
)]
pub struct FingerprintError(String);

/// The SHA-256 of a certificate in DER. Shown as 32 pairs of upper-case digits with colons, as `openssl x509
/// -fingerprint -sha256` and the pages of Proxmox do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(Digest);

impl Fingerprint {
    /// That of a certificate.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(Digest::of(certificate))
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let wrong = || FingerprintError(text.chars().take(120).collect());
        let text_of_digits = text.trim();
        let is_paired = text_of_digits.split(':').all(|pair| pair.len() == 2);
        if text_of_digits.contains(':') && !is_paired {
            return Err(wrong());
        }
        let digits = text_of_digits.replace(':', "").to_ascii_lowercase();
        digits.parse().map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.as_bytes().iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_fingerprint_is_read_back_however_it_is_written(bytes in any::<Vec<u8>>(), text in "[0-9a-fA-F:]{0,100}") {
            let fingerprint = Fingerprint::of(&bytes);
            let shown = fingerprint.to_string();
            prop_assert_eq!(shown.parse(), Ok(fingerprint));
            prop_assert_eq!(shown.replace(':', "").to_lowercase().parse(), Ok(fingerprint));
            if let Ok(read) = text.parse::<Fingerprint>() {
                prop_assert_eq!(read.to_string().replace(':', ""), text.replace(':', "").to_uppercase());
            }
        }
    }
}
