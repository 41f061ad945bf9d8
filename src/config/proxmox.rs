//! `[proxmox]`, checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ConfigError, OneOrMore};
use crate::model::fingerprint::Fingerprint;
use crate::model::name::ProfileName;
use crate::model::virtual_machine::{Display, Firmware, Hardware};

/// The port of Proxmox's API.
const PORT: u16 = 8006;

/// The tag of the virtual machines that are ours when the site names none.
const DEFAULT_TAG: &str = "bivouac";

/// How long a task of the cluster may take when the site does not say.
const DEFAULT_TASK_TIME: Duration = Duration::from_secs(180);

/// The shortest and longest time that makes sense for one.
const TASK_TIME: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3600)];

/// MiB of memory when nothing is said: a thin client of Alpine with a browser or a SPICE viewer runs in it.
const DEFAULT_MEMORY: u32 = 2048;

/// The least MiB of memory: Alpine's netboot says it needs 256.
const LEAST_MEMORY: u32 = 256;

/// What an installation of Proxmox calls its first bridge.
const DEFAULT_BRIDGE: &str = "vmbr0";

/// `[proxmox]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProxmoxTable {
    /// Address of the API, such as `https://pve.example.net:8006`: any node of the cluster.
    pub server: Option<String>,
    /// File with the API token, `USER@REALM!NAME=SECRET`, which nobody but its owner may read; the environment variable
    /// `BIVOUAC_PROXMOX_TOKEN` goes before it.
    pub token_file: Option<PathBuf>,
    /// PEM file with the certificate of the authority that the server's certificate comes from, such as a copy of
    /// `/etc/pve/pve-root-ca.pem`; what the system trusts when absent.
    pub ca: Option<PathBuf>,
    /// SHA-256 fingerprint of the server's certificate, instead of `ca`.
    pub fingerprint: Option<String>,
    /// The tag by which virtual machines are ours; `bivouac` when absent. None without it is ever touched.
    pub tag: Option<String>,
    /// More tags for new virtual machines.
    pub tags: Option<Vec<String>>,
    /// How long a task of the cluster may take, such as `3m`, which it is when absent.
    pub task_time: Option<String>,
    /// Whether rollouts that reboot machines by force have the cluster reboot those that are virtual; yes when absent.
    pub reboots: Option<bool>,
    /// What virtual machines are made of.
    pub defaults: Option<HardwareTable>,
    /// The same for those made for a profile, by its name, over `defaults`.
    pub profiles: Option<BTreeMap<ProfileName, HardwareTable>>,
}

/// What virtual machines are made of: `[proxmox.defaults]`, and a table below `[proxmox.profiles]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HardwareTable {
    /// Memory in MiB; 2048 when absent.
    pub memory: Option<u32>,
    /// Processor cores; 2 when absent.
    pub cores: Option<u16>,
    /// Kind of processor, such as `host`; the cluster's default when absent.
    pub cpu: Option<String>,
    /// Bridge of the network card; `vmbr0` when absent.
    pub bridge: Option<String>,
    /// VLAN on the bridge; none when absent.
    pub vlan: Option<u16>,
    /// Pool; none when absent.
    pub pool: Option<String>,
    /// The node, or the nodes of which the one with the most free memory is taken; all of the cluster when absent.
    pub node: Option<OneOrMore>,
    /// `seabios` or `ovmf`; `seabios` when absent.
    pub firmware: Option<Firmware>,
    /// `std`, `qxl` for SPICE, `virtio`, `serial0` or `none`; `std` when absent.
    pub display: Option<Display>,
    /// Whether the profile brings the QEMU guest agent; no when absent.
    pub guest_agent: Option<bool>,
    /// Whether there is a serial port; yes when absent.
    pub serial_port: Option<bool>,
}

/// `[proxmox]` after all checks; files are read when the API is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxmoxSettings {
    /// Where the API is, such as `https://pve.example.net:8006`.
    pub server: Option<String>,
    /// The file with the token.
    pub token_file: Option<PathBuf>,
    /// By what the server's certificate is known.
    pub trust: ProxmoxTrust,
    /// The tag by which virtual machines are ours.
    pub tag: String,
    /// More tags for new ones.
    pub tags: Vec<String>,
    /// How long a task may take.
    pub task_time: Duration,
    /// Whether rollouts have virtual machines rebooted.
    pub reboots: bool,
    /// What virtual machines are made of …
    defaults: HardwareTable,
    /// … and those of a profile.
    profiles: BTreeMap<ProfileName, HardwareTable>,
}

