//! What can be written on the command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::events::EventsArgs;
use super::fetch::Extent;
use super::loaders::LoadersArgs;
use super::log::LogFormat;
use super::mirror::MirrorArgs;
use super::pipeline::How;
use super::proxmox::ProxmoxArgs;
use super::recipe::RecipeArgs;
use super::render::RenderArgs;
use super::rollout::{PromoteArgs, RolloutArgs};
use super::schema::Schemed;
use super::solve::SolveArgs;
use super::to_publish::ToPublish;
use super::trial::TryArgs;
use super::workshop::Access;
use crate::config::{Dhcp, File, Http, OneOrMore, Tftp, Verify, address_and_port};
use crate::model::alpine::{Arch, ReleaseSpec};
use crate::model::name::{BundleRef, ChannelName, DEFAULT_CHANNEL, ProfileName};
use crate::model::net::DhcpMode;

/// Boots machines without disks: builds immutable Alpine bundles from profile folders, serves them over the network,
/// and shows which machines really came up.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(super) struct Args {
    /// The site file; without this, bivouac.toml of the working folder, or, in a folder with neither that nor profiles,
    /// /etc/bivouac/site.toml
    #[arg(long, short = 'c', global = true, value_name = "FILE", env = "BIVOUAC_SITE")]
    pub(super) site: Option<PathBuf>,

    /// Say more in the log
    #[arg(long, short, global = true)]
    pub(super) verbose: bool,

    /// What the log looks like: lines for people, or one JSON object a line
    #[arg(long, global = true, value_name = "FORMAT", env = "BIVOUAC_LOG_FORMAT", default_value = "text")]
    pub(super) log_format: LogFormat,

    #[command(flatten)]
    pub(super) site_flags: SiteFlags,

    #[command(subcommand)]
    pub(super) command: Command,
}

/// Flags that stand for keys of the site file.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Site (each overrides its key in the site file)")]
pub(super) struct SiteFlags {
    /// Folder of everything Bivouac writes: store, cache, fleet database, keys [default: state]
    #[arg(long, global = true, value_name = "FOLDER")]
    state: Option<PathBuf>,

    /// Folder of profiles [default: profiles]
    #[arg(long = "profiles", id = "profiles-folder", global = true, value_name = "FOLDER")]
    profiles: Option<PathBuf>,

    /// Folder of overlays [default: overlays]
    #[arg(long, global = true, value_name = "FOLDER")]
    overlays: Option<PathBuf>,

    /// Alpine mirror; may be repeated, the next one is asked when one fails [default:
    /// https://dl-cdn.alpinelinux.org/alpine]
    #[arg(long, global = true, value_name = "URL")]
    mirror: Vec<String>,

