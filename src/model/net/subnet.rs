//! One IPv4 network in which addresses are given out.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The most addresses that the ranges of a network may hold together: one /16.
pub const MAX_ADDRESSES: u32 = 65536;

/// The most name servers a machine is told.
const MAX_SERVERS: usize = 8;

/// A network, the addresses given out in it, and what its machines are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    parts: Parts,
    size: u32,
}

/// What a [`Subnet`] is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Any address of the network; [`Subnet`] keeps its first.
    pub network: Ipv4Addr,
    /// Its netmask.
    pub netmask: Ipv4Addr,
    /// The ranges of addresses that are given out; none when only reservations are.
    pub ranges: Vec<RangeInclusive<Ipv4Addr>>,
    /// The router machines are told, if there is one.
    pub router: Option<Ipv4Addr>,
    /// The name servers machines are told.
    pub dns: Vec<Ipv4Addr>,
    /// The domain machines are told.
    pub domain: Option<String>,
    /// How long an address is given for.
    pub lease: Duration,
}

/// Why the parts of a network do not hold together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// A range is written backwards.
    #[error("the first address {first} is above the last {last}; exchange them")]
    Backwards {
        /// The first address as given.
        first: Ipv4Addr,
        /// The last address as given.
        last: Ipv4Addr,
    },
    /// Ones after zeros, or no room for two hosts.
    #[error("{0} is not a netmask of a network with hosts; write one such as 255.255.255.0")]
    Netmask(Ipv4Addr),
    /// A range crosses the border of the network, or the router is elsewhere.
    #[error("{address} is not in the network {network}/{netmask}")]
    Elsewhere {
        /// The address outside.
        address: Ipv4Addr,
        /// The network's first address.
        network: Ipv4Addr,
        /// Its netmask.
        netmask: Ipv4Addr,
    },
    /// A range holds the address of the network itself or its broadcast address, which no machine can use.
    #[error("{0} is the network or broadcast address of its network; leave it out of the pool")]
    Reserved(Ipv4Addr),
    /// Two ranges have an address in common.
    #[error("{0} is in two ranges; let them end before each other")]
    Twice(Ipv4Addr),
    /// More than [`MAX_ADDRESSES`].
    #[error("a pool of {0} addresses is too large; the most is {MAX_ADDRESSES}")]
    TooLarge(u64),
    /// No time at all, or more than option 51 can say.
    #[error("a lease of {} seconds cannot be given; use a minute to a year", .0.as_secs())]
    Lease(Duration),
    /// More name servers than a packet should carry.
    #[error("{0} name servers are too many; give at most {MAX_SERVERS}")]
    TooManyServers(usize),
}

impl Subnet {
    /// Checks that the parts fit together: a netmask of a network with at least two hosts; ranges within the network,
    /// without its own and its broadcast address, apart from each other, of at most [`MAX_ADDRESSES`]; a router in the
    /// network; at most 8 name servers; a lease of a minute to a year.
    ///
    /// # Errors
    /// The first part that does not fit.
    pub fn new(mut parts: Parts) -> Result<Self, SubnetError> {
        let mask = parts.netmask.to_bits();
        let contiguous = mask.leading_ones() + mask.trailing_zeros() == 32;
        if !contiguous || mask == 0 || mask.leading_ones() > 30 {
            return Err(SubnetError::Netmask(parts.netmask));
        }
        parts.network = Ipv4Addr::from_bits(parts.network.to_bits() & mask);
        parts.ranges.sort_by_key(|range| *range.start());
        if parts.dns.len() > MAX_SERVERS {
            return Err(SubnetError::TooManyServers(parts.dns.len()));
        }
        if !(60..=366 * 86_400).contains(&parts.lease.as_secs()) {
            return Err(SubnetError::Lease(parts.lease));
        }
        let mut subnet = Self { parts, size: 0 };
        subnet.size = subnet.check()?;
        Ok(subnet)
    }

    /// How many addresses there are, when all is well with them.
    fn check(&self) -> Result<u32, SubnetError> {
        let Parts { network, netmask, ranges, router, .. } = &self.parts;
        let mut size = 0;
        let mut before: Option<Ipv4Addr> = None;
        for range in ranges {
            let (first, last) = (*range.start(), *range.end());
            if first > last {
                return Err(SubnetError::Backwards { first, last });
            }
            if let Some(address) = [first, last].into_iter().find(|address| !self.is_local(*address)) {
                return Err(SubnetError::Elsewhere { address, network: *network, netmask: *netmask });
            }
            if let Some(address) = [*network, self.broadcast()].into_iter().find(|own| range.contains(own)) {
                return Err(SubnetError::Reserved(address));
            }
            if before.is_some_and(|last| last >= first) {
                return Err(SubnetError::Twice(first));
            }
            before = Some(last);
            size += u64::from(length(range));
        }
        if let Some(address) = router.filter(|address| !self.is_local(*address)) {
            return Err(SubnetError::Elsewhere { address, network: *network, netmask: *netmask });
        }
        u32::try_from(size).ok().filter(|size| *size <= MAX_ADDRESSES).ok_or(SubnetError::TooLarge(size))
    }

    /// The network's first address, which names it.
    #[must_use]
    pub fn network(&self) -> Ipv4Addr {
        self.parts.network
    }

    /// The netmask of the network.
    #[must_use]
    pub fn netmask(&self) -> Ipv4Addr {
        self.parts.netmask
    }

    /// The ranges that are given out, lowest first.
    #[must_use]
    pub fn ranges(&self) -> &[RangeInclusive<Ipv4Addr>] {
        &self.parts.ranges
    }

    /// The router machines are told, if there is one.
    #[must_use]
    pub fn router(&self) -> Option<Ipv4Addr> {
        self.parts.router
    }

