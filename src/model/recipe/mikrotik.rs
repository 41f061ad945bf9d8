//! `MikroTik` `RouterOS` ("DHCP", sections "DHCP Options" and "Generic matcher").

use std::fmt::Write as _;

use super::Recipe;

/// Commands of the terminal.
pub(super) fn file(recipe: &Recipe) -> String {
    let Recipe { address, script, clients } = recipe;
    let mut text = format!(
        "# Machines boot from Bivouac at {address}. Into the terminal of RouterOS 7.16 or newer. The first line is for every\n\
         # network of the router; `find address=10.0.0.0/24` makes it one.\n\n\
         /ip dhcp-server network set [find] next-server={address}\n\n\
         # iPXE, by its user class, is told its script and never a loader again: its matcher comes first.\n"
    );
    let ipxe = ["\"iPXE\"".to_owned()];
    Answer { name: "bivouac-ipxe", code: 77, kind: "substring", values: &ipxe, file: script, class: None }
        .put(&mut text);
    for client in clients {
        let (name, file) = (format!("bivouac-{}", client.tag()), &client.file);
        let values: Vec<String> = client.codes.iter().map(|code| format!("{code:#06x}")).collect();
        let class = client.is_http().then_some("HTTPClient");
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "\n# {client}");
        Answer { name: &name, code: 93, kind: "exact", values: &values, file, class }.put(&mut text);
    }
    text
}

/// A set of options, and whom it is for.
struct Answer<'a> {
    name: &'a str,
    /// The option of the client that is looked at, how, and for what.
    code: u8,
    kind: &'a str,
    values: &'a [String],
    /// Option 67 of the answer.
    file: &'a str,
    /// Option 60 of the answer.
    class: Option<&'a str>,
}

impl Answer<'_> {
    fn put(&self, text: &mut String) {
        let Self { name, code, kind, values, file, class } = self;
        let mut options = (*name).to_owned();
        let _ = writeln!(text, "/ip dhcp-server option add name={name} code=67 force=yes value=\"s'{file}'\"");
        if let Some(class) = class {
            let _ =
                writeln!(text, "/ip dhcp-server option add name={name}-class code=60 force=yes value=\"s'{class}'\"");
            options += &format!(",{name}-class");
        }
        let _ = writeln!(text, "/ip dhcp-server option sets add name={name} options={options}");
        for (number, value) in (1..).zip(*values) {
            let _ = writeln!(
                text,
                "/ip dhcp-server matcher add name={name}-{number} server=all code={code} matching-type={kind} value={value} option-set={name}"
            );
        }
    }
}
