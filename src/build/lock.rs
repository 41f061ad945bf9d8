//! Making a lock: which packages a world comes to, and how much of the lock before stays.

use std::collections::{BTreeMap, BTreeSet};

use super::{BuildError, Recipe};
use crate::apk::{Index, IndexPackage, Reason, Repository, Solution, World, parse_word, solve};
use crate::model::digest::Digest;
use crate::model::lock::{Lock, LockedPackage, LockedRelease, LockedRepository};
use crate::model::name::nearest;

/// What init adds to every world by itself (alpine.md 1.3, step 11).
const ALWAYS: &str = "alpine-base";

/// What init adds when the initramfs brings a signature of the modloop (alpine.md 1.3, step 14).
const FOR_MODLOOP: &str = "openssl";

/// A repository to choose packages from, verified.
#[derive(Debug, Clone)]
pub struct Offered {
    /// Its name, such as `main`.
    pub name: String,
    /// What it has.
    pub index: Index,
    /// SHA-256 of its `APKINDEX.tar.gz`.
    pub digest: Digest,
    /// The file name of the key that signed it.
    pub key: String,
}

/// How far a new lock may be from the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Only as far as the profile has changed.
    Needed,
    /// These packages may take other versions, and what must go along with them.
    Packages(BTreeSet<String>),
    /// As if there were none before.
    All,
}

/// What apk is asked to install when a machine of this recipe boots, in apk's order.
#[must_use]
pub fn boot_world(recipe: &Recipe, modloop_is_signed: bool) -> Vec<String> {
    world_of(recipe, modloop_is_signed).dependencies().iter().map(ToString::to_string).collect()
}

fn world_of(recipe: &Recipe, modloop_is_signed: bool) -> World {
    let own = recipe.world.iter().map(String::as_str);
    let words = own.chain([ALWAYS]).chain(modloop_is_signed.then_some(FOR_MODLOOP));
    // Every word was read before, and the two of init are names.
    World::new(words.filter_map(|word| parse_word(word).ok()).collect())
}

/// Makes the lock of a recipe from what repositories offer, for the release `alpine`.
///
/// With a lock `before` of the same branch, packages keep their versions as far as `update` and the world let them;
/// `carried` gives the index record of a locked package that is at hand, should no repository list it any more.
///
/// # Errors
/// When the world cannot be installed, with who needs what; when `update` names a package that is not in the lock.
pub fn make_lock(
    recipe: &Recipe,
    alpine: LockedRelease,
    modloop_is_signed: bool,
    offered: &[Offered],
    before: Option<(&Lock, &Update)>,
    carried: &dyn Fn(&LockedPackage) -> Option<String>,
) -> Result<Lock, BuildError> {
    let world = world_of(recipe, modloop_is_signed);
    let arch = alpine.arch.clone();
    let chosen = |indexes: &[&Index]| {
        let sources: Vec<Repository<'_>> = indexes.iter().map(|index| Repository { index, tag: None }).collect();
        solve(world.dependencies(), &sources, arch.as_str())
            .map_err(|source| BuildError::Unsolvable { profile: recipe.name.clone(), source: Box::new(source) })
    };
    let all: Vec<&Index> = offered.iter().map(|repository| &repository.index).collect();
    let solution = match before {
        Some((before, update)) if is_kept(before, &alpine, update) => {
            let kept = Kept::of(before, offered, carried);
            let named = kept.named(before, update)?;
            kept.solution(&named, offered, &chosen, || chosen(&all))?
        }
        _ => chosen(&all)?,
    };
    let repositories = offered.iter().map(|it| {
        let Offered { name, digest, key, .. } = it;
        LockedRepository { name: name.clone(), index: *digest, key: key.clone() }
    });
    let packages = locked(recipe, &solution, offered);
    let world = world.dependencies().iter().map(ToString::to_string).collect();
    Ok(Lock::new(alpine, world, repositories.collect(), packages))
}

/// Whether anything of a lock may stay: packages of two branches do not go together.
fn is_kept(before: &Lock, alpine: &LockedRelease, update: &Update) -> bool {
    let is_same = before.alpine.version.branch() == alpine.version.branch() && before.alpine.arch == alpine.arch;
    is_same && *update != Update::All
}

/// The packages of a lock that can stay as they are.
struct Kept<'a> {
    /// Each with its index record and the repository it is from.
    packages: BTreeMap<&'a str, (IndexPackage, &'a str)>,
}

impl<'a> Kept<'a> {
    fn of(before: &'a Lock, offered: &[Offered], carried: &dyn Fn(&LockedPackage) -> Option<String>) -> Self {
        let listed: BTreeMap<(String, &str), &IndexPackage> = offered
            .iter()
            .flat_map(|it| it.index.packages())
            .map(|package| ((package.identity().to_string(), package.name()), package))
            .collect();
        let record = |package: &LockedPackage| match listed.get(&(package.identity.clone(), package.name.as_str())) {
            Some(listed) => Some((*listed).clone()),
            None => Index::parse(&carried(package)?).ok()?.packages().first().cloned(),
        };
        let packages = before.packages.iter();
        let packages =
            packages.filter_map(|it| Some((it.name.as_str(), (record(it)?, it.repository.as_str())))).collect();
        Self { packages }
    }

