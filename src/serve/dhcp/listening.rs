//! One socket of the server: packets in, answers out.
//!
//! Each has a thread of its own, because waiting for a packet in the system is cheaper than being told that there is one:
//! an answer costs two calls of the system instead of four, and is under way before a scheduler would have woken up.

use std::borrow::Cow;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use dhcproto::v4::CLIENT_PORT;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::cable::{Cable, Heard};
use super::decide::{Destination, Port, Reply, Request};
use super::raw::{Cards, Overhearing};
use super::{Settings, Shared};
use crate::model::mac::Mac;
use crate::model::net::{AddressPlan, DhcpMode};
use crate::serve::bind::{BindError, Udp, prepared};
use crate::serve::interfaces::{Address, Place};
use crate::serve::port_owner::Protocol;
use crate::serve::rules::Rules;
use crate::serve::udp::{self, Outgoing, Route};
use crate::wire::dhcp::Packet;
use crate::wire::udp::Datagram;

/// Longer datagrams are none of ours: no client sends more than one Ethernet frame.
const MAX_DATAGRAM: usize = 2048;

/// Rest after a socket error, so that a broken one does not turn a processor.
const BACKOFF: Duration = Duration::from_millis(100);

/// How long a thread waits for a packet until it looks whether it is to stop: that is how long a stop may take.
const LOOK: Duration = Duration::from_secs(1);

/// Room for the packets of a fleet that is turned on at once: some five thousand.
const BUFFER: usize = 8 << 20;

/// How many answers may wait that are to be late.
const MAX_LATE: usize = 1024;

/// A socket, and what is true of everything that arrives there.
#[derive(Debug)]
pub(super) struct Listening {
    /// The interface, unless it is an address that is listened on.
    pub(super) device: Option<String>,
    pub(super) mode: DhcpMode,
    pub(super) port: Port,
    /// Our addresses there, which may be others tomorrow.
    own: ArcSwap<Own>,
    socket: Socket,
    /// The way to clients without an address, where there is one.
    cards: Option<Cards>,
    late: Arc<Semaphore>,
}

/// Our addresses on one interface.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) addresses: Vec<Address>,
    /// What machines are told that reach us by one of them.
    told: Vec<Told>,
}

/// What machines are told that reach us by one address.
#[derive(Debug, Clone)]
pub(super) struct Told {
    address: Ipv4Addr,
    /// The address as text.
    pub(super) name: String,
    /// The base URL, if the site advertises none.
    pub(super) url: String,
}

impl Told {
    fn of(settings: &Settings, address: Ipv4Addr) -> Self {
        Self { address, name: address.to_string(), url: settings.base_url(address) }
    }
}

impl Own {
    fn of(settings: &Settings, addresses: Vec<Address>) -> ArcSwap<Self> {
        let told = addresses.iter().map(|own| Told::of(settings, own.address)).collect();
        ArcSwap::from_pointee(Self { addresses, told })
    }

    /// What a client is told that reaches us by this address.
    pub(super) fn told(&self, settings: &Settings, address: Ipv4Addr) -> Cow<'_, Told> {
        let known = self.told.iter().find(|told| told.address == address);
        known.map_or_else(|| Cow::Owned(Told::of(settings, address)), Cow::Borrowed)
    }
}

#[derive(Debug)]
enum Socket {
    Own(UdpSocket),
    Overhearing(Overhearing, u16),
    /// With both ports.
    Cable(Arc<Cable>, [(u16, Port); 2]),
}

/// What arrived.
struct Arrived<'a> {
    bytes: &'a [u8],
    port: Port,
    source: SocketAddrV4,
    /// Where it was sent to, unless to everybody.
    local: Option<Ipv4Addr>,
}

/// What holds for one answer from beginning to end.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    /// What is done on the socket.
    pub(super) mode: DhcpMode,
    /// Our address that the client reaches ([`own_address`]).
    pub(super) address: Ipv4Addr,
    /// All of ours there.
    pub(super) own: &'a Own,
    /// The rules.
    pub(super) rules: &'a Rules,
}

/// Our end of an answer.
#[derive(Clone, Copy)]
struct OurEnd {
    address: Ipv4Addr,
    /// The port that was asked.
    port: Port,
}

