//! The list of what is in a bundle (SBOM), for licence and vulnerability tools.
//!
//! It is made of the bundle alone, of its manifest and its package index, so it can be made at any site and at any time,
//! with the same bytes. Here and not in `cli`, because it is knowledge about bundles and not about a command; and not in
//! `model`, because licences and origins stand in apk's index.

mod cyclonedx;
mod graph;
mod licence;
mod package;

use std::collections::{BTreeSet, HashMap};

pub use cyclonedx::Bom;

use crate::apk::{Index, IndexPackage};
use crate::model::manifest::{FileEntry, Manifest, PackageEntry};
use cyclonedx::{Component, Dependencies, Kind, Lifecycle, Metadata, Property, Tools};
use graph::Graph;
use package::{ALPINE, release};

/// A manifest and an index that are not of one bundle.
#[derive(Debug, thiserror::Error)]
#[error("the bundle has the package {0}, and its index does not; build the profile again")]
pub struct NotInIndex(
    /// Name and version.
    pub String,
);

/// Lists what is in a bundle. `index` is the one that the manifest names.
///
/// # Errors
/// When the index lacks a package of the manifest.
pub fn bill_of_materials(manifest: &Manifest, index: &Index) -> Result<Bom, NotInIndex> {
    let records = records(&manifest.packages, index)?;
    let graph = Graph::of(&records, &manifest.world);
    let root = bundle(manifest);
    let system = operating_system(manifest);
    let files: Vec<Component> = manifest.files().map(|entry| file(manifest, entry)).collect();
    let packages: Vec<Component> = manifest
        .packages
        .iter()
        .zip(&records)
        .map(|(entry, record)| package::component(entry, record, &manifest.alpine))
        .collect();

    let reference = |component: &Component| component.reference.clone().unwrap_or_default();
    let of = |numbers: &BTreeSet<usize>| {
        numbers.iter().filter_map(|number| packages.get(*number)).map(reference).collect::<Vec<String>>()
    };
    let mut dependencies = vec![
        Dependencies {
            reference: reference(&root),
            depends_on: [&system].into_iter().chain(&files).map(reference).collect(),
        },
        Dependencies { reference: reference(&system), depends_on: of(&graph.roots) },
    ];
    dependencies.extend(files.iter().map(|file| Dependencies { reference: reference(file), depends_on: Vec::new() }));
    dependencies.extend(
        packages
            .iter()
            .zip(&graph.needs)
            .map(|(package, needs)| Dependencies { reference: reference(package), depends_on: of(needs) }),
    );
    let mut components = vec![system];
    components.extend(files);
    components.extend(packages);
    Ok(Bom {
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: serial_number(manifest),
        version: 1,
        metadata: Metadata {
            lifecycles: [Lifecycle { phase: "build" }],
            tools: Tools { components: [program()] },
            component: root,
        },
        components,
        dependencies,
    })
}

/// The index record of each package, in the order of the manifest.
fn records<'a>(packages: &[PackageEntry], index: &'a Index) -> Result<Vec<&'a IndexPackage>, NotInIndex> {
    let known: HashMap<(&str, &str, String), &IndexPackage> =
        index.packages().iter().map(|it| ((it.name(), it.version(), it.identity().to_string()), it)).collect();
    let record = |entry: &PackageEntry| {
        let key = (entry.name.as_str(), entry.version.as_str(), entry.identity.clone());
        known.get(&key).copied().ok_or_else(|| NotInIndex(format!("{}-{}", entry.name, entry.version)))
    };
    packages.iter().map(record).collect()
}

/// The bundle as a whole; its digest is its id.
fn bundle(manifest: &Manifest) -> Component {
    let id = manifest.id();
    let alpine = &manifest.alpine;
    Component {
        kind: Kind::Container,
        reference: Some(id.to_string()),
        name: manifest.profile.to_string(),
        version: Some(id.to_string()),
        description: Some(format!(
            "Diskless Alpine Linux {} for {}, kernel flavor {}",
            alpine.version, alpine.arch, alpine.flavor
        )),
        hashes: vec![id.into()],
        ..Component::default()
    }
}

