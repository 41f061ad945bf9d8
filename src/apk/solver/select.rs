//! Deciding names, one by one, as apk does.
//!
//! Each round first *reconsiders* every name whose situation changed: providers that can no longer
//! be installed drop out, what all remaining providers need becomes needed itself, and install_if
//! is evaluated. Then one name is taken from the queue and given its best provider, which fixes
//! all names that package provides.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, VecDeque},
};

use super::{
    Repositories,
    state::{Decisions, Exclusion, Failure, InstallIf, NameState, PackageState, Queue, Wish},
    universe::{Condition, NameId, Package, PackageId, Provider, Table, Universe},
};
use crate::apk::version;

/// Decides every name that the world needs.
pub(super) fn decide<'a>(
    universe: &Universe<'a>,
    world: &[Wish<'a>],
    untagged: Repositories,
    arch: &str,
) -> Decisions<'a> {
    let mut state = State::new(universe, untagged, arch);
    for wish in world {
        state.constrain(wish.condition, Origin::World(wish.repositories));
    }
    loop {
        while let Some(name) = state.dirty.pop_front() {
            if std::mem::take(&mut state.names[name].dirty) {
                state.reconsider(name);
            }
        }
        match state.next() {
            Some(name) => state.select(name),
            None => break,
        }
    }
    Decisions { names: state.names, packages: state.packages, failures: state.failures }
}

/// Who has a dependency.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    /// The world, which prefers these repositories for it.
    World(Repositories),
    Package(PackageId),
}

/// Everything that changes while names are decided.
pub(super) struct State<'u, 'a> {
    pub(super) universe: &'u Universe<'a>,
    pub(super) names: Table<NameState<'a>>,
    pub(super) packages: Table<PackageState<'a>>,
    failures: Vec<Failure>,
    dirty: VecDeque<NameId>,
    now: VecDeque<NameId>,
    selectable: BTreeSet<(u32, NameId)>,
    unresolved: BTreeSet<(u32, NameId)>,
}

impl<'u, 'a> State<'u, 'a> {
    fn new(universe: &'u Universe<'a>, untagged: Repositories, arch: &str) -> Self {
        let start = PackageState {
            excluded: None,
            install_if: InstallIf::Open,
            conflicts: 0,
            allowed: untagged,
            tag_ok: false,
            tag_preferred: false,
            merged: false,
            in_last_merge: false,
        };
        let mut packages = Table::like(&universe.packages, start);
        for id in universe.packages.package_ids() {
            let (package, state) = (&universe.packages[id], &mut packages[id]);
            state.tag_ok = package.repositories.meets(untagged);
            state.tag_preferred = state.tag_ok;
            if package.install_if.is_empty() {
                state.install_if = InstallIf::Failed;
            }
            let for_arch = package.index.arch() == arch || package.index.arch() == "noarch";
            if !for_arch || package.index.unusable().is_some() {
                state.excluded = Some(Exclusion::Unusable);
            }
        }
        let mut names = Table::like(&universe.names, NameState::default());
        for id in universe.names.name_ids() {
            names[id].open_dependants = universe.names[id].dependants.len();
        }
        Self {
            universe,
            names,
            packages,
            failures: Vec::new(),
            dirty: VecDeque::new(),
            now: VecDeque::new(),
            selectable: BTreeSet::new(),
            unresolved: BTreeSet::new(),
        }
    }

    /// One more thing needs the name.
    pub(super) fn require(&mut self, name: NameId) {
        self.names[name].requirers += 1;
        if self.names[name].requirers > 1 {
            return;
        }
        self.watch_triggers(name);
        self.mark_dirty(name);
        // Packages of this name may now be chosen for what they provide without a version.
        let universe = self.universe;
        for provider in &universe.names[name].providers {
            let package = &universe.packages[provider.package];
            if package.name == name {
                for (provided, _) in package.provides.iter().filter(|(_, version)| version.is_none()) {
                    self.mark_dirty(*provided);
                }
            }
        }
    }

