//! A network of its own for one test: namespaces, a bridge, a machine in QEMU, and the programs that run there.
//!
//! ```text
//! namespace A: br0 10.77.0.1/24 ─── tap0 ─── QEMU (the machine)
//!               │                      bivouac serve listens here
//!               └── veth ── namespace B: eth0 10.77.0.2/24, another DHCP server
//! ```
//!
//! Nothing leaves the namespaces, and all of it goes away with the [`Lab`]. [`Lab::with_relay`] moves the server to
//! namespace B, to a network of its own behind a relay in A.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bivouac::model::boot::Step;

/// The address of the server in namespace A.
pub const SERVER: &str = "10.77.0.1";

/// The address of the other DHCP server in namespace B.
const NEIGHBOUR: &str = "10.77.0.2/24";

/// The machine's address.
pub const MAC: &str = "52:54:00:77:00:01";

/// The machine's SMBIOS UUID.
pub const UUID: &str = "6f9619ff-8b86-4011-b42d-00cf4fc964ff";

/// How long a boot may take under software emulation on a busy host.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// What kind of machine boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// SeaBIOS with the iPXE ROM that comes with QEMU's network card.
    BiosRom,
    /// OVMF's own PXE client.
    UefiPxe,
    /// OVMF's HTTP boot client.
    UefiHttp,
}

/// What a machine says of itself, and where it is plugged in.
struct Who<'a> {
    mac: &'a str,
    uuid: &'a str,
    serial: &'a str,
    tap: &'a str,
}

impl Who<'_> {
    /// The machine of a test that needs just one.
    const fn the_only_one() -> Self {
        Self { mac: MAC, uuid: UUID, serial: "PC 7", tap: "tap0" }
    }
}

/// The namespaces, and a folder for everything the test writes.
pub struct Lab {
    name: String,
    folder: tempfile::TempDir,
    processes: Vec<Process>,
    /// Whether the server is in namespace B.
    is_relayed: bool,
}

/// Where a plain DHCP server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// On another computer than ours.
    Elsewhere,
    /// On the same one.
    Beside,
}

