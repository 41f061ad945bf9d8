//! Files that follow from a profile's values: host name, time zone, keyboard, network.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::merge::{AlpineChoice, Merged, Shadowed, WORLD, described};
use super::trail::{BIVOUAC, DEFAULT, Topic};
use crate::model::profile::Runlevel;
use crate::model::profile::network::{Address, BOOT_CARD, Interface, Network, parts};
use crate::wire::apkovl::{Entry, Node};

/// Where the service `boot-interface` finds what to put into `etc/network/interfaces`, with [`CARD`] for the card.
const BOOT_INTERFACES: &str = "etc/bivouac/interfaces";

/// What stands for the card the machine booted from until that has a name.
const CARD: &str = "@boot@";

/// The time zone of a machine without any files about it.
const UTC: &str = "UTC";

/// The name that card has on most machines, should the service not run.
const LIKELY_CARD: &str = "eth0";

/// Writes the files, and adds the packages and services they need. A layer that has a folder where one of the files
/// belongs is told so.
pub(super) fn apply(merged: &mut Merged, profile: &str) {
    hostname(merged, profile);
    timezone(merged);
    keymap(merged);
    if let Some(network) = merged.network.clone() {
        write_network(merged, &network);
    }
}

/// Which Alpine it is, where no layer says it too.
pub(super) fn alpine(merged: &mut Merged) -> AlpineChoice {
    let Merged { release, flavor, arch, repositories, trail, .. } = merged;
    let defaults = [
        ("release", "latest-stable", release.is_none()),
        ("flavor", "virt", flavor.is_none()),
        ("arch", "x86_64", arch.is_none()),
    ];
    for (key, word, _) in defaults.iter().filter(|(_, _, is_unsaid)| *is_unsaid) {
        trail.say(Topic::Value, format!("alpine.{key}"), DEFAULT, *word);
    }
    if repositories.is_empty() {
        *repositories = ["main", "community"].map(str::to_owned).to_vec();
        for name in repositories.iter() {
            trail.say(Topic::Value, format!("alpine.repositories {name}"), DEFAULT, "");
        }
    }
    let [(_, latest, _), (_, virt, _), (_, x86_64, _)] = defaults;
    let known = "these names are valid";
    AlpineChoice {
        release: release.unwrap_or_else(|| latest.parse().expect(known)),
        flavor: flavor.clone().unwrap_or_else(|| virt.parse().expect(known)),
        arch: arch.clone().unwrap_or_else(|| x86_64.parse().expect(known)),
        repositories: repositories.clone(),
    }
}

/// Puts a file in that follows from a value, which wins over a layer's own file.
fn put(merged: &mut Merged, path: &str, entry: Entry, because: &str) {
    // A folder of that name is the mistake of the layer that has something in it.
    let below = format!("{path}/");
    let within = merged.trail.iter().find(|(it, _)| it.kind == Topic::File && it.name.starts_with(&below));
    let layer = within.and_then(|(_, steps)| steps.last()).map(|step| step.by.clone());
    let origin = layer.unwrap_or_else(|| format!("`{because}`"));
    if let Err(finding) = super::merge::put(&mut merged.tree, path, entry.clone(), &origin) {
        merged.findings.push(*finding);
        return;
    }
    let author = merged.trail.owner(Topic::Value, because).filter(|by| *by != DEFAULT);
    let by = author.map_or_else(|| format!("{BIVOUAC}, from `{because}`"), |by| format!("{by}, by `{because}`"));
    if let Some(hidden) = merged.trail.owner(Topic::File, path).map(str::to_owned) {
        merged.shadowed.push(Shadowed { path: path.to_owned(), by: format!("`{because}`"), hidden });
    }
    merged.trail.say(Topic::File, path, &by, described(&entry));
    merged.templates.remove(path);
}

/// Whether a layer brings a file of its own.
fn has(merged: &Merged, path: &str) -> bool {
    merged.tree.get(path).is_some_and(|entry| entry.node != Node::Directory)
}

fn need_package(merged: &mut Merged, name: &str, because: &str) {
    if !merged.packages.iter().any(|known| known == name) {
        merged.packages.push(name.to_owned());
        merged.trail.say(Topic::Package, name, &format!("{BIVOUAC}, for `{because}`"), "");
    }
}

fn need_service(merged: &mut Merged, level: Runlevel, name: &str, because: &str) {
    let list = merged.services.entry(level).or_default();
    if !list.iter().any(|known| known == name) {
        list.push(name.to_owned());
        merged.trail.say(Topic::Service, format!("{level}/{name}"), &format!("{BIVOUAC}, for `{because}`"), "");
    }
}

