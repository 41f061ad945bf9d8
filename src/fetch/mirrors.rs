//! Mirrors of Alpine: from what a profile asks for to a verified set of files, an index, a package.

use std::collections::VecDeque;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::cache::{Cache, touch};
use super::download::{address, blocking, shown};
use super::inspect::inspect;
use super::openpgp::{DetachedSignature, ReleaseKeys};
use super::partial::Partial;
use super::release::Release;
use super::resolve::{current, refuse_disorder};
use super::sink::{Follower, Growth, Target};
use super::tarball::{Unpacked, unpack};
use super::{Checks, Downloader, Expect, FetchError, NetbootSet, Source};
use crate::apk::{Index, KeyRing, SignedIndex};
use crate::disk::{self, Lock, Scratch};
use crate::model::alpine::{Arch, Branch, Flavor, ReleaseSpec};
use crate::model::check::Check;
use crate::model::digest::Digest;

/// The largest signature file, which has a dozen lines.
pub(super) const LARGEST_SIGNATURE: u64 = 64 << 10;

/// The largest tarball; a modloop is about 150 MiB per flavor (REL-4), and there are up to three flavors (REL-5).
pub(super) const LARGEST_TARBALL: u64 = 4 << 30;

/// The largest package index taken. Alpine's largest, of edge/community, is a few MiB.
pub(super) const LARGEST_INDEX: u64 = 64 << 20;

/// The largest package taken; Alpine's largest have about 700 MB.
pub(super) const LARGEST_PACKAGE: u64 = 2 << 30;

/// How often a tarball that another process is fetching is tried again.
const CLAIM_INTERVAL: Duration = Duration::from_millis(200);

/// Where Alpine's releases and packages come from: one mirror, or several in the order in which they are asked.
#[derive(Debug, Clone)]
pub struct Mirrors {
    pub(super) bases: Vec<String>,
    pub(super) downloader: Downloader,
    pub(super) is_offline: bool,
}

/// Which set of files is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The release, which may be a moving name.
    pub release: ReleaseSpec,
    /// The architecture.
    pub arch: Arch,
    /// The kernel flavor.
    pub flavor: Flavor,
}

/// The index of a package repository, verified.
#[derive(Debug, Clone)]
pub struct FetchedIndex {
    /// What the repository has.
    pub index: Index,
    /// The file name of the key that signed it.
    pub key: String,
    /// SHA-256 of the file.
    pub digest: Digest,
}

/// Where a package is and how to recognise it.
#[derive(Debug, Clone, Copy)]
pub struct PackagePlace<'a> {
    /// The branch.
    pub branch: Branch,
    /// The repository, such as `main`.
    pub repository: &'a str,
    /// The folder of the repository: an architecture.
    pub arch: &'a Arch,
    /// `name-version.apk`.
    pub file: &'a str,
    /// Its length in bytes, as the index has it.
    pub size: u64,
    /// Its identity, as the index has it.
    pub identity: &'a str,
}

impl Mirrors {
    /// Mirrors at these addresses: each is the folder that holds `v3.24` and its siblings.
    ///
    /// # Errors
    /// When one is no address to download from, or carries a password, or there is none.
    pub fn new(base_urls: &[String], downloader: Downloader) -> Result<Self, FetchError> {
        let bases = base_urls.iter().map(|base| base_of(base)).collect::<Result<Vec<_>, _>>()?;
        if bases.is_empty() {
            let reason = "at least one mirror is needed".to_owned();
            return Err(FetchError::Address { url: String::new(), reason });
        }
        Ok(Self { bases, downloader, is_offline: false })
    }

    /// The same, which never asks for anything: only what is in the cache is given.
    #[must_use]
    pub fn offline(self) -> Self {
        Self { is_offline: true, ..self }
    }

