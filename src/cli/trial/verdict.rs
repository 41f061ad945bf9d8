//! What came of a boot.

use std::io::{self, Write};
use std::time::Duration;

use crate::cli::report::plain;
use crate::fleet::Session;
use crate::model::name::ProfileName;
use crate::model::timeline::Timeline;
use crate::vm::Shutdown;

/// What came of a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It runs what it was told to, and its required health checks are well.
    Healthy {
        packages: usize,
        /// Its health checks that are well.
        checks: usize,
        /// What a person should know all the same.
        remarks: Vec<String>,
    },
    /// It came up, and something is wrong.
    Unhealthy(Vec<String>),
    /// It was given nothing to boot.
    Refused(Vec<String>),
    /// Its kernel panicked.
    Panic(String),
    /// It switched itself off, or tried to start again.
    Off(Shutdown),
    /// It did not come up in time.
    Late {
        /// The last step it took, and the one that is missing.
        steps: Option<[&'static str; 2]>,
        /// What that usually means.
        why: Option<&'static str>,
    },
    /// The processor cannot run it; it was not tried.
    KvmFails,
}

impl Verdict {
    /// What is known of a boot; nothing while that may still change. Health checks that fail may be well later, unless
    /// the time for that is over.
    pub(super) fn of(session: &Session, is_settled: bool) -> Option<Self> {
        if session.last_check_in.is_none() {
            return (!session.problems.is_empty()).then(|| Self::Refused(session.problems.clone()));
        }
        let vitals = session.vitals.as_ref();
        if session.is_good {
            return Some(Self::Healthy {
                packages: session.report.as_ref().map_or(0, |report| report.packages.len()),
                checks: vitals.map_or(0, |vitals| vitals.checks.iter().filter(|check| check.failure.is_none()).count()),
                remarks: vitals.map(|vitals| vitals.remarks()).unwrap_or_default(),
            });
        }
        let sick: Vec<String> = vitals.map(|vitals| vitals.problems().collect()).unwrap_or_default();
        let is_final = session.problems.iter().any(|problem| !sick.contains(problem));
        (is_final || is_settled).then(|| Self::Unhealthy(session.problems.clone()))
    }

    /// It did not come up in time; `boot` is what is known of it.
    pub(super) fn late(boot: Option<&Timeline>) -> Self {
        let steps = boot.and_then(|boot| {
            let last = boot.furthest().or_else(|| Some(boot.stages.last()?.step))?;
            Some([last.as_str(), boot.next()?.as_str()])
        });
        Self::Late { steps, why: boot.and_then(Timeline::diagnosis) }
    }

    pub(super) const fn is_healthy(&self) -> bool {
        matches!(self, Self::Healthy { .. })
    }
}

impl Verdict {
    /// Says it, with what the machine said last when it is not healthy.
    pub(super) fn report(
        &self,
        profile: &ProfileName,
        took: Duration,
        last: &[String],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let took = format!("{:.1} s", took.as_secs_f64());
        if let Self::Healthy { packages, checks, remarks } = self {
            writeln!(
                out,
                "{profile} is healthy: up after {took}, {packages} packages as told, {checks} health checks well"
            )?;
            return remarks.iter().try_for_each(|remark| writeln!(out, "  {}", plain(remark)));
        }
        writeln!(out, "{profile} is NOT healthy after {took}: {}", plain(&self.complaint()))?;
        if !last.is_empty() {
            writeln!(out, "the last lines of its console:")?;
        }
        last.iter().try_for_each(|line| writeln!(out, "  | {}", plain(line)))
    }

