//! Keys that sign indexes: the ring of those that are trusted, and the site's own.

use std::{collections::BTreeMap, fmt, str::FromStr};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{
        RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
        RSA_PKCS1_SHA256, RsaParameters, UnparsedPublicKey,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The longest key file name; the signature's name in the index has to fit into a tar header.
const NAME_LIMIT: usize = 80;

/// Characters in a line of PEM (RFC 7468, section 2).
const PEM_LINE: usize = 64;

/// The file name of a public key, such as `site-6165ee59.rsa.pub`. It is how a signature says which
/// key made it, so it has to be the same in `/etc/apk/keys` (OVL-36).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The name with its `.rsa.pub`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = KeyError;

    fn from_str(name: &str) -> Result<Self, KeyError> {
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        let fits = name.len() <= NAME_LIMIT && name.bytes().all(plain);
        match name.strip_suffix(".rsa.pub") {
            Some(stem) if fits && !stem.is_empty() && !stem.starts_with('.') => Ok(Self(name.to_owned())),
            _ => Err(KeyError::Name(name.to_owned())),
        }
    }
}

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// apk finds keys by file name.
    #[error(
        "`{0}` is not the name of a public key file; it ends in `.rsa.pub` and has at most {NAME_LIMIT} characters"
    )]
    Name(String),
    /// There is no PEM block of the right kind.
    #[error("there is no PEM block `{0}` in the key file")]
    Pem(&'static str),
    /// The block is not an RSA key of 2048 to 8192 bits.
    #[error("the key is not an RSA key of 2048 to 8192 bits: {0}")]
    Rsa(String),
    /// The system gave no randomness or the cryptographic library failed.
    #[error("the cryptographic library could not {0}")]
    Library(&'static str),
}

/// How a signature was made, by the name apk gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `RSA`: PKCS #1 v1.5 over SHA-1, what Alpine signs its version 2 indexes with.
    RsaSha1,
    /// `RSA256`: PKCS #1 v1.5 over SHA-256, what is written here.
    RsaSha256,
    /// `RSA512`: PKCS #1 v1.5 over SHA-512.
    RsaSha512,
}

impl Algorithm {
    /// The word between `.SIGN.` and the key's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RsaSha1 => "RSA",
            Self::RsaSha256 => "RSA256",
            Self::RsaSha512 => "RSA512",
        }
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::RsaSha1, Self::RsaSha256, Self::RsaSha512].into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn parameters(self) -> &'static RsaParameters {
        match self {
            Self::RsaSha1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Self::RsaSha256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::RsaSha512 => &RSA_PKCS1_2048_8192_SHA512,
        }
    }
}

/// A public key, checked to be RSA of a length that is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Reads a public key file: PEM with a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
    ///
    /// # Errors
    ///
    /// [`KeyError`] where it is none, or not RSA of 2048 to 8192 bits.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = read_pem(pem, "PUBLIC KEY")?;
        // This constructor, unlike those of verification keys, checks the length at once.
        rsa::PublicEncryptingKey::from_der(&der).map_err(|error| KeyError::Rsa(error.to_string()))?;
        Ok(Self(der))
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(algorithm.parameters(), &self.0).verify(message, signature).is_ok()
    }
}

/// The keys that are trusted, by file name.
#[derive(Debug, Clone, Default)]
pub struct KeyRing(BTreeMap<String, PublicKey>);

impl KeyRing {
    /// A ring that trusts nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the key in a file; a key of the same name is replaced.
    ///
    /// # Errors
    ///
    /// [`KeyError`] where the name or the key is not usable.
    pub fn insert(&mut self, file_name: &str, pem: &[u8]) -> Result<(), KeyError> {
        let name: KeyName = file_name.parse()?;
        self.0.insert(name.0, PublicKey::from_pem(pem)?);
        Ok(())
    }

    /// Trusts all keys of another ring too; of two with the same name, the other ring's.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The key of that file name.
    #[must_use]
    pub fn key(&self, file_name: &str) -> Option<&PublicKey> {
        self.0.get(file_name)
    }

    /// The file names of the trusted keys, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// How long a new key is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyLength {
    /// 2048 bits: quick to make.
    Bits2048,
    /// 4096 bits, as Alpine's own keys are.
    #[default]
    Bits4096,
}