    /// The files of one flavor of a release, from the cache or from the first mirror that has them as they should be.
    ///
    /// A moving name is asked for once; a version that was fetched before is given without any request. A mirror that
    /// lags behind, lies or does not answer is left for the next one. Whoever else is fetching the same tarball is
    /// waited for, and what a killed fetch had received already is continued.
    ///
    /// # Errors
    /// When no mirror has what is asked for, or it is not what it should be; then nothing of it stays in the cache.
    pub async fn netboot_set(&self, wish: &Wish, cache: &Cache, checks: &Checks) -> Result<NetbootSet, FetchError> {
        // Names and records are written even when nothing is downloaded.
        let _shared = share(cache).await?;
        let is_exact = matches!(wish.release, ReleaseSpec::Version(_));
        let known = if is_exact || self.is_offline { known(cache, wish, checks).await? } else { None };
        let set = match known {
            Some(set) => set,
            None if self.is_offline => {
                let why = cache.lacks(wish, checks)?;
                let what = format!("Alpine {} {} {}{why}", wish.release, wish.arch, wish.flavor);
                return Err(FetchError::Offline { missing: vec![what] });
            }
            None => {
                let ask = async |base: &str, downloader: &Downloader| {
                    self.set_from(base, downloader, wish, cache, checks).await
                };
                self.first_good(ask).await?
            }
        };
        discard_leftover(&cache.partial(&set.release))?;
        Ok(set)
    }

    /// The release that a name means now, by the list of a mirror. Nothing of it is fetched or verified: it tells what is
    /// new, and is nothing to build from.
    ///
    /// # Errors
    /// When no mirror has one that may follow those seen before; always when mirrors may not be asked.
    pub async fn release(&self, wish: &Wish, cache: &Cache, checks: &Checks) -> Result<Release, FetchError> {
        if self.is_offline {
            return Err(FetchError::OfflineSurvey);
        }
        self.first_good(async |base, downloader| current(downloader, base, wish, cache, checks).await).await
    }

    /// The branch of a release: most names say it themselves; that of `latest-stable` is in the list of a mirror, and
    /// offline the one it led to last. Nothing of the release is fetched.
    ///
    /// # Errors
    /// As [`Mirrors::release`]; offline, when the release is not in the cache.
    pub async fn branch(&self, wish: &Wish, cache: &Cache, checks: &Checks) -> Result<Branch, FetchError> {
        match wish.release {
            ReleaseSpec::Branch(branch) => Ok(branch),
            ReleaseSpec::Edge => Ok(Branch::Edge),
            ReleaseSpec::Version(version) => Ok(version.branch()),
            ReleaseSpec::LatestStable if self.is_offline => {
                Ok(self.netboot_set(wish, cache, checks).await?.release.branch)
            }
            ReleaseSpec::LatestStable => Ok(self.release(wish, cache, checks).await?.branch),
        }
    }

    /// The verified index of a repository.
    ///
    /// # Errors
    /// When no mirror has one that a key of `keys` signed; offline, when none was kept.
    pub async fn index(
        &self,
        branch: Branch,
        repository: &str,
        arch: &Arch,
        keys: &KeyRing,
        cache: &Cache,
    ) -> Result<FetchedIndex, FetchError> {
        let place = format!("{branch}/{repository}/{arch}");
        let path = cache.index(&place);
        let open = |url: &str, bytes: &[u8]| match SignedIndex::open(bytes, keys) {
            Ok((index, signed)) => Ok(FetchedIndex { index, key: signed.key, digest: Digest::of(bytes) }),
            Err(source) => Err(FetchError::Refused { url: url.to_owned(), source: Box::new(source) }),
        };
        if self.is_offline {
            return match disk::read_bounded(&path, LARGEST_INDEX) {
                Ok(bytes) => {
                    touch(&path);
                    open(&path.display().to_string(), &bytes)
                }
                Err(error) if error.is_not_found() => {
                    Err(FetchError::Offline { missing: vec![format!("the package index of {place}")] })
                }
                Err(error) => Err(error.into()),
            };
        }
        let _shared = share(cache).await?;
        let (bytes, found) = self
            .first_good(async |base, downloader| {
                let url = format!("{base}/{place}/APKINDEX.tar.gz");
                let bytes = downloader.bytes(&url, &Expect::at_most(LARGEST_INDEX)).await?;
                open(&url, &bytes).map(|found| (bytes, found))
            })
            .await?;
        disk::write_atomic(&path, &bytes)?;
        Ok(found)
    }

