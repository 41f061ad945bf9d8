//! The limit: what was used least recently goes, and what is larger than everything is served all the same.

use super::{LAZY, built, get, held, nothing_is_left, offer, path, upstream};
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
