//! A tree as the pieces of a tar archive. No content is copied here: who wants the archive puts the pieces together.

use std::iter;

use bytes::Bytes;

use super::header::{Header, number};
use super::{BLOCK, Entry, Node, Tree};
use crate::model::digest::{Digest, Hasher};

static ZEROS: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The blocks that end an archive.
pub(super) const END: &[u8] = &ZEROS;

impl Tree {
    /// The archive, not yet compressed, with every entry's time set to `mtime` (seconds since 1970).
    #[must_use]
    pub fn to_tar(&self, mtime: u64) -> Vec<u8> {
        let mut archive = Vec::new();
        self.archive(mtime).for_each(|piece| archive.extend_from_slice(&piece));
        archive
    }

    /// The digest of [`to_tar`](Self::to_tar)'s bytes, without making them. It names the contents of an overlay
    /// whatever compressed them, as OCI's `diffID` does.
    #[must_use]
    pub fn digest(&self, mtime: u64) -> Digest {
        let mut hasher = Hasher::default();
        self.archive(mtime).for_each(|piece| hasher.update(&piece));
        hasher.finish()
    }

    /// The pieces of the whole archive.
    ///
    /// By path, except that what is directly in the root and no directory comes last: apk stops reading the list of an
    /// overlay's files at the first line without a slash, and protects no file after it (OVL-2).
    pub(super) fn archive(&self, mtime: u64) -> impl Iterator<Item = Bytes> {
        let (early, late) = (self.iter().filter(|it| !is_late(it)), self.iter().filter(is_late));
        early
            .chain(late)
            .flat_map(move |(path, entry)| pieces(path, entry, mtime))
            .chain(iter::once(Bytes::from_static(END)))
    }
}

/// Whether an entry must come after all that are in folders.
pub(super) fn is_late((path, entry): &(&str, &Entry)) -> bool {
    !path.contains('/') && !entry.is_directory()
}

/// The records of one entry: its headers, its content, and zeros up to the next block.
pub(super) fn pieces(path: &str, entry: &Entry, mtime: u64) -> [Bytes; 3] {
    let mut header = Header::new(match entry.node {
        Node::File(_) => b'0',
        Node::Symlink(_) => b'2',
        Node::CharDevice { .. } => b'3',
        Node::BlockDevice { .. } => b'4',
        Node::Directory => b'5',
        Node::Fifo => b'6',
    });
    header.mode = number(u64::from(entry.mode & 0o7777));
    header.uid = number(entry.owner.uid.into());
    header.gid = number(entry.owner.gid.into());
    header.mtime = number(mtime);
    let content = content(entry);
    header.size = number(content.len() as u64);
    let mut records = Vec::with_capacity(BLOCK);
    let mut name = path.to_owned();
    match &entry.node {
        Node::Directory => name.push('/'),
        Node::Symlink(target) => {
            header.mode = number(0o777);
            put_name(&mut records, &mut header.link, target, b'K');
        }
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
            header.major = number((*major).into());
            header.minor = number((*minor).into());
        }
        Node::File(_) | Node::Fifo => {}
    }
    put_name(&mut records, &mut header.name, &name, b'L');
    header.encode(&mut records);
    let padding = Bytes::from_static(padding(content.len()));
    [records.into(), content, padding]
}

/// What follows the header of an entry.
pub(super) fn content(entry: &Entry) -> Bytes {
    match &entry.node {
        Node::File(bytes) => bytes.clone(),
        _ => Bytes::new(),
    }
}

/// Writes a name into its header field, and before it a GNU record of `kind` with all of it when it is too long.
fn put_name(records: &mut Vec<u8>, field: &mut [u8; 100], name: &str, kind: u8) {
    if name.len() > field.len() {
        let mut record = Header::new(kind);
        for (place, byte) in record.name.iter_mut().zip(b"././@LongLink") {
            *place = *byte;
        }
        record.mode = number(0o644);
        let length = name.len() + 1;
        record.size = number(length as u64);
        record.encode(records);
        records.extend_from_slice(name.as_bytes());
        records.push(0);
        records.extend_from_slice(padding(length));
    }
    for (place, byte) in field.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
}

