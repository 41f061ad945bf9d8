//! The network: which DHCP and PXE servers answer a machine that boots here, and whether full frames get to them.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::{Duration, Instant};

use dhcproto::v4::{CLIENT_PORT, MessageType, SERVER_PORT};
use futures_util::future::join_all;

use super::base::Base;
use super::boot_server::silent;
use super::frames::frames;
use super::{Finding, Patient};
use crate::model::mac::Mac;
use crate::model::net::DhcpMode;
use crate::serve::dhcp::raw::Overhearing;
use crate::serve::dhcp::{LOADER_PATH, SCRIPT_PATH};
use crate::serve::interfaces::{self, Place};
use crate::wire::dhcp::{BROADCAST, DOCTOR, Direction, Packet, code};
use crate::wire::udp::Datagram;

/// How long answers are waited for; servers that look whether an address is in use take a second.
const PATIENCE: Duration = Duration::from_secs(4);

/// The firmware whose packets are sent: BIOS and UEFI, as PXE boots them.
const FIRMWARE: [u16; 2] = [0, 7];

/// What to do with a server that has to name the loader.
const RECIPE: &str = "`bivouac dhcp-recipe` prints the lines that this server needs; if no machines boot on this interface, \
                      name those where they do with `dhcp.interfaces`";

/// An answer that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    /// Who sent it.
    from: Ipv4Addr,
    /// What it gives: nothing is unspecified.
    address: Ipv4Addr,
    /// The loader it names.
    pub(super) file: String,
    /// Where that is to be had: the next server, or else who sent it.
    server: Ipv4Addr,
    /// Whether it says that it is for PXE.
    pxe: bool,
}

/// Sends DISCOVER as firmware does on each interface, and says who answered with what. `runs` is whether a server of
/// ours does.
pub async fn network(patient: &Patient, runs: bool) -> Vec<Finding> {
    let places = patient.places();
    let is_off = places.iter().any(|place| place.mode == DhcpMode::Off);
    let own = own_addresses(patient);
    let mut findings = Vec::new();
    let mut is_silent = true;
    for (place, heard) in join_all(places.into_iter().map(hear)).await {
        match heard {
            Ok((heard, frames)) => {
                is_silent &= heard.is_empty();
                findings.extend(match place.mode {
                    DhcpMode::Off => judge_others(&place, &heard, &own, patient),
                    _ => judge(&place, &heard, runs, patient),
                });
                findings.extend(frames);
            }
            Err(error) => {
                is_silent = false;
                let said = format!("{}: other servers cannot be looked for: {error}", place.name);
                let fix = match error.kind() {
                    io::ErrorKind::PermissionDenied => "ask as root, or grant CAP_NET_RAW",
                    _ => "see with `ip address` whether the interface is up and has an address",
                };
                findings.push(Finding::doubtful("network", said, fix));
            }
        }
    }
    if is_off && is_silent {
        let fix = "machines need a DHCP server that gives them an address and names the loader: start it and add what \
                   `bivouac dhcp-recipe` prints, or use `dhcp.mode`";
        findings.push(Finding::doubtful("network", "no DHCP server answers here, and DHCP is off", fix));
    }
    findings
}

/// Listens on an interface, and tries frames of full size to those who were heard there.
async fn hear(place: Place) -> (Place, io::Result<(Vec<Heard>, Vec<Finding>)>) {
    let at = place.clone();
    let heard = tokio::task::spawn_blocking(move || {
        let heard = listen(&at)?;
        let frames = frames(&at, &neighbours(&at, &heard));
        Ok((heard, frames))
    });
    (place, heard.await.unwrap_or_else(|panic| Err(io::Error::other(panic))))
}

