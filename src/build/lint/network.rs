//! The network, the host name, the console, the root file system.

use super::rule::{FIXED_CARD, HOST_NAME, NO_GETTY, NO_HOST_NAME, NO_INTERFACES, ROOT_SIZE};
use super::{Finding, Machine};
use crate::build::trail::BIVOUAC;

const INTERFACES: &str = "etc/network/interfaces";

pub(super) fn look(machine: &Machine<'_>) -> Vec<Finding> {
    [interfaces(machine), cards(machine), hostname(machine), lbu(machine), inittab(machine), fstab(machine)]
        .into_iter()
        .flatten()
        .collect()
}

/// OVL-28: an empty file would do.
fn interfaces(machine: &Machine<'_>) -> Option<Finding> {
    (machine.has_service("networking") && machine.tree.get(INTERFACES).is_none()).then(|| {
        let by =
            machine.services().find(|(_, name, _)| *name == "networking").and_then(|(.., path)| machine.owner(path));
        let finding = machine.at(
            NO_INTERFACES,
            INTERFACES,
            format!("the service `networking` starts, and there is no {INTERFACES}"),
            "the service fails, and with it everything that needs the network",
            "add `network` to `overlays`, which looks up the card the machine booted from, or name a card: \
             `[network.interfaces]` with `eth0 = {}`",
        );
        Finding { by, ..finding }
    })
}

/// OVL-29: the kernel names cards in the order in which it finds them. Who names one in `[network]` knows it.
fn cards(machine: &Machine<'_>) -> Option<Finding> {
    let text = machine.text(INTERFACES)?;
    let is_ours = machine.owner(INTERFACES).is_some_and(|by| by.starts_with(BIVOUAC));
    if is_ours || machine.has_service("boot-interface") {
        return None;
    }
    let mut names = text.lines().filter_map(|line| line.trim_start().strip_prefix("iface ")?.split_whitespace().next());
    let card = names.find(|name| {
        name.strip_prefix("eth").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    })?;
    Some(machine.at(
        FIXED_CARD,
        INTERFACES,
        format!("{INTERFACES} sets up `{card}`, and the card a machine boots from may have another name"),
        "on such a machine the network is gone once it has booted",
        "use the overlay `network`, which looks the card up",
    ))
}

/// OVL-38 and OVL-39.
fn hostname(machine: &Machine<'_>) -> Option<Finding> {
    const FILE: &str = "etc/hostname";
    const FIX: &str = "say a `hostname` in the profile: letters, digits and inner hyphens";
    let text = machine.text(FILE)?;
    let name = text.split('\n').find(|line| !line.trim_start().starts_with('#')).unwrap_or_default();
    if name.trim().is_empty() {
        let what = "etc/hostname is empty".to_owned();
        return Some(machine.at(NO_HOST_NAME, FILE, what, "the machine is called localhost", FIX));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (!name.split('.').all(label)).then(|| {
        let what = format!("`{}` in etc/hostname is not a host name", name.escape_debug());
        machine.at(HOST_NAME, FILE, what, "other machines cannot look it up, and some programs refuse it", FIX)
    })
}

/// OVL-39: `lbu commit` names its archive after the host, and refuses to beside one of another name.
fn lbu(machine: &Machine<'_>) -> Option<Finding> {
    const FILE: &str = "etc/lbu/lbu.conf";
    let text = machine.text(FILE)?;
    let key = ["LBU_MEDIA", "LBU_BACKUPDIR"].into_iter().find(|key| {
        let mut values = text.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        values.any(|value| !value.trim_matches(['"', '\'', ' ']).is_empty())
    })?;
    Some(machine.at(
        HOST_NAME,
        FILE,
        format!("{FILE} sets `{key}`, so `lbu commit` on a machine writes an archive called after its host"),
        "the machine boots the bundle's archive and never that one: what was committed is gone at the next boot",
        format!("take `{key}` out, and bring changes home with `lbu package -` and `bivouac import`"),
    ))
}

/// OVL-40: init adds a login for each `console=` (INIT-3).
fn inittab(machine: &Machine<'_>) -> Option<Finding> {
    const FILE: &str = "etc/inittab";
    let text = machine.text(FILE)?;
    let is_login = |line: &str| {
        let mut fields = line.trim().splitn(4, ':').skip(2);
        let again = matches!(fields.next(), Some("respawn" | "askfirst"));
        again && fields.next().is_some_and(|program| program.contains("getty") || program.contains("login"))
    };
    let has_console = machine.arguments.iter().any(|argument| argument.starts_with("console="));
    (!has_console && !text.lines().filter(|line| !line.trim_start().starts_with('#')).any(is_login)).then(|| {
        machine.at(
            NO_GETTY,
            FILE,
            "etc/inittab starts no getty, and no kernel argument names a console".to_owned(),
            "nobody can log in at the machine",
            "add a line such as `tty1::respawn:/sbin/getty 38400 tty1`, or a `console=` argument",
        )
    })
}

/// OVL-41.
fn fstab(machine: &Machine<'_>) -> Option<Finding> {
    const FILE: &str = "etc/fstab";
    let text = machine.text(FILE)?;
    let options = text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_root = fields.first().is_some_and(|it| !it.starts_with('#')) && fields.get(1) == Some(&"/");
        (is_root && fields.get(2) == Some(&"tmpfs")).then(|| fields.get(3).copied().unwrap_or("defaults").to_owned())
    })?;
    Some(machine.at(
        ROOT_SIZE,
        FILE,
        format!("etc/fstab remounts the root with `{options}`"),
        "a size that is too small breaks the boot",
        "nothing, if it is meant; the kernel argument `rootflags=size=75%` does the same from the beginning",
    ))
}
