//! Why machines do not boot: looks at this computer, at the network, and at the server from outside.
//!
//! Each check gives findings, and each finding that is not good says what to do. [`replay`] answers the packets of a
//! capture instead.

mod computer;
mod frames;
mod network;
mod reach;
pub mod replay;
mod state;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use nix::unistd::geteuid;
use serde::Serialize;

use super::dhcp::Listen;
use super::interfaces;
use super::loaders::Loaders;

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
    /// Where TFTP listens, if it does.
    pub tftp: Option<SocketAddr>,
    /// Where DHCP is answered, and how.
    pub dhcp: Listen,
    /// DHCP's server port.
    pub dhcp_port: u16,
    /// DHCP's boot server port.
    pub pxe_port: u16,
    /// Base URL machines are told, when it is not the address they reach.
    pub advertise: Option<String>,
    /// iPXE binaries.
    pub loaders: Arc<Loaders>,
    /// The folder of everything that is written.
    pub state: PathBuf,
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
    /// The interfaces DHCP is answered on; nothing when it is answered on an address, or they cannot be used.
    fn places(&self) -> Vec<interfaces::Place> {
        match &self.dhcp {
            Listen::Interfaces(wanted) => interfaces::list().map(|all| wanted.served(&all)).unwrap_or_default(),
            Listen::Address(..) | Listen::Cable(_) => Vec::new(),
        }
    }
}
