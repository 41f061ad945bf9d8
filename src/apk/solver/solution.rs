//! The packages that the decisions come to.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use super::{
    state::{Decisions, Wish},
    universe::{Condition, NameId, PackageId, Universe},
};
use crate::apk::index::IndexPackage;

/// What a world installs: packages by name, then version.
#[derive(Debug, Clone)]
pub struct Solution {
    /// The packages, each once.
    pub packages: Vec<Selected>,
}

/// A package of a [`Solution`].
#[derive(Debug, Clone)]
pub struct Selected {
    /// The package as its index describes it.
    pub package: IndexPackage,
    /// Which of the repositories it is taken from, counted from 0.
    pub repository: usize,
    /// Everything that brought it in; at least one.
    pub reasons: Vec<Reason>,
}

/// Why a package is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The world asks for it, by its name or something it provides.
    World {
        /// The dependency as the world has it.
        dependency: String,
    },
    /// Another package needs it.
    Package {
        /// That package's name.
        name: String,
        /// The dependency it has; names what is provided, such as `so:libz.so.1`.
        dependency: String,
    },
    /// Its install_if: it comes along wherever all of these are.
    InstallIf {
        /// The conditions.
        conditions: Vec<String>,
    },
}

impl Reason {
    fn forbids(&self) -> bool {
        match self {
            Self::World { dependency } | Self::Package { dependency, .. } => dependency.starts_with('!'),
            Self::InstallIf { .. } => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World { dependency } => write!(f, "the world asks for `{dependency}`"),
            Self::Package { name, dependency } => write!(f, "{name} needs `{dependency}`"),
            Self::InstallIf { conditions } => {
                write!(f, "comes along with {}", conditions.join(" and "))
            }
        }
    }
}

/// Follows the decisions from the world on; nothing where a dependency is not met.
pub(super) fn collect<'a>(universe: &Universe<'a>, world: &[Wish<'a>], decisions: &Decisions<'a>) -> Option<Solution> {
    if !decisions.failures.is_empty() {
        return None;
    }
    let mut closure =
        Closure { universe, decisions, reasons: BTreeMap::new(), visited: HashSet::new(), pending: Vec::new() };
    for wish in world {
        let dependency = wish.dependency.to_string();
        closure.follow(&wish.condition, || Reason::World { dependency })?;
    }
    while let Some(id) = closure.pending.pop() {
        let package = &universe.packages[id];
        for condition in &package.depends {
            closure.follow(condition, || Reason::Package {
                name: package.index.name().to_owned(),
                dependency: universe.text(condition).to_string(),
            })?;
        }
        for (provided, _) in package.provided() {
            for watcher in &universe.names[provided].triggers {
                closure.trigger(*watcher);
            }
        }
    }
    Some(closure.finish())
}

struct Closure<'u, 'a> {
    universe: &'u Universe<'a>,
    decisions: &'u Decisions<'a>,
    reasons: BTreeMap<PackageId, Vec<Reason>>,
    /// Names that something installed speaks of or provides.
    visited: HashSet<NameId>,
    pending: Vec<PackageId>,
}

impl<'a> Closure<'_, 'a> {
    /// Takes what meets a dependency; nothing where it is not met.
    fn follow(&mut self, condition: &Condition<'a>, reason: impl FnOnce() -> Reason) -> Option<()> {
        let chosen = self.decisions.names[condition.name].chosen;
        if !condition.holds(chosen, &self.universe.packages) {
            return None;
        }
        self.visited.insert(condition.name);
        if let Some(provider) = chosen {
            self.take(provider.package, reason());
        }
        Some(())
    }

    fn take(&mut self, id: PackageId, reason: Reason) {
        let reasons = self.reasons.entry(id).or_default();
        if reasons.is_empty() {
            self.pending.push(id);
            self.visited.extend(self.universe.packages[id].provided().map(|(name, _)| name));
        }
        reasons.push(reason);
    }

    /// Takes the package chosen for a name if all conditions of its install_if are met by what is installed. As in apk, a
    /// condition `!name` is met only if something installed speaks of that name.
    fn trigger(&mut self, name: NameId) {
        let chosen = self.decisions.names[name].chosen.filter(|_| self.universe.names[name].reachable);
        let Some(provider) = chosen else {
            return;
        };
        let conditions = &self.universe.packages[provider.package].install_if;
        let met = conditions.iter().all(|condition| {
            let chosen = self.decisions.names[condition.name].chosen;
            condition.holds(chosen, &self.universe.packages) && self.visited.contains(&condition.name)
        });
        if met && !conditions.is_empty() && !self.reasons.contains_key(&provider.package) {
            let conditions = conditions.iter().map(|it| self.universe.text(it).to_string());
            let reason = Reason::InstallIf { conditions: conditions.collect() };
            self.take(provider.package, reason);
        }
    }

    fn finish(self) -> Solution {
        let mut packages: Vec<Selected> = self
            .reasons
            .into_iter()
            .map(|(id, mut reasons)| {
                // What only forbids other versions brings a package in where nothing else does.
                if reasons.iter().any(|reason| !reason.forbids()) {
                    reasons.retain(|reason| !reason.forbids());
                }
                let package = &self.universe.packages[id];
                let allowed = self.decisions.packages[id].allowed;
                Selected {
                    package: package.index.clone(),
                    repository: package.repositories.both(allowed).first(),
                    reasons,
                }
            })
            .collect();
        packages.sort_by(|a, b| (a.package.name(), a.package.version()).cmp(&(b.package.name(), b.package.version())));
        Solution { packages }
    }
}
