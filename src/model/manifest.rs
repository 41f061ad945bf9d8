//! The manifest of a bundle: what a machine boots, byte for byte.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::alpine::{Arch, Branch, Flavor, Version};
use crate::model::check::Check;
use crate::model::digest::Digest;
use crate::model::name::ProfileName;

/// The format this program writes; another one is refused, so that an old program never half-understands a new bundle.
pub const FORMAT: u32 = 2;

/// The id of a bundle: the SHA-256 of its manifest's canonical bytes.
pub type BundleId = Digest;

/// A manifest that is not one of ours.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON of the right shape.
    #[error("the manifest cannot be read")]
    Syntax(#[from] serde_json::Error),
    /// Written by another version of the program.
    #[error("the manifest has format {0}, and this program reads format {FORMAT}; use the program that wrote it")]
    Format(u32),
    /// Right values, other bytes: the id would not be reproducible.
    #[error("the manifest is not in canonical form")]
    NotCanonical,
}

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// The name under which machines ask for it.
    pub name: String,
    /// SHA-256 of its bytes, which is also its place in the store.
    pub sha256: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// The Alpine release a bundle was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alpine {
    /// The branch, such as `v3.24`.
    pub branch: Branch,
    /// The exact version, such as `3.24.1`.
    pub version: Version,
    /// The processor architecture, in Alpine's words.
    pub arch: Arch,
    /// The kernel flavor, such as `virt`.
    pub flavor: Flavor,
}

/// What was checked before the bundle was built, and whose word it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verified {
    /// SHA-256 of the netboot tarball, as Alpine's list of releases had it.
    pub tarball: Digest,
    /// Fingerprint of the OpenPGP key that signed the tarball; nothing when that was not checked.
    pub release_key: Option<String>,
    /// The kernel release (`uname -r`) of the set, as far as its files tell.
    pub kernel: Option<String>,
    /// The key that signed the modloop; nothing when its initramfs brings no signature, or that was not checked.
    pub modloop_key: Option<String>,
    /// The key that signed each repository's index, by the repository's name.
    pub index_keys: BTreeMap<String, String>,
    /// The checks that were not made, because the site has switched them off.
    pub off: BTreeSet<Check>,
}

/// A package the bundle carries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageEntry {
    /// Its name.
    pub name: String,
    /// Its version, with the `-rN` revision.
    pub version: String,
    /// apk's identity (`C:` of the index): which build of that version it is.
    pub identity: String,
    /// SHA-256 of the `.apk` file.
    pub sha256: Digest,
    /// Length of the `.apk` file in bytes.
    pub size: u64,
}

impl PackageEntry {
    /// The file name apk asks a repository for.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}-{}.apk", self.name, self.version)
    }
}

/// Everything a machine boots. Its canonical JSON is what [`BundleId`] hashes, so two equal manifests are one bundle.
///
/// It holds nothing that differs between two honest builds of the same input: no time, no host, no path, no site key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The profile it was built from.
    pub profile: ProfileName,
    /// The Alpine release.
    pub alpine: Alpine,
    /// What was checked, and by which key.
    pub verified: Verified,
    /// The kernel.
    pub kernel: FileEntry,
    /// Alpine's initramfs, untouched.
    pub initramfs: FileEntry,
    /// The kernel modules, fetched by the `modloop` service.
    pub modloop: FileEntry,
    /// The overlay archive.
    pub apkovl: FileEntry,
    /// Digest of the overlay's contents, which the archive itself carries in `etc/bivouac/overlay`: a machine that
    /// reports it has unpacked this overlay and no other.
    pub overlay: Digest,
    /// The templates of files that are made for each machine, when there are any
    /// ([`TemplateSet`](crate::model::template::TemplateSet)); then [`apkovl`](Self::apkovl) has all the other files,
    /// and `overlay` covers the templates too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<FileEntry>,
    /// Kernel arguments of the profile, in order.
    pub kernel_args: Vec<String>,
    /// The world: what the overlay asks apk to install, sorted.
    pub world: Vec<String>,
    /// The package index, without signature: the site signs it when it publishes.
    pub index: FileEntry,
    /// Every package the index names, sorted by name.
    pub packages: Vec<PackageEntry>,
}

