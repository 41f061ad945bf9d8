//! The site file as written: every key optional, nothing checked beyond its type. Flags fill the same structure.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::dhcp::Dhcp;
use super::label::LabelTable;
use super::loader::Loader;
use super::masked;
use super::menu::{LocalDisk, MenuTable};
use super::proxmox::ProxmoxTable;
use crate::model::alpine::RepositoryName;
use crate::model::menu::Policy;
use crate::model::name::{ChannelName, ProfileName};
use crate::model::pairing::UnknownPolicy;
use crate::model::template::Vars;

/// `bivouac.toml`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    /// Folder of profiles; `profiles` when absent.
    pub profiles: Option<PathBuf>,
    /// Folder of overlays; `overlays` when absent.
    pub overlays: Option<PathBuf>,
    /// Folder of everything Bivouac writes; `state` when absent.
    pub state: Option<PathBuf>,
    /// Base URL of the Alpine mirror, or several in the order in which they are asked.
    pub mirror: Option<OneOrMore>,
    /// Base URL of Alpine's security database, for `outdated`, or `off`.
    pub secdb: Option<String>,
    /// What downloads are checked against.
    pub verify: Option<Verify>,
    /// How patient downloads are.
    pub fetch: Option<Fetch>,
    /// The mirror of Alpine that the server is for its clients.
    pub caching_mirror: Option<CachingMirror>,
    /// Folder of iPXE loaders.
    pub loaders: Option<PathBuf>,
    /// Which machines are handed which kind of iPXE, in the order in which the rules are tried.
    pub loader: Option<Vec<Loader>>,
    /// What machines boot that are not named below.
    pub default_profile: Option<ProfileName>,
    /// What machines do when they ask to boot: `boot` their profile, `ask` whoever stands before them, or `local-disk`;
    /// `boot` when absent.
    pub default_policy: Option<Policy>,
    /// What machines do of which neither this file nor a person said anything: `boot` as `default-policy` says, wait in the
    /// `inbox` with a code on their screen until somebody approves them, show the `menu`, boot from their `local-disk`, or
    /// be told that nothing boots here (`ignore`); `boot` when absent.
    pub unknown_policy: Option<UnknownPolicy>,
    /// What machines offer whose policy is `ask`.
    pub menu: Option<MenuTable>,
    /// How machines get to their local disk, in the order in which the rules are tried.
    pub local_disk: Option<Vec<LocalDisk>>,
    /// Machines by the address of their network card.
    pub machines: Option<BTreeMap<String, Follow>>,
    /// Labels that machines have because of what they are, in the order in which the rules are tried.
    pub label: Option<Vec<LabelTable>>,
    /// What is asked of machines that are up, and when they count as broken.
    pub fleet: Option<FleetTable>,
    /// Sites, by the value of their machines' label `site`.
    pub sites: Option<BTreeMap<String, SiteTable>>,
    /// HTTP.
    pub http: Option<Http>,
    /// TFTP.
    pub tftp: Option<Tftp>,
    /// DHCP.
    pub dhcp: Option<Dhcp>,
    /// The cluster of Proxmox VE in which `bivouac proxmox` makes virtual machines.
    pub proxmox: Option<ProxmoxTable>,
}

/// A text, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub enum OneOrMore {
    /// `"a"`
    One(String),
    /// `["a", "b"]`
    More(Vec<String>),
}

impl OneOrMore {
    /// The first of them.
    #[must_use]
    pub fn first(&self) -> Option<String> {
        match self {
            Self::One(one) => Some(one.clone()),
            Self::More(list) => list.first().cloned(),
        }
    }

    /// All of them.
    #[must_use]
    pub fn into_list(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::More(list) => list,
        }
    }
}

/// `[verify]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Verify {
    /// Files with OpenPGP keys that may sign netboot tarballs, besides Alpine's own.
    pub release_keys: Option<Vec<PathBuf>>,
    /// Files with apk keys that may sign package indexes and modloops, besides those of the initramfs.
    pub package_keys: Option<Vec<PathBuf>>,
    /// Names of the checks that are not made.
    pub off: Option<Vec<String>>,
}

