//! The lock of a profile: the exact Alpine release and packages its world came to. Builds use it until somebody
//! refreshes it, so a profile that nobody changed gives the same bundle next year.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::alpine::{Arch, ReleaseSpec, Version};
use crate::model::digest::Digest;

/// The name of the file, beside `profile.toml`.
pub const LOCK_FILE: &str = "lock.toml";

/// The format this program writes.
const FORMAT: u32 = 1;

/// What stands above the first line.
const HEAD: &str = "# The exact packages of this profile, written by `bivouac lock` and `bivouac build`. Keep it in version \
                    control;\n# `bivouac lock PROFILE --update` refreshes it.\n";

/// A lock that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Not TOML of the right shape; the text names the line.
    #[error("{0}")]
    Syntax(String),
    /// Written by another version of the program.
    #[error(
        "it has format {0}, and this program reads format {FORMAT}; use the program that wrote it, or delete the file"
    )]
    Format(u32),
    /// An entry contradicts the rest of the file, or could not be one that this program wrote.
    #[error("its package `{package}` {why}; delete the file, and `bivouac lock` makes it anew")]
    Package {
        /// The name as it stands there.
        package: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// `lock.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    format: u32,
    /// What was solved: the profile's world and what init adds to it, in apk's order.
    pub world: Vec<String>,
    /// The release.
    pub alpine: LockedRelease,
    /// The repositories, in the order in which they were asked.
    #[serde(rename = "repository", default)]
    pub repositories: Vec<LockedRepository>,
    /// The packages, sorted by name.
    #[serde(rename = "package", default)]
    pub packages: Vec<LockedPackage>,
}

/// The Alpine release a lock was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRelease {
    /// What the profile asked for, such as `latest-stable`.
    pub wanted: ReleaseSpec,
    /// What that was, such as `3.24.1`.
    pub version: Version,
    /// The architecture.
    pub arch: Arch,
    /// SHA-256 of the netboot tarball.
    pub tarball: Digest,
}

/// A repository as it was when the lock was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRepository {
    /// Its name, such as `main`.
    pub name: String,
    /// SHA-256 of its `APKINDEX.tar.gz`.
    pub index: Digest,
    /// The file name of the key that signed the index.
    pub key: String,
}

/// One package of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its version, with the `-rN` revision.
    pub version: String,
    /// The repository it comes from, one of the lock's.
    pub repository: String,
    /// apk's identity (`C:` of the index): which build of that version it is.
    pub identity: String,
    /// Length of the `.apk` file in bytes.
    pub size: u64,
    /// Why it is there, for a person.
    pub why: String,
}

/// What a profile asks for, as far as its lock depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The release.
    pub release: ReleaseSpec,
    /// The architecture.
    pub arch: &'a Arch,
    /// The repositories, in order.
    pub repositories: &'a [String],
    /// The world with what init adds to it, in apk's order.
    pub world: &'a [String],
}

