//! DHCP: boot information for firmware, and addresses where no other server gives them.
//!
//! [`decide`](decide::decide) makes the answers; here are the sockets, one set for each interface, opened and closed as
//! interfaces come and go.

pub mod attempts;
mod boot;
mod cable;
mod client;
pub mod decide;
mod free;
pub mod journal;
pub mod leases;
mod listening;
pub(super) mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::attempts::Attempts;
use self::decide::{Facts, Memory, Port, Reply, Request, decide};
use self::journal::Journal;
use self::leases::LeaseTable;
use self::listening::{Ground, Listening};
use super::bind::BindError;
use super::counters::DhcpCounters;
use super::given::Given;
use super::interfaces::{self, Changes, InterfaceError, Place, Wanted};
use super::observe::Observer;
use super::rules::InForce;
use crate::disk::DiskError;
use crate::model::mac::Mac;
use crate::model::net::{DhcpMode, Quirk};
use crate::model::pairing::UnknownPolicy;

pub use self::boot::{LOADER_PATH, SCRIPT_PATH};
pub use self::cable::Cable;
pub use self::client::Client;

/// How long a change of interfaces waits for the next one.
const GATHER: Duration = Duration::from_millis(50);

/// How often it is looked for interfaces when the kernel does not tell of them, or one could not be served.
const LOOK: Duration = Duration::from_secs(2);

/// Why DHCP cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// A port cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The interfaces cannot be used.
    #[error("DHCP cannot be served")]
    Interface(#[from] InterfaceError),
    /// The leases from before cannot be read, or new ones not be written.
    #[error("the leases cannot be kept")]
    Leases(#[from] DiskError),
}

/// What the server is told to do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens, and what it does there.
    pub listen: Listen,
    /// The folder leases are written to; they are forgotten at the end when absent.
    pub leases: Option<PathBuf>,
    /// The server port, 67; 0 lets the kernel choose.
    pub port: u16,
    /// The boot server port, 4011; 0 lets the kernel choose.
    pub boot_port: u16,
    /// Ports that are open already.
    pub given: Given,
    /// The port of the HTTP server, for URLs.
    pub http_port: u16,
}

impl Settings {
    /// The base URL of the HTTP server, for a client that reaches us by this address.
    fn base_url(&self, address: Ipv4Addr) -> String {
        format!("http://{address}:{}", self.http_port)
    }
}

/// Where a server listens.
#[derive(Debug, Clone)]
pub enum Listen {
    /// On interfaces, each with its own sockets: broadcasts are heard, and answers leave where questions came from.
    Interfaces(Wanted),
    /// On one address, for relays and tests: no broadcast is heard. On 0.0.0.0 the address of each packet counts.
    Address(Ipv4Addr, DhcpMode),
    /// On the cable of one virtual machine, as a proxy beside the server that gives it its address.
    Cable(Arc<Cable>),
}

impl Listen {
    /// Whether addresses are given out, if not now then when an interface comes where they are.
    fn may_give_addresses(&self) -> bool {
        match self {
            Self::Interfaces(wanted) => {
                let mut modes = wanted.modes.values().chain([&wanted.mode]);
                modes.any(|mode| mode.gives_addresses())
            }
            Self::Address(_, mode) => mode.gives_addresses(),
            Self::Cable(_) => false,
        }
    }

    /// Whether nobody is answered, so that another server has to name the loader.
    #[must_use]
    pub fn is_off(&self) -> bool {
        match self {
            Self::Interfaces(wanted) => wanted.is_off(),
            Self::Address(_, mode) => *mode == DhcpMode::Off,
            Self::Cable(_) => false,
        }
    }
}

/// A DHCP server that has its sockets.
#[derive(Debug)]
pub struct DhcpServer {
    sockets: Vec<Arc<Listening>>,
    /// The interfaces they are on; none when the server listens on an address.
    places: Vec<Place>,
    shared: Arc<Shared>,
}

