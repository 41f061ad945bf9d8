//! Everything the indexes offer, with names as numbers: who provides a name, and who watches it.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops,
};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::{Repositories, Repository};
use crate::apk::{
    dependency::{Constraint, Dependency},
    identity::Identity,
    index::IndexPackage,
};

/// The number of a name in its [`Universe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NameId(u32);

/// The number of a package in its [`Universe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PackageId(u32);

/// Values by the ids of a universe; ids are made only together with a value for them.
#[derive(Debug, Clone)]
pub(super) struct Table<T>(Vec<T>);

/// All packages of all repositories.
#[derive(Debug)]
pub(super) struct Universe<'a> {
    pub(super) names: Table<Name<'a>>,
    pub(super) packages: Table<Package<'a>>,
    known: HashMap<&'a str, NameId, RandomState>,
}

/// A name that is provided or asked for.
#[derive(Debug)]
pub(super) struct Name<'a> {
    pub(super) text: &'a str,
    /// In the order of repositories and of packages in them. Nearly always there is one, and there are four times as many
    /// names as packages.
    pub(super) providers: SmallVec<[Provider<'a>; 1]>,
    /// Names one of whose providers has this name in its install_if.
    pub(super) triggers: Vec<NameId>,
    /// Names one of whose providers depends on this name; known for reachable names.
    pub(super) dependants: Vec<NameId>,
    /// Whether the world can lead here at all.
    pub(super) reachable: bool,
    /// The most steps of dependencies from here, as far as was known when the name was discovered; names with long
    /// chains are decided first.
    pub(super) chain: u32,
}

/// A package that provides a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Provider<'a> {
    pub(super) package: PackageId,
    /// The version of the provided name, if it has one.
    pub(super) version: Option<&'a str>,
}

/// A package, once, however many repositories have it.
#[derive(Debug)]
pub(super) struct Package<'a> {
    pub(super) index: &'a IndexPackage,
    pub(super) name: NameId,
    pub(super) repositories: Repositories,
    /// The provided names beside its own.
    pub(super) provides: Vec<(NameId, Option<&'a str>)>,
    /// Read for reachable packages only.
    pub(super) depends: Vec<Condition<'a>>,
    pub(super) install_if: Vec<Condition<'a>>,
    /// Whether the world can lead to a name it provides.
    pub(super) reachable: bool,
    /// The most steps of dependencies from here; see [`Name::chain`].
    pub(super) chain: u32,
}

/// A dependency on a numbered name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition<'a> {
    pub(super) name: NameId,
    pub(super) conflict: bool,
    pub(super) constraint: Constraint<&'a str>,
}

