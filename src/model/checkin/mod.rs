//! What a booted machine reports: the text its check-in service posts, and the text it is answered with.
//!
//! One fact a line, `word value`, so that a POSIX shell can write it with `echo` and `awk`, and read it with `read`.
//! Unknown words are ignored both ways, so that an older server goes with a newer overlay and the other way round.
//!
//! Packages are reported once: at boot, when they change, and when the server asks for them with the answer [`FULL`].
//! Between that, a report names the last list by its digest.

pub mod orders;
pub mod vitals;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use self::vitals::{MAX_CHECKS, Vitals};
use crate::model::digest::Digest;
use crate::model::manifest::{BundleId, Manifest};

/// The longest report that is read; 5 000 packages need about 200 KiB.
pub const MAX_REPORT: usize = 512 * 1024;

/// The answer to a report that names a list of packages the server does not know: the machine sends everything at once.
pub const FULL: &str = "full";

/// The longest line.
const MAX_LINE: usize = 512;

/// The most packages, and the most lines of the world.
const MAX_LIST: usize = 20_000;

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
    /// More health checks than are read; a machine whose checks nobody reads must not count as good.
    #[error("the report has more than {MAX_CHECKS} checks")]
    TooManyChecks,
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
    /// `etc/apk/world`, sorted; empty when the list is not in this report.
    pub world: Vec<String>,
    /// Installed packages, `name-version`, sorted; empty when the list is not in this report.
    pub packages: Vec<String>,
    /// Whether the lists are in this report.
    #[serde(skip)]
    pub inventory: Inventory,
    /// Which message it has shown to its users, by [`orders::heard`].
    #[serde(skip)]
    pub heard: Option<Digest>,
    /// How the machine is.
    #[serde(skip)]
    pub vitals: Vitals,
}

/// Where the lists of a report are. A digest is the machine's own, over the list as it sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inventory {
    /// In this report, with the digest by which later ones name them.
    Here(Option<Digest>),
    /// In an earlier report, with this digest.
    Earlier(Digest),
}

impl Default for Inventory {
    fn default() -> Self {
        Self::Here(None)
    }
}

/// How what a machine runs differs from what it was told to boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// In everything but packages.
    pub boot: Vec<String>,
    /// In packages; nothing when these were not compared.
    pub packages: Option<Vec<String>>,
}

