//! Every kind of machine with every way of answering it. Those that boot in the other tests are not here again:
//!
//! | | full | proxy, DHCP elsewhere | proxy, DHCP beside | relay |
//! |---|---|---|---|---|
//! | SeaBIOS, iPXE in the card | `main` | here | here | here |
//! | OVMF, PXE | here | `main` | here | here |
//! | OVMF, HTTP Boot | `main` | here | here | here |

use crate::lab::{Lab, Machine, Neighbour, PATIENCE};
use crate::site::Site;
use crate::{FULL, assert_up};

fn boots_from_a_full_server(machine: Machine, test: &str) {
    let (site, lab) = (Site::publish(), Lab::new(test));
    boots(&lab, machine, &site, &FULL);
}

fn boots_from_a_proxy(machine: Machine, neighbour: Neighbour, test: &str) {
    let (site, mut lab) = (Site::publish(), Lab::new(test));
    lab.plain_dhcp(neighbour);
    boots(&lab, machine, &site, &["--dhcp", "proxy"]);
}

fn boots_behind_a_relay(machine: Machine, test: &str) {
    let (site, (lab, file)) = (Site::publish(), Lab::with_relay(test));
    boots(&lab, machine, &site, &["--site", file.to_str().unwrap()]);
}

fn boots(lab: &Lab, machine: Machine, site: &Site, flags: &[&str]) {
    let mut server = lab.serve(&site.state(), flags);
    let mut running = lab.power_on(machine);
    let up = lab.expect_check_in(&site.state(), &mut server, &mut running);
    assert_up(&up, site);
    let came_by_http = server.text().contains("loader=ipxe.efi");
    assert_eq!(came_by_http, machine == Machine::UefiHttp, "{}", server.text());
}

#[test]
fn bios_beside_the_dhcp_server_of_another_computer() {
    boots_from_a_proxy(Machine::BiosRom, Neighbour::Elsewhere, "be");
}

#[test]
fn bios_beside_the_dhcp_server_of_the_same_computer() {
    boots_from_a_proxy(Machine::BiosRom, Neighbour::Beside, "bb");
}

#[test]
fn bios_behind_a_relay() {
    boots_behind_a_relay(Machine::BiosRom, "br");
}

#[test]
fn uefi_pxe_from_a_full_server() {
    boots_from_a_full_server(Machine::UefiPxe, "pf");
}

#[test]
fn uefi_pxe_beside_the_dhcp_server_of_the_same_computer() {
    boots_from_a_proxy(Machine::UefiPxe, Neighbour::Beside, "pb");
}

#[test]
fn uefi_pxe_behind_a_relay() {
    boots_behind_a_relay(Machine::UefiPxe, "pr");
}

#[test]
fn uefi_http_beside_the_dhcp_server_of_another_computer() {
    boots_from_a_proxy(Machine::UefiHttp, Neighbour::Elsewhere, "he");
}

#[test]
fn uefi_http_beside_the_dhcp_server_of_the_same_computer() {
    boots_from_a_proxy(Machine::UefiHttp, Neighbour::Beside, "hb");
}

#[test]
fn uefi_http_behind_a_relay() {
    boots_behind_a_relay(Machine::UefiHttp, "hr");
}

#[test]
fn uefi_at_its_menu_takes_the_default() {
    let (site, lab) = (Site::publish(), Lab::new("um"));
    let file = lab.path("bivouac.toml");
    std::fs::write(&file, "default-policy = \"ask\"\n[menu]\ntimeout = \"2s\"\n").unwrap();
    boots(&lab, Machine::UefiPxe, &site, &[&FULL[..], &["--site", file.to_str().unwrap()]].concat());
}

#[test]
fn uefi_that_shall_boot_from_its_disk_does() {
    let (site, lab) = (Site::publish(), Lab::new("ud"));
    let file = lab.path("bivouac.toml");
    std::fs::write(&file, "default-policy = \"local-disk\"\n").unwrap();
    let mut server = lab.serve(&site.state(), &[&FULL[..], &["--site", file.to_str().unwrap()]].concat());
    let mut machine = lab.power_on_with_system_partition();
    machine.wait_for("from the disk", PATIENCE);
    server.drain();
    assert!(server.text().contains("loader=snponly.efi"), "{}", server.text());
}
