//! Reads a profile and its overlays from disk, in the order they apply.

use std::path::{Path, PathBuf};

use super::BuildError;
use super::lint::Finding;
use super::root::{self, Root};
use crate::disk;
use crate::model::name::{OverlayName, ProfileName, nearest};
use crate::model::profile::{Layer, Profile};
use crate::wire::apkovl::Entry;

/// The largest profile or overlay file that is read.
const MAX_TOML: u64 = 1 << 20;

/// An overlay, or the profile itself, as read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Who it is, for messages: `overlay base` or `profile vdi`.
    pub(super) origin: String,
    /// Its settings.
    pub(super) layer: Layer,
    /// Its `root/` tree: path relative to the machine's root, and what is there.
    pub(super) files: Vec<(String, Entry)>,
    /// What of that tree could not be read as its author meant it.
    pub(super) findings: Vec<Finding>,
}

/// Reads the profile `name`, those it extends, and the overlays they list. Each profile comes after its overlays and
/// after the profile it extends; an overlay that several list counts once, where it is listed first.
pub(super) fn load(profiles: &Path, overlays: &Path, name: &ProfileName) -> Result<Layers, BuildError> {
    let found = Layers { sources: Vec::new(), folders: Vec::new() };
    let mut stack = Stack { profiles, overlays, found, above: Vec::new(), used: Vec::new() };
    stack.profile(name)?;
    Ok(stack.found)
}

/// Layers, the first to apply first.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) sources: Vec<Source>,
    /// The folder of each.
    pub(super) folders: Vec<PathBuf>,
}

/// The layers read so far.
struct Stack<'a> {
    profiles: &'a Path,
    overlays: &'a Path,
    found: Layers,
    /// The profiles that extend the one being read, outermost first.
    above: Vec<ProfileName>,
    /// The overlays that are among the sources.
    used: Vec<OverlayName>,
}

impl Stack<'_> {
    fn profile(&mut self, name: &ProfileName) -> Result<(), BuildError> {
        if self.above.contains(name) {
            let circle = self.above.iter().chain([name]).map(ToString::to_string).collect::<Vec<_>>().join(" → ");
            return Err(BuildError::Circle(circle));
        }
        let folder = self.profiles.join(name.as_str());
        if !folder.is_dir() {
            let near = suggestion(self.profiles, name.as_str());
            return Err(BuildError::NoProfile { name: name.clone(), folder: self.profiles.to_owned(), near });
        }
        let file = folder.join("profile.toml");
        let profile =
            Profile::parse(&read_text(&file)?).map_err(|source| BuildError::Definition { path: file, source })?;
        self.above.push(name.clone());
        if let Some(base) = &profile.extends {
            self.profile(base)?;
        }
        for (place, overlay) in profile.overlays.iter().enumerate() {
            if profile.overlays[..place].contains(overlay) {
                return Err(BuildError::TwiceListed { profile: name.clone(), name: overlay.clone() });
            }
            if !self.used.contains(overlay) {
                self.used.push(overlay.clone());
                self.found.sources.push(load_overlay(self.overlays, overlay, name)?);
                self.found.folders.push(self.overlays.join(overlay.as_str()));
            }
        }
        self.above.pop();
        let origin = format!("profile {name}");
        let Root { files, findings } = root::read(&folder.join("root"), &origin)?;
        self.found.sources.push(Source { origin, layer: profile.layer, files, findings });
        self.found.folders.push(folder);
        Ok(())
    }
}

fn load_overlay(overlays: &Path, name: &OverlayName, wanted_by: &ProfileName) -> Result<Source, BuildError> {
    let folder = overlays.join(name.as_str());
    if !folder.is_dir() {
        return Err(BuildError::NoOverlay {
            name: name.clone(),
            profile: wanted_by.clone(),
            folder: overlays.to_owned(),
            near: suggestion(overlays, name.as_str()),
        });
    }
    let file = folder.join("overlay.toml");
    let layer = Layer::parse(&read_text(&file)?).map_err(|source| BuildError::Definition { path: file, source })?;
    let origin = format!("overlay {name}");
    let Root { files, findings } = root::read(&folder.join("root"), &origin)?;
    Ok(Source { origin, layer, files, findings })
}

fn read_text(path: &Path) -> Result<String, BuildError> {
    let bytes = disk::read_bounded(path, MAX_TOML)?;
    String::from_utf8(bytes).map_err(|_| BuildError::NotText(path.to_owned()))
}

/// A folder's name that is nearest to a wrong one, as `did you mean` text.
fn suggestion(folder: &Path, wrong: &str) -> Option<String> {
    let names = disk::list(folder).ok()?;
    nearest(wrong, names.iter().map(String::as_str)).map(str::to_owned)
}
