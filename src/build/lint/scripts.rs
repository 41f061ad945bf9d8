//! Scripts that are passed over in silence, or that the machine cannot run.

use super::rule::{INTERPRETER, NOT_RUN, NOT_STARTED};
use super::{Finding, Machine};

/// Who runs the scripts of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runner {
    /// A service of their own: `etc/init.d`.
    OpenRc,
    /// The service `local`: `etc/local.d`.
    Local,
    /// The service `crond`, by busybox' run-parts: `etc/periodic/*`.
    Cron,
    /// ifupdown, by run-parts: `etc/network/if-*.d`.
    Network,
}

pub(super) fn look(machine: &Machine<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = machine
        .files()
        .filter_map(|(path, entry, _)| Some((path, entry, runner(path)?)))
        .filter_map(|(path, entry, runner)| passed_over(machine, path, entry.mode, runner))
        .collect();
    found.extend(not_started(machine));
    found.extend(machine.files().filter_map(|(path, entry, bytes)| first_line(machine, path, entry.mode, bytes)));
    found
}

fn runner(path: &str) -> Option<Runner> {
    let (folder, _) = path.rsplit_once('/')?;
    match folder {
        "etc/init.d" => Some(Runner::OpenRc),
        "etc/local.d" => Some(Runner::Local),
        _ if folder.strip_prefix("etc/periodic/").is_some_and(|rest| !rest.contains('/')) => Some(Runner::Cron),
        _ if folder.strip_prefix("etc/network/if-").is_some_and(|rest| rest.ends_with(".d")) => Some(Runner::Network),
        _ => None,
    }
}

/// OVL-46: by its mode, or by its name.
fn passed_over(machine: &Machine<'_>, path: &str, mode: u32, runner: Runner) -> Option<Finding> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_shown = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let (what, fix) = match runner {
        Runner::Local if name == "README" => return None,
        Runner::Local if !name.ends_with(".start") && !name.ends_with(".stop") => {
            (format!("`{path}` is no script to the service `local`"), "let its name end in `.start` or `.stop`")
        }
        Runner::Cron | Runner::Network if !name.bytes().all(is_shown) => {
            let what = format!("`{path}` has a name that busybox' run-parts leaves out");
            (what, "use letters, digits, `_` and `-` only: no `.sh`")
        }
        _ if mode & 0o100 == 0 => {
            (format!("`{path}` is not executable"), "`chmod +x` it, or give it the mode 0755 in `[files]`")
        }
        _ => return None,
    };
    Some(machine.at(NOT_RUN, path, what, "it is passed over and never runs", fix))
}

/// RUN-1: scripts whose service is in no runlevel.
fn not_started(machine: &Machine<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (folder, service) in [("etc/local.d/", "local"), ("etc/periodic/", "crond"), ("etc/crontabs/", "crond")] {
        if machine.has_service(service) {
            continue;
        }
        let mut scripts = machine.files().filter(|(path, ..)| path.starts_with(folder) && !path.ends_with("/README"));
        let Some((path, ..)) = scripts.next() else { continue };
        found.push(machine.at(
            NOT_STARTED,
            path,
            format!("`{path}` is run by the service `{service}`, which is in no runlevel"),
            "it never runs",
            format!("add `{service}` to the services of default"),
        ));
    }
    found
}

/// RUN-2: a carriage return after the interpreter's name belongs to the name.
fn first_line(machine: &Machine<'_>, path: &str, mode: u32, bytes: &[u8]) -> Option<Finding> {
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    (mode & 0o111 != 0 && line.ends_with(b"\r")).then(|| {
        machine.at(
            INTERPRETER,
            path,
            format!("the first line of `{path}` ends in a carriage return"),
            "the kernel looks for an interpreter of that name, and the script never runs",
            "save it with Unix line ends",
        )
    })
}
