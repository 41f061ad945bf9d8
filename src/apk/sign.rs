//! Signed indexes: `APKINDEX.tar.gz` is a gzip member with a signature over all that follows.

use flate2::bufread::MultiGzDecoder;

use super::{
    gzip::{self, Bounded, GzipError},
    index::{Index, IndexError, IndexPackage},
    keys::{Algorithm, KeyError, KeyName, KeyRing, SigningKey},
    segment::{self, Entry, Segment},
};

/// The most an index may unpack to. Alpine's largest are about 10 MB.
pub const INDEX_LIMIT: u64 = 512 << 20;

/// The most a signature member may unpack to; it holds a few signatures of up to 1 KiB.
const SIGNATURE_LIMIT: u64 = 1 << 20;

/// What the names of signatures start with.
pub(super) const PREFIX: &str = ".SIGN.";

/// What a version 3 index or package starts with.
pub const ADB: &[u8] = b"ADB";

/// Who vouched for an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    /// The file name of the key.
    pub key: String,
    /// How the signature was made.
    pub algorithm: Algorithm,
}

/// An index file that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SignedIndexError {
    /// The format of apk-tools 3.
    #[error(
        "the index is in apk's version 3 format (ADB), which is not read; use a repository with an APKINDEX.tar.gz of version 2"
    )]
    Adb,
    /// Not gzip, or damaged.
    #[error("the index file cannot be unpacked")]
    Gzip(#[from] GzipError),
    /// Not tar, damaged, or too large.
    #[error("the archive in the index file cannot be read")]
    Tar(#[source] std::io::Error),
    /// There is no signature.
    #[error("the index is not signed")]
    Unsigned,
    /// None of the signatures is of a kind that is verified.
    #[error("the index is signed only in ways that are not supported: {}; RSA, RSA256 and RSA512 are", .0.join(", "))]
    Algorithm(Vec<String>),
    /// The keys are not on the ring.
    #[error("the index is signed with the key {}, which is not trusted; trusted keys: {}", .keys.join(", "), list_or_none(.known))]
    UnknownKey {
        /// The key file names of the signatures.
        keys: Vec<String>,
        /// The key file names on the ring.
        known: Vec<String>,
    },
    /// The bytes are not those that were signed.
    #[error("the signature of the index by the key {key} is wrong; the file was changed or damaged")]
    BadSignature {
        /// The key's file name.
        key: String,
    },
    /// The archive lacks a file.
    #[error("the index file has no APKINDEX in it")]
    NoIndex,
    /// Its text is not a usable index.
    #[error("the index in the file is not usable")]
    Index(#[from] IndexError),
}

fn list_or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Opens signed index files.
#[derive(Debug)]
pub struct SignedIndex;

impl SignedIndex {
    /// Verifies an `APKINDEX.tar.gz` and reads it. As apk does, accepts it when one of its
    /// signatures is by a trusted key, which is found by its file name.
    ///
    /// # Errors
    ///
    /// [`SignedIndexError`]; nothing of an index is returned unless its signature is right.
    pub fn open(bytes: &[u8], keys: &KeyRing) -> Result<(Index, SignedBy), SignedIndexError> {
        let (signatures, signed) = split(bytes)?;
        let signed_by = verify(&signatures, signed, keys)?;
        Ok((read_index(signed)?, signed_by))
    }
}

/// One `.SIGN.` file.
struct Signature {
    algorithm: String,
    key: String,
    bytes: Vec<u8>,
}

/// The signatures, and the compressed bytes they are about.
fn split(bytes: &[u8]) -> Result<(Vec<Signature>, &[u8]), SignedIndexError> {
    if bytes.starts_with(ADB) {
        return Err(SignedIndexError::Adb);
    }
    // An unsigned index starts with the index itself, which would not fit the small limit.
    let start = gzip::peek(bytes, 512)?;
    if !segment::first_name(&start).is_some_and(|name| name.starts_with(PREFIX)) {
        return Err(SignedIndexError::Unsigned);
    }
    let (content, length) = gzip::first_member(bytes, SIGNATURE_LIMIT)?;
    let files = segment::files(content.as_slice(), |name| name.starts_with(PREFIX)).map_err(SignedIndexError::Tar)?;
    let signatures = files.into_iter().filter_map(|file| {
        let (algorithm, key) = file.name.strip_prefix(PREFIX)?.split_once('.')?;
        Some(Signature { algorithm: algorithm.to_owned(), key: key.to_owned(), bytes: file.content })
    });
    let signed = bytes.get(length..).unwrap_or_default();
    Ok((signatures.collect(), signed))
}

fn verify(signatures: &[Signature], signed: &[u8], keys: &KeyRing) -> Result<SignedBy, SignedIndexError> {
    let mut unknown = Vec::new();
    let mut wrong = None;
    let mut supported = false;
    for signature in signatures {
        let Some(algorithm) = Algorithm::named(&signature.algorithm) else {
            continue;
        };
        supported = true;
        match keys.key(&signature.key) {
            None => unknown.push(signature.key.clone()),
            Some(key) if key.verifies(algorithm, signed, &signature.bytes) => {
                return Ok(SignedBy { key: signature.key.clone(), algorithm });
            }
            Some(_) => wrong = Some(signature.key.clone()),
        }
    }
    Err(match wrong {
        Some(key) => SignedIndexError::BadSignature { key },
        None if signatures.is_empty() => SignedIndexError::Unsigned,
        None if !supported => SignedIndexError::Algorithm(signatures.iter().map(|it| it.algorithm.clone()).collect()),
        None => SignedIndexError::UnknownKey { keys: unknown, known: keys.names().map(str::to_owned).collect() },
    })
}

/// Reads an index without looking at its signature, if there is one: what [`write_index`] gave, what follows a signature
/// that was verified, or a file that is trusted for another reason.
///
/// # Errors
///
/// [`SignedIndexError`] where the bytes are no gzipped archive with an index in it.
pub fn read_index(unsigned: &[u8]) -> Result<Index, SignedIndexError> {
    if unsigned.starts_with(ADB) {
        return Err(SignedIndexError::Adb);
    }
    let mut reader = Bounded::new(MultiGzDecoder::new(unsigned), INDEX_LIMIT);
    let wanted = |name: &str| matches!(name, "DESCRIPTION" | "APKINDEX");
    let files = segment::files(&mut reader, wanted).map_err(SignedIndexError::Tar)?;
    // An archive says where it ends; whether the file was cut off behind that only its checksum tells.
    std::io::copy(&mut reader, &mut std::io::sink()).map_err(GzipError::Damaged)?;
    let (mut description, mut records) = (String::new(), None);
    for file in files {
        let text = String::from_utf8(file.content).map_err(|error| IndexError::Encoding(error.utf8_error()))?;
        match file.name.as_str() {
            "DESCRIPTION" => description = text,
            _ => records = Some(text),
        }
    }
    let records = records.ok_or(SignedIndexError::NoIndex)?;
    Ok(Index::parse(&records)?.with_description(description.trim_end()))
}

/// Writes an index of just these packages, without a signature, so that its bytes depend on
/// nothing but the packages and the description. The records are those the packages came with,
/// unchanged, in the order of names and versions.
#[must_use]
pub fn write_index<'a>(packages: impl IntoIterator<Item = &'a IndexPackage>, description: &str) -> Vec<u8> {
    let mut packages: Vec<_> = packages.into_iter().collect();
    packages.sort_by_key(|package| (package.name(), package.version(), package.identity()));
    packages.dedup_by_key(|package| package.identity());
    let mut records = String::new();
    for package in packages {
        records.push_str(package.record());
        records.push_str("\n\n");
    }
    let mut segment = Segment::default();
    for (name, content) in [("DESCRIPTION", description), ("APKINDEX", &records)] {
        let entry = Entry::File { mode: 0o644, content: content.as_bytes() };
        segment.push(name, entry).expect("both names are short");
    }
    gzip::compress(&segment.end())
}

impl SigningKey {
    /// The index file: a signature member by this key before what [`write_index`] gave. Machines
    /// need the public key under exactly this file name.
    ///
    /// # Errors
    ///
    /// [`KeyError::Library`] where the library cannot sign.
    pub fn sign_index(&self, unsigned: &[u8], key: &KeyName) -> Result<Vec<u8>, KeyError> {
        let signature = self.sign(unsigned)?;
        let mut segment = Segment::default();
        let entry = Entry::File { mode: 0o644, content: &signature };
        segment
            .push(&format!("{PREFIX}{}.{key}", Algorithm::RsaSha256.name()), entry)
            .expect("the length of key names is limited");
        let mut file = gzip::compress(&segment.cut());
        file.extend_from_slice(unsigned);
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;

    use super::*;
    use crate::apk::KeyLength;

    const NAME: &str = "site-1.rsa.pub";
    const RECORDS: &str = "C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:b\nV:1-r0\nx:kept\n\n\
        C:Q1AQAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:a\nV:2-r0\nD:b\n\n";

    fn key() -> &'static SigningKey {
        static KEY: OnceLock<SigningKey> = OnceLock::new();
        KEY.get_or_init(|| SigningKey::generate(KeyLength::Bits2048).unwrap())
    }

    fn ring(name: &str) -> KeyRing {
        let mut ring = KeyRing::new();
        ring.insert(name, key().public_pem().unwrap().as_bytes()).unwrap();
        ring
    }

    fn unsigned() -> Vec<u8> {
        write_index(Index::parse(RECORDS).unwrap().packages(), "site")
    }

    fn signed() -> Vec<u8> {
        key().sign_index(&unsigned(), &NAME.parse().unwrap()).unwrap()
    }

    /// A file whose signature member has these files.
    fn with_signatures(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut segment = Segment::default();
        for &(name, content) in files {
            segment.push(name, Entry::File { mode: 0o644, content }).unwrap();
        }
        [gzip::compress(&segment.cut()), unsigned()].concat()
    }

    #[test]
    fn a_signed_index_opens_with_its_key_and_keeps_its_records() {
        let (index, by) = SignedIndex::open(&signed(), &ring(NAME)).unwrap();
        assert_eq!((by.key.as_str(), by.algorithm), (NAME, Algorithm::RsaSha256));
        assert_eq!(index.description(), "site");
        let records: Vec<_> = index.packages().iter().map(IndexPackage::record).collect();
        let mut expected: Vec<_> = RECORDS.trim_end().split("\n\n").collect();
        expected.reverse();
        assert_eq!(records, expected);
    }

    #[test]
    fn an_index_is_the_same_whatever_order_its_packages_come_in() {
        let index = Index::parse(RECORDS).unwrap();
        let twice = index.packages().iter().rev().chain(index.packages());
        assert_eq!(write_index(twice, "site"), unsigned());
        assert_eq!(signed(), signed());
        assert!(signed().ends_with(&unsigned()));
    }

    #[test]
    fn an_index_without_a_signature_is_refused() {
        let open = |bytes: &[u8]| SignedIndex::open(bytes, &ring(NAME)).unwrap_err();
        assert!(matches!(open(&unsigned()), SignedIndexError::Unsigned));
        assert!(matches!(open(&gzip::compress(b"")), SignedIndexError::Unsigned));
        let nameless = with_signatures(&[(".SIGN.", b"")]);
        assert!(matches!(open(&nameless), SignedIndexError::Unsigned));
        let dsa = with_signatures(&[(".SIGN.DSA.site-1.rsa.pub", b"x")]);
        assert!(matches!(open(&dsa), SignedIndexError::Algorithm(names) if names == ["DSA"]));
    }

    #[test]
    fn an_unknown_key_is_named_with_those_that_are_known() {
        let error = SignedIndex::open(&signed(), &ring("other.rsa.pub")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the index is signed with the key site-1.rsa.pub, which is not trusted; trusted keys: other.rsa.pub"
        );
        let error = SignedIndex::open(&signed(), &KeyRing::new()).unwrap_err();
        assert!(error.to_string().ends_with("trusted keys: none"));
    }

    #[test]
    fn one_good_signature_among_unknown_ones_is_enough() {
        let signature = key().sign(&unsigned()).unwrap();
        let good = (".SIGN.RSA256.site-1.rsa.pub", signature.as_slice());
        let file = with_signatures(&[(".SIGN.RSA.stranger.rsa.pub", b"x"), good]);
        assert!(SignedIndex::open(&file, &ring(NAME)).is_ok());
        let mislabelled = with_signatures(&[(".SIGN.RSA.site-1.rsa.pub", signature.as_slice())]);
        let error = SignedIndex::open(&mislabelled, &ring(NAME)).unwrap_err();
        assert!(matches!(error, SignedIndexError::BadSignature { key } if key == NAME));
    }

    #[test]
    fn every_changed_byte_of_the_signed_part_is_noticed() {
        let file = signed();
        for at in file.len() - unsigned().len()..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            let error = SignedIndex::open(&changed, &ring(NAME)).unwrap_err();
            assert!(matches!(error, SignedIndexError::BadSignature { .. }), "{at}");
        }
        let longer = [file.as_slice(), &[0]].concat();
        assert!(SignedIndex::open(&longer, &ring(NAME)).is_err());
    }

    #[test]
    fn signed_bytes_that_are_no_index_are_refused() {
        let open = |content: &[u8]| {
            let file = key().sign_index(content, &NAME.parse().unwrap()).unwrap();
            SignedIndex::open(&file, &ring(NAME)).unwrap_err()
        };
        let tar = |name: &str, content: &[u8]| {
            let mut segment = Segment::default();
            segment.push(name, Entry::File { mode: 0o644, content }).unwrap();
            gzip::compress(&segment.end())
        };
        assert!(matches!(open(b"garbage"), SignedIndexError::Tar(_)));
        assert!(matches!(open(&tar("DESCRIPTION", b"x")), SignedIndexError::NoIndex));
        assert!(matches!(open(&tar("APKINDEX", b"\xff")), SignedIndexError::Index(IndexError::Encoding(_))));
        assert!(matches!(open(&tar("APKINDEX", b"x")), SignedIndexError::Index(IndexError::Line(1))));
    }

    #[test]
    fn a_version_3_index_is_recognised() {
        let error = SignedIndex::open(b"ADB.indx", &ring(NAME)).unwrap_err();
        assert!(matches!(error, SignedIndexError::Adb));
    }

    proptest! {
        #[test]
        fn mutated_and_cut_files_never_panic(at: prop::sample::Index, value: u8) {
            let mut file = signed();
            let at = at.index(file.len());
            prop_assert!(SignedIndex::open(&file[..at], &ring(NAME)).is_err());
            file[at] = value;
            let _ = SignedIndex::open(&file, &ring(NAME));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(SignedIndex::open(&bytes, &KeyRing::new()).is_err());
            prop_assert!(SignedIndex::open(&gzip::compress(&bytes), &KeyRing::new()).is_err());
        }
    }
}
