//! The store: blobs, bundles, releases and channels in one local folder.
//!
//! Every file it writes:
//!
//! ```text
//! lock                                one writer at a time
//! blobs/ab/abcdef…                    a blob, named by its SHA-256
//! bundles/ID.json                     a manifest; ID is the SHA-256 of these bytes
//! sites/ID.json                       what the site adds to that bundle (see SiteParts)
//! staged/PROFILE.json                 the manifest the last `build` of a profile made
//! profiles/PROFILE/releases/N.json    release N, made once and never changed
//! profiles/PROFILE/channels/NAME      the number of the release the channel points at
//! ```
//!
//! A publish writes blobs, then the bundle, then the release, then the channel, each by a new file renamed into place.
//! So a reader sees a release only when all of it is there, and a crash at any point leaves the channel where it was.
//! What a crash left behind is never pointed at, and the next publish removes or replaces it. Whoever writes holds the
//! lock; readers need none.

mod blobs;
mod clean;
pub mod oci;
mod release;
mod verify;

use std::path::{Path, PathBuf};

pub use release::{Publication, Release, SiteParts};
pub use verify::{Damage, Inventory};

use crate::disk::{self, DiskError};
use crate::model::digest::Digest;
use crate::model::manifest::{BundleId, Manifest, ManifestError};
use crate::model::name::{BundleRef, ChannelName, ProfileName, nearest};

/// The largest manifest that is read; one package entry takes about 300 bytes.
const MAX_MANIFEST: u64 = 16 << 20;

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("the store cannot be used")]
    Disk(#[from] DiskError),
    /// No release of that profile was ever published.
    #[error("profile `{profile}` has no release; run `bivouac publish {profile}`{}", hint(near.as_deref()))]
    NoProfile {
        /// The profile.
        profile: ProfileName,
        /// A published profile with a name like it.
        near: Option<String>,
    },
    /// The profile has releases, but not that one.
    #[error("profile `{profile}` has no release {number}; the newest is {newest}")]
    NoRelease {
        /// The profile.
        profile: ProfileName,
        /// What was asked for.
        number: u64,
        /// What there is.
        newest: u64,
    },
    /// The profile has releases, but no such channel.
    #[error("profile `{profile}` has no channel `{channel}`; it has {}", known.join(", "))]
    NoChannel {
        /// The profile.
        profile: ProfileName,
        /// What was asked for.
        channel: ChannelName,
        /// What there is.
        known: Vec<String>,
    },
    /// No bundle of that id.
    #[error("bundle {0} is not in the store; `bivouac list` shows what is")]
    NoBundle(BundleId),
    /// `publish` before `build`.
    #[error("profile `{0}` has nothing to publish; run `bivouac build {0}`")]
    NothingStaged(ProfileName),
    /// A blob a manifest names is not there.
    #[error("blob {digest} of bundle {bundle} is missing from the store; build the profile again")]
    NoBlob {
        /// The bundle.
        bundle: BundleId,
        /// The blob.
        digest: Digest,
    },
    /// The site's key is not the one the bundle was published with.
    #[error(
        "bundle {0} was published with another site key; put the old key back into the folder `keys`, or change the profile so that it is another bundle"
    )]
    OtherKey(BundleId),
    /// A blob's bytes are not what its name says.
    #[error("{} has SHA-256 {found}, and {expected} was expected; delete it and build again", path.display())]
    WrongBlob {
        /// The file.
        path: PathBuf,
        /// What was expected.
        expected: Digest,
        /// What it has.
        found: Digest,
    },
    /// A file of the store is not what this program wrote.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A manifest that cannot be used.
    #[error("{} cannot be used", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ManifestError,
    },
}

fn hint(near: Option<&str>) -> String {
    near.map_or_else(String::new, |name| format!(", or did you mean `{name}`?"))
}

