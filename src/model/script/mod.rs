//! The iPXE scripts a machine runs (netboot.md, section E3).
//!
//! The first is the same for every machine and hands over who is asking. The second is the machine's own: it boots one
//! bundle, and every later URL of that boot names the same bundle; or it shows a menu, or sends the machine elsewhere.
//!
//! All of them use only what iPXE 1.21.1 has too, and what some builds lack (`menu`) has an alternative. A value that
//! comes from outside is written by [`shown`] or [`Word`] alone, so that none can be taken for a command: iPXE splits a
//! line at blanks, takes the words `||`, `&&` and `;` for the end of a command and a word that begins with `#` for a
//! comment, and expands `${…}`; it knows no quotes.

mod bundle;
mod elsewhere;
mod menu;

use std::fmt;

pub use bundle::{Boot, BootScript, ScriptError, boot};
pub use elsewhere::{entry_of_site, local_disk, netboot_xyz, nothing};
pub use menu::{Offer, menu};

/// The name under which the initrd with the overlay and the site's key is served.
pub const SITE_INITRD: &str = "site.img";

/// Seconds between attempts; short enough for a person who waits, long enough for a server that is restarting.
const PAUSE: u32 = 5;

/// Seconds until a machine asks again that may not boot: somebody has to read why, and to do something about it.
const NOTICE_PAUSE: u32 = 30;

/// Seconds until a machine that boots in a circle asks again.
const REST: u32 = 60;

/// How many network cards of a machine are told to the server.
const CARDS: u32 = 8;

/// Who asks. Texts are escaped with `:uristring`; the UUID must not be, because iPXE would take its sixteen bytes for the
/// text and cut the URL at the first zero.
const WHO: &str = "mac=${netX/mac}&uuid=${uuid}&serial=${serial:uristring}&platform=${platform:uristring}\
                   &arch=${buildarch:uristring}&board=${board-serial:uristring}&asset=${asset:uristring}\
                   &maker=${manufacturer:uristring}&product=${product:uristring}&cards=${cards}";

/// A text for the screen: printable ASCII without anything that means something to iPXE.
#[must_use]
pub fn shown(text: &str) -> String {
    let plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '$' | '\\' | '|' | '&' | ';' | '#');
    let shown: String = text.chars().filter(|c| !c.is_control()).map(|c| if c.is_ascii() { c } else { '?' }).collect();
    let shown: String = shown.chars().filter(|c| plain(*c)).take(MAX_SHOWN).collect();
    // What begins with a hyphen is an option to iPXE.
    shown.trim_start_matches(['-', ' ']).trim_end().to_owned()
}

/// The longest text on the screen.
const MAX_SHOWN: usize = 300;

/// A value that is one word of a command, and means nothing else to iPXE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word<'a>(&'a str);

impl<'a> Word<'a> {
    /// The text as a word; nothing when iPXE would take it for more than that.
    #[must_use]
    pub fn of(text: &'a str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'$' | b'\\');
        let is_word =
            !text.is_empty() && text.bytes().all(plain) && !text.starts_with('#') && !matches!(text, "||" | "&&" | ";");
        is_word.then_some(Self(text))
    }
}

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The script every iPXE is sent to: it asks `base` for the machine's own script until there is an answer.
///
/// It tells the addresses of all network cards, because the site file may name another than the one that boots
/// (netboot.md, C13).
#[must_use]
pub fn entry(base: &str) -> String {
    format!(
        "#!ipxe\n\
         # Bivouac: says who is asking and fetches this machine's own script.\n\
         set card:int32 0\n\
         set cards {NO_CARD}\n\
         :card\n\
         isset ${{net${{card}}/mac}} || goto again\n\
         set cards ${{cards}},${{net${{card}}/mac}}\n\
         inc card\n\
         iseq ${{card}} {CARDS} || goto card\n\
         :again\n\
         chain --autofree --replace {base}/script?{WHO} ||\n\
         echo Bivouac: no script from {base}: it does not answer, or, when the line above says HTTP 4xx or input/output \
         error, it refuses the network card ${{netX/mac}}, which has no address of its own\n\
         echo Bivouac: asking again in {PAUSE} seconds\n\
         sleep {PAUSE}\n\
         goto again\n"
    )
}

/// What begins the list of cards, which iPXE cannot begin empty.
const NO_CARD: &str = "-";

/// A script that shows `text` on the machine's screen and asks again later: what a machine gets that may not boot.
#[must_use]
pub fn notice(base: &str, text: &str) -> String {
    rest(base, text, NOTICE_PAUSE)
}

/// What a machine gets that asks again and again without ever loading anything: a loader that is handed out in a circle,
/// or firmware that comes back instead of booting from its disk (netboot.md, C5). It rests, so that a person can read
/// why and the network is left alone, and then tries again.
#[must_use]
pub fn circle(base: &str, rounds: usize) -> String {
    let text = format!(
        "this machine asked to boot {rounds} times within two minutes and loaded nothing. It boots in a circle: its \
         firmware comes back here instead of going on. Look at its boot order, and at [[local-disk]] and [[loader]] in \
         the site file"
    );
    rest(base, &text, REST)
}

fn rest(base: &str, text: &str, seconds: u32) -> String {
    format!(
        "#!ipxe\n\
         echo Bivouac: {}\n\
         echo Bivouac: asking again in {seconds} seconds\n\
         sleep {seconds}\n\
         :again\n\
         chain --autofree --replace {base}/boot.ipxe ||\n\
         sleep {PAUSE}\n\
         goto again\n",
        shown(text)
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_entry_script_hands_over_who_asks_and_never_ends() {
        let script = entry("http://10.0.0.1:8080");
        assert!(script.starts_with("#!ipxe\n"));
        assert!(script.contains("http://10.0.0.1:8080/script?mac=${netX/mac}&uuid=${uuid}&serial="));
        assert!(script.contains("&board=${board-serial:uristring}&asset=${asset:uristring}&maker=${manufacturer:uristring}&product=${product:uristring}&cards="));
        assert!(script.contains("set cards ${cards},${net${card}/mac}\n") && script.contains("&cards=${cards} ||\n"));
        assert!(
            script.contains("it refuses the network card ${netX/mac}, which has no address of its own\n"),
            "{script}"
        );
        assert!(script.ends_with("goto again\n"));
    }

    #[test]
    fn a_notice_cannot_carry_commands() {
        let script = notice("http://10.0.0.1", "no profile\nshell ${mac} || reboot ; # x");
        assert!(script.contains("echo Bivouac: no profileshell {mac}  reboot   x\n"), "{script}");
    }

    #[test]
    fn a_machine_in_a_circle_rests_and_tries_again() {
        let script = circle("http://10.0.0.1", 6);
        assert!(script.contains("6 times") && script.contains("sleep 60\n") && script.ends_with("goto again\n"));
    }

    proptest! {
        #[test]
        fn no_text_becomes_a_command(text in any::<String>()) {
            let shown = shown(&text);
            prop_assert!(shown.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
            prop_assert!(!shown.contains(['$', '|', '&', ';', '#', '\\']) && !shown.starts_with('-'));
            if let Some(word) = Word::of(&text) {
                prop_assert_eq!(word.to_string().split_whitespace().count(), 1);
                prop_assert!(!text.contains('$') && !text.starts_with('#'));
            }
        }
    }
}
