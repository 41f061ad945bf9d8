//! `[network]` of a profile or overlay: how the machine is on the network once it has booted.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::document::Mistakes;

/// The name that stands for the card the machine booted from, whatever the kernel calls it.
pub const BOOT_CARD: &str = "boot";

/// The longest name of a card that Linux takes, in bytes (`IFNAMSIZ` less the final zero).
const LONGEST_NAME: usize = 15;

/// The largest VLAN (IEEE 802.1Q: 4095 is reserved).
const LARGEST_VLAN: u16 = 4094;

/// `[network]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Network {
    /// Name servers, when DHCP does not name them; `!` takes out what an earlier layer names.
    #[serde(deserialize_with = "servers")]
    pub dns: Vec<String>,
    /// Domains that short host names are looked for in; `!` takes out what an earlier layer names.
    pub search: Vec<String>,
    /// Cards by name, `boot` for the one the machine booted from; `boot.20` is VLAN 20 on it. `"!eth1" = {}` takes out
    /// what an earlier layer says of a card.
    pub interfaces: BTreeMap<String, Interface>,
}

/// One card, or one VLAN on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Interface {
    /// `dhcp`, `none`, or addresses with the length of their network.
    #[serde(default)]
    pub address: Address,
    /// The router, for fixed addresses.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
}

/// Name servers, each address in the one spelling of RFC 5952, so that `!` finds it however it was written. What is no
/// address stays, for [`mistakes`] to name each.
fn servers<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    let canonical = |text: String| {
        let (sign, bare) = text.strip_prefix('!').map_or(("", text.as_str()), |bare| ("!", bare));
        bare.parse::<IpAddr>().map_or_else(|_| text.clone(), |address| format!("{sign}{address}"))
    };
    Ok(Vec::<String>::deserialize(input)?.into_iter().map(canonical).collect())
}

/// How a card gets its address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "Written")]
pub enum Address {
    /// By DHCP.
    #[default]
    Dhcp,
    /// None: the card is only switched on, as the lower half of a VLAN is.
    None,
    /// Fixed, each with the length of its network: `10.0.0.5/24`.
    Fixed(Vec<(IpAddr, u8)>),
}

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(untagged, expecting = "expected \"dhcp\", \"none\", an address such as \"10.0.0.5/24\", or a list of them")]
enum Written {
    One(String),
    List(Vec<String>),
}

impl TryFrom<Written> for Address {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let list = match written {
            Written::One(word) if word == "dhcp" => return Ok(Self::Dhcp),
            Written::One(word) if word == "none" => return Ok(Self::None),
            Written::One(one) => vec![one],
            Written::List(list) => list,
        };
        let fixed: Result<Vec<_>, String> = list.iter().map(|text| address(text)).collect();
        match fixed {
            Ok(fixed) if fixed.is_empty() => Err("a list of addresses needs one; write \"none\" for none".to_owned()),
            other => other.map(Self::Fixed),
        }
    }
}

fn address(text: &str) -> Result<(IpAddr, u8), String> {
    let parsed = text.split_once('/').and_then(|(ip, length)| Some((ip.parse::<IpAddr>().ok()?, length.parse().ok()?)));
    match parsed {
        Some((ip, length)) if length <= if ip.is_ipv4() { 32 } else { 128 } => Ok((ip, length)),
        _ => Err(format!("`{text}` is not an address; write \"dhcp\", \"none\" or, such as, \"10.0.0.5/24\"")),
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Dhcp => out.write_str("dhcp")?,
            Address::None => out.write_str("none")?,
            Address::Fixed(list) => {
                let list: Vec<String> = list.iter().map(|(ip, length)| format!("{ip}/{length}")).collect();
                out.write_str(&list.join(", "))?;
            }
        }
        self.gateway.map_or(Ok(()), |gateway| write!(out, " by {gateway}"))
    }
}

/// The card and the VLAN of an interface's name.
#[must_use]
pub fn parts(name: &str) -> (&str, Option<u16>) {
    match name.split_once('.') {
        // One spelling for each: `020` would be a second name of VLAN 20.
        Some((card, vlan)) => (card, vlan.parse().ok().filter(|number: &u16| number.to_string() == vlan)),
        None => (name, None),
    }
}

/// Notes names that no card has, gateways that no address can use, name servers and domains that are none. Whether the
/// addresses of all layers go together is for the lint.
pub(super) fn mistakes(network: &Network, found: &mut Mistakes) {
    for (key, interface) in &network.interfaces {
        if let Err(why) = check_card(key, interface) {
            found.name(&["network", "interfaces"], key, why);
        } else if let Some(gateway) = interface.gateway
            && let Err(why) = check_gateway(gateway, &interface.address)
        {
            found.value(&["network", "interfaces", key, "gateway"], &gateway.to_string(), why);
        }
    }
    found.members(&["network", "dns"], &network.dns, check_server);
    found.members(&["network", "search"], &network.search, check_domain);
}

