//! The two kinds of iPXE a machine can be handed, and the rules of the site file that choose between them.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::firmware::Firmware;
use crate::model::mac::Mac;
use crate::model::mac_prefix::MacPrefix;

/// Whose network drivers an iPXE uses.
///
/// Neither is right for every machine (netboot.md, "any: large HTTP bodies hang"): some cards hang under iPXE's own
/// driver, some under the firmware's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoaderKind {
    /// Its own: `ipxe.efi`, and `ipxe.pxe` on BIOS.
    Ipxe,
    /// The firmware's, for the one card it was started from: `snponly.efi`, and `undionly.kpxe` on BIOS.
    Snponly,
}

impl LoaderKind {
    /// What a file name or the name of an iPXE build says, by iPXE's own names for its builds; nothing when it is none
    /// of them.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        // `ipxe-snponly-x86_64.efi` is what one distribution calls its `snponly.efi`.
        if name.contains("snponly") || name.contains("undionly") || name.starts_with("snp.") {
            Some(Self::Snponly)
        } else if name.contains("ipxe") {
            Some(Self::Ipxe)
        } else {
            None
        }
    }

    /// Whose drivers these are, for a table.
    #[must_use]
    pub fn drivers(self) -> &'static str {
        match self {
            Self::Ipxe => "native",
            Self::Snponly => "firmware's",
        }
    }
}

/// As the site file writes it.
impl fmt::Display for LoaderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ipxe => "ipxe",
            Self::Snponly => "snponly",
        })
    }
}

/// `[[loader]]` of the site file: some machines, and the kind of iPXE they are handed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoaderRule {
    /// The machines, by their addresses or how these begin; every machine when empty.
    pub machines: Vec<MacPrefix>,
    /// The firmware it is for; every kind when absent.
    pub firmware: Option<Firmware>,
    /// What they are handed.
    #[serde(rename = "use")]
    pub kind: LoaderKind,
}

impl LoaderRule {
    /// Whether this rule is about a machine with this firmware.
    #[must_use]
    pub fn is_for(&self, firmware: Firmware, mac: &Mac) -> bool {
        self.firmware.is_none_or(|own| own == firmware)
            && (self.machines.is_empty() || self.machines.iter().any(|prefix| prefix.covers(mac)))
    }
}

impl fmt::Display for LoaderRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machines: Vec<String> = self.machines.iter().map(MacPrefix::to_string).collect();
        write!(f, "{} for ", self.kind)?;
        match (machines.is_empty(), self.firmware) {
            (true, None) => f.write_str("every machine"),
            (true, Some(firmware)) => write!(f, "every {firmware} machine"),
            (false, None) => f.write_str(&machines.join(", ")),
            (false, Some(firmware)) => write!(f, "{} with {firmware}", machines.join(", ")),
        }
    }
}

/// The machines that may go back from iPXE to their firmware: their policy leads to their own disk, or lets somebody
/// choose it.
///
/// They get an iPXE with the firmware's drivers, unless a rule says otherwise: one with its own takes the card away from
/// the firmware, and some firmware hangs when it gets the card back (OVMF with a virtio card does).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Returning {
    /// Every machine that is not named otherwise.
    pub by_default: bool,
    /// Machines that do not what the others do.
    pub exceptions: BTreeSet<Mac>,
}

impl Returning {
    /// Whether this machine may.
    #[must_use]
    pub fn has(&self, mac: &Mac) -> bool {
        self.by_default != self.exceptions.contains(mac)
    }
}

/// The first rule that is about this machine, with its number, which is 1 for the first of the site file.
#[must_use]
pub fn choose<'a>(rules: &'a [LoaderRule], firmware: Firmware, mac: &Mac) -> Option<(usize, &'a LoaderRule)> {
    (1..).zip(rules).find(|(_, rule)| rule.is_for(firmware, mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(machines: &[&str], firmware: Option<Firmware>, kind: LoaderKind) -> LoaderRule {
        LoaderRule { machines: machines.iter().map(|text| text.parse().unwrap()).collect(), firmware, kind }
    }

    #[test]
    fn names_of_loaders_say_whose_drivers_they_use() {
        for firmware in Firmware::ALL.into_iter().filter(|own| own.runs() == *own) {
            for name in firmware.loader_files() {
                let said = LoaderKind::of_name(name);
                assert_eq!(said.is_none(), firmware == Firmware::RaspberryPi, "{name}");
            }
        }
        for (name, kind) in [
            ("ipxe-snponly-x86_64.efi", Some(LoaderKind::Snponly)),
            ("snp.efi", Some(LoaderKind::Snponly)),
            ("undionly.kkpxe", Some(LoaderKind::Snponly)),
            ("ipxe.pxe", Some(LoaderKind::Ipxe)),
            ("grubx64.efi", None),
        ] {
            assert_eq!(LoaderKind::of_name(name), kind, "{name}");
        }
    }

    #[test]
    fn the_first_rule_that_is_about_a_machine_counts() {
        use LoaderKind::{Ipxe, Snponly};
        let rules = [
            rule(&["00:e0:4c:00:00:01"], None, Ipxe),
            rule(&["00:e0:4c", "52:54"], Some(Firmware::EfiX64), Snponly),
            rule(&[], Some(Firmware::EfiArm64), Snponly),
        ];
        for (mac, firmware, expected) in [
            ("00:e0:4c:00:00:01", Firmware::EfiX64, Some((1, Ipxe))),
            ("00:e0:4c:00:00:01", Firmware::EfiArm64, Some((1, Ipxe))),
            ("00:e0:4c:00:00:02", Firmware::EfiX64, Some((2, Snponly))),
            ("52:54:00:00:00:02", Firmware::EfiX64, Some((2, Snponly))),
            ("52:54:00:00:00:02", Firmware::BiosX86, None),
            ("52:54:00:00:00:02", Firmware::EfiArm64, Some((3, Snponly))),
            ("52:54:00:00:00:02", Firmware::UBootArm64, None),
            ("b8:27:eb:00:00:02", Firmware::EfiX64, None),
        ] {
            let found = choose(&rules, firmware, &mac.parse().unwrap()).map(|(number, rule)| (number, rule.kind));
            assert_eq!(found, expected, "{mac} {firmware}");
        }
        assert_eq!(choose(&[], Firmware::EfiX64, &Mac([2; 6])), None);
    }

    #[test]
    fn a_rule_is_shown_in_words() {
        let both = rule(&["00:e0:4c", "52:54"], Some(Firmware::EfiX64), LoaderKind::Snponly);
        assert_eq!(both.to_string(), "snponly for 00:e0:4c, 52:54 with UEFI x86_64");
        assert_eq!(rule(&[], Some(Firmware::BiosX86), LoaderKind::Ipxe).to_string(), "ipxe for every BIOS machine");
        assert_eq!(rule(&["52"], None, LoaderKind::Ipxe).to_string(), "ipxe for 52");
    }
}
