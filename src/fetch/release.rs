//! Which releases a mirror has: `latest-releases.yaml` (REL-3) and the checksum files beside a tarball. Pure: the text
//! comes from elsewhere, and it is as trustworthy as the connection it came over.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::alpine::{AlpineNameError, Arch, Branch, Version};
use crate::model::digest::{Digest, Digest512, DigestError};

/// The `flavor` of the one entry that matters here; the others are images for disks and containers.
const NETBOOT: &str = "alpine-netboot";

/// One netboot release of Alpine for one architecture: a tarball that never changes, and how to recognise it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The branch whose folder holds the tarball; never a moving name other than `edge`.
    pub branch: Branch,
    /// The version.
    pub version: Version,
    /// The architecture.
    pub arch: Arch,
    /// The tarball's length in bytes; `None` for a release that the mirror no longer lists.
    pub size: Option<u64>,
    /// The tarball's SHA-256 digest.
    pub sha256: Digest,
    /// The tarball's SHA-512 digest.
    pub sha512: Digest512,
}

impl Release {
    /// The tarball's file name.
    #[must_use]
    pub fn file(&self) -> String {
        tarball_name(&self.version, &self.arch)
    }
}

/// What Alpine calls the netboot tarball of a version (REL-1).
pub(super) fn tarball_name(version: &Version, arch: &Arch) -> String {
    format!("{NETBOOT}-{version}-{arch}.tar.gz")
}

/// The version in the name of a netboot tarball.
pub(super) fn tarball_version(name: &str, arch: &Arch) -> Option<Version> {
    let version = name.strip_prefix(NETBOOT)?.strip_prefix('-')?.strip_suffix(".tar.gz")?;
    version.strip_suffix(arch.as_str())?.strip_suffix('-')?.parse().ok()
}

