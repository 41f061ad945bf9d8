//! Runlevels, and the scripts and packages their services need.

use super::rule::{NO_MODLOOP, NO_RUNLEVELS, RUNLEVEL_ENTRY, SERVICE_WITHOUT_PACKAGE, UNKNOWN_PACKAGE};
use super::{Finding, Machine, listed};
use crate::model::name::nearest;
use crate::wire::apkovl::Node;

/// With this file, init starts Alpine's own list of services.
const MARKER: &str = "etc/.default_boot_services";

/// Services whose scripts `alpine-base` brings, which init always installs (SVC-3).
const ALWAYS: &str = "\
    acpid agetty binfmt bootmisc cgroups consolefont crond devfs dmesg firstboot fsck hostname hwclock hwdrivers \
    keymaps killprocs klogd loadkmap local localmount loopback machine-id mdev modloop modules mount-ro mtab \
    net-online netmount networking ntpd numlock osclock procfs rdate root runsvdir s6-svscan save-keymaps \
    save-termencoding savecache seedrng staticroute swap swclock sysctl sysfs sysfsconf syslog termencoding urandom \
    user watchdog";

/// Services of well-known packages, each with the packages that bring it.
const KNOWN: &[(&str, &[&str])] = &[
    ("apache2", &["apache2"]),
    ("autofs", &["autofs"]),
    ("bluetooth", &["bluez"]),
    ("chronyd", &["chrony"]),
    ("cloud-init", &["cloud-init"]),
    ("cupsd", &["cups"]),
    ("dhcpcd", &["dhcpcd"]),
    ("dnsmasq", &["dnsmasq", "dnsmasq-dnssec", "dnsmasq-dnssec-dbus"]),
    ("docker", &["docker", "docker-engine"]),
    ("dropbear", &["dropbear"]),
    ("fail2ban", &["fail2ban"]),
    ("gdm", &["gdm"]),
    ("greetd", &["greetd"]),
    ("haveged", &["haveged"]),
    ("hostapd", &["hostapd"]),
    ("iptables", &["iptables"]),
    ("ip6tables", &["iptables", "ip6tables"]),
    ("iscsid", &["open-iscsi"]),
    ("iwd", &["iwd"]),
    ("lightdm", &["lightdm"]),
    ("lighttpd", &["lighttpd"]),
    ("mariadb", &["mariadb"]),
    ("mdadm", &["mdadm"]),
    ("networkmanager", &["networkmanager"]),
    ("nfs", &["nfs-utils"]),
    ("nfsmount", &["nfs-utils"]),
    ("nftables", &["nftables"]),
    ("nginx", &["nginx"]),
    ("open-vm-tools", &["open-vm-tools"]),
    ("openntpd", &["openntpd"]),
    ("qemu-guest-agent", &["qemu-guest-agent"]),
    ("samba", &["samba", "samba-server"]),
    ("sddm", &["sddm"]),
    ("smartd", &["smartmontools"]),
    ("snmpd", &["net-snmp"]),
    ("spice-vdagentd", &["spice-vdagent"]),
    ("squid", &["squid"]),
    ("sshd", &["openssh", "openssh-server", "openssh-server-pam", "openssh-server-krb5"]),
    ("tailscale", &["tailscale"]),
    ("unbound", &["unbound"]),
    ("vsftpd", &["vsftpd"]),
    ("wpa_supplicant", &["wpa_supplicant"]),
    ("zram-init", &["zram-init"]),
];

/// The same for packages that others often bring along, so that a world without them may still be right.
const ALONG: &[(&str, &[&str])] = &[
    ("alsa", &["alsa-utils"]),
    ("avahi-daemon", &["avahi"]),
    ("containerd", &["containerd"]),
    ("dbus", &["dbus"]),
    ("elogind", &["elogind"]),
    ("lvm", &["lvm2"]),
    ("pcscd", &["pcsc-lite"]),
    ("polkit", &["polkit", "polkit-elogind"]),
    ("rpcbind", &["rpcbind"]),
    ("rpc.statd", &["nfs-utils"]),
    ("seatd", &["seatd"]),
    ("udev", &["eudev", "udev-init-scripts"]),
    ("udev-postmount", &["eudev", "udev-init-scripts"]),
    ("udev-settle", &["eudev", "udev-init-scripts"]),
    ("udev-trigger", &["eudev", "udev-init-scripts"]),
];

/// Services whose scripts are in overlays that come with Bivouac.
const OF_OVERLAYS: &[(&str, &str)] = &[("bivouac-check-in", "check-in"), ("boot-interface", "network")];

pub(super) fn look(machine: &Machine<'_>) -> Vec<Finding> {
    let mut found = runlevels(machine);
    found.extend(entries(machine));
    found.extend(packages(machine));
    found
}

