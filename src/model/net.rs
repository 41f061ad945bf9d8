//! What the DHCP server is told to do.

use std::net::Ipv4Addr;
use std::time::Duration;

/// The most addresses a pool may have: one /16.
pub const MAX_POOL: u32 = 65536;

/// How DHCP is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DhcpMode {
    /// Not at all: another server gives the addresses and names the loader.
    Off,
    /// Boot information only, to machines that ask how to boot, beside the DHCP server of the network (PXE
    /// specification 2.1, section 2.2.3, "ProxyDHCP").
    Proxy,
    /// Addresses for everybody, and boot information for machines that ask how to boot.
    Full(Pool),
}

/// The addresses a full DHCP server gives out, and what it says about the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    first: Ipv4Addr,
    last: Ipv4Addr,
    netmask: Ipv4Addr,
    router: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    lease: Duration,
}

/// Why a pool does not hold together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The range is written backwards.
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
    /// The range crosses the border of the subnet.
    #[error("{address} is not in the subnet {network}/{netmask} of the pool's first address")]
    OtherSubnet {
        /// The address outside.
        address: Ipv4Addr,
        /// The subnet's first address.
        network: Ipv4Addr,
        /// Its netmask.
        netmask: Ipv4Addr,
    },
    /// The range holds the address of the subnet itself or its broadcast address, which no machine can use.
    #[error("{0} is the network or broadcast address of its subnet; leave it out of the pool")]
    Reserved(Ipv4Addr),
    /// More than [`MAX_POOL`] addresses.
    #[error("a pool of {0} addresses is too large; the most is {MAX_POOL}")]
    TooLarge(u32),
    /// No time at all, or more than option 51 can say.
    #[error("a lease of {} seconds cannot be given; use a minute to a year", .0.as_secs())]
    Lease(Duration),
    /// More name servers than a packet should carry.
    #[error("{0} name servers are too many; give at most 8")]
    TooManyServers(usize),
}

impl Pool {
    /// Checks that the parts fit together: a range within one subnet, without its network and broadcast address, of
    /// at most [`MAX_POOL`] addresses; a router in that subnet; at most 8 name servers; a lease of a minute to a
    /// year.
    ///
    /// # Errors
    /// The first part that does not fit.
    pub fn new(
        first: Ipv4Addr,
        last: Ipv4Addr,
        netmask: Ipv4Addr,
        router: Option<Ipv4Addr>,
        dns: Vec<Ipv4Addr>,
        lease: Duration,
    ) -> Result<Self, PoolError> {
        if first > last {
            return Err(PoolError::Backwards { first, last });
        }
        let mask = netmask.to_bits();
        let contiguous = mask.leading_ones() + mask.trailing_zeros() == 32;
        if !contiguous || mask == 0 || mask.leading_ones() > 30 {
            return Err(PoolError::Netmask(netmask));
        }
        let network = Ipv4Addr::from_bits(first.to_bits() & mask);
        let pool = Self { first, last, netmask, router, dns, lease };
        for address in [Some(last), router].into_iter().flatten() {
            if !pool.is_local(address) {
                return Err(PoolError::OtherSubnet { address, network, netmask });
            }
        }
        for reserved in [network, pool.broadcast()] {
            if pool.contains(reserved) {
                return Err(PoolError::Reserved(reserved));
            }
        }
        let size = last.to_bits() - first.to_bits();
        if size >= MAX_POOL {
            return Err(PoolError::TooLarge(size.saturating_add(1)));
        }
        if pool.dns.len() > 8 {
            return Err(PoolError::TooManyServers(pool.dns.len()));
        }
        if !(60..=366 * 86_400).contains(&lease.as_secs()) {
            return Err(PoolError::Lease(lease));
        }
        Ok(pool)
    }

    /// The lowest address given out.
    #[must_use]
    pub fn first(&self) -> Ipv4Addr {
        self.first
    }

    /// The highest address given out.
    #[must_use]
    pub fn last(&self) -> Ipv4Addr {
        self.last
    }

