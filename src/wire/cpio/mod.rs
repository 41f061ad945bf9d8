//! The archives an initramfs is made of: cpio in the `newc` form (Linux `Documentation/driver-api/early-userspace/
//! buffer-format.rst`), several of them one after the other, each raw or gzip-compressed.

mod error;
mod read;
mod write;

pub use error::{CpioError, Field};
pub use read::{Entry, Reader};
pub use write::{ArchiveError, Writer};

/// Length of the fixed part of a member's header: the magic and 13 numbers of 8 hexadecimal digits.
const HEADER: usize = 6 + 13 * 8;

/// The name of the member that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// The longest name the kernel takes, its final NUL included (`PATH_MAX`).
const LONGEST_NAME: usize = 4096;

/// The bits of a mode that say what a member is, and three of their values (`stat(2)`).
const FILE_TYPE: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// How many bytes follow `length` up to the next multiple of four.
const fn padding(length: u64) -> u64 {
    length.wrapping_neg() % 4
}
