//! Values of variables on the command line: `--var NAME=VALUE`.

use anyhow::Context as _;

use crate::model::profile::variable::Kind;
use crate::model::template::{Renderer, Vars};

/// Adds what is written to the values a machine has, each of the kind the profile declares.
///
/// # Errors
/// When something is no value, or of another kind. Names that the profile does not declare are told by
/// [`Renderer::accepts`].
pub(super) fn add(vars: &mut Vars, written: &[String], renderer: &Renderer) -> anyhow::Result<()> {
    for assigned in written {
        let (name, text) =
            assigned.split_once('=').with_context(|| format!("`{assigned}` is no value; write NAME=VALUE"))?;
        let kind = renderer.set().vars.get(name).map_or(Kind::String, |declaration| declaration.kind);
        let value = kind
            .read(text)
            .with_context(|| format!("the variable `{name}` is of type {}, and `{text}` is not", kind.word()))?;
        vars.insert(name.to_owned(), value);
    }
    Ok(())
}
