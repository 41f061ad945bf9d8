//! The decision what a machine boots: one pure function (DESIGN 3.4).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::identity::Identity;
use crate::model::mac::Mac;
use crate::model::manifest::{BundleId, Manifest};
use crate::model::menu::Policy;
use crate::model::name::{ChannelName, ProfileName};
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

    /// The address under which the site file names a machine that boots from `mac` and has other cards too: that one, or
    /// else the first of the others that is named; that one when none is (netboot.md, C13).
    #[must_use]
    pub fn named(&self, mac: Mac, cards: &[Mac]) -> Mac {
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

/// What channels point at. Cheap to clone and never changed, so that one decision sees one state.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// By profile and channel.
    pub channels: BTreeMap<(ProfileName, ChannelName), Published>,
}

/// What a machine is told to boot.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The profile it follows.
    pub profile: ProfileName,
    /// The release it gets.
    pub published: Published,
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

/// What `machine` boots, which the site file knows as `named`.
///
/// # Errors
/// A [`Refusal`], whose text the machine shows on its screen.
pub fn decide(machine: &Identity, named: &Mac, assignments: &Assignments, catalog: &Catalog) -> Result<Plan, Refusal> {
    let Assignment { profile, channel } = assignments.of(named).ok_or(Refusal::Unassigned(machine.mac))?.clone();
    follow(machine, profile, channel, catalog)
}

/// The plan for a machine that boots a channel of a profile.
///
/// # Errors
/// When there is no release, or the machine cannot run it.
pub fn follow(
    machine: &Identity,
    profile: ProfileName,
    channel: ChannelName,
    catalog: &Catalog,
) -> Result<Plan, Refusal> {
    match catalog.channels.get(&(profile.clone(), channel.clone())) {
        Some(published) => run(machine, profile, published.clone()),
        None => Err(Refusal::Unpublished(profile, channel)),
    }
}

/// The plan for a machine that boots one release.
///
/// # Errors
/// When the machine cannot run it.
pub fn run(machine: &Identity, profile: ProfileName, published: Published) -> Result<Plan, Refusal> {
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
    use crate::model::manifest::tests::sample;

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        for (profile, release) in [("hello", 3), ("vdi", 12)] {
            let manifest = sample(profile);
            let published = Published { release, bundle: manifest.id(), manifest: Arc::new(manifest) };
            catalog.channels.insert((profile.parse().unwrap(), ChannelName::default_channel()), published);
        }
        catalog
    }

    fn follow(profile: &str) -> Assignment {
        Assignment { profile: profile.parse().unwrap(), channel: ChannelName::default_channel() }
    }

    fn machine(last: u8) -> Identity {
        Identity::of(format!("52:54:00:00:00:{last:02x}").parse().unwrap())
    }

    #[test]
    fn a_named_machine_follows_its_own_profile_and_others_the_default() {
        let mut assignments = Assignments { fallback: Some(follow("hello")), ..Assignments::default() };
        assignments.by_mac.insert(machine(1).mac, follow("vdi"));
        let release = |who: &Identity| decide(who, &who.mac, &assignments, &catalog()).unwrap().published.release;
        assert_eq!((release(&machine(1)), release(&machine(2))), (12, 3));
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let nobody = decide(&machine(1), &machine(1).mac, &Assignments::default(), &catalog()).unwrap_err();
        assert!(nobody.to_string().contains("set default-profile"));
        let assignments = Assignments { fallback: Some(follow("kiosk")), ..Assignments::default() };
        let unpublished = decide(&machine(1), &machine(1).mac, &assignments, &catalog()).unwrap_err();
        assert_eq!(unpublished.to_string(), "profile kiosk has no release in channel stable, publish one");
        let mut arm = machine(1);
        arm.buildarch = Some("arm64".to_owned());
        let assignments = Assignments { fallback: Some(follow("vdi")), ..Assignments::default() };
        let wrong = decide(&arm, &arm.mac, &assignments, &catalog()).unwrap_err();
        assert_eq!(wrong.to_string(), "profile vdi is for x86_64 and this machine is arm64");
    }

    #[test]
    fn a_machine_is_known_by_any_of_its_cards_that_the_site_file_names() {
        let mac = |last: u8| machine(last).mac;
        let assignments = Assignments { vars: BTreeMap::from([(mac(2), Vars::new())]), ..Assignments::default() };
        assert_eq!(assignments.named(mac(1), &[mac(3), mac(2)]), mac(2));
        assert_eq!(assignments.named(mac(1), &[mac(3)]), mac(1));
    }
}
