//! TFTP packets (RFC 1350) with options (RFC 2347, 2348, 2349, 7440).
//!
//! Only the octet mode is told from the others. Netascii would give every line another ending, and so every transfer a
//! copy of its file with another size; no firmware asks for it.

/// Error codes (RFC 1350, section 5, and RFC 2347).
pub mod error_code {
    /// Not defined; see the message.
    pub const OTHER: u16 = 0;
    /// There is no such file.
    pub const NOT_FOUND: u16 = 1;
    /// The file may not be had, or written.
    pub const ACCESS: u16 = 2;
    /// The packet is none that makes sense.
    pub const ILLEGAL: u16 = 4;
    /// A packet that belongs to another transfer, or to none.
    pub const UNKNOWN_PORT: u16 = 5;
    /// The transfer ends because of its options. UEFI firmware sends it after it has learnt a file's size.
    pub const OPTIONS: u16 = 8;
}

/// A TFTP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RRQ: a client wants to read.
    Read(Request),
    /// WRQ: a client wants to write.
    Write(Request),
    /// DATA: one block.
    Data {
        /// Its number, from 1, starting over at 0 after 65535.
        block: u16,
        /// Its bytes; fewer than the block size end the file.
        data: &'a [u8],
    },
    /// ACK.
    Ack(u16),
    /// ERROR: the end of a transfer.
    Error {
        /// One of [`error_code`].
        code: u16,
        /// For people.
        message: String,
    },
    /// OACK: the options the server agreed to.
    OptionAck(Vec<(String, String)>),
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The file, with what ROMs add to it removed: backslashes are slashes, and there is no leading slash and no
    /// trailing 0xFF, space or control character.
    pub path: String,
    /// Only octet transfers exist here.
    pub octet: bool,
    /// Block size (RFC 2348).
    pub block_size: Option<u16>,
    /// Whether the file's size is asked for (RFC 2349).
    pub wants_size: bool,
    /// Seconds until a retransmission (RFC 2349).
    pub timeout: Option<u8>,
    /// Blocks sent without waiting (RFC 7440).
    pub window_size: Option<u16>,
}

/// Why bytes are no TFTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The packet ends within a field.
    #[error("the packet ends in its {0}")]
    Short(&'static str),
    /// An operation there is not.
    #[error("operation {0} is unknown")]
    Operation(u16),
    /// A file name that is no text.
    #[error("the file name is not UTF-8")]
    Name,
}

impl<'a> Packet<'a> {
    /// Reads a packet. Mode and option names count in any case; unknown options, and values out of bounds, are left
    /// out, which RFC 2347 lets a server do. NULs after the last option are ignored: some clients send one too many.
    ///
    /// # Errors
    /// Bytes that are no TFTP packet.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (operation, rest) = number(bytes, "operation")?;
        match operation {
            1 => Request::decode(rest).map(Self::Read),
            2 => Request::decode(rest).map(Self::Write),
            3 => {
                let (block, data) = number(rest, "block number")?;
                Ok(Self::Data { block, data })
            }
            4 => Ok(Self::Ack(number(rest, "block number")?.0)),
            5 => {
                let (code, rest) = number(rest, "error code")?;
                // The message is for people: a missing NUL matters to nobody.
                let message = rest.split(|byte| *byte == 0).next().unwrap_or_default();
                Ok(Self::Error { code, message: printable(message) })
            }
            6 => {
                let fields = options(rest)?;
                Ok(Self::OptionAck(
                    fields.into_iter().map(|(name, value)| (printable(name), printable(value))).collect(),
                ))
            }
            other => Err(DecodeError::Operation(other)),
        }
    }

    /// Writes a packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Read(request) => request.encode(1, &mut bytes),
            Self::Write(request) => request.encode(2, &mut bytes),
            Self::Data { block, data } => {
                bytes.extend(data_header(*block));
                bytes.extend_from_slice(data);
            }
            Self::Ack(block) => {
                bytes.extend(4u16.to_be_bytes());
                bytes.extend(block.to_be_bytes());
            }
            Self::Error { code, message } => {
                bytes.extend(5u16.to_be_bytes());
                bytes.extend(code.to_be_bytes());
                text(&mut bytes, message);
            }
            Self::OptionAck(options) => {
                bytes.extend(6u16.to_be_bytes());
                for (name, value) in options {
                    text(&mut bytes, name);
                    text(&mut bytes, value);
                }
            }
        }
        bytes
    }
}

