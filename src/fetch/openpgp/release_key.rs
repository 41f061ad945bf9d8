//! The keys that are trusted: each a primary key that was pinned, and its subkeys that may sign.

use std::{collections::BTreeMap, fmt, iter};

use super::{
    armor,
    binding::{check_subkey, revoked},
    components::Components,
    error::{FormatError, ReleaseKeyError, SubkeyFault},
    fingerprint::Fingerprint,
    packet::read_packets,
    public_key::PublicKey,
    signature::kind,
    subpacket::Issuer,
};

/// One key that release files may be signed with: a primary key, and those of its subkeys that may sign.
///
/// The primary key needs no signature by itself, since it is pinned. A subkey needs one by its primary key that lets it
/// sign, the newest counting, and within that one of its own (RFC 4880, section 5.2.1, types 0x18 and 0x19).
#[derive(Debug, Clone)]
pub struct ReleaseKey {
    primary: PublicKey,
    pub(super) subkeys: Vec<PublicKey>,
    /// Subkeys that do not count, so that an error can say so.
    pub(super) refused: Vec<(PublicKey, SubkeyFault)>,
    user_id: String,
}

impl ReleaseKey {
    /// Reads a public key file, armored or binary, as `gpg --export` writes it.
    ///
    /// # Errors
    ///
    /// [`ReleaseKeyError`] where the file is longer than 64 KiB, is no key or several, or the
    /// key is of a kind that is not used or is revoked. A revocation that cannot be verified, such as one with SHA-1,
    /// counts; one by somebody else whom the key names for that is not looked for.
    pub fn parse(file: &[u8]) -> Result<Self, ReleaseKeyError> {
        let packets = armor::dearmor(file, armor::PUBLIC_KEY).map_err(|error| match error {
            FormatError::Block { found, .. } if found == "PRIVATE KEY BLOCK" => ReleaseKeyError::Private,
            other => other.into(),
        })?;
        let components = Components::of(&read_packets(&packets)?)?;
        let primary = PublicKey::parse(components.primary.body)?;
        let revokes = |component| revoked(component, kind::KEY_REVOCATION, &primary, &[primary.hashed()]);
        if iter::once(&components.primary).chain(&components.subkeys).any(revokes) {
            return Err(ReleaseKeyError::Revoked(primary.fingerprint()));
        }
        let mut key =
            Self { primary, subkeys: Vec::new(), refused: Vec::new(), user_id: components.user_id.unwrap_or_default() };
        for component in &components.subkeys {
            // A subkey for encryption often has an algorithm that is not known here.
            let Ok(subkey) = PublicKey::parse(component.body) else { continue };
            match check_subkey(&key.primary, &subkey, component) {
                Ok(()) => key.subkeys.push(subkey),
                Err(fault) => key.refused.push((subkey, fault)),
            }
        }
        Ok(key)
    }

    /// Reads a public key file like [`Self::parse`], and compares its fingerprint with the pinned one.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`], and [`ReleaseKeyError::Other`] where the file holds another key.
    pub fn parse_pinned(file: &[u8], expected: Fingerprint) -> Result<Self, ReleaseKeyError> {
        let key = Self::parse(file)?;
        match key.fingerprint() {
            found if found == expected => Ok(key),
            found => Err(ReleaseKeyError::Other { expected, found }),
        }
    }

    /// The fingerprint of the primary key, which is what people compare.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.primary.fingerprint()
    }

    /// The key's first user ID for display, such as `Natanael Copa <ncopa@alpinelinux.org>`, without control characters
    /// and shortened; empty where there is none. Nothing vouches for it.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The keys among primary and signing subkeys that a signature may mean.
    pub(super) fn named(&self, issuer: &Issuer) -> impl Iterator<Item = &PublicKey> {
        iter::once(&self.primary).chain(&self.subkeys).filter(move |key| key.is_named_by(issuer))
    }

    /// The subkey a signature means, where it does not count.
    pub(super) fn refused(&self, issuer: &Issuer) -> Option<(Fingerprint, SubkeyFault)> {
        let found = self.refused.iter().find(|(subkey, _)| subkey.is_named_by(issuer));
        found.map(|(subkey, fault)| (subkey.fingerprint(), *fault))
    }
}

impl fmt::Display for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user_id.as_str() {
            "" => self.fingerprint().fmt(f),
            user_id => write!(f, "{} ({user_id})", self.fingerprint()),
        }
    }
}

/// The keys that are trusted, by fingerprint.
#[derive(Debug, Clone, Default)]
pub struct ReleaseKeys(BTreeMap<Fingerprint, ReleaseKey>);

impl ReleaseKeys {
    /// Trusts nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts a key; one with the same fingerprint is replaced.
    pub fn insert(&mut self, key: ReleaseKey) {
        self.0.insert(key.fingerprint(), key);
    }

    /// The keys, by ascending fingerprint.
    pub fn iter(&self) -> impl Iterator<Item = &ReleaseKey> {
        self.0.values()
    }

