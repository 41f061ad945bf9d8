//! `bivouac machines`: what the fleet is, how the boots of one machine went, and what people say of machines.

mod change;
mod inbox;
mod list;
mod sheet;
mod show;

use std::io::Write;

pub(super) use change::{assign, target};
pub(super) use list::state;
pub(super) use show::{LOOK_EVERY, News, boots, line};

use super::args::{MachinesArgs, MachinesCommand};
use crate::config::Settings;
use crate::model::ledger::Request;
use change::When;

/// Lists every machine that ever asked to boot, shows one, or changes what is said of some.
pub(super) async fn machines(settings: &Settings, arguments: MachinesArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    match arguments.command {
        None => list::list(settings, arguments.json, out).await,
        Some(MachinesCommand::Show(show)) => show::show(settings, &show, out).await,
        Some(MachinesCommand::Label { whom, labels, reason }) => {
            change::label(settings, &whom, &labels, reason.why.as_deref(), out).await
        }
        Some(MachinesCommand::Set { whom, values, reason }) => {
            change::set(settings, &whom, &values, reason.why.as_deref(), out).await
        }
        Some(MachinesCommand::Settle { whom, reason }) => {
            change::settle(settings, &whom, reason.why.as_deref(), out).await
        }
        Some(MachinesCommand::Forget { whom, reason }) => {
            change::forget(settings, &whom, reason.why.as_deref(), out).await
        }
        Some(MachinesCommand::Reboot { whom, idle, within, cancel, reason }) => {
            let when = match (idle, within, cancel) {
                (_, _, true) => When::Never,
                (Some(after), _, _) => When::Idle(*after),
                (_, Some(time), _) => When::Within(*time),
                (None, None, false) => When::Now,
            };
            change::reboot(settings, &whom, when, reason.why.as_deref(), out).await
        }
        Some(MachinesCommand::Export { file }) => sheet::export(settings, file.as_deref(), out).await,
        Some(MachinesCommand::Import { file, dry_run, reason }) => {
            sheet::import(settings, &file, dry_run, reason.why.as_deref(), out).await
        }
        Some(MachinesCommand::Inbox { json }) => inbox::inbox(settings, json, out).await,
        Some(MachinesCommand::Approve { whom, profile, reason }) => {
            inbox::approve(settings, &whom, profile.as_deref(), reason.why.as_deref(), out).await
        }
        Some(MachinesCommand::Message { whom, text }) => {
            change::ask(settings, &whom, Request::Message(text), None, out).await
        }
    }
}
