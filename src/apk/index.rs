//! The index of a repository: one record of `X:value` lines for each package.

use std::{
    fmt,
    str::{self, FromStr as _, Utf8Error},
    sync::Arc,
};

use super::{
    dependency::{Dependency, words},
    identity::{Identity, IdentityError},
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
    text: Arc<str>,
    record: Span,
    name: Span,
    version: Span,
    arch: Span,
    depends: Span,
    provides: Span,
    install_if: Span,
    identity: Identity,
    size: u64,
    installed_size: u64,
    provider_priority: u32,
    unusable: Option<Box<Unusable>>,
}

/// A piece of the index's text.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
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

    /// `p:`, the names it provides besides its own; malformed ones are left out, as apk does.
    pub fn provides(&self) -> impl Iterator<Item = Dependency<&str>> {
        well_formed(self.slice(self.provides))
    }

    /// `i:`, the conditions that together bring it in without being asked for; none when the
    /// field is malformed.
    pub fn install_if(&self) -> impl Iterator<Item = Dependency<&str>> {
        well_formed(self.slice(self.install_if))
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

/// A record while its lines are read.
#[derive(Default)]
struct Draft {
    record: Option<Span>,
    name: Option<Span>,
    version: Option<Span>,
    arch: Option<Span>,
    depends: Option<Span>,
    provides: Option<Span>,
    install_if: Option<Span>,
    identity: Option<Identity>,
    size: u64,
    installed_size: u64,
    provider_priority: u32,
    unusable: Option<Unusable>,
}

impl Draft {
    fn line(&mut self, line: &str, start: usize, number: usize) -> Result<(), IndexError> {
        let mut chars = line.chars();
        let (Some(letter), Some(':')) = (chars.next(), chars.next()) else {
            return Err(IndexError::Line(number));
        };
        let value = chars.as_str();
        let end = start + line.len();
        let whole = Span::new(start, end);
        self.record = Some(Span { end: whole.end, ..self.record.unwrap_or(whole) });
        let span = Span::new(end - value.len(), end);
        let slot = match letter {
            'P' => &mut self.name,
            'V' => &mut self.version,
            'A' => &mut self.arch,
            'D' => {
                let bad = words(value).find(|word| Dependency::parse(word).is_err());
                self.unusable = bad.map(|word| Unusable::Dependency(word.to_owned())).or(self.unusable.take());
                &mut self.depends
            }
            'p' => &mut self.provides,
            'i' => {
                if words(value).any(|word| Dependency::parse(word).is_err()) {
                    return Ok(());
                }
                &mut self.install_if
            }
            'C' => {
                let identity =
                    Identity::from_str(value).map_err(|source| IndexError::Identity { line: number, source })?;
                if self.identity.replace(identity).is_some() {
                    return Err(IndexError::Repeated { line: number, field: letter });
                }
                return Ok(());
            }
            'S' => {
                self.size = leading_number(value);
                return Ok(());
            }
            'I' => {
                self.installed_size = leading_number(value);
                return Ok(());
            }
            'k' => {
                self.provider_priority = u32::try_from(leading_number(value)).unwrap_or(u32::MAX);
                return Ok(());
            }
            // Texts, and fields of the installed database, which apk skips in an index.
            'T' | 'U' | 'L' | 'F' | 'M' | 'R' | 'Z' => return Ok(()),
            _ => {
                if letter.is_ascii_uppercase() {
                    self.unusable = Some(Unusable::Field(letter));
                }
                return Ok(());
            }
        };
        match slot.replace(span) {
            None => Ok(()),
            Some(_) => Err(IndexError::Repeated { line: number, field: letter }),
        }
    }

    /// The package, or nothing where there was no line.
    fn finish(self, text: &Arc<str>, line: usize) -> Result<Option<IndexPackage>, IndexError> {
        let Some(record) = self.record else {
            return Ok(None);
        };
        let missing = |field| IndexError::Missing { line, field };
        let filled = |span: Option<Span>| span.filter(|span| span.start < span.end);
        Ok(Some(IndexPackage {
            text: Arc::clone(text),
            record,
            name: filled(self.name).ok_or(missing('P'))?,
            version: filled(self.version).ok_or(missing('V'))?,
            arch: self.arch.unwrap_or_default(),
            depends: self.depends.unwrap_or_default(),
            provides: self.provides.unwrap_or_default(),
            install_if: self.install_if.unwrap_or_default(),
            identity: self.identity.ok_or(missing('C'))?,
            size: self.size,
            installed_size: self.installed_size,
            provider_priority: self.provider_priority,
            unusable: self.unusable.map(Box::new),
        }))
    }
}

impl Span {
    /// Both ends are inside a text of at most 4 GiB.
    fn new(start: usize, end: usize) -> Self {
        Self { start: u32::try_from(start).unwrap_or(u32::MAX), end: u32::try_from(end).unwrap_or(u32::MAX) }
    }
}

/// The number a value starts with, as apk reads numbers: what follows the digits is ignored.
fn leading_number(value: &str) -> u64 {
    let digits = value.bytes().take_while(u8::is_ascii_digit);
    digits.fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}
