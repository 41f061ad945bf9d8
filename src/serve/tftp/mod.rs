//! TFTP: the first program firmware takes from the network, and nothing else; everything after it goes by HTTP.
//!
//! Read only, octet only, and from memory. Each transfer has a socket of its own, bound to the address the client asked
//! (RFC 1350, section 4), or, for networks behind address translation, all of them share the server's
//! ([`TransferPorts`]). [`transfer`] is the protocol, without a socket or a clock; a session gives it both; the room
//! bounds how many there are. Windows (RFC 7440) leave as one datagram that the kernel cuts, where it can.
//!
//! # Why our own
//!
//! Of the crates there are, only `async-tftp` serves files that are no files, which loaders and scripts are. It ignores
//! the ERROR by which UEFI firmware ends its question for the size, and goes on sending to a port that is closed, for
//! minutes; it does not answer a second request from the same port; a lost first block of a window waits for the full
//! timeout; it runs all transfers in one task on a reactor of its own, keeps a window's bytes for each of them, and
//! answers from an address that the kernel chooses. None of it can be mended from outside. So it is the peer that
//! `scripts/bench tftp` measures, and nothing else.

mod alert;
mod line;
mod pace;
mod place;
mod session;
pub mod transfer;

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::place::{Ask, NoPlace, Room};
use self::session::Session;
use super::bind::{BindError, Udp};
use super::counters::TftpCounters;
use super::observe::Observer;
use super::udp::{self, Outgoing, Received, Route};
use crate::model::boot::Step;
use crate::model::mac::Mac;
use crate::model::net::TransferPorts;
use crate::wire::tftp::{Packet, Request, error_code};

/// How many bytes of requests may wait while others are begun: some thousand, which is a school after a power cut.
const REQUESTS_WAITING: usize = 2 << 20;

/// Longer requests are none (RFC 2347 allows 512 bytes).
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
    fn open(&self, client: Client, path: &str) -> Option<Served>;
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// The address of this computer that it asked, if the kernel said so.
    pub asked: Option<IpAddr>,
}

/// A file for one client.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its bytes.
    pub content: Bytes,
    /// The step of a boot that needs it, if one does.
    pub step: Option<Step>,
    /// The machine, if the name of the file says it.
    pub mac: Option<Mac>,
}

/// A TFTP server that has its socket.
pub struct TftpServer {
    shared: Arc<Shared>,
}

/// What the server and its transfers share.
struct Shared {
    socket: Arc<UdpSocket>,
    /// Whether the kernel cuts datagrams into segments.
    segments: bool,
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
    pub fn bind(
        listen: SocketAddr,
        ports: TransferPorts,
        files: Arc<dyn Files>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, BindError> {
        Ok(Self::on(Udp { address: listen, device: None }.bind()?, ports, files, observer))
    }

    /// The same on a socket that is open and tells where each datagram was sent to.
    pub(super) fn on(
        socket: UdpSocket,
        ports: TransferPorts,
        files: Arc<dyn Files>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let socket = Arc::new(socket);
        // More than the usual is for root; without it, requests that find no room are lost and come again.
        let _ = setsockopt(&*socket, sockopt::RcvBufForce, &REQUESTS_WAITING);
        let segments = udp::can_segment(&*socket);
        let room = Room::new(ports);
        let shared = Shared { socket, segments, files, observer, counters: Arc::default(), room };
        Self { shared: Arc::new(shared) }
    }

    /// Where it listens, with the port the kernel chose.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.shared.socket.local_addr()
    }

    /// What it has done so far; stays readable while it runs.
    #[must_use]
    pub fn counters(&self) -> Arc<TftpCounters> {
        Arc::clone(&self.shared.counters)
    }