/// What all sockets share.
struct Shared {
    settings: Settings,
    rules: InForce,
    observer: Arc<dyn Observer>,
    counters: Arc<DhcpCounters>,
    leases: Mutex<LeaseTable>,
    attempts: Arc<Mutex<Attempts>>,
    journal: Option<Journal>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl DhcpServer {
    /// Opens the sockets, and reads the leases from before. Must be called within a Tokio runtime.
    ///
    /// A proxy only overhears port 67 of an interface, so that a DHCP server of this computer can have it; a server that
    /// gives out addresses is the only one, and a taken port is an error.
    ///
    /// # Errors
    /// When a socket cannot be opened, an interface not be used or a lease not be kept; then nothing stays open.
    pub fn bind(
        settings: Settings,
        rules: InForce,
        observer: Arc<dyn Observer>,
        attempts: Arc<Mutex<Attempts>>,
    ) -> Result<Self, DhcpError> {
        let (places, sockets) = match &settings.listen {
            Listen::Address(_, DhcpMode::Off) => (Vec::new(), Vec::new()),
            Listen::Address(address, mode) => (Vec::new(), Listening::on_address(&settings, *address, *mode)?),
            Listen::Cable(cable) => (Vec::new(), vec![Listening::on_cable(&settings, cable)]),
            Listen::Interfaces(wanted) if wanted.is_off() => (Vec::new(), Vec::new()),
            Listen::Interfaces(wanted) => {
                let places = wanted.choose(&interfaces::list()?)?;
                let mut sockets = Vec::new();
                for place in &places {
                    sockets.extend(Listening::on_interface(&settings, place)?);
                }
                (places, sockets)
            }
        };
        let mut leases = LeaseTable::new(Arc::clone(&rules.now().plan));
        leases.set_own(own_addresses());
        let journal = match settings.leases.as_deref().filter(|_| settings.listen.may_give_addresses()) {
            Some(folder) => {
                let (journal, uses) = Journal::open(folder)?;
                leases.restore(uses, Instant::now());
                Some(journal)
            }
            None => None,
        };
        let (counters, leases) = (Arc::default(), Mutex::new(leases));
        let shared = Arc::new(Shared { settings, rules, observer, counters, leases, attempts, journal });
        Ok(Self { sockets: sockets.into_iter().map(Arc::new).collect(), places, shared })
    }

    /// Where it listens, with the ports the kernel chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<(Port, SocketAddr)> {
        let addresses = |own: &Arc<Listening>| {
            let (kind, port) = (own.port, own.bound_port());
            let at = |address| (kind, SocketAddr::new(IpAddr::V4(address), port));
            own.own().addresses.iter().map(|own| at(own.address)).collect::<Vec<_>>()
        };
        self.sockets.iter().flat_map(addresses).collect()
    }

    /// What it has done so far; stays readable while it runs.
    #[must_use]
    pub fn counters(&self) -> Arc<DhcpCounters> {
        Arc::clone(&self.shared.counters)
    }

    /// Answers until `stop`. No socket, packet or interface ends it.
    pub async fn run(self, stop: CancellationToken) {
        let Self { sockets, places, shared } = self;
        let mut tasks = Tasks { shared, stop, running: JoinSet::new(), places: BTreeMap::new() };
        let on = |name: &str| sockets.iter().filter(|own| own.device.as_deref() == Some(name)).cloned().collect();
        if places.is_empty() {
            let stop = tasks.stop.clone();
            tasks.start(sockets.clone(), &stop);
        }
        for place in places {
            let opened = on(&place.name);
            tasks.begin(place, opened);
        }
        drop(sockets);
        tasks.watch().await;
    }
}

/// The tasks of all sockets.
struct Tasks {
    shared: Arc<Shared>,
    stop: CancellationToken,
    running: JoinSet<()>,
    /// What is served, and by what; without the latter it could not be opened, which was said.
    places: BTreeMap<String, (Place, Option<Served>)>,
}

