//! Writing bundles out, for a site that has no network to this one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use super::document::{Described, Descriptor, describe, index, is_layout, layout};
use super::{BLOBS, INDEX, LARGEST_DOCUMENT, LAYOUT, LayoutError, blob_name};
use crate::disk::{self, Lock, PartFile, TempFile};
use crate::model::digest::Digest;
use crate::model::manifest::Manifest;
use crate::store::blobs::pump;
use crate::store::{Store, StoreError};

/// Length of a tar block (POSIX.1-2017, pax, "ustar Interchange Format").
const BLOCK: u64 = 512;

/// Bundles that are about to be written out.
#[derive(Debug)]
pub struct Export<'a> {
    store: &'a Store,
    entries: Vec<Descriptor>,
    /// The documents of all bundles.
    documents: BTreeMap<Digest, Vec<u8>>,
    /// The files and packages of all bundles, and their lengths.
    files: BTreeMap<Digest, u64>,
}

impl<'a> Export<'a> {
    /// What is to be written for these bundles; the order in which they are named and naming one twice make no
    /// difference.
    ///
    /// # Errors
    /// When a blob is missing, or has another length than its bundle says.
    pub fn of(store: &'a Store, bundles: &[Manifest]) -> Result<Self, LayoutError> {
        let mut export = Self { store, entries: Vec::new(), documents: BTreeMap::new(), files: BTreeMap::new() };
        let mut known = BTreeSet::new();
        for manifest in bundles.iter().filter(|manifest| known.insert(manifest.id())) {
            let bundle = manifest.id();
            for (digest, size) in manifest.blobs() {
                if !store.has_blob(&digest, size) {
                    if store.blob_path(&digest).exists() {
                        // It has another length, so it has another digest, and the error names both.
                        store.read_blob::<LayoutError>(&digest, &mut |_| Ok(()))?;
                    }
                    return Err(StoreError::NoBlob { bundle, digest }.into());
                }
                export.files.insert(digest, size);
            }
            let Described { entry, documents } = describe(manifest);
            export.entries.push(entry);
            export.documents.extend(documents.map(|bytes| (Digest::of(&bytes), bytes)));
        }
        // A manifest that is also a package is no real bundle, but it must not be two members of one name.
        let Self { documents, files, .. } = &mut export;
        files.retain(|digest, _| !documents.contains_key(digest));
        Ok(export)
    }

    /// How many bytes of files there are, without the documents.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files.values().fold(0, |sum, size| sum.saturating_add(*size))
    }

    /// Writes the layout as one archive. An unfinished `FILE.part` of an earlier export is gone on with: what is right
    /// in it is kept, and this returns how much that was. `progress` is told how many bytes of files are done.
    ///
    /// # Errors
    /// When a blob is damaged or the file cannot be written; then there is no file `path`, or the one that was there.
    pub fn write_archive(&self, path: &Path, progress: &mut dyn FnMut(u64)) -> Result<u64, LayoutError> {
        if path.is_dir() {
            return Err(LayoutError::Folder(path.to_owned()));
        }
        // A device or pipe would be replaced by a file of its name.
        if std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(LayoutError::NotRegular(path.to_owned()));
        }
        let mut out = PartFile::open(path)?;
        write_member(&mut out, LAYOUT, &layout())?;
        write_member(&mut out, INDEX, &new_index(&self.entries))?;
        for (digest, bytes) in &self.documents {
            write_member(&mut out, &blob_name(digest), bytes)?;
        }
        let mut done = 0;
        for (digest, size) in &self.files {
            out.write(header(&blob_name(digest), *size).as_bytes())?;
            self.store.read_blob::<LayoutError>(digest, &mut |bytes| {
                out.write(bytes)?;
                done += bytes.len() as u64;
                progress(done);
                Ok(())
            })?;
            out.write(padding(*size))?;
        }
        // The end of an archive is two blocks of zeros.
        out.write(&[0; 2 * BLOCK as usize])?;
        let kept = out.kept();
        out.publish()?;
        Ok(kept)
    }

    /// Writes the layout into a folder: a new one, an empty one, or one with a layout, which then has these bundles
    /// too. Blobs that are there and right are kept; this returns how many bytes of files they have. The index is
    /// written last, so that readers see no bundle before all of it is there.
    ///
    /// # Errors
    /// When the folder has other files, a blob is damaged, or something cannot be written.
    pub fn write_folder(&self, folder: &Path, progress: &mut dyn FnMut(u64)) -> Result<u64, LayoutError> {
        let blobs = folder.join(BLOBS);
        let lock = claim(folder)?;
        disk::create_dir_all(&blobs)?;
        disk::sweep(folder, &lock)?;
        disk::sweep(&blobs, &lock)?;
        let index_path = folder.join(INDEX);
        let old = match disk::read_bounded(&index_path, LARGEST_DOCUMENT) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let index = index(old.as_deref(), &self.entries).map_err(|source| LayoutError::Document {
            place: folder.to_owned(),
            member: INDEX.to_owned(),
            source,
        })?;
        let (mut done, mut kept) = (0, 0);
        for (digest, size) in &self.files {
            let path = folder.join(blob_name(digest));
            if is_there(&path, digest, *size)? {
                kept += size;
                done += size;
                progress(done);
                continue;
            }
            let mut out = TempFile::new_in(&blobs)?;
            self.store.read_blob::<LayoutError>(digest, &mut |bytes| {
                out.file().write_all(bytes).map_err(disk::failed("write", &path))?;
                done += bytes.len() as u64;
                progress(done);
                Ok(())
            })?;
            out.publish(&path)?;
        }
        for (digest, bytes) in &self.documents {
            let path = folder.join(blob_name(digest));
            if !is_there(&path, digest, bytes.len() as u64)? {
                disk::write_atomic(&path, bytes)?;
            }
        }
        if old.as_ref() != Some(&index) {
            disk::write_atomic(&index_path, &index)?;
        }
        Ok(kept)
    }
}

