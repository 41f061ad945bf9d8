//! The menu of a machine whose policy says `ask`: what it offers, what is chosen when nobody chooses, and what comes of a
//! choice.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use foldhash::HashMap;
use tracing::warn;

use super::{Visit, said};
use crate::model::mac::Mac;
use crate::model::menu::{Choice, Policy};
use crate::model::name::{ChannelName, ProfileName};
use crate::model::plan::{Published, Refusal, followed, run};
use crate::model::script::{self, Offer};
use crate::serve::store_questions::QuestionError;
use crate::serve::{App, STORE_WAIT, lock};
use crate::store::{Store, StoreError};

/// How many machines' menus are remembered: few stand before one at a time, and anybody can claim to.
const MAX_MENUS: usize = 1024;

/// What a channel of a profile points at.
type Pointed<'a> = (&'a ProfileName, &'a ChannelName, &'a Published);

/// The releases that the last menu of each machine offers: one that has become too old for a new menu meanwhile may still
/// be chosen from the one that somebody looks at.
#[derive(Debug, Default)]
pub(in crate::serve) struct Offered(Mutex<HashMap<Mac, Vec<Choice>>>);

impl Offered {
    fn remember(&self, mac: Mac, items: &[(Choice, String)]) {
        let releases = items.iter().map(|(choice, _)| choice).filter(|choice| matches!(choice, Choice::Release(..)));
        let mut menus = lock(&self.0);
        if menus.len() >= MAX_MENUS && !menus.contains_key(&mac) {
            menus.clear();
        }
        menus.insert(mac, releases.cloned().collect());
    }

    fn has(&self, mac: &Mac, choice: &Choice) -> bool {
        lock(&self.0).get(mac).is_some_and(|releases| releases.contains(choice))
    }
}

impl<'a> Visit<'a> {
    /// What channels point at that the menu offers this machine.
    fn offered(&self) -> Vec<Pointed<'a>> {
        let runs = |published: &Published| self.machine.may_run(published.manifest.alpine.arch.as_str());
        let all = self.catalog.all();
        all.filter(|(profile, _, published)| self.rules.menu.offers(profile) && runs(published)).collect()
    }

    /// Whether the menu offers this besides profiles.
    fn is_other(&self, choice: &Choice) -> bool {
        self.rules.menu.others(self.platform()).iter().any(|(other, _)| other == choice)
    }

    /// What is to be chosen when nobody chooses: what the site file says, or else what the machine follows. An entry for
    /// other firmware is not meant for this machine.
    fn preferred(&self) -> Option<Choice> {
        let is_meant = |choice: &Choice| !matches!(choice, Choice::Entry(_)) || self.is_other(choice);
        let followed = || followed(&self.asking(), &self.rules.assignments, self.ledger).map(Choice::from);
        self.rules.menu.default.clone().filter(is_meant).or_else(followed)
    }
}

impl App {
    /// What somebody chose, if the machine may choose that.
    pub(super) async fn chosen(
        self: &Arc<Self>,
        visit: &Visit<'_>,
        text: &str,
        policy: Policy,
    ) -> Result<String, String> {
        let refused = || said(Refusal::NotOffered(text.chars().take(80).collect()));
        let choice: Choice = text.parse().map_err(|_| refused())?;
        if policy != Policy::Ask || !self.is_offered(visit, &choice).await {
            return Err(refused());
        }
        match choice {
            Choice::Channel(profile, channel) => {
                let plan = self.follow(visit, &profile, &channel).await?;
                self.boot_guarded(visit, plan).await
            }
            Choice::Release(profile, number) => {
                let published = self.release(visit.catalog, &profile, number).await?;
                let plan = run(visit.machine, profile, published).map_err(said)?;
                self.boot(visit, plan, None).await
            }
            Choice::LocalDisk => Ok(self.local_disk(visit, None)),
            Choice::NetbootXyz => {
                self.send(visit, "netboot.xyz", None);
                Ok(script::netboot_xyz(visit.base))
            }
            Choice::Entry(name) => {
                let entry = visit.rules.menu.entry(&name).ok_or_else(refused)?;
                self.send(visit, entry.name.as_str(), None);
                script::entry_of_site(visit.base, entry).ok_or_else(refused)
            }
        }
    }

