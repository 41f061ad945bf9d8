//! What HTTP costs, against nginx with sendfile, in turn, each in a process of its own: processor seconds per GB of a
//! kernel-sized file of 150 MB over 1, 8 and 64 connections and by TLS, boot scripts per second against the same bytes
//! as a file, and the memory of a thousand transfers that nobody reads on. Both have as many threads as there are
//! processors, and write no log.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../tests/it/support/large.rs"]
#[allow(unreachable_pub, reason = "the tests' own")]
mod large;
#[path = "servers/memory.rs"]
mod memory;
mod servers;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bivouac::fleet::Fleet;
use bivouac::model::database::DatabasePlace;
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
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use large::{LARGE, PROFILE, noise, publish_large};
use servers::{Running, median, nginx, spawn};

const SIZE: usize = 150_000_000;

/// How many connections, and how many times each of them loads the file.
const LOADS: [(usize, usize); 3] = [(1, 16), (8, 2), (64, 1)];

/// How many programs load it by TLS at once.
const TLS_CLIENTS: usize = 8;

const ROUNDS: usize = 5;

/// How often a fleet is turned on at once.
const STORMS: usize = 9;

/// How often our server is started again, and how often the fleet is turned on each time: where its memory lies differs
/// from one start to the next.
const STARTS: (usize, usize) = (3, 3);

/// How many machines ask for their scripts: the largest fleet this is for.
const MACHINES: usize = 5_000;

/// How often each of them asks in a round; none asks again before all others have.
const TIMES: usize = 4;

/// How far apart those are who ask one after the other when they come in another order than before; it has no divisor in
/// common with the number of machines.
const STRIDE: usize = 1_237;

/// Over how many connections.
const ASKING: usize = 16;

/// A server that hardly used a processor for so long is idle: what it writes rests for no longer in between.
const IDLE: Duration = Duration::from_millis(2200);

/// What a server uses of the time that has nothing to do, at most: it looks for changes now and then.
const HARDLY: f64 = 0.01;

/// The database of the servers that are asked for scripts.
const KNOWN: &str = "known";

/// How many transfers are open when memory is looked at.
const OPEN: usize = 1000;

/// How much more than nginx a GB may cost.
const COST: f64 = 1.5;

/// How many scripts there are at least for each file of nginx.
const SCRIPTS: f64 = 0.8;

/// How much memory may be taken, without what is mapped, in kB.
const MEMORY: u64 = 64 << 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", folder, state, tls @ ..] => {
            serve(Path::new(folder), state, !tls.is_empty());
            ExitCode::SUCCESS
        }
        parts => compare(parts),
    }
}

