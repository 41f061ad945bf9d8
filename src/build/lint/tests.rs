//! Every rule with a profile that breaks it and one that does not.

use std::collections::BTreeSet;

use super::*;
use crate::build::layers::Source;
use crate::build::{BuildError, Recipe};
use crate::model::profile::Layer;

/// What the overlays `base` and `network` are to the lint.
const BASE: &str =
    "packages = [\"alpine-base\"]\n[services]\nsysinit = [\"devfs\", \"modloop\"]\nboot = [\"hostname\"]\n";

/// A file as a case writes it: `path`, and its text. A path that ends in `*` is executable; a text `-> x` is a link.
type Files = &'static [(&'static str, &'static str)];

/// A profile: its settings and files.
type Case<'a> = (&'a str, Files);

fn source(origin: &str, toml: &str, files: Files) -> Source {
    let entry = |(path, text): &(&str, &str)| {
        let entry = match text.strip_prefix("-> ") {
            Some(target) => Entry::symlink(target.to_owned()),
            None => {
                Entry { mode: if path.ends_with('*') { 0o755 } else { 0o644 }, ..Entry::file(text.as_bytes().to_vec()) }
            }
        };
        (path.trim_end_matches('*').to_owned(), entry)
    };
    Source { origin: origin.to_owned(), layer: Layer::parse(toml).unwrap(), files: files.iter().map(entry).collect() }
}

fn recipe((toml, files): Case<'_>) -> Result<Recipe, BuildError> {
    // The marker in place of a base takes the base away.
    let mut layers = vec![source("profile vdi", toml, files)];
    if !toml.starts_with("# no base") {
        layers.insert(0, source("overlay base", BASE, &[]));
    }
    Recipe::merged(&"vdi".parse().unwrap(), layers)
}

fn found(case: Case<'_>) -> Vec<Finding> {
    recipe(case).unwrap_or_else(|error| panic!("{case:?}: {error}")).findings().to_vec()
}

