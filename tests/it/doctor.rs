//! `doctor`: what keeps machines from booting.

use std::net::{TcpListener, UdpSocket};

use bivouac::wire::dhcp::Packet;
use bivouac::wire::udp::Datagram;
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};

use crate::http::tls::{TABLE, certify};
use crate::support::site::{Ran, Site};

/// DHCP on the loopback, so that nothing is sent to the networks of this computer.
const LOOPBACK: &str = "[dhcp]\nlisten = \"127.0.0.1\"\nport = 0\npxe-port = 0\n";

const OVMF: &str = include_str!("../../src/wire/dhcp/testdata/ovmf-discover.hex");

fn findings(ran: &Ran) -> Vec<(String, String, String)> {
    let list: Vec<Value> = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}{}", ran.out, ran.err));
    let word = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    list.iter().map(|line| (word(line, "verdict"), word(line, "about"), word(line, "text"))).collect()
}

fn has(findings: &[(String, String, String)], verdict: &str, about: &str, text: &str) -> bool {
    findings.iter().any(|it| it.0 == verdict && it.1 == about && it.2.contains(text))
}

/// Ports of a server that runs on others than the usual ones.
fn on(server: &crate::support::site::Serving) -> [String; 2] {
    ["HTTP", "TFTP"].map(|what| server.address(what).to_string())
}

#[test]
fn a_healthy_server_is_asked_for_its_script_and_a_loader() {
    let site = Site::published();
    std::fs::create_dir_all(site.path("loaders")).unwrap();
    std::fs::write(site.path("loaders/undionly.kpxe"), [0xea; 3000]).unwrap();
    let server = site.serve(&["--dhcp", "off", "--loaders", "loaders"]);
    assert!(
        server.lines.iter().any(|line| line.starts_with("DHCP is off: `bivouac dhcp-recipe` ")),
        "{:?}",
        server.lines
    );
    let [http, tftp] = on(&server);
    // Nobody but this computer hears what is sent there.
    let off = ["--dhcp", "off", "--interface", "lo"];
    let ports = ["--loaders", "loaders", "--http", &http, "--tftp", &tftp];
    let asked = [&["doctor", "--json"][..], &off, &ports].concat();
    let ran = site.run(&asked);
    let found = findings(&ran);
    assert!(has(&found, "good", "port", &format!("HTTP, TCP {http} is served by bivouac")), "{found:?}");
    assert!(has(&found, "good", "http", "/boot.ipxe is a script"), "{found:?}");
    assert!(has(&found, "good", "tftp", "undionly.kpxe can be had"), "{found:?}");
    assert!(has(&found, "good", "store", "hello is published (stable)"), "{found:?}");
    assert!(has(&found, "good", "state", "state can be read and written"), "{found:?}");
    assert!(has(&found, "good", "database", "0 machines"), "{found:?}");
    assert!(has(&found, "doubtful", "interface", "DHCP is off"), "{found:?}");
    assert_eq!(ran.code, Some(0), "{found:?}");
    let table = site.run(&asked.iter().copied().filter(|word| *word != "--json").collect::<Vec<_>>());
    assert!(table.out.contains("ok     port       HTTP, TCP "), "{}", table.out);
    assert!(table.out.ends_with("\nNothing is wrong.\n"), "{}", table.out);
}

#[test]
fn a_server_is_asked_by_tls_and_at_its_boot_server_port() {
    let site = Site::published();
    std::fs::create_dir_all(site.path("loaders")).unwrap();
    std::fs::write(site.path("loaders/undionly.kpxe"), [0xea; 3000]).unwrap();
    certify(&site, &["rsa:2048"], "");
    let server = site.serve_with(TABLE, &["--loaders", "loaders"]);
    let [http, tftp] = on(&server);
    let (https, pxe) = (server.address("HTTPS"), server.address("PXE boot server"));
    let dhcp = LOOPBACK.replace("pxe-port = 0", &format!("pxe-port = {}", pxe.port()));
    site.write("ask.toml", &format!("{dhcp}{}", TABLE.replace("127.0.0.1:0", &https.to_string())));
    let asked = ["doctor", "--json", "--site", "ask.toml", "--loaders", "loaders", "--http", &http, "--tftp", &tftp];
    let ran = site.run(&asked);
    let found = findings(&ran);
    assert!(has(&found, "good", "port", &format!("HTTPS, TCP {https} is served by bivouac")), "{found:?}");
    assert!(has(&found, "good", "port", &format!("PXE boot server, UDP {pxe} is served by bivouac")), "{found:?}");
    assert!(has(&found, "good", "https", "tls/cert.pem can be used"), "{found:?}");
    assert!(has(&found, "good", "https", &format!("https://{https}/boot.ipxe is a script")), "{found:?}");
    let said = format!("the boot server on UDP port {} names the loader undionly.kpxe", pxe.port());
    assert!(has(&found, "good", "pxe", &said), "{found:?}");
    assert_eq!(ran.code, Some(0), "{found:?}");
}