/// The Alpine release, under the name and number by which advisories are looked up.
fn operating_system(manifest: &Manifest) -> Component {
    let properties = [
        ("bivouac:alpine:version", manifest.alpine.version.to_string()),
        ("bivouac:netboot:sha256", manifest.verified.tarball.to_string()),
    ];
    Component {
        kind: Kind::OperatingSystem,
        reference: Some(format!("{ALPINE}-{}", manifest.alpine.version)),
        name: ALPINE.to_owned(),
        version: Some(release(&manifest.alpine)),
        description: Some("Alpine Linux".to_owned()),
        properties: properties.into_iter().map(|(name, value)| Property { name, value }).collect(),
        ..Component::default()
    }
}

/// A file of the bundle that is not a package.
fn file(manifest: &Manifest, entry: &FileEntry) -> Component {
    let kernel = &manifest.verified.kernel;
    let (description, version) = if *entry == manifest.kernel {
        ("Linux kernel", kernel.clone())
    } else if *entry == manifest.modloop {
        ("Modules and firmware for the kernel", kernel.clone())
    } else if *entry == manifest.initramfs {
        ("Alpine's initramfs", Some(manifest.alpine.version.to_string()))
    } else if *entry == manifest.apkovl {
        ("Settings and files of the profile", None)
    } else if *entry == manifest.index {
        ("Index of the packages", None)
    } else {
        ("Templates of files that are made for each machine", None)
    };
    Component {
        reference: Some(entry.name.clone()),
        name: entry.name.clone(),
        version,
        description: Some(description.to_owned()),
        hashes: vec![entry.sha256.into()],
        ..Component::default()
    }
}

/// This program.
fn program() -> Component {
    Component {
        kind: Kind::Application,
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        ..Component::default()
    }
}

