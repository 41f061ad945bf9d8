//! Kea (Kea Administrator Reference Manual, "Client Classification").

use serde::Serialize;

use super::{Client, Recipe};

/// iPXE, by its own option or its user class: plain text, or with a length before it (RFC 3004).
const IPXE: &str = "option[175].exists or substring(option[77].hex,-4,all) == 'iPXE'";

/// The name of iPXE's class.
const IPXE_CLASS: &str = "bivouac-ipxe";

#[derive(Serialize)]
struct Classes {
    #[serde(rename = "client-classes")]
    classes: Vec<Class>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Class {
    name: String,
    test: String,
    next_server: String,
    server_hostname: String,
    boot_file_name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    option_data: Vec<OptionData>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct OptionData {
    code: u8,
    /// Whether `data` is text of the option's own form, not hexadecimal digits.
    csv_format: bool,
    data: &'static str,
    always_send: bool,
}

/// A member of `Dhcp4` in `kea-dhcp4.conf`.
pub(super) fn file(recipe: &Recipe) -> String {
    let object = object(recipe);
    // The member without the braces around it, as it stands among others.
    let member: String = object
        .lines()
        .filter(|line| line.starts_with(' '))
        .map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line)))
        .collect();
    format!(
        "// Machines boot from Bivouac at {}. Into \"Dhcp4\" {{ }} of kea-dhcp4.conf, with a comma behind it when more\n\
         // follows; to classes that are there, add these. Then restart.\n\n{member}",
        recipe.address
    )
}

/// The classes as a JSON object.
pub(super) fn object(recipe: &Recipe) -> String {
    let class = |name: String, test: String, file: &str, option_data: Vec<OptionData>| Class {
        name,
        test,
        next_server: recipe.address.to_string(),
        server_hostname: recipe.address.to_string(),
        boot_file_name: file.to_owned(),
        option_data,
    };
    // 175.176, so that iPXE does not wait for a second server.
    let alone = OptionData { code: 175, csv_format: false, data: "B00101", always_send: false };
    let mut classes = vec![class(IPXE_CLASS.to_owned(), IPXE.to_owned(), &recipe.script, vec![alone])];
    classes.extend(recipe.clients.iter().map(|client| {
        let vendor_class = OptionData { code: 60, csv_format: true, data: "HTTPClient", always_send: true };
        let options = client.is_http().then_some(vendor_class).into_iter().collect();
        class(format!("bivouac-{}", client.tag()), test(client), &client.file, options)
    }));
    // A structure of texts has a JSON form.
    serde_json::to_string_pretty(&Classes { classes }).unwrap_or_default()
}

fn test(client: &Client) -> String {
    let is = |code: &u16| format!("substring(option[93].hex,0,2) == {code:#06x}");
    let codes = client.codes.iter().map(is).collect::<Vec<String>>().join(" or ");
    format!("not member('{IPXE_CLASS}') and ({codes})")
}
