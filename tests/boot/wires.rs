//! Network namespaces joined by wires, for tests that need no machine.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::lab::{Process, ip};
use crate::site::Site;

/// Network namespaces with wires between them, and a folder for everything a test writes.
pub struct Wires {
    names: Vec<String>,
    folder: tempfile::TempDir,
}

impl Wires {
    /// Makes a namespace for each of `places`.
    pub fn new<const N: usize>(test: &str, places: [&str; N]) -> Self {
        let names = places.map(|place| format!("bvt{}{test}-{place}", std::process::id()));
        let wires = Self { names: names.to_vec(), folder: tempfile::tempdir().unwrap() };
        for name in &wires.names {
            ip(&["netns", "add", name]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        wires
    }

    /// Joins two namespaces by a wire; each end has a device and an address, or none (`""`).
    pub fn join(&self, [(near, device, address), (far, peer, peer_address)]: [(usize, &str, &str); 2]) {
        let (near, far) = (&self.names[near], &self.names[far]);
        ip(&["-n", near, "link", "add", device, "type", "veth", "peer", "name", peer, "netns", far]);
        for (name, device, address) in [(near, device, address), (far, peer, peer_address)] {
            if !address.is_empty() {
                ip(&["-n", name, "addr", "add", address, "dev", device]);
            }
            ip(&["-n", name, "link", "set", device, "up"]);
        }
    }

    /// A place for files of this test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and returns where it is.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Has `ip` do something in one of the namespaces.
    pub fn ip(&self, place: usize, arguments: &[&str]) {
        ip(&[&["-n", &self.names[place]][..], arguments].concat());
    }

    /// A program in one of the namespaces.
    pub fn inside(&self, place: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[place], program]).current_dir(self.folder.path());
        command
    }

    /// Starts our server with what a site has published and this `[dhcp]` table.
    pub fn serve(&self, place: usize, site: &Site, dhcp: &str) -> Process {
        self.write("bivouac.toml", &format!("default-profile = \"hello\"\n[dhcp]\n{dhcp}"));
        let mut command = self.inside(place, env!("CARGO_BIN_EXE_bivouac"));
        command.args(["serve", "--verbose", "--state"]).arg(site.state());
        let mut server = Process::start("bivouac serve", command);
        server.wait_for("ready", Duration::from_secs(20));
        server
    }

    /// Does something in one of the namespaces.
    pub fn within<T: Send>(&self, place: usize, work: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(Path::new("/run/netns").join(&self.names[place])).unwrap();
        // A thread has a namespace of its own, and takes it along when it ends.
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                nix::sched::setns(namespace.as_fd(), nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        for name in &self.names {
            // One that could not be made cannot be removed either.
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

/// Runs a program to its end, which must be a good one.
pub fn done(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {out}{err}");
    out.into_owned()
}
