//! How old is too old: when an index is asked for again, and which of two is the older one. Pure: time is an argument.

use std::time::{Duration, SystemTime};

/// How soon an upstream that failed is asked again: clients must not wait for it each time.
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// What tells which state of a repository an index is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Edition {
    /// What the repository says of itself: `git describe` of Alpine's package tree, such as `v3.24.1-643-gec825d20535`.
    pub(super) description: String,
    /// When the newest of its packages was built, in seconds since 1970.
    pub(super) newest: Option<u64>,
}

/// Whether an index has to be asked for again: it was last said to be the newest at `checked`, and upstream failed last
/// at `failed`.
pub(super) fn is_due(checked: SystemTime, failed: Option<SystemTime>, now: SystemTime, max_age: Duration) -> bool {
    // A clock that was set back makes nothing younger.
    let has_passed = |since: SystemTime, wait| now.duration_since(since).is_ok_and(|age| age >= wait) || since > now;
    has_passed(checked, max_age) && failed.is_none_or(|failed| has_passed(failed, RETRY))
}

/// Whether an index shows an older state of its repository than another, as far as both tell. An old index is as well
/// signed as a new one, and whoever replays it withholds what was repaired since.
pub(super) fn is_older(found: &Edition, held: &Edition) -> bool {
    match (described(&found.description), described(&held.description)) {
        (Some(found), Some(held)) if found != held => found < held,
        _ => matches!((found.newest, held.newest), (Some(found), Some(held)) if found < held),
    }
}

/// The numbers of the tag in a description, and how many commits came after it. Descriptions of one branch are ordered
/// by them.
fn described(description: &str) -> Option<(Vec<u64>, u64)> {
    let mut parts = description.strip_prefix('v')?.split('-');
    let tag = parts.next()?.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let commits = match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => 0,
        (Some(commits), Some(_), None) => commits.parse().ok()?,
        _ => return None,
    };
    Some((tag, commits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_due_when_it_is_old_and_upstream_has_not_just_failed() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let due = |failed: Option<u64>, now| is_due(at(1000), failed.map(at), at(now), Duration::from_secs(600));
        assert!(!due(None, 1599) && due(None, 1600));
        assert!(!due(Some(1991), 2000) && due(Some(1990), 2000));
        // The clock was set back after the index was checked, or after upstream failed.
        assert!(due(None, 999) && due(Some(3000), 2000));
    }

    fn edition(description: &str, newest: Option<u64>) -> Edition {
        Edition { description: description.to_owned(), newest }
    }

    #[test]
    fn what_came_before_is_older_as_far_as_both_tell() {
        for (older, newer) in [
            ("v3.19.1-642-gffff", "v3.19.1-643-gaaaa"),
            ("v3.19.1-643-gffff", "v3.19.2"),
            ("v3.19.9-1-gffff", "v3.19.10-0-gaaaa"),
            ("v20240807-9-gffff", "v20250108-1-gaaaa"),
        ] {
            assert!(is_older(&edition(older, None), &edition(newer, None)), "{older} {newer}");
            // What the repository says counts more than one package that was withdrawn.
            assert!(!is_older(&edition(newer, Some(1)), &edition(older, Some(2))), "{newer} {older}");
        }
        for text in ["", "test", "v3.20_alpha20240807-1-gab", "v3.19.1-x-gab", "v3.19.1-1"] {
            assert!(is_older(&edition(text, Some(1)), &edition(text, Some(2))), "{text}");
            assert!(!is_older(&edition(text, Some(2)), &edition(text, Some(2))), "{text}");
            assert!(!is_older(&edition(text, None), &edition(text, Some(2))), "{text}");
        }
    }
}
