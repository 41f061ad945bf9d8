//! What `inspect` and `diff` look at: an archive, a bundle, or a profile as it stands in its folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;

use super::workshop::misfit_of_any_set;
use super::{air_gap, lbu, lock};
use crate::build::{BaseAccounts, OVERLAY_FILE, Recipe, place_templates};
use crate::config::Settings;
use crate::disk;
use crate::model::alpine::{ReleaseSpec, Version};
use crate::model::lock::{LOCK_FILE, Lock};
use crate::model::manifest::Manifest;
use crate::model::name::{BundleRef, ProfileName};
use crate::model::profile::variable::Declaration;
use crate::model::template::TemplateSet;
use crate::store::{Store, StoreError};
use crate::wire::apkovl::{Limits, Note, Read, Tree, read};

/// One thing to look at.
#[derive(Debug)]
pub(super) struct Side {
    /// What it is, for people.
    pub(super) shown: String,
    /// The overlay, without the digest that a build puts into it; where every machine has a file of its own, with the
    /// template of it.
    pub(super) tree: Tree,
    /// What there is to know about the archive.
    pub(super) notes: Vec<Note>,
    /// Variables of these templates, with their values; an archive has none.
    pub(super) variables: BTreeMap<String, String>,
    /// Packages asked for.
    pub(super) world: BTreeSet<String>,
    /// Each package by its name; known of a bundle, and of a profile whose lock is what it asks for.
    pub(super) packages: Option<BTreeMap<String, Package>>,
    /// Why the lock of a profile is not its own any more, so that nobody knows its packages.
    pub(super) stale: Option<String>,
    /// Kernel arguments in order; an archive has none.
    pub(super) arguments: Option<Vec<String>>,
    /// Which Alpine; an archive does not say.
    pub(super) alpine: Option<Alpine>,
}

/// Which package of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) version: String,
    /// Which build of the version.
    pub(super) identity: String,
}

/// Which Alpine something is for.
#[derive(Debug)]
pub(super) struct Alpine {
    pub(super) release: Release,
    pub(super) arch: String,
    pub(super) flavor: String,
    pub(super) repositories: BTreeSet<String>,
}

/// A release, what a profile writes for one, or that with the release its lock has for it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Release {
    Exactly(Version),
    Wanted(ReleaseSpec),
    Locked(ReleaseSpec, Version),
}

