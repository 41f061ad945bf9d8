//! What TFTP serves: the loaders, and what other boot programs are told ([`crate::model::hand_over`]).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use tracing::info;

use super::App;
use super::http::{Link, Scheme};
use super::loaders::{Loader, Loaders};
use super::tftp::{Client, Files, Served};
use crate::model::boot::Step;
use crate::model::firmware::Firmware;
use crate::model::hand_over::{self, Asked};
use crate::model::mac::Mac;

/// The files of TFTP.
pub(super) struct BootFiles {
    /// Where the loaders are.
    pub(super) app: Arc<App>,
    /// Where HTTP listens, which everything after the loader comes from.
    pub(super) http: SocketAddr,
}

impl Files for BootFiles {
    fn open(&self, client: Client, path: &str) -> Option<Served> {
        let rules = self.app.rules();
        match find(&rules.loaders, path)? {
            Found::Loader(loader) => Some(program(loader)),
            Found::Instead(loader) => {
                info!(peer = %client.address, path, loader = loader.name, "another bootloader is asked for; iPXE is sent");
                Some(program(loader))
            }
            Found::Autoexec => Some(text(hand_over::autoexec(&self.base(client)?), None, None)),
            Found::Grub(mac) => {
                let server = asked(client)?;
                info!(peer = %client.address, path, "GRUB asks for its configuration and is told to start iPXE");
                Some(text(hand_over::grub(&server, &best(&rules.loaders)), Some(Step::Discover), mac))
            }
            Found::Pxelinux(mac) => {
                let server = asked(client)?;
                info!(peer = %client.address, path, "PXELINUX asks for its configuration and is told to start iPXE");
                Some(text(hand_over::pxelinux(&server, &best(&rules.loaders)), Some(Step::Discover), mac))
            }
        }
    }
}

/// What a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// This loader.
    Loader(&'a Loader),
    /// This loader, in the place of another program.
    Instead(&'a Loader),
    /// The script of an iPXE that has none.
    Autoexec,
    /// The configuration of GRUB, of one machine or of all.
    Grub(Option<Mac>),
    /// The configuration of PXELINUX, of one machine or of all.
    Pxelinux(Option<Mac>),
}

/// What the file of this name is, if there is one.
pub(super) fn find<'a>(loaders: &'a Loaders, path: &str) -> Option<Found<'a>> {
    // A loader below a folder is called with `-` for `/`, and firmware is told so; who knows the folder may ask for it.
    let named = |name: &str| loaders.by_name(name).or_else(|| loaders.by_name(&name.replace('/', "-")));
    if let Some(loader) = named(path) {
        return Some(Found::Loader(loader));
    }
    match Asked::of_name(path) {
        Some(Asked::Autoexec) => Some(Found::Autoexec),
        Some(Asked::Grub(mac)) => Some(Found::Grub(mac)),
        Some(Asked::Pxelinux(mac)) => Some(Found::Pxelinux(mac)),
        Some(Asked::Loader(firmware)) => loaders.for_firmware(firmware).map(Found::Instead),
        // The DHCP server was told of another TFTP server's folders.
        None if path.split('/').any(|part| part == "..") => None,
        None => path.rsplit('/').next().and_then(named).map(Found::Loader),
    }
}

impl BootFiles {
    /// The base URL of a client, by the address that it asked.
    fn base(&self, client: Client) -> Option<String> {
        let local = if self.http.ip().is_unspecified() { client.asked? } else { self.http.ip() };
        let (peer, local) = (SocketAddr::new(client.address, 0), SocketAddr::new(local, self.http.port()));
        Some(self.app.rules().base(&Link::new(peer, local, Scheme::Http)).to_owned())
    }
}

/// The best loader for each kind of firmware that has one.
fn best(loaders: &Loaders) -> Vec<(Firmware, &str)> {
    let own = Firmware::ALL.into_iter().filter(|firmware| firmware.runs() == *firmware);
    own.filter_map(|firmware| Some((firmware, loaders.for_firmware(firmware)?.name.as_str()))).collect()
}

/// The address that a client asked, as bootloaders write it.
fn asked(client: Client) -> Option<String> {
    Some(match client.asked? {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    })
}

fn program(loader: &Loader) -> Served {
    Served { content: loader.bytes.clone(), step: Some(Step::Loader), mac: None }
}

fn text(text: String, step: Option<Step>, mac: Option<Mac>) -> Served {
    Served { content: Bytes::from(text), step, mac }
}
