//! The site file `bivouac.toml`, and the flags that override it, into [`Settings`] that are true.
//!
//! Reading is strict (an unknown key is an error) and checking is complete: nothing starts on settings that were not
//! looked at as a whole. Relative paths start at the folder of the file.

mod dhcp;
mod fetch;
mod file;
mod fleet;
mod http;
mod label;
mod lease;
mod loader;
mod masked;
mod menu;
mod mirror;
mod proxmox;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use dhcp::{Dhcp, DhcpSettings, WrittenQuirk, WrittenSubnet};
pub use fetch::FetchSettings;
pub use fleet::FleetSettings;
pub use http::{HttpSettings, HttpsSettings};
pub use label::LabelTable;
pub use loader::Loader;
pub use menu::{EntryTable, LocalDisk, MenuTable};
pub use mirror::MirrorSettings;
pub use proxmox::{HardwareError, HardwareTable, ProxmoxSettings, ProxmoxTable, ProxmoxTrust};

use crate::model::check::Check;
use crate::model::database::{DatabasePlace, ServerUrlError};
use crate::model::loader::LoaderRule;
use crate::model::mac::Mac;
use crate::model::menu::{DiskRule, Menu};
use crate::model::name::{ChannelName, ProfileName, nearest};
use crate::model::net::{PlanError, SubnetError, TransferPorts};
use crate::model::plan::{Assignment, Assignments};
use crate::model::url::without_login;
pub use file::{
    CachingMirror, Fetch, File, FleetTable, Follow, Http, OneOrMore, SiteTable, Tftp, Verify, address_and_port,
};

/// The name of the site file, looked for in the working folder.
pub const FILE_NAME: &str = "bivouac.toml";

/// Alpine's public mirror, used when the site names none.
pub const DEFAULT_MIRROR: &str = "https://dl-cdn.alpinelinux.org/alpine";

/// Alpine's security database, used when the site names no other.
pub const DEFAULT_SECDB: &str = "https://secdb.alpinelinux.org";

/// RFC 1350.
const TFTP_PORT: u16 = 69;

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and cannot be read, or was named and is not there.
    #[error("cannot read the site file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("cannot parse {}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A value that cannot be used. One that may be an address is shown without its password.
    #[error("`{key}` cannot be `{}`: {why}", without_login(value))]
    Value {
        /// The key, as in the file.
        key: &'static str,
        /// The value.
        value: String,
        /// What would be right.
        why: String,
    },
    /// A virtual machine cannot be made so.
    #[error(transparent)]
    Hardware(#[from] HardwareError),
    /// The fleet's database cannot be there. Its URL is not shown: it may have a password.
    #[error("`fleet.database` cannot be used")]
    Database(#[from] ServerUrlError),
    /// A network of `[dhcp]` does not hold together.
    #[error("`{key}` cannot be `{value}`")]
    Subnet {
        /// The key, as in the file.
        key: &'static str,
        /// What names the network there.
        value: String,
        /// Why.
        source: SubnetError,
    },
    /// The networks of `[dhcp]` are in the way of each other.
    #[error("the networks of `[dhcp]` cannot be used")]
    Plan(#[source] PlanError),
    /// A machine cannot have the address it was promised.
    #[error("`machines.\"{mac}\".address` cannot be used")]
    Reservation {
        /// The machine.
        mac: Mac,
        /// Why.
        #[source]
        why: PlanError,
    },
    /// `mode = "reservations"` and nothing is reserved.
    #[error(
        "`dhcp.mode` is `reservations` and no machine has an address; write one, such as `[machines.\"52:54:00:12:34:56\"]` with `address = \"10.0.0.50\"`, and its network as a `[[dhcp.subnet]]`"
    )]
    NoReservation,
    /// `mode = "full"` without addresses to give out.
    #[error(
        "`dhcp.mode` is `full` and there is no pool; set `dhcp.pool` (or --pool) to the first and last address, such as \"10.0.0.100-10.0.0.199\""
    )]
    NoPool,
}

