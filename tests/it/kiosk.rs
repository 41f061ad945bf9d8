//! The scripts of the overlay `kiosk-x11`, with stand-ins for X and what belongs to it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where the scripts are on a machine.
const SCRIPTS: &str = "usr/libexec/bivouac/kiosk";

/// A machine with the overlay's files.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(settings: &str) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("overlays/kiosk-x11/root/.");
        assert!(Command::new("cp").arg("-r").arg(overlay).arg(machine.0.path()).status().unwrap().success());
        for folder in ["bin", "proc", "tmp", "etc/conf.d"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        fs::write(machine.path("etc/bivouac/kiosk.conf"), settings).unwrap();
        machine.is_up_for(100);
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn is_up_for(&self, seconds: u32) {
        fs::write(self.path("proc/uptime"), format!("{seconds}.25 90.00\n")).unwrap();
    }

    /// An executable, with the machine's folder in `$root`.
    fn program(&self, name: &str, text: &str) {
        fs::write(self.path(name), format!("#!/bin/sh\nroot={}\n{text}\n", self.0.path().display())).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Programs that write down how they were called.
    fn recorders(&self, names: &[&str]) {
        for name in names {
            self.program(&format!("bin/{name}"), &format!("echo {name} \"$@\" >> $root/calls"));
        }
    }

    fn run(&self, script: &str) -> Output {
        let search = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(self.path(script));
        command.env("PATH", search).env("XDG_RUNTIME_DIR", self.path("tmp")).output().unwrap()
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls.replace(self.0.path().to_str().unwrap(), "").lines().map(str::to_owned).collect()
    }
}

#[test]
fn screens_are_beside_each_other_as_the_settings_say() {
    for (settings, arranged) in [
        (
            "",
            "--output eDP-1 --auto --primary --output DP-1 --auto --right-of eDP-1 --output HDMI-1 --auto --right-of DP-1",
        ),
        (
            "screens HDMI-1 VGA-9 DP-1\nmirror_screens no\n",
            "--output HDMI-1 --auto --primary --output DP-1 --auto --right-of HDMI-1 --output eDP-1 --off",
        ),
        (
            "screens \nmirror_screens yes\n",
            "--output eDP-1 --auto --primary --output DP-1 --auto --same-as eDP-1 --output HDMI-1 --auto --same-as DP-1",
        ),
        ("screens VGA-9\n", "--auto"),
    ] {
        let machine = Machine::new(settings);
        machine.program(
            "bin/xrandr",
            "[ \"$1\" = --query ] || { echo xrandr \"$@\" >> $root/calls; exit; }\n\
             echo 'Screen 0: minimum 320 x 200, current 1920 x 1080'\n\
             for output in 'eDP-1 connected primary 1920x1080+0+0' 'DP-1 connected (normal left)' 'DP-2 disconnected'; do\n\
             echo \"$output\"; echo '   1920x1080     60.00*+'; done\necho 'HDMI-1 connected'",
        );
        machine.run(&format!("{SCRIPTS}/arrange-screens"));
        assert_eq!(machine.calls(), [format!("xrandr {arranged}")], "{settings}");
    }
}

#[test]
fn the_keyboard_is_that_of_the_settings_or_of_the_console() {
    let keymap = "KEYMAP=/usr/share/bkeymaps/de/de-nodeadkeys.bmap.gz\n";
    for (settings, console, layout) in [
        ("keyboard_layout us,ru\nkeyboard_variant ,phonetic\n", keymap, Some("-layout us,ru -variant ,phonetic")),
        ("keyboard_layout \n", keymap, Some("-layout de -variant nodeadkeys")),
        ("", "KEYMAP=/usr/share/bkeymaps/fr/fr.bmap.gz\n", Some("-layout fr -variant")),
        ("", "", None),
    ] {
        let machine = Machine::new(&format!("{settings}screen_off 10\n"));
        fs::write(machine.path("etc/conf.d/loadkmap"), console).unwrap();
        machine.recorders(&["setxkbmap", "xset"]);
        // Without a window manager there is nothing to wait for.
        machine.program("bin/xrandr", "");
        machine.program("bin/openbox", "");
        machine.program("bin/sleep", "");
        machine.program(&format!("{SCRIPTS}/program"), "");
        machine.run(&format!("{SCRIPTS}/screen"));
        let calls = machine.calls();
        let set: Vec<_> = calls.iter().filter_map(|call| call.strip_prefix("setxkbmap ")).map(str::trim).collect();
        assert_eq!(set, layout.into_iter().collect::<Vec<_>>(), "{settings}{console}");
        assert_eq!(calls[calls.len() - 3..], ["xset s off", "xset +dpms", "xset dpms 600 600 600"]);
    }
}

#[test]
fn a_program_that_keeps_ending_is_started_more_slowly_and_the_machine_is_not_well() {
    let machine = Machine::new("screen_off 0\n");
    for name in ["xrandr", "xset"] {
        machine.program(&format!("bin/{name}"), "");
    }
    machine.program("bin/pidof", "");
    assert!(Command::new("mkfifo").arg(machine.path("end")).status().unwrap().success());
    let health = "etc/bivouac/health.d/required.d/screen";
    // The window manager ends after the seventh pause, and with it the screen.
    machine.program(
        "bin/sleep",
        "echo $1 >> $root/pauses\n\
         [ \"$(wc -l < $root/pauses)\" -lt 7 ] || { echo go > $root/end; while kill -0 $(cat $root/manager) 2> /dev/null; do :; done; }",
    );
    machine.program("bin/openbox", "echo $$ > $root/manager; read -r go < $root/end");
    fs::create_dir_all(machine.path("tmp/kiosk-1000")).unwrap();
    machine.program(
        &format!("{SCRIPTS}/program"),
        // What it is is written down just after it was started.
        &format!(
            "until read -r program rest < $root/tmp/program && [ \"$program\" = $$ ]; do :; done 2> /dev/null\n\
             cp $root/tmp/program $root/tmp/kiosk-1000/program\n\
             $root/{health} >> $root/looks 2>&1 || echo \"$?\" >> $root/looks"
        ),
    );
    machine.run(&format!("{SCRIPTS}/screen"));
    let read = |name: &str| fs::read_to_string(machine.path(name)).unwrap();
    assert_eq!(read("pauses"), "1\n2\n4\n8\n16\n30\n30\n");
    // The fourth start is one too many.
    assert!(read("looks").ends_with("the program on the screen keeps ending\n1\n"), "{}", read("looks"));
    assert_eq!(read("looks").matches("keeps ending").count(), 4);
    // One that lasts is well again.
    machine.is_up_for(120);
    fs::write(machine.path("tmp/kiosk-1000/program"), format!("{} 7 100\n", std::process::id())).unwrap();
    let ran = machine.run(health);
    assert!(ran.status.success(), "{ran:?}");
    fs::write(machine.path("tmp/kiosk-1000/program"), "999999999 0 100\n").unwrap();
    assert_eq!(machine.run(health).stdout, b"the program on the screen does not run\n");
    fs::remove_file(machine.path("tmp/kiosk-1000/program")).unwrap();
    assert_eq!(machine.run(health).stdout, b"the program on the screen was not started\n");
    machine.program("bin/pidof", "exit 1");
    assert_eq!(machine.run(health).stdout, b"X does not run\n");
}

#[test]
fn x_is_started_again_more_slowly_each_time_it_does_not_last() {
    let machine = Machine::new("");
    machine.program("bin/mcookie", "echo 0123456789abcdef");
    machine.program("bin/xauth", "echo xauth \"$@\" \"$(cat)\" >> $root/calls");
    machine.program("bin/logger", "cat > /dev/null");
    machine.program(
        "bin/xinit",
        "echo xinit \"$@\" >> $root/calls\n[ ! -e $root/lasts ] || echo '900.00 1' > $root/proc/uptime",
    );
    // Seven tries that fail, one that lasts, and one more.
    machine.program(
        "bin/sleep",
        "echo $1 >> $root/pauses\ncase $(wc -l < $root/pauses) in 7) : > $root/lasts ;; 9) kill $PPID ;; esac",
    );
    machine.run(&format!("{SCRIPTS}/login"));
    assert_eq!(fs::read_to_string(machine.path("pauses")).unwrap(), "2\n4\n8\n16\n32\n60\n60\n2\n4\n");
    let calls = machine.calls();
    let folder = format!(
        "/tmp/kiosk-{}",
        String::from_utf8(Command::new("id").arg("-u").output().unwrap().stdout).unwrap().trim()
    );
    // The key is in no command line, and only its user can read it.
    assert_eq!(calls[0], format!("xauth -q -f {folder}/xauthority add :0 . 0123456789abcdef"));
    assert_eq!(
        calls[1],
        format!("xinit /{SCRIPTS}/screen -- /usr/bin/X :0 vt1 -keeptty -auth {folder}/xauthority -nolisten tcp")
    );
    let mode = fs::metadata(machine.path(&folder[1..])).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_machine_that_nobody_touches_switches_itself_off_when_that_is_wanted() {
    for (settings, idle, is_off) in [
        ("idle_poweroff 60\n", "echo 3600000", true),
        ("idle_poweroff 60\n", "echo 3599999", false),
        // No screen, no answer.
        ("idle_poweroff 60\n", "exit 1", false),
        ("idle_poweroff 0\n", "echo 99999999", false),
    ] {
        let machine = Machine::new(settings);
        machine.program("bin/su", "shift 3; code=$1; shift 2; exec sh -c \"$code\" \"$@\"");
        machine.program("bin/xprintidle", idle);
        machine.program("bin/logger", "");
        machine.recorders(&["poweroff"]);
        machine.program("bin/sleep", "echo $1 >> $root/pauses\n[ \"$(wc -l < $root/pauses)\" -lt 3 ] || kill $PPID");
        machine.run(&format!("{SCRIPTS}/idle"));
        assert_eq!(!machine.calls().is_empty(), is_off, "{settings}{idle}");
    }
}

#[test]
fn what_the_server_says_is_shown_as_it_is() {
    let machine = Machine::new("");
    machine.program("bin/su", "shift 3; code=$1; shift 2; exec sh -c \"$code\" \"$@\"");
    machine.recorders(&["zenity"]);
    let text = "Down at 6 \"sharp\" <b> $(touch bad) `id`";
    let search = format!("{}:{}", machine.path("bin").display(), std::env::var("PATH").unwrap());
    let show =
        Command::new(machine.path("etc/bivouac/message.d/screen")).arg(text).env("PATH", search).status().unwrap();
    assert!(show.success());
    assert_eq!(machine.calls(), [format!("zenity --info --no-markup --width=400 --title=Message --text={text}")]);
}