/// The host name, and a line of `etc/hosts` that resolves it (OVL-38). An author's own files stay, unless the profile
/// says a name too.
fn hostname(merged: &mut Merged, profile: &str) {
    let is_said = merged.hostname.is_some();
    if is_said || !has(merged, "etc/hostname") {
        let name = merged.hostname.clone().unwrap_or_else(|| profile.to_owned());
        if !is_said {
            merged.trail.say(Topic::Value, "hostname", DEFAULT, name.clone());
        }
        put(merged, "etc/hostname", Entry::file(format!("{name}\n")), "hostname");
        merged.hostname = Some(name);
    }
    if let Some(name) = merged.hostname.clone().filter(|_| !has(merged, "etc/hosts")) {
        let hosts = format!(
            "127.0.0.1\tlocalhost localhost.localdomain\n127.0.1.1\t{name}\n::1\t\tlocalhost localhost.localdomain\n"
        );
        put(merged, "etc/hosts", Entry::file(hosts), "hostname");
    }
}

/// A link into the zones of `tzdata`, which musl follows. UTC is what there is without any.
fn timezone(merged: &mut Merged) {
    if merged.timezone.is_none() {
        merged.trail.say(Topic::Value, "timezone", DEFAULT, UTC);
    }
    let Some(zone) = merged.timezone.clone().filter(|zone| zone != UTC) else { return };
    need_package(merged, "tzdata", "timezone");
    put(merged, "etc/localtime", Entry::symlink(format!("/usr/share/zoneinfo/{zone}")), "timezone");
    put(merged, "etc/timezone", Entry::file(format!("{zone}\n")), "timezone");
}

/// What `setup-keymap` leaves behind: the map's path for the service `loadkmap`.
fn keymap(merged: &mut Merged) {
    let Some(keymap) = merged.keymap.clone() else { return };
    let (layout, variant) = keymap.split_once(' ').unwrap_or((&keymap, &keymap));
    need_package(merged, "kbd-bkeymaps", "keymap");
    need_service(merged, Runlevel::Boot, "loadkmap", "keymap");
    let text = format!("KEYMAP=/usr/share/bkeymaps/{layout}/{variant}.bmap.gz\n");
    put(merged, "etc/conf.d/loadkmap", Entry::file(text), "keymap");
}

fn write_network(merged: &mut Merged, network: &Network) {
    need_service(merged, Runlevel::Boot, "networking", "network");
    if !network.dns.is_empty() || !network.search.is_empty() {
        let mut text = String::new();
        if !network.search.is_empty() {
            let _ = writeln!(text, "search {}", network.search.join(" "));
        }
        for server in &network.dns {
            let _ = writeln!(text, "nameserver {server}");
        }
        put(merged, "etc/resolv.conf", Entry::file(text), "network.dns");
    }
    if network.interfaces.is_empty() {
        return;
    }
    let text = interfaces(network);
    if text.contains(CARD) {
        need_service(merged, Runlevel::Boot, "boot-interface", "network.interfaces.boot");
        put(merged, BOOT_INTERFACES, Entry::file(text.clone()), "network.interfaces");
    }
    put(merged, "etc/network/interfaces", Entry::file(text.replace(CARD, LIKELY_CARD)), "network.interfaces");
}

/// `etc/network/interfaces`, in the words that both of Alpine's ifupdown programs know.
fn interfaces(network: &Network) -> String {
    let mut text = String::from("auto lo\niface lo inet loopback\n");
    for (name, interface) in &network.interfaces {
        let (card, vlan) = parts(name);
        let card = if card == BOOT_CARD { CARD } else { card };
        let name = vlan.map_or_else(|| card.to_owned(), |vlan| format!("{card}.{vlan}"));
        let _ = write!(text, "\nauto {name}\n");
        // The lower card may have no entry of its own. One of Alpine's two programs makes the VLAN by itself, before this.
        let before = vlan.map(|vlan| {
            format!(
                "\tpre-up ip link set {card} up\n\tpre-up [ -d /sys/class/net/{name} ] || ip link add link {card} \
                 name {name} type vlan id {vlan}\n\tpost-down ip link del {name} 2>/dev/null || true\n"
            )
        });
        stanzas(&mut text, &name, interface, &before.unwrap_or_default());
    }
    text
}

