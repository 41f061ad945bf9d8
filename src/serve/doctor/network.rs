//! The network: which DHCP and PXE servers answer a machine that boots here, and whether full frames get to them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::{Duration, Instant};

use dhcproto::v4::{CLIENT_PORT, MessageType, SERVER_PORT};

use super::frames::frames;
use super::{Finding, Patient};
use crate::model::mac::Mac;
use crate::model::net::DhcpMode;
use crate::serve::dhcp::raw::Overhearing;
use crate::serve::interfaces::Place;
use crate::wire::dhcp::{BROADCAST, DOCTOR, Direction, Options, Packet, code};
use crate::wire::udp::Datagram;

/// How long answers are waited for; servers that look whether an address is in use take a second.
const PATIENCE: Duration = Duration::from_secs(4);

/// The firmware whose packets are sent: BIOS and UEFI, as PXE boots them.
const FIRMWARE: [u16; 2] = [0, 7];

/// An answer that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Heard {
    /// Who sent it.
    from: Ipv4Addr,
    /// What it gives: nothing is unspecified.
    address: Ipv4Addr,
    /// The loader it names.
    file: String,
    /// Whether it says that it is for PXE.
    pxe: bool,
}

/// Sends DISCOVER as firmware does on each interface, and says who answered with what. `runs` is whether a server of
/// ours does.
pub async fn network(patient: &Patient, runs: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for place in patient.places() {
        let (asked, at) = (place.clone(), place.clone());
        let heard = tokio::task::spawn_blocking(move || {
            let heard = listen(&asked)?;
            let frames = frames(&asked, &neighbours(&asked, &heard));
            Ok((heard, frames))
        });
        let place = at;
        match heard.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok((heard, frames)) => {
                findings.extend(judge(&place, &heard, runs, patient));
                findings.extend(frames);
            }
            Err(error) => {
                let said = format!("{}: other servers cannot be looked for: {error}", place.name);
                findings.push(Finding::doubtful("network", said, "ask as root, or grant CAP_NET_RAW"));
            }
        }
    }
    findings
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
        if is_offer && xids.contains(&answer.xid) {
            let new = Heard::of(*datagram.source.ip(), &answer);
            if !heard.contains(&new) {
                heard.push(new);
            }
        }
    }
    Ok(heard)
}

/// The address of the interface itself, because switches let no other pass; an invented one where there is none.
fn own_mac(interface: &str) -> Mac {
    let text = fs::read_to_string(Path::new("/sys/class/net").join(interface).join("address")).unwrap_or_default();
    text.trim().parse().ok().filter(Mac::is_unicast).unwrap_or(Mac([0x02, 0, 0, 0, 0xd0, 0xc7]))
}

fn discover(mac: Mac, architecture: u16, xid: u32) -> Packet {
    let mut options = Options::default();
    options.put(code::MESSAGE_TYPE, &[MessageType::Discover.into()]);
    options.put(code::PARAMETERS, &[code::NETMASK, code::ROUTER, code::DNS, code::TFTP_SERVER, code::BOOT_FILE]);
    options.put(code::VENDOR_CLASS, format!("PXEClient:Arch:{architecture:05}:UNDI:003016").as_bytes());
    options.put(code::ARCHITECTURE, &architecture.to_be_bytes());
    options.put(code::MACHINE_ID, &[0; 17]);
    options.put(code::CLIENT_ID, DOCTOR);
    let mut chaddr = [0; 16];
    chaddr.iter_mut().zip(mac.0).for_each(|(to, from)| *to = from);
    let none = Ipv4Addr::UNSPECIFIED;
    Packet {
        direction: Direction::Request,
        htype: 1,
        hlen: 6,
        hops: 0,
        xid,
        secs: 0,
        flags: BROADCAST,
        ciaddr: none,
        yiaddr: none,
        siaddr: none,
        giaddr: none,
        chaddr,
        sname: Vec::new(),
        file: Vec::new(),
        options,
    }
}

