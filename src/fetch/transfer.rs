//! One file over HTTP: which server to ask next, continuation, verification. [`super::sink`] writes what comes.

use std::error::Error;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_RANGE};
use reqwest::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RANGE};
use reqwest::{Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::warn;

use super::download::{address, blocking, shown};
use super::openpgp::FileHashes;
use super::sink::{Piece, Received, Target, receive};
use super::{Downloader, Expect, FetchError, RedirectFault, Source};
use crate::apk::{ADB, PackageError};
use crate::model::digest::{Digest, Digest512};

/// How many pieces of a body may wait for the disk before the network has to.
const WAITING_PIECES: usize = 32;

/// An attempt that brings less than this is not progress: otherwise a server that always breaks off after one byte
/// would be asked until the time limit.
const PROGRESS: u64 = 1 << 20;

impl Downloader {
    /// Gets a file and checks it against everything that is expected of it. What the target holds already is the
    /// beginning of the file; only a file that is known by its digest may have one.
    pub(super) async fn transfer(
        &self,
        source: &Source,
        expect: &Expect,
        target: Target,
    ) -> Result<Received, FetchError> {
        Ok(self.transfer_unless(source, expect, target, None).await?.0)
    }

    /// The same, unless the file is still the one that its server recognises by `known`; and by what it would recognise
    /// the file that came. A file that is as it was has no bytes.
    pub(super) async fn transfer_unless(
        &self,
        source: &Source,
        expect: &Expect,
        target: Target,
        known: Option<&Validators>,
    ) -> Result<(Received, Answered), FetchError> {
        let (pieces, waiting) = mpsc::channel(WAITING_PIECES);
        let mut download = Download::new(self, source, expect, pieces)?;
        download.known = known;
        download.have = target.length()?;
        let writing = tokio::spawn(blocking(move || receive(waiting, target)));
        let limit = self.settings.time_limit;
        let sent = tokio::time::timeout(limit, download.run()).await;
        let sent = sent.unwrap_or_else(|_| Err(FetchError::OutOfTime { url: source.first(), limit }));
        let answered = match download.is_unchanged {
            true => Answered::Unchanged,
            false => Answered::File(std::mem::take(&mut download.validators)),
        };
        drop(download);
        let received = match writing.await {
            Ok(received) => received,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        };
        // A full disk ends the sending too, so it is the reason to report.
        let received = received?;
        sent?;
        Ok((received, answered))
    }
}

/// By what a server recognises a file that it sent before (RFC 9110, section 8.8), as it wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validators {
    /// Its tag.
    pub etag: Option<String>,
    /// When it was changed last.
    pub last_modified: Option<String>,
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
        Self { etag: text(ETAG), last_modified: text(LAST_MODIFIED) }
    }

    /// The request headers that ask for another file only.
    fn conditions(&self) -> HeaderMap {
        let given = [(IF_NONE_MATCH, &self.etag), (IF_MODIFIED_SINCE, &self.last_modified)];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?.try_into().ok()?)));
        given.collect()
    }
}

/// How a server answered.
pub(super) enum Answered {
    /// The file is as it was.
    Unchanged,
    /// With the file, which it will recognise by these.
    File(Validators),
}

/// A server that may have the file.
struct Candidate {
    url: Url,
    /// By which it recognises the file it began to send (RFC 9110, section 13.1.5).
    validator: Option<HeaderValue>,
    /// How the last attempt failed.
    failure: Option<FetchError>,
}

/// One file on its way, over all attempts.
struct Download<'a> {
    downloader: &'a Downloader,
    expect: &'a Expect,
    pieces: mpsc::Sender<Piece>,
    /// Those that may still be asked, the best first.
    candidates: Vec<Candidate>,
    /// Those that need not be asked again.
    refused: Vec<FetchError>,
    /// What this download is called towards [`super::Progress`].
    what: String,
    /// Whether progress was told that it began.
    is_shown: bool,
    /// Bytes received that are not void.
    have: u64,
    /// Whether some of them may be from elsewhere than the server asked last.
    is_mixed: bool,
    /// The whole length, once a server has told it.
    total: Option<u64>,
    /// What the asker has of the file already.
    known: Option<&'a Validators>,
    /// Whether a server said that this is it.
    is_unchanged: bool,
    /// Of the answer that is being received.
    validators: Validators,
}

impl<'a> Download<'a> {
    fn new(
        downloader: &'a Downloader,
        source: &Source,
        expect: &'a Expect,
        pieces: mpsc::Sender<Piece>,
    ) -> Result<Self, FetchError> {
        let mut candidates = Vec::new();
        for url in source.urls() {
            candidates.push(Candidate { url: address(url)?, validator: None, failure: None });
        }
        // Servers that failed before are asked last.
        candidates.sort_by_key(|candidate| downloader.is_shunned(&candidate.url));
        let name = candidates.first().and_then(|it| it.url.path().rsplit('/').find(|it| !it.is_empty()));
        let what = name.unwrap_or_default().to_owned();
        Ok(Self {
            downloader,
            expect,
            pieces,
            candidates,
            refused: Vec::new(),
            what,
            is_shown: false,
            have: 0,
            is_mixed: true,
            total: None,
            known: None,
            is_unchanged: false,
            validators: Validators::default(),
        })
    }

