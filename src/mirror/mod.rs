//! A caching mirror of Alpine's packages and releases: what clients install by hand, and what other machines of the site
//! ask for, comes from upstream once.
//!
//! [`Place`] says what a path means; everything else is 404 and no question to upstream. Indexes are verified with
//! Alpine's keys for their architecture, served to the byte as they were signed, and renewed after a while. Packages are
//! verified against a verified index before they get a name, and never asked for again. Release images are verified by
//! their OpenPGP signature. The small texts beside them, which nobody can verify, are passed on and not kept; so is what
//! their folders have, as pages made anew.
//!
//! However many ask for the same file, upstream is asked once; who goes away stops nobody. When upstream fails, what is
//! held is served. The folder:
//!
//! | Path | What |
//! |---|---|
//! | `packages/<sha256>.apk` | a package, named as in the builds' cache, of which it may be a second name: none is stored twice |
//! | `packages/<sha256>.image` | a release image, named after its path |
//! | `signatures/<sha256>.asc` | the signature of such an image |
//! | `indexes/BRANCH/REPOSITORY/ARCH/` | an index and what is known of it |
//! | `partial/` | files on their way |
//! | `totals.json` | what was done so far |
//! | `lock` | shared by who brings a file, held alone by who cleans up |
//! | `serving` | held by the process that serves |

mod age;
mod clean;
mod error;
mod flights;
mod indexes;
mod listing;
mod pages;
mod place;
mod repositories;
mod shelf;
mod status;
mod stock;
mod sync;
mod tally;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::Semaphore;

use self::error::chain;
use self::flights::Flights;
use self::indexes::{Held, Indexes};
use self::place::Folder;
use self::repositories::{Repositories, Standing, Wish};
use self::shelf::Shelf;
use self::stock::{Article, Found, Stock};
use self::tally::Tally;
use crate::apk::KeyRing;
use crate::disk::{self, Lock};
use crate::fetch::{Cache, Checks, Mirrors};
use crate::model::alpine::{Arch, RepositoryName};
use crate::model::digest::Digest;
pub use error::MirrorError;
pub use place::{Line, LineError, Place, Repository};
pub use status::{IndexStatus, RepositoryStatus, Status};
pub use sync::{Plan, Synced};
pub use tally::{Failure, Totals};

/// How long a client waits for a file to be there; clients of their own accord give up after a minute.
const WAIT: Duration = Duration::from_secs(50);

/// How many clients may wait at once; the rest of the server's connections are for machines that boot.
const MOST_WAITING: usize = 4096;

/// The largest text that is passed on, and how many are at once.
const LARGEST_TEXT: u64 = 1 << 20;
const PARALLEL_TEXTS: usize = 4;

/// How a mirror is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of everything it keeps.
    pub folder: PathBuf,
    /// The most bytes that packages and images may have together.
    pub size: u64,
    /// How old an index may be before upstream is asked for a newer one.
    pub max_age: Duration,
    /// The repositories that are mirrored.
    pub repositories: BTreeSet<RepositoryName>,
}

/// Where everything comes from, and what it is checked against.
#[derive(Debug)]
pub struct Supply {
    mirrors: Mirrors,
    cache: Cache,
    checks: Checks,
    lock: PathBuf,
}

/// A file to send.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its bytes.
    pub bytes: Bytes,
    /// What tells these bytes from all others that the path has led to.
    pub digest: Digest,
    /// How long they stay what they are.
    pub lasts: Lasts,
    /// Whether it is a page for people, made here.
    pub is_page: bool,
}

/// How long a file stays what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lasts {
    /// For ever.
    Always,
    /// An index: until upstream has another one.
    Index {
        /// When it became another one last.
        modified: SystemTime,
        /// How long ago upstream was asked last.
        age: Duration,
        /// How old it may be.
        max_age: Duration,
        /// Whether it is older, because upstream has not answered.
        is_stale: bool,
    },
    /// It was passed on, and may be another one the next time.
    Never,
}

/// What is passed on from upstream.
#[derive(Debug)]
enum Passed {
    /// A text as it is.
    Text,
    /// What a folder has.
    Page(Folder),
}

/// The mirror. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Mirror {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    supply: Arc<Supply>,
    repositories: Arc<Repositories>,
    stock: Arc<Stock>,
    texts: Flights<String, Result<Bytes, Arc<MirrorError>>>,
    tally: Arc<Tally>,
    waiting: Semaphore,
    upstream_of_texts: Semaphore,
    /// Of the one that serves.
    _serving: Option<Lock>,
}

/// What a mirror is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// To answer clients, and to count that.
    Serve,
    /// To look at it or fill it, beside one that serves.
    Visit,
}

impl Supply {
    /// The keys that may sign indexes for an architecture.
    fn keys(&self, arch: &Arch) -> Result<KeyRing, MirrorError> {
        self.cache.package_keys(arch, &self.checks).map_err(|source| MirrorError::Keys(Box::new(source)))
    }
}

