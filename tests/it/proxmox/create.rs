//! Making virtual machines.

use super::cluster::Fault;
use super::{Bed, calls, words};

#[test]
fn machines_are_made_started_and_known_before_they_boot() {
    let bed = Bed::with("[proxmox.profiles.hello]\nmemory = 1024\nfirmware = \"ovmf\"\ndisplay = \"qxl\"\nvlan = 20\n");
    let create = ["create", "3", "--profile", "hello", "--name", "thin", "--label", "site=berlin"];
    let dry = bed.run(&[&create[..], &["--dry-run"]].concat());
    assert_eq!(bed.cluster.changes(), [""; 0], "a dry run changes nothing");
    assert!(bed.list().is_empty());
    let said = bed.run(&create);
    let made = bed.cluster.changes();
    assert_eq!(calls(&dry), made, "a dry run prints the calls that are made then");
    assert_eq!(words(&made), ["qemu", "start", "qemu", "start", "qemu", "start"]);
    assert!(said.contains("3 VMs are there; 3 of them are new."), "{said}");
    assert!(dry.contains("would assign hello:stable to"), "{dry}");
    for (setting, value) in [
        ("memory", "1024"),
        ("bios", "ovmf"),
        ("vga", "qxl"),
        ("boot", "order=net0"),
        ("rng0", "source=/dev/urandom"),
        ("tags", "bivouac"),
    ] {
        assert_eq!(bed.cluster.setting("thin-02", setting), value);
    }
    let list = bed.list();
    for (place, entry) in list.iter().enumerate() {
        let name = format!("thin-0{}", place + 1);
        let (mac, card) = (entry["machine"].as_str().unwrap(), bed.cluster.setting(&name, "net0"));
        assert_eq!(card, format!("virtio={},bridge=vmbr0,tag=20", mac.to_uppercase()));
        assert_eq!(
            (&entry["name"], &entry["status"], &entry["profile"]),
            (&name.as_str().into(), &"running".into(), &"hello".into())
        );
        assert_eq!(entry["labels"]["site"], "berlin");
        // The fleet knows the UUID and the serial number that the machine will say.
        let uuid = bed.cluster.setting(&name, "smbios1").split(',').next().unwrap().replace("uuid=", "");
        let events = bed.fleet(&["events", "--machine", mac, "--json"]);
        assert!(events.contains(&uuid), "{events}");
        assert!(bed.cluster.setting(&name, "smbios1").contains(",serial=dGhpbi0w"), "its name is its serial number");
    }
    // Two nodes, of which one has twice the memory of the other.
    let nodes: Vec<&str> = list.iter().map(|entry| entry["node"].as_str().unwrap()).collect();
    assert_eq!(nodes, ["pve1", "pve1", "pve1"]);
}

#[test]
fn a_second_time_nothing_is_made_and_more_means_the_difference() {
    let bed = Bed::new();
    bed.run(&["create", "2", "--profile", "hello"]);
    assert_eq!(bed.cluster.changes().len(), 4);
    let again = bed.run(&["create", "2", "--profile", "hello"]);
    assert!(again.contains("2 VMs are there; 0 of them are new."), "{again}");
    assert_eq!(bed.cluster.changes(), [""; 0]);
    let more = bed.run(&["create", "3", "--profile", "hello"]);
    assert!(more.contains("VM 102 `hello-03` made"), "{more}");
    assert_eq!(words(&bed.cluster.changes()), ["qemu", "start"]);
    let entries = bed.fleet(&["events"]);
    assert_eq!(entries.matches("assign hello:stable").count(), 2, "each was said once: {entries}");
}

#[test]
fn numbers_that_others_have_are_passed_over_also_those_one_may_not_see() {
    let bed = Bed::new();
    bed.cluster.add(100, "pve1", &[("name", "db")]);
    bed.cluster.add(102, "pve2", &[("name", "secret")]);
    bed.cluster.state().vms.get_mut(&102).unwrap().is_hidden = true;
    bed.run(&["create", "2", "--profile", "hello"]);
    assert_eq!((bed.cluster.id("hello-01"), bed.cluster.id("hello-02")), (101, 103));
}

#[test]
fn what_ended_halfway_is_said_and_completed_by_the_same_command() {
    let bed = Bed::new();
    let create = ["create", "3", "--profile", "hello"];
    bed.cluster.fail("/qemu/101/status/start", Fault::Task("start failed: QEMU exited with code 1", "kvm: no room\n"));
    let err = bed.refused(&create);
    assert!(err.contains("made were hello-01, hello-02; there and not started: hello-02; not done: hello-03"), "{err}");
    assert!(err.contains("cannot start VM 101 `hello-02` on pve1"), "{err}");
    assert!(err.contains("start failed: QEMU exited with code 1; its log ends with: kvm: no room"), "{err}");
    bed.cluster.changes();
    let known = bed.list().iter().map(|it| it["machine"].clone()).collect::<Vec<_>>();
    bed.cluster.fail("/nodes/pve1/qemu$", Fault::Status(500, "unable to create VM 102 - no space left on device\n"));
    let err = bed.refused(&create);
    assert!(err.contains("made were none; not done: hello-03") && err.contains("no space left on device"), "{err}");
    assert_eq!(words(&bed.cluster.changes()), ["start", "qemu"], "the one that was stuck was started");
    assert!(bed.fleet(&["events"]).contains("is VM 102 `hello-03`"), "the fleet knows one before it is made");
    let said = bed.run(&create);
    assert!(said.contains("3 VMs are there; 1 of them are new."), "{said}");
    assert_eq!(words(&bed.cluster.changes()), ["qemu", "start"]);
    let list = bed.list();
    assert!(list.len() == 3 && list.iter().all(|it| it["status"] == "running"), "{list:?}");
    assert_eq!(list.iter().take(2).map(|it| it["machine"].clone()).collect::<Vec<_>>(), known);
}