    /// The name servers machines are told.
    #[must_use]
    pub fn dns(&self) -> &[Ipv4Addr] {
        &self.parts.dns
    }

    /// The domain machines are told.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.parts.domain.as_deref()
    }

    /// How long an address is given for.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.parts.lease
    }

    /// How many addresses are given out.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The address at `index`, counted through all ranges from the first, and starting over after the last; nothing
    /// when none is given out.
    #[must_use]
    pub fn nth(&self, index: u32) -> Option<Ipv4Addr> {
        let mut rest = index.checked_rem(self.size)?;
        for range in self.ranges() {
            if rest < length(range) {
                return Some(Ipv4Addr::from_bits(range.start().to_bits() + rest));
            }
            rest -= length(range);
        }
        None
    }

    /// What [`Self::nth`] finds an address by; nothing when it is not given out.
    #[must_use]
    pub fn index_of(&self, address: Ipv4Addr) -> Option<u32> {
        let mut before = 0;
        for range in self.ranges() {
            if range.contains(&address) {
                return Some(before + (address.to_bits() - range.start().to_bits()));
            }
            before += length(range);
        }
        None
    }

    /// Whether `address` belongs to the network.
    #[must_use]
    pub fn is_local(&self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.parts.network.to_bits()) & self.parts.netmask.to_bits() == 0
    }

    /// Whether a machine can have `address`: it is of the network, and neither its own nor its broadcast address.
    #[must_use]
    pub fn is_host(&self, address: Ipv4Addr) -> bool {
        self.is_local(address) && address != self.parts.network && address != self.broadcast()
    }

    /// The network's broadcast address.
    #[must_use]
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.parts.network.to_bits() | !self.parts.netmask.to_bits())
    }
}

/// How many addresses a range holds that is not backwards; the whole of IPv4 is one less.
fn length(range: &RangeInclusive<Ipv4Addr>) -> u32 {
    (range.end().to_bits() - range.start().to_bits()).saturating_add(1)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::model::net) fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    pub(in crate::model::net) fn parts(ranges: &[(&str, &str)]) -> Parts {
        Parts {
            network: ip(ranges.first().map_or("10.0.0.0", |range| range.0)),
            netmask: ip("255.255.255.0"),
            ranges: ranges.iter().map(|(first, last)| ip(first)..=ip(last)).collect(),
            router: None,
            dns: vec![],
            domain: None,
            lease: Duration::from_secs(3600),
        }
    }

    #[test]
    fn addresses_are_counted_through_all_ranges() {
        let ranges = [("10.0.0.200", "10.0.0.201"), ("10.0.0.100", "10.0.0.199")];
        let subnet = Subnet::new(Parts { router: Some(ip("10.0.0.1")), ..parts(&ranges) }).unwrap();
        assert_eq!(subnet.size(), 102);
        assert_eq!(subnet.network(), ip("10.0.0.0"));
        for (index, address) in [(0, "10.0.0.100"), (99, "10.0.0.199"), (100, "10.0.0.200"), (102, "10.0.0.100")] {
            assert_eq!(subnet.nth(index), Some(ip(address)));
            assert_eq!(subnet.index_of(ip(address)), Some(index % 102));
        }
        assert_eq!(subnet.broadcast(), ip("10.0.0.255"));
        assert!(subnet.is_local(ip("10.0.0.1")) && subnet.index_of(ip("10.0.0.1")).is_none());
        assert!(!subnet.is_local(ip("10.0.1.1")));
        assert!(subnet.is_host(ip("10.0.0.1")) && !subnet.is_host(ip("10.0.0.0")) && !subnet.is_host(ip("10.0.0.255")));
        assert_eq!(Subnet::new(parts(&[])).unwrap().nth(0), None);
    }

    #[test]
    fn what_does_not_hold_together_is_refused_with_its_reason() {
        let one = || parts(&[("10.0.0.1", "10.0.0.9")]);
        for (parts, said) in [
            (parts(&[("10.0.0.9", "10.0.0.1")]), "exchange them"),
            (parts(&[("10.0.0.1", "10.0.1.9")]), "10.0.1.9 is not in the network 10.0.0.0/255.255.255.0"),
            (Parts { router: Some(ip("10.9.0.1")), ..one() }, "10.9.0.1 is not in the network"),
            (parts(&[("10.0.0.0", "10.0.0.9")]), "10.0.0.0 is the network"),
            (parts(&[("10.0.0.9", "10.0.0.255")]), "10.0.0.255 is the network"),
            (parts(&[("10.0.0.9", "10.0.0.20"), ("10.0.0.20", "10.0.0.30")]), "10.0.0.20 is in two ranges"),
            (Parts { netmask: ip("255.0.255.0"), ..one() }, "not a netmask"),
            (Parts { netmask: ip("0.0.0.0"), ..one() }, "not a netmask"),
            (Parts { netmask: ip("255.255.255.254"), ..one() }, "not a netmask"),
            (Parts { netmask: ip("255.0.0.0"), ..parts(&[("10.0.0.1", "10.9.0.1")]) }, "too large"),
            (Parts { lease: Duration::from_secs(1), ..one() }, "a minute to a year"),
            (Parts { dns: vec![ip("10.0.0.1"); 9], ..one() }, "at most 8"),
        ] {
            let error = Subnet::new(parts).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn the_largest_pool_is_a_whole_sixteen() {
        let size = |last: &str| {
            let parts = Parts { netmask: ip("255.0.0.0"), ..parts(&[("10.0.0.1", last)]) };
            Subnet::new(parts).map(|subnet| subnet.size())
        };
        assert_eq!(size("10.1.0.0"), Ok(65536));
        assert_eq!(size("10.1.0.1"), Err(SubnetError::TooLarge(65537)));
    }
}