    /// Asks one server after the other, in rounds, until one has given the file, all have refused it for good, or
    /// patience ends.
    async fn run(&mut self) -> Result<(), FetchError> {
        let settings = &self.downloader.settings;
        let delays = ExponentialBuilder::new()
            .with_min_delay(settings.first_delay)
            .with_max_delay(settings.longest_delay)
            .with_max_times(settings.attempts.saturating_sub(1));
        let mut left = delays.build().peekable();
        for rounds in 1.. {
            let renewed = self.have + PROGRESS;
            let enough = match left.peek() {
                Some(_) => 0,
                None if settings.attempts > 1 => renewed,
                None => u64::MAX,
            };
            if self.round(enough).await {
                return Ok(());
            }
            if self.candidates.is_empty() {
                break;
            }
            if self.have >= renewed {
                left = delays.build().peekable();
            }
            let Some(delay) = left.next() else {
                self.give_up(rounds);
                break;
            };
            tokio::time::sleep(delay).await;
        }
        Err(FetchError::of_all(std::mem::take(&mut self.refused)))
    }

    /// Asks each server once; whether one has given the file. If none has, there is another round when the download has
    /// come to `enough` bytes.
    async fn round(&mut self, enough: u64) -> bool {
        let mut place = 0;
        while place < self.candidates.len() {
            let Err(error) = self.complete(place).await else {
                self.downloader.shun(self.candidates.get(place).map(|it| &it.url), false);
                return true;
            };
            let is_passing = error.is_passing();
            let is_last = self.candidates.len() == 1;
            if is_passing {
                self.downloader.shun(self.candidates.get(place).map(|it| &it.url), true);
            }
            // Only a file that is known by its digest may be put together from several servers.
            if self.expect.sha256.is_none() && !is_last {
                self.restart().await;
            }
            let is_asked_again = (is_passing || !is_last) && self.have >= enough;
            // The error of the last attempt is told by whoever wanted the file.
            match place + 1 < self.candidates.len() {
                true => warn!(error = &error as &dyn Error, "a download failed; trying the next mirror"),
                false if is_asked_again => warn!(error = &error as &dyn Error, "a download failed; trying again"),
                false => {}
            }
            if is_passing {
                if let Some(candidate) = self.candidates.get_mut(place) {
                    candidate.failure = Some(error);
                }
                place += 1;
            } else {
                self.candidates.remove(place);
                self.refused.push(error);
            }
            self.is_mixed = true;
        }
        false
    }

    /// One attempt, and the check of what came of it.
    async fn complete(&mut self, place: usize) -> Result<(), FetchError> {
        loop {
            self.attempt(place).await?;
            let Some(hashes) = self.hashes().await else {
                // The writer is gone and holds the reason.
                return Ok(());
            };
            match check(&self.shown(place), self.expect, &hashes) {
                Ok(()) => return Ok(()),
                // What was there before may be to blame: once more, all of it from here.
                Err(_) if self.is_mixed => self.restart().await,
                Err(error) => {
                    self.restart().await;
                    return Err(error);
                }
            }
        }
    }

    /// Asks for the file, or for the rest of it, and passes on what comes.
    async fn attempt(&mut self, place: usize) -> Result<(), FetchError> {
        if self.have > 0 && self.expect.size == Some(self.have) {
            return Ok(());
        }
        if self.expect.size.is_some_and(|size| self.have > size) {
            self.restart().await;
        }
        let Some(candidate) = self.candidates.get(place) else { return Ok(()) };
        let (url, validator) = (candidate.url.clone(), candidate.validator.clone());
        let mut request = self.downloader.client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        let is_pinned = self.expect.sha256.is_some();
        let asked_for_rest = self.have > 0 && (is_pinned || validator.is_some());
        if asked_for_rest {
            request = request.header(RANGE, format!("bytes={}-", self.have));
            if let Some(validator) = validator {
                request = request.header(IF_RANGE, validator);
            }
        } else if let Some(known) = self.known {
            request = request.headers(known.conditions());
        }
        let mut response = request.send().await.map_err(|error| no_answer(&url, error))?;
        if let Err(error) = self.accept(place, &response, asked_for_rest).await {
            // The format says more than the length, which follows from it.
            let is_of_version_3 = matches!(error, FetchError::Length { .. }) && begins_as_adb(&mut response).await;
            let url = || self.shown(place);
            return Err(if is_of_version_3 {
                FetchError::Refused { url: url(), source: Box::new(PackageError::Adb) }
            } else {
                error
            });
        }
        if self.is_unchanged {
            return Ok(());
        }
        if !self.is_shown {
            self.is_shown = true;
            self.downloader.progress.started(&self.what, self.total.or(self.expect.size));
        }
        self.body(place, response).await
    }