/// The addresses at which machines find this server.
fn own_addresses(patient: &Patient) -> Vec<Ipv4Addr> {
    let address = |base: Base| match base.address()? {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let advertised = patient.advertise.as_deref().and_then(Base::parse).and_then(address);
    let all = interfaces::list().unwrap_or_default();
    all.iter().flat_map(|own| &own.addresses).map(|own| own.address).chain(advertised).collect()
}

/// The other computers that answered from the networks of an interface itself.
fn neighbours(place: &Place, heard: &[Heard]) -> Vec<Ipv4Addr> {
    let is_near = |it: &Ipv4Addr| {
        place.addresses.iter().any(|own| own.reaches(*it)) && place.addresses.iter().all(|own| own.address != *it)
    };
    heard.iter().map(|it| it.from).filter(is_near).collect::<BTreeSet<_>>().into_iter().collect()
}

fn listen(place: &Place) -> io::Result<Vec<Heard>> {
    // Other programs of this computer may have port 68; nothing is taken from them.
    let socket = Overhearing::open(&place.name, CLIENT_PORT, PATIENCE / 8)?;
    let own = own_mac(&place.name);
    // Not 0.0.0.0, as firmware has: the kernel puts an address of its own there (raw(7)), and the checksum is wrong then.
    let source = place.addresses.first().map_or(Ipv4Addr::UNSPECIFIED, |own| own.address);
    let xids = FIRMWARE.map(|architecture| 0xb1_70_00_00 | u32::from(architecture));
    for (architecture, xid) in FIRMWARE.into_iter().zip(xids) {
        let bytes = discover(own, architecture, xid).encode(1472);
        socket.send(&bytes, source, SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT))?;
    }
    let mut heard: Vec<Heard> = Vec::new();
    let end = Instant::now() + PATIENCE;
    let mut buffer = [0; 2048];
    while Instant::now() < end {
        let length = match socket.receive(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(error) => return Err(error),
        };
        let packet = buffer.get(..length).and_then(Datagram::read);
        let Some(datagram) = packet else { continue };
        let Ok(answer) = Packet::decode(datagram.payload) else { continue };
        let is_offer = answer.message_type() == Some(MessageType::Offer) && answer.direction == Direction::Reply;
        // What is asked on another interface of the same network is heard here too.
        if is_offer && xids.contains(&answer.xid) && answer.mac() == Some(own) {
            let new = Heard::of(*datagram.source.ip(), &answer);
            if !heard.contains(&new) {
                heard.push(new);
            }
        }
    }
    Ok(heard)
}

/// The address of the interface itself, because switches let no other pass; an invented one where there is none.
pub(super) fn own_mac(interface: &str) -> Mac {
    let text = fs::read_to_string(Path::new("/sys/class/net").join(interface).join("address")).unwrap_or_default();
    text.trim().parse().ok().filter(Mac::is_unicast).unwrap_or(Mac([0x02, 0, 0, 0, 0xd0, 0xc7]))
}

pub(super) fn discover(mac: Mac, architecture: u16, xid: u32) -> Packet {
    let mut packet = Packet { flags: BROADCAST, ..Packet::request(mac, MessageType::Discover, xid) };
    let options = &mut packet.options;
    options.put(code::PARAMETERS, &[code::NETMASK, code::ROUTER, code::DNS, code::TFTP_SERVER, code::BOOT_FILE]);
    options.put(code::VENDOR_CLASS, format!("PXEClient:Arch:{architecture:05}:UNDI:003016").as_bytes());
    options.put(code::ARCHITECTURE, &architecture.to_be_bytes());
    options.put(code::MACHINE_ID, &[0; 17]);
    options.put(code::CLIENT_ID, DOCTOR);
    packet
}

impl Heard {
    pub(super) fn of(from: Ipv4Addr, answer: &Packet) -> Self {
        let named = answer.options.get(code::BOOT_FILE).unwrap_or(&answer.file);
        let shown = |named: &[u8]| {
            let shown: Vec<u8> = named.iter().copied().take_while(u8::is_ascii_graphic).take(120).collect();
            String::from_utf8_lossy(&shown).into_owned()
        };
        let next = Some(answer.siaddr).filter(|address| !address.is_unspecified());
        let option = || shown(answer.options.get(code::TFTP_SERVER)?).parse().ok();
        Self {
            from,
            address: answer.yiaddr,
            file: shown(named),
            server: next.or_else(option).unwrap_or(from),
            pxe: answer.options.vendor_class().starts_with(b"PXEClient"),
        }
    }

    fn gives_address(&self) -> bool {
        !self.address.is_unspecified()
    }

    fn names_loader(&self) -> bool {
        self.pxe || !self.file.is_empty()
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Ipv4Addr::UNSPECIFIED => f.write_str("gives no address and ")?,
            address => write!(f, "gives the address {address} and ")?,
        }
        match (self.file.as_str(), self.pxe) {
            ("", false) => f.write_str("names no loader"),
            ("", true) => f.write_str("sends firmware to a boot server"),
            (file, _) if self.server == self.from => write!(f, "names the loader {file}"),
            (file, _) => write!(f, "names the loader {file} of {}", self.server),
        }
    }
}

