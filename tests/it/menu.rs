//! What a machine is sent besides its bundle: menus, its local disk, what somebody chose, and what replaces a bundle that
//! cannot be loaded.

mod default;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::alpine::{members_trusting, release, tarball};
use crate::support::site::{KEY, Serving, Site, report, signing_key};

const MAC: &str = "52:54:00:00:00:01";

fn script(server: &Serving, more: &str) -> String {
    script_of(server, MAC, more)
}

fn script_of(server: &Serving, mac: &str, more: &str) -> String {
    let answer = server.get(&format!("/script?mac={mac}&platform=pcbios&arch=i386{more}"));
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn machine(site: &Site) -> Value {
    let machines: Value = serde_json::from_str(&site.run(&["machines", "--json"]).out).unwrap();
    machines[0].clone()
}

/// The bundle a script boots.
fn bundle(script: &str) -> &str {
    let line = script.lines().find(|line| line.starts_with("kernel ")).unwrap_or_else(|| panic!("{script}"));
    line.split("/b/").nth(1).unwrap().split('/').next().unwrap()
}

fn run(site: &Site, arguments: &[&str]) -> String {
    let ran = site.run(arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.err);
    ran.out
}

/// Publishes another release of `hello`.
fn publish_again(site: &Site) {
    publish_as(site, "the second");
}

/// Publishes a release of `hello` that differs from the others by this.
fn publish_as(site: &Site, text: &str) {
    site.write("profiles/hello/root/etc/issue", text);
    run(site, &["build", "hello"]);
    run(site, &["publish", "hello"]);
}

/// A site with `hello@1` and `other@1`.
fn with_two_profiles() -> Site {
    let site = Site::published();
    site.write(
        "profiles/other/profile.toml",
        &std::fs::read_to_string(site.path("profiles/hello/profile.toml")).unwrap(),
    );
    run(&site, &["build", "other"]);
    run(&site, &["publish", "other"]);
    site
}

/// The bundle of the newest release of each profile.
fn bundles(site: &Site) -> BTreeMap<String, String> {
    let list: Value = serde_json::from_str(&run(site, &["list", "--json"])).unwrap();
    let text = |release: &Value, key: &str| release[key].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(|release| (text(release, "profile"), text(release, "bundle"))).collect()
}

/// What the menu takes when nobody chooses; nothing when it is asked for anew.
fn by_itself(menu: &str) -> Option<&str> {
    let line = menu.lines().find(|line| line.starts_with("choose ")).unwrap_or_else(|| panic!("{menu}"));
    let (_, default) = line.split_once("--default ").unwrap();
    Some(default.split(' ').next().unwrap()).filter(|default| *default != "again")
}

/// What is to be chosen in a menu, in its order.
fn items(menu: &str) -> Vec<&str> {
    let items = menu.lines().filter_map(|line| line.strip_prefix("item ")).filter(|item| !item.starts_with("--gap "));
    items.map(|item| item.split(' ').next().unwrap()).collect()
}

/// Asks for scripts until one has this text, which comes to a running server by itself.
fn script_with(server: &Serving, text: &str) -> String {
    let begun = Instant::now();
    loop {
        let script = script(server, "");
        if script.contains(text) {
            return script;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{text}: {script}");
        std::thread::yield_now();
    }
}

const ASK: &str = "default-policy = \"ask\"\n[menu]\ntitle = \"Room 7\"\ntimeout = \"10s\"\nnetboot-xyz = true\n\
                   [[menu.entry]]\nname = \"memtest\"\ntitle = \"Memory test\"\nplatform = \"bios\"\n\
                   kernel = \"http://files.example.net/memtest.bin\"\nargs = [\"onepass\"]\n\
                   [[menu.entry]]\nname = \"shell\"\nplatform = \"efi\"\nchain = \"http://files.example.net/shell.efi\"\n";

/// The same with these lines about the menu.
fn asking(lines: &str) -> String {
    ASK.replacen("[menu]\n", &format!("[menu]\n{lines}\n"), 1)
}

fn serve(site: &Site, text: &str) -> Serving {
    site.serve_as(text, &["--dhcp", "off"])
}

#[test]
fn a_menu_offers_profiles_releases_and_what_the_site_adds() {
    let site = Site::published();
    publish_again(&site);
    let server = serve(&site, ASK);
    let menu = script(&server, "");
    for line in [
        "menu Room 7 || goto default",
        "item hello:stable hello, channel stable (release 2)",
        "item hello@1 hello, release 1",
        "item local-disk The local disk",
        "item entry/memtest Memory test",
        "item netboot.xyz netboot.xyz (from the Internet)",
        "choose --timeout 10000 --default hello:stable chosen || goto menu",
    ] {
        assert!(menu.lines().any(|it| it == line), "{line}\n{menu}");
    }
    assert!(!menu.contains("entry/shell"), "that is for other firmware\n{menu}");
    let (second, first) = (script(&server, "&choice=hello%3Astable"), script(&server, "&choice=hello@1"));
    assert_ne!(bundle(&second), bundle(&first));
    let memtest = script(&server, "&choice=entry%2Fmemtest");
    assert!(memtest.contains("\nkernel http://files.example.net/memtest.bin onepass || goto failed\n"), "{memtest}");
    assert!(script(&server, "&choice=netboot.xyz").contains("chain --autofree http://boot.netboot.xyz/"));
    server.stop();
    assert_eq!(
        (machine(&site)["state"].as_str(), machine(&site)["sent_to"].as_str()),
        (Some("sent"), Some("netboot.xyz"))
    );
}

#[test]
fn a_machine_whose_policy_is_to_ask_or_its_disk_boots_once_what_it_was_assigned_once() {
    for (policy, otherwise) in [("ask", "\nchoose "), ("local-disk", "boots from its local disk")] {
        let site = Site::published();
        publish_again(&site);
        run(&site, &["assign", MAC, "hello@1", "--once"]);
        let server = serve(&site, &format!("default-policy = \"{policy}\"\n"));
        assert!(script_of(&server, "52:54:00:00:00:02", "").contains(otherwise), "{policy}");
        let once = script(&server, "");
        assert_ne!(bundle(&once), bundles(&site)["hello"], "{policy}");
        script_with(&server, otherwise);
        let again = script(&server, &format!("&failed={}", bundle(&once)));
        assert!(again.contains(otherwise), "{policy}: {again}");
        server.stop();
        let told = machine(&site);
        assert!(told["problems"][0].as_str().unwrap().ends_with(" could not be loaded"), "{policy}: {told:#}");
        assert!(run(&site, &["events"]).contains(" boots what it was to boot once"), "{policy}");
    }
}

#[test]
fn what_is_chosen_from_a_menu_takes_nothing_from_the_next_boot() {
    let site = with_two_profiles();
    run(&site, &["assign", MAC, "other", "--once"]);
    let server = serve(&site, &format!("default-profile = \"hello\"\n{ASK}"));
    let chosen = script(&server, "&choice=hello%3Astable");
    assert_eq!(bundle(&chosen), bundles(&site)["hello"]);
    assert_eq!(bundle(&script(&server, "")), bundles(&site)["other"]);
}

#[test]
fn earlier_releases_are_those_before_the_newest_that_a_channel_has() {
    let site = Site::published();
    for text in ["two", "three", "four", "five"] {
        publish_as(&site, text);
    }
    run(&site, &["promote", "hello", "1", "zold"]);
    let server = serve(&site, ASK);
    let menu = script(&server, "");
    assert_eq!(items(&menu)[..5], ["hello:stable", "hello:zold", "hello@4", "hello@3", "hello@2"], "{menu}");
}

#[test]
fn a_release_that_cannot_be_read_hides_no_other() {
    let site = Site::published();
    for text in ["two", "three"] {
        publish_as(&site, text);
    }
    site.write("state/store/profiles/hello/releases/2.json", "{");
    let mut server = serve(&site, ASK);
    let menu = script(&server, "");
    assert_eq!(items(&menu)[..2], ["hello:stable", "hello@1"], "{menu}");
    let said = server.wait_for_log("the menu is without it");
    assert!(said.contains("2.json is damaged"), "{said}");
}

#[test]
fn a_store_that_hangs_does_not_keep_a_machine_from_its_menu() {
    let site = Site::published();
    publish_again(&site);
    let record = site.path("state/store/profiles/hello/releases/1.json");
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::remove_file(&record).unwrap();
    // Whoever reads it waits until somebody writes.
    nix::unistd::mkfifo(&record, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut server = serve(&site, &asking("default = \"hello@1\""));
    let menu = script(&server, "");
    assert_eq!((by_itself(&menu), items(&menu)[0]), (None, "hello:stable"), "{menu}");
    assert!(default::said(&menu).contains("the store of this server does not answer"), "{menu}");
    server.wait_for_log("earlier releases cannot be listed");
    let pipe = site.path("state/store/pipe");
    std::fs::rename(&record, &pipe).unwrap();
    std::fs::write(&record, &text).unwrap();
    // Lets go who still reads.
    std::fs::write(&pipe, &text).unwrap();
    let menu = script(&server, "");
    assert_eq!((by_itself(&menu), items(&menu)[1]), (Some("hello@1"), "hello@1"), "{menu}");
}

#[test]
fn a_machine_that_cannot_load_the_only_bundle_there_is_shows_it() {
    let site = Site::published();
    let server = serve(&site, "");
    let first = script(&server, "");
    let again = script(&server, &format!("&failed={}", bundle(&first)));
    assert_eq!(bundle(&again), bundle(&first));
    server.stop();
    let why = "release 1 could not be loaded, and no other is known to be good";
    assert!(run(&site, &["machines"]).contains(why));
    assert!(run(&site, &["machines", "show", MAC]).contains(&format!("; {why}")), "in the row of the script");
    let server = serve(&site, "");
    let token = again.split("/check-in/").nth(1).unwrap().split(' ').next().unwrap();
    let manifest = serde_json::from_str(&run(&site, &["show", "hello", "--json"])).unwrap();
    let answer = server.post(&format!("/check-in/{token}"), &report(&manifest, bundle(&first)));
    assert!(answer.contains("\r\n\r\nok\n"), "{answer}");
    server.stop();
    assert_eq!(machine(&site)["state"], "up", "it came up with it after all");
}

#[test]
fn a_machine_chooses_only_what_it_was_offered() {
    let site = Site::published();
    let server = serve(&site, &format!("{ASK}[machines.\"52:54:00:00:00:02\"]\npolicy = \"boot\"\n"));
    for choice in ["entry/other", "..", "hello@1%0Ashell", "%7C%7C"] {
        let refused = script(&server, &format!("&choice={choice}"));
        assert!(refused.contains("\necho Bivouac: this machine may not choose `"), "{choice}: {refused}");
        assert_eq!(refused.lines().count(), 8, "{choice}: {refused}");
    }
    let refused = script_of(&server, "52:54:00:00:00:02", "&choice=hello@1");
    assert!(refused.contains("may not choose `hello@1`"), "its policy is to boot\n{refused}");
}

#[test]
fn a_machine_chooses_only_releases_it_was_offered_also_those_that_became_old_meanwhile() {
    let site = Site::published();
    for text in ["two", "three"] {
        publish_as(&site, text);
    }
    let server = serve(&site, &asking("releases = 1"));
    let may = |mac: &str, release: &str| {
        let answer = script_of(&server, mac, &format!("&choice={release}"));
        assert!(answer.contains("\nkernel ") || answer.contains(&format!("may not choose `{release}`")), "{answer}");
        answer.contains("\nkernel ")
    };
    let other = "52:54:00:00:00:02";
    assert!(items(&script(&server, "")).contains(&"hello@2"));
    assert_eq!([may(MAC, "hello@2"), may(MAC, "hello@1"), may(other, "hello@2")], [true, false, true]);
    publish_as(&site, "four");
    assert!(items(&script_of(&server, other, "")).contains(&"hello@3"));
    assert_eq!([may(MAC, "hello@2"), may(other, "hello@2"), may(other, "hello@3")], [true, false, true]);
    server.stop();
    let server = serve(&site, &asking("releases = 0"));
    assert!(script(&server, "&choice=hello@3").contains("may not choose `hello@3`"));
}

#[test]
fn an_entry_may_be_whatever_is_at_a_url() {
    let site = Site::published();
    let server = serve(&site, ASK);
    let answer = server.get("/script?mac=52:54:00:00:00:01&platform=efi&arch=x86_64&choice=entry%2Fshell");
    let (_, script) = answer.split_once("\r\n\r\n").unwrap();
    let base = format!("http://{}", server.address("HTTP"));
    assert_eq!(
        script.replace(&base, "BASE"),
        "#!ipxe\necho Bivouac: shell\nimgfree\n\
         chain --autofree http://files.example.net/shell.efi || goto failed\n\
         :failed\nimgfree\necho Bivouac: that did not start or is over; asking again in 5 seconds\nsleep 5\n\
         chain --autofree --replace BASE/boot.ipxe || goto failed\n"
    );
}

#[test]
fn netboot_xyz_is_started_as_the_firmware_wants_it() {
    let site = Site::published();
    let server = serve(&site, ASK);
    // One script for all: iPXE itself knows best what it runs on.
    for (platform, arch) in [("pcbios", "i386"), ("efi", "x86_64"), ("efi", "arm64")] {
        let path = format!("/script?mac={MAC}&platform={platform}&arch={arch}");
        let menu = server.get(&path);
        assert!(items(&menu).contains(&"netboot.xyz"), "{platform} {arch}: {menu}");
        let script = server.get(&format!("{path}&choice=netboot.xyz"));
        let steps: Vec<&str> = script.lines().filter(|line| line.contains("goto ") || line.starts_with(':')).collect();
        assert_eq!(
            steps[..9],
            [
                "iseq ${platform} efi && goto efi ||",
                "chain --autofree http://boot.netboot.xyz/ipxe/netboot.xyz.lkrn || goto failed",
                "goto failed",
                ":efi",
                "iseq ${buildarch} arm64 && goto arm64 ||",
                "chain --autofree http://boot.netboot.xyz/ipxe/netboot.xyz.efi || goto failed",
                "goto failed",
                ":arm64",
                "chain --autofree http://boot.netboot.xyz/ipxe/netboot.xyz-arm64.efi || goto failed",
            ],
            "{platform} {arch}"
        );
    }
}

#[test]
fn a_machine_gets_to_its_disk_as_the_rule_about_it_says() {
    let site = Site::published();
    let rules = "default-policy = \"local-disk\"\n[[local-disk]]\nmachines = [\"52:54:00\"]\nplatform = \"bios\"\nuse = \"exit-0\"\n\
                 [[local-disk]]\nmachines = [\"52:54:00\"]\nuse = \"exit-1\"\n\
                 [[local-disk]]\nmachines = [\"00:1b:21\"]\nuse = \"sanboot\"\n";
    let server = serve(&site, rules);
    assert!(script(&server, "").ends_with("\nexit 0\n"));
    let efi = server.get(&format!("/script?mac={MAC}&platform=efi&arch=x86_64"));
    assert!(efi.ends_with("\nexit 1\n"), "{efi}");
    let sanboot = script_of(&server, "00:1b:21:00:00:01", "");
    assert!(sanboot.ends_with("\nsanboot --no-describe --drive 0x80 || exit 1\n"), "{sanboot}");
    assert!(script_of(&server, "00:e0:4c:00:00:01", "").contains("sanboot --no-describe --drive 0x80 || exit 0"));
    server.stop();
    assert!(site.run(&["machines"]).out.contains("local disk"));
}

#[test]
fn a_machine_whose_other_card_is_named_is_that_machine() {
    let site = Site::published();
    let server = serve(&site, "default-policy = \"local-disk\"\n[machines.\"52:54:00:00:00:09\"]\npolicy = \"boot\"\n");
    assert!(script(&server, "&cards=-,52:54:00:00:00:01,52:54:00:00:00:08").ends_with("exit 0\n"));
    assert!(script(&server, "&cards=-,52:54:00:00:00:01,52:54:00:00:00:09").contains("\nkernel http://"));
}

#[test]
fn a_machine_that_cannot_load_its_bundle_gets_the_last_one_it_came_up_with() {
    let site = Site::published();
    let server = serve(&site, "");
    let first = script(&server, "");
    let good = bundle(&first).to_owned();
    let again = script(&server, &format!("&failed={good}"));
    assert_eq!(bundle(&again), good, "nothing better is known");
    let token = again.split("/check-in/").nth(1).unwrap().split(' ').next().unwrap();
    let manifest = serde_json::from_str(&site.run(&["show", "hello", "--json"]).out).unwrap();
    let answer = server.post(&format!("/check-in/{token}"), &report(&manifest, &good));
    assert!(answer.contains("\r\n\r\nok\n"), "{answer}");
    publish_again(&site);
    let new = script(&server, "");
    assert_ne!(bundle(&new), good);
    let back = script(&server, &format!("&failed={}", bundle(&new)));
    assert_eq!(bundle(&back), good);
    server.stop();
    let problems = machine(&site)["problems"].to_string();
    assert!(problems.contains("release 2 cannot be loaded; it boots release 1 again"), "{problems}");
}

#[test]
fn a_machine_that_boots_in_a_circle_is_told_to_rest() {
    let site = Site::published();
    let server = serve(&site, "default-policy = \"local-disk\"\n");
    for _ in 0..6 {
        server.get("/boot.ipxe");
        assert!(script(&server, "").contains("\nsanboot "));
    }
    server.get("/boot.ipxe");
    let rest = script(&server, "");
    assert!(rest.contains("this machine asked to boot 6 times") && rest.contains("\nsleep 60\n"), "{rest}");
    let other = script_of(&server, "52:54:00:00:00:02", "");
    assert!(other.contains("\nsanboot "), "{other}");
}

#[test]
fn arguments_that_a_kernel_would_cut_stop_the_build() {
    let site = Site::new();
    site.write(
        "profiles/hello/profile.toml",
        &format!("overlays = [\"base\"]\n[kernel]\nargs = [\"x={}\"]\n", "y".repeat(1400)),
    );
    let ran = site.run(&["build", "hello"]);
    assert_ne!(ran.code, Some(0));
    assert!(ran.err.contains("kernel arguments are 1403 bytes long"), "{}{}", ran.out, ran.err);
    for word in ["||", ";", "#x"] {
        site.write("profiles/hello/profile.toml", &format!("overlays = [\"base\"]\n[kernel]\nargs = [\"{word}\"]\n"));
        let ran = site.run(&["build", "hello"]);
        assert_ne!(ran.code, Some(0), "{word}");
    }
}

#[test]
fn arguments_that_only_this_kernel_would_cut_stop_the_build_too() {
    let site = Site::new();
    let mut members = members_trusting((KEY, &signing_key().public_pem().unwrap()));
    for member in members.iter_mut().filter(|member| member.name.starts_with(b"boot/vmlinuz-")) {
        // Version 2.06 of the boot protocol, and how long a command line the kernel takes.
        member.content[0x206..0x208].copy_from_slice(&0x0206_u16.to_le_bytes());
        member.content[0x238..0x23c].copy_from_slice(&1023_u32.to_le_bytes());
    }
    release(&site.mirror.server, &tarball(&members));
    run(&site, &["build", "hello"]);
    let argument = format!("x={}", "y".repeat(400));
    site.write("profiles/hello/profile.toml", &format!("overlays = [\"base\"]\n[kernel]\nargs = [\"{argument}\"]\n"));
    let ran = site.run(&["build", "hello"]);
    assert_ne!(ran.code, Some(0));
    assert!(
        ran.err.contains("kernel arguments are 403 bytes long, and this kernel takes 1023"),
        "{}{}",
        ran.out,
        ran.err
    );
}
