//! What `bivouac dhcp-recipe` prints, given to the servers it is for: each takes it, and tells every kind of client what
//! that client can use.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use bivouac::wire::dhcp::{BROADCAST, Packet, code, sub_option};
use socket2::{Domain, Socket, Type};

use crate::lab::Process;
use crate::wires::{Wires, done};

/// How long a server has to start, and to answer.
const PATIENCE: Duration = Duration::from_secs(20);

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// A client that asks: a real packet of OVMF or iPXE, changed to be of another kind.
struct Asking {
    what: &'static str,
    packet: Packet,
}

/// What a client is to be told: a file name and by which protocol, or a URL.
#[derive(Debug, PartialEq)]
enum Told {
    Nothing,
    Tftp(&'static str),
    Http(&'static str),
    Script,
}

fn clients() -> Vec<(Asking, Told)> {
    let ovmf = Packet::decode(&unhex(include_str!("../../src/wire/dhcp/testdata/ovmf-discover.hex"))).unwrap();
    let ipxe = Packet::decode(&unhex(include_str!("../../src/wire/dhcp/testdata/ipxe-discover.hex"))).unwrap();
    let firmware = |class: &str, number: u16| {
        let mut packet = ovmf.clone();
        packet.options.put(code::VENDOR_CLASS, format!("{class}:Arch:{number:05}:UNDI:003000").as_bytes());
        packet.options.put(code::ARCHITECTURE, &number.to_be_bytes());
        packet
    };
    let with = |mut packet: Packet, code, value: &[u8]| {
        packet.options.put(code, value);
        packet
    };
    let mut system = ovmf.clone();
    system.options = Default::default();
    system.options.put(code::MESSAGE_TYPE, &[1]);
    system.options.put(code::PARAMETERS, &[1, 3, 6]);
    let list: Vec<(&'static str, Packet, Told)> = vec![
        ("BIOS", firmware("PXEClient", 0), Told::Tftp("undionly.kpxe")),
        ("UEFI x86 (32-bit)", firmware("PXEClient", 6), Told::Tftp("ipxe-i386.efi")),
        ("OVMF", ovmf.clone(), Told::Tftp("ipxe.efi")),
        ("UEFI x86_64 of RFC 4578", firmware("PXEClient", 9), Told::Tftp("ipxe.efi")),
        (
            "UEFI x86_64 that lists several",
            with(firmware("PXEClient", 7), code::ARCHITECTURE, &[0, 7, 0, 6]),
            Told::Tftp("ipxe.efi"),
        ),
        ("UEFI ARM64", firmware("PXEClient", 11), Told::Tftp("ipxe-arm64.efi")),
        ("HTTP Boot x86_64", firmware("HTTPClient", 16), Told::Http("ipxe.efi")),
        ("HTTP Boot ARM64", firmware("HTTPClient", 19), Told::Http("ipxe-arm64.efi")),
        ("iPXE", ipxe.clone(), Told::Script),
        ("iPXE on BIOS", with(ipxe, code::ARCHITECTURE, &[0, 0]), Told::Script),
        ("iPXE by its user class alone", with(ovmf.clone(), code::USER_CLASS, b"iPXE"), Told::Script),
        ("iPXE with a user class of RFC 3004", with(ovmf.clone(), code::USER_CLASS, b"\x04iPXE"), Told::Script),
        ("Itanium", firmware("PXEClient", 2), Told::Nothing),
        ("an operating system", system, Told::Nothing),
    ];
    (1..)
        .zip(list)
        .map(|(number, (what, mut packet, told))| {
            // Each is a machine of its own, and so has its own lease.
            packet.chaddr[..6].copy_from_slice(&[0x52, 0x54, 0, 0x79, 0, number]);
            packet.options.put(code::CLIENT_ID, &[1, 0x52, 0x54, 0, 0x79, 0, number]);
            packet.xid = 0x7900_0000 + u32::from(number);
            // Nobody here has that hardware address, so nothing can be sent to it alone.
            packet.flags = BROADCAST;
            (Asking { what, packet }, told)
        })
        .collect()
}

/// Asks by broadcast from a device without an address, as firmware does, and returns the answer.
fn ask(device: &str, asking: &Asking) -> Packet {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.bind_device(Some(device.as_bytes())).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 68)).into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let socket = UdpSocket::from(socket);
    socket.send_to(&asking.packet.encode(1472), (Ipv4Addr::BROADCAST, 67)).unwrap();
    let mut buffer = [0; 2048];
    loop {
        let (length, _) =
            socket.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{} was not answered: {error}", asking.what));
        let answer = Packet::decode(&buffer[..length]).unwrap();
        if answer.xid == asking.packet.xid {
            return answer;
        }
    }
}

