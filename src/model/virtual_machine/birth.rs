//! Who a new virtual machine is: names with numbers, and the address, UUID and serial number that come of a name.
//!
//! All of it follows from where the machine is made and what it is called, and from nothing else: a command that is
//! repeated means the same machines, and one that is made anew under its old name is the machine it was.

use super::VirtualMachine;
use crate::model::digest::Hasher;
use crate::model::mac::Mac;
use crate::model::virtual_machine::VmId;

/// A name, and what a machine of that name says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Birth {
    /// The name; its serial number too, so that a person finds it by that everywhere.
    pub name: String,
    /// The address of its network card.
    pub mac: Mac,
    /// Its SMBIOS UUID, in lower case.
    pub uuid: String,
}

/// `PREFIX-01`, `PREFIX-02` … of `count` machines.
pub fn numbered(prefix: &str, count: u16) -> impl Iterator<Item = String> + '_ {
    (1..=count).map(move |number| format!("{prefix}-{number:02}"))
}

impl Birth {
    /// The machine `name` of the cluster `place`.
    #[must_use]
    pub fn of(place: &str, name: String) -> Self {
        let mut hasher = Hasher::default();
        for part in ["bivouac virtual machine", place, &name] {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        let digest = hasher.finish();
        let [a, b, c, d, e, f, rest @ ..] = *digest.as_bytes();
        // One card's address, administered locally (IEEE 802, section 8.4).
        let mac = Mac([a & 0xfc | 0x02, b, c, d, e, f]);
        let mut id = [0; 16];
        id.iter_mut().zip(rest).for_each(|(byte, of)| *byte = of);
        // RFC 9562, version 8: bits of one's own.
        id[6] = id[6] & 0x0f | 0x80;
        id[8] = id[8] & 0x3f | 0x80;
        let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let uuid = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-");
        Self { name, mac, uuid }
    }

    /// The virtual machine, under a number.
    #[must_use]
    pub fn as_vm(&self, id: VmId) -> VirtualMachine {
        let (name, uuid) = (self.name.clone(), Some(self.uuid.clone()));
        VirtualMachine { id, serial: Some(name.clone()), name, uuid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_at_the_same_place_is_the_same_machine() {
        let born = |place: &str, name: &str| Birth::of(place, name.to_owned());
        assert_eq!(born("pve", "thin-01"), born("pve", "thin-01"));
        assert_ne!(born("pve", "thin-01").mac, born("pve", "thin-02").mac);
        assert_ne!(born("pve", "thin-01").uuid, born("other", "thin-01").uuid);
        for name in numbered("thin", 300) {
            let Birth { mac, uuid, .. } = born("pve", &name);
            assert!(mac.is_unicast() && mac.0[0] & 2 == 2, "{mac}");
            assert_eq!((uuid.len(), &uuid[14..15]), (36, "8"));
        }
        assert_eq!(numbered("a", 2).chain(numbered("b", 100).skip(99)).collect::<Vec<_>>(), ["a-01", "a-02", "b-100"]);
    }
}
