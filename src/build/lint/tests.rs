//! Every rule with a profile that breaks it and one that does not.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use crate::apk::{Member, MemberKind};
use crate::build::contents::Contents;
use crate::build::layers::{Source, Written};
use crate::build::{Recipe, root};
use crate::model::profile::Layer;

/// What the overlays `base` and `network` are to the lint.
const BASE: &str = "packages = [\"alpine-base\"]\n[services]\nsysinit = [\"devfs\", \"modloop\"]\nboot = [\"hostname\"]\ndefault = [\"local\", \"crond\"]\n";

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
    Source {
        origin: origin.to_owned(),
        layer: Layer::parse(toml).unwrap(),
        written: Written::default(),
        files: files.iter().map(entry).collect(),
        findings: Vec::new(),
    }
}

fn recipe((toml, files): Case<'_>) -> Recipe {
    // The marker in place of a base takes the base away.
    let mut layers = vec![source("profile vdi", toml, files)];
    if !toml.starts_with("# no base") {
        layers.insert(0, source("overlay base", BASE, &[]));
    }
    Recipe::merged(&"vdi".parse().unwrap(), layers)
}

fn found(case: Case<'_>) -> Vec<Finding> {
    recipe(case).findings().to_vec()
}

/// Rule, the path of the finding, a profile that breaks it, one that comes close and does not.
const CASES: &[(&str, Option<&str>, Case<'static>, Case<'static>)] = &[
    ("OVL-11", Some("README"), ("", &[("README", "")]), ("", &[("srv/README", "")])),
    ("OVL-11", Some("etc/._motd"), ("", &[("etc/._motd", "")]), ("", &[("etc/.motd", ""), ("etc/_motd", "")])),
    ("OVL-11", Some("etc/.DS_Store"), ("", &[("etc/.DS_Store", "")]), ("", &[("etc/DS_Store", "")])),
    ("OVL-13", Some("tmp"), ("[files]\n\"tmp\" = { mode = \"0755\" }", &[("tmp/x", "")]), ("", &[("tmp/x", "")])),
    (
        "OVL-13",
        Some("usr/bin"),
        ("[files]\n\"usr/bin\" = { mode = \"0700\" }", &[("usr/bin/x", "")]),
        ("[files]\n\"usr/bin/x\" = { mode = \"0700\" }", &[("usr/bin/x", ""), ("var/tmp/x", "")]),
    ),
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
        "OVL-17",
        Some("etc/shadow"),
        ("[files]\n\"etc/shadow\" = { owner = \"0:1000\" }", &[]),
        ("[files]\n\"etc/shadow\" = { owner = \"0:42\", mode = \"0640\" }", &[]),
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
        "OVL-20",
        Some("etc/machine-id"),
        ("", &[("etc/machine-id", "0123456789abcdef0123456789abcdef\n")]),
        ("", &[("etc/machine-id", "\n"), ("etc/iscsi/initiatorname.iscsi.tmpl", "InitiatorName={{ machine.mac }}")]),
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
        "OVL-23",
        Some("etc/group"),
        ("", &[("etc/group", "own:x:900:\nown:x:901:\n")]),
        ("", &[("etc/group", "own:x:900:\n\nother:x:901:\n")]),
    ),
    ("OVL-23", None, ("[users.kiosk]\nuid = 2\ngid = 100", &[]), ("[users.kiosk]\nuid = 1000", &[])),
    (
        "OVL-23",
        Some("etc/shadow"),
        ("[users.root]\npassword = \"$y$j9T$salt$hash\"", &[]),
        ("[users.root]\npassword = \"$2b$12$salt$hash\"", &[]),
    ),
    (
        "OVL-24",
        Some("etc/passwd"),
        ("", &[("etc/passwd", "root:x:0:0:root:/root:/bin/ash\n")]),
        ("", &[("etc/passwd", include_str!("../base/passwd"))]),
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
        "OVL-30",
        Some("etc/apk/world"),
        ("", &[("etc/apk/world", "--allow-untrusted\n")]),
        ("", &[("etc/apk/world", "nano>=7 so:libc.musl-x86_64.so.1\nvim@own\n")]),
    ),
    ("OVL-30", None, ("packages = [\"nano vim\"]", &[]), ("packages = [\"nano\", \"vim~9\"]", &[])),
    ("OVL-30", None, ("packages = [\"nano>7\", \"nano<9\"]", &[]), ("packages = [\"nano>7\", \"nano>7\"]", &[])),
    (
        "OVL-31",
        Some("etc/apk/world"),
        ("", &[("etc/apk/world", "nano # an editor\n")]),
        ("", &[("etc/apk/world", "nano\n\nvim\n")]),
    ),
    ("OVL-32", Some("etc/apk/world"), ("", &[("etc/apk/world", "nano\r\n")]), ("", &[("etc/apk/world", "nano\n")])),
    ("OVL-32", Some("etc/apk/world"), ("", &[("etc/apk/world", "\u{feff}nano")]), ("", &[("etc/apk/world", "nano")])),
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
        "OVL-34",
        Some("etc/apk/repositories"),
        ("", &[("etc/apk/repositories", " # a comment\n")]),
        ("", &[("etc/apk/repositories", "# a comment\n\n#\n")]),
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
        "OVL-35",
        Some("etc/apk/repositories"),
        ("", &[("etc/apk/repositories", "http://example.net/v3.24/main/x86_64\n")]),
        ("", &[("etc/apk/repositories", "http://example.net/v3.24/main\n")]),
    ),
    (
        "OVL-36",
        Some("etc/apk/repositories"),
        ("", &[("etc/apk/repositories", "http://example.net/own\n")]),
        (
            "",
            &[
                ("etc/apk/repositories", "http://example.net/own\n"),
                ("etc/apk/keys/own.rsa.pub", "-----BEGIN PUBLIC KEY-----\n"),
            ],
        ),
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
    ("OVL-45", Some("etc/hostname"), ("", &[("etc/hostname/x", "")]), ("", &[("etc/hostname", "x")])),
    ("OVL-45", Some("bin/sh"), ("", &[("bin/sh*", "#!/bin/busybox ash\n")]), ("", &[("bin/sh", "-> busybox")])),
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
        "OVL-46",
        Some("etc/periodic/daily/backup.sh"),
        ("", &[("etc/periodic/daily/backup.sh*", "")]),
        ("", &[("etc/periodic/daily/backup*", ""), ("etc/network/if-up.d/x_1*", ""), ("etc/crontabs/root", "")]),
    ),
    ("OVL-46", Some("etc/local.d/a.sh"), ("", &[("etc/local.d/a.sh*", "")]), ("", &[("etc/local.d/a.stop*", "")])),
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
    ("FILE-2", None, ("packages = [\"!nano\"]", &[]), ("packages = [\"nano\", \"!nano\"]", &[])),
    ("FILE-2", None, ("remove = [\"etc/x\"]", &[]), ("", &[])),
    (
        "FILE-3",
        Some("etc/x"),
        ("[files]\n\"etc/x\" = { mode = \"0600\" }", &[]),
        ("[files]\n\"etc/x\" = { mode = \"0600\" }", &[("etc/x", "")]),
    ),
    (
        "TPL-1",
        None,
        ("[vars]\na = { type = \"string\", required = true }", &[]),
        ("[vars]\na = { type = \"string\", required = \"machine\" }", &[]),
    ),
    (
        "TPL-2",
        Some("etc/x"),
        ("", &[("etc/x.tmpl", "{{ vars.a }}")]),
        ("[vars]\na = 1", &[("etc/x.tmpl", "{{ vars.a }}")]),
    ),
    ("TPL-2", Some("etc/passwd.tmpl"), ("", &[("etc/passwd.tmpl", "")]), ("", &[("etc/passwdx.tmpl", "")])),
    (
        "RUN-1",
        Some("etc/local.d/a.start"),
        ("[services]\ndefault = [\"!local\"]", &[("etc/local.d/a.start*", "")]),
        ("", &[("etc/local.d/a.start*", "")]),
    ),
    (
        "RUN-2",
        Some("etc/local.d/a.start"),
        ("", &[("etc/local.d/a.start*", "#!/bin/sh\r\n")]),
        ("", &[("etc/local.d/a.start*", "#!/bin/sh\n"), ("etc/x", "#!/bin/sh\r\n")]),
    ),
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
        "ARG-2",
        None,
        ("[kernel]\nargs = [\"ssh_key=http://example.net/k\"]", &[]),
        ("[kernel]\nargs = [\"ssh_key=http://example.net/k\"]", &[("etc/.default_boot_services", "")]),
    ),
    (
        "ARG-3",
        None,
        ("[kernel]\nargs = [\"modlues=loop\"]", &[]),
        ("[kernel]\nargs = [\"mitigations=off\", \"noquiet\", \"console=tty0\", \"i915.modeset=1\", \"vga=1\"]", &[]),
    ),
    (
        "ARG-3",
        None,
        ("[kernel]\nargs = [\"kiosk_url=x\"]", &[("etc/x", "kiosk_url")]),
        ("[kernel]\nargs = [\"kiosk_url=x\"]", &[("etc/x", "sed -n 's/.*kiosk_url=//p' /proc/cmdline")]),
    ),
    ("ARG-4", None, ("[kernel]\nargs = [\"nomodeset\"]", &[]), ("[kernel]\nargs = [\"modloop_verify=yes\"]", &[])),
    ("ARG-4", None, ("[kernel]\nargs = [\"panic=0\"]", &[]), ("[kernel]\nargs = [\"panic=30\"]", &[])),
    ("ARG-5", None, ("[kernel]\nargs = [\"root=/dev/sda1\"]", &[]), ("[kernel]\nargs = [\"rootdelay=3\"]", &[])),
    ("ARG-5", None, ("[kernel]\nargs = [\"a b\"]", &[]), ("[kernel]\nargs = [\"usbdelay=3\", \"quiet\"]", &[])),
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
        "SEC-4",
        Some("etc/shadow"),
        (
            "[users.root]\npassword = \"$6$saltsalt$bkkji9kuxmbOWBRC2QWbplcvevc/WIq8gqHNUov.ph9qedENDYuJZ83dcrPFu5cXN/TevoYcctg55Px4rHxET.\"",
            &[],
        ),
        (
            "[users.root]\npassword = \"$6$saltsalt$ds.rqSkpW/0zhV6HUi4vZPoCliqkotS/fqBIjjdiBDhCc/zYjCJGAmv5spfP6thJycf1oKCw6KA1Oi3E74Js..\"",
            &[],
        ),
    ),
    (
        "SEC-5",
        Some("etc/y"),
        ("", &[("etc/y", "sshpass -p Tr0ub4dor ssh a@b\n")]),
        ("", &[("etc/y", "sshpass -f /run/word ssh a@b\n")]),
    ),
    (
        "SEC-6",
        Some("etc/shadow"),
        ("[users.root]\npassword = \"$1$salt$abcdefghijklmnopqrstuv\"", &[]),
        ("[users.root]\npassword = \"*\"", &[]),
    ),
    ("SEC-7", Some("etc/x"), ("", &[("etc/x", "password=Tr0ub4dor\n")]), ("", &[("etc/x", "password={{ x }}\n")])),
    ("SEC-7", None, ("[vars]\nvnc_password = \"Tr0ub4dor\"", &[]), ("[vars]\nvnc_port = \"Tr0ub4dor\"", &[])),
    (
        "ALLOW-2",
        None,
        ("[[allow]]\nrule = \"OVL-155\"\nreason = \"r\"", &[]),
        ("[[allow]]\nrule = \"OVL-15\"\nreason = \"r\"", &[]),
    ),
    (
        "ALLOW-1",
        Some("etc/x"),
        ("[[allow]]\nrule = \"OVL-15\"\npath = \"etc/x\"\nreason = \"r\"", &[("etc/x", "")]),
        ("[[allow]]\nrule = \"OVL-48\"\npath = \"etc/\"\nreason = \"r\"", &[("etc/x~", "")]),
    ),
    (
        "OVL-26",
        Some("etc/runlevels/boot/boot-interface"),
        ("[network.interfaces]\nboot = {}", &[]),
        ("[network.interfaces]\nboot = {}", &[("etc/init.d/boot-interface*", "#!/sbin/openrc-run\n")]),
    ),
    (
        "OVL-28",
        Some("etc/network/interfaces"),
        ("services.boot = [\"networking\"]", &[]),
        ("[network.interfaces]\neth0 = {}", &[]),
    ),
    (
        "OVL-39",
        Some("etc/lbu/lbu.conf"),
        ("", &[("etc/lbu/lbu.conf", "LBU_MEDIA=\"usb\"\n")]),
        ("", &[("etc/lbu/lbu.conf", "# LBU_MEDIA=usb\nLBU_MEDIA=\nBACKUP_LIMIT=3\n")]),
    ),
    (
        "NET-1",
        None,
        ("[network.interfaces]\neth0 = { address = \"10.0.0.0/24\" }", &[]),
        ("[network.interfaces]\neth0 = { address = \"10.0.0.0/31\" }\neth1 = { address = \"10.0.1.255/32\" }", &[]),
    ),
    (
        "NET-1",
        None,
        ("[network.interfaces]\neth0 = { address = \"10.0.0.255/24\" }", &[]),
        ("[network.interfaces]\neth0 = { address = \"10.0.0.255/16\" }", &[]),
    ),
    (
        "NET-1",
        None,
        ("[network.interfaces]\neth0 = { address = \"fd00::/64\" }", &[]),
        (
            "[network.interfaces]\neth0 = { address = [\"fd00::/127\", \"fd01::/128\", \"fd02::ffff:ffff:ffff:ffff/64\"] }",
            &[],
        ),
    ),
    (
        "NET-1",
        None,
        ("[network.interfaces]\neth0 = { address = \"127.0.0.2/8\" }", &[]),
        ("[network.interfaces]\neth0 = { address = \"169.254.1.1/16\" }", &[]),
    ),
    (
        "NET-1",
        None,
        ("[network.interfaces]\neth0 = { address = \"224.0.0.5/24\" }", &[]),
        ("[network.interfaces]\neth0 = { address = \"fe80::1/64\" }", &[]),
    ),
    (
        "NET-1",
        None,
        ("[network.interfaces]\neth0 = { address = \"255.255.255.255/32\" }", &[]),
        ("[network.interfaces]\neth0 = { address = \"192.0.2.1/32\" }", &[]),
    ),
    (
        "NET-1",
        None,
        ("[network.interfaces]\neth0 = { address = \"::1/128\" }", &[]),
        ("[network.interfaces]\neth0 = { address = \"2001:db8::1/128\" }", &[]),
    ),
    (
        "NET-1",
        None,
        ("[network.interfaces]\neth0 = { address = \"0.0.0.0/0\" }", &[]),
        ("[network.interfaces]\neth0 = { address = \"dhcp\" }", &[]),
    ),
    (
        "NET-1",
        None,
        ("[network.interfaces]\neth0 = { address = \"::ffff:10.0.0.1/120\" }", &[]),
        ("[network.interfaces]\neth0 = { address = \"none\" }", &[]),
    ),
    (
        "NET-2",
        None,
        ("[network.interfaces]\neth0 = { address = [\"10.0.0.5/24\", \"10.0.0.5/16\"] }", &[]),
        ("[network.interfaces]\neth0 = { address = [\"10.0.0.5/24\", \"10.0.0.6/24\"] }", &[]),
    ),
    (
        "NET-2",
        None,
        ("[network.interfaces]\nboot = { address = \"10.0.0.5/24\" }\n\"boot.7\" = { address = \"10.0.0.5/24\" }", &[]),
        ("[network.interfaces]\nboot = { address = \"10.0.0.5/24\" }\n\"boot.7\" = { address = \"10.0.0.6/24\" }", &[]),
    ),
    (
        "NET-3",
        None,
        ("[network.interfaces]\neth0 = { address = \"10.0.0.5/24\", gateway = \"10.0.1.1\" }", &[]),
        ("[network.interfaces]\neth0 = { address = [\"10.0.1.5/24\", \"10.0.0.5/24\"], gateway = \"10.0.0.1\" }", &[]),
    ),
    (
        "NET-3",
        None,
        ("[network.interfaces]\neth0 = { address = [\"10.0.0.5/24\", \"fd00::5/64\"], gateway = \"fd01::1\" }", &[]),
        ("[network.interfaces]\neth0 = { address = [\"10.0.0.5/24\", \"fd00::5/64\"], gateway = \"fe80::1\" }", &[]),
    ),
    (
        "NET-3",
        None,
        ("[network.interfaces]\neth0 = { address = \"10.0.0.5/24\", gateway = \"10.0.0.5\" }", &[]),
        ("[network.interfaces]\neth0 = { address = \"10.0.0.4/31\", gateway = \"10.0.0.5\" }", &[]),
    ),
    (
        "NET-3",
        None,
        ("[network.interfaces]\neth0 = { address = \"10.0.0.5/24\", gateway = \"10.0.0.255\" }", &[]),
        ("[network.interfaces]\neth0 = { address = \"10.0.0.5/32\", gateway = \"172.31.1.1\" }", &[]),
    ),
    (
        "NET-3",
        None,
        ("[network.interfaces]\neth0 = { address = \"10.0.0.5/24\", gateway = \"224.0.0.1\" }", &[]),
        ("[network.interfaces]\neth0 = { address = \"fd00::5/128\", gateway = \"fd01::1\" }", &[]),
    ),
    (
        "NET-5",
        None,
        (
            "[network.interfaces]\neth0 = { address = \"10.0.0.5/24\", gateway = \"10.0.0.1\" }\n\
             eth1 = { address = \"10.1.0.5/24\", gateway = \"10.1.0.1\" }",
            &[],
        ),
        (
            "[network.interfaces]\neth0 = { address = \"10.0.0.5/24\", gateway = \"10.0.0.1\" }\n\
             eth1 = { address = \"10.1.0.5/24\" }\neth2 = { address = \"fd00::5/64\", gateway = \"fd00::1\" }",
            &[],
        ),
    ),
    ("NET-4", None, ("[network]\ndns = [\"0.0.0.0\"]", &[]), ("[network]\ndns = [\"127.0.0.1\"]", &[])),
    ("NET-4", None, ("[network]\ndns = [\"::\"]", &[]), ("[network]\ndns = [\"::1\"]", &[])),
    ("NET-4", None, ("[network]\ndns = [\"255.255.255.255\"]", &[]), ("[network]\ndns = [\"10.0.0.255\"]", &[])),
    ("NET-4", None, ("[network]\ndns = [\"ff02::1\"]", &[]), ("[network]\ndns = [\"fe80::1\"]", &[])),
    ("SET-3", None, ("timezone = \"Europe/Berlim\"", &[]), ("timezone = \"Europe/Berlin\"", &[])),
    ("SET-3", None, ("keymap = \"deu\"", &[]), ("keymap = \"de de-nodeadkeys\"", &[])),
    ("SET-3", None, ("[alpine]\nflavor = \"ltss\"", &[]), ("[alpine]\nflavor = \"lts\"", &[])),
    (
        "SET-3",
        None,
        ("[alpine]\nrepositories = [\"comunity\"]", &[]),
        ("[alpine]\nrepositories = [\"community\"]", &[]),
    ),
    (
        "SET-3",
        None,
        ("[alpine]\nrepositories = [\"main\", \"testing\"]", &[]),
        ("[alpine]\nrelease = \"edge\"\nrepositories = [\"main\", \"testing\"]", &[]),
    ),
    (
        "SET-3",
        None,
        ("[users.a]\nuid = 1000\nshell = \"/bin/bash\"", &[]),
        ("packages = [\"bash\"]\n[users.a]\nuid = 1000\nshell = \"/bin/bash\"", &[]),
    ),
    ("SET-3", None, ("[users.a]\nuid = 1000\nshell = \"/bin/bahs\"", &[]), ("[users.a]\nuid = 1000", &[])),
];

