//! DHCP packets (RFC 2131), guarded.
//!
//! The header is read by `dhcproto`, after the checks its accessors rely on. Options are kept as bytes: the full
//! decoder of `dhcproto` stops at the first option it does not like, joins only adjacent parts of a split option and
//! does not look into overloaded fields, and a machine whose host name is not UTF-8 would never boot. That decoder
//! serves as the second opinion in the tests.

mod options;

use std::net::Ipv4Addr;

use dhcproto::v4::{self, MessageType, Opcode, borrowed};
use smallvec::SmallVec;

use crate::model::mac::Mac;

pub use options::{DOCTOR, Options, code, sub_option, sub_options};

/// Bytes before the options: the BOOTP header and the magic cookie (RFC 2131, section 2).
const HEADER: usize = 240;

/// The size of `sname`.
const SNAME: usize = 64;

/// The size of `file`.
const FILE: usize = 128;

/// Shorter packets are dropped by some relays and ROMs, because BOOTP had a fixed size (RFC 951).
const SHORTEST: usize = v4::MIN_PACKET_SIZE;

/// IP and UDP headers, which the sizes of RFC 2131 and option 57 include.
const IP_UDP: usize = 28;

/// The largest packet a client must take when it says nothing (RFC 2131, section 2), IP header included.
const DEFAULT_SIZE: u16 = 576;

/// The largest packet anybody is sent, IP header included: an Ethernet frame, with some room for what tunnels and tags put
/// around it (netboot.md, D6).
const LARGEST_SIZE: u16 = 1472;

/// The broadcast bit of [`Packet::flags`].
pub const BROADCAST: u16 = 0x8000;

/// The bytes of `sname` or `file`: an address or a short name, mostly, for which no memory is asked.
pub type Field = SmallVec<[u8; 32]>;

/// A DHCP packet of either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// From a client, or from a server.
    pub direction: Direction,
    /// Hardware type (IANA "ARP parameters"); 1 is Ethernet.
    pub htype: u8,
    /// How many bytes of `chaddr` count; at most 16.
    pub hlen: u8,
    /// How many relays the packet passed.
    pub hops: u8,
    /// What connects an answer with its question.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// [`BROADCAST`] and reserved bits.
    pub flags: u16,
    /// The address the client has and answers ARP for.
    pub ciaddr: Ipv4Addr,
    /// The address given to the client.
    pub yiaddr: Ipv4Addr,
    /// The server to take the loader from.
    pub siaddr: Ipv4Addr,
    /// The relay.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address, padded with zeros.
    pub chaddr: [u8; 16],
    /// Server name, without its final NUL; empty when the field carries options.
    pub sname: Field,
    /// Boot file, without its final NUL; empty when the field carries options.
    pub file: Field,
    /// The options, also those found in `sname` and `file`.
    pub options: Options,
}

/// Who sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// A client, `op` 1.
    Request,
    /// A server, `op` 2.
    Reply,
}

/// Why bytes are no DHCP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Header or cookie are not complete.
    #[error("{0} bytes are too short for a DHCP packet")]
    Short(usize),
    /// Plain BOOTP, or no BOOTP at all.
    #[error("the DHCP magic cookie is missing")]
    Cookie,
    /// Neither request nor reply.
    #[error("operation {0} is neither request nor reply")]
    Operation(u8),
    /// The hardware address would not fit its field.
    #[error("a hardware address of {0} bytes does not fit a DHCP packet")]
    HardwareLength(u8),
}

