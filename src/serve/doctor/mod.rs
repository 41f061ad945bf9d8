//! Why machines do not boot: looks at this computer, at the network, and at the server from outside.
//!
//! Each check gives findings, and each finding that is not good says what to do. [`replay`] answers the packets of a
//! capture instead.

mod base;
mod boot_server;
mod computer;
mod frames;
mod network;
mod ports;
mod reach;
pub mod replay;
mod state;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use nix::unistd::geteuid;
use serde::Serialize;

use super::dhcp::Listen;
use super::interfaces::{self, Interface, Place};
use super::loaders::Loaders;
use crate::model::net::DhcpMode;

pub use self::computer::computer;
pub use self::network::network;
pub use self::reach::reach;
pub use self::state::{assigned, state};

/// What to do where something is only told to root.
const AS_ROOT: &str = "ask as root: `sudo bivouac doctor`";

/// What was found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// What it is about, in a word or two.
    pub about: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What was seen.
    pub text: String,
    /// What to do, where something is to be done.
    pub fix: Option<String>,
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it shall be.
    Good,
    /// It may be meant.
    Doubtful,
    /// Machines do not boot like this.
    Wrong,
}

impl Verdict {
    /// The word for it in a list.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Doubtful => "note",
            Self::Wrong => "WRONG",
        }
    }
}

impl Finding {
    fn good(about: &'static str, text: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Good, text: text.into(), fix: None }
    }

    fn doubtful(about: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Doubtful, text: text.into(), fix: Some(fix.into()) }
    }

    fn wrong(about: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Wrong, text: text.into(), fix: Some(fix.into()) }
    }
}

/// What the server is, or would be, told to do.
#[derive(Debug)]
pub struct Patient {
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// HTTPS, if it is served.
    pub https: Option<Https>,
    /// Where TFTP listens, if it does.
    pub tftp: Option<SocketAddr>,
    /// Where DHCP is answered, and how.
    pub dhcp: Listen,
    /// DHCP's server port.
    pub dhcp_port: u16,
    /// DHCP's boot server port.
    pub pxe_port: u16,
    /// Whether machines that nobody knows are not answered, of which the doctor is one.
    pub is_ignoring_unknown: bool,
    /// Base URL machines are told, when it is not the address they reach.
    pub advertise: Option<String>,
    /// iPXE binaries.
    pub loaders: Arc<Loaders>,
    /// The folder of everything that is written.
    pub state: PathBuf,
}

/// How HTTPS is served.
#[derive(Debug)]
pub struct Https {
    /// Where it listens.
    pub listen: SocketAddr,
    /// PEM file with the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looker {
    /// May have every port and read every file, and is told who has a port.
    Root,
    /// May not, which says nothing of the server.
    Other,
}

impl Looker {
    fn now() -> Self {
        if geteuid().is_root() { Self::Root } else { Self::Other }
    }

    /// What it means that the system refuses something: to root, that the server is refused as well.
    fn refused(self, about: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
        match self {
            Self::Root => Finding::wrong(about, text, fix),
            Self::Other => Finding::doubtful(about, text, AS_ROOT),
        }
    }
}

impl Patient {
    /// The interfaces machines are on: those DHCP is answered on, or, where it is off, those on which another server has
    /// to. None when it is answered on an address, or they cannot be used.
    fn places(&self) -> Vec<Place> {
        let all = || interfaces::list().unwrap_or_default();
        match &self.dhcp {
            Listen::Interfaces(wanted) if wanted.is_off() => {
                let names: Vec<&String> = wanted.names.iter().chain(wanted.modes.keys()).collect();
                unserved(all(), &names)
            }
            Listen::Interfaces(wanted) => wanted.served(&all()),
            Listen::Address(_, DhcpMode::Off) => unserved(all(), &[]),
            Listen::Address(..) | Listen::Cable(_) => Vec::new(),
        }
    }

    /// Our addresses that machines may reach.
    fn addresses(&self) -> Vec<Ipv4Addr> {
        let places = match &self.dhcp {
            Listen::Address(address, mode) if *mode != DhcpMode::Off && !address.is_unspecified() => {
                return vec![*address];
            }
            Listen::Address(..) => unserved(interfaces::list().unwrap_or_default(), &[]),
            Listen::Interfaces(_) | Listen::Cable(_) => self.places(),
        };
        places.iter().flat_map(|place| &place.addresses).map(|own| own.address).collect()
    }
}

/// The interfaces of these names, or, without names, every usable one, where DHCP is off.
fn unserved(all: Vec<Interface>, names: &[&String]) -> Vec<Place> {
    let is_wanted = |own: &Interface| if names.is_empty() { own.usable } else { names.contains(&&own.name) };
    let there = all.into_iter().filter(|own| !own.addresses.is_empty() && is_wanted(own));
    there
        .map(|Interface { name, index, addresses, .. }| Place { name, index, addresses, mode: DhcpMode::Off })
        .collect()
}

/// A patient that has a loader for UEFI on x86_64, is reached on the loopback only and answers no DHCP.
#[cfg(test)]
fn patient() -> Patient {
    use crate::model::firmware::Firmware;
    use crate::serve::loaders::Loader;
    let loader = Loader::new("ipxe.efi", Firmware::EfiX64, PathBuf::new(), bytes::Bytes::new());
    Patient {
        http: (Ipv4Addr::LOCALHOST, 80).into(),
        https: None,
        tftp: None,
        dhcp: Listen::Address(Ipv4Addr::LOCALHOST, DhcpMode::Off),
        dhcp_port: 67,
        pxe_port: 4011,
        is_ignoring_unknown: false,
        advertise: None,
        loaders: Arc::new(Loaders::of(vec![loader])),
        state: PathBuf::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::interfaces::Address;

    #[test]
    fn where_dhcp_is_off_machines_are_on_the_named_or_on_every_usable_interface() {
        let interface = |name: &str, usable| {
            let addresses = vec![Address { address: [10, 0, 0, 1].into(), netmask: [255, 255, 255, 0].into() }];
            Interface { name: name.to_owned(), index: 1, addresses, usable }
        };
        let all = || vec![interface("lo", false), interface("eth0", true), interface("eth1", true)];
        let names = |names: &[&String]| unserved(all(), names).into_iter().map(|it| it.name).collect::<Vec<_>>();
        assert_eq!(names(&[]), ["eth0", "eth1"]);
        assert_eq!(names(&[&"lo".to_owned()]), ["lo"]);
        assert!(unserved(all(), &[]).iter().all(|place| place.mode == DhcpMode::Off));
    }
}
