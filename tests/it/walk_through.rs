//! The steps of a user, one by one: fetch, build, publish, list, show, serve, boot, check-in, machines.

use serde_json::Value;

use crate::support::alpine::signer;
use crate::support::site::{Site, report};

const MAC: &str = "52:54:00:00:00:01";

/// The value of a kernel argument in a script.
fn argument<'a>(script: &'a str, name: &str) -> &'a str {
    let prefix = format!("{name}=");
    script.split_ascii_whitespace().find_map(|word| word.strip_prefix(&prefix)).unwrap()
}

#[test]
fn a_profile_becomes_a_release_step_by_step() {
    let site = Site::new();
    let fetched = site.run(&["fetch", "hello"]);
    assert_eq!(fetched.code, Some(0), "{}", fetched.err);
    assert!(fetched.out.starts_with("hello: Alpine 3.24.1 x86_64 virt, kernel 6.18.1-0-virt, "), "{}", fetched.out);
    let signed = format!("signed by {} (Release <release@example.net>), modloop not signed\n", signer().fingerprint());
    assert!(fetched.out.ends_with(&signed), "{}", fetched.out);

    let built = site.run(&["build", "hello"]);
    assert_eq!(built.code, Some(0), "{}", built.err);
    assert!(built.out.starts_with("hello built: bundle "), "{}", built.out);
    assert!(built.out.contains(", 3 packages, "), "{}", built.out);

    let published = site.run(&["publish", "hello"]);
    assert_eq!(published.code, Some(0), "{}", published.err);
    assert!(published.out.starts_with("hello@1 published: bundle "), "{}", published.out);

    let list: Value = serde_json::from_str(&site.run(&["list", "--json"]).out).unwrap();
    assert_eq!(list[0]["release"], 1);
    assert_eq!(list[0]["channels"], serde_json::json!(["stable"]));
    let shown = site.run(&["show", "hello"]).out;
    assert!(shown.contains("alpine      3.24.1 x86_64 virt"), "{shown}");
    assert!(shown.contains("openrc-1.0-r0.apk"), "{shown}");
    assert!(!shown.contains("nano"), "only what the world needs:\n{shown}");
}

#[test]
fn building_and_publishing_unchanged_input_makes_no_release_and_says_so() {
    let site = Site::published();
    let built = site.run(&["build", "hello"]);
    assert!(built.out.starts_with("hello is unchanged: bundle "), "{}", built.out);
    let published = site.run(&["publish", "hello"]);
    assert_eq!(published.code, Some(0));
    assert!(published.out.starts_with("hello@1 is unchanged: channel stable has bundle "), "{}", published.out);
    site.write("profiles/hello/root/etc/motd", "changed\n");
    assert!(site.run(&["build", "hello"]).out.starts_with("hello built: "));
    assert!(site.run(&["publish", "hello"]).out.starts_with("hello@2 published: "));
}

#[test]
fn a_release_is_published_again_to_go_back_or_into_another_channel() {
    let site = Site::published();
    let publish = |arguments: &[&str]| {
        let ran = site.run(&[&["publish"], arguments].concat());
        if ran.code == Some(0) { ran.out } else { ran.err }
    };
    let bundle = |reference: &str| site.run(&["show", reference]).out.lines().next().unwrap().to_owned();
    let first = bundle("hello@1");
    site.write("profiles/hello/root/etc/motd", "changed\n");
    site.run(&["build", "hello"]);
    assert!(publish(&["hello"]).starts_with("hello@2 published: "));
    assert_ne!(bundle("hello"), first);
    assert!(publish(&["hello@1"]).starts_with("hello@3 published: "));
    assert_eq!(bundle("hello"), first);
    assert!(publish(&["hello:stable", "--channel", "beta"]).starts_with("hello@4 published: "));
    assert_eq!(bundle("hello:beta"), first);
    let id = first.strip_prefix("bundle      ").unwrap();
    for reference in [id, &id[..12]] {
        assert!(publish(&[reference]).starts_with("hello@3 is unchanged: "), "{reference}");
    }
    assert!(publish(&["hello"]).starts_with("hello@5 published: "), "a bare name is what was built last");
    assert!(publish(&["hello@9"]).contains("profile `hello` has no release 9; the newest is 5"));
}

