//! Reads a profile and its overlays from disk, in the order they apply.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::BuildError;
use crate::disk::{self, Found, Kind};
use crate::model::name::{OverlayName, ProfileName, nearest};
use crate::model::profile::{Layer, Profile};
use crate::wire::apkovl::Entry;

/// The largest profile or overlay file that is read.
const MAX_TOML: u64 = 1 << 20;

/// The largest file of a `root/` tree: an overlay is unpacked into the memory of every machine.
pub(super) const MAX_FILE: u64 = 256 << 20;

/// An overlay, or the profile itself, as read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Who it is, for messages: `overlay base` or `profile vdi`.
    pub(super) origin: String,
    /// Its settings.
    pub(super) layer: Layer,
    /// Its `root/` tree: path relative to the machine's root, and what is there.
    pub(super) files: Vec<(String, Entry)>,
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
        self.found.sources.push(Source {
            origin: format!("profile {name}"),
            layer: profile.layer,
            files: read_tree(&folder.join("root"))?,
        });
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
    Ok(Source { origin: format!("overlay {name}"), layer, files: read_tree(&folder.join("root"))? })
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

/// Reads a `root/` tree, sorted by name; nothing when the folder does not exist.
///
/// Only what an archive can hold faithfully is read: directories, regular files, links. Of a file's mode only the
/// owner's executable bit counts, because version control keeps no more and a umask changes the rest.
fn read_tree(root: &Path) -> Result<Vec<(String, Entry)>, BuildError> {
    let mut files = Vec::new();
    match fs::symlink_metadata(root) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(bad_name(root, "it must be a folder, not a file or a link to one")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(disk::failed("examine", root)(error).into()),
    }
    for Found { relative, kind } in disk::walk(root)? {
        let source = root.join(&relative);
        let path = machine_path(&relative, &source, kind)?;
        let entry = match kind {
            Kind::Folder => Entry::directory(),
            Kind::Link => {
                let target = fs::read_link(&source).map_err(disk::failed("read the link", &source))?;
                let target = target.into_os_string().into_string();
                Entry::symlink(target.map_err(|_| bad_name(&source, "the link's target is not UTF-8"))?)
            }
            Kind::File => {
                let bytes = disk::read_bounded(&source, MAX_FILE)?;
                let meta = fs::metadata(&source).map_err(disk::failed("examine", &source))?;
                let mode = if meta.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
                Entry { mode, ..Entry::file(bytes) }
            }
            Kind::Special => {
                return Err(bad_name(&source, "it is a device, pipe or socket, which a root/ tree cannot hold"));
            }
        };
        files.push((path, entry));
    }
    Ok(files)
}

/// The path on the machine, refused when init would not unpack or protect it (OVL-2, OVL-11, OVL-49).
fn machine_path(relative: &Path, source: &Path, kind: Kind) -> Result<String, BuildError> {
    let text = relative.to_str().ok_or_else(|| bad_name(source, "its name is not UTF-8 (OVL-49)"))?;
    if text.chars().any(char::is_control) {
        let why = "its name has a control character, which corrupts init's list of overlay files (OVL-49)";
        return Err(bad_name(source, why));
    }
    let last = text.rsplit('/').next().unwrap_or(text);
    if last.starts_with("._") || last == ".DS_Store" {
        let why = "it is a leftover of macOS that makes apk lose its protection of overlay files; delete it (OVL-11)";
        return Err(bad_name(source, why));
    }
    if !text.contains('/') && kind != Kind::Folder {
        return Err(bad_name(
            source,
            "a file directly in root/ makes apk lose its protection of overlay files (OVL-2)",
        ));
    }
    Ok(text.to_owned())
}

fn bad_name(path: &Path, why: &'static str) -> BuildError {
    BuildError::BadFile { path: path.to_owned(), why }
}
