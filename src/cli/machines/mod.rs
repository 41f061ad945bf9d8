//! `bivouac machines`: what the fleet is, and how the boots of one machine went.

mod list;
mod show;

use std::io::Write;

use super::args::{MachinesArgs, MachinesCommand};
use crate::config::Settings;

/// Lists every machine that ever asked to boot, or shows one.
pub(super) async fn machines(settings: &Settings, arguments: MachinesArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    match arguments.command {
        None => list::list(settings, arguments.json, out).await,
        Some(MachinesCommand::Show(show)) => show::show(settings, &show, out).await,
    }
}
