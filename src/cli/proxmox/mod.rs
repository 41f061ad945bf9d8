//! `bivouac proxmox`: virtual machines without disks, from the cluster to the fleet.

mod adopt;
mod args;
mod create;
mod list;
mod power;
mod recipe;
mod which;

use std::io::{self, BufRead as _, IsTerminal as _, Write};

use anyhow::bail;

pub(super) use args::ProxmoxArgs;
use args::{ProxmoxCommand, Trial};

use crate::config::{ProxmoxSettings, ProxmoxTrust, Settings};
use crate::proxmox::plan::Power;
use crate::proxmox::{Call, Place, Trust};

/// Runs a command about virtual machines.
pub(super) async fn proxmox(settings: &Settings, arguments: ProxmoxArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    match arguments.command {
        ProxmoxCommand::Create(create) => create::create(settings, create, out).await,
        ProxmoxCommand::List { json } => list::list(settings, json, out).await,
        ProxmoxCommand::Start { which, trial } => power::power(settings, &which, Power::Start, trial, out).await,
        ProxmoxCommand::Stop { which, trial, hard } => {
            let power = if hard { Power::Stop } else { Power::Shutdown };
            power::power(settings, &which, power, trial, out).await
        }
        ProxmoxCommand::Reboot { which, trial } => power::power(settings, &which, Power::Reboot, trial, out).await,
        ProxmoxCommand::Delete { which, trial: Trial { dry_run: true }, .. } => {
            power::show_delete(settings, &which, out).await
        }
        ProxmoxCommand::Delete { which, yes, .. } => power::delete(settings, &which, yes, out).await,
        ProxmoxCommand::Adopt(adopt) => adopt::adopt(settings, adopt, out).await,
        ProxmoxCommand::Recipe(recipe) => recipe::recipe(settings, recipe, out),
    }
}

/// The cluster the site file names.
fn place(settings: &ProxmoxSettings) -> Place {
    Place {
        server: settings.server.clone(),
        token_file: settings.token_file.clone(),
        trust: match &settings.trust {
            ProxmoxTrust::System => Trust::System,
            ProxmoxTrust::Authority(path) => Trust::Authority(path.clone()),
            ProxmoxTrust::Certificate(fingerprint) => Trust::Certificate(*fingerprint),
        },
        tag: settings.tag.clone(),
        task_time: settings.task_time,
    }
}

/// The cluster that reboots virtual machines for rollouts, if it is to. Its token and the certificate it is known by are
/// read whenever it is asked.
pub(super) fn to_serve(settings: &Settings) -> Option<Place> {
    let proxmox = &settings.proxmox;
    (proxmox.reboots && proxmox.server.is_some()).then(|| place(proxmox))
}

/// Prints calls that are not made.
fn show(calls: &[Call], out: &mut dyn Write) -> io::Result<()> {
    if calls.is_empty() {
        return writeln!(out, "Nothing would be asked of the cluster.");
    }
    calls.iter().try_for_each(|call| writeln!(out, "{call}"))
}

/// Asks whether to do something that cannot be undone; without a terminal, `yes` has to be said beforehand.
fn confirm(question: &str, yes: bool) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        bail!("{question} Nobody can be asked here; add --yes");
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
