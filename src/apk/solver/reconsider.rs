//! Looking at a name again after something changed: what can still provide it, and what follows from that whichever
//! provider is taken in the end.

use super::{
    select::{Origin, State},
    state::{Exclusion, InstallIf},
    universe::{Condition, NameId, Package, PackageId, Provider},
};

impl<'a> State<'_, 'a> {
    /// Looks again at what is left of a name's providers.
    pub(super) fn reconsider(&mut self, name: NameId) {
        let universe = self.universe;
        let check_depends = std::mem::take(&mut self.names[name].check_depends);
        let check_install_if = std::mem::take(&mut self.names[name].check_install_if);
        let required = self.names[name].requirers > 0;
        let (mut triggered, mut hopeless) = (false, true);
        let (mut options, mut any_tag_not_ok, mut first) = (0, false, None);
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
            if required {
                first.get_or_insert(id);
                self.merge(package, *provider, options);
                self.packages[id].merged = true;
                any_tag_not_ok |= !self.packages[id].tag_ok;
                options += 1;
            }
        }
        let state = &mut self.names[name];
        state.triggered = triggered;
        state.hopeless_install_if = hopeless;
        state.has_options = options > 1 || any_tag_not_ok;
        self.enqueue(name);
        if let Some(first) = first {
            self.propagate(name, first, options);
        }
        let mut dependants = universe.names[name].dependants.iter();
        self.names[name].dependants_decided = dependants.all(|it| self.names[*it].locked);
        self.enqueue(name);
    }

    /// Notes what a provider, the `number`-th that is left, needs and provides.
    fn merge(&mut self, package: &Package<'a>, provider: Provider<'a>, number: u32) {
        for condition in package.depends.iter().filter(|it| !it.conflict) {
            self.names[condition.name].shared_depends.add(number);
        }
        let own = std::iter::once((package.name, provider.version));
        for (provided, version) in own.chain(package.provides.iter().copied()) {
            let state = &mut self.names[provided];
            if state.shared_provides.add(number) {
                state.shared_virtual |= version.is_none();
            }
        }
    }

    /// What all remaining providers of a name need becomes needed, and what they all provide excludes those who provide
    /// that without the name itself.
    fn propagate(&mut self, name: NameId, first: PackageId, options: u32) {
        let universe = self.universe;
        for provider in &universe.names[name].providers {
            let state = &mut self.packages[provider.package];
            state.in_last_merge = state.merged;
        }
        // What all have, the first one has.
        let package = &universe.packages[first];
        for condition in &package.depends {
            let needed = &mut self.names[condition.name];
            if !needed.shared_depends.complete(options) {
                continue;
            }
            if options == 1 {
                self.constrain(*condition, Origin::Package(first));
            } else if needed.requirers == 0 {
                self.require(condition.name);
                for provider in &universe.names[condition.name].providers {
                    self.inherit_tags(provider.package, Origin::Package(first));
                }
            }
        }
        for (provided, _) in package.provided() {
            if self.names[provided].shared_provides.complete(options) {
                self.exclude_others(provided, name);
            }
        }
        for (provided, _) in package.provided() {
            self.names[provided].shared_virtual = false;
        }
    }

    /// Excludes what provides a name without another one that has to be provided with it.
    fn exclude_others(&mut self, provided: NameId, needed: NameId) {
        if provided == needed {
            return;
        }
        let universe = self.universe;
        let spares_virtual = self.names[provided].shared_virtual;
        let is_spared = |version: Option<&str>| spares_virtual && version.is_none();
        for provider in &universe.names[provided].providers {
            let package = &universe.packages[provider.package];
            let fits = package.name == needed
                || is_spared(provider.version)
                || package.provides.iter().any(|(name, version)| *name == needed || is_spared(*version));
            if !fits && self.packages[provider.package].selectable() {
                self.exclude(provider.package, Exclusion::Lacks { provided, needed });
            }
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
}
