//! `bivouac import FILE NAME`: an archive of lbu becomes a profile.

use std::fs::File;
use std::io::{BufReader, Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::report::{chain, plain};
use crate::build::{BaseAccounts, Became, Finding, Import, Remark};
use crate::config::Settings;
use crate::disk::{self, Scratch};
use crate::model::name::ProfileName;
use crate::wire::apkovl::{Limits, Node, Note, Read, Tree, What, read};

/// The largest archive that is read. It may unpack to no more.
const LARGEST: u64 = 512 << 20;

/// Beside the folder of profiles: what was in archives and must not be in a bundle, by profile.
const SECRETS: &str = "secrets";

/// How gzip begins (RFC 1952, section 2.3.1), and how what `openssl enc` encrypted does.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ENCRYPTED: &[u8] = b"Salted__";

/// What a file is, by how it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// An archive of lbu.
    Overlay,
    /// One that lbu encrypted.
    Encrypted,
    /// Something else, or a folder.
    Other,
}

/// Looks at how a file begins.
pub(super) fn form(place: &Path) -> Form {
    let mut start = Vec::new();
    // A file that cannot be read is a matter for who reads it.
    let is_file = place.metadata().is_ok_and(|it| it.is_file());
    let length = ENCRYPTED.len() as u64;
    if !is_file || File::open(place).and_then(|it| it.take(length).read_to_end(&mut start)).is_err() {
        return Form::Other;
    }
    if start.starts_with(&GZIP) {
        Form::Overlay
    } else if start == ENCRYPTED {
        Form::Encrypted
    } else {
        Form::Other
    }
}

/// The archive in a file.
pub(super) fn load(place: &Path) -> anyhow::Result<Read> {
    if form(place) == Form::Encrypted {
        let cipher = place.extension().and_then(|it| it.to_str()).unwrap_or("aes-256-cbc");
        anyhow::bail!(
            "{shown} is encrypted, as `lbu package -e` does it; decrypt it first: openssl enc -d -{cipher} -in {shown} \
             -out archive.apkovl.tar.gz",
            shown = place.display()
        );
    }
    let file = File::open(place).with_context(|| format!("cannot open {}", place.display()))?;
    let length = file.metadata().map_or(0, |it| it.len());
    anyhow::ensure!(
        length <= LARGEST,
        "{} is larger than {} MiB; no machine could boot it",
        place.display(),
        LARGEST >> 20
    );
    read(BufReader::with_capacity(256 << 10, file.take(LARGEST)), &Limits::default())
        .with_context(|| format!("{} cannot be used as an overlay archive", place.display()))
}

/// `bivouac import FILE` of an archive of lbu, without the name it needs.
pub(super) fn nameless(place: &Path) -> anyhow::Error {
    let file = place.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let host = file.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let name = host.parse::<ProfileName>().map_or_else(|_| "NAME".to_owned(), |name| name.to_string());
    let shown = place.display();
    anyhow::anyhow!(
        "{shown} is an overlay archive (apkovl), which becomes a profile; name it: bivouac import {shown} {name}"
    )
}

/// `bivouac import FILE NAME`.
pub(super) fn import(settings: &Settings, place: &Path, name: &ProfileName, out: &mut dyn Write) -> anyhow::Result<()> {
    let profiles = &settings.profiles;
    let target = profiles.join(name.as_str());
    let beside = profiles.parent().unwrap_or(profiles).join(SECRETS);
    let secrets = beside.join(name.as_str());
    for taken in [&target, &secrets] {
        anyhow::ensure!(
            taken.symlink_metadata().is_err(),
            "{} is there already, and an import replaces nothing; choose another name, or remove it",
            taken.display()
        );
    }
    let read = load(place)?;
    anyhow::ensure!(
        read.tree.get("oci-layout").is_none(),
        "{shown} is a compressed export of bundles; unpack it: gunzip -c {shown} > bundles.tar, then bivouac import \
         bundles.tar",
        shown = place.display()
    );
    let import = Import::of(&read, name);
    disk::create_dir_all(profiles)?;
    // Everything is written under a name that nothing reads, tried, and gets its real name last.
    let scratch = Scratch::new_in(profiles)?;
    let folder = scratch.path().join(name.as_str());
    disk::create_folder(&folder, 0o755)?;
    disk::create_file(&folder.join("profile.toml"), import.profile.as_bytes(), 0o644)?;
    disk::create_folder(&folder.join("root"), 0o755)?;
    write_tree(&folder.join("root"), &import.root)?;
    let built = import.recipe(name).and_then(|recipe| {
        let mistakes = recipe.findings().iter().filter(|it| it.is_fatal()).map(Finding::line).collect();
        Ok((recipe.tree(&BaseAccounts::default())?, mistakes))
    });
    if import.secrets.is_empty() {
        disk::move_folder(&folder, &target)?;
    } else {
        put_in_place((&folder, &target), (&import.secrets, &beside, &secrets))?;
    }
    drop(scratch);
    Told { import: &import, notes: &read.notes, target, secrets }.write(built, name, out)
}

/// Writes the secrets beside the profile, and gives the profile its name.
fn put_in_place(
    (folder, target): (&Path, &Path),
    (tree, beside, secrets): (&Tree, &Path, &Path),
) -> anyhow::Result<()> {
    if !beside.exists() {
        disk::create_folder(beside, 0o700)?;
        // Whoever keeps the site under version control does not mean these.
        disk::create_file(&beside.join(".gitignore"), b"*\n", 0o600)?;
    }
    let scratch = Scratch::new_in(beside)?;
    let private = scratch.path().join("private");
    disk::create_folder(&private, 0o700)?;
    write_secrets(&private, tree)?;
    disk::move_folder(&private, secrets)?;
    disk::move_folder(folder, target)
        .with_context(|| format!("{} was written and can be removed; the profile was not", secrets.display()))
}

