//! Sockets beside the usual ones: one that hears port 67 without taking it, and one that reaches a network card whose
//! address nobody can ask for yet. Both need CAP_NET_RAW, as does binding a socket to an interface.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use nix::libc;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockFilter, Socket, Type};

use crate::model::mac::Mac;
use crate::wire::udp::Datagram;

/// Hears every datagram to one port that arrives on one interface, whoever has that port, and sends datagrams that come
/// from it: for a proxy on the computer of the DHCP server itself (netboot.md, C3).
///
/// Sharing the port instead would take it away: what clients and relays send to the other server by name, as when they
/// renew their address, goes to only one of the sockets that share a port. An IP socket sees copies, and it sees them
/// behind the firewall, as an ordinary socket does.
#[derive(Debug)]
pub(in crate::serve) struct Overhearing {
    /// To the standard library this is any socket that takes and gives datagrams.
    socket: UdpSocket,
    port: u16,
}

impl Overhearing {
    /// Opens the socket; whoever receives waits at most `patience`.
    pub(in crate::serve) fn open(device: &str, port: u16, patience: Duration) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP))?;
        // Before the filter and the interface are set, it would hear everything.
        socket.attach_filter(&to_port(port))?;
        socket.bind_device(Some(device.as_bytes()))?;
        socket.set_broadcast(true)?;
        socket.set_header_included_v4(true)?;
        socket.set_read_timeout(Some(patience))?;
        Ok(Self { socket: socket.into(), port })
    }

    /// Waits for a datagram; gives the packet around it, for [`Datagram::read`].
    pub(in crate::serve) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buffer)
    }

    /// The socket, for its options.
    pub(super) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Sends from our port at `source`.
    pub(in crate::serve) fn send(&self, bytes: &[u8], source: Ipv4Addr, to: SocketAddrV4) -> io::Result<()> {
        let source = SocketAddrV4::new(source, self.port);
        let packet = packet(bytes, source, to)?;
        self.socket.send_to(&packet, SocketAddr::V4(to)).map(drop)
    }
}

/// Passes packets to one UDP port, and nothing else: a program of the classic packet filter, whose bytes begin with the
/// IP header.
fn to_port(port: u16) -> [SockFilter; 5] {
    [
        // The length of the IP header, four times the low half of its first byte, becomes the index.
        SockFilter::new(0xb1, 0, 0, 0),
        // The destination port is the second number behind it.
        SockFilter::new(0x48, 0, 0, 2),
        SockFilter::new(0x15, 0, 1, u32::from(port)),
        SockFilter::new(0x06, 0, 0, u32::MAX),
        SockFilter::new(0x06, 0, 0, 0),
    ]
}

fn packet(bytes: &[u8], source: SocketAddrV4, destination: SocketAddrV4) -> io::Result<Vec<u8>> {
    let datagram = Datagram { source, destination, payload: bytes };
    datagram.write().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the answer is longer than a packet"))
}

/// Sends packets straight to network cards of one interface's network.
#[derive(Debug)]
pub(super) struct Cards {
    socket: Socket,
    /// The number of the interface.
    index: i32,
}

impl Cards {
    /// Opens the socket; nothing arrives there.
    pub(super) fn open(index: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        let index = i32::try_from(index).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(Self { socket, index })
    }

    /// Sends a datagram to a card, in a packet to the address the card is being given.
    pub(super) fn send(&self, bytes: &[u8], source: SocketAddrV4, to: SocketAddrV4, card: Mac) -> io::Result<()> {
        let packet = packet(bytes, source, to)?;
        let to = self.address(card);
        self.socket.send_to(&packet, &to).map(drop)
    }

    fn address(&self, card: Mac) -> SockAddr {
        let [a, b, c, d, e, f] = card.0;
        let link = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_IP as u16).to_be(),
            sll_ifindex: self.index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [a, b, c, d, e, f, 0, 0],
        };
        let mut storage = SockAddrStorage::zeroed();
        let length = size_of::<libc::sockaddr_ll>();
        // SAFETY: the storage is large enough for every kind of socket address, `sockaddr_ll` is the kind its family
        // says, and the length is that of this kind. No safe constructor of link addresses is to be had.
        #[allow(unsafe_code)]
        unsafe {
            *storage.view_as::<libc::sockaddr_ll>() = link;
            SockAddr::new(storage, length as libc::socklen_t)
        }
    }
}
