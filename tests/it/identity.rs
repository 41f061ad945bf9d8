//! Who a machine is, through the front door: boots that say who asks, and what people see of them.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::site::{Serving, Site};

const ONE: &str = "52:54:00:00:00:01";
const TWO: &str = "52:54:00:00:00:02";
const UUID: &str = "4c4c4544-0000-2010-8020-80c04f202020";
const OTHER: &str = "5d5d4544-0000-2010-8020-80c04f202020";

fn served() -> (Site, Serving) {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    (site, server)
}

/// What a command of a person says.
fn run(site: &Site, arguments: &[&str]) -> String {
    let ran = site.run(arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.err);
    ran.out
}

/// The machines, once there are so many that fit.
fn until(site: &Site, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let machines: Vec<Value> = serde_json::from_str(&run(site, &["machines", "--json"])).unwrap();
        if is_so(&machines) {
            return machines;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "that never came to be: {machines:#?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_machine_says_what_it_is_and_fillers_are_nothing() {
    let (site, server) = served();
    server.get(&format!(
        "/script?mac={ONE}&uuid={UUID}&serial=To%20be%20filled%20by%20O.E.M.&board=BSN%207&asset=No%20Asset%20Tag\
         &maker=ACME&product=NUC%2011+&cards=-,{ONE},{TWO},junk"
    ));
    let machines = until(&site, |machines| machines.len() == 1);
    let machine = &machines[0];
    assert_eq!((&machine["serial"], &machine["asset"]), (&Value::Null, &Value::Null));
    assert_eq!((machine["board_serial"].as_str(), machine["manufacturer"].as_str()), (Some("BSN 7"), Some("ACME")));
    assert_eq!(machine["cards"], serde_json::json!([ONE, TWO]));
    let shown = run(&site, &["machines", "show", TWO]);
    assert!(shown.starts_with(ONE) && shown.contains("ACME NUC 11+; board BSN 7; UUID 4c4c"), "{shown}");
}

#[test]
fn a_machine_that_boots_by_another_of_its_cards_is_the_same_one_after_a_restart_too() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    server.get(&format!("/script?mac={ONE}&uuid={UUID}&cards=-,{ONE},{TWO}"));
    until(&site, |machines| machines.len() == 1);
    run(&site, &["machines", "label", TWO, "room=1"]);
    drop(server);
    let server = site.serve(&["--dhcp", "off"]);
    server.get(&format!("/script?mac={TWO}&uuid={UUID}&cards=-,{ONE},{TWO}"));
    let again = site.run(&["machines", "label", "room=1", "seen"]);
    assert!(again.out.contains(ONE), "{}{}", again.out, again.err);
    let machines = until(&site, |machines| !machines.is_empty());
    assert_eq!((machines.len(), machines[0]["mac"].as_str()), (1, Some(ONE)));
    assert_eq!(machines[0]["conflicts"], serde_json::json!([]));
}

#[test]
fn who_asks_in_the_same_words_as_before_is_known_again_and_from_another_address_is_seen_there() {
    let (site, server) = served();
    let question = format!("/script?mac={ONE}&uuid={UUID}&serial=PC%207&cards=-,{ONE},{TWO}");
    let other = question.replacen(ONE, TWO, 1);
    for address in [[127, 0, 0, 1], [127, 0, 0, 9], [127, 0, 0, 1]].map(IpAddr::from) {
        for asked in [&question, &question, &other, &other] {
            let script = server.get_from(address, asked);
            assert!(script.contains("bivouac_bundle="), "{script}");
        }
        let is_there = |machine: &Value| machine["address"] == address.to_string();
        let machines = until(&site, |machines| machines.iter().all(is_there) && !machines.is_empty());
        assert_eq!((machines.len(), &machines[0]["serial"]), (1, &"PC 7".into()));
        assert_eq!(machines[0]["cards"], serde_json::json!([ONE, TWO]));
    }
    // What is not as it was is another question.
    server.get(&question.replace("PC%207", "PC%208"));
    until(&site, |machines| machines[0]["serial"] == "PC 8");
    let refused = server.get(&format!("{question}&choice=local-disk"));
    assert!(refused.contains("may not choose"), "{refused}");
    assert!(server.get(&question).contains("bivouac_bundle="));
}

