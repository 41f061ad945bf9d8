//! Who asks: firmware, iPXE or an operating system.

use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::model::firmware::{Firmware, Transport};
use crate::wire::dhcp::{Options, Packet, code, sub_option};

/// What iPXE says of itself in option 77.
const IPXE_CLASS: &[u8] = b"iPXE";

/// The user class of an iPXE built with our own script: it always takes the script.
const OWN_CLASS: &[u8] = b"bivouac";

/// iPXE's sub-option of option 175 that says it speaks HTTP (iPXE, `include/ipxe/features.h`).
const IPXE_HTTP: u8 = 0x13;

/// Address ranges of Raspberry Pi boards, whose ROM gives itself out as a PC (netboot.md, D1).
const RASPBERRY_PI: [[u8; 3]; 7] = [
    [0xb8, 0x27, 0xeb],
    [0xdc, 0xa6, 0x32],
    [0xe4, 0x5f, 0x01],
    [0x28, 0xcd, 0xc1],
    [0xd8, 0x3a, 0xdd],
    [0x2c, 0xcf, 0x67],
    [0x88, 0xa2, 0x9e],
];

/// A client, as far as it matters for what it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Client {
    /// iPXE, from a ROM or loaded by us.
    Ipxe {
        /// Whether it can take its script by HTTP; else it needs our own loader first.
        http: bool,
        /// What it runs on.
        firmware: Option<Firmware>,
    },
    /// Firmware that takes a loader.
    Firmware {
        /// Which.
        firmware: Firmware,
        /// How.
        transport: Transport,
    },
    /// Firmware that wants to boot and whose kind nobody has a loader for, with what it sent in option 93.
    Unknown(Vec<u16>),
    /// Anything that only wants an address.
    System,
}

impl Client {
    /// Tells clients apart (netboot.md, D6).
    ///
    /// iPXE is looked for first, whatever else the packet says: an iPXE that is handed a loader again boots in a
    /// circle. Its features count rather than its name, because iPXE in the ROM of a card may lack HTTP; one that says
    /// nothing of them is taken at its name.
    ///
    /// Option 93 is a list. Of several kinds of firmware, the one that option 60 names as well comes first.
    #[must_use]
    pub fn of(packet: &Packet) -> Self {
        Self::by_rule(packet, None)
    }

    /// The same, with what a rule says of whether it is firmware that boots by PXE.
    #[must_use]
    pub fn by_rule(packet: &Packet, is_pxe: Option<bool>) -> Self {
        let options = &packet.options;
        let known = codes(options).find_map(Firmware::from_code);
        if options.has_user_class(OWN_CLASS) {
            return Self::Ipxe { http: true, firmware: known.map(|(firmware, _)| firmware) };
        }
        if options.ipxe().is_some() || options.has_user_class(IPXE_CLASS) {
            let has_http = |features: &[u8]| sub_option(features, IPXE_HTTP).is_some_and(|value| value != [0]);
            let http = options.ipxe().is_none_or(has_http);
            return Self::Ipxe { http, firmware: known.map(|(firmware, _)| firmware) };
        }
        let class = options.vendor_class();
        // Firmware says in option 60 how it takes its loader; a URL sent to a PXE client fails (PXE-E99).
        let asked = if class.starts_with(b"HTTPClient") {
            Some(Transport::Http)
        } else if is_pxe.unwrap_or(class.starts_with(b"PXEClient")) {
            Some(Transport::Pxe)
        } else if is_pxe == Some(false) {
            return Self::System;
        } else {
            None
        };
        let is_board = |(firmware, _): &_| matches!(firmware, Firmware::UBootArm32 | Firmware::UBootArm64);
        match (known, asked) {
            (_, None) => match codes(options).filter_map(Firmware::from_code).find(is_board) {
                Some((firmware, transport)) => Self::Firmware { firmware, transport },
                None => Self::System,
            },
            (Some((Firmware::BiosX86, _)), Some(Transport::Pxe)) if is_raspberry_pi(packet) => {
                Self::Firmware { firmware: Firmware::RaspberryPi, transport: Transport::Pxe }
            }
            (_, Some(Transport::Pxe)) if options.architectures().next().is_none() => Self::System,
            (Some((firmware, _)), Some(transport)) => Self::Firmware { firmware, transport },
            (None, Some(_)) => Self::Unknown(codes(options).take(8).collect()),
        }
    }

