//! HTTP: loaders, scripts, the files of bundles, check-ins.
//!
//! ```text
//! GET  /boot.ipxe                          the first script, the same for everybody
//! GET  /script?mac=…&uuid=…&…              the machine's own script
//! GET  /loader/NAME                        an iPXE binary, for UEFI HTTP Boot
//! GET  /autoexec.ipxe                      the way to the first script, which iPXE looks for where it came from
//! GET  /b/ID/FILE                          kernel, initramfs, modloop, overlay of a bundle
//! GET  /b/ID/site.img                      the initrd with the overlay and the site's key
//! GET  /m/DIGEST/site.img                  the same for machines whose files were made from templates to this content
//! GET  /b/ID/packages/ARCH/FILE            the bundle's packages and their signed index
//! POST /check-in                           what a booted machine reports; its first line has its token
//! POST /check-in/TOKEN                     the same, with the token here
//! GET  /alpine/BRANCH/REPOSITORY/ARCH/FILE  the caching mirror: package indexes and packages
//! GET  /alpine/BRANCH/releases/ARCH/        the caching mirror: what there is of releases, as pages of folders
//! GET  /alpine/BRANCH/releases/ARCH/FILE    the caching mirror: lists, checksums and signatures of releases, and images
//! ```
//!
//! A connection goes through `listen` (limits) and `converse` (TLS, HTTP/1 or HTTP/2, limits of time). Requests go to the
//! scripts straight away and to all else through the router, and for large files through `admission`, which lets so many
//! run at once as are of use. Files are `content`, mapped and shared; `blob` says which part of them an answer has.

mod admission;
mod blob;
mod boot;
mod check_in;
mod content;
mod converse;
mod files;
mod kind;
mod listen;
mod metered;
mod mirror;
mod patience;
pub mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, DefaultBodyLimit};
use axum::http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, head, post};
use axum::{BoxError, Router};
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use self::admission::Admission;
use self::converse::House;
use self::listen::Door;
use super::App;
use crate::model::checkin::MAX_REPORT;

/// How often blobs that nobody asks for are closed.
const CLOSING: Duration = Duration::from_secs(20);

/// How a client speaks to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// By TLS.
    Https,
}

/// Both ends of a connection: who asks, and which of our addresses it reached.
#[derive(Debug, Clone)]
pub struct Link {
    /// The client.
    pub peer: SocketAddr,
    /// The address it connected to, which is the one to tell it in URLs.
    pub local: SocketAddr,
    /// The base URL it is told, unless the site advertises another: by this address, and spoken to as it speaks to us.
    pub base: Arc<str>,
}

impl Link {
    /// The ends of a connection. An IPv4 client of an IPv6 socket is still an IPv4 client.
    pub(super) fn new(peer: SocketAddr, local: SocketAddr, scheme: Scheme) -> Self {
        let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let (peer, local) = (plain(peer), plain(local));
        let (scheme, usual) = match scheme {
            Scheme::Http => ("http", 80),
            Scheme::Https => ("https", 443),
        };
        let base = match local {
            SocketAddr::V4(local) if local.port() == usual => format!("{scheme}://{}", local.ip()),
            local => format!("{scheme}://{local}"),
        };
        Self { peer, local, base: base.into() }
    }

    /// Whether the client is a program of this computer, such as a proxy before us.
    fn is_local(&self) -> bool {
        self.peer.ip() == self.local.ip()
    }
}

/// Set on an answer that does not wait for large files of others to be sent, however long it is: firmware waits for five
/// seconds, and for a loader only.
#[derive(Debug, Clone, Copy)]
struct Prompt;

/// Where requests go; without a server, nowhere.
#[derive(Debug, Default)]
pub(super) struct Routes {
    app: Option<Arc<App>>,
    router: Router,
}

impl Routes {
    /// Every route of a server.
    fn new(app: Arc<App>) -> Self {
        Self { router: router(Arc::clone(&app)), app: Some(app) }
    }

    /// Answers a request. The two that all machines make at once when a fleet is turned on do not go through the router,
    /// which takes as long as their answers do.
    async fn answer<B>(&self, request: Request<B>, link: &Link) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        if let Some(app) = self.app.as_ref().filter(|_| request.method() == Method::GET) {
            match request.uri().path() {
                "/boot.ipxe" => return boot::first(app, link),
                // In a box, as the way through the router: what is being answered is moved into its connection.
                "/script" => return Box::pin(boot::own(app, link, request.uri())).await,
                _ => {}
            }
        }
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(link.clone()));
        let Ok(response) = Box::pin(self.router.clone().oneshot(request)).await;
        response
    }
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/boot.ipxe", head(boot::head_of_first))
        .route("/script", head(boot::head_of_own))
        .route("/autoexec.ipxe", get(boot::root_autoexec))
        .route("/loader/{*path}", get(files::loader))
        .route("/b/{bundle}/{*path}", get(files::file))
        .route("/m/{files}/site.img", get(files::own))
        .route("/alpine/", get(mirror::root))
        .route("/alpine/{*path}", get(mirror::file))
        .route("/check-in", post(check_in::by_report))
        .route("/check-in/{token}", post(check_in::by_url))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_REPORT))
        .with_state(app)
}

async fn nothing_here() -> Response {
    plain(StatusCode::NOT_FOUND, "there is nothing at this address; machines begin at /boot.ipxe\n")
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let (allowed, text) = if uri.path().starts_with("/check-in") {
        ("POST", "a check-in is made with POST\n".to_owned())
    } else {
        ("GET,HEAD", format!("{method} means nothing here; this is read with GET or HEAD\n"))
    };
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, text);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The ports HTTP is served on.
pub(super) struct Ports {
    pub(super) http: TcpListener,
    pub(super) https: Option<TcpListener>,
}

/// Serves until `stop`, then lets running transfers end.
pub(super) async fn run(ports: Ports, app: Arc<App>, stop: CancellationToken) {
    let house =
        House { routes: Routes::new(Arc::clone(&app)), admission: Arc::new(Admission::new(app.transfers)), stop };
    let house = Arc::new(house);
    let mut doors = vec![Door { listener: ports.http, tls: None }];
    doors.extend(ports.https.map(|listener| Door { listener, tls: Some(app.rules.clone()) }));
    let close_idle = async {
        loop {
            tokio::time::sleep(CLOSING).await;
            app.blobs.close_idle();
        }
    };
    tokio::select! {
        () = listen::serve(doors, house) => {}
        () = close_idle => {}
    }
}

/// A short text answer.
fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text.into()).into_response()
}