#[test]
fn what_keeps_the_server_from_starting_is_found_before_it_is_started() {
    let site = Site::published();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dhcp = LOOPBACK.replace("\nport = 0", &format!("\nport = {port}"));
    let machine = "[machines.\"52:54:00:00:00:01\"]\nprofile = \"vdi\"\n";
    let beta = "[machines.\"52:54:00:00:00:02\"]\nprofile = \"hello\"\nchannel = \"beta\"\n";
    site.write("site.toml", &format!("{dhcp}{TABLE}{machine}{beta}"));
    let ports = ["--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0"];
    let ran = site.run(&[&["doctor", "--json", "--site", "site.toml"][..], &ports].concat());
    let found = findings(&ran);
    assert!(has(&found, "wrong", "port", &format!("DHCP, UDP 127.0.0.1:{port} is in use by ")), "{found:?}");
    assert!(has(&found, "wrong", "https", "HTTPS cannot be served: cannot read tls/cert.pem"), "{found:?}");
    assert!(has(&found, "wrong", "profile", "profile `vdi` has no release"), "{found:?}");
    assert!(has(&found, "wrong", "profile", "profile `hello` has no channel `beta`"), "{found:?}");
    assert_eq!(ran.code, Some(1), "{found:?}");
}

#[test]
fn a_damaged_ledger_is_found_and_its_file_not_thrown_away() {
    let site = Site::published();
    assert_eq!(site.run(&["machines", "label", "52:54:00:00:00:01", "room=1"]).code, Some(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = format!("sqlite://{}", site.path("state/fleet.sqlite").display());
    runtime.block_on(async {
        let mut other = SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("UPDATE ledger SET fact = 'garbage'").execute(&mut other).await.unwrap();
        other.close().await.unwrap();
    });
    site.write("site.toml", LOOPBACK);
    let ran = site.run(&["doctor", "--site", "site.toml", "--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0"]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("WRONG  database   cannot use the fleet database state/fleet.sqlite: "), "{}", ran.out);
    assert!(ran.out.contains("fact of entry 1 of the ledger"), "{}", ran.out);
    assert!(ran.out.contains("-> stop the server and put a backup of the file back."), "{}", ran.out);
}

#[test]
fn what_is_wrong_is_said_with_what_to_do_and_ends_with_one() {
    let site = Site::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let http = taken.local_addr().unwrap().to_string();
    std::fs::create_dir(site.path("none")).unwrap();
    site.write("site.toml", LOOPBACK);
    let asked = ["doctor", "--site", "site.toml", "--loaders", "none", "--http", &http, "--tftp", "127.0.0.1:0"];
    let ran = site.run(&asked);
    assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains(&format!("WRONG  port       HTTP, TCP {http} is in use by ")), "{}", ran.out);
    assert!(ran.out.contains("-> stop it, or choose another port"), "{}", ran.out);
    assert!(ran.out.contains("WRONG  store      nothing is published"), "{}", ran.out);
    assert!(ran.out.contains("-> `bivouac up PROFILE` builds and publishes"), "{}", ran.out);
    assert!(ran.out.contains("things are wrong."), "{}", ran.out);
    let lines: Vec<&str> = ran.out.lines().collect();
    let arm = lines.iter().position(|line| line.ends_with("UEFI ARM64 machines cannot boot: no iPXE loader"));
    let fix = arm.and_then(|at| lines.get(at + 1)).map(|line| line.trim());
    assert_eq!(fix, Some("-> take one with `bivouac loaders add`"), "{}", ran.out);
    let missing = site.run(&["doctor", "--interface", "none0", "--json"]);
    assert!(has(&findings(&missing), "wrong", "interface", "there is no network interface `none0`"), "{}", missing.out);
    let wrong_address = ["doctor", "--json", "--site", "site.toml", "--http", "192.0.2.1:8080"];
    assert!(has(&findings(&site.run(&wrong_address)), "wrong", "port", "192.0.2.1 is no address of this computer"));
}

/// A capture of the older kind, of bare IPv4 packets.
fn capture(datagrams: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut bytes = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 101, 0, 0, 0]);
    for (number, (from, to, payload)) in (0u32..).zip(datagrams) {
        let datagram = Datagram { source: from.parse().unwrap(), destination: to.parse().unwrap(), payload };
        let packet = datagram.write().unwrap();
        let length = u32::try_from(packet.len()).unwrap();
        for field in [1_700_000_000 + number, 0, length, length] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(packet);
    }
    bytes
}

