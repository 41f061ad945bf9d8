//! What an Alpine initramfs says about itself: whose packages and modules it trusts, and which kernel it is for.

use std::collections::BTreeMap;
use std::path::Path;

use crate::disk::{self, DiskError};
use crate::wire::cpio::{CpioError, Reader};
use crate::wire::kernel;

/// The largest initramfs read. Alpine's has 28 MB (REL-4).
const LARGEST: u64 = 256 << 20;

/// The most an initramfs may unpack to.
const LARGEST_UNPACKED: u64 = 512 << 20;

/// The largest key or signature; real ones have less than 1 KiB.
const LARGEST_FACT: u64 = 64 << 10;

/// The largest busybox; a static one has two megabytes.
const LARGEST_BUSYBOX: u64 = 16 << 20;

/// How many keys and signatures are kept; real ones are a dozen.
const MOST_FACTS: usize = 256;

/// The facts, each list sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitramfsFacts {
    /// The keys by which the booted system accepts packages and the modloop: file name below `etc/apk/keys`, and the
    /// PEM text.
    pub apk_keys: Vec<(String, Vec<u8>)>,
    /// Signatures of a modloop: file name below `var/cache/misc` (`modloop-lts.SIGN.RSA.<key>`), and its bytes (ML-2,
    /// ML-4).
    pub modloop_signatures: Vec<(String, Vec<u8>)>,
    /// The kernel release (`uname -r`) that its modules are for; `None` when it has no modules.
    pub kernel_version: Option<String>,
    /// The machine its busybox is for (`e_machine` of the ELF specification); `None` when it has none.
    pub machine: Option<u16>,
}

/// Why an initramfs has no facts.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// The file cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is not an archive, or is damaged.
    #[error(transparent)]
    Archive(#[from] CpioError),
    /// It has modules of more than one kernel, so it is not clear for which it is.
    #[error("it has modules of the kernels {0} and {1}; one is expected")]
    TwoKernels(String, String),
    /// It has an absurd number of keys and signatures.
    #[error("it has more than {MOST_FACTS} keys and signatures")]
    TooMany,
}

impl InitramfsFacts {
    /// Reads a file of up to 256 MiB.
    ///
    /// # Errors
    /// When it cannot be read, or as [`InitramfsFacts::parse`].
    pub fn load(path: &Path) -> Result<Self, InitramfsError> {
        Self::parse(&disk::read_bounded(path, LARGEST)?)
    }

    /// Reads an initramfs, unpacking up to 512 MiB of it, a piece at a time.
    ///
    /// # Errors
    /// When the bytes are not an initramfs, or contradict themselves.
    pub fn parse(bytes: &[u8]) -> Result<Self, InitramfsError> {
        let mut reader = Reader::new(bytes, LARGEST_UNPACKED);
        let (mut keys, mut signatures) = (BTreeMap::new(), BTreeMap::new());
        let (mut kernel_version, mut machine): (Option<String>, Option<u16>) = (None, None);
        while let Some(entry) = reader.next_entry()? {
            if let Some(version) = modules_of(&entry.name) {
                match &kernel_version {
                    Some(other) if other != version => {
                        return Err(InitramfsError::TwoKernels(other.clone(), version.to_owned()));
                    }
                    _ => kernel_version = Some(version.to_owned()),
                }
            }
            if !entry.is_file() {
                continue;
            }
            if matches!(entry.name.as_str(), "bin/busybox" | "usr/bin/busybox") {
                machine = elf_machine(&reader.content(&entry, LARGEST_BUSYBOX)?);
                continue;
            }
            // A later archive replaces what an earlier one had, in the kernel as here.
            if let Some(name) = file_in("etc/apk/keys/", &entry.name) {
                keys.insert(name.to_owned(), reader.content(&entry, LARGEST_FACT)?);
            } else if let Some(name) = file_in("var/cache/misc/", &entry.name).filter(|it| it.contains(".SIGN.")) {
                signatures.insert(name.to_owned(), reader.content(&entry, LARGEST_FACT)?);
            }
            if keys.len() + signatures.len() > MOST_FACTS {
                return Err(InitramfsError::TooMany);
            }
        }
        Ok(Self {
            apk_keys: keys.into_iter().collect(),
            modloop_signatures: signatures.into_iter().collect(),
            kernel_version,
            machine,
        })
    }
}