#[test]
fn what_somebody_switched_off_that_was_in_use_stays_off() {
    let bed = Bed::new();
    bed.run(&["create", "1", "--profile", "hello"]);
    let mac = bed.list()[0]["machine"].as_str().unwrap().to_owned();
    let file = "unknown-policy = \"inbox\"\n[dhcp]\nlisten = \"127.0.0.1\"\nport = 0\npxe-port = 0\n";
    let server = bed.site.serve_as(file, &["--dhcp", "off"]);
    let boots = |mac: &str| server.get(&format!("/script?mac={mac}")).contains("bivouac_bundle=");
    assert!(boots(&mac) && !boots("52:54:00:00:00:99"), "nobody has to approve it, as others have to be");
    // What it noted of the boot is in the database when it has ended.
    server.stop();
    let id = bed.cluster.id("hello-01");
    bed.cluster.state().vms.get_mut(&id).unwrap().status = "stopped".to_owned();
    bed.cluster.changes();
    let said = bed.run(&["create", "1", "--profile", "hello"]);
    assert!(said.contains("Switched off, and left so: hello-01"), "{said}");
    assert_eq!(bed.cluster.changes(), [""; 0]);
}

#[test]
fn a_machine_made_anew_under_its_old_name_is_the_machine_it_was() {
    let bed = Bed::new();
    bed.run(&["create", "1", "--profile", "hello", "--label", "room=7"]);
    let before = bed.list().remove(0);
    bed.run(&["delete", "hello-01", "--yes"]);
    assert!(bed.list().is_empty());
    bed.run(&["create", "1", "--profile", "hello"]);
    let after = bed.list().remove(0);
    assert_eq!((&after["machine"], &after["labels"]), (&before["machine"], &before["labels"]));
    // It may boot something else than it did, and what it was in use for in its former life says nothing of this one.
    let server = bed.site.serve(&["--dhcp", "off"]);
    server.get(&format!("/script?mac={}", after["machine"].as_str().unwrap()));
    server.stop();
    bed.run(&["delete", "hello-01", "--yes"]);
    let create = ["create", "1", "--profile", "hello@1", "--name", "hello"];
    bed.cluster.fail("/status/start", Fault::Task("start failed", ""));
    let err = bed.refused(&create);
    assert!(err.contains("there and not started: hello-01"), "{err}");
    bed.cluster.changes();
    bed.run(&create);
    assert_eq!(words(&bed.cluster.changes()), ["start"]);
    assert!(bed.fleet(&["events"]).contains("assign hello@1 to"));
}

#[test]
fn a_name_of_another_and_another_profile_are_refused_before_anything_is_done() {
    let bed = Bed::new();
    bed.cluster.add(150, "pve2", &[("name", "hello-02")]);
    let err = bed.refused(&["create", "3", "--profile", "hello"]);
    assert!(err.contains("VM 150 on pve2 is called `hello-02` and is not ours: it has no tag `bivouac`"), "{err}");
    assert_eq!(bed.cluster.changes(), [""; 0]);
    bed.run(&["create", "1", "--profile", "hello", "--name", "a"]);
    let machine = bed.list()[0]["machine"].as_str().unwrap().to_owned();
    bed.fleet(&["assign", &machine, "hello@1"]);
    let err = bed.refused(&["create", "2", "--profile", "hello", "--name", "a"]);
    assert!(err.contains("a-01 is there and boots hello@1, not hello:stable"), "{err}");
    for (arguments, said) in [
        (&["create", "1", "--profile", "hallo"][..], "hallo"),
        (&["create", "1", "--profile", "hello", "--name", "a_b"], "VMs cannot be called `a_b-01`"),
        (&["create", "0", "--profile", "hello"], "0 is not in 1..=500"),
        (&["create", "1", "--profile", "hello", "--node", "pve9"], "(pve9); the cluster has pve1, pve2"),
        (&["create", "1", "--profile", "hello", "--memory", "64"], "less than 256 MiB"),
        (&["create", "1", "--profile", "hello", "--bridge", "a,tag=1"], "a name is of letters"),
    ] {
        let err = bed.refused(arguments);
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
}

#[test]
fn machines_are_spread_over_the_nodes_that_may_be_taken_by_their_free_memory() {
    let bed = Bed::with("[proxmox.defaults]\nmemory = 3000\n");
    bed.run(&["create", "3", "--profile", "hello"]);
    let nodes: Vec<String> = bed.list().iter().map(|it| it["node"].as_str().unwrap().to_owned()).collect();
    assert_eq!(nodes, ["pve1", "pve1", "pve2"]);
    bed.run(&["create", "1", "--profile", "hello", "--name", "b", "--node", "pve2", "--pool", "thin", "--cores", "4"]);
    let id = bed.cluster.id("b-01");
    assert_eq!(bed.cluster.state().vms[&id].node, "pve2");
    assert_eq!(
        (bed.cluster.setting("b-01", "pool"), bed.cluster.setting("b-01", "cores")),
        ("thin".into(), "4".into())
    );
    bed.cluster.state().nodes.insert("pve1".to_owned(), None);
    bed.run(&["create", "1", "--profile", "hello", "--name", "c"]);
    let id = bed.cluster.id("c-01");
    assert_eq!(bed.cluster.state().vms[&id].node, "pve2", "pve1 is off");
}
