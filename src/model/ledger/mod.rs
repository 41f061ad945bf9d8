//! The ledger: every command and decision about the fleet, in order, with who and why.
//!
//! It is only ever added to. A [`Ledger`] is what its entries made of it, one after the other, and nothing else changes
//! it: whoever reads the same entries has the same ledger, and whoever wants to add one says which was the last he
//! knew, so that two who decide at once cannot both be right.

mod command;
mod fact;
mod reboots;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

pub use command::Refusal;
pub use fact::{Entry, Fact, Request, Target, TargetRef};
pub use reboots::{Due, MOST_REBOOTS};

use crate::model::label::Labels;
use crate::model::machine::MachineId;
use crate::model::name::{ChannelName, ProfileName};
use crate::model::rollout::{Release, Rollout, RolloutNumber};
use crate::model::virtual_machine::VirtualMachine;

/// What people said of a machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// Its labels.
    pub labels: Labels,
    /// Whether somebody said that it may boot, though nobody knew it.
    pub approved: bool,
    /// What it boots, instead of what the site file says.
    pub assigned: Option<Target>,
    /// What it boots the next time, and only then.
    pub once: Option<Target>,
    /// Its own values for templates, as they were written, over those of the site file.
    pub vars: BTreeMap<String, String>,
    /// The virtual machine it is …
    pub vm: Option<VirtualMachine>,
    /// … and since when it is that one.
    pub vm_since: Option<SystemTime>,
    /// The last rollout for which the server had that one rebooted, and each time it did.
    pub rebooted: Option<(RolloutNumber, Vec<SystemTime>)>,
}

/// What the entries of a ledger came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    /// The number of the last entry; zero when there is none.
    last: u64,
    records: BTreeMap<MachineId, Record>,
    rollouts: BTreeMap<RolloutNumber, Rollout>,
    /// Machines between which nothing is in doubt, the smaller id first; twice the same for a shared card.
    settled: BTreeSet<(MachineId, MachineId)>,
    /// Releases that no machine may jump over.
    floors: BTreeMap<ProfileName, BTreeSet<u64>>,
}

impl Ledger {
    /// The number of the last entry it knows.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// What people said of a machine.
    #[must_use]
    pub fn record(&self, machine: &MachineId) -> Option<&Record> {
        self.records.get(machine)
    }

    /// Every machine something was said of.
    pub fn records(&self) -> impl Iterator<Item = (&MachineId, &Record)> {
        self.records.iter()
    }

    /// Whether somebody said that what two machines share is as it is meant to be; of one machine, that several computers
    /// boot with its card.
    #[must_use]
    pub fn is_settled(&self, one: &MachineId, other: &MachineId) -> bool {
        self.settled.contains(&pair(one, other))
    }

    /// Every rollout, oldest first.
    pub fn rollouts(&self) -> impl DoubleEndedIterator<Item = &Rollout> {
        self.rollouts.values()
    }

    /// A rollout by its number.
    #[must_use]
    pub fn rollout(&self, number: RolloutNumber) -> Option<&Rollout> {
        self.rollouts.get(&number)
    }

    /// The rollouts that are not over.
    pub fn active(&self) -> impl Iterator<Item = &Rollout> {
        self.rollouts.values().filter(|rollout| !rollout.status.is_over())
    }

    /// The last rollout of a channel.
    #[must_use]
    pub fn rollout_of(&self, profile: &ProfileName, channel: &ChannelName) -> Option<&Rollout> {
        self.rollouts().rev().find(|rollout| rollout.spec.profile == *profile && rollout.spec.channel == *channel)
    }

    /// The release a machine boots that follows a channel, which points at `pointed`.
    #[must_use]
    pub fn release_of(
        &self,
        machine: &MachineId,
        profile: &ProfileName,
        channel: &ChannelName,
        pointed: Release,
    ) -> Release {
        let rollout = self.rollout_of(profile, channel);
        rollout.map_or(pointed, |rollout| rollout.release_of(machine, pointed))
    }

