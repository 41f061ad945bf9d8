//! The way between one transfer and its client: a socket of its own, or the server's.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Instant;

use nix::net::if_::if_indextoname;
use nix::sys::socket::{getsockopt, sockopt};
use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tracing::debug;

use super::alert::{Alertness, LOOK};
use super::place::Datagrams;
use super::transfer::{Blocks, Sending};
use crate::serve::udp::{self, Outgoing, Received, Route};
use crate::wire::tftp::{Packet, error_code};

/// The largest block: one Ethernet frame with IPv4, UDP and TFTP headers. A larger one may fit this computer's network
/// and be cut into fragments on the next, and fragments are what ROMs cannot join.
const MAX_BLOCK: u16 = 1468;

/// IPv4, UDP and TFTP headers.
const HEADERS_V4: u16 = 32;

/// IPv6, UDP and TFTP headers.
const HEADERS_V6: u16 = 52;

/// What a network takes when the kernel does not tell.
const ETHERNET_MTU: u16 = 1500;

/// Windows of so many blocks at most are so short that it matters when their client is woken.
const FEW: usize = 8;

/// How many packets of strangers are answered during one transfer.
const STRANGERS: u32 = 16;

/// The way to one client.
#[derive(Debug)]
pub(super) struct Line {
    socket: Socket,
    client: SocketAddr,
    /// Whether the kernel may be given several packets at once. It may turn out that this network card cannot.
    segments: bool,
    strangers: u32,
}

#[derive(Debug)]
enum Socket {
    /// Bound to the address the client asked, so that its firewall and its firmware take the answers. Not connected: a
    /// stranger is to be told that it is one (RFC 1350, section 4).
    ///
    /// Waited for only to be readable. A window is far smaller than the buffer for sending, and who waits for that one too
    /// is woken a second time for each packet, when it has left.
    Own(AsyncFd<std::net::UdpSocket>, Alertness),
    /// The server's, with the address that the client asked.
    Shared { socket: Arc<UdpSocket>, from: Option<IpAddr>, datagrams: Datagrams },
}

impl Line {
    /// With a port of its own.
    pub(super) fn own(asked: &Received, segments: bool) -> io::Result<Self> {
        let any = if asked.peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let address = match (asked.local.unwrap_or(any), asked.peer) {
            // An address of the link alone means nothing without the link.
            (IpAddr::V6(local), SocketAddr::V6(peer)) => SocketAddrV6::new(local, 0, 0, peer.scope_id()).into(),
            (local, _) => SocketAddr::new(local, 0),
        };
        let socket = std::net::UdpSocket::bind(address)?;
        Ok(Self {
            socket: Socket::Own(udp::readable(socket)?, Alertness::default()),
            client: asked.peer,
            segments,
            strangers: 0,
        })
    }

    /// With the server's port; `datagrams` is what arrives there from this client.
    pub(super) fn shared(asked: &Received, socket: &Arc<UdpSocket>, datagrams: Datagrams, segments: bool) -> Self {
        let socket = Socket::Shared { socket: Arc::clone(socket), from: asked.local, datagrams };
        Self { socket, client: asked.peer, segments, strangers: 0 }
    }

    /// Sends. What the kernel does not take is as good as lost on the way: it is sent again when it is missed.
    ///
    /// A client sleeps until a window comes. While the transfer `is_alone`, the first block of a short one goes ahead, so that
    /// the client is awake when it has the others; with many transfers there is always somebody awake, and a call of the
    /// system less counts for more.
    pub(super) async fn send(&mut self, sending: Sending<'_>, is_alone: bool) {
        let sent = match sending {
            Sending::Options(packet) => self.send_packet(&[IoSlice::new(packet)]).await,
            Sending::Blocks(blocks) if is_alone && blocks.count() <= FEW => self.send_first_ahead(blocks).await,
            Sending::Blocks(blocks) => self.send_blocks(blocks).await,
        };
        if let Err(error) = sent {
            debug!(peer = %self.client, %error, "a TFTP packet could not be sent");
        }
    }

