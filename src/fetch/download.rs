//! The HTTP client: how to ask, how long to wait, what to expect. [`super::transfer`] does the asking.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::CONTENT_LENGTH;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, StatusCode, Url};

use super::sink::Target;
use super::transfer::no_answer;
use super::{FetchError, Progress, RedirectFault, Silent};
use crate::model::digest::{Digest, Digest512};
use crate::model::url::without_login;

/// How the HTTP client behaves. [`Default`] suits Alpine's mirrors; tests shorten the times.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// How long a connection may take to come up.
    pub connect_timeout: Duration,
    /// How long the server may be silent, before and within an answer.
    pub read_timeout: Duration,
    /// The fewest bytes that must arrive within a time; a server that gives less counts as one that broke off.
    pub slowest: (u64, Duration),
    /// How long the download of one file may take, all attempts together.
    pub time_limit: Duration,
    /// How many redirects are followed.
    pub redirects: usize,
    /// How often each server is asked for one file before its download fails; at least once. An attempt that brought
    /// the download on by a mebibyte begins the count again.
    pub attempts: usize,
    /// The wait before the second attempt; each further one waits twice as long, up to `longest_delay`.
    pub first_delay: Duration,
    /// The longest wait between two attempts.
    pub longest_delay: Duration,
    /// Whether proxies are used.
    pub proxy: Proxy,
}

/// Which proxies are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// Those named by `http_proxy`, `https_proxy`, `all_proxy`, less the hosts in `no_proxy`.
    FromEnvironment,
    /// None.
    Direct,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(30),
            slowest: (30 << 10, Duration::from_secs(60)),
            time_limit: Duration::from_secs(6 * 60 * 60),
            redirects: 5,
            attempts: 5,
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(15),
            proxy: Proxy::FromEnvironment,
        }
    }
}

/// What is known of a file before it is downloaded. The file is refused unless all of it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// The most bytes it may have.
    pub at_most: u64,
    /// Exactly how many bytes it has.
    pub size: Option<u64>,
    /// Its SHA-256 digest.
    pub sha256: Option<Digest>,
    /// Its SHA-512 digest.
    pub sha512: Option<Digest512>,
    /// Whether a web page is what is asked for. Elsewhere one stands for a proxy or a login page in between.
    pub may_be_page: bool,
}

impl Expect {
    /// Nothing is known of the file; it may have up to this many bytes.
    #[must_use]
    pub const fn at_most(at_most: u64) -> Self {
        Self { at_most, size: None, sha256: None, sha512: None, may_be_page: false }
    }

    /// The same, of exactly this many bytes.
    #[must_use]
    pub const fn size(self, size: u64) -> Self {
        Self { size: Some(size), ..self }
    }

    /// The same, with this digest.
    #[must_use]
    pub const fn sha256(self, digest: Digest) -> Self {
        Self { sha256: Some(digest), ..self }
    }

    /// The same, with this digest.
    #[must_use]
    pub const fn sha512(self, digest: Digest512) -> Self {
        Self { sha512: Some(digest), ..self }
    }
}

/// Where a file is to be had: the same file on one server or on several, in the order in which they are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(Vec<String>);

impl Source {
    /// The addresses, of which the first is asked first.
    #[must_use]
    pub const fn of(urls: Vec<String>) -> Self {
        Self(urls)
    }

    pub(super) fn urls(&self) -> &[String] {
        &self.0
    }

    /// The address asked first, for messages.
    pub(super) fn first(&self) -> String {
        self.0.first().and_then(|url| address(url).ok()).map(|url| shown(&url)).unwrap_or_default()
    }
}

impl From<&str> for Source {
    fn from(url: &str) -> Self {
        Self(vec![url.to_owned()])
    }
}

impl From<&String> for Source {
    fn from(url: &String) -> Self {
        Self(vec![url.clone()])
    }
}

/// Downloads single files: with retries, continuing where a connection broke, and never keeping a byte of a file that
/// is not what was expected. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Downloader {
    pub(super) client: Client,
    pub(super) settings: Arc<HttpSettings>,
    pub(super) progress: Arc<dyn Progress>,
    /// Servers that did not answer, or broke off, when they were asked last.
    shunned: Arc<Mutex<BTreeSet<String>>>,
}

