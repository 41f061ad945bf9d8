//! What repositories have that is newer than a lock, and what of it is about security.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Offered;
use crate::apk::{IndexPackage, Secdb, Version};
use crate::model::lock::{Change, Lock, LockedPackage, LockedRelease};

/// A difference between a lock and what there is now, with what makes it worth an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Newer {
    /// What would change.
    #[serde(flatten)]
    pub change: Change,
    /// The repository with the package that is there now.
    pub repository: Option<String>,
    /// The source package it is built from, which advisories are about.
    pub origin: Option<String>,
    /// The advisories that the newer version fixes.
    pub fixes: BTreeSet<String>,
    /// Whether no repository has a package of that name any more.
    pub is_gone: bool,
    /// Whether the version that is there now is the older one: Alpine took one back, or the mirror lags behind.
    pub is_older: bool,
}

impl Newer {
    /// A change of which nothing more is known.
    const fn of(change: Change) -> Self {
        let fixes = BTreeSet::new();
        Self { change, repository: None, origin: None, fixes, is_gone: false, is_older: false }
    }
}

/// What is different in `after`, the lock that an update would make from what is `offered`; in the order of
/// [`Lock::changes`].
#[must_use]
pub fn newer(before: &Lock, after: &Lock, offered: &[Offered], advisories: &[&Secdb]) -> Vec<Newer> {
    let listed = Listed::of(offered);
    let describe = |change: Change| {
        let (name, moved) = match &change {
            Change::Release { .. } => return Newer::of(change),
            Change::Added { name, .. } | Change::Removed { name, .. } | Change::Rebuilt { name, .. } => (name, None),
            Change::Moved { name, from, to } => (name, Some((from, to))),
        };
        let package = after.package(name);
        let origin = listed.get(name).map(|(record, _)| record.field('o').unwrap_or(name).to_owned());
        let fixes = moved.zip(origin.as_deref()).map(|((from, to), origin)| {
            advisories.iter().flat_map(|known| known.fixed_between(origin, from, to)).map(str::to_owned).collect()
        });
        Newer {
            repository: package.map(|package| package.repository.clone()),
            fixes: fixes.unwrap_or_default(),
            is_gone: listed.get(name).is_none(),
            is_older: moved.is_some_and(|(from, to)| is_newer(from, to)),
            origin,
            ..Newer::of(change.clone())
        }
    };
    before.changes(after).into_iter().map(describe).collect()
}

/// The lock for the release `alpine` with each package in the newest version that is offered, and without those that are
/// not: what there is to say where the world cannot be solved any more.
#[must_use]
pub fn newest_listed(before: &Lock, alpine: LockedRelease, offered: &[Offered]) -> Lock {
    let listed = Listed::of(offered);
    let newest = |package: &LockedPackage| {
        let (record, repository) = listed.get(&package.name)?;
        Some(LockedPackage {
            version: record.version().to_owned(),
            identity: record.identity().to_string(),
            size: record.size(),
            repository: repository.to_owned(),
            ..package.clone()
        })
    };
    let packages = before.packages.iter().filter_map(newest).collect();
    Lock::new(alpine, before.world.clone(), before.repositories.clone(), packages)
}

/// The newest package of each name, and the repository that has it; the first repository where several have it.
struct Listed<'a>(BTreeMap<&'a str, (&'a IndexPackage, &'a str)>);

impl<'a> Listed<'a> {
    fn of(offered: &'a [Offered]) -> Self {
        let mut newest: BTreeMap<&str, (&IndexPackage, &str)> = BTreeMap::new();
        for repository in offered {
            for package in repository.index.packages() {
                let entry = (package, repository.name.as_str());
                let known = newest.entry(package.name()).or_insert(entry);
                if is_newer(package.version(), known.0.version()) {
                    *known = entry;
                }
            }
        }
        Self(newest)
    }

    fn get(&self, name: &str) -> Option<(&'a IndexPackage, &'a str)> {
        self.0.get(name).copied()
    }
}

