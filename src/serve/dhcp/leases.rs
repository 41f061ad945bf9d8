//! Which machine has which address. Pure: time is an argument, and nothing is kept on disk.
//!
//! A table lost in a restart costs nothing: the address a machine is offered follows from its hardware address, and an
//! address a machine says it has is confirmed when it is free.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::model::mac::Mac;
use crate::model::net::Pool;

/// How long an offer is kept for its machine. Firmware takes up to half a minute to choose among offers.
const OFFER: Duration = Duration::from_secs(60);

/// How long an address stays unused after a machine found somebody else on it.
const QUARANTINE: Duration = Duration::from_secs(600);

/// The addresses in use. Never more entries than the pool has addresses.
#[derive(Debug, Default)]
pub struct LeaseTable {
    machines: HashMap<Mac, Ipv4Addr>,
    addresses: HashMap<Ipv4Addr, Use>,
    reserved: Vec<Ipv4Addr>,
}

/// What an address is used for, and until when.
#[derive(Debug, Clone, Copy)]
struct Use {
    /// Nobody during a quarantine.
    by: Option<Mac>,
    until: Instant,
}

/// Why a machine cannot have the address it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is none of the pool.
    #[error("the address is not in the pool")]
    Outside,
    /// Another machine has it, or it is kept free.
    #[error("the address is taken")]
    Taken,
}

impl LeaseTable {
    /// An empty table that never gives out `reserved`: the addresses of servers and routers, should they lie in the
    /// pool.
    #[must_use]
    pub fn reserving(reserved: Vec<Ipv4Addr>) -> Self {
        Self { reserved, ..Self::default() }
    }

    /// Chooses an address for a machine and keeps it for a minute: the one it has or had, else the one it `wants`,
    /// else one that follows from its hardware address. Nothing when all are in use.
    pub fn offer(&mut self, pool: &Pool, mac: Mac, wants: Option<Ipv4Addr>, now: Instant) -> Option<Ipv4Addr> {
        let known = self.machines.get(&mac).copied();
        let first_wishes = [known, wants].into_iter().flatten();
        let start = spread(mac);
        let anywhere = (0..pool.size()).map(|step| pool.nth(start.wrapping_add(step) % pool.size()));
        let address = first_wishes.chain(anywhere).find(|address| self.may_have(pool, mac, *address, now).is_ok())?;
        // An offer never shortens a lease the machine still has.
        let until = match self.addresses.get(&address) {
            Some(lease) if lease.by == Some(mac) => lease.until.max(now + OFFER),
            _ => now + OFFER,
        };
        self.set(mac, address, until);
        Some(address)
    }

    /// Gives `address` to a machine for the pool's lease time.
    ///
    /// # Errors
    /// When it cannot have this address; the machine must ask for another.
    pub fn grant(&mut self, pool: &Pool, mac: Mac, address: Ipv4Addr, now: Instant) -> Result<(), Refusal> {
        self.may_have(pool, mac, address, now)?;
        self.set(mac, address, now + pool.lease());
        Ok(())
    }

    /// The machine does not want its address, or goes elsewhere. It is offered the same one when it returns and
    /// nobody took it in between.
    pub fn release(&mut self, mac: Mac, now: Instant) {
        if let Some(lease) = self.machines.get(&mac).and_then(|address| self.addresses.get_mut(address)) {
            lease.until = now;
        }
    }

    /// The machine found somebody on `address`, which must have been its own: nobody gets it for ten minutes.
    pub fn decline(&mut self, mac: Mac, address: Ipv4Addr, now: Instant) {
        if self.machines.get(&mac) == Some(&address) {
            self.machines.remove(&mac);
            self.addresses.insert(address, Use { by: None, until: now + QUARANTINE });
        }
    }

    /// How many addresses are in use.
    #[must_use]
    pub fn in_use(&self, now: Instant) -> usize {
        self.addresses.values().filter(|lease| lease.until > now).count()
    }

