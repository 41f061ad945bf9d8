//! Our DHCP and TFTP servers with the clients, relays and networks of others. No machine boots here, so these take seconds.

use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use bivouac::wire::dhcp::{Packet, code};
use bivouac::wire::tftp;
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::Process;
use crate::site::Site;
use crate::wires::{Wires, done};

const OVMF: &str = include_str!("../../src/wire/dhcp/testdata/ovmf-discover.hex");

/// How long a program has to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Hears every packet of a namespace.
fn listen() -> Socket {
    // What a computer sends itself is told only to those who want every protocol (packet(7), ETH_P_ALL).
    const EVERY: i32 = 0x0003_u16.to_be() as i32;
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(EVERY))).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// The DHCP packets heard so far from one address to another.
fn heard(socket: &Socket, from: Ipv4Addr, to: Ipv4Addr) -> Vec<Packet> {
    let (mut packets, mut buffer) = (Vec::new(), [0; 2048]);
    loop {
        match (&*socket).read(&mut buffer) {
            Ok(length) if buffer[0] >> 4 == 4 => {
                let header = usize::from(buffer[0] & 15) * 4;
                let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&buffer[at..at + 4]).unwrap());
                if (address(12), address(16)) == (from, to) && buffer[9] == 17 {
                    packets.extend(Packet::decode(&buffer[header + 8..length]));
                }
            }
            // ARP, IPv6.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return packets,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_client_behind_a_relay_has_an_address_of_its_own_network() {
    let wires = Wires::new("relay", ["server", "relay", "client"]);
    wires.join([(0, "s0", "10.80.0.1/24"), (1, "r0", "10.80.0.2/24")]);
    wires.join([(1, "r1", "10.80.1.1/24"), (2, "c0", "")]);
    wires.ip(0, &["route", "add", "10.80.1.0/24", "via", "10.80.0.2"]);
    let networks = "mode = \"full\"\ninterfaces = [\"s0\"]\n\
                    [[dhcp.subnet]]\nnetwork = \"10.80.0.0/24\"\npool = \"10.80.0.100-10.80.0.199\"\n\
                    [[dhcp.subnet]]\nnetwork = \"10.80.1.0/24\"\npool = \"10.80.1.100-10.80.1.199\"\n\
                    router = \"10.80.1.1\"\n";
    let site = Site::publish();
    let mut server = wires.serve(0, &site, networks);
    let mut relay = wires.inside(1, "dhcrelay");
    relay.args(["-4", "-d", "-a", "-iu", "r0", "-id", "r1", "--no-pid", "10.80.0.1"]);
    let mut relay = Process::start("dhcrelay", relay);
    relay.wait_for("Sending on   Socket/fallback", PATIENCE);
    let spies = wires.within(1, || [listen(), listen()]);
    let script =
        wires.write("bound", "#!/bin/sh\n[ \"$1\" != bound ] || echo \"bound $ip $subnet $router $serverid\"\n");
    done(Command::new("chmod").arg("+x").arg(&script));
    let mut udhcpc = wires.inside(2, "busybox");
    udhcpc.args(["udhcpc", "-f", "-q", "-n", "-i", "c0", "-t", "10", "-T", "1", "-s"]).arg(script);
    let said = done(&mut udhcpc);
    server.drain();
    let bound = said.lines().find(|line| line.starts_with("bound ")).unwrap_or_else(|| panic!("{said}"));
    let mut words = bound.split(' ').skip(1);
    let address: Ipv4Addr = words.next().unwrap().parse().unwrap();
    let pool = Ipv4Addr::new(10, 80, 1, 100)..=Ipv4Addr::new(10, 80, 1, 199);
    assert!(pool.contains(&address), "{said}{}", server.text());
    assert_eq!(words.collect::<Vec<_>>(), ["255.255.255.0", "10.80.1.1", "10.80.0.1"], "{said}");
    // What the relay added comes back to it unchanged, and last.
    let (near, far) = (Ipv4Addr::new(10, 80, 0, 1), Ipv4Addr::new(10, 80, 1, 1));
    let (questions, answers) = (heard(&spies[0], Ipv4Addr::new(10, 80, 0, 2), near), heard(&spies[1], near, far));
    let told = |packets: &[Packet]| {
        packets
            .iter()
            .map(|packet| packet.options.get(code::RELAY_AGENT).unwrap_or_default().to_vec())
            .collect::<Vec<_>>()
    };
    assert!(answers.len() >= 2, "an offer and an acknowledgement: {answers:?}\n{}", server.text());
    let added = &told(&questions)[0];
    assert!(!added.is_empty(), "{questions:?}");
    for packet in &answers {
        assert_eq!(packet.options.iter().last(), Some((code::RELAY_AGENT, &added[..])), "{packet:?}");
    }
}

