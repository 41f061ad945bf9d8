//! The VDI session of the overlay `vdi-client`: what people see, what Proxmox is asked, and what nobody else learns of it.

mod cluster;
mod seat;

use std::path::Path;
use std::process::Command;

use cluster::{CODE, Cluster, Guest, PASSWORD, SPICE_PASSWORD, TICKET, TOKEN, TOKEN_VALUE, USER};
use seat::Answer::{Button, Login, No, Silence, Text, Yes};
use seat::Seat;

const LOGIN: &str = "forms Log in with your Proxmox account";

/// What a person types who knows what to type.
const fn known() -> seat::Answer {
    Login("jöe", PASSWORD)
}

fn running() -> Guest {
    Guest::new(100, "desk-7", "running")
}

/// What remote-viewer is given for the machine 100, with a proxy and with what USB devices go there.
fn viewer_file(name: &str, proxy: &str) -> String {
    format!(
        "[virt-viewer]\ntype=spice\ntitle=VM 100 - {name}\nhost=pvespiceproxy:6748A1B2:100:pve1::c1gna:t\n\
         proxy={proxy}\ntls-port=61000\n\
         host-subject=OU=PVE Cluster Node,O=Proxmox Virtual Environment,CN=pve1.example.net\n\
         ca=-----BEGIN CERTIFICATE-----\\nMIIC\\n-----END CERTIFICATE-----\\n\npassword={SPICE_PASSWORD}\n\
         secure-attention=Ctrl+Alt+Ins\ntoggle-fullscreen=Shift+F11\nrelease-cursor=Ctrl+Alt+R\n\
         enable-usbredir=1\nenable-usb-autoshare=1\nusb-filter=0x03,-1,-1,-1,0|-1,-1,-1,-1,1\n"
    )
}

/// The lines of a text, in any order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn whoever_logs_in_chooses_a_desktop_and_has_it_on_the_screen() {
    for shell in [&["dash"][..], &["busybox", "sh"]] {
        let cluster = Cluster::start(vec![
            Guest::new(101, "spare", "stopped"),
            running(),
            Guest {
                record: serde_json::json!({ "type": "lxc", "vmid": 9, "node": "pve1", "name": "dns" }),
                ..running()
            },
        ]);
        let mut seat = Seat::new(&cluster, &[]);
        seat.run_by(shell, &[known(), Text("100"), No, No]);
        let list = "list Your desktops: 100 desk-7 running 101 spare switched off";
        let again = "question The connection has ended. It is tried again in 10 seconds.";
        assert_eq!(seat.dialogs(), [LOGIN, list, again, list, LOGIN], "{shell:?}");
        let given = format!("--full-screen -\n{}", viewer_file("desk-7", "http://pve1.example.net:3128"));
        assert_eq!(sorted(&seat.viewers()), sorted(&given), "{shell:?}");
        assert_eq!(
            cluster.calls(),
            [
                "POST /access/ticket",
                "GET /cluster/resources?type=vm",
                "GET /nodes/pve1/qemu/100/status/current",
                "POST /nodes/pve1/qemu/100/spiceproxy",
                "GET /nodes/pve1/qemu/100/status/current",
                "GET /cluster/resources?type=vm",
            ]
        );
        let login = &cluster.calls_of("POST /access/ticket")[0];
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(login.fields, [field("username", USER), field("password", PASSWORD)]);
        let ticket = cluster.calls_of("POST /nodes/pve1/qemu/100/spiceproxy").remove(0);
        assert_eq!(ticket.by, USER);
    }
}

