//! The servers, each as its users set it up for one large network, with its leases on the disk.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Lab, Mode};

/// The first address of the pool.
const FIRST: &str = "10.78.1.0";

/// The last.
const LAST: &str = "10.78.254.255";

/// The server's end of the wire, and the clients'.
pub const DEVICES: [&str; 2] = ["v0", "v1"];

/// A server that runs.
pub struct Running {
    name: &'static str,
    child: Child,
}

impl Lab {
    /// Starts a server in its namespace with an empty lease file.
    pub fn start(&self, name: &'static str, mode: Mode) -> Running {
        let folder = &self.folder;
        if folder.exists() {
            std::fs::remove_dir_all(folder).unwrap();
        }
        std::fs::create_dir(folder).unwrap();
        let (mut command, ready) = match name {
            "bivouac" => self.bivouac(folder, mode),
            "Kea" => self.kea(folder),
            "ISC dhcpd" => self.dhcpd(folder),
            "dnsmasq" => self.dnsmasq(folder, mode),
            _ => {
                let mut command = inside(&self.server, std::env::current_exe().unwrap().to_str().unwrap());
                command.arg("loop");
                (command, "ready")
            }
        };
        Running::start(name, command.current_dir(folder), ready)
    }

    fn bivouac(&self, folder: &Path, mode: Mode) -> (Command, &'static str) {
        let dhcp = match mode {
            Mode::Full => format!("mode = \"full\"\npool = \"{FIRST}-{LAST}\"\nnetmask = \"255.255.0.0\"\n"),
            Mode::Proxy => "mode = \"proxy\"\n".to_owned(),
        };
        let site = format!("[dhcp]\n{dhcp}interfaces = [\"{}\"]\n", DEVICES[0]);
        std::fs::write(folder.join("bivouac.toml"), site).unwrap();
        // What is published, without what an earlier run left beside it.
        let (from, to) = (self.site.join("state/store"), folder.join("state"));
        std::fs::create_dir(&to).unwrap();
        assert!(Command::new("cp").arg("-al").args([from, to]).status().unwrap().success());
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/bivouac");
        let mut command = inside(&self.server, program.to_str().unwrap());
        command.arg("serve");
        (command, "ready")
    }

    fn kea(&self, folder: &Path) -> (Command, &'static str) {
        let config = serde_json::json!({ "Dhcp4": {
            "interfaces-config": { "interfaces": [DEVICES[0]], "dhcp-socket-type": "udp" },
            "lease-database": { "type": "memfile", "persist": true, "name": folder.join("leases.csv"), "lfc-interval": 0 },
            "valid-lifetime": 3600,
            "subnet4": [{ "subnet": "10.78.0.0/16", "pools": [{ "pool": format!("{FIRST}-{LAST}") }] }],
            "loggers": [{ "name": "kea-dhcp4", "severity": "WARN", "output_options": [{ "output": "stderr" }] }],
        }});
        std::fs::write(folder.join("kea.json"), config.to_string()).unwrap();
        let mut command = inside(&self.server, "kea-dhcp4");
        command.args(["-c", "kea.json"]).env("KEA_PIDFILE_DIR", folder).env("KEA_LOCKFILE_DIR", folder);
        (command, "DHCP4_MULTI_THREADING_INFO")
    }

    fn dhcpd(&self, folder: &Path) -> (Command, &'static str) {
        let config = format!(
            "authoritative; ping-check false; default-lease-time 3600; max-lease-time 3600;\n\
             subnet 10.78.0.0 netmask 255.255.0.0 {{ range {FIRST} {LAST}; }}\n"
        );
        std::fs::write(folder.join("dhcpd.conf"), config).unwrap();
        std::fs::write(folder.join("leases"), "").unwrap();
        let mut command = inside(&self.server, "dhcpd");
        command.args(["-4", "-f", "-cf", "dhcpd.conf", "-lf", "leases", "-pf"]).arg(folder.join("pid")).arg(DEVICES[0]);
        (command, "Sending on   Socket/fallback")
    }

    fn dnsmasq(&self, folder: &Path, mode: Mode) -> (Command, &'static str) {
        let mut command = inside(&self.server, "dnsmasq");
        command.args(["--keep-in-foreground", "--log-facility=-", "--port=0", "--conf-file=/dev/null", "--user=root"]);
        command.args(["--bind-interfaces", "--no-ping", "--quiet-dhcp", "--pid-file=", "--dhcp-lease-max=65000"]);
        command.arg(format!("--interface={}", DEVICES[0]));
        command.arg(format!("--dhcp-leasefile={}", folder.join("leases").display()));
        match mode {
            Mode::Full => command.arg(format!("--dhcp-range={FIRST},{LAST},255.255.0.0,1h")),
            Mode::Proxy => command
                .args(["--dhcp-range=10.78.0.0,proxy,255.255.0.0", "--pxe-service=X86-64_EFI,Boot,ipxe.efi"])
                .arg("--pxe-service=x86PC,Boot,undionly"),
        };
        (command, "sockets bound exclusively")
    }
}

impl Running {
    /// Starts a server and waits until it says `ready`; what it says after that is read and thrown away.
    fn start(name: &'static str, command: &mut Command, ready: &str) -> Self {
        let (output, input) = std::io::pipe().unwrap();
        let child = command.stdin(Stdio::null()).stdout(input.try_clone().unwrap()).stderr(input).spawn().unwrap();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut lines = BufReader::new(output).lines();
        let mut said = String::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("{name} ended:\n{said}")).unwrap();
            writeln!(said, "{line}").unwrap();
            if line.contains(ready) {
                break;
            }
        }
        thread::spawn(move || lines.for_each(drop));
        Self { name, child }
    }

    /// Lets it sleep, whatever it was doing.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Ends it at once.
    pub fn stop(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "{} ended while it was measured", self.name);
    }

    /// What the process has used so far.
    pub fn processor_seconds(&self) -> f64 {
        super::cost::processor_seconds(self.child.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program in a namespace.
pub fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}