/// Whether an answer tells a client what it is to be told, with everything its kind needs to take it.
fn assert_told(server: &str, asking: &Asking, answer: &Packet, told: &Told) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    let option = answer.options.get(code::BOOT_FILE).map(text);
    let file = option.unwrap_or_else(|| text(&answer.file));
    let class = text(answer.options.vendor_class());
    let (what, base) = (asking.what, "http://10.79.0.9");
    assert_ne!(answer.yiaddr, Ipv4Addr::UNSPECIFIED, "{server}, {what}: the address comes from the same server");
    match told {
        Told::Nothing => assert_eq!(file, "", "{server}, {what}"),
        Told::Tftp(name) => {
            assert_eq!((file.as_str(), class.as_str()), (*name, ""), "{server}, {what}");
            assert_eq!(answer.siaddr, Ipv4Addr::new(10, 79, 0, 9), "{server}, {what}");
        }
        Told::Http(name) => {
            assert_eq!(file, format!("{base}/loader/{name}"), "{server}, {what}");
            assert_eq!(class, "HTTPClient", "{server}, {what}");
        }
        Told::Script => {
            assert_eq!(file, format!("{base}/boot.ipxe"), "{server}, {what}");
            // iPXE ignores an answer without a server (iPXE, `net/udp/dhcp.c`).
            assert_eq!(answer.siaddr, Ipv4Addr::new(10, 79, 0, 9), "{server}, {what}");
            if asking.packet.options.asks_for(code::IPXE) {
                let own = answer.options.ipxe().unwrap_or_default();
                assert_eq!(sub_option(own, 176), Some(&[1][..]), "{server}, {what}");
            }
        }
    }
}

/// As much of a UEFI program as anybody looks at.
fn program(machine: u16) -> Vec<u8> {
    let mut bytes = b"MZ".to_vec();
    bytes.resize(0x3c, 0);
    bytes.extend(0x40u32.to_le_bytes());
    bytes.extend(b"PE\0\0");
    bytes.extend(machine.to_le_bytes());
    bytes.resize(0x40 + 24, 0);
    bytes
}