impl Release {
    /// Whether both can mean the same release.
    pub(super) fn fits(self, other: Self) -> bool {
        match (self, other) {
            (Self::Locked(spec, one), Self::Locked(other_spec, other)) => spec == other_spec && one == other,
            (Self::Exactly(one), Self::Exactly(other) | Self::Locked(_, other))
            | (Self::Locked(_, one), Self::Exactly(other)) => one == other,
            (Self::Wanted(one), Self::Wanted(other) | Self::Locked(other, _))
            | (Self::Locked(one, _), Self::Wanted(other)) => one == other,
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
            Self::Locked(spec, version) => write!(out, "{spec}, which is {version}"),
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
        let Read { tree, notes, .. } = lbu::load(place)?;
        let world = match tree.get("etc/apk/world").map(|entry| &entry.node) {
            Some(crate::wire::apkovl::Node::File(bytes)) => {
                String::from_utf8_lossy(bytes).split_ascii_whitespace().map(str::to_owned).collect()
            }
            _ => BTreeSet::new(),
        };
        let shown = format!("archive {}", place.display());
        let tree = bare(tree);
        let variables = BTreeMap::new();
        Ok(Self { shown, tree, notes, variables, world, packages: None, stale: None, arguments: None, alpine: None })
    }

    fn bundle(store: &Store, manifest: &Manifest) -> anyhow::Result<Self> {
        let apkovl = &manifest.apkovl;
        let bytes = disk::read_bounded(&store.blob_path(&apkovl.sha256), apkovl.size)?;
        let Read { tree, notes, .. } =
            read(&bytes[..], &Limits::default()).with_context(|| format!("the overlay of bundle {}", manifest.id()))?;
        let mut tree = bare(tree);
        let mut variables = BTreeMap::new();
        if let Some(file) = &manifest.templates {
            let bytes = disk::read_bounded(&store.blob_path(&file.sha256), file.size)?;
            let set =
                TemplateSet::parse(&bytes).with_context(|| format!("the templates of bundle {}", manifest.id()))?;
            place_templates(&set, &mut tree);
            variables = values(&set);
        }
        let packages = manifest.packages.iter().map(|it| package(&it.name, &it.version, &it.identity)).collect();
        Ok(Self {
            shown: format!("bundle {} of {}", manifest.id().short(), manifest.profile),
            tree,
            notes,
            variables,
            world: manifest.world.iter().cloned().collect(),
            packages: Some(packages),
            stale: None,
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
        // What a build would refuse can be looked at.
        let recipe = Recipe::read(profiles, &settings.overlays, name)?;
        let folder = profiles.join(name.as_str());
        let lock = lock::from_file(&folder.join(LOCK_FILE))?;
        let stale = lock.as_ref().and_then(|lock| misfit_of_any_set(&recipe, lock));
        let lock = lock.filter(|_| stale.is_none());
        let wanted = recipe.alpine.release;
        let packages = |lock: &Lock| {
            lock.packages.iter().map(|it| package(&it.name, &it.version, &it.identity)).collect::<BTreeMap<_, _>>()
        };
        let (tree, templates) = recipe.as_written(&BaseAccounts::default())?;
        Ok(Self {
            shown: format!("profile {}", folder.display()),
            tree,
            notes: Vec::new(),
            variables: templates.as_ref().map(values).unwrap_or_default(),
            world: recipe.world.iter().cloned().collect(),
            packages: lock.as_ref().map(packages),
            stale: stale.map(|why| {
                format!("the lock of profile `{name}` {why}, so its packages are not known; run `bivouac lock {name}`")
            }),
            arguments: Some(recipe.kernel_args),
            alpine: Some(Alpine {
                release: lock.map_or(Release::Wanted(wanted), |it| Release::Locked(wanted, it.alpine.version)),
                arch: recipe.alpine.arch.to_string(),
                flavor: recipe.alpine.flavor.to_string(),
                repositories: recipe.alpine.repositories.into_iter().collect(),
            }),
        })
    }
}

fn values(set: &TemplateSet) -> BTreeMap<String, String> {
    let value = |it: &Declaration| it.value.as_ref().map_or_else(|| "no value".to_owned(), ToString::to_string);
    set.vars.iter().map(|(name, declaration)| (name.clone(), value(declaration))).collect()
}

fn package(name: &str, version: &str, identity: &str) -> (String, Package) {
    (name.to_owned(), Package { version: version.to_owned(), identity: identity.to_owned() })
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
        let locked = |text: &str, version: &str| Release::Locked(text.parse().unwrap(), version.parse().unwrap());
        for (one, other, fits) in [
            (exactly("3.24.1"), wanted("3.24"), true),
            (exactly("3.24.1"), wanted("3.23"), false),
            (wanted("3.24.1"), exactly("3.24.1"), true),
            (wanted("latest-stable"), exactly("3.24.1"), true),
            (wanted("edge"), exactly("3.24.1"), false),
            (exactly("3.24.1"), exactly("3.24.0"), false),
            (wanted("3.24"), wanted("latest-stable"), false),
            (locked("3.24", "3.24.1"), wanted("3.24"), true),
            (wanted("latest-stable"), locked("3.24", "3.24.1"), false),
            (locked("3.24", "3.24.1"), exactly("3.24.1"), true),
            (exactly("3.24.0"), locked("3.24", "3.24.1"), false),
            (locked("3.24", "3.24.0"), locked("3.24", "3.24.1"), false),
            (locked("3.24", "3.24.1"), locked("latest-stable", "3.24.1"), false),
            (locked("3.24", "3.24.1"), locked("3.24", "3.24.1"), true),
        ] {
            assert_eq!(one.fits(other), fits, "{one} {other}");
        }
    }
}
