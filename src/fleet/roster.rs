//! What is known of every machine, in memory. Pure: the time is an argument.

mod check_in;
mod claims;
mod earlier;
mod forget;
mod kin;
mod learn;
mod tokens;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foldhash::HashMap;

use super::journal::{Boot, Events, Journal, Seen, Sighting};
pub use check_in::{CheckInError, Outcome};
pub use earlier::EarlierBoots;
pub(super) use earlier::MAX_EARLIER;
pub use kin::Recognised;

use crate::model::boot::Step;
use crate::model::boot_guard::Attempts;
use crate::model::checkin::Report;
use crate::model::checkin::vitals::Vitals;
use crate::model::digest::Digest;
use crate::model::identity::Identity;
use crate::model::identity::evidence::Conflict;
use crate::model::mac::Mac;
use crate::model::manifest::BundleId;
use crate::model::name::ProfileName;
use crate::model::pairing::PairingCode;
use crate::model::plan::Plan;
use crate::model::token::Token;

/// What the database keeps of a time.
const MILLISECOND: Duration = Duration::from_millis(1);

/// How long after the boot before one that seems to have begun earlier did not: a clock that is set right moves by less.
const CLOSE: Duration = Duration::from_secs(1);

/// How many machines are remembered; addresses are free to invent, memory is not.
pub(super) const MAX_MACHINES: usize = 20_000;

/// A machine that asked for its script this often, each time from its firmware on, and loaded nothing …
pub const MAX_ROUNDS: usize = 6;

/// … within this time boots in a circle. A machine that was refused asks less often.
const ROUNDS_WITHIN: Duration = Duration::from_secs(120);

/// A firmware that has not got a script after this long has been switched off; what it does next is a new boot.
const FIRMWARE_PATIENCE: Duration = Duration::from_secs(600);

/// A machine that asked to boot.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Who it says it is.
    pub identity: Arc<Identity>,
    /// When it was first seen.
    pub first_seen: SystemTime,
    /// When it was last seen.
    pub last_seen: SystemTime,
    /// Its last boot.
    pub session: Session,
    /// Boots before that which had a script.
    pub earlier: EarlierBoots,
    /// What it last came up with as it was told to.
    pub good: Option<Told>,
    /// How often it was given the script of a bundle and did not come up with it.
    pub attempts: Attempts,
    /// When it last began boots of which none loaded anything; in a running server only.
    pub rounds: Vec<SystemTime>,
    /// Who it is mistaken for.
    pub conflicts: Vec<Conflict>,
    /// What was seen of its last boot; in a running server only.
    pub(super) seen: Boot,
    /// In which words it said who it is, by their hash; in a running server only.
    pub(super) words: Option<u64>,
}

/// The profile, release and bundle of a boot.
pub type Told = (ProfileName, u64, BundleId);

/// One boot of one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// What the machine checks in with; also the session's name in the database. None until there is a script.
    pub token: Option<Token>,
    /// When it began.
    pub started: SystemTime,
    /// Of two boots that were given tokens, the later one has the greater number, also when the clock was set back.
    pub turn: u64,
    /// The profile, release and bundle it was told to boot.
    pub told: Option<Told>,
    /// What it was sent to when that is no bundle: its menu, its local disk, an entry of the site's menu.
    pub sent_to: Option<String>,
    /// The furthest step it reached.
    pub step: Step,
    /// When it reached that.
    pub step_at: SystemTime,
    /// What it reported. In a running server only until it is on disk: reports are large, and memory is for decisions.
    pub report: Option<Box<Report>>,
    /// Why it was refused a script, or how what it reported differs from what it was told to boot; empty means that
    /// nothing is wrong.
    pub problems: Vec<String>,
    /// The problem that was known before the machine came up; in a running server only.
    pub alarm: Option<String>,
    /// When it was given its script, or seen first when it was given none yet.
    pub scripted_at: SystemTime,
    /// When it last checked in.
    pub last_check_in: Option<SystemTime>,
    /// Whether it was good then: the machine ran what it was told to boot, and its required checks were well.
    pub is_good: bool,
    /// Since when it is good, or is not.
    pub health_since: SystemTime,
    /// When it first was good.
    pub first_good: Option<SystemTime>,
    /// How the machine was when it last checked in; of its last boot only.
    pub vitals: Option<Box<Vitals>>,
    /// The list of packages it last sent; in a running server only.
    pub inventory: Option<Box<Listed>>,
}

/// A list of packages that a machine sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The digest by which the machine names it.
    pub digest: Digest,
    /// How it differs from the packages of the bundle.
    pub differences: Vec<String>,
}