    fn may_have(&self, pool: &Pool, mac: Mac, address: Ipv4Addr, now: Instant) -> Result<(), Refusal> {
        if !pool.contains(address) {
            return Err(Refusal::Outside);
        }
        let taken = self.addresses.get(&address).is_some_and(|lease| lease.until > now && lease.by != Some(mac));
        if taken || self.reserved.contains(&address) { Err(Refusal::Taken) } else { Ok(()) }
    }

    /// Both maps always agree: a machine has one address, an address one machine.
    fn set(&mut self, mac: Mac, address: Ipv4Addr, until: Instant) {
        if let Some(old) = self.machines.insert(mac, address)
            && old != address
        {
            self.addresses.remove(&old);
        }
        if let Some(Use { by: Some(other), .. }) = self.addresses.insert(address, Use { by: Some(mac), until })
            && other != mac
        {
            self.machines.remove(&other);
        }
    }
}

/// A number that follows from the hardware address alone and stays the same in every version of the program: FNV-1a,
/// folded, because its low bits alone are poor.
fn spread(mac: Mac) -> u32 {
    let hash = mac
        .0
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
    u32::from_be_bytes([a, b, c, d]) ^ u32::from_be_bytes([e, f, g, h])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pool(last: u8) -> Pool {
        let lease = Duration::from_secs(3600);
        Pool::new([10, 0, 0, 10].into(), [10, 0, 0, last].into(), [255, 255, 255, 0].into(), None, vec![], lease)
            .unwrap()
    }

    fn mac(number: u8) -> Mac {
        Mac([0x52, 0x54, 0, 0, 0, number])
    }

    #[test]
    fn a_machine_gets_the_same_address_from_a_restarted_server() {
        let (pool, now) = (pool(200), Instant::now());
        let first = LeaseTable::default().offer(&pool, mac(1), None, now);
        let mut restarted = LeaseTable::default();
        assert!(first.is_some());
        assert_eq!(restarted.offer(&pool, mac(1), None, now), first);
        assert_eq!(restarted.offer(&pool, mac(1), None, now), first, "asking twice changes nothing");
        // Written down, so that an upgrade does not renumber a site.
        assert_eq!(first, Some(Ipv4Addr::new(10, 0, 0, 109)));
    }

    #[test]
    fn every_address_is_given_once_and_then_there_is_none() {
        let (pool, now) = (pool(29), Instant::now());
        let mut table = LeaseTable::reserving(vec![[10, 0, 0, 15].into()]);
        let mut given: Vec<Ipv4Addr> =
            (0..19).map(|number| table.offer(&pool, mac(number), None, now).unwrap()).collect();
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 19);
        assert!(!given.contains(&Ipv4Addr::new(10, 0, 0, 15)));
        assert_eq!(table.offer(&pool, mac(99), None, now), None);
        assert!(table.offer(&pool, mac(99), None, now + OFFER).is_some(), "offers nobody took are free again");
    }

    #[test]
    fn a_wish_is_granted_when_the_address_is_free() {
        let (pool, now) = (pool(29), Instant::now());
        let mut table = LeaseTable::default();
        let wish = Ipv4Addr::new(10, 0, 0, 20);
        assert_eq!(table.offer(&pool, mac(1), Some(wish), now), Some(wish));
        assert_ne!(table.offer(&pool, mac(2), Some(wish), now), Some(wish));
        assert!(table.offer(&pool, mac(3), Some([192, 0, 2, 1].into()), now).is_some());
        assert_eq!(table.offer(&pool, mac(1), Some([10, 0, 0, 21].into()), now), Some(wish), "what it has comes first");
    }

    #[test]
    fn an_unknown_machine_may_keep_a_free_address_and_no_other() {
        let (pool, now) = (pool(29), Instant::now());
        let mut table = LeaseTable::reserving(vec![[10, 0, 0, 11].into()]);
        let address = Ipv4Addr::new(10, 0, 0, 20);
        assert_eq!(table.grant(&pool, mac(1), address, now), Ok(()));
        assert_eq!(table.grant(&pool, mac(1), address, now), Ok(()), "renewal");
        assert_eq!(table.grant(&pool, mac(2), address, now), Err(Refusal::Taken));
        assert_eq!(table.grant(&pool, mac(2), [10, 0, 0, 11].into(), now), Err(Refusal::Taken));
        assert_eq!(table.grant(&pool, mac(2), [10, 0, 0, 30].into(), now), Err(Refusal::Outside));
        assert_eq!(table.grant(&pool, mac(2), address, now + pool.lease()), Ok(()), "it ran out");
        assert_eq!(table.in_use(now + pool.lease()), 1);
    }

    #[test]
    fn a_released_address_is_free_and_comes_back_to_its_machine() {
        let (pool, now) = (pool(29), Instant::now());
        let mut table = LeaseTable::default();
        let address = Ipv4Addr::new(10, 0, 0, 20);
        table.grant(&pool, mac(1), address, now).unwrap();
        table.release(mac(1), now);
        assert_eq!(table.in_use(now), 0);
        assert_eq!(table.offer(&pool, mac(1), None, now), Some(address));
        table.release(mac(1), now);
        assert_eq!(table.grant(&pool, mac(2), address, now), Ok(()));
        assert_ne!(table.offer(&pool, mac(1), None, now), Some(address));
    }

    #[test]
    fn a_declined_address_rests_and_only_its_machine_may_decline_it() {
        let (pool, now) = (pool(29), Instant::now());
        let mut table = LeaseTable::default();
        let address = table.offer(&pool, mac(1), None, now).unwrap();
        table.decline(mac(2), address, now);
        assert_eq!(table.grant(&pool, mac(1), address, now), Ok(()));
        table.decline(mac(1), address, now);
        assert_eq!(table.grant(&pool, mac(1), address, now), Err(Refusal::Taken));
        assert_ne!(table.offer(&pool, mac(1), None, now), Some(address));
        assert_eq!(table.grant(&pool, mac(2), address, now + QUARANTINE), Ok(()));
    }

    #[test]
    fn an_offer_does_not_shorten_a_lease() {
        let (pool, now) = (pool(29), Instant::now());
        let mut table = LeaseTable::default();
        let address = table.offer(&pool, mac(1), None, now).unwrap();
        table.grant(&pool, mac(1), address, now).unwrap();
        table.offer(&pool, mac(1), None, now).unwrap();
        assert_eq!(table.grant(&pool, mac(2), address, now + 2 * OFFER), Err(Refusal::Taken));
    }

    proptest! {
        /// Whatever machines do, no two have the same address, and the table stays bounded.
        #[test]
        fn two_machines_never_have_the_same_address(steps in prop::collection::vec((0..12u8, 0..5u8, 8..22u8, 0..200u64), 0..200)) {
            let pool = pool(19);
            let mut now = Instant::now();
            let mut table = LeaseTable::default();
            for (machine, action, last, seconds) in steps {
                let (mac, address) = (mac(machine), Ipv4Addr::new(10, 0, 0, last));
                now += Duration::from_secs(seconds);
                match action {
                    0 => drop(table.offer(&pool, mac, Some(address), now)),
                    1 => drop(table.grant(&pool, mac, address, now)),
                    2 => table.release(mac, now),
                    3 => table.decline(mac, address, now),
                    _ => drop(table.offer(&pool, mac, None, now)),
                }
                prop_assert!(table.addresses.len() <= 10);
                for (mac, address) in &table.machines {
                    prop_assert_eq!(table.addresses.get(address).and_then(|lease| lease.by), Some(*mac));
                }
                let owned = table.addresses.values().filter(|lease| lease.by.is_some()).count();
                prop_assert_eq!(owned, table.machines.len());
            }
        }
    }
}
