//! A package as a component.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::cyclonedx::{Component, Contact, ExternalReference, Kind, Organization, Property};
use super::licence::licences;
use crate::apk::IndexPackage;
use crate::model::alpine::Branch;
use crate::model::manifest::{Alpine, PackageEntry};

/// What a package URL writes as it is, beside letters and digits.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// The name of Alpine in package URLs and for those who look up advisories: the `ID` of its `os-release`.
pub(super) const ALPINE: &str = "alpine";

/// Describes a package by what the manifest and the index say of it.
pub(super) fn component(entry: &PackageEntry, record: &IndexPackage, alpine: &Alpine) -> Component {
    let field = |letter| record.field(letter).map(str::trim).filter(|text| !text.is_empty());
    let origin = field('o').unwrap_or(&entry.name);
    let properties = [
        // Alpine's advisories are about origins. Trivy looks for them here and Grype in the package URL; without this,
        // neither would see that `libcrypto3` is OpenSSL.
        ("aquasecurity:trivy:SrcName", Some(origin)),
        ("bivouac:apk:commit", field('c')),
        ("bivouac:apk:identity", Some(entry.identity.as_str())),
        ("bivouac:apk:origin", Some(origin)),
    ];
    let properties =
        properties.into_iter().filter_map(|(name, value)| Some(Property { name, value: value?.to_owned() }));
    Component {
        kind: Kind::Library,
        reference: Some(entry.file_name()),
        supplier: field('m').map(maintainer),
        name: entry.name.clone(),
        version: Some(entry.version.clone()),
        description: field('T').map(str::to_owned),
        hashes: vec![entry.sha256.into()],
        licenses: field('L').map(licences).unwrap_or_default(),
        purl: Some(package_url(entry, record.arch(), origin, alpine)),
        external_references: field('U').and_then(home_page).into_iter().collect(),
        properties: properties.collect(),
    }
}

/// The release as those know it who look up advisories: edge has no number of its own.
pub(super) fn release(alpine: &Alpine) -> String {
    if alpine.branch == Branch::Edge { alpine.branch.to_string() } else { alpine.version.to_string() }
}

/// `pkg:apk/alpine/NAME@VERSION?arch=…&distro=…`, in the canonical form of the package URL specification: the name in
/// lower case, qualifiers in order.
fn package_url(entry: &PackageEntry, arch: &str, origin: &str, alpine: &Alpine) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
    let (name, version) = (encoded(&entry.name.to_ascii_lowercase()), encoded(&entry.version));
    let release = encoded(&release(alpine));
    let mut url = format!("pkg:apk/{ALPINE}/{name}@{version}?arch={}&distro={ALPINE}-{release}", encoded(arch));
    if origin != entry.name {
        url.push_str("&upstream=");
        url.push_str(&encoded(origin));
    }
    url
}

/// `Name <address>` as Alpine writes maintainers; anything else is a name.
fn maintainer(text: &str) -> Organization {
    let address = |text: &str| {
        let (user, host) = text.split_once('@')?;
        let is_plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+'))
        };
        (is_plain(user) && is_plain(host)).then(|| text.to_owned())
    };
    let parts = text.strip_suffix('>').and_then(|text| text.split_once('<'));
    match parts.and_then(|(name, email)| Some((name.trim(), address(email)?))) {
        Some((name, email)) if !name.is_empty() => {
            Organization { name: name.to_owned(), contact: vec![Contact { name: name.to_owned(), email }] }
        }
        _ => Organization { name: text.to_owned(), contact: Vec::new() },
    }
}

/// A home page, if it is an address: the field is of the type of one, and some readers refuse the whole document when
/// what stands there is not.
fn home_page(url: &str) -> Option<ExternalReference> {
    let (scheme, rest) = url.split_once("://")?;
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !"\"<>\\^`{|}".contains(c);
    let is_address =
        !scheme.is_empty() && scheme.bytes().all(|it| it.is_ascii_lowercase()) && rest.chars().all(is_plain);
    is_address.then(|| ExternalReference { url: url.to_owned(), kind: "website" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::tests::sample;

    fn entry(name: &str, version: &str) -> PackageEntry {
        PackageEntry {
            name: name.to_owned(),
            version: version.to_owned(),
            identity: "Q1".to_owned(),
            sha256: crate::model::digest::Digest::of(b"apk"),
            size: 3,
        }
    }

    #[test]
    fn package_urls_are_canonical() {
        let alpine = sample("vdi").alpine;
        let url = |name, origin| package_url(&entry(name, "1.2_git20240101-r0"), "x86_64", origin, &alpine);
        assert_eq!(url("curl", "curl"), "pkg:apk/alpine/curl@1.2_git20240101-r0?arch=x86_64&distro=alpine-3.24.1");
        assert_eq!(
            url("gtk+3.0-Lang", "gtk+3.0"),
            "pkg:apk/alpine/gtk%2B3.0-lang@1.2_git20240101-r0?arch=x86_64&distro=alpine-3.24.1&upstream=gtk%2B3.0"
        );
        let edge = Alpine { branch: "edge".parse().unwrap(), version: "20260805".parse().unwrap(), ..alpine };
        assert_eq!(
            package_url(&entry("curl", "1-r0"), "noarch", "curl", &edge),
            "pkg:apk/alpine/curl@1-r0?arch=noarch&distro=alpine-edge"
        );
    }

    #[test]
    fn a_maintainer_is_a_name_and_an_address_or_just_a_text() {
        let shown = |text| {
            let Organization { name, contact } = maintainer(text);
            (name, contact.into_iter().map(|it| it.email).next())
        };
        let both = ("Ada Example".to_owned(), Some("ada+apk@example.net".to_owned()));
        assert_eq!(shown("Ada Example <ada+apk@example.net>"), both);
        for text in
            ["Ada", "ada@example.net", "<ada@example.net>", "Ada <ada>", "Ada <a@b@c>", "Ada <a b@c>", "Ada <@>"]
        {
            assert_eq!(shown(text), (text.to_owned(), None));
        }
    }

    #[test]
    fn only_an_address_is_a_home_page() {
        assert!(home_page("https://example.net/~ada/?a=%20b#c").is_some());
        assert!(home_page("gemini://example.net/ä").is_some());
        for text in ["", "example.net", "javascript:alert(1)", "://x", "https://a b", "https://<a>", "ht tp://x"] {
            assert!(home_page(text).is_none(), "{text}");
        }
    }
}