/// Compares these parts of it: `loads`, `scripts`, `restarted`, `memory`, `tls`; all when none is named.
fn compare(parts: &[&str]) -> ExitCode {
    let is_wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = publish(folder);
    certify(folder);
    let start = |more: &[&str]| {
        spawn(Command::new(std::env::current_exe().unwrap()).args(["serve", folder.to_str().unwrap()]).args(more))
    };

    let plain = || nginx(folder, "", "default_type text/plain;");
    let certificate = format!("ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;", folder.display());
    let by_ssl = || nginx(folder, "ssl", &format!("{certificate} ssl_protocols TLSv1.2 TLSv1.3;"));
    let mut is_good = true;
    if is_wanted("loads") {
        is_good &= loads(&start(&["loads"]), &plain(), &file);
    }
    if is_wanted("scripts") {
        is_good &= scripts(&start(&[KNOWN]), &plain(), folder);
    }
    if is_wanted("restarted") {
        restarted(&|| start(&[KNOWN]), &plain(), folder);
    }
    if is_wanted("memory") {
        is_good &= memory("in the clear", &start(&["clear"]), &plain(), &file, &|stream| stream);
        for (state, name, version) in [("tls12", "by TLS 1.2", &TLS12), ("tls13", "by TLS 1.3", &TLS13)] {
            let client = client(&folder.join("cert.pem"), version);
            is_good &= memory(name, &start(&[state, "tls"]), &by_ssl(), &file, &|stream| secured(&client, stream));
        }
    }
    if is_wanted("tls") {
        by_tls(&start(&["loads", "tls"]), &by_ssl(), &file);
    }
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
        .args(["-subj", "/CN=bench", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
}

/// Everything `bivouac serve` has, in a process of its own, with the database of that name.
#[tokio::main]
async fn serve(folder: &Path, state: &str, with_tls: bool) {
    memory::as_the_program_does();
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
    let fleet = Fleet::open(&database_of(folder, state)).await.unwrap();
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
struct Connection<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl Connection<TcpStream> {
    fn open(address: SocketAddr) -> Self {
        Self { stream: connect(address), buffer: vec![0; 256 << 10] }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Who speaks this version of TLS with whoever has the certificate.
fn client(certificate: &Path, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn secured(client: &Arc<ClientConfig>, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    let server = ServerName::from(stream.peer_addr().unwrap().ip());
    StreamOwned::new(ClientConnection::new(Arc::clone(client), server).unwrap(), stream)
}

impl<S: Read + Write> Connection<S> {
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

/// Scripts per second when a fleet is turned on at once, against the same bytes as a file; whether there are enough.
fn scripts(ours: &Running, peer: &Running, folder: &Path) -> bool {
    let first = vec!["/boot.ipxe".to_owned(); MACHINES];
    let own: Vec<String> = (0..MACHINES).map(script_of).collect();
    let first_ratio = report("/boot.ipxe", &rounds(&first, STORMS, ours, peer, folder));
    // From here on all of them are known.
    storm(ours, &own);
    let own_ratio = report("/script", &rounds(&own, STORMS, ours, peer, folder));
    every_boot_is_noted(ours, &own, folder);
    println!("at least {SCRIPTS} of each");
    first_ratio.min(own_ratio) >= SCRIPTS
}

/// The same of servers that have read the fleet from their database, and of machines that come in another order than they
/// first did: of none of them anything is in a cache. Nothing is asked of this.
fn restarted(start: &dyn Fn() -> Running, peer: &Running, folder: &Path) {
    let own: Vec<String> = (0..MACHINES).map(|number| script_of(number * STRIDE % MACHINES)).collect();
    storm(&start(), &(0..MACHINES).map(script_of).collect::<Vec<_>>());
    let (starts, storms) = STARTS;
    let mut all = Vec::new();
    for _ in 0..starts {
        let ours = start();
        storm(&ours, &own);
        all.extend(rounds(&own, storms, &ours, peer, folder));
        every_boot_is_noted(&ours, &own, folder);
    }
    report("/script after a start", &all);
}

/// What a machine asks for, as our first script has it: a computer with two network cards.
fn script_of(number: usize) -> String {
    let card =
        |kind: &str| format!("52:54:{kind}:{:02x}:{:02x}:{:02x}", number >> 16, number >> 8 & 0xff, number & 0xff);
    format!(
        "/script?mac={0}&uuid=4c4c4544-0037-4a10-8054-{number:012x}&serial=7JT{number:05}&platform=efi&arch=x86_64\
         &board=%2F7JT{number:05}%2FCNWS20099S&asset=&maker=Dell%20Inc.&product=OptiPlex%203070&cards=-,{0},{1}",
        card("00"),
        card("01")
    )
}

/// Fleets that are turned on at once, at our server, and each time at the other one, for a file of the same bytes.
fn rounds(asked: &[String], count: usize, ours: &Running, peer: &Running, folder: &Path) -> Vec<(Storm, Storm)> {
    std::fs::write(folder.join("script.ipxe"), body(ours.address, &asked[0])).unwrap();
    let files = vec!["/script.ipxe".to_owned(); asked.len()];
    // The computer is not as quick in one minute as in the next, so what is compared was measured one after the other.
    (0..count).map(|_| (storm(ours, asked), storm(peer, &files))).collect()
}

/// Says how these rates compare; the ratio.
fn report(name: &str, storms: &[(Storm, Storm)]) -> f64 {
    let over = |figure: fn(&(Storm, Storm)) -> f64| median(storms.iter().map(figure).collect());
    let ratio = over(|(our, peer)| our.rate / peer.rate);
    println!(
        "{name}, {TIMES} times for each of {MACHINES} machines over {ASKING} connections, median of {} rounds, per second: bivouac {:.0}, nginx {:.0}; ratio {ratio:.2}; processor microseconds for each, with what is written after it: bivouac {:.1}, nginx {:.1}",
        storms.len(),
        over(|(our, _)| our.rate),
        over(|(_, peer)| peer.rate),
        over(|(our, _)| our.cost),
        over(|(_, peer)| peer.cost),
    );
    ratio
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

/// What became of a fleet that was turned on at once.
struct Storm {
    /// Answers in a second.
    rate: f64,
    /// Microseconds of a processor for each, until the server was idle again.
    cost: f64,
}

/// Everything is asked for by turns, over all connections.
fn storm(server: &Running, asked: &[String]) -> Storm {
    let before = server.processor_seconds();
    let mut connections: Vec<_> = (0..ASKING).map(|_| Connection::open(server.address)).collect();
    let began = Instant::now();
    thread::scope(|scope| {
        for (connection, paths) in connections.iter_mut().zip(asked.chunks(asked.len().div_ceil(ASKING))) {
            scope.spawn(move || {
                for path in std::iter::repeat_n(paths, TIMES).flatten() {
                    connection.get(path);
                }
            });
        }
    });
    let took = began.elapsed().as_secs_f64();
    settle(server);
    let cost = (server.processor_seconds() - before) * 1e6;
    let answers = (TIMES * asked.len()) as f64;
    Storm { rate: answers / took, cost: cost / answers }
}

/// Waits until a server is idle, so that the next one has the computer for itself.
fn settle(server: &Running) {
    loop {
        let before = server.processor_seconds();
        thread::sleep(IDLE);
        if server.processor_seconds() - before < HARDLY * IDLE.as_secs_f64() {
            break;
        }
    }
}

/// Each machine's last boot in the database is the one it was answered with.
fn every_boot_is_noted(ours: &Running, asked: &[String], folder: &Path) {
    let scripts = asked.iter().map(|path| String::from_utf8(body(ours.address, path)).unwrap());
    let token = |script: String| script.split_once("/check-in/").unwrap().1.split_once(' ').unwrap().0.to_owned();
    let given: BTreeSet<String> = scripts.map(token).collect();
    settle(ours);
    let place = database_of(folder, KNOWN);
    let known = tokio::runtime::Runtime::new().unwrap().block_on(Fleet::read(&place)).unwrap();
    let noted: BTreeSet<String> =
        known.into_iter().filter_map(|machine| machine.session.token).map(|token| token.to_string()).collect();
    assert!(given == noted && given.len() == asked.len(), "a boot is missing in the database");
}

/// Where the database of that name is.
fn database_of(folder: &Path, state: &str) -> DatabasePlace {
    folder.join(state).join("fleet.sqlite").into()
}

/// Memory with a thousand transfers that have begun and are not read on; whether it is little enough.
fn memory<S: Read + Write>(
    how: &str,
    ours: &Running,
    peer: &Running,
    file: &str,
    speak: &dyn Fn(TcpStream) -> S,
) -> bool {
    let [ours, peer] = [ours, peer].map(|server| {
        let before = server.memory();
        let mut connections: Vec<_> = (0..OPEN)
            .map(|_| Connection { stream: speak(connect(server.address)), buffer: vec![0; 16 << 10] })
            .collect();
        connections.iter_mut().for_each(|connection| connection.ask(file));
        connections.iter_mut().for_each(|connection| assert_eq!(connection.head().0, SIZE));
        // Each was sent as much as its socket takes; nothing else happens until somebody reads.
        (before, server.memory())
    });
    println!(
        "{OPEN} transfers open {how}, resident memory without mapped files, kB: bivouac {} (at most {MEMORY}; {} before), nginx {} ({} before)",
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
