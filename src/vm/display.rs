//! Where a machine's screen is shown.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{VmError, failed};

/// Where a machine's screen is shown. It has one all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// Nowhere.
    None,
    /// To whoever connects by VNC, from this computer only.
    Vnc,
    /// In a window, by this part of QEMU.
    Window(&'static str),
}

/// The parts of QEMU that open windows, the better one first.
const WINDOWS: [&str; 2] = ["gtk", "sdl"];

impl Display {
    /// A window of this QEMU.
    ///
    /// # Errors
    /// When QEMU cannot be asked, or opens none.
    pub fn window(qemu: &Path) -> Result<Self, VmError> {
        let asked = Command::new(qemu).args(["-display", "help"]).stdin(Stdio::null()).output();
        let said = asked.map_err(failed("run", qemu))?.stdout;
        let said = String::from_utf8_lossy(&said);
        let has = |window: &&str| said.lines().any(|line| line.trim() == *window);
        WINDOWS.into_iter().find(has).map(Self::Window).ok_or(VmError::NoWindow)
    }

    /// What QEMU calls it.
    pub(super) const fn argument(self) -> &'static str {
        match self {
            Self::None => "none",
            // The first port of a hundred that nobody has.
            Self::Vnc => "vnc=127.0.0.1:0,to=99",
            Self::Window(window) => window,
        }
    }
}
