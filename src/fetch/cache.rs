//! The folder that keeps what was fetched, for all profiles and mirrors. Files are named by what they are, and never
//! change.
//!
//! | Path | What |
//! |---|---|
//! | `lock` | shared by everybody who adds something, held alone by whoever cleans up; readers need it not |
//! | `files/<sha256>` | kernel, initramfs or modloop |
//! | `releases/<sha256>.json` | what a verified tarball of that digest had in it, what was checked and by which key |
//! | `names/<release>-<arch>.json` | what a name such as `latest-stable` meant when it was asked for last |
//! | `seen/<branch>-<arch>.json` | the newest release of a branch that was ever fetched |
//! | `partial/<sha256>.tar.gz` | a tarball on its way; continued after a crash, gone after success and refusal |
//! | `unpack/` | files being unpacked |
//! | `indexes/<sha256>.tar.gz` | the last verified index of a package repository, named after its place |
//! | `packages/<sha256>.apk` | a package, named after its identity, which is compared on each use |
//!
//! A file of a netboot set has a fixed time of change: that says that its digest was compared. One whose time is
//! another was touched since, and is compared again before it is used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{debug, warn};

use super::inspect::inspect;
use super::record::{CachedFile, FORM, Facts, NetbootSet, Record, Recorded, RecordedSet, Seen};
use super::tarball::Unpacked;
use super::{Checks, FetchError, Release, Wish, alpine_keys};
use crate::apk::KeyRing;
use crate::disk::{self, Clean, DiskError, Lock};
use crate::model::alpine::{Arch, Flavor, ReleaseSpec, Version};
use crate::model::check::Check;
use crate::model::digest::{Digest, Hasher};

/// The largest record read; the keys of an initramfs are most of it.
const LARGEST_RECORD: u64 = 32 << 20;

/// The time of change of a file whose digest was compared: the first second of 2000.
const COMPARED: Duration = Duration::from_secs(946_684_800);

/// The folders in it, none of which has folders of its own but for those being unpacked.
const FOLDERS: [&str; 8] = ["files", "releases", "names", "seen", "partial", "unpack", "indexes", "packages"];

/// The folder.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    /// Where somebody else keeps packages under the same names.
    beside: Option<PathBuf>,
}