    async fn send_first_ahead(&mut self, blocks: Blocks<'_>) -> io::Result<()> {
        let (first, others) = blocks.split_first();
        self.send_blocks(first).await?;
        match others {
            Some(others) => self.send_blocks(others).await,
            None => Ok(()),
        }
    }

    async fn send_blocks(&mut self, blocks: Blocks<'_>) -> io::Result<()> {
        if self.segments && blocks.count() > 1 {
            let packets: SmallVec<[([u8; 4], &[u8]); 16]> = blocks.packets().collect();
            let parts: SmallVec<[IoSlice<'_>; 32]> =
                packets.iter().flat_map(|(header, data)| [IoSlice::new(header), IoSlice::new(data)]).collect();
            match self.send_parts(&parts, Some(blocks.packet_size())).await {
                Ok(()) => return Ok(()),
                // A card without checksums of its own, a tunnel, a route whose packets became smaller: nothing was sent.
                Err(error) => {
                    debug!(peer = %self.client, %error, "TFTP packets are sent one by one from here on");
                    self.segments = false;
                }
            }
        }
        for (header, data) in blocks.packets() {
            self.send_packet(&[IoSlice::new(&header), IoSlice::new(data)]).await?;
        }
        Ok(())
    }

    async fn send_packet(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.send_parts(parts, None).await
    }

    async fn send_parts(&self, parts: &[IoSlice<'_>], segment: Option<u16>) -> io::Result<()> {
        match &self.socket {
            Socket::Own(socket, _) => {
                let route = Route { from: None, to: self.client };
                udp::send_now(socket.get_ref(), &Outgoing { parts, segment, route })
            }
            Socket::Shared { socket, from, .. } => {
                let route = Route { from: *from, to: self.client };
                udp::send_parts(socket, &Outgoing { parts, segment, route }).await
            }
        }
    }

    /// The next datagram of the client. Strangers are told that this port is none of theirs, and the transfer goes on.
    ///
    /// While the transfer `is_alone`, its thread may stay awake for it.
    pub(super) async fn receive<'b>(&mut self, buffer: &'b mut [u8], is_alone: bool) -> io::Result<&'b [u8]> {
        let length = match &mut self.socket {
            Socket::Own(socket, alertness) => loop {
                let (length, from) = receive_alert(socket, buffer, alertness, is_alone).await?;
                if from == self.client {
                    break length;
                }
                // An ERROR is never answered, or two servers would talk for ever.
                let is_error = buffer.get(..2) == Some(&[0, 5]);
                if !is_error && self.strangers < STRANGERS {
                    self.strangers += 1;
                    let message = "this port belongs to another transfer".to_owned();
                    let refusal = Packet::Error { code: error_code::UNKNOWN_PORT, message }.encode();
                    // Whether the stranger learns it is not this transfer's concern.
                    let _ = socket.get_ref().send_to(&refusal, from);
                }
            },
            Socket::Shared { datagrams, .. } => {
                // The place of the transfer holds the other end.
                let datagram = datagrams.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;
                let length = datagram.len().min(buffer.len());
                for (into, byte) in buffer.iter_mut().zip(datagram) {
                    *into = byte;
                }
                length
            }
        };
        Ok(buffer.get(..length).unwrap_or_default())
    }
}

/// Looks for a datagram, or sleeps until there is one.
async fn receive_alert(
    socket: &AsyncFd<std::net::UdpSocket>,
    buffer: &mut [u8],
    alertness: &mut Alertness,
    is_alone: bool,
) -> io::Result<(usize, SocketAddr)> {
    if alertness.is_turn_over() {
        tokio::task::yield_now().await;
    }
    let started = Instant::now();
    if is_alone && alertness.is_awake() {
        while started.elapsed() < LOOK {
            match socket.get_ref().recv_from(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::hint::spin_loop(),
                received => {
                    alertness.seen();
                    return received;
                }
            }
        }
        alertness.missed();
    }
    let received = socket.async_io(Interest::READABLE, |socket| socket.recv_from(buffer)).await?;
    alertness.woken(started.elapsed());
    Ok(received)
}

