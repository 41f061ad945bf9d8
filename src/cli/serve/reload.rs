//! The site file, its certificate and the loaders are read again while the server runs: on SIGHUP, and when they change.
//! For `up`, so are profiles and overlays, which [`super::rebuild`] builds.
//!
//! What is wrong changes nothing and is said in the log. Machines are answered all the while, each answer by the rules
//! that held when its question came.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::looks::{Looks, Watch};
use super::rebuild::Rebuild;
use super::source::Source;
use super::{Tls, manager, refuse_wrong_vars, rules, say_loaders};
use crate::cli::proxmox;
use crate::config::{HttpsSettings, Settings};
use crate::model::plan::Assignment;
use crate::serve::App;
use crate::serve::rules::InForce;
use crate::store::Store;

/// How often it is looked for changes.
const LOOK: Duration = Duration::from_secs(2);

/// What makes the server read something again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// SIGHUP.
    Asked,
    /// It looks different.
    Changed,
    /// A rollout is over that kept it from being published.
    RolloutOver,
}

impl Why {
    /// For the log.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked to",
            Self::Changed => "changed",
            Self::RolloutOver => "the rollout is over",
        }
    }
}

/// Keeps the rules in force what the site file says.
pub(super) struct Reloader {
    pub(super) app: Arc<App>,
    pub(super) in_force: InForce,
    pub(super) store: Store,
    pub(super) source: Source,
    /// What the server was started with, of which ports, folders and the database hold until it ends.
    pub(super) started: Settings,
    /// What was read last.
    pub(super) read: Settings,
    /// What the files looked like before anything was read.
    pub(super) seen: Looks,
    /// Whether there was a site file.
    pub(super) was_there: bool,
    /// What machines boot that nobody named, where the site file never said.
    pub(super) by_default: Option<Assignment>,
    /// What the service manager is told when all is well.
    pub(super) status: String,
    /// Who builds profiles again, when somebody does.
    pub(super) rebuild: Option<Rebuild>,
}

impl Reloader {
    /// Follows changes and `hangup` until `stop`.
    pub(super) async fn run(mut self, mut hangup: Signal, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = Watch::from(std::mem::take(&mut self.seen));
        let mut workers = self.rebuild.take().map(|rebuild| rebuild.begin(Arc::clone(&self.app), stop.clone()));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = hangup.recv() => {
                    watch.forgive(self.look().await);
                    self.reload(Why::Asked).await;
                    if let Some(workers) = &mut workers {
                        workers.ask().await;
                    }
                }
                _ = look.tick() => {
                    if watch.notice(self.look().await) {
                        self.reload(Why::Changed).await;
                    }
                    if let Some(workers) = &mut workers {
                        workers.look().await;
                    }
                }
            }
        }
    }

    async fn look(&self) -> Looks {
        Looks::at(&self.source, &[&self.started, &self.read]).await
    }

    /// Reads everything, and lets it hold when all of it can.
    async fn reload(&mut self, why: Why) {
        manager::reloading();
        let (file, why) = (self.source.file().display().to_string(), why.word());
        match self.try_reload().await {
            Ok(changed) => {
                info!(%file, why, keys = %changed.join(", "), "read again and in force: site file, certificate, loaders");
                manager::ready(&self.status);
            }
            Err(problem) => {
                error!(%file, why, "the site file cannot be used, so what it said before stays in force: {problem:#}");
                manager::ready("the site file cannot be used; what it said before is in force");
            }
        }
    }

    /// What changed, by the keys of the site file.
    async fn try_reload(&mut self) -> anyhow::Result<Vec<&'static str>> {
        let source = self.source.clone();
        let was_there = self.was_there;
        let read = tokio::task::spawn_blocking(move || source.read_again(was_there)).await??;
        self.was_there |= self.source.file().exists();
        let mut wanted = read.clone();
        wanted.state.clone_from(&self.started.state);
        if read.assignments.fallback.is_none() && self.read.assignments.fallback.is_none() {
            wanted.assignments.fallback.clone_from(&self.by_default);
        }
        let before = self.in_force.now();
        // The port stays open, so its certificate stays when the file has none any more.
        let tls = match (&self.started.http.https, &wanted.http.https) {
            (None, _) => Tls::Off,
            (Some(_), None) => Tls::As(before.tls.clone()),
            (Some(_), Some(_)) => Tls::Read,
        };
        let rules = rules(wanted, self.store.clone(), Vec::new(), tls).await?;
        refuse_wrong_vars(&self.app, &rules.assignments).await?;
        let changed = changed(&self.read, &read);
        let waiting = waiting(&self.started, &read);
        if !waiting.is_empty() {
            warn!(keys = %waiting.join(", "), "changed in the site file, and held until the server is restarted");
        }
        say_loaders(&self.app, &rules.loaders).await;
        self.in_force.replace(rules);
        self.read = read;
        Ok(changed)
    }
}

