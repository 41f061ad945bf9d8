//! What is known of every machine, in memory. Pure: the time is an argument.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::model::boot::Step;
use crate::model::checkin::Report;
use crate::model::identity::Identity;
use crate::model::mac::Mac;
use crate::model::manifest::{BundleId, Manifest};
use crate::model::name::ProfileName;
use crate::model::plan::Plan;

/// How many machines are remembered; addresses are free to invent, memory is not.
const MAX_MACHINES: usize = 100_000;

/// A firmware that has not got a script after this long has been switched off; what it does next is a new boot.
const FIRMWARE_PATIENCE: Duration = Duration::from_secs(600);

/// A machine that asked to boot.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Who it says it is.
    pub identity: Identity,
    /// When it was first seen.
    pub first_seen: SystemTime,
    /// When it was last seen.
    pub last_seen: SystemTime,
    /// Its last boot.
    pub session: Session,
}

/// One boot of one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// What the machine checks in with; also the session's name in the database. Empty until there is a script.
    pub token: String,
    /// When it began.
    pub started: SystemTime,
    /// The profile, release and bundle it was told to boot.
    pub told: Option<(ProfileName, u64, BundleId)>,
    /// The furthest step it reached.
    pub step: Step,
    /// When it reached that.
    pub step_at: SystemTime,
    /// What it reported.
    pub report: Option<Report>,
    /// How what it reported differs from what it was told to boot; empty means it came up as it should.
    pub problems: Vec<String>,
}

/// What a check-in showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The machine.
    pub mac: Mac,
    /// The bundle it was told to boot.
    pub bundle: BundleId,
    /// What differs; empty when nothing does.
    pub problems: Vec<String>,
}

/// Why a check-in is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckInError {
    /// No boot that is known was given this token.
    #[error("no boot was given this token")]
    UnknownToken,
}

/// Every machine that is known.
#[derive(Debug, Default)]
pub struct Roster {
    machines: HashMap<Mac, Machine>,
    tokens: HashMap<String, Mac>,
}

impl Roster {
    /// The roster a database held.
    #[must_use]
    pub fn from_machines(machines: impl IntoIterator<Item = Machine>) -> Self {
        let machines: HashMap<Mac, Machine> =
            machines.into_iter().map(|machine| (machine.identity.mac, machine)).collect();
        let tokens = machines
            .values()
            .filter(|machine| !machine.session.token.is_empty())
            .map(|machine| (machine.session.token.clone(), machine.identity.mac))
            .collect();
        Self { machines, tokens }
    }

    /// A step was seen; returns the machine when that was news.
    ///
    /// Within a boot, steps only go forward: firmware, iPXE and Alpine each ask DHCP again. A DHCPDISCOVER of firmware
    /// after a script means the machine was switched on anew.
    pub fn reached(&mut self, mac: Mac, step: Step, now: SystemTime) -> Option<&Machine> {
        let full = self.machines.len() >= MAX_MACHINES && !self.machines.contains_key(&mac);
        if full {
            return None;
        }
        let machine = self.machines.entry(mac).or_insert_with(|| Machine {
            identity: Identity::of(mac),
            first_seen: now,
            last_seen: now,
            session: Session::begin(step, now),
        });
        machine.last_seen = now;
        let session = &mut machine.session;
        let idle = now.duration_since(session.step_at).unwrap_or_default();
        let anew = step < Step::Script && (session.step >= Step::Script || idle > FIRMWARE_PATIENCE);
        if anew {
            self.tokens.remove(&session.token);
            *session = Session::begin(step, now);
        } else if step > session.step {
            session.step = step;
            session.step_at = now;
        } else if session.step_at != now {
            return None;
        }
        Some(machine)
    }

    /// The machine was told to boot `plan` and given `token`. One boot has one script: another script is another boot,
    /// except that a machine still at its firmware's steps goes on.
    pub fn scripted(&mut self, identity: &Identity, plan: &Plan, token: String, now: SystemTime) -> &Machine {
        let session = Session {
            token: token.clone(),
            started: now,
            told: Some((plan.profile.clone(), plan.published.release, plan.published.bundle)),
            step: Step::Script,
            step_at: now,
            report: None,
            problems: Vec::new(),
        };
        let machine = self.machines.entry(identity.mac).or_insert_with(|| Machine {
            identity: identity.clone(),
            first_seen: now,
            last_seen: now,
            session: session.clone(),
        });
        let started = if machine.session.step < Step::Script { machine.session.started } else { now };
        self.tokens.remove(&machine.session.token);
        self.tokens.insert(token, identity.mac);
        machine.identity = identity.clone();
        machine.last_seen = now;
        machine.session = Session { started, ..session };
        machine
    }

