//! What a mirror offers to boot from the network: branches, versions, architectures, flavors and their sizes. Read from
//! the folder pages that its web server makes; where there are none, from the lists of releases (REL-3). Nothing here is
//! verified, and nothing of it is downloaded to be booted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::str::FromStr;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::StatusCode;
use serde::Serialize;

use super::pages::{LARGEST_PAGE, PageEntry, entries};
use super::record::KINDS;
use super::release::{ListingError, Release, newest_netboot, tarball_name, tarball_version};
use super::{Downloader, Expect, FetchError, Mirrors};
use crate::model::alpine::{Arch, Branch, Flavor, Version};

/// How many requests are under way at once.
const PARALLEL: usize = 8;

/// The most that is taken from one page, newest first; each far above what Alpine has, so that a hostile mirror cannot
/// cause requests without end.
const MOST_BRANCHES: usize = 64;
const MOST_ARCHES: usize = 32;
const MOST_VERSIONS: usize = 200;
const MOST_FLAVORS: usize = 16;

/// Without folder pages: how many branches below the newest are asked for, and after how many that do not exist, one
/// after the other, the search ends.
const MOST_PROBES: usize = 40;
const MISSING_PROBES: usize = 2;

/// What a survey asks of the network.
pub(super) trait Folder {
    /// Why a request failed.
    type Error;

    /// A small text, or a folder's page; `None` when the server says that there is none, or does not show it.
    async fn text(&self, url: &str) -> Result<Option<Vec<u8>>, Self::Error>;

    /// The length of a file in bytes; `None` when the server does not tell.
    async fn length(&self, url: &str) -> Result<Option<u64>, Self::Error>;
}

/// What of a mirror is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// One branch, with all its versions. `None`: all branches, of each only the newest version.
    pub branch: Option<Branch>,
    /// One architecture. `None`: all.
    pub arch: Option<Arch>,
    /// The architecture to look for when none is named and the mirror does not show which it has.
    pub usual_arch: Arch,
}

/// What a mirror offers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// The branch that `latest-stable` leads to at this moment, when the mirror tells.
    pub latest_stable: Option<Branch>,
    /// The releases: newest branch first and edge last, within a branch newest version first, then by architecture.
    pub offers: Vec<Offer>,
    /// Branches that exist but have no netboot release of what was looked for, in the same order: the newest may not be
    /// released yet (REL-7), old ones never had any (REL-1).
    pub empty: Vec<Branch>,
    /// What a reader should know about how far this can be relied on; whole sentences without a full stop.
    pub notes: Vec<String>,
}

/// One netboot release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// The branch whose folder holds it.
    pub branch: Branch,
    /// The version.
    pub version: Version,
    /// The architecture.
    pub arch: Arch,
    /// The tarball's length in bytes, which is what a download costs; `None` when the mirror does not tell.
    pub tarball: Option<u64>,
    /// Whether it is the newest of its branch for its architecture.
    pub is_newest: bool,
    /// Its kernel flavors, sorted; none when the mirror does not show them.
    pub flavors: Vec<FlavorOffer>,
}

/// One kernel flavor of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlavorOffer {
    /// The flavor.
    pub flavor: Flavor,
    /// The length of kernel, initramfs and modloop together, in bytes; `None` when the mirror does not tell.
    pub size: Option<u64>,
}

/// What there is in place of a branch's list of releases.
enum Listed {
    Missing,
    /// Not usable, and why.
    Broken(String),
    /// A list without netboot.
    Nothing,
    Newest(Release),
}

/// Looks at the mirror at the address `base`, the folder that holds `v3.24` and its siblings.
///
/// # Errors
/// The first request that failed; a page or list that does not exist or makes no sense is no failure.
pub(super) async fn survey<F: Folder>(network: &F, base: &str, scope: &Scope) -> Result<Survey, F::Error> {
    let surveyor = Surveyor { network, base: base.trim_end_matches('/'), scope };
    let root = surveyor.page("").await?;
    let found: BTreeSet<Branch> = folders(&root).collect();
    let mut branches: Vec<Branch> = found.into_iter().rev().take(MOST_BRANCHES).collect();
    branches.sort_by_key(|it| age(*it));
    let mut survey = if branches.is_empty() { surveyor.probe().await? } else { surveyor.read(branches).await? };
    survey.offers = each(survey.offers, |offer| surveyor.complete(offer)).await?;
    survey.offers.sort_by_cached_key(|it| (age(it.branch), Reverse(it.version), it.arch.clone()));
    let unknown = survey.offers.iter().filter(|it| it.flavors.is_empty()).count();
    if unknown > 0 {
        let all = survey.offers.len();
        survey.notes.push(format!("the mirror does not show which flavors {unknown} of {all} releases have"));
    }
    Ok(survey)
}

