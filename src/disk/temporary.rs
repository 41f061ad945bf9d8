//! Files and folders on their way to their real name. They live beside it, so that the last step is a rename within
//! one file system; they vanish when dropped, and [`sweep`] removes those a crash left behind.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

use super::{DiskError, Lock, failed, folder_of, sync_folder};

/// How the names of unfinished files and folders begin. Nothing else may be called so.
const PREFIX: &str = ".tmp-";

/// A file that is being written and has no name of its own yet.
#[derive(Debug)]
pub struct TempFile(NamedTempFile);

impl TempFile {
    /// A new empty file in `folder`, with mode 0644 less the umask.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn new_in(folder: &Path) -> Result<Self, DiskError> {
        Self::with_mode(folder, 0o644)
    }

    /// A new empty file in `folder` that only its owner can read, from its first moment on.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn new_private_in(folder: &Path) -> Result<Self, DiskError> {
        Self::with_mode(folder, 0o600)
    }

    fn with_mode(folder: &Path, mode: u32) -> Result<Self, DiskError> {
        tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder)
            .map(Self)
            .map_err(failed("create a file in", folder))
    }

    /// The open file.
    pub fn file(&mut self) -> &mut File {
        self.0.as_file_mut()
    }

    /// A second handle on the open file, for a writer on another thread.
    ///
    /// # Errors
    /// When the process has no more handles.
    pub fn handle(&self) -> Result<File, DiskError> {
        self.0.as_file().try_clone().map_err(failed("open a second time", self.0.path()))
    }

    /// Where the file is for now.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives the file its real name, replacing what had it. Content first, then name, then folder are made durable, so
    /// after a power cut the name leads to the old bytes or to all of the new ones.
    ///
    /// # Errors
    /// When the file cannot be written back or renamed; it is then gone.
    pub fn publish(self, path: &Path) -> Result<(), DiskError> {
        self.0.as_file().sync_all().map_err(failed("write back", path))?;
        self.0.persist(path).map_err(|error| failed("replace", path)(error.error))?;
        sync_folder(folder_of(path))
    }
}

/// A folder that is being filled and has no name of its own yet.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// A new empty folder in `parent`.
    ///
    /// # Errors
    /// When `parent` cannot be written to.
    pub fn new_in(parent: &Path) -> Result<Self, DiskError> {
        tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(parent)
            .map(Self)
            .map_err(failed("create a folder in", parent))
    }

    /// Where the folder is for now.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives the folder its real name. Its files must have been written back by whoever wrote them.
    ///
    /// # Errors
    /// When something that is not an empty folder has the name, or the system refuses; the folder is then gone.
    pub fn publish(self, path: &Path) -> Result<(), DiskError> {
        sync_folder(self.path())?;
        fs::rename(self.path(), path).map_err(failed("put in place the folder", path))?;
        // The folder has another name now: nothing is left for the drop to remove.
        let _old_name: PathBuf = self.0.keep();
        sync_folder(folder_of(path))
    }
}

/// Removes what crashed writers left in `folder`, and says how much that was. All who make temporary files there must
/// hold the same lock, otherwise this takes them away from a living writer; the argument is a reminder of that.
///
/// # Errors
/// When the folder cannot be read or something in it cannot be removed.
pub fn sweep(folder: &Path, _held: &Lock) -> Result<usize, DiskError> {
    let mut removed = 0;
    for entry in fs::read_dir(folder).map_err(failed("list", folder))? {
        let entry = entry.map_err(failed("list", folder))?;
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type().map_err(failed("examine", &path))?;
        let done = if kind.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        done.map_err(failed("remove", &path))?;
        removed += 1;
    }
    Ok(removed)
}

/// [`sweep`] of a folder and of every folder below it.
///
/// # Errors
/// As [`sweep`].
pub fn sweep_all(root: &Path, held: &Lock) -> Result<usize, DiskError> {
    let mut removed = sweep(root, held)?;
    for found in super::walk(root)?.into_iter().filter(|found| found.kind == super::Kind::Folder) {
        let is_unfinished =
            |part: std::path::Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        if !found.relative.components().any(is_unfinished) {
            removed += sweep(&root.join(found.relative), held)?;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_not_published_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = TempFile::new_in(folder.path()).unwrap();
        file.file().write_all(b"half").unwrap();
        let scratch = Scratch::new_in(folder.path()).unwrap();
        fs::write(scratch.path().join("file"), b"half").unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        drop((file, scratch));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_published_folder_stays_with_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::new_in(folder.path()).unwrap();
        fs::write(scratch.path().join("file"), b"whole").unwrap();
        scratch.publish(&folder.path().join("set")).unwrap();
        assert_eq!(names(folder.path()), ["set"]);
        assert_eq!(fs::read(folder.path().join("set/file")).unwrap(), b"whole");
    }

    #[test]
    fn a_folder_does_not_replace_one_with_content() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("set")).unwrap();
        fs::write(folder.path().join("set/old"), b"old").unwrap();
        let error = Scratch::new_in(folder.path()).unwrap().publish(&folder.path().join("set")).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot put in place the folder {}/set", folder.path().display()));
        assert_eq!(names(folder.path()), ["set"]);
    }

    #[test]
    fn a_sweep_takes_the_leftovers_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".tmp-abc"), b"").unwrap();
        fs::create_dir_all(folder.path().join(".tmp-def/deep")).unwrap();
        fs::write(folder.path().join("kept"), b"").unwrap();
        let lock = Lock::acquire(&folder.path().join("lock")).unwrap();
        assert_eq!(sweep(folder.path(), &lock).unwrap(), 2);
        assert_eq!(names(folder.path()), ["kept", "lock"]);
    }
}
