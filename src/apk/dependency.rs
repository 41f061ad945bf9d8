//! One dependency, as worlds and indexes write it: `[!]name[@tag][operator version]`.

use std::{cmp::Ordering, fmt, ops::Range};

use super::{
    identity::Identity,
    version::{self, VersionError},
};

/// A condition on what is installed.
///
/// `T` is the text it is made of: owned in a world, borrowed from the index elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency<T = String> {
    /// `!name`: it holds when nothing fitting is installed.
    pub conflict: bool,
    /// A package's name or a provided name such as `so:libc.musl-x86_64.so.1` or `cmd:curl`.
    pub name: T,
    /// `@tag`: packages may come from the repository of that tag. Means something only in a world.
    pub tag: Option<T>,
    /// Which providers of the name fit.
    pub constraint: Constraint<T>,
}

/// Which providers of a name fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint<T = String> {
    /// Every provider.
    Any,
    /// Providers of a version that stands in `operator` to `version`.
    Version {
        /// The relation.
        operator: Operator,
        /// A valid version.
        version: T,
    },
    /// The package with this checksum (`name><Q1…`), as apk writes for virtual packages.
    Identity(Identity),
}

/// How a provided version has to stand to the wanted one. `>~`, for example, accepts a newer one
/// or one that starts with the wanted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator {
    less: bool,
    equal: bool,
    greater: bool,
    fuzzy: bool,
}

/// A word that is not a dependency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DependencyError {
    /// There is no name in it.
    #[error("`{0}` has no package name")]
    NoName(String),
    /// The comparison is none that apk knows.
    #[error("`{word}` compares by `{operator}`; use one of = < <= > >= ~")]
    Operator {
        /// The whole word.
        word: String,
        /// The operator in it.
        operator: String,
    },
    /// What follows the operator is not a version.
    #[error("`{word}` has no usable version after its operator")]
    Version {
        /// The whole word.
        word: String,
        /// What is wrong with the version.
        source: VersionError,
    },
    /// What follows `><` is not a package checksum.
    #[error("`{0}` has no package checksum after `><`")]
    Identity(String),
}

impl Operator {
    /// `=`, the same version.
    pub const EQUAL: Self = Self { less: false, equal: true, greater: false, fuzzy: false };

    fn accepts(self, provided: &str, wanted: &str) -> bool {
        if self.fuzzy && version::starts_with(provided, wanted) {
            return true;
        }
        match version::compare(provided, wanted) {
            Ordering::Less => self.less,
            Ordering::Equal => self.equal,
            Ordering::Greater => self.greater,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (set, sign) in [(self.less, "<"), (self.greater, ">")] {
            if set {
                f.write_str(sign)?;
            }
        }
        if self.fuzzy {
            f.write_str("~")
        } else if self.equal {
            f.write_str("=")
        } else {
            Ok(())
        }
    }
}

impl<'a> Dependency<&'a str> {
    /// Reads one word as apk reads those of an index: the operator is a set of signs in any order
    /// and repetition, and nearly every character may be part of a name.
    ///
    /// # Errors
    ///
    /// [`DependencyError`] where apk calls the word malformed.
    pub fn parse(word: &'a str) -> Result<Self, DependencyError> {
        Self::parse_with(word, version::is_readable)
    }

    /// Reads a name that a package provides. As in apk-tools 3, its version may be anything: Alpine has packages that
    /// provide `so:libtimed-qt5.so.0=0..0`, which others need.
    ///
    /// # Errors
    ///
    /// [`DependencyError`] where apk calls the word malformed.
    pub(super) fn provided(word: &'a str) -> Result<Self, DependencyError> {
        Self::parse_with(word, |_| true)
    }

    fn parse_with(word: &'a str, is_version: fn(&str) -> bool) -> Result<Self, DependencyError> {
        let place = name_in(word);
        let is_sign = |byte: u8| matches!(byte, b'<' | b'=' | b'>' | b'~');
        let (name, rest) = (word.get(place.clone()).unwrap_or_default(), word.get(place.end..).unwrap_or_default());
        let (tag, rest) = match rest.strip_prefix('@') {
            Some(rest) => {
                let (tag, rest) = rest.split_at(rest.bytes().position(is_sign).unwrap_or(rest.len()));
                (Some(tag), rest)
            }
            None => (None, rest),
        };
        let (operator, version) = rest.split_at(rest.bytes().position(|byte| !is_sign(byte)).unwrap_or(rest.len()));
        if name.is_empty() {
            return Err(DependencyError::NoName(word.to_owned()));
        }
        Ok(Self {
            conflict: place.start > 0,
            name,
            tag,
            constraint: Constraint::parse(word, operator, version, is_version)?,
        })
    }

