//! Why an overlay archive cannot be read.

use std::{fmt, io};

/// Why an overlay archive is refused. `member` is the name of the member at fault, or its number when it has none yet,
/// ready to be printed.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The bytes are no gzip at all (OVL-10).
    #[error("the archive is not gzip, the only compression init unpacks: it {looks} (OVL-10)")]
    NotGzip {
        /// What it is instead.
        looks: &'static str,
    },
    /// The bytes end too early.
    #[error("the archive is cut off in {member}")]
    Cut {
        /// Where.
        member: String,
    },
    /// The compression is broken, or a checksum is wrong.
    #[error("the compressed bytes of the archive are damaged in or after {member}")]
    Damaged {
        /// Where.
        member: String,
        /// What the decoder says.
        source: io::Error,
    },
    /// There is more in it than the reader was allowed to unpack.
    #[error("the archive unpacks to more than {limit} bytes, at {member}")]
    TooLarge {
        /// Where.
        member: String,
        /// How many bytes were allowed.
        limit: u64,
    },
    /// There are more entries in it than the reader was allowed to take.
    #[error("the archive has more than {limit} entries, at {member}")]
    TooMany {
        /// Where.
        member: String,
        /// How many entries were allowed.
        limit: usize,
    },
    /// Its names are longer than the reader was allowed to take, all together.
    #[error("the names in the archive are longer than {limit} bytes, at {member}")]
    TooMuchText {
        /// Where.
        member: String,
        /// How many bytes were allowed.
        limit: usize,
    },
    /// A name is longer than Linux allows.
    #[error(
        "the name or target of {member} is longer than a path of {} bytes or a part of {}",
        super::name::LONGEST,
        super::name::LONGEST_PART
    )]
    LongName {
        /// Which member.
        member: String,
    },
    /// A name leads out of the folder the archive is unpacked in.
    #[error("{member} has `..` in its name or hard link, which leads out of the archive (OVL-11)")]
    Traversal {
        /// Which member.
        member: String,
    },
    /// A name has a line end in it.
    #[error(
        "{member} has a line end in its name, which makes init's list of overlay files name files that are none; rename \
         the file and archive it again (OVL-49)"
    )]
    LineEnd {
        /// Which member.
        member: String,
    },
    /// A header makes no sense.
    #[error("the header of {member} is wrong: {fault}")]
    Header {
        /// Which member.
        member: String,
        /// What is wrong with it.
        fault: HeaderFault,
    },
    /// A file is stored without its holes, in a way that init's tar does not know (OVL-43).
    #[error(
        "{member} is stored as a sparse file, which init's tar does not unpack; archive it without --sparse (OVL-43)"
    )]
    Sparse {
        /// Which member.
        member: String,
    },
    /// A member is of a kind that init's tar stops at.
    #[error("{member} is of the unknown kind {:?}", char::from(*.kind))]
    Kind {
        /// Which member.
        member: String,
        /// The kind as its header has it.
        kind: u8,
    },
    /// A hard link leads to nothing.
    #[error("{member} is a hard link to `{target}`, which is no file of the archive")]
    HardLink {
        /// Which member.
        member: String,
        /// Where it leads.
        target: String,
    },
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderFault {
    /// Its checksum is not that of its bytes.
    Checksum,
    /// A number is none, negative or too large.
    Number,
    /// It has no name, or one that contradicts its kind.
    Name,
    /// A link has no target.
    Target,
    /// Different readers would see different sizes.
    Size,
    /// An extension header before it cannot be read or contradicts it.
    Extension,
    /// There are too many or too large extension headers before it.
    Extensions,
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Checksum => "its checksum is not that of a tar header",
            Self::Number => "a number in it is none, or out of range",
            Self::Name => "its name is empty or contradicts its kind",
            Self::Target => "it is a link without a target",
            Self::Size => "it has a size where there is no content",
            Self::Extension => "an extension header before it is malformed or contradicts it",
            Self::Extensions => "the extension headers before it are too many or too large",
        })
    }
}
