use std::fs;
use std::path::Path;

use super::*;
use crate::model::manifest::tests::sample;
use crate::model::manifest::{FileEntry, Manifest, PackageEntry};
use crate::store::Store;

/// Two stores and a place between them.
struct Gap {
    folder: tempfile::TempDir,
    here: Store,
    there: Store,
}

fn gap() -> Gap {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| Store::open(&folder.path().join(name)).unwrap();
    Gap { here: open("here"), there: open("there"), folder }
}

impl Gap {
    /// A manifest whose files are all in the first store.
    fn bundle(&self, profile: &str) -> Manifest {
        let mut manifest = sample(profile);
        let blob = |name: &str, content: &str| FileEntry {
            name: name.to_owned(),
            sha256: self.here.put_bytes(content.as_bytes()).unwrap(),
            size: content.len() as u64,
        };
        for file in [
            &mut manifest.kernel,
            &mut manifest.initramfs,
            &mut manifest.modloop,
            &mut manifest.apkovl,
            &mut manifest.index,
        ] {
            *file = blob(&file.name, &format!("content of {}", file.name));
        }
        let FileEntry { sha256, size, .. } = blob("", "a package");
        let identity = "Q1".to_owned();
        manifest.packages =
            vec![PackageEntry { name: "nano".to_owned(), version: "1-r0".to_owned(), identity, sha256, size }];
        manifest
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn export(&self, bundles: &[Manifest]) -> PathBuf {
        let path = self.path("FILE");
        Export::of(&self.here, bundles).unwrap().write_archive(&path, &mut |_| {}).unwrap();
        path
    }

    fn export_folder(&self, bundles: &[Manifest]) -> PathBuf {
        let path = self.path("FOLDER");
        Export::of(&self.here, bundles).unwrap().write_folder(&path, &mut |_| {}).unwrap();
        path
    }

    fn import(&self, place: &Path) -> Result<Copied, LayoutError> {
        Import::open(place)?.copy_into(&self.there, &mut |_| {})
    }

    /// Changes the manifest, exports it, and says why the import refuses it.
    fn refusal(&self, change: impl FnOnce(&mut Manifest)) -> String {
        let mut manifest = self.bundle("vdi");
        change(&mut manifest);
        let error = self.import(&self.export(&[manifest])).unwrap_err();
        error.to_string().replace(self.folder.path().to_str().unwrap(), "SITE")
    }
}

#[test]
fn both_forms_carry_bundles_to_another_store() {
    for form in [Gap::export, Gap::export_folder] {
        let gap = gap();
        let bundles = [gap.bundle("vdi"), gap.bundle("kiosk")];
        let place = form(&gap, &bundles);
        let import = Import::open(&place).unwrap();
        assert_eq!(import.bundles(), [bundles[1].clone(), bundles[0].clone()], "by name");
        let mut seen = 0;
        let copied = import.copy_into(&gap.there, &mut |done| seen = done).unwrap();
        // Two overlays, and what both bundles share once.
        assert_eq!((copied.files, copied.present), (7, 0));
        assert_eq!((copied.bytes, seen), (import.size(), import.size()));
        for manifest in &bundles {
            assert_eq!(gap.there.manifest(&manifest.id()).unwrap(), *manifest);
        }
        assert_eq!(gap.import(&place).unwrap(), Copied { files: 0, bytes: 0, present: 7 });
    }
}

#[test]
fn the_bytes_depend_on_the_bundles_alone() {
    let (gap, other) = (gap(), gap());
    let [a, b] = ["vdi", "kiosk"].map(|name| gap.bundle(name));
    let first = fs::read(gap.export(&[a.clone(), b.clone()])).unwrap();
    for name in ["kiosk", "else", "vdi"] {
        other.bundle(name);
    }
    assert_eq!(fs::read(other.export(&[b.clone(), a.clone(), b.clone()])).unwrap(), first);
    assert_ne!(fs::read(other.export(&[b])).unwrap(), first);
}

#[test]
fn a_folder_has_the_members_of_the_archive() {
    let gap = gap();
    let bundles = [gap.bundle("vdi"), gap.bundle("kiosk")];
    let (file, folder) = (gap.export(&bundles), gap.export_folder(&bundles));
    let bytes = fs::read(&file).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let (mut content, name) = (Vec::new(), entry.path().unwrap().display().to_string());
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        assert_eq!(fs::read(folder.join(&name)).unwrap(), content, "{name}");
        names.push(name);
    }
    assert_eq!(names[..2], [LAYOUT, INDEX], "what says most comes first");
    names.extend(["blobs", BLOBS].map(str::to_owned));
    names.sort();
    let walked = crate::disk::walk(&folder).unwrap();
    let mut walked: Vec<String> = walked.iter().map(|it| it.relative.display().to_string()).collect();
    walked.sort();
    assert_eq!(walked, names);
}

#[test]
fn a_folder_takes_more_bundles_and_keeps_what_it_has() {
    let gap = gap();
    let [a, b] = ["vdi", "kiosk"].map(|name| gap.bundle(name));
    let folder = gap.export_folder(std::slice::from_ref(&a));
    fs::write(folder.join(BLOBS).join(".tmp-left"), "half").unwrap();
    let damaged = folder.join(blob_name(&a.kernel.sha256));
    fs::write(&damaged, "c0ntent of vmlinuz-virt").unwrap();
    let export = Export::of(&gap.here, std::slice::from_ref(&b)).unwrap();
    let kept = export.write_folder(&folder, &mut |_| {}).unwrap();
    assert_eq!(kept, export.size() - b.kernel.size - b.apkovl.size, "all but the damaged and the new file");
    assert!(!folder.join(BLOBS).join(".tmp-left").exists());
    assert_eq!(Import::open(&folder).unwrap().bundles(), [b, a]);
    assert_eq!(gap.import(&folder).unwrap().files, 7);
}

