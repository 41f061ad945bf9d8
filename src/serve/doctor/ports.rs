//! The ports of the server: whether each can be had, or who has it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use super::base::Base;
use super::reach::{first_block, from_here};
use super::{AS_ROOT, Finding, Looker, Patient};
use crate::model::net::DhcpMode;
use crate::serve::bind::{BindError, Udp};
use crate::serve::dhcp::Listen;
use crate::serve::interfaces::Place;
use crate::serve::port_owner::{self, Protocol};
use crate::serve::rollouts::Chain;

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Http,
    Https,
    Tftp,
    Dhcp,
    BootServer,
}

/// A port that the server opens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Port {
    what: What,
    address: SocketAddr,
    /// The interface it is opened on, where it is not on all of them.
    device: Option<String>,
}

/// Whether the ports can be had, or who has them; true when a server of ours does.
pub(super) async fn ports(patient: &Patient) -> (Vec<Finding>, bool) {
    let places: Vec<Place> = patient.places().into_iter().filter(|place| place.mode != DhcpMode::Off).collect();
    let looker = Looker::now();
    let (mut findings, mut runs) = (Vec::new(), false);
    for port in wanted(patient, &places) {
        let (finding, is_served) = match port.open() {
            Ok(()) => (Finding::good("port", format!("{port} is free")), false),
            Err(error) => {
                let is_hidden = matches!(error, BindError::Permission { .. } | BindError::InUse { owner: None, .. });
                let answers = is_hidden && port.answers(patient).await;
                taken(&port, &error, answers, looker)
            }
        };
        findings.push(finding);
        runs |= is_served;
    }
    let gives = places.iter().any(|place| place.mode.gives_addresses());
    if let Some(owner) = port_owner::find(Protocol::Udp, patient.dhcp_port).filter(|owner| !owner.is_own())
        && !gives
        && !places.is_empty()
    {
        let said = format!("{owner} has port {} and gives the addresses; port 67 is only overheard", patient.dhcp_port);
        findings.push(Finding::good("port", said));
    }
    (findings, runs)
}

/// The ports of a server that answers DHCP in these places. A proxy opens none for DHCP.
fn wanted(patient: &Patient, places: &[Place]) -> Vec<Port> {
    let port = |what, address| Port { what, address, device: None };
    let mut wanted = vec![port(What::Http, patient.http)];
    wanted.extend(patient.https.as_ref().map(|https| port(What::Https, https.listen)));
    wanted.extend(patient.tftp.map(|address| port(What::Tftp, address)));
    if let Listen::Address(address, mode) = &patient.dhcp
        && *mode != DhcpMode::Off
    {
        let at = |number| SocketAddr::new(IpAddr::V4(*address), number);
        wanted.extend([port(What::Dhcp, at(patient.dhcp_port)), port(What::BootServer, at(patient.pxe_port))]);
    }
    for place in places {
        let on = |what, number| {
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), number);
            Port { what, address, device: Some(place.name.clone()) }
        };
        if place.mode.gives_addresses() {
            wanted.push(on(What::Dhcp, patient.dhcp_port));
        }
        wanted.push(on(What::BootServer, patient.pxe_port));
    }
    wanted
}

/// What it means that a port cannot be had; true when a server of ours has it. `answers` is whether it was asked and
/// answers as one does.
fn taken(port: &Port, error: &BindError, answers: bool, looker: Looker) -> (Finding, bool) {
    let about = "port";
    if answers {
        return (Finding::good(about, format!("{port} is served by bivouac, as another user")), true);
    }
    let finding = match error {
        BindError::InUse { owner: Some(owner), .. } if owner.is_own() => {
            return (Finding::good(about, format!("{port} is served by {owner}")), true);
        }
        BindError::InUse { owner: Some(owner), .. } if owner.is_manager() => {
            let said = format!("{port} is kept open by {owner}, for a service that does not run");
            Finding::doubtful(about, said, "`systemctl list-sockets` shows which; start it, or stop its socket")
        }
        BindError::InUse { owner: None, .. } if looker == Looker::Other => {
            Finding::doubtful(about, format!("{port} is in use by a process of another user"), AS_ROOT)
        }
        BindError::InUse { owner, .. } => {
            let by = owner.as_ref().map_or_else(|| "somebody".to_owned(), ToString::to_string);
            Finding::wrong(about, format!("{port} is in use by {by}"), "stop it, or choose another port or address")
        }
        BindError::Permission { .. } if looker == Looker::Other => {
            Finding::doubtful(about, format!("whether {port} can be had is not told to this user"), AS_ROOT)
        }
        BindError::Permission { .. } => {
            let fix = "give it CAP_NET_BIND_SERVICE and CAP_NET_RAW: containers are often without";
            Finding::wrong(about, format!("{port} is refused to root"), fix)
        }
        BindError::NotLocal(_) | BindError::Io { .. } => {
            Finding::wrong(about, Chain(error).to_string(), "correct the address in the site file")
        }
    };
    (finding, false)
}

impl Port {
    const fn protocol(&self) -> Protocol {
        match self.what {
            What::Http | What::Https => Protocol::Tcp,
            What::Tftp | What::Dhcp | What::BootServer => Protocol::Udp,
        }
    }

