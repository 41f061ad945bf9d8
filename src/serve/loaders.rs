//! The iPXE loaders of this computer, read into memory once: the first program firmware takes from the network.

mod choice;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::model::digest::Digest;
use crate::model::firmware::Firmware;
use crate::model::loader::{LoaderKind, LoaderRule, Returning};
use crate::wire::loader::{Inspection, pe_machine};

pub use self::choice::{Choice, Unmet};

/// Where iPXE is: on Debian and Ubuntu, on Fedora and Arch, and where administrators put their own.
pub const DEFAULT_FOLDERS: [&str; 4] =
    ["/usr/lib/ipxe", "/usr/share/ipxe", "/usr/local/lib/ipxe", "/usr/local/share/ipxe"];

/// The largest file taken for a loader; iPXE with all drivers has about 1 MiB.
pub const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// One loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loader {
    /// What it is called on the network: its path below its folder, with `-` for `/`.
    pub name: String,
    /// What runs it.
    pub firmware: Firmware,
    /// Whose drivers it has, by its bytes, else by its name.
    pub kind: Option<LoaderKind>,
    /// Whether it is from the site's own folder.
    pub is_own: bool,
    /// Where it was found.
    pub path: PathBuf,
    /// The program.
    pub bytes: Bytes,
    /// Their SHA-256.
    pub digest: Digest,
    /// That it goes by TFTP, for people.
    pub(super) by_tftp: Arc<str>,
}

/// The loaders found, for each firmware the best first.
#[derive(Debug, Clone, Default)]
pub struct Loaders {
    found: Vec<Loader>,
    /// The first of each firmware: every DHCP answer asks for one, and a loader is far from the next in memory.
    best: Vec<(Firmware, usize)>,
    refused: Vec<Refused>,
    rules: Vec<LoaderRule>,
    returning: Returning,
}

/// A file with the name of a loader that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no loader: {}", self.path.display(), self.reason)
    }
}

/// A kind of firmware that cannot boot, because there is no loader for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The firmware.
    pub firmware: Firmware,
    /// The Debian package that would bring one, if there is one.
    pub debian_package: Option<&'static str>,
}

impl Missing {
    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> String {
        format!("{} machines cannot boot: no iPXE loader", self.firmware)
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self.debian_package {
            Some(package) => format!("install `{package}`"),
            None if self.firmware == Firmware::RaspberryPi => {
                "put the board's own boot files into the loader folder".to_owned()
            }
            None => "take one with `bivouac loaders add`".to_owned(),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem(), self.remedy())
    }
}

impl Loader {
    /// A loader whose bytes are in memory.
    #[must_use]
    pub fn new(name: &str, firmware: Firmware, path: PathBuf, bytes: Bytes) -> Self {
        let kind = Inspection::of(&bytes).kind.or_else(|| LoaderKind::of_name(name));
        let digest = Digest::of(&bytes);
        let name = name.replace('/', "-");
        let by_tftp = format!("{name} by TFTP").into();
        Self { name, firmware, kind, is_own: false, path, bytes, digest, by_tftp }
    }
}

impl Loaders {
    /// Reads the loaders in `own`, the site's folder, and in `folders`. For each firmware and kind of loader those of
    /// the site come first; then for each name the first folder that has it counts. Folders and files that are not
    /// there are no error; a file that is there and cannot be a loader is kept for [`Self::refused`].
    ///
    /// Reads files, so call it at start, not while serving.
    #[must_use]
    pub fn find(own: &Path, folders: &[PathBuf]) -> Self {
        let mut loaders = Self::default();
        for firmware in Firmware::ALL.into_iter().filter(|firmware| firmware.runs() == *firmware) {
            let files = firmware.loader_files();
            for files in files.chunk_by(|one, other| LoaderKind::of_name(one) == LoaderKind::of_name(other)) {
                for file in files {
                    loaders.look_for(firmware, file, [own], true);
                }
                for file in files {
                    loaders.look_for(firmware, file, folders.iter().map(PathBuf::as_path), false);
                }
            }
        }
        loaders.with_best()
    }

