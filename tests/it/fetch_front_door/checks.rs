//! `[verify]`: checks that are switched off by name, which every listing says, and keys of the site's own.

use std::fs;

use serde_json::{Value, json};

use super::tarballs::{MODLOOP_KEY, signed_modloop};
use super::{done, refusal, stable_list};
use crate::support::alpine::{Member, SIGNATURE, initramfs, kernel, list, modloop, release, signer, tarball};
use crate::support::server::{Pages, Reply};
use crate::support::site::{KEY, MAIN, Ran, Site, index_by, package, signing_key};

const MAC: &str = "52:54:00:00:00:01";

/// Switches checks off in the site file.
fn switch_off(site: &Site, checks: &str) {
    site.write("bivouac.toml", &format!("[fetch]\nattempts = 1\n[verify]\noff = [{checks}]\n"));
}

/// Puts a release of other members onto the mirror, signed as it should be.
fn offer(site: &Site, members: &[Member]) {
    release(&site.mirror.server, &tarball(members));
}

/// The files of two kernels as one set.
fn mixed() -> Vec<Member> {
    let pem = signing_key().public_pem().unwrap();
    vec![
        Member::file("boot/initramfs-virt", &initramfs("6.18.1-0-virt", (KEY, &pem))),
        Member::file("boot/modloop-virt", &modloop("6.18.1-0-virt")),
        Member::file("boot/vmlinuz-virt", &kernel("6.18.2-0-virt")),
    ]
}

/// A set whose modloop is signed wrongly, and that trusts the packages of the mirror.
fn wrongly_signed() -> Vec<Member> {
    let pem = signing_key().public_pem().unwrap();
    signed_modloop(&modloop("6.18.1-0-virt"), &[("a.rsa.pub", MODLOOP_KEY), (KEY, &pem)]).into()
}

/// A site with one check switched off, what only that check refuses, and what it says.
fn scene(check: &str) -> (Site, &'static str) {
    let site = Site::new();
    switch_off(&site, "");
    let said = match check {
        "signature" => {
            site.mirror.server.remove(SIGNATURE);
            " is not signed: "
        }
        "modloop" => {
            offer(&site, &wrongly_signed());
            // By which the machine verifies a modloop that is signed.
            site.mirror.offer(&[("alpine-base", &[]), ("openssl", &[])]);
            "the signature of modloop-virt by a.rsa.pub in the initramfs does not fit it"
        }
        "kernel" => {
            offer(&site, &mixed());
            "is not one set: it has a kernel of 6.18.2-0-virt"
        }
        _ => {
            done(site.run(&["fetch", "hello"]));
            let old = "/v3.24/releases/x86_64/alpine-netboot-3.24.0-x86_64.tar.gz";
            let bytes = &site.mirror.tarball;
            let text = list(bytes).replace("3.24.1", "3.24.0");
            site.mirror.server.put(stable_list(), Reply::File(text.into()));
            site.mirror.server.put(old, Reply::File(bytes.clone()));
            site.mirror.server.put(format!("{old}.asc"), Reply::File(signer().sign(bytes).into()));
            "names release 3.24.0, and 3.24.1 was fetched before"
        }
    };
    (site, said)
}

fn json_of(ran: Ran) -> Value {
    serde_json::from_str(&done(ran)).unwrap()
}

