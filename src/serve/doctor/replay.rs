//! What the server would have answered to the packets of a capture, and why.
//!
//! A capture of DHCP and TFTP shows no HTTP: that a machine came for its script, after which a running server counts no
//! loader it had against it, is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhcproto::v4::{MessageType, SERVER_PORT};
use serde::Serialize;

use crate::fleet::Roster;
use crate::model::identity::{Hardware, Identity};
use crate::model::ledger::Ledger;
use crate::model::mac::Mac;
use crate::model::net::{AddressPlan, DhcpMode, Quirk, behaviour};
use crate::model::plan::Assignments;
use crate::serve::boot_files::{self, Found};
use crate::serve::dhcp::Client;
use crate::serve::dhcp::attempts::Attempts;
use crate::serve::dhcp::decide::{Decision, Destination, Facts, Memory, Port, Reply, Request, decide};
use crate::serve::dhcp::leases::LeaseTable;
use crate::serve::links::Links;
use crate::serve::loaders::Loaders;
use crate::wire::capture::Captured;
use crate::wire::dhcp::{Direction, Packet, code};
use crate::wire::tftp;
use crate::wire::udp::Datagram;

/// RFC 1350.
const TFTP_PORT: u16 = 69;

/// The port of PXE boot servers.
const BOOT_PORT: u16 = 4011;

/// How much of a name is shown.
const SHOWN: usize = 120;

/// No capture lasts longer than a century; what does has times that somebody made up, and that no clock can follow.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// One packet of a capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Line {
    /// When it was sent, in milliseconds after the first packet.
    pub at: u64,
    /// Who sent it.
    pub from: SocketAddrV4,
    /// The machine it is about.
    pub machine: Option<Mac>,
    /// What it is.
    pub packet: String,
    /// What we would have answered, or why nothing; nothing at all for the packet of another server.
    pub answer: Option<String>,
}

/// The site whose server answers.
#[derive(Debug)]
pub struct Site {
    /// What DHCP does on interfaces that are not named in `modes`.
    pub mode: DhcpMode,
    /// What it does on single interfaces.
    pub modes: BTreeMap<String, DhcpMode>,
    /// The addresses that are given out.
    pub plan: Arc<AddressPlan>,
    /// The clients that want another answer than most.
    pub quirks: Vec<Quirk>,
    /// The loaders there are.
    pub loaders: Arc<Loaders>,
    /// Where the server is.
    pub addresses: Addresses,
    /// Base URL of its HTTP server, without a final slash.
    pub base_url: String,
    /// Whether it serves TFTP.
    pub has_tftp: bool,
    /// What is known of machines.
    pub known: Known,
}

/// The addresses of the server.
#[derive(Debug)]
pub struct Addresses {
    /// The one it answers from.
    pub main: Ipv4Addr,
    /// All that are known.
    pub own: BTreeSet<Ipv4Addr>,
    /// Whether somebody said where the server is, so that what is sent elsewhere is sent to another one.
    pub are_named: bool,
}

/// What is known of machines.
#[derive(Debug, Default)]
pub struct Known {
    /// What the site file says of them.
    pub assignments: Assignments,
    /// What they said of themselves.
    pub machines: Roster,
    /// What people decided.
    pub ledger: Arc<Ledger>,
}

/// A server that answers a capture; it remembers as a running one does.
#[derive(Debug)]
pub struct Replay {
    site: Site,
    leases: LeaseTable,
    attempts: Attempts,
    links: Links,
    start: Instant,
    /// The time of the last packet, as the server's clock would have it.
    now: Instant,
    first: Option<Duration>,
    /// What DHCP did on the interfaces of this capture that have modes of their own.
    modes: BTreeMap<String, DhcpMode>,
    names_interfaces: bool,
}

