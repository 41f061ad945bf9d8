//! Where bundles are made: mirrors, cache, packages, and the builder over them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::StreamExt as _;

use super::progress::Shown;
use crate::apk::{Index, KeyRing};
use crate::build::{Netboot, Recipe, Selection, Staged, Wanted, select};
use crate::config::{FetchSettings, Settings, VerifySettings};
use crate::disk;
use crate::fetch::{
    Cache, CachedFile, Checks, Downloader, FetchError, HttpSettings, Mirrors, NetbootSet, PackagePlace, ReleaseKey,
    Wish,
};
use crate::model::alpine::{Arch, Branch};
use crate::model::check::Check;
use crate::model::manifest::{Alpine, FileEntry, PackageEntry, Verified};

/// How many files are downloaded at once.
const PARALLEL: usize = 8;

/// The largest key file read.
const LARGEST_KEY: u64 = 64 << 10;

/// Whether mirrors may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// They may.
    Online,
    /// Only what is in the cache is used.
    Offline,
}

/// The place.
pub(super) struct Workshop {
    mirrors: Mirrors,
    cache: Cache,
    checks: Checks,
    /// Indexes and their keys by place: profiles share them.
    indexes: HashMap<String, (Index, String)>,
    /// `SOURCE_DATE_EPOCH`, the time every file of an overlay gets.
    epoch: u64,
}

impl Workshop {
    pub(super) fn open(settings: &Settings, access: Access) -> anyhow::Result<Self> {
        let downloader = Downloader::new(patience(&settings.fetch))?.with_progress(Arc::new(Shown::default()));
        let mirrors = Mirrors::new(&settings.mirrors, downloader)?;
        Ok(Self {
            mirrors: if access == Access::Offline { mirrors.offline() } else { mirrors },
            cache: Cache::open(&settings.cache())?,
            checks: checks(&settings.verify)?,
            indexes: HashMap::new(),
            epoch: epoch()?,
        })
    }

    pub(super) const fn cache(&self) -> &Cache {
        &self.cache
    }

    pub(super) const fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }

    /// The netboot set of a recipe.
    pub(super) async fn netboot_set(&self, recipe: &Recipe) -> Result<NetbootSet, FetchError> {
        let choice = &recipe.alpine;
        let wish = Wish { release: choice.release, arch: choice.arch.clone(), flavor: choice.flavor.clone() };
        self.mirrors.netboot_set(&wish, &self.cache, &self.checks).await
    }

    /// Who an OpenPGP key belongs to, as far as it says itself.
    pub(super) fn owner(&self, fingerprint: &str) -> Option<String> {
        let keys = &self.checks.release_keys;
        keys.iter().find(|key| key.fingerprint().to_string() == fingerprint).map(|key| key.user_id().to_owned())
    }

    /// The checks that were not made of a set.
    pub(super) fn unchecked(&self, set: &NetbootSet) -> BTreeSet<Check> {
        let mut unchecked = self.checks.off.clone();
        if set.release_key.is_some() {
            unchecked.remove(&Check::Signature);
        }
        for made in &set.facts.made {
            unchecked.remove(made);
        }
        unchecked
    }

    /// The packages of a recipe for its netboot set, all of them in the cache.
    pub(super) async fn supplies(&mut self, recipe: &Recipe, set: NetbootSet) -> anyhow::Result<Supplies> {
        let keys = set.facts.keys(&self.checks.package_keys);
        let mut verified = Verified {
            tarball: set.release.sha256,
            release_key: set.release_key.clone(),
            kernel: set.facts.kernel.clone(),
            modloop_key: set.facts.modloop_key.clone(),
            index_keys: BTreeMap::new(),
            off: self.unchecked(&set),
        };
        let (mut indexes, mut missing) = (Vec::new(), Vec::new());
        for repository in &recipe.alpine.repositories {
            match self.index(set.release.branch, repository, &set.release.arch, &keys).await {
                Ok((index, key)) => {
                    verified.index_keys.insert(repository.clone(), key);
                    indexes.push(index);
                }
                Err(FetchError::Offline { missing: more }) => missing.extend(more),
                Err(error) => return Err(error.into()),
            }
        }
        all_there(missing)?;
        let selection = select(recipe, &indexes, set.facts.modloop_is_signed)?;
        let packages = self.packages(&selection, &recipe.alpine.repositories, &set).await?;
        Ok(Supplies { set, verified, selection, packages })
    }

    pub(super) async fn stage(&mut self, recipe: &Recipe) -> anyhow::Result<Staged> {
        let set = self.netboot_set(recipe).await?;
        let Supplies { set, verified, selection, packages } = self.supplies(recipe, set).await?;
        let (recipe, netboot, epoch) = (recipe.clone(), netboot(&set, verified), self.epoch);
        let staged =
            tokio::task::spawn_blocking(move || Staged::assemble(&recipe, &netboot, &selection, packages, epoch))
                .await?;
        Ok(staged?)
    }

    /// A repository's index, and the key that signed it.
    async fn index(
        &mut self,
        branch: Branch,
        repository: &str,
        arch: &Arch,
        keys: &KeyRing,
    ) -> Result<(Index, String), FetchError> {
        let place = format!("{branch}/{repository}/{arch}");
        if let Some(known) = self.indexes.get(&place) {
            return Ok(known.clone());
        }
        let found = self.mirrors.index(branch, repository, arch, keys, &self.cache).await?;
        self.indexes.insert(place, found.clone());
        Ok(found)
    }

    /// Every selected package, from the cache or a mirror, verified against its index.
    async fn packages(
        &self,
        selection: &Selection,
        repositories: &[String],
        set: &NetbootSet,
    ) -> anyhow::Result<Vec<(PackageEntry, PathBuf)>> {
        let fetched = selection.wanted.iter().map(|wanted| {
            let repository = repositories.get(wanted.repository).map(String::as_str).unwrap_or_default();
            self.package(wanted, repository, set)
        });
        let mut fetched = futures_util::stream::iter(fetched).buffered(PARALLEL);
        let (mut packages, mut missing) = (Vec::new(), Vec::new());
        while let Some(package) = fetched.next().await {
            match package {
                Ok(package) => packages.push(package),
                Err(FetchError::Offline { missing: more }) => missing.extend(more),
                Err(error) => return Err(error.into()),
            }
        }
        all_there(missing)?;
        Ok(packages)
    }

    async fn package(
        &self,
        wanted: &Wanted,
        repository: &str,
        set: &NetbootSet,
    ) -> Result<(PackageEntry, PathBuf), FetchError> {
        let identity = wanted.package.identity().to_string();
        let place = PackagePlace {
            branch: set.release.branch,
            repository,
            arch: &set.release.arch,
            file: &wanted.package.file_name(),
            size: wanted.package.size(),
            identity: &identity,
        };
        let entry = self.mirrors.package(&place, &self.cache, |bytes| wanted.verified(bytes)).await?;
        Ok((entry, self.cache.package(&identity)))
    }
}

