//! The database is written behind the answers to machines: what is in memory, what waits to be written, and the task that
//! writes it, many changes in one transaction when they come fast.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use foldhash::{HashMap, HashSet};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tracing::{info, warn};

use super::database::{Database, Row};
use super::{Event, Events, Machine, Made, Roster};
use crate::model::mac::Mac;

/// How many changes may wait for the database, in order; a machine that finds no room is written later, as it is then.
pub(super) const QUEUE: usize = 8192;

/// How many machines are written at once that were given scripts or went a step further from there.
const MACHINES_AT_ONCE: usize = 512;

/// The same for events, which wait by themselves, so that a flood of packets takes no change's place.
pub(super) const MAX_EVENTS: usize = 16_384;

/// How many events are written at once, so that a check-in that waits for the disk does not wait long.
const EVENTS_AT_ONCE: usize = 1024;

/// How long a change waits for others, when some were written just before it.
const GATHER: Duration = Duration::from_millis(100);

/// After what nobody waits for was written, the next of it rests so many times as long as that took. This leaves the
/// processors to those who answer while a fleet is turned on, which is on disk some seconds later.
const REST: u32 = 16;

/// It rests no longer than this: a database that was locked for a while took long for little.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// When more machines than are written at once were given scripts within a moment, the first of them rest for so long: whole
/// fleets have their scripts by then.
const STORM_REST: Duration = Duration::from_secs(1);

/// How often it is looked for what may wait: machines that only went on, because they checked in, not for the first time in
/// their boot, or their firmware took a step; machines that nobody knew; and boots that fell quiet. All of it together,
/// each as it is then, because a transaction costs more than the rows in it, and a server that has nothing to do does next
/// to nothing.
const BEAT: Duration = Duration::from_secs(2);

/// How many machines that went on are written at once, so that a first check-in does not wait for a fleet.
const DUE_AT_ONCE: usize = 512;

/// How many machines that nobody knew are written at once: of those that are left at their firmware, some five hundred in a
/// minute.
const CLAIMED_AT_ONCE: usize = 16;

/// When more of them come than can be written, they rest for so long. Of a fleet that is turned on at once, nearly all have
/// their scripts by then, and a flood of addresses that somebody invents costs the database nothing.
const CROWD_REST: Duration = Duration::from_secs(30);

/// How long writing or reading may take before the connection is given up: a computer that was unplugged says nothing.
const GIVE_UP: Duration = Duration::from_secs(20);

/// The pause before the database is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What is in memory, also for the task that writes.
#[derive(Debug, Default)]
pub(super) struct Known {
    roster: Mutex<Roster>,
    pub(super) pending: Mutex<Pending>,
    /// Machines that may wait for more than the next changes: they checked in again, are not yet at their script, or found
    /// no room in the queue.
    due: Mutex<HashSet<Mac>>,
    /// Wakes the task that writes, when a machine is to be written soon.
    wake: Notify,
    /// Whom people wanted to be forgotten, and when: other servers may not have heard of it yet.
    pub(super) forgotten: Mutex<HashMap<Mac, SystemTime>>,
    /// Whether the database could not be used when that was tried last.
    is_lost: AtomicBool,
}

/// What is to be written down with the next changes.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) events: Vec<Event>,
    /// Machines, as they are then.
    machines: HashSet<Mac>,
}

impl Pending {
    fn keep(&mut self, mut events: Events) {
        let room = MAX_EVENTS - self.events.len().min(MAX_EVENTS);
        // Said once for each time that it fills up.
        if events.len() > room && room > 0 {
            warn!("the fleet database cannot keep up; timelines of boots will have gaps");
        }
        events.truncate(room);
        self.events.extend(events);
    }
}

impl Known {
    /// What a database had, with nothing to be written.
    pub(super) fn of(roster: Roster) -> Self {
        Self { roster: Mutex::new(roster), ..Self::default() }
    }

