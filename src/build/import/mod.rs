//! An archive that lbu made on a running machine, as a profile that builds back to an equal one. Pure: writing it down is
//! `cli`'s part.
//!
//! What a profile has words for goes into `profile.toml`; the rest stays in files, accounts among them, because their
//! files hold more (the day of the last change, the order) than a profile says.

mod fate;
mod parents;
mod rules;
mod settings;

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::accounts::{GROUP, PASSWD, SHADOW};
use super::compare::{Difference, compare};
use super::layers::{self, Source};
use super::merge::WORLD;
use super::{BuildError, Recipe};
use crate::model::name::ProfileName;
use crate::model::profile::Profile;
use crate::wire::apkovl::{Entry, Node, Read, Tree};
use fate::Fate;
use settings::Settings;

/// The largest file a profile is read with.
const LARGEST: usize = super::root::MAX_FILE as usize;

/// A profile in the making.
#[derive(Debug, Clone)]
pub struct Import {
    /// `profile.toml`.
    pub profile: String,
    /// The `root/` tree: what goes into files. Owners and modes are in `profile.toml` too, where a tree of files says
    /// something else.
    pub root: Tree,
    /// What must not go into a bundle, by its path on the machine.
    pub secrets: Tree,
    /// What became a setting, was left out or moved, and why.
    pub remarks: Vec<Remark>,
    /// What the profile has to build to: the archive without what was left out and moved, and with the owners and modes
    /// of folders that it leaves to init.
    pub expected: Tree,
}

/// What became of a path that does not stand in `root/` as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The path on the machine.
    pub path: String,
    /// What became of it.
    pub became: Became,
}

/// What became of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Became {
    /// Settings, in the words of `profile.toml`.
    Setting(String),
    /// Nothing, for this reason.
    Dropped(String),
    /// A secret, beside the profile.
    Secret,
    /// Something to know or do about it.
    Noted(String),
}

impl Import {
    /// Makes a profile of what was read from an archive.
    #[must_use]
    pub fn of(archive: &Read, name: &ProfileName) -> Self {
        let (tree, mut remarks) = (&archive.tree, Vec::new());
        let mut expected = tree.clone();
        parents::supply(&mut expected, &archive.implied, &mut remarks);
        let mut secrets = Tree::default();
        for (path, entry) in tree.iter() {
            if expected.get(path).is_none() {
                // What it was in has been dropped, with its reason.
                continue;
            }
            let became = match fate::of(path, entry) {
                Fate::Kept => match &entry.node {
                    Node::File(bytes) if bytes.len() > LARGEST => {
                        Became::Dropped(format!("larger than the {LARGEST} bytes a file of a root/ tree may have"))
                    }
                    _ => continue,
                },
                Fate::Dropped(why) => Became::Dropped(why.to_owned()),
                Fate::Secret => {
                    secrets.insert(path, entry.clone());
                    Became::Secret
                }
            };
            expected.remove(path);
            remarks.push(Remark { path: path.to_owned(), became });
        }
        let settings = Settings::of(tree, &expected, &mut remarks);
        let root = files(&expected, &settings.covered);
        for (path, _) in
            root.iter().filter(|(path, entry)| entry.is_directory() && root.below(&format!("{path}/")).next().is_none())
        {
            let said = "an empty folder, which git does not keep".to_owned();
            remarks.push(Remark { path: path.to_owned(), became: Became::Noted(said) });
        }
        let profile = settings.text(name, &rules::of(&expected, &root));
        remarks.sort_by(|a, b| a.path.cmp(&b.path));
        Self { profile, root, secrets, remarks, expected }
    }

    /// The profile as a build would read it from the folder it is written to. The contents are those in memory: an
    /// archive may hold half a gigabyte, and nobody needs it twice.
    ///
    /// # Errors
    /// When `profile.toml` cannot be read, which it always can.
    pub fn recipe(&self, name: &ProfileName) -> Result<Recipe, BuildError> {
        let origin = format!("profile {name}");
        let file = PathBuf::from("profile.toml");
        let (profile, written, findings) = layers::parse(&self.profile, file, &origin, Profile::read)?;
        let source = Source { origin, layer: profile.layer, written, files: as_files(&self.root), findings };
        Ok(Recipe::merged(name, vec![source]))
    }

    /// What the profile builds to, held against the archive: what is not as it was, and why.
    #[must_use]
    pub fn differences(&self, built: &Tree) -> Vec<(Difference, &'static str)> {
        let reason = |difference: &Difference| match difference.path.as_str() {
            PASSWD | GROUP | SHADOW => "the accounts of Alpine's base are always there, and come first",
            WORLD => "packages are sorted as apk sorts them, once each",
            "etc/hostname" => "a machine has a name: that of its profile when nothing else says one",
            "etc/hosts" => "the host name is resolved",
            _ if difference.before.is_none() => "the folder of what is added",
            _ => "not as it was",
        };
        compare(&self.expected, built).into_iter().map(|it| (it.clone(), reason(&it))).collect()
    }
}

/// What goes into files: all that no setting stands for, without folders that were there for the sake of that only.
fn files(expected: &Tree, covered: &BTreeSet<String>) -> Tree {
    let mut root = expected.clone();
    for path in covered {
        root.remove(path);
        let mut folder = path.as_str();
        while let Some((above, _)) = folder.rsplit_once('/') {
            folder = above;
            let start = format!("{folder}/");
            if root.below(&start).next().is_some() {
                break;
            }
            root.remove(folder);
        }
    }
    root
}

/// A tree as a `root/` folder keeps it: kinds, contents, and whether a file may be executed.
fn as_files(root: &Tree) -> Vec<(String, Entry)> {
    let plain = |entry: &Entry| match &entry.node {
        Node::File(bytes) => {
            Entry { mode: if is_executable(entry) { 0o755 } else { 0o644 }, ..Entry::file(bytes.clone()) }
        }
        Node::Symlink(target) => Entry::symlink(target.clone()),
        _ => Entry::directory(),
    };
    root.iter().map(|(path, entry)| (path.to_owned(), plain(entry))).collect()
}

/// The text of a file of a tree.
fn text(tree: &Tree, path: &str) -> Option<String> {
    match tree.get(path).map(|entry| &entry.node) {
        Some(Node::File(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

/// Whether an entry is a file that its owner may execute.
fn is_executable(entry: &Entry) -> bool {
    matches!(entry.node, Node::File(_)) && entry.mode & 0o100 != 0
}

#[cfg(test)]
mod tests;
