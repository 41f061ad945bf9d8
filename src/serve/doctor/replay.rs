//! What the server would have answered to the packets of a capture, and why.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhcproto::v4::{MessageType, SERVER_PORT};
use serde::Serialize;

use crate::model::mac::Mac;
use crate::model::net::{AddressPlan, DhcpMode, Quirk};
use crate::serve::boot_files::{self, Found};
use crate::serve::dhcp::Client;
use crate::serve::dhcp::attempts::Attempts;
use crate::serve::dhcp::decide::{Decision, Destination, Facts, Memory, Port, Reply, Request, decide};
use crate::serve::dhcp::leases::LeaseTable;
use crate::serve::loaders::Loaders;
use crate::wire::dhcp::{Direction, Packet, code};
use crate::wire::tftp;
use crate::wire::udp::Datagram;

/// RFC 1350.
const TFTP_PORT: u16 = 69;

/// The port of PXE boot servers.
const BOOT_PORT: u16 = 4011;

/// How much of a name is shown.
const SHOWN: usize = 120;

/// One packet of a capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Line {
    /// When it was sent, in milliseconds after the first packet.
    pub at: u64,
    /// Who sent it.
    pub from: SocketAddrV4,
    /// The machine it is about.
    pub machine: Option<Mac>,
    /// What it is.
    pub packet: String,
    /// What we would have answered, or why nothing; nothing at all for the packet of another server.
    pub answer: Option<String>,
}

/// A server that answers a capture; it remembers as a running one does.
#[derive(Debug)]
pub struct Replay {
    mode: DhcpMode,
    plan: Arc<AddressPlan>,
    quirks: Vec<Quirk>,
    loaders: Arc<Loaders>,
    /// Our address, where a packet is not sent to one of ours.
    address: Ipv4Addr,
    base_url: String,
    leases: LeaseTable,
    attempts: Attempts,
    start: Instant,
    first: Option<Duration>,
}

impl Replay {
    /// A server in this mode, at this address.
    #[must_use]
    pub fn new(
        mode: DhcpMode,
        (plan, quirks): (Arc<AddressPlan>, Vec<Quirk>),
        loaders: Arc<Loaders>,
        address: Ipv4Addr,
        base_url: String,
    ) -> Self {
        Self {
            mode,
            leases: LeaseTable::new(Arc::clone(&plan)),
            plan,
            quirks,
            loaders,
            address,
            base_url,
            attempts: Attempts::default(),
            start: Instant::now(),
            first: None,
        }
    }

    /// What one datagram is, and what we would have answered; nothing for one that has nothing to do with booting.
    pub fn datagram(&mut self, at: Duration, datagram: &Datagram<'_>) -> Option<Line> {
        let first = *self.first.get_or_insert(at);
        let since = at.saturating_sub(first);
        let line = |machine, packet, answer| Line {
            at: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            from: datagram.source,
            machine,
            packet,
            answer,
        };
        match datagram.destination.port() {
            TFTP_PORT => {
                let (packet, answer) = self.tftp(datagram.payload);
                Some(line(None, packet, Some(answer)))
            }
            SERVER_PORT | BOOT_PORT => match Packet::decode(datagram.payload) {
                Ok(packet) if packet.direction == Direction::Request => {
                    let answer = self.dhcp(&packet, datagram, self.start + since);
                    Some(line(packet.mac(), question(&packet), Some(answer)))
                }
                Ok(packet) => Some(line(packet.mac(), offer(&packet), None)),
                Err(error) => Some(line(None, format!("no DHCP packet: {error}"), Some("silence".to_owned()))),
            },
            _ => {
                let packet = Packet::decode(datagram.payload).ok()?;
                (packet.direction == Direction::Reply).then(|| line(packet.mac(), offer(&packet), None))
            }
        }
    }

    fn dhcp(&mut self, packet: &Packet, datagram: &Datagram<'_>, now: Instant) -> String {
        let facts = Facts {
            address: self.address,
            mode: self.mode,
            plan: &self.plan,
            quirks: &self.quirks,
            hardware: None,
            is_ignored: false,
            base_url: &self.base_url,
            loaders: &self.loaders,
        };
        let port = if datagram.destination.port() == BOOT_PORT { Port::Boot } else { Port::Server };
        let request = Request { packet, port, source: datagram.source };
        let mut memory = Memory { leases: &mut self.leases, attempts: &mut self.attempts };
        let decision = decide(&request, &facts, &mut memory, now);
        match &decision.reply {
            Some(reply) => answer(reply, &decision),
            None => {
                let why = decision.seen.last().map(|seen| seen.detail.as_str()).or(decision.silence);
                why.map_or_else(|| "silence".to_owned(), |why| format!("silence: {why}"))
            }
        }
    }

    fn tftp(&self, payload: &[u8]) -> (String, String) {
        match tftp::Packet::decode(payload) {
            Ok(tftp::Packet::Read(request)) => {
                let answer = match boot_files::find(&self.loaders, &request.path) {
                    Some(Found::Loader(loader)) => format!("the file, {} bytes", loader.bytes.len()),
                    Some(Found::Instead(loader)) => format!("{} instead, {} bytes", loader.name, loader.bytes.len()),
                    Some(Found::Autoexec) => "the script of an iPXE that has none".to_owned(),
                    Some(Found::Grub(_) | Found::Pxelinux(_)) => "a configuration that starts iPXE".to_owned(),
                    None => "no such loader; `bivouac loaders list` shows those there are".to_owned(),
                };
                (format!("asks for {} by TFTP", shown(request.path.as_bytes())), answer)
            }
            Ok(_) => ("no request of TFTP".to_owned(), "an error".to_owned()),
            Err(error) => (format!("no TFTP packet: {error}"), "an error".to_owned()),
        }
    }
}

