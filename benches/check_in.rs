//! What a fleet costs that checks in: five thousand machines, each once a minute, against the whole server, while a
//! rollout is under way, with its database in a file and in PostgreSQL. Says how much of a processor the server takes for
//! it, and how long the slowest hundredth of the machines waits for its answer.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../tests/it/support/large.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests' own")]
mod large;
#[path = "../tests/it/support/postgres.rs"]
#[allow(dead_code, clippy::redundant_pub_crate, reason = "the tests' own")]
mod postgres;
mod servers;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bivouac::model::digest::Digest;
use bivouac::store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use large::{PROFILE, noise, publish_large};
use postgres::Postgres;
use servers::{Running, serve};

const MACHINES: usize = 5000;

/// How often each of them checks in.
const INTERVAL: Duration = Duration::from_secs(60);

/// How many boot at a time.
const BOOTING: usize = 64;

/// The most of one processor that the server may take.
const SHARE: f64 = 0.10;

/// The longest that 99 of 100 machines may wait.
const WAIT: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    // `cargo bench` adds `--bench`.
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(60);
    let postgres = Postgres::start();
    let databases = [("SQLite", Some(None)), ("PostgreSQL", postgres.as_ref().map(|server| Some(server.database())))];
    let is_well = databases.into_iter().fold(true, |is_well, (name, database)| match database {
        Some(url) => {
            println!("{name}:");
            measure(url.as_deref(), Duration::from_secs(seconds)) && is_well
        }
        None => is_well,
    });
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether a server whose fleet is in that database, or in a file, is quick enough and takes little enough.
fn measure(database: Option<&str>, duration: Duration) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let place = database.map_or_else(String::new, |url| format!("database = \"{url}\"\n"));
    let site = format!("[fleet]\ncheck-in-interval = \"1m\"\n{place}[tftp]\nenabled = false\n");
    std::fs::write(folder.path().join("bivouac.toml"), site).unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let bundle = publish_large(&store, &noise(1000));
    publish_large(&store, &noise(2000));
    // Machines boot the first of the two releases, and a rollout brings the second.
    run(folder.path(), &["promote", PROFILE, "1"]);
    let server = start(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let machines = runtime.block_on(boot(server.address, bundle));
    run(folder.path(), &["rollout", "start", PROFILE, "--to", "2", "--batch", "10%", "--max-unavailable", "20%"]);
    runtime.block_on(go_on(&server, machines, duration))
}

/// A command of a person.
fn run(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bivouac"));
    command.args(arguments).arg("--state").arg(folder).current_dir(folder);
    assert!(command.status().unwrap().success(), "{arguments:?}");
}

/// The program as people run it.
fn start(folder: &Path) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bivouac"));
    command.args(["serve", "--http", "127.0.0.1:0", "--dhcp", "off", "--default-profile", PROFILE, "--site"]);
    serve(command.arg(folder.join("bivouac.toml")).arg("--state").arg(folder))
}

/// A machine that is up.
#[derive(Clone)]
struct Machine {
    token: String,
    facts: Arc<str>,
    list: Digest,
}

impl Machine {
    fn report(&self, rest: &str) -> String {
        format!("token {}\n{}{rest}", self.token, self.facts)
    }

    /// What it sends at its interval.
    fn short(&self) -> String {
        self.report(&format!("installed {}\n", self.list))
    }
}

/// Every machine asks for its script and checks in.
async fn boot(server: SocketAddr, bundle: Digest) -> Vec<Machine> {
    let facts: Arc<str> = format!(
        "bundle {bundle}\noverlay {}\nhostname pc\nkernel 6.18.1-0-lts\nmodloop mounted\nuptime 3600\n\
         memory 8000000 4000000\ncheck required vdi ok\ncheck required net ok\ncheck wanted printer failed no paper\n\
         user alice\nidle 30\n",
        Digest::of(b"")
    )
    .into();
    let (list, room) = (Digest::of(b"list"), Arc::new(Semaphore::new(BOOTING)));
    let (began, mut booting) = (Instant::now(), JoinSet::new());
    for number in 0..MACHINES {
        let (facts, room) = (Arc::clone(&facts), Arc::clone(&room));
        booting.spawn(async move {
            let _permit = room.acquire().await;
            let mac = format!("52:54:00:00:{:02x}:{:02x}", number >> 8, number & 255);
            let script =
                ask(server, &format!("GET /script?mac={mac} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
            let token = script.split("/check-in/").nth(1).unwrap().split(' ').next().unwrap().to_owned();
            let machine = Machine { token, facts, list };
            let answer = post(server, &machine.report(&format!("inventory {list}\nworld alpine-base\n"))).await;
            assert!(answer.contains("\r\n\r\nok\ninterval 60\n"), "{answer}");
            machine
        });
    }
    let machines = booting.join_all().await;
    println!("{MACHINES} machines booted and checked in within {:.1} s", began.elapsed().as_secs_f64());
    machines
}

/// Every machine checks in at its moment of each interval; whether the server is quick enough and takes little enough.
async fn go_on(server: &Running, machines: Vec<Machine>, duration: Duration) -> bool {
    let address = server.address;
    // What was still to be written of the boots is.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (before, began, mut running) = (server.processor_seconds(), tokio::time::Instant::now(), JoinSet::new());
    for (number, machine) in machines.into_iter().enumerate() {
        // Spread over the interval, neighbours far from each other.
        let first = INTERVAL * u32::try_from(number * 1931 % MACHINES).unwrap() / u32::try_from(MACHINES).unwrap();
        running.spawn(async move {
            let (mut at, mut waits) = (first, Vec::new());
            while at < duration {
                tokio::time::sleep_until(began + at).await;
                let report = machine.short();
                let asked = Instant::now();
                let answer = post(address, &report).await;
                waits.push(asked.elapsed());
                assert!(answer.contains("\r\n\r\nok\ninterval 60\n"), "{answer}");
                at += INTERVAL;
            }
            waits
        });
    }
    let mut waits: Vec<Duration> = running.join_all().await.concat();
    tokio::time::sleep_until(began + duration).await;
    let share = (server.processor_seconds() - before) / began.elapsed().as_secs_f64();
    waits.sort();
    let place = |part: f64| waits[((waits.len() as f64 * part) as usize).min(waits.len() - 1)].as_secs_f64() * 1e3;
    println!(
        "{} check-ins of {MACHINES} machines in {} s: {:.1} % of a processor (at most {:.0}); answered in {:.2} ms in the median, \
         {:.2} ms at the 99th percentile (at most {}), {:.2} ms at most; {} kB of memory",
        waits.len(),
        duration.as_secs(),
        share * 100.0,
        SHARE * 100.0,
        place(0.5),
        place(0.99),
        WAIT.as_millis(),
        place(1.0),
        server.memory(),
    );
    share <= SHARE && place(0.99) <= WAIT.as_secs_f64() * 1e3
}

/// Sends a report as busybox's `wget` does: on a connection of its own.
async fn post(server: SocketAddr, report: &str) -> String {
    let head = "POST /check-in HTTP/1.1\r\nHost: x\r\nUser-Agent: Wget\r\nConnection: close\r\n\
                Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ";
    ask(server, &format!("{head}{}\r\n\r\n{report}", report.len())).await
}

async fn ask(server: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
