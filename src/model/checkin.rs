//! What a booted machine reports: the text its check-in service posts.
//!
//! One fact a line, `word value`, so that a POSIX shell can write it with `echo` and `awk`. Unknown words are ignored,
//! so that an older server understands a newer overlay.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::model::manifest::{BundleId, Manifest};

/// The longest report that is read; 5 000 packages need about 200 KiB.
pub const MAX_REPORT: usize = 512 * 1024;

/// The longest line.
const MAX_LINE: usize = 512;

/// Why a report is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Longer than [`MAX_REPORT`], or a line longer than allowed.
    #[error("the report is too long")]
    TooLong,
    /// Something else than printable ASCII, which is all that names of packages and kernels have.
    #[error("the report is not plain text")]
    NotText,
    /// A fact that must be there is not, or cannot be read.
    #[error("the report has no usable `{0}` line")]
    Missing(&'static str),
}

/// What a machine reports once it is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The bundle its kernel command line named.
    pub bundle: BundleId,
    /// The digest of the overlay it unpacked, from `etc/bivouac/overlay` of its root.
    pub overlay: Option<Digest>,
    /// Its host name.
    pub hostname: String,
    /// Its kernel, `uname -r`.
    pub kernel: Option<String>,
    /// Whether the kernel modules of the bundle are mounted.
    pub modloop: bool,
    /// `etc/apk/world`, sorted.
    pub world: Vec<String>,
    /// Installed packages, `name-version`, sorted.
    pub packages: Vec<String>,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// When it is too long, not text, or lacks the bundle or the host name.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() > MAX_REPORT {
            return Err(ReportError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ReportError::NotText)?;
        let (mut bundle, mut overlay, mut hostname, mut kernel) = (None, None, None, None);
        let (mut modloop, mut world, mut packages) = (false, Vec::new(), Vec::new());
        for line in text.lines() {
            if line.len() > MAX_LINE {
                return Err(ReportError::TooLong);
            }
            if !line.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
                return Err(ReportError::NotText);
            }
            let Some((word, value)) = line.split_once(' ') else { continue };
            let value = value.trim();
            match word {
                "bundle" => bundle = value.parse().ok(),
                "overlay" => overlay = value.parse().ok(),
                "hostname" if is_hostname(value) => hostname = Some(value.to_owned()),
                "kernel" => kernel = Some(value.to_owned()),
                "modloop" => modloop = value == "mounted",
                "world" => world.push(value.to_owned()),
                "package" => packages.push(value.to_owned()),
                _ => {}
            }
        }
        world.sort();
        packages.sort();
        Ok(Self {
            bundle: bundle.ok_or(ReportError::Missing("bundle"))?,
            overlay,
            hostname: hostname.ok_or(ReportError::Missing("hostname"))?,
            kernel,
            modloop,
            world,
            packages,
        })
    }

    /// What differs between this report and the bundle the machine was sent; empty when it runs just that.
    ///
    /// Stock Alpine boots on without its overlay, packages or modules (alpine.md 1.8), so each is looked at.
    #[must_use]
    pub fn differences(&self, id: &BundleId, manifest: &Manifest) -> Vec<String> {
        let mut found = Vec::new();
        if self.bundle != *id {
            found.push(format!("runs bundle {} instead of {}", self.bundle.short(), id.short()));
        }
        if self.overlay != Some(manifest.overlay) {
            let has = self.overlay.map_or_else(|| "none".to_owned(), |digest| digest.short());
            found.push(format!("unpacked overlay {has} instead of {}", manifest.overlay.short()));
        }
        if !self.modloop {
            found.push("the kernel modules are not mounted".to_owned());
        }
        let expected: BTreeSet<String> =
            manifest.packages.iter().map(|package| format!("{}-{}", package.name, package.version)).collect();
        let installed: BTreeSet<&str> = self.packages.iter().map(String::as_str).collect();
        let lacking: Vec<&str> =
            expected.iter().map(String::as_str).filter(|package| !installed.contains(package)).collect();
        if !lacking.is_empty() {
            found.push(format!("not installed: {}", listed(&lacking)));
        }
        let extra: Vec<&str> = installed.into_iter().filter(|package| !expected.contains(*package)).collect();
        if !extra.is_empty() {
            found.push(format!("installed beyond the bundle: {}", listed(&extra)));
        }
        found
    }
}

/// A host name goes to people's terminals, so it has only what one may have (RFC 1123, section 2.1).
fn is_hostname(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

/// The first few of a list, and how many more.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::manifest::PackageEntry;
    use crate::model::manifest::tests::sample;

    fn manifest() -> Manifest {
        let mut manifest = sample("vdi");
        manifest.packages = vec![PackageEntry {
            name: "busybox".to_owned(),
            version: "1.36-r1".to_owned(),
            identity: "Q1".to_owned(),
            sha256: Digest::of(b"busybox"),
            size: 1,
        }];
        manifest
    }

    fn text(manifest: &Manifest) -> String {
        format!(
            "bundle {}\noverlay {}\nhostname vdi\nkernel 6.1.0\nmodloop mounted\nworld b\nworld a\n\
             package busybox-1.36-r1\nfuture thing\n",
            manifest.id(),
            manifest.overlay
        )
    }

    #[test]
    fn a_machine_that_runs_its_bundle_differs_in_nothing() {
        let manifest = manifest();
        let report = Report::parse(text(&manifest).as_bytes()).unwrap();
        assert_eq!(report.world, ["a", "b"]);
        assert_eq!(report.differences(&manifest.id(), &manifest), Vec::<String>::new());
    }

    #[test]
    fn each_way_alpine_boots_on_without_something_is_found() {
        let manifest = manifest();
        let good = text(&manifest);
        for (from, to, said) in [
            ("modloop mounted", "modloop missing", "the kernel modules are not mounted"),
            ("package busybox-1.36-r1\n", "", "not installed: busybox-1.36-r1"),
            ("package busybox-1.36-r1", "package busybox-1.36-r1\npackage vim-9-r0", "beyond the bundle: vim-9-r0"),
            ("overlay", "under", "unpacked overlay none instead of"),
            ("bundle ", &format!("bundle {}\nx ", Digest::of(b"x")), "runs bundle"),
        ] {
            let report = Report::parse(good.replacen(from, to, 1).as_bytes()).unwrap();
            let found = report.differences(&manifest.id(), &manifest);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(said), "{found:?}");
        }
    }

    #[test]
    fn a_report_without_bundle_or_host_name_is_refused() {
        assert_eq!(Report::parse(b"hostname x\n"), Err(ReportError::Missing("bundle")));
        let id = Digest::of(b"x");
        assert_eq!(Report::parse(format!("bundle {id}\n").as_bytes()), Err(ReportError::Missing("hostname")));
        assert_eq!(Report::parse(&[b'a'; MAX_REPORT + 1]), Err(ReportError::TooLong));
        assert_eq!(Report::parse(b"hostname \xff\n"), Err(ReportError::NotText));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = Report::parse(&bytes);
        }
    }
}
