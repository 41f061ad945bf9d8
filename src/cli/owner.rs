//! A hint for who runs a command as root where a service has a user of its own.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::unistd::{Uid, User, geteuid};
use tracing::warn;

/// Users below are of services (Debian policy 9.2.2), and no people.
const FIRST_PERSON: u32 = 1000;

/// Says that what root writes into a state folder may be out of the reach of the service it belongs to.
pub(super) fn warn_root(state: &Path) {
    let Some(service) = service_of(state).filter(|_| geteuid().is_root()) else { return };
    warn!(
        "the state folder {} belongs to the user `{service}`, who cannot change what root writes there; better: \
         runuser -u {service} -- bivouac …",
        state.display()
    );
}

/// The service that a folder belongs to, by the name of its user.
fn service_of(folder: &Path) -> Option<String> {
    let owner = std::fs::metadata(folder).ok()?.uid();
    if owner == 0 || owner >= FIRST_PERSON {
        return None;
    }
    Some(User::from_uid(Uid::from_raw(owner)).ok()?.map_or_else(|| owner.to_string(), |user| user.name))
}
