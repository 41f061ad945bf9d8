//! Which machines are meant: `site=berlin,room=12|13,!broken`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{LabelError, LabelKey, LabelValue, Labels};
use crate::model::name::nearest;

/// The most conditions of one selector.
const MAX_TERMS: usize = 32;

/// Why a text selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// A key or value that no label can have.
    #[error("`{0}` does not select machines")]
    Label(String, #[source] LabelError),
    /// Nothing between two commas.
    #[error("`{0}` does not select machines: a condition is empty; write `all` for every machine")]
    Empty(String),
    /// A text without end.
    #[error("a selector has at most {MAX_TERMS} conditions")]
    TooMany,
}

/// A selector that matches no machine, with what may have been meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unmatched {
    /// No machine has such a label.
    #[error("no machine has a label `{key}`{}", hint(near.as_deref(), known, "labels"))]
    Key {
        /// The key.
        key: LabelKey,
        /// A key there is that looks like it.
        near: Option<String>,
        /// The keys there are.
        known: Vec<String>,
    },
    /// No machine has that value.
    #[error("no machine has `{key}={value}`{}", hint(near.as_deref(), known, "values"))]
    Value {
        /// The key.
        key: LabelKey,
        /// The value.
        value: LabelValue,
        /// A value there is that looks like it.
        near: Option<String>,
        /// The values there are.
        known: Vec<String>,
    },
    /// Each condition fits some machine, and all together none.
    #[error("no machine fits all of `{0}`")]
    Together(Selector),
}

fn hint(near: Option<&str>, known: &[String], what: &str) -> String {
    match near {
        Some(near) => format!("; did you mean `{near}`?"),
        None if known.is_empty() => "; `bivouac machines label` sets labels".to_owned(),
        None => format!("; there are the {what} {}", known.join(", ")),
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Term {
    /// `room=12|13`; `canary` is `canary` with any value.
    Is(LabelKey, BTreeSet<LabelValue>),
    /// `room!=12`, also of machines without a room; `!canary` is any value.
    IsNot(LabelKey, BTreeSet<LabelValue>),
}

/// Conditions of which all have to hold; without any, every machine is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector(Vec<Term>);

impl Selector {
    /// Whether it means every machine.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it means a machine with these labels.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|term| term.matches(labels))
    }

    /// Refuses a selector that means none of these machines, with what was probably meant.
    ///
    /// # Errors
    /// Which condition nobody fits.
    pub fn check<'a>(&self, fleet: impl IntoIterator<Item = &'a Labels>) -> Result<(), Unmatched> {
        let mut values: BTreeMap<&LabelKey, BTreeSet<&LabelValue>> = BTreeMap::new();
        let mut is_matched = false;
        for labels in fleet {
            is_matched |= self.matches(labels);
            for (key, value) in labels {
                values.entry(key).or_default().insert(value);
            }
        }
        // A misspelt condition beside a good alternative would go unnoticed, so each is looked at. Who is left out need
        // not exist, unless it looks misspelt.
        for term in &self.0 {
            let (Term::Is(key, wanted) | Term::IsNot(key, wanted)) = term;
            let may_be_unknown = |near: &Option<String>| matches!(term, Term::IsNot(..)) && near.is_none();
            let Some(known) = values.get(key) else {
                let near = nearest(key.as_str(), values.keys().map(|key| key.as_str())).map(str::to_owned);
                if may_be_unknown(&near) {
                    continue;
                }
                let known = values.keys().map(ToString::to_string).collect();
                return Err(Unmatched::Key { key: key.clone(), near, known });
            };
            if let Some(value) = wanted.iter().find(|value| !known.contains(value)) {
                let near = nearest(value.as_str(), known.iter().map(|value| value.as_str())).map(str::to_owned);
                if may_be_unknown(&near) {
                    continue;
                }
                let known = known.iter().map(ToString::to_string).collect();
                return Err(Unmatched::Value { key: key.clone(), value: value.clone(), near, known });
            }
        }
        if is_matched { Ok(()) } else { Err(Unmatched::Together(self.clone())) }
    }
}

