//! Archives of lbu: they become profiles that build back to what they were, and hostile ones become nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bivouac::build::{BaseAccounts, Recipe};
use bivouac::wire::apkovl::{Limits, Tree, read};

use crate::support::lbu::{Member, archive, file, folder, gzip, link, machine};
use crate::support::site::{Ran, Site};

/// Runs `import` of an archive as profile `gate`.
fn import(site: &Site, bytes: &[u8]) -> Ran {
    fs::write(site.path("gate.apkovl.tar.gz"), bytes).unwrap();
    site.run(&["import", "gate.apkovl.tar.gz", "gate"])
}

/// What the profile `gate` builds to.
fn built(site: &Site) -> Tree {
    let recipe = Recipe::load(&site.path("profiles"), &site.path("overlays"), &"gate".parse().unwrap()).unwrap();
    recipe.tree(&BaseAccounts::default()).unwrap()
}

/// Everything in a site's folder but the archive, to see that nothing has changed.
fn listing(site: &Site) -> Vec<String> {
    let found = bivouac::disk::walk(site.folder.path()).unwrap();
    let names = found.iter().map(|it| it.relative.display().to_string());
    names.filter(|name| name != "gate.apkovl.tar.gz").collect()
}

#[test]
fn an_archive_of_lbu_becomes_a_profile_that_builds_back_to_it() {
    let site = Site::new();
    let bytes = archive(&machine());
    let ran = import(&site, &bytes);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(
        fs::read_to_string(site.path("profiles/gate/profile.toml")).unwrap(),
        r#"description = "gate, imported from an archive of lbu"
packages = [
    "alpine-base",
    "nano",
    "openssh",
]
hostname = "gate"

[alpine]
release = "3.24"
repositories = ["main"]
arch = "x86_64"

[services]
sysinit = ["devfs", "modloop"]
boot = ["hostname", "networking"]
default = ["sshd"]
shutdown = ["killprocs"]

[files]
"etc/doas.conf" = { mode = "0600" }
"etc/ssh/sshd_config.d" = { mode = "0700" }
"etc/wireguard" = { mode = "0700" }
"home/alice" = { mode = "2755" }
"home/alice/" = { owner = "1000:1000" }
"home/alice/.ash_history" = { mode = "0600" }
"home/alice/.ssh/authorized_keys" = { mode = "0644" }
"#
    );
    let mut expected = read(&bytes[..], &Limits::default()).unwrap().tree;
    let dropped = [
        "etc/passwd-",
        "etc/group-",
        "etc/shadow-",
        "etc/nginx.conf.apk-new",
        "etc/mtab",
        "etc/apk/arch",
        "etc/apk/cache",
        "etc/apk/repositories",
    ];
    let secret = ["etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_ed25519_key.pub", "etc/wireguard/wg0.conf"];
    let keys = (0..17).map(|number| format!("etc/apk/keys/alpine-devel@lists.alpinelinux.org-{number:08x}.rsa.pub"));
    let gone = dropped.iter().chain(&secret).map(|path| (*path).to_owned()).chain(keys);
    for path in gone {
        assert!(expected.remove(&path).is_some(), "{path}");
        assert!(ran.out.contains(&format!("\n  {path}: ")), "{path} is not told:\n{}", ran.out);
    }
    let built = built(&site);
    let differing: Vec<_> = bivouac::build::compare(&expected, &built);
    assert_eq!(differing, []);
    assert!(ran.out.contains("\nIt builds to the same files, owners and modes.\n"), "{}", ran.out);
    assert!(ran.out.contains("\n  home/alice/empty: an empty folder, which git does not keep\n"), "{}", ran.out);
    assert_eq!(
        ran.out.matches("  etc/apk/repositories: ").count(),
        2,
        "a setting, and a line that is none:\n{}",
        ran.out
    );
    assert!(ran.out.ends_with("next: read profiles/gate/profile.toml, then bivouac build gate\n"), "{}", ran.out);
    for path in secret {
        let kept = site.path("secrets/gate").join(path);
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600, "{path}");
        assert!(!site.path("profiles/gate/root").join(path).exists());
    }
    assert_eq!(fs::read_to_string(site.path("secrets/.gitignore")).unwrap(), "*\n");
    assert_eq!(fs::metadata(site.path("secrets/gate")).unwrap().permissions().mode() & 0o077, 0, "secrets are open");
    assert!(listing(&site).iter().all(|name| !name.contains(".tmp-")), "something was left");
}

