//! Taking bundles in that came from another site, on a medium that may be damaged or meant badly.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::path::Path;

use super::document::{Image, Index};
use super::layout::Layout;
use super::{INDEX, LayoutError, blob_name};
use crate::disk::{self, TempFile};
use crate::model::cmdline::check_arguments;
use crate::model::digest::Digest;
use crate::model::manifest::Manifest;
use crate::store::blobs::{make_parent, pump};
use crate::store::{Store, StoreError};

/// How many bytes all manifests together may have; a package takes about 300.
const MOST_MANIFESTS: u64 = 64 << 20;

/// The largest overlay or package index: a publish holds both in memory.
const LARGEST_IN_MEMORY: u64 = 1 << 30;

/// The longest name of a file.
const LONGEST_NAME: usize = 255;

/// Bundles of a layout whose documents were verified and whose files are all there.
#[derive(Debug)]
pub struct Import {
    layout: Layout,
    bundles: Vec<Manifest>,
}

/// What an import did with the files of its bundles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files that were copied into the store.
    pub files: u64,
    /// The bytes of those.
    pub bytes: u64,
    /// Files that were in the store already, whole and right.
    pub present: u64,
}

impl Import {
    /// Opens the archive or folder `place` and verifies its documents, down to the manifest of each bundle, and that
    /// every file a manifest names is there and has the right length. No file is read yet.
    ///
    /// # Errors
    /// When it holds no bundle, is damaged, or has what no export writes; nothing is imported then.
    pub fn open(place: &Path) -> Result<Self, LayoutError> {
        let layout = Layout::open(place)?;
        let document = |member: String| |source| LayoutError::Document { place: place.to_owned(), member, source };
        let index = Index::decode(&layout.index()?).map_err(document(INDEX.to_owned()))?;
        let (mut seen, mut bundles, mut left) = (BTreeSet::new(), BTreeMap::new(), MOST_MANIFESTS);
        for entry in index.images() {
            // One bundle may have several names.
            if entry.sha256().is_some_and(|digest| !seen.insert(digest)) {
                continue;
            }
            let (digest, bytes) = layout.blob(entry, "an image its index names")?;
            let image = Image::decode(&bytes).map_err(document(blob_name(&digest)))?;
            if image.is_bundle() {
                let manifest = bundle(&layout, &digest, &image, &mut left)?;
                bundles.insert((manifest.profile.clone(), manifest.id()), manifest);
            }
        }
        if bundles.is_empty() {
            let why = format!("its {INDEX} names no bundle");
            return Err(LayoutError::Other { place: place.to_owned(), why });
        }
        Ok(Self { layout, bundles: bundles.into_values().collect() })
    }

    /// The bundles, by profile and id.
    #[must_use]
    pub fn bundles(&self) -> &[Manifest] {
        &self.bundles
    }

    /// How many bytes of files the bundles have.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files().values().fold(0, |sum, size| sum.saturating_add(*size))
    }

    /// Copies the bundles into the store, verifying each byte. Files that are there already are verified and not copied;
    /// one that is damaged there is replaced. `progress` is told how many bytes are done.
    ///
    /// # Errors
    /// When a file is not what its name says, or the store cannot be written. A bundle is in the store only after all
    /// files of all bundles are.
    pub fn copy_into(&self, store: &Store, progress: &mut dyn FnMut(u64)) -> Result<Copied, LayoutError> {
        {
            let lock = store.lock()?;
            disk::sweep_all(&store.root, &lock)?;
        }
        let (mut copied, mut done) = (Copied::default(), 0);
        for (digest, size) in self.files() {
            if store.is_intact(&digest, size)? {
                copied.present += 1;
                done += size;
                progress(done);
            } else {
                self.copy(store, &digest, size, &mut |count| {
                    done += count;
                    progress(done);
                })?;
                copied.files += 1;
                copied.bytes += size;
            }
        }
        for manifest in &self.bundles {
            store.keep(manifest)?;
        }
        Ok(copied)
    }

    /// The files of all bundles, once each.
    fn files(&self) -> BTreeMap<Digest, u64> {
        self.bundles.iter().flat_map(Manifest::blobs).collect()
    }

    fn copy(
        &self,
        store: &Store,
        digest: &Digest,
        size: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), LayoutError> {
        let member = blob_name(digest);
        // One byte more than it should have is enough to see that it is another: the folder may change meanwhile.
        let mut input = self.layout.read(&member, "a file of a bundle")?.take(size.saturating_add(1));
        let _lock = store.lock()?;
        let path = store.blob_path(digest);
        let mut output = TempFile::new_in(&make_parent(&path).map_err(StoreError::from)?).map_err(StoreError::from)?;
        let found = pump(&mut input, |error| self.layout.unreadable(&member)(error), &mut |bytes| {
            output.file().write_all(bytes).map_err(disk::failed("write", &path))?;
            progress(bytes.len() as u64);
            Ok(())
        })?;
        if found != *digest {
            return Err(self.layout.wrong_digest(digest, found));
        }
        Ok(output.publish(&path).map_err(StoreError::from)?)
    }
}

