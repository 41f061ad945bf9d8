//! The one fact Bivouac needs from a kernel image: which release it is, so that it can be compared with its modules.

/// The most of an image that [`release_of`] looks at: the real-mode part, whose length is counted in one byte of
/// 512-byte sectors, after the boot sector.
pub const HEAD: u64 = 256 * 512;

/// Why a bzImage's header cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// The pointer to the version text leads out of the part of the image that holds it.
    #[error("the kernel image's version pointer {pointer:#x} lies outside its set-up part of {setup} bytes")]
    Pointer {
        /// Value of the field at 0x20e, relative to 0x200.
        pointer: u16,
        /// Length of the set-up part, in bytes.
        setup: usize,
    },
    /// The version text has no end, or is not a version.
    #[error("the kernel image's version text is not readable")]
    Text,
}

/// The release (`uname -r`) an x86 kernel image was built as, read from the boot protocol's header: the text that the
/// field at 0x20e points to, up to its first blank (Linux `Documentation/arch/x86/boot.rst`, `kernel_version`).
///
/// `None` for what is not such an image (other architectures, compressed EFI images) and for one without that text.
/// The first [`HEAD`] bytes are enough.
///
/// # Errors
/// When the header claims a text that is not there.
pub fn release_of(image: &[u8]) -> Result<Option<String>, KernelError> {
    let is_bzimage = image.get(0x1fe..0x200) == Some(&[0x55, 0xaa]) && image.get(0x202..0x206) == Some(b"HdrS");
    let (Some(&sectors), Some(&[low, high])) = (image.get(0x1f1), image.get(0x20e..0x210)) else {
        return Ok(None);
    };
    let pointer = u16::from_le_bytes([low, high]);
    if !is_bzimage || pointer == 0 {
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

/// Whether a text can be the name of a folder below `lib/modules`: `6.12.30-0-lts`.
#[must_use]
pub fn is_release(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+~".contains(&byte);
    text.len() <= 64 && text.starts_with(|first: char| first.is_ascii_digit()) && text.bytes().all(is_allowed)
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
        assert_eq!(release_of(&image), Ok(Some("6.12.30-0-lts".to_owned())));
    }

    #[test]
    fn other_images_have_no_release_to_read() {
        for other in [b"".as_slice(), b"MZ", &[0; 4096], &image(b"6.1\0")[..0x20f]] {
            assert_eq!(release_of(other), Ok(None));
        }
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
        assert_eq!(release_of(&image(&[b'6'; 0x500])), Err(KernelError::Text));
        assert_eq!(release_of(&image(b"../6.1\0")), Err(KernelError::Text));
        assert_eq!(release_of(&image(b"\0")), Err(KernelError::Text));
    }

    proptest! {
        #[test]
        fn no_image_makes_the_reader_panic(
            fields in proptest::collection::vec(any::<u8>(), 0x1f0..0x400),
            magic: bool,
        ) {
            let mut image = fields;
            if magic && image.len() > 0x206 {
                image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
                image[0x202..0x206].copy_from_slice(b"HdrS");
            }
            let _ = release_of(&image);
        }
    }
}
