//! Where in the network a machine is plugged in, as the relay says that passes its DHCP packets on (RFC 3046).

use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// The longest name of a port or a relay that is kept, in bytes; of a longer one the beginning.
const MAX_NAME: usize = 64;

/// A relay, and the port of it that a machine is behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Its address (`giaddr`).
    pub address: Ipv4Addr,
    /// The port, where the relay names it (Agent Circuit ID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit: Option<String>,
    /// The relay itself, where it says so (Agent Remote ID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
}

impl Relay {
    /// Builds it from what a packet says. What is no text is written in hex, as switches print it.
    #[must_use]
    pub fn of(address: Ipv4Addr, circuit: Option<&[u8]>, remote: Option<&[u8]>) -> Self {
        Self { address, circuit: circuit.and_then(name), remote: remote.and_then(name) }
    }

    /// What it calls the port, and itself.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [&self.circuit, &self.remote].into_iter().filter_map(|name| name.as_deref())
    }
}

impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "relay {}", self.address)?;
        if let Some(circuit) = &self.circuit {
            write!(f, " port {circuit}")?;
        }
        if let Some(remote) = &self.remote {
            write!(f, " of {remote}")?;
        }
        Ok(())
    }
}

fn name(bytes: &[u8]) -> Option<String> {
    let bytes = &bytes[..bytes.len().min(MAX_NAME)];
    if bytes.is_empty() {
        return None;
    }
    let is_text = bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    Some(match std::str::from_utf8(bytes) {
        Ok(text) if is_text => text.trim().to_owned(),
        _ => bytes.iter().enumerate().fold(String::new(), |mut hex, (place, byte)| {
            let _ = write!(hex, "{}{byte:02x}", if place == 0 { "" } else { ":" });
            hex
        }),
    })
    .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_texts_where_they_are_and_hex_where_not() {
        let address = Ipv4Addr::new(10, 0, 4, 1);
        let relay = Relay::of(address, Some(&[0, 4, 0, 0x1e, 1, 7]), Some(b"switch-3"));
        assert_eq!(relay.to_string(), "relay 10.0.4.1 port 00:04:00:1e:01:07 of switch-3");
        assert_eq!(Relay::of(address, Some(b"  "), Some(b"")), Relay { address, circuit: None, remote: None });
        assert_eq!(Relay::of(address, None, None).to_string(), "relay 10.0.4.1");
    }

    proptest! {
        #[test]
        fn whatever_a_relay_says_is_short_and_plain(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(name) = name(&bytes) {
                prop_assert!(name.len() <= 3 * MAX_NAME && name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
            }
        }
    }
}
