//! Machines, their boot sessions and check-ins.
//!
//! [`Roster`] is the truth in memory, changed by pure methods with the time as an argument; [`Fleet`] puts a lock and a
//! database around it, SQLite or PostgreSQL. What happens at each boot, step by step, is kept as events, from which a
//! [`Timeline`](crate::model::timeline::Timeline) is read. Answers to machines come from memory; the database is
//! written behind them by one task, so a locked or lost database delays no boot (DESIGN 4.5). Machines that go on
//! checking in, and those that are not yet at their scripts, are written down every few seconds, each once and as it is
//! then. A machine that nobody knows is a claim that anybody can make, as long as it has no script: of these, few are
//! written at a time.

#[cfg(test)]
mod bed;
mod behind;
mod book;
mod census;
mod database;
mod engine;
mod journal;
mod onlooker;
mod orders;
mod others;
mod roster;
mod rows;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use foldhash::quality::RandomState;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::warn;

pub use book::{Book, By, DecideError, SERVER};
pub use census::{Lens, census, view};
pub use journal::{Event, Events, Seen, Sighting};
pub use onlooker::Onlooker;
pub use orders::Order;
use orders::Standing;
use roster::MAX_MACHINES;
pub use roster::{
    Answer, Change, CheckInError, Concern, EarlierBoots, Listed, MAX_ROUNDS, Machine, Outcome, Reached, Recognised,
    Roster, Session, Told,
};
pub use trouble::Trouble;

use crate::model::boot::Step;
use crate::model::boot_guard::Attempts;
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
use crate::model::token::Token;
use behind::{Known, QUEUE, Write, in_time, write_behind};
use database::{Database, Row, Theirs};

/// How long a check-in waits to be on disk before the machine is answered all the same.
const COMMIT_WAIT: Duration = Duration::from_millis(500);

/// How many unknown tokens are looked for in the database in a second; machines that were given theirs by another server
/// are known a second later without this, and whoever invents tokens loads nothing.
const LOOKS_A_SECOND: u32 = 10;

/// How long a check-in waits for that.
const FIND_WAIT: Duration = Duration::from_millis(500);

