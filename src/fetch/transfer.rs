//! One file over HTTP: attempts, continuation, verification. [`super::sink`] writes
//! what comes.

use std::error::Error;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_RANGE};
use reqwest::header::{LAST_MODIFIED, RANGE};
use reqwest::{Response, StatusCode, Url};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use super::download::{blocking, shown};
use super::sink::{Piece, Received, Target, receive};
use super::{Downloader, Expect, FetchError, RedirectFault};

/// How many pieces of a body may wait for the disk before the network has to.
const WAITING_PIECES: usize = 32;

impl Downloader {
    /// Gets a file and checks it against everything that is expected of it.
    pub(super) async fn transfer(&self, url: &Url, expect: &Expect, target: Target) -> Result<Received, FetchError> {
        let (pieces, waiting) = mpsc::channel(WAITING_PIECES);
        let writing = tokio::spawn(blocking(move || receive(waiting, target)));
        let mut download = Download::new(self, url, expect, pieces);
        let sent = download.run().await;
        drop(download);
        let received = match writing.await {
            Ok(received) => received,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        };
        // A full disk ends the sending too, so it is the reason to report.
        let received = received?;
        sent?;
        check(&shown(url), expect, &received)?;
        Ok(received)
    }
}

/// One file on its way, over all attempts.
struct Download<'a> {
    downloader: &'a Downloader,
    url: &'a Url,
    expect: &'a Expect,
    pieces: mpsc::Sender<Piece>,
    /// What this download is called towards [`super::Progress`].
    what: String,
    /// Whether progress was told that it began.
    is_shown: bool,
    /// Bytes received that are not void.
    have: u64,
    /// The whole length, once a server has told it.
    total: Option<u64>,
    /// By which the server recognises the file it began to send (RFC 9110, section 13.1.5).
    validator: Option<HeaderValue>,
}

impl<'a> Download<'a> {
    fn new(downloader: &'a Downloader, url: &'a Url, expect: &'a Expect, pieces: mpsc::Sender<Piece>) -> Self {
        let what = url.path().rsplit('/').find(|it| !it.is_empty()).unwrap_or(url.as_str()).to_owned();
        Self { downloader, url, expect, pieces, what, is_shown: false, have: 0, total: None, validator: None }
    }

    /// Attempts until one succeeds, one fails for good, or patience ends.
    async fn run(&mut self) -> Result<(), FetchError> {
        let settings = &self.downloader.settings;
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(settings.first_delay)
            .with_max_delay(settings.longest_delay)
            .with_max_times(settings.attempts.saturating_sub(1))
            .build();
        let began = Instant::now();
        for attempts in 1.. {
            let Err(error) = self.attempt().await else {
                break;
            };
            if !error.is_passing() {
                return Err(error);
            }
            let Some(delay) = delays.next().filter(|delay| began.elapsed() + *delay < settings.retry_for) else {
                return Err(FetchError::GaveUp { url: shown(self.url), attempts, source: Box::new(error) });
            };
            warn!(error = &error as &dyn Error, ?delay, "a download failed; trying again");
            tokio::time::sleep(delay).await;
        }
        Ok(())
    }

    /// Asks for the file, or for the rest of it, and passes on what comes.
    async fn attempt(&mut self) -> Result<(), FetchError> {
        let mut request = self.downloader.client.get(self.url.clone()).header(ACCEPT_ENCODING, "identity");
        let asked_for_rest = match &self.validator {
            Some(validator) if self.have > 0 => {
                request = request.header(RANGE, format!("bytes={}-", self.have)).header(IF_RANGE, validator);
                true
            }
            _ => false,
        };
        let response = request.send().await.map_err(|error| no_answer(self.url, error))?;
        self.accept(&response, asked_for_rest).await?;
        if !self.is_shown {
            self.is_shown = true;
            self.downloader.progress.started(&self.what, self.total.or(self.expect.size));
        }
        self.body(response).await
    }

