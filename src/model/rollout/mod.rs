//! Rollouts: a channel on its way from one release to another, in batches, watching that machines really come up.
//!
//! Everything here is pure. A [`Rollout`] is what its [`Step`]s made of it, one after the other, and nothing else changes
//! it; [`advance`] reads it beside the [`Census`] of the fleet and says which steps come next; [`Rollout::release_of`]
//! says what a machine boots meanwhile. Steps are written to the ledger before they count, so that a server that starts
//! anew, or a second one, goes on from the same state (fleet.md, 3.11).

mod advance;
mod census;
mod spec;
#[cfg(test)]
mod tests;
mod waits;
mod window;

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use advance::{Clock, Wish, advance, wish};
pub use census::{Boot, Census, Health, View};
pub use spec::{
    Batch, Budget, DEFAULT_BAKE, DEFAULT_IDLE, DEFAULT_SUCCESS, DEFAULT_TIMEOUT, Pace, Percent, RebootPolicy, Release,
    RolloutNumber, Size, Spec, SpecError, duration,
};
pub use waits::{Wait, waits};
pub use window::{SITE_LABEL, Window, WindowError, Zone, Zones};

use crate::model::machine::MachineId;

/// How a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It goes on.
    Running,
    /// Somebody halted it; machines keep what they were given.
    Paused,
    /// It halted by itself, and says why; somebody has to decide.
    Stopped(String),
    /// It goes back: machines boot what they had, and those that run the new release are asked to reboot.
    RollingBack(String),
    /// Every machine that could be reached is back. The channel never moved.
    RolledBack(String),
    /// Somebody ended it: machines that came up keep the new release, all others have the old one.
    Aborted,
    /// The channel has moved.
    Finished,
}

impl Status {
    /// Whether nothing can change it any more.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::RolledBack(_) | Self::Aborted | Self::Finished)
    }
}

/// How a machine stands that was given the new release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Its next boot is the new release.
    Granted,
    /// It was given the script of the new release.
    Trying,
    /// It checked in with the new release, and everything it has to do is done well.
    Good,
    /// It did not come up with the new release in time, or something else, or not well.
    Failed(String),
    /// It is to go back, and may be asked to reboot.
    Recalled,
    /// It is back.
    Returned,
}

/// A machine that was given the new release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// With which batch.
    pub batch: usize,
    /// How it stands …
    pub standing: Standing,
    /// … and since when.
    pub since: SystemTime,
    /// Why it failed last, if it ever did; that it came up later, or went back, takes nothing of it away.
    pub failure: Option<String>,
}

/// A batch that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// How many machines it shall have.
    pub size: usize,
    /// When it was opened.
    pub at: SystemTime,
    /// When it was over.
    pub closed: Option<SystemTime>,
}

/// One rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// What was asked for.
    pub spec: Spec,
    /// When.
    pub started: SystemTime,
    /// How it stands …
    pub status: Status,
    /// … and since when.
    pub since: SystemTime,
    /// The batches that were opened, in order.
    pub opened: Vec<Opened>,
    /// The machines that were given the new release.
    pub members: BTreeMap<MachineId, Member>,
    /// Failures that somebody knew of when the rollout was told to go on.
    pub forgiven: usize,
}

/// One thing that happened to a rollout. Steps that do not fit change nothing, so that writing one twice does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", tag = "step")]
pub enum Step {
    /// The next batch begins.
    Opened {
        /// Its place.
        batch: usize,
        /// How many machines it shall have.
        size: usize,
    },
    /// These machines boot the new release from now on.
    Granted {
        /// In salted order.
        machines: Vec<MachineId>,
    },
    /// They were given its script.
    Tried {
        /// Which.
        machines: Vec<MachineId>,
    },
    /// They have been doing something else since, and still have to boot it.
    Waits {
        /// Which.
        machines: Vec<MachineId>,
    },
    /// They came up with it, and well.
    Came {
        /// Which.
        machines: Vec<MachineId>,
    },
    /// One did not.
    Failed {
        /// Which.
        machine: MachineId,
        /// What is wrong.
        reason: String,
    },
    /// The batch is over, and good enough for the next one.
    Closed {
        /// Its place.
        batch: usize,
    },
    /// Somebody halts it.
    Paused,
    /// Somebody lets it go on, knowing of the failures so far.
    Resumed,
    /// It halts by itself.
    Stopped {
        /// What was too much.
        reason: String,
    },
    /// It goes back.
    RollingBack {
        /// Why.
        reason: String,
    },
    /// These machines may be asked to reboot into what they had.
    Recalled {
        /// Which.
        machines: Vec<MachineId>,
    },
    /// They are back, or never left.
    Returned {
        /// Which.
        machines: Vec<MachineId>,
    },
    /// Nothing is left to go back.
    RolledBack,
    /// Somebody ends it.
    Aborted,
    /// The channel has moved.
    Finished,
}

impl Rollout {
    /// A rollout of which nothing happened yet.
    #[must_use]
    pub fn begin(spec: Spec, at: SystemTime) -> Self {
        Self {
            spec,
            started: at,
            status: Status::Running,
            since: at,
            opened: Vec::new(),
            members: BTreeMap::new(),
            forgiven: 0,
        }
    }

    /// The batch that is open, with its place.
    #[must_use]
    pub fn open_batch(&self) -> Option<(usize, &Opened)> {
        let last = self.opened.len().checked_sub(1)?;
        self.opened.last().filter(|batch| batch.closed.is_none()).map(|batch| (last, batch))
    }

