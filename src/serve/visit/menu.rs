//! The menu of a machine whose policy says `ask`: what it offers, and what comes of a choice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::warn;

use super::{Visit, said};
use crate::model::menu::{Choice, Policy};
use crate::model::name::{ChannelName, ProfileName};
use crate::model::plan::{Published, Refusal, run};
use crate::model::script::{self, Offer};
use crate::serve::App;
use crate::store::{Store, StoreError};

/// What a channel of a profile points at.
type Pointed<'a> = (&'a ProfileName, &'a ChannelName, &'a Published);

impl<'a> Visit<'a> {
    /// What channels point at that the menu offers this machine.
    fn offered(&self) -> Vec<Pointed<'a>> {
        let runs = |published: &Published| self.machine.may_run(published.manifest.alpine.arch.as_str());
        let all = self.catalog.all();
        all.filter(|(profile, _, published)| self.rules.menu.offers(profile) && runs(published)).collect()
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
        if policy != Policy::Ask {
            return Err(refused());
        }
        match choice {
            Choice::Channel(profile, channel) if visit.rules.menu.offers(&profile) => {
                let plan = self.follow(visit, &profile, &channel).await?;
                self.boot_guarded(visit, plan).await
            }
            Choice::Release(profile, number) if visit.rules.menu.offers(&profile) => {
                let published = self.release(visit.catalog, &profile, number).await?;
                let plan = run(visit.machine, profile, published).map_err(said)?;
                self.boot(visit, plan, None).await
            }
            Choice::LocalDisk if visit.rules.menu.local_disk => Ok(self.local_disk(visit, None)),
            Choice::NetbootXyz if visit.rules.menu.netboot_xyz => {
                self.send(visit, "netboot.xyz", None);
                Ok(script::netboot_xyz(visit.base))
            }
            Choice::Entry(name) => {
                let entry = visit.rules.menu.entry(&name).ok_or_else(refused)?;
                self.send(visit, entry.name.as_str(), None);
                script::entry_of_site(visit.base, entry).ok_or_else(refused)
            }
            Choice::Channel(..) | Choice::Release(..) | Choice::LocalDisk | Choice::NetbootXyz => Err(refused()),
        }
    }

    /// The menu: what channels of the offered profiles point at, the releases before, and the rest. `trouble` is what went
    /// wrong before.
    pub(super) async fn menu(self: &Arc<Self>, visit: &Visit<'_>, trouble: Option<String>) -> Result<String, String> {
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
        let own =
            visit.rules.assignments.of(&visit.named).map(|it| Choice::Channel(it.profile.clone(), it.channel.clone()));
        let is_offered = |choice: &Choice| items.iter().any(|(item, _)| item == choice);
        let wanted = menu.default.clone().filter(is_offered).or_else(|| own.filter(is_offered));
        let Some(default) = wanted.or_else(|| items.first().map(|(choice, _)| choice.clone())) else {
            return Err("the menu of this site has nothing for this machine".to_owned());
        };
        self.send(visit, "menu", trouble);
        let offer = Offer { title: menu.title.clone(), items, default, timeout: menu.timeout };
        Ok(script::menu(visit.base, &offer))
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
