//! Writing an archive for an extra initrd, the same bytes for the same content.

use std::collections::BTreeMap;

use super::{FILE, FOLDER, HEADER, LINK, LONGEST_NAME, TRAILER, padding};

/// Why something cannot be put into an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The name is not a plain relative path.
    #[error("{0:?} is not a plain relative path for an archive")]
    Name(String),
    /// Two things want one name, or a file is to lie in something that is not a folder.
    #[error("`{0}` is in the archive twice, or lies in what is not a folder")]
    Twice(String),
    /// The content's length does not fit the header.
    #[error("`{0}` has more than the 4294967295 bytes that an archive member can have")]
    TooLarge(String),
}

/// Collects members, then writes them sorted by name, so that the order in which they were added leaves no trace.
/// Owner and group are root, inode numbers count from 1, every member has the same time; folders that were not
/// added but are needed have mode 0755.
///
/// Written raw, the archive has to begin at a multiple of 4 bytes in an initramfs; compressed by
/// [`gzip`](crate::wire::gzip::gzip) it may begin anywhere (INIT-20, DESIGN section 4).
#[derive(Debug, Clone)]
pub struct Writer {
    mtime: u32,
    members: BTreeMap<String, Member>,
}

#[derive(Debug, Clone)]
struct Member {
    mode: u32,
    content: Vec<u8>,
}

impl Writer {
    /// An empty archive whose members will all bear this time, in seconds since 1970.
    #[must_use]
    pub const fn new(mtime: u32) -> Self {
        Self { mtime, members: BTreeMap::new() }
    }

    /// Adds a regular file. `mode` holds the permissions; other bits are dropped.
    ///
    /// # Errors
    /// When the name is not a relative path or is taken, or the content is too long.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<(), ArchiveError> {
        if u32::try_from(content.len()).is_err() {
            return Err(ArchiveError::TooLarge(name.to_owned()));
        }
        self.add(name, Member { mode: FILE | mode & 0o7777, content: content.to_vec() })
    }

    /// Adds a folder, or gives one that was only implied its permissions.
    ///
    /// # Errors
    /// When the name is not a relative path or is taken by something else.
    pub fn folder(&mut self, name: &str, mode: u32) -> Result<(), ArchiveError> {
        self.add(name, Member { mode: FOLDER | mode & 0o7777, content: Vec::new() })
    }

    /// Adds a symbolic link to `target`, which is taken as it is.
    ///
    /// # Errors
    /// When the name is not a relative path or is taken, or the target is empty, has a zero in it or is too long.
    pub fn link(&mut self, name: &str, target: &str) -> Result<(), ArchiveError> {
        if target.is_empty() || target.contains('\0') || target.len() >= LONGEST_NAME {
            return Err(ArchiveError::Name(target.to_owned()));
        }
        self.add(name, Member { mode: LINK | 0o777, content: target.as_bytes().to_vec() })
    }

    /// The archive, ending with its trailer, its length a multiple of four.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::new();
        for (inode, (name, member)) in (1..).zip(&self.members) {
            encode(&mut out, name, member, [inode, self.mtime]);
        }
        encode(&mut out, TRAILER, &Member { mode: 0, content: Vec::new() }, [0, 0]);
        out
    }

    /// The archive in two parts, between which the content of one more, last file belongs: `size` bytes that the
    /// archive does not hold itself. Its name stands alone, without a folder.
    ///
    /// # Errors
    /// As [`Writer::file`].
    pub fn around(mut self, name: &str, mode: u32, size: usize) -> Result<(Vec<u8>, Vec<u8>), ArchiveError> {
        let size = u32::try_from(size).map_err(|_| ArchiveError::TooLarge(name.to_owned()))?;
        self.add(name, Member { mode: FILE | mode & 0o7777, content: Vec::new() })?;
        let last = self.members.remove(name).ok_or_else(|| ArchiveError::Name(name.to_owned()))?;
        let mut before = Vec::new();
        let mut count = 0;
        for (inode, (name, member)) in (1..).zip(&self.members) {
            encode(&mut before, name, member, [inode, self.mtime]);
            count = inode;
        }
        head(&mut before, name, last.mode, size, [count + 1, self.mtime]);
        let mut after = Vec::new();
        fill(&mut after, u64::from(size));
        encode(&mut after, TRAILER, &Member { mode: 0, content: Vec::new() }, [0, 0]);
        Ok((before, after))
    }

    fn add(&mut self, name: &str, member: Member) -> Result<(), ArchiveError> {
        let is_plain = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !is_plain || name.contains('\0') || name.len() >= LONGEST_NAME || name == TRAILER {
            return Err(ArchiveError::Name(name.to_owned()));
        }
        let is_folder = |it: &Member| it.mode & FOLDER == FOLDER;
        let above = || name.match_indices('/').filter_map(|(end, _)| name.get(..end));
        let is_blocked = above().any(|folder| self.members.get(folder).is_some_and(|it| !is_folder(it)));
        let is_taken = self.members.get(name).is_some_and(|it| !(is_folder(it) && is_folder(&member)));
        if is_blocked || is_taken {
            return Err(ArchiveError::Twice(name.to_owned()));
        }
        for folder in above() {
            let implied = || Member { mode: FOLDER | 0o755, content: Vec::new() };
            self.members.entry(folder.to_owned()).or_insert_with(implied);
        }
        self.members.insert(name.to_owned(), member);
        Ok(())
    }
}

