//! `try`, as far as it goes without QEMU: what it says when it cannot try, and that it leaves nothing behind. Machines that
//! really boot are with the boot tests.

use std::os::unix::fs::PermissionsExt as _;
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
        (&["hello", "--timeout", "soon"], "invalid value 'soon' for '--timeout <TIME>'"),
        (&[], "<PROFILE|REF>"),
        (&["helo"], "there is no profile `helo`"),
        (&["hello@1"], "profile `hello` has no release; run `bivouac publish hello`"),
        (&["hello", "--locked"], "lock"),
        (&["hello", "--console", "/proc/none/log"], "/proc/none"),
    ] {
        let ran = site.tried(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
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
