//! How many exchanges a second the DHCP server holds, what each costs and how long it takes, side by side with Kea, ISC
//! dhcpd, dnsmasq and a loop that answers without thinking. Run by `scripts/bench dhcp`, which makes the network namespaces
//! and the state folder.
//!
//! perfdhcp plays the clients, behind a relay: it asks by unicast from the address it has itself.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../servers/cost.rs"]
mod cost;
mod empty_loop;
mod perfdhcp;
mod servers;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use self::servers::Running;

/// The server's address; the clients' is the next one.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);

/// A rate counts as held when this share of requests or less was not answered within a second.
const MOST_DROPS: f64 = 0.01;

/// The rate at which latency and cost are compared.
const CALM: u32 = 500;

/// Turns at [`CALM`] of each server. Computers are quicker at one moment than at the next, so turns are short and many.
const TURNS: usize = 15;

/// Seconds of one turn.
const TURN: u32 = 2;

/// Seconds of a run at another rate.
const SECONDS: u32 = 4;

/// Above this nobody here gets.
const HIGHEST: u32 = 200_000;

/// After this nothing is left to do for what was asked before: not to write down, not to sweep up.
const SETTLED: Duration = Duration::from_secs(5);

/// How long a server may go on after its turn, so that what it does behind the answers is not left to others to pay.
const AFTER: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["loop"] => empty_loop::answer_without_thinking(),
        [servers, clients, folder, ref parts @ ..] => {
            let lab = |number| Lab {
                server: format!("{servers}{number}"),
                clients: format!("{clients}{number}"),
                site: folder.into(),
                folder: Path::new(folder).join(format!("run{number}")),
            };
            let labs: [Lab; LABS] = std::array::from_fn(lab);
            let is_wanted = |part| parts.is_empty() || parts.contains(&part);
            let full = !is_wanted("full") || compare(&labs, Mode::Full);
            let proxy = !is_wanted("proxy") || compare(&labs, Mode::Proxy);
            if full & proxy { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        _ => panic!("run by scripts/bench dhcp"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Addresses from a pool, four packets an exchange.
    Full,
    /// Boot information for PXE clients, two packets an exchange.
    Proxy,
}

/// How many pairs of namespaces there are: one for each server.
const LABS: usize = 5;

/// Two namespaces with a wire between them, and folders: the site of what is published, and one for all that is written.
struct Lab {
    server: String,
    clients: String,
    site: PathBuf,
    folder: PathBuf,
}

/// What was measured of a server.
#[derive(Default)]
struct Figures {
    /// The highest rate held, exchanges a second.
    rate: f64,
    /// Whether more was not sent.
    is_unbounded: bool,
    /// Questions a second when perfdhcp asks as fast as it can, and the share of them that was answered.
    flood: (f64, f64),
    /// Processor microseconds of an exchange, one for each turn.
    costs: Vec<f64>,
    /// The 99th percentile of the time to an answer in milliseconds, one for each turn.
    delays: Vec<f64>,
}

/// Measures every server and prints the figures; whether ours is as good as it should be.
fn compare(labs: &[Lab; LABS], mode: Mode) -> bool {
    let names: &[&'static str] = match mode {
        Mode::Full => &["bivouac", "Kea", "ISC dhcpd", "dnsmasq", "empty loop"],
        Mode::Proxy => &["bivouac", "dnsmasq", "empty loop"],
    };
    let mut figures: Vec<Figures> = names.iter().map(|_| Figures::default()).collect();
    for ((name, lab), figures) in names.iter().zip(labs).zip(&mut figures) {
        (figures.rate, figures.is_unbounded) = lab.highest_rate(name, mode);
        if mode == Mode::Proxy {
            figures.flood = lab.flood(name);
        }
    }
    // All of them run, and each sleeps while it is another's turn.
    let servers: Vec<(&Lab, Running)> =
        names.iter().zip(labs).map(|(name, lab)| (lab, lab.start(name, mode))).collect();
    for (lab, _) in &servers {
        // Everything that happens once is behind it then.
        lab.run(mode, CALM, 1, false);
    }
    thread::sleep(SETTLED);
    servers.iter().for_each(|(_, running)| running.pause());
    for _ in 0..TURNS {
        for ((lab, running), figures) in servers.iter().zip(&mut figures) {
            let before = running.processor_seconds();
            running.go_on();
            let run = lab.run(mode, CALM, TURN, true);
            thread::sleep(AFTER);
            running.pause();
            figures.costs.push((running.processor_seconds() - before) * 1e6 / run.exchanges);
            figures.delays.push(percentile(run.delays, 0.99));
        }
    }
    servers.into_iter().for_each(|(_, running)| running.stop());
    report(mode, names, &figures)
}

impl Lab {
    /// The highest rate that a server holds, to a twentieth, and whether it is only that perfdhcp sends no more. The server
    /// begins anew each time: no site turns all its machines on ten times in a minute, and whoever asks as often boots in a
    /// circle.
    fn highest_rate(&self, name: &'static str, mode: Mode) -> (f64, bool) {
        let (mut held, mut achieved, mut lost) = (0, 0.0_f64, HIGHEST);
        let mut next = CALM;
        while next < lost && f64::from(lost - held) > f64::from(held) / 20.0 && lost > 20 {
            let running = self.start(name, mode);
            let run = self.run(mode, next, SECONDS, false);
            running.stop();
            if run.drops > MOST_DROPS {
                lost = next;
            } else if lost == HIGHEST && run.rate < achieved * 1.05 {
                // Twice as much was asked of perfdhcp, and no more came of it.
                return (achieved.max(run.rate), true);
            } else {
                held = next;
                achieved = achieved.max(run.rate);
            }
            next = if lost == HIGHEST { next * 2 } else { held + (lost - held) / 2 };
        }
        (achieved, false)
    }
}

impl Lab {
    /// Asks a proxy as fast as perfdhcp can: how often that is in a second, and which share was answered. perfdhcp is too
    /// busy then to take all answers, so they are counted where they come in.
    fn flood(&self, name: &'static str) -> (f64, f64) {
        let running = self.start(name, Mode::Proxy);
        let before = self.come_back();
        let run = self.run(Mode::Proxy, HIGHEST, SECONDS, false);
        thread::sleep(SETTLED);
        let answered = self.come_back() - before;
        running.stop();
        (run.asked / f64::from(SECONDS), answered / run.asked)
    }
}

fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    // A server that answers nobody takes forever.
    values.get(((values.len() as f64) * share) as usize).or(values.last()).copied().unwrap_or(f64::INFINITY)
}

/// Prints the figures, each with ours as a ratio to it, and says which targets are missed.
fn report(mode: Mode, names: &[&str], figures: &[Figures]) -> bool {
    let median = |values: &[f64]| percentile(values.to_vec(), 0.5);
    let cost = |figures: &Figures| median(&figures.costs);
    let delay = |figures: &Figures| median(&figures.delays);
    let ours = &figures[0];
    println!(
        "{}; medians of {TURNS} turns at {CALM}/s; in brackets ours as a ratio to it",
        match mode {
            Mode::Full => "full mode: DISCOVER, OFFER, REQUEST, ACK",
            Mode::Proxy => "proxy mode: DISCOVER, OFFER of a PXE client",
        }
    );
    println!("{:12} {:>18} {:>22} {:>26}", "", "exchanges/s", "CPU µs an exchange", format!("p99 ms at {CALM}/s"));
    for (name, of) in names.iter().zip(figures) {
        let with = |value: f64, ratio: f64| format!("{value:.2} ({ratio:.2})");
        println!(
            "{name:12} {:>18} {:>22} {:>26}",
            format!("{}{:.0} ({:.2})", if of.is_unbounded { ">" } else { "" }, of.rate, ours.rate / of.rate),
            with(cost(of), cost(ours) / cost(of)),
            with(delay(of), delay(ours) / delay(of)),
        );
    }
    for (name, of) in names.iter().zip(figures).filter(|_| mode == Mode::Proxy) {
        let (asked, share) = of.flood;
        println!("{name:12} {:>18} {:>22}", format!("{asked:.0} asked"), format!("{:.2} % answered", share * 100.0));
    }
    let targets = match mode {
        Mode::Full => vec![
            ("the rate of Kea and ISC dhcpd", ours.is_unbounded || ours.rate >= figures[1].rate.max(figures[2].rate)),
            ("half their cost", cost(ours) <= 0.5 * cost(&figures[1]).min(cost(&figures[2]))),
            ("1.5 times the delay of the empty loop", delay(ours) < 1.5 * delay(&figures[4])),
        ],
        Mode::Proxy => vec![
            ("whatever perfdhcp sends", ours.flood.1 >= 1.0 - MOST_DROPS),
            ("the cost of dnsmasq", cost(ours) <= cost(&figures[1])),
        ],
    };
    for (target, is_met) in &targets {
        println!("{}: {target}", if *is_met { "met" } else { "MISSED" });
    }
    println!();
    targets.iter().all(|(_, is_met)| *is_met)
}
