//! What QEMU is told.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::{Accelerator, Firmware, Hardware, Reach, SERVER};

/// The machine's own copy of the variables of its firmware.
pub(super) fn variables(folder: &Path) -> PathBuf {
    folder.join("variables.fd")
}

/// The arguments for a machine whose cable is standard input, and whose control is standard output.
pub(super) fn arguments(hardware: &Hardware<'_>) -> Vec<OsString> {
    let Hardware {
        accelerator,
        firmware,
        memory,
        display,
        mac,
        uuid,
        serial,
        tftp,
        console,
        folder,
        server,
        reach,
        ..
    } = hardware;
    let mut all = Arguments(Vec::new());
    // Nothing but what is said here.
    all.flag("-nodefaults").flag("-no-user-config");
    all.add("-machine", "q35").add("-m", &format!("{}M", memory.mebibytes()));
    match accelerator {
        Accelerator::Kvm => all.add("-accel", "kvm").add("-cpu", "host"),
        Accelerator::Software => all.add("-accel", "tcg"),
    };
    // Whoever starts again has failed, and would hide why.
    all.flag("-no-reboot");
    all.add("-vga", "std").add("-display", display.argument());
    all.add("-chardev", "socket,id=control,fd=1").add("-mon", "chardev=control,mode=control");
    all.with_path("-chardev", "file,id=console,path=", console).add("-serial", "chardev:console");
    // UEFI boots from no network where there is no source of random numbers (fleet.md, section 5).
    all.add("-device", "virtio-rng-pci");
    // What the guest agent of a server looks for; nobody speaks to it here.
    all.add("-device", "virtio-serial-pci").add("-chardev", "null,id=agent");
    all.add("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0");
    all.add("-smbios", &format!("type=1,uuid={uuid},serial={serial}"));
    // With IPv6 as well: the iPXE of the card waits a quarter of a minute for a router that says there is none.
    let restrict = match reach {
        Reach::Server => "on",
        Reach::Everything => "off",
    };
    let mut outside = OsString::from(format!("user,id=outside,restrict={restrict},tftp="));
    push_doubled(&mut outside, tftp.as_os_str());
    outside.push(format!(",guestfwd=tcp:{SERVER}:80-cmd:"));
    push_doubled(&mut outside, &command_line(server));
    all.flag("-netdev").0.push(outside);
    all.add("-netdev", "socket,id=cable,fd=0");
    all.add("-netdev", "hubport,id=one,hubid=0,netdev=outside");
    all.add("-netdev", "hubport,id=two,hubid=0,netdev=cable");
    all.add("-netdev", "hubport,id=card,hubid=0");
    let card = format!("virtio-net-pci,netdev=card,mac={mac},bootindex=0");
    match firmware {
        Firmware::Bios => all.add("-device", &card),
        Firmware::Uefi(flash) | Firmware::Http(flash) => {
            // With its ROM, the card's iPXE would answer in place of the firmware's own client.
            all.add("-device", &format!("{card},romfile="));
            all.with_path("-drive", "if=pflash,format=raw,readonly=on,file=", &flash.code);
            all.with_path("-drive", "if=pflash,format=raw,file=", &variables(folder));
            // What is not tried costs half a minute of waiting for nobody.
            all.add("-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n");
            if matches!(firmware, Firmware::Http(_)) {
                all.add("-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n");
            }
            &mut all
        }
    };
    all.0
}

/// A list of arguments under construction.
struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.into());
        self
    }

    fn add(&mut self, option: &str, value: &str) -> &mut Self {
        self.flag(option).flag(value)
    }

    /// Adds a value that ends with a path.
    fn with_path(&mut self, option: &str, before: &str, path: &Path) -> &mut Self {
        let mut value = OsString::from(before);
        push_doubled(&mut value, path.as_os_str());
        self.flag(option).0.push(value);
        self
    }
}