/// The stanzas of one card: one for DHCP, one for each fixed address.
fn stanzas(text: &mut String, name: &str, interface: &Interface, before: &str) {
    match &interface.address {
        Address::Dhcp => {
            let _ = write!(text, "iface {name} inet dhcp\n{before}");
        }
        Address::None => {
            let _ = write!(text, "iface {name} inet manual\n{before}\tup ip link set {name} up\n");
        }
        Address::Fixed(addresses) => {
            let router = interface.gateway.map(|gateway| (with_router(addresses, gateway), gateway));
            for (place, (address, length)) in addresses.iter().enumerate() {
                let family = if address.is_ipv4() { "inet" } else { "inet6" };
                let _ = writeln!(text, "iface {name} {family} static");
                // What brings the card up happens once.
                text.push_str(if place == 0 { before } else { "" });
                let _ = writeln!(text, "\taddress {address}\n\tnetmask {}", netmask((*address, *length)));
                if let Some((_, gateway)) = router.filter(|(by, _)| *by == Some(place)) {
                    text.push_str(&route(name, (*address, *length), gateway));
                }
            }
        }
    }
}

/// The length of an address's network as both programs take it: busybox' knows no `address 10.0.0.5/24`, and of IPv4 no
/// length.
fn netmask((address, length): (IpAddr, u8)) -> String {
    match IpNet::new(address, length) {
        Ok(IpNet::V4(network)) => network.netmask().to_string(),
        _ => length.to_string(),
    }
}

/// Which of a card's addresses the router is reached by: the one in its network, or else the first of its kind. A second
/// default route would be refused, and with it the address it came with.
fn with_router(addresses: &[(IpAddr, u8)], gateway: IpAddr) -> Option<usize> {
    let is_near =
        |(ip, length): &(IpAddr, u8)| IpNet::new(*ip, *length).is_ok_and(|network| network.contains(&gateway));
    let is_alike = |(ip, _): &(IpAddr, u8)| ip.is_ipv4() == gateway.is_ipv4();
    addresses.iter().position(is_near).or_else(|| addresses.iter().position(is_alike))
}

/// The lines that make a router the default one.
fn route(name: &str, (address, length): (IpAddr, u8), gateway: IpAddr) -> String {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let is_link_local = matches!(gateway, IpAddr::V6(gateway) if gateway.is_unicast_link_local());
    if length < bits || is_link_local {
        return format!("\tgateway {gateway}\n");
    }
    // An address without neighbours: the kernel takes a router only once there is a route to it.
    format!("\tup ip route add {gateway}/{bits} dev {name}\n\tup ip route add default via {gateway} dev {name}\n")
}

/// Puts services into their runlevels, as OpenRC's `rc-update` does: by links to `/etc/init.d/NAME` (OVL-27).
pub(super) fn enable(merged: &mut Merged) {
    let Merged { services, tree, trail, findings, .. } = merged;
    for (level, names) in services {
        for name in names {
            let path = format!("etc/runlevels/{level}/{name}");
            let entry = Entry::symlink(format!("/etc/init.d/{name}"));
            let by = trail.owner(Topic::Service, &format!("{level}/{name}")).unwrap_or(BIVOUAC);
            let by = format!("{by}, by `services.{level}`");
            trail.say(Topic::File, path.clone(), &by, described(&entry));
            findings.extend(super::merge::put(tree, &path, entry, "`services`").err().map(|it| *it));
        }
    }
}

/// Writes the world, which has the packages of every layer.
pub(super) fn world(merged: &mut Merged, words: &[String]) {
    let entry = Entry::file(words.iter().map(|word| format!("{word}\n")).collect::<String>());
    merged.trail.say(Topic::File, WORLD, &format!("{BIVOUAC}, from `packages`"), described(&entry));
    merged.findings.extend(super::merge::put(&mut merged.tree, WORLD, entry, "`packages`").err().map(|it| *it));
}

#[cfg(test)]
mod tests {
    use super::super::layers::{Source, Written};
    use super::super::merge::merge;
    use super::*;
    use crate::model::profile::Layer;

    fn applied(toml: &str, files: &[(&str, &str)]) -> Merged {
        let files =
            files.iter().map(|(path, text)| ((*path).to_owned(), Entry::file(text.as_bytes().to_vec()))).collect();
        let layer = Layer::parse(toml).unwrap();
        let (origin, written) = ("profile vdi".to_owned(), Written::default());
        let mut merged = merge(vec![Source { origin, layer, written, files, findings: Vec::new() }]);
        apply(&mut merged, "vdi");
        merged
    }

