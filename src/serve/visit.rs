//! What a machine is sent that asks for its script: its bundle, a menu, its local disk, or what somebody chose.

pub(super) mod menu;

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use foldhash::HashMap;
use tracing::{error, info, warn};

use super::own_files::Told;
use super::rules::Rules;
use super::{App, tokens};
use crate::fleet::{Concern, SERVER, Told as Good, Visitor};
use crate::model::boot_guard::Attempts;
use crate::model::digest::Digest;
use crate::model::identity::Identity;
use crate::model::ledger::{Fact, Ledger};
use crate::model::mac::Mac;
use crate::model::machine::MachineId;
use crate::model::manifest::BundleId;
use crate::model::menu::{Platform, Policy, disk_boot};
use crate::model::name::{ChannelName, ProfileName};
use crate::model::pairing::{PairingCode, UnknownPolicy};
use crate::model::plan::{Asking, Catalog, Plan, Published, Refusal, Wanted, decide, follow, run};
use crate::model::rollout::Release;
use crate::model::script::{self, Boot};
use crate::model::token::Token;

/// How many scripts are kept in memory: of a few bundles, at each of the addresses of this server.
const MAX_SCRIPTS: usize = 256;

/// A machine that asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visit<'a> {
    /// The base URL it is told.
    pub(super) base: &'a str,
    /// The rules it is answered by.
    pub(super) rules: &'a Rules,
    /// What the channels point at.
    pub(super) catalog: &'a Catalog,
    /// What people and rollouts decided.
    pub(super) ledger: &'a Ledger,
    /// The address under which the site file knows it.
    pub(super) named: Mac,
    /// What it is called in the ledger.
    pub(super) id: &'a MachineId,
    /// Who it is.
    pub(super) machine: &'a Arc<Identity>,
    /// What it last came up with as it was told to.
    pub(super) good: Option<&'a Good>,
    /// How often it was given the script of each bundle since it last came up with that one.
    pub(super) attempts: &'a Attempts,
}

impl<'a> Visit<'a> {
    fn asking(&self) -> Asking<'a> {
        let good = self.good.map(|(profile, release, _)| (profile, *release));
        Asking { mac: self.machine.mac, id: self.id, named: self.named, good }
    }

    /// Whether somebody said what it is to boot the next time.
    fn is_to_boot_once(&self) -> bool {
        self.ledger.record(self.id).is_some_and(|record| record.once.is_some())
    }

    fn platform(&self) -> Option<Platform> {
        self.machine.platform.as_deref().and_then(Platform::of_ipxe)
    }
}

impl App {
    /// Who a machine is that asks; what is in doubt goes into the ledger, once.
    pub(super) fn recognise(&self, identity: Arc<Identity>, now: SystemTime) -> Visitor {
        let mut visitor = self.fleet.recognise(identity, now);
        if let Some(text) = visitor.alarm.take() {
            let mac = visitor.identity.mac;
            warn!(%mac, "{text}");
            self.note(Fact::Alarm { machine: mac.into(), text });
        }
        visitor
    }

    /// The script of a machine. `choice` is what somebody chose from its menu, `failed` the bundle it could not load; both
    /// may be empty, or garbage.
    ///
    /// # Errors
    /// When it may not boot, with a text for its screen.
    pub(super) async fn answer(
        self: &Arc<Self>,
        visit: &Visit<'_>,
        choice: &str,
        failed: &str,
    ) -> Result<String, String> {
        let unknown = visit.rules.assignments.unknown(&visit.named, visit.id, visit.ledger);
        let policy = match unknown {
            None | Some(UnknownPolicy::Boot) => visit.rules.assignments.policy_of(&visit.named),
            Some(UnknownPolicy::Menu) => Policy::Ask,
            Some(UnknownPolicy::LocalDisk) => Policy::LocalDisk,
            Some(UnknownPolicy::Inbox) => return self.inbox(visit),
            Some(UnknownPolicy::Ignore) => {
                self.send(visit, "nothing", None);
                return Ok(script::nothing());
            }
        };
        // What is to be booted once goes before the menu and the disk (netboot.md, C18). A boot that shows its menu is under
        // way already.
        let policy = if choice.is_empty() && visit.is_to_boot_once() { Policy::Boot } else { policy };
        // What few machines ask for is in boxes, so that the future of all others is small.
        if !choice.is_empty() {
            return Box::pin(self.chosen(visit, choice, policy)).await;
        }
        if let Ok(failed) = failed.parse::<BundleId>() {
            return Box::pin(self.fall_back(visit, &failed, policy)).await;
        }
        match policy {
            Policy::Boot => {
                let plan = self.plan(visit).await?;
                self.boot_guarded(visit, plan).await
            }
            Policy::LocalDisk => Ok(self.local_disk(visit, None)),
            Policy::Ask => Box::pin(self.menu(visit, None)).await,
        }
    }

