//! Releases of a profile and the channels that point at them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::disk;
use crate::model::manifest::{BundleId, FileEntry, Manifest};
use crate::model::name::{ChannelName, ProfileName};
use crate::model::plan::{Catalog, Published};

/// The largest small JSON file of the store.
const MAX_RECORD: u64 = 64 << 10;

/// Release N of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// N, counted from 1 in order of publication.
    pub number: u64,
    /// What it is.
    pub bundle: BundleId,
    /// When it was published, in seconds since 1970; not part of any id.
    pub published: u64,
}

/// What a site adds to a bundle when it publishes it, because it depends on the site's signing key and a bundle id
/// must not: the same profile gives the same id everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteParts {
    /// The initrd with the overlay and the site's public key (DESIGN 4.3).
    pub initrd: FileEntry,
    /// The package index, signed by the site.
    pub index: FileEntry,
}

/// What a publish did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publication {
    /// A new release, and the channel points at it.
    New(Release),
    /// The channel points at this very bundle already; there is no new release.
    Unchanged(Release),
}

impl Store {
    /// Makes the bundle of `manifest` the newest release of its profile and points `channel` at it.
    ///
    /// Publishing what the channel points at already makes no release.
    ///
    /// # Errors
    /// When a blob is missing, the bundle was published with another site key, or the file system refuses; then the
    /// channel stays where it was.
    pub fn publish(
        &self,
        manifest: &Manifest,
        site: &SiteParts,
        channel: &ChannelName,
        now: SystemTime,
    ) -> Result<Publication, StoreError> {
        let lock = self.lock()?;
        disk::sweep_all(&self.root, &lock)?;
        let (profile, bundle) = (&manifest.profile, manifest.id());
        for (digest, size) in manifest.blobs().chain([&site.initrd, &site.index].map(|file| (file.sha256, file.size))) {
            if !self.has_blob(&digest, size) {
                return Err(StoreError::NoBlob { bundle, digest });
            }
        }
        // URLs that name a bundle never change what they name (DESIGN 4.1), and the site's key is part of that.
        if self.site_path(&bundle).exists() && self.site_parts(&bundle)? != *site {
            return Err(StoreError::OtherKey(bundle));
        }
        disk::write_atomic(&self.bundle_path(&bundle), &manifest.to_bytes())?;
        self.write_json(&self.site_path(&bundle), site)?;
        if let Ok(current) = self.channel(profile, channel)
            && current.bundle == bundle
        {
            return Ok(Publication::Unchanged(current));
        }
        let number = self.newest(profile)? + 1;
        let published = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let release = Release { number, bundle, published };
        disk::create_dir_all(&self.profile_path(profile).join("releases"))?;
        disk::create_dir_all(&self.profile_path(profile).join("channels"))?;
        self.write_json(&self.release_path(profile, number), &release)?;
        disk::write_atomic(&self.channel_path(profile, channel), format!("{number}\n").as_bytes())?;
        Ok(Publication::New(release))
    }

    /// Lets `channel` of `profile` point at a release that was published before; what it had.
    ///
    /// # Errors
    /// When there is no such release, or the store cannot be written.
    pub fn point(
        &self,
        profile: &ProfileName,
        channel: &ChannelName,
        number: u64,
    ) -> Result<Option<Release>, StoreError> {
        let _lock = self.lock()?;
        self.release(profile, number)?;
        let before = self.channels(profile)?.contains(channel).then(|| self.channel(profile, channel)).transpose()?;
        disk::create_dir_all(&self.profile_path(profile).join("channels"))?;
        disk::write_atomic(&self.channel_path(profile, channel), format!("{number}\n").as_bytes())?;
        Ok(before)
    }

    /// Release `number` of `profile`.
    ///
    /// # Errors
    /// When there is none.
    pub fn release(&self, profile: &ProfileName, number: u64) -> Result<Release, StoreError> {
        let path = self.release_path(profile, number);
        if !path.exists() {
            return Err(match self.newest(profile)? {
                0 => self.no_profile(profile),
                newest => StoreError::NoRelease { profile: profile.clone(), number, newest },
            });
        }
        self.read_json(path)
    }

    /// The release `channel` of `profile` points at.
    ///
    /// # Errors
    /// When there is no such profile or channel.
    pub fn channel(&self, profile: &ProfileName, channel: &ChannelName) -> Result<Release, StoreError> {
        let path = self.channel_path(profile, channel);
        if !path.exists() {
            let known = self.channels(profile)?;
            if known.is_empty() {
                return Err(self.no_profile(profile));
            }
            let known = known.iter().map(ToString::to_string).collect();
            return Err(StoreError::NoChannel { profile: profile.clone(), channel: channel.clone(), known });
        }
        let bytes = disk::read_bounded(&path, MAX_RECORD)?;
        let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
        let number =
            number.ok_or_else(|| StoreError::Damaged { path, why: "it is not a release number".to_owned() })?;
        self.release(profile, number)
    }

