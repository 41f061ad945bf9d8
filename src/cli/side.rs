//! What `inspect` and `diff` look at: an archive, a bundle, or a profile as it stands in its folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;

use super::{air_gap, lbu};
use crate::build::{BaseAccounts, OVERLAY_FILE, Recipe};
use crate::config::Settings;
use crate::disk;
use crate::model::alpine::{ReleaseSpec, Version};
use crate::model::manifest::Manifest;
use crate::model::name::{BundleRef, ProfileName};
use crate::store::{Store, StoreError};
use crate::wire::apkovl::{Limits, Note, Read, Tree, read};

/// One thing to look at.
#[derive(Debug)]
pub(super) struct Side {
    /// What it is, for people.
    pub(super) shown: String,
    /// The overlay, without the digest that a build puts into it.
    pub(super) tree: Tree,
    /// What there is to know about the archive.
    pub(super) notes: Vec<Note>,
    /// Packages asked for.
    pub(super) world: BTreeSet<String>,
    /// Name and version of each package; known of a bundle only.
    pub(super) packages: Option<BTreeMap<String, String>>,
    /// Kernel arguments in order; an archive has none.
    pub(super) arguments: Option<Vec<String>>,
    /// Which Alpine; an archive does not say.
    pub(super) alpine: Option<Alpine>,
}

/// Which Alpine something is for.
#[derive(Debug)]
pub(super) struct Alpine {
    pub(super) release: Release,
    pub(super) arch: String,
    pub(super) flavor: String,
    pub(super) repositories: BTreeSet<String>,
}

/// A release, or what a profile writes for one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Release {
    Exactly(Version),
    Wanted(ReleaseSpec),
}

impl Release {
    /// Whether both can mean the same release.
    pub(super) fn fits(self, other: Self) -> bool {
        match (self, other) {
            (Self::Exactly(one), Self::Exactly(other)) => one == other,
            (Self::Wanted(one), Self::Wanted(other)) => one == other,
            (Self::Exactly(version), Self::Wanted(spec)) | (Self::Wanted(spec), Self::Exactly(version)) => match spec {
                ReleaseSpec::LatestStable => version.is_stable(),
                ReleaseSpec::Branch(branch) => branch.has(&version),
                ReleaseSpec::Version(wanted) => wanted == version,
                ReleaseSpec::Edge => matches!(version, Version::Dated(_)),
            },
        }
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(version) => version.fmt(out),
            Self::Wanted(spec) => spec.fmt(out),
        }
    }
}

