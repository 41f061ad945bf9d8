//! What a DHCP packet is answered with. Pure: no socket and no clock, so every client is a test.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use dhcproto::v4::{CLIENT_PORT, MessageType, SERVER_PORT};

use super::attempts::{Advice, Attempt, Attempts};
use super::boot::{self, Plan};
use super::client::Client;
use super::leases::{LeaseTable, Whom};
use crate::model::boot::Step;
use crate::model::firmware::Transport;
use crate::model::identity::{Hardware, Relay};
use crate::model::mac::Mac;
use crate::model::net::{AddressPlan, Behaviour, DhcpMode, Quirk, Shape, Subnet, behaviour};
use crate::serve::loaders::Loaders;
use crate::serve::observe::Observed;
use crate::wire::dhcp::{BROADCAST, Direction, Packet, code};

/// Sub-option of option 82: the port of the relay (RFC 3046).
const CIRCUIT_ID: u8 = 1;

/// Sub-option of option 82: the relay (RFC 3046).
const REMOTE_ID: u8 = 2;

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
    /// The same as text, for the field that names the server.
    pub own_name: &'a str,
    /// What this server does there.
    pub mode: DhcpMode,
    /// The addresses that are given out.
    pub plan: &'a AddressPlan,
    /// The clients that want another answer than most.
    pub quirks: &'a [Quirk],
    /// What is known of the machine's hardware, where that matters to quirks.
    pub hardware: Option<&'a Hardware>,
    /// Whether nothing shall be booted on it: nobody knows it, and such machines are ignored.
    pub is_ignored: bool,
    /// Base URL of the HTTP server, without a final slash, as this client reaches it.
    pub base_url: &'a str,
    /// The loaders there are.
    pub loaders: &'a Loaders,
}

/// What is remembered from packet to packet.
#[derive(Debug)]
pub struct Memory<'a> {
    /// Who has which address.
    pub leases: &'a mut LeaseTable,
    /// What clients asked lately.
    pub attempts: &'a mut Attempts,
}

/// What to do about a packet.
#[derive(Debug, Default)]
pub struct Decision {
    /// What to send; nothing keeps silent.
    pub reply: Option<Reply>,
    /// What to tell.
    pub seen: Vec<Observed>,
    /// The address another server gave this machine, as the machine itself said.
    pub address: Option<(Mac, Ipv4Addr)>,
    /// Where a machine is plugged in that is answered: behind which relay, or none.
    pub place: Option<(Mac, Option<Relay>)>,
    /// Whether the client is one that boots from the network, and no computer that only wants an address.
    pub is_machine: bool,
    /// Why there is no reply, where `seen` does not say it.
    pub silence: Option<&'static str>,
}

impl Decision {
    fn silent(why: &'static str) -> Self {
        Self { silence: Some(why), ..Self::default() }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The packet.
    pub packet: Packet,
    /// Where it goes.
    pub destination: Destination,
    /// The most bytes the client takes.
    pub limit: usize,
    /// How long it waits.
    pub delay: Duration,
}

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To an address; a broadcast leaves through the interface the request came from.
    Address(SocketAddrV4),
    /// To a client that has not got its address yet and answers no ARP: straight to its network card, in a packet to the
    /// address it is being given.
    Card(Ipv4Addr, Mac),
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
/// In full mode everybody gets an address, and those who ask how to boot are told that too; with reservations the same
/// goes for the machines that have one, and nobody else is answered.
pub fn decide(request: &Request<'_>, facts: &Facts<'_>, memory: &mut Memory<'_>, now: Instant) -> Decision {
    let packet = request.packet;
    if packet.direction != Direction::Request {
        return Decision::silent("it is a server's");
    }
    let Some(mac) = packet.mac().filter(Mac::is_unicast) else {
        return Decision::silent("its hardware address is none of Ethernet");
    };
    let Some(kind) = packet.message_type() else {
        return Decision::silent("it is plain BOOTP, without a DHCP message type");
    };
    let attempt = memory.attempts.of(mac, now);
    if !attempt.may_ask(now) {
        return Decision::silent("the client asks too often");
    }
    let behaviour = behaviour(facts.quirks, &mac, packet.options.vendor_class(), facts.hardware);
    let has_loader = |firmware| facts.loaders.for_machine(firmware, &mac).is_some();
    let client = Client::by_rule(packet, behaviour.is_pxe).that_boots(packet, has_loader);
    let mut asked = Asked { request, facts, mac, client, behaviour, attempt, now };
    let leases = &mut *memory.leases;
    let is_reserved = facts.plan.reservations().contains_key(&mac);
    let decision = match (facts.mode, request.port, kind) {
        (DhcpMode::Off, ..) => Decision::silent("DHCP is off"),
        (DhcpMode::Reservations, Port::Server, MessageType::Discover) if !is_reserved => {
            asked.told("it has no address of its own in the site file, and others get none here")
        }
        (DhcpMode::Reservations, ..) if !is_reserved => {
            Decision::silent("the machine has no address of its own in the site file")
        }
        (_, Port::Boot, MessageType::Request | MessageType::Inform) => asked.boot_server(),
        (DhcpMode::Proxy, Port::Server, MessageType::Discover) => asked.boot_offer(),
        (DhcpMode::Proxy, Port::Server, MessageType::Request) => asked.told_address(),
        (DhcpMode::Full, Port::Server, _) => asked.addressed(Whom::All, kind, leases),
        (DhcpMode::Reservations, Port::Server, _) => asked.addressed(Whom::Reserved, kind, leases),
        (_, Port::Boot, _) => Decision::silent("port 4011 answers REQUEST and INFORM only"),
        (DhcpMode::Proxy, ..) => {
            Decision::silent("a proxy answers DISCOVER on port 67, and the rest is another server's")
        }
    };
    Decision { is_machine: asked.client != Client::System, ..decision }
}

/// A request that is worth a look.
struct Asked<'a> {
    request: &'a Request<'a>,
    facts: &'a Facts<'a>,
    mac: Mac,
    client: Client,
    behaviour: Behaviour,
    attempt: &'a mut Attempt,
    now: Instant,
}

