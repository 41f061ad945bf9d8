//! Arguments of `bivouac proxmox`.

use clap::{Subcommand, ValueEnum};

use crate::cli::args::Reason;
use crate::config::{HardwareTable, OneOrMore};
use crate::model::label::{Label, Selector};
use crate::model::name::ProfileName;
use crate::model::virtual_machine::{Display, Firmware, VmId};

const CREATE_EXAMPLES: &str = "\
Examples:
  bivouac proxmox create 5 --profile vdi             vdi-01 to vdi-05
  bivouac proxmox create 8 --profile vdi             three more: vdi-06 to vdi-08
  bivouac proxmox create 2 --profile vdi:beta --name test --node pve1 --label stage=canary
  bivouac proxmox create 9 --profile vdi --dry-run   the calls that would be made";

const WHICH_EXAMPLES: &str = "\
Examples, with `start`, `stop`, `reboot` or `delete` alike:
  bivouac proxmox stop vdi-03 105                      by name and by number
  bivouac proxmox reboot --profile vdi                 all whose machine boots the profile
  bivouac proxmox start --labels site=berlin,room=12   all whose machine has the labels
  bivouac proxmox delete --profile test --yes";

const ADOPT_EXAMPLES: &str = "\
Examples:
  bivouac proxmox adopt 200                            what would change, and asks
  bivouac proxmox adopt kiosk-a kiosk-b --profile kiosk --yes";

const RECIPE_EXAMPLES: &str = "\
Examples:
  bivouac proxmox recipe 5 --profile vdi
  bivouac proxmox recipe 5 --profile vdi --first-id 900 --firmware ovmf";

/// Arguments of `proxmox`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct ProxmoxArgs {
    #[command(subcommand)]
    pub(super) command: ProxmoxCommand,
}

/// What to do in the cluster.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum ProxmoxCommand {
    /// Make virtual machines that need no disk, so that N of them are there, and start them
    ///
    /// They are called NAME-01 to NAME-N. Those that are there already are left as they are, so running it again makes
    /// what is missing and no second one; more than N are left too. Each has a virtio network card to boot from, a
    /// random number generator, a UUID and serial number, and the tag of the site, and is known to the fleet, with what
    /// it boots, before it is started.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// List the virtual machines that are ours, with the machine each is and how that is
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Switch virtual machines on
    #[command(after_help = WHICH_EXAMPLES)]
    Start {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        trial: Trial,
    },
    /// Shut virtual machines down, and switch off after a minute what does not
    #[command(after_help = WHICH_EXAMPLES)]
    Stop {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        trial: Trial,
        /// Switch off at once
        #[arg(long)]
        hard: bool,
    },
    /// Reboot virtual machines; what does not do so when asked is switched off and on
    #[command(after_help = WHICH_EXAMPLES)]
    Reboot {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        trial: Trial,
    },
    /// Switch virtual machines off and remove them
    ///
    /// What the fleet knows of their machines stays, so one that is made anew under its old name is the machine it was;
    /// `bivouac machines forget` forgets it.
    #[command(after_help = WHICH_EXAMPLES)]
    Delete {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        trial: Trial,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Take in virtual machines that were made by hand: says what would change, and changes it
    ///
    /// Each gets the tag of the site, its network card before all else in the boot order, a random number generator, and a
    /// UUID and serial number where it has none; nothing else changes. A disk that it has stays.
    #[command(after_help = ADOPT_EXAMPLES)]
    Adopt(AdoptArgs),
    /// Print commands of `qm` that do what `create` does, for a shell on a node and without a token
    #[command(after_help = RECIPE_EXAMPLES)]
    Recipe(RecipeArgs),
}

/// Arguments of `proxmox create`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct CreateArgs {
    /// How many shall be there
    #[arg(value_name = "N", value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(super) count: u16,
    /// What they boot: PROFILE, PROFILE:CHANNEL or PROFILE@NUMBER
    #[arg(long, value_name = "WHAT")]
    pub(super) profile: String,
    /// What their names begin with [default: the name of the profile]
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// A label their machines have, such as site=berlin; may be repeated
    #[arg(long, value_name = "LABEL")]
    pub(super) label: Vec<Label>,
    /// Change nothing; print the calls of the API that would be made, after reading how the cluster is
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) reason: Reason,
    // Last, for what follows it would be below its heading.
    #[command(flatten)]
    pub(super) hardware: HardwareFlags,
}