/// Settings after all checks: every default filled in, every path ready to use.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Folder of profiles.
    pub profiles: PathBuf,
    /// Folder of overlays.
    pub overlays: PathBuf,
    /// Folder of everything Bivouac writes: store, cache, fleet database, keys.
    pub state: PathBuf,
    /// Base URLs of the Alpine mirrors, in the order in which they are asked, without a final slash.
    pub mirrors: Vec<String>,
    /// Base URL of Alpine's security database, without a final slash; nothing when nobody is to be asked.
    pub secdb: Option<String>,
    /// What downloads are checked against.
    pub verify: VerifySettings,
    /// How patient downloads are.
    pub fetch: FetchSettings,
    /// The caching mirror.
    pub caching_mirror: MirrorSettings,
    /// Folder of iPXE loaders, when the distribution's places are not to be used.
    pub loaders: Option<PathBuf>,
    /// Which machines are handed which kind of iPXE; the first rule about a machine counts.
    pub loader_rules: Vec<LoaderRule>,
    /// Who follows what.
    pub assignments: Assignments,
    /// What machines offer whose policy is to ask.
    pub menu: Menu,
    /// How machines get to their local disk; the first rule about a machine counts.
    pub disk_rules: Vec<DiskRule>,
    /// What is asked of machines that are up.
    pub fleet_settings: FleetSettings,
    /// HTTP and HTTPS.
    pub http: HttpSettings,
    /// Where TFTP listens; off when absent.
    pub tftp: Option<SocketAddr>,
    /// From which ports its files come.
    pub tftp_ports: TransferPorts,
    /// DHCP.
    pub dhcp: DhcpSettings,
    /// The cluster of virtual machines.
    pub proxmox: ProxmoxSettings,
}

/// `[verify]` after all checks; the files are read when something is fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifySettings {
    /// Files with OpenPGP keys besides Alpine's.
    pub release_keys: Vec<PathBuf>,
    /// Files with apk keys besides those of the initramfs.
    pub package_keys: Vec<PathBuf>,
    /// The checks that are not made.
    pub off: BTreeSet<Check>,
}

impl Settings {
    /// Reads `path`, or the site file of the working folder when there is one, and lets `flags` override it.
    ///
    /// # Errors
    /// When the file cannot be read or used. A file that was not asked for need not exist.
    pub fn load(path: Option<&Path>, flags: File) -> Result<Self, ConfigError> {
        let (path, required) = path.map_or((Path::new(FILE_NAME), false), |path| (path, true));
        let folder = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => String::new(),
            Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
        };
        let file = File::parse(&text)
            .map_err(|source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) })?
            .below(&folder);
        Self::check(flags.or(file))
    }

    /// Checks what was written, fills in what was not.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn check(file: File) -> Result<Self, ConfigError> {
        let fallback = file.default_profile.map(|profile| follow(profile, None));
        let policy = file.default_policy.unwrap_or_default();
        let labels = label::rules(file.label.unwrap_or_default())?;
        let unknown = file.unknown_policy.unwrap_or_default();
        let mut assignments = Assignments { fallback, policy, unknown, labels, ..Assignments::default() };
        let mut reserved = BTreeMap::new();
        for (mac, Follow { profile, channel, address: own, policy, vars }) in file.machines.unwrap_or_default() {
            let address: Mac = mac.parse().map_err(|_| ConfigError::Value {
                key: "machines",
                value: mac.clone(),
                why: "write the address of the network card, such as \"52:54:00:12:34:56\"".to_owned(),
            })?;
            if profile.is_none() && channel.is_some() {
                return Err(ConfigError::Value {
                    key: "machines",
                    value: mac,
                    why: "a channel is one of a profile; name the profile too".to_owned(),
                });
            }
            if let Some(profile) = profile {
                assignments.by_mac.insert(address, follow(profile, channel));
            }
            if let Some(own) = own {
                reserved.insert(address, own);
            }
            if let Some(policy) = policy {
                assignments.policies.insert(address, policy);
            }
            if assignments.vars.insert(address, vars).is_some() {
                return Err(ConfigError::Value {
                    key: "machines",
                    value: mac,
                    why: "this machine is in the file twice; take one out".to_owned(),
                });
            }
        }
        let http = HttpSettings::check(file.http.unwrap_or_default())?;
        let tftp = file.tftp.unwrap_or_default();
        let tftp_listen = tftp.listen.unwrap_or(SocketAddr::new(http.listen.ip(), TFTP_PORT));
        Ok(Self {
            profiles: file.profiles.unwrap_or_else(|| PathBuf::from("profiles")),
            overlays: file.overlays.unwrap_or_else(|| PathBuf::from("overlays")),
            state: file.state.unwrap_or_else(|| PathBuf::from("state")),
            mirrors: mirrors(file.mirror)?,
            secdb: secdb(file.secdb.as_deref().unwrap_or(DEFAULT_SECDB))?,
            verify: verify(file.verify.unwrap_or_default())?,
            fetch: FetchSettings::check(file.fetch.unwrap_or_default())?,
            caching_mirror: MirrorSettings::check(file.caching_mirror.unwrap_or_default())?,
            loaders: file.loaders,
            loader_rules: loader::rules(file.loader.unwrap_or_default())?,
            assignments,
            menu: menu::menu(file.menu.unwrap_or_default())?,
            disk_rules: menu::disk_rules(file.local_disk.unwrap_or_default())?,
            fleet_settings: FleetSettings::check(file.fleet.unwrap_or_default(), file.sites.unwrap_or_default())?,
            http,
            tftp: tftp.enabled.unwrap_or(true).then_some(tftp_listen),
            tftp_ports: if tftp.single_port == Some(true) { TransferPorts::Single } else { TransferPorts::Own },
            dhcp: DhcpSettings::check(file.dhcp.unwrap_or_default(), reserved)?,
            proxmox: ProxmoxSettings::check(file.proxmox.unwrap_or_default())?,
        })
    }

    /// The folder of blobs, bundles and releases.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.state.join("store")
    }

    /// The folder of verified downloads; anything in it may be deleted.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.state.join("cache")
    }

    /// The folder of the caching mirror; anything in it may be deleted.
    #[must_use]
    pub fn mirror(&self) -> PathBuf {
        self.state.join("mirror")
    }

    /// The fleet database.
    #[must_use]
    pub fn fleet(&self) -> DatabasePlace {
        match &self.fleet_settings.database {
            Some(url) => DatabasePlace::Server(url.clone()),
            None => DatabasePlace::File(self.state.join("fleet.sqlite")),
        }
    }

    /// The folder of the leases that the DHCP server gave.
    #[must_use]
    pub fn leases(&self) -> PathBuf {
        self.state.join("dhcp")
    }

    /// The folder of iPXE loaders added to this site, which come before all others.
    #[must_use]
    pub fn own_loaders(&self) -> PathBuf {
        self.state.join("loaders")
    }

    /// The folder of the site's signing key.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.state.join("keys")
    }
}