    /// Whether no key is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<ReleaseKey> for ReleaseKeys {
    fn from_iter<T: IntoIterator<Item = ReleaseKey>>(keys: T) -> Self {
        Self(keys.into_iter().map(|key| (key.fingerprint(), key)).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{
        FILE_LIMIT, armor,
        fixtures::{binary, fingerprint, fixture, key, position},
    };
    use super::*;

    #[test]
    fn alpines_key_is_read() {
        let file = fixture("../../keys/ncopa.asc");
        let pin: Fingerprint = "0482D84022F52DF1C4E7CD43293ACD0907D9495A".parse().unwrap();
        let key = ReleaseKey::parse_pinned(&file, pin).unwrap();
        assert_eq!(key.user_id(), "Natanael Copa <ncopa@alpinelinux.org>");
        assert_eq!(key.to_string(), format!("{pin} (Natanael Copa <ncopa@alpinelinux.org>)"));
        assert!(key.subkeys.is_empty());
        let [(subkey, SubkeyFault::NotForSigning)] = &key.refused[..] else { panic!("not one for encryption") };
        assert_eq!(subkey.fingerprint().key_id(), [0x9E, 0x2C, 0xE2, 0x9C, 0x63, 0xFE, 0x7A, 0x06]);
    }

    #[test]
    fn keys_made_by_gnupg_are_read_armored_or_binary_though_they_expired() {
        for name in ["rsa", "ed25519", "subkey"] {
            assert_eq!(key(&format!("{name}.asc")).fingerprint(), fingerprint(name));
        }
        let keys: ReleaseKeys = [key("rsa.gpg"), key("ed25519.asc"), key("rsa.asc")].into_iter().collect();
        assert_eq!(keys.iter().count(), 2);
        assert!(!keys.is_empty() && ReleaseKeys::new().is_empty());
    }

    #[test]
    fn only_the_pinned_key_is_taken() {
        let (expected, found) = (fingerprint("ed25519"), fingerprint("rsa"));
        let error = ReleaseKey::parse_pinned(&fixture("rsa.asc"), expected).unwrap_err();
        assert_eq!(error, ReleaseKeyError::Other { expected, found });
        assert_eq!(error.to_string(), format!("the file holds key {found}, and {expected} was expected"));
    }

    #[test]
    fn other_files_and_keys_are_refused_by_name() {
        let refusal = |file: &[u8]| ReleaseKey::parse(file).unwrap_err();
        assert_eq!(refusal(&fixture("two-keys.asc")), ReleaseKeyError::SeveralKeys);
        assert_eq!(refusal(&fixture("short.asc")), ReleaseKeyError::RsaLength(1024));
        assert_eq!(refusal(&fixture("ecdsa.asc")), ReleaseKeyError::Algorithm(19));
        assert_eq!(refusal(&fixture("rsa-sha512.sig")), ReleaseKeyError::NoKey);
        assert_eq!(refusal(b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n"), ReleaseKeyError::Private);
        assert_eq!(refusal(&[0xc5, 0]), ReleaseKeyError::Private);
        let found = FILE_LIMIT + 1;
        assert_eq!(refusal(&vec![0; found]), FormatError::TooLong { found, limit: FILE_LIMIT }.into());
        for version in [3, 5, 6] {
            let mut file = fixture("rsa.gpg");
            file[3] = version;
            assert_eq!(refusal(&file), ReleaseKeyError::Version(version));
        }
    }

    #[test]
    fn a_user_id_cannot_write_to_the_terminal() {
        let mut file = fixture("rsa.gpg");
        let name = position(&file, b"RSA Rel");
        file[name..name + 4].copy_from_slice(b"\x1b\xe2\x80\xae");
        assert_eq!(ReleaseKey::parse(&file).unwrap().user_id(), "Releases <rsa@example.org>");
        file[name..name + 4].copy_from_slice(b"\n\xff\r ");
        assert_eq!(ReleaseKey::parse(&file).unwrap().user_id(), "\u{fffd} Releases <rsa@example.org>");
    }

    #[test]
    fn a_key_that_is_cut_off_anywhere_has_no_more_subkeys_than_before() {
        let file = binary("subkey.asc", armor::PUBLIC_KEY);
        let whole = read_packets(&file).unwrap()[0].body.len() + 2;
        for end in 0..file.len() {
            match ReleaseKey::parse(&file[..end]) {
                Ok(key) => assert!(end >= whole && key.subkeys.len() < 2),
                Err(error) => assert!(matches!(error, ReleaseKeyError::Format(_)), "{error} at {end}"),
            }
        }
        let text = fixture("ed25519.asc");
        for end in 0..text.len() - 1 {
            assert!(matches!(ReleaseKey::parse(&text[..end]), Err(ReleaseKeyError::Format(_))));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            place in any::<proptest::sample::Index>(),
        ) {
            let _ = ReleaseKey::parse(&bytes);
            let file = binary("subkey-revoked.asc", armor::PUBLIC_KEY);
            let place = place.index(file.len());
            let _ = ReleaseKey::parse(&[&file[..place], &bytes, &file[place..]].concat());
        }
    }
}