impl fmt::Debug for Downloader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Downloader").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Downloader {
    /// A client with its own connections.
    ///
    /// # Errors
    /// [`FetchError::Client`] when TLS or a proxy cannot be set up.
    pub fn new(settings: HttpSettings) -> Result<Self, FetchError> {
        let limit = settings.redirects;
        let mut builder = Client::builder()
            .user_agent(concat!("bivouac/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            .read_timeout(settings.read_timeout)
            .redirect(Policy::custom(move |attempt| follow(attempt, limit)));
        if settings.proxy == Proxy::Direct {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(FetchError::Client)?;
        Ok(Self { client, settings: Arc::new(settings), progress: Arc::new(Silent), shunned: Arc::default() })
    }

    /// The same client with less patience: each server is asked once.
    #[must_use]
    pub fn hasty(&self) -> Self {
        let settings = HttpSettings { attempts: 1, ..(*self.settings).clone() };
        Self { settings: Arc::new(settings), ..self.clone() }
    }

    /// The same client, which tells `progress` what it does.
    #[must_use]
    pub fn with_progress(self, progress: Arc<dyn Progress>) -> Self {
        Self { progress, ..self }
    }

    /// The same client, which tells nobody what it does.
    pub(super) fn silent(&self) -> Self {
        Self { progress: Arc::new(Silent), ..self.clone() }
    }

    /// A whole file in memory.
    ///
    /// # Errors
    /// When it cannot be had or is not what was expected.
    pub async fn bytes(&self, source: impl Into<Source>, expect: &Expect) -> Result<Vec<u8>, FetchError> {
        Ok(self.transfer(&source.into(), expect, Target::Memory(Vec::new())).await?.memory)
    }

    /// The length of a file, as the server announces it without sending the file; nothing when it announces none.
    ///
    /// # Errors
    /// When the server does not answer, or not with the file. It is asked once.
    pub async fn length(&self, url: &str) -> Result<Option<u64>, FetchError> {
        let url = address(url)?;
        let answer = self.client.head(url.clone()).send().await.map_err(|error| no_answer(&url, error))?;
        match answer.status() {
            StatusCode::OK => {
                let length = answer.headers().get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
                Ok(length)
            }
            status @ (StatusCode::NOT_FOUND | StatusCode::GONE) => {
                Err(FetchError::NotFound { url: shown(&url), status })
            }
            status => Err(FetchError::Status { url: shown(&url), status }),
        }
    }

    /// Remembers whether a server is worth asking first.
    pub(super) fn shun(&self, url: Option<&Url>, is_bad: bool) {
        let Some(server) = url.map(|url| url.origin().ascii_serialization()) else { return };
        let mut shunned = self.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        if is_bad {
            shunned.insert(server);
        } else {
            shunned.remove(&server);
        }
    }

    pub(super) fn is_shunned(&self, url: &Url) -> bool {
        let server = url.origin().ascii_serialization();
        self.shunned.lock().unwrap_or_else(PoisonError::into_inner).contains(&server)
    }
}

/// Follows a redirect unless there were too many or it gives up encryption.
fn follow(attempt: Attempt<'_>, limit: usize) -> reqwest::redirect::Action {
    let to = shown(attempt.url());
    if attempt.previous().len() > limit {
        return attempt.error(RedirectFault::TooMany { limit, to });
    }
    let was_encrypted = attempt.previous().iter().any(|it| it.scheme() == "https");
    if was_encrypted && attempt.url().scheme() != "https" {
        return attempt.error(RedirectFault::Unencrypted { to });
    }
    attempt.follow()
}

/// The address a text names, when it is one of a web server.
pub(super) fn address(text: &str) -> Result<Url, FetchError> {
    let refuse = |reason: String| FetchError::Address { url: without_login(text).chars().take(200).collect(), reason };
    let url = Url::parse(text).map_err(|error| refuse(error.to_string()))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err(refuse("it must begin with http:// or https://".to_owned()))
    }
}

/// An address for a message.
pub(super) fn shown(url: &Url) -> String {
    without_login(url.as_str()).into_owned()
}

/// Runs file work on a thread of its own; a panic there is one here.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_servers_are_downloaded_from() {
        assert_eq!(
            address("ftp://mirror.example/alpine").unwrap_err().to_string(),
            "`ftp://mirror.example/alpine` is not an address to download from: it must begin with http:// or https://"
        );
        assert_eq!(
            address("mirror").unwrap_err().to_string(),
            "`mirror` is not an address to download from: relative URL without a base"
        );
    }

    #[test]
    fn a_password_does_not_get_into_a_message() {
        let url = address("https://user:secret@mirror.example/x").unwrap();
        assert_eq!(shown(&url), "https://***@mirror.example/x");
    }
}
