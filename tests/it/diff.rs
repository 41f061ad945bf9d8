//! `inspect` and `diff`: what is in archives, bundles and profiles, and what they do not have alike.

use std::fs;

use serde_json::Value;

use crate::support::lbu::{archive, file, folder, link, machine};
use crate::support::site::Site;

#[test]
fn two_archives_are_compared_file_by_file() {
    let site = Site::new();
    let before = [
        file("etc/apk/world", 0o644, "alpine-base\nnano\n"),
        file("etc/gone", 0o644, "x"),
        file("etc/motd", 0o644, "one\ntwo\nthree\n"),
        link("etc/link", "old"),
        link("etc/runlevels/default/sshd", "/etc/init.d/sshd"),
        file("etc/shadow", 0o640, "root:$6$a$old:1:0:::::\n").owned(0, 42),
        file("etc/shadow-", 0o640, "root:$6$a$older:1:0:::::\n").owned(0, 42),
        file("etc/binary", 0o644, "a\0b"),
        file("etc/same", 0o644, "same"),
    ];
    let after = [
        file("etc/shadow", 0o640, "root:$6$a$new:1:0:::::\n").owned(0, 42),
        file("etc/shadow-", 0o640, "root:$6$a$old:1:0:::::\n").owned(0, 42),
        file("etc/binary", 0o644, "a\0c"),
        file("etc/same", 0o644, "same"),
        file("etc/apk/world", 0o644, "alpine-base\nzsh\n"),
        file("etc/motd", 0o600, "one\n2\nthree\n").owned(1, 0),
        link("etc/link", "new\x1b"),
        folder("srv/", 0o755),
    ];
    fs::write(site.path("a.apkovl.tar.gz"), archive(&before)).unwrap();
    fs::write(site.path("b.apkovl.tar.gz"), archive(&after)).unwrap();
    let ran = site.run(&["diff", "a.apkovl.tar.gz", "b.apkovl.tar.gz"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""));
    assert_eq!(
        ran.out,
        "\
--- archive a.apkovl.tar.gz
+++ archive b.apkovl.tar.gz
packages asked for:
  - nano
  + zsh
services:
  - default/sshd
accounts:
  ~ user root password: another hash
files:
  ~ etc/apk/world: content
      @@ -1,2 +1,2 @@
       alpine-base
      -nano
      +zsh
  ~ etc/binary: content
      -3 bytes, SHA-256 59b271ae1bbcb1d31d41929817f4b16fb439eb4f31520b5ad1d5ce98920a7138
      +3 bytes, SHA-256 b179f49283f586ae1922b625af4017aecdf77e7ee175c0af675abea14252a666
  - etc/gone: file 0644 0:0, 1 bytes
  ~ etc/link: target old → new\\u{1b}
  ~ etc/motd: mode 0644 → 0600, owner 0:0 → 1:0
      @@ -1,3 +1,3 @@
       one
      -two
      +2
       three
  - etc/runlevels: folder 0755 0:0
  - etc/runlevels/default: folder 0755 0:0
  - etc/runlevels/default/sshd: link 0777 0:0 to /etc/init.d/sshd
  ~ etc/shadow: content
      the lines are not shown, because there are keys, passwords or hashes of them among them
  ~ etc/shadow-: content
      the lines are not shown, because there are keys, passwords or hashes of them among them
  + srv: folder 0755 0:0
"
    );
    let same = site.run(&["diff", "a.apkovl.tar.gz", "a.apkovl.tar.gz"]);
    assert_eq!(same.code, Some(0));
    assert!(same.out.ends_with("no difference\n"), "{}", same.out);
    let ran = site.run(&["diff", "a.apkovl.tar.gz", "b.apkovl.tar.gz", "--json"]);
    assert_eq!(ran.code, Some(1));
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["same"], false);
    assert_eq!(json["services"][0]["name"], "default/sshd");
    let motd = json["files"].as_array().unwrap().iter().find(|it| it["path"] == "etc/motd").unwrap();
    assert_eq!((&motd["before"]["mode"], &motd["after"]["owner"]), (&Value::from("0644"), &Value::from("1:0")));
    assert!(!ran.out.contains("$6$"), "a hash is shown");
}

