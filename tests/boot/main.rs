//! Boot tests: real firmware, a real kernel and real packets, from power-on to the check-in of the running machine.
//!
//! They need root (network namespaces), QEMU, OVMF, Debian's `ipxe`, dnsmasq, ISC's DHCP server and relay, Kea and busybox,
//! and no network; `scripts/check` installs these and runs them, but for [`nightly`], which `scripts/check --nightly` runs
//! as well. Everything happens in namespaces each test makes for itself.
#![expect(unreachable_pub, clippy::unwrap_used, reason = "tests")]

mod dhcp;
mod lab;
mod nightly;
mod package;
mod profiles;
mod recipes;
mod rollout;
mod site;
mod trial;
mod wires;

use std::time::{Duration, Instant};

use lab::{Lab, MAC, Machine, Neighbour, PATIENCE, UUID};
use site::Site;

const FULL: [&str; 4] = ["--dhcp", "full", "--pool", "10.77.0.100-10.77.0.199"];

/// The machine came up with what it was told to boot, and `bivouac machines` says so.
fn assert_up(machine: &serde_json::Value, site: &Site) {
    assert_up_as(machine, site, "hello");
}

/// The same, under a host name of its own.
fn assert_up_as(machine: &serde_json::Value, site: &Site, hostname: &str) {
    assert_eq!(machine["problems"], serde_json::json!([]), "{machine:#}");
    assert_eq!(machine["state"], "up", "{machine:#}");
    assert_eq!(machine["mac"], MAC);
    assert_eq!(machine["uuid"], UUID);
    assert_eq!(machine["serial"], "PC 7");
    assert_eq!(machine["profile"], "hello");
    assert_eq!(machine["release"], 1);
    assert_eq!(machine["step"], "check-in");
    assert_eq!(machine["bundle"].as_str(), Some(site.bundle.as_str()));
    assert_eq!(machine["running"]["bundle"], machine["bundle"]);
    assert_eq!(machine["running"]["hostname"], hostname);
    assert_eq!(machine["running"]["modloop"], true);
    assert_eq!(machine["good"], true, "{machine:#}");
    let vitals = &machine["vitals"];
    assert!(vitals["uptime"].as_u64() > Some(0) && vitals["memory"]["available"].as_u64() > Some(0), "{machine:#}");
    assert_eq!(vitals["failed_services"], serde_json::json!([]), "{machine:#}");
    let world = machine["running"]["world"].as_array().unwrap();
    assert!(world.iter().any(|name| name == "alpine-base"), "{machine:#}");
    let packages = machine["running"]["packages"].as_array().unwrap();
    assert!(packages.iter().any(|name| name.as_str().unwrap().starts_with("alpine-base-")), "{machine:#}");
}

#[test]
fn a_bios_machine_with_ipxe_in_its_card_boots_from_our_dhcp_server() {
    let (site, lab) = (Site::publish(), Lab::new("bios"));
    let file = lab.path("bivouac.toml");
    std::fs::write(&file, "[fleet]\ncheck-in-interval = \"10s\"\n").unwrap();
    let mut server = lab.serve(&site.state(), &[&FULL[..], &["--site", file.to_str().unwrap()]].concat());
    let mut machine = lab.power_on(Machine::BiosRom);
    let up = lab.expect_check_in(&site.state(), &mut server, &mut machine);
    assert_up(&up, &site);
    server.wait_for("still there", PATIENCE);
    assert_eq!(up["platform"], "pcbios", "{}", server.text());
}

#[test]
fn a_uefi_machine_boots_by_pxe_beside_the_dhcp_server_of_the_site() {
    let (site, mut lab) = (Site::publish(), Lab::new("pxe"));
    lab.plain_dhcp(Neighbour::Elsewhere);
    let mut server = lab.serve(&site.state(), &["--dhcp", "proxy"]);
    let mut machine = lab.power_on(Machine::UefiPxe);
    let up = lab.expect_check_in(&site.state(), &mut server, &mut machine);
    assert_up(&up, &site);
    assert_eq!(up["platform"], "efi", "{}", server.text());
}

#[test]
fn a_uefi_machine_boots_by_http_and_has_files_of_its_own() {
    let name = "pc-{{ machine.mac | replace(':', '') }}\n";
    let (site, lab) = (Site::publish_with("etc/hostname.tmpl", name), Lab::new("http"));
    let mut server = lab.serve(&site.state(), &FULL);
    let mut machine = lab.power_on(Machine::UefiHttp);
    let up = lab.expect_check_in(&site.state(), &mut server, &mut machine);
    assert_up_as(&up, &site, &format!("pc-{}", MAC.replace(':', "")));
    assert!(server.text().contains("loader=ipxe.efi"), "iPXE came by HTTP:\n{}", server.text());
}