/// Where DHCP is answered.
fn judge(place: &Place, heard: &[Heard], runs: bool, patient: &Patient) -> Vec<Finding> {
    let is_ours = |it: &&Heard| {
        let is_here = place.addresses.iter().any(|own| own.address == it.from);
        let is_of_loader = it.file.is_empty() || patient.loaders.by_name(&it.file).is_some();
        // Beside a proxy, another server of this computer may give the addresses.
        let is_of_mode = place.mode != DhcpMode::Proxy || !it.gives_address() && it.names_loader();
        is_here && is_of_loader && is_of_mode
    };
    let name = &place.name;
    let mut findings = Vec::new();
    for it in heard {
        let who = if runs && is_ours(&it) { " (this server)" } else { "" };
        let said = format!("{name}: {}{who} {it}", it.from);
        findings.push(match (runs && is_ours(&it), it.gives_address(), it.names_loader()) {
            (true, ..) => Finding::good("network", said),
            (false, _, true) => {
                let fix = "two servers name loaders and machines take either's: switch its PXE off, or ours on this \
                           interface (`dhcp.modes`)";
                Finding::wrong("network", said, fix)
            }
            // Where only some machines have an address here, another server gives one to all others.
            (false, true, false) if place.mode == DhcpMode::Full => {
                let fix = "two servers give addresses in one network: switch one off, or use `dhcp.mode = \"proxy\"`";
                Finding::wrong("network", said, fix)
            }
            (false, ..) => Finding::good("network", said),
        });
    }
    if place.mode == DhcpMode::Proxy && !heard.iter().any(Heard::gives_address) {
        let fix = "machines need an address before they boot: start the DHCP server of this network, or use `dhcp.mode = \
                   \"full\"` with a pool";
        findings.push(Finding::wrong("network", format!("{name}: no server gives an address"), fix));
    }
    let answers = heard.iter().any(|it| is_ours(&it));
    if runs && !answers && place.mode != DhcpMode::Reservations {
        let said = format!("{name}: this server did not answer a DISCOVER");
        findings.push(silent("network", said, "UDP ports 67 and 68", patient));
    }
    findings
}

