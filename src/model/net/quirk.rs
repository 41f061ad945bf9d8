//! Clients that want another answer than most (netboot.md, TOP 15, 5), and the rules of the site file about them.

use std::time::Duration;

use crate::model::identity::Hardware;
use crate::model::mac::Mac;
use crate::model::mac_prefix::MacPrefix;
use crate::model::pattern::Pattern;

/// How firmware is led to its loader (netboot.md, D1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Shape {
    /// The offer names the loader, and option 43 says to take it without asking anybody else.
    #[default]
    AtOnce,
    /// The offer names nothing: the client asks the boot server on port 4011, which names the loader.
    BootServer,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 2] = [Self::AtOnce, Self::BootServer];

    /// Its word in the site file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::AtOnce => "at-once",
            Self::BootServer => "boot-server",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::AtOnce => Self::BootServer,
            Self::BootServer => Self::AtOnce,
        }
    }
}

/// `[[dhcp.quirk]]`: some clients, and what is different about their answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quirk {
    /// The clients, by their addresses or how these begin; every one when empty.
    pub machines: Vec<MacPrefix>,
    /// How their vendor class (option 60) begins.
    pub vendor_class: Option<String>,
    /// Who made them, as their SMBIOS says. DHCP does not tell: it is known of machines that booted before.
    pub manufacturer: Option<Pattern>,
    /// What the maker calls them; known as the maker is.
    pub product: Option<Pattern>,
    /// How they are led to their loader.
    pub answer: Option<Shape>,
    /// How long the answer waits, for firmware that is not ready to hear it at once.
    pub delay: Option<Duration>,
    /// Whether option 97, the machine's UUID, is sent back; firmware wants it, but for some that stumbles over it.
    pub machine_id: Option<bool>,
    /// Whether they are firmware that boots by PXE, whatever their vendor class says.
    pub is_pxe: Option<bool>,
}

/// How a client is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    /// How it is led to its loader, where a rule says so; else what works is found out.
    pub answer: Option<Shape>,
    /// How long its answers wait.
    pub delay: Duration,
    /// Whether its option 97 is sent back.
    pub machine_id: bool,
    /// Whether it is firmware that boots by PXE, where a rule says so; else what it says of itself counts.
    pub is_pxe: Option<bool>,
}

impl Quirk {
    /// Whether it depends on what the machine said of itself when it booted before.
    #[must_use]
    pub const fn asks_hardware(&self) -> bool {
        self.manufacturer.is_some() || self.product.is_some()
    }

    fn is_about(&self, mac: &Mac, vendor_class: &[u8], hardware: Option<&Hardware>) -> bool {
        let fits = |pattern: &Option<Pattern>, text: fn(&Hardware) -> Option<&str>| {
            pattern.as_ref().is_none_or(|pattern| hardware.and_then(text).is_some_and(|text| pattern.matches(text)))
        };
        (self.machines.is_empty() || self.machines.iter().any(|prefix| prefix.covers(mac)))
            && self.vendor_class.as_ref().is_none_or(|class| vendor_class.starts_with(class.as_bytes()))
            && fits(&self.manufacturer, |hardware| hardware.manufacturer.as_deref())
            && fits(&self.product, |hardware| hardware.product.as_deref())
    }
}

/// How the client with this address and option 60 is answered, of which this `hardware` is known: of each property, what
/// the first rule about it says.
#[must_use]
pub fn behaviour(rules: &[Quirk], mac: &Mac, vendor_class: &[u8], hardware: Option<&Hardware>) -> Behaviour {
    let about = || rules.iter().filter(|rule| rule.is_about(mac, vendor_class, hardware));
    Behaviour {
        answer: about().find_map(|rule| rule.answer),
        delay: about().find_map(|rule| rule.delay).unwrap_or_default(),
        machine_id: about().find_map(|rule| rule.machine_id).unwrap_or(true),
        is_pxe: about().find_map(|rule| rule.is_pxe),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Quirk {
        let (manufacturer, product) = (None, None);
        Quirk {
            machines: vec![],
            vendor_class: None,
            manufacturer,
            product,
            answer: None,
            delay: None,
            machine_id: None,
            is_pxe: None,
        }
    }

    #[test]
    fn a_rule_about_a_model_holds_for_machines_that_are_known_to_be_one() {
        let rules = [Quirk {
            manufacturer: Some("acme".parse().unwrap()),
            product: Some("NUC*".parse().unwrap()),
            answer: Some(Shape::BootServer),
            ..none()
        }];
        assert!(rules[0].asks_hardware() && !none().asks_hardware());
        let of = |hardware: Option<&Hardware>| behaviour(&rules, &Mac([2; 6]), b"PXEClient", hardware).answer;
        let made = |manufacturer: &str, product: &str| Hardware {
            manufacturer: Some(manufacturer.to_owned()),
            product: Some(product.to_owned()),
            ..Hardware::default()
        };
        assert_eq!(of(Some(&made("ACME", "NUC11"))), Some(Shape::BootServer));
        for other in [Some(&made("ACME", "Other")), Some(&made("X", "NUC11")), Some(&Hardware::default()), None] {
            assert_eq!(of(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_first_rule_about_a_client_counts_for_each_property() {
        let none = none();
        let rules = [
            Quirk { machines: vec!["00:e0:4c".parse().unwrap()], answer: Some(Shape::BootServer), ..none.clone() },
            Quirk { vendor_class: Some("PXEClient:Arch:00007".to_owned()), machine_id: Some(false), ..none.clone() },
            Quirk {
                vendor_class: Some("PXEClient:Arch".to_owned()),
                delay: Some(Duration::from_secs(1)),
                ..none.clone()
            },
            Quirk { answer: Some(Shape::AtOnce), ..none },
        ];
        let of = |mac: &str, class: &[u8]| {
            let Behaviour { answer, delay, machine_id, .. } = behaviour(&rules, &mac.parse().unwrap(), class, None);
            (answer.unwrap(), delay.as_secs(), machine_id)
        };
        let efi = b"PXEClient:Arch:00007:UNDI:003016";
        assert_eq!(of("00:e0:4c:00:00:01", b"PXEClient"), (Shape::BootServer, 0, true));
        assert_eq!(of("52:54:00:00:00:01", b"PXEClient"), (Shape::AtOnce, 0, true));
        assert_eq!(of("00:e0:4c:00:00:01", efi), (Shape::BootServer, 1, false));
        assert_eq!(behaviour(&[], &Mac([2; 6]), efi, None).answer, None);
    }
}
