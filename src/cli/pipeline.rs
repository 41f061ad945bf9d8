//! `fetch`, `build`, `publish` and `up`: joins the mirror, the builder and the store.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tracing::{debug, warn};

use super::progress::{Shown, say};
use super::report::size;
use super::site_key::SiteKey;
use super::to_publish::ToPublish;
use crate::apk::{Index, KeyRing, SignedIndex};
use crate::build::{Blob, Netboot, Recipe, Selection, Staged, Wanted, select, site_initrd};
use crate::config::Settings;
use crate::disk;
use crate::fetch::{Cache, CachedFile, Downloader, HttpSettings, InitramfsFacts, Mirror, NetbootSet, verify_modloop};
use crate::model::digest::Digest;
use crate::model::manifest::{Alpine, FileEntry, Manifest, PackageEntry, Verified};
use crate::model::name::{ChannelName, ProfileName};
use crate::model::script::SITE_INITRD;
use crate::store::{Publication, SiteParts, Store};

/// How many packages are downloaded at once.
const PARALLEL: usize = 8;

/// The largest package that is taken; Alpine's largest have about 700 MB.
const LARGEST_PACKAGE: u64 = 2 << 30;

/// `bivouac fetch`.
pub(super) async fn fetch(settings: &Settings, profiles: &[ProfileName], out: &mut dyn Write) -> anyhow::Result<()> {
    let workshop = Workshop::open(settings)?;
    for name in all_or(settings, profiles)? {
        let recipe = load(settings, &name)?;
        let supplies =
            workshop.supplies(&recipe).await.with_context(|| format!("cannot fetch what profile `{name}` needs"))?;
        let set = &supplies.set;
        let bytes = set.kernel.size + set.initramfs.size + set.modloop.size;
        let (release, flavor) = (&set.release, &set.flavor);
        let signed = supplies.modloop_key.map_or_else(
            || "whose modloop has no signature".to_owned(),
            |key| format!("whose modloop is signed by {key}"),
        );
        writeln!(
            out,
            "{name}: Alpine {} {} {flavor}, verified, {signed}, {}",
            release.version,
            release.arch,
            size(bytes)
        )?;
    }
    Ok(())
}

/// `bivouac build`.
pub(super) async fn build(settings: &Settings, profiles: &[ProfileName], out: &mut dyn Write) -> anyhow::Result<()> {
    build_all(settings, profiles, out).await
}

