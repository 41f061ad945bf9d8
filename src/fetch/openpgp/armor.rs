//! ASCII armor (RFC 4880, section 6): binary packets as text that survives mail.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{FILE_LIMIT, error::FormatError};

/// The label of a public key's armor.
pub(super) const PUBLIC_KEY: &str = "PUBLIC KEY BLOCK";

/// The label of a detached signature's armor.
pub(super) const SIGNATURE: &str = "SIGNATURE";

/// The longest label that an error repeats, in bytes.
const LABEL_LIMIT: usize = 40;

/// The packets in a file: those of all its armor blocks, which have to be `expected`, with any text around them; or the
/// file itself, where it has no armor and starts with a packet.
pub(super) fn dearmor<'a>(file: &'a [u8], expected: &'static str) -> Result<Cow<'a, [u8]>, FormatError> {
    if file.len() > FILE_LIMIT {
        return Err(FormatError::TooLong { found: file.len(), limit: FILE_LIMIT });
    }
    let mut lines = file.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    let mut packets = None;
    while let Some(line) = lines.next() {
        let Some(label) = label_of(line, b"-----BEGIN PGP ") else { continue };
        if label != expected.as_bytes() {
            return Err(FormatError::Block { found: printable(label), expected });
        }
        packets.get_or_insert_with(Vec::new).extend(read_block(&mut lines, expected)?);
    }
    match packets {
        Some(packets) => Ok(Cow::Owned(packets)),
        None if file.first().is_some_and(|head| head & 0x80 != 0) => Ok(Cow::Borrowed(file)),
        None => Err(FormatError::NotOpenPgp(expected)),
    }
}

fn label_of<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(start)?.strip_suffix(b"-----")
}

fn printable(label: &[u8]) -> String {
    let shown = label.iter().filter(|byte| byte.is_ascii_graphic() || **byte == b' ').take(LABEL_LIMIT);
    shown.map(|&byte| char::from(byte)).collect()
}

/// What follows the line that begins a block, up to the line that ends it.
fn read_block<'a>(lines: &mut impl Iterator<Item = &'a [u8]>, label: &'static str) -> Result<Vec<u8>, FormatError> {
    for (index, line) in lines.by_ref().take_while(|line| !line.is_empty()).enumerate() {
        if !line.contains(&b':') {
            return Err(FormatError::ArmorHeader(index + 1));
        }
    }
    let mut text = Vec::new();
    let mut checksum = None;
    loop {
        let line = lines.next().ok_or(FormatError::ArmorEnd(label))?;
        if label_of(line, b"-----END PGP ") == Some(label.as_bytes()) {
            break;
        }
        match line.strip_prefix(b"=") {
            _ if checksum.is_some() && !line.is_empty() => return Err(FormatError::Base64),
            Some(digits) => checksum = Some(decode(digits)?),
            None => text.extend_from_slice(line),
        }
    }
    let packets = decode(&text)?;
    // RFC 9580, section 6.1, makes the checksum optional.
    if let Some(checksum) = checksum {
        let &[high, middle, low] = checksum.as_slice() else { return Err(FormatError::Base64) };
        let (stated, found) = (u32::from_be_bytes([0, high, middle, low]), crc24(&packets));
        if stated != found {
            return Err(FormatError::Checksum { stated, found });
        }
    }
    Ok(packets)
}

fn decode(text: &[u8]) -> Result<Vec<u8>, FormatError> {
    STANDARD.decode(text).map_err(|_| FormatError::Base64)
}

