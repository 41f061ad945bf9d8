//! What is known of every machine, in memory. Pure: the time is an argument.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::model::boot::Step;
use crate::model::checkin::Report;
use crate::model::identity::Identity;
use crate::model::mac::Mac;
use crate::model::manifest::BundleId;
use crate::model::name::ProfileName;
use crate::model::plan::Plan;

/// How many machines are remembered; addresses are free to invent, memory is not.
pub(super) const MAX_MACHINES: usize = 20_000;

/// How many earlier boots of a machine may still check in: a script that somebody only looked at must not make the boot
/// under way look lost.
const MAX_EARLIER: usize = 3;

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
}

/// One boot of one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// What the machine checks in with; also the session's name in the database. Empty until there is a script.
    pub token: String,
    /// When it began.
    pub started: SystemTime,
    /// The profile, release and bundle it was told to boot.
    pub told: Option<(ProfileName, u64, BundleId)>,
    /// The furthest step it reached.
    pub step: Step,
    /// When it reached that.
    pub step_at: SystemTime,
    /// What it reported. In a running server only until it is on disk: reports are large, and memory is for decisions.
    pub report: Option<Report>,
    /// Why it was refused a script, or how what it reported differs from what it was told to boot; empty means that
    /// nothing is wrong.
    pub problems: Vec<String>,
    /// The problem that was known before the machine came up; in a running server only.
    pub alarm: Option<String>,
}

/// What a check-in showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The machine.
    pub mac: Mac,
    /// The bundle it was told to boot.
    pub bundle: BundleId,
    /// What differs; empty when nothing does.
    pub problems: Vec<String>,
}

/// Why a check-in is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckInError {
    /// No boot that is known was given this token.
    #[error("no boot was given this token")]
    UnknownToken,
}

/// Every machine that is known.
#[derive(Debug, Default)]
pub struct Roster {
    machines: HashMap<Mac, Machine>,
    tokens: HashMap<String, Mac>,
}

/// How a step of a boot was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The machine itself said its hardware address.
    ByMac,
    /// Something came from an address a machine had: another one may have it by now.
    ByAddress,
}

/// A machine that changed, and one that had to be forgotten for it.
#[derive(Debug, PartialEq)]
pub struct Change<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Who is remembered no more.
    pub forgotten: Option<Mac>,
}

impl Roster {
    /// The roster a database held.
    #[must_use]
    pub fn from_machines(machines: impl IntoIterator<Item = Machine>) -> Self {
        let machines: HashMap<Mac, Machine> =
            machines.into_iter().map(|machine| (machine.identity.mac, machine)).collect();
        let tokens = machines
            .values()
            .flat_map(|machine| machine.sessions().map(|session| (session.token.clone(), machine.identity.mac)))
            .filter(|(token, _)| !token.is_empty())
            .collect();
        Self { machines, tokens }
    }

    /// A step was seen; returns the machine when that was news.
    ///
    /// Within a boot, steps only go forward: firmware, iPXE and Alpine each ask DHCP again. A DHCPDISCOVER of firmware
    /// after a script means the machine was switched on anew; what is known by an address alone never means that.
    pub fn reached(&mut self, mac: Mac, step: Step, seen: Seen, now: SystemTime) -> Option<&Machine> {
        let is_known = self.machines.contains_key(&mac);
        if !is_known && (seen == Seen::ByAddress || self.machines.len() >= MAX_MACHINES) {
            return None;
        }
        let machine = self.machines.entry(mac).or_insert_with(|| Machine::begin(Identity::of(mac), step, now));
        machine.last_seen = now;
        let session = &mut machine.session;
        let idle = now.duration_since(session.step_at).unwrap_or_default();
        let anew = step < Step::Script && (session.step >= Step::Script || idle > FIRMWARE_PATIENCE);
        if anew && seen == Seen::ByAddress {
            return None;
        }
        if anew {
            self.begin(mac, Session::begin(step, now));
        } else if step > session.step {
            session.step = step;
            session.step_at = now;
        } else if is_known {
            return None;
        }
        self.machines.get(&mac)
    }