/// Arguments of `proxmox adopt`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AdoptArgs {
    /// Which: names or numbers
    #[arg(value_name = "VM", required = true)]
    pub(super) vms: Vec<String>,
    /// What their machines boot: PROFILE, PROFILE:CHANNEL or PROFILE@NUMBER; what the site file says when absent
    #[arg(long, value_name = "WHAT")]
    pub(super) profile: Option<String>,
    /// Change nothing; print the calls of the API that would be made
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) reason: Reason,
}

/// Arguments of `proxmox recipe`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct RecipeArgs {
    /// How many
    #[arg(value_name = "N", value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(super) count: u16,
    /// What they boot: PROFILE, PROFILE:CHANNEL or PROFILE@NUMBER
    #[arg(long, value_name = "WHAT")]
    pub(super) profile: String,
    /// What their names begin with [default: the name of the profile]
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// The number of the first, with the following ones for the others [default: what the node says is free]
    #[arg(long, value_name = "ID")]
    pub(super) first_id: Option<VmId>,
    #[command(flatten)]
    pub(super) hardware: HardwareFlags,
}

/// Which virtual machines; all conditions have to hold.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct Which {
    /// Names or numbers
    #[arg(value_name = "VM")]
    pub(super) vms: Vec<String>,
    /// Those whose machine boots this profile
    #[arg(long, value_name = "PROFILE")]
    pub(super) profile: Option<ProfileName>,
    /// Those whose machine has these labels, such as site=berlin,room=12|13
    #[arg(long, value_name = "LABELS")]
    pub(super) labels: Option<Selector>,
    /// All of ours
    #[arg(long, conflicts_with_all = ["vms", "profile", "labels"])]
    pub(super) all: bool,
}

/// Whether something is only tried.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Trial {
    /// Change nothing; print the calls of the API that would be made
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// What new machines are made of, over what the site file says.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What they are made of (each overrides [proxmox.profiles] and [proxmox.defaults])")]
pub(super) struct HardwareFlags {
    /// Memory in MiB [default: 2048]
    #[arg(long, value_name = "MIB")]
    memory: Option<u32>,
    /// Processor cores [default: 2]
    #[arg(long, value_name = "COUNT")]
    cores: Option<u16>,
    /// Bridge of the network card [default: vmbr0]
    #[arg(long, value_name = "NAME")]
    bridge: Option<String>,
    /// VLAN on the bridge
    #[arg(long, value_name = "NUMBER")]
    vlan: Option<u16>,
    /// Pool
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// Node; of several, the one with the most free memory [default: any]
    #[arg(long, value_name = "NAME")]
    node: Vec<String>,
    /// Firmware [default: seabios]
    #[arg(long, value_name = "FIRMWARE")]
    firmware: Option<FirmwareWord>,
    /// Display [default: std]
    #[arg(long, value_name = "DISPLAY")]
    display: Option<DisplayWord>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FirmwareWord {
    Seabios,
    Ovmf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DisplayWord {
    Std,
    Qxl,
    Virtio,
    Serial0,
    None,
}

impl HardwareFlags {
    /// The flags as a table of the site file.
    pub(super) fn into_table(self) -> HardwareTable {
        HardwareTable {
            memory: self.memory,
            cores: self.cores,
            bridge: self.bridge,
            vlan: self.vlan,
            pool: self.pool,
            node: (!self.node.is_empty()).then_some(OneOrMore::More(self.node)),
            firmware: self.firmware.map(|word| match word {
                FirmwareWord::Seabios => Firmware::Seabios,
                FirmwareWord::Ovmf => Firmware::Ovmf,
            }),
            display: self.display.map(|word| match word {
                DisplayWord::Std => Display::Std,
                DisplayWord::Qxl => Display::Qxl,
                DisplayWord::Virtio => Display::Virtio,
                DisplayWord::Serial0 => Display::Serial0,
                DisplayWord::None => Display::None,
            }),
            ..HardwareTable::default()
        }
    }
}
