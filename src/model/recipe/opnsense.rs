//! OPNsense and pfSense. Their forms for network booting do not tell iPXE from firmware (but for one form of older
//! OPNsense), and iPXE would load itself again and again; so the lines go past the forms.

use std::fmt::Write as _;

use super::{Client, Recipe, dnsmasq, kea};
use crate::model::firmware::{Firmware, Transport};

/// What goes where, for each DHCP server these two have.
pub(super) fn file(recipe: &Recipe) -> String {
    let mut text = format!(
        "# Machines boot from Bivouac at {address}. Leave \"Network booting\" off everywhere but where it is named here.\n\n\
         # OPNsense with Dnsmasq as DHCP server: this as the file /usr/local/etc/dnsmasq.conf.d/bivouac.conf; then restart\n\
         # Dnsmasq in Services > Dnsmasq DNS & DHCP.\n\n\
         {dnsmasq}\n\
         # pfSense with Kea: this object in Services > DHCP Server > Settings > Custom Configuration > JSON Configuration.\n\n\
         {kea}\n\n\
         # OPNsense with ISC DHCPv4: Services > ISC DHCPv4 > [interface] > Network booting.\n\n",
        address = recipe.address,
        dnsmasq = dnsmasq::lines(recipe),
        kea = kea::object(recipe),
    );
    // Writing to a `String` cannot fail.
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(text, "# {name}: {value}");
    };
    field("Set next-server IP", &recipe.address.to_string());
    for (name, firmware) in [
        ("Set default bios filename", Firmware::BiosX86),
        ("Set x86 UEFI (32-bit) filename", Firmware::EfiIa32),
        ("Set x64 UEFI/EBC (64-bit) filename", Firmware::EfiX64),
        ("Set ARM UEFI (64-bit) filename", Firmware::EfiArm64),
    ] {
        let is_meant = |client: &&Client| client.firmware == firmware && client.transport == Transport::Pxe;
        if let Some(client) = recipe.clients.iter().find(is_meant) {
            field(name, &client.file);
        }
    }
    field("Set iPXE boot filename", &recipe.script);
    text.push_str(
        "\n# OPNsense with Kea, and pfSense with ISC: their forms cannot tell iPXE from firmware. Use Dnsmasq or Kea as above,\n\
         # or let Bivouac answer beside them: `[dhcp] mode = \"proxy\"` in its site file, and nothing here.\n",
    );
    text
}
