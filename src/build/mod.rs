//! A profile and its overlays, a netboot set and packages, into a [`Staged`] bundle.
//!
//! Same inputs, same bytes: nothing here knows the time, the host, the user, the working folder or the site's key.
//! It never downloads and never writes to a store; `cli` joins it with both.
//!
//! Of what was made, [`bill_of_materials`] lists what is in it, and [`newer`] what there is that is newer.

mod accounts;
mod compare;
mod contents;
mod import;
mod layers;
mod lint;
mod lock;
mod merge;
mod outdated;
mod packages;
mod rights;
mod root;
mod sbom;
mod settings;
mod staged;
mod templates;
mod trail;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use crate::model::profile::variable::Declaration;
pub use accounts::{Accounts, BaseAccounts};
pub use compare::{Difference, compare, kind};
pub use import::{Became, Import, Remark};
pub use lint::{Finding, Level, Place, RULES, Rule, is_secret};
pub use lock::{Offered, Update, boot_world, make_lock};
pub use merge::{AlpineChoice, Shadowed};
pub use outdated::{Newer, newer, newest_listed};
pub use packages::{Verified, verified};
pub use sbom::{Bom, NotInIndex, bill_of_materials};
pub use staged::{Blob, Netboot, Staged, site_initrd};
pub use templates::place_templates;
pub use trail::{DEFAULT, Step, Subject, Topic, Trail};

use contents::Contents;

