//! Public keys (RFC 4880, section 5.5.2), and whether one made a signature.

use aws_lc_rs::{
    digest::Digest,
    encoding::{AsDer, PublicKeyX509Der},
    rsa::PublicEncryptingKey,
    signature::{ED25519, RsaPublicKeyComponents, UnparsedPublicKey},
};

use super::{
    error::{FormatError, ReleaseKeyError},
    fingerprint::Fingerprint,
    packet::Reader,
    signature::{Material, Signature},
    subpacket::Issuer,
};

/// The curve Ed25519 as an object identifier, 1.3.6.1.4.1.11591.15.1, without its tag and length.
const ED25519_OID: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];

/// The lengths of RSA keys that are accepted, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A primary key or subkey that can verify signatures.
#[derive(Debug, Clone)]
pub(super) struct PublicKey {
    fingerprint: Fingerprint,
    /// What stands for this key where one is signed or named (RFC 4880, section 5.2.4).
    hashed: Vec<u8>,
    verifier: Verifier,
}

#[derive(Debug, Clone)]
enum Verifier {
    Rsa {
        /// SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
        der: Vec<u8>,
        /// Bytes of the modulus, and of every signature.
        length: usize,
    },
    Ed25519([u8; 32]),
}

impl PublicKey {
    /// Reads the body of a key packet.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ReleaseKeyError> {
        let mut reader = Reader::new(body);
        let version = reader.u8("version of a key")?;
        if version != 4 {
            return Err(ReleaseKeyError::Version(version));
        }
        // Neither the time it was made nor an expiry counts for a key that is pinned.
        reader.u32("time of a key")?;
        let verifier = match reader.u8("algorithm of a key")? {
            1 | 3 => rsa(reader.mpi("modulus")?, reader.mpi("exponent")?)?,
            22 => Verifier::Ed25519(legacy_ed25519(&mut reader)?),
            27 => Verifier::Ed25519(reader.array("Ed25519 key")?),
            other => return Err(ReleaseKeyError::Algorithm(other)),
        };
        let length = u16::try_from(body.len()).map_err(|_| FormatError::Number("key"))?;
        let hashed = [&[0x99], &length.to_be_bytes()[..], body].concat();
        Ok(Self { fingerprint: Fingerprint::of(&hashed), hashed, verifier })
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(super) fn hashed(&self) -> &[u8] {
        &self.hashed
    }

    /// Whether a signature says that this key made it.
    pub(super) fn is_named_by(&self, issuer: &Issuer) -> bool {
        match issuer {
            Issuer::Fingerprint(fingerprint) => *fingerprint == self.fingerprint,
            Issuer::KeyId(id) => *id == self.fingerprint.key_id(),
        }
    }

    /// Whether this key made the signature over texts that fit into memory.
    pub(super) fn signed(&self, signature: &Signature, texts: &[&[u8]]) -> bool {
        let mut context = signature.hash().start();
        texts.iter().for_each(|text| context.update(text));
        self.verifies(signature, &signature.finish(context))
    }

    /// Whether this key made the signature, whose digest is that of the signed text and the signature's trailer.
    pub(super) fn verifies(&self, signature: &Signature, digest: &Digest) -> bool {
        // The first bytes of the digest are written in the open, outside of what the key signs.
        if !digest.as_ref().starts_with(&signature.digest_start()) {
            return false;
        }
        match (&self.verifier, signature.material()) {
            (Verifier::Rsa { der, length }, Material::Rsa(number)) => {
                // OpenPGP drops the leading zeros of a number, PKCS #1 wants all bytes.
                let Some(zeros) = length.checked_sub(number.len()) else { return false };
                let padded = [&vec![0; zeros][..], number].concat();
                UnparsedPublicKey::new(signature.hash().rsa(), der).verify_digest(digest, &padded).is_ok()
            }
            // For Ed25519 the digest is the message (RFC 9580, section 5.2.3.3).
            (Verifier::Ed25519(point), Material::Ed25519(bytes)) => {
                UnparsedPublicKey::new(&ED25519, point).verify(digest.as_ref(), bytes).is_ok()
            }
            _ => false,
        }
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Verifier, ReleaseKeyError> {
    let bits =
        modulus.first().map_or(0, |first| modulus.len() * 8 - usize::try_from(first.leading_zeros()).unwrap_or(0));
    if !RSA_BITS.contains(&bits) {
        return Err(ReleaseKeyError::RsaLength(bits));
    }
    let components = RsaPublicKeyComponents { n: modulus, e: exponent };
    let key: PublicEncryptingKey = components.try_into().map_err(|_| ReleaseKeyError::RsaNumbers)?;
    let der: PublicKeyX509Der<'_> = key.as_der().map_err(|_| ReleaseKeyError::RsaNumbers)?;
    Ok(Verifier::Rsa { der: der.as_ref().to_vec(), length: modulus.len() })
}

/// Ed25519 before RFC 9580: a curve and a point with a byte before it that says "native form".
fn legacy_ed25519(reader: &mut Reader<'_>) -> Result<[u8; 32], ReleaseKeyError> {
    let length = reader.u8("curve")?;
    if reader.sized(u32::from(length), "curve")? != ED25519_OID {
        return Err(ReleaseKeyError::Curve);
    }
    match reader.mpi("Ed25519 key")?.split_first() {
        Some((0x40, point)) => point.try_into().map_err(|_| ReleaseKeyError::Point),
        _ => Err(ReleaseKeyError::Point),
    }
}