    /// A package that `check` accepts, from the cache or from the first mirror that has it, and what `check` made of it.
    ///
    /// # Errors
    /// When no mirror has it; offline, when it is not in the cache.
    pub async fn package<T, E: Error + Send + Sync + 'static>(
        &self,
        place: &PackagePlace<'_>,
        cache: &Cache,
        check: impl Fn(&[u8]) -> Result<T, E>,
    ) -> Result<T, FetchError> {
        let path = cache.package(place.identity);
        if !path.exists() {
            cache.take_from_beside(place.identity);
        }
        if let Ok(bytes) = disk::read_bounded(&path, place.size)
            && let Ok(made) = check(&bytes)
        {
            touch(&path);
            return Ok(made);
        }
        if self.is_offline {
            return Err(FetchError::Offline { missing: vec![format!("package {}", place.file)] });
        }
        let _shared = share(cache).await?;
        let PackagePlace { branch, repository, arch, file, size, .. } = *place;
        let (bytes, made) = self
            .first_good(async |base, downloader| {
                let url = format!("{base}/{branch}/{repository}/{arch}/{file}");
                let bytes = downloader.bytes(&url, &Expect::at_most(LARGEST_PACKAGE).size(size)).await?;
                match check(&bytes) {
                    Ok(made) => Ok((bytes, made)),
                    Err(source) => Err(FetchError::Refused { url, source: Box::new(source) }),
                }
            })
            .await?;
        disk::write_atomic(&path, &bytes)?;
        Ok(made)
    }

    /// What the first mirror gives that has something good.
    pub(super) async fn first_good<T>(
        &self,
        ask: impl AsyncFn(&str, &Downloader) -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        let mut turns = self.turns();
        while let Some((base, downloader)) = turns.next() {
            match ask(&base, &downloader).await {
                Ok(good) => return Ok(good),
                Err(error) => turns.failed(base, error)?,
            }
        }
        Err(turns.failure())
    }

    /// Who is asked in which order.
    pub(super) fn turns(&self) -> Turns {
        let mut bases = self.bases.clone();
        bases.sort_by_key(|base| address(base).is_ok_and(|url| self.downloader.is_shunned(&url)));
        let are_several = bases.len() > 1;
        Turns {
            now: bases.into(),
            later: VecDeque::new(),
            downloader: if are_several { self.downloader.hasty() } else { self.downloader.clone() },
            patient: are_several.then(|| self.downloader.clone()),
            failures: Vec::new(),
            are_several,
        }
    }

    /// The set as one mirror's list names it.
    async fn set_from(
        &self,
        base: &str,
        downloader: &Downloader,
        wish: &Wish,
        cache: &Cache,
        checks: &Checks,
    ) -> Result<NetbootSet, FetchError> {
        let release = current(downloader, base, wish, cache, checks).await?;
        if let Some(set) = cached(cache, &release, &wish.flavor, checks).await? {
            cache.remember(&wish.release, &release)?;
            return Ok(set);
        }
        let partial = self.claim(cache, &release).await?;
        // Whoever had it may have finished.
        let set = match cached(cache, &release, &wish.flavor, checks).await {
            Ok(None) => self.fill(base, downloader, (&release, wish), cache, checks, &partial).await,
            Ok(Some(set)) => Ok(set),
            Err(error) => Err(error),
        };
        // Refused or complete, it has served; only a killed fetch leaves it to the next one.
        partial.discard()?;
        let set = set?;
        cache.remember(&wish.release, &release)?;
        Ok(set)
    }

    /// Puts a set into the cache: downloads the tarball, unpacking it as it comes, and verifies all of it.
    async fn fill(
        &self,
        base: &str,
        downloader: &Downloader,
        (release, wish): (&Release, &Wish),
        cache: &Cache,
        checks: &Checks,
        partial: &Partial,
    ) -> Result<NetbootSet, FetchError> {
        let source = self.tarball(base, release);
        let signature = match checks.makes(Check::Signature) {
            true => Some(signature(downloader, base, release, &checks.release_keys).await?),
            false => None,
        };
        let growth = Arc::new(Growth::default());
        let unpacking = tokio::spawn(blocking({
            let (name, path, into) = (release.file(), partial.path().to_owned(), cache.unpacking());
            let growth = Arc::clone(&growth);
            move || unpack_as_it_comes(&name, &path, &into, &growth)
        }));
        let expect = Expect { size: release.size, ..Expect::at_most(LARGEST_TARBALL) };
        let expect = expect.sha256(release.sha256).sha512(release.sha512);
        let received = match partial.growing(&growth) {
            Ok(file) => downloader.transfer(&source, &expect, Target::File(file)).await,
            Err(error) => Err(error.into()),
        };
        growth.end();
        let unpacked = match unpacking.await {
            Ok(unpacked) => unpacked,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        };
        let hashes = received?.hashes;
        let signed = match signature {
            Some((url, signature)) => {
                let key = signature.verify(&hashes, &checks.release_keys);
                let file = release.file();
                let key = key.map_err(|source| FetchError::Signature { url: url.clone(), file, source })?;
                let signed_at = signature.created(&checks.release_keys);
                if checks.makes(Check::Replay) {
                    refuse_disorder(url, release, signed_at, cache)?;
                }
                (Some(key.to_string()), signed_at)
            }
            None => (None, None),
        };
        let (unpacked, scratch) = unpacked?;
        let what = format!("check {}", release.file());
        downloader.progress.started(&what, None);
        let kept = blocking({
            let (release, wish, cache, checks) = (release.clone(), wish.clone(), cache.clone(), checks.clone());
            move || keep(&release, signed, unpacked, &scratch, &wish.flavor, &cache, &checks)
        })
        .await;
        downloader.progress.finished(&what);
        kept?;
        let set = cached(cache, release, &wish.flavor, checks).await?;
        set.ok_or_else(|| {
            let path = cache.unpacking();
            let source = std::io::Error::other("the cache was changed while it was filled");
            disk::DiskError::Io { action: "use what was put into", path, source }.into()
        })
    }

    /// The tarball on every mirror; the one whose list named it comes first.
    fn tarball(&self, first: &str, release: &Release) -> Source {
        let others = self.bases.iter().map(String::as_str).filter(|base| *base != first);
        Source::of([first].into_iter().chain(others).map(|base| tarball_url(base, release)).collect())
    }

    /// The unfinished tarball, when nobody else is at it any more.
    async fn claim(&self, cache: &Cache, release: &Release) -> Result<Partial, FetchError> {
        let (path, what) = (cache.partial(release), format!("wait until {} is there", release.file()));
        let mut is_waiting = false;
        let partial = loop {
            match Partial::try_claim(&path) {
                Ok(None) => {
                    if !is_waiting && path.exists() {
                        is_waiting = true;
                        self.downloader.progress.started(&what, None);
                    }
                    tokio::time::sleep(CLAIM_INTERVAL).await;
                }
                Ok(Some(partial)) => break Ok(partial),
                Err(error) => break Err(error),
            }
        };
        if is_waiting {
            self.downloader.progress.finished(&what);
        }
        Ok(partial?)
    }
}

