//! What does not fit the files of a bundle's packages. Only a build has those.

use super::rule::{FOLDER, INTERPRETER, KEYMAP, KIND, SERVICE_WITHOUT_PACKAGE, SHELL, TIME_ZONE};
use super::{Finding, Machine, listed};
use crate::apk::MemberKind;
use crate::build::contents::{Contents, Installed};
use crate::build::trail::Topic;
use crate::model::name::nearest;
use crate::wire::apkovl::{Entry, Node};

/// Where service scripts are.
const SCRIPTS: &str = "etc/init.d/";

/// The link to the machine's time zone, and the settings of the service that loads its keymap.
const LOCALTIME: &str = "etc/localtime";
/// See [`LOCALTIME`].
const LOADKMAP: &str = "etc/conf.d/loadkmap";

/// Where `tzdata` has its zones, and `kbd-bkeymaps` its keymaps.
const ZONES: &str = "usr/share/zoneinfo/";
/// See [`ZONES`].
const KEYMAPS: &str = "usr/share/bkeymaps/";

/// Programs that are there whatever packages there are: busybox makes links to itself, and OpenRC comes with the base.
const ALWAYS: &str = "\
    /bin/ash /bin/busybox /bin/sh /sbin/openrc-run /sbin/runscript /sbin/udhcpc /usr/bin/awk /usr/bin/env /bin/sed";

/// Everything that is wrong with a machine that has these packages.
pub(in crate::build) fn look(machine: &Machine<'_>, contents: &Contents) -> Vec<Finding> {
    let mut found = services(machine, contents);
    for (path, entry) in machine.tree.iter() {
        if let Some(installed) = contents.get(path) {
            found.extend(kind(machine, path, entry, installed));
            found.extend(folder(machine, path, entry, installed));
        }
        found.extend(interpreter(machine, contents, path, entry));
    }
    found.extend(time_zone(machine, contents));
    found.extend(keymap(machine, contents));
    found.extend(login_shells(machine, contents));
    found
}

/// The zone of `tzdata` that etc/localtime leads to.
pub(super) fn zone_of<'a>(machine: &Machine<'a>) -> Option<&'a str> {
    let Node::Symlink(target) = &machine.tree.get(LOCALTIME)?.node else { return None };
    target.trim_start_matches('/').strip_prefix(ZONES)
}

/// The file of `kbd-bkeymaps` that the service `loadkmap` loads.
fn keymap_file(machine: &Machine<'_>) -> Option<String> {
    let text = machine.text(LOADKMAP)?;
    let value = text.lines().find_map(|line| line.trim().strip_prefix("KEYMAP="))?;
    let path = value.trim_matches(['"', '\'']).trim_start_matches('/');
    path.strip_prefix(KEYMAPS).map(str::to_owned)
}

/// A file of `kbd-bkeymaps` as a profile says it: `de de-nodeadkeys` is de/de-nodeadkeys.bmap.gz.
fn said(map: &str) -> String {
    map.trim_end_matches(".gz").trim_end_matches(".bmap").replace('/', " ")
}

/// The keymap of the console, as a profile says it.
pub(super) fn keymap_of(machine: &Machine<'_>) -> Option<String> {
    keymap_file(machine).map(|map| said(&map))
}

/// Accounts that Alpine does not have itself, or not like that, with a login shell that not every machine has.
pub(super) fn shells(machine: &Machine<'_>) -> Vec<(String, String)> {
    const EVERYWHERE: &str = "/bin/ash /bin/sh /bin/false /bin/true /sbin/nologin /bin/sync /sbin/halt /sbin/shutdown";
    let text = machine.text("etc/passwd").unwrap_or_default();
    let own = text.lines().filter(|line| !machine.base.passwd.lines().any(|known| known == *line));
    let shell = |line: &str| {
        let mut fields = line.split(':');
        let (name, shell) = (fields.next()?, fields.nth(5)?);
        (!shell.is_empty() && !listed(EVERYWHERE, shell)).then(|| (name.to_owned(), shell.to_owned()))
    };
    own.filter_map(shell).collect()
}

