//! `bivouac serve`.

mod hangup;
mod looks;
mod manager;
mod rebuild;
mod reload;
mod source;
mod stopping;

use std::io::Write;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::ServerConfig;
use tokio::signal::unix::Signal;
use tracing::{info, warn};

use super::log::LogFormat;
use super::{loaders, mirror, proxmox};
use crate::config::{DhcpSettings, Settings};
use crate::fleet::Fleet;
use crate::model::firmware::Firmware;
use crate::model::name::{ChannelName, ProfileName};
use crate::model::plan::{Assignment, Assignments};
use crate::serve::dhcp::Listen;
use crate::serve::given::Given;
use crate::serve::http::tls;
use crate::serve::interfaces::Wanted;
use crate::serve::loaders::Loaders;
use crate::serve::rules::{InForce, Rules};
use crate::serve::{App, Options, Server, Stop, take_small_pages};
use crate::store::{Store, StoreError};
pub(super) use hangup::{keep as keep_hangup, let_come as let_hangup_come};
use looks::Looks;
pub(super) use rebuild::Rebuild;
use reload::Reloader;
pub(super) use source::Source;
pub(super) use stopping::on_signal;

/// A server with its ports, before the first answer.
pub(super) struct Ready {
    server: Server,
    reloader: Reloader,
    hangup: Signal,
    stop: Stop,
    /// Whether another server has to name the loader.
    is_without_dhcp: bool,
}

/// What HTTPS is spoken with.
enum Tls {
    /// It is not.
    Off,
    /// What the settings name is read.
    Read,
    /// What there was before.
    As(Option<Arc<ServerConfig>>),
}

/// Checks everything and opens every port. `coming` are profiles that will be published before the server runs.
pub(super) async fn bind(source: Source, settings: &Settings, coming: &[ProfileName]) -> anyhow::Result<Ready> {
    take_small_pages();
    // A signal before everything is ready means the same as later.
    let hangup = hangup::listen().context("cannot listen for signals")?;
    let stop = stopping::on_signal()?;
    let store = Store::open(&settings.store())?;
    let https = settings.http.https.as_ref();
    let how = if https.is_some() { Tls::Read } else { Tls::Off };
    let mut seen = source.seen();
    seen.add(&Looks::at(&source, &[settings]).await);
    let rules = rules(settings.clone(), store.clone(), coming.to_vec(), how).await?;
    let by_default = rules.assignments.fallback.clone();
    let in_force = InForce::new(rules);
    let options = Options {
        http: settings.http.listen,
        https: https.map(|https| https.listen),
        transfers: settings.http.transfers,
        tftp: settings.tftp,
        tftp_ports: settings.tftp_ports,
        dhcp: listen(&settings.dhcp),
        leases: settings.leases(),
        dhcp_port: settings.dhcp.port,
        pxe_port: settings.dhcp.pxe_port,
        given: Given::take().context("the sockets that the service manager opened cannot be used")?,
        rules: in_force.clone(),
        mirror: mirror::to_serve(settings),
        cluster: proxmox::to_serve(settings),
    };
    let is_without_dhcp = options.dhcp.is_off();
    let fleet = Fleet::open(&settings.fleet()).await?.checking_in_every(settings.fleet_settings.check_in_interval);
    let app = Arc::new(App::new(store.clone(), fleet, &options)?);
    let server = Server::bind(Arc::clone(&app), options).await.context("cannot serve")?;
    let status = server.addresses().join(", ");
    let (started, read, was_there) = (settings.clone(), settings.clone(), source.file().exists());
    let rebuild = None;
    let reloader =
        Reloader { app, in_force, store, source, started, read, seen, was_there, by_default, status, rebuild };
    Ok(Ready { server, reloader, hangup, stop, is_without_dhcp })
}

impl Ready {
    /// Builds profiles again while the server runs, and publishes them.
    pub(super) fn rebuilding(mut self, rebuild: Rebuild) -> Self {
        self.reloader.rebuild = Some(rebuild);
        self
    }

    /// Serves until it is interrupted or terminated.
    pub(super) async fn run(self, format: LogFormat, out: &mut dyn Write) -> anyhow::Result<()> {
        let Self { server, reloader, hangup, stop, is_without_dhcp } = self;
        let rules = reloader.in_force.now();
        say_loaders(&reloader.app, &rules.loaders).await;
        refuse_wrong_vars(&reloader.app, &rules.assignments).await?;
        let mut lines = server.addresses();
        if let Some(Assignment { profile, channel }) = &rules.assignments.fallback {
            lines.push(format!("machines boot {profile}, channel {channel}, unless the site file says otherwise"));
        }
        if is_without_dhcp {
            let line = "DHCP is off: `bivouac dhcp-recipe` prints what another server must say so that machines boot";
            lines.push(line.to_owned());
        }
        match format {
            LogFormat::Text => {
                for line in lines {
                    writeln!(out, "{line}")?;
                }
                writeln!(out, "ready; Ctrl-C stops")?;
                out.flush()?;
            }
            // Whoever reads JSON reads nothing else.
            LogFormat::Json => {
                lines.iter().for_each(|line| info!("{line}"));
                info!("ready");
            }
        }
        manager::ready(&reloader.status);
        manager::keep_watchdog();
        tokio::spawn(reloader.run(hangup, stop.gently.clone()));
        server.run(stop).await?;
        Ok(())
    }
}

