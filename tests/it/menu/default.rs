//! What a menu takes when nobody chooses.

use serde_json::Value;

use super::{
    ASK, MAC, asking, bundle, bundles, by_itself, items, machine, publish_as, run, script, script_of, script_with,
    serve, with_two_profiles,
};
use crate::support::site::Site;

/// Why nothing is chosen by itself.
pub(super) fn said(menu: &str) -> String {
    menu.lines().filter_map(|line| line.strip_prefix("item --gap ")).collect::<Vec<_>>().join(" ")
}

#[test]
fn when_nobody_chooses_a_machine_boots_what_it_was_assigned() {
    let site = with_two_profiles();
    let (mac, other) = ("52:54:00:00:00:02", "52:54:00:00:00:03");
    run(&site, &["assign", MAC, "other"]);
    run(&site, &["assign", mac, "hello@1"]);
    let text = format!("{ASK}[machines.\"{other}\"]\nprofile = \"other\"\n");
    let server = serve(&site, &format!("default-profile = \"hello\"\n{text}"));
    let menu = script(&server, "");
    assert_eq!(by_itself(&menu), Some("other:stable"), "{menu}");
    assert_eq!(bundle(&script(&server, "&choice=other%3Astable")), bundles(&site)["other"]);
    let menu = script_of(&server, mac, "");
    assert_eq!((by_itself(&menu), items(&menu)[0]), (Some("hello@1"), "hello@1"), "{menu}");
    assert_eq!(bundle(&script_of(&server, mac, "&choice=hello@1")), bundles(&site)["hello"]);
    assert_eq!(by_itself(&script_of(&server, other, "")), Some("other:stable"), "as the site file says");
    assert_eq!(by_itself(&script_of(&server, "52:54:00:00:00:04", "")), Some("hello:stable"));
    run(&site, &["assign", MAC, "-"]);
    script_with(&server, "--default hello:stable ");
}

#[test]
fn a_default_that_the_menu_would_not_list_is_listed() {
    let site = Site::published();
    for text in ["two", "three", "four"] {
        publish_as(&site, text);
    }
    for wanted in ["hello@4", "hello@1", "hello@3"] {
        let server = serve(&site, &asking(&format!("releases = 1\ndefault = \"{wanted}\"")));
        let menu = script(&server, "");
        assert_eq!(by_itself(&menu), Some(wanted), "{menu}");
        assert_eq!(items(&menu).iter().filter(|item| **item == wanted).count(), 1, "{menu}");
        assert!(items(&menu).contains(&"hello:stable") && items(&menu).contains(&"hello@3"), "{menu}");
        let chosen = script(&server, &format!("&choice={wanted}"));
        let shown: Value = serde_json::from_str(&run(&site, &["list", "--json"])).unwrap();
        let number: u64 = wanted.split_once('@').unwrap().1.parse().unwrap();
        let release = shown.as_array().unwrap().iter().find(|release| release["release"] == number).unwrap();
        assert_eq!(bundle(&chosen), release["bundle"].as_str().unwrap());
        server.stop();
    }
}

#[test]
fn a_profile_that_a_machine_follows_and_the_menu_does_not_offer_is_offered_to_that_machine() {
    let site = with_two_profiles();
    let text = "default-profile = \"hello\"\ndefault-policy = \"ask\"\n[menu]\nprofiles = [\"hello\"]\n\
                [machines.\"52:54:00:00:00:01\"]\nprofile = \"other\"\n";
    let server = serve(&site, text);
    let menu = script(&server, "");
    assert_eq!(
        (by_itself(&menu), items(&menu)),
        (Some("other:stable"), vec!["other:stable", "hello:stable", "local-disk"])
    );
    assert_eq!(bundle(&script(&server, "&choice=other%3Astable")), bundles(&site)["other"]);
    let stranger = "52:54:00:00:00:02";
    assert_eq!(items(&script_of(&server, stranger, "")), ["hello:stable", "local-disk"]);
    assert!(script_of(&server, stranger, "&choice=other%3Astable").contains("may not choose `other:stable`"));
}

#[test]
fn nothing_boots_by_itself_that_nobody_named() {
    let site = with_two_profiles();
    let mut server = serve(&site, &asking("default = \"other@7\""));
    let menu = script(&server, "");
    assert_eq!(by_itself(&menu), None, "{menu}");
    let why = "profile `other` has no release 7";
    assert!(said(&menu).contains(why), "{menu}");
    assert!(items(&menu).contains(&"hello:stable") && items(&menu).contains(&"local-disk"), "{menu}");
    server.wait_for_log("a menu has no default");
    assert_eq!(bundle(&script(&server, "&choice=hello%3Astable")), bundles(&site)["hello"], "somebody may choose");
    script(&server, "");
    server.stop();
    assert!(machine(&site)["problems"][0].as_str().unwrap().contains(why), "{:#}", machine(&site));
    // With two profiles, nobody follows one that no one named.
    let server = serve(&site, ASK);
    let menu = script(&server, "");
    assert_eq!(by_itself(&menu), None, "{menu}");
    assert!(said(&menu).contains("has no profile, assign one"), "{menu}");
    server.stop();
    assert_eq!(machine(&site)["state"], "sent", "a site may want that somebody chooses");
}

#[test]
fn a_default_that_cannot_be_had_is_no_reason_to_boot_from_the_disk() {
    let site = with_two_profiles();
    let text = "default-profile = \"hello\"\ndefault-policy = \"ask\"\n[menu]\nprofiles = [\"hello\"]\n\
                default = \"hello:beta\"\n";
    let server = serve(&site, text);
    let menu = script(&server, "");
    assert_eq!((by_itself(&menu), items(&menu)), (None, vec!["hello:stable", "local-disk", "again"]), "{menu}");
    assert!(said(&menu).contains("profile hello has no release in channel beta, publish one"), "{menu}");
    let arm = "/script?mac=52:54:00:00:00:02&platform=efi&arch=arm64";
    let menu = server.get(arm);
    assert_eq!((by_itself(&menu), items(&menu)), (None, vec!["local-disk", "again"]), "{menu}");
    server.stop();
    let text = "default-profile = \"hello\"\ndefault-policy = \"ask\"\n[menu]\nlocal-disk = false\n";
    let server = serve(&site, text);
    let nothing = server.get(arm);
    assert!(
        nothing.contains("has nothing for this machine: profile hello is for x86_64 and this machine is arm64"),
        "{nothing}"
    );
}

#[test]
fn an_entry_for_other_firmware_is_no_default_there() {
    let site = Site::published();
    let server = serve(&site, &asking("default = \"memtest\""));
    assert_eq!(by_itself(&script(&server, "")), Some("entry/memtest"));
    let efi = "/script?mac=52:54:00:00:00:02&platform=efi&arch=x86_64";
    assert_eq!(by_itself(&server.get(efi)), Some("hello:stable"));
    let refused = server.get(&format!("{efi}&choice=entry%2Fmemtest"));
    assert!(refused.contains("may not choose `entry/memtest`"), "{refused}");
}
