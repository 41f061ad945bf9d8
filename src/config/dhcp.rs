//! `[dhcp]`: how DHCP is answered on which interface, and the addresses that are given out.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::file::OneOrMore;
use super::label::pattern;
use super::{ConfigError, lease};
use crate::model::mac::Mac;
use crate::model::mac_prefix::MacPrefix;
use crate::model::name::nearest;
use crate::model::net::{AddressPlan, DhcpMode, Parts, Quirk, Shape, Subnet};

/// RFC 2131.
const DHCP_PORT: u16 = 67;

/// The port of PXE boot servers (PXE specification 2.1, section 2.2).
const PXE_PORT: u16 = 4011;

/// The longest an answer may wait: firmware asks again after four seconds.
const LONGEST_DELAY: Duration = Duration::from_secs(4);

/// `[dhcp]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dhcp {
    /// `proxy` (beside another DHCP server), `full` (with a pool), `reservations` (for machines with an address of
    /// their own) or `off`; `proxy` when absent.
    pub mode: Option<String>,
    /// The mode of single interfaces, where it is another.
    pub modes: Option<BTreeMap<String, String>>,
    /// Interfaces to listen on; every usable one when absent.
    pub interfaces: Option<Vec<String>>,
    /// A fixed address to listen on instead of interfaces: relays are heard, broadcasts are not.
    pub listen: Option<Ipv4Addr>,
    /// Server port, 67 when absent.
    pub port: Option<u16>,
    /// Boot server port, 4011 when absent.
    pub pxe_port: Option<u16>,
    /// First and last address given out, `A-B`, or several such ranges.
    pub pool: Option<OneOrMore>,
    /// Netmask of the pool's network; 255.255.255.0 when absent.
    pub netmask: Option<Ipv4Addr>,
    /// Router machines are told.
    pub router: Option<Ipv4Addr>,
    /// Name servers machines are told.
    pub dns: Option<Vec<Ipv4Addr>>,
    /// Domain machines are told.
    pub domain: Option<String>,
    /// How long an address is lent, such as `1h`.
    pub lease: Option<String>,
    /// More networks: of other interfaces, and behind relays.
    pub subnet: Option<Vec<WrittenSubnet>>,
    /// Clients that want another answer than most.
    pub quirk: Option<Vec<WrittenQuirk>>,
}

/// `[[dhcp.subnet]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WrittenSubnet {
    /// The network, such as `10.0.1.0/24`; that of the pool, with 24 bits, when absent.
    pub network: Option<String>,
    /// First and last address given out, `A-B`, or several such ranges; none when absent.
    pub pool: Option<OneOrMore>,
    /// Router machines are told.
    pub router: Option<Ipv4Addr>,
    /// Name servers machines are told; those of `[dhcp]` when absent.
    pub dns: Option<Vec<Ipv4Addr>>,
    /// Domain machines are told; that of `[dhcp]` when absent.
    pub domain: Option<String>,
    /// How long an address is lent; as `[dhcp]` says when absent.
    pub lease: Option<String>,
}

/// `[[dhcp.quirk]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WrittenQuirk {
    /// Addresses of network cards, or how these begin; every one when absent.
    pub machines: Option<Vec<MacPrefix>>,
    /// How the client's vendor class (option 60) begins.
    pub vendor_class: Option<String>,
    /// The maker as SMBIOS says, in which `*` stands for any text; known of machines that booted before.
    pub manufacturer: Option<String>,
    /// The model, known as the maker is.
    pub product: Option<String>,
    /// `at-once` (the offer names the loader) or `boot-server` (port 4011 does); found out when absent.
    pub answer: Option<String>,
    /// How long the answer waits, such as `500ms`; not at all when absent.
    pub delay: Option<String>,
    /// Whether the machine's UUID (option 97) is sent back; yes when absent.
    pub machine_id: Option<bool>,
    /// Whether it is firmware that boots by PXE, though its vendor class (option 60) does not begin with `PXEClient`; or is
    /// none, though it does.
    pub pxe: Option<bool>,
}

