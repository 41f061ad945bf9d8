//! Who asks: firmware, iPXE or an operating system.

use std::fmt;

use crate::model::firmware::{Firmware, Transport};
use crate::wire::dhcp::{Options, Packet, code, sub_option};

/// What iPXE says of itself in option 77.
const IPXE_CLASS: &[u8] = b"iPXE";

/// The user class of an iPXE built with our own script: it always takes the script.
const OWN_CLASS: &[u8] = b"bivouac";

/// iPXE's sub-option of option 175 that says it speaks HTTP (iPXE, `include/ipxe/features.h`).
const IPXE_HTTP: u8 = 0x13;

/// Address ranges of Raspberry Pi boards, whose ROM gives itself out as a PC (netboot.md, D1).
const RASPBERRY_PI: [[u8; 3]; 6] = [
    [0xb8, 0x27, 0xeb],
    [0xdc, 0xa6, 0x32],
    [0xe4, 0x5f, 0x01],
    [0x28, 0xcd, 0xc1],
    [0xd8, 0x3a, 0xdd],
    [0x2c, 0xcf, 0x67],
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
    /// circle. Its features count rather than its name, because iPXE in the ROM of a card may lack HTTP.
    #[must_use]
    pub fn of(packet: &Packet) -> Self {
        let options = &packet.options;
        let known = options.architectures().find_map(Firmware::from_code);
        if options.has_user_class(OWN_CLASS) {
            return Self::Ipxe { http: true, firmware: known.map(|(firmware, _)| firmware) };
        }
        if options.ipxe().is_some() || options.has_user_class(IPXE_CLASS) {
            let http = options.ipxe().is_some_and(|own| sub_option(own, IPXE_HTTP).is_some_and(|value| value != [0]));
            return Self::Ipxe { http, firmware: known.map(|(firmware, _)| firmware) };
        }
        let class = options.vendor_class();
        // Firmware says in option 60 how it takes its loader; a URL sent to a PXE client fails (PXE-E99).
        let asked = if class.starts_with(b"HTTPClient") {
            Some(Transport::Http)
        } else if class.starts_with(b"PXEClient") {
            Some(Transport::Pxe)
        } else {
            None
        };
        match (known, asked) {
            (Some((Firmware::UBootArm32 | Firmware::UBootArm64, own)), None) => Self::firmware(known, own),
            (Some((Firmware::BiosX86, _)), Some(Transport::Pxe)) if is_raspberry_pi(packet) => {
                Self::Firmware { firmware: Firmware::RaspberryPi, transport: Transport::Pxe }
            }
            (_, Some(transport)) if has_architecture(options) => Self::firmware(known, transport).or_unknown(options),
            _ => Self::System,
        }
    }

    fn firmware(known: Option<(Firmware, Transport)>, transport: Transport) -> Self {
        match known {
            Some((firmware, _)) => Self::Firmware { firmware, transport },
            None => Self::Unknown(Vec::new()),
        }
    }

    fn or_unknown(self, options: &Options) -> Self {
        match self {
            Self::Unknown(_) => Self::Unknown(options.architectures().take(8).collect()),
            known => known,
        }
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

fn has_architecture(options: &Options) -> bool {
    options.architectures().next().is_some()
}

/// Newer boards say so in option 97, whatever maker their address names: a type byte, and `RPi4` or the like.
fn is_raspberry_pi(packet: &Packet) -> bool {
    let says_so = packet.options.get(code::MACHINE_ID).is_some_and(|id| id.get(1..4) == Some(b"RPi".as_slice()));
    says_so || packet.mac().is_some_and(|mac| RASPBERRY_PI.iter().any(|range| mac.0.starts_with(range)))
}
