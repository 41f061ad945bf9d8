//! `bivouac gc`.

use std::io::Write;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use serde_json::json;

use super::progress::say;
use super::report::size;
use crate::config::Settings;
use crate::disk::Clean;
use crate::fetch::Cache;
use crate::mirror::Mirror;
use crate::store::Store;

/// How long a blob that no bundle names stays: a build puts blobs first, and none takes a day.
const BUILDING: Duration = Duration::from_secs(24 * 60 * 60);

/// How `gc` cleans up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// What was not used for this long is removed from the cache.
    pub(super) unused: Duration,
    /// Only says what would be removed.
    pub(super) is_trial: bool,
    /// As JSON.
    pub(super) as_json: bool,
}

/// Removes what is not needed from the cache, the caching mirror and the store.
pub(super) fn gc(settings: &Settings, rules: Rules, out: &mut dyn Write) -> anyhow::Result<()> {
    let now = SystemTime::now();
    let before = |age: Duration| now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
    let start = || if rules.is_trial { Clean::trial() } else { Clean::up() };
    let (mut cache, mut mirror, mut store) = (start(), start(), start());
    // A folder that is not there yet is not made for this.
    if settings.cache().exists() {
        let folder = Cache::open(&settings.cache())?;
        if !rules.is_trial && folder.is_busy() {
            say("Waiting until nobody fetches any more …");
        }
        folder.clean(before(rules.unused), &mut cache).context("the cache cannot be cleaned up")?;
    }
    if settings.mirror().exists() {
        if !rules.is_trial && Mirror::is_busy(&settings.mirror()) {
            say("Waiting until nobody is served a new file any more …");
        }
        let cleaned = Mirror::clean(&settings.mirror(), before(rules.unused), &mut mirror);
        cleaned.context("the caching mirror cannot be cleaned up")?;
    }
    if settings.store().exists() {
        let folder = Store::open(&settings.store())?;
        folder.clean(before(BUILDING), &mut store).context("the store cannot be cleaned up")?;
    }
    if rules.as_json {
        let describe = |clean: &Clean| json!({ "files": clean.files, "bytes": clean.bytes });
        let found = json!({ "dry_run": rules.is_trial, "cache": describe(&cache), "mirror": describe(&mirror),
            "store": describe(&store) });
        serde_json::to_writer_pretty(&mut *out, &found)?;
        writeln!(out)?;
        return Ok(());
    }
    let verb = if rules.is_trial { "would be removed" } else { "removed" };
    for (what, clean) in [("cache", cache), ("caching mirror", mirror), ("store", store)] {
        match clean.files {
            // Most sites have none.
            0 if what == "caching mirror" => {}
            0 => writeln!(out, "{what}: nothing to remove")?,
            1 => writeln!(out, "{what}: 1 file {verb}, {}", size(clean.bytes))?,
            files => writeln!(out, "{what}: {files} files {verb}, {}", size(clean.bytes))?,
        }
    }
    Ok(())
}
