//! Alpine's package keys, for whoever has no initramfs of an architecture at hand that brings them.

use crate::apk::KeyRing;
use crate::model::alpine::Arch;

/// The texts of keys by their ids, which are part of their file names.
macro_rules! keys {
    ($($id:literal)*) => {
        [$(($id, include_bytes!(concat!("keys/", $id, ".rsa.pub")).as_slice())),*]
    };
}

/// Every key.
const KEYS: [(&str, &[u8]); 17] = keys!(
    "4a6a0840" "5243ef4b" "524d27bb" "5261cecb" "58199dcc" "58cbb476" "58e4f17d" "5e69ca50" "60ac2099"
    "6165ee59" "61666e3f" "616a9724" "616abc23" "616ac3bc" "616adfeb" "616ae350" "616db30d"
);

/// Which of them sign for which architecture, older ones first (REL-6).
const SIGNS_FOR: [(&str, &[&str]); 9] = [
    ("x86_64", &["4a6a0840", "5261cecb", "6165ee59"]),
    ("x86", &["4a6a0840", "5243ef4b", "61666e3f"]),
    ("aarch64", &["58199dcc", "616ae350"]),
    ("armhf", &["524d27bb", "616a9724"]),
    ("armv7", &["524d27bb", "616adfeb"]),
    ("ppc64le", &["58cbb476", "616abc23"]),
    ("s390x", &["58e4f17d", "616ac3bc"]),
    ("riscv64", &["60ac2099", "616db30d"]),
    ("mips64", &["5e69ca50"]),
];

/// The keys with which Alpine signs the package indexes of an architecture, as far as this program knows them.
#[must_use]
pub fn alpine_keys(arch: &Arch) -> KeyRing {
    let mut ring = KeyRing::new();
    let signing = SIGNS_FOR.iter().find(|(name, _)| *name == arch.as_str()).map_or(&[][..], |(_, ids)| ids);
    for (id, pem) in KEYS.iter().filter(|(id, _)| signing.contains(id)) {
        let name = format!("alpine-devel@lists.alpinelinux.org-{id}.rsa.pub");
        ring.insert(&name, pem).expect("the key is part of the program, and a test reads it");
    }
    ring
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_key_is_one_and_signs_for_somebody() {
        let mut seen = BTreeSet::new();
        for (arch, ids) in SIGNS_FOR {
            let ring = alpine_keys(&arch.parse().unwrap());
            assert_eq!(ring.names().count(), ids.len(), "{arch}");
            seen.extend(ring.names().map(str::to_owned));
        }
        assert_eq!(seen.len(), KEYS.len());
        assert_eq!(alpine_keys(&"sparc".parse().unwrap()).names().count(), 0);
    }
}
