//! Rollouts have virtual machines rebooted by their cluster, which is quicker than the next check-in and works when the
//! machine itself does not answer any more.
//!
//! Which ones is decided by the rollout alone: those it gave a release and wants rebooted at once, and it gives one to no
//! more than its budgets allow. That a machine is rebooted is written to the ledger before it is done, so that of several
//! servers one does it. All of it is a task of its own, which nobody waits for: a cluster that is dead or slow delays
//! neither boots nor rollouts, and machines are still told to reboot when they check in.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::App;
use super::rollouts::Chain;
use crate::fleet::SERVER;
use crate::model::ledger::{Due, Fact, Ledger, MOST_REBOOTS};
use crate::model::machine::MachineId;
use crate::model::rollout::Census;
use crate::proxmox::{Client, Cluster, Place, ProxmoxError, Rebooted, Vm};

/// How often it is looked whether some machine is to be rebooted.
const EVERY: Duration = Duration::from_secs(1);

/// How long a cluster is left alone that could not be asked.
const OUTAGE: Duration = Duration::from_secs(30);

/// How many virtual machines are rebooted at once.
const AT_ONCE: usize = 4;

/// The least time between two reboots of one machine: one boots in less.
const PAUSE: Duration = Duration::from_secs(5 * 60);

/// How many tasks of the cluster one reboot is at most: to ask, to switch off, to switch on; and one in reserve.
const TASKS: u32 = 4;

/// Why a machine is not rebooted.
#[derive(Debug, thiserror::Error)]
enum RebootError {
    #[error(
        "{0} is not in the cluster any more, or has another name or not the tag of the site; `bivouac proxmox adopt` sets that right"
    )]
    NotOurs(String),
    #[error(transparent)]
    Proxmox(#[from] ProxmoxError),
}

/// A reboot that ended.
type Ended = (Due, Result<Rebooted, RebootError>);

/// Looks for machines to reboot until `stop`; those under way then are let come to their end, if that is soon.
pub(super) async fn run(app: Arc<App>, place: Place, stop: CancellationToken) {
    let pause = PAUSE.max(place.task_time * TASKS);
    let mut running: JoinSet<Ended> = JoinSet::new();
    let mut under_way: BTreeSet<MachineId> = BTreeSet::new();
    let mut outage: Option<Instant> = None;
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        while let Some(ended) = running.try_join_next() {
            let Ok((due, result)) = ended else { continue };
            under_way.remove(&due.machine);
            app.rebooted(&due, result).await;
        }
        let room = AT_ONCE.saturating_sub(running.len());
        let mut due = app.due(pause);
        due.retain(|due| !under_way.contains(&due.machine));
        due.truncate(room);
        let is_left_alone = outage.is_some_and(|since| since.elapsed() < OUTAGE);
        let Some(first) = due.first().filter(|_| !is_left_alone) else { continue };
        // Before anything is written: what cannot be asked has rebooted nobody.
        let Some(asked) = stop.run_until_cancelled(ask(&place)).await else { break };
        let (client, cluster) = match asked {
            Ok(asked) => asked,
            Err(error) => {
                if outage.is_none() {
                    app.cannot_ask(first, &error).await;
                }
                outage = Some(Instant::now());
                continue;
            }
        };
        if outage.take().is_some() {
            info!("the cluster of virtual machines can be asked again");
        }
        for due in due {
            if !app.claim(&due, pause).await {
                continue;
            }
            under_way.insert(due.machine.clone());
            let found = ours(&cluster, &place, &due);
            let (app, client) = (Arc::clone(&app), client.clone());
            running.spawn(async move {
                let result = match found {
                    Some(vm) => {
                        let is_due = || app.is_wanted(&due);
                        client.reboot(&vm, is_due).await.map_err(RebootError::from)
                    }
                    None => Err(RebootError::NotOurs(due.vm.to_string())),
                };
                (due, result)
            });
        }
    }
    while let Some(ended) = running.join_next().await {
        if let Ok((due, result)) = ended {
            app.rebooted(&due, result).await;
        }
    }
}

