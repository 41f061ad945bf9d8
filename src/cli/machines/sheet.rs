//! `bivouac machines export` and `machines import`: what people say of machines, as a table for spreadsheets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Write};
use std::path::Path;

use anyhow::{Context as _, bail};

use super::change::{target, write};
use crate::cli::whom::Found;
use crate::config::Settings;
use crate::model::label::{LabelKey, Labels};
use crate::model::ledger::{Fact, Ledger, Record, Target};
use crate::model::machine::MachineId;
use crate::store::Store;
use crate::wire::fleet_table::{self, LARGEST, Said};

/// How many bad lines are told at once.
const MOST_TOLD: usize = 20;

/// Writes the table to a file, or prints it.
pub(super) async fn export(settings: &Settings, file: Option<&Path>, out: &mut dyn Write) -> anyhow::Result<()> {
    let found = Found::read(settings).await?;
    let ledger = found.fleet.book().known();
    let machines: BTreeSet<&MachineId> =
        found.census.keys().chain(ledger.records().map(|(machine, _)| machine)).collect();
    let nothing = Record::default();
    let records: Vec<(&MachineId, &Record)> =
        machines.into_iter().map(|machine| (machine, ledger.record(machine).unwrap_or(&nothing))).collect();
    let text = fleet_table::encode(&records)?;
    match file {
        Some(path) => std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display())),
        None => Ok(out.write_all(&text)?),
    }
}

/// Takes in a table, all of it or nothing.
pub(super) async fn import(
    settings: &Settings,
    path: &Path,
    dry_run: bool,
    why: Option<&str>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    let file = File::open(path);
    // One byte more than there may be, so that too many are seen.
    file.and_then(|file| file.take(LARGEST as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let found = Found::read(settings).await?;
    let store = Store::look_into(&settings.store());
    let ledger = found.fleet.book().known();
    let facts = changes(&bytes, &found, &store, &ledger)
        .with_context(|| format!("nothing of {} was taken in", path.display()))?;
    if facts.is_empty() {
        writeln!(out, "Nothing changes.")?;
    } else if dry_run {
        for fact in &facts {
            writeln!(out, "would {fact}")?;
        }
    } else {
        write(&found, facts, why, out).await?;
    }
    Ok(())
}

/// What changes by the table; every line that is wrong is told.
fn changes(bytes: &[u8], found: &Found, store: &Store, ledger: &Ledger) -> anyhow::Result<Vec<Fact>> {
    let (mut facts, mut problems) = (Vec::new(), Vec::new());
    let mut lines: BTreeMap<MachineId, u64> = BTreeMap::new();
    for line in fleet_table::decode(bytes)? {
        let number = line.number;
        let meant = line
            .said
            .map_err(anyhow::Error::from)
            .and_then(|said| Ok((machine(&said, found)?, to(&said, store)?, said)));
        match meant {
            Ok((machine, to, said)) => {
                if let Some(first) = lines.insert(machine.clone(), number) {
                    problems.push(format!("line {number}: machine {machine} is in line {first} already"));
                }
                facts.extend(news(&machine, to, &said, ledger.record(&machine)));
            }
            Err(error) => problems.push(format!("line {number}: {error:#}")),
        }
    }
    let more = problems.len().saturating_sub(MOST_TOLD);
    problems.truncate(MOST_TOLD);
    if more > 0 {
        problems.push(format!("and {more} lines more"));
    }
    if problems.is_empty() { Ok(facts) } else { bail!("{}", problems.join("\n  ")) }
}

/// A machine that is kept under another of its cards is meant by each of them.
fn machine(said: &Said, found: &Found) -> anyhow::Result<MachineId> {
    let meant = found.whom(&said.mac.to_string())?;
    Ok(meant.into_iter().next().unwrap_or_else(|| said.mac.into()))
}

/// What a machine is to boot; nothing when the line says nothing of that.
fn to(said: &Said, store: &Store) -> anyhow::Result<Option<Option<Target>>> {
    said.assign.as_ref().map(|text| text.as_ref().map(|text| target(text, store)).transpose()).transpose()
}

/// What a line says of a machine that was not so before.
fn news(machine: &MachineId, to: Option<Option<Target>>, said: &Said, record: Option<&Record>) -> Vec<Fact> {
    let nothing = Record::default();
    let record = record.unwrap_or(&nothing);
    let mut facts = Vec::new();
    if let Some(to) = to.filter(|to| *to != record.assigned) {
        facts.push(Fact::Assigned { machines: vec![machine.clone()], to });
    }
    let (mut set, mut removed) = (Labels::new(), BTreeSet::<LabelKey>::new());
    for (key, value) in said.labels.iter().filter(|(key, value)| record.labels.get(*key) != value.as_ref()) {
        match value {
            Some(value) => drop(set.insert(key.clone(), value.clone())),
            None => drop(removed.insert(key.clone())),
        }
    }
    if !set.is_empty() || !removed.is_empty() {
        facts.push(Fact::Labelled { machines: vec![machine.clone()], set, removed });
    }
    let (mut set, mut removed) = (BTreeMap::new(), BTreeSet::new());
    for (name, value) in said.vars.iter().filter(|(name, value)| record.vars.get(*name) != value.as_ref()) {
        match value {
            Some(value) => drop(set.insert(name.clone(), value.clone())),
            None => drop(removed.insert(name.clone())),
        }
    }
    if !set.is_empty() || !removed.is_empty() {
        facts.push(Fact::Valued { machine: machine.clone(), set, removed });
    }
    facts
}
