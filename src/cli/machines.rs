//! `bivouac machines`.

use std::io::Write;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::report::{switched_off, table, time};
use crate::config::Settings;
use crate::fleet::{Fleet, Machine};
use crate::model::boot::Step;

/// Lists every machine that ever asked to boot.
pub(super) async fn machines(settings: &Settings, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let machines = Fleet::read(&settings.fleet()).await?;
    if as_json {
        let list: Vec<Value> = machines.iter().map(describe).collect();
        serde_json::to_writer_pretty(&mut *out, &list)?;
        writeln!(out)?;
    } else if machines.is_empty() {
        writeln!(out, "No machine has asked to boot yet. `bivouac serve` answers them.")?;
    } else {
        let header = ["MACHINE", "HOST NAME", "PROFILE", "RELEASE", "RUNNING", "STEP", "SINCE", "STATE"];
        out.write_all(table(&header, machines.iter().map(row).collect()).as_bytes())?;
    }
    if !as_json {
        switched_off(&settings.verify.off, out)?;
    }
    Ok(())
}

fn row(machine: &Machine) -> Vec<String> {
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
        state(machine),
    ]
}

/// `up`, `booting`, or `wrong` when the machine was refused or came up with something else than it was told to.
fn word(machine: &Machine) -> &'static str {
    let session = &machine.session;
    match (session.problems.is_empty(), session.step) {
        (false, _) => "wrong",
        (true, Step::CheckIn) => "up",
        (true, _) => "booting",
    }
}

/// One word, or what is wrong.
fn state(machine: &Machine) -> String {
    let session = &machine.session;
    match word(machine) {
        "wrong" => session.problems.join("; "),
        word => word.to_owned(),
    }
}

fn describe(machine: &Machine) -> Value {
    let Machine { identity, first_seen, last_seen, session, .. } = machine;
    let told = session.told.as_ref();
    let at = |moment: SystemTime| time(moment);
    json!({
        "mac": identity.mac,
        "uuid": identity.uuid,
        "serial": identity.serial,
        "platform": identity.platform,
        "buildarch": identity.buildarch,
        "first_seen": at(*first_seen),
        "last_seen": at(*last_seen),
        "profile": told.map(|(profile, _, _)| profile),
        "release": told.map(|(_, release, _)| release),
        "bundle": told.map(|(_, _, bundle)| bundle),
        "started": at(session.started),
        "step": session.step,
        "step_at": at(session.step_at),
        "state": word(machine),
        "problems": session.problems,
        "running": session.report,
    })
}
