//! Reads a profile and its overlays from disk, in the order they apply.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::BuildError;
use super::lint::{Finding, Place};
use super::root;
use crate::disk;
use crate::model::name::{OverlayName, ProfileName, nearest};
use crate::model::profile::{Keys, Layer, Profile, ProfileError, Read};
use crate::model::template::SUFFIX;
use crate::wire::apkovl::Entry;

/// The largest profile or overlay file that is read.
const MAX_TOML: u64 = 1 << 20;

/// How many names of folders an error lists.
const MOST_NAMES: usize = 10;

/// An overlay, or the profile itself, as read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Who it is, for messages: `overlay base` or `profile vdi`.
    pub(super) origin: String,
    /// Its settings, and where they stand.
    pub(super) layer: Layer,
    /// See `layer`.
    pub(super) written: Written,
    /// Its `root/` tree: path relative to the machine's root, and what is there.
    pub(super) files: Vec<(String, Entry)>,
    /// What of that tree could not be read as its author meant it.
    pub(super) findings: Vec<Finding>,
}

/// The file of a layer, where in it the keys stand, and what is beside it.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    /// The file.
    pub(super) file: PathBuf,
    /// Its keys.
    pub(super) keys: Keys,
    /// The names in its `root/`.
    pub(super) root: BTreeSet<String>,
}

impl Written {
    /// Where a key stands.
    pub(super) fn place(&self, key: &[impl AsRef<str>]) -> Option<Place> {
        self.keys.line(key).map(|line| Place { file: self.file.clone(), line: Some(line) })
    }

    /// Where the layer says what is at a path of the machine: its file in `root/`, or the key that makes it.
    pub(super) fn source(&self, path: &str) -> Option<Place> {
        let names = [path.to_owned(), format!("{path}{SUFFIX}")];
        if let Some(name) = names.into_iter().find(|name| self.root.contains(name)) {
            return Some(Place { file: self.file.with_file_name("root").join(name), line: None });
        }
        let service = path.strip_prefix("etc/runlevels/").and_then(|path| path.split_once('/'));
        let service = service.map(|(level, name)| vec!["services".to_owned(), level.to_owned(), name.to_owned()]);
        let node = vec!["nodes".to_owned(), path.to_owned()];
        service.into_iter().chain([node]).find(|key| self.keys.has(key)).and_then(|key| self.place(&key))
    }

    /// Where the layer says which owner and mode a path has: the rule of that very path, or else that of the nearest
    /// tree.
    pub(super) fn rule(&self, path: &str) -> Option<Place> {
        let trees = path.match_indices('/').map(|(end, _)| &path[..=end]).rev().map(str::to_owned);
        let keys = [path.to_owned(), format!("{path}/")].into_iter().chain(trees);
        let key = keys.map(|key| vec!["files".to_owned(), key]).find(|key| self.keys.has(key))?;
        self.place(&key)
    }
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
        let origin = format!("profile {name}");
        let (profile, mut written, mut findings) = read(folder.join("profile.toml"), &origin, Profile::read)?;
        self.above.push(name.clone());
        if let Some(base) = &profile.extends {
            if !self.profiles.join(base.as_str()).is_dir() {
                return Err(BuildError::NoBase {
                    name: base.clone(),
                    profile: name.clone(),
                    place: written.place(&["extends"]).map(Box::new),
                    hint: hint(self.profiles, base.as_str(), &[name.as_str()]),
                });
            }
            self.profile(base)?;
        }
        for (number, overlay) in profile.overlays.iter().enumerate() {
            let place = written.place(&["overlays", overlay.as_str()]).map(Box::new);
            if profile.overlays[..number].contains(overlay) {
                return Err(BuildError::TwiceListed { profile: name.clone(), name: overlay.clone(), place });
            }
            if !self.used.contains(overlay) {
                self.used.push(overlay.clone());
                self.overlay(overlay, name, place)?;
            }
        }
        self.above.pop();
        let root = root::read(&folder.join("root"), &origin)?;
        findings.extend(root.findings);
        written.root = root.files.iter().map(|(path, _)| path.clone()).collect();
        self.found.sources.push(Source { origin, layer: profile.layer, written, files: root.files, findings });
        self.found.folders.push(folder);
        Ok(())
    }

    fn overlay(
        &mut self,
        name: &OverlayName,
        profile: &ProfileName,
        place: Option<Box<Place>>,
    ) -> Result<(), BuildError> {
        let folder = self.overlays.join(name.as_str());
        if !folder.is_dir() {
            let hint = hint(self.overlays, name.as_str(), &[]);
            let (name, profile, folder) = (name.clone(), profile.clone(), self.overlays.to_owned());
            return Err(BuildError::NoOverlay { name, profile, folder, place, hint });
        }
        let origin = format!("overlay {name}");
        let (layer, mut written, mut findings) = read(folder.join("overlay.toml"), &origin, Layer::read)?;
        let root = root::read(&folder.join("root"), &origin)?;
        findings.extend(root.findings);
        written.root = root.files.iter().map(|(path, _)| path.clone()).collect();
        self.found.sources.push(Source { origin, layer, written, files: root.files, findings });
        self.found.folders.push(folder);
        Ok(())
    }
}

/// Reads the file of a layer.
fn read<T>(
    file: PathBuf,
    origin: &str,
    read: fn(&str) -> Result<Read<T>, ProfileError>,
) -> Result<(T, Written, Vec<Finding>), BuildError> {
    parse(&read_text(&file)?, file, origin, read)
}

/// Reads the text of a layer's file. What is wrong in it is left out, and found.
pub(super) fn parse<T>(
    text: &str,
    file: PathBuf,
    origin: &str,
    read: fn(&str) -> Result<Read<T>, ProfileError>,
) -> Result<(T, Written, Vec<Finding>), BuildError> {
    match read(text) {
        Ok(Read { value, keys, problems }) => {
            let found =
                problems.into_iter().map(|problem| Finding::of_problem(problem, origin, file.clone())).collect();
            Ok((value, Written { file, keys, root: BTreeSet::new() }, found))
        }
        Err(source) => Err(BuildError::Definition { path: file, source }),
    }
}

fn read_text(path: &Path) -> Result<String, BuildError> {
    let bytes = disk::read_bounded(path, MAX_TOML)?;
    String::from_utf8(bytes).map_err(|_| BuildError::NotText(path.to_owned()))
}

/// What to say of a name that no folder has: the nearest there is, or what there is besides `own`.
fn hint(folder: &Path, wrong: &str, own: &[&str]) -> String {
    if let Some(near) = suggestion(folder, wrong).filter(|near| !own.contains(&near.as_str())) {
        return format!("did you mean `{near}`?");
    }
    let mut names = disk::list(folder).unwrap_or_default();
    names.retain(|name| !own.contains(&name.as_str()));
    let more = if names.len() > MOST_NAMES { " and others" } else { "" };
    names.truncate(MOST_NAMES);
    if names.is_empty() { "there are none yet".to_owned() } else { format!("there are `{}`{more}", names.join("`, `")) }
}

/// A folder's name that is nearest to a wrong one.
fn suggestion(folder: &Path, wrong: &str) -> Option<String> {
    let names = disk::list(folder).ok()?;
    nearest(wrong, names.iter().map(String::as_str)).map(str::to_owned)
}
