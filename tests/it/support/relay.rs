//! A network for UDP that loses, doubles and reorders, the same way each time.

use std::net::SocketAddr;

use tokio::net::UdpSocket;
use tokio::runtime::Runtime;

/// What a network does to every so many packets of one direction; nothing where it is 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Every so many packets, one is lost.
    pub lose: usize,
    /// One arrives twice.
    pub double: usize,
    /// One arrives after the packet that was sent after it.
    pub overtake: usize,
}

/// A relay in front of a TFTP server. It ends with this.
pub struct Relay {
    /// What clients take for the server.
    pub address: SocketAddr,
    _runtime: Runtime,
}

/// One direction of one transfer.
struct Direction {
    faults: Faults,
    passed: usize,
    overtaken: Option<Vec<u8>>,
}

impl Relay {
    pub fn start(server: SocketAddr, faults: Faults) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = runtime.block_on(UdpSocket::bind("127.0.0.1:0")).unwrap();
        let address = socket.local_addr().unwrap();
        runtime.spawn(async move {
            let mut buffer = [0; 2048];
            loop {
                let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
                tokio::spawn(transfer(client, buffer[..length].to_vec(), server, faults));
            }
        });
        Self { address, _runtime: runtime }
    }
}

/// Everything between one client and the port that the server opens for it. The request itself always arrives: who asks
/// again for it is the client, after seconds.
async fn transfer(client: SocketAddr, request: Vec<u8>, server: SocketAddr, faults: Faults) {
    let (to_client, to_server) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    to_server.send_to(&request, server).await.unwrap();
    let direction = || Direction { faults, passed: 0, overtaken: None };
    let (mut down, mut up, mut port) = (direction(), direction(), server);
    let (mut from_server, mut from_client) = ([0; 2048], [0; 2048]);
    loop {
        tokio::select! {
            received = to_server.recv_from(&mut from_server) => {
                let (length, from) = received.unwrap();
                port = from;
                for packet in down.pass(&from_server[..length]) {
                    to_client.send_to(&packet, client).await.unwrap();
                }
            }
            received = to_client.recv_from(&mut from_client) => {
                let (length, _) = received.unwrap();
                for packet in up.pass(&from_client[..length]) {
                    to_server.send_to(&packet, port).await.unwrap();
                }
            }
        }
    }
}

impl Direction {
    /// What arrives now that this packet was sent.
    fn pass(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        self.passed += 1;
        let hits = |every: usize| every > 0 && self.passed.is_multiple_of(every);
        let mut arrives = Vec::new();
        if hits(self.faults.lose) {
            return arrives;
        }
        if hits(self.faults.overtake) && self.overtaken.is_none() {
            self.overtaken = Some(packet.to_vec());
            return arrives;
        }
        arrives.push(packet.to_vec());
        if hits(self.faults.double) {
            arrives.push(packet.to_vec());
        }
        arrives.extend(self.overtaken.take());
        arrives
    }
}
