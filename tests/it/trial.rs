//! `try`, as far as it goes without QEMU: what it says when it cannot try, and that it leaves nothing behind. Machines that
//! really boot are with the boot tests.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::site::{Ran, Site};

/// Longer than anything takes that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program in place of QEMU that runs forever and never checks in.
const IDLE: &str = "echo $$ >\"$0.pid\"; exec sleep 3600";

impl Site {
    /// Puts a shell script where QEMU would be.
    fn fake_qemu(&self, script: &str) {
        self.write("bin/qemu-system-x86_64", &format!("#!/bin/sh\n{script}\n"));
        let path = self.path("bin/qemu-system-x86_64");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `try` with nothing else in PATH than that and the usual tools.
    fn trial(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&[&["try"], arguments].concat());
        command.env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()));
        command
    }

    fn tried(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.trial(arguments).output().unwrap(), self)
    }

    /// What a run has left in its folder.
    fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = std::fs::read_dir(self.path("state/try"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        left
    }

    /// Waits until the program in QEMU's place runs; its number.
    fn fake_pid(&self) -> Pid {
        let file = self.path("bin/qemu-system-x86_64.pid");
        let mut pid = None;
        until("QEMU was started", || {
            pid = std::fs::read_to_string(&file).ok().and_then(|text| text.trim_end().parse().ok());
            pid.is_some() && std::fs::read_to_string(&file).unwrap().ends_with('\n')
        });
        Pid::from_raw(pid.unwrap())
    }
}

/// Answers what QEMU is asked first, and then where its screen is; its control is standard output. As if the processor
/// could not run it, where it is asked to.
const SHOWN: &str = "case \"$*\" in *'-accel kvm'*) exit 1; esac
    echo $$ >\"$0.pid\"; read -r greeting <&1; read -r question <&1
    echo '{\"return\": {\"host\": \"127.0.0.1\", \"service\": \"5907\", \"enabled\": true}, \"id\": 2}' >&1
    exec sleep 3600";

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "never came to be: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a program runs; one that has ended and waits for its parent does not.
fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).is_some_and(|state| state != 'Z')
}

