//! Files and folders: whole reads, atomic writes, locks, walks. Every error names its path and what was tried.
//! Knows nothing of what the files mean.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

mod appearance;
mod clean;
mod create;
mod lock;
mod map;
mod part;
mod temporary;
mod walk;
mod write;

pub use appearance::{Appearance, TICK};
pub use clean::Clean;
pub use create::{create_file, create_folder, create_link, move_folder};
pub use lock::Lock;
pub use map::{Seen, bring_into_memory, is_in_memory, map, map_seen};
pub use part::PartFile;
pub use temporary::{Scratch, TempFile, sweep, sweep_all};
pub use walk::{Found, Kind, walk};
pub use write::{write_atomic, write_atomic_private};

/// What went wrong with a file or folder.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb: "open", "write", "replace".
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is larger than it may be.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How many bytes were allowed.
        limit: u64,
    },
    /// Somebody else holds a lock.
    #[error("another bivouac is using {}; wait for it to finish, or stop it", path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
}

/// Turns an [`io::Error`] into the [`DiskError`] that says what was tried with which path.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    move |source| DiskError::Io { action, path: path.to_owned(), source }
}

impl DiskError {
    /// Whether the reason is that the file or folder does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Whether an error, or one of its causes, says that a disk is full, or somebody's share of it.
#[must_use]
pub fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    })
}

/// Makes a folder and the folders above it; one that exists is left as it is.
///
/// # Errors
/// When the system refuses, or a file stands in the way.
pub fn create_dir_all(folder: &Path) -> Result<(), DiskError> {
    fs::create_dir_all(folder).map_err(failed("create the folder", folder))
}

/// A whole file of the user's own, however large. For files from elsewhere use [`read_bounded`].
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, DiskError> {
    fs::read(path).map_err(failed("read", path))
}

/// A whole file that has at most `limit` bytes.
///
/// # Errors
/// [`DiskError::TooLarge`] past the limit (the file may grow while it is read, so its size is not trusted), or when it
/// cannot be read.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, DiskError> {
    let file = File::open(path).map_err(failed("open", path))?;
    // Only a hint: the file may be no regular one, or grow.
    let expected = file.metadata().map_or(0, |meta| meta.len().min(limit));
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0).saturating_add(1));
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(DiskError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Gives a file to `take`, piece by piece.
///
/// # Errors
/// When it cannot be read.
pub fn read_pieces(path: &Path, mut take: impl FnMut(&[u8])) -> Result<(), DiskError> {
    let mut file = File::open(path).map_err(failed("open", path))?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = file.read(&mut buffer).map_err(failed("read", path))?;
        match buffer.get(..count) {
            Some(piece) if !piece.is_empty() => take(piece),
            _ => return Ok(()),
        }
    }
}

/// Sets when a file was changed last, which clean-ups go by.
///
/// # Errors
/// When it is not there, or belongs to somebody else.
pub fn set_time(path: &Path, time: SystemTime) -> Result<(), DiskError> {
    File::open(path).and_then(|it| it.set_modified(time)).map_err(failed("set the time of", path))
}

/// Length of a file in bytes, and when it was changed last.
///
/// # Errors
/// When the system does not tell.
pub fn examine(path: &Path) -> Result<(u64, SystemTime), DiskError> {
    let found = fs::symlink_metadata(path).map_err(failed("examine", path))?;
    Ok((found.len(), found.modified().map_err(failed("examine", path))?))
}

/// Removes a file; one that is gone already is no error.
///
/// # Errors
/// When the system refuses.
pub fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The names in a folder, sorted. A name that is not UTF-8 is left out: none of ours is.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<String>, DiskError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed("list", folder))? {
        names.extend(entry.map_err(failed("list", folder))?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// Makes what was renamed into or removed from a folder survive a power cut.
///
/// # Errors
/// When the folder cannot be opened or the system cannot write it.
pub fn sync_folder(folder: &Path) -> Result<(), DiskError> {
    File::open(folder).and_then(|it| it.sync_all()).map_err(failed("write back the folder", folder))
}

/// The folder a path lies in, `.` for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_file_and_what_was_tried() {
        let error = read(Path::new("/nowhere/at/all")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nowhere/at/all");
        assert!(error.is_not_found());
    }

    #[test]
    fn a_file_at_its_limit_is_read_and_one_byte_more_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, [7; 10]).unwrap();
        assert_eq!(read_bounded(&path, 10).unwrap(), [7; 10]);
        let error = read_bounded(&path, 9).unwrap_err();
        assert_eq!(error.to_string(), format!("{} is larger than 9 bytes", path.display()));
    }

    #[test]
    fn a_bare_name_lies_in_the_current_folder() {
        assert_eq!(folder_of(Path::new("name")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/name")), Path::new("a"));
    }
}