    /// The same as [`Self::run`] on the calling thread, which it keeps, and on no other.
    ///
    /// A transfer with a window of one is nothing but waiting for an ACK and answering it, thousands of times: threads that
    /// hand this to each other spend a third more processor time on it.
    ///
    /// # Errors
    /// When the system has no room for what waits for sockets.
    pub fn run_here(self, stop: CancellationToken) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.run(stop));
        Ok(())
    }

    /// Answers until `stop`, then lets transfers end within five seconds. No packet or transfer ends it.
    pub async fn run(self, stop: CancellationToken) {
        let mut transfers = JoinSet::new();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.answer(&mut transfers) => {}
        }
        // Transfers that share the server's port have nobody else to hear for them.
        let drained = async {
            loop {
                tokio::select! {
                    ended = transfers.join_next() => match ended {
                        Some(ended) => report(ended),
                        None => break,
                    },
                    () = self.hear() => {}
                }
            }
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            info!("TFTP transfers were cut off");
        }
    }

    async fn answer(&self, transfers: &mut JoinSet<()>) {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            match udp::receive(&self.shared.socket, &mut buffer).await {
                Ok(received) => {
                    let datagram = buffer.get(..received.length).unwrap_or_default();
                    if let Some(session) = self.accept(datagram, received).await {
                        transfers.spawn(session.run());
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
    }

    /// Takes one datagram for a running transfer; begins none.
    async fn hear(&self) {
        let mut buffer = [0; MAX_DATAGRAM];
        match udp::receive(&self.shared.socket, &mut buffer).await {
            Ok(received) => {
                let datagram = buffer.get(..received.length).unwrap_or_default();
                self.shared.room.hand_over(received.peer, datagram);
            }
            Err(_) => tokio::time::sleep(BACKOFF).await,
        }
    }

    /// Looks at a datagram, and finds a place for the transfer if it asks for one.
    async fn accept(&self, datagram: &[u8], asked: Received) -> Option<Session> {
        let (counters, peer) = (&self.shared.counters, asked.peer);
        counters.received.add();
        let (code, message) = match Packet::decode(datagram) {
            Ok(Packet::Read(request)) if request.octet => match self.admit(request, asked) {
                Ok(session) => return session,
                Err(path) => {
                    info!(peer = %peer.ip(), path, "no such file for TFTP");
                    (error_code::NOT_FOUND, "no such file")
                }
            },
            Ok(Packet::Read(_)) => (error_code::OTHER, "only octet (binary) transfers are served"),
            Ok(Packet::Write(_)) => (error_code::ACCESS, "this server is read only"),
            // Meant for a transfer that has no port of its own, for one that has ended, or for nobody. Never answer an
            // ERROR, or two servers talk for ever.
            Ok(_) => {
                if !self.shared.room.hand_over(peer, datagram) {
                    counters.ignored.add();
                }
                return None;
            }
            Err(error) => {
                counters.malformed.add();
                debug!(%peer, %error, "ignored a TFTP datagram");
                // Only what tried to be a request: an answer to any noise would make two servers talk for ever.
                if matches!(datagram, [0, 1 | 2, ..]) {
                    self.refuse(asked, error_code::ILLEGAL, "the request is malformed").await;
                }
                return None;
            }
        };
        counters.refused.add();
        self.refuse(asked, code, message).await;
        None
    }

    /// A session for a request, if there is room for it; the path when there is no such file.
    fn admit(&self, request: Request, asked: Received) -> Result<Option<Session>, String> {
        let canonical = |address: IpAddr| address.to_canonical();
        let client = Client { address: canonical(asked.peer.ip()), asked: asked.local.map(canonical) };
        let Some(served) = self.shared.files.open(client, &request.path) else { return Err(request.path) };
        Ok(self.shared.begin(Ask { asked, request, served }))
    }

    /// From the server's own port: a client takes an ERROR from any (RFC 1350, section 4), and no socket is spent.
    async fn refuse(&self, asked: Received, code: u16, message: &str) {
        let packet = Packet::Error { code, message: message.to_owned() }.encode();
        let route = Route { from: asked.local, to: asked.peer };
        let parts = &[IoSlice::new(&packet)];
        if let Err(error) = udp::send_parts(&self.shared.socket, &Outgoing { parts, segment: None, route }).await {
            debug!(peer = %asked.peer, %error, "cannot send a TFTP error");
        }
    }
}

impl Shared {
    /// A transfer for a request, if there is room for one.
    fn begin(self: &Arc<Self>, ask: Ask) -> Option<Session> {
        let peer = ask.asked.peer;
        match self.room.place(ask) {
            Ok((place, datagrams, ask)) => {
                self.counters.started.add();
                Some(Session { shared: Arc::clone(self), place, datagrams, ask })
            }
            Err(why) => {
                // Silence is kinder than an error: the client asks again, and there may be room then.
                self.counters.ignored.add();
                if why == NoPlace::Full {
                    debug!(%peer, "no room for another TFTP transfer");
                }
                None
            }
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(panic) = ended {
        error!(%panic, "a TFTP transfer panicked");
    }
}

#[cfg(test)]
mod tests;
