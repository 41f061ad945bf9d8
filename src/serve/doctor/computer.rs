//! This computer: its interfaces and ports, its certificate, and the loaders.

use std::fs;
use std::io;
use std::path::Path;

use nix::net::if_::InterfaceFlags;

use super::ports::ports;
use super::{Finding, Https, Looker, Patient};
use crate::model::net::DhcpMode;
use crate::serve::dhcp::Listen;
use crate::serve::http::tls::{self, TlsError};
use crate::serve::interfaces::{self, Place};
use crate::serve::rollouts::Chain;

/// An Ethernet frame's usual room.
pub(super) const USUAL_MTU: u32 = 1500;

/// Where the kernel tells about interfaces.
const CARDS: &str = "/sys/class/net";

/// Interfaces, ports, certificate and loaders. Whether a server of ours runs is the second answer.
pub async fn computer(patient: &Patient) -> (Vec<Finding>, bool) {
    let mut findings = network_cards(patient);
    let (ports, runs) = ports(patient).await;
    findings.extend(ports);
    findings.extend(certificate(patient));
    findings.extend(loaders(patient, &fs::read_dir(&patient.state).map(drop)));
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
        Ok(places) => places.iter().map(|place| card(place, Path::new(CARDS))).collect(),
        Err(error) => {
            let names: Vec<String> = all.iter().map(|own| own.name.clone()).collect();
            let fix =
                format!("`dhcp.interfaces` (or --interface) names those to serve; there are {}", names.join(", "));
            vec![Finding::wrong("interface", error.to_string(), fix)]
        }
    }
}

/// What `cards`, a folder with one for each interface, says of one.
fn card(place: &Place, cards: &Path) -> Finding {
    let read = |what: &str| fs::read_to_string(cards.join(&place.name).join(what)).ok();
    let addresses: Vec<String> = place.addresses.iter().map(|own| own.address.to_string()).collect();
    let said = format!("{} ({}): {}", place.name, addresses.join(", "), mode(place.mode));
    let flags = read("flags").and_then(|text| i64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok());
    // One that is down does not say whether there is a cable.
    if flags.is_some_and(|flags| flags & i64::from(InterfaceFlags::IFF_UP.bits()) == 0) {
        let fix = format!("switch it on with `ip link set {} up`, or name another", place.name);
        return Finding::wrong("interface", format!("{said}; it is down"), fix);
    }
    if read("carrier").is_some_and(|text| text.trim() == "0") {
        return Finding::wrong("interface", format!("{said}; no cable is plugged in"), "plug it in, or name another");
    }
    let mtu = read("mtu").and_then(|text| text.trim().parse::<u32>().ok());
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

/// Whether HTTPS can be spoken, as the server finds out at its start.
fn certificate(patient: &Patient) -> Option<Finding> {
    let Https { certificate, key, .. } = patient.https.as_ref()?;
    let Err(error) = tls::load(certificate, key) else {
        return Some(Finding::good("https", format!("{} can be used", certificate.display())));
    };
    let said = format!("HTTPS cannot be served: {}", Chain(&error));
    let is_hidden = matches!(&error, TlsError::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied);
    let fix = "`serve` does not start like this: correct `http.certificate` and `http.key`, or take them out";
    Some(if is_hidden { Looker::now().refused("https", said, fix) } else { Finding::wrong("https", said, fix) })
}

/// The loaders, of which some are in the `state` folder.
fn loaders(patient: &Patient, state: &io::Result<()>) -> Vec<Finding> {
    let loaders = &patient.loaders;
    let mut findings: Vec<Finding> = loaders
        .iter()
        .map(|loader| Finding::good("loader", format!("{} for {}", loader.name, loader.firmware)))
        .collect();
    let add = "`bivouac loaders add FILE` takes one";
    let is_hidden = state.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    // Of a folder that is out of reach, no file says anything.
    let refused = loaders.refused().iter().filter(|refused| !is_hidden || !refused.path.starts_with(&patient.state));
    findings.extend(refused.map(|refused| Finding::doubtful("loader", refused.to_string(), add)));
    findings.extend(loaders.unmet().iter().map(|unmet| Finding::doubtful("loader", unmet.problem(), add)));
    if is_hidden {
        let said = format!("the loaders in {} cannot be seen", patient.state.display());
        findings.push(Looker::now().refused("loader", said, "let the server read the folder"));
    } else if loaders.iter().next().is_none() {
        findings.push(Finding::wrong("loader", "there is no loader, so no firmware can boot", add));
    }
    let missing = loaders.missing();
    findings.extend(missing.iter().map(|missing| Finding::doubtful("loader", missing.problem(), missing.remedy())));
    findings
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::super::{Verdict, patient};
    use super::*;

    #[test]
    fn an_interface_that_is_down_or_without_a_cable_is_wrong() {
        let place = Place { name: "eth0".to_owned(), index: 1, addresses: Vec::new(), mode: DhcpMode::Proxy };
        for (flags, carrier, mtu, verdict, said) in [
            ("0x1003", Some("1"), "1500", Verdict::Good, ""),
            ("0x1002", None, "1500", Verdict::Wrong, "; it is down"),
            ("0x1003", Some("0"), "1500", Verdict::Wrong, "; no cable is plugged in"),
            ("0x1003", Some("1"), "1400", Verdict::Doubtful, "; its MTU is 1400"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("eth0")).unwrap();
            let files = [("flags", Some(flags)), ("carrier", carrier), ("mtu", Some(mtu))];
            for (name, text) in files.into_iter().filter_map(|(name, text)| Some((name, text?))) {
                fs::write(folder.path().join("eth0").join(name), format!("{text}\n")).unwrap();
            }
            let found = card(&place, folder.path());
            assert_eq!(found.verdict, verdict, "{found:?}");
            assert!(found.text.ends_with(said), "{found:?}");
        }
    }

    #[test]
    fn loaders_that_cannot_be_seen_are_not_taken_for_none() {
        let patient = || Patient { loaders: Arc::default(), ..patient() };
        let none = "there is no loader, so no firmware can boot";
        let says =
            |state: io::Result<()>, said: &str| loaders(&patient(), &state).iter().any(|it| it.text.contains(said));
        assert!(says(Ok(()), none) && says(Err(io::ErrorKind::NotFound.into()), none));
        let hidden = || Err(io::ErrorKind::PermissionDenied.into());
        assert!(!says(hidden(), none) && says(hidden(), "cannot be seen"));
    }

    #[test]
    fn a_certificate_that_serve_would_refuse_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("cert.pem");
        let listen = "127.0.0.1:443".parse().unwrap();
        let https = || Https { listen, certificate: certificate.clone(), key: PathBuf::from("key.pem") };
        let found = || super::certificate(&Patient { https: Some(https()), ..patient() }).unwrap();
        let missing = found();
        assert_eq!(missing.verdict, Verdict::Wrong);
        assert!(missing.text.contains("cert.pem, which `http.certificate` of the site file names"), "{missing:?}");
        fs::write(&certificate, "no certificate").unwrap();
        let empty = found();
        assert!(empty.verdict == Verdict::Wrong && empty.text.contains("has no certificate"), "{empty:?}");
        assert_eq!(super::certificate(&patient()), None);
    }
}
