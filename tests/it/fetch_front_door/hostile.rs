//! Servers that fail or lie. One hostile thing at a time: each is refused by name with what was expected and what was
//! found, leaves no file in the cache, and is over when the mirror is as it should be.

use bivouac::model::digest::{Digest, Digest512};

use super::{NAME, done, hasty_site, refusal, stable_list};
use crate::support::alpine::{FOLDER, SIGNATURE, TARBALL, list, signer};
use crate::support::server::{Reply, Server};
use crate::support::site::Site;

/// Spoils the mirror of a site, and expects of `fetch hello` to say exactly this below its first line.
pub(super) fn refused(spoil: impl FnOnce(&Server, &[u8]), expected: impl FnOnce(&[u8]) -> String) {
    let site = hasty_site();
    spoil(&site.mirror.server, &site.mirror.tarball);
    assert_eq!(cause(&site, "hello"), expected(&site.mirror.tarball));
    recovered(&site);
}

/// What is said when the only attempt at the tarball failed, before the reason.
fn gave_up() -> String {
    let advice = "check the network and the proxy settings, or use another mirror";
    format!("gave up on {} after 1 attempt; {advice}\n", tarball_url())
}

/// The causes of the failure of a fetch that leaves nothing.
pub(super) fn cause(site: &Site, profile: &str) -> String {
    let ran = site.run(&["fetch", profile]);
    assert_eq!(ran.out, "");
    assert_eq!(site.cached(), Vec::<String>::new(), "left in the cache");
    let first = format!("error: cannot fetch what profile `{profile}` needs\ncaused by: ");
    refusal(&ran).strip_prefix(&first).unwrap_or_else(|| panic!("{}", ran.err)).replace(NAME, "NAME")
}

/// The mirror is repaired, and all is well.
pub(super) fn recovered(site: &Site) {
    site.mirror.release();
    let out = done(site.run(&["fetch", "hello"]));
    assert!(out.starts_with("hello: Alpine 3.24.1 x86_64 virt, kernel 6.18.1-0-virt, "), "{out}");
}

/// The address of the tarball, as [`cause`] shows it.
fn tarball_url() -> String {
    format!("MIRROR{TARBALL}").replace(NAME, "NAME")
}

#[test]
fn a_server_that_truncates() {
    // A broken connection, whose reason is in the words of a library, and an answer that ends early in good order.
    let site = hasty_site();
    let good = site.mirror.tarball.clone();
    let found = format!("{}caused by: {} was cut off after 1000 bytes, expected ", gave_up(), tarball_url());
    let found = format!("{found}{}\n", good.len());
    site.mirror.server.put(TARBALL, Reply::Cut { bytes: good, after: 1000, times: usize::MAX });
    let said = cause(&site, "hello");
    assert!(said.strip_prefix(&found).is_some_and(|reason| reason.starts_with("caused by: ")), "{said}");
    recovered(&site);
    refused(|server, good| server.put(TARBALL, Reply::Chunked(good[..1000].to_vec())), |_| found);
}

#[test]
fn a_server_that_stalls() {
    let site = hasty_site();
    // As long as the other answers may take on the busiest machine.
    site.write("bivouac.toml", "[fetch]\nattempts = 1\nread-timeout = \"4s\"\n");
    let good = &site.mirror.tarball;
    site.mirror.server.put(TARBALL, Reply::Silence(good[..1000].to_vec()));
    let said = cause(&site, "hello");
    let found = format!("caused by: {} was cut off after 1000 bytes, expected {}\n", tarball_url(), good.len());
    assert!(said.starts_with(&(gave_up() + &found)), "{said}");
    assert!(said.ends_with("caused by: operation timed out\n"), "{said}");
    recovered(&site);
}

#[test]
fn a_server_that_sends_the_wrong_length() {
    let advice = "the mirror may be out of date or broken: use another one\n";
    for change in [-10, 10] {
        refused(
            |server, good| {
                let mut bytes = good.to_vec();
                bytes.resize(good.len().strict_add_signed(change), 0);
                server.put(TARBALL, Reply::File(bytes));
            },
            |good| {
                let found = good.len().strict_add_signed(change);
                format!("{} has {found} bytes, expected {}; {advice}", tarball_url(), good.len())
            },
        );
    }
    // A server that does not say how much it will send, and sends more.
    refused(
        |server, good| server.put(TARBALL, Reply::Chunked([good, b"more"].concat())),
        |good| {
            let found = format!("has more than {} bytes, which is all it may have", good.len());
            format!("{} {found}; the mirror may be broken: use another one\n", tarball_url())
        },
    );
}