#[test]
fn two_hundred_clients_a_second_are_all_served() {
    let wires = Wires::new("perf", ["server", "client"]);
    wires.join([(0, "s0", "10.81.0.1/16"), (1, "c0", "10.81.0.2/16")]);
    let pool = "mode = \"full\"\ninterfaces = [\"s0\"]\npool = \"10.81.1.0-10.81.4.255\"\nnetmask = \"255.255.0.0\"\n";
    let site = Site::publish();
    let _server = wires.serve(0, &site, pool);
    let mut perfdhcp = wires.inside(1, "perfdhcp");
    perfdhcp.args(["-4", "-l", "c0", "-r", "200", "-R", "1000", "-p", "3", "-W", "1000000", "-u", "10.81.0.1"]);
    let said = done(&mut perfdhcp);
    let counted = |what: &str| said.lines().filter(|line| *line == what).count();
    assert_eq!((counted("drops: 0"), counted("non unique addresses: 0")), (2, 2), "{said}");
}

/// Sends what firmware broadcasts, from where it has no address yet, and hears what comes back from a server until each
/// of `wanted` is there.
fn discover(device: &str, from: Ipv4Addr, wanted: &[fn(&Packet) -> bool]) -> Vec<Packet> {
    let spy = listen();
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind_device(Some(device.as_bytes())).unwrap();
    socket.bind(&SocketAddr::from(([0, 0, 0, 0], 68)).into()).unwrap();
    let digits: Vec<u8> = OVMF.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
    socket.send_to(&bytes, &SocketAddr::from(([255, 255, 255, 255], 67)).into()).unwrap();
    let (mut packets, end) = (Vec::new(), Instant::now() + PATIENCE);
    while !wanted.iter().all(|is_wanted| packets.iter().any(is_wanted)) {
        assert!(Instant::now() < end, "not everything came: {packets:?}");
        packets.extend(heard(&spy, from, Ipv4Addr::BROADCAST));
        std::thread::yield_now();
    }
    packets
}