    /// What is wrong.
    fn complaint(&self) -> String {
        match self {
            Self::Healthy { .. } => "nothing".to_owned(),
            Self::Unhealthy(problems) => problems.join("; "),
            Self::Refused(problems) => format!("it was given nothing to boot: {}", problems.join("; ")),
            Self::Panic(why) => format!("its kernel panicked: {why}"),
            Self::Off(shutdown) => match shutdown.reason.as_str() {
                "guest-reset" => "it tried to start again instead of coming up".to_owned(),
                "guest-shutdown" => "it switched itself off".to_owned(),
                "host-ui" => "its window was closed before it was up".to_owned(),
                other => format!("it went off ({other})"),
            },
            Self::Late { steps: None, .. } => {
                "it did not come up in time, and nothing was heard of it: its firmware did not ask how to boot"
                    .to_owned()
            }
            Self::Late { steps: Some([last, missing]), why } => {
                let why = why.map_or_else(String::new, |why| format!(". Usually: {why}"));
                format!("it did not come up in time: the last step was {last}, and {missing} is missing{why}")
            }
            Self::KvmFails => "the processor's virtualization does not work here".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::boot::Step;
    use crate::model::checkin::vitals::{HealthCheck, Vitals, Weight};
    use crate::model::timeline::Stage;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn check(name: &str, weight: Weight, failure: Option<&str>) -> HealthCheck {
        HealthCheck { name: name.to_owned(), weight, failure: failure.map(str::to_owned) }
    }

    /// A boot of which these problems are known; with vitals when it has checked in.
    fn session(problems: &[&str], vitals: Option<Vitals>) -> Session {
        Session {
            token: None,
            started: NOW,
            turn: 1,
            told: None,
            sent_to: None,
            step: Step::Script,
            step_at: NOW,
            report: None,
            problems: problems.iter().map(|&problem| problem.to_owned()).collect(),
            alarm: None,
            scripted_at: NOW,
            last_check_in: vitals.as_ref().map(|_| NOW),
            is_good: vitals.is_some() && problems.is_empty(),
            health_since: NOW,
            first_good: None,
            vitals: vitals.map(Box::new),
            inventory: None,
        }
    }

    fn said(verdict: &Verdict, last: &[&str]) -> String {
        let (mut text, last) = (Vec::new(), last.iter().map(|&line| line.to_owned()).collect::<Vec<_>>());
        verdict.report(&"vdi".parse().unwrap(), Duration::from_millis(12_345), &last, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn stage(step: Step) -> Stage {
        Stage { files: 1, ..Stage::begin(step, NOW) }
    }

    #[test]
    fn nothing_is_said_of_a_boot_that_goes_on() {
        assert_eq!(Verdict::of(&session(&[], None), false), None);
        assert_eq!(Verdict::of(&session(&[], None), true), None);
    }

    #[test]
    fn a_machine_that_is_refused_is_not_waited_for() {
        let verdict = Verdict::of(&session(&["it is arm64"], None), false).unwrap();
        assert_eq!(verdict, Verdict::Refused(vec!["it is arm64".to_owned()]));
        assert!(!verdict.is_healthy());
        assert_eq!(said(&verdict, &[]), "vdi is NOT healthy after 12.3 s: it was given nothing to boot: it is arm64\n");
    }

    #[test]
    fn a_healthy_machine_is_healthy_at_once_with_what_a_person_should_know() {
        let checks = vec![
            check("display", Weight::Required, None),
            check("link", Weight::Wanted, None),
            check("printer", Weight::Wanted, Some("no paper\u{1b}[2J")),
        ];
        let vitals = Vitals { checks, failed_services: vec!["cupsd".to_owned()], ..Vitals::default() };
        let verdict = Verdict::of(&session(&[], Some(vitals)), false).unwrap();
        assert!(verdict.is_healthy(), "{verdict:?}");
        let said = said(&verdict, &["login:"]);
        let expected = "vdi is healthy: up after 12.3 s, 0 packages as told, 2 health checks well\n  service cupsd";
        assert!(said.starts_with(expected), "{said}");
        assert!(said.contains("no paper\\u{1b}[2J\n") && !said.contains("login:"), "{said}");
    }

    #[test]
    fn a_check_that_fails_has_time_to_become_well_and_other_problems_have_none() {
        let vitals =
            Vitals { checks: vec![check("display", Weight::Required, Some("no screen"))], ..Vitals::default() };
        let sick: Vec<String> = vitals.problems().collect();
        let [sick] = <[String; 1]>::try_from(sick).unwrap();
        let early = session(&[&sick], Some(vitals.clone()));
        assert_eq!(Verdict::of(&early, false), None);
        assert_eq!(Verdict::of(&early, true), Some(Verdict::Unhealthy(vec![sick.clone()])));
        let other = session(&[&sick, "it runs another bundle"], Some(vitals));
        let verdict = Verdict::of(&other, false).unwrap();
        assert!(said(&verdict, &[]).ends_with("no screen; it runs another bundle\n"), "{verdict:?}");
    }

    #[test]
    fn a_machine_that_is_late_is_told_by_the_step_that_is_missing() {
        let silent = Verdict::late(None);
        assert_eq!(silent, Verdict::Late { steps: None, why: None });
        assert!(said(&silent, &[]).contains("its firmware did not ask how to boot"));
        let boot = Timeline::of(NOW, [Step::Script, Step::Kernel, Step::Initramfs].map(stage).to_vec());
        let verdict = Verdict::late(Some(&boot));
        let Verdict::Late { steps: Some(["initramfs", "site-initrd"]), .. } = verdict else { panic!("{verdict:?}") };
        let text = said(&verdict, &["one", "two"]);
        assert!(text.contains("the last step was initramfs, and site-initrd is missing"), "{text}");
        assert!(text.ends_with("\nthe last lines of its console:\n  | one\n  | two\n"), "{text}");
    }

    #[test]
    fn a_machine_that_goes_off_is_told_by_who_did_it() {
        for (reason, expected) in [
            ("guest-reset", "it tried to start again instead of coming up"),
            ("guest-shutdown", "it switched itself off"),
            ("host-ui", "its window was closed before it was up"),
            ("host-qmp-quit", "it went off (host-qmp-quit)"),
        ] {
            let text = said(&Verdict::Off(Shutdown { reason: reason.to_owned() }), &[]);
            assert_eq!(text, format!("vdi is NOT healthy after 12.3 s: {expected}\n"));
        }
        let text = said(&Verdict::Panic("no init".to_owned()), &[]);
        assert!(text.ends_with(": its kernel panicked: no init\n"), "{text}");
    }
}
