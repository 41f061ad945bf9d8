//! Machines, their boot sessions and check-ins.
//!
//! [`Roster`] is the truth in memory, changed by pure methods with the time as an argument; [`Fleet`] puts a lock and
//! a database around it, SQLite or PostgreSQL. What happens at each boot, step by step, is kept as events, from which a
//! [`Timeline`](crate::model::timeline::Timeline) is read. Answers to machines come from memory; the database is written behind them by one
//! task, so a locked or lost database delays no boot (DESIGN 4.5). Machines that go on checking in are written down every few
//! seconds, each once and as it is then.

#[cfg(test)]
mod bed;
mod book;
mod census;
mod database;
mod engine;
mod journal;
mod orders;
mod others;
mod roster;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{info, warn};

pub use book::{Book, By, DecideError, SERVER};
pub use census::{Lens, census, view};
pub use journal::{Event, Seen, Sighting};
pub use orders::Order;
use orders::Standing;
use roster::MAX_MACHINES;
pub use roster::{
    Change, CheckInError, Listed, MAX_ROUNDS, Machine, Outcome, Reached, Recognised, Roster, Session, Told,
};

use crate::model::checkin::orders::{DEFAULT_INTERVAL, Orders};
use crate::model::checkin::{Differences, Report};
use crate::model::database::DatabasePlace;
use crate::model::digest::Digest;
use crate::model::identity::Identity;
use crate::model::ledger::Ledger;
use crate::model::mac::Mac;
use crate::model::manifest::BundleId;
use crate::model::name::ProfileName;
use crate::model::pairing::PairingCode;
use crate::model::plan::{Assignments, Plan};
use crate::model::rollout::{Census, View};
use database::{Database, Row};

/// How many changes may wait for the database before new ones are dropped, with a warning.
const QUEUE: usize = 8192;

/// The same for events, which wait by themselves, so that a flood of packets takes no change's place.
const MAX_EVENTS: usize = 16_384;

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

/// How long a check-in waits to be on disk before the machine is answered all the same.
const COMMIT_WAIT: Duration = Duration::from_millis(500);

/// How often the database is asked what other servers wrote.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long writing or reading may take before the connection is given up: a computer that was unplugged says nothing.
const GIVE_UP: Duration = Duration::from_secs(20);

/// How many unknown tokens are looked for in the database in a second; machines that were given theirs by another server
/// are known a second later without this, and whoever invents tokens loads nothing.
const LOOKS_A_SECOND: u32 = 10;

/// How long a check-in waits for that.
const FIND_WAIT: Duration = Duration::from_millis(500);

/// How long a machine waits for its files to be read back; then it is told to ask again.
const READ_WAIT: Duration = Duration::from_secs(2);

/// The pause before the database is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long a clean stop waits for the database.
const FLUSH_WAIT: Duration = Duration::from_secs(5);

/// Why the fleet database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// It cannot be opened, read or written.
    #[error("cannot use the fleet database {place}")]
    Database {
        /// Where it is.
        place: DatabasePlace,
        /// Why.
        source: sqlx::Error,
    },
    /// Written by a newer program.
    #[error(
        "the fleet database {place} has version {found}, and this program reads {}; use the program that wrote it",
        database::VERSION
    )]
    Version {
        /// Where it is.
        place: DatabasePlace,
        /// Its version.
        found: i64,
    },
}

/// The fleet, shared by every transport.
#[derive(Debug)]
pub struct Fleet {
    known: Arc<Known>,
    /// The last files of each machine that were made well.
    made: Mutex<HashMap<Mac, Made>>,
    database: Arc<Database>,
    book: Book,
    writes: mpsc::Sender<Write>,
    standing: Mutex<Standing>,
    looks: Mutex<Looks>,
    /// How often machines check in.
    interval: Duration,
}

/// How many unknown tokens were looked for lately.
#[derive(Debug)]
struct Looks {
    since: Instant,
    count: u32,
}

impl Looks {
    /// Whether there may be another one now.
    fn another(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self { since: now, count: 0 };
        }
        self.count += 1;
        self.count <= LOOKS_A_SECOND
    }
}

/// What is in memory, also for the task that writes.
#[derive(Debug, Default)]
struct Known {
    roster: Mutex<Roster>,
    /// What is to be written down.
    events: Mutex<Vec<Event>>,
    /// Machines that are to be written down as they are when it comes to that: they checked in again, or there was no
    /// room in the queue.
    due: Mutex<HashSet<Mac>>,
    /// Whom people wanted to be forgotten, and when: other servers may not have heard of it yet.
    forgotten: Mutex<HashMap<Mac, SystemTime>>,
    /// Whether the database could not be used when that was tried last.
    is_lost: AtomicBool,
}

