//! `bivouac proxmox recipe`.

use std::io::Write;

use anyhow::Context as _;

use super::args::RecipeArgs;
use super::create::wish;
use crate::cli::machines;
use crate::cli::progress::say;
use crate::config::Settings;
use crate::model::ledger::Target;
use crate::proxmox::recipe::recipes;
use crate::store::Store;

/// Prints the commands; asks no other computer anything. What they would boot may be published later.
pub(super) fn recipe(settings: &Settings, arguments: RecipeArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let RecipeArgs { count, profile, name, first_id, hardware } = arguments;
    let target: Target = profile.parse().with_context(|| format!("`{profile}` is nothing a machine can boot"))?;
    let wish = wish(settings, &target, name.as_deref(), count, hardware)?;
    if let Err(error) = machines::target(&profile, &Store::look_into(&settings.store())) {
        say(&format!("before these machines can be assigned: {error:#}"));
    }
    let recipes = recipes(&wish, first_id);
    writeln!(out, "# On the server of Bivouac, so that the machines are known before they first boot:")?;
    for recipe in &recipes {
        writeln!(out, "bivouac assign {} {target} # {}", recipe.birth.mac, recipe.birth.name)?;
    }
    writeln!(out, "\n# Then, as root on the node that is to have them:")?;
    for command in recipes.iter().flat_map(|recipe| &recipe.commands) {
        writeln!(out, "{command}")?;
    }
    Ok(())
}