impl Term {
    fn matches(&self, labels: &Labels) -> bool {
        let fits = |key: &LabelKey, values: &BTreeSet<LabelValue>| {
            labels.get(key).is_some_and(|value| values.is_empty() || values.contains(value))
        };
        match self {
            Self::Is(key, values) => fits(key, values),
            Self::IsNot(key, values) => !fits(key, values),
        }
    }

    fn parse(text: &str) -> Result<Self, LabelError> {
        let values = |text: &str| text.split('|').map(str::parse).collect::<Result<BTreeSet<LabelValue>, _>>();
        if let Some((key, value)) = text.split_once("!=") {
            return Ok(Self::IsNot(key.parse()?, values(value)?));
        }
        if let Some((key, value)) = text.split_once('=') {
            return Ok(Self::Is(key.parse()?, values(value)?));
        }
        match text.strip_prefix('!') {
            Some(key) => Ok(Self::IsNot(key.parse()?, BTreeSet::new())),
            None => Ok(Self::Is(text.parse()?, BTreeSet::new())),
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let shown = || text.chars().take(120).collect::<String>();
        if text.trim() == "all" {
            return Ok(Self::default());
        }
        let mut terms = Vec::new();
        for part in text.split(',').map(str::trim) {
            if part.is_empty() {
                return Err(SelectorError::Empty(shown()));
            }
            if terms.len() == MAX_TERMS {
                return Err(SelectorError::TooMany);
            }
            terms.push(Term::parse(part).map_err(|why| SelectorError::Label(shown(), why))?);
        }
        Ok(Self(terms))
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all");
        }
        for (place, term) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            let (Term::Is(key, values) | Term::IsNot(key, values)) = term;
            let joined = values.iter().map(LabelValue::as_str).collect::<Vec<_>>().join("|");
            match (term, values.is_empty()) {
                (Term::Is(..), true) => write!(f, "{key}")?,
                (Term::Is(..), false) => write!(f, "{key}={joined}")?,
                (Term::IsNot(..), true) => write!(f, "!{key}")?,
                (Term::IsNot(..), false) => write!(f, "{key}!={joined}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::label::Label;

    fn labels(text: &str) -> Labels {
        text.split_whitespace().map(|text| text.parse::<Label>().unwrap()).map(|it| (it.key, it.value)).collect()
    }

    fn selects(selector: &str, of: &str) -> bool {
        selector.parse::<Selector>().unwrap().matches(&labels(of))
    }

    #[test]
    fn every_condition_has_to_hold() {
        assert!(selects("site=berlin,room=12|13", "site=berlin room=13"));
        assert!(!selects("site=berlin,room=12|13", "site=berlin room=14"));
        assert!(selects("canary", "canary") && !selects("canary", "site=x"));
        assert!(selects("!canary,room!=12", "site=x") && !selects("room!=12", "room=12"));
        assert!(selects("all", ""));
    }

    #[test]
    fn a_selector_that_means_nobody_says_what_there_is() {
        let fleet = [labels("site=berlin room=12"), labels("site=hamburg stage=canary")];
        let said = |text: &str| text.parse::<Selector>().unwrap().check(&fleet).unwrap_err().to_string();
        assert_eq!(said("stge=canary"), "no machine has a label `stge`; did you mean `stage`?");
        assert_eq!(said("site=berlni"), "no machine has `site=berlni`; did you mean `berlin`?");
        assert_eq!(said("site=berlin|hmburg"), "no machine has `site=hmburg`; did you mean `hamburg`?");
        assert_eq!(said("zzzzzz=1"), "no machine has a label `zzzzzz`; there are the labels room, site, stage");
        assert_eq!(said("site=berlin,stage=canary"), "no machine fits all of `site=berlin,stage=canary`");
        assert_eq!(said("!stge"), "no machine has a label `stge`; did you mean `stage`?");
        for good in ["site=berlin", "!out-of-order", "room!=99"] {
            assert_eq!(good.parse::<Selector>().unwrap().check(&fleet), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_selects_nothing_is_refused() {
        for text in ["", "a,,b", "a=b c", "A=1", &vec!["a"; 33].join(",")] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_selector_is_read_back_as_it_is_shown(text in "[a-z!=|,0-9]{0,24}") {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(selector.to_string().parse::<Selector>(), Ok(selector));
            }
        }
    }
}
