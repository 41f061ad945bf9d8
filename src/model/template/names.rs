//! The names templates may use, and which of them a text uses.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::Environment;

use super::{TemplateError, TemplateSet};
use crate::model::name::nearest;

/// What templates know of `machine`.
pub(super) const MACHINE: [&str; 9] =
    ["mac", "uuid", "serial", "platform", "buildarch", "board_serial", "asset", "manufacturer", "product"];

/// The name of a machine's labels beside those. Which labels there are is not known before a machine asks.
pub(super) const LABELS: &str = "labels";

/// The three things templates know.
const ROOTS: [&str; 3] = ["machine", "profile", "vars"];

/// Refuses a name nobody knows, wherever in the template it is: a branch no trial takes may be some machine's.
pub(super) fn check(
    set: &TemplateSet,
    environment: &Environment<'_>,
    path: &str,
    text: &str,
    used: &BTreeSet<String>,
) -> Result<(), TemplateError> {
    let known: BTreeMap<&str, Vec<&str>> = BTreeMap::from([
        ("machine", MACHINE.into_iter().chain([LABELS]).collect()),
        ("profile", set.profile.keys().map(String::as_str).collect()),
        ("vars", set.vars.keys().map(String::as_str).collect()),
    ]);
    let functions: Vec<String> = environment.globals().map(|(name, _)| name.to_owned()).collect();
    let wrong =
        |name: &str, why: String| TemplateError::Template { path: path.to_owned(), line: line_of(text, name), why };
    for name in used {
        let mut parts = name.split('.');
        let root = parts.next().unwrap_or_default();
        let Some(fields) = known.get(root) else {
            if functions.iter().any(|function| function == root) {
                continue;
            }
            let near = fields_with(&known, root).or_else(|| nearest(root, ROOTS).map(str::to_owned));
            let hint = near.map_or_else(
                || format!("templates know {}", ROOTS.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(wrong(root, format!("there is no `{root}`; {hint}")));
        };
        let Some(field) = parts.next() else { continue };
        if !fields.contains(&field) {
            let said = format!("{root}.{field}");
            return Err(wrong(&said, format!("there is no `{said}`; {}", hint(field, fields, &format!("{root}.")))));
        }
    }
    Ok(())
}

/// Which name was meant, or which there are.
pub(super) fn hint(wrong: &str, known: &[&str], prefix: &str) -> String {
    match nearest(wrong, known.iter().copied()) {
        Some(near) => format!("did you mean `{prefix}{near}`?"),
        None if known.is_empty() => "none is declared in [vars]".to_owned(),
        None => {
            format!("there are {}", known.iter().map(|it| format!("`{prefix}{it}`")).collect::<Vec<_>>().join(", "))
        }
    }
}

/// `pve_host` where `vars.pve_host` was meant.
fn fields_with(known: &BTreeMap<&str, Vec<&str>>, name: &str) -> Option<String> {
    known.iter().rev().find(|(_, fields)| fields.contains(&name)).map(|(root, _)| format!("{root}.{name}"))
}

/// The first line in which a name stands, counted from 1.
fn line_of(text: &str, name: &str) -> usize {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let stands = |line: &str| {
        line.match_indices(name).any(|(start, _)| {
            let (before, after) = (&line[..start], &line[start + name.len()..]);
            !before.ends_with(|c| is_part(c) || c == '.') && !after.starts_with(is_part)
        })
    };
    text.lines().position(stands).map_or(1, |place| place + 1)
}
