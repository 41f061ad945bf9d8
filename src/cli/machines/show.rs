//! `bivouac machines show`: the boots of one machine, step by step.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::list::{describe, labels_in, state};
use crate::cli::args::ShowMachineArgs;
use crate::cli::report::{plain, size, table, time};
use crate::cli::whom::{census_of, leave_out_settled, named, names};
use crate::config::Settings;
use crate::fleet::{Event, Fleet, FleetError, Machine, Onlooker, Session};
use crate::model::boot::Step;
use crate::model::checkin::vitals::{HealthCheck, Memory};
use crate::model::database::DatabasePlace;
use crate::model::identity::Identity;
use crate::model::label::listed;
use crate::model::mac::Mac;
use crate::model::name::nearest;
use crate::model::timeline::{Stage, Standing, Timeline};

/// How often the database is looked at for what is new. The server writes a few times a second.
pub(in crate::cli) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Shows a machine's boots.
pub(super) async fn show(settings: &Settings, asked: &ShowMachineArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let place = settings.fleet();
    anyhow::ensure!(!place.is_absent(), "no machine has asked to boot yet; `bivouac serve` answers them");
    let fleet = Fleet::look_on(&place).await?;
    let mut machines = fleet.machines_with_reports().await?;
    let ledger = fleet.book().read().await?;
    leave_out_settled(&mut machines, &ledger);
    let found = find(&machines, &asked.machine);
    if asked.follow {
        // A machine that has never been seen may be switched on now.
        let mac = found.map(|machine| machine.identity.mac).or_else(|why| asked.machine.parse().map_err(|_| why))?;
        return follow(&fleet, &place, mac, asked.json, out).await;
    }
    let machine = found?;
    let mac = machine.identity.mac;
    let census = census_of(settings, std::slice::from_ref(machine), &ledger);
    let labels = labels_in(&census, machine);
    let mut boots = boots(News::of(mac).read(&fleet).await?);
    if !asked.all {
        boots.drain(..boots.len().saturating_sub(1));
    }
    let mut sent_to = fleet.sent_to(&mac).await?;
    let with_place = |boot: Timeline| {
        let to = sent_to.remove(&boot.began);
        boot.and_sent_to(to)
    };
    let boots: Vec<Timeline> = boots.into_iter().map(with_place).collect();
    let now = SystemTime::now();
    if asked.json {
        let mut value = describe(machine, labels, None);
        if let Some(object) = value.as_object_mut() {
            object.remove("off");
            object.insert("boots".to_owned(), boots.iter().rev().map(|boot| as_json(boot, now)).collect());
        }
        serde_json::to_writer_pretty(&mut *out, &value)?;
        writeln!(out)?;
        return Ok(());
    }
    let hostname = machine.session.report.as_ref().map_or("-", |report| report.hostname.as_str());
    writeln!(out, "{mac}  {}  {}", plain(hostname), plain(&state(machine)))?;
    if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
        writeln!(out, "Labels: {}.", listed(labels))?;
    }
    for line in hardware(machine).into_iter().chain(health(&machine.session, now)) {
        writeln!(out, "{}", plain(&line))?;
    }
    for (before_last, boot) in boots.iter().rev().enumerate() {
        writeln!(out, "\nBoot of {}", time(boot.began))?;
        out.write_all(as_table(boot, now).as_bytes())?;
        if let Some(what) = boot.elsewhere() {
            writeln!(out, "Sent to: {}. It loads nothing more from here.", plain(what))?;
        }
        // A boot that another one followed is over.
        match (before_last, missing(boot, now), boot.next()) {
            (0, Some(missing), _) => writeln!(out, "{missing}")?,
            (1.., _, Some(next)) => writeln!(out, "It did not get to: {next}.")?,
            _ => {}
        }
    }
    if boots.is_empty() {
        writeln!(out, "Nothing was written down of its boots; they were with an older version of Bivouac.")?;
    }
    Ok(())
}

