//! The same as commands of `qm`.

use super::Bed;
use crate::support::site::Site;

#[test]
fn the_commands_have_the_parameters_of_the_calls() {
    let bed = Bed::with("[proxmox.profiles.hello]\nfirmware = \"ovmf\"\n");
    let recipe = bed.run(&["recipe", "2", "--profile", "hello", "--first-id", "900"]);
    assert_eq!(bed.cluster.state().requests, 0, "nobody is asked");
    let create: Vec<&str> = recipe.lines().filter(|line| line.starts_with("qm create 90")).collect();
    assert_eq!(create.len(), 2, "{recipe}");
    assert!(recipe.contains("qm start 901"), "{recipe}");
    let call = bed.run(&["create", "1", "--profile", "hello", "--dry-run"]);
    for line in call.lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| !line.starts_with("vmid=")) {
        let (name, value) = line.split_once('=').unwrap();
        assert!(create[0].contains(&format!(" --{name} {value}")), "{name} {value}: {}", create[0]);
    }
    // What it says for the server is a command that works there.
    let assign = recipe.lines().find(|line| line.starts_with("bivouac assign")).unwrap();
    let words: Vec<&str> = assign.split(" #").next().unwrap().split(' ').skip(1).collect();
    bed.fleet(&words);
}

#[test]
fn the_commands_are_a_script_of_a_shell_and_need_no_site_file() {
    let site = Site::new();
    let ran = site.run(&["proxmox", "recipe", "2", "--profile", "hello", "--display", "serial0"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("profile `hello` has no release; run `bivouac publish hello`"), "{}", ran.err);
    assert!(ran.out.contains("id=$(pvesh get /cluster/nextid)\nqm create \"$id\" --name hello-01"), "{}", ran.out);
    // Run with stand-ins for the three programs, it calls each as it is meant.
    let stubs = "bivouac() { echo bivouac $#; }\npvesh() { echo 100; }\nqm() { echo qm $1 $2 $(($# % 2)); }\n";
    let shell = std::process::Command::new("sh").arg("-euc").arg(format!("{stubs}{}", ran.out)).output().unwrap();
    let said = String::from_utf8(shell.stdout).unwrap();
    assert_eq!(said, "bivouac 3\nbivouac 3\nqm create 100 0\nqm start 100 0\nqm create 100 0\nqm start 100 0\n");
}
