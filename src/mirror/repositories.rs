//! Which index a client gets: the one that is held while it is young, a newer one when upstream has one, and the one that
//! is held when upstream fails.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::age::{self, RETRY};
use super::flights::Flights;
use super::indexes::{Held, INDEX, Index, Indexes};
use super::listing::{Listing, Read, records};
use super::shelf::Shelf;
use super::tally::Tally;
use super::{MirrorError, Repository, Supply, chain};
use crate::apk::{IndexPackage, SignedIndex};
use crate::disk::DiskError;
use crate::fetch::{Renewed, package_name};
use crate::model::check::Check;
use crate::model::digest::Digest;

/// How many repositories are in memory; each takes a few megabytes.
const MOST_LOADED: usize = 24;

/// How many indexes are asked for at once of repositories that are held; and of others, which anybody can make up.
const PARALLEL: usize = 4;
const PARALLEL_NEW: usize = 2;

/// How long a client waits for news when there is an index to give it.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is in memory of a repository.
#[derive(Debug, Default)]
struct Slot {
    held: Option<Held>,
    /// When upstream failed last, and how.
    failed: Option<(SystemTime, Arc<MirrorError>)>,
    /// When somebody asked last.
    used: Option<SystemTime>,
    /// Whether the disk was looked at.
    is_loaded: bool,
}

/// How new an index has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// The one that is held does.
    Any,
    /// As new as the site asks for.
    Current,
    /// Just asked for: it lacks something.
    New,
}

/// Whether an index is as new as was wished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is.
    Good,
    /// Upstream has not said so in time.
    Stale,
}

type Outcome = Result<Held, Arc<MirrorError>>;

/// The indexes of all repositories.
#[derive(Debug)]
pub(super) struct Repositories {
    indexes: Indexes,
    max_age: Duration,
    supply: Arc<Supply>,
    shelf: Arc<Shelf>,
    tally: Arc<Tally>,
    slots: Mutex<HashMap<Repository, Slot>>,
    loads: Flights<Repository, ()>,
    renewals: Flights<Repository, Outcome>,
    upstream: Semaphore,
    upstream_of_new: Semaphore,
}

impl Repositories {
    pub(super) fn new(
        indexes: Indexes,
        max_age: Duration,
        supply: Arc<Supply>,
        (shelf, tally): (Arc<Shelf>, Arc<Tally>),
    ) -> Self {
        Self {
            indexes,
            max_age,
            supply,
            shelf,
            tally,
            slots: Mutex::default(),
            loads: Flights::default(),
            renewals: Flights::default(),
            upstream: Semaphore::new(PARALLEL),
            upstream_of_new: Semaphore::new(PARALLEL_NEW),
        }
    }

    /// How old an index may be.
    pub(super) const fn max_age(&self) -> Duration {
        self.max_age
    }

    /// The index of a repository. When upstream has nothing better in time, the one that is held.
    ///
    /// # Errors
    /// When none is held and none can be had.
    pub(super) async fn index(
        self: &Arc<Self>,
        repository: &Repository,
        wish: Wish,
    ) -> Result<(Held, Standing), Arc<MirrorError>> {
        self.load(repository).await;
        let now = SystemTime::now();
        let (held, failed) = self.slot(repository, now);
        let max_age = match wish {
            Wish::Any => Duration::MAX,
            Wish::Current => self.max_age,
            Wish::New => RETRY.min(self.max_age),
        };
        let since = failed.as_ref().map(|(at, _)| *at);
        match &held {
            Some(held) if !age::is_due(held.checked, None, now, max_age) => return Ok((held.clone(), Standing::Good)),
            Some(held) if !age::is_due(held.checked, since, now, max_age) => {
                return Ok((held.clone(), Standing::Stale));
            }
            Some(_) => {}
            // Nothing was ever checked, so it is due unless upstream has just failed.
            None => {
                let is_due = age::is_due(SystemTime::UNIX_EPOCH, since, now, Duration::ZERO);
                if let Some((_, why)) = failed.filter(|_| !is_due) {
                    return Err(why);
                }
            }
        }
        let (repositories, asked) = (Arc::clone(self), repository.clone());
        let renewal =
            self.renewals.join(repository.clone(), || async move { repositories.renew(&asked, max_age).await });
        let patience = if held.is_some() { PATIENCE } else { super::WAIT };
        let renewed = match tokio::time::timeout(patience, renewal).await {
            Ok(renewed) => renewed.unwrap_or_else(|| Err(Arc::new(MirrorError::Lost))),
            Err(_) => {
                let late = Arc::new(MirrorError::Waiting(repository.to_string()));
                // The next one need not wait as long for the same.
                if let Some(slot) = self.lock().get_mut(repository).filter(|slot| slot.held.is_some()) {
                    slot.failed = Some((SystemTime::now(), Arc::clone(&late)));
                }
                Err(late)
            }
        };
        match (renewed, held) {
            (Ok(renewed), _) => Ok((renewed, Standing::Good)),
            (Err(_), Some(held)) => Ok((held, Standing::Stale)),
            (Err(why), None) => Err(why),
        }
    }

