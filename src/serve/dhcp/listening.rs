//! One socket of the server: packets in, answers out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use dhcproto::v4::CLIENT_PORT;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::decide::{Destination, Port, Reply};
use super::raw::{Cards, Overhearing};
use super::{Settings, Shared};
use crate::model::net::DhcpMode;
use crate::serve::bind::{BindError, Udp};
use crate::serve::interfaces::{Address, Place};
use crate::serve::port_owner::Protocol;
use crate::serve::udp;
use crate::wire::dhcp::Packet;
use crate::wire::udp::Datagram;

/// Longer datagrams are none of ours: no client sends more than one Ethernet frame.
const MAX_DATAGRAM: usize = 2048;

/// Rest after a socket error, so that a broken one does not turn a processor.
const BACKOFF: Duration = Duration::from_millis(100);

/// How many answers may wait that are to be late.
const MAX_LATE: usize = 1024;

/// A socket, and what is true of everything that arrives there.
#[derive(Debug)]
pub(super) struct Listening {
    /// The interface, unless it is an address that is listened on.
    pub(super) device: Option<String>,
    pub(super) mode: DhcpMode,
    pub(super) port: Port,
    /// Our addresses there.
    pub(super) addresses: Vec<Address>,
    socket: Socket,
    /// The way to clients without an address, where there is one.
    cards: Option<Cards>,
    late: Arc<Semaphore>,
}

#[derive(Debug)]
enum Socket {
    Own(UdpSocket),
    Overhearing(Overhearing, u16),
}

/// What arrived.
struct Arrived<'a> {
    bytes: &'a [u8],
    source: SocketAddrV4,
    /// Where it was sent to, or which of our addresses the kernel would answer from.
    local: Option<Ipv4Addr>,
}

impl Listening {
    /// The sockets of one interface.
    pub(super) fn on_interface(settings: &Settings, place: &Place) -> Result<Vec<Self>, BindError> {
        let device = place.name.as_str();
        let own = |port| Udp { address: (Ipv4Addr::UNSPECIFIED, port).into(), device: Some(device), shared: false };
        let server = if place.mode == DhcpMode::Proxy {
            let address = (Ipv4Addr::UNSPECIFIED, settings.port).into();
            let failed = |error| BindError::new(Protocol::Udp, address, error);
            Socket::Overhearing(Overhearing::open(device, settings.port).map_err(failed)?, settings.port)
        } else {
            Socket::Own(own(settings.port).bind()?)
        };
        let cards = match Cards::open(place.index) {
            Ok(cards) => Some(cards).filter(|_| place.mode.gives_addresses()),
            Err(error) => {
                debug!(%error, interface = device, "clients without an address are answered by broadcast");
                None
            }
        };
        let with = |port, socket, cards| Self {
            device: Some(place.name.clone()),
            mode: place.mode,
            port,
            addresses: place.addresses.clone(),
            socket,
            cards,
            late: Arc::new(Semaphore::new(MAX_LATE)),
        };
        Ok(vec![
            with(Port::Server, server, cards),
            with(Port::Boot, Socket::Own(own(settings.boot_port).bind()?), None),
        ])
    }

    /// The sockets of one address.
    pub(super) fn on_address(settings: &Settings, address: Ipv4Addr, mode: DhcpMode) -> Result<Vec<Self>, BindError> {
        let open = |kind, port: u16| {
            let socket = Udp { address: (address, port).into(), device: None, shared: false }.bind()?;
            Ok(Self {
                device: None,
                mode,
                port: kind,
                addresses: vec![Address { address, netmask: Ipv4Addr::BROADCAST }],
                socket: Socket::Own(socket),
                cards: None,
                late: Arc::new(Semaphore::new(MAX_LATE)),
            })
        };
        Ok(vec![open(Port::Server, settings.port)?, open(Port::Boot, settings.boot_port)?])
    }

    /// The port it has, or overhears.
    pub(super) fn bound_port(&self) -> u16 {
        match &self.socket {
            Socket::Own(socket) => socket.local_addr().map(|address| address.port()).unwrap_or_default(),
            Socket::Overhearing(_, port) => *port,
        }
    }

    /// Answers until `stop`.
    pub(super) async fn run(self: Arc<Self>, shared: Arc<Shared>, stop: CancellationToken) {
        let mut buffer = [0; MAX_DATAGRAM];
        while let Some(received) = stop.run_until_cancelled(self.receive(&mut buffer)).await {
            match received {
                Ok(Some(arrived)) => self.serve(&shared, &arrived).await,
                Ok(None) => {}
                Err(error) => {
                    warn!(%error, "DHCP receive failed");
                    tokio::time::sleep(BACKOFF).await;
                }
            }
        }
    }

