//! Datagrams together with the local address they were sent to.
//!
//! A server on 0.0.0.0 that answers without knowing that address answers from whatever address the kernel prefers,
//! and a computer with two addresses in one network never boots a machine.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;

/// A datagram's envelope.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    /// How many bytes were received.
    pub length: usize,
    /// Who sent it.
    pub peer: SocketAddr,
    /// The address it was sent to, if the kernel said so; of a broadcast, the interface's first.
    pub local: Option<IpAddr>,
    /// Whether it was sent to everybody and not to that address.
    pub is_broadcast: bool,
    /// The number of the interface it arrived on, if the kernel said so.
    pub interface: Option<u32>,
}

/// Receives one datagram; what does not fit `buffer` is cut off.
pub(super) async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
    socket.async_io(Interest::READABLE, || receive_now(socket, buffer)).await
}

/// Receives one datagram as the socket does: waits, waits for some time, or does not wait.
pub(super) fn receive_now(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let peer = message.address.as_ref().and_then(address).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let arrived = message.cmsgs().ok().and_then(|mut messages| {
        messages.find_map(|message| match message {
            // The address of the interface: that of the header may be a broadcast one.
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let local = IpAddr::V4(u32::from_be(info.ipi_spec_dst.s_addr).into());
                let is_broadcast = info.ipi_addr.s_addr != info.ipi_spec_dst.s_addr;
                Some((local, is_broadcast, u32::try_from(info.ipi_ifindex).ok()?))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                Some((IpAddr::V6(info.ipi6_addr.s6_addr.into()), false, info.ipi6_ifindex))
            }
            _ => None,
        })
    });
    let (local, interface) = (arrived.map(|(local, ..)| local), arrived.map(|(.., interface)| interface));
    let is_broadcast = arrived.is_some_and(|(_, is_broadcast, _)| is_broadcast);
    Ok(Received { length: message.bytes, peer, local, is_broadcast, interface })
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|own| SocketAddr::V4(SocketAddrV4::from(*own)));
    v4.or_else(|| storage.as_sockaddr_in6().map(|own| SocketAddr::V6(SocketAddrV6::from(*own))))
}

/// Where datagrams go, and from where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    /// The address they leave from; the kernel's choice, or that of the socket, when absent.
    pub from: Option<IpAddr>,
    /// Who gets them.
    pub to: SocketAddr,
}

/// What is sent at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing<'a> {
    /// Pieces that are joined.
    pub parts: &'a [IoSlice<'a>],
    /// Into datagrams of how many bytes they are cut, of which the last may be shorter; one datagram when absent. The
    /// kernel, or even the network card, cuts: all of them cost one passage through the system.
    pub segment: Option<u16>,
    /// The way they take.
    pub route: Route,
}

/// Sends, and waits for room in the socket's buffer.
///
/// # Errors
/// With segments, also when the kernel or the card cannot cut; nothing was sent then.
pub(super) async fn send_parts(socket: &UdpSocket, outgoing: &Outgoing<'_>) -> io::Result<()> {
    socket.async_io(Interest::WRITABLE, || send_now(socket, outgoing)).await
}

/// Sends without waiting; an error when there is no room.
pub(super) fn send_now(socket: &impl AsRawFd, outgoing: &Outgoing<'_>) -> io::Result<()> {
    let Outgoing { parts, segment, route: Route { from, to } } = outgoing;
    let (v4, v6) = match from {
        Some(IpAddr::V4(address)) => {
            let spec_dst = libc::in_addr { s_addr: address.to_bits().to_be() };
            let unused = libc::in_addr { s_addr: 0 };
            (Some(libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec_dst, ipi_addr: unused }), None)
        }
        Some(IpAddr::V6(address)) => {
            let address = libc::in6_addr { s6_addr: address.octets() };
            (None, Some(libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 }))
        }
        None => (None, None),
    };
    let control: SmallVec<[ControlMessage<'_>; 2]> = v4
        .iter()
        .map(ControlMessage::Ipv4PacketInfo)
        .chain(v6.iter().map(ControlMessage::Ipv6PacketInfo))
        .chain(segment.iter().map(ControlMessage::UdpGsoSegments))
        .collect();
    sendmsg(socket.as_raw_fd(), parts, &control, MsgFlags::empty(), Some(&SockaddrStorage::from(*to)))?;
    Ok(())
}

/// A socket that is waited for to be readable, and for nothing else. Must be called within a Tokio runtime.
#[expect(
    unsafe_code,
    reason = "Tokio cannot see that a descriptor stays open and the same; that of a socket of std does"
)]
pub(super) fn readable(socket: std::net::UdpSocket) -> io::Result<AsyncFd<std::net::UdpSocket>> {
    socket.set_nonblocking(true)?;
    // SAFETY: the socket owns its descriptor, says the same one each time, and is closed by nobody but the `AsyncFd` that
    // owns it from here on.
    let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    Ok(registered?)
}

/// Whether the kernel cuts datagrams into segments at all (Linux 4.18 and later).
pub(super) fn can_segment(socket: &impl AsFd) -> bool {
    // Zero is what every socket begins with: each datagram is sent as it is.
    setsockopt(socket, sockopt::UdpGsoSegment, &0).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::bind::Udp;
    use super::*;

    #[tokio::test]
    async fn a_datagram_comes_with_the_address_it_was_sent_to() {
        for (listen, target) in [("0.0.0.0:0", "127.0.0.2"), ("[::1]:0", "::1")] {
            let server = Udp { address: listen.parse().unwrap(), device: None }.bind().unwrap();
            let target: IpAddr = target.parse().unwrap();
            let client = UdpSocket::bind((if target.is_ipv4() { "127.0.0.1" } else { "::1" }, 0)).await.unwrap();
            client.send_to(b"hello", (target, server.local_addr().unwrap().port())).await.unwrap();
            let mut buffer = [0; 16];
            let received = receive(&server, &mut buffer).await.unwrap();
            assert_eq!(&buffer[..received.length], b"hello");
            assert_eq!(received.peer, client.local_addr().unwrap());
            assert_eq!(received.local, Some(target));
        }
    }

    #[tokio::test]
    async fn an_answer_leaves_from_the_address_it_is_given() {
        let server = Udp { address: "0.0.0.0:0".parse().unwrap(), device: None }.bind().unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let from: Ipv4Addr = [127, 0, 0, 9].into();
        let route = Route { from: Some(from.into()), to: client.local_addr().unwrap() };
        let outgoing = Outgoing { parts: &[IoSlice::new(b"x")], segment: None, route };
        send_parts(&server, &outgoing).await.unwrap();
        let (_, peer) = client.recv_from(&mut [0; 4]).await.unwrap();
        assert_eq!(peer.ip(), from);
    }
}
