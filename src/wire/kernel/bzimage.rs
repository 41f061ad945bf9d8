//! The header of an x86 kernel image (Linux `Documentation/arch/x86/boot.rst`).

use super::{KernelError, is_release};

/// The most of an image that [`release_of`] looks at: the real-mode part, whose length is counted in one byte of
/// 512-byte sectors, after the boot sector.
pub(super) const HEAD: u64 = 256 * 512;

/// Whether an image begins as an x86 kernel does.
pub(super) fn is_bzimage(image: &[u8]) -> bool {
    image.get(0x1fe..0x200) == Some(&[0x55, 0xaa]) && image.get(0x202..0x206) == Some(b"HdrS")
}

/// The release such an image was built as: the text that the field at 0x20e (`kernel_version`) points to, up to its
/// first blank. `None` for an image without that text. The first [`HEAD`] bytes are enough.
///
/// # Errors
/// When the header claims a text that is not there.
pub(super) fn release_of(image: &[u8]) -> Result<Option<String>, KernelError> {
    let (Some(&sectors), Some(&[low, high])) = (image.get(0x1f1), image.get(0x20e..0x210)) else {
        return Ok(None);
    };
    let pointer = u16::from_le_bytes([low, high]);
    if pointer == 0 {
        return Ok(None);
    }
    // A count of 0 means 4, for images older than the field (boot.rst, `setup_sects`).
    let setup = usize::from(if sectors == 0 { 4 } else { sectors }) * 512;
    let start = usize::from(pointer) + 0x200;
    let text = (usize::from(pointer) < setup)
        .then(|| image.get(start..image.len().min(0x200 + setup)))
        .flatten()
        .ok_or(KernelError::Pointer { pointer, setup })?;
    let end = text.iter().position(|byte| *byte == 0).ok_or(KernelError::Text)?;
    let release = text.get(..end).and_then(|it| it.split(|byte| *byte == b' ').next()).unwrap_or_default();
    let release = str::from_utf8(release).map_err(|_| KernelError::Text)?;
    if is_release(release) { Ok(Some(release.to_owned())) } else { Err(KernelError::Text) }
}

/// The longest command line such an image takes, without its final NUL (boot.rst, `cmdline_size`; before version 2.06 of
/// the protocol, 255). Nothing for an image that is cut off or whose header is of no version there is.
pub(super) fn command_line_limit(image: &[u8]) -> Option<usize> {
    let version = u16::from_le_bytes(image.get(0x206..0x208)?.try_into().ok()?);
    match version {
        0..0x0200 => None,
        0x0200..0x0206 => Some(255),
        _ => usize::try_from(u32::from_le_bytes(image.get(0x238..0x23c)?.try_into().ok()?)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The header fields of a bzImage with three set-up sectors and its version text right behind the header.
    fn image(version: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x200 + 3 * 512];
        image[0x1f1] = 3;
        image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        image[0x300..0x300 + version.len()].copy_from_slice(version);
        image
    }

    #[test]
    fn the_release_is_the_first_word_of_the_version_text() {
        let image = image(b"6.12.30-0-lts (builder@host) #1-Alpine SMP PREEMPT_DYNAMIC 2025-05-22\0");
        assert_eq!(release_of(&image).unwrap().as_deref(), Some("6.12.30-0-lts"));
    }

    #[test]
    fn an_image_without_the_text_has_no_release_to_read() {
        let mut image = image(b"6.1\0");
        assert_eq!(release_of(&image[..0x20f]).unwrap(), None);
        image[0x20e..0x210].fill(0);
        assert_eq!(release_of(&image).unwrap(), None);
    }

    #[test]
    fn only_both_magics_make_an_x86_image() {
        let image = image(b"6.1\0");
        assert!(is_bzimage(&image) && is_bzimage(&image[..0x206]));
        for field in [0x1fe, 0x202] {
            let mut other = image.clone();
            other[field] = 0;
            assert!(!is_bzimage(&other));
        }
        assert!(!is_bzimage(&image[..0x205]));
    }

    #[test]
    fn a_pointer_out_of_the_set_up_part_is_refused() {
        let mut image = image(b"6.1\0");
        image[0x20e..0x210].copy_from_slice(&0x600_u16.to_le_bytes());
        assert_eq!(
            release_of(&image).unwrap_err().to_string(),
            "the kernel image's version pointer 0x600 lies outside its set-up part of 1536 bytes"
        );
        image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        image.truncate(0x2ff);
        assert!(matches!(release_of(&image), Err(KernelError::Pointer { .. })));
    }

    #[test]
    fn a_text_without_end_and_one_that_is_no_release_are_refused() {
        assert!(matches!(release_of(&image(&[b'6'; 0x500])), Err(KernelError::Text)));
        assert!(matches!(release_of(&image(b"../6.1\0")), Err(KernelError::Text)));
        assert!(matches!(release_of(&image(b"\0")), Err(KernelError::Text)));
    }

    #[test]
    fn the_command_line_is_as_long_as_the_header_says_and_short_for_old_images() {
        let mut image = image(b"6.1\0");
        image[0x206..0x208].copy_from_slice(&0x0205_u16.to_le_bytes());
        assert_eq!(command_line_limit(&image), Some(255));
        image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[0x238..0x23c].copy_from_slice(&2047_u32.to_le_bytes());
        assert_eq!(command_line_limit(&image), Some(2047));
        assert_eq!(command_line_limit(&image[..0x23b]), None);
    }

    proptest! {
        #[test]
        fn no_image_makes_the_reader_panic(
            fields in proptest::collection::vec(any::<u8>(), 0x1f0..0x400),
        ) {
            let _ = (is_bzimage(&fields), release_of(&fields), command_line_limit(&fields));
        }
    }
}
