//! A mirror of Alpine: from what a profile asks for to a verified set of files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::cache::Cache;
use super::download::{address, blocking, shown};
use super::release::{Release, checksum, newest_netboot, tarball_name};
use super::tarball::unpack;
use super::{Downloader, Expect, FetchError, HttpSettings, ListingError, NetbootSet};
use crate::disk::{self, DiskError, Lock, Scratch};
use crate::model::alpine::{Arch, Branch, Flavor, ReleaseSpec, Version};

/// The largest list of releases, and the largest checksum file; a list has a few hundred lines, a checksum file one.
const LARGEST_LIST: u64 = 1 << 20;
const LARGEST_CHECKSUM: u64 = 4 << 10;

/// The largest tarball; a modloop is about 150 MiB per flavor (REL-4), and there are up to three flavors (REL-5).
const LARGEST_TARBALL: u64 = 4 << 30;

/// How often a cache that another process is using is tried again.
const LOCK_INTERVAL: Duration = Duration::from_millis(200);

/// Where Alpine's releases and packages come from.
#[derive(Debug, Clone)]
pub struct Mirror {
    base: String,
    downloader: Downloader,
}

impl Mirror {
    /// The mirror at an address: the folder that holds `v3.24` and its siblings.
    ///
    /// # Errors
    /// When that is no address to download from, or no HTTP client can be had.
    pub fn new(base_url: &str) -> Result<Self, FetchError> {
        Self::with(base_url, Downloader::new(HttpSettings::default())?)
    }

