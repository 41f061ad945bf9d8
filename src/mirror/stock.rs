//! Packages and release images: held, or brought from upstream once for all who wait.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::flights::Flights;
use super::shelf::Shelf;
use super::tally::Tally;
use super::{MirrorError, Supply, chain};
use crate::apk::{IndexPackage, PackageFile};
use crate::disk::{self, DiskError, Lock, TempFile};
use crate::fetch::{DetachedSignature, FileHashes, package_name};
use crate::model::check::Check;
use crate::model::digest::Digest;

/// How many packages are brought from upstream at once; and how many images, whose names anybody can make up.
const PARALLEL: usize = 8;
const PARALLEL_IMAGES: usize = 2;

/// The largest signature that is read back.
const LARGEST_SIGNATURE: u64 = 64 << 10;

/// Something that never changes.
#[derive(Debug, Clone)]
pub(super) enum Article {
    /// A package that a verified index names.
    Package {
        /// Where it is on a mirror.
        path: String,
        /// What the index says of it.
        package: IndexPackage,
    },
    /// A release image, by where it is on a mirror.
    Image(String),
}

/// Where an article was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Here.
    Held,
    /// Upstream.
    Upstream,
}

type Outcome = Result<(Bytes, Found), Arc<MirrorError>>;

/// All articles.
#[derive(Debug)]
pub(super) struct Stock {
    pub(super) shelf: Arc<Shelf>,
    /// Where files are on their way.
    partial: PathBuf,
    /// The signatures of images.
    signatures: PathBuf,
    supply: Arc<Supply>,
    tally: Arc<Tally>,
    flights: Flights<String, Outcome>,
    upstream: Semaphore,
    upstream_of_images: Semaphore,
}

impl Article {
    /// The name of its file here.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Package { package, .. } => package_name(&package.identity().to_string()),
            Self::Image(path) => format!("{}.image", Digest::of(path.as_bytes())),
        }
    }

    /// What tells it from all others.
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Package { package, .. } => Digest::of(package.identity().to_string().as_bytes()),
            Self::Image(path) => Digest::of(path.as_bytes()),
        }
    }

    /// Where it is on a mirror.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Package { path, .. } | Self::Image(path) => path,
        }
    }

    /// Its length in bytes, as far as that is known before.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Package { package, .. } => package.size(),
            Self::Image(_) => 0,
        }
    }
}

impl Stock {
    /// An empty-handed stock over a shelf; `folder` is that of the mirror.
    ///
    /// # Errors
    /// When its folders cannot be made.
    pub(super) fn new(
        folder: &Path,
        supply: Arc<Supply>,
        (shelf, tally): (Arc<Shelf>, Arc<Tally>),
    ) -> Result<Self, DiskError> {
        let [partial, signatures] = ["partial", "signatures"].map(|name| folder.join(name));
        disk::create_dir_all(&partial)?;
        disk::create_dir_all(&signatures)?;
        let (upstream, upstream_of_images) = (Semaphore::new(PARALLEL), Semaphore::new(PARALLEL_IMAGES));
        Ok(Self {
            shelf,
            partial,
            signatures,
            supply,
            tally,
            flights: Flights::default(),
            upstream,
            upstream_of_images,
        })
    }

