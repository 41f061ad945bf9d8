//! `bivouac man` and `bivouac completions`: manual pages and completions for shells, from the definition of the command
//! line, so that they say what the program takes. Packages bring what they make.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Args;
use crate::disk;

/// Writes the manual pages: bivouac.1, and one for each command, such as bivouac-machines-show.1.
pub(super) fn man(folder: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    disk::create_dir_all(folder)?;
    clap_mangen::generate_to(Args::command(), folder)
        .with_context(|| format!("cannot write manual pages into {}", folder.display()))?;
    writeln!(out, "manual pages are in {}", folder.display())?;
    Ok(())
}

/// Prints what a shell reads to complete the program's arguments.
pub(super) fn completions(shell: Shell, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "bivouac", &mut text);
    out.write_all(&text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Calls `see` with each command that help shows, and what its page is called.
    fn each(command: &clap::Command, page: &str, see: &mut impl FnMut(&clap::Command, &str)) {
        see(command, page);
        for below in command.get_subcommands().filter(|it| it.get_name() != "help") {
            each(below, &format!("{page}-{}", below.get_name()), see);
        }
    }

    /// What is hidden from help is not hidden from completions, so nothing is.
    #[test]
    fn nothing_is_hidden_that_completions_and_pages_would_offer() {
        fn look(command: &clap::Command) {
            let hidden = command.get_arguments().filter(|it| it.is_hide_set()).map(|it| it.get_id().as_str());
            assert_eq!((command.is_hide_set(), hidden.collect::<Vec<_>>()), (false, vec![]), "{}", command.get_name());
            command.get_subcommands().for_each(look);
        }
        look(&Args::command());
    }

    #[test]
    fn every_shell_is_offered_each_command_and_nothing_that_only_the_program_itself_starts() {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            let mut text = Vec::new();
            completions(shell, &mut text).unwrap();
            // A word of fish.
            let text = String::from_utf8(text).unwrap().replace("string join", "");
            let words: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
            for command in Args::command().get_subcommands() {
                assert!(words.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
            assert!(!words.contains("join"), "{shell}");
        }
    }

    #[test]
    fn every_command_has_a_page_that_names_each_of_its_options_and_says_what_it_does() {
        let folder = tempfile::tempdir().unwrap();
        man(folder.path(), &mut Vec::new()).unwrap();
        let mut pages = BTreeSet::new();
        let mut command = Args::command();
        command.build();
        each(&command, "bivouac", &mut |command, page| {
            let file = format!("{page}.1");
            let text = std::fs::read_to_string(folder.path().join(&file)).unwrap();
            for option in command.get_opts().filter_map(|it| it.get_long()) {
                assert!(text.contains(&format!("\\-\\-{}", option.replace('-', "\\-"))), "{file}: --{option}");
            }
            for section in [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
                assert!(text.lines().any(|line| line == section), "{file}: {section}");
            }
            pages.insert(file);
        });
        assert!(pages.len() > 40 && pages.contains("bivouac-machines-show.1"), "{pages:?}");
        let written: BTreeSet<String> = disk::list(folder.path()).unwrap().into_iter().collect();
        assert_eq!(written, pages);
    }
}
