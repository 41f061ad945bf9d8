//! `bivouac proxmox list`.

use std::io::Write;

use serde_json::{Value, json};

use super::which::{Both, Ours};
use crate::cli::machines::state;
use crate::cli::report::{plain, table};
use crate::config::Settings;

/// Lists the virtual machines that are ours, by number.
pub(super) async fn list(settings: &Settings, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let both = Both::read(settings).await?;
    if as_json {
        let list: Vec<Value> = both.ours.iter().map(|ours| describe(&both, ours)).collect();
        serde_json::to_writer_pretty(&mut *out, &list)?;
        writeln!(out)?;
    } else if both.ours.is_empty() {
        writeln!(
            out,
            "This API token sees no VM with the tag `{}`. `bivouac proxmox create` makes some; a token sees those on which \
             it has VM.Audit.",
            both.tag
        )?;
    } else {
        let header = ["VM", "NAME", "NODE", "STATUS", "MACHINE", "PROFILE", "RELEASE", "HEALTH"];
        let rows = both.ours.iter().map(|ours| row(&both, ours)).collect();
        out.write_all(table(&header, rows).as_bytes())?;
    }
    Ok(())
}

fn row(both: &Both, ours: &Ours) -> Vec<String> {
    let dash = || "-".to_owned();
    let vm = &ours.vm;
    let status = match &vm.lock {
        Some(lock) => format!("{}, locked ({lock})", vm.status),
        None => vm.status.clone(),
    };
    let machine = both.machine(ours);
    let told = machine.and_then(|machine| machine.session.told.as_ref());
    let health = match (machine, &ours.machine) {
        (Some(machine), _) => state(machine),
        (None, Some(_)) => "has not booted yet".to_owned(),
        (None, None) => format!("not known to the fleet; `bivouac proxmox adopt {}`", vm.id),
    };
    let cells = [
        vm.id.to_string(),
        vm.name.clone(),
        vm.node.clone(),
        status,
        ours.machine.as_ref().map_or_else(dash, ToString::to_string),
        told.map(|told| &told.0).or(ours.profile.as_ref()).map_or_else(dash, ToString::to_string),
        told.map_or_else(dash, |told| told.1.to_string()),
        health,
    ];
    cells.iter().map(|cell| plain(cell)).collect()
}

fn describe(both: &Both, ours: &Ours) -> Value {
    let machine = both.machine(ours);
    let session = machine.map(|machine| &machine.session);
    let told = session.and_then(|session| session.told.as_ref());
    json!({
        "vm": ours.vm.id,
        "name": ours.vm.name,
        "node": ours.vm.node,
        "status": ours.vm.status,
        "lock": ours.vm.lock,
        "tags": ours.vm.tags,
        "machine": ours.machine,
        "labels": ours.labels,
        "profile": told.map(|told| &told.0).or(ours.profile.as_ref()),
        "release": told.map(|told| told.1),
        "state": machine.map(state),
        "good": session.and_then(|session| session.last_check_in.map(|_| session.is_good)),
    })
}
