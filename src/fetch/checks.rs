//! What a fetch insists on: Alpine's release key, the site's own keys, and the checks that were switched off.

use std::collections::BTreeSet;
use std::fmt;

use super::openpgp::{Fingerprint, ReleaseKey, ReleaseKeys};
use crate::apk::KeyRing;
use crate::model::alpine::Arch;
use crate::model::check::Check;

/// Alpine's release key (REL-6).
const ALPINE_KEY: &[u8] = include_bytes!("keys/ncopa.asc");

/// The fingerprint it must have.
const ALPINE_FINGERPRINT: Fingerprint = Fingerprint::new([
    0x04, 0x82, 0xd8, 0x40, 0x22, 0xf5, 0x2d, 0xf1, 0xc4, 0xe7, 0xcd, 0x43, 0x29, 0x3a, 0xcd, 0x09, 0x07, 0xd9, 0x49,
    0x5a,
]);

/// What is checked, and with which keys.
#[derive(Debug, Clone)]
pub struct Checks {
    /// The OpenPGP keys one of which must have signed a netboot tarball.
    pub release_keys: ReleaseKeys,
    /// Keys that may sign package indexes and modloops besides those of the initramfs.
    pub package_keys: KeyRing,
    /// The checks that are not made.
    pub off: BTreeSet<Check>,
}

impl Default for Checks {
    /// Every check, with Alpine's keys.
    fn default() -> Self {
        let mut release_keys = ReleaseKeys::default();
        let key = ReleaseKey::parse_pinned(ALPINE_KEY, ALPINE_FINGERPRINT);
        release_keys.insert(key.expect("the key is part of the program, and a test reads it"));
        Self { release_keys, package_keys: KeyRing::new(), off: BTreeSet::new() }
    }
}

impl Checks {
    /// Whether a check is made.
    #[must_use]
    pub fn makes(&self, check: Check) -> bool {
        !self.off.contains(&check)
    }
}

/// The kernel releases (`uname -r`) the files of a set tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernels {
    /// The kernel image's own; not every kind of image tells it.
    pub image: Option<String>,
    /// Of the modules in the initramfs; it may have none.
    pub initramfs: Option<String>,
    /// Of the modules in the modloop.
    pub modloop: Vec<String>,
}

impl Kernels {
    /// The one release all of them are of. Initramfs and modloop have to tell, and the kernel of a PC; kernels of other
    /// architectures may be packed in ways that cannot be read.
    pub(super) fn one(self, arch: &Arch) -> Result<Option<String>, Self> {
        let told = [self.image.as_ref(), self.initramfs.as_ref()].into_iter().flatten().chain(&self.modloop);
        let different: BTreeSet<&String> = told.collect();
        let must_image_tell = matches!(arch.as_str(), "x86" | "x86_64");
        let is_silent =
            self.modloop.is_empty() || self.initramfs.is_none() || (must_image_tell && self.image.is_none());
        match different.len() {
            1 if !is_silent => Ok(different.into_iter().next().cloned()),
            _ => Err(self),
        }
    }
}

impl fmt::Display for Kernels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "an untold release".to_owned();
        let modloop = if self.modloop.is_empty() { "no kernel".to_owned() } else { self.modloop.join(" and ") };
        write!(
            out,
            "a kernel of {}, an initramfs with modules of {} and a modloop with modules of {modloop}",
            self.image.clone().unwrap_or_else(unknown),
            self.initramfs.clone().unwrap_or_else(unknown),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpines_key_is_the_one_whose_fingerprint_it_publishes() {
        let fingerprints: Vec<String> =
            Checks::default().release_keys.iter().map(|key| key.fingerprint().to_string()).collect();
        assert_eq!(fingerprints, ["0482D84022F52DF1C4E7CD43293ACD0907D9495A"]);
    }

    #[test]
    fn a_set_is_of_one_kernel_as_far_as_its_files_tell() {
        let on = |arch: &str, image: Option<&str>, initramfs: Option<&str>, modloop: &[&str]| {
            let (image, initramfs) = (image.map(str::to_owned), initramfs.map(str::to_owned));
            let modloop = modloop.iter().map(|it| (*it).to_owned()).collect();
            Kernels { image, initramfs, modloop }.one(&arch.parse().unwrap())
        };
        let of =
            |image: Option<&str>, initramfs: Option<&str>, modloop: &[&str]| on("x86_64", image, initramfs, modloop);
        let a = Ok(Some("6.18.1-0-lts".to_owned()));
        assert_eq!(of(Some("6.18.1-0-lts"), Some("6.18.1-0-lts"), &["6.18.1-0-lts"]), a);
        assert_eq!(on("aarch64", None, Some("6.18.1-0-lts"), &["6.18.1-0-lts"]), a);
        for wrong in [
            of(Some("6.18.0-0-lts"), Some("6.18.1-0-lts"), &["6.18.1-0-lts"]),
            of(Some("6.18.1-0-lts"), Some("6.18.0-0-lts"), &["6.18.1-0-lts"]),
            of(Some("6.18.1-0-lts"), None, &["6.18.1-0-lts"]),
            of(None, Some("6.18.1-0-lts"), &["6.18.1-0-lts"]),
            on("aarch64", None, None, &["6.18.1-0-lts"]),
            of(None, None, &["6.18.0-0-lts", "6.18.1-0-lts"]),
            of(Some("6.18.1-0-lts"), Some("6.18.1-0-lts"), &[]),
        ] {
            wrong.unwrap_err();
        }
        let text = of(Some("6.18.0-0-lts"), None, &["6.18.1-0-lts"]).unwrap_err().to_string();
        assert_eq!(
            text,
            "a kernel of 6.18.0-0-lts, an initramfs with modules of an untold release and a modloop with modules of 6.18.1-0-lts"
        );
    }
}
