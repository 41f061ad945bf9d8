//! Which machines a person means, and who that person is.

use std::time::SystemTime;

use anyhow::{Context as _, bail};
use nix::unistd::User;

use super::serve;
use crate::config::Settings;
use crate::fleet::{By, Fleet, Lens, Machine, Onlooker, census};
use crate::model::label::{Labels, Selector};
use crate::model::ledger::Ledger;
use crate::model::mac::Mac;
use crate::model::machine::MachineId;
use crate::model::name::nearest;
use crate::model::rollout::Census;
use crate::store::Store;

/// The fleet as a command finds it.
pub(super) struct Found {
    pub(super) fleet: Onlooker,
    pub(super) machines: Vec<Machine>,
    pub(super) census: Census,
}

impl Found {
    /// Opens the fleet's database and reads all of it.
    pub(super) async fn read(settings: &Settings) -> anyhow::Result<Self> {
        let fleet = Fleet::look_on(&settings.fleet()).await?;
        let machines = fleet.machines_with_reports().await?;
        let ledger = fleet.book().read().await?;
        let census = census_of(settings, &machines, &ledger);
        Ok(Self { fleet, machines, census })
    }

    /// The machines a person means by an address, a host name, a serial number, or a selector of labels.
    pub(super) fn whom(&self, text: &str) -> anyhow::Result<Vec<MachineId>> {
        if let Ok(mac) = text.parse::<Mac>() {
            let is_kept = self.machines.iter().any(|machine| machine.identity.mac == mac);
            let has = |machine: &&Machine| machine.identity.hardware.cards.contains(&mac);
            let owner = self.machines.iter().find(has).filter(|_| !is_kept).map(|machine| machine.identity.mac);
            // A machine may be spoken of before it is first switched on.
            return Ok(vec![owner.unwrap_or(mac).into()]);
        }
        let is_named = |machine: &&Machine| names(machine).any(|name| name == text);
        let named: Vec<MachineId> =
            self.machines.iter().filter(is_named).map(|machine| machine.identity.mac.into()).collect();
        match named.as_slice() {
            [_] => return Ok(named),
            [one, other, ..] => {
                bail!(
                    "`{text}` is the name of several machines, {one} and {other} among them; write the address of one"
                )
            }
            [] => {}
        }
        let selector: Selector = text.parse().with_context(|| format!("`{text}` is no machine"))?;
        let labels: Vec<&Labels> = self.census.values().map(|view| &view.labels).collect();
        if let Err(unmatched) = selector.check(labels) {
            let near = nearest(text, self.machines.iter().flat_map(names));
            let hint = near.map_or_else(String::new, |near| format!("; or did you mean the machine `{near}`?"));
            bail!("`{text}` means no machine: {unmatched}{hint}");
        }
        let meant = self.census.iter().filter(|(_, view)| selector.matches(&view.labels));
        Ok(meant.map(|(machine, _)| machine.clone()).collect())
    }
}

fn names(machine: &Machine) -> impl Iterator<Item = &str> {
    let hostname = machine.session.report.as_ref().map(|report| report.hostname.as_str());
    hostname.into_iter().chain(machine.identity.serial.as_deref())
}

/// The fleet as rollouts see it.
pub(super) fn census_of(settings: &Settings, machines: &[Machine], ledger: &Ledger) -> Census {
    let mut settings = settings.clone();
    // As the server does it.
    if let Ok(published) = Store::look_into(&settings.store()).profiles() {
        serve::default_to_only(&mut settings, &published);
    }
    let lens = Lens {
        ledger,
        assignments: &settings.assignments,
        interval: settings.fleet_settings.check_in_interval,
        now: SystemTime::now(),
    };
    census(machines, &lens)
}

/// Who runs this program, as far as the system tells.
pub(super) fn person() -> String {
    let uid = nix::unistd::getuid();
    // Who became root for this is who decided it.
    let invoker = std::env::var("SUDO_USER").ok().filter(|_| uid.is_root());
    let named = invoker.or_else(|| Some(User::from_uid(uid).ok()??.name));
    let printable = |name: &String| (1..=64).contains(&name.len()) && !name.chars().any(char::is_control);
    named.filter(printable).unwrap_or_else(|| format!("user {uid}"))
}

/// That person, and why.
pub(super) fn by<'a>(person: &'a str, why: Option<&'a str>) -> By<'a> {
    By { who: person, why }
}
