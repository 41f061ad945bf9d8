//! The steps of a boot, in the order a machine goes through them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How far a machine got. Later steps compare greater; a step may be missing, because firmware differs (a UEFI HTTP
/// boot has no TFTP) and because iPXE in a card's ROM needs no loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The firmware asked by DHCP how to boot.
    Discover,
    /// It was answered with something to boot.
    Offer,
    /// It has taken the iPXE loader, by TFTP or HTTP.
    Loader,
    /// iPXE runs: it asked by DHCP, or for the first script, which is the same for everybody.
    Ipxe,
    /// iPXE asked for its script; what to boot was decided here.
    Script,
    /// The kernel was taken.
    Kernel,
    /// The initramfs was taken.
    Initramfs,
    /// The site's initrd was taken, which has the overlay (apkovl) and the site's key.
    SiteInitrd,
    /// Packages were taken from the bundle's repository: the kernel runs, and init installs the world.
    Packages,
    /// The modloop was taken: init is done, and OpenRC starts services.
    Modloop,
    /// Userspace reported what runs.
    CheckIn,
}

/// A word that names no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a boot step; the steps are discover, offer, loader, ipxe, script, kernel, initramfs, site-initrd, packages, modloop and check-in"
)]
pub struct StepError(String);

impl Step {
    /// Every step, first to last.
    pub const ALL: [Self; 11] = [
        Self::Discover,
        Self::Offer,
        Self::Loader,
        Self::Ipxe,
        Self::Script,
        Self::Kernel,
        Self::Initramfs,
        Self::SiteInitrd,
        Self::Packages,
        Self::Modloop,
        Self::CheckIn,
    ];

    /// Whether the machine takes a file at this step, so that it is done when the transfer is.
    #[must_use]
    pub fn is_transfer(self) -> bool {
        use Step::{Initramfs, Kernel, Loader, Modloop, Packages, SiteInitrd};
        matches!(self, Loader | Kernel | Initramfs | SiteInitrd | Packages | Modloop)
    }

    /// The step's word, as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::Offer => "offer",
            Self::Loader => "loader",
            Self::Ipxe => "ipxe",
            Self::Script => "script",
            Self::Kernel => "kernel",
            Self::Initramfs => "initramfs",
            Self::SiteInitrd => "site-initrd",
            Self::Modloop => "modloop",
            Self::Packages => "packages",
            Self::CheckIn => "check-in",
        }
    }
}

/// A transfer that ended, whether or not the machine has all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// How many bytes of the file were sent, as far as the server can tell.
    pub bytes: u64,
    /// How many there were to send.
    pub of: u64,
    /// From the request to the last packet.
    pub took: Duration,
}

impl Sent {
    /// Whether nothing is missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.bytes >= self.of
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Step {
    type Err = StepError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let same = |step: &Self| step.as_str() == text;
        Self::ALL.into_iter().find(same).ok_or_else(|| StepError(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_read_back_from_its_word_and_they_are_in_order() {
        for step in Step::ALL {
            assert_eq!(step.to_string().parse(), Ok(step));
        }
        assert!(Step::ALL.is_sorted());
        assert_eq!(Step::CheckIn.to_string(), "check-in");
        assert!("Discover".parse::<Step>().is_err());
    }
}
