//! The firmware a machine starts with, and where distributions put it.

use std::path::{Path, PathBuf};

use super::VmError;

/// What starts the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS with the iPXE that is in the network card's ROM.
    Bios,
    /// OVMF's PXE client, which takes a loader by TFTP.
    Uefi(Flash),
    /// OVMF's HTTP Boot client.
    Http(Flash),
}

/// The two files that OVMF consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flash {
    /// The program.
    pub code: PathBuf,
    /// Its variables as they are at first.
    pub variables: PathBuf,
}

/// Where distributions have OVMF without Secure Boot, which no loader of ours is signed for. Below the root folder.
const OVMF: [[&str; 2]; 6] = [
    // Debian and Ubuntu
    ["usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"],
    // Alpine, and older ones of those
    ["usr/share/OVMF/OVMF_CODE.fd", "usr/share/OVMF/OVMF_VARS.fd"],
    // Fedora
    ["usr/share/edk2/ovmf/OVMF_CODE.fd", "usr/share/edk2/ovmf/OVMF_VARS.fd"],
    // Arch
    ["usr/share/edk2/x64/OVMF_CODE.4m.fd", "usr/share/edk2/x64/OVMF_VARS.4m.fd"],
    // openSUSE
    ["usr/share/qemu/ovmf-x86_64-code.bin", "usr/share/qemu/ovmf-x86_64-vars.bin"],
    // QEMU's own
    ["usr/share/qemu/edk2-x86_64-code.fd", "usr/share/qemu/edk2-i386-vars.fd"],
];

impl Flash {
    /// Looks for OVMF below the root folder.
    ///
    /// # Errors
    /// [`VmError::NoFirmware`] when it is nowhere.
    pub fn find(root: &Path) -> Result<Self, VmError> {
        let found = OVMF.map(|files| files.map(|file| root.join(file))).into_iter();
        let mut found = found.filter(|files| files.iter().all(|file| file.is_file()));
        found.next().map(|[code, variables]| Self { code, variables }).ok_or(VmError::NoFirmware)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn both_files_of_the_firmware_have_to_be_there() {
        let root = tempfile::tempdir().unwrap();
        let put = |file: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path
        };
        put("usr/share/OVMF/OVMF_CODE_4M.fd");
        let error = Flash::find(root.path()).unwrap_err().to_string();
        assert!(error.contains("install the package `ovmf`"), "{error}");
        let (code, variables) = (put("usr/share/OVMF/OVMF_CODE.fd"), put("usr/share/OVMF/OVMF_VARS.fd"));
        assert_eq!(Flash::find(root.path()).unwrap(), Flash { code, variables });
    }
}
