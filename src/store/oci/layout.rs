//! Reading an image layout, as a folder or as an archive, believing nothing of it: only members that an export makes
//! are looked at, and none of their names ever becomes a path.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::document::is_layout;
use super::{BLOBS, Descriptor, INDEX, LARGEST_DOCUMENT, LAYOUT, LayoutError, blob_name};
use crate::disk;
use crate::model::digest::Digest;

/// How many members an archive may have: those of some hundred bundles that share no package.
const MOST_MEMBERS: usize = 1 << 18;

/// How much of a member's name an error shows.
const SHOWN: usize = 100;

/// Where in an archive a member's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Where they begin.
    offset: u64,
    /// How many there are.
    size: u64,
}

/// An image layout that is read.
#[derive(Debug)]
pub(super) struct Layout {
    place: PathBuf,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Folder,
    Archive { file: File, members: BTreeMap<String, Member> },
}

impl Layout {
    /// Opens the layout in the folder or archive `place`. Of an archive all headers are read, and no content.
    pub(super) fn open(place: &Path) -> Result<Self, LayoutError> {
        let kind = fs::metadata(place).map_err(disk::failed("open", place))?;
        let form = if kind.is_dir() {
            Form::Folder
        } else if kind.is_file() {
            let file = File::open(place).map_err(disk::failed("open", place))?;
            let members = members(place, &file, kind.len())?;
            Form::Archive { file, members }
        } else {
            return Err(other(place, "it is neither a file nor a folder".to_owned()));
        };
        let layout = Self { place: place.to_owned(), form };
        let said = layout.document(LAYOUT, "what says that this is an OCI image layout")?;
        if is_layout(&said) {
            Ok(layout)
        } else {
            Err(other(place, format!("its {LAYOUT} is not that of an OCI image layout 1.0.0")))
        }
    }

    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// `index.json`.
    pub(super) fn index(&self) -> Result<Vec<u8>, LayoutError> {
        self.document(INDEX, "the list of its bundles")
    }

    /// A small blob as a whole: what `descriptor` says of it is true.
    pub(super) fn blob(&self, descriptor: &Descriptor, what: &str) -> Result<(Digest, Vec<u8>), LayoutError> {
        let named = descriptor.sha256().ok_or_else(|| LayoutError::Member {
            place: self.place.clone(),
            member: INDEX.to_owned(),
            why: format!("names {what} by a digest that is not SHA-256"),
        })?;
        let member = blob_name(&named);
        self.expect(&named, descriptor.size(), what)?;
        let bytes = self.document(&member, what)?;
        let found = Digest::of(&bytes);
        if found != named {
            return Err(self.wrong_digest(&named, found));
        }
        Ok((named, bytes))
    }

    /// Checks that a blob is there and has this length.
    pub(super) fn expect(&self, digest: &Digest, size: u64, what: &str) -> Result<(), LayoutError> {
        let member = blob_name(digest);
        match self.size(&member)? {
            Some(found) if found == size => Ok(()),
            Some(found) => Err(LayoutError::Size { place: self.place.clone(), member, expected: size, found }),
            None => Err(self.missing(&member, what)),
        }
    }

