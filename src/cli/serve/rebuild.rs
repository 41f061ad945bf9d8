//! Profiles that change while `up` serves are built and published again.
//!
//! Who serves never waits for that: builds run on a thread of their own, one after the other. A profile that cannot be
//! built or published keeps its release, and no other profile from being built. One whose channel a rollout moves is
//! published when that is over.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::looks::{Looks, Watch};
use super::reload::Why;
use crate::cli::pipeline::{How, all_or, build_and_publish};
use crate::cli::unchanged::known;
use crate::config::Settings;
use crate::model::name::ProfileName;
use crate::model::rollout::RolloutNumber;
use crate::serve::App;

/// How often it is looked whether a rollout is over that profiles wait for.
const LOOK: Duration = Duration::from_secs(1);

/// What to build again, and how.
pub(in crate::cli) struct Rebuild {
    /// As the server was started: where profiles are and what they are made of hold until it ends.
    settings: Settings,
    /// The profiles that were named; all there are when none was.
    named: Vec<ProfileName>,
    how: How,
    /// What the folders looked like before anything was read.
    seen: Looks,
    /// The profiles that could not be built or published the last time.
    failed: BTreeSet<ProfileName>,
    /// The profiles that are built, and published when a rollout is over.
    waiting: BTreeMap<ProfileName, RolloutNumber>,
}

impl Rebuild {
    /// Builds the `named` profiles, or all there are, when they look different from now.
    pub(in crate::cli) async fn new(settings: &Settings, named: &[ProfileName], how: How) -> Self {
        let seen = Looks::of(BTreeSet::new(), folders(settings)).await;
        let (settings, named) = (settings.clone(), named.to_vec());
        Self { settings, named, how, seen, failed: BTreeSet::new(), waiting: BTreeMap::new() }
    }

    /// Builds and publishes before the server runs.
    ///
    /// # Errors
    /// When one cannot be built or published, other than for a rollout that is under way.
    pub(in crate::cli) async fn first(&mut self, names: &[ProfileName], out: &mut dyn Write) -> anyhow::Result<()> {
        self.waiting = build_and_publish(&self.settings, names, self.how, out).await?;
        Ok(())
    }

    /// Waits for work until `stop`.
    pub(super) fn begin(mut self, app: Arc<App>, stop: CancellationToken) -> Workers {
        let (folders, watch) = (folders(&self.settings), Watch::from(std::mem::take(&mut self.seen)));
        // What comes while something is built is one more build after it, whatever came.
        let (wake, mut woken) = watch::channel(Why::Changed);
        // Reading profiles and packing archives would keep a thread from whoever is answered by it.
        tokio::task::spawn_blocking(move || {
            Handle::current().block_on(stop.run_until_cancelled(async {
                loop {
                    tokio::select! {
                        changed = woken.changed() => {
                            let why = *woken.borrow_and_update();
                            match changed {
                                Ok(()) => self.run(why).await,
                                Err(_) => break,
                            }
                        }
                        () = tokio::time::sleep(LOOK), if !self.waiting.is_empty() => self.wait(&app).await,
                    }
                }
            }))
        });
        Workers { folders, watch, wake }
    }

    /// Builds and publishes what is to be.
    async fn run(&mut self, why: Why) {
        let names = match all_or(&self.settings, &self.named) {
            Ok(names) => names,
            Err(problem) => {
                return error!(why = why.word(), "profiles cannot be looked for, so all stay as they are: {problem:#}");
            }
        };
        for name in names {
            let is_published = !self.failed.contains(&name) && !self.waiting.contains_key(&name);
            let made = known(&self.settings, &name).filter(|_| is_published);
            match (made, why) {
                // Nor is it published: somebody may have gone back to another release meanwhile.
                (Some(_), Why::Changed | Why::RolloutOver) => {}
                (Some(made), Why::Asked) => info!("{name} is unchanged: {}", made.outcome),
                (None, _) => self.build(&name, why).await,
            }
        }
    }

    /// Publishes what waited for rollouts that are over now.
    async fn wait(&mut self, app: &App) {
        let ledger = app.ledger();
        let is_over = |number: &RolloutNumber| ledger.rollout(*number).is_some_and(|rollout| rollout.status.is_over());
        let over: Vec<ProfileName> =
            self.waiting.iter().filter(|(_, number)| is_over(number)).map(|(name, _)| name.clone()).collect();
        for name in over {
            self.build(&name, Why::RolloutOver).await;
        }
    }

    async fn build(&mut self, name: &ProfileName, why: Why) {
        info!(why = why.word(), "{name} is built again");
        let mut said = Vec::new();
        let built = build_and_publish(&self.settings, std::slice::from_ref(name), self.how, &mut said).await;
        String::from_utf8_lossy(&said).lines().for_each(|line| info!("{line}"));
        self.waiting.remove(name);
        match built {
            Ok(waiting) => {
                self.failed.remove(name);
                self.waiting.extend(waiting);
            }
            Err(problem) => {
                self.failed.insert(name.clone());
                error!("{name} keeps its release, and is built again after the next change or SIGHUP: {problem:#}");
            }
        }
    }
}

/// Whoever builds, and what makes them.
pub(super) struct Workers {
    folders: BTreeSet<PathBuf>,
    watch: Watch,
    wake: watch::Sender<Why>,
}

impl Workers {
    /// Lets them work when something changed.
    pub(super) async fn look(&mut self) {
        if self.watch.notice(Looks::of(BTreeSet::new(), self.folders.clone()).await) {
            self.wake.send_replace(Why::Changed);
        }
    }

    /// Lets them work.
    pub(super) async fn ask(&mut self) {
        self.watch.forgive(Looks::of(BTreeSet::new(), self.folders.clone()).await);
        self.wake.send_replace(Why::Asked);
    }
}

fn folders(settings: &Settings) -> BTreeSet<PathBuf> {
    [settings.profiles.clone(), settings.overlays.clone()].into()
}
