//! `bivouac rollout start`.

use std::io::Write;
use std::time::SystemTime;

use anyhow::Context as _;

use super::args::{StartArgs, reference};
use super::{release_of, status};
use crate::cli::whom::{Found, by, person, refusal};
use crate::config::Settings;
use crate::model::ledger::{Fact, Ledger, Refusal};
use crate::model::name::BundleRef;
use crate::model::rollout::{Batch, Pace, Rollout, Spec};
use crate::store::Store;

/// Begins a rollout, or shows what it would do.
pub(super) async fn start(settings: &Settings, arguments: StartArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let spec = spec(settings, &arguments)?;
    let found = Found::read(settings).await?;
    let start = |ledger: &Ledger| Ok::<_, Refusal>(vec![ledger.start(spec.clone(), &found.census)?]);
    if arguments.dry_run {
        let ledger = found.fleet.book().read().await?;
        for fact in start(&ledger)? {
            writeln!(out, "would begin: {fact}")?;
            if let Fact::Started { spec } = fact {
                let rollout = Rollout::begin(*spec, SystemTime::now());
                status::outline(&rollout, &found.census, out)?;
            }
        }
        return Ok(());
    }
    let person = person();
    let written = found.fleet.book().decide(by(&person, arguments.why.as_deref()), start).await.map_err(refusal)?;
    for entry in written {
        writeln!(out, "{}", entry.fact)?;
        if let Fact::Started { spec } = entry.fact {
            status::outline(&Rollout::begin(*spec, entry.at), &found.census, out)?;
        }
    }
    writeln!(out, "A running server goes on with it. `bivouac rollout status --follow` shows how it goes.")?;
    Ok(())
}

fn spec(settings: &Settings, arguments: &StartArgs) -> anyhow::Result<Spec> {
    let StartArgs { profile, channel, .. } = arguments;
    let store = Store::look_into(&settings.store());
    let to = release_of(&store, &reference(profile, &arguments.to)?)?;
    let from = release_of(&store, &BundleRef::Channel(profile.clone(), channel.clone())).with_context(|| {
        format!("{profile}:{channel} has nothing to move from; `bivouac promote` gives it a release")
    })?;
    store.site_parts(&to.bundle)?;
    let default = Pace::default();
    let pace = Pace {
        success: arguments.success.unwrap_or(default.success),
        bake: arguments.bake.map_or(default.bake, Into::into),
        timeout: arguments.timeout.map_or(default.timeout, Into::into),
    };
    let batch = |text: &String| Batch::parse(text, &pace).with_context(|| format!("--batch \"{text}\" cannot be used"));
    let batches = arguments.batches.iter().map(batch).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Spec {
        number: 0,
        profile: profile.clone(),
        channel: channel.clone(),
        from,
        to,
        batches: Spec::with_the_rest(batches, &pace),
        budgets: arguments.max_unavailable.clone(),
        windows: arguments.window.clone(),
        blackouts: arguments.blackout.clone(),
        zones: settings.fleet_settings.zones.clone(),
        reboot: arguments.reboot,
        max_failures: arguments.max_failures,
        auto_rollback: arguments.auto_rollback,
    })
}
