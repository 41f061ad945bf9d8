//! `bivouac doctor --replay`: a capture, and what the server would have answered to it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::loaders;
use crate::cli::progress::say;
use crate::cli::report::{chain, plain};
use crate::cli::serve::listen;
use crate::config::Settings;
use crate::fleet::{Fleet, FleetError, Roster};
use crate::model::database::DatabasePlace;
use crate::model::ledger::Ledger;
use crate::model::net::{DhcpMode, Quirk};
use crate::model::pairing::UnknownPolicy;
use crate::serve::dhcp::Listen;
use crate::serve::doctor::replay::{Addresses, Known, Line, Replay, Site};
use crate::serve::interfaces;
use crate::wire::capture::{self, Contents};

/// What to capture so that there is something to answer.
const WHAT_TO_CAPTURE: &str =
    "capture with `tcpdump -s 0 -w boot.pcap 'udp port 67 or 68 or 69 or 4011'` while a machine is switched on";

/// Answers a capture, packet by packet; then says what is to be known of the answers and of what is not shown.
pub(super) async fn replay(settings: &Settings, path: &Path, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    anyhow::ensure!(!file.metadata()?.is_dir(), "{} is a folder; name a capture in it", path.display());
    let (known, unknown) = known(settings).await;
    let mut replay = Replay::new(site(settings, known)?);
    let (mut lines, mut count, mut failed) = (Vec::new(), 0_usize, Ok(()));
    let read = capture::datagrams(BufReader::new(file), |captured| {
        if let Some(line) = replay.datagram(captured) {
            count += 1;
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
    let contents = read.with_context(|| format!("cannot read {}", path.display()))?;
    let nothing = (count == 0).then(|| format!("Nothing in it is about booting; {WHAT_TO_CAPTURE}."));
    let mut remarks = left_out(&contents).into_iter().chain(nothing).chain(other_modes(&replay)).chain(unknown);
    if as_json {
        // The list is the result; this is about it.
        remarks.for_each(|remark| say(&plain(&format!("note: {remark}"))));
    } else {
        let (address, mode) = (replay.site().addresses.main, replay.site().mode.word());
        writeln!(out, "\n{}; answered as a server at {address} in mode {mode} would.", packets(contents.packets))?;
        remarks.try_for_each(|remark| writeln!(out, "{}", plain(&remark)))?;
    }
    Ok(())
}

fn site(settings: &Settings, known: Known) -> anyhow::Result<Site> {
    let dhcp = &settings.dhcp;
    // An interface that is off shows nothing; what the others would say is what is asked for.
    let modes = [dhcp.mode].into_iter().chain(dhcp.modes.values().copied());
    let addresses = addresses(settings);
    let base = settings.http.advertise.clone();
    let own_base = || format!("http://{}", SocketAddr::new(IpAddr::V4(addresses.main), settings.http.listen.port()));
    Ok(Site {
        mode: modes.into_iter().find(|mode| *mode != DhcpMode::Off).unwrap_or(DhcpMode::Off),
        modes: dhcp.modes.clone(),
        plan: Arc::clone(&dhcp.plan),
        quirks: dhcp.quirks.clone(),
        loaders: Arc::new(loaders::find(settings)?),
        base_url: base.unwrap_or_else(own_base),
        addresses,
        has_tftp: settings.tftp.is_some(),
        known,
    })
}

/// Where the server is: where it is said to listen or to be reached, and where this computer is, which may be another one.
/// It answers from the address that is advertised, or the one that is listened on, or the first that is served.
fn addresses(settings: &Settings) -> Addresses {
    let host = settings.http.advertise.as_deref().and_then(|url| url.split("://").nth(1)?.split(['/', ':']).next());
    let advertised: Option<Ipv4Addr> = host.and_then(|host| host.parse().ok());
    let listening = [Some(settings.http.listen), settings.tftp].into_iter().flatten().filter_map(|at| match at.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let named = advertised.into_iter().chain(settings.dhcp.listen).chain(listening);
    // Neither says where others find it.
    let named: BTreeSet<Ipv4Addr> = named.filter(|it| !it.is_unspecified() && !it.is_loopback()).collect();
    let all = interfaces::list().unwrap_or_default();
    let served = || match listen(&settings.dhcp) {
        Listen::Interfaces(wanted) => wanted.served(&all).first()?.addresses.first().map(|own| own.address),
        Listen::Address(address, _) => Some(address),
        Listen::Cable(_) => None,
    };
    let main = advertised.or_else(served).unwrap_or(Ipv4Addr::LOCALHOST);
    let are_named = !named.is_empty();
    let of_this_computer = all.iter().flat_map(|own| &own.addresses).map(|own| own.address);
    let own = named.into_iter().chain(of_this_computer).chain([main]).collect();
    Addresses { main, own, are_named }
}

/// What is known of machines here, as far as answers depend on it; and what to say when that is nothing.
async fn known(settings: &Settings) -> (Known, Option<String>) {
    let known = Known { assignments: settings.assignments.clone(), ..Known::default() };
    let ignores = known.assignments.unknown == UnknownPolicy::Ignore;
    if !ignores && !settings.dhcp.quirks.iter().any(Quirk::asks_hardware) {
        return (known, None);
    }
    let place = settings.fleet();
    let why = if place.is_absent() {
        format!("There is no fleet database here ({place})")
    } else {
        match read(&place).await {
            Ok((machines, ledger)) => return (Known { machines, ledger, ..known }, None),
            Err(error) => format!("The fleet database cannot be used ({})", chain(&error)),
        }
    };
    let counts = "machines that the site file does not name count as ones nobody knows, and quirks about makers and \
                  models for none";
    (known, Some(format!("{why}: {counts}.")))
}

async fn read(place: &DatabasePlace) -> Result<(Roster, Arc<Ledger>), FleetError> {
    let fleet = Fleet::look_on(place).await?;
    Ok((Roster::from_machines(fleet.machines().await?), fleet.book().read().await?))
}

/// The packets that may be about booting and are not shown, with what to do.
fn left_out(contents: &Contents) -> Vec<String> {
    let Contents { packets: _, cut, fragments, others, foreign } = contents;
    let said = |count: &u64, what: &str| (*count > 0).then(|| format!("Not shown: {} {what}.", packets(*count)));
    let of_link = |(link, count): (&i32, &u64)| {
        let what = format!(
            "of link type {link}, which cannot be read; capture on one Ethernet interface, or on `any` of Linux"
        );
        said(count, &what)
    };
    [
        said(cut, "of which the end was not captured; capture whole ones, with `tcpdump -s 0`"),
        said(
            fragments,
            "in fragments, which are not put together; capture nearer to the machine, where they are whole",
        ),
        said(others, "of something else than IPv4 (ARP or IPv6, for instance), over which nothing boots here"),
    ]
    .into_iter()
    .chain(foreign.iter().map(of_link))
    .flatten()
    .collect()
}

/// Which interfaces have a mode of their own, or that nobody can tell.
fn other_modes(replay: &Replay) -> Vec<String> {
    let Site { mode, modes, .. } = replay.site();
    match replay.modes() {
        Some(seen) => seen
            .iter()
            .filter(|(_, other)| *other != mode)
            .map(|(name, other)| {
                format!("What came by {name} is answered in mode {}, as the site file says.", other.word())
            })
            .collect(),
        None if modes.values().all(|other| other == mode) => Vec::new(),
        None => {
            let others: Vec<String> = modes.iter().map(|(name, other)| format!("{name}: {}", other.word())).collect();
            vec![format!(
                "The site file has modes for single interfaces ({}), and this capture does not name its interfaces; one of \
                 Wireshark or `dumpcap` does.",
                others.join(", ")
            )]
        }
    }
}

fn packets(count: u64) -> String {
    if count == 1 { "1 packet".to_owned() } else { format!("{count} packets") }
}

fn write_line(line: &Line, out: &mut dyn Write) -> std::io::Result<()> {
    let who = line.machine.map_or_else(|| line.from.ip().to_string(), |mac| mac.to_string());
    writeln!(out, "{:>9.3}  {who:<17}  {}", Duration::from_millis(line.at).as_secs_f64(), line.packet)?;
    match &line.answer {
        Some(answer) => writeln!(out, "{:>9}  {:<17}  -> {answer}", "", ""),
        None => Ok(()),
    }
}