/// What a bundle is made of, apart from the recipe.
pub(super) struct Supplies {
    pub(super) set: NetbootSet,
    pub(super) verified: Verified,
    pub(super) selection: Selection,
    pub(super) packages: Vec<(PackageEntry, PathBuf)>,
}

/// An error that names everything that is missing offline, not just the first thing.
fn all_there(missing: Vec<String>) -> Result<(), FetchError> {
    if missing.is_empty() { Ok(()) } else { Err(FetchError::Offline { missing }) }
}

/// How downloads go: as the site says, and as they are best where it says nothing.
fn patience(settings: &FetchSettings) -> HttpSettings {
    let best = HttpSettings::default();
    HttpSettings {
        attempts: settings.attempts.unwrap_or(best.attempts),
        read_timeout: settings.read_timeout.unwrap_or(best.read_timeout),
        time_limit: settings.time_limit.unwrap_or(best.time_limit),
        ..best
    }
}

/// What downloads are checked against: Alpine's keys and the site's.
fn checks(settings: &VerifySettings) -> anyhow::Result<Checks> {
    let mut checks = Checks { off: settings.off.clone(), ..Checks::default() };
    for path in &settings.release_keys {
        let bytes = disk::read_bounded(path, LARGEST_KEY).context("a key of `verify.release-keys` cannot be read")?;
        let key = ReleaseKey::parse(&bytes)
            .with_context(|| format!("{} of `verify.release-keys` cannot be used", path.display()))?;
        checks.release_keys.insert(key);
    }
    for path in &settings.package_keys {
        let bytes = disk::read_bounded(path, LARGEST_KEY).context("a key of `verify.package-keys` cannot be read")?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        checks
            .package_keys
            .insert(&name, &bytes)
            .with_context(|| format!("{} of `verify.package-keys` cannot be used", path.display()))?;
    }
    Ok(checks)
}

fn netboot(set: &NetbootSet, verified: Verified) -> Netboot {
    let file = |kind: &str, file: &CachedFile| {
        let entry = FileEntry { name: format!("{kind}-{}", set.flavor), sha256: file.digest, size: file.size };
        (entry, file.path.clone())
    };
    let release = &set.release;
    Netboot {
        alpine: Alpine {
            branch: release.branch,
            version: release.version,
            arch: release.arch.clone(),
            flavor: set.flavor.clone(),
        },
        verified,
        kernel: file("vmlinuz", &set.kernel),
        initramfs: file("initramfs", &set.initramfs),
        modloop: file("modloop", &set.modloop),
    }
}

/// `SOURCE_DATE_EPOCH` as reproducible-builds.org defines it; 0 when it is not set.
fn epoch() -> anyhow::Result<u64> {
    /// What the eleven octal digits of a tar header hold.
    const LATEST: u64 = 0o77_777_777_777;
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => {
            let seconds = text.parse().ok().filter(|seconds| *seconds <= LATEST);
            seconds.with_context(|| {
                format!("SOURCE_DATE_EPOCH is `{text}`; it must be a number of seconds up to {LATEST}")
            })
        }
        Err(_) => Ok(0),
    }
}
