//! Addresses: kept over a crash, reserved, listed.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use bivouac::wire::dhcp::{Packet, code};
use dhcproto::v4::MessageType;
use serde_json::Value;

use crate::support::site::Site;

const FULL: &str = "mode = \"full\"\npool = \"127.0.0.10-127.0.0.99\"\nlease = \"1h\"\n\
                    [machines.\"52:54:00:00:00:09\"]\naddress = \"127.0.0.50\"\n";

/// A machine that says which address it has.
struct Client {
    machine: u8,
    socket: UdpSocket,
    address: Ipv4Addr,
}

impl Client {
    fn new(machine: u8, last: u8) -> Self {
        let address = Ipv4Addr::new(127, 0, 0, last);
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { machine, socket, address }
    }

    fn ask(&self, server: SocketAddr, kind: MessageType) {
        let mut packet = Packet::decode(&[&[1, 1, 6, 0][..], &[0; 232], &[99, 130, 83, 99]].concat()).unwrap();
        packet.chaddr[..6].copy_from_slice(&[0x52, 0x54, 0, 0, 0, self.machine]);
        packet.ciaddr = self.address;
        packet.options.put(code::MESSAGE_TYPE, &[kind.into()]);
        self.socket.send_to(&packet.encode(1472), server).unwrap();
    }

    fn answer(&self) -> Packet {
        let mut buffer = [0; 2048];
        let (length, _) = self.socket.recv_from(&mut buffer).unwrap();
        Packet::decode(&buffer[..length]).unwrap()
    }

    fn renews(&self, server: SocketAddr) {
        self.ask(server, MessageType::Request);
        let packet = self.answer();
        assert_eq!((packet.message_type(), packet.yiaddr), (Some(MessageType::Ack), self.address));
    }
}

fn leases(site: &Site) -> Vec<(String, String, String)> {
    let ran = site.run(&["leases", "--json", "--site", "serve.toml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let list: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    let word = |line: &Value, key: &str| line[key].as_str().unwrap_or("-").to_owned();
    list.iter().map(|line| (word(line, "address"), word(line, "machine"), word(line, "state"))).collect()
}

fn line(address: &str, machine: u8, state: &str) -> (String, String, String) {
    (address.to_owned(), format!("52:54:00:00:00:{machine:02x}"), state.to_owned())
}

#[test]
fn leases_survive_a_killed_server_and_are_listed() {
    let site = Site::published();
    let server = site.serve_with(FULL, &[]);
    let client = Client::new(1, 20);
    client.renews(server.address("DHCP"));
    let reserved = line("127.0.0.50", 9, "reserved");
    let expected = [line("127.0.0.20", 1, "leased"), reserved.clone()];
    // The answer does not wait for the disk, so the list may be a moment behind.
    let is_written = (0..1000).any(|_| leases(&site) == expected);
    assert!(is_written, "{:?}", leases(&site));
    server.kill();

    let server = site.serve_with(FULL, &[]);
    assert_eq!(leases(&site), expected);
    let address = server.address("DHCP");
    // Another machine wants the same address, and is refused by a broadcast nobody hears; then it wants a free one.
    let (thief, other) = (Client::new(2, 20), Client::new(2, 21));
    thief.ask(address, MessageType::Request);
    other.renews(address);
    client.renews(address);
    Client::new(9, 50).renews(address);
    client.ask(address, MessageType::Release);
    other.renews(address);
    let log = server.stop();
    assert!(!log.contains("ERROR"), "{log}");
    let expected = [line("127.0.0.21", 2, "leased"), line("127.0.0.50", 9, "leased")];
    assert_eq!(leases(&site), expected);
    let table = site.run(&["leases", "--site", "serve.toml"]).out;
    assert!(table.starts_with("ADDRESS"), "{table}");
    assert!(table.contains("127.0.0.21  52:54:00:00:00:02  leased"), "{table}");
    assert!(table.contains("in 59m") || table.contains("in 1h"), "{table}");
}

#[test]
fn a_plan_that_changes_is_in_force_without_a_restart_and_one_with_a_mistake_is_not() {
    let site = Site::published();
    let listening = "[dhcp]\nlisten = \"127.0.0.1\"\nport = 0\npxe-port = 0\n";
    let mut server = site.serve_with(FULL, &[]);
    let address = server.address("DHCP");
    let (inside, outside) = (Client::new(1, 20), Client::new(2, 150));
    inside.renews(address);
    // No answer is known by the one to a packet that came later.
    outside.ask(address, MessageType::Request);
    inside.renews(address);
    outside.socket.set_nonblocking(true).unwrap();
    assert!(outside.socket.recv_from(&mut [0; 16]).is_err(), "it has no address here");

    let wrong = FULL.replace("127.0.0.10-127.0.0.99", "127.0.0.99-127.0.0.10");
    site.write("serve.toml", &format!("{listening}{wrong}"));
    let said = server.wait_for_log("cannot be used, so what it said before stays in force");
    assert!(said.contains("127.0.0.99-127.0.0.10"), "{said}");
    inside.renews(address);

    let moved = FULL.replace("127.0.0.10-127.0.0.99", "127.0.0.120-127.0.0.199");
    let moved = moved.replace("127.0.0.50", "127.0.0.60");
    site.write("serve.toml", &format!("{listening}{moved}"));
    let said = server.wait_for_log("read again and in force");
    assert!(said.contains("dhcp.subnet"), "{said}");
    outside.socket.set_nonblocking(false).unwrap();
    outside.renews(address);
    Client::new(9, 60).renews(address);
}

#[test]
fn a_server_for_reservations_answers_nobody_else() {
    let site = Site::published();
    let tables = "mode = \"reservations\"\n[[dhcp.subnet]]\nnetwork = \"127.0.0.0/24\"\n\
                  [machines.\"52:54:00:00:00:09\"]\naddress = \"127.0.0.50\"\n";
    let server = site.serve_with(tables, &[]);
    let address = server.address("DHCP");
    let (known, unknown) = (Client::new(9, 50), Client::new(1, 51));
    unknown.ask(address, MessageType::Request);
    unknown.ask(address, MessageType::Inform);
    known.renews(address);
    unknown.socket.set_nonblocking(true).unwrap();
    assert!(unknown.socket.recv_from(&mut [0; 16]).is_err(), "packets are answered in their order");
    server.stop();
    assert_eq!(leases(&site), [line("127.0.0.50", 9, "leased")]);
}

#[test]
fn a_list_without_any_address_says_what_gives_them() {
    let site = Site::new();
    let ran = site.run(&["leases"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(0), "No address was given out. `[dhcp] mode = \"full\"` or \"reservations\" does that.\n")
    );
    assert_eq!(site.run(&["leases", "--json"]).out, "[]\n");
}
