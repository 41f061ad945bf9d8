//! What the solver knows while it decides.

use std::cmp::Reverse;

use super::{
    Repositories,
    universe::{Condition, NameId, PackageId, Provider, Table},
};
use crate::apk::dependency::Dependency;

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
    /// Where deciding went wrong; any of these makes apk refuse the world.
    pub(super) failures: Vec<Failure>,
}

/// A decision that went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// A needed name has no provider, or only one that cannot be installed.
    Undecided(NameId),
    /// Two packages of which only one can be installed, because both provide the name.
    Clash { name: NameId, first: Option<PackageId>, second: Option<PackageId> },
}

/// What is known of a name.
#[derive(Clone, Default)]
pub(super) struct NameState<'a> {
    /// Decided; nothing about the name changes any more.
    pub(super) locked: bool,
    /// The world speaks of it.
    pub(super) in_world: bool,
    /// What provides it, once decided.
    pub(super) chosen: Option<Provider<'a>>,
    /// How many times something was found to need it.
    pub(super) requirers: u32,
    /// Its providers may have lost a dependency.
    pub(super) check_depends: bool,
    /// An install_if of its providers may have come true.
    pub(super) check_install_if: bool,
    /// The install_if of one of its providers has come true.
    pub(super) triggered: bool,
    /// No install_if of its providers can come true any more.
    pub(super) hopeless_install_if: bool,
    /// All names that depend on this one were decided when it was last reconsidered.
    pub(super) dependants_decided: bool,
    /// There is a choice, or a provider from a repository that is not allowed.
    pub(super) has_options: bool,
    /// It waits to be reconsidered.
    pub(super) dirty: bool,
    /// Where it waits to be decided.
    pub(super) turn: Option<Turn>,
    /// How many providers of the name under consideration need it.
    pub(super) shared_depends: Merge,
    /// How many of them provide it.
    pub(super) shared_provides: Merge,
    /// One of them is a virtual provider.
    pub(super) shared_virtual: bool,
}

/// When a name that waits is decided; the least is the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// A name with one provider left, on which nothing undecided depends, goes before all others.
    pub(super) is_ready: Reverse<bool>,
    /// How it stands among those that are not ready; the same for all that are.
    pub(super) rank: Rank,
    /// When it began to wait: the last one to do so goes first among equals.
    pub(super) since: Reverse<u32>,
}

/// Which of the names that wait is the more urgent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Names in the world go first.
    pub(super) is_in_world: Reverse<bool>,
    /// Then those of packages before those that are only provided.
    pub(super) remoteness: u8,
    /// Then those with many dependencies in a row.
    pub(super) chain: Reverse<u32>,
    /// Then those that are needed before those that an install_if may bring in.
    pub(super) is_needed: Reverse<bool>,
}

/// Counts in how many providers of the name under consideration something occurs; complete when it
/// occurred in all of them.
#[derive(Clone, Copy, Default)]
pub(super) struct Merge(u32);

/// What is known of a package.
#[derive(Clone)]
pub(super) struct PackageState<'a> {
    /// Why it cannot be installed any more.
    pub(super) excluded: Option<Exclusion<'a>>,
    /// Whether its install_if has come true.
    pub(super) install_if: InstallIf,
    /// How many dependencies it does not fit.
    pub(super) conflicts: u32,
    /// The repositories it may come from.
    pub(super) allowed: Repositories,
    /// One of the repositories that have it may be used.
    pub(super) tag_ok: bool,
    /// A repository that the world prefers for it has it.
    pub(super) tag_preferred: bool,
    /// It was a candidate when its name was last reconsidered.
    pub(super) merged: bool,
    /// It was one when dependencies were last passed on.
    pub(super) in_last_merge: bool,
}

/// What became of a package's install_if.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum InstallIf {
    Open,
    Triggered,
    Failed,
}

/// Why a package cannot be installed.
#[derive(Clone, Copy)]
pub(super) enum Exclusion<'a> {
    /// Its index record says so, or it is for another architecture.
    Unusable,
    /// One of its dependencies cannot be met.
    Needs(Condition<'a>),
    /// A name it provides was decided otherwise.
    Displaced { name: NameId, by: Option<PackageId> },
    /// It is not what a dependency asks for; of a package or of the world.
    Unwanted { condition: Condition<'a>, by: Option<PackageId> },
    /// Everything that is left for a needed name provides this name too, and this package lacks that one.
    Lacks { provided: NameId, needed: NameId },
}

impl PackageState<'_> {
    pub(super) fn selectable(&self) -> bool {
        self.excluded.is_none()
    }
}

impl Merge {
    /// Counts an occurrence in the provider with this number, once.
    pub(super) fn add(&mut self, number: u32) -> bool {
        let next = self.0 == number;
        if next {
            self.0 += 1;
        }
        next
    }

    /// Whether it occurred in all; starts anew.
    pub(super) fn complete(&mut self, count: u32) -> bool {
        std::mem::take(&mut self.0) == count
    }
}
