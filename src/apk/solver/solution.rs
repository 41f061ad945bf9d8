//! The packages that the decisions come to.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
};

use super::{
    state::{Decisions, Wish},
    universe::{Condition, NameId, PackageId, Provider, Universe},
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
    let mut walk = Walk { universe, decisions, seen: HashSet::new(), taken: BTreeSet::new(), ahead: Vec::new() };
    walk.follow(world.iter().map(|wish| &wish.condition))?;
    walk.run()?;
    Some(tell(universe, world, decisions, walk.taken))
}

/// The walk from the world through what was decided, in apk's order: each name once, deep before wide.
///
/// The order counts: a name that several packages provide without a version is met by the first of them on the way, and
/// what was chosen for it then is not installed for it.
struct Walk<'u, 'a> {
    universe: &'u Universe<'a>,
    decisions: &'u Decisions<'a>,
    /// Names that something installed speaks of or provides.
    seen: HashSet<NameId>,
    taken: BTreeSet<PackageId>,
    /// What is still to be done, the next at the end: no recursion, because chains of dependencies can be as long as an
    /// index.
    ahead: Vec<Ahead>,
}

/// Something still to be done on a [`Walk`].
#[derive(Clone, Copy)]
enum Ahead {
    /// Something depends on this name.
    Needed(NameId),
    /// Something that this name's install_if waits for is installed.
    Awaited(NameId),
}

impl<'a> Walk<'_, 'a> {
    fn run(&mut self) -> Option<()> {
        while let Some(next) = self.ahead.pop() {
            match next {
                Ahead::Needed(name) => self.visit(name)?,
                Ahead::Awaited(name) if self.comes_along(name) => self.visit(name)?,
                Ahead::Awaited(_) => {}
            }
        }
        Some(())
    }

    /// Puts dependencies before everything else that is to be done; nothing where one is not met.
    fn follow<'c>(&mut self, conditions: impl DoubleEndedIterator<Item = &'c Condition<'a>>) -> Option<()>
    where
        'a: 'c,
    {
        for condition in conditions.rev() {
            let chosen = self.decisions.names[condition.name].chosen;
            if !condition.holds(chosen, &self.universe.packages) {
                return None;
            }
            self.ahead.push(Ahead::Needed(condition.name));
        }
        Some(())
    }

    /// Takes what was chosen for a name, unless something that provides it was taken before.
    fn visit(&mut self, name: NameId) -> Option<()> {
        let chosen = self.decisions.names[name].chosen;
        if !self.seen.insert(name) {
            return Some(());
        }
        let Some(Provider { package: id, .. }) = chosen.filter(|it| self.taken.insert(it.package)) else {
            return Some(());
        };
        let universe = self.universe;
        let package = &universe.packages[id];
        self.seen.extend(package.provided().map(|(name, _)| name));
        let watchers = package.provided().flat_map(|(name, _)| &universe.names[name].triggers);
        let before = self.ahead.len();
        self.ahead.extend(watchers.map(|watcher| Ahead::Awaited(*watcher)));
        self.ahead[before..].reverse();
        self.follow(package.depends.iter())
    }

    /// Whether all conditions in the install_if of what was chosen for a name are met by what was taken. As in apk, a
    /// condition `!name` is met only if something that was taken speaks of that name.
    ///
    /// Not as in apk, it needs a condition: apk installs what was chosen for a name, whatever for, when another package
    /// that provides the name waits for something that is there. In no index of Alpine this was seen.
    fn comes_along(&self, name: NameId) -> bool {
        let chosen = self.decisions.names[name].chosen.filter(|_| self.universe.names[name].reachable);
        let Some(provider) = chosen else {
            return false;
        };
        let conditions = &self.universe.packages[provider.package].install_if;
        !conditions.is_empty()
            && conditions.iter().all(|condition| {
                let chosen = self.decisions.names[condition.name].chosen;
                self.seen.contains(&condition.name) && condition.holds(chosen, &self.universe.packages)
            })
    }
}

/// Says of each package that was taken what brought it in.
fn tell<'a>(
    universe: &Universe<'a>,
    world: &[Wish<'a>],
    decisions: &Decisions<'a>,
    taken: BTreeSet<PackageId>,
) -> Solution {
    let mut reasons: BTreeMap<PackageId, Vec<Reason>> = taken.iter().map(|id| (*id, Vec::new())).collect();
    let mut add = |condition: &Condition<'a>, reason: Reason| {
        let state = &decisions.names[condition.name];
        let providers = state.chosen.into_iter().chain(universe.names[condition.name].providers.iter().copied());
        let mut present = providers.filter(|it| taken.contains(&it.package));
        if state.chosen.is_some()
            && let Some(reasons) = present.next().and_then(|provider| reasons.get_mut(&provider.package))
        {
            reasons.push(reason);
        }
    };
    for wish in world {
        add(&wish.condition, Reason::World { dependency: wish.dependency.to_string() });
    }
    for id in &taken {
        let package = &universe.packages[*id];
        for condition in &package.depends {
            let name = package.index.name().to_owned();
            add(condition, Reason::Package { name, dependency: universe.text(condition).to_string() });
        }
    }
    let packages = reasons.into_iter().map(|(id, mut reasons)| {
        let package = &universe.packages[id];
        // What only forbids other versions, or waits in an install_if, brings a package in where nothing else does.
        if reasons.iter().any(|reason| !reason.forbids()) {
            reasons.retain(|reason| !reason.forbids());
        } else if !package.install_if.is_empty() {
            let conditions = package.install_if.iter().map(|it| universe.text(it).to_string());
            reasons = vec![Reason::InstallIf { conditions: conditions.collect() }];
        }
        let allowed = decisions.packages[id].allowed;
        Selected { package: package.index.clone(), repository: package.repositories.both(allowed).first(), reasons }
    });
    let mut packages: Vec<Selected> = packages.collect();
    packages.sort_by(|a, b| (a.package.name(), a.package.version()).cmp(&(b.package.name(), b.package.version())));
    Solution { packages }
}
