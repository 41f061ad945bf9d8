//! Mistakes that make a machine insecure or useless, found before anything is built (alpine.md 2.6).

use super::BuildError;
use crate::model::name::ProfileName;
use crate::wire::apkovl::{Node, Tree};

/// Refuses an overlay that would boot into something its author cannot have meant.
pub(super) fn check(profile: &ProfileName, tree: &Tree, allows_empty_root_password: bool) -> Result<(), BuildError> {
    [password(tree).filter(|_| !allows_empty_root_password), runlevels(tree), homes(tree)]
        .into_iter()
        .find_map(|found| found)
        .map_or(Ok(()), |why| Err(BuildError::Lint { profile: profile.clone(), why }))
}

/// OVL-16: without `etc/shadow`, or with an empty password field, anybody at the machine logs in.
fn password(tree: &Tree) -> Option<String> {
    const FIX: &str = "use the overlay `base`, or bring an etc/shadow in which root's second field is `*` or a hash";
    let Some(Node::File(shadow)) = tree.get("etc/shadow").map(|entry| &entry.node) else {
        return Some(format!("there is no etc/shadow, so root logs in without a password (OVL-16); {FIX}"));
    };
    let shadow = String::from_utf8_lossy(shadow);
    let root = shadow.lines().find_map(|line| line.strip_prefix("root:"));
    match root.map(|rest| rest.split(':').next().unwrap_or_default()) {
        None => Some(format!("etc/shadow has no line for root (OVL-23); {FIX}")),
        Some("") => Some(format!("etc/shadow gives root an empty password (OVL-16); {FIX}")),
        Some(_) => ["etc/shadow", "etc/passwd"].into_iter().find_map(|file| empty_password(tree, file)),
    }
}

/// The first account of a file without a password: its second field is empty.
pub(super) fn empty_password(tree: &Tree, file: &str) -> Option<String> {
    let Some(Node::File(bytes)) = tree.get(file).map(|entry| &entry.node) else { return None };
    let text = String::from_utf8_lossy(bytes);
    let name = text.lines().find_map(|line| line.split_once(':').filter(|(_, rest)| rest.starts_with(':')))?.0;
    Some(format!("{file} gives `{name}` an empty password (OVL-16); write `*` or a hash into the second field"))
}

/// OVL-25: with an overlay, init starts no services of its own.
fn runlevels(tree: &Tree) -> Option<String> {
    let has = tree
        .iter()
        .any(|(path, entry)| path.starts_with("etc/runlevels/sysinit/") && matches!(entry.node, Node::Symlink(_)));
    let marked = tree.get("etc/.default_boot_services").is_some();
    (!has && !marked).then(|| {
        "no service is in runlevel sysinit, so devices, modules and host name are never set up (OVL-25); use the \
         overlay `base`, or list services"
            .to_owned()
    })
}

/// OVL-21: a home that belongs to root locks its user out. Links are passed over: init gives them all to root, and
/// nothing looks at whose they are.
fn homes(tree: &Tree) -> Option<String> {
    let (path, _) = tree.iter().find(|(path, entry)| {
        path.strip_prefix("home/").is_some_and(|rest| !rest.is_empty())
            && entry.owner.uid == 0
            && !matches!(entry.node, Node::Symlink(_))
    })?;
    let user = path.split('/').nth(1).unwrap_or_default();
    Some(format!(
        "`{path}` would belong to root (OVL-21); give it to its user with `[files]` and \
         `\"home/{user}/\" = {{ owner = \"UID:GID\" }}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::Owner;
    use crate::wire::apkovl::Entry;

    fn sound() -> Tree {
        let mut tree = Tree::default();
        tree.insert("etc/shadow", Entry::file("root:*::0:::::\n"));
        tree.insert("etc/runlevels/sysinit/devfs", Entry::symlink("/etc/init.d/devfs"));
        tree
    }

    fn found(tree: &Tree) -> String {
        check(&"vdi".parse().unwrap(), tree, false).map_or_else(|error| error.to_string(), |()| "nothing".to_owned())
    }

    #[test]
    fn a_sound_overlay_passes_and_each_mistake_is_named_with_its_rule() {
        assert_eq!(found(&sound()), "nothing");
        for shadow in ["root:::0:::::\n", "bin:!::0:::::\n"] {
            let mut tree = sound();
            tree.insert("etc/shadow", Entry::file(shadow));
            assert!(found(&tree).contains("(OVL-"), "{shadow}");
        }
        for (file, text, name) in [
            ("etc/passwd", "root::0:0:root:/root:/bin/sh\n", "root"),
            ("etc/shadow", "root:*::0:::::\ntoor::0:::::\n", "toor"),
        ] {
            let mut tree = sound();
            tree.insert(file, Entry::file(text));
            assert!(found(&tree).contains(&format!("{file} gives `{name}` an empty password (OVL-16)")), "{file}");
        }
        let mut tree = sound();
        tree.remove("etc/shadow");
        assert!(found(&tree).contains("root logs in without a password (OVL-16)"));
        let mut tree = sound();
        tree.remove("etc/runlevels/sysinit/devfs");
        assert!(found(&tree).contains("(OVL-25)"));
        let mut tree = sound();
        tree.insert("home/kiosk/.profile", Entry::file(""));
        assert!(found(&tree).contains("`home/kiosk` would belong to root (OVL-21)"));
        for path in ["home/kiosk", "home/kiosk/.profile"] {
            let mut entry = tree.get(path).unwrap().clone();
            entry.owner = Owner { uid: 1000, gid: 1000 };
            tree.insert(path, entry);
        }
        tree.insert("home/kiosk/link", Entry::symlink("x"));
        assert_eq!(found(&tree), "nothing");
    }
}
