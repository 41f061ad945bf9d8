//! What machines are asked to do by people: kept in memory until they have done it. Pure: the time is an argument.

use std::collections::HashMap;
use std::time::SystemTime;

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
    reboot: Option<(Reboot, SystemTime)>,
    message: Option<String>,
}

impl Standing {
    /// Whether there is room for one more machine, and it was taken in.
    pub(super) fn give(&mut self, mac: Mac, order: Order, now: SystemTime) -> bool {
        if self.machines.len() >= MAX_MACHINES && !self.machines.contains_key(&mac) {
            return false;
        }
        let stands = self.machines.entry(mac).or_default();
        match order {
            Order::Reboot(reboot) => stands.reboot = Some((reboot, now)),
            Order::Message(text) => stands.message = Some(text),
        }
        true
    }

    /// A machine checked in from a boot that began at `started`: what it has done stands no longer.
    pub(super) fn done(&mut self, mac: &Mac, started: SystemTime, shown: Option<&Digest>) {
        let Some(stands) = self.machines.get_mut(mac) else { return };
        stands.reboot.take_if(|(_, given)| started > *given);
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
    use std::time::Duration;

    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn a_reboot_stands_until_the_machine_comes_up_from_a_later_boot() {
        let mut standing = Standing::default();
        assert!(standing.give(MAC, Order::Reboot(Reboot::Now), at(10)));
        standing.done(&MAC, at(5), None);
        assert_eq!(standing.of(&MAC).0, Some(Reboot::Now), "it has not rebooted yet");
        standing.give(MAC, Order::Reboot(Reboot::TakenBack), at(11));
        assert_eq!(standing.of(&MAC).0, Some(Reboot::TakenBack));
        standing.done(&MAC, at(12), None);
        assert_eq!(standing.of(&MAC), (None, None));
        assert!(standing.machines.is_empty());
    }

    #[test]
    fn a_message_stands_until_the_machine_says_that_it_was_shown() {
        let mut standing = Standing::default();
        standing.give(MAC, Order::Message("save\nyour work".to_owned()), at(10));
        standing.done(&MAC, at(20), Some(&heard("something else")));
        assert_eq!(standing.of(&MAC).1.as_deref(), Some("save\nyour work"), "also over a boot");
        standing.done(&MAC, at(20), Some(&heard("save your work")));
        assert_eq!(standing.of(&MAC), (None, None));
    }
}