impl Dhcp {
    /// These values where they are set, `other`'s elsewhere.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            mode: self.mode.or(other.mode),
            modes: self.modes.or(other.modes),
            interfaces: self.interfaces.or(other.interfaces),
            listen: self.listen.or(other.listen),
            port: self.port.or(other.port),
            pxe_port: self.pxe_port.or(other.pxe_port),
            pool: self.pool.or(other.pool),
            netmask: self.netmask.or(other.netmask),
            router: self.router.or(other.router),
            dns: self.dns.or(other.dns),
            domain: self.domain.or(other.domain),
            lease: self.lease.or(other.lease),
            subnet: self.subnet.or(other.subnet),
            quirk: self.quirk.or(other.quirk),
        }
    }
}

/// `[dhcp]` after all checks.
#[derive(Debug, Clone, PartialEq)]
pub struct DhcpSettings {
    /// What it does on interfaces that are not named in `modes`.
    pub mode: DhcpMode,
    /// What it does on single interfaces.
    pub modes: BTreeMap<String, DhcpMode>,
    /// Interfaces it listens on, besides those of `modes`; all usable ones when empty.
    pub interfaces: Vec<String>,
    /// A fixed address instead of interfaces, for tests and for relays only.
    pub listen: Option<Ipv4Addr>,
    /// The server port, 67.
    pub port: u16,
    /// The boot server port, 4011.
    pub pxe_port: u16,
    /// The addresses that are given out.
    pub plan: Arc<AddressPlan>,
    /// The clients that want another answer than most; the first rule about a client counts.
    pub quirks: Vec<Quirk>,
}

impl DhcpSettings {
    /// Checks what was written. `reserved` are the addresses of machines that have one of their own.
    pub(super) fn check(file: Dhcp, reserved: BTreeMap<Mac, Ipv4Addr>) -> Result<Self, ConfigError> {
        let mode = file.mode.as_deref().map_or(Ok(DhcpMode::Proxy), |word| mode("dhcp.mode", word))?;
        let written = file.modes.clone().unwrap_or_default();
        let modes: BTreeMap<String, DhcpMode> = written
            .into_iter()
            .map(|(name, word)| Ok((name, self::mode("dhcp.modes", &word)?)))
            .collect::<Result<_, ConfigError>>()?;
        let all = || modes.values().copied().chain([mode]);
        let gives = all().any(DhcpMode::gives_addresses);
        if !gives {
            nobody_gives(&file)?;
        }
        let reserved = if gives { reserved } else { BTreeMap::new() };
        let subnets = subnets(&file)?;
        if all().any(|mode| mode == DhcpMode::Full) && subnets.iter().all(|subnet| subnet.size() == 0) {
            return Err(ConfigError::NoPool);
        }
        if all().any(|mode| mode == DhcpMode::Reservations) && reserved.is_empty() {
            return Err(ConfigError::NoReservation);
        }
        if file.listen.is_some() && !modes.is_empty() {
            return Err(ConfigError::Value {
                key: "dhcp.modes",
                value: modes.keys().next().cloned().unwrap_or_default(),
                why: "with `dhcp.listen` there is one mode for all; take one of both out".to_owned(),
            });
        }
        let plan = AddressPlan::new(subnets, reserved).map_err(|(mac, why)| match mac {
            Some(mac) => ConfigError::Reservation { mac, why },
            None => ConfigError::Plan(why),
        })?;
        Ok(Self {
            mode,
            modes,
            interfaces: file.interfaces.unwrap_or_default(),
            listen: file.listen,
            port: file.port.unwrap_or(DHCP_PORT),
            pxe_port: file.pxe_port.unwrap_or(PXE_PORT),
            plan: Arc::new(plan),
            quirks: (1..).zip(file.quirk.unwrap_or_default()).map(quirk).collect::<Result<_, _>>()?,
        })
    }
}

fn mode(key: &'static str, word: &str) -> Result<DhcpMode, ConfigError> {
    DhcpMode::named(word).ok_or_else(|| {
        let why = match nearest(word, DhcpMode::ALL.map(DhcpMode::word)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write \"proxy\", \"full\", \"reservations\" or \"off\"".to_owned(),
        };
        ConfigError::Value { key, value: word.to_owned(), why }
    })
}

