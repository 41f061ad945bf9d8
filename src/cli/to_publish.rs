//! What `bivouac publish` can be told to publish.

use std::str::FromStr;

use crate::model::manifest::Manifest;
use crate::model::name::{BundleRef, NameError, ProfileName};
use crate::store::{Store, StoreError};

/// What to publish, as it is written: `vdi`, `vdi@12`, `vdi:beta` or an id.
///
/// As a [`BundleRef`], `vdi` would be what channel `stable` has; to publish, it is what was built or imported last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ToPublish {
    /// What is staged of a profile, or the one bundle whose id begins like this.
    Staged(ProfileName),
    /// A bundle that is in the store, to go back to it or to bring it into another channel.
    Bundle(BundleRef),
}

impl FromStr for ToPublish {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.parse()? {
            BundleRef::Channel(profile, _) if !text.contains(':') => Ok(Self::Staged(profile)),
            reference => Ok(Self::Bundle(reference)),
        }
    }
}

impl ToPublish {
    /// The manifest of the bundle that is meant.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn manifest(&self, store: &Store) -> Result<Manifest, StoreError> {
        match self {
            Self::Staged(profile) => match store.staged(profile) {
                Err(error @ StoreError::NothingStaged(_)) => {
                    store.manifest(&store.beginning_with(profile.as_str()).ok_or(error)?)
                }
                staged => staged,
            },
            Self::Bundle(reference) => store.manifest(&store.resolve(reference)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_what_is_staged_and_everything_else_is_a_bundle() {
        assert_eq!("vdi".parse(), Ok(ToPublish::Staged("vdi".parse().unwrap())));
        let id = "ab".repeat(32);
        for text in ["vdi@3", "vdi:beta", "vdi:stable", id.as_str()] {
            assert_eq!(text.parse(), Ok(ToPublish::Bundle(text.parse().unwrap())));
        }
        assert!("../vdi".parse::<ToPublish>().is_err());
    }
}
