//! Solves a desktop of about 500 packages over two real indexes, for `scripts/bench solve`: how long the solve takes
//! against decompressing and parsing the indexes in the same run, and the most memory it took.
//!
//! `solve FOLDER` takes every `*.APKINDEX.tar.gz` of the folder, main before the others.

use std::fs;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bivouac::apk::{Index, Repository, World, read_index, solve};

/// How often each side is measured.
const ROUNDS: usize = 15;

/// A desktop.
const WORLD: &str = "alpine-base xfce4 xfce4-terminal lightdm-gtk-greeter xorg-server firefox dbus elogind polkit-elogind \
    pipewire wireplumber network-manager-applet networkmanager-wifi cups thunar-volman gvfs gvfs-smb font-noto virt-viewer \
    freerdp remmina pavucontrol libreoffice-calc xfce4-screensaver";

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let folder =
        std::env::args().skip(1).find(|word| word != "--bench").unwrap_or_else(|| "../shared/corpus/apk".to_owned());
    let mut paths: Vec<PathBuf> = match fs::read_dir(&folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?,
        Err(error) => return writeln!(out, "skipped: {folder}: {error}"),
    };
    paths.retain(|path| path.to_string_lossy().ends_with("APKINDEX.tar.gz"));
    paths.sort_by_key(|path| (!path.to_string_lossy().contains("main"), path.clone()));
    let files: Vec<Vec<u8>> = paths.iter().map(fs::read).collect::<io::Result<_>>()?;
    let world = World::parse(WORLD).map_err(io::Error::other)?;
    let (mut reading, mut solving, mut count) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let indexes: Vec<Index> =
            files.iter().map(|file| read_index(file)).collect::<Result<_, _>>().map_err(io::Error::other)?;
        reading.push(start.elapsed());
        let repositories: Vec<_> = indexes.iter().map(|index| Repository { index, tag: None }).collect();
        let start = Instant::now();
        let solution = solve(world.dependencies(), &repositories, "x86_64").map_err(io::Error::other)?;
        solving.push(start.elapsed());
        count = black_box(solution).packages.len();
    }
    let (reading, solving) = (median(reading), median(solving));
    writeln!(
        out,
        "{count} packages: reading the indexes {:.1} ms, solving {:.1} ms, ratio {:.2} (at most 1 is wanted); {}",
        reading.as_secs_f64() * 1e3,
        solving.as_secs_f64() * 1e3,
        solving.as_secs_f64() / reading.as_secs_f64(),
        peak()?
    )
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The most memory this process had, as the kernel says it.
fn peak() -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM unknown");
    Ok(line.split_whitespace().collect::<Vec<_>>().join(" "))
}
