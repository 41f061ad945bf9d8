//! Any archive comes back as it was, but for what is said.

use proptest::prelude::*;

use super::*;
use crate::build::layers::{Source, Written};
use crate::build::settings as build_settings;
use crate::build::{Accounts, BaseAccounts, Finding, merge, rights, world};
use crate::model::profile::Owner;

fn import(entries: &[(&str, Entry)]) -> Import {
    let mut tree = Tree::default();
    for (path, entry) in entries {
        tree.insert(path, entry.clone());
    }
    of(&tree)
}

/// The import of an archive that has every folder of its tree.
fn of(tree: &Tree) -> Import {
    let read = Read { tree: tree.clone(), notes: Vec::new(), implied: BTreeSet::new() };
    Import::of(&read, &"gate".parse().unwrap())
}

/// What of `profile.toml` says this about owners and modes.
fn rules(import: &Import) -> Vec<&str> {
    import.profile.split("[files]\n").nth(1).unwrap_or_default().lines().collect()
}

fn owned(uid: u32, entry: Entry) -> Entry {
    Entry { owner: Owner { uid, gid: uid }, ..entry }
}

#[test]
fn a_folder_that_belongs_to_one_whole_gets_one_rule() {
    let import = import(&[
        ("home/a", owned(1000, Entry::directory())),
        ("home/a/x", owned(1000, Entry::file(""))),
        ("home/a/y/z", owned(1000, Entry::file(""))),
        ("home/a/y", owned(1000, Entry::directory())),
        ("home/b", owned(1001, Entry::directory())),
        ("home/b/x", owned(1000, Entry::file(""))),
        ("srv", owned(5, Entry::directory())),
    ]);
    assert_eq!(
        rules(&import),
        [
            "\"home/a/\" = { owner = \"1000:1000\" }",
            "\"home/b\" = { owner = \"1001:1001\" }",
            "\"home/b/x\" = { owner = \"1000:1000\" }",
            "\"srv\" = { owner = \"5:5\" }"
        ]
    );
}

#[test]
fn a_mode_that_a_build_gives_by_itself_needs_no_rule() {
    let import = import(&[
        ("etc/shadow", Entry { mode: 0o640, owner: Owner { uid: 0, gid: 42 }, ..Entry::file("root:*::0:::::\n") }),
        ("etc/local.d/a.start", Entry { mode: 0o755, ..Entry::file("") }),
        ("root", Entry { mode: 0o700, ..Entry::directory() }),
        ("root/.ssh", Entry { mode: 0o700, ..Entry::directory() }),
        ("root/.ssh/authorized_keys", Entry { mode: 0o600, ..Entry::file("") }),
        ("etc/passwd", Entry::file("")),
    ]);
    assert_eq!(rules(&import), Vec::<&str>::new());
}

#[test]
fn a_folder_whose_content_became_settings_is_no_empty_folder() {
    let import = import(&[
        ("etc/runlevels/default/sshd", Entry::symlink("/etc/init.d/sshd")),
        ("etc/runlevels/nonetwork", Entry::directory()),
        ("etc/apk/world", Entry::file("nano\n")),
        ("etc/hostname", Entry::file("gate\n")),
    ]);
    let paths: Vec<&str> = import.root.iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["etc", "etc/runlevels", "etc/runlevels/nonetwork"]);
}

