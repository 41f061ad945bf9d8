//! `bivouac events`: the ledger.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::report::{plain, time};
use super::whom::Found;
use crate::config::Settings;
use crate::fleet::Fleet;
use crate::model::ledger::Entry;
use crate::model::machine::MachineId;
use crate::model::rollout::RolloutNumber;

/// How often `--follow` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `events`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct EventsArgs {
    /// Only those of this rollout
    #[arg(long, value_name = "NUMBER")]
    rollout: Option<RolloutNumber>,
    /// Only those about this machine: an address, a host name, a serial number, or labels
    #[arg(long, value_name = "WHO")]
    machine: Option<String>,
    /// How many of the last ones [default: all]
    #[arg(long, short = 'n', value_name = "COUNT")]
    last: Option<usize>,
    /// Go on with each new one
    #[arg(long)]
    follow: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Prints the ledger.
pub(super) async fn events(settings: &Settings, arguments: &EventsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let machines: Option<Vec<MachineId>> = match &arguments.machine {
        Some(who) => Some(Found::read(settings).await?.whom(who)?),
        None => None,
    };
    let is_meant = |entry: &Entry| {
        arguments.rollout.is_none_or(|number| entry.fact.rollout() == Some(number))
            && machines.as_ref().is_none_or(|meant| entry.fact.machines().iter().any(|one| meant.contains(one)))
    };
    let fleet = Fleet::look_on(&settings.fleet()).await?;
    let all = fleet.book().entries(0).await?;
    let mut after = all.last().map_or(0, |entry| entry.number);
    let mut shown: Vec<Entry> = all.into_iter().filter(is_meant).collect();
    if let Some(last) = arguments.last {
        shown.drain(..shown.len().saturating_sub(last));
    }
    if shown.is_empty() && !arguments.follow && !arguments.json {
        writeln!(out, "Nothing was written about that yet.")?;
    }
    loop {
        for entry in &shown {
            if arguments.json { writeln!(out, "{}", as_value(entry))? } else { writeln!(out, "{}", line(entry))? }
        }
        out.flush()?;
        if !arguments.follow {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
        shown = fleet.book().entries(after).await?;
        after = shown.last().map_or(after, |entry| entry.number);
        shown.retain(is_meant);
    }
}

fn line(entry: &Entry) -> String {
    let why = entry.why.as_ref().map_or_else(String::new, |why| format!(" ({})", plain(why)));
    format!("{:>6}  {}  {}  {}{why}", entry.number, time(entry.at), plain(&entry.who), plain(&entry.fact.to_string()))
}

/// An entry as JSON.
pub(super) fn as_value(entry: &Entry) -> Value {
    json!({
        "number": entry.number,
        "at": time(entry.at),
        "who": entry.who,
        "why": entry.why,
        "text": entry.fact.to_string(),
        "fact": entry.fact,
    })
}