    pub(super) fn roster(&self) -> MutexGuard<'_, Roster> {
        // Every method leaves the roster whole, so a panic elsewhere does not make it unusable.
        lock(&self.roster)
    }

    /// A machine changed, with what was seen of it, and nobody waits until it is written.
    pub(super) fn changed(&self, mac: Mac, events: Events) {
        let is_news = {
            let mut pending = lock(&self.pending);
            pending.keep(events);
            pending.machines.insert(mac)
        };
        if is_news {
            self.wake.notify_one();
        }
    }

    /// A machine is to be written down with others, as it is then.
    pub(super) fn postpone(&self, mac: Mac) {
        lock(&self.due).insert(mac);
    }

    /// A machine is remembered no more.
    pub(super) fn forget(&self, mac: &Mac) {
        lock(&self.pending).machines.remove(mac);
        lock(&self.due).remove(mac);
    }

    /// Takes in what other servers wrote, but for machines that were not told to boot since they were to be forgotten.
    pub(super) fn learn(&self, machines: impl IntoIterator<Item = Machine>) {
        let forgotten = lock(&self.forgotten);
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
    pub(super) fn went(&self, went: Result<(), &sqlx::Error>) {
        let was_lost = self.is_lost.swap(went.is_err(), Ordering::Relaxed);
        match went {
            Err(error) if !was_lost => {
                warn!(%error, "the fleet database cannot be used; boots go on, and what happens is written when it is back");
            }
            Ok(()) if was_lost => info!("the fleet database is back"),
            _ => {}
        }
    }

    /// These machines, as they are now.
    fn rows(&self, macs: &[Mac]) -> impl Iterator<Item = Write> {
        let roster = self.roster();
        let rows: Vec<Row> = macs.iter().filter_map(|mac| roster.machine(mac)).map(Row::of).collect();
        rows.into_iter().map(|row| Write::Seen(Box::new(row)))
    }

    /// As many of the machines that nobody knew, with what was seen of them.
    fn take_claimed(&self, most: usize) -> Vec<Write> {
        let mut roster = self.roster();
        let mut rows = Vec::new();
        for (machine, events) in roster.admit_some(most) {
            rows.push(Write::Seen(Box::new(Row::of(machine))));
            self.keep(events);
        }
        rows
    }

    pub(super) fn keep(&self, events: Events) {
        if !events.is_empty() {
            lock(&self.pending).keep(events);
        }
    }

    /// What fell quiet is to be written; or all that was seen.
    fn settle(&self, all: bool) {
        let quiet = self.roster().quiet(SystemTime::now(), all);
        self.keep(quiet);
    }

    /// Wakes the task that writes, when there is more for it than it took.
    fn wake_for_more(&self) {
        let is_more = {
            let pending = lock(&self.pending);
            !pending.machines.is_empty() || pending.events.len() >= EVENTS_AT_ONCE
        };
        if is_more {
            self.wake.notify_one();
        }
    }

    /// Some of the events that wait to be written, or all.
    fn take_events(&self, all: bool) -> Vec<Event> {
        let events = &mut lock(&self.pending).events;
        let count = if all { events.len() } else { events.len().min(EVENTS_AT_ONCE) };
        events.drain(..count).collect()
    }
}