#[test]
fn an_imported_profile_is_built_like_any_other() {
    let site = Site::new();
    let mut members = machine();
    // The mirror of the tests has none of its services beyond the usual ones.
    members.retain(|member| member.name != "etc/apk/world" && !member.name.starts_with("etc/runlevels/default/"));
    members.push(file("etc/apk/world", 0o644, "alpine-base\nnano\n"));
    assert_eq!(import(&site, &archive(&members)).code, Some(0));
    let ran = site.run(&["build", "gate"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn what_does_not_come_back_as_it_was_is_told() {
    let site = Site::new();
    let members = [
        file("etc/passwd", 0o644, "own:x:900:900::/srv:/bin/false\nroot:x:0:0:root:/root:/bin/ash\n"),
        file("etc/apk/world", 0o644, "zsh\nnano\n# a comment\n!vim\n--allow-untrusted\nnano=1\n"),
        link("etc/runlevels/sysinit/devfs", "/etc/init.d/devfs"),
        link("etc/runlevels/boot/odd", "/usr/bin/odd"),
        file("topfile", 0o644, "x"),
    ];
    let ran = import(&site, &archive(&members));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for said in [
        "  topfile: not below a folder",
        "  etc/apk/world: the comment `# a comment` is left out (OVL-31)",
        "  etc/apk/world: `!vim`, which keeps a package out, is left out",
        "  etc/apk/world: a word is left out: `--allow-untrusted` would be an option",
        "  etc/apk/world: `nano=1` is left out, because an earlier line names `nano` too",
        "  etc/runlevels/boot/odd: stays a file",
        "  etc/shadow: is not in the archive",
        "It builds to the same files, owners and modes, but for:\n",
        "  etc/apk/world: other content (packages are sorted",
        "  etc/hostname: added (a machine has a name",
        "  etc/passwd: other content (the accounts of Alpine's base",
    ] {
        assert!(ran.out.contains(said), "should say {said:?}:\n{}", ran.out);
    }
    assert_eq!(
        fs::read_link(site.path("profiles/gate/root/etc/runlevels/boot/odd")).unwrap(),
        Path::new("/usr/bin/odd")
    );
}

#[test]
fn devices_pipes_and_hard_links_come_back_too() {
    let site = Site::new();
    let members = [
        link("etc/runlevels/sysinit/devfs", "/etc/init.d/devfs"),
        folder("srv/jail/dev/", 0o711),
        Member { kind: b'3', ..file("srv/jail/dev/tty", 0o666, "") }.owned(0, 5),
        Member { kind: b'4', ..file("srv/jail/dev/disk", 0o600, "") },
        Member { kind: b'6', ..file("srv/jail/dev/log \"1\"", 0o622, "") }.owned(3_000_000, 0),
        file("srv/one", 0o640, "one\n").owned(7, 8),
        Member { kind: b'1', ..link("srv/other", "srv/one") },
    ];
    let bytes = archive(&members);
    let ran = import(&site, &bytes);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let profile = fs::read_to_string(site.path("profiles/gate/profile.toml")).unwrap();
    assert!(
        profile.ends_with(
            r#"
[nodes]
"srv/jail/dev/disk" = "b 4:64"
"srv/jail/dev/log \"1\"" = "p"
"srv/jail/dev/tty" = "c 4:64"

[files]
"srv/jail/dev" = { mode = "0711" }
"srv/jail/dev/log \"1\"" = { owner = "3000000:0", mode = "0622" }
"srv/jail/dev/tty" = { owner = "0:5", mode = "0666" }
"srv/one" = { owner = "7:8", mode = "0640" }
"srv/other" = { owner = "7:8", mode = "0640" }
"#
        ),
        "{profile}"
    );
    for said in
        ["  srv/jail/dev/tty: `nodes.\"srv/jail/dev/tty\" = \"c 4:64\"`\n", "is a hard link to `srv/one`; a copy"]
    {
        assert!(ran.out.contains(said), "should say {said:?}:\n{}", ran.out);
    }
    let archive = read(&bytes[..], &Limits::default()).unwrap().tree;
    let built = built(&site);
    for (path, entry) in archive.iter().filter(|(path, _)| path.starts_with("srv")) {
        assert_eq!(built.get(path), Some(entry), "{path}");
    }
}

#[test]
fn folders_that_lbu_leaves_out_are_as_they_were_on_the_machine() {
    let site = Site::new();
    let ran = import(
        &site,
        &archive(&[
            file("etc/passwd", 0o644, "alice:x:1000:1001:Alice:/home/alice:/bin/ash\n"),
            file("etc/group", 0o644, "alice:x:1001:\n"),
            link("etc/runlevels/sysinit/devfs", "/etc/init.d/devfs"),
            // `+root` in lbu.list, where a package brings the folder, and `+home/alice/.ssh/authorized_keys`.
            file("root/.profile", 0o644, "x\n"),
            file("home/alice/.ssh/authorized_keys", 0o600, "ssh-ed25519 AAAA alice\n").owned(1000, 1001),
        ]),
    );
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let built = built(&site);
    let found = |path: &str| built.get(path).map(|it| format!("{:04o} {}", it.mode, it.owner)).unwrap();
    for (path, mode) in [
        ("root", "0700 0:0"),
        ("home", "0755 0:0"),
        ("home/alice", "0755 1000:1001"),
        ("home/alice/.ssh", "0700 1000:1001"),
        ("home/alice/.ssh/authorized_keys", "0600 1000:1001"),
    ] {
        assert_eq!(found(path), mode, "{path}");
    }
    assert!(ran.out.contains("  root: is not in the archive itself, so that init would make it 0755"), "{}", ran.out);
    assert!(!ran.out.contains("OVL-21"), "{}", ran.out);
    let profile = fs::read_to_string(site.path("profiles/gate/profile.toml")).unwrap();
    assert!(profile.ends_with("[files]\n\"home/alice/\" = { owner = \"1000:1001\" }\n"), "{profile}");
}

#[test]
fn a_profile_that_does_not_build_yet_is_made_and_says_so() {
    let site = Site::new();
    // No service at all: the machine would not even have its devices.
    let ran = import(&site, &archive(&[file("etc/hostname", 0o644, "gate\n")]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.out.contains("It does not build yet:\n  etc/runlevels/sysinit: no service is in runlevel sysinit"),
        "{}",
        ran.out
    );
    assert!(site.path("profiles/gate/profile.toml").exists());
}

#[test]
fn an_empty_password_stays_one_only_in_so_many_words() {
    let site = Site::new();
    let members = [
        file("etc/shadow", 0o640, "root:::0:::::\n").owned(0, 42),
        link("etc/runlevels/sysinit/devfs", "/etc/init.d/devfs"),
    ];
    let ran = import(&site, &archive(&members));
    assert!(ran.out.contains("etc/shadow: an account has no password at all"), "{}", ran.out);
    assert!(
        fs::read_to_string(site.path("profiles/gate/profile.toml"))
            .unwrap()
            .contains("allow-empty-root-password = true")
    );
}

#[test]
fn what_is_there_is_not_replaced() {
    let site = Site::new();
    let bytes = archive(&machine());
    for taken in ["profiles/gate", "secrets/gate"] {
        fs::create_dir_all(site.path(taken)).unwrap();
        let before = listing(&site);
        let ran = import(&site, &bytes);
        assert_eq!(ran.code, Some(2));
        assert!(ran.err.contains(&format!("{taken} is there already")), "{}", ran.err);
        assert_eq!(listing(&site), before);
        fs::remove_dir(site.path(taken)).unwrap();
    }
}

#[test]
fn bundles_and_archives_are_told_apart() {
    let site = Site::published();
    assert_eq!(site.run(&["export", "hello", "hello.tar"]).code, Some(0));
    fs::write(site.path("gate.apkovl.tar.gz"), archive(&machine())).unwrap();
    fs::write(site.path("gate.apkovl.tar.gz.aes-256-cbc"), b"Salted__12345678garbage").unwrap();
    fs::write(site.path("hello.tar.gz"), gzip(&fs::read(site.path("hello.tar")).unwrap())).unwrap();
    for (arguments, said) in [
        (
            &["import", "gate.apkovl.tar.gz"][..],
            "which becomes a profile; name it: bivouac import gate.apkovl.tar.gz gate",
        ),
        (
            &["import", "hello.tar", "gate"],
            "for an export of bundles, which keep the names of their profiles: bivouac import hello.tar",
        ),
        (&["import", "nothing.tar", "gate"], "there is no file nothing.tar"),
        (
            &["import", "gate.apkovl.tar.gz.aes-256-cbc", "gate"],
            "openssl enc -d -aes-256-cbc -in gate.apkovl.tar.gz.aes-256-cbc",
        ),
        (&["import", "hello.tar.gz", "gate"], "is a compressed export of bundles; unpack it: gunzip -c hello.tar.gz"),
    ] {
        let ran = site.run(arguments);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains(said), "{arguments:?} should say {said:?}: {}", ran.err);
    }
    assert!(!site.path("profiles/gate").exists() && !site.path("secrets").exists());
}

/// Archives that somebody made to do harm, and what is said to them.
fn hostile() -> Vec<(Vec<u8>, &'static str)> {
    let mut sparse = file("etc/sparse", 0o644, "x");
    sparse.kind = b'S';
    let good = archive(&machine());
    let mut damaged = good.clone();
    // The checksum at its end.
    let checksum = damaged.len() - 6;
    damaged[checksum] ^= 0x55;
    let many: Vec<Member> = (0..100_001).map(|number| folder(&format!("d{number}/"), 0o755)).collect();
    vec![
        (archive(&[file("../../escaped", 0o644, "x")]), "`..` in its name"),
        (archive(&[file("etc/../../escaped", 0o644, "x")]), "`..` in its name"),
        (archive(&[sparse]), "sparse"),
        (bomb(), "unpacks to more than"),
        (archive(&many), "more than 100000 entries"),
        (good[..good.len() - 100].to_vec(), "cut off"),
        (damaged, "damaged"),
        (gzip(b"no archive at all"), "cannot be used as an overlay archive"),
    ]
}

/// A small file that unpacks to a large one.
fn bomb() -> Vec<u8> {
    let member = Member { content: vec![0; 600 << 20], ..file("etc/large", 0o644, "") };
    archive(&[member])
}

#[test]
fn a_hostile_archive_is_refused_and_writes_nothing() {
    let site = Site::new();
    let before = listing(&site);
    for (bytes, said) in hostile() {
        let ran = import(&site, &bytes);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{said}: {}", ran.err);
        assert!(ran.err.contains(said) && !ran.err.contains("panicked"), "should say {said:?}: {}", ran.err);
        assert_eq!(listing(&site), before, "{said}");
    }
    assert!(!site.folder.path().parent().unwrap().join("escaped").exists());
}

#[test]
fn a_hostile_archive_is_not_listed_either() {
    let site = Site::new();
    for (bytes, said) in hostile() {
        fs::write(site.path("gate.apkovl.tar.gz"), bytes).unwrap();
        let before = listing(&site);
        let ran = site.run(&["inspect", "gate.apkovl.tar.gz"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{said}: {}", ran.err);
        assert!(ran.err.contains(said) && !ran.err.contains("panicked"), "should say {said:?}: {}", ran.err);
        assert_eq!(listing(&site), before, "{said}");
    }
}

#[test]
fn names_and_links_that_lead_out_or_spoil_a_terminal_do_neither() {
    let site = Site::new();
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let ran = import(
        &site,
        &archive(&[
            link("etc/out", target),
            file("etc/out/escaped", 0o644, "x"),
            file("/etc/absolute", 0o644, "x"),
            file("etc/\x1b[2J", 0o644, "x"),
            link("etc/odd", "a\x1b[2Jb"),
            link("etc/runlevels/default/x\"y", "/etc/init.d/x\"y"),
            link("etc/runlevels/sysinit/devfs", "/etc/init.d/devfs"),
        ]),
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(!ran.out.contains('\x1b'), "{:?}", ran.out);
    for said in [
        "`etc/out/escaped` is below `etc/out`",
        "has a control character in its name",
        "`/etc/absolute` has an absolute name",
    ] {
        assert!(ran.out.contains(said), "should say {said:?}:\n{}", ran.out);
    }
    assert!(site.path("profiles/gate/root/etc/absolute").exists());
    built(&site);
}

#[test]
fn a_line_end_in_a_name_is_an_error_and_nothing_is_written() {
    let site = Site::new();
    let ran = import(&site, &archive(&[file("etc/ok", 0o644, "x"), file("etc/a\nb", 0o644, "x")]));
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    assert!(ran.err.contains("`etc/a\\nb` has a line end in its name") && ran.err.contains("(OVL-49)"), "{}", ran.err);
    assert!(!site.path("profiles/gate").exists());
}

#[test]
fn a_time_zone_without_tzdata_is_said() {
    let site = Site::new();
    let members = [link("etc/localtime", "/usr/share/zoneinfo/Europe/Berlin"), file("etc/apk/world", 0o644, "nano\n")];
    let ran = import(&site, &archive(&members));
    let said = "  etc/localtime: leads into the package `tzdata`, which the archive's world does not name; \
                `timezone = \"Europe/Berlin\"` in place of the link brings it too\n";
    assert!(ran.out.contains(said), "{}", ran.out);
    let with = [link("etc/localtime", "/usr/share/zoneinfo/Europe/Berlin"), file("etc/apk/world", 0o644, "tzdata\n")];
    assert!(!import(&Site::new(), &archive(&with)).out.contains("etc/localtime:"));
}

/// Unpacks a machine's files, packs them as lbu does, by busybox itself, and takes that in. Needs root, for owners.
#[cfg(feature = "boot-tests")]
#[test]
fn what_busybox_packs_comes_back_too() {
    use bivouac::model::profile::Owner;
    use bivouac::wire::apkovl::Node;

    let site = Site::new();
    let bytes = archive(&machine());
    fs::write(site.path("first.apkovl.tar.gz"), &bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = machine().into_iter().map(|member| member.name).collect();
    let script = "set -e; umask 022; first=$1; second=$2; shift 2; busybox tar -xzpf \"$first\"\n\
                  busybox tar -c --no-recursion -z -f \"$second\" \"$@\"";
    let status = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .args([site.path("first.apkovl.tar.gz"), site.path("second.apkovl.tar.gz")])
        .args(&names)
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    let packed = fs::read(site.path("second.apkovl.tar.gz")).unwrap();
    let tree = |bytes: &[u8]| {
        let mut tree = read(bytes, &Limits::default()).unwrap().tree;
        // Busybox gives links to root when it unpacks them.
        for (_, entry) in tree.iter_mut().filter(|(_, entry)| matches!(entry.node, Node::Symlink(_))) {
            entry.owner = Owner::default();
        }
        tree
    };
    assert_eq!(bivouac::build::compare(&tree(&bytes), &tree(&packed)), []);
    let ran = import(&site, &packed);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("\nIt builds to the same files, owners and modes.\n"), "{}", ran.out);
}
