//! `bivouac doctor`.

mod replay;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::serve::{default_to_only, listen, unpublished};
use super::{Outcome, loaders};
use crate::config::Settings;
use crate::model::pairing::UnknownPolicy;
use crate::serve::doctor::{self, Finding, Https, Patient, Verdict};
use crate::store::Store;

/// What is asked of the doctor.
#[derive(Debug)]
pub(super) struct Question {
    /// A capture to answer, instead of looking at this computer.
    pub(super) replay: Option<PathBuf>,
    pub(super) as_json: bool,
}

/// Says what keeps machines from booting; the answer is no when anything does.
pub(super) async fn doctor(settings: &Settings, question: Question, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    if let Some(path) = &question.replay {
        replay::replay(settings, path, question.as_json, out).await?;
        return Ok(Outcome::Done);
    }
    let patient = patient(settings).await?;
    let (mut findings, runs) = doctor::computer(&patient).await;
    findings.extend(doctor::state(&patient, &settings.store(), &settings.fleet()).await);
    findings.extend(assigned(settings));
    if runs {
        findings.extend(doctor::reach(&patient).await);
    }
    findings.extend(doctor::network(&patient, runs).await);
    let is_wrong = findings.iter().any(|finding| finding.verdict == Verdict::Wrong);
    if question.as_json {
        serde_json::to_writer_pretty(&mut *out, &findings)?;
        writeln!(out)?;
    } else {
        show(&findings, runs, out)?;
    }
    Ok(if is_wrong { Outcome::Refused } else { Outcome::Done })
}

async fn patient(settings: &Settings) -> anyhow::Result<Patient> {
    let all = settings.clone();
    Ok(Patient {
        http: settings.http.listen,
        https: settings.http.https.as_ref().map(|https| Https {
            listen: https.listen,
            certificate: https.certificate.clone(),
            key: https.key.clone(),
        }),
        tftp: settings.tftp,
        dhcp: listen(&settings.dhcp),
        dhcp_port: settings.dhcp.port,
        pxe_port: settings.dhcp.pxe_port,
        is_ignoring_unknown: settings.assignments.unknown == UnknownPolicy::Ignore,
        advertise: settings.http.advertise.clone(),
        loaders: Arc::new(tokio::task::spawn_blocking(move || loaders::find(&all)).await??),
        state: settings.state.clone(),
    })
}

/// What `serve` would say of the profiles that the site file names.
fn assigned(settings: &Settings) -> Vec<Finding> {
    let store = Store::look_into(&settings.store());
    // That nothing can be read, or nothing is there, was said.
    let Some(published) = store.profiles().ok().filter(|published| !published.is_empty()) else { return Vec::new() };
    let mut assignments = settings.assignments.clone();
    default_to_only(&mut assignments, &published);
    doctor::assigned(&unpublished(&assignments, &store, &[]), assignments.fallback.as_ref())
}

fn show(findings: &[Finding], runs: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    for Finding { about, verdict, text, fix } in findings {
        writeln!(out, "{:<5}  {about:<9}  {text}", verdict.word())?;
        if let Some(fix) = fix {
            writeln!(out, "{:<5}  {:<9}  -> {fix}", "", "")?;
        }
    }
    if !runs {
        writeln!(out, "\nNo server runs here. With one, its answers are tried as well.")?;
    }
    let wrong = findings.iter().filter(|finding| finding.verdict == Verdict::Wrong).count();
    match wrong {
        0 => writeln!(out, "\nNothing is wrong.")?,
        1 => writeln!(out, "\nOne thing is wrong.")?,
        _ => writeln!(out, "\n{wrong} things are wrong.")?,
    }
    Ok(())
}