    /// Opens it as the server does, and closes it.
    fn open(&self) -> Result<(), BindError> {
        let Self { address, device, .. } = self;
        match self.protocol() {
            Protocol::Tcp => {
                TcpListener::bind(address).map(drop).map_err(|error| BindError::new(Protocol::Tcp, *address, error))
            }
            Protocol::Udp => Udp { address: *address, device: device.as_deref() }.bind().map(drop),
        }
    }

    /// Whether it answers as a server of ours does, where that can be asked.
    async fn answers(&self, patient: &Patient) -> bool {
        let to = from_here(self.address);
        match self.what {
            What::Http => Base::of(to, false).script().await.is_ok(),
            What::Https => Base::of(to, true).script().await.is_ok(),
            What::Tftp => match patient.loaders.iter().next() {
                Some(loader) => first_block(to, &loader.name).await.is_ok(),
                None => false,
            },
            What::Dhcp | What::BootServer => false,
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Http => "HTTP",
            What::Https => "HTTPS",
            What::Tftp => "TFTP",
            What::Dhcp => "DHCP",
            What::BootServer => "PXE boot server",
        };
        write!(f, "{what}, {} {}", self.protocol(), self.address)?;
        self.device.as_ref().map_or(Ok(()), |device| write!(f, " on {device}"))
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::super::{Https, Verdict, patient};
    use super::*;
    use crate::serve::interfaces::Address;
    use crate::serve::port_owner::Owner;

    fn shown(patient: &Patient, places: &[Place]) -> Vec<String> {
        wanted(patient, places).iter().map(ToString::to_string).collect()
    }

    fn http() -> Port {
        Port { what: What::Http, address: "0.0.0.0:80".parse().unwrap(), device: None }
    }

    fn in_use(owner: Option<(u32, &str)>) -> BindError {
        let owner = owner.map(|(pid, name)| Owner { pid, name: name.to_owned() });
        BindError::InUse { protocol: Protocol::Tcp, address: http().address, owner }
    }

    #[test]
    fn every_port_that_the_server_opens_is_looked_at() {
        let https = Https { listen: "0.0.0.0:443".parse().unwrap(), certificate: PathBuf::new(), key: PathBuf::new() };
        let all = Patient { https: Some(https), tftp: Some("0.0.0.0:69".parse().unwrap()), ..patient() };
        let first = ["HTTP, TCP 127.0.0.1:80", "HTTPS, TCP 0.0.0.0:443", "TFTP, UDP 0.0.0.0:69"];
        assert_eq!(shown(&all, &[]), first, "DHCP is off");
        let on_address = Patient { dhcp: Listen::Address([10, 0, 0, 1].into(), DhcpMode::Proxy), ..all };
        let here = ["DHCP, UDP 10.0.0.1:67", "PXE boot server, UDP 10.0.0.1:4011"];
        assert_eq!(shown(&on_address, &[]), [&first[..], &here].concat());
        let place = |mode| {
            let address = Address { address: [10, 0, 0, 1].into(), netmask: [255, 255, 255, 0].into() };
            Place { name: "eth0".to_owned(), index: 1, addresses: vec![address], mode }
        };
        let boot = "PXE boot server, UDP 0.0.0.0:4011 on eth0";
        assert_eq!(shown(&patient(), &[place(DhcpMode::Proxy)])[1..], [boot]);
        assert_eq!(shown(&patient(), &[place(DhcpMode::Full)])[1..], ["DHCP, UDP 0.0.0.0:67 on eth0", boot]);
    }

    #[test]
    fn who_has_a_port_decides_whether_that_is_wrong() {
        let refused = || BindError::new(Protocol::Tcp, http().address, io::ErrorKind::PermissionDenied.into());
        use Looker::{Other, Root};
        for (error, answers, looker, verdict, said, is_served) in [
            (in_use(Some((7, "bivouac"))), false, Root, Verdict::Good, "is served by bivouac (process 7)", true),
            (in_use(Some((7, "nginx"))), false, Root, Verdict::Wrong, "is in use by nginx (process 7)", false),
            (in_use(Some((1, "systemd"))), false, Root, Verdict::Doubtful, "is kept open by systemd", false),
            (in_use(None), false, Root, Verdict::Wrong, "is in use by somebody", false),
            (in_use(None), false, Other, Verdict::Doubtful, "is in use by a process of another user", false),
            (in_use(None), true, Other, Verdict::Good, "is served by bivouac, as another user", true),
            (refused(), true, Other, Verdict::Good, "is served by bivouac, as another user", true),
            (refused(), false, Other, Verdict::Doubtful, "can be had is not told to this user", false),
            (refused(), false, Root, Verdict::Wrong, "is refused to root", false),
        ] {
            let (found, served) = taken(&http(), &error, answers, looker);
            assert_eq!((found.verdict, served), (verdict, is_served), "{found:?}");
            assert!(found.text.contains("HTTP, TCP 0.0.0.0:80") && found.text.contains(said), "{found:?}");
            assert_eq!(found.fix.as_deref() == Some(AS_ROOT), looker == Other && !answers, "{found:?}");
        }
    }
}
