//! The checks a fetch makes beyond checksums, which a site may switch off by name.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One check. Checksums and package index signatures are not among them: they are always made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The OpenPGP signature of the netboot tarball (REL-6).
    Signature,
    /// The signature of the modloop, which the initramfs brings (ML-2, ML-4).
    Modloop,
    /// Kernel, initramfs and modloop are of one kernel release (ML-4).
    Kernel,
    /// A moving name such as `latest-stable` never leads back to an older release.
    Replay,
}

impl Check {
    /// Every check.
    pub const ALL: [Self; 4] = [Self::Signature, Self::Modloop, Self::Kernel, Self::Replay];

    /// Its name in the site file and in listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Modloop => "modloop",
            Self::Kernel => "kernel",
            Self::Replay => "replay",
        }
    }

    /// The check of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.name() == name)
    }

    /// Checks as a listing names them: `kernel, replay`.
    #[must_use]
    pub fn list(checks: &BTreeSet<Self>) -> String {
        checks.iter().map(|check| check.name()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Check {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_has_one_name_everywhere() {
        for check in Check::ALL {
            assert_eq!(Check::named(check.name()), Some(check));
            assert_eq!(serde_json::to_string(&check).unwrap(), format!("\"{check}\""));
        }
        assert_eq!(Check::named("Signature"), None);
        assert_eq!(Check::list(&BTreeSet::from([Check::Replay, Check::Signature])), "signature, replay");
    }
}
