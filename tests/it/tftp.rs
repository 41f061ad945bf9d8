//! TFTP as other people's clients speak it, over networks good and bad, and what the server has for other bootloaders.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use bivouac::wire::tftp::{Packet, Request};

use crate::support::relay::{Faults, Relay};
use crate::support::site::{Serving, Site};

/// A network in the cellar. Any two of these hit the same packet only after hundreds.
const BAD: Faults = Faults { lose: 17, double: 13, overtake: 11 };

const LOADER: &str = "undionly.kpxe";

/// Bytes that tell when one is lost or out of place.
fn content(size: usize) -> Vec<u8> {
    (0..size).map(|index| (index.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

/// A site with one loader of this size.
fn site(size: usize) -> Site {
    let site = Site::published();
    std::fs::create_dir(site.path("loaders")).unwrap();
    std::fs::write(site.path("loaders").join(LOADER), content(size)).unwrap();
    site
}

fn serve(site: &Site, tables: &str) -> Serving {
    site.serve_with(tables, &["--dhcp", "off", "--loaders", "loaders"])
}

/// A program of somebody else that reads a file by TFTP.
struct Peer {
    program: &'static str,
    package: &'static str,
    command: fn(&mut Command, SocketAddr, &str, &str),
}

const CURL: Peer = Peer {
    program: "curl",
    package: "curl",
    command: |command, server, name, to| {
        let url = format!("tftp://{server}/{name}");
        command.args(["--silent", "--show-error", "--tftp-blksize", "1432", "--max-time", "60", "-o", to, &url]);
    },
};

const ATFTP: Peer = Peer {
    program: "atftp",
    package: "atftp",
    command: |command, server, name, to| {
        command.args(["--get", "--remote-file", name, "--local-file", to, "--option", "blksize 1024"]);
        command.args(["--option", "windowsize 8", "--option", "tsize 0", "--tftp-timeout", "1"]);
        command.args([server.ip().to_string(), server.port().to_string()]);
    },
};

const TFTP_HPA: Peer = Peer {
    program: "tftp",
    package: "tftp-hpa",
    command: |command, server, name, to| {
        command.args(["-m", "binary", &server.ip().to_string(), &server.port().to_string(), "-c", "get", name, to]);
    },
};

impl Peer {
    /// Runs it; nothing when it is not installed.
    #[expect(clippy::print_stderr, reason = "whoever runs the tests should know that one is missing")]
    fn run(&self, site: &Site, server: SocketAddr, name: &str) -> Option<(Output, PathBuf)> {
        let to = site.path(&format!("{}-{}", self.program, server.port()));
        let mut command = Command::new(self.program);
        (self.command)(&mut command, server, name, to.to_str().unwrap());
        match command.output() {
            Ok(output) => Some((output, to)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("skipped {}: Debian's package `{}` is not installed", self.program, self.package);
                None
            }
            Err(error) => panic!("{}: {error}", self.program),
        }
    }

    /// Reads the loader and compares it.
    fn reads(&self, site: &Site, server: SocketAddr, size: usize) -> bool {
        let Some((output, to)) = self.run(site, server, LOADER) else { return false };
        let read = std::fs::read(&to).unwrap_or_default();
        assert!(read == content(size), "{} got {} of {size} bytes: {output:?}", self.program, read.len());
        true
    }
}

/// The log lines of transfers.
fn transfers(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("TFTP peer=")).collect()
}

#[test]
fn clients_of_other_people_read_a_loader() {
    let site = site(300_000);
    let server = serve(&site, "");
    let reads = [CURL, ATFTP, TFTP_HPA].map(|peer| peer.reads(&site, server.address("TFTP"), 300_000));
    let log = server.stop();
    let lines = transfers(&log);
    assert_eq!(lines.len(), reads.iter().filter(|read| **read).count(), "{log}");
    for line in &lines {
        for said in [
            "peer=127.0.0.1 ",
            "file=\"undionly.kpxe\" ",
            "bytes=300000 of=300000 took=",
            " resent=0 ",
            "ended=completed",
        ] {
            assert!(line.contains(said), "{said}: {line}");
        }
    }
    for (read, said) in reads.into_iter().zip([
        "block_size=1432 window_size=1",
        "block_size=1024 window_size=8",
        "block_size=512 window_size=1",
    ]) {
        assert_eq!(lines.iter().any(|line| line.contains(said)), read, "{said}: {log}");
    }
}

#[test]
fn clients_of_other_people_read_a_loader_over_a_network_that_loses_doubles_and_reorders() {
    let site = site(40_000);
    let server = serve(&site, "");
    let relay = Relay::start(server.address("TFTP"), BAD);
    // With options, curl asks that nothing is sent again before six seconds have passed.
    let curl = Peer {
        command: |command, server, name, to| {
            command.args(["--silent", "--show-error", "--tftp-no-options", "--max-time", "60", "-o", to]);
            command.arg(format!("tftp://{server}/{name}"));
        },
        ..CURL
    };
    thread::scope(|scope| {
        for peer in [curl, ATFTP, TFTP_HPA] {
            let (site, relay) = (&site, &relay);
            scope.spawn(move || peer.reads(site, relay.address, 40_000));
        }
    });
    let log = server.stop();
    for line in transfers(&log) {
        assert!(!line.contains(" resent=0 "), "something was lost: {line}");
    }
}

#[test]
fn with_a_single_port_everything_comes_from_the_server_port() {
    let site = site(300_000);
    let server = serve(&site, "[tftp]\nsingle-port = true\n");
    let address = server.address("TFTP");
    for peer in [CURL, ATFTP, TFTP_HPA] {
        peer.reads(&site, address, 300_000);
    }
    let read = Reader::ask(address, Request::new(LOADER)).read();
    assert_eq!(read.1, address);
    assert!(read.0 == content(300_000));
}

#[test]
fn more_blocks_than_there_are_numbers_are_no_obstacle() {
    let site = site(8 * 66_000);
    let server = serve(&site, "");
    let request = Request { block_size: Some(8), window_size: Some(16), ..Request::new(LOADER) };
    assert!(Reader::ask(server.address("TFTP"), request).read().0 == content(8 * 66_000));
}

#[test]
fn what_is_not_there_or_not_allowed_is_said_to_the_client() {
    let site = site(1000);
    let server = serve(&site, "");
    let address = server.address("TFTP");
    let text = |output: &Output| String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    for peer in [CURL, ATFTP, TFTP_HPA] {
        if let Some((output, _)) = peer.run(&site, address, "../../etc/passwd") {
            // curl has words of its own for this code.
            assert!(
                text(&output).to_lowercase().contains("no such file") || output.status.code() == Some(68),
                "{output:?}"
            );
        }
    }
    let netascii = Peer {
        command: |command, server, name, to| {
            let (host, port) = (server.ip().to_string(), server.port().to_string());
            command.args(["-m", "ascii", &host, &port, "-c", "get", name, to]);
        },
        ..TFTP_HPA
    };
    if let Some((output, _)) = netascii.run(&site, address, LOADER) {
        assert!(text(&output).contains("only octet (binary) transfers are served"), "{output:?}");
    }
    let put = Peer {
        command: |command, server, name, to| {
            std::fs::write(to, "x").unwrap();
            let (host, port) = (server.ip().to_string(), server.port().to_string());
            command.args(["-m", "binary", &host, &port, "-c", "put", to, name]);
        },
        ..TFTP_HPA
    };
    if let Some((output, _)) = put.run(&site, address, LOADER) {
        assert!(text(&output).contains("this server is read only"), "{output:?}");
    }
    assert!(Reader::ask(address, Request::new(LOADER)).read().0 == content(1000));
}

#[test]
fn other_bootloaders_are_led_to_ipxe() {
    let site = site(1000);
    let server = serve(&site, "");
    let address = server.address("TFTP");
    let read = |name: &str| String::from_utf8(Reader::ask(address, Request::new(name)).read().0).unwrap();
    let script = read("EFI/BOOT/autoexec.ipxe");
    let http = server.address("HTTP");
    assert!(script.starts_with("#!ipxe\n") && script.contains("dhcp"), "{script}");
    assert!(script.contains(&format!("http://{http}/script?mac=${{netX/mac}}")), "{script}");
    let pxelinux = read("pxelinux.cfg/01-52-54-00-12-34-56");
    assert!(pxelinux.contains("PXE 127.0.0.1::undionly.kpxe\n"), "{pxelinux}");
    assert!(
        pxelinux.contains("For BIOS machines, the boot file of your DHCP server should be undionly.kpxe."),
        "{pxelinux}"
    );
    let grub = read("grub/grub.cfg-01-52-54-00-12-34-57");
    assert!(grub.contains("GRUB cannot start iPXE on this firmware, or there is no loader for it."), "{grub}");
    assert_eq!(read("grub/grub.cfg"), grub);
    for name in ["pxelinux.0", "tftpboot/undionly.kpxe", "UNDIONLY.KPXE"] {
        assert!(Reader::ask(address, Request::new(name)).read().0 == content(1000), "{name}");
    }
    // Who asks by a name with an address in it is known from then on.
    let log = server.stop();
    assert!(log.contains("PXELINUX asks for its configuration and is told to start iPXE"), "{log}");
    let machines = site.run(&["machines"]).out;
    assert!(machines.contains("52:54:00:12:34:56") && machines.contains("52:54:00:12:34:57"), "{machines}");
}

#[test]
fn a_boot_storm_loses_nobody() {
    const CLIENTS: usize = 256;
    let site = site(200_000);
    let server = serve(&site, "");
    let (address, expected, start) = (server.address("TFTP"), content(200_000), Barrier::new(CLIENTS));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                start.wait();
                // As UEFI firmware asks.
                let request = Request { block_size: Some(1468), window_size: Some(4), ..Request::new(LOADER) };
                assert!(Reader::ask(address, request).read().0 == expected);
            });
        }
    });
    let log = server.stop();
    assert!(log.contains("tftp.completed=256") && log.contains("tftp.lost=0"), "{log}");
}

