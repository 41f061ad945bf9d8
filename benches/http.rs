//! What HTTP costs, against nginx with sendfile, in turn, each in a process of its own: processor seconds per GB of a
//! kernel-sized file of 150 MB over 1, 8 and 64 connections and by TLS, boot scripts per second against the same bytes
//! as a file, and the memory of a thousand transfers that nobody reads on.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../tests/it/support/large.rs"]
#[allow(unreachable_pub, reason = "the tests' own")]
mod large;
mod servers;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bivouac::fleet::Fleet;
use bivouac::model::name::ChannelName;
use bivouac::model::net::{DhcpMode, TransferPorts};
use bivouac::model::plan::{Assignment, Assignments};
use bivouac::serve::dhcp::Listen;
use bivouac::serve::given::Given;
use bivouac::serve::http::tls;
use bivouac::serve::rules::{InForce, Rules};
use bivouac::serve::{self, App, Server, Stop};
use bivouac::store::Store;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use large::{LARGE, PROFILE, noise, publish_large};
use servers::{Running, median, nginx, spawn};

const SIZE: usize = 150_000_000;

/// How many connections, and how many times each of them loads the file.
const LOADS: [(usize, usize); 3] = [(1, 16), (8, 2), (64, 1)];

/// How many programs load it by TLS at once.
const TLS_CLIENTS: usize = 8;

const ROUNDS: usize = 5;

/// How many connections ask for scripts, and for how long.
const ASKING: usize = 16;
const ASKING_FOR: Duration = Duration::from_secs(1);

/// How many transfers are open when memory is looked at.
const OPEN: usize = 1000;

/// How much more than nginx a GB may cost.
const COST: f64 = 1.5;

/// How many scripts there are at least for each file of nginx.
const SCRIPTS: f64 = 0.8;

/// How much memory may be taken, without what is mapped, in kB.
const MEMORY: u64 = 64 << 10;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (Some("serve"), Some(folder), tls) => {
            serve(Path::new(&folder), tls.is_some());
            ExitCode::SUCCESS
        }
        _ => compare(),
    }
}

