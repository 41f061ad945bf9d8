//! Package files (`.apk`, version 2): an optional signature, control data and files, as three gzip
//! members in a row.
//!
//! The signature in a package is not looked at. A package is trusted because a signed index names
//! the digest of its control data, which names the digest of its files.

use std::{collections::BTreeMap, fmt, io::Read as _};

use sha2::{Digest as _, Sha256};

use super::{
    gzip::{self, GzipError},
    identity::{Identity, hex},
    index::IndexPackage,
    pkginfo::PkgInfo,
    segment,
    sign::{ADB, PREFIX},
};

/// The most the control data of a package may unpack to; it is a short text and a few scripts.
pub const CONTROL_LIMIT: u64 = 64 << 20;

/// The most the signature of a package may unpack to.
const SIGNATURE_LIMIT: u64 = 1 << 20;

/// The most of one file that [`PackageFile::files`] gives.
const LARGEST_FILE: u64 = 1 << 20;

/// The name of the file that describes the package.
pub(super) const PKGINFO: &str = ".PKGINFO";

/// A package file, read but not yet verified against an index.
#[derive(Clone, PartialEq, Eq)]
pub struct PackageFile<'a> {
    control: &'a [u8],
    data: &'a [u8],
    size: u64,
    info: PkgInfo,
    scripts: Vec<String>,
}

/// Something that a package installs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path without a leading slash.
    pub path: String,
    /// What it is.
    pub kind: MemberKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The name of its owner, which counts before any number.
    pub user: String,
    /// The name of its group.
    pub group: String,
}

/// What a [`Member`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A file, or another name of one.
    File,
}

/// A file that is not a package of version 2.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The format of apk-tools 3.
    #[error(
        "the package is in apk's version 3 format (ADB), which is not read; use a repository with packages of version 2"
    )]
    Adb,
    /// Not gzip, damaged or too large.
    #[error("the {part} of the package cannot be unpacked")]
    Gzip {
        /// `signature` or `control data`.
        part: &'static str,
        /// What is wrong with it.
        source: GzipError,
    },
    /// Not tar.
    #[error("the control data of the package cannot be read")]
    Tar(#[source] std::io::Error),
    /// Not gzip, or not tar.
    #[error("the files of the package cannot be read")]
    Files(#[source] std::io::Error),
    /// There is no description of the package.
    #[error("the package has no .PKGINFO")]
    NoInfo,
    /// The description lacks what every package has.
    #[error("the package's .PKGINFO has no `{0}`")]
    Missing(&'static str),
}

/// What is known of a package file before it is there, from a signed index or from a lock that was made of one.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'e> {
    /// Its name.
    pub name: &'e str,
    /// Its version.
    pub version: &'e str,
    /// The digest of its control data.
    pub identity: Identity,
    /// Bytes of the whole file.
    pub size: u64,
}

impl<'e> From<&'e IndexPackage> for Expected<'e> {
    fn from(package: &'e IndexPackage) -> Self {
        Self { name: package.name(), version: package.version(), identity: package.identity(), size: package.size() }
    }
}

/// A package file that is not the one that is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{package} is not the package in the index: its {what} is {found}, expected {expected}")]
pub struct Mismatch {
    /// `name-version` as the index has it.
    pub package: String,
    /// What differs.
    pub what: &'static str,
    /// What the index, or the package's own control data, says.
    pub expected: String,
    /// What the file has.
    pub found: String,
}

impl<'a> PackageFile<'a> {
    /// Takes a package file apart. Only the control data is unpacked.
    ///
    /// # Errors
    ///
    /// [`PackageError`] where it is no version 2 package.
    pub fn read(bytes: &'a [u8]) -> Result<Self, PackageError> {
        if bytes.starts_with(ADB) {
            return Err(PackageError::Adb);
        }
        let rest = without_signature(bytes)?;
        let part = "control data";
        let (content, length) =
            gzip::first_member(rest, CONTROL_LIMIT).map_err(|source| PackageError::Gzip { part, source })?;
        let (control, data) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        let files = segment::files(content.as_slice(), |_| true).map_err(PackageError::Tar)?;
        let info = files.iter().find(|file| file.name == PKGINFO).ok_or(PackageError::NoInfo)?;
        let info = PkgInfo::parse(&String::from_utf8_lossy(&info.content));
        for (name, value) in [("pkgname", &info.name), ("pkgver", &info.version)] {
            if value.is_empty() {
                return Err(PackageError::Missing(name));
            }
        }
        let scripts = files.into_iter().map(|file| file.name);
        Ok(Self {
            control,
            data,
            size: bytes.len() as u64,
            info,
            scripts: scripts.filter(|name| name != PKGINFO).collect(),
        })
    }