/// OVL-25: with an overlay, init starts no services of its own. SVC-1: the modules are one of them.
fn runlevels(machine: &Machine<'_>) -> Vec<Finding> {
    if machine.bytes(MARKER).is_some() {
        return Vec::new();
    }
    let level = "etc/runlevels/sysinit";
    if !machine.services().any(|(runlevel, ..)| runlevel == "sysinit") {
        return vec![machine.at(
            NO_RUNLEVELS,
            level,
            "no service is in runlevel sysinit".to_owned(),
            "devices, modules and host name are never set up",
            "use the overlay `base`, or list services",
        )];
    }
    if machine.has_service("modloop") {
        return Vec::new();
    }
    vec![machine.at(
        NO_MODLOOP,
        level,
        "the service `modloop` is in no runlevel".to_owned(),
        "only hardware of which the initramfs has the drivers works",
        "add `modloop` to the services of sysinit",
    )]
}

/// OVL-27: what `rc-update` would not have written.
fn entries(machine: &Machine<'_>) -> Vec<Finding> {
    let is_right = |path: &str, name: &str| {
        machine.tree.get(path).is_some_and(|entry| match &entry.node {
            Node::Symlink(target) => target.strip_prefix("/etc/init.d/") == Some(name),
            _ => false,
        })
    };
    let wrong = machine.services().filter(|(_, name, path)| !is_right(path, name));
    wrong
        .map(|(level, name, path)| {
            machine.at(
                RUNLEVEL_ENTRY,
                path,
                format!("`{path}` is not a link to /etc/init.d/{name}"),
                "OpenRC does not start it",
                format!("take it out of root/ and write `{name}` into the services of {level}"),
            )
        })
        .collect()
}

/// OVL-26 and SVC-3: a link to a script that nothing brings.
fn packages(machine: &Machine<'_>) -> Vec<Finding> {
    const EFFECT: &str = "the link leads nowhere, and the service never starts";
    let mut found = Vec::new();
    for (level, name, path) in machine.services() {
        let script = format!("etc/init.d/{name}");
        if listed(ALWAYS, name) || machine.tree.get(&script).is_some() {
            continue;
        }
        if let Some((_, overlay)) = OF_OVERLAYS.iter().find(|(service, _)| *service == name) {
            let what =
                format!("`{name}` starts in runlevel {level}, and the overlay `{overlay}`, which has it, is not used");
            let fix = format!("add `{overlay}` to `overlays`");
            found.push(machine.at(SERVICE_WITHOUT_PACKAGE, path, what, EFFECT, fix));
            continue;
        }
        let named = |(service, packages): &(&str, &'static [&'static str])| (*service == name).then_some(*packages);
        let known = KNOWN.iter().find_map(named);
        let along = ALONG.iter().find_map(named);
        // Most services are called like their package.
        let packages = known.or(along).unwrap_or(&[]);
        let is_there = |package: &str| {
            let package = package.strip_suffix("-openrc").unwrap_or(package);
            packages.contains(&package) || (packages.is_empty() && package == name)
        };
        if machine.packages().any(is_there) {
            continue;
        }
        let finding = match (known, packages.first()) {
            (Some(_), Some(package)) => machine.at(
                SERVICE_WITHOUT_PACKAGE,
                path,
                format!("`{name}` starts in runlevel {level}, and its package `{package}` is not in the world"),
                EFFECT,
                format!("add `{package}` to `packages`, or take the service out with `!{name}`"),
            ),
            (_, Some(package)) => machine.at(
                UNKNOWN_PACKAGE,
                path,
                format!("`{name}` starts in runlevel {level}, and the world does not name its package `{package}`"),
                "a build refuses it, unless another package of the world brings it along",
                format!("add `{package}` to `packages`"),
            ),
            (_, None) => machine.at(
                UNKNOWN_PACKAGE,
                path,
                format!("`{name}` starts in runlevel {level}, and Bivouac cannot tell which package it is of"),
                "a build refuses it, unless a package of the world brings its script",
                match nearest(name, names()) {
                    Some(near) => format!("did you mean `{near}`? Otherwise, if one does, allow SVC-3 for `{path}`"),
                    None => format!("if one does, allow SVC-3 for `{path}`"),
                },
            ),
        };
        found.push(finding);
    }
    found
}

/// Every service that is known.
fn names() -> impl Iterator<Item = &'static str> {
    ALWAYS.split_whitespace().chain(KNOWN.iter().chain(ALONG).map(|(name, _)| *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_service_is_in_two_tables() {
        let mut names: Vec<&str> = names().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(KNOWN.iter().chain(ALONG).all(|(_, packages)| !packages.is_empty()));
    }
}
