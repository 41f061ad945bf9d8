//! The caching mirror through the front door: what clients get, and what upstream is asked for it.

mod answers;
mod commands;
mod failing;
mod hostile;
mod indexes;
mod releases;
mod space;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use bivouac::apk::{PackageWriter, PkgInfo};

use crate::support::server::Reply;
use crate::support::site::{MAIN, Serving, Site, index, signing_key};

/// The path of the test mirror's index on the server.
const INDEX: &str = "/alpine/v3.24/main/x86_64/APKINDEX.tar.gz";

/// A server that gives up upstream soon, and asks for an index each time it is asked for one.
const EAGER: &str = "[fetch]\nattempts = 1\n[caching-mirror]\nmax-age = \"0s\"\n";

/// The same that asks once.
const LAZY: &str = "[fetch]\nattempts = 1\n";

/// The same that waits for a silent upstream no longer than it must.
const IMPATIENT: &str = "[fetch]\nattempts = 1\nread-timeout = \"1s\"\n";

/// An answer, taken apart.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// What it says, when it is no file.
    fn refusal(&self) -> (u16, String) {
        (self.status, String::from_utf8_lossy(&self.body).trim_end().to_owned())
    }
}

/// A package of this name and version with about so many bytes, built at a time, in seconds since 1970.
fn built(name: &str, version: &str, size: usize, time: &str) -> Vec<u8> {
    let info = PkgInfo {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: "x86_64".to_owned(),
        build_date: time.to_owned(),
        installed_size: 10,
        ..PkgInfo::default()
    };
    // Numbers of a linear congruence do not compress.
    let mut state = 1_u32;
    let content: Vec<u8> = (0..size)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    PackageWriter::new(info).file(&format!("usr/share/{name}"), 0o644, &content).write().unwrap()
}

/// A package of which nothing matters but its name.
fn small(name: &str) -> Vec<u8> {
    built(name, "1.0-r0", 10, "")
}

/// Puts packages and their index upstream, under their names and version 1.0-r0.
fn offer(site: &Site, packages: &[(&str, &Vec<u8>)]) {
    let files: Vec<Vec<u8>> = packages.iter().map(|(_, bytes)| (*bytes).clone()).collect();
    site.mirror.server.put(format!("{MAIN}/APKINDEX.tar.gz"), Reply::File(index(&files, signing_key())));
    for (name, bytes) in packages {
        site.mirror.server.put(upstream(name), Reply::File((*bytes).clone()));
    }
    site.mirror.server.requests();
}

/// Where upstream has a package.
fn upstream(name: &str) -> String {
    format!("{MAIN}/{name}-1.0-r0.apk")
}

/// Where the server has it.
fn path(name: &str) -> String {
    format!("/alpine{}", upstream(name))
}

/// Asks a server for a path, with these header lines.
fn ask(server: &Serving, method: &str, path: &str, headers: &[&str]) -> Answer {
    ask_at(server.address("HTTP"), method, path, headers)
}

fn ask_at(address: SocketAddr, method: &str, path: &str, headers: &[&str]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    stream
        .write_all(format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{lines}\r\n").as_bytes())
        .unwrap();
    read(stream)
}

/// Reads an answer to the end of the connection.
fn read(mut stream: TcpStream) -> Answer {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Answer { status, headers: lines.filter_map(header).collect(), body: answer[end + 4..].to_vec() }
}

fn get(server: &Serving, path: &str) -> Answer {
    ask(server, "GET", path, &[])
}

/// The names of the files that the mirror holds, packages and images.
fn held(site: &Site) -> Vec<String> {
    let folder = site.path("state/mirror/packages");
    if folder.exists() { bivouac::disk::list(&folder).unwrap() } else { Vec::new() }
}

/// Nothing is left of files that were on their way.
fn nothing_is_left(site: &Site) {
    assert_eq!(bivouac::disk::list(&site.path("state/mirror/partial")).unwrap(), [] as [&str; 0]);
}

/// What the index says of itself upstream now.
fn offered_index(site: &Site, packages: &[Vec<u8>]) -> Vec<u8> {
    let bytes = index(packages, signing_key());
    site.mirror.server.put(format!("{MAIN}/APKINDEX.tar.gz"), Reply::File(bytes.clone()));
    bytes
}
