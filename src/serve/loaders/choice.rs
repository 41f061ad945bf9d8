//! Which loader one machine gets: the rules of the site file, and what there is.

use std::fmt;

use super::{Loader, Loaders};
use crate::model::firmware::Firmware;
use crate::model::loader::{LoaderKind, LoaderRule, Returning, choose};
use crate::model::mac::Mac;

/// The loader of one machine, and why.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// The loader.
    pub loader: &'a Loader,
    /// The number of the rule that is about this machine, and the rule.
    pub rule: Option<(usize, &'a LoaderRule)>,
    /// Whether no rule is about it, and it has the firmware's drivers because it may go back to its firmware.
    pub returns: bool,
}

impl Choice<'_> {
    /// Whether the rule, if there is one, got what it wants.
    #[must_use]
    pub fn is_as_wanted(&self) -> bool {
        self.rule.is_none_or(|(_, rule)| self.loader.kind == Some(rule.kind))
    }
}

/// A rule that wants a kind of loader that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// The number of the rule, from 1.
    pub rule: usize,
    /// What it wants.
    pub kind: LoaderKind,
    /// For machines with this firmware.
    pub firmware: Firmware,
    /// The name of the loader they get instead, if there is any.
    pub instead: Option<String>,
}

impl Unmet {
    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> String {
        let Self { rule, kind, firmware, instead } = self;
        let then = instead.as_ref().map_or_else(|| "they cannot boot".to_owned(), |name| format!("they get {name}"));
        format!("loader rule {rule} of the site file wants `{kind}` for {firmware} machines and there is none; {then}")
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, until `bivouac loaders add` brings one", self.problem())
    }
}

impl Loaders {
    /// The same loaders, chosen by these rules.
    #[must_use]
    pub fn with_rules(self, rules: Vec<LoaderRule>) -> Self {
        Self { rules, ..self }
    }

    /// The same loaders, where these machines may go back to their firmware.
    #[must_use]
    pub fn with_returning(self, returning: Returning) -> Self {
        Self { returning, ..self }
    }

    /// The rules, as the site file has them.
    #[must_use]
    pub fn rules(&self) -> &[LoaderRule] {
        &self.rules
    }

