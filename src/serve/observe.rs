//! What the servers tell the rest of the program about machines, and what DHCP asks it about them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub use crate::model::boot::Sent;
use crate::model::boot::Step;
use crate::model::identity::Hardware;
use crate::model::mac::Mac;

/// One thing a machine did, as seen on the network.
///
/// Anybody can send packets with any address in them: an observer bounds what it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The machine, where the protocol says it. TFTP does not, unless the name of a file does.
    pub mac: Option<Mac>,
    /// Its address, or the one it was offered, where there is one.
    pub peer: Option<IpAddr>,
    /// How far the boot is.
    pub step: Step,
    /// What happened, for people: the firmware, the loader, or why nothing was offered.
    pub detail: Arc<str>,
    /// What went over the wire for it, when that has ended; nothing for a packet, and for a transfer that only begins.
    pub sent: Option<Sent>,
}

/// Takes what the servers see, and says what is known.
pub trait Observer: Send + Sync {
    /// Called from the servers' tasks: must return at once and never block.
    fn observe(&self, seen: Observed);

    /// A machine has an address that another server gave it. As [`Observer::observe`], from a server's task.
    fn learned(&self, mac: Mac, address: Ipv4Addr) {
        let _ = (mac, address);
    }

    /// The same, of several things that happened at once, in their order.
    fn observe_all(&self, seen: Vec<Observed>) {
        seen.into_iter().for_each(|seen| self.observe(seen));
    }

    /// What a machine said of its hardware when it last booted; nothing when it never did. As [`Observer::observe`].
    fn hardware(&self, mac: &Mac) -> Option<Hardware> {
        let _ = mac;
        None
    }

    /// Whether a machine is to be left alone, because nobody knows it. As [`Observer::observe`].
    fn is_ignored(&self, mac: &Mac) -> bool {
        let _ = mac;
        false
    }
}