/// Adds a text to a list with commas, in which a comma that is meant is written twice.
fn push_doubled(list: &mut OsString, text: &OsStr) {
    let mut bytes = Vec::with_capacity(text.len());
    for byte in text.as_bytes() {
        bytes.extend(std::iter::repeat_n(*byte, if *byte == b',' { 2 } else { 1 }));
    }
    list.push(OsString::from_vec(bytes));
}

/// A program and its arguments as a shell reads them: QEMU takes them apart by its rules.
fn command_line(words: &[OsString]) -> OsString {
    let mut line = Vec::new();
    for word in words {
        if !line.is_empty() {
            line.push(b' ');
        }
        line.push(b'\'');
        for byte in word.as_bytes() {
            match byte {
                b'\'' => line.extend(b"'\\''"),
                other => line.push(*other),
            }
        }
        line.push(b'\'');
    }
    OsString::from_vec(line)
}

#[cfg(test)]
mod tests {
    use super::super::{Display, Flash};
    use super::*;
    use crate::model::mac::Mac;

    fn told(firmware: &Firmware, accelerator: Accelerator) -> Vec<String> {
        reaching(firmware, accelerator, Reach::Server)
    }

    fn reaching(firmware: &Firmware, accelerator: Accelerator, reach: Reach) -> Vec<String> {
        let hardware = Hardware {
            qemu: Path::new("/bin/qemu"),
            accelerator,
            firmware,
            memory: "2G".parse().unwrap(),
            display: Display::None,
            mac: Mac([0x52, 0x54, 0, 1, 2, 3]),
            uuid: "6f9619ff-8b86-4011-b42d-00cf4fc964ff",
            serial: "try",
            tftp: Path::new("/a,b/tftp"),
            console: Path::new("/c,d,,e"),
            folder: Path::new("/run"),
            server: &["/it's, mine".into(), "join".into()],
            reach,
        };
        let list = arguments(&hardware);
        list.into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn each_firmware_gets_its_card_and_its_files() {
        let flash = Flash { code: "/x/code.fd".into(), variables: "/x/vars.fd".into() };
        let bios = told(&Firmware::Bios, Accelerator::Software);
        assert!(bios.contains(&"virtio-net-pci,netdev=card,mac=52:54:00:01:02:03,bootindex=0".to_owned()));
        assert!(!bios.iter().any(|argument| argument.contains("pflash")), "{bios:?}");
        let uefi = told(&Firmware::Uefi(flash.clone()), Accelerator::Software);
        assert!(uefi.iter().any(|argument| argument.ends_with(",romfile=")), "{uefi:?}");
        assert!(uefi.contains(&"if=pflash,format=raw,file=/run/variables.fd".to_owned()), "{uefi:?}");
        assert!(!uefi.iter().any(|argument| argument.contains("IPv4PXESupport")), "{uefi:?}");
        let http = told(&Firmware::Http(flash), Accelerator::Kvm);
        assert!(http.iter().any(|argument| argument.contains("IPv4PXESupport")), "{http:?}");
        assert_eq!(http.iter().filter(|argument| *argument == "kvm" || *argument == "host").count(), 2);
    }

    #[test]
    fn a_comma_in_a_path_begins_no_other_option_and_nothing_is_reached_that_nobody_asked_for() {
        let list = told(&Firmware::Bios, Accelerator::Software);
        assert!(list.contains(&"file,id=console,path=/c,,d,,,,e".to_owned()), "{list:?}");
        let outside = "tftp=/a,,b/tftp,guestfwd=tcp:10.0.2.100:80-cmd:'/it'\\''s,, mine' 'join'";
        assert!(list.contains(&format!("user,id=outside,restrict=on,{outside}")), "{list:?}");
        let list = reaching(&Firmware::Bios, Accelerator::Software, Reach::Everything);
        assert!(list.contains(&format!("user,id=outside,restrict=off,{outside}")), "{list:?}");
    }
}