    /// The script of a machine that waits until somebody approves it, with the same code until then.
    fn inbox(&self, visit: &Visit<'_>) -> Result<String, String> {
        let code = match self.fleet.pairing_code(&visit.machine.mac) {
            Some(code) => code,
            None => new_code().map_err(|_| "the server has no random numbers, see its log".to_owned())?,
        };
        self.send_as(visit, "inbox", code.sent_to(), None);
        let text = format!(
            "this machine is not known here. Its code is {code}. It boots once somebody runs: bivouac machines approve {code}"
        );
        Ok(script::notice(visit.base, &text))
    }

    fn local_disk(&self, visit: &Visit<'_>, trouble: Option<String>) -> String {
        self.send(visit, "local disk", trouble);
        script::local_disk(disk_boot(&visit.rules.disk_rules, &visit.named, visit.platform()))
    }

    /// A machine is sent to what is no bundle; `trouble` is what went wrong before.
    fn send(&self, visit: &Visit<'_>, what: &str, trouble: Option<String>) {
        self.send_as(visit, what, what.to_owned(), trouble);
    }

    /// The same, where the fleet is told more than the log, which has no pairing code.
    fn send_as(&self, visit: &Visit<'_>, what: &str, told: String, trouble: Option<String>) {
        info!(mac = %visit.machine.mac, what, "script");
        self.fleet.sent_to(visit.machine, told, trouble, SystemTime::now());
    }

