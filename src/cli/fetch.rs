//! `bivouac fetch`.

use std::io::Write;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use serde_json::json;

use super::pipeline::{all_or, load};
use super::progress::say;
use super::report::{size, switched_off, table};
use super::workshop::{Access, Workshop};
use crate::build::Recipe;
use crate::config::Settings;
use crate::fetch::{NetbootSet, Offer, Scope, Survey};
use crate::model::alpine::{Arch, Branch, ReleaseSpec};
use crate::model::check::Check;
use crate::model::name::ProfileName;

/// How many sets are fetched at once; they share mirrors, so more would not be quicker.
const PARALLEL: usize = 3;

/// How much of what profiles need is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Kernel, initramfs and modloop.
    Netboot,
    /// Package indexes and packages too: what `build --offline` needs.
    Everything,
}

/// Fetches what profiles need.
pub(super) async fn fetch(
    settings: &Settings,
    profiles: &[ProfileName],
    extent: Extent,
    access: Access,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut workshop = Workshop::open(settings, access)?;
    let names = all_or(settings, profiles)?;
    let recipes: Vec<Recipe> = names.iter().map(|name| load(settings, name)).collect::<Result<_, _>>()?;
    let failed = |recipe: &Recipe| format!("cannot fetch what profile `{}` needs", recipe.name);
    let sets = recipes.iter().map(|recipe| workshop.netboot_set(recipe));
    let sets: Vec<_> = futures_util::stream::iter(sets).buffered(PARALLEL).collect().await;
    for (recipe, set) in recipes.iter().zip(sets) {
        let set = set.with_context(|| failed(recipe))?;
        writeln!(out, "{}: {}", recipe.name, described(&workshop, &set))?;
        if extent == Extent::Everything {
            let packages = workshop.supplies(recipe, set).await.with_context(|| failed(recipe))?.packages;
            let bytes = packages.iter().map(|(package, _)| package.size).sum();
            writeln!(out, "{}: {} packages, {}", recipe.name, packages.len(), size(bytes))?;
        }
    }
    Ok(())
}

/// What was fetched and whose word it rests on, in one line.
fn described(workshop: &Workshop, set: &NetbootSet) -> String {
    let (release, flavor) = (&set.release, &set.flavor);
    let bytes = set.kernel.size + set.initramfs.size + set.modloop.size;
    let kernel = set.facts.kernel.as_ref().map(|kernel| format!(", kernel {kernel}")).unwrap_or_default();
    let signed = set.release_key.as_ref().map_or_else(String::new, |key| {
        let owner = workshop.owner(key).map(|owner| format!(" ({owner})")).unwrap_or_default();
        format!(", signed by {key}{owner}")
    });
    let unchecked = workshop.unchecked(set);
    let modloop = match &set.facts.modloop_key {
        Some(key) => format!(", modloop signed by {key}"),
        None if unchecked.contains(&Check::Modloop) => String::new(),
        None => ", modloop not signed".to_owned(),
    };
    let without = match unchecked.is_empty() {
        true => String::new(),
        false => format!(", WITHOUT THE CHECKS {}", Check::list(&unchecked)),
    };
    format!("Alpine {} {} {flavor}{kernel}, {}{signed}{modloop}{without}", release.version, release.arch, size(bytes))
}

/// What `fetch --list` looks at.
#[derive(Debug)]
pub(super) struct Look<'a> {
    /// A branch, or a version of one; all branches when absent.
    pub(super) release: Option<&'a ReleaseSpec>,
    /// An architecture; all when absent.
    pub(super) arch: Option<&'a Arch>,
    /// As JSON.
    pub(super) as_json: bool,
}

/// Lists what the mirror offers.
pub(super) async fn list(
    settings: &Settings,
    look: Look<'_>,
    access: Access,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let workshop = Workshop::open(settings, access)?;
    say("Looking at what the mirror has …");
    let scope = Scope { branch: look.release.and_then(branch_of), arch: look.arch.cloned(), usual_arch: usual_arch() };
    let mut survey = workshop.mirrors().survey(&scope).await.context("cannot list what the mirror offers")?;
    if let Some(ReleaseSpec::Version(version)) = look.release {
        survey.offers.retain(|offer| offer.version == *version);
    }
    if matches!(look.release, Some(ReleaseSpec::LatestStable)) {
        let latest = survey.latest_stable;
        survey.offers.retain(|offer| Some(offer.branch) == latest);
        survey.empty.clear();
    }
    if look.as_json {
        let mut value = serde_json::to_value(&survey).context("cannot write the list")?;
        if let Some(object) = value.as_object_mut() {
            object.insert("off".to_owned(), json!(settings.verify.off));
        }
        serde_json::to_writer_pretty(&mut *out, &value)?;
        writeln!(out)?;
        return Ok(());
    }
    show(&survey, out)?;
    switched_off(&settings.verify.off, out)?;
    Ok(())
}

fn show(survey: &Survey, out: &mut dyn Write) -> anyhow::Result<()> {
    if survey.offers.is_empty() {
        writeln!(out, "The mirror has no netboot release of what you asked for.")?;
    } else {
        let rows = survey.offers.iter().map(|offer| row(offer, survey.latest_stable)).collect();
        out.write_all(table(&["BRANCH", "VERSION", "ARCH", "DOWNLOAD", "FLAVORS"], rows).as_bytes())?;
    }
    // Branches from before netboot have nothing either, and nobody waits for them.
    let newest = survey.latest_stable.or_else(|| survey.offers.first().map(|offer| offer.branch));
    for branch in survey.empty.iter().filter(|branch| newest.is_none_or(|newest| **branch > newest)) {
        writeln!(out, "{branch} is there, but has no netboot release yet.")?;
    }
    for note in &survey.notes {
        writeln!(out, "Note: {note}.")?;
    }
    Ok(())
}

fn row(offer: &Offer, latest_stable: Option<Branch>) -> Vec<String> {
    let known = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), size);
    let latest = if Some(offer.branch) == latest_stable { " (latest-stable)" } else { "" };
    let flavors = offer.flavors.iter().map(|it| format!("{} {}", it.flavor, known(it.size)));
    let flavors = flavors.collect::<Vec<_>>().join(", ");
    vec![
        format!("{}{latest}", offer.branch),
        offer.version.to_string(),
        offer.arch.to_string(),
        known(offer.tarball),
        if flavors.is_empty() { "?".to_owned() } else { flavors },
    ]
}

/// The branch whose versions are listed; `latest-stable` is known only once the mirror has said what it is.
fn branch_of(spec: &ReleaseSpec) -> Option<Branch> {
    match *spec {
        ReleaseSpec::LatestStable => None,
        ReleaseSpec::Branch(branch) => Some(branch),
        ReleaseSpec::Edge => Some(Branch::Edge),
        ReleaseSpec::Version(version) => Some(version.branch()),
    }
}

/// This computer's architecture in Alpine's words, which are Rust's but for the 32-bit ones; only where a mirror shows
/// no folders does it matter.
fn usual_arch() -> Arch {
    std::env::consts::ARCH.parse().expect("the names of architectures have that form")
}