    /// The packages an update names, with those that are built along with them.
    fn named(&self, before: &Lock, update: &Update) -> Result<BTreeSet<String>, BuildError> {
        let Update::Packages(names) = update else { return Ok(BTreeSet::new()) };
        for name in names {
            if before.package(name).is_none() {
                let known = before.packages.iter().map(|package| package.name.as_str());
                return Err(BuildError::NotLocked {
                    name: name.clone(),
                    near: nearest(name, known).map(str::to_owned),
                });
            }
        }
        Ok(self.siblings(names.clone()))
    }

    /// Adds what has an origin in common with these: such packages fit each other in one version only.
    fn siblings(&self, mut names: BTreeSet<String>) -> BTreeSet<String> {
        let origin = |name: &str| self.packages.get(name).and_then(|(package, _)| package.field('o'));
        let origins: BTreeSet<&str> = names.iter().filter_map(|name| origin(name)).collect();
        let more = self.packages.keys().filter(|name| origin(name).is_some_and(|it| origins.contains(it)));
        names.extend(more.map(|name| (*name).to_owned()));
        names
    }

    /// The solution that leaves the most as it is: first only what is `named` may move, then what that needs, then all.
    fn solution(
        &self,
        named: &BTreeSet<String>,
        offered: &[Offered],
        chosen: &dyn Fn(&[&Index]) -> Result<Solution, BuildError>,
        unbound: impl FnOnce() -> Result<Solution, BuildError>,
    ) -> Result<Solution, BuildError> {
        let among = |free: &BTreeSet<String>| {
            let indexes: Vec<Index> = offered.iter().map(|repository| self.narrowed(repository, free)).collect();
            chosen(&indexes.iter().collect::<Vec<_>>())
        };
        if let Ok(solution) = among(named) {
            return Ok(solution);
        }
        let unbound = unbound()?;
        let mut free = named.clone();
        free.extend(self.needed_by_moved(named, &unbound));
        Ok(among(&self.siblings(free)).unwrap_or(unbound))
    }

    /// What packages need in a solution that were named or are new to it, directly or not.
    fn needed_by_moved(&self, named: &BTreeSet<String>, solution: &Solution) -> BTreeSet<String> {
        let is_moved = |name: &str| named.contains(name) || !self.packages.contains_key(name);
        let mut needed: BTreeSet<String> =
            solution.packages.iter().map(|it| it.package.name()).filter(|it| is_moved(it)).map(str::to_owned).collect();
        loop {
            let before = needed.len();
            for selected in &solution.packages {
                let is_needed = selected.reasons.iter().any(|reason| match reason {
                    Reason::Package { name, .. } => needed.contains(name),
                    Reason::World { .. } | Reason::InstallIf { .. } => false,
                });
                if is_needed {
                    needed.insert(selected.package.name().to_owned());
                }
            }
            if needed.len() == before {
                return needed;
            }
        }
    }

    /// A repository with only the locked version of each package that is not free to move.
    fn narrowed(&self, repository: &Offered, free: &BTreeSet<String>) -> Index {
        let held = |name: &str| self.packages.get(name).filter(|_| !free.contains(name));
        let stays = |package: &&IndexPackage| {
            held(package.name()).is_none_or(|(locked, _)| locked.identity() == package.identity())
        };
        let mut packages: Vec<IndexPackage> = repository.index.packages().iter().filter(stays).cloned().collect();
        let listed: BTreeSet<String> = packages.iter().map(|it| it.name().to_owned()).collect();
        let own = self.packages.iter().filter(|(_, (_, from))| **from == *repository.name);
        let gone = own.filter(|(name, _)| held(name).is_some() && !listed.contains(**name));
        packages.extend(gone.map(|(_, (package, _))| package.clone()));
        Index::of(packages)
    }
}

/// The packages of a solution as entries of a lock.
fn locked(recipe: &Recipe, solution: &Solution, offered: &[Offered]) -> Vec<LockedPackage> {
    let reasons = reasons(solution);
    let entries = solution.packages.iter().map(|selected| {
        let package = &selected.package;
        LockedPackage {
            name: package.name().to_owned(),
            version: package.version().to_owned(),
            repository: offered.get(selected.repository).map(|it| it.name.clone()).unwrap_or_default(),
            identity: package.identity().to_string(),
            size: package.size(),
            why: reasons.get(package.name()).map(|reason| told(recipe, reason)).unwrap_or_default(),
        }
    });
    entries.collect()
}

fn told(recipe: &Recipe, reason: &Reason) -> String {
    match reason {
        Reason::World { dependency } if !recipe.world.contains(dependency) => {
            format!("init adds `{dependency}` to every world")
        }
        reason => reason.to_string(),
    }
}

/// Of everything that brings a package in, what is nearest to the world: following it from package to package ends
/// there.
fn reasons(solution: &Solution) -> BTreeMap<&str, &Reason> {
    let mut told: BTreeMap<&str, &Reason> = BTreeMap::new();
    loop {
        let nearer = |reason: &&Reason| match reason {
            Reason::World { .. } => true,
            Reason::Package { name, .. } => told.contains_key(name.as_str()),
            Reason::InstallIf { .. } => !told.is_empty(),
        };
        let rest = solution.packages.iter().filter(|it| !told.contains_key(it.package.name()));
        let next: Vec<(&str, &Reason)> = rest
            .filter_map(|it| {
                let near = it.reasons.iter().filter(nearer);
                Some((it.package.name(), near.min_by_key(|it| (!matches!(it, Reason::World { .. }), it.to_string()))?))
            })
            .collect();
        if next.is_empty() {
            return told;
        }
        told.extend(next);
    }
}