impl Known {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        // Every method leaves the roster whole, so a panic elsewhere does not make it unusable.
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A machine is to be written down with others, as it is then.
    fn postpone(&self, mac: Mac) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).insert(mac);
    }

    /// Takes in what other servers wrote, but for machines that were not told to boot since they were to be forgotten.
    fn learn(&self, machines: impl IntoIterator<Item = Machine>) {
        let forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        let mut roster = self.roster();
        for machine in machines {
            let at = forgotten.get(&machine.identity.mac);
            if at.is_none_or(|at| machine.sessions().any(|session| session.scripted_at > *at)) {
                roster.learn(machine);
            }
        }
    }

    fn is_lost(&self) -> bool {
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

    fn keep(&self, events: Vec<Event>) {
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

/// The fleet as its database has it, for a program besides the server.
#[derive(Debug)]
pub struct Onlooker {
    database: Arc<Database>,
    book: Book,
}

impl Onlooker {
    /// The ledger.
    #[must_use]
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Every machine, by address, without what it reported.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn machines(&self) -> Result<Vec<Machine>, FleetError> {
        self.database.load_without_reports().await
    }

    /// Removes all that was written of a machine but the ledger.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn forget(&self, mac: &Mac) -> Result<(), FleetError> {
        self.database.forget(mac).await
    }

    /// Every machine, by address, with what it reported last.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn machines_with_reports(&self) -> Result<Vec<Machine>, FleetError> {
        self.database.load().await
    }

    /// What was written of a machine's boots after the event numbered `after`, oldest first, with the numbers. Not more
    /// than a thousand at once.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn events(&self, mac: &Mac, after: i64) -> Result<Vec<(i64, Event)>, FleetError> {
        self.database.events(mac, after).await
    }
}

/// Which files a machine was given, made from the templates of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The profile of the bundle.
    pub profile: ProfileName,
    /// Its release.
    pub release: u64,
    /// The bundle.
    pub bundle: BundleId,
    /// The digest of their contents.
    pub files: Digest,
}

#[derive(Debug)]
enum Write {
    Save(Box<Row>, Option<oneshot::Sender<()>>),
    /// A machine was seen; that can wait for others.
    Seen(Box<Row>),
    Forget(Mac),
    Made(Mac, Made, Arc<str>),
    Flush(oneshot::Sender<()>),
}

impl Fleet {
    /// Opens the database, making it on first use, loads what it knows, and starts the task that writes.
    ///
    /// # Errors
    /// When the database cannot be opened or read.
    pub async fn open(place: &DatabasePlace) -> Result<Self, FleetError> {
        let database = Database::open(place).await?;
        let machines = database.load_without_reports().await?;
        let made = database.load_made().await?;
        let known = Arc::new(Known { roster: Mutex::new(Roster::from_machines(machines)), ..Known::default() });
        let (writes, queue) = mpsc::channel(QUEUE);
        let database = Arc::new(database);
        let book = Book::new(Arc::clone(&database));
        book.read().await?;
        tokio::spawn(write_behind(Arc::clone(&database), Arc::clone(&known), queue));
        let standing = Mutex::default();
        let looks = Mutex::new(Looks { since: Instant::now(), count: 0 });
        Ok(Self { known, made: Mutex::new(made), database, book, writes, standing, looks, interval: DEFAULT_INTERVAL })
    }

