//! What the lint looks for: every rule by its id and level, in one list.

use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The machine would be insecure or not do its work; a build stops.
    Error,
    /// Probably not meant; a build says it and goes on.
    Warning,
    /// Good to know.
    Info,
}

impl Level {
    /// Every level, the worst first.
    pub const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Info];

    /// Its name, for one finding.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// One kind of mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Its id, such as `OVL-15`, by which `[[allow]]` names it.
    pub id: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What it is about, in a few words.
    pub about: &'static str,
}

/// One constant for each rule, and the list of all of them, which can thus miss none.
macro_rules! rules {
    ($($name:ident = $id:literal, $level:ident, $about:literal;)*) => {
        $(pub(in crate::build) const $name: Rule = Rule { id: $id, level: Level::$level, about: $about };)*

        /// Every rule, in the order in which findings are listed within a level.
        pub const RULES: &[Rule] = &[$($name),*];
    };
}

rules! {
    KEY = "KEY-1", Error, "a key or value that a profile cannot have";
    STRAY_FILE = "OVL-11", Error, "a file that makes apk lose track of the overlay, or a leftover of macOS";
    FOLDER = "OVL-13", Error, "a folder of the system with an owner or mode that is not its own";
    FOREIGN_OWNER = "OVL-14", Error, "a file of the system that does not belong to root";
    WRITABLE = "OVL-15", Error, "a file of the system that others may write";
    EMPTY_PASSWORD = "OVL-16", Error, "an account without a password";
    SHADOW_MODE = "OVL-17", Warning, "mode and owner of etc/shadow";
    HOST_KEY_MODE = "OVL-18", Error, "mode and owner of SSH host keys";
    NO_HOST_KEYS = "OVL-19", Warning, "an SSH server with new keys at every boot";
    SHARED_IDENTITY = "OVL-20", Warning, "host keys or another identity that all machines share";
    HOME = "OVL-21", Error, "a home that is missing or not its user's";
    SSH_FOLDER = "OVL-22", Error, "SSH keys of a user that others may write";
    ACCOUNT_LINES = "OVL-23", Error, "accounts that contradict each other or that no login understands";
    OWN_ACCOUNTS = "OVL-24", Info, "an own passwd, group or shadow without accounts of Alpine";
    NO_RUNLEVELS = "OVL-25", Error, "no services at all";
    SERVICE_WITHOUT_PACKAGE = "OVL-26", Error, "a service that nothing brings";
    RUNLEVEL_ENTRY = "OVL-27", Error, "an entry of a runlevel that OpenRC does not follow";
    NO_INTERFACES = "OVL-28", Error, "networking without etc/network/interfaces";
    FIXED_CARD = "OVL-29", Warning, "a network card by the name it may not have";
    WORLD_WORD = "OVL-30", Error, "a word of the world that is no package";
    WORLD_COMMENT = "OVL-31", Error, "a comment in the world";
    WORLD_LINE_END = "OVL-32", Error, "a world with carriage returns or a byte order mark";
    REPOSITORY_LINE_END = "OVL-33", Error, "a repository with a carriage return";
    REPOSITORY_LINE = "OVL-34", Error, "a line that is no repository";
    OTHER_BRANCH = "OVL-35", Error, "a repository of another branch or architecture";
    APK_KEY = "OVL-36", Error, "a key that apk does not find or cannot read";
    ARCH_FILE = "OVL-37", Warning, "another architecture in etc/apk/arch";
    NO_HOST_NAME = "OVL-38", Warning, "an empty host name";
    HOST_NAME = "OVL-39", Warning, "a host name with invalid characters, or an lbu whose archives no machine boots";
    NO_GETTY = "OVL-40", Warning, "an etc/inittab without a login";
    ROOT_SIZE = "OVL-41", Info, "an etc/fstab that remounts the root";
    METADATA = "OVL-42", Error, "extended attributes, capabilities and bits that do not reach the machine";
    KIND = "OVL-45", Error, "a file of another kind than another layer's or Alpine's of that name";
    NOT_RUN = "OVL-46", Error, "a script that is passed over because of its mode or name";
    READABLE_SECRET = "OVL-47", Warning, "a secret that every user of the machine can read";
    LEFTOVER = "OVL-48", Warning, "a leftover of an editor or of apk";
    NAME = "OVL-49", Error, "a name that no list of overlay files can hold";
    SAME_BUT_CASE = "OVL-50", Warning, "names that differ only in case";
    UNHOLDABLE = "FILE-1", Error, "something that an overlay cannot hold";
    NOTHING_TO_REMOVE = "FILE-2", Error, "something taken out that is not there";
    RULE_FOR_NOTHING = "FILE-3", Error, "a rule of `[files]` for a file that is not there";
    VARIABLE = "TPL-1", Error, "a variable without a value, or with one of another type";
    TEMPLATE = "TPL-2", Error, "a template that cannot be rendered";
    NO_MODLOOP = "SVC-1", Warning, "no modules beyond those of the initramfs";
    UNKNOWN_PACKAGE = "SVC-3", Warning, "a service of which nobody can tell the package";
    NOT_STARTED = "RUN-1", Warning, "scripts whose service is not started";
    INTERPRETER = "RUN-2", Error, "a script that the machine cannot run";
    ADDRESS = "NET-1", Error, "an address that no card can have";
    DOUBLE_ADDRESS = "NET-2", Error, "an address of two cards";
    GATEWAY = "NET-3", Error, "a gateway that cannot be reached";
    NAME_SERVER = "NET-4", Error, "a name server that cannot answer";
    DOUBLE_GATEWAY = "NET-5", Error, "more than one default route";
    TIME_ZONE = "SET-1", Error, "a time zone that does not exist";
    KEYMAP = "SET-2", Error, "a keymap that does not exist";
    LIKELY_NAME = "SET-3", Warning, "a zone, keymap, flavor, repository or shell that Alpine likely does not have";
    SHELL = "SET-4", Error, "a login shell that the machine does not have";
    OTHER_REPOSITORY = "REP-1", Error, "a repository other than the bundle's";
    SYSTEM_MODE_ARGUMENT = "ARG-1", Warning, "a kernel argument for machines with disks";
    NO_SUCH_ARGUMENT = "ARG-2", Warning, "a kernel argument that does nothing on such a machine";
    UNKNOWN_ARGUMENT = "ARG-3", Warning, "a kernel argument that nothing knows";
    RISKY_ARGUMENT = "ARG-4", Warning, "a kernel argument that takes something away from the machine";
    REFUSED_ARGUMENT = "ARG-5", Error, "a kernel argument that ends diskless mode, is Bivouac's own, or cannot be passed on";
    PRIVATE_KEY = "SEC-1", Error, "a private key";
    TOKEN = "SEC-2", Error, "an access token";
    NETWORK_PASSWORD = "SEC-3", Warning, "the password of a network";
    DEFAULT_PASSWORD = "SEC-4", Error, "a password everybody tries first";
    CLEAR_PASSWORD = "SEC-5", Error, "a password without a hash";
    WEAK_HASH = "SEC-6", Warning, "a password hash that is quickly guessed";
    LIKELY_PASSWORD = "SEC-7", Warning, "a setting that looks like a password";
    IDLE_ALLOW = "ALLOW-1", Warning, "an `[[allow]]` that allows nothing";
    UNKNOWN_RULE = "ALLOW-2", Error, "an `[[allow]]` of a rule that does not exist";
}

/// The rules about which the packages have the last word, which only a build knows: without them a mistake may be missed,
/// or be none.
pub(in crate::build) const OF_PACKAGES: &[Rule] =
    &[FOLDER, SERVICE_WITHOUT_PACKAGE, UNKNOWN_PACKAGE, KIND, INTERPRETER, TIME_ZONE, KEYMAP, SHELL];

/// The rules about owners and modes, which `[files]` decides more often than the layer that has the file.
pub(super) const OF_RIGHTS: &[Rule] =
    &[FOLDER, FOREIGN_OWNER, WRITABLE, SHADOW_MODE, HOST_KEY_MODE, HOME, SSH_FOLDER, READABLE_SECRET];

impl Rule {
    /// Its place in [`RULES`].
    pub(super) fn place(&self) -> usize {
        RULES.iter().position(|rule| rule.id == self.id).unwrap_or(RULES.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_rules_share_an_id_and_each_says_what_it_is_about() {
        let ids: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), RULES.len());
        assert!(RULES.iter().all(|rule| !rule.about.is_empty() && rule.id.contains('-')));
    }
}
