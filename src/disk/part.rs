//! A large file whose bytes are the same each time it is written: what a writer that was killed left of it is gone on
//! with instead of being written again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::{DiskError, failed, folder_of, sync_folder};

/// What is added to the name of an unfinished file.
const SUFFIX: &str = ".part";

/// How much is compared at once.
const PIECE: usize = 256 << 10;

/// A file on its way to its real name. Until [`PartFile::publish`] it is called `NAME.part`, and it stays so when its
/// writer fails or is killed; the next writer compares what it is about to write with what is there, and writes only
/// from the first difference on.
#[derive(Debug)]
pub struct PartFile {
    file: File,
    part: PathBuf,
    path: PathBuf,
    /// How many bytes were written or found to be there.
    at: u64,
    /// How long the old bytes are that are still to be compared.
    old: u64,
    /// How many old bytes were right.
    kept: u64,
}

impl PartFile {
    /// Begins the file that shall be called `path`, or goes on with it.
    ///
    /// # Errors
    /// [`DiskError::Busy`] while another process writes it; otherwise when the folder cannot be written to.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let mut name = path.as_os_str().to_owned();
        name.push(SUFFIX);
        let part = PathBuf::from(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part)
            .map_err(failed("open", &part))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DiskError::Busy { path: part }),
            Err(TryLockError::Error(source)) => return Err(failed("lock", &part)(source)),
        }
        let ours = file.metadata().map_err(failed("examine", &part))?;
        // Between open and lock the other writer may have given it its real name: then it is no longer ours to change.
        if !fs::symlink_metadata(&part).is_ok_and(|it| (it.dev(), it.ino()) == (ours.dev(), ours.ino())) {
            return Err(DiskError::Busy { path: part });
        }
        Ok(Self { file, part, path: path.to_owned(), at: 0, old: ours.len(), kept: 0 })
    }

    /// Adds the next bytes, or finds that they are there.
    ///
    /// # Errors
    /// When they cannot be written or read; what is right stays for the next writer.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        let same = self.compare(bytes).map_err(failed("read", &self.part))?;
        let rest = bytes.get(same..).unwrap_or_default();
        self.at += same as u64;
        if !rest.is_empty() {
            if self.old > self.at {
                self.file.set_len(self.at).map_err(failed("shorten", &self.part))?;
            }
            self.old = 0;
            self.file.write_all_at(rest, self.at).map_err(failed("write", &self.part))?;
            self.at += rest.len() as u64;
        }
        Ok(())
    }

    /// How many bytes of an earlier writer were right.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Gives the file its real name, replacing what had it. Content first, then name, then folder are made durable.
    ///
    /// # Errors
    /// When the file cannot be written back or renamed; it then keeps the name it has.
    pub fn publish(self) -> Result<(), DiskError> {
        self.file.set_len(self.at).map_err(failed("shorten", &self.part))?;
        self.file.sync_all().map_err(failed("write back", &self.part))?;
        fs::rename(&self.part, &self.path).map_err(failed("replace", &self.path))?;
        sync_folder(folder_of(&self.path))
    }

    /// How many of `bytes` are in the file already, at the place where they belong.
    fn compare(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut buffer = vec![0; if self.old > self.at { PIECE.min(bytes.len()) } else { 0 }];
        let mut same = 0;
        for piece in bytes.chunks(PIECE) {
            let place = self.at + same as u64;
            let there = usize::try_from(self.old.saturating_sub(place)).unwrap_or(usize::MAX).min(piece.len());
            let Some(found) = buffer.get_mut(..there).filter(|found| !found.is_empty()) else { break };
            self.file.read_exact_at(found, place)?;
            let equal = found.iter().zip(piece).take_while(|(found, wanted)| found == wanted).count();
            same += equal;
            if equal < piece.len() {
                break;
            }
        }
        self.kept += same as u64;
        Ok(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &[u8] = b"the same bytes each time";

    /// Writes the content in pieces over what an earlier writer left; returns how much of that was kept.
    fn over(left: &[u8], piece: usize) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(folder.path().join("file.part"), left).unwrap();
        let mut file = PartFile::open(&path).unwrap();
        CONTENT.chunks(piece).for_each(|bytes| file.write(bytes).unwrap());
        let kept = file.kept();
        file.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), CONTENT, "over {left:?}");
        assert!(!folder.path().join("file.part").exists());
        kept
    }

    #[test]
    fn what_is_right_is_kept_and_the_rest_is_written() {
        for piece in [1, 5, CONTENT.len()] {
            assert_eq!(over(b"", piece), 0);
            assert_eq!(over(b"the same", piece), 8);
            assert_eq!(over(b"the same nothing of the rest, and longer", piece), 9);
            assert_eq!(over(b"another", piece), 0);
            assert_eq!(over(CONTENT, piece), CONTENT.len() as u64);
            assert_eq!(over(&[CONTENT, b" and more"].concat(), piece), CONTENT.len() as u64);
        }
    }

    #[test]
    fn pieces_larger_than_the_buffer_are_compared_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content = vec![7; 3 * PIECE + 5];
        fs::write(folder.path().join("file.part"), &content[..2 * PIECE + 1]).unwrap();
        let mut file = PartFile::open(&path).unwrap();
        file.write(&content).unwrap();
        assert_eq!(file.kept(), 2 * PIECE as u64 + 1);
        file.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
    }

    #[test]
    fn a_writer_that_fails_leaves_its_part_and_not_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut file = PartFile::open(&path).unwrap();
        file.write(b"half").unwrap();
        drop(file);
        assert!(!path.exists());
        assert_eq!(fs::read(folder.path().join("file.part")).unwrap(), b"half");
    }

    #[test]
    fn two_writers_do_not_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let held = PartFile::open(&path).unwrap();
        assert_eq!(
            PartFile::open(&path).unwrap_err().to_string(),
            format!("another bivouac is using {}.part; wait for it to finish, or stop it", path.display())
        );
        drop(held);
        PartFile::open(&path).unwrap();
    }
}