    /// Decides by its head whether an answer is the file or the rest of it.
    async fn accept(&mut self, place: usize, response: &Response, asked_for_rest: bool) -> Result<(), FetchError> {
        let (status, headers) = (response.status(), response.headers());
        let url = || self.shown(place);
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if self.known.is_some() && !asked_for_rest => {
                self.is_unchanged = true;
                return Ok(());
            }
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
        if !self.expect.may_be_page && kind.get(..9).is_some_and(|it| it.eq_ignore_ascii_case(b"text/html")) {
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
        (self.total, self.is_mixed, self.validators) = (total, false, Validators::of(headers));
        if let Some(candidate) = self.candidates.get_mut(place) {
            candidate.validator = validator(headers);
        }
        Ok(())
    }

    /// Whether a partial answer begins where the last one ended, within a file of the same length.
    fn is_the_rest(&self, headers: &HeaderMap) -> bool {
        let range = headers.get(CONTENT_RANGE).and_then(|it| it.to_str().ok()).and_then(|it| it.strip_prefix("bytes "));
        let Some((span, total)) = range.and_then(|it| it.split_once('/')) else {
            return false;
        };
        let first = span.split_once('-').and_then(|(first, _)| first.parse().ok());
        let is_same_length = total == "*" || self.expect.size.or(self.total).is_none_or(|it| total.parse() == Ok(it));
        first == Some(self.have) && is_same_length
    }

    /// Passes the body on, never more of it than the file may have.
    async fn body(&mut self, place: usize, mut response: Response) -> Result<(), FetchError> {
        let limit = self.expect.size.unwrap_or(u64::MAX).min(self.expect.at_most);
        let url = self.shown(place);
        let cut = |found, expected, source| FetchError::Cut { url: url.clone(), expected, found, source };
        let expected = self.expect.size.or(self.total);
        let (least, patience) = self.downloader.settings.slowest;
        let (mut since, mut had) = (Instant::now(), self.have);
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    self.have += bytes.len() as u64;
                    if self.have > limit {
                        self.restart().await;
                        return Err(FetchError::TooLarge { url, limit });
                    }
                    if !self.pass_on(Piece::Bytes(bytes)).await {
                        // The writer is gone and holds the reason.
                        return Ok(());
                    }
                    self.downloader.progress.advanced(&self.what, self.have);
                    if since.elapsed() >= patience {
                        if self.have - had < least {
                            return Err(FetchError::TooSlow { url, found: self.have - had, least, patience });
                        }
                        (since, had) = (Instant::now(), self.have);
                    }
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
        let _ = self.pass_on(Piece::Restart).await;
        (self.have, self.total, self.is_mixed) = (0, None, false);
        for candidate in &mut self.candidates {
            candidate.validator = None;
        }
        if self.is_shown {
            self.downloader.progress.advanced(&self.what, 0);
        }
    }

    /// Whether the writer is there to take a piece.
    async fn pass_on(&self, piece: Piece) -> bool {
        self.pieces.send(piece).await.is_ok()
    }

    async fn hashes(&self) -> Option<FileHashes> {
        let (answer, answered) = oneshot::channel();
        if self.pass_on(Piece::Hashes(answer)).await { answered.await.ok() } else { None }
    }

    /// Whoever failed until now has failed for good.
    fn give_up(&mut self, attempts: usize) {
        for candidate in self.candidates.drain(..) {
            let url = shown(&candidate.url);
            let failure = candidate.failure.map(|it| FetchError::GaveUp { url, attempts, source: Box::new(it) });
            self.refused.extend(failure);
        }
    }

    fn shown(&self, place: usize) -> String {
        self.candidates.get(place).map(|it| shown(&it.url)).unwrap_or_default()
    }
}

impl Drop for Download<'_> {
    fn drop(&mut self) {
        if self.is_shown {
            self.downloader.progress.finished(&self.what);
        }
    }
}

/// Whether the first bytes of an answer are those of a file of apk's version 3.
async fn begins_as_adb(response: &mut Response) -> bool {
    response.chunk().await.ok().flatten().is_some_and(|bytes| bytes.starts_with(ADB))
}

/// What may stand in `If-Range`: a strong entity tag, or else a date (RFC 9110, section 13.1.5).
fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    let tag = headers.get(ETAG).filter(|it| it.as_bytes().starts_with(b"\""));
    tag.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}

/// Sorts what can keep an answer from coming.
pub(super) fn no_answer(url: &Url, error: reqwest::Error) -> FetchError {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = source {
        if let Some(fault) = cause.downcast_ref::<RedirectFault>() {
            return FetchError::Redirect { url: shown(url), source: fault.clone() };
        }
        source = cause.source();
    }
    FetchError::Unreachable { url: shown(url), source: error.without_url() }
}

fn check(url: &str, expect: &Expect, hashes: &FileHashes) -> Result<(), FetchError> {
    let differs = |algorithm, expected: String, found: String| {
        Err(FetchError::Checksum { url: url.to_owned(), algorithm, expected, found })
    };
    let (short, long): (Digest, Digest512) = (hashes.sha256().into(), hashes.sha512().into());
    match (expect.sha256, expect.sha512) {
        (Some(expected), _) if expected != short => differs("SHA-256", expected.to_string(), short.to_string()),
        (_, Some(expected)) if expected != long => differs("SHA-512", expected.to_string(), long.to_string()),
        _ => Ok(()),
    }
}
