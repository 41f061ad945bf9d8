//! `bivouac machines export` and `machines import`: what people say of machines, as a table for spreadsheets.
//!
//! An empty cell says nothing, `-` takes away what there is, and what follows a backslash is meant literally. Labels that
//! machines have by rule are not in the table: whoever imports it would set them by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use csv::StringRecord;

use super::change::{target, write};
use crate::cli::whom::Found;
use crate::config::Settings;
use crate::model::label::{LabelError, LabelKey, Labels};
use crate::model::ledger::{Fact, Ledger, Record, Target};
use crate::model::mac::Mac;
use crate::model::machine::MachineId;
use crate::store::Store;

/// How many bad lines are told at once.
const MOST_TOLD: usize = 20;

/// What is in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    Mac,
    Assign,
    Label(LabelKey),
    Var(String),
}

/// What a cell says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell<'a> {
    Nothing,
    Away,
    Is(&'a str),
}

impl Column {
    fn parse(title: &str) -> Result<Self, String> {
        match (title, title.split_once('.')) {
            ("mac", _) => Ok(Self::Mac),
            ("assign", _) => Ok(Self::Assign),
            (_, Some(("label", key))) => key.parse().map(Self::Label).map_err(|error: LabelError| error.to_string()),
            (_, Some(("vars", name))) if !name.is_empty() => Ok(Self::Var(name.to_owned())),
            _ => Err(format!("`{title}` is no column; there are mac, assign, label.KEY and vars.NAME")),
        }
    }

    fn title(&self) -> String {
        match self {
            Self::Mac => "mac".to_owned(),
            Self::Assign => "assign".to_owned(),
            Self::Label(key) => format!("label.{key}"),
            Self::Var(name) => format!("vars.{name}"),
        }
    }

    /// The cell of a machine.
    fn cell(&self, machine: &MachineId, record: &Record) -> String {
        let said = match self {
            Self::Mac => return machine.to_string(),
            Self::Assign => return record.assigned.as_ref().map(ToString::to_string).unwrap_or_default(),
            Self::Label(key) => record.labels.get(key).map(|value| value.as_str()),
            Self::Var(name) => record.vars.get(name).map(String::as_str),
        };
        match said {
            None => String::new(),
            Some(text) if text.is_empty() || text == "-" || text.starts_with('\\') || text.trim() != text => {
                format!("\\{text}")
            }
            Some(text) => text.to_owned(),
        }
    }
}

impl<'a> Cell<'a> {
    fn of(text: &'a str) -> Self {
        match text.strip_prefix('\\') {
            Some(literal) => Self::Is(literal),
            None => match text.trim() {
                "" => Self::Nothing,
                "-" => Self::Away,
                said => Self::Is(said),
            },
        }
    }
}

