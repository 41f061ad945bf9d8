//! When interfaces come, go, or have other addresses: the kernel tells whoever listens (rtnetlink(7)).

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use tokio::io::unix::AsyncFd;

use crate::serve::udp;

/// What is told: interfaces, and their IPv4 addresses.
const GROUPS: libc::c_int = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR;

/// Listens for changes.
#[derive(Debug)]
pub(in crate::serve) struct Changes(AsyncFd<UdpSocket>);

impl Changes {
    /// Listens from now on. Must be called within a Tokio runtime.
    pub(in crate::serve) fn listen() -> io::Result<Self> {
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let socket = socket(AddressFamily::Netlink, kind, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS.cast_unsigned()))?;
        // To the standard library this is any socket that takes datagrams.
        Ok(Self(udp::readable(UdpSocket::from(socket))?))
    }

    /// Waits until something has changed since it was called last, or since the beginning. May be given up at any time.
    pub(in crate::serve) async fn next(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        // What it is does not matter, so one look is enough for all that waits: whoever asks the kernel for everything then
        // misses nothing.
        loop {
            match ready.get_inner().recv(&mut [0]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // There was more to tell than there is room for.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}
