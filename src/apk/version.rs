//! Alpine package versions: what is one, and which is newer.
//!
//! A version is `digits{.digits}[letter]{_suffix[digits]}[~hex][-rdigits]`. The order is that of
//! apk-tools 3; nothing here knows where a version came from.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

/// The suffixes in rising order. Those before [`RELEASE`] come before the plain version, the
/// others after it.
const SUFFIXES: [&str; 9] = ["alpha", "beta", "pre", "rc", "cvs", "svn", "git", "hg", "p"];

/// How many of [`SUFFIXES`] mark something older than the release of the same number.
const RELEASE: usize = 4;

/// A version that is not of the form Alpine uses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a package version; write digits and dots, then `_suffix` and `-rN`, such as `1.2.3_rc1-r0`")]
pub struct VersionError(
    /// The text as it was given.
    pub String,
);

/// A valid package version.
///
/// Equality follows the order, not the letters: `1.0-r1` equals `1.0-r01`.
#[derive(Clone)]
pub struct Version(Box<str>);

impl Version {
    /// The version as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `~prefix` accepts this version: it is equal as far as `prefix` goes. `1.6.9_p1`
    /// starts with `1.6`; `1.60` does not.
    #[must_use]
    pub fn starts_with(&self, prefix: &Self) -> bool {
        starts_with(&self.0, &prefix.0)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        if is_valid(text) { Ok(Self(text.into())) } else { Err(VersionError(text.to_owned())) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", self.0)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for part in Parts::new(&self.0) {
            part.kind.hash(state);
            if part.kind.is_number() {
                significant(part.text).hash(state);
            } else {
                part.text.hash(state);
            }
        }
    }
}

/// Whether `text` is a version to every apk.
pub(super) fn is_valid(text: &str) -> bool {
    let mut last = Kind::First;
    is_readable(text)
        && Parts::new(text).all(|part| {
            let last = std::mem::replace(&mut last, part.kind);
            !(last == Kind::Letter && part.kind == Kind::Digits)
        })
}

/// Whether `text` is a version to apk-tools 2, which allows a number after the letter (`3.2p4`).
/// Indexes up to Alpine 3.22 have such versions in dependencies.
pub(super) fn is_readable(text: &str) -> bool {
    Parts::new(text).all(|part| part.kind != Kind::Invalid)
}

/// Compares two versions as apk does.
///
/// Also defined for texts that are not valid, because apk does not check the versions packages
/// have: from the first bad place on a text says nothing, and sorts below one that ended there.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    walk(left, right, false)
}

/// Whether `text` is equal to `prefix` as far as `prefix` goes; the meaning of `~`.
pub(super) fn starts_with(text: &str, prefix: &str) -> bool {
    walk(text, prefix, true).is_eq()
}

fn walk(left: &str, right: &str, fuzzy: bool) -> Ordering {
    let (mut left, mut right) = (Parts::new(left), Parts::new(right));
    loop {
        let (a, b) = (left.advance(), right.advance());
        if a.kind != b.kind {
            return if fuzzy && b.kind == Kind::End { Ordering::Equal } else { compare_kinds(a, b) };
        }
        if matches!(a.kind, Kind::End | Kind::Invalid) {
            return Ordering::Equal;
        }
        let order = compare_parts(a, b);
        if order.is_ne() {
            return order;
        }
    }
}

/// The order of two versions that are the same until one goes on with another kind of part.
fn compare_kinds(a: Part<'_>, b: Part<'_>) -> Ordering {
    if a.is_prerelease() {
        Ordering::Less
    } else if b.is_prerelease() {
        Ordering::Greater
    } else {
        b.kind.cmp(&a.kind)
    }
}

fn compare_parts(a: Part<'_>, b: Part<'_>) -> Ordering {
    let numeric = match a.kind {
        // `1.02` is a decimal fraction to apk: a leading zero makes it a text.
        Kind::Digits => !a.text.starts_with('0') && !b.text.starts_with('0'),
        Kind::Suffix => return suffix_place(a.text).cmp(&suffix_place(b.text)),
        kind => kind.is_number(),
    };
    if numeric {
        let (a, b) = (significant(a.text), significant(b.text));
        // Longer is larger without leading zeros, so no number is too long.
        (a.len(), a).cmp(&(b.len(), b))
    } else {
        a.text.cmp(b.text)
    }
}