/// What a client says.
fn question(packet: &Packet) -> String {
    let mut text = format!("{}, {}", kind(packet), Client::of(packet));
    if !packet.giaddr.is_unspecified() {
        text.push_str(&format!(", through the relay {}", packet.giaddr));
    }
    if let Some(server) = packet.options.server_id() {
        text.push_str(&format!(", to the server {server}"));
    }
    if let Some(address) = packet.options.requested_address() {
        text.push_str(&format!(", for {address}"));
    }
    text
}

/// What a server says, whoever it is.
fn offer(packet: &Packet) -> String {
    let mut text = kind(packet);
    let who = packet.options.server_id().map(|server| format!(" of the server {server}"));
    text.push_str(&who.unwrap_or_default());
    let address = Some(packet.yiaddr).filter(|address| !address.is_unspecified());
    text.push_str(&address.map_or_else(|| ": no address".to_owned(), |address| format!(": the address {address}")));
    let named = packet.options.get(code::BOOT_FILE).unwrap_or(&packet.file);
    if !named.is_empty() {
        text.push_str(&format!(", the loader {}", shown(named)));
    }
    text
}

/// What we would have said.
fn answer(reply: &Reply, decision: &Decision) -> String {
    let to = match reply.destination {
        Destination::Address(to) => to.to_string(),
        Destination::Card(address, card) => format!("{address} at {card}"),
    };
    let said = offer(&reply.packet);
    let why = decision.seen.last().filter(|_| reply.packet.file.is_empty()).map(|seen| format!(" ({})", seen.detail));
    format!("{said}; to {to}{}", why.unwrap_or_default())
}

fn kind(packet: &Packet) -> String {
    match packet.message_type() {
        Some(MessageType::Unknown(number)) => format!("message {number}"),
        Some(known) => format!("{known:?}").to_uppercase(),
        None => "BOOTP".to_owned(),
    }
}

/// What firmware or a server wrote, without what a terminal would obey.
fn shown(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::firmware::Firmware;
    use crate::serve::loaders::Loader;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    #[test]
    fn each_packet_is_told_with_its_answer_or_why_there_is_none() {
        let loader = Loader::new("ipxe.efi", Firmware::EfiX64, PathBuf::new(), "four".into());
        let mut replay = Replay::new(
            DhcpMode::Proxy,
            (Arc::default(), Vec::new()),
            Arc::new(Loaders::of(vec![loader])),
            [10, 0, 0, 1].into(),
            "http://10.0.0.1".to_owned(),
        );
        let ovmf = bytes(include_str!("../../wire/dhcp/testdata/ovmf-discover.hex"));
        let mut system = Packet::decode(&ovmf).unwrap();
        system.options = crate::wire::dhcp::Options::default();
        system.options.put(code::MESSAGE_TYPE, &[1]);
        let mut rival = system.answer(MessageType::Offer);
        rival.yiaddr = [10, 0, 0, 77].into();
        rival.file = b"pxelinux.0".to_vec();
        rival.options.put(code::SERVER_ID, &[10, 0, 0, 254]);
        let mut said = |ports: (u16, u16), payload: &[u8]| {
            let source = SocketAddrV4::new([10, 0, 0, 7].into(), ports.0);
            let destination = SocketAddrV4::new(Ipv4Addr::BROADCAST, ports.1);
            let line = replay.datagram(Duration::from_secs(9), &Datagram { source, destination, payload });
            line.map(|line| (line.packet, line.answer.unwrap_or_default()))
        };
        let (packet, answer) = said((68, 67), &ovmf).unwrap();
        assert_eq!(packet, "DISCOVER, UEFI x86_64 by PXE");
        assert_eq!(answer, "OFFER of the server 10.0.0.1: no address, the loader ipxe.efi; to 255.255.255.255:68");
        let (packet, answer) = said((68, 67), &system.encode(1472)).unwrap();
        assert_eq!(packet, "DISCOVER, operating system");
        assert_eq!(answer, "silence: it does not ask how to boot");
        let (packet, answer) = said((67, 68), &rival.encode(1472)).unwrap();
        assert_eq!(packet, "OFFER of the server 10.0.0.254: the address 10.0.0.77, the loader pxelinux.0");
        assert_eq!(answer, "");
        for (name, expected) in [
            ("ipxe.efi", "the file, 4 bytes"),
            ("EFI/BOOT/BOOTX64.EFI", "ipxe.efi instead, 4 bytes"),
            ("grub/grub.cfg", "a configuration that starts iPXE"),
            ("autoexec.ipxe", "the script of an iPXE that has none"),
            ("x\u{1b}[2J", "no such loader"),
        ] {
            let (packet, answer) = said((2000, 69), &tftp::Packet::Read(tftp::Request::new(name)).encode()).unwrap();
            assert!(packet.starts_with("asks for ") && !packet.contains('\u{1b}'), "{packet}");
            assert!(answer.starts_with(expected), "{answer}");
        }
        assert_eq!(said((68, 67), b"noise").unwrap().1, "silence");
        assert_eq!(said((5353, 5353), b"noise"), None);
    }
}