    /// The same fleet, whose machines check in this often.
    #[must_use]
    pub fn checking_in_every(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Opens the database at `place` to look on while a server writes.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn look_on(place: &DatabasePlace) -> Result<Onlooker, FleetError> {
        let database = Arc::new(Database::open(place).await?);
        Ok(Onlooker { book: Book::new(Arc::clone(&database)), database })
    }

    /// Every machine in the database at `place`, by address; none when nothing was ever served.
    ///
    /// # Errors
    /// When the database cannot be opened or read.
    pub async fn read(place: &DatabasePlace) -> Result<Vec<Machine>, FleetError> {
        if place.is_absent() {
            return Ok(Vec::new());
        }
        Database::open(place).await?.load().await
    }

    /// The ledger.
    #[must_use]
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Every machine as rollouts see it.
    #[must_use]
    pub fn census(&self, ledger: &Ledger, assignments: &Assignments, now: SystemTime) -> Census {
        census(self.lock().machines(), &Lens { ledger, assignments, interval: self.interval, now })
    }

    /// One machine as rollouts see it.
    #[must_use]
    pub fn view(&self, mac: &Mac, ledger: &Ledger, assignments: &Assignments, now: SystemTime) -> Option<View> {
        let lens = Lens { ledger, assignments, interval: self.interval, now };
        self.lock().machine(mac).map(|machine| view(machine, &lens))
    }

    /// A person wanted a machine to be forgotten at `at`; one that booted since is there anew.
    pub fn forget_booted_before(&self, mac: Mac, at: SystemTime) {
        if !self.scripted_since(&mac, at) {
            self.known.forgotten.lock().unwrap_or_else(PoisonError::into_inner).insert(mac, at);
            self.lock().forget(&mac);
            self.forget(Some(mac));
        }
    }

    /// Whether a machine was given a script after `at`.
    #[must_use]
    pub fn scripted_since(&self, mac: &Mac, at: SystemTime) -> bool {
        self.lock().machine(mac).is_some_and(|machine| machine.session.scripted_at > at)
    }

    /// What a machine last came up with as it was told to.
    #[must_use]
    pub fn good(&self, mac: &Mac) -> Option<Told> {
        self.lock().machine(mac).and_then(|machine| machine.good.clone())
    }

    /// How often a machine was given the script of `bundle` since it last came up with it.
    #[must_use]
    pub fn attempts(&self, mac: &Mac, bundle: BundleId) -> u32 {
        self.lock().machine(mac).map(|machine| machine.attempts.count(bundle)).unwrap_or_default()
    }

    /// Something was seen of a machine. Returns at once. False when it belongs to no boot that is known.
    pub fn reached(&self, mac: Mac, sighting: &Sighting, now: SystemTime) -> bool {
        let (row, events, is_taken) = {
            let mut roster = self.lock();
            let Reached { is_taken, news, events } = roster.reached(mac, sighting, now);
            (news.map(Row::of), events, is_taken)
        };
        self.known.keep(events);
        if let Some(row) = row {
            self.write(Write::Seen(Box::new(row)));
        }
        is_taken
    }

    /// Who asks for a script: the same, with the address under which it is kept, and what a person should look at if
    /// nobody was told before.
    pub fn recognise(&self, identity: Identity, now: SystemTime) -> (Identity, Option<String>) {
        let patience = self.interval * census::MISSED;
        let (recognised, row) = {
            let mut roster = self.lock();
            let recognised = roster.recognise(identity, patience, now);
            let row = recognised.other.and_then(|other| roster.machine(&other)).map(Row::of);
            (recognised, row)
        };
        let Recognised { identity, forgotten, alarm, events, .. } = recognised;
        self.known.keep(events);
        if let Some(row) = row {
            self.write(Write::Seen(Box::new(row)));
        }
        self.forget(forgotten);
        (identity, alarm)
    }

    /// A machine was told to boot `plan` and checks in with `token`. Returns at once: it is on disk long before the machine
    /// has its kernel, and a machine must boot with a dead database too.
    /// An `alarm` is something wrong that a person should know of although the machine boots.
    pub fn scripted(&self, identity: &Identity, plan: &Plan, token: String, alarm: Option<String>, now: SystemTime) {
        let (row, forgotten) = {
            let mut roster = self.lock();
            let Change { machine, forgotten, events } = roster.scripted(identity, plan, token, now);
            let row = Row::of(machine);
            self.known.keep(events);
            let row = alarm.and_then(|why| roster.alarm(&identity.mac, why).map(Row::of)).unwrap_or(row);
            (row, forgotten)
        };
        self.forget(forgotten);
        self.save(row, None);
    }

    /// A machine asked for a script and may not have one; `why` is what it was shown.
    pub fn refused(&self, identity: &Identity, why: String, now: SystemTime) {
        self.answered(self.lock().refused(identity, why, now));
    }

    /// A machine was sent to something that is no bundle: its menu, its local disk, an entry of the site's menu.
    pub fn sent_to(&self, identity: &Identity, what: String, now: SystemTime) {
        self.answered(self.lock().sent_to(identity, what, now));
    }

    fn answered(&self, change: Change<'_>) {
        let Change { machine, forgotten, events } = change;
        let row = Row::of(machine);
        self.known.keep(events);
        self.forget(forgotten);
        self.save(row, None);
    }

    /// The code a machine shows that waits to be approved.
    #[must_use]
    pub fn pairing_code(&self, mac: &Mac) -> Option<PairingCode> {
        let roster = self.lock();
        PairingCode::of_sent_to(roster.machine(mac)?.session.sent_to.as_deref()?)
    }

    /// Whether a machine boots in a circle.
    #[must_use]
    pub fn circles(&self, mac: &Mac, now: SystemTime) -> bool {
        self.lock().circles(mac, now)
    }

    /// What a machine that cannot load `failed` had better boot: what it, or else any other machine of that profile,
    /// last came up with.
    #[must_use]
    pub fn last_good(&self, mac: &Mac, profile: &ProfileName, failed: &BundleId) -> Option<Told> {
        self.lock().last_good(mac, profile, failed)
    }

    /// The files of a machine were made well; `content` is what has the digest `made.files`.
    pub fn made(&self, mac: Mac, made: Made, content: &Arc<str>) {
        let mut all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = all.contains_key(&mac);
        if all.get(&mac) == Some(&made) || !is_known && all.len() >= MAX_MACHINES {
            return;
        }
        all.insert(mac, made.clone());
        drop(all);
        if self.writes.try_send(Write::Made(mac, made, Arc::clone(content))).is_err() {
            warn!("the fleet database cannot keep up; a machine's last good files were not written");
        }
    }

    /// The last files of a machine that were made well.
    #[must_use]
    pub fn last_made(&self, mac: &Mac) -> Option<Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).get(mac).cloned()
    }

    /// What has this digest, of the files that were made well for some machine.
    pub async fn made_content(&self, files: &Digest) -> Option<String> {
        let read = tokio::time::timeout(READ_WAIT, self.database.made_content(files)).await;
        match read {
            Ok(Ok(content)) => content,
            Ok(Err(error)) => {
                warn!(%error, "the files of a machine cannot be read from the fleet database");
                None
            }
            Err(_) => {
                warn!("the fleet database is slow; the files of a machine cannot be read now");
                None
            }
        }
    }

    /// The bundle the boot with `token` was told to load.
    #[must_use]
    pub fn told(&self, token: &str) -> Option<BundleId> {
        self.lock().told(token)
    }

    /// The bundle the boot with `token` was told to load, by whichever server on this database. A token that is not known
    /// here is looked for in the database, if that can be asked and was not asked too often.
    pub async fn told_by_any(&self, token: &str) -> Option<BundleId> {
        if let Some(bundle) = self.told(token) {
            return Some(bundle);
        }
        let may_look = self.looks.lock().unwrap_or_else(PoisonError::into_inner).another(Instant::now());
        if !may_look || self.known.is_lost() {
            return None;
        }
        // When it cannot be asked, the task that writes says so.
        let found = tokio::time::timeout(FIND_WAIT, self.database.machine_with(token)).await;
        let machine = found.ok()?.ok()??;
        self.known.learn([machine]);
        self.told(token)
    }

    /// A machine checked in with `token`; `found` is how its report differs from what it was told to boot. The first
    /// check-in of a boot waits for the disk so long that whoever reads the database next finds the machine up; later
    /// ones are written within seconds.
    ///
    /// # Errors
    /// When no boot was given that token or the boot is over, and when the report is to list its packages and does not.
    pub async fn check_in(
        &self,
        token: &str,
        report: Report,
        found: Differences,
        now: SystemTime,
    ) -> Result<Outcome, CheckInError> {
        let shown = report.heard;
        let (row, outcome) = {
            let mut roster = self.lock();
            let (machine, outcome, events) = roster.check_in(token, report, found, now)?;
            // Only a row has the lists of the report, which do not stay in memory.
            let row = (outcome.is_first || machine.session.report.is_some()).then(|| Row::of(machine));
            machine.session.report = None;
            self.known.keep(events);
            (row, outcome)
        };
        self.standing().done(&outcome.mac, outcome.turn, shown.as_ref());
        match row {
            Some(row) if outcome.is_first => self.commit(row, outcome.mac).await,
            Some(row) => self.save(row, None),
            None => self.known.postpone(outcome.mac),
        }
        Ok(outcome)
    }

    /// What a machine is told with the answer to its check-in.
    #[must_use]
    pub fn orders(&self, mac: &Mac) -> Orders {
        let (reboot, message) = self.standing().of(mac);
        Orders { interval: self.interval, reboot, message }
    }

    /// Asks something of a machine, which learns of it when it checks in next. Forgotten when the server ends.
    pub fn order(&self, mac: Mac, order: Order) {
        let turn = self.lock().machine(&mac).map(Machine::turn).unwrap_or_default();
        if !self.standing().give(mac, order, turn) {
            warn!(%mac, "too many machines have orders; this one was given none");
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything said so far is on disk; for a clean stop.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        let written = async { self.writes.send(Write::Flush(done)).await.is_ok() && flushed.await.is_ok() };
        if tokio::time::timeout(FLUSH_WAIT, written).await != Ok(true) {
            warn!("the fleet database cannot be written; the last changes are lost");
        }
    }

    fn forget(&self, mac: Option<Mac>) {
        if let Some(mac) = &mac {
            self.known.due.lock().unwrap_or_else(PoisonError::into_inner).remove(mac);
            self.made.lock().unwrap_or_else(PoisonError::into_inner).remove(mac);
            self.standing().forget(mac);
        }
        if let Some(mac) = mac
            && self.writes.try_send(Write::Forget(mac)).is_err()
        {
            warn!("the fleet database cannot keep up; a forgotten machine stays in it");
        }
    }

    /// Saves a change and waits until it is on disk, but not longer than a machine may wait.
    async fn commit(&self, row: Row, mac: Mac) {
        let (done, committed) = oneshot::channel();
        self.save(row, Some(done));
        if self.known.is_lost() {
            return;
        }
        if tokio::time::timeout(COMMIT_WAIT, committed).await.is_err() {
            warn!(%mac, "the fleet database is slow; answered before the change was on disk");
        }
    }

    fn save(&self, row: Row, done: Option<oneshot::Sender<()>>) {
        self.write(Write::Save(Box::new(row), done));
    }

    fn write(&self, write: Write) {
        // Without room, the machine is written as it is when there is some.
        if let Err(TrySendError::Full(Write::Save(row, _) | Write::Seen(row))) = self.writes.try_send(write) {
            self.known.postpone(row.mac());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Roster> {
        self.known.roster()
    }
}

/// Writes what comes, and events a few times a second. What cannot be written now is tried again until it can: others wait
/// in the queue, in order.
///
/// The first change after a pause is written at once. What follows gathers for a while, whoever waits for it: of a fleet
/// that is turned on at once everything happens hundreds of times a second, and a transaction for each would take a
/// processor of its own.
async fn write_behind(database: Arc<Database>, known: Arc<Known>, mut queue: mpsc::Receiver<Write>) {
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use sqlx::sqlite::SqlitePool;

    use super::*;
    use crate::fleet::bed::{Bed, Postgres, on_both};
    use crate::model::boot::Step;
    use crate::model::checkin::Inventory;
    use crate::model::checkin::orders::{Reboot, heard};
    use crate::model::manifest::tests::sample;
    use crate::model::plan::Published;

    on_both! {
        what_was_said_is_there_when_the_database_is_opened_again,
        the_last_good_files_of_a_machine_survive_a_restart_and_shared_ones_are_kept_once,
        a_locked_database_keeps_no_machine_from_its_script,
        check_ins_after_the_first_wait_for_no_database_and_the_last_one_is_written,
        a_list_of_packages_is_kept_though_its_machine_is_written_again_at_once,
        an_order_stands_until_it_is_done_whatever_the_clock_says,
        the_events_of_a_machine_are_read_in_order_and_the_oldest_go,
        invented_addresses_fill_neither_the_memory_nor_the_queue_nor_delay_anybody,
        what_one_server_saw_the_other_knows,
        what_is_older_is_not_written_over_what_another_server_wrote,
        a_boot_that_another_server_began_ends_the_one_before,
        a_machine_that_is_forgotten_meanwhile_stops_no_writing,
    }

    fn plan() -> Plan {
        let manifest = sample("vdi");
        let published = Published { release: 12, bundle: manifest.id(), manifest: Arc::new(manifest) };
        Plan { profile: "vdi".parse().unwrap(), published }
    }

    fn sighting(step: Step) -> Sighting {
        Sighting { step, seen: Seen::ByMac, sent: None, remark: String::new() }
    }

    async fn what_was_said_is_there_when_the_database_is_opened_again(bed: &Bed) {
        let identity = Identity::from_texts("52:54:00:00:00:01".parse().unwrap(), "", "PC 7", "efi", "x86_64");
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_181_304_123);
        let fleet = Fleet::open(&bed.place).await.unwrap();
        fleet.reached(identity.mac, &sighting(Step::Discover), now);
        fleet.scripted(&identity, &plan(), "t1".to_owned(), Some("a template failed".to_owned()), now);
        fleet.reached(identity.mac, &sighting(Step::Kernel), now);
        fleet.flush().await;
        let machines = Fleet::read(&bed.place).await.unwrap();
        assert_eq!(machines.len(), 1);
        assert_eq!(machines[0].identity, identity);
        assert_eq!((machines[0].session.step, machines[0].session.step_at), (Step::Kernel, now));
        assert_eq!(machines[0].session.told.as_ref().unwrap().1, 12);
        assert_eq!(machines[0].session.problems, ["a template failed"]);
        let again = Fleet::open(&bed.place).await.unwrap();
        assert_eq!(again.told("t1"), Some(plan().published.bundle));
    }

    async fn the_last_good_files_of_a_machine_survive_a_restart_and_shared_ones_are_kept_once(bed: &Bed) {
        let mac = |last: u8| -> Mac { format!("52:54:00:00:00:{last:02x}").parse().unwrap() };
        let made = |text: &str, release| Made {
            profile: "vdi".parse().unwrap(),
            release,
            bundle: Digest::of(b"bundle"),
            files: Digest::of(text.as_bytes()),
        };
        let fleet = Fleet::open(&bed.place).await.unwrap();
        for (last, text, release) in [(1, "old", 1), (1, "new", 2), (2, "new", 2)] {
            fleet.made(mac(last), made(text, release), &text.into());
        }
        fleet.flush().await;
        let again = Fleet::open(&bed.place).await.unwrap();
        assert_eq!(again.last_made(&mac(1)), Some(made("new", 2)));
        assert_eq!(again.last_made(&mac(2)), Some(made("new", 2)));
        assert_eq!(again.last_made(&mac(3)), None);
        assert_eq!(again.made_content(&Digest::of(b"new")).await.as_deref(), Some("new"));
        assert_eq!(again.made_content(&Digest::of(b"old")).await, None, "nobody has it any more");
    }

    async fn a_locked_database_keeps_no_machine_from_its_script(bed: &Bed) {
        let fleet = Fleet::open(&bed.place).await.unwrap();
        let lock = bed.lock().await;
        let identity = Identity::of("52:54:00:00:00:01".parse().unwrap());
        fleet.scripted(&identity, &plan(), "t1".to_owned(), None, SystemTime::now());
        assert_eq!(fleet.told("t1"), Some(plan().published.bundle));
        lock.rollback().await.unwrap();
        fleet.flush().await;
        assert_eq!(Fleet::read(&bed.place).await.unwrap().len(), 1, "written once the lock was gone");
    }

    /// A fleet with one machine that was told to boot and given the token `t1`, and what it reports.
    async fn one_machine(place: &DatabasePlace) -> (Fleet, Identity, Report) {
        let fleet = Fleet::open(place).await.unwrap();
        let identity = Identity::of("52:54:00:00:00:01".parse().unwrap());
        fleet.scripted(&identity, &plan(), "t1".to_owned(), None, SystemTime::now());
        let text = format!("bundle {}\nhostname vdi\nuptime 7\n", plan().published.bundle);
        (fleet, identity, Report::parse(text.as_bytes()).unwrap())
    }

    async fn check_ins_after_the_first_wait_for_no_database_and_the_last_one_is_written(bed: &Bed) {
        let (fleet, _, mut report) = one_machine(&bed.place).await;
        let list = Digest::of(b"list");
        let well = || Differences { boot: Vec::new(), packages: Some(Vec::new()) };
        report.inventory = Inventory::Here(Some(list));
        fleet.check_in("t1", report.clone(), well(), SystemTime::now()).await.unwrap();
        let lock = bed.lock().await;
        report.inventory = Inventory::Earlier(list);
        for second in 0..QUEUE as u64 + 1000 {
            report.vitals.uptime = Some(Duration::from_secs(second));
            let check_in = fleet.check_in("t1", report.clone(), Differences::default(), SystemTime::now());
            assert!(check_in.now_or_never().expect("nothing is waited for").is_ok());
        }
        assert!(fleet.writes.capacity() > QUEUE / 2, "they take no place in the queue");
        lock.rollback().await.unwrap();
        fleet.flush().await;
        let session = &Fleet::read(&bed.place).await.unwrap()[0].session;
        let uptime = session.vitals.as_ref().unwrap().uptime;
        assert_eq!((uptime, session.is_good), (Some(Duration::from_secs(QUEUE as u64 + 999)), true));
    }

    async fn a_list_of_packages_is_kept_though_its_machine_is_written_again_at_once(bed: &Bed) {
        let (fleet, _, report) = one_machine(&bed.place).await;
        let lock = bed.lock().await;
        let list = Digest::of(b"list");
        let listing = |name: &str| Report {
            inventory: Inventory::Here(Some(list)),
            packages: vec![name.to_owned()],
            ..report.clone()
        };
        let earlier = Report { inventory: Inventory::Earlier(list), ..report.clone() };
        // The first waits for the database, so that the others come while it is being written.
        for report in [listing("vi-9-r0"), listing("vim-9-r0"), earlier] {
            let found = Differences { boot: Vec::new(), packages: Some(Vec::new()) };
            fleet.check_in("t1", report, found, SystemTime::now()).await.unwrap();
        }
        lock.rollback().await.unwrap();
        fleet.flush().await;
        let session = &Fleet::read(&bed.place).await.unwrap()[0].session;
        assert_eq!(session.report.as_ref().unwrap().packages, ["vim-9-r0"]);
    }

    async fn an_order_stands_until_it_is_done_whatever_the_clock_says(bed: &Bed) {
        let (fleet, identity, report) = one_machine(&bed.place).await;
        let mac = identity.mac;
        let now = SystemTime::now();
        fleet.order(mac, Order::Reboot(Reboot::Now));
        fleet.order(mac, Order::Message("hello".to_owned()));
        fleet.check_in("t1", report.clone(), Differences::default(), now).await.unwrap();
        let orders =
            Orders { interval: DEFAULT_INTERVAL, reboot: Some(Reboot::Now), message: Some("hello".to_owned()) };
        assert_eq!(fleet.orders(&mac), orders);
        // The server's clock was wrong.
        let before = now - Duration::from_secs(7200);
        fleet.scripted(&identity, &plan(), "t2".to_owned(), None, before);
        let heard = Report { heard: Some(heard("hello")), ..report };
        fleet.check_in("t2", heard.clone(), Differences::default(), before).await.unwrap();
        assert_eq!(fleet.orders(&mac), Orders { reboot: None, message: None, ..orders });
        let over = fleet.check_in("t1", heard, Differences::default(), now).await.unwrap_err();
        assert_eq!(over, CheckInError::Over(mac));
    }

    #[tokio::test]
    async fn a_database_of_a_newer_program_is_named_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.sqlite");
        let place = DatabasePlace::File(path.clone());
        drop(Fleet::open(&place).await.unwrap());
        let other = SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        sqlx::raw_sql("PRAGMA user_version = 70").execute(&other).await.unwrap();
        let error = Fleet::read(&place).await.unwrap_err().to_string();
        let said =
            format!("has version 70, and this program reads {}; use the program that wrote it", database::VERSION);
        assert!(error.ends_with(&said), "{error}");
    }

    #[tokio::test]
    async fn a_database_of_an_older_program_is_brought_up_to_date_and_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.sqlite");
        let place = DatabasePlace::File(path.clone());
        let old = SqlitePool::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap();
        sqlx::raw_sql(include_str!("schema.sql")).execute(&old).await.unwrap();
        let rows = "INSERT INTO machines (mac, first_seen, last_seen) VALUES ('52:54:00:00:00:01', 1000, 2000); \
                    INSERT INTO sessions (token, mac, started, step, step_at) \
                    VALUES ('t1', '52:54:00:00:00:01', 1000, 'overlay', 2000); PRAGMA user_version = 1";
        sqlx::raw_sql(rows).execute(&old).await.unwrap();
        let machines = Fleet::read(&place).await.unwrap();
        assert_eq!(machines[0].session.step, Step::SiteInitrd);
        assert_eq!(machines[0].session.sent_to, None);
    }

    async fn the_events_of_a_machine_are_read_in_order_and_the_oldest_go(bed: &Bed) {
        let fleet = Fleet::open(&bed.place).await.unwrap();
        let identity = Identity::of("52:54:00:00:00:01".parse().unwrap());
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_181_304);
        for boot in 0..1000 {
            let now = start + Duration::from_secs(boot);
            fleet.scripted(&identity, &plan(), format!("t{boot}"), None, now);
        }
        fleet.flush().await;
        let onlooker = Fleet::look_on(&bed.place).await.unwrap();
        let events = onlooker.events(&identity.mac, 0).await.unwrap();
        assert_eq!(events.len(), 400);
        assert!(events.is_sorted_by_key(|(number, _)| *number));
        let (last, event) = events.last().unwrap();
        assert_eq!((event.boot, event.stage.step), (start + Duration::from_secs(999), Step::Script));
        assert_eq!(onlooker.events(&identity.mac, *last).await.unwrap(), []);
    }

    async fn invented_addresses_fill_neither_the_memory_nor_the_queue_nor_delay_anybody(bed: &Bed) {
        let fleet = Fleet::open(&bed.place).await.unwrap();
        let lock = bed.lock().await;
        for number in 0..50_000_u32 {
            let [a, b, c, d] = number.to_be_bytes();
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_181_304);
            fleet.reached(Mac([2, 0, a, b, c, d]), &sighting(Step::Discover), now);
            fleet.reached(Mac([2, 0, a, b, c, d]), &sighting(Step::Offer), now);
        }
        assert!(fleet.known.events.lock().unwrap().len() <= MAX_EVENTS);
        assert_eq!(fleet.lock().len(), MAX_MACHINES);
        lock.rollback().await.unwrap();
        fleet.flush().await;
        let events: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM events").fetch_one(&bed.other().await).await.unwrap();
        assert!(events > 0 && events <= 2 * MAX_EVENTS as i64, "{events}");
    }

    /// Two servers on one database, of which the first has a machine that was given the token `t1`.
    async fn two_servers(bed: &Bed) -> (Fleet, Fleet, Identity, Report) {
        let (one, identity, report) = one_machine(&bed.place).await;
        let other = Fleet::open(&bed.place).await.unwrap();
        one.flush().await;
        (one, other, identity, report)
    }

    async fn what_one_server_saw_the_other_knows(bed: &Bed) {
        let (one, other, identity, report) = two_servers(bed).await;
        let mac = identity.mac;
        assert_eq!(other.told_by_any("t0").await, None);
        assert_eq!(other.told_by_any("t1").await, Some(plan().published.bundle));
        let first = other.check_in("t1", report.clone(), Differences::default(), SystemTime::now()).await.unwrap();
        assert!(first.is_first);
        assert_eq!(other.good(&mac), plan_told());
        // Whoever writes finds out what the others wrote.
        one.flush().await;
        assert_eq!((one.good(&mac), one.attempts(&mac, plan().published.bundle)), (plan_told(), 0));
        let second = one.check_in("t1", report, Differences::default(), SystemTime::now()).await.unwrap();
        assert!(!second.is_first && !second.is_change);
    }

    fn plan_told() -> Option<Told> {
        let Plan { profile, published } = plan();
        Some((profile, published.release, published.bundle))
    }

    async fn what_is_older_is_not_written_over_what_another_server_wrote(bed: &Bed) {
        let (one, other, identity, report) = two_servers(bed).await;
        let row = one.lock().machine(&identity.mac).map(Row::of).unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        assert!(other.told_by_any("t1").await.is_some());
        other.check_in("t1", report, Differences::default(), later).await.unwrap();
        other.flush().await;
        // As if it had waited in the queue while the database was away.
        one.write(Write::Save(Box::new(row), None));
        one.flush().await;
        let machine = Fleet::read(&bed.place).await.unwrap().remove(0);
        assert_eq!((machine.session.step, machine.session.is_good), (Step::CheckIn, true));
        assert!(machine.attempts.is_empty() && machine.session.report.is_some());
        assert!(machine.last_seen >= later - Duration::from_secs(1));
    }

    async fn a_machine_that_is_forgotten_meanwhile_stops_no_writing(bed: &Bed) {
        let (one, other, identity, report) = two_servers(bed).await;
        one.scripted(&identity, &plan(), "t2".to_owned(), None, SystemTime::now());
        let row = one.lock().machine(&identity.mac).map(Row::of).unwrap();
        one.flush().await;
        let later = SystemTime::now() + Duration::from_secs(5);
        assert!(other.told_by_any("t2").await.is_some());
        other.check_in("t2", report, Differences::default(), later).await.unwrap();
        one.flush().await;
        Fleet::look_on(&bed.place).await.unwrap().forget(&identity.mac).await.unwrap();
        // As if it had waited in the queue: older than what the other one wrote, of a boot that is in no row any more.
        one.write(Write::Save(Box::new(row), None));
        one.flush().await;
        assert!(!one.known.is_lost());
    }

    async fn a_boot_that_another_server_began_ends_the_one_before(bed: &Bed) {
        let (one, other, identity, report) = two_servers(bed).await;
        let (now, well) = (SystemTime::now(), Differences::default);
        one.check_in("t1", report.clone(), well(), now).await.unwrap();
        let later = now + Duration::from_secs(60);
        other.scripted(&identity, &plan(), "t2".to_owned(), None, later);
        other.flush().await;
        one.flush().await;
        one.check_in("t2", report.clone(), well(), later + Duration::from_secs(60)).await.unwrap();
        let over = one.check_in("t1", report.clone(), well(), later + Duration::from_secs(120)).await;
        assert_eq!(over, Err(CheckInError::Over(identity.mac)));
        one.flush().await;
        other.flush().await;
        assert_eq!(other.check_in("t1", report, well(), later).await, Err(CheckInError::Over(identity.mac)));
    }

    #[tokio::test]
    async fn a_database_that_is_gone_stops_no_boot_and_has_everything_once_it_is_back() {
        let Some(server) = Postgres::start() else { return };
        let bed = Bed::of(&server);
        let (fleet, identity, report) = one_machine(&bed.place).await;
        fleet.flush().await;
        server.order("stop");
        let refused = Fleet::read(&bed.place).await.unwrap_err();
        assert!(refused.to_string().starts_with("cannot use the fleet database postgres://bivouac@localhost/fleet0"));
        fleet.check_in("t1", report.clone(), Differences::default(), SystemTime::now()).await.unwrap();
        for last in 0..100 {
            let (identity, token) = (Identity::of(Mac([2, 0, 0, 0, 1, last])), format!("gone{last}"));
            fleet.scripted(&identity, &plan(), token.clone(), None, SystemTime::now());
            // It waits for the disk only until it is known that there is none.
            fleet.check_in(&token, report.clone(), Differences::default(), SystemTime::now()).await.unwrap();
        }
        assert_eq!(fleet.told_by_any("nobody's").await, None);
        server.order("start");
        while fleet.known.is_lost() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        fleet.flush().await;
        let machines = Fleet::read(&bed.place).await.unwrap();
        assert_eq!(machines.len(), 101);
        assert!(machines.iter().all(|machine| machine.session.is_good));
        assert!(machines.iter().any(|machine| machine.identity == identity));
    }

    #[tokio::test]
    async fn invented_tokens_are_looked_for_a_few_times_a_second() {
        let now = Instant::now();
        let mut looks = Looks { since: now, count: 0 };
        assert_eq!((0..1000).filter(|_| looks.another(now)).count(), LOOKS_A_SECOND as usize);
        assert!(looks.another(now + Duration::from_secs(1)));
    }
}
