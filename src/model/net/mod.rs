//! What the DHCP server is told to do: how it answers, which addresses it gives out, and which clients want something
//! else than the others; and from which ports TFTP sends.

mod plan;
mod quirk;
mod subnet;

pub use plan::{AddressPlan, PlanError};
pub use quirk::{Behaviour, Quirk, Shape, behaviour};
pub use subnet::{MAX_ADDRESSES, Parts, Subnet, SubnetError};

/// From which port the files of TFTP come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TransferPorts {
    /// Each from a port of its own, as RFC 1350, section 4, has it.
    #[default]
    Own,
    /// All from the port that requests go to: for a container or another network behind address translation, which lets
    /// answers through from no other.
    Single,
}

/// How DHCP is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DhcpMode {
    /// Not at all: another server gives the addresses and names the loader.
    Off,
    /// Boot information only, to machines that ask how to boot, beside the DHCP server of the network (PXE
    /// specification 2.1, section 2.2.3, "ProxyDHCP").
    Proxy,
    /// Addresses for everybody, and boot information for machines that ask how to boot.
    Full,
    /// The same, for machines whose address the site file says, and for nobody else.
    Reservations,
}

impl DhcpMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Proxy, Self::Full, Self::Reservations, Self::Off];

    /// Its word in the site file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Proxy => "proxy",
            Self::Full => "full",
            Self::Reservations => "reservations",
        }
    }

    /// The mode with this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.word() == word)
    }

    /// Whether machines get their address from here.
    #[must_use]
    pub const fn gives_addresses(self) -> bool {
        matches!(self, Self::Full | Self::Reservations)
    }
}