/// `[fetch]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fetch {
    /// How often each server is asked for a file before its download fails; 5 when absent.
    pub attempts: Option<usize>,
    /// How long a server may be silent; `30s` when absent.
    pub read_timeout: Option<String>,
    /// How long the download of one file may take, all attempts together; `6h` when absent.
    pub time_limit: Option<String>,
}

/// `[caching-mirror]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CachingMirror {
    /// Whether the server is a mirror of Alpine, below `/alpine`; yes when absent.
    pub enabled: Option<bool>,
    /// How much is kept of packages and release images, such as `20GiB`, which it is when absent.
    pub size: Option<String>,
    /// How old an index may be before upstream is asked for a newer one; `10m` when absent.
    pub max_age: Option<String>,
    /// The repositories that are mirrored; `main`, `community` and `testing` when absent.
    pub repositories: Option<Vec<RepositoryName>>,
}

/// What a machine follows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Follow {
    /// A profile; `default-profile` when absent.
    pub profile: Option<ProfileName>,
    /// One of its channels; `stable` when absent.
    pub channel: Option<ChannelName>,
    /// The address it gets by DHCP, whenever it asks.
    pub address: Option<Ipv4Addr>,
    /// What it does when it asks to boot; `default-policy` when absent.
    pub policy: Option<Policy>,
    /// Its own values of variables, which win over the profile's.
    #[serde(default)]
    pub vars: Vars,
}

/// `[fleet]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FleetTable {
    /// How often machines check in; `5m` when absent.
    pub check_in_interval: Option<String>,
    /// How many boots of one bundle a machine may begin without coming up before it boots its last good one; 3 when
    /// absent.
    pub boot_attempts: Option<u32>,
    /// The time zone by which rollouts keep their hours, such as `Europe/Berlin`; `UTC` when absent.
    pub timezone: Option<String>,
    /// The PostgreSQL database that several servers share, such as `postgres://bivouac@db.example/bivouac`; a file in the
    /// state folder when absent.
    pub database: Option<String>,
}

/// A table below `[sites]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SiteTable {
    /// Its time zone; the fleet's when absent.
    pub timezone: Option<String>,
}

/// `[http]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Http {
    /// Address and port to listen on; `0.0.0.0:80` when absent.
    #[serde(default, deserialize_with = "written_address")]
    pub listen: Option<SocketAddr>,
    /// Base URL machines are told, when it is not the address they reached.
    pub advertise: Option<String>,
    /// How many large files are sent at once, above 1 MiB each; 256 when absent.
    pub transfers: Option<usize>,
    /// Address and port to listen on with TLS; HTTP's address and port 443 when absent and there is a certificate.
    #[serde(default, deserialize_with = "written_address")]
    pub tls_listen: Option<SocketAddr>,
    /// PEM file with the certificate of this server, and the ones that lead to its authority.
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    pub key: Option<PathBuf>,
}

/// `[tftp]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tftp {
    /// Whether loaders are served by TFTP; yes when absent.
    pub enabled: Option<bool>,
    /// Address and port to listen on; HTTP's address and port 69 when absent.
    #[serde(default, deserialize_with = "written_address")]
    pub listen: Option<SocketAddr>,
    /// Whether files come from the port that was asked and not from ports of their own; no when absent. For containers and
    /// networks behind address translation.
    pub single_port: Option<bool>,
}

