//! What the reference shows is what the program takes.

use std::process::Command;

use bivouac::config::{File, Settings};
use bivouac::model::profile::Profile;

/// The TOML examples of the reference, of a profile and of a site file.
pub fn examples() -> [String; 2] {
    ["profile-file.md", "site-file.md"].map(|page| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(page);
        let text = std::fs::read_to_string(path).unwrap();
        text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
    })
}

#[test]
fn the_profile_of_the_reference_is_one() {
    let profile = Profile::parse(&examples()[0]).unwrap();
    assert_eq!((profile.overlays.len(), profile.extends.map(|it| it.to_string())), (3, Some("hello".to_owned())));
    assert!(
        bivouac::build::RULES.iter().any(|rule| rule.id == profile.layer.allow[0].rule),
        "{:?}",
        profile.layer.allow
    );
    // It is the place where the whole format is shown.
    let (example, ran) =
        (&examples()[0], Command::new(env!("CARGO_BIN_EXE_bivouac")).args(["schema", "profile"]).output());
    let schema: serde_json::Value = serde_json::from_slice(&ran.unwrap().stdout).unwrap();
    let shown: toml::Table = toml::from_str(example).unwrap();
    for key in schema["properties"].as_object().unwrap().keys() {
        assert!(shown.contains_key(key), "the example of the reference does not show `{key}`");
    }
}

#[test]
fn the_site_file_of_the_reference_is_one_with_its_commented_lines_too() {
    let example = &examples()[1];
    Settings::check(File::parse(example).unwrap()).unwrap();
    let full = example.replace("\n# ", "\n").replace("mode = \"proxy\"", "mode = \"full\"");
    let settings = Settings::check(File::parse(&full).unwrap()).unwrap();
    assert_ne!(settings.dhcp.mode, bivouac::model::net::DhcpMode::Proxy);
}
