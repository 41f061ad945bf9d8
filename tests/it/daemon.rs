//! The server as a service: told to read its site file again, to end, given its sockets, and what it says of itself.

mod rebuild;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bivouac::store::Store;
use bivouac::wire::dhcp::{Packet, code};
use socket2::{Domain, Socket, Type};

use crate::serving::{bytes, loaders};
use crate::support::large::{LARGE, noise, publish_large};
use crate::support::site::{Serving, Site};

const MAC: &str = "52:54:00:00:00:01";

const OVMF: &str = include_str!("../../src/wire/dhcp/testdata/ovmf-discover.hex");

/// Keys that let the server begin anywhere.
const ANYWHERE: &str = "[dhcp]\nmode = \"off\"\n";

/// What a machine is told to boot.
fn boots_bundle(server: &Serving) -> bool {
    server.get(&format!("/script?mac={MAC}")).contains("bivouac_bundle=")
}

fn to_its_disk() -> String {
    format!("{ANYWHERE}[machines.\"{MAC}\"]\npolicy = \"local-disk\"\n")
}

#[test]
fn a_site_file_that_changes_is_in_force_at_once() {
    let site = Site::published();
    let mut server = site.serve_as(ANYWHERE, &[]);
    assert!(boots_bundle(&server));
    site.write("serve.toml", &to_its_disk());
    let said = server.wait_for_log("read again and in force");
    assert!(said.contains("keys=machines") && said.contains("why=\"changed\""), "{said}");
    assert!(!boots_bundle(&server));
    // As editors do it: another file takes the place.
    site.write("new.toml", ANYWHERE);
    std::fs::rename(site.path("new.toml"), site.path("serve.toml")).unwrap();
    server.wait_for_log("read again and in force");
    assert!(boots_bundle(&server));
}

#[test]
fn a_server_has_its_memory_in_small_pages() {
    let site = Site::published();
    let server = site.serve_as(ANYWHERE, &[]);
    assert_eq!(server.status("THP_enabled"), "0");
}

#[test]
fn a_site_file_that_is_wrong_changes_nothing_and_is_said() {
    let site = Site::published();
    let mut server = site.serve_as(&to_its_disk(), &[]);
    let held = "cannot be used, so what it said before stays in force";
    for (text, why) in [
        ("default-profile = \n", "cannot parse"),
        ("default-profil = \"hello\"\n", "unknown field `default-profil`"),
        ("default-profile = \"nobody\"\n", "nobody"),
        ("[http]\ntransfers = 0\n", "nobody could load a kernel"),
    ] {
        site.write("serve.toml", text);
        let said = server.wait_for_log(held);
        assert!(said.contains("ERROR"), "{said}");
        let said = if said.contains(why) { said } else { server.wait_for_log(why) };
        assert!(said.contains(why), "{said}");
        assert!(!boots_bundle(&server));
    }
    std::fs::remove_file(site.path("serve.toml")).unwrap();
    assert!(server.wait_for_log(held).contains("No such file"));
    assert!(!boots_bundle(&server));
    site.write("serve.toml", ANYWHERE);
    server.wait_for_log("read again and in force");
    assert!(boots_bundle(&server));
}

/// A server that reads its settings from a pipe is in its first moments for as long as somebody wants.
fn hung_up_before_it_has_read_anything(command: &str) {
    let site = Site::published();
    let pipe = site.path("early.toml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut server = Serving::start_quietly(
        site.command(&[command, "--site", "early.toml", "--log-format", "json"]).stdout(Stdio::null()),
    );
    // This waits until the server has opened the other end.
    let mut settings = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    let text = format!("{ANYWHERE}[http]\nlisten = \"127.0.0.1:0\"\n[tftp]\nenabled = false\n");
    site.write("early.toml.new", &text);
    std::fs::rename(site.path("early.toml.new"), &pipe).unwrap();
    server.signal("HUP");
    settings.write_all(text.as_bytes()).unwrap();
    drop(settings);
    server.wait_for_log("\"message\":\"ready\"");
    let said = server.wait_for_log("read again and in force");
    assert!(said.contains("\"why\":\"asked to\""), "{said}");
    server.stop();
}

#[test]
fn a_server_that_is_hung_up_in_its_first_moments_reads_its_site_file_again_when_it_runs() {
    hung_up_before_it_has_read_anything("serve");
    hung_up_before_it_has_read_anything("up");
}

