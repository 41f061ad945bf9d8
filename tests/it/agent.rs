//! The check-in agent of the overlay `check-in`, run by busybox as on a machine: its files are in a folder, and its clock
//! goes on when a test says so.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bivouac::model::checkin::orders::heard;
use serde_json::Value;

use crate::support::server::{Reply, Server};
use crate::support::site::{Serving, Site};

const MAC: &str = "52:54:00:00:00:01";

/// How long the agent may take for what it does between two sleeps.
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine that runs the agent; it ends with this.
struct Machine {
    folder: tempfile::TempDir,
    agent: Option<Child>,
    asleep: Option<Receiver<u64>>,
    wake: Option<File>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            // It may have ended by itself.
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

impl Machine {
    /// A machine with these words on its kernel command line and these packages.
    fn new(command_line: &str, overlay: &str, packages: &[(String, String)]) -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap(), agent: None, asleep: None, wake: None };
        let kernel = Command::new("uname").arg("-r").output().unwrap();
        fs::create_dir_all(machine.path("lib/modules").join(String::from_utf8(kernel.stdout).unwrap().trim())).unwrap();
        machine.write("proc/cmdline", &format!("{command_line}\n"));
        machine.write("proc/uptime", "100.25 90.00\n");
        machine.write("proc/meminfo", "MemTotal: 2000 kB\nMemFree: 1 kB\nMemAvailable: 900 kB\n");
        machine.write("etc/apk/world", "alpine-base\n");
        machine.write("etc/bivouac/overlay", &format!("{overlay}\n"));
        machine.write("etc/passwd", &format!("alice:x:{}:1::/:/bin/ash\nbob:x:9:9::/:/bin/ash\n", id()));
        machine.write("dev/console", "");
        machine.write("run/rc-status", "Runlevel: default\n net    [  started  ]\n");
        machine.install(packages);
        machine.program("usr/bin/logger", "shift 2; echo \"$1\" >> $root/run/log");
        machine.program("sbin/reboot", "echo now >> $root/run/rebooted");
        machine.program("bin/rc-status", "[ \"$1\" != -r ] || exec echo default; exec cat $root/run/rc-status");
        // The clock is the test's: the agent sleeps until it is told to go on, and then so much time has passed.
        machine.program(
            "bin/sleep",
            "echo $1 > $root/run/asleep; read -r go < $root/run/wake || exit; read -r up rest < $root/proc/uptime\n\
             echo \"$((${up%%.*} + $1)).25 90.00\" > $root/proc/uptime",
        );
        for pipe in ["run/asleep", "run/wake"] {
            assert!(Command::new("mkfifo").arg(machine.path(pipe)).status().unwrap().success());
        }
        machine
    }

    /// One that boots what a server tells it to.
    fn booting(site: &Site, server: &Serving) -> Self {
        let script = server.get(&format!("/script?mac={MAC}"));
        let kernel = script.lines().find(|line| line.starts_with("kernel ")).unwrap();
        let manifest: Value = serde_json::from_str(&site.run(&["show", "hello", "--json"]).out).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let packages = manifest["packages"].as_array().unwrap().iter();
        let packages: Vec<_> = packages.map(|package| (text(&package["name"]), text(&package["version"]))).collect();
        Self::new(kernel, &text(&manifest["overlay"]), &packages)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// An executable, with the machine's folder in `$root`.
    fn program(&self, name: &str, text: &str) {
        let root = self.folder.path().display();
        self.write(name, &format!("#!/bin/sh\nroot={root}\n{text}\n"));
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Writes apk's database.
    fn install(&self, packages: &[(String, String)]) {
        let entries = packages.iter().map(|(name, version)| format!("C:Q1\nP:{name}\nV:{version}\nA:x86_64\n\n"));
        self.write("lib/apk/db/installed", &entries.collect::<String>());
    }

    /// Somebody is logged in at `tty1`, or was.
    fn log_in(&self, is_there: bool) {
        let stat = self.path("proc/77/stat");
        if is_there {
            self.write("dev/tty1", "");
            self.write("proc/77/stat", "77 (a) shell) S 1 77 77 1025 77 4194560 1 2 3\n");
        } else {
            fs::remove_file(stat).unwrap();
        }
    }

    /// Starts the agent, and waits until it sleeps.
    fn start(&mut self) {
        let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("overlays/check-in/root/usr/libexec/bivouac/check-in");
        let mut command = Command::new("busybox");
        command.arg("sh").arg(agent).arg(self.folder.path()).stdin(Stdio::null());
        command.stderr(File::create(self.path("run/errors")).unwrap());
        self.agent =
            Some(command.spawn().unwrap_or_else(|error| panic!("busybox, which is a Debian package: {error}")));
        // Opened for both ways, a pipe has no end.
        let open = |name: &str| OpenOptions::new().read(true).write(true).open(self.path(name)).unwrap();
        let (send, asleep) = channel();
        let slept = BufReader::new(open("run/asleep"));
        self.wake = Some(open("run/wake"));
        self.asleep = Some(asleep);
        std::thread::spawn(move || {
            for line in slept.lines() {
                if send.send(line.unwrap().parse().unwrap()).is_err() {
                    break;
                }
            }
        });
        self.wait();
    }

    /// Waits until the agent sleeps.
    fn wait(&self) -> u64 {
        self.asleep.as_ref().unwrap().recv_timeout(PATIENCE).unwrap_or_else(|_| {
            panic!("the agent does not come to rest:\n{}\n{}", self.read("run/log"), self.read("run/bivouac/report"))
        })
    }

    /// Lets the time pass that the agent sleeps, and waits until it sleeps again. Returns how long it will.
    fn pass(&self) -> u64 {
        self.wake.as_ref().unwrap().write_all(b"\n").unwrap();
        self.wait()
    }

    /// Lets time pass until the agent reports again; how many seconds that were.
    fn pass_to_report(&self) -> u64 {
        let (before, began) = (self.read("run/bivouac/report"), self.now());
        for _ in 0..200 {
            self.pass();
            if self.read("run/bivouac/report") != before {
                return self.now() - began;
            }
        }
        panic!("no report in {} s", self.now() - began);
    }

    /// Lets so many seconds pass, or up to ten more.
    fn pass_seconds(&self, seconds: u64) {
        let end = self.now() + seconds;
        while self.now() < end {
            self.pass();
        }
    }

    fn now(&self) -> u64 {
        self.read("proc/uptime").split('.').next().unwrap().parse().unwrap()
    }

    /// The lines of the last report that begin with this word, without it.
    fn reported(&self, word: &str) -> Vec<String> {
        let report = self.read("run/bivouac/report");
        report.lines().filter_map(|line| line.strip_prefix(&format!("{word} ")).map(str::to_owned)).collect()
    }

    fn has_rebooted(&self) -> bool {
        self.path("run/rebooted").exists()
    }
}

fn id() -> u32 {
    let id = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8(id.stdout).unwrap().trim().parse().unwrap()
}

/// What `bivouac machines --json` says of the one machine.
fn listed(site: &Site) -> Value {
    let machines: Value = serde_json::from_str(&site.run(&["machines", "--json"]).out).unwrap();
    machines[0].clone()
}

/// A machine whose server says just what a test wants.
fn told(answer: &str) -> (Machine, Told) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(Server::start());
    let told = Told { server, _runtime: runtime };
    told.now(answer);
    let command_line = format!("quiet bivouac={}/check-in/0123 bivouac_bundle=00 x", told.server.base);
    (Machine::new(&command_line, "00", &[("a".to_owned(), "1-r0".to_owned())]), told)
}

