//! `bivouac proxmox start`, `stop`, `reboot` and `delete`.

use std::convert::Infallible;
use std::io::Write;

use anyhow::bail;
use futures_util::{StreamExt as _, stream};

use super::args::{Trial, Which};
use super::which::{Both, Ours};
use super::{confirm, show};
use crate::cli::report::chain;
use crate::cli::whom::{by, person, refusal};
use crate::config::Settings;
use crate::model::ledger::{Fact, Ledger};
use crate::proxmox::plan::{self, Power};
use crate::proxmox::{Call, Client, ProxmoxError, Rebooted, Vm};

/// How many virtual machines are worked on at once: a node starts several well, and not a whole room.
const AT_ONCE: usize = 4;

/// Switches virtual machines on or off, or reboots them.
pub(super) async fn power(
    settings: &Settings,
    which: &Which,
    power: Power,
    trial: Trial,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let both = Both::read(settings).await?;
    let chosen = both.chosen(which)?;
    if trial.dry_run {
        let calls: Vec<Call> = chosen.iter().flat_map(|ours| plan::power(&ours.vm, power)).collect();
        show(&calls, out)?;
        return Ok(());
    }
    let work = chosen.iter().map(|ours| async { (&ours.vm, do_it(&both.client, &ours.vm, power).await) });
    let mut ended = stream::iter(work).buffered(AT_ONCE);
    let mut failed = Failed::default();
    while let Some((vm, result)) = ended.next().await {
        match result {
            // Nobody is left to tell when standard output is closed; what was begun is brought to its end all the same.
            Ok(what) => drop(writeln!(out, "{vm} {what}")),
            Err(error) => failed.add(&error),
        }
    }
    failed.into_result(chosen.len())
}

async fn do_it(client: &Client, vm: &Vm, power: Power) -> Result<&'static str, ProxmoxError> {
    if power == Power::Reboot {
        return Ok(match client.reboot(vm, || true).await? {
            Rebooted::Asked => "rebooted",
            Rebooted::Forced => "did not reboot when it was asked to, and was switched off and on",
            Rebooted::Started => "was off, and started",
        });
    }
    let calls = plan::power(vm, power);
    if calls.is_empty() {
        return Ok(if power == Power::Start { "runs already" } else { "is off already" });
    }
    for call in calls {
        client.run(&call).await?;
    }
    Ok(if power == Power::Start { "started" } else { "stopped" })
}

/// Prints the calls that would remove virtual machines.
pub(super) async fn show_delete(settings: &Settings, which: &Which, out: &mut dyn Write) -> anyhow::Result<()> {
    let both = Both::read(settings).await?;
    let calls: Vec<Call> = both.chosen(which)?.iter().flat_map(|ours| plan::delete(&ours.vm)).collect();
    Ok(show(&calls, out)?)
}

/// Removes virtual machines.
pub(super) async fn delete(settings: &Settings, which: &Which, yes: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let both = Both::read(settings).await?;
    let chosen = both.chosen(which)?;
    let names: Vec<String> = chosen.iter().map(|ours| ours.vm.to_string()).collect();
    if !confirm(&format!("Delete {}?", names.join(", ")), yes)? {
        writeln!(out, "Nothing was deleted.")?;
        return Ok(());
    }
    let mut failed = Failed::default();
    for ours in &chosen {
        match remove(&both, ours).await {
            Ok(()) => drop(writeln!(out, "{} deleted", ours.vm)),
            Err(error) => failed.list.push(format!("{error:#}")),
        }
    }
    failed.into_result(chosen.len())
}

async fn remove(both: &Both, ours: &Ours) -> anyhow::Result<()> {
    for call in plan::delete(&ours.vm) {
        both.client.run(&call).await?;
    }
    let Some(machine) = ours.machine.clone() else { return Ok(()) };
    let facts = vec![Fact::Virtual { machine, vm: None }];
    let person = person();
    let decide = |_: &Ledger| Ok::<_, Infallible>(facts.clone());
    both.found.fleet.book().decide(by(&person, None), decide).await.map_err(refusal)?;
    Ok(())
}

/// What did not go well, while the rest did.
#[derive(Default)]
struct Failed {
    list: Vec<String>,
}

impl Failed {
    fn add(&mut self, error: &ProxmoxError) {
        self.list.push(chain(error));
    }

    fn into_result(self, of: usize) -> anyhow::Result<()> {
        match self.list.as_slice() {
            [] => Ok(()),
            [only] if of == 1 => bail!("{only}"),
            list => bail!("{} of {of} VMs failed:\n  {}", list.len(), list.join("\n  ")),
        }
    }
}
