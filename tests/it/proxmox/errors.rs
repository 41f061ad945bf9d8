//! What is said when the cluster says no, or nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use bivouac::proxmox::{Access, Client, Trust};

use super::Bed;
use super::cluster::{FakeCluster, Fault, TOKEN};

#[test]
fn a_certificate_that_is_not_trusted_is_told_with_its_fingerprint_and_nothing_is_sent() {
    let bed = Bed::new();
    bed.configure("token-file = \"proxmox.token\"\n");
    let err = bed.refused(&["list"]);
    let pin = bed.cluster.fingerprint.clone();
    assert!(err.contains("is not trusted, so nothing was sent to it"), "{err}");
    assert!(err.contains(&format!("write `fingerprint = \"{pin}\"` below `[proxmox]`")), "{err}");
    bed.configure(&format!(
        "token-file = \"proxmox.token\"\nfingerprint = \"{}\"\n",
        pin.replace("A", "B").replace("1", "2")
    ));
    let err = bed.refused(&["list"]);
    assert!(err.contains("is not trusted") && err.contains(&pin), "{err}");
    assert_eq!(bed.cluster.state().requests, 0);
    bed.configure(&format!("token-file = \"proxmox.token\"\nfingerprint = \"{pin}\"\n"));
    bed.run(&["list"]);
    bed.configure("token-file = \"proxmox.token\"\nca = \"pve/none.pem\"\n");
    let err = bed.refused(&["list"]);
    assert!(
        err.contains("cannot use the certificate pve/none.pem, which `proxmox.ca` of the site file names"),
        "{err}"
    );
    bed.configure("token-file = \"proxmox.token\"\nca = \"bivouac.toml\"\n");
    assert!(bed.refused(&["list"]).contains("there is no certificate in it"));
}

#[test]
fn a_token_is_private_well_formed_and_known() {
    let bed = Bed::new();
    let path = bed.site.path("proxmox.token");
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let err = bed.refused(&["list"]);
    assert!(err.contains("(mode 0644); make it private with `chmod 600"), "{err}");
    mode(0o600);
    std::fs::write(&path, "s3cr3t").unwrap();
    assert!(bed.refused(&["list"]).contains("one is USER@REALM!NAME=SECRET"));
    std::fs::write(&path, "boot@pve!other=0000").unwrap();
    let err = bed.refused(&["list"]);
    assert!(err.contains("does not know the API token `boot@pve!other` (authentication failure)"), "{err}");
    // The variable goes before the file.
    let ran = bed.site.command(&["proxmox", "list"]).env("BIVOUAC_PROXMOX_TOKEN", TOKEN).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    bed.configure("ca = \"pve/ca.pem\"\n");
    assert!(bed.refused(&["list"]).contains("there is no API token"));
    bed.site.write("bivouac.toml", "");
    assert!(bed.refused(&["list"]).contains("the site file names no cluster"));
}

#[test]
fn each_answer_that_is_no_success_says_what_where_why_and_what_to_do() {
    let bed = Bed::new();
    bed.run(&["create", "1", "--profile", "hello"]);
    for (call, fault, said) in [
        (
            "/status/shutdown",
            Fault::Status(403, "Permission check failed (/vms/100, VM.PowerMgmt)\n"),
            &["the API token `boot@pve!bivouac` lacks the privilege VM.PowerMgmt on /vms/100", "pveum acl modify"][..],
        ),
        ("/status/shutdown", Fault::Status(403, "Permission check failed\n"), &["needed are VM.PowerMgmt on /vms/100"]),
        (
            "/status/shutdown",
            Fault::Status(500, "got no worker upid - start worker failed\n"),
            &["cannot shut down VM 100 `hello-01` on pve1", "says 500: got no worker upid"],
        ),
        (
            "/status/shutdown",
            Fault::Status(596, "Connection timed out\n"),
            &["cannot reach the node that has to do it (596 Connection timed out)", "pvecm status"],
        ),
        ("/status/shutdown", Fault::Status(595, "No route to host\n"), &["(595 No route to host)"]),
        (
            "/status/shutdown",
            Fault::Status(500, "VM is locked (migrate)\n"),
            &["it is locked (VM is locked (migrate))", "qm unlock"],
        ),
        (
            "/status/shutdown",
            Fault::Task("VM quit/powerdown failed", "first line\nTASK viewer\nwaiting for guest\n"),
            &[
                "the task on node pve1 failed: VM quit/powerdown failed; its log ends with: first line | waiting for guest",
            ],
        ),
        ("/status/shutdown", Fault::Cut, &["the connection to", "broke", "look before trying again"]),
        ("/cluster/resources", Fault::Garbage("<html>login</html>"), &["is not what Proxmox VE answers"]),
        ("/cluster/resources", Fault::Garbage("{\"data\":{}}"), &["is not what Proxmox VE answers"]),
        ("/cluster/resources", Fault::Flood, &["it is longer than 16777216 bytes"]),
        ("/cluster/resources", Fault::Status(302, "Found"), &["says 302: Found"]),
        ("/status/shutdown", Fault::Garbage("{\"data\":\"UPID:../..:1:2:3:4:5:6:\"}"), &["is not the name of a task"]),
        ("/status/shutdown", Fault::Status(500, "evil \u{1b}[2J\n\n"), &["says 500: evil  [2J"]),
    ] {
        bed.cluster.fail(call, fault.clone());
        let err = bed.refused(&["stop", "hello-01"]);
        for said in said {
            assert!(err.contains(said), "{fault:?}: {err}");
        }
    }
    bed.cluster.fail("/qemu$", Fault::Status(403, "Permission check failed (/sdn/zones/localnet/vmbr0, SDN.Use)\n"));
    let err = bed.refused(&["create", "2", "--profile", "hello"]);
    assert!(err.contains("lacks the privilege SDN.Use on /sdn/zones/localnet/vmbr0"), "{err}");
}

#[test]
fn a_task_that_does_not_end_and_a_server_that_is_not_there_are_not_waited_for_without_end() {
    let bed = Bed::with("task-time = \"1s\"\n");
    bed.run(&["create", "1", "--profile", "hello"]);
    bed.cluster.fail("/status/shutdown", Fault::Endless);
    let err = bed.refused(&["stop", "hello-01"]);
    assert!(err.contains("the task on node pve1 still runs after 1s; it may yet end well"), "{err}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    bed.site
        .write("bivouac.toml", &format!("[proxmox]\nserver = \"https://{gone}\"\ntoken-file = \"proxmox.token\"\n"));
    let err = bed.refused(&["list"]);
    assert!(err.contains(&format!("https://{gone} cannot be reached; is that the address of a node")), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let cluster = tokio::task::spawn_blocking(move || FakeCluster::start(&path)).await.unwrap();
    let access = Access {
        server: cluster.server.clone(),
        token: TOKEN.parse().unwrap(),
        trust: Trust::Authority(folder.path().join("ca.pem")),
        answer_time: Duration::from_millis(300),
        task_time: Duration::from_secs(1),
    };
    let client = Client::new(access).unwrap();
    client.cluster().await.unwrap();
    cluster.fail("/cluster/resources", Fault::Silence);
    let error = client.cluster().await.unwrap_err();
    assert!(error.to_string().contains("did not answer within 300ms"), "{error}");
    // A runtime of its own cannot end within another.
    tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
}
