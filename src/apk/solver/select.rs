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
    universe::{Condition, NameId, Package, PackageId, Provider, Table, Universe},
};
use crate::apk::{dependency::Dependency, version};

/// A dependency of the world.
pub(super) struct Wish<'a> {
    pub(super) condition: Condition<'a>,
    /// The repositories it prefers: those of its tag, or those without a tag.
    pub(super) repositories: Repositories,
    pub(super) dependency: &'a Dependency,
}

/// What was decided.
pub(super) struct Decisions<'a> {
    pub(super) names: Table<NameState<'a>>,
    pub(super) packages: Table<PackageState<'a>>,
    /// Whether a needed name got no provider, an unusable one, or two.
    pub(super) failed: bool,
    /// Names that two packages provide which can not stand side by side.
    pub(super) clashes: Vec<Clash>,
}

/// Two packages of which only one can be installed, because both provide a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clash {
    pub(super) name: NameId,
    pub(super) first: Option<PackageId>,
    pub(super) second: Option<PackageId>,
}

/// What is known of a name.
#[derive(Clone, Default)]
pub(super) struct NameState<'a> {
    /// Decided; nothing about the name changes any more.
    pub(super) locked: bool,
    /// What provides it, once decided.
    pub(super) chosen: Option<Provider<'a>>,
    /// How many times something was found to need it.
    pub(super) requirers: u32,
    check_depends: bool,
    check_install_if: bool,
    triggered: bool,
    hopeless_install_if: bool,
    /// How many of the names that depend on this one are not decided yet.
    open_dependants: usize,
    selectable: bool,
    has_options: bool,
    dirty: bool,
    queue: Option<Queue>,
    shared_depends: Merge,
    shared_provides: Merge,
    provided_unversioned: bool,
}

/// Which queue a name waits in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Queue {
    Now,
    Selectable,
    Unresolved,
}

/// Counts in how many providers of the name under consideration something occurs; complete when it
/// occurred in all of them.
#[derive(Clone, Copy, Default)]
struct Merge(u32);

/// What is known of a package.
#[derive(Clone)]
pub(super) struct PackageState<'a> {
    /// Why it can not be installed any more.
    pub(super) excluded: Option<Exclusion<'a>>,
    install_if: InstallIf,
    conflicts: u32,
    /// The repositories it may come from.
    pub(super) allowed: Repositories,
    /// One of the repositories that have it may be used.
    pub(super) tag_ok: bool,
    tag_preferred: bool,
    merged: bool,
    in_last_merge: bool,
}

/// What became of a package's install_if.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InstallIf {
    Open,
    Triggered,
    Failed,
}

/// Why a package can not be installed.
#[derive(Clone, Copy)]
pub(super) enum Exclusion<'a> {
    /// Its index record says so, or it is for another architecture.
    Unusable,
    /// One of its dependencies can not be met.
    Needs(Condition<'a>),
    /// A name it provides was decided otherwise.
    Displaced { name: NameId, by: Option<PackageId> },
    /// It is not what a dependency asks for; of a package or of the world.
    Unwanted { condition: Condition<'a>, by: Option<PackageId> },
}

impl PackageState<'_> {
    fn selectable(&self) -> bool {
        self.excluded.is_none()
    }
}

impl Merge {
    /// Counts an occurrence in the provider with this number, once.
    fn add(&mut self, number: u32) -> bool {
        let next = self.0 == number;
        if next {
            self.0 += 1;
        }
        next
    }

    /// Whether it occurred in all; starts anew.
    fn complete(&mut self, count: u32) -> bool {
        std::mem::take(&mut self.0) == count
    }
}

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
    Decisions { names: state.names, packages: state.packages, failed: state.failed, clashes: state.clashes }
}

/// Who has a dependency.
#[derive(Clone, Copy)]
enum Origin {
    /// The world, which prefers these repositories for it.
    World(Repositories),
    Package(PackageId),
}