#[test]
fn a_folder_with_other_files_is_left_alone() {
    let gap = gap();
    let bundles = [gap.bundle("vdi")];
    let export = Export::of(&gap.here, &bundles).unwrap();
    let folder = gap.path("photos");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("holiday"), "").unwrap();
    let said = export.write_folder(&folder, &mut |_| {}).unwrap_err().to_string();
    assert!(said.ends_with("photos has files in it and is not an OCI image layout; name a new or an empty folder"));
    fs::write(folder.join(LAYOUT), "something else").unwrap();
    assert!(matches!(export.write_folder(&folder, &mut |_| {}), Err(LayoutError::Occupied(_))));
    assert_eq!(crate::disk::list(&folder).unwrap(), ["holiday", LAYOUT]);
    // What a killed export left is not another kind of file.
    fs::write(folder.join(LAYOUT), "{\"image").unwrap();
    export.write_folder(&folder, &mut |_| {}).unwrap();
    assert!(matches!(export.write_archive(&folder, &mut |_| {}), Err(LayoutError::Folder(_))));
}

#[test]
fn a_blob_that_is_damaged_in_the_store_is_not_exported() {
    let gap = gap();
    let bundles = [gap.bundle("vdi")];
    let blob = gap.here.blob_path(&bundles[0].modloop.sha256);
    fs::write(&blob, "c0ntent of modloop-virt").unwrap();
    let export = Export::of(&gap.here, &bundles).unwrap();
    for said in [
        export.write_archive(&gap.path("FILE"), &mut |_| {}).unwrap_err(),
        export.write_folder(&gap.path("FOLDER"), &mut |_| {}).unwrap_err(),
    ] {
        assert!(matches!(said, LayoutError::Store(StoreError::WrongBlob { .. })), "{said}");
    }
    assert!(!gap.path("FILE").exists());
    assert!(!gap.path("FOLDER").join(INDEX).exists());
    fs::write(&blob, "short").unwrap();
    let said = Export::of(&gap.here, &bundles).unwrap_err().to_string();
    assert!(said.contains(&format!("has SHA-256 {}", Digest::of(b"short"))), "{said}");
    fs::remove_file(&blob).unwrap();
    assert!(Export::of(&gap.here, &bundles).unwrap_err().to_string().contains("is missing from the store"));
}

#[test]
fn an_import_replaces_a_blob_that_is_damaged_in_the_store() {
    let gap = gap();
    let bundle = gap.bundle("vdi");
    let file = gap.export(std::slice::from_ref(&bundle));
    gap.import(&file).unwrap();
    fs::write(gap.there.blob_path(&bundle.kernel.sha256), "c0ntent of vmlinuz-virt").unwrap();
    assert_eq!(gap.import(&file).unwrap(), Copied { files: 1, bytes: bundle.kernel.size, present: 5 });
    assert!(gap.there.is_intact(&bundle.kernel.sha256, bundle.kernel.size).unwrap());
}

#[test]
fn images_of_others_in_a_folder_are_left_alone() {
    let gap = gap();
    let bundle = gap.bundle("vdi");
    let folder = gap.export_folder(std::slice::from_ref(&bundle));
    let foreign = br#"{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha512:00","size":2},"layers":[]}"#;
    let digest = Digest::of(foreign);
    fs::write(folder.join(blob_name(&digest)), foreign).unwrap();
    let index = fs::read_to_string(folder.join(INDEX)).unwrap();
    let entry = format!(
        "\"manifests\":[{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:{digest}\",\
         \"size\":{}}},",
        foreign.len()
    );
    fs::write(folder.join(INDEX), index.replace("\"manifests\":[", &entry)).unwrap();
    assert_eq!(Import::open(&folder).unwrap().bundles(), [bundle]);
}

#[test]
fn a_manifest_no_build_makes_is_refused() {
    let gap = gap();
    for name in ["../x", "", ".x", "-x", "a b", "x\nboot", "${x}", "a/b", &"x".repeat(256)] {
        let said = gap.refusal(|manifest| manifest.kernel.name = name.to_owned());
        assert!(said.starts_with("bundle ") && said.contains(" in SITE/FILE is refused: `"), "{said}");
        assert!(said.ends_with("is not a name for a file"), "{said}");
    }
    let said = gap.refusal(|manifest| manifest.packages[0].version = "../1".to_owned());
    assert!(said.ends_with("is refused: `nano-../1.apk` is not a name for a file"), "{said}");
    let said = gap.refusal(|manifest| manifest.kernel.name = manifest.initramfs.name.clone());
    assert!(said.ends_with("is refused: it has two files called `initramfs-virt`"), "{said}");
    let said = gap.refusal(|manifest| manifest.kernel_args = vec!["a\nboot".to_owned()]);
    assert!(said.contains("is refused: kernel argument `a\\nboot` is empty or has"), "{said}");
    let said = gap.refusal(|manifest| manifest.world.push("a\u{1b}[2J".to_owned()));
    assert!(said.ends_with("is refused: `a\\u{1b}[2J` has a control character"), "{said}");
    assert!(crate::disk::list(&gap.path("there/bundles")).unwrap().is_empty());
}