#[test]
fn a_web_page_with_status_200() {
    for path in [&stable_list(), SIGNATURE, TARBALL] {
        refused(
            |server, _| server.put(path, Reply::Page("<!DOCTYPE html><title>Log in</title>")),
            |_| {
                format!(
                    "MIRROR{path} was answered with a web page instead of the file; a proxy or a login page may stand \
                     between\n"
                )
                .replace(NAME, "NAME")
            },
        );
    }
}

#[test]
fn a_redirect_loop() {
    refused(
        |server, _| {
            server.put(TARBALL, Reply::Redirect("BASE/elsewhere"));
            server.put("/elsewhere", Reply::Redirect("BASE/v3.24/releases/x86_64/alpine-netboot-3.24.1-x86_64.tar.gz"));
        },
        |_| {
            format!(
                "{} is redirected in a way that is not followed; use another mirror\ncaused by: there are more than 5 \
                 redirects, the last to {}\n",
                tarball_url(),
                tarball_url()
            )
        },
    );
}

#[test]
fn a_wrong_checksum() {
    // Other bytes of the same length, and a list with another digest for the right ones.
    let differs = |algorithm: &str, found: &str, expected: &str| {
        format!(
            "{} has the {algorithm} checksum {found}, expected {expected}; do not use it: try again or use another \
             mirror\n",
            tarball_url()
        )
    };
    let changed = |good: &[u8]| {
        let mut bytes = good.to_vec();
        bytes[good.len() / 2] ^= 1;
        bytes
    };
    refused(
        |server, good| server.put(TARBALL, Reply::File(changed(good))),
        |good| differs("SHA-256", &Digest::of(&changed(good)).to_string(), &Digest::of(good).to_string()),
    );
    let zeros = "0".repeat(128);
    refused(
        |server, good| {
            let list = list(good).replace(&Digest512::of(good).to_string(), &zeros);
            server.put(stable_list(), Reply::File(list.into()));
        },
        |good| differs("SHA-512", &Digest512::of(good).to_string(), &zeros),
    );
}

#[test]
fn a_missing_checksum_in_the_list() {
    for (key, place) in [("sha512", "  sha512: "), ("sha256", "  sha256: ")] {
        refused(
            |server, good| {
                let list = list(good).lines().filter(|it| !it.starts_with(place)).collect::<Vec<_>>().join("\n");
                server.put(stable_list(), Reply::File(list.into()));
            },
            |_| {
                format!(
                    "cannot use MIRROR{}; the mirror may be broken: use another one\ncaused by: its netboot entry has no \
                     `{key}`\n",
                    stable_list()
                )
            },
        );
    }
}

#[test]
fn a_missing_checksum_of_a_version_that_is_not_listed() {
    let site = hasty_site();
    site.write("profiles/old/profile.toml", "overlays = [\"base\"]\n[alpine]\nrelease = \"3.24.0\"\n");
    let old = format!("{FOLDER}/alpine-netboot-3.24.0-x86_64.tar.gz");
    let (server, bytes) = (&site.mirror.server, &site.mirror.tarball);
    server.put(&old, Reply::File(bytes.clone()));
    server.put(format!("{old}.asc"), Reply::File(signer().sign(bytes).into()));
    assert_eq!(
        cause(&site, "old"),
        format!(
            "there is no netboot release 3.24.0 for x86_64: MIRROR{old}.sha256 does not exist; the newest of that branch \
             is 3.24.1\n"
        )
    );
    let line =
        |digest: &dyn std::fmt::Display| Reply::File(format!("{digest}  {}\n", NAME.replace("4.1", "4.0")).into());
    server.put(format!("{old}.sha256"), line(&Digest::of(bytes)));
    assert_eq!(cause(&site, "old"), format!("MIRROR{old}.sha512 does not exist on the server (404 Not Found)\n"));
    server.put(format!("{old}.sha512"), Reply::File(b"\n".to_vec()));
    assert_eq!(
        cause(&site, "old"),
        format!(
            "cannot use MIRROR{old}.sha512; the mirror may be broken: use another one\ncaused by: it has no line for \
             `alpine-netboot-3.24.0-x86_64.tar.gz`\n"
        )
    );
    server.put(format!("{old}.sha512"), line(&Digest512::of(bytes)));
    let out = done(site.run(&["fetch", "old"]));
    assert!(out.starts_with("old: Alpine 3.24.0 x86_64 virt, "), "{out}");
}
