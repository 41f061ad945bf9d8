//! dnsmasq (dnsmasq(8), `--dhcp-match`, `--dhcp-boot`).

use std::fmt::Write as _;

use super::Recipe;

/// Lines of `dnsmasq.conf`.
pub(super) fn file(recipe: &Recipe) -> String {
    format!(
        "# Machines boot from Bivouac at {}. Into dnsmasq.conf, beside the dhcp-range lines that are there; then restart.\n\
         # Without other dhcp-boot and pxe-service lines.\n\n{}",
        recipe.address,
        lines(recipe)
    )
}

/// The lines alone.
pub(super) fn lines(recipe: &Recipe) -> String {
    let Recipe { address, script, clients } = recipe;
    // The third value is for ROMs that look at the server's name rather than at its address. 175.176 keeps iPXE from
    // waiting for a second server.
    let mut text = format!(
        "# iPXE, by its own option or its user class, is told its script and never a loader again.\n\
         dhcp-match=set:ipxe,175\n\
         dhcp-userclass=set:ipxe,iPXE\n\
         dhcp-option=tag:ipxe,encap:175,176,1b\n\
         dhcp-boot=tag:ipxe,{script},{address},{address}\n"
    );
    for client in clients {
        let (tag, file) = (client.tag(), &client.file);
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "\n# {client}");
        for code in &client.codes {
            let _ = writeln!(text, "dhcp-match=set:{tag},option:client-arch,{code}");
        }
        if client.is_http() {
            let _ = writeln!(text, "dhcp-option-force=tag:{tag},tag:!ipxe,60,HTTPClient");
        }
        let _ = writeln!(text, "dhcp-boot=tag:{tag},tag:!ipxe,{file},{address},{address}");
    }
    text
}
