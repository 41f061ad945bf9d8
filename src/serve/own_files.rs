//! The files of each machine that are made from templates: made when it asks for its script, shared by all machines
//! for which they come out the same, and never anything less than all of them.

pub mod kit;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use self::kit::{Content, Kit, KitError};
use super::visit::Visit;
use super::{App, lock};
use crate::fleet::Made;
use crate::model::digest::Digest;
use crate::model::identity::Identity;
use crate::model::label::Labels;
use crate::model::label::rule::labels_of;
use crate::model::mac::Mac;
use crate::model::manifest::BundleId;
use crate::model::plan::{Assignments, Plan, Published};
use crate::model::template::{TemplateError, Vars};

/// How many bundles with templates are kept in memory.
const MAX_KITS: usize = 16;

/// How many different contents are kept in memory: one for each machine of a large fleet.
const MAX_MADE: usize = 20_000;

/// How many bytes they may have together, without what they share.
const MAX_BYTES: usize = 256 << 20;

/// What a machine is told when its files were made.
#[derive(Debug)]
pub(super) struct Told<'a> {
    /// What it boots, which is something older when its new files cannot be made.
    pub(super) plan: Plan<'a>,
    /// The digest of its files; nothing when the bundle has no templates.
    pub(super) own_files: Option<Digest>,
    /// What a person should know.
    pub(super) alarm: Option<String>,
}

/// What a machine's files were made of.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    bundle: BundleId,
    machine: Arc<Identity>,
    labels: Labels,
    /// Values that the site file gives it.
    vars: Vars,
    /// Values that people gave it.
    written: BTreeMap<String, String>,
}

/// What was made.
#[derive(Debug, Default)]
pub(super) struct OwnFiles {
    kits: Mutex<HashMap<BundleId, Arc<Kit>>>,
    made: Mutex<Contents>,
    /// For whom something was made last, so that a machine that asks again costs nothing.
    asked: Mutex<HashMap<Mac, (Asked, Digest)>>,
}

/// Initrds by the digest of their own content, oldest first in `order`.
#[derive(Debug, Default)]
struct Contents {
    initrds: HashMap<Digest, Vec<Bytes>>,
    order: VecDeque<(Digest, usize)>,
    bytes: usize,
}

impl Contents {
    fn put(&mut self, digest: Digest, initrd: Vec<Bytes>, own: usize) {
        if self.initrds.insert(digest, initrd).is_none() {
            self.order.push_back((digest, own));
            self.bytes += own;
        }
        while self.initrds.len() > MAX_MADE || self.bytes > MAX_BYTES && self.initrds.len() > 1 {
            let Some((oldest, bytes)) = self.order.pop_front() else { break };
            self.initrds.remove(&oldest);
            self.bytes -= bytes;
        }
    }
}

impl App {
    /// Makes the files of a machine that `plan` says a bundle for. Where that fails, the machine gets the last ones
    /// that could be made: for this bundle, or else with the bundle of this profile they were made for.
    ///
    /// # Errors
    /// When there are none, with a text for the machine's screen.
    pub(super) async fn own_files<'a>(&self, visit: &Visit<'_>, plan: Plan<'a>) -> Result<Told<'a>, String> {
        if plan.published.manifest.templates.is_none() {
            return Ok(Told { plan, own_files: None, alarm: None });
        }
        Box::pin(self.files_of_templates(visit, plan)).await
    }

    async fn files_of_templates<'a>(&self, visit: &Visit<'_>, plan: Plan<'a>) -> Result<Told<'a>, String> {
        let vars = visit.rules.assignments.vars.get(&visit.named).cloned().unwrap_or_default();
        let why = match self.make(visit, vars, &plan).await {
            Ok(digest) => return Ok(Told { plan, own_files: Some(digest), alarm: None }),
            Err(error) => chain(&error),
        };
        let last = self.fleet.last_made(&visit.machine.mac).filter(|last| last.profile == plan.profile);
        let Some(last) = last else { return Err(why) };
        // It must be whole, or it is none.
        if self.own_initrd(&last.files).await.is_none() {
            return Err(why);
        }
        let (own_files, this) = (Some(last.files), plan.published.bundle);
        if last.bundle == this {
            let alarm = Some(format!("{why}; it boots with the last files that could be made for it"));
            return Ok(Told { plan, own_files, alarm });
        }
        let Ok(manifest) = self.bundles.manifest(&self.store, last.bundle).await else { return Err(why) };
        let alarm = format!("release {}: {why}; it boots release {} again", plan.published.release, last.release);
        let published = Cow::Owned(Published { release: last.release, bundle: last.bundle, manifest });
        Ok(Told { plan: Plan { published, ..plan }, own_files, alarm: Some(alarm) })
    }