/// Why a list of releases or a checksum file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// It is not UTF-8.
    #[error("it is not text")]
    NotText,
    /// It is not a YAML list of maps.
    #[error("it is not a list of releases: {0}")]
    Yaml(String),
    /// The netboot entry lacks something.
    #[error("its netboot entry has no `{0}`")]
    Missing(&'static str),
    /// The netboot entry has something that is not one of Alpine's names.
    #[error("its netboot entry has a wrong name")]
    Name(#[from] AlpineNameError),
    /// The netboot entry, or the checksum file, has something that is not a digest.
    #[error("it has a wrong checksum")]
    Digest(#[from] DigestError),
    /// There are several netboot entries for the architecture.
    #[error("it has {0} netboot entries for one architecture")]
    Several(usize),
    /// The netboot entry names another file than its version and architecture do.
    #[error("it names the tarball `{found}`, expected `{expected}`")]
    File {
        /// What the name has to be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The netboot entry's version or folder is of another branch than the entry says.
    #[error("it names the branch `{found}`, expected `{expected}`")]
    Branch {
        /// The branch asked for, or the one the version belongs to.
        expected: Branch,
        /// The branch of the entry.
        found: Branch,
    },
    /// `latest-stable` leads to a snapshot or a candidate.
    #[error("it names {0}, which is not a stable release")]
    NotStable(Version),
    /// A checksum file does not name a checksum of the tarball.
    #[error("it has no line for `{0}`")]
    NoLine(String),
}

/// One entry as it is written. All of it may be missing, so that an entry of another kind, whatever Alpine makes of it
/// one day, does not spoil the list.
#[derive(Debug, Deserialize)]
struct Listed {
    flavor: Option<String>,
    branch: Option<String>,
    arch: Option<String>,
    version: Option<String>,
    file: Option<String>,
    size: Option<u64>,
    sha256: Option<String>,
    sha512: Option<String>,
}

/// The netboot release that a `latest-releases.yaml` names for an architecture; `None` when it has none.
pub(super) fn newest_netboot(yaml: &[u8], arch: &Arch) -> Result<Option<Release>, ListingError> {
    let text = str::from_utf8(yaml).map_err(|_| ListingError::NotText)?;
    // Aliases have no place in such a list, and what they expand to is refused rather than counted.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 8, max_aliases: 0, max_anchors: 0, max_documents: 1 },
        with_snippet: false,
    };
    let listed: Vec<Listed> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| ListingError::Yaml(error.to_string().lines().next().unwrap_or_default().to_owned()))?;
    let mut netboot = Vec::new();
    for entry in listed {
        if entry.flavor.as_deref() == Some(NETBOOT) && entry.arch.as_deref().is_none_or(|it| it == arch.as_str()) {
            netboot.push(entry);
        }
    }
    match netboot.len() {
        0 | 1 => netboot.pop().map(|entry| entry.check(arch)).transpose(),
        several => Err(ListingError::Several(several)),
    }
}

impl Listed {
    fn check(self, arch: &Arch) -> Result<Release, ListingError> {
        fn text<T: FromStr>(field: Option<String>, name: &'static str) -> Result<T, ListingError>
        where
            ListingError: From<T::Err>,
        {
            Ok(field.ok_or(ListingError::Missing(name))?.parse()?)
        }
        let branch: Branch = text(self.branch, "branch")?;
        let version: Version = text(self.version, "version")?;
        if !branch.has(&version) {
            return Err(ListingError::Branch { expected: version.branch(), found: branch });
        }
        let release = Release {
            branch,
            version,
            arch: text(self.arch, "arch")?,
            size: Some(self.size.ok_or(ListingError::Missing("size"))?),
            sha256: text(self.sha256, "sha256")?,
            sha512: text(self.sha512, "sha512")?,
        };
        let (expected, found) = (tarball_name(&version, arch), self.file.ok_or(ListingError::Missing("file"))?);
        if expected == found { Ok(release) } else { Err(ListingError::File { expected, found }) }
    }
}

/// The digest that a checksum file, as `sha256sum` and `sha512sum` write it, has for `file`.
pub(super) fn checksum<D>(text: &[u8], file: &str) -> Result<D, ListingError>
where
    D: FromStr<Err = DigestError>,
{
    let text = str::from_utf8(text).map_err(|_| ListingError::NotText)?;
    for line in text.lines() {
        if let Some((digest, name)) = line.split_once([' ', '\t'])
            && name.trim_start_matches([' ', '\t', '*']) == file
        {
            return Ok(digest.parse()?);
        }
    }
    Err(ListingError::NoLine(file.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The form of Alpine's list (REL-3); version and SHA-256 are real (REL-4), the rest stands for real values.
    fn list() -> String {
        format!(
            "---\n\
             -\n  title: \"Mini root filesystem\"\n  desc: |\n    Minimal root filesystem.\n    flavor: alpine-netboot\n\
             \x20 branch: v3.24\n  arch: x86_64\n  version: 3.24.1\n  flavor: alpine-minirootfs\n  file: m.tar.gz\n  size: 3\n\
             -\n  title: \"Netboot\"\n  desc: |\n    Kernel, initramfs and modloop for\n    netboot.\n    \n\
             \x20 branch: v3.24\n  arch: x86_64\n  version: 3.24.1\n  flavor: alpine-netboot\n\
             \x20 file: alpine-netboot-3.24.1-x86_64.tar.gz\n  iso: alpine-netboot-3.24.1-x86_64.tar.gz\n\
             \x20 date: 2026-06-10\n  time: 09:14:33\n  size: 273145856\n  sha256: {}\n  sha512: {}\n",
            "9a7769ea8fa1737b1b49d82f1bdd53d0a17338d6d3b7cfc6f2c3ec5158596d8b",
            "5".repeat(128),
        )
    }

    fn x86_64() -> Arch {
        "x86_64".parse().unwrap()
    }

    fn chain(error: &ListingError) -> String {
        let source = std::error::Error::source(error).map(|it| format!(": {it}")).unwrap_or_default();
        format!("{error}{source}")
    }

    #[test]
    fn the_netboot_entry_is_found_and_a_description_is_not_mistaken_for_one() {
        let release = newest_netboot(list().as_bytes(), &x86_64()).unwrap().unwrap();
        assert_eq!(release.branch.to_string(), "v3.24");
        assert_eq!(release.version.to_string(), "3.24.1");
        assert_eq!(release.file(), "alpine-netboot-3.24.1-x86_64.tar.gz");
        assert_eq!(release.size, Some(273_145_856));
        assert_eq!(release.sha256.to_string(), "9a7769ea8fa1737b1b49d82f1bdd53d0a17338d6d3b7cfc6f2c3ec5158596d8b");
        // Digits alone are still text: a digest, and the date that is a version on edge.
        assert_eq!(release.sha512.to_string(), "5".repeat(128));
        let edge = list().replace("v3.24", "edge").replace("3.24.1", "20240923");
        assert_eq!(newest_netboot(edge.as_bytes(), &x86_64()).unwrap().unwrap().branch, Branch::Edge);
    }

    #[test]
    fn a_list_without_netboot_has_none() {
        let none = list().replace("flavor: alpine-netboot", "flavor: alpine-virt");
        assert_eq!(newest_netboot(none.as_bytes(), &x86_64()).unwrap(), None);
        assert_eq!(newest_netboot(b"[]", &x86_64()).unwrap(), None);
        assert_eq!(newest_netboot(list().as_bytes(), &"aarch64".parse().unwrap()).unwrap(), None);
    }

    #[test]
    fn an_entry_that_contradicts_itself_is_refused() {
        let cases = [
            (
                "file: alpine-netboot-3.24.1-x86_64.tar.gz",
                "file: ../../x",
                "it names the tarball `../../x`, expected `alpine-netboot-3.24.1-x86_64.tar.gz`",
            ),
            ("branch: v3.24", "branch: v3.23", "it names the branch `v3.23`, expected `v3.24`"),
            (
                "branch: v3.24",
                "branch: ..",
                "its netboot entry has a wrong name: `..` is not an Alpine branch: write `v3.24` or `edge`",
            ),
            ("  size: 273145856\n", "", "its netboot entry has no `size`"),
            ("  arch: x86_64\n", "", "its netboot entry has no `arch`"),
            (
                "sha256: 9a",
                "sha256: 9A",
                "it has a wrong checksum: `9A7769ea8fa1737b1b49d82f1bdd53d0a17338d6d3b7cfc6f2c3ec5158596d8b` is not a SHA-256 digest: 64 lower-case hexadecimal digits are expected",
            ),
            ("flavor: alpine-minirootfs", "flavor: alpine-netboot", "it has 2 netboot entries for one architecture"),
        ];
        for (right, wrong, message) in cases {
            let error = newest_netboot(list().replace(right, wrong).as_bytes(), &x86_64()).unwrap_err();
            assert_eq!(chain(&error), message);
        }
    }

    #[test]
    fn what_is_no_list_is_refused_in_one_line() {
        for wrong in [
            "<html>",
            "a: b",
            "- - -",
            "- flavor: alpine-netboot\n  flavor: x",
            "- &a x\n- *a",
            "-\n\tx: y",
            "- size: -1",
        ] {
            let error = newest_netboot(wrong.as_bytes(), &x86_64()).unwrap_err();
            assert!(matches!(error, ListingError::Yaml(_)), "{wrong}: {error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        assert_eq!(newest_netboot(b"\xff", &x86_64()).unwrap_err().to_string(), "it is not text");
    }

    #[test]
    fn a_checksum_file_counts_for_the_file_it_names() {
        let digest = Digest::of(b"x");
        for text in [format!("{digest}  a.tar.gz\n"), format!("{}  b\n{digest} *a.tar.gz", Digest::of(b""))] {
            assert_eq!(checksum::<Digest>(text.as_bytes(), "a.tar.gz").unwrap(), digest);
        }
        let error = checksum::<Digest>(format!("{digest}  b.tar.gz\n").as_bytes(), "a.tar.gz").unwrap_err();
        assert_eq!(error.to_string(), "it has no line for `a.tar.gz`");
        assert!(matches!(checksum::<Digest512>(format!("{digest}  a").as_bytes(), "a"), Err(ListingError::Digest(_))));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(bytes: Vec<u8>, text in "[-a-z0-9:|>&*!{}\\[\\]\"'#% \n\t]{0,80}", at in 0_usize..900) {
            let _ = newest_netboot(&bytes, &x86_64());
            let _ = newest_netboot(text.as_bytes(), &x86_64());
            let mut damaged = list().into_bytes();
            let at = at.min(damaged.len());
            damaged.splice(at..(at + bytes.len()).min(damaged.len()), text.bytes());
            if let Ok(Some(release)) = newest_netboot(&damaged, &x86_64()) {
                prop_assert!(release.branch.has(&release.version));
            }
            let _ = checksum::<Digest>(&bytes, &text);
        }
    }
}
