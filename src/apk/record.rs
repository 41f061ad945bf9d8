//! One record of an index, line by line.

use std::{str::FromStr as _, sync::Arc};

use super::{
    dependency::{Dependency, words},
    identity::Identity,
    index::{IndexError, IndexPackage, Unusable},
};

/// A piece of the index's text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// A record while its lines are read.
#[derive(Default)]
pub(super) struct Draft {
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
    /// Adds a line that is not empty.
    pub(super) fn line(&mut self, line: &str, start: usize, number: usize) -> Result<(), IndexError> {
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
    pub(super) fn finish(self, text: &Arc<str>, line: usize) -> Result<Option<IndexPackage>, IndexError> {
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
