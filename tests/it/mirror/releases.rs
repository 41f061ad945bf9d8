//! Releases: tarballs are verified by their signature, and another site can take them from here.

use super::{LAZY, get, held, nothing_is_left};
use crate::support::alpine::{FOLDER, LIST, SIGNATURE, TARBALL};
use crate::support::server::Reply;
use crate::support::site::Site;

#[test]
fn a_tarball_is_verified_and_kept_and_its_texts_are_passed_on() {
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    site.mirror.server.requests();
    for _ in 0..2 {
        assert_eq!(get(&server, &format!("/alpine{TARBALL}")).body, site.mirror.tarball);
    }
    assert_eq!(site.mirror.server.requests(), [SIGNATURE, TARBALL]);
    for _ in 0..2 {
        let list = get(&server, &format!("/alpine{LIST}"));
        assert_eq!((list.status, list.header("cache-control")), (200, Some("no-cache")));
    }
    assert_eq!(site.mirror.server.requests(), [LIST, LIST]);
    server.kill();
    site.mirror.server.remove(TARBALL);
    let server = site.serve_with(LAZY, &[]);
    assert_eq!(get(&server, &format!("/alpine{TARBALL}")).body, site.mirror.tarball);
    assert_eq!(get(&server, &format!("/alpine{FOLDER}/alpine-virt-3.24.1-x86_64.iso")).status, 404);
}

#[test]
fn a_tarball_that_nobody_trusted_has_signed_is_refused() {
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    let mut changed = site.mirror.tarball.clone();
    changed[100] ^= 1;
    site.mirror.server.put(TARBALL, Reply::File(changed));
    assert_eq!(get(&server, &format!("/alpine{TARBALL}")).status, 502);
    site.mirror.server.put(TARBALL, Reply::File(site.mirror.tarball.clone()));
    site.mirror.server.put(SIGNATURE, Reply::File(b"no signature".to_vec()));
    assert_eq!(get(&server, &format!("/alpine{TARBALL}")).status, 502);
    assert_eq!(held(&site), [] as [&str; 0]);
    nothing_is_left(&site);
}

#[test]
fn another_site_builds_from_this_one() {
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    let other = Site::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bivouac"));
    command.current_dir(other.folder.path()).args(["build", "hello", "--mirror"]);
    command
        .arg(format!("http://{}/alpine", server.address("HTTP")))
        .arg("--release-key")
        .arg(other.path("release.asc"));
    let output = command.env_remove("RUST_LOG").env_remove("BIVOUAC_SITE").env("NO_PROXY", "*").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(other.mirror.server.requests(), [] as [&str; 0]);
}