    fn text(merged: &Merged, path: &str) -> String {
        match merged.tree.get(path).map(|entry| &entry.node) {
            Some(Node::File(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
            Some(Node::Symlink(target)) => format!("-> {target}"),
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn a_machine_is_called_after_its_profile_unless_somebody_says_otherwise() {
        let merged = applied("", &[]);
        assert_eq!(text(&merged, "etc/hostname"), "vdi\n");
        assert!(text(&merged, "etc/hosts").contains("127.0.1.1\tvdi\n"));
        let merged = applied("", &[("etc/hostname", "own\n")]);
        assert_eq!(text(&merged, "etc/hostname"), "own\n");
        let merged = applied("hostname = \"said\"", &[("etc/hostname", "own\n"), ("etc/hosts", "mine")]);
        assert_eq!((text(&merged, "etc/hostname"), text(&merged, "etc/hosts")), ("said\n".into(), "mine".into()));
        assert_eq!(merged.shadowed.len(), 1);
    }

    #[test]
    fn time_zone_and_keyboard_bring_what_they_need() {
        let merged = applied("timezone = \"Europe/Berlin\"\nkeymap = \"de de-nodeadkeys\"", &[]);
        assert_eq!(text(&merged, "etc/localtime"), "-> /usr/share/zoneinfo/Europe/Berlin");
        assert_eq!(text(&merged, "etc/conf.d/loadkmap"), "KEYMAP=/usr/share/bkeymaps/de/de-nodeadkeys.bmap.gz\n");
        assert_eq!(merged.packages, ["tzdata", "kbd-bkeymaps"]);
        assert_eq!(merged.services[&Runlevel::Boot], ["loadkmap"]);
        assert!(applied("timezone = \"UTC\"", &[]).packages.is_empty());
    }

    #[test]
    fn cards_addresses_and_vlans_become_stanzas() {
        let toml = "[network]\ndns = [\"10.0.0.1\"]\nsearch = [\"example.net\"]\n[network.interfaces]\nboot = {}\n\
                    \"boot.20\" = { address = [\"10.0.20.5/24\", \"fd00::5/64\"], gateway = \"10.0.20.1\" }\n\
                    eth1 = { address = \"none\" }";
        let merged = applied(toml, &[]);
        assert_eq!(
            text(&merged, BOOT_INTERFACES),
            "auto lo\niface lo inet loopback\n\nauto @boot@\niface @boot@ inet dhcp\n\nauto @boot@.20\n\
             iface @boot@.20 inet static\n\tpre-up ip link set @boot@ up\n\
             \tpre-up [ -d /sys/class/net/@boot@.20 ] || ip link add link @boot@ name @boot@.20 type vlan id 20\n\
             \tpost-down ip link del @boot@.20 2>/dev/null || true\n\
             \taddress 10.0.20.5\n\tnetmask 255.255.255.0\n\tgateway 10.0.20.1\niface @boot@.20 inet6 static\n\
             \taddress fd00::5\n\tnetmask 64\n\n\
             auto eth1\niface eth1 inet manual\n\tup ip link set eth1 up\n"
        );
        assert!(text(&merged, "etc/network/interfaces").contains("iface eth0 inet dhcp"));
        assert_eq!(text(&merged, "etc/resolv.conf"), "search example.net\nnameserver 10.0.0.1\n");
        assert_eq!(merged.services[&Runlevel::Boot], ["networking", "boot-interface"]);
        let fixed = applied("[network.interfaces]\neth1 = { address = \"10.0.0.5/32\", gateway = \"10.1.0.1\" }", &[]);
        assert!(fixed.tree.get(BOOT_INTERFACES).is_none());
        let routes = "\taddress 10.0.0.5\n\tnetmask 255.255.255.255\n\tup ip route add 10.1.0.1/32 dev eth1\n\
                      \tup ip route add default via 10.1.0.1 dev eth1\n";
        assert!(text(&fixed, "etc/network/interfaces").ends_with(routes));
        let two =
            "[network.interfaces]\neth1 = { address = [\"10.9.0.5/24\", \"10.0.0.5/24\"], gateway = \"10.0.0.1\" }";
        let once = "\taddress 10.9.0.5\n\tnetmask 255.255.255.0\niface eth1 inet static\n\taddress 10.0.0.5\n\
                    \tnetmask 255.255.255.0\n\tgateway 10.0.0.1\n";
        assert!(text(&applied(two, &[]), "etc/network/interfaces").ends_with(once));
    }
}