impl Listening {
    /// The sockets of one interface.
    pub(super) fn on_interface(settings: &Settings, place: &Place) -> Result<Vec<Self>, BindError> {
        let device = place.name.as_str();
        let open = |kind, port| {
            let how = Udp { address: (Ipv4Addr::UNSPECIFIED, port).into(), device: Some(device) };
            Socket::own(how, settings.given.dhcp(kind, device))
        };
        let server = if place.mode == DhcpMode::Proxy {
            let address = (Ipv4Addr::UNSPECIFIED, settings.port).into();
            let failed = |error| BindError::new(Protocol::Udp, address, error);
            Socket::Overhearing(Overhearing::open(device, settings.port, LOOK).map_err(failed)?, settings.port)
        } else {
            open(Port::Server, settings.port)?
        };
        if let Socket::Overhearing(socket, _) = &server {
            make_room(socket.socket());
        }
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
            own: Own::of(settings, place.addresses.clone()),
            socket,
            cards,
            late: Arc::new(Semaphore::new(MAX_LATE)),
        };
        Ok(vec![with(Port::Server, server, cards), with(Port::Boot, open(Port::Boot, settings.boot_port)?, None)])
    }

    /// The sockets of one address.
    pub(super) fn on_address(settings: &Settings, address: Ipv4Addr, mode: DhcpMode) -> Result<Vec<Self>, BindError> {
        let open = |kind, port: u16| {
            let socket = Socket::own(Udp { address: (address, port).into(), device: None }, None)?;
            Ok(Self {
                device: None,
                mode,
                port: kind,
                own: Own::of(settings, vec![Address { address, netmask: Ipv4Addr::BROADCAST }]),
                socket,
                cards: None,
                late: Arc::new(Semaphore::new(MAX_LATE)),
            })
        };
        Ok(vec![open(Port::Server, settings.port)?, open(Port::Boot, settings.boot_port)?])
    }

    /// The end of a virtual machine's cable, beside the DHCP server that is built into its network.
    pub(super) fn on_cable(settings: &Settings, cable: &Arc<Cable>) -> Self {
        let address = cable.address();
        Self {
            device: None,
            mode: DhcpMode::Proxy,
            port: Port::Server,
            own: Own::of(settings, vec![Address { address, netmask: Ipv4Addr::BROADCAST }]),
            socket: Socket::Cable(Arc::clone(cable), [(settings.port, Port::Server), (settings.boot_port, Port::Boot)]),
            cards: None,
            late: Arc::new(Semaphore::new(MAX_LATE)),
        }
    }

    /// The port it has, or overhears.
    pub(super) fn bound_port(&self) -> u16 {
        match &self.socket {
            Socket::Own(socket) => socket.local_addr().map(|address| address.port()).unwrap_or_default(),
            Socket::Overhearing(_, port) | Socket::Cable(_, [(port, _), _]) => *port,
        }
    }

    /// Our addresses there.
    pub(super) fn own(&self) -> Guard<Arc<Own>> {
        self.own.load()
    }

    /// Has other addresses from now on.
    pub(super) fn readdress(&self, settings: &Settings, addresses: &[Address]) {
        self.own.store(Own::of(settings, addresses.to_vec()).into_inner());
    }

    /// Answers until `stop`, on the thread that calls it. Must be called within a Tokio runtime.
    pub(super) fn run(self: &Arc<Self>, shared: &Arc<Shared>, stop: &CancellationToken) {
        let mut buffer = [0; MAX_DATAGRAM];
        while !stop.is_cancelled() {
            match self.receive(&mut buffer) {
                Ok(Some(arrived)) => self.serve(shared, &arrived),
                Ok(None) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => {
                    warn!(%error, "DHCP receive failed");
                    std::thread::sleep(BACKOFF);
                }
            }
        }
    }

    fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Arrived<'a>>> {
        match &self.socket {
            Socket::Own(socket) => {
                let received = udp::receive_now(socket, buffer)?;
                let SocketAddr::V4(source) = received.peer else { return Ok(None) };
                // On no interface in particular, the kernel knows best which of them it was.
                let is_told = !received.is_broadcast || self.device.is_none();
                let local = received.local.filter(|_| is_told).and_then(|local| match local {
                    IpAddr::V4(local) => Some(local),
                    IpAddr::V6(_) => None,
                });
                let bytes = buffer.get(..received.length).unwrap_or_default();
                Ok(Some(Arrived { bytes, port: self.port, source, local }))
            }
            Socket::Overhearing(socket, _) => {
                let length = socket.receive(buffer)?;
                let datagram = Datagram::read(buffer.get(..length).unwrap_or_default());
                Ok(datagram.map(|own| Arrived {
                    bytes: own.payload,
                    port: self.port,
                    source: own.source,
                    local: Some(*own.destination.ip()),
                }))
            }
            Socket::Cable(cable, ports) => {
                let heard = cable.receive(buffer, *ports)?;
                Ok(heard.map(|Heard { port, source, destination, payload }| Arrived {
                    bytes: payload,
                    port,
                    source,
                    local: Some(destination),
                }))
            }
        }
    }

    fn serve(self: &Arc<Self>, shared: &Arc<Shared>, arrived: &Arrived<'_>) {
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
        let (rules, own) = (shared.rules.now(), self.own());
        let plan = self.mode.gives_addresses().then_some(&*rules.plan);
        let address = own_address(&own.addresses, &packet, arrived.local, plan);
        let on = Ground { mode: self.mode, address, own: &own, rules: &rules };
        let Some(reply) = shared.answer(&Request { packet: &packet, port: arrived.port, source }, &on) else {
            counters.ignored.add();
            return;
        };
        let from = OurEnd { address, port: arrived.port };
        if reply.delay.is_zero() {
            self.send(shared, &reply, from);
            return;
        }
        let Ok(place) = Arc::clone(&self.late).try_acquire_owned() else {
            counters.ignored.add();
            return;
        };
        let (own, shared) = (Arc::clone(self), Arc::clone(shared));
        Handle::current().spawn(async move {
            tokio::time::sleep(reply.delay).await;
            own.send(&shared, &reply, from);
            drop(place);
        });
    }

    fn send(&self, shared: &Shared, reply: &Reply, own: OurEnd) {
        let bytes = reply.encode();
        let (destination, sent) = match (reply.destination, &self.cards) {
            (Destination::Card(client, mac), Some(cards)) => {
                let (from, to) =
                    (SocketAddrV4::new(own.address, self.bound_port()), SocketAddrV4::new(client, CLIENT_PORT));
                (to, cards.send(&bytes, from, to, mac))
            }
            // Every client that wants to be answered directly hears a broadcast as well.
            (Destination::Card(..), None) => {
                let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
                (to, self.send_to(&bytes, None, own, to))
            }
            (Destination::Address(to), _) => (to, self.send_to(&bytes, reply.packet.mac(), own, to)),
        };
        match sent {
            Ok(()) => shared.counters.answered.add(),
            Err(error) => {
                shared.counters.unsent.add();
                warn!(%destination, %error, "cannot send a DHCP answer");
            }
        }
    }

    /// Sends to an address; of a cable, to the machine with this card, or to everybody.
    fn send_to(&self, bytes: &[u8], card: Option<Mac>, own: OurEnd, to: SocketAddrV4) -> io::Result<()> {
        let address = own.address;
        match &self.socket {
            Socket::Own(socket) => {
                let from = (!address.is_unspecified()).then_some(IpAddr::V4(address));
                let route = Route { from, to: to.into() };
                udp::send_now(socket, &Outgoing { parts: &[IoSlice::new(bytes)], segment: None, route })
            }
            Socket::Overhearing(socket, _) => socket.send(bytes, address, to),
            Socket::Cable(cable, ports) => {
                let port =
                    ports.iter().find(|(_, kind)| *kind == own.port).map_or_else(|| self.bound_port(), |it| it.0);
                cable.send(bytes, port, to, card)
            }
        }
    }
}