/// What a machine says of itself, and who it is mistaken for.
fn hardware(machine: &Machine) -> Vec<String> {
    let Identity { mac, uuid, serial, hardware, .. } = &*machine.identity;
    let said = |word: &str, text: &Option<String>| text.as_ref().map(|text| format!("{word} {text}"));
    let model: Vec<&str> =
        [&hardware.manufacturer, &hardware.product].into_iter().flatten().map(String::as_str).collect();
    let model = (!model.is_empty()).then(|| model.join(" "));
    let others: Vec<String> = hardware.cards.iter().filter(|card| *card != mac).map(ToString::to_string).collect();
    let facts = [
        model,
        said("serial number", serial),
        said("board", &hardware.board_serial),
        said("asset tag", &hardware.asset),
        said("UUID", uuid),
        hardware.relay.as_ref().map(|relay| format!("behind {relay}")),
        (!others.is_empty()).then(|| format!("other cards {}", others.join(", "))),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    let mut lines: Vec<String> = if facts.is_empty() { Vec::new() } else { vec![facts.join("; ") + "."] };
    lines.extend(machine.conflicts.iter().map(|conflict| format!("CONFLICT: {conflict}.")));
    if !machine.conflicts.is_empty() {
        lines.push(format!(
            "`bivouac machines settle {mac}` says that it is meant to be so, `bivouac machines forget` that a machine is gone."
        ));
    }
    lines
}

/// How a machine was when it last checked in.
fn health(session: &Session, now: SystemTime) -> Vec<String> {
    let (Some(at), Some(vitals)) = (session.last_check_in, &session.vitals) else { return Vec::new() };
    let ago = now.duration_since(at).unwrap_or_default();
    let mut facts = vec![format!("Last check-in {}, {} ago", time(at), rough(ago))];
    facts.extend(vitals.uptime.map(|uptime| format!("up for {}", rough(uptime))));
    facts.extend(vitals.memory.map(|Memory { total, available }| {
        format!("{} of {} memory available", size(available.saturating_mul(1024)), size(total.saturating_mul(1024)))
    }));
    facts.push(match vitals.users.as_slice() {
        [] => "nobody logged in".to_owned(),
        users => format!("logged in: {}", users.join(", ")),
    });
    facts.extend(vitals.idle.map(|idle| format!("idle for {}", rough(idle))));
    let mut lines = vec![facts.join("; ") + "."];
    for HealthCheck { name, weight, failure } in &vitals.checks {
        let outcome = match failure.as_deref() {
            None => "ok".to_owned(),
            Some("") => "failed".to_owned(),
            Some(text) => format!("failed: {text}"),
        };
        lines.push(format!("{weight} check {name}: {outcome}"));
    }
    lines
}

/// A duration in its two largest units.
fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let unit = [86_400, 3_600, 60].into_iter().find(|unit| seconds >= *unit).map_or(1, |unit| unit / 60);
    humantime::format_duration(Duration::from_secs(seconds - seconds % unit.max(1))).to_string()
}

/// The machine a person means: by its address, or by a host name or serial number only it has.
fn find<'a>(machines: &'a [Machine], wanted: &str) -> anyhow::Result<&'a Machine> {
    if let Some(machine) = named(machines, wanted)? {
        return Ok(machine);
    }
    if let Ok(mac) = wanted.parse::<Mac>() {
        anyhow::bail!("machine {mac} was never seen; `bivouac machines` lists those that were");
    }
    let hint = nearest(wanted, machines.iter().flat_map(names))
        .map_or_else(String::new, |near| format!("; did you mean `{}`?", plain(near)));
    anyhow::bail!(
        "no machine has the address, host name or serial number `{wanted}`{hint}; `bivouac machines` lists them"
    )
}

/// The timelines of boots: the one of which something was written down last is the last, whatever the clock said when it
/// began.
pub(in crate::cli) fn boots(events: Vec<Event>) -> Vec<Timeline> {
    let mut boots: Vec<(SystemTime, Vec<Stage>)> = Vec::new();
    for event in events {
        let known = boots.iter().rposition(|(began, _)| *began == event.boot);
        let (began, mut stages) = known.map_or_else(|| (event.boot, Vec::new()), |place| boots.remove(place));
        stages.push(event.stage);
        boots.push((began, stages));
    }
    boots.into_iter().map(|(began, stages)| Timeline::of(began, stages)).collect()
}

fn as_table(boot: &Timeline, now: SystemTime) -> String {
    let header = ["STEP", "AFTER", "LASTED", "FILES", "BYTES", "SPEED", "WHAT"];
    let dash = || "-".to_owned();
    let row = |step: Step| {
        let standing = boot.standing(step, now);
        let Some(stage) = boot.stage(step) else {
            let word = match standing {
                Standing::Passed => "not seen here",
                Standing::Missing => "MISSING",
                Standing::Expected => "waiting for it",
                Standing::Seen | Standing::UnderWay | Standing::Ahead => "-",
            };
            return vec![step.to_string(), dash(), dash(), dash(), dash(), dash(), word.to_owned()];
        };
        let is_transfer = step.is_transfer();
        let moved = |text: String| if stage.bytes > 0 { text } else { dash() };
        vec![
            step.to_string(),
            seconds(stage.began.duration_since(boot.began).unwrap_or_default()),
            seconds(stage.last.duration_since(stage.began).unwrap_or_default()),
            if is_transfer { stage.files.to_string() } else { dash() },
            moved(size(stage.bytes)),
            stage.speed().map_or_else(dash, |speed| format!("{}/s", size(speed))),
            what(stage, standing),
        ]
    };
    table(&header, Step::ALL.into_iter().map(row).collect())
}

