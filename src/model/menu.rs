//! What a machine's policy says, and what a machine whose policy says `ask` is offered on its screen.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::ledger::TargetRef;
use crate::model::mac::Mac;
use crate::model::mac_prefix::MacPrefix;
use crate::model::name::{BundleRef, ChannelName, Name, NameError, ProfileName};

/// The word for the local disk among choices.
const LOCAL_DISK: &str = "local-disk";

/// The word for netboot.xyz among choices; no profile can have a dot in its name.
const NETBOOT_XYZ: &str = "netboot.xyz";

/// What stands before the name of an entry of the site file; no profile can have a slash in its name.
const ENTRY: &str = "entry/";

/// What a machine does when it asks to boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// It boots its profile.
    #[default]
    Boot,
    /// It shows a menu to whoever stands before it.
    Ask,
    /// It boots from its own disk.
    LocalDisk,
}

/// What firmware iPXE runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    /// A PC with BIOS.
    Bios,
    /// UEFI.
    Efi,
}

impl Platform {
    /// By iPXE's word for it, `${platform}` (netboot.md, E1).
    #[must_use]
    pub fn of_ipxe(word: &str) -> Option<Self> {
        match word {
            "pcbios" => Some(Self::Bios),
            "efi" => Some(Self::Efi),
            _ => None,
        }
    }
}

/// How iPXE hands a machine on to its local disk.
///
/// Firmware differs in what it wants (netboot.md, E3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskBoot {
    /// It ends as if all were well. Some firmware takes the next boot entry then, and some shows its menu.
    #[serde(rename = "exit-0")]
    Exit0,
    /// It ends with a failure, after which most UEFI firmware takes the next boot entry.
    #[serde(rename = "exit-1")]
    Exit1,
    /// It starts the first disk itself, and ends with a failure when it cannot.
    Sanboot,
}

/// `[[local-disk]]` of the site file: some machines, and how they get to their disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskRule {
    /// The machines, by their addresses or how these begin; every machine when empty.
    pub machines: Vec<MacPrefix>,
    /// The firmware it is for; any when absent.
    pub platform: Option<Platform>,
    /// How.
    pub how: DiskBoot,
}

/// How the first rule about this machine says it gets to its disk; nothing when none does.
#[must_use]
pub fn disk_boot(rules: &[DiskRule], mac: &Mac, platform: Option<Platform>) -> Option<DiskBoot> {
    let is_for = |rule: &&DiskRule| {
        (rule.platform.is_none() || rule.platform == platform)
            && (rule.machines.is_empty() || rule.machines.iter().any(|prefix| prefix.covers(mac)))
    };
    rules.iter().find(is_for).map(|rule| rule.how)
}

/// What somebody before a machine chose, as it stands in the URL its script is asked by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Choice {
    /// What a channel of a profile points at.
    Channel(ProfileName, ChannelName),
    /// A release of a profile.
    Release(ProfileName, u64),
    /// The machine's own disk.
    LocalDisk,
    /// netboot.xyz.
    NetbootXyz,
    /// An entry of the site file.
    Entry(Name),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(profile, channel) => write!(f, "{profile}:{channel}"),
            Self::Release(profile, number) => write!(f, "{profile}@{number}"),
            Self::LocalDisk => f.write_str(LOCAL_DISK),
            Self::NetbootXyz => f.write_str(NETBOOT_XYZ),
            Self::Entry(name) => write!(f, "{ENTRY}{name}"),
        }
    }
}

impl From<TargetRef<'_>> for Choice {
    fn from(target: TargetRef<'_>) -> Self {
        match target {
            TargetRef::Channel(profile, channel) => Self::Channel(profile.clone(), channel.clone()),
            TargetRef::Release(profile, number) => Self::Release(profile.clone(), number),
        }
    }
}

impl FromStr for Choice {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            LOCAL_DISK => return Ok(Self::LocalDisk),
            NETBOOT_XYZ => return Ok(Self::NetbootXyz),
            _ => {}
        }
        if let Some(name) = text.strip_prefix(ENTRY) {
            return Ok(Self::Entry(name.parse()?));
        }
        match text.parse()? {
            BundleRef::Channel(profile, channel) => Ok(Self::Channel(profile, channel)),
            BundleRef::Release(profile, number) => Ok(Self::Release(profile, number)),
            BundleRef::Id(_) => Err(NameError::Name(text.chars().take(80).collect())),
        }
    }
}

