//! ISC dhcpd (dhcpd.conf(5), dhcp-eval(5)).

use std::fmt::Write as _;

use super::Recipe;

/// Lines of `dhcpd.conf`.
pub(super) fn file(recipe: &Recipe) -> String {
    let Recipe { address, script, clients } = recipe;
    // `suffix` takes the user class of iPXE, which is plain text, and one with a length before it (RFC 3004).
    let mut text = format!(
        "# Machines boot from Bivouac at {address}. Into dhcpd.conf, outside of subnet {{ }}; then restart.\n\
         # Take out other `filename` and `next-server` lines: those of a subnet would win.\n\n\
         option bivouac-architecture code 93 = array of unsigned integer 16;\n\
         option space ipxe;\n\
         option ipxe-encap-opts code 175 = encapsulate ipxe;\n\
         option ipxe.no-pxedhcp code 176 = unsigned integer 8;\n\
         next-server {address};\n\
         server-name \"{address}\";\n\n\
         # iPXE, by its own option or its user class, is told its script and never a loader again.\n\
         if exists ipxe-encap-opts or suffix(option user-class, 4) = \"iPXE\" {{\n  \
           option ipxe.no-pxedhcp 1;\n  \
           filename \"{script}\";\n\
         }}"
    );
    for client in clients {
        let is = |code: &u16| {
            let [high, low] = code.to_be_bytes();
            // Firmware may list several; what it names first it is.
            format!("substring(option bivouac-architecture, 0, 2) = {high:02x}:{low:02x}")
        };
        let condition = client.codes.iter().map(is).collect::<Vec<String>>().join(" or ");
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, " elsif {condition} {{\n  # {client}");
        if client.is_http() {
            let _ = writeln!(text, "  option vendor-class-identifier \"HTTPClient\";");
        }
        let _ = write!(text, "  filename \"{}\";\n}}", client.file);
    }
    text.push('\n');
    text
}
