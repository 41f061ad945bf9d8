//! TFTP side by side with tftpd-hpa, atftpd, dnsmasq and async-tftp: time and processor time at several window sizes, and
//! 256 loaders at once. The client is the same for all of them, and lives in this process; each server has one of its own.
//!
//! `scripts/bench tftp` starts it within a network namespace, because dnsmasq knows port 69 only, and names the folder
//! with the daemons.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

#[path = "servers/memory.rs"]
mod memory;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use async_tftp::packet::Error;
use async_tftp::server::{Handler, TftpServerBuilder};
use bivouac::model::net::TransferPorts;
use bivouac::serve::observe::{Observed, Observer};
use bivouac::serve::tftp::{Client, Files, Served, TftpServer};
use bivouac::wire::tftp::{Packet, Request};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

/// What is measured for time.
const LARGE: (&str, usize) = ("large", 16_000_000);

/// What a storm asks for.
const LOADER: (&str, usize) = ("loader", 1_000_000);

const STORM: usize = 256;

const BLOCK: u16 = 1468;

const ROUNDS: usize = 9;

const OURS: &str = "bivouac";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("serve"), Some(who)) => serve(&who),
        (Some("compare"), Some(daemons)) => compare(Path::new(&daemons)),
        _ => {
            println!("run by `scripts/bench tftp`");
            ExitCode::FAILURE
        }
    }
}

/// A server in a process of its own.
struct Server {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    /// Whether it knows windows; one that does not is measured with a window of one only.
    windows: bool,
}

fn compare(daemons: &Path) -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    for (name, size) in [LARGE, LOADER] {
        std::fs::write(folder.path().join(name), content(size)).unwrap();
    }
    // The daemons give up root and must still read it.
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), all).unwrap();
    let mut servers = servers(daemons, folder.path());
    let mut good = true;
    for window in [1, 4, 16] {
        good &= at_window(&servers, window);
    }
    good &= storm(&servers);
    for server in &mut servers {
        // It may have ended by itself.
        let _ = server.child.kill();
        let _ = server.child.wait();
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn servers(daemons: &Path, folder: &Path) -> Vec<Server> {
    let own = |name: &'static str| {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["serve", name])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Server { name, child, address: line.trim().parse().unwrap(), windows: true }
    };
    let daemon = |name, port: u16, windows, command: &mut Command| {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Server { name, child, address: (Ipv4Addr::LOCALHOST, port).into(), windows }
    };
    let root = |name: &str| -> PathBuf { daemons.join("usr/sbin").join(name) };
    vec![
        own(OURS),
        own("async-tftp"),
        daemon(
            "tftpd-hpa",
            6901,
            false,
            Command::new(root("in.tftpd"))
                .args(["--foreground", "--address", "127.0.0.1:6901", "--user", "nobody", "--secure"])
                .arg(folder),
        ),
        daemon(
            "atftpd",
            6902,
            true,
            Command::new(root("atftpd"))
                .args(["--daemon", "--no-fork", "--bind-address", "127.0.0.1", "--port", "6902", "--verbose=0"])
                .args(["--maxthread", "1000", "--user", "nobody.nogroup", "--logfile", "/dev/null"])
                .arg(folder),
        ),
        daemon(
            "dnsmasq",
            69,
            false,
            Command::new("dnsmasq")
                .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=nobody", "--pid-file"])
                .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--enable-tftp", "--tftp-max=1000"])
                .arg(format!("--tftp-root={}", folder.display())),
        ),
    ]
}

