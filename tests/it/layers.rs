//! Dependencies between modules point down only (DESIGN, section 5).

use std::fs;
use std::path::{Path, PathBuf};

/// Each module, and the modules it may name.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("disk", &[]),
    ("wire", &["model"]),
    ("apk", &["model"]),
    ("config", &["model", "disk"]),
    ("store", &["model", "disk"]),
    ("fleet", &["model"]),
    ("fetch", &["model", "wire", "apk", "disk"]),
    ("mirror", &["model", "apk", "disk", "fetch"]),
    ("build", &["model", "wire", "apk", "disk"]),
    ("proxmox", &["model"]),
    ("serve", &["model", "wire", "disk", "store", "fleet", "mirror", "proxmox"]),
    ("vm", &["model"]),
    (
        "cli",
        &[
            "model", "disk", "wire", "apk", "config", "store", "fleet", "fetch", "mirror", "build", "proxmox", "serve",
            "vm",
        ],
    ),
];

#[test]
fn each_module_names_only_modules_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (module, allowed) in MAY_USE {
        let files = sources(&src, module);
        assert!(!files.is_empty(), "module {module} has no files");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for named in named_modules(&text) {
                if named != *module && !allowed.contains(&named.as_str()) {
                    wrong.push(format!("{} names {named}", file.strip_prefix(&src).unwrap().display()));
                }
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_crate_is_in_the_table() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let listed: Vec<&str> = MAY_USE.iter().map(|(module, _)| *module).collect();
    for entry in fs::read_dir(src).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs").to_owned();
        assert!(matches!(module.as_str(), "lib" | "main") || listed.contains(&module.as_str()), "{module}");
    }
}

/// The files of a module: `module.rs` and everything below `module/`.
fn sources(src: &Path, module: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = [src.join(format!("{module}.rs"))].into_iter().filter(|file| file.exists()).collect();
    let mut folders = vec![src.join(module)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The word behind each `crate::` outside comments and tests, where a test may reach for a sample of a lower module.
fn named_modules(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .inspect(|line| {
            assert!(!line.contains("crate::{"), "name modules one by one, so that this test sees them: {line}")
        })
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .filter(|word: &String| !word.is_empty())
        .collect()
}