#[test]
fn a_command_that_serves_nobody_ends_when_it_is_hung_up() {
    let site = Site::new();
    let pipe = site.path("early.toml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut child = site.command(&["list", "--site", "early.toml"]).spawn().unwrap();
    let _settings = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    assert!(Command::new("kill").args(["-s", "HUP", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().signal(), Some(1));
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_holds() {
    let site = Site::published();
    let mut server = site.serve_as(ANYWHERE, &[]);
    site.write("serve.toml", &format!("state = \"elsewhere\"\n{}[http]\ntransfers = 7\n", to_its_disk()));
    let said = server.wait_for_log("held until the server is restarted");
    assert!(said.contains("keys=state, http.transfers"), "{said}");
    server.wait_for_log("read again and in force");
    assert!(!boots_bundle(&server));
}

#[test]
fn a_profile_that_was_published_meanwhile_can_be_assigned_and_a_default_stays() {
    let site = Site::published();
    let mut server = site.serve_as(ANYWHERE, &[]);
    publish_large(&Store::open(&site.path("state/store")).unwrap(), b"large");
    site.write("serve.toml", &format!("{ANYWHERE}[machines.\"{MAC}\"]\nprofile = \"large\"\n"));
    server.wait_for_log("read again and in force");
    assert!(server.get(&format!("/script?mac={MAC}")).contains("vmlinuz-large"));
    let other = server.get("/script?mac=52:54:00:00:00:02");
    assert!(other.contains("vmlinuz-virt"), "the only profile there was is still the default: {other}");
}

#[test]
fn loaders_that_come_are_offered() {
    let site = Site::published();
    site.write("loaders/readme", "");
    let mut server = site.serve_as(ANYWHERE, &["--loaders", "loaders"]);
    assert!(server.get("/loader/undionly.kpxe").starts_with("HTTP/1.0 404"));
    std::fs::write(site.path("loaders/undionly.kpxe"), vec![0x4b; 70_000]).unwrap();
    server.wait_for_log("read again and in force");
    assert!(server.get("/loader/undionly.kpxe").starts_with("HTTP/1.0 200"));
}

/// A site with a file that takes longer than sockets hold, and the path of that.
fn large(content: &[u8]) -> (Site, String) {
    let site = Site::new();
    let bundle = publish_large(&Store::open(&site.path("state/store")).unwrap(), content);
    (site, format!("/b/{bundle}/{LARGE}"))
}

/// A transfer that has begun: its head was read, and most of its body waits.
fn begin(server: &Serving, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address("HTTP")).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&head));
    stream
}

#[test]
fn a_transfer_goes_on_through_a_reload_and_ends_after_a_stop() {
    let content = noise(24 << 20);
    let (site, path) = large(&content);
    let mut server = site.serve_as(ANYWHERE, &[]);
    let mut transfer = begin(&server, &path);
    server.signal("HUP");
    assert!(server.wait_for_log("read again and in force").contains("why=\"asked to\""));
    server.signal("TERM");
    server.wait_for_log("stopping; transfers may end within");
    let mut body = Vec::new();
    transfer.read_to_end(&mut body).unwrap();
    assert!(body == content, "{} bytes", body.len());
    let log = server.wait();
    assert!(!log.contains("cut off") && log.contains("stopped"), "{log}");
}

#[test]
fn a_second_signal_ends_transfers_at_once() {
    let (site, path) = large(&noise(24 << 20));
    let mut server = site.serve_as(ANYWHERE, &[]);
    let _transfer = begin(&server, &path);
    server.signal("TERM");
    server.wait_for_log("stopping; transfers may end within");
    let told = Instant::now();
    server.signal("INT");
    server.wait_for_log("told to stop at once");
    let log = server.wait();
    assert!(log.contains("cut off"), "{log}");
    assert!(told.elapsed() < bivouac::serve::GRACE, "it took {:?}", told.elapsed());
}

/// What the service manager is told next.
fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = manager.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// A service manager's socket, and the server started by it.
fn managed(site: &Site, variables: &[(&str, &str)]) -> (UnixDatagram, Serving) {
    let manager = UnixDatagram::bind(site.path("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    site.write("serve.toml", ANYWHERE);
    let arguments = ["serve", "--site", "serve.toml", "--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0"];
    let mut command = site.command(&arguments);
    command.env("NOTIFY_SOCKET", site.path("notify")).envs(variables.iter().copied());
    (manager, Serving::start(command))
}

#[test]
fn the_service_manager_is_told_of_readiness_reloads_and_the_end() {
    let site = Site::published();
    let (manager, server) = managed(&site, &[]);
    let ready = told(&manager);
    let http = server.address("HTTP");
    assert!(ready.starts_with(&format!("READY=1\nSTATUS=HTTP on {http}, TFTP on ")), "{ready}");
    server.signal("HUP");
    let reloading = told(&manager);
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{reloading}"));
    assert!(time.trim_end().parse::<u64>().unwrap() > 0);
    assert_eq!(told(&manager), ready);
    site.write("serve.toml", "[");
    assert_eq!(told(&manager).lines().next(), Some("RELOADING=1"));
    assert!(told(&manager).starts_with("READY=1\nSTATUS=the site file cannot be used"));
    server.stop();
    assert!(told(&manager).starts_with("STOPPING=1\n"));
}

#[test]
fn the_watchdog_hears_of_the_server_all_the_time() {
    let site = Site::published();
    let (manager, server) = managed(&site, &[("WATCHDOG_USEC", "20000")]);
    assert!(told(&manager).starts_with("READY=1\n"));
    for _ in 0..3 {
        assert_eq!(told(&manager), "WATCHDOG=1\n");
    }
    server.stop();
}

/// Starts the server with two sockets that are open already, as a service manager does. What is left for it to be heard
/// by is its log.
fn given(site: &Site, names: &str, sockets: [OwnedFd; 2], arguments: &[&str]) -> Serving {
    let script = "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null";
    let program = site.command(&[&["--log-format", "json", "serve", "--site", "serve.toml"], arguments].concat());
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(program.get_program()).args(program.get_args());
    command.current_dir(site.folder.path()).env("LISTEN_FDNAMES", names).env_remove("RUST_LOG");
    let [first, second] = sockets;
    Serving::start_quietly(command.stdin(Stdio::from(first)).stdout(Stdio::from(second)))
}

#[test]
fn sockets_that_are_given_are_used() {
    let site = Site::published();
    site.write("serve.toml", ANYWHERE);
    site.write("loaders/readme", "");
    std::fs::write(site.path("loaders/undionly.kpxe"), vec![0x4b; 600]).unwrap();
    let (http, tftp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let (address, tftp_address) = (http.local_addr().unwrap(), tftp.local_addr().unwrap());
    // Neither port may be the server's own.
    let elsewhere = ["--http", "192.0.2.1:80", "--tftp", "192.0.2.1:69", "--loaders", "loaders"];
    let mut server = given(&site, "http:tftp", [http.into(), tftp.into()], &elsewhere);
    server.wait_for_log("\"message\":\"ready\"");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /boot.ipxe HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(&format!("http://{address}/script")), "{answer}");
    let socket = client();
    socket.send_to(b"\0\x01undionly.kpxe\0octet\0", tftp_address).unwrap();
    let mut block = [0; 600];
    let (length, _) = socket.recv_from(&mut block).unwrap();
    assert_eq!((length, &block[..4]), (516, &[0, 3, 0, 1][..]));
    server.stop();
}

#[test]
fn dhcp_answers_on_sockets_of_an_interface_that_are_given() {
    let site = Site::published();
    loaders(&site);
    site.write("serve.toml", "");
    let on_loopback = || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.bind_device(Some(b"lo")).unwrap();
        socket.bind(&SocketAddr::from(([0, 0, 0, 0], 0)).into()).unwrap();
        UdpSocket::from(socket)
    };
    let (dhcp, pxe) = (on_loopback(), on_loopback());
    let port = pxe.local_addr().unwrap().port();
    let full = ["--dhcp", "full", "--interface", "lo", "--pool", "127.0.0.50-127.0.0.60", "--netmask", "255.0.0.0"];
    let arguments = [&["--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0", "--loaders", "loaders"], &full[..]].concat();
    let mut server = given(&site, "dhcp:pxe", [dhcp.into(), pxe.into()], &arguments);
    server.wait_for_log("\"message\":\"ready\"");
    let mut request = Packet::decode(&bytes(OVMF)).unwrap();
    request.options.put(code::MESSAGE_TYPE, &[3]);
    let socket = client();
    socket.send_to(&request.encode(1472), ("127.0.0.1", port)).unwrap();
    let mut answer = [0; 2048];
    let (length, _) = socket.recv_from(&mut answer).unwrap();
    assert_eq!(Packet::decode(&answer[..length]).unwrap().xid, request.xid);
    server.stop();
}

#[test]
fn sockets_that_cannot_be_what_their_name_says_are_refused() {
    let site = Site::published();
    site.write("serve.toml", ANYWHERE);
    let refused = |names: &str, why: &str| {
        let stream = TcpListener::bind("127.0.0.1:0").unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut server = given(&site, names, [stream.into(), datagrams.into()], &[]);
        let said = server.wait_for_log("ERROR");
        assert!(said.contains(why), "{said}");
        assert_eq!(server.code(), Some(2));
    };
    refused(
        "web:tftp",
        "a socket is named `web`; set FileDescriptorName= of its unit to http, https, tftp, dhcp or pxe",
    );
    refused("http:http", "two sockets are named `http`");
    refused("tftp:http", "the socket named `tftp` is not what it should be: ListenDatagram= with a port");
    refused("http:dhcp", "BindToDevice= with its interface");
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket
}

#[test]
fn a_server_whose_log_nobody_reads_answers_all_the_same_and_says_later_that_lines_were_lost() {
    let site = Site::published();
    site.write("serve.toml", ANYWHERE);
    let mut command =
        site.command(&["serve", "--site", "serve.toml", "--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0"]);
    let (mut log, end) = std::io::pipe().unwrap();
    command.stderr(end).env("RUST_LOG", "bivouac=debug");
    let server = Serving::start_logging_elsewhere(command);
    // Each is a line of 4 kB, and all are more than the pipe holds and what waits for it.
    let path = format!("/script?mac={MAC}&product={}", "x".repeat(4000));
    for _ in 0..500 {
        assert!(server.get(&path).contains("bivouac_bundle="));
    }
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        text
    });
    server.stop();
    let log = reader.join().unwrap();
    assert!(log.contains("lines of the log are lost"), "{}", &log[log.len().saturating_sub(4000)..]);
    assert!(log.contains("stopped"), "{}", &log[log.len().saturating_sub(4000)..]);
}

