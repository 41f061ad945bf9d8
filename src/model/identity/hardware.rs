//! What the board and the case of a machine say of themselves, and which network cards it has.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Relay, clean, is_filler};
use crate::model::mac::Mac;

/// SMBIOS texts besides UUID and serial number, each absent when the firmware has none or only a filler, and the cards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hardware {
    /// Serial number of the board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board_serial: Option<String>,
    /// Asset tag of the case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    /// Who made the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    /// What the maker calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// The addresses of its network cards, in the order in which iPXE found them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cards: Vec<Mac>,
    /// The address from which it asked for its script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Where it is plugged in, when its DHCP packets came by a relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<Relay>,
}

/// The same as it came over the network, where any of it may be missing or garbage.
#[derive(Debug, Clone, Copy, Default)]
pub struct HardwareTexts<'a> {
    /// iPXE's `${board-serial}`.
    pub board_serial: &'a str,
    /// iPXE's `${asset}`.
    pub asset: &'a str,
    /// iPXE's `${manufacturer}`.
    pub manufacturer: &'a str,
    /// iPXE's `${product}`.
    pub product: &'a str,
}

impl Hardware {
    /// Builds it from texts that came over the network, which are cleaned as those of an
    /// [`Identity`](super::Identity) are.
    #[must_use]
    pub fn from_texts(texts: HardwareTexts<'_>, cards: Vec<Mac>) -> Self {
        let real = |text: &str| clean(text).filter(|text| !is_filler(text));
        Self {
            board_serial: real(texts.board_serial),
            asset: real(texts.asset),
            manufacturer: real(texts.manufacturer),
            product: real(texts.product),
            cards,
            address: None,
            relay: None,
        }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
