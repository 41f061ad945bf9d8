//! Owner and mode of every file: what must be strict first, then each user's home, then the rules of `[files]`. Pure.

use super::lint::Finding;
use super::lint::rule::RULE_FOR_NOTHING;
use super::merge::Rules;
use super::trail::{BIVOUAC, Topic, Trail};
use crate::model::name::nearest;
use crate::model::profile::Owner;
use crate::wire::apkovl::{Entry, Node, Tree};

/// Gives every file its owner and mode: what must be strict first, then each user's home, then the rules.
pub(super) fn finish(tree: &mut Tree, homes: &[(String, Owner)], rules: &Rules, trail: &mut Trail) -> Vec<Finding> {
    for (path, entry) in tree.iter_mut() {
        strict(path, entry, trail);
        // The deepest home a path is in is its owner's.
        let home = homes.iter().filter(|(home, _)| path == home || path.starts_with(&format!("{home}/")));
        if let Some((home, owner)) = home.max_by_key(|(home, _)| home.len()) {
            let by = format!("{BIVOUAC}, for the home /{home}");
            own(path, entry, *owner, &by, trail);
        }
    }
    apply_rules(tree, rules, trail)
}

/// Gives a file an owner.
fn own(path: &str, entry: &mut Entry, owner: Owner, by: &str, trail: &mut Trail) {
    if entry.owner != owner {
        trail.change(Topic::Owner, path, by, entry.owner.to_string(), owner.to_string());
        entry.owner = owner;
    }
}

/// Gives a file a mode.
fn limit(path: &str, entry: &mut Entry, mode: u32, by: &str, trail: &mut Trail) {
    if entry.mode != mode {
        trail.change(Topic::Mode, path, by, format!("{:04o}", entry.mode), format!("{mode:04o}"));
        entry.mode = mode;
    }
}

/// Modes that must be strict whatever the working copy has, because the programs that read these files refuse others
/// or because they hold secrets (OVL-17, OVL-18, OVL-22).
fn strict(path: &str, entry: &mut Entry, trail: &mut Trail) {
    /// Alpine's group `shadow`.
    const SHADOW: u32 = 42;
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_directory = entry.node == Node::Directory;
    let by = format!("{BIVOUAC}, because it must be so");
    if path == "etc/shadow" {
        limit(path, entry, 0o640, &by, trail);
        let owner = Owner { gid: SHADOW, ..entry.owner };
        own(path, entry, owner, &by, trail);
    } else if matches!(path, "tmp" | "var/tmp") && is_directory {
        // Every program writes there, and none may take away what is another's (OVL-13).
        limit(path, entry, 0o1777, &by, trail);
    } else if name == ".ssh" && is_directory || path == "root" {
        limit(path, entry, 0o700, &by, trail);
    } else if folder.ends_with("/.ssh") && !is_directory
        || folder == "etc/ssh" && name.starts_with("ssh_host_") && name.ends_with("_key")
    {
        limit(path, entry, 0o600, &by, trail);
    }
}

