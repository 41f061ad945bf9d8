//! Bundles on their way to another site: an OCI image layout (image-spec 1.1, image-layout.md), as a folder or as a tar
//! archive of exactly that folder.
//!
//! ```text
//! oci-layout                  {"imageLayoutVersion":"1.0.0"}
//! index.json                  one entry for each bundle, called PROFILE-SHORTID
//! blobs/sha256/HEX            everything else, named by its SHA-256:
//!                               for each bundle an image manifest, an image configuration and Bivouac's own manifest,
//!                               and the files and packages of all bundles, once each
//! ```
//!
//! An archive has its members in the order above, the small documents before the files, both by digest; no folders,
//! owner 0, mode 0644, time 0, not compressed, because what is in it is. So the same bundles give the same bytes at
//! every site and every time: nothing of the site is in it, neither its keys nor the index it signed nor its release
//! numbers. The site that imports a bundle makes those itself when it publishes it.
//!
//! **What an image consists of**, tried with skopeo 1.9.3 of Debian 12. Its configuration is a real, small image
//! configuration (`application/vnd.oci.image.config.v1+json`): with the empty configuration that the specification
//! recommends for artifacts, or with Bivouac's manifest in its place, `skopeo copy` and `skopeo inspect --raw` work,
//! and plain `skopeo inspect` and `--config` end with "unsupported image-specific operation on artifact". The
//! specification allows both beside an `artifactType`, which is how [`Import`] knows a bundle. Layers have media types
//! of our own, because they are no file system layers; skopeo copies such layers untouched, while it would compress a
//! layer that calls itself a tar and so change its digest. The diff id of a layer is its own digest. Bivouac's manifest
//! is the first layer: its digest is the bundle id.
//!
//! Nothing read here is believed. An import opens only names it makes itself, takes no bundle of which anything is
//! missing or different, and shows bundles in the store after all their blobs are there. Blobs that were verified
//! before something was refused, or before the import was killed, stay: nothing points at them, and the next import
//! does not copy them again.

mod document;
mod export;
mod import;
mod layout;

use std::path::PathBuf;

pub use document::{Descriptor, Image, Index};
pub use export::Export;
pub use import::{Copied, Import};
pub use layout::{Member, members};

use super::StoreError;
use crate::disk::DiskError;
use crate::model::digest::Digest;
use crate::model::manifest::ManifestError;

/// The file that says that a folder is an image layout.
const LAYOUT: &str = "oci-layout";
/// The version of the layout (image-layout.md; it is still 1.0.0 in image-spec 1.1).
const LAYOUT_VERSION: &str = "1.0.0";
/// The list of what a layout holds.
const INDEX: &str = "index.json";
/// Where the blobs are.
const BLOBS: &str = "blobs/sha256";

/// The largest JSON document of a layout that is read.
const LARGEST_DOCUMENT: u64 = 16 << 20;

/// Where in a layout a blob is.
fn blob_name(digest: &Digest) -> String {
    format!("{BLOBS}/{digest}")
}

/// Why bundles cannot be exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An export would go among files of another kind.
    #[error("{} has files in it and is not an OCI image layout; name a new or an empty folder", .0.display())]
    Occupied(PathBuf),
    /// An export as one file would replace a folder.
    #[error("{} is a folder; name a file, or write --oci for an OCI image layout in that folder", .0.display())]
    Folder(PathBuf),
    /// An export as one file would replace a device, a pipe or a link.
    #[error("{} is not a regular file; name a new file, or one that may be replaced", .0.display())]
    NotRegular(PathBuf),
    /// What is to be imported is something else.
    #[error("{} does not hold exported bundles: {why}", place.display())]
    Other {
        /// The file or folder.
        place: PathBuf,
        /// What it is, or lacks.
        why: String,
    },
    /// A member that an export does not make.
    #[error("{} is refused: its member `{member}` {why}", place.display())]
    Member {
        /// The file or folder.
        place: PathBuf,
        /// The member.
        member: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something a bundle consists of is not there.
    #[error("{} has no {member}, which is {what}; it is cut off or not all of it was copied: copy it again", place.display())]
    Missing {
        /// The file or folder.
        place: PathBuf,
        /// The member.
        member: String,
        /// What it is for.
        what: String,
    },
    /// A member has another length than the documents say.
    #[error("{member} in {} has {found} bytes, and {expected} were expected; export or copy it again", place.display())]
    Size {
        /// The file or folder.
        place: PathBuf,
        /// The member.
        member: String,
        /// What was expected.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// A member's bytes are not what its name says.
    #[error("{member} in {} has SHA-256 {found}, and {expected} was expected; export or copy it again", place.display())]
    Digest {
        /// The file or folder.
        place: PathBuf,
        /// The member.
        member: String,
        /// What was expected.
        expected: Digest,
        /// What it has.
        found: Digest,
    },
    /// A document is not JSON of its kind.
    #[error("{member} in {} cannot be read", place.display())]
    Document {
        /// The file or folder.
        place: PathBuf,
        /// The member.
        member: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A manifest that is not one of ours.
    #[error("{member} in {} is not the manifest of a bundle", place.display())]
    Manifest {
        /// The file or folder.
        place: PathBuf,
        /// The member.
        member: String,
        /// Why.
        source: ManifestError,
    },
    /// A manifest no build makes.
    #[error("bundle {bundle} in {} is refused: {why}", place.display())]
    Bundle {
        /// The file or folder.
        place: PathBuf,
        /// Its id.
        bundle: Digest,
        /// What is wrong with it.
        why: String,
    },
}

#[cfg(test)]
mod tests;
