//! `bivouac proxmox adopt`.

use std::convert::Infallible;
use std::io::Write;

use super::args::AdoptArgs;
use super::which::Both;
use super::{confirm, show};
use crate::cli::machines::target;
use crate::cli::report::plain;
use crate::cli::whom::{by, person, refusal};
use crate::config::Settings;
use crate::model::ledger::{Fact, Ledger};
use crate::proxmox::plan::{self, Adoption};
use crate::proxmox::{Call, Vm};
use crate::store::Store;

/// Takes in virtual machines that somebody made by hand.
pub(super) async fn adopt(settings: &Settings, arguments: AdoptArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let AdoptArgs { vms, profile, dry_run, yes, reason } = arguments;
    let store = Store::look_into(&settings.store());
    let target = profile.map(|text| target(&text, &store)).transpose()?;
    let both = Both::read(settings).await?;
    let place = settings.proxmox.server.clone().unwrap_or_default();
    let mut adoptions: Vec<(&Vm, Adoption)> = Vec::new();
    for text in &vms {
        let vm = both.vm(text)?;
        let config = both.client.config(&vm.node, vm.id).await?;
        adoptions.push((vm, plan::adopt(vm, &config, &both.tag, &place)?));
    }
    let ledger = both.found.fleet.book().known();
    let mut facts = Vec::new();
    for (vm, adoption) in &adoptions {
        tell(vm, adoption, out)?;
        // A machine that is kept under another of its cards is meant by each of them.
        for machine in both.found.whom(&adoption.mac.to_string())? {
            let record = ledger.record(&machine);
            if record.and_then(|record| record.vm.as_ref()) != Some(&adoption.vm) {
                facts.push(Fact::Virtual { machine: machine.clone(), vm: Some(adoption.vm.clone()) });
            }
            if target.is_some() && record.and_then(|record| record.assigned.as_ref()) != target.as_ref() {
                facts.push(Fact::Assigned { machines: vec![machine], to: target.clone() });
            }
        }
    }
    let calls: Vec<&Call> = adoptions.iter().filter_map(|(_, adoption)| adoption.call.as_ref()).collect();
    if dry_run {
        for fact in &facts {
            writeln!(out, "would {fact}")?;
        }
        show(&calls.into_iter().cloned().collect::<Vec<_>>(), out)?;
        return Ok(());
    }
    if calls.is_empty() && facts.is_empty() {
        writeln!(out, "Nothing changes.")?;
        return Ok(());
    }
    if !calls.is_empty() && !confirm("Change the settings of these VMs?", yes)? {
        writeln!(out, "Nothing was changed.")?;
        return Ok(());
    }
    for call in calls {
        both.client.run(call).await?;
    }
    let person = person();
    let decide = |_: &Ledger| Ok::<_, Infallible>(facts.clone());
    let written = both.found.fleet.book().decide(by(&person, reason.why.as_deref()), decide).await.map_err(refusal)?;
    for entry in written {
        writeln!(out, "{}", entry.fact)?;
    }
    if adoptions.iter().any(|(vm, adoption)| vm.is_running() && adoption.call.is_some()) {
        writeln!(
            out,
            "Those that run have the changes once they were stopped and started; `bivouac proxmox reboot` does."
        )?;
    }
    Ok(())
}

/// Says what changes of a virtual machine.
fn tell(vm: &Vm, adoption: &Adoption, out: &mut dyn Write) -> std::io::Result<()> {
    if adoption.changes.is_empty() {
        return writeln!(out, "{vm}: all is as it should be");
    }
    writeln!(out, "{vm}:")?;
    for (name, was, will_be) in &adoption.changes {
        let was = was.as_deref().map_or_else(|| "nothing".to_owned(), plain);
        writeln!(out, "  {name}: {was} -> {}", plain(will_be))?;
    }
    Ok(())
}
