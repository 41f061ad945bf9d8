//! DHCP: boot information for firmware, and addresses where no other server gives them.
//!
//! [`decide`](decide::decide) makes the answers; here are the sockets.

mod boot;
mod client;
pub mod decide;
pub mod leases;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::decide::{Facts, Port, Request, decide};
use self::leases::LeaseTable;
use super::bind::{BindError, Udp};
use super::counters::DhcpCounters;
use super::interfaces::Interface;
use super::loaders::Loaders;
use super::observe::Observer;
use super::udp;
use crate::model::net::DhcpMode;
use crate::wire::dhcp::Packet;

pub use self::boot::{LOADER_PATH, SCRIPT_PATH};
pub use self::client::Client;

/// Longer datagrams are none of ours: no client sends more than one Ethernet frame.
const MAX_DATAGRAM: usize = 2048;

/// Rest after a socket error, so that a broken one does not turn a processor.
const BACKOFF: Duration = Duration::from_millis(100);

/// What the server is told to do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What it does; [`DhcpMode::Off`] opens no socket.
    pub mode: DhcpMode,
    /// Where it listens.
    pub listen: Listen,
    /// The server port, 67; 0 lets the kernel choose.
    pub port: u16,
    /// The boot server port, 4011; 0 lets the kernel choose.
    pub boot_port: u16,
    /// The port of the HTTP server, for URLs.
    pub http_port: u16,
    /// The base URL of the HTTP server, without a final slash, when it is not the address a client reached us by.
    pub advertise: Option<String>,
}

/// Where a server listens.
#[derive(Debug, Clone)]
pub enum Listen {
    /// On interfaces, each with its own sockets: broadcasts are heard, and answers leave where questions came from.
    Interfaces(Vec<Interface>),
    /// On one address, for relays and tests: no broadcast is heard. On 0.0.0.0 the address of each packet counts.
    Address(Ipv4Addr),
}

/// A DHCP server that has its sockets.
#[derive(Debug)]
pub struct DhcpServer {
    sockets: Vec<Listening>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Listening {
    socket: UdpSocket,
    port: Port,
    /// Our address there, or unspecified.
    address: Ipv4Addr,
}

struct Shared {
    mode: DhcpMode,
    http_port: u16,
    advertise: Option<String>,
    loaders: Arc<Loaders>,
    observer: Arc<dyn Observer>,
    counters: Arc<DhcpCounters>,
    leases: Mutex<LeaseTable>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl DhcpServer {
    /// Opens the sockets. Must be called within a Tokio runtime.
    ///
    /// In proxy mode port 67 is shared with a DHCP server on this computer, if that one shares it too; in full mode
    /// there is no second server, and a taken port is an error.
    ///
    /// # Errors
    /// When a socket cannot be opened; none stays open then.
    pub fn bind(settings: Settings, loaders: Arc<Loaders>, observer: Arc<dyn Observer>) -> Result<Self, BindError> {
        let Settings { mode, listen, port, boot_port, http_port, advertise } = settings;
        let places: Vec<(Option<String>, Ipv4Addr)> = match listen {
            _ if mode == DhcpMode::Off => Vec::new(),
            Listen::Interfaces(interfaces) => interfaces.into_iter().map(|own| (Some(own.name), own.address)).collect(),
            Listen::Address(address) => vec![(None, address)],
        };
        let mut sockets = Vec::new();
        for (device, address) in &places {
            for (kind, port, shared) in [(Port::Server, port, mode == DhcpMode::Proxy), (Port::Boot, boot_port, false)]
            {
                // A socket bound to an address hears no broadcast; one bound to a device needs no address.
                let bound = if device.is_some() { Ipv4Addr::UNSPECIFIED } else { *address };
                let socket = Udp { address: (bound, port).into(), device: device.as_deref(), shared }.bind()?;
                sockets.push(Listening { socket, port: kind, address: *address });
            }
        }
        let mut reserved: Vec<Ipv4Addr> = places.into_iter().map(|(_, address)| address).collect();
        if let DhcpMode::Full(pool) = &mode {
            reserved.extend(pool.router());
            reserved.extend(pool.dns());
        }
        let leases = Mutex::new(LeaseTable::reserving(reserved));
        let counters = Arc::default();
        let shared = Arc::new(Shared { mode, http_port, advertise, loaders, observer, counters, leases });
        Ok(Self { sockets, shared })
    }

    /// Where it listens, with the ports the kernel chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<(Port, SocketAddr)> {
        let address = |own: &Listening| {
            let bound = own.socket.local_addr().ok()?;
            Some((own.port, SocketAddr::new(IpAddr::V4(own.address), bound.port())))
        };
        self.sockets.iter().filter_map(address).collect()
    }