    /// The machine was told to boot `plan` and given `token`. One boot has one script: another script is another boot,
    /// except that a machine still at its firmware's steps goes on.
    ///
    /// When the memory is full, the machine that was seen longest ago is forgotten, of those that never checked in if
    /// there is one.
    pub fn scripted(&mut self, identity: &Identity, plan: &Plan, token: String, now: SystemTime) -> Change<'_> {
        let told = (plan.profile.clone(), plan.published.release, plan.published.bundle);
        self.tokens.insert(token.clone(), identity.mac);
        self.answered(identity, Session { token, told: Some(told), ..Session::begin(Step::Script, now) }, now)
    }

    /// Something is wrong with the machine's boot although it was told to go on; a check-in does not take that away.
    pub fn alarm(&mut self, mac: &Mac, why: String) -> Option<&Machine> {
        let machine = self.machines.get_mut(mac)?;
        machine.session.problems.push(why.clone());
        machine.session.alarm = Some(why);
        Some(machine)
    }

    /// The machine asked for a script and may not have one; `why` is what it was shown.
    pub fn refused(&mut self, identity: &Identity, why: String, now: SystemTime) -> Change<'_> {
        self.answered(identity, Session { problems: vec![why], ..Session::begin(Step::Script, now) }, now)
    }

    fn answered(&mut self, identity: &Identity, session: Session, now: SystemTime) -> Change<'_> {
        let mac = identity.mac;
        let is_full = self.machines.len() >= MAX_MACHINES && !self.machines.contains_key(&mac);
        let forgotten = if is_full { self.forget_one() } else { None };
        let machine = self.machines.entry(mac).or_insert_with(|| Machine::begin(identity.clone(), Step::Discover, now));
        machine.identity = identity.clone();
        machine.last_seen = now;
        let started = if machine.session.step < Step::Script { machine.session.started } else { now };
        self.begin(mac, Session { started, ..session });
        Change { machine: &self.machines[&mac], forgotten }
    }

    /// Puts a new boot in the place of the last one, which may check in for a while yet.
    fn begin(&mut self, mac: Mac, session: Session) {
        let Some(machine) = self.machines.get_mut(&mac) else { return };
        let before = std::mem::replace(&mut machine.session, session);
        if !before.token.is_empty() {
            machine.earlier.insert(0, before);
            for dropped in machine.earlier.drain(MAX_EARLIER.min(machine.earlier.len())..) {
                self.tokens.remove(&dropped.token);
            }
        }
    }

    fn forget_one(&mut self) -> Option<Mac> {
        let longest_unseen =
            self.machines.values().min_by_key(|machine| (machine.session.step == Step::CheckIn, machine.last_seen))?;
        let mac = longest_unseen.identity.mac;
        let machine = self.machines.remove(&mac)?;
        for session in machine.sessions() {
            self.tokens.remove(&session.token);
        }
        Some(mac)
    }

    /// The bundle the boot with `token` was told to load.
    #[must_use]
    pub fn told(&self, token: &str) -> Option<BundleId> {
        let machine = self.machines.get(self.tokens.get(token)?)?;
        let session = machine.sessions().find(|session| session.token == token)?;
        session.told.as_ref().map(|(_, _, bundle)| *bundle)
    }

    /// A machine reported what it runs; `problems` is how that differs from what it was told to boot. A boot that was
    /// taken for over is the machine's last one again: it is the one that came up.
    ///
    /// # Errors
    /// When the token belongs to no known boot.
    pub fn check_in(
        &mut self,
        token: &str,
        report: Report,
        problems: Vec<String>,
        now: SystemTime,
    ) -> Result<(&mut Machine, Outcome), CheckInError> {
        let bundle = self.told(token).ok_or(CheckInError::UnknownToken)?;
        let mac = *self.tokens.get(token).ok_or(CheckInError::UnknownToken)?;
        let machine = self.machines.get_mut(&mac).ok_or(CheckInError::UnknownToken)?;
        if let Some(place) = machine.earlier.iter().position(|session| session.token == token) {
            let session = machine.earlier.remove(place);
            let newer = std::mem::replace(&mut machine.session, session);
            if !newer.token.is_empty() {
                machine.earlier.insert(0, newer);
            }
        }
        machine.last_seen = now;
        machine.session.step = Step::CheckIn;
        machine.session.step_at = now;
        machine.session.report = Some(report);
        machine.session.problems = machine.session.alarm.iter().chain(&problems).cloned().collect();
        Ok((machine, Outcome { mac, bundle, problems }))
    }
}

impl Machine {
    fn begin(identity: Identity, step: Step, now: SystemTime) -> Self {
        Self { identity, first_seen: now, last_seen: now, session: Session::begin(step, now), earlier: Vec::new() }
    }

    fn sessions(&self) -> impl Iterator<Item = &Session> {
        std::iter::once(&self.session).chain(&self.earlier)
    }
}

