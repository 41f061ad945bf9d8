//! What the bytes of an iPXE binary tell: what runs it, whose drivers it has, its version and what it was built with.
//!
//! UEFI programs are not compressed, so nearly everything is there to be read. The BIOS ones (`.kpxe`, `.pxe`) are
//! compressed behind a small prefix, and only that they are such programs can be seen. What the bytes do not tell is
//! absent, never guessed.

mod features;
mod pe;

use self::features::{HTTP, Table};
use crate::model::firmware::Firmware;
use crate::model::loader::LoaderKind;

pub use self::pe::machine as pe_machine;

/// The longest text that is taken for a version or a build's name.
const MAX_TEXT: usize = 80;

/// The longest run of bytes without a zero that is looked at as text; the SBAT section is the longest of interest.
const MAX_CHUNK: usize = 1024;

/// How far from its start a BIOS program has its prefix, which is not compressed.
const PREFIX: usize = 16 * 1024;

/// What iPXE's prefix for PXE ROMs prints first (iPXE, `arch/x86/prefix/pxeprefix.S`).
const PXE_PREFIX: &[u8] = b"PXE->EB:";

/// What an iPXE that takes scripts looks for at their beginning (iPXE, `image/script.c`).
const SCRIPT_MAGIC: &[u8] = b"#!ipxe";

/// Names of cards in iPXE's own drivers, of the makers nearly every build with drivers has (iPXE, `PCI_ROM`).
const CARDS: [&[u8]; 12] = [
    b"virtio-net",
    b"vmxnet3",
    b"82540em",
    b"82574l",
    b"i210",
    b"i350",
    b"rtl8139",
    b"rtl8168",
    b"bnx2-5708",
    b"14e4-1657",
    b"eepro100",
    b"m88e8056",
];

/// Names of the drivers that use the firmware's (iPXE, `drivers/net/efi`). `SNP` is not among them: every newer build
/// has that text.
const BORROWED: [&[u8]; 5] = [b"SNPONLY", b"NIIONLY", b"MNPONLY", b"NII", b"MNP"];

/// Commands that are not in every build and that matter when booting (iPXE, `hci/commands`).
const COMMANDS: [&str; 7] = ["chain", "initrd", "imgverify", "imgtrust", "shim", "ntp", "param"];

/// What a binary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A UEFI program for the processor with this PE machine number.
    Efi(u16),
    /// A program for a PXE ROM on BIOS, of the Etherboot family: iPXE, gPXE.
    Pxe,
    /// A Linux kernel image, which iPXE's `.lkrn` builds pretend to be.
    Kernel,
    /// An image of a CD.
    Iso,
    /// An expansion ROM.
    Rom,
    /// None of these.
    Other,
}

/// Why a binary cannot be handed to machines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No bytes at all.
    #[error("it is empty")]
    Empty,
    /// Nothing firmware loads from the network.
    #[error("it is neither a UEFI program nor one for a PXE ROM")]
    NoProgram,
    /// A kernel image.
    #[error("it is a Linux kernel image; take iPXE's .kpxe for BIOS, its .efi for UEFI")]
    Kernel,
    /// A CD image.
    #[error("it is a CD image; take iPXE's .kpxe for BIOS, its .efi for UEFI")]
    Iso,
    /// An expansion ROM.
    #[error("it is the ROM of a network card; take iPXE's .kpxe for BIOS, its .efi for UEFI")]
    Rom,
    /// A UEFI program for a processor nobody boots.
    #[error("it is made for an unknown processor (PE machine {0:#06x})")]
    Processor(u16),
    /// The file ends before the program does.
    #[error("it is cut short: its header names more bytes than there are")]
    CutShort,
    /// A UEFI program, and not iPXE.
    #[error("it is not iPXE, or an iPXE that takes no scripts")]
    NotIpxe,
    /// An iPXE that would be sent here again and again, because it cannot take its script.
    #[error("it is an iPXE without HTTP, and machines take their scripts by HTTP")]
    NoHttp,
}

/// What was read from a binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// What it is.
    pub format: Format,
    /// Its version, such as `1.21.1+ (g988d2)`.
    pub version: Option<String>,
    /// What iPXE's build calls it, such as `snponly.efi`.
    pub build: Option<String>,
    /// Whose drivers it has.
    pub kind: Option<LoaderKind>,
    /// The features it tells DHCP servers of, by iPXE's names; absent when the table was not found.
    pub features: Option<Vec<String>>,
    /// Those of some commands that it has; absent when it cannot be read.
    pub commands: Option<Vec<&'static str>>,
    is_empty: bool,
    is_whole: bool,
    takes_scripts: bool,
}

