//! What 200 clients cost that ask for the same package of 20 MB at once: processor time of the caching mirror against
//! nginx with sendfile, in turn, each in a process of its own. The first round of the mirror brings the package from
//! upstream, which must be asked once.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../tests/it/support/large.rs"]
#[allow(dead_code, unreachable_pub, reason = "only its bytes are used")]
mod large;
#[path = "servers/memory.rs"]
mod memory;
mod servers;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use bivouac::apk::{Index, KeyLength, PackageFile, PackageWriter, PkgInfo, SigningKey, write_index};
use bivouac::fetch::{Cache, Checks, Downloader, HttpSettings, Mirrors, Proxy};
use bivouac::fleet::Fleet;
use bivouac::mirror::{Mirror, Options, Role};
use bivouac::model::net::{DhcpMode, TransferPorts};
use bivouac::serve::dhcp::Listen;
use bivouac::serve::given::Given;
use bivouac::serve::rules::InForce;
use bivouac::serve::{self, App, Server, Stop};
use bivouac::store::Store;

use servers::{Running, median, nginx, spawn};

const CLIENTS: usize = 200;

const SIZE: usize = 20_000_000;

const ROUNDS: usize = 7;

/// How much more than nginx the mirror may cost.
const LIMIT: f64 = 1.5;

const KEY: &str = "bench.rsa.pub";

const REPOSITORY: &str = "/v3.24/main/x86_64";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (Some("mirror"), Some(folder), Some(upstream)) => {
            mirror(Path::new(&folder), upstream);
            ExitCode::SUCCESS
        }
        _ => compare(),
    }
}

fn compare() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let upstream = upstream(folder.path());
    let package = format!("{REPOSITORY}/big-1.0-r0.apk");
    let ours = spawn(Command::new(std::env::current_exe().unwrap()).args([
        "mirror",
        folder.path().to_str().unwrap(),
        &format!("http://{}", upstream.address),
    ]));
    let peer = nginx(folder.path(), "", "");
    let path = format!("/alpine{package}");
    let cold = round(&ours, &path);
    round(&peer, &package);
    let (mut our_times, mut peer_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_times.push(round(&ours, &path));
        peer_times.push(round(&peer, &package));
    }
    let requests = upstream.packages.load(Ordering::SeqCst);
    let (ours, peer) = (median(our_times), median(peer_times));
    let ratio = ours / peer;
    println!("{CLIENTS} clients, 20 MB each, median of {ROUNDS} rounds, processor seconds per GB:");
    println!("mirror {ours:.3}, nginx {peer:.3}; ratio {ratio:.2} (at most {LIMIT})");
    println!("first round, download and verification included: {cold:.3}, requests to upstream: {requests}");
    if ratio <= LIMIT && requests == 1 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The package's index and bytes, from a server in this process that counts.
struct Upstream {
    address: SocketAddr,
    packages: Arc<AtomicUsize>,
}

/// Makes a repository with one package, and serves it.
fn upstream(folder: &Path) -> Upstream {
    let key = SigningKey::generate(KeyLength::Bits2048).unwrap();
    std::fs::write(folder.join(KEY), key.public_pem().unwrap()).unwrap();
    let info = PkgInfo {
        name: "big".to_owned(),
        version: "1.0-r0".to_owned(),
        arch: "x86_64".to_owned(),
        installed_size: 10,
        ..PkgInfo::default()
    };
    let package = PackageWriter::new(info).file("usr/share/big", 0o644, &large::noise(SIZE)).write().unwrap();
    let record = PackageFile::read(&package).unwrap().index_record("x86_64");
    let index = write_index(Index::parse(&record).unwrap().packages(), "bench");
    let index = key.sign_index(&index, &KEY.parse().unwrap()).unwrap();
    let place = folder.join(REPOSITORY.trim_start_matches('/'));
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("big-1.0-r0.apk"), &package).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, packages) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&packages);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).unwrap();
            let body = if request.contains("big-1.0-r0.apk") {
                counter.fetch_add(1, Ordering::SeqCst);
                &package
            } else {
                &index
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // A client that goes away is seen by the count.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    Upstream { address, packages }
}

/// The mirror, in a process of its own: everything `bivouac serve` has, without bundles.
#[tokio::main]
async fn mirror(folder: &Path, upstream: String) {
    memory::as_the_program_does();
    let downloader = Downloader::new(HttpSettings { proxy: Proxy::Direct, ..HttpSettings::default() }).unwrap();
    let mut checks = Checks::default();
    checks.package_keys.insert(KEY, &std::fs::read(folder.join(KEY)).unwrap()).unwrap();
    let options = Options {
        folder: folder.join("mirror"),
        size: 1 << 30,
        max_age: Duration::from_secs(600),
        repositories: ["main".parse().unwrap()].into(),
    };
    let sources = (Mirrors::new(&[upstream], downloader).unwrap(), Cache::open(&folder.join("cache")).unwrap(), checks);
    let options = serve::Options {
        http: "127.0.0.1:0".parse().unwrap(),
        https: None,
        transfers: 256,
        tftp: None,
        tftp_ports: TransferPorts::default(),
        dhcp: Listen::Address(std::net::Ipv4Addr::LOCALHOST, DhcpMode::Off),
        leases: folder.join("dhcp"),
        dhcp_port: 0,
        pxe_port: 0,
        given: Given::default(),
        rules: InForce::default(),
        mirror: Some(Mirror::open(options, Role::Serve, sources).unwrap()),
        cluster: None,
    };
    let store = Store::open(&folder.join("store")).unwrap();
    let fleet = Fleet::open(&folder.join("fleet.sqlite").into()).await.unwrap();
    let app = Arc::new(App::new(store, fleet, &options).unwrap());
    let server = Server::bind(app, options).await.unwrap();
    let line = server.addresses().remove(0);
    println!("{}", line.strip_prefix("HTTP on ").unwrap());
    server.run(Stop::default()).await.unwrap();
}

/// Processor seconds of a server per GB sent, while all clients download at once.
fn round(server: &Running, path: &str) -> f64 {
    let start = Arc::new(Barrier::new(CLIENTS));
    let before = server.processor_seconds();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (start, path, address) = (Arc::clone(&start), path.to_owned(), server.address);
            thread::spawn(move || {
                start.wait();
                download(address, &path)
            })
        })
        .collect();
    let bytes: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(bytes > CLIENTS * SIZE);
    (server.processor_seconds() - before) / (bytes as f64 / 1e9)
}

/// The bytes of one good answer, read and thrown away.
fn download(address: SocketAddr, path: &str) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").unwrap();
    let (mut buffer, mut bytes) = (vec![0; 256 << 10], 0);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return bytes,
            count => {
                assert!(bytes > 0 || buffer.starts_with(b"HTTP/1.1 200"));
                bytes += count;
            }
        }
    }
}
