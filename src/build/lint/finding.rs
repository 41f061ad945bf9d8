//! One mistake, with everything its author needs to know of it.

use super::rule::{Level, Rule, UNKNOWN_PACKAGE};

/// A mistake, or what looks like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The path on the machine it is about.
    pub path: Option<String>,
    /// The layer that brought it, when one did.
    pub by: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What would happen on the machine.
    pub effect: String,
    /// What to do.
    pub fix: String,
    /// Why it is no mistake here, when the profile says so.
    pub allowed: Option<String>,
    /// Whether no `[[allow]]` lets it through: what it is about was left out, so there is nothing to let through, or the
    /// profile has a word of its own for it.
    pub is_final: bool,
}

impl Finding {
    /// A finding about nothing in particular that an `[[allow]]` may let through.
    pub(in crate::build) fn new(
        rule: Rule,
        what: impl Into<String>,
        effect: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            rule,
            path: None,
            by: None,
            what: what.into(),
            effect: effect.into(),
            fix: fix.into(),
            allowed: None,
            is_final: false,
        }
    }

    /// The same about a path on the machine.
    pub(in crate::build) fn at(self, path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..self }
    }

    /// The same with the layer whose mistake it is.
    pub(in crate::build) fn by(self, layer: impl Into<String>) -> Self {
        Self { by: Some(layer.into()), ..self }
    }

    /// The same about something that was left out.
    pub(in crate::build) fn left_out(self) -> Self {
        Self { is_final: true, ..self }
    }

    /// What is wrong, with the path it is about wherever the words do not name it.
    #[must_use]
    pub fn subject(&self) -> String {
        match &self.path {
            Some(path) if !self.what.contains(path.as_str()) => format!("{path}: {}", self.what),
            _ => self.what.clone(),
        }
    }

    /// The finding in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let by = self.by.as_ref().map_or_else(String::new, |by| format!(" [{by}]"));
        format!("{} ({}){by}: {}; {}", self.subject(), self.rule.id, self.effect, self.fix)
    }

    /// Whether the packages, which only a build knows, may show that it is none.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.rule, UNKNOWN_PACKAGE)
    }

    /// Whether it stops a build.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.rule.level == Level::Error && self.allowed.is_none()
    }
}