impl Side {
    /// What a word of the command line means: a file is an archive; `NAME/`, or a folder with a `profile.toml`, is a
    /// profile as it stands; anything else names a bundle, or, where nothing was built of a profile, the profile.
    pub(super) fn load(settings: &Settings, text: &str) -> anyhow::Result<Self> {
        let place = Path::new(text);
        if place.is_file() {
            return Self::archive(place);
        }
        if let Some(name) = text.strip_suffix('/').and_then(|name| name.parse::<ProfileName>().ok())
            && settings.profiles.join(name.as_str()).is_dir()
        {
            return Self::profile(&settings.profiles, settings, &name);
        }
        if text.contains('/') {
            anyhow::ensure!(place.exists(), "there is no file or folder {text}");
            let name = place.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            let name = name.filter(|_| place.join("profile.toml").is_file());
            let name: ProfileName = name.with_context(|| format!("{text} is no archive and no folder of a profile"))?;
            return Self::profile(disk::folder_of(place), settings, &name);
        }
        let reference: BundleRef = text.parse()?;
        let store = Store::look_into(&settings.store());
        match (air_gap::meant(&store, &reference), reference) {
            (Ok(manifest), _) => Self::bundle(&store, &manifest),
            (Err(error), BundleRef::Channel(name, _)) if !text.contains(':') && is_unbuilt(&error) => {
                anyhow::ensure!(settings.profiles.join(name.as_str()).is_dir(), error);
                Self::profile(&settings.profiles, settings, &name)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn archive(place: &Path) -> anyhow::Result<Self> {
        let Read { tree, notes } = lbu::load(place)?;
        let world = match tree.get("etc/apk/world").map(|entry| &entry.node) {
            Some(crate::wire::apkovl::Node::File(bytes)) => {
                String::from_utf8_lossy(bytes).split_ascii_whitespace().map(str::to_owned).collect()
            }
            _ => BTreeSet::new(),
        };
        let shown = format!("archive {}", place.display());
        Ok(Self { shown, tree: bare(tree), notes, world, packages: None, arguments: None, alpine: None })
    }

    fn bundle(store: &Store, manifest: &Manifest) -> anyhow::Result<Self> {
        let apkovl = &manifest.apkovl;
        let bytes = disk::read_bounded(&store.blob_path(&apkovl.sha256), apkovl.size)?;
        let Read { tree, notes } =
            read(&bytes, &Limits::default()).with_context(|| format!("the overlay of bundle {}", manifest.id()))?;
        let packages = manifest.packages.iter().map(|it| (it.name.clone(), it.version.clone())).collect();
        Ok(Self {
            shown: format!("bundle {} of {}", manifest.id().short(), manifest.profile),
            tree: bare(tree),
            notes,
            world: manifest.world.iter().cloned().collect(),
            packages: Some(packages),
            arguments: Some(manifest.kernel_args.clone()),
            alpine: Some(Alpine {
                release: Release::Exactly(manifest.alpine.version),
                arch: manifest.alpine.arch.to_string(),
                flavor: manifest.alpine.flavor.to_string(),
                repositories: manifest.verified.index_keys.keys().cloned().collect(),
            }),
        })
    }

    fn profile(profiles: &Path, settings: &Settings, name: &ProfileName) -> anyhow::Result<Self> {
        let recipe = Recipe::load(profiles, &settings.overlays, name)?;
        Ok(Self {
            shown: format!("profile {}", profiles.join(name.as_str()).display()),
            tree: recipe.tree(&BaseAccounts::default())?,
            notes: Vec::new(),
            world: recipe.world.iter().cloned().collect(),
            packages: None,
            arguments: Some(recipe.kernel_args),
            alpine: Some(Alpine {
                release: Release::Wanted(recipe.alpine.release),
                arch: recipe.alpine.arch.to_string(),
                flavor: recipe.alpine.flavor.to_string(),
                repositories: recipe.alpine.repositories.into_iter().collect(),
            }),
        })
    }
}

/// Whether there is no bundle because none was made.
fn is_unbuilt(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<StoreError>();
    matches!(error, Some(StoreError::NoProfile { .. } | StoreError::NothingStaged(_)))
}

/// A tree without the digest of itself, which says nothing that the rest does not.
fn bare(mut tree: Tree) -> Tree {
    tree.remove(OVERLAY_FILE);
    if let Some((folder, _)) = OVERLAY_FILE.rsplit_once('/')
        && tree.below(&format!("{folder}/")).next().is_none()
    {
        tree.remove(folder);
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_fits_what_a_profile_wants() {
        let exactly = |text: &str| Release::Exactly(text.parse().unwrap());
        let wanted = |text: &str| Release::Wanted(text.parse().unwrap());
        for (one, other, fits) in [
            (exactly("3.24.1"), wanted("3.24"), true),
            (exactly("3.24.1"), wanted("3.23"), false),
            (wanted("3.24.1"), exactly("3.24.1"), true),
            (wanted("latest-stable"), exactly("3.24.1"), true),
            (wanted("edge"), exactly("3.24.1"), false),
            (exactly("3.24.1"), exactly("3.24.0"), false),
            (wanted("3.24"), wanted("latest-stable"), false),
        ] {
            assert_eq!(one.fits(other), fits, "{one} {other}");
        }
    }
}