/// Makes a file.
type Make = fn(&Path);

/// The same for what only the files on disk show: rule, path, what makes the file, and what makes one that comes close.
const ON_DISK: &[(&str, &str, Make, Make)] = &[
    (
        "OVL-42",
        "etc/x",
        |file| fs::set_permissions(file, fs::Permissions::from_mode(0o4755)).unwrap(),
        |file| fs::set_permissions(file, fs::Permissions::from_mode(0o700)).unwrap(),
    ),
    (
        "OVL-49",
        "etc/x\\n",
        |file| fs::rename(file, file.with_file_name("x\n")).unwrap(),
        |file| fs::rename(file, file.with_file_name("x \u{e4}")).unwrap(),
    ),
    (
        "FILE-1",
        "etc/socket",
        |file| drop(std::os::unix::net::UnixListener::bind(file.with_file_name("socket")).unwrap()),
        |file| std::os::unix::fs::symlink("/dev/null", file.with_file_name("link")).unwrap(),
    ),
];

/// The same for what only packages show: rule, path, a profile, what a package installs, and what does no harm.
const IN_PACKAGES: &[(&str, &str, Case<'static>, Members, Members)] = &[
    (
        "OVL-13",
        "var/lib/x",
        ("", &[("var/lib/x/y", "")]),
        &[("var/lib/x", "drwxr-xr-x:x:x")],
        &[("var/lib/x", "drwxr-x---:root:root")],
    ),
    (
        "OVL-13",
        "var/empty",
        ("[files]\n\"var/empty\" = { owner = \"0:0\" }", &[("var/empty/x", "")]),
        &[("var/empty", "drwxrwxrwx:root:root")],
        &[("var/empty", "dr-xr-xr-x:root:root")],
    ),
    (
        "OVL-26",
        "etc/runlevels/default/xd",
        ("packages = [\"xd\"]\n[services]\ndefault = [\"xd\"]", &[]),
        &[("etc/init.d/xdd", "-rwxr-xr-x:root:root")],
        &[("etc/init.d/xd", "-rwxr-xr-x:root:root")],
    ),
    (
        "OVL-45",
        "usr/share/x",
        ("", &[("usr/share/x", "")]),
        &[("usr/share/x", "drwxr-xr-x:root:root")],
        &[("usr/share/x", "lrwxrwxrwx:root:root")],
    ),
    (
        "OVL-45",
        "sbin",
        ("", &[("sbin/x", "")]),
        &[("sbin", "lrwxrwxrwx:root:root")],
        &[("sbin", "drwxr-xr-x:root:root")],
    ),
    (
        "RUN-2",
        "etc/local.d/a.start",
        ("", &[("etc/local.d/a.start*", "#!/bin/bash\n")]),
        &[("bin/sh", "lrwxrwxrwx:root:root")],
        &[("usr/bin/bash", "-rwxr-xr-x:root:root")],
    ),
    (
        "RUN-2",
        "etc/local.d/a.start",
        ("", &[("etc/local.d/a.start*", "#!/usr/bin/env python3\n")]),
        &[("usr/bin/python2", "-rwxr-xr-x:root:root")],
        &[("usr/bin/python3", "lrwxrwxrwx:root:root")],
    ),
    (
        "SET-1",
        "etc/localtime",
        ("timezone = \"Europe/Berlim\"", &[]),
        &[("usr/share/zoneinfo/Europe/Berlin", "-rw-r--r--:root:root")],
        &[("usr/share/zoneinfo/Europe/Berlim", "-rw-r--r--:root:root")],
    ),
    (
        "SET-2",
        "etc/conf.d/loadkmap",
        ("keymap = \"de de-nodeadkey\"", &[]),
        &[("usr/share/bkeymaps/de/de-nodeadkeys.bmap.gz", "-rw-r--r--:root:root")],
        &[("usr/share/bkeymaps/de/de-nodeadkey.bmap.gz", "-rw-r--r--:root:root")],
    ),
    (
        "SET-4",
        "etc/passwd",
        ("[users.a]\nuid = 1000\nshell = \"/bin/bash\"", &[]),
        &[("bin/zsh", "-rwxr-xr-x:root:root")],
        &[("bin/bash", "-rwxr-xr-x:root:root")],
    ),
];

/// What a package installs: path, and kind, mode, user and group as `ls` writes them.
type Members = &'static [(&'static str, &'static str)];

fn member((path, text): &(&str, &str)) -> Member {
    let parts: Vec<&str> = text.split(':').collect();
    let kind = match &text[..1] {
        "d" => MemberKind::Folder,
        "l" => MemberKind::Link,
        _ => MemberKind::File,
    };
    let mode = text[1..10].chars().fold(0, |mode, bit| mode << 1 | u32::from(bit != '-'));
    Member { path: (*path).to_owned(), kind, mode, user: parts[1].to_owned(), group: parts[2].to_owned() }
}

/// What does not fit a package with these members, besides the services of the base.
fn found_in(case: Case<'_>, members: Members) -> Vec<Finding> {
    let services = ["devfs", "modloop", "hostname", "local", "crond", "loadkmap"];
    let base = services.map(|name| member(&(&format!("etc/init.d/{name}"), "-rwxr-xr-x:root:root")));
    let all = members.iter().map(member).chain(base).collect();
    let contents = Contents::from_iter([("pkg".to_owned(), all)]);
    let (recipe, base) = (recipe(case), BaseAccounts::default());
    let (tree, trail) = recipe.explained(&base);
    in_packages::look(&recipe.machine(&tree, &trail, &base), &contents)
}

fn expect(all: &[Finding], id: &str, path: Option<&str>, case: &str) {
    let finding = all.iter().find(|finding| finding.rule.id == id && finding.path.as_deref() == path);
    let finding = finding.unwrap_or_else(|| panic!("{id} in {case}: {all:#?}"));
    assert!([&finding.what, &finding.effect, &finding.fix].iter().all(|text| !text.is_empty()), "{finding:?}");
}

#[test]
fn every_rule_is_found_where_it_is_broken_and_not_where_it_is_kept() {
    for (id, path, broken, kept) in CASES {
        expect(&found(*broken), id, *path, &format!("{broken:?}"));
        let there = found(*kept);
        assert!(!there.iter().any(|finding| finding.rule.id == *id), "{id} in {kept:?}: {there:#?}");
    }
}

#[test]
fn what_only_the_disk_shows_is_found_there() {
    let read = |change: fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("etc")).unwrap();
        let file = folder.path().join("etc/x");
        fs::write(&file, "").unwrap();
        change(&file);
        root::read(folder.path(), "profile vdi").unwrap().findings
    };
    for (id, path, broken, kept) in ON_DISK {
        expect(&read(*broken), id, Some(path), id);
        assert!(read(*kept).is_empty(), "{id}: {:?}", read(*kept));
    }
}

