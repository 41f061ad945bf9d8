//! The JSON documents of an image layout (image-spec 1.1: descriptor.md, image-index.md, manifest.md, config.md).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::LAYOUT_VERSION;
use crate::model::alpine::Arch;
use crate::model::digest::Digest;
use crate::model::manifest::{BundleId, Manifest};

/// The media type of an image index.
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of an image manifest.
const IMAGE_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an image configuration.
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// What kind of artifact a bundle is.
const BUNDLE_TYPE: &str = "application/vnd.bivouac.bundle.v1";
/// The media type of Bivouac's manifest.
const MANIFEST_TYPE: &str = "application/vnd.bivouac.manifest.v1+json";
/// The media type of a file or package of a bundle.
const FILE_TYPE: &str = "application/vnd.bivouac.file.v1";

/// The annotation with a file's name (annotations.md).
const TITLE: &str = "org.opencontainers.image.title";
/// The annotation with what a layout calls an image.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What the specification calls a descriptor: the name, length and kind of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What kind of document or file it is.
    media_type: String,
    /// What kind of artifact it is, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    /// Algorithm and digest. A text, because a layout may hold images of others, under digests of other kinds.
    digest: String,
    /// Its length in bytes.
    size: u64,
    /// What else is known of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Descriptor {
    fn of(media_type: &str, digest: &Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            artifact_type: None,
            digest: format!("sha256:{digest}"),
            size,
            annotations: BTreeMap::new(),
        }
    }

    fn annotated(mut self, key: &str, value: String) -> Self {
        self.annotations.insert(key.to_owned(), value);
        self
    }

    /// Its SHA-256, when that is what it is named by.
    #[must_use]
    pub fn sha256(&self) -> Option<Digest> {
        self.digest.strip_prefix("sha256:")?.parse().ok()
    }

    /// Its length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// The version of indexes and image manifests, of which there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
struct Schema;

impl From<Schema> for u32 {
    fn from(_: Schema) -> Self {
        2
    }
}

impl TryFrom<u32> for Schema {
    type Error = String;

    fn try_from(version: u32) -> Result<Self, Self::Error> {
        if version == u32::from(Self) { Ok(Self) } else { Err(format!("schemaVersion {version} is not known; 2 is")) }
    }
}

/// The list of what a layout holds.
#[derive(Debug, Clone, Deserialize)]
pub struct Index {
    /// Read to be refused when it is another.
    #[serde(rename = "schemaVersion")]
    _schema_version: Schema,
    manifests: Vec<Descriptor>,
}

impl Index {
    /// Reads `index.json`. What it says beside its entries does not matter here.
    ///
    /// # Errors
    /// When it is not JSON of that shape.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The entries that are images, and so may be bundles.
    pub fn images(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().filter(|entry| entry.media_type == IMAGE_TYPE)
    }
}

/// An image manifest: what one bundle consists of.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    schema_version: Schema,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl Image {
    /// Reads an image manifest.
    ///
    /// # Errors
    /// When it is not JSON of that shape.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Whether it is a bundle, and not an image of somebody else.
    #[must_use]
    pub fn is_bundle(&self) -> bool {
        self.artifact_type.as_deref() == Some(BUNDLE_TYPE)
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &Descriptor {
        &self.config
    }

    /// Bivouac's manifest, when exactly one layer is.
    #[must_use]
    pub fn manifest(&self) -> Option<&Descriptor> {
        let mut found = self.layers.iter().filter(|layer| layer.media_type == MANIFEST_TYPE);
        found.next().filter(|_| found.next().is_none())
    }

    /// Name and length of every layer.
    #[must_use]
    pub fn layers(&self) -> BTreeSet<(Digest, u64)> {
        self.layers.iter().filter_map(|layer| Some((layer.sha256()?, layer.size))).collect()
    }
}

/// The documents of one bundle, and its entry in the index.
pub(super) struct Described {
    pub(super) entry: Descriptor,
    pub(super) documents: [Vec<u8>; 3],
}

