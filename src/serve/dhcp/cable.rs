//! The end of a virtual machine's network cable: whole Ethernet frames on a socket of this computer, for which nobody needs
//! a privilege, an interface or a port.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::decide::Port;
use crate::model::mac::Mac;
use crate::wire::ethernet::{BROADCAST, Frame};
use crate::wire::udp::Datagram;

/// A socket whose every datagram is one frame, with who we are at this end.
#[derive(Debug)]
pub struct Cable {
    socket: UnixDatagram,
    address: Ipv4Addr,
    card: Mac,
}

/// A datagram from the cable.
pub(super) struct Heard<'a> {
    pub(super) port: Port,
    pub(super) source: SocketAddrV4,
    pub(super) destination: Ipv4Addr,
    pub(super) payload: &'a [u8],
}

impl Cable {
    /// Takes the end of a cable, where `address` and `card` are ours. Whoever receives or sends waits at most `patience`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(socket: UnixDatagram, address: Ipv4Addr, card: Mac, patience: Duration) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        Ok(Self { socket, address, card })
    }

    /// Our address.
    pub(super) const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Waits for a frame; nothing when it has no datagram for one of the ports of a server.
    pub(super) fn receive<'a>(&self, buffer: &'a mut [u8], ports: [(u16, Port); 2]) -> io::Result<Option<Heard<'a>>> {
        let length = self.socket.recv(buffer)?;
        let frame = Frame::read(buffer.get(..length).unwrap_or_default());
        let Some(Datagram { source, destination, payload }) = frame.and_then(|frame| Datagram::read(frame.packet))
        else {
            return Ok(None);
        };
        let is_ours = [self.address, Ipv4Addr::BROADCAST].contains(destination.ip());
        let port = ports.into_iter().find(|(port, _)| *port == destination.port() && is_ours);
        Ok(port.map(|(_, port)| Heard { port, source, destination: *destination.ip(), payload }))
    }

    /// Sends a datagram to the machine with this card.
    pub(super) fn send(&self, bytes: &[u8], from: u16, to: SocketAddrV4, card: Option<Mac>) -> io::Result<()> {
        let datagram = Datagram { source: SocketAddrV4::new(self.address, from), destination: to, payload: bytes };
        let packet = datagram.write().ok_or(io::ErrorKind::InvalidInput)?;
        let destination = card.filter(|_| !to.ip().is_broadcast()).unwrap_or(BROADCAST);
        self.socket.send(&Frame { destination, source: self.card, packet: &packet }.write()).map(drop)
    }
}
