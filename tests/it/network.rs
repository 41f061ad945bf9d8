//! `[network]` of a profile: what cannot work is said before a machine is on the wrong one, and layers take out what
//! earlier ones say.

use bivouac::build::{BaseAccounts, Recipe};
use bivouac::wire::apkovl::Node;
use serde_json::Value;

use crate::support::site::Site;

fn site(network: &str) -> Site {
    let site = Site::new();
    site.write("profiles/vdi/profile.toml", &format!("overlays = [\"base\", \"network\"]\n[network]\n{network}"));
    site
}

#[test]
fn addresses_and_gateways_that_cannot_work_are_shown_with_their_line_effect_and_fix() {
    let site = site(
        "dns = [\"10.0.0.1\",\n\"0.0.0.0\"]\n[network.interfaces.boot]\naddress = \"10.0.0.5/24\"\ngateway = \"10.0.1.1\"\n\
         [network.interfaces.eth1]\naddress = [\n\"10.0.1.255/24\",\n\"10.0.0.5/24\"]\n",
    );
    let ran = site.run(&["check", "vdi"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""), "{}", ran.out);
    let expected = "\
vdi: 4 errors

  error NET-1: an address that no card can have
    the card `eth1` has the address 10.0.1.255/24, which is the broadcast address of the network 10.0.1.0/24  [profile vdi, profiles/vdi/profile.toml:10]
    effect: other machines do not answer it, and some take what it sends for their own
    fix: write another address, or another length than 24

  error NET-2: an address of two cards
    the cards `boot` and `eth1` both have the address 10.0.0.5  [profile vdi, profiles/vdi/profile.toml:11]
    effect: the second one is refused, or answers come in where nobody waits for them
    fix: give each its own, or take one out

  error NET-3: a gateway that cannot be reached
    the gateway 10.0.1.1 of the card `boot` is in none of its networks: 10.0.0.0/24  [profile vdi, profiles/vdi/profile.toml:7]
    effect: the machine reaches nothing outside its own network, unless the gateway answers there all the same
    fix: correct the gateway, or the address and the length of its network

  error NET-4: a name server that cannot answer
    the name server 0.0.0.0 is an address that stands for none (RFC 1122, section 3.2.1.3)  [profile vdi, profiles/vdi/profile.toml:4]
    effect: the machine finds no other by its name
    fix: write the address of a name server, or none, where DHCP names them

";
    assert_eq!(ran.out, expected);
    let ran = site.run(&["build", "vdi"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("(NET-3) [profile vdi, profiles/vdi/profile.toml:7]"), "{}", ran.err);
}

#[test]
fn point_to_point_and_link_local_routers_are_no_mistakes() {
    for network in [
        "[network.interfaces]\neth0 = { address = \"10.0.0.4/31\", gateway = \"10.0.0.5\" }",
        "[network.interfaces]\neth0 = { address = \"10.0.0.4/32\", gateway = \"172.31.1.1\" }",
        "[network.interfaces]\neth0 = { address = \"fd00::/127\", gateway = \"fd00::1\" }",
        "[network.interfaces]\neth0 = { address = \"fd00::5/128\", gateway = \"fe80::1\" }",
        "[network.interfaces]\neth0 = { address = [\"10.0.0.5/24\", \"fd00::5/64\"], gateway = \"fe80::1\" }",
        "dns = [\"127.0.0.1\", \"::1\"]\nsearch = [\"example.net.\"]\n[network.interfaces.boot]",
    ] {
        let ran = site(network).run(&["check", "vdi"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "vdi: no mistakes found\n"), "{network}");
    }
}

#[test]
fn name_servers_domains_and_cards_of_an_earlier_layer_can_be_taken_out() {
    let site = site(
        "dns = [\"fd00:0::1\", \"10.0.0.1\"]\nsearch = [\"a.example\", \"b.example\"]\n[network.interfaces]\nboot = {}\n\
         eth1 = { address = \"10.0.0.5/24\" }\n\"boot.20\" = {}",
    );
    site.write(
        "profiles/seat/profile.toml",
        "extends = \"vdi\"\n[network]\ndns = [\"!fd00::1\"]\nsearch = [\"!a.example\"]\n[network.interfaces]\n\
         \"!eth1\" = {}\n\"!boot.20\" = {}\n\"boot.20\" = { address = \"none\" }",
    );
    let recipe = Recipe::load(&site.path("profiles"), &site.path("overlays"), &"seat".parse().unwrap()).unwrap();
    let tree = recipe.tree(&BaseAccounts::default()).unwrap();
    let text = |path: &str| match &tree.get(path).unwrap().node {
        Node::File(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(text("etc/resolv.conf"), "search b.example\nnameserver 10.0.0.1\n");
    let cards = text("etc/network/interfaces");
    assert!(!cards.contains("eth1") && cards.contains("iface eth0.20 inet manual"), "{cards}");
    for (what, name, value, by) in [
        ("eth1", "interfaces.eth1", Value::Null, "profile seat"),
        ("fd00::1", "dns fd00::1", Value::Null, "profile seat"),
        ("a.example", "search a.example", Value::Null, "profile seat"),
        ("boot.20", "interfaces.boot.20", "none".into(), "profile seat"),
        ("10.0.0.1", "dns 10.0.0.1", "dns 10.0.0.1".into(), "profile vdi"),
    ] {
        let ran = site.run(&["explain", "seat", what, "--json"]);
        assert_eq!(ran.code, Some(0), "{what}: {}", ran.err);
        let list: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(
            (&list[0]["name"], &list[0]["value"], &list[0]["by"]),
            (&name.into(), &value, &by.into()),
            "{list:#}"
        );
        assert!(!value.is_null() || list[0]["hidden"][0]["by"] == "profile vdi", "{list:#}");
    }
    site.write("profiles/seat/profile.toml", "extends = \"hello\"\n[network.interfaces]\n\"!eth9\" = {}");
    let said = site.run(&["build", "seat"]).err;
    assert!(said.contains("profile seat takes out the card `eth9`, which no layer before it names"), "{said}");
    assert!(said.contains("profiles/seat/profile.toml:3"), "{said}");
}
