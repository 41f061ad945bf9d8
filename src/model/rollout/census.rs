//! How the machines of a fleet stand at one moment, as far as rollouts have to know.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::model::label::Labels;
use crate::model::machine::MachineId;
use crate::model::manifest::BundleId;
use crate::model::name::{ChannelName, ProfileName};

/// Every machine, by id.
pub type Census = BTreeMap<MachineId, View>;

/// How a boot goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It has its script and was not heard of since.
    UnderWay,
    /// It checked in with the bundle it was told to boot, and everything required is in order.
    Good,
    /// It checked in, and this is wrong.
    Bad(String),
}

/// The last boot of a machine that has a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// What it was told to boot.
    pub bundle: BundleId,
    /// When it was given its script.
    pub at: SystemTime,
    /// How it goes …
    pub health: Health,
    /// … and since when.
    pub since: SystemTime,
    /// What was wrong with what it should have booted, when it was told to boot something else instead.
    pub instead: Option<String>,
}

/// A machine at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its labels.
    pub labels: Labels,
    /// The profile and channel it follows; nothing when it follows none, because a release is assigned to it or it may
    /// not boot at all.
    pub follows: Option<(ProfileName, ChannelName)>,
    /// Whether it is switched on, as far as anybody can tell.
    pub is_on: bool,
    /// Its last boot.
    pub boot: Option<Boot>,
}

impl View {
    /// Whether it is switched on and of no use to anybody: on its way up, or up and not well.
    #[must_use]
    pub fn is_out_of_order(&self) -> bool {
        self.is_on && self.boot.as_ref().is_some_and(|boot| boot.health != Health::Good)
    }
}