use crate::disk::DiskError;
use crate::model::cmdline::{ArgumentError, check_arguments};
use crate::model::digest::Digest;
use crate::model::name::{OverlayName, ProfileName};
use crate::model::profile::network::Network;
use crate::model::profile::variable::Required;
use crate::model::profile::{Allowed, ProfileError};
use crate::model::template::TemplateError;
use crate::wire::apkovl::{Entry, Prefix, Tree, pack};
use crate::wire::kernel::KernelError;

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
    /// A profile extends one that does not exist.
    #[error("profile `{profile}` extends `{name}`{}, and there is no such profile; {hint}", at(place.as_deref()))]
    NoBase {
        /// What it extends.
        name: ProfileName,
        /// The profile.
        profile: ProfileName,
        /// Where it says so.
        place: Option<Box<Place>>,
        /// A profile with a name like it, or those there are.
        hint: String,
    },
    /// A profile names an overlay that does not exist.
    #[error("profile `{profile}` uses overlay `{name}`{}, and there is none in {}; {hint}", at(place.as_deref()), folder.display())]
    NoOverlay {
        /// The overlay.
        name: OverlayName,
        /// The profile.
        profile: ProfileName,
        /// Where overlays are.
        folder: PathBuf,
        /// Where the profile says so.
        place: Option<Box<Place>>,
        /// An overlay with a name like it, or those there are.
        hint: String,
    },
    /// `profile.toml` or `overlay.toml` cannot be used.
    #[error("cannot use {}", path.display())]
    Definition {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ProfileError,
    },
    /// The kernel would cut its command line.
    #[error("profile `{profile}` has too long a kernel command line for its kernel")]
    CommandLine {
        /// The profile.
        profile: ProfileName,
        /// How long it is, and how long it may be.
        source: ArgumentError,
    },
    /// The kernel cannot be looked at.
    #[error("the kernel {} cannot be read", path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KernelError,
    },
    /// A text file is not UTF-8.
    #[error("{} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// The same overlay twice.
    #[error("profile `{profile}` lists overlay `{name}` twice{}; take one out", at(place.as_deref()))]
    TwiceListed {
        /// The profile.
        profile: ProfileName,
        /// The overlay.
        name: OverlayName,
        /// Where it is listed.
        place: Option<Box<Place>>,
    },
    /// Profiles that extend each other.
    #[error("the profiles extend each other in a circle: {0}; take one `extends` out")]
    Circle(String),
    /// A template that was right when the profile was read, and is not with the accounts of the real packages.
    #[error("a template of {origin} cannot be used")]
    Template {
        /// The layer.
        origin: String,
        /// Where and why.
        source: TemplateError,
    },
    /// The profile would make an insecure or broken machine, or none at all.
    #[error(
        "profile `{profile}` is not safe to build: {}\n  `bivouac check {profile}` says more; what is no mistake is allowed \
         with `[[allow]]` in the profile",
        mistakes.join("\n  and ")
    )]
    Lint {
        /// The profile.
        profile: ProfileName,
        /// Each mistake with what is wrong, the rule's id, what would happen and what to do.
        mistakes: Vec<String>,
    },
    /// The world cannot be installed.
    #[error("the packages of profile `{profile}` cannot be installed together")]
    Unsolvable {
        /// The profile.
        profile: ProfileName,
        /// Who needs what.
        source: Box<crate::apk::Unsolvable>,
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

fn at(place: Option<&Place>) -> String {
    place.map_or_else(String::new, |place| format!(" ({place})"))
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
    allowed: Vec<merge::Permit>,
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
    /// How its machines are on the network, when some layer says it.
    network: Option<Network>,
    /// Each layer and its file, the first applied first.
    written: Vec<(String, layers::Written)>,
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
    /// The first layer that cannot be read; every mistake that the profile does not allow.
    pub fn load(profiles: &Path, overlays: &Path, name: &ProfileName) -> Result<Self, BuildError> {
        let recipe = Self::read(profiles, overlays, name)?;
        refuse(name, &recipe.findings)?;
        Ok(recipe)
    }

    /// The same for a look at its [`findings`](Self::findings), whatever they are: what a build would refuse is left
    /// out of the recipe.
    ///
    /// # Errors
    /// The first layer that cannot be read.
    pub fn read(profiles: &Path, overlays: &Path, name: &ProfileName) -> Result<Self, BuildError> {
        let layers::Layers { sources, folders } = layers::load(profiles, overlays, name)?;
        Ok(Self { folders, ..Self::merged(name, sources) })
    }

    /// Merges layers and looks for mistakes.
    fn merged(name: &ProfileName, sources: Vec<layers::Source>) -> Self {
        let mut merged = merge::merge(sources);
        if !merged.description.is_empty() {
            merged.trail.say(Topic::Value, "description", &format!("profile {name}"), merged.description.clone());
        }
        if let Err(error) = check_arguments(&merged.kernel_args) {
            merged.findings.push(merge::refused_argument(&error));
        }
        settings::apply(&mut merged, name.as_str());
        merged.findings.extend(missing(&merged.vars, name));
        let (world, found) = world::of(&merged.packages);
        merged.findings.extend(found);
        settings::world(&mut merged, &world);
        settings::enable(&mut merged);
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
            network: merged.network,
            written: merged.written,
            findings: Vec::new(),
        };
        merged.findings.extend(recipe.take_out_bad_templates());
        recipe.findings = recipe.look(merged.findings);
        recipe
    }

    /// What looks like a mistake, the worst first; those that `[[allow]]` names among them.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Every mistake: those found on the way, and those of the machine as it would come up.
    fn look(&self, mut found: Vec<Finding>) -> Vec<Finding> {
        let base = BaseAccounts::default();
        let mut laid = self.lay(&base);
        found.append(&mut laid.findings);
        self.show_samples(&mut laid.tree);
        found.extend(lint::look(&self.machine(&laid.tree, &laid.trail, &base)));
        self.locate(&mut found);
        lint::judge(found, &self.allowed, |allow| lint::is_of_packages(allow, &laid.tree))
    }

    /// Says of each finding where its author finds it: the key it is about, or the file; and in which layer where nobody
    /// knows.
    fn locate(&self, found: &mut [Finding]) {
        for finding in found.iter_mut().filter(|finding| finding.place.is_none()) {
            self.locate_key(finding);
            if finding.place.is_none() {
                self.locate_path(finding);
            }
        }
    }

    fn locate_key(&self, finding: &mut Finding) {
        let last_first = || self.written.iter().rev();
        let layer = match &finding.by {
            Some(by) => last_first().find(|(layer, _)| layer == by),
            None => (2..=finding.key.len()).rev().find_map(|length| {
                last_first().find(|(_, written)| finding.key.get(..length).is_some_and(|key| written.keys.has(key)))
            }),
        };
        if let Some((layer, written)) = layer {
            finding.place = written.place(&finding.key);
            finding.by.get_or_insert_with(|| layer.clone());
        }
    }

    fn locate_path(&self, finding: &mut Finding) {
        let Some(path) = finding.path.as_deref() else { return };
        let mut last_first = self.written.iter().rev();
        let Some(by) = &finding.by else {
            let found = last_first.find_map(|(layer, written)| Some((layer, written.source(path)?)));
            if let Some((layer, place)) = found {
                (finding.by, finding.place) = (Some(layer.clone()), Some(place));
            }
            return;
        };
        // As the trail has it: `profile vdi`, or with the key by which it says so, as "profile vdi, by `hostname`".
        let (layer, key) = by.split_once(", ").unwrap_or((by, ""));
        if layer == trail::BIVOUAC {
            // It adds to a layer's own file, of which it keeps every line.
            finding.place = last_first.find_map(|(_, written)| written.source(path));
            return;
        }
        let Some((_, written)) = last_first.find(|(known, _)| known == layer) else { return };
        let key = key.trim_start_matches("by ").trim_matches('`');
        finding.place = match key {
            "" => written.source(path),
            "[files]" => written.rule(path),
            key => written.place(&key.split('.').collect::<Vec<_>>()),
        };
    }

    /// Compares the overlay over these accounts with what the packages install. Returns what was not found before.
    ///
    /// # Errors
    /// Every mistake that the profile does not allow, and as [`Recipe::tree`].
    fn compared(&self, contents: &Contents, base: &BaseAccounts) -> Result<Vec<Finding>, BuildError> {
        let (tree, trail) = self.sound(base)?;
        let mut found = lint::in_packages::look(&self.machine(&tree, &trail, base), contents);
        self.locate(&mut found);
        // The profile alone could only guess at these.
        let guessed = [lint::rule::SERVICE_WITHOUT_PACKAGE, lint::rule::UNKNOWN_PACKAGE, lint::rule::LIKELY_NAME];
        let before = self.findings.iter().filter(|it| !guessed.contains(&it.rule)).cloned();
        let is_open = |allow: &Allowed| guessed.iter().any(|rule| rule.id == allow.rule);
        let found = lint::judge(before.chain(found).collect(), &self.allowed, is_open);
        refuse(&self.name, &found)?;
        Ok(found.into_iter().filter(|finding| !self.findings.contains(finding)).collect())
    }

    /// The machine with this tree, laid over `base`, for the lint.
    fn machine<'a>(&'a self, tree: &'a Tree, trail: &'a Trail, base: &'a BaseAccounts) -> lint::Machine<'a> {
        lint::Machine {
            tree,
            own: &self.tree,
            templates: &self.templates,
            trail,
            vars: &self.vars,
            world: &self.world,
            arguments: &self.kernel_args,
            alpine: &self.alpine,
            network: self.network.as_ref(),
            base,
            allows_empty_root_password: self.accounts.allows_empty_root_password,
        }
    }

    /// The tree of the overlay, over the accounts that Alpine's base has. Files that are made from templates are in it
    /// as some machine would have them.
    ///
    /// # Errors
    /// Accounts that contradict each other or the base, and owners for files that are not there.
    pub fn tree(&self, base: &BaseAccounts) -> Result<Tree, BuildError> {
        self.sound(base).map(|(tree, _)| tree)
    }

    /// The same tree, and which layer said what of it and of everything else. What is a mistake is left out.
    #[must_use]
    pub fn explained(&self, base: &BaseAccounts) -> (Tree, Trail) {
        let Laid { mut tree, trail, .. } = self.lay(base);
        self.show_samples(&mut tree);
        (tree, trail)
    }

    /// The same, of a recipe whose accounts and owners are no mistakes over this base.
    fn sound(&self, base: &BaseAccounts) -> Result<(Tree, Trail), BuildError> {
        let Laid { mut tree, trail, findings } = self.lay(base);
        refuse(&self.name, &findings)?;
        self.show_samples(&mut tree);
        Ok((tree, trail))
    }

    /// The tree with the text of each template in the place of its file.
    fn raw_tree(&self, base: &BaseAccounts) -> Result<Tree, BuildError> {
        let laid = self.lay(base);
        refuse(&self.name, &laid.findings)?;
        Ok(laid.tree)
    }

    /// Adds accounts, owners and modes.
    fn lay(&self, base: &BaseAccounts) -> Laid {
        let (mut tree, mut trail) = (self.tree.clone(), self.trail.clone());
        let accounts::Written { homes, mut findings } = self.accounts.write(base, &mut tree, &mut trail);
        findings.extend(rights::finish(&mut tree, &homes, &self.rules, &mut trail));
        self.locate(&mut findings);
        // It is added when everything else is known.
        trail.say(Topic::File, OVERLAY_FILE, trail::BIVOUAC, "the digest of the overlay");
        Laid { tree, trail, findings }
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

/// A recipe's tree over the accounts of some base.
struct Laid {
    tree: Tree,
    trail: Trail,
    /// What did not fit.
    findings: Vec<Finding>,
}

/// Stops at findings that stop a build, all at once.
fn refuse(profile: &ProfileName, findings: &[Finding]) -> Result<(), BuildError> {
    let mistakes: Vec<String> = findings.iter().filter(|it| it.is_fatal()).map(Finding::line).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(BuildError::Lint { profile: profile.clone(), mistakes }) }
}

/// Variables to which the profile has to give a value, and does not (TPL-1).
fn missing(vars: &BTreeMap<String, Declaration>, profile: &ProfileName) -> Vec<Finding> {
    let is_missing = |it: &Declaration| it.required == Required::Profile && it.value.is_none();
    let told = |text: &str| if text.is_empty() { String::new() } else { format!(" ({text})") };
    vars.iter()
        .filter(|(_, declaration)| is_missing(declaration))
        .map(|(name, declaration)| {
            let what = format!("the variable `{name}` has no value{}", told(&declaration.description));
            let fix = format!("write one into [vars] of profile `{profile}`");
            Finding::new(lint::rule::VARIABLE, what, "templates that use it fail", fix).left_out()
        })
        .collect()
}