/// The machine an ELF program is for (ELF specification, "ELF Header": `e_ident`, `e_machine`).
fn elf_machine(bytes: &[u8]) -> Option<u16> {
    const BIG_ENDIAN: u8 = 2;
    let field: [u8; 2] = bytes.get(18..20)?.try_into().ok()?;
    let is_big = *bytes.get(5)? == BIG_ENDIAN;
    let machine = if is_big { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) };
    bytes.starts_with(b"\x7fELF").then_some(machine)
}

/// The name of a file that lies directly in a folder.
fn file_in<'a>(folder: &str, name: &'a str) -> Option<&'a str> {
    name.strip_prefix(folder).filter(|it| !it.is_empty() && !it.contains('/'))
}

/// The kernel whose modules a path belongs to.
fn modules_of(name: &str) -> Option<&str> {
    let below = name.strip_prefix("usr/").unwrap_or(name).strip_prefix("lib/modules/")?;
    below.split('/').next().filter(|it| kernel::is_release(it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::cpio::Writer;
    use crate::wire::gzip::gzip;

    fn initramfs(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(0);
        for (name, content) in files {
            writer.file(name, 0o644, content).unwrap();
        }
        gzip(&writer.finish())
    }

    #[test]
    fn keys_signatures_and_kernel_are_found() {
        let first = initramfs(&[
            ("init", b"#!/bin/sh"),
            ("bin/busybox", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0"),
            ("etc/apk/keys/b.rsa.pub", b"B"),
            ("etc/apk/keys/a.rsa.pub", b"old"),
            ("etc/apk/keys/deep/c.rsa.pub", b"C"),
            ("var/cache/misc/modloop-lts.SIGN.RSA.a.rsa.pub", b"signature"),
            ("var/cache/misc/other", b""),
            ("lib/modules/6.12.30-0-lts/modules.dep", b""),
            ("lib/modules-load.d/x", b""),
        ]);
        let second = initramfs(&[("etc/apk/keys/a.rsa.pub", b"A")]);
        let facts = InitramfsFacts::parse(&[first, second].concat()).unwrap();
        let expected = InitramfsFacts {
            apk_keys: vec![("a.rsa.pub".to_owned(), b"A".to_vec()), ("b.rsa.pub".to_owned(), b"B".to_vec())],
            modloop_signatures: vec![("modloop-lts.SIGN.RSA.a.rsa.pub".to_owned(), b"signature".to_vec())],
            kernel_version: Some("6.12.30-0-lts".to_owned()),
            machine: Some(62),
        };
        assert_eq!(facts, expected);
    }

    #[test]
    fn an_initramfs_without_modules_is_for_any_kernel() {
        let facts = InitramfsFacts::parse(&initramfs(&[("init", b"")])).unwrap();
        assert_eq!(
            facts,
            InitramfsFacts { apk_keys: vec![], modloop_signatures: vec![], kernel_version: None, machine: None }
        );
    }

    #[test]
    fn modules_of_two_kernels_are_refused() {
        let bytes = initramfs(&[("lib/modules/6.1.0/x", b""), ("usr/lib/modules/6.2.0/x", b"")]);
        assert_eq!(
            InitramfsFacts::parse(&bytes).unwrap_err().to_string(),
            "it has modules of the kernels 6.1.0 and 6.2.0; one is expected"
        );
    }

    #[test]
    fn a_key_of_absurd_size_and_an_absurd_number_of_keys_are_refused() {
        let error = InitramfsFacts::parse(&initramfs(&[("etc/apk/keys/k", &[0; 65_537])])).unwrap_err();
        assert_eq!(error.to_string(), "`etc/apk/keys/k` in the archive has 65537 bytes, more than the 65536 allowed");
        let names: Vec<_> = (0..257).map(|it| format!("etc/apk/keys/{it}")).collect();
        let files: Vec<_> = names.iter().map(|it| (it.as_str(), b"k".as_slice())).collect();
        assert_eq!(
            InitramfsFacts::parse(&initramfs(&files)).unwrap_err().to_string(),
            "it has more than 256 keys and signatures"
        );
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let error = InitramfsFacts::load(Path::new("/nowhere/initramfs")).unwrap_err();
        assert_eq!(error.to_string(), "cannot open /nowhere/initramfs");
    }
}
