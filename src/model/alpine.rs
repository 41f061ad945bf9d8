//! Alpine's own names: architecture, kernel flavor, branch, version, and what a profile may write for a release.
//! Whether such a thing exists on a mirror is not decided here.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text is not one of Alpine's names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {expected}")]
pub struct AlpineNameError {
    text: String,
    what: &'static str,
    expected: &'static str,
}

/// The longest [`Arch`], [`Flavor`] or [`RepositoryName`]; far above any that Alpine uses, low enough for every path
/// and boot script.
const LONGEST_NAME: usize = 32;

/// An architecture as Alpine's folders name it: `x86_64`, `aarch64`, `armv7` …; any name of that form, because Alpine
/// adds architectures (REL-5).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(description = "An architecture, such as `x86_64`, `aarch64` or `armv7`.")]
pub struct Arch(String);

/// A kernel flavor as the netboot file names carry it: `lts`, `virt`, `rpi` … (REL-2, REL-5).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(description = "A kernel flavor, such as `lts`, `virt` or `rpi`.")]
pub struct Flavor(String);

/// The name of a package repository, a folder below that of its branch: `main`, `community`, `testing`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(description = "A package repository, such as `main`, `community` or `testing`.")]
pub struct RepositoryName(String);

/// A branch, written as the mirror's folder names it: `v3.24` or `edge` (REL-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Branch {
    /// A branch that gets releases, `v3.24`.
    Numbered {
        /// The 3 of `v3.24`.
        major: u32,
        /// The 24 of `v3.24`.
        minor: u32,
    },
    /// The rolling development branch; it has dated snapshots.
    Edge,
}

/// A version, written as file names carry it: `3.24.1`, `3.24.0_rc2` or, on edge, a date such as `20240923`.
/// Versions of one branch are ordered by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Version {
    /// A release of a numbered branch.
    Numbered {
        /// The 3 of `3.24.1`.
        major: u32,
        /// The 24 of `3.24.1`.
        minor: u32,
        /// The 1 of `3.24.1`.
        patch: u32,
        /// Candidate or final.
        stage: Stage,
    },
    /// A snapshot of edge by its date, year first.
    Dated(u32),
}

/// How finished a numbered version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// `_rc2`: published before the release it is a candidate for.
    Candidate(u32),
    /// The release.
    Final,
}

/// What a profile writes for its release (DESIGN section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(
    description = "`latest-stable`, a branch such as `3.24`, a version such as `3.24.1`, `edge`, or one of its snapshots such as `20260805`."
)]
pub enum ReleaseSpec {
    /// `latest-stable`: the newest release of the newest branch.
    LatestStable,
    /// `3.24`: the newest release of that branch.
    Branch(Branch),
    /// `3.24.1` or `20240923`: exactly that one.
    Version(Version),
    /// `edge`: the newest snapshot.
    Edge,
}

impl Branch {
    /// Whether a version belongs to this branch.
    #[must_use]
    pub fn has(&self, version: &Version) -> bool {
        version.branch() == *self
    }
}

impl Version {
    /// The branch whose folder holds this version.
    #[must_use]
    pub const fn branch(&self) -> Branch {
        match *self {
            Self::Numbered { major, minor, .. } => Branch::Numbered { major, minor },
            Self::Dated(_) => Branch::Edge,
        }
    }
}

impl Version {
    /// Whether it is a finished release of a numbered branch.
    #[must_use]
    pub const fn is_stable(&self) -> bool {
        matches!(self, Self::Numbered { stage: Stage::Final, .. })
    }
}

impl Arch {
    /// The machine (`e_machine` of the ELF specification) that programs of this architecture are for; nothing for one that
    /// this program does not know.
    #[must_use]
    pub fn elf_machine(&self) -> Option<u16> {
        Some(match self.as_str() {
            "x86" => 3,
            "ppc64le" => 21,
            "s390x" => 22,
            "armhf" | "armv7" => 40,
            "x86_64" => 62,
            "aarch64" => 183,
            "riscv64" => 243,
            "loongarch64" => 258,
            _ => return None,
        })
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbered { major, minor } => write!(out, "v{major}.{minor}"),
            Self::Edge => out.write_str("edge"),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbered { major, minor, patch, stage: Stage::Final } => write!(out, "{major}.{minor}.{patch}"),
            Self::Numbered { major, minor, patch, stage: Stage::Candidate(number) } => {
                write!(out, "{major}.{minor}.{patch}_rc{number}")
            }
            Self::Dated(date) => write!(out, "{date}"),
        }
    }
}

