//! `bivouac check`: what is wrong with profiles, and what to do.

use std::fmt::Write as _;
use std::io::Write;

use serde_json::{Value, json};

use super::Outcome;
use super::pipeline::all_or;
use super::report::plain;
use crate::build::{Finding, Level, Recipe};
use crate::config::Settings;
use crate::model::name::ProfileName;

/// Looks for mistakes in the named profiles, or in all there are.
pub(super) fn check(
    settings: &Settings,
    profiles: &[ProfileName],
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let names = all_or(settings, profiles)?;
    let read = |name| Recipe::read(&settings.profiles, &settings.overlays, name);
    // All are read before the first is shown: a list that ends in the middle would look complete.
    let recipes: Vec<Recipe> = names.iter().map(read).collect::<Result<_, _>>()?;
    if as_json {
        let all: Vec<Value> = recipes.iter().map(describe).collect();
        serde_json::to_writer_pretty(&mut *out, &all)?;
        writeln!(out)?;
    } else {
        for recipe in &recipes {
            out.write_all(plain(&text(recipe)).as_bytes())?;
        }
    }
    let has_errors = recipes.iter().flat_map(Recipe::findings).any(Finding::is_fatal);
    Ok(if has_errors { Outcome::Refused } else { Outcome::Done })
}

/// The findings of one profile for a person: counts, then each with its cause, effect and fix.
fn text(recipe: &Recipe) -> String {
    let mut text = format!("{}: {}\n", recipe.name, counts(recipe.findings()));
    for finding in recipe.findings() {
        let by = finding.by.as_ref().map_or_else(String::new, |by| format!("  [{by}]"));
        let path = finding.path.as_ref().map_or_else(String::new, |path| format!("  {path}"));
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n  {} {}{path}{by}", word(finding), finding.rule.id);
        let _ = writeln!(text, "    {}", finding.what);
        let _ = match &finding.allowed {
            Some(reason) => writeln!(text, "    allowed: {reason}"),
            None => writeln!(text, "    effect: {}\n    fix: {}", finding.effect, finding.fix),
        };
    }
    if !recipe.findings().is_empty() {
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
fn describe(recipe: &Recipe) -> Value {
    let finding = |it: &Finding| {
        json!({
            "rule": it.rule.id,
            "level": it.rule.level,
            "about": it.rule.about,
            "path": it.path,
            "layer": it.by,
            "what": it.what,
            "effect": it.effect,
            "fix": it.fix,
            "allowed": it.allowed,
        })
    };
    let findings: Vec<Value> = recipe.findings().iter().map(finding).collect();
    json!({ "profile": recipe.name, "findings": findings })
}