    /// The bytes of a member, to be read once.
    pub(super) fn read(&self, member: &str, what: &str) -> Result<Box<dyn Read + '_>, LayoutError> {
        match &self.form {
            Form::Folder => {
                self.size(member)?.ok_or_else(|| self.missing(member, what))?;
                let path = self.place.join(member);
                Ok(Box::new(File::open(&path).map_err(disk::failed("open", &path))?))
            }
            Form::Archive { file, members } => {
                let member = members.get(member).ok_or_else(|| self.missing(member, what))?;
                Ok(Box::new(Section { file, at: member.offset, left: member.size }))
            }
        }
    }

    pub(super) fn wrong_digest(&self, expected: &Digest, found: Digest) -> LayoutError {
        let (place, member) = (self.place.clone(), blob_name(expected));
        LayoutError::Digest { place, member, expected: *expected, found }
    }

    pub(super) fn unreadable(&self, member: &str) -> impl FnOnce(io::Error) -> LayoutError {
        let path = match &self.form {
            Form::Folder => self.place.join(member),
            Form::Archive { .. } => self.place.clone(),
        };
        move |error| disk::failed("read", &path)(error).into()
    }

    /// How many bytes a member has; nothing when it is not there.
    fn size(&self, member: &str) -> Result<Option<u64>, LayoutError> {
        match &self.form {
            Form::Folder => {
                let path = self.place.join(member);
                match fs::symlink_metadata(&path) {
                    Ok(found) if found.is_file() => Ok(Some(found.len())),
                    Ok(_) => Err(self.refuse(member.as_bytes(), "is not a regular file")),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(disk::failed("examine", &path)(error).into()),
                }
            }
            Form::Archive { members, .. } => Ok(members.get(member).map(|member| member.size)),
        }
    }

    /// A member that is read into memory, and so must be small.
    fn document(&self, member: &str, what: &str) -> Result<Vec<u8>, LayoutError> {
        let mut bytes = Vec::new();
        let input = self.read(member, what)?;
        input.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes).map_err(self.unreadable(member))?;
        if bytes.len() as u64 > LARGEST_DOCUMENT {
            return Err(self.refuse(member.as_bytes(), &format!("is larger than {LARGEST_DOCUMENT} bytes")));
        }
        Ok(bytes)
    }

    fn missing(&self, member: &str, what: &str) -> LayoutError {
        LayoutError::Missing { place: self.place.clone(), member: member.to_owned(), what: what.to_owned() }
    }

    fn refuse(&self, member: &[u8], why: &str) -> LayoutError {
        refuse(&self.place, member, why)
    }
}

/// A part of a file, read without moving the file's own position.
struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// The members of the tar archive `place`, which has `length` bytes, by name. Their order does not matter.
///
/// # Errors
/// When it is no tar archive or cut off, or has a member that no export makes.
pub fn members(place: &Path, archive: impl Read + Seek, length: u64) -> Result<BTreeMap<String, Member>, LayoutError> {
    members_up_to(MOST_MEMBERS, place, archive, length)
}

fn members_up_to(
    most: usize,
    place: &Path,
    archive: impl Read + Seek,
    length: u64,
) -> Result<BTreeMap<String, Member>, LayoutError> {
    let unreadable = |error: io::Error| other(place, format!("it cannot be read as a tar archive{}", reason(&error)));
    let mut last: Option<Vec<u8>> = None;
    let mut archive = tar::Archive::new(archive);
    let mut members = BTreeMap::new();
    // Raw, because otherwise what is in extension headers is read whole, however long it is.
    for (count, entry) in archive.entries_with_seek().map_err(unreadable)?.raw(true).enumerate() {
        let entry = entry.map_err(|error| match &last {
            Some(last) => {
                refuse(place, last, &format!("is the last that can be read{}; copy it again", reason(&error)))
            }
            None => unreadable(error),
        })?;
        let raw = entry.path_bytes().into_owned();
        if count >= most {
            return Err(refuse(place, &raw, &format!("is one too many: there are more than {most}")));
        }
        let (offset, size) = (entry.raw_file_position(), entry.header().entry_size().map_err(unreadable)?);
        let end = offset.saturating_add(size);
        if end > length {
            let why = format!("ends at byte {end}, and the file has {length}: it is cut off; copy it again");
            return Err(refuse(place, &raw, &why));
        }
        match (entry.header().entry_type(), kind_of(&raw)) {
            // Other archivers note times and the like in these. What they note of names and lengths is not heeded: a
            // member that needs it is refused for what its own header says.
            (EntryType::XHeader | EntryType::XGlobalHeader, _) | (EntryType::Directory, Some(Kind::Folder)) => {}
            (EntryType::Regular, Some(Kind::File(name))) => match members.entry(name) {
                Slot::Vacant(slot) => {
                    slot.insert(Member { offset, size });
                }
                Slot::Occupied(_) => return Err(refuse(place, &raw, "is there twice")),
            },
            (_, None) => return Err(refuse(place, &raw, "has a name that nothing in an OCI image layout has")),
            (kind, Some(_)) => return Err(refuse(place, &raw, &format!("is of the wrong kind ({kind:?})"))),
        }
        last = Some(raw);
    }
    Ok(members)
}