struct Told {
    server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl Told {
    fn now(&self, answer: &str) {
        self.server.put("/check-in", Reply::File(answer.as_bytes().to_vec()));
    }
}

#[test]
fn a_machine_reports_what_it_is_and_then_how_it_is_at_its_interval() {
    let site = Site::published();
    let server = site.serve_with("[fleet]\ncheck-in-interval = \"60s\"\n", &["--dhcp", "off"]);
    let mut machine = Machine::booting(&site, &server);
    machine.log_in(true);
    machine.write(
        "run/rc-status",
        "Runlevel: shutdown\n killprocs [ stopped ]\nRunlevel: default\n chronyd [ crashed ]\n",
    );
    machine.program("etc/bivouac/health.d/required.d/vdi", "echo reached");
    machine.program("etc/bivouac/health.d/wanted.d/printer", "printf 'no paper\\nreally\\n'; exit 3");
    machine.start();
    let up = listed(&site);
    assert_eq!((up["state"].as_str(), &up["problems"]), (Some("up"), &serde_json::json!([])), "{up:#}");
    assert_eq!(up["good"], true, "{up:#}");
    assert_eq!(
        up["remarks"],
        serde_json::json!(["service chronyd does not run", "wanted check printer failed: no paper"])
    );
    let vitals = &up["vitals"];
    assert_eq!((vitals["uptime"].as_u64(), vitals["memory"]["available"].as_u64()), (Some(100), Some(900)), "{up:#}");
    assert_eq!(vitals["users"], serde_json::json!(["alice"]), "{up:#}");
    assert_eq!(up["running"]["world"], serde_json::json!(["alpine-base"]));
    assert_eq!(machine.read("dev/console"), "Bivouac check-in: ok\n");

    assert_eq!((machine.reported("inventory").len(), machine.reported("installed").len()), (1, 0));
    for _ in 0..3 {
        let seconds = machine.pass_to_report();
        assert!((54..=66).contains(&seconds), "{seconds}");
        assert_eq!((machine.reported("package").len(), machine.reported("installed").len()), (0, 1));
    }
    // Somebody installs something.
    let installed = format!("{}P:vim\nV:9-r0\n\n", machine.read("lib/apk/db/installed"));
    machine.write("lib/apk/db/installed", &installed);
    machine.pass_to_report();
    assert_eq!(machine.reported("inventory").len(), 1);
    assert!(machine.read("dev/console").ends_with("check-in: installed beyond the bundle: vim-9-r0\n"));
    machine.pass_to_report();
    assert_eq!(machine.reported("installed").len(), 1);
    assert_eq!(machine.read("run/errors"), "");
    server.stop();
    let wrong = listed(&site);
    assert_eq!(wrong["problems"], serde_json::json!(["installed beyond the bundle: vim-9-r0"]), "{wrong:#}");
    assert_eq!((wrong["good"].as_bool(), wrong["vitals"]["uptime"].as_u64()), (Some(false), Some(machine.now())));
}

#[test]
fn a_required_check_that_is_red_at_boot_is_looked_at_again_soon() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    let mut machine = Machine::booting(&site, &server);
    machine.program("etc/bivouac/health.d/required.d/10-vdi", "echo attempt $$; exit 1");
    machine.write("etc/bivouac/health.d/required.d/20-text", "not executable");
    machine.start();
    let red = listed(&site);
    assert_eq!((red["state"].as_str(), red["good"].as_bool()), (Some("wrong"), Some(false)), "{red:#}");
    let problems = red["problems"].to_string();
    assert!(problems.contains("required check 10-vdi failed: attempt"), "{problems}");
    assert!(problems.contains("required check 20-text failed: it is not executable"), "{problems}");
    let report = machine.read("run/bivouac/report");
    machine.pass_seconds(20);
    assert_eq!(machine.read("run/bivouac/report"), report, "other words of the same failure are no news");
    for check in ["10-vdi", "20-text"] {
        machine.program(&format!("etc/bivouac/health.d/required.d/{check}"), "exit 0");
    }
    let seconds = machine.pass_to_report();
    assert!(seconds <= 20, "{seconds}");
    server.stop();
    let green = listed(&site);
    assert_eq!((green["state"].as_str(), green["good"].as_bool()), (Some("up"), Some(true)), "{green:#}");
}

