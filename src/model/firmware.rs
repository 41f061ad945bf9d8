//! What kind of firmware asks to boot, from DHCP option 93, and which iPXE loader it can run.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of firmware, as far as it matters for choosing a loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// PC BIOS.
    BiosX86,
    /// UEFI on 32-bit x86.
    EfiIa32,
    /// UEFI on x86_64.
    EfiX64,
    /// UEFI on 32-bit ARM.
    EfiArm32,
    /// UEFI on 64-bit ARM.
    EfiArm64,
    /// UEFI on 32-bit RISC-V.
    EfiRiscv32,
    /// UEFI on 64-bit RISC-V.
    EfiRiscv64,
    /// UEFI on 128-bit RISC-V.
    EfiRiscv128,
    /// UEFI on 32-bit LoongArch.
    EfiLoong32,
    /// UEFI on 64-bit LoongArch.
    EfiLoong64,
    /// U-Boot on 32-bit ARM; runs UEFI programs.
    UBootArm32,
    /// U-Boot on 64-bit ARM; runs UEFI programs.
    UBootArm64,
    /// The boot ROM of a Raspberry Pi, which takes the board's own firmware files, not a loader.
    RaspberryPi,
}

/// How the firmware wants to take its loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// PXE: a file name, taken by TFTP.
    Pxe,
    /// HTTP boot: a URL.
    Http,
}

