//! Machines that nobody knew and that are not at their script yet: anybody can claim to be one, so of each only what its
//! firmware did is kept, until it has its script, or its turn to be written down comes.

use std::time::SystemTime;

use foldhash::HashMap;

use super::{FIRMWARE_PATIENCE, MAX_MACHINES, Machine, Roster};
use crate::fleet::journal::{Boot, Events, Seen, Sighting};
use crate::model::identity::Identity;
use crate::model::mac::Mac;

/// The claims.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<Mac, Boot>);

impl Claims {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Who they are of, and when each was last seen.
    pub(super) fn last_seen(&self) -> impl Iterator<Item = (Mac, SystemTime)> {
        self.0.iter().map(|(mac, boot)| (*mac, boot.last_seen()))
    }

    pub(super) fn last_seen_of(&self, mac: &Mac) -> Option<SystemTime> {
        self.0.get(mac).map(Boot::last_seen)
    }

    /// Nothing is remembered of it any more.
    pub(super) fn remove(&mut self, mac: &Mac) -> Option<Boot> {
        self.0.remove(mac)
    }
}

impl Roster {
    /// Firmware did something, of a machine that nobody knows; whether it belongs to a boot.
    pub(super) fn claim(&mut self, mac: Mac, sighting: &Sighting, now: SystemTime) -> bool {
        let is_full = self.is_full();
        let claims = &mut self.claims.0;
        let by_mac = sighting.seen == Seen::ByMac;
        let boot = match claims.get_mut(&mac) {
            Some(boot) => boot,
            None if by_mac && !is_full => claims.entry(mac).or_insert(Boot::of_firmware(now)),
            None => return false,
        };
        let (_, step_at) = boot.furthest();
        if now.duration_since(step_at).unwrap_or_default() > FIRMWARE_PATIENCE {
            if !by_mac {
                return false;
            }
            *boot = Boot::of_firmware(now);
        }
        boot.see(sighting.clone(), now);
        true
    }

    /// Whether there is no room for one more.
    pub(super) fn is_full(&self) -> bool {
        self.machines.len() + self.claims.len() >= MAX_MACHINES
    }

    /// How many machines wait for their script, or for their turn to be written down.
    pub(in crate::fleet) fn claims(&self) -> usize {
        self.claims.len()
    }

    /// A machine is like any other from now on, if so far it was a claim.
    pub(super) fn admit(&mut self, mac: Mac) {
        let Some(boot) = self.claims.remove(&mac) else { return };
        let (step, step_at) = boot.furthest();
        let mut machine = Machine::begin(Identity::of(mac).into(), step, boot.began());
        machine.session.step_at = step_at;
        machine.last_seen = boot.last_seen();
        machine.seen = boot;
        self.machines.insert(mac, Box::new(machine));
        self.journal.go_on(mac);
    }

    /// Some of the machines that nobody knew are to be written down; each with what was seen of it.
    pub(in crate::fleet) fn admit_some(&mut self, most: usize) -> Vec<(&Machine, Events)> {
        let macs: Vec<Mac> = self.claims.0.keys().take(most).copied().collect();
        macs.iter().for_each(|mac| self.admit(*mac));
        let Self { machines, journal, .. } = self;
        let mut admitted = Vec::new();
        for mac in macs {
            let events = machines.get_mut(&mac).map(|machine| journal.written(mac, &mut machine.seen));
            admitted.extend(events.map(|events| (mac, events)));
        }
        admitted.into_iter().filter_map(|(mac, events)| Some((&**machines.get(&mac)?, events))).collect()
    }
}
