//! Bind, run, drain: DHCP, TFTP and HTTP, which all end in one decision (DESIGN 3.4).
//!
//! [`Server::bind`] opens every port or none, those that were [`given`] excepted; [`Server::run`] serves until it is
//! told to stop. What machines are told comes from memory: [`App`] holds the channels, the files of bundles and the
//! fleet, and the [`rules`] of the site, which may change while it runs.

pub mod bind;
mod blobs;
mod boot_files;
pub mod counters;
pub mod dhcp;
pub mod doctor;
pub mod given;
pub mod http;
pub mod interfaces;
mod library;
mod links;
pub mod loaders;
pub mod observe;
pub mod own_files;
pub mod port_owner;
mod rollouts;
pub mod rules;
mod store_questions;
pub mod tftp;
mod tokens;
mod udp;
mod virtual_machines;
mod visit;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use foldhash::HashMap;
use nix::sys::prctl;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::bind::{BindError, Udp};
use self::blobs::Blobs;
use self::boot_files::BootFiles;
use self::counters::CheckInCounters;
use self::dhcp::attempts::Attempts;
use self::dhcp::decide::Port;
use self::dhcp::{DhcpError, DhcpServer, Listen};
use self::given::Given;
use self::library::Bundles;
use self::links::Links;
use self::observe::{Observed, Observer};
use self::own_files::OwnFiles;
use self::port_owner::Protocol;
use self::rules::{InForce, Rules};
use self::store_questions::MAX_QUESTIONS;
use self::tftp::TftpServer;
use self::visit::menu::Offered;
use crate::fleet::{Fleet, Seen, Sighting};
use crate::mirror::Mirror;
use crate::model::alpine::Arch;
use crate::model::boot::Step;
use crate::model::identity::{Hardware, Relay};
use crate::model::ledger::Ledger;
use crate::model::mac::Mac;
use crate::model::manifest::BundleId;
use crate::model::net::TransferPorts;
use crate::model::plan::Catalog;
use crate::model::script::BootScript;
use crate::proxmox::Place;
use crate::store::{Store, StoreError};

/// How long transfers may go on after a stop was asked for: a kernel and a modloop of 150 MB at a tenth of a gigabit link.
pub const GRACE: Duration = Duration::from_secs(15);

/// How long a machine's script waits for the store; then the machine boots what was published before.
const STORE_WAIT: Duration = Duration::from_millis(500);

/// How long the channels count as just read: in a boot storm, the store is not read again for each of the machines that
/// ask in the same moment.
const FRESH: Duration = Duration::from_millis(10);

/// Why serving cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A port cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// DHCP cannot be answered.
    #[error(transparent)]
    Dhcp(#[from] DhcpError),
    /// The store cannot be read.
    #[error("the published bundles cannot be read")]
    Store(#[from] StoreError),
    /// Half a server would look alive and boot nobody.
    #[error("a part of the server ended by itself, so all of it did; the log says which")]
    Broken,
}

/// How a server is told to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Nothing new is begun, and what runs may end within [`GRACE`].
    pub gently: CancellationToken,
    /// What still runs is cut off.
    pub at_once: CancellationToken,
}

/// What to serve, and where.
#[derive(Debug)]
pub struct Options {
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// Where HTTPS listens, if it does.
    pub https: Option<SocketAddr>,
    /// How many large files are sent by HTTP at once.
    pub transfers: usize,
    /// Where TFTP listens, if it does.
    pub tftp: Option<SocketAddr>,
    /// From which ports its files come.
    pub tftp_ports: TransferPorts,
    /// Where DHCP is answered, and how.
    pub dhcp: Listen,
    /// The folder its leases are kept in.
    pub leases: PathBuf,
    /// DHCP's server port.
    pub dhcp_port: u16,
    /// DHCP's boot server port.
    pub pxe_port: u16,
    /// Ports that are open already.
    pub given: Given,
    /// What may change while it runs.
    pub rules: InForce,
    /// The caching mirror, if there is one.
    pub mirror: Option<Mirror>,
    /// The cluster that reboots virtual machines for rollouts, if it is to.
    pub cluster: Option<Place>,
}

