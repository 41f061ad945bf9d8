//! The fleet as rollouts see it: what is known of each machine, with what people said of it.

use std::time::{Duration, SystemTime};

use super::{Machine, Session};
use crate::model::boot::Step;
use crate::model::label::rule::labels_of;
use crate::model::ledger::{Ledger, Target};
use crate::model::machine::MachineId;
use crate::model::name::{ChannelName, ProfileName};
use crate::model::plan::Assignments;
use crate::model::rollout::{Boot, Census, Health, View};

/// How long a machine that was given its script and is not heard of counts as switched on.
const BOOT_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// How many check-ins a machine may miss and still count as switched on.
pub(super) const MISSED: u32 = 3;

/// What every machine is seen with.
#[derive(Debug, Clone, Copy)]
pub struct Lens<'a> {
    /// What people said of machines.
    pub ledger: &'a Ledger,
    /// What the site file says of them.
    pub assignments: &'a Assignments,
    /// How often they check in.
    pub interval: Duration,
    /// When.
    pub now: SystemTime,
}

/// Every machine.
#[must_use]
pub fn census<'a>(machines: impl IntoIterator<Item = &'a Machine>, lens: &Lens<'_>) -> Census {
    machines.into_iter().map(|machine| (MachineId::from(machine.identity.mac), view(machine, lens))).collect()
}

/// One machine.
#[must_use]
pub fn view(machine: &Machine, lens: &Lens<'_>) -> View {
    let id = MachineId::from(machine.identity.mac);
    let record = lens.ledger.record(&id);
    View {
        labels: labels_of(&lens.assignments.labels, &machine.identity, record.map(|record| &record.labels)),
        follows: follows(machine, record.and_then(|record| record.assigned.as_ref()), lens.assignments),
        is_on: is_on(&machine.session, lens),
        boot: boot(machine),
    }
}

fn follows(
    machine: &Machine,
    assigned: Option<&Target>,
    assignments: &Assignments,
) -> Option<(ProfileName, ChannelName)> {
    match assigned {
        Some(Target::Channel(profile, channel)) => Some((profile.clone(), channel.clone())),
        Some(Target::Release(..)) => None,
        None => assignments.of(&machine.identity.mac).map(|it| (it.profile.clone(), it.channel.clone())),
    }
}

fn is_on(session: &Session, lens: &Lens<'_>) -> bool {
    let (last, patience) = match session.last_check_in {
        Some(last) => (last, lens.interval * MISSED),
        None => (session.step_at, BOOT_PATIENCE),
    };
    // A clock that was set back makes nobody disappear.
    lens.now.duration_since(last).unwrap_or_default() <= patience
}

/// The last boot that was told to boot a bundle.
fn boot(machine: &Machine) -> Option<Boot> {
    let session = machine.sessions().find(|session| session.told.is_some())?;
    let (_, _, bundle) = session.told.as_ref()?;
    let (health, since) = match session.last_check_in {
        None => (Health::UnderWay, session.scripted_at),
        Some(_) if session.is_good => (Health::Good, session.health_since),
        Some(_) => (Health::Bad(session.problems.join("; ")), session.health_since),
    };
    // Firmware that was switched on and has no script yet is on its way up.
    let is_anew = machine.session.step < Step::Script && session.last_check_in.is_some();
    let (health, since) = if is_anew { (Health::UnderWay, machine.session.started) } else { (health, since) };
    Some(Boot { bundle: *bundle, at: session.scripted_at, health, since, instead: session.alarm.clone() })
}
