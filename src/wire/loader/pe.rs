//! As much of the PE format as tells UEFI programs apart (Microsoft, "PE Format").

/// Where the offset of the PE header stands.
const HEADER_OFFSET: usize = 0x3c;

/// Signature and COFF header.
const HEADER: usize = 24;

/// An entry of the section table.
const SECTION: usize = 40;

/// The machine number of a PE file ("Signature" and "COFF File Header").
#[must_use]
pub fn machine(bytes: &[u8]) -> Option<u16> {
    let (machine, _) = header(bytes)?.strip_prefix(b"PE\0\0")?.split_first_chunk::<2>()?;
    bytes.starts_with(b"MZ").then(|| u16::from_le_bytes(*machine))
}

/// Whether everything the section table names is in the file.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let Some((sections, table)) = header(bytes).and_then(|header| {
        let optional = usize::from(u16_at(header, 20)?);
        Some((usize::from(u16_at(header, 6)?), header.get(HEADER + optional..)?))
    }) else {
        return false;
    };
    let entries = table.chunks_exact(SECTION).take(sections);
    let is_in = |entry: &[u8]| {
        let (Some(size), Some(start)) = (u32_at(entry, 16), u32_at(entry, 20)) else {
            return false;
        };
        // A section without a place in the file, such as `.bss`, has a size all the same.
        start == 0 || u64::from(start) + u64::from(size) <= bytes.len() as u64
    };
    entries.len() == sections && entries.into_iter().all(is_in)
}

/// The file from its PE header on.
fn header(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(usize::try_from(u32_at(bytes, HEADER_OFFSET)?).ok()?..)
}

fn u16_at(bytes: &[u8], start: usize) -> Option<u16> {
    bytes.get(start..)?.first_chunk().map(|it| u16::from_le_bytes(*it))
}

fn u32_at(bytes: &[u8], start: usize) -> Option<u32> {
    bytes.get(start..)?.first_chunk().map(|it| u32::from_le_bytes(*it))
}