    /// File with an OpenPGP key that may sign netboot tarballs, besides Alpine's and those of the site file; may be
    /// repeated
    #[arg(long, global = true, value_name = "FILE")]
    release_key: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Build what changed, publish it, and serve: everything in one
    ///
    /// Profiles and overlays that change meanwhile, and all of them on SIGHUP, are built and published again; machines boot
    /// the new release the next time. A profile that cannot be built keeps its release, and the log says why; one whose
    /// channel a rollout moves is published when that is over. Everything else is as `serve` does it.
    Up {
        /// Profiles to build; all when none is named
        profiles: Vec<ProfileName>,
        #[command(flatten)]
        how: Building,
        #[command(flatten)]
        serve: ServeFlags,
    },
    /// Download and verify the Alpine files profiles need
    ///
    /// The netboot tarball of each release is checked by SHA-256, SHA-512 and its OpenPGP signature, its modloop by the
    /// signature in the initramfs; kernel, initramfs and modloop must be of one kernel release. `[verify]` in the site
    /// file adds keys or switches a check off by name.
    Fetch {
        /// Profiles; all when none is named
        profiles: Vec<ProfileName>,
        /// Fetch package indexes and packages too, so that `build --offline` works
        #[arg(long)]
        packages: bool,
        #[command(flatten)]
        list: ListFlags,
        #[command(flatten)]
        sources: Sources,
    },
    /// Look for mistakes in profiles: what would break or expose their machines, and what to do
    ///
    /// Errors stop a build, warnings do not. A finding that is no mistake is allowed in the profile, with a reason:
    /// `[[allow]]` with `rule`, `path` and `reason`. Ends with 1 when there are errors.
    Check {
        /// Profiles; all when none is named
        profiles: Vec<ProfileName>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Write down the exact release and packages of profiles, or refresh what is written
    ///
    /// What a profile's packages come to is kept in profiles/NAME/lock.toml, and builds use it until it is refreshed; a
    /// build makes it where there is none. Keep it in version control. Without --update, a lock changes only as far as its
    /// profile has. Every difference is shown.
    Lock {
        /// Profiles; all when none is named
        profiles: Vec<ProfileName>,
        /// Take the newest release and packages; only of the packages named, with what has to go along with them, when
        /// some are
        #[arg(long, value_name = "PACKAGE", num_args = 0..)]
        update: Option<Vec<String>>,
        /// Write nothing, only show what would change
        #[arg(long)]
        dry_run: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        sources: Sources,
    },
    /// Show what the mirror has that is newer than the locks of profiles
    ///
    /// Packages in other versions, those an update would bring or drop, those that are gone, and a newer Alpine; and
    /// which advisories of Alpine's security database an update would fix. Changes no lock, and downloads lists only,
    /// where the locked release is in the cache. Ends with 0 when nothing is newer, 1 when anything is, 2 when it
    /// cannot tell.
    Outdated {
        /// Profiles; all when none is named
        profiles: Vec<ProfileName>,
        /// Base URL of Alpine's security database, or `off` [default: https://secdb.alpinelinux.org]
        #[arg(long, value_name = "URL")]
        secdb: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what a list of packages would install, one name=version a line, sorted by name
    ///
    /// From index files, or from the indexes of a release. Ends with 1, and says why, where apk would install nothing.
    /// Nothing is downloaded but indexes and what they are verified by.
    Solve(SolveArgs),
    /// Make bundles from profiles, ready to publish
    ///
    /// Each is built from the exact packages of its lock, profiles/NAME/lock.toml, which is made where there is none.
    Build {
        /// Profiles; all when none is named
        profiles: Vec<ProfileName>,
        #[command(flatten)]
        how: Building,
    },
    /// Make built or imported bundles the newest release of their profiles
    Publish {
        /// PROFILE: what was built or imported last. PROFILE@NUMBER, PROFILE:CHANNEL, or a bundle id or its beginning:
        /// that very bundle, to go back to it or to bring it into another channel
        #[arg(value_name = "REF", required = true)]
        wanted: Vec<ToPublish>,
        /// The channel that shall point at the new release
        #[arg(long, default_value = DEFAULT_CHANNEL)]
        channel: ChannelName,
    },
    /// Serve published bundles by DHCP, TFTP and HTTP
    ///
    /// Releases that are published meanwhile are seen at once. The site file, its certificate and the loaders are read
    /// again when they change and on SIGHUP, without a break: who boots what, menus, labels, loader rules, DHCP
    /// networks and quirks hold from the next answer on; the log names what waits for a restart, such as ports and
    /// interfaces. A file with a mistake changes nothing.
    ///
    /// SIGTERM and Ctrl-C let transfers end for 15 seconds, and a second signal ends at once. systemd is told of
    /// readiness, reloads and the end (Type=notify), and may have opened the sockets: FileDescriptorName= is http,
    /// https, tftp, dhcp or pxe.
    Serve(ServeFlags),
    /// List profiles, their releases and what channels point at
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a bundle holds
    Show {
        /// PROFILE, PROFILE@NUMBER, PROFILE:CHANNEL, or a bundle id or its beginning
        #[arg(value_name = "REF")]
        reference: BundleRef,
        /// As JSON: the manifest itself
        #[arg(long)]
        json: bool,
    },
    /// Print what a bundle is made of, for licence and vulnerability tools (SBOM)
    ///
    /// A CycloneDX 1.6 document in JSON: every package with version, licence, origin, maintainer, SHA-256 and what it
    /// needs; kernel, initramfs, modloop and overlay; and the Alpine release. The same bundle gives the same bytes at
    /// every site and at any time, so the document has no timestamp.
    Sbom {
        /// PROFILE, PROFILE@NUMBER, PROFILE:CHANNEL, or a bundle id or its beginning; a profile that has no release is
        /// what its last build made
        #[arg(value_name = "REF")]
        reference: BundleRef,
    },
    /// Look whether what is in the store is still as it was put there
    ///
    /// Reads every file of the bundles, published, imported or just built, and compares its SHA-256 with the one it is
    /// stored under; 1 when something is damaged or missing. For a disk that is in doubt, or a copy of the state folder.
    Verify {
        /// Only this bundle: PROFILE, PROFILE@NUMBER, PROFILE:CHANNEL, or a bundle id or its beginning
        #[arg(value_name = "REF")]
        reference: Option<BundleRef>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make the folder of a new profile, ready to build
    New {
        /// Its name
        name: ProfileName,
        /// A profile that the new one extends: it has everything of that one and changes some of it
        #[arg(long, value_name = "PROFILE")]
        from: Option<ProfileName>,
    },
    /// Show where each value, file, package and service of a profile comes from, and what it hid
    Explain {
        /// The profile
        profile: ProfileName,
        /// Only this: a path on the machine (or a folder), a package, service, kernel argument, user, variable or key
        what: Option<String>,
        /// As JSON: what was taken out has the value null
        #[arg(long)]
        json: bool,
    },
    /// Print a JSON schema of a file that people write, for their editors
    Schema {
        /// Of which file
        #[arg(value_enum, default_value = "profile")]
        of: Schemed,
    },
    /// Write bundles into one file, for a site that no network leads to
    ///
    /// The file has everything the bundles need to boot, and nothing of this site: the same bundles give the same bytes
    /// everywhere. An export that was stopped leaves FILE.part; the same command goes on with it. FILE is an OCI image
    /// archive: `skopeo inspect oci-archive:FILE:PROFILE-ID` shows a bundle, with the first twelve digits of its id.
    Export {
        /// PROFILE, PROFILE@NUMBER, PROFILE:CHANNEL, or a bundle id or its beginning; a profile that has no release is
        /// what its last build made
        #[arg(value_name = "REF", required = true)]
        references: Vec<BundleRef>,
        /// The file to write; one that is there is replaced
        file: PathBuf,
        /// Write an OCI image layout instead: FILE is a folder, new, empty or with a layout that gets the bundles too
        #[arg(long)]
        oci: bool,
    },
    /// Take in the bundles of an export, or make a profile of an archive of lbu
    ///
    /// An archive of lbu (HOST.apkovl.tar.gz) becomes profiles/NAME, which builds back to an archive with the same
    /// files, owners and modes. What became a setting, what was left out and why is said. Host keys and other secrets go
    /// to secrets/NAME beside the folder of profiles, and into no bundle.
    ///
    /// The bundles of an export are ready to publish then. Every byte is verified; an archive of which anything is
    /// missing or different is refused. What is in the store already is not copied again, so an import that was stopped
    /// goes on. Compare the ids it prints with those the export printed: an archive says what it holds, not who made
    /// it.
    Import {
        /// The archive; of `export --oci`, the folder
        file: PathBuf,
        /// For an archive of lbu: the profile to make
        name: Option<ProfileName>,
    },
    /// List what is in an overlay archive, and what Alpine's init would make of it
    ///
    /// Takes a file (HOST.apkovl.tar.gz), a bundle, or a profile as it stands (`NAME/`). Nothing is written.
    Inspect {
        /// A file, NAME/, or PROFILE, PROFILE@NUMBER, PROFILE:CHANNEL, or a bundle id or its beginning
        #[arg(value_name = "WHAT")]
        what: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what two archives, bundles or profiles do not have alike
    ///
    /// Each is a file (HOST.apkovl.tar.gz); a bundle: PROFILE@NUMBER, PROFILE:CHANNEL, an id or its beginning; or a
    /// profile as it stands: `NAME/`, or the path of its folder. NAME alone is what channel stable has, else what was
    /// built last, else the profile as it stands. Exit code 0 means no difference, 1 that there is one, 2 that it
    /// failed.
    Diff {
        /// What it was
        #[arg(value_name = "A")]
        before: String,
        /// What it is
        #[arg(value_name = "B")]
        after: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove what is not needed any more from the cache, the caching mirror and the store
    ///
    /// From the cache and the mirror: releases, packages and indexes that nothing has used for a while, unfinished
    /// downloads, and what crashes left. From the store: blobs that no bundle names. Bundles, releases and channels all
    /// stay.
    Gc {
        /// How long something in the cache may lie unused, such as 12h, 30d, 0s
        #[arg(long, value_name = "AGE", default_value = "30d")]
        unused: humantime::Duration,
        /// Remove nothing, only say what would be removed
        #[arg(long)]
        dry_run: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List the iPXE loaders there are, add and remove some, tell which one a machine gets
    Loaders(LoadersArgs),
    /// Print what another DHCP server must say so that machines boot from this one
    ///
    /// For sites where the DHCP server does it all and Bivouac answers none: `[dhcp] mode = "off"`.
    DhcpRecipe(RecipeArgs),
    /// Show the files that templates make for a machine
    ///
    /// From the profile's folder as it is now, without a build: to try out a template.
    Render(RenderArgs),
    /// Fill the caching mirror, and show what it holds
    ///
    /// `serve` answers as a mirror of Alpine below /alpine: a client that has `http://SERVER/alpine/v3.24/main` in
    /// /etc/apk/repositories installs through it. `[caching-mirror]` in the site file says how much is kept.
    Mirror(MirrorArgs),
    /// Boot a bundle in QEMU, and wait until the machine reports that it is well
    ///
    /// Needs no root and no network: the machine has a network of its own, which leads to a server of its own on this
    /// computer and, without `--network open`, nowhere else. It gets the very bundle that other machines get; nothing is
    /// published. Ends with 0 when the machine runs what it was told to and its required health checks are well; with 1
    /// when not, and says which step is missing; with 2 when it could not be tried.
    Try(TryArgs),
    /// Say what keeps machines from booting, and what to do about it
    ///
    /// Looks at interfaces, ports, loaders, disk, clock, the store and the database; asks a running server for its script
    /// and a loader, as machines do; and sends a DISCOVER on each interface to hear which DHCP and PXE servers answer with
    /// what. Needs root for the last. Ends with 1 when something is wrong.
    Doctor(DoctorArgs),
    /// List the addresses that the DHCP server gave out, and those that machines have of their own
    Leases {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List machines: what they boot, how far they got, what they run; `machines show` for one
    Machines(MachinesArgs),
    /// Say what machines boot, instead of what the site file says
    Assign(AssignArgs),
    /// Move a channel to another release in batches, watching that machines come up with it
    Rollout(RolloutArgs),
    /// Let a channel point at another release at once, such as that of another channel
    Promote(PromoteArgs),
    /// Print what was commanded and decided, by whom, when and why
    Events(EventsArgs),
    /// Make and look after virtual machines without disks on a Proxmox VE cluster
    ///
    /// `[proxmox]` in the site file says where its API is: `server`, `token-file` with USER@REALM!NAME=SECRET, and `ca`
    /// or `fingerprint` to know its certificate by. Only virtual machines with the tag of the site (`bivouac`) are ever
    /// touched.
    Proxmox(ProxmoxArgs),
    /// Write the manual pages of all commands into a folder
    Man {
        /// The folder; made when it is not there
        folder: PathBuf,
    },
    /// Print what a shell reads to complete these commands
    ///
    /// For bash: `bivouac completions bash > /etc/bash_completion.d/bivouac`. Packages of Bivouac bring them.
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// Arguments of `machines`.
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct MachinesArgs {
    #[command(subcommand)]
    pub(super) command: Option<MachinesCommand>,

    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What to do with machines besides listing them.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum MachinesCommand {
    /// Show a machine's last boot step by step: times, bytes, speed, and what it means when a step is missing
    Show(ShowMachineArgs),
    /// Set labels of machines, or take some away
    Label {
        /// Which: an address, a host name, a serial number, or labels such as site=berlin,room=12|13; `all`
        #[arg(value_name = "WHO")]
        whom: String,
        /// KEY=VALUE, or KEY alone; KEY- takes it away
        #[arg(value_name = "LABEL", required = true)]
        labels: Vec<String>,
        #[command(flatten)]
        reason: Reason,
    },
    /// Set values of a machine for templates, over those of the site file, or take some away
    Set {
        /// Which: an address, a host name, or a serial number
        #[arg(value_name = "WHO")]
        whom: String,
        /// NAME=VALUE; lists with commas. NAME- takes it away
        #[arg(value_name = "VALUE", required = true)]
        values: Vec<String>,
        #[command(flatten)]
        reason: Reason,
    },
    /// Write what people said of machines as CSV: columns mac, assign, label.KEY and vars.NAME
    Export {
        /// The file; printed when absent
        file: Option<PathBuf>,
    },
    /// Take in such a table, all of it or nothing. An empty cell says nothing, `-` takes away what there is, and after a
    /// backslash all is meant literally
    Import {
        /// The file
        file: PathBuf,
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        reason: Reason,
    },
    /// List the machines nobody knows that wait to be approved, with the codes on their screens
    Inbox {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Let machines boot that nobody knew
    Approve {
        /// Which: the code on its screen, an address, a serial number, or labels
        #[arg(value_name = "CODE|WHO")]
        whom: String,
        /// What they boot: PROFILE, PROFILE:CHANNEL or PROFILE@NUMBER; what the site file says when absent
        #[arg(long, value_name = "WHAT")]
        profile: Option<String>,
        #[command(flatten)]
        reason: Reason,
    },
    /// Say that machines in conflict are as they are meant to be: a clone is a machine of its own, a dock is shared
    Settle {
        /// Which: an address, a host name, a serial number, or labels
        #[arg(value_name = "WHO")]
        whom: String,
        #[command(flatten)]
        reason: Reason,
    },
    /// Forget machines with their labels, assignments and boots; one that boots again is there anew
    Forget {
        /// Which: an address, a host name, a serial number, or labels
        #[arg(value_name = "WHO")]
        whom: String,
        #[command(flatten)]
        reason: Reason,
    },
    /// Ask machines that are up to reboot; they learn of it when they check in next
    Reboot {
        /// Which: an address, a host name, a serial number, or labels; `all`
        #[arg(value_name = "WHO")]
        whom: String,
        /// When nobody has used them for so long
        #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "10m")]
        idle: Option<humantime::Duration>,
        /// At some moment within so long, so that not all do at once
        #[arg(long, value_name = "TIME", conflicts_with = "idle")]
        within: Option<humantime::Duration>,
        /// Not at all, whatever they were asked before
        #[arg(long, conflicts_with_all = ["idle", "within"])]
        cancel: bool,
        #[command(flatten)]
        reason: Reason,
    },
    /// Show the users of machines a text; they get it when the machine checks in next
    Message {
        /// Which: an address, a host name, a serial number, or labels; `all`
        #[arg(value_name = "WHO")]
        whom: String,
        /// What
        text: String,
    },
}

/// The reason somebody gives.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Reason {
    /// Why, for the ledger
    #[arg(long)]
    pub(super) why: Option<String>,
}

/// Arguments of `assign`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AssignArgs {
    /// Which machines: an address, a host name, a serial number, or labels such as site=berlin,room=12|13; `all`
    #[arg(value_name = "WHO")]
    pub(super) whom: String,
    /// What they boot: PROFILE:CHANNEL, with its rollouts; PROFILE, which is its channel stable; PROFILE@NUMBER, that
    /// release whatever happens. `-`: what the site file says
    #[arg(value_name = "WHAT")]
    pub(super) what: String,
    /// Only the next time
    #[arg(long)]
    pub(super) once: bool,
    #[command(flatten)]
    pub(super) reason: Reason,
}

/// Arguments of `machines show`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ShowMachineArgs {
    /// The address of its network card, or its host name or serial number
    pub(super) machine: String,

    /// Every boot that is remembered, not only the last
    #[arg(long, conflicts_with = "follow")]
    pub(super) all: bool,

    /// Go on, and show what happens as it happens, until Ctrl-C
    #[arg(long)]
    pub(super) follow: bool,

    /// As JSON; with --follow, one event a line
    #[arg(long)]
    pub(super) json: bool,
}

/// `bivouac doctor`: the flags of `serve`, so that the same server is looked at.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct DoctorArgs {
    /// Look at no computer and no network: say what would have been answered to each packet of a capture (tcpdump -w,
    /// Wireshark), and why
    #[arg(long, value_name = "FILE")]
    pub(super) replay: Option<PathBuf>,

    /// As JSON
    #[arg(long)]
    pub(super) json: bool,

    #[command(flatten)]
    serve: ServeFlags,
}

/// Flags of `fetch --list`. What conflicts with it has to conflict with its companions too: clap lets a requirement go
/// that a conflict makes impossible.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "What the mirror offers")]
pub(super) struct ListFlags {
    /// Fetch nothing; list branches, their newest versions, architectures and flavors with sizes
    #[arg(long, conflicts_with_all = ["profiles", "packages", "offline"])]
    pub(super) list: bool,

    /// With --list: every version of one branch (3.24, edge), or one version
    #[arg(long, value_name = "RELEASE", requires = "list", conflicts_with_all = ["profiles", "packages"])]
    pub(super) release: Option<ReleaseSpec>,

    /// With --list: only this architecture
    #[arg(long, value_name = "ARCH", requires = "list", conflicts_with_all = ["profiles", "packages"])]
    pub(super) arch: Option<Arch>,

    /// With --list: as JSON
    #[arg(long, requires = "list", conflicts_with_all = ["profiles", "packages"])]
    pub(super) json: bool,
}

/// Flags of every command that needs Alpine's files.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Sources {
    /// Use only what was fetched before, and say what is missing
    #[arg(long)]
    offline: bool,
}

impl Sources {
    pub(super) const fn access(self) -> Access {
        if self.offline { Access::Offline } else { Access::Online }
    }
}

/// Flags of the commands that build.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Building {
    /// Fail where a profile has no lock that fits, instead of making one
    #[arg(long)]
    locked: bool,
    #[command(flatten)]
    sources: Sources,
}

impl Building {
    pub(super) const fn how(self) -> How {
        How { access: self.sources.access(), is_locked: self.locked }
    }
}

/// How much `fetch` brings.
pub(super) const fn extent(packages: bool) -> Extent {
    if packages { Extent::Everything } else { Extent::Netboot }
}

/// Flags of `serve` and `up` that stand for keys of the site file.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Serving (each overrides its key in the site file)")]
pub(super) struct ServeFlags {
    /// What machines boot that the site file does not name
    #[arg(long, value_name = "PROFILE")]
    default_profile: Option<ProfileName>,

    /// Folder of iPXE loaders [default: where distributions put them]
    #[arg(long, value_name = "FOLDER")]
    loaders: Option<PathBuf>,

    /// DHCP: beside another server, a full server with a pool, for machines with an address only, or none [default:
    /// proxy]
    #[arg(long, value_name = "MODE")]
    dhcp: Option<DhcpWord>,

    /// Interface to answer DHCP on; may be repeated [default: every usable one]
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,

    /// First and last address a full DHCP server gives out, such as 10.0.0.100-10.0.0.199
    #[arg(long, value_name = "A-B")]
    pool: Option<String>,

    /// Netmask of the pool's network [default: 255.255.255.0]
    #[arg(long, value_name = "MASK")]
    netmask: Option<Ipv4Addr>,

    /// Router a full DHCP server names
    #[arg(long, value_name = "ADDRESS")]
    router: Option<Ipv4Addr>,

    /// Name server a full DHCP server names; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<Ipv4Addr>,

    /// Address and port of HTTP [default: 0.0.0.0:80]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address_and_port)]
    http: Option<SocketAddr>,

    /// Address and port of TFTP [default: HTTP's address, port 69]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address_and_port)]
    tftp: Option<SocketAddr>,

    /// Base URL machines are told, when it is not the address they reach
    #[arg(long, value_name = "URL")]
    advertise: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DhcpWord {
    Proxy,
    Full,
    Reservations,
    Off,
}

impl Command {
    /// Whether it writes into the state folder what others of this site use.
    pub(super) const fn writes(&self) -> bool {
        matches!(
            self,
            Self::Up { .. }
                | Self::Fetch { .. }
                | Self::Lock { .. }
                | Self::Build { .. }
                | Self::Publish { .. }
                | Self::Serve(_)
                | Self::Import { .. }
                | Self::Gc { .. }
                | Self::Mirror(_)
                | Self::Loaders(_)
                | Self::Promote(_)
        )
    }

    /// The flags as a site file.
    pub(super) fn flags(&self, site: &SiteFlags) -> File {
        let serve = match self {
            Self::Up { serve, .. } | Self::Serve(serve) => serve.clone().into_file(),
            Self::Loaders(loaders) => loaders.flags(),
            Self::Try(trial) => trial.flags(),
            Self::Doctor(doctor) => doctor.serve.clone().into_file(),
            Self::DhcpRecipe(recipe) => recipe.flags(),
            Self::Outdated { secdb, .. } => File { secdb: secdb.clone(), ..File::default() },
            _ => File::default(),
        };
        File {
            state: site.state.clone(),
            profiles: site.profiles.clone(),
            overlays: site.overlays.clone(),
            mirror: some(site.mirror.clone()).map(OneOrMore::More),
            verify: Some(Verify { release_keys: some(site.release_key.clone()), ..Verify::default() }),
            ..serve
        }
    }
}

impl ServeFlags {
    fn into_file(self) -> File {
        let mode = self.dhcp.map(|word| match word {
            DhcpWord::Proxy => DhcpMode::Proxy,
            DhcpWord::Full => DhcpMode::Full,
            DhcpWord::Reservations => DhcpMode::Reservations,
            DhcpWord::Off => DhcpMode::Off,
        });
        File {
            default_profile: self.default_profile,
            loaders: self.loaders,
            http: Some(Http { listen: self.http, advertise: self.advertise, ..Http::default() }),
            tftp: Some(Tftp { listen: self.tftp, ..Tftp::default() }),
            dhcp: Some(Dhcp {
                mode: mode.map(|mode| mode.word().to_owned()),
                interfaces: some(self.interface),
                pool: self.pool.map(OneOrMore::One),
                netmask: self.netmask,
                router: self.router,
                dns: some(self.dns),
                ..Dhcp::default()
            }),
            ..File::default()
        }
    }
}

/// A flag that was not given leaves the file's list alone.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Args::command().debug_assert();
    }
}
