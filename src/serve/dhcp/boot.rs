//! The boot part of an answer: the loader for firmware, the script for iPXE.

use std::sync::Arc;

use super::client::Client;
use super::decide::Facts;
use crate::model::firmware::{Firmware, Transport};
use crate::model::mac::Mac;
use crate::model::net::DhcpMode;
use crate::serve::loaders::Loader;
use crate::wire::dhcp::{Field, Packet, code, sub_option};

/// Where the HTTP server has iPXE's entry script, below its base URL.
pub const SCRIPT_PATH: &str = "/boot.ipxe";

/// Where the HTTP server has the loaders, below its base URL.
pub const LOADER_PATH: &str = "/loader/";

/// The `file` field holds this much besides its NUL.
const FILE_SIZE: usize = 127;

/// PXE options in option 43 (PXE specification 2.1, table 2-1): discovery control 8, "take `file` and ask nobody".
/// UEFI boots from such an offer without a second question on port 4011.
const TAKE_FILE: [u8; 4] = [6, 1, 8, 255];

/// What the ROM of a Raspberry Pi wants to see: the same, a boot menu with the one entry it knows, and a prompt that
/// does not wait.
const RASPBERRY_PI: &[u8] = b"\x06\x01\x08\x09\x14\x00\x00\x11Raspberry Pi Boot\x0a\x04\x00PXE\xff";

/// Boot item of a PXE client that chose from a menu (PXE specification 2.1, table 2-1); the answer repeats it.
const BOOT_ITEM: u8 = 71;

/// iPXE's sub-option of option 175: do not wait for a proxy (iPXE, `include/ipxe/dhcp.h`).
const NO_PXEDHCP: u8 = 176;

/// What a client is told to boot.
#[derive(Debug)]
pub(super) enum Plan<'a> {
    /// iPXE takes the script.
    Script(String),
    /// Firmware takes a loader by TFTP.
    File(&'a Loader),
    /// Firmware asks on port 4011, and is told the loader there.
    BootServer(&'a Loader),
    /// Firmware takes a loader by HTTP.
    Url(String),
}

/// What this client boots; nothing when it does not ask for that.
///
/// # Errors
/// Why a client that asks cannot boot.
pub(super) fn plan<'a>(client: &Client, mac: &Mac, facts: &Facts<'a>) -> Result<Option<Plan<'a>>, String> {
    let loader = |firmware: Firmware| {
        let none = || match firmware.debian_package() {
            Some(package) => format!("no loader for {firmware}, install `{package}`"),
            None => format!("no loader for {firmware}"),
        };
        facts.loaders.for_machine(firmware, mac).map(|choice| choice.loader).ok_or_else(none)
    };
    match client {
        Client::System => Ok(None),
        Client::Unknown(codes) if codes.is_empty() => Err("it does not say what kind of firmware it is".to_owned()),
        Client::Unknown(codes) => Err(format!("no loader exists for architecture {codes:?}")),
        Client::Ipxe { http: true, .. } => Ok(Some(Plan::Script(format!("{}{SCRIPT_PATH}", facts.base_url)))),
        Client::Ipxe { http: false, firmware: None } => {
            Err("an iPXE without HTTP that does not say what it runs on".to_owned())
        }
        Client::Ipxe { http: false, firmware: Some(firmware) } => Ok(Some(Plan::File(loader(*firmware)?))),
        Client::Firmware { firmware, transport: Transport::Pxe } => Ok(Some(Plan::File(loader(*firmware)?))),
        Client::Firmware { firmware, transport: Transport::Http } => {
            let name = &loader(*firmware)?.name;
            Ok(Some(Plan::Url(format!("{}{LOADER_PATH}{name}", facts.base_url))))
        }
    }
}

impl Plan<'_> {
    /// Writes the plan into an answer, in the order of importance.
    pub(super) fn put(&self, answer: &mut Packet, request: &Packet, facts: &Facts<'_>) {
        answer.siaddr = facts.address;
        match self {
            Self::Script(url) => {
                // iPXE takes an answer for a proxy's only with this class; from a full server it wants no class.
                if facts.mode == DhcpMode::Proxy {
                    answer.options.put(code::VENDOR_CLASS, b"PXEClient");
                } else {
                    answer.options.put(code::IPXE, &[NO_PXEDHCP, 1, 1]);
                }
                put_url(answer, request.options.asks_for(code::BOOT_FILE), url);
            }
            Self::Url(url) => {
                answer.options.put(code::VENDOR_CLASS, b"HTTPClient");
                put_url(answer, true, url);
            }
            // No option 43: UEFI takes an offer with this class alone for one of a boot server (netboot.md, D1).
            Self::BootServer(_) => answer.options.put(code::VENDOR_CLASS, b"PXEClient"),
            Self::File(loader) => put_file(answer, request, facts, loader),
        }
    }

    /// For people.
    pub(super) fn text(&self) -> Arc<str> {
        match self {
            Self::Script(url) | Self::Url(url) => url.as_str().into(),
            Self::File(loader) => Arc::clone(&loader.by_tftp),
            Self::BootServer(loader) => format!("{}, as port 4011 will say", loader.by_tftp).into(),
        }
    }
}

/// A URL goes into `file`, and into option 67 for those who look there or when it is too long for `file`.
fn put_url(answer: &mut Packet, as_option: bool, url: &str) {
    let fits = url.len() <= FILE_SIZE;
    if fits {
        answer.file = url.as_bytes().into();
    }
    if !fits || as_option {
        answer.options.put(code::BOOT_FILE, url.as_bytes());
    }
}

fn put_file(answer: &mut Packet, request: &Packet, facts: &Facts<'_>, loader: &Loader) {
    let server = Field::from_slice(facts.own_name.as_bytes());
    let with_nul = |text: &[u8]| [text, &[0]].concat();
    let is_pi = loader.firmware == Firmware::RaspberryPi;
    answer.file = loader.name.as_bytes().into();
    answer.options.put(code::VENDOR_CLASS, b"PXEClient");
    if is_pi {
        answer.options.put(code::VENDOR, RASPBERRY_PI);
    } else {
        let item = request.options.get(code::VENDOR).and_then(|vendor| sub_option(vendor, BOOT_ITEM));
        answer.options.put(code::VENDOR, &take_file(item));
    }
    // Unasked, these confuse ROMs that take overloaded fields for granted (netboot.md, D2). The Pi asks for nothing
    // and reads 66 all the same.
    if request.options.asks_for(code::BOOT_FILE) {
        answer.options.put(code::BOOT_FILE, &with_nul(&answer.file));
    }
    if is_pi || request.options.asks_for(code::TFTP_SERVER) {
        answer.options.put(code::TFTP_SERVER, &with_nul(&server));
    }
    answer.sname = server;
}

fn take_file(item: Option<&[u8]>) -> Field {
    match item {
        Some(item @ [_, _, _, _]) => Field::from_vec([&[BOOT_ITEM, 4], item, &TAKE_FILE[..]].concat()),
        _ => Field::from_slice(&TAKE_FILE),
    }
}
