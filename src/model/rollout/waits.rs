//! What a rollout waits for, for people.

use std::fmt;
use std::time::Duration;

use super::advance::{self, Clock};
use super::{Census, RebootPolicy, Rollout, Standing, Status};

/// One thing a rollout waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// Somebody has to decide.
    Person(&'static str),
    /// Machines of the open batch are off.
    Off(usize),
    /// Machines of the open batch may not be changed at this hour.
    Hours(usize),
    /// Machines of the open batch have to wait for others that share a budget.
    Room {
        /// How many wait.
        waiting: usize,
        /// How many of those that take the room failed: it takes somebody to make them well.
        failed: usize,
    },
    /// Machines have the new release and have not rebooted yet.
    Reboot(usize, RebootPolicy),
    /// Machines boot.
    Booting(usize),
    /// The machines of the batch are watched for so long yet.
    Bake(Duration),
    /// Machines have to go back yet.
    Return(usize),
}

/// What a rollout waits for; nothing when it is over, or goes on at once.
#[must_use]
pub fn waits(rollout: &Rollout, census: &Census, clock: Clock) -> Vec<Wait> {
    let standing = |wanted: fn(&Standing) -> bool| rollout.count(|member| wanted(&member.standing));
    match &rollout.status {
        Status::Paused | Status::Stopped(_) => {
            return vec![Wait::Person("`bivouac rollout resume`, `abort` or `rollback` decides")];
        }
        Status::RollingBack(_) => {
            let left = standing(|standing| *standing != Standing::Returned);
            return if left > 0 { vec![Wait::Return(left)] } else { Vec::new() };
        }
        Status::RolledBack(_) | Status::Aborted | Status::Finished => return Vec::new(),
        Status::Running => {}
    }
    let mut found = Vec::new();
    let granted = standing(|standing| *standing == Standing::Granted);
    if granted > 0 {
        found.push(Wait::Reboot(granted, rollout.spec.reboot));
    }
    let trying = standing(|standing| *standing == Standing::Trying);
    if trying > 0 {
        found.push(Wait::Booting(trying));
    }
    let Some((place, opened)) = rollout.open_batch() else { return found };
    let Some(batch) = advance::batch_of(rollout, place) else { return found };
    let of_batch = rollout.count(|member| member.batch == place);
    let is_last = place + 1 >= rollout.spec.batches.len();
    if of_batch < opened.size || is_last {
        let fleet = advance::fleet(rollout, census);
        let (mut off, mut closed, mut ready) = (0, 0, 0);
        for (_, view, _) in advance::candidates(rollout, batch, &fleet) {
            match (view.is_on, rollout.spec.is_open(&view.labels, clock.now)) {
                (false, _) => off += 1,
                (true, false) => closed += 1,
                (true, true) => ready += 1,
            }
        }
        let is_broken = |(_, view, member): &&advance::Place<'_>| {
            let is_failed = member.is_some_and(|member| matches!(member.standing, Standing::Failed(_)));
            is_failed && advance::is_unavailable(*member, view)
        };
        let failed = fleet.iter().filter(is_broken).count();
        for (count, wait) in
            [(ready, Wait::Room { waiting: ready, failed }), (closed, Wait::Hours(closed)), (off, Wait::Off(off))]
        {
            if count > 0 {
                found.push(wait);
            }
        }
    }
    if granted == 0 && trying == 0 {
        let quiet = advance::quiet(rollout, place, clock);
        if let Some(left) = quiet.and_then(|quiet| batch.bake.checked_sub(quiet)).filter(|left| !left.is_zero()) {
            found.push(Wait::Bake(left));
        }
    }
    found
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machines = |count: &usize| if *count == 1 { "1 machine".to_owned() } else { format!("{count} machines") };
        match self {
            Self::Person(what) => f.write_str(what),
            Self::Off(count) => write!(f, "{} switched off", machines(count)),
            Self::Hours(count) => write!(f, "the hours in which {} may be changed", machines(count)),
            Self::Room { waiting, failed: 0 } => write!(f, "room for {} more to be unavailable", machines(waiting)),
            Self::Room { waiting, failed: count } => {
                let (waiting, failed) = (machines(waiting), machines(count));
                let take = if *count == 1 { "takes" } else { "take" };
                write!(f, "room for {waiting} more to be unavailable, which {failed} {take} that failed")
            }
            Self::Reboot(count, RebootPolicy::Natural) => write!(f, "somebody to reboot {}", machines(count)),
            Self::Reboot(count, RebootPolicy::Idle(_)) => write!(f, "{} to be idle and reboot", machines(count)),
            Self::Reboot(count, _) => write!(f, "{} to reboot", machines(count)),
            Self::Booting(count) => write!(f, "{} to come up", machines(count)),
            Self::Bake(left) => {
                let left = Duration::from_secs(left.as_secs().max(1));
                write!(f, "{} of watching", humantime::format_duration(left))
            }
            Self::Return(count) => write!(f, "{} to go back", machines(count)),
        }
    }
}
