//! A site as a user has one: a folder with profiles and overlays, a mirror, and the program.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bivouac::apk::{Index, KeyLength, PackageFile, PackageWriter, PkgInfo, SigningKey, write_index};
use socket2::{Domain, Socket, Type};
use tokio::runtime::Runtime;

use super::alpine::{files_of, members_trusting, release, signer, tarball};
use super::server::{Reply, Server};

/// The repository of the release, as the mirror has it.
pub const MAIN: &str = "/v3.24/main/x86_64";

pub const KEY: &str = "mirror@example.net-00000001.rsa.pub";

/// A working folder, and the mirror it builds from.
pub struct Site {
    pub folder: tempfile::TempDir,
    pub mirror: Mirror,
}

/// A mirror with one release and a few packages; it ends with this.
pub struct Mirror {
    pub server: Server,
    /// The netboot tarball of its release.
    pub tarball: Vec<u8>,
    _runtime: Runtime,
}

/// What a run of the program said.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A running server; it is stopped when this goes away.
pub struct Serving {
    child: Child,
    out: Box<dyn BufRead>,
    /// Its log, line by line, as it comes.
    log: Receiver<String>,
    /// What listens where, as the program said it.
    pub lines: Vec<String>,
}

/// The mirror's signing key; one for all tests, because making one takes a while.
pub fn signing_key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate(KeyLength::Bits2048).unwrap())
}

/// The key of a test's next site, likewise: two for all tests, by turns, so that two sites of one test have different ones.
fn site_key() -> &'static str {
    static KEYS: OnceLock<[String; 2]> = OnceLock::new();
    thread_local! {
        static SITES: Cell<usize> = const { Cell::new(0) };
    }
    let make = |()| SigningKey::generate(KeyLength::Bits2048).unwrap().to_pem().unwrap();
    &KEYS.get_or_init(|| [(), ()].map(make))[SITES.replace(SITES.get() + 1) % 2]
}

/// What the package `alpine-base` of the tests brings: the services of the overlays, which real ones depend on.
const SERVICES: [&str; 15] = [
    "bootmisc",
    "devfs",
    "dmesg",
    "hostname",
    "hwdrivers",
    "killprocs",
    "local",
    "mdev",
    "modloop",
    "modules",
    "mount-ro",
    "networking",
    "savecache",
    "sysctl",
    "syslog",
];

/// A small package; `alpine-base` has services.
pub fn package(name: &str, depends: &[&str]) -> Vec<u8> {
    package_at(name, "1.0-r0", depends)
}

/// The same of another version. What stands before a hyphen in its name is its origin.
pub fn package_at(name: &str, version: &str, depends: &[&str]) -> Vec<u8> {
    let depends = depends.iter().map(|name| (*name).to_owned()).collect();
    written(PkgInfo { depends, ..info(name, version) }, [])
}

fn info(name: &str, version: &str) -> PkgInfo {
    PkgInfo {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: "x86_64".to_owned(),
        origin: name.split('-').next().unwrap_or_default().to_owned(),
        installed_size: 10,
        ..PkgInfo::default()
    }
}

/// The file of a package that brings services.
fn written<'a>(info: PkgInfo, services: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let name = info.name.clone();
    let mut writer = PackageWriter::new(info).file(&format!("usr/share/{name}"), 0o644, name.as_bytes());
    match name.as_str() {
        "tzdata" => writer = writer.file("usr/share/zoneinfo/Europe/Berlin", 0o644, b"TZif2"),
        "kbd-bkeymaps" => writer = writer.file("usr/share/bkeymaps/de/de-nodeadkeys.bmap.gz", 0o644, b""),
        _ => {}
    }
    let base = if name == "alpine-base" { &SERVICES[..] } else { &[] };
    for service in base.iter().copied().chain(services) {
        writer = writer.file(&format!("etc/init.d/{service}"), 0o755, b"#!/sbin/openrc-run\n");
    }
    writer.write().unwrap()
}

