//! What GnuPG and Alpine made (`testdata/make.sh` has the commands), and what GnuPG would not make.

use std::{fs, path::Path};

use aws_lc_rs::{
    digest::{SHA512, digest},
    signature::{Ed25519KeyPair, KeyPair as _},
};

use super::{
    armor::dearmor,
    fingerprint::Fingerprint,
    hash::FileHashes,
    release_key::{ReleaseKey, ReleaseKeys},
};

/// A file of `testdata`.
pub(super) fn fixture(name: &str) -> Vec<u8> {
    let this = Path::new(env!("CARGO_MANIFEST_DIR")).join(file!());
    fs::read(this.with_file_name("testdata").join(name)).unwrap()
}

/// The packets of an armored file of `testdata`.
pub(super) fn binary(name: &str, label: &'static str) -> Vec<u8> {
    dearmor(&fixture(name), label).unwrap().into_owned()
}

/// The fingerprint GnuPG says a key has.
pub(super) fn fingerprint(name: &str) -> Fingerprint {
    let list = String::from_utf8(fixture("fingerprints.txt")).unwrap();
    let line = list.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap().parse().unwrap()
}

pub(super) fn key(name: &str) -> ReleaseKey {
    ReleaseKey::parse(&fixture(name)).unwrap()
}

pub(super) fn keys(names: &[&str]) -> ReleaseKeys {
    names.iter().map(|name| key(name)).collect()
}

/// The hashes of a file.
pub(super) fn hashes(file: &[u8]) -> FileHashes {
    let mut hashes = FileHashes::new();
    file.chunks(7).for_each(|piece| hashes.update(piece));
    hashes
}

/// Where one sequence of bytes stands in another, of which there has to be one.
pub(super) fn position(bytes: &[u8], wanted: &[u8]) -> usize {
    let mut found = bytes.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted);
    let (position, _) = found.next().unwrap();
    assert!(found.next().is_none(), "the bytes {wanted:?} are in there twice");
    position
}

/// An Ed25519 key in the form of RFC 9580 that signs whatever it is told.
pub(super) struct Forger(Ed25519KeyPair);

impl Forger {
    pub(super) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    /// The body of its key packet.
    pub(super) fn key(&self) -> Vec<u8> {
        [&[4, 0, 0, 0, 0, 27], self.0.public_key().as_ref()].concat()
    }

    /// What stands for it where it is signed.
    pub(super) fn hashed(&self) -> Vec<u8> {
        [&[0x99][..], &length(&self.key()), &self.key()].concat()
    }

    /// The body of a signature packet.
    pub(super) fn sign(&self, kind: u8, hashed: &[u8], unhashed: &[u8], text: &[u8]) -> Vec<u8> {
        let head = [&[4, kind, 27, 10][..], &length(hashed), hashed].concat();
        let digest = digest(&SHA512, &[text, &head, &[4, 0xff, 0, 0], &length(&head)].concat());
        let numbers = self.0.sign(digest.as_ref());
        [&head[..], &length(unhashed), unhashed, &digest.as_ref()[..2], numbers.as_ref()].concat()
    }
}

/// A packet of the new format.
pub(super) fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[0xc0 | tag, 255, 0, 0], &length(body)[..], body].concat()
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap().to_be_bytes()
}