/// One mirror after the other. With several, each is asked hastily first: patience is for when none answers.
pub(super) struct Turns {
    now: VecDeque<String>,
    /// Those that may answer to somebody with more patience.
    later: VecDeque<String>,
    downloader: Downloader,
    /// Who has that patience, when it is not the one who asks now.
    patient: Option<Downloader>,
    failures: Vec<FetchError>,
    are_several: bool,
}

impl Turns {
    /// The next mirror, and by whom it is asked.
    pub(super) fn next(&mut self) -> Option<(String, Downloader)> {
        if self.now.is_empty()
            && let Some(patient) = self.patient.take()
        {
            (self.now, self.downloader) = (std::mem::take(&mut self.later), patient);
        }
        Some((self.now.pop_front()?, self.downloader.clone()))
    }

    /// The last mirror failed.
    ///
    /// # Errors
    /// Its failure, when no other mirror can help.
    pub(super) fn failed(&mut self, base: String, error: FetchError) -> Result<(), FetchError> {
        if error.is_decisive() {
            return Err(error);
        }
        if self.are_several {
            warn!(error = &error as &dyn Error, "mirror {base} is of no use for this");
        }
        if error.gave_up() && self.patient.is_some() {
            self.later.push_back(base);
        } else {
            self.failures.push(error);
        }
        Ok(())
    }

    /// Why none was of use.
    pub(super) fn failure(self) -> FetchError {
        FetchError::of_all(self.failures)
    }
}

/// A mirror's address without its final slash.
fn base_of(base_url: &str) -> Result<String, FetchError> {
    let url = address(base_url)?;
    let refuse = |reason: &str| FetchError::Address { url: shown(&url), reason: reason.to_owned() };
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it must name a folder, without `?` or `#`"));
    }
    // The address gets into messages and logs.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it must not carry a user name or password"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn tarball_url(base: &str, release: &Release) -> String {
    format!("{base}/{}/releases/{}/{}", release.branch, release.arch, release.file())
}