/// Makes sure that a folder is for a layout, and that nobody else writes it. The lock is on `oci-layout`, so that there
/// is no file in the folder that a layout does not have.
fn claim(folder: &Path) -> Result<Lock, LayoutError> {
    disk::create_dir_all(folder)?;
    let mark = folder.join(LAYOUT);
    let is_marked = mark.try_exists().map_err(disk::failed("examine", &mark))?;
    if !is_marked && !disk::list(folder)?.is_empty() {
        return Err(LayoutError::Occupied(folder.to_owned()));
    }
    let lock = Lock::try_acquire(&mark)?;
    let found = disk::read_bounded(&mark, LARGEST_DOCUMENT)?;
    let wanted = layout();
    if is_layout(&found) {
        return Ok(lock);
    }
    // Written in place, because a new file would not be the locked one; after a kill only its beginning may be there.
    if wanted.starts_with(&found) {
        fs::write(&mark, &wanted).map_err(disk::failed("write", &mark))?;
        Ok(lock)
    } else {
        Err(LayoutError::Occupied(folder.to_owned()))
    }
}

/// Whether a file has these very bytes.
fn is_there(path: &Path, digest: &Digest, size: u64) -> Result<bool, LayoutError> {
    if !fs::symlink_metadata(path).is_ok_and(|it| it.is_file() && it.len() == size) {
        return Ok(false);
    }
    let mut file = File::open(path).map_err(disk::failed("open", path))?;
    let found = pump(&mut file, |error| LayoutError::from(disk::failed("read", path)(error)), &mut |_| Ok(()))?;
    Ok(found == *digest)
}

/// The index of an archive, which has nothing but these bundles.
fn new_index(entries: &[Descriptor]) -> Vec<u8> {
    index(None, entries).expect("only an old index can be wrong")
}

fn write_member(out: &mut PartFile, name: &str, bytes: &[u8]) -> Result<(), LayoutError> {
    let size = bytes.len() as u64;
    out.write(header(name, size).as_bytes())?;
    out.write(bytes)?;
    Ok(out.write(padding(size))?)
}

/// A member's header, in which only name and size are its own.
fn header(name: &str, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).expect("the names of a layout have less than 100 bytes");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    // Past 8 GiB in base 256, which GNU tar, libarchive and Go read too.
    header.set_size(size);
    header.set_cksum();
    header
}

/// The zeros between a member of this size and the next header.
fn padding(size: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
    let missing = usize::try_from(size.next_multiple_of(BLOCK) - size).unwrap_or_default();
    ZEROS.get(..missing).unwrap_or_default()
}
