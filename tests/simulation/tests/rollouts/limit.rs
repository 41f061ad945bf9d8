//! The budgets of a rollout, counted apart from the code that is tried.

use std::collections::BTreeMap;

use bivouac_simulation::model::rollout::{Budget, Census};

/// A budget over a fleet whose labels stay as they are.
pub struct Limit {
    budget: Budget,
    /// The group of each machine, in the order of the census.
    group_of: Vec<usize>,
    sizes: Vec<usize>,
}

/// What a machine is to a budget at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is in order, or off.
    Up,
    /// It is unavailable.
    Down,
    /// It was in order, and may be unavailable from now on.
    Taken,
}

impl Limit {
    pub fn of(budget: &Budget, census: &Census) -> Self {
        let (mut numbers, mut group_of, mut sizes) = (BTreeMap::new(), Vec::new(), Vec::new());
        for view in census.values() {
            let group = budget.by.as_ref().and_then(|key| view.labels.get(key)).map(|value| value.as_str());
            let next = numbers.len();
            let number = *numbers.entry(group).or_insert(next);
            if number == next {
                sizes.push(0);
            }
            sizes[number] += 1;
            group_of.push(number);
        }
        Self { budget: budget.clone(), group_of, sizes }
    }

    /// A group may have more machines down than the budget allows, if they went down by themselves; but then none is taken.
    pub fn check(&self, places: &[Place]) {
        let mut groups = vec![(0, false); self.sizes.len()];
        for (group, place) in self.group_of.iter().zip(places) {
            let (down, is_taken) = &mut groups[*group];
            *down += usize::from(*place != Place::Up);
            *is_taken |= *place == Place::Taken;
        }
        for ((down, is_taken), whole) in groups.into_iter().zip(&self.sizes) {
            let most = self.budget.most_of(*whole);
            assert!(!is_taken || down <= most, "{}: {down} of {whole} are down, and {most} may be", self.budget);
        }
    }
}
