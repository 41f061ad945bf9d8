//! The kernel command line of a diskless boot (alpine.md, section 1.9).

/// Arguments Bivouac writes itself, exactly once each. `root` ends diskless mode, so it is not for a profile either.
/// Nor are those that keep the machine from ever reaching its check-in: another init, and init's words for a shell
/// (INIT-2).
const RESERVED: [&str; 15] = [
    "initrd",
    "ip",
    "BOOTIF",
    "alpine_repo",
    "modloop",
    "apkovl",
    "bivouac",
    "bivouac_bundle",
    "root",
    "init",
    "rdinit",
    "noinitrd",
    "single",
    "s",
    "1",
];

/// The longest command line x86 and ARM kernels take (`COMMAND_LINE_SIZE`), without its final NUL.
pub const MAX_LENGTH: usize = 2047;

/// What Bivouac adds to a profile's arguments: URLs with a host, a 64-digit id and a token. This holds them with room.
pub const ADDED: usize = 768;

/// What iPXE makes of [`BOOTIF`], which is one byte longer itself.
const CARD: &str = "aa-bb-cc-dd-ee-ff";

/// The card that booted, as iPXE fills it in: in the lower case that INIT-13 needs.
const BOOTIF: &str = "${netX/mac:hexhyp}";

/// Why a kernel argument of a profile is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// Init splits on whitespace without quoting (INIT-1), and iPXE expands `${…}`, ends a command at some words and a
    /// line at others.
    #[error(
        "kernel argument `{0}` is empty or has whitespace, quotes, `$` or a character that is not printable ASCII, or is a word that means something to iPXE: `||`, `&&`, `;` and what begins with `#`"
    )]
    Characters(String),
    /// Written by Bivouac.
    #[error(
        "kernel argument `{0}` is set by Bivouac or would keep the machine from its check-in; remove it from the profile"
    )]
    Reserved(String),
    /// A kernel would cut the line.
    #[error(
        "the kernel arguments are {length} bytes long, and this kernel takes {limit} with the {ADDED} that Bivouac adds; take some out"
    )]
    TooLong {
        /// How long the profile's arguments are.
        length: usize,
        /// How long the whole line may be.
        limit: usize,
    },
}

/// Checks one kernel argument of a profile.
///
/// # Errors
/// When init or iPXE would not pass it on as it is, or Bivouac writes it itself.
pub fn check_argument(argument: &str) -> Result<(), ArgumentError> {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'$' | b'\\' | b'`');
    let ends = argument.starts_with('#') || matches!(argument, "||" | "&&" | ";");
    if argument.is_empty() || ends || !argument.bytes().all(plain) {
        return Err(ArgumentError::Characters(argument.escape_debug().take(80).collect()));
    }
    let name = argument.split('=').next().unwrap_or(argument);
    // Init reads `noX` as `X=no` (INIT-2), whatever came before it.
    if RESERVED.contains(&name) || name.strip_prefix("no").is_some_and(|bare| RESERVED.contains(&bare)) {
        return Err(ArgumentError::Reserved(name.to_owned()));
    }
    Ok(())
}

/// Checks a profile's arguments as a whole: each, and their length together.
///
/// # Errors
/// The first argument that is refused, or the length.
pub fn check_arguments(arguments: &[String]) -> Result<(), ArgumentError> {
    arguments.iter().try_for_each(|argument| check_argument(argument))?;
    fits(arguments, MAX_LENGTH)
}

/// Whether a kernel that takes `limit` bytes takes these arguments with what Bivouac adds.
///
/// # Errors
/// The length of the arguments, when it does not.
pub fn fits(arguments: &[String], limit: usize) -> Result<(), ArgumentError> {
    let length: usize = arguments.iter().map(|argument| argument.len() + 1).sum();
    if length + ADDED > limit { Err(ArgumentError::TooLong { length, limit }) } else { Ok(()) }
}