#[test]
fn what_only_packages_show_is_found_there() {
    for (id, path, case, broken, kept) in IN_PACKAGES {
        expect(&found_in(*case, broken), id, Some(path), &format!("{case:?}"));
        let there = found_in(*case, kept);
        assert!(there.is_empty(), "{id} in {case:?}: {there:#?}");
    }
}

#[test]
fn every_rule_of_the_list_has_a_case() {
    let listed: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    let cases = CASES.iter().map(|(id, ..)| *id).chain(ON_DISK.iter().map(|(id, ..)| *id));
    // What a file cannot have is found where it is read, which needs a folder.
    let cases = cases.chain(IN_PACKAGES.iter().map(|(id, ..)| *id)).chain([rule::KEY.id]);
    assert_eq!(cases.collect::<BTreeSet<_>>(), listed);
}

#[test]
fn a_name_that_no_package_has_leads_to_the_nearest() {
    for (case, members, near) in [
        (IN_PACKAGES[2].2, IN_PACKAGES[2].3, "did you mean `xdd`?"),
        (IN_PACKAGES[7].2, IN_PACKAGES[7].3, "did you mean `Europe/Berlin`?"),
        (IN_PACKAGES[8].2, IN_PACKAGES[8].3, "did you mean `de de-nodeadkeys`?"),
    ] {
        let fix = found_in(case, members).remove(0).fix;
        assert!(fix.starts_with(near), "{fix}");
    }
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
    let word = "[[allow]]\nrule = \"OVL-16\"\nreason = \"r\"\n";
    assert!(found((word, &[("etc/shadow", "root::0:0:::::\n")])).iter().any(Finding::is_fatal), "root's has a word");
    let root = found(("allow-empty-root-password = true", &[]));
    assert_eq!((root.len(), root[0].rule.id, root[0].is_fatal()), (1, "OVL-16", false));
    let toor = found(("allow-empty-root-password = true", &[("etc/shadow", "toor::0:0:::::\n")]));
    assert!(toor.iter().any(Finding::is_fatal), "the word is about root only");
}