/// What every transport shares.
#[derive(Debug)]
pub struct App {
    store: Store,
    fleet: Arc<Fleet>,
    rules: InForce,
    /// How many large files are sent by HTTP at once.
    transfers: usize,
    /// The channels as they were read last.
    catalog: ArcSwap<Catalog>,
    /// Held while the store is read.
    reading: Arc<Semaphore>,
    /// How many questions of machines the store may be asked at once.
    questioning: Arc<Semaphore>,
    /// When the store was asked last.
    asked: ArcSwapOption<Instant>,
    bundles: Bundles,
    /// What boots each bundle, without the token, by the base URL in it; of bundles that need no files of a machine's own.
    scripts: ArcSwap<HashMap<BundleId, HashMap<String, BootScript>>>,
    blobs: Blobs,
    links: Links,
    /// The earlier releases that are on menus.
    offered: Offered,
    own_files: OwnFiles,
    mirror: Option<Mirror>,
    /// What clients of DHCP made of its answers, and where they are.
    attempts: Arc<Mutex<Attempts>>,
    check_ins: CheckInCounters,
}

impl App {
    /// Joins what is served; reads the channels once.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn new(store: Store, fleet: Fleet, options: &Options) -> Result<Self, StoreError> {
        let (catalog, problems) = store.catalog(&Catalog::default())?;
        for problem in problems {
            warn!(%problem, "a channel cannot be read");
        }
        Ok(Self {
            reading: Arc::new(Semaphore::new(1)),
            questioning: Arc::new(Semaphore::new(MAX_QUESTIONS)),
            store,
            fleet: Arc::new(fleet),
            rules: options.rules.clone(),
            transfers: options.transfers,
            catalog: ArcSwap::from_pointee(catalog),
            asked: ArcSwapOption::empty(),
            bundles: Bundles::default(),
            scripts: ArcSwap::default(),
            blobs: Blobs::default(),
            links: Links::default(),
            offered: Offered::default(),
            own_files: OwnFiles::default(),
            mirror: options.mirror.clone(),
            attempts: Arc::default(),
            check_ins: CheckInCounters::default(),
        })
    }

    /// The rules that hold now.
    #[must_use]
    pub fn rules(&self) -> Guard<Arc<Rules>> {
        self.rules.now()
    }

    /// The channels as they are now; as they were last, when the store cannot be read or does not answer (DESIGN 4.5).
    async fn catalog(self: &Arc<Self>) -> Guard<Arc<Catalog>> {
        // One read at a time: a store that hangs must not take a thread for each machine that asks.
        if !self.is_fresh()
            && let Ok(permit) = Arc::clone(&self.reading).try_acquire_owned()
        {
            self.asked.store(Some(Arc::new(Instant::now())));
            let app = Arc::clone(self);
            let read = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                app.refresh();
            });
            if tokio::time::timeout(STORE_WAIT, read).await.is_err() {
                warn!("the store does not answer; machines boot what was published before");
            }
        }
        self.catalog.load()
    }

    /// A machine came as far as its script, so that its loader does what it shall.
    fn arrived(&self, mac: Mac) {
        lock(&self.attempts).arrived(mac);
    }

    /// What people and rollouts decided, as it was last read: within a second of what it is.
    #[must_use]
    pub fn ledger(&self) -> Guard<Arc<Ledger>> {
        self.fleet.book().known()
    }

    /// Waits until everything that was seen so far is on disk, for whoever reads it there.
    pub async fn flush(&self) {
        self.fleet.flush().await;
    }

    /// The architectures that published bundles are for, in Alpine's words.
    pub async fn architectures(self: &Arc<Self>) -> BTreeSet<Arch> {
        let catalog = self.catalog().await;
        catalog.all().map(|(_, _, published)| published.manifest.alpine.arch.clone()).collect()
    }

    /// Whether the channels were read just now.
    fn is_fresh(&self) -> bool {
        self.asked.load().as_deref().is_some_and(|asked| asked.elapsed() < FRESH)
    }

    fn refresh(&self) {
        let (catalog, problems) = match self.store.catalog(&self.catalog.load()) {
            Ok(read) => read,
            Err(problem) => {
                warn!(%problem, "the store cannot be read; machines boot what was published before");
                return;
            }
        };
        for problem in problems {
            warn!(%problem, "a channel cannot be read; its machines boot what it had before");
        }
        self.catalog.store(Arc::new(catalog));
    }
}