/// As many of these machines.
fn take(waiting: &mut HashSet<Mac>, most: usize) -> Vec<Mac> {
    if waiting.len() <= most {
        return waiting.drain().collect();
    }
    waiting.extract_if(|_| true).take(most).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something to be written.
#[derive(Debug)]
pub(super) enum Write {
    /// A machine checked in.
    Save(Box<Row>, Option<oneshot::Sender<()>>),
    /// A machine changed otherwise.
    Seen(Box<Row>),
    Forget(Mac),
    Made(Mac, Made, Arc<str>),
    Flush(oneshot::Sender<()>),
}

impl Write {
    /// The machine that is written, if one is.
    pub(super) fn row(&self) -> Option<&Row> {
        match self {
            Self::Save(row, _) | Self::Seen(row) => Some(row),
            Self::Forget(_) | Self::Made(..) | Self::Flush(_) => None,
        }
    }
}

/// Writes what comes, and at every beat what may wait. What cannot be written now is tried again until it can: others wait in
/// the queue, in order.
///
/// The first change after a pause is written at once. What follows gathers for a while, whoever waits for it: of a fleet
/// that is turned on at once everything happens hundreds of times a second, and a transaction for each would take a
/// processor of its own. What nobody waits for has but a part of the time.
pub(super) async fn write_behind(database: Arc<Database>, known: Arc<Known>, mut queue: mpsc::Receiver<Write>) {
    let mut batch = Vec::new();
    let mut is_open = true;
    let mut rested = Instant::now();
    let mut beat = rested + BEAT;
    let mut turn = Turn { waiting: 0, from: rested };
    let mut storm = Storm::default();
    while is_open {
        let woken = async {
            known.wake.notified().await;
            tokio::time::sleep_until(rested).await;
        };
        tokio::select! {
            biased;
            received = queue.recv_many(&mut batch, QUEUE) => is_open = received > 0,
            () = woken => {}
            () = tokio::time::sleep_until(beat.max(rested)) => {}
        }
        let is_last = !is_open || batch.iter().any(|write| matches!(write, Write::Flush(_)));
        let most = |at_once| if is_last { usize::MAX } else { at_once };
        let mut is_rested = is_last || Instant::now() >= rested;
        if is_rested && storm.breaks(lock(&known.pending).machines.len()) && !is_last {
            rested = Instant::now() + STORM_REST;
            is_rested = false;
        }
        let mut events = Vec::new();
        if is_rested {
            // After what came in order: machines are written as they are now.
            let soon = take(&mut lock(&known.pending).machines, most(MACHINES_AT_ONCE));
            batch.extend(known.rows(&soon));
            if is_last || Instant::now() >= beat {
                let due = take(&mut lock(&known.due), most(DUE_AT_ONCE));
                batch.extend(known.rows(&due));
                let claims = known.roster().claims();
                if turn.is_now(claims, Instant::now()) || is_last {
                    // As many as fill up what is written with them: a few rows more cost a statement each.
                    let room = CLAIMED_AT_ONCE - batch.len() % CLAIMED_AT_ONCE;
                    batch.extend(known.take_claimed(most(room)));
                }
                known.settle(is_last);
                // What is left over goes with the next ones.
                if lock(&known.due).is_empty() {
                    beat = Instant::now() + BEAT;
                }
            }
            events = known.take_events(is_last);
        }
        if batch.is_empty() && events.is_empty() {
            known.wake_for_more();
            continue;
        }
        let took = loop {
            let began = Instant::now();
            let saved = in_time(database.save(&batch, &events)).await;
            known.went(saved.as_ref().map(drop));
            if let Ok(theirs) = saved {
                known.learn(theirs);
                break began.elapsed();
            }
            tokio::time::sleep(RETRY).await;
        };
        if is_rested {
            rested = Instant::now() + rest_after(took);
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
        tokio::time::sleep(GATHER).await;
        known.wake_for_more();
    }
}

/// Whether a fleet is being turned on.
#[derive(Debug, Default)]
struct Storm {
    rages: bool,
}

impl Storm {
    /// Whether this many machines that wait to be written are the first that are seen of one.
    const fn breaks(&mut self, waiting: usize) -> bool {
        let before = self.rages;
        self.rages = waiting > MACHINES_AT_ONCE;
        self.rages && !before
    }
}

/// When machines that nobody knew have their turn to be written.
#[derive(Debug)]
struct Turn {
    /// How many waited at the last beat.
    waiting: usize,
    from: Instant,
}

impl Turn {
    /// Whether it is now, at a beat at which so many wait.
    fn is_now(&mut self, waiting: usize, now: Instant) -> bool {
        if waiting > self.waiting + CLAIMED_AT_ONCE {
            self.from = now + CROWD_REST;
        }
        self.waiting = waiting;
        now >= self.from
    }
}

/// How long what nobody waits for rests when writing some of it took so long.
fn rest_after(took: Duration) -> Duration {
    (took * REST).clamp(GATHER, LONGEST_REST)
}

/// What the database answers, unless it takes too long.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let late = |_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    tokio::time::timeout(GIVE_UP, answer).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Answer;
    use crate::fleet::journal::{Seen, Sighting};
    use crate::model::boot::Step;
    use crate::model::identity::Identity;

    #[test]
    fn of_machines_that_nobody_knew_few_are_written_at_once_and_none_that_has_its_script_already() {
        let known = Known::of(Roster::default());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_181_304);
        let mac = |last| Mac([2, 0, 0, 0, 0, last]);
        let asks = |step| Sighting { step, seen: Seen::ByMac, sent: None, remark: "".into() };
        for last in 0..100 {
            for step in [Step::Discover, Step::Offer] {
                let reached = known.roster().reached(mac(last), &asks(step), now).events.len();
                assert_eq!(reached, 0, "nothing is written of whom nobody knows");
            }
        }
        let script = known
            .roster()
            .answered(&Identity::of(mac(7)).into(), Answer::elsewhere("local disk".to_owned(), None, now))
            .events
            .len();
        assert_eq!(script, 3, "what its firmware did, and its script");
        known.settle(false);
        assert!(known.take_events(true).is_empty());
        let written: Vec<Write> = std::iter::repeat_with(|| known.take_claimed(60)).take(2).flatten().collect();
        let macs: HashSet<Mac> = written.iter().filter_map(Write::row).map(Row::mac).collect();
        assert_eq!((written.len(), macs.len(), macs.contains(&mac(7))), (99, 99, false));
        assert_eq!(known.take_events(true).len(), 2 * 99);
        let is_news = known.roster().reached(mac(1), &asks(Step::Loader), now).news.is_some();
        assert!(is_news, "it is like any other machine from then on");
    }

    #[test]
    fn a_crowd_of_machines_that_nobody_knew_has_its_turn_when_no_more_come() {
        let begin = Instant::now();
        let mut turn = Turn { waiting: 0, from: begin };
        let mut at = |seconds, waiting| turn.is_now(waiting, begin + Duration::from_secs(seconds));
        assert!(at(2, 3) && at(4, 19), "a few");
        assert!(!at(6, 500) && !at(8, 900) && !at(36, 901), "a crowd, of which some have their scripts by and by");
        assert!(at(38, 400) && at(40, 384) && at(42, 368));
    }

    #[test]
    fn a_fleet_that_is_turned_on_rests_once_until_it_is_written_down() {
        let mut storm = Storm::default();
        let breaks = [3, 600, 5_000, 513, 512, 513].map(|waiting| storm.breaks(waiting));
        assert_eq!(breaks, [false, true, false, false, false, true]);
    }

    #[test]
    fn what_nobody_waits_for_takes_a_small_part_of_the_time() {
        let rest = |took| rest_after(Duration::from_millis(took)).as_millis();
        assert_eq!((rest(1), rest(50), rest(9_000)), (100, 800, 2_000));
    }
}