#[test]
fn a_clone_and_a_shared_dock_are_conflicts_and_said_once() {
    let (site, server) = served();
    server.get(&format!("/script?mac={ONE}&uuid={UUID}&cards=-,{ONE}"));
    for _ in 0..2 {
        server.get(&format!("/script?mac={TWO}&uuid={UUID}&cards=-,{TWO}"));
    }
    let is_known = |machine: &Value| machine["conflicts"].as_array().unwrap().len() == 1;
    let machines = until(&site, |machines| machines.len() == 2 && machines.iter().all(is_known));
    assert_eq!(machines[0]["conflicts"][0]["with"], TWO);
    assert!(run(&site, &["machines"]).contains("CONFLICT"));
    let dock = "52:54:00:00:00:0d";
    for uuid in [OTHER, &OTHER.replace('5', "6"), OTHER] {
        server.get(&format!("/script?mac={dock}&uuid={uuid}&cards=-,{dock}"));
    }
    until(&site, |machines| machines.len() == 3 && machines.iter().all(is_known));
    let shown = run(&site, &["machines", "show", dock]);
    assert!(shown.contains("CONFLICT: two computers boot with card 52:54:00:00:00:0d"), "{shown}");
    let begun = Instant::now();
    while run(&site, &["events"]).matches("alarm about").count() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the alarms were not written");
    }
    assert_eq!(run(&site, &["events"]).matches("alarm about").count(), 2);
}

#[test]
fn a_conflict_ends_when_somebody_settles_it_or_one_of_its_machines_is_gone() {
    let (site, server) = served();
    let three = "52:54:00:00:00:03";
    for mac in [ONE, TWO, three] {
        server.get(&format!("/script?mac={mac}&uuid={UUID}&cards=-,{mac}"));
    }
    let conflicts = |machine: &Value| machine["conflicts"].as_array().unwrap().len();
    let counts = |machines: &[Value]| machines.iter().map(conflicts).collect::<Vec<_>>();
    // Of two machines that have the same name, the first one is asked about.
    until(&site, |machines| counts(machines) == [2, 1, 1]);
    let shown = run(&site, &["machines", "show", TWO]);
    assert!(shown.contains(&format!("`bivouac machines settle {TWO}`")), "{shown}");
    let said = run(&site, &["machines", "settle", TWO, "--why", "a copy for the other room"]);
    assert_eq!(said, format!("settle what {TWO} shares with {ONE}\n"));
    until(&site, |machines| counts(machines) == [1, 0, 1]);
    assert!(!run(&site, &["machines", "show", TWO]).contains("CONFLICT"));
    assert!(run(&site, &["events"]).contains("a copy for the other room"));
    let again = site.run(&["machines", "settle", TWO]);
    assert!(again.code == Some(2) && again.err.contains("is in no conflict"), "{}", again.err);
    run(&site, &["machines", "forget", three]);
    until(&site, |machines| counts(machines) == [0, 0]);
    // Somebody else who says to be the first one is another matter.
    let four = "52:54:00:00:00:04";
    server.get(&format!("/script?mac={four}&uuid={UUID}&cards=-,{four}"));
    until(&site, |machines| counts(machines) == [1, 0, 1]);
    // A shared dock is settled alike.
    let dock = "52:54:00:00:00:0d";
    for uuid in [OTHER, &OTHER.replace('5', "6")] {
        server.get(&format!("/script?mac={dock}&uuid={uuid}&cards=-,{dock}"));
    }
    until(&site, |machines| counts(machines) == [1, 0, 1, 1]);
    let said = run(&site, &["machines", "settle", dock]);
    assert_eq!(said, format!("settle that several computers boot with the card {dock}\n"));
    server.get(&format!("/script?mac={dock}&uuid={OTHER}&cards=-,{dock}"));
    until(&site, |machines| counts(machines) == [1, 0, 1, 0]);
}

