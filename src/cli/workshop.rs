//! Where bundles are made: mirrors, cache, packages, and the builder over them.

mod today;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::StreamExt as _;

use super::progress::Shown;
use crate::apk::{Index, KeyRing};
use crate::build::{
    Netboot, Offered, Recipe, Staged, Update, Verified as VerifiedPackage, boot_world, make_lock, verified,
};
use crate::config::{FetchSettings, Settings, VerifySettings};
use crate::disk;
use crate::fetch::{
    Cache, CachedFile, Checks, Downloader, FetchError, FetchedIndex, HttpSettings, Mirrors, NetbootSet, PackagePlace,
    Progress, Release, ReleaseKey, Silent, Wish,
};
use crate::mirror::packages;
use crate::model::alpine::{Arch, Branch, ReleaseSpec};
use crate::model::check::Check;
use crate::model::lock::{Asked, Lock, LockedPackage, LockedRelease, LockedRepository};
use crate::model::manifest::{Alpine, FileEntry, PackageEntry, Verified};
use crate::model::name::ProfileName;
pub(super) use today::Today;

/// The variable of the environment that says which time files of an overlay get (reproducible-builds.org).
pub(super) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// How many files are downloaded at once.
const PARALLEL: usize = 8;

/// The largest key file read.
pub(super) const LARGEST_KEY: u64 = 64 << 10;

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
    downloader: Downloader,
    mirrors: Mirrors,
    cache: Cache,
    checks: Checks,
    /// Indexes by place: profiles share them.
    indexes: HashMap<String, FetchedIndex>,
    /// `SOURCE_DATE_EPOCH`, the time every file of an overlay gets.
    epoch: u64,
}

impl Workshop {
    pub(super) fn open(settings: &Settings, access: Access) -> anyhow::Result<Self> {
        Self::with(settings, access, Arc::new(Shown::default()))
    }

    /// The same, which does not show what it downloads.
    pub(super) fn quiet(settings: &Settings, access: Access) -> anyhow::Result<Self> {
        Self::with(settings, access, Arc::new(Silent))
    }

    fn with(settings: &Settings, access: Access, progress: Arc<dyn Progress>) -> anyhow::Result<Self> {
        let downloader = Downloader::new(patience(&settings.fetch))?.with_progress(progress);
        let mirrors = Mirrors::new(&settings.mirrors, downloader.clone())?;
        Ok(Self {
            downloader,
            mirrors: if access == Access::Offline { mirrors.offline() } else { mirrors },
            cache: Cache::open(&settings.cache())?.beside(&packages(&settings.mirror())),
            checks: checks(&settings.verify)?,
            indexes: HashMap::new(),
            epoch: epoch()?,
        })
    }

    pub(super) const fn cache(&self) -> &Cache {
        &self.cache
    }

    /// What Alpine's files come from, and what they are checked against.
    pub(super) fn into_sources(self) -> (Mirrors, Cache, Checks) {
        (self.mirrors, self.cache, self.checks)
    }