#[test]
fn an_allow_of_what_a_build_looks_for_is_not_idle_where_there_is_something_to_look_at() {
    for (rule, path, idle) in [
        ("OVL-26", "etc/runlevels/default/local", 0),
        ("OVL-26", "etc/runlevels/default/gone", 1),
        ("OVL-45", "etc/", 0),
        ("OVL-48", "etc/", 1),
    ] {
        let toml = format!("[[allow]]\nrule = \"{rule}\"\npath = \"{path}\"\nreason = \"r\"\n");
        let all = found((&toml, &[]));
        assert_eq!(all.iter().filter(|finding| finding.rule.id == "ALLOW-1").count(), idle, "{rule} {path}: {all:?}");
    }
}

#[test]
fn what_was_left_out_cannot_be_allowed_and_the_allow_says_so() {
    let all = found(("[kernel]\nargs = [\"root=x\"]\n[[allow]]\nrule = \"ARG-5\"\nreason = \"r\"", &[]));
    let said: Vec<(&str, bool)> = all.iter().map(|finding| (finding.rule.id, finding.is_fatal())).collect();
    assert_eq!(said, [("ARG-5", true), ("ALLOW-1", false)]);
    assert!(all[1].what.ends_with("what is found there cannot be allowed"), "{:?}", all[1]);
}

