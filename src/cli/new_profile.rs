//! `bivouac new`: a folder for a new profile, with a commented `profile.toml` that builds as it is.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::Context as _;

use crate::build::Recipe;
use crate::config::Settings;
use crate::disk::write_atomic;
use crate::model::name::ProfileName;

/// The overlays of a profile that extends nothing; they come with Bivouac.
const OVERLAYS: [&str; 3] = ["base", "network", "check-in"];

/// How a profile begins. A line such as `#key = …` is a key that may be switched on; `@layers@` is where it says what
/// comes before it.
const TEMPLATE: &str = r##"# What the machines of this profile are. Files below root/ go onto them as they are.
# `bivouac schema profile` has every key for your editor; `bivouac explain @name@` shows what comes of them.

description = "@name@: what it is for, in one line"

@layers@

# Packages of Alpine; "!name" takes one out that an earlier layer named.
packages = []

# Without these, a machine is called after its profile and its clock shows UTC.
#hostname = "@name@"
#timezone = "Europe/Berlin"
#keymap = "de de-nodeadkeys"

# Files of earlier layers that the machine shall not have; one ending in "/" means a whole tree.
#remove = ["etc/issue"]

# [alpine]: "latest-stable", a branch ("3.24") or a version ("3.24.1"); flavor "lts" for real hardware, "virt" for
# virtual machines.
#[alpine]
#release = "latest-stable"
#flavor = "virt"

# Services by OpenRC runlevel. Each is a script in /etc/init.d, from a package or from root/.
#[services]
#default = ["crond"]

#[kernel]
#args = ["console=tty0", "console=ttyS0,115200"]

# Accounts. Public keys let somebody in by SSH; nobody logs in by password unless there is the hash of one.
#[users.root]
#ssh-keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample you@example.net"]

# Owner and mode of files, because version control keeps neither.
#[files]
#"etc/motd" = { mode = "0600" }
"##;

/// The part of the template about overlays, when the profile extends nothing.
const ON_OVERLAYS: &str = "# Reusable pieces from the folder of overlays, the first applied first; a later one wins.\n\
                           overlays = [@overlays@]";

/// The same, when it extends another.
const ON_PROFILE: &str = "# Everything of this profile comes first, then overlays of its own, then this file.\n\
                          extends = \"@from@\"\n#overlays = []";

/// Makes the profile `name`, which extends `from` if that is given.
pub(super) fn new_profile(
    settings: &Settings,
    name: &ProfileName,
    from: Option<&ProfileName>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    // Before anything is written: what the new profile rests on.
    match from {
        Some(from) => drop(Recipe::load(&settings.profiles, &settings.overlays, from)?),
        None => all_there(&settings.overlays)?,
    }
    fs::create_dir_all(&settings.profiles)
        .with_context(|| format!("cannot make the folder {}", settings.profiles.display()))?;
    let folder = settings.profiles.join(name.as_str());
    fs::create_dir(&folder).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow::anyhow!("{} is there already; choose another name, or remove it first", folder.display())
        }
        _ => anyhow::Error::new(error).context(format!("cannot make the folder {}", folder.display())),
    })?;
    let made = write(&folder, name, from).and_then(|()| {
        Recipe::load(&settings.profiles, &settings.overlays, name)
            .with_context(|| format!("the overlays in {} do not make a machine", settings.overlays.display()))
    });
    if let Err(error) = made {
        // Half a profile would be in everybody's way.
        let _ = fs::remove_dir_all(&folder);
        return Err(error);
    }
    writeln!(out, "{} is a new profile.", folder.display())?;
    writeln!(out, "Next:")?;
    writeln!(
        out,
        "  edit {}, and put files into {}",
        folder.join("profile.toml").display(),
        folder.join("root").display()
    )?;
    writeln!(out, "  bivouac explain {name}    what its machines would be")?;
    writeln!(out, "  bivouac build {name}      a bundle of it; `up {name}` publishes and serves it too")?;
    Ok(())
}

/// Whether the overlays are there that a new profile names.
fn all_there(overlays: &Path) -> anyhow::Result<()> {
    let missing: Vec<&str> = OVERLAYS.into_iter().filter(|name| !overlays.join(name).is_dir()).collect();
    anyhow::ensure!(
        missing.is_empty(),
        "a new profile uses the overlays {}, and {} has no {}; copy the folder `overlays` of Bivouac's sources there, \
         name another folder with --overlays, or extend a profile of yours with --from",
        listed(&OVERLAYS),
        overlays.display(),
        listed(&missing),
    );
    Ok(())
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn write(folder: &Path, name: &ProfileName, from: Option<&ProfileName>) -> anyhow::Result<()> {
    let etc = folder.join("root/etc");
    fs::create_dir_all(&etc).with_context(|| format!("cannot make the folder {}", etc.display()))?;
    if from.is_none() {
        write_atomic(&etc.join("motd"), format!("This is {name}.\n").as_bytes())?;
    }
    write_atomic(&folder.join("profile.toml"), text(name, from).as_bytes())?;
    Ok(())
}

/// The `profile.toml`.
fn text(name: &ProfileName, from: Option<&ProfileName>) -> String {
    let overlays = OVERLAYS.map(|name| format!("\"{name}\"")).join(", ");
    let layers = from.map_or_else(
        || ON_OVERLAYS.replace("@overlays@", &overlays),
        |from| ON_PROFILE.replace("@from@", from.as_str()),
    );
    TEMPLATE.replace("@layers@", &layers).replace("@name@", name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::Profile;

    #[test]
    fn every_key_of_the_template_may_be_switched_on() {
        let name: ProfileName = "kiosk".parse().unwrap();
        for from in [None, Some(&name)] {
            let text = text(&name, from);
            let profile = Profile::parse(&text).unwrap();
            assert_eq!((profile.extends.as_ref(), profile.overlays.is_empty()), (from, from.is_some()));
            let full: String = text
                .lines()
                .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
                .flat_map(|line| [line, "\n"])
                .collect();
            let full = Profile::parse(&full).unwrap_or_else(|error| panic!("{error}\n{full}")).layer;
            assert!(full.hostname.is_some() && full.users.contains_key("root") && full.files.len() == 1);
            assert!(!text.contains('@') || text.matches('@').count() == 1, "only the one of an address: {text}");
        }
    }
}
