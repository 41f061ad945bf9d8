//! What the cluster says: read leniently, since versions differ in what is a number and what is a text of one.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::model::virtual_machine::VmId;

/// The answers of the API.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) data: Value,
    #[serde(default)]
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) errors: Option<Value>,
}

/// What there is in a cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// Virtual machines, by number; of those the token may see.
    pub vms: Vec<Vm>,
    /// Nodes, by name.
    pub nodes: Vec<Node>,
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vm {
    /// Its number.
    pub id: VmId,
    /// Its name; may be empty.
    pub name: String,
    /// The node it is on.
    pub node: String,
    /// `running` or `stopped`.
    pub status: String,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// What holds it, such as `backup`.
    pub lock: Option<String>,
    /// Whether others are made of it, and it does not run.
    pub is_template: bool,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub is_online: bool,
    /// How many bytes of memory are free; unknown without `Sys.Audit` on it.
    pub free: Option<u64>,
}

/// The settings of a virtual machine that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct VmConfig {
    /// Its name.
    #[serde(deserialize_with = "text")]
    pub name: Option<String>,
    /// Its first network card.
    #[serde(deserialize_with = "text")]
    pub net0: Option<String>,
    /// In which order it looks for something to boot.
    #[serde(deserialize_with = "text")]
    pub boot: Option<String>,
    /// Its random number generator.
    #[serde(deserialize_with = "text")]
    pub rng0: Option<String>,
    /// What it says of itself.
    #[serde(deserialize_with = "text")]
    pub smbios1: Option<String>,
    /// Its tags.
    #[serde(deserialize_with = "text")]
    pub tags: Option<String>,
    /// By which a change is refused when somebody else was quicker.
    #[serde(deserialize_with = "text")]
    pub digest: Option<String>,
}

/// An entry of `/cluster/resources`.
#[derive(Debug, Deserialize)]
struct Resource {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default, deserialize_with = "number")]
    vmid: Option<u64>,
    #[serde(default, deserialize_with = "text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "text")]
    node: Option<String>,
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "text")]
    tags: Option<String>,
    #[serde(default, deserialize_with = "text")]
    lock: Option<String>,
    #[serde(default, deserialize_with = "number")]
    template: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    mem: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    maxmem: Option<u64>,
}

/// How a task is.
#[derive(Debug, Deserialize)]
pub(super) struct TaskStatus {
    pub(super) status: String,
    #[serde(default)]
    pub(super) exitstatus: Option<String>,
}

/// A line of a task's log.
#[derive(Debug, Deserialize)]
pub(super) struct LogLine {
    #[serde(default)]
    pub(super) t: String,
}

/// A whole number, be it written as one, with a fraction, or as a text.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().map(|float| float.max(0.0) as u64)),
        Value::String(text) => text.parse().ok(),
        Value::Bool(yes) => Some(u64::from(yes)),
        _ => None,
    })
}

/// A text, also one that happens to be a number and is written as one.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// The tags in a setting, which people separate in several ways.
pub(super) fn tags(text: &str) -> BTreeSet<String> {
    let parts = text.split([';', ',', ' ']).filter(|tag| !tag.is_empty());
    parts.map(str::to_ascii_lowercase).collect()
}

impl Cluster {
    /// From the answer to `/cluster/resources`.
    pub(super) fn read(data: Value) -> Result<Self, serde_json::Error> {
        let resources: Vec<Resource> = serde_json::from_value(data)?;
        let mut cluster = Self::default();
        for resource in resources {
            let Resource { vmid, name, node, status, tags: words, lock, template, mem, maxmem, .. } = resource;
            match resource.kind.as_str() {
                "qemu" => {
                    let id = vmid.and_then(|id| VmId::try_from(u32::try_from(id).ok()?).ok());
                    let (Some(id), Some(node)) = (id, node) else { continue };
                    cluster.vms.push(Vm {
                        id,
                        name: name.unwrap_or_default(),
                        node,
                        status: status.unwrap_or_else(|| "unknown".to_owned()),
                        tags: tags(&words.unwrap_or_default()),
                        lock: lock.filter(|lock| !lock.is_empty()),
                        is_template: template == Some(1),
                    });
                }
                "node" => {
                    let Some(name) = node else { continue };
                    let free = maxmem.zip(mem).map(|(all, used)| all.saturating_sub(used));
                    cluster.nodes.push(Node { name, is_online: status.as_deref() == Some("online"), free });
                }
                _ => {}
            }
        }
        cluster.vms.sort_by_key(|vm| vm.id);
        cluster.nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(cluster)
    }

    /// A virtual machine by its number.
    #[must_use]
    pub fn vm(&self, id: VmId) -> Option<&Vm> {
        self.vms.iter().find(|vm| vm.id == id)
    }
}

impl Vm {
    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.status == "running"
    }
}

impl std::fmt::Display for Vm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VM {} `{}` on {}", self.id, self.name, self.node)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_numbers_however_they_are_written_and_what_is_unknown_is_passed_over() {
        let cluster = Cluster::read(json!([
            { "type": "qemu", "vmid": "105", "name": "thin-01", "node": "pve1", "status": "running",
              "tags": "VDI;bivouac", "template": 0, "new": {} },
            { "type": "qemu", "vmid": 7, "node": "pve1" },
            { "type": "qemu", "vmid": 107, "name": 12, "tags": 7, "node": "pve1", "template": 1 },
            { "type": "lxc", "vmid": 106, "node": "pve1" },
            { "type": "node", "node": "pve1", "status": "online", "mem": 1.5e9, "maxmem": 4_000_000_000_u64 },
            { "type": "node", "node": "pve2", "status": "offline" },
        ]))
        .unwrap();
        assert_eq!(cluster.vms.len(), 2);
        assert_eq!((cluster.vms[1].name.as_str(), cluster.vms[1].is_template), ("12", true));
        assert_eq!(cluster.vms[0].tags, BTreeSet::from(["bivouac".to_owned(), "vdi".to_owned()]));
        assert_eq!((cluster.nodes[0].free, cluster.nodes[1].free), (Some(2_500_000_000), None));
        assert!(Cluster::read(json!({})).is_err());
    }
}
