//! `bivouac explain`: where everything of a profile comes from.

use serde_json::{Value, json};

use crate::support::site::Site;

/// A profile that extends `hello`, takes from it and changes it, with an overlay of its own.
fn site() -> Site {
    let site = Site::new();
    site.write(
        "profiles/vdi/profile.toml",
        r#"
        extends = "hello"
        overlays = ["ssh"]
        packages = ["nano>8"]
        timezone = "Europe/Berlin"
        remove = ["etc/init.d/bivouac-check-in"]
        [services]
        default = ["!bivouac-check-in"]
        [alpine]
        release = "3.24"
        [users.kiosk]
        uid = 1000
        groups = ["audio"]
        ssh-keys = ["ssh-ed25519 AAAA a"]
        [network]
        dns = ["10.0.0.1", "10.0.0.2"]
        [files]
        "etc/ssh/sshd_config" = { mode = "0600" }
        [vars]
        host = "pve.example.net"
        note = "a\nb\u001b[2J"
        "#,
    );
    site.write(
        "overlays/ssh/overlay.toml",
        "packages = [\"openssh\"]\n[services]\ndefault = [\"sshd\"]\n[files]\n\"etc/ssh/\" = { mode = \"0640\" }\n",
    );
    site.write("overlays/ssh/root/etc/ssh/sshd_config", "a long one");
    site.write("profiles/vdi/root/etc/ssh/sshd_config", "own");
    site
}

