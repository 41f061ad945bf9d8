//! A profile and its overlays, a netboot set and packages, into a [`Staged`] bundle.
//!
//! Same inputs, same bytes: nothing here knows the time, the host, the user, the working folder or the site's key.
//! It never downloads and never writes to a store; `cli` joins it with both.
//!
//! Of what was made, [`bill_of_materials`] lists what is in it, and [`newer`] what there is that is newer.

mod accounts;
mod compare;
mod import;
mod layers;
mod lint;
mod lock;
mod merge;
mod outdated;
mod packages;
mod sbom;
mod services;
mod settings;
mod staged;
mod templates;
mod trail;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use crate::model::profile::variable::Declaration;
pub use accounts::{Accounts, BaseAccounts};
pub use compare::{Difference, compare, kind};
pub use import::{Became, Import, Remark};
pub use lint::{Finding, Level, RULES, Rule};
pub use lock::{Offered, Update, boot_world, make_lock};
pub use merge::{AlpineChoice, Shadowed};
pub use outdated::{Newer, newer, newest_listed};
pub use packages::{Verified, verified};
pub use sbom::{Bom, NotInIndex, bill_of_materials};
pub use staged::{Blob, Netboot, Staged, site_initrd};
pub use trail::{DEFAULT, Step, Subject, Topic, Trail};

use crate::disk::DiskError;
use crate::model::cmdline::{ArgumentError, check_arguments};
use crate::model::digest::Digest;
use crate::model::name::{OverlayName, ProfileName, nearest};
use crate::model::profile::variable::Required;
use crate::model::profile::{Allowed, ProfileError};
use crate::model::template::TemplateError;
use crate::wire::apkovl::{Entry, Prefix, Tree, pack};

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
    /// A template is wrong.
    #[error("a template of {origin} cannot be used")]
    Template {
        /// The layer.
        origin: String,
        /// Where and why.
        source: TemplateError,
    },
    /// The overlay would make an insecure or broken machine.
    #[error(
        "the overlay of profile `{profile}` is not safe to boot: {}\n  `bivouac check {profile}` says more; what is no \
         mistake is allowed with `[[allow]]` in the profile",
        mistakes.join("\n  and ")
    )]
    Lint {
        /// The profile.
        profile: ProfileName,
        /// Each mistake with what is wrong, the rule's id, what would happen and what to do.
        mistakes: Vec<String>,
    },
    /// An `[[allow]]` of a rule that does not exist.
    #[error("`[[allow]]` names the rule `{rule}`, which does not exist{}", meant(near.as_deref()))]
    NoRule {
        /// The id as written.
        rule: String,
        /// An id like it.
        near: Option<String>,
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
    /// Services that nothing brings.
    #[error(
        "profile `{profile}` starts services that neither its overlay nor its packages bring: {services}; add the package \
         that has them, often called NAME-openrc, or take them out (OVL-26)"
    )]
    NoService {
        /// The profile.
        profile: ProfileName,
        /// Each service, with a name like it.
        services: String,
    },
    /// An update of a package that is not in the lock.
    #[error("the lock has no package `{name}`{}", meant(near.as_deref()))]
    NotLocked {
        /// The name.
        name: String,
        /// A package of the lock with a name like it.
        near: Option<String>,
    },
    /// A lock was changed by hand.
    #[error("the lock has no usable identity for package {name}; delete it, and `bivouac lock` makes it anew")]
    LockedIdentity {
        /// Name and version.
        name: String,
        /// What is wrong with it.
        source: crate::apk::IdentityError,
    },
    /// Packages whose own descriptions make no index.
    #[error("the packages describe themselves in a way that no package index can repeat")]
    Index(#[source] crate::apk::IndexError),
    /// A downloaded package is no package.
    #[error("package {name} cannot be read")]
    Unreadable {
        /// Name and version.
        name: String,
        /// What is wrong with it.
        source: crate::apk::PackageError,
    },
    /// A downloaded package is not the one the index names.
    #[error("package {name} is not the one that was expected")]
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
    /// The folders of the layers: of overlays and profiles. All of the recipe comes from files in them.
    pub folders: Vec<PathBuf>,
    accounts: Accounts,
    /// Which layer said what.
    trail: Trail,
    rules: merge::Rules,
    /// With the text of each template in the place of its file.
    tree: Tree,
    /// The files of the tree that are templates.
    templates: BTreeSet<String>,
    /// What templates know as `profile`.
    facts: BTreeMap<String, String>,
    findings: Vec<Finding>,
}

/// An overlay archive.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// Digest of the contents, which the archive carries in [`OVERLAY_FILE`].
    pub content: Digest,
    /// The archive, compressed. With templates, it is the beginning of every machine's
    /// ([`Prefix::recover`](crate::wire::apkovl::Prefix::recover)).
    pub archive: Vec<u8>,
    /// The document with the templates of files that are made for each machine, when there are any.
    pub templates: Option<Vec<u8>>,
}

impl Recipe {
    /// Reads the profile `name`, what it extends and its overlays, merges them and refuses mistakes.
    ///
    /// # Errors
    /// The first thing that cannot be read or merged; every mistake that the profile does not allow.
    pub fn load(profiles: &Path, overlays: &Path, name: &ProfileName) -> Result<Self, BuildError> {
        let recipe = Self::read(profiles, overlays, name)?;
        let mistakes: Vec<String> = recipe.findings.iter().filter(|it| it.is_fatal()).map(Finding::line).collect();
        if mistakes.is_empty() { Ok(recipe) } else { Err(BuildError::Lint { profile: name.clone(), mistakes }) }
    }

