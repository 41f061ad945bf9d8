//! What can be wrong with a squashfs image.

use std::io;

use super::{LARGEST_LISTING, metadata};

/// Why the folders of an image cannot be listed. Offsets are bytes from the start of the image.
#[derive(Debug, thiserror::Error)]
pub enum SquashfsError {
    /// The image ends too early, or its storage fails.
    #[error("the squashfs image ends or cannot be read at byte {offset}")]
    Read {
        /// Where reading began.
        offset: u64,
        /// What failed.
        source: io::Error,
    },
    /// It begins with something else.
    #[error("the file is not a squashfs image")]
    Magic,
    /// It has another form than that of Linux 2.6.29 and later.
    #[error("the squashfs image has version {major}.{minor}; only 4.0 is read")]
    Version {
        /// Before the dot.
        major: u16,
        /// Behind it.
        minor: u16,
    },
    /// It is compressed in a form that no modloop has.
    #[error("the squashfs image has compression {0}; only gzip (1), xz (4) and zstd (6) are read")]
    Compression(u16),
    /// A metadata block claims a length that none has.
    #[error(
        "the metadata block at byte {offset} of the squashfs image claims {length} bytes; 1 to {} are possible",
        metadata::BLOCK
    )]
    BlockLength {
        /// Of the block.
        offset: u64,
        /// As claimed.
        length: usize,
    },
    /// A metadata block cannot be decompressed.
    #[error("the metadata block at byte {offset} of the squashfs image is damaged")]
    Block {
        /// Of the block.
        offset: u64,
        /// What the decoder says.
        source: io::Error,
    },
    /// A reference leads out of its metadata block, or a block ends before what it holds.
    #[error("the metadata block at byte {offset} of the squashfs image ends after {length} bytes, too early")]
    BlockEnd {
        /// Of the block.
        offset: u64,
        /// Decompressed bytes.
        length: usize,
    },
    /// The root, or what a listing calls a folder, is something else.
    #[error("`{name}` in the squashfs image has an inode of type {kind}, which is not a folder")]
    NotFolder {
        /// Its name; `/` for the root.
        name: String,
        /// Type of the inode.
        kind: u16,
    },
    /// A folder is larger than any of a modloop.
    #[error(
        "the listing of `{name}` in the squashfs image has {length} bytes, more than the {LARGEST_LISTING} allowed"
    )]
    LargeListing {
        /// The folder; `/` for the root.
        name: String,
        /// Bytes claimed.
        length: u32,
    },
    /// The entries of a folder cannot be told apart.
    #[error("the listing of `{name}` in the squashfs image is damaged")]
    Listing {
        /// The folder; `/` for the root.
        name: String,
    },
    /// The folder that was asked for is not there, or is not a folder.
    #[error("the squashfs image has no folder `{0}`")]
    NoFolder(String),
}