fn significant(digits: &str) -> &str {
    digits.trim_start_matches('0')
}

fn suffix_place(name: &str) -> usize {
    SUFFIXES.iter().position(|known| *known == name).unwrap_or(SUFFIXES.len())
}

/// The kinds of parts; where two versions part ways the later kind is the older version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    First,
    Digits,
    Letter,
    Suffix,
    SuffixNumber,
    Hash,
    Revision,
    End,
    Invalid,
}

impl Kind {
    fn is_number(self) -> bool {
        matches!(self, Self::First | Self::SuffixNumber | Self::Revision)
    }
}

#[derive(Debug, Clone, Copy)]
struct Part<'a> {
    kind: Kind,
    text: &'a str,
}

impl Part<'_> {
    fn is_prerelease(self) -> bool {
        self.kind == Kind::Suffix && suffix_place(self.text) < RELEASE
    }
}

/// Walks over the parts of a version.
struct Parts<'a> {
    rest: &'a str,
    last: Option<Kind>,
}

impl<'a> Parts<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text, last: None }
    }

    /// The next part; [`Kind::End`] and [`Kind::Invalid`] repeat for ever.
    fn advance(&mut self) -> Part<'a> {
        let (kind, text) = self.split().unwrap_or((Kind::Invalid, ""));
        self.last = Some(kind);
        Part { kind, text }
    }

    fn split(&mut self) -> Option<(Kind, &'a str)> {
        let Some(last) = self.last else {
            return Some((Kind::First, self.take(0, u8::is_ascii_digit)?));
        };
        let Some(first) = self.rest.bytes().next() else {
            return (last != Kind::Invalid).then_some((Kind::End, ""));
        };
        match first {
            b'.' if last <= Kind::Digits => Some((Kind::Digits, self.take(1, u8::is_ascii_digit)?)),
            b'a'..=b'z' if last <= Kind::Digits => {
                let (letter, rest) = self.rest.split_at(1);
                self.rest = rest;
                Some((Kind::Letter, letter))
            }
            b'0'..=b'9' if last == Kind::Letter => Some((Kind::Digits, self.take(0, u8::is_ascii_digit)?)),
            b'0'..=b'9' if last == Kind::Suffix => Some((Kind::SuffixNumber, self.take(0, u8::is_ascii_digit)?)),
            b'_' if last <= Kind::SuffixNumber => {
                let name = self.take(1, u8::is_ascii_lowercase)?;
                (suffix_place(name) < SUFFIXES.len()).then_some((Kind::Suffix, name))
            }
            b'~' if last < Kind::Hash => {
                Some((Kind::Hash, self.take(1, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))?))
            }
            b'-' if last < Kind::Revision && self.rest.starts_with("-r") => {
                Some((Kind::Revision, self.take(2, u8::is_ascii_digit)?))
            }
            _ => None,
        }
    }

    /// Takes at least one byte of the class after `skip` bytes of punctuation.
    fn take(&mut self, skip: usize, class: impl Fn(&u8) -> bool) -> Option<&'a str> {
        let rest = self.rest.get(skip..)?;
        let length = rest.bytes().take_while(|byte| class(byte)).count();
        let (taken, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        (!taken.is_empty()).then_some(taken)
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    /// Ends after the last part, or after the one [`Kind::Invalid`] part of a bad version.
    fn next(&mut self) -> Option<Part<'a>> {
        if self.last == Some(Kind::Invalid) {
            return None;
        }
        let part = self.advance();
        (part.kind != Kind::End).then_some(part)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;

    use super::*;

    /// Rising, each strictly below the next.
    const RISING: [&str; 38] = [
        "0",
        "0.01",
        "0.1",
        "0.9",
        "0.10",
        "1_alpha",
        "1_alpha1",
        "1_alpha2",
        "1_beta",
        "1_pre1",
        "1_rc",
        "1_rc1",
        "1",
        "1-r1",
        "1-r2",
        "1-r10",
        "1~0a",
        "1~0b",
        "1_cvs",
        "1_svn20100101",
        "1_git20200101",
        "1_git20200102-r4",
        "1_hg",
        "1_p",
        "1_p1",
        "1a",
        "1b",
        "1.0",
        "1.00",
        "1.01",
        "1.02",
        "1.2_rc3",
        "1.2_rc3_p1",
        "1.2",
        "1.2.0",
        "1.10",
        "2",
        "20240101",
    ];

    #[test]
    fn the_table_rises_from_line_to_line() {
        for (i, left) in RISING.iter().enumerate() {
            for (j, right) in RISING.iter().enumerate() {
                let (a, b): (Version, Version) = (left.parse().unwrap(), right.parse().unwrap());
                assert_eq!(a.cmp(&b), i.cmp(&j), "{left} against {right}");
            }
        }
    }

    #[test]
    fn numbers_are_equal_whatever_their_leading_zeros_but_fractions_are_not() {
        let equal = |a: &str, b: &str| a.parse::<Version>().unwrap() == b.parse().unwrap();
        assert!(equal("01.2", "1.2"));
        assert!(equal("1.2-r007", "1.2-r7"));
        assert!(equal("1_p01", "1_p1"));
        assert!(!equal("1.02", "1.2"));
        assert!(compare("1.02", "1.2").is_lt());
    }

    #[test]
    fn numbers_longer_than_a_machine_word_keep_their_order() {
        assert!(compare("99999999999999999999998", "99999999999999999999999").is_lt());
        assert!(compare("1-r9", "1-r100000000000000000000000").is_lt());
    }

    #[test]
    fn a_tilde_matches_whole_parts_only() {
        for version in ["1.6", "1.6.0", "1.6.0_pre1", "1.6.9_p1", "1.6-r3", "1.6_rc1"] {
            assert!(starts_with(version, "1.6"), "{version}");
        }
        for version in ["1.60", "1", "1.5.9", "1.7", "16"] {
            assert!(!starts_with(version, "1.6"), "{version}");
        }
    }

    #[test]
    fn what_is_not_a_version_is_refused() {
        for text in [
            "", ".", "1.", "1..2", "a", "1ab", "1.0_bad", "1.0b1", "1-1", "1-r", "1-r1.2", "1~", "1~xyz", "1-r1_p1",
            "1.0-r1 ", " 1", "1_P", "1a.2", "é", "1é",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_text_that_turns_bad_is_below_one_that_ended() {
        assert!(compare("1.1.0b!-r7", "1.1.0b").is_lt());
        assert!(compare("1.1.0b!-r7", "1.1.0c").is_lt());
        assert!(compare("7.4.0p!-r1", "7.3").is_gt());
    }

    #[test]
    fn a_number_after_the_letter_is_read_but_not_valid() {
        for text in ["7.4.0p1-r1", "3.2p4-r0", "1.1.0b1"] {
            assert!(is_readable(text) && !is_valid(text), "{text}");
        }
        assert!(compare("3.2p4", "3.2p10").is_lt());
        assert!(compare("3.2p4", "3.2p").is_gt());
        assert!(!is_readable("3.2pp") && !is_readable("3.2p4-x"));
    }

    fn version() -> impl Strategy<Value = String> {
        "0{0,1}[0-9]{1,2}(\\.0{0,1}[0-9]{1,2}){0,2}[ab]{0,1}(_(alpha|rc|git|p)[0-2]{0,2}){0,2}(~[0a]{1,2}){0,1}(-r[0-2]{1,2}){0,1}"
    }

    proptest! {
        #[test]
        fn generated_versions_are_valid_and_keep_their_text(text in version()) {
            prop_assert_eq!(text.parse::<Version>().unwrap().to_string(), text);
        }

        #[test]
        fn the_order_is_total(a in version(), b in version(), c in version()) {
            let [a, b, c]: [Version; 3] = [a, b, c].map(|text| text.parse().unwrap());
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert!(a.cmp(&a).is_eq());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
            if a == b {
                prop_assert_eq!(a.cmp(&c), b.cmp(&c));
                let hasher = RandomState::new();
                prop_assert_eq!(hasher.hash_one(&a), hasher.hash_one(&b));
            }
        }

        #[test]
        fn arbitrary_text_never_panics_and_orders_both_ways(a in "\\PC{0,12}", b in "[0-9a-z._~-]{0,12}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            let _ = starts_with(&a, &b);
        }
    }
}
