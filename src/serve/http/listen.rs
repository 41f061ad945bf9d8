//! Connections: accepted within a limit, and dropped when their peer stops talking or listening.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, error, warn};

use super::{Link, plain};

/// How many connections may be open. iPXE and Alpine's init each use one at a time, so this is a fleet at once.
const MAX_CONNECTIONS: usize = 8192;

/// How many of them one address may have; a proxy or a router may stand before many machines.
const MAX_PER_ADDRESS: usize = 256;

/// How long a client may take to send a request's head; also how long a connection may be idle between two.
const HEAD_TIME: Duration = Duration::from_secs(20);

/// How long a request may take until its answer begins, its body included.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// How long a client may leave what it was sent unacknowledged before it counts as gone. There is no limit on a whole
/// transfer: a slow link is slow for every file.
const SILENCE: Duration = Duration::from_secs(60);

/// Rest after a socket error, so that a broken one does not turn a processor.
const BACKOFF: Duration = Duration::from_millis(100);

/// Serves connections until `stop`; then lets answers under way end.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS.min(open_files() / 2)));
    let guests = Arc::new(Guests::default());
    let mut connections = JoinSet::new();
    // The permit comes before the connection: what is over the limit waits in the kernel's queue.
    while let Some(Ok(permit)) = stop.run_until_cancelled(Arc::clone(&permits).acquire_owned()).await {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { break };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(problem) => {
                warn!(%problem, "cannot accept an HTTP connection");
                sleep(BACKOFF).await;
                continue;
            }
        };
        let Some(place) = Guests::admit(&guests, peer.ip().to_canonical()) else {
            warn!(%peer, "an address has too many HTTP connections; closed one");
            continue;
        };
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            let _place = place;
            if let Err(problem) = converse(stream, router, stop).await {
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
    fn admit(guests: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut counts = guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= MAX_PER_ADDRESS {
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

/// One connection, from its first request to its last.
async fn converse(stream: TcpStream, router: Router, stop: CancellationToken) -> Result<(), Problem> {
    let link = Link::new(stream.peer_addr()?, stream.local_addr()?);
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_user_timeout(Some(SILENCE))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE))?;
    let service = service_fn(move |request: Request<Incoming>| answer(router.clone(), request.map(Body::new), link));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .serve_connection(TokioIo::new(stream), service)
    );
    if let Some(ended) = stop.run_until_cancelled(connection.as_mut()).await {
        return Ok(ended?);
    }
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}

/// One request, told who asks and bounded in time.
async fn answer(router: Router, mut request: Request<Body>, link: Link) -> Result<Response, std::convert::Infallible> {
    request.extensions_mut().insert(ConnectInfo(link));
    match timeout(ANSWER_TIME, router.oneshot(request)).await {
        Ok(answered) => answered,
        Err(_) => Ok(plain(StatusCode::REQUEST_TIMEOUT, "the request took too long\n")),
    }
}

/// What ends a connection before its time.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_connection_and_gets_its_places_back() {
        let guests = Arc::new(Guests::default());
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut places: Vec<Place> = (0..MAX_PER_ADDRESS).filter_map(|_| Guests::admit(&guests, one)).collect();
        assert_eq!(places.len(), MAX_PER_ADDRESS);
        assert!(Guests::admit(&guests, one).is_none());
        assert!(Guests::admit(&guests, other).is_some());
        places.pop();
        assert!(Guests::admit(&guests, one).is_some());
        places.clear();
        assert!(guests.0.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_finishes_its_request_is_hung_up_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, Router::new(), stop.clone()));
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
