//! `bivouac machines show`: what a person learns of a boot, from what the server saw of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};

use bivouac::fleet::Fleet;
use bivouac::model::identity::Identity;
use serde_json::Value;

use crate::support::site::{Serving, Site};

const MAC: &str = "52:54:00:00:00:01";

/// Ends a program when the test ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The paths of the files the machine is told to load, in order.
fn script(server: &Serving) -> Vec<String> {
    let script = server.get(&format!("/script?mac={MAC}&serial=PC%207&platform=efi&arch=x86_64"));
    let urls = script.lines().filter(|line| line.starts_with("kernel ") || line.starts_with("initrd "));
    urls.map(|line| line.split(' ').nth(1).unwrap().splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap())
        .collect()
}

fn shown(site: &Site) -> Value {
    let ran = site.run(&["machines", "show", MAC, "--json", "--all"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

fn step<'a>(boot: &'a Value, name: &str) -> &'a Value {
    let steps = boot["steps"].as_array().unwrap();
    steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("{name} is not in {boot:#}"))
}

#[test]
fn a_boot_is_shown_step_by_step_with_bytes_and_time() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    server.get("/boot.ipxe");
    let files = script(&server);
    let sizes: Vec<usize> = files.iter().map(|path| server.get_bytes(path).len()).collect();
    server.stop();
    let machine = shown(&site);
    assert_eq!((machine["mac"].as_str(), machine["step"].as_str()), (Some(MAC), Some("site-initrd")));
    let boot = &machine["boots"][0];
    assert!(step(boot, "script")["remark"].as_str().unwrap().starts_with("hello release 1, bundle "), "{boot:#}");
    for (name, size) in ["kernel", "initramfs", "site-initrd"].into_iter().zip(sizes) {
        let step = step(boot, name);
        assert_eq!((step["files"].as_u64(), step["broken"].as_u64()), (Some(1), Some(0)), "{step:#}");
        assert_eq!(step["bytes"].as_u64(), Some(size as u64), "{step:#}");
    }
    assert_eq!(boot["next"], "packages");
    // The first script was asked for before anybody knew whose address that is.
    assert_eq!(step(boot, "ipxe")["remark"], "first script");
    let text = site.run(&["machines", "show", "PC 7"]).out;
    assert!(text.starts_with(&format!("{MAC}  -  booting\nserial number PC 7.\n\nBoot of ")), "{text}");
    for line in ["loader       -", "script ", "packages     -", "check-in     -"] {
        assert!(text.lines().any(|it| it.starts_with(line)), "{line}: {text}");
    }
}

#[test]
fn a_transfer_that_breaks_off_is_shown_as_such() {
    let site = Site::new();
    // Larger, also when packed, than what a connection holds while its client does not read.
    let mut seed = 1_u64;
    let noise = (0..2_000_000).map(|_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{seed:016x}")
    });
    site.write("profiles/hello/root/srv/large", &noise.collect::<String>());
    assert_eq!(site.run(&["build", "hello"]).code, Some(0));
    assert_eq!(site.run(&["publish", "hello"]).code, Some(0));
    let server = site.serve(&["--dhcp", "off"]);
    let initrd = script(&server).pop().unwrap();
    let mut stream = TcpStream::connect(server.address("HTTP")).unwrap();
    write!(stream, "GET {initrd} HTTP/1.0\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 4096]).unwrap();
    drop(stream);
    server.stop();
    let boot = &shown(&site)["boots"][0];
    let step = step(boot, "site-initrd");
    assert_eq!((step["files"].as_u64(), step["broken"].as_u64()), (Some(0), Some(1)), "{step:#}");
}

#[test]
fn each_boot_has_its_own_timeline() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    let files = script(&server);
    server.get(&files[0]);
    script(&server);
    server.stop();
    let machine = shown(&site);
    let boots = machine["boots"].as_array().unwrap();
    assert_eq!(boots.len(), 2, "{machine:#}");
    assert_eq!((boots[0]["next"].as_str(), boots[1]["next"].as_str()), (Some("kernel"), Some("initramfs")));
}

#[test]
fn a_boot_can_be_followed_as_it_happens() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    let mut command = site.command(&["machines", "show", MAC, "--follow", "--json"]);
    let mut follow = Ended(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(follow.0.stdout.take().unwrap()).lines();
    let files = script(&server);
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((first["step"].as_str(), first["mac"].as_str()), (Some("script"), Some(MAC)));
    let kernel = server.get_bytes(&files[0]).len() as u64;
    let sent = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let done = sent.into_iter().find(|event| event["step"] == "kernel" && event["files"] == 1).unwrap();
    assert_eq!(done["bytes"].as_u64(), Some(kernel));
}

#[test]
fn a_machine_nobody_knows_is_an_error_that_says_who_was_meant() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    script(&server);
    server.stop();
    for (name, said) in [
        ("PC 8", "no machine has the address, host name or serial number `PC 8`; did you mean `PC 7`?"),
        ("52:54:00:00:00:02", "machine 52:54:00:00:00:02 was never seen"),
    ] {
        let ran = site.run(&["machines", "show", name]);
        assert_eq!(ran.code, Some(2));
        assert!(ran.err.contains(said), "{}", ran.err);
    }
}

/// Writes down that the machine asked for its script ten minutes ago, and how it was answered.
fn ten_minutes_ago(site: &Site, answer: impl FnOnce(&Fleet, Identity, SystemTime)) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let fleet = Fleet::open(&site.path("state/fleet.sqlite").into()).await.unwrap();
        answer(&fleet, Identity::of(MAC.parse().unwrap()), SystemTime::now() - Duration::from_secs(600));
        fleet.flush().await;
    });
}

#[test]
fn a_step_that_does_not_come_is_missing_also_for_whoever_follows() {
    let site = Site::new();
    ten_minutes_ago(&site, |fleet, machine, then| fleet.refused(&machine.into(), "no profile".to_owned(), then));
    let text = site.run(&["machines", "show", MAC]).out;
    let kernel = text.lines().find(|line| line.starts_with("kernel ")).unwrap();
    assert!(kernel.ends_with(" MISSING"), "{text}");
    let missing = text.lines().last().unwrap();
    assert!(missing.starts_with("Missing: kernel, and nothing was heard for 10m"), "{text}");
    assert!(missing.contains(". Usually: the machine has its script and does not take a kernel: "), "{text}");
    assert_eq!(shown(&site)["boots"][0]["missing"], "kernel");

    let mut command = site.command(&["machines", "show", MAC, "--follow"]);
    let mut follow = Ended(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(follow.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("Boot of "));
    assert_eq!(lines.next().unwrap(), "   0.000 s  script       refused: no profile");
    let followed = lines.next().unwrap();
    // Some seconds may lie between them.
    assert_eq!(followed.split(". Usually").nth(1), missing.split(". Usually").nth(1));
    assert!(followed.starts_with("Missing: kernel, and nothing was heard for 10m"), "{followed}");
}

#[test]
fn a_machine_that_was_sent_to_its_disk_misses_nothing() {
    let site = Site::new();
    ten_minutes_ago(&site, |fleet, machine, then| fleet.sent_to(&machine.into(), "local disk".to_owned(), None, then));
    let boot = &shown(&site)["boots"][0];
    assert_eq!(boot["sent_to"], "local disk");
    assert!(boot["next"].is_null() && boot["missing"].is_null(), "{boot:#}");
    let text = site.run(&["machines", "show", MAC]).out;
    assert!(text.ends_with("Sent to: local disk. It loads nothing more from here.\n"), "{text}");
    assert!(!text.contains("MISSING"), "{text}");
}
