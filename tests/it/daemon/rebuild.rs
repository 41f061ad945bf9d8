//! `up`: what becomes of profiles and overlays that somebody edits while it serves.

use std::io::Read as _;
use std::time::{Duration, Instant};

use super::{MAC, begin};
use crate::support::site::{Serving, Site};

const QUIET: &str = "[dhcp]\nmode = \"off\"\n[http]\nlisten = \"127.0.0.1:0\"\n[tftp]\nenabled = false\n";

/// A site whose profiles are all served, and built again when they change.
fn up() -> (Site, Serving) {
    let site = Site::new();
    site.write("bivouac.toml", QUIET);
    let server = site.up(&[]);
    (site, server)
}

/// The bundle that a machine is told to boot.
fn bundle(server: &Serving) -> String {
    let script = server.get(&format!("/script?mac={MAC}"));
    let (_, rest) = script.split_once("bivouac_bundle=").unwrap_or_else(|| panic!("{script}"));
    rest.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn what_is_edited_is_what_machines_boot_next() {
    let (site, mut server) = up();
    let first = bundle(&server);
    site.write("profiles/hello/root/etc/motd", "changed\n");
    let said = server.wait_for_log("hello is built again");
    assert!(said.contains("INFO") && said.contains("why=\"changed\""), "{said}");
    server.wait_for_log("hello built: bundle ");
    assert!(server.wait_for_log("hello@2 published: bundle ").ends_with(", channel stable"));
    let second = bundle(&server);
    assert_ne!(first, second);
    // What it is made of counts too, and so does a profile that is new.
    site.write("overlays/base/root/etc/banner", "of an overlay\n");
    server.wait_for_log("hello@3 published");
    assert_ne!(bundle(&server), second);
    site.write("profiles/other/profile.toml", "overlays = [\"base\", \"network\", \"check-in\"]\n");
    server.wait_for_log("other@1 published");
    let log = server.stop();
    assert!(!log.contains("hello") && !log.contains("ERROR"), "{log}");
}

#[test]
fn what_a_build_remarks_on_waits_for_no_reader_of_the_log() {
    let site = Site::new();
    site.write("bivouac.toml", QUIET);
    let mut command = site.command(&["up"]);
    let (log, end) = std::io::pipe().unwrap();
    command.stderr(end).env("RUST_LOG", "bivouac=debug");
    let server = Serving::start_logging_elsewhere(command);
    // More than the pipe holds.
    let path = format!("/script?mac={MAC}&product={}", "x".repeat(4000));
    for _ in 0..50 {
        server.get(&path);
    }
    let first = bundle(&server);
    // This is warned of.
    let text = "overlays = [\"base\", \"network\", \"check-in\"]\nkernel.args = [\"nomodeset\"]\n";
    site.write("profiles/hello/profile.toml", text);
    let end = Instant::now() + Duration::from_secs(120);
    while bundle(&server) == first {
        assert!(Instant::now() < end, "what was edited is not published");
    }
    drop(log);
    server.stop();
}

#[test]
fn a_boot_that_has_begun_goes_on_with_its_own_bundle() {
    let (site, mut server) = up();
    let path = format!("/b/{}/initramfs-virt", bundle(&server));
    let whole = server.get_bytes(&path);
    let mut transfer = begin(&server, &path);
    site.write("profiles/hello/root/etc/motd", "changed\n");
    server.wait_for_log("hello@2 published");
    let mut rest = Vec::new();
    transfer.read_to_end(&mut rest).unwrap();
    assert!(rest == whole && server.get_bytes(&path) == whole, "{} bytes", rest.len());
}

#[test]
fn a_profile_with_a_mistake_keeps_its_release_and_no_other_from_being_built() {
    let (site, mut server) = up();
    let before = bundle(&server);
    let good = std::fs::read_to_string(site.path("profiles/hello/profile.toml")).unwrap();
    site.write("profiles/hello/profile.toml", &format!("{good}\nnonsense = 1\n"));
    site.write("profiles/other/profile.toml", "overlays = [\"base\", \"network\", \"check-in\"]\n");
    let said = server.wait_for_log("hello keeps its release, and is built again after the next change or SIGHUP: ");
    assert!(said.contains("ERROR") && said.contains("`nonsense`") && said.contains("profile.toml:"), "{said}");
    server.wait_for_log("other@1 published");
    assert_eq!(bundle(&server), before);
    // Asked to, it says so again.
    server.signal("HUP");
    server.wait_for_log("hello is built again");
    server.wait_for_log("hello keeps its release");
    assert!(server.wait_for_log("other is unchanged").contains("bundle "));
    site.write("profiles/hello/profile.toml", &good);
    site.write("profiles/hello/root/etc/motd", "whole\n");
    server.wait_for_log("hello@2 published");
    assert_ne!(bundle(&server), before);
}

#[test]
fn a_mirror_that_is_down_keeps_nobody_from_booting_and_is_asked_again() {
    let (site, mut server) = up();
    let before = bundle(&server);
    let index = "/v3.24/main/x86_64/APKINDEX.tar.gz";
    site.mirror.server.remove(index);
    let good = std::fs::read_to_string(site.path("profiles/hello/profile.toml")).unwrap();
    site.write("profiles/hello/profile.toml", &good.replacen("overlays", "packages = [\"nano\"]\noverlays", 1));
    let said = server.wait_for_log("hello keeps its release");
    assert!(said.contains("APKINDEX.tar.gz"), "{said}");
    assert_eq!(bundle(&server), before);
    site.mirror.offer(&[
        ("alpine-base", &["busybox", "openrc"]),
        ("busybox", &[]),
        ("openrc", &["busybox"]),
        ("nano", &[]),
    ]);
    server.signal("HUP");
    server.wait_for_log("hello@2 published");
    assert_ne!(bundle(&server), before);
}

/// Starts a rollout of `hello` that waits for its machines.
fn roll_out(site: &Site, to: &str) {
    let ran = site.run(&["rollout", "start", "hello", "--to", to, "--batch", "100%"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn what_is_edited_during_a_rollout_is_published_when_that_is_over() {
    let (site, mut server) = up();
    let first = bundle(&server);
    site.write("profiles/hello/root/etc/motd", "two\n");
    server.wait_for_log("hello@2 published");
    roll_out(&site, "hello@1");
    site.write("profiles/hello/root/etc/motd", "three\n");
    server.wait_for_log("hello is built again");
    let said = server.wait_for_log("hello is published when rollout 1");
    assert!(said.contains("INFO") && said.contains("which moves hello:stable, is over"), "{said}");
    assert_eq!(site.run(&["rollout", "abort"]).code, Some(0));
    let said = server.wait_for_log("hello is built again");
    assert!(said.contains("why=\"the rollout is over\""), "{said}");
    assert!(server.wait_for_log(" published: bundle ").contains("hello@3"));
    assert_ne!(bundle(&server), first);
    let log = server.stop();
    assert!(!log.contains("built again") && !log.contains("ERROR"), "once is enough: {log}");
}

#[test]
fn a_server_starts_in_the_middle_of_a_rollout_and_what_that_did_not_bring_to_all_stays_away_from_them() {
    let (site, server) = up();
    let first = bundle(&server);
    server.stop();
    site.write("profiles/hello/root/etc/motd", "two\n");
    for arguments in [&["build", "hello"][..], &["publish", "hello", "--channel", "beta"]] {
        assert_eq!(site.run(arguments).code, Some(0));
    }
    roll_out(&site, "beta");
    let mut server = site.up(&["hello"]);
    assert!(
        server.lines.iter().any(|line| line.starts_with("hello is published when rollout 1")),
        "{:?}",
        server.lines
    );
    assert_eq!(bundle(&server), first);
    assert_eq!(site.run(&["rollout", "abort"]).code, Some(0));
    let said = server.wait_for_log("hello keeps its release until its profile changes");
    assert!(said.contains("what rollout 1 did not bring to all machines; `bivouac publish hello` does"), "{said}");
    assert_eq!(bundle(&server), first);
    server.stop();
    let mut server = site.up(&["hello"]);
    let keeps = |line: &String| line.starts_with("hello keeps its release until its profile changes");
    assert!(server.lines.iter().any(keeps), "{:?}", server.lines);
    assert_eq!(bundle(&server), first, "no start of a server brings it to anybody");
    site.write("profiles/hello/root/etc/motd", "three\n");
    server.wait_for_log("hello@3 published");
    assert_ne!(bundle(&server), first);
}

#[test]
fn a_release_somebody_went_back_to_stays_until_its_profile_changes() {
    let (site, mut server) = up();
    let first = bundle(&server);
    site.write("profiles/hello/root/etc/motd", "bad\n");
    server.wait_for_log("hello@2 published");
    assert_eq!(site.run(&["publish", "hello@1"]).code, Some(0));
    site.write("profiles/other/profile.toml", "overlays = [\"base\", \"network\", \"check-in\"]\n");
    server.wait_for_log("other@1 published");
    server.signal("HUP");
    server.wait_for_log("hello is unchanged");
    server.wait_for_log("other is unchanged");
    assert_eq!(bundle(&server), first);
    site.write("profiles/hello/root/etc/motd", "good\n");
    server.wait_for_log("hello is built again");
    server.wait_for_log(" published: bundle ");
    assert_ne!(bundle(&server), first);
}
