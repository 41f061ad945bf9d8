//! What an overlay, or a profile itself, contributes besides the files of its `root/`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::account::{self, Group, User};
use super::document::Mistakes;
use super::network::{self, Network};
use super::special::{self, Special};
use super::values::{
    FileRule, Runlevel, check_hostname, check_keymap, check_path, check_repository, check_service, check_timezone,
};
use super::variable::{self, Variable};
use crate::model::alpine::{Arch, Flavor, ReleaseSpec};
use crate::model::name::{OverlayName, ProfileName};

/// One layer of a machine. What is named once is won by the last layer that names it; lists add up.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Layer {
    /// Only in a profile: the profile whose layers all come before this one's.
    pub(super) extends: Option<ProfileName>,
    /// Only in a profile: its overlays.
    pub(super) overlays: Vec<OverlayName>,
    /// What it is for, in one line.
    pub description: String,
    /// Which Alpine it runs on.
    pub alpine: AlpineKeys,
    /// Packages to install, in `etc/apk/world` syntax; `!name` takes one out that an earlier layer named.
    pub packages: Vec<String>,
    /// Services by OpenRC runlevel; `!name` takes one out.
    pub services: BTreeMap<Runlevel, Vec<String>>,
    /// Users by name, `root` among them.
    pub users: BTreeMap<String, User>,
    /// Groups by name.
    pub groups: BTreeMap<String, Group>,
    /// Host name of its machines; the profile's own name when no layer says one.
    pub hostname: Option<String>,
    /// Time zone, such as `Europe/Berlin`; UTC when no layer says one.
    pub timezone: Option<String>,
    /// Keyboard layout of the console and its variant, such as `de de-nodeadkeys`.
    pub keymap: Option<String>,
    /// How the machine is on the network; by DHCP on the card it booted from when no layer says anything.
    pub network: Option<Network>,
    /// Kernel arguments.
    pub kernel: Kernel,
    /// Owner and mode of files, because version control keeps neither. A key ending in `/` means a whole tree.
    pub files: BTreeMap<String, FileRule>,
    /// Device nodes and pipes by path, as `mknod` is told to make them: `c 1:3`, `b 7:0`, `p`. They are `root:root` and
    /// 0600 unless `[files]` says otherwise.
    pub nodes: BTreeMap<String, Special>,
    /// Files of earlier layers that the machine shall not have; one ending in `/` means a whole tree.
    pub remove: Vec<String>,
    /// Variables of templates.
    pub vars: BTreeMap<String, Variable>,
    /// Findings of `bivouac check` that are not mistakes here.
    pub allow: Vec<Allowed>,
    /// Whether root may log in without a password; whoever stands at the machine is then root.
    pub allow_empty_root_password: Option<bool>,
}

/// `[alpine]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlpineKeys {
    /// The release, `latest-stable` when no layer says one.
    pub release: Option<ReleaseSpec>,
    /// The kernel flavor, `virt` when no layer says one.
    pub flavor: Option<Flavor>,
    /// The architecture, `x86_64` when no layer says one; written as a name or as a list of one.
    #[serde(deserialize_with = "one_arch")]
    #[schemars(with = "Option<OneArch>")]
    pub arch: Option<Arch>,
    /// The repositories packages may come from, in order; `main` and `community` when no layer says any. `!name` takes
    /// one out.
    pub repositories: Vec<String>,
}

/// An architecture as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected an architecture such as \"x86_64\"")]
#[schemars(inline)]
enum OneArch {
    Name(Arch),
    List(#[schemars(length(equal = 1))] Vec<Arch>),
}

/// A bundle is for one architecture, so a list has one.
fn one_arch<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<Arch>, D::Error> {
    match OneArch::deserialize(input)? {
        OneArch::Name(arch) => Ok(Some(arch)),
        OneArch::List(list) => match <[Arch; 1]>::try_from(list) {
            Ok([arch]) => Ok(Some(arch)),
            Err(list) => Err(serde::de::Error::custom(format!(
                "a bundle is for one architecture, and `arch` lists {}; write one, such as \"x86_64\"",
                list.len()
            ))),
        },
    }
}

/// `[kernel]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kernel {
    /// Arguments in order; `!argument` takes one out. `bivouac check` says which a machine cannot have.
    pub args: Vec<String>,
}

/// One of `[[allow]]`: a finding that is not a mistake here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// The rule's id, such as `OVL-15`.
    pub rule: String,
    /// The path on the machine it is about, or the whole tree when it ends in `/`; every path when absent.
    pub path: Option<String>,
    /// The kernel argument it is about, with or without its value; every one when absent.
    pub argument: Option<String>,
    /// Why it is right here. Whoever reads the profile later wants to know.
    pub reason: String,
}

impl Layer {
    /// The values that nobody can mean.
    pub(super) fn mistakes(&self) -> Mistakes {
        let mut found = Mistakes::default();
        let mut one = |key: &str, value: &Option<String>, check: fn(&str) -> Result<(), &'static str>| {
            if let Some(value) = value
                && let Err(why) = check(value)
            {
                found.value(&[key], value, why);
            }
        };
        one("hostname", &self.hostname, check_hostname);
        one("timezone", &self.timezone, check_timezone);
        one("keymap", &self.keymap, check_keymap);
        for (level, names) in &self.services {
            found.members(&["services", &level.to_string()], names, check_service);
        }
        for path in self.files.keys() {
            if let Err(why) = check_path(path) {
                found.name(&["files"], path, why);
            }
        }
        found.members(&["remove"], &self.remove, check_path);
        found.members(&["alpine", "repositories"], &self.alpine.repositories, check_repository);
        special::mistakes(&self.nodes, &mut found);
        if let Some(network) = &self.network {
            network::mistakes(network, &mut found);
        }
        account::mistakes(&self.users, &self.groups, &mut found);
        variable::mistakes(&self.vars, &mut found);
        for (place, allowed) in self.allow.iter().enumerate() {
            let place = place.to_string();
            if let Some(path) = &allowed.path
                && let Err(why) = check_path(path)
            {
                found.value(&["allow", &place, "path"], path, why);
            }
            if allowed.reason.trim().is_empty() {
                found.value(
                    &["allow", &place, "reason"],
                    &allowed.reason,
                    "say why this finding is not a mistake here",
                );
            }
        }
        found
    }

    /// The keys that only a profile has, for overlays.
    pub(super) fn foreign(&self, found: &mut Mistakes) {
        for (key, is_there) in [("extends", self.extends.is_some()), ("overlays", !self.overlays.is_empty())] {
            if is_there {
                found.foreign(key);
            }
        }
    }
}