/// The address of `own` that a client reaches: the one it wrote to, or names; else the one in the network of an address it
/// has or asks for; else the first. Where addresses are given out, those come first whose networks have any.
fn own_address(own: &[Address], packet: &Packet, local: Option<Ipv4Addr>, plan: Option<&AddressPlan>) -> Ipv4Addr {
    let is_own = |address: &Ipv4Addr| own.iter().any(|own| own.address == *address);
    let is_any = own.iter().any(|own| own.address.is_unspecified());
    let named = packet.options.server_id().filter(is_own);
    if let Some(named) = local.filter(|local| is_any || is_own(local)).or(named) {
        return named;
    }
    let set = |address: &Ipv4Addr| !address.is_unspecified();
    let names = [Some(packet.ciaddr), packet.options.requested_address(), Some(packet.giaddr)];
    let reaches = |own: &Address| names.into_iter().flatten().filter(set).any(|client| own.reaches(client));
    let gives = |own: &Address| plan.is_none_or(|plan| plan.of(own.address).is_some());
    // Of those that are equal in this, the first: an earlier one has to be better to be passed over.
    let best = own.iter().rev().max_by_key(|own| (gives(own), reaches(own)));
    best.map_or(Ipv4Addr::UNSPECIFIED, |own| own.address)
}

