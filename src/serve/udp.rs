//! Datagrams together with the local address they were sent to.
//!
//! A server on 0.0.0.0 that answers without knowing that address answers from whatever address the kernel prefers,
//! and a computer with two addresses in one network never boots a machine.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrStorage, recvmsg, sendmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A datagram's envelope.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    /// How many bytes were received.
    pub length: usize,
    /// Who sent it.
    pub peer: SocketAddr,
    /// The address it was sent to, if the kernel said so.
    pub local: Option<IpAddr>,
}

/// Receives one datagram; what does not fit `buffer` is cut off.
pub(super) async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
    socket.async_io(Interest::READABLE, || receive_now(socket, buffer)).await
}

fn receive_now(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let peer = message.address.as_ref().and_then(address).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let local = message.cmsgs().ok().and_then(|mut messages| {
        messages.find_map(|message| match message {
            // The address of the interface: that of the header may be a broadcast one.
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(IpAddr::V4(u32::from_be(info.ipi_spec_dst.s_addr).into()))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::V6(info.ipi6_addr.s6_addr.into())),
            _ => None,
        })
    });
    Ok(Received { length: message.bytes, peer, local })
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|own| SocketAddr::V4(SocketAddrV4::from(*own)));
    v4.or_else(|| storage.as_sockaddr_in6().map(|own| SocketAddr::V6(SocketAddrV6::from(*own))))
}

/// Sends one datagram, from `local` unless that is unspecified.
pub(super) async fn send(socket: &UdpSocket, bytes: &[u8], local: Ipv4Addr, peer: SocketAddrV4) -> io::Result<()> {
    let info = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr { s_addr: local.to_bits().to_be() },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let control = [ControlMessage::Ipv4PacketInfo(&info)];
    let control = if local.is_unspecified() { &[][..] } else { &control[..] };
    let to = SockaddrIn::from(peer);
    let now = || Ok(sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::empty(), Some(&to))?);
    socket.async_io(Interest::WRITABLE, now).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::super::bind::Udp;
    use super::*;

    #[tokio::test]
    async fn a_datagram_comes_with_the_address_it_was_sent_to() {
        for (listen, target) in [("0.0.0.0:0", "127.0.0.2"), ("[::1]:0", "::1")] {
            let server = Udp { address: listen.parse().unwrap(), device: None, shared: false }.bind().unwrap();
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
        let server = Udp { address: "0.0.0.0:0".parse().unwrap(), device: None, shared: false }.bind().unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let SocketAddr::V4(peer) = client.local_addr().unwrap() else { unreachable!("bound to IPv4") };
        send(&server, b"x", Ipv4Addr::new(127, 0, 0, 9), peer).await.unwrap();
        let (_, from) = client.recv_from(&mut [0; 4]).await.unwrap();
        assert_eq!(from.ip(), Ipv4Addr::new(127, 0, 0, 9));
    }
}
