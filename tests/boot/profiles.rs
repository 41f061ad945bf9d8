//! The profiles that come with Bivouac, built from the stand-in mirror, which has every package of theirs.

use std::path::Path;

use crate::site::Site;

#[test]
fn every_profile_of_the_repository_builds() {
    let profiles = bivouac::disk::list(&Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles")).unwrap();
    assert!(profiles.iter().any(|name| name == "vdi"), "{profiles:?}");
    for (name, said) in profiles.iter().zip(Site::build(&profiles)) {
        assert!(said.starts_with(&format!("{name} built: bundle ")), "{said}");
    }
}