#[test]
fn a_machine_whose_server_goes_away_between_script_and_kernel_boots_when_it_is_back() {
    let (site, lab) = (Site::publish(), Lab::new("away"));
    // Without the kernel's blob the machine cannot get past its script, so the server stops at just that moment.
    let kernel = site.kernel_blob();
    let aside = lab.path("kernel");
    std::fs::rename(&kernel, &aside).unwrap();
    let mut server = lab.serve(&site.state(), &FULL);
    let mut machine = lab.power_on(Machine::BiosRom);
    server.wait_for("a file of a bundle cannot be read", Duration::from_secs(120));
    // What happens is on the disk a moment later; the machine goes on asking for half a minute.
    let begun = Instant::now();
    while lab.machines(&site.state())[0]["step"] != "script" {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:#}", lab.machines(&site.state())[0]);
    }
    server.kill();
    std::fs::copy(&aside, &kernel).unwrap();
    let mut server = lab.serve(&site.state(), &FULL);
    let up = lab.expect_check_in(&site.state(), &mut server, &mut machine);
    assert_up(&up, &site);
}

#[test]
fn a_machine_whose_package_was_changed_on_its_way_does_not_count_as_up() {
    let (site, lab) = (Site::publish(), Lab::new("apk"));
    // Of the packages of the bundle, the one without which the machine still comes as far as its check-in.
    let (mut middle, address) = lab.tamper("/openssl-");
    let mut server = lab.serve(&site.state(), &[&FULL[..], &["--advertise", &address]].concat());
    let mut machine = lab.power_on(Machine::BiosRom);
    machine.wait_for("BAD archive", PATIENCE);
    server.wait_for("a machine came up with something else than it was told to boot", PATIENCE);
    middle.wait_for("changed ", PATIENCE);
    let machine = &lab.machines(&site.state())[0];
    assert_eq!(machine["state"], "wrong", "{machine:#}");
    let problems = machine["problems"].to_string();
    assert!(problems.contains("openssl-"), "{machine:#}");
}

#[test]
fn a_machine_whose_package_index_was_changed_on_its_way_installs_nothing() {
    let (site, lab) = (Site::publish(), Lab::new("index"));
    let (_middle, address) = lab.tamper("/APKINDEX");
    let mut server = lab.serve(&site.state(), &[&FULL[..], &["--advertise", &address]].concat());
    let mut machine = lab.power_on(Machine::BiosRom);
    machine.wait_for("UNTRUSTED signature", PATIENCE);
    // Init finds nothing to start, and with `panic` gives up.
    machine.wait_for("Kernel panic", PATIENCE);
    server.drain();
    assert!(!server.text().contains(" check-in "), "{}", server.text());
    assert_ne!(lab.machines(&site.state())[0]["state"], "up");
}

#[test]
fn a_machine_at_its_menu_takes_the_default_and_what_is_good_when_that_cannot_be_loaded() {
    let (site, lab) = (Site::publish(), Lab::new("menu"));
    let file = lab.path("bivouac.toml");
    std::fs::write(&file, "default-policy = \"ask\"\n[menu]\ntimeout = \"2s\"\n").unwrap();
    let mut server = lab.serve(&site.state(), &[&FULL[..], &["--site", file.to_str().unwrap()]].concat());
    let mut machine = lab.power_on(Machine::BiosRom);
    let up = lab.expect_check_in(&site.state(), &mut server, &mut machine);
    assert_up(&up, &site);
    assert!(server.text().contains("what=\"menu\""), "{}", server.text());
    machine.kill();
    site.publish_broken("etc/issue", "the second\n");
    let mut machine = lab.power_on(Machine::BiosRom);
    server.wait_for("a machine cannot load its bundle", PATIENCE);
    server.wait_for(" check-in ", PATIENCE);
    let up = &lab.machines(&site.state())[0];
    assert_eq!((up["release"].as_u64(), up["step"].as_str()), (Some(1), Some("check-in")), "{up:#}");
    assert!(up["problems"].to_string().contains("release 2 cannot be loaded; it boots release 1 again"), "{up:#}");
    machine.kill();
}

#[test]
fn a_machine_that_shall_boot_from_its_disk_does() {
    let (site, lab) = (Site::publish(), Lab::new("disk"));
    let file = lab.path("bivouac.toml");
    std::fs::write(&file, "default-policy = \"local-disk\"\n").unwrap();
    let _server = lab.serve(&site.state(), &[&FULL[..], &["--site", file.to_str().unwrap()]].concat());
    let mut machine = lab.power_on_with_disk();
    machine.wait_for("from the disk", PATIENCE);
}
