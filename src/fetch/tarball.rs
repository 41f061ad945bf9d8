//! Taking one flavor's three files out of a netboot tarball, believing nothing that the tarball says. No name from the
//! tarball ever becomes a path: the three names are known beforehand.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::cache::{INITRAMFS, KERNEL, MODLOOP, Record, Recorded};
use super::streams::{Bounded, Hashed};
use super::{FetchError, InitramfsFacts, MemberFault, Release};
use crate::disk;
use crate::model::alpine::Flavor;
use crate::model::digest::Hasher;
use crate::wire::kernel;

/// What a tarball may unpack to: this many times its own length …
const RATIO: u64 = 8;
/// … and this much more. Kernels, initramfs and modloops are compressed already, so real ones hardly grow.
const ALLOWANCE: u64 = 64 << 20;

/// How many flavors an error message lists; Alpine has three at most.
const MOST_FLAVORS: usize = 32;

/// The largest extension header read: room for the longest path and then some.
const LARGEST_EXTENSION: u64 = 16 << 10;

/// Unpacks one flavor of the tarball at `path` into the folder `into`, writes the record there, and checks on the way
/// that the tarball has the release's digest: the bytes unpacked are the bytes hashed.
pub(super) fn unpack(path: &Path, release: &Release, flavor: &Flavor, into: &Path) -> Result<(), FetchError> {
    let tarball = release.file();
    let failed = |source| FetchError::Tarball { tarball: release.file(), source };
    let file = File::open(path).map_err(disk::failed("open", path))?;
    let length = file.metadata().map_err(disk::failed("examine", path))?.len();
    let limit = length.saturating_mul(RATIO).saturating_add(ALLOWANCE);
    let hashed = BufReader::with_capacity(128 << 10, Hashed::new(file));
    let mut archive = Archive::new(Bounded::new(MultiGzDecoder::new(hashed), limit));

    let mut unpacking = Unpacking { tarball: &tarball, flavor, into, files: [None; 3], present: BTreeSet::new() };
    let done = unpacking.members(&mut archive);
    let bounded = archive.into_inner();
    if bounded.is_exceeded() {
        return Err(FetchError::Bomb { tarball, limit });
    }
    done?;
    let found = bounded.into_inner().into_inner().into_inner().finish().map_err(failed)?;
    if found != release.sha256 {
        let (expected, found) = (release.sha256.to_string(), found.to_string());
        return Err(FetchError::Checksum { url: tarball, algorithm: "SHA-256", expected, found });
    }
    let files = unpacking.files(release)?;
    let kernel_version = one_kernel(&tarball, flavor, into)?;
    Record::new(release.clone(), flavor.clone(), files, kernel_version).write(into)?;
    Ok(())
}

/// One walk over a tarball.
struct Unpacking<'a> {
    tarball: &'a str,
    flavor: &'a Flavor,
    into: &'a Path,
    /// Kernel, initramfs and modloop, once they are unpacked.
    files: [Option<Recorded>; 3],
    /// The flavors seen, up to [`MOST_FLAVORS`].
    present: BTreeSet<Flavor>,
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
        if let Some(flavor) = name.strip_prefix("boot/vmlinuz-").and_then(|it| it.parse().ok())
            && self.present.len() < MOST_FLAVORS
        {
            self.present.insert(flavor);
        }
        let wanted = [KERNEL, INITRAMFS, MODLOOP].map(|kind| format!("{kind}-{}", self.flavor));
        let place = name.strip_prefix("boot/").and_then(|it| wanted.iter().position(|file| file == it));
        match (entry.header().entry_type(), place) {
            (EntryType::Regular, Some(place)) => {
                let size = entry.header().entry_size().unwrap_or_default();
                if extended.size.is_some_and(|it| it != size) {
                    return Err(self.refuse(&raw, MemberFault::Extension));
                }
                let (Some(file), Some(None)) = (wanted.get(place), self.files.get(place)) else {
                    return Err(self.refuse(&raw, MemberFault::Twice));
                };
                let recorded = self.extract(entry, &self.into.join(file), size, &raw)?;
                if let Some(slot) = self.files.get_mut(place) {
                    *slot = Some(recorded);
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
        &self,
        entry: &mut Entry<'_, R>,
        path: &Path,
        size: u64,
        raw: &[u8],
    ) -> Result<Recorded, FetchError> {
        let mut file = File::create_new(path).map_err(disk::failed("create", path))?;
        let (mut hasher, mut written, mut buffer) = (Hasher::default(), 0, vec![0; 128 << 10]);
        loop {
            let length = match entry.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(FetchError::Tarball { tarball: self.tarball.to_owned(), source });
                }
            };
            let piece = buffer.get(..length).unwrap_or_default();
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
        file.sync_all().map_err(disk::failed("write back", path))?;
        Ok(Recorded { digest: hasher.finish(), size })
    }

    /// The three files, or which is missing.
    fn files(self, release: &Release) -> Result<[Recorded; 3], FetchError> {
        let [kernel, initramfs, modloop] = self.files;
        let Some(kernel) = kernel else {
            return Err(FetchError::NoFlavor {
                flavor: self.flavor.clone(),
                version: release.version,
                arch: release.arch.clone(),
                present: self.present.into_iter().collect(),
            });
        };
        let missing = |kind| FetchError::Incomplete {
            tarball: self.tarball.to_owned(),
            member: format!("boot/{kind}-{}", self.flavor),
        };
        Ok([kernel, initramfs.ok_or_else(|| missing(INITRAMFS))?, modloop.ok_or_else(|| missing(MODLOOP))?])
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

/// The kernel release of a set; an error when kernel and initramfs are of different ones.
fn one_kernel(tarball: &str, flavor: &Flavor, folder: &Path) -> Result<Option<String>, FetchError> {
    let named = |kind| (format!("boot/{kind}-{flavor}"), folder.join(format!("{kind}-{flavor}")));
    let (file, path) = named(KERNEL);
    let mut head = Vec::new();
    File::open(&path)
        .and_then(|it| it.take(kernel::HEAD).read_to_end(&mut head))
        .map_err(disk::failed("read", &path))?;
    let image =
        kernel::release_of(&head).map_err(|source| FetchError::Kernel { file, tarball: tarball.to_owned(), source })?;
    let (file, path) = named(INITRAMFS);
    let facts = InitramfsFacts::load(&path).map_err(|source| FetchError::Initramfs {
        file,
        tarball: tarball.to_owned(),
        source,
    })?;
    match (image, facts.kernel_version) {
        (Some(kernel), Some(initramfs)) if kernel != initramfs => {
            Err(FetchError::NotOneSet { tarball: tarball.to_owned(), kernel, initramfs })
        }
        (image, initramfs) => Ok(image.or(initramfs)),
    }
}