/// Owners and modes from `[files]`: a tree rule (`home/kiosk/`) first, then the rule of the very path.
fn apply_rules(tree: &mut Tree, rules: &Rules, trail: &mut Trail) -> Vec<Finding> {
    let mut used: Vec<&str> = Vec::new();
    for (path, entry) in tree.iter_mut() {
        let below = rules.iter().filter(|(key, _)| {
            key.strip_suffix('/').is_some_and(|folder| path == folder || path.starts_with(key.as_str()))
        });
        let exact = rules.get_key_value(path);
        for (key, said) in below.chain(exact) {
            used.push(key);
            for (origin, rule) in said {
                let by = format!("{origin}, `[files]`");
                if let Some(owner) = rule.owner {
                    own(path, entry, owner, &by, trail);
                }
                // A tree rule's mode is for its files; a directory without its executable bits could not be entered.
                if let Some(mode) = rule.mode.filter(|_| entry.node != Node::Directory || !key.ends_with('/')) {
                    limit(path, entry, mode.0, &by, trail);
                }
            }
        }
    }
    let idle = rules.iter().filter(|(key, _)| !used.contains(&key.as_str()));
    idle.map(|(key, said)| {
        let near = nearest(key.trim_end_matches('/'), tree.iter().map(|(path, _)| path));
        let fix = near.map_or_else(
            || "correct the path, or take the rule out".to_owned(),
            |near| format!("did you mean `{near}`? Otherwise take the rule out"),
        );
        let what = format!("`[files]` has a rule for `{key}`, and no layer has such a file");
        let finding = Finding::new(RULE_FOR_NOTHING, what, "nothing gets that owner or mode", fix);
        let finding = finding.at(key.as_str()).in_key(&["files", key]);
        said.last().map_or_else(|| finding.clone(), |(layer, _)| finding.clone().by(layer.as_str())).left_out()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::layers::{Source, Written};
    use super::super::merge::{Merged, merge};
    use super::*;
    use crate::model::profile::Layer;

    fn source(origin: &str, toml: &str, files: &[(&str, Entry)]) -> Source {
        let files = files.iter().map(|(path, entry)| ((*path).to_owned(), entry.clone())).collect();
        let layer = Layer::parse(toml).unwrap();
        Source { origin: origin.to_owned(), layer, written: Written::default(), files, findings: Vec::new() }
    }

    /// Merged, with the modes and owners that no account decides.
    fn finished(sources: Vec<Source>) -> Merged {
        let mut merged = merge(sources);
        let found = finish(&mut merged.tree, &[], &merged.rules, &mut merged.trail);
        merged.findings.extend(found);
        merged
    }

    #[test]
    fn modes_that_must_be_strict_are_strict() {
        let merged = finished(vec![source(
            "overlay a",
            "",
            &[
                ("etc/shadow", Entry::file("")),
                ("root/.ssh", Entry::directory()),
                ("root/.ssh/authorized_keys", Entry::file("")),
                ("etc/ssh/ssh_host_ed25519_key", Entry::file("")),
                ("etc/ssh/sshd_config", Entry::file("")),
                ("tmp/x", Entry::file("")),
                ("var/tmp", Entry::directory()),
            ],
        )]);
        let mode = |path: &str| merged.tree.get(path).unwrap().mode;
        assert_eq!((mode("etc/shadow"), merged.tree.get("etc/shadow").unwrap().owner.gid), (0o640, 42));
        assert_eq!((mode("root"), mode("root/.ssh"), mode("root/.ssh/authorized_keys")), (0o700, 0o700, 0o600));
        assert_eq!((mode("etc/ssh/ssh_host_ed25519_key"), mode("etc/ssh/sshd_config")), (0o600, 0o644));
        assert_eq!((mode("tmp"), mode("var/tmp"), mode("tmp/x"), mode("var")), (0o1777, 0o1777, 0o644, 0o755));
    }

    #[test]
    fn rules_set_owner_and_mode_of_a_path_or_a_tree_and_must_match_something() {
        let toml = "[files]\n\"home/kiosk/\" = { owner = \"1000:1000\", mode = \"0600\" }\n\"home/kiosk/run\" = { mode = \"0755\" }";
        let files = [("home/kiosk/run", Entry::file("")), ("home/kiosk/conf", Entry::file(""))];
        let tree = finished(vec![source("overlay a", toml, &files)]).tree;
        let of = |path: &str| (tree.get(path).unwrap().owner.uid, tree.get(path).unwrap().mode);
        assert_eq!((of("home"), of("home/kiosk")), ((0, 0o755), (1000, 0o755)));
        assert_eq!((of("home/kiosk/run"), of("home/kiosk/conf")), ((1000, 0o755), (1000, 0o600)));
        let rule = "[files]\n\"etc/doas.con\" = { mode = \"0600\" }";
        let found = finished(vec![source("overlay a", rule, &[("etc/doas.conf", Entry::file(""))])]).findings;
        assert_eq!(found[0].what, "`[files]` has a rule for `etc/doas.con`, and no layer has such a file");
        assert_eq!(found[0].fix, "did you mean `etc/doas.conf`? Otherwise take the rule out");
        assert_eq!(found[0].by.as_deref(), Some("overlay a"));
    }

    #[test]
    fn a_rule_of_a_later_layer_adds_to_an_earlier_one_and_the_trail_says_both() {
        let rule = |rule: &str| format!("[files]\n\"etc/x\" = {{ {rule} }}");
        let files = [("etc/x", Entry::file(""))];
        let merged = finished(vec![
            source("overlay a", &rule("owner = \"1:2\", mode = \"0600\""), &files),
            source("profile b", &rule("mode = \"0640\""), &[]),
        ]);
        let entry = merged.tree.get("etc/x").unwrap();
        assert_eq!((entry.owner, entry.mode), (Owner { uid: 1, gid: 2 }, 0o640));
        assert_eq!(merged.trail.owner(Topic::Mode, "etc/x"), Some("profile b, `[files]`"));
        assert_eq!(merged.trail.owner(Topic::Owner, "etc/x"), Some("overlay a, `[files]`"));
    }

    #[test]
    fn a_file_goes_with_the_rule_that_came_with_it() {
        let rule = "[files]\n\"etc/doas.conf\" = { mode = \"0600\" }\n\"etc/\" = { owner = \"0:0\" }";
        let files = [("etc/doas.conf", Entry::file("")), ("etc/motd", Entry::file(""))];
        let removed = source("profile b", "remove = [\"etc/doas.conf\"]", &[]);
        let merged = finished(vec![source("overlay a", rule, &files), removed]);
        assert_eq!(merged.rules.keys().collect::<Vec<_>>(), ["etc/"]);
    }
}
