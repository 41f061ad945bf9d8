//! Files of layers on top of each other: the later one wins, or takes one of an earlier layer away.

use super::super::OVERLAY_FILE;
use super::super::accounts::{GROUP, PASSWD, SHADOW};
use super::super::lint::Finding;
use super::super::lint::rule::{KIND, TEMPLATE};
use super::super::trail::Topic;
use super::{Merged, SPECIAL_MODE, Shadowed, WORLD, nothing_to_remove};
use crate::model::profile::{Owner, Special};
use crate::model::template::SUFFIX;
use crate::wire::apkovl::{Entry, Node, Tree};

impl Merged {
    /// Puts a file of a layer into the tree, and says whose it hides.
    pub(super) fn place(&mut self, origin: &str, path: String, entry: Entry) {
        let bare = path.strip_suffix(SUFFIX).filter(|_| matches!(entry.node, Node::File(_)));
        let is_template = bare.is_some();
        if let Some(why) = bare.and_then(no_template) {
            let effect = "the machine would have no such file";
            self.findings.push(
                Finding::new(TEMPLATE, format!("{path} cannot be a template"), effect, why)
                    .at(path.clone())
                    .by(origin)
                    .left_out(),
            );
            return;
        }
        let path = bare.map_or_else(|| path.clone(), str::to_owned);
        if let Err(finding) = put(&mut self.tree, &path, entry.clone(), origin) {
            self.findings.push(*finding);
            return;
        }
        if is_template {
            self.templates.insert(path.clone());
        } else {
            self.templates.remove(&path);
        }
        if !entry.is_directory() {
            if let Some(hidden) = self.trail.owner(Topic::File, &path).map(str::to_owned) {
                self.shadowed.push(Shadowed { path: path.clone(), by: origin.to_owned(), hidden });
            }
            self.trail.say(Topic::File, path, origin, described(&entry));
        }
    }

    /// Takes a file of earlier layers out, or a whole tree.
    pub(super) fn remove(&mut self, path: &str, origin: &str) {
        let folder = path.strip_suffix('/');
        let is_meant = |known: &str| match folder {
            Some(folder) => known == folder || known.starts_with(path),
            None => known == path,
        };
        let gone: Vec<String> = self.tree.iter().map(|(known, _)| known.to_owned()).filter(|it| is_meant(it)).collect();
        let is_whole = folder.is_some()
            || gone.iter().all(|path| self.tree.get(path).is_some_and(|entry| entry.node != Node::Directory));
        if gone.is_empty() || !is_whole {
            self.findings.push(nothing_to_remove("file", path, origin).in_key(&["remove", path]));
            return;
        }
        let matches = |key: &str, path: &str| match key.strip_suffix('/') {
            Some(folder) => path == folder || path.starts_with(key),
            None => path == key,
        };
        let touched: Vec<String> =
            self.rules.keys().filter(|key| gone.iter().any(|path| matches(key, path))).cloned().collect();
        // From the bottom up, because a folder goes with all that is in it.
        for path in gone.into_iter().rev() {
            self.templates.remove(&path);
            if self.tree.remove(&path).is_some_and(|entry| entry.node != Node::Directory) {
                self.shadowed.retain(|it| it.path != path);
                self.trail.take_out(Topic::File, path, origin);
            }
        }
        // Rules about what is gone go with it, unless they are about something else too.
        for key in touched {
            if !self.tree.iter().any(|(path, _)| matches(&key, path)) {
                self.rules.remove(&key);
            }
        }
    }
}

/// Puts an entry into a tree, unless it is a file in the place of a directory, or below a file: that cannot be unpacked
/// (OVL-45, alpine.md 2.4).
pub(in crate::build) fn put(tree: &mut Tree, path: &str, entry: Entry, origin: &str) -> Result<(), Box<Finding>> {
    let is_clash = match tree.get(path) {
        Some(there) => there.is_directory() != entry.is_directory(),
        None => path.match_indices('/').any(|(end, _)| tree.get(&path[..end]).is_some_and(|it| !it.is_directory())),
    };
    if is_clash {
        return Err(Box::new(clash(path, origin)));
    }
    tree.insert(path, entry);
    Ok(())
}

/// OVL-45, between layers.
pub(super) fn clash(path: &str, origin: &str) -> Finding {
    let what = format!(
        "{origin} has `{path}`, which must not be of that kind: a file, a directory and a link exclude each other"
    );
    let effect = "init could not unpack the overlay";
    let fix = format!("rename it, or take the other one out with `remove = [\"{path}\"]`");
    Finding::new(KIND, what, effect, fix).at(path).by(origin).left_out()
}

/// Why no template can make the file.
fn no_template(bare: &str) -> Option<&'static str> {
    if bare.is_empty() || bare.ends_with('/') {
        return Some("write the name of the file before `.tmpl`");
    }
    [PASSWD, GROUP, SHADOW, WORLD, OVERLAY_FILE]
        .contains(&bare)
        .then_some("this file is put together from all layers and is the same on every machine; say it in profile.toml")
}

/// What stands on the machine for a line of `[nodes]`: for nobody but root, as the kernel makes devices (devtmpfs).
pub(super) fn special(node: Special) -> Entry {
    let node = match node {
        Special::CharDevice { major, minor } => Node::CharDevice { major, minor },
        Special::BlockDevice { major, minor } => Node::BlockDevice { major, minor },
        Special::Pipe => Node::Fifo,
    };
    Entry { node, mode: SPECIAL_MODE, owner: Owner::default() }
}

/// A file in a few words.
pub(in crate::build) fn described(entry: &Entry) -> String {
    match &entry.node {
        Node::Directory => "a folder".to_owned(),
        Node::File(bytes) => format!("{} bytes", bytes.len()),
        Node::Symlink(target) => format!("a link to {target}"),
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => format!("device {major}:{minor}"),
        Node::Fifo => "a pipe".to_owned(),
    }
}
