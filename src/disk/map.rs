//! Files in memory without being read: mapped out of the page cache.
//!
//! Touching mapped bytes that the page cache has not (any more) stops the thread until the disk has brought them, and
//! ends the process where the disk cannot. A thread that must not wait asks [`is_in_memory`] first, and lets another one
//! [`bring_into_memory`].

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use memmap2::Mmap;
use nix::libc;
use nix::unistd::{SysconfVar, sysconf};

use super::{DiskError, failed};

/// The bytes of a file that nobody writes to any more, mapped. They stay what they are when the file is removed or its
/// name is given to another one.
///
/// # Errors
/// When the file cannot be opened or mapped.
pub fn map(path: &Path) -> Result<Bytes, DiskError> {
    Ok(map_seen(path)?.0)
}

/// What tells a file from another one that gets its name later, and from itself after somebody wrote to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

/// [`map`], and which file that was.
///
/// # Errors
/// As [`map`].
pub fn map_seen(path: &Path) -> Result<(Bytes, Seen), DiskError> {
    let file = File::open(path).map_err(failed("open", path))?;
    let meta = file.metadata().map_err(failed("examine", path))?;
    let modified = (meta.mtime(), meta.mtime_nsec());
    let seen = Seen { device: meta.dev(), inode: meta.ino(), length: meta.len(), modified };
    if meta.len() == 0 {
        return Ok((Bytes::new(), seen));
    }
    #[expect(
        unsafe_code,
        reason = "a map is safe while the file does not shrink: files that are mapped were published by rename, are \
        never written to again, and are deleted only by unlink"
    )]
    let map = unsafe { Mmap::map(&file) }.map_err(failed("map", path))?;
    Ok((Bytes::from_owner(map), seen))
}

/// Whether all of these bytes can be read without waiting for a disk. Bytes that are no map of a file are in memory.
///
/// Where the kernel does not say (it tells nobody about files that are another user's), the answer is yes.
#[must_use]
pub fn is_in_memory(bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let (start, length) = pages(bytes);
    let mut states = vec![0_u8; length.div_ceil(page())];
    #[expect(
        unsafe_code,
        reason = "the pages of a slice are mapped; the kernel writes one byte for each into the vector"
    )]
    let told = unsafe { libc::mincore(start.cast_mut().cast(), length, states.as_mut_ptr()) } == 0;
    // Only the lowest bit means anything (mincore(2)).
    !told || states.iter().all(|state| state & 1 == 1)
}

/// Waits until the disk has brought these bytes. What is brought may be dropped again when memory is short.
///
/// # Errors
/// When the disk cannot read them; whoever touches them then ends the process.
pub fn bring_into_memory(bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let (start, length) = pages(bytes);
    #[expect(unsafe_code, reason = "the pages of a slice are mapped, and reading them in changes none of their bytes")]
    let done = unsafe { libc::madvise(start.cast_mut().cast(), length, libc::MADV_POPULATE_READ) } == 0;
    if done {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // Before Linux 5.14 there is no such advice.
    if error.raw_os_error() != Some(libc::EINVAL) {
        return Err(error);
    }
    for byte in bytes.iter().step_by(page()) {
        std::hint::black_box(byte);
    }
    Ok(())
}

/// The pages these bytes are in: where the first one starts, and the length up to the last byte.
fn pages(bytes: &[u8]) -> (*const u8, usize) {
    let before = bytes.as_ptr().addr() % page();
    (bytes.as_ptr().wrapping_sub(before), bytes.len() + before)
}

/// The length of a page.
fn page() -> usize {
    const USUAL: usize = 4096;
    static PAGE: LazyLock<usize> = LazyLock::new(|| {
        let told = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
        told.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0).unwrap_or(USUAL)
    });
    *PAGE
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

    use super::*;

    #[test]
    fn bytes_that_the_page_cache_has_dropped_are_not_in_memory_until_they_are_brought() {
        // Beside the test program, because a folder for temporary files may be in memory altogether.
        let program = std::env::current_exe().unwrap();
        let folder = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; 40 * page()]).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        let bytes = map(&path).unwrap();
        let part = bytes.slice(3 * page() + 5..30 * page());
        assert!(!is_in_memory(&part));
        bring_into_memory(&part).unwrap();
        assert!(is_in_memory(&part));
        assert!(part.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn bytes_that_are_no_file_are_in_memory() {
        let bytes = vec![1; 5 * page()];
        assert!(is_in_memory(&bytes[1..]) && is_in_memory(&[]) && is_in_memory(b"constant"));
        bring_into_memory(&bytes[7..]).unwrap();
        bring_into_memory(&[]).unwrap();
    }

    #[test]
    fn what_is_mapped_outlives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"bytes").unwrap();
        let bytes = map(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(bytes, &b"bytes"[..]);
        assert_eq!(map(&path).unwrap_err().to_string(), format!("cannot open {}", path.display()));
    }

    #[test]
    fn an_empty_file_has_no_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"").unwrap();
        assert!(map(&path).unwrap().is_empty());
    }
}
