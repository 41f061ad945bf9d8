//! Labels that machines have because of what they are: the rules of the site file.

use std::convert::Infallible;
use std::str::FromStr;

use ipnet::IpNet;

use super::Labels;
use crate::model::identity::Identity;
use crate::model::mac_prefix::MacPrefix;

/// A text in which `*` stands for any text, also none; case does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl FromStr for Pattern {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl Pattern {
    /// Whether a text looks like that. Takes no longer than the lengths of both, multiplied.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let text = text.to_ascii_lowercase();
        let Some((first, rest)) = self.0.split_once('*') else { return text == self.0 };
        let Some(mut left) = text.strip_prefix(first) else { return false };
        let mut parts: Vec<&str> = rest.split('*').collect();
        let last = parts.pop().unwrap_or_default();
        // Each part as early as can be leaves the most room for those behind it.
        for part in parts {
            let Some((_, behind)) = left.split_once(part) else { return false };
            left = behind;
        }
        left.ends_with(last)
    }
}

/// One rule. A condition that is absent holds; all have to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// The labels it gives.
    pub set: Labels,
    /// The addresses of network cards, any of the machine's, or how these begin; every machine when empty.
    pub machines: Vec<MacPrefix>,
    /// The serial number.
    pub serial: Option<Pattern>,
    /// The UUID.
    pub uuid: Option<Pattern>,
    /// The serial number of the board.
    pub board_serial: Option<Pattern>,
    /// The asset tag.
    pub asset: Option<Pattern>,
    /// The maker.
    pub manufacturer: Option<Pattern>,
    /// The model.
    pub product: Option<Pattern>,
    /// Where the address was from which the machine asked for its last script.
    pub subnet: Option<IpNet>,
}

impl Rule {
    /// Whether it is about a machine. What a machine does not say matches no pattern.
    #[must_use]
    pub fn matches(&self, machine: &Identity) -> bool {
        let Identity { mac, uuid, serial, hardware, .. } = machine;
        let covered = || {
            let mut cards = std::iter::once(mac).chain(&hardware.cards);
            cards.any(|card| self.machines.iter().any(|prefix| prefix.covers(card)))
        };
        let texts = [
            (&self.serial, serial),
            (&self.uuid, uuid),
            (&self.board_serial, &hardware.board_serial),
            (&self.asset, &hardware.asset),
            (&self.manufacturer, &hardware.manufacturer),
            (&self.product, &hardware.product),
        ];
        let fits = |(pattern, text): (&Option<Pattern>, &Option<String>)| {
            pattern.as_ref().is_none_or(|pattern| text.as_deref().is_some_and(|text| pattern.matches(text)))
        };
        (self.machines.is_empty() || covered())
            && texts.into_iter().all(fits)
            && self.subnet.is_none_or(|subnet| hardware.address.is_some_and(|address| subnet.contains(&address)))
    }
}

/// The labels of a machine: those set by hand, and of what rules give, for each key what the first one says.
#[must_use]
pub fn labels_of(rules: &[Rule], machine: &Identity, by_hand: Option<&Labels>) -> Labels {
    let mut labels = by_hand.cloned().unwrap_or_default();
    for (key, value) in rules.iter().filter(|rule| rule.matches(machine)).flat_map(|rule| &rule.set) {
        if !labels.contains_key(key) {
            labels.insert(key.clone(), value.clone());
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::identity::Hardware;
    use crate::model::label::{Label, listed};

    fn matches(pattern: &str, text: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(text)
    }

    #[test]
    fn a_star_stands_for_any_text_and_case_does_not_count() {
        for (pattern, text) in [
            ("NUC*", "nuc11TNHi5"),
            ("*i5", "NUC11TNHi5"),
            ("n*1*i*", "NUC11TNHi5"),
            ("*", ""),
            ("a**b", "ab"),
            ("Lenovo", "LENOVO"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("NUC", "NUC11"), ("a*a", "a"), ("*b*b", "ab"), ("", "a"), ("x*", "ax")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn every_condition_has_to_hold_and_what_is_set_by_hand_wins() {
        let labels = |text: &str| -> Labels {
            text.split_whitespace().map(|text| text.parse::<Label>().unwrap()).map(|it| (it.key, it.value)).collect()
        };
        let subnet = Some("10.0.4.0/22".parse().unwrap());
        let rules = [
            Rule { set: labels("site=berlin room=1"), subnet, ..Rule::default() },
            Rule {
                set: labels("type=nuc room=2"),
                machines: vec!["52:54:00".parse().unwrap()],
                product: Some("NUC*".parse().unwrap()),
                ..Rule::default()
            },
        ];
        let machine = |address: &str, product: &str| {
            let address = Some(address.parse().unwrap());
            let hardware = Hardware { address, product: Some(product.to_owned()), ..Hardware::default() };
            Identity { hardware, ..Identity::of("52:54:00:00:00:01".parse().unwrap()) }
        };
        let given = |machine: &Identity, by_hand: Option<&Labels>| listed(&labels_of(&rules, machine, by_hand));
        assert_eq!(given(&machine("10.0.7.9", "NUC11"), None), "room=1,site=berlin,type=nuc");
        assert_eq!(given(&machine("10.0.8.9", "NUC11"), None), "room=2,type=nuc");
        assert_eq!(given(&machine("10.0.8.9", "Other"), None), "-");
        assert_eq!(given(&Identity::of("52:54:00:00:00:01".parse().unwrap()), None), "-", "it says nothing");
        assert_eq!(given(&machine("10.0.4.1", "x"), Some(&labels("site=hamburg"))), "room=1,site=hamburg");
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_with_any_part_starred_out(text in "[a-z*]{0,12}", from in 0_usize..12, to in 0_usize..12) {
            prop_assert!(matches(&text, &text));
            let (from, to) = (from.min(text.len()), to.min(text.len()));
            if from <= to {
                let starred = format!("{}*{}", &text[..from], &text[to..]);
                prop_assert!(matches(&starred, &text));
            }
        }
    }
}
