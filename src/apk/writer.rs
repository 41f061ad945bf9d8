//! Writing small package files: what an operator adds to Alpine's packages, and what tests need.

use std::collections::BTreeMap;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::{
    gzip,
    identity::hex,
    package::PKGINFO,
    pkginfo::PkgInfo,
    segment::{Entry, NameError, Segment},
};

/// A package file in the making. The same content gives the same bytes.
#[derive(Debug, Clone, Default)]
pub struct PackageWriter {
    info: PkgInfo,
    scripts: BTreeMap<String, Vec<u8>>,
    files: BTreeMap<String, Content>,
}

#[derive(Debug, Clone)]
enum Content {
    File { mode: u32, bytes: Vec<u8> },
    Directory { mode: u32 },
    Symlink { target: String },
}

impl PackageWriter {
    /// A package without files. The installed size and the data hash of `info` are computed.
    #[must_use]
    pub fn new(info: PkgInfo) -> Self {
        Self { info, ..Self::default() }
    }

    /// Adds a regular file, owned by root, by its path without a leading slash, and those of the
    /// directories above it that are not there yet, with mode 0755.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, bytes: &[u8]) -> Self {
        let bytes = bytes.to_vec();
        self.insert(path, Content::File { mode, bytes })
    }

    /// Adds a directory, owned by root.
    #[must_use]
    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.insert(path, Content::Directory { mode })
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        let target = target.to_owned();
        self.insert(path, Content::Symlink { target })
    }

    /// Adds a script: `.pre-install`, `.post-install`, `.trigger` …
    #[must_use]
    pub fn script(mut self, name: &str, bytes: &[u8]) -> Self {
        self.scripts.insert(name.to_owned(), bytes.to_vec());
        self
    }

    fn insert(mut self, path: &str, content: Content) -> Self {
        for (end, _) in path.match_indices('/') {
            let above = path.get(..end).unwrap_or_default().to_owned();
            self.files.entry(above).or_insert(Content::Directory { mode: 0o755 });
        }
        self.files.insert(path.to_owned(), content);
        self
    }

    /// The package file, without a signature of its own: the signed index vouches for it.
    ///
    /// # Errors
    ///
    /// [`NameError`] where a path or link target does not fit into a tar header, or is not a plain
    /// relative path.
    pub fn write(self) -> Result<Vec<u8>, NameError> {
        let data = gzip::compress(&data_segment(&self.files)?);
        let sizes = self.files.values().map(|content| match content {
            Content::File { bytes, .. } => bytes.len() as u64,
            Content::Directory { .. } | Content::Symlink { .. } => 0,
        });
        let info = PkgInfo { installed_size: sizes.sum(), data_hash: hex(&Sha256::digest(&data)), ..self.info };
        let mut control = Segment::default();
        let text = info.to_text();
        let content = text.as_bytes();
        control.push(PKGINFO, Entry::File { mode: 0o644, content })?;
        for (name, content) in &self.scripts {
            control.push(name, Entry::File { mode: 0o755, content })?;
        }
        let mut file = gzip::compress(&control.cut());
        file.extend_from_slice(&data);
        Ok(file)
    }
}

fn data_segment(files: &BTreeMap<String, Content>) -> Result<Vec<u8>, NameError> {
    let mut segment = Segment::default();
    for (path, content) in files {
        let (checksum, entry) = match content {
            Content::Directory { mode } => (None, Entry::Directory { mode: *mode }),
            Content::File { mode, bytes } => (Some(Sha1::digest(bytes)), Entry::File { mode: *mode, content: bytes }),
            // apk checks a link by the digest of its target.
            Content::Symlink { target } => (Some(Sha1::digest(target)), Entry::Symlink { target }),
        };
        if let Some(checksum) = checksum {
            let records = extension_record("APK-TOOLS.checksum.SHA1", &hex(&checksum));
            let records = records.as_bytes();
            segment.push(".PaxHeaders", Entry::Extension { records })?;
        }
        segment.push(path, entry)?;
    }
    Ok(segment.end())
}