    /// A release of a profile, from memory when a channel points at it.
    async fn release<'a>(
        &self,
        catalog: &'a Catalog,
        profile: &ProfileName,
        number: u64,
    ) -> Result<Cow<'a, Published>, String> {
        if let Some(published) = catalog.release(profile, number) {
            return Ok(Cow::Borrowed(published));
        }
        let wanted = profile.clone();
        let found = self.ask_in_time(move |store| store.release(&wanted, number)).await;
        let bundle = found.map_err(|error| error.to_string())?.bundle;
        let manifest = self.bundles.manifest(&self.store, bundle).await.map_err(|error| error.to_string())?;
        Ok(Cow::Owned(Published { release: number, bundle, manifest }))
    }

    /// The last bundle known to be good, for a machine that cannot load `failed`; what it would boot anyway when there is
    /// none. Either way a person can see what happened.
    async fn fall_back(
        self: &Arc<Self>,
        visit: &Visit<'_>,
        failed: &BundleId,
        policy: Policy,
    ) -> Result<String, String> {
        let mac = visit.machine.mac;
        warn!(%mac, bundle = %failed.short(), "a machine cannot load its bundle");
        let trouble = format!("bundle {} could not be loaded", failed.short());
        if policy == Policy::LocalDisk {
            return Ok(self.local_disk(visit, Some(trouble)));
        }
        let plan = match self.plan(visit).await {
            Ok(plan) if plan.published.bundle == *failed => plan,
            // Somebody chose it from the menu, or there is a new release.
            _ if policy == Policy::Ask => return self.menu(visit, Some(trouble)).await,
            Ok(plan) => return self.boot(visit, plan, Some(Concern::UntilUp(trouble))).await,
            Err(refusal) => return Err(refusal),
        };
        let failed_release = plan.published.release;
        let again = || {
            Concern::UntilUp(format!("release {failed_release} could not be loaded, and no other is known to be good"))
        };
        let Some((profile, release, bundle)) = self.fleet.last_good(&mac, &plan.profile, failed) else {
            return self.boot(visit, plan, Some(again())).await;
        };
        let Ok(manifest) = self.bundles.manifest(&self.store, bundle).await else {
            return self.boot(visit, plan, Some(again())).await;
        };
        let published = Cow::Owned(Published { release, bundle, manifest });
        let good = run(visit.machine, profile, published).map_err(said)?;
        let alarm = format!("release {failed_release} cannot be loaded; it boots release {release} again");
        self.boot(visit, good, Some(Concern::Lasting(alarm))).await
    }

    /// What a machine boots that nobody chooses for.
    async fn plan<'a>(&self, visit: &Visit<'a>) -> Result<Plan<'a>, String> {
        let wanted = decide(&visit.asking(), &visit.rules.assignments, visit.ledger, visit.catalog).map_err(said)?;
        let plan = self.find(visit, wanted).await?;
        if visit.is_to_boot_once() {
            self.note(Fact::OnceTaken { machine: visit.id.clone() });
        }
        Ok(plan)
    }

    /// What a machine boots that follows a channel.
    async fn follow<'a>(
        &self,
        visit: &Visit<'a>,
        profile: &ProfileName,
        channel: &ChannelName,
    ) -> Result<Plan<'a>, String> {
        let wanted = follow(&visit.asking(), profile, channel, visit.ledger, visit.catalog).map_err(said)?;
        self.find(visit, wanted).await
    }

    /// What a machine shall boot, from the store, if it can run it.
    async fn find<'a>(&self, visit: &Visit<'a>, wanted: Wanted<'a>) -> Result<Plan<'a>, String> {
        let (profile, published) = match wanted {
            Wanted::Pointed(profile, published) => (profile, Cow::Borrowed(published)),
            Wanted::Given(profile, Release { number, bundle }) => {
                let manifest = self.bundles.manifest(&self.store, bundle).await.map_err(|error| error.to_string())?;
                (profile, Cow::Owned(Published { release: number, bundle, manifest }))
            }
            Wanted::Numbered(profile, number) => {
                let published = self.release(visit.catalog, &profile, number).await?;
                (profile, published)
            }
        };
        run(visit.machine, profile, published).map_err(said)
    }

    /// The script that boots a bundle, unless the machine was given that one too often and did not come up with it: then
    /// the one that boots what it last came up with.
    async fn boot_guarded(&self, visit: &Visit<'_>, plan: Plan<'_>) -> Result<String, String> {
        let attempts = visit.attempts.count(plan.published.bundle);
        let is_other = |good: &&Good| good.0 == plan.profile && good.2 != plan.published.bundle;
        let failed_often = attempts >= visit.rules.boot_attempts;
        let Some((profile, release, bundle)) = visit.good.filter(|_| failed_often).filter(is_other).cloned() else {
            return self.boot(visit, plan, None).await;
        };
        let Ok(manifest) = self.bundles.manifest(&self.store, bundle).await else {
            return self.boot(visit, plan, None).await;
        };
        let failed = plan.published.release;
        let alarm = format!("release {failed} did not come up in {attempts} boots; it boots release {release} again");
        self.note(Fact::Alarm { machine: visit.id.clone(), text: alarm.clone() });
        let published = Cow::Owned(Published { release, bundle, manifest });
        let good = run(visit.machine, profile, published).map_err(said)?;
        self.boot(visit, good, Some(Concern::Lasting(alarm))).await
    }

    /// Writes a fact down, without waiting for that.
    fn note(&self, fact: Fact) {
        let fleet = Arc::clone(&self.fleet);
        tokio::spawn(async move {
            let noted = fleet.book().decide(SERVER, |_| Ok::<_, Infallible>(vec![fact.clone()])).await;
            if let Err(error) = noted {
                warn!(%error, %fact, "the ledger cannot be written");
            }
        });
    }

    /// The script that boots a bundle; `concern` is what a person should know of it.
    async fn boot(&self, visit: &Visit<'_>, plan: Plan<'_>, concern: Option<Concern>) -> Result<String, String> {
        let mac = visit.machine.mac;
        let Told { plan, own_files, alarm } = self.own_files(visit, plan).await?;
        let concern = match (concern, alarm) {
            (Some(concern), Some(alarm)) => Some(Concern::Lasting(format!("{}; {alarm}", concern.text()))),
            (concern, alarm) => concern.or(alarm.map(Concern::Lasting)),
        };
        if let Some(concern) = &concern {
            warn!(%mac, bundle = %plan.published.bundle.short(), "{}", concern.text());
        }
        let Ok(token) = tokens::next() else {
            error!(%mac, "the system gives no random numbers, so no machine can be given a token");
            return Err("the server has no random numbers, see its log".to_owned());
        };
        let text = self.script(visit.base, &plan, token, own_files.as_ref()).await?;
        let Published { release, bundle, .. } = plan.published.as_ref();
        info!(%mac, profile = %plan.profile, release, bundle = %bundle.short(), "script");
        self.fleet.scripted(visit.machine, plan, token, concern, SystemTime::now());
        Ok(text)
    }

    async fn script(
        &self,
        base: &str,
        plan: &Plan<'_>,
        token: Token,
        own_files: Option<&Digest>,
    ) -> Result<String, String> {
        let Published { bundle, manifest, .. } = plan.published.as_ref();
        // Most machines boot what the one before them did.
        if own_files.is_none()
            && let Some(script) = self.scripts.load().get(bundle).and_then(|by_base| by_base.get(base))
        {
            return Ok(script.with(token));
        }
        let limit = self.bundles.command_line_limit(&self.store, *bundle).await.map_err(|error| error.to_string())?;
        let boot = Boot { base, bundle, manifest, own_files, limit };
        let script = script::boot(&boot).map_err(|error| error.to_string())?;
        let text = script.with(token);
        if own_files.is_none() {
            self.scripts.rcu(|known| {
                let is_full = known.values().map(HashMap::len).sum::<usize>() >= MAX_SCRIPTS;
                let mut scripts = if is_full { HashMap::default() } else { HashMap::clone(known) };
                scripts.entry(*bundle).or_default().insert(base.to_owned(), script.clone());
                scripts
            });
        }
        Ok(text)
    }
}

fn said(refusal: Refusal) -> String {
    refusal.to_string()
}

/// A code that nobody can guess.
fn new_code() -> Result<PairingCode, aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(PairingCode::of_bits(u64::from_le_bytes(bytes)))
}
