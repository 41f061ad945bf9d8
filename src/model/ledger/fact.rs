//! What an entry of the ledger says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::label::{self, LabelKey, Labels};
use crate::model::machine::MachineId;
use crate::model::name::{BundleRef, ChannelName, NameError, ProfileName};
use crate::model::rollout::{Release, RolloutNumber, Spec, Step};
use crate::model::virtual_machine::VirtualMachine;

/// How many machines are named in a text for people; the rest are counted.
const NAMED: usize = 3;

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its place in the ledger, from 1 on.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// Who: a person of the server's computer, or `bivouac`.
    pub who: String,
    /// What that person gave as the reason.
    pub why: Option<String>,
    /// What.
    pub fact: Fact,
}

/// What a machine may be assigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// What a channel of a profile points at, with its rollouts.
    Channel(ProfileName, ChannelName),
    /// One release, whatever happens to channels.
    Release(ProfileName, u64),
}

/// A [`Target`] by the names where they are kept: machines that ask at once need not count on them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetRef<'a> {
    /// What a channel of a profile points at, with its rollouts.
    Channel(&'a ProfileName, &'a ChannelName),
    /// One release.
    Release(&'a ProfileName, u64),
}

impl<'a> From<&'a Target> for TargetRef<'a> {
    fn from(target: &'a Target) -> Self {
        match target {
            Target::Channel(profile, channel) => Self::Channel(profile, channel),
            Target::Release(profile, number) => Self::Release(profile, *number),
        }
    }
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", tag = "fact")]
pub enum Fact {
    /// Labels of machines.
    Labelled {
        /// Which machines.
        machines: Vec<MachineId>,
        /// What they have now.
        set: Labels,
        /// What they have no more.
        removed: BTreeSet<LabelKey>,
    },
    /// Machines nobody knew may boot.
    Approved {
        /// Which machines.
        machines: Vec<MachineId>,
    },
    /// What machines boot from now on; what the site file says when absent.
    Assigned {
        /// Which machines.
        machines: Vec<MachineId>,
        /// What.
        to: Option<Target>,
    },
    /// What machines boot the next time, and only then.
    AssignedOnce {
        /// Which machines.
        machines: Vec<MachineId>,
        /// What.
        to: Target,
    },
    /// A machine was given what it was to boot once.
    OnceTaken {
        /// Which machine.
        machine: MachineId,
    },
    /// A machine's own values for templates.
    Valued {
        /// Which machine.
        machine: MachineId,
        /// What it has now.
        set: BTreeMap<String, String>,
        /// What it has no more.
        removed: BTreeSet<String>,
    },
    /// Machines are asked to do something, which they learn when they check in next.
    Asked {
        /// Which machines.
        machines: Vec<MachineId>,
        /// What.
        request: Request,
    },
    /// Which virtual machine a machine is; none any more when absent.
    Virtual {
        /// Which machine.
        machine: MachineId,
        /// The virtual machine.
        vm: Option<VirtualMachine>,
    },
    /// The server has a virtual machine rebooted for a rollout that gave it another release. Written before it is done,
    /// so that of several servers one does it.
    Rebooting {
        /// Which machine.
        machine: MachineId,
        /// For which rollout.
        rollout: RolloutNumber,
    },
    /// What a machine shares with others that only one of them can have, such as a dock or the UUID of a clone, is as it
    /// is meant to be.
    Settled {
        /// Which machine.
        machine: MachineId,
        /// With which others; itself where several computers boot with its card.
        with: Vec<MachineId>,
    },
    /// Nothing of what was said of a machine counts any more.
    Forgotten {
        /// Which machine.
        machine: MachineId,
    },
    /// Whether a release is one that no machine may jump over.
    Floor {
        /// Of which profile.
        profile: ProfileName,
        /// Its number.
        release: u64,
        /// Whether it is.
        is_one: bool,
    },
    /// A rollout begins.
    Started {
        /// What it is to do.
        spec: Box<Spec>,
    },
    /// A rollout goes a step.
    Rollout {
        /// Its number.
        number: RolloutNumber,
        /// The step.
        #[serde(flatten)]
        step: Step,
    },
    /// Somebody moved a channel, without a rollout.
    Moved {
        /// Of which profile.
        profile: ProfileName,
        /// Which.
        channel: ChannelName,
        /// What it had.
        from: Option<u64>,
        /// What it has.
        to: Release,
    },
    /// Something a person should look at.
    Alarm {
        /// About which machine.
        machine: MachineId,
        /// What.
        text: String,
    },
}

