//! `bivouac export` and `bivouac import`: bundles for a site that no network leads to.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;

use super::progress::{say, shown};
use super::report::size;
use crate::config::Settings;
use crate::model::manifest::Manifest;
use crate::model::name::{BundleRef, DEFAULT_CHANNEL, ProfileName};
use crate::store::oci::{Export, Import};
use crate::store::{Store, StoreError};

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One file.
    Archive,
    /// An OCI image layout in a folder.
    Folder,
}

/// `bivouac export`.
pub(super) fn export(
    settings: &Settings,
    references: &[BundleRef],
    place: &Path,
    form: Form,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let store = Store::look_into(&settings.store());
    // `export a b` with the file forgotten.
    let named = place.to_str().and_then(|name| name.parse::<ProfileName>().ok());
    if let Some(profile) = named.filter(|name| !place.exists() && store.channels(name).is_ok_and(|it| !it.is_empty())) {
        anyhow::bail!(
            "`{profile}` is a profile; name the file to write after it, or write ./{profile} for a file of that name"
        );
    }
    let mut bundles: Vec<Manifest> = Vec::new();
    for reference in references {
        let manifest = meant(&store, reference)?;
        if !bundles.contains(&manifest) {
            bundles.push(manifest);
        }
    }
    let export = Export::of(&store, &bundles).context("cannot export")?;
    let kept = shown(&format!("export to {}", place.display()), export.size(), |progress| match form {
        Form::Archive => export.write_archive(place, progress),
        Form::Folder => export.write_folder(place, progress),
    })
    .with_context(|| format!("cannot export to {}", place.display()))?;
    if kept > 0 {
        say(&format!("{} of an earlier export were there and right", size(kept)));
    }
    for manifest in &bundles {
        writeln!(out, "exported {} -> {}", summary(manifest), place.display())?;
    }
    Ok(())
}

/// `bivouac import`.
pub(super) fn import(settings: &Settings, place: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let failed = || format!("cannot import {}", place.display());
    let import = Import::open(place).with_context(failed)?;
    let store = Store::open(&settings.store())?;
    let copied =
        shown(&format!("import of {}", place.display()), import.size(), |progress| import.copy_into(&store, progress))
            .with_context(failed)?;
    let mut profiles: BTreeMap<&ProfileName, Vec<&Manifest>> = BTreeMap::new();
    for manifest in import.bundles() {
        profiles.entry(&manifest.profile).or_default().push(manifest);
        writeln!(out, "imported {}", summary(manifest))?;
    }
    let bytes = size(copied.bytes);
    writeln!(out, "files: {} copied ({bytes}), {} in the store already", copied.files, copied.present)?;
    for (profile, bundles) in profiles {
        if let [only] = bundles.as_slice() {
            stage(&store, only)?;
            writeln!(out, "next: bivouac publish {profile}")?;
        } else {
            // An archive has no order, so nothing says which of them is meant.
            let ids: Vec<String> = bundles.iter().map(|manifest| manifest.id().short()).collect();
            writeln!(out, "next: bivouac publish ID, with the one of profile {profile} you want: {}", ids.join(", "))?;
        }
    }
    Ok(())
}

/// `bivouac import FILE NAME` of something that is no archive of lbu.
pub(super) fn named(place: &Path, name: &ProfileName) -> anyhow::Error {
    let shown = place.display();
    if !place.exists() {
        return anyhow::anyhow!("there is no file {shown}");
    }
    anyhow::anyhow!(
        "{shown} is no overlay archive (apkovl), which is a gzip file, so `{name}` means nothing here; for an export of \
         bundles, which keep the names of their profiles: bivouac import {shown}"
    )
}

/// The bundle a reference means. A profile that has no release is what its last build made: a site that only builds
/// for others need not publish.
pub(super) fn meant(store: &Store, reference: &BundleRef) -> anyhow::Result<Manifest> {
    let error = match store.resolve(reference) {
        Ok(id) => return Ok(store.manifest(&id)?),
        Err(error) => error,
    };
    match (&error, reference) {
        (StoreError::NoProfile { .. }, BundleRef::Channel(profile, channel)) if channel.as_str() == DEFAULT_CHANNEL => {
            match store.staged(profile) {
                Err(StoreError::NothingStaged(_)) => Err(error.into()),
                staged => Ok(staged?),
            }
        }
        _ => Err(error.into()),
    }
}

/// Makes a bundle the next to publish, and says so when that hides another.
fn stage(store: &Store, manifest: &Manifest) -> anyhow::Result<()> {
    if let Ok(before) = store.staged(&manifest.profile)
        && before != *manifest
    {
        let (profile, id) = (&manifest.profile, before.id().short());
        say(&format!("{profile}: bundle {id}, which was ready to publish, makes way for the imported one"));
    }
    Ok(store.stage(manifest)?)
}

/// A bundle in one line. The whole id, because it is what people compare on both sides of the gap.
fn summary(manifest: &Manifest) -> String {
    let bytes = manifest.blobs().fold(0_u64, |sum, (_, size)| sum.saturating_add(size));
    format!("{} {}: {} packages, {}", manifest.profile, manifest.id(), manifest.packages.len(), size(bytes))
}
