//! A build of a profile that nobody changed: nothing is read or made again, and any change is noticed.

use std::fs;

use crate::support::site::{Ran, Site};

fn built(ran: Ran) -> String {
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran.out
}

/// A site whose last build of `hello` is remembered, and what it came to.
fn remembered() -> (Site, String) {
    let site = Site::new();
    let out = built(site.run(&["build", "hello"]));
    assert!(site.path("state/built/hello.json").exists());
    (site, out.replace("hello built: ", "hello is unchanged: "))
}

/// Whether a build of `hello` reads anything: with these files out of the way it fails if it does.
fn is_read(site: &Site) -> bool {
    let (cache, away) = (site.path("state/cache"), site.path("away"));
    fs::rename(&cache, &away).unwrap();
    site.mirror.server.requests();
    let ran = site.run(&["build", "hello", "--offline"]);
    let _ = fs::remove_dir_all(&cache);
    fs::rename(&away, &cache).unwrap();
    ran.code != Some(0)
}

#[test]
fn what_nobody_changed_is_not_built_again_and_says_the_same() {
    let (site, expected) = remembered();
    assert!(!is_read(&site));
    let ran = site.run(&["build", "hello"]);
    assert_eq!(ran.err, "");
    assert_eq!(built(ran), expected);
    assert_eq!(built(site.run(&["build"])), expected);
    assert_eq!(built(site.run(&["build", "hello", "--locked"])), expected);
}

#[test]
fn what_was_said_about_the_profile_is_said_each_time() {
    let (site, _) = remembered();
    let path = "profiles/hello/profile.toml";
    let text = fs::read_to_string(site.path(path)).unwrap();
    site.write(path, &text.replace("args = [", "args = [\"alpine_dev=nfs\", "));
    let first = site.run(&["build", "hello"]);
    assert!(first.err.contains("hello: warning: "), "{}", first.err);
    let second = site.run(&["build", "hello"]);
    assert!(!is_read(&site));
    assert_eq!(second.err, first.err);
    assert_eq!(built(second), built(first).replace("hello built: ", "hello is unchanged: "));
}

#[test]
fn every_kind_of_change_is_noticed() {
    type Change = fn(&Site);
    let changes: [(&str, Change); 8] = [
        ("a file of the profile", |site| site.write("profiles/hello/root/etc/issue", "changed\n")),
        ("a new file of an overlay", |site| site.write("overlays/base/root/etc/new", "new\n")),
        ("a file that is gone", |site| fs::remove_file(site.path("profiles/hello/root/etc/issue")).unwrap()),
        ("a setting of an overlay", |site| {
            let text = fs::read_to_string(site.path("overlays/base/overlay.toml")).unwrap();
            site.write("overlays/base/overlay.toml", &format!("timezone = \"UTC\"\n{text}"));
        }),
        ("the lock", |site| site.unlock("hello")),
        ("what is checked", |site| site.write("bivouac.toml", "[verify]\noff = [\"replay\"]\n")),
        ("the bundle", |site| fs::remove_file(site.path("state/store/staged/hello.json")).unwrap()),
        ("a blob of the bundle", |site| {
            let shown = site.run(&["show", "hello", "--json"]).out;
            let manifest: serde_json::Value = serde_json::from_str(&shown).unwrap();
            let digest = manifest["kernel"]["sha256"].as_str().unwrap();
            fs::remove_file(site.path("state/store/blobs").join(&digest[..2]).join(digest)).unwrap();
        }),
    ];
    for (what, change) in changes {
        let (site, _) = remembered();
        built(site.run(&["publish", "hello"]));
        change(&site);
        assert!(is_read(&site), "{what}");
        let ran = site.run(&["build", "hello"]);
        assert_eq!(ran.code, Some(0), "{what}: {}", ran.err);
        assert!(!is_read(&site), "{what}");
    }
}

#[test]
fn another_time_for_the_files_is_another_build() {
    let (site, expected) = remembered();
    let mut command = site.command(&["build", "hello"]);
    let ran = Ran::of(command.env("SOURCE_DATE_EPOCH", "1700000000").output().unwrap(), &site);
    assert_ne!(built(ran).split_once("bundle "), expected.split_once("bundle "));
}

#[test]
fn a_profile_with_a_mistake_is_refused_each_time() {
    let (site, _) = remembered();
    site.write("profiles/hello/root/etc/init.d/broken", "#!/sbin/openrc-run\n");
    for _ in 0..2 {
        let ran = site.run(&["build", "hello"]);
        assert_eq!(ran.code, Some(2), "{}", ran.out);
        assert!(ran.err.contains("OVL-46"), "{}", ran.err);
    }
}

#[test]
fn a_damaged_record_is_no_record() {
    let (site, expected) = remembered();
    for text in ["", "{}", "[1]", "\u{0}"] {
        site.write("state/built/hello.json", text);
        assert_eq!(built(site.run(&["build", "hello"])), expected);
    }
}
