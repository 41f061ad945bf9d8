//! Which machine is behind an address: learnt when it fetched its script, or from DHCP.
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
use crate::model::mac::Mac;

/// How many addresses are remembered.
const MAX_LINKS: usize = 100_000;

/// How many addresses may have sightings that wait for their machine.
const MAX_WAITING: usize = 4096;

/// How many sightings wait at one address: a loader, a second one, and the first script, each begun and ended.
const MAX_SIGHTINGS: usize = 6;

/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is known of addresses.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    machines: HashMap<IpAddr, Mac>,
    waiting: HashMap<IpAddr, Vec<(SystemTime, Sighting)>>,
}

impl Known {
    fn learn(&mut self, address: IpAddr, mac: Mac) {
        if self.machines.len() >= MAX_LINKS {
            self.machines.clear();
        }
        self.machines.insert(address, mac);
    }
}

impl Links {
    /// A machine was seen at an address.
    pub(super) fn learn(&self, address: IpAddr, mac: Mac) {
        lock(&self.0).learn(address, mac);
    }

    /// The machine that was last seen at an address.
    pub(super) fn who(&self, address: IpAddr) -> Option<Mac> {
        lock(&self.0).machines.get(&address).copied()
    }

    /// Keeps a sighting that belongs to no machine so far.
    pub(super) fn wait(&self, address: IpAddr, sighting: Sighting, now: SystemTime) {
        let waiting = &mut lock(&self.0).waiting;
        if waiting.len() >= MAX_WAITING && !waiting.contains_key(&address) {
            waiting.clear();
        }
        let here = waiting.entry(address).or_default();
        if here.len() >= MAX_SIGHTINGS {
            here.remove(0);
        }
        here.push((now, sighting));
    }

    /// A machine said at an address who it is: what waited there is about it, oldest first.
    pub(super) fn meet(&self, address: IpAddr, mac: Mac, now: SystemTime) -> Vec<(SystemTime, Sighting)> {
        let waited = {
            let mut known = lock(&self.0);
            known.learn(address, mac);
            known.waiting.remove(&address)
        };
        let Some(waited) = waited else { return Vec::new() };
        // What comes at this moment may be later than `now`.
        let is_fresh = |at: &SystemTime| now.duration_since(*at).unwrap_or_default() <= PATIENCE;
        let seen = |(at, sighting)| (at, Sighting { seen: Seen::ByMac, ..sighting });
        waited.into_iter().filter(|(at, _)| is_fresh(at)).map(seen).collect()
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
        Sighting { step, seen: Seen::ByAddress, sent: None, remark: "".into() }
    }

    #[test]
    fn what_waited_at_an_address_belongs_to_the_machine_that_asks_from_there() {
        let links = Links::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let claim = |address, now| links.meet(address, Mac([2, 0, 0, 0, 0, 1]), now);
        links.wait(here, sighting(Step::Loader), at(0));
        links.wait(here, sighting(Step::Ipxe), at(5));
        links.wait(there, sighting(Step::Loader), at(5));
        let claimed = claim(here, at(6));
        assert_eq!(claimed.iter().map(|(_, it)| it.step).collect::<Vec<_>>(), [Step::Loader, Step::Ipxe]);
        assert_eq!((claimed[0].0, claimed[0].1.seen), (at(0), Seen::ByMac));
        links.wait(here, sighting(Step::Ipxe), at(7));
        assert_eq!(claim(here, at(6)).len(), 1, "it came while the question was read");
        assert!(claim(here, at(6)).is_empty());
        assert!(claim(there, at(700)).is_empty(), "somebody else has that address by now");
    }

    #[test]
    fn sightings_of_nobody_do_not_fill_the_memory() {
        let links = Links::default();
        for number in 0..100_000_u32 {
            links.wait(IpAddr::from(number.to_be_bytes()), sighting(Step::Loader), at(0));
            links.wait(IpAddr::from([10, 0, 0, 1]), sighting(Step::Ipxe), at(0));
        }
        let waiting = &lock(&links.0).waiting;
        assert!(waiting.len() <= MAX_WAITING);
        assert!(waiting.values().all(|here| here.len() <= MAX_SIGHTINGS));
    }
}