#[test]
fn a_server_that_is_away_is_asked_again_within_a_minute_and_logged_once() {
    let (mut machine, told) = told("");
    told.server.remove("/check-in");
    machine.start();
    // It is heard, and refused, which does not change in a second.
    let first = machine.pass_to_report();
    assert!((54..=66).contains(&first), "{first}");
    for _ in 0..4 {
        assert!(machine.pass_to_report() <= 66);
    }
    told.now("ok\ninterval 120\n");
    machine.pass_to_report();
    let log = machine.read("run/log");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(lines[0].starts_with("not heard by the server: ") && lines[0].contains("404"), "{log}");
    assert_eq!(lines[1..], ["heard by the server again", "ok"]);
    let seconds = machine.pass_to_report();
    assert!((108..=132).contains(&seconds), "{seconds}");
}

#[test]
fn a_server_that_nobody_reaches_is_asked_at_growing_distances() {
    let (mut machine, told) = told("ok\n");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let line = machine.read("proc/cmdline").replace(&told.server.base, &format!("http://{nobody}"));
    machine.write("proc/cmdline", &line);
    machine.start();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        pauses.push(machine.pass_to_report());
    }
    assert!(pauses[0] <= 1 && pauses[..7].is_sorted() && pauses[8] <= 66 && pauses[8] >= 54, "{pauses:?}");
    assert_eq!(machine.read("run/log").lines().count(), 1, "{}", machine.read("run/log"));
}

