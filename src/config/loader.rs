//! `[[loader]]`: which machines are handed which kind of iPXE.

use schemars::JsonSchema;
use serde::Deserialize;

use super::ConfigError;
use crate::model::firmware::Firmware;
use crate::model::loader::{LoaderKind, LoaderRule};
use crate::model::mac_prefix::MacPrefix;

/// One `[[loader]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Loader {
    /// Addresses of network cards, or how these begin; every machine when absent.
    pub machines: Option<Vec<MacPrefix>>,
    /// A kind of firmware; every kind when absent.
    pub firmware: Option<Firmware>,
    /// What these machines are handed.
    #[serde(rename = "use")]
    pub kind: LoaderKind,
}

/// The rules, each about somebody.
pub(super) fn rules(written: Vec<Loader>) -> Result<Vec<LoaderRule>, ConfigError> {
    (1..).zip(written).map(|(number, loader)| rule(number, loader)).collect()
}

fn rule(number: usize, loader: Loader) -> Result<LoaderRule, ConfigError> {
    let Loader { machines, firmware, kind } = loader;
    let refused = |value: String, why: &str| {
        Err(ConfigError::Value { key: "loader", value, why: format!("in rule {number}, {why}") })
    };
    if firmware == Some(Firmware::RaspberryPi) {
        return refused(
            "firmware = \"raspberry-pi\"".to_owned(),
            "there is nothing to choose: the board takes files of its own; take the rule out",
        );
    }
    match machines {
        Some(list) if list.is_empty() => refused(
            "machines = []".to_owned(),
            "write addresses or how these begin, such as [\"00:e0:4c\"], or take the key out for all machines",
        ),
        None if firmware.is_none() => refused(
            format!("use = \"{kind}\""),
            "say for whom: machines = [\"00:e0:4c\"], firmware = \"efi-x64\", or both",
        ),
        machines => Ok(LoaderRule { machines: machines.unwrap_or_default(), firmware, kind }),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{File, Settings};
    use crate::model::loader::LoaderKind;

    #[test]
    fn rules_are_kept_in_their_order() {
        let text = "[[loader]]\nmachines = [\"00:e0:4c\", \"52-54-00-12-34-56\"]\nfirmware = \"efi-x64\"\n\
                    use = \"snponly\"\n[[loader]]\nfirmware = \"bios-x86\"\nuse = \"ipxe\"";
        let rules = Settings::check(File::parse(text).unwrap()).unwrap().loader_rules;
        let shown: Vec<String> = rules.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["snponly for 00:e0:4c, 52:54:00:12:34:56 with UEFI x86_64", "ipxe for every BIOS machine"]);
        assert_eq!(rules[1].kind, LoaderKind::Ipxe);
    }

    #[test]
    fn rules_nobody_can_mean_are_errors_that_say_what_to_write() {
        for (text, said) in [
            ("use = \"snponly\"", "`loader` cannot be `use = \"snponly\"`: in rule 1, say for whom: machines = ["),
            ("use = \"ipxe\"\nmachines = []", "`machines = []`: in rule 1, write addresses"),
            ("use = \"ipxe\"\nfirmware = \"raspberry-pi\"", "there is nothing to choose"),
        ] {
            let file = File::parse(&format!("[[loader]]\n{text}")).unwrap();
            let error = Settings::check(file).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        for (text, said) in [
            ("machines = [\"00:e0:4c\"]", "missing field `use`"),
            ("use = \"undionly\"", "unknown variant `undionly`, expected `ipxe` or `snponly`"),
            ("use = \"ipxe\"\nmachines = [\"00:e0:4\"]", "`00:e0:4` is not a hardware address or the beginning of one"),
            ("use = \"ipxe\"\nfirmware = \"uefi\"", "unknown variant `uefi`, expected one of `bios-x86`"),
            ("use = \"ipxe\"\nmachine = [\"00\"]", "unknown field `machine`, expected one of `machines`"),
        ] {
            let error = File::parse(&format!("[[loader]]\n{text}")).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
