//! `bivouac leases`.

use std::io::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::report::table;
use crate::config::Settings;
use crate::model::mac::Mac;
use crate::serve::dhcp::journal;

/// A line of the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line {
    address: Ipv4Addr,
    /// The machine; nobody while the address rests.
    machine: Option<Mac>,
    state: State,
    /// When that ends, in seconds since 1970; a reservation that is not in use has no end.
    until: Option<u64>,
}

/// What is true of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// A machine has it.
    Leased,
    /// A machine had it.
    Expired,
    /// A machine found somebody unknown on it, so nobody gets it for a while.
    Resting,
    /// A machine gets it when it asks.
    Reserved,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Leased => "leased",
            Self::Expired => "expired",
            Self::Resting => "resting",
            Self::Reserved => "reserved",
        }
    }
}

/// Lists who has which address.
pub(super) fn leases(settings: &Settings, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let lines = lines(settings, now)?;
    if as_json {
        serde_json::to_writer_pretty(&mut *out, &lines)?;
        writeln!(out)?;
    } else if lines.is_empty() {
        writeln!(out, "No address was given out. `[dhcp] mode = \"full\"` or \"reservations\" does that.")?;
    } else {
        let rows = lines.iter().map(|line| {
            let dash = || "-".to_owned();
            vec![
                line.address.to_string(),
                line.machine.map_or_else(dash, |mac| mac.to_string()),
                line.state.word().to_owned(),
                line.until.map_or_else(dash, |until| when(until, now)),
            ]
        });
        out.write_all(table(&["ADDRESS", "MACHINE", "STATE", "ENDS"], rows.collect()).as_bytes())?;
    }
    Ok(())
}

fn lines(settings: &Settings, now: u64) -> anyhow::Result<Vec<Line>> {
    let mut records = journal::read(&settings.leases())?;
    let mut lines: Vec<Line> = Vec::new();
    for (mac, address) in settings.dhcp.plan.reservations() {
        let state = match records.get(address) {
            Some(record) if record.by == Some(*mac) && record.until > now => continue,
            _ => State::Reserved,
        };
        let taken = records.get(address).is_some_and(|record| record.until > now);
        if !taken {
            records.remove(address);
            lines.push(Line { address: *address, machine: Some(*mac), state, until: None });
        }
    }
    lines.extend(records.into_iter().map(|(address, record)| {
        let state = match record.by {
            _ if record.until <= now => State::Expired,
            Some(_) => State::Leased,
            None => State::Resting,
        };
        Line { address, machine: record.by, state, until: Some(record.until) }
    }));
    lines.sort_by_key(|line| line.address);
    Ok(lines)
}

fn when(until: u64, now: u64) -> String {
    let words = |seconds| humantime::format_duration(Duration::from_secs(seconds)).to_string();
    if until > now { format!("in {}", words(until - now)) } else { format!("{} ago", words(now - until)) }
}