/// Every machine that is known.
#[derive(Debug, Default)]
pub struct Roster {
    /// In boxes: a table that grows while a fleet is turned on moves what is in it.
    machines: HashMap<Mac, Box<Machine>>,
    /// Machines that nobody knew, until they have their scripts or are written down.
    claims: claims::Claims,
    tokens: tokens::Tokens,
    journal: Journal,
    index: kin::Index,
    /// The number of the last boot that was given a token.
    turns: u64,
    /// Who is forgotten next when there is no room, the first one last.
    unseen: Vec<forget::Unseen>,
}

/// What came of something that was seen.
#[derive(Debug, Default, PartialEq)]
pub struct Reached<'a> {
    /// Whether it belongs to a boot. What comes from an address alone and fits none may belong to one that is not known
    /// yet.
    pub is_taken: bool,
    /// The machine, when its boot is further than before.
    pub news: Option<&'a Machine>,
    /// What is to be written down.
    pub events: Events,
}

/// What a machine is told that asks for its script. Made before the roster is asked, for which everybody waits.
#[derive(Debug)]
pub struct Answer {
    session: Session,
    remark: Arc<str>,
}

/// What a person should know of a machine that boots although something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {
    /// It boots something else than it was to; coming up does not take that away.
    Lasting(String),
    /// Something went wrong before; coming up shows that it is over.
    UntilUp(String),
}

/// A machine that changed, and one that had to be forgotten for it.
#[derive(Debug, PartialEq)]
pub struct Change<'a> {
    /// The machine.
    pub machine: &'a mut Machine,
    /// Who is remembered no more.
    pub forgotten: Option<Mac>,
    /// What is to be written down.
    pub events: Events,
}

impl Concern {
    /// What it is, for people.
    #[must_use]
    pub fn text(&self) -> &str {
        let (Self::Lasting(text) | Self::UntilUp(text)) = self;
        text
    }
}

impl Roster {
    /// The roster a database held.
    #[must_use]
    pub fn from_machines(machines: impl IntoIterator<Item = Machine>) -> Self {
        let mut machines: HashMap<Mac, Box<Machine>> =
            machines.into_iter().map(|machine| (machine.identity.mac, Box::new(machine))).collect();
        let sessions = machines.values_mut().flat_map(|machine| machine.sessions_mut());
        let mut sessions: Vec<&mut Session> = sessions.filter(|session| session.token.is_some()).collect();
        sessions.sort_by_key(|session| session.started);
        let mut turns = 0;
        for session in sessions {
            turns += 1;
            session.turn = turns;
        }
        let of = |machine: &Machine| machine.tokens().map(|token| (token, machine.identity.mac)).collect::<Vec<_>>();
        let tokens = tokens::Tokens::of(machines.values().flat_map(|machine| of(machine)));
        let mut index = kin::Index::default();
        let mut known: Vec<&Machine> = machines.values().map(Box::as_ref).collect();
        known.sort_by_key(|machine| (machine.first_seen, machine.identity.mac));
        known.into_iter().for_each(|machine| index.add(&machine.identity));
        Self { machines, tokens, index, turns, ..Self::default() }
    }