/// A difference between two locks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum Change {
    /// Another release of Alpine.
    Release {
        /// The one before.
        from: Version,
        /// The one after.
        to: Version,
    },
    /// A package that was not there.
    Added {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// A package that is not there any more.
    Removed {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// Another version of a package.
    Moved {
        /// Its name.
        name: String,
        /// The version before.
        from: String,
        /// The version after.
        to: String,
    },
    /// Another build of the same version.
    Rebuilt {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
}

impl Lock {
    /// A lock of these parts; packages are sorted by name.
    #[must_use]
    pub fn new(
        alpine: LockedRelease,
        world: Vec<String>,
        repositories: Vec<LockedRepository>,
        mut packages: Vec<LockedPackage>,
    ) -> Self {
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Self { format: FORMAT, world, alpine, repositories, packages }
    }

    /// Reads the text of a `lock.toml`.
    ///
    /// # Errors
    /// When it is not one this program wrote, or was changed into one that no machine could use.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let syntax = |error: toml::de::Error| LockError::Syntax(error.to_string().trim_end().to_owned());
        let head: Head = toml::from_str(text).map_err(syntax)?;
        if head.format != FORMAT {
            return Err(LockError::Format(head.format));
        }
        let lock: Self = toml::from_str(text).map_err(syntax)?;
        for package in &lock.packages {
            let wrong = |why| Err(LockError::Package { package: package.name.clone(), why });
            // Both become part of an address and of a file name.
            if ![&package.name, &package.version].into_iter().all(|text| is_plain(text)) {
                return wrong("has a name or version that no package has");
            }
            if !lock.repositories.iter().any(|repository| repository.name == package.repository) {
                return wrong("is from a repository that is not in the file");
            }
        }
        if let Some(pair) = lock.packages.windows(2).find(|pair| pair[0].name >= pair[1].name) {
            return Err(LockError::Package { package: pair[1].name.clone(), why: "is there twice or out of order" });
        }
        Ok(lock)
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let body = toml::to_string(self).expect("a lock holds only texts, numbers, lists and tables");
        format!("{HEAD}{body}")
    }

    /// A package by its name.
    #[must_use]
    pub fn package(&self, name: &str) -> Option<&LockedPackage> {
        let place = self.packages.binary_search_by(|package| package.name.as_str().cmp(name)).ok()?;
        self.packages.get(place)
    }

    /// Why this is no lock for what is asked for, in words that follow "the lock"; nothing when it is.
    #[must_use]
    pub fn misfit(&self, asked: &Asked<'_>) -> Option<String> {
        if !self.is_of(asked) {
            let LockedRelease { wanted, arch, .. } = &self.alpine;
            let (release, asked_arch) = (asked.release, asked.arch);
            return Some(format!("is for release {wanted} {arch}, and the profile asks for {release} {asked_arch}"));
        }
        if !self.repositories.iter().map(|repository| &repository.name).eq(asked.repositories) {
            let names: Vec<&str> = self.repositories.iter().map(|repository| repository.name.as_str()).collect();
            let (has, wants) = (names.join(", "), asked.repositories.join(", "));
            return Some(format!("is for the repositories {has}, and the profile has {wants}"));
        }
        let missing = asked.world.iter().find(|word| !self.world.contains(word));
        if let Some(word) = missing {
            return Some(format!("was made without `{word}`"));
        }
        let extra = self.world.iter().find(|word| !asked.world.contains(word))?;
        Some(format!("was made for `{extra}`, which is not asked for any more"))
    }

    /// Whether the release is what is asked for.
    #[must_use]
    pub fn is_of(&self, asked: &Asked<'_>) -> bool {
        self.alpine.wanted == asked.release && self.alpine.arch == *asked.arch
    }

    /// What is different in `after`: the release first, then packages by name.
    #[must_use]
    pub fn changes(&self, after: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let (from, to) = (self.alpine.version, after.alpine.version);
        if from != to {
            changes.push(Change::Release { from, to });
        }
        let mut names: BTreeMap<&str, [Option<&LockedPackage>; 2]> = BTreeMap::new();
        for package in &self.packages {
            names.entry(&package.name).or_default()[0] = Some(package);
        }
        for package in &after.packages {
            names.entry(&package.name).or_default()[1] = Some(package);
        }
        for (name, sides) in names {
            let name = name.to_owned();
            changes.extend(match sides {
                [None, Some(after)] => Some(Change::Added { name, version: after.version.clone() }),
                [Some(before), None] => Some(Change::Removed { name, version: before.version.clone() }),
                [Some(before), Some(after)] if before.version != after.version => {
                    Some(Change::Moved { name, from: before.version.clone(), to: after.version.clone() })
                }
                [Some(before), Some(after)] if before.identity != after.identity => {
                    Some(Change::Rebuilt { name, version: after.version.clone() })
                }
                _ => None,
            });
        }
        changes
    }
}

impl LockedPackage {
    /// The name of its file in its repository.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}-{}.apk", self.name, self.version)
    }
}

impl fmt::Display for Change {
    /// One line of a diff.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release { from, to } => write!(f, "~ Alpine {from} -> {to}"),
            Self::Added { name, version } => write!(f, "+ {name} {version}"),
            Self::Removed { name, version } => write!(f, "- {name} {version}"),
            Self::Moved { name, from, to } => write!(f, "~ {name} {from} -> {to}"),
            Self::Rebuilt { name, version } => write!(f, "~ {name} {version}, another build"),
        }
    }
}

