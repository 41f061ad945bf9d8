//! The DHCP server of Windows Server (PowerShell module `DhcpServer`).

use std::fmt::Write as _;

use super::{Client, Recipe};

/// The name of iPXE's class and policy.
const IPXE: &str = "Bivouac iPXE";

/// PowerShell commands.
pub(super) fn file(recipe: &Recipe) -> String {
    let Recipe { address, script, clients } = recipe;
    let mut text = format!(
        "# Machines boot from Bivouac at {address}. Into a PowerShell of an administrator on the DHCP server (2012 or newer).\n\
         # For one scope only, add -ScopeId to the Policy and OptionValue lines. Take out options 60, 66 and 67 that are set.\n\n\
         # iPXE, by its user class, is told its script and never a loader again.\n\
         Add-DhcpServerv4Class -Name '{IPXE}' -Type User -Data 'iPXE'\n\
         Add-DhcpServerv4Policy -Name '{IPXE}' -Condition OR -UserClass EQ,'{IPXE}'\n"
    );
    options(&mut text, IPXE, &address.to_string(), script);
    if clients.iter().any(Client::is_http) {
        text += "\n# Option 60, by which firmware knows an answer to HTTP Boot; Windows has none of its own.\n\
                 if (-not (Get-DhcpServerv4OptionDefinition -OptionId 60 -ErrorAction SilentlyContinue)) {\n  \
                 Add-DhcpServerv4OptionDefinition -OptionId 60 -Name 'Vendor class' -Type String\n}\n";
    }
    for client in clients {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "\n# {client}");
        let kind = if client.is_http() { "HTTPClient" } else { "PXEClient" };
        // One policy for each code: what several values of one condition mean beside another condition is not written
        // down anywhere.
        for code in &client.codes {
            let name = format!("Bivouac {client} {code}");
            let _ = writeln!(text, "Add-DhcpServerv4Class -Name '{name}' -Type Vendor -Data '{kind}:Arch:{code:05}'");
            let _ = writeln!(
                text,
                "Add-DhcpServerv4Policy -Name '{name}' -Condition AND -VendorClass EQ,'{name}*' -UserClass NE,'{IPXE}'"
            );
            options(&mut text, &name, &address.to_string(), &client.file);
            if client.is_http() {
                let _ =
                    writeln!(text, "Set-DhcpServerv4OptionValue -PolicyName '{name}' -OptionId 60 -Value 'HTTPClient'");
            }
        }
    }
    text
}

/// What a policy answers: the server and the file.
fn options(text: &mut String, policy: &str, address: &str, file: &str) {
    let _ = writeln!(text, "Set-DhcpServerv4OptionValue -PolicyName '{policy}' -OptionId 66 -Value '{address}'");
    let _ = writeln!(text, "Set-DhcpServerv4OptionValue -PolicyName '{policy}' -OptionId 67 -Value '{file}'");
}