/// Where DHCP is off, and another server has to name the loader. `own` is where machines find this one.
fn judge_others(place: &Place, heard: &[Heard], own: &[Ipv4Addr], patient: &Patient) -> Vec<Finding> {
    let leads_here = |it: &Heard| {
        let is_loader = patient.loaders.by_name(&it.file).is_some() && own.contains(&it.server);
        let base = Base::parse(&it.file);
        let host = base.and_then(|base| base.address());
        let is_base = own.iter().any(|own| host == Some(IpAddr::V4(*own)));
        is_loader || is_base && (it.file.contains(LOADER_PATH) || it.file.contains(SCRIPT_PATH))
    };
    let is_named = heard.iter().any(Heard::names_loader);
    let judge = |it: &Heard| {
        let said = format!("{}: {} {it}", place.name, it.from);
        if leads_here(it) || is_named && !it.names_loader() {
            Finding::good("network", said)
        } else if it.names_loader() {
            Finding::doubtful("network", format!("{said}, which does not lead to this server"), RECIPE)
        } else {
            Finding::wrong("network", said, RECIPE)
        }
    };
    heard.iter().map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Verdict, patient};
    use super::*;
    use crate::serve::dhcp::Client;
    use crate::serve::interfaces::Address;

    fn heard(from: u8, gives: bool, file: &str, pxe: bool) -> Heard {
        let address = if gives { [10, 0, 0, 100].into() } else { Ipv4Addr::UNSPECIFIED };
        let from = [10, 0, 0, from].into();
        Heard { from, address, file: file.to_owned(), server: from, pxe }
    }

    fn place(mode: DhcpMode) -> Place {
        let address = Address { address: [10, 0, 0, 1].into(), netmask: [255, 255, 255, 0].into() };
        Place { name: "eth0".to_owned(), index: 1, addresses: vec![address], mode }
    }

    fn judged(mode: DhcpMode, heard: &[Heard], runs: bool) -> Vec<(Verdict, String)> {
        judge(&place(mode), heard, runs, &patient()).into_iter().map(|it| (it.verdict, it.text)).collect()
    }

    #[test]
    fn servers_in_the_way_of_each_other_are_wrong_and_told_apart() {
        let router = heard(254, true, "", false);
        let ours = heard(1, false, "ipxe.efi", true);
        let rival = heard(9, false, "pxelinux.0", true);
        let wrong = |mode, heard: &[Heard], runs| {
            let all = judged(mode, heard, runs);
            all.into_iter().filter(|it| it.0 == Verdict::Wrong).map(|it| it.1).collect::<Vec<_>>()
        };
        use DhcpMode::{Full, Proxy, Reservations};
        let none: Vec<String> = Vec::new();
        assert_eq!(wrong(Proxy, &[router.clone(), ours.clone()], true), none);
        assert_eq!(wrong(Proxy, std::slice::from_ref(&router), false), none);
        assert_eq!(wrong(Proxy, &[ours], true), ["eth0: no server gives an address"]);
        assert_eq!(wrong(Proxy, std::slice::from_ref(&router), true), ["eth0: this server did not answer a DISCOVER"]);
        assert_eq!(
            wrong(Proxy, &[router.clone(), rival], false),
            ["eth0: 10.0.0.9 gives no address and names the loader pxelinux.0"]
        );
        assert_eq!(
            wrong(Full, &[router, heard(1, true, "ipxe.efi", true)], true),
            ["eth0: 10.0.0.254 gives the address 10.0.0.100 and names no loader"]
        );
        assert_eq!(wrong(Reservations, &[heard(254, true, "", false)], true), none, "others get their address there");
    }

    #[test]
    fn a_dhcp_server_of_this_computer_is_not_taken_for_the_proxy_beside_it() {
        let dnsmasq = heard(1, true, "", false);
        assert_eq!(
            judged(DhcpMode::Proxy, std::slice::from_ref(&dnsmasq), true),
            [
                (Verdict::Good, "eth0: 10.0.0.1 gives the address 10.0.0.100 and names no loader".to_owned()),
                (Verdict::Wrong, "eth0: this server did not answer a DISCOVER".to_owned()),
            ]
        );
        let both = judged(DhcpMode::Proxy, &[dnsmasq, heard(1, false, "", true)], true);
        assert!(both.iter().all(|it| it.0 == Verdict::Good), "{both:?}");
    }

    #[test]
    fn where_dhcp_is_off_another_server_has_to_lead_here() {
        let told = |heard: &[Heard]| {
            let found = judge_others(&place(DhcpMode::Off), heard, &[[10, 0, 0, 1].into()], &patient());
            found.into_iter().map(|it| (it.verdict, it.text, it.fix)).collect::<Vec<_>>()
        };
        let gives = "eth0: 10.0.0.254 gives the address 10.0.0.100 and names ";
        let router = heard(254, true, "", false);
        let recipe = Some(RECIPE.to_owned());
        assert_eq!(
            told(std::slice::from_ref(&router)),
            [(Verdict::Wrong, format!("{gives}no loader"), recipe.clone())]
        );
        let with = |file: &str, server: u8| Heard {
            file: file.to_owned(),
            server: [10, 0, 0, server].into(),
            ..router.clone()
        };
        assert_eq!(
            told(&[with("ipxe.efi", 1)]),
            [(Verdict::Good, format!("{gives}the loader ipxe.efi of 10.0.0.1"), None)]
        );
        let url = "http://10.0.0.1/boot.ipxe";
        assert_eq!(told(&[with(url, 254)]), [(Verdict::Good, format!("{gives}the loader {url}"), None)]);
        for (file, server, shown) in
            [("pxelinux.0", 1, "pxelinux.0 of 10.0.0.1"), ("ipxe.efi", 9, "ipxe.efi of 10.0.0.9")]
        {
            let said = format!("{gives}the loader {shown}, which does not lead to this server");
            assert_eq!(told(&[with(file, server)]), [(Verdict::Doubtful, said, recipe.clone())]);
        }
        let both = told(&[router.clone(), heard(9, false, "pxelinux.0", true)]);
        assert_eq!((both[0].0, both[1].0), (Verdict::Good, Verdict::Doubtful), "one gives the address, one the loader");
    }

    #[test]
    fn the_next_server_is_the_one_the_answer_names() {
        let mut answer = Packet::decode(&discover(Mac([2; 6]), 7, 1).encode(1472)).unwrap().answer(MessageType::Offer);
        let server = |answer: &Packet| Heard::of([10, 0, 0, 254].into(), answer).server;
        assert_eq!(server(&answer), Ipv4Addr::new(10, 0, 0, 254));
        answer.options.put(code::TFTP_SERVER, b"10.0.0.2\0");
        assert_eq!(server(&answer), Ipv4Addr::new(10, 0, 0, 2));
        answer.siaddr = [10, 0, 0, 1].into();
        assert_eq!(server(&answer), Ipv4Addr::new(10, 0, 0, 1));
    }

    #[test]
    fn what_is_sent_is_what_firmware_sends() {
        let packet = Packet::decode(&discover(Mac([2; 6]), 7, 1).encode(1472)).unwrap();
        assert_eq!(Client::of(&packet).to_string(), "UEFI x86_64 by PXE");
    }
}
