//! The same input gives the same bundle, wherever, whenever and by whomever it is built (DESIGN 4.2).

use std::process::Command;

use crate::support::site::Site;

/// The bundle id a build printed.
fn id(out: &str) -> String {
    out.split_whitespace().find(|word| word.trim_end_matches(',').len() == 64).unwrap().trim_end_matches(',').to_owned()
}

/// Runs a shell command that must succeed.
fn shell(command: &str) {
    assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
}

#[test]
fn two_builds_in_other_folders_at_other_times_under_other_umasks_give_one_id() {
    let site = Site::new();
    let here = id(&site.run(&["build", "hello"]).out);
    for (umask, date) in [("077", "2001-01-01"), ("002", "2035-12-31"), ("000", "1999-06-15")] {
        let elsewhere = tempfile::Builder::new().prefix("another folder ").tempdir().unwrap();
        let to = elsewhere.path().display();
        // The copy itself is made under the umask, so group and other bits of every file differ too; the second
        // half of the files is made before the first, so that the order in the folder differs.
        shell(&format!(
            "umask {umask}; cp -r --no-preserve=all {0}/overlays '{to}/' && cp -r --no-preserve=all {0}/profiles '{to}/' && \
             cd {0} && find overlays profiles -type f -perm -u+x -exec chmod u+x '{to}/{{}}' ';' && \
             find '{to}' -exec touch -h -d {date} {{}} +",
            site.folder.path().display()
        ));
        let build = site.command(&["build", "hello"]);
        let program = build.get_program().to_str().unwrap().to_owned();
        let arguments: Vec<&str> = build.get_args().map(|word| word.to_str().unwrap()).collect();
        let output = Command::new("sh")
            .args(["-c", "umask $0; exec \"$@\"", umask, &program])
            .args(&arguments)
            .current_dir(elsewhere.path())
            .env("HOME", "/nowhere")
            .env("TZ", "Pacific/Auckland")
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(id(&String::from_utf8(output.stdout).unwrap()), here, "umask {umask}");
    }
}

#[test]
fn another_content_or_another_executable_bit_gives_another_id() {
    let site = Site::new();
    let first = id(&site.run(&["build", "hello"]).out);
    site.write("profiles/hello/root/etc/motd", "hi\n");
    let second = id(&site.run(&["build", "hello"]).out);
    shell(&format!("chmod u+x '{}'", site.path("profiles/hello/root/etc/motd").display()));
    let third = id(&site.run(&["build", "hello"]).out);
    assert!(first != second && second != third && first != third);
}

#[test]
fn two_sites_with_keys_of_their_own_publish_one_id() {
    let (here, there) = (Site::without_key(), Site::without_key());
    let ids = [&here, &there].map(|site| {
        site.run(&["build", "hello"]);
        site.run(&["publish", "hello"]);
        let list: serde_json::Value = serde_json::from_str(&site.run(&["list", "--json"]).out).unwrap();
        list[0]["bundle"].as_str().unwrap().to_owned()
    });
    assert_eq!(ids[0], ids[1]);
    let key = |site: &Site| std::fs::read(site.path("state/keys/site.pem")).unwrap();
    assert_ne!(key(&here), key(&there));
}

#[test]
fn the_private_key_is_the_owners_alone_and_in_no_blob() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::without_key();
    for step in ["build", "publish"] {
        assert_eq!(site.run(&[step, "hello"]).code, Some(0));
    }
    let path = site.path("state/keys/site.pem");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = std::fs::read_to_string(&path).unwrap();
    let line = secret.lines().nth(3).unwrap();
    for found in bivouac::disk::walk(&site.path("state/store")).unwrap() {
        if found.kind == bivouac::disk::Kind::File {
            let bytes = std::fs::read(site.path("state/store").join(&found.relative)).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(line), "{}", found.relative.display());
        }
    }
}
