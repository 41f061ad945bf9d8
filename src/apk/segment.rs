//! Tar as apk uses it: whole archives, and segments without the two empty blocks at the end,
//! several of which make up one archive.

use std::io::{self, Read};

/// Tar works in blocks of this many bytes.
const BLOCK: usize = 512;

/// What ends a whole archive.
const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// One regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// Collects entries into a tar segment; everything is owned by root and happened at the epoch.
#[derive(Default)]
pub(super) struct Segment(Vec<u8>);

/// What an entry is, beside its name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry<'a> {
    File {
        mode: u32,
        content: &'a [u8],
    },
    Directory {
        mode: u32,
    },
    Symlink {
        target: &'a str,
    },
    /// Extended attributes for the entry after it.
    Extension {
        records: &'a [u8],
    },
}

/// A name or link target that does not fit into a tar header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is too long for a package, or no plain relative path")]
pub struct NameError(
    /// The name or target.
    pub String,
);

impl Segment {
    /// Adds one entry.
    pub(super) fn push(&mut self, name: &str, entry: Entry<'_>) -> Result<(), NameError> {
        let mut header = tar::Header::new_ustar();
        let refuse = |_| NameError(name.to_owned());
        header.set_path(name).map_err(refuse)?;
        let content = match entry {
            Entry::File { mode, content } => {
                // The type has to be written out: apk takes a zero byte for no file at all, and
                // then calls the signature bad.
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(mode);
                content
            }
            Entry::Directory { mode } => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(mode);
                &[]
            }
            Entry::Symlink { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_link_name_literal(target).map_err(|_| NameError(target.to_owned()))?;
                &[]
            }
            Entry::Extension { records } => {
                header.set_entry_type(tar::EntryType::XHeader);
                header.set_mode(0o644);
                records
            }
        };
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }

    /// The segment, to be followed by others.
    pub(super) fn cut(self) -> Vec<u8> {
        self.0
    }

    /// The segment with the end of an archive.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&END);
        self.0
    }
}

/// The name in the first header of `bytes`, which may be cut off after that header.
pub(super) fn first_name(bytes: &[u8]) -> Option<String> {
    let name = bytes.first_chunk::<BLOCK>()?.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(name.get(..name.len().min(100))?).into_owned())
}

/// The regular files of a segment that a reader gives, as far as `wanted` says so.
pub(super) fn files(reader: impl Read, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Member>> {
    let mut archive = tar::Archive::new(reader);
    let mut files = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type().is_file() && wanted(&name) {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            files.push(Member { name, content });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment() -> Segment {
        let mut segment = Segment::default();
        for (name, content) in [("a", &b"1"[..]), ("b", &[7; 600]), ("c", &[])] {
            segment.push(name, Entry::File { mode: 0o644, content }).unwrap();
        }
        segment
    }

    #[test]
    fn cut_and_ended_segments_read_the_same() {
        let (cut, ended) = (segment().cut(), segment().end());
        assert_eq!(ended[..cut.len()], cut);
        assert_eq!(ended.len(), cut.len() + 1024);
        assert_eq!((cut[156], &cut[257..265]), (b'0', &b"ustar\x0000"[..]));
        let read = files(cut.as_slice(), |name| name != "a").unwrap();
        assert_eq!(read, files(ended.as_slice(), |name| name != "a").unwrap());
        assert_eq!(read[0], Member { name: "b".to_owned(), content: vec![7; 600] });
        assert_eq!(read.len(), 2);
        assert_eq!(first_name(&cut).as_deref(), Some("a"));
    }

    #[test]
    fn a_cut_inside_an_entry_is_an_error() {
        let cut = segment().cut();
        for length in [100, 511, 512, 1124, 1536 + 100] {
            assert!(files(&cut[..length], |_| true).is_err(), "{length}");
        }
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        for name in [&"x".repeat(101), "/x", "../x", ""] {
            let entry = Entry::Directory { mode: 0o755 };
            assert!(Segment::default().push(name, entry).is_err(), "{name}");
        }
        let target = &"x".repeat(101);
        assert!(Segment::default().push("x", Entry::Symlink { target }).is_err());
    }

    proptest! {
        #[test]
        fn mutated_archives_never_panic(at in 0_usize..2048, value: u8) {
            let mut bytes = segment().cut();
            bytes[at] = value;
            let _ = files(bytes.as_slice(), |_| true);
            let _ = first_name(&bytes);
        }
    }
}
