//! `bivouac verify`: whether the store still holds what was put into it.

use std::io::Write;

use serde_json::{Value, json};

use super::progress::shown;
use super::report::{chain, plain, size};
use super::{Outcome, air_gap};
use crate::config::Settings;
use crate::model::name::BundleRef;
use crate::store::{Damage, Store};

/// What to do about files that are damaged or missing. No bundle carries what the site adds when it publishes one.
const AMONG_FILES: &str = "next: import the bundles again, which replaces what is damaged of them; or remove these \
                           files, and build and publish their profiles again, which also makes anew what this site added";

/// What to do about the rest.
const UNREADABLE: &str = "next: what cannot be read, or is no bundle, release or channel any more, has to come from a \
                          backup of the store; look at the disk and at who may read it first";

/// Reads the files of a bundle, or of all of them, and compares each with what its name says.
pub(super) fn verify(
    settings: &Settings,
    reference: Option<&BundleRef>,
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let store = Store::look_into(&settings.store());
    let inventory = match reference {
        Some(reference) => store.inventory(&air_gap::meant(&store, reference)?),
        None => store.whole_inventory()?,
    };
    let (bundles, files, bytes) = (inventory.bundles(), inventory.files(), inventory.bytes());
    let damages = shown("the store", bytes, |progress| store.verify(inventory, progress));
    if as_json {
        let damaged: Vec<Value> = damages.iter().map(describe).collect();
        let found = json!({ "bundles": bundles, "files": files, "bytes": bytes, "damaged": damaged });
        serde_json::to_writer_pretty(&mut *out, &found)?;
        writeln!(out)?;
    } else {
        for damage in &damages {
            write_damage(damage, out)?;
        }
        let what = format!("{}, {}, {}", count(bundles, "bundle"), count(files, "file"), size(bytes));
        match damages.len() {
            0 => writeln!(out, "{what}: all as they were stored")?,
            damaged => writeln!(out, "{what}: {damaged} damaged")?,
        }
        let is_file = |damage: &Damage| matches!(damage, Damage::File { .. });
        if damages.iter().any(is_file) {
            writeln!(out, "{AMONG_FILES}")?;
        }
        if !damages.iter().all(is_file) {
            writeln!(out, "{UNREADABLE}")?;
        }
    }
    Ok(if damages.is_empty() { Outcome::Done } else { Outcome::Refused })
}

fn write_damage(damage: &Damage, out: &mut dyn Write) -> std::io::Result<()> {
    match damage {
        Damage::File { path, is_there, needed_as } => {
            let fault = if *is_there { "has other bytes than were stored" } else { "is missing" };
            writeln!(out, "{} {fault}", path.display())?;
            needed_as.iter().try_for_each(|name| writeln!(out, "    {name}"))
        }
        Damage::Unreadable(error) => writeln!(out, "{}", plain(&chain(error))),
    }
}

fn describe(damage: &Damage) -> Value {
    match damage {
        Damage::File { path, is_there, needed_as } => {
            json!({ "path": path, "is": if *is_there { "changed" } else { "missing" }, "needed_as": needed_as })
        }
        Damage::Unreadable(error) => json!({ "is": "unreadable", "error": chain(error) }),
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
