//! `bivouac render`: what templates make of a machine, from the working copy.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value as Json, json};

use super::progress::say;
use super::vars::{self, Assigned};
use crate::build::{BaseAccounts, Finding, Recipe};
use crate::config::Settings;
use crate::fleet::Fleet;
use crate::model::identity::Identity;
use crate::model::label::rule::labels_of;
use crate::model::ledger::Record;
use crate::model::mac::Mac;
use crate::model::name::{ProfileName, nearest};
use crate::model::template::{Renderer, SUFFIX, Vars};

/// What to render, and for whom.
#[derive(Debug, Args)]
pub(super) struct RenderArgs {
    /// The profile, as it is in its folder now
    profile: ProfileName,
    /// The file on the machine, such as etc/hostname; every file with a template when absent
    file: Option<String>,
    /// The machine, by the address of its network card. What it said of itself when it booted last is known, and so are
    /// its labels and its values: `vars` of the site file, and what `machines set` says
    #[arg(long, value_name = "MAC")]
    machine: Mac,
    /// A value of a variable, instead of the machine's or the profile's; may be repeated. A list has commas
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<Assigned>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn render(settings: &Settings, args: RenderArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let RenderArgs { profile, file, machine, vars, json } = args;
    let recipe = Recipe::read(&settings.profiles, &settings.overlays, &profile)?;
    let bare = file.as_deref().map(bare_path);
    let concerns = |finding: &Finding| match (&finding.path, bare) {
        (Some(path), Some(wanted)) => path == wanted,
        _ => true,
    };
    let wrong: Vec<String> =
        recipe.template_findings().filter(|it| it.is_fatal() && concerns(it)).map(Finding::line).collect();
    anyhow::ensure!(
        wrong.is_empty(),
        "the templates of profile `{profile}` have mistakes: {}\n  `bivouac check {profile}` says more",
        wrong.join("\n  and ")
    );
    if recipe.findings().iter().any(Finding::is_fatal) {
        say(&format!("{profile} has mistakes, which do not keep this from being shown: bivouac check {profile}"));
    }
    let renderer = recipe.templates(&BaseAccounts::default(), 0)?;
    let files = &renderer.set().files;
    if files.is_empty() {
        bail!("profile `{profile}` has no templates; a file of a root/ folder whose name ends in `{SUFFIX}` is one");
    }
    let wanted = bare.map(|file| place(&renderer, file)).transpose()?;
    let (identity, record) = known(settings, machine).await?;
    let own = values(settings, &profile, (&machine, &record), &vars, &renderer)?;
    let labels = labels_of(&settings.assignments.labels, &identity, Some(&record.labels));
    let made = renderer.render(&identity, &labels, &own).with_context(|| format!("machine {machine} has no files"))?;
    let shown: Vec<_> = made
        .iter()
        .filter(|made| wanted.is_none_or(|wanted| made.template == wanted))
        .filter_map(|made| Some((files.get(made.template)?, &made.text)))
        .collect();
    if json {
        let list: Vec<Json> = shown
            .iter()
            .map(|(file, text)| {
                let mode = format!("{:04o}", file.mode);
                json!({ "path": file.path, "mode": mode, "uid": file.uid, "gid": file.gid, "text": text })
            })
            .collect();
        serde_json::to_writer_pretty(&mut *out, &list)?;
        writeln!(out)?;
    } else if wanted.is_some() {
        shown.iter().try_for_each(|(_, text)| out.write_all(text.as_bytes()))?;
    } else {
        for (number, (file, text)) in shown.iter().enumerate() {
            let gap = if number == 0 { "" } else { "\n" };
            let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            write!(
                out,
                "{gap}==> {} (mode {:04o}, owner {}:{}) <==\n{text}{end}",
                file.path, file.mode, file.uid, file.gid
            )?;
        }
    }
    Ok(())
}

/// What a machine said of itself, and what people said of it.
async fn known(settings: &Settings, mac: Mac) -> anyhow::Result<(Arc<Identity>, Record)> {
    let place = settings.fleet();
    if place.is_absent() {
        return Ok((Identity::of(mac).into(), Record::default()));
    }
    let fleet = Fleet::look_on(&place).await?;
    let found = fleet.machines().await?.into_iter().map(|machine| machine.identity).find(|known| known.mac == mac);
    let record = fleet.book().read().await?.record(&mac.into()).cloned();
    Ok((found.unwrap_or_else(|| Identity::of(mac).into()), record.unwrap_or_default()))
}

/// The path of a file, which may be written with a slash before it or with the template's name.
fn bare_path(file: &str) -> &str {
    let path = file.trim_start_matches('/');
    path.strip_suffix(SUFFIX).unwrap_or(path)
}

/// The place of the template of a file.
fn place(renderer: &Renderer, wanted: &str) -> anyhow::Result<usize> {
    let known = || renderer.set().files.iter().map(|file| file.path.as_str());
    known().position(|path| path == wanted).with_context(|| match nearest(wanted, known()) {
        Some(near) => format!("no template makes `{wanted}`; did you mean `{near}`?"),
        None => {
            format!("no template makes `{wanted}`; there are templates of {}", known().collect::<Vec<_>>().join(", "))
        }
    })
}

/// The values of a machine: those of the site file, then those of `machines set`, then those of the command line.
fn values(
    settings: &Settings,
    profile: &ProfileName,
    (machine, record): (&Mac, &Record),
    written: &[Assigned],
    renderer: &Renderer,
) -> anyhow::Result<Vars> {
    let assignments = &settings.assignments;
    let mut own = assignments.vars.get(machine).cloned().unwrap_or_default();
    if assignments.of(machine).is_some_and(|follows| follows.profile != *profile) {
        // Its values are for another profile.
        own.retain(|name, _| renderer.set().vars.contains_key(name));
    }
    own.extend(renderer.read(&record.vars));
    vars::add(&mut own, written, renderer)?;
    renderer.accepts(&own)?;
    Ok(own)
}
