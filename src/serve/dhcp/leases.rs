//! Which machine has which address. Pure: time is an argument, and what changes is handed out to be written down.
//!
//! A machine is known by its hardware address, not by its client identifier (option 61): firmware, iPXE and the system of
//! one machine send three identifiers, and all of them shall have one address. The address a machine is offered first
//! follows from its hardware address alone, and an address a machine says it has is confirmed when it is free; so even a
//! table that was lost costs nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::free::Free;
use crate::model::mac::Mac;
use crate::model::net::{AddressPlan, Subnet};

/// How long an offer is kept for its machine. Firmware takes up to half a minute to choose among offers.
const OFFER: Duration = Duration::from_secs(60);

/// How long an address stays unused after a machine found somebody else on it.
const QUARANTINE: Duration = Duration::from_secs(600);

/// No lease from before lasts longer than this, unless the network's lease time is longer: what wrote it down may have had
/// a clock that was wrong by months, and every address would be taken.
const LONGEST_LEFT: Duration = Duration::from_secs(86_400);

/// The addresses in use. Never more entries than there are addresses given out or reserved.
#[derive(Debug, Default)]
pub struct LeaseTable {
    plan: Arc<AddressPlan>,
    networks: Vec<Network>,
    /// Addresses nobody gets without a reservation.
    kept: BTreeSet<Ipv4Addr>,
    /// Addresses of this computer, which nobody gets.
    own: BTreeSet<Ipv4Addr>,
    changed: BTreeMap<Ipv4Addr, Change>,
}

/// One network of the plan.
#[derive(Debug, Default)]
struct Network {
    machines: HashMap<Mac, Ipv4Addr>,
    addresses: HashMap<Ipv4Addr, Use>,
    /// Addresses of the ranges that are not in `addresses`.
    untouched: Free,
    /// Every one of `addresses`, the one that runs out first at the beginning.
    endings: BTreeSet<(Instant, Ipv4Addr)>,
}

/// What an address is used for, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The machine; nobody during a quarantine.
    pub by: Option<Mac>,
    /// When it ends.
    pub until: Instant,
    /// Whether the machine has only been offered it.
    pub is_offer: bool,
}

/// What is to be written down of an address: its use, or nothing when it is free.
pub type Change = Option<Use>;

/// Who may have addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// Everybody.
    All,
    /// Machines with a reservation.
    Reserved,
}

/// Why a machine cannot have the address it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not given out.
    #[error("the address is not given out")]
    Outside,
    /// Another machine has it, it is kept free, or the machine has one of its own.
    #[error("the address is taken")]
    Taken,
}

impl LeaseTable {
    /// A table in which every address is free.
    #[must_use]
    pub fn new(plan: Arc<AddressPlan>) -> Self {
        let networks =
            plan.subnets().iter().map(|subnet| Network { untouched: Free::new(subnet.size()), ..Network::default() });
        Self { networks: networks.collect(), kept: plan.kept(), plan, ..Self::default() }
    }

    /// The addresses of this computer, which nobody gets from now on.
    pub fn set_own(&mut self, own: BTreeSet<Ipv4Addr>) {
        self.own = own;
    }

    /// Whether this computer has an address, on whatever interface.
    #[must_use]
    pub fn is_own(&self, address: Ipv4Addr) -> bool {
        self.own.contains(&address)
    }

    /// Gives out the addresses of another plan from now on, if it is another. Leases that fit it stay.
    pub fn keep_to(&mut self, plan: &Arc<AddressPlan>, now: Instant) {
        if Arc::ptr_eq(&self.plan, plan) {
            return;
        }
        let before = std::mem::replace(self, Self::new(Arc::clone(plan)));
        self.own = before.own;
        let uses = before.networks.iter().flat_map(|network| &network.addresses);
        self.restore(uses.map(|(address, own)| (*address, *own)), now);
        self.changed = before.changed;
    }

