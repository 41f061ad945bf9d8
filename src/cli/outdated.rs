//! `bivouac outdated`: what the mirror has that is newer than the locks of profiles. Changes no lock.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::io::Write;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::pipeline::{all_or, load};
use super::progress::say;
use super::report::{chain, plain, table};
use super::workshop::{Access, Today, Workshop, misfit};
use super::{Outcome, lock};
use crate::apk::Secdb;
use crate::build::{Newer, Recipe, newer};
use crate::config::Settings;
use crate::model::alpine::Branch;
use crate::model::lock::{Change, Lock};
use crate::model::name::ProfileName;

/// How many advisories stand in the line of a package; `--json` has all.
const SHOWN: usize = 3;

/// `bivouac outdated`: refused when there is anything newer.
pub(super) async fn outdated(
    settings: &Settings,
    profiles: &[ProfileName],
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let (mut asked, mut without): (Vec<(Recipe, Lock)>, Vec<ProfileName>) = Default::default();
    for name in all_or(settings, profiles)? {
        let recipe = load(settings, &name)?;
        match lock::read(settings, &name)? {
            Some(lock) => asked.push((recipe, lock)),
            None => without.push(name),
        }
    }
    refuse_without_lock(&without)?;
    let mut workshop = Workshop::open(settings, Access::Online)?;
    let mut advisories = Advisories { base: settings.secdb.as_deref(), known: HashMap::new() };
    let mut compared = Vec::new();
    for (recipe, lock) in &asked {
        let name = &recipe.name;
        let comparison = Comparison::make(&mut workshop, &mut advisories, recipe, lock).await;
        compared.push(comparison.with_context(|| format!("cannot tell what is newer for profile `{name}`"))?);
    }
    if as_json {
        let described: Vec<Value> = compared.iter().map(Comparison::describe).collect();
        serde_json::to_writer_pretty(&mut *out, &described)?;
        writeln!(out)?;
    } else {
        show(&compared, out)?;
    }
    Ok(if compared.iter().all(Comparison::is_current) { Outcome::Done } else { Outcome::Refused })
}

/// What was never locked is neither current nor outdated; an answer about the others would pass for one about it.
fn refuse_without_lock(profiles: &[ProfileName]) -> anyhow::Result<()> {
    let commands: Vec<&str> = profiles.iter().map(ProfileName::as_str).collect();
    match profiles {
        [] => Ok(()),
        [name] => bail!("profile `{name}` has no lock that something could be newer than; run `bivouac lock {name}`"),
        several => bail!(
            "{} profiles have no lock that something could be newer than; run `bivouac lock {}`",
            several.len(),
            commands.join(" ")
        ),
    }
}

/// The lock of a profile against what there is now.
struct Comparison<'a> {
    profile: &'a ProfileName,
    lock: &'a Lock,
    newer: Vec<Newer>,
    /// Why an update would fail.
    unsolvable: Option<String>,
    /// What else there is to know.
    notes: Vec<String>,
}

impl<'a> Comparison<'a> {
    async fn make(
        workshop: &mut Workshop,
        advisories: &mut Advisories<'_>,
        recipe: &'a Recipe,
        lock: &'a Lock,
    ) -> anyhow::Result<Self> {
        let set = workshop.netboot_set(recipe, Some(lock)).await?;
        let stale = misfit(recipe, &set, lock).map(|why| format!("the lock {why}; the next build changes it"));
        let Today { lock: now, offered, unsolvable } = workshop.today(recipe, &set, lock).await?;
        let mut notes: Vec<String> = stale.into_iter().collect();
        let is_moved = lock.changes(&now).iter().any(|change| matches!(change, Change::Moved { .. }));
        let repositories = if is_moved { recipe.alpine.repositories.as_slice() } else { &[] };
        let mut known = Vec::new();
        for found in advisories.of(workshop, now.alpine.version.branch(), repositories).await {
            match found {
                Ok(database) => known.push(database),
                Err(why) => notes.push(why.clone()),
            }
        }
        Ok(Self {
            profile: &recipe.name,
            lock,
            newer: newer(lock, &now, &offered, &known),
            // The error itself says no more than the line before it.
            unsolvable: unsolvable.and_then(|error| error.source().map(ToString::to_string)),
            notes,
        })
    }

    fn is_current(&self) -> bool {
        self.newer.is_empty() && self.unsolvable.is_none()
    }

