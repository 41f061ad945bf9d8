//! Taking blobs out of the store that no bundle needs.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::{Store, StoreError, read_manifest};
use crate::disk::{self, Clean};
use crate::model::digest::Digest;

impl Store {
    /// Removes blobs that no bundle, published, imported or just built, needs, and that nobody has put since a time: a
    /// build puts blobs first and names them last. Releases and bundles all stay.
    ///
    /// # Errors
    /// When a manifest cannot be read, so that it is not known what it needs, or something cannot be removed. Before
    /// that nothing is removed.
    pub fn clean(&self, unused_since: SystemTime, clean: &mut Clean) -> Result<(), StoreError> {
        let lock = self.lock()?;
        if !clean.is_trial() {
            disk::sweep_all(&self.root, &lock)?;
        }
        let needed = self.needed()?;
        let blobs = self.root.join("blobs");
        for shard in disk::list(&blobs)?.iter().map(|name| blobs.join(name)) {
            for name in disk::list(&shard)? {
                let path = shard.join(&name);
                let is_needed = name.parse().is_ok_and(|digest: Digest| needed.contains(&digest));
                if !is_needed && disk::examine(&path)?.1 < unused_since {
                    clean.away(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Every blob that some bundle needs.
    fn needed(&self) -> Result<BTreeSet<Digest>, StoreError> {
        let mut needed = BTreeSet::new();
        for folder in ["bundles", "staged"].map(|folder| self.root.join(folder)) {
            for name in disk::list(&folder)? {
                needed.extend(read_manifest(&folder.join(name))?.blobs().map(|(digest, _)| digest));
            }
        }
        for name in disk::list(&self.root.join("sites"))? {
            if let Some(bundle) = name.strip_suffix(".json").and_then(|it| it.parse().ok()) {
                let site = self.site_parts(&bundle)?;
                needed.extend([site.initrd.sha256, site.index.sha256]);
            }
        }
        Ok(needed)
    }
}
