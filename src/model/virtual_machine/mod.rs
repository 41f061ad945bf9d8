//! Virtual machines: which one a machine of the fleet is, and what it will say of itself when it boots.

mod birth;
mod hardware;

use std::fmt;
use std::str::FromStr;

pub use birth::{Birth, numbered};
pub use hardware::{Display, Firmware, Hardware};
use serde::{Deserialize, Serialize};

/// The ids a cluster of Proxmox VE gives out.
const IDS: std::ops::RangeInclusive<u32> = 100..=999_999_999;

/// A text that is no id of a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the id of a virtual machine; ids are numbers from 100 to 999999999")]
pub struct VmIdError(String);

/// The number of a virtual machine in its cluster. It is free again when the virtual machine is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct VmId(u32);

/// The virtual machine that a machine of the fleet is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VirtualMachine {
    /// Its number.
    pub id: VmId,
    /// Its name.
    pub name: String,
    /// The SMBIOS UUID it has, in lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The SMBIOS serial number it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
}

impl VmId {
    /// The next number; nothing behind the last one.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        Self::try_from(self.0 + 1).ok()
    }
}

impl TryFrom<u32> for VmId {
    type Error = VmIdError;

    fn try_from(number: u32) -> Result<Self, VmIdError> {
        if IDS.contains(&number) { Ok(Self(number)) } else { Err(VmIdError(number.to_string())) }
    }
}

impl From<VmId> for u32 {
    fn from(id: VmId) -> Self {
        id.0
    }
}

impl FromStr for VmId {
    type Err = VmIdError;

    fn from_str(text: &str) -> Result<Self, VmIdError> {
        let wrong = || VmIdError(text.chars().take(40).collect());
        // `+100` and `0100` are numbers, and no ids.
        let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        let number: u32 = text.parse().ok().filter(|_| is_plain).ok_or_else(wrong)?;
        Self::try_from(number).map_err(|_| wrong())
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl fmt::Display for VirtualMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VM {} `{}`", self.id, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_number_the_cluster_gives_out() {
        assert_eq!("105".parse::<VmId>().unwrap().to_string(), "105");
        for text in ["", "99", "0105", "+105", "1000000000", "99999999999", "thin-01"] {
            assert!(text.parse::<VmId>().is_err(), "{text}");
        }
        assert_eq!(VmId(999_999_999).next(), None);
    }
}
