//! Room for transfers: how many there may be, in all and for one client, and what is going on with whom.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Served;
use crate::model::net::TransferPorts;
use crate::serve::udp::Received;
use crate::wire::tftp::Request;

/// Transfers at a time, in all. Each has a socket and about a kilobyte; the file is shared.
pub(super) const MAX_TRANSFERS: usize = 4096;

/// Transfers at a time for one client address: a room full of machines may be behind one, and yet one address must not
/// take every place.
pub(super) const MAX_PER_CLIENT: usize = 1024;

/// Datagrams kept for a transfer that is busy; more are lost, as they would be in a socket's buffer.
const INBOX: usize = 8;

/// How long a client with the server's own port in common must have been silent until another request of it counts as a
/// new beginning and not as an old packet that came late.
const SILENCE: Duration = Duration::from_secs(1);

/// The datagrams of one client that arrive on the server's own port.
pub(super) type Datagrams = mpsc::Receiver<Vec<u8>>;

/// What a client asked for.
#[derive(Debug)]
pub(super) struct Ask {
    /// The envelope of its request.
    pub(super) asked: Received,
    pub(super) request: Request,
    pub(super) served: Served,
}

/// The room a server has.
#[derive(Debug)]
pub(super) struct Room {
    ports: TransferPorts,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    clients: HashMap<SocketAddr, Client>,
    per_address: HashMap<IpAddr, usize>,
    total: usize,
    last: u64,
}

/// The transfers with one port of one machine.
///
/// Two at most: a request may be one that was underway for long, or a new beginning. Which of them it is the client tells
/// by the transfer it answers; the other one goes on until then.
#[derive(Debug, Default)]
struct Client {
    /// The one the client answers.
    answered: Option<Handle>,
    /// The one it has not answered yet.
    unanswered: Option<Handle>,
    /// The request that came while it could not be told from one of these. If the client ends them, it meant another.
    repeated: Option<Ask>,
}

/// The server's end of a running transfer.
#[derive(Debug)]
struct Handle {
    number: u64,
    request: Request,
    stop: CancellationToken,
    asked_again: Arc<Notify>,
    inbox: Option<Inbox>,
}

/// Where datagrams of this client go that arrive on the server's own port.
#[derive(Debug)]
struct Inbox {
    sender: mpsc::Sender<Vec<u8>>,
    heard: Instant,
}

/// Keeps a transfer's place; gives it back however the transfer ends.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    peer: SocketAddr,
    number: u64,
    stop: CancellationToken,
    asked_again: Arc<Notify>,
}

/// Why there is no place for a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The request was repeated, and the transfer that it began knows.
    Repeated,
    /// There are as many as there may be.
    Full,
}

impl Room {
    pub(super) fn new(ports: TransferPorts) -> Arc<Self> {
        Arc::new(Self { ports, running: Mutex::default() })
    }

    /// A place for a transfer, and where its datagrams arrive when it has no port of its own.
    pub(super) fn place(self: &Arc<Self>, ask: Ask) -> Result<(Place, Option<Datagrams>, Ask), NoPlace> {
        let peer = ask.asked.peer;
        let mut running = self.lock();
        if let Some(client) = running.clients.get_mut(&peer) {
            // With one port for both, nobody could tell which of two transfers an answer belongs to.
            let old = client.unanswered.as_ref().or(client.answered.as_ref().filter(|old| old.inbox.is_some()));
            if let Some(old) = old {
                let is_active = |inbox: &Inbox| inbox.heard.elapsed() < SILENCE;
                let may_be_late = client.unanswered.is_some() || old.inbox.as_ref().is_some_and(is_active);
                if old.request == ask.request && may_be_late {
                    old.asked_again.notify_one();
                    client.repeated = Some(ask);
                    return Err(NoPlace::Repeated);
                }
                // A client that wants something else has turned away.
                old.stop.cancel();
            }
        }
        let of_address = running.per_address.get(&peer.ip()).copied().unwrap_or_default();
        if running.total >= MAX_TRANSFERS || of_address >= MAX_PER_CLIENT {
            return Err(NoPlace::Full);
        }
        running.total += 1;
        running.last += 1;
        running.per_address.insert(peer.ip(), of_address + 1);
        let (number, stop, asked_again) = (running.last, CancellationToken::new(), Arc::new(Notify::new()));
        let (inbox, datagrams) = match self.ports {
            TransferPorts::Own => (None, None),
            TransferPorts::Single => {
                let (sender, datagrams) = mpsc::channel(INBOX);
                (Some(Inbox { sender, heard: Instant::now() }), Some(datagrams))
            }
        };
        let client = running.clients.entry(peer).or_default();
        client.repeated = None;
        let (request, place_stop, place_again) = (ask.request.clone(), stop.clone(), Arc::clone(&asked_again));
        client.unanswered = Some(Handle { number, request, stop, asked_again, inbox });
        let place = Place { room: Arc::clone(self), peer, number, stop: place_stop, asked_again: place_again };
        Ok((place, datagrams, ask))
    }

