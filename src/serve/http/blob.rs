//! Bytes out of the page cache: mapped, never copied through the program; whole, or one range of them.

use std::convert::Infallible;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;

use super::range::{Asked, asked};
use crate::model::digest::Digest;

/// What is never anything else, for whoever caches it.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// How somebody asks: for everything, for a part, or only whether it is still what they have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
}

/// What is said of bytes besides the bytes.
#[derive(Debug)]
pub(super) struct About {
    pub(super) content_type: &'static str,
    /// What tells these bytes from all others.
    pub(super) digest: Digest,
    /// How long others may keep them.
    pub(super) cache_control: String,
    /// When they became what they are.
    pub(super) modified: Option<SystemTime>,
    /// Anything else.
    pub(super) more: Vec<(HeaderName, HeaderValue)>,
}

impl About {
    /// Of bytes that what names them says all about.
    pub(super) fn immutable(digest: &Digest, content_type: &'static str) -> Self {
        Self { content_type, digest: *digest, cache_control: IMMUTABLE.to_owned(), modified: None, more: Vec::new() }
    }
}

/// An answer with bytes. Its length is always said, because UEFI firmware and iPXE want it (netboot.md, D4).
pub(super) fn respond(request: Request<'_>, bytes: Bytes, about: About) -> Response {
    let etag = format!("\"{}\"", about.digest);
    let all = bytes.len();
    if is_known(request.headers, &etag, about.modified) {
        return (StatusCode::NOT_MODIFIED, head(about, etag)).into_response();
    }
    let modified = about.modified.map(httpdate::fmt_http_date);
    let mut headers = head(about, etag.clone());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    match asked(request.method, request.headers, (&etag, modified.as_deref()), all) {
        Asked::Everything => {
            headers.insert(header::CONTENT_LENGTH, all.into());
            (headers, Body::from(bytes)).into_response()
        }
        Asked::Part(part) => {
            let range = format!("bytes {}-{}/{all}", part.start, part.end - 1);
            headers.insert(header::CONTENT_RANGE, value(range));
            headers.insert(header::CONTENT_LENGTH, part.len().into());
            (StatusCode::PARTIAL_CONTENT, headers, Body::from(bytes.slice(part))).into_response()
        }
        Asked::Nothing => {
            headers.insert(header::CONTENT_RANGE, value(format!("bytes */{all}")));
            (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response()
        }
    }
}

/// An answer with bytes that are in several pieces; there are no ranges of these.
pub(super) fn respond_pieces(request: Request<'_>, pieces: Vec<Bytes>, about: About) -> Response {
    let etag = format!("\"{}\"", about.digest);
    if is_known(request.headers, &etag, about.modified) {
        return (StatusCode::NOT_MODIFIED, head(about, etag)).into_response();
    }
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let mut headers = head(about, etag);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    headers.insert(header::CONTENT_LENGTH, length.into());
    (headers, Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)))).into_response()
}

/// What an answer has at its head whether or not bytes follow.
fn head(about: About, etag: String) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(about.content_type));
    headers.insert(header::ETAG, value(etag));
    headers.insert(header::CACHE_CONTROL, value(about.cache_control));
    if let Some(modified) = about.modified {
        headers.insert(header::LAST_MODIFIED, value(httpdate::fmt_http_date(modified)));
    }
    headers.extend(about.more);
    headers
}

/// Text of our own making as a header's value.
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("dates, digests and numbers are plain text")
}

/// Whether whoever asks has it already (RFC 9110, section 13.2.2): a tag counts, and a date where no tag is given.
fn is_known(request: &HeaderMap, etag: &str, modified: Option<SystemTime>) -> bool {
    let text = |name| request.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if let Some(tags) = text(header::IF_NONE_MATCH) {
        let mut tags = tags.split(',').map(str::trim);
        return tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag);
    }
    let since = text(header::IF_MODIFIED_SINCE).and_then(|since| httpdate::parse_http_date(since).ok());
    // A date in a header has no fractions of a second.
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_secs());
    matches!((since, modified), (Some(since), Some(modified)) if seconds(modified) <= seconds(since))
}
