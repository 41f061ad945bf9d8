//! Why a key or a signature is not used.

use super::fingerprint::Fingerprint;

/// A signature that is not good, or not one that is read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The file cannot be read.
    #[error("the file is not an OpenPGP signature")]
    Format(#[from] FormatError),
    /// The file has other packets.
    #[error("the file is not a detached signature, but {0}; make one with `gpg --armor --detach-sign`")]
    NotDetached(&'static str),
    /// The file has no packet that counts.
    #[error("there is no signature in the file")]
    Empty,
    /// More signatures than are looked at.
    #[error("the file has {found} signatures, and at most {limit} are read")]
    TooMany {
        /// Signatures in the file.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Made by very old or very new programs.
    #[error("the signature has version {0}; version 4 was expected")]
    Version(u8),
    /// Over a text with its line ends changed.
    #[error(
        "the signature is one of a text, not of a file's bytes; make it with `gpg --detach-sign`, without `--textmode`"
    )]
    TextMode,
    /// It certifies, binds or revokes something.
    #[error("the signature has type 0x{0:02x}; that of a file has type 0x00")]
    Kind(u8),
    /// A hash that is weak or not read.
    #[error("the signature uses {}; SHA-256 or SHA-512 was expected", hash_name(*.0))]
    Hash(u8),
    /// Neither RSA nor Ed25519.
    #[error("the signature uses {}; RSA or Ed25519 was expected", algorithm_name(*.0))]
    Algorithm(u8),
    /// Something the signer wants understood, which is not (RFC 4880, section 5.2.3.1).
    #[error("the signature has a critical subpacket of type {0}, which is not understood")]
    Critical(u8),
    /// There is no hint which key made it.
    #[error("the signature does not say which key made it")]
    NoIssuer,
    /// None of the signatures is by a key that is trusted.
    #[error("the file is signed by key {signers}, and {trusted}")]
    Untrusted {
        /// The keys the signatures name.
        signers: String,
        /// The keys that are trusted, with their user IDs.
        trusted: String,
    },
    /// It is by a subkey that may not sign.
    #[error("the file is signed by key {subkey}, a subkey of the trusted key {primary}, which is not used: {fault}")]
    Subkey {
        /// The subkey.
        subkey: Fingerprint,
        /// Its primary key.
        primary: Fingerprint,
        /// Why it does not count.
        fault: SubkeyFault,
    },
    /// A signature names a trusted key, and that key did not make it over this file.
    #[error("the signature does not fit the file; one by the trusted key {0} was expected, over exactly these bytes")]
    Mismatch(Fingerprint),
}

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseKeyError {
    /// The file cannot be read.
    #[error("the file is not an OpenPGP public key")]
    Format(#[from] FormatError),
    /// The private half, which nobody should hand out.
    #[error("the file holds a private key; write the public one with `gpg --armor --export`")]
    Private,
    /// There is no primary key at its start.
    #[error("the file does not start with a public key")]
    NoKey,
    /// A second primary key.
    #[error("the file holds several keys; each needs a file of its own")]
    SeveralKeys,
    /// A key of another version.
    #[error("the key has version {0}; version 4 was expected")]
    Version(u8),
    /// Neither RSA nor Ed25519.
    #[error("the key uses {}; RSA or Ed25519 was expected", algorithm_name(*.0))]
    Algorithm(u8),
    /// EdDSA on another curve.
    #[error("the key uses EdDSA on another curve than Ed25519")]
    Curve,
    /// Not a point as Ed25519 writes it.
    #[error("the key's point is not one of Ed25519")]
    Point,
    /// Too short to be safe, or too long to be computed.
    #[error("the key is RSA of {0} bits; 2048 to 8192 were expected")]
    RsaLength(usize),
    /// The cryptographic library refuses the key.
    #[error("the key's numbers are not those of an RSA key")]
    RsaNumbers,
    /// Its owner says not to use it any more.
    #[error("key {0} is revoked")]
    Revoked(Fingerprint),
    /// It is not the key that was pinned.
    #[error("the file holds key {found}, and {expected} was expected")]
    Other {
        /// The fingerprint that was pinned.
        expected: Fingerprint,
        /// That of the key in the file.
        found: Fingerprint,
    },
}

/// Why a subkey does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubkeyFault {
    /// The primary key says not to use it any more.
    #[error("it is revoked")]
    Revoked,
    /// No signature by the primary key makes it a subkey.
    #[error("its primary key does not vouch for it with SHA-256 or SHA-512")]
    Unbound,
    /// It is for something else, such as encryption.
    #[error("it is not one for signing")]
    NotForSigning,
    /// The subkey does not say that it belongs to the primary key.
    #[error("it does not vouch for its primary key with SHA-256 or SHA-512")]
    NoBackSignature,
}

/// A file that is not OpenPGP, or is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Longer than what is read.
    #[error("it has {found} bytes, and at most {limit} are read")]
    TooLong {
        /// The file's length in bytes.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Neither armor nor packets.
    #[error("it has neither a line `-----BEGIN PGP {0}-----` nor OpenPGP packets")]
    NotOpenPgp(&'static str),
    /// Armor of something else.
    #[error("it holds a block `{found}`, and `{expected}` was expected")]
    Block {
        /// The block's label, without what is not printable.
        found: String,
        /// The label that was looked for.
        expected: &'static str,
    },
    /// The armor's headers do not end with an empty line.
    #[error("the armor's header {0} is not `Name: value`; an empty line has to follow the headers")]
    ArmorHeader(usize),
    /// There is no line that ends the armor.
    #[error("the line `-----END PGP {0}-----` is missing; the file is cut off")]
    ArmorEnd(&'static str),
    /// A line of the armor is not base64.
    #[error("the armor is not base64")]
    Base64,
    /// The armor's checksum is of something else.
    #[error("the armor's checksum is {stated:06x}, and that of its bytes is {found:06x}; the file is damaged")]
    Checksum {
        /// CRC-24 in the armor.
        stated: u32,
        /// CRC-24 of the bytes.
        found: u32,
    },
    /// The bytes end within a field.
    #[error("the {0} is cut off")]
    Cut(&'static str),
    /// There are more bytes than the packet's fields need.
    #[error("{0} bytes follow the last field of the signature")]
    Trailing(usize),
    /// There is something between packets.
    #[error("a packet was expected where the byte 0x{0:02x} stands")]
    Header(u8),
    /// A length that only data packets may have (RFC 4880, section 4.2.2.4).
    #[error("a packet of type {0} has no definite length")]
    Length(u8),
    /// A number that does not fit where it stands.
    #[error("the {0} is too long")]
    Number(&'static str),
}

/// The name of a public key algorithm (RFC 9580, section 9.1).
fn algorithm_name(number: u8) -> &'static str {
    match number {
        1..=3 => "RSA",
        16 => "Elgamal",
        17 => "DSA",
        18 => "ECDH",
        19 => "ECDSA",
        22 | 27 => "Ed25519",
        25 => "X25519",
        26 => "X448",
        28 => "Ed448",
        _ => "an unknown algorithm",
    }
}

/// The name of any hash by its number (RFC 9580, section 9.5).
fn hash_name(number: u8) -> &'static str {
    match number {
        1 => "MD5",
        2 => "SHA-1",
        3 => "RIPEMD-160",
        8 => "SHA-256",
        9 => "SHA-384",
        10 => "SHA-512",
        11 => "SHA-224",
        12 => "SHA3-256",
        14 => "SHA3-512",
        _ => "an unknown hash",
    }
}
