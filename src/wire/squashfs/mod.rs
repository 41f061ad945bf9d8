//! The folders of a squashfs 4.0 image (Linux `Documentation/filesystems/squashfs.rst` and
//! `fs/squashfs/squashfs_fs.h`), read from bytes that may be hostile; never the content of a file.
//!
//! A reader of its own, because the crate `backhand` reads all inodes and walks all folders before it answers, and small
//! images make it panic, overflow its stack or ask for 4 GiB; this one follows a single path in bounded memory.

mod error;
mod metadata;
mod modloop;

use std::io::{Read, Seek, SeekFrom};

use metadata::{Compression, Metadata, Position};

pub use error::SquashfsError;
pub use modloop::kernels;

/// Length of the superblock, in bytes.
const SUPERBLOCK: usize = 96;

/// `hsqs` in an image's first bytes.
const MAGIC: u32 = 0x7371_7368;

/// Types of folder inodes, and their lengths without what is not needed of them. Listings only have the first.
const FOLDER: u16 = 1;
const FOLDER_LENGTH: usize = 32;
const EXTENDED_FOLDER: u16 = 8;
const EXTENDED_FOLDER_LENGTH: usize = 40;

/// The largest listing that is read, in bytes; those of a modloop's upper folders have less than 100.
const LARGEST_LISTING: u32 = 64 << 10;

/// The most entries below one header of a listing (`SQUASHFS_DIR_COUNT`), and the longest name (`SQUASHFS_NAME_LEN`).
const MOST_ENTRIES: u32 = 256;
const LONGEST_NAME: usize = 256;

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// As the image has it: 1 to 256 bytes, maybe not text, maybe with `/` in it when the image is hostile.
    name: Vec<u8>,
    /// Whether it is a folder; links to folders are not.
    is_folder: bool,
    inode: Position,
}

/// An image whose superblock was read.
#[derive(Debug)]
struct Image<R> {
    metadata: Metadata<R>,
    root: Position,
    /// Where the blocks of inodes and those of listings begin, in bytes from the start of the image.
    inodes: u64,
    listings: u64,
}

impl<R: Read + Seek> Image<R> {
    /// Reads the superblock, which must be that of a squashfs 4.0 image in gzip, xz or zstd form.
    fn open(mut input: R) -> Result<Self, SquashfsError> {
        let mut superblock = [0; SUPERBLOCK];
        input
            .seek(SeekFrom::Start(0))
            .and_then(|_| input.read_exact(&mut superblock))
            .map_err(|source| SquashfsError::Read { offset: 0, source })?;
        let superblock = Superblock::decode(&superblock).ok_or(SquashfsError::Magic)?;
        if superblock.magic != MAGIC {
            return Err(SquashfsError::Magic);
        }
        let (major, minor) = superblock.version;
        if (major, minor) != (4, 0) {
            return Err(SquashfsError::Version { major, minor });
        }
        let compression =
            Compression::of(superblock.compression).ok_or(SquashfsError::Compression(superblock.compression))?;
        let Superblock { root, inodes, listings, .. } = superblock;
        // The upper bytes of an inode's reference are its block within the table, the lower two its place in the block.
        let root = Position { block: inodes.saturating_add(root >> 16), offset: root as u16 };
        Ok(Self { metadata: Metadata { input, compression }, root, inodes, listings })
    }

    /// What a folder holds, in the order of the image, which is that of the names' bytes unless it is hostile. `path`
    /// has names with `/` between them and is empty for the root; links are not followed. For each folder on the path
    /// at most 110 KB are read.
    fn list(&mut self, path: &str) -> Result<Vec<Entry>, SquashfsError> {
        let mut entries = self.folder("/", self.root)?;
        for name in path.split('/').filter(|it| !it.is_empty()) {
            let folder = entries
                .iter()
                .find(|entry| entry.is_folder && entry.name == name.as_bytes())
                .ok_or_else(|| SquashfsError::NoFolder(path.to_owned()))?;
            entries = self.folder(name, folder.inode)?;
        }
        Ok(entries)
    }