/// The packages of `scripts/stand-in/packages`, by repository.
fn alpine_packages() -> BTreeMap<String, Vec<Vec<u8>>> {
    let list = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/stand-in").join(name);
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| line.split(' ').map(str::to_owned).collect()).collect::<Vec<Vec<String>>>()
    };
    let services = list("services");
    let mut packages: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    // What no profile of the repository needs, and many others do.
    let more = [
        written(info("openssh", "9.6_p1-r0"), ["sshd"]),
        package("tzdata", &[]),
        written(info("kbd-bkeymaps", "2.6.4-r0"), ["loadkmap"]),
    ];
    packages.entry("main".to_owned()).or_default().extend(more);
    for words in list("packages") {
        let [repository, name, version, needs @ ..] = &words[..] else { panic!("{words:?}") };
        let (with, depends): (Vec<&String>, Vec<&String>) = needs.iter().partition(|need| need.starts_with('?'));
        let info = PkgInfo {
            depends: depends.into_iter().cloned().collect(),
            install_if: with.into_iter().map(|need| need.trim_start_matches('?').to_owned()).collect(),
            ..info(name, version)
        };
        let brought = services.iter().filter(|line| line[0] == *name).map(|line| line[1].as_str());
        // Of the power button, which virtual machines of a cluster have.
        let more = (name == "alpine-base").then_some("acpid");
        packages.entry(repository.clone()).or_default().push(written(info, brought.chain(more)));
    }
    packages
}

/// An index of packages, signed by a key under the name of the mirror's.
pub fn index(packages: &[Vec<u8>], key: &SigningKey) -> Vec<u8> {
    index_by(packages, key, KEY)
}

/// An index of packages, signed by a key of this name.
pub fn index_by(packages: &[Vec<u8>], key: &SigningKey, name: &str) -> Vec<u8> {
    let records: Vec<String> =
        packages.iter().map(|bytes| PackageFile::read(bytes).unwrap().index_record("x86_64")).collect();
    let index = Index::parse(&records.join("\n\n")).unwrap();
    key.sign_index(&write_index(index.packages(), "test"), &name.parse().unwrap()).unwrap()
}

/// What a machine that came up as it should reports.
pub fn report(manifest: &serde_json::Value, bundle: &str) -> String {
    let mut text = format!(
        "bundle {bundle}\noverlay {}\nhostname hello\nkernel 6.18.1\nmodloop mounted\nworld alpine-base\n",
        manifest["overlay"].as_str().unwrap()
    );
    for package in manifest["packages"].as_array().unwrap() {
        let part = |key: &str| package[key].as_str().unwrap().to_owned();
        text.push_str(&format!("package {}-{}\n", part("name"), part("version")));
    }
    text
}

impl Mirror {
    /// A mirror that has what every other such mirror has.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(Server::start());
        let key = signing_key();
        let tarball = tarball(&members_trusting((KEY, &key.public_pem().unwrap())));
        let mirror = Self { server, tarball, _runtime: runtime };
        mirror.release();
        mirror.offer(&[
            ("alpine-base", &["busybox", "openrc"]),
            ("busybox", &[]),
            ("openrc", &["busybox"]),
            ("nano", &[]),
        ]);
        let community = index(&[package("tiny", &[])], key);
        mirror.server.put("/v3.24/community/x86_64/APKINDEX.tar.gz", Reply::File(community));
        mirror
    }

    /// Puts its release where it belongs, as it should be.
    pub fn release(&self) {
        release(&self.server, &self.tarball);
    }

    /// Puts these packages and an index of them into the repository `main`.
    pub fn offer(&self, packages: &[(&str, &[&str])]) {
        let packages: Vec<_> = packages.iter().map(|(name, depends)| (*name, "1.0-r0", *depends)).collect();
        self.offer_versions(&packages);
    }

    /// The same with a version for each.
    pub fn offer_versions(&self, packages: &[(&str, &str, &[&str])]) {
        let made = packages.iter().map(|(name, version, depends)| package_at(name, version, depends));
        self.offer_files(made.collect());
    }

    /// The same with package files.
    pub fn offer_files(&self, files: Vec<Vec<u8>>) {
        self.offer_in("main", files);
    }

    /// Puts these package files and an index of them into a repository.
    pub fn offer_in(&self, repository: &str, files: Vec<Vec<u8>>) {
        let folder = format!("/v3.24/{repository}/x86_64");
        self.server.put(format!("{folder}/APKINDEX.tar.gz"), Reply::File(index(&files, signing_key())));
        for bytes in files {
            let info = PackageFile::read(&bytes).unwrap().info().clone();
            self.server.put(format!("{folder}/{}-{}.apk", info.name, info.version), Reply::File(bytes));
        }
    }

    /// Offers every package that the profiles of the repository need, by the names and needs that Alpine's own have, with
    /// the services that those bring.
    pub fn offer_alpine(&self) {
        static PACKAGES: OnceLock<BTreeMap<String, Vec<Vec<u8>>>> = OnceLock::new();
        for (repository, files) in PACKAGES.get_or_init(alpine_packages) {
            self.offer_in(repository, files.clone());
        }
    }
}

