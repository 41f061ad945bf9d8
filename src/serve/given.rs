//! Sockets that a service manager opened before the server began (sd_listen_fds(3)): the server needs no right to take
//! their ports, and clients that come while it is restarted wait instead of being refused.
//!
//! Their names say what they are for: `http`, `https`, `tftp`, and, each bound to an interface, `dhcp` and `pxe`.

use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;

use sd_listen_fds::OwnedFd;
use socket2::{Domain, SockRef, Type};
use tracing::warn;

use super::dhcp::decide::Port;

/// Why sockets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// What the service manager says of them makes no sense.
    #[error("the environment does not say which sockets there are")]
    Environment(#[from] sd_listen_fds::Error),
    /// Nothing is served on one of that name.
    #[error("a socket is named `{0}`; set FileDescriptorName= of its unit to http, https, tftp, dhcp or pxe")]
    Name(String),
    /// Two of a kind.
    #[error("two sockets are named `{0}`; give one, such as ListenStream=80 for all addresses")]
    Twice(&'static str),
    /// Of another kind than its name says.
    #[error("the socket named `{name}` is not what it should be: {wanted}")]
    Kind {
        /// Its name.
        name: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// It cannot be asked what it is.
    #[error("the socket named `{name}` cannot be used")]
    Io {
        /// Its name.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// The sockets.
#[derive(Debug, Clone, Default)]
pub struct Given {
    pub(super) http: Option<Arc<TcpListener>>,
    pub(super) https: Option<Arc<TcpListener>>,
    pub(super) tftp: Option<Arc<UdpSocket>>,
    /// Those of DHCP, by port and interface.
    dhcp: Vec<(Port, String, Arc<UdpSocket>)>,
}

impl Given {
    /// Takes what there is, which is nothing without such a service manager. To be called once: the sockets are its own.
    ///
    /// # Errors
    /// When one of them cannot be what its name says.
    pub fn take() -> Result<Self, GivenError> {
        let mut given = Self::default();
        for (name, socket) in sd_listen_fds::get()? {
            given.add(name.as_deref().unwrap_or("unknown"), socket)?;
        }
        Ok(given)
    }

    /// A port for HTTP that the program opened itself, because it had to know it before anything else.
    #[must_use]
    pub fn http(listener: TcpListener) -> Self {
        Self { http: Some(Arc::new(listener)), ..Self::default() }
    }

    fn add(&mut self, name: &str, socket: OwnedFd) -> Result<(), GivenError> {
        let twice = |name, is_there: bool| if is_there { Err(GivenError::Twice(name)) } else { Ok(()) };
        match name {
            "http" => {
                twice("http", self.http.is_some())?;
                self.http = Some(Arc::new(stream("http", socket.into())?));
            }
            "https" => {
                twice("https", self.https.is_some())?;
                self.https = Some(Arc::new(stream("https", socket.into())?));
            }
            "tftp" => {
                twice("tftp", self.tftp.is_some())?;
                self.tftp = Some(Arc::new(datagrams("tftp", socket.into())?));
            }
            "dhcp" => self.dhcp.push(of_interface("dhcp", Port::Server, socket.into())?),
            "pxe" => self.dhcp.push(of_interface("pxe", Port::Boot, socket.into())?),
            other => return Err(GivenError::Name(other.to_owned())),
        }
        Ok(())
    }

    /// The socket of DHCP for a port of an interface.
    pub(super) fn dhcp(&self, port: Port, interface: &str) -> Option<&UdpSocket> {
        let found = self.dhcp.iter().find(|(own, device, _)| *own == port && device == interface);
        found.map(|(_, _, socket)| &**socket)
    }

    /// Says which of them nobody uses, because the site file does not want what they are for.
    pub(super) fn say_unused(&self, https: bool, tftp: bool) {
        if self.https.is_some() && !https {
            warn!("there is a socket for HTTPS and no `http.certificate` in the site file; nobody answers there");
        }
        if self.tftp.is_some() && !tftp {
            warn!("there is a socket for TFTP, which the site file switches off; nobody answers there");
        }
    }
}

fn stream(name: &'static str, socket: TcpListener) -> Result<TcpListener, GivenError> {
    let io = |source| GivenError::Io { name, source };
    let listens = {
        let own = SockRef::from(&socket);
        is_internet(&own).map_err(io)? && own.r#type().map_err(io)? == Type::STREAM && own.is_listener().map_err(io)?
    };
    if !listens {
        return Err(GivenError::Kind { name, wanted: "ListenStream= with a port, and Accept=no" });
    }
    Ok(socket)
}

fn datagrams(name: &'static str, socket: UdpSocket) -> Result<UdpSocket, GivenError> {
    let io = |source| GivenError::Io { name, source };
    let is_one = {
        let own = SockRef::from(&socket);
        is_internet(&own).map_err(io)? && own.r#type().map_err(io)? == Type::DGRAM
    };
    if !is_one {
        return Err(GivenError::Kind { name, wanted: "ListenDatagram= with a port" });
    }
    Ok(socket)
}

fn of_interface(
    name: &'static str,
    port: Port,
    socket: UdpSocket,
) -> Result<(Port, String, Arc<UdpSocket>), GivenError> {
    let socket = datagrams(name, socket)?;
    let device = SockRef::from(&socket).device().map_err(|source| GivenError::Io { name, source })?;
    let device = device.and_then(|device| String::from_utf8(device).ok());
    let is_v4 = socket.local_addr().is_ok_and(|address| address.is_ipv4());
    let Some(device) = device.filter(|_| is_v4) else {
        let wanted = "ListenDatagram=0.0.0.0:PORT, and BindToDevice= with its interface";
        return Err(GivenError::Kind { name, wanted });
    };
    Ok((port, device, Arc::new(socket)))
}

fn is_internet(socket: &SockRef<'_>) -> std::io::Result<bool> {
    Ok(matches!(socket.domain()?, Domain::IPV4 | Domain::IPV6))
}
