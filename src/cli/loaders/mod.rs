//! `bivouac loaders`: the iPXE binaries there are, and who gets which.

mod list;
mod machine;
mod own;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::Error as WordError;

use crate::config::{File, Settings};
use crate::disk;
use crate::model::firmware::Firmware;
use crate::model::mac::Mac;
use crate::serve::loaders::{DEFAULT_FOLDERS, Loaders};

/// What stands behind `bivouac loaders`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without a rule, UEFI machines are handed an iPXE with drivers of its own (ipxe.efi) and BIOS machines \
                  one that uses the firmware's (undionly.kpxe). Rules are [[loader]] tables of the site file; the \
                  first about a machine counts:\n\n  \
                  [[loader]]\n  machines = [\"00:e0:4c\"]    # addresses or how they begin\n  \
                  firmware = \"efi-x64\"       # optional\n  use = \"snponly\"            # or \"ipxe\""
)]
pub(super) struct LoadersArgs {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    list: ListArgs,

    /// Folder of iPXE loaders [default: where distributions put them]
    #[arg(long, global = true, value_name = "FOLDER")]
    loaders: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the loaders there are, or what one machine gets (what `loaders` alone does)
    List(ListArgs),
    /// Copy an iPXE binary into the state folder, where it comes before the system's
    Add {
        /// The binary, such as ipxe.efi, snponly.efi or undionly.kpxe
        file: PathBuf,
        /// What to call it, one of the names that are looked for [default: by its firmware and drivers]
        #[arg(long)]
        name: Option<String>,
    },
    /// Remove a loader that was added
    Remove {
        /// Its name, as the list has it
        name: String,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Tell what the machine with this address gets, and by which rule
    #[arg(long = "for", value_name = "MAC")]
    machine: Option<Mac>,

    /// The machine's firmware, such as efi-x64 [default: every kind there is a loader for]
    #[arg(long, value_name = "KIND", requires = "machine", value_parser = firmware)]
    firmware: Option<Firmware>,

    /// As JSON
    #[arg(long)]
    json: bool,
}

impl LoadersArgs {
    /// The flags as a site file.
    pub(super) fn flags(&self) -> File {
        File { loaders: self.loaders.clone(), ..File::default() }
    }
}

/// Does what was asked for.
pub(super) fn run(settings: &Settings, args: LoadersArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    // clap could refuse this by itself, and would refuse --state in that place too.
    let ListArgs { machine, json, .. } = &args.list;
    anyhow::ensure!(
        args.action.is_none() || (machine.is_none() && !json),
        "--for, --firmware and --json stand behind `loaders list`, or behind `loaders` alone"
    );
    match args.action.unwrap_or(Action::List(args.list)) {
        Action::List(ListArgs { machine: Some(mac), firmware, json }) => {
            machine::show(&find(settings)?, &mac, firmware, json, out)
        }
        Action::List(ListArgs { machine: None, json, .. }) => list::show(&find(settings)?, json, out),
        Action::Add { file, name } => own::add(settings, &file, name.as_deref(), out),
        Action::Remove { name } => own::remove(settings, &name, out),
    }
}

/// The loaders machines of this site are handed: those added to it, then those of the folder the site file names or of
/// the distribution, with the site's rules and who may go back to its firmware.
pub(super) fn find(settings: &Settings) -> anyhow::Result<Loaders> {
    let folders: Vec<PathBuf> = match &settings.loaders {
        Some(folder) => {
            disk::list(folder).context("the folder of loaders cannot be used")?;
            vec![folder.clone()]
        }
        None => DEFAULT_FOLDERS.iter().map(PathBuf::from).collect(),
    };
    let found = Loaders::find(&settings.own_loaders(), &folders);
    Ok(found.with_rules(settings.loader_rules.clone()).with_returning(settings.assignments.returning()))
}

/// A kind of firmware in the site file's words.
fn firmware(word: &str) -> Result<Firmware, WordError> {
    Firmware::deserialize(word.into_deserializer())
}
