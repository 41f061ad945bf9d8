//! Owners, modes and kinds of files, and files that came along by mistake.

use std::collections::BTreeMap;

use super::rule::{
    FOLDER, FOREIGN_OWNER, HOST_KEY_MODE, KIND, LEFTOVER, NO_HOST_KEYS, SAME_BUT_CASE, SHARED_IDENTITY, STRAY_FILE,
    WRITABLE,
};
use super::{Finding, Machine};
use crate::wire::apkovl::{Entry, Node};

/// Folders of the base system that everybody has to get into, and nobody but root may change.
const OPEN_FOLDERS: &[&str] = &[
    "bin",
    "dev",
    "etc",
    "etc/apk",
    "etc/conf.d",
    "etc/init.d",
    "etc/network",
    "etc/runlevels",
    "home",
    "lib",
    "lib/apk",
    "lib/firmware",
    "lib/modules",
    "media",
    "mnt",
    "opt",
    "proc",
    "run",
    "sbin",
    "srv",
    "sys",
    "usr",
    "usr/bin",
    "usr/lib",
    "usr/local",
    "usr/local/bin",
    "usr/local/sbin",
    "usr/sbin",
    "usr/share",
    "var",
    "var/cache",
    "var/lib",
    "var/log",
    "var/spool",
];

/// Folders that everybody may write, and where none may take away what is another's.
const SHARED_FOLDERS: &[&str] = &["dev/shm", "tmp", "var/tmp"];

/// What only root may change.
const OF_ROOT: &[&str] = &["bin", "etc", "lib", "root", "sbin", "usr", "var/spool/cron"];

/// What a machine is known by, besides its host keys.
const IDENTITIES: &[&str] = &[
    "etc/iscsi/initiatorname.iscsi",
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "var/lib/seedrng/seed.credit",
    "var/lib/seedrng/seed.no-credit",
];

/// Links of the base system, which a folder would be in the place of.
const LINKS: &[&str] = &["bin/sh", "etc/mtab", "sbin/init", "var/lock", "var/run"];

/// Folders of the base system, which a file would be in the place of.
const FOLDERS: &[&str] =
    &["etc/apk", "etc/init.d", "etc/runlevels", "lib/apk", "lib/modules", "usr/bin", "usr/lib", "usr/sbin", "var/lib"];

pub(super) fn look(machine: &Machine<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = machine
        .tree
        .iter()
        .flat_map(|(path, entry)| {
            [
                stray(machine, path, entry),
                folder(machine, path, entry),
                rights(machine, path, entry),
                kind(machine, path, entry),
            ]
        })
        .flatten()
        .collect();
    found.extend(host_keys(machine));
    found.extend(identities(machine));
    found.extend(leftovers(machine));
    found.extend(cases(machine));
    found
}

/// OVL-11: init's list of overlay files ends for apk at the first line without a slash (OVL-2), and macOS strews files
/// that programs read as if somebody had written them.
fn stray(machine: &Machine<'_>, path: &str, entry: &Entry) -> Option<Finding> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_macos = name.starts_with("._") || matches!(name, ".DS_Store" | "__MACOSX");
    let is_top = !path.contains('/') && !entry.is_directory();
    let (what, effect, fix) = if is_macos {
        let effect = "it takes memory on every machine, and some programs read every file of a folder";
        (format!("`{path}` is a leftover of macOS"), effect, "delete it; `dot_clean` deletes all of them")
    } else if is_top {
        let effect = "apk's list of overlay files ends there, so packages overwrite overlay files outside etc/ (OVL-2)";
        (format!("`{path}` lies directly in root/"), effect, "move it into a folder")
    } else {
        return None;
    };
    Some(machine.at(STRAY_FILE, path, what, effect, fix))
}

/// OVL-13: the overlay's mode of a folder stays.
fn folder(machine: &Machine<'_>, path: &str, entry: &Entry) -> Option<Finding> {
    let (wanted, effect) = if SHARED_FOLDERS.contains(&path) {
        (0o1777, "programs that do not run as root cannot write there, or may take away each other's files")
    } else if OPEN_FOLDERS.contains(&path) {
        (0o755, "services that do not run as root cannot get into it, or others may change it")
    } else {
        return None;
    };
    let is_right = entry.mode == wanted && entry.owner.uid == 0 && entry.owner.gid == 0;
    // Nothing is ever written into these two.
    let is_closed = matches!(path, "proc" | "sys") && entry.mode == 0o555;
    (entry.node == Node::Directory && !is_right && !is_closed).then(|| {
        machine.at(
            FOLDER,
            path,
            format!("`{path}` would have the mode {:04o} and belong to {}", entry.mode, owner(entry)),
            effect,
            format!("take the rule for the folder out of `[files]`, so that it is 0:0 and {wanted:04o}"),
        )
    })
}

fn owner(entry: &Entry) -> String {
    format!("{}:{}", entry.owner.uid, entry.owner.gid)
}

/// OVL-14 and OVL-15: whoever may change the system becomes root.
fn rights(machine: &Machine<'_>, path: &str, entry: &Entry) -> Option<Finding> {
    let is_of_root = OF_ROOT
        .iter()
        .any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    // Some folders are another rule's, and a link is as open as what it leads to.
    let is_other = OPEN_FOLDERS.contains(&path) || matches!(entry.node, Node::Symlink(_));
    if !is_of_root || is_other {
        return None;
    }
    if entry.owner.uid != 0 {
        return Some(machine.at(
            FOREIGN_OWNER,
            path,
            format!("`{path}` would belong to {}", owner(entry)),
            "that user may change how the machine works, and become root",
            "take its `owner` out of `[files]`, or write \"0:GID\" and a mode that lets the group read",
        ));
    }
    (entry.mode & 0o022 != 0).then(|| {
        machine.at(
            WRITABLE,
            path,
            format!("`{path}` would have the mode {:04o}, so others may write it", entry.mode),
            "who writes it changes how the machine works, and becomes root",
            format!("write the mode {:04o} into `[files]`", entry.mode & !0o022),
        )
    })
}

