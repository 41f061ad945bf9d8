//! `bivouac loaders list`.

use std::io::Write;

use serde_json::{Value, json};

use crate::cli::report::table;
use crate::serve::loaders::{Loader, Loaders};
use crate::wire::loader::Inspection;

/// Commands that are worth a place in the table, because few builds have them.
const SHOWN_COMMANDS: [&str; 3] = ["imgverify", "imgtrust", "shim"];

/// A loader, and what its bytes tell.
struct Row<'a> {
    loader: &'a Loader,
    read: Inspection,
}

/// Lists every loader, best first for each firmware, and what is wrong.
pub(super) fn show(loaders: &Loaders, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let rows: Vec<Row<'_>> = loaders.iter().map(|loader| Row { loader, read: Inspection::of(&loader.bytes) }).collect();
    if as_json {
        serde_json::to_writer_pretty(&mut *out, &describe(loaders, &rows))?;
        writeln!(out)?;
        return Ok(());
    }
    if rows.is_empty() {
        writeln!(out, "There is no loader. `bivouac loaders add FILE` takes one.")?;
    } else {
        let header = ["NAME", "FIRMWARE", "DRIVERS", "VERSION", "SHA-256", "PATH", "FEATURES"];
        out.write_all(table(&header, rows.iter().map(Row::cells).collect()).as_bytes())?;
        writeln!(out, "\nMachines get the first for their firmware, unless a [[loader]] rule says otherwise.")?;
    }
    for (number, rule) in (1..).zip(loaders.rules()) {
        writeln!(out, "rule {number}: {rule}")?;
    }
    for line in trouble(loaders, &rows) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// What the operator should know.
fn trouble(loaders: &Loaders, rows: &[Row<'_>]) -> Vec<String> {
    let refused = loaders.refused().iter().map(ToString::to_string);
    let useless = rows.iter().filter(|row| row.read.lacks_http()).map(|row| {
        format!("{} has no HTTP, and machines take their scripts by HTTP: take it away", row.loader.path.display())
    });
    let unmet = loaders.unmet().into_iter().map(|unmet| unmet.to_string());
    let missing = loaders.missing().into_iter().map(|missing| missing.to_string());
    refused.chain(useless).chain(unmet).chain(missing).collect()
}

impl Row<'_> {
    /// Whose drivers it has, and that only its name says so when that is all there is.
    fn drivers(&self) -> String {
        match (self.loader.kind, self.read.kind) {
            (None, _) => "-".to_owned(),
            (Some(kind), Some(_)) => kind.drivers().to_owned(),
            (Some(kind), None) => format!("{} (by name)", kind.drivers()),
        }
    }

    fn cells(&self) -> Vec<String> {
        let Self { loader, read } = self;
        let dash = || "-".to_owned();
        let commands = read.commands.iter().flatten().copied().filter(|name| SHOWN_COMMANDS.contains(name));
        let known = read.features.as_ref();
        let features =
            known.map(|names| names.iter().map(String::as_str).chain(commands).collect::<Vec<_>>().join(" "));
        vec![
            loader.name.clone(),
            loader.firmware.to_string(),
            self.drivers(),
            read.version.clone().unwrap_or_else(dash),
            loader.digest.short(),
            loader.path.display().to_string(),
            features.unwrap_or_else(dash),
        ]
    }

    fn describe(&self) -> Value {
        let Self { loader, read } = self;
        json!({
            "name": loader.name,
            "path": loader.path.display().to_string(),
            "added": loader.is_own,
            "firmware": loader.firmware,
            "use": loader.kind,
            "use_known_by": loader.kind.map(|_| if read.kind.is_some() { "bytes" } else { "name" }),
            "version": read.version,
            "build": read.build,
            "sha256": loader.digest,
            "size": loader.bytes.len(),
            "features": read.features,
            "commands": read.commands,
        })
    }
}

fn describe(loaders: &Loaders, rows: &[Row<'_>]) -> Value {
    let refused = loaders.refused().iter();
    let refused = refused.map(|file| json!({ "path": file.path.display().to_string(), "reason": file.reason }));
    let missing = loaders.missing().into_iter();
    let missing = missing.map(|one| json!({ "firmware": one.firmware, "debian_package": one.debian_package }));
    let unmet = loaders
        .unmet()
        .into_iter()
        .map(|one| json!({ "rule": one.rule, "use": one.kind, "firmware": one.firmware, "instead": one.instead }));
    json!({
        "loaders": rows.iter().map(Row::describe).collect::<Vec<Value>>(),
        "rules": loaders.rules(),
        "refused": refused.collect::<Vec<Value>>(),
        "missing": missing.collect::<Vec<Value>>(),
        "unmet": unmet.collect::<Vec<Value>>(),
    })
}
