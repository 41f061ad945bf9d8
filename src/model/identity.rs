//! What a machine says of itself when it asks for its boot script.

use serde::{Deserialize, Serialize};

use crate::model::mac::Mac;

/// The longest SMBIOS text that is kept; longer ones are cut.
const MAX_TEXT: usize = 64;

/// What iPXE hands over with the first script (netboot.md, E1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The address of the network card that boots; what a machine is known by.
    pub mac: Mac,
    /// SMBIOS UUID as iPXE prints it, lower case; absent when the firmware has none or only a filler.
    pub uuid: Option<String>,
    /// SMBIOS serial number.
    pub serial: Option<String>,
    /// iPXE's `${platform}`: `pcbios` or `efi`.
    pub platform: Option<String>,
    /// iPXE's `${buildarch}`: what iPXE was built for, which on BIOS is `i386` on a 64-bit machine too.
    pub buildarch: Option<String>,
}

impl Identity {
    /// A machine of which only the address is known.
    #[must_use]
    pub fn of(mac: Mac) -> Self {
        Self { mac, uuid: None, serial: None, platform: None, buildarch: None }
    }

    /// Builds an identity from texts that came over the network: control characters go, lengths are bounded, and
    /// values firmware makers left unfilled count as absent (netboot.md, C14).
    #[must_use]
    pub fn from_texts(mac: Mac, uuid: &str, serial: &str, platform: &str, buildarch: &str) -> Self {
        Self {
            mac,
            uuid: clean(uuid).map(|text| text.to_ascii_lowercase()).filter(|text| is_real_uuid(text)),
            serial: clean(serial).filter(|text| !is_filler(text)),
            platform: clean(platform),
            buildarch: clean(buildarch),
        }
    }

    /// Whether this machine can run a kernel of `arch` (in Alpine's words), as far as iPXE's build tells.
    #[must_use]
    pub fn may_run(&self, arch: &str) -> bool {
        match self.buildarch.as_deref() {
            Some("i386" | "x86_64") => matches!(arch, "x86_64" | "x86"),
            Some("arm64") => arch == "aarch64",
            Some("arm32") => matches!(arch, "armv7" | "armhf"),
            Some("riscv64") => arch == "riscv64",
            Some("loong64") => arch == "loongarch64",
            // Unknown words come from newer builds; the kernel itself will tell.
            Some(_) | None => true,
        }
    }
}

/// A printable, bounded text, or nothing when nothing is left.
fn clean(text: &str) -> Option<String> {
    let kept: String = text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

fn is_real_uuid(text: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    digits.len() == 32
        && digits.iter().all(u8::is_ascii_hexdigit)
        && digits.iter().any(|digit| Some(digit) != digits.first())
        // One board maker's constant, seen on many machines.
        && text != "03000200-0400-0500-0006-000700080009"
}

fn is_filler(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    matches!(
        lower.as_str(),
        "to be filled by o.e.m."
            | "default string"
            | "enter serial"
            | "none"
            | "not specified"
            | "system serial number"
    ) || lower.bytes().all(|b| b == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(uuid: &str, serial: &str) -> Identity {
        Identity::from_texts("52:54:00:00:00:01".parse().unwrap(), uuid, serial, "efi", "x86_64")
    }

    #[test]
    fn fillers_of_firmware_makers_count_as_absent() {
        for uuid in ["", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "nonsense"] {
            assert_eq!(identity(uuid, "").uuid, None, "{uuid}");
        }
        assert_eq!(identity("", "To be filled by O.E.M.").serial, None);
        assert_eq!(identity("", "0000").serial, None);
        let good = identity("6F9619FF-8B86-D011-B42D-00CF4FC964FF", " PC-7 ");
        assert_eq!(good.uuid.as_deref(), Some("6f9619ff-8b86-d011-b42d-00cf4fc964ff"));
        assert_eq!(good.serial.as_deref(), Some("PC-7"));
    }

    #[test]
    fn texts_are_bounded_and_printable() {
        let serial = identity("", &format!("a\n\u{1b}{}", "b".repeat(500))).serial.unwrap();
        assert_eq!(serial.len(), MAX_TEXT);
        assert!(serial.starts_with("ab"));
    }

    #[test]
    fn a_bios_ipxe_built_for_i386_may_run_a_64_bit_kernel_and_an_arm_one_may_not() {
        let mut machine = identity("", "");
        machine.buildarch = Some("i386".to_owned());
        assert!(machine.may_run("x86_64"));
        machine.buildarch = Some("arm64".to_owned());
        assert!(!machine.may_run("x86_64"));
    }
}