/// The command line of one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine<'a> {
    /// File names of the initrds, in load order: older iPXE on UEFI wants one `initrd=` for each (netboot.md, E3).
    pub initrds: Vec<&'a str>,
    /// Where apk finds the bundle's packages.
    pub alpine_repo: String,
    /// Where the `modloop` service finds the modules; its last part must be `modloop-FLAVOR` (ML-3).
    pub modloop: String,
    /// Path of the overlay inside the initramfs (INIT-20, form c).
    pub apkovl: String,
    /// Where the machine checks in; the token of the boot comes right after it.
    pub check_in: String,
    /// The bundle this boot is of, which the machine reports back.
    pub bundle: String,
    /// The profile's own arguments.
    pub profile: &'a [String],
}

impl CommandLine<'_> {
    /// How long the kernel finds a line that was `written`, in bytes, once iPXE has filled in the card.
    #[must_use]
    pub fn length(written: &str) -> usize {
        written.len() + CARD.len() - BOOTIF.len()
    }

    /// The line up to where the token of the boot comes, and what comes after it.
    #[must_use]
    pub fn around_token(&self) -> [String; 2] {
        let mut before: String = self.initrds.iter().map(|name| format!("initrd={name} ")).collect();
        before += &format!(
            "modules=loop,squashfs ip=dhcp BOOTIF=01-{BOOTIF} alpine_repo={} modloop={} apkovl={} bivouac={}",
            self.alpine_repo, self.modloop, self.apkovl, self.check_in
        );
        let mut after = format!(" bivouac_bundle={}", self.bundle);
        // The last occurrence wins (INIT-1): a profile may write its own `panic=` or `modules=`.
        if !self.profile.iter().any(|argument| argument.starts_with("panic=")) {
            after += " panic=10";
        }
        for argument in self.profile {
            after.extend([" ", argument]);
        }
        [before, after]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_init_would_split_or_ipxe_would_expand_are_refused() {
        for bad in ["", "a b", "a=\"b", "a=${mac}", "ä", "a\n", "#a", "||", "&&", ";"] {
            assert!(matches!(check_argument(bad), Err(ArgumentError::Characters(_))), "{bad:?}");
        }
        for good in ["quiet", "console=ttyS0,115200", "rootflags=size=75%"] {
            assert_eq!(check_argument(good), Ok(()));
        }
    }

    #[test]
    fn what_bivouac_writes_itself_and_root_are_refused() {
        for name in RESERVED {
            assert_eq!(check_argument(&format!("{name}=x")), Err(ArgumentError::Reserved(name.to_owned())));
            let no = format!("no{name}");
            assert_eq!(check_argument(&no), Err(ArgumentError::Reserved(no.clone())), "init reads it as `{name}=no`");
        }
    }

    #[test]
    fn arguments_that_would_be_cut_are_refused() {
        let long = vec!["x".repeat(1500)];
        assert_eq!(check_arguments(&long), Err(ArgumentError::TooLong { length: 1501, limit: 2047 }));
        assert_eq!(fits(&["quiet".to_owned()], 255), Err(ArgumentError::TooLong { length: 6, limit: 255 }));
    }

    #[test]
    fn the_line_has_each_argument_once_and_the_profile_last() {
        let profile = vec!["quiet".to_owned(), "console=ttyS0".to_owned()];
        let line = CommandLine {
            initrds: vec!["initramfs-virt", "site.img"],
            alpine_repo: "http://10.0.0.1/b/x/packages".to_owned(),
            modloop: "http://10.0.0.1/b/x/modloop-virt".to_owned(),
            apkovl: "/vdi.apkovl.tar.gz".to_owned(),
            check_in: "http://10.0.0.1/check-in/".to_owned(),
            bundle: "x".to_owned(),
            profile: &profile,
        };
        assert_eq!(
            line.around_token().join("t"),
            "initrd=initramfs-virt initrd=site.img modules=loop,squashfs ip=dhcp \
             BOOTIF=01-${netX/mac:hexhyp} alpine_repo=http://10.0.0.1/b/x/packages \
             modloop=http://10.0.0.1/b/x/modloop-virt apkovl=/vdi.apkovl.tar.gz \
             bivouac=http://10.0.0.1/check-in/t bivouac_bundle=x panic=10 quiet console=ttyS0"
        );
    }
}
