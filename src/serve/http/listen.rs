//! Connections: accepted within a limit, of all and of each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, warn};

use super::converse::{House, converse};
use crate::serve::rules::InForce;

/// How many connections may be open. iPXE and Alpine's init each use one at a time, so this is a fleet at once.
const MAX_CONNECTIONS: usize = 8192;

/// How many of them one address may have; a proxy or a router may stand before many machines.
const MAX_PER_ADDRESS: usize = 256;

/// Rest after a socket error, so that a broken one does not turn a processor.
const BACKOFF: Duration = Duration::from_millis(100);

/// A port, and how it is spoken to there.
pub(super) struct Door {
    pub(super) listener: TcpListener,
    /// Where the certificate is, which may be renewed; in the clear without.
    pub(super) tls: Option<InForce>,
}

/// Serves connections to all doors until the house stops; then lets answers under way end.
pub(super) async fn serve(doors: Vec<Door>, house: Arc<House>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS.min(open_files() / 2)));
    let guests = Arc::new(Guests::default());
    let mut open = JoinSet::new();
    for door in doors {
        open.spawn(keep(door, Arc::clone(&house), Arc::clone(&permits), Arc::clone(&guests)));
    }
    while let Some(ended) = open.join_next().await {
        if let Err(panic) = ended {
            error!(%panic, "an HTTP server panicked");
        }
    }
}

/// Serves connections to one door.
async fn keep(door: Door, house: Arc<House>, permits: Arc<Semaphore>, guests: Arc<Guests>) {
    let stop = house.stop.clone();
    let mut connections = JoinSet::new();
    // The permit comes before the connection: what is over the limit waits in the kernel's queue.
    while let Some(Ok(permit)) = stop.run_until_cancelled(Arc::clone(&permits).acquire_owned()).await {
        let Some(accepted) = stop.run_until_cancelled(door.listener.accept()).await else { break };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(problem) => {
                warn!(%problem, "cannot accept an HTTP connection");
                sleep(BACKOFF).await;
                continue;
            }
        };
        // A proxy on this computer asks for everybody.
        let is_local = stream.local_addr().is_ok_and(|local| local.ip() == peer.ip());
        let most = if is_local { MAX_CONNECTIONS } else { MAX_PER_ADDRESS };
        let Some(place) = Guests::admit(&guests, peer.ip().to_canonical(), most) else {
            warn!(%peer, "an address has too many HTTP connections; closed one");
            continue;
        };
        let tls = door.tls.as_ref().and_then(|rules| rules.now().tls.clone()).map(TlsAcceptor::from);
        let house = Arc::clone(&house);
        connections.spawn(async move {
            let _place = place;
            if let Err(problem) = converse(stream, tls, house).await {
                debug!(%peer, %problem, "an HTTP connection ended badly");
            }
            drop(permit);
        });
        while let Some(ended) = connections.try_join_next() {
            if let Err(panic) = ended {
                error!(%panic, "an HTTP connection panicked");
            }
        }
    }
    while let Some(ended) = connections.join_next().await {
        if let Err(panic) = ended {
            error!(%panic, "an HTTP connection panicked");
        }
    }
}

/// How many files this program may have open, raised to the most it may: the usual limit of 1024 is less than a fleet.
fn open_files() -> usize {
    const USUAL: u64 = 1024;
    let limit = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard).or(Ok(soft)));
    usize::try_from(limit.unwrap_or(USUAL)).unwrap_or(usize::MAX)
}

/// How many connections each address has.
#[derive(Debug, Default)]
struct Guests(Mutex<HashMap<IpAddr, usize>>);

/// A connection's place among those of its address, given up when it is dropped.
#[derive(Debug)]
struct Place {
    guests: Arc<Guests>,
    address: IpAddr,
}

impl Guests {
    /// A place for one more connection of an address that may have `most`.
    fn admit(guests: &Arc<Self>, address: IpAddr, most: usize) -> Option<Place> {
        let mut counts = guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { guests: Arc::clone(guests), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;
    use tokio_util::sync::CancellationToken;

    use super::super::Routes;
    use super::super::admission::Admission;
    use super::*;

    #[test]
    fn one_address_cannot_take_every_connection_and_gets_its_places_back() {
        let guests = Arc::new(Guests::default());
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut places: Vec<Place> =
            (0..MAX_PER_ADDRESS).filter_map(|_| Guests::admit(&guests, one, MAX_PER_ADDRESS)).collect();
        assert_eq!(places.len(), MAX_PER_ADDRESS);
        assert!(Guests::admit(&guests, one, MAX_PER_ADDRESS).is_none());
        assert!(Guests::admit(&guests, other, MAX_PER_ADDRESS).is_some());
        places.pop();
        assert!(Guests::admit(&guests, one, MAX_PER_ADDRESS).is_some());
        places.clear();
        assert!(guests.0.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_finishes_its_request_is_hung_up_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let house = House { routes: Routes::default(), admission: Arc::new(Admission::new(1)), stop: stop.clone() };
        let server = tokio::spawn(serve(vec![Door { listener, tls: None }], Arc::new(house)));
        let client = TcpStream::connect(address).await.unwrap();
        client.try_write(b"GET / HTTP/1.1\r\nHo").unwrap();
        // Time runs by itself as long as nothing else happens: the answer is the end of the connection.
        let mut rest = [0; 64];
        let ended = loop {
            client.readable().await.unwrap();
            match client.try_read(&mut rest) {
                Ok(0) | Err(_) => break true,
                Ok(_) => {}
            }
        };
        assert!(ended);
        drop(client);
        stop.cancel();
        server.await.unwrap();
    }
}
