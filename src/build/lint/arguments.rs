//! Kernel arguments that Alpine's init does not know, or that do more than their name says (alpine.md 1.2).

use super::rule::{MISTYPED_ARGUMENT, NO_SUCH_ARGUMENT, RISKY_ARGUMENT, Rule, SYSTEM_MODE_ARGUMENT};
use super::{Finding, Machine, listed};
use crate::build::trail::Topic;

/// What init and its services read on a diskless boot, besides what Bivouac writes itself.
const KNOWN: &str = "\
    alpine_repo apkovl autodetect_serial blacklist bootstrap_usr_merged chart console dasd debug_init init_args \
    keep_apk_new memdisk modloop modloop_verify modules noautodetect panic pkgs quiet root_size rootflags \
    s390x_net single splash ssh_key ssh_net ssh_pass tinycloud uevent_buf_size usbdelay wireguard zfcp bivouac \
    bivouac_bundle";

/// Arguments of the kernel itself that are near one of those.
const OF_KERNEL: &str = "\
    consoleblank debug hugepages init initcall_debug initrd mem memmap memtest modprobe module nomodule \
    nomodules nosplash panic_on_oops panic_on_warn panic_print pci pcie_aspm pcie_ports pnp quirks rootdelay \
    rootwait slab swiotlb usbcore vga video";

/// What init reads only on the way to a root on a disk.
const SYSTEM_MODE: &str = "\
    cryptdiscards cryptdm cryptheader cryptkey cryptoffset cryptroot overlaytmpfs overlaytmpfsflags resume \
    resume_offset rootfstype usrflags";

/// What old instructions name and init does not know (any more).
const GONE: &str = "\
    alpine_dev alpine_start autodetect autoraid dma dns nameserver ovl_dev verify zfs_force";

pub(super) fn look(machine: &Machine<'_>) -> Vec<Finding> {
    machine.arguments.iter().filter_map(|argument| judge(machine, argument)).collect()
}

fn judge(machine: &Machine<'_>, argument: &str) -> Option<Finding> {
    let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
    let remove = || format!("take `{argument}` out of the kernel arguments");
    let say = |rule: Rule, what: String, effect: &str, fix: String| {
        Some(Finding {
            rule,
            path: None,
            by: machine.trail.owner(Topic::Argument, argument).map(str::to_owned),
            what,
            effect: effect.to_owned(),
            fix,
            allowed: None,
        })
    };
    if listed(SYSTEM_MODE, name) {
        let what = format!("the kernel argument `{argument}` is for machines with a root on a disk");
        return say(SYSTEM_MODE_ARGUMENT, what, "a diskless boot ignores it", remove());
    }
    if listed(GONE, name) {
        let what = format!("Alpine's init has no kernel argument `{name}`");
        return say(NO_SUCH_ARGUMENT, what, "it is ignored", remove());
    }
    let risk = match (name, value) {
        ("nomodeset", _) => Some("graphics fall back to a plain frame buffer"),
        ("modloop_verify", "no") => Some("the modules are mounted without a look at their signature"),
        ("pkgs", _) => Some("init asks for packages that the bundle may not have, and leaves those out in silence"),
        _ => None,
    };
    if let Some(effect) = risk {
        let fix = if name == "pkgs" { "write the packages into `packages`".to_owned() } else { remove() };
        return say(RISKY_ARGUMENT, format!("the kernel argument `{argument}` is set"), effect, fix);
    }
    let near = mistyped(name)?;
    let what = format!("nothing knows the kernel argument `{name}`; did you mean `{near}`?");
    let fix = format!("write `{near}`, or allow ARG-3 if the kernel or a program of yours reads `{name}`");
    say(MISTYPED_ARGUMENT, what, "it is ignored", fix)
}

/// The name that was meant; nothing for one that is known, or far from all that are.
fn mistyped(name: &str) -> Option<&'static str> {
    let bare = name.strip_prefix("no").unwrap_or(name);
    let is_known = |name: &str| listed(KNOWN, name) || listed(OF_KERNEL, name);
    // A parameter of a module has a dot; a short name is near to too many.
    if is_known(name) || is_known(bare) || name.contains('.') || name.len() < 4 {
        return None;
    }
    let same = name.to_ascii_lowercase().replace('-', "_");
    let near = KNOWN.split_whitespace().map(|known| (strsim::damerau_levenshtein(&same, known), known)).min()?;
    let limit = if name.len().min(near.1.len()) < 6 { 1 } else { 2 };
    (near.0 <= limit).then_some(near.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_leads_to_the_nearest_and_one_that_is_known_to_nothing() {
        for (name, meant) in [
            ("modlues", "modules"),
            ("Modloop", "modloop"),
            ("alpine-repo", "alpine_repo"),
            ("consol", "console"),
            ("quite", "quiet"),
            ("usb_delay", "usbdelay"),
        ] {
            assert_eq!(mistyped(name), Some(meant), "{name}");
        }
        let kernel = "loglevel mitigations net.ifnames i915.modeset acpi ro rw vga video pci mem hugepages rootwait \
                      intel_iommu iommu isolcpus nosmp noapic nolapic fbcon earlyprintk tsc clocksource nosplash \
                      audit selinux apparmor cgroup_enable zswap.enabled usbcore.autosuspend random.trust_cpu kiosk";
        for name in kernel.split_whitespace().chain(KNOWN.split_whitespace()) {
            assert_eq!(mistyped(name), None, "{name}");
        }
    }
}