impl Mirrors {
    /// What the first mirror that answers offers.
    ///
    /// # Errors
    /// When none answers, or offline.
    pub async fn survey(&self, scope: &Scope) -> Result<Survey, FetchError> {
        if self.is_offline {
            return Err(FetchError::OfflineSurvey);
        }
        self.first_good(async |base, downloader| survey(&downloader.silent(), base, scope).await).await
    }
}

impl Folder for Downloader {
    type Error = FetchError;

    async fn text(&self, url: &str) -> Result<Option<Vec<u8>>, FetchError> {
        let expect = Expect { may_be_page: true, ..Expect::at_most(LARGEST_PAGE as u64) };
        match self.bytes(url, &expect).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(FetchError::NotFound { .. } | FetchError::Status { status: StatusCode::FORBIDDEN, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn length(&self, url: &str) -> Result<Option<u64>, FetchError> {
        match Self::length(self, url).await {
            // One of hundreds of sizes is not worth an end.
            Err(error) if error.is_passing() => Ok(None),
            Err(FetchError::NotFound { .. } | FetchError::Status { .. }) => Ok(None),
            other => other,
        }
    }
}

struct Surveyor<'a, F> {
    network: &'a F,
    base: &'a str,
    scope: &'a Scope,
}

impl<F: Folder> Surveyor<'_, F> {
    /// Follows the folder pages down from the branches of the root page.
    async fn read(&self, mut branches: Vec<Branch>) -> Result<Survey, F::Error> {
        let mut survey = Survey::default();
        if let Some(wanted) = self.scope.branch {
            branches.retain(|it| *it == wanted);
            if branches.is_empty() {
                survey.notes.push(format!("the mirror has no branch {wanted}"));
            }
        }
        let places = each(branches.clone(), |branch| self.arches(branch)).await?.concat();
        survey.offers = each(places, |(branch, arch)| self.versions(branch, arch)).await?.concat();
        branches.retain(|branch| !survey.offers.iter().any(|it| it.branch == *branch));
        survey.empty = branches;
        let usual = &self.scope.usual_arch;
        let mut arches = survey.offers.iter().map(|it| &it.arch);
        let arch = arches.clone().find(|it| *it == usual).or_else(|| arches.next()).unwrap_or(usual).clone();
        self.find_latest_stable(&arch, &mut survey).await?;
        Ok(survey)
    }

    /// Asks for the lists of releases of the branches that there could be.
    async fn probe(&self) -> Result<Survey, F::Error> {
        let arch = self.scope.arch.as_ref().unwrap_or(&self.scope.usual_arch);
        let note =
            format!("the mirror shows no folders: only the newest release of each branch for {arch} was looked for");
        let mut survey = Survey { notes: vec![note], ..Survey::default() };
        self.find_latest_stable(arch, &mut survey).await?;
        let mut branches = vec![self.scope.branch.unwrap_or(Branch::Edge)];
        if let (None, Some(Branch::Numbered { major, minor })) = (self.scope.branch, survey.latest_stable) {
            let minors = (0..=minor).rev().take(MOST_PROBES + 1);
            branches.extend(minors.map(|minor| Branch::Numbered { major, minor }));
        }
        let list =
            |branch: Branch| async move { Ok((branch, self.list(&branch.to_string(), Some(branch), arch).await?)) };
        let mut lists = pin!(stream::iter(branches).map(list).buffered(PARALLEL));
        let mut missing = 0;
        while missing < MISSING_PROBES
            && let Some((branch, listed)) = lists.try_next().await?
        {
            // Edge comes first and says nothing about the branches after it.
            missing = if matches!(listed, Listed::Missing) && branch != Branch::Edge { missing + 1 } else { 0 };
            match listed {
                Listed::Missing if self.scope.branch.is_some() => {
                    survey.notes.push(format!("the mirror has no releases of {branch} for {arch}"));
                }
                Listed::Missing => {}
                Listed::Nothing => survey.empty.push(branch),
                Listed::Broken(why) => survey.notes.push(why),
                Listed::Newest(Release { branch, version, arch, size, .. }) => survey.offers.push(Offer {
                    branch,
                    version,
                    arch,
                    tarball: size,
                    is_newest: true,
                    flavors: Vec::new(),
                }),
            }
        }
        survey.empty.sort_by_key(|it| age(*it));
        Ok(survey)
    }

    /// Finds the branch behind `latest-stable`.
    async fn find_latest_stable(&self, arch: &Arch, survey: &mut Survey) -> Result<(), F::Error> {
        match self.list("latest-stable", None, arch).await? {
            Listed::Newest(release) => survey.latest_stable = Some(release.branch),
            Listed::Broken(why) => survey.notes.push(why),
            Listed::Missing | Listed::Nothing => {}
        }
        Ok(())
    }

    /// The list of releases in a branch's folder, which has to be of that branch.
    async fn list(&self, folder: &str, expected: Option<Branch>, arch: &Arch) -> Result<Listed, F::Error> {
        let url = format!("{}/{folder}/releases/{arch}/latest-releases.yaml", self.base);
        let Some(text) = self.network.text(&url).await? else { return Ok(Listed::Missing) };
        let checked = newest_netboot(&text, arch).and_then(|newest| match (newest, expected) {
            (Some(Release { branch: found, .. }), Some(expected)) if found != expected => {
                Err(ListingError::Branch { expected, found })
            }
            (newest, _) => Ok(newest),
        });
        Ok(match checked {
            Ok(newest) => newest.map_or(Listed::Nothing, Listed::Newest),
            Err(error) => Listed::Broken(format!("{url} cannot be used: {error}")),
        })
    }

    /// The architectures of a branch that are looked at, sorted.
    async fn arches(&self, branch: Branch) -> Result<Vec<(Branch, Arch)>, F::Error> {
        let arches: BTreeSet<Arch> = match &self.scope.arch {
            Some(arch) => [arch.clone()].into(),
            None => folders(&self.page(&format!("{branch}/releases/")).await?).collect(),
        };
        Ok(arches.into_iter().take(MOST_ARCHES).map(|arch| (branch, arch)).collect())
    }

    /// The releases in a folder, newest first; only the newest in an overview. Their flavors are not known yet.
    async fn versions(&self, branch: Branch, arch: Arch) -> Result<Vec<Offer>, F::Error> {
        let page = self.page(&format!("{branch}/releases/{arch}/")).await?;
        let version = |it: &PageEntry| tarball_version(&it.name, &arch).filter(|version| branch.has(version));
        let found: BTreeMap<Version, Option<u64>> =
            page.iter().filter_map(|it| Some((version(it)?, it.size))).collect();
        let most = if self.scope.branch.is_some() { MOST_VERSIONS } else { 1 };
        let offer = |(place, (version, tarball))| Offer {
            branch,
            version,
            arch: arch.clone(),
            tarball,
            is_newest: place == 0,
            flavors: Vec::new(),
        };
        Ok(found.into_iter().rev().take(most).enumerate().map(offer).collect())
    }

    /// The same release with its flavors, and with the length of its tarball.
    async fn complete(&self, mut offer: Offer) -> Result<Offer, F::Error> {
        let folder = format!("{}/releases/{}/", offer.branch, offer.arch);
        if offer.tarball.is_none() {
            let name = tarball_name(&offer.version, &offer.arch);
            offer.tarball = self.network.length(&format!("{}/{folder}{name}", self.base)).await?;
        }
        offer.flavors = self.flavors(&format!("{folder}netboot-{}/", offer.version)).await?;
        Ok(offer)
    }

    /// The flavors of which a folder has all files.
    async fn flavors(&self, folder: &str) -> Result<Vec<FlavorOffer>, F::Error> {
        let page = self.page(folder).await?;
        let sizes: BTreeMap<&str, Option<u64>> = page.iter().map(|it| (it.name.as_str(), it.size)).collect();
        let names: BTreeSet<Flavor> =
            page.iter().filter_map(|it| it.name.strip_prefix("vmlinuz-")?.parse().ok()).collect();
        let mut flavors = Vec::new();
        for flavor in names.into_iter().take(MOST_FLAVORS) {
            let files = KINDS.map(|part| format!("{part}-{flavor}"));
            if !files.iter().all(|it| sizes.contains_key(it.as_str())) {
                continue;
            }
            let mut total = Some(0_u64);
            for file in &files {
                let size = match sizes.get(file.as_str()).copied().flatten() {
                    Some(size) => Some(size),
                    None => self.network.length(&format!("{}/{folder}{file}", self.base)).await?,
                };
                total = total.zip(size).and_then(|(total, size)| total.checked_add(size));
            }
            flavors.push(FlavorOffer { flavor, size: total });
        }
        Ok(flavors)
    }

    /// What a folder's page links to; nothing when there is no page. The folder ends in `/` unless it is the root, which
    /// is empty.
    async fn page(&self, folder: &str) -> Result<Vec<PageEntry>, F::Error> {
        let url = format!("{}/{folder}", self.base);
        Ok(self.network.text(&url).await?.map(|html| entries(&html, &url)).unwrap_or_default())
    }
}

/// Asks one thing of each item, a few at a time; the answers are in the order of the items.
async fn each<T, A, E, Asked>(items: Vec<T>, ask: impl Fn(T) -> Asked) -> Result<Vec<A>, E>
where
    Asked: Future<Output = Result<A, E>>,
{
    stream::iter(items).map(ask).buffered(PARALLEL).try_collect().await
}

/// The folders of a page that bear a name of this kind.
fn folders<T: FromStr>(page: &[PageEntry]) -> impl Iterator<Item = T> {
    page.iter().filter(|it| it.is_folder).filter_map(|it| it.name.parse().ok())
}

/// The place of a branch in a survey: the newest first, edge last.
fn age(branch: Branch) -> Reverse<Option<Branch>> {
    Reverse(Some(branch).filter(|it| *it != Branch::Edge))
}

#[cfg(test)]
mod tests;