/// Bytes that tell when one is lost or out of place.
fn content(size: usize) -> Vec<u8> {
    (0..size).map(|index| (index.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

/// One client, the large file, in turn from each server.
fn at_window(servers: &[Server], window: u16) -> bool {
    let servers: Vec<&Server> = servers.iter().filter(|server| window == 1 || server.windows).collect();
    let expected = content(LARGE.1);
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut processor: BTreeMap<&str, f64> = BTreeMap::new();
    for round in 0..=ROUNDS {
        for server in &servers {
            let before = processor_seconds(&server.child);
            let started = Instant::now();
            let received = download(server.address, LARGE.0, window).expect(server.name);
            let took = started.elapsed().as_secs_f64();
            assert!(received == expected, "{} sends something else", server.name);
            // The first round is for the caches.
            if round > 0 {
                times.entry(server.name).or_default().push(took);
                *processor.entry(server.name).or_default() += processor_seconds(&server.child) - before;
            }
        }
    }
    let rate: BTreeMap<&str, f64> = times.into_iter().map(|(name, times)| (name, 16.0 / median(times))).collect();
    println!("windowsize {window}, blksize {BLOCK}, 16 MB, median of {ROUNDS} rounds:");
    for server in &servers {
        let times = rate[OURS] / rate[server.name];
        let cost = match processor[server.name] / ROUNDS as f64 / 16.0 * 1000.0 {
            // tftpd-hpa has a process for each transfer, and the system forgets what it used.
            0.0 => "   ?".to_owned(),
            cost => format!("{cost:4.1}"),
        };
        println!(
            "  {:<10} {:>7.1} MB/s, {cost} ms of processor time per MB; bivouac is {times:.2} times as fast",
            server.name, rate[server.name]
        );
    }
    let (wanted, peers): (f64, &[&str]) =
        if window == 1 { (1.0, &["tftpd-hpa", "atftpd", "dnsmasq"]) } else { (2.0, &["atftpd"]) };
    let best = peers.iter().map(|name| rate[name]).fold(0.0, f64::max);
    let ratio = rate[OURS] / best;
    println!("  ratio to the best of {}: {ratio:.2} (at least {wanted})", peers.join(", "));
    ratio >= wanted
}

/// All clients at once, a loader each, as UEFI firmware asks for it.
fn storm(servers: &[Server]) -> bool {
    let expected = Arc::new(content(LOADER.1));
    let mut good = true;
    println!("{STORM} loaders of 1 MB at once, windowsize 4:");
    for server in servers {
        let before = processor_seconds(&server.child);
        let start = Arc::new(Barrier::new(STORM + 1));
        let clients: Vec<_> = (0..STORM)
            .map(|_| {
                let (start, address, expected) = (Arc::clone(&start), server.address, Arc::clone(&expected));
                thread::spawn(move || {
                    start.wait();
                    download(address, LOADER.0, 4).is_some_and(|received| received == *expected)
                })
            })
            .collect();
        start.wait();
        let started = Instant::now();
        let lost = clients.into_iter().map(|client| client.join().unwrap()).filter(|whole| !whole).count();
        let (took, cost) = (started.elapsed().as_secs_f64(), processor_seconds(&server.child) - before);
        println!("  {:<10} {took:>6.2} s, {cost:>5.2} s of processor time, {lost} lost", server.name);
        good &= server.name != OURS || lost == 0;
    }
    good
}

/// Reads a file as firmware does (RFC 7440); nothing when the server gives up or has been silent for long.
fn download(server: SocketAddr, name: &str, window: u16) -> Option<Vec<u8>> {
    const PATIENCE: u32 = 10;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let window_size = (window > 1).then_some(window);
    let request =
        Packet::Read(Request { block_size: Some(BLOCK), wants_size: true, window_size, ..Request::new(name) }).encode();
    socket.send_to(&request, server).unwrap();
    let (mut received, mut have, mut unanswered, mut silent) = (Vec::new(), 0u16, 0, 0);
    let (mut window, mut transfer) = (1, None);
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer) {
            Ok(it) => it,
            Err(error) if error.kind() == ErrorKind::WouldBlock && silent < PATIENCE => {
                silent += 1;
                match transfer {
                    Some(transfer) => socket.send_to(&Packet::Ack(have).encode(), transfer).unwrap(),
                    None => socket.send_to(&request, server).unwrap(),
                };
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        if *transfer.get_or_insert(from) != from {
            continue;
        }
        silent = 0;
        match buffer.get(..length)? {
            [0, 3, high, low, data @ ..] => {
                let block = u16::from_be_bytes([*high, *low]);
                if block != have.wrapping_add(1) {
                    // Something is missing, or came twice: say once what there is.
                    if unanswered != u16::MAX {
                        socket.send_to(&Packet::Ack(have).encode(), from).unwrap();
                        unanswered = u16::MAX;
                    }
                    continue;
                }
                received.extend_from_slice(data);
                have = block;
                unanswered = if unanswered == u16::MAX { 1 } else { unanswered + 1 };
                let done = data.len() < usize::from(BLOCK);
                if done || unanswered == window {
                    unanswered = 0;
                    socket.send_to(&Packet::Ack(have).encode(), from).unwrap();
                }
                if done {
                    return Some(received);
                }
            }
            other => match Packet::decode(other).ok()? {
                Packet::OptionAck(options) => {
                    let agreed = options.iter().find(|(name, _)| name.eq_ignore_ascii_case("windowsize"));
                    window = agreed.map_or(1, |(_, value)| value.parse().unwrap());
                    socket.send_to(&Packet::Ack(0).encode(), from).unwrap();
                }
                _ => return None,
            },
        }
    }
}

/// What a process and its children that ended have used so far (proc(5), fields 14 to 17 of `stat`).
fn processor_seconds(child: &Child) -> f64 {
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    // The name in the second field may hold anything.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = fields.split(' ').skip(11).take(4).map(|field| field.parse::<u64>().unwrap()).sum();
    ticks as f64 / TICKS
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A server from memory in this process, which prints its address.
fn serve(who: &str) -> ExitCode {
    let memory = Memory([LARGE, LOADER].map(|(name, size)| (name, Bytes::from(content(size)))));
    match who {
        OURS => ours(memory),
        _ => peer(memory),
    }
    ExitCode::SUCCESS
}

struct Memory([(&'static str, Bytes); 2]);

impl Memory {
    fn find(&self, path: &str) -> Option<Bytes> {
        self.0.iter().find(|(name, _)| *name == path).map(|(_, content)| content.clone())
    }
}

impl Files for Memory {
    fn open(&self, _: Client, path: &str) -> Option<Served> {
        self.find(path).map(|content| Served { content, step: None, mac: None })
    }
}

impl Observer for Memory {
    fn observe(&self, _: Observed) {}
}

fn ours(files: Memory) {
    memory::as_the_program_does();
    let files = Arc::new(files);
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    // As in the program: a runtime for everything, and a thread for TFTP.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _context = runtime.enter();
    let server = TftpServer::bind(listen, TransferPorts::Own, Arc::<Memory>::clone(&files) as _, files as _).unwrap();
    println!("{}", server.address().unwrap());
    thread::spawn(move || server.run_here(CancellationToken::new()).unwrap()).join().unwrap();
}

impl Handler for Memory {
    type Reader = futures_lite::io::Cursor<Bytes>;
    type Writer = futures_lite::io::Sink;

    async fn read_req_open(&mut self, _client: &SocketAddr, path: &Path) -> Result<(Self::Reader, Option<u64>), Error> {
        let content = path.to_str().and_then(|path| self.find(path)).ok_or(Error::FileNotFound)?;
        let size = content.len() as u64;
        Ok((futures_lite::io::Cursor::new(content), Some(size)))
    }

    async fn write_req_open(
        &mut self,
        _client: &SocketAddr,
        _path: &Path,
        _size: Option<u64>,
    ) -> Result<Self::Writer, Error> {
        Err(Error::IllegalOperation)
    }
}

fn peer(memory: Memory) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    println!("{}", socket.local_addr().unwrap());
    let server = TftpServerBuilder::with_handler(memory).std_socket(socket).unwrap();
    futures_lite::future::block_on(async { server.build().await.unwrap().serve().await.unwrap() });
}