/// Where a client gets its address.
#[derive(Clone, Copy)]
struct Place<'a> {
    whom: Whom,
    number: usize,
    subnet: &'a Subnet,
}

impl<'a> Asked<'a> {
    /// Proxy mode, port 67.
    fn boot_offer(&mut self) -> Decision {
        let mut answer = self.answer(MessageType::Offer);
        // A proxy gives no address, so there is none the answer could be sent to.
        answer.flags |= BROADCAST;
        self.with_boot(answer, None, None)
    }

    /// Port 4011. The client has an address already and asks this server for its loader.
    fn boot_server(&mut self) -> Decision {
        self.attempt.reached();
        let mut answer = self.answer(MessageType::Ack);
        answer.ciaddr = self.request.packet.ciaddr;
        self.with_boot(answer, None, None)
    }

    /// Proxy mode: the client takes the address that another server offers it. Nobody else knows it as well.
    fn told_address(&self) -> Decision {
        let packet = self.request.packet;
        let has = Some(packet.ciaddr).filter(|address| !address.is_unspecified());
        let address = packet.options.requested_address().or(has);
        let address = address.map(|address| (self.mac, address));
        Decision { address, ..Decision::silent("it takes the address of another server") }
    }

    fn addressed(&mut self, whom: Whom, kind: MessageType, leases: &mut LeaseTable) -> Decision {
        let Some((number, subnet)) = self.network() else {
            return Decision::silent("no addresses are given out in its network");
        };
        let place = Place { whom, number, subnet };
        let options = &self.request.packet.options;
        let names_another = options.server_id().is_some_and(|server| !self.is_us(server, leases));
        match kind {
            MessageType::Discover => {
                let wants = options.requested_address();
                let Some(address) = leases.offer(whom, number, self.mac, wants, self.now) else {
                    return self.told(match whom {
                        Whom::All => "every address of its network is in use",
                        Whom::Reserved => "its address in the site file is of another network, or in use",
                    });
                };
                self.lease(MessageType::Offer, place, address)
            }
            MessageType::Request if names_another => {
                leases.withdraw(number, self.mac, self.now);
                Decision::silent("it takes the offer of another server")
            }
            MessageType::Release | MessageType::Decline if names_another => {
                Decision::silent("it is meant for another server")
            }
            MessageType::Request => self.requested(place, leases),
            MessageType::Inform => {
                let mut answer = self.answer(MessageType::Ack);
                answer.ciaddr = self.request.packet.ciaddr;
                put_network(&mut answer, subnet);
                self.with_boot(answer, None, Some(subnet))
            }
            MessageType::Release => {
                leases.release(number, self.mac, self.request.packet.ciaddr, self.now);
                Decision::silent("it gives its address back")
            }
            MessageType::Decline => {
                if let Some(address) = options.requested_address() {
                    leases.decline(number, self.mac, address, self.now);
                }
                Decision::silent("it found its address in use")
            }
            _ => Decision::silent("only servers send that"),
        }
    }

