//! Looking at a name again after something changed: what can still provide it, and what follows
//! from that whichever provider is taken in the end.

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
