//! `bivouac rollout` and `bivouac promote`: channels that move.

mod args;
mod start;
mod status;

use std::convert::Infallible;
use std::io::Write;

use anyhow::{Context as _, bail};

pub(super) use args::{PromoteArgs, RolloutArgs};
use args::{RolloutCommand, Which};

use super::whom::{by, person, refusal};
use crate::config::Settings;
use crate::fleet::{Fleet, Onlooker};
use crate::model::ledger::{Fact, Ledger, Refusal};
use crate::model::manifest::BundleId;
use crate::model::name::{BundleRef, ChannelName, ProfileName};
use crate::model::rollout::{Release, Rollout, RolloutNumber, Status};
use crate::store::Store;

/// Runs a command about rollouts.
pub(super) async fn rollout(settings: &Settings, arguments: RolloutArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    match arguments.command {
        RolloutCommand::Start(start) => start::start(settings, start, out).await,
        RolloutCommand::Status { number, follow, json } => {
            status::status(settings, number, status::Manner { follow, as_json: json }, out).await
        }
        RolloutCommand::History { profile, json } => status::history(settings, profile.as_ref(), json, out).await,
        RolloutCommand::Pause(which) => {
            decide(settings, which, out, |ledger, number| ledger.pause(number).map(Some)).await
        }
        RolloutCommand::Resume(which) => {
            decide(settings, which, out, |ledger, number| ledger.resume(number).map(Some)).await
        }
        RolloutCommand::Abort(which) => decide(settings, which, out, Ledger::abort).await,
        RolloutCommand::Rollback(which) => {
            let reason = which.why.clone().unwrap_or_else(|| format!("{} decided so", person()));
            decide(settings, which, out, |ledger, number| ledger.roll_back(number, reason.clone()).map(Some)).await
        }
        RolloutCommand::Floor { profile, release, remove, why } => {
            floor(settings, &profile, release, (remove, why.as_deref()), out).await
        }
    }
}

/// Opens the fleet's database.
async fn open(settings: &Settings) -> anyhow::Result<Onlooker> {
    Ok(Fleet::look_on(&settings.fleet()).await?)
}

/// Writes a decision about one rollout.
async fn decide(
    settings: &Settings,
    which: Which,
    out: &mut dyn Write,
    decision: impl Fn(&Ledger, RolloutNumber) -> Result<Option<Fact>, Refusal>,
) -> anyhow::Result<()> {
    let fleet = open(settings).await?;
    let ledger = fleet.book().read().await?;
    let number = match which.number {
        Some(number) => number,
        None => only(&ledger)?,
    };
    let person = person();
    let decide = |ledger: &Ledger| Ok::<_, Refusal>(decision(ledger, number)?.into_iter().collect());
    let written = fleet.book().decide(by(&person, which.why.as_deref()), decide).await.map_err(refusal)?;
    for entry in &written {
        writeln!(out, "{}", entry.fact)?;
    }
    if written.is_empty() {
        writeln!(out, "rollout {number}: nothing to do")?;
    }
    Ok(())
}

/// The one rollout that is not over.
fn only(ledger: &Ledger) -> anyhow::Result<RolloutNumber> {
    let active: Vec<RolloutNumber> = ledger.active().map(|rollout| rollout.spec.number).collect();
    match active.as_slice() {
        [number] => Ok(*number),
        [] => bail!("no rollout is under way; `bivouac rollout history` lists those that were"),
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            bail!("the rollouts {} are under way; name one of them", names.join(", "))
        }
    }
}

/// A release that is meant by a reference to one.
fn release_of(store: &Store, reference: &BundleRef) -> anyhow::Result<Release> {
    let found = match reference {
        BundleRef::Channel(profile, channel) => store.channel(profile, channel)?,
        BundleRef::Release(profile, number) => store.release(profile, *number)?,
        BundleRef::Id(id) => bail!("{id} is a bundle and no release"),
    };
    Ok(Release { number: found.number, bundle: found.bundle })
}

