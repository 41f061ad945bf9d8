//! What is served, in memory: the channels, and the files of each bundle by the name machines ask for.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex};

use super::lock;
use crate::model::boot::Step;
use crate::model::cmdline::MAX_LENGTH;
use crate::model::digest::Digest;
use crate::model::manifest::{BundleId, Manifest};
use crate::model::script::SITE_INITRD;
use crate::store::{SiteParts, Store, StoreError};
use crate::wire::kernel::command_line_limit;

/// How many bundles are kept in memory; a fleet boots few at a time.
const MAX_BUNDLES: usize = 64;

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Served {
    /// Its blob.
    pub(super) digest: Digest,
    /// The step of a boot that asks for it.
    pub(super) step: Step,
}

type Files = HashMap<String, Served>;

/// A bundle in memory.
#[derive(Debug, Clone)]
struct Loaded {
    manifest: Arc<Manifest>,
    files: Arc<Files>,
    /// The longest command line its kernel takes.
    limit: usize,
}

/// Bundles that were asked for, each read from the store once.
#[derive(Debug, Default)]
pub(super) struct Bundles {
    loaded: Mutex<HashMap<BundleId, Loaded>>,
}

impl Bundles {
    /// The files of a bundle by name.
    pub(super) async fn files(&self, store: &Store, id: BundleId) -> Result<Arc<Files>, StoreError> {
        Ok(self.load(store, id).await?.files)
    }

    /// The manifest of a bundle.
    pub(super) async fn manifest(&self, store: &Store, id: BundleId) -> Result<Arc<Manifest>, StoreError> {
        Ok(self.load(store, id).await?.manifest)
    }

    /// The longest command line the kernel of a bundle takes, in bytes without its final NUL.
    pub(super) async fn command_line_limit(&self, store: &Store, id: BundleId) -> Result<usize, StoreError> {
        Ok(self.load(store, id).await?.limit)
    }

    async fn load(&self, store: &Store, id: BundleId) -> Result<Loaded, StoreError> {
        if let Some(found) = lock(&self.loaded).get(&id) {
            return Ok(found.clone());
        }
        let store = store.clone();
        let read = tokio::task::spawn_blocking(move || {
            let (manifest, site) = (store.manifest(&id)?, store.site_parts(&id)?);
            let limit = limit_of(&store, &manifest);
            Ok::<_, StoreError>((manifest, site, limit))
        });
        let (manifest, site, limit) = match read.await {
            Ok(read) => read?,
            // The closure does not panic, so the runtime is going down; nobody will see this answer.
            Err(_) => return Err(StoreError::NoBundle(id)),
        };
        let files = Arc::new(files(&manifest, &site));
        let loaded = Loaded { manifest: Arc::new(manifest), files, limit };
        let mut known = lock(&self.loaded);
        if known.len() >= MAX_BUNDLES {
            known.clear();
        }
        known.insert(id, loaded.clone());
        Ok(loaded)
    }
}

/// What the kernel's header says; what kernels take, where it says nothing or cannot be read: who takes the file finds
/// that out.
fn limit_of(store: &Store, manifest: &Manifest) -> usize {
    let kernel = File::open(store.blob_path(&manifest.kernel.sha256)).ok();
    kernel.and_then(|kernel| command_line_limit(kernel).ok().flatten()).unwrap_or(MAX_LENGTH)
}

/// Every name a machine may ask for below `/b/ID/`.
fn files(manifest: &Manifest, site: &SiteParts) -> Files {
    let arch = &manifest.alpine.arch;
    let mut files = Files::new();
    let mut put = |name: String, digest, step| files.insert(name, Served { digest, step });
    put(manifest.kernel.name.clone(), manifest.kernel.sha256, Step::Kernel);
    put(manifest.initramfs.name.clone(), manifest.initramfs.sha256, Step::Initramfs);
    put(manifest.modloop.name.clone(), manifest.modloop.sha256, Step::Modloop);
    // With templates, these have not all the files that a machine needs.
    if manifest.templates.is_none() {
        put(manifest.apkovl.name.clone(), manifest.apkovl.sha256, Step::SiteInitrd);
        put(SITE_INITRD.to_owned(), site.initrd.sha256, Step::SiteInitrd);
    }
    put(format!("packages/{arch}/APKINDEX.tar.gz"), site.index.sha256, Step::Packages);
    for package in &manifest.packages {
        put(format!("packages/{arch}/{}", package.file_name()), package.sha256, Step::Packages);
    }
    files
}