    /// The same for a look at its [`findings`](Self::findings), whatever they are.
    ///
    /// # Errors
    /// The first thing that cannot be read or merged.
    pub fn read(profiles: &Path, overlays: &Path, name: &ProfileName) -> Result<Self, BuildError> {
        let layers::Layers { sources, folders } = layers::load(profiles, overlays, name)?;
        Ok(Self { folders, ..Self::merged(name, sources)? })
    }

    /// Merges layers and looks for mistakes.
    fn merged(name: &ProfileName, sources: Vec<layers::Source>) -> Result<Self, BuildError> {
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
        settings::world(&mut merged, &world)?;
        settings::enable(&mut merged)?;
        let alpine = settings::alpine(&mut merged);
        let facts = [
            ("name", name.to_string()),
            ("hostname", merged.hostname.clone().unwrap_or_else(|| name.to_string())),
            ("arch", alpine.arch.to_string()),
            ("flavor", alpine.flavor.to_string()),
        ];
        let mut recipe = Self {
            name: name.clone(),
            description: std::mem::take(&mut merged.description),
            alpine,
            templates: merged.templates,
            facts: facts.map(|(fact, text)| (fact.to_owned(), text)).into(),
            world,
            kernel_args: merged.kernel_args,
            vars: merged.vars,
            allowed: merged.allowed,
            shadowed: merged.shadowed,
            folders: Vec::new(),
            trail: merged.trail,
            accounts: Accounts {
                users: merged.users,
                groups: merged.groups,
                allows_empty_root_password: merged.allows_empty_root_password,
            },
            rules: merged.rules,
            tree: merged.tree,
            findings: Vec::new(),
        };
        recipe.check_templates()?;
        recipe.findings = recipe.look()?;
        Ok(recipe)
    }

    /// What looks like a mistake, the worst first; those that `[[allow]]` names among them.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    fn look(&self) -> Result<Vec<Finding>, BuildError> {
        let ids = || RULES.iter().map(|rule| rule.id);
        if let Some(Allowed { rule, .. }) = self.allowed.iter().find(|allowed| !ids().any(|id| id == allowed.rule)) {
            return Err(BuildError::NoRule { rule: rule.clone(), near: nearest(rule, ids()).map(str::to_owned) });
        }
        let base = BaseAccounts::default();
        let machine = lint::Machine {
            tree: &self.tree(&base)?,
            trail: &self.trail,
            world: &self.world,
            arguments: &self.kernel_args,
            alpine: &self.alpine,
            base: &base,
            allows_empty_root_password: self.accounts.allows_empty_root_password,
        };
        Ok(lint::findings(machine, &self.allowed))
    }

    /// The tree of the overlay, over the accounts that Alpine's base has. Files that are made from templates are in it
    /// as some machine would have them.
    ///
    /// # Errors
    /// Accounts that contradict each other or the base, and owners for files that are not there.
    pub fn tree(&self, base: &BaseAccounts) -> Result<Tree, BuildError> {
        self.explained(base).map(|(tree, _)| tree)
    }

    /// The same tree, and which layer said what of it and of everything else.
    ///
    /// # Errors
    /// As [`Recipe::tree`].
    pub fn explained(&self, base: &BaseAccounts) -> Result<(Tree, Trail), BuildError> {
        let (mut tree, trail) = self.raw(base)?;
        self.show_samples(&mut tree)?;
        Ok((tree, trail))
    }

    /// The tree with the text of each template in the place of its file.
    fn raw_tree(&self, base: &BaseAccounts) -> Result<Tree, BuildError> {
        self.raw(base).map(|(tree, _)| tree)
    }

    fn raw(&self, base: &BaseAccounts) -> Result<(Tree, Trail), BuildError> {
        let (mut tree, mut trail) = (self.tree.clone(), self.trail.clone());
        let homes = self.accounts.write(base, &mut tree, &mut trail)?;
        merge::finish(&mut tree, &homes, &self.rules, &mut trail)?;
        // It is added when everything else is known.
        trail.say(Topic::File, OVERLAY_FILE, trail::BIVOUAC, "the digest of the overlay");
        Ok((tree, trail))
    }

    /// Writes the overlay archive; every file gets the time `epoch` (seconds since 1970).
    ///
    /// # Errors
    /// As [`Recipe::tree`].
    pub fn overlay(&self, base: &BaseAccounts, epoch: u64) -> Result<Overlay, BuildError> {
        let mut tree = self.raw_tree(base)?;
        let templates = self.split(&mut tree, epoch)?.map(|set| set.to_bytes());
        let shared = tree.digest(epoch);
        let content = match &templates {
            // What a machine unpacks follows from both.
            Some(templates) => Digest::of(format!("{shared} {}", Digest::of(templates)).as_bytes()),
            None => shared,
        };
        tree.insert(OVERLAY_FILE, Entry::file(format!("{content}\n")));
        let archive = if templates.is_some() { Prefix::of(&tree, epoch).with(&[]) } else { pack(&tree, epoch) };
        Ok(Overlay { content, archive, templates })
    }
}