/// What `explain --json` says of one thing.
fn explained(site: &Site, what: &str) -> Vec<Value> {
    let ran = site.run(&["explain", "vdi", what, "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn one_file_is_explained_with_what_it_hid_and_who_set_its_mode() {
    let site = site();
    let table = "FILE                 VALUE             SET BY       INSTEAD OF\n\
                 etc/ssh/sshd_config  0600 0:0 3 bytes  profile vdi  10 bytes (overlay ssh)\n\n\
                 MODE                 VALUE  SET BY                  INSTEAD OF\n\
                 etc/ssh/sshd_config  0600   profile vdi, `[files]`  0640 (overlay ssh, `[files]`); 0644 (profile vdi)\n";
    assert_eq!(site.run(&["explain", "vdi", "etc/ssh/sshd_config"]).out, table);
    assert_eq!(site.run(&["explain", "vdi", "/etc/ssh/"]).out, table);
    let file = json!({
        "kind": "file", "name": "etc/ssh/sshd_config", "value": "3 bytes", "by": "profile vdi",
        "hidden": [{ "by": "overlay ssh", "value": "10 bytes" }],
        "mode": "0600", "owner": "0:0", "size": 3,
    });
    assert_eq!(explained(&site, "etc/ssh/sshd_config")[0], file);
}

#[test]
fn values_lists_and_what_was_taken_out_name_their_layers() {
    let site = site();
    let release = json!({
        "kind": "value", "name": "alpine.release", "value": "3.24", "by": "profile vdi",
        "hidden": [{ "by": "profile hello", "value": "latest-stable" }],
    });
    assert_eq!(explained(&site, "alpine.release"), [release]);
    for (what, name, value, by) in [
        ("hostname", "hostname", json!("vdi"), "default"),
        ("console", "console=tty0", json!("console=tty0"), "profile hello"),
        ("nano", "nano>8", json!("nano>8"), "profile vdi"),
        ("tzdata", "tzdata", json!("tzdata"), "Bivouac, for `timezone`"),
        ("bivouac-check-in", "default/bivouac-check-in", Value::Null, "profile vdi"),
        ("sshd", "default/sshd", json!("default/sshd"), "overlay ssh"),
        ("kiosk.uid", "kiosk.uid", json!("1000"), "profile vdi"),
        ("network.dns", "dns 10.0.0.1", json!("dns 10.0.0.1"), "profile vdi"),
        ("host", "host", json!("pve.example.net"), "profile vdi"),
        ("etc/init.d/bivouac-check-in", "etc/init.d/bivouac-check-in", Value::Null, "profile vdi"),
        ("etc/hostname", "etc/hostname", json!("4 bytes"), "Bivouac, from `hostname`"),
        ("etc/timezone", "etc/timezone", json!("14 bytes"), "profile vdi, by `timezone`"),
        ("etc/apk/world", "etc/apk/world", json!("34 bytes"), "Bivouac, from `packages`"),
        ("etc/bivouac/overlay", "etc/bivouac/overlay", json!("the digest of the overlay"), "Bivouac"),
        (
            "etc/runlevels/default/sshd",
            "etc/runlevels/default/sshd",
            json!("a link to /etc/init.d/sshd"),
            "overlay ssh, by `services.default`",
        ),
        (
            "home/kiosk/.ssh/authorized_keys",
            "home/kiosk/.ssh/authorized_keys",
            json!("19 bytes"),
            "Bivouac, from `users.kiosk.ssh-keys`",
        ),
    ] {
        let first = explained(&site, what).remove(0);
        assert_eq!((&first["name"], &first["value"], &first["by"]), (&json!(name), &value, &json!(by)), "{first:#}");
    }
    let shown = site.run(&["explain", "vdi", "bivouac-check-in"]).out;
    assert!(shown.ends_with("default/bivouac-check-in  taken out  profile vdi  overlay check-in\n"), "{shown}");
}

#[test]
fn everything_is_listed_and_no_file_of_the_machine_is_missing() {
    let site = site();
    let ran = site.run(&["explain", "vdi"]);
    for title in ["VALUE", "ARGUMENT", "PACKAGE", "SERVICE", "ACCOUNT", "NETWORK", "VARIABLE", "FILE", "MODE", "OWNER"]
    {
        assert!(ran.out.lines().any(|line| line.starts_with(&format!("{title}  "))), "{title}:\n{}", ran.out);
    }
    assert!(ran.out.contains("\nnote      a\\nb\\u{1b}[2J    profile vdi\n"), "{}", ran.out);
    let recipe =
        bivouac::build::Recipe::load(&site.path("profiles"), &site.path("overlays"), &"vdi".parse().unwrap()).unwrap();
    for (path, entry) in recipe.tree(&bivouac::build::BaseAccounts::default()).unwrap().iter() {
        let is_listed = ran.out.lines().any(|line| line.split(' ').next() == Some(path));
        assert!(is_listed || entry.node == bivouac::wire::apkovl::Node::Directory, "{path}:\n{}", ran.out);
    }
    // Where nobody says anything, nobody is named.
    site.write("profiles/bare/profile.toml", "overlays = [\"base\"]");
    let bare = site.run(&["explain", "bare", "alpine"]).out;
    let said: Vec<Vec<&str>> = bare.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(said[1], ["alpine.arch", "x86_64", "default"]);
    assert_eq!(said[3], ["alpine.release", "latest-stable", "default"]);
    assert_eq!(said[5], ["alpine.repositories", "main", "default"]);
}

#[test]
fn something_unknown_is_an_error_with_the_nearest_name() {
    let site = site();
    for (what, hint) in [
        ("sshdd", "did you mean `sshd`?"),
        ("users.kiok", "did you mean `users.kiosk`?"),
        ("network.dnss", "did you mean `network.dns`?"),
        ("pakages", "did you mean `packages`?"),
        ("hostnam", "did you mean `hostname`?"),
        ("etc/ssh/sshd_conf", "did you mean `etc/ssh/sshd_config`?"),
        ("zzzzzzzz", "`bivouac explain vdi` lists everything"),
    ] {
        let ran = site.run(&["explain", "vdi", what]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
        assert_eq!(ran.err, format!("error: profile `vdi` has nothing called `{what}`; {hint}\n"));
    }
    let ran = site.run(&["explain", "helo"]);
    assert!(ran.err.contains("did you mean `hello`?"), "{}", ran.err);
}

#[test]
fn what_was_taken_out_of_a_list_is_found_by_its_name_with_and_without_the_mark() {
    let site = site();
    site.write(
        "profiles/seat/profile.toml",
        "extends = \"vdi\"\nservices.default = [\"!sshd\"]\nalpine.repositories = [\"testing\", \"!main\"]\n\
         packages = [\"!openssh\"]\nkernel.args = [\"!console=tty0\"]\n\
         users.kiosk = { groups = [\"!audio\"], ssh-keys = [\"!ssh-ed25519 AAAA a\"] }\n",
    );
    for (what, name) in [
        ("sshd", "default/sshd"),
        ("main", "alpine.repositories main"),
        ("openssh", "openssh"),
        ("console=tty0", "console=tty0"),
        ("audio", "kiosk.groups audio"),
        ("ssh-ed25519 AAAA a", "kiosk.ssh-keys ssh-ed25519 AAAA a"),
    ] {
        for what in [what.to_owned(), format!("!{what}")] {
            let ran = site.run(&["explain", "seat", &what, "--json"]);
            assert_eq!(ran.code, Some(0), "{what}: {}", ran.err);
            let list: Value = serde_json::from_str(&ran.out).unwrap();
            assert_eq!(
                (&list[0]["name"], &list[0]["value"], &list[0]["by"]),
                (&json!(name), &Value::Null, &json!("profile seat"))
            );
        }
    }
}

#[test]
fn a_profile_with_mistakes_is_explained_too_and_it_is_said_that_it_has_some() {
    let site = site();
    site.write(
        "profiles/seat/profile.toml",
        "description = \"a seat\"\nextends = \"vdi\"\npackages = [\"!gone\", \"mc\"]\n[users.guest]\ncomment = \"no id\"\n\
         [files]\n\"etc/none\" = { mode = \"0600\" }\n",
    );
    let ran = site.run(&["explain", "seat", "packages"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.lines().any(|line| line.split_whitespace().eq(["mc", "profile", "seat"])), "{}", ran.out);
    assert_eq!(ran.err, "seat has mistakes, and what they are about may be missing here: bivouac check seat\n");
    let ran = site.run(&["explain", "seat", "description"]);
    assert_eq!(ran.out, "VALUE        VALUE   SET BY\ndescription  a seat  profile seat\n");
    assert_eq!(site.run(&["explain", "vdi"]).err, "");
}

#[test]
fn what_a_variable_is_for_is_said_to_who_asks_for_it() {
    let site = site();
    site.write(
        "overlays/ssh/overlay.toml",
        "[vars]\nport = { type = \"integer\", default = 22, description = \"where sshd listens\" }\n",
    );
    let shown = site.run(&["explain", "vdi", "port"]).out;
    assert_eq!(
        shown,
        "VARIABLE  VALUE  SET BY\nport      22     overlay ssh\n\nVARIABLE  WHAT IT IS FOR\nport      where sshd listens\n"
    );
    let described = json!({
        "kind": "variable", "name": "port", "value": "22", "by": "overlay ssh", "hidden": [],
        "description": "where sshd listens",
    });
    assert_eq!(explained(&site, "port"), [described]);
    assert!(site.run(&["explain", "vdi", "vars"]).out.contains("WHAT IT IS FOR"));
    assert!(!site.run(&["explain", "vdi"]).out.contains("WHAT IT IS FOR"), "all of it is long enough");
}
