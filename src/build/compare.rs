//! What differs between two trees. Pure.

use std::collections::BTreeSet;

use crate::wire::apkovl::{Entry, Node, Tree};

/// A path that two trees do not have alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path on the machine.
    pub path: String,
    /// What the first tree has there.
    pub before: Option<Entry>,
    /// What the second tree has there.
    pub after: Option<Entry>,
}

/// Every path that two trees do not have alike, by path.
#[must_use]
pub fn compare(before: &Tree, after: &Tree) -> Vec<Difference> {
    let paths: BTreeSet<&str> = before.iter().chain(after.iter()).map(|(path, _)| path).collect();
    let differing = paths.into_iter().filter(|path| before.get(path) != after.get(path));
    differing
        .map(|path| Difference {
            path: path.to_owned(),
            before: before.get(path).cloned(),
            after: after.get(path).cloned(),
        })
        .collect()
}

impl Difference {
    /// What became what, in a few words each: `mode 0644 → 0600`. Contents of files are not among them.
    #[must_use]
    pub fn properties(&self) -> Vec<String> {
        let (Some(before), Some(after)) = (&self.before, &self.after) else { return Vec::new() };
        let mut said = Vec::new();
        if kind(&before.node) != kind(&after.node) {
            said.push(format!("{} → {}", kind(&before.node), kind(&after.node)));
        }
        if before.mode != after.mode {
            said.push(format!("mode {:04o} → {:04o}", before.mode, after.mode));
        }
        if before.owner != after.owner {
            let [old, new] = [before.owner, after.owner];
            said.push(format!("owner {}:{} → {}:{}", old.uid, old.gid, new.uid, new.gid));
        }
        match (&before.node, &after.node) {
            (Node::Symlink(old), Node::Symlink(new)) if old != new => {
                said.push(format!("target {} → {}", old.escape_debug(), new.escape_debug()));
            }
            (
                Node::CharDevice { major, minor } | Node::BlockDevice { major, minor },
                Node::CharDevice { major: to_major, minor: to_minor }
                | Node::BlockDevice { major: to_major, minor: to_minor },
            ) if (major, minor) != (to_major, to_minor) => {
                said.push(format!("device {major}:{minor} → {to_major}:{to_minor}"));
            }
            _ => {}
        }
        said
    }

    /// The bytes of both files, when they differ; a side that has nothing there has none, and where one has something
    /// else there are none.
    #[must_use]
    pub fn contents(&self) -> Option<(&[u8], &[u8])> {
        let is_other = |entry: &Entry| !matches!(entry.node, Node::File(_));
        if self.before.as_ref().is_some_and(is_other) || self.after.as_ref().is_some_and(is_other) {
            return None;
        }
        let (before, after) = (file(self.before.as_ref()), file(self.after.as_ref()));
        (before != after).then_some((before, after))
    }
}

/// The bytes of a file; none of anything else.
fn file(entry: Option<&Entry>) -> &[u8] {
    match entry.map(|it| &it.node) {
        Some(Node::File(bytes)) => bytes,
        _ => &[],
    }
}

/// What an entry is, in a word or two.
#[must_use]
pub const fn kind(node: &Node) -> &'static str {
    match node {
        Node::Directory => "folder",
        Node::File(_) => "file",
        Node::Symlink(_) => "link",
        Node::CharDevice { .. } => "character device",
        Node::BlockDevice { .. } => "block device",
        Node::Fifo => "pipe",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::Owner;

    #[test]
    fn every_property_that_differs_is_named_and_nothing_else() {
        let (mut before, mut after) = (Tree::default(), Tree::default());
        for tree in [&mut before, &mut after] {
            tree.insert("etc/same", Entry::file("x"));
            tree.insert("etc/text", Entry::file("a\n"));
            tree.insert("etc/link", Entry::symlink("a"));
            tree.insert("etc/kind", Entry::file(""));
        }
        before.insert("etc/gone", Entry::file("gone"));
        after.insert("etc/text", Entry { mode: 0o600, owner: Owner { uid: 1, gid: 2 }, ..Entry::file("b\n") });
        after.insert("etc/link", Entry::symlink("b\x1b"));
        after.insert("etc/kind", Entry::symlink("/x"));
        let found = compare(&before, &after);
        let paths: Vec<&str> = found.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, ["etc/gone", "etc/kind", "etc/link", "etc/text"]);
        assert_eq!(found[0].contents(), Some((b"gone".as_slice(), b"".as_slice())));
        assert_eq!(found[1].properties(), ["file → link", "mode 0644 → 0777"]);
        assert_eq!(found[1].contents(), None);
        assert_eq!(found[2].properties(), ["target a → b\\u{1b}"]);
        assert_eq!(found[3].properties(), ["mode 0644 → 0600", "owner 0:0 → 1:2"]);
        assert_eq!(found[3].contents(), Some((b"a\n".as_slice(), b"b\n".as_slice())));
        assert!(compare(&before, &before).is_empty());
    }
}
