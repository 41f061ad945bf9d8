//! One connection, from its handshake to its last answer: HTTP/1 as machines speak it, and HTTP/2 with those who choose
//! it by TLS. Every wait for the peer is bounded.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, Client, Manner, SentAway, Slot, Standing};
use super::{Link, Prompt, Routes, Scheme, plain};

/// How long a client may take to send a request's head; also how long a connection may be idle between two.
const HEAD_TIME: Duration = Duration::from_secs(20);

/// How long a client may take to agree on keys.
const HANDSHAKE_TIME: Duration = Duration::from_secs(20);

/// How long a request may take until its answer begins, its body included; without the time it waits for others.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// How long a client may leave what it was sent unacknowledged before it counts as gone. There is no limit on a whole
/// transfer: a slow link is slow for every file.
const SILENCE: Duration = Duration::from_secs(60);

/// The largest head of a request, in bytes. A machine's question for its script has some hundred.
const MAX_HEAD: usize = 32 << 10;

/// How many bytes are sealed ahead of what the client takes: one record of TLS, for each of a thousand slow clients.
const MAX_SEALED: usize = 16 << 10;

/// How many requests one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 32;

/// From how many bytes on an answer counts as a large file. What is smaller is sent before a queue would be any better.
const LARGE: u64 = 1 << 20;

/// What every connection needs.
#[derive(Debug)]
pub(super) struct House {
    pub(super) routes: Routes,
    pub(super) admission: Arc<Admission>,
    pub(super) stop: CancellationToken,
}

/// One connection. Its requests share this alone, and nothing with other connections that they would have to count.
#[derive(Debug)]
struct Conversation {
    house: Arc<House>,
    link: Link,
}

/// What ends a connection before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("no agreement on keys within {} s", HANDSHAKE_TIME.as_secs())]
    Handshake,
}

/// Serves one connection until its peer, an error or `stop` ends it.
pub(super) async fn converse(stream: TcpStream, tls: Option<TlsAcceptor>, house: Arc<House>) -> Result<(), Problem> {
    let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
    let link = Link::new(stream.peer_addr()?, stream.local_addr()?, scheme);
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_user_timeout(Some(SILENCE))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE))?;
    let conversation = Arc::new(Conversation { house, link });
    let Some(tls) = tls else { return speak_1(TokioIo::new(stream), conversation).await };
    let handshake = tls.accept_with(stream, |session| session.set_buffer_limit(Some(MAX_SEALED)));
    let stream = timeout(HANDSHAKE_TIME, handshake).await.map_err(|_| Problem::Handshake)??;
    if stream.get_ref().1.alpn_protocol() == Some(super::tls::HTTP_2) {
        speak_2(TokioIo::new(stream), conversation).await
    } else {
        speak_1(TokioIo::new(stream), conversation).await
    }
}

/// HTTP/1.0 and 1.1.
async fn speak_1(stream: impl Read + Write + Unpin + 'static, conversation: Arc<Conversation>) -> Result<(), Problem> {
    let stop = conversation.house.stop.child_token();
    let service = service_fn(move |request| answer(Arc::clone(&conversation), request));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(MAX_HEAD)
            .serve_connection(stream, service)
    );
    if let Some(ended) = stop.run_until_cancelled(connection.as_mut()).await {
        return Ok(ended?);
    }
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}

/// HTTP/2.
async fn speak_2(
    stream: impl Read + Write + Unpin + Send + 'static,
    conversation: Arc<Conversation>,
) -> Result<(), Problem> {
    let stop = conversation.house.stop.child_token();
    let service = service_fn(move |request| answer(Arc::clone(&conversation), request));
    let mut connection = std::pin::pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(HEAD_TIME)
            .keep_alive_timeout(HEAD_TIME)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD as u32)
            .serve_connection(stream, service)
    );
    if let Some(ended) = stop.run_until_cancelled(connection.as_mut()).await {
        return Ok(ended?);
    }
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}

/// One request, told who asks, bounded in time, and let in when its answer is a large file.
async fn answer(conversation: Arc<Conversation>, request: Request<Incoming>) -> Result<Response, Infallible> {
    let Conversation { house, link } = conversation.as_ref();
    let manner = manner(request.headers().get(header::USER_AGENT));
    let Ok(response) = timeout(ANSWER_TIME, house.routes.answer(request, link)).await else {
        return Ok(plain(StatusCode::REQUEST_TIMEOUT, "the request took too long\n"));
    };
    // The answer to HEAD has no body here.
    if response.body().size_hint().lower() < LARGE || response.extensions().get::<Prompt>().is_some() {
        return Ok(response);
    }
    let standing = if link.is_local() { Standing::Local } else { Standing::Machine };
    let client = Client { address: link.peer.ip(), standing, manner };
    match house.admission.admit(client).await {
        Ok(slot) => Ok(response.map(|body| Body::new(Admitted { body, slot: Some(slot) }))),
        Err(SentAway { retry_after }) => {
            let text = "too many machines are loading large files; ask again after the time in Retry-After\n";
            let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, text);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
            Ok(response)
        }
    }
}

/// Only iPXE obeys `Retry-After` by itself, whatever it loads (netboot.md, E3).
fn manner(agent: Option<&HeaderValue>) -> Manner {
    if agent.is_some_and(|agent| agent.as_bytes().starts_with(b"iPXE/")) { Manner::ComesBack } else { Manner::Waits }
}

/// A body whose transfer was let in, and is over when its last byte was handed to the kernel.
struct Admitted {
    body: Body,
    slot: Option<Slot>,
}

/// The last bytes of a transfer.
struct Last {
    bytes: Bytes,
    _slot: Slot,
}

impl AsRef<[u8]> for Last {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl hyper::body::Body for Admitted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        // The connection forgets the body as soon as it has the last frame, and sends that later.
        let is_last = self.body.is_end_stream();
        let frame = frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|bytes| match self.slot.take_if(|_| is_last) {
                    Some(slot) => Bytes::from_owner(Last { bytes, _slot: slot }),
                    None => bytes,
                })
            })
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
