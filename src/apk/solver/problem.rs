//! What can be in the way of a world, and how it is told.

use std::fmt;

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
        /// It is called otherwise, and only provides what must not be there.
        is_provider: bool,
    },
    /// Some choice on the way needed this name, and by then nothing could be chosen for it. Nothing
    /// that is finally needed lacks it, but apk does not go back.
    Undecided {
        /// The name.
        name: String,
        /// Names of packages that provide it.
        providers: Vec<String>,
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
            Self::UnknownTag { dependency, known } => {
                write!(f, "`{dependency}`: no repository has that tag; ")?;
                match known.as_slice() {
                    [] => f.write_str("none has one at all, so leave it out, or give the tag to a repository"),
                    known => write!(f, "did you mean {}?", quoted(known)),
                }
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
            Self::Unwelcome { dependency, by, present, is_provider } => {
                let forbidden = dependency.trim_start_matches('!');
                let provider = if *is_provider { ", which provides it," } else { "" };
                write!(f, "{by} forbids `{forbidden}`, but {present}{provider} is needed")
            }
            Self::Undecided { name, providers } => write!(
                f,
                "nothing could be chosen for `{name}` when it was needed; add {} to the world, or what rules them out",
                quoted(providers)
            ),
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