impl App {
    /// Something was seen of a machine.
    fn note_seen(&self, seen: Observed, now: SystemTime) {
        let Observed { mac, peer, step, detail, sent } = seen;
        // UEFI asks for the size of a file, and ends the transfer before its first block.
        if sent.is_some_and(|sent| sent.bytes == 0 && sent.of > 0) {
            return;
        }
        let how = if mac.is_some() { Seen::ByMac } else { Seen::ByAddress };
        let sighting = Sighting { step, seen: how, sent, remark: detail };
        if let (Some(peer), Some(mac)) = (peer, mac) {
            self.links.learn(peer, mac);
        }
        let known = mac.or_else(|| self.links.who(peer?));
        if let Some(mac) = known.filter(|_| step == Step::Loader) {
            lock(&self.attempts).reached(mac);
        }
        let is_taken = known.is_some_and(|mac| self.fleet.reached(mac, &sighting, now));
        if let Some(peer) = peer.filter(|_| !is_taken && how == Seen::ByAddress && step < Step::Script) {
            self.links.wait(peer, sighting, now);
        }
    }

    /// A machine said who it is: what was seen at its address before that is about it. The relay it is behind.
    fn meet(&self, address: IpAddr, mac: Mac, now: SystemTime) -> Option<Relay> {
        for (at, sighting) in self.links.meet(address, mac, now) {
            self.fleet.reached(mac, &sighting, at);
        }
        lock(&self.attempts).relay_of(&mac).cloned()
    }
}

/// Takes a lock whatever became of its last holder: each critical section of the servers leaves its value whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Observer for App {
    fn observe(&self, seen: Observed) {
        self.note_seen(seen, SystemTime::now());
    }

    fn observe_all(&self, seen: Vec<Observed>) {
        let now = SystemTime::now();
        seen.into_iter().for_each(|seen| self.note_seen(seen, now));
    }

    fn learned(&self, mac: Mac, address: Ipv4Addr) {
        self.links.learn(IpAddr::V4(address), mac);
    }

    fn hardware(&self, mac: &Mac) -> Option<Hardware> {
        self.fleet.machine_with(mac).map(|machine| machine.hardware.clone())
    }

    fn is_ignored(&self, mac: &Mac) -> bool {
        let machine = self.fleet.machine_with(mac);
        self.rules().assignments.ignores(*mac, machine.as_deref(), &self.fleet.book().known())
    }
}

/// Has the system give this process, and programs it starts, memory in small pages. Of large ones, two megabytes are cleared
/// when the first byte is written, while somebody waits for an answer, and most of them stays empty.
pub fn take_small_pages() {
    if let Err(error) = prctl::set_thp_disable(true) {
        debug!(%error, "answers may wait for memory");
    }
}

