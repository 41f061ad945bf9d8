//! What a client gets, and how often upstream is asked for it.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Barrier};

use super::{INDEX, LAZY, ask, ask_at, get, held, nothing_is_left, offer, path, read, small, upstream};
use crate::support::server::{Gate, Reply};
use crate::support::site::{MAIN, Site, index, signing_key};

#[test]
fn an_index_and_a_package_come_from_upstream_once_to_the_byte() {
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    let tree = small("tree");
    offer(&site, &[("tree", &tree)]);
    let signed = index(std::slice::from_ref(&tree), signing_key());
    for _ in 0..3 {
        let answer = get(&server, INDEX);
        assert_eq!((answer.status, &answer.body), (200, &signed));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=600"));
        assert_eq!((answer.header("age"), answer.header("warning")), (Some("0"), None));
        let answer = get(&server, &path("tree"));
        assert_eq!((answer.status, &answer.body), (200, &tree));
        assert_eq!(answer.header("content-length"), Some(tree.len().to_string().as_str()));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
    }
    assert_eq!(site.mirror.server.requests(), [format!("{MAIN}/APKINDEX.tar.gz"), upstream("tree")]);
    assert_eq!(held(&site).len(), 1);
    nothing_is_left(&site);
}

#[test]
fn a_package_is_answered_in_parts_to_its_head_and_not_again() {
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    let tree = small("tree");
    offer(&site, &[("tree", &tree)]);
    let whole = get(&server, &path("tree"));
    let tag = whole.header("etag").unwrap();
    let head = ask(&server, "HEAD", &path("tree"), &["Range: bytes=1-2"]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(tree.len().to_string().as_str()));
    let part = ask(&server, "GET", &path("tree"), &["Range: bytes=5-9", &format!("If-Range: {tag}")]);
    assert_eq!((part.status, part.body.as_slice()), (206, &tree[5..10]));
    assert_eq!(part.header("content-range"), Some(format!("bytes 5-9/{}", tree.len()).as_str()));
    let rest = ask(&server, "GET", &path("tree"), &["Range: bytes=-4"]);
    assert_eq!((rest.status, rest.body.as_slice()), (206, &tree[tree.len() - 4..]));
    let none = ask(&server, "GET", &path("tree"), &["Range: bytes=99999-"]);
    assert_eq!((none.status, none.header("content-range")), (416, Some(format!("bytes */{}", tree.len()).as_str())));
    let known = ask(&server, "GET", &path("tree"), &[&format!("If-None-Match: {tag}")]);
    assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, Some(tag)));
    assert_eq!(ask(&server, "POST", &path("tree"), &[]).status, 405);
}

#[test]
fn two_hundred_clients_make_one_request_upstream() {
    const CLIENTS: usize = 200;
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    let tree = small("tree");
    offer(&site, &[("tree", &tree)]);
    let gate = Gate::closed();
    site.mirror.server.put(upstream("tree"), Reply::Gated(tree.clone(), gate.clone()));
    let (address, asked) = (server.address("HTTP"), Arc::new(Barrier::new(CLIENTS + 1)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let asked = Arc::clone(&asked);
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let request = format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path("tree"));
                stream.write_all(request.as_bytes()).unwrap();
                asked.wait();
                read(stream)
            })
        })
        .collect();
    // Nothing is sent before all of them have asked.
    asked.wait();
    gate.open_to(tree.len());
    for client in clients {
        let answer = client.join().unwrap();
        assert_eq!((answer.status, &answer.body), (200, &tree));
    }
    assert_eq!(site.mirror.server.requests(), [format!("{MAIN}/APKINDEX.tar.gz"), upstream("tree")]);
}

#[test]
fn a_client_that_goes_away_takes_nothing_from_the_others() {
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    let tree = small("tree");
    offer(&site, &[("tree", &tree)]);
    let gate = Gate::closed();
    site.mirror.server.put(upstream("tree"), Reply::Gated(tree.clone(), gate.clone()));
    let mut first = TcpStream::connect(server.address("HTTP")).unwrap();
    write!(first, "GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path("tree")).unwrap();
    while !site.mirror.server.was_asked(&upstream("tree")) {
        std::thread::yield_now();
    }
    drop(first);
    let address = server.address("HTTP");
    let second = std::thread::spawn(move || ask_at(address, "GET", &path("tree"), &[]));
    gate.open_to(tree.len());
    assert_eq!(second.join().unwrap().body, tree);
    assert_eq!(site.mirror.server.requests(), [format!("{MAIN}/APKINDEX.tar.gz"), upstream("tree")]);
}

#[test]
fn a_restart_keeps_what_is_held_and_asks_for_none_of_it() {
    let site = Site::published();
    let tree = small("tree");
    offer(&site, &[("tree", &tree)]);
    let server = site.serve_with(LAZY, &[]);
    let index = get(&server, INDEX).body;
    assert_eq!(get(&server, &path("tree")).status, 200);
    server.kill();
    site.mirror.server.requests();
    let server = site.serve_with(LAZY, &[]);
    assert_eq!(get(&server, &path("tree")).body, tree);
    assert_eq!(get(&server, INDEX).body, index);
    assert_eq!(site.mirror.server.requests(), [] as [&str; 0]);
}

#[test]
fn a_package_is_stored_once_for_builds_and_clients() {
    // What a build brought is not asked for again.
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    site.mirror.server.remove(&upstream("busybox"));
    site.mirror.server.requests();
    assert_eq!(get(&server, &path("busybox")).status, 200);
    assert_eq!(site.mirror.server.requests(), [format!("{MAIN}/APKINDEX.tar.gz")]);
    let [name] = held(&site).try_into().unwrap();
    let number = |folder: &str| std::fs::metadata(site.path(folder).join(&name)).unwrap().ino();
    assert_eq!(number("state/mirror/packages"), number("state/cache/packages"));
    // And the other way round.
    std::fs::remove_file(site.path("state/cache/packages").join(&name)).unwrap();
    let ran = site.run(&["fetch", "hello", "--packages"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!site.mirror.server.was_asked(&upstream("busybox")));
    assert_eq!(number("state/mirror/packages"), number("state/cache/packages"));
}

#[test]
fn a_site_may_be_a_mirror_and_nothing_else() {
    let site = Site::new();
    // The keys of a release are those that sign its packages.
    assert_eq!(site.run(&["fetch", "hello"]).code, Some(0));
    let server = site.serve_with(LAZY, &[]);
    let tree = small("tree");
    offer(&site, &[("tree", &tree)]);
    assert_eq!(get(&server, &path("tree")).body, tree);
    let log = server.stop();
    assert!(log.contains("nothing is published, so nothing can boot; run `bivouac up PROFILE`; until then"), "{log}");
}

#[test]
fn a_site_may_be_no_mirror() {
    let site = Site::published();
    let server = site.serve_with("[caching-mirror]\nenabled = false\n", &[]);
    site.mirror.server.requests();
    assert_eq!(get(&server, INDEX).refusal(), (404, "this server is no mirror of Alpine".to_owned()));
    assert_eq!(site.mirror.server.requests(), [] as [&str; 0]);
    assert!(!site.path("state/mirror").exists());
}