    /// Decides by its head whether an answer is the file or the rest of it.
    async fn accept(&mut self, response: &Response, asked_for_rest: bool) -> Result<(), FetchError> {
        let (status, headers) = (response.status(), response.headers());
        let url = || shown(self.url);
        match status {
            StatusCode::OK => {}
            StatusCode::PARTIAL_CONTENT if asked_for_rest && self.is_the_rest(headers) => {
                return Ok(());
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if asked_for_rest => {
                let error = FetchError::Resume { url: url(), found: self.have };
                self.restart().await;
                return Err(error);
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Err(FetchError::NotFound { url: url(), status });
            }
            _ => return Err(FetchError::Status { url: url(), status }),
        }
        let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if kind.get(..9).is_some_and(|it| it.eq_ignore_ascii_case(b"text/html")) {
            return Err(FetchError::WebPage { url: url() });
        }
        let total = response.content_length();
        if let (Some(expected), Some(found)) = (self.expect.size, total)
            && expected != found
        {
            return Err(FetchError::Length { url: url(), expected, found });
        }
        if total.is_some_and(|it| it > self.expect.at_most) {
            return Err(FetchError::TooLarge { url: url(), limit: self.expect.at_most });
        }
        if self.have > 0 {
            self.restart().await;
        }
        self.total = total;
        self.validator = validator(headers);
        Ok(())
    }

    /// Whether a partial answer begins where the last one ended, within a file of the same length.
    fn is_the_rest(&self, headers: &HeaderMap) -> bool {
        let range = headers.get(CONTENT_RANGE).and_then(|it| it.to_str().ok()).and_then(|it| it.strip_prefix("bytes "));
        let Some((span, total)) = range.and_then(|it| it.split_once('/')) else {
            return false;
        };
        let first = span.split_once('-').and_then(|(first, _)| first.parse().ok());
        let is_same_length = total == "*" || self.total.is_none_or(|it| total.parse() == Ok(it));
        first == Some(self.have) && is_same_length
    }

    /// Passes the body on, never more of it than the file may have.
    async fn body(&mut self, mut response: Response) -> Result<(), FetchError> {
        let limit = self.expect.size.unwrap_or(u64::MAX).min(self.expect.at_most);
        let cut = |found, expected, source| FetchError::Cut { url: shown(self.url), expected, found, source };
        let expected = self.expect.size.or(self.total);
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    self.have += bytes.len() as u64;
                    if self.have > limit {
                        return Err(FetchError::TooLarge { url: shown(self.url), limit });
                    }
                    if self.pieces.send(Piece::Bytes(bytes)).await.is_err() {
                        // The writer is gone and holds the reason.
                        return Ok(());
                    }
                    self.downloader.progress.advanced(&self.what, self.have);
                }
                Ok(None) if expected.is_some_and(|it| self.have < it) => {
                    return Err(cut(self.have, expected, None));
                }
                Ok(None) => return Ok(()),
                Err(error) => return Err(cut(self.have, expected, Some(error.without_url()))),
            }
        }
    }

    /// Forgets what was received.
    async fn restart(&mut self) {
        // A writer that is gone is noticed with the next piece.
        let _ = self.pieces.send(Piece::Restart).await;
        (self.have, self.total, self.validator) = (0, None, None);
        self.downloader.progress.advanced(&self.what, 0);
    }
}

impl Drop for Download<'_> {
    fn drop(&mut self) {
        if self.is_shown {
            self.downloader.progress.finished(&self.what);
        }
    }
}

/// What may stand in `If-Range`: a strong entity tag, or else a date (RFC 9110, section 13.1.5).
fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    let tag = headers.get(ETAG).filter(|it| it.as_bytes().starts_with(b"\""));
    tag.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}

/// Sorts what can keep an answer from coming.
fn no_answer(url: &Url, error: reqwest::Error) -> FetchError {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = source {
        if let Some(fault) = cause.downcast_ref::<RedirectFault>() {
            return FetchError::Redirect { url: shown(url), source: fault.clone() };
        }
        source = cause.source();
    }
    FetchError::Unreachable { url: shown(url), source: error.without_url() }
}

fn check(url: &str, expect: &Expect, received: &Received) -> Result<(), FetchError> {
    let differs = |algorithm, expected: String, found: String| {
        Err(FetchError::Checksum { url: url.to_owned(), algorithm, expected, found })
    };
    match (expect.sha256, expect.sha512) {
        (Some(expected), _) if expected != received.digest => {
            differs("SHA-256", expected.to_string(), received.digest.to_string())
        }
        (_, Some(expected)) if expected != received.digest512 => {
            differs("SHA-512", expected.to_string(), received.digest512.to_string())
        }
        _ => Ok(()),
    }
}