#[test]
fn a_thousand_open_transfers_take_little_memory() {
    let site = site(1_000_000);
    let server = serve(&site, "");
    let address = server.address("TFTP");
    // Whose client answers within a minute; the server sends nothing again before.
    let request = Request { block_size: Some(1468), window_size: Some(16), timeout: Some(60), ..Request::new(LOADER) };
    let mut open: Vec<Reader> = (0..1000).map(|_| Reader::ask(address, request.clone())).collect();
    for reader in &mut open {
        reader.begin();
    }
    let memory = server.memory();
    assert!(memory < 64 << 20, "{memory} bytes");
    // Each of them is alive.
    assert!(open.pop().unwrap().read().0 == content(1_000_000));
    for reader in open {
        reader.cancel();
    }
}

/// A client as RFC 7440 has it.
struct Reader {
    socket: UdpSocket,
    server: SocketAddr,
    request: Request,
    window: u16,
    received: Vec<u8>,
    have: u16,
    unanswered: u16,
    transfer: Option<SocketAddr>,
    silent: u32,
}

impl Reader {
    /// Sends the request.
    fn ask(server: SocketAddr, request: Request) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket.send_to(&Packet::Read(request.clone()).encode(), server).unwrap();
        Self {
            socket,
            server,
            request,
            window: 1,
            received: Vec::new(),
            have: 0,
            unanswered: 0,
            transfer: None,
            silent: 0,
        }
    }

    fn send(&self, packet: &Packet<'_>) {
        self.socket.send_to(&packet.encode(), self.transfer.unwrap_or(self.server)).unwrap();
    }

    /// Waits for the first block, or the first answer, and answers it.
    fn begin(&mut self) {
        while self.have == 0 {
            self.step();
        }
    }

    /// The whole file, and where it came from.
    fn read(mut self) -> (Vec<u8>, SocketAddr) {
        while !self.step() {}
        (self.received, self.transfer.unwrap())
    }

    fn cancel(self) {
        self.send(&Packet::Error { code: 0, message: String::new() });
    }

    /// Takes one packet. Whether it was the last.
    fn step(&mut self) -> bool {
        let mut buffer = [0; 2048];
        let Ok((length, from)) = self.socket.recv_from(&mut buffer) else {
            // Nothing came for long: ask again.
            self.silent += 1;
            assert!(self.silent < 20, "the server fell silent after block {}", self.have);
            match self.transfer {
                Some(_) => self.send(&Packet::Ack(self.have)),
                None => self.send(&Packet::Read(self.request.clone())),
            }
            return false;
        };
        self.transfer = Some(from);
        match Packet::decode(&buffer[..length]).unwrap() {
            Packet::OptionAck(options) => {
                let agreed = options.iter().find(|(name, _)| name == "windowsize");
                self.window = agreed.map_or(1, |(_, value)| value.parse().unwrap());
                self.send(&Packet::Ack(0));
                false
            }
            Packet::Data { block, data } if block == self.have.wrapping_add(1) => {
                self.received.extend_from_slice(data);
                (self.have, self.unanswered) = (block, self.unanswered + 1);
                let done = data.len() < usize::from(self.request.block_size.unwrap_or(512));
                if done || self.unanswered == self.window {
                    self.unanswered = 0;
                    self.send(&Packet::Ack(self.have));
                }
                done
            }
            Packet::Data { .. } => {
                self.unanswered = 0;
                self.send(&Packet::Ack(self.have));
                false
            }
            other => panic!("{other:?}"),
        }
    }
}
