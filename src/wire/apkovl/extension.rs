//! What stands before a member's own header: GNU's long names and POSIX's (PAX) records.

use super::error::HeaderFault;
use super::name::printable;

/// How many names of attributes are kept for a note.
const MOST_ATTRIBUTES: usize = 8;

/// What extension headers say about the member after them.
#[derive(Debug, Clone, Default)]
pub(super) struct Extension {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    /// Whether the member is a sparse file.
    pub(super) is_sparse: bool,
    /// Names of extended attributes, capabilities and access control lists.
    pub(super) attributes: Vec<String>,
}

impl Extension {
    /// Takes the content of a PAX header in: records of a length in decimal, a blank, `key=value` and a line end, the
    /// length that of all of it (POSIX.1-2017, pax, "pax Header Block").
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), HeaderFault> {
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes).ok_or(HeaderFault::Extension)?;
            self.put(key, value).ok_or(HeaderFault::Extension)?;
            bytes = rest;
        }
        Ok(())
    }

    /// Whether it says something that can only be meant for one member.
    pub(super) const fn is_of_one(&self) -> bool {
        self.path.is_some() || self.link.is_some() || self.size.is_some() || self.is_sparse
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(name(value)?),
            b"linkpath" => self.link = Some(name(value)?),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?.try_into().ok()?),
            b"gid" => self.gid = Some(number(value)?.try_into().ok()?),
            _ if key.starts_with(b"GNU.sparse.") => self.is_sparse = true,
            _ => {
                let kinds = [
                    b"SCHILY.xattr.".as_slice(),
                    b"LIBARCHIVE.xattr.",
                    b"SCHILY.acl.",
                    b"SCHILY.fflags",
                    b"RHT.security.",
                ];
                if kinds.iter().any(|kind| key.starts_with(kind)) && self.attributes.len() < MOST_ATTRIBUTES {
                    let short = kinds.iter().take(2).find_map(|kind| key.strip_prefix(*kind)).unwrap_or(key);
                    self.attributes.push(printable(short));
                }
            }
        }
        Some(())
    }
}

/// The first record: key, value, and what comes after it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(bytes.get(..blank)?)?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let text = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    Some((text.get(..equals)?, text.get(equals + 1..)?, rest))
}

/// A name: not empty, and without a NUL, after which some readers would see another name than others.
fn name(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty() && !value.contains(&0)).then(|| value.to_vec())
}

/// A number of decimal digits alone.
fn number(value: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(value).ok().filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(bytes: &[u8]) -> Result<Extension, HeaderFault> {
        let mut extension = Extension::default();
        extension.take(bytes).map(|()| extension)
    }

    #[test]
    fn records_are_taken_and_unknown_ones_passed_over() {
        let extension = taken(b"13 path=etc/x\x0a15 uid=3000000\n19 mtime=1700000.25\n11 size=12\n").unwrap_err();
        assert_eq!(extension, HeaderFault::Extension, "the first length is one short");
        let extension = taken(b"14 path=etc/x\n15 uid=3000000\n20 mtime=1700000.25\n11 size=12\n").unwrap();
        assert_eq!(extension.path.as_deref(), Some(b"etc/x".as_slice()));
        assert_eq!((extension.uid, extension.gid, extension.size), (Some(3_000_000), None, Some(12)));
        let attributes = taken(b"38 SCHILY.xattr.security.capability=\x01\n22 GNU.sparse.major=1\n").unwrap();
        assert_eq!(attributes.attributes, ["security.capability"]);
        assert!(attributes.is_sparse && attributes.is_of_one());
    }

    #[test]
    fn a_record_that_is_cut_off_empty_or_no_number_is_malformed() {
        for bytes in [
            b"14 path=etc/x".as_slice(),
            b"99 path=etc/x\n",
            b"14path=etc/xx\n",
            b"-4 path=etc/x\n",
            b"8 path=\n",
            b"11 path=a\0b\n",
            b"8 pathx\n",
            b"10 uid=-1\n",
            b"18 uid=4294967296\n",
            b"10 uid=+1\n",
            b"2 ",
            b"0 ",
            b" ",
            b"99999999999999999999999 x=y\n",
        ] {
            assert!(taken(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'='), Just(b'1'), any::<u8>()], 0..40)) {
            let _ = taken(&bytes);
        }
    }
}