    /// The same dependency with text of its own.
    #[must_use]
    pub fn to_owned(self) -> Dependency {
        Dependency {
            conflict: self.conflict,
            name: self.name.to_owned(),
            tag: self.tag.map(str::to_owned),
            constraint: match self.constraint {
                Constraint::Any => Constraint::Any,
                Constraint::Version { operator, version } => {
                    Constraint::Version { operator, version: version.to_owned() }
                }
                Constraint::Identity(identity) => Constraint::Identity(identity),
            },
        }
    }
}

impl<T: AsRef<str>> Dependency<T> {
    /// The same dependency with borrowed text.
    #[must_use]
    pub fn borrowed(&self) -> Dependency<&str> {
        Dependency {
            conflict: self.conflict,
            name: self.name.as_ref(),
            tag: self.tag.as_ref().map(T::as_ref),
            constraint: match &self.constraint {
                Constraint::Any => Constraint::Any,
                Constraint::Version { operator, version } => {
                    Constraint::Version { operator: *operator, version: version.as_ref() }
                }
                Constraint::Identity(identity) => Constraint::Identity(*identity),
            },
        }
    }
}

impl<'a> Constraint<&'a str> {
    fn parse(
        word: &str,
        operator: &str,
        version: &'a str,
        is_version: fn(&str) -> bool,
    ) -> Result<Self, DependencyError> {
        let has = |sign| operator.as_bytes().contains(&sign);
        let signs = (has(b'<'), has(b'='), has(b'>'), has(b'~'));
        let operator = match signs {
            (false, false, false, false) => return Ok(Self::Any),
            (true, false, true, false) => {
                let identity = version.parse();
                return identity.map(Self::Identity).map_err(|_| DependencyError::Identity(word.to_owned()));
            }
            (true, _, true, true) => {
                return Err(DependencyError::Operator { word: word.to_owned(), operator: operator.to_owned() });
            }
            (less, equal, greater, fuzzy) => Operator { less, equal: equal || fuzzy, greater, fuzzy },
        };
        if !is_version(version) {
            return Err(DependencyError::Version { word: word.to_owned(), source: VersionError(version.to_owned()) });
        }
        if operator.less && operator.equal && operator.greater {
            return Ok(Self::Any);
        }
        Ok(Self::Version { operator, version })
    }

    /// Whether a provider fits: its version, where it gives one for the name, and its identity.
    ///
    /// A name provided without a version meets no constraint on the version, not even `<`; this is
    /// the rule of apk-tools 2, and 3 differs from it only there.
    #[must_use]
    pub fn accepts(&self, provided: Option<&str>, identity: &Identity) -> bool {
        match self {
            Self::Any => true,
            Self::Version { operator, version } => provided.is_some_and(|provided| operator.accepts(provided, version)),
            Self::Identity(wanted) => wanted == identity,
        }
    }
}

impl<T: AsRef<str>> fmt::Display for Dependency<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.conflict {
            f.write_str("!")?;
        }
        f.write_str(self.name.as_ref())?;
        if let Some(tag) = &self.tag {
            write!(f, "@{}", tag.as_ref())?;
        }
        match &self.constraint {
            Constraint::Any => Ok(()),
            Constraint::Version { operator, version } => {
                write!(f, "{operator}{}", version.as_ref())
            }
            Constraint::Identity(identity) => write!(f, "><{identity}"),
        }
    }
}

/// Where in a word its name is, as [`Dependency::parse`] reads it, without a look at the rest.
pub(super) fn name_in(word: &str) -> Range<usize> {
    let bytes = word.as_bytes();
    let start = usize::from(bytes.first() == Some(&b'!'));
    let is_over = |byte: &u8| matches!(byte, b'<' | b'=' | b'>' | b'~' | b'@');
    let end = bytes.iter().skip(start).position(is_over).map_or(bytes.len(), |length| start + length);
    start..end
}

