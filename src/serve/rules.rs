//! What a running server takes from the site file, and may take anew: who boots what, and how it is answered. Ports,
//! folders and the database are [`Options`](super::Options), which hold until it ends.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use rustls::ServerConfig;
use tokio::sync::watch;

use super::http::Link;
use super::loaders::Loaders;
use crate::model::menu::{DiskRule, Menu};
use crate::model::net::{AddressPlan, Quirk};
use crate::model::plan::Assignments;

/// The rules of a site.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Who follows what.
    pub assignments: Assignments,
    /// After how many boots of one bundle that did not come up a machine boots its last good one.
    pub boot_attempts: u32,
    /// What machines offer whose policy is to ask.
    pub menu: Menu,
    /// How machines get to their local disk.
    pub disk_rules: Vec<DiskRule>,
    /// Base URL machines are told, when it is not the address they reach.
    pub advertise: Option<String>,
    /// iPXE binaries.
    pub loaders: Arc<Loaders>,
    /// The addresses DHCP gives out.
    pub plan: Arc<AddressPlan>,
    /// The clients DHCP answers in another way than most.
    pub quirks: Vec<Quirk>,
    /// What is spoken by HTTPS.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Rules {
    /// The base URL this client is told.
    pub(super) fn base<'a>(&'a self, link: &'a Link) -> &'a str {
        self.advertise.as_deref().unwrap_or(&link.base)
    }
}

/// The rules in force. Whoever answers takes them once for the whole answer, so that none is made by two.
#[derive(Debug, Clone, Default)]
pub struct InForce(Arc<Holding>);

#[derive(Debug, Default)]
struct Holding {
    rules: ArcSwap<Rules>,
    replaced: watch::Sender<()>,
}

impl InForce {
    /// These rules, until there are others.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(Holding { rules: ArcSwap::from_pointee(rules), replaced: watch::Sender::default() }))
    }

    /// The rules that hold now.
    #[must_use]
    pub fn now(&self) -> Guard<Arc<Rules>> {
        self.0.rules.load()
    }

    /// Lets other rules hold, from the next answer on.
    pub fn replace(&self, rules: Rules) {
        self.0.rules.store(Arc::new(rules));
        self.0.replaced.send_replace(());
    }

    /// Tells when there are other rules than now.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<()> {
        self.0.replaced.subscribe()
    }
}
