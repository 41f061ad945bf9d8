//! What people say of machines as a table for spreadsheets: CSV with the columns `mac`, `assign`, `label.KEY` and
//! `vars.NAME`.
//!
//! An empty cell says nothing, `-` takes away what there is, and what follows a backslash is meant literally. Labels that
//! machines have by rule are not in the table: whoever imports it would set them by hand.

use std::collections::{BTreeMap, BTreeSet};

use csv::StringRecord;

use crate::model::label::{LabelError, LabelKey, LabelValue};
use crate::model::ledger::Record;
use crate::model::mac::{Mac, MacError};
use crate::model::machine::MachineId;

/// The largest table, in bytes: some kilobytes for each machine of a large fleet.
pub const LARGEST: usize = 64 << 20;

/// Why a table is none.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It has more bytes than any fleet needs.
    #[error("it has {0} bytes, and {LARGEST} are the most")]
    TooLarge(usize),
    /// Its first line cannot be read.
    #[error("line 1 cannot be read: {0}")]
    Header(csv::Error),
    /// Its first line does not say what is in which column.
    #[error("{}", listed(.0))]
    Columns(Vec<ColumnError>),
}

/// Why a title is not one of a column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    /// There is no such column.
    #[error("line 1: `{0}` is no column; there are mac, assign, label.KEY and vars.NAME")]
    Unknown(String),
    /// Two columns say the same.
    #[error("line 1: column {0} is there twice")]
    Twice(String),
    /// A label that cannot be.
    #[error("line 1: {0}")]
    Label(#[from] LabelError),
    /// Nothing says which machine a line is about.
    #[error("line 1: there is no column mac")]
    NoMac,
}

/// Why a line says nothing that can be understood.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It has more or fewer cells than there are columns.
    #[error("it has {has} cells, and the first line has {columns}")]
    Cells {
        /// How many it has.
        has: u64,
        /// How many there are columns.
        columns: u64,
    },
    /// It is no text.
    #[error("it is no UTF-8; save the table as UTF-8")]
    Utf8,
    /// It is no line of CSV.
    #[error(transparent)]
    Csv(csv::Error),
    /// Its machine is none.
    #[error(transparent)]
    Mac(#[from] MacError),
    /// Its machine is an address of many, or of none.
    #[error("`{0}` is not the address of one network card")]
    NotOneCard(Mac),
    /// A label that cannot be.
    #[error(transparent)]
    Label(#[from] LabelError),
}

/// One line.
#[derive(Debug)]
pub struct Line {
    /// Its number in the file, counted from 1.
    pub number: u64,
    /// What it says.
    pub said: Result<Said, LineError>,
}

/// What a line says of a machine. Of each thing: nothing, what it is now, or that it is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The address of one of its cards.
    pub mac: Mac,
    /// What it boots, as it was written.
    pub assign: Option<Option<String>>,
    /// Its labels.
    pub labels: BTreeMap<LabelKey, Option<LabelValue>>,
    /// Its own values for templates.
    pub vars: BTreeMap<String, Option<String>>,
}

/// What is in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    Mac,
    Assign,
    Label(LabelKey),
    Var(String),
}

