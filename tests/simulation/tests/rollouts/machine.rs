//! A machine of a simulated fleet, and what can become of it.

use bivouac_simulation::model::boot_guard::Attempts;
use bivouac_simulation::model::mac::Mac;
use bivouac_simulation::model::machine::MachineId;
use bivouac_simulation::model::manifest::BundleId;
use bivouac_simulation::model::rollout::{Boot, Health, Release, View};

use crate::chance::Chance;
use crate::{MINUTE, epoch, follows, labels, release};

/// What the new release does to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Fine,
    /// It comes up after the time limit.
    Slow,
    /// It checks in, and a required check is red.
    Red,
    /// Nothing is heard of it.
    Hangs,
}

/// What happens to a machine at some moment. The number is that of the boot in which it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happens {
    /// Somebody switches it on, or off and on again.
    PowerCycle,
    PowerOff,
    /// Its script was lost, and it asks again.
    AsksAgain(u32),
    CheckIn(u32),
}

pub struct Machine {
    pub id: MachineId,
    pub fate: Fate,
    pub boots: u32,
    pub attempts: Attempts,
    /// The last bundle it came up with.
    pub good: BundleId,
    /// What its last script names.
    pub given: BundleId,
    /// Whether the rollout has given it the new release.
    pub is_granted: bool,
    /// Whether it had the new release's script.
    pub had_new: bool,
}

impl Machine {
    /// A machine that has the old release, of a fleet of `size` of which `broken` of a hundred do not boot the new one.
    pub fn new(number: usize, size: usize, broken: u64, chance: &mut Chance) -> (Self, View) {
        let mut texts = vec![format!("room={}", number / 20), format!("site=s{}", number % 3)];
        if number.is_multiple_of((size / 5).max(1)) {
            texts.push("canary".to_owned());
        }
        let fate = match chance.percent(broken) {
            true => chance.one_of(&[Fate::Slow, Fate::Red, Fate::Hangs]),
            false => Fate::Fine,
        };
        let Release { bundle, .. } = release(1);
        let boot = Boot { bundle, at: epoch(), health: Health::Good, since: epoch(), instead: None };
        let view = View { labels: labels(&texts), follows: Some(follows()), is_on: true, boot: Some(boot) };
        let [.., high, low] = number.to_be_bytes();
        let id = Mac([2, 0, 0, 0, high, low]).into();
        let attempts = Attempts::default();
        let machine =
            Self { id, fate, boots: 0, attempts, good: bundle, given: bundle, is_granted: false, had_new: false };
        (machine, view)
    }

    /// The place of a machine in its fleet.
    pub fn number(id: &MachineId) -> usize {
        let Mac([.., high, low]) = id.mac().unwrap();
        usize::from(u16::from_be_bytes([high, low]))
    }

    /// How long after its script a machine checks in; nothing when it never does.
    pub fn comes_up_after(&self, chance: &mut Chance) -> Option<u64> {
        match (self.given == release(2).bundle, self.fate) {
            (true, Fate::Hangs) => None,
            (true, Fate::Slow) => Some(chance.between(16 * MINUTE, 40 * MINUTE)),
            _ => Some(chance.between(30, 5 * MINUTE)),
        }
    }
}
