//! `bivouac sbom`: what is in a bundle, for licence and vulnerability tools.

use std::io::Write;

use anyhow::Context as _;

use super::air_gap;
use crate::apk::read_index;
use crate::build::bill_of_materials;
use crate::config::Settings;
use crate::disk;
use crate::model::name::BundleRef;
use crate::store::Store;

/// Writes the bill of materials of a bundle as CycloneDX JSON.
pub(super) fn sbom(settings: &Settings, reference: &BundleRef, out: &mut dyn Write) -> anyhow::Result<()> {
    let store = Store::look_into(&settings.store());
    let manifest = air_gap::meant(&store, reference)?;
    let failed = || format!("cannot list what is in bundle {} of {}", manifest.id(), manifest.profile);
    let index = disk::read_bounded(&store.blob_path(&manifest.index.sha256), manifest.index.size)
        .map_err(anyhow::Error::from)
        .and_then(|bytes| Ok(read_index(&bytes)?))
        .with_context(failed)?;
    let document = bill_of_materials(&manifest, &index).with_context(failed)?;
    Ok(out.write_all(&document.to_json())?)
}
