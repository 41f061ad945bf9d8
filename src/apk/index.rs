//! The index of a repository: one record of `X:value` lines for each package.

use std::{fmt, str::Utf8Error, sync::Arc};

use super::{
    dependency::{Dependency, words},
    identity::{Identity, IdentityError},
    record::{Draft, Span},
};

/// The packages of a repository. Parsing keeps the text once; packages point into it.
#[derive(Debug, Clone)]
pub struct Index {
    description: String,
    packages: Vec<IndexPackage>,
}

/// A text that is not an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Not UTF-8.
    #[error("the index is not UTF-8")]
    Encoding(#[source] Utf8Error),
    /// Positions in it are kept in 32 bits.
    #[error("the index is larger than 4 GiB")]
    TooLarge,
    /// A line without a letter and a colon.
    #[error("line {0} of the index is not of the form `X:value`")]
    Line(usize),
    /// Every package has a name (`P:`), a version (`V:`) and a checksum (`C:`).
    #[error("the package that ends at line {line} of the index has no `{field}:`")]
    Missing {
        /// Counted from 1.
        line: usize,
        /// The letter of the field.
        field: char,
    },
    /// A field that may stand only once in a package is there again.
    #[error("line {line} of the index repeats the field `{field}:`")]
    Repeated {
        /// Counted from 1.
        line: usize,
        /// The letter of the field.
        field: char,
    },
    /// The checksum of a package is none.
    #[error("line {line} of the index has no usable checksum")]
    Identity {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: IdentityError,
    },
}

/// Why apk would never install a package of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// It has a field that a newer apk may know; upper case means that it must not be ignored.
    Field(char),
    /// One of its dependencies is malformed.
    Dependency(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(letter) => write!(f, "its index record has the unknown field `{letter}:`"),
            Self::Dependency(word) => write!(f, "its dependency `{word}` is malformed"),
        }
    }
}

/// One package of an index. Cheap to clone: the text is shared.
#[derive(Clone)]
pub struct IndexPackage {
    pub(super) text: Arc<str>,
    pub(super) record: Span,
    pub(super) name: Span,
    pub(super) version: Span,
    pub(super) arch: Span,
    pub(super) depends: Span,
    pub(super) provides: Span,
    pub(super) install_if: Span,
    pub(super) identity: Identity,
    pub(super) size: u64,
    pub(super) installed_size: u64,
    pub(super) provider_priority: u32,
    pub(super) unusable: Option<Box<Unusable>>,
}

impl Index {
    /// Reads the text of an `APKINDEX`, tolerant where apk is: a package with a field or a
    /// dependency that is not understood stays in the index but is not usable.
    ///
    /// # Errors
    ///
    /// [`IndexError`] names the line that cannot be part of an index.
    pub fn parse(text: &str) -> Result<Self, IndexError> {
        if u32::try_from(text.len()).is_err() {
            return Err(IndexError::TooLarge);
        }
        let text: Arc<str> = text.into();
        let mut packages = Vec::new();
        let mut draft = Draft::default();
        let (mut start, mut number) = (0, 0);
        for line in text.split('\n') {
            number += 1;
            if line.is_empty() {
                packages.extend(std::mem::take(&mut draft).finish(&text, number)?);
            } else {
                draft.line(line, start, number)?;
            }
            start += line.len() + 1;
        }
        packages.extend(draft.finish(&text, number)?);
        packages.shrink_to_fit();
        Ok(Self { description: String::new(), packages })
    }

    /// An index of these packages, which may come from several others.
    #[must_use]
    pub fn of(packages: Vec<IndexPackage>) -> Self {
        Self { description: String::new(), packages }
    }

    /// The same index with the content of its `DESCRIPTION` file.
    #[must_use]
    pub fn with_description(self, description: &str) -> Self {
        Self { description: description.to_owned(), ..self }
    }

    /// What the repository says of itself, for example `v3.19.1-643-gec825d20535`.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The packages in the order of the index.
    #[must_use]
    pub fn packages(&self) -> &[IndexPackage] {
        &self.packages
    }
}