fn lease(wires: &Wires, place: usize, device: &str) -> String {
    let mut udhcpc = wires.inside(place, "busybox");
    udhcpc.args(["udhcpc", "-f", "-q", "-n", "-i", device, "-t", "20", "-T", "1", "-s", "/bin/true"]);
    let output = udhcpc.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// A plain DHCP server.
fn dnsmasq(wires: &Wires, place: usize, device: &str, range: &str) -> Process {
    let mut dnsmasq = wires.inside(place, "dnsmasq");
    dnsmasq.args(["--conf-file=/dev/null", "--keep-in-foreground", "--log-facility=-", "--port=0"]);
    dnsmasq.args(["--bind-interfaces", "--no-ping", "--dhcp-leasefile=leases", "--pid-file="]);
    dnsmasq.args([format!("--interface={device}"), format!("--dhcp-range={range}")]);
    let mut dnsmasq = Process::start("dnsmasq", dnsmasq);
    dnsmasq.wait_for("DHCP, IP range", PATIENCE);
    dnsmasq
}

#[test]
fn the_doctor_finds_a_network_that_loses_full_frames() {
    let wires = Wires::new("mtu", ["server", "router"]);
    wires.join([(0, "s0", "10.84.0.1/24"), (1, "c0", "10.84.0.2/24")]);
    let _dnsmasq = dnsmasq(&wires, 1, "c0", "10.84.0.100,10.84.0.199");
    let doctor = || {
        let mut command = wires.inside(0, env!("CARGO_BIN_EXE_bivouac"));
        let output = command.args(["doctor", "--dhcp", "proxy", "--interface", "s0"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let whole = doctor();
    assert!(whole.contains("ok     mtu        s0: frames of 1500 bytes get to 10.84.0.2 and back\n"), "{whole}");
    // The end of a wire takes no frame that is larger than its own MTU.
    wires.ip(1, &["link", "set", "c0", "mtu", "1400"]);
    let lost = doctor();
    assert!(lost.contains("WRONG  mtu        s0: frames of 1500 bytes do not get to 10.84.0.2 and back"), "{lost}");
}

#[test]
fn a_proxy_runs_beside_the_dhcp_server_of_its_own_computer_whichever_starts_first() {
    let wires = Wires::new("beside", ["server", "client"]);
    wires.join([(0, "s0", "10.82.0.1/24"), (1, "c0", "")]);
    let site = Site::publish();
    let proxy = "mode = \"proxy\"\ninterfaces = [\"s0\"]\n";
    let start = || dnsmasq(&wires, 0, "s0", "10.82.0.100,10.82.0.199");
    let gives: fn(&Packet) -> bool = |packet| !packet.yiaddr.is_unspecified() && packet.file.is_empty();
    let names: fn(&Packet) -> bool = |packet| packet.yiaddr.is_unspecified() && packet.file.as_slice() == b"ipxe.efi";
    for ours_first in [true, false] {
        let (early, late) = if ours_first { (None, Some(())) } else { (Some(start()), None) };
        let _ours = wires.serve(0, &site, proxy);
        let _dnsmasq = late.map(|()| start()).or(early);
        wires.within(1, || discover("c0", Ipv4Addr::new(10, 82, 0, 1), &[gives, names]));
        let said = lease(&wires, 1, "c0");
        assert!(said.contains("lease of 10.82.0."), "{said}");
    }
}

#[test]
fn an_interface_that_comes_later_is_served_and_a_client_is_answered_at_its_card() {
    let wires = Wires::new("comes", ["server", "client"]);
    wires.join([(0, "s0", "10.83.0.1/24"), (1, "c0", "")]);
    let site = Site::publish();
    let networks = "mode = \"full\"\npool = \"10.83.0.100-10.83.0.199\"\n\
                    [[dhcp.subnet]]\nnetwork = \"10.83.1.0/24\"\npool = \"10.83.1.100-10.83.1.199\"\n";
    let _server = wires.serve(0, &site, networks);
    // udhcpc asks not to be answered by broadcast.
    assert!(lease(&wires, 1, "c0").contains("lease of 10.83.0."));
    wires.join([(0, "s1", "10.83.1.1/24"), (1, "c1", "")]);
    assert!(lease(&wires, 1, "c1").contains("lease of 10.83.1."));
    wires.ip(0, &["link", "delete", "s1"]);
    assert!(lease(&wires, 1, "c0").contains("lease of 10.83.0."), "the other goes on");
}

#[test]
fn an_interface_whose_network_is_written_down_later_is_served_from_then_on() {
    let wires = Wires::new("later", ["server", "client"]);
    wires.join([(0, "s0", "10.86.0.1/24"), (1, "c0", "")]);
    wires.join([(0, "s1", "10.86.1.1/24"), (1, "c1", "")]);
    let site = Site::publish();
    let network = "mode = \"full\"\npool = \"10.86.0.100-10.86.0.199\"\n";
    let mut server = wires.serve(0, &site, network);
    assert!(lease(&wires, 1, "c0").contains("lease of 10.86.0."));
    let another = "[[dhcp.subnet]]\nnetwork = \"10.86.1.0/24\"\npool = \"10.86.1.100-10.86.1.199\"\n";
    wires.write("bivouac.toml", &format!("default-profile = \"hello\"\n[dhcp]\n{network}{another}"));
    server.wait_for("DHCP is served there now", PATIENCE);
    assert!(lease(&wires, 1, "c1").contains("lease of 10.86.1."));
}

#[test]
fn of_several_addresses_of_a_card_the_one_with_a_pool_answers_and_others_may_come() {
    let wires = Wires::new("several", ["server", "client"]);
    wires.join([(0, "s0", "10.85.0.1/24"), (1, "c0", "")]);
    wires.ip(0, &["address", "add", "10.85.1.1/24", "dev", "s0"]);
    let site = Site::publish();
    let networks = "mode = \"full\"\ninterfaces = [\"s0\"]\n\
                    [[dhcp.subnet]]\nnetwork = \"10.85.1.0/24\"\npool = \"10.85.1.100-10.85.1.199\"\n";
    let mut server = wires.serve(0, &site, networks);
    assert!(lease(&wires, 1, "c0").contains("lease of 10.85.1."));
    wires.ip(0, &["address", "add", "10.85.2.1/24", "dev", "s0"]);
    server.wait_for("DHCP is served there with other addresses", PATIENCE);
    assert!(lease(&wires, 1, "c0").contains("lease of 10.85.1."));
    server.drain();
    assert!(!server.text().contains("cannot be served"), "{}", server.text());
}

#[test]
fn a_block_of_tftp_fits_the_network_it_goes_through() {
    let wires = Wires::new("blocks", ["server", "client"]);
    wires.join([(0, "s0", "10.86.0.1/24"), (1, "c0", "10.86.0.2/24")]);
    wires.ip(0, &["link", "set", "s0", "mtu", "1400"]);
    let site = Site::publish();
    let _server = wires.serve(0, &site, "mode = \"proxy\"\ninterfaces = [\"s0\"]\n");
    let answer = wires.within(1, || {
        let socket = UdpSocket::bind("10.86.0.2:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = tftp::Request { block_size: Some(1468), ..tftp::Request::new("autoexec.ipxe") };
        socket.send_to(&tftp::Packet::Read(request).encode(), "10.86.0.1:69").unwrap();
        let mut buffer = [0; 2048];
        let (length, transfer) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&tftp::Packet::Error { code: 0, message: String::new() }.encode(), transfer).unwrap();
        buffer[..length].to_vec()
    });
    // Without the headers of IPv4, UDP and TFTP.
    let agreed = vec![("blksize".to_owned(), "1368".to_owned())];
    assert_eq!(tftp::Packet::decode(&answer), Ok(tftp::Packet::OptionAck(agreed)));
}
