//! The packages a bundle carries: their entries, and the index that names just these.

use super::BuildError;
use crate::apk::{Expected, Index, PackageFile, write_index};
use crate::model::alpine::Arch;
use crate::model::digest::Digest;
use crate::model::lock::LockedPackage;
use crate::model::manifest::PackageEntry;
use crate::model::name::ProfileName;

/// A downloaded package that is the one its lock names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its entry in the manifest.
    pub entry: PackageEntry,
    /// Its record in the bundle's index, as the package describes itself: what a mirror's index says may be gone when
    /// the bundle is built again.
    pub record: String,
}

/// Reads a downloaded package and shows that it is the one the lock names.
///
/// # Errors
/// When it is another one, or damaged.
pub fn verified(locked: &LockedPackage, arch: &Arch, bytes: &[u8]) -> Result<Verified, BuildError> {
    let name = || format!("{}-{}", locked.name, locked.version);
    let identity = locked.identity.parse().map_err(|source| BuildError::LockedIdentity { name: name(), source })?;
    let package = PackageFile::read(bytes).map_err(|source| BuildError::Unreadable { name: name(), source })?;
    package
        .verify_against(Expected { name: &locked.name, version: &locked.version, identity, size: locked.size })
        .map_err(|source| BuildError::OtherPackage { name: name(), source })?;
    let entry = PackageEntry {
        name: locked.name.clone(),
        version: locked.version.clone(),
        identity: locked.identity.clone(),
        sha256: Digest::of(bytes),
        size: locked.size,
    };
    Ok(Verified { entry, record: package.index_record(arch.as_str()) })
}

/// The index with just these records, unsigned: the site signs it when it publishes.
///
/// # Errors
/// When a package describes itself in a way that no index can repeat.
pub(super) fn index(records: &[String], profile: &ProfileName) -> Result<Vec<u8>, BuildError> {
    let index = Index::parse(&records.join("\n\n")).map_err(BuildError::Index)?;
    Ok(write_index(index.packages(), profile.as_str()))
}
