//! Puts the layers of a profile on top of each other. Pure.

use std::collections::BTreeMap;

use super::BuildError;
use super::layers::Source;
use crate::model::profile::{FileRule, Runlevel};
use crate::wire::apkovl::{Entry, Node, Tree};

/// The file whose lines are merged with every layer's `packages`.
const WORLD: &str = "etc/apk/world";

/// A file that more than one layer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadowed {
    /// The path on the machine.
    pub path: String,
    /// Whose file counts.
    pub by: String,
    /// Whose does not.
    pub hidden: String,
}

/// All layers as one.
#[derive(Debug, Clone, Default)]
pub(super) struct Merged {
    pub(super) packages: Vec<String>,
    pub(super) services: BTreeMap<Runlevel, Vec<String>>,
    pub(super) kernel_args: Vec<String>,
    pub(super) tree: Tree,
    pub(super) shadowed: Vec<Shadowed>,
}

/// Merges layers: a later file wins, lists add up, `!name` takes one out.
pub(super) fn merge(sources: Vec<Source>) -> Result<Merged, BuildError> {
    let mut merged = Merged::default();
    let mut origins: BTreeMap<String, String> = BTreeMap::new();
    let mut rules: BTreeMap<String, FileRule> = BTreeMap::new();
    for Source { origin, layer, files } in sources {
        for (path, entry) in files {
            if path == WORLD {
                let Node::File(bytes) = &entry.node else {
                    return Err(BuildError::TypeClash { path, origin });
                };
                let text = String::from_utf8_lossy(bytes);
                for name in text.lines().filter(|line| !line.is_empty()) {
                    add(&mut merged.packages, name, &origin, "package")?;
                }
                continue;
            }
            place(&mut merged, &mut origins, &origin, path, entry)?;
        }
        for name in &layer.packages {
            add(&mut merged.packages, name, &origin, "package")?;
        }
        for (level, names) in layer.services {
            let list = merged.services.entry(level).or_default();
            for name in &names {
                add(list, name, &origin, "service")?;
            }
        }
        for argument in layer.kernel.args {
            if !merged.kernel_args.contains(&argument) {
                merged.kernel_args.push(argument);
            }
        }
        rules.extend(layer.files);
    }
    strict_modes(&mut merged.tree);
    apply_rules(&mut merged.tree, &rules)?;
    Ok(merged)
}

fn place(
    merged: &mut Merged,
    origins: &mut BTreeMap<String, String>,
    origin: &str,
    path: String,
    entry: Entry,
) -> Result<(), BuildError> {
    let is_directory = entry.node == Node::Directory;
    // A file in the place of a directory, or below a file, is unpackable (alpine.md 2.4).
    let clash = match merged.tree.get(&path) {
        Some(there) => (there.node == Node::Directory) != is_directory,
        None => path
            .match_indices('/')
            .any(|(end, _)| merged.tree.get(&path[..end]).is_some_and(|parent| parent.node != Node::Directory)),
    };
    if clash {
        return Err(BuildError::TypeClash { path, origin: origin.to_owned() });
    }
    merged.tree.insert(&path, entry);
    if !is_directory && let Some(hidden) = origins.insert(path.clone(), origin.to_owned()) {
        merged.shadowed.push(Shadowed { path, by: origin.to_owned(), hidden });
    }
    Ok(())
}

/// Adds a name to a list once, or takes it out when it is written with `!`.
fn add(list: &mut Vec<String>, name: &str, origin: &str, what: &'static str) -> Result<(), BuildError> {
    if let Some(out) = name.strip_prefix('!') {
        let before = list.len();
        list.retain(|known| known != out);
        if list.len() == before {
            return Err(BuildError::NothingToRemove { what, name: out.to_owned(), origin: origin.to_owned() });
        }
    } else if !list.iter().any(|known| known == name) {
        list.push(name.to_owned());
    }
    Ok(())
}

/// Modes that must be strict whatever the working copy has, because the programs that read these files refuse others
/// or because they hold secrets (OVL-17, OVL-18, OVL-22).
fn strict_modes(tree: &mut Tree) {
    /// Alpine's group `shadow`.
    const SHADOW: u32 = 42;
    for (path, entry) in tree.iter_mut() {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let is_directory = entry.node == Node::Directory;
        if path == "etc/shadow" {
            entry.mode = 0o640;
            entry.owner.gid = SHADOW;
        } else if name == ".ssh" && is_directory || path == "root" {
            entry.mode = 0o700;
        } else if folder.ends_with("/.ssh") && !is_directory
            || folder == "etc/ssh" && name.starts_with("ssh_host_") && name.ends_with("_key")
        {
            entry.mode = 0o600;
        }
    }
}

