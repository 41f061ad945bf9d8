//! Filling a mirror ahead of its clients: every package of whole repositories.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::StreamExt as _;

use super::repositories::{Standing, Wish};
use super::stock::{Article, Found};
use super::{Mirror, MirrorError, Repository};

/// How many packages are asked for at once.
const PARALLEL: usize = 8;

/// How many failures are told one by one.
const MOST_FAILURES: usize = 20;

/// What filling a mirror takes.
#[derive(Debug)]
pub struct Plan {
    /// Packages of these repositories, each of them once.
    pub packages: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Those that are not held yet.
    pub missing: usize,
    /// Their bytes.
    pub missing_bytes: u64,
    articles: Vec<Article>,
}

/// What filling a mirror came to.
#[derive(Debug, Default)]
pub struct Synced {
    /// Packages that came from upstream.
    pub downloaded: usize,
    /// Their bytes.
    pub downloaded_bytes: u64,
    /// Packages that were held already, here or by builds.
    pub held: usize,
    /// Packages that cannot be had.
    pub failed: usize,
    /// Why the first of them cannot.
    pub failures: Vec<Arc<MirrorError>>,
}

impl Mirror {
    /// Brings the indexes of repositories up to date, and says what it takes to hold all of their packages.
    ///
    /// # Errors
    /// When an index cannot be had; then what is held of it does not do.
    pub async fn plan(&self, repositories: &[Repository]) -> Result<Plan, Arc<MirrorError>> {
        let (mut seen, mut articles) = (HashSet::new(), Vec::new());
        if let Some(other) = repositories.iter().find(|repository| !self.has(repository)) {
            return Err(Arc::new(MirrorError::NotMirrored(other.repository.clone())));
        }
        for repository in repositories {
            let (held, standing) = self.inner.repositories.index(repository, Wish::New).await?;
            if standing == Standing::Stale {
                return Err(Arc::new(MirrorError::Stale(repository.to_string())));
            }
            for package in held.index.listing.packages() {
                let path = format!("{repository}/{}", package.file_name());
                let article = Article::Package { path, package: package.clone() };
                if seen.insert(article.name()) {
                    articles.push(article);
                }
            }
        }
        // The order of an index is kept in none of its listings; this one is the same each time.
        articles.sort_by(|a, b| a.path().cmp(b.path()));
        let bytes = |articles: &mut dyn Iterator<Item = &Article>| articles.map(Article::size).sum();
        let missing = |article: &&Article| !self.inner.stock.shelf.has(&article.name());
        Ok(Plan {
            packages: articles.len(),
            bytes: bytes(&mut articles.iter()),
            missing: articles.iter().filter(missing).count(),
            missing_bytes: bytes(&mut articles.iter().filter(missing)),
            articles,
        })
    }

    /// Brings every package of a plan that is not held. What was brought stays when this is stopped.
    ///
    /// # Errors
    /// When the packages do not fit, or the disk fails. A package that cannot be had is only counted.
    pub async fn sync(&self, plan: Plan, mut advanced: impl FnMut(&Synced)) -> Result<Synced, Arc<MirrorError>> {
        let (stock, limit) = (&self.inner.stock, self.inner.stock.shelf.limit());
        if plan.bytes > limit {
            return Err(Arc::new(MirrorError::TooSmall { needed: plan.bytes, limit }));
        }
        // What is held of it must not make room for the rest.
        let (shelf, names) = (Arc::clone(&stock.shelf), plan.articles.iter().map(Article::name).collect::<Vec<_>>());
        let used =
            tokio::task::spawn_blocking(move || names.iter().for_each(|it| shelf.use_now(it, SystemTime::now())));
        used.await.map_err(|_| MirrorError::Lost)?;
        let mut synced = Synced::default();
        let (missing, held): (Vec<_>, Vec<_>) =
            plan.articles.into_iter().partition(|article| !stock.shelf.has(&article.name()));
        synced.held = held.len();
        let getting = missing.iter().map(|article| stock.get(article));
        let mut got = futures_util::stream::iter(getting).buffer_unordered(PARALLEL);
        while let Some(got) = got.next().await {
            match got {
                Ok((bytes, Found::Upstream)) => {
                    synced.downloaded += 1;
                    synced.downloaded_bytes += bytes.len() as u64;
                }
                Ok((_, Found::Held)) => synced.held += 1,
                Err(error) if matches!(*error, MirrorError::Disk(_)) => return Err(error),
                Err(error) => {
                    synced.failed += 1;
                    if synced.failures.len() < MOST_FAILURES {
                        synced.failures.push(error);
                    }
                }
            }
            advanced(&synced);
        }
        Ok(synced)
    }
}
