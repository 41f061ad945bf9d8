//! Why a world can not be installed, in words.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    fmt,
};

use super::{
    Repository,
    select::{Decisions, Exclusion, Wish},
    universe::{Condition, PackageId, Universe},
};
use crate::apk::{dependency::Dependency, index::Unusable};

/// How many problems are told; the first ones are the roots of the others.
const PROBLEM_LIMIT: usize = 20;

/// How many similar names, providers or versions are listed with one problem.
const LIST_LIMIT: usize = 8;

/// A world that apk would not install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsolvable {
    /// What is in the way; at least one problem.
    pub problems: Vec<Problem>,
}

/// One thing that is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Positions of repositories are kept in one word.
    TooManyRepositories(usize),
    /// No repository has the tag of a dependency.
    UnknownTag {
        /// The dependency.
        dependency: String,
        /// The tags that repositories have.
        known: Vec<String>,
    },
    /// No package is called so or provides it.
    Missing {
        /// The dependency.
        dependency: String,
        /// Who has it.
        by: Wanted,
        /// What may have been meant.
        similar: Vec<String>,
    },
    /// Several packages provide the name, and none is preferred.
    Ambiguous {
        /// The dependency.
        dependency: String,
        /// Who has it.
        by: Wanted,
        /// Names of packages, one of which has to be named.
        providers: Vec<String>,
    },
    /// There are packages for it, but none can be installed.
    Unmet {
        /// The dependency.
        dependency: String,
        /// Who has it.
        by: Wanted,
        /// What is offered, and why it is of no use.
        offers: Vec<Offer>,
    },
    /// A package is there that must not be.
    Unwelcome {
        /// The dependency, which starts with `!`.
        dependency: String,
        /// Who has it.
        by: Wanted,
        /// The package, as `name-version`.
        present: String,
    },
    /// Two packages that provide the same name are both needed.
    Clash {
        /// The name.
        name: String,
        /// Both packages, as `name-version`.
        packages: Vec<String>,
    },
}

/// Who has a dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The world.
    World,
    /// A package, as `name-version`.
    Package(String),
}

/// A package that does not help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// `name-version`.
    pub package: String,
    /// Why it is of no use, as the end of a sentence about it.
    pub obstacle: String,
}

impl From<Problem> for Unsolvable {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl std::error::Error for Unsolvable {}

impl fmt::Display for Unsolvable {
    /// One problem per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the packages cannot be installed together")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => f.write_str("the world"),
            Self::Package(package) => f.write_str(package),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyRepositories(count) => {
                write!(f, "there are {count} repositories; at most {} can be used", super::REPOSITORY_LIMIT)
            }
            Self::UnknownTag { dependency, known } if known.is_empty() => {
                write!(f, "`{dependency}`: no repository has a tag")
            }
            Self::UnknownTag { dependency, known } => {
                write!(f, "`{dependency}`: no repository has that tag; there is {}", known.join(", "))
            }
            Self::Missing { dependency, by, similar } => {
                write!(f, "{by} needs `{dependency}`, but no repository offers it")?;
                match similar.as_slice() {
                    [] => Ok(()),
                    similar => write!(f, ": did you mean {}?", quoted(similar)),
                }
            }
            Self::Ambiguous { dependency, by, providers } => write!(
                f,
                "{by} needs `{dependency}`, which is provided by {} alike; add one of them to the world",
                quoted(providers)
            ),
            Self::Unmet { dependency, by, offers } => {
                write!(f, "{by} needs `{dependency}`, but ")?;
                for (place, Offer { package, obstacle }) in offers.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", and " };
                    write!(f, "{comma}{package} {obstacle}")?;
                }
                Ok(())
            }
            Self::Unwelcome { dependency, by, present } => {
                write!(f, "{by} forbids `{}`, but {present} is needed", dependency.trim_start_matches('!'))
            }
            Self::Clash { name, packages } => {
                write!(f, "{} provide `{name}`, and only one of them can be installed", packages.join(" and "))
            }
        }
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
        names => names.concat(),
    }
}

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
    while let Some((by, condition)) = search.pending.pop_front() {
        if search.problems.len() == PROBLEM_LIMIT {
            break;
        }
        search.visit(by, condition);
    }
    let mut problems = search.problems;
    for clash in &decisions.clashes {
        let packages = [clash.first, clash.second].into_iter().flatten();
        let problem = Problem::Clash {
            name: universe.names[clash.name].text.to_owned(),
            packages: packages.map(|id| universe.packages[id].index.to_string()).collect(),
        };
        if problems.len() < PROBLEM_LIMIT && !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    Unsolvable { problems }
}

struct Search<'u, 'a> {
    universe: &'u Universe<'a>,
    decisions: &'u Decisions<'a>,
    seen: HashSet<PackageId>,
    pending: VecDeque<(Option<PackageId>, Condition<'a>)>,
    problems: Vec<Problem>,
}

impl<'a> Search<'_, 'a> {
    fn visit(&mut self, by: Option<PackageId>, condition: Condition<'a>) {
        let chosen = self.decisions.names[condition.name].chosen;
        let holds = condition.holds(chosen, &self.universe.packages);
        match chosen {
            Some(provider) if condition.conflict && !holds => {
                let present = self.universe.packages[provider.package].index.to_string();
                self.problems.push(Problem::Unwelcome {
                    dependency: self.universe.text(&condition).to_string(),
                    by: self.wanted(by),
                    present,
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
            self.problems.push(Problem::Missing { dependency, by, similar: similar(universe, name.text) });
            return;
        }
        let fits = |it: &&_| condition.holds(Some(**it), &universe.packages);
        let usable = |it: &&super::universe::Provider<'_>| self.usable(it.package);
        if name.providers.iter().filter(fits).any(|it| usable(&it)) {
            let fitting = name.providers.iter().filter(fits).filter(usable);
            let providers = fitting.map(|it| universe.packages[it.package].index.name().to_owned());
            let providers: BTreeSet<_> = providers.collect();
            self.problems.push(Problem::Ambiguous {
                dependency,
                by,
                providers: providers.into_iter().take(LIST_LIMIT).collect(),
            });
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
            Some(Exclusion::Unwanted { condition, by }) => {
                format!("is ruled out by `{}` of {}", universe.text(&condition), label(by))
            }
            None => "is only in a repository whose tag the world does not give for it".to_owned(),
        }
    }
}

/// Names that look like `wanted`, the closest first; or commands and libraries called so.
fn similar(universe: &Universe<'_>, wanted: &str) -> Vec<String> {
    let limit = if wanted.len() < 5 { 1 } else { 2 };
    let mut found: BTreeSet<(usize, &str)> = BTreeSet::new();
    for name in universe.names.iter().filter(|name| !name.providers.is_empty()) {
        let prefixed = name.text.split_once(':').is_some_and(|(_, rest)| rest == wanted);
        if prefixed {
            found.insert((0, name.text));
        } else if let Some(distance) = distance_within(wanted, name.text, limit) {
            found.insert((distance, name.text));
        }
    }
    let names = found.into_iter().map(|(_, name)| name.to_owned());
    names.take(LIST_LIMIT).collect()
}

/// How many letters have to be put in, left out, changed or swapped to make one name the other;
/// nothing where it is more than `limit`.
fn distance_within(a: &str, b: &str, limit: usize) -> Option<usize> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX - 1);
            let changed = at(&last, j) + usize::from(x != y);
            let mut best = changed.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        if row.iter().all(|distance| *distance > limit) {
            return None;
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|distance| *distance <= limit)
}
