//! Overlay archives: any tree survives them, through Bivouac's own reader and through every tar that may meet them.

use bivouac::wire::apkovl::{Limits, Prefix, Read, Tree, What, pack, read};
use proptest::prelude::*;

use crate::support::site::Site;
use crate::support::trees::tree;

proptest! {
    #[test]
    fn any_tree_survives_the_archive(tree in tree(), epoch in 0..u64::from(u32::MAX)) {
        let found = read(&pack(&tree, epoch)[..], &Limits::default()).unwrap();
        prop_assert_eq!(&found.tree, &tree);
        prop_assert!(only_owners_of_links(&found), "{:?}", found.notes);
    }

    #[test]
    fn any_tree_in_two_parts_is_the_same_tree(tree in tree(), first in 0..14_usize) {
        let mut shared = Tree::default();
        for (path, entry) in tree.iter().filter(|(_, entry)| entry.is_directory()).chain(tree.iter().take(first)) {
            shared.insert(path, entry.clone());
        }
        let own: Vec<_> = tree.iter().filter(|(path, _)| shared.get(path).is_none()).map(|(path, entry)| (path, entry.clone())).collect();
        let found = read(&Prefix::of(&shared, 1).with(&own)[..], &Limits::default()).unwrap();
        prop_assert_eq!(&found.tree, &tree);
        prop_assert!(only_owners_of_links(&found), "{:?}", found.notes);
    }
}

/// Whether all there is to note is the one thing that no archive can say so that busybox does it.
fn only_owners_of_links(found: &Read) -> bool {
    found.notes.iter().all(|note| matches!(note.what, What::LinkOwner(_)))
}