impl<'a> Universe<'a> {
    /// Everything in the repositories.
    pub(super) fn new(repositories: &[Repository<'a>]) -> Self {
        let count = repositories.iter().map(|it| it.index.packages().len()).sum();
        let mut universe = Self {
            names: Table(Vec::with_capacity(4 * count)),
            packages: Table(Vec::with_capacity(count)),
            // Names are about four times as many as packages.
            known: HashMap::with_capacity_and_hasher(4 * count, RandomState::default()),
        };
        let mut identities: HashMap<Identity, PackageId, RandomState> =
            HashMap::with_capacity_and_hasher(count, RandomState::default());
        for (position, repository) in repositories.iter().enumerate() {
            let place = Repositories::one(position);
            for package in repository.index.packages() {
                match identities.entry(package.identity()) {
                    Entry::Occupied(known) => universe.packages[*known.get()].repositories |= place,
                    Entry::Vacant(free) => {
                        free.insert(universe.add(package, place));
                    }
                }
            }
        }
        universe
    }

    fn add(&mut self, index: &'a IndexPackage, repositories: Repositories) -> PackageId {
        let id = PackageId(self.packages.next());
        let name = self.name(index.name());
        self.provide(name, id, Some(index.version()));
        let mut provides: Vec<(NameId, Option<&str>)> = Vec::new();
        for provided in index.provides() {
            let version = match provided.constraint {
                Constraint::Version { version, .. } => Some(version),
                Constraint::Any | Constraint::Identity(_) => None,
            };
            let provided = self.name(provided.name);
            // apk would count a second provision of the same name as a conflict with the first.
            let last = self.names[provided].providers.last();
            if last.is_none_or(|last| last.package != id) {
                self.provide(provided, id, version);
                provides.push((provided, version));
            }
        }
        let install_if: Vec<_> = index.install_if().map(|it| self.condition(it)).collect();
        for condition in &install_if {
            for watcher in std::iter::once(name).chain(provides.iter().map(|(it, _)| *it)) {
                let triggers = &mut self.names[condition.name].triggers;
                // A watcher may be there twice: looking again does no harm.
                if triggers.last() != Some(&watcher) {
                    triggers.push(watcher);
                }
            }
        }
        self.packages.0.push(Package {
            index,
            name,
            repositories,
            provides,
            depends: Vec::new(),
            install_if,
            reachable: false,
            chain: 0,
        });
        id
    }

    fn provide(&mut self, name: NameId, package: PackageId, version: Option<&'a str>) {
        self.names[name].providers.push(Provider { package, version });
    }

    /// The number of a name, a new one if need be.
    fn name(&mut self, text: &'a str) -> NameId {
        *self.known.entry(text).or_insert_with(|| {
            let id = NameId(self.names.next());
            self.names.0.push(Name {
                text,
                providers: SmallVec::new(),
                triggers: Vec::new(),
                dependants: Vec::new(),
                reachable: false,
                chain: 0,
            });
            id
        })
    }

    /// A dependency with its name numbered.
    pub(super) fn condition(&mut self, dependency: Dependency<&'a str>) -> Condition<'a> {
        Condition { name: self.name(dependency.name), conflict: dependency.conflict, constraint: dependency.constraint }
    }

    /// Visits every name the world can lead to, reads the dependencies of its providers and measures their chains.
    ///
    /// As in apk, what is in a circle of dependencies is measured only as far as the visit had come.
    pub(super) fn discover(&mut self, roots: impl IntoIterator<Item = NameId>) {
        // A stack of its own, because chains of dependencies can be as long as an index.
        let mut stack = Vec::new();
        for root in roots {
            if !std::mem::replace(&mut self.names[root].reachable, true) {
                stack.push(Visit::new(root));
            }
            while let Some(visit) = stack.last_mut() {
                match self.step(visit) {
                    Step::Into(name) => {
                        if !std::mem::replace(&mut self.names[name].reachable, true) {
                            stack.push(Visit::new(name));
                        }
                    }
                    Step::On => {}
                    Step::Done => drop(stack.pop()),
                }
            }
        }
        self.link_dependants();
    }

    /// One step of visiting a name: first what its providers depend on, then what they may bring along.
    fn step(&mut self, visit: &mut Visit) -> Step {
        let providers = &self.names[visit.name].providers;
        if let Some(&Provider { package: id, .. }) = providers.get(visit.provider) {
            if !visit.is_inside && !std::mem::replace(&mut self.packages[id].reachable, true) {
                let index = self.packages[id].index;
                self.packages[id].depends = index.depends().map(|it| self.condition(it)).collect();
                visit.is_inside = true;
            }
            if visit.is_inside
                && let Some(condition) = self.packages[id].depends.get(visit.place)
            {
                let needed = &self.names[condition.name];
                if !needed.reachable {
                    return Step::Into(condition.name);
                }
                let chain = needed.chain + 1;
                self.packages[id].chain = self.packages[id].chain.max(chain);
                visit.place += 1;
                return Step::On;
            }
            self.names[visit.name].chain = self.names[visit.name].chain.max(self.packages[id].chain);
            *visit = Visit { provider: visit.provider + 1, ..Visit::new(visit.name) };
            return Step::On;
        }
        let Some(&Provider { package: id, .. }) = providers.get(visit.provider - providers.len()) else {
            return Step::Done;
        };
        let package = &self.packages[id];
        let Some(provided) = package.provided().nth(visit.place).map(|(name, _)| name) else {
            *visit = Visit { provider: visit.provider + 1, ..Visit::new(visit.name) };
            return Step::On;
        };
        let is_own = visit.place == 0;
        // A name that was visited is looked after there.
        let is_skipped = !is_own && visit.trigger == 0 && self.names[provided].reachable;
        match self.names[provided].triggers.get(visit.trigger).filter(|_| !is_skipped) {
            Some(watcher) => {
                visit.trigger += 1;
                Step::Into(*watcher)
            }
            None => {
                visit.place += 1;
                visit.trigger = 0;
                Step::On
            }
        }
    }

    fn link_dependants(&mut self) {
        let mut last_linked = vec![None; self.names.0.len()];
        for id in self.names.name_ids() {
            if !self.names[id].reachable {
                continue;
            }
            let providers = std::mem::take(&mut self.names[id].providers);
            for provider in &providers {
                for condition in &self.packages[provider.package].depends {
                    let linked = last_linked.get_mut(condition.name.0 as usize);
                    if linked.is_some_and(|last| last.replace(id) != Some(id)) {
                        self.names[condition.name].dependants.push(id);
                    }
                }
            }
            self.names[id].providers = providers;
        }
    }

    /// How far a name is from being that of a package: 0 when only packages of that name provide it, 1 when others do
    /// too, 2 when only others do.
    pub(super) fn remoteness(&self, id: NameId) -> u8 {
        let providers = &self.names[id].providers;
        let others = providers.iter().filter(|it| self.packages[it.package].name != id).count();
        match others {
            0 => 0,
            others if others < providers.len() => 1,
            _ => 2,
        }
    }

    /// A dependency in the words of the index.
    pub(super) fn text(&self, condition: &Condition<'a>) -> Dependency<&'a str> {
        Dependency {
            conflict: condition.conflict,
            name: self.names[condition.name].text,
            tag: None,
            constraint: condition.constraint,
        }
    }
}

/// Where the visit of a name is.
struct Visit {
    name: NameId,
    /// The provider it is at; counted on beyond the last one for the second round.
    provider: usize,
    /// The visit of this provider's dependencies began here, not at another name it provides.
    is_inside: bool,
    /// The dependency it is at; in the second round, the provided name.
    place: usize,
    /// The watcher of the provided name it is at.
    trigger: usize,
}

impl Visit {
    const fn new(name: NameId) -> Self {
        Self { name, provider: 0, is_inside: false, place: 0, trigger: 0 }
    }
}

/// What follows a step of a visit.
enum Step {
    /// Another name has to be visited first.
    Into(NameId),
    /// The next step.
    On,
    /// The name was visited.
    Done,
}

impl<'a> Package<'a> {
    /// Its own name and all it provides, each with the version it is provided in.
    pub(super) fn provided(&self) -> impl Iterator<Item = (NameId, Option<&'a str>)> {
        std::iter::once((self.name, Some(self.index.version()))).chain(self.provides.iter().copied())
    }
}

impl<'a> Condition<'a> {
    /// Whether it holds when this is what provides the name.
    pub(super) fn holds(&self, provider: Option<Provider<'a>>, packages: &Table<Package<'a>>) -> bool {
        let Some(provider) = provider else {
            return self.conflict;
        };
        let identity = packages[provider.package].index.identity();
        self.constraint.accepts(provider.version, &identity) != self.conflict
    }
}

impl<T> Table<T> {
    /// A table with the same value for every id of another one.
    pub(super) fn like<U>(other: &Table<U>, value: T) -> Self
    where
        T: Clone,
    {
        Self(vec![value; other.0.len()])
    }

    /// The id that the next value gets.
    fn next(&self) -> u32 {
        u32::try_from(self.0.len()).expect("four billion names do not fit into memory")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl<T> Table<T> {
    pub(super) fn name_ids(&self) -> impl Iterator<Item = NameId> + use<T> {
        (0..self.next()).map(NameId)
    }

    pub(super) fn package_ids(&self) -> impl Iterator<Item = PackageId> + use<T> {
        (0..self.next()).map(PackageId)
    }
}

impl<T> ops::Index<NameId> for Table<T> {
    type Output = T;

    fn index(&self, id: NameId) -> &T {
        &self.0[id.0 as usize]
    }
}

impl<T> ops::IndexMut<NameId> for Table<T> {
    fn index_mut(&mut self, id: NameId) -> &mut T {
        &mut self.0[id.0 as usize]
    }
}

impl<T> ops::Index<PackageId> for Table<T> {
    type Output = T;

    fn index(&self, id: PackageId) -> &T {
        &self.0[id.0 as usize]
    }
}

impl<T> ops::IndexMut<PackageId> for Table<T> {
    fn index_mut(&mut self, id: PackageId) -> &mut T {
        &mut self.0[id.0 as usize]
    }
}
