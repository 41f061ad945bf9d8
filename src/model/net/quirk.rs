//! Clients that want another answer than most (netboot.md, TOP 15, 5), and the rules of the site file about them.

use std::time::Duration;

use crate::model::mac::Mac;
use crate::model::mac_prefix::MacPrefix;

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
    /// Their maker, as the SMBIOS of a machine that was here before says.
    pub manufacturer: Option<String>,
    /// Their model, as the SMBIOS says.
    pub product: Option<String>,
    /// How they are led to their loader.
    pub answer: Option<Shape>,
    /// How long the answer waits, for firmware that is not ready to hear it at once.
    pub delay: Option<Duration>,
    /// Whether option 97, the machine's UUID, is sent back; firmware wants it, but for some that stumbles over it.
    pub machine_id: Option<bool>,
}

/// What rules look at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traits<'a> {
    /// Option 60.
    pub vendor_class: &'a [u8],
    /// The maker, if it is known.
    pub manufacturer: Option<&'a str>,
    /// The model, if it is known.
    pub product: Option<&'a str>,
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
}

impl Quirk {
    fn is_about(&self, mac: &Mac, traits: &Traits<'_>) -> bool {
        let same = |wanted: &Option<String>, known: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| known.is_some_and(|known| known.eq_ignore_ascii_case(wanted)))
        };
        (self.machines.is_empty() || self.machines.iter().any(|prefix| prefix.covers(mac)))
            && self.vendor_class.as_ref().is_none_or(|class| traits.vendor_class.starts_with(class.as_bytes()))
            && same(&self.manufacturer, traits.manufacturer)
            && same(&self.product, traits.product)
    }
}

/// How this client is answered: of each property, what the first rule about it says.
#[must_use]
pub fn behaviour(rules: &[Quirk], mac: &Mac, traits: &Traits<'_>) -> Behaviour {
    let about = || rules.iter().filter(|rule| rule.is_about(mac, traits));
    Behaviour {
        answer: about().find_map(|rule| rule.answer),
        delay: about().find_map(|rule| rule.delay).unwrap_or_default(),
        machine_id: about().find_map(|rule| rule.machine_id).unwrap_or(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_about_a_client_counts_for_each_property() {
        let none = Quirk {
            machines: vec![],
            vendor_class: None,
            manufacturer: None,
            product: None,
            answer: None,
            delay: None,
            machine_id: None,
        };
        let rules = [
            Quirk { machines: vec!["00:e0:4c".parse().unwrap()], answer: Some(Shape::BootServer), ..none.clone() },
            Quirk { vendor_class: Some("PXEClient:Arch:00007".to_owned()), machine_id: Some(false), ..none.clone() },
            Quirk { product: Some("OptiPlex 3070".to_owned()), delay: Some(Duration::from_secs(1)), ..none.clone() },
            Quirk { answer: Some(Shape::AtOnce), ..none },
        ];
        let of = |mac: &str, class: &'static [u8], product| {
            let traits = Traits { vendor_class: class, manufacturer: Some("Dell Inc."), product };
            let Behaviour { answer, delay, machine_id } = behaviour(&rules, &mac.parse().unwrap(), &traits);
            (answer.unwrap(), delay.as_secs(), machine_id)
        };
        let efi = b"PXEClient:Arch:00007:UNDI:003016";
        assert_eq!(of("00:e0:4c:00:00:01", b"PXEClient", None), (Shape::BootServer, 0, true));
        assert_eq!(of("52:54:00:00:00:01", b"PXEClient", None), (Shape::AtOnce, 0, true));
        assert_eq!(of("00:e0:4c:00:00:01", efi, Some("optiplex 3070")), (Shape::BootServer, 1, false));
        assert_eq!(behaviour(&[], &Mac([2; 6]), &Traits::default()).answer, None);
    }
}
