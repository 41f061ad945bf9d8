//! What a world installs: apk's own algorithm, for an empty root.
//!
//! apk does not search. It decides one name after the other, takes the best provider at that
//! moment, and never goes back; so a world can be refused here, as there, although some choice of
//! packages would satisfy it. The rules are those of apk-tools 2.14.4, and are told where they are
//! applied: [`universe`] how names are discovered in the [`catalogue`], [`order`] in which order they are looked at,
//! [`reconsider`] what is passed on, [`select`] which name is next and which provider is the best, [`solution`] what of
//! that is installed. Three are those of apk-tools 3: packages of another architecture are never installed, provided names
//! keep malformed versions, and `~2.0` does not accept version 2.

mod catalogue;
mod explain;
mod order;
mod problem;
mod reconsider;
mod select;
mod similar;
mod solution;
mod state;
mod universe;

use std::ops;

use super::{dependency::Dependency, index::Index, world::in_world_order};

pub use problem::{Offer, Problem, Unsolvable, Wanted};
pub use solution::{Reason, Selected, Solution};

/// A repository, as a line of `/etc/apk/repositories` names it.
#[derive(Debug, Clone, Copy)]
pub struct Repository<'a> {
    /// What it has.
    pub index: &'a Index,
    /// `@tag`: nothing is taken from it unless a dependency of the world bears the tag.
    pub tag: Option<&'a str>,
}

/// The most repositories that a solution can use.
pub const REPOSITORY_LIMIT: usize = u64::BITS as usize;

/// Says what apk would install into an empty root.
///
/// Earlier repositories win where all else is equal. Packages of another architecture than `arch`
/// or `noarch` count as not installable.
///
/// # Errors
///
/// [`Unsolvable`] where apk would say that it is unable to select packages, or has no repository
/// for a tag; it tells what is in the way.
pub fn solve(world: &[Dependency], repositories: &[Repository<'_>], arch: &str) -> Result<Solution, Unsolvable> {
    if repositories.len() > REPOSITORY_LIMIT {
        return Err(Unsolvable::from(Problem::TooManyRepositories(repositories.len())));
    }
    let mut world: Vec<&Dependency> = world.iter().collect();
    world.sort_by(|a, b| in_world_order(a, b));
    let tags = explain::unknown_tags(&world, repositories);
    if !tags.is_empty() {
        return Err(Unsolvable { problems: tags });
    }
    let catalogue = catalogue::Catalogue::new(repositories);
    let mut universe = universe::Universe::new(&catalogue);
    let world: Vec<state::Wish<'_>> = world
        .into_iter()
        .map(|dependency| state::Wish {
            condition: universe.condition(dependency.borrowed()),
            repositories: Repositories::tagged(repositories, dependency.tag.as_deref()),
            dependency,
        })
        .collect();
    universe.discover(world.iter().map(|wish| wish.condition.name));
    let untagged = Repositories::tagged(repositories, None);
    let decisions = select::decide(&universe, &world, untagged, arch);
    match solution::collect(&universe, &world, &decisions) {
        Some(solution) => Ok(solution),
        None => Err(explain::explain(&universe, &world, &decisions)),
    }
}

/// A set of repositories, by position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Repositories(u64);

impl Repositories {
    /// Just this one. Positions are below [`REPOSITORY_LIMIT`].
    fn one(position: usize) -> Self {
        Self(u64::try_from(position).map_or(0, |position| 1 << (position % 64)))
    }

    /// Those with this tag, or without one.
    fn tagged(repositories: &[Repository<'_>], tag: Option<&str>) -> Self {
        let mut all = Self::default();
        for (position, repository) in repositories.iter().enumerate() {
            if repository.tag == tag {
                all |= Self::one(position);
            }
        }
        all
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The position of the first one; [`REPOSITORY_LIMIT`] if there is none.
    fn first(self) -> usize {
        self.0.trailing_zeros() as usize
    }
}

impl ops::BitOrAssign for Repositories {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

#[cfg(test)]
mod tests;
