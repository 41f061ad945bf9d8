//! What a DHCP packet is answered with. Pure: no socket and no clock, so every client is a test.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use dhcproto::v4::{CLIENT_PORT, MessageType, SERVER_PORT};

use super::boot;
use super::client::Client;
use super::leases::LeaseTable;
use crate::model::boot::Step;
use crate::model::mac::Mac;
use crate::model::net::{DhcpMode, Pool};
use crate::serve::loaders::Loaders;
use crate::serve::observe::Observed;
use crate::wire::dhcp::{BROADCAST, Packet, code};

/// Sub-option of option 82: the subnet to choose from (RFC 3527).
const LINK_SELECTION: u8 = 5;

/// Sub-option of option 82: what to call ourselves in option 54 (RFC 5107).
const SERVER_ID_OVERRIDE: u8 = 11;

/// Which port a packet came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// 67, DHCP servers.
    Server,
    /// 4011, PXE boot servers.
    Boot,
}

/// A packet and how it came.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The packet.
    pub packet: &'a Packet,
    /// The port it came to.
    pub port: Port,
    /// Who sent it: the client, or a relay.
    pub source: SocketAddrV4,
}

/// What the answer depends on besides the packet.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Our address on the interface the packet came through.
    pub address: Ipv4Addr,
    /// What this server does.
    pub mode: &'a DhcpMode,
    /// Base URL of the HTTP server, without a final slash, as this client reaches it.
    pub base_url: &'a str,
    /// The loaders there are.
    pub loaders: &'a Loaders,
}

/// What to do about a packet.
#[derive(Debug, Default)]
pub struct Decision {
    /// What to send; nothing keeps silent.
    pub reply: Option<Reply>,
    /// What to tell.
    pub seen: Vec<Observed>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The packet.
    pub packet: Packet,
    /// Where it goes; a broadcast leaves through the interface the request came from.
    pub destination: SocketAddrV4,
    /// The most bytes the client takes.
    pub limit: usize,
}

impl Reply {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.packet.encode(self.limit)
    }
}

/// Decides (netboot.md, D6).
///
/// In proxy mode only clients that ask how to boot are answered, DISCOVER on port 67, REQUEST and INFORM on port 4011.
/// In full mode everybody gets an address, and those who ask how to boot are told that too.
pub fn decide(request: &Request<'_>, facts: &Facts<'_>, leases: &mut LeaseTable, now: Instant) -> Decision {
    let packet = request.packet;
    let from_client = packet.direction == crate::wire::dhcp::Direction::Request;
    let (Some(mac), Some(kind)) = (packet.mac().filter(Mac::is_unicast), packet.message_type()) else {
        return Decision::default();
    };
    if !from_client {
        return Decision::default();
    }
    let asked = Asked { request, facts, mac, client: Client::of(packet) };
    match (facts.mode, request.port, kind) {
        (DhcpMode::Proxy, Port::Server, MessageType::Discover) => asked.boot_offer(),
        (DhcpMode::Proxy | DhcpMode::Full(_), Port::Boot, MessageType::Request | MessageType::Inform) => {
            asked.boot_server()
        }
        (DhcpMode::Full(pool), Port::Server, _) if asked.is_for(pool) => asked.full(pool, kind, leases, now),
        _ => Decision::default(),
    }
}

/// A request that is worth a look.
struct Asked<'a> {
    request: &'a Request<'a>,
    facts: &'a Facts<'a>,
    mac: Mac,
    client: Client,
}