/// The largest block that makes no fragments on the way to the client, as far as the first network goes.
pub(super) fn largest_block(asked: &Received) -> u16 {
    let (mtu, headers) = match asked.peer.ip().to_canonical() {
        IpAddr::V4(address) => (route_mtu(address), HEADERS_V4),
        IpAddr::V6(_) => (asked.interface.and_then(interface_mtu), HEADERS_V6),
    };
    mtu.unwrap_or(ETHERNET_MTU).min(MAX_BLOCK + HEADERS_V4).saturating_sub(headers)
}

/// What the kernel knows of the way to an address. Sends nothing.
fn route_mtu(address: Ipv4Addr) -> Option<u16> {
    let probe = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    probe.connect((address, 9)).ok()?;
    // The loopback's is more than a u16 holds.
    getsockopt(&probe, sockopt::IpMtu).ok().map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX))
}

fn interface_mtu(interface: u32) -> Option<u16> {
    let name = if_indextoname(interface).ok()?.into_string().ok()?;
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok()?;
    text.trim().parse::<u32>().ok().map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bytes::Bytes;

    use super::super::transfer::{Limits, Transfer};
    use super::*;
    use crate::wire::tftp::Request;

    fn asked(peer: SocketAddr) -> Received {
        let local = if peer.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        Received { length: 0, peer, local: Some(local), is_broadcast: false, interface: Some(1) }
    }

    /// Sends blocks of eight bytes in one window, and returns whether segments are still on afterwards.
    async fn send_window(blocks: u16, listen: &str, segments: bool, is_alone: bool) -> bool {
        let client = UdpSocket::bind(listen).await.unwrap();
        let mut line = Line::own(&asked(client.local_addr().unwrap()), segments).unwrap();
        let request = Request { block_size: Some(8), window_size: Some(blocks), ..Request::new("f") };
        let content = Bytes::from(vec![7; usize::from(blocks) * 8 - 3]);
        let limits = Limits { block_size: 1468, window_size: u16::MAX };
        let mut transfer = Transfer::new(&request, content.clone(), limits, Instant::now());
        while transfer.next_sending().is_some() {}
        transfer.receive(&Packet::Ack(0), Instant::now());
        line.send(transfer.next_sending().unwrap(), is_alone).await;
        let mut received = Vec::new();
        for number in 1..=blocks {
            let mut buffer = [0; 64];
            let waited = tokio::time::timeout(Duration::from_secs(10), client.recv(&mut buffer)).await;
            let packet = &buffer[..waited.expect("a block").unwrap()];
            let Packet::Data { block, data } = Packet::decode(packet).unwrap() else { panic!("{packet:?}") };
            assert_eq!(block, number);
            received.extend_from_slice(data);
        }
        assert_eq!(received, content);
        line.segments
    }

    #[tokio::test]
    async fn a_window_arrives_as_packets_however_it_is_sent() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            for (blocks, is_alone) in [(16, false), (16, true), (4, true), (2, true), (1, true)] {
                assert!(send_window(blocks, listen, true, is_alone).await, "{listen}");
                assert!(!send_window(blocks, listen, false, is_alone).await, "{listen}");
            }
        }
    }

    #[tokio::test]
    async fn what_the_kernel_does_not_cut_is_sent_one_by_one_from_then_on() {
        // More segments than any kernel takes at once.
        assert!(!send_window(150, "127.0.0.1:0", true, false).await);
    }

    #[tokio::test]
    async fn the_largest_block_fits_an_ethernet_frame_whatever_the_first_network_takes() {
        assert_eq!(largest_block(&asked("127.0.0.1:9".parse().unwrap())), 1468);
        assert_eq!(largest_block(&asked("[::1]:9".parse().unwrap())), 1448);
        assert_eq!(largest_block(&asked("[::ffff:127.0.0.1]:9".parse().unwrap())), 1468);
    }
}
