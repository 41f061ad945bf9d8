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