    /// Something was seen of a machine.
    ///
    /// Within a boot, steps only go forward: firmware, iPXE and Alpine each ask DHCP again. A DHCPDISCOVER of firmware
    /// after a script means the machine was switched on anew; what is known by an address alone never means that.
    pub fn reached(&mut self, mac: Mac, sighting: &Sighting, now: SystemTime) -> Reached<'_> {
        let mac = self.key_of(mac);
        let (step, by_address) = (sighting.step, sighting.seen == Seen::ByAddress);
        if !self.machines.contains_key(&mac) && step < Step::Script {
            return Reached { is_taken: self.claim(mac, sighting, now), ..Reached::default() };
        }
        self.admit(mac);
        let is_known = self.machines.contains_key(&mac);
        if !is_known && (by_address || self.is_full()) {
            return Reached::default();
        }
        let machine =
            self.machines.entry(mac).or_insert_with(|| Box::new(Machine::begin(Identity::of(mac).into(), step, now)));
        machine.last_seen = now;
        let session = &mut machine.session;
        let idle = now.duration_since(session.step_at).unwrap_or_default();
        let anew = step < Step::Script && (session.step >= Step::Script || idle > FIRMWARE_PATIENCE);
        if anew && by_address {
            return Reached::default();
        }
        let is_further = step > session.step && sighting.is_progress();
        let mut events = Events::new();
        if anew {
            self.begin(mac, Session::begin(step, now), &mut events);
        } else if is_further {
            session.step = step;
            session.step_at = now;
            if step > Step::Script {
                machine.rounds.clear();
            }
        }
        let Some(machine) = self.machines.get_mut(&mac) else { return Reached::default() };
        let Machine { session, seen, .. } = &mut **machine;
        self.journal.note(mac, seen, session.started, sighting.clone(), now, &mut events);
        let is_news = anew || is_further || !is_known;
        Reached { is_taken: true, news: is_news.then_some(machine), events }
    }

    /// A machine that asked for its script was answered. One boot has one script: another script is another boot, except
    /// that a machine still at its firmware's steps goes on.
    ///
    /// When the memory is full, the machine that was seen longest ago is forgotten, of those that never checked in if
    /// there is one.
    pub fn answered(&mut self, identity: &Arc<Identity>, answer: Answer) -> Change<'_> {
        let Answer { mut session, remark } = answer;
        let now = session.step_at;
        let mac = identity.mac;
        self.admit(mac);
        let needs_room = !self.machines.contains_key(&mac) && self.is_full();
        let forgotten = if needs_room { self.forget_one() } else { None };
        let Self { machines, tokens, journal, index, turns, .. } = self;
        if let Some(token) = session.token {
            tokens.insert(token, mac);
            *turns += 1;
            session.turn = *turns;
        }
        let begin = || Box::new(Machine::begin(Identity::of(mac).into(), Step::Discover, now));
        let machine = machines.entry(mac).or_insert_with(begin);
        if !Arc::ptr_eq(&machine.identity, identity) {
            if machine.identity != *identity {
                index.remove(&machine.identity);
                index.add(identity);
            }
            machine.identity = Arc::clone(identity);
            machine.words = None;
        }
        machine.last_seen = now;
        if let Some((_, _, bundle)) = &session.told {
            machine.attempts.begin(*bundle);
        }
        let is_firmware = machine.session.step < Step::Script;
        // What somebody chose from its menu is part of the boot that showed the menu.
        let goes_on = is_firmware || machine.session.sent_to.is_some();
        // Of two scripts the later one is the last, also for the database, which keeps no less than a millisecond.
        let next = machine.session.step_at + MILLISECOND;
        let is_close = next.duration_since(session.step_at).is_ok_and(|ahead| ahead <= CLOSE);
        if machine.session.step >= Step::Script && is_close {
            session.step_at = next;
        }
        let started = if goes_on { machine.session.started } else { session.step_at };
        if is_firmware {
            if machine.rounds.len() >= MAX_ROUNDS {
                machine.rounds.remove(0);
            }
            machine.rounds.push(now);
        }
        session.started = started;
        if let Some(over) = machine.replace(session) {
            tokens.remove(over);
        }
        let sighting = Sighting { step: Step::Script, seen: Seen::ByMac, sent: None, remark };
        let mut events = Events::new();
        if !goes_on {
            journal.begin(mac, &mut machine.seen, started, &mut events);
        }
        journal.note(mac, &mut machine.seen, started, sighting, now, &mut events);
        Change { machine, forgotten, events }
    }

    /// Begins a boot; what was not written down yet of the one before is to be. A machine that waits to be approved keeps
    /// its code: it begins anew every half minute, and somebody may be about to type it.
    fn begin(&mut self, mac: Mac, mut session: Session, events: &mut Events) {
        if let Some(machine) = self.machines.get_mut(&mac) {
            self.journal.begin(mac, &mut machine.seen, session.started, events);
            let before = machine.session.sent_to.clone();
            session.sent_to = before.filter(|sent_to| PairingCode::of_sent_to(sent_to).is_some());
            if let Some(over) = machine.replace(session) {
                self.tokens.remove(over);
            }
        }
    }

    /// Every machine that is known, without those of which only firmware was seen since the server began.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values().map(Box::as_ref)
    }

    /// What is known of a machine.
    #[must_use]
    pub fn machine(&self, mac: &Mac) -> Option<&Machine> {
        self.machines.get(mac).map(Box::as_ref)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.machines.len() + self.claims.len()
    }

    /// What is to be written down of steps at which nothing happens any more, or of all steps.
    pub fn quiet(&mut self, now: SystemTime, all: bool) -> Events {
        self.tokens.settle();
        let mut events = Events::new();
        for mac in self.journal.unwritten() {
            if let Some(machine) = self.machines.get_mut(&mac) {
                self.journal.quiet(mac, &mut machine.seen, now, all, &mut events);
            }
        }
        events
    }

    /// What a machine that cannot load `failed` had better boot: what it last came up with, or else the newest release
    /// of that profile that any machine came up with.
    #[must_use]
    pub fn last_good(&self, mac: &Mac, profile: &ProfileName, failed: &BundleId) -> Option<Told> {
        let fits = |told: &&Told| told.0 == *profile && told.2 != *failed;
        let own = self.machines.get(mac).and_then(|machine| machine.good.as_ref()).filter(fits);
        let others = || self.machines.values().filter_map(|machine| machine.good.as_ref()).filter(fits);
        own.or_else(|| others().max_by_key(|told| told.1)).cloned()
    }

    /// The bundle the boot with `token` was told to load.
    #[must_use]
    pub fn told(&mut self, token: Token) -> Option<BundleId> {
        let machine = self.machines.get(&self.tokens.machine(token)?)?;
        let session = machine.sessions().find(|session| session.token == Some(token))?;
        session.told.as_ref().map(|(_, _, bundle)| *bundle)
    }
}