    /// Reads an index from the disk, unless that was done.
    async fn load(self: &Arc<Self>, repository: &Repository) {
        if self.lock().get(repository).is_some_and(|slot| slot.is_loaded) {
            return;
        }
        let (repositories, wanted) = (Arc::clone(self), repository.clone());
        let load = || async move {
            let reading = tokio::task::spawn_blocking(move || {
                let held = match repositories.read(&wanted) {
                    Ok(held) => held,
                    Err(why) => {
                        warn!(repository = %wanted, why, "the index that was kept is not used");
                        None
                    }
                };
                let mut slots = repositories.lock();
                let slot = slots.entry(wanted).or_default();
                (slot.held, slot.is_loaded, slot.used) = (slot.held.take().or(held), true, Some(SystemTime::now()));
                forget_oldest(&mut slots);
            });
            // A panic is in the log; then there is no index.
            let _ = reading.await;
        };
        let _ = self.loads.join(repository.clone(), load).await;
    }

    /// Asks upstream for an index that is older than it may be. One at a time for each repository.
    async fn renew(self: &Arc<Self>, repository: &Repository, max_age: Duration) -> Outcome {
        let (held, _) = self.slot(repository, SystemTime::now());
        if let Some(held) = held.as_ref().filter(|it| !age::is_due(it.checked, None, SystemTime::now(), max_age)) {
            return Ok(held.clone());
        }
        let renewed = self.ask(repository, held.as_ref()).await;
        let now = SystemTime::now();
        let outcome = match renewed {
            Ok(renewed) => {
                self.tally.upstream_is_well(now);
                let (repositories, repository) = (Arc::clone(self), repository.clone());
                let written =
                    tokio::task::spawn_blocking(move || repositories.take_in(&repository, held, renewed, now));
                written.await.unwrap_or_else(|_| Err(MirrorError::Lost))
            }
            Err(error) => {
                if !matches!(error, MirrorError::Missing(_)) {
                    self.tally.upstream_failed(chain(&error), now);
                    warn!(%repository, error = &error as &dyn std::error::Error, "the index cannot be renewed");
                }
                Err(error)
            }
        };
        let outcome = outcome.map_err(Arc::new);
        let mut slots = self.lock();
        let slot = slots.entry(repository.clone()).or_default();
        match &outcome {
            Ok(held) => (slot.held, slot.failed) = (Some(held.clone()), None),
            Err(error) => slot.failed = Some((now, Arc::clone(error))),
        }
        forget_oldest(&mut slots);
        outcome
    }

    /// What upstream has, verified, unless it is what is held.
    async fn ask(&self, repository: &Repository, held: Option<&Held>) -> Result<Renewed<Fresh>, MirrorError> {
        let queue = if held.is_some() { &self.upstream } else { &self.upstream_of_new };
        let Ok(_permit) = queue.acquire().await else { return Err(MirrorError::Lost) };
        let (supply, arch) = (Arc::clone(&self.supply), repository.arch.clone());
        let keys = tokio::task::spawn_blocking(move || supply.keys(&arch)).await.map_err(|_| MirrorError::Lost)??;
        if keys.names().next().is_none() {
            return Err(MirrorError::NoKey(repository.arch.clone()));
        }
        let refuses_older = self.supply.checks.makes(Check::Replay);
        let before = held.map(|held| held.index.edition.clone()).filter(|_| refuses_older);
        let check = move |bytes: &[u8]| {
            let (index, signed) = SignedIndex::open(bytes, &keys)?;
            let read = Read::of(&index)?;
            match before.as_ref().filter(|before| age::is_older(&read.edition, before)) {
                Some(before) => {
                    Err(MirrorError::Replayed { expected: before.description.clone(), found: read.edition.description }
                        .into())
                }
                None => Ok(Fresh { read, key: signed.key }),
            }
        };
        let known = held.and_then(|held| held.known.as_ref());
        let path = format!("{repository}/{INDEX}");
        let renewed = self.supply.mirrors.renewed_index(&path, known, check).await;
        renewed.map_err(|source| MirrorError::upstream(path, source))
    }