/// The rules that settings come to.
///
/// # Errors
/// When a profile is assigned that is neither published nor `coming`, or a loader or a certificate cannot be read.
async fn rules(settings: Settings, store: Store, coming: Vec<ProfileName>, tls: Tls) -> anyhow::Result<Rules> {
    let read = tokio::task::spawn_blocking(move || {
        let assignments = assigned(&settings, &store, &coming)?;
        let loaders = Arc::new(loaders::find(&settings)?);
        let tls = match (tls, &settings.http.https) {
            (Tls::Read, Some(https)) => {
                Some(tls::load(&https.certificate, &https.key).context("HTTPS cannot be served")?)
            }
            (Tls::As(before), _) => before,
            (Tls::Off | Tls::Read, _) => None,
        };
        Ok(Rules {
            assignments,
            boot_attempts: settings.fleet_settings.boot_attempts,
            menu: settings.menu,
            disk_rules: settings.disk_rules,
            advertise: settings.http.advertise,
            loaders,
            plan: settings.dhcp.plan,
            quirks: settings.dhcp.quirks,
            tls,
        })
    });
    read.await?
}

/// Says which machines cannot boot because of their loaders. A kind of firmware that none of the bundles is for is not
/// missed.
async fn say_loaders(app: &Arc<App>, loaders: &Loaders) {
    for refused in loaders.refused() {
        warn!("{refused}");
    }
    let architectures = app.architectures().await;
    let wanted = |firmware: Firmware| architectures.iter().any(|arch| firmware.boots(arch.as_str()));
    for missing in loaders.missing().into_iter().filter(|missing| wanted(missing.firmware)) {
        warn!("{missing}");
    }
    for unmet in loaders.unmet().into_iter().filter(|unmet| wanted(unmet.firmware)) {
        warn!("{unmet}");
    }
}

/// An error when a machine is given a value that its profile cannot take.
async fn refuse_wrong_vars(app: &Arc<App>, assignments: &Assignments) -> anyhow::Result<()> {
    match app.wrong_vars(assignments).await.into_iter().next() {
        Some((mac, why)) => Err(anyhow::Error::new(why).context(format!("`machines.\"{mac}\".vars` cannot be used"))),
        None => Ok(()),
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
pub(super) fn default_to_only(assignments: &mut Assignments, known: &[ProfileName]) {
    if let (None, [only]) = (&assignments.fallback, known) {
        assignments.fallback = Some(stable(only.clone()));
    }
}

/// Who follows what, with a default profile where only one is or will be published; an error when somebody is assigned a
/// profile that is neither published nor coming.
fn assigned(settings: &Settings, store: &Store, coming: &[ProfileName]) -> anyhow::Result<Assignments> {
    let mut assignments = settings.assignments.clone();
    let published = store.profiles()?;
    default_to_only(&mut assignments, if coming.is_empty() { &published } else { coming });
    if let Some(problem) = unpublished(&assignments, store, coming).into_iter().next() {
        return Err(problem.into());
    }
    if assignments.fallback.is_none() {
        let known: Vec<String> = published.iter().chain(coming).map(ProfileName::to_string).collect();
        if known.is_empty() {
            const NOTHING: &str = "nothing is published, so nothing can boot; run `bivouac up PROFILE`";
            anyhow::ensure!(settings.caching_mirror.is_enabled, NOTHING);
            warn!("{NOTHING}; until then this server is a mirror of Alpine and nothing else");
            return Ok(assignments);
        }
        let known = known.join(", ");
        warn!("machines the site file does not name will not boot: set --default-profile to one of {known}");
    }
    Ok(assignments)
}

/// Why machines cannot follow what they are assigned, that of all others first: it is neither published nor coming.
pub(super) fn unpublished(assignments: &Assignments, store: &Store, coming: &[ProfileName]) -> Vec<StoreError> {
    let mut wanted: Vec<&Assignment> = Vec::new();
    for assignment in assignments.fallback.iter().chain(assignments.by_mac.values()) {
        let comes = coming.contains(&assignment.profile) && *assignment == stable(assignment.profile.clone());
        if !comes && !wanted.contains(&assignment) {
            wanted.push(assignment);
        }
    }
    wanted.into_iter().filter_map(|it| store.channel(&it.profile, &it.channel).err()).collect()
}

fn stable(profile: ProfileName) -> Assignment {
    Assignment { profile, channel: ChannelName::default_channel() }
}