    /// The content of some of the package's files, by their paths without a leading slash. Those it has not got are
    /// left out; each may have a mebibyte.
    ///
    /// # Errors
    /// [`PackageError`] where its data is not gzip and tar.
    pub fn files(&self, wanted: &[&str]) -> Result<BTreeMap<String, Vec<u8>>, PackageError> {
        let mut archive = tar::Archive::new(flate2::bufread::MultiGzDecoder::new(self.data));
        let mut found = BTreeMap::new();
        for entry in archive.entries().map_err(PackageError::Files)? {
            let entry = entry.map_err(PackageError::Files)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if wanted.contains(&name.as_str()) && entry.header().entry_type().is_file() {
                let mut content = Vec::new();
                entry.take(LARGEST_FILE).read_to_end(&mut content).map_err(PackageError::Files)?;
                found.insert(name, content);
            }
            if found.len() == wanted.len() {
                break;
            }
        }
        Ok(found)
    }

    /// Everything the package installs, in its order.
    ///
    /// # Errors
    /// [`PackageError`] where its data is not gzip and tar.
    pub fn members(&self) -> Result<Vec<Member>, PackageError> {
        let mut archive = tar::Archive::new(flate2::bufread::MultiGzDecoder::new(self.data));
        let mut members = Vec::new();
        for entry in archive.entries().map_err(PackageError::Files)? {
            let entry = entry.map_err(PackageError::Files)?;
            let header = entry.header();
            let name = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
            let kind = match header.entry_type() {
                tar::EntryType::Directory => MemberKind::Folder,
                tar::EntryType::Symlink => MemberKind::Link,
                _ => MemberKind::File,
            };
            members.push(Member {
                path: String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/').to_owned(),
                kind,
                mode: header.mode().map_err(PackageError::Files)? & 0o7777,
                user: name(header.username_bytes()),
                group: name(header.groupname_bytes()),
            });
        }
        Ok(members)
    }

    /// What the package says of itself.
    #[must_use]
    pub fn info(&self) -> &PkgInfo {
        &self.info
    }

    /// The scripts that apk runs for it, by their names in the package: `.post-install`,
    /// `.trigger` …
    #[must_use]
    pub fn scripts(&self) -> &[String] {
        &self.scripts
    }

    /// The identity that an index of Alpine would have for it.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::sha1(self.control)
    }

    /// Bytes of the whole file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Checks that this is, to the last byte that is installed, the package of the index, or of a lock.
    ///
    /// # Errors
    ///
    /// [`Mismatch`] says what differs first: the size, the checksum of the control data, the
    /// checksum of the files, name or version.
    pub fn verify_against<'e>(&self, expected: impl Into<Expected<'e>>) -> Result<(), Mismatch> {
        let Expected { name, version, identity, size } = expected.into();
        let check = |what, expected: String, found: String| {
            if expected == found {
                return Ok(());
            }
            Err(Mismatch { package: format!("{name}-{version}"), what, expected, found })
        };
        check("size in bytes", size.to_string(), self.size.to_string())?;
        let found = identity.of_same_kind(self.control);
        check("checksum", identity.to_string(), found.to_string())?;
        let data = hex(&Sha256::digest(self.data));
        check("data hash", self.info.data_hash.clone(), data)?;
        check("name", name.to_owned(), self.info.name.clone())?;
        check("version", version.to_owned(), self.info.version.clone())
    }

    /// The record for an index of the architecture `arch`, as `apk index --rewrite-arch` makes it: apk looks for a
    /// package in the folder of the architecture that its record names, so none is of `noarch`.
    #[must_use]
    pub fn index_record(&self, arch: &str) -> String {
        self.info.index_record(self.identity(), self.size, arch)
    }
}

impl fmt::Debug for PackageFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackageFile({}-{})", self.info.name, self.info.version)
    }
}

/// What follows the signature, if there is one.
fn without_signature(bytes: &[u8]) -> Result<&[u8], PackageError> {
    let part = "signature";
    let damaged = |source| PackageError::Gzip { part, source };
    let start = gzip::peek(bytes, 512).map_err(damaged)?;
    if !segment::first_name(&start).is_some_and(|name| name.starts_with(PREFIX)) {
        return Ok(bytes);
    }
    let (_, length) = gzip::first_member(bytes, SIGNATURE_LIMIT).map_err(damaged)?;
    Ok(bytes.get(length..).unwrap_or_default())
}
