//! A machine that runs the session of `overlays/vdi-client`: its files are in a folder, and the programs it shows
//! people are scripts that write down what they are told, and answer what a test says.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::cluster::Cluster;

/// How long a session may take for everything a test has answers for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a person does when asked.
pub enum Answer {
    /// Types user and password.
    Login(&'static str, &'static str),
    /// Types, or picks, this.
    Text(&'static str),
    /// Agrees, without typing anything.
    Yes,
    /// Does not.
    No,
    /// Nothing, until the question goes away by itself.
    Silence,
    /// Presses the third button.
    Button(&'static str),
}

/// A machine; what runs on it ends with this.
pub struct Seat {
    folder: tempfile::TempDir,
    session: Option<Child>,
    /// The place of each answer that is given, and `end` when something is asked that has none.
    asked: Receiver<String>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The stand-ins for programs. `$seat` is the machine's folder. Each writes down how it was called and what it was given
/// besides, for [`Seat::seen`].
const PROGRAMS: &[(&str, &str)] = &[
    (
        "zenity",
        // A question that nobody has an answer for ends the test.
        r#"case $1 in --progress) exec cat > /dev/null ;; esac
        kind=$1 text=
        for word; do case $word in --text=*) text=${word#--text=} ;; esac; done
        rows=
        if [ "$kind" = --list ]; then
            while [ "$1" != --column=State ]; do shift; done
            shift
            rows=": $*"
        fi
        echo "${kind#--} $text$rows" >> $seat/dialogs
        read -r count < $seat/count
        [ -e $seat/answers/$count ] || { echo end > $seat/asked; exec tail -f /dev/null; }
        echo $count > $seat/asked
        [ ! -p $seat/hold-$count ] || read -r go < $seat/hold-$count
        echo $((count + 1)) > $seat/count
        tail -n +2 $seat/answers/$count
        read -r status < $seat/answers/$count
        exit $status"#,
    ),
    (
        "remote-viewer",
        r#"echo "$*" >> $seat/viewers
        cat >> $seat/viewers
        [ ! -e $seat/while-viewing ] || . $seat/while-viewing"#,
    ),
    (
        "xfreerdp",
        r#"echo "$*" >> $seat/viewers
        cat >> $seat/viewers
        [ ! -e $seat/while-viewing ] || . $seat/while-viewing"#,
    ),
    ("sleep", "exit 0"),
    ("chronyc", r#"[ ! -s $seat/unsynchronised ] || { sed -i 1d $seat/unsynchronised; exit 1; }"#),
    ("curl", r#"exec /usr/bin/curl "$@""#),
    ("jq", r#"exec /usr/bin/jq "$@""#),
];

impl Seat {
    /// A machine with the profile `vdi`, for this cluster, whose authority it trusts, and with these variables.
    pub fn new(cluster: &Cluster, variables: &[&str]) -> Self {
        let (send, asked) = channel();
        let seat = Self { folder: tempfile::tempdir().unwrap(), session: None, asked };
        for folder in ["bin", "answers", "etc/bivouac", "usr/libexec/bivouac", "run", "proc"] {
            fs::create_dir_all(seat.path(folder)).unwrap();
        }
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let parts = repository.join("overlays/vdi-client/root/usr/libexec/bivouac/vdi");
        std::os::unix::fs::symlink(parts, seat.path("usr/libexec/bivouac/vdi")).unwrap();
        seat.write("proc/uptime", "100.25 90.00\n");
        seat.write("count", "0\n");
        let root = seat.folder.path().display().to_string();
        for (name, text) in PROGRAMS {
            let seen = "{ tr '\\0' ' ' < /proc/$$/cmdline; env; } >> $seat/seen 2>&1";
            seat.write(&format!("bin/{name}"), &format!("#!/bin/sh\nseat={root}\n{seen}\n{text}\n"));
            fs::set_permissions(seat.path(&format!("bin/{name}")), fs::Permissions::from_mode(0o755)).unwrap();
        }
        seat.write("etc/bivouac/vdi.conf", &settings(cluster, variables));
        seat.trust(cluster);
        seat.pipe("asked");
        // Opened for both ways, a pipe has no end.
        let pipe = fs::OpenOptions::new().read(true).write(true).open(seat.path("asked")).unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                if send.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        seat
    }

    /// Trusts the authority of this cluster, and no other.
    pub fn trust(&self, cluster: &Cluster) {
        fs::copy(&cluster.authority, self.path("etc/bivouac/pve-ca.pem")).unwrap();
    }

    /// Trusts whom everybody trusts.
    pub fn trust_the_world(&self) {
        fs::remove_file(self.path("etc/bivouac/pve-ca.pem")).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs the session with these answers, until something is asked that has none; with the shell of Debian.
    pub fn run(&mut self, answers: &[Answer]) {
        self.run_by(&["dash"], answers);
    }

    /// The same with any shell.
    pub fn run_by(&mut self, shell: &[&str], answers: &[Answer]) {
        self.start(shell, answers);
        self.finish();
    }

    /// Starts the session, and lets it run.
    pub fn start(&mut self, shell: &[&str], answers: &[Answer]) {
        for (place, answer) in answers.iter().enumerate() {
            let text = match answer {
                Answer::Login(user, password) => format!("0\n{user}\n{password}\n"),
                Answer::Text(text) => format!("0\n{text}\n"),
                Answer::Yes => "0\n".to_owned(),
                Answer::No => "1\n".to_owned(),
                Answer::Silence => "5\n".to_owned(),
                Answer::Button(text) => format!("1\n{text}\n"),
            };
            self.write(&format!("answers/{place}"), &text);
        }
        let search = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg(self.path("usr/libexec/bivouac/vdi/session")).arg(self.folder.path());
        command.env("PATH", search).env("XDG_RUNTIME_DIR", self.path("run")).env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::null()).stdout(fs::File::create(self.path("out")).unwrap());
        command.stderr(fs::File::create(self.path("err")).unwrap()).process_group(0);
        self.session = Some(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", shell[0])));
    }

    /// Waits until the answers are used up, and ends the session.
    pub fn finish(&mut self) {
        self.wait_until_asked("end");
        self.stop();
        assert_eq!(self.read("err"), "", "the session says nothing by itself");
        assert_eq!(self.read("out"), "");
    }

    /// Waits until the answer of this place is about to be given.
    pub fn wait_until_asked(&self, place: &str) {
        loop {
            let asked = self.asked.recv_timeout(PATIENCE);
            let asked =
                asked.unwrap_or_else(|_| panic!("asked so far:\n{}\n{}", self.read("dialogs"), self.read("err")));
            if asked == place {
                return;
            }
        }
    }

    /// A pipe that something on the machine waits for; see [`Seat::go`].
    pub fn pipe(&self, name: &str) {
        assert!(Command::new("mkfifo").arg(self.path(name)).status().unwrap().success());
    }

    /// Lets what waits for a pipe go on.
    pub fn go(&self, name: &str) {
        self.write(name, "go\n");
    }

    fn stop(&mut self) {
        if let Some(mut session) = self.session.take() {
            let kill = format!("kill -KILL -{}", session.id());
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "it never ends by itself");
            session.wait().unwrap();
        }
    }

    /// What people were told and asked, one a line: the kind of window, its text, and what was to choose from.
    pub fn dialogs(&self) -> Vec<String> {
        self.read("dialogs").lines().map(str::to_owned).collect()
    }

    /// How the viewers were called, and what each was given.
    pub fn viewers(&self) -> String {
        self.read("viewers")
    }

    /// What every other program and user of the machine can see: command lines, environments and files.
    pub fn seen(&self) -> String {
        self.read("seen")
    }
}

/// The settings that the build makes of the profile's template.
fn settings(cluster: &Cluster, variables: &[&str]) -> String {
    let mut render = Command::new(env!("CARGO_BIN_EXE_bivouac"));
    render.args(["render", "vdi", "--machine", "52:54:00:00:00:01", "etc/bivouac/vdi.conf"]);
    render.current_dir(env!("CARGO_MANIFEST_DIR"));
    let given = [format!("pve_hosts={}", cluster.place.ip()), format!("pve_port={}", cluster.place.port())];
    // The last one of a name counts.
    for variable in given.iter().map(String::as_str).chain(variables.iter().copied()) {
        render.args(["--var", variable]);
    }
    let ran = render.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}