/// The checksum of RFC 4880, section 6.1.
fn crc24(bytes: &[u8]) -> u32 {
    const START: u32 = 0xb7_04ce;
    const POLYNOMIAL: u32 = 0x186_4cfb;
    let step = |crc: u32| if crc & 0x80_0000 == 0 { crc << 1 } else { crc << 1 ^ POLYNOMIAL };
    bytes.iter().fold(START, |crc, &byte| (0..8).fold(crc ^ u32::from(byte) << 16, |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTES: &[u8] = b"\x88\x04ab\xff\x00";

    fn read(text: &str) -> Result<Vec<u8>, FormatError> {
        dearmor(text.as_bytes(), SIGNATURE).map(Cow::into_owned)
    }

    fn armored(headers: &str, end: &str) -> String {
        let body = STANDARD.encode(BYTES);
        format!("-----BEGIN PGP SIGNATURE-----\n{headers}\n{body}\n{end}-----END PGP SIGNATURE-----\n")
    }

    fn checksum(crc: u32) -> String {
        format!("={}\n", STANDARD.encode(&crc.to_be_bytes()[1..]))
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // The check value of CRC-24/OPENPGP.
        assert_eq!(crc24(b"123456789"), 0x21_cf02);
    }

    #[test]
    fn armor_is_read_with_headers_text_around_it_any_line_end_and_no_checksum() {
        let full = armored("Version: GnuPG v2\nComment: a: b\n", &checksum(crc24(BYTES)));
        assert_eq!(read(&full), Ok(BYTES.to_vec()));
        assert_eq!(read(&armored("", "")), Ok(BYTES.to_vec()));
        assert_eq!(read(&full.replace('\n', " \r\n")), Ok(BYTES.to_vec()));
        assert_eq!(read(&format!("This é signs it:\n\n{full}\nbye")), Ok(BYTES.to_vec()));
        assert_eq!(read(&full.repeat(2)), Ok(BYTES.repeat(2)));
    }

    #[test]
    fn a_damaged_armor_is_refused() {
        let found = crc24(BYTES);
        assert_eq!(read(&armored("", &checksum(1))), Err(FormatError::Checksum { stated: 1, found }));
        assert_eq!(read(&armored("", "=AA==\n")), Err(FormatError::Base64));
        assert_eq!(read(&armored("", &checksum(found).repeat(2))), Err(FormatError::Base64));
        assert_eq!(read(&armored("", "AAA*\n")), Err(FormatError::Base64));
        assert_eq!(read(&armored("Version: 1\nnothing\n", "")), Err(FormatError::ArmorHeader(2)));
        assert_eq!(read(&armored("", "").replace("END PGP SIG", "END PGP ")), Err(FormatError::ArmorEnd(SIGNATURE)));
    }

    #[test]
    fn armor_of_something_else_and_no_armor_are_refused_by_name() {
        let expected = SIGNATURE;
        for found in ["PRIVATE KEY BLOCK", "SIGNED MESSAGE", "PUBLIC KEY BLOCK"] {
            let text = format!("-----BEGIN PGP {found}-----\n\nAAAA\n");
            assert_eq!(read(&text), Err(FormatError::Block { found: found.to_owned(), expected }));
        }
        let hostile = format!("-----BEGIN PGP \u{1b}[2J{}-----\n", "x".repeat(1000));
        let found = format!("[2J{}", "x".repeat(LABEL_LIMIT - 3));
        assert_eq!(read(&hostile), Err(FormatError::Block { found, expected }));
        assert_eq!(read(""), Err(FormatError::NotOpenPgp(SIGNATURE)));
        assert_eq!(read("<html>404</html>"), Err(FormatError::NotOpenPgp(SIGNATURE)));
        let found = FILE_LIMIT + 1;
        assert_eq!(read(&" ".repeat(found)), Err(FormatError::TooLong { found, limit: FILE_LIMIT }));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(-----(BEGIN|END) PGP SIGNATURE-----\n|[A-Za-z0-9+/]{4}|=|: |\n|\\PC){0,30}") {
            let _ = read(&text);
        }

        #[test]
        fn whatever_is_armored_is_read_again(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = format!(
                "-----BEGIN PGP SIGNATURE-----\n\n{}\n{}-----END PGP SIGNATURE-----",
                STANDARD.encode(&bytes),
                checksum(crc24(&bytes)),
            );
            prop_assert_eq!(read(&text), Ok(bytes));
        }
    }
}
