//! Switching virtual machines on and off, and removing them.

use std::time::Duration;

use crate::model::virtual_machine::VmId;
use crate::proxmox::{Call, Method, Vm};

/// How long a machine has to shut down before it is switched off.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// What is done with machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Switched on.
    Start,
    /// Asked to shut down, and switched off when they do not.
    Shutdown,
    /// Switched off.
    Stop,
    /// Asked to reboot.
    Reboot,
}

impl Power {
    /// The call that does it.
    #[must_use]
    pub fn call(self, id: VmId, name: &str, node: &str) -> Call {
        let (word, verb) = match self {
            Self::Start => ("start", "start"),
            Self::Shutdown => ("shutdown", "shut down"),
            Self::Stop => ("stop", "stop"),
            Self::Reboot => ("reboot", "reboot"),
        };
        let path = format!("/nodes/{node}/qemu/{id}/status/{word}");
        let purpose = format!("{verb} VM {id} `{name}` on {node}");
        let call = Call::new(Method::Post, path, purpose, format!("VM.PowerMgmt on /vms/{id}"));
        match self {
            Self::Shutdown => call.with("forceStop", 1).with("timeout", SHUTDOWN.as_secs()),
            Self::Reboot => call.with("timeout", SHUTDOWN.as_secs()),
            Self::Start | Self::Stop => call,
        }
    }
}

/// Whether something is left to do.
fn is_due(vm: &Vm, power: Power) -> bool {
    match power {
        Power::Start => !vm.is_running(),
        Power::Shutdown | Power::Stop => vm.is_running(),
        Power::Reboot => true,
    }
}

/// The calls that do it; none when nothing is left to do. What is off is rebooted by switching it on.
#[must_use]
pub fn power(vm: &Vm, power: Power) -> Vec<Call> {
    let power = if power == Power::Reboot && !vm.is_running() { Power::Start } else { power };
    if is_due(vm, power) { vec![power.call(vm.id, &vm.name, &vm.node)] } else { Vec::new() }
}

/// The calls that reboot a machine which does not do so when it is asked: no guest agent, or nothing that listens to the
/// power button.
#[must_use]
pub fn force_reboot(vm: &Vm) -> Vec<Call> {
    [Power::Stop, Power::Start].map(|power| power.call(vm.id, &vm.name, &vm.node)).into()
}

/// The calls that remove a machine. It has no disk that could be lost; backup and replication jobs forget it.
#[must_use]
pub fn delete(vm: &Vm) -> Vec<Call> {
    let Vm { id, name, node, .. } = vm;
    let path = format!("/nodes/{node}/qemu/{id}");
    let purpose = format!("delete VM {id} `{name}` on {node}");
    let removal = Call::new(Method::Delete, path, purpose, format!("VM.Allocate on /vms/{id}")).with("purge", 1);
    power(vm, Power::Stop).into_iter().chain([removal]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(status: &str) -> Vm {
        Vm {
            id: "105".parse().unwrap(),
            name: "thin-01".to_owned(),
            node: "pve1".to_owned(),
            status: status.to_owned(),
            tags: Default::default(),
            lock: None,
            is_template: false,
        }
    }

    fn words(calls: &[Call]) -> Vec<&str> {
        calls.iter().map(|call| call.path.rsplit('/').next().unwrap()).collect()
    }

    #[test]
    fn nothing_is_done_twice_and_what_is_off_is_rebooted_by_switching_it_on() {
        assert_eq!(words(&power(&vm("running"), Power::Start)), [""; 0]);
        assert_eq!(words(&power(&vm("stopped"), Power::Stop)), [""; 0]);
        assert_eq!(words(&power(&vm("stopped"), Power::Reboot)), ["start"]);
        assert_eq!(words(&power(&vm("running"), Power::Reboot)), ["reboot"]);
        assert_eq!(words(&force_reboot(&vm("running"))), ["stop", "start"]);
        assert_eq!(words(&delete(&vm("running"))), ["stop", "105"]);
        assert_eq!(words(&delete(&vm("stopped"))), ["105"]);
    }
}