/// `bivouac publish`.
pub(super) fn publish(
    settings: &Settings,
    wanted: &[ToPublish],
    channel: &ChannelName,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let store = Store::open(&settings.store())?;
    // All are looked at before the first is published: a typing error publishes nothing.
    let bundles: Vec<Manifest> = wanted.iter().map(|wanted| wanted.manifest(&store)).collect::<Result<_, _>>()?;
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

/// The first half of `bivouac up`: build and publish.
pub(super) async fn build_and_publish(
    settings: &Settings,
    profiles: &[ProfileName],
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    build_all(settings, profiles, out).await?;
    let built: Vec<ToPublish> = profiles.iter().cloned().map(ToPublish::Staged).collect();
    publish(settings, &built, &ChannelName::default_channel(), out)
}

async fn build_all(settings: &Settings, profiles: &[ProfileName], out: &mut dyn Write) -> anyhow::Result<()> {
    let names = all_or(settings, profiles)?;
    // Every profile is read before the first download: a typing error costs nobody minutes.
    let recipes: Vec<Recipe> = names.iter().map(|name| load(settings, name)).collect::<Result<_, _>>()?;
    let store = Store::open(&settings.store())?;
    let mut workshop = Workshop::open(settings)?;
    for recipe in &recipes {
        let name = &recipe.name;
        for shadowed in &recipe.shadowed {
            say(&format!("{name}: {} of {} hides that of {}", shadowed.path, shadowed.by, shadowed.hidden));
        }
        let staged = workshop.stage(recipe).await.with_context(|| format!("cannot build profile `{name}`"))?;
        let manifest = staged.manifest.clone();
        let before = store.staged(name).ok();
        let keep = store.clone();
        tokio::task::spawn_blocking(move || keep_all(&keep, &staged)).await??;
        let bytes: u64 = manifest.blobs().map(|(_, size)| size).sum();
        let verb = if before.as_ref() == Some(&manifest) { "is unchanged" } else { "built" };
        let (id, count) = (manifest.id(), manifest.packages.len());
        writeln!(out, "{name} {verb}: bundle {id}, {count} packages, {}", size(bytes))?;
    }
    Ok(())
}

/// Puts every byte of a bundle into the store and remembers it as the next to publish.
fn keep_all(store: &Store, staged: &Staged) -> anyhow::Result<()> {
    for blob in &staged.blobs {
        match blob {
            Blob::Bytes(bytes) => {
                store.put_bytes(bytes)?;
            }
            Blob::File { path, digest, size } => store.put_file(path, digest, *size)?,
        }
    }
    Ok(store.stage(&staged.manifest)?)
}

/// What the site adds to a bundle: the signed index and the initrd with the overlay and the key.
fn site_parts(store: &Store, manifest: &Manifest, key: &SiteKey) -> anyhow::Result<SiteParts> {
    let blob = |digest: &Digest, size: u64| disk::read_bounded(&store.blob_path(digest), size);
    let index = key.sign_index(&blob(&manifest.index.sha256, manifest.index.size)?)?;
    let overlay = blob(&manifest.apkovl.sha256, manifest.apkovl.size)?;
    let initrd = site_initrd((&manifest.apkovl.name, &overlay), key.name(), key.public_pem())?;
    let put = |name: &str, bytes: &[u8]| -> anyhow::Result<FileEntry> {
        Ok(FileEntry { name: name.to_owned(), sha256: store.put_bytes(bytes)?, size: bytes.len() as u64 })
    };
    Ok(SiteParts { initrd: put(SITE_INITRD, &initrd)?, index: put(&manifest.index.name, &index)? })
}

fn load(settings: &Settings, name: &ProfileName) -> anyhow::Result<Recipe> {
    Ok(Recipe::load(&settings.profiles, &settings.overlays, name)?)
}

/// The named profiles, once each, or all there are.
fn all_or(settings: &Settings, named: &[ProfileName]) -> anyhow::Result<Vec<ProfileName>> {
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

/// A netboot set, looked into.
struct Supplies {
    set: NetbootSet,
    facts: InitramfsFacts,
    /// The keys a machine trusts: those of its initramfs, which came with the verified tarball. So does the build.
    keys: KeyRing,
    /// Who signed the modloop, if anybody.
    modloop_key: Option<String>,
}

impl Supplies {
    fn of(set: NetbootSet) -> anyhow::Result<Self> {
        let facts = InitramfsFacts::load(&set.initramfs.path)?;
        let mut keys = KeyRing::new();
        for (name, pem) in &facts.apk_keys {
            if let Err(problem) = keys.insert(name, pem) {
                warn!(key = %name, %problem, "the initramfs has a key that cannot be used");
            }
        }
        let modloop_key = verify_modloop(&set.modloop.path, &facts, &keys)?;
        Ok(Self { set, facts, keys, modloop_key })
    }
}

/// Where Alpine's files come from and where they are kept.
struct Workshop {
    mirror: Mirror,
    cache: Cache,
    packages: PathBuf,
    /// Indexes and their keys by repository and architecture: profiles share them.
    indexes: HashMap<String, (Index, String)>,
    /// `SOURCE_DATE_EPOCH`, the time every file of an overlay gets.
    epoch: u64,
}

impl Workshop {
    fn open(settings: &Settings) -> anyhow::Result<Self> {
        let downloader = Downloader::new(HttpSettings::default())?.with_progress(Arc::new(Shown::default()));
        let packages = settings.cache().join("packages");
        disk::create_dir_all(&packages)?;
        Ok(Self {
            mirror: Mirror::with(&settings.mirror, downloader)?,
            cache: Cache::open(&settings.cache())?,
            packages,
            indexes: HashMap::new(),
            epoch: epoch()?,
        })
    }

    /// The netboot set of a recipe, and what its initramfs says of it.
    async fn supplies(&self, recipe: &Recipe) -> anyhow::Result<Supplies> {
        let release = self.mirror.resolve(&recipe.alpine.release, &recipe.alpine.arch).await?;
        let set = self.mirror.netboot_set(&release, &recipe.alpine.flavor, &self.cache).await?;
        tokio::task::spawn_blocking(move || Supplies::of(set)).await?
    }

    async fn stage(&mut self, recipe: &Recipe) -> anyhow::Result<Staged> {
        let Supplies { set, facts, keys, modloop_key } = self.supplies(recipe).await?;
        let mut verified = Verified { tarball: set.release.sha256, modloop_key, index_keys: BTreeMap::new() };
        let mut repositories = Vec::new();
        let mut indexes = Vec::new();
        for name in &recipe.alpine.repositories {
            let url = self.mirror.repository(set.release.branch, name);
            let (index, key) = self.index(&url, &set, &keys).await?;
            verified.index_keys.insert(name.clone(), key);
            indexes.push(index);
            repositories.push(url);
        }
        let selection = select(recipe, &indexes, !facts.modloop_signatures.is_empty())?;
        let packages = self.packages(&selection, &repositories, &set).await?;
        let (recipe, netboot, epoch) = (recipe.clone(), netboot(&set, verified), self.epoch);
        Ok(tokio::task::spawn_blocking(move || Staged::assemble(&recipe, &netboot, &selection, packages, epoch))
            .await?)
    }

    /// A repository's index, and the key that signed it.
    async fn index(&mut self, repository: &str, set: &NetbootSet, keys: &KeyRing) -> anyhow::Result<(Index, String)> {
        let arch = &set.release.arch;
        let place = format!("{repository}/{arch}");
        if let Some(known) = self.indexes.get(&place) {
            return Ok(known.clone());
        }
        let bytes = self.mirror.downloader().index(repository, arch).await?;
        let (index, signed) =
            SignedIndex::open(&bytes, keys).with_context(|| format!("the package index of {place} is not trusted"))?;
        debug!(repository, key = %signed.key, "package index verified");
        self.indexes.insert(place, (index.clone(), signed.key.clone()));
        Ok((index, signed.key))
    }

    /// Every selected package, from the cache or the mirror, verified against its index.
    async fn packages(
        &self,
        selection: &Selection,
        repositories: &[String],
        set: &NetbootSet,
    ) -> anyhow::Result<Vec<(PackageEntry, PathBuf)>> {
        let fetched = selection.wanted.iter().map(|wanted| {
            let repository = repositories.get(wanted.repository).cloned().unwrap_or_default();
            let url = format!("{repository}/{}/{}", set.release.arch, wanted.package.file_name());
            self.package(wanted, url)
        });
        futures_util::stream::iter(fetched).buffered(PARALLEL).try_collect().await
    }

    async fn package(&self, wanted: &Wanted, url: String) -> anyhow::Result<(PackageEntry, PathBuf)> {
        // Named by the identity, which is not a file name itself.
        let identity = Digest::of(wanted.package.identity().to_string().as_bytes());
        let path = self.packages.join(format!("{identity}.apk"));
        let size = wanted.package.size();
        if let Ok(bytes) = disk::read_bounded(&path, size)
            && let Ok(entry) = wanted.verified(&bytes)
        {
            return Ok((entry, path));
        }
        let bytes = self.mirror.downloader().package(&url, size, LARGEST_PACKAGE).await?;
        let entry = wanted.verified(&bytes).with_context(|| format!("{url} is refused"))?;
        disk::write_atomic(&path, &bytes)?;
        Ok((entry, path))
    }
}

fn netboot(set: &NetbootSet, verified: Verified) -> Netboot {
    let file = |kind: &str, file: &CachedFile| {
        let entry = FileEntry { name: format!("{kind}-{}", set.flavor), sha256: file.digest, size: file.size };
        (entry, file.path.clone())
    };
    let release = &set.release;
    Netboot {
        alpine: Alpine {
            branch: release.branch,
            version: release.version,
            arch: release.arch.clone(),
            flavor: set.flavor.clone(),
        },
        verified,
        kernel: file("vmlinuz", &set.kernel),
        initramfs: file("initramfs", &set.initramfs),
        modloop: file("modloop", &set.modloop),
    }
}

/// `SOURCE_DATE_EPOCH` as reproducible-builds.org defines it; 0 when it is not set.
fn epoch() -> anyhow::Result<u64> {
    /// What the eleven octal digits of a tar header hold.
    const LATEST: u64 = 0o77_777_777_777;
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => {
            let seconds = text.parse().ok().filter(|seconds| *seconds <= LATEST);
            seconds.with_context(|| {
                format!("SOURCE_DATE_EPOCH is `{text}`; it must be a number of seconds up to {LATEST}")
            })
        }
        Err(_) => Ok(0),
    }
}
