//! What a machine says of itself when it asks for its boot script.

pub mod evidence;
mod hardware;
mod relay;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use hardware::{Hardware, HardwareTexts};
pub use relay::Relay;

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
    /// What its board and case say, and which cards it has.
    #[serde(default, skip_serializing_if = "Hardware::is_empty")]
    pub hardware: Hardware,
}

impl Identity {
    /// A machine of which only the address is known.
    #[must_use]
    pub fn of(mac: Mac) -> Self {
        Self { mac, uuid: None, serial: None, platform: None, buildarch: None, hardware: Hardware::default() }
    }

    /// Whether only the address is known.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        *self == Self::of(self.mac)
    }

    /// Builds an identity from texts that came over the network: control characters go, lengths are bounded, and
    /// values firmware makers left unfilled count as absent (netboot.md, C14).
    #[must_use]
    pub fn from_texts(mac: Mac, uuid: &str, serial: &str, platform: &str, buildarch: &str) -> Self {
        Self {
            mac,
            uuid: clean(uuid).map(into_lower_case).filter(|text| is_real_uuid(text)),
            serial: clean(serial).filter(|text| !is_filler(text)),
            platform: clean(platform),
            buildarch: clean(buildarch),
            hardware: Hardware::default(),
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
    let is_plain = text.len() <= MAX_TEXT && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let kept: Cow<'_, str> =
        if is_plain { text.into() } else { text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect() };
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

fn into_lower_case(mut text: String) -> String {
    text.make_ascii_lowercase();
    text
}

/// UUIDs that makers of boards and of firmware left in many machines (netboot.md, C14).
const SHARED_UUIDS: [&str; 4] = [
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "fefefefe-fefe-fefe-fefe-fefefefefefe",
];

fn is_real_uuid(text: &str) -> bool {
    let digits = || text.bytes().filter(|b| *b != b'-');
    let first = digits().next();
    digits().count() == 32
        && digits().all(|digit| digit.is_ascii_hexdigit())
        && digits().any(|digit| Some(digit) != first)
        && !SHARED_UUIDS.contains(&text)
}

/// What firmware makers write where the maker of a machine should have written something (netboot.md, C14).
const FILLERS: [&str; 27] = [
    "to be filled by o.e.m.",
    "to be filled by o.e.m",
    "to be filled by oem",
    "default string",
    "enter serial",
    "enter serial number",
    "none",
    "n/a",
    "na",
    "null",
    "empty",
    "unknown",
    "undefined",
    "oem",
    "o.e.m.",
    "not specified",
    "not applicable",
    "not available",
    "no asset tag",
    "no asset information",
    "asset tag",
    "chassis serial number",
    "base board serial number",
    "system serial number",
    "system manufacturer",
    "system product name",
    "123456789",
];

/// Whether a text stands in many machines: a known filler, or nothing but zeros, Fs, or marks.
fn is_filler(text: &str) -> bool {
    let only = |byte: u8| text.bytes().all(|b| b.to_ascii_lowercase() == byte);
    FILLERS.iter().any(|filler| text.eq_ignore_ascii_case(filler))
        || only(b'0')
        || only(b'f')
        || text.bytes().all(|b| b.is_ascii_punctuation() || b == b' ')
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
        for serial in ["0000", "FFFFFFFF", "default string", "To Be Filled By O.E.M", "....", "123456789", "None"] {
            assert_eq!(identity("", serial).serial, None, "{serial}");
        }
        assert_eq!(identity("03000200-0400-0500-0006-000700080009", "").uuid, None);
        let texts =
            HardwareTexts { board_serial: "B 1", asset: "No Asset Tag", product: "NUC11\n", ..Default::default() };
        let hardware = Hardware::from_texts(texts, Vec::new());
        assert_eq!((hardware.board_serial.as_deref(), hardware.product.as_deref()), (Some("B 1"), Some("NUC11")));
        assert_eq!((hardware.asset, hardware.manufacturer), (None, None));
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
