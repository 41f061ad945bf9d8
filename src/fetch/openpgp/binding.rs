//! What a primary key says about itself and its subkeys (RFC 4880, section 5.2.1).

use super::{
    components::Component,
    error::SubkeyFault,
    public_key::PublicKey,
    signature::{Signature, kind},
};

/// Whether the primary key revokes a component. What cannot be read counts as a revocation, because to overlook one is
/// worse than to refuse a key; what can be read and is not by the primary key does not.
pub(super) fn revoked(component: &Component<'_>, kind: u8, primary: &PublicKey, texts: &[&[u8]]) -> bool {
    component.signatures_of(kind).any(|body| match Signature::parse(body) {
        Ok(signature) => primary.signed(&signature, texts),
        Err(_) => true,
    })
}

/// Whether a subkey counts: its primary key has to let it sign, and it has to say that it belongs to that key, because
/// anybody could present another's subkey as their own.
pub(super) fn check_subkey(
    primary: &PublicKey,
    subkey: &PublicKey,
    component: &Component<'_>,
) -> Result<(), SubkeyFault> {
    let texts = [primary.hashed(), subkey.hashed()];
    if revoked(component, kind::SUBKEY_REVOCATION, primary, &texts) {
        return Err(SubkeyFault::Revoked);
    }
    let binding = component
        .signatures_of(kind::SUBKEY_BINDING)
        .filter_map(|body| Signature::parse(body).ok())
        .filter(|signature| primary.signed(signature, &texts))
        .max_by_key(|signature| signature.subpackets().created)
        .ok_or(SubkeyFault::Unbound)?;
    if !binding.subpackets().allow_signing() {
        return Err(SubkeyFault::NotForSigning);
    }
    let vouches = |body: &[u8]| {
        Signature::parse(body).is_ok_and(|back| back.kind() == kind::PRIMARY_BINDING && subkey.signed(&back, &texts))
    };
    if binding.subpackets().embedded.as_deref().is_some_and(vouches) {
        Ok(())
    } else {
        Err(SubkeyFault::NoBackSignature)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        armor,
        error::ReleaseKeyError,
        fingerprint::Fingerprint,
        fixtures::{Forger, binary, fingerprint, fixture, packet, position},
        packet::read_packets,
        release_key::ReleaseKey,
    };
    use super::*;

    /// How the signature of a subkey over its primary key starts in `subkey.asc`: an embedded one of version 4.
    const BACK_SIGNATURE: &[u8] = &[32, 4, 0x19, 22];

    /// The subpacket with the flag of a key that may sign.
    const MAY_SIGN: &[u8] = &[2, 27, 2];

    fn faults(file: &[u8]) -> Vec<(Fingerprint, SubkeyFault)> {
        let key = ReleaseKey::parse(file).unwrap();
        key.refused.iter().map(|(subkey, fault)| (subkey.fingerprint(), *fault)).collect()
    }

    fn subkeys(file: &[u8]) -> Vec<Fingerprint> {
        ReleaseKey::parse(file).unwrap().subkeys.iter().map(PublicKey::fingerprint).collect()
    }

    #[test]
    fn a_revoked_key_is_refused() {
        let revoked = ReleaseKeyError::Revoked(fingerprint("rsa"));
        assert_eq!(ReleaseKey::parse(&fixture("rsa-revoked.asc")).unwrap_err(), revoked);
        let mut file = binary("rsa-revoked.asc", armor::PUBLIC_KEY);
        let revocation = position(&file, &[4, 0x20, 1]);
        // One that uses SHA-1 cannot be verified, and counts.
        let hash = std::mem::replace(&mut file[revocation + 3], 2);
        assert_eq!(ReleaseKey::parse(&file).unwrap_err(), revoked);
        // One that is not by the key does not: anybody can add one.
        file[revocation + 3] = hash;
        file[revocation + 100] ^= 1;
        assert_eq!(ReleaseKey::parse(&file).unwrap().fingerprint(), fingerprint("rsa"));
    }

    #[test]
    fn signing_subkeys_are_used_and_those_for_encryption_are_not() {
        let file = fixture("subkey.asc");
        assert_eq!(subkeys(&file), [fingerprint("subkey-rsa"), fingerprint("subkey-ed25519")]);
        assert_eq!(faults(&file), []);
    }

    #[test]
    fn a_revoked_subkey_is_not_used() {
        let mut file = binary("subkey-revoked.asc", armor::PUBLIC_KEY);
        assert_eq!(subkeys(&file), [fingerprint("subkey-ed25519")]);
        assert_eq!(faults(&file), [(fingerprint("subkey-rsa"), SubkeyFault::Revoked)]);
        let revocation = position(&file, &[4, 0x28, 22]);
        let hash = std::mem::replace(&mut file[revocation + 3], 2);
        assert_eq!(faults(&file), [(fingerprint("subkey-rsa"), SubkeyFault::Revoked)]);
        file[revocation + 3] = hash;
        file[revocation + 80] ^= 1;
        assert_eq!(faults(&file), []);
    }

    #[test]
    fn a_subkey_needs_a_good_signature_of_its_own_over_the_primary_key() {
        let file = binary("subkey.asc", armor::PUBLIC_KEY);
        let start = position(&file, BACK_SIGNATURE);
        // It stands among the unhashed subpackets, so the primary key's signature stays good: it is removed by making it
        // a subpacket of no meaning, damaged, and given the type of a signature over a file.
        for (offset, value) in [(0, 100), (60, !file[start + 60]), (2, 0)] {
            let mut damaged = file.clone();
            damaged[start + offset] = value;
            assert_eq!(subkeys(&damaged), [fingerprint("subkey-rsa")]);
            assert_eq!(faults(&damaged), [(fingerprint("subkey-ed25519"), SubkeyFault::NoBackSignature)]);
        }
    }

    #[test]
    fn the_newest_binding_of_a_subkey_counts_in_any_order() {
        let (old, new) = (binary("subkey.asc", armor::PUBLIC_KEY), binary("subkey-changed.asc", armor::PUBLIC_KEY));
        // Both files end with the one binding of the Ed25519 subkey, after a header of two bytes.
        let start = |file: &[u8]| file.len() - read_packets(file).unwrap().last().unwrap().body.len() - 2;
        let bindings = [&old[start(&old)..], &new[start(&new)..]];
        for several in [bindings.concat(), [bindings[1], bindings[0]].concat()] {
            let file = [&old[..start(&old)], &several].concat();
            assert_eq!(subkeys(&file), [fingerprint("subkey-rsa")]);
            assert_eq!(faults(&file), [(fingerprint("subkey-ed25519"), SubkeyFault::NotForSigning)]);
        }
    }

    #[test]
    fn a_subkey_of_somebody_else_is_not_used() {
        let other = binary("subkey.asc", armor::PUBLIC_KEY);
        let packets = read_packets(&other).unwrap();
        let first = packets.iter().find(|packet| packet.tag == 14).unwrap();
        // The header before the body has three bytes: more than 255 follow.
        let start = first.body.as_ptr() as usize - other.as_ptr() as usize - 3;
        let file = [fixture("rsa.gpg"), other[start..].to_vec()].concat();
        assert_eq!(subkeys(&file), []);
        let stolen = |name| (fingerprint(name), SubkeyFault::Unbound);
        assert_eq!(faults(&file), [stolen("subkey-rsa"), stolen("subkey-ed25519")]);
    }

    /// A primary key, its subkey, and the subkey's signature over it, of which one thing can be wrong.
    fn forged(back_kind: u8, hashed: &[u8], unhashed: &[u8], more: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let (primary, subkey) = (Forger::new(1), Forger::new(2));
        let texts = [primary.hashed(), subkey.hashed()].concat();
        let back = subkey.sign(back_kind, &[], &[], &texts);
        let length = u8::try_from(back.len() + 1).unwrap();
        let unhashed = [unhashed, &[length, 32], &back].concat();
        let binding = primary.sign(kind::SUBKEY_BINDING, hashed, &unhashed, &texts);
        let packets = [(6, primary.key()), (14, subkey.key()), (2, binding)];
        packets.iter().chain(more).flat_map(|(tag, body)| packet(*tag, body)).collect()
    }

    #[test]
    fn a_signature_of_a_file_does_not_vouch_for_a_primary_key() {
        assert_eq!(subkeys(&forged(kind::PRIMARY_BINDING, MAY_SIGN, &[], &[])).len(), 1);
        let [(_, fault)] = faults(&forged(kind::BINARY, MAY_SIGN, &[], &[]))[..] else { panic!("it counts") };
        assert_eq!(fault, SubkeyFault::NoBackSignature);
    }

    #[test]
    fn only_what_the_primary_key_signs_lets_a_subkey_sign() {
        let [(_, fault)] = faults(&forged(kind::PRIMARY_BINDING, &[], MAY_SIGN, &[]))[..] else { panic!("it counts") };
        assert_eq!(fault, SubkeyFault::NotForSigning);
    }

    #[test]
    fn a_revocation_of_the_key_counts_wherever_it_stands() {
        let key = Forger::new(1);
        let revocation = key.sign(kind::KEY_REVOCATION, &[], &[], &key.hashed());
        let file = forged(kind::PRIMARY_BINDING, MAY_SIGN, &[], &[(2, revocation)]);
        assert!(matches!(ReleaseKey::parse(&file), Err(ReleaseKeyError::Revoked(_))));
    }
}