#[test]
fn a_server_that_asks_for_everything_gets_it_at_once_and_a_stubborn_one_no_more_than_that() {
    let (mut machine, told) = told("ok\ninterval 60\n");
    machine.start();
    machine.pass_to_report();
    assert_eq!(machine.reported("installed").len(), 1);
    told.server.requests();
    told.now("full\n");
    machine.pass_to_report();
    assert_eq!((machine.reported("package"), machine.reported("world").len()), (vec!["a-1-r0".to_owned()], 1));
    assert_eq!(told.server.requests(), ["/check-in", "/check-in"]);
}

#[test]
fn a_machine_reboots_at_once_when_it_shall_and_says_so() {
    let (mut machine, told) = told("ok\ninterval 60\nfuture word\n");
    machine.log_in(true);
    machine.start();
    told.now("ok\ninterval 60\nreboot now\n");
    machine.pass_to_report();
    assert!(!machine.has_rebooted(), "its users have ten seconds");
    machine.pass();
    assert!(machine.has_rebooted());
    // The terminal is written to beside everything else.
    let is_told = |_| machine.read("dev/tty1").contains("This machine restarts in 10 seconds.");
    assert!((0..1_000_000).any(is_told));
}

#[test]
fn a_machine_that_reboots_when_idle_waits_until_nobody_is_there_for_so_long() {
    let (mut machine, told) = told("ok\ninterval 60\nreboot idle 120\n");
    machine.log_in(true);
    machine.start();
    // The order stands also when it is not repeated.
    told.now("ok\ninterval 60\n");
    machine.pass_seconds(300);
    assert!(!machine.has_rebooted());
    let idle = &machine.reported("idle")[0];
    assert!(idle.parse::<u64>().unwrap() < 60, "the terminal was just made: {idle}");
    machine.write("tmp/.X11-unix/X0", "");
    machine.pass_to_report();
    assert_eq!(machine.reported("idle"), Vec::<String>::new(), "nobody knows of input on a graphical screen");
    fs::remove_file(machine.path("tmp/.X11-unix/X0")).unwrap();
    machine.log_in(false);
    machine.pass_seconds(110);
    assert!(!machine.has_rebooted());
    assert_eq!(machine.reported("user"), Vec::<String>::new());
    machine.pass_seconds(20);
    assert!(machine.has_rebooted());
}

#[test]
fn a_machine_reboots_in_its_window_unless_that_is_taken_back() {
    let (mut machine, told) = told("ok\ninterval 60\nreboot window 600 900\n");
    machine.start();
    let moment = machine.read("run/bivouac/reboot");
    // A minute later, as far as a minute is one.
    told.now("ok\ninterval 60\nreboot window 540 840\n");
    machine.pass_to_report();
    assert_eq!(machine.read("run/bivouac/reboot"), moment, "the same window has the same moment");
    told.now("ok\ninterval 60\n");
    machine.pass_seconds(400);
    assert!(!machine.has_rebooted());
    machine.pass_seconds(500);
    assert!(machine.has_rebooted());
    fs::remove_file(machine.path("run/rebooted")).unwrap();
    told.now("ok\ninterval 60\nreboot window 600 900\n");
    machine.pass_to_report();
    told.now("ok\ninterval 60\nreboot none\n");
    machine.pass_to_report();
    machine.pass_seconds(1200);
    assert!(!machine.has_rebooted());
    assert_eq!(machine.read("run/errors"), "");
}

#[test]
fn orders_that_are_none_change_nothing() {
    let bad = "ok\ninterval soon\ninterval 0\ninterval -5\nreboot\nreboot later\nreboot idle\nreboot idle x\n\
               reboot window 5\nreboot window 9 5\nreboot window 1 $(reboot)\nreboot idle 99999999999\nmessage\n\n";
    let (mut machine, told) = told(bad);
    machine.start();
    told.now("ok\ninterval 30\n");
    let seconds = machine.pass_to_report();
    assert!((270..=330).contains(&seconds), "{seconds}");
    machine.pass_seconds(600);
    assert!(!machine.has_rebooted() && !machine.path("run/bivouac/reboot").exists());
    assert_eq!(machine.read("run/errors"), "");
}