impl Answer {
    /// To boot `plan`, and to check in with `token`.
    #[must_use]
    pub fn boot(plan: Plan<'_>, token: Token, concern: Option<Concern>, now: SystemTime) -> Self {
        let told = (plan.profile, plan.published.release, plan.published.bundle);
        let remark = in_words(&told);
        let (alarm, problems, trouble) = match concern {
            Some(Concern::Lasting(text)) => (Some(text.clone()), vec![text], None),
            Some(Concern::UntilUp(text)) => (None, Vec::new(), Some(text)),
            None => (None, Vec::new(), None),
        };
        let (token, told, session) = (Some(token), Some(told), Session::begin(Step::Script, now));
        Self::of(Session { token, told, problems, alarm, ..session }, remark, trouble)
    }

    /// To go to something that is no bundle; `trouble` is what went wrong before, if anything did.
    #[must_use]
    pub fn elsewhere(what: String, trouble: Option<String>, now: SystemTime) -> Self {
        let session = Session { sent_to: Some(what.clone()), ..Session::begin(Step::Script, now) };
        Self::of(session, what.into(), trouble)
    }

    fn of(mut session: Session, mut remark: Arc<str>, trouble: Option<String>) -> Self {
        if let Some(trouble) = trouble {
            remark = format!("{remark}; {trouble}").into();
            session.problems.push(trouble);
        }
        Self { session, remark }
    }

    /// That it may not boot; `why` is what it was shown.
    #[must_use]
    pub fn refusal(why: String, now: SystemTime) -> Self {
        let remark = format!("refused: {why}");
        Self::of(Session { problems: vec![why], ..Session::begin(Step::Script, now) }, remark.into(), None)
    }
}

/// What a machine was told to boot, for people. Most boot what the one before them did.
fn in_words(told: &Told) -> Arc<str> {
    thread_local! {
        static LAST: RefCell<Option<(Told, Arc<str>)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((known, words)) if known == told => Arc::clone(words),
        _ => {
            let (profile, release, bundle) = told;
            let words: Arc<str> = format!("{profile} release {release}, bundle {}", bundle.short()).into();
            *last = Some((told.clone(), Arc::clone(&words)));
            words
        }
    })
}

impl Machine {
    fn begin(identity: Arc<Identity>, step: Step, now: SystemTime) -> Self {
        Self {
            identity,
            first_seen: now,
            last_seen: now,
            session: Session::begin(step, now),
            earlier: EarlierBoots::default(),
            good: None,
            attempts: Attempts::default(),
            rounds: Vec::new(),
            conflicts: Vec::new(),
            seen: Boot::begin(now),
            words: None,
        }
    }

    /// Whether it boots in a circle: it began boot after boot in a short time, and loaded nothing.
    #[must_use]
    pub fn circles(&self, now: SystemTime) -> bool {
        let is_recent = |at: &&SystemTime| now.duration_since(**at).is_ok_and(|age| age <= ROUNDS_WITHIN);
        // Of most machines there are fewer, which need not be read.
        self.rounds.len() >= MAX_ROUNDS && self.rounds.iter().filter(is_recent).count() >= MAX_ROUNDS
    }

    /// Puts a new boot in the place of the last one, which may check in for a while yet. The token of a boot that may not
    /// any more, because there are too many since.
    fn replace(&mut self, session: Session) -> Option<Token> {
        let mut before = std::mem::replace(&mut self.session, session);
        before.token?;
        before.vitals = None;
        self.earlier.push(before).and_then(|over| over.token)
    }

    /// Its boots, the last one first.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &Session> {
        std::iter::once(&self.session).chain(self.earlier.iter())
    }

    /// What its boots check in with that had a script.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        self.sessions().filter_map(|session| session.token)
    }

    fn sessions_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        std::iter::once(&mut self.session).chain(self.earlier.iter_mut())
    }

    /// The number of its last boot that was given a token; 0 when none was.
    pub(super) fn turn(&self) -> u64 {
        self.sessions().map(|session| session.turn).max().unwrap_or_default()
    }
}

impl Session {
    fn begin(step: Step, now: SystemTime) -> Self {
        Self {
            token: None,
            started: now,
            turn: 0,
            told: None,
            sent_to: None,
            step,
            step_at: now,
            report: None,
            problems: Vec::new(),
            alarm: None,
            scripted_at: now,
            health_since: now,
            last_check_in: None,
            is_good: false,
            first_good: None,
            vitals: None,
            inventory: None,
        }
    }
}

#[cfg(test)]
mod tests;
