//! Upstream that is down, hangs, breaks off or sends too much: what is held is served, and nothing else is kept.

use super::{EAGER, IMPATIENT, INDEX, LAZY, get, held, nothing_is_left, offer, offered_index, path, small, upstream};
use crate::support::server::Reply;
use crate::support::site::{MAIN, Site};

fn down() -> Reply {
    Reply::Status { status: 500, times: usize::MAX, bytes: Vec::new() }
}

#[test]
fn what_is_held_is_served_while_upstream_is_down() {
    let site = Site::published();
    let server = site.serve_with(EAGER, &[]);
    let (tree, nano) = (small("tree"), small("nano"));
    offer(&site, &[("tree", &tree), ("nano", &nano)]);
    let index = get(&server, INDEX).body;
    assert_eq!(get(&server, &path("tree")).status, 200);
    for place in [format!("{MAIN}/APKINDEX.tar.gz"), upstream("tree"), upstream("nano")] {
        site.mirror.server.put(place, down());
    }
    let stale = get(&server, INDEX);
    assert_eq!((stale.status, &stale.body), (200, &index));
    assert_eq!(stale.header("warning"), Some("110 - \"Response is Stale\""));
    assert!(stale.header("age").is_some());
    assert_eq!(get(&server, &path("tree")).body, tree);
    let why = "v3.24/main/x86_64/nano-1.0-r0.apk cannot be had from upstream".to_owned();
    assert_eq!(get(&server, &path("nano")).refusal(), (502, why));
    // A restart without upstream changes nothing.
    let log = server.stop();
    assert!(log.contains("the index cannot be renewed"), "{log}");
    let server = site.serve_with(EAGER, &[]);
    assert_eq!(get(&server, INDEX).body, index);
    assert_eq!(get(&server, &path("tree")).body, tree);
    nothing_is_left(&site);
}

#[test]
fn upstream_that_was_just_down_is_not_asked_by_every_client() {
    let site = Site::published();
    let server = site.serve_with(EAGER, &[]);
    site.mirror.server.put(format!("{MAIN}/APKINDEX.tar.gz"), down());
    site.mirror.server.requests();
    for _ in 0..20 {
        assert_eq!(get(&server, INDEX).status, 502);
    }
    // On a machine that stands still for a while, a second one is in order.
    assert!(site.mirror.server.requests().len() < 10);
}

#[test]
fn an_upstream_that_hangs_delays_an_index_by_little_and_is_not_waited_for_by_the_next() {
    let site = Site::published();
    let server = site.serve_with(EAGER, &[]);
    offer(&site, &[("tree", &small("tree"))]);
    let index = get(&server, INDEX).body;
    site.mirror.server.put(format!("{MAIN}/APKINDEX.tar.gz"), Reply::Silence(b"abc".to_vec()));
    for _ in 0..3 {
        let answer = get(&server, INDEX);
        assert_eq!((answer.status, &answer.body), (200, &index));
    }
    assert_eq!(site.mirror.server.requests().len(), 2);
}

#[test]
fn a_package_that_is_cut_off_or_too_long_or_silent_is_not_kept() {
    let site = Site::published();
    let server = site.serve_with(IMPATIENT, &[]);
    let tree = small("tree");
    offer(&site, &[("tree", &tree)]);
    let long = [&tree[..], b"more"].concat();
    for reply in [
        Reply::Cut { bytes: tree.clone(), after: 100, times: usize::MAX },
        Reply::Chunked(long.clone()),
        Reply::File(long),
        Reply::Chunked(tree[..tree.len() - 1].to_vec()),
        Reply::Silence(tree[..50].to_vec()),
        Reply::Page("<html>log in</html>"),
    ] {
        site.mirror.server.put(upstream("tree"), reply);
        let why = "v3.24/main/x86_64/tree-1.0-r0.apk cannot be had from upstream".to_owned();
        assert_eq!(get(&server, &path("tree")).refusal(), (502, why));
        assert_eq!(held(&site), [] as [&str; 0]);
        nothing_is_left(&site);
    }
    // A break is gone on from, and in the end it is there.
    site.mirror.server.put(upstream("tree"), Reply::File(tree.clone()));
    assert_eq!(get(&server, &path("tree")).body, tree);
}

#[test]
fn an_index_that_is_endless_is_given_up() {
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    site.mirror.server.put(format!("{MAIN}/APKINDEX.tar.gz"), Reply::Chunked(vec![7; (64 << 20) + 1]));
    assert_eq!(get(&server, INDEX).status, 502);
}

#[test]
fn a_file_that_was_damaged_on_the_disk_is_fetched_again() {
    let site = Site::published();
    let tree = small("tree");
    offer(&site, &[("tree", &tree)]);
    let server = site.serve_with(LAZY, &[]);
    assert_eq!(get(&server, &path("tree")).status, 200);
    server.kill();
    let file = site.path("state/mirror/packages").join(&held(&site)[0]);
    std::fs::write(&file, vec![0; tree.len()]).unwrap();
    let server = site.serve_with(LAZY, &[]);
    assert_eq!(get(&server, &path("tree")).body, tree);
    server.kill();
    // So is a damaged index.
    let index = site.path("state/mirror/indexes/v3.24/main/x86_64/APKINDEX.tar.gz");
    std::fs::write(&index, b"garbage").unwrap();
    let expected = offered_index(&site, &[tree]);
    let server = site.serve_with(LAZY, &[]);
    assert_eq!(get(&server, INDEX).body, expected);
}

#[test]
fn a_mirror_that_cannot_be_used_keeps_no_machine_from_booting() {
    let site = Site::published();
    site.write("state/mirror", "a file in its place");
    let server = site.serve_with(LAZY, &[]);
    assert_eq!(get(&server, INDEX).status, 404);
    assert_eq!(get(&server, "/boot.ipxe").status, 200);
    let log = server.stop();
    assert!(log.contains("the server is no mirror of Alpine: the caching mirror cannot be used: "), "{log}");
}