/// A handle on the store's folder. Readers need no lock; writers take one inside each method.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store in `root`, making it on first use.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        for folder in ["blobs", "bundles", "sites", "staged", "profiles"] {
            disk::create_dir_all(&root.join(folder))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The store in `root` to look into: nothing is made, and one that does not exist is empty.
    #[must_use]
    pub fn look_into(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Remembers `manifest` as what the next publish of its profile releases.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn stage(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        Ok(disk::write_atomic(&self.staged_path(&manifest.profile), &manifest.to_bytes())?)
    }

    /// What the last build of `profile` made.
    ///
    /// # Errors
    /// When it was never built, or its manifest cannot be read.
    pub fn staged(&self, profile: &ProfileName) -> Result<Manifest, StoreError> {
        let path = self.staged_path(profile);
        if !path.exists() {
            return Err(StoreError::NothingStaged(profile.clone()));
        }
        read_manifest(&path)
    }

    /// The id of what the last build of `profile` made; nothing when it was never built.
    ///
    /// # Errors
    /// When its manifest cannot be read.
    pub fn staged_id(&self, profile: &ProfileName) -> Result<Option<BundleId>, StoreError> {
        match disk::read_bounded(&self.staged_path(profile), MAX_MANIFEST) {
            Ok(bytes) => Ok(Some(Digest::of(&bytes))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps a bundle whose blobs are all here, without releasing it.
    ///
    /// # Errors
    /// When a blob is missing, or the file system refuses; then there is no such bundle.
    pub fn keep(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let bundle = manifest.id();
        for (digest, size) in manifest.blobs() {
            if !self.has_blob(&digest, size) {
                return Err(StoreError::NoBlob { bundle, digest });
            }
        }
        Ok(disk::write_atomic(&self.bundle_path(&bundle), &manifest.to_bytes())?)
    }

    /// The manifest of a bundle.
    ///
    /// # Errors
    /// When it is not in the store, or is not what its id says.
    pub fn manifest(&self, id: &BundleId) -> Result<Manifest, StoreError> {
        let path = self.bundle_path(id);
        if !path.exists() {
            return Err(StoreError::NoBundle(*id));
        }
        let manifest = read_manifest(&path)?;
        if manifest.id() != *id {
            return Err(StoreError::Damaged { path, why: format!("its content has the id {}", manifest.id()) });
        }
        Ok(manifest)
    }

    /// The bundle a reference means.
    ///
    /// # Errors
    /// When there is no such profile, release, channel or bundle.
    pub fn resolve(&self, reference: &BundleRef) -> Result<BundleId, StoreError> {
        match reference {
            BundleRef::Id(id) => self.manifest(id).map(|_| *id),
            BundleRef::Release(profile, number) => Ok(self.release(profile, *number)?.bundle),
            BundleRef::Channel(profile, channel) => match self.channel(profile, channel) {
                Err(error @ StoreError::NoProfile { .. }) => self.beginning_with(profile.as_str()).ok_or(error),
                found => Ok(found?.bundle),
            },
        }
    }

    /// The one bundle whose id begins with these digits, as listings shorten it.
    #[must_use]
    pub fn beginning_with(&self, digits: &str) -> Option<BundleId> {
        const SHORTEST: usize = 8;
        if digits.len() < SHORTEST {
            return None;
        }
        let names = disk::list(&self.root.join("bundles")).ok()?;
        let mut found =
            names.iter().filter(|name| name.starts_with(digits)).filter_map(|name| name.strip_suffix(".json"));
        let only = found.next()?.parse().ok()?;
        found.next().is_none().then_some(only)
    }

    /// Profiles with at least one release, by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn profiles(&self) -> Result<Vec<ProfileName>, StoreError> {
        self.names(&self.root.join("profiles"))
    }

    /// The valid names in a folder, sorted; anything else in it is not ours. A folder that is not there has none, and one
    /// that is out of reach is an error.
    fn names(&self, folder: &Path) -> Result<Vec<ProfileName>, StoreError> {
        let found = match disk::list(folder) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            found => found?,
        };
        let mut names: Vec<ProfileName> = found.iter().filter_map(|name| name.parse::<ProfileName>().ok()).collect();
        names.sort();
        Ok(names)
    }

    fn no_profile(&self, profile: &ProfileName) -> StoreError {
        let known = self.profiles().unwrap_or_default();
        let near =
            nearest(profile.as_str(), known.iter().map(ProfileName::as_str)).filter(|near| *near != profile.as_str());
        StoreError::NoProfile { profile: profile.clone(), near: near.map(str::to_owned) }
    }

    fn lock(&self) -> Result<disk::Lock, StoreError> {
        Ok(disk::Lock::acquire(&self.root.join("lock"))?)
    }

    fn staged_path(&self, profile: &ProfileName) -> PathBuf {
        self.root.join("staged").join(format!("{profile}.json"))
    }

    fn bundle_path(&self, id: &BundleId) -> PathBuf {
        self.root.join("bundles").join(format!("{id}.json"))
    }
}

fn read_manifest(path: &Path) -> Result<Manifest, StoreError> {
    let bytes = disk::read_bounded(path, MAX_MANIFEST)?;
    Manifest::parse(&bytes).map_err(|source| StoreError::Manifest { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