/// OVL-45: init's tar stops at a folder in the place of a link.
fn kind(machine: &Machine<'_>, path: &str, entry: &Entry) -> Option<Finding> {
    let is_folder = entry.node == Node::Directory;
    let is_merged = machine.arguments.iter().any(|argument| argument == "bootstrap_usr_merged");
    let (what, fix) = if is_folder && LINKS.contains(&path) {
        (format!("`{path}` is a folder, and a link in Alpine"), "put its files where the link leads".to_owned())
    } else if matches!(entry.node, Node::File(_)) && LINKS.contains(&path) && path != "etc/mtab" {
        let fix = "take it out of root/, or put a link there to what a package brings";
        (format!("`{path}` is a file, and a link in Alpine"), fix.to_owned())
    } else if !is_folder && FOLDERS.contains(&path) {
        (format!("`{path}` is not a folder, and is one in Alpine"), "take it out of root/".to_owned())
    } else if is_folder && is_merged && matches!(path, "bin" | "lib" | "sbin") {
        let what = format!("`{path}` is a folder, and a link to usr/{path} with `bootstrap_usr_merged`");
        (what, format!("move its files to usr/{path}"))
    } else {
        return None;
    };
    Some(machine.at(KIND, path, what, "init cannot unpack the overlay, or the system it unpacks is broken", fix))
}

/// OVL-18 to OVL-20: the keys by which an SSH server is known.
fn host_keys(machine: &Machine<'_>) -> Vec<Finding> {
    let is_key = |path: &str| {
        path.rsplit('/').next().is_some_and(|name| name.starts_with("ssh_host_") && name.ends_with("_key"))
            || path.starts_with("etc/dropbear/dropbear_") && path.ends_with("_host_key")
    };
    let mut found = Vec::new();
    let keys: Vec<(&str, &Entry)> =
        machine.files().filter(|(path, ..)| is_key(path)).map(|(path, entry, _)| (path, entry)).collect();
    for (path, entry) in &keys {
        if entry.mode & 0o077 != 0 || entry.owner.uid != 0 {
            found.push(machine.at(
                HOST_KEY_MODE,
                path,
                format!("`{path}` would have the mode {:04o} and belong to {}", entry.mode, owner(entry)),
                "sshd refuses the key, and without any key it does not start",
                "give it the mode 0600 and the owner 0:0 in `[files]`",
            ));
        }
        // A template makes one for each machine.
        if machine.templates.contains(*path) {
            continue;
        }
        found.push(machine.at(
            SHARED_IDENTITY,
            path,
            format!("all machines of the profile share the host key `{path}`"),
            "who gets the key from one machine, or from the network while one boots, can pass for all of them",
            "take it out, unless that is meant",
        ));
    }
    if keys.is_empty() && ["sshd", "dropbear"].iter().any(|name| machine.has_service(name)) {
        let level = machine.services().find(|(_, name, _)| matches!(*name, "sshd" | "dropbear"));
        let path = level.map_or("etc/ssh", |(_, _, path)| path);
        found.push(machine.at(
            NO_HOST_KEYS,
            path,
            "an SSH server starts, and the overlay has no host keys".to_owned(),
            "each boot makes new ones, which takes a while, and clients warn of a changed host",
            "allow OVL-19 if that is fine, or bring keys from elsewhere with a script in etc/local.d",
        ));
    }
    found
}

/// OVL-20: what makes two machines one for other programs.
fn identities(machine: &Machine<'_>) -> Vec<Finding> {
    let is_shared = |path: &&str| {
        let is_empty = machine.bytes(path).is_none_or(|bytes| bytes.trim_ascii().is_empty());
        !is_empty && !machine.templates.contains(*path)
    };
    let shared = IDENTITIES.iter().copied().filter(is_shared);
    shared
        .map(|path| {
            machine.at(
                SHARED_IDENTITY,
                path,
                format!("all machines of the profile share `{path}`"),
                "servers take them for one machine, or what should be random is the same on all",
                "take it out, so that each machine makes its own, or make a template of it",
            )
        })
        .collect()
}

/// OVL-48.
fn leftovers(machine: &Machine<'_>) -> Vec<Finding> {
    let is_leftover = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        matches!(path, "etc/passwd-" | "etc/group-" | "etc/shadow-")
            || [".apk-new", ".apk-old", "~", ".swp", ".swo", ".orig", ".rej", ".bak"]
                .iter()
                .any(|end| name.len() > end.len() && name.ends_with(end))
            || name.len() > 2 && name.starts_with('#') && name.ends_with('#')
    };
    let found = machine.files().filter(|(path, ..)| is_leftover(path));
    found
        .map(|(path, ..)| {
            machine.at(
                LEFTOVER,
                path,
                format!("`{path}` looks like a leftover of an editor or of apk"),
                "it takes memory on every machine, and some programs read every file of a folder",
                "delete it",
            )
        })
        .collect()
}

/// OVL-50: on a host whose file system ignores case, one of them is gone.
fn cases(machine: &Machine<'_>) -> Vec<Finding> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let mut found = Vec::new();
    for (path, _) in machine.tree.iter() {
        let Some(other) = seen.insert(path.to_lowercase(), path) else { continue };
        found.push(machine.at(
            SAME_BUT_CASE,
            path,
            format!("`{path}` and `{other}` differ only in case"),
            "built on a computer that ignores case, the bundle lacks one of them",
            "rename one",
        ));
    }
    found
}
