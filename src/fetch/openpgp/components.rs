//! The packets of one key file, sorted.

use super::{
    error::ReleaseKeyError,
    packet::{Packet, tag},
    signature::kind_of,
};

/// The longest user ID that is kept, in characters.
const USER_ID_LIMIT: usize = 100;

/// A key packet and the signatures that follow it.
pub(super) struct Component<'a> {
    pub(super) body: &'a [u8],
    signatures: Vec<&'a [u8]>,
}

impl<'a> Component<'a> {
    fn new(body: &'a [u8]) -> Self {
        Self { body, signatures: Vec::new() }
    }

    /// Those of one type.
    pub(super) fn signatures_of(&self, kind: u8) -> impl Iterator<Item = &'a [u8]> {
        self.signatures.iter().copied().filter(move |body| kind_of(body) == Some(kind))
    }
}

/// The packets of one key, sorted (RFC 4880, section 11.1).
pub(super) struct Components<'a> {
    pub(super) primary: Component<'a>,
    pub(super) subkeys: Vec<Component<'a>>,
    /// The first one, for display.
    pub(super) user_id: Option<String>,
}

impl<'a> Components<'a> {
    pub(super) fn of(packets: &[Packet<'a>]) -> Result<Self, ReleaseKeyError> {
        let mut packets = packets.iter().filter(|packet| !matches!(packet.tag, tag::MARKER | tag::PADDING));
        let mut this = match packets.next() {
            Some(Packet { tag: tag::PUBLIC_KEY, body }) => {
                Self { primary: Component::new(body), subkeys: Vec::new(), user_id: None }
            }
            Some(Packet { tag: tag::SECRET_KEY, .. }) => return Err(ReleaseKeyError::Private),
            _ => return Err(ReleaseKeyError::NoKey),
        };
        for packet in packets {
            match packet.tag {
                tag::PUBLIC_KEY => return Err(ReleaseKeyError::SeveralKeys),
                tag::SECRET_KEY | tag::SECRET_SUBKEY => return Err(ReleaseKeyError::Private),
                tag::PUBLIC_SUBKEY => this.subkeys.push(Component::new(packet.body)),
                tag::SIGNATURE => this.subkeys.last_mut().unwrap_or(&mut this.primary).signatures.push(packet.body),
                tag::USER_ID => {
                    this.user_id.get_or_insert_with(|| display_name(packet.body));
                }
                // Pictures, the trust of somebody's key ring, and what is not known yet.
                _ => {}
            }
        }
        Ok(this)
    }
}

/// A user ID as it may be shown on a terminal.
fn display_name(user_id: &[u8]) -> String {
    let text = String::from_utf8_lossy(user_id);
    text.chars().filter(|&character| !character.is_control() && !turns_text(character)).take(USER_ID_LIMIT).collect()
}

/// Whether a character changes the direction of the text around it, which could make one name look like another.
fn turns_text(character: char) -> bool {
    matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
