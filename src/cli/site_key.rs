//! The site's signing key: machines trust package indexes signed with it. Made on first use; the private half never
//! leaves its folder.

use std::path::Path;

use anyhow::Context as _;

use crate::apk::{KeyLength, KeyName, SigningKey};
use crate::disk;
use crate::model::digest::Digest;

/// The file of the private key, PKCS#8 in PEM.
const FILE: &str = "site.pem";

/// The largest key file that is read.
const MAX_KEY: u64 = 64 << 10;

/// A signing key with the name machines know its public half by.
#[derive(Debug)]
pub(super) struct SiteKey {
    key: SigningKey,
    name: KeyName,
    public_pem: String,
}

impl SiteKey {
    /// Reads the key in `folder`, or makes one.
    pub(super) fn load_or_make(folder: &Path) -> anyhow::Result<Self> {
        disk::create_dir_all(folder)?;
        let _lock = disk::Lock::acquire(&folder.join("lock"))?;
        let path = folder.join(FILE);
        let key = if path.exists() {
            let pem = disk::read_bounded(&path, MAX_KEY)?;
            SigningKey::from_pem(&pem).with_context(|| format!("cannot use the site's key {}", path.display()))?
        } else {
            let key = SigningKey::generate(KeyLength::Bits4096).context("cannot make the site's key")?;
            disk::write_atomic_private(&path, key.to_pem()?.as_bytes())?;
            key
        };
        let public_pem = key.public_pem()?;
        // apk finds a key by its file name, so two sites must not use one name.
        let name = format!("bivouac-{}.rsa.pub", Digest::of(public_pem.as_bytes()).short()).parse()?;
        Ok(Self { key, name, public_pem })
    }

    /// The file name of the public key on machines.
    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The public key as machines get it.
    pub(super) fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// An index with the site's signature.
    pub(super) fn sign_index(&self, unsigned: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.key.sign_index(unsigned, &self.name).context("cannot sign the package index")
    }
}