/// A record of a PAX extended header: its own length in decimal, `key=value` and a line end
/// (POSIX.1-2017, pax, "pax Extended Header").
fn extension_record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    loop {
        let next = rest.len() + length.to_string().len();
        if next == length {
            return format!("{length}{rest}");
        }
        length = next;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::apk::{Index, Mismatch, PackageError, PackageFile};

    fn package() -> Vec<u8> {
        let info = PkgInfo {
            name: "site-config".to_owned(),
            version: "1.0-r0".to_owned(),
            arch: "noarch".to_owned(),
            depends: vec!["busybox".to_owned()],
            ..PkgInfo::default()
        };
        PackageWriter::new(info)
            .file("etc/site/motd", 0o644, b"hello\n")
            .symlink("etc/motd", "site/motd")
            .directory("var/site", 0o700)
            .script(".post-install", b"#!/bin/sh\n")
            .write()
            .unwrap()
    }

    fn index(bytes: &[u8]) -> Index {
        Index::parse(&PackageFile::read(bytes).unwrap().index_record("x86_64")).unwrap()
    }

    #[test]
    fn what_was_written_reads_back_and_matches_its_index_record() {
        let bytes = package();
        assert_eq!(bytes, package());
        let file = PackageFile::read(&bytes).unwrap();
        assert_eq!(file.info().name, "site-config");
        assert_eq!(file.info().installed_size, 6);
        assert_eq!(file.scripts(), [".post-install"]);
        let index = index(&bytes);
        assert_eq!(index.packages()[0].identity(), file.identity());
        assert_eq!(file.verify_against(&index.packages()[0]), Ok(()));
    }

    #[test]
    fn a_signature_before_the_control_data_is_passed_over() {
        let bytes = package();
        let mut signature = Segment::default();
        let entry = Entry::File { mode: 0o644, content: &[1; 256] };
        signature.push(".SIGN.RSA.x.rsa.pub", entry).unwrap();
        let signed = [gzip::compress(&signature.cut()), bytes.clone()].concat();
        let (signed, plain) = (PackageFile::read(&signed).unwrap(), PackageFile::read(&bytes).unwrap());
        assert_eq!(signed.identity(), plain.identity());
        assert_eq!(signed.info(), plain.info());
        assert!(signed.size() > plain.size());
    }

    #[test]
    fn a_changed_package_is_told_apart_from_the_one_in_the_index() {
        let bytes = package();
        let index = index(&bytes);
        let entry = &index.packages()[0];
        let what = |bytes: &[u8]| match PackageFile::read(bytes).unwrap().verify_against(entry) {
            Err(Mismatch { what, .. }) => what,
            Ok(()) => "nothing",
        };
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(what(&longer), "size in bytes");
        let mut other_data = bytes.clone();
        *other_data.last_mut().unwrap() ^= 1;
        assert_eq!(what(&other_data), "data hash");
        // The header's operating system is no part of the content, but of the signed bytes.
        let mut other_control = bytes.clone();
        other_control[9] ^= 1;
        assert_eq!(what(&other_control), "checksum");
        let renamed = Index::parse(&entry.record().replace("P:site-config", "P:other")).unwrap();
        let error = PackageFile::read(&bytes).unwrap().verify_against(&renamed.packages()[0]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "other-1.0-r0 is not the package in the index: its name is site-config, expected other"
        );
    }

    #[test]
    fn files_that_are_no_packages_are_refused() {
        assert!(matches!(PackageFile::read(b"ADB.pckg"), Err(PackageError::Adb)));
        assert!(matches!(PackageFile::read(b""), Err(PackageError::Gzip { .. })));
        assert!(matches!(PackageFile::read(b"garbage"), Err(PackageError::Gzip { .. })));
        let empty = gzip::compress(&Segment::default().cut());
        assert!(matches!(PackageFile::read(&empty), Err(PackageError::NoInfo)));
        let nameless = PackageWriter::new(PkgInfo::default()).write().unwrap();
        assert!(matches!(PackageFile::read(&nameless), Err(PackageError::Missing("pkgname"))));
    }

    #[test]
    fn paths_outside_the_root_are_not_written() {
        for path in ["/etc/motd", "../x", "a/../../x"] {
            let writer = PackageWriter::default().file(path, 0o644, b"");
            assert!(writer.write().is_err(), "{path}");
        }
    }

    #[test]
    fn the_length_of_an_extension_record_counts_itself() {
        assert_eq!(extension_record("k", "v"), "6 k=v\n");
        assert_eq!(extension_record("k", "1234"), "9 k=1234\n");
        assert_eq!(extension_record("k", "12345"), "11 k=12345\n");
        for length in 0..200 {
            let record = extension_record("k", &"v".repeat(length));
            assert!(record.starts_with(&format!("{} ", record.len())));
        }
    }

    proptest! {
        #[test]
        fn mutated_packages_never_panic(at in 0_usize..600, value: u8) {
            let mut bytes = package();
            let at = at % bytes.len();
            bytes[at] = value;
            if let Ok(file) = PackageFile::read(&bytes) {
                let _ = file.index_record("x86_64");
            }
            let _ = PackageFile::read(&bytes[..at]);
        }
    }
}