/// What stands before the bytes of a block in its DATA packet: for who sends a block without copying it.
#[must_use]
pub fn data_header(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    [0, 3, high, low]
}

impl Request {
    /// A request without options.
    #[must_use]
    pub fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            octet: true,
            block_size: None,
            wants_size: false,
            timeout: None,
            window_size: None,
        }
    }

    /// Whether the client speaks RFC 2347, and so waits for an OACK.
    #[must_use]
    pub fn has_options(&self) -> bool {
        self.block_size.is_some() || self.wants_size || self.timeout.is_some() || self.window_size.is_some()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (path, rest) = field(bytes, "file name")?;
        let (mode, rest) = field(rest, "mode")?;
        let mut request = Self::new(&file_name(path).ok_or(DecodeError::Name)?);
        request.octet = mode.eq_ignore_ascii_case(b"octet");
        for (name, value) in options(rest)? {
            let value: Option<u64> = std::str::from_utf8(value).ok().and_then(|value| value.trim().parse().ok());
            let Some(value) = value else { continue };
            match name.to_ascii_lowercase().as_slice() {
                b"blksize" => request.block_size = u16::try_from(value).ok().filter(|size| (8..=65464).contains(size)),
                b"tsize" => request.wants_size = true,
                b"timeout" => request.timeout = u8::try_from(value).ok().filter(|seconds| *seconds > 0),
                b"windowsize" => request.window_size = u16::try_from(value).ok().filter(|size| *size > 0),
                _ => {}
            }
        }
        Ok(request)
    }

    fn encode(&self, operation: u16, bytes: &mut Vec<u8>) {
        bytes.extend(operation.to_be_bytes());
        text(bytes, &self.path);
        text(bytes, if self.octet { "octet" } else { "netascii" });
        let options = [
            ("tsize", self.wants_size.then_some(0)),
            ("blksize", self.block_size),
            ("timeout", self.timeout.map(u16::from)),
            ("windowsize", self.window_size),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                text(bytes, name);
                text(bytes, &value.to_string());
            }
        }
    }
}

/// A file name as its sender meant it, by TFTP or by HTTP. ROMs add 0xFF and other filler (netboot.md, C30), and some write
/// backslashes. Nothing when it is not UTF-8.
#[must_use]
pub fn file_name(name: &[u8]) -> Option<String> {
    let is_filler = |byte: &u8| *byte == 0xff || *byte == b' ' || byte.is_ascii_control();
    let end = name.iter().rposition(|byte| !is_filler(byte)).map_or(0, |last| last + 1);
    let name = std::str::from_utf8(name.get(..end)?).ok()?;
    Some(name.replace('\\', "/").trim_start_matches('/').to_owned())
}

/// Name and value of an option.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// The options at the end of a packet.
fn options(mut rest: &[u8]) -> Result<Vec<Pair<'_>>, DecodeError> {
    let mut pairs = Vec::new();
    while rest.iter().any(|byte| *byte != 0) {
        let (name, after) = field(rest, "option name")?;
        let (value, after) = field(after, "option value")?;
        pairs.push((name, value));
        rest = after;
    }
    Ok(pairs)
}

/// A field that ends with NUL, and what follows.
fn field<'a>(bytes: &'a [u8], name: &'static str) -> Result<Pair<'a>, DecodeError> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(DecodeError::Short(name))?;
    let (field, rest) = bytes.split_at(end);
    Ok((field, rest.get(1..).unwrap_or_default()))
}

fn number<'a>(bytes: &'a [u8], name: &'static str) -> Result<(u16, &'a [u8]), DecodeError> {
    let (number, rest) = bytes.split_first_chunk::<2>().ok_or(DecodeError::Short(name))?;
    Ok((u16::from_be_bytes(*number), rest))
}

/// A text that ends with NUL; a NUL inside would make two of it.
fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(text.bytes().filter(|byte| *byte != 0));
    bytes.push(0);
}

/// A foreign text, fit for a log.
fn printable(bytes: &[u8]) -> String {
    let bytes = bytes.get(..100).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).chars().filter(|char| !char.is_control()).collect()
}

#[cfg(test)]
mod tests;
