//! What Bivouac needs from a kernel image: which release it is, so that it can be compared with its modules, and how long
//! a command line it takes.

mod banner;
mod bzimage;
mod packing;
#[cfg(test)]
mod tests;

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use banner::{Told, each_place, release_at};
use packing::Packing;

/// The most that is read of an image at once, and the most that is unpacked of it, in bytes. A kernel unpacks to some
/// 40 MiB.
const LIMIT: u64 = 256 << 20;

/// How many places that look like the beginning of a packed kernel are tried. Before it is only the code that unpacks
/// it, which may name the forms it knows.
const ATTEMPTS: usize = 8;

/// The most bytes of a release (Linux `include/uapi/linux/utsname.h`, `__NEW_UTS_LEN`).
const LONGEST: usize = 64;

/// Why a kernel image's release cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The storage fails.
    #[error("the kernel image cannot be read")]
    Read(#[source] io::Error),
    /// The pointer to the version text leads out of the part of the image that holds it.
    #[error("the kernel image's version pointer {pointer:#x} lies outside its set-up part of {setup} bytes")]
    Pointer {
        /// Value of the field at 0x20e, relative to 0x200.
        pointer: u16,
        /// Length of the set-up part, in bytes.
        setup: usize,
    },
    /// The version text has no end, or is not a version.
    #[error("the kernel image's version text is not readable")]
    Text,
}

/// The release (`uname -r`) a kernel image was built as.
///
/// An x86 image tells it in its header, and nothing else of it is read. The images of other architectures have no field
/// for it in common, but the text that every kernel begins its log with: `Linux version 6.12.30-0-lts (` (Linux
/// `init/version-timestamp.c`, `linux_banner`). It is looked for in the bytes as they are (`Image`, `vmlinux`), and when
/// it is not there, in what is packed in them by gzip, xz or zstd: all of the file (`Image.gz`) or a part of it (`zImage`
/// of arm and powerpc, EFI `vmlinuz`, `bzImage` of s390).
///
/// `None` when no release or more than one is found, so also for a kernel packed in another form (lzma, lzo, lz4). No
/// more than 256 MiB of the image and 256 MiB of what it unpacks to are looked at; in memory is a decoder's window.
///
/// # Errors
/// When the image cannot be read, and when an x86 image's header claims a text that is not there.
pub fn release_in(mut image: impl Read + Seek) -> Result<Option<String>, KernelError> {
    let mut head = Vec::new();
    image.by_ref().take(bzimage::HEAD).read_to_end(&mut head).map_err(KernelError::Read)?;
    if bzimage::is_bzimage(&head) {
        return bzimage::release_of(&head);
    }
    search(image, LIMIT).map_err(KernelError::Read)
}

/// The longest command line a kernel image takes, in bytes without the final NUL, as its header says; nothing for images
/// of other architectures, which do not say it.
///
/// # Errors
/// When the image cannot be read.
pub fn command_line_limit(image: impl Read) -> Result<Option<usize>, KernelError> {
    let mut head = Vec::new();
    image.take(bzimage::HEAD).read_to_end(&mut head).map_err(KernelError::Read)?;
    let told = bzimage::is_bzimage(&head).then(|| bzimage::command_line_limit(&head)).flatten();
    // A field that was left empty is no limit.
    Ok(told.filter(|limit| *limit > 0))
}

/// Looks for the text in no more than `limit` bytes as they are, and in no more than `limit` unpacked bytes.
fn search(mut image: impl Read + Seek, limit: u64) -> io::Result<Option<String>> {
    image.rewind()?;
    let (mut told, mut packed) = (Told::Nothing, Vec::new());
    each_place(image.by_ref().take(limit), |offset, bytes| {
        told.add(release_at(bytes));
        if packed.len() < ATTEMPTS {
            packed.extend(Packing::at(bytes).map(|packing| (offset, packing)));
        }
    })?;
    let mut left = limit;
    for (offset, packing) in packed {
        if told != Told::Nothing {
            break;
        }
        image.seek(SeekFrom::Start(offset))?;
        let bytes = BufReader::new(image.by_ref().take(limit));
        let mut unpacked = packing.unpack(bytes).take(left);
        // Bytes that only looked packed end with an error, and damaged ones do: what came before it is all they tell.
        let _ = each_place(&mut unpacked, |_, bytes| told.add(release_at(bytes)));
        left = unpacked.limit();
    }
    Ok(told.one())
}

/// Whether a text can be the name of a folder below `lib/modules`: `6.12.30-0-lts`.
#[must_use]
pub fn is_release(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+~".contains(&byte);
    text.len() <= LONGEST && text.starts_with(|first: char| first.is_ascii_digit()) && text.bytes().all(is_allowed)
}
