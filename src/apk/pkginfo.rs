//! `.PKGINFO`, what a package says of itself: lines of `key = value`.

use std::fmt::Write as _;

use super::identity::Identity;

/// The description inside a package file. Texts are as they stand there; nothing is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PkgInfo {
    /// `pkgname`.
    pub name: String,
    /// `pkgver`, with the release: `1.36.1-r19`.
    pub version: String,
    /// `arch`, or `noarch`.
    pub arch: String,
    /// `pkgdesc`, one line.
    pub description: String,
    /// `url`, the home page.
    pub url: String,
    /// `license`, an SPDX expression.
    pub license: String,
    /// `origin`, the source package.
    pub origin: String,
    /// `maintainer`.
    pub maintainer: String,
    /// `commit` of the source package.
    pub commit: String,
    /// `builddate`, in seconds since 1970; digits, or empty.
    pub build_date: String,
    /// `size`, bytes on disk once installed.
    pub installed_size: u64,
    /// `provider_priority`; 0 when there is none.
    pub provider_priority: u32,
    /// `datahash`: SHA-256 of the compressed files, in hexadecimal.
    pub data_hash: String,
    /// `depend`, one each.
    pub depends: Vec<String>,
    /// `provides`, one each.
    pub provides: Vec<String>,
    /// `replaces`, one each.
    pub replaces: Vec<String>,
    /// `install_if`, one each.
    pub install_if: Vec<String>,
    /// `triggers`: directories whose change runs the trigger script.
    pub triggers: Vec<String>,
}

impl PkgInfo {
    /// Reads the text; keys that are not known are skipped, as apk does.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut info = Self::default();
        for line in text.lines() {
            if let Some((key, value)) = line.split_once(" = ") {
                info.set(key, value);
            }
        }
        info
    }

    fn set(&mut self, key: &str, value: &str) {
        let words = || value.split_ascii_whitespace().map(str::to_owned);
        let text = match key {
            "pkgname" => &mut self.name,
            "pkgver" => &mut self.version,
            "arch" => &mut self.arch,
            "pkgdesc" => &mut self.description,
            "url" => &mut self.url,
            "license" => &mut self.license,
            "origin" => &mut self.origin,
            "maintainer" => &mut self.maintainer,
            "commit" => &mut self.commit,
            "builddate" => &mut self.build_date,
            "datahash" => &mut self.data_hash,
            "size" => return self.installed_size = value.parse().unwrap_or(0),
            "provider_priority" => return self.provider_priority = value.parse().unwrap_or(0),
            "depend" => return self.depends.extend(words()),
            "provides" => return self.provides.extend(words()),
            "replaces" => return self.replaces.extend(words()),
            "install_if" => return self.install_if.extend(words()),
            "triggers" => return self.triggers.extend(words()),
            _ => return,
        };
        value.clone_into(text);
    }

    /// The text of the file, with fields in a fixed order.
    #[must_use]
    pub fn to_text(&self) -> String {
        let size = self.installed_size.to_string();
        let priority = self.provider_priority_text();
        let mut text = String::new();
        for (key, value) in [
            ("pkgname", &self.name),
            ("pkgver", &self.version),
            ("pkgdesc", &self.description),
            ("url", &self.url),
            ("builddate", &self.build_date),
            ("size", &size),
            ("arch", &self.arch),
            ("origin", &self.origin),
            ("commit", &self.commit),
            ("maintainer", &self.maintainer),
            ("license", &self.license),
            ("provider_priority", &priority),
        ] {
            push(&mut text, key, " = ", value);
        }
        for (key, values) in [
            ("depend", &self.depends),
            ("provides", &self.provides),
            ("replaces", &self.replaces),
            ("install_if", &self.install_if),
        ] {
            for value in values {
                push(&mut text, key, " = ", value);
            }
        }
        push(&mut text, "triggers", " = ", &self.triggers.join(" "));
        push(&mut text, "datahash", " = ", &self.data_hash);
        text
    }

    /// The record of an index of an architecture, without a line end after it.
    pub(super) fn index_record(&self, identity: Identity, size: u64, arch: &str) -> String {
        let (identity, size) = (identity.to_string(), size.to_string());
        let installed_size = self.installed_size.to_string();
        let priority = self.provider_priority_text();
        let mut text = String::new();
        for (key, value) in [
            ("C", identity.as_str()),
            ("P", &self.name),
            ("V", &self.version),
            ("A", arch),
            ("S", &size),
            ("I", &installed_size),
            ("T", &self.description),
            ("U", &self.url),
            ("L", &self.license),
            ("o", &self.origin),
            ("m", &self.maintainer),
            ("t", &self.build_date),
            ("c", &self.commit),
            ("k", &priority),
            ("D", &self.depends.join(" ")),
            ("p", &self.provides.join(" ")),
            ("i", &self.install_if.join(" ")),
        ] {
            push(&mut text, key, ":", value);
        }
        text.truncate(text.trim_end_matches('\n').len());
        text
    }

    fn provider_priority_text(&self) -> String {
        match self.provider_priority {
            0 => String::new(),
            priority => priority.to_string(),
        }
    }
}

/// One line, unless there is nothing to say. A line end inside a value would start another field.
fn push(text: &mut String, key: &str, between: &str, value: &str) {
    if !value.is_empty() {
        let value = value.replace(['\n', '\r'], " ");
        writeln!(text, "{key}{between}{value}").expect("writing into memory does not fail");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "# Generated by abuild 3.12.0-r0\npkgname = busybox\npkgver = 1.36.1-r19\n\
        pkgdesc = Size optimized toolbox\nsize = 946176\narch = x86_64\nprovider_priority = 100\n\
        replaces = busybox-initscripts\ndepend = so:libc.musl-x86_64.so.1\nprovides = cmd:busybox=1.36.1-r19\n\
        provides = /bin/sh\ntriggers = /bin /usr/bin /sbin\nunknown = x\ndatahash = abcd\n";

    #[test]
    fn the_description_of_a_package_is_read() {
        let info = PkgInfo::parse(TEXT);
        assert_eq!((info.name.as_str(), info.version.as_str()), ("busybox", "1.36.1-r19"));
        assert_eq!((info.installed_size, info.provider_priority), (946_176, 100));
        assert_eq!(info.provides, ["cmd:busybox=1.36.1-r19", "/bin/sh"]);
        assert_eq!(info.triggers.len(), 3);
        assert_eq!(PkgInfo::parse(&info.to_text()), info);
    }

    #[test]
    fn a_record_for_an_index_has_its_fields_in_order() {
        let record = PkgInfo::parse(TEXT).index_record(Identity::Sha1([0; 20]), 507_000, "x86_64");
        assert_eq!(
            record,
            "C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:busybox\nV:1.36.1-r19\nA:x86_64\nS:507000\nI:946176\n\
             T:Size optimized toolbox\nk:100\nD:so:libc.musl-x86_64.so.1\np:cmd:busybox=1.36.1-r19 /bin/sh"
        );
    }

    #[test]
    fn a_value_cannot_smuggle_in_a_field() {
        let info = PkgInfo { name: "a\npkgver = 2".to_owned(), ..PkgInfo::default() };
        assert_eq!(PkgInfo::parse(&info.to_text()).version, "");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(pkgname|size|depend|[a-z]{1,3}) = \\PC{0,9}\n{0,1}") {
            let _ = PkgInfo::parse(&text).to_text();
        }
    }
}
