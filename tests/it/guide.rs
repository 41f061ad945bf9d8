//! The pages of `docs/` are walked by a person who types every command in them, in order, in a folder of his own.
//!
//! What a page needs that a person has, a machine that is switched on or a file that is written, stands in comments of
//! the page, which no reader sees:
//!
//! - `<!-- boots 52:54:00:12:34:56 pc-7 -->`: a machine boots from the server that runs, and checks in well, with this
//!   host name;
//! - `<!-- file bivouac.toml -->`: the block that follows is written to that file;
//! - `<!-- exits 1 -->`: the last command of the block that follows ends with 1;
//! - `<!-- archive gate.apkovl.tar.gz -->`: that file is what lbu made of some machine;
//! - `<!-- until went back -->`: the person waits until `bivouac rollout status` says so.
//!
//! Commands of other programs are those of [`OTHERS`]; they are not run.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::proxmox::cluster::FakeCluster;
use crate::support::lbu;
use crate::support::site::{Ran, Serving, Site, report};

/// Programs of other people that a page may use, with which nothing of ours is done.
const OTHERS: [&str; 6] = ["apt", "cargo", "chown", "pveum", "scripts/package", "systemctl"];

/// What is typed besides them and `bivouac`.
const PLAIN: [&str; 4] = ["chmod", "cp", "echo", "mkdir"];

/// One thing that happens on a page.
#[derive(Debug, PartialEq)]
enum Event {
    Boots { mac: String, hostname: String },
    File { path: String, text: String },
    Command { line: String, exits: i32 },
    Until(String),
    Archive(String),
}

fn pages() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut pages: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    pages.sort();
    pages
}

/// What happens on a page, in order.
fn events(text: &str) -> Vec<Event> {
    let (mut events, mut file, mut exits) = (Vec::new(), None, 0);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let directive = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        match (directive.map(|said| said.split(' ').collect::<Vec<_>>()), line.strip_prefix("```")) {
            (Some(words), _) => match words[..] {
                ["boots", mac, hostname] => {
                    events.push(Event::Boots { mac: mac.to_owned(), hostname: hostname.to_owned() });
                }
                ["file", path] => file = Some(path.to_owned()),
                ["exits", code] => exits = code.parse().unwrap(),
                ["archive", path] => events.push(Event::Archive(path.to_owned())),
                ["until", ..] => events.push(Event::Until(words[1..].join(" "))),
                _ => panic!("`{line}` is nothing the guide's test knows"),
            },
            (None, Some(language)) => {
                let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
                if let Some(path) = file.take() {
                    events.push(Event::File { path, text: block.join("\n") + "\n" });
                } else if language == "sh" {
                    let mut commands = commands(&block);
                    let last = commands.len() - 1;
                    let code = |place| if place == last { exits } else { 0 };
                    events.extend(
                        commands.drain(..).enumerate().map(|(place, line)| Event::Command { line, exits: code(place) }),
                    );
                    exits = 0;
                }
            }
            (None, None) => {}
        }
    }
    events
}

/// The commands of a block, without what is said of them, each in one line.
fn commands(block: &[&str]) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in block {
        let line = line.split("  #").next().unwrap().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (text, continues) = line.strip_suffix('\\').map_or((line, false), |text| (text.trim(), true));
        match commands.last_mut().filter(|_| goes_on) {
            Some(command) => command.push_str(&format!(" {text}")),
            None => commands.push(text.to_owned()),
        }
        goes_on = continues;
    }
    commands
}

/// A person with a folder and a shell.
struct Reader {
    site: Site,
    server: Option<Serving>,
    cluster: FakeCluster,
}

impl Reader {
    fn new() -> Self {
        let site = Site::new();
        site.mirror.offer_alpine();
        for part in ["profiles", "overlays"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(part);
            assert!(Command::new("cp").arg("-r").arg(from).arg(site.path("")).status().unwrap().success());
        }
        let cluster = FakeCluster::start(&site.path("pve"));
        let reader = Self { site, server: None, cluster };
        reader.write("bivouac.toml", "");
        // What the person types is `bivouac`, and the mirror is the test's.
        let real: Vec<String> = {
            let command = reader.site.command(&[]);
            let program = std::iter::once(command.get_program());
            program.chain(command.get_args()).map(|word| word.to_str().unwrap().to_owned()).collect()
        };
        let (program, more) = real.split_first().unwrap();
        reader.tool("bivouac", &format!("exec '{program}' \"$@\" {}", more.join(" ")));
        reader.tool("sudo", "[ \"$1\" != -u ] || shift 2; exec \"$@\"");
        reader
    }