fn compare() -> ExitCode {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = publish(folder);
    certify(folder);
    let start = |more: &[&str]| {
        spawn(Command::new(std::env::current_exe().unwrap()).args(["serve", folder.to_str().unwrap()]).args(more))
    };

    let (ours, peer) = (start(&[]), nginx(folder, "", "default_type text/plain;"));
    let mut is_good = loads(&ours, &peer, &file);
    is_good &= scripts(&ours, &peer, folder);
    is_good &= memory(&start(&[]), &nginx(folder, "", ""), &file);
    let peer = nginx(
        folder,
        "ssl",
        &format!("ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;", folder.display()),
    );
    by_tls(&start(&["tls"]), &peer, &file);
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Publishes a bundle with a large file, which is in the folder too; returns its path.
fn publish(folder: &Path) -> String {
    let content = noise(SIZE);
    let file = format!("b/{}/{LARGE}", publish_large(&Store::open(&folder.join("store")).unwrap(), &content));
    std::fs::create_dir_all(folder.join(&file).parent().unwrap()).unwrap();
    std::fs::write(folder.join(&file), &content).unwrap();
    format!("/{file}")
}

/// Makes a certificate, as a site would.
fn certify(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=bench", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
}

/// Everything `bivouac serve` has, in a process of its own.
#[tokio::main]
async fn serve(folder: &Path, with_tls: bool) {
    let any = "127.0.0.1:0".parse().unwrap();
    let tls = with_tls.then(|| tls::load(&folder.join("cert.pem"), &folder.join("key.pem")).unwrap());
    let follow = Assignment { profile: PROFILE.parse().unwrap(), channel: ChannelName::default_channel() };
    let options = serve::Options {
        http: any,
        https: with_tls.then_some(any),
        transfers: 2 * OPEN,
        tftp: None,
        tftp_ports: TransferPorts::default(),
        dhcp: Listen::Address(std::net::Ipv4Addr::LOCALHOST, DhcpMode::Off),
        leases: folder.join("leases"),
        dhcp_port: 0,
        pxe_port: 0,
        given: Given::default(),
        rules: InForce::new(Rules {
            assignments: Assignments { fallback: Some(follow), ..Assignments::default() },
            boot_attempts: 3,
            tls,
            ..Rules::default()
        }),
        mirror: None,
        cluster: None,
    };
    let store = Store::open(&folder.join("store")).unwrap();
    let state = tempfile::tempdir_in(folder).unwrap();
    let fleet = Fleet::open(&state.path().join("fleet.sqlite").into()).await.unwrap();
    let app = Arc::new(App::new(store, fleet, &options).unwrap());
    let server = Server::bind(app, options).await.unwrap();
    let lines = server.addresses();
    let address = |what: &str| lines.iter().find_map(|line| line.strip_prefix(what).map(str::to_owned));
    println!("{}", address("HTTPS on ").or_else(|| address("HTTP on ")).unwrap());
    server.run(Stop::default()).await.unwrap();
}

/// Processor seconds per GB over each number of connections; whether they are few enough.
fn loads(ours: &Running, peer: &Running, file: &str) -> bool {
    let mut is_good = true;
    load(ours, file, 1, 1);
    load(peer, file, 1, 1);
    for (connections, times) in LOADS {
        let (mut our_costs, mut peer_costs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            our_costs.push(load(ours, file, connections, times));
            peer_costs.push(load(peer, file, connections, times));
        }
        let (ours, peer) = (median(our_costs), median(peer_costs));
        let ratio = ours / peer;
        println!(
            "150 MB over {connections} connections, median of {ROUNDS} rounds, processor seconds per GB: bivouac {ours:.3}, nginx {peer:.3}; ratio {ratio:.2} (at most {COST})"
        );
        is_good &= ratio <= COST;
    }
    is_good
}

/// Processor seconds per GB of one round.
fn load(server: &Running, file: &str, connections: usize, times: usize) -> f64 {
    let before = server.processor_seconds();
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let (address, file) = (server.address, file.to_owned());
            thread::spawn(move || {
                let mut connection = Connection::open(address);
                for _ in 0..times {
                    assert_eq!(connection.get(&file), SIZE);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    (server.processor_seconds() - before) / ((SIZE * connections * times) as f64 / 1e9)
}

/// A connection that is kept, as iPXE keeps one.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: vec![0; 256 << 10] }
    }

    fn ask(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: iPXE/1.21.1\r\n\r\n");
        self.stream.write_all(request.as_bytes()).unwrap();
    }

    /// The length of a body and how much of it has come with the head of a good answer.
    fn head(&mut self) -> (usize, usize) {
        let mut filled = 0;
        let end = loop {
            let count = self.stream.read(&mut self.buffer[filled..]).unwrap();
            assert!(count > 0, "the server hung up");
            filled += count;
            if let Some(end) = self.buffer[..filled].windows(4).position(|it| it == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let (_, rest) = head.split_once("content-length: ").unwrap();
        (rest.split("\r\n").next().unwrap().parse().unwrap(), filled - end)
    }

    /// Loads a file and throws it away; returns its length.
    fn get(&mut self, path: &str) -> usize {
        self.ask(path);
        let (length, mut come) = self.head();
        while come < length {
            let count = self.stream.read(&mut self.buffer).unwrap();
            assert!(count > 0, "the server hung up");
            come += count;
        }
        length
    }
}

/// Scripts per second, against the same bytes as a file; whether there are enough.
fn scripts(ours: &Running, peer: &Running, folder: &Path) -> bool {
    let own = |number: usize| format!("/script?mac=52:54:00:00:00:{number:02x}&uuid=&serial=&platform=efi&arch=x86_64");
    let mut is_good = true;
    for (name, path) in [("/boot.ipxe", None), ("/script", Some(&own))] {
        let asked = |number: usize| path.map_or_else(|| name.to_owned(), |path| path(number));
        let body = body(ours.address, &asked(0));
        std::fs::write(folder.join("script.ipxe"), &body).unwrap();
        let (mut our_rates, mut peer_rates) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            our_rates.push(rate(ours, &asked));
            peer_rates.push(rate(peer, &|_| "/script.ipxe".to_owned()));
        }
        let (ours, peer) = (median(our_rates), median(peer_rates));
        let ratio = ours / peer;
        println!(
            "{name} of {} bytes over {ASKING} connections, median of {ROUNDS} rounds, per second: bivouac {ours:.0}, nginx {peer:.0}; ratio {ratio:.2} (at least {SCRIPTS})",
            body.len()
        );
        is_good &= ratio >= SCRIPTS;
    }
    is_good
}

/// The body of one answer.
fn body(address: SocketAddr, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
    answer.split_off(end)
}

/// How many answers all connections get in a second.
fn rate(server: &Running, path: &dyn Fn(usize) -> String) -> f64 {
    let (address, end) = (server.address, Instant::now() + ASKING_FOR);
    let clients: Vec<_> = (0..ASKING)
        .map(|number| {
            let path = path(number);
            thread::spawn(move || {
                let mut connection = Connection::open(address);
                let mut answers = 0;
                while Instant::now() < end {
                    connection.get(&path);
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    let answers: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    f64::from(answers) / ASKING_FOR.as_secs_f64()
}

/// Memory with a thousand transfers that have begun and are not read on; whether it is little enough.
fn memory(ours: &Running, peer: &Running, file: &str) -> bool {
    let [ours, peer] = [ours, peer].map(|server| {
        let before = server.memory();
        let mut connections: Vec<_> = (0..OPEN).map(|_| Connection::open(server.address)).collect();
        connections.iter_mut().for_each(|connection| {
            connection.buffer.truncate(16 << 10);
            connection.ask(file);
        });
        connections.iter_mut().for_each(|connection| assert_eq!(connection.head().0, SIZE));
        // Each was sent as much as its socket takes; nothing else happens until somebody reads.
        (before, server.memory())
    });
    println!(
        "{OPEN} transfers open, resident memory without mapped files, kB: bivouac {} (at most {MEMORY}; {} before), nginx {} ({} before)",
        ours.1, ours.0, peer.1, peer.0
    );
    ours.1 <= MEMORY
}

/// Processor seconds per GB by TLS.
fn by_tls(ours: &Running, peer: &Running, file: &str) {
    let cost = |server: &Running| {
        let before = server.processor_seconds();
        let url = format!("https://{}{file}", server.address);
        let load = || {
            Command::new("curl")
                .args(["--silent", "--insecure", "--http1.1", "--fail", "-o", "/dev/null", &url])
                .spawn()
        };
        let clients: Vec<_> = (0..TLS_CLIENTS).map(|_| load().unwrap()).collect();
        clients.into_iter().for_each(|mut client| assert!(client.wait().unwrap().success()));
        (server.processor_seconds() - before) / ((SIZE * TLS_CLIENTS) as f64 / 1e9)
    };
    let (mut our_costs, mut peer_costs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_costs.push(cost(ours));
        peer_costs.push(cost(peer));
    }
    let (ours, peer) = (median(our_costs), median(peer_costs));
    println!(
        "150 MB by TLS over {TLS_CLIENTS} connections, median of {ROUNDS} rounds, processor seconds per GB: bivouac {ours:.3}, nginx {peer:.3}; ratio {:.2}",
        ours / peer
    );
}
