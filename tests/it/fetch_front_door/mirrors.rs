//! Two mirrors: what one does not have, or not as it should be, comes from the other; when none helps, each is named.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

use super::{NAME, done, hasty_site, refusal, stable_list};
use crate::support::alpine::{LIST, SIGNATURE, TARBALL, list, release, signer};
use crate::support::server::{Reply, Server};
use crate::support::signer::Signer;
use crate::support::site::{MAIN, Mirror, Ran, Site, index, package};

/// A port that is taken, so that no other test gets it, and at which nobody listens.
struct Dead {
    base: String,
    _socket: Socket,
}

impl Dead {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { base: format!("http://{address}"), _socket: socket }
    }
}

/// Runs a command with this mirror before the site's own.
fn run_with(site: &Site, first: &str, arguments: &[&str]) -> Ran {
    let mut ran = site.run(&[arguments, &["--mirror", first]].concat());
    ran.err = ran.err.replace(first, "FIRST");
    ran
}

/// The line of a good fetch from a good mirror.
fn good_line() -> String {
    done(hasty_site().run(&["fetch", "hello"]))
}

#[test]
fn a_dead_mirror_is_left_for_the_next_one() {
    let (site, dead) = (Site::new(), Dead::new());
    let ran = run_with(&site, &dead.base, &["fetch", "hello", "--packages"]);
    assert!(ran.err.contains("mirror FIRST is of no use for this"), "{}", ran.err);
    assert!(done(ran).starts_with(&good_line()));
    assert_eq!(site.mirror.server.requests()[..3], [stable_list().as_str(), SIGNATURE, TARBALL]);
}

#[test]
fn a_mirror_that_lags_is_left_for_the_next_one() {
    let (site, first) = (hasty_site(), Mirror::start());
    let said = done(site.run(&["fetch", "hello"]));
    let old = list(&first.tarball).replace("3.24.1", "3.24.0");
    for path in [stable_list(), LIST.to_owned()] {
        first.server.put(path, Reply::File(old.clone().into()));
    }
    // It names an older release than was fetched before.
    let ran = run_with(&site, &first.server.base, &["fetch", "hello"]);
    assert!(ran.err.contains("names release 3.24.0, and 3.24.1 was fetched before"), "{}", ran.err);
    assert_eq!(done(ran), said);
    // It does not have an exact version yet, and nothing was fetched before.
    for path in [TARBALL, SIGNATURE] {
        first.server.remove(path);
    }
    let text = "overlays = [\"base\"]\n[alpine]\nrelease = \"3.24.1\"\n";
    site.write("profiles/exact/profile.toml", text);
    let ran = run_with(&site, &first.server.base, &["fetch", "exact", "--state", "empty"]);
    assert!(ran.err.contains("there is no netboot release 3.24.1 for x86_64: FIRST"), "{}", ran.err);
    assert_eq!(done(ran), said.replace("hello", "exact"));
}

/// Spoils a mirror with this tarball.
type Scene<'a> = &'a dyn Fn(&Server, &[u8]);

#[test]
fn a_hostile_mirror_is_left_for_the_next_one() {
    let said = good_line();
    let evil = |good: &[u8]| {
        let mut bytes = good.to_vec();
        bytes[good.len() / 2] ^= 1;
        bytes
    };
    let scenes: [Scene<'_>; 8] = [
        // No list, no signature, no tarball but a page.
        &|first, _| first.put(stable_list(), Reply::Page("<html>")),
        &|first, _| first.put(SIGNATURE, Reply::Page("<html>")),
        &|first, _| first.put(TARBALL, Reply::Page("<html>")),
        // Other bytes, with a list that has them and with the right one.
        &|first, good| {
            release(first, &evil(good));
            first.put(SIGNATURE, Reply::File(signer().sign(good).into()));
        },
        &|first, good| first.put(TARBALL, Reply::File(evil(good))),
        // Signed by somebody else, or not at all.
        &|first, good| first.put(SIGNATURE, Reply::File(Signer::new(2).sign(good).into())),
        &|first, _| first.remove(SIGNATURE),
        // A connection that breaks every time.
        &|first, good| first.put(TARBALL, Reply::Cut { bytes: good.to_vec(), after: 100, times: usize::MAX }),
    ];
    for scene in scenes {
        let (site, first) = (hasty_site(), Mirror::start());
        scene(&first.server, &first.tarball);
        assert_eq!(done(run_with(&site, &first.server.base, &["fetch", "hello"])), said);
        assert!(first.server.requests().contains(&stable_list()));
        assert!(site.mirror.server.requests().iter().any(|it| it.starts_with(TARBALL)));
    }
}

