//! From an Alpine mirror to verified files in a cache.
//!
//! A [`Mirror`] resolves what a profile asks for to one [`Release`], downloads that release's netboot tarball (the only
//! thing Alpine hashes), verifies it, and unpacks the [`NetbootSet`] of one kernel flavor into a [`Cache`]. The rolling
//! `netboot/` folder of the mirrors is never used (REL-1, REL-2). A [`Downloader`] gets single files: package indexes
//! and packages, which somebody else verifies.
//!
//! Whatever a mirror sends may be hostile: sizes are bounded before bytes are read, names are checked before files are
//! made, and a file that is refused leaves nothing behind.

mod cache;
mod download;
mod error;
mod initramfs;
mod mirror;
mod modloop;
mod progress;
mod release;
mod sink;
mod streams;
mod tarball;
mod transfer;

pub use cache::{Cache, CachedFile, NetbootSet};
pub use download::{Downloaded, Downloader, Expect, HttpSettings, Proxy};
pub use error::{FetchError, MemberFault, RedirectFault};
pub use initramfs::{InitramfsError, InitramfsFacts};
pub use mirror::Mirror;
pub use modloop::{ModloopError, verify_modloop};
pub use progress::{Progress, Silent};
pub use release::{ListingError, Release};