#[test]
fn releases_and_profiles_are_compared_with_their_packages_and_arguments() {
    let site = Site::published();
    let ran = site.run(&["diff", "hello", "hello/"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let profile = fs::read_to_string(site.path("profiles/hello/profile.toml")).unwrap();
    site.write(
        "profiles/hello/profile.toml",
        &format!("packages = [\"nano\"]\nhostname = \"other\"\n{profile}\n[users.kiosk]\nuid = 1000\n")
            .replace("\npackages = ", "\n# "),
    );
    site.write("profiles/hello/root/etc/motd", "hello\n");
    assert_eq!(site.run(&["build", "hello"]).code, Some(0));
    assert_eq!(site.run(&["publish", "hello"]).code, Some(0));
    let ran = site.run(&["diff", "hello@1", "hello@2"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""));
    for said in [
        "\npackages asked for:\n  + nano\n",
        "\npackages:\n  + nano 1.0-r0\n",
        "  + user kiosk uid 1000\n",
        "  + etc/motd: file 0644 0:0, 6 bytes\n      @@ -0,0 +1 @@\n      +hello\n",
    ] {
        assert!(ran.out.contains(said), "should say {said:?}:\n{}", ran.out);
    }
    // What stands in the folder is what was published, and the first release is not.
    assert_eq!(site.run(&["diff", "hello", "profiles/hello"]).code, Some(0));
    assert_eq!(site.run(&["diff", "hello@1", "hello/"]).code, Some(1));
    site.write("profiles/hello/root/etc/motd", "changed\n");
    let ran = site.run(&["diff", "hello", "hello/"]);
    assert!(
        ran.out.contains("  ~ etc/motd: content\n      @@ -1 +1 @@\n      -hello\n      +changed\n"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains("not compared"), "the lock has the packages: {}", ran.out);
}

#[test]
fn a_profile_has_the_packages_of_its_lock_while_that_is_its_own() {
    let site = Site::published();
    let lock = fs::read_to_string(site.path("profiles/hello/lock.toml")).unwrap();
    let change = |from: &str, to: &str| {
        assert!(lock.contains(from), "{lock}");
        site.write("profiles/hello/lock.toml", &lock.replacen(from, to, 1));
        site.run(&["diff", "hello", "hello/"])
    };
    // Another version, another build of the same one, and another release of Alpine.
    let (identity, version) = {
        let package: toml::Value = toml::from_str::<toml::Table>(&lock).unwrap()["package"][0].clone();
        (package["identity"].as_str().unwrap().to_owned(), package["version"].as_str().unwrap().to_owned())
    };
    let ran = change(&format!("version = \"{version}\"\nrepository"), "version = \"99-r9\"\nrepository");
    assert!(ran.out.contains(&format!(": {version} → 99-r9\n")), "{}", ran.out);
    let ran = change(&identity, "Q1another");
    assert!(ran.out.contains(&format!(": {version} ({identity}) → {version} (Q1another)\n")), "{}", ran.out);
    let release = toml::from_str::<toml::Table>(&lock).unwrap()["alpine"]["version"].as_str().unwrap().to_owned();
    let ran = change(&format!("version = \"{release}\"\narch"), "version = \"3.99.9\"\narch");
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains(&format!("Alpine:\n  ~ release: {release} → ")), "{}", ran.out);
    assert!(ran.out.contains("which is 3.99.9\n"), "{}", ran.out);

    site.write("profiles/hello/lock.toml", &lock);
    let profile = fs::read_to_string(site.path("profiles/hello/profile.toml")).unwrap();
    site.write(
        "profiles/hello/profile.toml",
        &format!("packages = [\"nano\"]\n{}", profile.replace("\npackages = ", "\n# ")),
    );
    let ran = site.run(&["diff", "hello", "hello/"]);
    assert!(
        ran.out.ends_with(
            "not compared, because only one of them says it: package versions\nthe lock of profile `hello` was made \
             without `nano`, so its packages are not known; run `bivouac lock hello`\n"
        ),
        "{}",
        ran.out
    );
    let ran = site.run(&["diff", "hello", "hello/", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["stale_locks"].as_array().unwrap().len(), 1);
    site.write("profiles/hello/lock.toml", "no lock");
    let ran = site.run(&["diff", "hello", "hello/"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert!(ran.err.contains("profiles/hello/lock.toml"), "{}", ran.err);
}

#[test]
fn what_cannot_be_looked_at_is_an_error_that_says_so() {
    let site = Site::without_key();
    fs::write(site.path("bad.apkovl.tar.gz"), "no archive").unwrap();
    for (what, said) in [
        ("bad.apkovl.tar.gz", "the archive is not gzip"),
        ("./nothing.tar.gz", "there is no file or folder ./nothing.tar.gz"),
        ("overlays/base", "overlays/base is no archive and no folder of a profile"),
        ("helo", "helo"),
        ("hello@7", "hello"),
        ("../x@1", "there is no file or folder ../x@1"),
    ] {
        for arguments in [&["inspect", what][..], &["diff", what, "hello/"], &["diff", "hello/", what]] {
            let ran = site.run(arguments);
            assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{arguments:?}: {ran:?}");
            assert!(ran.err.contains(said) && !ran.err.contains("panicked"), "should say {said:?}: {}", ran.err);
        }
    }
    // Nothing was built of it, so its name means the profile as it stands.
    assert_eq!(site.run(&["diff", "hello", "hello/"]).code, Some(0));
    assert!(!site.path("state").exists());
}

#[test]
fn an_archive_is_listed_with_what_init_makes_of_it() {
    let site = Site::new();
    let members = [
        folder("etc/dir/", 0o700).owned(5, 6),
        file("etc/file", 0o4755, "12345"),
        link("etc/link", "a\x1b[2Jb"),
        file("./etc/dotted", 0o644, ""),
        file("etc/a\tb", 0o644, ""),
    ];
    fs::write(site.path("a.apkovl.tar.gz"), archive(&members)).unwrap();
    let before = bivouac::disk::walk(site.folder.path()).unwrap();
    let ran = site.run(&["inspect", "a.apkovl.tar.gz"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert_eq!(
        ran.out,
        "\
MODE   OWNER  SIZE  PATH
d0755  0:0          etc/
d0700  5:6          etc/dir/
-0644  0:0    0     etc/dotted
-4755  0:0    5     etc/file
l0777  0:0          etc/link -> a\\u{1b}[2Jb

about the archive:
  `./etc/dotted` has `.` or an empty part in its name, so apk does not protect it from packages (OVL-3)
  `etc/a\\tb` has a control character in its name, which corrupts init's list of files; it is left out (OVL-49)
"
    );
    let ran = site.run(&["inspect", "a.apkovl.tar.gz", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["entries"][4]["target"], "a\x1b[2Jb");
    assert_eq!(json["notes"].as_array().unwrap().len(), 2);
    assert_eq!(bivouac::disk::walk(site.folder.path()).unwrap(), before);
    assert_eq!(site.run(&["inspect", "hello/"]).code, Some(0));
}

#[test]
fn an_import_differs_from_its_archive_only_by_what_was_said() {
    let site = Site::new();
    fs::write(site.path("gate.apkovl.tar.gz"), archive(&machine())).unwrap();
    assert_eq!(site.run(&["import", "gate.apkovl.tar.gz", "gate"]).code, Some(0));
    let ran = site.run(&["diff", "gate.apkovl.tar.gz", "gate/"]);
    assert_eq!(ran.code, Some(1));
    let lines = ran.out.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    assert!(lines.clone().count() > 20 && lines.clone().all(|line| line.starts_with("  - etc/")), "{}", ran.out);
}

#[test]
fn a_profile_that_no_build_takes_is_looked_at_all_the_same() {
    let site = Site::new();
    site.write("profiles/hello/root/etc/local.d/x.start", "#!/bin/sh\n");
    assert_eq!(site.run(&["check", "hello"]).code, Some(1), "the script is not executable");
    let ran = site.run(&["inspect", "hello/"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert!(ran.out.contains("etc/local.d/x.start\n"), "{}", ran.out);
    assert_eq!(site.run(&["diff", "hello/", "hello/"]).code, Some(0));
}

#[test]
fn templates_are_compared_as_they_are_written() {
    let site = Site::new();
    let profile = fs::read_to_string(site.path("profiles/hello/profile.toml")).unwrap();
    let with_seat = |seat: &str| {
        site.write("profiles/hello/profile.toml", &format!("{profile}\n[vars]\nseat = \"{seat}\"\n"));
    };
    with_seat("none");
    site.write("profiles/hello/root/etc/seat.tmpl", "{{ machine.mac }}\n");
    site.write("profiles/hello/root/etc/name.tmpl", "{{ profile.name }}\n");
    assert_eq!(site.run(&["build", "hello"]).code, Some(0));
    assert_eq!(site.run(&["publish", "hello"]).code, Some(0));
    let ran = site.run(&["diff", "hello", "hello/"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    site.write("profiles/hello/root/etc/seat.tmpl", "{{ machine.mac }}!\n");
    let ran = site.run(&["diff", "hello", "hello/"]);
    assert!(ran.out.contains("-{{ machine.mac }}\n      +{{ machine.mac }}!\n"), "{}", ran.out);
    with_seat("7");
    assert_eq!(site.run(&["build", "hello"]).code, Some(0));
    assert_eq!(site.run(&["publish", "hello"]).code, Some(0));
    let ran = site.run(&["diff", "hello@1", "hello@2"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""));
    for said in ["variables of templates:\n  ~ seat: ", "-{{ machine.mac }}\n      +{{ machine.mac }}!\n"] {
        assert!(ran.out.contains(said), "should say {said:?}:\n{}", ran.out);
    }
    assert!(site.run(&["inspect", "hello"]).out.contains("etc/seat\n"));
}

#[test]
fn lines_of_keys_and_of_password_hashes_are_never_shown() {
    let site = Site::new();
    for (name, hash, key) in [("a", "$6$salt$firsthash", "AAAAfirst"), ("b", "$6$salt$otherhash", "AAAAother")] {
        site.write(&format!("profiles/{name}/profile.toml"), "overlays = [\"base\", \"network\"]");
        let root = format!("profiles/{name}/root");
        let pem = format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{key}{}\n-----END OPENSSH PRIVATE KEY-----\n",
            "A".repeat(60)
        );
        site.write(&format!("{root}/etc/nginx/htpasswd"), &format!("alice:{hash}\n"));
        site.write(&format!("{root}/srv/key.pem"), &pem);
        site.write(&format!("{root}/etc/ssh/ssh_host_ed25519_key"), &format!("{key}\n"));
        site.write(&format!("{root}/etc/motd"), &format!("shown {name}\n"));
        site.write(&format!("{root}/etc/shadow"), &format!("root:{hash}::0:::::\n"));
    }
    for arguments in [&["diff", "a", "b"][..], &["diff", "a", "b", "--json"]] {
        let ran = site.run(arguments);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.out.contains("shown a") && ran.out.contains("shown b"), "{}", ran.out);
        for secret in ["firsthash", "otherhash", "AAAAfirst", "AAAAother"] {
            assert!(!ran.out.contains(secret), "{secret}\n{}", ran.out);
        }
    }
}