/// The sockets of an interface.
struct Served {
    sockets: Vec<Arc<Listening>>,
    stop: CancellationToken,
}

impl Tasks {
    fn begin(&mut self, place: Place, sockets: Vec<Arc<Listening>>) {
        let stop = self.stop.child_token();
        self.start(sockets.clone(), &stop);
        self.places.insert(place.name.clone(), (place, Some(Served { sockets, stop })));
    }

    fn start(&mut self, sockets: Vec<Arc<Listening>>, stop: &CancellationToken) {
        for socket in sockets {
            let (shared, stop) = (Arc::clone(&self.shared), stop.clone());
            self.running.spawn_blocking(move || socket.run(&shared, &stop));
        }
    }

    /// Follows the interfaces until the end.
    async fn watch(mut self) {
        let mut replaced = self.shared.rules.follow();
        let follows = self.wanted().is_some();
        let mut changes = if follows { listen() } else { None };
        // What changed since they were listed.
        let mut is_settled = self.look();
        loop {
            let looks_again = follows && (changes.is_none() || !is_settled);
            tokio::select! {
                () = self.stop.cancelled() => break,
                Some(ended) = self.running.join_next() => {
                    if let Err(panic) = ended {
                        error!(%panic, "a DHCP socket stopped being served");
                    }
                    continue;
                }
                told = next(changes.as_ref()) => match told {
                    // An interface comes with its address, and a container with an interface.
                    Ok(()) => tokio::time::sleep(GATHER).await,
                    Err(error) => {
                        say_nobody_tells(&error);
                        changes = None;
                    }
                },
                // The networks may be others.
                Ok(()) = replaced.changed() => {}
                () = tokio::time::sleep(LOOK), if looks_again => {}
            }
            is_settled = self.look();
        }
        while self.running.join_next().await.is_some() {}
    }

    /// The interfaces that are followed, if any are.
    fn wanted(&self) -> Option<Wanted> {
        match &self.shared.settings.listen {
            Listen::Interfaces(wanted) if !wanted.is_off() => {
                Some(Wanted { plan: Arc::clone(&self.shared.rules.now().plan), ..wanted.clone() })
            }
            _ => None,
        }
    }

    /// Serves the interfaces there are now; false when that is to be tried again.
    fn look(&mut self) -> bool {
        let Some(wanted) = self.wanted() else { return true };
        match interfaces::list() {
            Ok(all) => self.follow(wanted.served(&all)),
            Err(error) => {
                warn!(%error, "interfaces that come or go are not noticed");
                return false;
            }
        }
        self.places.values().all(|(_, served)| served.is_some())
    }

    /// Closes the sockets of what is no longer there, and opens those of what is new. Those of an interface that has other
    /// addresses stay open: whoever asks in between is answered.
    fn follow(&mut self, served: Vec<Place>) {
        let mut is_changed = false;
        for now in &served {
            if let Some((place, Some(own))) = self.places.get_mut(&now.name)
                && place.addresses != now.addresses
                && (place.index, place.mode) == (now.index, now.mode)
            {
                own.sockets.iter().for_each(|socket| socket.readdress(&self.shared.settings, &now.addresses));
                info!(interface = %now.name, "DHCP is served there with other addresses");
                place.clone_from(now);
                is_changed = true;
            }
        }
        let is_same = |place: &Place| served.contains(place);
        let gone: Vec<String> =
            self.places.iter().filter(|(_, (place, _))| !is_same(place)).map(|(name, _)| name.clone()).collect();
        for name in &gone {
            if let Some((_, Some(own))) = self.places.remove(name) {
                own.stop.cancel();
                info!(interface = %name, "DHCP is no longer served there");
            }
        }
        is_changed |= !gone.is_empty();
        for place in served {
            let failed_before = match self.places.get(&place.name) {
                Some((_, Some(_))) => continue,
                Some((_, None)) => true,
                None => false,
            };
            is_changed = true;
            match Listening::on_interface(&self.shared.settings, &place) {
                Ok(sockets) => {
                    info!(interface = %place.name, mode = place.mode.word(), "DHCP is served there now");
                    self.begin(place, sockets.into_iter().map(Arc::new).collect());
                }
                Err(error) => {
                    if !failed_before {
                        warn!(interface = %place.name, %error, "DHCP cannot be served there; it is tried again");
                    }
                    self.places.insert(place.name.clone(), (place, None));
                }
            }
        }
        if is_changed {
            self.shared.leases.lock().unwrap_or_else(PoisonError::into_inner).set_own(own_addresses());
        }
    }
}

