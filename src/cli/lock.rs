//! `bivouac lock`, and the file of a profile that it writes.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::pipeline::{all_or, load};
use super::workshop::{Access, Workshop, misfit};
use crate::build::{Recipe, Update};
use crate::config::Settings;
use crate::disk;
use crate::fetch::NetbootSet;
use crate::model::lock::{Change, LOCK_FILE, Lock};
use crate::model::name::ProfileName;

/// The largest lock that is read; a package takes about 250 bytes.
const LARGEST_LOCK: u64 = 16 << 20;

/// How `lock` goes about it.
#[derive(Debug)]
pub(super) struct Rules {
    /// What may change.
    pub(super) update: Update,
    /// Only says what would change.
    pub(super) is_trial: bool,
    /// As JSON.
    pub(super) as_json: bool,
    pub(super) access: Access,
}

/// Makes or refreshes the locks of profiles, and shows what is different.
pub(super) async fn lock(
    settings: &Settings,
    profiles: &[ProfileName],
    rules: &Rules,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let names = all_or(settings, profiles)?;
    let recipes: Vec<Recipe> = names.iter().map(|name| load(settings, name)).collect::<Result<_, _>>()?;
    let mut workshop = Workshop::open(settings, rules.access)?;
    let mut described = Vec::new();
    for recipe in &recipes {
        let name = &recipe.name;
        let failed = || format!("cannot lock the packages of profile `{name}`");
        let before = read(settings, name)?;
        // An update asks what the name of the release means today.
        let pinned = before.as_ref().filter(|_| rules.update != Update::All);
        let set = workshop.netboot_set(recipe, pinned).await.with_context(failed)?;
        let lock = workshop.agree(recipe, &set, before.as_ref(), &rules.update).await.with_context(failed)?;
        if !rules.is_trial && before.as_ref() != Some(&lock) {
            write(settings, name, &lock)?;
        }
        if rules.as_json {
            described.push(describe(settings, name, before.as_ref(), &lock));
        } else {
            show(name, before.as_ref(), &lock, rules.is_trial, out)?;
        }
    }
    if rules.as_json {
        serde_json::to_writer_pretty(&mut *out, &described)?;
        writeln!(out)?;
    }
    Ok(())
}

/// What a person sees of one profile: the differences, one a line, and how it ended.
fn show(
    name: &ProfileName,
    before: Option<&Lock>,
    after: &Lock,
    is_trial: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (count, changes) = (after.packages.len(), changes(before, after));
    for change in &changes {
        writeln!(out, "{name}: {change}")?;
    }
    match (before, is_trial) {
        (None, false) => writeln!(out, "{name} locked: {count} packages")?,
        (None, true) => writeln!(out, "{name} would be locked: {count} packages")?,
        (Some(before), _) if before == after => writeln!(out, "{name} is unchanged: {count} packages")?,
        (Some(_), false) => writeln!(out, "{name} locked anew: {count} packages, {}", counted(changes.len()))?,
        (Some(_), true) => writeln!(out, "{name} would be locked anew: {count} packages, {}", counted(changes.len()))?,
    }
    Ok(())
}

fn counted(changes: usize) -> String {
    match changes {
        0 => "the same as before".to_owned(),
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    }
}

/// What is different from the lock before; of a first lock, nothing: all of it is new.
pub(super) fn changes(before: Option<&Lock>, after: &Lock) -> Vec<Change> {
    before.map(|before| before.changes(after)).unwrap_or_default()
}

fn describe(settings: &Settings, name: &ProfileName, before: Option<&Lock>, after: &Lock) -> Value {
    json!({
        "profile": name,
        "file": path(settings, name),
        "is_new": before.is_none(),
        "is_changed": before != Some(after),
        "alpine": after.alpine,
        "packages": after.packages.len(),
        "changes": changes(before, after),
    })
}

/// The lock of a profile, when there is one.
pub(super) fn read(settings: &Settings, name: &ProfileName) -> anyhow::Result<Option<Lock>> {
    from_file(&path(settings, name))
}

/// The lock in a file, when there is one.
pub(super) fn from_file(path: &Path) -> anyhow::Result<Option<Lock>> {
    let text = match disk::read_bounded(path, LARGEST_LOCK) {
        Ok(bytes) => String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8 text", path.display()))?,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let lock = Lock::parse(&text).with_context(|| format!("cannot use {}", path.display()))?;
    Ok(Some(lock))
}

/// Writes the lock of a profile.
pub(super) fn write(settings: &Settings, name: &ProfileName, lock: &Lock) -> anyhow::Result<()> {
    disk::write_atomic(&path(settings, name), lock.to_text().as_bytes())
        .with_context(|| format!("the lock of profile `{name}` cannot be kept"))
}

/// Refuses to go on without a lock that is the profile's.
pub(super) fn insist(recipe: &Recipe, set: &NetbootSet, lock: Option<&Lock>) -> anyhow::Result<()> {
    let name = &recipe.name;
    let Some(lock) = lock else {
        anyhow::bail!("profile `{name}` has no lock, and --locked makes none; run `bivouac lock {name}`");
    };
    if let Some(why) = misfit(recipe, set, lock) {
        anyhow::bail!("the lock of profile `{name}` {why}, and --locked makes no other; run `bivouac lock {name}`");
    }
    Ok(())
}

/// Where the lock of a profile is.
pub(super) fn path(settings: &Settings, name: &ProfileName) -> PathBuf {
    settings.profiles.join(name.as_str()).join(LOCK_FILE)
}

/// What `--update` says.
pub(super) fn update(packages: Option<Vec<String>>) -> Update {
    match packages {
        None => Update::Needed,
        Some(names) if names.is_empty() => Update::All,
        Some(names) => Update::Packages(BTreeSet::from_iter(names)),
    }
}