fn check_card(key: &str, interface: &Interface) -> Result<(), String> {
    let name = key.strip_prefix('!').unwrap_or(key);
    if name != key && *interface != Interface::default() {
        return Err(format!("`!` takes the card out, so nothing can be said of it; write `\"{key}\" = {{}}`"));
    }
    let (card, vlan) = parts(name);
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if card.is_empty() || name.len() > LONGEST_NAME || !card.bytes().all(inner) || name == "lo" {
        return Err(format!(
            "write the name of a card, such as \"eth1\", `{BOOT_CARD}` for the card the machine boots from, or one of \
             these with a VLAN, such as \"{BOOT_CARD}.20\"; names have {LONGEST_NAME} characters at most"
        ));
    }
    let is_vlan = vlan.is_some_and(|vlan| (1..=LARGEST_VLAN).contains(&vlan)) || !name.contains('.');
    is_vlan.then_some(()).ok_or_else(|| {
        format!("what follows the dot is a VLAN, from 1 to {LARGEST_VLAN} without leading zeros; write, such as, \"{card}.20\"")
    })
}

fn check_gateway(gateway: IpAddr, address: &Address) -> Result<(), &'static str> {
    let Address::Fixed(fixed) = address else { return Err("only fixed addresses have a gateway; take it out") };
    let is_alike = fixed.iter().any(|(address, _)| address.is_ipv4() == gateway.is_ipv4());
    is_alike.then_some(()).ok_or("no address of the card is of its kind; write one of the same version of IP")
}

fn check_server(written: &str) -> Result<(), &'static str> {
    let address = written.strip_prefix('!').unwrap_or(written).parse::<IpAddr>();
    address.map(drop).map_err(|_| "write the address of a name server, such as \"10.0.0.1\"")
}

/// RFC 1035, section 2.3.1: labels of letters, digits and inner hyphens, 63 bytes each, and 253 in all.
fn check_domain(written: &str) -> Result<(), &'static str> {
    let domain = written.strip_prefix('!').unwrap_or(written);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let good = domain.len() <= 253 && domain.strip_suffix('.').unwrap_or(domain).split('.').all(label);
    good.then_some(()).ok_or("write a domain, such as \"example.net\": letters, digits and inner hyphens between dots")
}

#[cfg(test)]
mod tests {
    use super::super::Layer;
    use super::*;

    fn read(text: &str) -> Result<Network, String> {
        // As it stands in a profile.
        let text = format!("[network]\n{}", text.replace("[interfaces]", "[network.interfaces]"));
        Layer::parse(&text).map(|layer| layer.network.unwrap_or_default()).map_err(|error| error.to_string())
    }

    #[test]
    fn cards_get_their_addresses_in_three_ways() {
        let network = read(
            "dns = [\"10.0.0.1\", \"fd00::1\"]\nsearch = [\"example.net\"]\n[interfaces]\nboot = {}\n\
             \"boot.20\" = { address = \"none\" }\neth1 = { address = [\"10.0.0.5/24\", \"fd00::5/64\"], gateway = \"10.0.0.1\" }",
        )
        .unwrap();
        assert_eq!(network.interfaces["boot"].address, Address::Dhcp);
        assert_eq!(network.interfaces["boot.20"].address, Address::None);
        let Address::Fixed(fixed) = &network.interfaces["eth1"].address else { panic!("not fixed") };
        assert_eq!(fixed.len(), 2);
        assert_eq!(parts("boot.20"), ("boot", Some(20)));
    }

    #[test]
    fn what_no_card_can_have_is_refused_with_what_to_write() {
        for (text, said) in [
            ("[interfaces]\n\"eth0:1\" = {}", "write the name of a card"),
            ("[interfaces]\n\"boot.4095\" = {}", "is a VLAN, from 1 to 4094"),
            ("[interfaces]\n\"boot.0\" = {}", "is a VLAN, from 1 to 4094"),
            ("[interfaces]\nlo = {}", "write the name of a card"),
            ("[interfaces]\neth0 = { address = \"10.0.0.5\" }", "`10.0.0.5` is not an address"),
            ("[interfaces]\neth0 = { address = \"10.0.0.5/33\" }", "is not an address"),
            ("[interfaces]\neth0 = { address = [] }", "needs one"),
            ("[interfaces]\neth0 = { gateway = \"10.0.0.1\" }", "only fixed addresses have a gateway"),
            ("[interfaces]\n\"boot.020\" = {}", "without leading zeros"),
            ("[interfaces]\neth0 = { address = \"10.0.0.5/24\", gateway = \"fd00::1\" }", "the same version of IP"),
            ("search = [\"a b\"]", "write a domain"),
            ("search = [\"!\"]", "write a domain"),
            ("search = [\"-a..b\"]", "`network.search` has the value `-a..b`; write a domain"),
            ("dns = [\"10.0.0\"]", "`network.dns` has the value `10.0.0`; write the address of a name server"),
            ("dns = [\"!dns.example\"]", "`network.dns` has the value `!dns.example`; write the address"),
            ("[interfaces]\n\"!eth1\" = { address = \"none\" }", "nothing can be said of it"),
            (
                "[interfaces]\neth0 = { adress = \"dhcp\" }",
                "unknown key `adress` in `network.interfaces.eth0`; did you mean `address`?",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
