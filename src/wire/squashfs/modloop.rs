//! The kernels a modloop has modules for, so that it can be compared with the kernel image and the initramfs of its set.

use std::io::{Read, Seek};

use super::{Image, SquashfsError};
use crate::wire::kernel;

/// The folder of a modloop that becomes `/lib/modules` (ML-5).
const MODULES: &str = "modules";

/// The kernel releases (`uname -r`) that a modloop has a folder `modules/<release>` for (ML-5), sorted; what else lies
/// in `modules`, such as `firmware`, is left out. Empty when it has modules of no kernel. Less than 300 KB of the image
/// are read, whatever it holds.
///
/// # Errors
/// When the image is not squashfs 4.0 in gzip, xz or zstd form, is damaged where it is read, or has no folder
/// `modules`.
pub fn kernels(image: impl Read + Seek) -> Result<Vec<String>, SquashfsError> {
    let mut releases: Vec<String> = Image::open(image)?
        .list(MODULES)?
        .into_iter()
        .filter(|entry| entry.is_folder)
        .filter_map(|entry| String::from_utf8(entry.name).ok())
        .filter(|name| kernel::is_release(name))
        .collect();
    releases.sort_unstable();
    Ok(releases)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor, SeekFrom};

    use proptest::prelude::*;

    use super::*;

    const XZ: &[u8] = include_bytes!("testdata/xz.sqfs");
    const GZIP: &[u8] = include_bytes!("testdata/gzip.sqfs");
    const ZSTD: &[u8] = include_bytes!("testdata/zstd.sqfs");
    const PLAIN: &[u8] = include_bytes!("testdata/plain.sqfs");
    const MANY: &[u8] = include_bytes!("testdata/many.sqfs");
    const FIRMWARE: &[u8] = include_bytes!("testdata/firmware.sqfs");
    const ROOT: &[u8] = include_bytes!("testdata/root.sqfs");

    /// What the documentation of [`kernels`] promises.
    const MOST_READ: u64 = 300_000;

    /// Counts the bytes that are read.
    struct Counted<'a>(Cursor<&'a [u8]>, u64);

    impl Read for Counted<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.0.read(into)?;
            self.1 += length as u64;
            Ok(length)
        }
    }

    impl Seek for Counted<'_> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    /// The kernels and how many bytes it took to find them.
    fn counted(image: &[u8]) -> (Result<Vec<String>, String>, u64) {
        let mut input = Counted(Cursor::new(image), 0);
        let found = kernels(&mut input).map_err(|error| error.to_string());
        (found, input.1)
    }

    fn found(image: &[u8]) -> Result<Vec<String>, String> {
        counted(image).0
    }

    fn releases(names: &[&str]) -> Result<Vec<String>, String> {
        Ok(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn the_kernel_is_found_in_every_form_of_compression() {
        for image in [XZ, GZIP, ZSTD] {
            assert_eq!(found(image), releases(&["6.12.30-0-lts"]));
        }
    }

    #[test]
    fn two_kernels_are_both_named_and_what_is_no_folder_or_no_release_is_not() {
        assert_eq!(found(PLAIN), releases(&["6.12.30-0-lts", "6.6.90-0-virt"]));
    }

    #[test]
    fn kernels_are_sorted_even_if_the_image_has_them_in_another_order() {
        let mut swapped = PLAIN.to_vec();
        let (first, second) = (b"6.12.30-0-lts", b"6.6.90-0-virt");
        for at in 0..swapped.len() - first.len() {
            let name = &mut swapped[at..at + first.len()];
            if name == first {
                name.copy_from_slice(second);
            } else if name == second {
                name.copy_from_slice(first);
            }
        }
        assert_ne!(swapped, PLAIN);
        assert_eq!(found(&swapped), found(PLAIN));
    }

    #[test]
    fn a_folder_whose_listing_spans_metadata_blocks_is_read_to_its_end() {
        assert_eq!(found(MANY), releases(&["6.12.30-0-lts", "9.9.99-0-last"]));
    }

    #[test]
    fn the_content_of_files_is_not_read() {
        // As if the files had a million bytes more: they lie between the superblock and the tables.
        let mut large = [&XZ[..96], &[0; 1_000_000], &XZ[96..]].concat();
        for table in [64..72, 72..80] {
            let offset = u64::from_le_bytes(large[table.clone()].try_into().unwrap()) + 1_000_000;
            large[table].copy_from_slice(&offset.to_le_bytes());
        }
        assert_eq!(counted(&large), counted(XZ));
    }

    #[test]
    fn a_modloop_of_firmware_alone_is_for_no_kernel() {
        assert_eq!(found(FIRMWARE), Ok(Vec::new()));
    }

    #[test]
    fn an_image_without_modules_at_its_top_is_refused() {
        assert_eq!(found(ROOT).unwrap_err(), "the squashfs image has no folder `modules`");
    }

    #[test]
    fn an_image_cut_off_at_any_byte_is_refused_or_still_tells_its_kernel() {
        for image in [XZ, GZIP, ZSTD, PLAIN] {
            let whole = found(image);
            // The tables behind the folders' (fragments, exports, owners) are not needed; their order is fixed, so
            // there is one length from which on the answer is known.
            let enough = (0..image.len()).find(|&length| found(&image[..length]).is_ok()).unwrap();
            assert!(enough > 200, "an answer from the first {enough} bytes");
            for length in enough..=image.len() {
                assert_eq!(found(&image[..length]), whole);
            }
        }
    }

    proptest! {
        #[test]
        fn no_damage_makes_the_reader_panic_or_read_without_bound(
            image in proptest::sample::select(vec![XZ, GZIP, ZSTD, PLAIN, MANY]),
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), any::<bool>()), 1..6),
            length in proptest::option::weighted(0.2, any::<proptest::sample::Index>()),
        ) {
            let mut bytes = image.to_vec();
            for (index, value, superblock) in damage {
                let at = index.index(if superblock { 96 } else { bytes.len() });
                bytes[at] = value;
            }
            if let Some(length) = length {
                bytes.truncate(length.index(image.len()));
            }
            prop_assert!(counted(&bytes).1 < MOST_READ);
        }

        #[test]
        fn no_tables_make_the_reader_panic_or_read_without_bound(
            head in proptest::collection::vec(any::<u8>(), 96),
            compressor in proptest::sample::select(vec![1_u16, 4, 6]),
            root in (0_u64..4, 0_u64..64),
            blocks in proptest::collection::vec(
                (any::<bool>(), proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..400)),
                1..6,
            ),
        ) {
            let mut bytes = head;
            bytes[..4].copy_from_slice(b"hsqs");
            bytes[20..22].copy_from_slice(&compressor.to_le_bytes());
            bytes[28..32].copy_from_slice(&[4, 0, 0, 0]);
            bytes[32..40].copy_from_slice(&(root.0 << 16 | root.1).to_le_bytes());
            bytes[64..72].copy_from_slice(&96_u64.to_le_bytes());
            bytes[72..80].copy_from_slice(&96_u64.to_le_bytes());
            for (is_plain, block) in blocks {
                let length = u16::try_from(block.len()).unwrap() | if is_plain { 0x8000 } else { 0 };
                bytes.extend(length.to_le_bytes());
                bytes.extend(block);
            }
            prop_assert!(counted(&bytes).1 < MOST_READ);
        }
    }
}