/// A private key that signs indexes.
pub struct SigningKey(rsa::KeyPair);

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    ///
    /// [`KeyError::Library`] where the system gives no randomness.
    pub fn generate(length: KeyLength) -> Result<Self, KeyError> {
        let size = match length {
            KeyLength::Bits2048 => KeySize::Rsa2048,
            KeyLength::Bits4096 => KeySize::Rsa4096,
        };
        rsa::KeyPair::generate(size).map(Self).map_err(|_| KeyError::Library("generate a key"))
    }

    /// Reads a private key: PEM with PKCS #8 (RFC 5208), or PKCS #1 as older versions of
    /// abuild-keygen write it. Encrypted keys are not read.
    ///
    /// # Errors
    ///
    /// [`KeyError`] where it is none, or not an RSA key that is accepted.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let pair = match read_pem(pem, "RSA PRIVATE KEY") {
            Ok(der) => rsa::KeyPair::from_der(&der),
            Err(_) => rsa::KeyPair::from_pkcs8(&read_pem(pem, "PRIVATE KEY")?),
        };
        pair.map(Self).map_err(|error| KeyError::Rsa(error.to_string()))
    }

    /// The private key as PEM with PKCS #8. A secret: for a file only its owner may read.
    ///
    /// # Errors
    ///
    /// [`KeyError::Library`] where the key cannot be written.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().map_err(|_| KeyError::Library("write the private key"))?;
        Ok(write_pem(der.as_ref(), "PRIVATE KEY"))
    }

    /// The public key as the files in `/etc/apk/keys` have it.
    ///
    /// # Errors
    ///
    /// [`KeyError::Library`] where the key cannot be written.
    pub fn public_pem(&self) -> Result<String, KeyError> {
        use aws_lc_rs::signature::KeyPair as _;
        let der: PublicKeyX509Der<'_> =
            self.0.public_key().as_der().map_err(|_| KeyError::Library("write the public key"))?;
        Ok(write_pem(der.as_ref(), "PUBLIC KEY"))
    }

    /// Signs by [`Algorithm::RsaSha256`]; the same message always gets the same signature.
    ///
    /// # Errors
    ///
    /// [`KeyError::Library`] where the library fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| KeyError::Library("sign"))?;
        Ok(signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(secret)")
    }
}

/// The content of the first PEM block with that label (RFC 7468); text around it is skipped.
fn read_pem(pem: &[u8], label: &'static str) -> Result<Vec<u8>, KeyError> {
    let find = || {
        let text = str::from_utf8(pem).ok()?;
        let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
        let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
        let body: String = body.split_ascii_whitespace().collect();
        STANDARD.decode(body).ok()
    };
    find().ok_or(KeyError::Pem(label))
}

fn write_pem(der: &[u8], label: &str) -> String {
    let body = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> SigningKey {
        SigningKey::generate(KeyLength::Bits2048).unwrap()
    }

    #[test]
    fn a_key_survives_its_file_and_its_signature_is_verified() {
        let key = key();
        let read = SigningKey::from_pem(key.to_pem().unwrap().as_bytes()).unwrap();
        assert_eq!(read.public_pem(), key.public_pem());
        let signature = read.sign(b"index").unwrap();
        assert_eq!(key.sign(b"index").unwrap(), signature);
        let public = PublicKey::from_pem(key.public_pem().unwrap().as_bytes()).unwrap();
        assert!(public.verifies(Algorithm::RsaSha256, b"index", &signature));
        assert!(!public.verifies(Algorithm::RsaSha256, b"indexx", &signature));
        assert!(!public.verifies(Algorithm::RsaSha1, b"index", &signature));
        assert!(!public.verifies(Algorithm::RsaSha256, b"index", b""));
    }

    #[test]
    fn a_public_key_looks_like_those_of_alpine() {
        let pem = key().public_pem().unwrap();
        let lines: Vec<_> = pem.lines().collect();
        assert_eq!(lines[0], "-----BEGIN PUBLIC KEY-----");
        assert!(lines[1].starts_with("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A") && lines[1].len() == 64);
        assert_eq!(pem.len(), 451);
    }

    #[test]
    fn a_private_key_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", key()), "SigningKey(secret)");
    }

    #[test]
    fn file_names_and_files_that_are_no_keys_are_refused() {
        let mut ring = KeyRing::new();
        let pem = key().public_pem().unwrap();
        let long = format!("{}.rsa.pub", "x".repeat(NAME_LIMIT));
        for name in ["", ".rsa.pub", "site.pub", "a/b.rsa.pub", "..rsa.pub", "a b.rsa.pub", &long] {
            assert_eq!(ring.insert(name, pem.as_bytes()), Err(KeyError::Name(name.to_owned())));
        }
        for pem in ["", "garbage", "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----", &key().to_pem().unwrap()]
        {
            assert_eq!(ring.insert("a.rsa.pub", pem.as_bytes()), Err(KeyError::Pem("PUBLIC KEY")));
        }
        let not_rsa = write_pem(b"not a key", "PUBLIC KEY");
        assert!(matches!(ring.insert("a.rsa.pub", not_rsa.as_bytes()), Err(KeyError::Rsa(_))));
        assert_eq!(ring.names().count(), 0);
        ring.insert("a.rsa.pub", pem.as_bytes()).unwrap();
        assert_eq!(ring.names().collect::<Vec<_>>(), ["a.rsa.pub"]);
    }

    proptest! {
        #[test]
        fn arbitrary_files_never_panic(bytes: Vec<u8>, body in "[A-Za-z0-9+/=\n]{0,200}") {
            let _ = PublicKey::from_pem(&bytes);
            let _ = PublicKey::from_pem(format!("-----BEGIN PUBLIC KEY-----{body}-----END PUBLIC KEY-----").as_bytes());
            let _ = SigningKey::from_pem(format!("-----BEGIN PRIVATE KEY-----{body}-----END PRIVATE KEY-----").as_bytes());
        }
    }
}