impl Site {
    /// A folder with the profile `hello` of the repository and its overlays, and with a key, so that the program need not make
    /// one.
    pub fn new() -> Self {
        let site = Self::without_key();
        site.write("state/keys/site.pem", site_key());
        site
    }

    /// The same where the program has made nothing yet.
    pub fn without_key() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (part, names) in [("profiles", &["hello"][..]), ("overlays", &["base", "check-in", "network"])] {
            std::fs::create_dir(folder.path().join(part)).unwrap();
            for name in names {
                let (from, to) = (repository.join(part).join(name), folder.path().join(part));
                assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
            }
        }
        std::fs::write(folder.path().join("release.asc"), signer().certificate("Release <release@example.net>"))
            .unwrap();
        Self { folder, mirror: Mirror::start() }
    }

    /// The same with `hello@1` published.
    pub fn published() -> Self {
        let site = Self::new();
        assert_eq!(site.run(&["build", "hello"]).code, Some(0));
        assert_eq!(site.run(&["publish", "hello"]).code, Some(0));
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the folders above it.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Forgets which packages a profile was built with.
    pub fn unlock(&self, profile: &str) {
        std::fs::remove_file(self.path(&format!("profiles/{profile}/lock.toml"))).unwrap();
    }

    /// The program in this folder, with the mirror of this site.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bivouac"));
        command.current_dir(self.folder.path()).args(arguments);
        command.args(["--mirror", &self.mirror.server.base, "--release-key"]).arg(self.path("release.asc"));
        command
            .env_remove("RUST_LOG")
            .env_remove("BIVOUAC_LOG_FORMAT")
            .env_remove("SOURCE_DATE_EPOCH")
            .env_remove("BIVOUAC_SITE")
            .env("NO_PROXY", "*");
        command
    }

    /// The files in the cache, besides the lock.
    pub fn cached(&self) -> Vec<String> {
        files_of(&self.path("state/cache"))
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap(), self)
    }

    /// Starts the server on ports the kernel chooses, and waits until it is ready.
    pub fn serve(&self, arguments: &[&str]) -> Serving {
        self.serve_with("", arguments)
    }

    /// The same with these tables in the site file; keys before the first are of `[dhcp]`.
    pub fn serve_with(&self, tables: &str, arguments: &[&str]) -> Serving {
        let file = format!("[dhcp]\nlisten = \"127.0.0.1\"\nport = 0\npxe-port = 0\n{tables}");
        self.serve_as(&file, arguments)
    }

    /// The same with this site file.
    pub fn serve_as(&self, file: &str, arguments: &[&str]) -> Serving {
        self.write("serve.toml", file);
        let ports = ["serve", "--site", "serve.toml", "--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0"];
        Serving::start(self.command(&[&ports, arguments].concat()))
    }
}

impl Site {
    /// Starts `up`, and waits until it serves.
    pub fn up(&self, profiles: &[&str]) -> Serving {
        Serving::start(self.command(&[&["up"], profiles].concat()))
    }
}

