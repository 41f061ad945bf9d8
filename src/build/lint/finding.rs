//! One mistake, with everything its author needs to know of it.

use std::fmt;
use std::path::PathBuf;

use super::rule::{KEY, Level, Rule, UNKNOWN_PACKAGE};
use crate::model::profile::Problem;

/// Where the author of a layer wrote something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The profile or overlay file, or a file below `root/`.
    pub file: PathBuf,
    /// Its line, counted from 1; nothing when it is about the file as a whole.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file.display())?;
        self.line.map_or(Ok(()), |line| write!(out, ":{line}"))
    }
}

/// A mistake, or what looks like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The path on the machine it is about.
    pub path: Option<String>,
    /// The layer that brought it, when one did.
    pub by: Option<String>,
    /// The key of that layer that says it, when one does: `users`, `kiosk`, `uid`.
    pub(in crate::build) key: Vec<String>,
    /// Where that key stands, or the file of the layer that is at the path.
    pub place: Option<Place>,
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
            key: Vec::new(),
            place: None,
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

    /// The same with the key that says what is wrong.
    pub(in crate::build) fn in_key(self, key: &[&str]) -> Self {
        Self { key: key.iter().map(|part| (*part).to_owned()).collect(), ..self }
    }

    /// KEY-1: what was left out of a layer's file.
    pub(in crate::build) fn of_problem(problem: Problem, layer: &str, file: PathBuf) -> Self {
        let Problem { line, what, fix } = problem;
        let finding = Self::new(KEY, what, "the key is left out, so the profile is not what its author wrote", fix);
        Self { place: Some(Place { file, line: Some(line) }), ..finding.by(layer).left_out() }
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
        let source = self.source().map_or_else(String::new, |source| format!(" [{source}]"));
        format!("{} ({}){source}: {}; {}", self.subject(), self.rule.id, self.effect, self.fix)
    }

    /// Whose it is, and where that stands: `profile vdi, profiles/vdi/profile.toml:3`.
    #[must_use]
    pub fn source(&self) -> Option<String> {
        let all = [self.by.clone(), self.place.as_ref().map(Place::to_string)];
        let all: Vec<String> = all.into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join(", "))
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