#[test]
fn a_capture_is_answered_packet_by_packet() {
    let site = Site::new();
    std::fs::create_dir_all(site.path("loaders")).unwrap();
    let digits: Vec<u8> = OVMF.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let discover: Vec<u8> = digits.chunks(2).map(byte).collect();
    let mac = Packet::decode(&discover).unwrap().mac().unwrap();
    let packets = [
        ("0.0.0.0:68", "255.255.255.255:67", &discover[..]),
        ("10.0.0.9:2070", "10.0.0.1:69", &b"\0\x01ipxe.efi\0octet\0"[..]),
        ("10.0.0.9:9", "10.0.0.1:53", b"noise"),
    ];
    std::fs::write(site.path("boot.pcap"), capture(&packets)).unwrap();
    let asked = ["doctor", "--replay", "boot.pcap", "--loaders", "loaders", "--advertise", "http://10.0.0.1"];
    let ran = site.run(&asked);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let expected = format!("    0.000  {mac}  DISCOVER, UEFI x86_64 by PXE\n");
    assert!(ran.out.starts_with(&expected), "{}", ran.out);
    assert!(ran.out.contains("-> silence: UEFI x86_64 by PXE: no loader for UEFI x86_64"), "{}", ran.out);
    assert!(ran.out.contains("    1.000  10.0.0.9           asks for ipxe.efi by TFTP\n"), "{}", ran.out);
    assert!(ran.out.contains("-> no such loader"), "{}", ran.out);
    assert!(ran.out.ends_with("3 packets; answered as a server at 10.0.0.1 in mode proxy would.\n"), "{}", ran.out);
    let json = site.run(&[&asked[..], &["--json"]].concat());
    let lines: Vec<Value> = serde_json::from_str(&json.out).unwrap();
    assert_eq!((lines.len(), lines[0]["machine"].as_str()), (2, Some(mac.to_string().as_str())));

    site.write("boot.pcap", "this is a text");
    let ran = site.run(&asked);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("boot.pcap") && ran.err.contains("no capture of tcpdump or Wireshark"), "{}", ran.err);
    let ran = site.run(&["doctor", "--replay", "nowhere.pcap"]);
    assert!(ran.code == Some(2) && ran.err.contains("cannot open nowhere.pcap"), "{}", ran.err);
    let ran = site.run(&["doctor", "--replay", "loaders"]);
    assert!(ran.code == Some(2) && ran.err.contains("loaders is a folder; name a capture in it"), "{}", ran.err);
}

/// A real DISCOVER, and its machine.
fn discover() -> Packet {
    let digits: Vec<u8> = OVMF.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    Packet::decode(&digits.chunks(2).map(byte).collect::<Vec<u8>>()).unwrap()
}

/// A capture of the newer kind. An interface is its link type and name, a packet the number of its interface and itself.
fn pcapng(interfaces: &[(u16, &str)], packets: &[(u32, &[u8])]) -> Vec<u8> {
    let padded = |bytes: &[u8]| [bytes, &vec![0; bytes.len().next_multiple_of(4) - bytes.len()]].concat();
    let block = |kind: u32, body: &[u8]| {
        let (body, length) = (padded(body), u32::try_from(body.len().next_multiple_of(4) + 12).unwrap().to_le_bytes());
        [&kind.to_le_bytes()[..], &length, &body, &length].concat()
    };
    let mut bytes = block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
    for (link, name) in interfaces {
        let length = u16::try_from(name.len()).unwrap().to_le_bytes();
        let name = [&[2, 0][..], &length, &padded(name.as_bytes())].concat();
        bytes.extend(block(1, &[&link.to_le_bytes()[..], &[0; 6], &name, &[0; 4]].concat()));
    }
    for (interface, packet) in packets {
        let length = u32::try_from(packet.len()).unwrap().to_le_bytes();
        bytes.extend(block(6, &[&interface.to_le_bytes()[..], &[0; 8], &length, &length, packet].concat()));
    }
    bytes
}

/// A packet of IPv4 to everybody, on port 67.
fn to_all(packet: &Packet) -> Vec<u8> {
    let payload = packet.encode(1472);
    let (source, destination) = ("0.0.0.0:68".parse().unwrap(), "255.255.255.255:67".parse().unwrap());
    Datagram { source, destination, payload: &payload }.write().unwrap()
}

/// Answers a capture for the site file `site.toml`.
fn replayed(site: &Site, capture: &[u8], more: &[&str]) -> Ran {
    std::fs::create_dir_all(site.path("loaders")).unwrap();
    std::fs::write(site.path("boot.pcapng"), capture).unwrap();
    let asked = ["doctor", "--replay", "boot.pcapng", "--loaders", "loaders", "--advertise", "http://10.0.0.1"];
    let ran = site.run(&[&asked, more].concat());
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    ran
}

