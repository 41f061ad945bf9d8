//! The running server on real sockets: what it answers, and what it is not moved by.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bivouac::wire::dhcp::{Packet, code};

use crate::support::site::{Serving, Site};

const OVMF: &str = include_str!("../../src/wire/dhcp/testdata/ovmf-discover.hex");
const IPXE: &str = include_str!("../../src/wire/dhcp/testdata/ipxe-discover.hex");

/// The bytes of a packet that is written down in hexadecimal.
pub fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// The next datagram. A socket that waits only for a while is interrupted by any signal, such as that a program that
/// another test started has ended.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> (usize, SocketAddr) {
    loop {
        match socket.recv_from(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received.unwrap(),
        }
    }
}

/// A loader folder with a BIOS loader and an x86_64 UEFI one, as far as anybody looks.
pub fn loaders(site: &Site) {
    let mut efi = vec![0; 0x200];
    efi[..2].copy_from_slice(b"MZ");
    efi[0x3c] = 0x80;
    efi[0x80..0x86].copy_from_slice(b"PE\0\0\x64\x86");
    std::fs::create_dir_all(site.path("loaders")).unwrap();
    std::fs::write(site.path("loaders/ipxe.efi"), efi).unwrap();
    std::fs::write(site.path("loaders/undionly.kpxe"), vec![0x4b; 70_000]).unwrap();
}

/// A relay's question to the server, from which the answer comes back to the relay's port 67; so tests read the answer
/// of the boot server port, which goes to whoever asked.
fn ask_boot_server(server: &Serving, packet: &Packet) -> Packet {
    let socket = client();
    let mut request = packet.clone();
    request.options.put(code::MESSAGE_TYPE, &[3]);
    socket.send_to(&request.encode(1472), server.address("PXE boot server")).unwrap();
    let mut buffer = [0; 2048];
    let (length, _) = receive(&socket, &mut buffer);
    Packet::decode(&buffer[..length]).unwrap()
}

#[test]
fn firmware_is_sent_to_its_loader_and_ipxe_to_its_script() {
    let site = Site::published();
    loaders(&site);
    let server = site.serve(&["--loaders", "loaders"]);
    let http = server.address("HTTP").port();
    let answer = ask_boot_server(&server, &Packet::decode(&bytes(OVMF)).unwrap());
    assert_eq!(String::from_utf8_lossy(&answer.file).trim_end_matches('\0'), "ipxe.efi");
    let answer = ask_boot_server(&server, &Packet::decode(&bytes(IPXE)).unwrap());
    let script = format!("http://127.0.0.1:{http}/boot.ipxe");
    assert_eq!(String::from_utf8_lossy(&answer.file).trim_end_matches('\0'), script);
}

#[test]
fn a_machine_gets_its_labels_from_the_port_of_the_relay_it_is_plugged_into() {
    let site = Site::published();
    loaders(&site);
    let rule = "[[label]]\nset = { room = \"7\" }\nrelay = \"127.9.0.0/16\"\nrelay-port = \"gi1/0/*\"\n";
    site.write("bivouac.toml", rule);
    let server = site.serve(&["--loaders", "loaders"]);
    let mut packet = Packet::decode(&bytes(OVMF)).unwrap();
    packet.giaddr = [127, 9, 0, 1].into();
    packet.options.put(code::RELAY_AGENT, b"\x01\x07Gi1/0/7\x02\x03\x00\x01\x02");
    let answer = ask_boot_server(&server, &packet);
    assert!(answer.options.get(code::RELAY_AGENT).is_some());
    let mac = packet.mac().unwrap();
    server.get(&format!("/script?mac={mac}"));
    let ask = || serde_json::from_str::<serde_json::Value>(&site.run(&["machines", "--json"]).out).unwrap();
    let begun = Instant::now();
    while ask()[0]["relay"].is_null() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:#}", ask());
    }
    let machine = &ask()[0];
    assert_eq!(machine["relay"]["circuit"], "Gi1/0/7");
    assert_eq!(machine["labels"], serde_json::json!({"room": "7"}));
    let shown = site.run(&["machines", "show", &mac.to_string()]).out;
    assert!(shown.contains("behind relay 127.9.0.1 port Gi1/0/7 of 00:01:02"), "{shown}");
}