impl Cache {
    /// Opens a cache; the folder and what is above it are made when they are missing.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self, FetchError> {
        let cache = Self { folder: folder.to_owned(), beside: None };
        for part in FOLDERS {
            disk::create_dir_all(&cache.folder.join(part))?;
        }
        Ok(cache)
    }

    /// The same cache, which takes packages out of another folder too, where they have the same names: no package is
    /// downloaded or stored twice. The caching mirror keeps its packages in such a folder.
    #[must_use]
    pub fn beside(self, packages: &Path) -> Self {
        Self { beside: Some(packages.to_owned()), ..self }
    }

    /// The set of a release that was fetched before, is whole, and was checked as `checks` asks. Large files are read
    /// only when something touched them since, or a check has yet to be made. Damaged files are removed.
    ///
    /// # Errors
    /// When the cache cannot be read, or a check fails that is made for the first time.
    pub fn netboot_set(
        &self,
        release: &Release,
        flavor: &Flavor,
        checks: &Checks,
    ) -> Result<Option<NetbootSet>, FetchError> {
        let Some(record) = self.record(&release.sha256)? else { return Ok(None) };
        if record.release.version != release.version
            || record.release.arch != release.arch
            || !is_signed(&record, checks)
        {
            return Ok(None);
        }
        let Some(set) = record.flavors.get(flavor) else {
            return match record.incomplete.get(flavor) {
                Some(member) => Err(FetchError::Incomplete { tarball: release.file(), member: member.clone() }),
                None => Err(FetchError::NoFlavor {
                    flavor: flavor.clone(),
                    version: release.version,
                    arch: release.arch.clone(),
                    present: record.flavors.keys().cloned().collect(),
                }),
            };
        };
        let [Some(kernel), Some(initramfs), Some(modloop)] = self.whole(set)? else { return Ok(None) };
        let known = set.facts.clone().filter(|facts| {
            // A key that was taken out of the site file vouches for nothing any more.
            let keys = facts.keys(&checks.package_keys);
            let is_trusted = facts.modloop_key.as_ref().is_none_or(|key| keys.key(key).is_some());
            let is_made = |check: &Check| facts.made.contains(check) || !checks.makes(*check);
            is_trusted && [Check::Kernel, Check::Modloop].iter().all(is_made)
        });
        let facts = match known {
            Some(facts) => facts,
            None => {
                let facts = inspect(release, flavor, [&kernel.path, &initramfs.path, &modloop.path], checks)?;
                let mut record = record.clone();
                if let Some(set) = record.flavors.get_mut(flavor) {
                    set.facts = Some(facts.clone());
                }
                self.write(&record)?;
                facts
            }
        };
        touch(&self.record_path(&release.sha256));
        Ok(Some(NetbootSet {
            release: release.clone(),
            release_key: record.release_key.filter(|key| is_trusted(key, checks)),
            flavor: flavor.clone(),
            kernel,
            initramfs,
            modloop,
            facts,
        }))
    }

    /// What a name meant when it was fetched last, or a version that was fetched before.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub(super) fn release(
        &self,
        spec: &ReleaseSpec,
        arch: &Arch,
        checks: &Checks,
    ) -> Result<Option<Release>, FetchError> {
        if let ReleaseSpec::Version(version) = *spec {
            return self.version(version, arch, checks);
        }
        let path = self.name_path(spec, arch);
        match disk::read_bounded(&path, LARGEST_RECORD) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A version that was fetched before, and signed by a key that counts now.
    pub(super) fn version(
        &self,
        version: Version,
        arch: &Arch,
        checks: &Checks,
    ) -> Result<Option<Release>, FetchError> {
        let is_meant = |it: &Record| it.release.version == version && it.release.arch == *arch && is_signed(it, checks);
        Ok(self.records()?.into_iter().find(is_meant).map(|record| record.release))
    }

    /// What a tarball was called when it was fetched, by the signature that counts now.
    pub(super) fn tarball(&self, digest: &Digest, checks: &Checks) -> Result<Option<Release>, FetchError> {
        Ok(self.record(digest)?.filter(|record| is_signed(record, checks)).map(|record| record.release))
    }

    /// When the tarball of a release was signed, when it is in the cache.
    pub(super) fn signed_at(&self, release: &Release) -> Result<Option<u64>, FetchError> {
        Ok(self.record(&release.sha256)?.and_then(|record| record.signed_at))
    }

    /// The newest release of a branch, or of what a moving name led to, that was ever fetched.
    pub(super) fn seen(&self, name: &str, arch: &Arch) -> Result<Option<Seen>, FetchError> {
        match disk::read_bounded(&self.seen_path(name, arch), LARGEST_RECORD) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Remembers what a name means now, and the newest release of its branch. Under the shared lock.
    pub(super) fn remember(&self, spec: &ReleaseSpec, release: &Release) -> Result<(), FetchError> {
        let seen = Seen { version: release.version, signed_at: self.signed_at(release)? };
        let mut names = vec![release.branch.to_string()];
        if !matches!(spec, ReleaseSpec::Version(_)) {
            names.push(spec.to_string());
            let json = serde_json::to_vec_pretty(release).expect("a release has only text and numbers");
            self.replace(&self.name_path(spec, &release.arch), &json)?;
        }
        for name in names {
            if self.seen(&name, &release.arch)?.is_none_or(|before| before.version <= seen.version) {
                let json = serde_json::to_vec_pretty(&seen).expect("it has only text and numbers");
                self.replace(&self.seen_path(&name, &release.arch), &json)?;
            }
        }
        Ok(())
    }

    /// Writes a file unless it is as it should be already.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        match disk::read_bounded(path, LARGEST_RECORD) {
            Ok(before) if before == bytes => Ok(()),
            _ => disk::write_atomic(path, bytes),
        }
    }

    /// Why offline a wish cannot be had, in the words that follow its name.
    pub(super) fn lacks(&self, wish: &Wish, checks: &Checks) -> Result<String, FetchError> {
        let any = Checks { off: Check::ALL.into(), ..checks.clone() };
        Ok(match self.release(&wish.release, &wish.arch, &any)? {
            Some(release) => match self.record(&release.sha256)? {
                Some(record) if !is_signed(&record, checks) => {
                    " (it is in the cache, but no key that is trusted now has signed it)".to_owned()
                }
                Some(_) => format!(" ({} is in the cache, but a file of it is damaged or gone)", release.version),
                None => format!(" (it meant {}, which was cleaned up since)", release.version),
            },
            None => {
                let of_arch = self.records()?.into_iter().filter(|record| record.release.arch == wish.arch);
                let mut versions: Vec<Version> = of_arch.map(|record| record.release.version).collect();
                versions.sort();
                match versions.as_slice() {
                    [] => String::new(),
                    several => {
                        let list: Vec<String> = several.iter().map(ToString::to_string).collect();
                        format!(" (the cache has {})", list.join(", "))
                    }
                }
            }
        })
    }

    /// Puts what was unpacked in `folder` into the cache.
    pub(super) fn keep(
        &self,
        release: &Release,
        (release_key, signed_at): (Option<String>, Option<u64>),
        unpacked: Unpacked,
        folder: &Path,
        checked: Option<(&Flavor, Facts)>,
    ) -> Result<(), FetchError> {
        let mut flavors = BTreeMap::new();
        for (flavor, [kernel, initramfs, modloop]) in unpacked.flavors {
            let facts = checked.as_ref().filter(|it| *it.0 == flavor).map(|it| it.1.clone());
            let set = RecordedSet { kernel, initramfs, modloop, facts };
            for (kind, recorded) in set.files() {
                self.adopt(&folder.join(format!("{kind}-{flavor}")), &recorded.digest)?;
            }
            flavors.insert(flavor, set);
        }
        disk::sync_folder(&self.folder.join("files"))?;
        let release = release.clone();
        self.write(&Record { form: FORM, release, release_key, signed_at, flavors, incomplete: unpacked.incomplete })
    }

    /// Takes a damaged file out, so that the next fetch brings it again; whether it was one of the cache's.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(&self, path: &Path) -> Result<bool, FetchError> {
        if !path.starts_with(&self.folder) {
            return Ok(false);
        }
        disk::remove(path)?;
        Ok(true)
    }

    /// Removes what nobody has used since a time: releases with their files, packages, indexes, and what is left of
    /// downloads that were stopped; and files that belong to no release. What names such as `latest-stable` meant last
    /// stays, because no mirror may lead them back. Waits for fetches that are under way.
    ///
    /// # Errors
    /// When something cannot be read or removed.
    pub fn clean(&self, unused_since: SystemTime, clean: &mut Clean) -> Result<(), FetchError> {
        let path = self.folder.join("lock");
        // Who only counts is in nobody's way.
        let lock = if clean.is_trial() { Lock::share(&path)? } else { Lock::acquire(&path)? };
        if !clean.is_trial() {
            self.sweep(&lock)?;
        }
        let mut needed = BTreeSet::new();
        for name in disk::list(&self.folder.join("releases"))? {
            let path = self.folder.join("releases").join(&name);
            let digest = name.strip_suffix(".json").and_then(|it| it.parse().ok());
            let record = digest.map(|digest| self.record(&digest)).transpose()?.flatten();
            match record {
                Some(record) if disk::examine(&path)?.1 >= unused_since => {
                    let files = record.flavors.values().flat_map(RecordedSet::files);
                    needed.extend(files.map(|(_, recorded)| recorded.digest.to_string()));
                }
                _ => clean.away(&path)?,
            }
        }
        for name in disk::list(&self.folder.join("files"))?.iter().filter(|name| !needed.contains(*name)) {
            clean.away(&self.folder.join("files").join(name))?;
        }
        for folder in ["partial", "indexes", "packages"].map(|folder| self.folder.join(folder)) {
            for path in disk::list(&folder)?.iter().map(|name| folder.join(name)) {
                if disk::examine(&path)?.1 < unused_since {
                    clean.away(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Whether somebody is fetching, so that a clean-up has to wait.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(Lock::try_acquire(&self.folder.join("lock")), Err(DiskError::Busy { .. }))
    }

    /// Lets nobody clean up while this is held; waits for whoever does.
    pub(super) fn share(&self) -> Result<Lock, DiskError> {
        let path = self.folder.join("lock");
        if let Ok(alone) = Lock::try_acquire(&path) {
            // Nobody else is at work: what is unfinished was left by a crash.
            self.sweep(&alone)?;
        }
        Lock::share(&path)
    }

    /// Removes what was left unfinished. By names alone: a cache may have thousands of files, and each fetch that runs
    /// alone comes here.
    fn sweep(&self, alone: &Lock) -> Result<(), DiskError> {
        FOLDERS.iter().try_for_each(|part| disk::sweep(&self.folder.join(part), alone).map(drop))
    }

    /// Where the tarball of a release is while it is downloaded.
    pub(super) fn partial(&self, release: &Release) -> PathBuf {
        self.folder.join("partial").join(format!("{}.tar.gz", release.sha256))
    }

    /// The folder in which tarballs are unpacked.
    pub(super) fn unpacking(&self) -> PathBuf {
        self.folder.join("unpack")
    }

    /// Where the index of a repository is kept: `place` is what it is called, such as `v3.24/main/x86_64`.
    pub(super) fn index(&self, place: &str) -> PathBuf {
        self.folder.join("indexes").join(format!("{}.tar.gz", Digest::of(place.as_bytes())))
    }

    /// Where a package of this identity is kept.
    #[must_use]
    pub fn package(&self, identity: &str) -> PathBuf {
        self.folder.join("packages").join(package_name(identity))
    }

    /// Gives a package that the folder beside this cache has a name here too. Whether it is the right one is found out
    /// by whoever uses it.
    pub(super) fn take_from_beside(&self, identity: &str) {
        let Some(beside) = &self.beside else { return };
        if let Err(error) = fs::hard_link(beside.join(package_name(identity)), self.package(identity)) {
            debug!(%error, "no package to share with the caching mirror");
        }
    }

    /// The keys that may sign package indexes for an architecture: Alpine's own, those of the netboot sets that were
    /// fetched, and the site's.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn package_keys(&self, arch: &Arch, checks: &Checks) -> Result<KeyRing, FetchError> {
        let mut keys = alpine_keys(arch);
        for record in self.records()?.iter().filter(|it| it.release.arch == *arch && is_signed(it, checks)) {
            for facts in record.flavors.values().filter_map(|set| set.facts.as_ref()) {
                keys.extend(facts.keys(&checks.package_keys));
            }
        }
        keys.extend(checks.package_keys.clone());
        Ok(keys)
    }

    /// Every record that can be read.
    pub(super) fn records(&self) -> Result<Vec<Record>, FetchError> {
        let mut records = Vec::new();
        for name in disk::list(&self.folder.join("releases"))? {
            if let Some(digest) = name.strip_suffix(".json").and_then(|it| it.parse().ok()) {
                records.extend(self.record(&digest)?);
            }
        }
        Ok(records)
    }

    fn record(&self, tarball: &Digest) -> Result<Option<Record>, FetchError> {
        match disk::read_bounded(&self.record_path(tarball), LARGEST_RECORD) {
            Ok(bytes) => {
                let record: Option<Record> = serde_json::from_slice(&bytes).ok();
                Ok(record.filter(|it| it.form == FORM && it.release.sha256 == *tarball))
            }
            Err(error) if error.is_not_found() || matches!(error, DiskError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self, record: &Record) -> Result<(), FetchError> {
        let json = serde_json::to_vec_pretty(record).expect("a record has only text, numbers and plain names");
        Ok(disk::write_atomic(&self.record_path(&record.release.sha256), &json)?)
    }

    /// The files of a set that are there as they were.
    fn whole(&self, set: &RecordedSet) -> Result<[Option<CachedFile>; 3], FetchError> {
        let [kernel, initramfs, modloop] = set.files().map(|(_, recorded)| self.file(recorded));
        Ok([kernel?, initramfs?, modloop?])
    }

    /// A file that is there as it was; one that is not is removed.
    fn file(&self, recorded: Recorded) -> Result<Option<CachedFile>, FetchError> {
        let Recorded { digest, size } = recorded;
        let path = self.folder.join("files").join(digest.to_string());
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk::failed("examine", &path)(error).into()),
        };
        let is_compared = found.modified().is_ok_and(|time| time == UNIX_EPOCH + COMPARED);
        if found.is_file() && found.len() == size {
            if is_compared {
                return Ok(Some(CachedFile { path, digest, size }));
            }
            if digest_of(&path)? == digest {
                // In somebody else's cache it is compared each time.
                let _ = mark_compared(&path);
                return Ok(Some(CachedFile { path, digest, size }));
            }
        }
        warn!(path = %path.display(), "a file of the cache is damaged; it is removed");
        if found.is_dir() {
            fs::remove_dir_all(&path).map_err(disk::failed("remove", &path))?;
        }
        disk::remove(&path)?;
        Ok(None)
    }

    /// Gives a verified file its place.
    fn adopt(&self, path: &Path, digest: &Digest) -> Result<(), DiskError> {
        let place = self.folder.join("files").join(digest.to_string());
        fs::set_permissions(path, Permissions::from_mode(0o444)).map_err(disk::failed("protect", path))?;
        mark_compared(path)?;
        // The time says that the content is right, so the content has to survive what the time survives.
        File::open(path).and_then(|file| file.sync_all()).map_err(disk::failed("write back", path))?;
        fs::rename(path, &place).map_err(disk::failed("put in place", &place))
    }

    fn record_path(&self, tarball: &Digest) -> PathBuf {
        self.folder.join("releases").join(format!("{tarball}.json"))
    }

    fn seen_path(&self, name: &str, arch: &Arch) -> PathBuf {
        self.folder.join("seen").join(format!("{name}-{arch}.json"))
    }

    fn name_path(&self, spec: &ReleaseSpec, arch: &Arch) -> PathBuf {
        self.folder.join("names").join(format!("{spec}-{arch}.json"))
    }
}

/// The file name of a package of this identity.
#[must_use]
pub fn package_name(identity: &str) -> String {
    format!("{}.apk", Digest::of(identity.as_bytes()))
}

/// Whether a tarball was signed by a key that counts now.
fn is_signed(record: &Record, checks: &Checks) -> bool {
    let is_trusted = record.release_key.as_ref().is_some_and(|key| is_trusted(key, checks));
    is_trusted || !checks.makes(Check::Signature)
}

/// Whether a fingerprint is that of a key that counts now.
fn is_trusted(fingerprint: &str, checks: &Checks) -> bool {
    let mut trusted = checks.release_keys.iter();
    trusted.any(|key| key.fingerprint().to_string() == fingerprint)
}

/// Says that a file was used today: what is not used is cleaned up one day.
pub(super) fn touch(path: &Path) {
    // In somebody else's cache only they say so.
    if let Err(error) = disk::set_time(path, SystemTime::now()) {
        debug!(%error, "cannot say that a file of the cache is in use");
    }
}

fn mark_compared(path: &Path) -> Result<(), DiskError> {
    disk::set_time(path, UNIX_EPOCH + COMPARED)
}

fn digest_of(path: &Path) -> Result<Digest, DiskError> {
    let mut hasher = Hasher::default();
    disk::read_pieces(path, |piece| hasher.update(piece))?;
    Ok(hasher.finish())
}