#[test]
fn a_secret_that_a_template_writes_for_some_machines_only_is_found_too() {
    const TEMPLATE: &str = "{% if machine.mac == 'x' %}sshpass -p Tr0ub4dor ssh a@b{% endif %}\n";
    let all = found(("", &[("etc/x.tmpl", TEMPLATE)]));
    assert!(
        all.iter().any(|finding| finding.rule.id == "SEC-5" && finding.path.as_deref() == Some("etc/x")),
        "{all:?}"
    );
    let all = found(("[kernel]\nargs = [\"ds=http://me:Tr0ub4dor@host/\"]", &[]));
    assert!(all.iter().any(|finding| finding.rule.id == "SEC-2" && finding.path.is_none()), "{all:?}");
}

#[test]
fn a_service_with_a_name_like_a_known_one_leads_to_that() {
    let all = found(("[services]\nboot = [\"networkin\"]", &[]));
    assert!(all[0].rule.id == "SVC-3" && all[0].fix.starts_with("did you mean `networking`? "), "{all:?}");
}

#[test]
fn an_allow_of_no_rule_names_the_nearest() {
    let all = found(("[[allow]]\nrule = \"OVL-155\"\nreason = \"r\"", &[]));
    assert_eq!(all[0].what, "`[[allow]]` names the rule `OVL-155`, which does not exist");
    assert!(all[0].fix == "did you mean `OVL-15`?" && all[0].is_fatal(), "{all:?}");
}

