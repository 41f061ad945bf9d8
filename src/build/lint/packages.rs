//! Repositories, keys and architecture of apk. The bundle's own repository comes from the kernel's command line.

use super::rule::{APK_KEY, ARCH_FILE, OTHER_BRANCH, OTHER_REPOSITORY, REPOSITORY_LINE, REPOSITORY_LINE_END};
use super::{Finding, Machine, listed};
use crate::model::alpine::{Branch, ReleaseSpec};

pub(super) fn look(machine: &Machine<'_>) -> Vec<Finding> {
    let mut found = repositories(machine);
    found.extend(keys(machine));
    found.extend(arch(machine));
    found
}

/// OVL-33 to OVL-35 and REP-1: at boot apk reads the file besides the bundle's repository.
fn repositories(machine: &Machine<'_>) -> Vec<Finding> {
    const FIX: &str = "take the line out; a bundle carries every package of its world";
    let mut found = Vec::new();
    let is_list = |path: &str| {
        path == "etc/apk/repositories" || path.starts_with("etc/apk/repositories.d/") && path.ends_with(".list")
    };
    for (path, _, bytes) in machine.files().filter(|(path, ..)| is_list(path)) {
        let text = String::from_utf8_lossy(bytes);
        // apk looks at the first character of a line only: blanks before a `#` or an address are a part of it.
        let lines = text.split('\n').filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        for line in lines {
            let shown = line.trim_end_matches('\r').escape_debug().to_string();
            let (rule, what, effect) = if line.ends_with('\r') {
                let what = format!("`{shown}` in {path} ends in a carriage return");
                (REPOSITORY_LINE_END, what, "apk asks for an address with that character and finds nothing")
            } else if !is_repository(line) {
                (REPOSITORY_LINE, format!("`{shown}` in {path} is no repository"), "apk complains at every start")
            } else if let Some(arch) = other_arch(line, machine.alpine.arch.as_str()) {
                let what = format!("`{shown}` in {path} ends in the architecture `{arch}`");
                (OTHER_BRANCH, what, "apk adds the machine's own architecture to it and finds nothing")
            } else if let Some(branch) = other_branch(line, &machine.alpine.release) {
                let what = format!("{path} names `{shown}` of {branch}, and the bundle has {}", machine.alpine.release);
                (OTHER_BRANCH, what, "packages of two branches mix, and libraries are missing")
            } else {
                let what = format!("{path} names `{shown}` besides the bundle's repository");
                (OTHER_REPOSITORY, what, "machines install what is there on that day, and wait for it when it is away")
            };
            found.push(machine.at(rule, path, what, effect, FIX));
        }
    }
    found
}

/// An address or a path, perhaps after `@tag`.
fn is_repository(line: &str) -> bool {
    if line.starts_with(char::is_whitespace) {
        return false;
    }
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    let place = if first.starts_with('@') { words.next().unwrap_or_default() } else { first };
    let is_place = place.starts_with('/')
        || ["http://", "https://", "ftp://", "file://"]
            .iter()
            .any(|scheme| place.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    // apk 3 takes components after the address.
    is_place && line.trim_start().len() == line.len()
}

/// The branch in an address, when it is not the release's.
fn other_branch(line: &str, release: &ReleaseSpec) -> Option<String> {
    let own = match release {
        ReleaseSpec::Branch(Branch::Edge) | ReleaseSpec::Edge => "edge".to_owned(),
        ReleaseSpec::Branch(branch) => branch.to_string(),
        ReleaseSpec::Version(version) => format!("v{}", two_numbers(&version.to_string())?),
        // Which branch that is, only a mirror knows.
        ReleaseSpec::LatestStable => return None,
    };
    let is_branch = |part: &&str| {
        *part == "edge"
            || part.strip_prefix('v').and_then(|rest| rest.split_once('.')).is_some_and(|(major, minor)| {
                [major, minor].iter().all(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit()))
            })
    };
    line.split('/').find(is_branch).filter(|branch| *branch != own).map(str::to_owned)
}

/// `3.24` of `3.24.1`; a snapshot has no such numbers.
fn two_numbers(version: &str) -> Option<String> {
    let mut numbers = version.split('.');
    Some(format!("{}.{}", numbers.next()?, numbers.next()?))
}

/// The architecture at the end of an address, where apk puts one itself.
fn other_arch<'a>(line: &'a str, own: &str) -> Option<&'a str> {
    const ARCHES: &str = "aarch64 armhf armv7 loongarch64 ppc64le riscv64 s390x x86 x86_64";
    let last = line.trim_end().trim_end_matches('/').rsplit('/').next()?;
    (listed(ARCHES, last) || last == own).then_some(last)
}

/// Whether what an address offers is signed with a key that is not Alpine's.
fn is_private(line: &str) -> bool {
    let last = line.trim_end().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    is_repository(line) && !matches!(last, "main" | "community" | "testing")
}

/// OVL-36: apk looks a key up by the name in the signature.
fn keys(machine: &Machine<'_>) -> Vec<Finding> {
    const EFFECT: &str = "apk takes what it signed for untrusted and installs nothing of it";
    let mut found = Vec::new();
    const FILE: &str = "etc/apk/repositories";
    let text = machine.text(FILE).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    if let Some(line) =
        lines.filter(|line| is_private(line)).find(|_| machine.files_in("etc/apk/keys").next().is_none())
    {
        let what = format!("{FILE} names `{}`, and etc/apk/keys has no key of it", line.trim().escape_debug());
        found.push(machine.at(APK_KEY, FILE, what, EFFECT, "put its `.rsa.pub` into etc/apk/keys"));
    }
    for (path, _, bytes) in machine.files_in("etc/apk/keys") {
        let name = path.rsplit('/').next().unwrap_or(path);
        let what = if !name.ends_with(".pub") {
            format!("`{path}` has not the name of a key, which ends in `.rsa.pub`")
        } else if !String::from_utf8_lossy(bytes).contains("-----BEGIN PUBLIC KEY-----") {
            format!("`{path}` is no public key in PEM form")
        } else {
            continue;
        };
        found.push(machine.at(APK_KEY, path, what, EFFECT, "put the `.rsa.pub` there that `abuild-keygen` made"));
    }
    found
}

/// OVL-37.
fn arch(machine: &Machine<'_>) -> Option<Finding> {
    const FILE: &str = "etc/apk/arch";
    let text = machine.text(FILE)?;
    let arch = machine.alpine.arch.as_str();
    (text.trim() != arch).then(|| {
        machine.at(
            ARCH_FILE,
            FILE,
            format!("etc/apk/arch says `{}`, and the bundle is for {arch}", text.trim().escape_debug()),
            "init corrects it, but programs that read the overlay are led astray",
            "take the file out",
        )
    })
}