struct State<'u, 'a> {
    universe: &'u Universe<'a>,
    names: Table<NameState<'a>>,
    packages: Table<PackageState<'a>>,
    failed: bool,
    clashes: Vec<Clash>,
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
            failed: false,
            clashes: Vec::new(),
            dirty: VecDeque::new(),
            now: VecDeque::new(),
            selectable: BTreeSet::new(),
            unresolved: BTreeSet::new(),
        }
    }

    /// Looks again at what is left of a name's providers.
    fn reconsider(&mut self, name: NameId) {
        let universe = self.universe;
        let check_depends = std::mem::take(&mut self.names[name].check_depends);
        let check_install_if = std::mem::take(&mut self.names[name].check_install_if);
        let required = self.names[name].requirers > 0;
        let (mut triggered, mut hopeless, mut selectable) = (false, true, false);
        let (mut options, mut any_tag_not_ok) = (0, false);
        for provider in &universe.names[name].providers {
            let id = provider.package;
            let package = &universe.packages[id];
            self.packages[id].merged = false;
            if !self.packages[id].selectable() {
                continue;
            }
            if check_depends && let Some(lost) = package.depends.iter().find(|it| !self.satisfiable(it)) {
                self.exclude(id, Exclusion::Needs(*lost));
                continue;
            }
            if check_install_if {
                self.check_install_if(id);
            }
            triggered |= self.packages[id].install_if == InstallIf::Triggered;
            hopeless &= self.packages[id].install_if == InstallIf::Failed;
            selectable |= self.may_be_chosen(*provider);
            if required {
                self.merge(package, *provider, options);
                self.packages[id].merged = true;
                any_tag_not_ok |= !self.packages[id].tag_ok;
                options += 1;
            }
        }
        let state = &mut self.names[name];
        state.triggered = triggered;
        state.hopeless_install_if = hopeless;
        state.selectable = selectable;
        state.has_options = options > 1 || any_tag_not_ok;
        self.enqueue(name);
        if options > 0 {
            self.propagate(name, options);
        }
    }

    /// Notes what a provider, the `number`-th that is left, needs and provides.
    fn merge(&mut self, package: &Package<'a>, provider: Provider<'a>, number: u32) {
        for condition in package.depends.iter().filter(|it| !it.conflict) {
            self.names[condition.name].shared_depends.add(number);
        }
        let own = std::iter::once((package.name, provider.version));
        let may_be_chosen = self.may_be_chosen(provider);
        for (provided, version) in own.chain(package.provides.iter().copied()) {
            let state = &mut self.names[provided];
            if state.shared_provides.add(number) {
                state.provided_unversioned |= version.is_none() || !may_be_chosen;
            }
        }
    }

    /// What all remaining providers of a name need or provide becomes needed.
    fn propagate(&mut self, name: NameId, options: u32) {
        let universe = self.universe;
        for provider in &universe.names[name].providers {
            let id = provider.package;
            let package = &universe.packages[id];
            self.packages[id].in_last_merge = self.packages[id].merged;
            if !self.packages[id].merged {
                continue;
            }
            for condition in &package.depends {
                let needed = &mut self.names[condition.name];
                if !needed.shared_depends.complete(options) {
                    continue;
                }
                if options == 1 {
                    self.constrain(*condition, Origin::Package(id));
                } else if needed.requirers == 0 {
                    self.require(condition.name);
                }
            }
            for (provided, _) in package.provided() {
                let state = &mut self.names[provided];
                let unversioned = std::mem::take(&mut state.provided_unversioned);
                if state.shared_provides.complete(options) && !unversioned && state.requirers == 0 {
                    self.require(provided);
                }
            }
        }
    }

    /// One more thing needs the name.
    fn require(&mut self, name: NameId) {
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
    fn constrain(&mut self, condition: Condition<'a>, origin: Origin) {
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

    fn inherit_tags(&mut self, id: PackageId, origin: Origin) {
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

    /// Whether a dependency can still be met.
    fn satisfiable(&self, condition: &Condition<'a>) -> bool {
        let packages = &self.universe.packages;
        let state = &self.names[condition.name];
        if state.locked {
            return condition.holds(state.chosen, packages);
        }
        if state.requirers == 0 && condition.holds(None, packages) {
            return true;
        }
        self.universe.names[condition.name]
            .providers
            .iter()
            .any(|provider| self.packages[provider.package].selectable() && condition.holds(Some(*provider), packages))
    }

    /// Evaluates the install_if of a package: it triggers once all its names are decided and fit.
    fn check_install_if(&mut self, id: PackageId) {
        let universe = self.universe;
        let conditions = &universe.packages[id].install_if;
        if self.packages[id].install_if == InstallIf::Open {
            let mut verdict = InstallIf::Triggered;
            for condition in conditions {
                let state = &self.names[condition.name];
                if !state.locked {
                    verdict = InstallIf::Open;
                    break;
                }
                if !condition.holds(state.chosen, &universe.packages) {
                    verdict = InstallIf::Failed;
                    break;
                }
            }
            self.packages[id].install_if = verdict;
        }
        if self.packages[id].install_if == InstallIf::Triggered {
            for condition in conditions {
                if let Some(provider) = self.names[condition.name].chosen {
                    self.inherit_tags(id, Origin::Package(provider.package));
                }
            }
        }
    }

    /// Whether a provider may be chosen without being named: something that only says it provides
    /// a name, without a version, needs a priority or to be required itself.
    fn may_be_chosen(&self, provider: Provider<'a>) -> bool {
        let package = &self.universe.packages[provider.package];
        provider.version.is_some() || package.index.provider_priority() != 0 || self.names[package.name].requirers > 0
    }

    /// Takes a package out of all further choices.
    fn exclude(&mut self, id: PackageId, why: Exclusion<'a>) {
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
    fn enqueue(&mut self, name: NameId) {
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
            self.failed |= required;
            self.assign(name, None);
            return;
        };
        let id = best.package;
        let package = &universe.packages[id];
        self.failed |= !self.packages[id].selectable() || !self.packages[id].tag_ok;
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

    /// Fixes what provides a name, and takes out all that can not stand beside it.
    fn assign(&mut self, name: NameId, provider: Option<Provider<'a>>) {
        let universe = self.universe;
        let unversioned = |provider: Option<Provider<'a>>| provider.is_none_or(|it| it.version.is_none());
        let state = &self.names[name];
        if state.locked {
            if !(unversioned(provider) && unversioned(state.chosen)) {
                self.failed = true;
                self.clashes.push(Clash {
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
