//! Indexes: renewed, never older than before, and what becomes of packages that they name no more.

use bivouac::apk::SigningKey;

use super::{EAGER, INDEX, LAZY, ask, built, get, offer, offered_index, path, small, upstream};
use crate::support::server::Reply;
use crate::support::site::{MAIN, Site, index_by, signing_key};

#[test]
fn an_index_is_renewed_by_its_tag_and_a_new_one_is_served() {
    let site = Site::published();
    let server = site.serve_with(EAGER, &[]);
    let (tree, nano) = (small("tree"), small("nano"));
    offer(&site, &[("tree", &tree)]);
    let first = get(&server, INDEX);
    let again = get(&server, INDEX);
    assert_eq!((again.status, &again.body, again.header("etag")), (200, &first.body, first.header("etag")));
    let requests = site.mirror.server.requests();
    let path = format!("{MAIN}/APKINDEX.tar.gz");
    assert_eq!(requests[0], path);
    assert!(requests[1].starts_with(&format!("{path} \"")) && requests.len() == 2, "{requests:?}");
    let newer = offered_index(&site, &[tree, nano]);
    assert_eq!(get(&server, INDEX).body, newer);
    let known = ask(&server, "GET", INDEX, &[&format!("If-None-Match: {}", first.header("etag").unwrap())]);
    assert_eq!((known.status, &known.body), (200, &newer));
    // apk asks by date. Of two indexes within a second, the second is not taken for the first.
    let since = |date: &str| ask(&server, "GET", INDEX, &[&format!("If-Modified-Since: {date}")]);
    assert_eq!(since(first.header("last-modified").unwrap()).body, newer);
    let now = since(known.header("last-modified").unwrap());
    assert_eq!((now.status, now.body.len()), (304, 0));
}

#[test]
fn a_package_that_is_new_upstream_is_found_though_the_index_is_young() {
    let site = Site::published();
    // An index that is held is asked for again when it lacks something, but not each time.
    let server = site.serve_with(EAGER, &[]);
    let (tree, nano) = (small("tree"), small("nano"));
    offer(&site, &[("tree", &tree)]);
    assert_eq!(get(&server, &path("tree")).status, 200);
    assert_eq!(
        get(&server, &path("nano")).refusal(),
        (404, "there is no v3.24/main/x86_64/nano-1.0-r0.apk".to_owned())
    );
    offer(&site, &[("tree", &tree), ("nano", &nano)]);
    assert_eq!(get(&server, &path("nano")).body, nano);
}

#[test]
fn names_that_are_in_no_index_do_not_reach_upstream() {
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    offer(&site, &[("tree", &small("tree"))]);
    for number in 0..20 {
        assert_eq!(get(&server, &path(&format!("no{number}"))).status, 404);
    }
    // On a machine that stands still for a while, it is asked for the index again, and for nothing else.
    let requests = site.mirror.server.requests();
    assert!(requests.len() < 10 && requests.iter().all(|it| it.contains("APKINDEX.tar.gz")), "{requests:?}");
}

#[test]
fn an_older_index_is_refused_and_the_newer_one_stays() {
    let site = Site::published();
    let server = site.serve_with(EAGER, &[]);
    let (old, new) = (built("tree", "1.0-r0", 10, "1700000000"), built("tree", "1.0-r1", 10, "1700000001"));
    let newer = offered_index(&site, std::slice::from_ref(&new));
    assert_eq!(get(&server, INDEX).body, newer);
    offered_index(&site, &[old]);
    let answer = get(&server, INDEX);
    assert_eq!((answer.status, &answer.body), (200, &newer));
    assert_eq!(answer.header("warning"), Some("110 - \"Response is Stale\""));
    let log = server.stop();
    assert!(log.contains("somebody replays an old index"), "{log}");
    // Nor after a restart.
    let server = site.serve_with(EAGER, &[]);
    assert_eq!(get(&server, INDEX).body, newer);
}

#[test]
fn a_package_that_was_superseded_is_served_while_it_is_held() {
    let site = Site::published();
    let (tree, nano) = (small("tree"), small("nano"));
    offer(&site, &[("tree", &tree), ("nano", &nano)]);
    let server = site.serve_with(EAGER, &[]);
    assert_eq!(get(&server, &path("tree")).body, tree);
    let new = built("tree", "1.1-r0", 10, "");
    let newer = offered_index(&site, &[new]);
    for name in ["tree", "nano"] {
        site.mirror.server.remove(&upstream(name));
    }
    assert_eq!(get(&server, INDEX).body, newer);
    assert_eq!(get(&server, &path("tree")).body, tree);
    assert_eq!(get(&server, &path("nano")).status, 404);
    server.kill();
    let server = site.serve_with(EAGER, &[]);
    assert_eq!(get(&server, &path("tree")).body, tree);
    assert_eq!(get(&server, &path("nano")).status, 404);
}

#[test]
fn a_package_that_upstream_replaced_leads_to_the_next_index() {
    let site = Site::published();
    let server = site.serve_with(EAGER, &[]);
    let (tree, other) = (small("tree"), built("tree", "1.0-r0", 20, ""));
    offer(&site, &[("tree", &tree)]);
    assert_eq!(get(&server, INDEX).status, 200);
    // Built again under the same name, between a client's index and its package.
    offer(&site, &[("tree", &other)]);
    assert_eq!(get(&server, &path("tree")).body, other);
}

#[test]
fn keys_that_the_site_adds_count_and_alpines_own_keys_are_known() {
    let site = Site::published();
    let key = SigningKey::generate(bivouac::apk::KeyLength::Bits2048).unwrap();
    site.write("own.rsa.pub", &key.public_pem().unwrap());
    let signed = index_by(&[small("tree")], &key, "own.rsa.pub");
    for arch in ["x86_64", "armv7"] {
        site.mirror.server.put(format!("/edge/main/{arch}/APKINDEX.tar.gz"), Reply::File(signed.clone()));
    }
    let path = |arch: &str| format!("/alpine/edge/main/{arch}/APKINDEX.tar.gz");
    let server = site.serve_with(LAZY, &[]);
    // The mirror's key came with a netboot set of another architecture.
    let by_mirror = index_by(&[small("tree")], signing_key(), crate::support::site::KEY);
    site.mirror.server.put("/v3.24/main/armv7/APKINDEX.tar.gz", Reply::File(by_mirror));
    for path in [path("x86_64"), path("armv7"), "/alpine/v3.24/main/armv7/APKINDEX.tar.gz".to_owned()] {
        assert_eq!(get(&server, &path).status, 502);
    }
    let log = server.stop();
    assert!(log.contains("616adfeb"), "{log}");
    let server = site.serve_with(&format!("{LAZY}[verify]\npackage-keys = [\"own.rsa.pub\"]\n"), &[]);
    assert_eq!(get(&server, &path("armv7")).body, signed);
}
