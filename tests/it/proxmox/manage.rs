//! Listing, starting, stopping, rebooting and deleting.

use super::cluster::Fault;
use super::{Bed, calls, words};

fn three() -> Bed {
    let bed = Bed::new();
    bed.run(&["create", "2", "--profile", "hello", "--label", "room=1"]);
    bed.run(&["create", "1", "--profile", "hello@1", "--name", "pinned", "--label", "room=2"]);
    bed.cluster.add(200, "pve2", &[("name", "db"), ("tags", "prod")]);
    bed.cluster.changes();
    bed
}

#[test]
fn the_list_has_what_the_cluster_and_the_fleet_know() {
    let bed = three();
    let text = bed.run(&["list"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("VM   NAME"), "{text}");
    let cells: Vec<&str> = lines[1].split_whitespace().take(4).collect();
    assert_eq!(cells, ["100", "hello-01", "pve1", "running"]);
    assert!(lines[1].ends_with("has not booted yet"), "{text}");
    assert!(!lines.iter().any(|line| line.starts_with("200")), "{text}");
    let machine = bed.list()[0]["machine"].as_str().unwrap().to_owned();
    let server = bed.site.serve(&["--dhcp", "off"]);
    let script = server.get(&format!("/script?mac={machine}"));
    let word = |after: &str| script.split(after).nth(1).unwrap().split([' ', '\n']).next().unwrap().to_owned();
    let manifest = serde_json::from_str(&bed.fleet(&["show", "hello@1", "--json"])).unwrap();
    let report = crate::support::site::report(&manifest, &word("bivouac_bundle="));
    assert!(server.post("/check-in", &format!("token {}\n{report}", word("/check-in/"))).contains("\r\n\r\nok\n"));
    let first = bed.list().remove(0);
    assert_eq!((&first["release"], &first["state"], &first["good"]), (&1.into(), &"up".into(), &true.into()));
}

#[test]
fn machines_are_chosen_by_name_number_profile_and_labels_and_no_others_are_touched() {
    let bed = three();
    let stop = |arguments: &[&str]| {
        let printed = bed.run(&[&["stop", "--dry-run"], arguments].concat());
        calls(&printed).iter().map(|call| call.split('/').nth(4).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(stop(&["hello-02", "100", "hello-02"]), ["101", "100"]);
    assert_eq!(stop(&["--profile", "hello"]), ["100", "101", "102"]);
    assert_eq!(stop(&["--labels", "room=2"]), ["102"]);
    assert_eq!(stop(&["--profile", "hello", "--labels", "room=1"]), ["100", "101"]);
    assert_eq!(stop(&["--all"]), ["100", "101", "102"], "db is not ours");
    for (arguments, said) in [
        (&["stop", "db"][..], "VM 200 `db` on pve2 is not ours: it has no tag `bivouac`, and is not touched"),
        (&["delete", "200", "--yes"], "is not ours"),
        (&["stop", "hello-3"], "did you mean `hello-01`?"),
        (&["stop", "--profile", "helo"], "no VM of ours boots `helo`; did you mean `hello`?"),
        (&["stop", "--labels", "rom=1"], "no machine has a label `rom`; did you mean `room`?"),
        (&["stop"], "required"),
        (&["delete", "--dry-run"], "required"),
        (&["delete", "--all", "--profile", "hello"], "cannot be used with"),
    ] {
        let err = bed.refused(arguments);
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
    assert_eq!(bed.cluster.changes(), [""; 0]);
}

#[test]
fn machines_are_stopped_started_and_rebooted_and_nothing_is_done_twice() {
    let bed = three();
    let dry = bed.run(&["stop", "--labels", "room=1", "--dry-run"]);
    bed.cluster.state().looks = 1;
    let said = bed.run(&["stop", "--labels", "room=1"]);
    assert_eq!(said, "VM 100 `hello-01` on pve1 stopped\nVM 101 `hello-02` on pve1 stopped\n");
    let mut made = bed.cluster.changes();
    made.sort();
    assert_eq!(made, calls(&dry));
    assert!(made[0].ends_with("/100/status/shutdown\n    forceStop=1\n    timeout=60"), "{made:?}");
    assert!(bed.run(&["stop", "hello-01"]).contains("is off already"));
    assert_eq!(bed.run(&["stop", "hello-01", "--dry-run"]), "Nothing would be asked of the cluster.\n");
    assert_eq!(bed.cluster.changes(), [""; 0]);
    assert!(bed.run(&["reboot", "hello-01"]).contains("was off, and started"));
    assert!(bed.run(&["start", "hello-01"]).contains("runs already"));
    assert!(bed.run(&["reboot", "hello-01"]).contains("rebooted"));
    assert!(bed.run(&["stop", "hello-01", "--hard"]).contains("stopped"));
    assert_eq!(words(&bed.cluster.changes()), ["start", "reboot", "stop"]);
}

#[test]
fn what_does_not_reboot_when_asked_is_switched_off_and_on() {
    let bed = three();
    bed.cluster.fail("/status/reboot", Fault::Task("VM quit/powerdown failed - got timeout", ""));
    let said = bed.run(&["reboot", "hello-01"]);
    assert!(said.contains("did not reboot when it was asked to, and was switched off and on"), "{said}");
    assert_eq!(words(&bed.cluster.changes()), ["reboot", "stop", "start"]);
    assert_eq!(bed.cluster.status(100), "running");
}

#[test]
fn one_that_fails_does_not_keep_the_others() {
    let bed = three();
    bed.cluster.state().vms.get_mut(&100).unwrap().lock = Some("backup".to_owned());
    let ran = bed.ran(&["stop", "--all"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.out.contains("VM 101 `hello-02` on pve1 stopped") && ran.out.contains("VM 102"), "{}", ran.out);
    assert!(ran.err.contains("1 of 3 VMs failed"), "{}", ran.err);
    assert!(
        ran.err.contains("cannot shut down VM 100 `hello-01` on pve1: it is locked (VM is locked (backup))"),
        "{}",
        ran.err
    );
    assert!(bed.run(&["list"]).contains("running, locked (backup)"));
}

#[test]
fn deleting_asks_and_forgets_that_the_machine_is_one() {
    let bed = three();
    let err = bed.refused(&["delete", "--labels", "room=1"]);
    assert!(err.contains("Delete VM 100 `hello-01` on pve1, VM 101 `hello-02` on pve1?"), "{err}");
    assert!(err.contains("add --yes"), "{err}");
    assert_eq!(bed.cluster.changes(), [""; 0]);
    let dry = bed.run(&["delete", "--labels", "room=1", "--dry-run"]);
    let said = bed.run(&["delete", "--labels", "room=1", "--yes"]);
    assert_eq!(said.matches(" deleted").count(), 2, "{said}");
    let made = bed.cluster.changes();
    assert_eq!(made, calls(&dry));
    assert!(made[1].starts_with("DELETE /nodes/pve1/qemu/100\n    purge=1"), "{made:?}");
    assert_eq!(bed.list().len(), 1);
    assert!(bed.fleet(&["events"]).contains("is no virtual machine any more"));
}

#[test]
fn a_machine_is_meant_by_the_name_of_its_vm_before_it_first_boots() {
    let bed = three();
    let machine = bed.list()[0]["machine"].as_str().unwrap().to_owned();
    let said = bed.fleet(&["machines", "label", "hello-01", "stage=canary"]);
    assert_eq!(said, format!("label {machine}: stage=canary\n"));
    assert_eq!(bed.list()[0]["labels"]["stage"], "canary");
}

#[test]
fn a_number_that_was_given_out_anew_is_not_the_machine_it_was() {
    let bed = three();
    // Somebody deleted it by hand, and another one of ours has its number.
    bed.cluster.add(100, "pve1", &[("name", "other"), ("tags", "bivouac")]);
    let text = bed.run(&["list"]);
    assert!(text.contains("not known to the fleet; `bivouac proxmox adopt 100`"), "{text}");
}