/// The manifest of one bundle, after everything that can be checked without reading its files.
fn bundle(layout: &Layout, image_digest: &Digest, image: &Image, left: &mut u64) -> Result<Manifest, LayoutError> {
    let place = layout.place();
    let refuse = |member: &Digest, why: &str| LayoutError::Member {
        place: place.to_owned(),
        member: blob_name(member),
        why: why.to_owned(),
    };
    layout.blob(image.config(), "the configuration of a bundle")?;
    let own = image.manifest().ok_or_else(|| refuse(image_digest, "has not exactly one manifest of a bundle"))?;
    *left = left.checked_sub(own.size()).ok_or_else(|| {
        refuse(image_digest, &format!("is one bundle too many: all manifests have more than {MOST_MANIFESTS} bytes"))
    })?;
    let (bundle, bytes) = layout.blob(own, "the manifest of a bundle")?;
    let manifest = Manifest::parse(&bytes).map_err(|source| LayoutError::Manifest {
        place: place.to_owned(),
        member: blob_name(&bundle),
        source,
    })?;
    check(&manifest).map_err(|why| LayoutError::Bundle { place: place.to_owned(), bundle, why })?;
    let layers = image.layers();
    for (digest, size) in manifest.blobs() {
        if !layers.contains(&(digest, size)) {
            return Err(refuse(image_digest, &format!("does not list the file {digest} of bundle {bundle}")));
        }
        layout.expect(&digest, size, &format!("a file of bundle {bundle} of profile {}", manifest.profile))?;
    }
    Ok(manifest)
}

/// Refuses a manifest that no build makes: its texts become URLs, iPXE commands and kernel arguments, and lines on
/// somebody's terminal.
fn check(manifest: &Manifest) -> Result<(), String> {
    let packages: Vec<String> = manifest.packages.iter().map(|package| package.file_name()).collect();
    let mut names = BTreeSet::new();
    for name in manifest.files().map(|file| file.name.as_str()).chain(packages.iter().map(String::as_str)) {
        if !is_plain(name) {
            return Err(format!("`{}` is not a name for a file", shortened(name)));
        }
        if !names.insert(name) {
            return Err(format!("it has two files called `{name}`"));
        }
    }
    let Manifest { verified, world, packages, .. } = manifest;
    let keys = verified.index_keys.iter().flat_map(|(repository, key)| [repository, key]);
    let shown = keys.chain(&verified.modloop_key).chain(world).chain(packages.iter().map(|package| &package.identity));
    if let Some(text) = shown.into_iter().find(|text| text.chars().any(char::is_control)) {
        return Err(format!("`{}` has a control character", shortened(text)));
    }
    for file in [&manifest.apkovl, &manifest.index].into_iter().chain(&manifest.templates) {
        if file.size > LARGEST_IN_MEMORY {
            return Err(format!("{} has {} bytes, and {LARGEST_IN_MEMORY} are allowed", file.name, file.size));
        }
    }
    check_arguments(&manifest.kernel_args).map_err(|error| error.to_string())
}

/// A text as an error may show it.
fn shortened(text: &str) -> String {
    text.escape_debug().take(80).collect()
}

/// Whether a name is what Alpine's files are called: it means the same in a URL, in a script and on a command line.
fn is_plain(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'~' | b':');
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with(['.', '-'])
}