    /// Whether the machine's menu offers this, or did when it was last shown.
    async fn is_offered(&self, visit: &Visit<'_>, choice: &Choice) -> bool {
        if visit.preferred().as_ref() == Some(choice) {
            return true;
        }
        match choice {
            Choice::Channel(profile, _) => visit.rules.menu.offers(profile),
            Choice::Release(profile, _) if !visit.rules.menu.offers(profile) => false,
            Choice::Release(profile, number) => {
                if self.offered.has(&visit.machine.mac, choice) {
                    return true;
                }
                let pointed: Vec<_> = visit.offered().into_iter().filter(|(of, _, _)| *of == profile).collect();
                let earlier = self.earlier(visit.rules.menu.releases, &pointed).await;
                earlier.get(profile).is_some_and(|numbers| numbers.contains(number))
            }
            Choice::LocalDisk | Choice::NetbootXyz | Choice::Entry(_) => visit.is_other(choice),
        }
    }

    /// The menu: what channels of the offered profiles point at, the releases before, and the rest. `trouble` is what went
    /// wrong before.
    pub(super) async fn menu(
        self: &Arc<Self>,
        visit: &Visit<'_>,
        mut trouble: Option<String>,
    ) -> Result<String, String> {
        let menu = &visit.rules.menu;
        let pointed = visit.offered();
        let mut earlier = self.earlier(menu.releases, &pointed).await;
        let mut items: Vec<(Choice, String)> = Vec::new();
        for (place, &(profile, channel, published)) in pointed.iter().enumerate() {
            items.push(of_channel(profile, channel, published));
            let is_last = pointed.get(place + 1).is_none_or(|(next, _, _)| *next != profile);
            if is_last {
                let numbers = earlier.remove(profile).unwrap_or_default();
                items.extend(numbers.into_iter().map(|number| of_release(profile, number)));
            }
        }
        items.extend(menu.others(visit.platform()));
        let default = match visit.preferred() {
            Some(preferred) => {
                let found = self.find_default(visit, preferred, &mut items).await;
                if let Err(why) = &found {
                    warn!(mac = %visit.machine.mac, %why, "a menu has no default, so nothing boots until somebody chooses");
                    trouble = Some(trouble.map_or_else(|| why.clone(), |trouble| format!("{trouble}; {why}")));
                }
                found
            }
            // A site may want that somebody chooses.
            None => Err(said(Refusal::Unassigned(visit.machine.mac))),
        };
        if items.is_empty() {
            let why = default.err().map_or_else(String::new, |why| format!(": {why}"));
            return Err(format!("the menu of this site has nothing for this machine{why}"));
        }
        self.offered.remember(visit.machine.mac, &items);
        self.send(visit, "menu", trouble);
        let offer = Offer { title: menu.title.clone(), items, default, timeout: menu.timeout };
        Ok(script::menu(visit.base, &offer))
    }

    /// Makes sure that what is chosen when nobody chooses is among `items`.
    ///
    /// # Errors
    /// When it cannot be had, with a text for the machine's screen.
    async fn find_default(
        &self,
        visit: &Visit<'_>,
        preferred: Choice,
        items: &mut Vec<(Choice, String)>,
    ) -> Result<Choice, String> {
        if items.iter().any(|(item, _)| *item == preferred) {
            return Ok(preferred);
        }
        let (profile, published, item) = match &preferred {
            Choice::Channel(profile, channel) => {
                let published = visit.catalog.published(profile, channel);
                let missing = || said(Refusal::Unpublished(profile.clone(), channel.clone()));
                let published = published.ok_or_else(missing)?;
                (profile, Cow::Borrowed(published), of_channel(profile, channel, published))
            }
            Choice::Release(profile, number) => {
                // Its manifest is in the store too.
                let found = tokio::time::timeout(STORE_WAIT, self.release(visit.catalog, profile, *number));
                let published = found.await.unwrap_or_else(|_| Err(QuestionError::Silent.to_string()))?;
                (profile, published, of_release(profile, *number))
            }
            // The site file has none as the default that it does not offer.
            Choice::LocalDisk | Choice::NetbootXyz | Choice::Entry(_) => {
                return Err(said(Refusal::NotOffered(preferred.to_string())));
            }
        };
        run(visit.machine, profile.clone(), published).map_err(said)?;
        items.insert(0, item);
        Ok(preferred)
    }