    /// How many members have a standing.
    #[must_use]
    pub fn count(&self, is_meant: impl Fn(&Member) -> bool) -> usize {
        self.members.values().filter(|member| is_meant(member)).count()
    }

    /// How many machines ever failed.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.count(|member| member.failure.is_some())
    }

    /// Whether a machine boots the new release now, of those that follow the channel, which points at `pointed`.
    ///
    /// What a machine was given it keeps, whoever reboots it and why, until the rollout is ended or goes back; and an
    /// unplanned reboot gives no machine what it was not given (fleet.md, section 0, 2).
    #[must_use]
    pub fn release_of(&self, machine: &MachineId, pointed: Release) -> Release {
        let standing = self.members.get(machine).map(|member| &member.standing);
        let has_it = |standing: &Standing| !matches!(standing, Standing::Recalled | Standing::Returned);
        match &self.status {
            Status::Running | Status::Paused | Status::Stopped(_) if standing.is_some_and(has_it) => self.spec.to,
            Status::Running | Status::Paused | Status::Stopped(_) | Status::RollingBack(_) => self.spec.from,
            // A channel that was moved since leads everybody.
            Status::Aborted if pointed == self.spec.from && standing == Some(&Standing::Good) => self.spec.to,
            Status::Aborted | Status::RolledBack(_) | Status::Finished => pointed,
        }
    }

    /// What became of it.
    pub fn apply(&mut self, step: &Step, at: SystemTime) {
        if self.status.is_over() {
            return;
        }
        match step {
            Step::Opened { batch, size } => self.open(*batch, *size, at),
            Step::Granted { machines } => self.grant(machines, at),
            Step::Tried { machines } => self.set(machines, at, |was| match was {
                Standing::Granted => Some(Standing::Trying),
                _ => None,
            }),
            Step::Waits { machines } => {
                self.set(machines, at, |was| (*was == Standing::Trying).then_some(Standing::Granted));
            }
            Step::Came { machines } => self.set(machines, at, |was| match was {
                Standing::Granted | Standing::Trying | Standing::Failed(_) => Some(Standing::Good),
                _ => None,
            }),
            Step::Failed { machine, reason } => {
                self.set(std::slice::from_ref(machine), at, |was| match was {
                    Standing::Granted | Standing::Trying | Standing::Good => Some(Standing::Failed(reason.clone())),
                    _ => None,
                });
            }
            Step::Closed { batch } => {
                if let Some(opened) = self.opened.get_mut(*batch) {
                    opened.closed.get_or_insert(at);
                }
            }
            Step::Paused if self.status == Status::Running => self.turn(Status::Paused, at),
            Step::Resumed if matches!(self.status, Status::Paused | Status::Stopped(_)) => {
                self.forgiven = self.failures();
                self.turn(Status::Running, at);
            }
            Step::Stopped { reason } if matches!(self.status, Status::Running | Status::Paused) => {
                self.turn(Status::Stopped(reason.clone()), at);
            }
            Step::RollingBack { reason } if !matches!(self.status, Status::RollingBack(_)) => {
                self.turn(Status::RollingBack(reason.clone()), at);
            }
            Step::Recalled { machines } if matches!(self.status, Status::RollingBack(_)) => {
                self.set(machines, at, |was| (*was != Standing::Returned).then_some(Standing::Recalled));
            }
            Step::Returned { machines } if matches!(self.status, Status::RollingBack(_)) => {
                self.set(machines, at, |_| Some(Standing::Returned));
            }
            Step::RolledBack => {
                if let Status::RollingBack(reason) = &self.status {
                    let reason = reason.clone();
                    self.turn(Status::RolledBack(reason), at);
                }
            }
            Step::Aborted if !matches!(self.status, Status::RollingBack(_)) => self.turn(Status::Aborted, at),
            Step::Finished if self.status == Status::Running => self.turn(Status::Finished, at),
            Step::Paused
            | Step::Resumed
            | Step::Stopped { .. }
            | Step::RollingBack { .. }
            | Step::Recalled { .. }
            | Step::Returned { .. }
            | Step::Aborted
            | Step::Finished => {}
        }
    }

    fn turn(&mut self, status: Status, at: SystemTime) {
        self.status = status;
        self.since = at;
    }

    fn open(&mut self, batch: usize, size: usize, at: SystemTime) {
        if batch == self.opened.len() && self.open_batch().is_none() && self.status == Status::Running {
            self.opened.push(Opened { size, at, closed: None });
        }
    }

    fn grant(&mut self, machines: &[MachineId], at: SystemTime) {
        let Some((batch, _)) = self.open_batch().filter(|_| self.status == Status::Running) else { return };
        for machine in machines {
            let member = Member { batch, standing: Standing::Granted, since: at, failure: None };
            self.members.entry(machine.clone()).or_insert(member);
        }
    }

    fn set(&mut self, machines: &[MachineId], at: SystemTime, next: impl Fn(&Standing) -> Option<Standing>) {
        for machine in machines {
            if let Some(member) = self.members.get_mut(machine)
                && let Some(standing) = next(&member.standing)
            {
                if let Standing::Failed(why) = &standing {
                    member.failure = Some(why.clone());
                }
                member.standing = standing;
                member.since = at;
            }
        }
    }
}
