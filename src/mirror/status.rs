//! What a mirror holds, for a person who looks.

use std::time::SystemTime;

use super::indexes::Held;
use super::tally::Totals;
use super::{Mirror, MirrorError, Repository, totals};
use crate::disk::{DiskError, Lock};
use crate::fetch::package_name;

/// What a mirror holds.
#[derive(Debug, Default)]
pub struct Status {
    /// Whether a server answers from it at this moment.
    pub is_serving: bool,
    /// The most bytes it keeps.
    pub limit: u64,
    /// Packages and images it has.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What it has done so far.
    pub totals: Totals,
    /// The repositories it knows, by name.
    pub repositories: Vec<RepositoryStatus>,
}

/// What a mirror has of a repository.
#[derive(Debug)]
pub struct RepositoryStatus {
    /// Which one.
    pub repository: Repository,
    /// Its index; nothing when the one that is kept cannot be used.
    pub index: Option<IndexStatus>,
}

/// What an index says, and how much of that is held.
#[derive(Debug)]
pub struct IndexStatus {
    /// What the repository says of itself.
    pub description: String,
    /// The key that signed it.
    pub key: String,
    /// When it was last said to be the newest; nothing when that is not known.
    pub checked: Option<SystemTime>,
    /// Packages in it.
    pub packages: usize,
    /// Those that are held.
    pub held: usize,
    /// Their bytes.
    pub held_bytes: u64,
}

impl Mirror {
    /// Looks at everything on the disk. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn status(&self) -> Result<Status, MirrorError> {
        let folder = &self.inner.options.folder;
        let (files, bytes) = self.inner.stock.shelf.content();
        let mut repositories = Vec::new();
        for repository in self.inner.repositories.known()? {
            let held = self.inner.repositories.read(&repository).ok().flatten();
            repositories.push(RepositoryStatus { index: held.map(|held| self.index_status(&held)), repository });
        }
        Ok(Status {
            is_serving: matches!(Lock::try_acquire(&folder.join("serving")), Err(DiskError::Busy { .. })),
            limit: self.inner.stock.shelf.limit(),
            files,
            bytes,
            totals: Totals::load(&totals(folder)),
            repositories,
        })
    }

    fn index_status(&self, held: &Held) -> IndexStatus {
        let is_held = |identity: String| self.inner.stock.shelf.has(&package_name(&identity));
        let packages = held.index.listing.packages().filter(|package| is_held(package.identity().to_string()));
        let (count, bytes) = packages.fold((0, 0), |(count, bytes), package| (count + 1, bytes + package.size()));
        IndexStatus {
            description: held.index.edition.description.clone(),
            key: held.index.key.clone(),
            checked: Some(held.checked).filter(|checked| *checked > SystemTime::UNIX_EPOCH),
            packages: held.index.listing.len(),
            held: count,
            held_bytes: bytes,
        }
    }
}