    /// The numbers of the releases of profiles before the newest one that `pointed` has of each, newest first and no more
    /// than `most`; none when the store does not answer in time.
    async fn earlier(&self, most: usize, pointed: &[Pointed<'_>]) -> BTreeMap<ProfileName, Vec<u64>> {
        if most == 0 {
            return BTreeMap::new();
        }
        let mut current: BTreeMap<ProfileName, BTreeSet<u64>> = BTreeMap::new();
        for (profile, _, published) in pointed {
            current.entry((*profile).clone()).or_default().insert(published.release);
        }
        let listed = move |store: &Store| {
            let of = |(profile, current)| {
                let numbers = earlier_of(store, &profile, &current, most).unwrap_or_else(|problem| {
                    warn!(%problem, %profile, "the releases of a profile cannot be listed; the menu is without them");
                    Vec::new()
                });
                (profile, numbers)
            };
            Ok(current.into_iter().map(of).collect())
        };
        self.ask_in_time(listed).await.unwrap_or_else(|problem| {
            warn!(%problem, "earlier releases cannot be listed; the menu is without them");
            BTreeMap::new()
        })
    }
}

/// The numbers of the releases before the newest of `current` and without those, newest first; what cannot be read is left
/// out.
fn earlier_of(
    store: &Store,
    profile: &ProfileName,
    current: &BTreeSet<u64>,
    most: usize,
) -> Result<Vec<u64>, StoreError> {
    let newest = current.last().copied().unwrap_or_default();
    let readable = store.releases_before(profile, newest)?.filter_map(|release| match release {
        Ok(release) => Some(release.number),
        Err(problem) => {
            warn!(%problem, %profile, "a release cannot be read; the menu is without it");
            None
        }
    });
    Ok(readable.filter(|number| !current.contains(number)).take(most).collect())
}

fn of_channel(profile: &ProfileName, channel: &ChannelName, published: &Published) -> (Choice, String) {
    let text = format!("{profile}, channel {channel} (release {})", published.release);
    (Choice::Channel(profile.clone(), channel.clone()), text)
}

fn of_release(profile: &ProfileName, number: u64) -> (Choice, String) {
    (Choice::Release(profile.clone(), number), format!("{profile}, release {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_menu_of_a_machine_is_remembered_and_of_no_more_machines_than_may_be() {
        let offered = Offered::default();
        let mac = |number: usize| {
            let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
            Mac([2, 0, 0, 0, high, low])
        };
        let items = |texts: &[&str]| -> Vec<(Choice, String)> {
            texts.iter().map(|text| (text.parse().unwrap(), String::new())).collect()
        };
        let has = |number, text: &str| offered.has(&mac(number), &text.parse().unwrap());
        offered.remember(mac(0), &items(&["vdi@3", "vdi@4"]));
        offered.remember(mac(0), &items(&["vdi:stable", "vdi@4", "local-disk"]));
        assert_eq!([has(0, "vdi@4"), has(0, "vdi@3"), has(1, "vdi@4")], [true, false, false]);
        for number in 0..MAX_MENUS {
            offered.remember(mac(number), &items(&["vdi@4"]));
        }
        assert_eq!(lock(&offered.0).len(), MAX_MENUS);
        offered.remember(mac(MAX_MENUS), &items(&["vdi@4"]));
        assert_eq!(lock(&offered.0).len(), 1);
    }
}
