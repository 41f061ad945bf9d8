//! What the README shows is what the program takes.

use bivouac::config::{File, Settings};
use bivouac::model::profile::Profile;

/// The TOML examples of the README, in order.
fn examples() -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_profile_of_the_readme_is_one() {
    let profile = Profile::parse(&examples()[0]).unwrap();
    assert_eq!(profile.overlays.len(), 3);
    let allow = Profile::parse(&examples()[1]).unwrap().layer.allow;
    assert!(bivouac::build::RULES.iter().any(|rule| rule.id == allow[0].rule), "{allow:?}");
}

#[test]
fn the_site_file_of_the_readme_is_one_with_its_commented_lines_too() {
    let example = &examples()[2];
    Settings::check(File::parse(example).unwrap()).unwrap();
    let full = example.replace("\n# ", "\n").replace("mode = \"proxy\"", "mode = \"full\"");
    let settings = Settings::check(File::parse(&full).unwrap()).unwrap();
    assert_ne!(settings.dhcp.mode, bivouac::model::net::DhcpMode::Proxy);
}

#[test]
fn the_profiles_of_the_repository_are_read() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in bivouac::disk::list(&root.join("profiles")).unwrap() {
        let recipe =
            bivouac::build::Recipe::load(&root.join("profiles"), &root.join("overlays"), &name.parse().unwrap());
        assert!(recipe.as_ref().is_ok_and(|recipe| recipe.findings().is_empty()), "{name}: {recipe:?}");
    }
}
