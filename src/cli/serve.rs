//! `bivouac serve`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::Settings;
use crate::fleet::Fleet;
use crate::model::firmware::Firmware;
use crate::model::name::{ChannelName, ProfileName};
use crate::model::plan::{Assignment, Catalog};
use crate::serve::loaders::{DEFAULT_FOLDERS, Loaders};
use crate::serve::{App, Options, Server};
use crate::store::Store;

/// Serves until it is interrupted or terminated.
pub(super) async fn serve(settings: &Settings, out: &mut dyn Write) -> anyhow::Result<()> {
    let store = Store::open(&settings.store())?;
    let assignments = assigned(settings, &store)?.assignments;
    let catalog = store.catalog(&Catalog::default())?;
    let folders: Vec<PathBuf> = match &settings.loaders {
        Some(folder) => vec![folder.clone()],
        None => DEFAULT_FOLDERS.iter().map(PathBuf::from).collect(),
    };
    let loaders = tokio::task::spawn_blocking(move || Loaders::find(&folders)).await?;
    for refused in loaders.refused() {
        warn!("{refused}");
    }
    // A kind of firmware that none of the bundles is for is not missed.
    let wanted = |firmware: Firmware| {
        catalog.channels.values().any(|published| firmware.boots(published.manifest.alpine.arch.as_str()))
    };
    for missing in loaders.missing().into_iter().filter(|missing| wanted(missing.firmware)) {
        warn!("{missing}");
    }
    let fallback = assignments.fallback.clone();
    let options = Options {
        http: settings.http,
        tftp: settings.tftp,
        dhcp: settings.dhcp.mode.clone(),
        interfaces: settings.dhcp.interfaces.clone(),
        dhcp_listen: settings.dhcp.listen,
        dhcp_port: settings.dhcp.port,
        pxe_port: settings.dhcp.pxe_port,
        advertise: settings.advertise.clone(),
        loaders: Arc::new(loaders),
        assignments,
    };
    let fleet = Fleet::open(&settings.fleet()).await?;
    let app = App::new(store, fleet, &options)?;
    let server = Server::bind(app, options).await.context("cannot serve")?;
    for line in server.addresses() {
        writeln!(out, "{line}")?;
    }
    if let Some(Assignment { profile, channel }) = &fallback {
        writeln!(out, "machines boot {profile}, channel {channel}, unless the site file says otherwise")?;
    }
    let stop = stop_on_signal()?;
    writeln!(out, "ready; Ctrl-C stops")?;
    out.flush()?;
    server.run(stop).await;
    Ok(())
}

/// After `up hello`, machines nobody named boot `hello`, when that is the only profile there is.
pub(super) fn default_to_only(settings: &mut Settings, built: &[ProfileName]) {
    if let (None, [only]) = (&settings.assignments.fallback, built) {
        settings.assignments.fallback = Some(stable(only.clone()));
    }
}

/// The settings with a default profile, when only one profile is published; an error when somebody is assigned a
/// profile that is not.
fn assigned(settings: &Settings, store: &Store) -> anyhow::Result<Settings> {
    let mut settings = settings.clone();
    let published = store.profiles()?;
    default_to_only(&mut settings, &published);
    let assignments = &settings.assignments;
    for Assignment { profile, channel } in assignments.fallback.iter().chain(assignments.by_mac.values()) {
        store.channel(profile, channel)?;
    }
    if assignments.fallback.is_none() {
        let names = published.iter().map(ProfileName::to_string).collect::<Vec<_>>().join(", ");
        if published.is_empty() {
            anyhow::bail!("nothing is published, so nothing can boot; run `bivouac up PROFILE`");
        }
        warn!("machines the site file does not name will not boot: set --default-profile to one of {names}");
    }
    Ok(settings)
}

fn stable(profile: ProfileName) -> Assignment {
    Assignment { profile, channel: ChannelName::default_channel() }
}

/// A token that is cancelled by Ctrl-C or by the service manager.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let cancel = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancel.cancel();
    });
    Ok(stop)
}
