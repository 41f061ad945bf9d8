//! `bivouac rollout status` and `history`.

use std::io::Write;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use serde_json::{Value, json};

use super::open;
use crate::cli::report::{plain, table, time};
use crate::cli::whom::census_of;
use crate::config::Settings;
use crate::fleet::Onlooker;
use crate::model::ledger::{Entry, Ledger};
use crate::model::machine::MachineId;
use crate::model::name::ProfileName;
use crate::model::rollout::{
    Batch, Census, Clock, Member, Rollout, RolloutNumber, Size, Standing, Status, View, waits,
};

/// How often `--follow` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many cells a full bar has.
const BAR: usize = 20;

/// How many machines are listed that failed, or that are waited for.
const LISTED: usize = 20;

/// How a rollout is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) follow: bool,
    pub(super) as_json: bool,
}

/// Shows one rollout.
pub(super) async fn status(
    settings: &Settings,
    number: Option<RolloutNumber>,
    manner: Manner,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let fleet = open(settings).await?;
    let ledger = fleet.book().read().await?;
    let number = match number.or_else(|| newest(&ledger)) {
        Some(number) if ledger.rollout(number).is_some() => number,
        Some(number) => bail!("there is no rollout {number}; `bivouac rollout history` lists them"),
        None => bail!("there was no rollout yet; `bivouac rollout start` begins one"),
    };
    if manner.follow {
        return follow(settings, &fleet, number, manner.as_json, out).await;
    }
    show(settings, &fleet, number, manner.as_json, out).await
}

/// The newest rollout of those that are not over, or else of all.
fn newest(ledger: &Ledger) -> Option<RolloutNumber> {
    let active = ledger.active().last().map(|rollout| rollout.spec.number);
    active.or_else(|| ledger.rollouts().next_back().map(|rollout| rollout.spec.number))
}

async fn show(
    settings: &Settings,
    fleet: &Onlooker,
    number: RolloutNumber,
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let ledger = fleet.book().read().await?;
    let Some(rollout) = ledger.rollout(number) else { return Ok(()) };
    let census = census_of(settings, &fleet.machines().await?, &ledger);
    // What the server decides it knows from listening; here it is only about what is shown.
    let clock = Clock { now: SystemTime::now(), listening_since: rollout.started };
    if as_json {
        serde_json::to_writer_pretty(&mut *out, &as_value(rollout, &census, clock))?;
        writeln!(out)?;
        return Ok(());
    }
    let spec = &rollout.spec;
    writeln!(
        out,
        "Rollout {number} of {}:{}, release {} to {}: {}",
        spec.profile,
        spec.channel,
        spec.from.number,
        spec.to.number,
        words(&rollout.status)
    )?;
    out.write_all(batches(rollout).as_bytes())?;
    let waiting = waits(rollout, &census, clock);
    if !waiting.is_empty() {
        let texts: Vec<String> = waiting.iter().map(ToString::to_string).collect();
        writeln!(out, "It waits for: {}.", texts.join("; "))?;
    }
    let is_awaited = |member: &Member| matches!(member.standing, Standing::Granted | Standing::Trying);
    machines(rollout, "Not up yet", is_awaited, out)?;
    machines(rollout, "Failed", has_failed, out)?;
    let goes_back = |member: &Member| member.standing == Standing::Recalled && member.failure.is_none();
    machines(rollout, "On their way back", goes_back, out)
}

/// Whether a machine failed and did not come up after all; one that was taken back since stays in this list, because a
/// person who looks wants to know which machines they were.
fn has_failed(member: &Member) -> bool {
    member.failure.is_some() && member.standing != Standing::Good
}

/// Some machines of a rollout, a line each.
fn machines(
    rollout: &Rollout,
    title: &str,
    is_meant: impl Fn(&Member) -> bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let meant: Vec<_> = rollout.members.iter().filter(|(_, member)| is_meant(member)).collect();
    if meant.is_empty() {
        return Ok(());
    }
    writeln!(out, "{title}:")?;
    for (machine, member) in meant.iter().take(LISTED) {
        let what = match (&member.standing, &member.failure) {
            (Standing::Failed(why), _) => plain(why),
            (standing, Some(why)) => format!("{}; {}", plain(why), word(standing)),
            (standing, None) => word(standing).to_owned(),
        };
        writeln!(out, "  {machine}  {}  {what}", time(member.since))?;
    }
    if meant.len() > LISTED {
        writeln!(out, "  and {} more", meant.len() - LISTED)?;
    }
    Ok(())
}

const fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Granted => "has it, not rebooted yet",
        Standing::Trying => "boots it",
        Standing::Good => "up",
        Standing::Failed(_) => "failed",
        Standing::Recalled => "goes back",
        Standing::Returned => "back",
    }
}

