//! Which virtual machines rollouts want rebooted now.

use std::time::{Duration, SystemTime};

use super::Ledger;
use crate::model::machine::MachineId;
use crate::model::rollout::{Rollout, RolloutNumber, View, Wish, wish};
use crate::model::virtual_machine::VirtualMachine;

/// How often a virtual machine is rebooted for one thing a rollout wants of it; whoever does not boot after that has
/// another fault.
pub const MOST_REBOOTS: usize = 3;

/// A virtual machine that is to be rebooted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The machine.
    pub machine: MachineId,
    /// The virtual machine it is.
    pub vm: VirtualMachine,
    /// The rollout that wants it.
    pub rollout: RolloutNumber,
    /// How often it was rebooted for that before.
    pub before: usize,
}

impl Ledger {
    /// The rollout that wants a machine rebooted at once, whoever uses it: it gave it a release, or takes one away, and the
    /// machine runs another.
    ///
    /// With `idle` and hours of a `window` it is left to the machine: whether somebody uses it only the machine knows,
    /// and a moment of the hours each machine chooses for itself, so that not all of them boot at once. One that does
    /// not check in cannot be told, but looks as one that somebody has stopped, which nobody means to start.
    #[must_use]
    pub fn wants_reboot(&self, machine: &MachineId, view: &View, now: SystemTime) -> Option<&Rollout> {
        let rollout = self.rollouts().rev().find(|rollout| rollout.members.contains_key(machine))?;
        (wish(rollout, machine, view, now) == Some(Wish::Now)).then_some(rollout)
    }

    /// Whether a machine is virtual and wanted to be rebooted at once, and was not rebooted for that within `pause`,
    /// nor too often.
    ///
    /// A rollout gives a release to no more machines than its budgets allow, so nothing more has to be counted here.
    #[must_use]
    pub fn due_reboot(&self, machine: &MachineId, view: &View, now: SystemTime, pause: Duration) -> Option<Due> {
        let record = self.record(machine)?;
        let vm = record.vm.clone()?;
        let rollout = self.wants_reboot(machine, view, now)?;
        let (number, since) = (rollout.spec.number, rollout.members.get(machine)?.since);
        let times = record.rebooted.as_ref().filter(|(of, _)| *of == number).map(|(_, times)| times.as_slice());
        // What was done before it was given the release, or was to go back, was for something else.
        let for_this: Vec<&SystemTime> = times.unwrap_or_default().iter().filter(|at| **at >= since).collect();
        let is_recent = for_this.last().is_some_and(|at| now.duration_since(**at).unwrap_or_default() < pause);
        let may_be = !is_recent && for_this.len() < MOST_REBOOTS;
        may_be.then(|| Due { machine: machine.clone(), vm, rollout: number, before: for_this.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::Digest;
    use crate::model::label::Labels;
    use crate::model::ledger::{Entry, Fact};
    use crate::model::manifest::BundleId;
    use crate::model::rollout::{Boot, Health, Pace, RebootPolicy, Release, Spec, Step, Zones};

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minutes: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + MINUTE * (1_000_000 + minutes)
    }

    fn bundle(of: &str) -> BundleId {
        BundleId::from(Digest::of(of.as_bytes()))
    }

    fn view(bundle: BundleId) -> View {
        let boot = Boot { bundle, at: at(0), health: Health::Good, since: at(0), instead: None };
        View { labels: Labels::new(), follows: None, is_on: true, boot: Some(boot) }
    }

    fn ledger(reboot: RebootPolicy, facts: &[(u32, Fact)]) -> Ledger {
        ledger_of(spec(reboot), facts)
    }

    fn ledger_of(spec: Spec, facts: &[(u32, Fact)]) -> Ledger {
        let (machine, vm) =
            (machine(), VirtualMachine { id: "105".parse().unwrap(), name: "a".into(), uuid: None, serial: None });
        let begun = [
            (0, Fact::Virtual { machine: machine.clone(), vm: Some(vm) }),
            (0, Fact::Started { spec: Box::new(spec) }),
            (0, Fact::Rollout { number: 1, step: Step::Opened { batch: 0, size: 1 } }),
            (1, Fact::Rollout { number: 1, step: Step::Granted { machines: vec![machine] } }),
        ];
        let mut ledger = Ledger::default();
        for (number, (minutes, fact)) in (1..).zip(begun.iter().chain(facts)) {
            ledger.apply(&Entry { number, at: at(*minutes), who: "x".into(), why: None, fact: fact.clone() });
        }
        ledger
    }

    fn machine() -> MachineId {
        "52:54:00:00:00:01".parse().unwrap()
    }

    fn spec(reboot: RebootPolicy) -> Spec {
        let release = |number, of: &str| Release { number, bundle: bundle(of) };
        Spec {
            number: 1,
            profile: "vdi".parse().unwrap(),
            channel: "stable".parse().unwrap(),
            from: release(1, "old"),
            to: release(2, "new"),
            batches: Spec::with_the_rest(Vec::new(), &Pace::default()),
            budgets: Vec::new(),
            windows: Vec::new(),
            blackouts: Vec::new(),
            zones: Zones::default(),
            reboot,
            max_failures: None,
            auto_rollback: false,
        }
    }

    fn due(ledger: &Ledger, runs: &str, minutes: u32) -> Option<usize> {
        ledger.due_reboot(&machine(), &view(bundle(runs)), at(minutes), 5 * MINUTE).map(|due| due.before)
    }

    #[test]
    fn only_what_the_rollout_wants_rebooted_at_once_is_due_and_not_again_and_again() {
        let force = |facts: &[(u32, Fact)]| ledger(RebootPolicy::Force, facts);
        let rebooting = |minutes| (minutes, Fact::Rebooting { machine: machine(), rollout: 1 });
        assert_eq!(due(&force(&[]), "old", 2), Some(0));
        assert_eq!(due(&force(&[]), "new", 2), None, "it runs it already");
        assert_eq!(due(&ledger(RebootPolicy::Natural, &[]), "old", 2), None);
        assert_eq!(due(&ledger(RebootPolicy::Idle(MINUTE), &[]), "old", 2), None, "only the machine knows");
        assert_eq!(due(&ledger(RebootPolicy::Window, &[]), "old", 2), Some(0), "without hours that is at once");
        let within = Spec { windows: vec!["10:00-11:00".parse().unwrap()], ..spec(RebootPolicy::Window) };
        assert_eq!(due(&ledger_of(within, &[]), "old", 2), None, "the machine chooses its moment");
        assert_eq!(due(&force(&[rebooting(2)]), "old", 6), None, "it has time to boot");
        assert_eq!(due(&force(&[rebooting(2)]), "old", 7), Some(1));
        assert_eq!(due(&force(&[rebooting(2), rebooting(7), rebooting(12)]), "old", 60), None, "enough");
        assert_eq!(due(&force(&[(2, Fact::Virtual { machine: machine(), vm: None })]), "old", 3), None);
        let aborted = (2, Fact::Rollout { number: 1, step: Step::Aborted });
        assert_eq!(due(&force(&[aborted]), "old", 3), None);
        let back = [
            rebooting(2),
            rebooting(7),
            rebooting(12),
            (20, Fact::Rollout { number: 1, step: Step::RollingBack { reason: "x".into() } }),
            (20, Fact::Rollout { number: 1, step: Step::Recalled { machines: vec![machine()] } }),
        ];
        assert_eq!(due(&force(&back), "new", 21), Some(0), "to go back is another thing");
    }
}
