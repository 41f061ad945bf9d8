//! Taking the files of every flavor out of a netboot tarball, believing nothing that the tarball says. No name from the
//! tarball ever becomes a path as it is: only a checked flavor does, behind one of three known words.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::Path;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::record::{INITRAMFS, KERNEL, MODLOOP, Recorded};
use super::streams::{Bounded, Counted};
use super::{FetchError, MemberFault};
use crate::disk;
use crate::model::alpine::Flavor;
use crate::model::digest::Hasher;

/// What a tarball may unpack to: this many times its own length …
const RATIO: u64 = 8;
/// … and this much more. Kernels, initramfs and modloops are compressed already, so real ones hardly grow.
const ALLOWANCE: u64 = 64 << 20;

/// How many flavors a tarball may have; Alpine's have three at most.
const MOST_FLAVORS: usize = 32;

/// The largest extension header read: room for the longest path and then some.
const LARGEST_EXTENSION: u64 = 16 << 10;

/// What was unpacked.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    /// Kernel, initramfs and modloop of each flavor that has all three.
    pub(super) flavors: BTreeMap<Flavor, [Recorded; 3]>,
    /// The flavors that have a kernel but not what belongs to it, and the member that is missing.
    pub(super) incomplete: BTreeMap<Flavor, String>,
}

/// Unpacks a tarball into the folder `into`, as `vmlinuz-F`, `initramfs-F` and `modloop-F` for every flavor F; the
/// stream is read to its end.
pub(super) fn unpack(tarball: &str, stream: impl Read, into: &Path) -> Result<Unpacked, FetchError> {
    let taken = Rc::new(Cell::new(0));
    let counted = BufReader::with_capacity(128 << 10, Counted::new(stream, Rc::clone(&taken)));
    let bounded = Bounded::new(MultiGzDecoder::new(counted), RATIO, ALLOWANCE, taken);
    let mut archive = Archive::new(bounded);
    let mut unpacking =
        Unpacking { tarball, into, files: BTreeMap::new(), present: BTreeSet::new(), buffer: vec![0; 256 << 10] };
    let done = unpacking.members(&mut archive);
    let mut bounded = archive.into_inner();
    // What follows the archive's end is read too, so that a stream that is not gzip to its end is noticed.
    let rest = done.and_then(|()| {
        let read = io::copy(&mut bounded, &mut io::sink());
        read.map(drop).map_err(|source| FetchError::Tarball { tarball: tarball.to_owned(), source })
    });
    if let Some(limit) = bounded.exceeded() {
        return Err(FetchError::Bomb { tarball: tarball.to_owned(), limit });
    }
    rest?;
    Ok(unpacking.sorted())
}

/// One walk over a tarball.
struct Unpacking<'a> {
    tarball: &'a str,
    into: &'a Path,
    /// The files unpacked, by their name without the folder.
    files: BTreeMap<String, Recorded>,
    /// The flavors that have a kernel.
    present: BTreeSet<Flavor>,
    buffer: Vec<u8>,
}