fn follow(profile: ProfileName, channel: Option<ChannelName>) -> Assignment {
    Assignment { profile, channel: channel.unwrap_or_else(ChannelName::default_channel) }
}

fn mirrors(written: Option<OneOrMore>) -> Result<Vec<String>, ConfigError> {
    let list = written.map_or_else(|| vec![DEFAULT_MIRROR.to_owned()], OneOrMore::into_list);
    if list.is_empty() {
        let why = "name at least one mirror, or take the key out".to_owned();
        return Err(ConfigError::Value { key: "mirror", value: "[]".to_owned(), why });
    }
    list.iter().map(|url| base_url("mirror", url)).collect()
}

fn secdb(written: &str) -> Result<Option<String>, ConfigError> {
    if written == "off" {
        return Ok(None);
    }
    let refuse = |_| ConfigError::Value {
        key: "secdb",
        value: written.to_owned(),
        why: format!("write a URL such as \"{DEFAULT_SECDB}\", or \"off\" to ask nobody"),
    };
    base_url("secdb", written).map(Some).map_err(refuse)
}

fn verify(file: Verify) -> Result<VerifySettings, ConfigError> {
    let mut off = BTreeSet::new();
    for name in file.off.unwrap_or_default() {
        let Some(check) = Check::named(&name) else {
            let near = nearest(&name, Check::ALL.map(Check::name));
            let why = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the checks are {}", Check::list(&Check::ALL.into())),
            };
            return Err(ConfigError::Value { key: "verify.off", value: name, why });
        };
        off.insert(check);
    }
    Ok(VerifySettings {
        release_keys: file.release_keys.unwrap_or_default(),
        package_keys: file.package_keys.unwrap_or_default(),
        off,
    })
}