impl Replay {
    /// A server of this site that has answered nobody yet.
    #[must_use]
    pub fn new(site: Site) -> Self {
        let mut leases = LeaseTable::new(Arc::clone(&site.plan));
        leases.set_own(site.addresses.own.clone());
        let start = Instant::now();
        Self {
            site,
            leases,
            attempts: Attempts::default(),
            links: Links::default(),
            start,
            now: start,
            first: None,
            modes: BTreeMap::new(),
            names_interfaces: false,
        }
    }

    /// The site.
    #[must_use]
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// The interfaces so far that have modes of their own; nothing while the capture names no interface.
    #[must_use]
    pub fn modes(&self) -> Option<&BTreeMap<String, DhcpMode>> {
        self.names_interfaces.then_some(&self.modes)
    }

    /// What one datagram is, and what we would have answered; nothing for one that has nothing to do with booting.
    pub fn datagram(&mut self, captured: &Captured<'_>) -> Option<Line> {
        let Captured { at, interface, datagram } = *captured;
        let since = at.saturating_sub(*self.first.get_or_insert(at));
        // A clock does not go back.
        self.now = self.start.checked_add(since.min(LONGEST)).map_or(self.now, |now| now.max(self.now));
        let mode = self.mode_on(interface);
        let to = *datagram.destination.ip();
        let (machine, packet, answer) = match datagram.destination.port() {
            TFTP_PORT => {
                let answer = |own: &mut Self| own.tftp(&datagram);
                (None, request(datagram.payload), Some(self.answer_if_ours(to, answer)))
            }
            SERVER_PORT | BOOT_PORT => match Packet::decode(datagram.payload) {
                Ok(packet) if packet.direction == Direction::Request => {
                    let answer = self.answer_if_ours(to, |own| own.dhcp(&packet, &datagram, mode));
                    (packet.mac(), question(&packet), Some(answer))
                }
                Ok(packet) => (packet.mac(), offer(&packet), None),
                Err(error) => (None, format!("no DHCP packet: {error}"), Some("silence".to_owned())),
            },
            _ => {
                let packet = Packet::decode(datagram.payload).ok().filter(|it| it.direction == Direction::Reply)?;
                (packet.mac(), offer(&packet), None)
            }
        };
        let at = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Some(Line { at, from: datagram.source, machine, packet, answer })
    }

    fn mode_on(&mut self, interface: Option<&str>) -> DhcpMode {
        let Some(name) = interface else { return self.site.mode };
        self.names_interfaces = true;
        let Some(mode) = self.site.modes.get(name).copied() else { return self.site.mode };
        if !self.modes.contains_key(name) {
            self.modes.insert(name.to_owned(), mode);
        }
        mode
    }

    /// What we would have said to what was sent to this address.
    fn answer_if_ours(&mut self, to: Ipv4Addr, answer: impl FnOnce(&mut Self) -> String) -> String {
        let is_for_all = to.is_broadcast()
            || to.is_multicast()
            || to.is_unspecified()
            || self.site.plan.of(to).is_some_and(|(_, subnet)| subnet.broadcast() == to);
        if is_for_all || self.site.addresses.own.contains(&to) {
            answer(self)
        } else if self.site.addresses.are_named {
            format!("silence: it is for {to}, the address of another server")
        } else {
            format!("if {to} is ours: {}", answer(self))
        }
    }

