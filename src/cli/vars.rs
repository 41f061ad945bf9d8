//! Values of variables on the command line: `--var NAME=VALUE`.

use std::str::FromStr;

use anyhow::Context as _;

use crate::model::profile::variable::Kind;
use crate::model::template::{Renderer, Vars};

/// A value that somebody wrote for a variable; whether there is such a variable, only a profile can tell.
#[derive(Debug, Clone)]
pub(super) struct Assigned {
    name: String,
    text: String,
}

/// A text without `=`.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no value; write NAME=VALUE")]
pub(super) struct AssignedError(String);

impl FromStr for Assigned {
    type Err = AssignedError;

    fn from_str(text: &str) -> Result<Self, AssignedError> {
        let (name, text) = text.split_once('=').ok_or_else(|| AssignedError(text.to_owned()))?;
        Ok(Self { name: name.to_owned(), text: text.to_owned() })
    }
}

/// Adds what is written to the values a machine has, each of the kind the profile declares.
///
/// # Errors
/// When something is of another kind. Names that the profile does not declare are told by [`Renderer::accepts`].
pub(super) fn add(vars: &mut Vars, written: &[Assigned], renderer: &Renderer) -> anyhow::Result<()> {
    for Assigned { name, text } in written {
        let kind = renderer.set().vars.get(name).map_or(Kind::String, |declaration| declaration.kind);
        let value = kind
            .read(text)
            .with_context(|| format!("the variable `{name}` is of type {}, and `{text}` is not", kind.word()))?;
        vars.insert(name.clone(), value);
    }
    Ok(())
}
