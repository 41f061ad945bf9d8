//! Labels: what people say of machines (`site=berlin`, `room=12`, `canary`), and how machines are chosen by them.

pub mod rule;
mod selector;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use selector::{Selector, SelectorError, Unmatched};

/// The longest key, and the longest value.
const MAX_LENGTH: usize = 63;

/// Why a text is no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The key has characters a key may not have, or a bad length.
    #[error(
        "`{0}` cannot be the key of a label; use 1 to {MAX_LENGTH} of a-z, 0-9, `-`, `_`, `.` and `/`, beginning with a letter or digit"
    )]
    Key(String),
    /// The value has characters a value may not have, or is too long.
    #[error(
        "`{0}` cannot be the value of a label; use at most {MAX_LENGTH} of letters, digits, `-`, `_`, `.`, `/`, `:` and `+`"
    )]
    Value(String),
}

/// The key of a label, such as `site`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelKey(String);

/// The value of a label, such as `berlin`; empty for a label that is only there or not, such as `canary`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelValue(String);

/// The labels of a machine.
pub type Labels = BTreeMap<LabelKey, LabelValue>;

/// One label, as it is written: `site=berlin`, or `canary`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its key.
    pub key: LabelKey,
    /// Its value.
    pub value: LabelValue,
}

impl LabelKey {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl LabelValue {
    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

impl FromStr for LabelKey {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let begins = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let goes_on = |b: u8| begins(b) || matches!(b, b'-' | b'_' | b'.' | b'/');
        let is_key = text.len() <= MAX_LENGTH && text.bytes().next().is_some_and(begins) && text.bytes().all(goes_on);
        is_key.then(|| Self(text.to_owned())).ok_or_else(|| LabelError::Key(cut(text)))
    }
}

impl FromStr for LabelValue {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b':' | b'+');
        let is_value = text.len() <= MAX_LENGTH && text.bytes().all(fits);
        is_value.then(|| Self(text.to_owned())).ok_or_else(|| LabelError::Value(cut(text)))
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        Ok(Self { key: key.parse()?, value: value.parse()? })
    }
}

impl TryFrom<String> for LabelKey {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, LabelError> {
        text.parse()
    }
}

impl TryFrom<String> for LabelValue {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, LabelError> {
        text.parse()
    }
}

impl From<LabelKey> for String {
    fn from(key: LabelKey) -> Self {
        key.0
    }
}

impl From<LabelValue> for String {
    fn from(value: LabelValue) -> Self {
        value.0
    }
}

impl fmt::Display for LabelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LabelValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.0.is_empty() { write!(f, "{}", self.key) } else { write!(f, "{}={}", self.key, self.value) }
    }
}

/// Labels as people write them, comma after comma; `-` when there are none.
#[must_use]
pub fn listed(labels: &Labels) -> String {
    let texts: Vec<String> =
        labels.iter().map(|(key, value)| Label { key: key.clone(), value: value.clone() }.to_string()).collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_a_key_and_may_have_a_value() {
        for text in ["site=berlin", "canary", "hw/type=NUC-11", "room=1.23"] {
            assert_eq!(text.parse::<Label>().unwrap().to_string(), text);
        }
        for text in ["", "=x", "Site=x", "-a", "a=b c", "a=b,c", "a=b|c", "a=b=c"] {
            assert!(text.parse::<Label>().is_err(), "{text}");
        }
        assert!(format!("a={}", "x".repeat(64)).parse::<Label>().is_err());
    }
}
