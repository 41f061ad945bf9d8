//! A signer for tests: OpenPGP certificates and detached signatures by an Ed25519 key, deterministic from a seed.
//!
//! It writes the least that Bivouac's reader takes: a certificate is a primary key and a user ID without a signature
//! over it (the reader needs none, because a key is pinned), a signature has SHA-512 and names its key by key ID.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};
use sha2::Sha512;

/// EdDSA, as GnuPG numbers it.
const ALGORITHM: u8 = 22;

/// When keys and signatures say they were made: 1 January 2026, in seconds since 1970.
const CREATED: [u8; 4] = 1_767_225_600_u32.to_be_bytes();

/// A key that signs release files.
pub struct Signer {
    pair: Ed25519KeyPair,
    signs_at: [u8; 4],
}

impl Signer {
    /// The key of a seed.
    pub fn new(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a seed has 32 bytes");
        Self { pair, signs_at: CREATED }
    }

    /// The same key, whose signatures say they were made at a time, in seconds since 1970.
    pub fn at(self, seconds: u32) -> Self {
        Self { signs_at: seconds.to_be_bytes(), ..self }
    }

    /// The body of the key packet (RFC 4880, section 5.5.2).
    fn key(&self) -> Vec<u8> {
        // The curve's identifier, then 263 bits: 0x40 and the point.
        let curve = b"\x09\x2b\x06\x01\x04\x01\xda\x47\x0f\x01\x01\x07\x40";
        [&[4][..], &CREATED, &[ALGORITHM], curve, self.pair.public_key().as_ref()].concat()
    }

    /// The fingerprint: 40 hexadecimal digits in upper case.
    pub fn fingerprint(&self) -> String {
        self.fingerprint_bytes().iter().map(|byte| format!("{byte:02X}")).collect()
    }

    fn fingerprint_bytes(&self) -> [u8; 20] {
        let key = self.key();
        Sha1::digest([&[0x99, 0, u8::try_from(key.len()).expect("a key is short")], &key[..]].concat()).into()
    }

    /// The armored public key.
    pub fn certificate(&self, user_id: &str) -> String {
        armored("PUBLIC KEY BLOCK", &[packet(6, &self.key()), packet(13, user_id.as_bytes())].concat())
    }

    /// The armored signature of a file.
    pub fn sign(&self, file: &[u8]) -> String {
        // Version 4, a file's bytes, SHA-512, one hashed subpacket of six bytes: the time.
        let hashed = [&[4, 0, ALGORITHM, 10, 0, 6, 5, 2], &self.signs_at[..]].concat();
        let trailer = [4, 0xff, 0, 0, 0, u8::try_from(hashed.len()).expect("there are twelve bytes")];
        let digest = Sha512::new().chain_update(file).chain_update(&hashed).chain_update(trailer).finalize();
        let signature = self.pair.sign(&digest);
        let numbers: Vec<u8> = signature.as_ref().chunks(32).flat_map(|half| [&[1, 0], half].concat()).collect();
        let issuer = [&[0, 10, 9, 16], &self.fingerprint_bytes()[12..]].concat();
        armored("SIGNATURE", &packet(2, &[&hashed[..], &issuer, &digest[..2], &numbers].concat()))
    }
}

fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[0xc0 | tag, u8::try_from(body.len()).ok().filter(|&length| length < 192).expect("a short body")], body].concat()
}

/// Armor without its checksum, which RFC 9580 makes optional.
fn armored(label: &str, packets: &[u8]) -> String {
    let text = STANDARD.encode(packets);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN PGP {label}-----\n\n{}\n-----END PGP {label}-----\n", lines.join("\n"))
}