impl fmt::Display for ReleaseSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LatestStable => out.write_str("latest-stable"),
            Self::Branch(Branch::Numbered { major, minor }) => write!(out, "{major}.{minor}"),
            Self::Version(version) => version.fmt(out),
            Self::Edge | Self::Branch(Branch::Edge) => out.write_str("edge"),
        }
    }
}

impl FromStr for Arch {
    type Err = AlpineNameError;

    fn from_str(text: &str) -> Result<Self, AlpineNameError> {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if is_name(text, is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            refuse(text, "an architecture", "lower-case letters, digits and `_`, such as `x86_64`")
        }
    }
}

impl FromStr for Flavor {
    type Err = AlpineNameError;

    fn from_str(text: &str) -> Result<Self, AlpineNameError> {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if is_name(text, is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            refuse(text, "a kernel flavor", "lower-case letters, digits and `-`, such as `lts`")
        }
    }
}

impl FromStr for RepositoryName {
    type Err = AlpineNameError;

    fn from_str(text: &str) -> Result<Self, AlpineNameError> {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        // The folder of releases is beside those of packages.
        if is_name(text, is_allowed) && !text.starts_with('-') && text != "releases" {
            Ok(Self(text.to_owned()))
        } else {
            refuse(text, "a package repository", "lower-case letters, digits and `-`, such as `main` or `community`")
        }
    }
}

impl FromStr for Branch {
    type Err = AlpineNameError;

    fn from_str(text: &str) -> Result<Self, AlpineNameError> {
        if text == "edge" {
            return Ok(Self::Edge);
        }
        match text.strip_prefix('v').and_then(numbers) {
            Some([major, minor]) => Ok(Self::Numbered { major, minor }),
            None => refuse(text, "an Alpine branch", "write `v3.24` or `edge`"),
        }
    }
}

impl FromStr for Version {
    type Err = AlpineNameError;

    fn from_str(text: &str) -> Result<Self, AlpineNameError> {
        parse_version(text).map_or_else(
            || refuse(text, "an Alpine version", "write `3.24.1`, or the date of a snapshot, `20240923`"),
            Ok,
        )
    }
}

impl FromStr for ReleaseSpec {
    type Err = AlpineNameError;

    /// Takes what [`Display`](fmt::Display) writes, and a branch by its folder's name too (`v3.24`).
    fn from_str(text: &str) -> Result<Self, AlpineNameError> {
        match text {
            "latest-stable" => return Ok(Self::LatestStable),
            "edge" => return Ok(Self::Edge),
            _ => {}
        }
        if let Some([major, minor]) = numbers(text.strip_prefix('v').unwrap_or(text)) {
            return Ok(Self::Branch(Branch::Numbered { major, minor }));
        }
        parse_version(text)
            .map(Self::Version)
            .map_or_else(|| refuse(text, "an Alpine release", "write `latest-stable`, `3.24`, `3.24.1` or `edge`"), Ok)
    }
}

/// Conversions that go through the text, as serde uses them; and the borrowed text of the plain names.
macro_rules! by_text {
    ($($type:ident),*) => {$(
        impl TryFrom<String> for $type {
            type Error = AlpineNameError;

            fn try_from(text: String) -> Result<Self, AlpineNameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.to_string()
            }
        }
    )*};
}

by_text!(Arch, Flavor, RepositoryName, Branch, Version, ReleaseSpec);

