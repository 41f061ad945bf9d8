//! `fetch --list`: what a mirror offers, read from the folder pages of different web servers.

use serde_json::{Value, json};

use super::{done, refusal};
use crate::support::alpine::list;
use crate::support::server::{Pages, Reply, Server};
use crate::support::site::{Mirror, Site};

/// A mirror with two branches of releases, a third that is being prepared, edge, and two architectures.
fn site(pages: Option<Pages>) -> Site {
    let site = Site::new();
    let server = &site.mirror.server;
    release(server, "v3.24", "3.24.1", "x86_64", &["lts", "virt"]);
    release(server, "v3.24", "3.24.0", "x86_64", &["lts"]);
    release(server, "v3.24", "3.24.1", "aarch64", &["rpi"]);
    release(server, "v3.23", "3.23.4", "x86_64", &["lts"]);
    release(server, "edge", "20260805", "x86_64", &["virt"]);
    server.put("/v3.25/main/x86_64/APKINDEX.tar.gz", Reply::File(b"index".to_vec()));
    // From before there was netboot.
    server.put("/v2.7/releases/x86_64/alpine-2.7.0-x86_64.iso", Reply::File(b"iso".to_vec()));
    if let Some(pages) = pages {
        server.show_folders(pages);
    }
    site
}

/// A release of which only lengths matter: a tarball of 2000 bytes, and files of 1000, 100 and 10.
fn release(server: &Server, branch: &str, version: &str, arch: &str, flavors: &[&str]) {
    let folder = format!("/{branch}/releases/{arch}");
    let (name, tarball) = (format!("alpine-netboot-{version}-{arch}.tar.gz"), vec![7; 2000]);
    for flavor in flavors {
        for (kind, size) in [("vmlinuz", 1000), ("initramfs", 100), ("modloop", 10)] {
            server.put(format!("{folder}/netboot-{version}/{kind}-{flavor}"), Reply::File(vec![7; size]));
        }
    }
    let text = list(&tarball).replace("v3.24", branch).replace("3.24.1", version).replace("x86_64", arch);
    if !version.ends_with("3.24.0") {
        server.put(format!("{folder}/latest-releases.yaml"), Reply::File(text.into()));
    }
    server.put(format!("{folder}/{name}"), Reply::File(tarball));
    server.put(format!("{folder}/{name}.sha256"), Reply::File(b"digest".to_vec()));
}

/// The releases of the mirror, newest branch first.
const TABLE: &str = "\
BRANCH                 VERSION   ARCH     DOWNLOAD  FLAVORS
v3.24 (latest-stable)  3.24.1    aarch64  1.95 KiB  rpi 1.08 KiB
v3.24 (latest-stable)  3.24.1    x86_64   1.95 KiB  lts 1.08 KiB, virt 1.08 KiB
v3.23                  3.23.4    x86_64   1.95 KiB  lts 1.08 KiB
edge                   20260805  x86_64   1.95 KiB  virt 1.08 KiB
v3.25 is there, but has no netboot release yet.
Keys trusted besides Alpine's: SITE/release.asc.
";

#[test]
fn a_table_shows_the_newest_release_of_each_branch_and_architecture() {
    for pages in [Pages::Nginx, Pages::Python] {
        let site = site(Some(pages));
        let ran = site.run(&["fetch", "--list"]);
        assert_eq!(ran.err, "Looking at what the mirror has …\n");
        assert_eq!(done(ran), TABLE);
        assert_eq!(site.cached(), Vec::<String>::new());
    }
}

#[test]
fn filters_narrow_it_to_a_branch_a_version_or_an_architecture() {
    let rpi = "v3.24 (latest-stable) 3.24.1 aarch64 1.95 KiB rpi 1.08 KiB";
    let newest = "v3.24 (latest-stable) 3.24.1 x86_64 1.95 KiB lts 1.08 KiB, virt 1.08 KiB";
    let older = "v3.24 (latest-stable) 3.24.0 x86_64 1.95 KiB lts 1.08 KiB";
    let nothing = |what: &str| format!("The mirror has no netboot release{what}.");
    let prepared = "v3.25 is there, but has no netboot release yet.";
    for pages in [Pages::Nginx, Pages::Python] {
        let site = site(Some(pages));
        let rows = |filters: &[&str]| {
            let out = done(site.run(&[&["fetch", "--list"], filters].concat()));
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            out.lines()
                .filter(|line| !line.starts_with("BRANCH") && !line.starts_with("Keys"))
                .map(words)
                .collect::<Vec<_>>()
        };
        assert_eq!(rows(&["--release", "3.24"]), [rpi, newest, older]);
        assert_eq!(rows(&["--release", "3.24", "--arch", "x86_64"]), [newest, older]);
        assert_eq!(rows(&["--release", "3.24.0"]), [older]);
        assert_eq!(rows(&["--release", "3.24.7"]), [&nothing(" of Alpine 3.24.7"), "It has 3.24.1, 3.24.0."]);
        assert_eq!(rows(&["--release", "latest-stable"]), [rpi, newest]);
        assert_eq!(rows(&["--release", "edge"]), ["edge 20260805 x86_64 1.95 KiB virt 1.08 KiB"]);
        assert_eq!(rows(&["--release", "3.25"]), [&nothing(" of Alpine 3.25"), prepared]);
        assert_eq!(rows(&["--release", "3.9"]), [&nothing(" of Alpine 3.9"), "Note: the mirror has no branch v3.9."]);
        assert_eq!(rows(&["--release", "2.7"]), [nothing(" of Alpine 2.7")]);
        assert_eq!(rows(&["--release", "3.24", "--arch", "aarch64"]), [rpi.replace(" (latest-stable)", "")]);
        assert_eq!(rows(&["--arch", "s390x"])[0], nothing(" for s390x"));
    }
}

