//! What a machine is called in the fleet.

use std::cmp::Ordering;
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
/// booted. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineId(Arc<str>);

impl MachineId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// By their texts. A rollout walks over the fleet beside its members, so most ids are compared with copies of themselves.
impl Ord for MachineId {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for MachineId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Mac> for MachineId {
    fn from(mac: Mac) -> Self {
        Self(mac.to_string().into())
    }
}

impl FromStr for MachineId {
    type Err = MachineIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(mac) = text.parse::<Mac>() {
            return Ok(mac.into());
        }
        let is_id = (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        is_id.then(|| Self(text.into())).ok_or_else(|| MachineIdError(text.chars().take(80).collect()))
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
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_id_however_it_is_written() {
        let id: MachineId = "52-54-00-12-34-AB".parse().unwrap();
        assert_eq!(id.to_string(), "52:54:00:12:34:ab");
        assert!("a b".parse::<MachineId>().is_err() && "".parse::<MachineId>().is_err());
    }
}