/// The token that a report names in its first line. On a machine, everybody can read the URL that a program was started
/// with; a report is read by root only.
#[must_use]
pub fn token(report: &[u8]) -> Option<&str> {
    let line = report.split(|byte| *byte == b'\n').next()?;
    std::str::from_utf8(line).ok()?.strip_prefix("token ").map(str::trim)
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
        let (mut here, mut earlier, mut heard, mut vitals) = (None, None, None, Vitals::default());
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
                "inventory" => here = value.parse().ok(),
                "installed" => earlier = value.parse().ok(),
                "heard" => heard = value.parse().ok(),
                _ => vitals.read(word, value),
            }
            if world.len() > MAX_LIST || packages.len() > MAX_LIST {
                return Err(ReportError::TooLong);
            }
            if vitals.checks.len() > MAX_CHECKS {
                return Err(ReportError::TooManyChecks);
            }
        }
        world.sort();
        packages.sort();
        let inventory = match earlier {
            Some(digest) if here.is_none() && world.is_empty() && packages.is_empty() => Inventory::Earlier(digest),
            _ => Inventory::Here(here),
        };
        Ok(Self {
            bundle: bundle.ok_or(ReportError::Missing("bundle"))?,
            overlay,
            hostname: hostname.ok_or(ReportError::Missing("hostname"))?,
            kernel,
            modloop,
            world,
            packages,
            inventory,
            heard,
            vitals,
        })
    }

    /// What differs between this report and the bundle the machine was sent. Packages are compared when the report lists
    /// them.
    ///
    /// Stock Alpine boots on without its overlay, packages or modules (alpine.md 1.8), so each is looked at.
    #[must_use]
    pub fn differences(&self, id: &BundleId, manifest: &Manifest) -> Differences {
        let mut boot = Vec::new();
        if self.bundle != *id {
            boot.push(format!("runs bundle {} instead of {}", self.bundle.short(), id.short()));
        }
        if self.overlay != Some(manifest.overlay) {
            let has = self.overlay.map_or_else(|| "none".to_owned(), |digest| digest.short());
            boot.push(format!("unpacked overlay {has} instead of {}", manifest.overlay.short()));
        }
        if !self.modloop {
            boot.push("the kernel modules are not mounted".to_owned());
        }
        let is_here = matches!(self.inventory, Inventory::Here(_));
        Differences { boot, packages: is_here.then(|| self.different_packages(manifest)) }
    }

    fn different_packages(&self, manifest: &Manifest) -> Vec<String> {
        let mut found = Vec::new();
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
        let none = Differences { boot: Vec::new(), packages: Some(Vec::new()) };
        assert_eq!(report.differences(&manifest.id(), &manifest), none);
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
            let Differences { boot, packages } = report.differences(&manifest.id(), &manifest);
            let found = [boot, packages.unwrap()].concat();
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

    #[test]
    fn a_report_that_names_its_list_by_a_digest_says_nothing_about_packages() {
        let manifest = manifest();
        let (list, facts) = (Digest::of(b"list"), text(&manifest).replace("package ", "other ").replace("world", "w"));
        let report = |more: &str| Report::parse(format!("{facts}{more}").as_bytes()).unwrap();
        let short = report(&format!("installed {list}\n"));
        assert_eq!(short.inventory, Inventory::Earlier(list));
        assert_eq!(short.differences(&manifest.id(), &manifest), Differences::default());
        let full = report(&format!("inventory {list}\npackage busybox-1.36-r1\n"));
        assert_eq!(full.inventory, Inventory::Here(Some(list)));
        assert_eq!(full.differences(&manifest.id(), &manifest).packages, Some(Vec::new()));
        // A machine that has lost its database of packages has a list, and there is nothing in it.
        for lost in [report(&format!("inventory {list}\n")), report("installed x\n"), report("")] {
            let found = lost.differences(&manifest.id(), &manifest).packages.unwrap();
            assert_eq!(found, ["not installed: busybox-1.36-r1"]);
        }
    }

    #[test]
    fn a_report_is_bounded_in_everything() {
        let bundle = Digest::of(b"x");
        let report = |line: &str, count| {
            let text = format!("bundle {bundle}\nhostname x\n{}", line.repeat(count));
            Report::parse(text.as_bytes())
        };
        assert_eq!(report("world a\n", MAX_LIST).unwrap().world.len(), MAX_LIST);
        assert_eq!(report("world a\n", MAX_LIST + 1), Err(ReportError::TooLong));
        assert_eq!(report("package a\n", MAX_LIST + 1), Err(ReportError::TooLong));
        assert!(report("check required a ok\n", MAX_CHECKS).is_ok());
        assert_eq!(report("check required a ok\n", MAX_CHECKS + 1), Err(ReportError::TooManyChecks));
        assert_eq!(report(&format!("x {}\n", "a".repeat(MAX_LINE)), 1), Err(ReportError::TooLong));
    }

    #[test]
    fn the_token_is_in_the_first_line_or_nowhere() {
        assert_eq!(token(b"token 0f \nbundle x\n"), Some("0f"));
        assert_eq!(token(b"token 0f"), Some("0f"));
        for none in [&b"bundle x\ntoken 0f\n"[..], b"", b"token", b"\xfftoken x"] {
            assert_eq!(token(none), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = (Report::parse(&bytes), token(&bytes));
        }

        #[test]
        fn no_words_make_the_reader_panic(lines in proptest::collection::vec("(check|user|idle|memory|uptime|failed-service|installed|inventory)( required| wanted)?( [ -~]{0,90}){0,4}", 0..80)) {
            let text = format!("bundle {}\nhostname x\n{}\n", Digest::of(b"x"), lines.join("\n"));
            if let Ok(report) = Report::parse(text.as_bytes()) {
                prop_assert!(report.vitals.users.len() <= vitals::MAX_NAMES && report.vitals.checks.len() <= MAX_CHECKS);
            }
        }
    }
}
