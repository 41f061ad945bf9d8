//! Which machines a person means, and who that person is.

use std::collections::BTreeSet;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use nix::unistd::User;

use super::serve;
use crate::config::Settings;
use crate::fleet::{By, DecideError, Fleet, Lens, Machine, Onlooker, census};
use crate::model::label::{Labels, Selector};
use crate::model::ledger::Ledger;
use crate::model::mac::Mac;
use crate::model::machine::MachineId;
use crate::model::name::nearest;
use crate::model::rollout::Census;
use crate::store::Store;

/// Takes the conflicts of machines away that people settled, and those with a machine that was forgotten since.
pub(super) fn leave_out_settled(machines: &mut [Machine], ledger: &Ledger) {
    let known: BTreeSet<Mac> = machines.iter().map(|machine| machine.identity.mac).collect();
    for Machine { identity, conflicts, .. } in machines {
        let id = MachineId::from(identity.mac);
        conflicts.retain(|conflict| known.contains(&conflict.with) && !ledger.is_settled(&id, &conflict.with.into()));
    }
}

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
        let mut machines = fleet.machines_with_reports().await?;
        let ledger = fleet.book().read().await?;
        leave_out_settled(&mut machines, &ledger);
        let census = census_of(settings, &machines, &ledger);
        Ok(Self { fleet, machines, census })
    }

    /// The machines a person means by an address, a host name, a serial number, or a selector of labels.
    pub(super) fn whom(&self, text: &str) -> anyhow::Result<Vec<MachineId>> {
        if let Some(machine) = named(&self.machines, text)? {
            return Ok(vec![machine.identity.mac.into()]);
        }
        if let Ok(mac) = text.parse::<Mac>() {
            // A machine may be spoken of before it is first switched on.
            return Ok(vec![mac.into()]);
        }
        if let Some(machine) = self.virtual_one(text) {
            return Ok(vec![machine]);
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

impl Found {
    /// The only machine that is a virtual one of this name, whether it ever booted or not.
    fn virtual_one(&self, name: &str) -> Option<MachineId> {
        let ledger = self.fleet.book().known();
        let mut called = ledger.records().filter(|(_, record)| record.vm.as_ref().is_some_and(|vm| vm.name == name));
        let (machine, _) = called.next()?;
        called.next().is_none().then(|| machine.clone())
    }
}

/// The machine with this address, be it that of another of its cards, or the only one with this host name or serial number.
pub(super) fn named<'a>(machines: &'a [Machine], text: &str) -> anyhow::Result<Option<&'a Machine>> {
    if let Ok(mac) = text.parse::<Mac>() {
        let has = |machine: &&Machine| machine.identity.hardware.cards.contains(&mac);
        let kept = machines.iter().find(|machine| machine.identity.mac == mac);
        return Ok(kept.or_else(|| machines.iter().find(has)));
    }
    let mut found = machines.iter().filter(|machine| names(machine).any(|name| name == text));
    match (found.next(), found.next()) {
        (Some(one), Some(other)) => bail!(
            "`{text}` is the name of several machines, {} and {} among them; write the address of one",
            one.identity.mac,
            other.identity.mac
        ),
        (found, _) => Ok(found),
    }
}

/// The names of a machine besides its address.
pub(super) fn names(machine: &Machine) -> impl Iterator<Item = &str> {
    let hostname = machine.session.report.as_ref().map(|report| report.hostname.as_str());
    hostname.into_iter().chain(machine.identity.serial.as_deref())
}

/// The fleet as rollouts see it.
pub(super) fn census_of(settings: &Settings, machines: &[Machine], ledger: &Ledger) -> Census {
    let mut settings = settings.clone();
    // As the server does it.
    if let Ok(published) = Store::look_into(&settings.store()).profiles() {
        serve::default_to_only(&mut settings.assignments, &published);
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

/// The error a person reads: a refusal is one itself.
pub(super) fn refusal<E: std::error::Error + Send + Sync + 'static>(error: DecideError<E>) -> anyhow::Error {
    match error {
        DecideError::Refused(refusal) => refusal.into(),
        other => anyhow::Error::new(other),
    }
}

/// That person, and why.
pub(super) fn by<'a>(person: &'a str, why: Option<&'a str>) -> By<'a> {
    By { who: person, why }
}
