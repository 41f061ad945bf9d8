//! What other programs that boot from the network are told, so that whoever started one of them here ends in iPXE or learns
//! how: iPXE itself before it knows its script, GRUB and PXELINUX.
//!
//! Names and texts only. Where other servers keep files, here is nothing but what a name means.

use crate::model::firmware::Firmware;
use crate::model::mac::Mac;
use crate::model::script;

/// What a name asks for that is none of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The script that iPXE 2.0 on UEFI looks for beside itself before anything else.
    Autoexec,
    /// The configuration of GRUB, of one machine or of all.
    Grub(Option<Mac>),
    /// The configuration of PXELINUX, of one machine or of all.
    Pxelinux(Option<Mac>),
    /// The first program of another bootloader for this firmware, which a DHCP server was told to name.
    Loader(Firmware),
}

impl Asked {
    /// Reads a name as it comes over the network: a path with slashes, in any case.
    ///
    /// The names GRUB and PXELINUX try in turn, `grub.cfg-01-MAC`, `grub.cfg-C0A8`, `pxelinux.cfg/01-MAC`,
    /// `pxelinux.cfg/default` and so on, all mean the same here, so the first is answered.
    #[must_use]
    pub fn of_name(path: &str) -> Option<Self> {
        let path = path.to_ascii_lowercase();
        let mut parts = path.rsplit('/');
        let (name, folder) = (parts.next()?, parts.next());
        if name == "autoexec.ipxe" {
            return Some(Self::Autoexec);
        }
        if name == "grub.cfg" {
            return Some(Self::Grub(None));
        }
        if let Some(of_machine) = name.strip_prefix("grub.cfg-") {
            return Some(Self::Grub(mac(of_machine)));
        }
        if folder == Some("pxelinux.cfg") && !name.is_empty() {
            return Some(Self::Pxelinux(mac(name)));
        }
        foreign(name, folder).map(Self::Loader)
    }
}

/// The address in a name such as `01-52-54-00-12-34-56`; 01 says that the network is an Ethernet.
fn mac(name: &str) -> Option<Mac> {
    name.strip_prefix("01-")?.parse().ok().filter(Mac::is_unicast)
}

/// What other bootloaders call their first program. Not shim's: who names that one wants Secure Boot, and a program that
/// is not signed for it helps nobody.
fn foreign(name: &str, folder: Option<&str>) -> Option<Firmware> {
    Some(match (name, folder) {
        ("pxelinux.0" | "lpxelinux.0" | "gpxelinux.0" | "pxelinux.bin" | "undionly.0" | "ipxe.0", _)
        | ("core.0", Some("i386-pc")) => Firmware::BiosX86,
        ("bootx64.efi" | "grubx64.efi" | "grubnetx64.efi" | "grubnetx64.efi.signed", _)
        | ("core.efi", Some("x86_64-efi"))
        | ("syslinux.efi", _) => Firmware::EfiX64,
        ("bootia32.efi" | "grubia32.efi" | "grubnetia32.efi" | "grubnetia32.efi.signed", _)
        | ("core.efi", Some("i386-efi")) => Firmware::EfiIa32,
        ("bootaa64.efi" | "grubaa64.efi" | "grubnetaa64.efi" | "grubnetaa64.efi.signed", _)
        | ("core.efi", Some("arm64-efi")) => Firmware::EfiArm64,
        ("bootarm.efi" | "grubarm.efi", _) | ("core.efi", Some("arm-efi")) => Firmware::EfiArm32,
        ("bootriscv64.efi" | "grubriscv64.efi", _) | ("core.efi", Some("riscv64-efi")) => Firmware::EfiRiscv64,
        _ => return None,
    })
}

/// `autoexec.ipxe`: what every iPXE is sent to, after its network is up.
///
/// iPXE takes this file through the firmware, before it has a network of its own (netboot.md, E4). Which machine it is
/// says the next request, as always.
#[must_use]
pub fn autoexec(base: &str) -> String {
    let entry = script::entry(base);
    let entry = entry.strip_prefix("#!ipxe\n").unwrap_or(&entry);
    format!(
        "#!ipxe\n\
         :network\n\
         isset ${{netX/ip}} || dhcp && goto connected ||\n\
         isset ${{netX/ip}} && goto connected ||\n\
         echo Bivouac: no network; trying again\n\
         sleep 5\n\
         goto network\n\
         :connected\n\
         {entry}"
    )
}

