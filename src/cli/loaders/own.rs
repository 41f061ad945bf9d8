//! `bivouac loaders add` and `bivouac loaders remove`: the loaders of this site alone.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;

use super::find;
use crate::config::Settings;
use crate::disk;
use crate::model::digest::Digest;
use crate::model::firmware::Firmware;
use crate::model::loader::LoaderKind;
use crate::model::name::nearest;
use crate::serve::loaders::{Loaders, MAX_SIZE};
use crate::wire::loader::Inspection;

/// A running server has read its loaders already.
const RESTART: &str = "restart `serve` if it runs: it reads loaders when it starts";

/// Copies `file` to where it comes before the system's loaders.
pub(super) fn add(settings: &Settings, file: &Path, name: Option<&str>, out: &mut dyn Write) -> anyhow::Result<()> {
    let bytes = disk::read_bounded(file, MAX_SIZE).context("the loader cannot be added")?;
    let read = Inspection::of(&bytes);
    let firmware = read.loads_on().with_context(|| format!("{} is no loader", file.display()))?;
    let name = match name {
        Some(name) => checked(name, firmware)?,
        None => default_name(file, firmware, &read)?,
    };
    let named = LoaderKind::of_name(name);
    let kind = read.kind.or(named);
    if let (Some(real), Some(said)) = (read.kind, named)
        && real != said
    {
        anyhow::bail!(
            "{} cannot be called `{name}`: its drivers are {}; leave --name out, or give it a name of `{real}`",
            file.display(),
            whose(real)
        );
    }
    let target = settings.own_loaders().join(name);
    let digest = Digest::of(&bytes);
    let old = match disk::read_bounded(&target, MAX_SIZE) {
        Ok(old) => Some(Digest::of(&old)),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error).context("the loader cannot be added"),
    };
    if old == Some(digest) {
        writeln!(out, "{} is this file already; nothing changed", target.display())?;
        return Ok(());
    }
    let before = find(settings)?;
    disk::create_dir_all(&settings.own_loaders())?;
    disk::write_atomic(&target, &bytes)?;
    let version = read.version.map(|version| format!(", iPXE {version}")).unwrap_or_default();
    let drivers = kind.map(|kind| format!(", with {} drivers", whose(kind))).unwrap_or_default();
    writeln!(out, "added {}, for {firmware} machines{drivers}{version}", target.display())?;
    if let Some(old) = old {
        writeln!(out, "it replaces a different file of that name, SHA-256 {old}")?;
    }
    say_place(&before, &find(settings)?, firmware, name, out)?;
    writeln!(out, "{RESTART}")?;
    Ok(())
}

/// Says what the new loader comes before, and who gets it.
fn say_place(
    before: &Loaders,
    after: &Loaders,
    firmware: Firmware,
    name: &str,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let Some((new, kind)) = after.by_name(name).and_then(|new| Some((new, new.kind?))) else {
        return Ok(());
    };
    match (before.of_kind(firmware, kind), after.of_kind(firmware, kind)) {
        (_, Some(first)) if first.path != new.path => {
            writeln!(out, "{} still comes before it", first.path.display())?;
        }
        (Some(old), _) if old.path != new.path => writeln!(out, "it now comes before {}", old.path.display())?,
        _ => {}
    }
    match after.for_firmware(firmware) {
        Some(best) if best.path == new.path => {
            writeln!(out, "{firmware} machines get it, unless a [[loader]] rule says otherwise")?;
        }
        Some(best) => {
            writeln!(out, "{firmware} machines get {}, unless a [[loader]] rule says `use = \"{kind}\"`", best.name)?;
        }
        None => {}
    }
    Ok(())
}

/// Removes a loader that was added.
pub(super) fn remove(settings: &Settings, name: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let folder = settings.own_loaders();
    let own: Vec<String> = match disk::list(&folder) {
        Ok(names) => names.into_iter().filter(|name| !firmware_of(name).is_empty()).collect(),
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let loaders = find(settings)?;
    if !own.iter().any(|known| known == name) {
        if let Some(other) = loaders.by_name(name) {
            anyhow::bail!(
                "`{name}` was not added: it is {}; only what `bivouac loaders add` copied can be removed, and what is added as `{name}` comes before it",
                other.path.display()
            );
        }
        let known = own.iter().map(String::as_str).chain(loaders.iter().map(|loader| loader.name.as_str()));
        let hint = nearest(name, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        anyhow::bail!("there is no loader `{name}`{hint}");
    }
    let path = folder.join(name);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    disk::sync_folder(&folder)?;
    writeln!(out, "removed {}", path.display())?;
    let after = find(settings)?;
    for firmware in firmware_of(name) {
        match after.for_firmware(firmware) {
            Some(best) => writeln!(out, "{firmware} machines get {}", best.path.display())?,
            None => writeln!(out, "{firmware} machines have no loader now")?,
        }
    }
    writeln!(out, "{RESTART}")?;
    Ok(())
}

/// The kinds of firmware that a file of this name is looked up for.
fn firmware_of(name: &str) -> Vec<Firmware> {
    let knows = |own: &Firmware| own.runs() == *own && own.loader_files().contains(&name);
    Firmware::ALL.into_iter().filter(knows).collect()
}

/// Names that are looked up for this firmware and are no paths.
fn names(firmware: Firmware) -> impl Iterator<Item = &'static str> {
    firmware.loader_files().iter().copied().filter(|name| !name.contains('/'))
}

fn checked(name: &str, firmware: Firmware) -> anyhow::Result<&'static str> {
    names(firmware).find(|known| *known == name).ok_or_else(|| {
        let known: Vec<&str> = names(firmware).collect();
        let hint = nearest(name, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
        anyhow::anyhow!(
            "`{name}` is not a name that is looked up for {firmware}; use one of {}{}",
            known.join(", "),
            hint.unwrap_or_default()
        )
    })
}

/// The file's own name when it is one that is looked up and tells the truth; else the first name for its drivers. What
/// the bytes do not tell of these is taken from the file's name.
fn default_name(file: &Path, firmware: Firmware, read: &Inspection) -> anyhow::Result<&'static str> {
    let given = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let kind = read.kind.or_else(|| LoaderKind::of_name(&given)).with_context(|| {
        let known: Vec<&str> = names(firmware).collect();
        format!(
            "whose drivers {} has cannot be told from its bytes or its name; give --name, one of {}",
            file.display(),
            known.join(", ")
        )
    })?;
    let fitting = || names(firmware).filter(|name| LoaderKind::of_name(name) == Some(kind));
    let same = fitting().find(|name| *name == given);
    same.or_else(|| fitting().next())
        .with_context(|| format!("no loader with {} drivers is looked up for {firmware}", whose(kind)))
}

/// Whose drivers they are, in a sentence.
fn whose(kind: LoaderKind) -> &'static str {
    match kind {
        LoaderKind::Ipxe => "iPXE's own",
        LoaderKind::Snponly => "the firmware's",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_firmware_that_runs_ipxe_has_a_name_for_both_kinds() {
        for firmware in Firmware::ALL.into_iter().filter(|own| own.runs() == *own) {
            if firmware == Firmware::RaspberryPi {
                continue;
            }
            for kind in [LoaderKind::Ipxe, LoaderKind::Snponly] {
                assert!(names(firmware).any(|name| LoaderKind::of_name(name) == Some(kind)), "{firmware} {kind}");
            }
        }
    }
}