/// Who tells of changes, if the kernel does.
fn listen() -> Option<Changes> {
    Changes::listen().inspect_err(say_nobody_tells).ok()
}

fn say_nobody_tells(error: &io::Error) {
    warn!(%error, "the kernel does not tell of interfaces that come or go, so it is looked for them every two seconds");
}

/// Waits for a change that somebody tells; for ever when nobody does.
async fn next(changes: Option<&Changes>) -> io::Result<()> {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

/// The addresses of this computer; none when the kernel does not tell.
fn own_addresses() -> BTreeSet<Ipv4Addr> {
    let all = interfaces::list().unwrap_or_default();
    all.into_iter().flat_map(|own| own.addresses).map(|own| own.address).collect()
}

impl Shared {
    /// The answer to a packet that came to one of our sockets.
    fn answer(&self, request: &Request<'_>, on: &Ground<'_>) -> Option<Reply> {
        let (packet, now) = (request.packet, Instant::now());
        let Ground { mode, address, own, rules } = *on;
        let told = own.told(&self.settings, address);
        let base_url = rules.advertise.as_deref().unwrap_or(&told.url);
        let quirks = &rules.quirks;
        let known = |mac: Mac| quirks.iter().any(Quirk::asks_hardware).then(|| self.observer.hardware(&mac)).flatten();
        let hardware = packet.mac().and_then(known);
        let is_doctor = packet.options.is_of_doctor();
        // Nobody has to be looked for where none is.
        let may_ignore = rules.assignments.unknown == UnknownPolicy::Ignore;
        let facts = Facts {
            address,
            own_name: &told.name,
            mode,
            plan: &rules.plan,
            quirks,
            hardware: hardware.as_ref(),
            is_ignored: packet.mac().is_some_and(|mac| may_ignore && self.observer.is_ignored(&mac)),
            base_url,
            loaders: &rules.loaders,
        };
        let decision = {
            let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
            leases.keep_to(&rules.plan, now);
            let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever asks how the server is counts for nothing, however often.
            let mut of_doctor;
            let attempts = if is_doctor {
                of_doctor = Attempts::default();
                &mut of_doctor
            } else {
                &mut *attempts
            };
            let mut memory = Memory { leases: &mut leases, attempts: &mut *attempts };
            let mut decision = decide(request, &facts, &mut memory, now);
            if let Some((mac, relay)) = decision.place.take() {
                attempts.place(mac, relay);
            }
            let changes = leases.take_changes();
            // Before another socket changes the same address.
            if let Some(journal) = &self.journal {
                journal.note(changes);
            }
            decision
        };
        if let Some((mac, address)) = decision.address.filter(|_| !is_doctor) {
            self.observer.learned(mac, address);
        }
        // A computer that only wants an address is no machine of ours.
        let is_machine = decision.is_machine && !is_doctor;
        for seen in &decision.seen {
            let mac = seen.mac.map(tracing::field::display);
            if decision.reply.is_none() {
                info!(mac, reason = %seen.detail, "a client is not answered");
            } else {
                debug!(mac, step = %seen.step, detail = %seen.detail, "DHCP");
            }
        }
        if is_machine {
            self.observer.observe_all(decision.seen);
        }
        decision.reply
    }
}

#[cfg(test)]
mod tests;