    /// The first release a machine has to come up with on its way from one to another; nothing when it may go straight.
    #[must_use]
    pub fn floor(&self, profile: &ProfileName, from: u64, to: u64) -> Option<u64> {
        let floors = self.floors.get(profile)?;
        floors.iter().copied().find(|floor| (from + 1..to).contains(floor))
    }

    /// The releases of a profile that no machine may jump over.
    pub fn floors(&self, profile: &ProfileName) -> impl Iterator<Item = u64> {
        self.floors.get(profile).into_iter().flatten().copied()
    }

    /// Takes the next entry. Facts that do not fit change nothing.
    pub fn apply(&mut self, entry: &Entry) {
        self.last = entry.number;
        let at = entry.at;
        match &entry.fact {
            Fact::Labelled { machines, set, removed } => {
                for machine in machines {
                    let labels = &mut self.record_of(machine).labels;
                    labels.extend(set.iter().map(|(key, value)| (key.clone(), value.clone())));
                    labels.retain(|key, _| !removed.contains(key));
                    self.forget_empty(machine);
                }
            }
            Fact::Approved { machines } => {
                for machine in machines {
                    self.record_of(machine).approved = true;
                }
            }
            Fact::Assigned { machines, to } => {
                for machine in machines {
                    self.record_of(machine).assigned.clone_from(to);
                    self.forget_empty(machine);
                }
            }
            Fact::AssignedOnce { machines, to } => {
                for machine in machines {
                    self.record_of(machine).once = Some(to.clone());
                }
            }
            Fact::OnceTaken { machine } => {
                self.record_of(machine).once = None;
                self.forget_empty(machine);
            }
            Fact::Valued { machine, set, removed } => {
                let vars = &mut self.record_of(machine).vars;
                vars.extend(set.iter().map(|(name, value)| (name.clone(), value.clone())));
                vars.retain(|name, _| !removed.contains(name));
                self.forget_empty(machine);
            }
            Fact::Virtual { machine, vm } => {
                let record = self.record_of(machine);
                record.vm.clone_from(vm);
                record.vm_since = vm.as_ref().map(|_| at);
                self.forget_empty(machine);
            }
            Fact::Rebooting { machine, rollout } => {
                let rebooted = self.record_of(machine).rebooted.get_or_insert_with(|| (*rollout, Vec::new()));
                if rebooted.0 != *rollout {
                    *rebooted = (*rollout, Vec::new());
                }
                rebooted.1.push(at);
            }
            Fact::Settled { machine, with } => {
                self.settled.extend(with.iter().map(|other| pair(machine, other)));
            }
            Fact::Forgotten { machine } => {
                self.records.remove(machine);
                self.settled.retain(|(one, other)| one != machine && other != machine);
            }
            Fact::Floor { profile, release, is_one } => {
                let floors = self.floors.entry(profile.clone()).or_default();
                if *is_one {
                    floors.insert(*release)
                } else {
                    floors.remove(release)
                };
            }
            Fact::Started { spec } => {
                self.rollouts.entry(spec.number).or_insert_with(|| Rollout::begin(spec.as_ref().clone(), at));
            }
            Fact::Rollout { number, step } => {
                if let Some(rollout) = self.rollouts.get_mut(number) {
                    rollout.apply(step, at);
                }
            }
            Fact::Moved { .. } | Fact::Alarm { .. } | Fact::Asked { .. } => {}
        }
    }

    fn record_of(&mut self, machine: &MachineId) -> &mut Record {
        self.records.entry(machine.clone()).or_default()
    }

    fn forget_empty(&mut self, machine: &MachineId) {
        if self.records.get(machine).is_some_and(|record| *record == Record::default()) {
            self.records.remove(machine);
        }
    }

    /// The number of the next rollout.
    #[must_use]
    pub fn next_rollout(&self) -> RolloutNumber {
        self.rollouts.last_key_value().map_or(1, |(number, _)| number + 1)
    }
}

/// Two machines in the order of their ids.
fn pair(one: &MachineId, other: &MachineId) -> (MachineId, MachineId) {
    (one.min(other).clone(), one.max(other).clone())
}