    /// What it is, for people. Of firmware by PXE, which asks more often than all others, the text is there already.
    #[must_use]
    pub fn text(&self) -> Arc<str> {
        static BY_PXE: LazyLock<Vec<Arc<str>>> = LazyLock::new(|| {
            let by_pxe = |firmware| Client::Firmware { firmware, transport: Transport::Pxe }.to_string().into();
            Firmware::ALL.map(by_pxe).to_vec()
        });
        let known = match self {
            Self::Firmware { firmware, transport: Transport::Pxe } => BY_PXE.get(*firmware as usize),
            _ => None,
        };
        known.map_or_else(|| self.to_string().into(), Arc::clone)
    }

    /// The same client, as that kind of firmware of those in its list that `can_boot`, if what it was taken for cannot.
    #[must_use]
    pub fn that_boots(mut self, packet: &Packet, can_boot: impl Fn(Firmware) -> bool) -> Self {
        if let Self::Firmware { firmware, .. } | Self::Ipxe { http: false, firmware: Some(firmware) } = &mut self
            && !can_boot(*firmware)
        {
            let mut listed = codes(&packet.options).filter_map(Firmware::from_code).map(|(listed, _)| listed);
            // A board that is known by something else is what it is.
            if listed.clone().any(|listed| listed == *firmware) {
                *firmware = listed.find(|listed| can_boot(*listed)).unwrap_or(*firmware);
            }
        }
        self
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipxe { http, firmware } => {
                write!(f, "iPXE{}", if *http { "" } else { " without HTTP" })?;
                firmware.map_or(Ok(()), |firmware| write!(f, " on {firmware}"))
            }
            Self::Firmware { firmware, transport: Transport::Pxe } => write!(f, "{firmware} by PXE"),
            Self::Firmware { firmware, transport: Transport::Http } => write!(f, "{firmware} by HTTP"),
            Self::Unknown(codes) => write!(f, "firmware of unknown architecture {codes:?}"),
            Self::System => f.write_str("operating system"),
        }
    }
}

/// What the client says of its firmware: the numbers of option 93, and the one in option 60 (netboot.md, D3), which comes
/// first among them and stands for them where there are none.
fn codes(options: &Options) -> impl Iterator<Item = u16> + Clone {
    let named = named_code(options.vendor_class());
    let first = named.filter(|code| {
        let mut listed = options.architectures().peekable();
        listed.peek().is_none() || listed.any(|own| own == *code)
    });
    first.into_iter().chain(options.architectures().filter(move |code| Some(*code) != first))
}

/// The number in `PXEClient:Arch:00007:UNDI:003016`.
fn named_code(class: &[u8]) -> Option<u16> {
    const MARK: &[u8] = b":Arch:";
    let at = class.windows(MARK.len()).position(|part| part == MARK)?;
    let number = class.get(at + MARK.len()..)?.split(|byte| *byte == b':').next()?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Newer boards say so in option 97, whatever maker their address names: a type byte, and `RPi4` or the like.
fn is_raspberry_pi(packet: &Packet) -> bool {
    let says_so = packet.options.get(code::MACHINE_ID).is_some_and(|id| id.get(1..4) == Some(b"RPi".as_slice()));
    says_so || packet.mac().is_some_and(|mac| RASPBERRY_PI.iter().any(|range| mac.0.starts_with(range)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_there_already_is_the_one_of_that_firmware() {
        for firmware in Firmware::ALL {
            for transport in [Transport::Pxe, Transport::Http] {
                let client = Client::Firmware { firmware, transport };
                assert_eq!(*client.text(), client.to_string());
            }
        }
    }
}
