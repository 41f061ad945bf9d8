//! `bivouac dhcp-recipe`: what other DHCP servers are told, as `tests/it/testdata/recipe` has it. That the servers take
//! it and answer with the right file is seen by the boot tests.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable that has the files written anew.
const RENEW: &str = "BIVOUAC_GOLDEN";

/// A working folder with iPXE for BIOS and for UEFI on three processors.
struct Site(tempfile::TempDir);

impl Site {
    fn new(site_file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let loaders = folder.path().join("lib");
        std::fs::create_dir(&loaders).unwrap();
        std::fs::write(loaders.join("undionly.kpxe"), [0xea; 64]).unwrap();
        for (name, machine) in [("ipxe.efi", 0x8664), ("ipxe-i386.efi", 0x014c), ("ipxe-arm64.efi", 0xaa64)] {
            std::fs::write(loaders.join(name), program(machine)).unwrap();
        }
        std::fs::write(folder.path().join("bivouac.toml"), format!("loaders = \"lib\"\n{site_file}")).unwrap();
        Self(folder)
    }

    /// Exit code, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_bivouac"))
            .current_dir(self.0.path())
            .env_remove("RUST_LOG")
            .env_remove("BIVOUAC_SITE")
            .arg("dhcp-recipe")
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// Runs it, and it must succeed without a word on standard error.
    fn lines(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}: {out}");
        out
    }

    /// Runs it, and it must fail; returns what it said.
    fn refused(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        err
    }
}

/// As much of a UEFI program as anybody looks at.
fn program(machine: u16) -> Vec<u8> {
    let mut bytes = b"MZ".to_vec();
    bytes.resize(0x3c, 0);
    bytes.extend(0x40u32.to_le_bytes());
    bytes.extend(b"PE\0\0");
    bytes.extend(machine.to_le_bytes());
    bytes.resize(0x40 + 24, 0);
    bytes
}

const OFF: &str = "[dhcp]\nmode = \"off\"\n";

#[test]
fn every_server_is_told_what_was_agreed_on() {
    let site = Site::new(OFF);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/testdata/recipe");
    for server in ["dnsmasq", "isc", "kea", "opnsense", "mikrotik", "windows"] {
        let file: PathBuf = folder.join(format!("{server}.txt"));
        let lines = site.lines(&[server, "--server", "192.0.2.1"]);
        if std::env::var_os(RENEW).is_some_and(|value| value == "write") {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &lines).unwrap();
        }
        let agreed = std::fs::read_to_string(&file).unwrap();
        assert!(lines == agreed, "{server} is not what {} has:\n{lines}", file.display());
    }
}

#[test]
fn without_a_server_there_is_a_list() {
    let site = Site::new("");
    let list = site.lines(&[]);
    assert!(list.contains("\nkea       Kea: client classes of kea-dhcp4.conf\n"), "{list}");
    let list: serde_json::Value = serde_json::from_str(&site.lines(&["--json"])).unwrap();
    assert_eq!(list[0]["name"], "dnsmasq");
    assert_eq!(list.as_array().unwrap().len(), 6);
}

#[test]
fn programs_get_the_facts() {
    let site = Site::new(&format!("{OFF}[http]\nlisten = \"192.0.2.1:8080\"\n"));
    let described: serde_json::Value = serde_json::from_str(&site.lines(&["pfsense", "--json"])).unwrap();
    assert_eq!(described["dhcp_server"], "opnsense");
    assert_eq!(described["address"], "192.0.2.1");
    assert_eq!(described["script"], "http://192.0.2.1:8080/boot.ipxe");
    let clients = described["clients"].as_array().unwrap();
    let of = |code: u16| {
        let found = clients.iter().find(|client| client["codes"].as_array().unwrap().contains(&code.into()));
        found.unwrap_or_else(|| panic!("nothing for {code}: {described:#}"))["file"].as_str().unwrap().to_owned()
    };
    assert_eq!(of(0), "undionly.kpxe");
    assert_eq!(of(6), "ipxe-i386.efi");
    assert_eq!((of(7), of(9)), ("ipxe.efi".to_owned(), "ipxe.efi".to_owned()));
    assert_eq!((of(11), of(22)), ("ipxe-arm64.efi".to_owned(), "ipxe-arm64.efi".to_owned()));
    assert_eq!(of(16), "http://192.0.2.1:8080/loader/ipxe.efi");
    assert_eq!(of(19), "http://192.0.2.1:8080/loader/ipxe-arm64.efi");
    assert!(described["lines"].as_str().unwrap().contains("http://192.0.2.1:8080/loader/ipxe.efi"));
}

