//! The network interfaces of this computer, and which of them to serve.

use std::io;
use std::net::Ipv4Addr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::model::net::DhcpMode;

/// An interface with one of its IPv4 addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name, such as `eth0`.
    pub name: String,
    /// The address.
    pub address: Ipv4Addr,
    /// The netmask of the address.
    pub netmask: Ipv4Addr,
    /// Whether it is up and reaches other computers by broadcast: not loopback, not point to point.
    pub usable: bool,
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
        "no chosen network interface has an address in the network of the DHCP pool ({0}); give it one, or change the pool"
    )]
    PoolElsewhere(Ipv4Addr),
}

/// Lists the IPv4 addresses of all interfaces, and apart from them the names of all interfaces.
///
/// # Errors
/// When the kernel does not tell.
pub fn list() -> Result<(Vec<Interface>, Vec<String>), InterfaceError> {
    let mut interfaces = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for entry in getifaddrs().map_err(|error| InterfaceError::List(error.into()))? {
        if !names.contains(&entry.interface_name) {
            names.push(entry.interface_name.clone());
        }
        let ipv4 =
            |storage: Option<nix::sys::socket::SockaddrStorage>| storage?.as_sockaddr_in().map(|address| address.ip());
        let (Some(address), Some(netmask)) = (ipv4(entry.address), ipv4(entry.netmask)) else {
            continue;
        };
        let flags = entry.flags;
        let usable = flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_BROADCAST)
            && !flags.intersects(InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT);
        interfaces.push(Interface { name: entry.interface_name, address, netmask, usable });
    }
    Ok((interfaces, names))
}

/// Chooses what to serve, one address for each interface.
///
/// Those named in `wanted`, or, when nothing is wanted by name, every usable one. An interface with several addresses
/// is served by the one in the pool's network, else by its first. A full DHCP server serves only interfaces in the
/// pool's network: on others it would give out addresses nobody can use.
///
/// # Errors
/// When a wanted interface cannot be served, or none is left.
pub fn choose(
    all: &[Interface],
    names: &[String],
    wanted: &[String],
    mode: &DhcpMode,
) -> Result<Vec<Interface>, InterfaceError> {
    for name in wanted {
        if !names.contains(name) {
            return Err(InterfaceError::Missing { name: name.clone(), present: names.to_vec() });
        }
        if !all.iter().any(|own| own.name == *name) {
            return Err(InterfaceError::NoAddress(name.clone()));
        }
    }
    let mut candidates: Vec<&Interface> =
        all.iter().filter(|own| if wanted.is_empty() { own.usable } else { wanted.contains(&own.name) }).collect();
    if candidates.is_empty() {
        return Err(InterfaceError::NoneUsable);
    }
    if let DhcpMode::Full(pool) = mode {
        candidates.retain(|own| pool.is_local(own.address));
        if candidates.is_empty() {
            return Err(InterfaceError::PoolElsewhere(pool.first()));
        }
    }
    let mut chosen: Vec<Interface> = Vec::new();
    for candidate in candidates {
        if !chosen.iter().any(|own| own.name == candidate.name) {
            chosen.push(candidate.clone());
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::net::Pool;

    fn interface(name: &str, address: [u8; 4], usable: bool) -> Interface {
        Interface { name: name.to_owned(), address: address.into(), netmask: [255, 255, 255, 0].into(), usable }
    }

    fn computer() -> (Vec<Interface>, Vec<String>) {
        let interfaces = vec![
            interface("lo", [127, 0, 0, 1], false),
            interface("eth0", [10, 0, 0, 1], true),
            interface("eth0", [10, 0, 1, 1], true),
            interface("eth1", [10, 0, 2, 1], true),
        ];
        (interfaces, ["lo", "eth0", "eth1", "eth2"].map(str::to_owned).to_vec())
    }

    fn addresses(wanted: &[&str], mode: &DhcpMode) -> Result<Vec<Ipv4Addr>, String> {
        let (all, names) = computer();
        let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
        let chosen = choose(&all, &names, &wanted, mode).map_err(|error| error.to_string())?;
        Ok(chosen.into_iter().map(|own| own.address).collect())
    }

    fn full(first: [u8; 4], last: [u8; 4]) -> DhcpMode {
        let pool =
            Pool::new(first.into(), last.into(), [255, 255, 255, 0].into(), None, vec![], Duration::from_secs(600));
        DhcpMode::Full(pool.unwrap())
    }

    #[test]
    fn without_names_every_usable_interface_is_served_once() {
        assert_eq!(addresses(&[], &DhcpMode::Proxy).unwrap(), [[10, 0, 0, 1], [10, 0, 2, 1]].map(Ipv4Addr::from));
    }

    #[test]
    fn an_interface_is_served_by_its_address_in_the_pools_network() {
        let mode = full([10, 0, 1, 100], [10, 0, 1, 200]);
        assert_eq!(addresses(&[], &mode).unwrap(), [Ipv4Addr::new(10, 0, 1, 1)]);
        assert_eq!(addresses(&["eth0"], &mode).unwrap(), [Ipv4Addr::new(10, 0, 1, 1)]);
        assert!(addresses(&["eth1"], &mode).unwrap_err().contains("network of the DHCP pool (10.0.1.100)"));
    }

    #[test]
    fn a_wanted_interface_that_cannot_be_served_is_an_error() {
        assert_eq!(addresses(&["lo"], &DhcpMode::Proxy).unwrap(), [Ipv4Addr::LOCALHOST], "asked for by name");
        assert_eq!(
            addresses(&["eth9"], &DhcpMode::Proxy).unwrap_err(),
            "there is no network interface `eth9`; there are lo, eth0, eth1, eth2"
        );
        assert!(addresses(&["eth2"], &DhcpMode::Proxy).unwrap_err().contains("`eth2` has no IPv4 address"));
        assert!(choose(&[], &[], &[], &DhcpMode::Proxy).is_err());
    }

    #[test]
    fn this_computer_has_a_loopback_interface() {
        let (interfaces, names) = list().unwrap();
        let loopback = interfaces.iter().find(|own| own.address.is_loopback()).unwrap();
        assert!(names.contains(&loopback.name));
        assert!(!loopback.usable);
    }
}