/// Describes a bundle.
pub(super) fn describe(manifest: &Manifest) -> Described {
    let own = manifest.to_bytes();
    let bundle = Digest::of(&own);
    let mut layers =
        vec![Descriptor::of(MANIFEST_TYPE, &bundle, own.len() as u64).annotated(TITLE, "bundle.json".to_owned())];
    let mut known = BTreeSet::from([bundle]);
    for ((digest, size), title) in manifest.blobs().zip(titles(manifest)) {
        if known.insert(digest) {
            layers.push(Descriptor::of(FILE_TYPE, &digest, size).annotated(TITLE, title));
        }
    }
    let config = config(manifest, &bundle, &layers);
    let image = Image {
        schema_version: Schema,
        media_type: Some(IMAGE_TYPE.to_owned()),
        artifact_type: Some(BUNDLE_TYPE.to_owned()),
        config: Descriptor::of(CONFIG_TYPE, &Digest::of(&config), config.len() as u64),
        layers,
    };
    let image = encode(&image);
    let mut entry = Descriptor::of(IMAGE_TYPE, &Digest::of(&image), image.len() as u64)
        .annotated(REF_NAME, format!("{}-{}", manifest.profile, bundle.short()));
    entry.artifact_type = Some(BUNDLE_TYPE.to_owned());
    Described { entry, documents: [image, config, own] }
}

/// What each blob of [`Manifest::blobs`] is called.
fn titles(manifest: &Manifest) -> impl Iterator<Item = String> + '_ {
    let files = manifest.files().map(|file| file.name.clone());
    files.chain(manifest.packages.iter().map(|package| format!("packages/{}", package.file_name())))
}

/// An image configuration as small as it may be. Without a time, because a bundle has none.
fn config(manifest: &Manifest, bundle: &BundleId, layers: &[Descriptor]) -> Vec<u8> {
    let alpine = &manifest.alpine;
    let (architecture, variant) = platform(&alpine.arch);
    let mut config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Labels": {
            TITLE: manifest.profile,
            "org.opencontainers.image.description":
                format!("Bivouac bundle {bundle}: Alpine {} {} {}", alpine.version, alpine.arch, alpine.flavor),
        }},
        "rootfs": {
            "type": "layers",
            "diff_ids": layers.iter().map(|layer| layer.digest.as_str()).collect::<Vec<_>>(),
        },
    });
    if let (Some(variant), Some(object)) = (variant, config.as_object_mut()) {
        object.insert("variant".to_owned(), variant.into());
    }
    encode(&config)
}

/// What Go, and with it the specification, calls Alpine's architectures.
fn platform(arch: &Arch) -> (&str, Option<&'static str>) {
    match arch.as_str() {
        "x86_64" => ("amd64", None),
        "x86" => ("386", None),
        "aarch64" => ("arm64", None),
        "armv7" => ("arm", Some("v7")),
        "armhf" => ("arm", Some("v6")),
        "loongarch64" => ("loong64", None),
        same => (same, None),
    }
}

/// `oci-layout`.
pub(super) fn layout() -> Vec<u8> {
    encode(&json!({ "imageLayoutVersion": LAYOUT_VERSION }))
}

/// Whether the bytes are an `oci-layout` of the one version there is.
pub(super) fn is_layout(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    serde_json::from_slice(bytes).is_ok_and(|it: Layout| it.image_layout_version == LAYOUT_VERSION)
}

/// `index.json` with these entries beside those of `old`, an index that is there already. An old entry of the same name
/// makes way, as it does for skopeo: within a layout a name is one image.
///
/// # Errors
/// When `old` is not an index.
pub(super) fn index(old: Option<&[u8]>, entries: &[Descriptor]) -> Result<Vec<u8>, serde_json::Error> {
    let mut index: Map<String, Value> = match old {
        Some(bytes) => {
            Index::decode(bytes)?;
            serde_json::from_slice(bytes)?
        }
        None => {
            Map::from_iter([("schemaVersion".to_owned(), json!(Schema)), ("mediaType".to_owned(), json!(INDEX_TYPE))])
        }
    };
    let mut manifests = match index.remove("manifests") {
        Some(Value::Array(manifests)) => manifests,
        _ => Vec::new(),
    };
    manifests.retain(|old| entries.iter().all(|new| new.annotations.get(REF_NAME).map(String::as_str) != name(old)));
    manifests.extend(entries.iter().map(|entry| json!(entry)));
    manifests.sort_by_cached_key(|entry| {
        let digest = entry.get("digest").and_then(Value::as_str).unwrap_or_default().to_owned();
        (name(entry).map(str::to_owned), digest)
    });
    index.insert("manifests".to_owned(), Value::Array(manifests));
    Ok(encode(&index))
}

/// What an index calls an entry.
fn name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

