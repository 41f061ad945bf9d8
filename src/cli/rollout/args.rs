//! What can be written behind `rollout`.

use crate::model::name::{BundleRef, ChannelName, DEFAULT_CHANNEL, ProfileName};
use crate::model::rollout::{Budget, Percent, RebootPolicy, RolloutNumber, Window};

/// Arguments of `rollout`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct RolloutArgs {
    #[command(subcommand)]
    pub(super) command: RolloutCommand,
}

#[derive(Debug, Clone, clap::Subcommand)]
pub(super) enum RolloutCommand {
    /// Begin to move a channel to another release, batch by batch
    ///
    /// Machines of a batch boot the new release from then on; the next batch begins when enough of them came up with it
    /// and went on well for a while. Until the last batch is over the channel stays where it is, and so do all other
    /// machines, whoever reboots them.
    Start(StartArgs),
    /// Show how a rollout stands: the newest one, when no number is given
    Status {
        /// Its number
        number: Option<RolloutNumber>,
        /// Go on showing it until it is over
        #[arg(long)]
        follow: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Halt a rollout: no other machine is given the new release
    Pause(Which),
    /// Let a rollout go on that was halted, or that stopped; failures until now do not count any more
    Resume(Which),
    /// End a rollout where it is: machines that came up keep the new release, all others have the old one
    Abort(Which),
    /// Let a rollout go back: every machine boots the old release, and those that run the new one are asked to reboot
    Rollback(Which),
    /// List all rollouts
    History {
        /// Only of this profile
        profile: Option<ProfileName>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Name a release that no machine may jump over, or all such releases of a profile
    ///
    /// A machine that last came up with an older release boots this one first, and a newer one after it came up with it.
    Floor {
        /// The profile
        profile: ProfileName,
        /// The number of the release; lists those there are, without
        release: Option<u64>,
        /// It is none any more
        #[arg(long, requires = "release")]
        remove: bool,
        /// Why, for the ledger
        #[arg(long)]
        why: Option<String>,
    },
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Which {
    /// Its number; needed when several are not over
    pub(super) number: Option<RolloutNumber>,
    /// Why, for the ledger
    #[arg(long)]
    pub(super) why: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct StartArgs {
    /// The profile
    pub(super) profile: ProfileName,
    /// The release it shall have: PROFILE@NUMBER, PROFILE:CHANNEL, or just a number
    #[arg(long, value_name = "REF")]
    pub(super) to: String,
    /// The channel that moves
    #[arg(long, default_value = DEFAULT_CHANNEL)]
    pub(super) channel: ChannelName,
    /// A batch; may be repeated. `stage=canary`: all machines with that label. `10%`: until a tenth of all has it. `5`:
    /// five more. `site=berlin: 50%, success 100%, bake 1h, timeout 20m`: with settings of its own. The last batch is
    /// always everybody who is left
    #[arg(long = "batch", value_name = "BATCH")]
    pub(super) batches: Vec<String>,
    /// How many of a batch have to come up [default: 90%]
    #[arg(long, value_name = "PERCENT")]
    pub(super) success: Option<Percent>,
    /// How long a batch is watched after its last machine came up [default: 10m]
    #[arg(long, value_name = "TIME")]
    pub(super) bake: Option<humantime::Duration>,
    /// How long a machine may take from its script to a good check-in [default: 15m]
    #[arg(long, value_name = "TIME")]
    pub(super) timeout: Option<humantime::Duration>,
    /// How many machines may be unavailable at once; may be repeated. `5` or `10%`: of all. `room=1`: of those with the
    /// same value of the label `room`
    #[arg(long, value_name = "LIMIT")]
    pub(super) max_unavailable: Vec<Budget>,
    /// How many machines may fail in all, besides what --success allows in each batch
    #[arg(long, value_name = "COUNT")]
    pub(super) max_failures: Option<usize>,
    /// Hours in which machines may be changed, such as "Mon-Fri 20:00-06:00"; may be repeated. By the clock of each
    /// machine's site
    #[arg(long, value_name = "HOURS")]
    pub(super) window: Vec<Window>,
    /// Hours in which they may not; may be repeated
    #[arg(long, value_name = "HOURS")]
    pub(super) blackout: Vec<Window>,
    /// How machines come to reboot: `natural`, when somebody does it; `idle`, when nobody has used them for ten minutes;
    /// `window`, at some moment of the hours; `force`, at once
    #[arg(long, value_name = "HOW", default_value = "natural")]
    pub(super) reboot: RebootPolicy,
    /// Go back by itself when too many machines fail
    #[arg(long)]
    pub(super) auto_rollback: bool,
    /// Why, for the ledger
    #[arg(long)]
    pub(super) why: Option<String>,
    /// Start nothing, only show what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Arguments of `promote`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct PromoteArgs {
    /// The profile
    pub(super) profile: ProfileName,
    /// What the channel shall have: another channel, or a release by number
    #[arg(value_name = "FROM")]
    pub(super) from: String,
    /// The channel that moves
    #[arg(value_name = "TO", default_value = DEFAULT_CHANNEL)]
    pub(super) to: ChannelName,
    /// Why, for the ledger
    #[arg(long)]
    pub(super) why: Option<String>,
}

/// A release of `profile`, as it is written: `vdi@12`, `vdi:beta`, `beta`, `12`.
pub(super) fn reference(profile: &ProfileName, text: &str) -> anyhow::Result<BundleRef> {
    if let Ok(number) = text.parse::<u64>() {
        return Ok(BundleRef::Release(profile.clone(), number));
    }
    if !text.contains(['@', ':'])
        && let Ok(channel) = text.parse()
    {
        return Ok(BundleRef::Channel(profile.clone(), channel));
    }
    let reference: BundleRef = text.parse()?;
    match &reference {
        BundleRef::Channel(named, _) | BundleRef::Release(named, _) if named != profile => {
            anyhow::bail!("`{text}` is of another profile than {profile}")
        }
        BundleRef::Id(_) => anyhow::bail!("`{text}` is a bundle; write a release of {profile}, such as {profile}@3"),
        _ => Ok(reference),
    }
}
