//! What is known of every machine, in memory. Pure: the time is an argument.

mod check_in;
mod kin;
mod learn;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::journal::{Event, Journal, Seen, Sighting};
pub use check_in::{CheckInError, Outcome};
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

/// What the database keeps of a time.
const MILLISECOND: Duration = Duration::from_millis(1);

/// How long after the boot before one that seems to have begun earlier did not: a clock that is set right moves by less.
const CLOSE: Duration = Duration::from_secs(1);

/// How many machines are remembered; addresses are free to invent, memory is not.
pub(super) const MAX_MACHINES: usize = 20_000;

/// For how many newcomers it is looked at once who makes room for them.
const FORGOTTEN_AT_ONCE: usize = 256;

/// How many earlier boots of a machine may still check in: a script that somebody only looked at must not make the boot
/// under way look lost.
const MAX_EARLIER: usize = 3;

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
    pub identity: Identity,
    /// When it was first seen.
    pub first_seen: SystemTime,
    /// When it was last seen.
    pub last_seen: SystemTime,
    /// Its last boot.
    pub session: Session,
    /// Boots before that which had a script, newest first.
    pub earlier: Vec<Session>,
    /// What it last came up with as it was told to.
    pub good: Option<Told>,
    /// How often it was given the script of a bundle and did not come up with it.
    pub attempts: Attempts,
    /// When it last began boots of which none loaded anything; in a running server only.
    pub rounds: Vec<SystemTime>,
    /// Who it is mistaken for.
    pub conflicts: Vec<Conflict>,
}

/// The profile, release and bundle of a boot.
pub type Told = (ProfileName, u64, BundleId);

/// One boot of one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// What the machine checks in with; also the session's name in the database. Empty until there is a script.
    pub token: String,
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
    pub vitals: Option<Vitals>,
    /// The list of packages it last sent; in a running server only.
    pub inventory: Option<Listed>,
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
    tokens: HashMap<String, Mac>,
    journal: Journal,
    index: kin::Index,
    /// The number of the last boot that was given a token.
    turns: u64,
    /// Who is forgotten next when there is no room, the first one last.
    unseen: Vec<Unseen>,
}

/// By what a machine is forgotten before others: whether it ever came up, when it was last seen, and who it is.
type Unseen = (bool, SystemTime, Mac);

/// What came of something that was seen.
#[derive(Debug, Default, PartialEq)]
pub struct Reached<'a> {
    /// Whether it belongs to a boot. What comes from an address alone and fits none may belong to one that is not known
    /// yet.
    pub is_taken: bool,
    /// The machine, when its boot is further than before.
    pub news: Option<&'a Machine>,
    /// Whether the machine is one that nobody knew, and is not at its script yet.
    pub is_bare: bool,
    /// What is to be written down.
    pub events: Vec<Event>,
}

/// A machine that changed, and one that had to be forgotten for it.
#[derive(Debug, PartialEq)]
pub struct Change<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Who is remembered no more.
    pub forgotten: Option<Mac>,
    /// What is to be written down.
    pub events: Vec<Event>,
}

impl Roster {
    /// The roster a database held.
    #[must_use]
    pub fn from_machines(machines: impl IntoIterator<Item = Machine>) -> Self {
        let mut machines: HashMap<Mac, Box<Machine>> =
            machines.into_iter().map(|machine| (machine.identity.mac, Box::new(machine))).collect();
        let sessions = machines.values_mut().flat_map(|machine| machine.sessions_mut());
        let mut sessions: Vec<&mut Session> = sessions.filter(|session| !session.token.is_empty()).collect();
        sessions.sort_by_key(|session| session.started);
        let mut turns = 0;
        for session in sessions {
            turns += 1;
            session.turn = turns;
        }
        let tokens = machines
            .values()
            .flat_map(|machine| machine.sessions().map(|session| (session.token.clone(), machine.identity.mac)))
            .filter(|(token, _)| !token.is_empty())
            .collect();
        let mut index = kin::Index::default();
        let mut known: Vec<&Machine> = machines.values().map(Box::as_ref).collect();
        known.sort_by_key(|machine| (machine.first_seen, machine.identity.mac));
        known.into_iter().for_each(|machine| index.add(&machine.identity));
        Self { machines, tokens, journal: Journal::default(), index, turns, unseen: Vec::new() }
    }

