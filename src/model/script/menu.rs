//! The menu of a machine whose policy says `ask`.

use std::time::Duration;

use super::{PAUSE, WHO, shown};
use crate::model::menu::Choice;

/// What a menu shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What stands above it.
    pub title: String,
    /// What can be chosen, with what is shown of it, in order.
    pub items: Vec<(Choice, String)>,
    /// What is chosen when nobody does.
    pub default: Choice,
    /// How long it waits for somebody; for ever when absent.
    pub timeout: Option<Duration>,
}

/// The script that shows a menu and asks for what was chosen. An iPXE without menus takes the default.
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
    for (choice, text) in items {
        script.push_str(&format!("item {choice} {}\n", named(text, &choice.to_string())));
    }
    script.push_str(&format!(
        "choose {timeout}--default {default} chosen || goto menu\n\
         goto go\n\
         :default\n\
         set chosen {default}\n\
         :go\n\
         chain --autofree --replace {base}/script?{WHO}&choice=${{chosen:uristring}} ||\n\
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_menu_has_a_default_and_a_timeout_and_asks_for_what_was_chosen() {
        let offer = Offer {
            title: "Room 7 || shell".to_owned(),
            items: vec![
                ("vdi:stable".parse().unwrap(), "vdi, release 12".to_owned()),
                (Choice::LocalDisk, "--gap ${mac}".to_owned()),
                (Choice::NetbootXyz, "||".to_owned()),
            ],
            default: "vdi:stable".parse().unwrap(),
            timeout: Some(Duration::from_secs(10)),
        };
        let script = menu("http://10.0.0.1", &offer);
        assert!(script.contains("\nmenu Room 7  shell || goto default\n"), "{script}");
        assert!(script.contains("\nitem vdi:stable vdi, release 12\n"), "{script}");
        assert!(script.contains("\nitem local-disk gap {mac}\n"), "{script}");
        assert!(script.contains("\nitem netboot.xyz netboot.xyz\n"), "{script}");
        assert!(script.contains("\nchoose --timeout 10000 --default vdi:stable chosen || goto menu\n"), "{script}");
        assert!(script.contains("&choice=${chosen:uristring} ||\n"), "{script}");
        let patient = menu("http://10.0.0.1", &Offer { timeout: None, ..offer });
        assert!(patient.contains("\nchoose --default vdi:stable chosen"), "{patient}");
    }
}