#[test]
fn a_profile_can_have_whatever_an_archive_holds() {
    let site = Site::new();
    let (name, target) = ("n".repeat(255), format!("..//./{}/", "t".repeat(300)));
    let profile = std::fs::read_to_string(site.path("profiles/hello/profile.toml")).unwrap();
    let more = format!(
        r#"
[nodes]
"srv/null" = "c 1:3"
"srv/disk" = "b 7:1048575"
"srv/pipe" = "p"

[files]
"srv/null" = {{ owner = "0:3000000", mode = "0666" }}
"srv/{name}/" = {{ owner = "4000000000:2097152" }}
"srv/{name}/run" = {{ mode = "6755" }}
"srv/drop" = {{ mode = "1777" }}
"#
    );
    site.write("profiles/hello/profile.toml", &(profile + &more));
    site.write(&format!("profiles/hello/root/srv/{name}/run"), "");
    std::fs::create_dir(site.path("profiles/hello/root/srv/drop")).unwrap();
    std::os::unix::fs::symlink(&target, site.path("profiles/hello/root/srv/link ä")).unwrap();
    let ran = site.run(&["build", "hello"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let json: serde_json::Value = serde_json::from_str(&site.run(&["inspect", "hello", "--json"]).out).unwrap();
    let found: Vec<_> = json["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["path"].as_str().unwrap().starts_with("srv/"))
        .collect();
    let expected = serde_json::json!([
        { "path": "srv/disk", "kind": "block device", "mode": "0600", "owner": "0:0", "device": "7:1048575" },
        { "path": "srv/drop", "kind": "folder", "mode": "1777", "owner": "0:0" },
        { "path": "srv/link ä", "kind": "link", "mode": "0777", "owner": "0:0", "target": target },
        { "path": format!("srv/{name}"), "kind": "folder", "mode": "0755", "owner": "4000000000:2097152" },
        { "path": format!("srv/{name}/run"), "kind": "file", "mode": "6755", "owner": "4000000000:2097152", "size": 0,
          "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "path": "srv/null", "kind": "character device", "mode": "0666", "owner": "0:3000000", "device": "1:3" },
        { "path": "srv/pipe", "kind": "pipe", "mode": "0600", "owner": "0:0" },
    ]);
    assert_eq!(serde_json::json!(found), expected);
}

/// Through GNU tar, bsdtar and busybox. Needs root, for owners and devices.
#[cfg(feature = "boot-tests")]
mod tools {
    use std::fs::{self, Metadata};
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    use std::path::Path;
    use std::process::Command;

    use bivouac::model::profile::Owner;
    use bivouac::wire::apkovl::{Entry, Node};
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    use super::*;

    const EPOCH: u64 = 1_234_567_890;

    /// What unpacks an archive as init does. A mask, which `-p` must not heed, comes from the tests. Without `-P`,
    /// bsdtar takes a name such as `c:x` for one on a drive of that letter.
    const UNPACK: [&str; 3] =
        [r#"tar --numeric-owner -xzpf "$0""#, r#"bsdtar -P --numeric-owner -xzpf "$0""#, r#"busybox tar -xzpf "$0""#];

    /// Some trees, always the same, one of names and targets of every length about that of a header's field, and a
    /// large one.
    fn trees() -> Vec<Tree> {
        let mut runner = TestRunner::deterministic();
        let mut trees: Vec<Tree> = (0..40).map(|_| tree().new_tree(&mut runner).unwrap().current()).collect();
        let mut lengths = Tree::default();
        for length in 98..104 {
            let name = |kind: char| format!("{}/{}", "d".repeat(49), kind.to_string().repeat(length - 50));
            lengths.insert(&name('f'), Entry::file("x"));
            lengths.insert(&name('e'), Entry::directory());
            lengths.insert(&name('l'), Entry::symlink("t".repeat(length)));
        }
        trees.push(lengths);
        let mut large = Tree::default();
        for place in 0..5_u32 {
            large.insert(
                &format!("etc/{place}"),
                Entry::file((0..700_000).map(|it| (it * place / 9) as u8).collect::<Vec<u8>>()),
            );
        }
        trees.push(large);
        trees
    }

    /// Runs a command line in a folder; `$0` is `file`.
    fn run(line: &str, file: &Path, folder: &Path) {
        let script = format!("umask 077; exec {line}");
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(file)
            .current_dir(folder)
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {said}");
    }

    /// What stands in a folder where the tree has an entry.
    fn found(path: &Path, meta: &Metadata) -> Entry {
        // As Linux packs them (makedev(3)).
        let (major, minor) =
            ((meta.rdev() >> 8 & 0xfff) as u32, (meta.rdev() & 0xff | meta.rdev() >> 12 & 0xf_ff00) as u32);
        let kind = meta.file_type();
        let node = if kind.is_dir() {
            Node::Directory
        } else if kind.is_file() {
            assert_eq!(meta.mtime(), EPOCH as i64, "{}", path.display());
            Node::File(fs::read(path).unwrap().into())
        } else if kind.is_symlink() {
            Node::Symlink(fs::read_link(path).unwrap().into_os_string().into_string().unwrap())
        } else if kind.is_char_device() {
            Node::CharDevice { major, minor }
        } else if kind.is_block_device() {
            Node::BlockDevice { major, minor }
        } else {
            assert!(kind.is_fifo(), "{}", path.display());
            Node::Fifo
        };
        Entry { node, mode: meta.mode() & 0o7777, owner: Owner { uid: meta.uid(), gid: meta.gid() } }
    }

    fn unpacked(folder: &Path) -> Tree {
        let mut tree = Tree::default();
        for found_there in bivouac::disk::walk(folder).unwrap() {
            let path = folder.join(&found_there.relative);
            let entry = found(&path, &fs::symlink_metadata(&path).unwrap());
            tree.insert(found_there.relative.to_str().unwrap(), entry);
        }
        tree
    }

    /// That two trees are one, and where they are not, which entries differ.
    fn assert_same(left: &Tree, right: &Tree, line: &str) {
        let all = left.iter().chain(right.iter()).map(|(path, _)| path);
        let differ: Vec<_> = all
            .filter(|path| left.get(path) != right.get(path))
            .map(|path| (path, left.get(path), right.get(path)))
            .collect();
        assert!(differ.is_empty(), "{line}: {differ:#?}");
    }

    #[test]
    fn any_tree_survives_gnu_tar_bsdtar_and_busybox() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.apkovl.tar.gz");
        for (place, tree) in trees().iter().enumerate() {
            fs::write(&file, pack(tree, EPOCH)).unwrap();
            for (tool, line) in UNPACK.iter().enumerate() {
                let into = folder.path().join(format!("{place}.{tool}"));
                fs::create_dir(&into).unwrap();
                run(line, &file, &into);
                let mut expected = tree.clone();
                if line.starts_with("busybox") {
                    // It gives all links to whom it runs as.
                    for (_, entry) in expected.iter_mut().filter(|(_, it)| matches!(it.node, Node::Symlink(_))) {
                        entry.owner = Owner::default();
                    }
                }
                assert_same(&unpacked(&into), &expected, line);
            }
        }
    }

    #[test]
    fn a_shared_beginning_and_a_machines_own_files_are_one_archive_for_every_tar() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.apkovl.tar.gz");
        let mut tree = trees().pop().unwrap();
        let prefix = Prefix::of(&tree, EPOCH);
        let own = [("etc/hostname", Entry::file("pc7\n")), ("etc/a", Entry::symlink("hostname"))];
        fs::write(&file, prefix.with(&own)).unwrap();
        for (path, entry) in own {
            tree.insert(path, entry);
        }
        for (tool, line) in UNPACK.iter().enumerate() {
            let into = folder.path().join(tool.to_string());
            fs::create_dir(&into).unwrap();
            run(line, &file, &into);
            assert_same(&unpacked(&into), &tree, line);
        }
    }

    #[test]
    fn what_every_tar_makes_of_a_folder_is_read_as_that_folder() {
        let folder = tempfile::tempdir().unwrap();
        for (place, mut tree) in trees().into_iter().enumerate() {
            // Not every tar writes larger numbers.
            for (_, entry) in tree.iter_mut() {
                if let Node::CharDevice { minor, .. } | Node::BlockDevice { minor, .. } = &mut entry.node {
                    *minor &= 0x3_ffff;
                }
                entry.owner = Owner { uid: entry.owner.uid & 0xffff, gid: entry.owner.gid & 0xffff };
            }
            let (from, file) = (folder.path().join(place.to_string()), folder.path().join("x.apkovl.tar.gz"));
            fs::create_dir(&from).unwrap();
            fs::write(&file, pack(&tree, EPOCH)).unwrap();
            run(UNPACK[0], &file, &from);
            for line in [
                r#"tar --format=gnu -czf "$0" ."#,
                r#"tar --format=oldgnu -czf "$0" ."#,
                r#"tar --format=pax -czf "$0" ."#,
                r#"bsdtar -P --format=pax -czf "$0" ."#,
                r#"bsdtar -P --format=gnutar -czf "$0" ."#,
                r#"busybox tar -czf "$0" ."#,
            ] {
                run(line, &file, &from);
                let found = read(&fs::read(&file).unwrap()[..], &Limits::default()).unwrap();
                assert_same(&found.tree, &tree, line);
                let expected = |what: &What| {
                    matches!(what, What::Dotted | What::OwnerName { .. } | What::Root { .. } | What::LinkOwner(_))
                };
                let other: Vec<_> = found.notes.iter().filter(|note| !expected(&note.what)).collect();
                assert!(other.is_empty(), "{line}: {other:?}");
            }
        }
    }
}