/// Paths as machines have them, and odd ones.
fn path() -> impl Strategy<Value = String> {
    let odd = r#"(etc|home/a|srv)/[a-zA-Z0-9 "'#=\[\]äöü.]{1,12}"#;
    prop_oneof![
        3 => proptest::sample::select(vec![
            "etc/hostname", "etc/hosts", "etc/apk/world", "etc/apk/repositories", "etc/apk/arch", "etc/shadow", "etc/passwd",
            "etc/group", "etc/passwd-", "etc/runlevels/boot/networking", "etc/runlevels/default", "etc/runlevels/odd/x",
            "etc/ssh/ssh_host_rsa_key", "home/a/.ssh/authorized_keys", "root", "root/.ssh", "etc/motd", "etc/init.d/own",
        ]).prop_map(str::to_owned),
        2 => odd.prop_filter("a name of a file", |path| {
            path.split('/').all(|part| !matches!(part, "." | "..") && !part.starts_with("._") && part != ".DS_Store")
        }),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let text = proptest::sample::select(vec!["", "gate\n", "nano\nzsh\n", "a b\n", "root:*::0:::::\n", "x"]);
    let target = proptest::sample::select(vec!["/etc/init.d/networking", "/etc/init.d/x", "../x"]);
    let node = prop_oneof![
        4 => text.prop_map(|text| Node::File(text.as_bytes().to_vec().into())),
        1 => Just(Node::Directory),
        2 => target.prop_map(|target| Node::Symlink(target.to_owned())),
        1 => Just(Node::CharDevice { major: 4, minor: 64 }),
        1 => Just(Node::BlockDevice { major: 259, minor: 300_000 }),
        1 => Just(Node::Fifo),
    ];
    let id = prop_oneof![3 => Just(0_u32), 2 => Just(1000), 1 => any::<u32>()];
    let mode = prop_oneof![Just(0o644), Just(0o755), Just(0o600), Just(0o700), 0..0o10_000_u32];
    (node, mode, id.clone(), id).prop_map(|(node, mode, uid, gid)| {
        let mode = if matches!(node, Node::Symlink(_)) { 0o777 } else { mode };
        Entry { node, mode, owner: Owner { uid, gid } }
    })
}

/// What a build makes of a layer, without the lint.
fn built(source: Source) -> Result<Tree, Vec<Finding>> {
    let mut merged = merge::merge(vec![source]);
    build_settings::apply(&mut merged, "gate");
    let (world, found) = world::of(&merged.packages);
    merged.findings.extend(found);
    build_settings::world(&mut merged, &world);
    build_settings::enable(&mut merged);
    let (users, groups) = (merged.users, merged.groups);
    let accounts = Accounts { users, groups, allows_empty_root_password: merged.allows_empty_root_password };
    let written = accounts.write(&BaseAccounts::default(), &mut merged.tree, &mut merged.trail);
    merged.findings.extend(written.findings);
    merged.findings.extend(rights::finish(&mut merged.tree, &written.homes, &merged.rules, &mut merged.trail));
    if merged.findings.is_empty() { Ok(merged.tree) } else { Err(merged.findings) }
}

proptest! {
    #[test]
    fn any_archive_comes_back_but_for_what_is_said(entries in proptest::collection::vec((path(), entry()), 0..16)) {
        let mut tree = Tree::default();
        for (path, entry) in entries {
            tree.insert(&path, entry);
        }
        let import = of(&tree);
        // Every path of the archive is expected back, or it is said what became of it.
        for (path, _) in tree.iter() {
            let is_told = import.remarks.iter().any(|it| {
                let is_gone = matches!(it.became, Became::Dropped(_) | Became::Secret);
                is_gone && (it.path == path || path.starts_with(&format!("{}/", it.path)))
            });
            prop_assert_eq!(import.expected.get(path).is_none(), is_told, "{}", path);
        }
        let layer = crate::model::profile::Profile::parse(&import.profile).unwrap().layer;
        let (origin, files) = ("profile gate".to_owned(), as_files(&import.root));
        let source = Source { origin, layer, written: Written::default(), files, findings: Vec::new() };
        // A tree in which a file of Alpine's is a folder builds to nothing at all, and says so.
        if let Ok(built) = built(source) {
            for (difference, _) in import.differences(&built) {
                let known = [PASSWD, GROUP, SHADOW, WORLD, "etc/hostname", "etc/hosts"];
                let is_folder = difference.before.is_none() && difference.path == "etc/apk" || difference.path == "etc";
                prop_assert!(is_folder || known.contains(&difference.path.as_str()), "{:?}\n{}", difference, import.profile);
                let is_same = difference.before.as_ref().zip(difference.after.as_ref()).is_none_or(|(old, new)| {
                    old.owner == new.owner && old.mode == new.mode
                });
                prop_assert!(is_same, "{:?}\n{}", difference, import.profile);
            }
        }
    }
}
