//! Signature files, and whether one is good.

use super::{
    armor,
    error::{FormatError, SignatureError},
    fingerprint::Fingerprint,
    hash::FileHashes,
    packet::{read_packets, tag},
    public_key::PublicKey,
    release_key::{ReleaseKey, ReleaseKeys},
    signature::{Signature, kind},
    subpacket::Issuer,
};

/// The most signatures in a file that are looked at.
const LIMIT: usize = 16;

/// What a file is whose signature comes with the signed text.
const INLINE: &str = "a text or file together with its signature";

/// What a file is that was mistaken for a signature.
const KEY: &str = "a public key";

/// The signatures in a detached signature file, such as `alpine-netboot-3.24.1-x86_64.tar.gz.asc`; one or more.
#[derive(Debug, Clone)]
pub struct DetachedSignature(Vec<FileSignature>);

/// A signature of a file's bytes that says whose it is.
#[derive(Debug, Clone)]
struct FileSignature {
    signature: Signature,
    issuer: Issuer,
}

impl DetachedSignature {
    /// Reads a signature file, armored or binary. Among several signatures those of kinds that are not read are skipped.
    ///
    /// # Errors
    ///
    /// [`SignatureError`] where the file is longer than 64 KiB, is no detached signature, is
    /// damaged, or has too many signatures; and why the first one cannot be used, where none can be.
    pub fn parse(file: &[u8]) -> Result<Self, SignatureError> {
        let packets = armor::dearmor(file, armor::SIGNATURE).map_err(|error| match error {
            FormatError::Block { found, .. } if found.ends_with("MESSAGE") => SignatureError::NotDetached(INLINE),
            FormatError::Block { found, .. } if found == armor::PUBLIC_KEY => SignatureError::NotDetached(KEY),
            other => other.into(),
        })?;
        let mut bodies = Vec::new();
        let packets = read_packets(&packets).map_err(|error| match error {
            FormatError::Length(tag) if is_data(tag) => SignatureError::NotDetached(INLINE),
            other => other.into(),
        })?;
        for packet in packets {
            match packet.tag {
                tag::SIGNATURE => bodies.push(packet.body),
                tag::MARKER | tag::PADDING => {}
                data if is_data(data) => return Err(SignatureError::NotDetached(INLINE)),
                tag::PUBLIC_KEY => return Err(SignatureError::NotDetached(KEY)),
                _ => return Err(SignatureError::NotDetached("something else")),
            }
        }
        if bodies.len() > LIMIT {
            return Err(SignatureError::TooMany { found: bodies.len(), limit: LIMIT });
        }
        let (mut usable, mut fault) = (Vec::new(), SignatureError::Empty);
        for body in bodies {
            match FileSignature::parse(body) {
                Ok(signature) => usable.push(signature),
                Err(damaged @ SignatureError::Format(_)) => return Err(damaged),
                Err(other) if fault == SignatureError::Empty => fault = other,
                Err(_) => {}
            }
        }
        if usable.is_empty() { Err(fault) } else { Ok(Self(usable)) }
    }

    /// Checks that some signature says it is by a trusted key, which can be done before the file is downloaded. It proves
    /// nothing: [`Self::verify`] does.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Untrusted`] or [`SignatureError::Subkey`] where none does.
    pub fn check_issuers(&self, keys: &ReleaseKeys) -> Result<(), SignatureError> {
        let named = self.0.iter().any(|signature| candidates(keys, &signature.issuer).next().is_some());
        if named { Ok(()) } else { Err(self.untrusted(keys)) }
    }