#[test]
fn a_capture_says_what_of_it_is_not_shown_and_what_to_do() {
    let site = Site::new();
    let whole = to_all(&discover());
    let mut fragment = whole.clone();
    fragment[6] = 0x20;
    let packets: [(u32, &[u8]); 5] = [(1, &whole), (1, &whole[..96]), (1, &fragment), (1, &[0x60; 40]), (0, &[1, 2])];
    let capture = pcapng(&[(147, "usb0"), (101, "eth1")], &packets);
    let ran = replayed(&site, &capture, &[]);
    assert!(ran.out.contains("DISCOVER, UEFI x86_64 by PXE\n"), "{}", ran.out);
    for line in [
        "5 packets; answered as a server at 10.0.0.1 in mode proxy would.",
        "Not shown: 1 packet of which the end was not captured; capture whole ones, with `tcpdump -s 0`.",
        "Not shown: 1 packet in fragments, which are not put together; capture nearer to the machine, where they are whole.",
        "Not shown: 1 packet of something else than IPv4 (ARP or IPv6, for instance), over which nothing boots here.",
        "Not shown: 1 packet of link type 147, which cannot be read; capture on one Ethernet interface, or on `any` of Linux.",
    ] {
        assert!(ran.out.lines().any(|it| it == line), "{line}\n{}", ran.out);
    }
    let json = replayed(&site, &capture, &["--json"]);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&json.out).unwrap().len(), 1);
    assert!(json.err.contains("note: Not shown: 1 packet of which the end was not captured; "), "{}", json.err);
}

#[test]
fn a_capture_without_anything_about_booting_says_how_to_make_another() {
    let site = Site::new();
    for capture in [capture(&[]), pcapng(&[], &[]), capture(&[("10.0.0.9:9", "10.0.0.1:53", b"noise")])] {
        let out = replayed(&site, &capture, &[]).out;
        let last = out.lines().last().unwrap();
        assert!(last.starts_with("Nothing in it is about booting; capture with `tcpdump -s 0 -w boot.pcap "), "{out}");
    }
}

#[test]
fn a_server_that_gives_addresses_is_replayed_with_what_it_refuses_and_why() {
    let site = Site::new();
    site.write(
        "site.toml",
        "[dhcp]\nmode = \"full\"\npool = \"10.0.0.100-10.0.0.199\"\n[dhcp.modes]\neth2 = \"off\"\n",
    );
    let discover = discover();
    let mut wrong = discover.clone();
    wrong.options.put(53, &[3]);
    wrong.options.put(50, &[192, 0, 2, 7]);
    let (first, second) = (to_all(&discover), to_all(&wrong));
    let capture = pcapng(&[(101, "eth1"), (101, "eth2")], &[(0, &first), (0, &second), (1, &first)]);
    let out = replayed(&site, &capture, &["--site", "site.toml"]).out;
    let answers: Vec<&str> = out.lines().filter_map(|line| line.split_once("-> ")).map(|(_, answer)| answer).collect();
    let offer = "OFFER of the server 10.0.0.1: the address 10.0.0.1";
    assert!(answers[0].starts_with(offer) && answers[0].contains("no loader for UEFI x86_64"), "{out}");
    let refused = "NAK of the server 10.0.0.1: no address; to 255.255.255.255:68 \
                   (192.0.2.7 is in no network in which addresses are given out)";
    assert_eq!(answers[1..], [refused, "silence: DHCP is off"], "{out}");
    assert!(out.ends_with("What came by eth2 is answered in mode off, as the site file says.\n"), "{out}");
    let nameless = self::capture(&[("0.0.0.0:68", "255.255.255.255:67", &discover.encode(1472))]);
    let out = replayed(&site, &nameless, &["--site", "site.toml"]).out;
    assert!(
        out.contains("The site file has modes for single interfaces (eth2: off), and this capture does not "),
        "{out}"
    );
}

#[test]
fn machines_nobody_knows_are_ignored_in_a_replay_as_they_are_by_the_server() {
    let site = Site::new();
    site.write("site.toml", "unknown-policy = \"ignore\"\n");
    let discover = discover();
    let capture = pcapng(&[(101, "eth1")], &[(0, &to_all(&discover))]);
    let out = replayed(&site, &capture, &["--site", "site.toml"]).out;
    assert!(out.contains("-> silence: nobody knows it, and `unknown-policy` says to ignore such machines\n"), "{out}");
    assert!(
        out.contains("There is no fleet database here (state/fleet.sqlite): machines that the site file "),
        "{out}"
    );
    let mac = discover.mac().unwrap().to_string();
    let labelled = site.run(&["machines", "label", &mac, "room=12"]);
    assert_eq!(labelled.code, Some(0), "{}", labelled.err);
    let out = replayed(&site, &capture, &["--site", "site.toml"]).out;
    assert!(out.contains("-> silence: UEFI x86_64 by PXE: no loader for UEFI x86_64"), "{out}");
    assert!(!out.contains("There is no fleet database here"), "{out}");
}