impl Ran {
    pub fn of(output: Output, site: &Site) -> Self {
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .unwrap()
                .replace(&site.mirror.server.base, "MIRROR")
                .replace(site.folder.path().to_str().unwrap(), "SITE")
        };
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// How long a server may take until it says something.
const PATIENCE: Duration = Duration::from_secs(120);

/// What comes from there, read as soon as it comes, as a service manager does.
fn lines_of(log: Option<ChildStderr>) -> Receiver<String> {
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut log = BufReader::new(log?);
        loop {
            let mut line = Vec::new();
            if log.read_until(b'\n', &mut line).unwrap() == 0 {
                return Some(());
            }
            // Nobody may be left who wants it.
            let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
    lines
}

impl Serving {
    /// Starts a server, and waits until it is ready.
    pub fn start(mut command: Command) -> Self {
        command.stderr(Stdio::piped());
        Self::start_logging_elsewhere(command)
    }

    /// The same, where the command says what becomes of the log.
    pub fn start_logging_elsewhere(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out: Box<dyn BufRead> = Box::new(BufReader::new(child.stdout.take().unwrap()));
        let log = lines_of(child.stderr.take());
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.starts_with("ready")) {
            let mut line = String::new();
            if out.read_line(&mut line).unwrap() == 0 {
                panic!("the server did not start: {lines:?}\n{}", log.iter().collect::<String>());
            }
            lines.push(line.trim_end().to_owned());
        }
        Self { child, out, log, lines }
    }

    /// Starts a server that says nothing but its log.
    pub fn start_quietly(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = lines_of(child.stderr.take());
        let out: Box<dyn BufRead> = match child.stdout.take() {
            Some(out) => Box::new(BufReader::new(out)),
            None => Box::new(std::io::empty()),
        };
        Self { child, out, log, lines: Vec::new() }
    }

    /// Where `what` listens: `HTTP`, `TFTP`, `DHCP` or `PXE boot server`.
    pub fn address(&self, what: &str) -> SocketAddr {
        let prefix = format!("{what} on ");
        let found = self.lines.iter().find_map(|line| line.strip_prefix(&prefix));
        found.unwrap_or_else(|| panic!("{what} is not among {:?}", self.lines)).parse().unwrap()
    }

    /// Sends a raw HTTP/1.0 request and returns the whole answer, head and body.
    pub fn http(&self, request: &str) -> String {
        String::from_utf8_lossy(&self.raw_http(request)).into_owned()
    }

    fn raw_http(&self, request: &str) -> Vec<u8> {
        Self::ask(std::net::TcpStream::connect(self.address("HTTP")).unwrap(), request)
    }

    fn ask(mut stream: std::net::TcpStream, request: &str) -> Vec<u8> {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    /// The body of a good answer.
    pub fn get_bytes(&self, path: &str) -> Vec<u8> {
        let answer = self.raw_http(&format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(answer.starts_with(b"HTTP/1.0 200 OK"), "{}", String::from_utf8_lossy(&answer));
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        answer[end..].to_vec()
    }

    pub fn get(&self, path: &str) -> String {
        self.http(&format!("GET {path} HTTP/1.0\r\n\r\n"))
    }

    /// The same, asked from one of the addresses of this computer.
    pub fn get_from(&self, address: IpAddr, path: &str) -> String {
        let socket = Socket::new(Domain::for_address((address, 0).into()), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
        socket.connect(&self.address("HTTP").into()).unwrap();
        String::from_utf8(Self::ask(socket.into(), &format!("GET {path} HTTP/1.0\r\n\r\n"))).unwrap()
    }

    pub fn post(&self, path: &str, body: &str) -> String {
        self.http(&format!("POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    /// How many bytes it has in memory that are in no file.
    pub fn memory(&self) -> usize {
        self.status("RssAnon").strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    /// What the kernel says of it (`proc_pid_status(5)`).
    pub fn status(&self, field: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap().trim().to_owned()
    }

    /// Sends it a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the log has a line with this text, which is returned.
    pub fn wait_for_log(&mut self, text: &str) -> String {
        let mut log = String::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line.trim_end().to_owned(),
                Ok(line) => log.push_str(&line),
                Err(error) => panic!("the server did not say {text:?} ({error}): {log}"),
            }
        }
    }

    /// Asks it to stop, as a service manager does, and returns what it logged.
    pub fn stop(self) -> String {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until it ends by itself, and returns what it logged.
    pub fn wait(mut self) -> String {
        let mut log: String = self.log.iter().collect();
        self.out.read_to_string(&mut log).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{log}");
        log
    }

    /// The exit code, once it ended.
    pub fn code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have been stopped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