    /// Applies a dependency to all providers of its name.
    pub(super) fn constrain(&mut self, condition: Condition<'a>, origin: Origin) {
        let universe = self.universe;
        if !condition.conflict {
            self.require(condition.name);
        }
        for provider in &universe.names[condition.name].providers {
            let id = provider.package;
            if condition.holds(Some(*provider), &universe.packages) {
                self.inherit_tags(id, origin);
            } else {
                let by = match origin {
                    Origin::World(_) => None,
                    Origin::Package(package) => Some(package),
                };
                self.packages[id].conflicts += 1;
                self.exclude(id, Exclusion::Unwanted { condition, by });
            }
        }
    }

    pub(super) fn inherit_tags(&mut self, id: PackageId, origin: Origin) {
        let allowed = match origin {
            Origin::World(preferred) => preferred,
            Origin::Package(package) => self.packages[package].allowed,
        };
        let repositories = self.universe.packages[id].repositories;
        let state = &mut self.packages[id];
        state.allowed |= allowed;
        state.tag_ok |= repositories.meets(state.allowed);
        if let Origin::World(preferred) = origin {
            state.tag_preferred = repositories.meets(preferred);
        }
    }

    /// Whether a provider may be chosen without being named: something that only says it provides
    /// a name, without a version, needs a priority or to be required itself.
    pub(super) fn may_be_chosen(&self, provider: Provider<'a>) -> bool {
        let package = &self.universe.packages[provider.package];
        provider.version.is_some() || package.index.provider_priority() != 0 || self.names[package.name].requirers > 0
    }

    /// Takes a package out of all further choices.
    pub(super) fn exclude(&mut self, id: PackageId, why: Exclusion<'a>) {
        let state = &mut self.packages[id];
        if state.excluded.is_some() {
            return;
        }
        state.excluded = Some(why);
        let universe = self.universe;
        for (name, _) in universe.packages[id].provided() {
            self.watch_dependants(name);
            self.watch_triggers(name);
        }
    }

    /// Those who depend on a name look whether they still can.
    fn watch_dependants(&mut self, name: NameId) {
        for dependant in &self.universe.names[name].dependants {
            self.names[*dependant].check_depends = true;
            self.mark_dirty(*dependant);
        }
    }

    /// Those with a name in their install_if look at it again.
    fn watch_triggers(&mut self, name: NameId) {
        let universe = self.universe;
        for watcher in &universe.names[name].triggers {
            if universe.names[*watcher].reachable && !self.names[*watcher].hopeless_install_if {
                self.names[*watcher].check_install_if = true;
                self.mark_dirty(*watcher);
            }
        }
    }

    fn mark_dirty(&mut self, name: NameId) {
        let state = &mut self.names[name];
        if !state.dirty && !state.locked && (state.requirers > 0 || state.check_install_if) {
            state.dirty = true;
            self.dirty.push_back(name);
        }
    }

    /// Puts a name into the queue its state asks for.
    pub(super) fn enqueue(&mut self, name: NameId) {
        let state = &self.names[name];
        if state.locked || (state.requirers == 0 && !state.triggered) {
            return;
        }
        let wanted = if state.open_dependants == 0 && state.requirers > 0 && state.selectable && !state.has_options {
            Queue::Now
        } else if state.selectable {
            Queue::Selectable
        } else {
            Queue::Unresolved
        };
        if state.queue == Some(wanted) || state.queue == Some(Queue::Now) {
            return;
        }
        self.dequeue(name);
        self.names[name].queue = Some(wanted);
        let place = (self.universe.names[name].order, name);
        match wanted {
            Queue::Now => self.now.push_back(name),
            Queue::Selectable => drop(self.selectable.insert(place)),
            Queue::Unresolved => drop(self.unresolved.insert(place)),
        }
    }

    fn dequeue(&mut self, name: NameId) {
        let place = (self.universe.names[name].order, name);
        match self.names[name].queue.take() {
            // Names that were decided meanwhile are skipped when their turn comes.
            Some(Queue::Now) | None => {}
            Some(Queue::Selectable) => drop(self.selectable.remove(&place)),
            Some(Queue::Unresolved) => drop(self.unresolved.remove(&place)),
        }
    }

