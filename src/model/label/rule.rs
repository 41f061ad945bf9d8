//! Labels that machines have because of what they are: the rules of the site file.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Labels;
use crate::model::identity::Identity;
use crate::model::mac_prefix::MacPrefix;
use crate::model::pattern::Pattern;

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
    /// Where the address is of the relay that passed its DHCP packets on.
    pub relay: Option<IpNet>,
    /// The port of that relay, or the relay itself, as it says (RFC 3046).
    pub relay_port: Option<Pattern>,
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
        let relay = hardware.relay.as_ref();
        let is_behind = |net: &IpNet| relay.is_some_and(|relay| net.contains(&IpAddr::V4(relay.address)));
        let is_at = |port: &Pattern| relay.is_some_and(|relay| relay.names().any(|name| port.matches(name)));
        (self.machines.is_empty() || covered())
            && texts.into_iter().all(fits)
            && self.subnet.is_none_or(|subnet| hardware.address.is_some_and(|address| subnet.contains(&address)))
            && self.relay.as_ref().is_none_or(is_behind)
            && self.relay_port.as_ref().is_none_or(is_at)
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
    use super::*;
    use crate::model::identity::{Hardware, Relay};
    use crate::model::label::{Label, listed};

    #[test]
    fn a_machine_can_be_told_by_where_it_is_plugged_in() {
        let relay = Relay {
            address: "10.0.4.1".parse().unwrap(),
            circuit: Some("Gi1/0/7".to_owned()),
            remote: Some("switch-3".to_owned()),
        };
        let there = Identity {
            hardware: Hardware { relay: Some(relay), ..Hardware::default() },
            ..Identity::of("52:54:00:00:00:01".parse().unwrap())
        };
        let elsewhere = Identity::of("52:54:00:00:00:02".parse().unwrap());
        let behind = |net: &str| Rule { relay: Some(net.parse().unwrap()), ..Rule::default() };
        let at = |port: &str| Rule { relay_port: Some(port.parse().unwrap()), ..Rule::default() };
        for rule in [behind("10.0.4.1/32"), behind("10.0.0.0/16"), at("gi1/0/*"), at("switch-3")] {
            assert!(rule.matches(&there) && !rule.matches(&elsewhere), "{rule:?}");
        }
        for rule in [behind("10.0.5.0/24"), at("Gi1/0/70"), at("switch")] {
            assert!(!rule.matches(&there), "{rule:?}");
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
}