#[test]
fn labels_by_rule_are_there_and_what_people_say_wins() {
    let site = Site::published();
    let rules = "[[label]]\nset = { site = \"here\", room = \"1\" }\nsubnet = \"127.0.0.0/8\"\n\
                 [[label]]\nset = { type = \"nuc\" }\nmachines = [\"52:54\"]\nproduct = \"nuc*\"\n";
    site.write("bivouac.toml", rules);
    let server = site.serve(&["--dhcp", "off"]);
    server.get(&format!("/script?mac={ONE}&product=NUC%2011"));
    server.get(&format!("/script?mac={TWO}&product=Other"));
    let machines = until(&site, |machines| machines.len() == 2);
    assert_eq!(machines[0]["labels"], serde_json::json!({"room": "1", "site": "here", "type": "nuc"}));
    assert_eq!(machines[0]["address"], "127.0.0.1");
    let labelled = run(&site, &["machines", "label", "type=nuc", "room=2"]);
    assert!(labelled.contains(ONE) && !labelled.contains(TWO), "{labelled}");
    let list = run(&site, &["machines"]);
    assert!(list.contains("LABELS") && list.contains("room=2,site=here,type=nuc"), "{list}");
    assert!(run(&site, &["machines", "show", ONE]).contains("Labels: room=2,site=here,type=nuc."));
    let refused = site.run(&["machines", "label", "type=nuk", "room=3"]);
    assert!(refused.err.contains("did you mean `nuc`"), "{}", refused.err);
    site.write("bivouac.toml", "[[label]]\nset = { room = \"1 2\" }\nserial = \"*\"\n");
    let refused = site.run(&["machines"]);
    assert!(refused.code == Some(2) && refused.err.contains("in rule 1"), "{}", refused.err);
}

