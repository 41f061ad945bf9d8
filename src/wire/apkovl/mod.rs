//! The overlay archive Alpine's init unpacks over an empty root (alpine.md 2.3 and 2.4): what is in one, written and read.
//!
//! Written as OVL-1 says, to the letter: GNU headers made by hand, names sorted and relative, parents before what is in
//! them, directories with a final slash, numeric owners and no owner names (a name known inside the initramfs would
//! override the number), one fixed time, two zero blocks at the end, all of it gzip. Never PAX: busybox ignores its
//! owners. The same tree and time give the same bytes on every machine, whatever its number of processors.
//!
//! Read more widely: what lbu, tar, bsdtar and genapkovl scripts write, with a [`Note`] wherever init would make
//! something else of an archive than what stands in it.

mod error;
mod extension;
mod header;
mod member;
mod name;
mod note;
mod pack;
mod read;
mod stream;
mod tree;
mod write;

pub use error::{HeaderFault, Problem};
pub use note::{NameFault, Note, What};
pub use pack::{Prefix, pack};
pub use read::{Limits, Read, read};
pub use tree::{Entry, Node, Tree};

/// The unit of a tar archive in bytes: headers have this length, contents are filled up to a multiple of it.
const BLOCK: usize = 512;
