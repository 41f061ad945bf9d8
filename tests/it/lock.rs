//! `bivouac lock`: the packages a profile is built with stay the same until somebody says otherwise.

use std::fs;

use serde_json::{Value, json};

use crate::support::alpine::{LIST, Member, TARBALL, list, members_trusting, signer, tarball};
use crate::support::server::Reply;
use crate::support::site::{KEY, MAIN, Ran, Site, signing_key};

/// What the mirror has at first, besides `nano` and `tiny`.
type Packages = [(&'static str, &'static str, &'static [&'static str])];

/// The packages of `hello`, all one version newer, and new ones.
const NEWER: &Packages = &[
    ("alpine-base", "1.1-r0", &["busybox", "openrc"]),
    ("busybox", "1.1-r0", &[]),
    ("openrc", "1.1-r0", &["busybox"]),
    ("nano", "1.1-r0", &["busybox"]),
    ("modern", "1.1-r0", &["busybox>1.0-r0"]),
];

fn done(ran: Ran) -> String {
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran.out
}

fn refusal(ran: &Ran) -> &str {
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{}", ran.err);
    &ran.err
}

/// The bundle in the line that `build` prints.
fn bundle(built: &str) -> &str {
    built.split_once("bundle ").unwrap().1.split_once(',').unwrap().0
}

fn lock_of(site: &Site, profile: &str) -> String {
    fs::read_to_string(site.path(&format!("profiles/{profile}/lock.toml"))).unwrap()
}

/// Each package of the lock of `hello` with its version.
fn versions(site: &Site) -> Vec<String> {
    let lock: toml::Table = lock_of(site, "hello").parse().unwrap();
    let text = |package: &toml::Value, key: &str| package[key].as_str().unwrap().to_owned();
    let packages = lock["package"].as_array().unwrap().iter();
    packages.map(|package| format!("{} {}", text(package, "name"), text(package, "version"))).collect()
}

/// Adds packages to the profile `hello`.
fn want(site: &Site, packages: &str) {
    let path = "profiles/hello/profile.toml";
    let text = fs::read_to_string(site.path(path)).unwrap();
    site.write(path, &format!("packages = [{packages}]\n{text}"));
}

#[test]
fn a_build_makes_the_lock_and_the_next_one_uses_it_whatever_the_mirror_has() {
    let site = Site::new();
    let built = done(site.run(&["build", "hello"]));
    let text = lock_of(&site, "hello");
    let lock: toml::Table = text.parse().unwrap();
    assert_eq!(lock["alpine"]["wanted"].as_str(), Some("latest-stable"));
    assert_eq!(lock["alpine"]["version"].as_str(), Some("3.24.1"));
    assert_eq!(lock["repository"][0]["name"].as_str(), Some("main"));
    assert_eq!(lock["repository"][0]["index"].as_str().unwrap().len(), 64);
    assert_eq!(versions(&site), ["alpine-base 1.0-r0", "busybox 1.0-r0", "openrc 1.0-r0"]);
    let base = &lock["package"][0];
    assert!(base["identity"].as_str().unwrap().starts_with("Q1"), "{base}");
    assert!(base["size"].as_integer().unwrap() > 0);
    assert_eq!(base["why"].as_str(), Some("the world asks for `alpine-base`"));
    assert_eq!(lock["package"][1]["why"].as_str(), Some("alpine-base needs `busybox`"));

    site.mirror.offer_versions(NEWER);
    let again = done(site.run(&["build", "hello"]));
    assert!(again.starts_with("hello is unchanged: "), "{again}");
    assert_eq!(bundle(&again), bundle(&built));
    // Another site with an empty state takes what the lock says too.
    let elsewhere = done(site.run(&["build", "hello", "--state", "elsewhere"]));
    assert_eq!(bundle(&elsewhere), bundle(&built));
    assert_eq!(lock_of(&site, "hello"), text);
}

