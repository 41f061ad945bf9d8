//! `bivouac proxmox create`.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::Write;

use anyhow::bail;

use super::args::{CreateArgs, HardwareFlags};
use super::{place, show};
use crate::cli::machines::target;
use crate::cli::whom::{Found, by, person, refusal};
use crate::config::Settings;
use crate::model::label::Labels;
use crate::model::ledger::{Fact, Ledger, Record, Target};
use crate::model::machine::MachineId;
use crate::proxmox::plan::{self, Member, Wish};
use crate::proxmox::{Client, ProxmoxError};
use crate::store::Store;

/// The longest beginning of a name: with a number behind it, it is a label of the DNS (RFC 1035, section 2.3.4).
const MAX_PREFIX: usize = 58;

/// What is wished for a profile.
pub(super) fn wish(
    settings: &Settings,
    target: &Target,
    name: Option<&str>,
    count: u16,
    flags: HardwareFlags,
) -> anyhow::Result<Wish> {
    let prefix = name.unwrap_or(target.profile().as_str());
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let is_name = prefix.len() <= MAX_PREFIX
        && prefix.bytes().all(is_inner)
        && prefix.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !is_name {
        bail!(
            "VMs cannot be called `{prefix}-01`: a name is of letters, digits and `-`, and has at most {MAX_PREFIX} before \
             the number; give another beginning with --name"
        );
    }
    let proxmox = &settings.proxmox;
    Ok(Wish {
        prefix: prefix.to_owned(),
        count,
        hardware: proxmox.hardware(target.profile(), flags.into_table())?,
        tag: proxmox.tag.clone(),
        tags: proxmox.tags.clone(),
        place: proxmox.server.clone().unwrap_or_default(),
    })
}

/// Makes virtual machines, so that as many are there as wished.
pub(super) async fn create(settings: &Settings, arguments: CreateArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let CreateArgs { count, profile, name, label, hardware, dry_run, reason } = arguments;
    let target = target(&profile, &Store::look_into(&settings.store()))?;
    let wish = wish(settings, &target, name.as_deref(), count, hardware)?;
    let client = place(&settings.proxmox).client()?;
    let found = Found::read(settings).await?;
    let mut members = plan(&wish, &client).await?;
    let ledger = found.fleet.book().known();
    let mut off = Vec::new();
    for member in &mut members {
        // Whoever switched off one that was in use meant it; one that never booted was not reached the last time.
        if member.made_by.is_none() && was_in_use(member, &found, &ledger) && member.started_by.take().is_some() {
            off.push(member.vm.name.clone());
        }
    }
    let labels: Labels = label.into_iter().map(|label| (label.key, label.value)).collect();
    let facts = facts(&members, &target, &labels, &ledger)?;
    let calls = members.iter().flat_map(|it| it.made_by.iter().chain(&it.started_by)).cloned().collect::<Vec<_>>();
    if dry_run {
        for fact in &facts {
            writeln!(out, "would {fact}")?;
        }
        show(&calls, out)?;
        return Ok(());
    }
    // The fleet first: a machine that boots must not be one that nobody knows.
    let person = person();
    let decide = |_: &Ledger| Ok::<_, Infallible>(facts.clone());
    found.fleet.book().decide(by(&person, reason.why.as_deref()), decide).await.map_err(refusal)?;
    let mut done = Done::default();
    for member in &members {
        let made = done.make(&client, member, out).await;
        if let Err(error) = made {
            let left = members.iter().skip(done.members).map(|it| it.vm.name.as_str());
            return Err(anyhow::Error::new(error).context(done.halfway(left)));
        }
    }
    let (total, new) = (members.len(), done.made.len());
    writeln!(out, "{total} VMs are there; {new} of them are new.")?;
    if !off.is_empty() {
        writeln!(out, "Switched off, and left so: {}; `bivouac proxmox start` starts them.", off.join(", "))?;
    }
    Ok(())
}

