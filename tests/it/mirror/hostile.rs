//! Lies: clients' paths that mean nothing, and upstream's bytes that are not what was signed.

use bivouac::apk::{KeyLength, SigningKey};

use super::{INDEX, LAZY, get, held, nothing_is_left, offer, path, small, upstream};
use crate::support::server::Reply;
use crate::support::site::{KEY, MAIN, Site, index, index_by, signing_key};

#[test]
fn paths_that_mean_nothing_are_not_found_and_reach_nobody() {
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    site.mirror.server.requests();
    for path in [
        "/",
        "v3.24",
        "v3.24//",
        "v3.24/main/x86_64/",
        "v3.24/main/x86_64/../../../etc/passwd",
        "v3.24/main/x86_64/%2e%2e%2f%2e%2e%2fstate",
        "%2e%2e/main/x86_64/APKINDEX.tar.gz",
        "v3.24/main/x86_64/APKINDEX.tar.gz/",
        "v3.24/main/x86_64//APKINDEX.tar.gz",
        "v3.24/main/x86_64/APKINDEX.tar.gz%00",
        "v3.24/main/x86_64/installed",
        "v3.24/other/x86_64/APKINDEX.tar.gz",
        "v3.24/main/sparc/APKINDEX.tar.gz",
        "v3.24/releases/x86_64/netboot/vmlinuz-lts",
        "v3.24/releases/x86_64/netboot-3.24.1/modloop-lts",
        "v3.24/main/x86_64/%ff-1.apk",
        "v3.24/main/x86_64/a\u{1b}-1.apk",
        "MIRRORS.txt",
    ] {
        let answer = get(&server, &format!("/alpine/{path}"));
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
    }
    let other = get(&server, "/alpine/v3.24/other/x86_64/APKINDEX.tar.gz").refusal();
    let said = "the site does not mirror `other`; add it to `caching-mirror.repositories`";
    assert_eq!(other, (404, said.to_owned()));
    let long = format!("/alpine/v3.24/main/x86_64/{}-1.apk", "a".repeat(10_000));
    assert_eq!(get(&server, &long).status, 404);
    assert_eq!(site.mirror.server.requests(), [] as [&str; 0]);
    let left: Vec<_> = bivouac::disk::walk(&site.path("state/mirror")).unwrap();
    let files = left.iter().filter(|found| found.kind == bivouac::disk::Kind::File);
    let names: Vec<_> = files.map(|found| found.relative.to_str().unwrap()).collect();
    assert!(names.iter().all(|name| matches!(*name, "lock" | "serving" | "totals.json")), "{names:?}");
}

#[test]
fn a_package_that_is_not_the_one_in_the_index_is_refused() {
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    let tree = small("tree");
    offer(&site, &[("tree", &tree)]);
    // Each byte of it counts but those of its signature, and it has none.
    for place in [0, tree.len() / 3, tree.len() / 2, tree.len() - 1] {
        let mut bytes = tree.clone();
        bytes[place] ^= 1;
        site.mirror.server.put(upstream("tree"), Reply::File(bytes));
        assert_eq!(get(&server, &path("tree")).status, 502, "byte {place}");
        assert_eq!(held(&site), [] as [&str; 0]);
    }
    nothing_is_left(&site);
    let log = server.stop();
    assert!(log.contains("is not the package in the index: its data hash is"), "{log}");
}

#[test]
fn an_index_that_nobody_trusted_has_signed_is_refused() {
    let site = Site::published();
    let packages = [small("tree")];
    let other = SigningKey::generate(KeyLength::Bits2048).unwrap();
    let good = index(&packages, signing_key());
    let mut changed = good.clone();
    let place = good.len() - 20;
    changed[place] ^= 1;
    let unsigned = bivouac::apk::write_index([], "test");
    for bytes in [
        changed,
        unsigned,
        good[..good.len() / 2].to_vec(),
        index_by(&packages, &other, KEY),
        index_by(&packages, &other, "other.rsa.pub"),
        b"ADB.".to_vec(),
        b"not gzip".to_vec(),
        Vec::new(),
    ] {
        site.mirror.server.put(format!("{MAIN}/APKINDEX.tar.gz"), Reply::File(bytes));
        let server = site.serve_with(LAZY, &[]);
        let why = "v3.24/main/x86_64/APKINDEX.tar.gz cannot be had from upstream".to_owned();
        assert_eq!(get(&server, INDEX).refusal(), (502, why));
        assert_eq!(get(&server, &path("tree")).status, 502);
        assert!(!site.path("state/mirror/indexes/v3.24").exists());
    }
    site.mirror.server.put(format!("{MAIN}/APKINDEX.tar.gz"), Reply::File(good.clone()));
    assert_eq!(get(&site.serve_with(LAZY, &[]), INDEX).body, good);
}
