//! What a caching mirror has done so far, and how its upstream is. Written down soon after it changed, never by who asks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::disk;

/// How soon a change is written down.
const SOON: Duration = Duration::from_secs(1);

/// The largest file of totals.
const LARGEST: u64 = 64 << 10;

/// The longest reason of a failure that is remembered.
const LONGEST_REASON: usize = 2000;

/// Sums since the mirror was set up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Answers from what was held.
    pub hits: u64,
    /// Answers for which upstream was asked, waiting for somebody else's question included.
    pub misses: u64,
    /// Answers with an index that could not be renewed in time.
    pub stale: u64,
    /// Requests that were not answered with a file.
    pub refused: u64,
    /// Bytes of files that were asked for.
    pub served_bytes: u64,
    /// Files that came from upstream.
    pub downloads: u64,
    /// Their bytes.
    pub downloaded_bytes: u64,
    /// When upstream gave what it was asked for last.
    pub upstream_well: Option<SystemTime>,
    /// When it failed last, and why.
    pub upstream_failed: Option<Failure>,
}

/// A failure of upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at: SystemTime,
    /// Why, with all causes.
    pub why: String,
}

/// Counts, and writes down.
#[derive(Debug)]
pub(super) struct Tally {
    /// Nothing for who only visits: one process at a time counts.
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    totals: Totals,
    /// Whether somebody is going to write them down.
    is_due: bool,
}

impl Totals {
    /// The sums in a file; none when there is no such file yet.
    pub(super) fn load(path: &Path) -> Self {
        let read = disk::read_bounded(path, LARGEST).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Whether upstream failed when it was asked last.
    #[must_use]
    pub fn failing(&self) -> Option<&Failure> {
        self.upstream_failed.as_ref().filter(|failure| self.upstream_well.is_none_or(|well| well < failure.at))
    }
}

impl Tally {
    /// Goes on from the sums in a file.
    pub(super) fn at(path: &Path) -> Self {
        let totals = Totals::load(path);
        Self { path: Some(path.to_owned()), state: Mutex::new(State { totals, is_due: false }) }
    }

    /// Counts for nobody.
    pub(super) fn idle() -> Self {
        Self { path: None, state: Mutex::default() }
    }

    /// Counts something.
    pub(super) fn count(self: &Arc<Self>, count: impl FnOnce(&mut Totals)) {
        let mut state = self.lock();
        count(&mut state.totals);
        if self.path.is_none() || std::mem::replace(&mut state.is_due, true) {
            return;
        }
        drop(state);
        let tally = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(SOON).await;
            tally.write().await;
        });
    }

    /// Upstream gave what it was asked for.
    pub(super) fn upstream_is_well(self: &Arc<Self>, now: SystemTime) {
        self.count(|totals| totals.upstream_well = Some(now));
    }

    /// Upstream failed.
    pub(super) fn upstream_failed(self: &Arc<Self>, why: String, now: SystemTime) {
        let why = why.chars().take(LONGEST_REASON).collect();
        self.count(|totals| totals.upstream_failed = Some(Failure { at: now, why }));
    }

    /// Writes the sums down.
    pub(super) async fn write(self: &Arc<Self>) {
        let tally = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || {
            let Some(path) = &tally.path else { return Ok(()) };
            let totals = {
                let mut state = tally.lock();
                state.is_due = false;
                state.totals.clone()
            };
            let json = serde_json::to_vec_pretty(&totals).expect("sums have only text and numbers");
            disk::write_atomic(path, &json)
        });
        if let Ok(Err(error)) = written.await {
            warn!(%error, "cannot write down what the caching mirror has done");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sums_go_on_after_a_restart_and_who_visits_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("totals.json");
        for round in 1..3 {
            let tally = Arc::new(Tally::at(&path));
            tally.count(|totals| totals.hits += 1);
            tally.write().await;
            assert_eq!(Totals::load(&path).hits, round);
        }
        Arc::new(Tally::idle()).write().await;
        assert_eq!(Totals::load(&path).hits, 2);
    }

    #[test]
    fn upstream_fails_until_it_is_well_again() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let failure = Failure { at: at(2), why: "no answer".to_owned() };
        let mut totals = Totals { upstream_failed: Some(failure.clone()), ..Totals::default() };
        assert_eq!(totals.failing(), Some(&failure));
        totals.upstream_well = Some(at(1));
        assert_eq!(totals.failing(), Some(&failure));
        totals.upstream_well = Some(at(3));
        assert_eq!(totals.failing(), None);
    }
}
