//! What the world can lead to, with names as numbers: who provides a name, and who watches it.

use std::{
    cmp::Ordering,
    collections::{HashMap, hash_map::Entry},
    ops,
};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::{
    Repositories,
    catalogue::{self, Catalogue, Listed},
    order,
};
use crate::apk::{
    dependency::{Constraint, Dependency},
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

/// The names and packages that the world can lead to, and those that stand in their way.
#[derive(Debug)]
pub(super) struct Universe<'a> {
    pub(super) names: Table<Name<'a>>,
    pub(super) packages: Table<Package<'a>>,
    pub(super) catalogue: &'a Catalogue<'a>,
    known: HashMap<&'a str, NameId, RandomState>,
    /// The packages of the catalogue that are here.
    taken: Vec<Option<PackageId>>,
}

/// A name that is provided or asked for.
#[derive(Debug)]
pub(super) struct Name<'a> {
    pub(super) text: &'a str,
    /// In the order of repositories and of packages in them. Nearly always there is one. Known for names that are
    /// reachable or that a reachable package provides.
    pub(super) providers: SmallVec<[Provider<'a>; 1]>,
    /// Names one of whose providers has this name in its install_if, in the order of apk's table.
    pub(super) triggers: Vec<NameId>,
    /// Names one of whose providers depends on this name, in the order of apk's table; known for reachable names.
    pub(super) dependants: Vec<NameId>,
    /// Whether the world can lead here at all.
    pub(super) reachable: bool,
    /// The most steps of dependencies from here, as far as was known when the name was discovered; names with long
    /// chains are decided first.
    pub(super) chain: u32,
    /// Whether the catalogue was asked for its providers.
    has_providers: bool,
    /// Whether it was asked for those who watch it.
    has_triggers: bool,
    /// The last package that was found to provide it.
    provided_by: Option<PackageId>,
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
    /// Read for reachable packages only, as the next.
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
    /// Nothing yet, of all that is in a catalogue.
    pub(super) fn new(catalogue: &'a Catalogue<'a>) -> Self {
        Self {
            // A desktop leads to about so many.
            names: Table(Vec::with_capacity(catalogue.len())),
            packages: Table(Vec::with_capacity(catalogue.len() / 2)),
            catalogue,
            known: HashMap::with_capacity_and_hasher(catalogue.len(), RandomState::default()),
            taken: vec![None; catalogue.len()],
        }
    }

    /// The number of a name, a new one if need be.
    fn name(&mut self, text: &'a str) -> NameId {
        match self.known.entry(text) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(free) => {
                let id = *free.insert(NameId(self.names.next()));
                self.names.0.push(Name {
                    text,
                    providers: SmallVec::new(),
                    triggers: Vec::new(),
                    dependants: Vec::new(),
                    reachable: false,
                    chain: 0,
                    has_providers: false,
                    has_triggers: false,
                    provided_by: None,
                });
                id
            }
        }
    }

    /// A package of the catalogue, by its number there, with the names it provides.
    fn package(&mut self, number: usize) -> PackageId {
        if let Some(known) = self.taken[number] {
            return known;
        }
        let Listed { index, repositories } = self.catalogue.package(number);
        let id = PackageId(self.packages.next());
        let name = self.name(index.name());
        self.names[name].provided_by = Some(id);
        let mut provides = Vec::new();
        for (provided, version) in index.provided_words().filter_map(catalogue::provided) {
            let provided = self.name(provided);
            // The first one counts, as in the catalogue.
            if self.names[provided].provided_by.replace(id) != Some(id) {
                provides.push((provided, version));
            }
        }
        self.packages.0.push(Package {
            index,
            name,
            repositories,
            provides,
            depends: Vec::new(),
            install_if: Vec::new(),
            reachable: false,
            chain: 0,
        });
        self.taken[number] = Some(id);
        id
    }

    /// Asks the catalogue who provides a name.
    fn find_providers(&mut self, name: NameId) {
        if std::mem::replace(&mut self.names[name].has_providers, true) {
            return;
        }
        let mut providers = SmallVec::new();
        for provision in self.catalogue.providers(self.names[name].text) {
            providers.push(Provider { package: self.package(provision.package), version: provision.version });
        }
        self.names[name].providers = providers;
    }

    /// Asks the catalogue who has a name in an install_if.
    fn find_triggers(&mut self, name: NameId) {
        if std::mem::replace(&mut self.names[name].has_triggers, true) {
            return;
        }
        let mut triggers = Vec::new();
        for number in self.catalogue.watchers(self.names[name].text) {
            let package = self.package(number);
            triggers.extend(self.packages[package].provided().map(|(watcher, _)| watcher));
        }
        self.list(&mut triggers);
        self.names[name].triggers = triggers;
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
            stack.extend(self.reach(root));
            while let Some(visit) = stack.last_mut() {
                match self.step(visit) {
                    Step::Into(name) => stack.extend(self.reach(name)),
                    Step::On => {}
                    Step::Done => drop(stack.pop()),
                }
            }
        }
        self.surround();
        self.link_dependants();
    }

    /// Notes that the world can lead to a name; what is to be visited, unless that was known.
    fn reach(&mut self, name: NameId) -> Option<Visit> {
        if std::mem::replace(&mut self.names[name].reachable, true) {
            return None;
        }
        self.find_providers(name);
        self.find_triggers(name);
        Some(Visit::new(name))
    }

    /// Notes that the world can lead to a package, and reads what it depends on; whether that is new.
    fn read(&mut self, id: PackageId) -> bool {
        if std::mem::replace(&mut self.packages[id].reachable, true) {
            return false;
        }
        let index = self.packages[id].index;
        self.packages[id].depends = index.depends().map(|it| self.condition(it)).collect();
        self.packages[id].install_if = index.install_if().map(|it| self.condition(it)).collect();
        for place in 0..=self.packages[id].provides.len() {
            let provided = self.packages[id].provided().nth(place);
            if let Some((name, _)) = provided {
                self.find_triggers(name);
            }
        }
        true
    }

    /// Finds the packages that cannot stand beside a reachable one, because they provide something it provides, and who
    /// watches what they provide: apk looks at those again when such a package is ruled out.
    fn surround(&mut self) {
        let names = |universe: &Self, is_reachable: bool| {
            let packages = universe.packages.iter().filter(|package| package.reachable == is_reachable);
            packages.flat_map(|package| package.provided().map(|(name, _)| name)).collect::<Vec<_>>()
        };
        for name in names(self, true) {
            self.find_providers(name);
        }
        for name in names(self, false) {
            self.find_triggers(name);
        }
    }

    /// One step of visiting a name: first what its providers depend on, then what they may bring along.
    fn step(&mut self, visit: &mut Visit) -> Step {
        let providers = &self.names[visit.name].providers;
        if let Some(&Provider { package: id, .. }) = providers.get(visit.provider) {
            visit.is_inside = visit.is_inside || self.read(id);
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
        let mut reachable: Vec<NameId> = self.names.name_ids().filter(|id| self.names[*id].reachable).collect();
        self.list(&mut reachable);
        for id in reachable {
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

    /// Brings names into the order of apk's table, each once. Within a bucket that is the last one first that the
    /// indexes speak of; where a name was spoken of before it was provided, this may differ.
    fn list(&self, names: &mut Vec<NameId>) {
        let place = |name: NameId| self.catalogue.providers(self.names[name].text).next().map(|it| it.place);
        let mut listed: Vec<_> = names.iter().map(|name| (order::bucket(self.names[*name].text), *name)).collect();
        // Few names share a bucket, so that hardly any is looked up.
        listed.sort_unstable_by(|(bucket, name), (other_bucket, other)| {
            let in_bucket = || place(*other).cmp(&place(*name)).then(name.cmp(other));
            bucket.cmp(other_bucket).then_with(|| if name == other { Ordering::Equal } else { in_bucket() })
        });
        listed.dedup();
        names.clear();
        names.extend(listed.into_iter().map(|(_, name)| name));
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