    /// REQUEST in all its meanings (RFC 2131, section 4.3.2): taking an offer, starting again with an old address,
    /// and renewing. A free address is confirmed even if the table does not know the machine: this server is the only
    /// one of its network.
    fn requested(&mut self, place: Place<'_>, leases: &mut LeaseTable) -> Decision {
        let packet = self.request.packet;
        if packet.options.server_id().is_some_and(|chosen| chosen != self.own_id() && chosen != self.facts.address) {
            return Decision::silent("it takes the offer that this server made on another of its interfaces");
        }
        let has = Some(packet.ciaddr).filter(|address| !address.is_unspecified());
        let Some(address) = packet.options.requested_address().or(has) else {
            return Decision::silent("it requests no address");
        };
        match leases.grant(place.whom, place.number, self.mac, address, self.now) {
            Ok(()) => self.lease(MessageType::Ack, place, address),
            Err(_) => self.refuse(),
        }
    }

    fn refuse(&self) -> Decision {
        let mut answer = self.answer(MessageType::Nak);
        let to = if answer.giaddr.is_unspecified() {
            SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT)
        } else {
            // The client has no address the relay could use (RFC 2131, section 4.3.2).
            answer.flags |= BROADCAST;
            SocketAddrV4::new(answer.giaddr, SERVER_PORT)
        };
        self.finish(&mut answer);
        let destination = Destination::Address(to);
        Decision { reply: Some(self.reply(answer, destination)), ..Decision::default() }
    }

    fn reply(&self, packet: Packet, destination: Destination) -> Reply {
        let limit = self.request.packet.options.payload_limit();
        Reply { packet, destination, limit, delay: self.behaviour.delay }
    }

    fn lease(&mut self, kind: MessageType, place: Place<'_>, address: Ipv4Addr) -> Decision {
        let time = place.subnet.lease();
        let mut answer = self.answer(kind);
        answer.yiaddr = address;
        if kind == MessageType::Ack {
            answer.ciaddr = self.request.packet.ciaddr;
        }
        put_seconds(&mut answer, code::LEASE_TIME, time);
        put_network(&mut answer, place.subnet);
        // The defaults of RFC 2131, section 4.4.5, said aloud.
        put_seconds(&mut answer, code::RENEWAL_TIME, time / 2);
        put_seconds(&mut answer, code::REBINDING_TIME, time / 8 * 7);
        self.with_boot(answer, Some(address), Some(place.subnet))
    }

    /// Adds what to boot, and sends the answer off. One that tells of no `subnet` has no other purpose.
    fn with_boot(&mut self, mut answer: Packet, address: Option<Ipv4Addr>, subnet: Option<&Subnet>) -> Decision {
        let known = address.or(Some(self.request.packet.ciaddr)).filter(|address| !address.is_unspecified());
        let mac = self.mac;
        let seen = |step, detail| Observed { mac: Some(mac), peer: known.map(IpAddr::V4), step, detail, sent: None };
        let asks = if matches!(self.client, Client::Ipxe { .. }) { Step::Ipxe } else { Step::Discover };
        let mut decision = Decision::default();
        let kind = self.request.packet.message_type();
        let discovers = self.discovers();
        // Taking an offer is no second offer.
        let takes_offer = self.request.port == Port::Server && kind == Some(MessageType::Request);
        match self.plan(discovers) {
            Ok(Some(plan)) => {
                plan.put(&mut answer, self.request.packet, self.facts);
                decision.place = Some((mac, self.relay()));
                if discovers {
                    decision.seen.push(seen(asks, self.client.text()));
                }
                if !takes_offer {
                    decision.seen.push(seen(Step::Offer, plan.text()));
                }
            }
            Ok(None) if subnet.is_some() => {}
            Ok(None) if self.facts.is_ignored => {
                return Decision::silent("nobody knows it, and `unknown-policy` says to ignore such machines");
            }
            Ok(None) => return Decision::silent("it does not ask how to boot"),
            Err(why) => {
                if discovers || subnet.is_none() {
                    decision.seen.push(seen(asks, format!("{}: {why}", self.client).into()));
                }
                if subnet.is_none() {
                    return decision;
                }
            }
        }
        // After what a machine cannot boot without.
        if let Some(subnet) = subnet {
            put_names(&mut answer, subnet);
        }
        self.finish(&mut answer);
        let destination = self.destination(answer.yiaddr);
        decision.reply = Some(self.reply(answer, destination));
        decision
    }

    /// What the client boots, and how it is led there.
    fn plan(&mut self, discovers: bool) -> Result<Option<Plan<'a>>, String> {
        if self.facts.is_ignored {
            return Ok(None);
        }
        let plan = boot::plan(&self.client, &self.mac, self.facts)?;
        let loader = match plan {
            Some(Plan::File(loader)) => Some(loader),
            Some(Plan::Url(_)) => None,
            other => return Ok(other),
        };
        // Only an offer is passed over; who asks for more has heard it.
        let advice = match discovers {
            true => self.attempt.advise(self.request.packet.xid, self.now),
            false => self.attempt.advised(),
        };
        let shape = match advice {
            Advice::Lead(shape) => shape,
            Advice::Circles(times) => {
                return Err(format!(
                    "it wanted a loader {times} times within two minutes and is back, so it gets none until it rests: its \
                     loader does not find the way to the script"
                ));
            }
        };
        let Some(loader) = loader else { return Ok(plan) };
        let shape = self.behaviour.answer.unwrap_or(shape);
        // iPXE and the boards that take files of their own know no boot server.
        let knows_boot_server = matches!(
            self.client,
            Client::Firmware { firmware, transport: Transport::Pxe } if firmware.asks_boot_server()
        );
        let refers = shape == Shape::BootServer && knows_boot_server && self.request.port == Port::Server;
        Ok(Some(if refers { Plan::BootServer(loader) } else { Plan::File(loader) }))
    }

    fn discovers(&self) -> bool {
        self.request.packet.message_type() == Some(MessageType::Discover)
    }

    fn told(&self, why: &str) -> Decision {
        let detail = format!("{}: {why}", self.client).into();
        let seen = vec![Observed { mac: Some(self.mac), peer: None, step: Step::Discover, detail, sent: None }];
        Decision { seen, ..Decision::default() }
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
            if code == code::MACHINE_ID && !self.behaviour.machine_id {
                continue;
            }
            if let Some(data) = self.request.packet.options.get(code) {
                answer.options.put(code, data);
            }
        }
    }

    /// The relay the client is behind, if it is.
    fn relay(&self) -> Option<Relay> {
        let packet = self.request.packet;
        let options = &packet.options;
        let relay = || Relay::of(packet.giaddr, options.relay(CIRCUIT_ID), options.relay(REMOTE_ID));
        (!packet.giaddr.is_unspecified()).then(relay)
    }

    /// Whether this server is meant by an address in option 54: that of any of its interfaces, because one network may be
    /// behind two of them, and a relay may pass on what it hears to each.
    fn is_us(&self, server: Ipv4Addr, leases: &LeaseTable) -> bool {
        server == self.own_id() || server == self.facts.address || leases.is_own(server)
    }

    fn own_id(&self) -> Ipv4Addr {
        self.request.packet.options.relay_address(SERVER_ID_OVERRIDE).unwrap_or(self.facts.address)
    }

    /// The network the client is in: the one a relay names (RFC 3527, RFC 3011), the relay's own, that of the address
    /// it has and renews, or else ours. Who looks for an address has none (RFC 2131, table 5), whatever the packet says.
    fn network(&self) -> Option<(usize, &'a Subnet)> {
        let packet = self.request.packet;
        let set = |address: &Ipv4Addr| !address.is_unspecified();
        let named = packet.options.relay_address(LINK_SELECTION).or(packet.options.subnet_selection());
        let relay = Some(packet.giaddr).filter(set);
        let has = Some(packet.ciaddr).filter(set).filter(|_| !self.discovers());
        self.facts.plan.of(named.or(relay).or(has).unwrap_or(self.facts.address))
    }

    /// Where an answer goes (RFC 2131, section 4.1). A proxy gives no address that an answer could be sent to.
    fn destination(&self, gives: Ipv4Addr) -> Destination {
        let (packet, source) = (self.request.packet, self.request.source);
        let broadcasts = packet.flags & BROADCAST != 0 || gives.is_unspecified();
        if self.request.port == Port::Boot && !source.ip().is_unspecified() {
            Destination::Address(source)
        } else if !packet.giaddr.is_unspecified() {
            Destination::Address(SocketAddrV4::new(packet.giaddr, SERVER_PORT))
        } else if !packet.ciaddr.is_unspecified() {
            Destination::Address(SocketAddrV4::new(packet.ciaddr, source.port()))
        } else if broadcasts {
            Destination::Address(SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT))
        } else {
            Destination::Card(gives, self.mac)
        }
    }
}

/// What a client needs to reach others.
fn put_network(answer: &mut Packet, subnet: &Subnet) {
    answer.options.put(code::NETMASK, &subnet.netmask().octets());
    if let Some(router) = subnet.router() {
        answer.options.put(code::ROUTER, &router.octets());
    }
}

/// What else a client is told about its network.
fn put_names(answer: &mut Packet, subnet: &Subnet) {
    if let Some(domain) = subnet.domain() {
        answer.options.put(code::DOMAIN, domain.as_bytes());
    }
    if !subnet.dns().is_empty() {
        answer.options.put(code::DNS, &subnet.dns().iter().flat_map(Ipv4Addr::octets).collect::<Vec<u8>>());
    }
    answer.options.put(code::BROADCAST_ADDRESS, &subnet.broadcast().octets());
}

fn put_seconds(answer: &mut Packet, code: u8, time: Duration) {
    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    answer.options.put(code, &seconds.to_be_bytes());
}

#[cfg(test)]
mod tests;
