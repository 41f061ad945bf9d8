//! What a machine is called in the fleet.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::mac::Mac;

/// The longest id.
const MAX_LENGTH: usize = 64;

/// Why a text is no machine id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the id of a machine; an id is the address of its network card, such as 52:54:00:12:34:56")]
pub struct MachineIdError(String);

/// The id of a machine, under which everything about it is kept: the address of the network card by which it first
/// booted. Cheap to clone. A rollout walks over the fleet beside its members, so ids are compared all the time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineId(Id);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Id {
    Mac(Mac),
    /// A name that somebody wrote, and no machine has.
    Text(Arc<str>),
}

impl MachineId {
    /// The address of the network card, which all but mistyped ids are.
    #[must_use]
    pub const fn mac(&self) -> Option<Mac> {
        match self.0 {
            Id::Mac(mac) => Some(mac),
            Id::Text(_) => None,
        }
    }
}

impl From<Mac> for MachineId {
    fn from(mac: Mac) -> Self {
        Self(Id::Mac(mac))
    }
}

impl FromStr for MachineId {
    type Err = MachineIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(mac) = text.parse::<Mac>() {
            return Ok(mac.into());
        }
        let is_id = (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        is_id.then(|| Self(Id::Text(text.into()))).ok_or_else(|| MachineIdError(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for MachineId {
    type Error = MachineIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MachineId> for String {
    fn from(id: MachineId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Mac(mac) => f.pad(&mac.to_string()),
            Id::Text(text) => f.pad(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_id_however_it_is_written() {
        let id: MachineId = "52-54-00-12-34-AB".parse().unwrap();
        assert_eq!(
            (id.to_string().as_str(), id.mac()),
            ("52:54:00:12:34:ab", Some(Mac([0x52, 0x54, 0, 0x12, 0x34, 0xab])))
        );
        let other: MachineId = "52:54:00:12:34:ac".parse().unwrap();
        let text: MachineId = "01:of:a:name".parse().unwrap();
        assert!(id < other && other < text && text.mac().is_none());
        assert!("a b".parse::<MachineId>().is_err() && "".parse::<MachineId>().is_err());
    }
}