impl Asked<'_> {
    /// Proxy mode, port 67.
    fn boot_offer(&self) -> Decision {
        let mut answer = self.answer(MessageType::Offer);
        // A proxy gives no address, so there is none the answer could be sent to.
        answer.flags |= BROADCAST;
        self.with_boot(answer, None, IfNothing::Silent)
    }

    /// Port 4011. The client has an address already and asks this server for its loader.
    fn boot_server(&self) -> Decision {
        let mut answer = self.answer(MessageType::Ack);
        answer.ciaddr = self.request.packet.ciaddr;
        self.with_boot(answer, None, IfNothing::Silent)
    }

    fn full(&self, pool: &Pool, kind: MessageType, leases: &mut LeaseTable, now: Instant) -> Decision {
        let options = &self.request.packet.options;
        match kind {
            MessageType::Discover => {
                let Some(address) = leases.offer(pool, self.mac, options.requested_address(), now) else {
                    return self.told("every address of the pool is in use");
                };
                self.lease(MessageType::Offer, pool, address)
            }
            MessageType::Request => self.requested(pool, leases, now),
            MessageType::Inform => {
                let mut answer = self.answer(MessageType::Ack);
                answer.ciaddr = self.request.packet.ciaddr;
                network(&mut answer, pool);
                self.with_boot(answer, None, IfNothing::Send)
            }
            MessageType::Release => {
                leases.release(self.mac, now);
                Decision::default()
            }
            MessageType::Decline => {
                if let Some(address) = options.requested_address() {
                    leases.decline(self.mac, address, now);
                }
                Decision::default()
            }
            _ => Decision::default(),
        }
    }

    /// REQUEST in all its meanings (RFC 2131, section 4.3.2): taking an offer, starting again with an old address,
    /// and renewing. A free address is confirmed even if the table does not know the machine: the table is empty
    /// after a restart, and this server is the only one of its network.
    fn requested(&self, pool: &Pool, leases: &mut LeaseTable, now: Instant) -> Decision {
        let packet = self.request.packet;
        if packet.options.server_id().is_some_and(|chosen| chosen != self.own_id() && chosen != self.facts.address) {
            leases.release(self.mac, now);
            return Decision::default();
        }
        let has = Some(packet.ciaddr).filter(|address| !address.is_unspecified());
        let Some(address) = packet.options.requested_address().or(has) else {
            return Decision::default();
        };
        match leases.grant(pool, self.mac, address, now) {
            Ok(()) => self.lease(MessageType::Ack, pool, address),
            Err(_) => self.refuse(),
        }
    }

    fn refuse(&self) -> Decision {
        let mut answer = self.answer(MessageType::Nak);
        let destination = if answer.giaddr.is_unspecified() {
            SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT)
        } else {
            // The client has no address the relay could use (RFC 2131, section 4.3.2).
            answer.flags |= BROADCAST;
            SocketAddrV4::new(answer.giaddr, SERVER_PORT)
        };
        self.finish(&mut answer);
        Decision { reply: Some(Reply { packet: answer, destination, limit: self.limit() }), seen: Vec::new() }
    }

    fn lease(&self, kind: MessageType, pool: &Pool, address: Ipv4Addr) -> Decision {
        let mut answer = self.answer(kind);
        answer.yiaddr = address;
        if kind == MessageType::Ack {
            answer.ciaddr = self.request.packet.ciaddr;
        }
        put_seconds(&mut answer, code::LEASE_TIME, pool.lease());
        network(&mut answer, pool);
        // The defaults of RFC 2131, section 4.4.5, said aloud.
        put_seconds(&mut answer, code::RENEWAL_TIME, pool.lease() / 2);
        put_seconds(&mut answer, code::REBINDING_TIME, pool.lease() / 8 * 7);
        self.with_boot(answer, Some(address), IfNothing::Send)
    }

    /// Adds what to boot, and sends the answer off.
    fn with_boot(&self, mut answer: Packet, address: Option<Ipv4Addr>, if_nothing: IfNothing) -> Decision {
        let known = address.or(Some(self.request.packet.ciaddr)).filter(|address| !address.is_unspecified());
        let peer = known.map(IpAddr::V4);
        let seen = |step, detail| Observed { mac: Some(self.mac), peer, step, detail, sent: None };
        let mut decision = Decision::default();
        let kind = self.request.packet.message_type();
        let discovers = kind == Some(MessageType::Discover);
        // Taking an offer is no second offer.
        let takes_offer = self.request.port == Port::Server && kind == Some(MessageType::Request);
        match boot::plan(&self.client, &self.mac, self.facts) {
            Ok(Some(plan)) => {
                plan.put(&mut answer, self.request.packet, self.facts);
                if discovers {
                    decision.seen.push(seen(Step::Discover, self.client.to_string()));
                }
                if !takes_offer {
                    decision.seen.push(seen(Step::Offer, plan.to_string()));
                }
            }
            Ok(None) if if_nothing == IfNothing::Silent => return decision,
            Ok(None) => {}
            Err(why) => {
                if discovers {
                    decision.seen.push(seen(Step::Discover, format!("{}: {why}", self.client)));
                }
                if if_nothing == IfNothing::Silent {
                    return decision;
                }
            }
        }
        self.finish(&mut answer);
        let destination = self.destination();
        decision.reply = Some(Reply { packet: answer, destination, limit: self.limit() });
        decision
    }

    fn told(&self, why: &str) -> Decision {
        let detail = format!("{}: {why}", self.client);
        let seen = Observed { mac: Some(self.mac), peer: None, step: Step::Discover, detail, sent: None };
        Decision { reply: None, seen: vec![seen] }
    }

    /// An answer with what every answer has.
    fn answer(&self, kind: MessageType) -> Packet {
        let mut answer = self.request.packet.answer(kind);
        answer.options.put(code::SERVER_ID, &self.own_id().octets());
        answer
    }

    /// What is sent back as it came, after everything that is more important (RFC 6842, RFC 4578, RFC 3046).
    fn finish(&self, answer: &mut Packet) {
        for code in [code::MACHINE_ID, code::CLIENT_ID, code::RELAY_AGENT] {
            if let Some(data) = self.request.packet.options.get(code) {
                answer.options.put(code, data);
            }
        }
    }

    fn own_id(&self) -> Ipv4Addr {
        self.request.packet.options.relay_address(SERVER_ID_OVERRIDE).unwrap_or(self.facts.address)
    }

    fn limit(&self) -> usize {
        self.request.packet.options.payload_limit()
    }

    /// Whether the client is in the pool's network. Addresses of another network would be of no use to it.
    fn is_for(&self, pool: &Pool) -> bool {
        let packet = self.request.packet;
        let relay = Some(packet.giaddr).filter(|address| !address.is_unspecified());
        let named = packet.options.relay_address(LINK_SELECTION).or(packet.options.subnet_selection());
        pool.is_local(named.or(relay).unwrap_or(self.facts.address))
    }

    /// Where an answer goes (RFC 2131, section 4.1).
    ///
    /// A client without an address is always answered by broadcast, also when it did not ask for that: to unicast,
    /// an entry in the ARP table would have to be forged, for which a privilege is needed, and every client that asks
    /// by broadcast hears a broadcast.
    fn destination(&self) -> SocketAddrV4 {
        let (packet, source) = (self.request.packet, self.request.source);
        if self.request.port == Port::Boot && !source.ip().is_unspecified() {
            source
        } else if !packet.giaddr.is_unspecified() {
            SocketAddrV4::new(packet.giaddr, SERVER_PORT)
        } else if !packet.ciaddr.is_unspecified() {
            SocketAddrV4::new(packet.ciaddr, source.port())
        } else {
            SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT)
        }
    }
}

/// What becomes of an answer that names nothing to boot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IfNothing {
    /// It has no other purpose.
    Silent,
    /// It gives an address.
    Send,
}

/// What a client is told about its network.
fn network(answer: &mut Packet, pool: &Pool) {
    answer.options.put(code::NETMASK, &pool.netmask().octets());
    if let Some(router) = pool.router() {
        answer.options.put(code::ROUTER, &router.octets());
    }
    if !pool.dns().is_empty() {
        answer.options.put(code::DNS, &pool.dns().iter().flat_map(Ipv4Addr::octets).collect::<Vec<u8>>());
    }
    answer.options.put(code::BROADCAST_ADDRESS, &pool.broadcast().octets());
}

fn put_seconds(answer: &mut Packet, code: u8, time: Duration) {
    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    answer.options.put(code, &seconds.to_be_bytes());
}

#[cfg(test)]
mod tests;