/// Why an archive cannot be read further, when the computer says so. What the reader of archives says of a header has
/// whatever stands there instead of one, such as lines of a text that is none of an archive.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Other => String::new(),
        _ => format!(": {error}"),
    }
}

/// What may have such a name.
enum Kind {
    Folder,
    File(String),
}

/// What a layout has under a name; `tar` writes `./` before each when it packs a folder as `.`.
fn kind_of(raw: &[u8]) -> Option<Kind> {
    let name = std::str::from_utf8(raw).ok()?;
    let name = name.strip_prefix("./").unwrap_or(name);
    match name {
        LAYOUT | INDEX => Some(Kind::File(name.to_owned())),
        "" | "." | "blobs" | "blobs/" | "blobs/sha256" | "blobs/sha256/" => Some(Kind::Folder),
        _ => {
            let digest: Digest = name.strip_prefix(BLOBS)?.strip_prefix('/')?.parse().ok()?;
            Some(Kind::File(blob_name(&digest)))
        }
    }
}

fn refuse(place: &Path, member: &[u8], why: &str) -> LayoutError {
    let member: String = String::from_utf8_lossy(member).escape_debug().take(SHOWN).collect();
    LayoutError::Member { place: place.to_owned(), member, why: why.to_owned() }
}

fn other(place: &Path, why: String) -> LayoutError {
    LayoutError::Other { place: place.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;
    use tar::Header;

    use super::*;

    fn blob(text: &str) -> String {
        blob_name(&Digest::of(text.as_bytes()))
    }

    /// A tar archive of members with a kind and a content, without the end mark.
    fn archive(members: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, kind, content) in members {
            let mut header = Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_cksum();
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes
    }

    fn names(bytes: &[u8]) -> Result<Vec<String>, String> {
        let found = members(Path::new("FILE"), Cursor::new(bytes), bytes.len() as u64);
        found.map(|found| found.into_keys().collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn members_are_found_in_any_order_and_as_other_archivers_write_them() {
        let a = blob("a");
        let dotted = format!("./{a}");
        let bytes = archive(&[
            ("./", EntryType::Directory, b""),
            ("pax", EntryType::XHeader, b"11 mtime=1\n"),
            (&dotted, EntryType::Regular, b"a"),
            ("blobs/sha256/", EntryType::Directory, b""),
            ("./index.json", EntryType::Regular, b"{}"),
            ("oci-layout", EntryType::Regular, b"{}"),
        ]);
        assert_eq!(names(&bytes).unwrap(), [a.as_str(), "index.json", "oci-layout"]);
        let found = members(Path::new("FILE"), Cursor::new(&bytes), bytes.len() as u64).unwrap()[&a];
        assert_eq!(bytes[usize::try_from(found.offset).unwrap()..][..usize::try_from(found.size).unwrap()], *b"a");
    }

    #[test]
    fn what_no_export_writes_is_refused_with_its_name() {
        let a = blob("a");
        let (long, upper) = (format!("{a}0"), a.to_uppercase().replace("BLOBS/SHA", "blobs/sha"));
        for (name, kind, part) in [
            ("/oci-layout", EntryType::Regular, "`/oci-layout` has a name that nothing"),
            ("../oci-layout", EntryType::Regular, "`../oci-layout` has a name that nothing"),
            ("blobs/sha256/../../x", EntryType::Regular, "has a name that nothing"),
            ("blobs/sha512/00", EntryType::Regular, "has a name that nothing"),
            (long.as_str(), EntryType::Regular, "has a name that nothing"),
            (upper.as_str(), EntryType::Regular, "has a name that nothing"),
            ("new\nline", EntryType::Regular, "`new\\nline` has a name that nothing"),
            ("index.json", EntryType::Symlink, "`index.json` is of the wrong kind (Symlink)"),
            (a.as_str(), EntryType::Link, "is of the wrong kind (Link)"),
            (a.as_str(), EntryType::Char, "is of the wrong kind (Char)"),
            (a.as_str(), EntryType::Fifo, "is of the wrong kind (Fifo)"),
            (a.as_str(), EntryType::GNUSparse, "is of the wrong kind (GNUSparse)"),
            (a.as_str(), EntryType::Directory, "is of the wrong kind (Directory)"),
            ("blobs", EntryType::Regular, "is of the wrong kind (Regular)"),
            ("x", EntryType::GNULongName, "has a name that nothing"),
        ] {
            let error = names(&archive(&[(name, kind, b"")])).unwrap_err();
            assert!(error.starts_with("FILE is refused: its member `") && error.contains(part), "{name}: {error}");
        }
        let twice = archive(&[("index.json", EntryType::Regular, b"1"), ("./index.json", EntryType::Regular, b"2")]);
        assert_eq!(names(&twice).unwrap_err(), "FILE is refused: its member `./index.json` is there twice");
    }

    #[test]
    fn an_archive_that_is_cut_off_is_refused_wherever_that_is() {
        let bytes = archive(&[("index.json", EntryType::Regular, &[7; 1000])]);
        for length in [1, 511, 512, 513, 1511] {
            let error = names(&bytes[..length]).unwrap_err();
            let expected = if length < 512 { "it cannot be read as a tar archive" } else { "it is cut off" };
            assert!(error.contains(expected), "{length}: {error}");
        }
        // Only padding is missing: nothing is lost.
        assert!(names(&bytes[..1512]).is_ok());
    }

    #[test]
    fn what_is_no_archive_is_said_to_be_none() {
        for bytes in [[7; 2000], [b'a'; 2000]] {
            assert!(names(&bytes).unwrap_err().starts_with("FILE does not hold exported bundles: it cannot be read"));
        }
        // Nothing of a text that is taken for a header stands in the error.
        let text = "root:x:0:0:root:/root:/bin/sh\n".repeat(40);
        let error = names(text.as_bytes()).unwrap_err();
        assert_eq!(error, "FILE does not hold exported bundles: it cannot be read as a tar archive");
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..10].copy_from_slice(b"index.json");
        header.set_size(u64::MAX - 600);
        header.set_cksum();
        assert!(names(header.as_bytes()).is_err());
    }

    #[test]
    fn too_many_members_are_refused() {
        let bytes = archive(&[("blobs", EntryType::Directory, b""), ("index.json", EntryType::Regular, b"")]);
        let error = members_up_to(1, Path::new("FILE"), Cursor::new(&bytes), bytes.len() as u64).unwrap_err();
        assert!(error.to_string().ends_with("is one too many: there are more than 1"), "{error}");
    }

    proptest! {
        #[test]
        fn no_archive_with_changed_bytes_makes_the_reader_panic(changes: Vec<(u16, u8)>) {
            let a = blob("a");
            let mut bytes = archive(&[
                ("oci-layout", EntryType::Regular, b"{}"),
                ("x", EntryType::XHeader, b"10 size=9\n"),
                (&a, EntryType::Regular, &[7; 700]),
            ]);
            for (place, byte) in changes {
                let place = usize::from(place) % bytes.len();
                bytes[place] = byte;
            }
            let _ = names(&bytes);
        }
    }
}