/// How a rollout stands, in a few words.
fn words(status: &Status) -> String {
    match status {
        Status::Running => "running".to_owned(),
        Status::Paused => "paused".to_owned(),
        Status::Stopped(why) => format!("stopped, because {why}"),
        Status::RollingBack(why) => format!("going back, because {why}"),
        Status::RolledBack(why) => format!("went back, because {why}"),
        Status::Aborted => "aborted".to_owned(),
        Status::Finished => "finished".to_owned(),
    }
}

const fn keyword(status: &Status) -> &'static str {
    match status {
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Stopped(_) => "stopped",
        Status::RollingBack(_) => "rolling-back",
        Status::RolledBack(_) => "rolled-back",
        Status::Aborted => "aborted",
        Status::Finished => "finished",
    }
}

fn whom(batch: &Batch, is_last: bool) -> String {
    match (batch.selector.is_all(), is_last) {
        (true, true) => "everybody who is left".to_owned(),
        (true, false) => batch.size.to_string(),
        (false, _) if matches!(batch.size, Size::All) => batch.selector.to_string(),
        (false, _) => format!("{}: {}", batch.selector, batch.size),
    }
}

/// The batches with how far each is.
fn batches(rollout: &Rollout) -> String {
    let header = ["BATCH", "MACHINES", "SIZE", "GIVEN", "BOOTING", "UP", "FAILED", "PROGRESS"];
    let last = rollout.spec.batches.len() - 1;
    let row = |(place, batch): (usize, &Batch)| {
        let count = |is_meant: fn(&Member) -> bool| rollout.count(|member| member.batch == place && is_meant(member));
        let opened = rollout.opened.get(place);
        let given = count(|_| true);
        let size = opened.map(|opened| opened.size.max(given));
        let good = count(|member| member.standing == Standing::Good);
        let progress = match opened {
            None => "-".to_owned(),
            Some(opened) if opened.closed.is_some() => format!("{} over", bar(good, size.unwrap_or(given))),
            Some(_) => bar(good, size.unwrap_or(given)),
        };
        vec![
            (place + 1).to_string(),
            whom(batch, place == last),
            size.map_or_else(|| "-".to_owned(), |size| size.to_string()),
            given.to_string(),
            count(|member| member.standing == Standing::Trying).to_string(),
            good.to_string(),
            count(has_failed).to_string(),
            progress,
        ]
    };
    table(&header, rollout.spec.batches.iter().enumerate().map(row).collect())
}

fn bar(done: usize, whole: usize) -> String {
    let cells = (done * BAR).checked_div(whole).unwrap_or(BAR);
    let percent = (done * 100).checked_div(whole).unwrap_or(100);
    format!("[{}{}] {percent}%", "#".repeat(cells), ".".repeat(BAR - cells))
}

/// What a rollout is going to do: its batches, with how many machines each would have now.
pub(super) fn outline(rollout: &Rollout, census: &Census, out: &mut dyn Write) -> anyhow::Result<()> {
    let spec = &rollout.spec;
    let follows = (spec.profile.clone(), spec.channel.clone());
    let mut left: Vec<_> = census.values().filter(|view| view.follows.as_ref() == Some(&follows)).collect();
    let all = left.clone();
    let last = spec.batches.len() - 1;
    let mut rows = Vec::new();
    for (place, batch) in spec.batches.iter().enumerate() {
        let is_meant = |view: &&&View| batch.selector.matches(&view.labels);
        let whole = all.iter().filter(is_meant).count();
        let free = left.iter().filter(is_meant).count();
        let size = batch.size.of(whole, whole - free);
        let mut taken = 0;
        left.retain(|view| {
            let takes = taken < size && batch.selector.matches(&view.labels);
            taken += usize::from(takes);
            !takes
        });
        rows.push(vec![
            (place + 1).to_string(),
            whom(batch, place == last),
            size.to_string(),
            batch.success.to_string(),
            humantime::format_duration(batch.bake).to_string(),
            humantime::format_duration(batch.timeout).to_string(),
        ]);
    }
    out.write_all(table(&["BATCH", "MACHINES", "SIZE", "SUCCESS", "BAKE", "TIMEOUT"], rows).as_bytes())?;
    Ok(())
}

