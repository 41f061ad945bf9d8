//! HTTP on real sockets: as firmware, iPXE, busybox, curl and people without manners speak it.

mod files;
mod manners;
mod storm;
pub(crate) mod tls;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;

use bivouac::store::Store;
use socket2::{Domain, Socket, Type};

use crate::support::large::{LARGE, publish_large};
use crate::support::site::{Serving, Site};

/// A site with a bundle whose modloop has these bytes, and the path of that.
fn site_with(content: &[u8]) -> (Site, String) {
    let site = Site::new();
    let bundle = publish_large(&Store::open(&site.path("state/store")).unwrap(), content);
    (site, format!("/b/{bundle}/{LARGE}"))
}

/// What curl says; it must be content.
fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl").args(["--silent", "--show-error", "--noproxy", "*"]).args(arguments).output();
    let output = output.expect("curl can be started");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn url(server: &Serving, path: &str) -> String {
    format!("http://{}{path}", server.address("HTTP"))
}

/// The value of a header.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A connection that stays open over several requests.
struct Connection(TcpStream);

impl Connection {
    fn open(server: SocketAddr) -> Self {
        Self(TcpStream::connect(server).unwrap())
    }

    /// From another address of the loopback.
    fn open_from(address: [u8; 4], server: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(IpAddr::from(address), 0).into()).unwrap();
        socket.connect(&server.into()).unwrap();
        Self(socket.into())
    }

    fn send(&mut self, request: &[u8]) {
        self.0.write_all(request).unwrap();
    }

    fn ask(&mut self, path: &str, agent: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\n\r\n").as_bytes());
    }

    /// The head of the next answer, byte by byte so that nothing of its body is lost.
    fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(self.0.read(&mut byte).unwrap(), 1, "hung up after {:?}", String::from_utf8_lossy(&head));
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    /// The body that belongs to this head.
    fn body(&mut self, head: &str) -> Vec<u8> {
        let mut body = vec![0; header(head, "content-length").unwrap().parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        body
    }

    /// Everything until the server hangs up.
    fn rest(mut self) -> String {
        let mut rest = Vec::new();
        // A server that hangs up on what it did not read resets the connection.
        let _ = self.0.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }
}