/// By what a server's certificate is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxmoxTrust {
    /// It comes from an authority that the system trusts.
    System,
    /// It comes from an authority in this PEM file.
    Authority(PathBuf),
    /// It is this one.
    Certificate(Fingerprint),
}

/// A value that no virtual machine can be made with.
#[derive(Debug, thiserror::Error)]
#[error("`{place}{key}` cannot be `{value}`: {why}")]
pub struct HardwareError {
    /// What stands before the key: the table it is in, or what makes a flag of it.
    place: String,
    key: &'static str,
    value: String,
    why: String,
}

impl HardwareError {
    fn at(self, place: String) -> Self {
        Self { place, ..self }
    }
}

impl HardwareTable {
    /// These values where they are set, `other`'s elsewhere.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            memory: self.memory.or(other.memory),
            cores: self.cores.or(other.cores),
            cpu: self.cpu.or(other.cpu),
            bridge: self.bridge.or(other.bridge),
            vlan: self.vlan.or(other.vlan),
            pool: self.pool.or(other.pool),
            node: self.node.or(other.node),
            firmware: self.firmware.or(other.firmware),
            display: self.display.or(other.display),
            guest_agent: self.guest_agent.or(other.guest_agent),
            serial_port: self.serial_port.or(other.serial_port),
        }
    }

    fn check(self) -> Result<Hardware, HardwareError> {
        let wrong = |key, value, why: &str| HardwareError { place: String::new(), key, value, why: why.to_owned() };
        let memory = self.memory.unwrap_or(DEFAULT_MEMORY);
        if memory < LEAST_MEMORY {
            let why = format!("Alpine does not boot from the network in less than {LEAST_MEMORY} MiB");
            return Err(wrong("memory", memory.to_string(), &why));
        }
        let cores = self.cores.unwrap_or(2);
        if cores == 0 {
            return Err(wrong("cores", "0".to_owned(), "a machine has at least one core"));
        }
        if let Some(vlan) = self.vlan.filter(|vlan| !(1..=4094).contains(vlan)) {
            return Err(wrong("vlan", vlan.to_string(), "VLANs have numbers from 1 to 4094"));
        }
        let display = self.display.unwrap_or_default();
        Ok(Hardware {
            memory,
            cores,
            cpu: self.cpu.map(|cpu| word("cpu", cpu)).transpose()?,
            bridge: word("bridge", self.bridge.unwrap_or_else(|| DEFAULT_BRIDGE.to_owned()))?,
            vlan: self.vlan,
            pool: self.pool.map(|pool| path("pool", pool)).transpose()?,
            nodes: self
                .node
                .map(OneOrMore::into_list)
                .unwrap_or_default()
                .into_iter()
                .map(|node| word("node", node))
                .collect::<Result<_, _>>()?,
            firmware: self.firmware.unwrap_or_default(),
            display,
            has_agent: self.guest_agent.unwrap_or(false),
            has_serial: self.serial_port.unwrap_or(true) || display == Display::Serial0,
        })
    }
}

