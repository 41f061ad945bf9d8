//! The finished bundle, not yet in any store.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::accounts::{BaseAccounts, GROUP, PASSWD, SHADOW};
use super::contents::Contents;
use super::{BuildError, Finding, Recipe, packages};
use crate::apk::PackageFile;
use crate::disk;
use crate::model::cmdline::{MAX_LENGTH, fits};
use crate::model::digest::Digest;
use crate::model::manifest::{Alpine, FORMAT, FileEntry, Manifest, PackageEntry, Verified};
use crate::wire::cpio::{ArchiveError, Writer};
use crate::wire::gzip::gzip;
use crate::wire::kernel::{KernelError, command_line_limit};

/// The name of the document with a bundle's templates.
const TEMPLATES: &str = "templates.json";

/// A verified netboot set in a cache.
#[derive(Debug, Clone)]
pub struct Netboot {
    /// The release.
    pub alpine: Alpine,
    /// What was checked of it, and of the package indexes.
    pub verified: Verified,
    /// The kernel and where it is.
    pub kernel: (FileEntry, PathBuf),
    /// The initramfs and where it is.
    pub initramfs: (FileEntry, PathBuf),
    /// The modules and where they are.
    pub modloop: (FileEntry, PathBuf),
}

/// Bytes of a bundle, or the file that has them.
#[derive(Debug, Clone)]
pub enum Blob {
    /// Made by the build.
    Bytes(Vec<u8>),
    /// Downloaded before.
    File {
        /// Where.
        path: PathBuf,
        /// What it must be.
        digest: Digest,
        /// How long it must be.
        size: u64,
    },
    /// A package in the cache, which is never written again under that name.
    Package {
        /// Where.
        path: PathBuf,
        /// What it must be.
        digest: Digest,
        /// How long it must be.
        size: u64,
    },
}

/// A bundle and all its bytes.
#[derive(Debug, Clone)]
pub struct Staged {
    /// The manifest.
    pub manifest: Manifest,
    /// Everything the manifest names.
    pub blobs: Vec<Blob>,
    /// What looks like a mistake now that the packages are known, and did not before; none that stops a build.
    pub findings: Vec<Finding>,
}

impl Staged {
    /// Joins a recipe with Alpine's files and packages: the entries and files of the packages its lock names, sorted by
    /// name, and their index records. Files of the overlay get the time `epoch`.
    ///
    /// # Errors
    /// When accounts of the recipe contradict those of Alpine's base, the overlay does not fit the files of the packages,
    /// or a package cannot be read or described.
    pub fn assemble(
        recipe: &Recipe,
        netboot: &Netboot,
        records: &[String],
        packages: Vec<(PackageEntry, PathBuf)>,
        epoch: u64,
    ) -> Result<Self, BuildError> {
        check_command_line(recipe, &netboot.kernel.1)?;
        let base = base_accounts(&packages)?;
        let findings = recipe.compared(&Contents::read(&packages)?, &base)?;
        let overlay = recipe.overlay(&base, epoch)?;
        let index = packages::index(records, &recipe.name)?;
        let mut blobs: Vec<Blob> = [&netboot.kernel, &netboot.initramfs, &netboot.modloop]
            .into_iter()
            .map(|(file, path)| Blob::File { path: path.clone(), digest: file.sha256, size: file.size })
            .collect();
        let manifest = Manifest {
            format: FORMAT,
            profile: recipe.name.clone(),
            alpine: netboot.alpine.clone(),
            verified: netboot.verified.clone(),
            kernel: netboot.kernel.0.clone(),
            initramfs: netboot.initramfs.0.clone(),
            modloop: netboot.modloop.0.clone(),
            apkovl: entry(format!("{}.apkovl.tar.gz", recipe.name), &overlay.archive),
            overlay: overlay.content,
            templates: overlay.templates.as_deref().map(|bytes| entry(TEMPLATES.to_owned(), bytes)),
            kernel_args: recipe.kernel_args.clone(),
            world: recipe.world.clone(),
            index: entry("APKINDEX.tar.gz".to_owned(), &index),
            packages: packages.iter().map(|(package, _)| package.clone()).collect(),
        };
        blobs.push(Blob::Bytes(overlay.archive));
        blobs.extend(overlay.templates.map(Blob::Bytes));
        blobs.push(Blob::Bytes(index));
        blobs.extend(packages.into_iter().map(|(package, path)| Blob::Package {
            path,
            digest: package.sha256,
            size: package.size,
        }));
        Ok(Self { manifest, blobs, findings })
    }
}

/// Whether the kernel takes the profile's arguments with those that are added when a machine boots: some kernels take
/// less than most, and a kernel says it in its header (netboot.md, E3).
fn check_command_line(recipe: &Recipe, kernel: &Path) -> Result<(), BuildError> {
    let failed = |source| BuildError::Kernel { path: kernel.to_owned(), source };
    let image = File::open(kernel).map_err(|error| failed(KernelError::Read(error)))?;
    let limit = command_line_limit(image).map_err(failed)?.unwrap_or(MAX_LENGTH);
    let told = |source| BuildError::CommandLine { profile: recipe.name.clone(), source };
    fits(&recipe.kernel_args, limit).map_err(told)
}

/// The accounts of the Alpine that the bundle carries, from the package that has them; a release whose base is built
/// otherwise has those of today.
fn base_accounts(packages: &[(PackageEntry, PathBuf)]) -> Result<BaseAccounts, BuildError> {
    // Since 3.17 the files have a package of their own.
    for name in ["alpine-baselayout-data", "alpine-baselayout"] {
        let Some((entry, path)) = packages.iter().find(|(package, _)| package.name == name) else { continue };
        let bytes = disk::read_bounded(path, entry.size)?;
        let failed = |source| BuildError::Unreadable { name: entry.file_name(), source };
        let files = PackageFile::read(&bytes).map_err(failed)?.files(&[PASSWD, GROUP, SHADOW]).map_err(failed)?;
        if let [Some(passwd), Some(group), Some(shadow)] = [PASSWD, GROUP, SHADOW].map(|name| files.get(name)) {
            let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
            return Ok(BaseAccounts { passwd: text(passwd), group: text(group), shadow: text(shadow) });
        }
    }
    Ok(BaseAccounts::default())
}

fn entry(name: String, bytes: &[u8]) -> FileEntry {
    FileEntry { name, sha256: Digest::of(bytes), size: bytes.len() as u64 }
}

/// The initrd iPXE loads after Alpine's: the overlay where `apkovl=` names it, and the site's key where init takes
/// keys from (DESIGN 4.3; alpine.md 1.3, step 11). Compressed, so that it may begin at any offset (INIT-20).
///
/// # Errors
/// When a name cannot stand in an archive.
pub fn site_initrd(apkovl: (&str, &[u8]), key_name: &str, public_key: &str) -> Result<Vec<u8>, ArchiveError> {
    let mut archive = Writer::new(0);
    archive.file(apkovl.0, 0o644, apkovl.1)?;
    archive.file(&format!("etc/apk/keys/{key_name}"), 0o644, public_key.as_bytes())?;
    Ok(gzip(&archive.finish()))
}
