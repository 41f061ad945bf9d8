//! Connections: accepted within a limit, and dropped when their peer stops talking or listening.

use std::io;
use std::sync::Arc;
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

/// How long a client may take to send a request's head; also how long a connection may be idle between two.
const HEAD_TIME: Duration = Duration::from_secs(60);

/// How long a request may take until its answer begins, its body included.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// How long a client may leave what it was sent unacknowledged before it counts as gone. There is no limit on a whole
/// transfer: a slow link is slow for every file.
const SILENCE: Duration = Duration::from_secs(60);

/// Rest after a socket error, so that a broken one does not turn a processor.
const BACKOFF: Duration = Duration::from_millis(100);

/// Serves connections until `stop`; then lets answers under way end.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
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

/// One connection, from its first request to its last.
async fn converse(stream: TcpStream, router: Router, stop: CancellationToken) -> Result<(), Problem> {
    let link = Link { peer: stream.peer_addr()?, local: stream.local_addr()? };
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