    /// Something was seen of a machine.
    ///
    /// Within a boot, steps only go forward: firmware, iPXE and Alpine each ask DHCP again. A DHCPDISCOVER of firmware
    /// after a script means the machine was switched on anew; what is known by an address alone never means that.
    pub fn reached(&mut self, mac: Mac, sighting: &Sighting, now: SystemTime) -> Reached<'_> {
        let mac = self.key_of(mac);
        let (step, by_address) = (sighting.step, sighting.seen == Seen::ByAddress);
        let is_known = self.machines.contains_key(&mac);
        if !is_known && (by_address || self.machines.len() >= MAX_MACHINES) {
            return Reached::default();
        }
        let machine =
            self.machines.entry(mac).or_insert_with(|| Box::new(Machine::begin(Identity::of(mac), step, now)));
        machine.last_seen = now;
        let session = &mut machine.session;
        let idle = now.duration_since(session.step_at).unwrap_or_default();
        let anew = step < Step::Script && (session.step >= Step::Script || idle > FIRMWARE_PATIENCE);
        if anew && by_address {
            return Reached::default();
        }
        let is_further = step > session.step && sighting.is_progress();
        let mut events = Vec::new();
        if anew {
            events = self.begin(mac, Session::begin(step, now));
        } else if !is_known {
            self.journal.wait(mac, now);
        } else if is_further {
            session.step = step;
            session.step_at = now;
            if step > Step::Script {
                machine.rounds.clear();
            }
        }
        let Some(machine) = self.machines.get(&mac) else { return Reached::default() };
        events.extend(self.journal.note(mac, machine.session.started, sighting, now));
        let is_news = anew || is_further || !is_known;
        let is_bare = self.journal.waits(&mac);
        Reached { is_taken: true, news: is_news.then_some(machine), is_bare, events }
    }

    /// The machine was told to boot `plan` and given `token`. One boot has one script: another script is another boot,
    /// except that a machine still at its firmware's steps goes on.
    ///
    /// When the memory is full, the machine that was seen longest ago is forgotten, of those that never checked in if
    /// there is one.
    pub fn scripted(&mut self, identity: &Identity, plan: &Plan, token: String, now: SystemTime) -> Change<'_> {
        let told = (plan.profile.clone(), plan.published.release, plan.published.bundle);
        let remark = format!("{} release {}, bundle {}", told.0, told.1, told.2.short());
        self.tokens.insert(token.clone(), identity.mac);
        self.turns += 1;
        let turn = self.turns;
        // Before `answered`, which hands the machine out; a machine that is new to us has tried nothing yet.
        let mut attempts = self.machines.get(&identity.mac).map(|known| known.attempts.clone()).unwrap_or_default();
        attempts.begin(told.2);
        let session = Session { token, turn, told: Some(told), ..Session::begin(Step::Script, now) };
        let Change { forgotten, events, .. } = self.answered(identity, session, remark, now);
        let begin = || Box::new(Machine::begin(identity.clone(), Step::Script, now));
        let machine = self.machines.entry(identity.mac).or_insert_with(begin);
        machine.attempts = attempts;
        Change { machine, forgotten, events }
    }

    /// The machine was sent to something that is no bundle.
    pub fn sent_to(&mut self, identity: &Identity, what: String, now: SystemTime) -> Change<'_> {
        let session = Session { sent_to: Some(what.clone()), ..Session::begin(Step::Script, now) };
        self.answered(identity, session, what, now)
    }

    /// Something is wrong with the machine's boot although it was told to go on; a check-in does not take that away.
    pub fn alarm(&mut self, mac: &Mac, why: String) {
        if let Some(machine) = self.machines.get_mut(mac) {
            machine.session.problems.push(why.clone());
            machine.session.alarm = Some(why);
        }
    }

    /// The machine asked for a script and may not have one; `why` is what it was shown.
    pub fn refused(&mut self, identity: &Identity, why: String, now: SystemTime) -> Change<'_> {
        let session = Session { problems: vec![why.clone()], ..Session::begin(Step::Script, now) };
        self.answered(identity, session, format!("refused: {why}"), now)
    }

    fn answered(&mut self, identity: &Identity, mut session: Session, remark: String, now: SystemTime) -> Change<'_> {
        let mac = identity.mac;
        let is_full = self.machines.len() >= MAX_MACHINES && !self.machines.contains_key(&mac);
        let forgotten = if is_full { self.forget_one() } else { None };
        let begin = || Box::new(Machine::begin(Identity::of(mac), Step::Discover, now));
        let machine = self.machines.entry(mac).or_insert_with(begin);
        if machine.identity != *identity {
            self.index.remove(&machine.identity);
            machine.identity = identity.clone();
            self.index.add(identity);
        }
        machine.last_seen = now;
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
        let mut events = if goes_on { Vec::new() } else { self.journal.begin(mac, started) };
        self.replace(mac, Session { started, ..session });
        let sighting = Sighting { step: Step::Script, seen: Seen::ByMac, sent: None, remark };
        events.extend(self.journal.note(mac, started, &sighting, now));
        Change { machine: &self.machines[&mac], forgotten, events }
    }

    /// Begins a boot; what was not written down yet of the one before is to be. A machine that waits to be approved keeps
    /// its code: it begins anew every half minute, and somebody may be about to type it.
    fn begin(&mut self, mac: Mac, session: Session) -> Vec<Event> {
        let events = self.journal.begin(mac, session.started);
        let before = self.machines.get(&mac).and_then(|machine| machine.session.sent_to.clone());
        let sent_to = before.filter(|sent_to| PairingCode::of_sent_to(sent_to).is_some());
        self.replace(mac, Session { sent_to, ..session });
        events
    }

    /// Puts a new boot in the place of the last one, which may check in for a while yet.
    fn replace(&mut self, mac: Mac, session: Session) {
        let Some(machine) = self.machines.get_mut(&mac) else { return };
        let before = std::mem::replace(&mut machine.session, session);
        if !before.token.is_empty() {
            machine.earlier.insert(0, Session { vitals: None, ..before });
            for dropped in machine.earlier.drain(MAX_EARLIER.min(machine.earlier.len())..) {
                self.tokens.remove(&dropped.token);
            }
        }
    }

    fn forget_one(&mut self) -> Option<Mac> {
        loop {
            if self.unseen.is_empty() {
                self.unseen = self.longest_unseen();
            }
            let unseen = self.unseen.pop()?;
            // It may have come back.
            if self.machines.get(&unseen.2).is_some_and(|machine| machine.unseen() == unseen) {
                self.forget(&unseen.2);
                return Some(unseen.2);
            }
        }
    }

    /// Some of the machines that were seen longest ago, the very longest last: whoever invents a machine for each request
    /// must not have the server look through all of them each time. Only of those that never came up, if there are any.
    fn longest_unseen(&self) -> Vec<Unseen> {
        let mut all: Vec<Unseen> = self.machines.values().map(|machine| machine.unseen()).collect();
        if all.len() > FORGOTTEN_AT_ONCE {
            all.select_nth_unstable(FORGOTTEN_AT_ONCE);
            all.truncate(FORGOTTEN_AT_ONCE);
        }
        all.sort_unstable();
        let first = all.first().map(|(came_up, ..)| *came_up);
        all.retain(|(came_up, ..)| Some(*came_up) == first);
        all.reverse();
        all
    }

    /// A machine is remembered no more; its boot under way cannot check in.
    pub fn forget(&mut self, mac: &Mac) {
        let Some(machine) = self.machines.remove(mac) else { return };
        self.index.remove(&machine.identity);
        for session in machine.sessions() {
            self.tokens.remove(&session.token);
        }
        self.journal.forget(mac);
    }

    /// Every machine that is known.
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
        self.machines.len()
    }

    /// A machine is written down that nobody knew; what was seen of it. Nothing when it does not wait for that any more.
    pub(super) fn release(&mut self, mac: &Mac) -> Option<(&Machine, Vec<Event>)> {
        if !self.journal.waits(mac) {
            return None;
        }
        let events = self.journal.release(*mac);
        Some((self.machine(mac)?, events))
    }

    /// What is to be written down of steps at which nothing happens any more, or of all steps.
    pub fn quiet(&mut self, now: SystemTime, all: bool) -> Vec<Event> {
        self.journal.quiet(now, all)
    }

    /// Whether a machine boots in a circle: it began boot after boot in a short time, and loaded nothing.
    #[must_use]
    pub fn circles(&self, mac: &Mac, now: SystemTime) -> bool {
        self.machines.get(mac).is_some_and(|machine| {
            let is_recent = |at: &&SystemTime| now.duration_since(**at).is_ok_and(|age| age <= ROUNDS_WITHIN);
            machine.rounds.iter().filter(is_recent).count() >= MAX_ROUNDS
        })
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
    pub fn told(&self, token: &str) -> Option<BundleId> {
        let machine = self.machines.get(self.tokens.get(token)?)?;
        let session = machine.sessions().find(|session| session.token == token)?;
        session.told.as_ref().map(|(_, _, bundle)| *bundle)
    }
}

