//! The HTTP client: how to ask, how long to wait, what to expect. [`super::transfer`] does the asking.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Url};

use super::sink::{Received, Target};
use super::{FetchError, Progress, RedirectFault, Silent};
use crate::disk::TempFile;
use crate::model::alpine::Arch;
use crate::model::digest::{Digest, Digest512};

/// The largest package index taken. Alpine's largest, of edge/community, is a few MiB.
const LARGEST_INDEX: u64 = 64 << 20;

/// How the HTTP client behaves. [`Default`] suits Alpine's mirrors; tests shorten the times.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// How long a connection may take to come up.
    pub connect_timeout: Duration,
    /// How long the server may be silent, before and within an answer. There is no limit on a whole download.
    pub read_timeout: Duration,
    /// How many redirects are followed.
    pub redirects: usize,
    /// How often one file is asked for before its download fails; at least once.
    pub attempts: usize,
    /// The wait before the second attempt; each further one waits twice as long, up to `longest_delay`.
    pub first_delay: Duration,
    /// The longest wait between two attempts.
    pub longest_delay: Duration,
    /// No attempt begins later than this after the first one.
    pub retry_for: Duration,
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
            redirects: 5,
            attempts: 5,
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(15),
            retry_for: Duration::from_secs(600),
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
}

impl Expect {
    /// Nothing is known of the file; it may have up to this many bytes.
    #[must_use]
    pub const fn at_most(at_most: u64) -> Self {
        Self { at_most, size: None, sha256: None, sha512: None }
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

/// A file that was downloaded and is what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downloaded {
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 digest.
    pub digest: Digest,
}

/// Downloads single files: with retries, continuing where a connection broke, and never keeping a byte of a file that
/// is not what was expected. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Downloader {
    pub(super) client: Client,
    pub(super) settings: Arc<HttpSettings>,
    pub(super) progress: Arc<dyn Progress>,
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
        Ok(Self { client, settings: Arc::new(settings), progress: Arc::new(Silent) })
    }

    /// The same client, which tells `progress` what it does.
    #[must_use]
    pub fn with_progress(self, progress: Arc<dyn Progress>) -> Self {
        Self { progress, ..self }
    }

    /// A whole file in memory.
    ///
    /// # Errors
    /// When it cannot be had or is not what was expected.
    pub async fn bytes(&self, url: &str, expect: &Expect) -> Result<Vec<u8>, FetchError> {
        let received = self.transfer(&address(url)?, expect, Target::Memory(Vec::new())).await?;
        Ok(received.memory)
    }

    /// A whole file at `path`, put there only once it is known to be what was expected; what was there before is
    /// replaced. Until then it has a name of its own in the same folder, as [`crate::disk::sweep`] describes.
    ///
    /// # Errors
    /// When it cannot be had, is not what was expected, or the disk refuses; `path` is then untouched.
    pub async fn download_to(&self, path: &Path, url: &str, expect: &Expect) -> Result<Downloaded, FetchError> {
        let address = address(url)?;
        let file = TempFile::new_in(crate::disk::folder_of(path))?;
        let target = Target::File { handle: file.handle()?, path: path.to_owned() };
        let Received { size, digest, .. } = self.transfer(&address, expect, target).await?;
        let path = path.to_owned();
        blocking(move || file.publish(&path)).await?;
        Ok(Downloaded { size, digest })
    }

    /// The index of a package repository, unverified: `<repository>/<arch>/APKINDEX.tar.gz`, up to 64 MiB. The
    /// repository is named as in `/etc/apk/repositories`, without the architecture.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn index(&self, repository: &str, arch: &Arch) -> Result<Vec<u8>, FetchError> {
        let url = format!("{}/{arch}/APKINDEX.tar.gz", repository.trim_end_matches('/'));
        self.bytes(&url, &Expect::at_most(LARGEST_INDEX)).await
    }

    /// A package of exactly `size` bytes, as its index says, but not more than `at_most`. Its identity is for the
    /// caller to check; to keep a large one out of memory use [`Downloader::download_to`].
    ///
    /// # Errors
    /// When it cannot be had or has another size.
    pub async fn package(&self, url: &str, size: u64, at_most: u64) -> Result<Vec<u8>, FetchError> {
        self.bytes(url, &Expect::at_most(at_most).size(size)).await
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
    let refuse = |reason: String| FetchError::Address { url: text.chars().take(200).collect(), reason };
    let url = Url::parse(text).map_err(|error| refuse(error.to_string()))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err(refuse("it must begin with http:// or https://".to_owned()))
    }
}

/// An address for a message: without the password that it may carry.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        let _ = url.set_password(Some("***"));
    }
    url.into()
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
        assert_eq!(shown(&url), "https://user:***@mirror.example/x");
    }
}
