//! Packs a folder as an overlay archive, for `scripts/bench archive` to measure:
//!
//! - `archive FOLDER FILE` writes the archive of FOLDER to FILE,
//! - `archive FOLDER` prints the microseconds an archive takes that adds one machine's files to FOLDER's.

use std::fs;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use bivouac::disk::{self, Kind};
use bivouac::wire::apkovl::{Entry, Prefix, Tree, pack};

/// How many machines are rendered.
const MACHINES: u32 = 5000;

fn main() -> io::Result<()> {
    // `cargo bench` itself adds the word `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.as_slice() {
        [folder, file] => fs::write(file, pack(&tree(Path::new(folder))?, 0)),
        [folder] => machines(&tree(Path::new(folder))?),
        _ => writeln!(io::stderr(), "usage: archive FOLDER [FILE]"),
    }
}

fn tree(folder: &Path) -> io::Result<Tree> {
    let mut tree = Tree::default();
    for found in disk::walk(folder).map_err(io::Error::other)? {
        let path = folder.join(&found.relative);
        let entry = match found.kind {
            Kind::Folder => Entry::directory(),
            Kind::File => Entry { mode: fs::metadata(&path)?.permissions().mode(), ..Entry::file(fs::read(&path)?) },
            Kind::Link => Entry::symlink(fs::read_link(&path)?.to_string_lossy()),
            Kind::Special => continue,
        };
        tree.insert(&found.relative.to_string_lossy(), entry);
    }
    Ok(tree)
}

fn machines(tree: &Tree) -> io::Result<()> {
    let prefix = Prefix::of(tree, 0);
    let start = Instant::now();
    for machine in 0..MACHINES {
        let interfaces = format!(
            "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet static\n\taddress 10.0.{}.{}/16\n",
            machine / 250,
            machine % 250
        );
        let entries = [
            ("etc/hostname", Entry::file(format!("pc{machine}\n"))),
            ("etc/network/interfaces", Entry::file(interfaces)),
        ];
        black_box(prefix.rest(&entries));
    }
    let each = start.elapsed() / MACHINES;
    writeln!(io::stdout(), "{}", each.as_micros())
}