/// A rollout is under way that moves a channel.
#[derive(Debug, thiserror::Error)]
#[error(
    "rollout {rollout} moves {profile}:{channel}, and nobody else may; publish to another channel (`--channel beta`), or \
     end it with `bivouac rollout abort {rollout}` or `bivouac rollout rollback {rollout}`"
)]
pub(super) struct UnderWay {
    pub(super) rollout: RolloutNumber,
    profile: ProfileName,
    channel: ChannelName,
}

/// Refuses to move a channel of which a rollout is under way, by [`UnderWay`].
pub(super) async fn refuse_under_way(
    settings: &Settings,
    profile: &ProfileName,
    channel: &ChannelName,
) -> anyhow::Result<()> {
    if let Some(rollout) = last_of(settings, profile, channel).await?.filter(|rollout| !rollout.status.is_over()) {
        let rollout = rollout.spec.number;
        return Err(UnderWay { rollout, profile: profile.clone(), channel: channel.clone() }.into());
    }
    Ok(())
}

/// The last rollout of a channel, if somebody, or what failed, kept it from bringing this bundle to all machines.
pub(super) async fn kept_back(
    settings: &Settings,
    profile: &ProfileName,
    channel: &ChannelName,
    bundle: &BundleId,
) -> anyhow::Result<Option<RolloutNumber>> {
    let last = last_of(settings, profile, channel).await?;
    let is_kept_back = |rollout: &Rollout| {
        rollout.status.is_over() && rollout.status != Status::Finished && rollout.spec.to.bundle == *bundle
    };
    Ok(last.filter(is_kept_back).map(|rollout| rollout.spec.number))
}

async fn last_of(settings: &Settings, profile: &ProfileName, channel: &ChannelName) -> anyhow::Result<Option<Rollout>> {
    if settings.fleet().is_absent() {
        return Ok(None);
    }
    let ledger = open(settings).await?.book().read().await?;
    Ok(ledger.rollout_of(profile, channel).cloned())
}

/// Moves a channel at once.
pub(super) async fn promote(settings: &Settings, arguments: PromoteArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let PromoteArgs { profile, from, to: channel, why } = arguments;
    let store = Store::open(&settings.store())?;
    let to = release_of(&store, &args::reference(&profile, &from)?)?;
    refuse_under_way(settings, &profile, &channel).await?;
    let fleet = open(settings).await?;
    let before = store.point(&profile, &channel, to.number)?.map(|release| release.number);
    if before == Some(to.number) {
        writeln!(out, "{profile}:{channel} has release {} already", to.number)?;
        return Ok(());
    }
    let fact = Fact::Moved { profile, channel, from: before, to };
    let person = person();
    let write = |_: &Ledger| Ok::<_, Infallible>(vec![fact.clone()]);
    fleet
        .book()
        .decide(by(&person, why.as_deref()), write)
        .await
        .map_err(refusal)
        .context("the channel has moved, and that is not in the ledger")?;
    writeln!(out, "{fact}")?;
    Ok(())
}

async fn floor(
    settings: &Settings,
    profile: &ProfileName,
    release: Option<u64>,
    (remove, why): (bool, Option<&str>),
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let fleet = open(settings).await?;
    let Some(release) = release else {
        let ledger = fleet.book().read().await?;
        let floors: Vec<String> = ledger.floors(profile).map(|floor| format!("{profile}@{floor}")).collect();
        match floors.is_empty() {
            true => writeln!(out, "machines may jump over every release of {profile}")?,
            false => writeln!(out, "no machine may jump over {}", floors.join(", "))?,
        }
        return Ok(());
    };
    if !remove {
        Store::look_into(&settings.store()).release(profile, release)?;
    }
    let fact = Fact::Floor { profile: profile.clone(), release, is_one: !remove };
    let person = person();
    fleet
        .book()
        .decide(by(&person, why), |_: &Ledger| Ok::<_, Infallible>(vec![fact.clone()]))
        .await
        .map_err(refusal)?;
    writeln!(out, "{fact}")?;
    Ok(())
}