/// Whether both are versions and the first is the newer one.
fn is_newer(version: &str, other: &str) -> bool {
    let [version, other] = [version, other].map(str::parse::<Version>);
    version.is_ok_and(|version| other.is_ok_and(|other| version > other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apk::Index;
    use crate::model::digest::Digest;
    use crate::model::lock::LockedRepository;

    /// A repository with packages `(name, version, origin)`.
    fn offered(name: &str, packages: &[(&str, &str, &str)]) -> Offered {
        let record = |(name, version, origin): &(&str, &str, &str)| {
            let identity = Digest::of(format!("{name} {version}").as_bytes()).to_string();
            format!("C:X1{}\nP:{name}\nV:{version}\nS:7\no:{origin}\n", &identity[..40])
        };
        let records: Vec<String> = packages.iter().map(record).collect();
        let index = Index::parse(&records.join("\n")).unwrap();
        Offered { name: name.to_owned(), index, digest: Digest::of(b"index"), key: "alpine.rsa.pub".to_owned() }
    }

    fn lock(packages: &[(&str, &str)]) -> Lock {
        let alpine = LockedRelease {
            wanted: "3.24".parse().unwrap(),
            version: "3.24.1".parse().unwrap(),
            arch: "x86_64".parse().unwrap(),
            tarball: Digest::of(b"tarball"),
        };
        let repository = |name: &str| LockedRepository {
            name: name.to_owned(),
            index: Digest::of(b"index"),
            key: "alpine.rsa.pub".to_owned(),
        };
        let packages = packages.iter().map(|(name, version)| LockedPackage {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            repository: "main".to_owned(),
            identity: "Q1".to_owned(),
            size: 7,
            why: "the world has it".to_owned(),
        });
        Lock::new(alpine, Vec::new(), vec![repository("main"), repository("community")], packages.collect())
    }

    #[test]
    fn the_newest_of_several_repositories_is_what_is_listed_and_what_nobody_has_is_left_out() {
        let before = lock(&[("a", "1.9-r0"), ("b", "1-r0"), ("c", "1-r0")]);
        let offered = [
            offered("main", &[("a", "1.10-r0", "a"), ("a", "1.9-r0", "a"), ("b", "1-r0", "b"), ("other", "1-r0", "x")]),
            offered("community", &[("a", "1.2-r0", "a"), ("b", "2-r0", "b"), ("b", "not a version", "b")]),
        ];
        let listed = newest_listed(&before, before.alpine.clone(), &offered);
        let shown: Vec<String> =
            listed.packages.iter().map(|it| format!("{} {} {}", it.name, it.version, it.repository)).collect();
        assert_eq!(shown, ["a 1.10-r0 main", "b 2-r0 community"]);
        let newer = newer(&before, &listed, &offered, &[]);
        let gone: Vec<bool> = newer.iter().map(|it| it.is_gone).collect();
        assert_eq!(gone, [false, false, true]);
        assert_eq!(newer[1].repository.as_deref(), Some("community"));
    }

    #[test]
    fn advisories_are_looked_up_by_origin_in_every_database() {
        let database = |text: &str| Secdb::parse(text.as_bytes()).unwrap();
        let (before, after) = (lock(&[("libcrypto3", "3.1-r0")]), lock(&[("libcrypto3", "3.2-r0")]));
        let offered = [offered("main", &[("libcrypto3", "3.2-r0", "openssl")])];
        let main = database(
            r#"{"packages":[{"pkg":{"name":"openssl","secfixes":{"3.1-r1":["CVE-2"],"3.3-r0":["CVE-3"]}}},
                {"pkg":{"name":"libcrypto3","secfixes":{"3.1-r1":["CVE-4"]}}}]}"#,
        );
        let community = database(r#"{"packages":[{"pkg":{"name":"openssl","secfixes":{"3.2-r0":["CVE-1"]}}}]}"#);
        let found = newer(&before, &after, &offered, &[&main, &community]);
        assert_eq!(found[0].origin.as_deref(), Some("openssl"));
        assert_eq!(found[0].fixes, BTreeSet::from(["CVE-1".to_owned(), "CVE-2".to_owned()]));
        assert!(!found[0].is_older);
        // Going back fixes nothing.
        let back = newer(&after, &before, &offered, &[&main, &community]);
        assert!(back[0].is_older && back[0].fixes.is_empty());
    }
}
