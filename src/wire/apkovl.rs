//! The overlay archive Alpine's init unpacks over an empty root (alpine.md 2.3 and 2.4).
//!
//! OVL-1 to the letter: GNU headers written by hand, entries sorted by name with their parents before them, relative
//! names, directories with a final slash, numeric owners and no owner names (a name known inside the initramfs would
//! override the number), one fixed time, two zero blocks at the end. Never PAX: busybox ignores its owners.

use std::collections::BTreeMap;
use std::io;

use tar::{EntryType, Header};

use crate::model::profile::Owner;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file with these bytes.
    File(Vec<u8>),
    /// A symbolic link, its target verbatim.
    Symlink(String),
}

/// A file, directory or link with owner and mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub node: Node,
    /// Permission bits; links always have 0777.
    pub mode: u32,
    /// Numeric owner and group.
    pub owner: Owner,
}

impl Entry {
    /// A directory of root's, mode 0755.
    #[must_use]
    pub fn directory() -> Self {
        Self { node: Node::Directory, mode: 0o755, owner: Owner::default() }
    }

    /// A file of root's, mode 0644.
    #[must_use]
    pub fn file(bytes: impl Into<Vec<u8>>) -> Self {
        Self { node: Node::File(bytes.into()), mode: 0o644, owner: Owner::default() }
    }

    /// A link of root's.
    #[must_use]
    pub fn symlink(target: impl Into<String>) -> Self {
        Self { node: Node::Symlink(target.into()), mode: 0o777, owner: Owner::default() }
    }
}

/// The tree an overlay holds, by path relative to the root of the machine (`etc/hostname`), without final slashes.
///
/// A sorted map: parents come before what is in them, whatever order they were put in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, Entry>);

impl Tree {
    /// Puts an entry in, with those of its parent directories that are missing (0755 root:root, like the ones busybox
    /// would make), and returns the entry it replaced.
    pub fn insert(&mut self, path: &str, entry: Entry) -> Option<Entry> {
        for (end, _) in path.match_indices('/') {
            self.0.entry(path[..end].to_owned()).or_insert_with(Entry::directory);
        }
        self.0.insert(path.to_owned(), entry)
    }

    /// The entry at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path)
    }

    /// Takes the entry at `path` out.
    pub fn remove(&mut self, path: &str) -> Option<Entry> {
        self.0.remove(path)
    }

    /// Entries in archive order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Entries in archive order, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Entry)> {
        self.0.iter_mut().map(|(path, entry)| (path.as_str(), entry))
    }

    /// The archive, not yet compressed, with every entry's time set to `mtime` (seconds since 1970).
    #[must_use]
    pub fn to_tar(&self, mtime: u64) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            append(&mut archive, path, entry, mtime).expect("writing to memory does not fail");
        }
        archive.into_inner().expect("writing to memory does not fail")
    }
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, entry: &Entry, mtime: u64) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(entry.mode & 0o7777);
    header.set_uid(entry.owner.uid.into());
    header.set_gid(entry.owner.gid.into());
    header.set_mtime(mtime);
    header.set_size(0);
    let (name, bytes): (String, &[u8]) = match &entry.node {
        Node::Directory => {
            header.set_entry_type(EntryType::Directory);
            (format!("{path}/"), &[])
        }
        Node::File(bytes) => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(bytes.len() as u64);
            (path.to_owned(), bytes)
        }
        Node::Symlink(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            let slot = &mut header.as_gnu_mut().expect("the header was made as GNU").linkname;
            put_name(archive, slot, target, EntryType::GNULongLink)?;
            (path.to_owned(), &[])
        }
    };
    let slot = &mut header.as_gnu_mut().expect("the header was made as GNU").name;
    put_name(archive, slot, &name, EntryType::GNULongName)?;
    header.set_cksum();
    archive.append(&header, bytes)
}

/// Writes a name into its header field, and before it a GNU record of `kind` when it is too long for the field.
fn put_name(archive: &mut tar::Builder<Vec<u8>>, slot: &mut [u8], name: &str, kind: EntryType) -> io::Result<()> {
    if name.len() > slot.len() {
        let mut record = Header::new_gnu();
        record.as_gnu_mut().expect("the header was made as GNU").name[..13].copy_from_slice(b"././@LongLink");
        record.set_entry_type(kind);
        record.set_mode(0o644);
        record.set_uid(0);
        record.set_gid(0);
        record.set_mtime(0);
        record.set_size(name.len() as u64 + 1);
        record.set_cksum();
        let bytes = [name.as_bytes(), &[0]].concat();
        archive.append(&record, bytes.as_slice())?;
    }
    let kept = name.len().min(slot.len());
    slot[..kept].copy_from_slice(&name.as_bytes()[..kept]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    /// Path, mode, owner, link target and bytes of a member.
    type Member = (String, u32, u64, Option<String>, Vec<u8>);

    fn read_back(bytes: &[u8]) -> Vec<Member> {
        let mut archive = tar::Archive::new(bytes);
        archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
                let link = entry.link_name_bytes().map(|name| String::from_utf8(name.into_owned()).unwrap());
                let header = entry.header();
                (path, header.mode().unwrap(), header.uid().unwrap(), link, content)
            })
            .collect()
    }

    #[test]
    fn parents_come_first_and_directories_end_in_a_slash() {
        let mut tree = Tree::default();
        tree.insert("etc/runlevels/boot/networking", Entry::symlink("/etc/init.d/networking"));
        tree.insert("etc/hostname", Entry::file("hello\n"));
        let names: Vec<String> = read_back(&tree.to_tar(0)).into_iter().map(|entry| entry.0).collect();
        assert_eq!(
            names,
            ["etc/", "etc/hostname", "etc/runlevels/", "etc/runlevels/boot/", "etc/runlevels/boot/networking"]
        );
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
    fn long_names_verbatim_links_and_large_ids_survive() {
        let long = format!("etc/{}/{}", "d".repeat(120), "f".repeat(150));
        let target = format!("..//./{}", "t".repeat(200));
        let mut tree = Tree::default();
        tree.insert(
            &long,
            Entry {
                node: Node::File(b"x".to_vec()),
                mode: 0o4755,
                owner: Owner { uid: 3_000_000, gid: 4_000_000_000 },
            },
        );
        tree.insert("etc/link", Entry::symlink(target.clone()));
        let entries = read_back(&tree.to_tar(0));
        let file = entries.iter().find(|entry| entry.0 == long).unwrap();
        assert_eq!((file.1, file.2), (0o4755, 3_000_000));
        assert_eq!(entries.iter().find(|entry| entry.0 == "etc/link").unwrap().3.as_deref(), Some(target.as_str()));
    }

    proptest! {
        #[test]
        fn any_tree_survives_the_archive(
            files in proptest::collection::btree_map("[a-z]{1,60}(/[a-z]{1,60}){0,3}", proptest::collection::vec(any::<u8>(), 0..1000), 1..8)
        ) {
            let mut tree = Tree::default();
            for (path, bytes) in &files {
                // A path that is another's parent cannot be a file too.
                if !files.keys().any(|other| other.starts_with(&format!("{path}/"))) {
                    tree.insert(path, Entry::file(bytes.clone()));
                }
            }
            let read = read_back(&tree.to_tar(7));
            prop_assert_eq!(read.len(), tree.iter().count());
            for ((path, entry), found) in tree.iter().zip(read) {
                prop_assert_eq!(path, found.0.trim_end_matches('/'));
                if let Node::File(bytes) = &entry.node {
                    prop_assert_eq!(bytes, &found.4);
                }
            }
        }
    }
}