/// Rule, the path of the finding, a profile that breaks it, one that comes close and does not.
const CASES: &[(&str, Option<&str>, Case<'static>, Case<'static>)] = &[
    (
        "OVL-13",
        Some("etc"),
        ("[files]\n\"etc\" = { mode = \"0700\" }", &[("etc/x", "")]),
        ("[files]\n\"etc\" = { mode = \"0755\" }", &[("etc/x", "")]),
    ),
    (
        "OVL-14",
        Some("etc/doas.conf"),
        ("[files]\n\"etc/doas.conf\" = { owner = \"501:20\" }", &[("etc/doas.conf", "")]),
        ("[files]\n\"etc/doas.conf\" = { owner = \"0:20\" }", &[("etc/doas.conf", "")]),
    ),
    (
        "OVL-15",
        Some("etc/doas.conf"),
        ("[files]\n\"etc/doas.conf\" = { mode = \"0664\" }", &[("etc/doas.conf", "")]),
        ("[files]\n\"srv/x\" = { mode = \"0666\" }", &[("srv/x", ""), ("etc/link", "-> /srv/x")]),
    ),
    (
        "OVL-16",
        Some("etc/shadow"),
        ("", &[("etc/shadow", "toor::0:0:::::\n")]),
        ("", &[("etc/shadow", "root:*:0:0:::::\n")]),
    ),
    (
        "OVL-17",
        Some("etc/shadow"),
        ("[files]\n\"etc/shadow\" = { mode = \"0644\" }", &[]),
        ("[files]\n\"etc/shadow\" = { mode = \"0600\" }", &[]),
    ),
    (
        "OVL-18",
        Some("etc/ssh/ssh_host_rsa_key"),
        ("[files]\n\"etc/ssh/ssh_host_rsa_key\" = { mode = \"0640\" }", &[("etc/ssh/ssh_host_rsa_key", "key")]),
        ("", &[("etc/ssh/ssh_host_rsa_key", "key")]),
    ),
    (
        "OVL-19",
        Some("etc/runlevels/default/sshd"),
        ("packages = [\"openssh\"]\n[services]\ndefault = [\"sshd\"]", &[]),
        ("packages = [\"openssh\"]\n[services]\ndefault = [\"sshd\"]", &[("etc/ssh/ssh_host_rsa_key", "key")]),
    ),
    (
        "OVL-20",
        Some("etc/ssh/ssh_host_rsa_key"),
        ("", &[("etc/ssh/ssh_host_rsa_key", "key")]),
        ("", &[("etc/ssh/ssh_host_rsa_key.pub", "key")]),
    ),
    (
        "OVL-21",
        Some("home/kiosk"),
        ("", &[("home/kiosk/.profile", "")]),
        ("[users.kiosk]\nuid = 1000", &[("home/kiosk/.profile", "")]),
    ),
    (
        "OVL-21",
        Some("home/kiosk"),
        ("", &[("etc/passwd", "kiosk:x:1000:100::/home/kiosk:/bin/sh\n")]),
        ("", &[("etc/passwd", "kiosk:x:1000:100::/home/kiosk:/sbin/nologin\n")]),
    ),
    (
        "OVL-22",
        Some("home/kiosk/.ssh/authorized_keys"),
        (
            "[users.kiosk]\nuid = 1000\nssh-keys = [\"ssh-ed25519 AAAA a\"]\n[files]\n\
             \"home/kiosk/.ssh/authorized_keys\" = { mode = \"0620\" }",
            &[],
        ),
        ("[users.kiosk]\nuid = 1000\nssh-keys = [\"ssh-ed25519 AAAA a\"]", &[]),
    ),
    (
        "OVL-22",
        Some("home/kiosk"),
        (
            "[users.kiosk]\nuid = 1000\nssh-keys = [\"ssh-ed25519 AAAA a\"]\n[files]\n\"home/kiosk\" = { mode = \"0775\" }",
            &[],
        ),
        ("[users.kiosk]\nuid = 1000\n[files]\n\"home/kiosk\" = { mode = \"0775\" }", &[]),
    ),
    (
        "OVL-23",
        Some("etc/passwd"),
        ("", &[("etc/passwd", "own:x:900:901::/srv:/bin/false\n")]),
        ("", &[("etc/passwd", "own:x:900:100::/srv:/bin/false\n")]),
    ),
    (
        "OVL-23",
        Some("etc/passwd"),
        ("", &[("etc/passwd", "own:x:900:100::/srv\n")]),
        ("", &[("etc/passwd", "own:x:900:100::/srv:/bin/false\n")]),
    ),
    (
        "OVL-25",
        Some("etc/runlevels/sysinit"),
        ("# no base\n[services]\nboot = [\"hostname\"]", &[]),
        ("# no base\n", &[("etc/.default_boot_services", "")]),
    ),
    (
        "OVL-26",
        Some("etc/runlevels/default/sshd"),
        ("packages = [\"openssh-client\"]\n[services]\ndefault = [\"sshd\"]", &[]),
        ("packages = [\"openssh-server-pam>=9\"]\n[services]\ndefault = [\"sshd\", \"crond\"]", &[]),
    ),
    (
        "OVL-27",
        Some("etc/runlevels/boot/x"),
        ("", &[("etc/runlevels/boot/x", "-> ../../init.d/x"), ("etc/init.d/x*", "")]),
        ("", &[("etc/runlevels/boot/x", "-> /etc/init.d/x"), ("etc/init.d/x*", "")]),
    ),
    (
        "OVL-28",
        Some("etc/network/interfaces"),
        ("[services]\nboot = [\"networking\"]", &[]),
        ("[services]\nboot = [\"networking\"]", &[("etc/network/interfaces", "")]),
    ),
    (
        "OVL-29",
        Some("etc/network/interfaces"),
        ("", &[("etc/network/interfaces", "auto eth0\niface eth0 inet dhcp\n")]),
        ("[network.interfaces]\neth1 = {}", &[("etc/network/interfaces", "iface eth0 inet dhcp\n")]),
    ),
    (
        "OVL-33",
        Some("etc/apk/repositories"),
        ("", &[("etc/apk/repositories", "http://example.net/alpine/v3.24/main\r\n")]),
        ("", &[("etc/apk/repositories", "# none\r\n\r\n")]),
    ),
    (
        "OVL-34",
        Some("etc/apk/repositories.d/x.list"),
        ("", &[("etc/apk/repositories.d/x.list", "main\n")]),
        ("", &[("etc/apk/repositories.d/README", "main\n")]),
    ),
    (
        "OVL-35",
        Some("etc/apk/repositories"),
        ("[alpine]\nrelease = \"3.24.1\"", &[("etc/apk/repositories", "http://example.net/v3.19/main\n")]),
        ("[alpine]\nrelease = \"3.24.1\"", &[("etc/apk/repositories", "http://example.net/v3.24/main\n")]),
    ),
    (
        "OVL-35",
        Some("etc/apk/repositories"),
        ("[alpine]\nrelease = \"3.24\"", &[("etc/apk/repositories", "http://example.net/edge/main\n")]),
        ("[alpine]\nrelease = \"3.24\"", &[("etc/apk/repositories", "http://example.net/v3.24/main\n")]),
    ),
    (
        "OVL-36",
        Some("etc/apk/keys/own.rsa.pub"),
        ("", &[("etc/apk/keys/own.rsa.pub", "ssh-rsa AAAA\n")]),
        ("", &[("etc/apk/keys/own.rsa.pub", "-----BEGIN PUBLIC KEY-----\nMII\n-----END PUBLIC KEY-----\n")]),
    ),
    ("OVL-37", Some("etc/apk/arch"), ("", &[("etc/apk/arch", "aarch64\n")]), ("", &[("etc/apk/arch", "x86_64\n")])),
    ("OVL-38", Some("etc/hostname"), ("", &[("etc/hostname", "\n")]), ("", &[("etc/hostname", "a\n")])),
    (
        "OVL-39",
        Some("etc/hostname"),
        ("", &[("etc/hostname", "my-host\r\n")]),
        ("", &[("etc/hostname", "# whose\nmy-host.example.net\n")]),
    ),
    ("OVL-39", Some("etc/hostname"), ("", &[("etc/hostname", "my_host\n")]), ("", &[("etc/hostname", "my-host\n")])),
    (
        "OVL-40",
        Some("etc/inittab"),
        ("", &[("etc/inittab", "::sysinit:/sbin/openrc sysinit\n#tty1::respawn:/sbin/getty 38400 tty1\n")]),
        ("[kernel]\nargs = [\"console=ttyS0\"]", &[("etc/inittab", "::sysinit:/sbin/openrc sysinit\n")]),
    ),
    (
        "OVL-41",
        Some("etc/fstab"),
        ("", &[("etc/fstab", "tmpfs / tmpfs size=64m 0 0\n")]),
        ("", &[("etc/fstab", "#tmpfs / tmpfs size=64m 0 0\ntmpfs /tmp tmpfs size=64m 0 0\n")]),
    ),
    ("OVL-45", Some("var/run"), ("", &[("var/run/x", "")]), ("", &[("var/lib/x", "")])),
    ("OVL-45", Some("usr/bin"), ("", &[("usr/bin", "-> ../bin")]), ("", &[("usr/bin/x*", "")])),
    (
        "OVL-45",
        Some("lib"),
        ("[kernel]\nargs = [\"bootstrap_usr_merged\"]", &[("lib/x", "")]),
        ("[kernel]\nargs = [\"bootstrap_usr_merged\"]", &[("usr/lib/x", "")]),
    ),
    (
        "OVL-46",
        Some("etc/local.d/a.start"),
        ("", &[("etc/local.d/a.start", "")]),
        ("", &[("etc/local.d/a.start*", ""), ("etc/local.d/README", ""), ("etc/init.d/x*", "")]),
    ),
    (
        "OVL-47",
        Some("etc/wpa_supplicant/wpa_supplicant.conf"),
        ("", &[("etc/wpa_supplicant/wpa_supplicant.conf", "psk=\"abc defg\"\n")]),
        (
            "[files]\n\"etc/wpa_supplicant/wpa_supplicant.conf\" = { mode = \"0600\" }",
            &[("etc/wpa_supplicant/wpa_supplicant.conf", "psk=\"abc defg\"\n")],
        ),
    ),
    ("OVL-48", Some("etc/motd~"), ("", &[("etc/motd~", "")]), ("", &[("etc/motd", "")])),
    ("OVL-50", Some("etc/motd"), ("", &[("etc/MOTD", ""), ("etc/motd", "")]), ("", &[("etc/motd", "")])),
    (
        "SVC-1",
        Some("etc/runlevels/sysinit"),
        ("# no base\n[services]\nsysinit = [\"devfs\"]", &[]),
        ("# no base\n[services]\nsysinit = [\"devfs\", \"modloop\"]", &[]),
    ),
    (
        "SVC-3",
        Some("etc/runlevels/default/frobd"),
        ("packages = [\"frob\"]\n[services]\ndefault = [\"frobd\"]", &[]),
        (
            "packages = [\"frobd-openrc\", \"eudev\"]\n[services]\ndefault = [\"frobd\", \"udev\", \"own\"]",
            &[("etc/init.d/own*", "")],
        ),
    ),
    (
        "SVC-3",
        Some("etc/runlevels/default/dbus"),
        ("[services]\ndefault = [\"dbus\"]", &[]),
        ("packages = [\"dbus\"]\n[services]\ndefault = [\"dbus\"]", &[]),
    ),
    (
        "REP-1",
        Some("etc/apk/repositories"),
        ("", &[("etc/apk/repositories", "@own https://example.net/packages\n")]),
        ("", &[("etc/apk/repositories", "# https://example.net/packages\n\n")]),
    ),
    (
        "ARG-1",
        None,
        ("[kernel]\nargs = [\"rootfstype=ext4\"]", &[]),
        ("[kernel]\nargs = [\"rootflags=size=75%\"]", &[]),
    ),
    ("ARG-2", None, ("[kernel]\nargs = [\"alpine_dev=usb\"]", &[]), ("[kernel]\nargs = [\"usbdelay=3\"]", &[])),
    (
        "ARG-3",
        None,
        ("[kernel]\nargs = [\"modlues=loop\"]", &[]),
        ("[kernel]\nargs = [\"mitigations=off\", \"noquiet\", \"console=tty0\", \"i915.modeset=1\", \"vga=1\"]", &[]),
    ),
    ("ARG-4", None, ("[kernel]\nargs = [\"nomodeset\"]", &[]), ("[kernel]\nargs = [\"modloop_verify=yes\"]", &[])),
    (
        "SEC-1",
        Some("root/id"),
        ("", &[("root/id", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n")]),
        ("", &[("root/id", "grep -q '-----BEGIN OPENSSH PRIVATE KEY-----' \"$1\"\n-----BEGIN PUBLIC KEY-----\nMIIB")]),
    ),
    (
        "SEC-1",
        Some("etc/wireguard/wg0.conf"),
        ("", &[("etc/wireguard/wg0.conf", "PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n")]),
        ("", &[("etc/wireguard/wg0.conf", "PublicKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n")]),
    ),
    (
        "SEC-2",
        Some("etc/x"),
        ("", &[("etc/x", "token=ghp_0123456789abcdefghijklmnopqrstuvwxyz\n")]),
        ("", &[("etc/x", "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx AKIAIOSFODNN7EXAMPLES eyJhbGciOi.eyJ\n")]),
    ),
    (
        "SEC-3",
        Some("etc/wpa_supplicant/wpa_supplicant.conf"),
        ("", &[("etc/wpa_supplicant/wpa_supplicant.conf", "network={\n\tpsk=\"abc defg\"\n}\n")]),
        ("", &[("etc/wpa_supplicant/wpa_supplicant.conf", "network={\n\tkey_mgmt=NONE\n}\n")]),
    ),
    (
        "SEC-4",
        Some("etc/local.d/a.start"),
        ("", &[("etc/local.d/a.start*", "echo \"root:alpine\" | chpasswd\n")]),
        ("", &[("etc/local.d/a.start*", "# echo root:alpine | chpasswd\necho \"root:$secret\" | chpasswd\n")]),
    ),
    (
        "SEC-4",
        Some("etc/vnc.conf"),
        ("", &[("etc/vnc.conf", "vnc_password = \"changeme\"\n")]),
        ("", &[("etc/vnc.conf", "PasswordAuthentication=no\nvnc_password=\n")]),
    ),
    (
        "SEC-5",
        Some("etc/local.d/a.start"),
        ("", &[("etc/local.d/a.start*", "printf 'kiosk:Tr0ub4dor\\n' | /usr/sbin/chpasswd\n")]),
        ("", &[("etc/local.d/a.start*", "echo 'kiosk:$6$salt$hash' | chpasswd -e\n")]),
    ),
    (
        "ALLOW-1",
        Some("etc/x"),
        ("[[allow]]\nrule = \"OVL-15\"\npath = \"etc/x\"\nreason = \"r\"", &[("etc/x", "")]),
        ("[[allow]]\nrule = \"OVL-48\"\npath = \"etc/\"\nreason = \"r\"", &[("etc/x~", "")]),
    ),
];

#[test]
fn every_rule_is_found_where_it_is_broken_and_not_where_it_is_kept() {
    for (id, path, broken, kept) in CASES {
        let there = found(*broken);
        let finding = there.iter().find(|finding| finding.rule.id == *id && finding.path.as_deref() == *path);
        let finding = finding.unwrap_or_else(|| panic!("{id} in {broken:?}: {there:#?}"));
        assert!([&finding.what, &finding.effect, &finding.fix].iter().all(|text| !text.is_empty()), "{finding:?}");
        let there = found(*kept);
        assert!(!there.iter().any(|finding| finding.rule.id == *id), "{id} in {kept:?}: {there:#?}");
    }
}

#[test]
fn every_rule_of_the_list_has_a_case() {
    let listed: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(CASES.iter().map(|(id, ..)| *id).collect::<BTreeSet<_>>(), listed);
}

#[test]
fn a_finding_names_the_layer_that_brought_it() {
    for (case, by) in [
        (("", &[("etc/motd~", "")][..]), Some("profile vdi")),
        (("[services]\ndefault = [\"dbus\"]", &[]), Some("profile vdi")),
        (("[kernel]\nargs = [\"nomodeset\"]", &[]), Some("profile vdi")),
        (("", &[("home/kiosk/.profile", "")]), Some("profile vdi")),
    ] {
        assert_eq!(found(case)[0].by.as_deref(), by, "{case:?}");
    }
}

#[test]
fn what_the_profile_allows_is_shown_with_its_reason_and_stops_nothing() {
    let allow = "[[allow]]\nrule = \"OVL-46\"\npath = \"etc/local.d/a.start\"\nreason = \"run by hand\"\n";
    let all = found((allow, &[("etc/local.d/a.start", ""), ("etc/local.d/b.start", "")]));
    let states: Vec<(Option<&str>, bool)> = all.iter().map(|it| (it.allowed.as_deref(), it.is_fatal())).collect();
    assert_eq!(states, [(Some("run by hand"), false), (None, true)]);
    let root = found(("allow-empty-root-password = true", &[]));
    assert_eq!((root.len(), root[0].rule.id, root[0].is_fatal()), (1, "OVL-16", false));
    let toor = found(("allow-empty-root-password = true", &[("etc/shadow", "toor::0:0:::::\n")]));
    assert!(toor.iter().any(Finding::is_fatal), "the word is about root only");
}

#[test]
fn an_allow_of_a_service_is_not_idle_because_the_build_looks_for_it_again() {
    let allow = "[[allow]]\nrule = \"OVL-26\"\npath = \"etc/runlevels/default/frobd\"\nreason = \"r\"\n";
    for (services, idle) in [("[\"frobd\"]", 0), ("[]", 1)] {
        let toml = format!("{allow}[services]\ndefault = {services}");
        let all = found((&toml, &[]));
        assert_eq!(all.iter().filter(|finding| finding.rule.id == "ALLOW-1").count(), idle, "{all:?}");
    }
}

#[test]
fn a_service_with_a_name_like_a_known_one_leads_to_that() {
    let all = found(("[services]\nboot = [\"networkin\"]", &[]));
    assert!(all[0].rule.id == "SVC-3" && all[0].fix.starts_with("did you mean `networking`? "), "{all:?}");
}

#[test]
fn an_allow_of_no_rule_names_the_nearest() {
    let error = recipe(("[[allow]]\nrule = \"OVL-155\"\nreason = \"r\"", &[])).unwrap_err().to_string();
    assert_eq!(error, "`[[allow]]` names the rule `OVL-155`, which does not exist; did you mean `OVL-15`?");
}

#[test]
fn findings_come_the_worst_first() {
    let all = found((
        "[kernel]\nargs = [\"nomodeset\"]",
        &[
            ("etc/fstab", "tmpfs / tmpfs size=64m 0 0\n"),
            ("etc/local.d/b.start", ""),
            ("etc/local.d/a.start", ""),
            ("var/run/x", ""),
        ],
    ));
    let order: Vec<(&str, Option<&str>)> = all.iter().map(|it| (it.rule.id, it.path.as_deref())).collect();
    assert_eq!(
        order,
        [
            ("OVL-45", Some("var/run")),
            ("OVL-46", Some("etc/local.d/a.start")),
            ("OVL-46", Some("etc/local.d/b.start")),
            ("ARG-4", None),
            ("OVL-41", Some("etc/fstab")),
        ]
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_lint_panic(text in "\\PC{0,200}", place in 0_usize..9) {
        let paths = ["etc/passwd", "etc/shadow", "etc/group", "etc/inittab", "etc/fstab", "etc/apk/repositories",
            "etc/hostname", "etc/wpa_supplicant/x", "etc/x"];
        let mut sources = vec![source("overlay base", BASE, &[])];
        sources[0].files.push((paths[place].to_owned(), Entry::file(text)));
        // Accounts that no machine could have are refused; that is an answer too.
        let _ = Recipe::merged(&"vdi".parse().unwrap(), sources);
    }
}