    /// The bundle the boot with `token` was told to load.
    #[must_use]
    pub fn told(&self, token: &str) -> Option<BundleId> {
        let machine = self.machines.get(self.tokens.get(token)?)?;
        machine.session.told.as_ref().map(|(_, _, bundle)| *bundle)
    }

    /// A machine reported; `manifest` is of the bundle it was told to boot, if it can still be read.
    ///
    /// # Errors
    /// When the token belongs to no known boot.
    pub fn check_in(
        &mut self,
        token: &str,
        report: Report,
        manifest: Option<&Manifest>,
        now: SystemTime,
    ) -> Result<(&Machine, Outcome), CheckInError> {
        let bundle = self.told(token).ok_or(CheckInError::UnknownToken)?;
        let mac = *self.tokens.get(token).ok_or(CheckInError::UnknownToken)?;
        let machine = self.machines.get_mut(&mac).ok_or(CheckInError::UnknownToken)?;
        let problems = manifest.map_or_else(
            || vec!["its bundle cannot be read from the store".to_owned()],
            |manifest| report.differences(&bundle, manifest),
        );
        machine.last_seen = now;
        machine.session.step = Step::CheckIn;
        machine.session.step_at = now;
        machine.session.report = Some(report);
        machine.session.problems.clone_from(&problems);
        Ok((machine, Outcome { mac, bundle, problems }))
    }
}

impl Session {
    fn begin(step: Step, now: SystemTime) -> Self {
        Self { token: String::new(), started: now, told: None, step, step_at: now, report: None, problems: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::manifest::tests::sample;
    use crate::model::plan::Published;

    const MAC: &str = "52:54:00:00:00:01";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn plan() -> Plan {
        let manifest = sample("vdi");
        let published = Published { release: 12, bundle: manifest.id(), manifest: Arc::new(manifest) };
        Plan { profile: "vdi".parse().unwrap(), published }
    }

    fn report(manifest: &Manifest) -> Report {
        let text = format!("bundle {}\noverlay {}\nhostname vdi\nmodloop mounted\n", manifest.id(), manifest.overlay);
        Report::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_boot_goes_from_the_first_packet_to_the_check_in() {
        let mac: Mac = MAC.parse().unwrap();
        let mut roster = Roster::default();
        assert_eq!(roster.reached(mac, Step::Discover, at(0)).unwrap().session.step, Step::Discover);
        roster.reached(mac, Step::Loader, at(2));
        // iPXE asks DHCP again; that is not news.
        assert!(roster.reached(mac, Step::Discover, at(3)).is_none());
        let machine = roster.scripted(&Identity::of(mac), &plan(), "t1".to_owned(), at(4));
        assert_eq!((machine.session.started, machine.session.step), (at(0), Step::Script));
        roster.reached(mac, Step::Kernel, at(5));
        let manifest = plan().published.manifest;
        let (machine, outcome) = roster.check_in("t1", report(&manifest), Some(&manifest), at(30)).unwrap();
        assert_eq!((machine.session.step, machine.session.step_at), (Step::CheckIn, at(30)));
        assert_eq!(outcome.problems, Vec::<String>::new());
    }

    #[test]
    fn a_firmware_that_asks_again_after_its_script_begins_a_new_boot() {
        let mac: Mac = MAC.parse().unwrap();
        let mut roster = Roster::default();
        roster.scripted(&Identity::of(mac), &plan(), "t1".to_owned(), at(0));
        let session = &roster.reached(mac, Step::Discover, at(60)).unwrap().session;
        assert_eq!((session.step, session.told.is_none()), (Step::Discover, true));
        let manifest = plan().published.manifest;
        let late = roster.check_in("t1", report(&manifest), None, at(61));
        assert_eq!(late.unwrap_err(), CheckInError::UnknownToken);
    }

    #[test]
    fn an_invented_token_is_refused() {
        let manifest = plan().published.manifest;
        let mut roster = Roster::default();
        let refused = roster.check_in("t", report(&manifest), None, at(0));
        assert_eq!(refused.unwrap_err().to_string(), "no boot was given this token");
    }

    #[test]
    fn invented_addresses_do_not_fill_the_memory() {
        let mut roster = Roster::default();
        for number in 0..=MAX_MACHINES as u64 {
            let bytes = number.to_be_bytes();
            roster.reached(Mac([2, 0, bytes[4], bytes[5], bytes[6], bytes[7]]), Step::Discover, at(0));
        }
        assert_eq!(roster.machines.len(), MAX_MACHINES);
    }
}
