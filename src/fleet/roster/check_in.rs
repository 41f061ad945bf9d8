//! Check-ins: which boot one is of, and what it says about it.

use std::time::SystemTime;

use super::{Listed, Machine, Roster, Session};
use crate::fleet::journal::{Events, Seen, Sighting};
use crate::model::boot::Step;
use crate::model::checkin::{Differences, Inventory, Report};
use crate::model::mac::Mac;
use crate::model::manifest::BundleId;
use crate::model::token::Token;

/// What a check-in showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The machine.
    pub mac: Mac,
    /// The bundle it was told to boot.
    pub bundle: BundleId,
    /// The number of the boot that it is of.
    pub turn: u64,
    /// What is wrong; empty when the machine is good.
    pub problems: Vec<String>,
    /// Whether it is the first of its boot.
    pub is_first: bool,
    /// Whether something is wrong now that was not, or was and is not any more.
    pub is_change: bool,
}

/// Why a check-in is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckInError {
    /// No boot that is known was given this token.
    #[error("no boot was given this token")]
    UnknownToken,
    /// The machine has booted again since.
    #[error("this token is of a boot that is over: machine {0} has checked in from a later one")]
    Over(Mac),
    /// It names a list of packages that is not known, so nobody can tell what the machine runs.
    #[error("the list of packages that it names is not known")]
    Unlisted,
}

impl Roster {
    /// A machine reported what it runs; `found` is how that differs from what it was told to boot. A boot that was taken
    /// for over is the machine's last one again, as long as no later one came up: it is the one that did.
    ///
    /// # Errors
    /// When the token belongs to no known boot, or to one that is over, and when packages are not listed that were not
    /// listed before. Nothing changes then.
    pub fn check_in(
        &mut self,
        token: Token,
        report: Report,
        found: Differences,
        now: SystemTime,
    ) -> Result<(&mut Machine, Outcome, Events), CheckInError> {
        let mac = self.tokens.machine(token).ok_or(CheckInError::UnknownToken)?;
        let machine = self.machines.get_mut(&mac).ok_or(CheckInError::UnknownToken)?;
        let session =
            machine.sessions().find(|session| session.token == Some(token)).ok_or(CheckInError::UnknownToken)?;
        let bundle = session.told.as_ref().map(|told| told.2).ok_or(CheckInError::UnknownToken)?;
        let is_later = |other: &Session| other.turn > session.turn && other.last_check_in.is_some();
        if machine.sessions().any(is_later) {
            return Err(CheckInError::Over(mac));
        }
        let (of_packages, inventory) = match (report.inventory, found.packages) {
            (Inventory::Here(digest), Some(differences)) => {
                (differences.clone(), digest.map(|digest| Box::new(Listed { digest, differences })))
            }
            // Nobody could compare the list, so it is asked for again.
            (Inventory::Here(_), None) => (Vec::new(), None),
            (Inventory::Earlier(digest), _) => {
                let known = session.inventory.as_ref().filter(|listed| listed.digest == digest);
                let known = known.ok_or(CheckInError::Unlisted)?.clone();
                (known.differences.clone(), Some(known))
            }
        };
        let is_earlier = machine.take_up(token);
        let session = &mut machine.session;
        let is_first = session.last_check_in.is_none();
        let problems: Vec<String> = found.boot.into_iter().chain(of_packages).chain(report.vitals.problems()).collect();
        let shown: Vec<String> = session.alarm.iter().chain(&problems).cloned().collect();
        let is_change = is_first || shown != session.problems;
        machine.last_seen = now;
        session.step = Step::CheckIn;
        if is_first || is_earlier {
            session.step_at = now;
        }
        session.last_check_in = Some(now);
        if is_first || session.is_good != problems.is_empty() {
            session.health_since = now;
        }
        session.is_good = problems.is_empty();
        if session.is_good {
            machine.attempts.came_up(bundle);
            session.first_good.get_or_insert(now);
            machine.good.clone_from(&session.told);
        }
        session.problems = shown;
        session.inventory = inventory;
        session.vitals = Some(Box::new(report.vitals.clone()));
        session.report = matches!(report.inventory, Inventory::Here(_)).then(|| Box::new(report));
        let (started, turn) = (session.started, session.turn);
        let mut events = Events::new();
        if is_earlier {
            self.journal.begin(mac, &mut machine.seen, started, &mut events);
        }
        // A boot is at its end with its first check-in; of later ones, what changes is worth a line.
        if is_change || is_earlier {
            let remark = if problems.is_empty() { "as it was told to".to_owned() } else { problems.join("; ") };
            let sighting = Sighting { step: Step::CheckIn, seen: Seen::ByMac, sent: None, remark: remark.into() };
            self.journal.note(mac, &mut machine.seen, started, sighting, now, &mut events);
        }
        Ok((machine, Outcome { mac, bundle, turn, problems, is_first, is_change }, events))
    }
}

impl Machine {
    /// Makes the boot with this token the machine's last one; whether it was an earlier one.
    fn take_up(&mut self, token: Token) -> bool {
        let Some(session) = self.earlier.take(token) else { return false };
        let newer = std::mem::replace(&mut self.session, session);
        if newer.token.is_some() {
            self.earlier.push(newer);
        }
        true
    }
}
