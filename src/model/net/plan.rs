//! All networks in which addresses are given out, and the addresses that belong to certain machines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::subnet::Subnet;
use crate::model::mac::Mac;

/// Which addresses are given out, and to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressPlan {
    subnets: Vec<Subnet>,
    reservations: BTreeMap<Mac, Ipv4Addr>,
}

/// Why networks and reservations do not hold together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two networks have addresses in common.
    #[error("the networks {0} and {1} overlap; machines of one network get their addresses from one place")]
    Overlap(Ipv4Addr, Ipv4Addr),
    /// A machine is promised an address nobody gives out.
    #[error(
        "{address} is in none of the networks of `[dhcp]`{}; add a `[[dhcp.subnet]]`, or choose another address",
        are(networks)
    )]
    Elsewhere {
        /// The address.
        address: Ipv4Addr,
        /// The networks there are.
        networks: Vec<Ipv4Addr>,
    },
    /// A machine is promised an address that another has, or none can have.
    #[error("{0} is taken by {1}; choose another address")]
    Taken(Ipv4Addr, String),
}

fn are(networks: &[Ipv4Addr]) -> String {
    let names: Vec<String> = networks.iter().map(Ipv4Addr::to_string).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

impl AddressPlan {
    /// Joins networks and reservations.
    ///
    /// # Errors
    /// The first machine or network that is in the way of another; with the machine, if it is one.
    pub fn new(subnets: Vec<Subnet>, reservations: BTreeMap<Mac, Ipv4Addr>) -> Result<Self, (Option<Mac>, PlanError)> {
        for (number, one) in subnets.iter().enumerate() {
            let other = subnets
                .iter()
                .skip(number + 1)
                .find(|other| one.is_local(other.network()) || other.is_local(one.network()));
            if let Some(other) = other {
                return Err((None, PlanError::Overlap(one.network(), other.network())));
            }
        }
        let plan = Self { subnets, reservations };
        let mut seen = BTreeMap::new();
        for (mac, address) in &plan.reservations {
            plan.may_reserve(*address).map_err(|why| (Some(*mac), why))?;
            if let Some(other) = seen.insert(*address, mac) {
                return Err((Some(*mac), PlanError::Taken(*address, other.to_string())));
            }
        }
        Ok(plan)
    }

    fn may_reserve(&self, address: Ipv4Addr) -> Result<(), PlanError> {
        let taken = |by: &str| Err(PlanError::Taken(address, by.to_owned()));
        match self.of(address) {
            None => {
                let networks = self.subnets.iter().map(Subnet::network).collect();
                Err(PlanError::Elsewhere { address, networks })
            }
            Some((_, subnet)) if !subnet.is_host(address) => taken("the network itself"),
            Some((_, subnet)) if subnet.router() == Some(address) => taken("the router"),
            Some((_, subnet)) if subnet.dns().contains(&address) => taken("a name server"),
            Some(_) => Ok(()),
        }
    }

    /// The networks.
    #[must_use]
    pub fn subnets(&self) -> &[Subnet] {
        &self.subnets
    }

    /// The network an address belongs to, with its number.
    #[must_use]
    pub fn of(&self, address: Ipv4Addr) -> Option<(usize, &Subnet)> {
        self.subnets.iter().enumerate().find(|(_, subnet)| subnet.is_local(address))
    }

    /// Each machine with an address of its own.
    #[must_use]
    pub fn reservations(&self) -> &BTreeMap<Mac, Ipv4Addr> {
        &self.reservations
    }

    /// The addresses no other machine may have: those reserved, and those of routers and name servers.
    #[must_use]
    pub fn kept(&self) -> BTreeSet<Ipv4Addr> {
        let named =
            self.subnets.iter().flat_map(|subnet| subnet.router().into_iter().chain(subnet.dns().iter().copied()));
        self.reservations.values().copied().chain(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::subnet::Parts;
    use super::super::subnet::tests::{ip, parts};
    use super::*;

    fn subnet(first: &str, last: &str) -> Subnet {
        let (router, dns) = (Some(ip("10.0.0.1")), vec![ip("10.0.0.2")]);
        let is_first = first.starts_with("10.0.0.");
        Subnet::new(Parts { router: router.filter(|_| is_first), dns, ..parts(&[(first, last)]) }).unwrap()
    }

    fn plan(reserved: &[(u8, &str)]) -> Result<AddressPlan, String> {
        let subnets = vec![subnet("10.0.0.100", "10.0.0.199"), subnet("10.0.1.100", "10.0.1.199")];
        let reserved = reserved.iter().map(|(mac, address)| (Mac([2, 0, 0, 0, 0, *mac]), ip(address))).collect();
        AddressPlan::new(subnets, reserved).map_err(|(_, why)| why.to_string())
    }

    #[test]
    fn an_address_belongs_to_one_network_and_a_reservation_to_one_machine() {
        let plan = plan(&[(1, "10.0.0.50"), (2, "10.0.1.150")]).unwrap();
        assert_eq!(plan.of(ip("10.0.1.7")).unwrap().0, 1);
        assert!(plan.of(ip("10.0.2.7")).is_none());
        assert_eq!(plan.reservations()[&Mac([2, 0, 0, 0, 0, 2])], ip("10.0.1.150"));
        assert!(plan.kept().contains(&ip("10.0.0.50")) && plan.kept().contains(&ip("10.0.0.2")));
    }

    #[test]
    fn addresses_in_the_way_of_each_other_are_refused_with_whose_they_are() {
        for (reserved, said) in [
            (&[(1, "10.0.0.50"), (2, "10.0.0.50")][..], "10.0.0.50 is taken by 02:00:00:00:00:01"),
            (&[(1, "10.0.0.1")], "taken by the router"),
            (&[(1, "10.0.0.2")], "taken by a name server"),
            (&[(1, "10.0.0.255")], "taken by the network itself"),
            (&[(1, "10.0.9.1")], "10.0.9.1 is in none of the networks of `[dhcp]` (10.0.0.0, 10.0.1.0); add"),
        ] {
            let error = plan(reserved).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        let twice = vec![subnet("10.0.0.100", "10.0.0.110"), subnet("10.0.0.200", "10.0.0.210")];
        let (_, error) = AddressPlan::new(twice, BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("overlap"), "{error}");
    }
}
