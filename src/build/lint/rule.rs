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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        $(pub(super) const $name: Rule = Rule { id: $id, level: Level::$level, about: $about };)*

        /// Every rule, in the order in which findings are listed within a level.
        pub const RULES: &[Rule] = &[$($name),*];
    };
}

rules! {
    FOLDER = "OVL-13", Error, "a folder of the system that is not root's or not 0755";
    FOREIGN_OWNER = "OVL-14", Error, "a file of the system that does not belong to root";
    WRITABLE = "OVL-15", Error, "a file of the system that others may write";
    EMPTY_PASSWORD = "OVL-16", Error, "an account without a password";
    SHADOW_MODE = "OVL-17", Warning, "mode and owner of etc/shadow";
    HOST_KEY_MODE = "OVL-18", Error, "mode and owner of SSH host keys";
    NO_HOST_KEYS = "OVL-19", Warning, "an SSH server with new keys at every boot";
    SHARED_HOST_KEYS = "OVL-20", Warning, "SSH host keys that all machines share";
    HOME = "OVL-21", Error, "a home that is missing or not its user's";
    SSH_FOLDER = "OVL-22", Error, "SSH keys of a user that others may write";
    ACCOUNT_LINES = "OVL-23", Error, "lines of passwd, group or shadow that contradict each other";
    NO_RUNLEVELS = "OVL-25", Error, "no services at all";
    SERVICE_WITHOUT_PACKAGE = "OVL-26", Error, "a service whose package is not installed";
    RUNLEVEL_ENTRY = "OVL-27", Error, "an entry of a runlevel that OpenRC does not follow";
    NO_INTERFACES = "OVL-28", Error, "networking without etc/network/interfaces";
    FIXED_CARD = "OVL-29", Warning, "a network card by the name it may not have";
    REPOSITORY_LINE_END = "OVL-33", Error, "a repository with a carriage return";
    REPOSITORY_LINE = "OVL-34", Error, "a line that is no repository";
    OTHER_BRANCH = "OVL-35", Error, "a repository of another branch";
    APK_KEY = "OVL-36", Error, "a key that apk does not find or cannot read";
    ARCH_FILE = "OVL-37", Warning, "another architecture in etc/apk/arch";
    NO_HOST_NAME = "OVL-38", Warning, "an empty host name";
    HOST_NAME = "OVL-39", Warning, "a host name with invalid characters";
    NO_GETTY = "OVL-40", Warning, "an etc/inittab without a login";
    ROOT_SIZE = "OVL-41", Info, "an etc/fstab that remounts the root";
    KIND = "OVL-45", Error, "a file of another kind than Alpine's of that name";
    NOT_EXECUTABLE = "OVL-46", Error, "a script that is not executable";
    READABLE_SECRET = "OVL-47", Warning, "a secret that every user of the machine can read";
    LEFTOVER = "OVL-48", Warning, "a leftover of an editor or of apk";
    SAME_BUT_CASE = "OVL-50", Warning, "names that differ only in case";
    NO_MODLOOP = "SVC-1", Warning, "no modules beyond those of the initramfs";
    UNKNOWN_PACKAGE = "SVC-3", Warning, "a service of which nobody can tell the package";
    OTHER_REPOSITORY = "REP-1", Error, "a repository other than the bundle's";
    SYSTEM_MODE_ARGUMENT = "ARG-1", Warning, "a kernel argument for machines with disks";
    NO_SUCH_ARGUMENT = "ARG-2", Warning, "a kernel argument that does not exist";
    MISTYPED_ARGUMENT = "ARG-3", Warning, "a kernel argument that looks mistyped";
    RISKY_ARGUMENT = "ARG-4", Warning, "a kernel argument that takes something away from the machine";
    PRIVATE_KEY = "SEC-1", Error, "a private key";
    TOKEN = "SEC-2", Error, "an access token";
    NETWORK_PASSWORD = "SEC-3", Warning, "the password of a wireless network";
    DEFAULT_PASSWORD = "SEC-4", Error, "a password everybody tries first";
    CLEAR_PASSWORD = "SEC-5", Error, "a password without a hash";
    IDLE_ALLOW = "ALLOW-1", Warning, "an `[[allow]]` that allows nothing";
}

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