/// The zeros that fill up the last block of a content.
fn padding(length: usize) -> &'static [u8] {
    ZEROS.get(..length.wrapping_neg() % BLOCK).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::Owner;

    /// Type, name and mode of every member, as an independent reader sees them.
    fn members(archive: &[u8]) -> Vec<(u8, String, u32)> {
        tar::Archive::new(archive)
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
                (entry.header().entry_type().as_byte(), path, entry.header().mode().unwrap())
            })
            .collect()
    }

    fn names(tree: &Tree) -> Vec<String> {
        members(&tree.to_tar(0)).into_iter().map(|member| member.1).collect()
    }

    #[test]
    fn parents_come_first_and_directories_end_in_a_slash() {
        let mut tree = Tree::default();
        tree.insert("etc/runlevels/boot/networking", Entry::symlink("/etc/init.d/networking"));
        tree.insert("etc/hostname", Entry::file("hello\n"));
        assert_eq!(
            names(&tree),
            ["etc/", "etc/hostname", "etc/runlevels/", "etc/runlevels/boot/", "etc/runlevels/boot/networking"]
        );
    }

    #[test]
    fn what_is_directly_in_the_root_and_no_directory_comes_last() {
        let mut tree = Tree::default();
        tree.insert(".default_boot_services", Entry::file(""));
        tree.insert("link", Entry::symlink("x"));
        tree.insert("etc/x", Entry::file(""));
        tree.insert("var", Entry::directory());
        assert_eq!(names(&tree), ["etc/", "etc/x", "var/", ".default_boot_services", "link"]);
    }

    #[test]
    fn the_archive_ends_with_two_zero_blocks_and_has_no_owner_names() {
        let mut tree = Tree::default();
        tree.insert("etc/x", Entry::file("x"));
        let bytes = tree.to_tar(0);
        assert_eq!(bytes.len(), 512 + 512 + 512 + 1024);
        assert!(bytes[bytes.len() - 1024..].iter().all(|byte| *byte == 0));
        assert_eq!(&bytes[257..265], b"ustar  \0");
        assert!(bytes[265..329].iter().all(|byte| *byte == 0), "owner names are empty");
    }

    #[test]
    fn every_field_of_a_header_stands_where_it_has_to() {
        let entry = Entry {
            node: Node::BlockDevice { major: 7, minor: 300_000 },
            mode: 0o100_640,
            owner: Owner { uid: 2_097_151, gid: 2_097_152 },
        };
        let mut tree = Tree::default();
        tree.insert("dev/loop", entry);
        let bytes = tree.to_tar(1_700_000_000);
        let header = &bytes[512..1024];
        assert_eq!(&header[..10], b"dev/loop\0\0");
        assert_eq!(&header[100..108], b"0000640\0", "permission bits alone");
        assert_eq!(&header[108..116], b"7777777\0");
        assert_eq!(header[116..124], [0x80, 0, 0, 0, 0, 0x20, 0, 0]);
        assert_eq!(&header[124..136], b"00000000000\0");
        assert_eq!(&header[136..148], b"14524770400\0");
        assert_eq!(header[156], b'4');
        assert_eq!(&header[329..345], b"0000007\x001111740\0");
        let sum: u32 =
            header.iter().enumerate().map(|(at, it)| if (148..156).contains(&at) { 32 } else { u32::from(*it) }).sum();
        assert_eq!(&header[148..156], format!("{sum:07o}\0").as_bytes());
    }

    /// The same entries written by the `tar` crate, which wrote the overlays of earlier versions: their digests stay.
    #[test]
    fn the_bytes_are_those_of_an_independent_gnu_writer() {
        let target = format!("..//./{}", "t".repeat(200));
        let mut tree = Tree::default();
        let owner = Owner { uid: 3_000_000, gid: 4_000_000_000 };
        tree.insert("etc/app", Entry { mode: 0o2755, owner, ..Entry::directory() });
        tree.insert("etc/app/run", Entry { mode: 0o4711, owner, ..Entry::file("#!/bin/sh\n") });
        tree.insert("etc/app/link", Entry::symlink("/etc/init.d/app"));
        tree.insert("etc/app/long", Entry::symlink(target.clone()));
        tree.insert(&format!("etc/{}", "n".repeat(96)), Entry::file(vec![5; 512]));
        tree.insert(&format!("etc/{}", "n".repeat(97)), Entry::file(vec![6; 513]));

        let mut peer = tar::Builder::new(Vec::new());
        for (path, entry) in tree.iter() {
            let mut header = tar::Header::new_gnu();
            header.set_mode(entry.mode);
            header.set_uid(entry.owner.uid.into());
            header.set_gid(entry.owner.gid.into());
            header.set_mtime(7);
            header.set_size(0);
            match &entry.node {
                Node::Symlink(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    if target.len() > 100 {
                        let mut record = tar::Header::new_gnu();
                        record.as_gnu_mut().unwrap().name[..13].copy_from_slice(b"././@LongLink");
                        record.set_entry_type(tar::EntryType::GNULongLink);
                        record.set_mode(0o644);
                        record.set_uid(0);
                        record.set_gid(0);
                        record.set_size(target.len() as u64 + 1);
                        record.set_cksum();
                        peer.append(&record, [target.as_bytes(), b"\0"].concat().as_slice()).unwrap();
                        header.as_gnu_mut().unwrap().linkname.copy_from_slice(&target.as_bytes()[..100]);
                    } else {
                        header.set_link_name_literal(target).unwrap();
                    }
                    peer.append_data(&mut header, path, [].as_slice()).unwrap();
                }
                Node::File(bytes) => {
                    header.set_entry_type(tar::EntryType::Regular);
                    header.set_size(bytes.len() as u64);
                    peer.append_data(&mut header, path, bytes.as_ref()).unwrap();
                }
                _ => {
                    header.set_entry_type(tar::EntryType::Directory);
                    peer.append_data(&mut header, format!("{path}/"), [].as_slice()).unwrap();
                }
            }
        }
        let (ours, theirs) = (tree.to_tar(7), peer.into_inner().unwrap());
        assert_eq!(ours.iter().zip(&theirs).position(|(a, b)| a != b), None);
        assert_eq!(ours.len(), theirs.len());
    }

    #[test]
    fn the_digest_is_that_of_the_bytes() {
        let mut tree = Tree::default();
        tree.insert("etc/x", Entry::file("x"));
        assert_eq!(tree.digest(9), Digest::of(&tree.to_tar(9)));
        assert_ne!(tree.digest(9), tree.digest(10));
    }

    #[test]
    fn neither_the_order_of_insertion_nor_implied_parents_change_the_bytes() {
        let entries = [("etc/b/x", "1"), ("etc/a", "2"), ("usr/c", "3")];
        let (mut forward, mut backward) = (Tree::default(), Tree::default());
        entries.iter().for_each(|(path, text)| drop(forward.insert(path, Entry::file(*text))));
        backward.insert("etc", Entry::directory());
        entries.iter().rev().for_each(|(path, text)| drop(backward.insert(path, Entry::file(*text))));
        assert_eq!(forward.to_tar(0), backward.to_tar(0));
    }
}
