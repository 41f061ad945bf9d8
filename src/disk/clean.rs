//! Removing files that nobody needs, or only counting them.

use std::path::Path;

use super::{DiskError, examine, remove};

/// A clean-up and what it has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clean {
    is_trial: bool,
    /// Files removed, or that would be.
    pub files: u64,
    /// Their length in bytes.
    pub bytes: u64,
}

impl Clean {
    /// One that removes.
    #[must_use]
    pub const fn up() -> Self {
        Self { is_trial: false, files: 0, bytes: 0 }
    }

    /// One that only counts.
    #[must_use]
    pub const fn trial() -> Self {
        Self { is_trial: true, files: 0, bytes: 0 }
    }

    /// Whether it only counts.
    #[must_use]
    pub const fn is_trial(&self) -> bool {
        self.is_trial
    }

    /// Removes a file that nobody needs.
    ///
    /// # Errors
    /// When it cannot be examined or removed.
    pub fn away(&mut self, path: &Path) -> Result<(), DiskError> {
        let (length, _) = examine(path)?;
        if !self.is_trial {
            remove(path)?;
        }
        self.files += 1;
        self.bytes += length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_counts_and_removes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"seven b").unwrap();
        for mut clean in [Clean::trial(), Clean::up()] {
            assert!(path.exists());
            clean.away(&path).unwrap();
            assert_eq!((clean.files, clean.bytes), (1, 7));
        }
        assert!(!path.exists());
    }
}