impl Session {
    fn begin(step: Step, now: SystemTime) -> Self {
        Self {
            token: String::new(),
            started: now,
            told: None,
            step,
            step_at: now,
            report: None,
            problems: Vec::new(),
            alarm: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
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

    fn report() -> Report {
        let text = format!("bundle {}\nhostname vdi\nmodloop mounted\n", plan().published.bundle);
        Report::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_boot_goes_from_the_first_packet_to_the_check_in() {
        let mac: Mac = MAC.parse().unwrap();
        let mut roster = Roster::default();
        assert_eq!(roster.reached(mac, Step::Discover, Seen::ByMac, at(0)).unwrap().session.step, Step::Discover);
        roster.reached(mac, Step::Loader, Seen::ByAddress, at(2));
        // iPXE asks DHCP again; that is not news.
        assert!(roster.reached(mac, Step::Discover, Seen::ByMac, at(3)).is_none());
        let machine = roster.scripted(&Identity::of(mac), &plan(), "t1".to_owned(), at(4)).machine;
        assert_eq!((machine.session.started, machine.session.step), (at(0), Step::Script));
        roster.reached(mac, Step::Kernel, Seen::ByAddress, at(5));
        let (machine, outcome) = roster.check_in("t1", report(), Vec::new(), at(30)).unwrap();
        assert_eq!((machine.session.step, machine.session.step_at), (Step::CheckIn, at(30)));
        assert_eq!(outcome.bundle, plan().published.bundle);
    }

    #[test]
    fn a_firmware_that_asks_again_after_its_script_begins_a_new_boot() {
        let mac: Mac = MAC.parse().unwrap();
        let mut roster = Roster::default();
        roster.scripted(&Identity::of(mac), &plan(), "t1".to_owned(), at(0));
        let session = &roster.reached(mac, Step::Discover, Seen::ByMac, at(60)).unwrap().session;
        assert_eq!((session.step, session.told.is_none()), (Step::Discover, true));
    }

    #[test]
    fn what_comes_from_an_address_begins_no_boot() {
        let mac: Mac = MAC.parse().unwrap();
        let mut roster = Roster::default();
        assert!(roster.reached(mac, Step::Loader, Seen::ByAddress, at(0)).is_none());
        roster.scripted(&Identity::of(mac), &plan(), "t1".to_owned(), at(0));
        roster.check_in("t1", report(), Vec::new(), at(1)).unwrap();
        assert!(roster.reached(mac, Step::Loader, Seen::ByAddress, at(2)).is_none());
        assert_eq!(roster.machines[&mac].session.step, Step::CheckIn);
    }

    #[test]
    fn a_script_somebody_looked_at_does_not_end_the_boot_under_way() {
        let mac: Mac = MAC.parse().unwrap();
        let mut roster = Roster::default();
        for (number, token) in ["t1", "t2", "t3", "t4", "t5"].into_iter().enumerate() {
            roster.scripted(&Identity::of(mac), &plan(), token.to_owned(), at(number as u64));
        }
        assert_eq!(roster.check_in("t1", report(), Vec::new(), at(9)).unwrap_err(), CheckInError::UnknownToken);
        let (machine, _) = roster.check_in("t2", report(), Vec::new(), at(9)).unwrap();
        assert_eq!((machine.session.token.as_str(), machine.session.step), ("t2", Step::CheckIn));
        assert!(roster.check_in("t5", report(), Vec::new(), at(10)).is_ok());
    }

    #[test]
    fn a_machine_that_was_refused_is_remembered_with_the_reason() {
        let mut roster = Roster::default();
        let change = roster.refused(&Identity::of(MAC.parse().unwrap()), "no profile".to_owned(), at(0));
        assert_eq!(change.machine.session.problems, ["no profile"]);
    }

    #[test]
    fn an_invented_token_is_refused() {
        let mut roster = Roster::default();
        let refused = roster.check_in("t", report(), Vec::new(), at(0));
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
        roster.check_in("up", report(), Vec::new(), at(0)).unwrap();
        for number in 1..=MAX_MACHINES as u64 {
            roster.reached(mac(number), Step::Discover, Seen::ByMac, at(number));
        }
        assert_eq!(roster.machines.len(), MAX_MACHINES);
        let newcomer = mac(MAX_MACHINES as u64 + 7);
        let change = roster.scripted(&Identity::of(newcomer), &plan(), "new".to_owned(), at(1));
        assert_eq!(change.forgotten, Some(mac(1)), "the longest unseen that never checked in");
        assert_eq!(roster.machines.len(), MAX_MACHINES);
        assert!(roster.told("up").is_some());
    }
}