#[test]
fn a_machine_boots_the_published_bundle_checks_in_and_is_listed() {
    let site = Site::published();
    let manifest: Value = serde_json::from_str(&site.run(&["show", "hello", "--json"]).out).unwrap();
    let server = site.serve(&["--dhcp", "off"]);
    let entry = server.get("/boot.ipxe");
    assert!(entry.contains("\r\n\r\n#!ipxe\n"), "{entry}");

    let uuid = "6f9619ff-8b86-4011-b42d-00cf4fc964ff";
    let script = server.get(&format!("/script?mac={MAC}&uuid={uuid}&serial=PC%207&platform=efi&arch=x86_64"));
    let bundle = argument(&script, "bivouac_bundle").to_owned();
    let base = format!("http://{}", server.address("HTTP"));
    for file in ["vmlinuz-virt", "initramfs-virt", "site.img"] {
        let url = format!("{base}/b/{bundle}/{file}");
        assert!(script.contains(&url), "{script}");
        let answer = server.get(url.strip_prefix(&base).unwrap());
        assert!(answer.starts_with("HTTP/1.0 200 OK"), "{file}: {answer}");
        assert!(answer.contains("content-length: "), "{file}");
    }
    let index = format!("/b/{bundle}/packages/x86_64/APKINDEX.tar.gz");
    assert!(server.get(&index).starts_with("HTTP/1.0 200 OK"));
    assert!(server.get(&format!("/b/{bundle}/packages/x86_64/busybox-1.0-r0.apk")).starts_with("HTTP/1.0 200 OK"));

    let check_in = argument(&script, "bivouac").strip_prefix(&base).unwrap().to_owned();
    let answer = server.post(&check_in, &report(&manifest, &bundle));
    assert!(answer.starts_with("HTTP/1.0 200 OK") && answer.ends_with("\r\n\r\nok\ninterval 300\n"), "{answer}");
    server.stop();

    let machines: Value = serde_json::from_str(&site.run(&["machines", "--json"]).out).unwrap();
    let machine = &machines[0];
    for (key, value) in [
        ("mac", MAC),
        ("uuid", uuid),
        ("serial", "PC 7"),
        ("platform", "efi"),
        ("profile", "hello"),
        ("step", "check-in"),
        ("state", "up"),
        ("bundle", &bundle),
    ] {
        assert_eq!(machine[key].as_str(), Some(value), "{machine:#}");
    }
    assert_eq!(machine["running"]["world"], serde_json::json!(["alpine-base"]));
    let table = site.run(&["machines"]).out;
    let mut lines = table.lines();
    assert_eq!(
        lines.next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["MACHINE", "HOST", "NAME", "PROFILE", "RELEASE", "RUNNING", "STEP", "SINCE", "STATE"]
    );
    let row = lines.next().unwrap();
    assert!(row.starts_with(MAC) && row.contains(&bundle[..12]) && row.ends_with("  up"), "{row}");
}

#[test]
fn a_machine_that_came_up_with_something_else_is_shown_with_what_differs() {
    let site = Site::published();
    let manifest: Value = serde_json::from_str(&site.run(&["show", "hello", "--json"]).out).unwrap();
    let server = site.serve(&["--dhcp", "off"]);
    let script = server.get(&format!("/script?mac={MAC}"));
    let base = format!("http://{}", server.address("HTTP"));
    let check_in = argument(&script, "bivouac").strip_prefix(&base).unwrap();
    let report = report(&manifest, argument(&script, "bivouac_bundle")).replace("package openrc-1.0-r0\n", "");
    let answer = server.post(check_in, &report);
    assert!(answer.ends_with("not installed: openrc-1.0-r0\ninterval 300\n"), "{answer}");
    server.stop();
    let row = site.run(&["machines"]).out;
    assert!(row.contains("not installed: openrc-1.0-r0"), "{row}");
}