    fn look_for<'a>(
        &mut self,
        firmware: Firmware,
        file: &str,
        folders: impl IntoIterator<Item = &'a Path>,
        is_own: bool,
    ) {
        for path in folders.into_iter().map(|folder| folder.join(file)) {
            match read(&path).and_then(|bytes| checked(bytes, firmware)) {
                Ok(bytes) => {
                    let loader = Loader { is_own, ..Loader::new(file, firmware, path, bytes) };
                    if !self.found.iter().any(|found| found.name == loader.name) {
                        self.found.push(loader);
                    }
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.refused.push(Refused { path, reason: error.to_string() }),
            }
        }
    }

    /// Loaders that are already in memory, best first.
    #[must_use]
    pub fn of(found: Vec<Loader>) -> Self {
        Self { found, ..Self::default() }.with_best()
    }

    fn with_best(mut self) -> Self {
        for (place, loader) in self.found.iter().enumerate() {
            if !self.best.iter().any(|(firmware, _)| *firmware == loader.firmware) {
                self.best.push((loader.firmware, place));
            }
        }
        self
    }

    /// The loader for machines with this firmware.
    #[must_use]
    pub fn for_firmware(&self, firmware: Firmware) -> Option<&Loader> {
        let (_, place) = self.best.iter().find(|(own, _)| *own == firmware.runs())?;
        self.found.get(*place)
    }

    /// The loader of this name, as [`Loader::name`] has it; in other letters' case, if none is called exactly so.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Loader> {
        let exact = self.found.iter().find(|loader| loader.name == name);
        exact.or_else(|| self.found.iter().find(|loader| loader.name.eq_ignore_ascii_case(name)))
    }

    /// Every loader.
    pub fn iter(&self) -> impl Iterator<Item = &Loader> {
        self.found.iter()
    }

    /// Files that have the name of a loader and cannot be one.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// The kinds of firmware that cannot boot, for a message to the operator: of the kinds thin clients have, which
    /// are BIOS and UEFI on x86_64 and ARM64. Nobody wants to read at every start that LoongArch has no loader.
    #[must_use]
    pub fn missing(&self) -> Vec<Missing> {
        [Firmware::BiosX86, Firmware::EfiX64, Firmware::EfiArm64]
            .into_iter()
            .filter(|firmware| self.for_firmware(*firmware).is_none())
            .map(|firmware| Missing { firmware, debian_package: firmware.debian_package() })
            .collect()
    }
}

fn read(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        0 => Err(io::Error::other("empty")),
        size if size > MAX_SIZE => Err(io::Error::other("larger than 16 MiB")),
        _ => Ok(bytes.into()),
    }
}

