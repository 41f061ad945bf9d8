//! What machines are asked to do by people: kept in memory until they have done it.

use std::collections::HashMap;

use super::roster::MAX_MACHINES;
use crate::model::checkin::orders::{Reboot, heard};
use crate::model::digest::Digest;
use crate::model::mac::Mac;

/// Something a person asks of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// To reboot; takes the place of what was asked before.
    Reboot(Reboot),
    /// To show its users a text, once.
    Message(String),
}

/// The orders that stand.
#[derive(Debug, Default)]
pub(super) struct Standing {
    machines: HashMap<Mac, Stands>,
}

/// What one machine is asked to do.
#[derive(Debug, Default)]
struct Stands {
    /// With the number of the machine's last boot at that time.
    reboot: Option<(Reboot, u64)>,
    message: Option<String>,
}

impl Standing {
    /// Takes in an order to a machine whose last boot had the number `turn`; false when there is no room for it.
    pub(super) fn give(&mut self, mac: Mac, order: Order, turn: u64) -> bool {
        if self.machines.len() >= MAX_MACHINES && !self.machines.contains_key(&mac) {
            return false;
        }
        let stands = self.machines.entry(mac).or_default();
        match order {
            Order::Reboot(reboot) => stands.reboot = Some((reboot, turn)),
            Order::Message(text) => stands.message = Some(text),
        }
        true
    }

    /// A machine checked in from the boot with the number `turn`: what it has done stands no longer.
    pub(super) fn done(&mut self, mac: &Mac, turn: u64, shown: Option<&Digest>) {
        let Some(stands) = self.machines.get_mut(mac) else { return };
        stands.reboot.take_if(|(_, given)| turn > *given);
        stands.message.take_if(|text| shown == Some(&heard(text)));
        if stands.reboot.is_none() && stands.message.is_none() {
            self.machines.remove(mac);
        }
    }

    /// What a machine is asked to do now.
    pub(super) fn of(&self, mac: &Mac) -> (Option<Reboot>, Option<String>) {
        let stands = self.machines.get(mac);
        let reboot = stands.and_then(|stands| stands.reboot.map(|(reboot, _)| reboot));
        (reboot, stands.and_then(|stands| stands.message.clone()))
    }

    pub(super) fn forget(&mut self, mac: &Mac) {
        self.machines.remove(mac);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn a_reboot_stands_until_the_machine_comes_up_from_a_later_boot() {
        let mut standing = Standing::default();
        assert!(standing.give(MAC, Order::Reboot(Reboot::Now), 10));
        standing.done(&MAC, 10, None);
        assert_eq!(standing.of(&MAC).0, Some(Reboot::Now), "it has not rebooted yet");
        standing.give(MAC, Order::Reboot(Reboot::TakenBack), 10);
        assert_eq!(standing.of(&MAC).0, Some(Reboot::TakenBack));
        standing.done(&MAC, 11, None);
        assert_eq!(standing.of(&MAC), (None, None));
        assert!(standing.machines.is_empty());
    }

    #[test]
    fn a_message_stands_until_the_machine_says_that_it_was_shown() {
        let mut standing = Standing::default();
        standing.give(MAC, Order::Message("save\nyour work".to_owned()), 10);
        standing.done(&MAC, 11, Some(&heard("something else")));
        assert_eq!(standing.of(&MAC).1.as_deref(), Some("save\nyour work"), "also over a boot");
        standing.done(&MAC, 11, Some(&heard("save your work")));
        assert_eq!(standing.of(&MAC), (None, None));
    }
}
