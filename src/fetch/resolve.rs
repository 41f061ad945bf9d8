//! Which release a name means: what the list of a mirror says of it, and whether that may follow what was seen before. A
//! mirror can be out of date, and somebody may replay an old list.

use std::cmp::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use super::cache::Cache;
use super::release::{Release, checksum, newest_netboot, tarball_name};
use super::{Checks, Downloader, Expect, FetchError, ListingError, Wish};
use crate::model::alpine::{Arch, Branch, ReleaseSpec, Version};
use crate::model::check::Check;

/// The largest list of releases, which has a few hundred lines.
const LARGEST_LIST: u64 = 1 << 20;

/// The largest checksum file, which has one line.
const LARGEST_CHECKSUM: u64 = 4 << 10;

/// The one release that a mirror means at this moment, if it may follow those seen before.
pub(super) async fn current(
    downloader: &Downloader,
    base: &str,
    wish: &Wish,
    cache: &Cache,
    checks: &Checks,
) -> Result<Release, FetchError> {
    let release = resolve(downloader, base, &wish.release, &wish.arch).await?;
    if checks.makes(Check::Replay) {
        refuse_older(base, &release, wish, cache, checks)?;
    }
    Ok(release)
}

/// The one release that a mirror means at this moment.
///
/// A moving name is followed once, here: the release names the branch behind `latest-stable`, and everything after this
/// uses that. A version that its branch no longer lists is taken from the checksum files beside its tarball.
async fn resolve(downloader: &Downloader, base: &str, spec: &ReleaseSpec, arch: &Arch) -> Result<Release, FetchError> {
    let folder = folder_of(spec);
    let (branch, version) = match *spec {
        ReleaseSpec::LatestStable => (None, None),
        ReleaseSpec::Branch(branch) => (Some(branch), None),
        ReleaseSpec::Edge => (Some(Branch::Edge), None),
        ReleaseSpec::Version(version) => (Some(version.branch()), Some(version)),
    };
    let url = format!("{base}/{folder}/releases/{arch}/latest-releases.yaml");
    let newest = match downloader.bytes(&url, &Expect::at_most(LARGEST_LIST)).await {
        Ok(list) => newest_netboot(&list, arch).map_err(|source| FetchError::Listing { url: url.clone(), source })?,
        Err(FetchError::NotFound { url, .. }) if version.is_none() => {
            // Packages come before releases in the life of a branch (REL-7).
            let packages = format!("{base}/{folder}/main/{arch}/APKINDEX.tar.gz");
            let is_there = downloader.length(&packages).await.is_ok();
            return Err(match is_there {
                true => FetchError::NotReleased { folder, arch: arch.clone(), url },
                false => FetchError::NoReleases { folder, arch: arch.clone(), url },
            });
        }
        Err(FetchError::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    // A branch that gets releases, and a finished one: anything else would be taken for the newest for ever.
    if let (ReleaseSpec::LatestStable, Some(newest)) = (spec, &newest)
        && !newest.version.is_stable()
    {
        return Err(FetchError::Listing { url, source: ListingError::NotStable(newest.version) });
    }
    let found = newest.as_ref().map(|it| it.branch);
    if let (Some(expected), Some(found)) = (branch, found)
        && expected != found
    {
        return Err(FetchError::Listing { url, source: ListingError::Branch { expected, found } });
    }
    match (newest, version) {
        (Some(newest), Some(version)) if newest.version != version => {
            unlisted(downloader, base, version, arch, Some(newest.version)).await
        }
        (None, Some(version)) => unlisted(downloader, base, version, arch, None).await,
        (Some(newest), _) => Ok(newest),
        (None, None) => Err(FetchError::NoNetboot { folder, arch: arch.clone(), url }),
    }
}

/// A version known only by the checksum files beside its tarball.
async fn unlisted(
    downloader: &Downloader,
    base: &str,
    version: Version,
    arch: &Arch,
    newest: Option<Version>,
) -> Result<Release, FetchError> {
    let (branch, file) = (version.branch(), tarball_name(&version, arch));
    let tarball = format!("{base}/{branch}/releases/{arch}/{file}");
    let get = async |algorithm: &str| {
        let url = format!("{tarball}.{algorithm}");
        let bytes = downloader.bytes(&url, &Expect::at_most(LARGEST_CHECKSUM)).await;
        (url, bytes)
    };
    let ((url, short), (long_url, long)) = futures_util::future::join(get("sha256"), get("sha512")).await;
    let short = match short {
        Err(FetchError::NotFound { url, .. }) => {
            return Err(FetchError::NoVersion { version, arch: arch.clone(), url, newest });
        }
        other => other?,
    };
    let sha256 = checksum(&short, &file).map_err(|source| FetchError::Listing { url, source })?;
    let sha512 = checksum(&long?, &file).map_err(|source| FetchError::Listing { url: long_url, source })?;
    Ok(Release { branch, version, arch: arch.clone(), size: None, sha256, sha512 })
}

/// Refuses a release that is older than one of its branch, or than what the same name meant before; another one of the
/// same version; and a tarball that was another release before. An old list is as well made as a new one, and a
/// signature says nothing about what its tarball is called.
fn refuse_older(base: &str, release: &Release, wish: &Wish, cache: &Cache, checks: &Checks) -> Result<(), FetchError> {
    let url = format!("{base}/{}/releases/{}/latest-releases.yaml", folder_of(&wish.release), wish.arch);
    if !matches!(wish.release, ReleaseSpec::Version(_)) {
        for name in [release.branch.to_string(), wish.release.to_string()] {
            if let Some(newest) = cache.seen(&name, &wish.arch)?
                && release.version < newest.version
            {
                return Err(FetchError::Replayed { url, expected: newest.version, found: release.version });
            }
        }
    }
    if let Some(before) = cache.tarball(&release.sha256, checks)?
        && (before.version, &before.arch) != (release.version, &release.arch)
    {
        let (expected, found) = (before.file(), release.file());
        return Err(FetchError::Renamed { url, sha256: release.sha256, expected, found });
    }
    match cache.version(release.version, &release.arch, checks)? {
        Some(before) if before.sha256 != release.sha256 => {
            Err(FetchError::Replaced { url, version: release.version, expected: before.sha256, found: release.sha256 })
        }
        _ => Ok(()),
    }
}

/// Refuses a tarball that was signed before one of an older version, or after one of a newer: its name is not its own.
pub(super) fn refuse_disorder(
    url: String,
    release: &Release,
    signed_at: Option<u64>,
    cache: &Cache,
) -> Result<(), FetchError> {
    let Some(seen) = cache.seen(&release.branch.to_string(), &release.arch)? else { return Ok(()) };
    let (Some(before), Some(now)) = (seen.signed_at, signed_at) else { return Ok(()) };
    let is_in_order = match release.version.cmp(&seen.version) {
        Ordering::Less => now <= before,
        Ordering::Equal => true,
        Ordering::Greater => now >= before,
    };
    if is_in_order {
        return Ok(());
    }
    let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
    Err(FetchError::Disorder {
        url,
        version: release.version,
        signed: at(now),
        other: seen.version,
        other_signed: at(before),
    })
}

/// The mirror's folder of a release.
fn folder_of(spec: &ReleaseSpec) -> String {
    match spec {
        ReleaseSpec::LatestStable => "latest-stable".to_owned(),
        ReleaseSpec::Branch(branch) => branch.to_string(),
        ReleaseSpec::Edge => Branch::Edge.to_string(),
        ReleaseSpec::Version(version) => version.branch().to_string(),
    }
}
