//! `bivouac check`: what is wrong with profiles, and what to do.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::Error;
use serde_json::{Value, json};

use super::Outcome;
use super::pipeline::all_or;
use super::report::{self, plain};
use crate::build::{Finding, Level, Recipe};
use crate::config::Settings;
use crate::model::name::ProfileName;

/// A profile, looked at: its findings, or why it cannot be read.
type Checked<'a> = (&'a ProfileName, Result<Recipe, Error>);

/// Looks for mistakes in the named profiles, or in all there are. One that cannot be read keeps no other from being
/// looked at.
pub(super) fn check(
    settings: &Settings,
    profiles: &[ProfileName],
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let names = all_or(settings, profiles)?;
    let read = |name| Recipe::read(&settings.profiles, &settings.overlays, name).map_err(Error::from);
    let checked: Vec<Checked<'_>> = names.iter().map(|name| (name, read(name))).collect();
    if as_json {
        let all: Vec<Value> = checked.iter().map(describe).collect();
        serde_json::to_writer_pretty(&mut *out, &all)?;
        writeln!(out)?;
    } else {
        for recipe in checked.iter().filter_map(|(_, recipe)| recipe.as_ref().ok()) {
            out.write_all(plain(&text(recipe)).as_bytes())?;
        }
    }
    let has_errors =
        checked.iter().filter_map(|(_, recipe)| recipe.as_ref().ok()).flat_map(Recipe::findings).any(Finding::is_fatal);
    let mut unread = checked.into_iter().filter_map(|(_, recipe)| recipe.err()).peekable();
    while let Some(error) = unread.next() {
        // The last one is said where every command's is.
        if unread.peek().is_none() {
            return Err(error);
        }
        report::error(&error, &mut std::io::stderr().lock());
    }
    Ok(if has_errors { Outcome::Refused } else { Outcome::Done })
}

/// The findings of one profile for a person: counts, then each rule with what breaks it, the effect and the fix. What
/// has the same effect and fix is said together.
fn text(recipe: &Recipe) -> String {
    let findings = recipe.findings();
    let mut text = format!("{}: {}\n", recipe.name, counts(findings));
    let is_alike = |a: &Finding, b: &Finding| {
        a.rule == b.rule && a.allowed == b.allowed && (a.allowed.is_some() || a.effect == b.effect && a.fix == b.fix)
    };
    for group in findings.chunk_by(is_alike) {
        let Some(first) = group.first() else { continue };
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n  {} {}: {}", word(first), first.rule.id, first.rule.about);
        for finding in group {
            let source = finding.source().map_or_else(String::new, |source| format!("  [{source}]"));
            let _ = writeln!(text, "    {}{source}", finding.subject());
        }
        let _ = match &first.allowed {
            Some(reason) => writeln!(text, "    allowed: {reason}"),
            None => writeln!(text, "    effect: {}\n    fix: {}", first.effect, first.fix),
        };
    }
    if !findings.is_empty() {
        text.push('\n');
    }
    text
}

/// How a finding is headed.
fn word(finding: &Finding) -> &'static str {
    if finding.allowed.is_some() { "allowed" } else { finding.rule.level.word() }
}

/// `2 errors, 1 warning`, or that there is nothing.
fn counts(findings: &[Finding]) -> String {
    let words = Level::ALL.map(Level::word).into_iter().chain(["allowed"]);
    let counted = words.filter_map(|kind| {
        let count = findings.iter().filter(|finding| word(finding) == kind).count();
        let plural = if count == 1 || !matches!(kind, "error" | "warning") { "" } else { "s" };
        (count > 0).then(|| format!("{count} {kind}{plural}"))
    });
    let counted: Vec<String> = counted.collect();
    if counted.is_empty() { "no mistakes found".to_owned() } else { counted.join(", ") }
}

/// The same for programs.
fn describe((name, recipe): &Checked<'_>) -> Value {
    let finding = |it: &Finding| {
        json!({
            "rule": it.rule.id,
            "level": it.rule.level,
            "about": it.rule.about,
            "path": it.path,
            "layer": it.by,
            "file": it.place.as_ref().map(|place| &place.file),
            "line": it.place.as_ref().and_then(|place| place.line),
            "what": it.what,
            "effect": it.effect,
            "fix": it.fix,
            "allowed": it.allowed,
            "allowable": !it.is_final,
        })
    };
    let findings: Vec<Value> = recipe.iter().flat_map(Recipe::findings).map(finding).collect();
    let error = recipe.as_ref().err().map(|error| format!("{error:#}"));
    json!({ "profile": name, "error": error, "findings": findings })
}