#[test]
fn an_update_takes_what_is_newest_and_shows_the_difference() {
    let site = Site::new();
    assert_eq!(done(site.run(&["lock", "hello"])), "hello locked: 3 packages\n");
    let built = done(site.run(&["build", "hello"]));
    assert_eq!(done(site.run(&["lock", "hello", "--update"])), "hello is unchanged: 3 packages\n");

    site.mirror.offer_versions(NEWER);
    assert_eq!(done(site.run(&["lock", "hello"])), "hello is unchanged: 3 packages\n");
    let changes = "hello: ~ alpine-base 1.0-r0 -> 1.1-r0\nhello: ~ busybox 1.0-r0 -> 1.1-r0\nhello: ~ openrc 1.0-r0 -> \
                   1.1-r0\n";
    let before = lock_of(&site, "hello");
    let trial = done(site.run(&["lock", "hello", "--update", "--dry-run"]));
    assert_eq!(trial, format!("{changes}hello would be locked anew: 3 packages, 3 changes\n"));
    assert_eq!(lock_of(&site, "hello"), before);
    let json: Value =
        serde_json::from_str(&done(site.run(&["lock", "hello", "--update", "--dry-run", "--json"]))).unwrap();
    assert_eq!(json[0]["profile"], "hello");
    assert_eq!((&json[0]["is_new"], &json[0]["is_changed"]), (&json!(false), &json!(true)));
    assert_eq!(
        json[0]["changes"][0],
        json!({ "change": "moved", "name": "alpine-base", "from": "1.0-r0", "to": "1.1-r0" })
    );
    let updated = done(site.run(&["lock", "hello", "--update"]));
    assert_eq!(updated, format!("{changes}hello locked anew: 3 packages, 3 changes\n"));
    assert_ne!(bundle(&done(site.run(&["build", "hello"]))), bundle(&built));
}

#[test]
fn an_update_of_one_package_moves_only_what_has_to_go_along() {
    let site = Site::new();
    let at = |version: &'static str| {
        [
            ("alpine-base", version, &["busybox", "openrc"][..]),
            ("busybox", version, &[]),
            ("openrc", version, &["busybox"]),
            ("tool", version, &[]),
            ("tool-data", version, &[]),
            ("part", version, &[]),
        ]
    };
    want(&site, "\"tool\", \"tool-data\", \"part\"");
    site.mirror.offer_versions(&at("1.0-r0"));
    // With the packages at hand: what nobody has any more cannot stay.
    done(site.run(&["build", "hello"]));

    // Packages of one origin go together, the rest stays.
    site.mirror.offer_versions(&at("1.1-r0"));
    let ran = done(site.run(&["lock", "hello", "--update", "tool"]));
    assert_eq!(
        ran,
        "hello: ~ tool 1.0-r0 -> 1.1-r0\nhello: ~ tool-data 1.0-r0 -> 1.1-r0\nhello locked anew: 6 packages, 2 changes\n"
    );
    // What the new version needs moves with it.
    let mut needy = at("1.2-r0");
    needy[3].2 = &["part>1.1"];
    site.mirror.offer_versions(&needy);
    done(site.run(&["lock", "hello", "--update", "tool"]));
    assert_eq!(
        versions(&site),
        ["alpine-base 1.0-r0", "busybox 1.0-r0", "openrc 1.0-r0", "part 1.2-r0", "tool 1.2-r0", "tool-data 1.2-r0"]
    );

    let ran = site.run(&["lock", "hello", "--update", "tol"]);
    assert!(refusal(&ran).contains("the lock has no package `tol`; did you mean `tool`?"), "{}", ran.err);
}

#[test]
fn a_changed_profile_changes_its_lock_only_as_far_as_it_must() {
    let site = Site::new();
    done(site.run(&["build", "hello"]));
    site.mirror.offer_versions(NEWER);
    // New ones come as they are now, the others stay, though the mirror lists them no more.
    want(&site, "\"nano\"");
    let ran = site.run(&["build", "hello"]);
    assert!(ran.err.contains("hello: + nano 1.1-r0\n"), "{}", ran.err);
    done(ran);
    assert_eq!(versions(&site), ["alpine-base 1.0-r0", "busybox 1.0-r0", "nano 1.1-r0", "openrc 1.0-r0"]);
    // One that needs a newer busybox takes it along.
    want(&site, "\"modern\"");
    site.write(
        "profiles/hello/profile.toml",
        &fs::read_to_string(site.path("profiles/hello/profile.toml")).unwrap().replacen(
            "packages = [\"nano\"]\n",
            "",
            1,
        ),
    );
    done(site.run(&["build", "hello"]));
    assert_eq!(versions(&site), ["alpine-base 1.0-r0", "busybox 1.1-r0", "modern 1.1-r0", "openrc 1.0-r0"]);
}

