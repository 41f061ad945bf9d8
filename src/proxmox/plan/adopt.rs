//! Taking in virtual machines that somebody made by hand.

use crate::model::mac::Mac;
use crate::model::virtual_machine::{Birth, VirtualMachine};
use crate::proxmox::{Call, Card, Method, PropertyError, Smbios, Vm, VmConfig};

/// Why a virtual machine cannot be taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// It does not run.
    #[error("{0} is a template, which does not run; take in what is made of it")]
    Template(String),
    /// It has no network card to boot from.
    #[error("{vm} has no first network card to boot from; give it one with `qm set {id} --net0 virtio,bridge=vmbr0`")]
    NoCard {
        /// The machine.
        vm: String,
        /// Its number.
        id: String,
        /// What is wrong with the setting.
        source: PropertyError,
    },
    /// What it says of itself cannot be read.
    #[error("what {vm} says of itself (smbios1) cannot be read; put it right in the options of the VM")]
    Smbios {
        /// The machine.
        vm: String,
        /// What is wrong with it.
        source: PropertyError,
    },
}

/// What is changed of a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// The virtual machine, as it is then.
    pub vm: VirtualMachine,
    /// The address of its first network card.
    pub mac: Mac,
    /// The call; nothing when all is as it should be.
    pub call: Option<Call>,
    /// Each setting that changes: its name, what it was, what it will be.
    pub changes: Vec<(&'static str, Option<String>, String)>,
}

/// What has to change so that a virtual machine is one of ours: our tag, the network before everything else it may boot
/// from, a random number generator, and a UUID and serial number to be known by, where it has none.
///
/// # Errors
/// When it cannot boot from the network.
pub fn adopt(vm: &Vm, config: &VmConfig, tag: &str, place: &str) -> Result<Adoption, AdoptError> {
    let shown = vm.to_string();
    if vm.is_template {
        return Err(AdoptError::Template(shown));
    }
    let card: Card = match config.net0.as_deref().unwrap_or_default().parse() {
        Ok(card) => card,
        Err(source) => return Err(AdoptError::NoCard { vm: shown, id: vm.id.to_string(), source }),
    };
    let smbios: Smbios = match config.smbios1.as_deref().unwrap_or_default().parse() {
        Ok(smbios) => smbios,
        Err(source) => return Err(AdoptError::Smbios { vm: shown, source }),
    };
    let mut changes: Vec<(&'static str, Option<String>, String)> = Vec::new();
    let mut tags = config.tags();
    if tags.insert(tag.to_owned()) {
        changes.push(("tags", config.tags.clone(), tags.into_iter().collect::<Vec<_>>().join(";")));
    }
    let order = config.boot.as_deref().map(order).unwrap_or_default();
    if order.first().map(String::as_str) != Some("net0") {
        let rest = order.into_iter().filter(|device| device != "net0");
        let order: Vec<String> = std::iter::once("net0".to_owned()).chain(rest).collect();
        changes.push(("boot", config.boot.clone(), format!("order={}", order.join(";"))));
    }
    if config.rng0.is_none() {
        changes.push(("rng0", None, "source=/dev/urandom".to_owned()));
    }
    let name = if vm.name.is_empty() { format!("vm-{}", vm.id) } else { vm.name.clone() };
    let birth = Birth::of(place, name.clone());
    let uuid = smbios.uuid.clone().unwrap_or(birth.uuid);
    let serial = smbios.serial.clone().unwrap_or_else(|| name.clone());
    if smbios.uuid.is_none() || smbios.serial.is_none() {
        changes.push(("smbios1", config.smbios1.clone(), smbios.with(&uuid, &serial)));
    }
    let call = (!changes.is_empty()).then(|| {
        let path = format!("/nodes/{}/qemu/{}/config", vm.node, vm.id);
        let needs = format!("VM.Config.HWType and VM.Config.Options on /vms/{}", vm.id);
        let call = Call::new(Method::Put, path, format!("change {shown}"), needs);
        let call = changes.iter().fold(call, |call, (name, _, value)| call.with(name, value));
        // Whoever changed it meanwhile did not see this.
        match &config.digest {
            Some(digest) => call.with("digest", digest),
            None => call,
        }
    });
    let known = VirtualMachine { id: vm.id, name, uuid: Some(uuid), serial: Some(serial) };
    Ok(Adoption { vm: known, mac: card.mac, call, changes })
}

/// The devices of a boot order. The old way of writing one (`cdn`) names no devices, and says nothing.
fn order(text: &str) -> Vec<String> {
    let order = text.split(',').find_map(|part| part.trim().strip_prefix("order="));
    order.unwrap_or_default().split(';').filter(|device| !device.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm() -> Vm {
        Vm {
            id: "105".parse().unwrap(),
            name: "db".to_owned(),
            node: "pve1".to_owned(),
            status: "stopped".to_owned(),
            tags: Default::default(),
            lock: None,
            is_template: false,
        }
    }

    fn config() -> VmConfig {
        VmConfig {
            net0: Some("virtio=BC:24:11:00:00:01,bridge=vmbr0".to_owned()),
            boot: Some("order=scsi0;net0".to_owned()),
            smbios1: Some("uuid=0e0d8d0f-6b5e-4f5a-8c3b-0123456789ab".to_owned()),
            tags: Some("prod;web".to_owned()),
            digest: Some("abc".to_owned()),
            ..VmConfig::default()
        }
    }

    #[test]
    fn only_what_is_missing_changes_and_a_second_time_nothing_does() {
        let adoption = adopt(&vm(), &config(), "bivouac", "p").unwrap();
        let call = adoption.call.unwrap();
        for (name, value) in [
            ("tags", "bivouac;prod;web"),
            ("boot", "order=net0;scsi0"),
            ("rng0", "source=/dev/urandom"),
            ("smbios1", "uuid=0e0d8d0f-6b5e-4f5a-8c3b-0123456789ab,serial=ZGI=,base64=1"),
            ("digest", "abc"),
        ] {
            assert_eq!(call.parameter(name), Some(value));
        }
        let now = |name: &str| call.parameter(name).map(str::to_owned);
        let after =
            VmConfig { tags: now("tags"), boot: now("boot"), rng0: now("rng0"), smbios1: now("smbios1"), ..config() };
        let again = adopt(&vm(), &after, "bivouac", "p").unwrap();
        assert_eq!((again.call, again.vm), (None, adoption.vm));
    }

    #[test]
    fn what_cannot_boot_from_the_network_is_refused() {
        let bare = VmConfig { net0: None, ..config() };
        assert!(adopt(&vm(), &bare, "bivouac", "p").unwrap_err().to_string().contains("qm set 105 --net0"));
        let template = Vm { is_template: true, ..vm() };
        assert!(adopt(&template, &config(), "bivouac", "p").unwrap_err().to_string().contains("is a template"));
    }
}