    async fn receive<'a>(&self, buffer: &'a mut [u8]) -> std::io::Result<Option<Arrived<'a>>> {
        match &self.socket {
            Socket::Own(socket) => {
                let received = udp::receive(socket, buffer).await?;
                let SocketAddr::V4(source) = received.peer else { return Ok(None) };
                let local = received.local.and_then(|local| match local {
                    IpAddr::V4(local) => Some(local),
                    IpAddr::V6(_) => None,
                });
                Ok(Some(Arrived { bytes: buffer.get(..received.length).unwrap_or_default(), source, local }))
            }
            Socket::Overhearing(socket, _) => {
                let length = socket.receive(buffer).await?;
                let datagram = Datagram::read(buffer.get(..length).unwrap_or_default());
                Ok(datagram.map(|own| Arrived {
                    bytes: own.payload,
                    source: own.source,
                    local: Some(*own.destination.ip()),
                }))
            }
        }
    }

    async fn serve(self: &Arc<Self>, shared: &Arc<Shared>, arrived: &Arrived<'_>) {
        let (counters, source) = (&shared.counters, arrived.source);
        counters.received.add();
        let packet = match Packet::decode(arrived.bytes) {
            Ok(packet) => packet,
            Err(error) => {
                counters.malformed.add();
                debug!(%source, %error, "ignored a datagram");
                return;
            }
        };
        let address = self.own_address(&packet, arrived.local, shared);
        let Some(reply) = shared.answer(&packet, self, source, address) else {
            counters.ignored.add();
            return;
        };
        if reply.delay.is_zero() {
            self.send(shared, &reply, address).await;
            return;
        }
        let Ok(place) = Arc::clone(&self.late).try_acquire_owned() else {
            counters.ignored.add();
            return;
        };
        let (own, shared) = (Arc::clone(self), Arc::clone(shared));
        tokio::spawn(async move {
            tokio::time::sleep(reply.delay).await;
            own.send(&shared, &reply, address).await;
            drop(place);
        });
    }

    /// Our address that this client reaches: the one it wrote to, else the one in the network of an address it has, asks
    /// for or is given, else our first.
    fn own_address(&self, packet: &Packet, local: Option<Ipv4Addr>, shared: &Shared) -> Ipv4Addr {
        let own = || self.addresses.iter();
        if let Some(local) =
            local.filter(|local| own().any(|own| own.address == *local || own.address.is_unspecified()))
        {
            return local;
        }
        let names = [Some(packet.ciaddr), packet.options.requested_address(), Some(packet.giaddr)];
        let near = names.into_iter().flatten().find_map(|client| own().find(|own| own.reaches(client)));
        let gives = || own().find(|own| self.mode.gives_addresses() && shared.settings.plan.of(own.address).is_some());
        near.or_else(gives).or_else(|| own().next()).map_or(Ipv4Addr::UNSPECIFIED, |own| own.address)
    }

    async fn send(&self, shared: &Shared, reply: &Reply, address: Ipv4Addr) {
        let bytes = reply.encode();
        let (destination, sent) = match (reply.destination, &self.cards) {
            (Destination::Card(client, mac), Some(cards)) => {
                let (from, to) =
                    (SocketAddrV4::new(address, self.bound_port()), SocketAddrV4::new(client, CLIENT_PORT));
                (to, cards.send(&bytes, from, to, mac).await)
            }
            // Every client that wants to be answered directly hears a broadcast as well.
            (Destination::Card(..), None) => {
                let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
                (to, self.send_to(&bytes, address, to).await)
            }
            (Destination::Address(to), _) => (to, self.send_to(&bytes, address, to).await),
        };
        match sent {
            Ok(()) => shared.counters.answered.add(),
            Err(error) => {
                shared.counters.unsent.add();
                warn!(%destination, %error, "cannot send a DHCP answer");
            }
        }
    }

    async fn send_to(&self, bytes: &[u8], address: Ipv4Addr, to: SocketAddrV4) -> std::io::Result<()> {
        match &self.socket {
            Socket::Own(socket) => udp::send(socket, bytes, address, to).await,
            Socket::Overhearing(socket, _) => socket.send(bytes, address, to).await,
        }
    }
}