#[test]
fn nothing_secret_is_in_a_command_line_an_environment_or_a_file() {
    let cluster = Cluster::start(vec![running(), Guest::new(101, "win", "running").tagged("rdp")]);
    cluster.set(|state| state.second_factor = Some(r#"{"totp"%3Atrue}"#));
    let mut seat = Seat::new(&cluster, &[]);
    let rdp = Login("EXAMPLE\\joe", "rdp-s3cret");
    seat.run(&[
        known(),
        Text(CODE),
        Text("100"),
        No,
        Text("101"),
        rdp,
        No,
        No,
        Login(TOKEN, TOKEN_VALUE),
        Text("100"),
        No,
    ]);
    let seen = seat.seen();
    assert!(seen.contains("xfreerdp") && seen.contains("remote-viewer") && seen.contains("curl"), "{seen}");
    for secret in [PASSWORD.trim(), "s3cret", CODE, TOKEN_VALUE, SPICE_PASSWORD, "Zm9v", "c3Vt", "6748A1B2"] {
        assert!(!seen.contains(secret), "{secret} is seen:\n{seen}");
    }
    // The programs stand for people, and for the screen they see; all else is what the session leaves behind.
    let mut kept = Command::new("grep");
    kept.args(["-rlaF", "-D", "skip", "-e", PASSWORD.trim(), "-e", TICKET, "-e", TOKEN_VALUE]).arg(seat.path(""));
    let kept = String::from_utf8(kept.output().unwrap().stdout).unwrap();
    assert!(kept.lines().all(|file| file.contains("/answers/")), "{kept}");
}

#[test]
fn a_wrong_password_is_said_to_be_one_and_asked_for_again() {
    let cluster = Cluster::start(vec![running()]);
    let mut seat = Seat::new(&cluster, &[]);
    seat.run(&[
        Login("jöe", "guess"),
        Yes,
        Login("nobody@pam", PASSWORD),
        Yes,
        No,
        Login("", "x"),
        Login("jöe", ""),
        known(),
    ]);
    let wrong = "warning User name, password or code is wrong.";
    let list = "list Your desktops: 100 desk-7 running";
    assert_eq!(seat.dialogs(), [LOGIN, wrong, LOGIN, wrong, LOGIN, LOGIN, LOGIN, LOGIN, list]);
    let users: Vec<String> =
        cluster.calls_of("POST /access/ticket").iter().map(|call| call.fields[0].1.clone()).collect();
    assert_eq!(users, [USER, "nobody@pam", USER], "nothing is sent without a name and a password");
}

#[test]
fn a_token_takes_the_place_of_an_account() {
    let cluster = Cluster::start(vec![running()]);
    let mut seat = Seat::new(&cluster, &[]);
    seat.run(&[Login(TOKEN, "guess"), Yes, Login(TOKEN, TOKEN_VALUE), Text("100"), No]);
    assert!(seat.dialogs()[1].ends_with("is wrong."), "{:?}", seat.dialogs());
    assert!(seat.viewers().contains(SPICE_PASSWORD));
    assert!(cluster.calls_of("POST /access/ticket").is_empty());
    assert_eq!(cluster.calls_of("POST /nodes/pve1/qemu/100/spiceproxy")[0].by, TOKEN);
}

#[test]
fn a_second_factor_is_asked_for_or_said_to_be_one_that_cannot_be_typed() {
    let cluster = Cluster::start(vec![running()]);
    cluster.set(|state| state.second_factor = Some(r#"{"recovery"%3A"full","totp"%3Atrue}"#));
    let mut seat = Seat::new(&cluster, &[]);
    seat.run(&[known(), Text("111111"), Yes, known(), No, known(), Text(CODE)]);
    let code = "entry The code of your app, or a recovery key";
    let wrong = "warning User name, password or code is wrong.";
    let list = "list Your desktops: 100 desk-7 running";
    assert_eq!(seat.dialogs(), [LOGIN, code, wrong, LOGIN, code, LOGIN, code, list]);

    cluster.set(|state| state.second_factor = Some(r#"{"webauthn"%3A{"challenge"%3A"x"}}"#));
    let mut seat = Seat::new(&cluster, &[]);
    seat.run(&[known(), Yes]);
    let no = "warning This account has a second factor that this machine cannot ask for. Log in with an API token, or add a \
              code of an app to the account.";
    assert_eq!(seat.dialogs(), [LOGIN, no, LOGIN]);
}

#[test]
fn a_desktop_that_is_off_is_started_and_waited_for() {
    // The cluster looks after the machine: when the task has ended, it is still off.
    let guest = Guest::new(100, "desk-7", "stopped").then(&["stopped", "stopped", "stopped", "running"]);
    let cluster = Cluster::start(vec![guest]);
    let mut seat = Seat::new(&cluster, &["auto_connect=desk-7"]);
    seat.run(&[known()]);
    assert!(seat.viewers().contains(SPICE_PASSWORD));
    let task =
        "GET /nodes/pve1/tasks/UPID%3Apve1%3A00297D8D%3A0A1B2C3D%3A6748A1B2%3Aqmstart%3A100%3Aj%C3%B6e%40pve%3A/status";
    let state = "GET /nodes/pve1/qemu/100/status/current";
    let start = "POST /nodes/pve1/qemu/100/status/start";
    let spice = "POST /nodes/pve1/qemu/100/spiceproxy";
    assert_eq!(cluster.calls()[2..], [state, start, task, task, task, state, state, state, spice, state]);
}

#[test]
fn a_start_that_fails_is_told_in_the_words_of_proxmox() {
    let cluster = Cluster::start(vec![Guest::new(100, "desk-7", "stopped")]);
    cluster.set(|state| state.start_ends_with = Some("start failed: QEMU exited with code 1"));
    let mut seat = Seat::new(&cluster, &[]);
    seat.run(&[known(), Text("100"), Yes]);
    let list = "list Your desktops: 100 desk-7 switched off";
    let failed = "warning The desktop could not be started: start failed: QEMU exited with code 1";
    assert_eq!(seat.dialogs(), [LOGIN, list, failed, list]);
    assert_eq!(seat.viewers(), "");
}

#[test]
fn a_login_that_has_ended_is_asked_for_anew() {
    let cluster = Cluster::start(vec![running()]);
    let mut seat = Seat::new(&cluster, &[]);
    cluster.set(|state| {
        let gone = (401, "permission denied - invalid PVE ticket", "{\"data\":null}".to_owned());
        state.faults.push(("/nodes/pve1/qemu/100/spiceproxy".to_owned(), 1, gone));
    });
    seat.run(&[known(), Text("100"), known(), Text("100"), No]);
    let list = "list Your desktops: 100 desk-7 running";
    let ended = "forms Your login has ended. Please log in again";
    let again = "question The connection has ended. It is tried again in 10 seconds.";
    assert_eq!(seat.dialogs(), [LOGIN, list, ended, list, again, list]);
}

#[test]
fn a_ticket_is_made_anew_while_a_desktop_is_on_the_screen() {
    let cluster = Cluster::start(vec![running()]);
    let mut seat = Seat::new(&cluster, &[]);
    // An hour goes by, and then the viewer stays until the server was asked.
    seat.write("while-viewing", "echo '3800.00 1' > $seat/proc/uptime; read -r go < $seat/go\n");
    seat.pipe("go");
    seat.start(&["dash"], &[known(), Text("100")]);
    cluster.wait_for("POST /access/ticket", 2);
    seat.go("go");
    seat.finish();
    let made = cluster.calls_of("POST /access/ticket");
    assert_eq!(made[1].fields[1], ("password".to_owned(), TICKET.to_owned()));
    assert_eq!(made.len(), 2);
}

#[test]
fn a_server_without_a_trusted_certificate_is_told_nothing() {
    let (cluster, other) = (Cluster::start(vec![running()]), Cluster::start(vec![]));
    let mut seat = Seat::new(&cluster, &[]);
    seat.trust(&other);
    seat.run(&[known(), Yes]);
    let no =
        "warning 127.0.0.1 cannot prove that it is the right server, so nothing was sent to it: its certificate is not";
    assert!(seat.dialogs()[1].starts_with(no), "{:?}", seat.dialogs());
    assert!(cluster.calls().is_empty());
    // The authorities of everybody do not vouch for it either; and the right one does, for another name, not.
    let mut seat = Seat::new(&cluster, &[]);
    seat.trust_the_world();
    seat.run(&[known(), Yes]);
    assert!(seat.dialogs()[1].starts_with(no), "{:?}", seat.dialogs());
    let mut seat = Seat::new(&cluster, &["pve_hosts=localhost"]);
    seat.run(&[known(), Yes]);
    assert!(seat.dialogs()[1].starts_with(&no.replace("127.0.0.1", "localhost")), "{:?}", seat.dialogs());
    assert!(cluster.calls().is_empty());
}

#[test]
fn another_server_is_asked_when_one_is_away() {
    let cluster = Cluster::start(vec![running()]);
    let mut seat = Seat::new(&cluster, &["pve_hosts=127.0.0.2,127.0.0.1"]);
    seat.run(&[known(), Text("100"), No]);
    assert!(seat.viewers().contains(SPICE_PASSWORD));
}

#[test]
fn what_is_no_name_of_a_server_is_said_to_be_none() {
    let cluster = Cluster::start(vec![running()]);
    for host in ["https://pve1.example.net", "127.0.0.1:8006", "pve1:"] {
        let mut seat = Seat::new(&cluster, &[&format!("pve_hosts={host}")]);
        seat.run(&[known(), Yes]);
        let said = &seat.dialogs()[1];
        assert!(said.contains(&format!("\"{host}\" is not the name of a server. Please tell")), "{said}");
    }
}

#[test]
fn a_server_that_goes_away_is_waited_for_and_nobody_logs_in_again() {
    let mut cluster = Cluster::start(vec![running()]);
    let mut seat = Seat::new(&cluster, &[]);
    seat.pipe("go");
    seat.pipe("hold-3");
    seat.write("while-viewing", "[ -e $seat/seen-once ] || { : > $seat/seen-once; read -r go < $seat/go; }\n");
    seat.start(&["dash"], &[known(), Text("100"), Silence, Silence, No]);
    cluster.wait_for("POST /nodes/pve1/qemu/100/spiceproxy", 1);
    cluster.switch_off();
    seat.go("go");
    seat.wait_until_asked("3");
    cluster.switch_on();
    seat.go("hold-3");
    seat.finish();
    let list = "list Your desktops: 100 desk-7 running";
    let away = |pause| format!("question The server 127.0.0.1 does not answer. It is tried again in {pause} seconds.");
    let lost = "question The connection has ended. It is tried again in 40 seconds.".to_owned();
    assert_eq!(seat.dialogs(), [LOGIN.to_owned(), list.to_owned(), away(10), away(20), lost, list.to_owned()]);
    assert_eq!(cluster.calls_of("POST /access/ticket").len(), 1);
}

#[test]
fn a_desktop_that_was_shut_down_leads_back_to_the_list() {
    let cluster = Cluster::start(vec![running().then(&["stopped"])]);
    let mut seat = Seat::new(&cluster, &[]);
    seat.run(&[known(), Text("100"), Button("Look again"), Text(""), No]);
    let list = "list Your desktops: 100 desk-7 running";
    assert_eq!(seat.dialogs(), [LOGIN, list, list, list, list, LOGIN]);
}

#[test]
fn without_a_desktop_a_person_is_told_so() {
    let cluster = Cluster::start(vec![Guest::new(1, "template", "stopped").tagged("office;win")]);
    let mut seat = Seat::new(&cluster, &["vm_tag=desktop"]);
    seat.run(&[known(), Yes]);
    assert_eq!(seat.dialogs(), [LOGIN, "warning You have no desktop. Please tell your administrator.", LOGIN]);
    let mut seat = Seat::new(&cluster, &["vm_tag=win"]);
    seat.run(&[known()]);
    assert_eq!(seat.dialogs()[1], "list Your desktops: 1 template switched off");
}

#[test]
fn answers_that_are_none_of_proxmox_are_no_end_of_the_session() {
    let page = "<html><body>Please log in to the network</body></html>";
    for body in [page, "", "null", "{\"data\":", "{\"data\":7}"] {
        let cluster = Cluster::start(vec![running()]);
        for path in [
            "/access/ticket",
            "/cluster/resources",
            "/nodes/pve1/qemu/100/status/current",
            "/nodes/pve1/qemu/100/spiceproxy",
        ] {
            cluster.set(|state| state.faults.push((path.to_owned(), 1, (200, "OK", body.to_owned()))));
        }
        let mut seat = Seat::new(&cluster, &[]);
        seat.run(&[known(), Yes, known(), Yes, Text("100"), Yes, Text("100"), Yes, Text("100")]);
        let dialogs = seat.dialogs();
        let told = dialogs.iter().filter(|dialog| dialog.contains("not as a Proxmox server does")).count();
        assert_eq!(told, 4, "{body}: {dialogs:?}");
        assert!(seat.viewers().contains(SPICE_PASSWORD), "{body}: {dialogs:?}");
    }
}

#[test]
fn what_proxmox_refuses_is_told_in_its_words() {
    for (fault, said) in [
        (
            (403, "Permission check failed (/vms/100, VM.Console)", "{\"data\":null}"),
            "warning You may not do this: Permission check failed (/vms/100, VM.Console)",
        ),
        (
            (500, "Internal Server Error", "{\"data\":null,\"message\":\"no spice port\\n\"}"),
            "warning Proxmox says: no spice port",
        ),
        (
            (
                400,
                "Parameter verification failed.",
                "{\"data\":null,\"errors\":{\"proxy\":\"value does not look like a valid address\"}}",
            ),
            "warning Proxmox says: proxy: value does not look like a valid address",
        ),
        (
            (595, "No route to host", "{\"data\":null}"),
            "question The Proxmox server is not reachable: No route to host It is tried again in 10 seconds.",
        ),
    ] {
        let cluster = Cluster::start(vec![running()]);
        let (status, reason, body) = fault;
        let path = "/nodes/pve1/qemu/100/spiceproxy".to_owned();
        cluster.set(|state| state.faults.push((path, 1, (status, reason, body.to_owned()))));
        let mut seat = Seat::new(&cluster, &[]);
        seat.run(&[known(), Text("100"), No]);
        assert_eq!(seat.dialogs()[2], said);
    }
}

#[test]
fn windows_desktops_are_reached_by_rdp() {
    let cluster = Cluster::start(vec![
        running(),
        Guest::new(101, "win-1", "running").tagged("office;rdp"),
        Guest::new(102, "win-2", "running"),
    ]);
    let hosts = "rdp_hosts=102=10.0.0.5 sha256:ab:cd";
    let mut seat = Seat::new(&cluster, &[hosts, "rdp_domain=example.net", "rdp_options=/sound"]);
    let joe = || Login("EXAMPLE\\joe", "pass word");
    seat.run(&[known(), Text("101"), joe(), No, Text("102"), joe(), No]);
    assert_eq!(
        seat.viewers(),
        "/v:win-1.example.net /u:EXAMPLE\\joe /from-stdin:force /f /cert:deny /sound\npass word\n\
         /v:10.0.0.5 /u:EXAMPLE\\joe /from-stdin:force /f /cert:fingerprint:sha256:ab:cd /sound\npass word\n"
    );
    seat.write("while-viewing", "exit 132\n");
    let mut seat = Seat::new(&cluster, &[]);
    seat.write("while-viewing", "exit 132\n");
    seat.run(&[known(), Text("101"), joe(), Yes]);
    assert_eq!(seat.dialogs()[2..4], ["forms Your account on win-1", "warning User name or password is wrong."]);
}

#[test]
fn the_settings_of_a_profile_reach_the_viewer() {
    let cluster = Cluster::start(vec![running()]);
    let mut seat = Seat::new(
        &cluster,
        &["spice_proxy=10.0.0.9", "viewer_menu=false", "usb_redirection=false", "auto_connect=100"],
    );
    seat.run(&[known()]);
    let viewers = seat.viewers();
    assert!(viewers.starts_with("--full-screen --kiosk --kiosk-quit=on-disconnect -\n"), "{viewers}");
    for line in ["proxy=http://10.0.0.9:3128", "enable-usbredir=0", "enable-usb-autoshare=0"] {
        assert!(viewers.lines().any(|it| it == line), "{line}: {viewers}");
    }
    assert!(!viewers.contains("usb-filter"), "{viewers}");
}

#[test]
fn nobody_is_asked_before_the_clock_is_right_or_for_so_long() {
    let cluster = Cluster::start(vec![running()]);
    for (tries, left) in [("1\n2\n3\n", ""), ("1\n2\n3\n4\n5\n6\n", "6\n")] {
        let mut seat = Seat::new(&cluster, &["time_wait=5"]);
        seat.write("unsynchronised", tries);
        seat.run(&[]);
        assert_eq!(std::fs::read_to_string(seat.path("unsynchronised")).unwrap(), left);
    }
}

/// The scripts of the overlays and profiles that come with Bivouac.
#[test]
fn shellcheck_finds_nothing_in_the_scripts_for_machines() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found =
        Command::new("grep").args(["-rlE", "^#!/bin/sh", "overlays", "profiles"]).current_dir(repository).output();
    let found = String::from_utf8(found.unwrap().stdout).unwrap();
    // The agent takes words apart on purpose in a place or two.
    let scripts: Vec<&str> = found.lines().filter(|file| !file.starts_with("overlays/check-in/")).collect();
    assert!(scripts.len() > 10, "{found}");
    // dash is Debian's name for what busybox speaks as well.
    let ran =
        Command::new("shellcheck").args(["-s", "dash", "-x", "-a"]).args(scripts).current_dir(repository).output();
    let ran = ran.expect("shellcheck, which is a Debian package, can be started");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
}