/// What an entry of the site file starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Starts {
    /// Whatever is at a URL: another script, or a program.
    Chain(String),
    /// A kernel.
    Kernel {
        /// Its URL.
        kernel: String,
        /// The URLs of its initrds.
        initrds: Vec<String>,
        /// Its arguments.
        args: Vec<String>,
    },
}

/// An entry of the site file, such as a memory test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, for `menu.default` and the log.
    pub name: Name,
    /// What the menu shows.
    pub title: String,
    /// The firmware it is for; any when absent.
    pub platform: Option<Platform>,
    /// What it starts.
    pub starts: Starts,
}

/// The menu of the site file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    /// What stands above it.
    pub title: String,
    /// How long it waits for somebody; for ever when absent.
    pub timeout: Option<Duration>,
    /// What is chosen when nobody does; what the machine follows when absent, and where it is an entry for other firmware.
    pub default: Option<Choice>,
    /// The profiles it offers; all that are published when empty.
    pub profiles: Vec<ProfileName>,
    /// How many releases before the current one it offers of each.
    pub releases: usize,
    /// Whether it offers the local disk.
    pub local_disk: bool,
    /// Whether it offers netboot.xyz, which is on the Internet.
    pub netboot_xyz: bool,
    /// What else it offers.
    pub entries: Vec<Entry>,
}

impl Default for Menu {
    fn default() -> Self {
        Self {
            title: "Bivouac".to_owned(),
            timeout: Some(Duration::from_secs(30)),
            default: None,
            profiles: Vec::new(),
            releases: 3,
            local_disk: true,
            netboot_xyz: false,
            entries: Vec::new(),
        }
    }
}

impl Menu {
    /// What it offers besides profiles to a machine on `platform`, with what it shows.
    #[must_use]
    pub fn others(&self, platform: Option<Platform>) -> Vec<(Choice, String)> {
        let fits = |entry: &&Entry| entry.platform.is_none() || platform.is_none() || entry.platform == platform;
        let mut others = Vec::new();
        if self.local_disk {
            others.push((Choice::LocalDisk, "The local disk".to_owned()));
        }
        let entries = self.entries.iter().filter(fits);
        others.extend(entries.map(|entry| (Choice::Entry(entry.name.clone()), entry.title.clone())));
        if self.netboot_xyz {
            others.push((Choice::NetbootXyz, "netboot.xyz (from the Internet)".to_owned()));
        }
        others
    }

    /// Whether it offers a profile.
    #[must_use]
    pub fn offers(&self, profile: &ProfileName) -> bool {
        self.profiles.is_empty() || self.profiles.contains(profile)
    }

    /// The entry of this name.
    #[must_use]
    pub fn entry(&self, name: &Name) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_back_from_its_text() {
        for text in ["vdi:stable", "vdi@12", "local-disk", "netboot.xyz", "entry/memtest"] {
            assert_eq!(text.parse::<Choice>().unwrap().to_string(), text);
        }
        for text in ["", "entry/", "entry/../x", "a b", "vdi@0", &"ab".repeat(32)] {
            assert!(text.parse::<Choice>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_first_rule_about_a_machine_says_how_it_gets_to_its_disk() {
        let rule = |machines: &[&str], platform, how| DiskRule {
            machines: machines.iter().map(|text| text.parse().unwrap()).collect(),
            platform,
            how,
        };
        let rules =
            [rule(&["00:e0:4c"], Some(Platform::Efi), DiskBoot::Exit0), rule(&["00:e0"], None, DiskBoot::Sanboot)];
        let how = |mac: &str, platform| disk_boot(&rules, &mac.parse().unwrap(), platform);
        assert_eq!(how("00:e0:4c:00:00:01", Some(Platform::Efi)), Some(DiskBoot::Exit0));
        assert_eq!(how("00:e0:4c:00:00:01", Some(Platform::Bios)), Some(DiskBoot::Sanboot));
        assert_eq!(how("52:54:00:00:00:01", Some(Platform::Efi)), None);
    }

    #[test]
    fn an_entry_for_other_firmware_is_not_offered() {
        let entry = Entry {
            name: "memtest".parse().unwrap(),
            title: "Memory test".to_owned(),
            platform: Some(Platform::Bios),
            starts: Starts::Chain("http://x/m".to_owned()),
        };
        let menu = Menu { entries: vec![entry], local_disk: false, ..Menu::default() };
        assert_eq!(menu.others(Some(Platform::Bios)).len(), 1);
        assert!(menu.others(Some(Platform::Efi)).is_empty());
    }
}