/// A name for the document that only this bundle has: the first bytes of its id as a UUID of version 8 (RFC 9562,
/// section 5.8), which is for hashes of one's own choice.
fn serial_number(manifest: &Manifest) -> String {
    let first = manifest.id().as_bytes().iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let (version, variant) = (8 << 76, 0b10 << 62);
    let number = first & !(0xf << 76 | 0b11 << 62) | version | variant;
    let hex = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default().to_owned());
    format!("urn:uuid:{}", parts.join("-"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::model::digest::Digest;
    use crate::model::manifest::tests::sample;

    const RECORDS: &str = "C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:busybox\nV:1.37.0-r1\nA:x86_64\no:busybox\n\
        m:Ada Example <ada@example.net>\nL:GPL-2.0-only\nU:https://busybox.net/\nc:0123abcd\nT:Size optimized tools\n\
        D:so:libcrypto.so.3\n\n\
        C:Q1AQAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:libcrypto3\nV:3.5.0-r0\nA:x86_64\no:openssl\np:so:libcrypto.so.3=3.5.0\n\n";

    fn index() -> Index {
        Index::parse(RECORDS).unwrap()
    }

    fn manifest() -> Manifest {
        let index = index();
        let entries = index.packages().iter().map(|package| PackageEntry {
            name: package.name().to_owned(),
            version: package.version().to_owned(),
            identity: package.identity().to_string(),
            sha256: Digest::of(package.name().as_bytes()),
            size: 1,
        });
        Manifest { packages: entries.collect(), world: vec!["busybox".to_owned()], ..sample("vdi") }
    }

    fn document(manifest: &Manifest) -> Value {
        serde_json::from_slice(&bill_of_materials(manifest, &index()).unwrap().to_json()).unwrap()
    }

    #[test]
    fn everything_in_the_bundle_is_a_component_and_has_its_digest() {
        let manifest = manifest();
        let document = document(&manifest);
        let mut digests: Vec<&str> = document["components"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|it| it["hashes"][0]["content"].as_str())
            .collect();
        let mut blobs: Vec<String> = manifest.blobs().map(|(digest, _)| digest.to_string()).collect();
        digests.sort_unstable();
        blobs.sort_unstable();
        assert_eq!(digests, blobs);
        assert_eq!(document["metadata"]["component"]["hashes"][0]["content"], manifest.id().to_string());
    }

    #[test]
    fn every_reference_is_of_one_component_and_every_component_can_be_reached() {
        let document = document(&manifest());
        let root = document["metadata"]["component"]["bom-ref"].as_str().unwrap();
        let mut known: Vec<&str> =
            document["components"].as_array().unwrap().iter().map(|it| it["bom-ref"].as_str().unwrap()).collect();
        known.push(root);
        known.sort_unstable();
        let count = known.len();
        known.dedup();
        assert_eq!(known.len(), count);
        let needs: HashMap<&str, Vec<&str>> = document["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| {
                let on = it["dependsOn"].as_array().into_iter().flatten().map(|it| it.as_str().unwrap());
                (it["ref"].as_str().unwrap(), on.collect())
            })
            .collect();
        let (mut reached, mut next) = (BTreeSet::new(), vec![root]);
        while let Some(reference) = next.pop() {
            if reached.insert(reference) {
                next.extend(&needs[reference]);
            }
        }
        assert_eq!(reached.into_iter().collect::<Vec<_>>(), known);
        assert_eq!(needs["busybox-1.37.0-r1.apk"], ["libcrypto3-3.5.0-r0.apk"]);
        assert_eq!(needs["alpine-3.24.1"], ["busybox-1.37.0-r1.apk"]);
    }

    #[test]
    fn a_package_says_whose_it_is_and_under_which_terms() {
        let document = document(&manifest());
        let component = |name: &str| {
            document["components"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap().clone()
        };
        let busybox = serde_json::json!({
            "type": "library",
            "bom-ref": "busybox-1.37.0-r1.apk",
            "supplier": {
                "name": "Ada Example",
                "contact": [{ "name": "Ada Example", "email": "ada@example.net" }],
            },
            "name": "busybox",
            "version": "1.37.0-r1",
            "description": "Size optimized tools",
            "hashes": [{ "alg": "SHA-256", "content": Digest::of(b"busybox").to_string() }],
            "licenses": [{ "expression": "GPL-2.0-only" }],
            "purl": "pkg:apk/alpine/busybox@1.37.0-r1?arch=x86_64&distro=alpine-3.24.1",
            "externalReferences": [{ "url": "https://busybox.net/", "type": "website" }],
            "properties": [
                { "name": "aquasecurity:trivy:SrcName", "value": "busybox" },
                { "name": "bivouac:apk:commit", "value": "0123abcd" },
                { "name": "bivouac:apk:identity", "value": "Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
                { "name": "bivouac:apk:origin", "value": "busybox" },
            ],
        });
        assert_eq!(component("busybox"), busybox);
        let library = component("libcrypto3");
        assert_eq!(
            library["purl"],
            "pkg:apk/alpine/libcrypto3@3.5.0-r0?arch=x86_64&distro=alpine-3.24.1&upstream=openssl"
        );
        assert!(library.get("licenses").is_none() && library.get("supplier").is_none());
        assert_eq!(component("vmlinuz-virt")["version"], "6.18.1-0-virt");
        assert_eq!(component("alpine")["version"], "3.24.1");
    }

    #[test]
    fn another_bundle_has_another_serial_number() {
        let (one, other) = (serial_number(&sample("vdi")), serial_number(&sample("kiosk")));
        assert_ne!(one, other);
        let id = sample("vdi").id().to_string();
        let uuid = one.strip_prefix("urn:uuid:").unwrap();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.get(..13), Some(format!("{}-{}", &id[..8], &id[8..12]).as_str()));
        assert_eq!(uuid.get(14..15), Some("8"));
        assert!(["8", "9", "a", "b"].contains(&uuid.get(19..20).unwrap()), "{uuid}");
    }

    #[test]
    fn an_index_of_another_bundle_is_refused() {
        let mut other = manifest();
        other.packages[1].identity = "Q1AgAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned();
        assert_eq!(
            bill_of_materials(&other, &index()).unwrap_err().to_string(),
            "the bundle has the package libcrypto3-3.5.0-r0, and its index does not; build the profile again"
        );
    }

    proptest! {
        #[test]
        fn no_record_makes_it_panic(fields in "([LoUmcTDpA]:[ -~]{0,20}\n){0,8}") {
            let text = format!("C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:busybox\nV:1.37.0-r1\n{fields}\n");
            if let Ok(index) = Index::parse(&text) {
                let only = Manifest { packages: manifest().packages.into_iter().take(1).collect(), ..manifest() };
                let _ = bill_of_materials(&only, &index).unwrap().to_json();
            }
        }
    }
}
