//! Files out of the page cache: a blob is mapped, never copied through the program.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::path::Path;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use memmap2::Mmap;

use crate::model::digest::Digest;

/// The bytes of a blob, mapped.
///
/// # Errors
/// When the file cannot be opened or mapped.
pub(super) fn map(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    #[expect(
        unsafe_code,
        reason = "a map is safe while the file does not shrink: the store publishes blobs by rename, \
        never writes to one again, and deletes only by unlink"
    )]
    let map = unsafe { Mmap::map(&file)? };
    Ok(Bytes::from_owner(map))
}

/// An answer with immutable bytes. Its length is always said, because UEFI firmware and iPXE want it (netboot.md, D4).
pub(super) fn respond(request: &HeaderMap, bytes: Bytes, digest: &Digest, content_type: &'static str) -> Response {
    let length = bytes.len();
    answer(request, Body::from(bytes), length, digest, content_type)
}

/// The same with bytes that are in several pieces.
pub(super) fn respond_pieces(
    request: &HeaderMap,
    pieces: Vec<Bytes>,
    digest: &Digest,
    content_type: &'static str,
) -> Response {
    let length = pieces.iter().map(Bytes::len).sum();
    let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)));
    answer(request, body, length, digest, content_type)
}

fn answer(request: &HeaderMap, body: Body, length: usize, digest: &Digest, content_type: &'static str) -> Response {
    let etag = format!("\"{digest}\"");
    let known = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == etag)) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ETAG, etag),
        (header::ACCEPT_RANGES, "none".to_owned()),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned()),
    ];
    (headers, body).into_response()
}
