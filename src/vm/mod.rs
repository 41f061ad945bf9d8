//! One virtual machine in QEMU, for which nobody needs a privilege.
//!
//! ```text
//!                 ┌─ QEMU's user-mode network: gives 10.0.2.15, sends files by TFTP as 10.0.2.2, and joins
//!  card ─── hub ──┤  each connection to port 80 of 10.0.2.100 to a program on this computer
//!                 └─ cable: a pair of sockets, at whose other end Bivouac answers DHCP as a proxy
//! ```
//!
//! The hub is there for one reason: how a machine finds its boot file is what differs between kinds of firmware, and the
//! user-mode network alone can say one name to all who ask. A BIOS machine would do with the URL of a script. UEFI takes a
//! loader by TFTP, and the iPXE in it would be told the same loader again, for ever. UEFI HTTP Boot listens only to an
//! offer that calls itself `HTTPClient`, which that network never sends. With the cable, all three get what a proxy
//! beside the DHCP server of a site gives them, from the same code. A namespace with a tap device would do as well, where
//! distributions and containers let users have one; many do not.
//!
//! That program leads to Bivouac on the loopback, and nothing else does: left to itself, the user-mode network would pass
//! on whatever the machine sends, to the loopback of this computer and to all the networks this computer reaches, and a
//! machine that is tried could tell a real one's servers that it is that one. Whoever wants that asks for it
//! ([`Reach::Everything`]).
//!
//! Both sockets that QEMU is given, the cable and its control, are its standard input and output: nobody else can reach
//! them, they have no path that could be too long, and they end with the programs.

mod arguments;
mod console;
mod control;
mod display;
mod firmware;
mod memory;
mod orphan;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

pub use console::Console;
pub use control::{ControlError, Shutdown};
pub use display::Display;
pub use firmware::{Firmware, Flash};
pub use memory::{Memory, MemoryError};

use crate::model::mac::Mac;
use control::Control;

/// The address of this computer in the machine's network, where DHCP and TFTP are answered.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// The card that the user-mode network gives to that address; whatever else answers there had better have the same.
pub const HOST_CARD: Mac = Mac([0x52, 0x55, 10, 0, 2, 2]);

/// The address whose port 80 is the machine's server. ([`HOST`] cannot be: what the user-mode network answers for
/// itself, it joins to nothing.)
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);

/// The program.
pub const QEMU: &str = "qemu-system-x86_64";

/// The most that is read of what QEMU says.
const MAX_SAID: u64 = 64 << 10;

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// QEMU is not there.
    #[error(
        "`{QEMU}` is not installed, or not in PATH; install the package `qemu-system-x86` (Debian, Ubuntu) or `qemu-system-x86_64` (Alpine)"
    )]
    NoQemu,
    /// UEFI firmware is not there.
    #[error("UEFI firmware for QEMU is not installed; install the package `ovmf` (Debian, Ubuntu, Alpine)")]
    NoFirmware,
    /// This QEMU has no windows.
    #[error(
        "this QEMU opens no window; install the package `qemu-system-gui` (Debian, Ubuntu) or `qemu-ui-gtk` (Alpine), or use --display vnc"
    )]
    NoWindow,
    /// It cannot be run.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It ended by itself, and no machine had switched itself off.
    #[error("QEMU ended: {}", if said.is_empty() { "it did not say why" } else { said })]
    Ended {
        /// What it said.
        said: String,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VmError {
    move |source| VmError::Io { action, path: path.to_owned(), source }
}

/// How instructions are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// By software, some ten times slower.
    Software,
}

impl Accelerator {
    /// The best one there is; with the reason why it is not the processor.
    #[must_use]
    pub fn best() -> (Self, Option<String>) {
        const DEVICE: &str = "/dev/kvm";
        if !cfg!(target_arch = "x86_64") {
            return (Self::Software, Some("this computer is no x86_64".to_owned()));
        }
        match File::options().read(true).write(true).open(DEVICE) {
            Ok(_) => (Self::Kvm, None),
            Err(error) => (Self::Software, Some(format!("{DEVICE} cannot be used: {error}"))),
        }
    }
}

/// What a machine reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// [`SERVER`], and nothing else.
    Server,
    /// Whatever this computer reaches, besides.
    Everything,
}

/// A machine as it is to be.
#[derive(Debug)]
pub struct Hardware<'a> {
    /// The program, as [`find_qemu`] found it.
    pub qemu: &'a Path,
    /// How instructions are run.
    pub accelerator: Accelerator,
    /// What starts it.
    pub firmware: &'a Firmware,
    /// Its memory.
    pub memory: Memory,
    /// Where its screen is shown.
    pub display: Display,
    /// The address of its network card.
    pub mac: Mac,
    /// The UUID of its SMBIOS.
    pub uuid: &'a str,
    /// The serial number of its SMBIOS.
    pub serial: &'a str,
    /// The folder whose files it can have by TFTP.
    pub tftp: &'a Path,
    /// The program that answers as [`SERVER`], with its arguments: it is started for each connection, which is its standard
    /// input and output.
    pub server: &'a [OsString],
    /// What it reaches besides.
    pub reach: Reach,
    /// The file that gets what it says on its first serial port.
    pub console: &'a Path,
    /// A folder for what belongs to the running machine.
    pub folder: &'a Path,
}