/// SET-4: busybox' login starts the shell, or nothing.
fn login_shells(machine: &Machine<'_>, contents: &Contents) -> Vec<Finding> {
    let is_there = |shell: &str| {
        let path = shell.trim_start_matches('/');
        [path.to_owned(), format!("usr/{path}")]
            .iter()
            .any(|it| machine.tree.get(it).is_some() || contents.get(it).is_some())
    };
    let missing = shells(machine).into_iter().filter(|(_, shell)| !is_there(shell));
    missing
        .map(|(user, shell)| {
            let what = format!("`{user}` has the login shell `{shell}`, which neither overlay nor packages bring");
            let effect = "the user is thrown out right after the password";
            let fix = "add the package that has it, or write \"/bin/ash\"";
            let by = machine.trail.owner(Topic::Account, &format!("{user}.shell")).map(str::to_owned);
            let finding = Finding::new(SHELL, what, effect, fix).at("etc/passwd").in_key(&["users", &user, "shell"]);
            Finding { by: by.or_else(|| machine.author("etc/passwd")), ..finding }
        })
        .collect()
}

/// OVL-26: a link to a script that neither the overlay nor a package brings.
fn services(machine: &Machine<'_>, contents: &Contents) -> Vec<Finding> {
    let is_there = |name: &str| {
        let script = format!("{SCRIPTS}{name}");
        machine.tree.get(&script).is_some() || contents.get(&script).is_some()
    };
    let missing = machine.services().filter(|(_, name, _)| !is_there(name));
    missing
        .map(|(level, name, path)| {
            let fix = match nearest(name, contents.below(SCRIPTS)) {
                Some(near) => format!("did you mean `{near}`? Otherwise add the package that has it, or take it out"),
                None => "add the package that has it, often called NAME-openrc, or take it out".to_owned(),
            };
            let what = format!("`{name}` starts in runlevel {level}, and neither overlay nor packages bring it");
            machine.at(SERVICE_WITHOUT_PACKAGE, path, what, "the link leads nowhere, and the service never starts", fix)
        })
        .collect()
}

/// OVL-45: apk cannot put a folder where something else is, nor something else where a folder is.
fn kind(machine: &Machine<'_>, path: &str, entry: &Entry, installed: &Installed) -> Option<Finding> {
    let is_folder = installed.member.kind == MemberKind::Folder;
    if entry.is_directory() == is_folder {
        return None;
    }
    let ours = match entry.node {
        Node::Directory => "a folder",
        Node::Symlink(_) => "a link",
        _ => "a file",
    };
    let theirs = match installed.member.kind {
        MemberKind::Folder => "a folder",
        MemberKind::Link => "a link",
        MemberKind::File => "a file",
    };
    let what = format!("`{path}` is {ours}, and {theirs} in the package `{}`", installed.package);
    let effect = "apk cannot install that package";
    let fix =
        if theirs == "a link" { "put its files where the link leads" } else { "take it out of root/, or rename it" };
    Some(machine.at(KIND, path, what, effect, fix))
}

/// OVL-13: the overlay's folder stays as it is. One that is more open than the package's does no harm.
fn folder(machine: &Machine<'_>, path: &str, entry: &Entry, installed: &Installed) -> Option<Finding> {
    let member = &installed.member;
    if !entry.is_directory() || member.kind != MemberKind::Folder {
        return None;
    }
    let is_said = |topic| machine.trail.owner(topic, path).is_some();
    let is_of_root = |name: &str| matches!(name, "" | "root");
    let lacks = member.mode & !entry.mode;
    let is_other = !is_of_root(&member.user) && entry.owner.uid == 0 && !is_said(Topic::Owner);
    let is_narrow = lacks != 0 && !is_said(Topic::Mode);
    (is_other || is_narrow).then(|| {
        let (user, group) = (&member.user, &member.group);
        let what = format!(
            "`{path}` would have the mode {:04o} and belong to root; in the package `{}` it has {:04o} and belongs to \
             {user}:{group}",
            entry.mode, installed.package, member.mode
        );
        let fix = if is_other {
            format!("write its mode, and the ids of {user}:{group} as its owner, into `[files]`")
        } else {
            format!("write `\"{path}\" = {{ mode = \"{:04o}\" }}` into `[files]`", member.mode)
        };
        machine.at(FOLDER, path, what, "the package's programs cannot use the folder", fix)
    })
}

