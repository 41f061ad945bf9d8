//! A web server on a port of its own that answers as badly as a test wants.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header, response};
use bivouac::fetch::{Downloader, HttpSettings, Proxy};
use futures_util::StreamExt as _;
use futures_util::stream::{self, once};
use tokio::sync::watch;

/// How a path is answered.
#[derive(Clone)]
pub enum Reply {
    /// The bytes; a range of them when that is asked for with the right tag; and nothing for who has them already.
    File(Vec<u8>),
    /// The bytes, ended by a broken connection after this many the first so-many times. Ranges work.
    Cut { bytes: Vec<u8>, after: usize, times: usize },
    /// The bytes, cut the first time, and a changed file from then on.
    Changing { bytes: Vec<u8>, after: usize, changed: Vec<u8> },
    /// The bytes, cut the first time; then a partial answer that begins elsewhere, then the bytes.
    Misplaced { bytes: Vec<u8>, after: usize },
    /// The bytes without their length in the head.
    Chunked(Vec<u8>),
    /// The first bytes of an answer, and silence.
    Silence(Vec<u8>),
    /// A page for people.
    Page(&'static str),
    /// An answer without content, the first so-many times, then the bytes.
    Status { status: u16, times: usize, bytes: Vec<u8> },
    /// Another address, with `BASE` for this server's.
    Redirect(&'static str),
    /// The bytes as far as a gate lets them. Ranges work.
    Gated(Vec<u8>, Gate),
}

/// How far a file is sent, counted from its start; whoever holds it lets more of it through, step by step.
#[derive(Clone)]
pub struct Gate(Arc<watch::Sender<usize>>);

impl Gate {
    /// A gate that lets the head of an answer through and nothing more.
    pub fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Lets this many bytes through, in all.
    pub fn open_to(&self, bytes: usize) {
        self.0.send_replace(bytes);
    }
}

/// Which server's folder pages are imitated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Python's `http.server`: names only.
    Python,
    /// nginx's autoindex with exact sizes.
    Nginx,
}

#[derive(Default)]
struct State {
    replies: BTreeMap<String, Reply>,
    /// Path of each request, in order, and `Range` or `If-None-Match`.
    requests: Vec<(String, Option<String>)>,
    /// How folders are shown; not at all when absent.
    pages: Option<Pages>,
}

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub struct Server {
    pub base: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { base, state: Arc::default() };
        let answering = server.clone();
        let router = Router::new().fallback(move |request: Request| {
            let response = answering.answer(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    pub fn put(&self, path: impl Into<String>, reply: Reply) {
        self.state.lock().unwrap().replies.insert(path.into(), reply);
    }

    /// Shows folders from now on.
    pub fn show_folders(&self, pages: Pages) {
        self.state.lock().unwrap().pages = Some(pages);
    }

    /// Whether a path is among the requests that [`Server::requests`] would tell.
    pub fn was_asked(&self, path: &str) -> bool {
        self.state.lock().unwrap().requests.iter().any(|(asked, _)| asked == path)
    }

    pub fn remove(&self, path: &str) {
        self.state.lock().unwrap().replies.remove(path);
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The requests since the last call: path, and range if one was asked for, or the tag if another file was.
    pub fn requests(&self) -> Vec<String> {
        let requests = std::mem::take(&mut self.state.lock().unwrap().requests);
        requests.into_iter().map(|(path, range)| path + &range.map(|it| format!(" {it}")).unwrap_or_default()).collect()
    }

    /// An error and its causes in one line, with `BASE` for this server's address.
    pub fn chain(&self, error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text += &format!(" | {cause}");
            source = cause.source();
        }
        text.replace(&self.base, "BASE")
    }

    fn answer(&self, request: &Request) -> Response<Body> {
        let mut state = self.state.lock().unwrap();
        let (path, headers) = (request.uri().path().to_owned(), request.headers());
        let range = headers.get(header::RANGE).or(headers.get(header::IF_NONE_MATCH));
        let range = range.map(|it| it.to_str().unwrap().to_owned());
        state.requests.push((path.clone(), range));
        if !state.replies.contains_key(&path) {
            return state.page(&path).unwrap_or_else(|| status(404));
        }
        let reply = state.replies.get_mut(&path).unwrap();
        match reply {
            Reply::File(bytes) if headers.get(header::IF_NONE_MATCH) == Some(&tag(bytes)) => status(304),
            Reply::File(bytes) => file(bytes, headers, None),
            Reply::Cut { bytes, after, times } => {
                let cut = (*times > 0).then_some(*after);
                *times = times.saturating_sub(1);
                file(bytes, headers, cut)
            }
            Reply::Changing { bytes, after, changed } => {
                let response = file(bytes, headers, Some(*after));
                *reply = Reply::File(std::mem::take(changed));
                response
            }
            Reply::Misplaced { bytes, after } if headers.contains_key(header::RANGE) => {
                let all = bytes.len();
                let response =
                    head(206, &bytes[*after..]).header(header::CONTENT_RANGE, format!("bytes 0-{}/{all}", all - 1));
                let response = response.body(Body::from(bytes.clone())).unwrap();
                *reply = Reply::File(std::mem::take(bytes));
                response
            }
            Reply::Misplaced { bytes, after } => file(bytes, headers, Some(*after)),
            Reply::Chunked(bytes) => {
                let bytes = Bytes::from(bytes.clone());
                Response::new(Body::from_stream(once(async { Ok::<_, Infallible>(bytes) })))
            }
            Reply::Silence(bytes) => {
                let first = Bytes::from(bytes.clone());
                Response::new(Body::from_stream(once(async { Ok::<_, Infallible>(first) }).chain(stream::pending())))
            }
            Reply::Page(text) => {
                let page = Response::builder().header(header::CONTENT_TYPE, "text/html; charset=utf-8");
                page.body(Body::from(*text)).unwrap()
            }
            Reply::Status { status: code, times, bytes } => {
                if *times == 0 {
                    return file(bytes, headers, None);
                }
                *times -= 1;
                status(*code)
            }
            Reply::Redirect(to) => {
                let to = to.replace("BASE", &self.base);
                Response::builder().status(302).header(header::LOCATION, to).body(Body::empty()).unwrap()
            }
            Reply::Gated(bytes, gate) => gated(bytes, headers, gate),
        }
    }
}

impl State {
    /// The page of a folder, when there is something below it and folders are shown.
    fn page(&self, path: &str) -> Option<Response<Body>> {
        let style = self.pages.filter(|_| path.ends_with('/'))?;
        let mut rows = BTreeMap::new();
        for (file, reply) in &self.replies {
            let Some(below) = file.strip_prefix(path) else { continue };
            let (name, size) = match (below.split_once('/'), reply) {
                (Some((folder, _)), _) => (format!("{folder}/"), "-".to_owned()),
                (None, Reply::File(bytes)) => (below.to_owned(), bytes.len().to_string()),
                (None, _) => continue,
            };
            let row = match style {
                Pages::Python => format!("<li><a href=\"{name}\">{name}</a></li>\n"),
                Pages::Nginx => format!("<a href=\"{name}\">{name}</a>  10-Jun-2026 09:14  {size}\r\n"),
            };
            rows.insert(name, row);
        }
        let rows: String = rows.into_values().collect();
        if rows.is_empty() {
            return None;
        }
        let text = match style {
            Pages::Python => format!("<h1>Directory listing for {path}</h1>\n<hr>\n<ul>\n{rows}</ul>\n<hr>\n"),
            Pages::Nginx => format!("<h1>Index of {path}</h1><hr><pre><a href=\"../\">../</a>\r\n{rows}</pre><hr>"),
        };
        let page = Response::builder().header(header::CONTENT_TYPE, "text/html; charset=utf-8");
        Some(page.body(Body::from(text)).unwrap())
    }
}

/// A client of such servers that is quick to give up.
pub fn downloader() -> Downloader {
    Downloader::new(HttpSettings {
        attempts: 3,
        first_delay: Duration::from_millis(1),
        longest_delay: Duration::from_millis(1),
        proxy: Proxy::Direct,
        ..HttpSettings::default()
    })
    .unwrap()
}

fn status(code: u16) -> Response<Body> {
    Response::builder().status(code).body(Body::empty()).unwrap()
}

fn tag(bytes: &[u8]) -> HeaderValue {
    let tag = bivouac::model::digest::Digest::of(bytes);
    HeaderValue::try_from(format!("\"{tag}\"")).unwrap()
}

fn head(code: u16, tagged: &[u8]) -> axum::http::response::Builder {
    Response::builder().status(code).header(header::ETAG, tag(tagged))
}

/// The head of the file, or of the rest that is asked for, and where that begins; nothing when there is no rest.
fn begin(bytes: &[u8], headers: &HeaderMap) -> Option<(response::Builder, usize)> {
    let tag = tag(bytes);
    let range = headers.get(header::RANGE).filter(|_| headers.get(header::IF_RANGE).is_none_or(|it| it == tag));
    let from: usize =
        range.map_or(0, |it| it.to_str().unwrap()["bytes=".len()..].trim_end_matches('-').parse().unwrap());
    if range.is_some() && from >= bytes.len() {
        return None;
    }
    let response = if range.is_some() {
        let (last, all) = (bytes.len() - 1, bytes.len());
        head(StatusCode::PARTIAL_CONTENT.as_u16(), bytes)
            .header(header::CONTENT_RANGE, format!("bytes {from}-{last}/{all}"))
    } else {
        head(200, bytes)
    };
    Some((response.header(header::CONTENT_LENGTH, bytes.len() - from), from))
}

/// The file, or the rest that is asked for; `cut` counts from the start of the file.
fn file(bytes: &[u8], headers: &HeaderMap, cut: Option<usize>) -> Response<Body> {
    let Some((response, from)) = begin(bytes, headers) else { return status(416) };
    let Some(cut) = cut else {
        return response.body(Body::from(bytes[from..].to_vec())).unwrap();
    };
    // A failing body closes the connection; what was sent before it has to be on its way by then.
    let sent = Bytes::copy_from_slice(&bytes[from..cut]);
    let broken = once(async {
        tokio::task::yield_now().await;
        Err(io::Error::other("cut"))
    });
    response.body(Body::from_stream(once(async { Ok(sent) }).chain(broken))).unwrap()
}

/// The file, or the rest that is asked for, as far as the gate is open.
fn gated(bytes: &[u8], headers: &HeaderMap, gate: &Gate) -> Response<Body> {
    let Some((response, from)) = begin(bytes, headers) else { return status(416) };
    let (bytes, open) = (Bytes::copy_from_slice(bytes), gate.0.subscribe());
    let body = stream::unfold((from, open), move |(at, mut open)| {
        let bytes = bytes.clone();
        async move {
            if at == bytes.len() {
                return None;
            }
            let to = *open.wait_for(|to| *to > at).await.ok()?;
            let to = to.min(bytes.len());
            Some((Ok::<_, Infallible>(bytes.slice(at..to)), (to, open)))
        }
    });
    response.body(Body::from_stream(body)).unwrap()
}
