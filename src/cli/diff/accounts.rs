//! Users and groups of an overlay, property by property.

use std::collections::BTreeMap;

use crate::build::BaseAccounts;
use crate::wire::apkovl::{Node, Tree};

/// A property: what it is, and what people see of it, which of a password is not the hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Property {
    is: String,
    pub(super) shown: String,
}

/// A property of an account that is not alike: account, property, and its values.
pub(super) type Change = (String, &'static str, Option<Property>, Option<Property>);

type Accounts = BTreeMap<(String, &'static str), Property>;

/// What is not alike, by account. A tree without `passwd` or `group` has those of Alpine's base; passwords are compared
/// when both have a `shadow`.
pub(super) fn compare(before: &Tree, after: &Tree) -> Vec<Change> {
    let with_passwords = file(before, "etc/shadow").is_some() && file(after, "etc/shadow").is_some();
    let [before, after] = [before, after].map(|tree| accounts(tree, with_passwords));
    let mut keys: Vec<_> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let differing = keys.into_iter().filter(|key| before.get(key) != after.get(key));
    differing.map(|key| (key.0.clone(), key.1, before.get(key).cloned(), after.get(key).cloned())).collect()
}

fn accounts(tree: &Tree, with_passwords: bool) -> Accounts {
    const USER: [&str; 5] = ["uid", "gid", "comment", "home", "shell"];
    let base = BaseAccounts::default();
    let mut accounts = Accounts::new();
    let mut put = |kind: &str, name: &str, property: &'static str, is: &str, shown: &str| {
        let property_of = (format!("{kind} {name}"), property);
        accounts.insert(property_of, Property { is: is.to_owned(), shown: shown.to_owned() });
    };
    let passwd = file(tree, "etc/passwd").unwrap_or(base.passwd);
    for fields in lines(&passwd) {
        let Some((name, rest)) = fields.split_first() else { continue };
        for (property, value) in USER.into_iter().zip(rest.iter().skip(1)) {
            put("user", name, property, value, value);
        }
    }
    for fields in lines(&file(tree, "etc/group").unwrap_or(base.group)) {
        let Some((name, rest)) = fields.split_first() else { continue };
        for (property, value) in ["gid", "members"].into_iter().zip(rest.iter().skip(1)) {
            put("group", name, property, value, value);
        }
    }
    let shadow = file(tree, "etc/shadow").filter(|_| with_passwords).unwrap_or_default();
    for fields in lines(&shadow) {
        if let [name, password, ..] = fields.as_slice() {
            let shown = match *password {
                "" => "empty",
                "*" | "!" => password,
                _ => "a hash",
            };
            put("user", name, "password", password, shown);
        }
    }
    accounts
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| line.split(':').collect())
}

fn file(tree: &Tree, path: &str) -> Option<String> {
    match tree.get(path).map(|entry| &entry.node) {
        Some(Node::File(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::apkovl::Entry;

    #[test]
    fn properties_that_differ_are_named_and_no_hash_is_shown() {
        let tree = |passwd: &'static str, shadow: &'static str| {
            let mut tree = Tree::default();
            tree.insert("etc/passwd", Entry::file(passwd));
            tree.insert("etc/shadow", Entry::file(shadow));
            tree
        };
        let before = tree("a:x:1:1:A:/home/a:/bin/ash\n", "a:$6$s$old:1:0:::::\n");
        let after = tree("a:x:1:1:A:/home/a:/bin/sh\nb:x:2:2::/:/x\n", "a:$6$s$new:1:0:::::\nb:*:::::::\n");
        let shown = |property: &Option<Property>| property.as_ref().map(|it| it.shown.clone()).unwrap_or_default();
        let said: Vec<String> = compare(&before, &after)
            .iter()
            .map(|(account, property, old, new)| format!("{account} {property} {} {}", shown(old), shown(new)))
            .collect();
        assert_eq!(
            said,
            [
                "user a password a hash a hash",
                "user a shell /bin/ash /bin/sh",
                "user b comment  ",
                "user b gid  2",
                "user b home  /",
                "user b password  *",
                "user b shell  /x",
                "user b uid  2"
            ]
        );
        assert!(compare(&Tree::default(), &Tree::default()).is_empty());
    }
}