impl IndexPackage {
    /// `P:`, the name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.slice(self.name)
    }

    /// `V:`, the version as it stands there. Nearly always valid; apk does not insist.
    #[must_use]
    pub fn version(&self) -> &str {
        self.slice(self.version)
    }

    /// `A:`, the architecture, or `noarch`.
    #[must_use]
    pub fn arch(&self) -> &str {
        self.slice(self.arch)
    }

    /// `C:`, what the package's control segment must hash to.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// `S:`, bytes of the package file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// `I:`, bytes on disk once installed.
    #[must_use]
    pub fn installed_size(&self) -> u64 {
        self.installed_size
    }

    /// `k:`, which provider of an unversioned name wins; 0 wins nothing.
    #[must_use]
    pub fn provider_priority(&self) -> u32 {
        self.provider_priority
    }

    /// Why apk would never install it, if so.
    #[must_use]
    pub fn unusable(&self) -> Option<&Unusable> {
        self.unusable.as_deref()
    }

    /// `D:`, what has to be installed with it. Malformed ones are left out; see
    /// [`unusable`](Self::unusable).
    pub fn depends(&self) -> impl Iterator<Item = Dependency<&str>> {
        well_formed(self.slice(self.depends))
    }

    /// `p:`, the names it provides besides its own. Their versions are as they stand there, valid or not; words without
    /// a name are left out.
    pub fn provides(&self) -> impl Iterator<Item = Dependency<&str>> {
        self.provided_words().filter_map(|word| Dependency::provided(word).ok())
    }

    /// The words of `p:`, malformed ones among them.
    pub(super) fn provided_words(&self) -> impl Iterator<Item = &str> {
        words(self.slice(self.provides))
    }

    /// `i:`, the conditions that together bring it in without being asked for; none when the
    /// field is malformed.
    pub fn install_if(&self) -> impl Iterator<Item = Dependency<&str>> {
        well_formed(self.slice(self.install_if))
    }

    /// The words of `i:`.
    pub(super) fn install_if_words(&self) -> impl Iterator<Item = &str> {
        words(self.slice(self.install_if))
    }

    /// The value of any field, by its letter: `T` description, `U` home page, `L` licence, `o`
    /// origin, `t` build time, `c` commit.
    #[must_use]
    pub fn field(&self, letter: char) -> Option<&str> {
        self.record().split('\n').find_map(|line| line.strip_prefix(letter)?.strip_prefix(':'))
    }

    /// The whole record as it stands in the index, without the line end after it.
    #[must_use]
    pub fn record(&self) -> &str {
        self.slice(self.record)
    }

    /// The name of the package's file in its repository: `NAME-VERSION.apk`.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{self}.apk")
    }

    fn slice(&self, span: Span) -> &str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }
}

impl fmt::Display for IndexPackage {
    /// `name-version`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.name(), self.version())
    }
}

impl fmt::Debug for IndexPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexPackage({self})")
    }
}

