//! Builds that need not be made: of each profile, what everything looked like that its last bundle was made of.
//!
//! One small file per profile, `built/PROFILE.json` in the state folder, which may be deleted at any time. Nothing of a
//! profile is read to compare it, so a build of what did not change takes about as long as listing its files.

use std::env;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tracing::debug;

use super::lock;
use crate::build::{BuildError, Recipe};
use crate::config::Settings;
use crate::disk::{self, Appearance, DiskError, TICK};
use crate::model::digest::Digest;
use crate::model::lock::{LOCK_FILE, Lock};
use crate::model::manifest::BundleId;
use crate::model::name::ProfileName;
use crate::store::Store;

/// The largest file that is read back.
const LARGEST: u64 = 4 << 20;

/// What is remembered of a build.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Built {
    /// What everything looked like that it was made of, [`appearance`].
    inputs: String,
    /// The folders of the profile, of those it extends and of its overlays.
    folders: Vec<PathBuf>,
    made: Made,
}

/// What a build came to.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    pub(super) bundle: BundleId,
    /// Everything the bundle names, with its length in bytes.
    pub(super) blobs: Vec<(Digest, u64)>,
    /// What was said about the profile on the way.
    pub(super) remarks: Vec<String>,
    /// What is said about the bundle, after the verb.
    pub(super) outcome: String,
}

/// A profile that is to be built.
#[derive(Debug)]
pub(super) enum Profile {
    /// Another build would make what the last one made.
    Built(ProfileName, Made),
    /// It has to be built.
    Read(Box<Recipe>, Inputs),
}

impl Profile {
    /// Looks whether anything has changed, and reads the profile if so.
    ///
    /// # Errors
    /// When it cannot be read, or is not safe to boot.
    pub(super) fn look(settings: &Settings, name: &ProfileName) -> Result<Self, BuildError> {
        if let Some(made) = known(settings, name) {
            return Ok(Self::Built(name.clone(), made));
        }
        let read = || -> Result<_, BuildError> {
            let began = SystemTime::now();
            let recipe = Recipe::load(&settings.profiles, &settings.overlays, name)?;
            let inputs = Inputs::of(&recipe, began);
            Ok((Box::new(recipe), inputs))
        };
        let (mut recipe, mut inputs) = read()?;
        if !inputs.are_settled(settings, name) {
            // Somebody is writing, or has just ended: what is read after a moment is what stays.
            std::thread::sleep(TICK);
            (recipe, inputs) = read()?;
        }
        Ok(Self::Read(recipe, inputs))
    }
}

/// The last build of a profile, when another one would make the same bundle, and all of that is in the store.
pub(super) fn known(settings: &Settings, name: &ProfileName) -> Option<Made> {
    let bytes = disk::read_bounded(&path(settings, name), LARGEST).ok()?;
    let built: Built = serde_json::from_slice(&bytes).ok()?;
    if appearance(settings, name, &built.folders).ok()?.digest() != built.inputs {
        return None;
    }
    let store = Store::look_into(&settings.store());
    let is_whole = store.staged_id(name).ok()? == Some(built.made.bundle)
        && built.made.blobs.iter().all(|(digest, size)| store.has_blob(digest, *size));
    is_whole.then_some(built.made)
}

/// What a bundle is made of, while it is made.
#[derive(Debug)]
pub(super) struct Inputs {
    folders: Vec<PathBuf>,
    began: SystemTime,
}

impl Inputs {
    /// Of a recipe that somebody began to read at that time.
    pub(super) fn of(recipe: &Recipe, began: SystemTime) -> Self {
        Self { folders: recipe.folders.clone(), began }
    }

    /// Whether nothing was changed so lately that another change could not be told from it.
    pub(super) fn are_settled(&self, settings: &Settings, name: &ProfileName) -> bool {
        appearance(settings, name, &self.folders).is_ok_and(|it| it.settled(self.began))
    }

    /// Remembers what was made of them with a lock, unless something was changed meanwhile.
    pub(super) fn remember(self, settings: &Settings, name: &ProfileName, lock: &Lock, made: Made) {
        if let Err(error) = self.try_remember(settings, name, lock, made) {
            debug!(%error, profile = %name, "the next build of this profile looks at everything again");
        }
    }

    fn try_remember(self, settings: &Settings, name: &ProfileName, lock: &Lock, made: Made) -> anyhow::Result<()> {
        let Self { folders, began } = self;
        let path = path(settings, name);
        let appearance = appearance(settings, name, &folders)?;
        if !appearance.settled(began) || lock::read(settings, name)?.as_ref() != Some(lock) {
            return Ok(disk::remove(&path)?);
        }
        let built = Built { inputs: appearance.digest(), folders, made };
        let json = serde_json::to_vec(&built).expect("it holds only texts and lists");
        disk::create_dir_all(disk::folder_of(&path))?;
        Ok(disk::write_atomic(&path, &json)?)
    }
}

/// The looks of everything a bundle is made of: the program, what the site trusts, the profile's folders, its lock. (What
/// comes from mirrors is named by the lock, to the byte.)
fn appearance(settings: &Settings, name: &ProfileName, folders: &[PathBuf]) -> Result<Appearance, DiskError> {
    let mut appearance = Appearance::default();
    let program = env::current_exe().unwrap_or_else(|_| Path::new("/proc/self/exe").to_owned());
    appearance.file(&program)?;
    appearance.bytes(env::var_os(super::workshop::EPOCH).unwrap_or_default().as_encoded_bytes());
    for folder in [&settings.profiles, &settings.overlays] {
        appearance.bytes(folder.as_os_str().as_encoded_bytes());
    }
    for check in &settings.verify.off {
        appearance.bytes(check.name().as_bytes());
    }
    for key in settings.verify.release_keys.iter().chain(&settings.verify.package_keys) {
        appearance.file(key)?;
    }
    for folder in folders {
        appearance.tree(folder, LOCK_FILE)?;
    }
    // The build itself may just have written it, so its bytes count and not its time.
    appearance.bytes(&disk::read(&lock::path(settings, name))?);
    Ok(appearance)
}

fn path(settings: &Settings, name: &ProfileName) -> PathBuf {
    settings.state.join("built").join(format!("{name}.json"))
}