    /// Verifies the file that went through `file`, and returns the fingerprint of the primary key that signed it.
    ///
    /// It is good when one signature is good and by a trusted key, and none that names a trusted key is bad. Signatures by
    /// others are not looked at.
    ///
    /// # Errors
    ///
    /// [`SignatureError`]: no trusted key signed, or a signature does not fit the file.
    pub fn verify(&self, file: &FileHashes, keys: &ReleaseKeys) -> Result<Fingerprint, SignatureError> {
        let mut signer = None;
        for FileSignature { signature, issuer } in &self.0 {
            let mut candidates = candidates(keys, issuer).peekable();
            let Some(named) = candidates.peek().map(|(key, _)| key.fingerprint()) else { continue };
            let digest = signature.finish(file.running(signature.hash()));
            let found = candidates.find(|(_, public_key)| public_key.verifies(signature, &digest));
            let (key, _) = found.ok_or(SignatureError::Mismatch(named))?;
            signer.get_or_insert(key.fingerprint());
        }
        signer.ok_or_else(|| self.untrusted(keys))
    }

    /// When the file was signed, in seconds since 1970, as those who signed it with a trusted key say; the earliest time
    /// where there are several. It counts once [`Self::verify`] has succeeded.
    #[must_use]
    pub fn created(&self, keys: &ReleaseKeys) -> Option<u64> {
        let named = self.0.iter().filter(|it| candidates(keys, &it.issuer).next().is_some());
        named.map(|it| u64::from(it.signature.subpackets().created)).min()
    }

    /// Why no signature is by a trusted key.
    fn untrusted(&self, keys: &ReleaseKeys) -> SignatureError {
        let refused = |key: &ReleaseKey| {
            let (subkey, fault) = self.0.iter().find_map(|signature| key.refused(&signature.issuer))?;
            Some(SignatureError::Subkey { subkey, primary: key.fingerprint(), fault })
        };
        if let Some(error) = keys.iter().find_map(refused) {
            return error;
        }
        let signers: Vec<_> = self.0.iter().map(|signature| signature.issuer.to_string()).collect();
        let trusted: Vec<_> = keys.iter().map(ToString::to_string).collect();
        let trusted = match trusted.as_slice() {
            [] => "no key is trusted".to_owned(),
            [one] => format!("only {one} is trusted"),
            several => format!("only {} are trusted", several.join(", ")),
        };
        SignatureError::Untrusted { signers: signers.join(", "), trusted }
    }
}

/// The trusted keys a signature may mean: one, unless two have the same key ID.
fn candidates<'k>(keys: &'k ReleaseKeys, issuer: &Issuer) -> impl Iterator<Item = (&'k ReleaseKey, &'k PublicKey)> {
    keys.iter().flat_map(move |key| key.named(issuer).map(move |public_key| (key, public_key)))
}

impl FileSignature {
    fn parse(body: &[u8]) -> Result<Self, SignatureError> {
        let signature = Signature::parse(body)?;
        match signature.kind() {
            kind::BINARY => {}
            kind::TEXT => return Err(SignatureError::TextMode),
            other => return Err(SignatureError::Kind(other)),
        }
        let issuer = signature.subpackets().issuer().ok_or(SignatureError::NoIssuer)?;
        Ok(Self { signature, issuer })
    }
}

