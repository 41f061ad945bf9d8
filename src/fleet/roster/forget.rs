//! Who is forgotten when there is no room for another machine: addresses are free to invent.

use std::time::SystemTime;

use super::{Machine, Roster};
use crate::model::boot::Step;
use crate::model::mac::Mac;

/// For how many newcomers it is looked at once who makes room for them.
const FORGOTTEN_AT_ONCE: usize = 256;

/// By what a machine is forgotten before others: whether it ever came up, when it was last seen, and who it is.
pub(super) type Unseen = (bool, SystemTime, Mac);

impl Roster {
    /// Makes room for one more machine; who is remembered no more for it.
    pub(super) fn forget_one(&mut self) -> Option<Mac> {
        loop {
            if self.unseen.is_empty() {
                self.unseen = self.longest_unseen();
            }
            let unseen = self.unseen.pop()?;
            // It may have come back.
            if self.unseen_of(&unseen.2) == Some(unseen) {
                self.forget(&unseen.2);
                return Some(unseen.2);
            }
        }
    }

    /// Some of the machines that were seen longest ago, the very longest last: whoever invents a machine for each request
    /// must not have the server look through all of them each time. Only of those that never came up, if there are any.
    fn longest_unseen(&self) -> Vec<Unseen> {
        let claims = self.claims.last_seen().map(|(mac, last_seen)| (false, last_seen, mac));
        let mut all: Vec<Unseen> = self.machines.values().map(|machine| machine.unseen()).chain(claims).collect();
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

    fn unseen_of(&self, mac: &Mac) -> Option<Unseen> {
        let claim = || self.claims.last_seen_of(mac).map(|last_seen| (false, last_seen, *mac));
        self.machines.get(mac).map(|machine| machine.unseen()).or_else(claim)
    }

    /// A machine is remembered no more; its boot under way cannot check in.
    pub fn forget(&mut self, mac: &Mac) {
        self.claims.remove(mac);
        let Some(machine) = self.machines.remove(mac) else { return };
        self.index.remove(&machine.identity);
        for token in machine.tokens() {
            self.tokens.remove(token);
        }
        self.journal.forget(mac);
    }
}

impl Machine {
    /// Whether it ever did, so that it is no invention.
    fn came_up(&self) -> bool {
        self.good.is_some() || self.session.step == Step::CheckIn
    }

    fn unseen(&self) -> Unseen {
        (self.came_up(), self.last_seen, self.identity.mac)
    }
}
