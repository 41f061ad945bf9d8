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
pub(super) const ADB: &[u8] = b"ADB";

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
    #[error("the index is in apk's version 3 format (ADB), which is not read; use the repository's APKINDEX.tar.gz")]
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
    #[error("the index is signed only in ways that are not supported: {}", .0.join(", "))]
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
    /// What was signed is not a usable index.
    #[error("the signed index is not usable")]
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
        Ok((read(signed)?, signed_by))
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

/// Reads the index out of the bytes after the signature.
fn read(unsigned: &[u8]) -> Result<Index, SignedIndexError> {
    let reader = Bounded::new(MultiGzDecoder::new(unsigned), INDEX_LIMIT);
    let wanted = |name: &str| matches!(name, "DESCRIPTION" | "APKINDEX");
    let files = segment::files(reader, wanted).map_err(SignedIndexError::Tar)?;
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
