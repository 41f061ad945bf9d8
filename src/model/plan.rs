//! The decision what a machine boots: one pure function (DESIGN 3.4).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::identity::Identity;
use crate::model::label::rule::Rule;
use crate::model::ledger::{Ledger, TargetRef};
use crate::model::loader::Returning;
use crate::model::mac::Mac;
use crate::model::machine::MachineId;
use crate::model::manifest::{BundleId, Manifest};
use crate::model::menu::Policy;
use crate::model::name::{ChannelName, ProfileName};
use crate::model::pairing::UnknownPolicy;
use crate::model::rollout::Release;
use crate::model::template::Vars;

/// Which profile and channel a machine follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The profile.
    pub profile: ProfileName,
    /// The channel of that profile.
    pub channel: ChannelName,
}

/// Who follows what: by address, and for everybody else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignments {
    /// Machines named in the site file.
    pub by_mac: BTreeMap<Mac, Assignment>,
    /// The values machines give to variables of templates; every machine the site file names is here.
    pub vars: BTreeMap<Mac, Vars>,
    /// What a machine follows that is not named; without it such machines do not boot.
    pub fallback: Option<Assignment>,
    /// What machines do whose own policy is not the default.
    pub policies: BTreeMap<Mac, Policy>,
    /// What all others do.
    pub policy: Policy,
    /// What those do that nobody said anything of.
    pub unknown: UnknownPolicy,
    /// The labels machines have because of what they are.
    pub labels: Vec<Rule>,
}

impl Assignments {
    /// What `mac` follows.
    #[must_use]
    pub fn of(&self, mac: &Mac) -> Option<&Assignment> {
        self.by_mac.get(mac).or(self.fallback.as_ref())
    }

    /// What `mac` does when it asks to boot.
    #[must_use]
    pub fn policy_of(&self, mac: &Mac) -> Policy {
        self.policies.get(mac).copied().unwrap_or(self.policy)
    }

    /// The machines that may go back from iPXE to their firmware, as far as the site file says. A machine that only the
    /// ledger knows counts as unknown.
    #[must_use]
    pub fn returning(&self) -> Returning {
        let by_default =
            self.policy != Policy::Boot || matches!(self.unknown, UnknownPolicy::Menu | UnknownPolicy::LocalDisk);
        let differs = |mac: &&Mac| (self.policy_of(mac) != Policy::Boot) != by_default;
        Returning { by_default, exceptions: self.vars.keys().filter(differs).copied().collect() }
    }

    /// What a machine does that neither the site file names, as `named`, nor `ledger` has anything of; nothing for all
    /// others.
    #[must_use]
    pub fn unknown(&self, named: &Mac, machine: &MachineId, ledger: &Ledger) -> Option<UnknownPolicy> {
        let is_known = self.vars.contains_key(named) || ledger.record(machine).is_some();
        (!is_known).then_some(self.unknown)
    }

    /// Whether a machine that boots from `mac` is to be left alone: nobody said anything of it, and such machines are
    /// ignored. `machine` is who it said it is when it last booted, if it ever did.
    #[must_use]
    pub fn ignores(&self, mac: Mac, machine: Option<&Identity>, ledger: &Ledger) -> bool {
        let named = machine.map_or(mac, |machine| self.named(mac, machine));
        let kept = machine.map_or(mac, |machine| machine.mac);
        self.unknown(&named, &kept.into(), ledger) == Some(UnknownPolicy::Ignore)
    }

    /// The address under which the site file names a machine that boots from `mac`: that one, or else the first of its
    /// other cards that is named, or the address under which the machine is kept; that one when none is (netboot.md,
    /// C13).
    #[must_use]
    pub fn named(&self, mac: Mac, machine: &Identity) -> Mac {
        if self.vars.is_empty() {
            return mac;
        }
        let cards = machine.hardware.cards.iter().chain([&machine.mac]);
        let is_named = |mac: &&Mac| self.vars.contains_key(mac);
        std::iter::once(&mac).chain(cards).find(is_named).copied().unwrap_or(mac)
    }
}

/// A release as the serving side sees it.
#[derive(Debug, Clone)]
pub struct Published {
    /// Its number.
    pub release: u64,
    /// Its bundle's id.
    pub bundle: BundleId,
    /// Its bundle's manifest.
    pub manifest: Arc<Manifest>,
}