impl Mirror {
    /// Opens a mirror whose folder is made when it is missing.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(
        options: Options,
        role: Role,
        (mirrors, cache, checks): (Mirrors, Cache, Checks),
    ) -> Result<Self, MirrorError> {
        let folder = &options.folder;
        disk::create_dir_all(folder)?;
        let supply = Arc::new(Supply { mirrors, cache, checks, lock: folder.join("lock") });
        // Another server on the same folder is no reason not to serve, only not to count.
        let serving = match role {
            Role::Serve => Lock::try_acquire(&folder.join("serving")).ok(),
            Role::Visit => None,
        };
        let tally = Arc::new(if serving.is_some() { Tally::at(&totals(folder)) } else { Tally::idle() });
        let shelf = Arc::new(Shelf::open(&packages(folder), options.size)?);
        let shared = || (Arc::clone(&shelf), Arc::clone(&tally));
        let stock = Arc::new(Stock::new(folder, Arc::clone(&supply), shared())?);
        if let Ok(alone) = Lock::try_acquire(&supply.lock) {
            // What is unfinished was left by a crash.
            disk::sweep_all(folder, &alone)?;
        }
        let indexes = Indexes::new(&folder.join("indexes"), &supply.lock);
        let repositories = Arc::new(Repositories::new(indexes, options.max_age, Arc::clone(&supply), shared()));
        let inner = Inner {
            options,
            supply,
            repositories,
            stock,
            texts: Flights::default(),
            tally,
            waiting: Semaphore::new(MOST_WAITING),
            upstream_of_texts: Semaphore::new(PARALLEL_TEXTS),
            _serving: serving,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The file that a path below `/alpine/` leads to.
    ///
    /// # Errors
    /// When it cannot be served.
    pub async fn get(&self, path: &str) -> Result<Served, Arc<MirrorError>> {
        let served = self.find(path).await;
        if served.is_err() {
            self.inner.tally.count(|totals| totals.refused += 1);
        }
        served
    }

    async fn find(&self, path: &str) -> Result<Served, Arc<MirrorError>> {
        let nothing = || Arc::new(MirrorError::Missing(path.chars().take(300).collect()));
        let place = Place::parse(path).ok_or_else(nothing)?;
        let Ok(_waiting) = self.inner.waiting.try_acquire() else { return Err(Arc::new(MirrorError::Busy)) };
        match place {
            Place::Index(repository) | Place::Package(repository, _) if !self.has(&repository) => {
                Err(Arc::new(MirrorError::NotMirrored(repository.repository)))
            }
            Place::Index(repository) => self.index(&repository).await,
            Place::Package(repository, file) => self.package(&repository, &file).await,
            Place::Image(path) => {
                let article = Article::Image(path);
                let (bytes, found) = self.inner.stock.get(&article).await?;
                Ok(self.article(&article, bytes, found))
            }
            Place::Text(path) => self.passed_on(path, Passed::Text).await,
            Place::Folder(folder) => self.passed_on(folder.path.clone(), Passed::Page(folder)).await,
        }
    }

    /// The length in bytes of a release image that is not held, as upstream announces it: for who only looks, nobody
    /// should have to download an image. Nothing for everything else, and when upstream does not tell.
    ///
    /// # Errors
    /// When upstream does not have it, or does not answer.
    pub async fn length_of_absent(&self, path: &str) -> Result<Option<u64>, Arc<MirrorError>> {
        let Some(Place::Image(path)) = Place::parse(path) else { return Ok(None) };
        if self.inner.stock.shelf.has(&Article::Image(path.clone()).name()) {
            return Ok(None);
        }
        let Ok(_waiting) = self.inner.waiting.try_acquire() else { return Err(Arc::new(MirrorError::Busy)) };
        match tokio::time::timeout(WAIT, self.inner.supply.mirrors.length(&path)).await {
            Ok(length) => length.map_err(|source| Arc::new(MirrorError::upstream(path, source))),
            Err(_) => Err(Arc::new(MirrorError::Waiting(path))),
        }
    }

    /// Whether a repository is mirrored.
    fn has(&self, repository: &Repository) -> bool {
        self.inner.options.repositories.contains(&repository.repository)
    }

    async fn index(&self, repository: &Repository) -> Result<Served, Arc<MirrorError>> {
        let (held, standing) = self.inner.repositories.index(repository, Wish::Current).await?;
        let is_stale = standing == Standing::Stale;
        let age = SystemTime::now().duration_since(held.checked).unwrap_or_default();
        let max_age = self.inner.repositories.max_age();
        let modified = held.taken;
        let (bytes, digest) = (held.index.bytes.clone(), held.index.digest);
        self.inner.tally.count(|totals| {
            totals.hits += 1;
            totals.stale += u64::from(is_stale);
            totals.served_bytes += bytes.len() as u64;
        });
        Ok(Served { bytes, digest, lasts: Lasts::Index { modified, age, max_age, is_stale }, is_page: false })
    }

    async fn package(&self, repository: &Repository, file: &str) -> Result<Served, Arc<MirrorError>> {
        let missing = || Arc::new(MirrorError::Missing(format!("{repository}/{file}")));
        let article = |held: &Held| {
            let package = held.find(file, &self.inner.stock.shelf)?.clone();
            Some(Article::Package { path: format!("{repository}/{file}"), package })
        };
        let index = async |wish| self.inner.repositories.index(repository, wish).await.map(|(held, _)| held);
        let wanted = match article(&index(Wish::Any).await?) {
            Some(wanted) => wanted,
            // It may be new.
            None => article(&index(Wish::New).await?).ok_or_else(missing)?,
        };
        let got = self.inner.stock.get(&wanted).await;
        let (wanted, (bytes, found)) = match got {
            Ok(got) => (wanted, got),
            // It may have been replaced since the index was asked for; then the next index says so.
            Err(error) if matches!(*error, MirrorError::Missing(_) | MirrorError::Upstream { .. }) => {
                let newer = article(&index(Wish::New).await?).ok_or_else(missing)?;
                if newer.name() == wanted.name() {
                    return Err(error);
                }
                let got = self.inner.stock.get(&newer).await?;
                (newer, got)
            }
            Err(error) => return Err(error),
        };
        Ok(self.article(&wanted, bytes, found))
    }

    fn article(&self, article: &Article, bytes: Bytes, found: Found) -> Served {
        self.inner.tally.count(|totals| {
            match found {
                Found::Held => totals.hits += 1,
                Found::Upstream => totals.misses += 1,
            }
            totals.served_bytes += bytes.len() as u64;
        });
        Served { bytes, digest: article.digest(), lasts: Lasts::Always, is_page: false }
    }

    /// What nobody can verify, from upstream each time.
    async fn passed_on(&self, path: String, what: Passed) -> Result<Served, Arc<MirrorError>> {
        let (inner, wanted, is_page) = (Arc::clone(&self.inner), path.clone(), matches!(what, Passed::Page(_)));
        let asking = self.inner.texts.join(path.clone(), || async move {
            let Ok(_permit) = inner.upstream_of_texts.acquire().await else { return Err(Arc::new(MirrorError::Lost)) };
            let upstream = |source| Arc::new(MirrorError::upstream(wanted.clone(), source));
            match what {
                Passed::Text => {
                    inner.supply.mirrors.text(&wanted, LARGEST_TEXT).await.map_err(upstream).map(Bytes::from)
                }
                Passed::Page(folder) => {
                    let entries = inner.supply.mirrors.folder(&wanted).await.map_err(upstream)?;
                    let page = pages::page(&folder, &entries).map(Bytes::from);
                    page.ok_or_else(|| Arc::new(MirrorError::Missing(wanted)))
                }
            }
        });
        let bytes = match tokio::time::timeout(WAIT, asking).await {
            Ok(passed) => passed.unwrap_or_else(|| Err(Arc::new(MirrorError::Lost)))?,
            Err(_) => return Err(Arc::new(MirrorError::Waiting(path))),
        };
        self.inner.tally.count(|totals| {
            totals.misses += 1;
            totals.served_bytes += bytes.len() as u64;
        });
        Ok(Served { digest: Digest::of(&bytes), bytes, lasts: Lasts::Never, is_page })
    }

    /// Writes down what was done, before the program ends.
    pub async fn flush(&self) {
        let shelf = Arc::clone(&self.inner.stock.shelf);
        // A panic there is in the log.
        let _ = tokio::task::spawn_blocking(move || shelf.note_uses()).await;
        self.inner.tally.write().await;
    }
}

/// The packages of a mirror's folder, which a [`Cache`] may share.
#[must_use]
pub fn packages(folder: &Path) -> PathBuf {
    folder.join("packages")
}

fn totals(folder: &Path) -> PathBuf {
    folder.join("totals.json")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::fetch::{Downloader, HttpSettings, Proxy};

    #[tokio::test]
    async fn a_client_waits_for_a_silent_upstream_no_longer_than_it_should() {
        let folder = tempfile::tempdir().unwrap();
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", upstream.local_addr().unwrap());
        let day = Duration::from_secs(24 * 60 * 60);
        let settings =
            HttpSettings { read_timeout: day, slowest: (1, day), proxy: Proxy::Direct, ..HttpSettings::default() };
        let options =
            Options { folder: folder.path().join("mirror"), size: 1, max_age: day, repositories: BTreeSet::new() };
        let supply = (
            Mirrors::new(&[base], Downloader::new(settings).unwrap()).unwrap(),
            Cache::open(&folder.path().join("cache")).unwrap(),
            Checks::default(),
        );
        let mirror = Mirror::open(options, Role::Serve, supply).unwrap();
        let path = "v3.24/releases/x86_64/latest-releases.yaml";
        let client = tokio::spawn({
            let mirror = mirror.clone();
            async move { mirror.get(path).await }
        });
        let _silent = upstream.accept().await.unwrap();
        tokio::time::pause();
        // When the client began to wait is not known here, only that a second passes at a time.
        while !client.is_finished() {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let refused = client.await.unwrap().unwrap_err();
        assert!(matches!(&*refused, MirrorError::Waiting(late) if late == path), "{refused}");
    }
}