impl ProxmoxSettings {
    pub(super) fn check(table: ProxmoxTable) -> Result<Self, ConfigError> {
        let trust = match (table.ca, table.fingerprint) {
            (Some(ca), Some(_)) => {
                let why = "write `ca` or `fingerprint`, not both: each alone says which certificate is the server's";
                let value = ca.display().to_string();
                return Err(ConfigError::Value { key: "proxmox.ca", value, why: why.to_owned() });
            }
            (Some(ca), None) => ProxmoxTrust::Authority(ca),
            (None, Some(text)) => match text.parse() {
                Ok(fingerprint) => ProxmoxTrust::Certificate(fingerprint),
                Err(_) => {
                    let why = "write the SHA-256 fingerprint of the certificate, 32 pairs of digits with colons; \
                               `pvenode cert info` shows it on a node";
                    return Err(ConfigError::Value { key: "proxmox.fingerprint", value: text, why: why.to_owned() });
                }
            },
            (None, None) => ProxmoxTrust::System,
        };
        let settings = Self {
            server: table.server.map(server).transpose()?,
            token_file: table.token_file,
            trust,
            tag: tag("proxmox.tag", table.tag.unwrap_or_else(|| DEFAULT_TAG.to_owned()))?,
            tags: table
                .tags
                .unwrap_or_default()
                .into_iter()
                .map(|text| tag("proxmox.tags", text))
                .collect::<Result<_, _>>()?,
            task_time: table.task_time.map_or(Ok(DEFAULT_TASK_TIME), task_time)?,
            reboots: table.reboots.unwrap_or(true),
            defaults: table.defaults.unwrap_or_default(),
            profiles: table.profiles.unwrap_or_default(),
        };
        // What is wrong in a table is said now, and not when a machine is made of it.
        settings.defaults.clone().check().map_err(|error| error.at("proxmox.defaults.".to_owned()))?;
        for (profile, own) in &settings.profiles {
            let both = own.clone().or(settings.defaults.clone());
            both.check().map_err(|error| error.at(format!("proxmox.profiles.{profile}.")))?;
        }
        Ok(settings)
    }

    /// What a machine for a profile is made of: what `flags` say, what the site file says of the profile, what it says of
    /// all.
    ///
    /// # Errors
    /// The first value of the flags that cannot be used; those of the site file were checked.
    pub fn hardware(&self, profile: &ProfileName, flags: HardwareTable) -> Result<Hardware, HardwareError> {
        let own = self.profiles.get(profile).cloned().unwrap_or_default();
        flags.or(own).or(self.defaults.clone()).check().map_err(|error| error.at("--".to_owned()))
    }
}

/// The address of the API, with its port.
fn server(text: String) -> Result<String, ConfigError> {
    let wrong = |text: &str| ConfigError::Value {
        key: "proxmox.server",
        value: text.to_owned(),
        why: "write the address of a node, such as \"https://pve.example.net:8006\"; it is always https".to_owned(),
    };
    let full = if text.contains("://") { text.clone() } else { format!("https://{text}") };
    let url = Url::parse(&full).map_err(|_| wrong(&text))?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_anonymous = url.username().is_empty() && url.password().is_none();
    let (true, true, true, Some(host)) = (url.scheme() == "https", is_bare, is_anonymous, url.host_str()) else {
        return Err(wrong(&text));
    };
    // The usual port of https is one only when it is written.
    let says_443 = full.trim_end_matches('/').ends_with(":443");
    let port = url.port().unwrap_or(if says_443 { 443 } else { PORT });
    Ok(format!("https://{host}:{port}"))
}

fn task_time(value: String) -> Result<Duration, ConfigError> {
    let [least, most] = TASK_TIME;
    humantime::parse_duration(&value).ok().filter(|time| (least..=most).contains(time)).ok_or_else(|| {
        let why = "write a time from 1s to 1h, such as \"3m\"".to_owned();
        ConfigError::Value { key: "proxmox.task-time", value, why }
    })
}

/// A tag as Proxmox takes it, which is in lower case there.
fn tag(key: &'static str, text: String) -> Result<String, ConfigError> {
    let begins = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let goes_on = |b: u8| begins(b) || matches!(b, b'-' | b'+' | b'.');
    let is_tag = text.len() <= 64 && text.bytes().next().is_some_and(begins) && text.bytes().all(goes_on);
    let why = "a tag is of a-z, 0-9, `_`, `-`, `+` and `.`, and begins with one of the first three".to_owned();
    if is_tag { Ok(text) } else { Err(ConfigError::Value { key, value: text, why }) }
}

/// A name that stands in a path of the API, or in a setting among others.
fn word(key: &'static str, value: String) -> Result<String, HardwareError> {
    let begins = |b: u8| b.is_ascii_alphanumeric();
    let goes_on = |b: u8| begins(b) || matches!(b, b'-' | b'_' | b'.' | b'+');
    let is_word = value.len() <= 64 && value.bytes().next().is_some_and(begins) && value.bytes().all(goes_on);
    let why = "a name is of letters, digits, `-`, `_`, `.` and `+`, and begins with a letter or digit".to_owned();
    if is_word { Ok(value) } else { Err(HardwareError { place: String::new(), key, value, why }) }
}