    /// Writes down what upstream said, and puts together what is held now.
    fn take_in(
        &self,
        repository: &Repository,
        held: Option<Held>,
        renewed: Renewed<Fresh>,
        now: SystemTime,
    ) -> Result<Held, MirrorError> {
        let held = match (renewed, held) {
            (Renewed::Unchanged, Some(held)) => Held { checked: now, ..held },
            // Nobody asked whether nothing is unchanged.
            (Renewed::Unchanged, None) => return Err(MirrorError::Lost),
            (Renewed::Changed { bytes, made: Fresh { read, key }, known }, before) => {
                // A client that has the one before must not think that it has this one.
                let taken = before.as_ref().map_or(now, |before| now.max(before.taken + Duration::from_secs(1)));
                let former = before.map(|before| self.former(&before.index, &read.listing)).unwrap_or_default();
                self.indexes.write(repository, &bytes, &former)?;
                let index = Index {
                    digest: Digest::of(&bytes),
                    bytes: bytes.into(),
                    key,
                    edition: read.edition,
                    listing: read.listing,
                    former: Listing::parse(&former).unwrap_or_default(),
                };
                info!(%repository, packages = index.listing.len(), key = %index.key, "took in an index");
                Held { index: Arc::new(index), checked: now, taken, known: Some(known) }
            }
        };
        self.indexes.write_note(repository, &held)?;
        Ok(held)
    }

    /// The index on the disk, verified with the keys that count now.
    ///
    /// # Errors
    /// Why it cannot be used, in words.
    pub(super) fn read(&self, repository: &Repository) -> Result<Option<Held>, String> {
        if !self.indexes.has(repository) {
            return Ok(None);
        }
        let keys = self.supply.keys(&repository.arch).map_err(|error| chain(&error))?;
        self.indexes.read(repository, &keys)
    }

    /// The repositories whose indexes are kept.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn known(&self) -> Result<Vec<Repository>, DiskError> {
        self.indexes.known()
    }

    /// The packages that an index named, or remembered, that a newer one does not name, and that are held.
    fn former(&self, before: &Index, now: &Listing) -> String {
        let is_other = |package: &&IndexPackage| {
            now.find(&package.file_name()).is_none_or(|it| it.identity() != package.identity())
        };
        let is_held = |package: &&IndexPackage| self.shelf.has(&package_name(&package.identity().to_string()));
        records(before.listing.packages().chain(before.former.packages()).filter(is_other).filter(is_held))
    }

    /// What is in memory of a repository that somebody asks for.
    fn slot(&self, repository: &Repository, now: SystemTime) -> (Option<Held>, Option<(SystemTime, Arc<MirrorError>)>) {
        let mut slots = self.lock();
        match slots.get_mut(repository) {
            Some(slot) => {
                slot.used = Some(now);
                (slot.held.clone(), slot.failed.clone())
            }
            None => (None, None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Repository, Slot>> {
        // Slots are replaced as a whole.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An index that was just verified.
#[derive(Debug)]
struct Fresh {
    read: Read,
    key: String,
}

/// Keeps the number of repositories in memory in bounds: first those go of which nothing is held, which anybody can make
/// up by asking for them.
fn forget_oldest(slots: &mut HashMap<Repository, Slot>) {
    while slots.len() > MOST_LOADED {
        let oldest = slots
            .iter()
            .min_by_key(|(_, slot)| (slot.held.is_some(), slot.used))
            .map(|(repository, _)| repository.clone());
        let Some(oldest) = oldest else { return };
        slots.remove(&oldest);
    }
}
