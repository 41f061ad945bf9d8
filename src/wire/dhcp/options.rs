//! DHCP options as bytes, and the few that are understood (RFC 2132, RFC 4578 and others).

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;

use super::{DEFAULT_SIZE, IP_UDP, LARGEST_SIZE};

/// Option codes (IANA "BOOTP Vendor Extensions and DHCP Options").
pub mod code {
    /// Filler without a length.
    pub const PAD: u8 = 0;
    /// Subnet mask.
    pub const NETMASK: u8 = 1;
    /// Routers.
    pub const ROUTER: u8 = 3;
    /// Name servers.
    pub const DNS: u8 = 6;
    /// Domain name.
    pub const DOMAIN: u8 = 15;
    /// Broadcast address.
    pub const BROADCAST_ADDRESS: u8 = 28;
    /// Vendor options; for PXE those of the PXE specification 2.1, table 2-1.
    pub const VENDOR: u8 = 43;
    /// The address a client would like.
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// How long the address is lent, in seconds.
    pub const LEASE_TIME: u8 = 51;
    /// Whether `file` and `sname` carry options.
    pub const OVERLOAD: u8 = 52;
    /// What the packet is for.
    pub const MESSAGE_TYPE: u8 = 53;
    /// Which server speaks, or is spoken to.
    pub const SERVER_ID: u8 = 54;
    /// The options a client asks for.
    pub const PARAMETERS: u8 = 55;
    /// The largest packet a client takes, IP header included.
    pub const MAX_SIZE: u8 = 57;
    /// When to renew, in seconds.
    pub const RENEWAL_TIME: u8 = 58;
    /// When to ask any server, in seconds.
    pub const REBINDING_TIME: u8 = 59;
    /// What kind of client this is: `PXEClient…`, `HTTPClient…`.
    pub const VENDOR_CLASS: u8 = 60;
    /// What a client wants to be known by.
    pub const CLIENT_ID: u8 = 61;
    /// TFTP server by name.
    pub const TFTP_SERVER: u8 = 66;
    /// Boot file, or a URL.
    pub const BOOT_FILE: u8 = 67;
    /// What kind of user this is; iPXE says `iPXE`.
    pub const USER_CLASS: u8 = 77;
    /// What a relay adds (RFC 3046).
    pub const RELAY_AGENT: u8 = 82;
    /// Processor and firmware, a list of numbers (RFC 4578).
    pub const ARCHITECTURE: u8 = 93;
    /// The firmware's network interface, type and version (RFC 4578).
    pub const INTERFACE: u8 = 94;
    /// The machine's UUID, after a type byte (RFC 4578).
    pub const MACHINE_ID: u8 = 97;
    /// Which subnet to choose an address from (RFC 3011).
    pub const SUBNET_SELECTION: u8 = 118;
    /// iPXE's own options.
    pub const IPXE: u8 = 175;
    /// The end, without a length.
    pub const END: u8 = 255;
}

/// What `bivouac doctor` calls itself (option 61) when it asks who answers: no machine is about to boot then.
pub const DOCTOR: &[u8] = b"\0bivouac doctor";

/// How many bytes the options of a packet take, mostly.
const USUAL: usize = 384;

/// Code and length of an option, before its bytes.
const HEAD: usize = 3;

/// The options of one packet: a code at most once, in the order of first appearance.
///
/// One after the other in one piece of memory, each a code, two bytes of length, because parts of a split option are joined
/// to more than 255 bytes (RFC 3396), and its data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(Vec<u8>);