/// Writes the table to a file, or prints it.
pub(super) async fn export(settings: &Settings, file: Option<&Path>, out: &mut dyn Write) -> anyhow::Result<()> {
    let found = Found::read(settings).await?;
    let ledger = found.fleet.book().known();
    let machines: BTreeSet<&MachineId> =
        found.census.keys().chain(ledger.records().map(|(machine, _)| machine)).collect();
    let nothing = Record::default();
    let record = |machine: &MachineId| ledger.record(machine).unwrap_or(&nothing);
    let (mut keys, mut names) = (BTreeSet::new(), BTreeSet::new());
    for machine in &machines {
        keys.extend(record(machine).labels.keys().cloned());
        names.extend(record(machine).vars.keys().cloned());
    }
    let mut columns = vec![Column::Mac, Column::Assign];
    columns.extend(keys.into_iter().map(Column::Label));
    columns.extend(names.into_iter().map(Column::Var));
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(columns.iter().map(Column::title))?;
    for machine in machines {
        table.write_record(columns.iter().map(|column| column.cell(machine, record(machine))))?;
    }
    let text = table.into_inner().map_err(csv::IntoInnerError::into_error)?;
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
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let found = Found::read(settings).await?;
    let store = Store::look_into(&settings.store());
    let ledger = found.fleet.book().known();
    let facts =
        read(file, &found, &store, &ledger).with_context(|| format!("nothing of {} was taken in", path.display()))?;
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
fn read(file: impl Read, found: &Found, store: &Store, ledger: &Ledger) -> anyhow::Result<Vec<Fact>> {
    let mut table = csv::ReaderBuilder::new().from_reader(file);
    let columns = columns(table.headers().context("line 1 cannot be read")?)?;
    let (mut facts, mut problems) = (Vec::new(), Vec::new());
    let mut lines: BTreeMap<MachineId, u64> = BTreeMap::new();
    for row in table.records() {
        let line = match &row {
            Ok(row) => row.position().map_or(0, csv::Position::line),
            Err(error) => error.position().map_or(0, csv::Position::line),
        };
        let said = row.map_err(|error| anyhow::anyhow!(spoken(&error)));
        match said.and_then(|row| Said::read(&columns, &row, found, store)) {
            Ok(said) => {
                if let Some(first) = lines.insert(said.machine.clone(), line) {
                    problems.push(format!("line {line}: machine {} is in line {first} already", said.machine));
                }
                facts.extend(said.changes(ledger.record(&said.machine)));
            }
            Err(error) => problems.push(format!("line {line}: {error:#}")),
        }
    }
    all_well(problems)?;
    Ok(facts)
}

fn columns(titles: &StringRecord) -> anyhow::Result<Vec<Column>> {
    let (mut columns, mut problems) = (Vec::new(), Vec::new());
    for title in titles {
        match Column::parse(title.trim()) {
            Ok(column) if columns.contains(&column) => problems.push(format!("line 1: column {title} is there twice")),
            Ok(column) => columns.push(column),
            Err(why) => problems.push(format!("line 1: {why}")),
        }
    }
    if problems.is_empty() && !columns.contains(&Column::Mac) {
        problems.push("line 1: there is no column mac".to_owned());
    }
    all_well(problems)?;
    Ok(columns)
}

fn all_well(mut problems: Vec<String>) -> anyhow::Result<()> {
    let more = problems.len().saturating_sub(MOST_TOLD);
    problems.truncate(MOST_TOLD);
    if more > 0 {
        problems.push(format!("and {more} lines more"));
    }
    if problems.is_empty() { Ok(()) } else { bail!("{}", problems.join("\n  ")) }
}

/// Why a line is no row of the table.
fn spoken(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("it has {len} cells, and the first line has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "it is no UTF-8; save the table as UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

/// What a line says of a machine.
#[derive(Debug)]
struct Said {
    machine: MachineId,
    /// Nothing when it says nothing of that.
    assigned: Option<Option<Target>>,
    set: Labels,
    removed: BTreeSet<LabelKey>,
    values: BTreeMap<String, String>,
    taken: BTreeSet<String>,
}

impl Said {
    fn read(columns: &[Column], row: &StringRecord, found: &Found, store: &Store) -> anyhow::Result<Self> {
        let cells = || columns.iter().zip(row);
        let written = cells().find(|(column, _)| **column == Column::Mac).map_or("", |(_, text)| text.trim());
        let mac: Mac = written.parse()?;
        if !mac.is_unicast() {
            bail!("`{mac}` is not the address of one network card");
        }
        // A machine that is kept under another of its cards is meant by each of them.
        let machine = found.whom(written)?.into_iter().next().unwrap_or_else(|| mac.into());
        let mut said = Self {
            machine,
            assigned: None,
            set: Labels::new(),
            removed: BTreeSet::new(),
            values: BTreeMap::new(),
            taken: BTreeSet::new(),
        };
        for (column, text) in cells() {
            match (column, Cell::of(text)) {
                (Column::Mac, _) | (_, Cell::Nothing) => {}
                (Column::Assign, Cell::Away) => said.assigned = Some(None),
                (Column::Assign, Cell::Is(text)) => said.assigned = Some(Some(target(text, store)?)),
                (Column::Label(key), Cell::Away) => drop(said.removed.insert(key.clone())),
                (Column::Label(key), Cell::Is(text)) => drop(said.set.insert(key.clone(), text.parse()?)),
                (Column::Var(name), Cell::Away) => drop(said.taken.insert(name.clone())),
                (Column::Var(name), Cell::Is(text)) => drop(said.values.insert(name.clone(), text.to_owned())),
            }
        }
        Ok(said)
    }

    /// What of it is news.
    fn changes(&self, record: Option<&Record>) -> Vec<Fact> {
        let nothing = Record::default();
        let record = record.unwrap_or(&nothing);
        let machine = &self.machine;
        let mut facts = Vec::new();
        if let Some(to) = self.assigned.as_ref().filter(|to| **to != record.assigned) {
            facts.push(Fact::Assigned { machines: vec![machine.clone()], to: to.clone() });
        }
        let mut set = self.set.clone();
        set.retain(|key, value| record.labels.get(key) != Some(value));
        let removed: BTreeSet<LabelKey> =
            self.removed.iter().filter(|key| record.labels.contains_key(*key)).cloned().collect();
        if !set.is_empty() || !removed.is_empty() {
            facts.push(Fact::Labelled { machines: vec![machine.clone()], set, removed });
        }
        let mut set = self.values.clone();
        set.retain(|name, value| record.vars.get(name) != Some(value));
        let removed: BTreeSet<String> =
            self.taken.iter().filter(|name| record.vars.contains_key(*name)).cloned().collect();
        if !set.is_empty() || !removed.is_empty() {
            facts.push(Fact::Valued { machine: machine.clone(), set, removed });
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_a_cell_says_is_read_back(value in any::<String>()) {
            let column = Column::Var("a".to_owned());
            let machine: MachineId = "52:54:00:00:00:01".parse().unwrap();
            let record = Record { vars: BTreeMap::from([("a".to_owned(), value.clone())]), ..Record::default() };
            let cell = column.cell(&machine, &record);
            prop_assert_eq!(Cell::of(&cell), Cell::Is(&value));
        }
    }
}
