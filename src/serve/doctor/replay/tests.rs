use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::fleet::Answer;
use crate::model::firmware::Firmware;
use crate::model::loader::{LoaderKind, LoaderRule};
use crate::model::net::{Parts, Shape, Subnet};
use crate::model::pairing::UnknownPolicy;
use crate::serve::loaders::Loader;
use crate::wire::capture::{datagrams, tests as captures};

const OVMF: &str = include_str!("../../../wire/dhcp/testdata/ovmf-discover.hex");

/// The address of the machine whose packets these are.
const MACHINE: &str = "10.0.0.100";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn discover() -> Packet {
    Packet::decode(&bytes(OVMF)).unwrap()
}

/// The REQUEST for an address of that server.
fn takes(address: Ipv4Addr, server: Ipv4Addr) -> Packet {
    let mut packet = discover();
    packet.options.put(code::MESSAGE_TYPE, &[3]);
    packet.options.put(code::REQUESTED_ADDRESS, &address.octets());
    packet.options.put(code::SERVER_ID, &server.octets());
    packet
}

fn loaders() -> Loaders {
    let loader = |name: &str| Loader::new(name, Firmware::EfiX64, PathBuf::new(), "four".into());
    Loaders::of(vec![loader("ipxe.efi"), loader("snponly.efi")])
}

/// A proxy at 10.0.0.1 that gives out nothing.
fn site() -> Site {
    let main = [10, 0, 0, 1].into();
    Site {
        mode: DhcpMode::Proxy,
        modes: BTreeMap::new(),
        plan: Arc::default(),
        quirks: Vec::new(),
        loaders: Arc::new(loaders()),
        addresses: Addresses { main, own: [main].into(), are_named: true },
        base_url: "http://10.0.0.1".to_owned(),
        has_tftp: true,
        known: Known::default(),
    }
}

/// A server that gives out 10.0.0.100 to 10.0.0.199, with an address of its own for one machine.
fn full() -> Site {
    let parts = Parts {
        network: [10, 0, 0, 0].into(),
        netmask: [255, 255, 255, 0].into(),
        ranges: vec![[10, 0, 0, 100].into()..=[10, 0, 0, 199].into()],
        router: None,
        dns: Vec::new(),
        domain: None,
        lease: Duration::from_secs(3600),
    };
    let reserved = [(Mac([2, 0, 0, 0, 0, 7]), [10, 0, 0, 50].into())].into();
    let plan = AddressPlan::new(vec![Subnet::new(parts).unwrap()], reserved).unwrap();
    Site { mode: DhcpMode::Full, plan: Arc::new(plan), ..site() }
}

/// A replay, and the time of the next packet in seconds.
struct Run {
    replay: Replay,
    at: u64,
}

impl Run {
    fn of(site: Site) -> Self {
        Self { replay: Replay::new(site), at: 9 }
    }

    fn line(&mut self, from: &str, to: &str, payload: &[u8]) -> Option<Line> {
        let datagram = Datagram { source: from.parse().unwrap(), destination: to.parse().unwrap(), payload };
        let at = Duration::from_secs(self.at);
        self.replay.datagram(&Captured { at, interface: None, datagram })
    }

    fn says(&mut self, from: &str, to: &str, payload: &[u8]) -> String {
        self.line(from, to, payload).unwrap().answer.unwrap_or_default()
    }

    /// What is said to a broadcast on port 67.
    fn dhcp(&mut self, packet: &Packet) -> String {
        self.says("0.0.0.0:68", "255.255.255.255:67", &packet.encode(1472))
    }

    fn tftp(&mut self, from: &str, to: &str, name: &str) -> String {
        self.says(from, to, &tftp::Packet::Read(tftp::Request::new(name)).encode())
    }
}

