//! The table of features an iPXE tells DHCP servers of, as it lies in the binary.

/// Sub-option of option 175 with iPXE's version: three numbers (iPXE, `DHCP_EB_VERSION`).
const VERSION: [u8; 2] = [0xeb, 3];

/// What machines take their scripts by.
pub(super) const HTTP: &str = "HTTP";

/// With fewer features it was code that looked like a table.
const FEWEST: usize = 2;

/// Names of the features, as iPXE shows them when it starts (iPXE, `include/ipxe/features.h`).
const NAMES: [(u8, &str); 22] = [
    (0x10, "PXEXT"),
    (0x11, "iSCSI"),
    (0x12, "AoE"),
    (0x13, HTTP),
    (0x14, "HTTPS"),
    (0x15, "TFTP"),
    (0x16, "FTP"),
    (0x17, "DNS"),
    (0x18, "bzImage"),
    (0x19, "MBOOT"),
    (0x1a, "SLAM"),
    (0x1b, "SRP"),
    (0x20, "NBI"),
    (0x21, "PXE"),
    (0x22, "ELF"),
    (0x23, "COMBOOT"),
    (0x24, "EFI"),
    (0x25, "FCoE"),
    (0x26, "VLAN"),
    (0x27, "Menu"),
    (0x28, "SDI"),
    (0x29, "NFS"),
];

/// iPXE's `dhcp_features`: the options it puts into option 175 of every packet, one behind the other. Each feature is
/// its tag, the length 1 and a version; the version of iPXE itself is among them.
pub(super) struct Table {
    version: [u8; 3],
    tags: Vec<u8>,
}

impl Table {
    /// Finds the table: the first place with iPXE's version and features next to it. The linker puts the version
    /// first, and nothing says that it has to.
    pub(super) fn find(bytes: &[u8]) -> Option<Self> {
        bytes.windows(5).enumerate().filter(|(_, window)| window.starts_with(&VERSION)).find_map(|(start, window)| {
            let version = *window.last_chunk::<3>()?;
            let mut tags = Vec::new();
            collect(bytes.get(start + window.len()..)?.chunks_exact(3), &mut tags);
            collect(bytes.get(..start)?.rchunks_exact(3), &mut tags);
            (tags.len() >= FEWEST).then_some(Self { version, tags })
        })
    }

    /// The numbers of iPXE's version.
    pub(super) fn version(&self) -> String {
        let [major, minor, patch] = self.version;
        format!("{major}.{minor}.{patch}")
    }

    /// Whether this is the text of the version whose numbers the table has: `1.21.1+ (g988d2)` for 1.21.1.
    pub(super) fn begins(&self, text: &[u8]) -> bool {
        let rest = text.strip_prefix(self.version().as_bytes());
        rest.is_some_and(|rest| matches!(rest, [] | [b'+' | b' ' | b'-' | b'~' | b'(', ..]))
    }

    /// The features' names in alphabetical order; of a feature newer than this list, its number.
    pub(super) fn features(&self) -> Vec<String> {
        let name = |tag: &u8| NAMES.iter().find(|(own, _)| own == tag).map(|(_, name)| (*name).to_owned());
        let mut names: Vec<String> =
            self.tags.iter().map(|tag| name(tag).unwrap_or_else(|| format!("{tag:#04x}"))).collect();
        names.sort_by_cached_key(|name| name.to_ascii_lowercase());
        names
    }
}

/// Takes features up to the first that is none, or that comes again: a table has each once, which bounds what is read.
fn collect<'a>(options: impl Iterator<Item = &'a [u8]>, tags: &mut Vec<u8>) {
    for tag in options.map_while(tag) {
        if tags.contains(&tag) {
            break;
        }
        tags.push(tag);
    }
}

/// The tag of a feature, whose version is a small number; the range is that of iPXE's features.
fn tag(option: &[u8]) -> Option<u8> {
    match option {
        [tag @ 0x10..=0x7f, 1, 1..=9] => Some(*tag),
        _ => None,
    }
}