/// What a person should know of a step besides its numbers.
fn what(stage: &Stage, standing: Standing) -> String {
    let mut parts: Vec<String> = stage.remark.iter().map(|remark| plain(remark)).collect();
    if stage.broken > 0 {
        parts.push(format!("{} broke off", stage.broken));
    }
    if stage.asked > 1 && !stage.step.is_transfer() {
        parts.push(format!("{} times", stage.asked));
    }
    match standing {
        Standing::Missing => parts.push("MISSING".to_owned()),
        Standing::UnderWay => parts.push("under way".to_owned()),
        _ => {}
    }
    if parts.is_empty() { "-".to_owned() } else { parts.join("; ") }
}

/// Which step is missing, for how long, and what that usually means.
fn missing(boot: &Timeline, now: SystemTime) -> Option<String> {
    let missing = boot.missing(now)?;
    let silence = humantime::format_duration(Duration::from_secs(boot.silence(now).as_secs()));
    let why = boot.diagnosis().unwrap_or_default();
    Some(format!("Missing: {missing}, and nothing was heard for {silence}. Usually: {why}."))
}

fn as_json(boot: &Timeline, now: SystemTime) -> Value {
    let missing = boot.missing(now);
    json!({
        "began": precise(boot.began),
        "sent_to": boot.elsewhere(),
        "steps": boot.stages.iter().map(stage_json).collect::<Vec<_>>(),
        "next": boot.next(),
        "missing": missing,
        "why": missing.and_then(|_| boot.diagnosis()),
    })
}

fn stage_json(stage: &Stage) -> Value {
    json!({
        "step": stage.step,
        "began": precise(stage.began),
        "last": precise(stage.last),
        "asked": stage.asked,
        "files": stage.files,
        "broken": stage.broken,
        "bytes": stage.bytes,
        "transfer_seconds": stage.took.as_secs_f64(),
        "bytes_per_second": stage.speed(),
        "remark": stage.remark.as_deref(),
    })
}

/// Shows the last boot's events, and then each new one, for as long as somebody reads them; and which step is missing, when
/// nothing was heard for so long that one is.
async fn follow(
    fleet: &Onlooker,
    place: &DatabasePlace,
    mac: Mac,
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (mut news, mut followed) = (News::of(mac), Followed::default());
    let mut events = news.read(fleet).await?;
    let current = events.last().map(|event| event.boot);
    events.retain(|event| Some(event.boot) == current);
    loop {
        for event in &events {
            let is_first = followed.take(event);
            if as_json {
                let mut line = stage_json(&event.stage);
                if let Some(object) = line.as_object_mut() {
                    object.insert("mac".to_owned(), json!(event.mac));
                    object.insert("boot".to_owned(), json!(precise(event.boot)));
                }
                writeln!(out, "{line}")?;
            } else {
                if is_first {
                    writeln!(out, "Boot of {}", time(event.boot))?;
                }
                writeln!(out, "{}", line(event))?;
            }
        }
        let now = SystemTime::now();
        if followed.is_silent(now) {
            let sent_to = fleet.sent_to(&mac).await.with_context(|| format!("cannot go on reading {place}"))?;
            if let Some(boot) = followed.tell(sent_to)
                && let Some(missing) = missing(boot, now)
            {
                if as_json {
                    let (began, step, why) = (precise(boot.began), boot.missing(now), boot.diagnosis());
                    writeln!(out, "{}", json!({ "mac": mac, "boot": began, "missing": step, "why": why }))?;
                } else {
                    writeln!(out, "{missing}")?;
                }
            }
        }
        out.flush()?;
        tokio::time::sleep(LOOK_EVERY).await;
        events = news.read(fleet).await.with_context(|| format!("cannot go on reading {place}"))?;
    }
}

/// The boot that is followed, and what was said of it.
#[derive(Debug, Default)]
struct Followed {
    boot: Option<Timeline>,
    /// Whether it was said which step is missing since something was last heard.
    is_told: bool,
}