/// What channels point at. Never changed, so that one decision sees one state.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    profiles: BTreeMap<ProfileName, BTreeMap<ChannelName, Published>>,
}

impl Catalog {
    /// A channel points at this.
    pub fn insert(&mut self, profile: ProfileName, channel: ChannelName, published: Published) {
        self.profiles.entry(profile).or_default().insert(channel, published);
    }

    /// What a channel points at.
    #[must_use]
    pub fn published(&self, profile: &ProfileName, channel: &ChannelName) -> Option<&Published> {
        self.profiles.get(profile)?.get(channel)
    }

    /// A release of a profile, when a channel points at it.
    #[must_use]
    pub fn release(&self, profile: &ProfileName, number: u64) -> Option<&Published> {
        self.profiles.get(profile)?.values().find(|published| published.release == number)
    }

    /// What every channel points at, by profile and channel.
    pub fn all(&self) -> impl Iterator<Item = (&ProfileName, &ChannelName, &Published)> {
        self.profiles
            .iter()
            .flat_map(|(profile, channels)| channels.iter().map(move |(channel, it)| (profile, channel, it)))
    }
}

/// What a machine is told to boot.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The profile it follows.
    pub profile: ProfileName,
    /// The release it gets; in most cases as the catalog has it.
    pub published: Cow<'a, Published>,
}

/// Why a machine is not told to boot anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody said what unknown machines boot.
    #[error("machine {0} has no profile, assign one in the site file or set default-profile")]
    Unassigned(Mac),
    /// The channel has no release.
    #[error("profile {0} has no release in channel {1}, publish one")]
    Unpublished(ProfileName, ChannelName),
    /// Somebody chose what the machine's policy or its menu does not offer.
    #[error("this machine may not choose `{0}`; look at its policy and at `menu` in the site file")]
    NotOffered(String),
    /// The machine's processor cannot run it.
    #[error("profile {profile} is for {arch} and this machine is {machine}")]
    WrongArch {
        /// The profile.
        profile: ProfileName,
        /// What the bundle is built for.
        arch: String,
        /// What the machine's iPXE is built for.
        machine: String,
    },
}

/// What a machine shall boot, before anybody has looked whether it is there and runs on it.
#[derive(Debug, Clone)]
pub enum Wanted<'a> {
    /// What a channel points at.
    Pointed(ProfileName, &'a Published),
    /// A release with its bundle, which a rollout gave it.
    Given(ProfileName, Release),
    /// A release by number.
    Numbered(ProfileName, u64),
}

/// A machine that asks, with what is remembered of it.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The address under which it is kept.
    pub mac: Mac,
    /// The same as it is called in the ledger.
    pub id: &'a MachineId,
    /// The address under which the site file knows it.
    pub named: Mac,
    /// The profile and release it last came up with.
    pub good: Option<(&'a ProfileName, u64)>,
}

/// What a machine boots that nobody chooses for: what it is to boot once, or what it was assigned, or else what the site
/// file says.
///
/// # Errors
/// A [`Refusal`], whose text the machine shows on its screen.
pub fn decide<'a>(
    asking: &Asking<'_>,
    assignments: &Assignments,
    ledger: &Ledger,
    catalog: &'a Catalog,
) -> Result<Wanted<'a>, Refusal> {
    let once = ledger.record(asking.id).and_then(|record| record.once.as_ref()).map(TargetRef::from);
    match once.or_else(|| followed(asking, assignments, ledger)) {
        Some(TargetRef::Release(profile, number)) => Ok(Wanted::Numbered(profile.clone(), number)),
        Some(TargetRef::Channel(profile, channel)) => follow(asking, profile, channel, ledger, catalog),
        None => Err(Refusal::Unassigned(asking.mac)),
    }
}

/// What a machine follows from boot to boot: what it was assigned, or else what the site file says.
#[must_use]
pub fn followed<'a>(asking: &Asking<'_>, assignments: &'a Assignments, ledger: &'a Ledger) -> Option<TargetRef<'a>> {
    let assigned = ledger.record(asking.id).and_then(|record| record.assigned.as_ref()).map(TargetRef::from);
    assigned.or_else(|| {
        let Assignment { profile, channel } = assignments.of(&asking.named)?;
        Some(TargetRef::Channel(profile, channel))
    })
}