    /// The same, over a client that is there already, with its settings and its progress.
    ///
    /// # Errors
    /// When that is no address to download from, or carries a password.
    pub fn with(base_url: &str, downloader: Downloader) -> Result<Self, FetchError> {
        let url = address(base_url)?;
        let refuse = |reason: &str| FetchError::Address { url: shown(&url), reason: reason.to_owned() };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("it must name a folder, without `?` or `#`"));
        }
        // The address gets into bundles, which the whole network can read (DESIGN section 4, rule 7).
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("it must not carry a user name or password"));
        }
        Ok(Self { base: url.as_str().trim_end_matches('/').to_owned(), downloader })
    }

    /// The client, for what is not a release.
    #[must_use]
    pub const fn downloader(&self) -> &Downloader {
        &self.downloader
    }

    /// The address of a package repository, as `/etc/apk/repositories` names it: `…/v3.24/main`.
    #[must_use]
    pub fn repository(&self, branch: Branch, name: &str) -> String {
        format!("{}/{branch}/{name}", self.base)
    }

    /// The one release that is meant at this moment.
    ///
    /// A moving name is followed once, here: the release names the branch behind `latest-stable`, and everything after
    /// this uses that. A version that its branch no longer lists is taken from the checksum files beside its tarball.
    ///
    /// # Errors
    /// When the release does not exist, has no netboot tarball, or is listed in a way that cannot be right.
    pub async fn resolve(&self, spec: &ReleaseSpec, arch: &Arch) -> Result<Release, FetchError> {
        let (folder, branch, version) = match *spec {
            ReleaseSpec::LatestStable => ("latest-stable".to_owned(), None, None),
            ReleaseSpec::Branch(branch) => (branch.to_string(), Some(branch), None),
            ReleaseSpec::Edge => (Branch::Edge.to_string(), Some(Branch::Edge), None),
            ReleaseSpec::Version(version) => (version.branch().to_string(), Some(version.branch()), Some(version)),
        };
        let url = format!("{}/{folder}/releases/{arch}/latest-releases.yaml", self.base);
        let newest = match self.downloader.bytes(&url, &Expect::at_most(LARGEST_LIST)).await {
            Ok(list) => {
                newest_netboot(&list, arch).map_err(|source| FetchError::Listing { url: url.clone(), source })?
            }
            Err(FetchError::NotFound { url, .. }) if version.is_none() => {
                return Err(FetchError::NoReleases { folder, arch: arch.clone(), url });
            }
            Err(FetchError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let found = newest.as_ref().map(|it| it.branch);
        if let (Some(expected), Some(found)) = (branch, found)
            && expected != found
        {
            return Err(FetchError::Listing { url, source: ListingError::Branch { expected, found } });
        }
        match (newest, version) {
            (Some(newest), Some(version)) if newest.version != version => {
                self.unlisted(version, arch, Some(newest.version)).await
            }
            (None, Some(version)) => self.unlisted(version, arch, None).await,
            (Some(newest), _) => Ok(newest),
            (None, None) => Err(FetchError::NoNetboot { folder, arch: arch.clone(), url }),
        }
    }

    /// The files of one flavor of a release, from the cache or from the mirror. A set that is in the cache and whole is
    /// given without any request; a tarball that is in the cache is not downloaded again for another flavor.
    ///
    /// Another process that is filling the same cache is waited for.
    ///
    /// # Errors
    /// When the tarball cannot be had, is not what was promised, or has not got the flavor. What was refused is gone.
    pub async fn netboot_set(
        &self,
        release: &Release,
        flavor: &Flavor,
        cache: &Cache,
    ) -> Result<NetbootSet, FetchError> {
        if let Some(set) = cached(cache, release, flavor).await? {
            return Ok(set);
        }
        let lock = self.lock(cache).await?;
        let set = match cached(cache, release, flavor).await? {
            Some(set) => Ok(set),
            None => self.fill(release, flavor, cache, &lock).await,
        };
        drop(lock);
        set
    }

    /// Puts a set into the cache.
    async fn fill(
        &self,
        release: &Release,
        flavor: &Flavor,
        cache: &Cache,
        lock: &Lock,
    ) -> Result<NetbootSet, FetchError> {
        cache.sweep(lock)?;
        let path = cache.tarball(release);
        let was_there = path.exists();
        if !was_there {
            self.tarball(release, &path).await?;
        }
        let mut unpacked = self.unpack(release, flavor, cache).await;
        if was_there && unpacked.as_ref().is_err_and(FetchError::blames_tarball) {
            // Damaged since it was verified: replaced once.
            self.tarball(release, &path).await?;
            unpacked = self.unpack(release, flavor, cache).await;
        }
        if unpacked.as_ref().is_err_and(FetchError::blames_tarball) {
            fs::remove_file(&path).map_err(disk::failed("remove", &path))?;
        }
        unpacked?;
        let set = cached(cache, release, flavor).await?;
        set.ok_or_else(|| {
            let path = cache.set_folder(release, flavor);
            let source = std::io::Error::other("it was changed while it was being made");
            DiskError::Io { action: "use the new folder", path, source }.into()
        })
    }

    /// Downloads the tarball of a release and verifies it by length and both checksums.
    async fn tarball(&self, release: &Release, path: &Path) -> Result<(), FetchError> {
        let url = format!("{}/{}/releases/{}/{}", self.base, release.branch, release.arch, release.file());
        let expect = Expect { size: release.size, ..Expect::at_most(LARGEST_TARBALL) };
        self.downloader.download_to(path, &url, &expect.sha256(release.sha256).sha512(release.sha512)).await?;
        Ok(())
    }

    /// Unpacks a flavor from the tarball in the cache, and puts it in place of what is left of an older set.
    async fn unpack(&self, release: &Release, flavor: &Flavor, cache: &Cache) -> Result<(), FetchError> {
        let what = format!("unpack {}", release.file());
        self.downloader.progress.started(&what, None);
        let (release, flavor, cache) = (release.clone(), flavor.clone(), cache.clone());
        let unpacked = blocking(move || {
            let scratch = Scratch::new_in(&cache.sets())?;
            unpack(&cache.tarball(&release), &release, &flavor, scratch.path())?;
            let folder = cache.set_folder(&release, &flavor);
            if folder.exists() {
                fs::remove_dir_all(&folder).map_err(disk::failed("remove", &folder))?;
            }
            Ok(scratch.publish(&folder)?)
        })
        .await;
        self.downloader.progress.finished(&what);
        unpacked
    }

    /// A version known only by the checksum files beside its tarball.
    async fn unlisted(&self, version: Version, arch: &Arch, newest: Option<Version>) -> Result<Release, FetchError> {
        let (branch, file) = (version.branch(), tarball_name(&version, arch));
        let tarball = format!("{}/{branch}/releases/{arch}/{file}", self.base);
        let get = async |algorithm: &str| {
            let url = format!("{tarball}.{algorithm}");
            let bytes = self.downloader.bytes(&url, &Expect::at_most(LARGEST_CHECKSUM)).await;
            (url, bytes)
        };
        let (url, short) = get("sha256").await;
        let short = match short {
            Err(FetchError::NotFound { url, .. }) => {
                return Err(FetchError::NoVersion { version, arch: arch.clone(), url, newest });
            }
            other => other?,
        };
        let sha256 = checksum(&short, &file).map_err(|source| FetchError::Listing { url, source })?;
        let (url, long) = get("sha512").await;
        let sha512 = checksum(&long?, &file).map_err(|source| FetchError::Listing { url, source })?;
        Ok(Release { branch, version, arch: arch.clone(), size: None, sha256, sha512 })
    }

    /// The lock of the cache, waited for in a way that can be interrupted.
    async fn lock(&self, cache: &Cache) -> Result<Lock, FetchError> {
        let what = "wait for another bivouac that is fetching";
        let mut is_waiting = false;
        let lock = loop {
            match cache.try_lock() {
                Err(DiskError::Busy { .. }) => {
                    if !is_waiting {
                        is_waiting = true;
                        self.downloader.progress.started(what, None);
                    }
                    tokio::time::sleep(LOCK_INTERVAL).await;
                }
                other => break other,
            }
        };
        if is_waiting {
            self.downloader.progress.finished(what);
        }
        Ok(lock?)
    }
}

/// [`Cache::netboot_set`] on a thread of its own.
async fn cached(cache: &Cache, release: &Release, flavor: &Flavor) -> Result<Option<NetbootSet>, FetchError> {
    let (cache, release, flavor) = (cache.clone(), release.clone(), flavor.clone());
    blocking(move || cache.netboot_set(&release, &flavor)).await
}
