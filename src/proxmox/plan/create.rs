//! Making virtual machines that need no disk.

use std::collections::{BTreeMap, BTreeSet};

use super::Power;
use crate::model::mac::Mac;
use crate::model::virtual_machine::{Birth, Hardware, VirtualMachine, VmId, numbered};
use crate::proxmox::{Call, Card, Cluster, Method, Node, PropertyError, Smbios, VmConfig};

/// Why machines cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// Another one has the name.
    #[error(
        "VM {id} on {node} is called `{name}` and is not ours: it has no tag `{tag}`; take another name with --name, or \
         take that one in with `bivouac proxmox adopt {id}`"
    )]
    NotOurs {
        /// Its number.
        id: VmId,
        /// Its node.
        node: String,
        /// Its name.
        name: String,
        /// The tag it lacks.
        tag: String,
    },
    /// Two of ours have the name.
    #[error("VM {one} and VM {other} are both called `{name}`; rename one of them, so that a name means one VM")]
    Twice {
        /// The name.
        name: String,
        /// The first.
        one: VmId,
        /// The second.
        other: VmId,
    },
    /// It is a template.
    #[error("VM {id} `{name}` is a template, which does not run; take another name with --name")]
    Template {
        /// Its number.
        id: VmId,
        /// Its name.
        name: String,
    },
    /// No node is up, of those that may be taken.
    #[error("no node is up of those that may be taken ({wanted}); the cluster has {known}")]
    NoNode {
        /// Those that may be taken.
        wanted: String,
        /// The nodes there are.
        known: String,
    },
    /// Nobody can tell which node has room.
    #[error(
        "the memory of the nodes {0} is not shown to this API token, so none can be chosen: give it Sys.Audit on /nodes, or \
         name one with --node"
    )]
    Unknown(String),
    /// One of ours cannot boot from the network.
    #[error("VM {id} `{name}` cannot be one of them")]
    Card {
        /// Its number.
        id: VmId,
        /// Its name.
        name: String,
        /// What is wrong with its card.
        source: PropertyError,
    },
}

/// What is wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// What their names begin with.
    pub prefix: String,
    /// How many there shall be in all.
    pub count: u16,
    /// What they are made of.
    pub hardware: Hardware,
    /// The tag by which virtual machines are ours.
    pub tag: String,
    /// More tags for new ones.
    pub tags: Vec<String>,
    /// Where they are made: what makes two machines of the same name at two places two machines.
    pub place: String,
}

/// One of the machines wished for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The virtual machine.
    pub vm: VirtualMachine,
    /// The address of its network card, which is what the fleet knows it by.
    pub mac: Mac,
    /// The node it is on, or will be on.
    pub node: String,
    /// How it is made; nothing when it is there.
    pub made_by: Option<Call>,
    /// How it is switched on; nothing when it is on.
    pub started_by: Option<Call>,
}

impl Wish {
    /// The names of all of them.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        numbered(&self.prefix, self.count)
    }

    /// How many of them are not there.
    #[must_use]
    pub fn missing(&self, cluster: &Cluster) -> usize {
        let there: BTreeSet<&str> = cluster.vms.iter().map(|vm| vm.name.as_str()).collect();
        self.names().filter(|name| !there.contains(name.as_str())).count()
    }
}

