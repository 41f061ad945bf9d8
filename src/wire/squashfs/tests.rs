use std::io::Cursor;

use super::*;

const PLAIN: &[u8] = include_bytes!("testdata/plain.sqfs");

/// An image of stored blocks: inodes from byte 96 on, behind them the listings.
fn image(root: u64, inodes: &[u8], listings: &[u8]) -> Vec<u8> {
    let blocks = |table: &[u8]| -> Vec<u8> {
        let block = |bytes: &[u8]| [&(bytes.len() as u16 | 0x8000).to_le_bytes(), bytes].concat();
        table.chunks(metadata::BLOCK).flat_map(block).collect()
    };
    let (inodes, listings) = (blocks(inodes), blocks(listings));
    let mut image = vec![0; SUPERBLOCK];
    image[..4].copy_from_slice(b"hsqs");
    image[20..22].copy_from_slice(&1_u16.to_le_bytes());
    image[28..32].copy_from_slice(&[4, 0, 0, 0]);
    image[32..40].copy_from_slice(&root.to_le_bytes());
    image[64..72].copy_from_slice(&96_u64.to_le_bytes());
    image[72..80].copy_from_slice(&(96 + inodes.len() as u64).to_le_bytes());
    [image, inodes, listings].concat()
}

/// An inode of type 1 whose listing is in the first block of listings.
fn folder(offset: u16, size: u16) -> Vec<u8> {
    let mut inode = vec![0; FOLDER_LENGTH];
    inode[..2].copy_from_slice(&FOLDER.to_le_bytes());
    inode[24..26].copy_from_slice(&size.to_le_bytes());
    inode[26..28].copy_from_slice(&offset.to_le_bytes());
    inode
}

/// An inode of type 8 whose listing is in the first block of listings.
fn extended_folder(offset: u16, size: u32) -> Vec<u8> {
    let mut inode = vec![0; EXTENDED_FOLDER_LENGTH];
    inode[..2].copy_from_slice(&EXTENDED_FOLDER.to_le_bytes());
    inode[20..24].copy_from_slice(&size.to_le_bytes());
    inode[34..36].copy_from_slice(&offset.to_le_bytes());
    inode
}

/// A header for `count` entries.
fn header(count: u32) -> Vec<u8> {
    [(count - 1).to_le_bytes(), [0; 4], [0; 4]].concat()
}

/// An entry whose inode is in the first block of inodes.
fn entry(offset: u16, kind: u16, name: &[u8]) -> Vec<u8> {
    let length = (name.len() - 1) as u16;
    [&offset.to_le_bytes(), &[0; 2], &kind.to_le_bytes(), &length.to_le_bytes(), name].concat()
}

fn list(image: &[u8], path: &str) -> Result<Vec<(String, bool)>, String> {
    let entries = Image::open(Cursor::new(image)).and_then(|mut image| image.list(path));
    let named = |entry: Entry| (String::from_utf8_lossy(&entry.name).into_owned(), entry.is_folder);
    entries.map(|entries| entries.into_iter().map(named).collect()).map_err(|error| error.to_string())
}

fn listed(entries: &[(&str, bool)]) -> Result<Vec<(String, bool)>, String> {
    Ok(entries.iter().map(|(name, is_folder)| ((*name).to_owned(), *is_folder)).collect())
}

/// An image with this listing in its root.
fn with_listing(listing: &[u8]) -> Vec<u8> {
    image(0, &folder(0, listing.len() as u16 + 3), listing)
}

#[test]
fn the_folders_of_an_image_are_listed_by_their_paths() {
    assert_eq!(list(PLAIN, ""), listed(&[("modules", true), ("other", true)]));
    let modules = listed(&[
        ("6.1.0-file", false),
        ("6.12.30-0-lts", true),
        ("6.13.0-link", false),
        ("6.6.90-0-virt", true),
        ("extra", true),
        ("firmware", true),
    ]);
    assert_eq!(list(PLAIN, "modules"), modules);
    assert_eq!(list(PLAIN, "/modules/"), modules);
    assert_eq!(list(PLAIN, "modules/6.12.30-0-lts/kernel/drivers/net"), listed(&[("e1000.ko", false)]));
}

#[test]
fn what_is_missing_a_file_or_a_link_is_no_folder() {
    for path in ["module", "modules/6.1.0-file", "modules/6.13.0-link", "modules/6.13.0-link/kernel", "..", "."] {
        assert_eq!(list(PLAIN, path), Err(format!("the squashfs image has no folder `{path}`")));
    }
}

#[test]
fn a_listing_in_several_blocks_and_groups_is_read_to_its_end() {
    let entries = list(include_bytes!("testdata/many.sqfs"), "modules").unwrap();
    assert_eq!(entries.len(), 603);
    assert_eq!(entries.first(), Some(&("6.12.30-0-lts".to_owned(), true)));
    assert_eq!(entries.get(300), Some(&("7-folder-that-is-no-kernel_with-a-long-name,300".to_owned(), true)));
    assert_eq!(entries.last(), Some(&("firmware".to_owned(), false)));
}

