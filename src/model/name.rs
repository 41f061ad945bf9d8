//! The names an operator types: profiles, overlays, channels, and references to releases.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;

/// The longest profile, overlay or channel name.
const MAX_NAME: usize = 63;

/// The channel a profile's releases go to when no other is named.
pub const DEFAULT_CHANNEL: &str = "stable";

/// Why a text is not a name or a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text has characters a name may not have, or a bad length.
    #[error(
        "`{0}` is not a name; use 1 to {MAX_NAME} of a-z, 0-9 and `-`, beginning and ending with a letter or digit"
    )]
    Name(String),
    /// The part behind `@` is not a release number.
    #[error("`{0}` is not a release number; write PROFILE@NUMBER, such as vdi@12")]
    Number(String),
}

/// A validated name: lower-case letters, digits and inner hyphens.
///
/// Names become folder names, URL parts and host names (RFC 1123, section 2.1), so nothing else is allowed. Cheap to clone:
/// each script that is handed out names its profile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
pub struct Name(Arc<str>);

/// The name of a profile.
pub type ProfileName = Name;
/// The name of an overlay.
pub type OverlayName = Name;
/// The name of a channel, such as `stable`.
pub type ChannelName = Name;

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The channel that is used when none is named.
    #[must_use]
    pub fn default_channel() -> Self {
        Self(DEFAULT_CHANNEL.into())
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let good = (1..=MAX_NAME).contains(&text.len())
            && text.bytes().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if good { Ok(Self(text.into())) } else { Err(NameError::Name(text.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an operator writes to name a bundle: `vdi`, `vdi@12`, `vdi:beta` or an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleRef {
    /// The release a channel of a profile points at.
    Channel(ProfileName, ChannelName),
    /// A release by number.
    Release(ProfileName, u64),
    /// A bundle id: the SHA-256 of a manifest.
    Id(Digest),
}

impl FromStr for BundleRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        if let Some((profile, number)) = text.split_once('@') {
            let valid = number.parse().ok().filter(|&n| n > 0);
            let number = valid.ok_or_else(|| NameError::Number(number.to_owned()))?;
            return Ok(Self::Release(profile.parse()?, number));
        }
        match text.split_once(':') {
            Some((profile, channel)) => Ok(Self::Channel(profile.parse()?, channel.parse()?)),
            None => Ok(Self::Channel(text.parse()?, Name::default_channel())),
        }
    }
}

impl fmt::Display for BundleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(profile, channel) => write!(f, "{profile}:{channel}"),
            Self::Release(profile, number) => write!(f, "{profile}@{number}"),
            Self::Id(id) => write!(f, "{id}"),
        }
    }
}

/// The known name nearest to a mistyped one, when it is near enough to be meant.
#[must_use]
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().min(wrong.len()) / 4)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lower_case_letters_digits_and_inner_hyphens() {
        for good in ["a", "vdi", "vdi-2", "0x"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "../x", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reference_is_a_profile_a_release_a_channel_or_an_id() {
        let id = "ab".repeat(32);
        for (text, shown) in
            [("vdi", "vdi:stable"), ("vdi@12", "vdi@12"), ("vdi:beta", "vdi:beta"), (id.as_str(), id.as_str())]
        {
            assert_eq!(text.parse::<BundleRef>().unwrap().to_string(), shown);
        }
        assert_eq!(
            "vdi@x".parse::<BundleRef>().unwrap_err().to_string(),
            "`x` is not a release number; write PROFILE@NUMBER, such as vdi@12"
        );
        assert!("vdi@0".parse::<BundleRef>().is_err());
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        assert_eq!(nearest("helo", ["hello", "vdi"]), Some("hello"));
        assert_eq!(nearest("overlys", ["overlays", "packages"]), Some("overlays"));
        assert_eq!(nearest("kiosk", ["hello", "vdi"]), None);
    }
}