/// How long a machine waits for its files to be read back; then it is told to ask again.
const READ_WAIT: Duration = Duration::from_secs(2);

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
    /// Another program writes to it and does not end.
    #[error("the fleet database {place} is being written by another program, for seconds already; try again")]
    Locked {
        /// Where it is.
        place: DatabasePlace,
    },
    /// What is in the file is not what was written.
    #[error("the fleet database {place} is damaged: {found}")]
    Damaged {
        /// Where it is.
        place: DatabasePlace,
        /// What the database says of itself.
        found: String,
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
    /// How the words of machines are hashed.
    words: RandomState,
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

/// A machine that asks for its script, with what is remembered of it: all of one moment, and taken once for an answer.
#[derive(Debug)]
pub struct Visitor {
    /// Who it is: what it says, with the address under which it is kept.
    pub identity: Arc<Identity>,
    /// What a person should look at, if nobody was told before.
    pub alarm: Option<String>,
    /// Whether it boots in a circle.
    pub circles: bool,
    /// What it last came up with as it was told to.
    pub good: Option<Told>,
    /// How often it was given the script of each bundle since it last came up with that one.
    pub attempts: Attempts,
}

impl Visitor {
    /// One of whom nothing is remembered.
    fn new(identity: Arc<Identity>) -> Self {
        Self { identity, alarm: None, circles: false, good: None, attempts: Attempts::default() }
    }

    fn of(identity: Arc<Identity>, known: &Machine, now: SystemTime) -> Self {
        let (good, attempts) = (known.good.clone(), known.attempts.clone());
        Self { identity, alarm: None, circles: known.circles(now), good, attempts }
    }
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
        let known = Arc::new(Known::of(Roster::from_machines(machines)));
        let (writes, queue) = mpsc::channel(QUEUE);
        let database = Arc::new(database);
        let book = Book::new(Arc::clone(&database));
        book.read().await?;
        tokio::spawn(write_behind(Arc::clone(&database), Arc::clone(&known), queue));
        let standing = Mutex::default();
        let looks = Mutex::new(Looks { since: Instant::now(), count: 0 });
        let (made, words) = (Mutex::new(made), RandomState::default());
        Ok(Self { known, made, database, book, writes, standing, looks, words, interval: DEFAULT_INTERVAL })
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

    /// Has the database at `place` look for damage, and reads all that a server reads at its start; how many machines there
    /// are.
    ///
    /// # Errors
    /// When a server would not start with it.
    pub async fn examine(place: &DatabasePlace) -> Result<usize, FleetError> {
        if place.is_absent() {
            return Ok(0);
        }
        let database = Arc::new(Database::open(place).await?);
        database.check().await?;
        let machines = database.load().await?;
        database.made().await?;
        Book::new(database).read().await?;
        Ok(machines.len())
    }

    /// The ledger.
    #[must_use]
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Takes in what others wrote, to be called every second: what people decided, and machines that other servers on the
    /// same database saw. The ledger as it is now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn follow(&self) -> Result<Arc<Ledger>, FleetError> {
        let looked = in_time(self.database.look(self.book.known().last())).await;
        let Theirs { machines, entries } = looked.map_err(|error| self.database.failed(error))?;
        self.known.learn(machines);
        Ok(self.book.take(&entries))
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

    /// Something was seen of a machine. Returns at once. False when it belongs to no boot that is known.
    pub fn reached(&self, mac: Mac, sighting: &Sighting, now: SystemTime) -> bool {
        let (changed, events, is_taken) = {
            let mut roster = self.lock();
            let Reached { is_taken, news, events } = roster.reached(mac, sighting, now);
            (news.map(|machine| (machine.identity.mac, machine.session.step)), events, is_taken)
        };
        self.known.keep(events);
        match changed {
            // Firmware takes one step after the other within seconds, and nothing depends on them but what people see.
            Some((mac, step)) if step < Step::Script => self.known.postpone(mac),
            Some((mac, _)) => self.known.changed(mac, Events::new()),
            None => {}
        }
        is_taken
    }

    /// Who asks for a script, when it says the same of itself from the same address as before: nothing of that has to be
    /// read, cleaned and judged anew.
    #[must_use]
    pub fn again(&self, mac: &Mac, words: &str, address: IpAddr, now: SystemTime) -> Option<Visitor> {
        let words = self.hash(words, address);
        let roster = self.lock();
        let machine = roster.machine(mac).filter(|machine| machine.words == Some(words))?;
        Some(Visitor::of(Arc::clone(&machine.identity), machine, now))
    }

    /// In which words and from where a machine said who it is that has its script now.
    pub fn remember(&self, identity: &Arc<Identity>, words: &str, address: IpAddr) {
        let words = self.hash(words, address);
        self.lock().remember(identity, words);
    }

    /// Words that differ have the same hash by accident once in 2⁶⁴, and whoever looks for some that have gains nothing: it
    /// can say the words themselves.
    fn hash(&self, words: &str, address: IpAddr) -> u64 {
        self.words.hash_one((words, address))
    }

    /// Who asks for a script, and what is remembered of it.
    pub fn recognise(&self, identity: Arc<Identity>, now: SystemTime) -> Visitor {
        let patience = self.interval * census::MISSED;
        let (visitor, Recognised { forgotten, other, alarm, events, .. }) = {
            let mut roster = self.lock();
            let recognised = roster.recognise(identity, patience, now);
            let identity = Arc::clone(&recognised.identity);
            let visitor = match roster.machine(&identity.mac) {
                Some(machine) => Visitor::of(identity, machine, now),
                None => Visitor::new(identity),
            };
            (visitor, recognised)
        };
        match other {
            Some(other) => self.known.changed(other, events),
            None => self.known.keep(events),
        }
        self.forget(forgotten);
        Visitor { alarm, ..visitor }
    }

    /// The machine that has a card, as it said of itself when it last booted.
    #[must_use]
    pub fn machine_with(&self, card: &Mac) -> Option<Arc<Identity>> {
        self.lock().machine_with(card).map(|machine| Arc::clone(&machine.identity))
    }

    /// A machine was told to boot `plan` and checks in with `token`. Returns at once: it is on disk long before the machine
    /// has its kernel, and a machine must boot with a dead database too.
    pub fn scripted(
        &self,
        identity: &Arc<Identity>,
        plan: Plan<'_>,
        token: Token,
        concern: Option<Concern>,
        now: SystemTime,
    ) {
        self.answered(identity, Answer::boot(plan, token, concern, now));
    }

    /// A machine asked for a script and may not have one; `why` is what it was shown.
    pub fn refused(&self, identity: &Arc<Identity>, why: String, now: SystemTime) {
        self.answered(identity, Answer::refusal(why, now));
    }

    /// A machine was sent to something that is no bundle: its menu, its local disk, an entry of the site's menu; `trouble`
    /// is what went wrong before, if anything did.
    pub fn sent_to(&self, identity: &Arc<Identity>, what: String, trouble: Option<String>, now: SystemTime) {
        self.answered(identity, Answer::elsewhere(what, trouble, now));
    }

    fn answered(&self, identity: &Arc<Identity>, answer: Answer) {
        let (forgotten, events) = {
            let mut roster = self.lock();
            let Change { forgotten, events, .. } = roster.answered(identity, answer);
            (forgotten, events)
        };
        self.forget(forgotten);
        self.known.changed(identity.mac, events);
    }

    /// The code a machine shows that waits to be approved.
    #[must_use]
    pub fn pairing_code(&self, mac: &Mac) -> Option<PairingCode> {
        let roster = self.lock();
        PairingCode::of_sent_to(roster.machine(mac)?.session.sent_to.as_deref()?)
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
    pub fn told(&self, token: Token) -> Option<BundleId> {
        self.lock().told(token)
    }

    /// The bundle the boot with `token` was told to load, by whichever server on this database. A token that is not known
    /// here is looked for in the database, if that can be asked and was not asked too often.
    pub async fn told_by_any(&self, token: Token) -> Option<BundleId> {
        if let Some(bundle) = self.told(token) {
            return Some(bundle);
        }
        let may_look = self.looks.lock().unwrap_or_else(PoisonError::into_inner).another(Instant::now());
        if !may_look || self.known.is_lost() {
            return None;
        }
        // When it cannot be asked, whoever follows says so.
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
        token: Token,
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
            self.known.forget(mac);
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
        // Without room, the machine is written as it is when there is some.
        if let Err(TrySendError::Full(Write::Save(row, _))) = self.writes.try_send(Write::Save(Box::new(row), done)) {
            self.known.postpone(row.mac());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Roster> {
        self.known.roster()
    }
}