    /// What the folder with this inode holds.
    fn folder(&mut self, name: &str, inode: Position) -> Result<Vec<Entry>, SquashfsError> {
        let damaged = || SquashfsError::Listing { name: name.to_owned() };
        let basic = self.metadata.read(inode, FOLDER_LENGTH)?;
        let place = match Fields(&basic).u16().unwrap_or_default() {
            FOLDER => Place::decode(&basic),
            EXTENDED_FOLDER => Place::decode_extended(&self.metadata.read(inode, EXTENDED_FOLDER_LENGTH)?),
            kind => return Err(SquashfsError::NotFolder { name: name.to_owned(), kind }),
        };
        let place = place.ok_or_else(damaged)?;
        if place.length > LARGEST_LISTING {
            return Err(SquashfsError::LargeListing { name: name.to_owned(), length: place.length });
        }
        if place.length == 0 {
            return Ok(Vec::new());
        }
        let at = Position { block: self.listings.saturating_add(place.block.into()), offset: place.offset };
        let listing = self.metadata.read(at, place.length as usize)?;
        entries(&listing, self.inodes).ok_or_else(damaged)
    }
}

/// The entries of a listing: groups of a header and up to 256 entries.
fn entries(listing: &[u8], inodes: u64) -> Option<Vec<Entry>> {
    let mut fields = Fields(listing);
    let mut entries = Vec::new();
    while !fields.0.is_empty() {
        // Counts and lengths here are one less than what they count.
        let (count, block, _number) = (fields.u32()?, fields.u32()?, fields.u32()?);
        if count >= MOST_ENTRIES {
            return None;
        }
        for _ in 0..=count {
            let (offset, _number, kind) = (fields.u16()?, fields.u16()?, fields.u16()?);
            let length = usize::from(fields.u16()?) + 1;
            if length > LONGEST_NAME {
                return None;
            }
            entries.push(Entry {
                name: fields.take(length)?.to_vec(),
                is_folder: kind == FOLDER,
                inode: Position { block: inodes.saturating_add(block.into()), offset },
            });
        }
    }
    Some(entries)
}

/// Where a folder's listing is.
struct Place {
    block: u32,
    offset: u16,
    /// In bytes.
    length: u32,
}

impl Place {
    /// From an inode of type 1.
    fn decode(inode: &[u8]) -> Option<Self> {
        let mut fields = Fields(inode);
        fields.take(16)?;
        let (block, _links, size, offset) = (fields.u32()?, fields.u32()?, fields.u16()?, fields.u16()?);
        Some(Self { block, offset, length: listing_length(size.into()) })
    }

    /// From an inode of type 8.
    fn decode_extended(inode: &[u8]) -> Option<Self> {
        let mut fields = Fields(inode);
        fields.take(16)?;
        let (_links, size, block, _parent) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
        let (_indexes, offset) = (fields.u16()?, fields.u16()?);
        Some(Self { block, offset, length: listing_length(size) })
    }
}

/// A folder's size counts three bytes for `.` and `..`, which no listing has.
const fn listing_length(size: u32) -> u32 {
    size.saturating_sub(3)
}

/// The fields of the superblock that are needed.
struct Superblock {
    magic: u32,
    compression: u16,
    version: (u16, u16),
    root: u64,
    inodes: u64,
    listings: u64,
}

impl Superblock {
    fn decode(bytes: &[u8; SUPERBLOCK]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let magic = fields.u32()?;
        // Inodes, time, block size, fragments.
        fields.take(16)?;
        let compression = fields.u16()?;
        // Block size again, flags, owners.
        fields.take(6)?;
        let version = (fields.u16()?, fields.u16()?);
        let root = fields.u64()?;
        // Length of the image, tables of owners and of extended attributes.
        fields.take(24)?;
        Some(Self { magic, compression, version, root, inodes: fields.u64()?, listings: fields.u64()? })
    }
}

/// Takes little-endian numbers off the front; `None` once too few bytes are left.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests;