impl File {
    /// Reads the text of a site file.
    ///
    /// # Errors
    /// Syntax errors and unknown keys, with their line, in which secrets are masked.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        masked::parse(text)
    }

    /// The same file with its relative paths starting at `folder`.
    #[must_use]
    pub fn below(mut self, folder: &Path) -> Self {
        for path in [&mut self.profiles, &mut self.overlays, &mut self.state, &mut self.loaders].into_iter().flatten() {
            *path = folder.join(&*path);
        }
        if let Some(http) = &mut self.http {
            for path in [&mut http.certificate, &mut http.key].into_iter().flatten() {
                *path = folder.join(&*path);
            }
        }
        if let Some(proxmox) = &mut self.proxmox {
            for path in [&mut proxmox.token_file, &mut proxmox.ca].into_iter().flatten() {
                *path = folder.join(&*path);
            }
        }
        if let Some(verify) = &mut self.verify {
            for path in [&mut verify.release_keys, &mut verify.package_keys].into_iter().flatten().flatten() {
                *path = folder.join(&*path);
            }
        }
        self
    }

    /// These values where they are set, `other`'s elsewhere.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            profiles: self.profiles.or(other.profiles),
            overlays: self.overlays.or(other.overlays),
            state: self.state.or(other.state),
            mirror: self.mirror.or(other.mirror),
            secdb: self.secdb.or(other.secdb),
            verify: both(self.verify, other.verify, |a, b| Verify {
                // Keys add up: a flag for one more key must not take the site's away.
                release_keys: match (a.release_keys, b.release_keys) {
                    (Some(first), Some(second)) => Some(first.into_iter().chain(second).collect()),
                    (first, second) => first.or(second),
                },
                package_keys: a.package_keys.or(b.package_keys),
                off: a.off.or(b.off),
            }),
            fetch: both(self.fetch, other.fetch, |a, b| Fetch {
                attempts: a.attempts.or(b.attempts),
                read_timeout: a.read_timeout.or(b.read_timeout),
                time_limit: a.time_limit.or(b.time_limit),
            }),
            caching_mirror: both(self.caching_mirror, other.caching_mirror, |a, b| CachingMirror {
                enabled: a.enabled.or(b.enabled),
                size: a.size.or(b.size),
                max_age: a.max_age.or(b.max_age),
                repositories: a.repositories.or(b.repositories),
            }),
            loaders: self.loaders.or(other.loaders),
            loader: self.loader.or(other.loader),
            default_profile: self.default_profile.or(other.default_profile),
            default_policy: self.default_policy.or(other.default_policy),
            unknown_policy: self.unknown_policy.or(other.unknown_policy),
            menu: self.menu.or(other.menu),
            local_disk: self.local_disk.or(other.local_disk),
            machines: self.machines.or(other.machines),
            label: self.label.or(other.label),
            fleet: both(self.fleet, other.fleet, |a, b| FleetTable {
                check_in_interval: a.check_in_interval.or(b.check_in_interval),
                boot_attempts: a.boot_attempts.or(b.boot_attempts),
                timezone: a.timezone.or(b.timezone),
                database: a.database.or(b.database),
            }),
            sites: self.sites.or(other.sites),
            http: both(self.http, other.http, |a, b| Http {
                listen: a.listen.or(b.listen),
                advertise: a.advertise.or(b.advertise),
                transfers: a.transfers.or(b.transfers),
                tls_listen: a.tls_listen.or(b.tls_listen),
                certificate: a.certificate.or(b.certificate),
                key: a.key.or(b.key),
            }),
            tftp: both(self.tftp, other.tftp, |a, b| Tftp {
                enabled: a.enabled.or(b.enabled),
                listen: a.listen.or(b.listen),
                single_port: a.single_port.or(b.single_port),
            }),
            dhcp: both(self.dhcp, other.dhcp, Dhcp::or),
            // No flag stands for any of it.
            proxmox: self.proxmox.or(other.proxmox),
        }
    }
}

fn both<T>(first: Option<T>, second: Option<T>, join: impl FnOnce(T, T) -> T) -> Option<T> {
    match (first, second) {
        (Some(first), Some(second)) => Some(join(first, second)),
        (first, second) => first.or(second),
    }
}

/// Reads an address with its port, as one writes it in the site file or on the command line.
///
/// # Errors
/// What to write instead.
pub fn address_and_port(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is no address with a port; write both, such as 0.0.0.0:80 or [::]:80"))
}

fn written_address<'de, D: Deserializer<'de>>(written: D) -> Result<Option<SocketAddr>, D::Error> {
    address_and_port(&String::deserialize(written)?).map(Some).map_err(D::Error::custom)
}
