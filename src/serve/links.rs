//! Which machine is behind an address, and which relay a machine is behind: learnt when it fetched its script, or from
//! DHCP.
//!
//! TFTP and the first script come from an address nobody may know yet: beside another DHCP server the machine's address
//! is that one's business. Such sightings are kept for a while, and belong to the machine that asks for its script from
//! there.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use foldhash::HashMap;

use super::lock;
use crate::fleet::{Seen, Sighting};
use crate::model::identity::Relay;
use crate::model::mac::Mac;

/// How many addresses are remembered.
const MAX_LINKS: usize = 100_000;

/// How many addresses may have sightings that wait for their machine.
const MAX_WAITING: usize = 4096;

/// How many machines are remembered that are behind relays, between their DHCP and their script.
const MAX_RELAYED: usize = 16_384;

/// How many sightings wait at one address: a loader, a second one, and the first script, each begun and ended.
const MAX_SIGHTINGS: usize = 6;

/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is known of addresses.
#[derive(Debug, Default)]
pub(super) struct Links {
    machines: Mutex<HashMap<IpAddr, Mac>>,
    waiting: Mutex<HashMap<IpAddr, Vec<(SystemTime, Sighting)>>>,
    /// The relays that machines are behind, as DHCP saw it last.
    relays: Mutex<HashMap<Mac, Relay>>,
}

impl Links {
    /// A machine was seen at an address.
    pub(super) fn learn(&self, address: IpAddr, mac: Mac) {
        let mut machines = lock(&self.machines);
        if machines.len() >= MAX_LINKS {
            machines.clear();
        }
        machines.insert(address, mac);
    }

    /// The machine that was last seen at an address.
    pub(super) fn who(&self, address: IpAddr) -> Option<Mac> {
        lock(&self.machines).get(&address).copied()
    }

    /// A machine is behind a relay, or behind none.
    pub(super) fn place(&self, mac: Mac, relay: Option<Relay>) {
        let mut relays = lock(&self.relays);
        let Some(relay) = relay else {
            relays.remove(&mac);
            return;
        };
        if relays.len() >= MAX_RELAYED && !relays.contains_key(&mac) {
            relays.clear();
        }
        relays.insert(mac, relay);
    }

    /// The relay that a machine is behind.
    pub(super) fn relay(&self, mac: &Mac) -> Option<Relay> {
        lock(&self.relays).get(mac).cloned()
    }

    /// Keeps a sighting that belongs to no machine so far.
    pub(super) fn wait(&self, address: IpAddr, sighting: Sighting, now: SystemTime) {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= MAX_WAITING && !waiting.contains_key(&address) {
            waiting.clear();
        }
        let here = waiting.entry(address).or_default();
        if here.len() >= MAX_SIGHTINGS {
            here.remove(0);
        }
        here.push((now, sighting));
    }

    /// What waited at the address of a machine that said who it is, oldest first.
    pub(super) fn claim(&self, address: IpAddr, now: SystemTime) -> Vec<(SystemTime, Sighting)> {
        let waited = lock(&self.waiting).remove(&address).unwrap_or_default();
        let is_fresh = |at: &SystemTime| now.duration_since(*at).is_ok_and(|age| age <= PATIENCE);
        let known = |(at, sighting)| (at, Sighting { seen: Seen::ByMac, ..sighting });
        waited.into_iter().filter(|(at, _)| is_fresh(at)).map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::boot::Step;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn sighting(step: Step) -> Sighting {
        Sighting { step, seen: Seen::ByAddress, sent: None, remark: String::new() }
    }

    #[test]
    fn what_waited_at_an_address_belongs_to_the_machine_that_asks_from_there() {
        let links = Links::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        links.wait(here, sighting(Step::Loader), at(0));
        links.wait(here, sighting(Step::Ipxe), at(5));
        links.wait(there, sighting(Step::Loader), at(5));
        let claimed = links.claim(here, at(6));
        assert_eq!(claimed.iter().map(|(_, it)| it.step).collect::<Vec<_>>(), [Step::Loader, Step::Ipxe]);
        assert_eq!((claimed[0].0, claimed[0].1.seen), (at(0), Seen::ByMac));
        assert!(links.claim(here, at(6)).is_empty());
        assert!(links.claim(there, at(700)).is_empty(), "somebody else has that address by now");
    }

    #[test]
    fn sightings_of_nobody_do_not_fill_the_memory() {
        let links = Links::default();
        for number in 0..100_000_u32 {
            links.wait(IpAddr::from(number.to_be_bytes()), sighting(Step::Loader), at(0));
            links.wait(IpAddr::from([10, 0, 0, 1]), sighting(Step::Ipxe), at(0));
        }
        assert!(lock(&links.waiting).len() <= MAX_WAITING);
        assert!(lock(&links.waiting).values().all(|here| here.len() <= MAX_SIGHTINGS));
    }
}