/// The keys that changed of those that hold at once.
fn changed(before: &Settings, now: &Settings) -> Vec<&'static str> {
    let (one, other) = (&before.assignments, &now.assignments);
    let machines = (&one.by_mac, &one.vars, &one.policies) != (&other.by_mac, &other.vars, &other.policies);
    let (tls, other_tls) = (before.http.https.as_ref(), now.http.https.as_ref());
    let files = |https: Option<&HttpsSettings>| https.map(|it| (it.certificate.clone(), it.key.clone()));
    named([
        ("machines", machines),
        ("default-profile", one.fallback != other.fallback),
        ("default-policy", one.policy != other.policy),
        ("unknown-policy", one.unknown != other.unknown),
        ("label", one.labels != other.labels),
        ("menu", before.menu != now.menu),
        ("local-disk", before.disk_rules != now.disk_rules),
        ("loaders", before.loaders != now.loaders),
        ("loader", before.loader_rules != now.loader_rules),
        ("fleet.boot-attempts", before.fleet_settings.boot_attempts != now.fleet_settings.boot_attempts),
        ("http.advertise", before.http.advertise != now.http.advertise),
        ("http.certificate", files(tls) != files(other_tls)),
        ("dhcp.subnet", before.dhcp.plan != now.dhcp.plan),
        ("dhcp.quirk", before.dhcp.quirks != now.dhcp.quirks),
    ])
}

/// The keys that are not as the server was started, and wait for the next start.
fn waiting(started: &Settings, now: &Settings) -> Vec<&'static str> {
    let (http, other_http) = (&started.http, &now.http);
    let tls = |https: Option<&HttpsSettings>| https.map(|https| https.listen);
    let (dhcp, other_dhcp) = (&started.dhcp, &now.dhcp);
    named([
        ("state", started.state != now.state),
        ("http.listen", http.listen != other_http.listen),
        ("http.transfers", http.transfers != other_http.transfers),
        ("http.tls-listen", tls(http.https.as_ref()) != tls(other_http.https.as_ref())),
        ("tftp", (started.tftp, started.tftp_ports) != (now.tftp, now.tftp_ports)),
        ("dhcp.mode", dhcp.mode != other_dhcp.mode),
        ("dhcp.modes", dhcp.modes != other_dhcp.modes),
        ("dhcp.interfaces", dhcp.interfaces != other_dhcp.interfaces),
        ("dhcp.listen", dhcp.listen != other_dhcp.listen),
        ("dhcp.port", (dhcp.port, dhcp.pxe_port) != (other_dhcp.port, other_dhcp.pxe_port)),
        ("fleet.check-in-interval", started.fleet_settings.check_in_interval != now.fleet_settings.check_in_interval),
        ("fleet.database", started.fleet_settings.database != now.fleet_settings.database),
        ("caching-mirror", started.caching_mirror != now.caching_mirror),
        ("profiles", started.profiles != now.profiles),
        ("overlays", started.overlays != now.overlays),
        ("mirror", started.mirrors != now.mirrors),
        ("verify", started.verify != now.verify),
        ("fetch", started.fetch != now.fetch),
        ("proxmox", proxmox::to_serve(started) != proxmox::to_serve(now)),
    ])
}

fn named<const N: usize>(keys: [(&'static str, bool); N]) -> Vec<&'static str> {
    keys.into_iter().filter(|(_, is_changed)| *is_changed).map(|(key, _)| key).collect()
}
