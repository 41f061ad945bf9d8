//! What an update of a lock would come to, without fetching what it would take.

use super::{Workshop, locked_release, wish};
use crate::apk::Secdb;
use crate::build::{BuildError, Offered, Recipe, Update, make_lock, newest_listed};
use crate::fetch::{FetchError, NetbootSet, secdb};
use crate::model::alpine::{Branch, ReleaseSpec};
use crate::model::lock::Lock;

/// What there is for a recipe now.
pub(in crate::cli) struct Today {
    /// The lock that an update would make.
    pub(in crate::cli) lock: Lock,
    /// What the repositories have.
    pub(in crate::cli) offered: Vec<Offered>,
    /// Why an update would fail; then `lock` only says what is listed.
    pub(in crate::cli) unsolvable: Option<BuildError>,
}

impl Workshop {
    /// Looks at what the mirror has for a recipe with a lock and the netboot set of that lock. The release is the newest
    /// by the mirror's list; what only its files would tell (keys, whether the modloop is signed) is as in the old set.
    pub(in crate::cli) async fn today(
        &mut self,
        recipe: &Recipe,
        set: &NetbootSet,
        lock: &Lock,
    ) -> anyhow::Result<Today> {
        let release = match recipe.alpine.release {
            ReleaseSpec::Version(_) => set.release.clone(),
            name => self.mirrors.release(&wish(recipe, name), &self.cache, &self.checks).await?,
        };
        let offered = self.offered(recipe, set, release.branch).await?;
        let alpine = locked_release(recipe, &release);
        let is_signed = set.facts.modloop_is_signed;
        let made = make_lock(recipe, alpine.clone(), is_signed, &offered, Some((lock, &Update::All)), &|_| None);
        let (lock, unsolvable) = match made {
            Ok(made) => (made, None),
            Err(error @ BuildError::Unsolvable { .. }) => (newest_listed(lock, alpine, &offered), Some(error)),
            Err(error) => return Err(error.into()),
        };
        Ok(Today { lock, offered, unsolvable })
    }

    /// Alpine's advisories about a repository, from the security database at `base`.
    pub(in crate::cli) async fn secdb(
        &self,
        base: &str,
        branch: Branch,
        repository: &str,
    ) -> Result<Secdb, FetchError> {
        secdb(&self.downloader, base, branch, repository).await
    }
}