fn well_formed(field: &str) -> impl Iterator<Item = Dependency<&str>> {
    words(field).filter_map(|word| Dependency::parse(word).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECORD: &str = "C:Q1YCZ4e/kV0Uaynh14//zvTTyN7x8=\nP:7zip\nV:23.01-r0\nA:x86_64\nS:866787\nI:1720320\n\
        T:File archiver with a high compression ratio\nU:https://7-zip.org/\nL:LGPL-2.0-only\no:7zip\n\
        m:Alex\nt:1688146859\nc:da47\nk:100\nD:so:libc.musl-x86_64.so.1 so:libstdc++.so.6\n\
        p:7zip-virtual p7zip=23.01-r0 cmd:7z=23.01-r0\ni:docs 7zip=23.01-r0";

    fn texts<'a>(dependencies: impl Iterator<Item = Dependency<&'a str>>) -> Vec<String> {
        dependencies.map(|it| it.to_string()).collect()
    }

    fn with(line: &str) -> IndexPackage {
        let index = Index::parse(&format!("{RECORD}\n{line}\n\n")).unwrap();
        index.packages()[0].clone()
    }

    fn without(letter: &str) -> String {
        let lines = RECORD.lines().filter(|line| !line.starts_with(letter));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_field_of_a_record_is_read() {
        let index = Index::parse(&format!("{RECORD}\n\n")).unwrap();
        let package = &index.packages()[0];
        assert_eq!(package.to_string(), "7zip-23.01-r0");
        assert_eq!(package.file_name(), "7zip-23.01-r0.apk");
        assert_eq!(package.arch(), "x86_64");
        assert_eq!((package.size(), package.installed_size()), (866_787, 1_720_320));
        assert_eq!(package.provider_priority(), 100);
        assert_eq!(package.identity().to_string(), "Q1YCZ4e/kV0Uaynh14//zvTTyN7x8=");
        assert_eq!(texts(package.depends()), ["so:libc.musl-x86_64.so.1", "so:libstdc++.so.6"]);
        assert_eq!(texts(package.provides()), ["7zip-virtual", "p7zip=23.01-r0", "cmd:7z=23.01-r0"]);
        assert_eq!(texts(package.install_if()), ["docs", "7zip=23.01-r0"]);
        assert_eq!(package.field('L'), Some("LGPL-2.0-only"));
        assert_eq!(package.field('x'), None);
        assert_eq!(package.record(), RECORD);
        assert_eq!(package.unusable(), None);
    }

    #[test]
    fn records_are_separated_by_empty_lines_however_many() {
        let text = format!("\n\n{RECORD}\n\n\n{RECORD}");
        assert_eq!(Index::parse(&text).unwrap().packages().len(), 2);
        assert_eq!(Index::parse("").unwrap().packages().len(), 0);
    }

    #[test]
    fn a_package_that_is_not_understood_stays_but_is_not_usable() {
        assert_eq!(with("X:new").unusable(), Some(&Unusable::Field('X')));
        assert_eq!(with("x:new").unusable(), None);
        assert_eq!(with("F:usr").unusable(), None);
        let bad = Index::parse(&RECORD.replace("D:so", "D:a=v1 so")).unwrap();
        let bad = &bad.packages()[0];
        assert_eq!(bad.unusable(), Some(&Unusable::Dependency("a=v1".to_owned())));
        assert_eq!(bad.depends().count(), 2);
    }

    #[test]
    fn provides_keep_malformed_versions_and_a_malformed_install_if_is_dropped() {
        let text = RECORD.replace("7zip-virtual", "pc:x=v2.4").replace("i:docs", "i:docs=v");
        let index = Index::parse(&text).unwrap();
        let package = &index.packages()[0];
        assert_eq!(texts(package.provides()), ["pc:x=v2.4", "p7zip=23.01-r0", "cmd:7z=23.01-r0"]);
        assert_eq!(package.install_if().count(), 0);
        assert_eq!(package.unusable(), None);
    }

    #[test]
    fn numbers_are_as_long_as_their_digits() {
        let size = |value: &str| {
            let text = RECORD.replace("S:866787", &format!("S:{value}"));
            Index::parse(&text).unwrap().packages()[0].size()
        };
        assert_eq!(size("12x"), 12);
        assert_eq!(size(""), 0);
        assert_eq!(size("99999999999999999999999"), u64::MAX);
    }

    #[test]
    fn what_is_no_index_is_refused_with_its_line() {
        for line in ["x", "PP", "Pé", "é"] {
            let text = format!("{RECORD}\n{line}\n");
            assert_eq!(Index::parse(&text).unwrap_err(), IndexError::Line(18), "{line}");
        }
        for (letter, field) in [("P:", 'P'), ("V:", 'V'), ("C:", 'C')] {
            let error = Index::parse(&without(letter)).unwrap_err();
            assert_eq!(error, IndexError::Missing { line: 16, field });
            let error = Index::parse(&format!("{RECORD}\n{RECORD}")).unwrap_err();
            assert_eq!(error, IndexError::Repeated { line: 18, field: 'C' });
        }
        let text = RECORD.replace("C:Q1", "C:Q9");
        assert!(matches!(Index::parse(&text), Err(IndexError::Identity { line: 1, .. })));
    }

    proptest! {
        #[test]
        fn arbitrary_records_never_panic(text in "([CPVASIkDpiTx]:[ -~]{0,12}\n|\n|\\PC{0,3}\n){0,12}") {
            if let Ok(index) = Index::parse(&text) {
                for package in index.packages() {
                    prop_assert!(text.contains(package.record()));
                    let _ = (texts(package.depends()), texts(package.provides()), texts(package.install_if()));
                }
            }
        }

        #[test]
        fn a_mutated_record_never_panics(at in 0_usize..400, character in any::<char>()) {
            let mut text: Vec<char> = RECORD.chars().collect();
            let at = at % text.len();
            text[at] = character;
            let _ = Index::parse(&text.into_iter().collect::<String>());
        }
    }
}