#[test]
fn each_check_refuses_what_it_is_for_unless_it_is_switched_off_and_then_every_listing_says_so() {
    for check in ["signature", "modloop", "kernel", "replay"] {
        let (site, said) = scene(check);
        let ran = site.run(&["fetch", "hello"]);
        assert!(refusal(&ran).contains(said), "{check}: {}", ran.err);

        switch_off(&site, &format!("\"{check}\""));
        let fetched = done(site.run(&["fetch", "hello"]));
        assert!(fetched.ends_with(&format!(", NOT CHECKED: {check}\n")), "{fetched}");
        done(site.run(&["build", "hello"]));
        done(site.run(&["publish", "hello"]));
        let server = site.serve(&["--dhcp", "off"]);
        server.get(&format!("/script?mac={MAC}"));
        server.stop();
        site.mirror.server.show_folders(Pages::Nginx);

        let below = format!("Checks switched off in the site file: {check}.\n");
        for listing in [&["list"][..], &["machines"], &["fetch", "--list"]] {
            let out = done(site.run(listing));
            assert!(out.contains(&below), "{listing:?}: {out}");
            if listing.len() == 1 {
                assert!(out.lines().next().unwrap().contains("NOT CHECKED"), "{out}");
                assert!(out.lines().nth(1).unwrap().contains(check), "{out}");
            }
        }
        assert!(done(site.run(&["show", "hello"])).contains(&format!("\nnot checked {check}\n")));
        assert_eq!(json_of(site.run(&["list", "--json"]))[0]["off"], json!([check]));
        assert_eq!(json_of(site.run(&["show", "hello", "--json"]))["verified"]["off"], json!([check]));
        assert_eq!(json_of(site.run(&["machines", "--json"]))[0]["off"], json!([check]));
        assert_eq!(json_of(site.run(&["fetch", "--list", "--json"]))["off"], json!([check]));

        // Switched on again, it is made, also of what is in the cache. What was built without it stays known for that.
        switch_off(&site, "");
        site.unlock("hello");
        let ran = site.run(&["fetch", "hello"]);
        assert!(refusal(&ran).contains(said), "{check}: {}", ran.err);
        let out = done(site.run(&["list"]));
        assert!(out.contains("NOT CHECKED") && !out.contains("switched off"), "{out}");
        assert_eq!(json_of(site.run(&["machines", "--json"]))[0]["off"], json!([check]));
    }
}

#[test]
fn with_every_check_made_no_listing_speaks_of_checks() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    server.get(&format!("/script?mac={MAC}"));
    server.stop();
    site.mirror.server.show_folders(Pages::Nginx);
    for listing in [&["list"][..], &["show", "hello"], &["machines"], &["fetch", "--list"], &["fetch", "hello"]] {
        let out = done(site.run(listing)).to_lowercase();
        assert!(!out.contains("check") || out.contains("check-in"), "{listing:?}: {out}");
        assert!(!out.contains("not checked") && !out.contains("switched off"), "{listing:?}: {out}");
    }
    assert_eq!(json_of(site.run(&["list", "--json"]))[0]["off"], json!([]));
    assert_eq!(json_of(site.run(&["machines", "--json"]))[0]["off"], json!([]));
    assert_eq!(json_of(site.run(&["fetch", "--list", "--json"]))["off"], json!([]));
}

#[test]
fn several_checks_are_named_together() {
    let site = Site::new();
    switch_off(&site, "\"replay\", \"kernel\", \"signature\", \"modloop\"");
    let out = done(site.run(&["fetch", "hello"]));
    assert!(out.ends_with(", NOT CHECKED: signature, modloop, kernel, replay\n"), "{out}");
    assert!(!out.contains("signed"), "{out}");
}

#[test]
fn an_unknown_check_is_refused_with_the_nearest_one() {
    let site = Site::new();
    for (name, why) in [
        ("signatur", "did you mean `signature`?"),
        ("kernels", "did you mean `kernel`?"),
        ("Replay", "did you mean `replay`?"),
        ("all", "the checks are signature, modloop, kernel, replay"),
    ] {
        switch_off(&site, &format!("\"{name}\""));
        for command in [&["fetch", "hello"][..], &["list"]] {
            assert_eq!(
                refusal(&site.run(command)),
                format!("error: the settings cannot be used\ncaused by: `verify.off` cannot be `{name}`: {why}\n")
            );
        }
    }
}