    /// An article, and where it was found.
    ///
    /// # Errors
    /// When it is not held and cannot be had as it should be, or takes too long.
    pub(super) async fn get(self: &Arc<Self>, article: &Article) -> Outcome {
        let name = article.name();
        if let Some(bytes) = self.shelf.lend_open(&name, SystemTime::now()) {
            return Ok((bytes, Found::Held));
        }
        let (stock, wanted) = (Arc::clone(self), article.clone());
        let flight = self.flights.join(name, || async move { stock.bring(wanted).await.map_err(Arc::new) });
        match tokio::time::timeout(super::WAIT, flight).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Err(Arc::new(MirrorError::Lost)),
            Err(_) => Err(Arc::new(MirrorError::Waiting(article.path().to_owned()))),
        }
    }

    /// From here, from the builds' cache, or from upstream, in this order.
    async fn bring(self: &Arc<Self>, article: Article) -> Result<(Bytes, Found), MirrorError> {
        let (stock, wanted) = (Arc::clone(self), article.clone());
        let held = tokio::task::spawn_blocking(move || stock.held(&wanted)).await.map_err(|_| MirrorError::Lost)??;
        if let Some(bytes) = held {
            return Ok((bytes, Found::Held));
        }
        let queue = match article {
            Article::Package { .. } => &self.upstream,
            Article::Image(_) => &self.upstream_of_images,
        };
        let Ok(_permit) = queue.acquire().await else { return Err(MirrorError::Lost) };
        let now = SystemTime::now();
        match self.download(&article).await {
            Ok(bytes) => {
                self.tally.count(|totals| {
                    totals.downloads += 1;
                    totals.downloaded_bytes += bytes.len() as u64;
                });
                self.tally.upstream_is_well(now);
                debug!(file = article.path(), bytes = bytes.len(), "took in a file");
                Ok((bytes, Found::Upstream))
            }
            Err(error) => {
                if matches!(error, MirrorError::Upstream { .. }) {
                    self.tally.upstream_failed(chain(&error), now);
                }
                Err(error)
            }
        }
    }

    /// What is held already, or has been brought for a build.
    fn held(&self, article: &Article) -> Result<Option<Bytes>, DiskError> {
        let (name, now) = (article.name(), SystemTime::now());
        let check = |bytes: &Bytes| match self.check(article, bytes) {
            Ok(()) => true,
            Err(why) => {
                warn!(file = article.path(), why, "a file that is held is not what it should be");
                false
            }
        };
        if let Some(bytes) = self.shelf.lend(&name, now, check)? {
            return Ok(Some(bytes));
        }
        let Article::Package { package, .. } = article else { return Ok(None) };
        if !self.shelf.adopt(&name, &self.supply.cache.package(&package.identity().to_string()))? {
            return Ok(None);
        }
        self.shelf.lend(&name, now, check)
    }

    async fn download(self: &Arc<Self>, article: &Article) -> Result<Bytes, MirrorError> {
        let (mirrors, path) = (&self.supply.mirrors, article.path());
        let upstream = |source| MirrorError::upstream(path.to_owned(), source);
        let size = match article {
            Article::Package { package, .. } => package.size(),
            // What upstream announces is a promise; how long it really is, is known at the end.
            Article::Image(path) => mirrors.length(path).await.ok().flatten().unwrap_or_default(),
        };
        let stock = Arc::clone(self);
        // While a file is on its way, nobody sweeps its folder.
        let prepared = tokio::task::spawn_blocking(move || {
            let shared = Lock::share(&stock.supply.lock)?;
            Ok::<_, DiskError>((shared, stock.shelf.room(size)?))
        });
        let (_shared, room) = prepared.await.map_err(|_| MirrorError::Lost)??;
        let (file, signature) = match article {
            Article::Package { package, .. } => {
                let package = package.clone();
                let check = move |path: &Path| {
                    PackageFile::read(&disk::map(path)?)?.verify_against(&package)?;
                    Ok(())
                };
                (mirrors.package_file(path, size, &self.partial, check).await.map_err(upstream)?, None)
            }
            Article::Image(path) => {
                if !self.supply.checks.makes(Check::Signature) {
                    return Err(MirrorError::Unsigned(path.clone()));
                }
                let keys = &self.supply.checks.release_keys;
                let (file, signature) = mirrors.image_file(path, &self.partial, keys).await.map_err(upstream)?;
                (file, Some(signature))
            }
        };
        let (stock, article) = (Arc::clone(self), article.clone());
        let kept = tokio::task::spawn_blocking(move || {
            let room = if length(&file)? == size {
                room
            } else {
                drop(room);
                stock.shelf.room(length(&file)?)?
            };
            if let Some(signature) = signature {
                disk::write_atomic(&stock.signature(&article), &signature)?;
            }
            match room {
                Some(room) => stock.shelf.keep(room, file, &article.name(), SystemTime::now()),
                None => {
                    warn!(file = article.path(), "there is no room to keep a file; it is served and forgotten");
                    disk::map(file.path())
                }
            }
        });
        Ok(kept.await.map_err(|_| MirrorError::Lost)??)
    }

    /// Compares the bytes of an article with what vouches for it.
    fn check(&self, article: &Article, bytes: &Bytes) -> Result<(), String> {
        match article {
            Article::Package { package, .. } => {
                let read = PackageFile::read(bytes).map_err(|error| chain(&error))?;
                read.verify_against(package).map_err(|error| chain(&error))
            }
            Article::Image(_) => {
                let signature = disk::read_bounded(&self.signature(article), LARGEST_SIGNATURE);
                let signature = DetachedSignature::parse(&signature.map_err(|error| chain(&error))?);
                let mut hashes = FileHashes::default();
                hashes.update(bytes);
                let verified = signature.and_then(|it| it.verify(&hashes, &self.supply.checks.release_keys).map(drop));
                verified.map_err(|error| chain(&error))
            }
        }
    }

    fn signature(&self, article: &Article) -> PathBuf {
        self.signatures.join(format!("{}.asc", article.digest()))
    }
}

fn length(file: &TempFile) -> Result<u64, DiskError> {
    Ok(disk::examine(file.path())?.0)
}