impl Unpacking<'_> {
    fn members<R: Read>(&mut self, archive: &mut Archive<R>) -> Result<(), FetchError> {
        let failed = |source| FetchError::Tarball { tarball: self.tarball.to_owned(), source };
        // Raw, because otherwise the names in extension headers are read whole, however long they are.
        let entries = archive.entries().map_err(failed)?.raw(true);
        let mut extended = Extended::default();
        for entry in entries {
            let mut entry = entry.map_err(|source| FetchError::Tarball { tarball: self.tarball.to_owned(), source })?;
            if extended.take(&mut entry).map_err(|fault| self.refuse(&entry.path_bytes(), fault))? {
                continue;
            }
            self.member(&mut entry, std::mem::take(&mut extended))?;
        }
        Ok(())
    }

    fn member<R: Read>(&mut self, entry: &mut Entry<'_, R>, extended: Extended) -> Result<(), FetchError> {
        let raw = extended.name.unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = plain_name(&raw).ok_or_else(|| self.refuse(&raw, MemberFault::Name))?;
        let wanted = name.strip_prefix("boot/").and_then(|file| Some((file, flavor_of(file)?)));
        match (entry.header().entry_type(), wanted) {
            (EntryType::Regular, Some((file, (kind, flavor)))) => {
                let size = entry.header().entry_size().unwrap_or_default();
                if extended.size.is_some_and(|it| it != size) {
                    return Err(self.refuse(&raw, MemberFault::Extension));
                }
                if self.files.contains_key(file) {
                    return Err(self.refuse(&raw, MemberFault::Twice));
                }
                if self.files.len() >= MOST_FLAVORS * 3 {
                    return Err(self.refuse(&raw, MemberFault::TooMany));
                }
                let recorded = self.extract(entry, &self.into.join(file), size, &raw)?;
                self.files.insert(file.to_owned(), recorded);
                if kind == KERNEL {
                    self.present.insert(flavor);
                }
                Ok(())
            }
            // GNU tar writes a file's second name as a hard link; as long as it is none of ours, it does not matter.
            (EntryType::Regular | EntryType::Directory | EntryType::Link, None) => Ok(()),
            _ => Err(self.refuse(&raw, MemberFault::Kind)),
        }
    }

    /// Writes one member to a file of a known name, and hashes it.
    fn extract<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        path: &Path,
        size: u64,
        raw: &[u8],
    ) -> Result<Recorded, FetchError> {
        let mut file = File::create_new(path).map_err(disk::failed("create", path))?;
        let (mut hasher, mut written) = (Hasher::default(), 0);
        loop {
            let length = match entry.read(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(FetchError::Tarball { tarball: self.tarball.to_owned(), source });
                }
            };
            let piece = self.buffer.get(..length).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            file.write_all(piece).map_err(disk::failed("write", path))?;
            hasher.update(piece);
            written += piece.len() as u64;
        }
        if written != size {
            return Err(self.refuse(raw, MemberFault::Cut));
        }
        Ok(Recorded { digest: hasher.finish(), size })
    }

    /// The files by flavor.
    fn sorted(self) -> Unpacked {
        let mut unpacked = Unpacked::default();
        for flavor in self.present {
            let names = [KERNEL, INITRAMFS, MODLOOP].map(|kind| format!("{kind}-{flavor}"));
            let found = names.each_ref().map(|name| self.files.get(name).copied());
            match found {
                [Some(kernel), Some(initramfs), Some(modloop)] => {
                    unpacked.flavors.insert(flavor, [kernel, initramfs, modloop]);
                }
                _ => {
                    let missing = names.iter().find(|name| !self.files.contains_key(*name));
                    let missing = missing.map(|name| format!("boot/{name}")).unwrap_or_default();
                    unpacked.incomplete.insert(flavor, missing);
                }
            }
        }
        unpacked
    }

    fn refuse(&self, name: &[u8], fault: MemberFault) -> FetchError {
        let member = String::from_utf8_lossy(name).chars().take(80).collect();
        FetchError::Member { tarball: self.tarball.to_owned(), member, fault }
    }
}

/// What extension headers say about the member after them: GNU's long name, POSIX's (pax) path and size. Sizes past
/// 8 GiB and sparse files are beyond what a netboot tarball has.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extended {
    /// Whether a member is an extension header; what it says is then kept.
    fn take<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<bool, MemberFault> {
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                let mut name = extension(entry)?;
                name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                self.name = Some(name);
            }
            EntryType::XHeader => {
                let bytes = extension(entry)?;
                for record in PaxExtensions::new(&bytes) {
                    let record = record.map_err(|_| MemberFault::Extension)?;
                    match record.key_bytes() {
                        b"path" => self.name = Some(record.value_bytes().to_vec()),
                        b"size" => {
                            let size = record.value().ok().and_then(|it| it.parse().ok());
                            self.size = Some(size.ok_or(MemberFault::Extension)?);
                        }
                        _ => {}
                    }
                }
            }
            // Comments for the whole archive, and targets of links that are not followed anyway.
            EntryType::XGlobalHeader | EntryType::GNULongLink => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The content of an extension header, when it has a sensible length.
fn extension<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, MemberFault> {
    let mut bytes = Vec::new();
    let read = entry.take(LARGEST_EXTENSION + 1).read_to_end(&mut bytes);
    if read.is_ok() && bytes.len() as u64 <= LARGEST_EXTENSION { Ok(bytes) } else { Err(MemberFault::Extension) }
}

/// A member's name without a leading `./` or trailing `/`; `None` when it is absolute, has `..`, or is not UTF-8.
fn plain_name(raw: &[u8]) -> Option<String> {
    let name = str::from_utf8(raw).ok().filter(|it| !it.starts_with('/') && !it.contains(['\0', '\\']))?;
    let parts: Vec<_> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!name.is_empty() && !parts.contains(&"..")).then(|| parts.join("/"))
}

/// What a file below `boot/` is, when it is one of the three kinds.
fn flavor_of(file: &str) -> Option<(&'static str, Flavor)> {
    [KERNEL, INITRAMFS, MODLOOP].into_iter().find_map(|kind| {
        let flavor = file.strip_prefix(kind)?.strip_prefix('-')?;
        Some((kind, flavor.parse().ok()?))
    })
}