#[test]
fn packages_that_left_the_mirror_come_from_the_cache_and_without_it_are_named() {
    let site = Site::new();
    let built = done(site.run(&["build", "hello"]));
    site.mirror.offer_versions(NEWER);
    for name in ["alpine-base", "busybox", "openrc"] {
        site.mirror.server.remove(&format!("{MAIN}/{name}-1.0-r0.apk"));
    }
    fs::remove_dir_all(site.path("state/store")).unwrap();
    let again = done(site.run(&["build", "hello"]));
    assert_eq!(bundle(&again), bundle(&built));
    fs::remove_dir_all(site.path("state/store")).unwrap();
    assert_eq!(bundle(&done(site.run(&["build", "hello", "--offline"]))), bundle(&built));

    let ran = site.run(&["build", "hello", "--state", "elsewhere"]);
    let said = refusal(&ran);
    assert!(said.contains("package alpine-base-1.0-r0 of the lock cannot be had any more"), "{said}");
    assert!(said.contains("`bivouac lock hello --update alpine-base`"), "{said}");
    let ran = site.run(&["build", "hello", "--state", "elsewhere", "--offline"]);
    assert!(refusal(&ran).contains("package alpine-base-1.0-r0.apk, package busybox-1.0-r0.apk"), "{}", ran.err);
}

#[test]
fn the_release_is_locked_too() {
    let site = Site::new();
    done(site.run(&["build", "hello"]));
    let server = &site.mirror.server;
    let mut members = members_trusting((KEY, &signing_key().public_pem().unwrap()));
    members.push(Member::file("boot/System.map-virt", b"new"));
    let newer = tarball(&members);
    let text = list(&newer).replace("3.24.1", "3.24.2");
    for place in [LIST.to_owned(), LIST.replace("v3.24", "latest-stable")] {
        server.put(place, Reply::File(text.clone().into_bytes()));
    }
    let place = TARBALL.replace("3.24.1", "3.24.2");
    server.put(&place, Reply::File(newer.clone()));
    server.put(format!("{place}.asc"), Reply::File(signer().sign(&newer).into_bytes()));
    server.requests();
    assert!(done(site.run(&["build", "hello"])).starts_with("hello is unchanged: "));
    assert_eq!(server.requests(), Vec::<String>::new(), "a build from a lock and a full cache asks nobody");
    let updated = done(site.run(&["lock", "hello", "--update"]));
    assert_eq!(updated, "hello: ~ Alpine 3.24.1 -> 3.24.2\nhello locked anew: 3 packages, 1 change\n");
    assert!(done(site.run(&["build", "hello"])).starts_with("hello built: "));
    assert!(done(site.run(&["fetch", "hello"])).starts_with("hello: Alpine 3.24.2 "));
}

#[test]
fn with_locked_nothing_is_made_up() {
    let site = Site::new();
    let ran = site.run(&["build", "hello", "--locked"]);
    assert!(refusal(&ran).contains("profile `hello` has no lock, and --locked makes none; run `bivouac lock hello`"));
    assert!(!site.path("profiles/hello/lock.toml").exists());
    done(site.run(&["lock", "hello"]));
    done(site.run(&["build", "hello", "--locked"]));
    want(&site, "\"nano\"");
    let ran = site.run(&["build", "hello", "--locked"]);
    assert!(refusal(&ran).contains("the lock of profile `hello` was made without `nano`, and --locked"), "{}", ran.err);
}

#[test]
fn a_lock_that_was_changed_by_hand_is_refused() {
    let site = Site::new();
    done(site.run(&["build", "hello"]));
    let text = lock_of(&site, "hello");
    let try_with = |text: &str| {
        site.write("profiles/hello/lock.toml", text);
        site.run(&["build", "hello"])
    };
    for (text, said) in [
        (text.replace("format = 1", "format = 7"), "it has format 7, and this program reads format 1"),
        (text.replace("name = \"openrc\"", "name = \"../openrc\""), "a name or version that no package has"),
        (text.replace("why =", "wy ="), "unknown field `wy`"),
        (text.replace("identity = \"Q1", "identity = \"Z1"), "no usable identity for package alpine-base-1.0-r0"),
        (text.replace("tarball = \"", "tarball = \"0"), "tarball"),
        ("what".to_owned(), "cannot use "),
    ] {
        let ran = try_with(&text);
        assert!(refusal(&ran).contains(said), "{said}: {}", ran.err);
    }
    // Another package under the name of a locked one.
    let lock: toml::Table = text.parse().unwrap();
    let identity = |place: usize| lock["package"][place]["identity"].as_str().unwrap();
    let ran = try_with(&text.replace(identity(1), identity(2)));
    assert!(refusal(&ran).contains("busybox-1.0-r0"), "{}", ran.err);
}
