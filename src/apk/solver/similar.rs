//! Near misses: what somebody may have meant by a name that nothing has.

use std::collections::BTreeSet;

use super::{catalogue::Catalogue, explain::LIST_LIMIT};

/// How many names that begin with the wanted one are listed; there may be hundreds.
const LONGER_LIMIT: usize = 3;

/// Names that look like `wanted`, the closest first; or commands and libraries called so, or the same name with other
/// marks in it. Where there are none, the
/// shortest names of packages that begin with it.
pub(super) fn similar(catalogue: &Catalogue<'_>, wanted: &str) -> Vec<String> {
    let limit = if wanted.len() < 5 { 1 } else { 2 };
    let mut found: BTreeSet<(usize, &str)> = BTreeSet::new();
    let mut longer: BTreeSet<(usize, &str)> = BTreeSet::new();
    for name in catalogue.names() {
        if name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('-')) {
            longer.insert((name.len(), name));
        }
        let prefixed = name.split_once(':').is_some_and(|(_, rest)| rest == wanted);
        if prefixed || is_same_but_marks(wanted, name) {
            found.insert((0, name));
        } else if let Some(distance) = distance_within(wanted, name, limit) {
            found.insert((distance, name));
        }
    }
    if found.is_empty() {
        return longer.into_iter().take(LONGER_LIMIT).map(|(_, name)| name.to_owned()).collect();
    }
    // Of typing errors the closest are likely, the others would only make the list long. Who left a mark out made none.
    let is_without = found.iter().any(|(distance, name)| *distance == 0 && !name.contains(':'));
    let closest = if is_without { None } else { found.iter().map(|(distance, _)| *distance).find(|it| *it > 0) };
    let closest = closest.unwrap_or_default();
    let names = found.into_iter().filter(|(distance, _)| *distance <= closest).map(|(_, name)| name.to_owned());
    names.take(LIST_LIMIT).collect()
}

/// Whether two names have the same letters and digits: `gtk3` is how people call `gtk+3.0`.
fn is_same_but_marks(a: &str, b: &str) -> bool {
    fn bare(name: &str) -> impl Iterator<Item = u8> {
        name.strip_suffix(".0").unwrap_or(name).bytes().filter(u8::is_ascii_alphanumeric)
    }
    bare(a).eq(bare(b))
}

/// How many letters have to be put in, left out, changed or swapped to make one name the other;
/// nothing where it is more than `limit`.
fn distance_within(a: &str, b: &str, limit: usize) -> Option<usize> {
    // Lengths first: most of a hundred thousand names are too long or too short.
    let may_be_near = a.len().abs_diff(b.len()) <= limit;
    may_be_near.then(|| strsim::osa_distance(a, b)).filter(|distance| *distance <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_make_no_other_name() {
        for (a, b, is_same) in [
            ("gtk3", "gtk+3.0", true),
            ("libx-11", "libx11", true),
            ("gtk3", "gtk+2.0", false),
            ("gtk3", "gtkd", false),
            ("g++", "g", true),
            ("openbx", "openbox", false),
        ] {
            assert_eq!(is_same_but_marks(a, b), is_same, "{a} {b}");
        }
    }

    #[test]
    fn distances_are_counted_up_to_the_limit() {
        for (a, b, limit, expected) in [
            ("openbox", "openbox", 0, Some(0)),
            ("openbx", "openbox", 2, Some(1)),
            ("openbxo", "openbox", 2, Some(1)),
            ("opnebx", "openbox", 2, Some(2)),
            ("curl", "cargo", 2, None),
            ("a", "abcd", 2, None),
            ("", "ab", 2, Some(2)),
        ] {
            assert_eq!(distance_within(a, b, limit), expected, "{a} {b}");
            assert_eq!(distance_within(b, a, limit), expected, "{b} {a}");
        }
    }
}