/// The machines wished for, in the order of their names, with what has to be done so that each is there and is switched
/// on. `free` are numbers for new ones, `configs` the settings of those that are there.
///
/// # Errors
/// When a name means another machine, or no node can be chosen.
pub fn create(
    wish: &Wish,
    cluster: &Cluster,
    free: &[VmId],
    configs: &BTreeMap<VmId, VmConfig>,
) -> Result<Vec<Member>, CreateError> {
    let mut room = Room::of(wish, cluster);
    let mut free = free.iter();
    let mut members = Vec::new();
    for name in wish.names() {
        let mut called = cluster.vms.iter().filter(|vm| vm.name == name);
        let Some(vm) = called.next() else {
            let node = room.take(wish)?;
            // Whoever asks has counted how many are missing.
            let Some(id) = free.next() else { break };
            let birth = Birth::of(&wish.place, name);
            let made_by = Some(made(wish, &birth, *id, &node));
            let started_by = Some(Power::Start.call(*id, &birth.name, &node));
            members.push(Member { vm: birth.as_vm(*id), mac: birth.mac, node, made_by, started_by });
            continue;
        };
        if !vm.tags.contains(&wish.tag) {
            let (id, node, tag) = (vm.id, vm.node.clone(), wish.tag.clone());
            return Err(CreateError::NotOurs { id, node, name, tag });
        }
        if let Some(other) = called.next() {
            return Err(CreateError::Twice { name, one: vm.id, other: other.id });
        }
        if vm.is_template {
            return Err(CreateError::Template { id: vm.id, name });
        }
        let config = configs.get(&vm.id).cloned().unwrap_or_default();
        let card: Card = match config.net0.unwrap_or_default().parse() {
            Ok(card) => card,
            Err(source) => return Err(CreateError::Card { id: vm.id, name, source }),
        };
        // What cannot be read says nothing of it.
        let smbios: Smbios = config.smbios1.unwrap_or_default().parse().unwrap_or_default();
        let started_by = (!vm.is_running()).then(|| Power::Start.call(vm.id, &name, &vm.node));
        let known = VirtualMachine { id: vm.id, name, uuid: smbios.uuid, serial: smbios.serial };
        members.push(Member { vm: known, mac: card.mac, node: vm.node.clone(), made_by: None, started_by });
    }
    Ok(members)
}

/// The nodes that may be taken, with their free memory.
struct Room<'a> {
    nodes: Vec<(&'a str, Option<u64>)>,
    known: String,
}

impl<'a> Room<'a> {
    fn of(wish: &Wish, cluster: &'a Cluster) -> Self {
        let wanted = &wish.hardware.nodes;
        let may_be = |name: &str| wanted.is_empty() || wanted.iter().any(|node| node == name);
        let up = cluster.nodes.iter().filter(|node| node.is_online && may_be(&node.name));
        let shown = |node: &Node| {
            let state = if node.is_online { "" } else { ", which is off" };
            format!("{}{state}", node.name)
        };
        let known = cluster.nodes.iter().map(shown).collect::<Vec<_>>().join(", ");
        Self { nodes: up.map(|node| (node.name.as_str(), node.free)).collect(), known }
    }

    /// The node with the most free memory; of equal ones, the first by name.
    fn take(&mut self, wish: &Wish) -> Result<String, CreateError> {
        let bytes = u64::from(wish.hardware.memory) << 20;
        if let [(only, _)] = self.nodes.as_slice() {
            return Ok((*only).to_owned());
        }
        let blind: Vec<&str> = self.nodes.iter().filter(|(_, free)| free.is_none()).map(|(name, _)| *name).collect();
        if !blind.is_empty() {
            return Err(CreateError::Unknown(blind.join(", ")));
        }
        let best = self.nodes.iter_mut().rev().max_by_key(|(_, free)| *free);
        let Some((name, free)) = best else {
            let wanted = match wish.hardware.nodes.as_slice() {
                [] => "all".to_owned(),
                nodes => nodes.join(", "),
            };
            let known = if self.known.is_empty() { "none that it shows".to_owned() } else { self.known.clone() };
            return Err(CreateError::NoNode { wanted, known });
        };
        *free = free.map(|free| free.saturating_sub(bytes));
        Ok((*name).to_owned())
    }
}

