use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::model::firmware::{Firmware, Transport};
use crate::model::loader::{LoaderKind, LoaderRule};
use crate::model::net::Parts;
use crate::serve::loaders::Loader;
use crate::wire::dhcp::{Direction, Options, sub_option};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const URL: &str = "http://10.0.0.1:8080";
const SCRIPT: &str = "http://10.0.0.1:8080/boot.ipxe";

/// The features of a real iPXE: HTTP among others.
const WITH_HTTP: &[u8] = &[0xeb, 3, 1, 0, 0, 0x17, 1, 1, 0x13, 1, 1, 0x15, 1, 1];
const WITHOUT_HTTP: &[u8] = &[0xeb, 3, 1, 0, 0, 0x15, 1, 1];

fn loaders() -> Loaders {
    let loader = |name: &str, firmware| Loader::new(name, firmware, PathBuf::new(), Bytes::new());
    Loaders::of(vec![
        loader("undionly.kpxe", Firmware::BiosX86),
        loader("ipxe.efi", Firmware::EfiX64),
        loader("snponly.efi", Firmware::EfiX64),
        loader("ipxe-arm64.efi", Firmware::EfiArm64),
        loader("start4.elf", Firmware::RaspberryPi),
    ])
}

fn plan() -> AddressPlan {
    let parts = Parts {
        network: [10, 0, 0, 0].into(),
        netmask: [255, 255, 255, 0].into(),
        ranges: vec![[10, 0, 0, 100].into()..=[10, 0, 0, 199].into()],
        router: Some(SERVER),
        dns: vec![[10, 0, 0, 2].into()],
        domain: Some("example.net".to_owned()),
        lease: Duration::from_secs(3600),
    };
    let far = Parts {
        network: [10, 0, 9, 0].into(),
        ranges: vec![[10, 0, 9, 10].into()..=[10, 0, 9, 20].into()],
        router: Some([10, 0, 9, 1].into()),
        ..parts.clone()
    };
    let subnets = vec![Subnet::new(parts).unwrap(), Subnet::new(far).unwrap()];
    AddressPlan::new(subnets, [(Mac([0x52, 0x54, 0, 0, 0, 7]), [10, 0, 0, 50].into())].into()).unwrap()
}

/// A server, and what it is asked.
struct Site {
    mode: DhcpMode,
    plan: Arc<AddressPlan>,
    quirks: Vec<Quirk>,
    loaders: Loaders,
    leases: LeaseTable,
    attempts: Attempts,
    /// Whether it remembers from one packet to the next what clients asked.
    remembers: bool,
    now: Instant,
    hardware: Option<Hardware>,
    is_ignored: bool,
}

impl Site {
    fn of(mode: DhcpMode) -> Self {
        let plan = Arc::new(plan());
        Self {
            mode,
            quirks: Vec::new(),
            loaders: loaders(),
            leases: LeaseTable::new(Arc::clone(&plan)),
            plan,
            attempts: Attempts::default(),
            remembers: false,
            now: Instant::now(),
            hardware: None,
            is_ignored: false,
        }
    }

    fn proxy() -> Self {
        Self::of(DhcpMode::Proxy)
    }

    fn full() -> Self {
        Self::of(DhcpMode::Full)
    }

    fn decide(&mut self, packet: &Packet, port: Port, source: SocketAddrV4) -> Decision {
        let facts = Facts {
            address: SERVER,
            own_name: "10.0.0.1",
            mode: self.mode,
            plan: &self.plan,
            quirks: &self.quirks,
            hardware: self.hardware.as_ref(),
            is_ignored: self.is_ignored,
            base_url: URL,
            loaders: &self.loaders,
        };
        if !self.remembers {
            self.attempts = Attempts::default();
        }
        // Through the wire, so that what is tested is what a client sees.
        let packet = Packet::decode(&packet.encode(1472)).unwrap();
        let mut memory = Memory { leases: &mut self.leases, attempts: &mut self.attempts };
        let mut decision = decide(&Request { packet: &packet, port, source }, &facts, &mut memory, self.now);
        if let Some(reply) = &mut decision.reply {
            let bytes = reply.encode();
            assert!((300..=reply.limit).contains(&bytes.len()));
            reply.packet = Packet::decode(&bytes).unwrap();
        }
        decision
    }

    fn reply(&mut self, packet: &Packet) -> Option<Reply> {
        self.decide(packet, Port::Server, "0.0.0.0:68".parse().unwrap()).reply
    }

    fn boot_server(&mut self, packet: &Packet) -> Option<Reply> {
        self.decide(packet, Port::Boot, "10.0.0.150:4011".parse().unwrap()).reply
    }
}

fn packet(kind: MessageType) -> Packet {
    Packet { secs: 4, ..Packet::request(Mac([0x52, 0x54, 0, 0, 0, 1]), kind, 0xdead_beef) }
}

/// A packet of firmware that says `class` and `architecture`.
fn firmware(kind: MessageType, class: &str, architecture: u16) -> Packet {
    let mut packet = packet(kind);
    packet.options.put(code::VENDOR_CLASS, format!("{class}:Arch:{architecture:05}:UNDI:003016").as_bytes());
    packet.options.put(code::ARCHITECTURE, &architecture.to_be_bytes());
    packet
}

fn with(mut packet: Packet, code: u8, data: &[u8]) -> Packet {
    packet.options.put(code, data);
    packet
}