/// Owners and modes from `[files]`: a tree rule (`home/kiosk/`) first, then the rule of the very path.
fn apply_rules(tree: &mut Tree, rules: &BTreeMap<String, FileRule>) -> Result<(), BuildError> {
    let mut used: Vec<&str> = Vec::new();
    for (path, entry) in tree.iter_mut() {
        let below = rules.iter().filter(|(key, _)| {
            key.strip_suffix('/').is_some_and(|folder| path == folder || path.starts_with(key.as_str()))
        });
        let exact = rules.get_key_value(path);
        for (key, rule) in below.chain(exact) {
            used.push(key);
            if let Some(owner) = rule.owner {
                entry.owner = owner;
            }
            // A tree rule's mode is for its files; a directory without its executable bits could not be entered.
            if let Some(mode) = rule.mode.filter(|_| entry.node != Node::Directory || !key.ends_with('/')) {
                entry.mode = mode.0;
            }
        }
    }
    match rules.keys().find(|key| !used.contains(&key.as_str())) {
        Some(key) => Err(BuildError::RuleForNothing(key.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::Layer;

    fn source(origin: &str, toml: &str, files: &[(&str, Entry)]) -> Source {
        let files = files.iter().map(|(path, entry)| ((*path).to_owned(), entry.clone())).collect();
        Source { origin: origin.to_owned(), layer: Layer::parse(toml).unwrap(), files }
    }

    #[test]
    fn a_later_file_wins_and_what_it_hides_is_said() {
        let merged = merge(vec![
            source("overlay base", "", &[("etc/motd", Entry::file("base"))]),
            source("profile vdi", "", &[("etc/motd", Entry::file("vdi"))]),
        ])
        .unwrap();
        assert_eq!(merged.tree.get("etc/motd"), Some(&Entry::file("vdi")));
        let shadowed = Shadowed { path: "etc/motd".into(), by: "profile vdi".into(), hidden: "overlay base".into() };
        assert_eq!(merged.shadowed, [shadowed]);
    }

    #[test]
    fn lists_add_up_once_each_and_a_name_can_be_taken_out() {
        let merged = merge(vec![
            source("overlay a", "packages = [\"x\", \"y\"]\n[services]\nboot = [\"n\"]", &[]),
            source(
                "overlay b",
                "packages = [\"y\", \"!x\"]\n[services]\nboot = [\"!n\", \"m\"]",
                &[(WORLD, Entry::file("z\n"))],
            ),
        ])
        .unwrap();
        assert_eq!(merged.packages, ["y", "z"]);
        assert_eq!(merged.services[&Runlevel::Boot], ["m"]);
        let error = merge(vec![source("overlay a", "packages = [\"!x\"]", &[])]).unwrap_err();
        assert_eq!(error.to_string(), "overlay a takes out the package `x`, which no layer before it names");
    }

    #[test]
    fn modes_that_must_be_strict_are_strict() {
        let merged = merge(vec![source(
            "overlay a",
            "",
            &[
                ("etc/shadow", Entry::file("")),
                ("root/.ssh", Entry::directory()),
                ("root/.ssh/authorized_keys", Entry::file("")),
                ("etc/ssh/ssh_host_ed25519_key", Entry::file("")),
                ("etc/ssh/sshd_config", Entry::file("")),
            ],
        )])
        .unwrap();
        let mode = |path: &str| merged.tree.get(path).unwrap().mode;
        assert_eq!((mode("etc/shadow"), merged.tree.get("etc/shadow").unwrap().owner.gid), (0o640, 42));
        assert_eq!((mode("root"), mode("root/.ssh"), mode("root/.ssh/authorized_keys")), (0o700, 0o700, 0o600));
        assert_eq!((mode("etc/ssh/ssh_host_ed25519_key"), mode("etc/ssh/sshd_config")), (0o600, 0o644));
    }

    #[test]
    fn rules_set_owner_and_mode_of_a_path_or_a_tree_and_must_match_something() {
        let toml = "[files]\n\"home/kiosk/\" = { owner = \"1000:1000\", mode = \"0600\" }\n\"home/kiosk/run\" = { mode = \"0755\" }";
        let files = [("home/kiosk/run", Entry::file("")), ("home/kiosk/conf", Entry::file(""))];
        let tree = merge(vec![source("overlay a", toml, &files)]).unwrap().tree;
        let of = |path: &str| (tree.get(path).unwrap().owner.uid, tree.get(path).unwrap().mode);
        assert_eq!((of("home"), of("home/kiosk")), ((0, 0o755), (1000, 0o755)));
        assert_eq!((of("home/kiosk/run"), of("home/kiosk/conf")), ((1000, 0o755), (1000, 0o600)));
        let error = merge(vec![source("overlay a", "[files]\n\"etc/x\" = { mode = \"0600\" }", &[])]).unwrap_err();
        assert_eq!(error.to_string(), "`[files]` has a rule for `etc/x`, and no layer has such a file");
    }

    #[test]
    fn a_file_where_another_layer_has_a_directory_is_refused() {
        let error = merge(vec![
            source("overlay a", "", &[("etc/x/y", Entry::file(""))]),
            source("overlay b", "", &[("etc/x", Entry::file(""))]),
        ])
        .unwrap_err();
        assert!(error.to_string().contains("overlay b has `etc/x`"), "{error}");
    }
}
