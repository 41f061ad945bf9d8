//! Signature packets of version 4 (RFC 4880, section 5.2.3).

use aws_lc_rs::digest::{Context, Digest};

use super::{
    error::{FormatError, SignatureError},
    hash::Hash,
    packet::Reader,
    subpacket::{Area, Subpackets},
};

/// What a signature is for (RFC 4880, section 5.2.1).
pub(super) mod kind {
    /// Of a file's bytes.
    pub(in super::super) const BINARY: u8 = 0x00;
    /// Of a text with its line ends made CR LF.
    pub(in super::super) const TEXT: u8 = 0x01;
    /// By a primary key: that subkey is mine.
    pub(in super::super) const SUBKEY_BINDING: u8 = 0x18;
    /// By a subkey: that primary key is mine. Without it anybody could take another's subkey for their own.
    pub(in super::super) const PRIMARY_BINDING: u8 = 0x19;
    pub(in super::super) const KEY_REVOCATION: u8 = 0x20;
    pub(in super::super) const SUBKEY_REVOCATION: u8 = 0x28;
}

/// The numbers a key computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Material {
    /// Without leading zeros.
    Rsa(Vec<u8>),
    Ed25519([u8; 64]),
}

/// A signature of version 4, by an algorithm and a hash that are accepted.
#[derive(Debug, Clone)]
pub(super) struct Signature {
    kind: u8,
    hash: Hash,
    /// From the version to the end of the hashed subpackets: what is signed besides the text.
    hashed: Vec<u8>,
    digest_start: [u8; 2],
    material: Material,
    subpackets: Subpackets,
}

/// What a signature packet is for, as far as that can be told without reading all of it.
pub(super) fn kind_of(body: &[u8]) -> Option<u8> {
    match body {
        [2 | 3, _, kind, ..] | [4..=255, kind, ..] => Some(*kind),
        _ => None,
    }
}

impl Signature {
    /// Reads the body of a signature packet.
    pub(super) fn parse(body: &[u8]) -> Result<Self, SignatureError> {
        const HASHED: &str = "hashed part of the signature";
        const UNHASHED: &str = "unhashed part of the signature";
        let mut reader = Reader::new(body);
        let version = reader.u8("version of the signature")?;
        if version != 4 {
            return Err(SignatureError::Version(version));
        }
        let kind = reader.u8("type of the signature")?;
        let algorithm = reader.u8("algorithm of the signature")?;
        let hash = reader.u8("hash of the signature")?;
        let length = reader.u16(HASHED)?;
        let mut subpackets = Subpackets::default();
        subpackets.read(reader.take(length.into(), HASHED)?, Area::Hashed)?;
        let hashed = body.get(..body.len() - reader.rest().len()).unwrap_or_default().to_vec();
        let length = reader.u16(UNHASHED)?;
        subpackets.read(reader.take(length.into(), UNHASHED)?, Area::Unhashed)?;
        let digest_start = reader.array("digest of the signature")?;
        let hash = Hash::numbered(hash).ok_or(SignatureError::Hash(hash))?;
        let material = match algorithm {
            1 | 3 => Material::Rsa(reader.mpi("number of the signature")?.to_vec()),
            22 => Material::Ed25519(legacy_ed25519(&mut reader)?),
            27 => Material::Ed25519(reader.array("number of the signature")?),
            other => return Err(SignatureError::Algorithm(other)),
        };
        match reader.rest().len() {
            0 => Ok(Self { kind, hash, hashed, digest_start, material, subpackets }),
            more => Err(FormatError::Trailing(more).into()),
        }
    }

    pub(super) fn kind(&self) -> u8 {
        self.kind
    }

    pub(super) fn hash(&self) -> Hash {
        self.hash
    }

    pub(super) fn digest_start(&self) -> [u8; 2] {
        self.digest_start
    }

    pub(super) fn material(&self) -> &Material {
        &self.material
    }

    pub(super) fn subpackets(&self) -> &Subpackets {
        &self.subpackets
    }

    /// The digest that was signed, from a hash that has seen the signed text (RFC 4880, section 5.2.4).
    pub(super) fn finish(&self, mut text: Context) -> Digest {
        let length = u32::try_from(self.hashed.len()).expect("the length of the hashed part has two bytes");
        text.update(&self.hashed);
        text.update(&[4, 0xff]);
        text.update(&length.to_be_bytes());
        text.finish()
    }
}

/// The two halves of an Ed25519 signature, each as a number without leading zeros.
fn legacy_ed25519(reader: &mut Reader<'_>) -> Result<[u8; 64], FormatError> {
    const NUMBER: &str = "number of the signature";
    let mut bytes = [0; 64];
    for half in bytes.chunks_exact_mut(32) {
        let number = reader.mpi(NUMBER)?;
        let zeros = half.len().checked_sub(number.len()).ok_or(FormatError::Number(NUMBER))?;
        half.split_at_mut(zeros).1.copy_from_slice(number);
    }
    Ok(bytes)
}