/// The call that makes a machine.
fn made(wish: &Wish, birth: &Birth, id: VmId, node: &str) -> Call {
    let Hardware { bridge, pool, .. } = &wish.hardware;
    let allocate = pool.as_ref().map_or_else(|| "/vms".to_owned(), |pool| format!("/pool/{pool}"));
    let needs = format!(
        "VM.Allocate, VM.Config.CPU, VM.Config.Memory, VM.Config.Network, VM.Config.HWType and VM.Config.Options on \
         {allocate}, and SDN.Use on /sdn/zones/localnet/{bridge}"
    );
    let purpose = format!("make VM {id} `{}` on {node}", birth.name);
    let call = Call::new(Method::Post, format!("/nodes/{node}/qemu"), purpose, needs).with("vmid", id);
    settings(wish, birth).into_iter().fold(call, |call, (name, value)| call.with(name, value))
}

/// The settings of a new machine: those of the API, and the options of `qm create`, which have the same names.
pub(in crate::proxmox) fn settings(wish: &Wish, birth: &Birth) -> Vec<(&'static str, String)> {
    let Hardware { memory, cores, cpu, bridge, vlan, pool, firmware, display, has_agent, has_serial, .. } =
        &wish.hardware;
    let Birth { name, mac, uuid } = birth;
    let vlan = vlan.map_or_else(String::new, |vlan| format!(",tag={vlan}"));
    let tags: BTreeSet<&str> = wish.tags.iter().chain([&wish.tag]).map(String::as_str).collect();
    let always = [
        ("name", name.clone()),
        ("ostype", "l26".to_owned()),
        ("memory", memory.to_string()),
        // What has no swap and no disk gives no memory back.
        ("balloon", "0".to_owned()),
        ("cores", cores.to_string()),
        ("bios", firmware.word().to_owned()),
        ("vga", display.word().to_owned()),
        ("net0", format!("virtio={},bridge={bridge}{vlan}", mac.to_string().to_ascii_uppercase())),
        ("boot", "order=net0".to_owned()),
        // Without one, OVMF boots from no network (fleet.md, section 5).
        ("rng0", "source=/dev/urandom".to_owned()),
        ("smbios1", Smbios::default().with(uuid, name)),
        ("tags", tags.into_iter().collect::<Vec<_>>().join(";")),
    ];
    let at_times = [
        ("cpu", cpu.clone()),
        ("pool", pool.clone()),
        ("agent", has_agent.then(|| "enabled=1".to_owned())),
        ("serial0", has_serial.then(|| "socket".to_owned())),
    ];
    let at_times = at_times.into_iter().filter_map(|(name, value)| Some((name, value?)));
    always.into_iter().chain(at_times).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::virtual_machine::{Display, Firmware};
    use crate::proxmox::Vm;

    fn wish(count: u16) -> Wish {
        let hardware = Hardware {
            memory: 1024,
            cores: 2,
            cpu: None,
            bridge: "vmbr0".to_owned(),
            vlan: Some(20),
            pool: None,
            nodes: Vec::new(),
            firmware: Firmware::Ovmf,
            display: Display::Qxl,
            has_agent: false,
            has_serial: true,
        };
        let (tag, place) = ("bivouac".to_owned(), "https://pve:8006".to_owned());
        Wish { prefix: "thin".to_owned(), count, hardware, tag, tags: vec!["vdi".to_owned()], place }
    }

    fn node(name: &str, free: u64) -> Node {
        Node { name: name.to_owned(), is_online: true, free: Some(free << 20) }
    }

    fn ids(first: u32, count: u32) -> Vec<VmId> {
        (first..first + count).map(|id| id.try_into().unwrap()).collect()
    }

    /// The cluster once a plan was carried out.
    fn done(cluster: &Cluster, members: &[Member]) -> (Cluster, BTreeMap<VmId, VmConfig>) {
        let mut after = cluster.clone();
        let mut configs = BTreeMap::new();
        for member in members {
            if let Some(call) = &member.made_by {
                let text = |name: &str| call.parameter(name).map(str::to_owned);
                after.vms.push(Vm {
                    id: member.vm.id,
                    name: text("name").unwrap(),
                    node: member.node.clone(),
                    status: "running".to_owned(),
                    tags: text("tags").unwrap().split(';').map(str::to_owned).collect(),
                    lock: None,
                    is_template: false,
                });
                let config = VmConfig { net0: text("net0"), smbios1: text("smbios1"), ..VmConfig::default() };
                configs.insert(member.vm.id, config);
            }
        }
        (after, configs)
    }

    #[test]
    fn machines_go_where_memory_is_and_the_calls_say_everything() {
        let cluster = Cluster { vms: Vec::new(), nodes: vec![node("a", 3000), node("b", 2500)] };
        let members = create(&wish(3), &cluster, &ids(100, 3), &BTreeMap::new()).unwrap();
        assert_eq!(members.iter().map(|it| it.node.as_str()).collect::<Vec<_>>(), ["a", "b", "a"]);
        let call = members[0].made_by.clone().unwrap();
        assert_eq!((call.method, call.path.as_str()), (Method::Post, "/nodes/a/qemu"));
        let birth = Birth::of("https://pve:8006", "thin-01".to_owned());
        let mac = birth.mac.to_string().to_uppercase();
        for (name, value) in [
            ("net0", format!("virtio={mac},bridge=vmbr0,tag=20")),
            ("smbios1", format!("uuid={},serial=dGhpbi0wMQ==,base64=1", birth.uuid)),
            ("tags", "bivouac;vdi".to_owned()),
            ("bios", "ovmf".to_owned()),
            ("serial0", "socket".to_owned()),
        ] {
            assert_eq!(call.parameter(name), Some(value.as_str()));
        }
        assert!(call.parameters.iter().all(|(name, _)| !name.starts_with("scsi") && *name != "efidisk0"), "no disk");
    }

    #[test]
    fn a_name_of_another_and_a_cluster_without_room_are_refused() {
        let mut cluster = Cluster { vms: Vec::new(), nodes: vec![node("a", 1), node("b", 1)] };
        let mut limited = wish(1);
        limited.hardware.nodes = vec!["c".to_owned()];
        let said = create(&limited, &cluster, &ids(100, 1), &BTreeMap::new()).unwrap_err().to_string();
        assert!(said.contains("(c); the cluster has a, b"), "{said}");
        cluster.nodes[1].free = None;
        let said = create(&wish(1), &cluster, &ids(100, 1), &BTreeMap::new()).unwrap_err().to_string();
        assert!(said.contains("Sys.Audit on /nodes"), "{said}");
        let (mut there, _) =
            done(&cluster, &create(&limited_to("a"), &cluster, &ids(100, 1), &BTreeMap::new()).unwrap());
        there.vms[0].tags.clear();
        let said = create(&wish(1), &there, &[], &BTreeMap::new()).unwrap_err().to_string();
        assert!(said.contains("VM 100 on a is called `thin-01` and is not ours"), "{said}");
    }

    fn limited_to(node: &str) -> Wish {
        let mut wish = wish(1);
        wish.hardware.nodes = vec![node.to_owned()];
        wish
    }

    proptest! {
        #[test]
        fn whatever_was_done_of_a_plan_the_rest_completes_it(count in 1_u16..8, upto in 0_usize..8, more in 0_u16..4) {
            let cluster = Cluster { vms: Vec::new(), nodes: vec![node("a", 5000), node("b", 9000)] };
            let first = create(&wish(count), &cluster, &ids(100, 8), &BTreeMap::new()).unwrap();
            let (after, configs) = done(&cluster, &first[..upto.min(first.len())]);
            let again = wish(count + more);
            let missing = again.missing(&after);
            prop_assert_eq!(missing, usize::from(count + more) - upto.min(first.len()));
            let second = create(&again, &after, &ids(200, 12), &configs).unwrap();
            prop_assert_eq!(second.iter().filter(|it| it.made_by.is_some()).count(), missing);
            // Each is the machine it was.
            for (one, other) in first.iter().zip(&second) {
                prop_assert_eq!((&one.vm.name, one.mac, &one.vm.uuid), (&other.vm.name, other.mac, &other.vm.uuid));
            }
        }
    }
}
