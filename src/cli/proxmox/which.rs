//! Which virtual machines are ours, which machine each is, and which of them a person means.

use std::collections::BTreeMap;

use anyhow::bail;

use super::args::Which;
use super::place;
use crate::cli::whom::Found;
use crate::config::Settings;
use crate::fleet::Machine;
use crate::model::identity::Identity;
use crate::model::label::Labels;
use crate::model::label::rule::labels_of;
use crate::model::ledger::Ledger;
use crate::model::machine::MachineId;
use crate::model::name::{ProfileName, nearest};
use crate::model::virtual_machine::{VirtualMachine, VmId};
use crate::proxmox::{Client, Cluster, Vm};

/// One of our virtual machines.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) vm: Vm,
    /// The machine of the fleet that it is.
    pub(super) machine: Option<MachineId>,
    /// What that one follows or has, as far as is known.
    pub(super) profile: Option<ProfileName>,
    pub(super) labels: Labels,
}

/// The cluster and the fleet beside each other.
pub(super) struct Both {
    pub(super) client: Client,
    pub(super) cluster: Cluster,
    pub(super) found: Found,
    pub(super) tag: String,
    pub(super) ours: Vec<Ours>,
}

impl Both {
    pub(super) async fn read(settings: &Settings) -> anyhow::Result<Self> {
        let place = place(&settings.proxmox);
        let client = place.client()?;
        let found = Found::read(settings).await?;
        let cluster = client.cluster().await?;
        let ledger = found.fleet.book().known();
        let known = known_vms(&ledger);
        let of_ours = |vm: &&Vm| vm.tags.contains(&place.tag);
        let ours = cluster.vms.iter().filter(of_ours).map(|vm| ours(vm, &known, &found, &ledger, settings)).collect();
        Ok(Self { client, cluster, found, tag: place.tag, ours })
    }

    /// The machine of the fleet that one of ours is, if it ever asked to boot.
    pub(super) fn machine(&self, ours: &Ours) -> Option<&Machine> {
        let machine = ours.machine.as_ref()?;
        self.found.machines.iter().find(|it| MachineId::from(it.identity.mac) == *machine)
    }

    /// The virtual machines a person means.
    pub(super) fn chosen(&self, which: &Which) -> anyhow::Result<Vec<&Ours>> {
        let mut chosen: Vec<&Ours> = Vec::new();
        if which.vms.is_empty() {
            chosen.extend(&self.ours);
        }
        for text in &which.vms {
            let one = self.named(text)?;
            if !chosen.iter().any(|it| it.vm.id == one.vm.id) {
                chosen.push(one);
            }
        }
        if let Some(profile) = &which.profile {
            chosen.retain(|it| it.profile.as_ref() == Some(profile));
            if chosen.is_empty() {
                let known: Vec<&str> = self.ours.iter().filter_map(|it| Some(it.profile.as_ref()?.as_str())).collect();
                let near = nearest(profile.as_str(), known.iter().copied());
                let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                bail!("no VM of ours boots `{profile}`{hint}; `bivouac proxmox list` lists them");
            }
        }
        if let Some(selector) = &which.labels {
            selector.check(chosen.iter().map(|it| &it.labels))?;
            chosen.retain(|it| selector.matches(&it.labels));
        }
        if chosen.is_empty() {
            bail!("there is no VM with the tag `{}` that this API token may see", self.tag);
        }
        Ok(chosen)
    }

    /// The one of ours with this name or number.
    fn named(&self, text: &str) -> anyhow::Result<&Ours> {
        let found = self.vm(text)?;
        let ours = self.ours.iter().find(|it| it.vm.id == found.id);
        ours.ok_or_else(|| {
            anyhow::anyhow!(
                "{found} is not ours: it has no tag `{}`, and is not touched; `bivouac proxmox adopt {}` takes it in",
                self.tag,
                found.id
            )
        })
    }

    /// The virtual machine of the cluster with this name or number.
    pub(super) fn vm(&self, text: &str) -> anyhow::Result<&Vm> {
        let vms = &self.cluster.vms;
        let called: Vec<&Vm> = vms.iter().filter(|vm| vm.name == text).collect();
        match (called.as_slice(), text.parse::<VmId>()) {
            (_, Ok(id)) if self.cluster.vm(id).is_some() => Ok(self.cluster.vm(id).expect("it was looked at just now")),
            ([one], _) => Ok(one),
            ([one, other, ..], _) => {
                bail!("`{text}` is the name of several VMs, {one} and {other} among them; write the number of one")
            }
            ([], _) => {
                let near = nearest(text, vms.iter().map(|vm| vm.name.as_str()));
                let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                bail!("this API token sees no VM `{text}`{hint}; `bivouac proxmox list` lists those that are ours")
            }
        }
    }
}

/// The machines that are known to be virtual, by number.
fn known_vms(ledger: &Ledger) -> BTreeMap<VmId, Vec<(&MachineId, &VirtualMachine)>> {
    let mut known: BTreeMap<VmId, Vec<(&MachineId, &VirtualMachine)>> = BTreeMap::new();
    for (machine, record) in ledger.records() {
        if let Some(vm) = &record.vm {
            known.entry(vm.id).or_default().push((machine, vm));
        }
    }
    known
}

fn ours(
    vm: &Vm,
    known: &BTreeMap<VmId, Vec<(&MachineId, &VirtualMachine)>>,
    found: &Found,
    ledger: &Ledger,
    settings: &Settings,
) -> Ours {
    // A number is given out anew when its virtual machine is gone; with the name it means the same one.
    let same = known.get(&vm.id).and_then(|known| known.iter().find(|(_, known)| known.name == vm.name));
    let Some((machine, known)) = same else {
        return Ours { vm: vm.clone(), machine: None, profile: None, labels: Labels::new() };
    };
    let record = ledger.record(machine);
    let mac = machine.mac();
    let view = found.census.get(*machine);
    let labels = match (view, mac) {
        (Some(view), _) => view.labels.clone(),
        (None, Some(mac)) => {
            let (uuid, serial) = (known.uuid.clone(), known.serial.clone());
            let identity = Identity { uuid, serial, ..Identity::of(mac) };
            labels_of(&settings.assignments.labels, &identity, record.map(|record| &record.labels))
        }
        (None, None) => Labels::new(),
    };
    let assigned = record.and_then(|record| record.assigned.as_ref()).map(|target| target.profile().clone());
    let by_site = || Some(settings.assignments.of(&mac?)?.profile.clone());
    Ours { vm: vm.clone(), machine: Some((*machine).clone()), profile: assigned.or_else(by_site), labels }
}