    fn dhcp(&mut self, packet: &Packet, datagram: &Datagram<'_>, mode: DhcpMode) -> String {
        let Site { plan, quirks, loaders, addresses, base_url, known, .. } = &self.site;
        let hardware = packet.mac().filter(|_| quirks.iter().any(Quirk::asks_hardware));
        let hardware = hardware.and_then(|mac| known.hardware(&mac));
        let own_name = addresses.main.to_string();
        let facts = Facts {
            address: addresses.main,
            own_name: &own_name,
            mode,
            plan,
            quirks,
            hardware,
            is_ignored: packet.mac().is_some_and(|mac| known.is_ignored(mac)),
            base_url,
            loaders,
        };
        let port = if datagram.destination.port() == BOOT_PORT { Port::Boot } else { Port::Server };
        let request = Request { packet, port, source: datagram.source };
        let mut memory = Memory { leases: &mut self.leases, attempts: &mut self.attempts };
        let decision = decide(&request, &facts, &mut memory, self.now);
        let said = match &decision.reply {
            Some(reply) => answer(reply, &reasons(packet, reply, &decision, &facts, &self.links)),
            None => {
                let why = decision.seen.last().map(|seen| &*seen.detail).or(decision.silence);
                why.map_or_else(|| "silence".to_owned(), |why| format!("silence: {why}"))
            }
        };
        let met = decision.seen.iter().filter_map(|seen| Some((seen.peer?, seen.mac?)));
        let told = decision.address.map(|(mac, address)| (IpAddr::V4(address), mac));
        for (address, mac) in met.chain(told) {
            self.links.learn(address, mac);
        }
        said
    }

    fn tftp(&mut self, datagram: &Datagram<'_>) -> String {
        if !self.site.has_tftp {
            return "silence: TFTP is off".to_owned();
        }
        let Ok(tftp::Packet::Read(request)) = tftp::Packet::decode(datagram.payload) else {
            return "an error".to_owned();
        };
        let found = boot_files::find(&self.site.loaders, &request.path);
        if let Some(Found::Loader(_) | Found::Instead(_)) = found
            && let Some(mac) = self.links.who(IpAddr::V4(*datagram.source.ip()))
        {
            // It makes use of what it was offered.
            self.attempts.reached(mac);
        }
        match found {
            Some(Found::Loader(loader)) => format!("the file, {} bytes", loader.bytes.len()),
            Some(Found::Instead(loader)) => format!("{} instead, {} bytes", loader.name, loader.bytes.len()),
            Some(Found::Autoexec) => "the script of an iPXE that has none".to_owned(),
            Some(Found::Grub(_) | Found::Pxelinux(_)) => "a configuration that starts iPXE".to_owned(),
            None => "no such loader; `bivouac loaders list` shows those there are".to_owned(),
        }
    }
}

impl Known {
    fn identity(&self, mac: &Mac) -> Option<&Identity> {
        self.machines.machine_with(mac).map(|machine| machine.identity.as_ref())
    }

    fn hardware(&self, mac: &Mac) -> Option<&Hardware> {
        self.identity(mac).map(|machine| &machine.hardware)
    }

    fn is_ignored(&self, mac: Mac) -> bool {
        self.assignments.ignores(mac, self.identity(&mac), &self.ledger)
    }
}

/// What a client of TFTP says.
fn request(payload: &[u8]) -> String {
    match tftp::Packet::decode(payload) {
        Ok(tftp::Packet::Read(request)) => format!("asks for {} by TFTP", shown(request.path.as_bytes())),
        Ok(_) => "no request of TFTP".to_owned(),
        Err(error) => format!("no TFTP packet: {error}"),
    }
}

/// What a client says.
fn question(packet: &Packet) -> String {
    let mut text = format!("{}, {}", kind(packet), Client::of(packet));
    if !packet.giaddr.is_unspecified() {
        text.push_str(&format!(", through the relay {}", packet.giaddr));
    }
    if let Some(server) = packet.options.server_id() {
        text.push_str(&format!(", to the server {server}"));
    }
    if let Some(address) = packet.options.requested_address() {
        text.push_str(&format!(", for {address}"));
    }
    text
}

/// What a server says, whoever it is.
fn offer(packet: &Packet) -> String {
    let mut text = kind(packet);
    let who = packet.options.server_id().map(|server| format!(" of the server {server}"));
    text.push_str(&who.unwrap_or_default());
    let address = Some(packet.yiaddr).filter(|address| !address.is_unspecified());
    text.push_str(&address.map_or_else(|| ": no address".to_owned(), |address| format!(": the address {address}")));
    let named = packet.options.get(code::BOOT_FILE).unwrap_or(&packet.file);
    if !named.is_empty() {
        text.push_str(&format!(", the loader {}", shown(named)));
    }
    text
}