impl Packet {
    /// Reads a packet.
    ///
    /// Options are read as far as they go: a value nobody can make sense of hides no other option, parts of a split
    /// option are joined wherever they are (RFC 3396), and `file` and `sname` are read as options, in this order, when
    /// option 52 says so (RFC 2132, section 9.3).
    ///
    /// # Errors
    /// Bytes without a complete, possible header.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header = borrowed::Message::new(bytes).map_err(|_| DecodeError::Short(bytes.len()))?;
        let (Some(chaddr), Some(sname), Some(file), Some(cookie), Some(rest)) = (
            bytes.get(28..44).and_then(|field| <[u8; 16]>::try_from(field).ok()),
            bytes.get(44..108),
            bytes.get(108..236),
            bytes.get(236..HEADER),
            bytes.get(HEADER..),
        ) else {
            return Err(DecodeError::Short(bytes.len()));
        };
        if cookie != v4::MAGIC {
            return Err(DecodeError::Cookie);
        }
        let direction = match header.opcode() {
            Opcode::BootRequest => Direction::Request,
            Opcode::BootReply => Direction::Reply,
            Opcode::Unknown(other) => return Err(DecodeError::Operation(other)),
        };
        if usize::from(header.hlen()) > chaddr.len() {
            return Err(DecodeError::HardwareLength(header.hlen()));
        }
        let mut options = Options::default();
        options.read(rest);
        // Bit 0: `file` carries options; bit 1: `sname` does. The field has no say about itself.
        let overload = match options.get(code::OVERLOAD) {
            Some([bits @ 1..=3]) => *bits,
            _ => 0,
        };
        if overload & 1 != 0 {
            options.read(file);
        }
        if overload & 2 != 0 {
            options.read(sname);
        }
        Ok(Self {
            direction,
            htype: header.htype().into(),
            hlen: header.hlen(),
            hops: header.hops(),
            xid: header.xid(),
            secs: header.secs(),
            flags: header.flags().into(),
            ciaddr: header.ciaddr(),
            yiaddr: header.yiaddr(),
            siaddr: header.siaddr(),
            giaddr: header.giaddr(),
            chaddr,
            sname: Field::from_slice(if overload & 2 == 0 { header.sname() } else { &[] }),
            file: Field::from_slice(if overload & 1 == 0 { header.fname() } else { &[] }),
            options,
        })
    }

    /// Writes the packet: option 53 first, then the others in their order, option 82 last and unchanged (RFC 3046,
    /// section 2.2), the end mark, and zeros up to 300 bytes.
    ///
    /// `limit` is the largest number of bytes the receiver takes ([`Options::payload_limit`]). An option that does not
    /// fit any more is left out, so the caller puts the important ones first; 53 and 82 have their place kept.
    /// `sname` and `file` are cut at their sizes, 64 and 128 bytes.
    #[must_use]
    pub fn encode(&self, limit: usize) -> Vec<u8> {
        let limit = limit.max(SHORTEST);
        let mut bytes = self.encode_header();
        let relay = self.options.get(code::RELAY_AGENT).unwrap_or_default();
        let kept_free = options::written_size(relay.len()) + 1;
        if let Some(kind) = self.options.get(code::MESSAGE_TYPE) {
            options::write(&mut bytes, code::MESSAGE_TYPE, kind);
        }
        for (code, data) in self.options.iter() {
            let placed = matches!(code, code::MESSAGE_TYPE | code::RELAY_AGENT);
            // UEFI writes a NUL behind a boot file, into whatever is there (netboot.md, D2).
            let pad = usize::from(code == code::BOOT_FILE);
            if !placed && bytes.len() + options::written_size(data.len()) + pad + kept_free <= limit {
                options::write(&mut bytes, code, data);
                bytes.extend(std::iter::repeat_n(code::PAD, pad));
            }
        }
        if self.options.get(code::RELAY_AGENT).is_some() {
            options::write(&mut bytes, code::RELAY_AGENT, relay);
        }
        bytes.push(code::END);
        if bytes.len() < SHORTEST {
            bytes.resize(SHORTEST, 0);
        }
        bytes
    }

    /// The fields of fixed size (RFC 2131, section 2), with room for the options behind them.
    fn encode_header(&self) -> Vec<u8> {
        let operation = match self.direction {
            Direction::Request => Opcode::BootRequest,
            Direction::Reply => Opcode::BootReply,
        };
        let mut bytes = Vec::with_capacity(usize::from(DEFAULT_SIZE));
        bytes.extend([operation.into(), self.htype, self.hlen, self.hops]);
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.secs.to_be_bytes());
        bytes.extend(self.flags.to_be_bytes());
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            bytes.extend(address.octets());
        }
        bytes.extend(self.chaddr);
        for (field, size) in [(&self.sname, SNAME), (&self.file, FILE)] {
            let end = bytes.len() + size;
            bytes.extend_from_slice(field.get(..size).unwrap_or(field));
            bytes.resize(end, 0);
        }
        bytes.extend(v4::MAGIC);
        bytes
    }

    /// What a client with this Ethernet address sends that has no other address yet: nothing but what it is for.
    #[must_use]
    pub fn request(mac: Mac, kind: MessageType, xid: u32) -> Self {
        let mut chaddr = [0; 16];
        chaddr.iter_mut().zip(mac.0).for_each(|(to, from)| *to = from);
        let none = Ipv4Addr::UNSPECIFIED;
        let mut options = Options::default();
        options.put(code::MESSAGE_TYPE, &[kind.into()]);
        Self {
            direction: Direction::Request,
            htype: 1,
            hlen: 6,
            hops: 0,
            xid,
            secs: 0,
            flags: 0,
            ciaddr: none,
            yiaddr: none,
            siaddr: none,
            giaddr: none,
            chaddr,
            sname: Field::new(),
            file: Field::new(),
            options,
        }
    }

    /// The client's Ethernet address, when it has one (`hlen` 6).
    #[must_use]
    pub fn mac(&self) -> Option<Mac> {
        let bytes = self.chaddr.first_chunk::<6>()?;
        (self.hlen == 6).then_some(Mac(*bytes))
    }

    /// What the packet is for (option 53); nothing for plain BOOTP.
    #[must_use]
    pub fn message_type(&self) -> Option<MessageType> {
        self.options.message_type()
    }

    /// An answer to this packet with nothing in it yet: what RFC 2131, table 3, has a server copy is copied.
    #[must_use]
    pub fn answer(&self, kind: MessageType) -> Self {
        let mut options = Options::default();
        options.put(code::MESSAGE_TYPE, &[kind.into()]);
        Self {
            direction: Direction::Reply,
            hops: 0,
            secs: 0,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            sname: Field::new(),
            file: Field::new(),
            options,
            ..*self
        }
    }
}

#[cfg(test)]
mod tests;
