//! The folders that an archive leaves out. lbu archives a folder only when no package owns it or its owner or mode is not
//! the package's (LBU-4), and none above a path of `lbu.list`; init then makes them 0755 root:root.

use std::collections::{BTreeMap, BTreeSet};

use super::super::accounts::PASSWD;
use super::super::rights;
use super::super::trail::Trail;
use super::{Became, Remark, text};
use crate::model::profile::Owner;
use crate::wire::apkovl::{Entry, Tree};

/// Gives the folders that only what is below them `implies` the owner and mode that they had on the machine: a build's
/// own strict modes, and of what is in a home, its user.
pub(super) fn supply(tree: &mut Tree, implied: &BTreeSet<String>, remarks: &mut Vec<Remark>) {
    let mut folders = Tree::default();
    for path in implied {
        folders.insert(path, Entry::directory());
    }
    // Without rules, none is without a file.
    rights::finish(&mut folders, &homes(tree), &BTreeMap::new(), &mut Trail::default());
    for (path, entry) in tree.iter_mut() {
        let Some(folder) = folders.get(path).filter(|it| implied.contains(path) && *it != &*entry) else { continue };
        let said = format!(
            "is not in the archive itself, so that init would make it 0755 0:0; as on the machine, it is {:04o} {}",
            folder.mode, folder.owner
        );
        *entry = folder.clone();
        remarks.push(Remark { path: path.to_owned(), became: Became::Noted(said) });
    }
}

/// The homes below `home/`, and whose they are.
fn homes(tree: &Tree) -> Vec<(String, Owner)> {
    let home = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
        let home = home.trim_matches('/').to_owned();
        home.starts_with("home/").then_some((home, Owner { uid: uid.parse().ok()?, gid: gid.parse().ok()? }))
    };
    text(tree, PASSWD).unwrap_or_default().lines().filter_map(home).collect()
}
