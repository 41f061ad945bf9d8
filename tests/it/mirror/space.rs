//! The limit: what was used least recently goes, and what is larger than everything is served all the same.

use super::{LAZY, ask_at, built, get, held, nothing_is_left, offer, path, upstream};
use crate::support::alpine::TARBALL;
use crate::support::server::{Gate, Reply};
use crate::support::site::Site;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Four packages of about 3000 bytes.
fn four(site: &Site) -> Vec<Vec<u8>> {
    let packages: Vec<Vec<u8>> = NAMES.iter().map(|name| built(name, "1.0-r0", 3000, "")).collect();
    let offered: Vec<(&str, &Vec<u8>)> = NAMES.iter().copied().zip(&packages).collect();
    offer(site, &offered);
    packages
}

fn limited(bytes: usize) -> String {
    format!("{LAZY}[caching-mirror]\nsize = \"{bytes}B\"\n")
}

#[test]
fn what_was_used_least_recently_makes_room_after_a_restart_too() {
    let site = Site::published();
    let packages = four(&site);
    let limit = packages[..3].iter().map(Vec::len).sum::<usize>() + 10;
    let server = site.serve_with(&limited(limit), &[]);
    for name in ["a", "b", "c", "a", "d"] {
        assert_eq!(get(&server, &path(name)).status, 200);
    }
    // `b` had to go.
    assert_eq!(held(&site).len(), 3);
    let asked = |name: &str| site.mirror.server.was_asked(&upstream(name));
    site.mirror.server.requests();
    for name in ["a", "c", "d", "a"] {
        get(&server, &path(name));
        assert!(!asked(name), "{name}");
    }
    server.stop();
    let server = site.serve_with(&limited(limit), &[]);
    get(&server, &path("b"));
    assert!(asked("b"));
    assert_eq!(held(&site).len(), 3);
    // And now `c`.
    for (name, is_gone) in [("a", false), ("d", false), ("c", true)] {
        get(&server, &path(name));
        assert_eq!(asked(name), is_gone, "{name}");
    }
    let bytes: u64 = held(&site)
        .iter()
        .map(|name| std::fs::metadata(site.path("state/mirror/packages").join(name)).unwrap().len())
        .sum();
    assert!(bytes <= limit as u64);
}

#[test]
fn a_package_that_is_larger_than_the_limit_is_served_and_forgotten() {
    let site = Site::published();
    let packages = four(&site);
    let server = site.serve_with(&limited(packages[0].len() - 1), &[]);
    for _ in 0..2 {
        assert_eq!(get(&server, &path("a")).body, packages[0]);
    }
    assert_eq!(held(&site), [] as [&str; 0]);
    nothing_is_left(&site);
    let log = server.stop();
    assert!(log.contains("there is no room to keep a file; it is served and forgotten"), "{log}");
}

#[test]
fn an_image_has_its_room_before_it_has_come() {
    let site = Site::published();
    let packages = four(&site);
    let tarball = site.mirror.tarball.clone();
    let limit = packages[..3].iter().map(Vec::len).sum::<usize>() + 10;
    assert!(tarball.len() < limit);
    let server = site.serve_with(&limited(limit), &[]);
    for name in ["a", "b", "c"] {
        assert_eq!(get(&server, &path(name)).status, 200);
    }
    assert_eq!(held(&site).len(), 3);
    let gate = Gate::closed();
    site.mirror.server.put(TARBALL, Reply::Gated(tarball.clone(), gate.clone()));
    let address = server.address("HTTP");
    let client = std::thread::spawn(move || ask_at(address, "GET", &format!("/alpine{TARBALL}"), &[]));
    // Not a byte of it has come when the others make room.
    while held(&site).len() == 3 {
        std::thread::yield_now();
    }
    gate.open_to(tarball.len());
    assert_eq!(client.join().unwrap().body, tarball);
    let length = |name: &String| std::fs::metadata(site.path("state/mirror/packages").join(name)).unwrap().len();
    assert!(held(&site).iter().map(length).sum::<u64>() <= limit as u64);
}

#[test]
fn a_disk_that_takes_no_more_fails_the_request_and_nothing_else() {
    let site = Site::published();
    let packages = four(&site);
    let server = site.serve_with(LAZY, &[]);
    assert_eq!(get(&server, &path("a")).status, 200);
    // As a full disk does: nothing can be created where files are on their way.
    let partial = site.path("state/mirror/partial");
    std::fs::remove_dir(&partial).unwrap();
    let failed = get(&server, &path("b"));
    assert_eq!(failed.refusal(), (500, "the file cannot be served; see the server's log".to_owned()));
    assert_eq!(get(&server, &path("a")).body, packages[0]);
    assert_eq!(get(&server, "/boot.ipxe").status, 200);
    std::fs::create_dir(&partial).unwrap();
    assert_eq!(get(&server, &path("b")).body, packages[1]);
    let log = server.stop();
    assert!(log.contains("the caching mirror failed"), "{log}");
}