    /// The initrd with these files, in pieces; nothing when they were made for no machine.
    pub(super) async fn own_initrd(&self, digest: &Digest) -> Option<Vec<Bytes>> {
        if let Some(found) = lock(&self.own_files.made).initrds.get(digest) {
            return Some(found.clone());
        }
        let text = self.fleet.made_content(digest).await?;
        if Digest::of(text.as_bytes()) != *digest {
            return None;
        }
        let content: Content = serde_json::from_str(&text).ok()?;
        let kit = self.kit(content.bundle).await.ok()?;
        self.put(&kit, digest, &content).ok()
    }

    /// The values of machines of the site file that do not fit the profile they follow, by machine.
    pub async fn wrong_vars(self: &Arc<Self>, assignments: &Assignments) -> Vec<(Mac, TemplateError)> {
        let catalog = self.catalog().await;
        let mut wrong = Vec::new();
        for (mac, vars) in &assignments.vars {
            let follows = assignments.of(mac);
            let Some(published) = follows.and_then(|it| catalog.published(&it.profile, &it.channel)) else { continue };
            if published.manifest.templates.is_none() {
                continue;
            }
            let Ok(kit) = self.kit(published.bundle).await else { continue };
            wrong.extend(kit.renderer().accepts(vars).err().map(|error| (*mac, error)));
        }
        wrong
    }

    async fn make(&self, visit: &Visit<'_>, mut vars: Vars, plan: &Plan<'_>) -> Result<Digest, KitError> {
        let (bundle, machine) = (plan.published.bundle, visit.machine);
        let record = visit.ledger.record(visit.id);
        let written = record.map(|record| record.vars.clone()).unwrap_or_default();
        let labels = labels_of(&visit.rules.assignments.labels, machine, record.map(|record| &record.labels));
        let asked = Asked { bundle, machine: Arc::clone(machine), labels, vars: vars.clone(), written };
        let before = lock(&self.own_files.asked).get(&machine.mac).cloned();
        if let Some((_, digest)) = before.filter(|(last, _)| *last == asked)
            && lock(&self.own_files.made).initrds.contains_key(&digest)
        {
            return Ok(digest);
        }
        let kit = self.kit(bundle).await?;
        vars.extend(kit.renderer().read(&asked.written));
        let content = kit.render(machine, &asked.labels, &vars)?;
        let text: Arc<str> = content.to_text().into();
        let digest = Digest::of(text.as_bytes());
        let is_made = lock(&self.own_files.made).initrds.contains_key(&digest);
        if !is_made {
            self.put(&kit, &digest, &content)?;
        }
        let made = Made { profile: plan.profile.clone(), release: plan.published.release, bundle, files: digest };
        self.fleet.made(machine.mac, made, &text);
        let mut all = lock(&self.own_files.asked);
        if all.len() >= MAX_MADE {
            all.clear();
        }
        all.insert(machine.mac, (asked, digest));
        Ok(digest)
    }

    fn put(&self, kit: &Kit, digest: &Digest, content: &Content) -> Result<Vec<Bytes>, KitError> {
        let (initrd, own) = kit.initrd(content)?;
        lock(&self.own_files.made).put(*digest, initrd.clone(), own);
        Ok(initrd)
    }

    /// What is needed to make the files of a bundle's machines; read from the store once.
    async fn kit(&self, id: BundleId) -> Result<Arc<Kit>, KitError> {
        if let Some(kit) = lock(&self.own_files.kits).get(&id) {
            return Ok(Arc::clone(kit));
        }
        let store = self.store.clone();
        // It is not cancelled, so only a panic or the end of the program makes it fail.
        let read = tokio::task::spawn_blocking(move || Kit::read(&store, id)).await;
        let kit = Arc::new(read.map_err(|_| KitError::Stopped)??);
        let mut kits = lock(&self.own_files.kits);
        if kits.len() >= MAX_KITS {
            kits.clear();
        }
        kits.insert(id, Arc::clone(&kit));
        Ok(kit)
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_contents_go_when_there_are_too_many_bytes() {
        let mut contents = Contents::default();
        let digest = |number: usize| Digest::of(&number.to_le_bytes());
        for number in 0..4 {
            contents.put(digest(number), Vec::new(), MAX_BYTES / 2);
            contents.put(digest(number), Vec::new(), MAX_BYTES / 2);
        }
        assert_eq!((contents.initrds.len(), contents.order.len(), contents.bytes), (2, 2, MAX_BYTES / 2 * 2));
        assert!(contents.initrds.contains_key(&digest(3)) && !contents.initrds.contains_key(&digest(0)));
        contents.put(digest(9), Vec::new(), MAX_BYTES * 2);
        assert_eq!(contents.initrds.len(), 1, "the last one stays, however large");
    }
}
