//! Files that are known by a digest: whole, or the part and version of them that a client asks for.

use std::borrow::Cow;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::content::Content;
use super::plain;
use crate::model::digest::Digest;
use crate::wire::http::{Answer, Conditions, Current};

/// What is never anything else, for whoever caches it.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// What may be something else tomorrow: whoever caches it asks whether it still is what they have.
const ASK_AGAIN: &str = "no-cache";

/// How somebody asks: for everything, for a part, or only whether it is still what they have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
}

impl Request<'_> {
    fn conditions(&self) -> Conditions<'_> {
        let given = |name: HeaderName| {
            let mut lines = self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            let first = lines.next()?;
            Some(lines.fold(first, |all, line| Cow::Owned(format!("{all}, {line}"))))
        };
        Conditions {
            matches: given(header::IF_MATCH),
            none_matches: given(header::IF_NONE_MATCH),
            modified_since: given(header::IF_MODIFIED_SINCE),
            unmodified_since: given(header::IF_UNMODIFIED_SINCE),
            if_range: given(header::IF_RANGE),
            range: given(header::RANGE).filter(|_| self.method == Method::GET),
        }
    }
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

    /// Of bytes that are replaced by others under the same name.
    pub(super) fn changing(digest: &Digest, content_type: &'static str) -> Self {
        Self { cache_control: ASK_AGAIN.to_owned(), ..Self::immutable(digest, content_type) }
    }
}

/// An answer with bytes. Its length is always said, because UEFI firmware and iPXE want it (netboot.md, D4).
pub(super) fn respond(request: Request<'_>, content: Content, about: About) -> Response {
    let tag = format!("\"{}\"", about.digest);
    let all = content.len();
    let answer = request.conditions().answer(Current { tag: &tag, modified: about.modified, length: all });
    let mut headers = head(about, tag);
    match answer {
        Answer::Everything => {
            headers.insert(header::CONTENT_LENGTH, all.into());
            (headers, Body::new(content)).into_response()
        }
        Answer::Part(part) => {
            let range = format!("bytes {}-{}/{all}", part.start, part.end - 1);
            headers.insert(header::CONTENT_RANGE, value(range));
            headers.insert(header::CONTENT_LENGTH, part.len().into());
            (StatusCode::PARTIAL_CONTENT, headers, Body::new(content.slice(part))).into_response()
        }
        Answer::Unchanged => {
            headers.remove(header::CONTENT_TYPE);
            (StatusCode::NOT_MODIFIED, headers).into_response()
        }
        Answer::OtherVersion => {
            let text = "this is another version of the file than the one asked for; ask for all of it again\n";
            without_file(StatusCode::PRECONDITION_FAILED, headers, text.to_owned())
        }
        Answer::NoSuchPart => {
            headers.insert(header::CONTENT_RANGE, value(format!("bytes */{all}")));
            let text = format!("the file has {all} bytes, and none where the range begins\n");
            without_file(StatusCode::RANGE_NOT_SATISFIABLE, headers, text)
        }
    }
}

/// What an answer has at its head whether or not bytes follow.
fn head(about: About, tag: String) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(about.content_type));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::ETAG, value(tag));
    headers.insert(header::CACHE_CONTROL, value(about.cache_control));
    if let Some(modified) = about.modified {
        headers.insert(header::LAST_MODIFIED, value(httpdate::fmt_http_date(modified)));
    }
    headers.extend(about.more);
    headers
}

/// An answer that says why there are no bytes; nobody is to keep it as if it were the file.
fn without_file(status: StatusCode, mut headers: HeaderMap, text: String) -> Response {
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let mut response = plain(status, text);
    response.headers_mut().extend(headers);
    response
}

/// Text of our own making as a header's value.
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("dates, digests and numbers are plain text")
}