/// A base URL that iPXE and the kernel command line can carry.
fn base_url(key: &'static str, url: &str) -> Result<String, ConfigError> {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'$' | b'\\' | b'?' | b'#' | b'&' | b'|');
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let good = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) && url.bytes().all(plain);
    if !good {
        return Err(ConfigError::Value {
            key,
            value: url.to_owned(),
            why: "write a URL such as \"http://mirror.example.net/alpine\"".to_owned(),
        });
    }
    Ok(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::net::DhcpMode;

    fn check(text: &str) -> Result<Settings, ConfigError> {
        Settings::check(File::parse(text).unwrap())
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        let settings = check("").unwrap();
        assert_eq!(settings.mirrors, [DEFAULT_MIRROR]);
        assert!(settings.verify.off.is_empty());
        assert_eq!(settings.http.listen.to_string(), "0.0.0.0:80");
        assert_eq!(settings.tftp.unwrap().to_string(), "0.0.0.0:69");
        assert_eq!(settings.tftp_ports, TransferPorts::Own);
        assert_eq!(check("[tftp]\nsingle-port = true").unwrap().tftp_ports, TransferPorts::Single);
        assert_eq!(settings.dhcp.mode, DhcpMode::Proxy);
        assert_eq!(settings.store(), Path::new("state/store"));
    }

    #[test]
    fn flags_win_over_the_file_and_relative_paths_start_at_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.toml");
        std::fs::write(&path, "state = \"var\"\nmirror = \"http://a/alpine/\"\n[http]\nlisten = \"127.0.0.1:8080\"")
            .unwrap();
        let flags = File { mirror: Some(OneOrMore::One("http://b".to_owned())), ..File::default() };
        let settings = Settings::load(Some(&path), flags).unwrap();
        assert_eq!(settings.state, folder.path().join("var"));
        assert_eq!(settings.mirrors, ["http://b"]);
        assert_eq!(settings.http.listen.port(), 8080);
    }

    #[test]
    fn several_mirrors_keep_their_order_and_key_files_start_at_the_site_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.toml");
        let text = "mirror = [\"http://a/alpine/\", \"https://b\"]\n\
                    [verify]\nrelease-keys = [\"own.asc\"]\npackage-keys = [\"/k/own.rsa.pub\"]\noff = [\"kernel\"]\n";
        std::fs::write(&path, text).unwrap();
        let settings = Settings::load(Some(&path), File::default()).unwrap();
        assert_eq!(settings.mirrors, ["http://a/alpine", "https://b"]);
        assert_eq!(settings.verify.release_keys, [folder.path().join("own.asc")]);
        assert_eq!(settings.verify.package_keys, [Path::new("/k/own.rsa.pub")]);
        assert_eq!(settings.verify.off, BTreeSet::from([Check::Kernel]));
    }

    #[test]
    fn an_unknown_key_is_an_error_that_lists_the_known_ones() {
        let error = File::parse("stroe = \"x\"").unwrap_err().to_string();
        assert!(error.contains("unknown field `stroe`"), "{error}");
        assert!(error.contains("`state`"), "{error}");
        assert!(File::parse("[dhcp]\nmodus = \"x\"").is_err());
    }

    #[test]
    fn values_nobody_can_mean_are_errors_that_say_what_to_write() {
        for (text, said) in [
            ("mirror = \"ftp://x\"", "`mirror` cannot be `ftp://x`: write a URL"),
            ("mirror = []", "name at least one mirror"),
            ("[verify]\noff = [\"signatur\"]", "`verify.off` cannot be `signatur`: did you mean `signature`?"),
            ("[verify]\noff = [\"all\"]", "the checks are signature, modloop, kernel, replay"),
            (
                "[machines.\"52:54:00:00:00:01\"]\nprofile = \"a\"\n[machines.\"52-54-00-00-00-01\"]\nprofile = \"b\"",
                "is in the file twice",
            ),
            ("[machines.x]\nprofile = \"vdi\"", "`machines` cannot be `x`"),
        ] {
            let error = check(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_machine_named_in_the_file_follows_its_profile_and_channel() {
        let text =
            "default-profile = \"hello\"\n[machines.\"52-54-00-00-00-01\"]\nprofile = \"vdi\"\nchannel = \"beta\"";
        let assignments = check(text).unwrap().assignments;
        let own = assignments.of(&"52:54:00:00:00:01".parse().unwrap()).unwrap();
        assert_eq!((own.profile.as_str(), own.channel.as_str()), ("vdi", "beta"));
        let other = assignments.of(&"52:54:00:00:00:02".parse().unwrap()).unwrap();
        assert_eq!((other.profile.as_str(), other.channel.as_str()), ("hello", "stable"));
    }
}
