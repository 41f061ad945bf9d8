//! Kernel arguments that nothing knows, or that do more or less than their name says (alpine.md 1.2). Those that a boot
//! cannot have at all are refused before (ARG-5).

use super::rule::{NO_SUCH_ARGUMENT, RISKY_ARGUMENT, Rule, SYSTEM_MODE_ARGUMENT, UNKNOWN_ARGUMENT};
use super::{Finding, Machine, listed};
use crate::build::trail::Topic;
use crate::model::name::nearest;

/// What init and its services read on a diskless boot, besides what Bivouac writes itself.
const OF_INIT: &str = "\
    alpine_repo apkovl autodetect_serial blacklist bootstrap_usr_merged chart console dasd debug_init init_args \
    keep_apk_new memdisk modloop modloop_verify modules nbd noautodetect panic pkgs quiet root_size rootflags \
    s390x_net splash uevent_buf_size usbdelay wireguard zfcp";

/// The kernel's own parameters that have no module's name before a dot: the names in its documentation
/// (admin-guide/kernel-parameters, 6.1), and a few that are missing there.
const OF_KERNEL: &str = include_str!("kernel-parameters");

/// What init reads only on the way to a root on a disk.
const SYSTEM_MODE: &str = "\
    cryptdiscards cryptdm cryptheader cryptkey cryptoffset cryptroot overlaytmpfs overlaytmpfsflags resume \
    resume_offset rootfstype usrflags";

/// What old instructions name and init does not know (any more).
const GONE: &str = "\
    alpine_dev alpine_start autodetect autoraid dma dns nameserver ovl_dev verify zfs_force";

/// What init and its service `firstboot` read only where there is no overlay, or one that asks for Alpine's own services.
const WITHOUT_OVERLAY: &str = "ds ssh_key ssh_net ssh_pass tinycloud";

/// With this file, init starts Alpine's own list of services, `firstboot` among them.
const MARKER: &str = "etc/.default_boot_services";

pub(super) fn look(machine: &Machine<'_>) -> Vec<Finding> {
    machine.arguments.iter().filter_map(|argument| judge(machine, argument)).collect()
}

fn judge(machine: &Machine<'_>, argument: &str) -> Option<Finding> {
    let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
    let remove = || format!("take `{argument}` out of the kernel arguments");
    let say = |rule: Rule, what: String, effect: &str, fix: String| {
        let by = machine.trail.owner(Topic::Argument, argument).map(str::to_owned);
        Some(Finding { by, ..Finding::new(rule, what, effect, fix).in_key(&["kernel", "args", argument]) })
    };
    if listed(SYSTEM_MODE, name) {
        let what = format!("the kernel argument `{argument}` is for machines with a root on a disk");
        return say(SYSTEM_MODE_ARGUMENT, what, "a diskless boot ignores it", remove());
    }
    if listed(GONE, name) {
        let what = format!("Alpine's init has no kernel argument `{name}`");
        return say(NO_SUCH_ARGUMENT, what, "it is ignored", remove());
    }
    if listed(WITHOUT_OVERLAY, name) && machine.bytes(MARKER).is_none() {
        let what = format!("the kernel argument `{name}` is for machines without an overlay");
        let fix = format!("take `{argument}` out, and say it in the profile, such as with `ssh-keys`");
        return say(NO_SUCH_ARGUMENT, what, "nothing reads it", fix);
    }
    let risk = match (name, value) {
        ("nomodeset", _) => Some("graphics fall back to a plain frame buffer"),
        ("nopanic", _) | ("panic", "0") => Some("a machine whose boot fails stays as it is, and never tries again"),
        ("keep_apk_new", _) => Some("packages overwrite files of the overlay outside etc/"),
        ("modloop_verify", "no") | ("nomodloop_verify", _) => {
            Some("the modules are mounted without a look at their signature")
        }
        ("pkgs", _) => Some("init asks for packages that the bundle may not have, and leaves those out in silence"),
        _ => None,
    };
    if let Some(effect) = risk {
        let fix = if name == "pkgs" { "write the packages into `packages`".to_owned() } else { remove() };
        return say(RISKY_ARGUMENT, format!("the kernel argument `{argument}` is set"), effect, fix);
    }
    if is_known(name) || is_read(machine, name) {
        return None;
    }
    let what = format!("neither Alpine's init nor the kernel knows the argument `{name}`");
    let allow = "allow ARG-3 if a program of yours reads it";
    let fix = match near(name) {
        Some(near) => format!("did you mean `{near}`? Otherwise take it out, or {allow}"),
        None => format!("take it out, or {allow}"),
    };
    say(UNKNOWN_ARGUMENT, what, "it is ignored", fix)
}

/// Whether init or the kernel may read it: a parameter of a module has a dot, and the kernel takes `-` for `_`.
fn is_known(name: &str) -> bool {
    let bare = name.strip_prefix("no").unwrap_or(name);
    let is_of_init = listed(OF_INIT, name) || listed(OF_INIT, bare);
    name.contains('.') || is_of_init || listed(OF_KERNEL, &name.replace('-', "_"))
}

/// Whether a file of the overlay looks for it in /proc/cmdline.
fn is_read(machine: &Machine<'_>, name: &str) -> bool {
    const LOOKS: &[u8] = b"cmdline";
    let looks = |bytes: &[u8]| bytes.windows(LOOKS.len()).any(|window| window == LOOKS);
    let is_inner = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.');
    machine
        .files()
        .filter(|(_, _, bytes)| looks(bytes))
        .any(|(_, _, bytes)| String::from_utf8_lossy(bytes).split(|char| !is_inner(char)).any(|word| word == name))
}

/// The name that was meant. A short one is near to too many.
fn near(name: &str) -> Option<&'static str> {
    let same = name.to_ascii_lowercase().replace('-', "_");
    let known = || OF_INIT.split_whitespace().chain(OF_KERNEL.split_whitespace());
    // Two letters in the wrong order are one mistake.
    let swapped = || known().find(|known| strsim::damerau_levenshtein(&same, known) == 1);
    (name.len() >= 4).then(|| swapped().or_else(|| nearest(&same, known())))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_leads_to_the_nearest() {
        for (name, meant) in [
            ("modlues", Some("modules")),
            ("Modloop", Some("modloop")),
            ("alpine-repo", Some("alpine_repo")),
            ("consol", Some("console")),
            ("quite", Some("quiet")),
            ("usb_delay", Some("usbdelay")),
            ("mitigation", Some("mitigations")),
            ("consoleblnk", Some("consoleblank")),
            ("ab", None),
            ("frobnicate", None),
        ] {
            assert!(!is_known(name), "{name}");
            assert_eq!(near(name), meant, "{name}");
        }
    }

    #[test]
    fn what_init_the_kernel_and_its_modules_read_is_known() {
        let others = "loglevel mitigations net.ifnames i915.modeset acpi ro rw vga video pci mem hugepages rootwait \
                      intel_iommu iommu isolcpus nosmp noapic nolapic fbcon.nodefer earlyprintk tsc clocksource nosplash \
                      audit selinux apparmor cgroup_enable zswap.enabled usbcore.autosuspend random.trust_cpu noquiet \
                      panic consoleblank console quiet transparent-hugepage pcie_aspm nomodeset";
        for name in others.split_whitespace().chain(OF_INIT.split_whitespace()).chain(OF_KERNEL.split_whitespace()) {
            assert!(is_known(name), "{name}");
        }
    }
}