    /// Hands a datagram that arrived on the server's own port to the transfer it is for. Whether there is one.
    pub(super) fn hand_over(&self, peer: SocketAddr, datagram: &[u8]) -> bool {
        let mut running = self.lock();
        let Some(client) = running.clients.get_mut(&peer) else { return false };
        let handle = client.unanswered.as_mut().or(client.answered.as_mut());
        let Some(inbox) = handle.and_then(|handle| handle.inbox.as_mut()) else { return false };
        inbox.heard = Instant::now();
        // One that finds no room is lost, and what it said is asked for again.
        let _ = inbox.sender.try_send(datagram.to_vec());
        true
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        // Each critical section leaves the counts right.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The client answered this transfer: an older one with the same port is over.
    pub(super) fn set_answered(&self) {
        let mut running = self.room.lock();
        let Some(client) = running.clients.get_mut(&self.peer) else { return };
        let Some(own) = client.unanswered.take_if(|handle| handle.number == self.number) else { return };
        // It was this one that the client asked for twice.
        client.repeated = None;
        if let Some(old) = client.answered.replace(own) {
            old.stop.cancel();
        }
    }

    /// Whether there is no other transfer.
    pub(super) fn is_alone(&self) -> bool {
        self.room.lock().total == 1
    }

    /// Ends when the client answers another transfer, or wants another file.
    pub(super) async fn replaced(&self) {
        self.stop.cancelled().await;
    }

    /// Ends when the client has repeated its request.
    pub(super) async fn asked_again(&self) {
        self.asked_again.notified().await;
    }

    /// The last request that was taken for a repeated one, once.
    pub(super) fn repeated(&self) -> Option<Ask> {
        self.room.lock().clients.get_mut(&self.peer)?.repeated.take()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.room.lock();
        running.total -= 1;
        if let Some(count) = running.per_address.get_mut(&self.peer.ip()) {
            *count -= 1;
            if *count == 0 {
                running.per_address.remove(&self.peer.ip());
            }
        }
        let Some(client) = running.clients.get_mut(&self.peer) else { return };
        for handle in [&mut client.answered, &mut client.unanswered] {
            handle.take_if(|handle| handle.number == self.number);
        }
        if client.answered.is_none() && client.unanswered.is_none() {
            running.clients.remove(&self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn address(last: u8, port: u16) -> SocketAddr {
        ([10, 0, 0, last], port).into()
    }

    fn ask(peer: SocketAddr, path: &str) -> Ask {
        Ask {
            asked: Received { length: 0, peer, local: None, is_broadcast: false, interface: None },
            request: Request::new(path),
            served: Served { content: Bytes::new(), step: None, mac: None },
        }
    }

    impl Room {
        /// A place for a client that asks for the one file there is.
        fn place_of(self: &Arc<Self>, peer: SocketAddr) -> Result<(Place, Option<Datagrams>), NoPlace> {
            self.place(ask(peer, "ipxe.efi")).map(|(place, datagrams, _)| (place, datagrams))
        }
    }

    #[test]
    fn one_address_gets_its_share_and_all_together_the_whole() {
        let room = Room::new(TransferPorts::Own);
        let mut places = Vec::new();
        for client in 1..=4 {
            for port in 1..=1024 {
                places.push(room.place_of(address(client, port)).unwrap());
            }
            assert_eq!(room.place_of(address(client, 2000)).unwrap_err(), NoPlace::Full);
        }
        assert_eq!(room.place_of(address(5, 1)).unwrap_err(), NoPlace::Full);
        drop(places.pop());
        assert!(room.place_of(address(5, 1)).is_ok(), "a place given back is one for somebody else");
        drop(places);
        let running = room.lock();
        assert!(running.clients.is_empty() && running.per_address.is_empty() && running.total == 0);
    }

    #[test]
    fn the_transfer_the_client_answers_is_the_one_that_goes_on() {
        let room = Room::new(TransferPorts::Own);
        let peer = address(1, 1);
        let (first, _) = room.place_of(peer).unwrap();
        assert_eq!(room.place_of(peer).unwrap_err(), NoPlace::Repeated);
        first.set_answered();
        let (second, _) = room.place_of(peer).unwrap();
        assert!(!first.stop.is_cancelled(), "the request may be an old one");
        drop(second);
        let (third, _) = room.place_of(peer).unwrap();
        third.set_answered();
        assert!(first.stop.is_cancelled() && !third.stop.is_cancelled());
    }

    #[test]
    fn a_client_that_wants_another_file_gets_it_at_once() {
        for ports in [TransferPorts::Own, TransferPorts::Single] {
            let (room, peer) = (Room::new(ports), address(1, 1));
            let (first, _) = room.place_of(peer).unwrap();
            let (second, _, other) = room.place(ask(peer, "snponly.efi")).unwrap();
            assert!(first.stop.is_cancelled() && !second.stop.is_cancelled());
            assert_eq!(other.request.path, "snponly.efi");
            drop(first);
            assert_eq!(room.place(ask(peer, "snponly.efi")).unwrap_err(), NoPlace::Repeated);
            assert_eq!(second.repeated().map(|ask| ask.request.path).as_deref(), Some("snponly.efi"));
            assert!(second.repeated().is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn with_one_port_for_all_a_client_begins_anew_after_a_second_of_silence() {
        let room = Room::new(TransferPorts::Single);
        let peer = address(1, 1);
        assert!(!room.hand_over(peer, b"x"));
        let (first, mut inbox) = room.place_of(peer).unwrap();
        assert!(room.hand_over(peer, b"ack"));
        assert_eq!(inbox.as_mut().unwrap().try_recv().unwrap(), b"ack");
        first.set_answered();
        assert_eq!(room.place_of(peer).unwrap_err(), NoPlace::Repeated);
        tokio::time::advance(SILENCE).await;
        let (second, _inbox) = room.place_of(peer).unwrap();
        assert!(first.stop.is_cancelled() && !second.stop.is_cancelled());
    }

    #[test]
    fn a_busy_transfer_keeps_a_bounded_number_of_datagrams() {
        let room = Room::new(TransferPorts::Single);
        let (_place, inbox) = room.place_of(address(1, 1)).unwrap();
        let mut inbox = inbox.unwrap();
        for _ in 0..100 {
            assert!(room.hand_over(address(1, 1), b"ack"));
        }
        assert_eq!(std::iter::from_fn(|| inbox.try_recv().ok()).count(), INBOX);
    }
}
