//! `bivouac machines`: all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::cli::report::{departures, table, time};
use crate::cli::whom::Found;
use crate::config::Settings;
use crate::fleet::Machine;
use crate::model::boot::Step;
use crate::model::check::Check;
use crate::model::checkin::vitals::Vitals;
use crate::model::identity::evidence::Conflict;
use crate::model::label::{Labels, listed};
use crate::model::manifest::BundleId;
use crate::model::rollout::Census;
use crate::store::Store;

/// The checks that were not made of a bundle; nothing when its manifest cannot be read.
type Off = Option<BTreeSet<Check>>;

/// Every machine, and how rollouts see it; none when nothing was ever served.
async fn read(settings: &Settings) -> anyhow::Result<(Vec<Machine>, Census)> {
    if settings.fleet().is_absent() {
        return Ok((Vec::new(), Census::new()));
    }
    let Found { machines, census, .. } = Found::read(settings).await?;
    Ok((machines, census))
}

/// The labels of a machine.
pub(super) fn labels_in<'a>(census: &'a Census, machine: &Machine) -> Option<&'a Labels> {
    census.get(&machine.identity.mac.into()).map(|view| &view.labels)
}

/// Lists every machine that ever asked to boot.
pub(super) async fn list(settings: &Settings, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let (machines, census) = read(settings).await?;
    let store = Store::look_into(&settings.store());
    let mut off: BTreeMap<&BundleId, Off> = BTreeMap::new();
    for (_, _, bundle) in machines.iter().filter_map(|machine| machine.session.told.as_ref()) {
        off.entry(bundle).or_insert_with(|| store.manifest(bundle).ok().map(|manifest| manifest.verified.off));
    }
    let off_of = |machine: &Machine| Some(off.get(&machine.session.told.as_ref()?.2)?.clone());
    if as_json {
        let list: Vec<Value> = machines
            .iter()
            .map(|machine| describe(machine, labels_in(&census, machine), off_of(machine).flatten()))
            .collect();
        serde_json::to_writer_pretty(&mut *out, &list)?;
        writeln!(out)?;
    } else if machines.is_empty() {
        writeln!(out, "No machine has asked to boot yet. `bivouac serve` answers them.")?;
    } else {
        let header = ["MACHINE", "HOST NAME", "PROFILE", "RELEASE", "RUNNING", "STEP", "SINCE", "NOT CHECKED", "STATE"];
        let mut rows: Vec<Vec<String>> = machines.iter().map(|machine| row(machine, off_of(machine))).collect();
        let mut header = header.to_vec();
        // That column is for those who need it.
        if off.values().flatten().all(BTreeSet::is_empty) {
            let place = header.len() - 2;
            header.remove(place);
            rows.iter_mut().for_each(|row| drop(row.remove(place)));
        }
        if census.values().any(|view| !view.labels.is_empty()) {
            let place = header.len() - 1;
            header.insert(place, "LABELS");
            for (row, machine) in rows.iter_mut().zip(&machines) {
                row.insert(place, labels_in(&census, machine).map_or_else(|| "-".to_owned(), listed));
            }
        }
        out.write_all(table(&header, rows).as_bytes())?;
    }
    if !as_json {
        departures(&settings.verify, out)?;
    }
    Ok(())
}

/// A line of the table; a machine that was told nothing has nothing that was not checked.
fn row(machine: &Machine, off: Option<Off>) -> Vec<String> {
    let session = &machine.session;
    let report = session.report.as_ref();
    let dash = || "-".to_owned();
    let told = session.told.as_ref();
    vec![
        machine.identity.mac.to_string(),
        report.map_or_else(dash, |report| report.hostname.clone()),
        told.map_or_else(dash, |(profile, _, _)| profile.to_string()),
        told.map_or_else(dash, |(_, release, _)| release.to_string()),
        report.map_or_else(dash, |report| report.bundle.short()),
        session.step.to_string(),
        time(session.step_at),
        off.map_or_else(dash, |off| off.as_ref().map_or_else(|| "unknown".to_owned(), Check::list)),
        state(machine),
    ]
}

/// `up`, `booting`, `sent` when it was sent to something else than a bundle, or `wrong` when the machine was refused or
/// came up with something else than it was told to.
fn word(machine: &Machine) -> &'static str {
    let session = &machine.session;
    match (session.problems.is_empty(), session.step) {
        (false, _) => "wrong",
        (true, Step::CheckIn) => "up",
        (true, _) if session.sent_to.is_some() => "sent",
        (true, _) => "booting",
    }
}

/// One word, or what is wrong, or what it was sent to; and what a person should know besides.
pub(in crate::cli) fn state(machine: &Machine) -> String {
    let session = &machine.session;
    let state = match (word(machine), &session.sent_to) {
        ("wrong", _) => session.problems.join("; "),
        ("sent", Some(what)) => what.clone(),
        (word, _) => word.to_owned(),
    };
    let conflict = (!machine.conflicts.is_empty()).then(|| "CONFLICT".to_owned());
    std::iter::once(state).chain(conflict).chain(remarks(machine)).collect::<Vec<_>>().join("; ")
}

fn remarks(machine: &Machine) -> Vec<String> {
    machine.session.vitals.as_deref().map(Vitals::remarks).unwrap_or_default()
}

/// A machine with its last boot, as JSON.
pub(super) fn describe(machine: &Machine, labels: Option<&Labels>, off: Off) -> Value {
    let Machine { identity, first_seen, last_seen, session, conflicts, .. } = machine;
    let hardware = &identity.hardware;
    let told = session.told.as_ref();
    let at = |moment: SystemTime| time(moment);
    json!({
        "mac": identity.mac,
        "uuid": identity.uuid,
        "serial": identity.serial,
        "platform": identity.platform,
        "buildarch": identity.buildarch,
        "board_serial": hardware.board_serial,
        "asset": hardware.asset,
        "manufacturer": hardware.manufacturer,
        "product": hardware.product,
        "cards": hardware.cards,
        "address": hardware.address,
        "relay": hardware.relay,
        "labels": labels,
        "conflicts": conflicts.iter().map(conflict_json).collect::<Vec<_>>(),
        "first_seen": at(*first_seen),
        "last_seen": at(*last_seen),
        "profile": told.map(|(profile, _, _)| profile),
        "release": told.map(|(_, release, _)| release),
        "bundle": told.map(|(_, _, bundle)| bundle),
        "sent_to": session.sent_to,
        "off": off,
        "started": at(session.started),
        "step": session.step,
        "step_at": at(session.step_at),
        "state": word(machine),
        "problems": session.problems,
        "remarks": remarks(machine),
        "good": session.last_check_in.map(|_| session.is_good),
        "first_good": session.first_good.map(at),
        "last_check_in": session.last_check_in.map(at),
        "vitals": session.vitals,
        "running": session.report,
    })
}

fn conflict_json(conflict: &Conflict) -> Value {
    json!({ "with": conflict.with, "over": conflict.over, "text": conflict.to_string() })
}