/// What a machine boots that follows a channel: what the channel points at, or what its rollout gave the machine; or
/// first the release that it may not jump over.
///
/// # Errors
/// When the channel has no release.
pub fn follow<'a>(
    asking: &Asking<'_>,
    profile: &ProfileName,
    channel: &ChannelName,
    ledger: &Ledger,
    catalog: &'a Catalog,
) -> Result<Wanted<'a>, Refusal> {
    let published =
        catalog.published(profile, channel).ok_or_else(|| Refusal::Unpublished(profile.clone(), channel.clone()))?;
    let pointed = Release { number: published.release, bundle: published.bundle };
    let wanted = ledger.release_of(asking.id, profile, channel, pointed);
    let from = asking.good.filter(|(good, _)| *good == profile).map(|(_, release)| release);
    if let Some(floor) = from.and_then(|from| ledger.floor(profile, from, wanted.number)) {
        return Ok(Wanted::Numbered(profile.clone(), floor));
    }
    Ok(if wanted == pointed {
        Wanted::Pointed(profile.clone(), published)
    } else {
        Wanted::Given(profile.clone(), wanted)
    })
}

/// The plan for a machine that boots one release.
///
/// # Errors
/// When the machine cannot run it.
pub fn run<'a>(machine: &Identity, profile: ProfileName, published: Cow<'a, Published>) -> Result<Plan<'a>, Refusal> {
    let arch = published.manifest.alpine.arch.as_str();
    if !machine.may_run(arch) {
        let arch = arch.to_owned();
        return Err(Refusal::WrongArch { profile, arch, machine: machine.buildarch.clone().unwrap_or_default() });
    }
    Ok(Plan { profile, published })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::Hardware;
    use crate::model::ledger::{Entry, Fact};
    use crate::model::manifest::tests::sample;

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        for (profile, release) in [("hello", 3), ("vdi", 12)] {
            let manifest = sample(profile);
            let published = Published { release, bundle: manifest.id(), manifest: Arc::new(manifest) };
            catalog.insert(profile.parse().unwrap(), ChannelName::default_channel(), published);
        }
        catalog
    }

    fn follows(profile: &str) -> Assignment {
        Assignment { profile: profile.parse().unwrap(), channel: ChannelName::default_channel() }
    }

    fn machine(last: u8) -> Identity {
        Identity::of(format!("52:54:00:00:00:{last:02x}").parse().unwrap())
    }

    /// The number of the release that is decided.
    fn decided(last: u8, assignments: &Assignments, ledger: &Ledger) -> Result<u64, Refusal> {
        decided_with(last, assignments, ledger, None)
    }

    fn decided_with(
        last: u8,
        assignments: &Assignments,
        ledger: &Ledger,
        good: Option<(&ProfileName, u64)>,
    ) -> Result<u64, Refusal> {
        let mac = machine(last).mac;
        let asking = Asking { mac, id: &mac.into(), named: mac, good };
        Ok(match decide(&asking, assignments, ledger, &catalog())? {
            Wanted::Pointed(_, published) => published.release,
            Wanted::Given(_, Release { number, .. }) | Wanted::Numbered(_, number) => number,
        })
    }

    fn ledger(facts: Vec<Fact>) -> Ledger {
        let mut ledger = Ledger::default();
        for (number, fact) in (1..).zip(facts) {
            ledger.apply(&Entry { number, at: std::time::SystemTime::UNIX_EPOCH, who: String::new(), why: None, fact });
        }
        ledger
    }

    #[test]
    fn a_named_machine_follows_its_own_profile_and_others_the_default() {
        let mut assignments = Assignments { fallback: Some(follows("hello")), ..Assignments::default() };
        assignments.by_mac.insert(machine(1).mac, follows("vdi"));
        let release = |last| decided(last, &assignments, &Ledger::default()).unwrap();
        assert_eq!((release(1), release(2)), (12, 3));
    }

    #[test]
    fn what_was_assigned_goes_before_the_site_file_and_what_is_for_once_before_that() {
        let assignments = Assignments { fallback: Some(follows("hello")), ..Assignments::default() };
        let machines = vec![machine(1).mac.into()];
        let assigned = Fact::Assigned { machines: machines.clone(), to: Some("vdi".parse().unwrap()) };
        let once = Fact::AssignedOnce { machines: machines.clone(), to: "vdi@3".parse().unwrap() };
        let taken = Fact::OnceTaken { machine: machines[0].clone() };
        let release = |facts| decided(1, &assignments, &ledger(facts)).unwrap();
        assert_eq!(release(vec![assigned.clone()]), 12);
        assert_eq!(release(vec![assigned.clone(), once.clone()]), 3);
        assert_eq!(release(vec![assigned, once, taken]), 12);
    }

    #[test]
    fn a_machine_passes_through_the_releases_it_may_not_jump_over() {
        let assignments = Assignments { fallback: Some(follows("vdi")), ..Assignments::default() };
        let floor = |release| Fact::Floor { profile: "vdi".parse().unwrap(), release, is_one: true };
        let ledger = ledger(vec![floor(5), floor(9), floor(12)]);
        let (vdi, hello) = ("vdi".parse().unwrap(), "hello".parse().unwrap());
        let next = |good| decided_with(1, &assignments, &ledger, good).unwrap();
        assert_eq!((next(Some((&vdi, 3))), next(Some((&vdi, 5))), next(Some((&vdi, 9)))), (5, 9, 12));
        assert_eq!((next(None), next(Some((&hello, 1)))), (12, 12), "who had nothing jumps over nothing");
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let nobody = decided(1, &Assignments::default(), &Ledger::default()).unwrap_err();
        assert!(nobody.to_string().contains("set default-profile"));
        let assignments = Assignments { fallback: Some(follows("kiosk")), ..Assignments::default() };
        let unpublished = decided(1, &assignments, &Ledger::default()).unwrap_err();
        assert_eq!(unpublished.to_string(), "profile kiosk has no release in channel stable, publish one");
        let mut arm = machine(1);
        arm.buildarch = Some("arm64".to_owned());
        let catalog = catalog();
        let (_, _, published) = catalog.all().last().unwrap();
        let wrong = run(&arm, "vdi".parse().unwrap(), Cow::Borrowed(published)).unwrap_err();
        assert_eq!(wrong.to_string(), "profile vdi is for x86_64 and this machine is arm64");
    }

    #[test]
    fn who_goes_back_to_its_firmware_follows_from_the_policies() {
        let mac = |last: u8| machine(last).mac;
        let of = |policy, unknown| {
            let assignments = Assignments {
                vars: BTreeMap::from([(mac(1), Vars::new()), (mac(2), Vars::new())]),
                policies: BTreeMap::from([(mac(1), Policy::Boot), (mac(2), Policy::LocalDisk)]),
                policy,
                unknown,
                ..Assignments::default()
            };
            [1, 2, 3].map(|last| assignments.returning().has(&mac(last)))
        };
        assert_eq!(of(Policy::Boot, UnknownPolicy::Boot), [false, true, false]);
        assert_eq!(of(Policy::Boot, UnknownPolicy::Inbox), [false, true, false]);
        assert_eq!(of(Policy::Boot, UnknownPolicy::Menu), [false, true, true]);
        assert_eq!(of(Policy::Ask, UnknownPolicy::Boot), [false, true, true]);
        assert_eq!(of(Policy::LocalDisk, UnknownPolicy::Boot), [false, true, true]);
    }

    #[test]
    fn a_machine_is_known_by_any_of_its_cards_that_the_site_file_names() {
        let mac = |last: u8| machine(last).mac;
        let assignments = Assignments { vars: BTreeMap::from([(mac(2), Vars::new())]), ..Assignments::default() };
        let with = |cards: &[Mac]| {
            let hardware = Hardware { cards: cards.to_vec(), ..Hardware::default() };
            Identity { hardware, ..Identity::of(mac(1)) }
        };
        assert_eq!(assignments.named(mac(1), &with(&[mac(3), mac(2)])), mac(2));
        assert_eq!(assignments.named(mac(1), &with(&[mac(3)])), mac(1));
        assert_eq!(assignments.named(mac(7), &Identity::of(mac(2))), mac(2), "it has a new card");
    }
}
