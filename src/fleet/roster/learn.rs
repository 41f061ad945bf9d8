//! What another server on the same database knows of a machine, taken in with what this one knows.

use std::time::SystemTime;

use super::{EarlierBoots, FIRMWARE_PATIENCE, Machine, Roster, Session};
use crate::model::boot::Step;

impl Roster {
    /// Another server wrote down what it knows of a machine. Of each boot what is later counts; the boot that reached its
    /// step last is the machine's last one, as it is when a database is read.
    pub fn learn(&mut self, theirs: Machine) {
        let mac = theirs.identity.mac;
        self.admit(mac);
        if !self.machines.contains_key(&mac) && self.is_full() {
            return;
        }
        let mut machine = match self.machines.remove(&mac) {
            Some(ours) => {
                self.index.remove(&ours.identity);
                for token in ours.tokens() {
                    self.tokens.remove(token);
                }
                together(*ours, theirs)
            }
            None => theirs,
        };
        self.count(&mut machine);
        machine.tokens().for_each(|token| self.tokens.insert(token, mac));
        self.index.add(&machine.identity);
        self.machines.insert(mac, Box::new(machine));
    }

    /// Gives numbers to boots that another server gave tokens. Those that came before one that has a number keep none:
    /// whatever has one is later.
    fn count(&mut self, machine: &mut Machine) {
        let counted = machine.sessions().filter(|session| session.turn > 0);
        let newest = counted.map(|session| session.scripted_at).max();
        let is_new = |session: &&mut Session| {
            session.turn == 0 && session.token.is_some() && newest.is_none_or(|newest| session.scripted_at > newest)
        };
        let mut new: Vec<&mut Session> = machine.sessions_mut().filter(is_new).collect();
        new.sort_by_key(|session| session.scripted_at);
        for session in new {
            self.turns += 1;
            session.turn = self.turns;
        }
    }
}

/// What two servers know of one machine.
fn together(ours: Machine, theirs: Machine) -> Machine {
    let is_theirs_later = spoken(&theirs) > spoken(&ours);
    let first_seen = ours.first_seen.min(theirs.first_seen);
    let last_seen = ours.last_seen.max(theirs.last_seen);
    let mut sessions: Vec<Session> = std::iter::once(ours.session).chain(ours.earlier.into_newest_first()).collect();
    for session in std::iter::once(theirs.session).chain(theirs.earlier.into_newest_first()) {
        match sessions.iter_mut().find(|known| is_same(known, &session)) {
            Some(known) => catch_up(known, session),
            None => sessions.push(session),
        }
    }
    // A stable order: of two that reached their steps at once, what was the last one stays it.
    sessions.sort_by_key(|session| std::cmp::Reverse((session.step_at, session.started)));
    let mut sessions = sessions.into_iter();
    // There is one at least: every machine has a last boot.
    let session = sessions.next().unwrap_or_else(|| Session::begin(Step::Discover, last_seen));
    let mut earlier = EarlierBoots::default();
    for session in sessions.filter(|session| session.token.is_some()) {
        earlier.push_older(Session { vitals: None, ..session });
    }
    let (identity, attempts, good) = if is_theirs_later {
        (theirs.identity, theirs.attempts, theirs.good.or(ours.good))
    } else {
        (ours.identity, ours.attempts, ours.good.or(theirs.good))
    };
    let mut conflicts = ours.conflicts;
    for conflict in theirs.conflicts {
        if !conflicts.contains(&conflict) {
            conflicts.push(conflict);
        }
    }
    let Machine { rounds, seen, .. } = ours;
    Machine { identity, first_seen, last_seen, session, earlier, good, attempts, rounds, conflicts, seen, words: None }
}

/// When a machine was last given a script or checked in.
fn spoken(machine: &Machine) -> Option<SystemTime> {
    let told = machine.sessions().filter(|session| session.told.is_some());
    told.map(|session| session.last_check_in.unwrap_or(session.scripted_at).max(session.scripted_at)).max()
}

/// Whether two servers mean the same boot. Of firmware both hear the same broadcasts, each at its own time.
fn is_same(ours: &Session, theirs: &Session) -> bool {
    if ours.token.is_some() || theirs.token.is_some() {
        return ours.token == theirs.token;
    }
    let apart = ours.started.max(theirs.started).duration_since(ours.started.min(theirs.started)).unwrap_or_default();
    let are_firmware = ours.step < Step::Script && theirs.step < Step::Script;
    apart.is_zero() || are_firmware && apart <= FIRMWARE_PATIENCE
}

/// Takes over what is later of the same boot. Lists of packages stay: their digests say what they are.
fn catch_up(ours: &mut Session, theirs: Session) {
    let started = ours.started.min(theirs.started);
    if (theirs.last_check_in, theirs.step_at) > (ours.last_check_in, ours.step_at) {
        let before = std::mem::replace(ours, theirs);
        ours.turn = before.turn;
        ours.inventory = before.inventory;
        ours.report = None;
    }
    ours.started = started;
}
