//! `build`, `publish` and `up`: joins the workshop and the store.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::SystemTime;

use anyhow::Context as _;

use super::lock;
use super::progress::say;
use super::report::{plain, size};
use super::rollout::{UnderWay, kept_back, refuse_under_way};
use super::site_key::SiteKey;
use super::to_publish::ToPublish;
use super::unchanged::{Made, Profile, known};
use super::workshop::{Access, Workshop};
use crate::build::{Blob, Finding, Level, Recipe, Staged, Update, site_initrd};
use crate::config::Settings;
use crate::disk;
use crate::model::check::Check;
use crate::model::digest::Digest;
use crate::model::lock::Lock;
use crate::model::manifest::{FileEntry, Manifest};
use crate::model::name::{ChannelName, ProfileName};
use crate::model::rollout::RolloutNumber;
use crate::model::script::SITE_INITRD;
use crate::store::{Publication, SiteParts, Store, StoreError};

/// How bundles are built.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) access: Access,
    /// Only from locks that are there and fit.
    pub(super) is_locked: bool,
}

/// `bivouac build`.
pub(super) async fn build(
    settings: &Settings,
    profiles: &[ProfileName],
    how: How,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    build_all(settings, profiles, how, out).await
}

/// `bivouac publish`.
pub(super) async fn publish(
    settings: &Settings,
    wanted: &[ToPublish],
    channel: &ChannelName,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let store = Store::open(&settings.store())?;
    // All are looked at before the first is published: a typing error publishes nothing.
    let bundles: Vec<Manifest> = wanted.iter().map(|wanted| wanted.manifest(&store)).collect::<Result<_, _>>()?;
    for manifest in &bundles {
        refuse_under_way(settings, &manifest.profile, channel).await?;
    }
    let key = SiteKey::load_or_make(&settings.keys())?;
    for manifest in bundles {
        let (profile, bundle) = (manifest.profile.clone(), manifest.id().short());
        let site =
            site_parts(&store, &manifest, &key).with_context(|| format!("cannot publish profile `{profile}`"))?;
        match store.publish(&manifest, &site, channel, SystemTime::now())? {
            Publication::New(release) => {
                writeln!(out, "{profile}@{} published: bundle {bundle}, channel {channel}", release.number)?;
            }
            Publication::Unchanged(release) => {
                writeln!(
                    out,
                    "{profile}@{} is unchanged: channel {channel} has bundle {bundle} already",
                    release.number
                )?;
            }
        }
    }
    Ok(())
}

/// The profiles a command means: the named ones, once each, or all there are, each read so that a typing error stops
/// before anything is done.
pub(super) fn meant(settings: &Settings, named: &[ProfileName]) -> anyhow::Result<Vec<ProfileName>> {
    let names = all_or(settings, named)?;
    for name in &names {
        load(settings, name)?;
    }
    Ok(names)
}

/// What `bivouac up` does before it serves, and again when profiles change: build all and publish, but for profiles whose
/// channel a rollout moves; those, with the rollout. What the last rollout of a channel went back from stays away from it.
pub(super) async fn build_and_publish(
    settings: &Settings,
    profiles: &[ProfileName],
    how: How,
    out: &mut dyn Write,
) -> anyhow::Result<BTreeMap<ProfileName, RolloutNumber>> {
    build_all(settings, profiles, how, out).await?;
    let (channel, mut waiting) = (ChannelName::default_channel(), BTreeMap::new());
    let store = Store::open(&settings.store())?;
    for name in profiles {
        let staged = store.staged_id(name)?;
        let is_there = store.channel(name, &channel).is_ok_and(|release| Some(release.bundle) == staged);
        if let Some(bundle) = staged.filter(|_| !is_there)
            && let Some(rollout) = kept_back(settings, name, &channel, &bundle).await?
        {
            writeln!(
                out,
                "{name} keeps its release until its profile changes: what is built is what rollout {rollout} did not \
                 bring to all machines; `bivouac publish {name}` does"
            )?;
            continue;
        }
        let published = publish(settings, &[ToPublish::Staged(name.clone())], &channel, out).await;
        match published.map_err(anyhow::Error::downcast) {
            Ok(()) => {}
            Err(Ok(UnderWay { rollout, .. })) => {
                writeln!(out, "{name} is published when rollout {rollout}, which moves {name}:{channel}, is over")?;
                waiting.insert(name.clone(), rollout);
            }
            Err(Err(problem)) => return Err(problem),
        }
    }
    Ok(waiting)
}

