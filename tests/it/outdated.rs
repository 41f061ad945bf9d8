//! `bivouac outdated`: what the mirror has that is newer than a lock, and what of it is about security.

use std::fs;

use serde_json::{Value, json};

use crate::support::alpine::{LIST, list};
use crate::support::server::Reply;
use crate::support::site::{MAIN, Ran, Site};

/// The packages of `hello` in this version, and others.
fn offer(site: &Site, version: &str, more: &[(&str, &str, &[&str])]) {
    let own: [(&str, &str, &[&str]); 3] = [
        ("alpine-base", version, &["busybox", "openrc"]),
        ("busybox", version, &[]),
        ("openrc", version, &["busybox"]),
    ];
    site.mirror.offer_versions(&[&own, more].concat());
}

/// A site with a lock of `hello`.
fn locked() -> Site {
    let site = Site::new();
    let ran = site.run(&["lock", "hello"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    site.mirror.server.requests();
    site
}

/// Puts the security database of `main` onto the mirror.
fn advise(site: &Site, packages: &Value) {
    let text = json!({ "distroversion": "v3.24", "reponame": "main", "packages": packages }).to_string();
    site.mirror.server.put("/secdb/v3.24/main.json", Reply::File(text.into_bytes()));
}

/// Runs `outdated` with the security database of the mirror.
fn outdated(site: &Site, arguments: &[&str]) -> Ran {
    let secdb = site.mirror.server.url("/secdb/");
    site.run(&[&["outdated", "--secdb", &secdb], arguments].concat())
}

/// Adds packages to the profile `hello`.
fn want(site: &Site, packages: &str) {
    let path = "profiles/hello/profile.toml";
    let text = fs::read_to_string(site.path(path)).unwrap();
    site.write(path, &format!("packages = [{packages}]\n{text}"));
}

#[test]
fn what_is_current_ends_with_0_and_asks_for_lists_only() {
    let site = locked();
    let ran = outdated(&site, &["hello"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert_eq!(ran.out, "hello is up to date: Alpine 3.24.1, 3 packages\n");
    let list = LIST.replace("v3.24", "latest-stable");
    assert_eq!(site.mirror.server.requests(), [list, format!("{MAIN}/APKINDEX.tar.gz")]);
}

#[test]
fn newer_packages_are_listed_with_the_advisories_they_fix() {
    let site = locked();
    offer(&site, "1.1-r0", &[]);
    advise(
        &site,
        &json!([
            { "pkg": { "name": "busybox", "secfixes": {
                "0": ["CVE-2020-1"], "1.0-r0": ["CVE-2020-2"], "1.0-r3": ["CVE-2026-4", "CVE-2026-2 XSA-1"],
                "1.1-r0": ["CVE-2026-3 (again)", "CVE-2026-1"], "1.1-r1": ["CVE-2026-9"],
            } } },
            { "pkg": { "name": "alpine", "secfixes": { "1.0.5-r0": ["GHSA-1"] } } },
            { "pkg": { "name": "nano", "secfixes": { "1.1-r0": ["CVE-2026-8"] } } },
        ]),
    );
    let lock = fs::read(site.path("profiles/hello/lock.toml")).unwrap();
    let ran = outdated(&site, &["hello"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""));
    assert_eq!(
        ran.out,
        "PROFILE  PACKAGE      LOCKED  AVAILABLE  REPOSITORY  NOTE\n\
         hello    alpine-base  1.0-r0  1.1-r0     main        security: GHSA-1\n\
         hello    busybox      1.0-r0  1.1-r0     main        security: CVE-2026-1, CVE-2026-2, CVE-2026-3 and 1 more\n\
         hello    openrc       1.0-r0  1.1-r0     main\n\
         \n\
         hello: 3 differences, 5 advisories fixed; `bivouac lock hello --update` refreshes the lock\n"
    );
    assert_eq!(fs::read(site.path("profiles/hello/lock.toml")).unwrap(), lock);

    let ran = outdated(&site, &["hello", "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""));
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    let one = &value[0];
    assert_eq!((&one["profile"], &one["alpine"], &one["packages"]), (&json!("hello"), &json!("3.24.1"), &json!(3)));
    assert_eq!((&one["is_current"], &one["unsolvable"], &one["notes"]), (&json!(false), &Value::Null, &json!([])));
    let busybox = json!({
        "change": "moved", "name": "busybox", "from": "1.0-r0", "to": "1.1-r0", "repository": "main",
        "origin": "busybox", "fixes": ["CVE-2026-1", "CVE-2026-2", "CVE-2026-3", "CVE-2026-4"], "is_gone": false,
        "is_older": false,
    });
    assert_eq!(one["newer"][1], busybox);

    assert_eq!(site.run(&["lock", "hello", "--update"]).code, Some(0));
    let ran = outdated(&site, &["hello"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "hello is up to date: Alpine 3.24.1, 3 packages\n"));
}

#[test]
fn what_an_update_would_bring_or_drop_is_listed_too() {
    let site = Site::new();
    want(&site, "\"tool\"");
    offer(&site, "1.0-r0", &[("tool", "1.0-r0", &["old", "part"]), ("old", "1.0-r0", &[]), ("part", "1.0-r0", &[])]);
    assert_eq!(site.run(&["lock", "hello"]).code, Some(0));
    offer(&site, "1.0-r0", &[("tool", "2.0-r0", &["new"]), ("new", "1.0-r0", &[]), ("part", "1.0-r0", &[])]);
    advise(&site, &json!([]));
    let ran = outdated(&site, &["hello"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""));
    assert_eq!(
        ran.out,
        "PROFILE  PACKAGE  LOCKED  AVAILABLE  REPOSITORY  NOTE\n\
         hello    new      -       1.0-r0     main        would come in\n\
         hello    old      1.0-r0  -          -           not in the repositories any more\n\
         hello    part     1.0-r0  -          -           would not be needed\n\
         hello    tool     1.0-r0  2.0-r0     main\n\
         \n\
         hello: 4 differences; `bivouac lock hello --update` refreshes the lock\n"
    );
}

#[test]
fn a_newer_release_is_known_from_the_list_and_not_fetched() {
    let site = locked();
    let text = list(b"another tarball").replace("3.24.1", "3.24.2");
    for place in [LIST.to_owned(), LIST.replace("v3.24", "latest-stable")] {
        site.mirror.server.put(place, Reply::File(text.clone().into_bytes()));
    }
    let ran = outdated(&site, &["hello"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""));
    assert_eq!(
        ran.out,
        "PROFILE  PACKAGE  LOCKED  AVAILABLE  REPOSITORY  NOTE\n\
         hello    Alpine   3.24.1  3.24.2     -\n\
         \n\
         hello: 1 difference; `bivouac lock hello --update` refreshes the lock\n"
    );
    assert!(!site.mirror.server.requests().iter().any(|it| it.ends_with(".tar.gz") && it.contains("netboot")));
    let value: Value = serde_json::from_str(&outdated(&site, &["hello", "--json"]).out).unwrap();
    assert_eq!(value[0]["newer"][0]["change"], "release");

    // A profile that names its version is not behind.
    let path = "profiles/hello/profile.toml";
    let text = fs::read_to_string(site.path(path)).unwrap();
    site.write(path, &text.replace("\"latest-stable\"", "\"3.24.1\""));
    assert_eq!(site.run(&["lock", "hello"]).code, Some(0));
    assert_eq!(outdated(&site, &["hello"]).code, Some(0));
}

#[test]
fn a_world_that_the_mirror_does_not_have_any_more_is_shown_with_what_is_left() {
    let site = Site::new();
    want(&site, "\"tool\", \"part\"");
    offer(&site, "1.0-r0", &[("tool", "1.0-r0", &[]), ("part", "1.0-r0", &[])]);
    assert_eq!(site.run(&["lock", "hello"]).code, Some(0));
    offer(&site, "1.0-r0", &[("part", "1.0-r1", &[])]);
    let ran = outdated(&site, &["hello"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert_eq!(
        ran.out,
        "PROFILE  PACKAGE  LOCKED  AVAILABLE  REPOSITORY  NOTE\n\
         hello    part     1.0-r0  1.0-r1     main\n\
         hello    tool     1.0-r0  -          -           not in the repositories any more\n\
         \n\
         hello: 2 differences; an update would fail:\n\
         the packages cannot be installed together\n  the world needs `tool`, but no repository offers it\n"
    );
    let value: Value = serde_json::from_str(&outdated(&site, &["hello", "--json"]).out).unwrap();
    assert!(value[0]["unsolvable"].as_str().unwrap().contains("needs `tool`"), "{value}");
}

#[test]
fn without_a_security_database_the_rest_is_still_told() {
    let site = locked();
    offer(&site, "1.1-r0", &[]);
    let server = &site.mirror.server;
    let place = "/secdb/v3.24/main.json";
    for (reply, said) in [
        (None, "MIRROR/secdb/v3.24/main.json does not exist"),
        (
            Some(Reply::File(b"{".to_vec())),
            "MIRROR/secdb/v3.24/main.json is refused: the security database cannot be read",
        ),
        (
            Some(Reply::File(br#"{"distroversion":"v3.23","reponame":"main","packages":[]}"#.to_vec())),
            "the security database is not that of main in v3.24",
        ),
        (Some(Reply::Status { status: 503, times: 9, bytes: Vec::new() }), "503"),
    ] {
        if let Some(reply) = reply {
            server.put(place, reply);
        }
        let ran = outdated(&site, &["hello"]);
        assert_eq!(ran.code, Some(1), "{}", ran.err);
        assert!(
            ran.out.ends_with("hello: 3 differences; `bivouac lock hello --update` refreshes the lock\n"),
            "{}",
            ran.out
        );
        let note = "hello: note: which updates of main are about security is not known: ";
        assert!(ran.err.contains(note) && ran.err.contains(said), "{said}: {}", ran.err);
        let json: Value = serde_json::from_str(&outdated(&site, &["hello", "--json"]).out).unwrap();
        assert!(json[0]["notes"][0].as_str().unwrap().starts_with("which updates of main"), "{json}");
    }
    let ran = site.run(&["outdated", "--secdb", "http://127.0.0.1:1", "hello"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("hello: note: which updates of main are about security is not known: "), "{}", ran.err);
    server.requests();
    let ran = site.run(&["outdated", "--secdb", "off", "hello"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""));
    assert!(!server.was_asked(place));
    site.write("off.toml", "secdb = \"off\"\n");
    let ran = site.run(&["outdated", "--site", "off.toml", "hello"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""));
}

#[test]
fn where_nothing_can_be_told_the_reason_is() {
    let site = Site::new();
    let fails = |arguments: &[&str], said: &str| {
        let ran = outdated(&site, arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
    };
    fails(&["hello"], "profile `hello` has no lock that something could be newer than; run `bivouac lock hello`");
    assert_eq!(site.run(&["new", "other", "--from", "hello"]).code, Some(0));
    fails(&[], "2 profiles have no lock that something could be newer than; run `bivouac lock hello other`");
    fails(&["helo"], "there is no profile `helo`");
    fails(&["hello", "--offline"], "unexpected argument '--offline'");
    let ran = site.run(&["outdated", "--secdb", "secdb"]);
    let said =
        "`secdb` cannot be `secdb`: write a URL such as \"https://secdb.alpinelinux.org\", or \"off\" to ask nobody";
    assert!(ran.err.contains(said), "{}", ran.err);

    assert_eq!(site.run(&["lock", "hello"]).code, Some(0));
    site.mirror.server.remove(&format!("{MAIN}/APKINDEX.tar.gz"));
    fails(&["hello"], "error: cannot tell what is newer for profile `hello`");
    fails(&["hello"], "APKINDEX.tar.gz does not exist");
}

#[test]
fn profiles_share_what_was_looked_up_and_a_version_that_was_taken_back_is_called_older() {
    let site = locked();
    assert_eq!(site.run(&["new", "other", "--from", "hello"]).code, Some(0));
    want(&site, "\"nano\"");
    assert_eq!(site.run(&["lock"]).code, Some(0));
    offer(&site, "1.0-r0", &[("nano", "0.9-r1", &[])]);
    advise(&site, &json!([{ "pkg": { "name": "nano", "secfixes": { "0.9-r1": ["CVE-2026-1"] } } }]));
    site.mirror.server.requests();
    let ran = outdated(&site, &[]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""));
    assert_eq!(
        ran.out,
        "PROFILE  PACKAGE  LOCKED  AVAILABLE  REPOSITORY  NOTE\n\
         hello    nano     1.0-r0  0.9-r1     main        older\n\
         other    nano     1.0-r0  0.9-r1     main        older\n\
         \n\
         hello: 1 difference; `bivouac lock hello --update` refreshes the lock\n\
         other: 1 difference; `bivouac lock other --update` refreshes the lock\n"
    );
    let asked = site.mirror.server.requests();
    assert_eq!(asked.iter().filter(|path| path.starts_with("/secdb/")).count(), 1, "{asked:?}");
    assert_eq!(asked.iter().filter(|path| path.contains("APKINDEX")).count(), 1, "{asked:?}");
}

#[test]
fn a_lock_that_is_not_the_profiles_any_more_is_said_to_be_so() {
    let site = locked();
    want(&site, "\"nano\"");
    let ran = outdated(&site, &["hello"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.err, "hello: note: the lock was made without `nano`; the next build changes it\n");
    assert!(ran.out.contains("hello    nano     -       1.0-r0     main        would come in\n"), "{}", ran.out);
}
