//! The guard against boot loops: a machine that is given a bundle again and again and never comes up with it is given its
//! last good one instead (fleet.md, 3.11).

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::model::manifest::BundleId;

/// How many scripts of one bundle a machine is given without a good check-in, when nothing else is said.
pub const DEFAULT_ATTEMPTS: u32 = 3;

/// Of how many bundles attempts are counted; those that were tried longest ago are forgotten.
const MAX_BUNDLES: usize = 4;

/// How often a machine was given the script of each bundle since it last came up with that one; of most machines that is
/// one bundle, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempts(SmallVec<[(BundleId, u32); 1]>);

impl Attempts {
    /// The machine is given the script of `bundle`.
    pub fn begin(&mut self, bundle: BundleId) {
        // As nearly always.
        if let Some((_, count)) = self.0.last_mut().filter(|(tried, _)| *tried == bundle) {
            *count = count.saturating_add(1);
            return;
        }
        let count = self.count(bundle);
        self.came_up(bundle);
        self.0.push((bundle, count.saturating_add(1)));
        if self.0.len() > MAX_BUNDLES {
            self.0.remove(0);
        }
    }

    /// The machine came up with `bundle`, and well.
    pub fn came_up(&mut self, bundle: BundleId) {
        self.0.retain(|(tried, _)| *tried != bundle);
    }

    /// How often the machine was given the script of `bundle` and did not come up with it.
    #[must_use]
    pub fn count(&self, bundle: BundleId) -> u32 {
        self.0.iter().find(|(tried, _)| *tried == bundle).map_or(0, |(_, count)| *count)
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::Digest;

    #[test]
    fn a_bundle_that_never_comes_up_is_tried_so_often_and_no_more() {
        let (new, old) = (Digest::of(b"new"), Digest::of(b"old"));
        let mut attempts = Attempts::default();
        for count in 0..3 {
            assert_eq!(attempts.count(new), count);
            attempts.begin(new);
        }
        attempts.begin(old);
        attempts.came_up(old);
        assert_eq!(attempts.count(new), 3, "the old one coming up does not make the new one good");
        attempts.came_up(new);
        assert!(attempts.is_empty());
        for number in 0..9_u8 {
            attempts.begin(Digest::of(&[number]));
        }
        assert_eq!(attempts.0.len(), MAX_BUNDLES);
    }
}