impl Firmware {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::BiosX86,
        Self::EfiIa32,
        Self::EfiX64,
        Self::EfiArm32,
        Self::EfiArm64,
        Self::EfiRiscv32,
        Self::EfiRiscv64,
        Self::EfiRiscv128,
        Self::EfiLoong32,
        Self::EfiLoong64,
        Self::UBootArm32,
        Self::UBootArm64,
        Self::RaspberryPi,
    ];

    /// Reads one code of option 93 (IANA "Processor Architecture Types"; netboot.md, D3).
    ///
    /// 7 and 9 were exchanged between RFC 4578 and its erratum, and firmware sends both for x86_64. Codes without any
    /// loader (Itanium, EBC, PowerPC, s390) give nothing.
    #[must_use]
    pub fn from_code(code: u16) -> Option<(Self, Transport)> {
        use Transport::{Http, Pxe};
        Some(match code {
            0 | 1 => (Self::BiosX86, Pxe),
            6 => (Self::EfiIa32, Pxe),
            7 | 9 => (Self::EfiX64, Pxe),
            10 => (Self::EfiArm32, Pxe),
            11 => (Self::EfiArm64, Pxe),
            15 => (Self::EfiIa32, Http),
            16 => (Self::EfiX64, Http),
            18 => (Self::EfiArm32, Http),
            19 => (Self::EfiArm64, Http),
            20 => (Self::BiosX86, Http),
            21 => (Self::UBootArm32, Pxe),
            22 => (Self::UBootArm64, Pxe),
            23 => (Self::UBootArm32, Http),
            24 => (Self::UBootArm64, Http),
            25 => (Self::EfiRiscv32, Pxe),
            26 => (Self::EfiRiscv32, Http),
            27 => (Self::EfiRiscv64, Pxe),
            28 => (Self::EfiRiscv64, Http),
            29 => (Self::EfiRiscv128, Pxe),
            30 => (Self::EfiRiscv128, Http),
            37 => (Self::EfiLoong32, Pxe),
            38 => (Self::EfiLoong32, Http),
            39 => (Self::EfiLoong64, Pxe),
            40 => (Self::EfiLoong64, Http),
            41 => (Self::RaspberryPi, Pxe),
            _ => return None,
        })
    }

    /// The name people use.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::BiosX86 => "BIOS",
            Self::EfiIa32 => "UEFI x86 (32-bit)",
            Self::EfiX64 => "UEFI x86_64",
            Self::EfiArm32 => "UEFI ARM (32-bit)",
            Self::EfiArm64 => "UEFI ARM64",
            Self::EfiRiscv32 => "UEFI RISC-V 32",
            Self::EfiRiscv64 => "UEFI RISC-V 64",
            Self::EfiRiscv128 => "UEFI RISC-V 128",
            Self::EfiLoong32 => "UEFI LoongArch 32",
            Self::EfiLoong64 => "UEFI LoongArch 64",
            Self::UBootArm32 => "U-Boot ARM (32-bit)",
            Self::UBootArm64 => "U-Boot ARM64",
            Self::RaspberryPi => "Raspberry Pi",
        }
    }

    /// The kind whose loader this firmware runs: U-Boot starts UEFI programs of its processor, every other kind its
    /// own.
    #[must_use]
    pub fn runs(self) -> Self {
        match self {
            Self::UBootArm32 => Self::EfiArm32,
            Self::UBootArm64 => Self::EfiArm64,
            own => own,
        }
    }

    /// Whether it can be sent on to a boot server (port 4011): the firmware of PCs can, boards take what DHCP says.
    #[must_use]
    pub fn asks_boot_server(self) -> bool {
        !matches!(self, Self::UBootArm32 | Self::UBootArm64 | Self::RaspberryPi)
    }

    /// The loader files looked for, best first, as paths below a loader folder.
    ///
    /// On x86_64 UEFI `ipxe.efi`, which brings drivers, comes before `snponly.efi`, which uses the firmware's: firmware
    /// drivers are the ones with surprises in them. A name says nothing certain about the processor, so the file's
    /// header is asked as well ([`Self::pe_machine`]).
    #[must_use]
    pub fn loader_files(self) -> &'static [&'static str] {
        match self.runs() {
            Self::BiosX86 => &["undionly.kpxe", "undionly.kkpxe", "ipxe.pxe", "ipxe.kpxe"],
            Self::EfiX64 => &[
                "ipxe.efi",
                "ipxe-x86_64.efi",
                "x86_64/ipxe.efi",
                "x86_64-efi/ipxe.efi",
                "snponly.efi",
                "ipxe-snponly-x86_64.efi",
                "x86_64/snponly.efi",
                "x86_64-efi/snponly.efi",
            ],
            Self::EfiIa32 => &[
                "ipxe-i386.efi",
                "ipxe32.efi",
                "i386/ipxe.efi",
                "i386-efi/ipxe.efi",
                "snponly-i386.efi",
                "ipxe-snponly-i386.efi",
                "i386/snponly.efi",
                "i386-efi/snponly.efi",
            ],
            Self::EfiArm32 => &[
                "ipxe-arm32.efi",
                "arm32/ipxe.efi",
                "arm32-efi/ipxe.efi",
                "snponly-arm32.efi",
                "arm32-efi/snponly.efi",
            ],
            Self::EfiArm64 => &[
                "ipxe-arm64.efi",
                "arm64/ipxe.efi",
                "arm64-efi/ipxe.efi",
                "ipxe-aarch64.efi",
                "snponly-arm64.efi",
                "arm64/snponly.efi",
                "arm64-efi/snponly.efi",
            ],
            Self::EfiRiscv32 => {
                &["ipxe-riscv32.efi", "riscv32/ipxe.efi", "riscv32-efi/ipxe.efi", "snponly-riscv32.efi"]
            }
            Self::EfiRiscv64 => {
                &["ipxe-riscv64.efi", "riscv64/ipxe.efi", "riscv64-efi/ipxe.efi", "snponly-riscv64.efi"]
            }
            Self::EfiRiscv128 => &["ipxe-riscv128.efi", "snponly-riscv128.efi"],
            Self::EfiLoong32 => {
                &["ipxe-loong32.efi", "loong32/ipxe.efi", "loong32-efi/ipxe.efi", "snponly-loong32.efi"]
            }
            Self::EfiLoong64 => {
                &["ipxe-loong64.efi", "loong64/ipxe.efi", "loong64-efi/ipxe.efi", "snponly-loong64.efi"]
            }
            // What the ROMs of the Pi 4 and the Pi 3 ask for first.
            Self::RaspberryPi => &["start4.elf", "bootcode.bin"],
            Self::UBootArm32 | Self::UBootArm64 => &[],
        }
    }

    /// Whether a machine with this firmware can run a kernel built for `arch`, in Alpine's words.
    #[must_use]
    pub fn boots(self, arch: &str) -> bool {
        match self.runs() {
            Self::BiosX86 => matches!(arch, "x86_64" | "x86"),
            Self::EfiX64 => arch == "x86_64",
            Self::EfiIa32 => arch == "x86",
            Self::EfiArm32 => matches!(arch, "armv7" | "armhf"),
            Self::EfiArm64 => arch == "aarch64",
            Self::RaspberryPi => matches!(arch, "aarch64" | "armv7" | "armhf"),
            Self::EfiRiscv64 => arch == "riscv64",
            Self::EfiLoong64 => arch == "loongarch64",
            Self::EfiRiscv32 | Self::EfiRiscv128 | Self::EfiLoong32 | Self::UBootArm32 | Self::UBootArm64 => false,
        }
    }

    /// The machine number in the PE header of a program for this firmware (PE format, "Machine Types"), or nothing
    /// when its programs are not PE files.
    #[must_use]
    pub fn pe_machine(self) -> Option<u16> {
        match self.runs() {
            Self::EfiIa32 => Some(0x014c),
            Self::EfiX64 => Some(0x8664),
            Self::EfiArm32 => Some(0x01c2),
            Self::EfiArm64 => Some(0xaa64),
            Self::EfiRiscv32 => Some(0x5032),
            Self::EfiRiscv64 => Some(0x5064),
            Self::EfiRiscv128 => Some(0x5128),
            Self::EfiLoong32 => Some(0x6232),
            Self::EfiLoong64 => Some(0x6264),
            Self::BiosX86 | Self::RaspberryPi | Self::UBootArm32 | Self::UBootArm64 => None,
        }
    }

    /// The Debian package that brings a loader, when one does.
    ///
    /// Debian 12's `ipxe` has `undionly.kpxe`, `ipxe.efi` and `snponly.efi`, both of the latter for x86_64, and nothing
    /// for any other processor.
    #[must_use]
    pub fn debian_package(self) -> Option<&'static str> {
        matches!(self, Self::BiosX86 | Self::EfiX64).then_some("ipxe")
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_the_table_are_what_the_registry_says() {
        use Transport::{Http, Pxe};
        for (code, expected) in [
            (0, Some((Firmware::BiosX86, Pxe))),
            (6, Some((Firmware::EfiIa32, Pxe))),
            (7, Some((Firmware::EfiX64, Pxe))),
            (9, Some((Firmware::EfiX64, Pxe))),
            (10, Some((Firmware::EfiArm32, Pxe))),
            (11, Some((Firmware::EfiArm64, Pxe))),
            (15, Some((Firmware::EfiIa32, Http))),
            (16, Some((Firmware::EfiX64, Http))),
            (18, Some((Firmware::EfiArm32, Http))),
            (19, Some((Firmware::EfiArm64, Http))),
            (20, Some((Firmware::BiosX86, Http))),
            (22, Some((Firmware::UBootArm64, Pxe))),
            (24, Some((Firmware::UBootArm64, Http))),
            (28, Some((Firmware::EfiRiscv64, Http))),
            (39, Some((Firmware::EfiLoong64, Pxe))),
            (41, Some((Firmware::RaspberryPi, Pxe))),
            (2, None),
            (17, None),
            (31, None),
            (65535, None),
        ] {
            assert_eq!(Firmware::from_code(code), expected, "{code}");
        }
    }

    #[test]
    fn every_kind_has_a_name_and_a_loader_to_look_for() {
        for firmware in Firmware::ALL {
            assert!(!firmware.label().is_empty());
            assert!(!firmware.loader_files().is_empty(), "{firmware}");
            let efi = firmware.loader_files().iter().all(|name| name.ends_with(".efi"));
            assert_eq!(efi, firmware.pe_machine().is_some(), "{firmware}");
        }
    }

    #[test]
    fn each_architecture_of_alpine_has_a_firmware_that_boots_it() {
        for arch in ["x86_64", "x86", "aarch64", "armv7", "riscv64", "loongarch64"] {
            assert!(Firmware::ALL.into_iter().any(|firmware| firmware.boots(arch)), "{arch}");
        }
        assert!(!Firmware::EfiArm64.boots("x86_64") && Firmware::BiosX86.boots("x86_64"));
    }

    #[test]
    fn u_boot_runs_the_uefi_loader_of_its_processor() {
        assert_eq!(Firmware::UBootArm64.runs(), Firmware::EfiArm64);
        assert_eq!(Firmware::EfiX64.runs(), Firmware::EfiX64);
    }
}