#[test]
fn what_is_missing_is_said_before_anything_is_built() {
    let site = Site::new();
    let empty = site.path("bin");
    let mut command = site.command(&["try", "hello"]);
    let ran = Ran::of(command.env("PATH", &empty).output().unwrap(), &site);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(
        ran.err.starts_with("error: nothing can be tried here\ncaused by: `qemu-system-x86_64` is not"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("`qemu-system-x86` (Debian, Ubuntu) or `qemu-system-x86_64` (Alpine)"), "{}", ran.err);
    assert_eq!((ran.out.as_str(), site.path("state/store").exists()), ("", false));
    // A QEMU that opens no windows, as servers have one.
    site.fake_qemu("echo Available display backend types:; echo none; echo curses");
    let ran = site.tried(&["hello", "--display", "window"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(
        ran.err.contains("install the package `qemu-system-gui`") && ran.err.contains("--display vnc"),
        "{}",
        ran.err
    );
}

#[test]
fn a_word_that_cannot_be_meant_is_refused_with_those_that_can() {
    let site = Site::new();
    site.fake_qemu(IDLE);
    for (arguments, said) in [
        (&["hello", "--ram", "lots"][..], "`lots` is no size of memory; write a number and M or G, from 128M to 1024G"),
        (&["hello", "--ram", "64M"], "`64M` is no size of memory"),
        (&["hello", "--firmware", "coreboot"], "[possible values: bios, uefi, http]"),
        (&["hello", "--display", "tv"], "[possible values: none, vnc, window]"),
        (&["hello", "--network", "half"], "[possible values: closed, open]"),
        (&["hello", "--timeout", "soon"], "invalid value 'soon' for '--timeout <TIME>'"),
        (&[], "<PROFILE|REF>"),
        (&["helo"], "there is no profile `helo`"),
        (&["hello@1"], "profile `hello` has no release; run `bivouac publish hello`"),
        (&["hello", "--locked"], "lock"),
        (&["hello", "--console", "/proc/none/log"], "/proc/none"),
        (&["hello", "--var", "motd=x"], "no file of profile `hello` is made for each machine"),
    ] {
        let ran = site.tried(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
    }
}

/// A profile with a value that each machine has to have, one of another kind, and one with a default.
fn with_values(site: &Site) {
    site.write(
        "profiles/room/profile.toml",
        "overlays = [\"base\", \"network\", \"check-in\"]\n[vars]\ngreeting = \"hello\"\n\
         seat = { type = \"integer\", required = \"machine\", description = \"where it stands\" }\n\
         doors = { type = \"list\", required = \"machine\" }\n",
    );
    let template = "{{ vars.greeting }} {{ vars.seat + 1 }} {{ vars.doors | length }} {{ machine.mac }}\n";
    site.write("profiles/room/root/etc/seat.tmpl", template);
}

#[test]
fn values_that_each_machine_has_are_asked_for_before_anything_is_started() {
    let site = Site::new();
    with_values(&site);
    site.fake_qemu("echo started >\"$0.pid\"");
    for (arguments, said) in [
        (&[][..], "add --var doors=VALUE (list) and --var seat=VALUE (integer: where it stands)\n"),
        (&["--var", "doors=a,b"], "and this one has none; add --var seat=VALUE"),
        (&["--var", "seat=front", "--var", "doors="], "the variable `seat` is of type integer, and `front` is not"),
        (&["--var", "seat=1", "--var", "seet=1"], "did you mean `seat`"),
    ] {
        let ran = site.tried(&[&["room"], arguments].concat());
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
    }
    assert!(!site.path("bin/qemu-system-x86_64.pid").exists());
}

#[test]
fn what_is_no_value_is_refused_before_anything_is_looked_for() {
    let ran = Site::new().run(&["try", "room", "--var", "seat"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("`seat` is no value; write NAME=VALUE"), "{}", ran.err);
}

#[test]
fn a_machine_is_given_the_values_and_reaches_its_server_and_nothing_else() {
    let site = Site::new();
    with_values(&site);
    // What the firmware would have, by the command that QEMU is to start for each connection.
    site.fake_qemu(
        "for argument; do case $argument in user,*) network=$argument; esac; done
         echo \"$network\" >\"$0.network\"
         exec python3 -c 'import shlex, socket, subprocess, sys
program = shlex.split(sys.argv[1].split(\"-cmd:\", 1)[1].replace(\",,\", \",\"))
def get(path):
    ours, its = socket.socketpair()
    subprocess.Popen(program, stdin=its, stdout=its, close_fds=True)
    its.close()
    ours.sendall(b\"GET \" + path.encode() + b\" HTTP/1.0\\r\\n\\r\\n\")
    return ours.makefile(\"rb\").read().decode(errors=\"replace\")
open(sys.argv[2] + \".said\", \"w\").write(get(\"/script?mac=52:54:00:74:72:79\"))
import time; time.sleep(3600)' \"$network\" \"$0\"",
    );
    let arguments = ["room", "--var", "seat=6", "--var", "doors=a,b"];
    let mut child = site.trial(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let said = site.path("bin/qemu-system-x86_64.said");
    until("the script came", || std::fs::read_to_string(&said).is_ok_and(|text| text.contains("\nboot")));
    let script = std::fs::read_to_string(said).unwrap();
    assert!(script.contains("http://10.0.2.100/b/") && script.contains("bivouac_bundle="), "{script}");
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    child.wait().unwrap();
    let network = || std::fs::read_to_string(site.path("bin/qemu-system-x86_64.network")).unwrap();
    assert!(network().starts_with("user,id=outside,restrict=on,"), "{}", network());
    let open = ["room", "--var", "seat=6", "--var", "doors=a,b", "--network", "open", "--timeout", "0s"];
    assert_eq!(site.tried(&open).code, Some(1));
    assert!(network().starts_with("user,id=outside,restrict=off,"), "{}", network());
}

#[test]
fn a_screen_is_told_where_to_look_at_and_stays_on() {
    let site = Site::published();
    site.fake_qemu(SHOWN);
    let mut command = site.trial(&["hello@1", "--display", "vnc", "--timeout", "0s"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = String::new();
    while !said.ends_with("it stays on; Ctrl-C switches it off\n") {
        said += &(lines.next().unwrap_or_else(|| panic!("it ended: {said}")).unwrap() + "\n");
    }
    assert!(said.contains("software emulation"), "{said}");
    assert!(said.contains("\nits screen is shown by VNC on 127.0.0.1:5907\n"), "{said}");
    let machine = site.fake_pid();
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(!runs(machine));
    // Nothing is said of the server, which ended twice as it was meant to.
    let mut warned = String::new();
    child.stderr.take().unwrap().read_to_string(&mut warned).unwrap();
    assert!(!warned.contains("transfers") && !warned.contains("WARN"), "{warned}");
}

#[test]
fn a_connection_of_the_machine_is_joined_to_the_server_until_both_have_said_all() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let (mut machine, its) = UnixStream::pair().unwrap();
    let other = its.try_clone().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bivouac"))
        .args(["join", &address])
        .stdin(OwnedFd::from(its))
        .stdout(OwnedFd::from(other))
        .spawn()
        .unwrap();
    let (mut stream, _) = server.accept().unwrap();
    machine.write_all(b"question").unwrap();
    machine.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "question");
    stream.write_all(b"answer").unwrap();
    drop(stream);
    let mut heard = String::new();
    machine.read_to_string(&mut heard).unwrap();
    assert_eq!((heard.as_str(), child.wait().unwrap().code()), ("answer", Some(0)));
    // Nobody serves, and standard input is no socket.
    drop(server);
    let (ours, _its) = UnixStream::pair().unwrap();
    for (input, why) in [(Stdio::from(OwnedFd::from(ours)), "nobody serves on"), (Stdio::null(), "is no socket")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bivouac"));
        let output = command.args(["join", &address]).stdin(input).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(why), "{said}");
    }
}

#[test]
fn a_machine_that_never_comes_up_ends_with_one_and_the_place_of_its_console() {
    let site = Site::new();
    site.fake_qemu("echo Booting from ROM.. >state/try/hello-bios.log; exec sleep 3600");
    let ran = site.tried(&["hello", "--timeout", "1s"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let said = "it did not come up in time, and nothing was heard of it: its firmware did not ask how to boot\n";
    assert!(ran.out.contains(said), "{}", ran.out);
    assert!(ran.out.contains("the last lines of its console:\n  | Booting from ROM..\n"), "{}", ran.out);
    assert!(ran.out.ends_with("\nconsole log: SITE/state/try/hello-bios.log\n"), "{}", ran.out);
    assert_eq!(site.left(), ["hello-bios.log", "lock"]);
    // Nothing of it is seen by anybody else.
    assert_eq!(site.run(&["list", "--json"]).out.trim(), "[]");
    assert!(!site.path("state/fleet.sqlite").exists());
}

#[test]
fn a_kernel_that_panics_is_not_waited_for() {
    let site = Site::new();
    let log = site.path("own.log");
    site.fake_qemu(&format!(
        "echo '[ 1.0] Kernel panic - not syncing: No working init found.' >{}; exec sleep 3600",
        log.display()
    ));
    let ran = site.tried(&["hello", "--console", "own.log"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.out.contains("its kernel panicked: No working init found.\n"), "{}", ran.out);
    assert!(ran.out.ends_with("\nconsole log: SITE/own.log\n"), "{}", ran.out);
}

#[test]
fn a_qemu_that_does_not_run_could_not_try() {
    let site = Site::new();
    site.fake_qemu("echo 'failed to find romfile \"efi-virtio.rom\"' >&2; exit 1");
    let ran = site.tried(&["hello"]);
    assert_eq!(ran.code, Some(2), "{}", ran.out);
    assert!(ran.err.contains("QEMU ended: failed to find romfile \"efi-virtio.rom\""), "{}", ran.err);
    assert_eq!(site.left(), ["hello-bios.log", "lock"]);
}

#[test]
fn what_was_published_is_tried_as_it_was_and_without_its_profile() {
    let site = Site::published();
    site.fake_qemu(IDLE);
    std::fs::remove_dir_all(site.path("profiles/hello")).unwrap();
    let list: serde_json::Value = serde_json::from_str(&site.run(&["list", "--json"]).out).unwrap();
    let bundle = list[0]["bundle"].as_str().unwrap();
    for reference in ["hello@1", "hello:stable", bundle, &bundle[..12]] {
        let ran = site.tried(&[reference, "--timeout", "0s"]);
        assert_eq!(ran.code, Some(1), "{}", ran.err);
        let shown = format!("hello boots in QEMU: bundle {}, bios, 1 GiB, ", &bundle[..12]);
        assert!(ran.out.starts_with(&shown), "{}", ran.out);
    }
}

#[test]
fn a_run_that_is_stopped_takes_its_machine_along_and_leaves_only_the_log() {
    let site = Site::published();
    site.fake_qemu(IDLE);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let child = site.trial(&["hello@1"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let machine = site.fake_pid();
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        let ran = Ran::of(child.wait_with_output().unwrap(), &site);
        assert_eq!(ran.code, Some(2), "{}", ran.err);
        assert!(ran.err.contains("error: stopped before the machine was up\n"), "{}", ran.err);
        assert!(!runs(machine));
        assert_eq!(site.left(), ["hello-bios.log", "lock"]);
        std::fs::remove_file(site.path("bin/qemu-system-x86_64.pid")).unwrap();
    }
}

#[test]
fn a_run_that_is_killed_takes_its_machine_along_and_the_next_one_cleans_up() {
    let site = Site::published();
    site.fake_qemu(IDLE);
    let mut child = site.trial(&["hello@1"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let machine = site.fake_pid();
    child.kill().unwrap();
    child.wait().unwrap();
    until("the machine ended", || !runs(machine));
    assert_eq!(site.left().len(), 3);
    assert_eq!(site.tried(&["hello@1", "--timeout", "0s"]).code, Some(1));
    assert_eq!(site.left(), ["hello-bios.log", "lock"]);
}

#[test]
fn two_runs_at_once_are_not_in_each_others_way() {
    let site = Site::published();
    site.fake_qemu(IDLE);
    let mut first = site.trial(&["hello@1"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    site.fake_pid();
    let ran = site.tried(&["hello@1", "--timeout", "0s", "--console", "second.log"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let folders = || site.left().iter().filter(|name| name.starts_with(".tmp-")).count();
    assert_eq!(folders(), 1, "{:?}", site.left());
    assert!(Path::new(&site.path("second.log")).exists());
    kill(Pid::from_raw(first.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(2));
    assert_eq!(folders(), 0);
}
