//! `bivouac machines label`, `set`, `settle`, `forget`, `reboot` and `message`, and `bivouac assign`: what people say
//! of machines and ask of them, which goes into the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::cli::args::AssignArgs;
use crate::cli::whom::{Found, by, person, refusal};
use crate::config::Settings;
use crate::model::label::{Label, LabelKey, Labels};
use crate::model::ledger::{Fact, Ledger, Request, Target};
use crate::model::machine::MachineId;
use crate::store::Store;

/// Writes facts, and shows them.
pub(super) async fn write(
    found: &Found,
    facts: Vec<Fact>,
    why: Option<&str>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let person = person();
    let decide = |_: &Ledger| Ok::<_, Infallible>(facts.clone());
    let written = found.fleet.book().decide(by(&person, why), decide).await.map_err(refusal)?;
    for entry in written {
        writeln!(out, "{}", entry.fact)?;
    }
    Ok(())
}

/// Sets labels, or takes them away.
pub(super) async fn label(
    settings: &Settings,
    whom: &str,
    written: &[String],
    why: Option<&str>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (mut set, mut removed) = (Labels::new(), BTreeSet::new());
    for text in written {
        match text.strip_suffix('-').filter(|key| !key.contains('=')) {
            Some(key) => {
                removed.insert(key.parse::<LabelKey>()?);
            }
            None => {
                let Label { key, value } = text.parse()?;
                if set.insert(key.clone(), value).is_some() {
                    bail!("the label `{key}` is given twice");
                }
            }
        }
    }
    let found = Found::read(settings).await?;
    let machines = found.whom(whom)?;
    write(&found, vec![Fact::Labelled { machines, set, removed }], why, out).await
}

/// Sets values for templates, or takes them away.
pub(super) async fn set(
    settings: &Settings,
    whom: &str,
    written: &[String],
    why: Option<&str>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (mut set, mut removed) = (BTreeMap::new(), BTreeSet::new());
    for text in written {
        match (text.split_once('='), text.strip_suffix('-')) {
            (Some((name, value)), _) => {
                set.insert(name.to_owned(), value.to_owned());
            }
            (None, Some(name)) => {
                removed.insert(name.to_owned());
            }
            (None, None) => bail!("`{text}` is no value; write NAME=VALUE, or NAME- to take one away"),
        }
    }
    let found = Found::read(settings).await?;
    let [machine] = <[_; 1]>::try_from(found.whom(whom)?)
        .map_err(|several| anyhow::anyhow!("`{whom}` means {} machines; values are of one", several.len()))?;
    write(&found, vec![Fact::Valued { machine, set, removed }], why, out).await
}

/// Settles every conflict of machines.
pub(super) async fn settle(
    settings: &Settings,
    whom: &str,
    why: Option<&str>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let found = Found::read(settings).await?;
    let meant = found.whom(whom)?;
    let mut facts = Vec::new();
    for machine in &found.machines {
        let id = MachineId::from(machine.identity.mac);
        if meant.contains(&id) && !machine.conflicts.is_empty() {
            let with: BTreeSet<MachineId> = machine.conflicts.iter().map(|conflict| conflict.with.into()).collect();
            facts.push(Fact::Settled { machine: id, with: with.into_iter().collect() });
        }
    }
    anyhow::ensure!(!facts.is_empty(), "`{whom}` is in no conflict; `bivouac machines` shows who is");
    write(&found, facts, why, out).await
}

/// Forgets machines.
pub(super) async fn forget(
    settings: &Settings,
    whom: &str,
    why: Option<&str>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let found = Found::read(settings).await?;
    let machines = found.whom(whom)?;
    for machine in &machines {
        let is_known = found.census.contains_key(machine);
        let ledger = found.fleet.book().known();
        if !is_known && ledger.record(machine).is_none() {
            bail!("machine {machine} is not known; `bivouac machines` lists those that are");
        }
    }
    let facts = machines.iter().map(|machine| Fact::Forgotten { machine: machine.clone() }).collect();
    // The ledger first: a running server forgets it too, and must not write it anew.
    write(&found, facts, why, out).await?;
    for machine in machines {
        if let Some(mac) = machine.mac() {
            found.fleet.forget(&mac).await?;
        }
    }
    Ok(())
}

/// When machines are to reboot.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    Now,
    Idle(Duration),
    Within(Duration),
    Never,
}

/// Asks machines to reboot, or not to.
pub(super) async fn reboot(
    settings: &Settings,
    whom: &str,
    when: When,
    why: Option<&str>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let request = match when {
        When::Now => Request::Reboot,
        When::Idle(after) => Request::RebootIdle(after.as_secs()),
        When::Within(time) => Request::RebootWithin(0, time.as_secs()),
        When::Never => Request::Stay,
    };
    ask(settings, whom, request, why, out).await
}

/// Asks something of machines that are up.
pub(super) async fn ask(
    settings: &Settings,
    whom: &str,
    request: Request,
    why: Option<&str>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let found = Found::read(settings).await?;
    let machines = found.whom(whom)?;
    if let Some(unknown) = machines.iter().find(|machine| !found.census.contains_key(*machine)) {
        bail!("machine {unknown} was never seen, so it cannot be asked; `bivouac machines` lists those that were");
    }
    let off = machines.iter().filter(|machine| found.census.get(*machine).is_some_and(|view| !view.is_on)).count();
    write(&found, vec![Fact::Asked { machines, request }], why, out).await?;
    if off > 0 {
        // What a machine was asked goes with the boot it was in (see `serve`).
        writeln!(
            out,
            "{off} of them did not check in for a while; they hear of it if they do before their next boot."
        )?;
    }
    Ok(())
}

/// What a person says that machines boot, which has to be there.
pub(in crate::cli) fn target(text: &str, store: &Store) -> anyhow::Result<Target> {
    let target: Target = text.parse().with_context(|| format!("`{text}` is nothing a machine can boot"))?;
    match &target {
        Target::Channel(profile, channel) => {
            store.channel(profile, channel)?;
        }
        Target::Release(profile, number) => {
            let release = store.release(profile, *number)?;
            store.site_parts(&release.bundle)?;
        }
    }
    Ok(target)
}

/// Says what machines boot.
pub(in crate::cli) async fn assign(
    settings: &Settings,
    arguments: &AssignArgs,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let AssignArgs { whom, what, once, reason } = arguments;
    let store = Store::look_into(&settings.store());
    let target = match what.as_str() {
        "-" if *once => bail!("`-` takes an assignment away, and that is not for once"),
        "-" => None,
        text => Some(target(text, &store)?),
    };
    let found = Found::read(settings).await?;
    let machines = found.whom(whom)?;
    let fact = match (target, once) {
        (Some(to), true) => Fact::AssignedOnce { machines, to },
        (to, _) => Fact::Assigned { machines, to },
    };
    write(&found, vec![fact], reason.why.as_deref(), out).await
}
