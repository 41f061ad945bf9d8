//! TFTP: the first program firmware takes from the network, and nothing else; everything after it goes by HTTP.
//!
//! Read only and from memory. Each transfer has a socket of its own, connected to its client and bound to the address
//! the client asked (RFC 1350, section 4).

mod place;
mod transfer;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::socket::{getsockopt, sockopt};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::place::{Place, Room};
use super::bind::{BindError, Udp};
use super::counters::TftpCounters;
use super::observe::{Observed, Observer, Sent};
use super::udp;
use crate::model::boot::Step;
use crate::wire::tftp::{Packet, Request, error_code};

pub use self::transfer::{Limits, Outcome, Transfer, refusal};

/// The largest block: one Ethernet frame with IPv4 and UDP headers and VLAN tags to spare. Fragments are what ROMs
/// cannot join.
const MAX_BLOCK: u16 = 1468;

/// IPv4, UDP and TFTP headers.
const HEADERS_V4: u16 = 32;

/// IPv6, UDP and TFTP headers.
const HEADERS_V6: u16 = 52;

/// What a network takes when the kernel does not tell.
const ETHERNET_MTU: u16 = 1500;

/// The largest window. More gains little on a local network and costs bursts.
const MAX_WINDOW: u16 = 16;

/// Longer requests are none.
const MAX_DATAGRAM: usize = 2048;

/// Rest after a socket error.
const BACKOFF: Duration = Duration::from_millis(100);

/// How long transfers may go on after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Where the content comes from.
pub trait Files: Send + Sync + 'static {
    /// The file of this name for this client, or nothing when there is none. The path has no leading slash and may
    /// hold anything else, `..` too: it is a name to look up, not a place. Called from the server's task: must answer
    /// from memory and never block.
    fn open(&self, peer: IpAddr, path: &str) -> Option<Bytes>;
}

/// A TFTP server that has its socket.
pub struct TftpServer {
    socket: UdpSocket,
    shared: Arc<Shared>,
}

struct Shared {
    files: Arc<dyn Files>,
    observer: Arc<dyn Observer>,
    counters: Arc<TftpCounters>,
    room: Arc<Room>,
}