async fn build_all(settings: &Settings, profiles: &[ProfileName], how: How, out: &mut dyn Write) -> anyhow::Result<()> {
    let names = all_or(settings, profiles)?;
    // Every profile is read before the first download: a typing error costs nobody minutes.
    let profiles: Vec<Profile> = names.iter().map(|name| Profile::look(settings, name)).collect::<Result<_, _>>()?;
    let store = Store::open(&settings.store())?;
    let mut workshop = Workshop::open(settings, how.access)?;
    for profile in profiles {
        let (recipe, inputs) = match profile {
            Profile::Built(name, made) => {
                unchanged(&name, &made, out)?;
                continue;
            }
            Profile::Read(recipe, inputs) => (recipe, inputs),
        };
        let (recipe, name) = (&*recipe, &recipe.name);
        let mut remarks = remarks(recipe);
        remarks.iter().for_each(|remark| say(remark));
        let before = store.staged(name).ok();
        let failed = || format!("cannot build profile `{name}`");
        let lock = lock::read(settings, name)?;
        let Bundle { manifest, lock: agreed, findings } =
            build_one(&mut workshop, recipe, lock.as_ref(), how.is_locked, &store).await.with_context(failed)?;
        for remark in warnings(name, findings.iter()) {
            say(&remark);
            remarks.push(remark);
        }
        if lock.as_ref() != Some(&agreed) {
            for change in lock::changes(lock.as_ref(), &agreed) {
                say(&format!("{name}: {change}"));
            }
            // The bundle is whole without it.
            if let Err(error) = lock::write(settings, name, &agreed) {
                say(&plain(&format!("{name}: warning: {error:#}; another build may take other packages")));
            }
        }
        let bytes: u64 = manifest.blobs().map(|(_, size)| size).sum();
        let verb = if before.as_ref() == Some(&manifest) { "is unchanged" } else { "built" };
        let (id, count) = (manifest.id(), manifest.packages.len());
        let off = &manifest.verified.off;
        let unchecked = if off.is_empty() { String::new() } else { format!(", NOT CHECKED: {}", Check::list(off)) };
        let outcome = format!("bundle {id}, {count} packages, {}{unchecked}", size(bytes));
        writeln!(out, "{name} {verb}: {outcome}")?;
        inputs.remember(
            settings,
            name,
            &agreed,
            Made { bundle: id, blobs: manifest.blobs().collect(), remarks, outcome },
        );
    }
    Ok(())
}

/// Whether no profile has to be built; then that is said of each.
pub(super) fn is_all_built(settings: &Settings, profiles: &[ProfileName], out: &mut dyn Write) -> anyhow::Result<bool> {
    let names = all_or(settings, profiles)?;
    let Some(all) = names.iter().map(|name| known(settings, name)).collect::<Option<Vec<Made>>>() else {
        return Ok(false);
    };
    for (name, made) in names.iter().zip(&all) {
        unchanged(name, made, out)?;
    }
    Ok(true)
}

fn unchanged(name: &ProfileName, made: &Made, out: &mut dyn Write) -> io::Result<()> {
    made.remarks.iter().for_each(|remark| say(remark));
    writeln!(out, "{name} is unchanged: {}", made.outcome)
}

/// What is said of a profile before it is built: files that hide others, and warnings. Those about which the packages
/// have the last word are said once they are known.
fn remarks(recipe: &Recipe) -> Vec<String> {
    let name = &recipe.name;
    let shadowed = recipe.shadowed.iter();
    let shadowed = shadowed.map(|it| format!("{name}: {} of {} hides that of {}", it.path, it.by, it.hidden));
    shadowed.chain(warnings(name, recipe.findings().iter().filter(|finding| !finding.is_open()))).collect()
}