#[test]
fn a_message_is_shown_once_everywhere_and_the_server_is_told_so() {
    let text = "Bitte speichern Sie: \u{fc}ber \\n $HOME `id` \"quoted\"";
    let (mut machine, told) = told(&format!("ok\ninterval 60\nmessage {text}\n"));
    machine.log_in(true);
    machine.program("etc/bivouac/message.d/window", "printf '%s\\n' \"$#:$1\" >> $root/run/shown");
    machine.start();
    machine.pass_to_report();
    assert_eq!(machine.reported("heard"), [heard(text).to_string()]);
    let is_shown = |_| machine.read("run/shown") == format!("1:{text}\n") && machine.read("dev/tty1").contains(text);
    assert!((0..1_000_000).any(is_shown), "{}", machine.read("run/shown"));
    told.now("ok\ninterval 60\n");
    machine.pass_to_report();
    told.now(&format!("ok\ninterval 60\nmessage {text}\n"));
    machine.pass_to_report();
    let is_shown = |_| machine.read("run/shown").lines().count() == 2;
    assert!((0..1_000_000).any(is_shown), "the same once more is another message");
}

#[test]
fn a_check_that_hangs_or_prints_for_ever_is_ended() {
    let (mut machine, _told) = told("ok\ninterval 60\n");
    machine.write("etc/conf.d/bivouac-check-in", "check_limit=4\n");
    let script = "etc/bivouac/health.d/wanted.d/";
    machine.program(&format!("{script}1-endless"), "echo first; exec yes");
    machine.program(&format!("{script}2-daemon"), "/bin/sleep 6 & echo started");
    machine.program(&format!("{script}bad name"), "exit 1");
    machine.program(&format!("{script}3-odd"), "printf 'a\\033[2J\\303\\274b\\0c\\n'; exit 7");
    machine.start();
    assert_eq!(
        machine.reported("check"),
        ["wanted 1-endless failed first", "wanted 2-daemon ok", "wanted 3-odd failed a[2Jbc"]
    );
}

#[test]
fn services_are_waited_for_a_while_before_the_first_report() {
    let (mut machine, _told) = told("ok\ninterval 60\n");
    machine.write(
        "run/rc-status",
        "Runlevel: default\n late [ stopped ]\n odd [ crashed ]\n up [ started 00:01:02 (0) ]\n",
    );
    fs::create_dir_all(machine.path("run/openrc/rc.starting")).unwrap();
    machine.start();
    assert_eq!(machine.read("run/bivouac/report"), "");
    while machine.read("run/bivouac/report").is_empty() {
        machine.pass();
    }
    assert_eq!(machine.now(), 115, "a service that hangs does not keep the machine from reporting");
    assert_eq!(machine.reported("failed-service"), ["odd"], "the other may come yet");
    fs::remove_dir(machine.path("run/openrc/rc.starting")).unwrap();
    assert!(machine.pass_to_report() <= 10);
    assert_eq!(machine.reported("failed-service"), ["late", "odd"]);
}

#[test]
fn a_graphical_session_of_elogind_is_one() {
    let (mut machine, _told) = told("ok\ninterval 60\n");
    machine.log_in(true);
    let session = |name: &str, text: &str| machine.write(&format!("run/systemd/sessions/{name}"), text);
    session("1", "UID=1000\nUSER=carol\nACTIVE=1\nSTATE=active\nTTY=:0\nTYPE=x11\nCLASS=user\n");
    session("1.ref", "");
    session("2", "UID=990\nUSER=lightdm\nSTATE=online\nCLASS=greeter\n");
    session("3", "UID=1001\nUSER=dave\nSTATE=closing\nCLASS=user\n");
    session("c4", "UID=1002\nUSER=erin\nSTATE=online\nCLASS=user\n");
    session("5", "UID=1\nUSER=alice\nSTATE=active\nTTY=tty1\nCLASS=user\n");
    machine.start();
    assert_eq!(machine.reported("user"), ["alice", "carol", "erin"]);
    assert_eq!(machine.read("run/errors"), "");
}

#[test]
fn the_token_is_in_no_list_of_processes_and_in_no_file_that_others_read() {
    let (mut machine, told) = told("ok\ninterval 60\n");
    machine.start();
    assert_eq!(told.server.requests(), ["/check-in"]);
    assert!(machine.read("run/bivouac/report").starts_with("token 0123\n"));
    for (name, mode) in [("run/bivouac", 0o700), ("run/bivouac/report", 0o600), ("proc/cmdline", 0o400)] {
        assert_eq!(fs::metadata(machine.path(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
}
