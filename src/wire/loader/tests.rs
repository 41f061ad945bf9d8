use std::path::Path;

use proptest::prelude::*;

use super::*;

/// The table of a real build, with iPXE's version before it.
const TABLE: &[u8] = &[0xeb, 3, 1, 21, 1, 0x17, 1, 1, 0x24, 1, 1, 0x13, 1, 1, 0x10, 1, 2, 0x29, 1, 1];

/// A UEFI program with one section, and these texts and bytes in it.
fn program(machine: u16, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.join(&0);
    let mut bytes = b"MZ".to_vec();
    bytes.resize(0x3c, 0);
    bytes.extend(0x40u32.to_le_bytes());
    bytes.extend(b"PE\0\0");
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.resize(0x40 + 24 + 40, 0);
    let section = 0x40 + 24;
    bytes[section + 16..section + 20].copy_from_slice(&u32::try_from(content.len() + 2).unwrap().to_le_bytes());
    bytes[section + 20..section + 24].copy_from_slice(&u32::try_from(section + 40).unwrap().to_le_bytes());
    bytes.push(0);
    bytes.extend(content);
    bytes.push(0);
    bytes
}

fn names(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn a_build_with_drivers_tells_everything() {
    let parts: [&[u8]; 8] =
        [b"#!ipxe", b"ipxe.efi", b"1.21.1+ (g988d2)", b"rtl8139", b"NII", b"chain", b"initrd", TABLE];
    let read = Inspection::of(&program(0xaa64, &parts));
    assert_eq!(read.format, Format::Efi(0xaa64));
    assert_eq!(read.loads_on(), Ok(Firmware::EfiArm64));
    assert_eq!(read.version.as_deref(), Some("1.21.1+ (g988d2)"));
    assert_eq!(read.build.as_deref(), Some("ipxe.efi"));
    assert_eq!(read.kind, Some(LoaderKind::Ipxe));
    assert_eq!(read.features, names(&["DNS", "EFI", "HTTP", "NFS", "PXEXT"]));
    assert_eq!(read.commands, Some(vec!["chain", "initrd"]));
}

#[test]
fn drivers_are_known_by_what_is_in_the_program_and_then_by_the_name_of_the_build() {
    for (parts, kind) in [
        (&[b"SNPONLY".as_slice()][..], Some(LoaderKind::Snponly)),
        (&[b"NII", b"SNP"], Some(LoaderKind::Snponly)),
        (&[b"NII", b"SNPONLY", b"virtio-net"], Some(LoaderKind::Ipxe)),
        (&[b"snponly.efi", b"virtio-net"], Some(LoaderKind::Ipxe)),
        (&[b"snp.efi"], Some(LoaderKind::Snponly)),
        (&[b"ipxe.efi", b"SNP"], Some(LoaderKind::Ipxe)),
        (&[b"tg3.efi", b"SNP"], None),
        (&[b"xSNPONLY", b"virtio-net2"], None),
    ] {
        assert_eq!(Inspection::of(&program(0x8664, parts)).kind, kind, "{parts:?}");
    }
}

#[test]
fn the_sbat_section_names_build_and_version() {
    let sbat = b"sbat,1,SBAT Version,sbat,1,URL\nipxe,1,iPXE,snponly.efi,2.0.0+,https://ipxe.org\n";
    let read = Inspection::of(&program(0x8664, &[b"other.efi", sbat, b"#!ipxe"]));
    assert_eq!(read.version.as_deref(), Some("2.0.0+"));
    assert_eq!((read.build.as_deref(), read.kind), (Some("snponly.efi"), Some(LoaderKind::Snponly)));
    for cut in 70..sbat.len() - 1 {
        // A line that ends early gives what it has, or nothing; the rest of the program is read all the same.
        assert!(Inspection::of(&program(0x8664, &[&sbat[..cut], b"#!ipxe"])).commands.is_some());
    }
}

#[test]
fn without_its_text_the_version_is_the_numbers_of_the_table_and_without_the_table_unknown() {
    let read = Inspection::of(&program(0x8664, &[b"#!ipxe", b"1.21.10", TABLE]));
    assert_eq!(read.version.as_deref(), Some("1.21.1"));
    let read = Inspection::of(&program(0x8664, &[b"#!ipxe", b"1.21.1"]));
    assert_eq!((read.version, read.features), (None, None));
}

#[test]
fn the_table_is_read_from_both_sides_of_the_version_and_ends_with_what_is_no_feature() {
    let both = [&[0x13, 1, 1, 0x2b, 1, 1][..], &[0xeb, 3, 1, 0, 0], &[0x15, 1, 1, 0x17, 2, 1]].concat();
    assert_eq!(Inspection::of(&program(0x8664, &[&both])).features, names(&["0x2b", "HTTP", "TFTP"]));
    let code = [0xeb, 3, 0x41, 0x89, 0xc4, 0x13, 1, 1, 0x48];
    assert_eq!(Inspection::of(&program(0x8664, &[&code])).features, None, "a jump of three bytes");
    let repeated = [&[0xeb, 3, 1, 0, 0][..], &[0x13, 1, 1, 0x15, 1, 1].repeat(1000)].concat();
    assert_eq!(Inspection::of(&program(0x8664, &[&repeated])).features, names(&["HTTP", "TFTP"]));
}

#[test]
fn texts_that_could_move_a_cursor_are_not_kept() {
    let read = Inspection::of(&program(0x8664, &[b"#!ipxe", b"1.21.1+ \x1b[2J", b"\x1bx.efi", TABLE]));
    assert_eq!((read.version.as_deref(), read.build), (Some("1.21.1"), None));
    let long = [&b"1.21.1+"[..], &[b'a'; 200]].concat();
    assert_eq!(Inspection::of(&program(0x8664, &[&long, TABLE])).version.as_deref(), Some("1.21.1"));
}

#[test]
fn a_program_for_pxe_roms_tells_only_that_it_is_one() {
    let mut bytes = vec![0xea; 0x400];
    bytes.extend(PXE_PREFIX);
    bytes.extend(vec![0x9c; 60_000]);
    let read = Inspection::of(&bytes);
    assert_eq!(read.loads_on(), Ok(Firmware::BiosX86));
    let Inspection { version, build, kind, features, commands, .. } = read;
    assert_eq!((version, build, kind, features, commands), (None, None, None, None, None));
}

#[test]
fn what_is_no_loader_is_refused_with_the_reason() {
    let at = |start: usize, text: &[u8]| [&vec![1; start][..], text].concat();
    let no_http = [0xeb, 3, 1, 0, 0, 0x17, 1, 1, 0x15, 1, 1];
    for (bytes, fault) in [
        (vec![], Fault::Empty),
        (b"#!/bin/sh\n".to_vec(), Fault::NoProgram),
        (b"MZ".to_vec(), Fault::NoProgram),
        (at(0x202, b"HdrS"), Fault::Kernel),
        (at(0x8001, b"CD001"), Fault::Iso),
        (vec![0x55, 0xaa, 0x10], Fault::Rom),
        (program(0x0200, &[b"#!ipxe"]), Fault::Processor(0x0200)),
        (program(0x8664, &[b"grubx64.efi"]), Fault::NotIpxe),
        (program(0x8664, &[b"#!ipxe", &no_http]), Fault::NoHttp),
    ] {
        assert_eq!(Inspection::of(&bytes).loads_on(), Err(fault.clone()), "{fault}");
    }
}

#[test]
fn a_program_cut_off_anywhere_is_refused() {
    let whole = program(0x8664, &[b"#!ipxe", TABLE]);
    assert_eq!(Inspection::of(&whole).loads_on(), Ok(Firmware::EfiX64));
    for length in 0..whole.len() {
        assert!(Inspection::of(&whole[..length]).loads_on().is_err(), "{length}");
    }
    assert_eq!(Inspection::of(&whole[..whole.len() - 1]).loads_on(), Err(Fault::CutShort));
    let mut far = whole;
    far[0x3c..0x40].fill(0xff);
    assert_eq!(pe_machine(&far), None);
}

#[test]
#[expect(clippy::print_stderr, reason = "says that it tests nothing here")]
fn the_loaders_of_debian_are_read() {
    let folder = Path::new("/usr/lib/ipxe");
    let read = |name: &str| std::fs::read(folder.join(name)).ok().map(|bytes| Inspection::of(&bytes));
    let all = ["ipxe.efi", "snponly.efi", "undionly.kpxe", "ipxe.pxe"].map(read);
    let [Some(ipxe), Some(snponly), Some(undionly), Some(pxe)] = all else {
        eprintln!("skipped: Debian's package `ipxe` is not installed");
        return;
    };
    for (read, build, kind) in [(&ipxe, "ipxe.efi", LoaderKind::Ipxe), (&snponly, "snponly.efi", LoaderKind::Snponly)] {
        assert_eq!(read.loads_on(), Ok(Firmware::EfiX64));
        assert_eq!((read.build.as_deref(), read.kind), (Some(build), Some(kind)));
        assert!(read.version.as_deref().is_some_and(|version| version.starts_with("1.")), "{:?}", read.version);
        let features = read.features.as_ref().unwrap();
        assert!(["DNS", "HTTP", "TFTP"].into_iter().all(|name| features.iter().any(|own| own == name)), "{features:?}");
        assert!(read.commands.as_ref().unwrap().starts_with(&["chain", "initrd"]));
    }
    assert_eq!(ipxe.version, snponly.version);
    for bios in [undionly, pxe] {
        assert_eq!((bios.loads_on(), bios.kind, bios.version), (Ok(Firmware::BiosX86), None, None));
    }
}

proptest! {
    #[test]
    fn nothing_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let read = Inspection::of(&bytes);
        prop_assert!(read.loads_on().is_ok() || read.loads_on().is_err());
    }

    #[test]
    fn no_program_makes_the_reader_panic(
        head in proptest::collection::vec(any::<u8>(), 0x40..0x200),
        strays in any::<bool>(),
        offset in 0u32..0x400,
        texts in proptest::collection::vec(prop_oneof![
            Just(b"#!ipxe\0".to_vec()),
            Just(TABLE.to_vec()),
            Just(b"ipxe,1,iPXE,".to_vec()),
            Just(b"\x13\x01\x01".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..20),
        ], 0..20),
    ) {
        let mut bytes = head;
        let offset = if strays { offset } else { u32::try_from(bytes.len()).unwrap() };
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c..0x40].copy_from_slice(&offset.to_le_bytes());
        bytes.extend(b"PE\0\0\x64\x86\x01\0");
        bytes.extend(texts.concat());
        let read = Inspection::of(&bytes);
        let features = read.features.unwrap_or_default().len();
        prop_assert!(features <= 0x70, "{features}");
        prop_assert!(read.version.is_none_or(|text| text.len() <= MAX_TEXT));
    }
}