/// Asks once more until the script has that, as an iPXE does every half minute.
fn script_with(site: &Site, server: &Serving, mac: &str, text: &str) -> String {
    let begun = Instant::now();
    loop {
        let script = server.get(&format!("/script?mac={mac}&maker=ACME"));
        if script.contains(text) {
            return script;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{script}");
        // That takes a moment, in which the server reads what people wrote.
        run(site, &["machines", "inbox"]);
    }
}

fn with_unknown(policy: &str) -> (Site, Serving) {
    let site = Site::published();
    let known = "[machines.\"52:54:00:00:00:0a\"]\nprofile = \"hello\"\n";
    let file = format!("unknown-policy = \"{policy}\"\n{known}[dhcp]\nmode = \"off\"\n");
    site.write("bivouac.toml", &file);
    let server = site.serve_as(&file, &[]);
    assert!(server.get("/script?mac=52:54:00:00:00:0a").contains("bivouac_bundle="), "the site file names it");
    (site, server)
}

#[test]
fn an_unknown_machine_waits_with_a_code_until_it_is_approved() {
    let (site, server) = with_unknown("inbox");
    let code_of = |script: &str| script.split("Its code is ").nth(1).unwrap()[..6].to_owned();
    let script = script_with(&site, &server, ONE, "Its code is ");
    assert!(script.contains("sleep 30") && !script.contains("bivouac_bundle="), "{script}");
    let code = code_of(&script);
    // As a machine asks that waits: what its script tells it to load again is the first script.
    server.get("/boot.ipxe");
    assert_eq!(code_of(&script_with(&site, &server, ONE, "Its code is ")), code, "it does not change");
    assert_ne!(code_of(&script_with(&site, &server, TWO, "Its code is ")), code);
    until(&site, |machines| machines.len() == 3);
    let inbox = run(&site, &["machines", "inbox"]);
    assert!(inbox.contains(&code) && inbox.contains("ACME") && inbox.contains("127.0.0.1"), "{inbox}");
    assert_eq!(inbox.lines().count(), 3, "{inbox}");
    let refused = site.run(&["machines", "approve", "BBBBBB"]);
    assert!(
        refused.code == Some(2) && refused.err.contains("no machine waits with the code BBBBBB"),
        "{}",
        refused.err
    );
    let refused = site.run(&["machines", "approve", &code, "--profile", "helo"]);
    assert!(refused.code == Some(2) && refused.err.contains("helo"), "{}", refused.err);
    let approved = run(&site, &["machines", "approve", &code.to_lowercase(), "--profile", "hello", "--why", "mine"]);
    assert!(approved.contains(&format!("approve {ONE}")) && approved.contains("assign hello"), "{approved}");
    script_with(&site, &server, ONE, "bivouac_bundle=");
    script_with(&site, &server, TWO, "Its code is ");
    assert!(!run(&site, &["machines", "inbox", "--json"]).contains(ONE));
    run(&site, &["machines", "label", TWO, "room=1"]);
    script_with(&site, &server, TWO, "bivouac_bundle=");
    run(&site, &["machines", "forget", ONE]);
    script_with(&site, &server, ONE, "Its code is ");
}

#[test]
fn unknown_machines_do_what_the_site_says() {
    for (policy, text) in [
        ("boot", "bivouac_bundle="),
        ("menu", "choose "),
        ("local-disk", "boots from its local disk"),
        ("ignore", "nothing boots here"),
    ] {
        let (site, server) = with_unknown(policy);
        let script = server.get(&format!("/script?mac={ONE}"));
        assert!(script.contains(text), "{policy}: {script}");
        run(&site, &["machines", "approve", ONE]);
        script_with(&site, &server, ONE, "bivouac_bundle=");
    }
    let site = Site::published();
    site.write("bivouac.toml", "unknown-policy = \"quarantine\"\n");
    let refused = site.run(&["machines"]);
    assert!(refused.code == Some(2) && refused.err.contains("inbox"), "{}", refused.err);
}

#[test]
fn what_people_said_of_machines_goes_out_and_comes_in_as_a_table() {
    let (site, server) = served();
    server.get(&format!("/script?mac={ONE}&cards=-,{ONE},{TWO}"));
    until(&site, |machines| machines.len() == 1);
    run(&site, &["machines", "label", ONE, "room=1", "canary"]);
    run(&site, &["machines", "set", ONE, "note=a, \"b\"", "empty="]);
    run(&site, &["assign", ONE, "hello"]);
    let before = run(&site, &["events"]);
    run(&site, &["machines", "export", "fleet.csv"]);
    let table = std::fs::read_to_string(site.path("fleet.csv")).unwrap();
    assert_eq!(
        table,
        format!(
            "mac,assign,label.canary,label.room,vars.empty,vars.note\n{ONE},hello:stable,\\,1,\\,\"a, \"\"b\"\"\"\n"
        )
    );
    assert_eq!(run(&site, &["machines", "export"]), table);
    assert_eq!(run(&site, &["machines", "import", "fleet.csv"]), "Nothing changes.\n");
    assert_eq!(run(&site, &["events"]), before);

    let new = "52:54:00:00:00:07";
    site.write("fleet.csv", &format!("mac,assign,label.room\n{TWO},,2\n{new},hello@1,-\n"));
    let would = run(&site, &["machines", "import", "fleet.csv", "--dry-run"]);
    assert!(would.contains(&format!("would label {ONE}: room=2")), "its other card is the same machine: {would}");
    assert_eq!(run(&site, &["events"]), before);
    let done = run(&site, &["machines", "import", "fleet.csv", "--why", "the new room"]);
    assert!(done.contains(&format!("assign hello@1 to {new}")), "{done}");
    assert!(run(&site, &["machines", "show", ONE]).contains("Labels: canary,room=2."));
}

#[test]
fn a_table_with_bad_lines_is_refused_as_a_whole_and_every_bad_line_is_told() {
    let (site, _server) = served();
    let table = format!(
        "mac,assign,label.room\n{ONE},hello,1\nnonsense,,\n{ONE},,2\n{TWO},helo,1\n52:54:00:00:00:03,,a b\n\
         52:54:00:00:00:04\nff:ff:ff:ff:ff:ff,,1\n"
    );
    site.write("bad.csv", &table);
    let refused = site.run(&["machines", "import", "bad.csv"]);
    assert_eq!(refused.code, Some(2), "{}", refused.out);
    for why in [
        "nothing of bad.csv was taken in",
        "line 3: `nonsense` is not a hardware address",
        &format!("line 4: machine {ONE} is in line 2 already"),
        "line 5: ",
        "line 6: `a b` cannot be the value of a label",
        "line 7: it has 1 cells, and the first line has 3",
        "line 8: `ff:ff:ff:ff:ff:ff` is not the address of one network card",
    ] {
        assert!(refused.err.contains(why), "{why}: {}", refused.err);
    }
    assert!(!run(&site, &["events"]).contains("label"), "nothing was written");
    for (table, why) in [
        ("", "there is no column mac"),
        ("mac,room\n", "`room` is no column; there are mac, assign, label.KEY and vars.NAME"),
        ("mac,label.a,label.a\n", "column label.a is there twice"),
        ("mac,label.A\n", "cannot be the key of a label"),
    ] {
        site.write("bad.csv", table);
        let refused = site.run(&["machines", "import", "bad.csv"]);
        assert!(refused.code == Some(2) && refused.err.contains(why), "{why}: {}", refused.err);
    }
    let refused = site.run(&["machines", "import", "none.csv"]);
    assert!(refused.code == Some(2) && refused.err.contains("cannot read none.csv"), "{}", refused.err);
}
