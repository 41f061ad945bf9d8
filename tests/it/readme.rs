//! What the README shows is what the program takes.

use std::process::Command;

use bivouac::config::{File, Settings};
use bivouac::model::profile::Profile;

/// The TOML examples of the README, in order.
pub fn examples() -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_profile_of_the_readme_is_one() {
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
        assert!(shown.contains_key(key), "the example of the README does not show `{key}`");
    }
}

#[test]
fn the_site_file_of_the_readme_is_one_with_its_commented_lines_too() {
    let example = &examples()[1];
    Settings::check(File::parse(example).unwrap()).unwrap();
    let full = example.replace("\n# ", "\n").replace("mode = \"proxy\"", "mode = \"full\"");
    let settings = Settings::check(File::parse(&full).unwrap()).unwrap();
    assert_ne!(settings.dhcp.mode, bivouac::model::net::DhcpMode::Proxy);
}
