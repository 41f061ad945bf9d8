//! Deciding names, one by one, as apk does.
//!
//! Each round first *reconsiders* every name whose situation changed: providers that can no longer be installed drop out,
//! what all remaining providers need becomes needed itself, and install_if is evaluated. Then one of the names that wait
//! is given its best provider, which fixes all names that package provides.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeSet, VecDeque},
};

use super::{
    Repositories,
    state::{Decisions, Exclusion, Failure, InstallIf, NameState, PackageState, Rank, Turn, Wish},
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
        state.names[wish.condition.name].in_world = true;
    }
    for wish in world {
        state.constrain(wish.condition, Origin::World(wish.repositories));
    }
    loop {
        while let Some(name) = state.dirty.pop_front() {
            if std::mem::take(&mut state.names[name].dirty) {
                state.reconsider(name);
            }
        }
        match state.waiting.pop_first() {
            Some((_, name)) => state.select(name),
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
    waiting: BTreeSet<(Turn, NameId)>,
    /// How many names have begun to wait.
    arrivals: u32,
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
            // What installs nothing needs no repository, and so no tag.
            state.tag_ok = package.repositories.meets(untagged) || package.index.installed_size() == 0;
            state.tag_preferred = state.tag_ok;
            if package.install_if.is_empty() {
                state.install_if = InstallIf::Failed;
            }
            let for_arch = package.index.arch() == arch || package.index.arch() == "noarch";
            if !package.reachable || !for_arch || package.index.unusable().is_some() {
                state.excluded = Some(Exclusion::Unusable);
            }
        }
        Self {
            universe,
            names: Table::like(&universe.names, NameState::default()),
            packages,
            failures: Vec::new(),
            dirty: VecDeque::new(),
            waiting: BTreeSet::new(),
            arrivals: 0,
        }
    }

    /// One more thing needs the name.
    pub(super) fn require(&mut self, name: NameId) {
        self.names[name].requirers += 1;
        if self.names[name].requirers == 1 {
            self.enqueue(name);
            self.watch_triggers(name);
            self.mark_dirty(name);
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
            let holds = condition.holds(Some(*provider), &universe.packages);
            self.packages[id].conflicts += u32::from(!holds);
            if self.packages[id].selectable() && self.packages[id].conflicts > 0 {
                let by = match origin {
                    Origin::World(_) => None,
                    Origin::Package(package) => Some(package),
                };
                self.exclude(id, Exclusion::Unwanted { condition, by });
            }
            if holds {
                self.inherit_tags(id, origin);
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

    /// Takes a package out of all further choices. The first reason is kept.
    pub(super) fn exclude(&mut self, id: PackageId, why: Exclusion<'a>) {
        self.packages[id].excluded.get_or_insert(why);
        let universe = self.universe;
        for (name, _) in universe.packages[id].provided() {
            self.watch_dependants(name);
        }
        for (name, _) in universe.packages[id].provided() {
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

    /// Lets a name wait to be decided, or not, as its state asks for.
    pub(super) fn enqueue(&mut self, name: NameId) {
        let state = &self.names[name];
        if state.locked {
            return;
        }
        let before = state.turn;
        let is_needed = state.requirers > 0;
        let turn = (is_needed || state.triggered).then(|| {
            let is_ready = state.dependants_decided && is_needed && !state.has_options;
            let universe = self.universe;
            let rank = || Rank {
                is_in_world: Reverse(state.in_world),
                remoteness: universe.remoteness(name),
                chain: Reverse(universe.names[name].chain),
                is_needed: Reverse(is_needed),
            };
            Turn {
                is_ready: Reverse(is_ready),
                rank: if is_ready { Rank::default() } else { rank() },
                since: before.map_or(Reverse(self.arrivals), |turn| turn.since),
            }
        });
        if turn == before {
            return;
        }
        self.dequeue(name);
        self.names[name].turn = turn;
        if let Some(turn) = turn {
            self.arrivals += u32::from(before.is_none());
            self.waiting.insert((turn, name));
        }
    }

    fn dequeue(&mut self, name: NameId) {
        if let Some(turn) = self.names[name].turn.take() {
            self.waiting.remove(&(turn, name));
        }
    }

    /// Gives a name its best provider.
    fn select(&mut self, name: NameId) {
        let universe = self.universe;
        self.names[name].turn = None;
        let required = self.names[name].requirers > 0;
        let mut best: Option<Provider<'a>> = None;
        for provider in &universe.names[name].providers {
            let state = &self.packages[provider.package];
            let eligible = required || (state.install_if == InstallIf::Triggered && state.tag_ok);
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
