//! `bivouac new`: a folder for a new profile, with a commented `profile.toml` that builds as it is.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::Context as _;

use crate::build::{BaseAccounts, Recipe, Topic};
use crate::config::Settings;
use crate::disk::write_atomic;
use crate::model::name::ProfileName;
use crate::wire::apkovl::Node;

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
@remove@

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
@file@
"##;

/// The part of the template about overlays, when the profile extends nothing.
const ON_OVERLAYS: &str = "# Reusable pieces from the folder of overlays, the first applied first; a later one wins.\n\
                           overlays = [@overlays@]";

/// The same, when it extends another.
const ON_PROFILE: &str = "# Everything of this profile comes first, then overlays of its own, then this file.\n\
                          extends = \"@from@\"\n#overlays = []";

/// A file of the overlays that a machine can do without.
const SPARE: &str = "etc/sysctl.d/bivouac-check-in.conf";

/// Makes the profile `name`, which extends `from` if that is given.
pub(super) fn new_profile(
    settings: &Settings,
    name: &ProfileName,
    from: Option<&ProfileName>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    // Before anything is written: what the new profile rests on.
    let spare = match from {
        Some(from) => spare(&Recipe::load(&settings.profiles, &settings.overlays, from)?),
        None => {
            all_there(&settings.overlays)?;
            Some(SPARE.to_owned())
        }
    };
    fs::create_dir_all(&settings.profiles)
        .with_context(|| format!("cannot make the folder {}", settings.profiles.display()))?;
    let folder = settings.profiles.join(name.as_str());
    fs::create_dir(&folder).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow::anyhow!("{} is there already; choose another name, or remove it first", folder.display())
        }
        _ => anyhow::Error::new(error).context(format!("cannot make the folder {}", folder.display())),
    })?;
    let made = write(&folder, &text(name, from, spare.as_deref()), from.is_none().then_some(name)).and_then(|()| {
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

/// A file of a profile that one which extends it can do without: neither run nor read by what runs.
fn spare(base: &Recipe) -> Option<String> {
    let (tree, trail) = base.explained(&BaseAccounts::default());
    let own = format!("profile {}", base.name);
    let is_plain =
        |path: &str| tree.get(path).is_some_and(|it| matches!(it.node, Node::File(_)) && it.mode & 0o111 == 0);
    let mut files = trail.iter().filter(|(subject, _)| subject.kind == Topic::File && is_plain(&subject.name));
    let found = files.find_map(|(subject, steps)| (steps.last()?.by == own).then(|| subject.name.clone()));
    found.or_else(|| is_plain(SPARE).then(|| SPARE.to_owned()))
}

/// Writes the files of a profile; one that extends nothing greets by its name.
fn write(folder: &Path, text: &str, greeter: Option<&ProfileName>) -> anyhow::Result<()> {
    let etc = folder.join("root/etc");
    fs::create_dir_all(&etc).with_context(|| format!("cannot make the folder {}", etc.display()))?;
    if let Some(name) = greeter {
        write_atomic(&etc.join("motd"), format!("This is {name}.\n").as_bytes())?;
    }
    write_atomic(&folder.join("profile.toml"), text.as_bytes())?;
    Ok(())
}

/// The `profile.toml`. `spare` is a file that could be removed.
fn text(name: &ProfileName, from: Option<&ProfileName>, spare: Option<&str>) -> String {
    let overlays = OVERLAYS.map(|name| format!("\"{name}\"")).join(", ");
    let layers = from.map_or_else(
        || ON_OVERLAYS.replace("@overlays@", &overlays),
        |from| ON_PROFILE.replace("@from@", from.as_str()),
    );
    let remove = format!("#remove = [{}]", spare.map(|path| format!("\"{path}\"")).unwrap_or_default());
    let owned = if from.is_none() { Some("etc/motd") } else { spare };
    let file =
        owned.map_or("# \"PATH\" = { mode = \"0600\" }".to_owned(), |it| format!("#\"{it}\" = {{ mode = \"0600\" }}"));
    TEMPLATE
        .replace("@layers@", &layers)
        .replace("@remove@", &remove)
        .replace("@file@", &file)
        .replace("@name@", name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::Profile;

    #[test]
    fn every_key_of_the_template_may_be_switched_on() {
        let name: ProfileName = "kiosk".parse().unwrap();
        for from in [None, Some(&name)] {
            let text = text(&name, from, Some(SPARE));
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