    /// Puts back what was written down; what no longer fits the plan is passed over.
    pub fn restore(&mut self, uses: impl IntoIterator<Item = (Ipv4Addr, Use)>, now: Instant) {
        for (address, Use { by, until, is_offer }) in uses {
            let Some((number, subnet)) = self.plan.of(address) else { continue };
            let until = until.min(now + subnet.lease().max(LONGEST_LEFT));
            let reserved = by.is_some_and(|mac| self.plan.reservations().get(&mac) == Some(&address));
            let given = subnet.index_of(address);
            if !reserved && (given.is_none() || self.kept.contains(&address)) {
                continue;
            }
            if let Some(network) = self.networks.get_mut(number) {
                network.set(given, address, Use { by, until, is_offer }, now);
            }
        }
        self.changed.clear();
    }

    /// Chooses an address for a machine and keeps it for a minute: its reservation, else the one it has or had, else
    /// the one it `wants`, else one that follows from its hardware address. Nothing when all are in use, or when it is
    /// not one of those who get any.
    pub fn offer(
        &mut self,
        whom: Whom,
        number: usize,
        mac: Mac,
        wants: Option<Ipv4Addr>,
        now: Instant,
    ) -> Option<Ipv4Addr> {
        let plan = Arc::clone(&self.plan);
        let subnet = plan.subnets().get(number)?;
        let known = self.networks.get(number)?.machines.get(&mac).copied();
        let wishes = [self.reserved(subnet, mac), known, wants];
        let wish = wishes.into_iter().flatten().find(|wish| self.may_have(whom, number, mac, *wish, now).is_ok());
        let address = match wish {
            Some(address) => address,
            None if whom == Whom::Reserved => return None,
            None => self.any(number, subnet, mac, now)?,
        };
        // An offer never shortens a lease the machine still has.
        let offer = match self.networks.get(number)?.addresses.get(&address) {
            Some(lease) if lease.by == Some(mac) && lease.until > now => {
                Use { until: lease.until.max(now + OFFER), ..*lease }
            }
            _ => Use { by: Some(mac), until: now + OFFER, is_offer: true },
        };
        if let Some(left) = self.networks.get_mut(number)?.set(subnet.index_of(address), address, offer, now) {
            self.changed.insert(left, None);
        }
        Some(address)
    }

    /// Gives `address` to a machine for the network's lease time.
    ///
    /// # Errors
    /// When it cannot have this address; the machine must ask for another.
    pub fn grant(
        &mut self,
        whom: Whom,
        number: usize,
        mac: Mac,
        address: Ipv4Addr,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.may_have(whom, number, mac, address, now)?;
        let subnet = self.plan.subnets().get(number).ok_or(Refusal::Outside)?;
        let lease = Use { by: Some(mac), until: now + subnet.lease(), is_offer: false };
        let network = self.networks.get_mut(number).ok_or(Refusal::Outside)?;
        if let Some(left) = network.set(subnet.index_of(address), address, lease, now) {
            self.changed.insert(left, None);
        }
        self.changed.insert(address, Some(lease));
        Ok(())
    }

    /// The machine gives `address` back, if it has it. It is offered the same one when it returns and nobody took it in
    /// between.
    pub fn release(&mut self, number: usize, mac: Mac, address: Ipv4Addr, now: Instant) {
        let Some(network) = self.networks.get_mut(number) else { return };
        let has = network.addresses.get(&address).filter(|lease| lease.by == Some(mac) && lease.until > now);
        if has.is_some() {
            network.end(address, now);
            self.changed.insert(address, None);
        }
    }

    /// The machine goes elsewhere: what it was only offered is free. A lease it has already stays, because it may come
    /// back to it.
    pub fn withdraw(&mut self, number: usize, mac: Mac, now: Instant) {
        let Some(network) = self.networks.get_mut(number) else { return };
        let Some(address) = network.machines.get(&mac).copied() else { return };
        if network.addresses.get(&address).is_some_and(|lease| lease.is_offer && lease.until > now) {
            network.end(address, now);
        }
    }

    /// The machine found somebody on `address`, which must have been its own: nobody gets it for ten minutes.
    pub fn decline(&mut self, number: usize, mac: Mac, address: Ipv4Addr, now: Instant) {
        let (Some(network), Some(subnet)) = (self.networks.get_mut(number), self.plan.subnets().get(number)) else {
            return;
        };
        if network.machines.get(&mac) == Some(&address) {
            let rest = Use { by: None, until: now + QUARANTINE, is_offer: false };
            network.set(subnet.index_of(address), address, rest, now);
            self.changed.insert(address, Some(rest));
        }
    }