/// The warnings among findings that the profile does not allow.
fn warnings<'a>(name: &ProfileName, findings: impl Iterator<Item = &'a Finding>) -> impl Iterator<Item = String> {
    findings
        .filter(|it| it.rule.level == Level::Warning && it.allowed.is_none())
        .map(move |finding| plain(&format!("{name}: warning: {}", finding.line())))
}

/// A bundle in the store.
struct Bundle {
    manifest: Manifest,
    /// The lock it was built from.
    lock: Lock,
    /// What looks like a mistake now that its packages are known.
    findings: Vec<Finding>,
}

/// Builds a bundle and puts it into the store. A file of the cache that turns
/// out to be damaged is fetched again, once.
async fn build_one(
    workshop: &mut Workshop,
    recipe: &Recipe,
    lock: Option<&Lock>,
    is_locked: bool,
    store: &Store,
) -> anyhow::Result<Bundle> {
    let mut is_repaired = false;
    loop {
        let set = workshop.netboot_set(recipe, lock).await?;
        if is_locked {
            lock::insist(recipe, &set, lock)?;
        }
        let agreed = workshop.agree(recipe, &set, lock, &Update::Needed).await?;
        let staged = workshop.stage(recipe, set, &agreed).await?;
        let (keep, manifest, findings) = (store.clone(), staged.manifest.clone(), staged.findings.clone());
        match tokio::task::spawn_blocking(move || keep_all(&keep, &staged)).await? {
            Ok(()) => return Ok(Bundle { manifest, lock: agreed, findings }),
            Err(StoreError::WrongBlob { path, .. }) if !is_repaired && workshop.cache().discard(&path)? => {
                say(&format!("{} was damaged; fetching it again", path.display()));
                is_repaired = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Puts every byte of a bundle into the store and remembers it as the next to publish.
fn keep_all(store: &Store, staged: &Staged) -> Result<(), StoreError> {
    for blob in &staged.blobs {
        match blob {
            Blob::Bytes(bytes) => {
                store.put_bytes(bytes)?;
            }
            Blob::File { path, digest, size } => store.put_file(path, digest, *size)?,
            Blob::Package { path, digest, size } => store.share_file(path, digest, *size)?,
        }
    }
    store.stage(&staged.manifest)
}

/// What the site adds to a bundle: the signed index and the initrd with the overlay and the key.
pub(super) fn site_parts(store: &Store, manifest: &Manifest, key: &SiteKey) -> anyhow::Result<SiteParts> {
    let blob = |digest: &Digest, size: u64| disk::read_bounded(&store.blob_path(digest), size);
    let index = key.sign_index(&blob(&manifest.index.sha256, manifest.index.size)?)?;
    let overlay = blob(&manifest.apkovl.sha256, manifest.apkovl.size)?;
    let initrd = site_initrd((&manifest.apkovl.name, &overlay), key.name(), key.public_pem())?;
    let put = |name: &str, bytes: &[u8]| -> anyhow::Result<FileEntry> {
        Ok(FileEntry { name: name.to_owned(), sha256: store.put_bytes(bytes)?, size: bytes.len() as u64 })
    };
    Ok(SiteParts { initrd: put(SITE_INITRD, &initrd)?, index: put(&manifest.index.name, &index)? })
}

pub(super) fn load(settings: &Settings, name: &ProfileName) -> anyhow::Result<Recipe> {
    Ok(Recipe::load(&settings.profiles, &settings.overlays, name)?)
}

/// The named profiles, once each, or all there are.
pub(super) fn all_or(settings: &Settings, named: &[ProfileName]) -> anyhow::Result<Vec<ProfileName>> {
    let mut names: Vec<ProfileName> = Vec::new();
    for name in named {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    if !names.is_empty() {
        return Ok(names);
    }
    let folder = &settings.profiles;
    let found = disk::list(folder).context("cannot look for profiles; name their folder with --profiles")?;
    for name in found.iter().filter(|name| folder.join(name).join("profile.toml").is_file()) {
        let place = folder.join(name);
        names
            .push(name.parse().with_context(|| format!("{} cannot be a profile; rename the folder", place.display()))?);
    }
    anyhow::ensure!(
        !names.is_empty(),
        "there is no profile in {}; make a folder with a profile.toml",
        folder.display()
    );
    Ok(names)
}
