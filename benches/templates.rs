//! What the files of 5000 machines cost, against one full build of the overlay they go into: 60 files and one template.
//! Both are timed in turn, and each counts with its fastest round, because machines are noisy.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bivouac::build::{BaseAccounts, Overlay, Recipe};
use bivouac::model::digest::Digest;
use bivouac::model::identity::Identity;
use bivouac::model::label::Labels;
use bivouac::model::mac::Mac;
use bivouac::model::template::Vars;
use bivouac::serve::own_files::kit::Kit;
use bivouac::wire::cpio::Writer;

const MACHINES: u32 = 5_000;

const ROUNDS: usize = 5;

/// How many full builds all machines together may cost.
const LIMIT: f64 = 20.0;

const TEMPLATE: &str = "auto lo\niface lo inet loopback\n\n# {{ machine.mac }}\n{% for server in vars.servers %}\n\
    server {{ server }}\n{% endfor %}\nhost {{ profile.hostname }}-{{ machine.mac|replace(\":\", \"\") }}\n";

fn write(folder: &Path) {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let profile = "services.sysinit = [\"devfs\"]\n[vars]\nservers = [\"one\", \"two\"]\n";
    file("profiles/bench/profile.toml", profile);
    file("profiles/bench/root/etc/shadow", "root:*:0:0:99999:7:::\n");
    file("profiles/bench/root/etc/conf.d/desk.tmpl", TEMPLATE);
    for number in 0..59 {
        let mut text = String::new();
        for line in 0..60 {
            writeln!(text, "setting_{line}=\"{}\"", Digest::of(format!("{number} {line}").as_bytes())).unwrap();
        }
        file(&format!("profiles/bench/root/etc/bench/{number}.conf"), &text);
    }
}

fn build(folder: &Path) -> Overlay {
    let recipe = Recipe::load(&folder.join("profiles"), &folder.join("overlays"), &"bench".parse().unwrap()).unwrap();
    recipe.overlay(&BaseAccounts::default(), 0).unwrap()
}

fn identity(number: u32) -> Identity {
    let [a, b, c, d] = number.to_be_bytes();
    Identity::of(Mac([0x52, 0x54, a, b, c, d]))
}

/// Makes the initrds of all machines, and returns their length together without what is shared.
fn make(kit: &Kit, of: impl Fn(u32) -> Identity) -> usize {
    let mut known = HashMap::new();
    let own = Vars::new();
    for number in 0..MACHINES {
        let content = kit.render(&of(number), &Labels::new(), &own).unwrap();
        let digest = Digest::of(content.to_text().as_bytes());
        known.entry(digest).or_insert_with(|| kit.initrd(&content).unwrap());
    }
    known.values().map(|(_, own)| own).sum()
}

fn fastest<T>(mut work: impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn main() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let Overlay { archive, templates, .. } = build(folder.path());
    let mut keys = Writer::new(0);
    keys.file("etc/apk/keys/bench.rsa.pub", 0o644, &[b'k'; 800]).unwrap();
    let archive = ("bench.apkovl.tar.gz".to_owned(), archive.into());
    let kit = Kit::new(Digest::of(b"bench"), &templates.unwrap(), archive, keys).unwrap();
    let (mut one, mut all, mut same) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        one = one.min(fastest(|| build(folder.path())));
        all = all.min(fastest(|| make(&kit, identity)));
        same = same.min(fastest(|| make(&kit, |_| identity(0))));
    }
    let ratio = all.as_secs_f64() / one.as_secs_f64();
    println!("one full build                     {one:>12.3?}");
    println!("{MACHINES} machines, all different        {all:>12.3?}  {ratio:.1} builds, {LIMIT} allowed");
    println!("{MACHINES} machines, all the same         {same:>12.3?}");
    println!(
        "for each machine                   {:>12.3?}  and {} bytes",
        all / MACHINES,
        make(&kit, identity) / MACHINES as usize
    );
    if ratio <= LIMIT { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