fn to(address: &str) -> Destination {
    Destination::Address(address.parse().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Architecture by class by user class by features: what every client is told to boot.
#[test]
fn every_kind_of_client_is_told_what_it_can_boot() {
    for mut site in [Site::proxy(), Site::full()] {
        let full = site.mode != DhcpMode::Proxy;
        for architecture in [0, 1, 2, 6, 7, 9, 10, 11, 15, 16, 17, 18, 19, 20, 21, 22, 24, 25, 27, 39, 41, 65535u16] {
            for class in ["PXEClient", "HTTPClient"] {
                for user in [None, Some(&b"iPXE"[..]), Some(b"\x04iPXE"), Some(b"bivouac")] {
                    for features in [None, Some(WITH_HTTP), Some(WITHOUT_HTTP)] {
                        let mut request = firmware(MessageType::Discover, class, architecture);
                        if let Some(user) = user {
                            request.options.put(code::USER_CLASS, user);
                        }
                        if let Some(features) = features {
                            request.options.put(code::IPXE, features);
                        }
                        let by_http = class == "HTTPClient";
                        let ipxe = user.is_some() || features.is_some();
                        // An iPXE that says nothing of its features is taken at its name.
                        let takes_script = user == Some(b"bivouac")
                            || features == Some(WITH_HTTP)
                            || user.is_some() && features.is_none();
                        let loader = match architecture {
                            0 | 1 | 20 => Some("undionly.kpxe"),
                            7 | 9 | 16 => Some("ipxe.efi"),
                            11 | 19 | 22 | 24 => Some("ipxe-arm64.efi"),
                            41 => Some("start4.elf"),
                            _ => None,
                        };
                        let expected = match loader {
                            _ if takes_script => Some((SCRIPT.to_owned(), if full { "" } else { "PXEClient" })),
                            Some(name) if by_http && !ipxe => Some((format!("{URL}/loader/{name}"), "HTTPClient")),
                            Some(name) => Some((name.to_owned(), "PXEClient")),
                            None => None,
                        };
                        let said = format!("{architecture} {class} {user:?} {features:?}");
                        let reply = site.reply(&request);
                        assert_eq!(reply.is_some(), full || expected.is_some(), "{said}");
                        let Some(Reply { packet, .. }) = reply else {
                            continue;
                        };
                        let (file, vendor) = expected.unwrap_or_default();
                        assert_eq!(text(&packet.file), file, "{said}");
                        assert_eq!(text(packet.options.vendor_class()), vendor, "{said}");
                        assert_eq!(
                            packet.siaddr,
                            if file.is_empty() { Ipv4Addr::UNSPECIFIED } else { SERVER },
                            "{said}"
                        );
                        assert_eq!(packet.yiaddr.is_unspecified(), !full, "{said}");
                        assert_eq!(packet.options.server_id(), Some(SERVER));
                        assert_eq!(packet.message_type(), Some(MessageType::Offer));
                    }
                }
            }
        }
    }
}

#[test]
fn a_machine_with_a_rule_is_offered_the_kind_of_loader_it_names() {
    let rule = LoaderRule {
        machines: vec!["52:54:00".parse().unwrap()],
        firmware: Some(Firmware::EfiX64),
        kind: LoaderKind::Snponly,
    };
    for mut site in [Site::proxy(), Site::full()] {
        site.loaders = loaders().with_rules(vec![rule.clone()]);
        let by_pxe = firmware(MessageType::Discover, "PXEClient", 7);
        assert_eq!(text(&site.reply(&by_pxe).unwrap().packet.file), "snponly.efi");
        let by_http = firmware(MessageType::Discover, "HTTPClient", 16);
        assert_eq!(text(&site.reply(&by_http).unwrap().packet.file), format!("{URL}/loader/snponly.efi"));
        let ipxe_without_http = with(by_pxe.clone(), code::IPXE, WITHOUT_HTTP);
        assert_eq!(text(&site.reply(&ipxe_without_http).unwrap().packet.file), "snponly.efi");
        let mut other = by_pxe;
        other.chaddr[..6].copy_from_slice(&[0, 0xe0, 0x4c, 0, 0, 1]);
        assert_eq!(text(&site.reply(&other).unwrap().packet.file), "ipxe.efi", "another machine");
        let bios = firmware(MessageType::Discover, "PXEClient", 0);
        assert_eq!(text(&site.reply(&bios).unwrap().packet.file), "undionly.kpxe", "another firmware");
        let ipxe = with(firmware(MessageType::Discover, "PXEClient", 7), code::IPXE, WITH_HTTP);
        assert_eq!(text(&site.reply(&ipxe).unwrap().packet.file), SCRIPT);
    }
}

#[test]
fn an_ipxe_that_speaks_http_never_gets_a_loader() {
    for mut site in [Site::proxy(), Site::full()] {
        for class in ["PXEClient", "HTTPClient", "Other", ""] {
            for kind in [MessageType::Discover, MessageType::Request, MessageType::Inform] {
                for port in [Port::Server, Port::Boot] {
                    let mut request = with(firmware(kind, class, 7), code::IPXE, WITH_HTTP);
                    request.ciaddr = [10, 0, 0, 120].into();
                    if let Some(reply) = site.decide(&request, port, "10.0.0.120:68".parse().unwrap()).reply {
                        assert_eq!(text(&reply.packet.file), SCRIPT, "{class} {kind:?} {port:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn real_firmware_and_real_ipxe_are_told_what_they_understand() {
    let decode = |hex: &str| {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        Packet::decode(&digits.chunks(2).map(byte).collect::<Vec<u8>>()).unwrap()
    };
    let ipxe = decode(include_str!("../../../wire/dhcp/testdata/ipxe-discover.hex"));
    let ovmf = decode(include_str!("../../../wire/dhcp/testdata/ovmf-discover.hex"));
    assert_eq!(Client::of(&ipxe), Client::Ipxe { http: true, firmware: Some(Firmware::EfiX64) });
    assert_eq!(Client::of(&ovmf), Client::Firmware { firmware: Firmware::EfiX64, transport: Transport::Pxe });
    let mut site = Site::proxy();
    let reply = site.reply(&ipxe).unwrap().packet;
    assert_eq!(text(reply.options.get(code::BOOT_FILE).unwrap()), SCRIPT);
    assert_eq!(reply.options.get(code::CLIENT_ID), ipxe.options.get(code::CLIENT_ID));
    let reply = site.reply(&ovmf).unwrap().packet;
    assert_eq!(text(&reply.file), "ipxe.efi");
    assert_eq!(reply.options.get(code::BOOT_FILE), Some(&b"ipxe.efi\0"[..]));
    assert_eq!(reply.options.get(code::TFTP_SERVER), Some(&b"10.0.0.1\0"[..]));
    assert_eq!(reply.options.get(code::VENDOR), Some(&[6, 1, 8, 255][..]));
    assert_eq!(reply.options.machine_id(), Some(&[0; 17][..]));
    assert_eq!(text(&reply.sname), "10.0.0.1");
}

#[test]
fn a_proxy_gives_no_address_and_nothing_of_a_lease() {
    let reply = Site::proxy().reply(&firmware(MessageType::Discover, "PXEClient", 7)).unwrap();
    assert_eq!(reply.destination, to("255.255.255.255:68"));
    assert_eq!(reply.packet.flags, BROADCAST);
    assert_eq!(reply.packet.yiaddr, Ipv4Addr::UNSPECIFIED);
    for lease in [code::NETMASK, code::ROUTER, code::DNS, code::LEASE_TIME, code::RENEWAL_TIME, code::REBINDING_TIME] {
        assert_eq!(reply.packet.options.get(lease), None, "{lease}");
    }
}

#[test]
fn a_proxy_is_silent_to_everything_it_is_not_for() {
    let mut site = Site::proxy();
    for kind in
        [MessageType::Request, MessageType::Inform, MessageType::Release, MessageType::Decline, MessageType::Offer]
    {
        assert_eq!(site.reply(&firmware(kind, "PXEClient", 7)), None, "{kind:?} on 67");
    }
    for kind in [MessageType::Discover, MessageType::Release, MessageType::Decline, MessageType::Ack] {
        assert_eq!(site.boot_server(&firmware(kind, "PXEClient", 7)), None, "{kind:?} on 4011");
    }
    assert_eq!(site.reply(&packet(MessageType::Discover)), None, "an operating system");
    assert_eq!(site.boot_server(&packet(MessageType::Request)), None);
    let udhcpc = with(packet(MessageType::Discover), code::VENDOR_CLASS, b"udhcp 1.36.1");
    assert_eq!(site.reply(&udhcpc), None);
    let no_architecture = with(packet(MessageType::Discover), code::VENDOR_CLASS, b"PXEClient");
    assert_eq!(site.reply(&no_architecture), None);
}

#[test]
fn what_is_no_question_of_a_client_is_ignored() {
    for mut site in [Site::proxy(), Site::full()] {
        let good = firmware(MessageType::Discover, "PXEClient", 7);
        assert!(site.reply(&good).is_some());
        assert_eq!(site.reply(&Packet { direction: Direction::Reply, ..good.clone() }), None);
        for hlen in [0, 5, 7, 16] {
            assert_eq!(site.reply(&Packet { hlen, ..good.clone() }), None, "{hlen}");
        }
        assert_eq!(site.reply(&Packet { chaddr: [0xff; 16], ..good.clone() }), None);
        let mut bootp = good.clone();
        bootp.options = Options::default();
        assert_eq!(site.reply(&bootp), None);
        site.mode = DhcpMode::Off;
        assert_eq!(site.reply(&good), None);
    }
}

#[test]
fn the_boot_server_answers_to_where_it_was_asked_from() {
    for mut site in [Site::proxy(), Site::full()] {
        for kind in [MessageType::Request, MessageType::Inform] {
            let mut request = firmware(kind, "PXEClient", 7);
            request.ciaddr = [10, 0, 0, 150].into();
            let reply = site.boot_server(&request).unwrap();
            assert_eq!(reply.destination, to("10.0.0.150:4011"));
            assert_eq!(reply.packet.message_type(), Some(MessageType::Ack));
            assert_eq!(text(&reply.packet.file), "ipxe.efi");
            assert_eq!(reply.packet.yiaddr, Ipv4Addr::UNSPECIFIED);
            assert_eq!(reply.packet.ciaddr, request.ciaddr);
            assert_eq!(reply.packet.options.lease_time(), None);
        }
    }
}

#[test]
fn the_choice_from_a_boot_menu_is_repeated() {
    let chosen = with(firmware(MessageType::Request, "PXEClient", 0), code::VENDOR, &[71, 4, 0, 7, 0, 0, 255]);
    let reply = Site::proxy().boot_server(&chosen).unwrap().packet;
    let vendor = reply.options.get(code::VENDOR).unwrap();
    assert_eq!(sub_option(vendor, 71), Some(&[0, 7, 0, 0][..]));
    assert_eq!(sub_option(vendor, 6), Some(&[8][..]));
}

#[test]
fn only_a_full_server_tells_ipxe_not_to_wait_for_a_proxy() {
    let request = with(firmware(MessageType::Discover, "PXEClient", 0), code::IPXE, WITH_HTTP);
    let full = Site::full().reply(&request).unwrap().packet;
    assert_eq!(full.options.ipxe(), Some(&[176, 1, 1][..]));
    assert_eq!(Site::proxy().reply(&request).unwrap().packet.options.ipxe(), None);
}

#[test]
fn a_raspberry_pi_is_known_by_its_address_and_sent_its_menu() {
    let mut request = firmware(MessageType::Discover, "PXEClient", 0);
    request.chaddr[..3].copy_from_slice(&[0xdc, 0xa6, 0x32]);
    let reply = Site::proxy().reply(&request).unwrap().packet;
    let vendor = reply.options.get(code::VENDOR).unwrap();
    assert_eq!(sub_option(vendor, 9), Some(&b"\0\0\x11Raspberry Pi Boot"[..]));
    assert_eq!(sub_option(vendor, 10), Some(&b"\0PXE"[..]));
    assert_eq!(reply.options.get(code::TFTP_SERVER), Some(&b"10.0.0.1\0"[..]), "unasked");
    let mut uefi = firmware(MessageType::Discover, "PXEClient", 11);
    uefi.chaddr[..3].copy_from_slice(&[0xdc, 0xa6, 0x32]);
    assert_eq!(
        text(&Site::proxy().reply(&uefi).unwrap().packet.file),
        "ipxe-arm64.efi",
        "with UEFI it is as any other"
    );
}

#[test]
fn u_boot_is_served_without_a_vendor_class_it_would_know() {
    let request =
        with(with(packet(MessageType::Discover), code::VENDOR_CLASS, b"U-Boot.armv8"), code::ARCHITECTURE, &[0, 22]);
    let reply = Site::proxy().reply(&request).unwrap().packet;
    assert_eq!((text(&reply.file), reply.siaddr), ("ipxe-arm64.efi".to_owned(), SERVER));
    let by_http = with(request, code::ARCHITECTURE, &[0, 24]);
    assert_eq!(text(&Site::proxy().reply(&by_http).unwrap().packet.file), format!("{URL}/loader/ipxe-arm64.efi"));
}

#[test]
fn every_number_of_the_architecture_list_counts() {
    let request =
        with(firmware(MessageType::Discover, "PXEClient", 17), code::ARCHITECTURE, &[0, 17, 0xff, 0xff, 0, 7]);
    assert_eq!(text(&Site::proxy().reply(&request).unwrap().packet.file), "ipxe.efi");
}

#[test]
fn a_client_nobody_has_a_loader_for_is_reported_with_the_reason() {
    let seen = |architecture| {
        let request = firmware(MessageType::Discover, "PXEClient", architecture);
        let decision = Site::proxy().decide(&request, Port::Server, "0.0.0.0:68".parse().unwrap());
        assert!(decision.reply.is_none());
        let [seen] = &decision.seen[..] else { panic!("{:?}", decision.seen) };
        assert_eq!((seen.step, seen.mac), (Step::Discover, Some(Mac([0x52, 0x54, 0, 0, 0, 1]))));
        seen.detail.to_string()
    };
    assert_eq!(seen(6), "UEFI x86 (32-bit) by PXE: no loader for UEFI x86 (32-bit)");
    assert_eq!(seen(2), "firmware of unknown architecture [2]: no loader exists for architecture [2]");
}

#[test]
fn discover_and_offer_are_told_with_the_address() {
    let request = firmware(MessageType::Discover, "PXEClient", 0);
    let decision = Site::full().decide(&request, Port::Server, "0.0.0.0:68".parse().unwrap());
    let address = decision.reply.unwrap().packet.yiaddr;
    let told: Vec<_> = decision.seen.iter().map(|seen| (seen.step, seen.peer, &*seen.detail)).collect();
    let peer = Some(IpAddr::V4(address));
    assert_eq!(told, [(Step::Discover, peer, "BIOS by PXE"), (Step::Offer, peer, "undionly.kpxe by TFTP")]);
    let system = Site::full().decide(&packet(MessageType::Discover), Port::Server, "0.0.0.0:68".parse().unwrap());
    assert!(system.reply.is_some() && system.seen.is_empty(), "who only wants an address does not boot");
}

#[test]
fn what_identifies_a_client_comes_back_as_it_was() {
    for id in [&[0; 17][..], &[0; 16], &[1; 17], &[7]] {
        let request = with(firmware(MessageType::Discover, "PXEClient", 7), code::MACHINE_ID, id);
        assert_eq!(Site::proxy().reply(&request).unwrap().packet.options.machine_id(), Some(id));
    }
    let request = with(firmware(MessageType::Discover, "PXEClient", 7), code::CLIENT_ID, b"\xff\x01client");
    let reply = Site::full().reply(&request).unwrap().packet;
    assert_eq!(reply.options.get(code::CLIENT_ID), Some(&b"\xff\x01client"[..]));
    assert_eq!(reply.options.machine_id(), None, "nothing is made up");
    assert_eq!((reply.xid, reply.hops, reply.secs, reply.htype), (0xdead_beef, 0, 0, 1));
}

#[test]
fn the_relay_option_comes_back_last_and_byte_for_byte() {
    let relay = [1, 4, 0xde, 0xad, 0, 1, 1, 4, 9, 9, 9, 9, 2, 0];
    let mut request = with(firmware(MessageType::Discover, "PXEClient", 7), code::RELAY_AGENT, &relay);
    request.giaddr = [10, 0, 0, 3].into();
    for mut site in [Site::proxy(), Site::full()] {
        let reply = site.reply(&request).unwrap();
        assert_eq!(reply.packet.options.get(code::RELAY_AGENT), Some(&relay[..]));
        assert_eq!(reply.packet.options.iter().last().unwrap().0, code::RELAY_AGENT);
        assert_eq!(reply.destination, to("10.0.0.3:67"));
        assert_eq!(reply.packet.giaddr, request.giaddr);
    }
}

#[test]
fn a_relay_may_name_the_subnet_and_the_server() {
    let mut site = Site::full();
    let mut request = packet(MessageType::Discover);
    request.giaddr = [192, 0, 2, 1].into();
    assert_eq!(site.reply(&request), None, "not our network");
    let selected = with(request.clone(), code::RELAY_AGENT, &[5, 4, 10, 0, 0, 0, 11, 4, 192, 0, 2, 1]);
    let reply = site.reply(&selected).unwrap();
    assert_eq!(reply.packet.options.server_id(), Some(Ipv4Addr::new(192, 0, 2, 1)));
    assert!(site.reply(&with(request, code::SUBNET_SELECTION, &[10, 0, 0, 0])).is_some());
    let chosen = with(with(selected, code::MESSAGE_TYPE, &[3]), code::SERVER_ID, &[192, 0, 2, 1]);
    let chosen = with(chosen, code::REQUESTED_ADDRESS, &reply.packet.yiaddr.octets());
    assert_eq!(site.reply(&chosen).unwrap().packet.message_type(), Some(MessageType::Ack));
}

#[test]
fn an_answer_goes_where_the_client_can_hear_it() {
    let mut site = Site::full();
    let reply = site.reply(&Packet { flags: BROADCAST, ..packet(MessageType::Discover) }).unwrap();
    assert_eq!((reply.destination, reply.packet.flags), (to("255.255.255.255:68"), BROADCAST));
    let reply = site.reply(&packet(MessageType::Discover)).unwrap();
    let card = Destination::Card(reply.packet.yiaddr, Mac([0x52, 0x54, 0, 0, 0, 1]));
    assert_eq!((reply.destination, reply.packet.flags), (card, 0), "it asked to be answered directly");
    let mut renewal = packet(MessageType::Request);
    renewal.ciaddr = [10, 0, 0, 120].into();
    let reply = site.decide(&renewal, Port::Server, "10.0.0.120:68".parse().unwrap()).reply.unwrap();
    assert_eq!(reply.destination, to("10.0.0.120:68"));
    assert_eq!((reply.packet.yiaddr, reply.packet.ciaddr), (renewal.ciaddr, renewal.ciaddr));
}

#[test]
fn a_full_server_gives_addresses_to_everybody() {
    let mut site = Site::full();
    let offer = site.reply(&packet(MessageType::Discover)).unwrap().packet;
    assert!(plan().subnets()[0].index_of(offer.yiaddr).is_some());
    assert_eq!(offer.options.get(code::DOMAIN), Some(&b"example.net"[..]));
    assert_eq!(offer.options.lease_time(), Some(3600));
    assert_eq!(offer.options.get(code::NETMASK), Some(&[255, 255, 255, 0][..]));
    assert_eq!(offer.options.get(code::ROUTER), Some(&SERVER.octets()[..]));
    assert_eq!(offer.options.get(code::DNS), Some(&[10, 0, 0, 2][..]));
    assert_eq!(offer.options.get(code::BROADCAST_ADDRESS), Some(&[10, 0, 0, 255][..]));
    assert_eq!(offer.options.get(code::RENEWAL_TIME), Some(&1800u32.to_be_bytes()[..]));
    assert_eq!(offer.options.get(code::REBINDING_TIME), Some(&3150u32.to_be_bytes()[..]));
    assert!(offer.file.is_empty() && offer.options.vendor_class().is_empty());
    let request = with(packet(MessageType::Request), code::SERVER_ID, &SERVER.octets());
    let ack = site.reply(&with(request, code::REQUESTED_ADDRESS, &offer.yiaddr.octets())).unwrap().packet;
    assert_eq!((ack.message_type(), ack.yiaddr), (Some(MessageType::Ack), offer.yiaddr));
}

#[test]
fn a_machine_that_chose_another_server_is_left_alone() {
    let mut site = Site::full();
    let offered = site.reply(&packet(MessageType::Discover)).unwrap().packet.yiaddr;
    let request = with(packet(MessageType::Request), code::SERVER_ID, &[10, 0, 0, 9]);
    assert_eq!(site.reply(&with(request, code::REQUESTED_ADDRESS, &offered.octets())), None);
    assert_eq!(site.leases.in_use(site.now), 0, "the offer is free again");
    // A lease that it has already is another matter.
    let own = with(packet(MessageType::Request), code::REQUESTED_ADDRESS, &offered.octets());
    assert_eq!(site.reply(&own).unwrap().packet.message_type(), Some(MessageType::Ack));
    assert_eq!(site.reply(&with(own, code::SERVER_ID, &[10, 0, 0, 9])), None);
    assert_eq!(site.leases.in_use(site.now), 1);
}

#[test]
fn a_request_for_another_interface_of_this_computer_is_left_to_that_one() {
    let mut site = Site::full();
    site.leases.set_own([SERVER, [10, 0, 0, 2].into()].into());
    let offered = site.reply(&packet(MessageType::Discover)).unwrap().packet.yiaddr;
    let request = with(packet(MessageType::Request), code::REQUESTED_ADDRESS, &offered.octets());
    assert_eq!(site.reply(&with(request.clone(), code::SERVER_ID, &[10, 0, 0, 2])), None);
    assert_eq!(site.leases.in_use(site.now), 1, "the other one confirms it");
    assert!(site.reply(&with(request, code::SERVER_ID, &SERVER.octets())).is_some());
}

#[test]
fn who_looks_for_an_address_has_none_whatever_it_says() {
    for ciaddr in [[10, 0, 9, 15], [172, 16, 0, 1]] {
        let reply = Site::full().reply(&Packet { ciaddr: ciaddr.into(), ..packet(MessageType::Discover) }).unwrap();
        assert_eq!(reply.packet.yiaddr.octets()[..3], [10, 0, 0], "{ciaddr:?}");
    }
    let none = with(packet(MessageType::Request), code::REQUESTED_ADDRESS, &[0; 4]);
    let reply = Site::full().reply(&Packet { ciaddr: [10, 0, 0, 150].into(), ..none }).unwrap();
    assert_eq!((reply.packet.message_type(), reply.packet.yiaddr), (Some(MessageType::Ack), [10, 0, 0, 150].into()));
}

#[test]
fn only_what_a_machine_has_and_had_from_here_is_given_back() {
    let mut site = Site::full();
    let own = with(packet(MessageType::Request), code::REQUESTED_ADDRESS, &[10, 0, 0, 130]);
    site.reply(&own).unwrap();
    let release = |address: [u8; 4]| Packet { ciaddr: address.into(), ..packet(MessageType::Release) };
    let decline = with(packet(MessageType::Decline), code::REQUESTED_ADDRESS, &[10, 0, 0, 130]);
    for other in [
        release([10, 0, 0, 120]),
        with(release([10, 0, 0, 130]), code::SERVER_ID, &[10, 0, 0, 9]),
        with(decline, code::SERVER_ID, &[10, 0, 0, 9]),
    ] {
        assert_eq!(site.reply(&other), None);
        assert_eq!(site.leases.in_use(site.now), 1, "{other:?}");
        assert_eq!(site.reply(&own).unwrap().packet.message_type(), Some(MessageType::Ack), "{other:?}");
    }
    site.reply(&release([10, 0, 0, 130]));
    assert_eq!(site.leases.in_use(site.now), 0);
}

#[test]
fn firmware_that_says_several_things_of_itself_gets_a_loader_for_one_of_them() {
    let list = |class: &str, codes: &[u16]| {
        let bytes: Vec<u8> = codes.iter().flat_map(|code| code.to_be_bytes()).collect();
        let packet = with(packet(MessageType::Discover), code::VENDOR_CLASS, class.as_bytes());
        if codes.is_empty() { packet } else { with(packet, code::ARCHITECTURE, &bytes) }
    };
    for (class, codes, expected) in [
        ("PXEClient", &[6, 7][..], "ipxe.efi"),
        ("PXEClient:Arch:00006:UNDI:003000", &[6, 7], "ipxe.efi"),
        ("PXEClient:Arch:00007:UNDI:003000", &[0, 7], "ipxe.efi"),
        ("PXEClient:Arch:00009:UNDI:003000", &[0, 7], "undionly.kpxe"),
        ("PXEClient:Arch:x", &[12, 11], "ipxe-arm64.efi"),
        ("", &[11, 22], "ipxe-arm64.efi"),
        ("HTTPClient:Arch:00016:UNDI:003000", &[], "http://10.0.0.1:8080/loader/ipxe.efi"),
    ] {
        let mut site = Site::proxy();
        let reply = site.reply(&list(class, codes));
        assert_eq!(reply.map(|reply| text(&reply.packet.file)).as_deref(), Some(expected), "{class} {codes:?}");
    }
    let none = Site::proxy().decide(&list("HTTPClient", &[]), Port::Server, "0.0.0.0:68".parse().unwrap());
    assert!(none.reply.is_none() && none.seen[0].detail.contains("does not say what kind of firmware it is"));
    let odd = with(packet(MessageType::Discover), code::ARCHITECTURE, &[0]);
    assert_eq!(Site::proxy().reply(&with(odd, code::VENDOR_CLASS, b"PXEClient:Arch:00007")), None, "half a number");
    // What is known to be a board is not taken for a PC because nobody has files for it.
    let mut site = Site::proxy();
    site.loaders = Loaders::of(vec![Loader::new("undionly.kpxe", Firmware::BiosX86, PathBuf::new(), Bytes::new())]);
    let pi = with(list("PXEClient", &[0]), code::MACHINE_ID, b"\0RPi4\x15\xd0abcdefghij");
    assert_eq!(site.reply(&pi), None);
}

#[test]
fn names_without_end_leave_room_for_what_a_machine_boots() {
    let parts = Parts {
        network: [10, 0, 0, 0].into(),
        netmask: [255, 255, 255, 0].into(),
        ranges: vec![[10, 0, 0, 100].into()..=[10, 0, 0, 199].into()],
        router: Some(SERVER),
        dns: vec![[10, 0, 0, 2].into(); 8],
        domain: Some("a.".repeat(110) + "example"),
        lease: Duration::from_secs(3600),
    };
    let mut site = Site::full();
    site.plan = Arc::new(AddressPlan::new(vec![Subnet::new(parts).unwrap()], [].into()).unwrap());
    site.leases.keep_to(&site.plan, site.now);
    let request = with(firmware(MessageType::Discover, "PXEClient", 7), code::MACHINE_ID, &[0; 17]);
    let reply = site.reply(&with(request, code::PARAMETERS, &[code::BOOT_FILE, code::TFTP_SERVER])).unwrap().packet;
    assert_eq!(text(reply.options.vendor_class()), "PXEClient");
    assert!(reply.options.get(code::VENDOR).is_some() && reply.options.get(code::BOOT_FILE).is_some());
    assert_eq!(reply.options.get(code::DOMAIN), None, "what does not fit is what matters least");
}

#[test]
fn a_client_that_takes_its_loader_by_http_finds_it_where_it_looks() {
    let reply = Site::proxy().reply(&firmware(MessageType::Discover, "HTTPClient", 16)).unwrap().packet;
    assert_eq!(text(reply.options.get(code::BOOT_FILE).unwrap()), "http://10.0.0.1:8080/loader/ipxe.efi");
    let reply = Site::proxy().reply(&firmware(MessageType::Discover, "PXEClient", 7)).unwrap().packet;
    assert_eq!(reply.options.get(code::BOOT_FILE), None, "unasked, it confuses ROMs");
}

#[test]
fn after_a_restart_machines_keep_their_addresses() {
    for address in [[10, 0, 0, 123], [10, 0, 0, 199]] {
        let again = with(packet(MessageType::Request), code::REQUESTED_ADDRESS, &address);
        let reply = Site::full().reply(&again).unwrap().packet;
        assert_eq!((reply.message_type(), reply.yiaddr), (Some(MessageType::Ack), address.into()));
    }
}

#[test]
fn an_address_that_cannot_be_is_refused_by_broadcast() {
    let mut site = Site::full();
    for address in [[10, 0, 0, 99], [192, 168, 1, 5]] {
        let reply = site.reply(&with(packet(MessageType::Request), code::REQUESTED_ADDRESS, &address)).unwrap();
        assert_eq!(reply.packet.message_type(), Some(MessageType::Nak));
        assert_eq!(reply.destination, to("255.255.255.255:68"));
        assert_eq!((reply.packet.yiaddr, reply.packet.siaddr), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
        assert_eq!(reply.packet.options.lease_time(), None);
    }
    let mut relayed = with(packet(MessageType::Request), code::REQUESTED_ADDRESS, &[10, 0, 0, 99]);
    relayed.giaddr = [10, 0, 0, 3].into();
    let reply = site.reply(&relayed).unwrap();
    assert_eq!((reply.destination, reply.packet.flags), (to("10.0.0.3:67"), BROADCAST));
    assert_eq!(site.reply(&packet(MessageType::Request)), None, "a request for nothing");
}

#[test]
fn an_address_of_another_machine_is_refused() {
    let mut site = Site::full();
    let mut other = with(packet(MessageType::Request), code::REQUESTED_ADDRESS, &[10, 0, 0, 120]);
    assert_eq!(site.reply(&other).unwrap().packet.message_type(), Some(MessageType::Ack));
    other.chaddr[5] = 9;
    assert_eq!(site.reply(&other).unwrap().packet.message_type(), Some(MessageType::Nak));
}

#[test]
fn released_and_declined_addresses_are_dealt_with_in_silence() {
    let mut site = Site::full();
    let first = site.reply(&packet(MessageType::Discover)).unwrap().packet.yiaddr;
    assert_eq!(site.reply(&with(packet(MessageType::Decline), code::REQUESTED_ADDRESS, &first.octets())), None);
    let second = site.reply(&packet(MessageType::Discover)).unwrap().packet.yiaddr;
    assert_ne!(first, second);
    assert_eq!(site.reply(&Packet { ciaddr: second, ..packet(MessageType::Release) }), None);
    assert_eq!(site.leases.in_use(site.now), 1, "only the declined one rests");
}

#[test]
fn who_only_informs_itself_gets_no_lease() {
    let mut inform = packet(MessageType::Inform);
    inform.ciaddr = [10, 0, 0, 7].into();
    let reply = Site::full().decide(&inform, Port::Server, "10.0.0.7:68".parse().unwrap()).reply.unwrap();
    assert_eq!(reply.destination, to("10.0.0.7:68"));
    assert_eq!(reply.packet.yiaddr, Ipv4Addr::UNSPECIFIED);
    assert_eq!(reply.packet.options.lease_time(), None);
    assert!(reply.packet.options.get(code::NETMASK).is_some());
}

#[test]
fn a_full_pool_is_told_and_not_answered() {
    let mut site = Site::full();
    let mut request = firmware(MessageType::Discover, "PXEClient", 0);
    // One of these has an address of its own.
    for number in 0..=100 {
        request.chaddr[5] = number;
        assert!(site.reply(&request).is_some());
    }
    request.chaddr[5] = 200;
    let decision = site.decide(&request, Port::Server, "0.0.0.0:68".parse().unwrap());
    assert!(decision.reply.is_none());
    assert!(decision.seen[0].detail.ends_with("every address of its network is in use"));
}

#[test]
fn a_long_url_goes_into_the_option_alone() {
    let long = format!("http://{}.example.net", "a".repeat(150));
    let (plan, loaders) = (plan(), loaders());
    let (hardware, is_ignored) = (None, false);
    let (address, mode, plan, loaders) = (SERVER, DhcpMode::Proxy, &plan, &loaders);
    let facts = Facts {
        address,
        own_name: "10.0.0.1",
        mode,
        plan,
        quirks: &[],
        hardware,
        is_ignored,
        base_url: &long,
        loaders,
    };
    let packet = with(firmware(MessageType::Discover, "PXEClient", 7), code::IPXE, WITH_HTTP);
    let request = Request { packet: &packet, port: Port::Server, source: "0.0.0.0:68".parse().unwrap() };
    let mut memory = Memory { leases: &mut LeaseTable::default(), attempts: &mut Attempts::default() };
    let reply = decide(&request, &facts, &mut memory, Instant::now()).reply.unwrap().packet;
    assert!(reply.file.is_empty());
    assert_eq!(text(reply.options.get(code::BOOT_FILE).unwrap()), format!("{long}/boot.ipxe"));
}

#[test]
fn a_relayed_client_gets_an_address_of_its_own_network_and_keeps_it_when_it_renews() {
    let mut site = Site::full();
    let relayed = Packet { giaddr: [10, 0, 9, 1].into(), ..packet(MessageType::Discover) };
    let reply = site.reply(&relayed).unwrap();
    assert_eq!(reply.destination, to("10.0.9.1:67"));
    assert_eq!(reply.packet.options.get(code::ROUTER), Some(&[10, 0, 9, 1][..]));
    let address = reply.packet.yiaddr;
    assert_eq!(address.octets()[..3], [10, 0, 9]);
    // A renewal comes straight from the client, without the relay.
    let renewal = Packet { ciaddr: address, ..packet(MessageType::Request) };
    let reply = site.decide(&renewal, Port::Server, SocketAddrV4::new(address, 68)).reply.unwrap();
    assert_eq!((reply.packet.message_type(), reply.packet.yiaddr), (Some(MessageType::Ack), address));
}

#[test]
fn with_reservations_only_machines_that_have_one_are_answered() {
    let mut site = Site::of(DhcpMode::Reservations);
    let mut known = firmware(MessageType::Discover, "PXEClient", 0);
    let unknown = known.clone();
    known.chaddr[5] = 7;
    let reply = site.reply(&known).unwrap().packet;
    assert_eq!((reply.yiaddr, text(&reply.file)), ([10, 0, 0, 50].into(), "undionly.kpxe".to_owned()));
    let decision = site.decide(&unknown, Port::Server, "0.0.0.0:68".parse().unwrap());
    assert!(decision.reply.is_none());
    assert!(decision.seen[0].detail.contains("has no address of its own in the site file"), "{:?}", decision.seen);
    for kind in [MessageType::Request, MessageType::Inform] {
        assert_eq!(site.reply(&with(packet(kind), code::REQUESTED_ADDRESS, &[10, 0, 0, 120])), None, "{kind:?}");
    }
    for kind in [MessageType::Request, MessageType::Inform] {
        let mut asks = firmware(kind, "PXEClient", 7);
        assert_eq!(site.boot_server(&asks), None, "{kind:?} on 4011");
        asks.chaddr[5] = 7;
        assert_eq!(text(&site.boot_server(&asks).unwrap().packet.file), "ipxe.efi");
    }
    let mut elsewhere = with(packet(MessageType::Request), code::REQUESTED_ADDRESS, &[10, 0, 0, 120]);
    elsewhere.chaddr[5] = 7;
    assert_eq!(site.reply(&elsewhere).unwrap().packet.message_type(), Some(MessageType::Nak));
}

#[test]
fn a_proxy_learns_the_address_another_server_gives() {
    let request = with(firmware(MessageType::Request, "PXEClient", 7), code::SERVER_ID, &[10, 0, 0, 254]);
    let request = with(request, code::REQUESTED_ADDRESS, &[10, 0, 0, 77]);
    let decision = Site::proxy().decide(&request, Port::Server, "0.0.0.0:68".parse().unwrap());
    assert_eq!(decision.address, Some((Mac([0x52, 0x54, 0, 0, 0, 1]), [10, 0, 0, 77].into())));
    assert!(decision.reply.is_none());
}

#[test]
fn firmware_that_makes_nothing_of_an_offer_is_sent_to_the_boot_server() {
    for mut site in [Site::proxy(), Site::full()] {
        site.remembers = true;
        let request = firmware(MessageType::Discover, "PXEClient", 7);
        let mut offers = Vec::new();
        for _ in 0..4 {
            offers.push(site.reply(&request).unwrap().packet);
        }
        for offer in &offers[..2] {
            assert_eq!(text(&offer.file), "ipxe.efi");
            assert_eq!(offer.options.get(code::VENDOR), Some(&[6, 1, 8, 255][..]));
        }
        for offer in &offers[2..] {
            assert_eq!(text(offer.options.vendor_class()), "PXEClient");
            assert_eq!((text(&offer.file).as_str(), offer.options.get(code::VENDOR)), ("", None));
            assert_eq!(offer.options.server_id(), Some(SERVER), "whom it asks on port 4011");
        }
        let ack = site.boot_server(&firmware(MessageType::Request, "PXEClient", 7)).unwrap().packet;
        assert_eq!((text(&ack.file).as_str(), ack.siaddr), ("ipxe.efi", SERVER));
        // It works, and stays so.
        for _ in 0..3 {
            assert_eq!(text(&site.reply(&request).unwrap().packet.file), "");
            site.boot_server(&firmware(MessageType::Request, "PXEClient", 7)).unwrap();
        }
        // Who knows nothing of boot servers is not sent to one.
        let mut board = with(packet(MessageType::Discover), code::ARCHITECTURE, &[0, 22]);
        board.chaddr[5] = 2;
        for _ in 0..4 {
            assert_eq!(text(&site.reply(&board).unwrap().packet.file), "ipxe-arm64.efi");
        }
    }
}

#[test]
fn a_machine_that_boots_in_a_circle_gets_no_more_loaders_but_its_address() {
    for (mut site, full) in [(Site::proxy(), false), (Site::full(), true)] {
        site.remembers = true;
        let mut request = with(firmware(MessageType::Discover, "PXEClient", 7), code::IPXE, WITHOUT_HTTP);
        for boot in 0..8 {
            request.xid = boot;
            assert_eq!(text(&site.reply(&request).unwrap().packet.file), "ipxe.efi", "{boot}");
        }
        request.xid = 8;
        let decision = site.decide(&request, Port::Server, "0.0.0.0:68".parse().unwrap());
        assert!(decision.seen[0].detail.contains("wanted a loader 8 times"), "{:?}", decision.seen);
        assert_eq!(decision.reply.is_some(), full);
        assert!(decision.reply.is_none_or(|reply| reply.packet.file.is_empty()));
        // Nor does it get one by going on from that offer, or by asking the boot server.
        let request = with(firmware(MessageType::Request, "PXEClient", 7), code::IPXE, WITHOUT_HTTP);
        assert!(site.boot_server(&request).is_none());
        let taken = site.reply(&with(request, code::REQUESTED_ADDRESS, &[10, 0, 0, 150]));
        assert!(
            taken.is_none_or(|reply| reply.packet.file.is_empty() && reply.packet.options.vendor_class().is_empty())
        );
    }
}

#[test]
fn a_machine_that_boots_in_a_circle_by_http_gets_no_more_loaders_either() {
    let mut site = Site::proxy();
    site.remembers = true;
    let mut request = firmware(MessageType::Discover, "HTTPClient", 16);
    let answered = (0..12).filter(|boot| {
        request.xid = *boot;
        site.reply(&request).is_some()
    });
    assert_eq!(answered.count(), 8);
}

#[test]
fn a_rule_changes_the_answers_of_those_it_is_about() {
    let rule = |machines: &str| Quirk {
        machines: vec![machines.parse().unwrap()],
        vendor_class: Some("PXEClient:Arch:00007".to_owned()),
        manufacturer: None,
        product: None,
        answer: Some(Shape::BootServer),
        delay: Some(Duration::from_millis(500)),
        machine_id: Some(false),
        is_pxe: None,
    };
    for (machines, is_about) in [("52:54:00", true), ("00:e0:4c", false)] {
        let mut site = Site::proxy();
        site.quirks = vec![rule(machines)];
        let request = with(firmware(MessageType::Discover, "PXEClient", 7), code::MACHINE_ID, &[0; 17]);
        let reply = site.reply(&request).unwrap();
        assert_eq!(reply.packet.file.is_empty(), is_about);
        assert_eq!(reply.delay.is_zero(), !is_about);
        assert_eq!(reply.packet.options.machine_id().is_none(), is_about);
        let bios = site.reply(&firmware(MessageType::Discover, "PXEClient", 0)).unwrap();
        assert_eq!((text(&bios.packet.file).as_str(), bios.delay), ("undionly.kpxe", Duration::ZERO));
    }
}

#[test]
fn a_rule_says_who_boots_by_pxe_where_the_vendor_class_does_not() {
    let rule = |is_pxe| Quirk {
        machines: vec!["52:54:00".parse().unwrap()],
        vendor_class: None,
        manufacturer: None,
        product: None,
        answer: None,
        delay: None,
        machine_id: None,
        is_pxe: Some(is_pxe),
    };
    let odd = with(firmware(MessageType::Discover, "PXEClient", 7), code::VENDOR_CLASS, b"ACME ThinBoot 2");
    let mut site = Site::proxy();
    assert_eq!(site.reply(&odd), None);
    site.quirks = vec![rule(true)];
    let offer = site.reply(&odd).unwrap().packet;
    assert_eq!((text(&offer.file).as_str(), text(offer.options.vendor_class()).as_str()), ("ipxe.efi", "PXEClient"));
    assert_eq!(site.reply(&packet(MessageType::Discover)), None, "without option 93 nobody knows what it could run");
    site.quirks = vec![rule(false)];
    assert_eq!(site.reply(&firmware(MessageType::Discover, "PXEClient", 7)), None);
    let ipxe = with(firmware(MessageType::Discover, "PXEClient", 7), code::IPXE, WITH_HTTP);
    assert_eq!(text(&site.reply(&ipxe).unwrap().packet.file), SCRIPT);
}

#[test]
fn a_raspberry_pi_that_says_what_it_is_needs_no_known_address() {
    let request = with(firmware(MessageType::Discover, "PXEClient", 0), code::MACHINE_ID, b"\0RPi4\x15\xd0abcdefghij");
    assert_eq!(text(&Site::proxy().reply(&request).unwrap().packet.file), "start4.elf");
}

mod random {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_packet_makes_the_server_panic_or_answer_too_long(
            options in prop::collection::vec((1..=254u8, prop::collection::vec(any::<u8>(), 0..60)), 0..14),
            kind in 0..12u8,
            boot in any::<bool>(),
            full in any::<bool>(),
        ) {
            let mut packet = packet(MessageType::from(kind));
            for (code, data) in options {
                if code != code::MESSAGE_TYPE && code != code::OVERLOAD {
                    packet.options.put(code, &data);
                }
            }
            let mut site = if full { Site::full() } else { Site::proxy() };
            let port = if boot { Port::Boot } else { Port::Server };
            let _ = site.decide(&packet, port, "10.0.0.150:68".parse().unwrap());
        }
    }
}

#[test]
fn a_machine_that_is_to_be_left_alone_is_told_nothing_about_booting() {
    let packet = firmware(MessageType::Discover, "PXEClient", 7);
    let mut site = Site { is_ignored: true, ..Site::proxy() };
    let decision = site.decide(&packet, Port::Server, "0.0.0.0:68".parse().unwrap());
    assert!(decision.reply.is_none() && decision.silence.unwrap().contains("unknown-policy"));
    let mut site = Site { is_ignored: true, ..Site::full() };
    let reply = site.decide(&packet, Port::Server, "0.0.0.0:68".parse().unwrap()).reply.unwrap().packet;
    assert!(!reply.yiaddr.is_unspecified(), "an address it gets, as everybody does");
    assert_eq!((reply.file.as_slice(), reply.options.get(code::BOOT_FILE)), (&b""[..], None));
}

#[test]
fn a_model_that_is_known_to_be_odd_is_led_as_its_rule_says() {
    let acme = Hardware { manufacturer: Some("ACME".to_owned()), ..Hardware::default() };
    let quirk = Quirk {
        machines: vec![],
        vendor_class: None,
        manufacturer: Some("acme".parse().unwrap()),
        product: None,
        answer: None,
        delay: Some(Duration::from_secs(1)),
        machine_id: None,
        is_pxe: None,
    };
    let packet = firmware(MessageType::Discover, "PXEClient", 7);
    for (hardware, delay) in [(Some(acme), 1), (Some(Hardware::default()), 0), (None, 0)] {
        let mut site = Site { hardware, quirks: vec![quirk.clone()], ..Site::proxy() };
        let reply = site.decide(&packet, Port::Server, "0.0.0.0:68".parse().unwrap()).reply.unwrap();
        assert_eq!(reply.delay.as_secs(), delay);
    }
}

#[test]
fn where_a_machine_is_plugged_in_is_told_of_those_that_are_led_to_a_loader() {
    let mut packet = firmware(MessageType::Discover, "PXEClient", 7);
    let place = |packet: &Packet| {
        let decision = Site::proxy().decide(packet, Port::Server, "10.0.4.1:67".parse().unwrap());
        decision.place.unwrap().1.map(|relay| relay.to_string())
    };
    assert_eq!(place(&packet), None);
    packet.giaddr = [10, 0, 4, 1].into();
    assert_eq!(place(&packet).as_deref(), Some("relay 10.0.4.1"));
    packet.options.put(code::RELAY_AGENT, b"\x01\x07Gi1/0/7\x02\x03\x00\x01\x02");
    assert_eq!(place(&packet).as_deref(), Some("relay 10.0.4.1 port Gi1/0/7 of 00:01:02"));
}