/// Refuses what only a server that gives out addresses would look at.
fn nobody_gives(file: &Dhcp) -> Result<(), ConfigError> {
    let lent = [
        ("dhcp.pool", file.pool.as_ref().and_then(OneOrMore::first)),
        ("dhcp.netmask", file.netmask.map(|mask| mask.to_string())),
        ("dhcp.router", file.router.map(|router| router.to_string())),
        ("dhcp.dns", file.dns.as_ref().and_then(|list| list.first()).map(ToString::to_string)),
        ("dhcp.domain", file.domain.clone()),
        ("dhcp.lease", file.lease.clone()),
        ("dhcp.subnet", file.subnet.as_ref().and_then(|list| list.first()).map(shown)),
    ];
    match lent.into_iter().find_map(|(key, value)| Some((key, value?))) {
        None => Ok(()),
        Some((key, value)) => Err(ConfigError::Value {
            key,
            value,
            why: "only a server that gives out addresses needs this: set `dhcp.mode` (or --dhcp) to `full` or \
                  `reservations`, or take it out"
                .to_owned(),
        }),
    }
}

fn shown(subnet: &WrittenSubnet) -> String {
    subnet.network.clone().or_else(|| subnet.pool.as_ref()?.first()).unwrap_or_default()
}

fn subnets(file: &Dhcp) -> Result<Vec<Subnet>, ConfigError> {
    let mut subnets = Vec::new();
    if let Some(pool) = &file.pool {
        let own = WrittenSubnet { pool: Some(pool.clone()), router: file.router, ..WrittenSubnet::default() };
        subnets.push(subnet("dhcp.pool", own, file)?);
    } else if let Some((key, value)) = [
        ("dhcp.netmask", file.netmask.map(|mask| mask.to_string())),
        ("dhcp.router", file.router.map(|router| router.to_string())),
    ]
    .into_iter()
    .find_map(|(key, value)| Some((key, value?)))
    {
        let why = "this belongs to `dhcp.pool`, which is not there; write it into a `[[dhcp.subnet]]`".to_owned();
        return Err(ConfigError::Value { key, value, why });
    }
    for written in file.subnet.clone().unwrap_or_default() {
        subnets.push(subnet("dhcp.subnet", written, file)?);
    }
    Ok(subnets)
}

