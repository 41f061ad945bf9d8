//! Whether the fixed addresses, gateways and name servers of `[network]` can work (NET-1 to NET-5).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::rule::{ADDRESS, DOUBLE_ADDRESS, DOUBLE_GATEWAY, GATEWAY, NAME_SERVER, Rule};
use super::{Finding, Machine};
use crate::build::trail::Topic;
use crate::model::profile::network::{Address, Interface, Network};

/// An address with the length of its network.
type Fixed = (IpAddr, u8);

pub(super) fn look(machine: &Machine<'_>) -> Vec<Finding> {
    let Some(network) = machine.network else { return Vec::new() };
    let mut found = Vec::new();
    let mut seen: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for (name, interface) in &network.interfaces {
        let Address::Fixed(list) = &interface.address else { continue };
        for (ip, length) in list {
            let written = format!("{ip}/{length}");
            let said = |rule, what, effect: &str, fix: String| {
                let finding = Finding::new(rule, what, effect, fix);
                of_card(machine, finding, name, &["address", &written])
            };
            if let Some(other) = seen.insert(*ip, name) {
                let what = if other == name {
                    format!("the card `{name}` has the address {ip} twice")
                } else {
                    format!("the cards `{other}` and `{name}` both have the address {ip}")
                };
                let effect = "the second one is refused, or answers come in where nobody waits for them";
                found.push(said(DOUBLE_ADDRESS, what, effect, "give each its own, or take one out".to_owned()));
            } else if let Some(what) = special(*ip) {
                let what = format!("the card `{name}` has the address {written}, {what}");
                let effect = "the card does not come up, or nobody can answer it";
                found.push(said(ADDRESS, what, effect, "write an address of the network the card is in".to_owned()));
            } else if let Some(what) = end_of_network((*ip, *length), *ip) {
                let what = format!("the card `{name}` has the address {written}, which is {what}");
                let effect = "other machines do not answer it, and some take what it sends for their own";
                found.push(said(
                    ADDRESS,
                    what,
                    effect,
                    format!("write another address, or another length than {length}"),
                ));
            }
        }
        found.extend(gateway(machine, name, interface, list));
    }
    found.extend(second_gateways(machine, network));
    found.extend(network.dns.iter().filter_map(|server| name_server(machine, server)));
    found
}

/// A finding about a key of a card.
fn of_card(machine: &Machine<'_>, finding: Finding, name: &str, key: &[&str]) -> Finding {
    let by = machine.trail.owner(Topic::Network, &format!("interfaces.{name}")).map(str::to_owned);
    let key: Vec<&str> = ["network", "interfaces", name].iter().chain(key).copied().collect();
    Finding { by, ..finding.in_key(&key) }
}