#[test]
fn the_address_is_the_one_the_site_advertises() {
    let site = Site::new(&format!("{OFF}[http]\nadvertise = \"http://192.0.2.7:8080/boot\"\n"));
    let lines = site.lines(&["isc"]);
    assert!(lines.contains("next-server 192.0.2.7;\n"), "{lines}");
    assert!(lines.contains("filename \"http://192.0.2.7:8080/boot/boot.ipxe\";\n"), "{lines}");
    let site = Site::new(&format!("{OFF}[http]\nadvertise = \"https://boot.example.net\"\n"));
    let error = site.refused(&["isc"]);
    assert!(
        error.contains("`http.advertise` (https://boot.example.net) has none; say it with --server ADDRESS"),
        "{error}"
    );
    let lines = site.lines(&["isc", "--server", "192.0.2.1"]);
    assert!(lines.contains("next-server 192.0.2.1;\n"), "{lines}");
    assert!(lines.contains("filename \"https://boot.example.net/boot.ipxe\";\n"), "{lines}");
}

#[test]
fn what_no_machine_could_use_is_refused() {
    for (tables, said) in [
        ("[http]\nlisten = \"127.0.0.1:80\"\n", "listens on 127.0.0.1 only, which no machine reaches"),
        ("[http]\nlisten = \"192.0.2.1:0\"\n", "`http.listen` has port 0, which is another one at every start"),
        (
            "[http]\nlisten = \"192.0.2.1:80\"\n[tftp]\nlisten = \"192.0.2.1:6969\"\n",
            "firmware takes its loader from port 69 only",
        ),
        ("[http]\nadvertise = \"http://192.0.2.1/a,b\"\n", "has characters that mean something to DHCP servers"),
    ] {
        let error = Site::new(&format!("{OFF}{tables}")).refused(&["kea"]);
        assert!(error.contains(said), "{tables}: {error}");
    }
    let error = Site::new(OFF).refused(&["bind"]);
    assert!(error.contains("there is one for dnsmasq, isc, kea, opnsense, mikrotik, windows"), "{error}");
    let error = Site::new(&format!("{OFF}interfaces = [\"nosuch0\"]\n")).refused(&["kea"]);
    assert!(error.contains("say it with --server ADDRESS") && error.contains("nosuch0"), "{error}");
}

#[test]
fn what_the_recipe_leaves_out_is_said() {
    let rule = "[[loader]]\nmachines = [\"00:e0:4c\"]\nuse = \"snponly\"\n[[loader]]\nfirmware = \"bios-x86\"\nuse = \"ipxe\"\n";
    let site = Site::new(&format!("[tftp]\nenabled = false\n{rule}"));
    let (code, out, err) = site.run(&["dnsmasq", "--server", "192.0.2.1"]);
    assert_eq!(code, Some(0), "{err}");
    for said in [
        "set `dhcp.mode` to `off` where the other server does",
        "TFTP is off: only machines with HTTP Boot, or with iPXE in a ROM, can boot",
        "loader rule 1 (snponly for 00:e0:4c) is not in the recipe",
    ] {
        assert!(err.contains(said), "{said}: {err}");
    }
    assert!(!out.contains("by PXE") && out.contains("UEFI x86_64 by HTTP Boot"), "{out}");
}