#[test]
fn a_machine_that_nobody_knows_is_not_answered_where_such_are_ignored() {
    let site = Site::published();
    loaders(&site);
    let file = "unknown-policy = \"ignore\"\n[dhcp]\nlisten = \"127.0.0.1\"\nport = 0\npxe-port = 0\n\
                [machines.\"52:54:00:00:00:02\"]\n";
    let server = site.serve_as(file, &["--loaders", "loaders"]);
    let socket = client();
    let ask = |last: u8| {
        let mut packet = Packet::decode(&bytes(OVMF)).unwrap();
        packet.chaddr[..6].copy_from_slice(&[0x52, 0x54, 0, 0, 0, last]);
        packet.xid = u32::from(last);
        packet.options.put(code::MESSAGE_TYPE, &[3]);
        socket.send_to(&packet.encode(1472), server.address("PXE boot server")).unwrap();
    };
    ask(1);
    ask(2);
    // Both came to one socket, in this order: the first answer is the only one.
    let mut buffer = [0; 2048];
    let (length, _) = receive(&socket, &mut buffer);
    assert_eq!(Packet::decode(&buffer[..length]).unwrap().xid, 2);
}

#[test]
fn a_machine_with_a_rule_is_sent_to_the_loader_it_names() {
    let site = Site::published();
    loaders(&site);
    std::fs::copy(site.path("loaders/ipxe.efi"), site.path("loaders/snponly.efi")).unwrap();
    let ovmf = Packet::decode(&bytes(OVMF)).unwrap();
    let rule = format!("[[loader]]\nmachines = [\"{}\"]\nuse = \"snponly\"\n", ovmf.mac().unwrap());
    let server = site.serve_with(&rule, &["--loaders", "loaders"]);
    let file = |packet: &Packet| {
        let answer = ask_boot_server(&server, packet);
        String::from_utf8_lossy(&answer.file).trim_end_matches('\0').to_owned()
    };
    assert_eq!(file(&ovmf), "snponly.efi");
    let mut other = ovmf.clone();
    other.chaddr[5] ^= 1;
    assert_eq!(file(&other), "ipxe.efi");
}

#[test]
fn a_rule_nothing_can_follow_is_said_when_serving_starts() {
    let site = Site::published();
    loaders(&site);
    let rule = "[[loader]]\nfirmware = \"efi-x64\"\nuse = \"snponly\"\n";
    let log = site.serve_with(rule, &["--dhcp", "off", "--loaders", "loaders"]).stop();
    let said =
        "loader rule 1 of the site file wants `snponly` for UEFI x86_64 machines and there is none; they get ipxe.efi";
    assert_eq!(log.matches(said).count(), 1, "{log}");
}

#[test]
fn a_loader_comes_by_tftp_and_by_http_with_its_length() {
    let site = Site::published();
    loaders(&site);
    let server = site.serve(&["--dhcp", "off", "--loaders", "loaders"]);
    assert_eq!(tftp(server.address("TFTP"), "undionly.kpxe"), vec![0x4b; 70_000]);
    let head = server.http("HEAD /loader/ipxe.efi HTTP/1.0\r\n\r\n").to_ascii_lowercase();
    assert!(head.starts_with("http/1.0 200 ok"), "{head}");
    assert!(head.contains("content-length: 512\r\n") && head.contains("content-type: application/efi\r\n"), "{head}");
    assert!(server.get("/loader/undionly.kpxe").starts_with("HTTP/1.0 200 OK"));
    assert!(server.get("/loader/other.efi").starts_with("HTTP/1.0 404"));
}

/// Reads a file by plain RFC 1350 TFTP.
fn tftp(server: SocketAddr, name: &str) -> Vec<u8> {
    let socket = client();
    let request = [&[0, 1][..], name.as_bytes(), b"\0octet\0"].concat();
    socket.send_to(&request, server).unwrap();
    let (mut file, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        let (length, from) = receive(&socket, &mut buffer);
        assert_eq!(buffer[..2], [0, 3], "{:?}", &buffer[..length]);
        socket.send_to(&[0, 4, buffer[2], buffer[3]], from).unwrap();
        file.extend_from_slice(&buffer[4..length]);
        if length < 516 {
            return file;
        }
    }
}

#[test]
fn kinds_of_client_that_cannot_boot_are_said_with_the_package_that_helps() {
    let site = Site::published();
    std::fs::create_dir_all(site.path("none")).unwrap();
    let server = site.serve(&["--dhcp", "off", "--loaders", "none"]);
    let log = server.stop();
    for kind in ["BIOS", "UEFI x86_64"] {
        assert!(log.contains(&format!("{kind} machines cannot boot: no iPXE loader; install `ipxe`")), "{log}");
    }
}

