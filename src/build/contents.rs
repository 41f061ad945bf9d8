//! What the packages of a bundle install, path by path: what an overlay has to get along with.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::BuildError;
use crate::apk::{Member, MemberKind, PackageFile};
use crate::disk;
use crate::model::manifest::PackageEntry;

/// Every path that some package installs.
#[derive(Debug, Default)]
pub(super) struct Contents(BTreeMap<String, Installed>);

/// What a package installs at a path. Of several packages that have a folder, the first counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installed {
    pub(super) member: Member,
    pub(super) package: String,
}

impl Contents {
    /// Reads packages, as many at once as there are processors: that takes as long as unpacking all of them.
    ///
    /// # Errors
    /// The first that cannot be read.
    pub(super) fn read(packages: &[(PackageEntry, PathBuf)]) -> Result<Self, BuildError> {
        // The largest first, so that none is left for the end.
        let mut order: Vec<&(PackageEntry, PathBuf)> = packages.iter().collect();
        order.sort_by_key(|(package, _)| std::cmp::Reverse(package.size));
        let next = AtomicUsize::new(0);
        let work = || {
            let mut read = Vec::new();
            while let Some((package, path)) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                read.push((package.name.clone(), members(package, path)?));
            }
            Ok(read)
        };
        let count = thread::available_parallelism().map_or(1, NonZero::get).min(packages.len());
        let mut all: Vec<(String, Vec<Member>)> = thread::scope(|scope| {
            let workers: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
            let done = workers.into_iter().map(|it| it.join().expect("reading a package does not panic"));
            done.collect::<Result<Vec<_>, BuildError>>()
        })?
        .into_iter()
        .flatten()
        .collect();
        // The order in which they were read is chance.
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(all.into_iter().collect())
    }

    /// What stands at a path.
    pub(super) fn get(&self, path: &str) -> Option<&Installed> {
        self.0.get(path)
    }

    /// The names in a folder and below, without the folder, which is written with its final slash.
    pub(super) fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a str> {
        let paths = self.0.range(folder.to_owned()..).map(|(path, _)| path.as_str());
        paths.map_while(move |path| path.strip_prefix(folder))
    }
}

impl FromIterator<(String, Vec<Member>)> for Contents {
    /// From the names of packages and what each of them has.
    fn from_iter<T: IntoIterator<Item = (String, Vec<Member>)>>(packages: T) -> Self {
        let mut contents = BTreeMap::new();
        for (package, members) in packages {
            for member in members {
                let is_folder = member.kind == MemberKind::Folder;
                let path = member.path.clone();
                // What one has as a file counts more than a folder that another one has besides.
                if !is_folder || !contents.contains_key(&path) {
                    contents.insert(path, Installed { member, package: package.clone() });
                }
            }
        }
        Self(contents)
    }
}

fn members(package: &PackageEntry, path: &std::path::Path) -> Result<Vec<Member>, BuildError> {
    let bytes = disk::read_bounded(path, package.size)?;
    let failed = |source| BuildError::Unreadable { name: package.file_name(), source };
    PackageFile::read(&bytes).map_err(failed)?.members().map_err(failed)
}