impl Manifest {
    /// The bytes the id is the hash of: JSON without spaces, fields in the order above, one newline at the end.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("a manifest holds only texts, numbers and lists");
        bytes.push(b'\n');
        bytes
    }

    /// The bundle's id.
    #[must_use]
    pub fn id(&self) -> BundleId {
        Digest::of(&self.to_bytes())
    }

    /// Reads a manifest from its canonical bytes.
    ///
    /// # Errors
    /// When the bytes are not JSON of this shape, have another format number, or are not canonical.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        // The number first, so that a newer manifest is named as such and not as a list of unknown fields.
        let head: Head = serde_json::from_slice(bytes)?;
        if head.format != FORMAT {
            return Err(ManifestError::Format(head.format));
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        if manifest.to_bytes() != bytes {
            return Err(ManifestError::NotCanonical);
        }
        Ok(manifest)
    }

    /// Every blob of the bundle with its length, in manifest order.
    pub fn blobs(&self) -> impl Iterator<Item = (Digest, u64)> + '_ {
        self.files()
            .map(|file| (file.sha256, file.size))
            .chain(self.packages.iter().map(|package| (package.sha256, package.size)))
    }

    /// The files of the bundle that are not packages.
    pub fn files(&self) -> impl Iterator<Item = &FileEntry> {
        let always = [&self.kernel, &self.initramfs, &self.modloop, &self.apkovl, &self.index];
        always.into_iter().chain(&self.templates)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A manifest with recognisable values.
    pub(crate) fn sample(profile: &str) -> Manifest {
        let file = |name: &str| FileEntry { name: name.to_owned(), sha256: Digest::of(name.as_bytes()), size: 7 };
        Manifest {
            format: FORMAT,
            profile: profile.parse().unwrap(),
            alpine: Alpine {
                branch: "v3.24".parse().unwrap(),
                version: "3.24.1".parse().unwrap(),
                arch: "x86_64".parse().unwrap(),
                flavor: "virt".parse().unwrap(),
            },
            verified: Verified {
                tarball: Digest::of(b"tarball"),
                release_key: Some("0482D84022F52DF1C4E7CD43293ACD0907D9495A".to_owned()),
                kernel: Some("6.18.1-0-virt".to_owned()),
                modloop_key: Some("alpine.rsa.pub".to_owned()),
                index_keys: BTreeMap::from([("main".to_owned(), "alpine.rsa.pub".to_owned())]),
                off: BTreeSet::new(),
            },
            kernel: file("vmlinuz-virt"),
            initramfs: file("initramfs-virt"),
            modloop: file("modloop-virt"),
            apkovl: file(&format!("{profile}.apkovl.tar.gz")),
            overlay: Digest::of(b"overlay"),
            templates: None,
            kernel_args: vec!["quiet".to_owned()],
            world: vec!["alpine-base".to_owned()],
            index: file("APKINDEX.tar.gz"),
            packages: vec![],
        }
    }

    #[test]
    fn the_canonical_bytes_come_back_and_the_id_is_their_hash() {
        let manifest = sample("vdi");
        let bytes = manifest.to_bytes();
        assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
        assert_eq!(manifest.id(), Digest::of(&bytes));
        assert_ne!(manifest.id(), sample("kiosk").id());
    }

    #[test]
    fn templates_are_one_more_blob_and_a_bundle_without_them_does_not_mention_them() {
        let without = sample("vdi");
        assert!(!String::from_utf8(without.to_bytes()).unwrap().contains("templates"));
        let file = FileEntry { name: "templates.json".to_owned(), sha256: Digest::of(b"t"), size: 1 };
        let with = Manifest { templates: Some(file), ..without.clone() };
        assert_eq!(Manifest::parse(&with.to_bytes()).unwrap(), with);
        assert_eq!(with.blobs().count(), without.blobs().count() + 1);
    }

    #[test]
    fn other_bytes_for_the_same_values_are_refused() {
        let mut spaced = b" ".to_vec();
        spaced.extend(sample("vdi").to_bytes());
        assert!(matches!(Manifest::parse(&spaced), Err(ManifestError::NotCanonical)));
    }

    #[test]
    fn a_manifest_of_a_newer_program_is_named_as_such() {
        let error = Manifest::parse(br#"{"format":3,"new":true}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the manifest has format 3, and this program reads format 2; use the program that wrote it"
        );
    }
}