#[test]
fn a_file_of_a_bundle_is_named_by_its_digest_and_not_sent_twice() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    let script = server.get("/script?mac=52:54:00:00:00:01");
    let bundle = script.split("bivouac_bundle=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let path = format!("/b/{bundle}/initramfs-virt");
    let answer = server.get(&path).to_ascii_lowercase();
    let etag = answer.split("etag: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned();
    assert_eq!(etag.len(), 66, "{etag}");
    let again = server.http(&format!("GET {path} HTTP/1.0\r\nIf-None-Match: {etag}\r\n\r\n"));
    assert!(again.starts_with("HTTP/1.0 304"), "{again}");
}

#[test]
fn a_blob_that_was_changed_on_disk_is_not_served() {
    let site = Site::published();
    let manifest: serde_json::Value = serde_json::from_str(&site.run(&["show", "hello", "--json"]).out).unwrap();
    let digest = manifest["kernel"]["sha256"].as_str().unwrap();
    let path = site.path(&format!("state/store/blobs/{}/{digest}", &digest[..2]));
    let good = std::fs::read(&path).unwrap();
    let mut bytes = good.clone();
    bytes[100] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let server = site.serve(&["--dhcp", "off"]);
    let script = server.get("/script?mac=52:54:00:00:00:01");
    let bundle = script.split("bivouac_bundle=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let kernel = format!("/b/{bundle}/vmlinuz-virt");
    assert!(server.get(&kernel).starts_with("HTTP/1.0 500"));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, good).unwrap();
    assert!(server.get(&kernel).starts_with("HTTP/1.0 200"), "once it is whole again");
    let log = server.stop();
    assert!(log.contains("delete the file and build the profile again") && log.contains(digest), "{log}");
}

#[test]
fn nothing_outside_a_bundle_can_be_asked_for() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    let script = server.get("/script?mac=52:54:00:00:00:01");
    let bundle = script.split("bivouac_bundle=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    for path in [
        "/b/../../etc/passwd",
        &format!("/b/{bundle}/../../../../etc/passwd"),
        &format!("/b/{bundle}/%2e%2e/%2e%2e/keys/site.pem"),
        &format!("/b/{bundle}/packages/x86_64/../../../{bundle}.json"),
        "/b/xyz/vmlinuz-virt",
        &format!("/b/{}/vmlinuz-virt", "0".repeat(64)),
        "/loader/..%2f..%2fetc%2fpasswd",
        "/state/keys/site.pem",
    ] {
        let answer = server.get(path);
        assert!(answer.starts_with("HTTP/1.0 404"), "{path}: {answer}");
    }
}

#[test]
fn a_machine_that_may_not_boot_is_told_why_on_its_screen() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    let answer = server.get("/script?mac=52:54:00:00:00:01&arch=arm64");
    assert!(answer.contains("echo Bivouac: profile hello is for x86_64 and this machine is arm64\n"), "{answer}");
    assert!(server.get("/script?mac=nonsense").starts_with("HTTP/1.0 400"));
    assert!(server.get("/script").starts_with("HTTP/1.0 400"));
}

#[test]
fn check_ins_nobody_may_make_are_refused() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    let good = format!("bundle {}\nhostname x\n", "0".repeat(64));
    let answer = server.post(&format!("/check-in/{}", "0".repeat(32)), &good);
    assert!(answer.starts_with("HTTP/1.0 404") && answer.ends_with("no boot was given this token\n"), "{answer}");
    assert!(server.post("/check-in/x", "garbage").starts_with("HTTP/1.0 400"));
    assert!(server.post("/check-in/x", &"a".repeat(600 * 1024)).starts_with("HTTP/1.0 413"));
    let machines = site.run(&["machines"]).out;
    assert!(machines.starts_with("No machine has asked to boot yet. `bivouac serve` answers them.\n"), "{machines}");
}

#[test]
fn random_bytes_on_every_port_change_nothing_but_a_counter() {
    const PACKETS: u64 = 3_000;
    let site = Site::published();
    let server = site.serve(&[]);
    let entry = || server.get("/boot.ipxe").split_once("\r\n\r\n").unwrap().1.to_owned();
    let before = entry();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // xorshift64, from a fixed seed: the same packets each time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let ports = ["DHCP", "PXE boot server", "TFTP"].map(|what| server.address(what));
    for _ in 0..PACKETS {
        for port in ports {
            let length = usize::try_from(random() % 600).unwrap();
            let mut packet: Vec<u8> = (0..length).map(|_| random().to_le_bytes()[0]).collect();
            // Half of them begin like real ones, so that more than the first check is met.
            if random() % 2 == 0 && length > 240 {
                packet[..4].copy_from_slice(&[1, 1, 6, 0]);
                packet[236..240].copy_from_slice(&[99, 130, 83, 99]);
            } else if random() % 2 == 0 && length > 2 {
                packet[..2].copy_from_slice(&[0, 1]);
            }
            socket.send_to(&packet, port).unwrap();
        }
    }
    assert_eq!(entry(), before);
    let script = server.get("/script?mac=52:54:00:00:00:01");
    assert!(script.contains("bivouac_bundle="), "{script}");
    let log = server.stop();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    let malformed = log.split("dhcp.malformed=").nth(1).unwrap().split_whitespace().next().unwrap();
    assert!(malformed.parse::<u64>().unwrap() > 0, "{log}");
}
