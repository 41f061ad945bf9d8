//! `bivouac serve`.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{loaders, mirror, proxmox};
use crate::config::{DhcpSettings, Settings};
use crate::fleet::Fleet;
use crate::model::firmware::Firmware;
use crate::model::name::{ChannelName, ProfileName};
use crate::model::plan::Assignment;
use crate::serve::dhcp::Listen;
use crate::serve::http::tls::{self, TlsError};
use crate::serve::interfaces::Wanted;
use crate::serve::loaders::Loaders;
use crate::serve::{App, Options, Server};
use crate::store::Store;

/// A server with its ports, before the first answer.
pub(super) struct Ready {
    server: Server,
    app: Arc<App>,
    fallback: Option<Assignment>,
    loaders: Arc<Loaders>,
    /// Whether another server has to name the loader.
    is_without_dhcp: bool,
}

/// Checks everything and opens every port. `coming` are profiles that will be published before the server runs.
pub(super) async fn bind(settings: &Settings, coming: &[ProfileName]) -> anyhow::Result<Ready> {
    let store = Store::open(&settings.store())?;
    let assignments = assigned(settings, &store, coming)?.assignments;
    let all = settings.clone();
    let loaders = Arc::new(tokio::task::spawn_blocking(move || loaders::find(&all)).await??);
    let fallback = assignments.fallback.clone();
    let https = settings.http.https.as_ref();
    let https = https.map(|https| Ok::<_, TlsError>((https.listen, tls::load(&https.certificate, &https.key)?)));
    let options = Options {
        http: settings.http.listen,
        https: https.transpose().context("HTTPS cannot be served")?,
        transfers: settings.http.transfers,
        tftp: settings.tftp,
        tftp_ports: settings.tftp_ports,
        dhcp: listen(&settings.dhcp),
        plan: Arc::clone(&settings.dhcp.plan),
        quirks: settings.dhcp.quirks.clone(),
        leases: settings.leases(),
        dhcp_port: settings.dhcp.port,
        pxe_port: settings.dhcp.pxe_port,
        advertise: settings.http.advertise.clone(),
        loaders: Arc::clone(&loaders),
        assignments,
        boot_attempts: settings.fleet_settings.boot_attempts,
        menu: settings.menu.clone(),
        disk_rules: settings.disk_rules.clone(),
        mirror: mirror::to_serve(settings),
        cluster: (settings.proxmox.reboots && settings.proxmox.server.is_some())
            .then(|| proxmox::place(&settings.proxmox)),
    };
    let is_without_dhcp = options.dhcp.is_off();
    let fleet = Fleet::open(&settings.fleet()).await?.checking_in_every(settings.fleet_settings.check_in_interval);
    let app = Arc::new(App::new(store, fleet, &options)?);
    let server = Server::bind(Arc::clone(&app), options).await.context("cannot serve")?;
    Ok(Ready { server, app, fallback, loaders, is_without_dhcp })
}

impl Ready {
    /// Serves until it is interrupted or terminated.
    pub(super) async fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        for refused in self.loaders.refused() {
            warn!("{refused}");
        }
        let architectures = self.app.architectures().await;
        // A kind of firmware that none of the bundles is for is not missed.
        let wanted = |firmware: Firmware| architectures.iter().any(|arch| firmware.boots(arch.as_str()));
        for missing in self.loaders.missing().into_iter().filter(|missing| wanted(missing.firmware)) {
            warn!("{missing}");
        }
        for unmet in self.loaders.unmet().into_iter().filter(|unmet| wanted(unmet.firmware)) {
            warn!("{unmet}");
        }
        if let Some((mac, why)) = self.app.wrong_vars().await.into_iter().next() {
            return Err(anyhow::Error::new(why).context(format!("`machines.\"{mac}\".vars` cannot be used")));
        }
        let stop = stop_on_signal()?;
        for line in self.server.addresses() {
            writeln!(out, "{line}")?;
        }
        if let Some(Assignment { profile, channel }) = &self.fallback {
            writeln!(out, "machines boot {profile}, channel {channel}, unless the site file says otherwise")?;
        }
        if self.is_without_dhcp {
            writeln!(
                out,
                "DHCP is off: `bivouac dhcp-recipe` prints what another server must say so that machines boot"
            )?;
        }
        writeln!(out, "ready; Ctrl-C stops")?;
        out.flush()?;
        self.server.run(stop).await;
        Ok(())
    }
}

/// Where DHCP is answered, and how.
pub(super) fn listen(dhcp: &DhcpSettings) -> Listen {
    let DhcpSettings { mode, modes, interfaces, listen, plan, .. } = dhcp.clone();
    match listen {
        Some(address) => Listen::Address(address, mode),
        None => Listen::Interfaces(Wanted { mode, modes, names: interfaces, plan }),
    }
}

/// After `up hello`, machines nobody named boot `hello`, when that is the only profile there is.
pub(super) fn default_to_only(settings: &mut Settings, built: &[ProfileName]) {
    if let (None, [only]) = (&settings.assignments.fallback, built) {
        settings.assignments.fallback = Some(stable(only.clone()));
    }
}

/// The settings with a default profile, when only one profile is published; an error when somebody is assigned a
/// profile that is neither published nor coming.
fn assigned(settings: &Settings, store: &Store, coming: &[ProfileName]) -> anyhow::Result<Settings> {
    let mut settings = settings.clone();
    let published = store.profiles()?;
    if coming.is_empty() {
        default_to_only(&mut settings, &published);
    }
    let assignments = &settings.assignments;
    for assignment in assignments.fallback.iter().chain(assignments.by_mac.values()) {
        let comes = coming.contains(&assignment.profile) && *assignment == stable(assignment.profile.clone());
        if !comes {
            store.channel(&assignment.profile, &assignment.channel)?;
        }
    }
    if assignments.fallback.is_none() {
        let known: Vec<String> = published.iter().chain(coming).map(ProfileName::to_string).collect();
        if known.is_empty() {
            const NOTHING: &str = "nothing is published, so nothing can boot; run `bivouac up PROFILE`";
            anyhow::ensure!(settings.caching_mirror.is_enabled, NOTHING);
            warn!("{NOTHING}; until then this server is a mirror of Alpine and nothing else");
            return Ok(settings);
        }
        let known = known.join(", ");
        warn!("machines the site file does not name will not boot: set --default-profile to one of {known}");
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