#[test]
fn a_name_that_alpine_likely_does_not_have_leads_to_the_nearest() {
    for (toml, near) in [
        ("timezone = \"Europe/Berln\"", "did you mean `Europe/Berlin`?"),
        ("keymap = \"latm\"", "did you mean `latam`?"),
        ("[alpine]\nflavor = \"virrt\"", "did you mean `virt`?"),
        ("[alpine]\nrepositories = [\"mian\", \"comunity\"]", "did you mean `community`?"),
        ("[users.a]\nuid = 1000\nshell = \"/usr/bin/fisch\"", "did you mean `/usr/bin/fish`?"),
        ("[users.a]\nuid = 1000\nshell = \"/bin/zsh\"", "add `zsh` to `packages`"),
    ] {
        let all = found((toml, &[]));
        assert!(all.iter().any(|it| it.rule.id == "SET-3" && it.fix == near && it.by.is_some()), "{toml}: {all:#?}");
    }
}

#[test]
fn a_line_for_nis_is_to_be_taken_out() {
    for (case, id) in [
        (("", &[("etc/passwd", "+::::::\n")][..]), "OVL-16"),
        (("", &[("etc/group", "+:::\n"), ("etc/shadow", "+::::::::\n")]), "OVL-16"),
        (("", &[("etc/passwd", "+@admins\n")]), "OVL-23"),
    ] {
        let all = found(case);
        let finding = all.iter().find(|it| it.rule.id == id).unwrap();
        assert!(finding.fix.starts_with("take the line out: Alpine's C library asks no NIS"), "{finding:?}");
    }
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
        drop(Recipe::merged(&"vdi".parse().unwrap(), sources));
    }
}