/// What people may ask of a machine that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// To reboot at once.
    Reboot,
    /// To reboot when nobody has used it for so many seconds.
    RebootIdle(u64),
    /// To reboot at some moment between two numbers of seconds from the entry's time on.
    RebootWithin(u64, u64),
    /// Not to reboot, whatever it was asked before.
    Stay,
    /// To show its users a text.
    Message(String),
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |seconds: &u64| humantime::format_duration(Duration::from_secs(*seconds));
        match self {
            Self::Reboot => f.write_str("reboot"),
            Self::RebootIdle(after) => write!(f, "reboot when nobody has used it for {}", time(after)),
            Self::RebootWithin(0, until) => write!(f, "reboot within {}", time(until)),
            Self::RebootWithin(from, until) => write!(f, "reboot in {} to {}", time(from), time(until)),
            Self::Stay => f.write_str("stay as it is"),
            Self::Message(text) => write!(f, "show \"{text}\""),
        }
    }
}

impl Target {
    /// The profile.
    #[must_use]
    pub const fn profile(&self) -> &ProfileName {
        match self {
            Self::Channel(profile, _) | Self::Release(profile, _) => profile,
        }
    }
}

impl FromStr for Target {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.parse()? {
            BundleRef::Channel(profile, channel) => Ok(Self::Channel(profile, channel)),
            BundleRef::Release(profile, number) => Ok(Self::Release(profile, number)),
            BundleRef::Id(_) => Err(NameError::Name(text.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(profile, channel) => write!(f, "{profile}:{channel}"),
            Self::Release(profile, number) => write!(f, "{profile}@{number}"),
        }
    }
}

/// Machines as people read them: the first few, and how many more.
fn named(machines: &[MachineId]) -> String {
    let shown: Vec<String> = machines.iter().take(NAMED).map(ToString::to_string).collect();
    match machines.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!("{} and {more} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}

impl Fact {
    /// The rollout it is about.
    #[must_use]
    pub fn rollout(&self) -> Option<RolloutNumber> {
        match self {
            Self::Started { spec } => Some(spec.number),
            Self::Rollout { number, .. } | Self::Rebooting { rollout: number, .. } => Some(*number),
            _ => None,
        }
    }

    /// The machines it is about.
    #[must_use]
    pub fn machines(&self) -> &[MachineId] {
        match self {
            Self::Labelled { machines, .. }
            | Self::Approved { machines }
            | Self::Assigned { machines, .. }
            | Self::AssignedOnce { machines, .. }
            | Self::Asked { machines, .. } => machines,
            Self::OnceTaken { machine }
            | Self::Valued { machine, .. }
            | Self::Virtual { machine, .. }
            | Self::Rebooting { machine, .. }
            | Self::Settled { machine, .. }
            | Self::Forgotten { machine }
            | Self::Alarm { machine, .. } => std::slice::from_ref(machine),
            Self::Rollout { step, .. } => step.machines(),
            Self::Floor { .. } | Self::Started { .. } | Self::Moved { .. } => &[],
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labelled { machines, set, removed } => {
                let mut parts: Vec<String> = Vec::new();
                if !set.is_empty() {
                    parts.push(label::listed(set));
                }
                parts.extend(removed.iter().map(|key| format!("no {key}")));
                write!(f, "label {}: {}", named(machines), parts.join(", "))
            }
            Self::Approved { machines } => write!(f, "approve {}", named(machines)),
            Self::Assigned { machines, to: Some(to) } => write!(f, "assign {} to {}", to, named(machines)),
            Self::Assigned { machines, to: None } => {
                write!(f, "assign nothing to {}: the site file says what they boot", named(machines))
            }
            Self::AssignedOnce { machines, to } => write!(f, "assign {} once to {}", to, named(machines)),
            Self::OnceTaken { machine } => write!(f, "{machine} boots what it was to boot once"),
            Self::Valued { machine, set, removed } => {
                let set = set.iter().map(|(name, value)| format!("{name} = {value}"));
                let parts: Vec<String> = set.chain(removed.iter().map(|name| format!("no {name}"))).collect();
                write!(f, "values of {machine}: {}", parts.join(", "))
            }
            Self::Asked { machines, request } => write!(f, "ask {} to {request}", named(machines)),
            Self::Virtual { machine, vm: Some(vm) } => write!(f, "{machine} is {vm}"),
            Self::Virtual { machine, vm: None } => write!(f, "{machine} is no virtual machine any more"),
            Self::Rebooting { machine, rollout } => {
                write!(f, "rollout {rollout}: the virtual machine {machine} is rebooted")
            }
            Self::Settled { machine, with } if *with == [machine.clone()] => {
                write!(f, "settle that several computers boot with the card {machine}")
            }
            Self::Settled { machine, with } => write!(f, "settle what {machine} shares with {}", named(with)),
            Self::Forgotten { machine } => write!(f, "forget {machine}"),
            Self::Floor { profile, release, is_one: true } => {
                write!(f, "no machine may jump over {profile}@{release}")
            }
            Self::Floor { profile, release, is_one: false } => write!(f, "machines may jump over {profile}@{release}"),
            Self::Started { spec } => write!(
                f,
                "rollout {} of {}:{} from release {} to {} in {} batches",
                spec.number,
                spec.profile,
                spec.channel,
                spec.from.number,
                spec.to.number,
                spec.batches.len()
            ),
            Self::Rollout { number, step } => write!(f, "rollout {number}: {step}"),
            Self::Moved { profile, channel, from, to } => match from {
                Some(from) => write!(f, "{profile}:{channel} moved from release {from} to {}", to.number),
                None => write!(f, "{profile}:{channel} has release {}", to.number),
            },
            Self::Alarm { machine, text } => write!(f, "alarm about {machine}: {text}"),
        }
    }
}

impl Step {
    /// The machines it is about.
    #[must_use]
    pub fn machines(&self) -> &[MachineId] {
        match self {
            Self::Granted { machines }
            | Self::Tried { machines }
            | Self::Waits { machines }
            | Self::Came { machines }
            | Self::Recalled { machines }
            | Self::Returned { machines } => machines,
            Self::Failed { machine, .. } => std::slice::from_ref(machine),
            _ => &[],
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { batch, size } => write!(f, "batch {} begins, of {size}", batch + 1),
            Self::Granted { machines } => write!(f, "given to {}", named(machines)),
            Self::Tried { machines } => write!(f, "booting: {}", named(machines)),
            Self::Waits { machines } => write!(f, "did something else and have yet to boot it: {}", named(machines)),
            Self::Came { machines } => write!(f, "came up: {}", named(machines)),
            Self::Failed { machine, reason } => write!(f, "{machine} failed: {reason}"),
            Self::Closed { batch } => write!(f, "batch {} is over, and good", batch + 1),
            Self::Paused => f.write_str("paused"),
            Self::Resumed => f.write_str("goes on"),
            Self::Stopped { reason } => write!(f, "stopped: {reason}"),
            Self::RollingBack { reason } => write!(f, "goes back: {reason}"),
            Self::Recalled { machines } => write!(f, "to go back: {}", named(machines)),
            Self::Returned { machines } => write!(f, "back: {}", named(machines)),
            Self::RolledBack => f.write_str("went back"),
            Self::Aborted => f.write_str("aborted"),
            Self::Finished => f.write_str("finished: the channel has moved"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_read_back_from_its_json() {
        let machine: MachineId = "52:54:00:00:00:01".parse().unwrap();
        let facts = [
            Fact::Rollout { number: 3, step: Step::Granted { machines: vec![machine.clone()] } },
            Fact::Rollout { number: 3, step: Step::Failed { machine: machine.clone(), reason: "red".to_owned() } },
            Fact::Rollout { number: 3, step: Step::Paused },
            Fact::Assigned { machines: vec![machine.clone()], to: Some("vdi@3".parse().unwrap()) },
            Fact::Virtual {
                machine: machine.clone(),
                vm: Some(VirtualMachine {
                    id: "105".parse().unwrap(),
                    name: "thin-01".to_owned(),
                    uuid: None,
                    serial: Some("thin-01".to_owned()),
                }),
            },
            Fact::Rebooting { machine: machine.clone(), rollout: 3 },
            Fact::Forgotten { machine },
        ];
        for fact in facts {
            let text = serde_json::to_string(&fact).unwrap();
            assert_eq!(serde_json::from_str::<Fact>(&text).unwrap(), fact, "{text}");
        }
    }

    #[test]
    fn people_read_a_few_machines_and_a_count() {
        let machines: Vec<MachineId> = (1..=5).map(|n| format!("52:54:00:00:00:0{n}").parse().unwrap()).collect();
        let fact = Fact::Rollout { number: 1, step: Step::Came { machines } };
        let text = "rollout 1: came up: 52:54:00:00:00:01, 52:54:00:00:00:02, 52:54:00:00:00:03 and 2 more";
        assert_eq!(fact.to_string(), text);
    }
}
