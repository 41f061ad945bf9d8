//! `[files]`: owners and modes that a tree of files does not have by itself.

use std::collections::BTreeMap;

use super::super::accounts::{GROUP, PASSWD, SHADOW};
use super::super::merge::SPECIAL_MODE;
use super::super::rights;
use super::super::trail::Trail;
use super::is_executable;
use crate::model::profile::Owner;
use crate::wire::apkovl::{Entry, Node, Tree};

/// A rule in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) owner: Option<Owner>,
    pub(super) mode: Option<u32>,
}

/// The rules that make `expected` of what a build makes without any, `root` being what stands in files.
pub(super) fn of(expected: &Tree, root: &Tree) -> BTreeMap<String, Rule> {
    let mut rules = BTreeMap::new();
    let plain = plain(expected, root);
    // The folder whose rule counts for what is below it.
    let mut whole: Option<(String, Owner)> = None;
    for (path, entry) in expected.iter() {
        if whole.as_ref().is_some_and(|(folder, _)| !path.starts_with(folder.as_str())) {
            whole = None;
        }
        if whole.is_none()
            && let Some(owner) = common_owner(expected, path, entry)
        {
            let folder = format!("{path}/");
            rules.insert(folder.clone(), Rule { owner: Some(owner), mode: None });
            whole = Some((folder, owner));
        }
        let Some(without) = plain.get(path) else { continue };
        let owner = whole.as_ref().map_or(without.owner, |(_, owner)| *owner);
        let rule = Rule {
            owner: (entry.owner != owner).then_some(entry.owner),
            mode: (entry.mode != without.mode).then_some(entry.mode),
        };
        if rule != Rule::default() {
            rules.insert(path.to_owned(), rule);
        }
    }
    rules
}

/// What a build makes of the same paths when nothing is said about owners and modes.
fn plain(expected: &Tree, root: &Tree) -> Tree {
    let mut plain = expected.clone();
    for (path, entry) in plain.iter_mut() {
        // What follows from settings, and the accounts, are written anew.
        let is_written = root.get(path).is_none() || [PASSWD, GROUP, SHADOW].contains(&path);
        entry.owner = Owner::default();
        entry.mode = match entry.node {
            Node::Directory => 0o755,
            Node::Symlink(_) => 0o777,
            Node::CharDevice { .. } | Node::BlockDevice { .. } | Node::Fifo => SPECIAL_MODE,
            _ if is_executable(entry) && !is_written => 0o755,
            _ => 0o644,
        };
    }
    // Without rules, none is without a file.
    rights::finish(&mut plain, &[], &BTreeMap::new(), &mut Trail::default());
    plain
}

/// The one owner of a folder and all that is in it, when that is not root.
fn common_owner(tree: &Tree, path: &str, entry: &Entry) -> Option<Owner> {
    if !entry.is_directory() || entry.owner == Owner::default() {
        return None;
    }
    let folder = format!("{path}/");
    let mut below = tree.below(&folder).peekable();
    below.peek()?;
    below.all(|(_, it)| it.owner == entry.owner).then_some(entry.owner)
}
