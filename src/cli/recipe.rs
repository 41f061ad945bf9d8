//! `bivouac dhcp-recipe`.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;
use tracing::warn;

use super::loaders;
use super::report::table;
use crate::config::{DhcpSettings, File, Settings};
use crate::model::firmware::{Firmware, Transport};
use crate::model::net::DhcpMode;
use crate::model::recipe::{Client, DhcpServer, Recipe};
use crate::serve::dhcp::{LOADER_PATH, SCRIPT_PATH};
use crate::serve::interfaces::{self, Place, Wanted};
use crate::serve::loaders::Loaders;

/// The only port firmware takes its loader from (RFC 1350; no DHCP option names another).
const TFTP_PORT: u16 = 69;

/// Where URLs need no port.
const HTTP_PORT: u16 = 80;

/// What stands behind `bivouac dhcp-recipe`.
#[derive(Debug, clap::Args)]
pub(super) struct RecipeArgs {
    /// The DHCP server: dnsmasq, isc, kea, opnsense (pfsense), mikrotik or windows; without it, a list of them
    #[arg(value_name = "DHCP-SERVER")]
    dhcp_server: Option<DhcpServer>,

    /// IPv4 address of this server, as machines reach it [default: the one the site file advertises or listens on, else
    /// that of the only usable interface]
    #[arg(long, value_name = "ADDRESS")]
    server: Option<Ipv4Addr>,

    /// Folder of iPXE loaders [default: where distributions put them]
    #[arg(long, value_name = "FOLDER")]
    loaders: Option<PathBuf>,

    /// As JSON: the lines, and the facts in them
    #[arg(long)]
    json: bool,
}

impl RecipeArgs {
    /// The flags as a site file.
    pub(super) fn flags(&self) -> File {
        File { loaders: self.loaders.clone(), ..File::default() }
    }
}

/// Prints the recipe for one DHCP server, or the list of servers there are recipes for.
pub(super) fn recipe(settings: &Settings, args: &RecipeArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(dhcp_server) = args.dhcp_server else {
        return list(args.json, out);
    };
    let loaders = loaders::find(settings)?;
    let recipe = make(settings, args.server, &loaders)?;
    warn_of_gaps(settings, &loaders);
    let lines = recipe.lines(dhcp_server);
    if args.json {
        let described = json!({
            "dhcp_server": dhcp_server,
            "address": recipe.address(),
            "script": recipe.script(),
            "clients": recipe.clients(),
            "lines": lines,
        });
        serde_json::to_writer_pretty(&mut *out, &described)?;
        writeln!(out)?;
    } else {
        out.write_all(lines.as_bytes())?;
    }
    Ok(())
}

fn list(as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if as_json {
        let servers = DhcpServer::ALL.map(|server| json!({ "name": server, "title": server.title() }));
        serde_json::to_writer_pretty(&mut *out, &servers)?;
        writeln!(out)?;
    } else {
        let rows = DhcpServer::ALL.map(|server| vec![server.to_string(), server.title().to_owned()]);
        out.write_all(table(&["NAME", "FOR"], rows.into()).as_bytes())?;
        writeln!(out, "\n`bivouac dhcp-recipe NAME` prints what to paste there.")?;
    }
    Ok(())
}

fn make(settings: &Settings, given: Option<Ipv4Addr>, loaders: &Loaders) -> anyhow::Result<Recipe> {
    let address = match given {
        Some(address) => address,
        None => match written(settings)? {
            Some(address) => address,
            None => {
                let all = interfaces::list()?;
                let places = without_dhcp(&settings.dhcp)
                    .choose(&all)
                    .context("the address machines reach is not known; say it with --server ADDRESS")?;
                only(&places)?
            }
        },
    };
    let base = base(settings, address)?;
    let has_tftp = match settings.tftp.as_ref().map(SocketAddr::port) {
        None => false,
        Some(TFTP_PORT) => true,
        Some(port) => anyhow::bail!(
            "`tftp.listen` has port {port}, and firmware takes its loader from port {TFTP_PORT} only; listen there, or \
             switch TFTP off (`tftp.enabled = false`) for a recipe with HTTP Boot and iPXE alone"
        ),
    };
    let clients = Client::all(|firmware, transport| {
        let name = &loaders.for_every_machine(firmware)?.name;
        match transport {
            Transport::Pxe => has_tftp.then(|| name.clone()),
            Transport::Http => Some(format!("{base}{LOADER_PATH}{name}")),
        }
    });
    Ok(Recipe::new(address, format!("{base}{SCRIPT_PATH}"), clients)?)
}

/// The address the site file has, if it has one that machines can use.
fn written(settings: &Settings) -> anyhow::Result<Option<Ipv4Addr>> {
    if let Some(url) = &settings.http.advertise {
        let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).split('/').next().unwrap_or_default();
        let address = host.split(':').next().and_then(|host| host.parse().ok());
        return address.map(Some).with_context(|| {
            format!("machines take loaders from an IPv4 address, and `http.advertise` ({url}) has none; say it with --server ADDRESS")
        });
    }
    let listens = [settings.tftp.map(|tftp| tftp.ip()), Some(settings.http.listen.ip())];
    let found = listens.into_iter().flatten().find_map(|address| match address {
        IpAddr::V4(address) if !address.is_unspecified() => Some(address),
        _ => None,
    });
    match found {
        Some(address) if address.is_loopback() => {
            anyhow::bail!(
                "the server listens on {address} only, which no machine reaches; change `http.listen`, or say with --server ADDRESS what leads there"
            )
        }
        found => Ok(found),
    }
}

