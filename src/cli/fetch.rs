//! `bivouac fetch`.

use std::io::Write;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use serde_json::json;

use super::lock;
use super::pipeline::{all_or, load};
use super::progress::say;
use super::report::{departures, size, table};
use super::workshop::{Access, Workshop};
use crate::build::{Recipe, Update};
use crate::config::Settings;
use crate::fetch::{FetchError, NetbootSet, Offer, Scope, Survey};
use crate::model::alpine::{Arch, Branch, ReleaseSpec, Version};
use crate::model::check::Check;
use crate::model::lock::Lock;
use crate::model::name::ProfileName;

/// How many sets are fetched at once; they share mirrors, so more would not be quicker.
const PARALLEL: usize = 3;

/// How many versions are named when the one that was asked for is not there.
const MOST_OTHERS: usize = 5;

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
    let locks: Vec<Option<Lock>> = names.iter().map(|name| lock::read(settings, name)).collect::<Result<_, _>>()?;
    let sets = recipes.iter().zip(&locks).map(|(recipe, lock)| workshop.netboot_set(recipe, lock.as_ref()));
    let sets: Vec<_> = futures_util::stream::iter(sets).buffered(PARALLEL).collect().await;
    // Offline, what is missing is told of all profiles at once.
    let missing = |set: &anyhow::Result<NetbootSet>| match set.as_ref().map_err(|error| error.downcast_ref()) {
        Err(Some(FetchError::Offline { missing })) => missing.clone(),
        _ => Vec::new(),
    };
    let missing: Vec<String> = sets.iter().flat_map(missing).collect();
    if missing.len() > 1 {
        return Err(FetchError::Offline { missing }).context("cannot fetch what the profiles need");
    }
    for ((recipe, lock), set) in recipes.iter().zip(&locks).zip(sets) {
        let set = set.with_context(|| failed(recipe))?;
        writeln!(out, "{}: {}", recipe.name, described(&workshop, &set))?;
        if extent == Extent::Everything {
            let failed = || failed(recipe);
            let lock = workshop.agree(recipe, &set, lock.as_ref(), &Update::Needed).await.with_context(failed)?;
            let packages = workshop.supplies(&recipe.name, set, &lock).await.with_context(failed)?.packages;
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
    let not_checked = match unchecked.is_empty() {
        true => String::new(),
        false => format!(", NOT CHECKED: {}", Check::list(&unchecked)),
    };
    format!(
        "Alpine {} {} {flavor}{kernel}, {}{signed}{modloop}{not_checked}",
        release.version,
        release.arch,
        size(bytes)
    )
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
    let others = narrow(&mut survey, look.release);
    if look.as_json {
        let mut value = serde_json::to_value(&survey).context("cannot write the list")?;
        if let Some(object) = value.as_object_mut() {
            object.insert("off".to_owned(), json!(settings.verify.off));
            object.insert("release_keys".to_owned(), json!(settings.verify.release_keys));
            object.insert("package_keys".to_owned(), json!(settings.verify.package_keys));
        }
        serde_json::to_writer_pretty(&mut *out, &value)?;
        writeln!(out)?;
        return Ok(());
    }
    show(&survey, &look, &others, out)?;
    departures(&settings.verify, out)?;
    Ok(())
}

/// Keeps what was asked for of a look at more. Returns the versions that were left out of the branch of the one that
/// was asked for, newest first.
fn narrow(survey: &mut Survey, release: Option<&ReleaseSpec>) -> Vec<Version> {
    match release {
        Some(ReleaseSpec::Version(version)) => {
            let mut others: Vec<Version> = survey.offers.iter().map(|offer| offer.version).collect();
            others.dedup();
            survey.offers.retain(|offer| offer.version == *version);
            others
        }
        Some(ReleaseSpec::LatestStable) => {
            let latest = survey.latest_stable;
            survey.offers.retain(|offer| Some(offer.branch) == latest);
            survey.empty.retain(|branch| Some(*branch) == latest);
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn show(survey: &Survey, look: &Look<'_>, others: &[Version], out: &mut dyn Write) -> anyhow::Result<()> {
    let arch = look.arch.map(|arch| format!(" for {arch}")).unwrap_or_default();
    if survey.offers.is_empty() {
        let release = look.release.map(|release| format!(" of Alpine {release}")).unwrap_or_default();
        writeln!(out, "The mirror has no netboot release{release}{arch}.")?;
    } else {
        let rows = survey.offers.iter().map(|offer| row(offer, survey.latest_stable)).collect();
        out.write_all(table(&["BRANCH", "VERSION", "ARCH", "DOWNLOAD", "FLAVORS"], rows).as_bytes())?;
    }
    if survey.offers.is_empty() && !others.is_empty() {
        let newest: Vec<String> = others.iter().take(MOST_OTHERS).map(Version::to_string).collect();
        let more = if others.len() > MOST_OTHERS { " and older ones" } else { "" };
        writeln!(out, "It has {}{more}.", newest.join(", "))?;
    }
    // Branches from before netboot have nothing either, and nobody waits for them. An architecture that no branch has
    // was said to be nowhere already.
    let newest = survey.latest_stable.or_else(|| survey.offers.first().map(|offer| offer.branch));
    if look.arch.is_none() || !survey.offers.is_empty() {
        let yet = if look.arch.is_some() { "" } else { " yet" };
        for branch in survey.empty.iter().filter(|branch| newest.is_none_or(|newest| **branch > newest)) {
            writeln!(out, "{branch} is there, but has no netboot release{arch}{yet}.")?;
        }
    }
    for note in &survey.notes {
        writeln!(out, "Note: {note}.")?;
    }
    if survey.offers.is_empty() && survey.empty.is_empty() && survey.latest_stable.is_none() {
        writeln!(out, "Is its address right? It is the folder that has `latest-stable` in it.")?;
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

/// This computer's architecture in Alpine's words, which are Rust's but for the 32-bit ones. `fetch --list` needs it only
/// where a mirror shows no folders.
pub(super) fn usual_arch() -> Arch {
    std::env::consts::ARCH.parse().expect("the names of architectures have that form")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::FlavorOffer;

    /// What a person reads who asks a mirror that has 3.24.1, 3.24.0 and an unreleased 3.25 for this.
    fn listed(release: Option<&str>, arch: Option<&str>, versions: &[&str]) -> String {
        let release: Option<ReleaseSpec> = release.map(|it| it.parse().unwrap());
        let arch: Option<Arch> = arch.map(|it| it.parse().unwrap());
        let offer = |version: &&str| Offer {
            branch: "v3.24".parse().unwrap(),
            version: version.parse().unwrap(),
            arch: "x86_64".parse().unwrap(),
            tarball: Some(400 << 20),
            is_newest: true,
            flavors: vec![FlavorOffer { flavor: "virt".parse().unwrap(), size: None }],
        };
        let mut survey = Survey {
            latest_stable: Some("v3.24".parse().unwrap()),
            offers: versions.iter().map(offer).collect(),
            empty: vec!["v3.25".parse().unwrap(), "v2.7".parse().unwrap()],
            notes: Vec::new(),
        };
        let look = Look { release: release.as_ref(), arch: arch.as_ref(), as_json: false };
        let others = narrow(&mut survey, look.release);
        let mut text = Vec::new();
        show(&survey, &look, &others, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_list_has_a_line_for_each_release() {
        assert_eq!(
            listed(None, None, &["3.24.1"]),
            "BRANCH                 VERSION  ARCH    DOWNLOAD    FLAVORS\n\
             v3.24 (latest-stable)  3.24.1   x86_64  400.00 MiB  virt ?\n\
             v3.25 is there, but has no netboot release yet.\n"
        );
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is_there_instead() {
        assert_eq!(listed(None, Some("mips"), &[]), "The mirror has no netboot release for mips.\n");
        let others = listed(None, Some("x86_64"), &["3.24.1"]);
        assert!(others.ends_with("\nv3.25 is there, but has no netboot release for x86_64.\n"), "{others}");
        let version = listed(Some("3.24.7"), None, &["3.24.1", "3.24.1", "3.24.0"]);
        assert!(version.starts_with("The mirror has no netboot release of Alpine 3.24.7.\nIt has 3.24.1, 3.24.0.\n"));
        let many = ["3.24.9", "3.24.8", "3.24.6", "3.24.5", "3.24.4", "3.24.3"];
        assert!(
            listed(Some("3.24.7"), None, &many)
                .contains("It has 3.24.9, 3.24.8, 3.24.6, 3.24.5, 3.24.4 and older ones.\n")
        );
    }

    #[test]
    fn who_asks_for_the_latest_stable_release_reads_nothing_about_other_branches() {
        let text = listed(Some("latest-stable"), None, &["3.24.1"]);
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn a_mirror_without_anything_may_be_the_wrong_address() {
        let mut text = Vec::new();
        let look = Look { release: None, arch: None, as_json: false };
        show(&Survey::default(), &look, &[], &mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "The mirror has no netboot release.\nIs its address right? It is the folder that has `latest-stable` in it.\n"
        );
    }
}
