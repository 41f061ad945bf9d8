//! `[[label]]`: labels that machines have because of what they are.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::ConfigError;
use crate::model::label::rule::Rule;
use crate::model::label::{LabelError, Labels};
use crate::model::mac_prefix::MacPrefix;
use crate::model::pattern::Pattern;

/// One `[[label]]`: what it sets, and conditions that all have to hold. Texts may have `*` for any text, and case does not
/// count. Of two rules that set the same label the first one counts, and what is set by hand counts before both.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LabelTable {
    /// The labels, such as `{ site = "berlin" }`; the value is empty for one that is only there or not.
    pub set: BTreeMap<String, String>,
    /// Addresses of network cards, or how these begin.
    pub machines: Option<Vec<MacPrefix>>,
    /// The serial number.
    pub serial: Option<String>,
    /// The UUID.
    pub uuid: Option<String>,
    /// The serial number of the board.
    pub board_serial: Option<String>,
    /// The asset tag.
    pub asset: Option<String>,
    /// The maker.
    pub manufacturer: Option<String>,
    /// The model, as its maker calls it.
    pub product: Option<String>,
    /// The network of the address from which the machine asks, such as `10.0.4.0/22`.
    pub subnet: Option<String>,
    /// The address of the DHCP relay that its packets come by, or the network in which that is.
    pub relay: Option<String>,
    /// What that relay calls its port (circuit id), or itself (remote id); bytes that are no text as `00:04:1e`.
    pub relay_port: Option<String>,
}

/// The rules, each of which says something about somebody.
pub(super) fn rules(written: Vec<LabelTable>) -> Result<Vec<Rule>, ConfigError> {
    (1..).zip(written).map(|(number, table)| rule(number, table)).collect()
}

fn rule(number: usize, table: LabelTable) -> Result<Rule, ConfigError> {
    let refused = |value: String, why: String| ConfigError::Value {
        key: "label",
        value,
        why: format!("in rule {number}, {why}"),
    };
    let mut labels = Labels::new();
    for (key, value) in table.set {
        let shown = format!("{key} = \"{value}\"");
        let label = key.parse().and_then(|key| Ok((key, value.parse()?)));
        labels.extend([label.map_err(|why: LabelError| refused(shown, why.to_string()))?]);
    }
    if labels.is_empty() {
        return Err(refused(
            "set = {}".to_owned(),
            "write the labels it gives, such as { site = \"berlin\" }".to_owned(),
        ));
    }
    if table.machines.as_ref().is_some_and(Vec::is_empty) {
        let why = "write addresses or how these begin, such as [\"00:e0:4c\"], or take the key out".to_owned();
        return Err(refused("machines = []".to_owned(), why));
    }
    let pattern = |name: &str, text: Option<String>| {
        pattern(text).map_err(|why| refused(format!("{name} = \"\""), why.to_owned()))
    };
    let within = |name: &str, text: Option<String>, parse: fn(&str) -> Result<IpNet, String>| {
        let parsed = |text: String| parse(&text).map_err(|why| refused(format!("{name} = \"{text}\""), why));
        text.map(parsed).transpose()
    };
    let rule = Rule {
        set: labels,
        machines: table.machines.unwrap_or_default(),
        serial: pattern("serial", table.serial)?,
        uuid: pattern("uuid", table.uuid)?,
        board_serial: pattern("board-serial", table.board_serial)?,
        asset: pattern("asset", table.asset)?,
        manufacturer: pattern("manufacturer", table.manufacturer)?,
        product: pattern("product", table.product)?,
        subnet: within("subnet", table.subnet, network)?,
        relay: within("relay", table.relay, |text| {
            text.parse::<IpAddr>().map_or_else(|_| network(text), |address| Ok(IpNet::from(address)))
        })?,
        relay_port: pattern("relay-port", table.relay_port)?,
    };
    let set = rule.set.clone();
    if rule == (Rule { set, ..Rule::default() }) {
        let why = "write which machines it is about: machines, serial, uuid, board-serial, asset, manufacturer, \
                   product, subnet, relay or relay-port";
        return Err(refused("no condition".to_owned(), why.to_owned()));
    }
    Ok(rule)
}

/// A pattern that can match: what a machine does not say matches nothing, so an empty one never would.
pub(super) fn pattern(text: Option<String>) -> Result<Option<Pattern>, &'static str> {
    match text.map(|text| text.parse::<Pattern>().map(|pattern| (text.is_empty(), pattern))) {
        None => Ok(None),
        Some(Ok((true, _))) => Err("write a text, in which * stands for any"),
        Some(Ok((false, pattern))) => Ok(Some(pattern)),
        Some(Err(never)) => match never {},
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let network: IpNet = text.parse().map_err(|_| "write a network such as \"10.0.4.0/22\"".to_owned())?;
    if network.trunc() == network {
        return Ok(network);
    }
    Err(format!("that is an address in {}; write the network", network.trunc()))
}

#[cfg(test)]
mod tests {
    use crate::config::{File, Settings};

    fn check(text: &str) -> Result<Settings, String> {
        Settings::check(File::parse(text).map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_are_checked_one_by_one() {
        let good = check("[[label]]\nset = { site = \"berlin\", canary = \"\" }\nsubnet = \"10.0.4.0/22\"").unwrap();
        assert_eq!(good.assignments.labels.len(), 1);
        for (bad, why) in [
            ("set = { Site = \"x\" }\nserial = \"a\"", "cannot be the key of a label"),
            ("set = { site = \"a b\" }\nserial = \"a\"", "cannot be the value"),
            ("set = {}\nserial = \"a\"", "write the labels it gives"),
            ("set = { a = \"\" }", "which machines it is about"),
            ("set = { a = \"\" }\nmachines = []", "or take the key out"),
            ("set = { a = \"\" }\nserial = \"\"", "write a text"),
            ("set = { a = \"\" }\nsubnet = \"10.0.4.0\"", "such as \"10.0.4.0/22\""),
            ("set = { a = \"\" }\nsubnet = \"10.0.5.1/22\"", "that is an address in 10.0.4.0/22"),
            ("set = { a = \"\" }\nvendor = \"x\"", "unknown field"),
        ] {
            let said = check(&format!("[[label]]\n{bad}")).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