/// The interfaces on which another server answers: those whose mode says so, else all that are named, else every
/// usable one.
fn without_dhcp(dhcp: &DhcpSettings) -> Wanted {
    let off = dhcp.modes.iter().filter(|(_, mode)| **mode == DhcpMode::Off);
    let off: Vec<String> = off.map(|(name, _)| name.clone()).collect();
    let names = if off.is_empty() { dhcp.interfaces.clone() } else { off };
    // A proxy could be on every interface with an address, and that is all that is asked.
    Wanted { mode: DhcpMode::Proxy, modes: BTreeMap::new(), names, plan: Arc::clone(&dhcp.plan) }
}

/// The only address there is.
fn only(places: &[Place]) -> anyhow::Result<Ipv4Addr> {
    let addresses = places.iter().flat_map(|place| place.addresses.iter().map(move |own| (own.address, &place.name)));
    let addresses: Vec<(Ipv4Addr, &String)> = addresses.collect();
    match addresses[..] {
        [(one, _)] => Ok(one),
        _ => {
            let names: Vec<String> = addresses.iter().map(|(own, name)| format!("{own} ({name})")).collect();
            anyhow::bail!(
                "this computer has several addresses: {}; say with --server ADDRESS which one machines reach",
                names.join(", ")
            )
        }
    }
}

/// The base URL of the HTTP server, as machines reach it.
fn base(settings: &Settings, address: Ipv4Addr) -> anyhow::Result<String> {
    if let Some(url) = &settings.http.advertise {
        return Ok(url.clone());
    }
    match settings.http.listen.port() {
        0 => anyhow::bail!("`http.listen` has port 0, which is another one at every start; choose a port"),
        HTTP_PORT => Ok(format!("http://{address}")),
        port => Ok(format!("http://{address}:{port}")),
    }
}

/// Says what the recipe leaves out, and what goes with it.
fn warn_of_gaps(settings: &Settings, loaders: &Loaders) {
    let dhcp = &settings.dhcp;
    if dhcp.mode != DhcpMode::Off && !dhcp.modes.values().any(|mode| *mode == DhcpMode::Off) {
        warn!("this server answers DHCP itself; set `dhcp.mode` to `off` where the other server does");
    }
    if settings.tftp.is_none() {
        warn!("TFTP is off: only machines with HTTP Boot, or with iPXE in a ROM, can boot");
    }
    for refused in loaders.refused() {
        warn!("{refused}");
    }
    for missing in loaders.missing() {
        warn!("{missing}");
    }
    if let Some((number, rule)) = (1..).zip(loaders.rules()).find(|(_, rule)| !rule.machines.is_empty()) {
        warn!("loader rule {number} ({rule}) is not in the recipe: it is about single machines");
    }
    if loaders.for_firmware(Firmware::RaspberryPi).is_some() {
        warn!("boards of Raspberry Pi are not in the recipe: they boot where this server answers DHCP");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::interfaces::Address;

    fn settings(text: &str) -> Settings {
        Settings::check(File::parse(text).unwrap()).unwrap()
    }

    fn place(name: &str, last: &[u8]) -> Place {
        let address = |last: &u8| Address { address: [10, 0, 0, *last].into(), netmask: [255, 255, 255, 0].into() };
        Place { name: name.to_owned(), index: 1, addresses: last.iter().map(address).collect(), mode: DhcpMode::Proxy }
    }

    #[test]
    fn the_site_file_says_the_address_when_it_has_one() {
        for (text, expected) in [
            ("", None),
            ("[http]\nadvertise = \"http://10.0.0.9:8080/boot\"", Some([10, 0, 0, 9])),
            ("[http]\nlisten = \"10.0.0.8:80\"", Some([10, 0, 0, 8])),
            ("[http]\nlisten = \"[::]:80\"", None),
            ("[tftp]\nlisten = \"10.0.0.7:69\"", Some([10, 0, 0, 7])),
            ("[http]\nlisten = \"10.0.0.8:80\"\nadvertise = \"http://10.0.0.9\"", Some([10, 0, 0, 9])),
        ] {
            assert_eq!(written(&settings(text)).unwrap(), expected.map(Ipv4Addr::from), "{text}");
        }
    }

    #[test]
    fn one_address_is_enough_and_two_are_too_many() {
        assert_eq!(only(&[place("eth0", &[1])]).unwrap(), Ipv4Addr::new(10, 0, 0, 1));
        for places in [&[place("eth0", &[1]), place("eth0", &[2])][..], &[place("eth0", &[1, 2])]] {
            assert_eq!(
                only(places).unwrap_err().to_string(),
                "this computer has several addresses: 10.0.0.1 (eth0), 10.0.0.2 (eth0); say with --server ADDRESS which one machines reach"
            );
        }
    }

    #[test]
    fn the_interfaces_of_the_other_server_are_those_where_this_one_is_silent() {
        let names = |text: &str| without_dhcp(&settings(&format!("[dhcp]\n{text}")).dhcp).names;
        assert_eq!(names("modes = { eth2 = \"off\", eth3 = \"proxy\" }"), ["eth2"]);
        assert_eq!(names("mode = \"off\"\ninterfaces = [\"eth1\"]"), ["eth1"]);
        assert_eq!(names("mode = \"off\""), Vec::<String>::new());
    }
}
