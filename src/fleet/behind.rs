//! The database is written behind the answers to machines: what is in memory, what waits to be written, and the task that
//! writes it, many changes in one transaction when they come fast.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{info, warn};

use super::database::{Database, Row};
use super::{Event, Machine, Made, Roster};
use crate::model::mac::Mac;

/// How many changes may wait for the database, in order; a machine that finds no room is written later, as it is then.
pub(super) const QUEUE: usize = 8192;

/// The same for events, which wait by themselves, so that a flood of packets takes no change's place.
pub(super) const MAX_EVENTS: usize = 16_384;

/// How many events are written at once, so that a check-in that waits for the disk does not wait long.
const EVENTS_AT_ONCE: usize = 1024;

/// How often events are written.
const EVENTS_EVERY: Duration = Duration::from_millis(250);

/// How long a change waits for others, when one was written just before it.
const GATHER: Duration = Duration::from_millis(100);

/// How often check-ins are written that are not the first of their boot: of each machine, the last one.
const CHECK_INS_EVERY: Duration = Duration::from_secs(2);

/// How many of these are written at once, so that a first check-in does not wait for a fleet.
const CHECK_INS_AT_ONCE: usize = 512;

/// How often the database is asked what other servers wrote.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long writing or reading may take before the connection is given up: a computer that was unplugged says nothing.
const GIVE_UP: Duration = Duration::from_secs(20);

/// The pause before the database is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What is in memory, also for the task that writes.
#[derive(Debug, Default)]
pub(super) struct Known {
    roster: Mutex<Roster>,
    /// What is to be written down.
    pub(super) events: Mutex<Vec<Event>>,
    /// Machines that are to be written down as they are when it comes to that: they checked in again, or there was no
    /// room in the queue.
    pub(super) due: Mutex<HashSet<Mac>>,
    /// Whom people wanted to be forgotten, and when: other servers may not have heard of it yet.
    pub(super) forgotten: Mutex<HashMap<Mac, SystemTime>>,
    /// Whether the database could not be used when that was tried last.
    is_lost: AtomicBool,
}

impl Known {
    /// What a database had, with nothing to be written.
    pub(super) fn of(roster: Roster) -> Self {
        Self { roster: Mutex::new(roster), ..Self::default() }
    }

    pub(super) fn roster(&self) -> MutexGuard<'_, Roster> {
        // Every method leaves the roster whole, so a panic elsewhere does not make it unusable.
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A machine is to be written down with others, as it is then.
    pub(super) fn postpone(&self, mac: Mac) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).insert(mac);
    }

    /// Takes in what other servers wrote, but for machines that were not told to boot since they were to be forgotten.
    pub(super) fn learn(&self, machines: impl IntoIterator<Item = Machine>) {
        let forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        let mut roster = self.roster();
        for machine in machines {
            let at = forgotten.get(&machine.identity.mac);
            if at.is_none_or(|at| machine.sessions().any(|session| session.scripted_at > *at)) {
                roster.learn(machine);
            }
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Says once that the database is lost, and once that it is back.
    fn went(&self, went: Result<(), &sqlx::Error>) {
        let was_lost = self.is_lost.swap(went.is_err(), Ordering::Relaxed);
        match went {
            Err(error) if !was_lost => {
                warn!(%error, "the fleet database cannot be used; boots go on, and what happens is written when it is back");
            }
            Ok(()) if was_lost => info!("the fleet database is back"),
            _ => {}
        }
    }

    /// Some of the machines that are due, as they are now; all of them when `all`.
    fn take_due(&self, all: bool) -> Vec<Row> {
        let mut waiting = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let count = if all { waiting.len() } else { CHECK_INS_AT_ONCE };
        let macs: HashSet<Mac> = waiting.iter().copied().take(count).collect();
        waiting.retain(|mac| !macs.contains(mac));
        drop(waiting);
        let roster = self.roster();
        macs.iter().filter_map(|mac| roster.machine(mac)).map(Row::of).collect()
    }

    pub(super) fn keep(&self, events: Vec<Event>) {
        let mut waiting = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_EVENTS - waiting.len().min(MAX_EVENTS);
        // Said once for each time that it fills up.
        if events.len() > room && room > 0 {
            warn!("the fleet database cannot keep up; timelines of boots will have gaps");
        }
        waiting.extend(events.into_iter().take(room));
    }

    /// Some of what waits to be written, with what fell quiet; or everything there is.
    fn take(&self, all: bool) -> Vec<Event> {
        let quiet = self.roster().quiet(SystemTime::now(), all);
        self.keep(quiet);
        let mut waiting = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let count = if all { waiting.len() } else { waiting.len().min(EVENTS_AT_ONCE) };
        waiting.drain(..count).collect()
    }
}

/// Something to be written.
#[derive(Debug)]
pub(super) enum Write {
    Save(Box<Row>, Option<oneshot::Sender<()>>),
    /// A machine was seen; that can wait for others.
    Seen(Box<Row>),
    Forget(Mac),
    Made(Mac, Made, Arc<str>),
    Flush(oneshot::Sender<()>),
}

/// Writes what comes, and events a few times a second. What cannot be written now is tried again until it can: others wait
/// in the queue, in order.
///
/// The first change after a pause is written at once. What follows gathers for a while, whoever waits for it: of a fleet
/// that is turned on at once everything happens hundreds of times a second, and a transaction for each would take a
/// processor of its own.
pub(super) async fn write_behind(database: Arc<Database>, known: Arc<Known>, mut queue: mpsc::Receiver<Write>) {
    let mut batch = Vec::new();
    let mut is_open = true;
    let mut rows_due = Instant::now() + CHECK_INS_EVERY;
    let mut look_due = Instant::now() + LOOK_EVERY;
    let mut next = Instant::now();
    while is_open {
        tokio::time::sleep_until(next).await;
        if let Ok(received) = tokio::time::timeout(EVENTS_EVERY, queue.recv_many(&mut batch, QUEUE)).await {
            is_open = received > 0;
        }
        next = Instant::now() + GATHER;
        let is_last = !is_open || batch.iter().any(|write| matches!(write, Write::Flush(_)));
        let events = known.take(is_last);
        if is_last || Instant::now() >= rows_due {
            rows_due = Instant::now() + CHECK_INS_EVERY;
            batch.extend(known.take_due(is_last).into_iter().map(|row| Write::Seen(Box::new(row))));
        }
        if batch.is_empty() && events.is_empty() {
            if Instant::now() >= look_due {
                look_due = Instant::now() + LOOK_EVERY;
                let looked = in_time(database.look()).await;
                known.went(looked.as_ref().map(drop));
                known.learn(looked.unwrap_or_default());
            }
            continue;
        }
        loop {
            let saved = in_time(database.save(&batch, &events)).await;
            known.went(saved.as_ref().map(drop));
            if let Ok(theirs) = saved {
                known.learn(theirs);
                break;
            }
            tokio::time::sleep(RETRY).await;
        }
        for write in batch.drain(..) {
            let done = match write {
                Write::Save(_, done) => done,
                Write::Flush(done) => Some(done),
                Write::Seen(_) | Write::Forget(_) | Write::Made(..) => None,
            };
            if let Some(done) = done {
                // Whoever waited may have given up.
                let _ = done.send(());
            }
        }
    }
}

/// What the database answers, unless it takes too long.
async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let late = |_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    tokio::time::timeout(GIVE_UP, answer).await.unwrap_or_else(late)
}