/// Appends one member: header, name, content, each of the latter two filled up to a multiple of four.
fn encode(out: &mut Vec<u8>, name: &str, member: &Member, [inode, mtime]: [u32; 2]) {
    let size = u32::try_from(member.content.len()).expect("checked when the member was added");
    head(out, name, member.mode, size, [inode, mtime]);
    out.extend_from_slice(&member.content);
    fill(out, u64::from(size));
}

/// Appends header and name of a member, filled up.
fn head(out: &mut Vec<u8>, name: &str, mode: u32, size: u32, [inode, mtime]: [u32; 2]) {
    let links = if mode & FOLDER == FOLDER { 2 } else { 1 };
    let name_size = u32::try_from(name.len() + 1).expect("checked when the member was added");
    // inode, mode, uid, gid, links, mtime, size, device (2), device of a node (2), length of the name, checksum
    let numbers = [inode, mode, 0, 0, links, mtime, size, 0, 0, 0, 0, name_size, 0];
    out.extend_from_slice(b"070701");
    for number in numbers {
        out.extend_from_slice(format!("{number:08x}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    fill(out, HEADER as u64 + u64::from(name_size));
}

fn fill(out: &mut Vec<u8>, length: u64) {
    out.extend((0..padding(length)).map(|_| 0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::cpio::Reader;

    #[test]
    fn the_order_of_adding_leaves_no_trace() {
        let mut one = Writer::new(9);
        one.file("b/x", 0o600, b"x").unwrap();
        one.link("a", "b/x").unwrap();
        one.folder("b", 0o700).unwrap();
        let mut two = Writer::new(9);
        two.folder("b", 0o700).unwrap();
        two.file("b/x", 0o600, b"x").unwrap();
        two.link("a", "b/x").unwrap();
        assert_eq!(one.finish(), two.finish());
    }

    #[test]
    fn members_are_sorted_and_their_folders_come_first() {
        let mut writer = Writer::new(1_700_000_000);
        writer.file("etc/apk/keys/site.rsa.pub", 0o100_644, b"key").unwrap();
        writer.link("etc-link", "etc").unwrap();
        writer.file("hello.apkovl.tar.gz", 0o600, b"archive").unwrap();
        let bytes = writer.finish();
        assert_eq!(bytes.len() % 4, 0);
        let mut reader = Reader::new(&bytes, 1 << 20);
        let mut found = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            assert_eq!(entry.mtime, 1_700_000_000);
            found.push(format!("{:o} {} {}", entry.mode, entry.name, entry.size));
        }
        assert_eq!(
            found,
            [
                "40755 etc 0",
                "120777 etc-link 3",
                "40755 etc/apk 0",
                "40755 etc/apk/keys 0",
                "100644 etc/apk/keys/site.rsa.pub 3",
                "100600 hello.apkovl.tar.gz 7",
            ]
        );
    }

    #[test]
    fn an_archive_around_a_file_is_the_one_with_the_file_in_it() {
        for content in [&b""[..], b"abc", b"12345678"] {
            let mut writer = Writer::new(5);
            writer.file("etc/key", 0o644, b"key").unwrap();
            let mut whole = writer.clone();
            whole.file("x.tar.gz", 0o600, content).unwrap();
            let (before, after) = writer.around("x.tar.gz", 0o600, content.len()).unwrap();
            assert_eq!([&before, content, &after].concat(), whole.finish());
        }
        let mut taken = Writer::new(0);
        taken.file("x", 0o600, b"").unwrap();
        assert!(taken.around("x", 0o600, 0).is_err());
    }

    #[test]
    fn names_that_lead_elsewhere_and_names_that_collide_are_refused() {
        let mut writer = Writer::new(0);
        for wrong in ["", "/etc", "etc/", "a//b", "./a", "a/../b", "a\0b", "TRAILER!!!", &"a".repeat(4096)] {
            assert_eq!(writer.file(wrong, 0o644, b""), Err(ArchiveError::Name(wrong.to_owned())));
        }
        assert_eq!(writer.link("a", ""), Err(ArchiveError::Name(String::new())));
        writer.file("a", 0o644, b"").unwrap();
        writer.file("d/f", 0o644, b"").unwrap();
        for taken in ["a", "a/b", "d"] {
            assert_eq!(writer.file(taken, 0o644, b""), Err(ArchiveError::Twice(taken.to_owned())));
        }
        assert_eq!(writer.folder("a", 0o755), Err(ArchiveError::Twice("a".to_owned())));
    }

    #[test]
    fn an_empty_archive_is_its_trailer() {
        let bytes = Writer::new(0).finish();
        assert_eq!(bytes.len(), 124);
        assert_eq!(Reader::new(&bytes, 1000).next_entry().unwrap(), None);
    }
}