impl Heard {
    fn of(from: Ipv4Addr, answer: &Packet) -> Self {
        let named = answer.options.get(code::BOOT_FILE).unwrap_or(&answer.file);
        let shown: Vec<u8> = named.iter().copied().take_while(|byte| byte.is_ascii_graphic()).take(120).collect();
        Self {
            from,
            address: answer.yiaddr,
            file: String::from_utf8_lossy(&shown).into_owned(),
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

fn judge(place: &Place, heard: &[Heard], runs: bool, patient: &Patient) -> Vec<Finding> {
    let is_ours = |it: &&Heard| {
        place.addresses.iter().any(|own| own.address == it.from)
            && (it.file.is_empty() || patient.loaders.by_name(&it.file).is_some())
    };
    let name = &place.name;
    let mut findings = Vec::new();
    for it in heard {
        let gives =
            if it.gives_address() { format!("gives the address {}", it.address) } else { "gives no address".into() };
        let names = match (it.file.as_str(), it.pxe) {
            ("", false) => "names no loader".to_owned(),
            ("", true) => "sends firmware to a boot server".to_owned(),
            (file, _) => format!("names the loader {file}"),
        };
        let who = if runs && is_ours(&it) { " (this server)" } else { "" };
        let said = format!("{name}: {}{who} {gives} and {names}", it.from);
        findings.push(match (runs && is_ours(&it), it.gives_address(), it.names_loader()) {
            (true, ..) => Finding::good("network", said),
            (false, _, true) => {
                let fix = "two servers name loaders and machines take either's: switch its PXE off, or ours on this \
                           interface (`dhcp.modes`)";
                Finding::wrong("network", said, fix)
            }
            (false, true, false) if place.mode.gives_addresses() => {
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
        let fix = "let UDP ports 67 and 68 pass the firewall of this computer; look into the server's log";
        findings.push(Finding::wrong("network", format!("{name}: this server did not answer a DISCOVER"), fix));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::super::Verdict;
    use super::*;
    use crate::model::firmware::Firmware;
    use crate::serve::dhcp::{Client, Listen};
    use crate::serve::interfaces::Address;
    use crate::serve::loaders::{Loader, Loaders};

    fn heard(from: u8, gives: bool, file: &str, pxe: bool) -> Heard {
        let address = if gives { [10, 0, 0, 100].into() } else { Ipv4Addr::UNSPECIFIED };
        Heard { from: [10, 0, 0, from].into(), address, file: file.to_owned(), pxe }
    }

    fn judged(mode: DhcpMode, heard: &[Heard], runs: bool) -> Vec<(Verdict, String)> {
        let address = Address { address: [10, 0, 0, 1].into(), netmask: [255, 255, 255, 0].into() };
        let place = Place { name: "eth0".to_owned(), index: 1, addresses: vec![address], mode };
        let loader = Loader::new("ipxe.efi", Firmware::EfiX64, PathBuf::new(), bytes::Bytes::new());
        let patient = Patient {
            http: "0.0.0.0:80".parse().unwrap(),
            tftp: None,
            dhcp: Listen::Address(Ipv4Addr::LOCALHOST, mode),
            dhcp_port: 67,
            pxe_port: 4011,
            advertise: None,
            loaders: Arc::new(Loaders::of(vec![loader])),
            state: PathBuf::new(),
        };
        judge(&place, heard, runs, &patient).into_iter().map(|it| (it.verdict, it.text)).collect()
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
        use DhcpMode::{Full, Proxy};
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
    }

    #[test]
    fn what_is_sent_is_what_firmware_sends() {
        let packet = Packet::decode(&discover(Mac([2; 6]), 7, 1).encode(1472)).unwrap();
        assert_eq!(Client::of(&packet).to_string(), "UEFI x86_64 by PXE");
    }
}
