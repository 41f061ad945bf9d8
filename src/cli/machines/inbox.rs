//! `bivouac machines inbox` and `machines approve`: machines nobody knows, and who lets them in.

use std::io::Write;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::change::{target, write};
use crate::cli::report::{table, time};
use crate::cli::whom::Found;
use crate::config::Settings;
use crate::fleet::Machine;
use crate::model::ledger::Fact;
use crate::model::machine::MachineId;
use crate::model::pairing::PairingCode;
use crate::store::Store;

/// The machines that wait, with the codes they show.
fn waiting(found: &Found) -> Vec<(PairingCode, &Machine)> {
    let ledger = found.fleet.book().known();
    let unknown = |machine: &&Machine| ledger.record(&machine.identity.mac.into()).is_none();
    let code = |machine: &Machine| PairingCode::of_sent_to(machine.session.sent_to.as_deref()?);
    found.machines.iter().filter(unknown).filter_map(|machine| Some((code(machine)?, machine))).collect()
}

/// Lists the machines that wait to be approved, who waits longest first.
pub(super) async fn inbox(settings: &Settings, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let found = Found::read(settings).await?;
    let mut waiting = waiting(&found);
    waiting.sort_by_key(|(_, machine)| machine.session.started);
    if as_json {
        let json = |(code, machine): &(PairingCode, &Machine)| {
            let identity = &machine.identity;
            json!({
                "code": code.to_string(),
                "mac": identity.mac,
                "address": identity.hardware.address,
                "manufacturer": identity.hardware.manufacturer,
                "product": identity.hardware.product,
                "serial": identity.serial,
                "since": time(machine.session.started),
                "last_seen": time(machine.last_seen),
            })
        };
        serde_json::to_writer_pretty(&mut *out, &waiting.iter().map(json).collect::<Vec<_>>())?;
        writeln!(out)?;
    } else if waiting.is_empty() {
        writeln!(
            out,
            "No machine waits. With `unknown-policy = \"inbox\"` in the site file, those do that nobody knows."
        )?;
    } else {
        let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let row = |(code, machine): &(PairingCode, &Machine)| {
            let hardware = &machine.identity.hardware;
            let model = [&hardware.manufacturer, &hardware.product].into_iter().flatten();
            vec![
                code.to_string(),
                machine.identity.mac.to_string(),
                hardware.address.map_or_else(|| "-".to_owned(), |address| address.to_string()),
                dash(model.map(String::as_str).collect::<Vec<_>>().join(" ")),
                time(machine.session.started),
                time(machine.last_seen),
            ]
        };
        let header = ["CODE", "MACHINE", "ADDRESS", "MODEL", "SINCE", "LAST SEEN"];
        out.write_all(table(&header, waiting.iter().map(row).collect()).as_bytes())?;
    }
    Ok(())
}

/// Lets machines boot that nobody knew.
pub(super) async fn approve(
    settings: &Settings,
    whom: &str,
    what: Option<&str>,
    why: Option<&str>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let store = Store::look_into(&settings.store());
    let target = what.map(|text| target(text, &store)).transpose()?;
    let found = Found::read(settings).await?;
    let machines = meant(&found, whom)?;
    let mut facts = vec![Fact::Approved { machines: machines.clone() }];
    facts.extend(target.map(|to| Fact::Assigned { machines, to: Some(to) }));
    write(&found, facts, why, out).await
}

/// The machine that shows a code, or else who is meant by a name.
fn meant(found: &Found, whom: &str) -> anyhow::Result<Vec<MachineId>> {
    let Ok(code) = whom.parse::<PairingCode>() else { return found.whom(whom) };
    let shows: Vec<MachineId> =
        waiting(found).into_iter().filter(|it| it.0 == code).map(|(_, machine)| machine.identity.mac.into()).collect();
    match shows.as_slice() {
        [_] => Ok(shows),
        [] => found.whom(whom).with_context(|| {
            format!("no machine waits with the code {code}; `bivouac machines inbox` lists those that do")
        }),
        [one, other, ..] => bail!("{one} and {other} both show the code {code}; write the address of one"),
    }
}