/// A name says little: an `ipxe.efi` may be for any processor, and firmware that takes one for another processor
/// fails without saying why.
fn checked(bytes: Bytes, firmware: Firmware) -> io::Result<Bytes> {
    let Some(expected) = firmware.pe_machine() else {
        return Ok(bytes);
    };
    match pe_machine(&bytes) {
        Some(machine) if machine == expected => Ok(bytes),
        Some(machine) => {
            Err(io::Error::other(format!("made for another processor than {firmware} (PE machine {machine:#06x})")))
        }
        None => Err(io::Error::other("not a UEFI program")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The least that counts as a UEFI program.
    fn program(machine: u16) -> Vec<u8> {
        let mut bytes = b"MZ".to_vec();
        bytes.resize(0x3c, 0);
        bytes.extend(0x40u32.to_le_bytes());
        bytes.extend(b"PE\0\0");
        bytes.extend(machine.to_le_bytes());
        bytes
    }

    #[test]
    fn the_first_folder_and_the_best_name_count() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(first.path().join("snponly.efi"), program(0x8664)).unwrap();
        fs::write(first.path().join("undionly.kpxe"), "first").unwrap();
        fs::write(second.path().join("undionly.kpxe"), "second").unwrap();
        fs::write(second.path().join("ipxe.efi"), program(0x8664)).unwrap();
        fs::create_dir(second.path().join("arm64")).unwrap();
        fs::write(second.path().join("arm64/ipxe.efi"), program(0xaa64)).unwrap();
        let loaders = Loaders::find(
            Path::new("/nowhere"),
            &[first.path().to_owned(), "/nowhere".into(), second.path().to_owned()],
        );
        assert_eq!(loaders.for_firmware(Firmware::BiosX86).unwrap().bytes, "first");
        assert_eq!(loaders.for_firmware(Firmware::EfiX64).unwrap().name, "ipxe.efi");
        assert_eq!(loaders.for_firmware(Firmware::UBootArm64).unwrap().name, "arm64-ipxe.efi");
        assert_eq!(loaders.by_name("snponly.efi").unwrap().firmware, Firmware::EfiX64);
        assert!(loaders.by_name("arm64/ipxe.efi").is_none() && loaders.by_name("").is_none());
        assert!(loaders.missing().is_empty());
        assert!(loaders.refused().is_empty());
    }

    #[test]
    fn a_loader_for_another_processor_is_not_offered() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ipxe.efi"), program(0x014c)).unwrap();
        fs::write(folder.path().join("ipxe-arm64.efi"), "text").unwrap();
        fs::write(folder.path().join("undionly.kpxe"), "").unwrap();
        let loaders = Loaders::find(Path::new("/nowhere"), &[folder.path().to_owned()]);
        assert_eq!(loaders.iter().count(), 0);
        let refused: Vec<String> = loaders.refused().iter().map(ToString::to_string).collect();
        assert_eq!(refused.len(), 3);
        assert!(refused.iter().any(|text| text.contains("another processor than UEFI x86_64")), "{refused:?}");
        assert!(refused.iter().any(|text| text.contains("not a UEFI program")), "{refused:?}");
        assert!(refused.iter().any(|text| text.contains("empty")), "{refused:?}");
    }

    #[test]
    fn what_cannot_boot_is_said_with_what_to_do() {
        let missing: Vec<String> = Loaders::default().missing().iter().map(ToString::to_string).collect();
        assert_eq!(missing[0], "BIOS machines cannot boot: no iPXE loader; install `ipxe`");
        assert_eq!(missing[2], "UEFI ARM64 machines cannot boot: no iPXE loader; take one with `bivouac loaders add`");
    }

    #[test]
    fn the_sites_own_loader_comes_before_others_of_its_kind_and_not_before_the_better_kind() {
        let (own, system) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(own.path().join("x86_64-ipxe.efi"), program(0x8664)).unwrap();
        fs::write(own.path().join("ipxe-snponly-x86_64.efi"), program(0x8664)).unwrap();
        fs::write(own.path().join("ipxe.pxe"), "own").unwrap();
        for name in ["ipxe.efi", "snponly.efi"] {
            fs::write(system.path().join(name), program(0x8664)).unwrap();
        }
        for name in ["ipxe.pxe", "undionly.kpxe"] {
            fs::write(system.path().join(name), "system").unwrap();
        }
        let loaders = Loaders::find(own.path(), &[system.path().to_owned()]);
        let order: Vec<(&str, bool)> = loaders.iter().map(|loader| (loader.name.as_str(), loader.is_own)).collect();
        assert_eq!(
            order,
            [
                ("undionly.kpxe", false),
                ("ipxe.pxe", true),
                ("ipxe.efi", false),
                ("ipxe-snponly-x86_64.efi", true),
                ("snponly.efi", false)
            ],
            "a file of no known name is not taken"
        );
        assert_eq!(loaders.by_name("ipxe.pxe").unwrap().bytes, "own");
    }

    #[test]
    fn what_a_program_says_of_its_drivers_counts_more_than_its_name() {
        let bytes = [&program(0x8664)[..], b"\0SNPONLY\0"].concat();
        let loader = Loader::new("ipxe.efi", Firmware::EfiX64, PathBuf::new(), bytes.into());
        assert_eq!(loader.kind, Some(LoaderKind::Snponly));
        let silent = Loader::new("x86_64/ipxe.efi", Firmware::EfiX64, PathBuf::new(), program(0x8664).into());
        assert_eq!((silent.name.as_str(), silent.kind), ("x86_64-ipxe.efi", Some(LoaderKind::Ipxe)));
    }
}
