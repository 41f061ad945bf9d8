//! Property strings: settings of a virtual machine that have parts, such as `virtio=52:54:…,bridge=vmbr0`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::model::mac::Mac;

/// The longest setting that is looked at; `smbios1` has 512 characters at most, and no other is longer.
const MAX_LENGTH: usize = 4096;

/// Why a setting cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// A text without end.
    #[error("a setting has more than {MAX_LENGTH} characters")]
    TooLong,
    /// No address among the parts of a network card.
    #[error("`{0}` is no network card with an address")]
    NoCard(String),
    /// Not the base64 that it says it is.
    #[error("the SMBIOS {0} of a virtual machine is not base64")]
    Base64(&'static str),
}

/// The parts of a setting in order; a part without a name is that of the setting itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PropertyString(Vec<(Option<String>, String)>);

impl PropertyString {
    /// The value of a part.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.as_deref() == Some(name)).map(|(_, value)| value.as_str())
    }

    /// The same with this value of a part, where that part was or at the end.
    #[must_use]
    pub fn with(mut self, name: &str, value: String) -> Self {
        match self.0.iter_mut().find(|(key, _)| key.as_deref() == Some(name)) {
            Some((_, old)) => *old = value,
            None => self.0.push((Some(name.to_owned()), value)),
        }
        self
    }
}

impl FromStr for PropertyString {
    type Err = PropertyError;

    fn from_str(text: &str) -> Result<Self, PropertyError> {
        if text.len() > MAX_LENGTH {
            return Err(PropertyError::TooLong);
        }
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let pair = |part: &str| match part.split_once('=') {
            Some((name, value)) => (Some(name.trim().to_owned()), value.trim().to_owned()),
            None => (None, part.to_owned()),
        };
        Ok(Self(parts.map(pair).collect()))
    }
}

impl fmt::Display for PropertyString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, value)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match name {
                Some(name) => write!(f, "{comma}{name}={value}")?,
                None => write!(f, "{comma}{value}")?,
            }
        }
        Ok(())
    }
}

/// A network card: the setting `net0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// What kind it is, such as `virtio`.
    pub model: String,
    /// Its address.
    pub mac: Mac,
}

impl FromStr for Card {
    type Err = PropertyError;

    /// `MODEL=ADDRESS`, or `model=MODEL` and `macaddr=ADDRESS`.
    fn from_str(text: &str) -> Result<Self, PropertyError> {
        let parts: PropertyString = text.parse()?;
        let none = || PropertyError::NoCard(text.chars().take(120).collect());
        if let (Some(model), Some(mac)) = (parts.value("model"), parts.value("macaddr")) {
            return Ok(Self { model: model.to_owned(), mac: mac.parse().map_err(|_| none())? });
        }
        let card =
            |(name, value): &(Option<String>, String)| Some(Self { model: name.clone()?, mac: value.parse().ok()? });
        parts.0.iter().find_map(card).ok_or_else(none)
    }
}

/// What a machine says of itself: the setting `smbios1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Smbios {
    /// Its UUID, in lower case.
    pub uuid: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// All of it as it was, to be written back with changes.
    rest: PropertyString,
}

impl Smbios {
    /// The same with this UUID and serial number. Everything else stays; what was plain becomes base64, since one word
    /// says so of all.
    #[must_use]
    pub fn with(&self, uuid: &str, serial: &str) -> String {
        let is_encoded = self.rest.value("base64") == Some("1");
        let encode = |(name, value): &(Option<String>, String)| {
            let is_text = !matches!(name.as_deref(), Some("uuid" | "base64"));
            let value = if is_text && !is_encoded { STANDARD.encode(value) } else { value.clone() };
            (name.clone(), value)
        };
        let rest = PropertyString(self.rest.0.iter().map(encode).collect());
        let rest = rest.with("uuid", uuid.to_owned()).with("serial", STANDARD.encode(serial));
        rest.with("base64", "1".to_owned()).to_string()
    }
}

impl FromStr for Smbios {
    type Err = PropertyError;

    fn from_str(text: &str) -> Result<Self, PropertyError> {
        let rest: PropertyString = text.parse()?;
        let serial = match (rest.value("serial"), rest.value("base64")) {
            (Some(text), Some("1")) => {
                let bytes = STANDARD.decode(text).map_err(|_| PropertyError::Base64("serial number"))?;
                Some(String::from_utf8(bytes).map_err(|_| PropertyError::Base64("serial number"))?)
            }
            (plain, _) => plain.map(str::to_owned),
        };
        let uuid = rest.value("uuid").map(str::to_ascii_lowercase);
        Ok(Self { uuid, serial: serial.filter(|text| !text.is_empty()), rest })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "0e0d8d0f-6b5e-4f5a-8c3b-0123456789ab";

    #[test]
    fn a_card_is_written_in_two_ways() {
        for text in ["virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=7", "model=virtio,macaddr=bc:24:11:00:00:01"] {
            let card: Card = text.parse().unwrap();
            assert_eq!((card.model.as_str(), card.mac.to_string().as_str()), ("virtio", "bc:24:11:00:00:01"));
        }
        assert!("bridge=vmbr0".parse::<Card>().is_err() && "".parse::<Card>().is_err());
    }

    #[test]
    fn what_a_machine_says_of_itself_is_kept_but_for_uuid_and_serial() {
        let plain: Smbios = "manufacturer=Me,uuid=AA".parse().unwrap();
        assert_eq!((plain.uuid.as_deref(), plain.serial.as_deref()), (Some("aa"), None));
        assert_eq!(plain.with(UUID, "thin-01"), format!("manufacturer=TWU=,uuid={UUID},serial=dGhpbi0wMQ==,base64=1"));
        let encoded: Smbios = "base64=1,serial=dGhpbi0wMQ==,sku=TWU=".parse().unwrap();
        assert_eq!(encoded.serial.as_deref(), Some("thin-01"));
        assert_eq!(encoded.with(UUID, "b"), format!("base64=1,serial=Yg==,sku=TWU=,uuid={UUID}"));
        assert!("base64=1,serial=!".parse::<Smbios>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_read_back(text in "[ -~]{0,80}|\\PC{0,40}") {
            if let Ok(parts) = text.parse::<PropertyString>() {
                prop_assert_eq!(parts.to_string().parse(), Ok(parts));
            }
            let _ = text.parse::<Card>();
            if let Ok(smbios) = text.parse::<Smbios>() {
                let again: Smbios = smbios.with(UUID, "s").parse().unwrap();
                prop_assert_eq!((again.uuid.as_deref(), again.serial.as_deref()), (Some(UUID), Some("s")));
            }
        }
    }
}