impl Options {
    /// The bytes of an option.
    #[must_use]
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.iter().find(|(own, _)| *own == code).map(|(_, data)| data)
    }

    /// Sets an option; a new one goes to the end. Pad and end are no options and are not taken, nor are more bytes than an
    /// option can have.
    pub fn put(&mut self, code: u8, data: &[u8]) {
        let Ok(length) = u16::try_from(data.len()) else { return };
        if matches!(code, code::PAD | code::END) {
            return;
        }
        if self.0.is_empty() {
            self.0.reserve(USUAL);
        }
        if let Some((at, old)) = self.place(code) {
            self.0.splice(at..at + HEAD + old, head(code, length).into_iter().chain(data.iter().copied()));
        } else {
            self.0.extend(head(code, length));
            self.0.extend_from_slice(data);
        }
    }

    /// Every option with its bytes.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (&[code, low, high], behind) = rest.split_first_chunk::<HEAD>()?;
            let (data, behind) = behind.split_at_checked(u16::from_le_bytes([low, high]).into())?;
            rest = behind;
            Some((code, data))
        })
    }

    /// Reads an options field as far as it goes; an option that reaches beyond the field ends it.
    pub(super) fn read(&mut self, mut field: &[u8]) {
        while let Some((&code, rest)) = field.split_first() {
            match code {
                code::PAD => field = rest,
                code::END => break,
                _ => {
                    let Some((&length, rest)) = rest.split_first() else {
                        break;
                    };
                    let Some((data, rest)) = rest.split_at_checked(length.into()) else {
                        break;
                    };
                    self.join(code, data);
                    field = rest;
                }
            }
        }
    }

    /// RFC 3396: an option that appears again goes on.
    fn join(&mut self, code: u8, data: &[u8]) {
        match self.get(code) {
            Some(old) => {
                let whole = [old, data].concat();
                self.put(code, &whole);
            }
            None => self.put(code, data),
        }
    }

    /// Where an option begins, and how many bytes it has.
    fn place(&self, code: u8) -> Option<(usize, usize)> {
        let mut at = 0;
        self.iter().find_map(|(own, data)| {
            let here = at;
            at += HEAD + data.len();
            (own == code).then_some((here, data.len()))
        })
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        address_of(self.get(code)?)
    }

    /// Option 53.
    #[must_use]
    pub fn message_type(&self) -> Option<MessageType> {
        match self.get(code::MESSAGE_TYPE)? {
            [kind] => Some(MessageType::from(*kind)),
            _ => None,
        }
    }

    /// Option 50.
    #[must_use]
    pub fn requested_address(&self) -> Option<Ipv4Addr> {
        self.address(code::REQUESTED_ADDRESS)
    }

    /// Option 51, in seconds.
    #[must_use]
    pub fn lease_time(&self) -> Option<u32> {
        let bytes: [u8; 4] = self.get(code::LEASE_TIME)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    /// Option 54.
    #[must_use]
    pub fn server_id(&self) -> Option<Ipv4Addr> {
        self.address(code::SERVER_ID)
    }

    /// Whether option 55 asks for `code`.
    #[must_use]
    pub fn asks_for(&self, code: u8) -> bool {
        self.get(code::PARAMETERS).is_some_and(|list| list.contains(&code))
    }

    /// How many bytes of UDP payload the client takes, from option 57: at least 548, and never more than one Ethernet
    /// frame holds, because ROMs cannot join fragments.
    #[must_use]
    pub fn payload_limit(&self) -> usize {
        let size = match self.get(code::MAX_SIZE) {
            Some(&[high, low]) => u16::from_be_bytes([high, low]),
            _ => DEFAULT_SIZE,
        };
        usize::from(size.clamp(DEFAULT_SIZE, LARGEST_SIZE)) - IP_UDP
    }

    /// Option 60, empty when absent.
    #[must_use]
    pub fn vendor_class(&self) -> &[u8] {
        self.get(code::VENDOR_CLASS).unwrap_or_default()
    }

    /// Whether option 77 is `class`: as it is, which is what iPXE sends, or with a length before it (RFC 3004), alone
    /// or among others.
    #[must_use]
    pub fn has_user_class(&self, class: &[u8]) -> bool {
        let Some(mut list) = self.get(code::USER_CLASS) else {
            return false;
        };
        if list == class {
            return true;
        }
        while let Some((&length, rest)) = list.split_first() {
            let Some((item, rest)) = rest.split_at_checked(length.into()) else {
                break;
            };
            if item == class {
                return true;
            }
            list = rest;
        }
        false
    }

    /// Every number of option 93; clients may send more than one. A byte left over is not read.
    pub fn architectures(&self) -> impl Iterator<Item = u16> + Clone {
        let list = self.get(code::ARCHITECTURE).unwrap_or_default();
        list.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair))
    }

    /// Option 94: type, major and minor version of the firmware's network interface.
    #[must_use]
    pub fn interface(&self) -> Option<[u8; 3]> {
        self.get(code::INTERFACE)?.try_into().ok()
    }

    /// Option 97 as it was sent: a type byte, 0, and a UUID. The length is not checked, because it is only sent back.
    #[must_use]
    pub fn machine_id(&self) -> Option<&[u8]> {
        self.get(code::MACHINE_ID)
    }

    /// Whether [`DOCTOR`] asks.
    #[must_use]
    pub fn is_of_doctor(&self) -> bool {
        self.get(code::CLIENT_ID) == Some(DOCTOR)
    }

    /// A sub-option of option 82.
    #[must_use]
    pub fn relay(&self, sub: u8) -> Option<&[u8]> {
        sub_option(self.get(code::RELAY_AGENT)?, sub)
    }

    /// An address in a sub-option of option 82.
    #[must_use]
    pub fn relay_address(&self, sub: u8) -> Option<Ipv4Addr> {
        address_of(self.relay(sub)?)
    }

    /// Option 118 (RFC 3011).
    #[must_use]
    pub fn subnet_selection(&self) -> Option<Ipv4Addr> {
        self.address(code::SUBNET_SELECTION)
    }

    /// iPXE's own options (175), when the client is iPXE; read them with [`sub_option`].
    #[must_use]
    pub fn ipxe(&self) -> Option<&[u8]> {
        self.get(code::IPXE)
    }
}

/// What is before an option's bytes.
fn head(code: u8, length: u16) -> [u8; HEAD] {
    let [low, high] = length.to_le_bytes();
    [code, low, high]
}

/// An address; 0.0.0.0 is none.
fn address_of(data: &[u8]) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = data.try_into().ok()?;
    Some(Ipv4Addr::from(bytes)).filter(|address| !address.is_unspecified())
}

/// The sub-options of an option that carries some (43, 82, 175), as far as they go.
pub fn sub_options(mut field: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        loop {
            let (&code, rest) = field.split_first()?;
            if code == code::PAD {
                field = rest;
                continue;
            }
            if code == code::END {
                return None;
            }
            let (&length, rest) = rest.split_first()?;
            let (data, rest) = rest.split_at_checked(length.into())?;
            field = rest;
            return Some((code, data));
        }
    })
}

/// The first sub-option `code` of an option that carries sub-options.
#[must_use]
pub fn sub_option(field: &[u8], code: u8) -> Option<&[u8]> {
    sub_options(field).find(|(own, _)| *own == code).map(|(_, data)| data)
}

/// How many bytes [`write`] makes of an option with `length` bytes.
pub(super) fn written_size(length: usize) -> usize {
    length + 2 * length.div_ceil(255).max(1)
}

/// Writes an option, in parts when it is longer than 255 bytes (RFC 3396).
pub(super) fn write(bytes: &mut Vec<u8>, code: u8, data: &[u8]) {
    let mut part = |part: &[u8]| {
        bytes.extend([code, u8::try_from(part.len()).expect("a part is at most 255 bytes")]);
        bytes.extend_from_slice(part);
    };
    if data.is_empty() {
        part(data);
    }
    data.chunks(255).for_each(part);
}
