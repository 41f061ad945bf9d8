//! Reading what the store holds to the last byte: files were checked when they were put, and disks forget.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{Store, StoreError, read_manifest};
use crate::disk;
use crate::model::digest::Digest;
use crate::model::manifest::{BundleId, FileEntry, Manifest};

/// Something in the store that is not as it was put.
#[derive(Debug)]
pub enum Damage {
    /// A file of bundles.
    File {
        /// Where it is, or should be.
        path: PathBuf,
        /// Whether it is there, with other bytes.
        is_there: bool,
        /// What it is, of which bundles: `modloop-lts of vdi 0123456789ab`.
        needed_as: BTreeSet<String>,
    },
    /// A bundle, release or channel, or a file that cannot be read.
    Unreadable(StoreError),
}

/// The files of some bundles, each once, whichever of the bundles need it.
#[derive(Debug, Default)]
pub struct Inventory {
    bundles: BTreeSet<BundleId>,
    files: BTreeMap<Digest, Needed>,
    unreadable: Vec<StoreError>,
}

#[derive(Debug)]
struct Needed {
    size: u64,
    by: BTreeSet<String>,
}

impl Inventory {
    /// How many bundles there are that can be read.
    #[must_use]
    pub fn bundles(&self) -> usize {
        self.bundles.len()
    }

    /// How many files they need.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// How many bytes these have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    fn add(&mut self, bundle: &BundleId, manifest: &Manifest, site: &[FileEntry]) {
        let of = format!("{} {}", manifest.profile, bundle.short());
        let files = manifest.files().chain(site).map(|file| (file.sha256, file.size, file.name.clone()));
        let packages = manifest.packages.iter().map(|package| (package.sha256, package.size, package.file_name()));
        for (digest, size, name) in files.chain(packages) {
            let needed = self.files.entry(digest).or_insert_with(|| Needed { size, by: BTreeSet::new() });
            needed.by.insert(format!("{name} of {of}"));
        }
    }

    /// What can be read; what cannot is damage.
    fn take<T>(&mut self, read: Result<T, StoreError>) -> Option<T> {
        read.map_err(|error| self.unreadable.push(error)).ok()
    }
}

impl Store {
    /// What a bundle needs, and what this site added to it when it published it.
    #[must_use]
    pub fn inventory(&self, bundle: &Manifest) -> Inventory {
        let mut inventory = Inventory::default();
        self.take_stock(bundle, &mut inventory);
        inventory
    }

    /// What every bundle needs: published, imported, or just built.
    ///
    /// # Errors
    /// When the folders of the store cannot be listed. What is in them and cannot be read is damage.
    pub fn whole_inventory(&self) -> Result<Inventory, StoreError> {
        let mut inventory = Inventory::default();
        let mut bundles = BTreeSet::new();
        for profile in self.profiles()? {
            for number in self.numbers(&profile)? {
                bundles.extend(inventory.take(self.release(&profile, number)).map(|release| release.bundle));
            }
            for channel in self.channels(&profile)? {
                inventory.take(self.channel(&profile, &channel));
            }
        }
        let [kept, staged] = ["bundles", "staged"].map(|folder| self.root.join(folder));
        let list = |folder: &PathBuf| if folder.exists() { disk::list(folder) } else { Ok(Vec::new()) };
        bundles.extend(list(&kept)?.iter().filter_map(|name| name.strip_suffix(".json")?.parse::<BundleId>().ok()));
        for bundle in bundles {
            if let Some(manifest) = inventory.take(self.manifest(&bundle)) {
                self.take_stock(&manifest, &mut inventory);
            }
        }
        for name in list(&staged)? {
            if let Some(manifest) = inventory.take(read_manifest(&staged.join(name))) {
                self.take_stock(&manifest, &mut inventory);
            }
        }
        Ok(inventory)
    }

    fn take_stock(&self, manifest: &Manifest, inventory: &mut Inventory) {
        let bundle = manifest.id();
        // What was built last is published, mostly.
        if !inventory.bundles.insert(bundle) {
            return;
        }
        // One that was not published here has none.
        let site = if self.site_path(&bundle).exists() { inventory.take(self.site_parts(&bundle)) } else { None };
        let site: Vec<FileEntry> = site.into_iter().flat_map(|site| [site.initrd, site.index]).collect();
        inventory.add(&bundle, manifest, &site);
    }

    /// Reads every file of an inventory, and tells `progress` how many bytes each should have; what is damaged.
    pub fn verify(&self, inventory: Inventory, progress: &mut dyn FnMut(u64)) -> Vec<Damage> {
        let Inventory { files, unreadable, .. } = inventory;
        let mut damages: Vec<Damage> = unreadable.into_iter().map(Damage::Unreadable).collect();
        for (digest, Needed { size, by: needed_as }) in files {
            let path = self.blob_path(&digest);
            match self.read_blob(&digest, &mut |_| Ok(())) {
                Ok(()) => {}
                Err(StoreError::WrongBlob { .. }) => damages.push(Damage::File { path, is_there: true, needed_as }),
                Err(StoreError::Disk(error)) if error.is_not_found() => {
                    damages.push(Damage::File { path, is_there: false, needed_as });
                }
                Err(error) => damages.push(Damage::Unreadable(error)),
            }
            progress(size);
        }
        damages
    }
}