impl Followed {
    /// Something happened; whether it is the first of a boot.
    fn take(&mut self, event: &Event) -> bool {
        self.is_told = false;
        let known = self.boot.take().filter(|boot| boot.began == event.boot);
        let is_first = known.is_none();
        let stages = known.into_iter().flat_map(|boot| boot.stages);
        self.boot = Some(Timeline::of(event.boot, stages.chain([event.stage.clone()])));
        is_first
    }

    /// Whether a step is missing, as far as events tell, of which nothing was said yet.
    fn is_silent(&self, now: SystemTime) -> bool {
        !self.is_told && self.boot.as_ref().is_some_and(|boot| boot.missing(now).is_some())
    }

    /// The boot, of which it is said now how it stands, with what its machine was sent to.
    fn tell(&mut self, mut sent_to: BTreeMap<SystemTime, String>) -> Option<&Timeline> {
        self.is_told = true;
        let boot = self.boot.take()?;
        let to = sent_to.remove(&boot.began);
        Some(self.boot.insert(boot.and_sent_to(to)))
    }
}

/// What is written of one machine's boots, as far as it was not read yet.
pub(in crate::cli) struct News {
    mac: Mac,
    /// The number of the last event that was read.
    after: i64,
}

impl News {
    /// All of it.
    pub(in crate::cli) const fn of(mac: Mac) -> Self {
        Self { mac, after: 0 }
    }

    /// What is new, oldest first.
    pub(in crate::cli) async fn read(&mut self, fleet: &Onlooker) -> Result<Vec<Event>, FleetError> {
        let mut all = Vec::new();
        loop {
            let some = fleet.events(&self.mac, self.after).await?;
            let Some((last, _)) = some.last() else { return Ok(all) };
            self.after = *last;
            all.extend(some.into_iter().map(|(_, event)| event));
        }
    }
}

/// One event for a person.
pub(in crate::cli) fn line(event: &Event) -> String {
    let stage = &event.stage;
    let after = seconds(stage.last.duration_since(event.boot).unwrap_or_default());
    let mut text = format!("{after:>10}  {:<11}", stage.step);
    if stage.bytes > 0 {
        text.push_str(&format!("  {}", size(stage.bytes)));
        if let Some(speed) = stage.speed() {
            text.push_str(&format!(" at {}/s", size(speed)));
        }
    }
    match what(stage, Standing::Seen).as_str() {
        "-" => {}
        what => text.push_str(&format!("  {what}")),
    }
    text
}

/// A time in UTC, to the millisecond.
fn precise(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// `1.250 s`.
fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn event(boot: u64, step: Step, seconds: u64) -> Event {
        let stage = Stage { asked: 1, ..Stage::begin(step, at(seconds)) };
        Event { mac: Mac([2, 0, 0, 0, 0, 1]), boot: at(boot), stage }
    }

    #[test]
    fn the_last_boot_is_the_one_that_was_written_down_last_whatever_the_clock_said() {
        let events = [event(500, Step::Script, 500), event(7, Step::Discover, 7), event(7, Step::Script, 9)];
        let began: Vec<SystemTime> = boots(events.into()).iter().map(|boot| boot.began).collect();
        assert_eq!(began, [at(500), at(7)]);
    }

    #[test]
    fn whoever_follows_is_told_once_which_step_is_missing_and_again_after_the_next_silence() {
        let mut followed = Followed::default();
        assert!(!followed.is_silent(at(999)), "nothing was heard yet");
        assert!(followed.take(&event(0, Step::Ipxe, 0)));
        assert!(!followed.take(&event(0, Step::Script, 5)));
        assert!(!followed.is_silent(at(65)) && followed.is_silent(at(66)));
        let boot = followed.tell(BTreeMap::new()).unwrap();
        let said = missing(boot, at(66)).unwrap();
        assert!(said.starts_with("Missing: kernel, and nothing was heard for 1m 1s. Usually: the machine "), "{said}");
        assert!(!followed.is_silent(at(999)));
        assert!(!followed.take(&event(0, Step::Script, 70)) && followed.is_silent(at(131)));
        assert!(followed.take(&event(200, Step::Script, 200)), "another boot");
        assert!(!followed.is_silent(at(260)) && followed.is_silent(at(261)));
        let sent = followed.tell([(at(200), "local disk".to_owned())].into()).unwrap();
        assert_eq!(missing(sent, at(261)), None);
    }
}