/// `grub.cfg`: starts iPXE where GRUB can, which is on UEFI, and says what to do where it cannot.
///
/// `server` is the address GRUB asked, as it stands in `(tftp,ADDRESS)`; `loaders` are the names of the iPXE loaders there
/// are, by firmware.
#[must_use]
pub fn grub(server: &str, loaders: &[(Firmware, &str)]) -> String {
    let mut text = String::from(
        "# Bivouac boots machines with iPXE. Where GRUB can start it, it does.\n\
         echo \"Bivouac boots machines with iPXE, not with GRUB.\"\n\
         unset loader\n",
    );
    for (firmware, name) in loaders {
        let Some(cpu) = grub_cpu(*firmware) else { continue };
        text.push_str(&format!(
            "if [ \"$grub_platform\" = efi -a \"$grub_cpu\" = {cpu} ]; then set loader=\"{name}\"; fi\n"
        ));
    }
    text.push_str(&format!(
        "if [ -n \"$loader\" ]; then\n\
         \x20 echo \"Starting $loader of {server} ...\"\n\
         \x20 if chainloader \"(tftp,{server})/$loader\"; then boot; fi\n\
         \x20 echo \"It does not start. With Secure Boot, only signed programs do: switch it off.\"\n\
         else\n\
         \x20 echo \"GRUB cannot start iPXE on this firmware, or there is no loader for it.\"\n\
         fi\n"
    ));
    for line in advice(loaders) {
        text.push_str(&format!("echo \"{line}\"\n"));
    }
    text.push_str("sleep 60\nexit\n");
    text
}

/// GRUB's word for the processor of a kind of UEFI.
fn grub_cpu(firmware: Firmware) -> Option<&'static str> {
    Some(match firmware {
        Firmware::EfiX64 => "x86_64",
        Firmware::EfiIa32 => "i386",
        Firmware::EfiArm32 => "arm",
        Firmware::EfiArm64 => "arm64",
        Firmware::EfiRiscv32 => "riscv32",
        Firmware::EfiRiscv64 => "riscv64",
        Firmware::EfiLoong64 => "loongarch64",
        _ => return None,
    })
}

/// The configuration of PXELINUX: starts iPXE from `server`, which need not be where PXELINUX itself came from, and
/// says how to do without PXELINUX.
#[must_use]
pub fn pxelinux(server: &str, loaders: &[(Firmware, &str)]) -> String {
    let mut text = String::from("# Bivouac boots machines with iPXE. Where PXELINUX can start it, it does.\n");
    let bios = loaders.iter().find(|(firmware, _)| *firmware == Firmware::BiosX86);
    let said = advice(loaders).map(|line| format!("SAY {line}\n"));
    text.push_str("SAY Bivouac boots machines with iPXE, not with PXELINUX.\n");
    text.extend(said);
    match bios {
        Some((_, name)) => text.push_str(&format!(
            "DEFAULT ipxe\n\
             PROMPT 0\n\
             LABEL ipxe\n\
             \x20 SAY Starting {name} ...\n\
             \x20 PXE {server}::{name}\n"
        )),
        None => text.push_str(
            "DEFAULT local\n\
             PROMPT 1\n\
             TIMEOUT 600\n\
             LABEL local\n\
             \x20 SAY There is no iPXE loader for BIOS on this server, so the next boot device is tried.\n\
             \x20 LOCALBOOT -1\n",
        ),
    }
    text
}

