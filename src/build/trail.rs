//! Which layer said what, so that `explain` can show where every value comes from and what it hid.

use std::collections::BTreeMap;
use std::fmt;

/// What is explained: something of a kind, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Its kind.
    pub kind: Topic,
    /// Its name among those of its kind.
    pub name: String,
}

/// The kinds of things a profile decides, in the order in which they are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Host name, release, time zone and so on.
    Value,
    /// A kernel argument.
    Argument,
    /// A package of the world.
    Package,
    /// A service, as `RUNLEVEL/NAME`.
    Service,
    /// A property of a user or group, as `NAME.PROPERTY`.
    Account,
    /// A property of the network.
    Network,
    /// A variable of templates.
    Variable,
    /// A path on the machine.
    File,
    /// The mode of a path, where somebody set it.
    Mode,
    /// Owner and group of a path, where somebody set them.
    Owner,
}

/// What one layer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The layer: `overlay base`, `profile vdi`, [`DEFAULT`], or `Bivouac` for what follows from other values.
    pub by: String,
    /// What it said, empty when the name says everything; nothing when it took the thing out.
    pub said: Option<String>,
}

/// Who is named where no layer says anything.
pub const DEFAULT: &str = "default";

/// Who is named as the author of what follows from other values.
pub(super) const BIVOUAC: &str = "Bivouac";

/// Everything that was said, in the order in which it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trail(BTreeMap<Subject, Vec<Step>>);

impl Topic {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Value,
        Self::Argument,
        Self::Package,
        Self::Service,
        Self::Account,
        Self::Network,
        Self::Variable,
        Self::File,
        Self::Mode,
        Self::Owner,
    ];
}

impl fmt::Display for Topic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Value => "value",
            Self::Argument => "argument",
            Self::Package => "package",
            Self::Service => "service",
            Self::Account => "account",
            Self::Network => "network",
            Self::Variable => "variable",
            Self::File => "file",
            Self::Mode => "mode",
            Self::Owner => "owner",
        })
    }
}

impl Trail {
    /// Notes that a layer said something.
    pub(super) fn say(&mut self, kind: Topic, name: impl Into<String>, by: &str, said: impl Into<String>) {
        self.step(kind, name.into(), Step { by: by.to_owned(), said: Some(said.into()) });
    }

    /// Notes that a layer took something out.
    pub(super) fn take_out(&mut self, kind: Topic, name: impl Into<String>, by: &str) {
        self.step(kind, name.into(), Step { by: by.to_owned(), said: None });
    }

    /// Notes that something of a file was changed, and before the first change what it was.
    pub(super) fn change(&mut self, kind: Topic, path: &str, by: &str, was: String, said: String) {
        if !self.0.contains_key(&Subject { kind, name: path.to_owned() }) {
            let author = self.owner(Topic::File, path).unwrap_or(DEFAULT).to_owned();
            self.say(kind, path, &author, was);
        }
        self.say(kind, path, by, said);
    }

    fn step(&mut self, kind: Topic, name: String, step: Step) {
        self.0.entry(Subject { kind, name }).or_default().push(step);
    }

    /// The layer whose word counts now.
    pub(super) fn owner(&self, kind: Topic, name: &str) -> Option<&str> {
        let steps = self.0.get(&Subject { kind, name: name.to_owned() })?;
        steps.last().filter(|step| step.said.is_some()).map(|step| step.by.as_str())
    }

    /// What was said of a subject, the last word last.
    pub(super) fn steps(&self, subject: &Subject) -> &[Step] {
        self.0.get(subject).map(Vec::as_slice).unwrap_or_default()
    }

    /// Every subject and what was said of it, the last word last.
    pub fn iter(&self) -> impl Iterator<Item = (&Subject, &[Step])> {
        self.0.iter().map(|(subject, steps)| (subject, steps.as_slice()))
    }
}