#[test]
fn json_has_all_of_it() {
    let offer = |branch: &str, version: &str, flavors: &[&str]| {
        let flavors: Vec<_> = flavors.iter().map(|flavor| json!({"flavor": flavor, "size": 1110})).collect();
        let is_newest = version != "3.24.0";
        json!({
            "branch": branch, "version": version, "arch": "x86_64", "tarball": 2000, "is_newest": is_newest,
            "flavors": flavors,
        })
    };
    let newest = offer("v3.24", "3.24.1", &["lts", "virt"]);
    for pages in [Pages::Nginx, Pages::Python] {
        let site = site(Some(pages));
        let value = |filters: &[&str]| -> Value {
            let arguments = ["fetch", "--list", "--json", "--arch", "x86_64"];
            serde_json::from_str(&done(site.run(&[&arguments, filters].concat()))).unwrap()
        };
        let all = json!({
            "latest_stable": "v3.24",
            "offers": [newest, offer("v3.23", "3.23.4", &["lts"]), offer("edge", "20260805", &["virt"])],
            "empty": ["v3.25", "v2.7"],
            "notes": [],
            "off": [],
            "release_keys": ["SITE/release.asc"],
            "package_keys": [],
        });
        assert_eq!(value(&[]), all);
        let of_branch = value(&["--release", "3.24"]);
        assert_eq!(of_branch["offers"], json!([newest, offer("v3.24", "3.24.0", &["lts"])]));
        assert_eq!(value(&["--release", "3.25"])["empty"], json!(["v3.25"]));
    }
}

#[test]
fn a_mirror_that_shows_no_folders_is_asked_for_its_lists() {
    let site = site(None);
    let expected = "\
BRANCH                 VERSION   ARCH    DOWNLOAD  FLAVORS
v3.24 (latest-stable)  3.24.1    x86_64  1.95 KiB  ?
v3.23                  3.23.4    x86_64  1.95 KiB  ?
edge                   20260805  x86_64  1.95 KiB  ?
Note: the mirror shows no folders: only the newest release of each branch for x86_64 was looked for.
Note: the mirror does not show which flavors 3 of 3 releases have.
Keys trusted besides Alpine's: SITE/release.asc.
";
    assert_eq!(done(site.run(&["fetch", "--list", "--arch", "x86_64"])), expected);
}

#[test]
fn the_list_of_a_mirror_that_is_down_comes_from_the_next_one() {
    let site = site(Some(Pages::Nginx));
    let down = Mirror::start();
    for path in ["/", "/latest-stable/releases/x86_64/latest-releases.yaml"] {
        down.server.put(path, Reply::Status { status: 503, times: usize::MAX, bytes: vec![] });
    }
    let ran = site.run(&["fetch", "--list", "--mirror", &down.server.base]);
    assert!(ran.err.contains("is of no use for this"), "{}", ran.err);
    assert_eq!(done(ran), TABLE);
}

#[test]
fn what_belongs_to_the_list_is_not_taken_for_something_else() {
    let site = site(None);
    for flag in [&["--release", "3.24"][..], &["--arch", "x86_64"], &["--json"]] {
        for fetch in [&["fetch", "hello"][..], &["fetch", "--packages"], &["fetch"]] {
            let ran = site.run(&[fetch, flag].concat());
            assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{fetch:?} {flag:?}");
            assert!(ran.err.contains("cannot be used with") || ran.err.contains("--list"), "{}", ran.err);
        }
    }
    for arguments in [&["fetch", "--list", "hello"][..], &["fetch", "--list", "--packages"]] {
        let ran = site.run(arguments);
        assert_eq!(ran.code, Some(2));
        assert!(ran.err.contains("cannot be used with"), "{}", ran.err);
    }
    let ran = site.run(&["fetch", "--list", "--release", "three"]);
    assert!(refusal(&ran).contains("`three` is not an Alpine release"), "{}", ran.err);
    assert_eq!(site.mirror.server.requests(), Vec::<String>::new());
}