/// What to change so that nothing else comes before iPXE.
fn advice(loaders: &[(Firmware, &str)]) -> impl Iterator<Item = String> {
    let boot_file = |firmware, kind| {
        let found = loaders.iter().find(|(own, _)| *own == firmware);
        found.map(|(_, name)| format!("For {kind} machines, the boot file of your DHCP server should be {name}."))
    };
    [boot_file(Firmware::EfiX64, "UEFI"), boot_file(Firmware::BiosX86, "BIOS")].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOADERS: [(Firmware, &str); 3] =
        [(Firmware::BiosX86, "undionly.kpxe"), (Firmware::EfiX64, "ipxe.efi"), (Firmware::EfiArm64, "arm64-ipxe.efi")];

    #[test]
    fn names_mean_what_their_programs_mean_by_them() {
        let machine = Some("52:54:00:12:34:56".parse().unwrap());
        for (path, expected) in [
            ("autoexec.ipxe", Asked::Autoexec),
            ("EFI/BOOT/AUTOEXEC.IPXE", Asked::Autoexec),
            ("grub.cfg", Asked::Grub(None)),
            ("grub/grub.cfg-01-52-54-00-12-34-56", Asked::Grub(machine)),
            ("boot/grub/grub.cfg-C0A80105", Asked::Grub(None)),
            ("EFI/debian/grub.cfg-C0A8", Asked::Grub(None)),
            ("pxelinux.cfg/01-52-54-00-12-34-56", Asked::Pxelinux(machine)),
            ("bios/pxelinux.cfg/b8945908-d6a6-41a9-611d-74a6ab80b83d", Asked::Pxelinux(None)),
            ("pxelinux.cfg/default", Asked::Pxelinux(None)),
            ("pxelinux.0", Asked::Loader(Firmware::BiosX86)),
            ("boot/grub/i386-pc/core.0", Asked::Loader(Firmware::BiosX86)),
            ("EFI/BOOT/BOOTX64.EFI", Asked::Loader(Firmware::EfiX64)),
            ("grubnetx64.efi.signed", Asked::Loader(Firmware::EfiX64)),
            ("grub/arm64-efi/core.efi", Asked::Loader(Firmware::EfiArm64)),
        ] {
            assert_eq!(Asked::of_name(path), Some(expected), "{path}");
        }
    }

    #[test]
    fn other_names_mean_nothing() {
        for path in [
            "",
            "/",
            "ipxe.efi",
            "pxelinux.cfg",
            "pxelinux.cfg/",
            "grub.cfgx",
            "grub/x86_64-efi/command.lst",
            "core.efi",
            "shimx64.efi",
            "autoexec.ipxe/x",
        ] {
            assert_eq!(Asked::of_name(path), None, "{path}");
        }
        assert_eq!(
            Asked::of_name("grub.cfg-01-ff-ff-ff-ff-ff-ff"),
            Some(Asked::Grub(None)),
            "no card has this address"
        );
    }

    #[test]
    fn ipxe_gets_a_network_before_it_asks_for_its_script() {
        let script = autoexec("http://10.0.0.1");
        assert!(script.starts_with("#!ipxe\n:network\n"), "{script}");
        assert_eq!(script.matches("#!ipxe").count(), 1);
        let (network, entry) = script.split_once(":connected\n").unwrap();
        assert!(network.contains("dhcp"), "{script}");
        assert_eq!(format!("#!ipxe\n{entry}"), script::entry("http://10.0.0.1"));
    }

    #[test]
    fn grub_starts_the_loader_of_its_processor_and_says_what_would_be_better() {
        let text = grub("10.0.0.1", &LOADERS);
        assert!(text.contains("\"$grub_cpu\" = x86_64 ]; then set loader=\"ipxe.efi\"; fi\n"), "{text}");
        assert!(text.contains("\"$grub_cpu\" = arm64 ]; then set loader=\"arm64-ipxe.efi\"; fi\n"), "{text}");
        assert!(!text.contains("set loader=\"undionly.kpxe\""), "{text}");
        assert!(text.contains("chainloader \"(tftp,10.0.0.1)/$loader\""), "{text}");
        assert!(text.contains("For UEFI machines, the boot file of your DHCP server should be ipxe.efi."), "{text}");
        assert!(!grub("10.0.0.1", &[]).contains("set loader="));
    }

    #[test]
    fn pxelinux_starts_the_bios_loader_or_the_disk() {
        let text = pxelinux("10.0.0.1", &LOADERS);
        assert!(text.contains("DEFAULT ipxe\n") && text.contains("PXE 10.0.0.1::undionly.kpxe\n"), "{text}");
        assert!(text.contains("SAY For BIOS machines, the boot file"), "{text}");
        let none = pxelinux("10.0.0.1", &LOADERS[1..]);
        assert!(none.contains("LOCALBOOT -1\n") && !none.contains("  PXE "), "{none}");
    }

    proptest! {
        #[test]
        fn reading_a_name_never_panics(path in "\\PC{0,80}") {
            let _ = Asked::of_name(&path);
        }

        #[test]
        fn reading_what_begins_like_a_name_never_panics(
            prefix in prop::sample::select(vec!["grub.cfg-", "grub.cfg-01-", "pxelinux.cfg/", "pxelinux.cfg/01-"]),
            rest in "\\PC{0,30}",
        ) {
            let _ = Asked::of_name(&format!("{prefix}{rest}"));
        }
    }
}