impl Machine {
    fn begin(identity: Identity, step: Step, now: SystemTime) -> Self {
        Self {
            identity,
            first_seen: now,
            last_seen: now,
            session: Session::begin(step, now),
            earlier: Vec::new(),
            good: None,
            attempts: Attempts::default(),
            rounds: Vec::new(),
            conflicts: Vec::new(),
        }
    }

    /// Whether it ever did, so that it is no invention.
    fn came_up(&self) -> bool {
        self.good.is_some() || self.session.step == Step::CheckIn
    }

    fn unseen(&self) -> Unseen {
        (self.came_up(), self.last_seen, self.identity.mac)
    }

    /// Its boots, the last one first.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &Session> {
        std::iter::once(&self.session).chain(&self.earlier)
    }

    fn sessions_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        std::iter::once(&mut self.session).chain(&mut self.earlier)
    }

    /// The number of its last boot that was given a token; 0 when none was.
    pub(super) fn turn(&self) -> u64 {
        self.sessions().map(|session| session.turn).max().unwrap_or_default()
    }
}

impl Session {
    fn begin(step: Step, now: SystemTime) -> Self {
        Self {
            token: String::new(),
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::checkin::Differences;
    use crate::model::manifest::tests::sample;
    use crate::model::plan::Published;

    const MAC: &str = "52:54:00:00:00:01";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn plan() -> Plan {
        let manifest = sample("vdi");
        let published = Published { release: 12, bundle: manifest.id(), manifest: Arc::new(manifest) };
        Plan { profile: "vdi".parse().unwrap(), published }
    }

    fn seen(step: Step, seen: Seen) -> Sighting {
        Sighting { step, seen, sent: None, remark: String::new() }
    }

    /// Nothing differs from what was to be booted.
    fn well() -> Differences {
        Differences { boot: Vec::new(), packages: Some(Vec::new()) }
    }

    fn report() -> Report {
        let text = format!("bundle {}\nhostname vdi\nmodloop mounted\n", plan().published.bundle);
        Report::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_boot_goes_from_the_first_packet_to_the_check_in() {
        let mac: Mac = MAC.parse().unwrap();
        let mut roster = Roster::default();
        assert_eq!(
            roster.reached(mac, &seen(Step::Discover, Seen::ByMac), at(0)).news.unwrap().session.step,
            Step::Discover
        );
        roster.reached(mac, &seen(Step::Loader, Seen::ByAddress), at(2));
        // iPXE asks DHCP again; that is not news.
        assert!(roster.reached(mac, &seen(Step::Discover, Seen::ByMac), at(3)).news.is_none());
        let machine = roster.scripted(&Identity::of(mac), &plan(), "t1".to_owned(), at(4)).machine;
        assert_eq!((machine.session.started, machine.session.step), (at(0), Step::Script));
        roster.reached(mac, &seen(Step::Kernel, Seen::ByAddress), at(5));
        let (machine, outcome, _) = roster.check_in("t1", report(), well(), at(30)).unwrap();
        assert_eq!((machine.session.step, machine.session.step_at), (Step::CheckIn, at(30)));
        assert_eq!(outcome.bundle, plan().published.bundle);
    }

    #[test]
    fn a_firmware_that_asks_again_after_its_script_begins_a_new_boot() {
        let mac: Mac = MAC.parse().unwrap();
        let mut roster = Roster::default();
        roster.scripted(&Identity::of(mac), &plan(), "t1".to_owned(), at(0));
        let session = &roster.reached(mac, &seen(Step::Discover, Seen::ByMac), at(60)).news.unwrap().session;
        assert_eq!((session.step, session.told.is_none()), (Step::Discover, true));
    }

    #[test]
    fn what_comes_from_an_address_begins_no_boot() {
        let mac: Mac = MAC.parse().unwrap();
        let mut roster = Roster::default();
        assert!(roster.reached(mac, &seen(Step::Loader, Seen::ByAddress), at(0)).news.is_none());
        roster.scripted(&Identity::of(mac), &plan(), "t1".to_owned(), at(0));
        roster.check_in("t1", report(), well(), at(1)).unwrap();
        assert!(roster.reached(mac, &seen(Step::Loader, Seen::ByAddress), at(2)).news.is_none());
        assert_eq!(roster.machines[&mac].session.step, Step::CheckIn);
    }

    #[test]
    fn a_script_somebody_looked_at_does_not_end_the_boot_under_way() {
        let mac: Mac = MAC.parse().unwrap();
        let mut roster = Roster::default();
        for (number, token) in ["t1", "t2", "t3", "t4", "t5"].into_iter().enumerate() {
            roster.scripted(&Identity::of(mac), &plan(), token.to_owned(), at(number as u64));
        }
        assert_eq!(roster.check_in("t1", report(), well(), at(9)).unwrap_err(), CheckInError::UnknownToken);
        let (machine, ..) = roster.check_in("t2", report(), well(), at(9)).unwrap();
        assert_eq!((machine.session.token.as_str(), machine.session.step), ("t2", Step::CheckIn));
        assert!(roster.check_in("t5", report(), well(), at(10)).is_ok());
    }

    #[test]
    fn a_machine_that_was_refused_is_remembered_with_the_reason() {
        let mut roster = Roster::default();
        let change = roster.refused(&Identity::of(MAC.parse().unwrap()), "no profile".to_owned(), at(0));
        assert_eq!(change.machine.session.problems, ["no profile"]);
    }

    #[test]
    fn a_machine_that_comes_back_again_and_again_boots_in_a_circle() {
        let identity = Identity::of(MAC.parse().unwrap());
        let mut roster = Roster::default();
        let round = |roster: &mut Roster, seconds: u64| {
            roster.reached(identity.mac, &seen(Step::Discover, Seen::ByMac), at(seconds));
            roster.sent_to(&identity, "local disk".to_owned(), at(seconds + 1));
            roster.circles(&identity.mac, at(seconds + 2))
        };
        assert!((0..5).all(|number| !round(&mut roster, number * 10)));
        assert!(round(&mut roster, 50), "six times in a minute");
        assert!(!roster.circles(&identity.mac, at(200)), "it may try again");
        for number in 0..20 {
            roster.scripted(&identity, &plan(), format!("t{number}"), at(300 + number));
        }
        assert!(!roster.circles(&identity.mac, at(330)), "a script alone is no boot");
    }

    #[test]
    fn what_was_chosen_from_a_menu_is_part_of_the_same_boot() {
        let identity = Identity::of(MAC.parse().unwrap());
        let mut roster = Roster::default();
        roster.reached(identity.mac, &seen(Step::Ipxe, Seen::ByMac), at(0));
        roster.sent_to(&identity, "menu".to_owned(), at(5));
        let session = &roster.scripted(&identity, &plan(), "t1".to_owned(), at(15)).machine.session;
        assert_eq!((session.started, session.sent_to.as_deref()), (at(0), None));
    }

    #[test]
    fn a_machine_falls_back_to_what_it_or_another_came_up_with() {
        let told = |release: u64, bundle: &[u8]| -> Told { ("vdi".parse().unwrap(), release, Digest::of(bundle)) };
        let mut roster = Roster::default();
        for (last, good) in [(1, told(3, b"3")), (2, told(5, b"5")), (3, told(7, b"7"))] {
            let mac = Mac([2, 0, 0, 0, 0, last]);
            roster.scripted(&Identity::of(mac), &plan(), format!("t{last}"), at(0));
            roster.machines.get_mut(&mac).unwrap().good = Some(good);
        }
        let fallback = |last: u8, failed: &[u8]| {
            roster.last_good(&Mac([2, 0, 0, 0, 0, last]), &"vdi".parse().unwrap(), &Digest::of(failed))
        };
        assert_eq!(fallback(1, b"7"), Some(told(3, b"3")), "its own");
        assert_eq!(fallback(3, b"7"), Some(told(5, b"5")), "the newest of the others");
        assert_eq!(fallback(9, b"x"), Some(told(7, b"7")), "it never came up with any");
        assert_eq!(roster.last_good(&Mac([2; 6]), &"other".parse().unwrap(), &Digest::of(b"x")), None);
    }

    #[test]
    fn an_invented_token_is_refused() {
        let mut roster = Roster::default();
        let refused = roster.check_in("t", report(), well(), at(0));
        assert_eq!(refused.unwrap_err().to_string(), "no boot was given this token");
    }

    #[test]
    fn invented_addresses_do_not_fill_the_memory() {
        let mac = |number: u64| {
            let bytes = number.to_be_bytes();
            Mac([2, 0, bytes[4], bytes[5], bytes[6], bytes[7]])
        };
        let mut roster = Roster::default();
        roster.scripted(&Identity::of(mac(0)), &plan(), "up".to_owned(), at(0));
        roster.check_in("up", report(), well(), at(0)).unwrap();
        for number in 1..=MAX_MACHINES as u64 {
            roster.reached(mac(number), &seen(Step::Discover, Seen::ByMac), at(number));
        }
        assert_eq!(roster.machines.len(), MAX_MACHINES);
        let newcomer = mac(MAX_MACHINES as u64 + 7);
        let change = roster.scripted(&Identity::of(newcomer), &plan(), "new".to_owned(), at(1));
        assert_eq!(change.forgotten, Some(mac(1)), "the longest unseen that never checked in");
        assert_eq!(roster.machines.len(), MAX_MACHINES);
        assert!(roster.told("up").is_some());
        roster.scripted(&Identity::of(mac(0)), &plan(), "again".to_owned(), at(0));
        for number in 0..MAX_MACHINES as u64 {
            roster.sent_to(&Identity::of(mac(1_000_000 + number)), "inbox, code KXRTMB".to_owned(), at(2));
        }
        assert!(roster.told("again").is_some(), "one that came up before and boots again is no invention");
    }
}