/// Whether a packet belongs to a text or file that is signed in place.
fn is_data(tag: u8) -> bool {
    matches!(tag, tag::ONE_PASS_SIGNATURE | tag::LITERAL | tag::COMPRESSED)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use proptest::prelude::*;

    use super::super::fixtures::{Forger, binary, fingerprint, fixture, hashes, keys, packet, position};
    use super::*;

    fn verify(signature: &[u8], file: &[u8], keys: &ReleaseKeys) -> Result<Fingerprint, SignatureError> {
        DetachedSignature::parse(signature)?.verify(&hashes(file), keys)
    }

    fn refusal(signature: &[u8]) -> SignatureError {
        DetachedSignature::parse(signature).unwrap_err()
    }

    #[test]
    fn signatures_made_by_gnupg_are_good_though_their_keys_expired() {
        let file = fixture("file.txt");
        for (signature, key) in [
            ("rsa-sha256.asc", "rsa"),
            ("rsa-sha512.asc", "rsa"),
            ("rsa-sha512.sig", "rsa"),
            ("rsa-short.sig", "rsa"),
            ("ed25519.sig", "ed25519"),
            ("ed25519-sha256.asc", "ed25519"),
            ("subkey-rsa-sig.asc", "subkey"),
            ("subkey-ed25519-sig.asc", "subkey"),
        ] {
            let trusted = keys(&["rsa.asc", "ed25519.asc", "subkey.asc"]);
            assert_eq!(verify(&fixture(signature), &file, &trusted), Ok(fingerprint(key)), "{signature}");
        }
    }

    #[test]
    fn a_changed_file_is_refused() {
        let trusted = keys(&["rsa.asc", "ed25519.asc"]);
        let file = fixture("file.txt");
        for (signature, key) in [("rsa-sha512.sig", "rsa"), ("ed25519.sig", "ed25519")] {
            for changed in [b"".to_vec(), [&file[..], b"\n"].concat(), file[1..].to_vec()] {
                let error = SignatureError::Mismatch(fingerprint(key));
                assert_eq!(verify(&fixture(signature), &changed, &trusted), Err(error));
            }
        }
    }

    #[test]
    fn a_signature_changed_in_any_byte_is_refused_but_for_its_unsigned_part() {
        let (file, trusted) = (fixture("file.txt"), keys(&["rsa.asc", "ed25519.asc"]));
        for name in ["rsa-sha512.sig", "ed25519.sig"] {
            let signature = fixture(name);
            // The length of the unhashed area, and the key ID in it.
            let unsigned = position(&signature, &[0, 10, 9, 16]);
            for place in (0..unsigned).chain(unsigned + 12..signature.len()) {
                let mut changed = signature.clone();
                changed[place] ^= 0x80;
                assert!(verify(&changed, &file, &trusted).is_err(), "{name}, byte {place}");
            }
            assert_eq!(refusal(&[&signature[..], b"\n"].concat()), FormatError::Header(b'\n').into());
        }
    }

    #[test]
    fn a_signature_by_another_key_is_refused_with_both_keys_named() {
        let (file, signature) = (fixture("file.txt"), fixture("rsa-sha512.asc"));
        let (rsa, ed25519) = (fingerprint("rsa"), fingerprint("ed25519"));
        let trusted = keys(&["ed25519.asc"]);
        let error = verify(&signature, &file, &trusted).unwrap_err();
        let expected = format!(
            "the file is signed by key {rsa}, and only {ed25519} (Ed25519 Releases <ed25519@example.org>) is trusted"
        );
        assert_eq!(error.to_string(), expected);
        let parsed = DetachedSignature::parse(&signature).unwrap();
        assert_eq!(parsed.check_issuers(&trusted), Err(error));
        assert_eq!(parsed.check_issuers(&keys(&["rsa.asc"])), Ok(()));
        let nobody = parsed.verify(&hashes(&file), &ReleaseKeys::new()).unwrap_err();
        assert_eq!(nobody.to_string(), format!("the file is signed by key {rsa}, and no key is trusted"));
    }

    #[test]
    fn a_signature_that_claims_to_be_by_a_trusted_key_is_refused() {
        let mut signature = fixture("ed25519.sig");
        let issuer = position(&signature, fingerprint("ed25519").as_bytes());
        signature[issuer..issuer + 20].copy_from_slice(fingerprint("rsa").as_bytes());
        let error = SignatureError::Mismatch(fingerprint("rsa"));
        assert_eq!(verify(&signature, &fixture("file.txt"), &keys(&["rsa.asc"])), Err(error));
    }

    #[test]
    fn a_signature_by_a_revoked_subkey_is_refused_and_says_so() {
        let (file, trusted) = (fixture("file.txt"), keys(&["subkey-revoked.asc"]));
        let error = verify(&fixture("subkey-rsa-sig.asc"), &file, &trusted).unwrap_err();
        let (subkey, primary) = (fingerprint("subkey-rsa"), fingerprint("subkey"));
        let expected = format!(
            "the file is signed by key {subkey}, a subkey of the trusted key {primary}, which is not used: it is revoked"
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!(verify(&fixture("subkey-ed25519-sig.asc"), &file, &trusted), Ok(primary));
    }

    #[test]
    fn signatures_of_other_kinds_are_refused_by_name() {
        assert_eq!(refusal(&fixture("rsa-sha1.asc")), SignatureError::Hash(2));
        let sha1 = "the signature uses SHA-1; SHA-256 or SHA-512 was expected";
        assert_eq!(refusal(&fixture("rsa-sha1.asc")).to_string(), sha1);
        assert_eq!(refusal(&fixture("rsa-sha384.asc")), SignatureError::Hash(9));
        assert_eq!(refusal(&fixture("rsa-text.asc")), SignatureError::TextMode);
        assert_eq!(refusal(&fixture("rsa-clear.asc")), SignatureError::NotDetached(INLINE));
        assert_eq!(refusal(&fixture("rsa-inline.sig")), SignatureError::NotDetached(INLINE));
        assert_eq!(refusal(&fixture("rsa.asc")), SignatureError::NotDetached(KEY));
        assert_eq!(refusal(&fixture("rsa.gpg")), SignatureError::NotDetached(KEY));
        // A notation is never understood, and this one is critical.
        assert_eq!(refusal(&fixture("rsa-notation.asc")), SignatureError::Critical(20));
        assert_eq!(refusal(&fixture("ecdsa-sig.asc")), SignatureError::Algorithm(19));
        let page = refusal(b"<html>404 Not Found</html>");
        assert_eq!(page.to_string(), "the file is not an OpenPGP signature");
        let reason = "it has neither a line `-----BEGIN PGP SIGNATURE-----` nor OpenPGP packets";
        assert_eq!(page.source().unwrap().to_string(), reason);
        assert_eq!(refusal(&[0xca, 3, b'P', b'G', b'P']), SignatureError::Empty);
    }

    #[test]
    fn other_versions_and_types_and_a_missing_issuer_are_refused_by_name() {
        let changed = |changes: &[(usize, u8)]| {
            let mut signature = fixture("rsa-sha512.sig");
            changes.iter().for_each(|&(place, value)| signature[place] = value);
            refusal(&signature)
        };
        let signature = fixture("rsa-sha512.sig");
        for version in [3, 5, 6] {
            assert_eq!(changed(&[(3, version)]), SignatureError::Version(version));
        }
        assert_eq!(changed(&[(4, 0x10)]), SignatureError::Kind(0x10));
        let hashed = position(&signature, &[22, 33, 4]) + 1;
        let unhashed = position(&signature, &[0, 10, 9, 16]) + 3;
        assert_eq!(changed(&[(hashed, 100), (unhashed, 100)]), SignatureError::NoIssuer);
        assert_eq!(changed(&[(hashed, 0x80 | 100)]), SignatureError::Critical(100));
        assert_eq!(changed(&[(hashed - 1, 255)]), FormatError::Cut("subpacket of the signature").into());
    }

    #[test]
    fn of_several_signatures_one_by_a_trusted_key_is_needed_and_none_may_be_bad() {
        let file = fixture("file.txt");
        let both = fixture("both.asc");
        assert_eq!(verify(&both, &file, &keys(&["rsa.asc"])), Ok(fingerprint("rsa")));
        assert_eq!(verify(&both, &file, &keys(&["ed25519.asc"])), Ok(fingerprint("ed25519")));
        assert!(verify(&both, &file, &keys(&["rsa.asc", "ed25519.asc"])).is_ok());
        let SignatureError::Untrusted { signers, .. } = verify(&both, &file, &keys(&["subkey.asc"])).unwrap_err()
        else {
            panic!("another error")
        };
        assert!(signers.contains(&fingerprint("rsa").to_string()) && signers.contains(", "));

        let (good, mut bad) = (fixture("ed25519.sig"), fixture("rsa-sha512.sig"));
        *bad.last_mut().unwrap() ^= 1;
        for several in [[&good[..], &bad].concat(), [&bad[..], &good].concat()] {
            let error = SignatureError::Mismatch(fingerprint("rsa"));
            assert_eq!(verify(&several, &file, &keys(&["rsa.asc", "ed25519.asc"])), Err(error));
            // One by a stranger is nobody's business.
            assert_eq!(verify(&several, &file, &keys(&["ed25519.asc"])), Ok(fingerprint("ed25519")));
        }
    }

    #[test]
    fn signatures_that_cannot_be_used_are_skipped_next_to_one_that_can() {
        let (file, trusted) = (fixture("file.txt"), keys(&["rsa.asc"]));
        let sha1 = binary("rsa-sha1.asc", armor::SIGNATURE);
        let text = binary("rsa-text.asc", armor::SIGNATURE);
        let good = fixture("rsa-sha512.sig");
        let several = [&text[..], &sha1, &good].concat();
        assert_eq!(verify(&several, &file, &trusted), Ok(fingerprint("rsa")));
        assert_eq!(refusal(&[&sha1[..], &text].concat()), SignatureError::Hash(2));
        assert!(DetachedSignature::parse(&good.repeat(LIMIT)).is_ok());
        let found = LIMIT + 1;
        assert_eq!(refusal(&good.repeat(found)), SignatureError::TooMany { found, limit: LIMIT });
    }

    #[test]
    fn a_signature_that_is_cut_off_anywhere_is_refused() {
        for (name, spare) in [("rsa-sha512.sig", 0), ("ed25519.sig", 0), ("rsa-sha256.asc", 1)] {
            let signature = fixture(name);
            for end in 1..signature.len() - spare {
                assert!(matches!(refusal(&signature[..end]), SignatureError::Format(_)), "{name} at {end}");
            }
        }
        // Each field of the packet's body, with the packet's length made to fit.
        let signature = fixture("ed25519.sig");
        let body = read_packets(&signature).unwrap()[0].body;
        for end in 0..body.len() {
            let cut = [&[0x88, u8::try_from(end).unwrap()], &body[..end]].concat();
            assert!(matches!(refusal(&cut), SignatureError::Format(FormatError::Cut(_))), "body at {end}");
        }
    }

    #[test]
    fn the_numbers_end_the_packet_and_the_unsigned_part_cannot_make_it_critical() {
        let forger = Forger::new(1);
        // A subpacket of no meaning, critical, and the key ID.
        let unhashed = [&[1, 0x80 | 100, 9, 16][..], &[7; 8]].concat();
        let body = forger.sign(kind::BINARY, &[], &unhashed, b"");
        assert!(DetachedSignature::parse(&packet(2, &body)).is_ok());
        assert_eq!(refusal(&packet(2, &[&body[..], b"??"].concat())), FormatError::Trailing(2).into());
        assert_eq!(refusal(&packet(2, &forger.sign(kind::BINARY, &unhashed, &[], b""))), SignatureError::Critical(100));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn no_bytes_make_it_panic_and_none_are_good(
            bytes in proptest::collection::vec(any::<u8>(), 1..200),
            place in any::<proptest::sample::Index>(),
        ) {
            let trusted = keys(&["ed25519.asc"]);
            prop_assert!(verify(&bytes, b"", &trusted).is_err());
            let signature = fixture("ed25519.sig");
            let place = place.index(signature.len());
            let mixed = [&signature[..place], &bytes, &signature[place..]].concat();
            prop_assert!(verify(&mixed, b"", &trusted).is_err());
        }
    }
}