    /// The loader for one machine: of the kind that the first rule about it wants, when there is one; else one that
    /// gives it back, if it may go back to its firmware; else the best for its firmware.
    #[must_use]
    pub fn for_machine(&self, firmware: Firmware, mac: &Mac) -> Option<Choice<'_>> {
        let rule = choose(&self.rules, firmware, mac);
        let wanted = match rule {
            Some((_, rule)) => self.of_kind(firmware, rule.kind),
            None => self.returning.has(mac).then(|| self.of_kind(firmware, LoaderKind::Snponly)).flatten(),
        };
        let loader = wanted.or_else(|| self.for_firmware(firmware))?;
        Some(Choice { loader, rule, returns: rule.is_none() && wanted.is_some() })
    }

    /// The loader for machines with this firmware about which no rule says more than that: of the kind that the first
    /// rule about all of them wants, when there is one.
    #[must_use]
    pub fn for_every_machine(&self, firmware: Firmware) -> Option<&Loader> {
        let is_for_all =
            |rule: &&LoaderRule| rule.machines.is_empty() && rule.firmware.is_none_or(|own| own == firmware);
        let wanted = match self.rules.iter().find(is_for_all) {
            Some(rule) => self.of_kind(firmware, rule.kind),
            None => self.returning.by_default.then(|| self.of_kind(firmware, LoaderKind::Snponly)).flatten(),
        };
        wanted.or_else(|| self.for_firmware(firmware))
    }

    /// The best loader of a kind for machines with this firmware.
    #[must_use]
    pub fn of_kind(&self, firmware: Firmware, kind: LoaderKind) -> Option<&Loader> {
        self.iter().find(|loader| loader.firmware == firmware.runs() && loader.kind == Some(kind))
    }

    /// Rules that want what is not there, for a message to the operator. A rule that names no firmware is about those
    /// kinds there is any loader for.
    #[must_use]
    pub fn unmet(&self) -> Vec<Unmet> {
        let mut unmet = Vec::new();
        for (number, rule) in (1..).zip(&self.rules) {
            for firmware in Firmware::ALL {
                let best = self.for_firmware(firmware);
                let is_meant = match rule.firmware {
                    Some(own) => own == firmware,
                    // One line for U-Boot and UEFI of the same processor is enough.
                    None => firmware.runs() == firmware && best.is_some_and(|loader| loader.kind.is_some()),
                };
                if is_meant && self.of_kind(firmware, rule.kind).is_none() {
                    let instead = best.map(|loader| loader.name.clone());
                    unmet.push(Unmet { rule: number, kind: rule.kind, firmware, instead });
                }
            }
        }
        unmet
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bytes::Bytes;

    use super::*;

    fn loaders(rules: &[(&str, Option<Firmware>, LoaderKind)]) -> Loaders {
        let loader = |name: &str, firmware| Loader::new(name, firmware, PathBuf::new(), Bytes::new());
        let rule = |(machine, firmware, kind): &(&str, _, _)| LoaderRule {
            machines: machine.parse().into_iter().collect(),
            firmware: *firmware,
            kind: *kind,
        };
        Loaders::of(vec![
            loader("undionly.kpxe", Firmware::BiosX86),
            loader("ipxe.pxe", Firmware::BiosX86),
            loader("ipxe.efi", Firmware::EfiX64),
            loader("snponly.efi", Firmware::EfiX64),
            loader("ipxe-arm64.efi", Firmware::EfiArm64),
            loader("start4.elf", Firmware::RaspberryPi),
        ])
        .with_rules(rules.iter().map(rule).collect())
    }

    #[test]
    fn machines_that_may_go_back_to_their_firmware_get_a_loader_that_gives_them_back() {
        let mac: Mac = "52:54:00:00:00:01".parse().unwrap();
        let returning =
            |by_default, exceptions: &[Mac]| Returning { by_default, exceptions: exceptions.iter().copied().collect() };
        for (returning, name, returns, every) in [
            (returning(false, &[]), "ipxe.efi", false, "ipxe.efi"),
            (returning(false, &[mac]), "snponly.efi", true, "ipxe.efi"),
            (returning(true, &[]), "snponly.efi", true, "snponly.efi"),
            (returning(true, &[mac]), "ipxe.efi", false, "snponly.efi"),
        ] {
            let loaders = loaders(&[]).with_returning(returning.clone());
            let choice = loaders.for_machine(Firmware::EfiX64, &mac).unwrap();
            assert_eq!((choice.loader.name.as_str(), choice.returns), (name, returns), "{returning:?}");
            assert_eq!(loaders.for_every_machine(Firmware::EfiX64).unwrap().name, every, "{returning:?}");
        }
        let everybody = returning(true, &[]);
        let ruled = loaders(&[("52:54", None, LoaderKind::Ipxe)]).with_returning(everybody.clone());
        assert_eq!(chosen(&ruled, Firmware::EfiX64, "52:54:00:00:00:01"), ("ipxe.efi".to_owned(), Some(1), true));
        let without = loaders(&[]).with_returning(everybody);
        assert_eq!(chosen(&without, Firmware::EfiArm64, "52:54:00:00:00:01").0, "ipxe-arm64.efi");
    }

    fn chosen(loaders: &Loaders, firmware: Firmware, mac: &str) -> (String, Option<usize>, bool) {
        let choice = loaders.for_machine(firmware, &mac.parse().unwrap()).unwrap();
        (choice.loader.name.clone(), choice.rule.map(|(number, _)| number), choice.is_as_wanted())
    }

    #[test]
    fn a_rule_changes_what_its_machines_get_and_nothing_else() {
        let loaders =
            loaders(&[("00:e0:4c", None, LoaderKind::Snponly), ("", Some(Firmware::BiosX86), LoaderKind::Ipxe)]);
        for (firmware, mac, expected) in [
            (Firmware::EfiX64, "00:e0:4c:00:00:01", ("snponly.efi", Some(1), true)),
            (Firmware::EfiX64, "52:54:00:00:00:01", ("ipxe.efi", None, true)),
            (Firmware::BiosX86, "00:e0:4c:00:00:01", ("undionly.kpxe", Some(1), true)),
            (Firmware::BiosX86, "52:54:00:00:00:01", ("ipxe.pxe", Some(2), true)),
            (Firmware::EfiArm64, "00:e0:4c:00:00:01", ("ipxe-arm64.efi", Some(1), false)),
            (Firmware::UBootArm64, "00:e0:4c:00:00:01", ("ipxe-arm64.efi", Some(1), false)),
            (Firmware::RaspberryPi, "00:e0:4c:00:00:01", ("start4.elf", Some(1), false)),
        ] {
            let (name, rule, wanted) = expected;
            assert_eq!(chosen(&loaders, firmware, mac), (name.to_owned(), rule, wanted), "{firmware} {mac}");
        }
        assert!(loaders.for_machine(Firmware::EfiIa32, &Mac([2; 6])).is_none());
    }

    #[test]
    fn without_rules_every_machine_gets_the_best() {
        let loaders = loaders(&[]);
        assert_eq!(chosen(&loaders, Firmware::BiosX86, "00:e0:4c:00:00:01"), ("undionly.kpxe".to_owned(), None, true));
        assert_eq!(loaders.unmet(), []);
    }

    #[test]
    fn what_every_machine_gets_leaves_out_rules_about_some() {
        let loaders =
            loaders(&[("00:e0:4c", None, LoaderKind::Snponly), ("", Some(Firmware::BiosX86), LoaderKind::Ipxe)]);
        let name = |firmware| loaders.for_every_machine(firmware).map(|loader| loader.name.as_str());
        assert_eq!(name(Firmware::EfiX64), Some("ipxe.efi"));
        assert_eq!(name(Firmware::BiosX86), Some("ipxe.pxe"));
        assert_eq!(name(Firmware::EfiIa32), None);
    }

    #[test]
    fn a_rule_that_cannot_be_met_is_said_once_for_each_firmware() {
        let said = |rules: &[_]| loaders(rules).unmet().iter().map(ToString::to_string).collect::<Vec<String>>();
        assert_eq!(
            said(&[("00:e0:4c", None, LoaderKind::Ipxe), ("00:e0:4c", None, LoaderKind::Snponly)]),
            [
                "loader rule 2 of the site file wants `snponly` for UEFI ARM64 machines and there is none; they get ipxe-arm64.efi, until `bivouac loaders add` brings one"
            ]
        );
        assert_eq!(
            said(&[("", Some(Firmware::EfiIa32), LoaderKind::Ipxe)]),
            [
                "loader rule 1 of the site file wants `ipxe` for UEFI x86 (32-bit) machines and there is none; they cannot boot, until `bivouac loaders add` brings one"
            ]
        );
    }
}