/// A program that runs in a namespace; it is stopped when this goes away.
pub struct Process {
    what: String,
    started: Instant,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Lab {
    /// Makes the namespaces.
    pub fn new(name: &str) -> Self {
        let name = format!("bvt{}{name}", std::process::id());
        let lab = Self { name, folder: tempfile::tempdir().unwrap(), processes: Vec::new(), is_relayed: false };
        let (a, b) = (lab.a(), lab.b());
        ip(&["netns", "add", &a]);
        ip(&["netns", "add", &b]);
        for set_up in [
            "link set lo up",
            "link add br0 type bridge forward_delay 0",
            &format!("addr add {SERVER}/24 dev br0"),
            "tuntap add tap0 mode tap",
            "link set tap0 master br0",
            &format!("link add veth0 type veth peer name eth0 netns {b}"),
            "link set veth0 master br0",
            "link set veth0 up",
            "link set tap0 up",
            "link set br0 up",
        ] {
            ip(&[&["-n", &a][..], &set_up.split(' ').collect::<Vec<_>>()].concat());
        }
        for set_up in
            [format!("addr add {NEIGHBOUR} dev eth0"), "link set eth0 up".to_owned(), "link set lo up".to_owned()]
        {
            ip(&[&["-n", &b][..], &set_up.split(' ').collect::<Vec<_>>()].concat());
        }
        lab
    }

    /// Makes the namespaces so that machines reach the server, which is in a network of its own, by a router that is a
    /// DHCP relay too. Returns the site file the server needs as well.
    pub fn with_relay(name: &str) -> (Self, PathBuf) {
        let mut lab = Self::new(name);
        lab.is_relayed = true;
        let (a, b) = (lab.a(), lab.b());
        ip(&["-n", &a, "link", "set", "veth0", "nomaster"]);
        ip(&["-n", &a, "addr", "add", "10.78.0.1/24", "dev", "veth0"]);
        ip(&["-n", &b, "addr", "flush", "dev", "eth0"]);
        ip(&["-n", &b, "addr", "add", "10.78.0.2/24", "dev", "eth0"]);
        ip(&["-n", &b, "route", "add", "default", "via", "10.78.0.1"]);
        let mut forward = lab.inside(&a, "sh");
        assert!(forward.args(["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]).status().unwrap().success());
        let mut relay = lab.inside(&a, "dhcrelay");
        relay.args(["-4", "-d", "-a", "-iu", "veth0", "-id", "br0", "--no-pid", "10.78.0.2"]);
        let mut relay = Process::start("dhcrelay", relay);
        relay.wait_for("Sending on   Socket/fallback", Duration::from_secs(20));
        lab.processes.push(relay);
        let file = lab.path("bivouac.toml");
        let table = format!(
            "[dhcp]\nmode = \"full\"\n[[dhcp.subnet]]\nnetwork = \"10.77.0.0/24\"\n\
             pool = \"10.77.0.100-10.77.0.199\"\nrouter = \"{SERVER}\"\n"
        );
        fs::write(&file, table).unwrap();
        (lab, file)
    }

    fn a(&self) -> String {
        format!("{}a", self.name)
    }

    fn b(&self) -> String {
        format!("{}b", self.name)
    }

    /// A place for files of this test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the server, beside the bridge if nothing else was said, and waits until it serves.
    pub fn serve(&self, state: &Path, flags: &[&str]) -> Process {
        let (place, interface) = if self.is_relayed { (self.b(), "eth0") } else { (self.a(), "br0") };
        let mut command = self.inside(&place, env!("CARGO_BIN_EXE_bivouac"));
        command
            .args(["serve", "--verbose", "--interface", interface, "--default-profile", "hello", "--state"])
            .arg(state)
            .args(flags);
        let mut server = Process::start("bivouac serve", command);
        server.wait_for("ready", Duration::from_secs(20));
        server
    }

    /// Starts a plain DHCP server that knows nothing of booting, as a site has one.
    pub fn plain_dhcp(&mut self, neighbour: Neighbour) {
        let (place, interface) = match neighbour {
            Neighbour::Elsewhere => (self.b(), "eth0"),
            Neighbour::Beside => (self.a(), "br0"),
        };
        let lease_file = self.path("dnsmasq.leases");
        let mut command = self.inside(&place, "dnsmasq");
        command
            .args([
                "--keep-in-foreground",
                "--log-facility=-",
                "--log-dhcp",
                "--port=0",
                "--conf-file=/dev/null",
                "--user=root",
            ])
            .args(["--bind-interfaces", "--dhcp-range=10.77.0.50,10.77.0.99,255.255.255.0,1h"])
            .arg(format!("--interface={interface}"))
            .arg(format!("--dhcp-leasefile={}", lease_file.display()))
            .arg("--pid-file=");
        let mut process = Process::start("dnsmasq", command);
        process.wait_for("DHCP, IP range", Duration::from_secs(20));
        self.processes.push(process);
    }

    /// Puts somebody between the machines and the server, who changes a bit of every answer whose path has `text`.
    /// Returns the address to which machines have to be sent.
    pub fn tamper(&self, text: &str) -> (Process, String) {
        let mut command = self.inside(&self.a(), "python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boot/tamper.py"));
        command.args([SERVER, "8081", &format!("http://{SERVER}"), text]);
        let mut middle = Process::start("tamper.py", command);
        middle.wait_for("listening", Duration::from_secs(20));
        (middle, format!("http://{SERVER}:8081"))
    }

    /// Switches a BIOS machine on that has a disk, whose first sector says `from the disk` on the console.
    pub fn power_on_with_disk(&self) -> Process {
        // Sends the text at 0x7c15 to the first serial port, and stops.
        let code =
            b"\x31\xc0\x8e\xd8\xbe\x15\x7c\xba\xf8\x03\xac\x08\xc0\x74\x03\xee\xeb\xf8\xf4\xeb\xfdfrom the disk\r\n\0";
        let mut sector = vec![0; 1 << 20];
        sector[..code.len()].copy_from_slice(code);
        sector[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        let disk = self.path("disk.img");
        fs::write(&disk, sector).unwrap();
        let disk = format!("format=raw,file={}", disk.display());
        self.start(Machine::BiosRom, &Who::the_only_one(), &["-no-reboot", "-drive", &disk])
    }

    /// Switches a UEFI machine on that has a disk too, whose boot loader says `from the disk` on the console.
    pub fn power_on_with_system_partition(&self) -> Process {
        let (disk, loader, commands) = (self.path("disk.img"), self.path("bootx64.efi"), self.path("grub.cfg"));
        fs::write(&commands, "echo from the disk\necho\nsleep 3600\n").unwrap();
        let inside = format!("boot/grub/grub.cfg={}", commands.display());
        run("grub-mkstandalone", &["--format=x86_64-efi", "--output", loader.to_str().unwrap(), &inside]);
        let image = ["-i", disk.to_str().unwrap()];
        run("mformat", &[&image[..], &["-C", "-F", "-T", "131072", "::"]].concat());
        run("mmd", &[&image[..], &["::/EFI", "::/EFI/BOOT"]].concat());
        run("mcopy", &[&image[..], &[loader.to_str().unwrap(), "::/EFI/BOOT/BOOTX64.EFI"]].concat());
        let drive = format!("if=none,id=disk,format=raw,file={}", disk.display());
        let more = ["-no-reboot", "-drive", &drive, "-device", "virtio-blk-pci,drive=disk,bootindex=1"];
        self.start(Machine::UefiPxe, &Who::the_only_one(), &more)
    }

    /// Switches the machine on. It stops where others would reboot.
    pub fn power_on(&self, machine: Machine) -> Process {
        self.start(machine, &Who::the_only_one(), &["-no-reboot"])
    }

    /// Switches one of several BIOS machines on, which has an address of its own and reboots when it is told to.
    pub fn power_on_another(&self, mac: &str) -> Process {
        let number = mac.rsplit(':').next().unwrap();
        let tap = format!("tap{number}");
        for set_up in [format!("tuntap add {tap} mode tap"), format!("link set {tap} master br0 up")] {
            ip(&[&["-n", &self.a()][..], &set_up.split(' ').collect::<Vec<_>>()].concat());
        }
        let who = Who {
            mac,
            uuid: &format!("{}{number}", &UUID[..UUID.len() - 2]),
            serial: &format!("PC {number}"),
            tap: &tap,
        };
        self.start(Machine::BiosRom, &who, &[])
    }

    fn start(&self, machine: Machine, who: &Who<'_>, more: &[&str]) -> Process {
        let Who { mac, uuid, serial, tap } = who;
        let mut qemu = self.inside(&self.a(), "qemu-system-x86_64");
        qemu.args([
            "-accel",
            "tcg",
            "-machine",
            "q35",
            "-m",
            "640",
            "-display",
            "none",
            "-monitor",
            "none",
            "-nodefaults",
        ])
        .args(["-serial", "stdio", "-device", "virtio-rng-pci"])
        .args(["-smbios", &format!("type=1,uuid={uuid},serial={serial}")])
        .args(["-netdev", &format!("tap,id=net,ifname={tap},script=no,downscript=no")]);
        match machine {
            Machine::BiosRom => {
                qemu.args(["-device", &format!("virtio-net-pci,netdev=net,mac={mac}"), "-boot", "n"]);
            }
            Machine::UefiPxe | Machine::UefiHttp => {
                let variables = self.path("ovmf-variables.fd");
                fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables).unwrap();
                // Without romfile= QEMU's iPXE ROM would answer in place of OVMF's own client.
                qemu.args(["-device", &format!("virtio-net-pci,netdev=net,mac={mac},romfile=,bootindex=0")])
                    .args(["-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"])
                    .args(["-drive", &format!("if=pflash,format=raw,file={}", variables.display())])
                    .args(["-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"]);
                if machine == Machine::UefiHttp {
                    qemu.args(["-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n"]);
                }
            }
        }
        qemu.args(more);
        Process::start("machine", qemu)
    }

    /// What `bivouac machines --json` says.
    pub fn machines(&self, state: &Path) -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_bivouac"))
            .args(["machines", "--json", "--state"])
            .arg(state)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until the machine has checked in, and says how long it took from power-on; otherwise says which step was
    /// missing, with console and log.
    #[expect(clippy::print_stdout, reason = "how long a boot takes is worth knowing and must not be asserted")]
    pub fn expect_check_in(&self, state: &Path, server: &mut Process, machine: &mut Process) -> serde_json::Value {
        if !server.saw(" check-in ", PATIENCE) {
            let machines = self.machines(state);
            let reached: Option<Step> = machines[0]["step"].as_str().and_then(|step| step.parse().ok());
            let missing = Step::ALL.into_iter().find(|step| Some(*step) > reached).unwrap_or(Step::CheckIn);
            let reached = reached.map_or("none", Step::as_str);
            machine.drain();
            panic!(
                "the machine did not check in: last step {reached}, missing {missing}\n\n== console\n{}\n\n== server\n{}\n",
                machine.text(),
                server.text()
            );
        }
        println!("{:.1} s from power-on to check-in", machine.started.elapsed().as_secs_f32());
        self.machines(state)[0].clone()
    }

    fn inside(&self, namespace: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, program]).current_dir(self.folder.path());
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.processes.clear();
        for namespace in [self.a(), self.b()] {
            // A namespace that could not be made cannot be removed either.
            let _ = Command::new("ip").args(["netns", "delete", &namespace]).stderr(Stdio::null()).status();
        }
    }
}

impl Process {
    /// Starts a program.
    pub fn start(what: &str, mut command: Command) -> Self {
        let (output, input) = std::io::pipe().unwrap();
        command.stdin(Stdio::null()).stdout(input.try_clone().unwrap()).stderr(input);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        drop(command);
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            // Firmware writes more than text to its console.
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                if send.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Self { what: what.to_owned(), started: Instant::now(), child, lines, seen: Vec::new() }
    }

    /// Waits for a line with `text`; fails when it does not come.
    pub fn wait_for(&mut self, text: &str, patience: Duration) {
        if !self.saw(text, patience) {
            panic!("{} never said {text:?}:\n{}", self.what, self.text());
        }
    }

    /// Whether a line with `text` comes in time, counted from lines not looked at before.
    pub fn saw(&mut self, text: &str, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = line.contains(text);
                    self.seen.push(line);
                    if found {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Takes in what was said meanwhile.
    pub fn drain(&mut self) {
        self.seen.extend(self.lines.try_iter());
    }

    /// Everything it said.
    pub fn text(&self) -> String {
        self.seen.join("\n")
    }

    /// Stops it at once.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `ip`, which must succeed.
pub fn ip(arguments: &[&str]) {
    run("ip", arguments);
}

/// Runs a program, which must succeed.
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}(boot tests need root)", arguments.join(" "));
}
