//! What another DHCP server has to say so that machines boot from this one: for sites where Bivouac answers no DHCP.
//!
//! One file for each server, which writes the same facts in that server's words. All follow the same order, as
//! `serve::dhcp` does: iPXE is looked for first and sent to its script, so that it is never handed a loader again;
//! then the firmware's architecture decides (netboot.md, D1 and D3). Nothing sends option 60 to PXE clients: with it
//! they would look for a boot server on port 4011, and without it they take the file of a plain answer.

mod dnsmasq;
mod isc;
mod kea;
mod mikrotik;
mod opnsense;
mod windows;

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::model::firmware::{Firmware, Transport};

/// The `file` field holds this much besides its NUL, and every server writes a URL there.
const FILE_SIZE: usize = 127;

/// Servers there are recipes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DhcpServer {
    /// dnsmasq, of routers and small networks.
    Dnsmasq,
    /// ISC dhcpd.
    Isc,
    /// Kea.
    Kea,
    /// OPNsense and pfSense, which have one of the three above behind forms of their own.
    Opnsense,
    /// `MikroTik` `RouterOS`.
    Mikrotik,
    /// The DHCP server of Windows Server.
    Windows,
}

impl DhcpServer {
    /// Every server.
    pub const ALL: [Self; 6] = [Self::Dnsmasq, Self::Isc, Self::Kea, Self::Opnsense, Self::Mikrotik, Self::Windows];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::Isc => "isc",
            Self::Kea => "kea",
            Self::Opnsense => "opnsense",
            Self::Mikrotik => "mikrotik",
            Self::Windows => "windows",
        }
    }

    /// What it is, and where the lines go.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq: lines of dnsmasq.conf",
            Self::Isc => "ISC dhcpd: lines of dhcpd.conf",
            Self::Kea => "Kea: client classes of kea-dhcp4.conf",
            Self::Opnsense => "OPNsense and pfSense: a file of OPNsense, a form of pfSense",
            Self::Mikrotik => "MikroTik RouterOS 7.16 and newer: commands of its terminal",
            Self::Windows => "Windows Server: PowerShell commands",
        }
    }
}

impl fmt::Display for DhcpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for DhcpServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A word that names no server there is a recipe for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no recipe for it; there is one for {}", DhcpServer::ALL.map(DhcpServer::name).join(", "))]
pub struct UnknownServer;

impl FromStr for DhcpServer {
    type Err = UnknownServer;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "pfsense" => Ok(Self::Opnsense),
            word => Self::ALL.into_iter().find(|server| server.name() == word).ok_or(UnknownServer),
        }
    }
}

/// Firmware that boots from this server, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Client {
    /// The firmware.
    pub firmware: Firmware,
    /// How it takes its loader.
    pub transport: Transport,
    /// What it sends in option 93: one of these.
    pub codes: Vec<u16>,
    /// A file name for PXE, a URL for HTTP Boot.
    pub file: String,
}

impl Client {
    /// Every kind of firmware for which `file` has something. The boards of Raspberry Pi are left out: they say they
    /// are PCs and boot from an answer of a shape that other servers do not give (netboot.md, D1).
    #[must_use]
    pub fn all(file: impl Fn(Firmware, Transport) -> Option<String>) -> Vec<Self> {
        let mut clients: Vec<Self> = Vec::new();
        for transport in [Transport::Pxe, Transport::Http] {
            for firmware in Firmware::ALL.into_iter().filter(|firmware| *firmware != Firmware::RaspberryPi) {
                // The registry of architectures has no code above 41 that anybody boots from.
                let codes: Vec<u16> = (0..=u16::from(u8::MAX))
                    .filter(|code| Firmware::from_code(*code) == Some((firmware, transport)))
                    .collect();
                if let Some(file) = file(firmware, transport).filter(|_| !codes.is_empty()) {
                    clients.push(Self { firmware, transport, codes, file });
                }
            }
        }
        clients
    }

    /// A name for this kind of client, of letters, digits and hyphens.
    fn tag(&self) -> String {
        let mut tag = String::new();
        for c in self.firmware.label().chars() {
            match c {
                c if c.is_ascii_alphanumeric() => tag.push(c.to_ascii_lowercase()),
                _ if tag.ends_with('-') => {}
                _ => tag.push('-'),
            }
        }
        let tag = tag.trim_end_matches('-');
        if self.is_http() { format!("{tag}-http") } else { tag.to_owned() }
    }

    fn is_http(&self) -> bool {
        self.transport == Transport::Http
    }
}

/// For a comment.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.firmware, if self.is_http() { "HTTP Boot" } else { "PXE" })
    }
}

/// What another DHCP server has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    address: Ipv4Addr,
    script: String,
    clients: Vec<Client>,
}

