//! What the files look like that settings come from, so that a change is seen without reading any.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tracing::debug;

use super::source::Source;
use crate::config::Settings;
use crate::disk::{Appearance, DiskError};
use crate::serve::loaders::DEFAULT_FOLDERS;

/// The looks of files and folders, by path.
#[derive(Debug, Clone, Default)]
pub(super) struct Looks(BTreeMap<PathBuf, String>);

impl Looks {
    /// What one file looks like; what cannot be examined is not known.
    pub(super) fn of_file(file: &Path) -> Self {
        let looks = look(file, Appearance::file).map(|looks| (file.to_owned(), looks));
        Self(looks.into_iter().collect())
    }

    /// The site file, and the certificates and folders of loaders that settings name.
    pub(super) async fn at(source: &Source, settings: &[&Settings]) -> Self {
        // Mostly all settings name the same ones.
        let (mut files, mut folders) = (BTreeSet::from([source.file().to_owned()]), BTreeSet::new());
        for settings in settings {
            files.extend(settings.http.https.iter().flat_map(|https| [https.certificate.clone(), https.key.clone()]));
            folders.insert(settings.own_loaders());
            match &settings.loaders {
                Some(folder) => drop(folders.insert(folder.clone())),
                None => folders.extend(DEFAULT_FOLDERS.iter().map(PathBuf::from)),
            }
        }
        Self::of(files, folders).await
    }

    /// Files, and folders with everything below them.
    pub(super) async fn of(files: BTreeSet<PathBuf>, folders: BTreeSet<PathBuf>) -> Self {
        let looked = tokio::task::spawn_blocking(move || {
            let files = files.into_iter().filter_map(|file| Some((file.clone(), look(&file, Appearance::file)?)));
            let tree = |looks: &mut Appearance, folder: &Path| looks.tree(folder, "");
            let folders = folders.into_iter().filter_map(|folder| Some((folder.clone(), look(&folder, tree)?)));
            Self(files.chain(folders).collect())
        });
        // It is not cancelled and does not panic, so the program ends.
        looked.await.unwrap_or_default()
    }

    /// Whether anything looks different that both know.
    pub(super) fn differ_from(&self, before: &Self) -> bool {
        self.0.iter().any(|(path, looks)| before.0.get(path).is_some_and(|before| before != looks))
    }

    /// Takes over what was not known.
    pub(super) fn add(&mut self, now: &Self) {
        for (path, looks) in &now.0 {
            self.0.entry(path.clone()).or_insert_with(|| looks.clone());
        }
    }
}

/// Notices changes that somebody has made, and none that somebody is making.
#[derive(Debug)]
pub(super) struct Watch {
    /// What was dealt with.
    seen: Looks,
    /// What was looked at last.
    last: Looks,
}

impl Watch {
    /// Notices what is different from these.
    pub(super) fn from(seen: Looks) -> Self {
        Self { last: seen.clone(), seen }
    }

    /// Whether there is a change to deal with. One counts when it looks the same twice: nobody is half done then.
    pub(super) fn notice(&mut self, now: Looks) -> bool {
        let is_change = now.differ_from(&self.seen) && !now.differ_from(&self.last);
        if is_change {
            self.seen = now.clone();
        } else {
            self.seen.add(&now);
        }
        self.last = now;
        is_change
    }

    /// Takes it that all of this is dealt with.
    pub(super) fn forgive(&mut self, now: Looks) {
        *self = Self::from(now);
    }
}

fn look(path: &Path, add: impl FnOnce(&mut Appearance, &Path) -> Result<(), DiskError>) -> Option<String> {
    let mut looks = Appearance::default();
    match add(&mut looks, path) {
        Ok(()) => Some(looks.digest()),
        Err(problem) => {
            debug!(%problem, "changes there are not noticed");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_and_what_was_not_known_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let mut seen = Looks::of_file(&one);
        std::fs::write(&one, "1").unwrap();
        let now = Looks::of_file(&one);
        assert!(now.differ_from(&seen) && !now.differ_from(&now));
        seen = now;
        let now = Looks::of_file(&other);
        assert!(!now.differ_from(&seen));
        seen.add(&now);
        std::fs::write(&other, "1").unwrap();
        assert!(Looks::of_file(&other).differ_from(&seen));
    }

    #[test]
    fn a_change_is_noticed_once_and_not_while_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "1").unwrap();
        let mut watch = Watch::from(Looks::of_file(&file));
        assert!(!watch.notice(Looks::of_file(&file)));
        std::fs::write(&file, "12").unwrap();
        assert!(!watch.notice(Looks::of_file(&file)));
        std::fs::write(&file, "123").unwrap();
        assert!(!watch.notice(Looks::of_file(&file)));
        assert!(watch.notice(Looks::of_file(&file)));
        assert!(!watch.notice(Looks::of_file(&file)));
        std::fs::write(&file, "1234").unwrap();
        watch.forgive(Looks::of_file(&file));
        assert!(!watch.notice(Looks::of_file(&file)) && !watch.notice(Looks::of_file(&file)));
    }
}