/// Writes a tree into an empty folder. Owners and modes are in `profile.toml`; what others could not read on the machine
/// they cannot read here either.
fn write_tree(root: &Path, tree: &Tree) -> anyhow::Result<()> {
    for (path, entry) in tree.iter() {
        let place = root.join(path);
        match &entry.node {
            Node::Directory => disk::create_folder(&place, 0o755)?,
            Node::File(bytes) => {
                let readable = if entry.mode & 0o004 == 0 { 0o600 } else { 0o644 };
                // Whoever may read it may execute it; an owner who may, and nobody else, shows in `profile.toml`.
                let executable = if entry.mode & 0o100 == 0 { 0 } else { (readable & 0o444) >> 2 };
                disk::create_file(&place, bytes, readable | executable)?;
            }
            Node::Symlink(target) => disk::create_link(&place, target)?,
            Node::CharDevice { .. } | Node::BlockDevice { .. } | Node::Fifo => {}
        }
    }
    Ok(())
}

/// Writes files that only their owner may read, and the folders they are in.
fn write_secrets(root: &Path, tree: &Tree) -> anyhow::Result<()> {
    for (path, entry) in tree.iter() {
        match &entry.node {
            Node::File(bytes) => disk::create_file(&root.join(path), bytes, 0o600)?,
            _ => disk::create_folder(&root.join(path), 0o700)?,
        }
    }
    Ok(())
}

/// What an import has to tell.
struct Told<'a> {
    import: &'a Import,
    notes: &'a [Note],
    target: PathBuf,
    secrets: PathBuf,
}

impl Told<'_> {
    /// What became of what, and what to do next.
    fn write<E: std::error::Error>(
        &self,
        built: Result<(Tree, Vec<String>), E>,
        name: &ProfileName,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let Import { root, secrets, remarks, .. } = self.import;
        let count = root.iter().filter(|(_, entry)| !entry.is_directory()).count();
        writeln!(out, "imported {name} -> {}: {count} files and links", self.target.display())?;
        let of = |kind: fn(&Became) -> Option<&str>| {
            remarks.iter().filter_map(move |it| Some((it, kind(&it.became)?))).collect::<Vec<(&Remark, &str)>>()
        };
        section(out, "became settings", &of(|it| if let Became::Setting(said) = it { Some(said) } else { None }))?;
        section(out, "left out", &of(|it| if let Became::Dropped(why) = it { Some(why) } else { None }))?;
        let moved = of(|it| matches!(it, Became::Secret).then_some("a secret, or only of use with one"));
        section(out, &format!("moved to {}, because every machine can read a bundle", self.secrets.display()), &moved)?;
        section(out, "to know", &of(|it| if let Became::Noted(said) = it { Some(said) } else { None }))?;
        let mut notes = self.notes.iter().filter(|note| !is_usual(note)).peekable();
        if notes.peek().is_some() {
            writeln!(out, "about the archive:")?;
        }
        for note in notes {
            writeln!(out, "  {note}")?;
        }
        writeln!(
            out,
            "An archive does not say which kernel it ran: the flavor is `virt`; for real hardware write `flavor = \"lts\"` \
             into [alpine]."
        )?;
        match built {
            Ok((built, mistakes)) => {
                let differences = self.import.differences(&built);
                if differences.is_empty() {
                    writeln!(out, "It builds to the same files, owners and modes.")?;
                } else {
                    writeln!(out, "It builds to the same files, owners and modes, but for:")?;
                }
                for (difference, why) in differences {
                    let what = match (&difference.before, &difference.after) {
                        (None, _) => "added".to_owned(),
                        (_, None) => "missing".to_owned(),
                        _ => {
                            let properties = difference.properties().join(", ");
                            if properties.is_empty() { "other content".to_owned() } else { properties }
                        }
                    };
                    writeln!(out, "  {}: {what} ({why})", difference.path)?;
                }
                if !secrets.is_empty() {
                    writeln!(out, "Machines of this profile do not get the secrets; they make keys of their own.")?;
                }
                if mistakes.is_empty() {
                    writeln!(out, "next: read {}/profile.toml, then bivouac build {name}", self.target.display())?;
                } else {
                    writeln!(out, "It does not build yet:")?;
                    mistakes.iter().try_for_each(|mistake| writeln!(out, "  {}", plain(mistake)))?;
                    writeln!(out, "next: bivouac check {name}, correct {}/profile.toml", self.target.display())?;
                }
            }
            Err(error) => {
                writeln!(out, "It does not build yet: {}", plain(&chain(&error)))?;
                writeln!(out, "next: correct {}/profile.toml, then bivouac build {name}", self.target.display())?;
            }
        }
        Ok(())
    }
}

fn section(out: &mut dyn Write, heading: &str, remarks: &[(&Remark, &str)]) -> std::io::Result<()> {
    if !remarks.is_empty() {
        writeln!(out, "{heading}:")?;
    }
    remarks.iter().try_for_each(|(remark, said)| writeln!(out, "  {}: {said}", remark.path))
}

/// Whether every archive of lbu has this: it leaves out the folders that packages bring (alpine.md 2.1, LBU-4).
pub(super) fn is_usual(note: &Note) -> bool {
    matches!(note.what, What::NoParent)
}