#[test]
fn a_server_that_was_killed_knows_its_machines_and_their_boots_again() {
    let site = Site::published();
    let manifest: Value = serde_json::from_str(&site.run(&["show", "hello", "--json"]).out).unwrap();
    let server = site.serve(&["--dhcp", "off"]);
    let script = server.get(&format!("/script?mac={MAC}"));
    let base = format!("http://{}", server.address("HTTP"));
    // The script does not wait for the disk, and the machine says nothing for seconds.
    let is_written = |_| site.run(&["machines"]).out.contains(" script ");
    assert!((0..1000).any(is_written), "{}", site.run(&["machines"]).out);
    server.kill();
    let server = site.serve(&["--dhcp", "off"]);
    let check_in = argument(&script, "bivouac").strip_prefix(&base).unwrap();
    let answer = server.post(check_in, &report(&manifest, argument(&script, "bivouac_bundle")));
    assert!(answer.ends_with("\r\n\r\nok\ninterval 300\n"), "{answer}");
}

#[test]
fn a_look_at_a_script_or_a_loader_does_not_disturb_a_boot() {
    let site = Site::published();
    let manifest: Value = serde_json::from_str(&site.run(&["show", "hello", "--json"]).out).unwrap();
    let server = site.serve(&["--dhcp", "off"]);
    let url = format!("/script?mac={MAC}");
    let script = server.get(&url);
    let base = format!("http://{}", server.address("HTTP"));
    let check_in = argument(&script, "bivouac").strip_prefix(&base).unwrap();
    server.http(&format!("HEAD {url} HTTP/1.0\r\n\r\n"));
    server.get(&url);
    let answer = server.post(check_in, &report(&manifest, argument(&script, "bivouac_bundle")));
    assert!(answer.ends_with("\r\n\r\nok\ninterval 300\n"), "{answer}");
    server.get("/loader/ipxe.efi");
    server.stop();
    let machines: Value = serde_json::from_str(&site.run(&["machines", "--json"]).out).unwrap();
    assert_eq!(machines[0]["state"], "up", "{machines:#}");
}

#[test]
fn a_machine_that_may_not_boot_is_listed_with_the_reason() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    server.get(&format!("/script?mac={MAC}&arch=arm64"));
    server.stop();
    let row = site.run(&["machines"]).out;
    assert!(row.contains("profile hello is for x86_64 and this machine is arm64"), "{row}");
}

#[test]
fn up_builds_publishes_and_serves() {
    let site = Site::new();
    site.write("bivouac.toml", "[dhcp]\nmode = \"off\"\n[http]\nlisten = \"127.0.0.1:0\"\n[tftp]\nenabled = false\n");
    let server = site.up(&["hello"]);
    assert!(server.lines[0].starts_with("hello built: bundle "), "{:?}", server.lines);
    assert!(server.lines[1].starts_with("hello@1 published: bundle "), "{:?}", server.lines);
    assert!(server.get(&format!("/script?mac={MAC}")).contains("bivouac_bundle="));
}

#[test]
fn a_new_release_reaches_machines_without_a_restart() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    let bundle = |script: &str| argument(script, "bivouac_bundle").to_owned();
    let before = bundle(&server.get(&format!("/script?mac={MAC}")));
    site.write("profiles/hello/root/etc/motd", "changed\n");
    site.run(&["build", "hello"]);
    site.run(&["publish", "hello"]);
    let after = bundle(&server.get(&format!("/script?mac={MAC}")));
    assert_ne!(before, after);
    assert!(server.get(&format!("/b/{before}/vmlinuz-virt")).starts_with("HTTP/1.0 200 OK"), "old URLs go on");
}