impl Socket {
    /// A socket that has its port, which may be given, and is waited for by a thread.
    fn own(how: Udp<'_>, given: Option<&UdpSocket>) -> Result<Self, BindError> {
        let failed = |error| BindError::new(Protocol::Udp, how.address, error);
        let socket = match given {
            Some(given) => prepared(given).map_err(failed)?,
            None => how.bind()?,
        };
        let socket = socket.into_std().map_err(failed)?;
        socket.set_nonblocking(false).and_then(|()| socket.set_read_timeout(Some(LOOK))).map_err(failed)?;
        make_room(&socket);
        Ok(Self::Own(socket))
    }
}

/// Asks for room beyond the usual limit, which takes a privilege, and for what the limit allows without it.
fn make_room(socket: &UdpSocket) {
    if setsockopt(socket, sockopt::RcvBufForce, &BUFFER).is_err()
        && let Err(error) = SockRef::from(socket).set_recv_buffer_size(BUFFER)
    {
        debug!(%error, "the receive buffer of DHCP keeps its size");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dhcproto::v4::MessageType;

    use super::*;
    use crate::model::net::{Parts, Subnet};
    use crate::wire::dhcp::code;

    const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);

    fn packet() -> Packet {
        Packet::request(Mac([2; 6]), MessageType::Discover, 1)
    }

    #[test]
    fn of_several_addresses_a_client_is_answered_from_the_one_that_is_of_use_to_it() {
        let address = |third| Address { address: [10, 0, third, 1].into(), netmask: NETMASK };
        let own = [address(0), address(1), address(2)];
        let parts = |third| Parts {
            network: [10, 0, third, 0].into(),
            netmask: NETMASK,
            ranges: vec![[10, 0, third, 100].into()..=[10, 0, third, 199].into()],
            router: None,
            dns: vec![],
            domain: None,
            lease: Duration::from_secs(600),
        };
        let subnets = vec![Subnet::new(parts(1)).unwrap(), Subnet::new(parts(2)).unwrap()];
        let plan = AddressPlan::new(subnets, BTreeMap::new()).unwrap();
        let asks = |address: [u8; 4], code: u8| {
            let mut packet = packet();
            packet.options.put(code, &address);
            packet
        };
        for (what, packet, local, of_proxy, of_full) in [
            ("a broadcast", packet(), None, 0, 1),
            ("a wish", asks([10, 0, 2, 150], code::REQUESTED_ADDRESS), None, 2, 2),
            ("a wish for what is not given out", asks([10, 0, 0, 150], code::REQUESTED_ADDRESS), None, 0, 1),
            ("a wish from elsewhere", asks([192, 168, 0, 9], code::REQUESTED_ADDRESS), None, 0, 1),
            ("a named server", asks([10, 0, 2, 1], code::SERVER_ID), None, 2, 2),
            ("another server", asks([10, 0, 2, 9], code::SERVER_ID), None, 0, 1),
            ("a relay", Packet { giaddr: [10, 0, 2, 254].into(), ..packet() }, None, 2, 2),
            ("a packet to one of them", packet(), Some([10, 0, 0, 1].into()), 0, 0),
            ("a packet that was overheard", packet(), Some(Ipv4Addr::BROADCAST), 0, 1),
        ] {
            assert_eq!(own_address(&own, &packet, local, None), own[of_proxy].address, "{what}, of a proxy");
            assert_eq!(
                own_address(&own, &packet, local, Some(&plan)),
                own[of_full].address,
                "{what}, of a full server"
            );
        }
        assert_eq!(own_address(&[], &packet(), None, None), Ipv4Addr::UNSPECIFIED);
    }
}