#[test]
fn packages_that_one_mirror_has_wrong_come_from_the_next_one() {
    let (site, first) = (hasty_site(), Mirror::start());
    let expected = done(site.run(&["build", "hello", "--state", "reference"]));
    site.unlock("hello");
    let other = bivouac::apk::SigningKey::generate(bivouac::apk::KeyLength::Bits2048).unwrap();
    first.server.put(format!("{MAIN}/APKINDEX.tar.gz"), Reply::File(index(&[package("evil", &[])], &other)));
    first.server.put(format!("{MAIN}/busybox-1.0-r0.apk"), Reply::File(package("evil", &[])));
    let ran = run_with(&site, &first.server.base, &["build", "hello"]);
    assert!(ran.err.contains("APKINDEX.tar.gz is refused"), "{}", ran.err);
    assert_eq!(done(ran), expected);
}

#[test]
fn mirrors_that_each_fail_for_a_moment_are_asked_again() {
    let (site, first) = (Site::new(), Mirror::start());
    for mirror in [&first, &site.mirror] {
        let bytes = mirror.tarball.clone();
        mirror.server.put(TARBALL, Reply::Cut { bytes, after: 1000, times: 2 });
    }
    assert_eq!(done(run_with(&site, &first.server.base, &["fetch", "hello"])), good_line());
}

#[test]
fn mirrors_that_break_off_every_time_are_named_once_each() {
    let (site, first) = (hasty_site(), Mirror::start());
    for mirror in [&first, &site.mirror] {
        let bytes = mirror.tarball.clone();
        mirror.server.put(TARBALL, Reply::Cut { bytes, after: 1000, times: usize::MAX });
    }
    let ran = run_with(&site, &first.server.base, &["fetch", "hello"]);
    let said = refusal(&ran);
    assert!(said.contains("caused by: none of the 2 mirrors is of use\n  gave up on "), "{said}");
    for base in ["FIRST", "MIRROR"] {
        assert_eq!(said.matches(&format!("gave up on {base}{TARBALL} after 1 attempt")).count(), 1, "{said}");
    }
    assert_eq!(site.cached(), Vec::<String>::new());
}

#[test]
fn when_no_mirror_is_of_use_each_is_named_with_its_reason() {
    let (site, first, dead) = (hasty_site(), Mirror::start(), Dead::new());
    first.server.put(stable_list(), Reply::Page("<html>"));
    site.mirror.server.remove(SIGNATURE);
    let mut ran = run_with(&site, &first.server.base, &["fetch", "hello", "--mirror", &dead.base]);
    ran.err = ran.err.replace(&dead.base, "DEAD").replace(NAME, "NAME");
    // How the system words a refused connection is its own matter.
    let (said, reason) = refusal(&ran).rsplit_once("latest-releases.yaml: ").unwrap();
    assert!(reason.contains("Connection refused"), "{reason}");
    assert_eq!(
        format!("{said}latest-releases.yaml: "),
        format!(
            "error: cannot fetch what profile `hello` needs\ncaused by: none of the 3 mirrors is of use\n  FIRST{list} was \
             answered with a web page instead of the file; a proxy or a login page may stand between\n  NAME is not signed: \
             MIRROR{signature} does not exist; use another mirror, or switch the check `signature` off\n  gave up on \
             DEAD{list} after 1 attempt; check the network and the proxy settings, or use another mirror: no answer from \
             DEAD{list}: ",
            list = stable_list(),
            signature = SIGNATURE.replace(NAME, "NAME")
        )
    );
    assert_eq!(site.cached(), Vec::<String>::new());
}

#[test]
fn the_log_announces_another_attempt_only_when_there_is_one() {
    let site = Site::new();
    let spoil = || site.mirror.server.put(stable_list(), Reply::Status { status: 500, times: 2, bytes: Vec::new() });
    site.write("bivouac.toml", "[fetch]\nattempts = 1\n");
    spoil();
    let ran = site.run(&["fetch", "hello"]);
    assert_eq!((ran.code, ran.err.matches("; trying again").count()), (Some(2), 0), "{}", ran.err);
    site.write("bivouac.toml", "[fetch]\nattempts = 2\n");
    spoil();
    let ran = site.run(&["fetch", "hello"]);
    assert_eq!((ran.code, ran.err.matches("; trying again").count()), (Some(2), 1), "{}", ran.err);
}