/// The signature beside a tarball, and where it is. One by somebody else is refused before the tarball is downloaded.
async fn signature(
    downloader: &Downloader,
    base: &str,
    release: &Release,
    keys: &ReleaseKeys,
) -> Result<(String, DetachedSignature), FetchError> {
    let url = format!("{}.asc", tarball_url(base, release));
    match downloader.bytes(&url, &Expect::at_most(LARGEST_SIGNATURE)).await {
        Ok(bytes) => {
            let parsed = DetachedSignature::parse(&bytes);
            match parsed.and_then(|signature| signature.check_issuers(keys).map(|()| signature)) {
                Ok(signature) => Ok((url, signature)),
                Err(source) => Err(FetchError::Signature { url, file: release.file(), source }),
            }
        }
        Err(FetchError::NotFound { .. }) => Err(FetchError::NotSigned { url, file: release.file() }),
        Err(error) => Err(error),
    }
}

/// Unpacks a tarball while it is downloaded; from the start whenever the download starts again.
fn unpack_as_it_comes(
    name: &str,
    path: &Path,
    into: &Path,
    growth: &Arc<Growth>,
) -> Result<(Unpacked, Scratch), FetchError> {
    loop {
        let mut follower = Follower::open(path, growth)?;
        let scratch = Scratch::new_in(into)?;
        let unpacked = unpack(name, &mut follower, scratch.path());
        // Whether the bytes were the right ones is known when all of them are there.
        if !follower.is_void_at_the_end() {
            return unpacked.map(|unpacked| (unpacked, scratch));
        }
    }
}

/// Looks into the flavor that is asked for, and puts everything into the cache.
fn keep(
    release: &Release,
    signed: (Option<String>, Option<u64>),
    unpacked: Unpacked,
    scratch: &Scratch,
    flavor: &Flavor,
    cache: &Cache,
    checks: &Checks,
) -> Result<(), FetchError> {
    let folder = scratch.path();
    if let Some(member) = unpacked.incomplete.get(flavor) {
        return Err(FetchError::Incomplete { tarball: release.file(), member: member.clone() });
    }
    if !unpacked.flavors.contains_key(flavor) {
        let present = unpacked.flavors.keys().cloned().collect();
        // What was verified serves who asks for a flavor that is there.
        cache.keep(release, signed, unpacked, folder, None)?;
        return Err(FetchError::NoFlavor {
            flavor: flavor.clone(),
            version: release.version,
            arch: release.arch.clone(),
            present,
        });
    }
    let files = super::record::KINDS.map(|kind| folder.join(format!("{kind}-{flavor}")));
    let facts = inspect(release, flavor, files.each_ref().map(|path| path.as_path()), checks)?;
    cache.keep(release, signed, unpacked, folder, Some((flavor, facts)))
}

/// Removes the tarball of a set that is complete: whoever was killed after that could not any more.
fn discard_leftover(path: &Path) -> Result<(), FetchError> {
    if path.exists()
        && let Some(leftover) = Partial::try_claim(path)?
    {
        leftover.discard()?;
    }
    Ok(())
}

/// Keeps whoever cleans up out of the cache.
async fn share(cache: &Cache) -> Result<Lock, FetchError> {
    let cache = cache.clone();
    Ok(blocking(move || cache.share()).await?)
}

/// [`Cache::netboot_set`] on a thread of its own.
async fn cached(
    cache: &Cache,
    release: &Release,
    flavor: &Flavor,
    checks: &Checks,
) -> Result<Option<NetbootSet>, FetchError> {
    let (cache, release, flavor, checks) = (cache.clone(), release.clone(), flavor.clone(), checks.clone());
    blocking(move || cache.netboot_set(&release, &flavor, &checks)).await
}

/// What the cache has for a wish, as far as it knows what the wish means.
async fn known(cache: &Cache, wish: &Wish, checks: &Checks) -> Result<Option<NetbootSet>, FetchError> {
    match cache.release(&wish.release, &wish.arch, checks)? {
        Some(release) => cached(cache, &release, &wish.flavor, checks).await,
        None => Ok(None),
    }
}
