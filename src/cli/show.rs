//! `bivouac list` and `bivouac show`: what is in the store.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::report::{departures, size, table, time};
use crate::config::Settings;
use crate::model::check::Check;
use crate::model::manifest::Manifest;
use crate::model::name::{BundleRef, ProfileName};
use crate::store::{Release, Store};

/// A release with the channels that point at it.
struct Listed {
    profile: ProfileName,
    release: Release,
    channels: Vec<String>,
    /// The checks that were not made of its bundle; nothing when its manifest cannot be read.
    off: Option<BTreeSet<Check>>,
}

/// Lists every release of every profile.
pub(super) fn list(settings: &Settings, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let store = Store::look_into(&settings.store());
    let mut all = Vec::new();
    for profile in store.profiles()? {
        let mut pointers = Vec::new();
        for channel in store.channels(&profile)? {
            pointers.push((store.channel(&profile, &channel)?.number, channel.to_string()));
        }
        for release in store.releases(&profile)? {
            let here = pointers.iter().filter(|(number, _)| *number == release.number);
            let channels = here.map(|(_, name)| name.clone()).collect();
            let off = store.manifest(&release.bundle).ok().map(|manifest| manifest.verified.off);
            all.push(Listed { profile: profile.clone(), release, channels, off });
        }
    }
    if as_json {
        let list: Vec<Value> = all.iter().map(Listed::describe).collect();
        serde_json::to_writer_pretty(&mut *out, &list)?;
        writeln!(out)?;
    } else if all.is_empty() {
        writeln!(out, "Nothing is published yet. `bivouac up PROFILE` builds, publishes and serves.")?;
    } else {
        let header = ["RELEASE", "BUNDLE", "PUBLISHED", "CHANNELS", "NOT CHECKED"];
        // The last column is for those who need it.
        let shown = if all.iter().all(|listed| listed.off.as_ref().is_some_and(BTreeSet::is_empty)) { 4 } else { 5 };
        let rows = all.iter().map(|listed| listed.row().into_iter().take(shown).collect()).collect();
        out.write_all(table(header.get(..shown).unwrap_or(&header), rows).as_bytes())?;
    }
    if !as_json {
        departures(&settings.verify, out)?;
    }
    Ok(())
}

impl Listed {
    fn published(&self) -> String {
        time(UNIX_EPOCH + Duration::from_secs(self.release.published))
    }

    fn row(&self) -> Vec<String> {
        vec![
            format!("{}@{}", self.profile, self.release.number),
            self.release.bundle.short(),
            self.published(),
            self.channels.join(" "),
            self.off.as_ref().map_or_else(|| "unknown".to_owned(), Check::list),
        ]
    }

    fn describe(&self) -> Value {
        json!({
            "profile": self.profile,
            "release": self.release.number,
            "bundle": self.release.bundle,
            "published": self.published(),
            "channels": self.channels,
            "off": self.off,
        })
    }
}

/// Shows what a bundle holds.
pub(super) fn show(
    settings: &Settings,
    reference: &BundleRef,
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let store = Store::look_into(&settings.store());
    let id = store.resolve(reference)?;
    let manifest = store.manifest(&id)?;
    if as_json {
        out.write_all(&manifest.to_bytes())?;
        return Ok(());
    }
    let Manifest { profile, alpine, verified, kernel_args, world, packages, .. } = &manifest;
    writeln!(out, "bundle      {id}")?;
    writeln!(out, "profile     {profile}")?;
    writeln!(out, "alpine      {} {} {}", alpine.version, alpine.arch, alpine.flavor)?;
    if let Some(kernel) = &verified.kernel {
        writeln!(out, "kernel      {kernel}")?;
    }
    writeln!(out, "tarball     SHA-256 {}", verified.tarball)?;
    let signed = |key: &Option<String>, check: Check| match key {
        Some(key) => format!("signed by {key}"),
        None if verified.off.contains(&check) => "signature NOT CHECKED".to_owned(),
        None => "not signed".to_owned(),
    };
    writeln!(out, "            {}", signed(&verified.release_key, Check::Signature))?;
    writeln!(out, "modloop     {}", signed(&verified.modloop_key, Check::Modloop))?;
    if !verified.off.is_empty() {
        writeln!(out, "not checked {}", Check::list(&verified.off))?;
    }
    for (repository, key) in &verified.index_keys {
        writeln!(out, "{:<11} index signed by {key}", repository)?;
    }
    writeln!(out, "arguments   {}", kernel_args.join(" "))?;
    writeln!(out, "world       {}", world.join(" "))?;
    writeln!(out)?;
    let files = manifest.files().map(|file| (file.name.clone(), file.size));
    let packages = packages.iter().map(|package| (package.file_name(), package.size));
    let rows = files.chain(packages).map(|(name, bytes)| vec![name, size(bytes)]).collect();
    out.write_all(table(&["FILE", "SIZE"], rows).as_bytes())?;
    Ok(())
}