    fn describe(&self) -> Value {
        json!({
            "profile": self.profile,
            "alpine": self.lock.alpine.version,
            "packages": self.lock.packages.len(),
            "is_current": self.is_current(),
            "newer": self.newer,
            "unsolvable": self.unsolvable,
            "notes": self.notes,
        })
    }

    /// How it ended, in one line.
    fn summary(&self) -> String {
        let Self { profile, lock, newer, .. } = self;
        if self.is_current() {
            return format!(
                "{profile} is up to date: Alpine {}, {} packages",
                lock.alpine.version,
                lock.packages.len()
            );
        }
        let fixed: BTreeSet<&String> = newer.iter().flat_map(|it| &it.fixes).collect();
        let security = match fixed.len() {
            0 => String::new(),
            1 => ", 1 advisory fixed".to_owned(),
            count => format!(", {count} advisories fixed"),
        };
        let count = newer.len();
        let differences = if count == 1 { "1 difference".to_owned() } else { format!("{count} differences") };
        match self.unsolvable {
            Some(_) => format!("{profile}: {differences}{security}; an update would fail:"),
            None => format!("{profile}: {differences}{security}; `bivouac lock {profile} --update` refreshes the lock"),
        }
    }
}

fn show(compared: &[Comparison<'_>], out: &mut dyn Write) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> =
        compared.iter().flat_map(|one| one.newer.iter().map(|newer| row(one.profile, newer))).collect();
    if !rows.is_empty() {
        let header = ["PROFILE", "PACKAGE", "LOCKED", "AVAILABLE", "REPOSITORY", "NOTE"];
        out.write_all(table(&header, rows).as_bytes())?;
        writeln!(out)?;
    }
    for one in compared {
        writeln!(out, "{}", one.summary())?;
        if let Some(why) = &one.unsolvable {
            writeln!(out, "{}", plain(why))?;
        }
        one.notes.iter().for_each(|note| say(&plain(&format!("{}: note: {note}", one.profile))));
    }
    Ok(())
}

fn row(profile: &ProfileName, newer: &Newer) -> Vec<String> {
    let nothing = || "-".to_owned();
    let (name, locked, available, note) = match &newer.change {
        Change::Release { from, to } => ("Alpine".to_owned(), from.to_string(), to.to_string(), String::new()),
        Change::Added { name, version } => (name.clone(), nothing(), version.clone(), "would come in".to_owned()),
        Change::Removed { name, version } if newer.is_gone => {
            (name.clone(), version.clone(), nothing(), "not in the repositories any more".to_owned())
        }
        Change::Removed { name, version } => {
            (name.clone(), version.clone(), nothing(), "would not be needed".to_owned())
        }
        Change::Moved { name, from, to } => {
            let note = if newer.is_older { "older".to_owned() } else { fixes(&newer.fixes) };
            (name.clone(), from.clone(), to.clone(), note)
        }
        Change::Rebuilt { name, version } => {
            (name.clone(), version.clone(), version.clone(), "another build".to_owned())
        }
    };
    let repository = newer.repository.clone().unwrap_or_else(nothing);
    vec![profile.to_string(), name, locked, available, repository, note]
}

fn fixes(advisories: &BTreeSet<String>) -> String {
    if advisories.is_empty() {
        return String::new();
    }
    let shown: Vec<&str> = advisories.iter().take(SHOWN).map(String::as_str).collect();
    let more = match advisories.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("security: {}{more}", shown.join(", "))
}

/// The security databases that were asked for, each once.
struct Advisories<'a> {
    /// Where they are; nowhere, when the site asks nobody.
    base: Option<&'a str>,
    /// Each, or why there is none.
    known: HashMap<(Branch, String), Result<Secdb, String>>,
}

impl Advisories<'_> {
    /// The database of each repository, or why it cannot be had.
    async fn of(
        &mut self,
        workshop: &Workshop,
        branch: Branch,
        repositories: &[String],
    ) -> Vec<&Result<Secdb, String>> {
        let Some(base) = self.base else { return Vec::new() };
        let keys: Vec<(Branch, String)> = repositories.iter().map(|name| (branch, name.clone())).collect();
        for key @ (branch, repository) in &keys {
            if !self.known.contains_key(key) {
                let found = workshop.secdb(base, *branch, repository).await;
                let found = found.map_err(|error| {
                    format!("which updates of {repository} are about security is not known: {}", chain(&error))
                });
                self.known.insert(key.clone(), found);
            }
        }
        keys.iter().filter_map(|key| self.known.get(key)).collect()
    }
}
