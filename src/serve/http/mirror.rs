//! The caching mirror: `/alpine/` as Alpine's own mirrors have it.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tracing::{debug, error, warn};

use super::blob::{self, About};
use super::content::Content;
use super::{Link, kind, plain};
use crate::disk;
use crate::mirror::{Lasts, MirrorError, Served};
use crate::serve::App;

/// What pages of folders are sent as.
const PAGE: &str = "text/html; charset=utf-8";

/// When a client that was sent away may come back, in seconds.
const COME_BACK: &str = "10";

/// Said where a file cannot be taken in.
const FULL: &str =
    "the disk of this server is full, so it takes in nothing from upstream; what it holds it still serves";

/// The warning of an answer that is older than it should be (RFC 7234, section 5.5.1).
const STALE: &str = "110 - \"Response is Stale\"";

/// The folder of all branches.
pub(super) async fn root(
    app: State<Arc<App>>,
    link: ConnectInfo<Link>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    file(app, link, Path(String::new()), method, headers).await
}

/// An index, a package, a file of a release, or the page of a folder.
pub(super) async fn file(
    State(app): State<Arc<App>>,
    ConnectInfo(link): ConnectInfo<Link>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(mirror) = &app.mirror else {
        return plain(StatusCode::NOT_FOUND, "this server is no mirror of Alpine\n");
    };
    if method == Method::HEAD
        && let Some(length) = mirror.length_of_absent(&path).await.transpose()
    {
        return match length {
            Ok(length) => {
                ([(header::CONTENT_TYPE, kind::of(&path)), (header::CONTENT_LENGTH, &length.to_string())], ())
                    .into_response()
            }
            Err(problem) => refusal(&path, &problem),
        };
    }
    match mirror.get(&path).await {
        Ok(Served { bytes, digest, lasts, is_page }) => {
            debug!(peer = %link.peer.ip(), path, "file of the caching mirror");
            let kind = if is_page { PAGE } else { kind::of(&path) };
            let about = about(About::immutable(&digest, kind), lasts);
            blob::respond(blob::Request { method: &method, headers: &headers }, Content::new([bytes]), about)
        }
        Err(problem) => refusal(&path, &problem),
    }
}

/// Says how long the bytes stay what they are. An index may be another one soon, and may be older than it should be.
fn about(about: About, lasts: Lasts) -> About {
    match lasts {
        Lasts::Always => about,
        Lasts::Never => About { cache_control: "no-cache".to_owned(), ..about },
        Lasts::Index { modified, age, max_age, is_stale } => {
            let mut more = vec![(header::AGE, HeaderValue::from(age.as_secs()))];
            if is_stale {
                more.push((header::WARNING, HeaderValue::from_static(STALE)));
            }
            let cache_control = format!("public, max-age={}", max_age.as_secs());
            About { cache_control, modified: Some(modified), more, ..about }
        }
    }
}

/// Says why, in public words; the log gets the causes of what is not the client's doing.
fn refusal(path: &str, problem: &MirrorError) -> Response {
    let status = match problem {
        MirrorError::Missing(_) | MirrorError::NoKey(_) | MirrorError::NotMirrored(_) => StatusCode::NOT_FOUND,
        MirrorError::Waiting(_) | MirrorError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        MirrorError::Upstream { .. } | MirrorError::Unsigned(_) => StatusCode::BAD_GATEWAY,
        problem if disk::is_full(problem) => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let text = match status {
        StatusCode::INSUFFICIENT_STORAGE => FULL.to_owned(),
        StatusCode::INTERNAL_SERVER_ERROR => "the file cannot be served; see the server's log".to_owned(),
        _ => problem.to_string(),
    };
    let problem = problem as &dyn std::error::Error;
    match status {
        StatusCode::INSUFFICIENT_STORAGE | StatusCode::INTERNAL_SERVER_ERROR => {
            error!(path, problem, "the caching mirror failed");
        }
        StatusCode::BAD_GATEWAY => warn!(path, problem, "the caching mirror has nothing to serve"),
        _ => debug!(path, problem, "the caching mirror has nothing to serve"),
    }
    let mut response = plain(status, format!("{text}\n"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(COME_BACK));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_without_a_path() {
        for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::QuotaExceeded] {
            let path = "/var/lib/bivouac/mirror/partial/x".into();
            let problem = MirrorError::Disk(disk::DiskError::Io { action: "write", path, source: kind.into() });
            assert_eq!(refusal("path", &problem).status(), StatusCode::INSUFFICIENT_STORAGE);
        }
        assert!(!FULL.contains('/'));
    }

    #[test]
    fn who_has_waited_long_enough_is_told_when_to_come_back() {
        for problem in [MirrorError::Waiting("v3.24/main/x86_64/tree-1.0-r0.apk".to_owned()), MirrorError::Busy] {
            let response = refusal("path", &problem);
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers().get(header::RETRY_AFTER).unwrap(), COME_BACK);
        }
        assert_eq!(refusal("path", &MirrorError::Lost).headers().get(header::RETRY_AFTER), None);
    }
}