/// The same with levels.
fn path(key: &'static str, text: String) -> Result<String, HardwareError> {
    for part in text.split('/') {
        word(key, part.to_owned())?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::{File, Settings};
    use super::*;

    fn check(text: &str) -> Result<ProxmoxSettings, String> {
        let settings = Settings::check(File::parse(text).map_err(|error| error.to_string())?);
        settings.map(|settings| settings.proxmox).map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_has_its_port_and_is_always_asked_by_https() {
        for (written, meant) in [
            ("pve.example.net", "https://pve.example.net:8006"),
            ("https://pve.example.net/", "https://pve.example.net:8006"),
            ("https://10.0.0.2:8443", "https://10.0.0.2:8443"),
            ("https://pve:443", "https://pve:443"),
            ("[fd00::2]", "https://[fd00::2]:8006"),
        ] {
            let settings = check(&format!("[proxmox]\nserver = \"{written}\"")).unwrap();
            assert_eq!(settings.server.as_deref(), Some(meant), "{written}");
        }
        for wrong in ["http://pve", "https://pve/api2", "https://root@pve", "", "https://", "a b", "pve?x"] {
            let said = check(&format!("[proxmox]\nserver = \"{wrong}\"")).unwrap_err();
            assert!(said.contains("`proxmox.server` cannot be"), "{wrong}: {said}");
        }
    }

    #[test]
    fn a_profile_has_what_its_own_table_says_and_else_what_all_have() {
        let settings = check(
            "[proxmox.defaults]\nmemory = 1024\nnode = [\"a\", \"b\"]\n[proxmox.profiles.vdi]\nmemory = 4096\n\
             display = \"qxl\"\nfirmware = \"ovmf\"",
        )
        .unwrap();
        let of = |profile: &str, flags| settings.hardware(&profile.parse().unwrap(), flags).unwrap();
        let vdi = of("vdi", HardwareTable { cores: Some(4), ..HardwareTable::default() });
        assert_eq!((vdi.memory, vdi.cores, vdi.display, vdi.firmware), (4096, 4, Display::Qxl, Firmware::Ovmf));
        assert_eq!((vdi.nodes.as_slice(), vdi.bridge.as_str()), (&["a".to_owned(), "b".to_owned()][..], "vmbr0"));
        let other = of("other", HardwareTable::default());
        assert_eq!((other.memory, other.display, other.has_serial), (1024, Display::Std, true));
    }

    #[test]
    fn what_cannot_be_meant_says_what_to_write() {
        let pin = "AB:".repeat(31) + "CD";
        for (text, said) in [
            (format!("ca = \"a.pem\"\nfingerprint = \"{pin}\""), "not both"),
            ("fingerprint = \"AB:CD\"".to_owned(), "pvenode cert info"),
            ("tag = \"Our VMs\"".to_owned(), "a tag is of a-z"),
            ("task-time = \"0s\"".to_owned(), "from 1s to 1h"),
            ("[proxmox.defaults]\nmemory = 64".to_owned(), "`proxmox.defaults.memory` cannot be `64`: Alpine does not"),
            ("[proxmox.profiles.vdi]\nmemory = 64".to_owned(), "`proxmox.profiles.vdi.memory` cannot be `64`"),
            ("[proxmox.defaults]\nvlan = 4095".to_owned(), "from 1 to 4094"),
            ("[proxmox.profiles.vdi]\nbridge = \"vmbr0,tag=1\"".to_owned(), "a name is of letters"),
            ("[proxmox.profiles.vdi]\nfirmware = \"bios\"".to_owned(), "expected `seabios` or `ovmf`"),
        ] {
            let error = check(&format!("[proxmox]\n{text}")).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        let settings = check(&format!("[proxmox]\nfingerprint = \"{pin}\"")).unwrap();
        let flags = HardwareTable { cores: Some(0), ..HardwareTable::default() };
        let error = settings.hardware(&"vdi".parse().unwrap(), flags).unwrap_err().to_string();
        assert_eq!(error, "`--cores` cannot be `0`: a machine has at least one core");
    }
}