    /// The netmask of the subnet.
    #[must_use]
    pub fn netmask(&self) -> Ipv4Addr {
        self.netmask
    }

    /// The router machines are told, if there is one.
    #[must_use]
    pub fn router(&self) -> Option<Ipv4Addr> {
        self.router
    }

    /// The name servers machines are told.
    #[must_use]
    pub fn dns(&self) -> &[Ipv4Addr] {
        &self.dns
    }

    /// How long an address is given for.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// How many addresses there are; at least one.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.last.to_bits() - self.first.to_bits() + 1
    }

    /// The address at `index`, counted from the first and starting over after the last.
    #[must_use]
    pub fn nth(&self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits() + index % self.size())
    }

    /// Whether `address` is one of those given out.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// Whether `address` belongs to the pool's subnet.
    #[must_use]
    pub fn is_local(&self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.first.to_bits()) & self.netmask.to_bits() == 0
    }

    /// The subnet's broadcast address.
    #[must_use]
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits() | !self.netmask.to_bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn pool(first: &str, last: &str, netmask: &str, router: Option<&str>) -> Result<Pool, PoolError> {
        Pool::new(ip(first), ip(last), ip(netmask), router.map(ip), Vec::new(), Duration::from_secs(3600))
    }

    #[test]
    fn a_range_within_one_subnet_is_a_pool() {
        let pool = pool("10.0.0.100", "10.0.0.199", "255.255.255.0", Some("10.0.0.1")).unwrap();
        assert_eq!(pool.size(), 100);
        assert_eq!(pool.nth(0), ip("10.0.0.100"));
        assert_eq!(pool.nth(100), ip("10.0.0.100"));
        assert_eq!(pool.broadcast(), ip("10.0.0.255"));
        assert!(pool.is_local(ip("10.0.0.1")) && !pool.contains(ip("10.0.0.1")));
        assert!(!pool.is_local(ip("10.0.1.1")));
    }

    #[test]
    fn what_does_not_hold_together_is_refused_with_its_reason() {
        let mask = "255.255.255.0";
        let refused = |result: Result<Pool, PoolError>| result.unwrap_err().to_string();
        assert!(refused(pool("10.0.0.9", "10.0.0.1", mask, None)).contains("exchange them"));
        assert!(refused(pool("10.0.0.1", "10.0.1.9", mask, None)).contains("not in the subnet 10.0.0.0/255.255.255.0"));
        assert!(
            refused(pool("10.0.0.1", "10.0.0.9", mask, Some("10.9.0.1"))).contains("10.9.0.1 is not in the subnet")
        );
        assert!(refused(pool("10.0.0.0", "10.0.0.9", mask, None)).contains("10.0.0.0 is the network"));
        assert!(refused(pool("10.0.0.9", "10.0.0.255", mask, None)).contains("10.0.0.255 is the network"));
        assert!(refused(pool("10.0.0.1", "10.0.0.9", "255.0.255.0", None)).contains("not a netmask"));
        assert!(refused(pool("10.0.0.1", "10.0.0.1", "0.0.0.0", None)).contains("not a netmask"));
        assert!(refused(pool("10.0.0.1", "10.9.0.1", "255.0.0.0", None)).contains("too large"));
        let short = Pool::new(ip("10.0.0.1"), ip("10.0.0.9"), ip(mask), None, Vec::new(), Duration::from_secs(1));
        assert!(refused(short).contains("a minute to a year"));
        let many =
            Pool::new(ip("10.0.0.1"), ip("10.0.0.9"), ip(mask), None, vec![ip("10.0.0.1"); 9], Duration::from_secs(60));
        assert!(refused(many).contains("at most 8"));
    }

    #[test]
    fn the_largest_pool_is_a_whole_sixteen_less_its_two_reserved_addresses() {
        assert_eq!(pool("10.0.0.1", "10.0.255.254", "255.255.0.0", None).unwrap().size(), 65534);
        assert!(pool("10.0.0.1", "10.1.0.0", "255.0.0.0", None).is_ok());
        assert!(pool("10.0.0.1", "10.1.0.1", "255.0.0.0", None).is_err());
    }
}
