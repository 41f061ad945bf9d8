//! The network interfaces of this computer, and which of them to serve.

mod changes;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

use crate::model::net::{AddressPlan, DhcpMode};

pub(super) use self::changes::Changes;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name, such as `eth0`.
    pub name: String,
    /// The kernel's number for it; another one when it was taken away and came back.
    pub index: u32,
    /// Its IPv4 addresses, the first one first.
    pub addresses: Vec<Address>,
    /// Whether it is up and reaches other computers by broadcast: not loopback, not point to point.
    pub usable: bool,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: Ipv4Addr,
    /// Its netmask.
    pub netmask: Ipv4Addr,
}

impl Address {
    /// Whether `other` is in the same network.
    #[must_use]
    pub fn reaches(&self, other: Ipv4Addr) -> bool {
        (self.address.to_bits() ^ other.to_bits()) & self.netmask.to_bits() == 0
    }
}

/// An interface that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// Its addresses; at least one.
    pub addresses: Vec<Address>,
    /// What DHCP does there.
    pub mode: DhcpMode,
}

/// What the operator says about interfaces.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The mode of interfaces that `modes` does not name.
    pub mode: DhcpMode,
    /// The mode of single interfaces.
    pub modes: BTreeMap<String, DhcpMode>,
    /// The interfaces to serve, besides those of `modes`; every usable one when empty.
    pub names: Vec<String>,
    /// The networks addresses are given out in.
    pub plan: Arc<AddressPlan>,
}

/// Why there is nothing to serve.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// The kernel did not tell.
    #[error("cannot list network interfaces")]
    List(#[source] io::Error),
    /// A name no interface has.
    #[error("there is no network interface `{name}`; there are {}", present.join(", "))]
    Missing {
        /// The name asked for.
        name: String,
        /// The names there are.
        present: Vec<String>,
    },
    /// An interface that cannot be served yet.
    #[error("network interface `{0}` has no IPv4 address; give it one first")]
    NoAddress(String),
    /// No interface is up, broadcasts and has an address.
    #[error("no network interface is up with an IPv4 address; plug in a cable, or name an interface")]
    NoneUsable,
    /// The pool belongs to a network this computer is not in.
    #[error(
        "no network interface has an address in the network of the DHCP pool ({0}); give it one, change the pool, or, when only relays ask, name the interface they come through"
    )]
    PoolElsewhere(Ipv4Addr),
}

/// Lists all interfaces.
///
/// # Errors
/// When the kernel does not tell.
pub fn list() -> Result<Vec<Interface>, InterfaceError> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for entry in getifaddrs().map_err(|error| InterfaceError::List(error.into()))? {
        let name = entry.interface_name;
        let at = match interfaces.iter().position(|own| own.name == name) {
            Some(at) => at,
            None => {
                let flags = entry.flags;
                let usable = flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_BROADCAST)
                    && !flags.intersects(InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT);
                // The first entry is that of the card itself, which has the number.
                let link = entry.address.as_ref().and_then(SockaddrStorage::as_link_addr);
                let index = link.and_then(|link| u32::try_from(link.ifindex()).ok());
                // Gone since it was listed, without a number.
                let Some(index) = index.or_else(|| if_nametoindex(name.as_str()).ok()) else { continue };
                interfaces.push(Interface { name, index, addresses: Vec::new(), usable });
                interfaces.len() - 1
            }
        };
        let ipv4 = |storage: Option<SockaddrStorage>| storage?.as_sockaddr_in().map(|address| address.ip());
        if let (Some(address), Some(netmask)) = (ipv4(entry.address), ipv4(entry.netmask))
            && let Some(interface) = interfaces.get_mut(at)
        {
            interface.addresses.push(Address { address, netmask });
        }
    }
    Ok(interfaces)
}

impl Wanted {
    /// What is served, when all that was named can be.
    ///
    /// # Errors
    /// When a named interface cannot be served, or none is left.
    pub fn choose(&self, all: &[Interface]) -> Result<Vec<Place>, InterfaceError> {
        for name in self.names.iter().chain(self.modes.keys()) {
            match all.iter().find(|own| own.name == *name) {
                None => {
                    let present = all.iter().map(|own| own.name.clone()).collect();
                    return Err(InterfaceError::Missing { name: name.clone(), present });
                }
                Some(own) if own.addresses.is_empty() && self.mode_of(name) != DhcpMode::Off => {
                    return Err(InterfaceError::NoAddress(name.clone()));
                }
                Some(_) => {}
            }
        }
        let places = self.served(all);
        if places.is_empty() && !self.is_off() {
            let pool = self.plan.subnets().first().filter(|_| self.mode.gives_addresses());
            let elsewhere = pool.filter(|_| all.iter().any(|own| own.usable && !own.addresses.is_empty()));
            return Err(match elsewhere {
                Some(pool) => InterfaceError::PoolElsewhere(pool.network()),
                None => InterfaceError::NoneUsable,
            });
        }
        Ok(places)
    }