impl Column {
    fn parse(title: &str) -> Result<Self, ColumnError> {
        match (title, title.split_once('.')) {
            ("mac", _) => Ok(Self::Mac),
            ("assign", _) => Ok(Self::Assign),
            (_, Some(("label", key))) => Ok(Self::Label(key.parse()?)),
            (_, Some(("vars", name))) if !name.is_empty() => Ok(Self::Var(name.to_owned())),
            _ => Err(ColumnError::Unknown(title.chars().take(80).collect())),
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

/// What a cell says: nothing, that something is no more, or what it is.
fn said(cell: &str) -> Option<Option<&str>> {
    match cell.strip_prefix('\\') {
        Some(literal) => Some(Some(literal)),
        None => match cell.trim() {
            "" => None,
            "-" => Some(None),
            text => Some(Some(text)),
        },
    }
}

/// Writes the table of machines.
///
/// # Errors
/// Never but when there is no memory left for it.
pub fn encode<'a>(machines: &[(&'a MachineId, &'a Record)]) -> Result<Vec<u8>, csv::Error> {
    let (mut keys, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (_, record) in machines {
        keys.extend(record.labels.keys().cloned());
        names.extend(record.vars.keys().cloned());
    }
    let mut columns = vec![Column::Mac, Column::Assign];
    columns.extend(keys.into_iter().map(Column::Label));
    columns.extend(names.into_iter().map(Column::Var));
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(columns.iter().map(Column::title))?;
    for (machine, record) in machines {
        table.write_record(columns.iter().map(|column| column.cell(machine, record)))?;
    }
    table.into_inner().map_err(|error| error.into_error().into())
}

/// Reads a table. Every line is read, whatever is wrong with others.
///
/// # Errors
/// When the first line is not that of such a table, or the table is too large.
pub fn decode(bytes: &[u8]) -> Result<Vec<Line>, TableError> {
    if bytes.len() > LARGEST {
        return Err(TableError::TooLarge(bytes.len()));
    }
    let mut table = csv::ReaderBuilder::new().from_reader(bytes);
    let columns = columns(table.headers().map_err(TableError::Header)?)?;
    let lines = table.records().map(|row| {
        let position = match &row {
            Ok(row) => row.position(),
            Err(error) => error.position(),
        };
        let number = position.map_or(0, csv::Position::line);
        Line { number, said: row.map_err(spoken).and_then(|row| read(&columns, &row)) }
    });
    Ok(lines.collect())
}

fn columns(titles: &StringRecord) -> Result<Vec<Column>, TableError> {
    let (mut columns, mut problems) = (Vec::new(), Vec::new());
    for title in titles {
        match Column::parse(title.trim()) {
            Ok(column) if columns.contains(&column) => problems.push(ColumnError::Twice(title.to_owned())),
            Ok(column) => columns.push(column),
            Err(why) => problems.push(why),
        }
    }
    if problems.is_empty() && !columns.contains(&Column::Mac) {
        problems.push(ColumnError::NoMac);
    }
    if problems.is_empty() { Ok(columns) } else { Err(TableError::Columns(problems)) }
}

fn read(columns: &[Column], row: &StringRecord) -> Result<Said, LineError> {
    let cells = || columns.iter().zip(row);
    let written = cells().find(|(column, _)| **column == Column::Mac).map_or("", |(_, text)| text.trim());
    let mac: Mac = written.parse()?;
    if !mac.is_unicast() {
        return Err(LineError::NotOneCard(mac));
    }
    let mut line = Said { mac, assign: None, labels: BTreeMap::new(), vars: BTreeMap::new() };
    for (column, cell) in cells() {
        let Some(text) = said(cell) else { continue };
        match column {
            Column::Mac => {}
            Column::Assign => line.assign = Some(text.map(str::to_owned)),
            Column::Label(key) => {
                line.labels.insert(key.clone(), text.map(str::parse).transpose()?);
            }
            Column::Var(name) => {
                line.vars.insert(name.clone(), text.map(str::to_owned));
            }
        }
    }
    Ok(line)
}

/// Why a line is no row of the table.
fn spoken(error: csv::Error) -> LineError {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            LineError::Cells { has: *len, columns: *expected_len }
        }
        csv::ErrorKind::Utf8 { .. } => LineError::Utf8,
        _ => LineError::Csv(error),
    }
}

/// Some of the problems, each in a line.
fn listed(problems: &[ColumnError]) -> String {
    const MOST: usize = 20;
    let mut lines: Vec<String> = problems.iter().take(MOST).map(ToString::to_string).collect();
    if let Some(more @ 1..) = problems.len().checked_sub(MOST) {
        lines.push(format!("and {more} columns more"));
    }
    lines.join("\n  ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::ledger::Target;

    fn machine() -> MachineId {
        "52:54:00:00:00:01".parse().unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            vars in prop::collection::btree_map("[a-z_][^\0]{0,8}", any::<String>(), 0..4),
            labels in prop::collection::btree_map("[a-z][a-z0-9./_-]{0,8}", "[A-Za-z0-9:+_.-]{0,8}", 0..4),
            is_assigned in any::<bool>(),
        ) {
            // Blanks around a name are a spreadsheet's.
            let vars: BTreeMap<String, String> = vars.into_iter().filter(|(name, _)| name.trim() == name).collect();
            let labels: BTreeMap<LabelKey, LabelValue> =
                labels.iter().map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap())).collect();
            let assigned = is_assigned.then(|| "vdi@3".parse::<Target>().unwrap());
            let record = Record { vars: vars.clone(), labels: labels.clone(), assigned, ..Record::default() };
            let lines = decode(&encode(&[(&machine(), &record)]).unwrap()).unwrap();
            prop_assert_eq!(lines.len(), 1);
            let said = lines.into_iter().next().unwrap().said.unwrap();
            prop_assert_eq!(said.mac, "52:54:00:00:00:01".parse::<Mac>().unwrap());
            prop_assert_eq!(said.assign, is_assigned.then(|| Some("vdi@3".to_owned())));
            prop_assert_eq!(said.labels, labels.into_iter().map(|(key, value)| (key, Some(value))).collect());
            prop_assert_eq!(said.vars, vars.into_iter().map(|(name, value)| (name, Some(value))).collect());
        }

        #[test]
        fn any_bytes_are_a_table_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes);
            let _ = decode(&[b"mac,assign,label.a,vars.b\n".as_slice(), &bytes].concat());
        }
    }
}