    fn tool(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = format!("tools/{name}");
        self.site.write(&path, &format!("#!/bin/sh\n{text}\n"));
        std::fs::set_permissions(self.site.path(&path), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn write(&self, path: &str, text: &str) {
        // No test listens where a real server does.
        let ports = "\n[dhcp]\nlisten = \"127.0.0.1\"\nport = 0\npxe-port = 0\n";
        let text = if path == "bivouac.toml" { format!("{text}{ports}") } else { text.to_owned() };
        let text = text.replace("https://pve.example.net:8006", &self.cluster.server);
        let text = text.replace("pve-root-ca.pem", "pve/ca.pem");
        self.site.write(path, &text);
    }

    fn shell(&self, line: &str) -> Command {
        let path = format!("{}:{}", self.site.path("tools").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["-ec", line]).current_dir(self.site.path("")).env("PATH", path);
        command.env_remove("RUST_LOG").env_remove("BIVOUAC_SITE").env("NO_PROXY", "*");
        command
    }

    fn does(&mut self, event: &Event) {
        match event {
            Event::Boots { mac, hostname } => self.boots(mac, hostname),
            Event::File { path, text } => self.write(path, text),
            Event::Command { line, exits } => self.types(line, *exits),
            Event::Archive(path) => std::fs::write(self.site.path(path), lbu::archive(&lbu::machine())).unwrap(),
            Event::Until(text) => {
                let begun = Instant::now();
                let look = || Ran::of(self.shell("bivouac rollout status").output().unwrap(), &self.site).out;
                while !look().contains(text) {
                    assert!(begun.elapsed() < Duration::from_secs(60), "`{text}` never came: {}", look());
                }
            }
        }
    }

    fn types(&mut self, line: &str, exits: i32) {
        let typed = line.strip_prefix("sudo ").unwrap_or(line);
        let typed = typed.strip_prefix("-u bivouac ").unwrap_or(typed);
        let words: Vec<&str> = typed.split(' ').collect();
        match words[..] {
            [first, ..] if OTHERS.contains(&first) => {}
            // The folders of a computer, which the test of the package fills.
            ["cp", .., "/etc/bivouac/"] => {}
            ["bivouac", "serve" | "up", ..] => {
                self.server = None;
                let line = format!("exec {line} --http 127.0.0.1:0 --tftp 127.0.0.1:0");
                self.server = Some(Serving::start(self.shell(&line)));
            }
            ["bivouac", ..] if words.contains(&"--follow") => {
                let mut child = self.shell(&format!("exec {line}")).stdout(Stdio::piped()).spawn().unwrap();
                let mut first = String::new();
                BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
                child.kill().unwrap();
                child.wait().unwrap();
                assert!(!first.is_empty(), "`{line}` says nothing");
            }
            [first, ..] if first == "bivouac" || PLAIN.contains(&first) => {
                let ran = Ran::of(self.shell(line).output().unwrap(), &self.site);
                assert_eq!(ran.code, Some(exits), "`{line}`\n{}\n{}", ran.out, ran.err);
            }
            _ => panic!("`{line}` is no command the guide's test knows"),
        }
    }

    /// A machine is switched on, comes up with what it was told to boot, and says so.
    fn boots(&self, mac: &str, hostname: &str) {
        let server = self.server.as_ref().expect("a server runs before a machine boots");
        let script = server.get(&format!("/script?mac={mac}"));
        let word = |after: &str| {
            let rest = script.split(after).nth(1).unwrap_or_else(|| panic!("{mac} was not given a bundle: {script}"));
            rest.split([' ', '\n']).next().unwrap().to_owned()
        };
        let (bundle, token) = (word("bivouac_bundle="), word("/check-in/"));
        let shown = Ran::of(self.shell(&format!("bivouac show {bundle} --json")).output().unwrap(), &self.site);
        let manifest: Value = serde_json::from_str(&shown.out).unwrap();
        let report = report(&manifest, &bundle).replace("hostname hello\n", &format!("hostname {hostname}\n"));
        let answer = server.post("/check-in", &format!("token {token}\n{report}"));
        assert!(answer.contains("\r\n\r\nok\n"), "{answer}");
    }
}

#[test]
fn every_command_of_the_guide_does_what_it_says() {
    std::thread::scope(|scope| {
        for page in pages() {
            let name = page.file_name().unwrap().to_string_lossy().into_owned();
            let walk = move || {
                let events = events(&std::fs::read_to_string(&page).unwrap());
                let mut reader = Reader::new();
                events.iter().for_each(|event| reader.does(event));
            };
            std::thread::Builder::new().name(name).spawn_scoped(scope, walk).unwrap();
        }
    });
}

#[test]
fn every_command_of_the_readme_and_the_reference_is_one() {
    let reader = Reader::new();
    let mut count = 0;
    for page in reference() {
        let text = std::fs::read_to_string(&page).unwrap();
        let typed = events(&text).into_iter().filter_map(|event| match event {
            Event::Command { line, .. } => {
                let as_whom = ["sudo -u bivouac ", "sudo env PATH=$PATH ", "sudo "];
                let plain = as_whom.iter().find_map(|whom| line.strip_prefix(whom)).unwrap_or(&line);
                plain.starts_with("bivouac ").then(|| plain.to_owned())
            }
            _ => None,
        });
        // `--help` does nothing, and is not come to behind what a command does not take.
        for line in typed {
            let line = line.split(" >").next().unwrap();
            let ran = Ran::of(reader.shell(&format!("{line} --help")).output().unwrap(), &reader.site);
            assert_eq!(ran.code, Some(0), "{}: `{line}`\n{}", page.display(), ran.err);
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
}

#[test]
fn every_command_that_a_sentence_names_is_one() {
    let reader = Reader::new();
    let mut count = 0;
    for page in pages().into_iter().chain(reference()) {
        let text = std::fs::read_to_string(&page).unwrap();
        for named in text.split('`').skip(1).step_by(2).filter(|span| span.starts_with("bivouac ")) {
            // `bivouac assign MAC PROFILE`: what capitals stand for is no part of it, nor is where its output goes.
            let is_said = |word: &&str| *word != ">" && word.contains(|letter: char| !letter.is_ascii_uppercase());
            let line: Vec<&str> = named.split_whitespace().take_while(is_said).collect();
            let ran = Ran::of(reader.shell(&format!("{} --help", line.join(" "))).output().unwrap(), &reader.site);
            assert_eq!(ran.code, Some(0), "{}: `{named}`\n{}", page.display(), ran.err);
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

/// What is looked up, which stands in no order that somebody would type.
fn reference() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = bivouac::disk::list(&root.join("docs/reference")).unwrap();
    std::iter::once(root.join("README.md"))
        .chain(pages.into_iter().map(|name| root.join("docs/reference").join(name)))
        .collect()
}

#[test]
fn every_link_of_the_guide_leads_somewhere() {
    for page in pages().into_iter().chain(reference()) {
        let text = std::fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let file = target.split('#').next().unwrap();
            let is_there = file.is_empty() || page.parent().unwrap().join(file).exists();
            assert!(is_there || target.starts_with("https://"), "{}: {target}", page.display());
        }
    }
}

#[test]
fn a_page_is_read_as_a_person_reads_it() {
    let text = "<!-- file a.toml -->\n```toml\nb = 1\n```\n<!-- exits 1 -->\n```sh\n# first\nbivouac a \\\n    b  # why\n\
                bivouac c\n```\n<!-- boots 52:54:00:12:34:56 pc-7 -->\n";
    let command = |line: &str, exits| Event::Command { line: line.to_owned(), exits };
    assert_eq!(
        events(text),
        [
            Event::File { path: "a.toml".to_owned(), text: "b = 1\n".to_owned() },
            command("bivouac a b", 0),
            command("bivouac c", 1),
            Event::Boots { mac: "52:54:00:12:34:56".to_owned(), hostname: "pc-7".to_owned() },
        ]
    );
}
