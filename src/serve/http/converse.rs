//! One connection, from its handshake to its last answer: HTTP/1 as machines speak it, and HTTP/2 with those who choose
//! it by TLS. Every wait for the peer is bounded.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, Client, Manner, SentAway, Slot, Standing};
use super::patience::Patience;
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

/// How long an HTTP/2 connection may stand still: no request comes, and no part of an answer is taken. What is below it
/// does not tell, because a client that takes nothing of any answer still takes what is said about the connection.
const STANDSTILL: Duration = Duration::from_secs(120);

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
    #[error("nothing moved for {} s", STANDSTILL.as_secs())]
    Standstill,
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
            .timer(Patience::of(HEAD_TIME))
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
    let moves = Moves::default();
    let service = service_fn(|request| {
        let (conversation, moves) = (Arc::clone(&conversation), moves.clone());
        async move {
            moves.add();
            let response = answer(conversation, request).await?;
            Ok::<_, Infallible>(response.map(|body| Body::new(Moving { body, moves })))
        }
    });
    let mut connection = std::pin::pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(Patience::of(HEAD_TIME))
            .keep_alive_interval(HEAD_TIME)
            .keep_alive_timeout(HEAD_TIME)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD as u32)
            .serve_connection(stream, service)
    );
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = stop.cancelled() => {}
        () = moves.standstill() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => Ok(ended?),
        () = moves.standstill() => Err(Problem::Standstill),
    }
}

/// How often something moved on a connection.
#[derive(Debug, Clone, Default)]
struct Moves(Arc<AtomicU64>);

impl Moves {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends when nothing has moved for [`STANDSTILL`].
    async fn standstill(&self) {
        loop {
            let before = self.0.load(Ordering::Relaxed);
            sleep(STANDSTILL).await;
            if self.0.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// A body that tells when a part of it is taken.
struct Moving {
    body: Body,
    moves: Moves,
}

impl hyper::body::Body for Moving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.moves.add();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// One request, told who asks, bounded in time, and let in when its answer is a large file.
async fn answer(conversation: Arc<Conversation>, request: Request<Incoming>) -> Result<Response, Infallible> {
    let Conversation { house, link } = conversation.as_ref();
    let manner = manner(request.headers().get(header::USER_AGENT));
    let mut answer = std::pin::pin!(house.routes.answer(request, link));
    // Of most requests the answer is there at once, and needs no clock.
    let response = match poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await {
        Poll::Ready(response) => Ok(response),
        Poll::Pending => timeout(ANSWER_TIME, answer).await,
    };
    let Ok(response) = response else {
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

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    /// How a client of HTTP/2 begins, and asks for `/` (RFC 9113, section 3.4; RFC 7541, appendix A).
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const ASKS: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";

    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const ACK: u8 = 1;

    /// Answers what a client has to answer once it has spoken, takes nothing of any file, and returns when the server hangs
    /// up.
    async fn stay(mut server: DuplexStream, has_spoken: bool) {
        let mut head = [0; 9];
        while server.read_exact(&mut head).await.is_ok() {
            let [_, high, low, kind, flags, ..] = head;
            let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
            if server.read_exact(&mut payload).await.is_err() {
                return;
            }
            if has_spoken && matches!(kind, SETTINGS | PING) && flags & ACK == 0 {
                let body = if kind == PING { payload } else { Vec::new() };
                let [.., length] = body.len().to_be_bytes();
                let answer = [&[0, 0, length, kind, ACK, 0, 0, 0, 0], &body[..]].concat();
                if server.write_all(&answer).await.is_err() {
                    return;
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_now_and_then_is_hung_up_on_only_after_its_last_question() {
        let routes = Routes { app: None, router: Router::new().route("/", get(async || "yes")) };
        let (admission, stop) = (Arc::new(Admission::new(1)), CancellationToken::new());
        let ends = (([10, 0, 0, 9], 4000).into(), ([10, 0, 0, 1], 80).into());
        let house = Arc::new(House { routes, admission, stop });
        let conversation = Conversation { house, link: Link::new(ends.0, ends.1, Scheme::Http) };
        let (ours, mut theirs) = duplex(64 << 10);
        tokio::spawn(speak_1(TokioIo::new(ours), Arc::new(conversation)));
        let began = Instant::now();
        for asked in 0..4 {
            sleep(HEAD_TIME * 3 / 4).await;
            theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let mut head = [0; 15];
            theirs.read_exact(&mut head).await.unwrap();
            assert_eq!(&head, b"HTTP/1.1 200 OK", "{asked}");
            let mut rest = Vec::new();
            while !rest.ends_with(b"yes") {
                rest.push(theirs.read_u8().await.unwrap());
            }
        }
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
        let took = began.elapsed();
        assert!((HEAD_TIME * 4..HEAD_TIME * 4 + Duration::from_secs(1)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_speaks_http_2_and_then_stands_still_is_hung_up_on() {
        for says in [vec![], vec![PREFACE], vec![PREFACE, ASKS]] {
            let large = usize::try_from(LARGE).unwrap();
            let router = Router::new().route("/", get(async move || vec![7; large]));
            let (routes, stop) = (Routes { app: None, router }, CancellationToken::new());
            let admission = Arc::new(Admission::new(1));
            let house = Arc::new(House { routes, admission: Arc::clone(&admission), stop });
            let ends = (([10, 0, 0, 9], 4000).into(), ([10, 0, 0, 1], 443).into());
            let link = Link::new(ends.0, ends.1, Scheme::Https);
            let (ours, mut theirs) = duplex(64 << 10);
            let server = tokio::spawn(speak_2(TokioIo::new(ours), Arc::new(Conversation { house, link })));
            for part in &says {
                theirs.write_all(part).await.unwrap();
            }
            let began = Instant::now();
            stay(theirs, !says.is_empty()).await;
            let ended = server.await.unwrap();
            let took = began.elapsed();
            let said = format!("{took:?} after {} parts: {ended:?}", says.len());
            assert!((STANDSTILL..=3 * STANDSTILL).contains(&took), "{said}");
            let again =
                Client { address: [10, 0, 0, 8].into(), standing: Standing::Machine, manner: Manner::ComesBack };
            assert!(admission.admit(again).await.is_ok(), "the place of its transfer is free");
        }
    }
}