    /// The channels of `profile`, by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn channels(&self, profile: &ProfileName) -> Result<Vec<ChannelName>, StoreError> {
        self.names(&self.profile_path(profile).join("channels"))
    }

    /// The releases of `profile`, oldest first.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn releases(&self, profile: &ProfileName) -> Result<Vec<Release>, StoreError> {
        self.numbers(profile)?.into_iter().map(|number| self.release(profile, number)).collect()
    }

    /// The releases of `profile` before `number`, newest first, each read when its turn comes: one that is damaged hides
    /// no other.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn releases_before(
        &self,
        profile: &ProfileName,
        number: u64,
    ) -> Result<impl Iterator<Item = Result<Release, StoreError>>, StoreError> {
        let numbers = self.numbers(profile)?.into_iter().rev().filter(move |earlier| *earlier < number);
        Ok(numbers.map(move |number| self.release(profile, number)))
    }

    /// What the site added to a bundle.
    ///
    /// # Errors
    /// When the bundle was never published here.
    pub fn site_parts(&self, bundle: &BundleId) -> Result<SiteParts, StoreError> {
        let path = self.site_path(bundle);
        if path.exists() { self.read_json(path) } else { Err(StoreError::NoBundle(*bundle)) }
    }

    /// Everything channels point at, for the serving side, and what is wrong with channels that cannot be read: those
    /// stay as `known` has them. Manifests that `known` holds are not read again.
    ///
    /// # Errors
    /// When the list of profiles cannot be read.
    pub fn catalog(&self, known: &Catalog) -> Result<(Catalog, Vec<StoreError>), StoreError> {
        let mut catalog = Catalog::default();
        let mut problems = Vec::new();
        for profile in self.profiles()? {
            for channel in self.channels(&profile)? {
                match self.published(&profile, &channel, known) {
                    Ok(published) => catalog.insert(profile.clone(), channel, published),
                    Err(problem) => {
                        problems.push(problem);
                        if let Some(before) = known.published(&profile, &channel) {
                            catalog.insert(profile.clone(), channel, before.clone());
                        }
                    }
                }
            }
        }
        Ok((catalog, problems))
    }

    fn published(
        &self,
        profile: &ProfileName,
        channel: &ChannelName,
        known: &Catalog,
    ) -> Result<Published, StoreError> {
        let Release { number, bundle, .. } = self.channel(profile, channel)?;
        let held = known.all().find(|(_, _, published)| published.bundle == bundle);
        let manifest = match held {
            Some((_, _, published)) => Arc::clone(&published.manifest),
            None => Arc::new(self.manifest(&bundle)?),
        };
        Ok(Published { release: number, bundle, manifest })
    }

    fn newest(&self, profile: &ProfileName) -> Result<u64, StoreError> {
        Ok(self.numbers(profile)?.last().copied().unwrap_or(0))
    }

    pub(super) fn numbers(&self, profile: &ProfileName) -> Result<Vec<u64>, StoreError> {
        let folder = self.profile_path(profile).join("releases");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let names = disk::list(&folder)?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn write_json<T: Serialize>(&self, path: &std::path::Path, value: &T) -> Result<(), StoreError> {
        let mut bytes = serde_json::to_vec(value).expect("records hold only texts and numbers");
        bytes.push(b'\n');
        Ok(disk::write_atomic(path, &bytes)?)
    }

    fn read_json<T: for<'de> Deserialize<'de>>(&self, path: PathBuf) -> Result<T, StoreError> {
        let bytes = disk::read_bounded(&path, MAX_RECORD)?;
        serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged { path, why: error.to_string() })
    }

    fn profile_path(&self, profile: &ProfileName) -> PathBuf {
        self.root.join("profiles").join(profile.as_str())
    }

    fn release_path(&self, profile: &ProfileName, number: u64) -> PathBuf {
        self.profile_path(profile).join("releases").join(format!("{number}.json"))
    }

    fn channel_path(&self, profile: &ProfileName, channel: &ChannelName) -> PathBuf {
        self.profile_path(profile).join("channels").join(channel.as_str())
    }

    pub(super) fn site_path(&self, bundle: &BundleId) -> PathBuf {
        self.root.join("sites").join(format!("{bundle}.json"))
    }
}