/// The recipe for a server, by the program.
fn recipe(wires: &Wires, server: &str) -> String {
    let loaders = wires.path("loaders");
    std::fs::create_dir(&loaders).unwrap();
    std::fs::write(loaders.join("undionly.kpxe"), [0xea; 64]).unwrap();
    for (name, machine) in [("ipxe.efi", 0x8664), ("ipxe-i386.efi", 0x014c), ("ipxe-arm64.efi", 0xaa64)] {
        std::fs::write(loaders.join(name), program(machine)).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_bivouac"));
    command.current_dir(wires.path("")).args(["dhcp-recipe", server, "--server", "10.79.0.9", "--loaders"]);
    done(command.arg(loaders))
}

/// Starts a server with its recipe on one end of a wire, and asks it as every kind of client from the other.
fn assert_answers_all(name: &str, wires: &Wires, command: Command, ready: &str) {
    let mut server = Process::start(name, command);
    server.wait_for(ready, PATIENCE);
    for (asking, told) in clients() {
        let answer = wires.within(1, || ask("c0", &asking));
        assert_told(name, &asking, &answer, &told);
    }
}

fn wire(test: &str) -> Wires {
    let wires = Wires::new(test, ["server", "client"]);
    wires.join([(0, "s0", "10.79.0.1/24"), (1, "c0", "")]);
    wires
}

#[test]
fn dnsmasq_takes_its_recipe_and_tells_every_client_what_it_can_use() {
    let wires = wire("dm");
    let config = wires.write("recipe.conf", &recipe(&wires, "dnsmasq"));
    let file = format!("--conf-file={}", config.display());
    done(wires.inside(0, "dnsmasq").args(["--test", &file]));
    let mut dnsmasq = wires.inside(0, "dnsmasq");
    dnsmasq
        .args(["--keep-in-foreground", "--log-facility=-", "--port=0", "--user=root", "--no-ping", "--pid-file="])
        .args(["--interface=s0", "--bind-interfaces", "--dhcp-range=10.79.0.100,10.79.0.199,255.255.255.0,1h"])
        .arg(format!("--dhcp-leasefile={}", wires.path("leases").display()))
        .arg(file);
    assert_answers_all("dnsmasq", &wires, dnsmasq, "sockets bound exclusively");
}

#[test]
fn dhcpd_takes_its_recipe_and_tells_every_client_what_it_can_use() {
    let wires = wire("isc");
    let subnet = "authoritative; ping-check false;\n\
                  subnet 10.79.0.0 netmask 255.255.255.0 { range 10.79.0.100 10.79.0.199; }\n";
    wires.write("dhcpd.conf", &(recipe(&wires, "isc") + subnet));
    wires.write("leases", "");
    done(wires.inside(0, "dhcpd").args(["-t", "-cf", "dhcpd.conf"]));
    let mut dhcpd = wires.inside(0, "dhcpd");
    dhcpd.args(["-4", "-f", "-cf", "dhcpd.conf", "-lf", "leases", "-pf"]).arg(wires.path("pid")).arg("s0");
    assert_answers_all("ISC dhcpd", &wires, dhcpd, "Sending on   Socket/fallback");
}

#[test]
fn kea_takes_its_recipe_and_tells_every_client_what_it_can_use() {
    let wires = wire("kea");
    let rest = r#"
        "interfaces-config": { "interfaces": ["s0"] },
        "lease-database": { "type": "memfile", "persist": false },
        "subnet4": [{ "subnet": "10.79.0.0/24", "pools": [{ "pool": "10.79.0.100-10.79.0.199" }] }],
        "loggers": [{ "name": "kea-dhcp4", "severity": "INFO", "output_options": [{ "output": "stdout" }] }]"#;
    wires.write("kea.json", &format!("{{ \"Dhcp4\": {{\n{},\n{rest} }} }}\n", recipe(&wires, "kea")));
    done(wires.inside(0, "kea-dhcp4").args(["-t", "kea.json"]));
    let mut kea = wires.inside(0, "kea-dhcp4");
    kea.args(["-c", "kea.json"]);
    kea.env("KEA_PIDFILE_DIR", wires.path("")).env("KEA_LOCKFILE_DIR", wires.path(""));
    assert_answers_all("Kea", &wires, kea, "DHCP4_STARTED");
}

#[test]
fn the_object_for_pfsense_is_what_kea_takes() {
    let wires = wire("pf");
    let text = recipe(&wires, "opnsense");
    let (start, end) = (text.find("\n{\n").unwrap(), text.find("\n}\n").unwrap());
    let object: serde_json::Value = serde_json::from_str(&text[start..end + 2]).unwrap();
    wires.write("kea.json", &serde_json::json!({ "Dhcp4": object }).to_string());
    done(wires.inside(0, "kea-dhcp4").args(["-t", "kea.json"]));
}