    /// The name to decide next.
    fn next(&mut self) -> Option<NameId> {
        while let Some(name) = self.now.pop_front() {
            if !self.names[name].locked {
                return Some(name);
            }
        }
        let (_, name) = self.selectable.pop_last().or_else(|| self.unresolved.pop_last())?;
        Some(name)
    }

    /// Gives a name its best provider.
    fn select(&mut self, name: NameId) {
        let universe = self.universe;
        self.names[name].queue = None;
        let required = self.names[name].requirers > 0;
        let mut best: Option<Provider<'a>> = None;
        for provider in &universe.names[name].providers {
            let state = &self.packages[provider.package];
            let eligible = required || (state.install_if == InstallIf::Triggered && state.tag_ok && state.selectable());
            if eligible
                && self.may_be_chosen(*provider)
                && best.is_none_or(|best| self.compare(*provider, best).is_gt())
            {
                best = Some(*provider);
            }
        }
        let Some(best) = best else {
            if required {
                self.failures.push(Failure::Undecided(name));
            }
            self.assign(name, None);
            return;
        };
        let id = best.package;
        let package = &universe.packages[id];
        if !self.packages[id].selectable() || !self.packages[id].tag_ok {
            self.failures.push(Failure::Undecided(name));
        }
        for (provided, version) in package.provided() {
            self.assign(provided, Some(Provider { package: id, version }));
        }
        for condition in &package.depends {
            self.constrain(*condition, Origin::Package(id));
        }
    }

    /// Which of two providers of a name is better.
    fn compare(&self, a: Provider<'a>, b: Provider<'a>) -> Ordering {
        let (one, other) = (&self.packages[a.package], &self.packages[b.package]);
        let (left, right) = (&self.universe.packages[a.package], &self.universe.packages[b.package]);
        let by_version = || match (a.version, b.version) {
            (Some(a), Some(b)) => version::compare(a, b),
            _ => Ordering::Equal,
        };
        let by_package_version = || {
            if left.name == right.name {
                version::compare(left.index.version(), right.index.version())
            } else {
                Ordering::Equal
            }
        };
        let priority = |package: &Package<'a>| package.index.provider_priority();
        one.selectable()
            .cmp(&other.selectable())
            .then_with(|| one.in_last_merge.cmp(&other.in_last_merge))
            .then_with(|| other.conflicts.cmp(&one.conflicts))
            .then_with(|| one.tag_ok.cmp(&other.tag_ok))
            .then_with(|| one.tag_preferred.cmp(&other.tag_preferred))
            .then_with(by_version)
            .then_with(by_package_version)
            .then_with(|| priority(left).cmp(&priority(right)))
            .then_with(|| right.repositories.first().cmp(&left.repositories.first()))
    }

    /// Fixes what provides a name, and takes out all that cannot stand beside it.
    fn assign(&mut self, name: NameId, provider: Option<Provider<'a>>) {
        let universe = self.universe;
        let unversioned = |provider: Option<Provider<'a>>| provider.is_none_or(|it| it.version.is_none());
        let state = &self.names[name];
        if state.locked {
            if !(unversioned(provider) && unversioned(state.chosen)) {
                self.failures.push(Failure::Clash {
                    name,
                    first: state.chosen.map(|chosen| chosen.package),
                    second: provider.map(|provider| provider.package),
                });
            }
            return;
        }
        self.dequeue(name);
        let state = &mut self.names[name];
        state.locked = true;
        state.dirty = false;
        state.chosen = provider;
        let by = provider.map(|provider| provider.package);
        for other in &universe.names[name].providers {
            if Some(other.package) != by && !(other.version.is_none() && unversioned(provider)) {
                self.exclude(other.package, Exclusion::Displaced { name, by });
            }
        }
        for needed in &universe.names[name].depends_on {
            let state = &mut self.names[*needed];
            state.open_dependants = state.open_dependants.saturating_sub(1);
            if state.open_dependants == 0 {
                self.enqueue(*needed);
            }
        }
        self.watch_dependants(name);
        match by {
            Some(id) => {
                for (provided, _) in universe.packages[id].provided() {
                    self.watch_triggers(provided);
                }
            }
            None => self.watch_triggers(name),
        }
    }
}
