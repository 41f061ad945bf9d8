//! A profile and its overlays, a netboot set and packages, into a [`Staged`] bundle.
//!
//! Same inputs, same bytes: nothing here knows the time, the host, the user, the working folder or the site's key.
//! It never downloads and never writes to a store; `cli` joins it with both.

mod layers;
mod lint;
mod merge;
mod packages;
mod staged;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use merge::Shadowed;
pub use packages::{Selection, Wanted, select};
pub use staged::{Blob, Netboot, Staged, site_initrd};

use crate::disk::DiskError;
use crate::model::cmdline::{ArgumentError, check_arguments};
use crate::model::digest::Digest;
use crate::model::name::{OverlayName, ProfileName};
use crate::model::profile::{AlpineChoice, ProfileError, Runlevel};
use crate::wire::apkovl::{Entry, Tree};
use crate::wire::gzip::gzip;

/// Where a machine finds the digest of the overlay it unpacked.
pub const OVERLAY_FILE: &str = "etc/bivouac/overlay";

/// Why a profile cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file cannot be read.
    #[error("the profile cannot be read")]
    Disk(#[from] DiskError),
    /// No such profile.
    #[error("there is no profile `{name}` in {}{}", folder.display(), meant(near.as_deref()))]
    NoProfile {
        /// What was asked for.
        name: ProfileName,
        /// Where profiles are.
        folder: PathBuf,
        /// A profile with a name like it.
        near: Option<String>,
    },
    /// A profile names an overlay that does not exist.
    #[error("profile `{profile}` uses overlay `{name}`, and there is none in {}{}", folder.display(), meant(near.as_deref()))]
    NoOverlay {
        /// The overlay.
        name: OverlayName,
        /// The profile.
        profile: ProfileName,
        /// Where overlays are.
        folder: PathBuf,
        /// An overlay with a name like it.
        near: Option<String>,
    },
    /// `profile.toml` or `overlay.toml` cannot be used.
    #[error("cannot use {}", path.display())]
    Definition {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ProfileError,
    },
    /// A text file is not UTF-8.
    #[error("{} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// A file of a `root/` tree cannot go into an overlay.
    #[error("{} cannot go into an overlay: {why}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// Why, with the rule's id.
        why: &'static str,
    },
    /// The same overlay twice.
    #[error("profile `{profile}` lists overlay `{name}` twice; take one out")]
    TwiceListed {
        /// The profile.
        profile: ProfileName,
        /// The overlay.
        name: OverlayName,
    },
    /// A file and a directory of the same name.
    #[error(
        "{origin} has `{path}`, which must not be of that kind: a file, a directory and a link exclude each other (OVL-45)"
    )]
    TypeClash {
        /// The path on the machine.
        path: String,
        /// The later layer.
        origin: String,
    },
    /// `!name` without the name.
    #[error("{origin} takes out the {what} `{name}`, which no layer before it names")]
    NothingToRemove {
        /// "package" or "service".
        what: &'static str,
        /// The name.
        name: String,
        /// The layer.
        origin: String,
    },
    /// A `[files]` key that matches nothing is a typing error.
    #[error("`[files]` has a rule for `{0}`, and no layer has such a file")]
    RuleForNothing(String),
    /// A kernel argument.
    #[error("the kernel arguments of profile `{profile}` cannot be used")]
    Arguments {
        /// The profile.
        profile: ProfileName,
        /// Why.
        source: ArgumentError,
    },
    /// The overlay would make an insecure or broken machine.
    #[error("the overlay of profile `{profile}` is not safe to boot: {why}")]
    Lint {
        /// The profile.
        profile: ProfileName,
        /// What is wrong, what would happen and what to do, with the rule's id.
        why: String,
    },
    /// The world cannot be read.
    #[error("the packages of profile `{profile}` cannot be used")]
    World {
        /// The profile.
        profile: ProfileName,
        /// Why.
        source: crate::apk::WorldError,
    },
    /// The world cannot be installed.
    #[error("the packages of profile `{profile}` cannot be installed together")]
    Unsolvable {
        /// The profile.
        profile: ProfileName,
        /// Who needs what.
        source: Box<crate::apk::Unsolvable>,
    },
    /// A downloaded package is no package.
    #[error("package {name} cannot be read")]
    Unreadable {
        /// Name and version.
        name: String,
        /// What is wrong with it.
        source: crate::apk::PackageError,
    },
    /// A downloaded package is not the one the index names.
    #[error("package {name} is not the one the index names")]
    OtherPackage {
        /// Name and version.
        name: String,
        /// What differs.
        source: crate::apk::Mismatch,
    },
}

