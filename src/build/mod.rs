//! A profile and its overlays, a netboot set and packages, into a [`Staged`] bundle.
//!
//! Same inputs, same bytes: nothing here knows the time, the host, the user, the working folder or the site's key.
//! It never downloads and never writes to a store; `cli` joins it with both.

mod accounts;
mod compare;
mod import;
mod layers;
mod lint;
mod merge;
mod packages;
mod settings;
mod staged;
mod trail;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use accounts::{Accounts, BaseAccounts};
pub use compare::{Difference, compare, kind};
pub use import::{Became, Import, Remark};
pub use merge::{AlpineChoice, Declaration, Shadowed};
pub use packages::{Selection, Wanted, select};
pub use staged::{Blob, Netboot, Staged, site_initrd};
pub use trail::{Step, Subject, Topic, Trail};

use crate::disk::DiskError;
use crate::model::cmdline::{ArgumentError, check_arguments};
use crate::model::digest::Digest;
use crate::model::name::{OverlayName, ProfileName};
use crate::model::profile::variable::Required;
use crate::model::profile::{Allowed, FileRule, ProfileError};
use crate::wire::apkovl::{Entry, Tree, pack};

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
    /// Profiles that extend each other.
    #[error("the profiles extend each other in a circle: {0}; take one `extends` out")]
    Circle(String),
    /// An account that no machine could have.
    #[error("account `{name}`: {why}")]
    Account {
        /// The user or group.
        name: String,
        /// What is wrong and what to write.
        why: String,
    },
    /// A variable whose value has another type than its declaration.
    #[error("{origin} gives the variable `{name}` a value it cannot have: {why}")]
    Variable {
        /// The variable.
        name: String,
        /// The layer.
        origin: String,
        /// Both types.
        why: String,
    },
    /// A variable that needs a value and has none.
    #[error("the variable `{name}` has no value{}; write one into [vars] of profile `{profile}`", told(description))]
    NoValue {
        /// The variable.
        name: String,
        /// What it is for.
        description: String,
        /// The profile.
        profile: ProfileName,
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

fn told(description: &str) -> String {
    if description.is_empty() { String::new() } else { format!(" ({description})") }
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
    /// Variables of templates.
    pub vars: BTreeMap<String, Declaration>,
    /// Findings of the lint that are not mistakes here.
    pub allowed: Vec<Allowed>,
    /// Files that more than one layer has.
    pub shadowed: Vec<Shadowed>,
    /// Which layer said what.
    pub trail: Trail,
    accounts: Accounts,
    rules: BTreeMap<String, FileRule>,
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
    /// Reads the profile `name`, what it extends and its overlays, merges them and looks for mistakes.
    ///
    /// # Errors
    /// The first thing that cannot be read, merged or safely booted.
    pub fn load(profiles: &Path, overlays: &Path, name: &ProfileName) -> Result<Self, BuildError> {
        let sources = layers::load(profiles, overlays, name)?;
        let mut merged = merge::merge(sources)?;
        check_arguments(&merged.kernel_args)
            .map_err(|source| BuildError::Arguments { profile: name.clone(), source })?;
        settings::apply(&mut merged, name.as_str())?;
        for (variable, declaration) in &merged.vars {
            if declaration.required == Required::Profile && declaration.value.is_none() {
                let description = declaration.description.clone();
                return Err(BuildError::NoValue { name: variable.clone(), description, profile: name.clone() });
            }
        }
        let world = packages::world(name, &merged.packages)?;
        let lines = world.iter().map(|name| format!("{name}\n")).collect::<String>();
        merge::put(&mut merged.tree, merge::WORLD, Entry::file(lines), "`packages`")?;
        settings::enable(&mut merged.tree, &merged.services)?;
        let known = "these names are valid";
        let repositories = if merged.repositories.is_empty() {
            vec!["main".to_owned(), "community".to_owned()]
        } else {
            merged.repositories
        };
        let recipe = Self {
            name: name.clone(),
            description: merged.description,
            alpine: AlpineChoice {
                release: merged.release.unwrap_or_else(|| "latest-stable".parse().expect(known)),
                flavor: merged.flavor.unwrap_or_else(|| "virt".parse().expect(known)),
                arch: merged.arch.unwrap_or_else(|| "x86_64".parse().expect(known)),
                repositories,
            },
            world,
            kernel_args: merged.kernel_args,
            vars: merged.vars,
            allowed: merged.allowed,
            shadowed: merged.shadowed,
            trail: merged.trail,
            accounts: Accounts {
                users: merged.users,
                groups: merged.groups,
                allows_empty_root_password: merged.allows_empty_root_password,
            },
            rules: merged.rules,
            tree: merged.tree,
        };
        lint::check(name, &recipe.tree(&BaseAccounts::default())?, recipe.accounts.allows_empty_root_password)?;
        Ok(recipe)
    }

    /// The tree of the overlay, over the accounts that Alpine's base has.
    ///
    /// # Errors
    /// Accounts that contradict each other or the base, and owners for files that are not there.
    pub fn tree(&self, base: &BaseAccounts) -> Result<Tree, BuildError> {
        let mut tree = self.tree.clone();
        let homes = self.accounts.write(base, &mut tree)?;
        merge::finish(&mut tree, &homes, &self.rules)?;
        Ok(tree)
    }

    /// Writes the overlay archive; every file gets the time `epoch` (seconds since 1970).
    ///
    /// # Errors
    /// As [`Recipe::tree`].
    pub fn overlay(&self, base: &BaseAccounts, epoch: u64) -> Result<Overlay, BuildError> {
        let mut tree = self.tree(base)?;
        let content = tree.digest(epoch);
        tree.insert(OVERLAY_FILE, Entry::file(format!("{content}\n")));
        Ok(Overlay { content, archive: pack(&tree, epoch) })
    }
}