#[test]
fn a_key_file_that_cannot_be_used_is_named() {
    let site = Site::new();
    fs::create_dir(site.path("folder")).unwrap();
    site.write("empty", "");
    site.write("text", "nothing like a key\n");
    site.write("large", &"x".repeat((64 << 10) + 1));
    site.write("secret.pem", &signing_key().to_pem().unwrap());
    site.write("secret.rsa.pub", &signing_key().to_pem().unwrap());
    let certificate = signer().certificate("Release <release@example.net>");
    site.write("cut.asc", &certificate[..certificate.len() / 2]);
    site.write("signature.asc", &signer().sign(b"x"));
    site.write("text.rsa.pub", "nothing like a key\n");
    let openpgp = "it has neither a line `-----BEGIN PGP PUBLIC KEY BLOCK-----` nor OpenPGP packets";
    let no_name = "is not the name of a public key file; it ends in `.rsa.pub`";
    for (key, file, said) in [
        ("release-keys", "nowhere", "cannot be read\ncaused by: cannot open nowhere\ncaused by: No such file"),
        ("release-keys", "folder", "cannot be read\ncaused by: cannot read folder\ncaused by: Is a directory"),
        ("release-keys", "large", "cannot be read\ncaused by: large is larger than 65536 bytes\n"),
        ("release-keys", "empty", openpgp),
        ("release-keys", "text", openpgp),
        ("release-keys", "cut.asc", "`-----END PGP PUBLIC KEY BLOCK-----` is missing; the file is cut off\n"),
        ("release-keys", "signature.asc", "it holds a block `SIGNATURE`, and `PUBLIC KEY BLOCK` was expected\n"),
        ("package-keys", "nowhere", "cannot be read\ncaused by: cannot open nowhere\ncaused by: No such file"),
        ("package-keys", "folder", "cannot be read\ncaused by: cannot read folder\ncaused by: Is a directory"),
        ("package-keys", "large", "cannot be read\ncaused by: large is larger than 65536 bytes\n"),
        ("package-keys", "empty", no_name),
        ("package-keys", "secret.pem", no_name),
        ("package-keys", "text.rsa.pub", "there is no PEM block `PUBLIC KEY` in the key file\n"),
        ("package-keys", "secret.rsa.pub", "there is no PEM block `PUBLIC KEY` in the key file\n"),
    ] {
        site.write("keys.toml", &format!("[verify]\n{key} = [\"{file}\"]\n"));
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bivouac"));
        command.current_dir(site.folder.path()).args(["fetch", "hello", "--site", "keys.toml", "--mirror"]);
        let ran = Ran::of(command.arg(&site.mirror.server.base).output().unwrap(), &site);
        let text = refusal(&ran);
        assert!(text.lines().next().unwrap().contains(&format!(" of `verify.{key}` cannot be ")), "{text}");
        assert!(text.contains(file) && text.contains(said), "{key} {file}: {text}");
    }
    assert_eq!(site.mirror.server.requests(), Vec::<String>::new());
}

#[test]
fn a_key_of_the_site_may_sign_indexes_and_modloops() {
    let site = Site::new();
    let (own, name) = (bivouac::apk::SigningKey::generate(bivouac::apk::KeyLength::Bits2048).unwrap(), "own.rsa.pub");
    let packages: Vec<_> = ["alpine-base", "busybox", "openrc"].map(|name| package(name, &[])).into();
    site.mirror.server.put(format!("{MAIN}/APKINDEX.tar.gz"), Reply::File(index_by(&packages, &own, name)));
    site.mirror.server.put(format!("{MAIN}/alpine-base-1.0-r0.apk"), Reply::File(packages[0].clone()));
    let ran = site.run(&["build", "hello"]);
    assert!(
        refusal(&ran).contains("the index is signed with the key own.rsa.pub, which is not trusted"),
        "{}",
        ran.err
    );
    site.write(name, &own.public_pem().unwrap());
    site.write("bivouac.toml", "[verify]\npackage-keys = [\"own.rsa.pub\"]\n");
    done(site.run(&["build", "hello"]));
    done(site.run(&["publish", "hello"]));
    let shown = done(site.run(&["show", "hello"]));
    assert!(shown.contains("\nmain        index signed by own.rsa.pub\n"), "{shown}");

    site.unlock("hello");
    // What was signed is no image, so that nothing can be said of its kernel.
    offer(&site, &signed_modloop(b"modloop\n", &[("b.rsa.pub", MODLOOP_KEY)]));
    site.write("a.rsa.pub", MODLOOP_KEY);
    let text = |keys: &str| format!("[verify]\npackage-keys = [{keys}]\noff = [\"kernel\"]\n");
    site.write("bivouac.toml", &text(""));
    let ran = site.run(&["fetch", "hello", "--state", "other"]);
    assert!(refusal(&ran).contains("signed by a.rsa.pub, and the initramfs has no such key"), "{}", ran.err);
    site.write("bivouac.toml", &text("\"a.rsa.pub\""));
    let out = done(site.run(&["fetch", "hello", "--state", "other"]));
    assert!(out.ends_with(", modloop signed by a.rsa.pub, NOT CHECKED: kernel\n"), "{out}");
}