fn encode(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("the documents hold only texts, numbers and lists")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::manifest::tests::sample;

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn a_bundle_is_an_image_whose_first_layer_is_its_manifest() {
        let mut manifest = sample("vdi");
        // Two names for the same bytes are one layer.
        manifest.index.sha256 = manifest.kernel.sha256;
        let Described { entry, documents: [image, config, own] } = describe(&manifest);
        assert_eq!(own, manifest.to_bytes());
        assert_eq!(entry.sha256(), Some(Digest::of(&image)));
        assert_eq!(entry.annotations[REF_NAME], format!("vdi-{}", manifest.id().short()));
        let decoded = Image::decode(&image).unwrap();
        assert!(decoded.is_bundle());
        assert_eq!(decoded.manifest().unwrap().sha256(), Some(manifest.id()));
        assert_eq!(decoded.config().sha256(), Some(Digest::of(&config)));
        let titles: Vec<&str> = decoded.layers.iter().map(|layer| layer.annotations[TITLE].as_str()).collect();
        assert_eq!(titles, ["bundle.json", "vmlinuz-virt", "initramfs-virt", "modloop-virt", "vdi.apkovl.tar.gz"]);
        let config = json(&config);
        assert_eq!(config["architecture"], "amd64");
        let ids = config["rootfs"]["diff_ids"].as_array().unwrap();
        assert!(ids.iter().zip(&decoded.layers).all(|(id, layer)| *id == layer.digest) && ids.len() == titles.len());
    }

    #[test]
    fn the_documents_are_the_same_bytes_in_every_version_of_the_program() {
        // Other bytes here are another digest in every archive: a release note, not a slip.
        let Described { entry, .. } = describe(&sample("vdi"));
        assert_eq!(entry.digest, "sha256:0bfaf77e0a17450ca8d7de94c50f628285d67fbe6f9827713700e9758fb58670");
    }

    #[test]
    fn an_index_keeps_what_is_not_replaced_and_does_not_depend_on_the_order() {
        let [a, b] = ["vdi", "kiosk"].map(|name| describe(&sample(name)).entry);
        let both = index(None, &[a.clone(), b.clone()]).unwrap();
        assert_eq!(index(None, &[b.clone(), a.clone()]).unwrap(), both);
        let first = index(None, std::slice::from_ref(&a)).unwrap();
        assert_eq!(index(Some(&first), std::slice::from_ref(&b)).unwrap(), both);
        assert_eq!(index(Some(&both), &[a, b]).unwrap(), both);
        let foreign = br#"{"schemaVersion":2,"annotations":{"k":"v"},"manifests":[{"mediaType":"x","digest":"sha512:00","size":1,"urls":["u"]}]}"#;
        let kept = json(&index(Some(foreign), &[]).unwrap());
        assert_eq!(kept, json(foreign));
        assert!(index(Some(b"{}"), &[]).is_err());
    }

    #[test]
    fn each_field_an_import_needs_is_asked_for() {
        let Described { documents: [image, ..], .. } = describe(&sample("vdi"));
        for field in ["schemaVersion", "config", "layers"] {
            let mut document = json(&image);
            document.as_object_mut().unwrap().remove(field);
            let error = Image::decode(&encode(&document)).unwrap_err().to_string();
            assert!(error.contains(&format!("missing field `{field}`")), "{error}");
        }
        for field in ["mediaType", "digest", "size"] {
            let mut document = json(&image);
            document["config"].as_object_mut().unwrap().remove(field);
            let error = Image::decode(&encode(&document)).unwrap_err().to_string();
            assert!(error.contains(&format!("missing field `{field}`")), "{error}");
        }
        for (text, says) in [
            ("{\"schemaVersion\":2}", "missing field `manifests`"),
            ("{\"manifests\":[]}", "missing field `schemaVersion`"),
            ("{\"schemaVersion\":3,\"manifests\":[]}", "schemaVersion 3 is not known; 2 is"),
        ] {
            let error = Index::decode(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn only_one_version_of_the_layout_is_known() {
        assert!(is_layout(&layout()));
        for wrong in ["", "{}", "{\"imageLayoutVersion\":\"2.0.0\"}", "{\"imageLayoutVersion\":1}"] {
            assert!(!is_layout(wrong.as_bytes()), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes: Vec<u8>) {
            let _ = (Index::decode(&bytes).is_ok(), Image::decode(&bytes).is_ok(), is_layout(&bytes));
        }

        #[test]
        fn no_document_with_one_changed_byte_makes_the_decoders_panic(place in 0_usize..2000, byte: u8) {
            let Described { entry, documents: [mut image, ..] } = describe(&sample("vdi"));
            let mut index = index(None, &[entry]).unwrap();
            for bytes in [&mut image, &mut index] {
                let place = place % bytes.len();
                bytes[place] = byte;
            }
            if let Ok(image) = Image::decode(&image) {
                let _ = (image.is_bundle(), image.manifest().map(Descriptor::sha256), image.layers().len());
            }
            if let Ok(index) = Index::decode(&index) {
                let _ = index.images().map(Descriptor::size).count();
            }
        }
    }
}