/// Reads how the cluster is, and works out what is to be done.
async fn plan(wish: &Wish, client: &Client) -> anyhow::Result<Vec<Member>> {
    let cluster = client.cluster().await?;
    let names: BTreeSet<String> = wish.names().collect();
    let mut configs = BTreeMap::new();
    for vm in cluster.vms.iter().filter(|vm| names.contains(&vm.name) && vm.tags.contains(&wish.tag)) {
        configs.insert(vm.id, client.config(&vm.node, vm.id).await?);
    }
    let free = client.free_ids(wish.missing(&cluster)).await?;
    Ok(plan::create(wish, &cluster, &free, &configs)?)
}

/// Whether a virtual machine asked to boot since it is this one; its machine may have been another one before.
fn was_in_use(member: &Member, found: &Found, ledger: &Ledger) -> bool {
    let since = ledger.record(&member.mac.into()).and_then(|record| record.vm_since);
    let machine = found.machines.iter().find(|machine| machine.identity.mac == member.mac);
    machine.is_some_and(|machine| since.is_none_or(|since| machine.last_seen >= since))
}

/// What the fleet has to know of them and does not.
fn facts(members: &[Member], target: &Target, labels: &Labels, ledger: &Ledger) -> anyhow::Result<Vec<Fact>> {
    let (mut assigned, mut labelled, mut virtual_ones) = (Vec::new(), Vec::new(), Vec::new());
    for member in members {
        let machine = MachineId::from(member.mac);
        let record = ledger.record(&machine);
        match record.and_then(|record| record.assigned.as_ref()) {
            // A machine that is made anew boots what it is made for.
            Some(other) if other != target && member.made_by.is_none() => bail!(
                "{} is there and boots {other}, not {target}; `bivouac assign {machine} {target}` changes that, and --name \
                 makes others",
                member.vm.name
            ),
            Some(same) if same == target => {}
            _ => assigned.push(machine.clone()),
        }
        let has = |record: &Record| labels.iter().all(|(k, v)| record.labels.get(k) == Some(v));
        if !labels.is_empty() && !record.is_some_and(has) {
            labelled.push(machine.clone());
        }
        if record.and_then(|record| record.vm.as_ref()) != Some(&member.vm) {
            virtual_ones.push(Fact::Virtual { machine, vm: Some(member.vm.clone()) });
        }
    }
    let mut facts = Vec::new();
    if !assigned.is_empty() {
        facts.push(Fact::Assigned { machines: assigned, to: Some(target.clone()) });
    }
    if !labelled.is_empty() {
        facts.push(Fact::Labelled { machines: labelled, set: labels.clone(), removed: BTreeSet::new() });
    }
    facts.extend(virtual_ones);
    Ok(facts)
}

/// How far it came.
#[derive(Debug, Default)]
struct Done {
    /// How many members need nothing more, the first ones.
    members: usize,
    made: Vec<String>,
    /// The one that was made and could not be started.
    stuck: Option<String>,
}

impl Done {
    async fn make(&mut self, client: &Client, member: &Member, out: &mut dyn Write) -> Result<(), ProxmoxError> {
        let (vm, node) = (&member.vm, &member.node);
        // Nobody is left to tell when standard output is closed, and half a machine is worse than an untold one.
        if let Some(call) = &member.made_by {
            client.run(call).await?;
            self.made.push(vm.name.clone());
            let _ = writeln!(out, "{vm} made on {node}: machine {}", member.mac);
        }
        if let Some(call) = &member.started_by {
            self.stuck = Some(vm.name.clone());
            client.run(call).await?;
            self.stuck = None;
            let _ = writeln!(out, "{vm} started");
        }
        self.members += 1;
        Ok(())
    }

    /// What there is now, when not all could be done; `left` are those that are not as wished.
    fn halfway<'a>(&self, left: impl Iterator<Item = &'a str>) -> String {
        let listed = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let made: Vec<&str> = self.made.iter().map(String::as_str).collect();
        let stuck = self.stuck.as_ref().map_or_else(String::new, |name| format!("; there and not started: {name}"));
        let left: Vec<&str> = left.filter(|name| self.stuck.as_deref() != Some(*name)).collect();
        format!(
            "it ended halfway: made were {}{stuck}; not done: {}. Run the same command again when the cause is gone: it goes \
             on where this ended",
            listed(&made),
            listed(&left)
        )
    }
}
