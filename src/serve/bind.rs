//! Opening UDP server sockets, and why that fails.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::UdpSocket;

use super::port_owner::{self, Owner, Protocol};

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Ports below 1024, and binding to a device, are for root.
    #[error(
        "no permission to listen on {protocol} {address}: run as root, or grant CAP_NET_BIND_SERVICE (and CAP_NET_RAW for DHCP)"
    )]
    Permission {
        /// UDP or TCP.
        protocol: Protocol,
        /// What was to be listened on.
        address: SocketAddr,
    },
    /// Somebody else listens there.
    #[error("{protocol} port {} is in use{}; stop it, or choose another port or address", address.port(), by(owner.as_ref()))]
    InUse {
        /// UDP or TCP.
        protocol: Protocol,
        /// What was to be listened on.
        address: SocketAddr,
        /// Who has the port, as far as can be seen.
        owner: Option<Owner>,
    },
    /// The address belongs to no interface of this computer.
    #[error("{} is no address of this computer; choose one of its own", .0.ip())]
    NotLocal(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {protocol} {address}")]
    Io {
        /// UDP or TCP.
        protocol: Protocol,
        /// What was to be listened on.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

fn by(owner: Option<&Owner>) -> String {
    owner.map(|owner| format!(" by {owner}")).unwrap_or_default()
}

impl BindError {
    /// Finds out what an error of `bind` means; looks for the owner of a port that is taken.
    #[must_use]
    pub fn new(protocol: Protocol, address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission { protocol, address },
            io::ErrorKind::AddrInUse => {
                Self::InUse { protocol, address, owner: port_owner::find(protocol, address.port()) }
            }
            io::ErrorKind::AddrNotAvailable => Self::NotLocal(address),
            _ => Self::Io { protocol, address, source },
        }
    }
}

/// How a UDP server socket is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Udp<'a> {
    /// Address and port.
    pub address: SocketAddr,
    /// Receive from and send to this interface only.
    pub device: Option<&'a str>,
}

impl Udp<'_> {
    /// Opens the socket. It may broadcast, and tells where each datagram was sent to.
    pub(super) fn bind(self) -> Result<UdpSocket, BindError> {
        self.open().map_err(|error| BindError::new(Protocol::Udp, self.address, error))
    }

    fn open(self) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(self.address), Type::DGRAM, None)?;
        if let Some(device) = self.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        prepare(&socket, self.address.ip())?;
        socket.bind(&self.address.into())?;
        UdpSocket::from_std(socket.into())
    }
}

/// A socket of our own for a port that somebody else opened.
pub(super) fn prepared(given: &std::net::UdpSocket) -> io::Result<UdpSocket> {
    let socket = given.try_clone()?;
    prepare(&socket, socket.local_addr()?.ip())?;
    UdpSocket::from_std(socket)
}

/// Has the socket broadcast, tell where each datagram was sent to, and never wait.
fn prepare(socket: &impl AsFd, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => {
            SockRef::from(socket).set_broadcast(true)?;
            setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        IpAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
    }
    SockRef::from(socket).set_nonblocking(true)
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_reported_with_its_owner() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = Udp { address, device: None }.bind().unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("UDP port {} is in use by ", address.port())), "{text}");
        assert!(text.contains(&std::process::id().to_string()), "{text}");
    }

    #[tokio::test]
    async fn an_address_of_somebody_else_is_reported() {
        let address: SocketAddr = "192.0.2.1:0".parse().unwrap();
        let error = Udp { address, device: None }.bind().unwrap_err();
        assert_eq!(error.to_string(), "192.0.2.1 is no address of this computer; choose one of its own");
        assert!(error.source().is_none());
    }

    #[test]
    fn a_lack_of_permission_says_what_to_grant() {
        let address: SocketAddr = "0.0.0.0:67".parse().unwrap();
        let error = BindError::new(Protocol::Udp, address, io::ErrorKind::PermissionDenied.into());
        assert!(error.to_string().contains("CAP_NET_BIND_SERVICE"));
    }
}
