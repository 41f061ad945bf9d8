//! Rebooting a virtual machine, one way or the other.

use super::plan::{Power, force_reboot, power};
use super::{Client, ProxmoxError, Vm};

/// How a machine was rebooted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebooted {
    /// It shut down when it was asked to.
    Asked,
    /// It did not, and was switched off and on.
    Forced,
    /// It was off, and was switched on.
    Started,
}

impl Client {
    /// Reboots a machine: asks it to, and when it does not do so, for want of a guest agent or of anything that listens to
    /// its power button, switches it off and on, if `is_wanted` says that this has to be still.
    ///
    /// # Errors
    /// As of any call.
    pub async fn reboot(&self, vm: &Vm, is_wanted: impl Fn() -> bool) -> Result<Rebooted, ProxmoxError> {
        for call in power(vm, Power::Reboot) {
            match self.run(&call).await {
                Ok(()) => {}
                Err(ProxmoxError::Task { .. }) if !is_wanted() => {}
                Err(ProxmoxError::Task { .. }) if vm.is_running() => {
                    for call in force_reboot(vm) {
                        self.run(&call).await?;
                    }
                    return Ok(Rebooted::Forced);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(if vm.is_running() { Rebooted::Asked } else { Rebooted::Started })
    }
}
