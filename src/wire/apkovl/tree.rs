//! What an overlay archive holds.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::model::profile::Owner;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file with these bytes; clones share them.
    File(Bytes),
    /// A symbolic link, its target verbatim.
    Symlink(String),
    /// A character device.
    CharDevice {
        /// Which driver.
        major: u32,
        /// Which of its devices.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Which driver.
        major: u32,
        /// Which of its devices.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// A file, directory, link, device or pipe with owner and mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub node: Node,
    /// Permission bits with setuid, setgid and sticky (`0o7777`); links always have 0777.
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
    pub fn file(bytes: impl Into<Bytes>) -> Self {
        Self { node: Node::File(bytes.into()), mode: 0o644, owner: Owner::default() }
    }

    /// A link of root's.
    #[must_use]
    pub fn symlink(target: impl Into<String>) -> Self {
        Self { node: Node::Symlink(target.into()), mode: 0o777, owner: Owner::default() }
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.node == Node::Directory
    }
}

/// The tree an overlay holds, by path relative to the root of the machine (`etc/hostname`), without final slashes.
///
/// The parents of every entry are in it too, and are directories. Clones share the contents of files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, Entry>);

impl Tree {
    /// Puts an entry in, with those of its parent directories that are missing (0755 root:root, like the ones busybox
    /// would make), and returns the entry it replaced.
    ///
    /// The later entry wins: a parent that is no directory becomes one, and what is below a directory goes when
    /// something else takes its place. Parts of a path that no file can be called (empty, `.`, `..`, with a NUL) are
    /// left out, so nothing in a tree leads out of it; a path without any other part puts nothing in.
    pub fn insert(&mut self, path: &str, entry: Entry) -> Option<Entry> {
        if path.split('/').any(is_no_name) {
            let parts: Vec<&str> = path.split('/').filter(|part| !is_no_name(part)).collect();
            return if parts.is_empty() { None } else { self.insert(&parts.join("/"), entry) };
        }
        // From the bottom up: the first directory found has all its parents already.
        for (end, _) in path.rmatch_indices('/') {
            let parent = path.get(..end).unwrap_or_default();
            if self.0.get(parent).is_some_and(Entry::is_directory) {
                break;
            }
            self.0.insert(parent.to_owned(), Entry::directory());
        }
        let is_directory = entry.is_directory();
        let replaced = self.0.insert(path.to_owned(), entry);
        if !is_directory && replaced.as_ref().is_some_and(Entry::is_directory) {
            self.clear(path);
        }
        replaced
    }

    /// The entry at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path)
    }

    /// Takes the entry at `path` out, with everything below it.
    pub fn remove(&mut self, path: &str) -> Option<Entry> {
        let removed = self.0.remove(path);
        if removed.as_ref().is_some_and(Entry::is_directory) {
            self.clear(path);
        }
        removed
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Entries by path, in the order of the paths' bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Entries in the same order, to change their modes, owners and contents. To make something else of a directory,
    /// [`insert`](Self::insert) another entry in its place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Entry)> {
        self.0.iter_mut().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Entries below a folder, whose path ends in a slash here, in the order of the paths' bytes.
    pub fn below(&self, folder: &str) -> impl Iterator<Item = (&str, &Entry)> {
        let range = (Bound::Excluded(folder), Bound::Unbounded);
        let entries = self.0.range::<str, _>(range).map(|(path, entry)| (path.as_str(), entry));
        entries.take_while(move |(path, _)| path.starts_with(folder))
    }

    /// Takes out what is below `path`.
    fn clear(&mut self, path: &str) {
        let below: Vec<String> = self.below(&format!("{path}/")).map(|(path, _)| path.to_owned()).collect();
        for path in below {
            self.0.remove(&path);
        }
    }
}

/// Whether a part of a path is nothing a file can be called.
fn is_no_name(part: &str) -> bool {
    matches!(part, "" | "." | "..") || part.contains('\0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn missing_parents_come_with_an_entry_and_existing_ones_stay_as_they_are() {
        let mut tree = Tree::default();
        tree.insert("root", Entry { mode: 0o700, ..Entry::directory() });
        tree.insert("root/.ssh/authorized_keys", Entry::file("key"));
        assert_eq!(paths(&tree), ["root", "root/.ssh", "root/.ssh/authorized_keys"]);
        assert_eq!(tree.get("root").unwrap().mode, 0o700);
        assert_eq!(tree.get("root/.ssh"), Some(&Entry::directory()));
    }

    #[test]
    fn the_later_entry_wins_and_what_was_below_goes_with_its_directory() {
        let mut tree = Tree::default();
        tree.insert("etc/x/deep/file", Entry::file(""));
        tree.insert("etc/x-ray", Entry::file(""));
        assert_eq!(tree.insert("etc/x", Entry::file("now a file")), Some(Entry::directory()));
        assert_eq!(paths(&tree), ["etc", "etc/x", "etc/x-ray"]);
        assert_eq!(tree.insert("etc/x/y", Entry::file("")), None);
        assert_eq!(tree.get("etc/x"), Some(&Entry::directory()));
        assert_eq!(tree.remove("etc"), Some(Entry::directory()));
        assert!(tree.is_empty());
    }

    #[test]
    fn no_path_leads_out_of_a_tree() {
        let mut tree = Tree::default();
        tree.insert("/../etc//./../motd/", Entry::file("hi"));
        tree.insert("a\0b/c", Entry::file(""));
        assert_eq!(paths(&tree), ["c", "etc", "etc/motd"]);
        for nothing in ["", "/", ".", "..", "../.."] {
            assert_eq!(tree.insert(nothing, Entry::file("")), None);
        }
        assert_eq!(tree.len(), 3);
    }

    #[test]
    fn a_clone_shares_the_contents_of_files() {
        let mut tree = Tree::default();
        tree.insert("etc/x", Entry::file(vec![7; 1000]));
        let clone = tree.clone();
        let place = |tree: &Tree| match &tree.get("etc/x").unwrap().node {
            Node::File(bytes) => bytes.as_ptr(),
            other => panic!("{other:?}"),
        };
        assert_eq!(place(&tree), place(&clone));
    }

    proptest! {
        #[test]
        fn parents_are_always_there_and_directories(
            steps in proptest::collection::vec(("[ab./]{0,9}", 0..3), 0..40)
        ) {
            let mut tree = Tree::default();
            for (path, step) in &steps {
                match step {
                    0 => drop(tree.insert(path, Entry::file(""))),
                    1 => drop(tree.insert(path, Entry::directory())),
                    _ => drop(tree.remove(path)),
                }
                for (path, _) in tree.iter() {
                    prop_assert!(!path.split('/').any(is_no_name), "{}", path);
                    if let Some((parent, _)) = path.rsplit_once('/') {
                        prop_assert!(tree.get(parent).is_some_and(Entry::is_directory), "{} in {:?}", path, tree);
                    }
                }
            }
        }
    }
}