fn subnet(key: &'static str, written: WrittenSubnet, file: &Dhcp) -> Result<Subnet, ConfigError> {
    let refused = |value: &str, why: &str| ConfigError::Value { key, value: value.to_owned(), why: why.to_owned() };
    let ranges = written.pool.clone().map(OneOrMore::into_list).unwrap_or_default();
    let ranges = ranges
        .iter()
        .map(|text| {
            let why = "write the first and the last address, such as \"10.0.0.100-10.0.0.199\"";
            range(text).ok_or_else(|| refused(text, why))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (network, netmask) = match (&written.network, ranges.first()) {
        (Some(text), _) => network(text).ok_or_else(|| refused(text, "write a network such as \"10.0.1.0/24\""))?,
        (None, Some(first)) => (*first.start(), file.netmask.unwrap_or(Ipv4Addr::new(255, 255, 255, 0))),
        (None, None) => return Err(refused("", "write `network`, such as \"10.0.1.0/24\", or `pool`, or both")),
    };
    let lease = written.lease.or_else(|| file.lease.clone()).unwrap_or_else(|| "1h".to_owned());
    let dns = written.dns.or_else(|| file.dns.clone()).unwrap_or_default();
    let domain = written.domain.or_else(|| file.domain.clone());
    if let Some(domain) = domain.as_ref().filter(|name| !is_domain(name)) {
        return Err(ConfigError::Value {
            key: "dhcp.domain",
            value: domain.clone(),
            why: "write a name such as \"example.net\"".to_owned(),
        });
    }
    let lease = lease::parse(&lease).ok_or_else(|| ConfigError::Value {
        key: "dhcp.lease",
        value: lease.clone(),
        why: "write a number and s, m, h or d, at least a minute, such as \"1h\"".to_owned(),
    })?;
    let named = written.network.or_else(|| written.pool?.first()).unwrap_or_default();
    let parts = Parts { network, netmask, ranges, router: written.router, dns, domain, lease };
    Subnet::new(parts).map_err(|source| ConfigError::Subnet { key, value: named, source })
}

fn range(text: &str) -> Option<RangeInclusive<Ipv4Addr>> {
    let (first, last) = text.split_once('-')?;
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

/// `ADDRESS/BITS`.
fn network(text: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (address, bits) = text.split_once('/')?;
    let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32)?;
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    Some((address.parse().ok()?, Ipv4Addr::from_bits(mask)))
}

/// Labels of letters, digits and hyphens (RFC 1123, section 2.1), short enough for one option.
fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn quirk((number, written): (usize, WrittenQuirk)) -> Result<Quirk, ConfigError> {
    let refused = |value: String, why: &str| ConfigError::Value {
        key: "dhcp.quirk",
        value,
        why: format!("in rule {number}, {why}"),
    };
    let answer = match written.answer.as_deref() {
        None => None,
        Some(word) => {
            let named = Shape::ALL.into_iter().find(|shape| shape.word() == word);
            Some(named.ok_or_else(|| refused(word.to_owned(), "write \"at-once\" or \"boot-server\""))?)
        }
    };
    let delay = match written.delay.as_deref() {
        None => None,
        Some(text) => {
            let delay = humantime::parse_duration(text).ok().filter(|delay| *delay <= LONGEST_DELAY);
            Some(
                delay
                    .ok_or_else(|| refused(text.to_owned(), "write a time of at most 4 seconds, such as \"500ms\""))?,
            )
        }
    };
    if answer.is_none() && delay.is_none() && written.machine_id.is_none() && written.pxe.is_none() {
        return Err(refused(String::new(), "say what is different: `answer`, `delay`, `machine-id` or `pxe`"));
    }
    if written.machines.as_ref().is_some_and(Vec::is_empty) {
        let why = "write addresses or how these begin, such as [\"00:e0:4c\"], or take the key out for all machines";
        return Err(refused("machines = []".to_owned(), why));
    }
    let pattern =
        |name: &str, text: Option<String>| pattern(text).map_err(|why| refused(format!("{name} = \"\""), why));
    Ok(Quirk {
        manufacturer: pattern("manufacturer", written.manufacturer)?,
        product: pattern("product", written.product)?,
        machines: written.machines.unwrap_or_default(),
        vendor_class: written.vendor_class,
        answer,
        delay,
        machine_id: written.machine_id,
        is_pxe: written.pxe,
    })
}

#[cfg(test)]
mod tests {
    use crate::config::{File, Settings};
    use crate::model::net::{DhcpMode, Shape};

    fn check(text: &str) -> Result<Settings, String> {
        use std::error::Error as _;
        let file = File::parse(text).map_err(|error| error.to_string())?;
        Settings::check(file).map_err(|error| match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })
    }

    #[test]
    fn each_interface_may_have_its_mode_and_each_network_its_addresses() {
        let text = "[dhcp]\nmode = \"full\"\nmodes = { eth1 = \"proxy\", eth2 = \"off\" }\n\
                    pool = [\"10.0.0.200-10.0.0.210\", \"10.0.0.100-10.0.0.109\"]\nrouter = \"10.0.0.1\"\n\
                    dns = [\"10.0.0.2\"]\nlease = \"2h\"\n\
                    [[dhcp.subnet]]\nnetwork = \"10.0.4.0/22\"\npool = \"10.0.5.0-10.0.5.255\"\nrouter = \"10.0.4.1\"\n\
                    [[dhcp.subnet]]\nnetwork = \"10.1.0.0/16\"\nlease = \"1d\"\ndns = []\ndomain = \"example.net\"\n\
                    [[dhcp.quirk]]\nmachines = [\"00:e0:4c\"]\nanswer = \"boot-server\"\ndelay = \"500ms\"\n\
                    [machines.\"52:54:00:00:00:01\"]\naddress = \"10.1.0.9\"\n";
        let dhcp = check(text).unwrap().dhcp;
        assert_eq!(dhcp.mode, DhcpMode::Full);
        assert_eq!((dhcp.modes["eth1"], dhcp.modes["eth2"]), (DhcpMode::Proxy, DhcpMode::Off));
        let [first, second, third] = dhcp.plan.subnets() else { panic!("three networks") };
        assert_eq!((first.size(), second.size(), third.size()), (21, 256, 0));
        assert_eq!(first.nth(0).unwrap().to_string(), "10.0.0.100");
        assert_eq!((second.lease().as_secs(), third.lease().as_secs()), (7200, 86_400));
        assert_eq!((second.dns().len(), third.dns().len()), (1, 0));
        assert_eq!(third.domain(), Some("example.net"));
        assert_eq!(dhcp.plan.reservations().len(), 1);
        assert_eq!(dhcp.quirks[0].answer, Some(Shape::BootServer));
        assert_eq!(dhcp.quirks[0].delay.unwrap().as_millis(), 500);
    }

    #[test]
    fn values_nobody_can_mean_are_errors_that_say_what_to_write() {
        let full = "mode = \"full\"\npool = \"10.0.0.1-10.0.0.9\"\n";
        for (text, said) in [
            ("mode = \"auto\"".to_owned(), "write \"proxy\", \"full\", \"reservations\" or \"off\""),
            ("mode = \"ful\"".to_owned(), "did you mean `full`?"),
            ("modes = { eth0 = \"prxy\" }".to_owned(), "`dhcp.modes` cannot be `prxy`: did you mean `proxy`?"),
            ("mode = \"full\"".to_owned(), "set `dhcp.pool` (or --pool)"),
            ("modes = { eth0 = \"full\" }".to_owned(), "set `dhcp.pool` (or --pool)"),
            (
                "mode = \"reservations\"\n[[dhcp.subnet]]\nnetwork = \"10.0.0.0/24\"".to_owned(),
                "no machine has an address",
            ),
            ("mode = \"full\"\npool = \"x\"".to_owned(), "`dhcp.pool` cannot be `x`: write the first and the last"),
            (
                "mode = \"full\"\npool = \"10.0.0.9-10.0.0.1\"".to_owned(),
                "`dhcp.pool` cannot be `10.0.0.9-10.0.0.1`: the first",
            ),
            (format!("{full}lease = \"5\""), "`dhcp.lease` cannot be `5`"),
            (format!("{full}domain = \"a b\""), "`dhcp.domain` cannot be `a b`"),
            (format!("{full}[[dhcp.subnet]]\nnetwork = \"10.0.0.0\""), "write a network such as \"10.0.1.0/24\""),
            (format!("{full}[[dhcp.subnet]]\nrouter = \"10.0.0.1\""), "write `network`"),
            (format!("{full}[[dhcp.subnet]]\nnetwork = \"10.0.0.0/16\""), "overlap"),
            ("pool = \"10.0.0.1-10.0.0.9\"".to_owned(), "only a server that gives out addresses needs this"),
            (
                "[[dhcp.subnet]]\nnetwork = \"10.0.0.0/24\"".to_owned(),
                "`dhcp.subnet` cannot be `10.0.0.0/24`: only a server",
            ),
            ("listen = \"127.0.0.1\"\nmodes = { eth0 = \"proxy\" }".to_owned(), "there is one mode for all"),
            ("[[dhcp.quirk]]\nanswer = \"later\"".to_owned(), "in rule 1, write \"at-once\" or \"boot-server\""),
            ("[[dhcp.quirk]]\ndelay = \"1h\"".to_owned(), "at most 4 seconds"),
            ("[[dhcp.quirk]]\nmachines = [\"00:e0:4c\"]".to_owned(), "say what is different"),
            (
                format!("{full}[machines.\"52:54:00:00:00:01\"]\naddress = \"10.9.0.1\""),
                "`machines.\"52:54:00:00:00:01\".address` cannot be used: 10.9.0.1 is in none",
            ),
        ] {
            let error = check(&format!("[dhcp]\n{text}")).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(
            check("[machines.\"52:54:00:00:00:01\"]\naddress = \"10.0.0.5\"").is_ok(),
            "nobody gives out addresses"
        );
    }
}
