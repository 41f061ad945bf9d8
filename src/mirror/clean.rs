//! What nobody has asked for goes.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use super::{Mirror, indexes, packages};
use crate::disk::{self, Clean, DiskError, Lock};

impl Mirror {
    /// Whether files are on their way, so that a clean-up has to wait.
    #[must_use]
    pub fn is_busy(folder: &Path) -> bool {
        matches!(Lock::try_acquire(&folder.join("lock")), Err(DiskError::Busy { .. }))
    }

    /// Removes from a mirror's folder what nobody has asked for since a time. Waits for files that are on their way.
    ///
    /// # Errors
    /// When something cannot be read or removed.
    pub fn clean(folder: &Path, unused_since: SystemTime, clean: &mut Clean) -> Result<(), DiskError> {
        let path = folder.join("lock");
        let lock = if clean.is_trial() { Lock::share(&path)? } else { Lock::acquire(&path)? };
        if !clean.is_trial() {
            disk::sweep_all(folder, &lock)?;
        }
        let [packages, signatures] = [packages(folder), folder.join("signatures")];
        let list = |folder: &Path| if folder.exists() { disk::list(folder) } else { Ok(Vec::new()) };
        let mut images = BTreeSet::new();
        for name in list(&packages)? {
            let path = packages.join(&name);
            if disk::examine(&path)?.1 < unused_since {
                clean.away(&path)?;
            } else {
                images.extend(name.strip_suffix(".image").map(str::to_owned));
            }
        }
        for name in list(&signatures)? {
            if !name.strip_suffix(".asc").is_some_and(|image| images.contains(image)) {
                clean.away(&signatures.join(name))?;
            }
        }
        indexes::clean(&folder.join("indexes"), unused_since, clean)
    }
}