/// Opens a TCP port, unless it was given; tells which one, when the kernel was to choose it.
async fn listen(
    address: SocketAddr,
    given: Option<Arc<std::net::TcpListener>>,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |error| BindError::new(Protocol::Tcp, address, error);
    let listener = match given {
        Some(given) => {
            let given = given.try_clone().map_err(failed)?;
            given.set_nonblocking(true).map_err(failed)?;
            TcpListener::from_std(given).map_err(failed)?
        }
        None => TcpListener::bind(address).await.map_err(failed)?,
    };
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Opens a UDP port, unless it was given.
fn udp_socket(address: SocketAddr, given: Option<&std::net::UdpSocket>) -> Result<UdpSocket, BindError> {
    let Some(given) = given else { return Udp { address, device: None }.bind() };
    bind::prepared(given).map_err(|error| BindError::new(Protocol::Udp, address, error))
}

/// A server that has all its ports.
pub struct Server {
    app: Arc<App>,
    http: http::Ports,
    http_address: SocketAddr,
    https_address: Option<SocketAddr>,
    tftp: Option<TftpServer>,
    dhcp: DhcpServer,
    cluster: Option<Place>,
}

impl Server {
    /// Opens every port. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When a port cannot be opened or an interface cannot be used; then none stays open.
    pub async fn bind(app: Arc<App>, options: Options) -> Result<Self, ServeError> {
        let given = options.given;
        given.say_unused(options.https.is_some(), options.tftp.is_some());
        let (http, http_address) = listen(options.http, given.http.clone()).await?;
        let (https, https_address) = match options.https {
            Some(address) => {
                let (listener, address) = listen(address, given.https.clone()).await?;
                (Some(listener), Some(address))
            }
            None => (None, None),
        };
        let http = http::Ports { http, https };
        let observer: Arc<dyn Observer> = Arc::clone(&app) as _;
        let tftp = match options.tftp {
            Some(address) => {
                let files = Arc::new(BootFiles { app: Arc::clone(&app), http: http_address });
                let socket = udp_socket(address, given.tftp.as_deref())?;
                Some(TftpServer::on(socket, options.tftp_ports, files, Arc::clone(&observer)))
            }
            None => None,
        };
        let settings = dhcp::Settings {
            listen: options.dhcp,
            leases: Some(options.leases),
            port: options.dhcp_port,
            boot_port: options.pxe_port,
            given,
            http_port: http_address.port(),
        };
        let dhcp = DhcpServer::bind(settings, options.rules, observer, Arc::clone(&app.attempts))?;
        Ok(Self { app, http, http_address, https_address, tftp, dhcp, cluster: options.cluster })
    }

    /// What listens where, one line each.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let mut lines = vec![format!("HTTP on {}", self.http_address)];
        lines.extend(self.https_address.map(|address| format!("HTTPS on {address}")));
        lines.extend(
            self.tftp.as_ref().and_then(|tftp| tftp.address().ok()).map(|address| format!("TFTP on {address}")),
        );
        lines.extend(self.dhcp.addresses().into_iter().map(|(port, address)| match port {
            Port::Server => format!("DHCP on {address}"),
            Port::Boot => format!("PXE boot server on {address}"),
        }));
        lines
    }

    /// Serves until `stop`, lets transfers end within a limit, and writes down what is known.
    ///
    /// # Errors
    /// When a part of it ended that nobody stopped.
    pub async fn run(self, stop: Stop) -> Result<(), ServeError> {
        let Self { app, http, tftp, dhcp, cluster, .. } = self;
        let Stop { gently: stop, at_once } = stop;
        let mut is_whole = true;
        let dhcp_counters = dhcp.counters();
        let tftp_counters = tftp.as_ref().map(TftpServer::counters);
        let mut tasks = JoinSet::new();
        tasks.spawn(dhcp.run(stop.clone()));
        if let Some(tftp) = tftp {
            let stop = stop.clone();
            tasks.spawn_blocking(move || {
                if let Err(problem) = tftp.run_here(stop) {
                    error!(%problem, "TFTP cannot be served");
                }
            });
        }
        let (served, http_stop) = (Arc::clone(&app), stop.clone());
        tasks.spawn(http::run(http, served, http_stop));
        tasks.spawn(rollouts::run(Arc::clone(&app), stop.clone()));
        if let Some(cluster) = cluster {
            tasks.spawn(virtual_machines::run(Arc::clone(&app), cluster, stop.clone()));
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            // None of them ends by itself.
            ended = tasks.join_next() => {
                error!(?ended, "a part of the server ended; stopping the rest");
                is_whole = false;
                stop.cancel();
            }
        }
        let drained = tokio::time::timeout(GRACE, async {
            while let Some(ended) = tasks.join_next().await {
                if let Err(panic) = ended {
                    error!(%panic, "a server stopped badly");
                }
            }
        });
        match at_once.run_until_cancelled(drained).await {
            Some(Ok(())) => {}
            Some(Err(_)) => warn!("transfers were still running and are cut off; machines ask again"),
            // As somebody wanted it.
            None => info!("what was still running is cut off; machines ask again"),
        }
        app.fleet.flush().await;
        if let Some(mirror) = &app.mirror {
            mirror.flush().await;
        }
        info!(
            dhcp.received = dhcp_counters.received.value(),
            dhcp.answered = dhcp_counters.answered.value(),
            dhcp.malformed = dhcp_counters.malformed.value(),
            tftp.received = tftp_counters.as_ref().map(|counters| counters.received.value()),
            tftp.malformed = tftp_counters.as_ref().map(|counters| counters.malformed.value()),
            tftp.completed = tftp_counters.as_ref().map(|counters| counters.completed.value()),
            tftp.lost = tftp_counters.as_ref().map(|counters| counters.lost.value()),
            check_ins.taken = app.check_ins.taken.value(),
            check_ins.unlisted = app.check_ins.unlisted.value(),
            check_ins.malformed = app.check_ins.malformed.value(),
            check_ins.unknown = app.check_ins.unknown.value(),
            check_ins.over = app.check_ins.over.value(),
            "stopped"
        );
        if is_whole { Ok(()) } else { Err(ServeError::Broken) }
    }
}