#[test]
fn the_log_is_json_when_that_is_wanted_and_so_are_errors() {
    let site = Site::published();
    site.write("serve.toml", ANYWHERE);
    let mut command =
        site.command(&["serve", "--site", "serve.toml", "--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0"]);
    let mut server =
        Serving::start_quietly(command.env("BIVOUAC_LOG_FORMAT", "json").stdin(Stdio::null()).stdout(Stdio::piped()));
    let mut lines = vec![server.wait_for_log("HTTP on 127.0.0.1:")];
    lines.push(server.wait_for_log("\"message\":\"ready\""));
    server.signal("TERM");
    lines.extend(server.wait().lines().map(str::to_owned));
    for line in &lines {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in ["timestamp", "level", "message"] {
            assert!(entry[key].is_string(), "{line}");
        }
    }
    assert!(lines.last().unwrap().contains("\"stopped\""), "{lines:?}");
    // What a build remarks on is in the log too.
    site.write("profiles/hello/profile.toml", "overlays = [\"base\"]\nkernel.args = [\"nomodeset\"]\n");
    let Output { stderr, status, .. } = site.command(&["--log-format", "json", "build", "hello"]).output().unwrap();
    let log = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    let said = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["message"].to_string();
    assert!(log.lines().map(said).any(|message| message.contains("warning: ") && message.contains("ARG-4")), "{log}");
    let Output { stdout, stderr, status } = site.command(&["--log-format", "json", "show", "nobody"]).output().unwrap();
    let entry: serde_json::Value = serde_json::from_slice(&stderr).unwrap();
    assert_eq!((entry["level"].as_str(), status.code(), stdout.len()), (Some("ERROR"), Some(2), 0));
    assert!(entry["message"].as_str().unwrap().contains("nobody"), "{entry}");
}

