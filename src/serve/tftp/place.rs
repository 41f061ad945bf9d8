//! Room for transfers: how many there may be, in all and for one client, and what is going on with whom.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Transfers at a time, in all. Each has a socket and some hundred bytes; the file is shared.
const MAX_TRANSFERS: usize = 1024;

/// Transfers at a time for one client address.
pub(super) const MAX_PER_CLIENT: usize = 16;

/// The room a server has.
pub(super) struct Room {
    free: Arc<Semaphore>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    transfers: HashMap<SocketAddr, Arc<Handle>>,
    per_client: HashMap<IpAddr, usize>,
}

/// The server's end of a running transfer.
#[derive(Default)]
struct Handle {
    stop: CancellationToken,
    seen: AtomicBool,
}

/// Keeps a transfer's place; gives it back however the transfer ends.
pub(super) struct Place {
    room: Arc<Room>,
    peer: SocketAddr,
    handle: Arc<Handle>,
    _permit: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(MAX_TRANSFERS)), running: Mutex::default() })
    }

    /// A place for a transfer to `peer`, if the limits have room.
    ///
    /// A second request from the same port is a repetition as long as the first transfer has not been answered, and
    /// that one sends again by itself. Afterwards the client has begun anew, and the old transfer is over.
    pub(super) fn place(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = running.transfers.get(&peer) {
            if !old.seen.load(Ordering::Relaxed) {
                return None;
            }
            old.stop.cancel();
        }
        let count = running.per_client.get(&peer.ip()).copied().unwrap_or_default();
        if count >= MAX_PER_CLIENT {
            return None;
        }
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        let handle = Arc::new(Handle::default());
        running.per_client.insert(peer.ip(), count + 1);
        running.transfers.insert(peer, Arc::clone(&handle));
        Some(Place { room: Arc::clone(self), peer, handle, _permit: permit })
    }
}

impl Place {
    /// The client answered: from now on, another request of it is a new beginning.
    pub(super) fn set_seen(&self) {
        self.handle.seen.store(true, Ordering::Relaxed);
    }

    /// Ends when the client has begun anew elsewhere.
    pub(super) async fn replaced(&self) {
        self.handle.stop.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.room.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(entry) = running.transfers.entry(self.peer)
            && Arc::ptr_eq(entry.get(), &self.handle)
        {
            entry.remove();
        }
        if let Entry::Occupied(mut entry) = running.per_client.entry(self.peer.ip()) {
            match entry.get() {
                0 | 1 => drop(entry.remove()),
                count => {
                    let left = count - 1;
                    entry.insert(left);
                }
            }
        }
    }
}
