//! Taking in virtual machines that were made by hand.

use super::{Bed, calls};

const UUID: &str = "0e0d8d0f-6b5e-4f5a-8c3b-0123456789ab";

fn bed() -> Bed {
    let bed = Bed::new();
    let smbios = format!("uuid={UUID}");
    let settings = [
        ("name", "db"),
        ("tags", "prod"),
        ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0"),
        ("boot", "order=scsi0;net0"),
        ("smbios1", &smbios),
    ];
    bed.cluster.add(200, "pve2", &settings);
    bed
}

#[test]
fn what_would_change_is_told_and_asked_and_done_once() {
    let bed = bed();
    let dry = bed.run(&["adopt", "db", "--profile", "hello", "--dry-run"]);
    assert!(
        dry.contains(
            "VM 200 `db` on pve2:\n  tags: prod -> bivouac;prod\n  boot: order=scsi0;net0 -> order=net0;scsi0\n"
        ),
        "{dry}"
    );
    assert!(dry.contains("rng0: nothing -> source=/dev/urandom"), "{dry}");
    assert!(dry.contains("would bc:24:11:00:00:01 is VM 200 `db`"), "{dry}");
    let err = bed.refused(&["adopt", "db"]);
    assert!(err.contains("Change the settings of these VMs?") && err.contains("add --yes"), "{err}");
    assert_eq!(bed.cluster.changes(), [""; 0]);
    bed.run(&["adopt", "db", "--profile", "hello", "--yes"]);
    assert_eq!(bed.cluster.changes(), calls(&dry));
    let entry = bed.list().remove(0);
    assert_eq!((&entry["machine"], &entry["profile"]), (&"bc:24:11:00:00:01".into(), &"hello".into()));
    assert_eq!(bed.cluster.setting("db", "smbios1"), format!("uuid={UUID},serial=ZGI=,base64=1"));
    let again = bed.run(&["adopt", "200", "--profile", "hello"]);
    assert_eq!(again, "VM 200 `db` on pve2: all is as it should be\nNothing changes.\n");
    // From now on it is one of ours.
    assert!(bed.run(&["start", "db"]).contains("started"));
}

#[test]
fn what_cannot_boot_from_the_network_is_refused_and_a_change_meanwhile_is_noticed() {
    let bed = bed();
    bed.cluster.add(201, "pve1", &[("name", "bare")]);
    bed.cluster.add(202, "pve1", &[("name", "base"), ("template", "1")]);
    assert!(bed.refused(&["adopt", "bare", "--yes"]).contains("qm set 201 --net0 virtio,bridge=vmbr0"));
    assert!(bed.refused(&["adopt", "base", "--yes"]).contains("is a template"));
    assert!(bed.refused(&["adopt", "dbb", "--yes"]).contains("did you mean `db`?"));
    bed.cluster.fail("PUT ", super::cluster::Fault::Status(500, "checksum mismatch (file change by other user?)\n"));
    let err = bed.refused(&["adopt", "db", "--yes"]);
    assert!(err.contains("checksum mismatch"), "{err}");
    assert!(bed.list().is_empty(), "nothing was said of it to the fleet");
}