/// NET-3: the router has to be a neighbour, and another machine.
fn gateway(machine: &Machine<'_>, name: &str, interface: &Interface, list: &[Fixed]) -> Option<Finding> {
    const EFFECT: &str = "there is no default route, so the machine reaches nothing outside its own network";
    // ifupdown-ng takes every gateway for a neighbour, busybox' `ifup` sets no route.
    const FAR: &str =
        "the machine reaches nothing outside its own network, unless the gateway answers there all the same";
    let gateway = interface.gateway?;
    let alike = || list.iter().filter(|(ip, _)| ip.is_ipv4() == gateway.is_ipv4());
    let said = |rule: Rule, what: String, fix: &str| {
        let finding = Finding::new(rule, format!("the gateway {gateway} of the card `{name}` {what}"), EFFECT, fix);
        of_card(machine, finding, name, &["gateway"])
    };
    if let Some(what) = special(gateway) {
        return Some(said(GATEWAY, format!("is no router's: it is {what}"), "write the address of the router"));
    }
    if list.iter().any(|(ip, _)| *ip == gateway) {
        let fix = "write the address of the router, which is another machine";
        return Some(said(GATEWAY, "is its own address".to_owned(), fix));
    }
    if let Some(what) = alike().find_map(|fixed| end_of_network(*fixed, gateway)) {
        return Some(said(GATEWAY, format!("is {what}"), "write the address of the router"));
    }
    // A link-local router is a neighbour whatever the network, and an address that is a network of its own has none but
    // the router (a route to it is written first).
    let is_link_local = matches!(gateway, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let is_neighbour =
        |fixed: &Fixed| is_alone(*fixed) || network(*fixed).is_some_and(|network| network.contains(&gateway));
    (!is_link_local && !alike().any(is_neighbour)).then(|| {
        let networks: Vec<String> = alike().filter_map(|fixed| Some(network(*fixed)?.trunc().to_string())).collect();
        let what = format!("is in none of its networks: {}", networks.join(", "));
        let fix = "correct the gateway, or the address and the length of its network";
        Finding { effect: FAR.to_owned(), ..said(GATEWAY, what, fix) }
    })
}

/// NET-5: `ifup` writes a default route for each gateway, and the kernel takes one for each version of IP.
fn second_gateways(machine: &Machine<'_>, network: &Network) -> Vec<Finding> {
    let mut first: BTreeMap<bool, (&str, IpAddr)> = BTreeMap::new();
    let mut found = Vec::new();
    for (name, gateway) in network.interfaces.iter().filter_map(|(name, it)| Some((name, it.gateway?))) {
        let Some((other, known)) = first.get(&gateway.is_ipv4()) else {
            first.insert(gateway.is_ipv4(), (name, gateway));
            continue;
        };
        let version = if gateway.is_ipv4() { "IPv4" } else { "IPv6" };
        let finding = Finding::new(
            DOUBLE_GATEWAY,
            format!("the cards `{other}` and `{name}` both have a gateway of {version}: {known} and {gateway}"),
            "the kernel refuses the second default route, so the card that comes up last does not, or the machine reaches \
             the rest of the world by whichever was first",
            format!(
                "keep the gateway that leads to the rest of the world, and take the one of `{name}` or `{other}` out"
            ),
        );
        found.push(of_card(machine, finding, name, &["gateway"]));
    }
    found
}

/// NET-4. A server on the machine itself, such as 127.0.0.1, is one.
fn name_server(machine: &Machine<'_>, server: &str) -> Option<Finding> {
    let what = special(server.parse().ok()?).filter(|what| *what != LOOPBACK)?;
    let finding = Finding::new(
        NAME_SERVER,
        format!("the name server {server} is {what}"),
        "the machine finds no other by its name",
        "write the address of a name server, or none, where DHCP names them",
    );
    let by = machine.trail.owner(Topic::Network, &format!("dns {server}")).map(str::to_owned);
    Some(Finding { by, ..finding.in_key(&["network", "dns", server]) })
}

const LOOPBACK: &str = "an address that every machine has for itself (loopback)";

/// What an address is that no card and no router has.
fn special(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Some("an address that stands for none (RFC 1122, section 3.2.1.3)"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the address of everybody (broadcast)"),
        IpAddr::V6(ip) if ip.is_unspecified() => Some("an address that stands for none (RFC 4291, section 2.5.2)"),
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => Some("an IPv4 address in the form of one of IPv6"),
        ip if ip.is_loopback() => Some(LOOPBACK),
        ip if ip.is_multicast() => Some("an address of a group of machines (multicast)"),
        _ => None,
    }
}

/// What an address is in a network when no machine may have it there. A network of one or two addresses (RFC 3021,
/// RFC 6164) has no such address, and one of IPv6 no broadcast.
fn end_of_network((ip, length): Fixed, address: IpAddr) -> Option<String> {
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    let network = network((ip, length)).filter(|_| length + 2 <= bits)?.trunc();
    if address == network.network() {
        let of_all = if ip.is_ipv4() { "" } else { ", which every router answers (RFC 4291, section 2.6.1)" };
        Some(format!("the address of the network {network} itself{of_all}"))
    } else {
        (ip.is_ipv4() && address == network.broadcast())
            .then(|| format!("the broadcast address of the network {network}"))
    }
}

/// Whether an address has no neighbours: its network is itself.
const fn is_alone((ip, length): Fixed) -> bool {
    length == if ip.is_ipv4() { 32 } else { 128 }
}

/// The network that an address with a length is in. The length fits, or the profile would not have been read.
fn network((ip, length): Fixed) -> Option<IpNet> {
    IpNet::new(ip, length).ok()
}
