//! What a signature says about itself and its maker (RFC 4880, section 5.2.3.1).

use std::fmt;

use super::{
    error::SignatureError,
    fingerprint::Fingerprint,
    packet::{Reader, read_length},
};

/// The key a signature says it is by. It is a hint, and often not signed: the mathematics decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Issuer {
    /// By fingerprint (RFC 9580, section 5.2.3.35).
    Fingerprint(Fingerprint),
    /// By the last eight bytes of it (RFC 4880, section 5.2.3.5).
    KeyId([u8; 8]),
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(fingerprint) => fingerprint.fmt(f),
            Self::KeyId(id) => id.iter().try_for_each(|byte| write!(f, "{byte:02X}")),
        }
    }
}

const CREATED: u8 = 2;
const ISSUER: u8 = 16;
const KEY_FLAGS: u8 = 27;
const EMBEDDED: u8 = 32;
const ISSUER_FINGERPRINT: u8 = 33;

/// Whether a subpacket may be critical. Those that are not read here do not change whether a pinned key made a signature:
/// expiry of the signature (3) and of the key (9), revocable (7), preferences (11, 21 to 25, 34), address of a policy
/// (26), user ID of the signer (28), reason of a revocation (29), features (30).
fn is_understood(number: u8) -> bool {
    let read = [CREATED, ISSUER, KEY_FLAGS, EMBEDDED, ISSUER_FINGERPRINT].contains(&number);
    read || matches!(number, 3 | 7 | 9 | 11 | 21..=26 | 28..=30 | 34)
}

/// The flag of a key that may sign files (RFC 4880, section 5.2.3.21).
const MAY_SIGN: u8 = 0x02;

/// What the subpackets say.
#[derive(Debug, Clone, Default)]
pub(super) struct Subpackets {
    /// When the signature was made, in seconds since 1970.
    pub(super) created: u32,
    flags: u8,
    fingerprint: Option<Fingerprint>,
    key_id: Option<[u8; 8]>,
    /// The body of a signature within the signature.
    pub(super) embedded: Option<Vec<u8>>,
}

/// Where a subpacket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    /// What it says is signed.
    Hashed,
    /// Anybody may have written it.
    Unhashed,
}

impl Subpackets {
    /// Reads one area; the hashed one has to be the first, because the first hint at the issuer is kept.
    pub(super) fn read(&mut self, area: &[u8], place: Area) -> Result<(), SignatureError> {
        const SUBPACKET: &str = "subpacket of the signature";
        let mut reader = Reader::new(area);
        while !reader.rest().is_empty() {
            let first = reader.u8(SUBPACKET)?;
            let length = read_length(first, &mut reader, SUBPACKET)?;
            let mut content = Reader::new(reader.sized(length, SUBPACKET)?);
            let number = content.u8(SUBPACKET)?;
            let (critical, number) = (number & 0x80 != 0, number & 0x7f);
            match number {
                CREATED if place == Area::Hashed => self.created = content.u32(SUBPACKET)?,
                // A key may have more flags than the first eight; none of them is of interest.
                KEY_FLAGS if place == Area::Hashed => {
                    self.flags = content.rest().first().copied().unwrap_or(0);
                }
                ISSUER => {
                    self.key_id.get_or_insert(content.array(SUBPACKET)?);
                }
                // Keys of other versions have longer fingerprints, and are not read.
                ISSUER_FINGERPRINT if content.u8(SUBPACKET)? == 4 => {
                    self.fingerprint.get_or_insert(Fingerprint::new(content.array(SUBPACKET)?));
                }
                EMBEDDED => {
                    self.embedded.get_or_insert_with(|| content.rest().to_vec());
                }
                _ if critical && place == Area::Hashed && !is_understood(number) => {
                    return Err(SignatureError::Critical(number));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the signature lets the key it is about sign files.
    pub(super) fn allow_signing(&self) -> bool {
        self.flags & MAY_SIGN != 0
    }

    /// The key that made the signature; a fingerprint says more than a key ID.
    pub(super) fn issuer(&self) -> Option<Issuer> {
        self.fingerprint.map(Issuer::Fingerprint).or(self.key_id.map(Issuer::KeyId))
    }
}