#[test]
fn a_file_that_is_no_image_of_a_known_form_is_refused() {
    assert_eq!(list(&[b'x'; 200], ""), Err("the file is not a squashfs image".to_owned()));
    for length in 0..SUPERBLOCK {
        let cut = "the squashfs image ends or cannot be read at byte 0".to_owned();
        assert_eq!(list(&PLAIN[..length], ""), Err(cut));
    }
    let with = |at: usize, value: u8| {
        let mut bytes = PLAIN.to_vec();
        bytes[at] = value;
        list(&bytes, "").unwrap_err()
    };
    assert_eq!(with(28, 3), "the squashfs image has version 3.0; only 4.0 is read");
    assert_eq!(with(30, 1), "the squashfs image has version 4.1; only 4.0 is read");
    for number in [0, 2, 3, 5, 7] {
        let expected =
            format!("the squashfs image has compression {number}; only gzip (1), xz (4) and zstd (6) are read");
        assert_eq!(with(20, number), expected);
    }
}

#[test]
fn an_empty_folder_has_no_entries_wherever_its_listing_is_said_to_be() {
    for size in 0..=3 {
        assert_eq!(list(&image(0, &folder(u16::MAX, size), b""), ""), Ok(vec![]));
        assert_eq!(list(&image(0, &extended_folder(u16::MAX, size.into()), b""), ""), Ok(vec![]));
    }
}

#[test]
fn an_inode_may_lie_across_two_blocks() {
    let listing = [header(1), entry(0, 2, b"x")].concat();
    for inode in [folder(0, listing.len() as u16 + 3), extended_folder(0, listing.len() as u32 + 3)] {
        let inodes = [vec![0; 8180], inode].concat();
        assert_eq!(list(&image(8180, &inodes, &listing), ""), listed(&[("x", false)]));
    }
}

#[test]
fn a_root_or_an_entry_that_is_no_folder_is_refused() {
    let file = [&[2, 0][..], &[0; 30]].concat();
    let refused = "`/` in the squashfs image has an inode of type 2, which is not a folder";
    assert_eq!(list(&image(0, &file, b""), ""), Err(refused.to_owned()));
    let listing = [header(1), entry(32, FOLDER, b"modules")].concat();
    let inodes = [folder(0, listing.len() as u16 + 3), file].concat();
    let refused = "`modules` in the squashfs image has an inode of type 2, which is not a folder";
    assert_eq!(list(&image(0, &inodes, &listing), "modules"), Err(refused.to_owned()));
}

#[test]
fn a_folder_that_holds_itself_is_followed_no_further_than_asked() {
    let listing = [header(1), entry(0, FOLDER, b"a")].concat();
    let image = with_listing(&listing);
    assert_eq!(list(&image, "a/a/a/a"), listed(&[("a", true)]));
}

#[test]
fn a_listing_of_absurd_length_is_refused_before_it_is_read() {
    let large = image(0, &extended_folder(100, u32::MAX), &[0; 4096]);
    let refused = "the listing of `/` in the squashfs image has 4294967292 bytes, more than the 65536 allowed";
    assert_eq!(list(&large, ""), Err(refused.to_owned()));
    let large = image(0, &extended_folder(0, 65_540), &[0; 65_537]);
    assert!(list(&large, "").unwrap_err().contains("has 65537 bytes, more than the 65536 allowed"));
    let group = [header(256), (0..256).flat_map(|_| entry(0, 2, &[b'x'; 235])).collect()].concat();
    let largest = [group, header(1), entry(0, 2, &[b'y'; 228])].concat();
    assert!(largest.len() <= 65_536, "{}", largest.len());
    let largest = image(0, &extended_folder(0, largest.len() as u32 + 3), &largest);
    assert_eq!(list(&largest, "").unwrap().len(), 257);
}

#[test]
fn a_listing_cut_off_in_any_field_is_refused() {
    let listing = [header(2), entry(0, 2, b"first"), entry(0, FOLDER, b"second")].concat();
    assert_eq!(list(&with_listing(&listing), ""), listed(&[("first", false), ("second", true)]));
    for length in 1..listing.len() {
        let refused = "the listing of `/` in the squashfs image is damaged".to_owned();
        assert_eq!(list(&with_listing(&listing[..length]), ""), Err(refused), "{length}");
    }
}

#[test]
fn a_group_or_a_name_that_is_too_long_is_refused() {
    let group = |count: u32| [header(count), (0..count).flat_map(|_| entry(0, 2, b"x")).collect()].concat();
    assert_eq!(list(&with_listing(&group(256)), "").unwrap().len(), 256);
    assert!(list(&with_listing(&group(257)), "").is_err());
    assert!(list(&with_listing(&[u32::MAX.to_le_bytes(), [0; 4], [0; 4]].concat()), "").is_err());
    let name = |length: usize| [header(1), entry(0, 2, &vec![b'x'; length])].concat();
    assert_eq!(list(&with_listing(&name(256)), "").unwrap().len(), 1);
    assert!(list(&with_listing(&name(257)), "").is_err());
}

#[test]
fn references_to_the_end_of_the_number_range_lead_nowhere() {
    let listing = [header(1), entry(0, FOLDER, b"modules")].concat();
    let good = with_listing(&listing);
    let ends = |image: &[u8]| list(image, "modules").unwrap_err().contains("ends or cannot be read at byte");
    // Root, table of inodes, table of listings.
    for at in [32, 64, 72] {
        let mut image = good.clone();
        image[at + 2..at + 8].fill(0xff);
        assert!(ends(&image), "{at}");
    }
    // The block of the listing, and that of the entry's inode.
    for at in [SUPERBLOCK + 2 + 16, SUPERBLOCK + 2 + FOLDER_LENGTH + 2 + 4] {
        let mut image = good.clone();
        image[at..at + 4].fill(0xff);
        assert!(ends(&image), "{at}");
    }
}