    /// What it has done so far; stays readable while it runs.
    #[must_use]
    pub fn counters(&self) -> Arc<DhcpCounters> {
        Arc::clone(&self.shared.counters)
    }

    /// Answers until `stop`. No socket or packet ends it.
    pub async fn run(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        for listening in self.sockets {
            tasks.spawn(listening.run(Arc::clone(&self.shared), stop.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(panic) = ended {
                error!(%panic, "a DHCP socket stopped being served");
            }
        }
        stop.cancelled().await;
    }
}

impl Listening {
    async fn run(self, shared: Arc<Shared>, stop: CancellationToken) {
        let mut buffer = [0; MAX_DATAGRAM];
        while let Some(received) = stop.run_until_cancelled(udp::receive(&self.socket, &mut buffer)).await {
            let received = match received {
                Ok(received) => received,
                Err(error) => {
                    warn!(%error, "DHCP receive failed");
                    tokio::time::sleep(BACKOFF).await;
                    continue;
                }
            };
            let SocketAddr::V4(source) = received.peer else {
                continue;
            };
            let address = match received.local {
                Some(IpAddr::V4(local)) if self.address.is_unspecified() => local,
                _ => self.address,
            };
            let datagram = buffer.get(..received.length).unwrap_or_default();
            self.serve(&shared, datagram, source, address).await;
        }
    }

    async fn serve(&self, shared: &Shared, datagram: &[u8], source: SocketAddrV4, address: Ipv4Addr) {
        let counters = &shared.counters;
        counters.received.add();
        let packet = match Packet::decode(datagram) {
            Ok(packet) => packet,
            Err(error) => {
                counters.malformed.add();
                debug!(%source, %error, "ignored a datagram");
                return;
            }
        };
        let Some((bytes, destination)) = shared.answer(&packet, self.port, source, address) else {
            counters.ignored.add();
            return;
        };
        match udp::send(&self.socket, &bytes, address, destination).await {
            Ok(()) => counters.answered.add(),
            Err(error) => {
                counters.unsent.add();
                warn!(%destination, %error, "cannot send a DHCP answer");
            }
        }
    }
}

impl Shared {
    fn answer(
        &self,
        packet: &Packet,
        port: Port,
        source: SocketAddrV4,
        address: Ipv4Addr,
    ) -> Option<(Vec<u8>, SocketAddrV4)> {
        let own_url;
        let base_url = match &self.advertise {
            Some(url) => url,
            None => {
                own_url = format!("http://{address}:{}", self.http_port);
                &own_url
            }
        };
        let facts = Facts { address, mode: &self.mode, base_url, loaders: &self.loaders };
        let request = Request { packet, port, source };
        let decision = {
            let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
            decide(&request, &facts, &mut leases, Instant::now())
        };
        for seen in decision.seen {
            let mac = seen.mac.map(|mac| mac.to_string()).unwrap_or_default();
            if decision.reply.is_none() {
                info!(mac, reason = %seen.detail, "a client is not answered");
            } else {
                debug!(mac, step = %seen.step, detail = %seen.detail, "DHCP");
            }
            // A computer that only wants an address is no machine of ours.
            if !matches!(Client::of(packet), Client::System) {
                self.observer.observe(seen);
            }
        }
        decision.reply.map(|reply| (reply.encode(), reply.destination))
    }
}

#[cfg(test)]
mod tests;
