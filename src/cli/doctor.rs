//! `bivouac doctor`.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::serve::{default_to_only, listen, unpublished};
use super::{Outcome, loaders};
use crate::config::Settings;
use crate::model::net::DhcpMode;
use crate::model::pairing::UnknownPolicy;
use crate::serve::doctor::replay::{Line, Replay};
use crate::serve::doctor::{self, Finding, Https, Patient, Verdict};
use crate::serve::interfaces;
use crate::store::Store;
use crate::wire::capture;

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
        replay(settings, path, question.as_json, out)?;
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

fn replay(settings: &Settings, path: &Path, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    anyhow::ensure!(!file.metadata()?.is_dir(), "{} is a folder; name a capture in it", path.display());
    let address = own_address(settings);
    let base = settings.http.advertise.clone();
    let base =
        base.unwrap_or_else(|| format!("http://{}", SocketAddr::new(IpAddr::V4(address), settings.http.listen.port())));
    let loaders = Arc::new(loaders::find(settings)?);
    let dhcp = &settings.dhcp;
    // An interface that is off shows nothing; what the others would say is what is asked for.
    let modes = [dhcp.mode].into_iter().chain(dhcp.modes.values().copied());
    let mode = modes.into_iter().find(|mode| *mode != DhcpMode::Off).unwrap_or(DhcpMode::Off);
    let mut replay = Replay::new(mode, (Arc::clone(&dhcp.plan), dhcp.quirks.clone()), loaders, address, base);
    let mut lines: Vec<Line> = Vec::new();
    let mut failed = Ok(());
    let read = capture::datagrams(std::io::BufReader::new(file), |at, datagram| {
        if let Some(line) = replay.datagram(at, datagram) {
            if as_json {
                lines.push(line);
            } else if failed.is_ok() {
                failed = write_line(&line, out);
            }
        }
    });
    failed?;
    if as_json {
        serde_json::to_writer_pretty(&mut *out, &lines)?;
        writeln!(out)?;
    }
    let packets = read.with_context(|| format!("cannot read {}", path.display()))?;
    if !as_json {
        writeln!(out, "\n{packets} packets; answered as a server at {address} in mode {} would.", mode.word())?;
    }
    Ok(())
}

fn write_line(line: &Line, out: &mut dyn Write) -> std::io::Result<()> {
    let who = line.machine.map_or_else(|| line.from.ip().to_string(), |mac| mac.to_string());
    writeln!(out, "{:>9.3}  {who:<17}  {}", std::time::Duration::from_millis(line.at).as_secs_f64(), line.packet)?;
    match &line.answer {
        Some(answer) => writeln!(out, "{:>9}  {:<17}  -> {answer}", "", ""),
        None => Ok(()),
    }
}

/// The address we would answer from: the one that is listened on, or the first that is served, or the one that is
/// advertised.
fn own_address(settings: &Settings) -> Ipv4Addr {
    let advertised =
        settings.http.advertise.as_deref().and_then(|url| url.split("://").nth(1)?.split(['/', ':']).next());
    let advertised = advertised.and_then(|host| host.parse().ok());
    let served = || match listen(&settings.dhcp) {
        crate::serve::dhcp::Listen::Interfaces(wanted) => {
            let all = interfaces::list().ok()?;
            wanted.served(&all).first()?.addresses.first().map(|own| own.address)
        }
        crate::serve::dhcp::Listen::Address(address, _) => Some(address),
        crate::serve::dhcp::Listen::Cable(_) => None,
    };
    advertised.or_else(served).unwrap_or(Ipv4Addr::LOCALHOST)
}