    /// What is served of these interfaces, which may come and go: those that are named, or, when none is, every usable
    /// one. Where addresses are given out, an interface that nobody named must be in a network of the plan: elsewhere
    /// they would be addresses nobody can use.
    #[must_use]
    pub fn served(&self, all: &[Interface]) -> Vec<Place> {
        let is_named = |name: &String| self.names.contains(name) || self.modes.contains_key(name);
        let mut places = Vec::new();
        for own in all.iter().filter(|own| !own.addresses.is_empty()) {
            let mode = self.mode_of(&own.name);
            let is_local = || own.addresses.iter().any(|it| self.plan.of(it.address).is_some());
            let is_served = if is_named(&own.name) {
                true
            } else {
                self.names.is_empty() && own.usable && (!mode.gives_addresses() || is_local())
            };
            if is_served && mode != DhcpMode::Off {
                let Interface { name, index, addresses, .. } = own.clone();
                places.push(Place { name, index, addresses, mode });
            }
        }
        places
    }

    fn mode_of(&self, name: &str) -> DhcpMode {
        self.modes.get(name).copied().unwrap_or(self.mode)
    }

    /// Whether nothing is served, whatever interfaces there are.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.mode == DhcpMode::Off && self.modes.values().all(|mode| *mode == DhcpMode::Off)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::net::{Parts, Subnet};

    fn interface(name: &str, addresses: &[[u8; 4]], usable: bool) -> Interface {
        let address = |own: &[u8; 4]| Address { address: (*own).into(), netmask: [255, 255, 255, 0].into() };
        Interface { name: name.to_owned(), index: 1, addresses: addresses.iter().map(address).collect(), usable }
    }

    fn computer() -> Vec<Interface> {
        vec![
            interface("lo", &[[127, 0, 0, 1]], false),
            interface("eth0", &[[10, 0, 0, 1], [10, 0, 1, 1]], true),
            interface("eth1", &[[10, 0, 2, 1]], true),
            interface("eth2", &[], true),
        ]
    }

    fn wanted(mode: DhcpMode, names: &[&str]) -> Wanted {
        let network = [10, 0, 1, 0].into();
        let parts = Parts {
            network,
            netmask: [255, 255, 255, 0].into(),
            ranges: vec![],
            router: None,
            dns: vec![],
            domain: None,
            lease: Duration::from_secs(600),
        };
        let plan = AddressPlan::new(vec![Subnet::new(parts).unwrap()], BTreeMap::new()).unwrap();
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Wanted { mode, modes: BTreeMap::new(), names, plan: Arc::new(plan) }
    }

    fn served(wanted: &Wanted) -> Result<Vec<(String, DhcpMode)>, String> {
        let places = wanted.choose(&computer()).map_err(|error| error.to_string())?;
        Ok(places.into_iter().map(|place| (place.name, place.mode)).collect())
    }

    fn all(names: &[&str], mode: DhcpMode) -> Result<Vec<(String, DhcpMode)>, String> {
        Ok(names.iter().map(|name| ((*name).to_owned(), mode)).collect())
    }

    #[test]
    fn without_names_every_usable_interface_is_served_where_that_is_of_use() {
        assert_eq!(served(&wanted(DhcpMode::Proxy, &[])), all(&["eth0", "eth1"], DhcpMode::Proxy));
        assert_eq!(served(&wanted(DhcpMode::Full, &[])), all(&["eth0"], DhcpMode::Full));
        assert_eq!(served(&wanted(DhcpMode::Off, &[])), all(&[], DhcpMode::Off));
    }

    #[test]
    fn what_is_named_is_served_for_relays_also_outside_of_every_pool() {
        assert_eq!(served(&wanted(DhcpMode::Full, &["eth1"])), all(&["eth1"], DhcpMode::Full));
        assert_eq!(served(&wanted(DhcpMode::Proxy, &["lo"])), all(&["lo"], DhcpMode::Proxy), "asked for by name");
    }

    #[test]
    fn each_interface_has_its_mode() {
        let mut wanted = wanted(DhcpMode::Proxy, &[]);
        wanted.modes = [("eth0".to_owned(), DhcpMode::Full), ("eth1".to_owned(), DhcpMode::Off)].into();
        assert_eq!(served(&wanted), all(&["eth0"], DhcpMode::Full));
        wanted.mode = DhcpMode::Off;
        assert!(!wanted.is_off());
        assert_eq!(served(&wanted), all(&["eth0"], DhcpMode::Full));
    }

    #[test]
    fn a_wanted_interface_that_cannot_be_served_is_an_error() {
        let refused = |names: &[&str]| served(&wanted(DhcpMode::Proxy, names)).unwrap_err();
        assert_eq!(refused(&["eth9"]), "there is no network interface `eth9`; there are lo, eth0, eth1, eth2");
        assert!(refused(&["eth2"]).contains("`eth2` has no IPv4 address"));
        assert!(wanted(DhcpMode::Proxy, &[]).choose(&[]).is_err());
        let others = [interface("eth1", &[[10, 0, 2, 1]], true)];
        let error = wanted(DhcpMode::Full, &[]).choose(&others).unwrap_err().to_string();
        assert!(error.contains("network of the DHCP pool (10.0.1.0)"), "{error}");
    }

    #[test]
    fn this_computer_has_a_loopback_interface() {
        let interfaces = list().unwrap();
        let loopback = interfaces.iter().find(|own| own.addresses.iter().any(|it| it.address.is_loopback())).unwrap();
        assert!(!loopback.usable && loopback.index > 0);
        assert!(loopback.addresses[0].reaches(Ipv4Addr::new(127, 9, 9, 9)));
    }
}