async fn ask(place: &Place) -> Result<(Client, Cluster), ProxmoxError> {
    let client = place.client()?;
    let cluster = client.cluster().await?;
    Ok((client, cluster))
}

/// The virtual machine that is meant, wherever it was moved to; nothing when its number is another one's by now.
fn ours(cluster: &Cluster, place: &Place, due: &Due) -> Option<Vm> {
    let vm = cluster.vm(due.vm.id)?;
    let is_it = vm.name == due.vm.name && vm.tags.contains(&place.tag) && !vm.is_template;
    is_it.then(|| vm.clone())
}

impl App {
    /// The virtual machines that rollouts want rebooted now.
    fn due(&self, pause: Duration) -> Vec<Due> {
        let ledger = self.fleet.book().known();
        if ledger.active().next().is_none() {
            return Vec::new();
        }
        let now = SystemTime::now();
        let census: Census = self.fleet.census(&ledger, &self.rules().assignments, now);
        census.iter().filter_map(|(machine, view)| ledger.due_reboot(machine, view, now, pause)).collect()
    }

    /// Whether a machine that was asked to reboot and did not still has to: it may have done so by itself meanwhile.
    fn is_wanted(&self, due: &Due) -> bool {
        let (ledger, now) = (self.fleet.book().known(), SystemTime::now());
        let census = self.fleet.census(&ledger, &self.rules().assignments, now);
        let view = census.get(&due.machine);
        view.and_then(|view| ledger.wants_reboot(&due.machine, view, now))
            .is_some_and(|it| it.spec.number == due.rollout)
    }

    /// Writes down that a machine is rebooted, unless somebody else has or it is not wanted any more; whether this one is
    /// to do it.
    async fn claim(&self, due: &Due, pause: Duration) -> bool {
        let now = SystemTime::now();
        let decide = |ledger: &Ledger| {
            let census = self.fleet.census(ledger, &self.rules().assignments, now);
            let view = census.get(&due.machine);
            let is_due =
                view.is_some_and(|view| ledger.due_reboot(&due.machine, view, now, pause).as_ref() == Some(due));
            let fact = Fact::Rebooting { machine: due.machine.clone(), rollout: due.rollout };
            Ok::<_, Infallible>(if is_due { vec![fact] } else { Vec::new() })
        };
        match self.fleet.book().decide(SERVER, decide).await {
            Ok(written) => !written.is_empty(),
            // The rollouts say so, who need the ledger too.
            Err(_) => false,
        }
    }

    async fn rebooted(&self, due: &Due, result: Result<Rebooted, RebootError>) {
        let Due { machine, vm, rollout, before } = due;
        match result {
            Ok(how) => info!(%machine, %vm, rollout, ?how, "a virtual machine was rebooted for a rollout"),
            Err(error) => {
                let last = if before + 1 >= MOST_REBOOTS { "; it is not tried again" } else { "" };
                let text = format!("rollout {rollout} could not have {vm} rebooted: {}{last}", Chain(&error));
                self.alarm(machine, text).await;
            }
        }
    }

    /// Says once that the cluster cannot be asked, and about whom it would have been.
    async fn cannot_ask(&self, due: &Due, error: &ProxmoxError) {
        let Due { machine, vm, rollout, .. } = due;
        let text = format!(
            "rollout {rollout} cannot have {vm} and others rebooted, which reboot when they check in instead: {}",
            Chain(error)
        );
        self.alarm(machine, text).await;
    }

    async fn alarm(&self, machine: &MachineId, text: String) {
        warn!(%machine, "{text}");
        let facts = vec![Fact::Alarm { machine: machine.clone(), text }];
        let decide = |_: &Ledger| Ok::<_, Infallible>(facts.clone());
        // A database that cannot be written says so elsewhere, and this stands in the log.
        let _ = self.fleet.book().decide(SERVER, decide).await;
    }
}
