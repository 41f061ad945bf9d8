//! Files that are made for each machine: a file `etc/x.tmpl` of a `root/` tree is the template of `etc/x`, in the
//! language of Jinja, over `machine` (who asks), `profile` and `vars` (DESIGN section 7).
//!
//! A [`TemplateSet`] is what a bundle carries of them; a [`Renderer`] is one that was understood and makes the files of
//! one machine. It is strict: a name nobody knows is a mistake, never an empty text.
//!
//! Whatever a template says, and whatever a machine says of itself, making its files ends within a bound of steps and
//! of bytes: see [`LARGEST_OUTPUT`], [`LARGEST_ALTOGETHER`] and the module `meter`. What goes beyond is an error with
//! the line.

mod limits;
mod meter;
mod metered;
mod names;
mod program;
mod render;
mod set;

pub use render::{LARGEST_ALTOGETHER, LARGEST_OUTPUT, Rendered, Renderer};
pub use set::{SetError, Template, TemplateSet};

use std::collections::BTreeMap;

use super::profile::variable::Value;

/// What the name of a template ends with; the file on the machine has its name without it.
pub const SUFFIX: &str = ".tmpl";

/// The values that a machine gives to variables.
pub type Vars = BTreeMap<String, Value>;

/// Why a machine's files cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template is wrong, or does not get along with a value.
    #[error("{path}{SUFFIX}, line {line}: {why}")]
    Template {
        /// The file on the machine.
        path: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong, and what is known.
        why: String,
    },
    /// The file would be too large for what one is meant for; a template may have run away.
    #[error("{path}{SUFFIX} makes more than {LARGEST_OUTPUT} bytes; shorten what it writes")]
    TooLarge {
        /// The file on the machine.
        path: String,
    },
    /// The files together would be too large.
    #[error(
        "{path}{SUFFIX} and the templates before it make more than {LARGEST_ALTOGETHER} bytes; shorten what they write"
    )]
    TooMuch {
        /// The file on the machine with which it is too much.
        path: String,
    },
    /// A variable that each machine has to give a value has none here.
    #[error(
        "the variable `{name}` has no value for this machine{}; write one into its `vars` in the site file",
        told(description)
    )]
    NoValue {
        /// The variable.
        name: String,
        /// What it is for.
        description: String,
    },
    /// A machine gives a variable a value of another kind than its declaration says.
    #[error("the variable `{name}` is of type {declared}, and `{value}` is of type {given}")]
    WrongKind {
        /// The variable.
        name: String,
        /// The type in the profile.
        declared: &'static str,
        /// The machine's value.
        value: String,
        /// Its type.
        given: &'static str,
    },
    /// A machine gives a value to a variable the profile does not have.
    #[error("the profile has no variable `{name}`; {hint}")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The nearest one, or all there are.
        hint: String,
    },
}

impl TemplateError {
    /// The line of the template that is wrong, counted from 1, when it is one line.
    #[must_use]
    pub const fn line(&self) -> Option<usize> {
        match self {
            Self::Template { line, .. } => Some(*line),
            _ => None,
        }
    }
}

fn told(description: &str) -> String {
    if description.is_empty() { String::new() } else { format!(" ({description})") }
}
