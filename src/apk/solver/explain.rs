//! Why a world cannot be installed, in words.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::{
    Repository,
    problem::{Offer, Problem, Unsolvable, Wanted},
    similar::similar,
    state::{Decisions, Exclusion, Failure, Wish},
    universe::{Condition, PackageId, Provider, Universe},
};
use crate::apk::{dependency::Dependency, index::Unusable};

/// How many problems are told; the first ones are the roots of the others.
const PROBLEM_LIMIT: usize = 20;

/// How many similar names, providers or versions are listed with one problem.
pub(super) const LIST_LIMIT: usize = 8;

/// The dependencies of the world with a tag that no repository has; apk refuses to go on.
pub(super) fn unknown_tags(world: &[&Dependency], repositories: &[Repository<'_>]) -> Vec<Problem> {
    let known: BTreeSet<&str> = repositories.iter().filter_map(|it| it.tag).collect();
    let unknown = world.iter().filter(|dependency| dependency.tag.as_deref().is_some_and(|tag| !known.contains(tag)));
    unknown
        .map(|dependency| Problem::UnknownTag {
            dependency: dependency.to_string(),
            known: known.iter().map(|&tag| tag.to_owned()).collect(),
        })
        .collect()
}

/// Follows the decisions from the world on to what is not met.
pub(super) fn explain<'a>(universe: &Universe<'a>, world: &[Wish<'a>], decisions: &Decisions<'a>) -> Unsolvable {
    let mut search = Search {
        universe,
        decisions,
        seen: HashSet::new(),
        pending: world.iter().map(|wish| (None, wish.condition)).collect(),
        problems: Vec::new(),
    };
    search.run();
    if search.problems.is_empty() {
        // What came in by install_if is in no dependency of the world.
        for state in decisions.names.iter() {
            if let Some(provider) = state.chosen {
                search.enter(provider.package);
            }
        }
        search.run();
    }
    let mut problems = search.problems;
    let names_suffice = problems.is_empty();
    for failure in &decisions.failures {
        let problem = match *failure {
            Failure::Clash { name, first, second } => {
                let packages = [first, second].into_iter().flatten();
                Problem::Clash {
                    name: universe.names[name].text.to_owned(),
                    packages: packages.map(|id| universe.packages[id].index.to_string()).collect(),
                }
            }
            // Usually this was already told, from the side of those who need the name.
            Failure::Undecided(name) if names_suffice => Problem::Undecided {
                name: universe.names[name].text.to_owned(),
                providers: package_names(universe, &universe.names[name].providers),
            },
            Failure::Undecided(_) => continue,
        };
        if problems.len() < PROBLEM_LIMIT && !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    Unsolvable { problems }
}

/// The names of the packages behind some providers, each once, as many as are listed.
fn package_names<'p, 'a: 'p>(
    universe: &Universe<'a>,
    providers: impl IntoIterator<Item = &'p Provider<'a>>,
) -> Vec<String> {
    let names = providers.into_iter().map(|it| universe.packages[it.package].index.name());
    let names: BTreeSet<_> = names.collect();
    names.into_iter().take(LIST_LIMIT).map(str::to_owned).collect()
}

struct Search<'u, 'a> {
    universe: &'u Universe<'a>,
    decisions: &'u Decisions<'a>,
    seen: HashSet<PackageId>,
    pending: VecDeque<(Option<PackageId>, Condition<'a>)>,
    problems: Vec<Problem>,
}

impl<'a> Search<'_, 'a> {
    fn run(&mut self) {
        while self.problems.len() < PROBLEM_LIMIT
            && let Some((by, condition)) = self.pending.pop_front()
        {
            self.visit(by, condition);
        }
    }

    fn visit(&mut self, by: Option<PackageId>, condition: Condition<'a>) {
        let chosen = self.decisions.names[condition.name].chosen;
        let holds = condition.holds(chosen, &self.universe.packages);
        match chosen {
            Some(provider) if condition.conflict && !holds => {
                let present = &self.universe.packages[provider.package];
                self.problems.push(Problem::Unwelcome {
                    dependency: self.universe.text(&condition).to_string(),
                    by: self.wanted(by),
                    present: present.index.to_string(),
                    is_provider: present.name != condition.name,
                });
            }
            Some(provider) if holds && self.usable(provider.package) => self.enter(provider.package),
            _ if condition.conflict => {}
            _ => self.unmet(by, condition),
        }
    }

    fn usable(&self, id: PackageId) -> bool {
        let state = &self.decisions.packages[id];
        state.excluded.is_none() && state.tag_ok
    }

    fn enter(&mut self, id: PackageId) {
        if self.seen.insert(id) {
            let depends = &self.universe.packages[id].depends;
            self.pending.extend(depends.iter().map(|condition| (Some(id), *condition)));
        }
    }

    fn wanted(&self, by: Option<PackageId>) -> Wanted {
        by.map_or(Wanted::World, |id| Wanted::Package(self.universe.packages[id].index.to_string()))
    }

    fn unmet(&mut self, by: Option<PackageId>, condition: Condition<'a>) {
        let universe = self.universe;
        let name = &universe.names[condition.name];
        let dependency = universe.text(&condition).to_string();
        let by = self.wanted(by);
        if name.providers.is_empty() {
            self.problems.push(Problem::Missing { dependency, by, similar: similar(universe.catalogue, name.text) });
            return;
        }
        let fits = |it: &&_| condition.holds(Some(**it), &universe.packages);
        let usable = |it: &&Provider<'_>| self.usable(it.package);
        if name.providers.iter().filter(fits).any(|it| usable(&it)) {
            let fitting = name.providers.iter().filter(fits).filter(usable);
            self.problems.push(Problem::Ambiguous { dependency, by, providers: package_names(universe, fitting) });
            return;
        }
        let mut offers = Vec::new();
        for provider in name.providers.iter().take(LIST_LIMIT) {
            let package = &universe.packages[provider.package];
            let obstacle = if fits(&provider) {
                self.obstacle(provider.package)
            } else {
                match provider.version {
                    Some(_) if package.name == condition.name => "is another version".to_owned(),
                    Some(version) => format!("provides version {version}"),
                    None => "provides it without a version".to_owned(),
                }
            };
            offers.push(Offer { package: package.index.to_string(), obstacle });
        }
        self.problems.push(Problem::Unmet { dependency, by, offers });
    }

    /// Why a package that would fit is not used; what it lacks is looked into as well.
    fn obstacle(&mut self, id: PackageId) -> String {
        let universe = self.universe;
        let label = |by: Option<PackageId>| {
            by.map_or_else(|| "the world".to_owned(), |by| universe.packages[by].index.to_string())
        };
        match self.decisions.packages[id].excluded {
            Some(Exclusion::Unusable) => match universe.packages[id].index.unusable() {
                Some(reason @ (Unusable::Field(_) | Unusable::Dependency(_))) => {
                    format!("is not usable: {reason}")
                }
                None => format!("is built for {}", universe.packages[id].index.arch()),
            },
            Some(Exclusion::Needs(condition)) => {
                if self.seen.insert(id) {
                    self.pending.push_back((Some(id), condition));
                }
                format!("needs `{}`, which cannot be had", universe.text(&condition))
            }
            Some(Exclusion::Displaced { name, by: Some(by) }) => {
                format!("provides `{}`, as does {}", universe.names[name].text, label(Some(by)))
            }
            Some(Exclusion::Displaced { name, by: None }) => {
                format!("provides `{}`, for which nothing could be chosen", universe.names[name].text)
            }
            Some(Exclusion::Unwanted { condition, by }) if by == Some(id) => {
                format!("rules itself out with its dependency `{}`", universe.text(&condition))
            }
            Some(Exclusion::Unwanted { condition, by }) => {
                format!("is ruled out by `{}` of {}", universe.text(&condition), label(by))
            }
            Some(Exclusion::Lacks { provided, needed }) => {
                let (provided, needed) = (universe.names[provided].text, universe.names[needed].text);
                format!(
                    "provides `{provided}`, as does every package for `{needed}`, and only one of them can be installed"
                )
            }
            None => "is only in a repository whose tag the world does not give for it".to_owned(),
        }
    }
}