/// The words of a dependency field: apk separates them by blanks, and drops what is empty.
pub(super) fn words(field: &str) -> impl Iterator<Item = &str> {
    // By bytes: two indexes have a hundred thousand words.
    let is_blank = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let mut rest = field;
    std::iter::from_fn(move || {
        let (_, word) = rest.split_at(rest.bytes().position(|byte| !is_blank(byte))?);
        let (word, after) = word.split_at(word.bytes().position(is_blank).unwrap_or(word.len()));
        rest = after;
        Some(word)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANYTHING: Identity = Identity::Sha1([0; 20]);

    fn accepts(word: &str, provided: &str) -> bool {
        let provided = (!provided.is_empty()).then_some(provided);
        let dependency = Dependency::parse(word).unwrap();
        dependency.constraint.accepts(provided, &ANYTHING)
    }

    #[test]
    fn every_part_of_a_dependency_is_read() {
        let dependency = Dependency::parse("!so:libx.so.1@edge>=1.2-r0").unwrap();
        assert!(dependency.conflict);
        assert_eq!(dependency.name, "so:libx.so.1");
        assert_eq!(dependency.tag, Some("edge"));
        assert_eq!(dependency.to_string(), "!so:libx.so.1@edge>=1.2-r0");
        assert_eq!(dependency.clone().to_owned().borrowed(), dependency);
    }

    #[test]
    fn operators_accept_what_they_say() {
        for (word, yes, no) in [
            ("x", &["1", "9", ""][..], &[][..]),
            ("x=1.2", &["1.2"], &["1.2.0", "1.1", ""]),
            ("x<1.2", &["1.1", "1.2_rc1"], &["1.2", "1.3", ""]),
            ("x<=1.2", &["1.1", "1.2"], &["1.2-r1", ""]),
            ("x>1.2", &["1.2-r1", "1.10"], &["1.2", "1.1", ""]),
            ("x>=1.2", &["1.2", "2"], &["1.2_pre", ""]),
            ("x~1.2", &["1.2", "1.2.7-r1"], &["1.20", "1.3", ""]),
            ("x>~1.2", &["1.2_pre3", "1.2.7", "2"], &["1.1"]),
        ] {
            for version in yes {
                assert!(accepts(word, version), "{word} and {version}");
            }
            for version in no {
                assert!(!accepts(word, version), "{word} and {version}");
            }
        }
    }

    #[test]
    fn signs_may_stand_in_any_order_and_number() {
        for (written, plain) in
            [("x=>1", "x>=1"), ("x==1", "x=1"), ("x=~1", "x~1"), ("x~=1", "x~1"), ("x=<<1", "x<=1"), ("x<=>1", "x")]
        {
            let written = Dependency::parse(written).unwrap();
            assert_eq!(written, Dependency::parse(plain).unwrap());
            assert_eq!(written.to_string(), plain);
        }
    }

    #[test]
    fn a_checksum_names_one_package() {
        let one = Identity::Sha1([1; 20]);
        for word in [format!("x><{one}"), format!("x<>{one}")] {
            let dependency = Dependency::parse(&word).unwrap();
            assert!(dependency.constraint.accepts(None, &one));
            assert!(!dependency.constraint.accepts(Some("1"), &ANYTHING));
            assert_eq!(dependency.to_string(), format!("x><{one}"));
        }
    }

    #[test]
    fn malformed_words_are_named() {
        let error = |word| Dependency::parse(word).unwrap_err();
        for word in ["", "!", "=1", "@edge"] {
            assert_eq!(error(word), DependencyError::NoName(word.to_owned()));
        }
        for word in ["x=", "x=v2.4", "x>=1.0_bad", "x<=>", "x~1.*"] {
            assert!(matches!(error(word), DependencyError::Version { .. }), "{word}");
        }
        assert!(matches!(error("x<>1.0"), DependencyError::Identity(_)));
        assert!(matches!(error("x<>~1.0"), DependencyError::Operator { .. }));
    }

    proptest! {
        #[test]
        fn what_was_read_is_written_so_that_it_reads_the_same(word in "!{0,1}[a-z:/.@]{1,6}([<>=~]{1,3}[0-9.]{1,4}){0,1}") {
            if let Ok(dependency) = Dependency::parse(&word) {
                let again = dependency.to_string();
                prop_assert_eq!(Dependency::parse(&again), Ok(dependency));
            }
        }

        #[test]
        fn arbitrary_words_never_panic(word in "\\PC{0,20}") {
            let _ = Dependency::parse(&word);
        }
    }
}
