//! Scripts that send a machine to something that is no bundle.

use super::{PAUSE, Word, shown};
use crate::model::menu::{DiskBoot, Entry, Starts};

/// Boots from the local disk. Without a rule, BIOS machines start their first disk, and UEFI machines end iPXE with a
/// failure, after which the boot manager takes the next entry (UEFI specification, section 3.1.1).
#[must_use]
pub fn local_disk(how: Option<DiskBoot>) -> String {
    let steps = match how {
        Some(DiskBoot::Exit0) => "exit 0\n",
        Some(DiskBoot::Exit1) => "exit 1\n",
        Some(DiskBoot::Sanboot) => "sanboot --no-describe --drive 0x80 || exit 1\n",
        None => {
            "iseq ${platform} pcbios || exit 1\n\
             sanboot --no-describe --drive 0x80 || exit 0\n"
        }
    };
    format!("#!ipxe\necho Bivouac: this machine boots from its local disk\n{steps}")
}

/// Tells a machine that nothing is here for it; its firmware takes the next boot entry.
#[must_use]
pub fn nothing() -> String {
    "#!ipxe\necho Bivouac: nothing boots here for this machine\nexit 1\n".to_owned()
}

/// Starts an entry of the site file; when that cannot be, the machine asks again. Nothing when a value of it cannot stand
/// in a script, which the site file does not let through.
#[must_use]
pub fn entry_of_site(base: &str, entry: &Entry) -> Option<String> {
    let mut script = format!("#!ipxe\necho Bivouac: {}\nimgfree\n", shown(&entry.title));
    match &entry.starts {
        Starts::Chain(url) => script.push_str(&format!("chain --autofree {} || goto failed\n", Word::of(url)?)),
        Starts::Kernel { kernel, initrds, args } => {
            script.push_str(&format!("kernel {}", Word::of(kernel)?));
            // Each initrd by its name, for older iPXE on UEFI (netboot.md, E3).
            for number in 0..initrds.len() {
                script.push_str(&format!(" initrd={}", initrd_name(number)));
            }
            for argument in args {
                script.push_str(&format!(" {}", Word::of(argument)?));
            }
            script.push_str(" || goto failed\n");
            for (number, url) in initrds.iter().enumerate() {
                script.push_str(&format!("initrd --name {} {} || goto failed\n", initrd_name(number), Word::of(url)?));
            }
            script.push_str("boot || goto failed\n");
        }
    }
    script.push_str(&back(base));
    Some(script)
}

fn initrd_name(number: usize) -> String {
    format!("initrd{number}")
}

/// Goes to netboot.xyz. By plain HTTP, which iPXE 1.21.1 speaks too.
#[must_use]
pub fn netboot_xyz(base: &str) -> String {
    format!(
        "#!ipxe\n\
         imgfree\n\
         iseq ${{platform}} efi && goto efi ||\n\
         chain --autofree http://boot.netboot.xyz/ipxe/netboot.xyz.lkrn || goto failed\n\
         goto failed\n\
         :efi\n\
         iseq ${{buildarch}} arm64 && goto arm64 ||\n\
         chain --autofree http://boot.netboot.xyz/ipxe/netboot.xyz.efi || goto failed\n\
         goto failed\n\
         :arm64\n\
         chain --autofree http://boot.netboot.xyz/ipxe/netboot.xyz-arm64.efi || goto failed\n\
         {}",
        back(base)
    )
}

/// What follows when something cannot be started, or ended and came back.
fn back(base: &str) -> String {
    format!(
        ":failed\n\
         imgfree\n\
         echo Bivouac: that did not start or is over; asking again in {PAUSE} seconds\n\
         sleep {PAUSE}\n\
         chain --autofree --replace {base}/boot.ipxe || goto failed\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_gets_to_its_disk_as_its_rule_says() {
        for (how, said) in [
            (Some(DiskBoot::Exit0), "\nexit 0\n"),
            (Some(DiskBoot::Exit1), "\nexit 1\n"),
            (Some(DiskBoot::Sanboot), "\nsanboot --no-describe --drive 0x80 || exit 1\n"),
            (None, "\niseq ${platform} pcbios || exit 1\nsanboot --no-describe --drive 0x80 || exit 0\n"),
        ] {
            assert!(local_disk(how).ends_with(said), "{how:?}");
        }
    }

    #[test]
    fn an_entry_starts_its_kernel_with_every_initrd_by_name() {
        let kernel = Starts::Kernel {
            kernel: "http://x/k".to_owned(),
            initrds: vec!["http://x/a".to_owned(), "http://x/b?c=1&d=2".to_owned()],
            args: vec!["quiet".to_owned()],
        };
        let mut entry = Entry { name: "x".parse().unwrap(), title: "X".to_owned(), platform: None, starts: kernel };
        let script = entry_of_site("http://10.0.0.1", &entry).unwrap();
        assert!(
            script.contains("\nkernel http://x/k initrd=initrd0 initrd=initrd1 quiet || goto failed\n"),
            "{script}"
        );
        assert!(script.contains("\ninitrd --name initrd1 http://x/b?c=1&d=2 || goto failed\nboot ||"), "{script}");
        entry.starts = Starts::Chain("http://x/ || shell".to_owned());
        assert_eq!(entry_of_site("http://10.0.0.1", &entry), None);
    }
}