#[test]
fn each_packet_is_told_with_its_answer_or_why_there_is_none() {
    let mut run = Run::of(site());
    let ovmf = bytes(OVMF);
    let mut system = discover();
    system.options = crate::wire::dhcp::Options::default();
    system.options.put(code::MESSAGE_TYPE, &[1]);
    let mut rival = system.answer(MessageType::Offer);
    rival.yiaddr = [10, 0, 0, 77].into();
    rival.file = b"pxelinux.0".as_slice().into();
    rival.options.put(code::SERVER_ID, &[10, 0, 0, 254]);
    let mut said = |ports: (u16, u16), payload: &[u8]| {
        let line = run.line(&format!("10.0.0.7:{}", ports.0), &format!("255.255.255.255:{}", ports.1), payload);
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

/// Four boots of one machine within ten minutes; what it is offered at each.
fn boots_again_and_again(takes_loader: bool) -> Vec<String> {
    let (mut run, mut offers) = (Run::of(site()), Vec::new());
    for boot in 0..4 {
        run.at += 100;
        offers.push(run.dhcp(&Packet { xid: boot, ..discover() }));
        run.dhcp(&takes(MACHINE.parse().unwrap(), [10, 0, 0, 254].into()));
        if takes_loader {
            assert_eq!(run.tftp(&format!("{MACHINE}:2070"), "10.0.0.1:69", "ipxe.efi"), "the file, 4 bytes");
        }
    }
    offers
}

#[test]
fn a_machine_that_takes_its_loader_is_offered_it_at_each_of_its_boots() {
    assert!(boots_again_and_again(true).iter().all(|offer| offer.contains("the loader ipxe.efi")));
    let offers = boots_again_and_again(false);
    assert!(offers[1].contains("the loader ipxe.efi"), "{offers:?}");
    let why = "(ipxe.efi by TFTP, as port 4011 will say; it made nothing of offers that name the loader)";
    assert!(offers[2].ends_with(why), "{offers:?}");
}

#[test]
fn an_address_that_is_refused_is_refused_with_its_reason() {
    let mut run = Run::of(full());
    let server = [10, 0, 0, 1].into();
    let of = |last: u8, packet: Packet| {
        let mut chaddr = [0; 16];
        chaddr[..6].copy_from_slice(&[2, 0, 0, 0, 0, last]);
        Packet { chaddr, ..packet }
    };
    let asks = |kind| {
        let mut packet = takes([10, 0, 0, 120].into(), server);
        packet.options.put(code::MESSAGE_TYPE, &[kind]);
        packet
    };
    run.dhcp(&of(1, asks(1)));
    let said = run.dhcp(&of(1, asks(3)));
    assert!(said.starts_with("ACK of the server 10.0.0.1: the address 10.0.0.120, the loader ipxe.efi; to "), "{said}");
    for (machine, wanted, reason) in [
        (2, [10, 0, 0, 120], "10.0.0.120 is that of 02:00:00:00:00:01"),
        (2, [10, 0, 0, 50], "10.0.0.50 is that of 02:00:00:00:00:07"),
        (7, [10, 0, 0, 121], "its own address is 10.0.0.50"),
        (2, [192, 0, 2, 1], "192.0.2.1 is in no network in which addresses are given out"),
        (2, [10, 0, 0, 9], "10.0.0.9 is not among the addresses that are given out"),
    ] {
        let said = run.dhcp(&of(machine, takes(wanted.into(), server)));
        let expected = format!("NAK of the server 10.0.0.1: no address; to 255.255.255.255:68 ({reason})");
        assert_eq!(said, expected);
    }
}

#[test]
fn a_loader_that_a_rule_chose_is_offered_with_the_rule() {
    let rule = |kind| LoaderRule { machines: Vec::new(), firmware: Some(Firmware::EfiX64), kind };
    let with = |loaders: Loaders, kind| Site { loaders: Arc::new(loaders.with_rules(vec![rule(kind)])), ..site() };
    let said = Run::of(with(loaders(), LoaderKind::Snponly)).dhcp(&discover());
    assert!(said.contains("snponly.efi") && said.ends_with(" (by loader rule 1 of the site file)"), "{said}");
    let only = Loaders::of(vec![Loader::new("ipxe.efi", Firmware::EfiX64, PathBuf::new(), "four".into())]);
    let said = Run::of(with(only, LoaderKind::Snponly)).dhcp(&discover());
    assert!(said.ends_with(" (loader rule 1 of the site file wants `snponly`, and there is none)"), "{said}");
}

#[test]
fn machines_nobody_knows_are_ignored_where_the_site_wants_it() {
    let known = || Known {
        assignments: Assignments { unknown: UnknownPolicy::Ignore, ..Assignments::default() },
        ..Known::default()
    };
    let said = Run::of(Site { known: known(), ..site() }).dhcp(&discover());
    assert_eq!(said, "silence: nobody knows it, and `unknown-policy` says to ignore such machines");
    let mut named = known();
    named.assignments.vars.insert(discover().mac().unwrap(), Default::default());
    let said = Run::of(Site { known: named, ..site() }).dhcp(&discover());
    assert!(said.contains("the loader ipxe.efi"), "{said}");
}

#[test]
fn what_a_machine_said_of_its_hardware_counts_for_quirks() {
    let quirk = Quirk {
        machines: Vec::new(),
        vendor_class: None,
        manufacturer: Some("acme".parse().unwrap()),
        product: None,
        answer: Some(Shape::BootServer),
        delay: None,
        machine_id: None,
        is_pxe: None,
    };
    let mut machines = Roster::default();
    let hardware = Hardware { manufacturer: Some("ACME".to_owned()), ..Hardware::default() };
    let identity = Identity { hardware, ..Identity::of(discover().mac().unwrap()) };
    machines.answered(
        &identity.into(),
        Answer::elsewhere("local disk".to_owned(), None, std::time::SystemTime::UNIX_EPOCH),
    );
    let with = |machines| Site { quirks: vec![quirk.clone()], known: Known { machines, ..Known::default() }, ..site() };
    let said = Run::of(with(machines)).dhcp(&discover());
    assert!(said.ends_with("as port 4011 will say; a quirk of the site file has it so)"), "{said}");
    let said = Run::of(with(Roster::default())).dhcp(&discover());
    assert!(said.contains("the loader ipxe.efi"), "{said}");
}

#[test]
fn interfaces_that_the_capture_names_have_their_own_modes() {
    let mut replay = Replay::new(Site { modes: [("eth1".to_owned(), DhcpMode::Off)].into(), ..site() });
    let payload = discover().encode(1472);
    let datagram = Datagram {
        source: "0.0.0.0:68".parse().unwrap(),
        destination: "255.255.255.255:67".parse().unwrap(),
        payload: &payload,
    };
    let mut said = |interface| {
        let line = replay.datagram(&Captured { at: Duration::ZERO, interface, datagram }).unwrap();
        (line.answer.unwrap(), replay.modes().map(BTreeMap::len))
    };
    let (answer, modes) = said(None);
    assert!(answer.contains("the loader ipxe.efi") && modes.is_none(), "{answer}");
    let (answer, modes) = said(Some("eth0"));
    assert!(answer.contains("the loader ipxe.efi") && modes == Some(0), "{answer}");
    assert_eq!(said(Some("eth1")), ("silence: DHCP is off".to_owned(), Some(1)));
}

#[test]
fn what_is_sent_to_another_server_is_not_answered_as_ours() {
    let mut named = Run::of(site());
    let other = "silence: it is for 192.0.2.9, the address of another server";
    assert_eq!(named.tftp("10.0.0.7:2070", "192.0.2.9:69", "ipxe.efi"), other);
    assert_eq!(named.tftp("10.0.0.7:2070", "10.0.0.1:69", "ipxe.efi"), "the file, 4 bytes");
    let asks = takes([10, 0, 0, 7].into(), [192, 0, 2, 9].into()).encode(1472);
    assert_eq!(named.says("10.0.0.7:68", "192.0.2.9:4011", &asks), other);
    let own = named.says("10.0.0.7:68", "10.0.0.1:4011", &asks);
    assert!(own.starts_with("ACK of the server 10.0.0.1"), "{own}");
    let addresses = Addresses { are_named: false, ..site().addresses };
    let mut somewhere = Run::of(Site { addresses, ..site() });
    let said = somewhere.tftp("10.0.0.7:2070", "192.0.2.9:69", "ipxe.efi");
    assert_eq!(said, "if 192.0.2.9 is ours: the file, 4 bytes");
}

#[test]
fn tftp_that_is_off_answers_nothing() {
    let mut run = Run::of(Site { has_tftp: false, ..site() });
    assert_eq!(run.tftp("10.0.0.7:2070", "10.0.0.1:69", "ipxe.efi"), "silence: TFTP is off");
}

/// A capture of the newer kind whose interface counts time in this way.
fn replayed(site: Site, resolution: u8, packets: &[(u64, Vec<u8>)]) -> Vec<Line> {
    let packets = packets.iter().map(|(ticks, frame)| captures::Packet { interface: 0, ticks: *ticks, frame });
    let capture = captures::pcapng(false, &[(101, resolution, "eth1")], &packets.collect::<Vec<_>>());
    let (mut replay, mut lines) = (Replay::new(site), Vec::new());
    datagrams(&capture[..], |captured| lines.extend(replay.datagram(captured))).unwrap();
    lines
}

fn frame(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let source = SocketAddrV4::new([10, 0, 0, 7].into(), ports.0);
    Datagram { source, destination: SocketAddrV4::new(Ipv4Addr::BROADCAST, ports.1), payload }.write().unwrap()
}

#[test]
fn times_that_no_clock_can_follow_are_answered_all_the_same() {
    let frame = frame((68, 67), &discover().encode(1472));
    let lines = replayed(full(), 0, &[(0, frame.clone()), (u64::MAX, frame.clone()), (0, frame)]);
    assert_eq!(lines.iter().map(|line| line.at).collect::<Vec<_>>(), [0, u64::MAX, 0]);
    assert!(lines.iter().all(|line| line.answer.as_ref().unwrap().starts_with("OFFER")), "{lines:?}");
}

proptest! {
    #[test]
    fn no_capture_is_too_odd(
        resolution in any::<u8>(),
        is_full in any::<bool>(),
        packets in prop::collection::vec(
            (any::<u64>(), 0..4_usize, 0..6_u8, prop::collection::vec(any::<u8>(), 0..60)),
            0..12,
        ),
    ) {
        let packet = |(ticks, port, kind, noise): (u64, usize, u8, Vec<u8>)| {
            let mut asks = takes([10, 0, 0, noise.first().copied().unwrap_or(9)].into(), [10, 0, 0, 1].into());
            asks.options.put(code::MESSAGE_TYPE, &[kind]);
            let payload = if noise.len() > 40 { noise } else { asks.encode(1472) };
            (ticks, frame((68, [67, 68, 69, 4011][port]), &payload))
        };
        let packets: Vec<_> = packets.into_iter().map(packet).collect();
        replayed(if is_full { full() } else { site() }, resolution, &packets);
    }
}