#[test]
fn no_token_code_or_password_is_in_the_log_whatever_is_logged() {
    let site = Site::published();
    let text = format!("unknown-policy = \"inbox\"\n{ANYWHERE}[machines.\"{MAC}\"]\nprofile = \"hello\"\n");
    site.write("serve.toml", &text);
    let mut command =
        site.command(&["serve", "--site", "serve.toml", "--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0"]);
    let log = site.path("log");
    command.env("RUST_LOG", "trace").stderr(std::fs::File::create(&log).unwrap());
    let server = Serving::start_logging_elsewhere(command);
    let script = server.get(&format!("/script?mac={MAC}"));
    let word = |after: &str| script.split(after).nth(1).unwrap().split([' ', '\n']).next().unwrap().to_owned();
    let (token, bundle) = (word("/check-in/"), word("bivouac_bundle="));
    assert_eq!(token.len(), 32, "{script}");
    let waiting = server.get("/script?mac=52:54:00:00:00:02");
    let code = waiting.split("Its code is ").nth(1).unwrap()[..6].to_owned();
    let report = format!("bundle {bundle}\nhostname x\n");
    let guess = "0123456789abcdef0123456789abcdef";
    for answer in [
        server.post("/check-in", &format!("token {token}\n{report}")),
        server.post(&format!("/check-in/{token}"), &report),
        server.post(&format!("/check-in/{token}"), "garbage"),
        server.post(&format!("/check-in/{guess}"), &report),
        server.get(&format!("/check-in/{token}")),
        server.get(&format!("/nowhere/{token}?token={token}")),
        server.http(&format!("GET /boot.ipxe HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n")),
        server.http(&format!("BREW /check-in/{token} HTTP/1.0\r\n\r\n")),
    ] {
        assert!(answer.starts_with("HTTP/1.0 "), "{answer}");
    }
    site.write("serve.toml", "[fleet]\ndatabase = \"postgres://bivouac:s3cret@db/fleet\n");
    server.signal("HUP");
    server.stop();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("DEBUG") && log.contains("script asked for"), "{}", &log[..log.len().min(4000)]);
    for (what, secret) in [("token", token.as_str()), ("code", &code), ("guess", guess), ("password", "s3cret")] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{what}: {line:?}");
    }
}