/// The accessors of the plain names.
macro_rules! plain_name {
    ($($type:ident),*) => {$(
        impl $type {
            /// The name itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    )*};
}

plain_name!(Arch, Flavor, RepositoryName);

fn is_name(text: &str, is_allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(is_allowed)
}

/// `3.24.1`, `3.24.0_rc2`, `20240923`, in exactly the form they are written back.
fn parse_version(text: &str) -> Option<Version> {
    if text.len() == 8
        && let Some([date]) = numbers(text)
    {
        let (month, day) = (date / 100 % 100, date % 100);
        return ((1..=12).contains(&month) && (1..=31).contains(&day)).then_some(Version::Dated(date));
    }
    let (release, stage) = match text.split_once("_rc") {
        Some((release, number)) => {
            let [number] = numbers(number)?;
            (release, Stage::Candidate(number))
        }
        None => (text, Stage::Final),
    };
    let [major, minor, patch] = numbers(release)?;
    Some(Version::Numbered { major, minor, patch, stage })
}

/// Exactly `N` decimal numbers with dots between; no sign, no leading zero, so that a value has one spelling.
fn numbers<const N: usize>(text: &str) -> Option<[u32; N]> {
    let mut found = [0; N];
    let mut parts = text.split('.');
    for number in &mut found {
        let part = parts.next()?;
        *number = part.parse().ok().filter(|number: &u32| number.to_string() == part)?;
    }
    parts.next().is_none().then_some(found)
}

fn refuse<T>(text: &str, what: &'static str, expected: &'static str) -> Result<T, AlpineNameError> {
    Err(AlpineNameError { text: text.chars().take(64).collect(), what, expected })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_profile_writes_is_what_comes_back() {
        for text in ["latest-stable", "edge", "3.24", "3.24.1", "3.24.0_rc2", "20240923"] {
            assert_eq!(text.parse::<ReleaseSpec>().unwrap().to_string(), text);
        }
        assert_eq!("v3.24".parse::<ReleaseSpec>().unwrap().to_string(), "3.24");
    }

    #[test]
    fn a_release_that_cannot_be_meant_is_refused() {
        for text in [
            "",
            "3",
            "3.",
            ".24",
            "3.24.",
            "3.24.1.2",
            "03.24",
            "3.+4",
            "3.24.1_rc",
            "latest",
            "20241340",
            "v3.24.1",
            "3.24.1\n",
        ] {
            assert!(text.parse::<ReleaseSpec>().is_err(), "{text:?}");
        }
        assert_eq!(
            "stable".parse::<ReleaseSpec>().unwrap_err().to_string(),
            "`stable` is not an Alpine release: write `latest-stable`, `3.24`, `3.24.1` or `edge`"
        );
    }

    #[test]
    fn a_version_knows_its_branch() {
        let branch = |text: &str| text.parse::<Version>().unwrap().branch().to_string();
        assert_eq!(branch("3.24.1"), "v3.24");
        assert_eq!(branch("3.24.0_rc1"), "v3.24");
        assert_eq!(branch("20240923"), "edge");
    }

    #[test]
    fn versions_are_ordered_by_age() {
        let ages = ["3.9.12", "3.24.0_rc1", "3.24.0_rc10", "3.24.0", "3.24.2", "3.24.10"]
            .map(|it| it.parse::<Version>().unwrap());
        assert!(ages.is_sorted());
    }

    #[test]
    fn an_architecture_alpine_has_yet_to_add_is_a_name_like_any_other() {
        assert_eq!("loongarch64".parse::<Arch>().unwrap().as_str(), "loongarch64");
        for wrong in ["", "../x86_64", "x86-64", "X86", "a/b", &"a".repeat(33)] {
            assert!(wrong.parse::<Arch>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_flavor_cannot_leave_its_folder() {
        assert_eq!("lts".parse::<Flavor>().unwrap().as_str(), "lts");
        for wrong in ["", "..", "lts/../x", "lts.1", "LTS", "l ts"] {
            assert!(wrong.parse::<Flavor>().is_err(), "{wrong:?}");
        }
        assert_eq!(
            "l/ts".parse::<Flavor>().unwrap_err().to_string(),
            "`l/ts` is not a kernel flavor: lower-case letters, digits and `-`, such as `lts`"
        );
    }

    #[test]
    fn json_holds_names_as_text() {
        let branch: Branch = serde_json::from_str("\"v3.24\"").unwrap();
        assert_eq!(serde_json::to_string(&branch).unwrap(), "\"v3.24\"");
        assert!(serde_json::from_str::<Branch>("\"3.24\"").is_err());
    }

    proptest! {
        #[test]
        fn whatever_parses_is_written_back_the_same(text in "(v?[0-9]{1,4}(\\.[0-9]{1,3}){0,3}(_rc[0-9]{0,2})?|.{0,12})") {
            if let Ok(spec) = text.parse::<ReleaseSpec>() {
                let written = spec.to_string();
                prop_assert_eq!(text.strip_prefix('v').unwrap_or(&text), written.as_str());
                prop_assert_eq!(written.parse::<ReleaseSpec>().unwrap(), spec);
            }
            let _ = (text.parse::<Branch>(), text.parse::<Version>(), text.parse::<Arch>(), text.parse::<Flavor>());
        }
    }
}
