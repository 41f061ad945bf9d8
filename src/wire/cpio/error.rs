//! What can be wrong with an initramfs.

use std::{fmt, io};

/// Why an initramfs cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CpioError {
    /// The bytes end, or their compression breaks, within something.
    #[error("the archive is cut off or damaged in {field} of member {member}")]
    Cut {
        /// In what.
        field: Field,
        /// Which member, counted from 1 over all archives.
        member: u64,
        /// What the decoder says.
        source: io::Error,
    },
    /// Something else stands where a member has to begin.
    #[error("member {member} does not begin with a cpio newc header")]
    Magic {
        /// Which member, counted from 1 over all archives.
        member: u64,
    },
    /// A number of a header is not eight hexadecimal digits.
    #[error("a number in the header of member {member} is not hexadecimal")]
    Number {
        /// Which member, counted from 1 over all archives.
        member: u64,
    },
    /// A name is empty, too long, not text, or leads out of the archive.
    #[error("member {member} has the name {name:?}, which is not a path inside the archive")]
    Name {
        /// Which member, counted from 1 over all archives.
        member: u64,
        /// The name, cut to a length that fits a message.
        name: String,
    },
    /// The bytes between two archives are neither zeros nor an archive this reader knows.
    #[error("the bytes at offset {offset} are neither a cpio newc archive nor gzip")]
    Unknown {
        /// Where in the input.
        offset: usize,
    },
    /// A raw archive does not begin where the kernel looks for it (INIT-20).
    #[error("the raw archive at offset {offset} does not begin at a multiple of 4 bytes; the kernel would not see it")]
    Misaligned {
        /// Where in the input.
        offset: usize,
    },
    /// There is more than the reader was allowed to unpack.
    #[error("the archive unpacks to more than {limit} bytes")]
    TooLarge {
        /// How many bytes were allowed.
        limit: u64,
    },
    /// A member that was asked for is larger than its reader expects.
    #[error("`{name}` in the archive has {size} bytes, more than the {limit} allowed")]
    Content {
        /// The member.
        name: String,
        /// Its size.
        size: u64,
        /// How many bytes were allowed.
        limit: u64,
    },
}

/// The part of a member in which an archive ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The fixed header.
    Header,
    /// The name or the zeros after it.
    Name,
    /// The content or the zeros after it.
    Content,
    /// What follows the last member.
    End,
}

impl fmt::Display for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Header => "the header",
            Self::Name => "the name",
            Self::Content => "the content",
            Self::End => "the end",
        })
    }
}