/// Why there is no recipe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// It would not fit the answer.
    #[error("{0} is longer than the {FILE_SIZE} bytes a DHCP answer has for it; advertise a shorter URL")]
    TooLong(String),
    /// A comma ends a value for dnsmasq, a semicolon for dhcpd, and so on.
    #[error(
        "`{0}` has characters that mean something to DHCP servers; advertise a URL of letters, digits and -._~:/%[]"
    )]
    Characters(String),
}

impl Recipe {
    /// A recipe with the address machines take loaders from by TFTP, the URL of iPXE's first script, and what
    /// firmware takes.
    ///
    /// # Errors
    /// When a URL is too long for DHCP, or cannot be written into every server's file.
    pub fn new(address: Ipv4Addr, script: String, clients: Vec<Client>) -> Result<Self, RecipeError> {
        for text in clients.iter().map(|client| &client.file).chain([&script]) {
            if text.len() > FILE_SIZE {
                return Err(RecipeError::TooLong(text.clone()));
            }
            if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/%[]".contains(&byte)) {
                return Err(RecipeError::Characters(text.clone()));
            }
        }
        Ok(Self { address, script, clients })
    }

    /// The address machines take loaders from by TFTP.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The URL of iPXE's first script.
    #[must_use]
    pub fn script(&self) -> &str {
        &self.script
    }

    /// What firmware takes.
    #[must_use]
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// The lines for one server, with comments in its own form that say where they go.
    #[must_use]
    pub fn lines(&self, server: DhcpServer) -> String {
        match server {
            DhcpServer::Dnsmasq => dnsmasq::file(self),
            DhcpServer::Isc => isc::file(self),
            DhcpServer::Kea => kea::file(self),
            DhcpServer::Opnsense => opnsense::file(self),
            DhcpServer::Mikrotik => mikrotik::file(self),
            DhcpServer::Windows => windows::file(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients() -> Vec<Client> {
        Client::all(|firmware, transport| match (firmware, transport) {
            (Firmware::BiosX86 | Firmware::EfiX64 | Firmware::UBootArm64, Transport::Pxe) => {
                Some(format!("{firmware:?}.efi"))
            }
            (Firmware::EfiX64, Transport::Http) => Some("http://10.0.0.1/loader/ipxe.efi".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn clients_have_every_code_of_their_firmware() {
        let found: Vec<(String, Vec<u16>)> = clients().into_iter().map(|client| (client.tag(), client.codes)).collect();
        let expected = [
            ("bios", vec![0, 1]),
            ("uefi-x86-64", vec![7, 9]),
            ("u-boot-arm64", vec![22]),
            ("uefi-x86-64-http", vec![16]),
        ];
        assert_eq!(found, expected.map(|(tag, codes)| (tag.to_owned(), codes)));
    }

    #[test]
    fn no_two_clients_have_the_same_tag() {
        let all = Client::all(|_, _| Some("x".to_owned()));
        let mut tags: Vec<String> = all.iter().map(Client::tag).collect();
        assert!(
            tags.iter().all(|tag| tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')),
            "{tags:?}"
        );
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), all.len());
    }

    #[test]
    fn every_server_is_told_the_script_and_every_file() {
        let recipe = Recipe::new([10, 0, 0, 1].into(), "http://10.0.0.1/boot.ipxe".to_owned(), clients()).unwrap();
        for server in DhcpServer::ALL {
            let lines = recipe.lines(server);
            assert!(lines.contains("http://10.0.0.1/boot.ipxe"), "{server}:\n{lines}");
            for client in recipe.clients() {
                assert!(lines.contains(&client.file), "{server} lacks {client}:\n{lines}");
            }
            assert!(lines.ends_with('\n') && !lines.ends_with("\n\n"), "{server}:\n{lines}");
        }
    }

    #[test]
    fn what_dhcp_cannot_carry_is_refused() {
        let script = format!("http://{}/boot.ipxe", "a".repeat(111));
        assert_eq!(script.len(), 128);
        let error = Recipe::new([10, 0, 0, 1].into(), script.clone(), vec![]).unwrap_err();
        assert_eq!(error, RecipeError::TooLong(script));
        let script = "http://10.0.0.1/a,b/boot.ipxe".to_owned();
        let error = Recipe::new([10, 0, 0, 1].into(), script.clone(), vec![]).unwrap_err();
        assert_eq!(error, RecipeError::Characters(script));
    }

    #[test]
    fn servers_are_named_by_their_words() {
        for server in DhcpServer::ALL {
            assert_eq!(server.name().parse(), Ok(server));
        }
        assert_eq!("pfsense".parse(), Ok(DhcpServer::Opnsense));
        assert_eq!(
            "dhcpd".parse::<DhcpServer>().unwrap_err().to_string(),
            "there is no recipe for it; there is one for dnsmasq, isc, kea, opnsense, mikrotik, windows"
        );
    }
}
