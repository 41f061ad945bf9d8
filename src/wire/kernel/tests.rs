use std::io::{Cursor, Write as _};

use flate2::{Compression, Crc, write::GzEncoder};
use proptest::prelude::*;

use super::*;

const RELEASE: &str = "6.12.30-0-lts";

fn read(image: impl AsRef<[u8]>) -> Option<String> {
    release_in(Cursor::new(image)).unwrap()
}

/// Something like a kernel: machine code, and the text twice, in the text itself and in `/proc/version`'s.
fn kernel(release: &str) -> Vec<u8> {
    let text = format!("Linux version {release} (buildozer@build) (gcc (Alpine 14.2.0) 14.2.0) #1-Alpine SMP\n\0");
    let code: Vec<u8> = (0..20_000_u32).flat_map(|it| it.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect();
    [&code, text.as_bytes(), b"Linux version %s\0", &code[..70_000], text.as_bytes(), &code[..100]].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn with_crc(bytes: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(bytes);
    [bytes, &crc.sum().to_le_bytes()].concat()
}

/// The byte for a dictionary of 128 MiB in an xz stream, and for a window as large in a zstd frame. The next size is the
/// next byte.
const LARGE: [u8; 2] = [30, 17 << 3];

/// The length of pieces that are stored one by one as they are: too short for the text, which so is only found by what
/// joins them.
const SHORT: usize = 16;

/// An xz stream of stored LZMA2 chunks, without its end: the bytes of the last chunk are there before that is missed.
fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut stream = [&b"\xfd7zXZ\0"[..], &with_crc(&[0, 0]), &with_crc(&[2, 0, 0x21, 1, LARGE[0], 0, 0, 0])].concat();
    for (number, chunk) in bytes.chunks(SHORT).enumerate() {
        stream.push(if number == 0 { 1 } else { 2 });
        stream.extend(u16::try_from(chunk.len() - 1).unwrap().to_be_bytes());
        stream.extend(chunk);
    }
    stream
}

/// A zstd frame of stored blocks.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, LARGE[1]];
    for chunk in bytes.chunks(SHORT) {
        frame.extend(&u32::try_from(chunk.len() << 3).unwrap().to_le_bytes()[..3]);
        frame.extend(chunk);
    }
    frame.extend([1, 0, 0]);
    frame
}

/// A packed kernel behind code that unpacks it and names the forms it knows, and before its length.
fn behind_a_stub(packed: &[u8]) -> Vec<u8> {
    let stub = b"MZ\0\0Uncompressing Linux...\x1f\x8b\x08\x28\xb5\x2f\xfd\0\0\0\xfd7zXZ\0XZ-compressed data is corrupt";
    [&stub[..], &[0xe1; 5000], packed, &[0x68, 0x55, 0x28, 0]].concat()
}

#[test]
fn an_image_that_is_not_packed_tells_its_release() {
    assert_eq!(read(kernel(RELEASE)).as_deref(), Some(RELEASE));
}

#[test]
fn a_packed_image_tells_its_release_in_every_form_and_place() {
    for pack in [gzip, xz, zstd] {
        let packed = pack(&kernel(RELEASE));
        assert_eq!(read(&packed).as_deref(), Some(RELEASE));
        assert_eq!(read(behind_a_stub(&packed)).as_deref(), Some(RELEASE));
        assert_eq!(read(&packed[1..]), None);
    }
}

#[test]
fn an_image_that_tells_nothing_or_two_releases_has_none() {
    let two = [kernel(RELEASE), kernel("6.12.31-0-lts")].concat();
    for image in [b"".to_vec(), b"MZ".to_vec(), vec![0; 4096], two.clone(), gzip(&two), gzip(b""), kernel("%s")] {
        assert_eq!(read(image), None);
    }
}

#[test]
fn what_an_unpacked_kernel_carries_is_not_unpacked() {
    let image = [kernel(RELEASE), gzip(&kernel("6.1.0"))].concat();
    assert_eq!(read(image).as_deref(), Some(RELEASE));
}

