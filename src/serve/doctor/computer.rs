//! This computer: its ports and interfaces, and the loaders.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use super::{Finding, Patient};
use crate::model::net::DhcpMode;
use crate::serve::bind::BindError;
use crate::serve::dhcp::Listen;
use crate::serve::interfaces::{self, Place};
use crate::serve::port_owner::{self, Protocol};

/// An Ethernet frame's usual room.
pub(super) const USUAL_MTU: u32 = 1500;

/// Interfaces, ports and loaders. Whether a server of ours runs is the second answer.
#[must_use]
pub fn computer(patient: &Patient) -> (Vec<Finding>, bool) {
    let mut findings = network_cards(patient);
    let runs = ports(patient, &mut findings);
    findings.extend(loaders(patient));
    (findings, runs)
}

fn network_cards(patient: &Patient) -> Vec<Finding> {
    let wanted = match &patient.dhcp {
        listen if listen.is_off() => {
            let fix = "`bivouac dhcp-recipe` prints the lines that another DHCP server needs";
            return vec![Finding::doubtful("interface", "DHCP is off: another server has to name the loader", fix)];
        }
        Listen::Address(address, mode) => {
            let said = format!("DHCP is in mode {}, on the address {address}: broadcasts are not heard", mode.word());
            return vec![Finding::doubtful("interface", said, "take `dhcp.listen` out, unless only relays shall ask")];
        }
        Listen::Cable(_) => return Vec::new(),
        Listen::Interfaces(wanted) => wanted,
    };
    let all = match interfaces::list() {
        Ok(all) => all,
        Err(error) => return vec![Finding::wrong("interface", error.to_string(), "ask as root")],
    };
    match wanted.choose(&all) {
        Ok(places) => places.iter().map(card).collect(),
        Err(error) => {
            let names: Vec<String> = all.iter().map(|own| own.name.clone()).collect();
            let fix =
                format!("`dhcp.interfaces` (or --interface) names those to serve; there are {}", names.join(", "));
            vec![Finding::wrong("interface", error.to_string(), fix)]
        }
    }
}

fn card(place: &Place) -> Finding {
    let read = |what: &str| fs::read_to_string(Path::new("/sys/class/net").join(&place.name).join(what));
    let addresses: Vec<String> = place.addresses.iter().map(|own| own.address.to_string()).collect();
    let said = format!("{} ({}): {}", place.name, addresses.join(", "), mode(place.mode));
    let has_carrier = read("carrier").map_or(true, |text| text.trim() != "0");
    let mtu = read("mtu").ok().and_then(|text| text.trim().parse::<u32>().ok());
    if !has_carrier {
        return Finding::wrong("interface", format!("{said}; no cable is plugged in"), "plug it in, or name another");
    }
    match mtu {
        Some(mtu) if mtu < USUAL_MTU => {
            let fix = format!("firmware sends frames of {USUAL_MTU} bytes: set `mtu {USUAL_MTU}`, or use another way");
            Finding::doubtful("interface", format!("{said}; its MTU is {mtu}"), fix)
        }
        _ => Finding::good("interface", said),
    }
}

fn mode(mode: DhcpMode) -> &'static str {
    match mode {
        DhcpMode::Off => "DHCP is off",
        DhcpMode::Proxy => "machines get their address from another server, and are told here how to boot",
        DhcpMode::Full => "everybody gets an address here",
        DhcpMode::Reservations => "machines with an address in the site file get it here",
    }
}

/// Whether the ports can be had, or who has them; true when a server of ours does.
fn ports(patient: &Patient, findings: &mut Vec<Finding>) -> bool {
    let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    let places: Vec<Place> = patient.places().into_iter().filter(|place| place.mode != DhcpMode::Off).collect();
    let gives = places.iter().any(|place| place.mode.gives_addresses());
    let mut wanted = vec![("HTTP", Protocol::Tcp, patient.http)];
    wanted.extend(patient.tftp.map(|address| ("TFTP", Protocol::Udp, address)));
    if gives {
        wanted.push(("DHCP", Protocol::Udp, any(patient.dhcp_port)));
    }
    if !places.is_empty() {
        wanted.push(("PXE boot server", Protocol::Udp, any(patient.pxe_port)));
    }
    let mut runs = false;
    for (what, protocol, address) in wanted {
        let tried = match protocol {
            Protocol::Tcp => TcpListener::bind(address).map(drop),
            Protocol::Udp => UdpSocket::bind(address).map(drop),
        };
        let port = format!("{what}, {protocol} {address}");
        findings.push(match tried.map_err(|error| BindError::new(protocol, address, error)) {
            Ok(()) => Finding::good("port", format!("{port} is free")),
            Err(BindError::InUse { owner: Some(owner), .. }) if owner.name == "bivouac" => {
                runs = true;
                Finding::good("port", format!("{port} is served by {owner}"))
            }
            Err(BindError::InUse { owner, .. }) => {
                let by = owner.map_or_else(|| "somebody".to_owned(), |owner| owner.to_string());
                Finding::wrong(
                    "port",
                    format!("{port} is in use by {by}"),
                    "stop it, or choose another port or address",
                )
            }
            Err(error @ BindError::Permission { .. }) => Finding::wrong("port", error.to_string(), "ask as root"),
            Err(error) => Finding::wrong("port", error.to_string(), "correct the address in the site file"),
        });
    }
    if let Some(owner) = port_owner::find(Protocol::Udp, patient.dhcp_port).filter(|owner| owner.name != "bivouac")
        && !gives
        && !places.is_empty()
    {
        let said = format!("{owner} has port {} and gives the addresses; port 67 is only overheard", patient.dhcp_port);
        findings.push(Finding::good("port", said));
    }
    runs
}

fn loaders(patient: &Patient) -> Vec<Finding> {
    let loaders = &patient.loaders;
    let mut findings: Vec<Finding> = loaders
        .iter()
        .map(|loader| Finding::good("loader", format!("{} for {}", loader.name, loader.firmware)))
        .collect();
    let add = "`bivouac loaders add FILE` takes one";
    findings.extend(loaders.refused().iter().map(|refused| Finding::doubtful("loader", refused.to_string(), add)));
    findings.extend(loaders.unmet().iter().map(|unmet| Finding::doubtful("loader", unmet.problem(), add)));
    if loaders.iter().next().is_none() {
        findings.push(Finding::wrong("loader", "there is no loader, so no firmware can boot", add));
    }
    let missing = loaders.missing();
    findings.extend(missing.iter().map(|missing| Finding::doubtful("loader", missing.problem(), missing.remedy())));
    findings
}