    /// What changed since this was asked last, for each address its last state.
    pub fn take_changes(&mut self) -> BTreeMap<Ipv4Addr, Change> {
        std::mem::take(&mut self.changed)
    }

    /// How many addresses are in use.
    #[must_use]
    pub fn in_use(&self, now: Instant) -> usize {
        self.networks.iter().flat_map(|network| network.addresses.values()).filter(|lease| lease.until > now).count()
    }

    fn reserved(&self, subnet: &Subnet, mac: Mac) -> Option<Ipv4Addr> {
        self.plan.reservations().get(&mac).copied().filter(|address| subnet.is_local(*address))
    }

    fn may_have(&self, whom: Whom, number: usize, mac: Mac, address: Ipv4Addr, now: Instant) -> Result<(), Refusal> {
        let (Some(subnet), Some(network)) = (self.plan.subnets().get(number), self.networks.get(number)) else {
            return Err(Refusal::Outside);
        };
        let other = network.addresses.get(&address).is_some_and(|lease| lease.until > now && lease.by != Some(mac));
        match self.reserved(subnet, mac) {
            _ if self.own.contains(&address) => Err(Refusal::Taken),
            // Whoever else is on it got it before it was reserved, or took it.
            Some(reserved) if reserved == address && !other => Ok(()),
            // While it cannot have its own, it may have another.
            Some(reserved) if network.is_free(reserved, mac, now) && !self.own.contains(&reserved) => {
                Err(Refusal::Taken)
            }
            _ if whom == Whom::Reserved || subnet.index_of(address).is_none() => Err(Refusal::Outside),
            _ if other || self.kept.contains(&address) => Err(Refusal::Taken),
            _ => Ok(()),
        }
    }

    /// An address for a machine that has no wish that can be met: one nobody had yet, else the one that is free for
    /// the longest time.
    fn any(&self, number: usize, subnet: &Subnet, mac: Mac, now: Instant) -> Option<Ipv4Addr> {
        let network = self.networks.get(number)?;
        let is_kept = |address: &Ipv4Addr| self.kept.contains(address) || self.own.contains(address);
        let start = spread(mac).checked_rem(subnet.size())?;
        let mut untouched = network.untouched.from(start).filter_map(|index| subnet.nth(index));
        let ended = || network.endings.iter().take_while(|(until, _)| *until <= now).map(|(_, address)| *address);
        untouched
            .find(|address| !is_kept(address))
            .or_else(|| ended().find(|address| subnet.index_of(*address).is_some() && !is_kept(address)))
    }
}

impl Network {
    /// Everything always agrees: a machine has one address, an address one machine. Returns the address the machine
    /// had before, if it was another; that is free now.
    fn set(&mut self, index: Option<u32>, address: Ipv4Addr, new: Use, now: Instant) -> Option<Ipv4Addr> {
        let mut left = None;
        if let Some(mac) = new.by
            && let Some(old) = self.machines.insert(mac, address)
            && old != address
        {
            // It stays in the table as one that ran out, so that those nobody had yet are given first.
            self.end(old, now);
            if let Some(lease) = self.addresses.get_mut(&old) {
                lease.by = None;
            }
            left = Some(old);
        }
        if let Some(index) = index {
            self.untouched.take(index);
        }
        if let Some(before) = self.addresses.insert(address, new) {
            self.endings.remove(&(before.until, address));
            if let Some(other) = before.by.filter(|other| Some(*other) != new.by) {
                self.machines.remove(&other);
            }
        }
        self.endings.insert((new.until, address));
        left
    }

    fn end(&mut self, address: Ipv4Addr, now: Instant) {
        if let Some(lease) = self.addresses.get_mut(&address) {
            self.endings.remove(&(lease.until, address));
            lease.until = now;
            self.endings.insert((now, address));
        }
    }

    fn is_free(&self, address: Ipv4Addr, mac: Mac, now: Instant) -> bool {
        self.addresses.get(&address).is_none_or(|lease| lease.until <= now || lease.by == Some(mac))
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
mod tests;
