//! What people may ask of rollouts, and why not.

use super::{Fact, Ledger};
use crate::model::label::Unmatched;
use crate::model::name::{ChannelName, ProfileName};
use crate::model::rollout::{Census, RebootPolicy, Rollout, RolloutNumber, Spec, Status, Step};

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Two rollouts of one channel would pull at the same machines.
    #[error(
        "rollout {number} of {profile}:{channel} is not over; wait for it, or end it with `bivouac rollout abort {number}` or `bivouac rollout rollback {number}`"
    )]
    Overlaps {
        /// The one there is.
        number: RolloutNumber,
        /// Its profile.
        profile: ProfileName,
        /// Its channel.
        channel: ChannelName,
    },
    /// Nothing would change.
    #[error("{profile}:{channel} has release {release} already; there is nothing to roll out")]
    Same {
        /// The profile.
        profile: ProfileName,
        /// The channel.
        channel: ChannelName,
        /// Its release.
        release: u64,
    },
    /// Nobody would get it.
    #[error("no machine follows {profile}:{channel}; `bivouac promote` moves a channel that nobody follows")]
    Nobody {
        /// The profile.
        profile: ProfileName,
        /// The channel.
        channel: ChannelName,
    },
    /// A batch nobody is in.
    #[error("batch {batch} would be empty")]
    Batch {
        /// Its number, from 1 on.
        batch: usize,
        /// Which condition nobody fits.
        source: Unmatched,
    },
    /// A budget by a label nobody has.
    #[error("`--max-unavailable {budget}` counts by a label that no machine has; there {}", are(known))]
    Budget {
        /// The budget.
        budget: String,
        /// The labels there are.
        known: Vec<String>,
    },
    /// Reboots at some moment of hours that do not end.
    #[error("`--reboot window` needs the hours in which machines may reboot; add --window \"Mon-Fri 20:00-06:00\"")]
    NoWindow,
    /// No such rollout.
    #[error("there is no rollout {0}; `bivouac rollout history` lists them")]
    Unknown(RolloutNumber),
    /// It is over.
    #[error("rollout {0} is over: {1}")]
    Over(RolloutNumber, String),
    /// It is on its way back.
    #[error("rollout {0} goes back already; wait until all machines are back")]
    GoesBack(RolloutNumber),
    /// It runs.
    #[error("rollout {0} is not halted")]
    Runs(RolloutNumber),
    /// It is halted.
    #[error("rollout {0} is halted already")]
    Halted(RolloutNumber),
}

fn are(known: &[String]) -> String {
    if known.is_empty() { "are no labels".to_owned() } else { format!("are the labels {}", known.join(", ")) }
}

/// How a rollout that is over ended, in a word.
fn ended(status: &Status) -> &'static str {
    match status {
        Status::Finished => "it finished",
        Status::Aborted => "it was aborted",
        _ => "it went back",
    }
}

impl Ledger {
    /// A rollout begins; its number is the next one, whatever `spec` says.
    ///
    /// # Errors
    /// When it would do nothing, or get in the way of another.
    pub fn start(&self, spec: Spec, census: &Census) -> Result<Fact, Refusal> {
        let (profile, channel) = (&spec.profile, &spec.channel);
        if let Some(other) = self.rollout_of(profile, channel).filter(|rollout| !rollout.status.is_over()) {
            let (number, profile, channel) = (other.spec.number, profile.clone(), channel.clone());
            return Err(Refusal::Overlaps { number, profile, channel });
        }
        if spec.from == spec.to {
            let release = spec.from.number;
            return Err(Refusal::Same { profile: profile.clone(), channel: channel.clone(), release });
        }
        let follows = (profile.clone(), channel.clone());
        let labels: Vec<_> =
            census.values().filter(|view| view.follows.as_ref() == Some(&follows)).map(|view| &view.labels).collect();
        if labels.is_empty() {
            return Err(Refusal::Nobody { profile: profile.clone(), channel: channel.clone() });
        }
        for (place, batch) in spec.batches.iter().enumerate().filter(|(_, batch)| !batch.selector.is_all()) {
            let check = batch.selector.check(labels.iter().copied());
            check.map_err(|source| Refusal::Batch { batch: place + 1, source })?;
        }
        for budget in &spec.budgets {
            if let Some(key) = &budget.by
                && !labels.iter().any(|labels| labels.contains_key(key))
            {
                let mut known: Vec<String> =
                    labels.iter().flat_map(|labels| labels.keys()).map(ToString::to_string).collect();
                known.sort_unstable();
                known.dedup();
                return Err(Refusal::Budget { budget: budget.to_string(), known });
            }
        }
        if matches!(spec.reboot, RebootPolicy::Window) && spec.windows.is_empty() {
            return Err(Refusal::NoWindow);
        }
        Ok(Fact::Started { spec: Box::new(Spec { number: self.next_rollout(), ..spec }) })
    }

    /// A rollout is halted: nobody else is given the new release.
    ///
    /// # Errors
    /// When it is halted or over.
    pub fn pause(&self, number: RolloutNumber) -> Result<Fact, Refusal> {
        match self.not_over(number)?.status {
            Status::Running => Ok(Fact::Rollout { number, step: Step::Paused }),
            _ => Err(Refusal::Halted(number)),
        }
    }

    /// A rollout that was halted, or that stopped, goes on; its failures so far are known and count no more.
    ///
    /// # Errors
    /// When it is not halted.
    pub fn resume(&self, number: RolloutNumber) -> Result<Fact, Refusal> {
        match self.not_over(number)?.status {
            Status::Paused | Status::Stopped(_) => Ok(Fact::Rollout { number, step: Step::Resumed }),
            _ => Err(Refusal::Runs(number)),
        }
    }

    /// A rollout ends where it is: machines that came up keep the new release, all others have the old one. Asked for
    /// again, there is nothing left to do.
    ///
    /// # Errors
    /// When it is over in another way, or goes back.
    pub fn abort(&self, number: RolloutNumber) -> Result<Option<Fact>, Refusal> {
        if self.rollout(number).is_some_and(|rollout| rollout.status == Status::Aborted) {
            return Ok(None);
        }
        self.not_over(number)?;
        Ok(Some(Fact::Rollout { number, step: Step::Aborted }))
    }

    /// A rollout goes back: every machine boots the old release.
    ///
    /// # Errors
    /// When it is over, or goes back already.
    pub fn roll_back(&self, number: RolloutNumber, reason: String) -> Result<Fact, Refusal> {
        self.not_over(number)?;
        Ok(Fact::Rollout { number, step: Step::RollingBack { reason } })
    }

    fn not_over(&self, number: RolloutNumber) -> Result<&Rollout, Refusal> {
        let rollout = self.rollout(number).ok_or(Refusal::Unknown(number))?;
        match &rollout.status {
            status if status.is_over() => Err(Refusal::Over(number, ended(status).to_owned())),
            Status::RollingBack(_) => Err(Refusal::GoesBack(number)),
            _ => Ok(rollout),
        }
    }
}