    pub(super) const fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }

    /// The netboot set of a recipe: of the release in its lock, where that is for what the recipe asks for.
    pub(super) async fn netboot_set(&self, recipe: &Recipe, lock: Option<&Lock>) -> anyhow::Result<NetbootSet> {
        let choice = &recipe.alpine;
        let locked = lock.map(|lock| &lock.alpine).filter(|_| lock.is_some_and(|lock| lock.is_of(&asked(recipe))));
        let release = locked.map_or(choice.release, |locked| ReleaseSpec::Version(locked.version));
        let set = self.mirrors.netboot_set(&wish(recipe, release), &self.cache, &self.checks).await?;
        if let Some(locked) = locked {
            anyhow::ensure!(
                locked.tarball == set.release.sha256,
                "{} has SHA-256 {}, and {} is in the lock; nobody replaces a release, so look into it before you make \
                 the lock anew",
                set.release.file(),
                set.release.sha256,
                locked.tarball
            );
        }
        Ok(set)
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

    /// The lock a recipe is built from, for its netboot set: the one `before` where that fits and `update` asks for
    /// nothing else, or a new one.
    pub(super) async fn agree(
        &mut self,
        recipe: &Recipe,
        set: &NetbootSet,
        before: Option<&Lock>,
        update: &Update,
    ) -> anyhow::Result<Lock> {
        let lacks = before.map(|lock| misfit(recipe, set, lock));
        if let (Some(lock), Some(None), Update::Needed) = (before, lacks, update) {
            return Ok(lock.clone());
        }
        let offered = self.offered(recipe, set, set.release.branch).await?;
        let release = locked_release(recipe, &set.release);
        let before = before.map(|lock| (lock, update));
        let carried = |package: &LockedPackage| {
            let bytes = disk::read_bounded(&self.cache.package(&package.identity), package.size).ok()?;
            Some(verified(package, &set.release.arch, &bytes).ok()?.record)
        };
        Ok(make_lock(recipe, release, set.facts.modloop_is_signed, &offered, before, &carried)?)
    }

    /// What the repositories of a recipe have in a branch, verified by the keys of a set.
    async fn offered(&mut self, recipe: &Recipe, set: &NetbootSet, branch: Branch) -> anyhow::Result<Vec<Offered>> {
        let keys = set.facts.keys(&self.checks.package_keys);
        let (mut offered, mut missing) = (Vec::new(), Vec::new());
        for repository in &recipe.alpine.repositories {
            match self.index(branch, repository, &set.release.arch, &keys).await {
                Ok(FetchedIndex { index, key, digest }) => {
                    offered.push(Offered { name: repository.clone(), index, digest, key });
                }
                Err(FetchError::Offline { missing: more }) => missing.extend(more),
                Err(error) => return Err(error.into()),
            }
        }
        all_there(missing)?;
        Ok(offered)
    }

    /// The packages of a lock that fits the set, all of them in the cache.
    pub(super) async fn supplies(
        &self,
        profile: &ProfileName,
        set: NetbootSet,
        lock: &Lock,
    ) -> anyhow::Result<Supplies> {
        let keys = set.facts.keys(&self.checks.package_keys);
        for LockedRepository { name, key, .. } in &lock.repositories {
            anyhow::ensure!(
                keys.key(key).is_some(),
                "the index of repository `{name}` in the lock was signed by {key}, which is not trusted now; make the \
                 lock anew with `bivouac lock {profile} --update`, or trust the key in `verify.package-keys`"
            );
        }
        let fetched = lock.packages.iter().map(|package| self.package(package, &set));
        let mut fetched = futures_util::stream::iter(fetched).buffered(PARALLEL);
        let (mut packages, mut records, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for locked in &lock.packages {
            match fetched.next().await.context("every package is asked for")? {
                Ok((package, path)) => {
                    packages.push((package.entry, path));
                    records.push(package.record);
                }
                Err(FetchError::Offline { missing: more }) => missing.extend(more),
                Err(error) => return Err(gone(profile, locked, error)),
            }
        }
        drop(fetched);
        all_there(missing)?;
        let verified = Verified {
            tarball: set.release.sha256,
            release_key: set.release_key.clone(),
            kernel: set.facts.kernel.clone(),
            modloop_key: set.facts.modloop_key.clone(),
            index_keys: lock.repositories.iter().map(|it| (it.name.clone(), it.key.clone())).collect(),
            off: self.unchecked(&set),
        };
        Ok(Supplies { set, verified, records, packages })
    }

    /// A bundle of the recipe with the packages of its lock.
    pub(super) async fn stage(&self, recipe: &Recipe, set: NetbootSet, lock: &Lock) -> anyhow::Result<Staged> {
        let Supplies { set, verified, records, packages } = self.supplies(&recipe.name, set, lock).await?;
        let (recipe, netboot, epoch) = (recipe.clone(), netboot(&set, verified), self.epoch);
        let staged =
            tokio::task::spawn_blocking(move || Staged::assemble(&recipe, &netboot, &records, packages, epoch)).await?;
        Ok(staged?)
    }

    /// The indexes of some repositories of a release, verified by the keys that are known without it. Only where those
    /// do not suffice, because a release may have new ones, its netboot set is fetched for the keys in it.
    pub(super) async fn indexes(&mut self, wish: &Wish, repositories: &[String]) -> Result<Vec<Index>, FetchError> {
        let branch = self.mirrors.branch(wish, &self.cache, &self.checks).await?;
        let mut keys = self.cache.package_keys(&wish.arch, &self.checks)?;
        let mut indexes = Vec::new();
        for repository in repositories {
            let found = match self.index(branch, repository, &wish.arch, &keys).await {
                Err(error) if error.is_unknown_key() => {
                    let set = self.mirrors.netboot_set(wish, &self.cache, &self.checks).await?;
                    keys.extend(set.facts.keys(&self.checks.package_keys));
                    self.index(branch, repository, &wish.arch, &keys).await?
                }
                found => found?,
            };
            indexes.push(found.index);
        }
        Ok(indexes)
    }

    /// A repository's index.
    async fn index(
        &mut self,
        branch: Branch,
        repository: &str,
        arch: &Arch,
        keys: &KeyRing,
    ) -> Result<FetchedIndex, FetchError> {
        let place = format!("{branch}/{repository}/{arch}");
        if let Some(known) = self.indexes.get(&place) {
            return Ok(known.clone());
        }
        let found = self.mirrors.index(branch, repository, arch, keys, &self.cache).await?;
        self.indexes.insert(place, found.clone());
        Ok(found)
    }

    /// A locked package, from the cache or a mirror.
    async fn package(
        &self,
        package: &LockedPackage,
        set: &NetbootSet,
    ) -> Result<(VerifiedPackage, PathBuf), FetchError> {
        let place = PackagePlace {
            branch: set.release.branch,
            repository: &package.repository,
            arch: &set.release.arch,
            file: &package.file_name(),
            size: package.size,
            identity: &package.identity,
        };
        let check = |bytes: &[u8]| verified(package, &set.release.arch, bytes);
        let found = self.mirrors.package(&place, &self.cache, check).await?;
        Ok((found, self.cache.package(&package.identity)))
    }
}

/// Why a locked package cannot be had; where no mirror has it any more, with what to do.
fn gone(profile: &ProfileName, package: &LockedPackage, error: FetchError) -> anyhow::Error {
    let is_gone = matches!(error, FetchError::NotFound { .. });
    let error = anyhow::Error::from(error);
    if !is_gone {
        return error;
    }
    let LockedPackage { name, version, .. } = package;
    error.context(format!(
        "package {name}-{version} of the lock cannot be had any more: mirrors delete what is superseded; take the newest \
         with `bivouac lock {profile} --update {name}`, or bring the package from a site that has it with `export`"
    ))
}

fn wish(recipe: &Recipe, release: ReleaseSpec) -> Wish {
    Wish { release, arch: recipe.alpine.arch.clone(), flavor: recipe.alpine.flavor.clone() }
}

fn locked_release(recipe: &Recipe, release: &Release) -> LockedRelease {
    LockedRelease {
        wanted: recipe.alpine.release,
        version: release.version,
        arch: release.arch.clone(),
        tarball: release.sha256,
    }
}

/// Why a lock is none for a recipe with this set, in words that follow "the lock".
pub(super) fn misfit(recipe: &Recipe, set: &NetbootSet, lock: &Lock) -> Option<String> {
    let world = boot_world(recipe, set.facts.modloop_is_signed);
    lock.misfit(&Asked { world: &world, ..asked(recipe) })
}

/// The same without a set: a lock that would do for some set is none the less the recipe's.
pub(super) fn misfit_of_any_set(recipe: &Recipe, lock: &Lock) -> Option<String> {
    let why = |modloop_is_signed| {
        let world = boot_world(recipe, modloop_is_signed);
        lock.misfit(&Asked { world: &world, ..asked(recipe) })
    };
    why(true).and_then(|_| why(false))
}

/// What a recipe asks for, as far as it is known without its netboot set.
fn asked(recipe: &Recipe) -> Asked<'_> {
    let choice = &recipe.alpine;
    Asked { release: choice.release, arch: &choice.arch, repositories: &choice.repositories, world: &[] }
}

/// What a bundle is made of, apart from the recipe.
pub(super) struct Supplies {
    pub(super) set: NetbootSet,
    pub(super) verified: Verified,
    /// The index record of each package.
    pub(super) records: Vec<String>,
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
    match std::env::var(EPOCH) {
        Ok(text) => {
            let seconds = text.parse().ok().filter(|seconds| *seconds <= LATEST);
            seconds.with_context(|| format!("{EPOCH} is `{text}`; it must be a number of seconds up to {LATEST}"))
        }
        Err(_) => Ok(0),
    }
}