fn meant(near: Option<&str>) -> String {
    near.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// A profile with its overlays merged: everything an author decides, before Alpine's files come in.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The profile.
    pub name: ProfileName,
    /// What it is for.
    pub description: String,
    /// Which Alpine it runs on.
    pub alpine: AlpineChoice,
    /// What is installed, as dependencies, sorted.
    pub world: Vec<String>,
    /// Kernel arguments in order.
    pub kernel_args: Vec<String>,
    /// Files that more than one layer has.
    pub shadowed: Vec<Shadowed>,
    tree: Tree,
}

/// An overlay archive.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// Digest of the contents, which the archive carries in [`OVERLAY_FILE`].
    pub content: Digest,
    /// The archive, compressed.
    pub archive: Vec<u8>,
}

impl Recipe {
    /// Reads the profile `name` and its overlays, merges them and looks for mistakes.
    ///
    /// # Errors
    /// The first thing that cannot be read, merged or safely booted.
    pub fn load(profiles: &Path, overlays: &Path, name: &ProfileName) -> Result<Self, BuildError> {
        let (profile, sources) = layers::load(profiles, overlays, name)?;
        let mut merged = merge::merge(sources)?;
        check_arguments(&merged.kernel_args)
            .map_err(|source| BuildError::Arguments { profile: name.clone(), source })?;
        let world = packages::world(name, &merged.packages)?;
        // An author's own etc/hostname goes in as it is, unless the profile says a name too.
        if profile.hostname.is_some() || merged.tree.get("etc/hostname").is_none() {
            let hostname = profile.hostname.unwrap_or_else(|| name.to_string());
            let hidden = merged.tree.insert("etc/hostname", Entry::file(format!("{hostname}\n")));
            if hidden.is_some() {
                let by = format!("`hostname` of profile {name}");
                merged.shadowed.push(Shadowed { path: "etc/hostname".to_owned(), by, hidden: "the file".to_owned() });
            }
        }
        merged
            .tree
            .insert("etc/apk/world", Entry::file(world.iter().map(|name| format!("{name}\n")).collect::<String>()));
        enable(&mut merged.tree, &merged.services);
        lint::check(name, &merged.tree)?;
        Ok(Self {
            name: name.clone(),
            description: profile.layer.description,
            alpine: profile.alpine,
            world,
            kernel_args: merged.kernel_args,
            shadowed: merged.shadowed,
            tree: merged.tree,
        })
    }

    /// Writes the overlay archive; every file gets the time `epoch` (seconds since 1970).
    #[must_use]
    pub fn overlay(&self, epoch: u64) -> Overlay {
        let content = Digest::of(&self.tree.to_tar(epoch));
        let mut tree = self.tree.clone();
        tree.insert(OVERLAY_FILE, Entry::file(format!("{content}\n")));
        Overlay { content, archive: gzip(&tree.to_tar(epoch)) }
    }

    /// The files of the overlay in archive order, for listings.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.tree.iter()
    }
}

/// Puts services into their runlevels, as OpenRC's `rc-update` does: links to `/etc/init.d/NAME` (OVL-27).
fn enable(tree: &mut Tree, services: &BTreeMap<Runlevel, Vec<String>>) {
    for (level, names) in services {
        for name in names {
            tree.insert(&format!("etc/runlevels/{level}/{name}"), Entry::symlink(format!("/etc/init.d/{name}")));
        }
    }
}
