//! The menu of a machine whose policy says `ask`.

use std::time::Duration;

use super::{NOTICE_PAUSE, PAUSE, WHO, shown};
use crate::model::menu::Choice;

/// The item of a menu in which nothing is chosen by itself: it asks for the menu anew. No choice is called like that.
const LOOK_AGAIN: &str = "again";

/// How much of a text the menu of a screen with 80 columns shows.
const WIDTH: usize = 70;

/// What a menu shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What stands above it.
    pub title: String,
    /// What can be chosen, with what is shown of it, in order.
    pub items: Vec<(Choice, String)>,
    /// What is chosen when nobody does; or else why nothing is.
    pub default: Result<Choice, String>,
    /// How long it waits for somebody; for ever when absent.
    pub timeout: Option<Duration>,
}

/// The script that shows a menu and asks for what was chosen. An iPXE without menus takes the default.
///
/// Where there is no default, the menu says why, and is asked for anew when nobody chooses: nothing boots that nobody
/// named (DESIGN 4.3), and what is missing may be there by then.
#[must_use]
pub fn menu(base: &str, offer: &Offer) -> String {
    let Offer { title, items, default, timeout } = offer;
    let timeout = timeout.map_or_else(String::new, |timeout| format!("--timeout {} ", timeout.as_millis()));
    let mut script = format!(
        "#!ipxe\n\
         # Bivouac: what this machine may boot\n\
         :menu\n\
         menu {} || goto default\n",
        named(title, "Bivouac")
    );
    if let Err(why) = default {
        for line in lines(&format!("Nothing boots here by itself: {why}")) {
            script.push_str(&format!("item --gap {}\n", shown(&line)));
        }
    }
    for (choice, text) in items {
        script.push_str(&format!("item {choice} {}\n", named(text, &choice.to_string())));
    }
    match default {
        Ok(default) => script.push_str(&format!(
            "choose {timeout}--default {default} chosen || goto menu\n\
             goto go\n\
             :default\n\
             set chosen {default}\n"
        )),
        Err(why) => script.push_str(&format!(
            "item {LOOK_AGAIN} Look again\n\
             choose {timeout}--default {LOOK_AGAIN} chosen || goto menu\n\
             iseq ${{chosen}} {LOOK_AGAIN} && goto again ||\n\
             goto go\n\
             :default\n\
             echo Bivouac: this iPXE has no menus, and nothing boots here by itself: {}\n\
             echo Bivouac: asking again in {NOTICE_PAUSE} seconds\n\
             sleep {NOTICE_PAUSE}\n\
             :again\n\
             chain --autofree --replace {base}/script?{WHO} || goto silent\n",
            shown(why)
        )),
    }
    script.push_str(&format!(
        ":go\n\
         chain --autofree --replace {base}/script?{WHO}&choice=${{chosen:uristring}} ||\n\
         :silent\n\
         echo Bivouac: {base} does not answer; again in {PAUSE} seconds\n\
         sleep {PAUSE}\n\
         goto menu\n"
    ));
    script
}

/// A text for the screen, or another where nothing of it can be shown.
fn named(text: &str, otherwise: &str) -> String {
    let text = shown(text);
    if text.is_empty() { shown(otherwise) } else { text }
}

/// A text in lines that a menu shows in full, as far as its words are not longer.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| line.len() + 1 + word.len() <= WIDTH) {
            Some(line) => line.extend([" ", word]),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer {
            title: "Room 7 || shell".to_owned(),
            items: vec![
                ("vdi:stable".parse().unwrap(), "vdi, release 12".to_owned()),
                (Choice::LocalDisk, "--gap ${mac}".to_owned()),
                (Choice::NetbootXyz, "||".to_owned()),
            ],
            default: Ok("vdi:stable".parse().unwrap()),
            timeout: Some(Duration::from_secs(10)),
        }
    }

    #[test]
    fn a_menu_has_a_default_and_a_timeout_and_asks_for_what_was_chosen() {
        let script = menu("http://10.0.0.1", &offer());
        assert!(script.contains("\nmenu Room 7  shell || goto default\n"), "{script}");
        assert!(script.contains("\nitem vdi:stable vdi, release 12\n"), "{script}");
        assert!(script.contains("\nitem local-disk gap {mac}\n"), "{script}");
        assert!(script.contains("\nitem netboot.xyz netboot.xyz\n"), "{script}");
        assert!(script.contains("\nchoose --timeout 10000 --default vdi:stable chosen || goto menu\n"), "{script}");
        assert!(script.contains("&choice=${chosen:uristring} ||\n"), "{script}");
        let patient = menu("http://10.0.0.1", &Offer { timeout: None, ..offer() });
        assert!(patient.contains("\nchoose --default vdi:stable chosen"), "{patient}");
    }

    #[test]
    fn a_menu_without_a_default_says_why_and_is_asked_for_anew_when_nobody_chooses() {
        let why = "profile vdi has no release in channel stable, publish one; or ${mac} || shell";
        let script = menu("http://10.0.0.1", &Offer { default: Err(why.to_owned()), ..offer() });
        let gaps: Vec<&str> = script.lines().filter_map(|line| line.strip_prefix("item --gap ")).collect();
        assert_eq!(
            gaps,
            [
                "Nothing boots here by itself: profile vdi has no release in channel",
                "stable, publish one or {mac}  shell"
            ]
        );
        assert!(script.contains("\nchoose --timeout 10000 --default again chosen || goto menu\n"), "{script}");
        assert!(script.contains("\niseq ${chosen} again && goto again ||\n"), "{script}");
        let (_, again) = script.split_once("\n:again\n").unwrap();
        assert!(
            again.lines().next().unwrap().ends_with("&cards=${cards} || goto silent"),
            "it chooses nothing: {again}"
        );
        let (_, without_menus) = script.split_once("\n:default\n").unwrap();
        assert!(without_menus.starts_with("echo Bivouac: this iPXE has no menus"), "{script}");
        assert!(!script.contains("set chosen"), "{script}");
    }
}
