//! Everything the indexes offer, with names as numbers: who provides a name, and who watches it.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops,
};

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
    known: HashMap<&'a str, NameId>,
}

/// A name that is provided or asked for.
#[derive(Debug)]
pub(super) struct Name<'a> {
    pub(super) text: &'a str,
    /// In the order of repositories and of packages in them.
    pub(super) providers: Vec<Provider<'a>>,
    /// Names one of whose providers has this name in its install_if.
    pub(super) triggers: Vec<NameId>,
    /// Names one of whose providers depends on this name; known for reachable names.
    pub(super) dependants: Vec<NameId>,
    /// Names that its providers depend on, the other way round; known for reachable names.
    pub(super) depends_on: Vec<NameId>,
    /// Whether the world can lead here at all.
    pub(super) reachable: bool,
    /// The order in which names are decided, the highest first.
    pub(super) order: u32,
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
            names: Table(Vec::with_capacity(count)),
            packages: Table(Vec::with_capacity(count)),
            known: HashMap::with_capacity(count),
        };
        let mut identities: HashMap<Identity, PackageId> = HashMap::with_capacity(count);
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
        self.packages.0.push(Package { index, name, repositories, provides, depends: Vec::new(), install_if });
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
                providers: Vec::new(),
                triggers: Vec::new(),
                dependants: Vec::new(),
                depends_on: Vec::new(),
                reachable: false,
                order: 0,
            });
            id
        })
    }

    /// A dependency with its name numbered.
    pub(super) fn condition(&mut self, dependency: Dependency<&'a str>) -> Condition<'a> {
        Condition { name: self.name(dependency.name), conflict: dependency.conflict, constraint: dependency.constraint }
    }

    /// Visits every name the world can lead to, reads the dependencies of its providers and gives
    /// it its place in the order of decisions: after all names it leads to, so that what is asked
    /// for comes before what is only needed; real packages before names that are only provided.
    pub(super) fn discover(&mut self, roots: impl IntoIterator<Item = NameId>) {
        // A stack of its own, because chains of dependencies can be as long as an index.
        struct Visit {
            name: NameId,
            provider: usize,
            pending: Vec<NameId>,
        }
        let mut order = 0;
        let mut stack = Vec::new();
        for root in roots {
            stack.push(Visit { name: root, provider: 0, pending: Vec::new() });
            if std::mem::replace(&mut self.names[root].reachable, true) {
                stack.clear();
            }
            while let Some(visit) = stack.last_mut() {
                if let Some(next) = visit.pending.pop() {
                    if !std::mem::replace(&mut self.names[next].reachable, true) {
                        stack.push(Visit { name: next, provider: 0, pending: Vec::new() });
                    }
                    continue;
                }
                let name = visit.name;
                let provider = visit.provider;
                visit.provider += 1;
                let providers = &self.names[name].providers;
                if let Some(&Provider { package, .. }) = providers.get(provider) {
                    visit.pending = self.expand(package);
                } else if provider == providers.len() {
                    visit.pending = self.names[name].triggers.iter().rev().copied().collect();
                } else {
                    stack.pop();
                    order += 1;
                    self.names[name].order = order;
                }
            }
        }
        self.link_dependants();
    }

    /// The names a package leads to, the first one last.
    fn expand(&mut self, id: PackageId) -> Vec<NameId> {
        if self.packages[id].depends.is_empty() {
            let index = self.packages[id].index;
            self.packages[id].depends = index.depends().map(|it| self.condition(it)).collect();
        }
        let package = &self.packages[id];
        let needed = package.depends.iter().map(|condition| condition.name);
        let mut names = vec![package.name];
        names.extend(needed);
        names.reverse();
        names
    }

    fn link_dependants(&mut self) {
        const REAL: u32 = 1 << 30;
        let mut last_linked = vec![None; self.names.0.len()];
        for id in (0..self.names.next()).map(NameId) {
            if !self.names[id].reachable {
                continue;
            }
            let providers = std::mem::take(&mut self.names[id].providers);
            for provider in &providers {
                let package = &self.packages[provider.package];
                if package.name == id {
                    self.names[id].order |= REAL;
                }
                for condition in &package.depends {
                    let linked = last_linked.get_mut(condition.name.0 as usize);
                    if linked.is_some_and(|last| last.replace(id) != Some(id)) {
                        self.names[condition.name].dependants.push(id);
                        self.names[id].depends_on.push(condition.name);
                    }
                }
            }
            self.names[id].providers = providers;
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