fn as_value(rollout: &Rollout, census: &Census, clock: Clock) -> Value {
    let spec = &rollout.spec;
    let batches: Vec<Value> = spec
        .batches
        .iter()
        .enumerate()
        .map(|(place, batch)| {
            let opened = rollout.opened.get(place);
            let count = |is_meant: fn(&Member) -> bool| rollout.count(|m| m.batch == place && is_meant(m));
            json!({
                "batch": place + 1,
                "selector": batch.selector,
                "wanted": batch.size.to_string(),
                "size": opened.map(|opened| opened.size),
                "opened": opened.map(|opened| time(opened.at)),
                "closed": opened.and_then(|opened| opened.closed).map(time),
                "given": count(|_| true),
                "booting": count(|member| member.standing == Standing::Trying),
                "up": count(|member| member.standing == Standing::Good),
                "failed": count(has_failed),
            })
        })
        .collect();
    let member = |(machine, member): (&MachineId, &Member)| {
        json!({
            "machine": machine,
            "batch": member.batch + 1,
            "standing": standing_keyword(&member.standing),
            "since": time(member.since),
            "why": member.failure,
        })
    };
    json!({
        "number": spec.number,
        "profile": spec.profile,
        "channel": spec.channel,
        "from": spec.from.number,
        "to": spec.to.number,
        "started": time(rollout.started),
        "status": keyword(&rollout.status),
        "since": time(rollout.since),
        "why": match &rollout.status {
            Status::Stopped(why) | Status::RollingBack(why) | Status::RolledBack(why) => Some(why),
            _ => None,
        },
        "batches": batches,
        "machines": rollout.members.iter().map(member).collect::<Vec<_>>(),
        "waits_for": waits(rollout, census, clock).iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

const fn standing_keyword(standing: &Standing) -> &'static str {
    match standing {
        Standing::Granted => "given",
        Standing::Trying => "booting",
        Standing::Good => "up",
        Standing::Failed(_) => "failed",
        Standing::Recalled => "recalled",
        Standing::Returned => "returned",
    }
}

/// Shows a rollout, then each thing that happens to it, until it is over; once more at the end.
async fn follow(
    settings: &Settings,
    fleet: &Onlooker,
    number: RolloutNumber,
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if !as_json {
        show(settings, fleet, number, false, out).await?;
        out.flush()?;
    }
    let mut after = fleet.book().read().await?.last();
    loop {
        let ledger = fleet.book().read().await?;
        let entries = fleet.book().entries(after).await?;
        for entry in entries.iter().filter(|entry| entry.fact.rollout() == Some(number)) {
            if as_json {
                writeln!(out, "{}", crate::cli::events::as_value(entry))?;
            } else {
                writeln!(out, "{}  {}{}", time(entry.at), plain(&entry.fact.to_string()), progress(&ledger, entry))?;
            }
        }
        out.flush()?;
        after = entries.last().map_or(after, |entry| entry.number);
        if ledger.last() <= after && ledger.rollout(number).is_none_or(|rollout| rollout.status.is_over()) {
            return show(settings, fleet, number, as_json, out).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How far the batch is that an entry is about.
fn progress(ledger: &Ledger, entry: &Entry) -> String {
    let rollout = entry.fact.rollout().and_then(|number| ledger.rollout(number));
    let Some((place, opened)) = rollout.and_then(|rollout| rollout.open_batch()) else { return String::new() };
    let good =
        rollout.map_or(0, |rollout| rollout.count(|member| member.batch == place && member.standing == Standing::Good));
    format!("  {}", bar(good.min(opened.size), opened.size))
}

/// Lists all rollouts, the newest last.
pub(super) async fn history(
    settings: &Settings,
    profile: Option<&ProfileName>,
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let ledger = open(settings).await?.book().read().await?;
    let meant: Vec<&Rollout> =
        ledger.rollouts().filter(|rollout| profile.is_none_or(|profile| rollout.spec.profile == *profile)).collect();
    if as_json {
        let clock = Clock { now: SystemTime::now(), listening_since: SystemTime::now() };
        let list: Vec<Value> = meant.iter().map(|rollout| as_value(rollout, &Census::new(), clock)).collect();
        serde_json::to_writer_pretty(&mut *out, &list)?;
        writeln!(out)?;
        return Ok(());
    }
    if meant.is_empty() {
        writeln!(out, "There was no rollout yet. `bivouac rollout start` begins one.")?;
        return Ok(());
    }
    let row = |rollout: &&Rollout| {
        let spec = &rollout.spec;
        vec![
            spec.number.to_string(),
            format!("{}:{}", spec.profile, spec.channel),
            spec.from.number.to_string(),
            spec.to.number.to_string(),
            time(rollout.started),
            rollout.count(|member| member.standing == Standing::Good).to_string(),
            rollout.failures().to_string(),
            words(&rollout.status),
        ]
    };
    let header = ["ROLLOUT", "CHANNEL", "FROM", "TO", "STARTED", "UP", "FAILED", "STATE"];
    out.write_all(table(&header, meant.iter().map(row).collect()).as_bytes())?;
    Ok(())
}