impl TftpServer {
    /// Opens the socket. Must be called within a Tokio runtime. Port 0 lets the kernel choose.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn bind(listen: SocketAddr, files: Arc<dyn Files>, observer: Arc<dyn Observer>) -> Result<Self, BindError> {
        let socket = Udp { address: listen, device: None, shared: false }.bind()?;
        let shared = Shared { files, observer, counters: Arc::default(), room: Room::new() };
        Ok(Self { socket, shared: Arc::new(shared) })
    }

    /// Where it listens, with the port the kernel chose.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What it has done so far; stays readable while it runs.
    #[must_use]
    pub fn counters(&self) -> Arc<TftpCounters> {
        Arc::clone(&self.shared.counters)
    }

    /// Answers until `stop`, then lets transfers end within five seconds. No packet or transfer ends it.
    pub async fn run(self, stop: CancellationToken) {
        let mut transfers = JoinSet::new();
        let mut buffer = [0; MAX_DATAGRAM];
        while let Some(received) = stop.run_until_cancelled(udp::receive(&self.socket, &mut buffer)).await {
            match received {
                Ok(received) => {
                    let datagram = buffer.get(..received.length).unwrap_or_default();
                    if let Some(session) = self.accept(datagram, received.peer).await {
                        transfers.spawn(session.run(received.local));
                    }
                }
                Err(error) => {
                    warn!(%error, "TFTP receive failed");
                    tokio::time::sleep(BACKOFF).await;
                }
            }
            while let Some(ended) = transfers.try_join_next() {
                report(ended);
            }
        }
        let drained = async {
            while let Some(ended) = transfers.join_next().await {
                report(ended);
            }
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            info!("TFTP transfers were cut off");
        }
    }

    /// Looks at a datagram, and finds a place for the transfer if it asks for one.
    async fn accept(&self, datagram: &[u8], peer: SocketAddr) -> Option<Session> {
        let counters = &self.shared.counters;
        counters.received.add();
        let refused = match Packet::decode(datagram) {
            Ok(Packet::Read(request)) if request.octet => {
                let place = self.shared.room.place(peer);
                if place.is_none() {
                    // Silence is kinder than an error: the client asks again, and there may be room then.
                    counters.ignored.add();
                    debug!(%peer, path = request.path, "no room for another TFTP transfer");
                }
                return place.map(|place| Session { shared: Arc::clone(&self.shared), place, peer, request });
            }
            Ok(Packet::Read(_)) => (error_code::OTHER, "only octet transfers are served"),
            Ok(Packet::Write(_)) => (error_code::ACCESS, "this server is read only"),
            // Meant for a transfer that has ended, or for nobody. Never answer an ERROR, or two servers talk for ever.
            Ok(_) => {
                counters.ignored.add();
                return None;
            }
            Err(error) => {
                counters.malformed.add();
                debug!(%peer, %error, "ignored a TFTP datagram");
                // Only what tried to be a request: an answer to any noise would make two servers talk for ever.
                if !matches!(datagram, [0, 1 | 2, ..]) {
                    return None;
                }
                self.send_refusal(peer, error_code::ILLEGAL, "the request is malformed").await;
                return None;
            }
        };
        counters.refused.add();
        self.send_refusal(peer, refused.0, refused.1).await;
        None
    }

    /// From the server's own port: a client takes an ERROR from any (RFC 1350, section 4), and no socket is spent.
    async fn send_refusal(&self, peer: SocketAddr, code: u16, message: &str) {
        if let Err(error) = self.socket.send_to(&refusal(code, message), peer).await {
            debug!(%peer, %error, "cannot send a TFTP error");
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(panic) = ended {
        error!(%panic, "a TFTP transfer panicked");
    }
}

/// A transfer on its way.
struct Session {
    shared: Arc<Shared>,
    place: Place,
    peer: SocketAddr,
    request: Request,
}

impl Session {
    async fn run(self, local: Option<IpAddr>) {
        let (peer, path) = (self.peer, &self.request.path);
        let counters = &self.shared.counters;
        let started = Instant::now();
        match self.transfer(local).await {
            Ok(Some((Outcome::Completed, transfer, size))) => {
                counters.completed.add();
                counters.bytes.add_many(size);
                info!(
                    %peer, path, size, block = transfer.block_size(), window = transfer.window_size(),
                    took = ?started.elapsed(), "sent by TFTP"
                );
                let sent = Some(Sent { bytes: size, of: size, took: started.elapsed() });
                let detail = path.clone();
                self.shared.observer.observe(Observed {
                    mac: None,
                    peer: Some(peer.ip()),
                    step: Step::Loader,
                    detail,
                    sent,
                });
            }
            Ok(Some((Outcome::Cancelled { probe, code, message }, ..))) => {
                counters.cancelled.add();
                debug!(%peer, path, probe, code, message, "the client ended a TFTP transfer");
            }
            Ok(Some((Outcome::Lost, ..))) => {
                counters.lost.add();
                info!(%peer, path, "the client of a TFTP transfer fell silent");
            }
            Ok(None) => {
                counters.refused.add();
                info!(%peer, path, "no such file for TFTP");
            }
            Err(error) => {
                counters.lost.add();
                debug!(%peer, path, %error, "a TFTP transfer failed");
            }
        }
    }

    /// Runs the transfer. Nothing when there is no such file.
    async fn transfer(&self, local: Option<IpAddr>) -> io::Result<Option<(Outcome, Transfer, u64)>> {
        let content = self.shared.files.open(self.peer.ip(), &self.request.path);
        if content.is_some() {
            self.shared.counters.started.add();
        }
        let socket = connect(local, self.peer).await?;
        let Some(content) = content else {
            socket.send(&refusal(error_code::NOT_FOUND, "no such file")).await?;
            return Ok(None);
        };
        let size = content.len() as u64;
        let limits = Limits { block_size: largest_block(&socket, self.peer), window_size: MAX_WINDOW };
        let mut transfer = Transfer::new(&self.request, content, limits, Instant::now());
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            while let Some(packet) = transfer.next_packet() {
                socket.send(&packet).await?;
            }
            if let Some(outcome) = transfer.outcome().cloned() {
                return Ok(Some((outcome, transfer, size)));
            }
            tokio::select! {
                () = self.place.replaced() => {
                    let message = "began anew".to_owned();
                    let outcome = Outcome::Cancelled { probe: false, code: error_code::OTHER, message };
                    return Ok(Some((outcome, transfer, size)));
                }
                received = tokio::time::timeout_at(transfer.deadline().into(), socket.recv(&mut buffer)) => match received {
                    Ok(length) => {
                        if let Ok(packet) = Packet::decode(buffer.get(..length?).unwrap_or_default()) {
                            transfer.receive(&packet, Instant::now());
                            if transfer.is_seen() {
                                self.place.set_seen();
                            }
                        }
                    }
                    Err(_) => transfer.time_out(Instant::now()),
                },
            }
        }
    }
}

/// The transfer's own socket: from the address the client asked, so that its firewall and its firmware take the
/// answer; connected, so that nobody else's packets arrive and a client that is gone is noticed.
async fn connect(local: Option<IpAddr>, peer: SocketAddr) -> io::Result<UdpSocket> {
    let any =
        if peer.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((local.unwrap_or(any), 0)).await?;
    socket.connect(peer).await?;
    Ok(socket)
}

/// The largest block that makes no fragments on the way to the client, as far as the first network goes.
fn largest_block(socket: &UdpSocket, peer: SocketAddr) -> u16 {
    let known = match peer {
        SocketAddr::V4(_) => getsockopt(socket, sockopt::IpMtu).ok().and_then(|mtu| u16::try_from(mtu).ok()),
        SocketAddr::V6(_) => None,
    };
    let headers = if peer.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
    known.unwrap_or(ETHERNET_MTU).saturating_sub(headers).clamp(8, MAX_BLOCK)
}

#[cfg(test)]
mod tests;
