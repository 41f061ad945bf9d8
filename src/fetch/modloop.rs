//! The signature of the modloop, looked at here because a stock machine mounts a modloop whose signature is wrong
//! (ML-2).

use std::path::Path;

use super::InitramfsFacts;
use crate::apk::{Algorithm, KeyRing};
use crate::disk::{self, DiskError};

/// The largest modloop; those with all firmware have about 300 MB.
const LARGEST: u64 = 2 << 30;

/// Why a modloop is refused.
#[derive(Debug, thiserror::Error)]
pub enum ModloopError {
    /// It cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The initramfs has signatures, but none for a file of this name.
    #[error("the initramfs has no signature for {name}, but one for {}; they are not one set", signed.join(", "))]
    OtherName {
        /// The modloop's name.
        name: String,
        /// What there are signatures for.
        signed: Vec<String>,
    },
    /// No signature was made by a key the machine would look at.
    #[error("{name} is signed by {}, and the initramfs has no such key", keys.join(", "))]
    UnknownKey {
        /// The modloop.
        name: String,
        /// Who signed it.
        keys: Vec<String>,
    },
    /// A signature does not fit the bytes.
    #[error("the signature of {name} by {key} in the initramfs does not fit it; do not use this release")]
    Wrong {
        /// The modloop.
        name: String,
        /// Whose signature.
        key: String,
    },
}

/// Checks the modloop at `path`, which machines know as `name`, against the signatures its initramfs brings (ML-4), and
/// says which key signed it; nothing when the initramfs brings no signature at all, which is how a site's own kernels
/// come.
///
/// # Errors
/// When a signature is wrong, or none is by a key of the initramfs.
pub(super) fn verify_modloop(
    path: &Path,
    name: &str,
    facts: &InitramfsFacts,
    keys: &KeyRing,
) -> Result<Option<String>, ModloopError> {
    if facts.modloop_signatures.is_empty() {
        return Ok(None);
    }
    let prefix = format!("{name}.SIGN.RSA.");
    let signatures: Vec<(&str, &[u8])> = facts
        .modloop_signatures
        .iter()
        .filter_map(|(file, signature)| Some((file.strip_prefix(&prefix)?, signature.as_slice())))
        .collect();
    if signatures.is_empty() {
        let signed = facts.modloop_signatures.iter().map(|(file, _)| file.clone()).collect();
        return Err(ModloopError::OtherName { name: name.to_owned(), signed });
    }
    let bytes = disk::read_bounded(path, LARGEST)?;
    let mut good = None;
    for (key, signature) in &signatures {
        let Some(public) = keys.key(key) else { continue };
        if !public.verifies(Algorithm::RsaSha1, &bytes, signature) {
            return Err(ModloopError::Wrong { name: name.to_owned(), key: (*key).to_owned() });
        }
        good = Some((*key).to_owned());
    }
    good.map(Some).ok_or_else(|| ModloopError::UnknownKey {
        name: name.to_owned(),
        keys: signatures.iter().map(|(key, _)| (*key).to_owned()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `openssl dgst -sha1 -sign` over the bytes `modloop\n`; apk's signatures of that kind cannot be made by
    /// this program, only checked.
    const SIGNATURE: &[u8] = include_bytes!("testdata/modloop.sig");
    const KEY: &[u8] = include_bytes!("testdata/modloop.rsa.pub");

    fn verify(bytes: &[u8], signed: &str, keys: &[&str]) -> Result<Option<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let facts = InitramfsFacts {
            apk_keys: Vec::new(),
            modloop_signatures: vec![(signed.to_owned(), SIGNATURE.to_vec())],
            kernel_version: None,
            machine: None,
        };
        let mut ring = KeyRing::new();
        for name in keys {
            ring.insert(name, KEY).unwrap();
        }
        verify_modloop(&path, "modloop-lts", &facts, &ring).map_err(|error| error.to_string())
    }

    #[test]
    fn a_modloop_is_what_a_key_of_its_initramfs_signed() {
        let signed = "modloop-lts.SIGN.RSA.a.rsa.pub";
        assert_eq!(verify(b"modloop\n", signed, &["a.rsa.pub"]), Ok(Some("a.rsa.pub".to_owned())));
        assert_eq!(
            verify(b"mod1oop\n", signed, &["a.rsa.pub"]),
            Err("the signature of modloop-lts by a.rsa.pub in the initramfs does not fit it; do not use this release"
                .to_owned())
        );
        assert_eq!(
            verify(b"modloop\n", signed, &["b.rsa.pub"]),
            Err("modloop-lts is signed by a.rsa.pub, and the initramfs has no such key".to_owned())
        );
        assert!(
            verify(b"modloop\n", "modloop-virt.SIGN.RSA.a.rsa.pub", &["a.rsa.pub"])
                .unwrap_err()
                .contains("not one set")
        );
    }

    #[test]
    fn an_initramfs_without_signatures_asks_for_none() {
        let facts = InitramfsFacts {
            apk_keys: Vec::new(),
            modloop_signatures: Vec::new(),
            kernel_version: None,
            machine: None,
        };
        assert!(matches!(verify_modloop(Path::new("/nowhere"), "modloop-lts", &facts, &KeyRing::new()), Ok(None)));
    }
}