/// Looks for QEMU in the folders of a `PATH`.
///
/// # Errors
/// [`VmError::NoQemu`] when it is in none.
pub fn find_qemu(path: &std::ffi::OsStr) -> Result<PathBuf, VmError> {
    let found = std::env::split_paths(path).map(|folder| folder.join(QEMU)).find(|program| program.is_file());
    found.ok_or(VmError::NoQemu)
}

/// A machine that is switched on, until this goes away.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    control: Control,
    accelerator: Accelerator,
    /// What QEMU says, as opposed to the machine.
    said: PathBuf,
}

/// How a machine ended that was not switched off from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It switched itself off, or tried to start again; machines here do not.
    ByItself(Shutdown),
    /// QEMU cannot use the processor's virtualization after all, which shows only when it tries: inside of other virtual
    /// machines, for one.
    KvmFails,
}

impl Machine {
    /// Switches a machine on; gives the other end of its cable. The thread that calls this must live as long as the
    /// machine: the system ends the machine with it.
    ///
    /// # Errors
    /// When QEMU cannot be run.
    pub fn start(hardware: &Hardware<'_>) -> Result<(Self, UnixDatagram), VmError> {
        let qemu = hardware.qemu;
        if let Firmware::Uefi(flash) | Firmware::Http(flash) = hardware.firmware {
            // The firmware writes there.
            let own = arguments::variables(hardware.folder);
            fs::copy(&flash.variables, &own).map_err(failed("copy the firmware's variables to", &own))?;
        }
        let said = hardware.folder.join("qemu.log");
        let log = File::create(&said).map_err(failed("write", &said))?;
        let (cable, its_cable) = UnixDatagram::pair().map_err(failed("make a network cable for", qemu))?;
        let (control, its_control) = UnixStream::pair().map_err(failed("make a socket for", qemu))?;
        let mut command = Command::new(qemu);
        command
            .args(arguments::arguments(hardware))
            .stdin(Stdio::from(OwnedFd::from(its_cable)))
            .stdout(Stdio::from(OwnedFd::from(its_control)))
            .stderr(Stdio::from(log));
        orphan::end_with_us(&mut command);
        let child = command.spawn().map_err(failed("run", qemu))?;
        // The command holds the other ends too, and they shall close when QEMU ends.
        drop(command);
        let control = Control::new(control).map_err(failed("use the socket of", qemu))?;
        Ok((Self { child, control, accelerator: hardware.accelerator, said }, cable))
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When QEMU ended because it could not go on.
    pub fn end(&mut self) -> Result<Option<End>, VmError> {
        let by_processor = self.accelerator == Accelerator::Kvm;
        // QEMU goes on without the machine then, for whoever wants to look into it.
        if by_processor && self.said().contains("KVM internal error") {
            return Ok(Some(End::KvmFails));
        }
        match self.child.try_wait().map_err(failed("wait for", Path::new(QEMU)))? {
            None => Ok(None),
            Some(_) => match self.control.last_words() {
                Some(shutdown) => Ok(Some(End::ByItself(shutdown))),
                None if by_processor => Ok(Some(End::KvmFails)),
                None => Err(VmError::Ended { said: self.said() }),
            },
        }
    }

    /// What QEMU itself said, which is mostly nothing.
    fn said(&self) -> String {
        let mut bytes = Vec::new();
        // What cannot be read was not said.
        let _ = File::open(&self.said).and_then(|file| file.take(MAX_SAID).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// Saves what is on its screen, as PNG if the name of the file ends so, otherwise as PPM.
    ///
    /// # Errors
    /// When QEMU cannot do that, or does not answer.
    pub async fn save_screen(&mut self, file: &Path) -> Result<(), ControlError> {
        let is_png = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
        let mut arguments = json!({ "filename": file });
        // Before version 7.1, QEMU knows no formats.
        if let (true, Some(arguments)) = (is_png, arguments.as_object_mut()) {
            arguments.insert("format".to_owned(), Value::from("png"));
        }
        self.control.execute("screendump", arguments).await.map(drop)
    }

    /// Where its screen can be looked at by VNC.
    ///
    /// # Errors
    /// When it is shown otherwise, or QEMU does not answer.
    pub async fn vnc(&mut self) -> Result<String, ControlError> {
        let answer = self.control.execute("query-vnc", json!({})).await?;
        let part = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        Ok(format!("{}:{}", part("host"), part("service")))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It has no disk that could be damaged. It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_is_looked_for_in_each_folder_of_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = std::env::join_paths([Path::new("/nowhere"), folder.path()]).unwrap();
        let error = find_qemu(&path).unwrap_err().to_string();
        assert!(
            error.contains("`qemu-system-x86` (Debian") && error.contains("`qemu-system-x86_64` (Alpine)"),
            "{error}"
        );
        fs::write(folder.path().join(QEMU), "").unwrap();
        assert_eq!(find_qemu(&path).unwrap(), folder.path().join(QEMU));
    }
}
