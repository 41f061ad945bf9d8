//! Files in memory without being read: mapped out of the page cache.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;

use super::{DiskError, failed};

/// The bytes of a file that nobody writes to any more, mapped. They stay what they are when the file is removed or its
/// name is given to another one.
///
/// # Errors
/// When the file cannot be opened or mapped.
pub fn map(path: &Path) -> Result<Bytes, DiskError> {
    let file = File::open(path).map_err(failed("open", path))?;
    if file.metadata().map_err(failed("examine", path))?.len() == 0 {
        return Ok(Bytes::new());
    }
    #[expect(
        unsafe_code,
        reason = "a map is safe while the file does not shrink: files that are mapped were published by rename, are \
        never written to again, and are deleted only by unlink"
    )]
    let map = unsafe { Mmap::map(&file) }.map_err(failed("map", path))?;
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use super::*;

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