impl Inspection {
    /// Reads a binary: once from its start to its end, with memory only for the texts it keeps.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let format = Format::of(bytes);
        let mut read = Self {
            format,
            version: None,
            build: None,
            kind: None,
            features: None,
            commands: None,
            is_empty: bytes.is_empty(),
            is_whole: !matches!(format, Format::Efi(_)) || pe::is_whole(bytes),
            takes_scripts: false,
        };
        if matches!(format, Format::Efi(_)) {
            read.look_inside(bytes);
        }
        read
    }

    fn look_inside(&mut self, bytes: &[u8]) {
        let table = Table::find(bytes);
        let mut texts = Texts::default();
        for chunk in bytes.split(|byte| *byte == 0).filter(|chunk| (1..=MAX_CHUNK).contains(&chunk.len())) {
            texts.take(chunk, table.as_ref());
        }
        let Texts { version, build, sbat, cards, borrowed, script, commands } = texts;
        // What is labelled is surer than what only looks like a version or a name.
        let (build, version) = sbat.map_or((build, version), |(build, version)| (Some(build), Some(version)));
        self.takes_scripts = script;
        self.version = version.or_else(|| table.as_ref().map(Table::version));
        self.kind = match (cards, borrowed) {
            (true, _) => Some(LoaderKind::Ipxe),
            (false, true) => Some(LoaderKind::Snponly),
            (false, false) => build.as_deref().and_then(LoaderKind::of_name),
        };
        self.build = build;
        self.features = table.map(|table| table.features());
        self.commands = script.then(|| COMMANDS.into_iter().filter(|name| commands.contains(name)).collect());
    }

    /// What runs it, if that is known.
    #[must_use]
    pub fn firmware(&self) -> Option<Firmware> {
        match self.format {
            Format::Efi(machine) => Firmware::ALL.into_iter().find(|own| own.pe_machine() == Some(machine)),
            Format::Pxe => Some(Firmware::BiosX86),
            Format::Kernel | Format::Iso | Format::Rom | Format::Other => None,
        }
    }

    /// The firmware whose machines can be handed this binary.
    ///
    /// # Errors
    /// Why there is none. That a BIOS program is iPXE, is whole, and speaks HTTP cannot be seen, and is believed.
    pub fn loads_on(&self) -> Result<Firmware, Fault> {
        match self.format {
            _ if self.is_empty => Err(Fault::Empty),
            Format::Kernel => Err(Fault::Kernel),
            Format::Iso => Err(Fault::Iso),
            Format::Rom => Err(Fault::Rom),
            Format::Other => Err(Fault::NoProgram),
            _ if !self.is_whole => Err(Fault::CutShort),
            Format::Pxe => Ok(Firmware::BiosX86),
            Format::Efi(machine) => {
                let firmware = self.firmware().ok_or(Fault::Processor(machine))?;
                if !self.takes_scripts {
                    return Err(Fault::NotIpxe);
                }
                if self.lacks_http() {
                    return Err(Fault::NoHttp);
                }
                Ok(firmware)
            }
        }
    }

    /// Whether it is known to lack HTTP.
    #[must_use]
    pub fn lacks_http(&self) -> bool {
        self.features.as_ref().is_some_and(|features| !features.iter().any(|name| name == HTTP))
    }
}

impl Format {
    fn of(bytes: &[u8]) -> Self {
        let at = |start: usize, text: &[u8]| bytes.get(start..).is_some_and(|rest| rest.starts_with(text));
        let prefix = bytes.get(..PREFIX).unwrap_or(bytes);
        if let Some(machine) = pe::machine(bytes) {
            Self::Efi(machine)
        } else if at(0x202, b"HdrS") {
            Self::Kernel
        } else if at(0x8001, b"CD001") {
            Self::Iso
        } else if at(0, &[0x55, 0xaa]) {
            Self::Rom
        } else if prefix.windows(PXE_PREFIX.len()).any(|window| window == PXE_PREFIX) {
            Self::Pxe
        } else {
            Self::Other
        }
    }
}

/// The texts of interest, as they come by.
#[derive(Default)]
struct Texts {
    version: Option<String>,
    build: Option<String>,
    /// Build and version.
    sbat: Option<(String, String)>,
    cards: bool,
    borrowed: bool,
    script: bool,
    commands: Vec<&'static str>,
}

impl Texts {
    /// Takes what stands between two zeros, which is how C keeps its texts.
    fn take(&mut self, chunk: &[u8], table: Option<&Table>) {
        self.script |= chunk == SCRIPT_MAGIC;
        self.cards |= CARDS.contains(&chunk);
        self.borrowed |= BORROWED.contains(&chunk);
        if let Some(name) = COMMANDS.into_iter().find(|name| name.as_bytes() == chunk)
            && !self.commands.contains(&name)
        {
            self.commands.push(name);
        }
        if self.sbat.is_none() {
            self.sbat = sbat(chunk);
        }
        if self.build.is_none() && chunk.ends_with(b".efi") && chunk.iter().all(|byte| is_of_name(*byte)) {
            self.build = text(chunk);
        }
        if self.version.is_none() && table.is_some_and(|table| table.begins(chunk)) {
            self.version = text(chunk);
        }
    }
}

/// Build and version from iPXE's line of the SBAT section, which builds since 2022 have: the section holds lines of
/// component, generation, vendor, package, version and URL (shim, `SBAT.md`; iPXE, `include/ipxe/sbat.h`).
fn sbat(chunk: &[u8]) -> Option<(String, String)> {
    let line = chunk.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"ipxe,"))?;
    let mut fields = line.split(|byte| *byte == b',').skip(3);
    Some((text(fields.next()?)?, text(fields.next()?)?))
}

/// A text that may be shown on a terminal.
fn text(bytes: &[u8]) -> Option<String> {
    let good = (1..=MAX_TEXT).contains(&bytes.len()) && bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
    good.then(|| String::from_utf8_lossy(bytes).into_owned())
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests;