#[test]
fn a_damaged_image_tells_what_precedes_the_damage() {
    for pack in [gzip, xz, zstd] {
        let packed = pack(&kernel(RELEASE));
        let cut = |length: usize| read(&packed[..length]);
        assert!((0..64).chain([packed.len() / 2]).all(|length| cut(length).is_none()));
    }
    let mut packed = gzip(&kernel(RELEASE));
    let check = packed.len() - 8;
    packed[check] ^= 1;
    assert_eq!(read(&packed).as_deref(), Some(RELEASE));
}

#[test]
fn no_more_than_a_few_places_are_tried() {
    let packed = gzip(&kernel(RELEASE));
    let decoys = |count: usize| [&[0x1f, 0x8b, 8, 0xff].repeat(100)[..], &gzip(b"").repeat(count), &packed].concat();
    assert_eq!(read(decoys(ATTEMPTS - 1)).as_deref(), Some(RELEASE));
    assert_eq!(read(decoys(ATTEMPTS)), None);
}

#[test]
fn a_decoder_gets_no_more_memory_than_linux_own_packing_needs() {
    let mut packed = xz(&kernel(RELEASE));
    packed.splice(12..24, with_crc(&[2, 0, 0x21, 1, LARGE[0] + 1, 0, 0, 0]));
    assert_eq!(read(packed), None);
    let mut packed = zstd(&kernel(RELEASE));
    packed[5] += 1;
    assert_eq!(read(packed), None);
}

#[test]
fn the_bytes_looked_at_are_limited_as_they_are_and_unpacked() {
    const LIMIT: u64 = 512 << 10;
    let within = |image: &[u8]| search(Cursor::new(image), LIMIT).unwrap();
    let zeros = vec![0; usize::try_from(LIMIT).unwrap() / 2];
    let kernel = kernel(RELEASE);
    assert_eq!(within(&[&zeros[..], &kernel].concat()).as_deref(), Some(RELEASE));
    assert_eq!(within(&[&zeros[..], &zeros, &kernel].concat()), None);
    let (zeros, kernel) = (gzip(&zeros), gzip(&kernel));
    assert_eq!(within(&[&zeros[..], &kernel].concat()).as_deref(), Some(RELEASE));
    assert_eq!(within(&[&zeros[..], &zeros, &kernel].concat()), None);
}

#[test]
fn of_an_x86_image_only_the_header_counts() {
    let mut image = vec![0; 0x400];
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    image[0x300..0x30a].copy_from_slice(b"6.1-virt (");
    image.extend(kernel(RELEASE));
    assert_eq!(read(&image).as_deref(), Some("6.1-virt"));
    image[0x20e..0x210].fill(0);
    assert_eq!(read(&image), None);
    image[0x20e..0x210].fill(0xff);
    assert!(matches!(release_in(Cursor::new(image)), Err(KernelError::Pointer { .. })));
}

#[test]
fn an_image_that_cannot_be_read_is_an_error() {
    struct Broken(Cursor<Vec<u8>>);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("the disk is gone")),
                read => Ok(read),
            }
        }
    }
    impl Seek for Broken {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    for length in [0, usize::try_from(bzimage::HEAD).unwrap() + 1] {
        let error = release_in(Broken(Cursor::new(vec![0; length]))).unwrap_err();
        assert_eq!(error.to_string(), "the kernel image cannot be read");
    }
}

proptest! {
    #[test]
    fn no_image_makes_the_reader_panic(
        magic in prop::sample::select(vec![&b""[..], b"\x1f\x8b\x08", b"\xfd7zXZ\0\0", b"\x28\xb5\x2f\xfd"]),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        read([magic, &bytes].concat());
    }

    #[test]
    fn no_damage_makes_the_reader_panic(form in 0..3_usize, place: prop::sample::Index, value: u8) {
        let mut packed = [gzip, xz, zstd][form](&[b"Linux version 6.1 (", &[0; 300][..]].concat());
        let place = place.index(packed.len());
        packed[place] = value;
        read(packed);
    }
}
