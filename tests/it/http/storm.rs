//! More machines at once than there are transfers.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;

use super::{Connection, header, site_with};
use crate::support::large::noise;

/// More than sockets hold on both sides, so that a transfer runs until somebody reads.
const SIZE: usize = 24 << 20;

const IPXE: &str = "iPXE/1.21.1+ (g7e9e9)";

const WGET: &str = "Wget";

/// An address of a machine.
fn machine(number: u8) -> [u8; 4] {
    [127, 0, 1, number]
}

#[test]
fn everybody_gets_the_file_and_no_more_at_once_than_may() {
    const LIMIT: usize = 3;
    const MACHINES: u8 = 12;
    let content = noise(SIZE);
    let (site, path) = site_with(&content);
    let server = site.serve_with(&format!("[http]\ntransfers = {LIMIT}\n"), &["--dhcp", "off"]);
    let address = server.address("HTTP");
    let (begun, begins) = mpsc::channel();
    let machines: Vec<_> = (1..=MACHINES)
        .map(|number| {
            let (begun, path, content) = (begun.clone(), path.clone(), content.clone());
            let (go_on, may_go_on) = mpsc::channel();
            let machine = thread::spawn(move || {
                let mut connection = Connection::open_from(machine(number), address);
                connection.ask(&path, WGET);
                let head = connection.head();
                assert!(head.starts_with("HTTP/1.1 200"), "{head}");
                begun.send(number).unwrap();
                may_go_on.recv().unwrap();
                assert!(connection.body(&head) == content);
            });
            (machine, go_on)
        })
        .collect();
    let mut ipxe = Connection::open_from(machine(200), address);
    let mut running: Vec<u8> = (0..LIMIT).map(|_| begins.recv().unwrap()).collect();
    let mut done = BTreeSet::new();
    let mut times = BTreeSet::new();
    while let Some(next) = running.pop() {
        if running.len() == LIMIT - 1 {
            // All are taken: iPXE, on one connection all the time, is told when to come back, and nobody else begins.
            ipxe.ask(&path, IPXE);
            let head = ipxe.head();
            assert!(head.starts_with("HTTP/1.1 503"), "{head}");
            let seconds: u64 = header(&head, "retry-after").unwrap().parse().unwrap();
            assert!((1..=10).contains(&seconds));
            times.insert(seconds);
            assert!(String::from_utf8(ipxe.body(&head)).unwrap().contains("ask again"));
            assert!(begins.try_recv().is_err());
        }
        // What is small is never held back: a script, and a look at the large file.
        assert!(server.get("/script?mac=52:54:00:00:00:01").starts_with("HTTP/1.0 200"));
        assert!(server.http(&format!("HEAD {path} HTTP/1.0\r\n\r\n")).starts_with("HTTP/1.0 200"));
        machines[usize::from(next) - 1].1.send(()).unwrap();
        assert!(done.insert(next));
        if done.len() + running.len() < usize::from(MACHINES) {
            running.push(begins.recv().unwrap());
        }
    }
    for (machine, _) in machines {
        machine.join().unwrap();
    }
    assert_eq!(done, (1..=MACHINES).collect());
    assert!(times.len() > 1, "they come back at different times: {times:?}");
    ipxe.ask(&path, IPXE);
    let head = ipxe.head();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(ipxe.body(&head) == content);
}

#[test]
fn a_machine_with_many_connections_does_not_keep_the_others_out() {
    const CONNECTIONS: usize = 20;
    const SHARE: usize = 4;
    let content = noise(SIZE);
    let (site, path) = site_with(&content);
    let server = site.serve_with("[http]\ntransfers = 8\n", &["--dhcp", "off"]);
    let address = server.address("HTTP");
    let (begun, begins) = mpsc::channel();
    for _ in 0..CONNECTIONS {
        let (begun, mut connection) = (begun.clone(), Connection::open_from(machine(1), address));
        connection.ask(&path, WGET);
        thread::spawn(move || {
            connection.head();
            // It reads no further, and holds what it has; the test ends first.
            begun.send(connection).is_ok()
        });
    }
    let _held: Vec<Connection> = (0..SHARE).map(|_| begins.recv().unwrap()).collect();
    for number in 2..8 {
        let mut other = Connection::open_from(machine(number), address);
        other.ask(&path, IPXE);
        let head = other.head();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(other.body(&head) == content);
    }
    assert!(begins.try_recv().is_err(), "it has no more than its share");
    let mut greedy = Connection::open_from(machine(1), address);
    greedy.ask(&path, IPXE);
    assert!(greedy.head().starts_with("HTTP/1.1 503"));
}

#[test]
fn a_loader_is_not_held_back() {
    let (site, path) = site_with(&noise(SIZE));
    let mut loader = vec![0; 2 << 20];
    loader[..2].copy_from_slice(b"MZ");
    loader[0x3c] = 0x80;
    loader[0x80..0x86].copy_from_slice(b"PE\0\0\x64\x86");
    std::fs::create_dir_all(site.path("loaders")).unwrap();
    std::fs::write(site.path("loaders/ipxe.efi"), &loader).unwrap();
    let server = site.serve_with("[http]\ntransfers = 1\n", &["--dhcp", "off", "--loaders", "loaders"]);
    let mut running = Connection::open_from(machine(1), server.address("HTTP"));
    running.ask(&path, WGET);
    running.head();
    let mut firmware = Connection::open_from(machine(2), server.address("HTTP"));
    firmware.ask("/loader/ipxe.efi", "UefiHttpBoot/1.0");
    let head = firmware.head();
    assert_eq!(header(&head, "content-type"), Some("application/efi"));
    assert!(firmware.body(&head) == loader);
}
