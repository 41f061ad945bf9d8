//! Whether kernel, initramfs and modloop are one set, and who signed the modloop.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use tracing::warn;

use super::modloop::verify_modloop;
use super::record::{Facts, INITRAMFS, KERNEL, MODLOOP};
use super::{Checks, FetchError, InitramfsFacts, Kernels, Release};
use crate::apk::KeyRing;
use crate::disk;
use crate::model::alpine::Flavor;
use crate::model::check::Check;
use crate::wire::kernel::{self, KernelError};
use crate::wire::squashfs;

/// Looks into the files of one flavor, in the order kernel, initramfs, modloop, and checks them against each other.
pub(super) fn inspect(
    release: &Release,
    flavor: &Flavor,
    [kernel, initramfs, modloop]: [&Path; 3],
    checks: &Checks,
) -> Result<Facts, FetchError> {
    let tarball = &release.file();
    let named = |kind: &str| format!("boot/{kind}-{flavor}");
    let of_initramfs = InitramfsFacts::load(initramfs).map_err(|source| FetchError::Initramfs {
        file: named(INITRAMFS),
        tarball: tarball.to_owned(),
        source,
    })?;
    let mut made = BTreeSet::new();
    let mut kernel_release = None;
    if checks.makes(Check::Kernel) {
        let file = File::open(kernel).map_err(disk::failed("open", kernel))?;
        let image = kernel::release_in(file).map_err(|source| match source {
            // The cache's own disk; another mirror has none that is better.
            KernelError::Read(source) => disk::failed("read", kernel)(source).into(),
            source => FetchError::Kernel { file: named(KERNEL), tarball: tarball.to_owned(), source },
        })?;
        let file = File::open(modloop).map_err(disk::failed("open", modloop))?;
        let modules = squashfs::kernels(BufReader::new(file)).map_err(|source| FetchError::Modloop {
            file: named(MODLOOP),
            tarball: tarball.to_owned(),
            source,
        })?;
        let kernels = Kernels { image, initramfs: of_initramfs.kernel_version.clone(), modloop: modules };
        if let (Some(expected), Some(found)) = (release.arch.elf_machine(), of_initramfs.machine)
            && expected != found
        {
            let (file, tarball, arch) = (named(INITRAMFS), tarball.to_owned(), release.arch.clone());
            return Err(FetchError::OtherArch { file, tarball, arch, found, expected });
        }
        kernel_release = kernels.one(&release.arch).map_err(|kernels| FetchError::NotOneSet {
            tarball: tarball.to_owned(),
            flavor: flavor.clone(),
            kernels,
        })?;
        made.insert(Check::Kernel);
    }
    let mut modloop_key = None;
    if checks.makes(Check::Modloop) {
        let mut keys = checks.package_keys.clone();
        trust(&mut keys, &of_initramfs.apk_keys);
        modloop_key =
            verify_modloop(modloop, &format!("{MODLOOP}-{flavor}"), &of_initramfs, &keys).map_err(|source| {
                FetchError::ModloopSignature { file: named(MODLOOP), tarball: tarball.to_owned(), source }
            })?;
        made.insert(Check::Modloop);
    }
    Ok(Facts {
        kernel: kernel_release.or(of_initramfs.kernel_version),
        apk_keys: texts(&of_initramfs.apk_keys),
        modloop_is_signed: !of_initramfs.modloop_signatures.is_empty(),
        modloop_key,
        made,
    })
}

impl Facts {
    /// The keys a machine that boots this set accepts packages by, and so does the build; `more` are the site's own.
    #[must_use]
    pub fn keys(&self, more: &KeyRing) -> KeyRing {
        let mut keys = more.clone();
        let own: Vec<_> = self.apk_keys.iter().map(|(name, pem)| (name.clone(), pem.as_bytes().to_vec())).collect();
        trust(&mut keys, &own);
        keys
    }
}

fn trust(keys: &mut KeyRing, files: &[(String, Vec<u8>)]) {
    for (name, pem) in files {
        if let Err(problem) = keys.insert(name, pem) {
            warn!(key = %name, %problem, "the initramfs has a key that cannot be used");
        }
    }
}

/// Key files as text. One that is not is no key: it stays visible, and is never trusted.
fn texts(keys: &[(String, Vec<u8>)]) -> BTreeMap<String, String> {
    keys.iter().map(|(name, pem)| (name.clone(), String::from_utf8_lossy(pem).into_owned())).collect()
}