/// Whether a text can be a package's name or version: nothing in it means anything in a path or an address.
fn is_plain(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'+' | b'-' | b'~');
    !text.is_empty() && text.len() <= 255 && !text.starts_with(['.', '-']) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn package(name: &str, version: &str, identity: &str) -> LockedPackage {
        LockedPackage {
            name: name.to_owned(),
            version: version.to_owned(),
            repository: "main".to_owned(),
            identity: identity.to_owned(),
            size: 7,
            why: "the world has it".to_owned(),
        }
    }

    fn lock(packages: Vec<LockedPackage>) -> Lock {
        let alpine = LockedRelease {
            wanted: "latest-stable".parse().unwrap(),
            version: "3.24.1".parse().unwrap(),
            arch: "x86_64".parse().unwrap(),
            tarball: Digest::of(b"tarball"),
        };
        let repository =
            LockedRepository { name: "main".to_owned(), index: Digest::of(b"index"), key: "alpine.rsa.pub".to_owned() };
        Lock::new(alpine, vec!["alpine-base".to_owned(), "nano".to_owned()], vec![repository], packages)
    }

    #[test]
    fn a_lock_reads_as_it_was_written() {
        let lock = lock(vec![package("nano", "7.2-r1", "Q1b"), package("busybox", "1.36.1-r19", "Q1a")]);
        assert_eq!(lock.packages[0].name, "busybox", "sorted");
        let text = lock.to_text();
        assert!(text.starts_with("# "), "{text}");
        assert!(text.contains("\n[alpine]\nwanted = \"latest-stable\"\nversion = \"3.24.1\"\n"), "{text}");
        assert!(text.contains("\n[[package]]\nname = \"nano\"\nversion = \"7.2-r1\"\n"), "{text}");
        assert_eq!(Lock::parse(&text).unwrap(), lock);
        assert_eq!(lock.package("nano").unwrap().version, "7.2-r1");
        assert_eq!(lock.package("vim"), None);
    }

    #[test]
    fn what_nobody_could_use_is_refused() {
        let text = lock(vec![package("nano", "7.2-r1", "Q1b")]).to_text();
        let error = |text: &str| Lock::parse(text).unwrap_err().to_string();
        assert!(error(&text.replace("format = 1", "format = 9")).contains("format 9"));
        assert!(error(&text.replace("name = \"nano\"", "name = \"../nano\"")).contains("that no package has"));
        assert!(error(&text.replace("version = \"7.2-r1\"", "version = \"7/2\"")).contains("that no package has"));
        assert!(error(&text.replace("name = \"main\"", "name = \"other\"")).contains("from a repository that is not"));
        assert!(error(&text.replace("size = 7", "sise = 7")).contains("sise"));
        let twice =
            format!("{text}\n{}", text.split_once("[[package]]").map(|(_, it)| format!("[[package]]{it}")).unwrap());
        assert!(error(&twice).contains("there twice"));
    }

    #[test]
    fn a_lock_fits_what_it_was_made_for_and_nothing_else() {
        let lock = lock(vec![]);
        let (arch, world): (Arch, _) = ("x86_64".parse().unwrap(), lock.world.clone());
        let repositories = ["main".to_owned()];
        let asked = Asked { release: lock.alpine.wanted, arch: &arch, repositories: &repositories, world: &world };
        assert_eq!(lock.misfit(&asked), None);
        let other = Asked { release: "3.24".parse().unwrap(), ..asked };
        assert!(lock.misfit(&other).unwrap().contains("asks for 3.24 x86_64"));
        let more = [world.clone(), vec!["vim".to_owned()]].concat();
        assert_eq!(lock.misfit(&Asked { world: &more, ..asked }).unwrap(), "was made without `vim`");
        let fewer = Asked { world: &world[..1], ..asked };
        assert_eq!(lock.misfit(&fewer).unwrap(), "was made for `nano`, which is not asked for any more");
        let both = ["main".to_owned(), "community".to_owned()];
        assert!(lock.misfit(&Asked { repositories: &both, ..asked }).is_some());
    }

    #[test]
    fn two_locks_differ_by_release_and_packages() {
        let before = lock(vec![package("a", "1", "Q1"), package("b", "1", "Q1"), package("c", "1", "Q1")]);
        let mut after = lock(vec![package("b", "2", "Q1"), package("c", "1", "Q2"), package("d", "1", "Q1")]);
        after.alpine.version = "3.24.2".parse().unwrap();
        let lines: Vec<String> = before.changes(&after).iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["~ Alpine 3.24.1 -> 3.24.2", "- a 1", "~ b 1 -> 2", "~ c 1, another build", "+ d 1"]);
        assert_eq!(before.changes(&before), []);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(at in 0_usize..900, c in any::<char>()) {
            let mut text: Vec<char> = lock(vec![package("nano", "7.2-r1", "Q1b")]).to_text().chars().collect();
            let at = at % text.len();
            text[at] = c;
            let _ = Lock::parse(&text.into_iter().collect::<String>());
        }
    }
}