/// RUN-2: the program that the first line of a script names.
fn interpreter(machine: &Machine<'_>, contents: &Contents, path: &str, entry: &Entry) -> Option<Finding> {
    let Node::File(bytes) = &entry.node else { return None };
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim();
    let mut words = line.split_whitespace();
    let program = words.next()?;
    let wanted = if program == "/usr/bin/env" { words.find(|word| !word.starts_with('-'))? } else { program };
    let is_there = |path: &str| machine.tree.get(path).is_some() || contents.get(path).is_some();
    let is_found = if wanted.starts_with('/') {
        // With a merged /usr, /bin is a link to it.
        let path = wanted.trim_start_matches('/');
        listed(ALWAYS, wanted) || is_there(path) || is_there(&format!("usr/{path}"))
    } else {
        let folders = ["bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin"];
        matches!(wanted, "sh" | "ash" | "awk" | "sed")
            || folders.iter().any(|folder| is_there(&format!("{folder}/{wanted}")))
    };
    (entry.mode & 0o111 != 0 && !is_found && wanted.is_ascii() && !line.ends_with('\r')).then(|| {
        let name = wanted.rsplit('/').next().unwrap_or(wanted);
        machine.at(
            INTERPRETER,
            path,
            format!("`{path}` is a script for `{wanted}`, which neither overlay nor packages bring"),
            "the machine cannot run it",
            format!("add the package that has it, likely `{name}`, or write the script for /bin/sh"),
        )
    })
}

/// SET-1: what the link etc/localtime leads to.
fn time_zone(machine: &Machine<'_>, contents: &Contents) -> Option<Finding> {
    let zone = zone_of(machine)?;
    let path = format!("{ZONES}{zone}");
    // An archive of lbu may bring the link without `tzdata`; `timezone` in a profile always has both.
    let has_zones = contents.below(ZONES).next().is_some();
    if !has_zones || machine.tree.get(&path).is_some() || contents.get(&path).is_some_and(is_file) {
        return None;
    }
    let fix = match nearest(zone, contents.below(ZONES)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write a zone of tzdata, such as \"Europe/Berlin\", and have `tzdata` in `packages`".to_owned(),
    };
    let what = format!("there is no time zone `{zone}`");
    Some(machine.at(TIME_ZONE, LOCALTIME, what, "the machine's clock shows UTC", fix))
}

/// SET-2: what the service `loadkmap` loads.
fn keymap(machine: &Machine<'_>, contents: &Contents) -> Option<Finding> {
    let map = keymap_file(machine)?;
    let path = format!("{KEYMAPS}{map}");
    if machine.tree.get(&path).is_some() || contents.get(&path).is_some_and(is_file) {
        return None;
    }
    let known: Vec<String> = contents.below(KEYMAPS).filter(|name| name.contains(".bmap")).map(said).collect();
    let wanted = said(&map);
    let variants = || {
        let layout = format!("{} ", wanted.split(' ').next().unwrap_or_default());
        let of_layout: Vec<&str> = known.iter().filter(|it| it.starts_with(&layout)).map(String::as_str).collect();
        (!of_layout.is_empty()).then(|| format!("write one of `{}`", of_layout.join("`, `")))
    };
    let near = nearest(&wanted, known.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
    let fix = near.or_else(variants);
    let fix = fix.unwrap_or_else(|| "write a keymap of kbd-bkeymaps, such as \"de de-nodeadkeys\"".to_owned());
    let what = format!("there is no keymap `{wanted}`");
    Some(machine.at(KEYMAP, LOADKMAP, what, "the console's keyboard stays American", fix))
}

fn is_file(installed: &Installed) -> bool {
    installed.member.kind != MemberKind::Folder
}