/// What we would have said.
fn answer(reply: &Reply, reasons: &[String]) -> String {
    let to = match reply.destination {
        Destination::Address(to) => to.to_string(),
        Destination::Card(address, card) => format!("{address} at {card}"),
    };
    let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) };
    format!("{}; to {to}{why}", offer(&reply.packet))
}

/// Why that, as far as the answer does not say it itself.
fn reasons(packet: &Packet, reply: &Reply, decision: &Decision, facts: &Facts<'_>, links: &Links) -> Vec<String> {
    let (Some(mac), said) = (packet.mac(), &reply.packet) else { return Vec::new() };
    if said.message_type() == Some(MessageType::Nak) {
        return refusal(packet, mac, facts.plan, links).into_iter().collect();
    }
    let detail = decision.seen.last().filter(|_| said.file.is_empty()).map(|seen| seen.detail.to_string());
    // It names nothing, and still is that of a boot server.
    let refers = said.file.is_empty()
        && said.options.vendor_class() == b"PXEClient"
        && said.options.get(code::BOOT_FILE).is_none();
    let shape =
        refers.then(|| match behaviour(facts.quirks, &mac, packet.options.vendor_class(), facts.hardware).answer {
            Some(_) => "a quirk of the site file has it so".to_owned(),
            None => "it made nothing of offers that name the loader".to_owned(),
        });
    let rule = by_rule(&Client::of(packet), &mac, facts.loaders).filter(|_| refers || !said.file.is_empty());
    detail.into_iter().chain(shape).chain(rule).collect()
}

/// Why a machine is handed just this loader, where that is no matter of course.
fn by_rule(client: &Client, mac: &Mac, loaders: &Loaders) -> Option<String> {
    let (Client::Firmware { firmware, .. } | Client::Ipxe { http: false, firmware: Some(firmware) }) = client else {
        return None;
    };
    let choice = loaders.for_machine(*firmware, mac)?;
    match choice.rule {
        Some((number, _)) if choice.is_as_wanted() => Some(format!("by loader rule {number} of the site file")),
        Some((number, rule)) => {
            Some(format!("loader rule {number} of the site file wants `{}`, and there is none", rule.kind))
        }
        None => choice.returns.then(|| "it may go back to its firmware, whose drivers this loader uses".to_owned()),
    }
}

/// Why a machine cannot have the address that it asks for.
fn refusal(packet: &Packet, mac: Mac, plan: &AddressPlan, links: &Links) -> Option<String> {
    let has = Some(packet.ciaddr).filter(|address| !address.is_unspecified());
    let address = packet.options.requested_address().or(has)?;
    let reserved = plan.reservations();
    let kept_for = reserved.iter().find(|(_, own)| **own == address).map(|(other, _)| *other);
    let holder = kept_for.or_else(|| links.who(IpAddr::V4(address))).filter(|other| *other != mac);
    Some(match (reserved.get(&mac), holder, plan.of(address)) {
        (Some(own), ..) if *own != address => format!("its own address is {own}"),
        (_, Some(other), _) => format!("{address} is that of {other}"),
        (_, _, None) => format!("{address} is in no network in which addresses are given out"),
        (None, _, Some((_, subnet))) if subnet.index_of(address).is_none() => {
            format!("{address} is not among the addresses that are given out")
        }
        _ => format!("{address} is in use, or is of another network than the machine"),
    })
}

fn kind(packet: &Packet) -> String {
    match packet.message_type() {
        Some(MessageType::Unknown(number)) => format!("message {number}"),
        Some(known) => format!("{known:?}").to_uppercase(),
        None => "BOOTP".to_owned(),
    }
}

/// What firmware or a server wrote, without what a terminal would obey.
fn shown(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests;
