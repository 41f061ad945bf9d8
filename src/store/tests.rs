use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::disk::Clean;
use crate::model::manifest::FileEntry;
use crate::model::manifest::tests::sample;
use crate::model::plan::Catalog;

struct Shop {
    folder: tempfile::TempDir,
    store: Store,
}

fn shop() -> Shop {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    Shop { folder, store }
}

impl Shop {
    /// A manifest whose blobs are all in the store; `argument` makes it another bundle.
    fn bundle(&self, profile: &str, argument: &str) -> Manifest {
        let mut manifest = sample(profile);
        manifest.kernel_args = vec![argument.to_owned()];
        for file in [
            &mut manifest.kernel,
            &mut manifest.initramfs,
            &mut manifest.modloop,
            &mut manifest.apkovl,
            &mut manifest.index,
        ] {
            *file = self.blob(&file.name.clone());
        }
        manifest
    }

    fn blob(&self, name: &str) -> FileEntry {
        let sha256 = self.store.put_bytes(name.as_bytes()).unwrap();
        FileEntry { name: name.to_owned(), sha256, size: name.len() as u64 }
    }

    fn site(&self) -> SiteParts {
        SiteParts { initrd: self.blob("site.img"), index: self.blob("signed") }
    }

    fn publish(&self, manifest: &Manifest) -> Result<Publication, StoreError> {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        self.store.publish(manifest, &self.site(), &ChannelName::default_channel(), now)
    }
}

fn name(text: &str) -> ProfileName {
    text.parse().unwrap()
}

#[test]
fn releases_are_numbered_and_the_channel_points_at_the_newest() {
    let shop = shop();
    let (first, second) = (shop.bundle("vdi", "a"), shop.bundle("vdi", "b"));
    let Publication::New(release) = shop.publish(&first).unwrap() else { panic!("not new") };
    assert_eq!((release.number, release.bundle), (1, first.id()));
    let Publication::New(release) = shop.publish(&second).unwrap() else { panic!("not new") };
    assert_eq!(release.number, 2);
    let (catalog, _) = shop.store.catalog(&Catalog::default()).unwrap();
    let published = catalog.published(&name("vdi"), &ChannelName::default_channel()).unwrap();
    assert_eq!((published.release, published.bundle), (2, second.id()));
    assert_eq!(shop.store.resolve(&"vdi@1".parse().unwrap()).unwrap(), first.id());
    assert_eq!(shop.store.resolve(&"vdi".parse().unwrap()).unwrap(), second.id());
}

#[test]
fn publishing_what_the_channel_points_at_makes_no_release() {
    let shop = shop();
    let manifest = shop.bundle("vdi", "a");
    shop.publish(&manifest).unwrap();
    let Publication::Unchanged(release) = shop.publish(&manifest).unwrap() else { panic!("not unchanged") };
    assert_eq!(release.number, 1);
    assert_eq!(shop.store.releases(&name("vdi")).unwrap().len(), 1);
}

#[test]
fn a_bundle_with_a_missing_blob_is_not_published() {
    let shop = shop();
    let good = shop.bundle("vdi", "a");
    shop.publish(&good).unwrap();
    let mut broken = shop.bundle("vdi", "b");
    broken.kernel.sha256 = Digest::of(b"nowhere");
    let error = shop.publish(&broken).unwrap_err().to_string();
    assert!(error.contains("is missing from the store; build the profile again"), "{error}");
    assert_eq!(shop.store.resolve(&"vdi".parse().unwrap()).unwrap(), good.id());
}

#[test]
fn a_publish_that_stopped_before_the_channel_changed_nothing_and_the_next_one_goes_on() {
    let shop = shop();
    let (old, new) = (shop.bundle("vdi", "a"), shop.bundle("vdi", "b"));
    shop.publish(&old).unwrap();
    shop.publish(&new).unwrap();
    // As after a crash between the release and the channel.
    std::fs::write(shop.folder.path().join("store/profiles/vdi/channels/stable"), "1\n").unwrap();
    assert_eq!(shop.store.resolve(&"vdi".parse().unwrap()).unwrap(), old.id());
    let Publication::New(release) = shop.publish(&new).unwrap() else { panic!("not new") };
    assert_eq!((release.number, shop.store.resolve(&"vdi".parse().unwrap()).unwrap()), (3, new.id()));
}

#[test]
fn what_killed_writers_left_is_gone_after_the_next_publish() {
    let shop = shop();
    let left =
        ["staged/.tmp-a", "blobs/ab/.tmp-b", "bundles/.tmp-c"].map(|name| shop.folder.path().join("store").join(name));
    std::fs::create_dir_all(left[1].parent().unwrap()).unwrap();
    for path in &left {
        std::fs::write(path, "half").unwrap();
    }
    shop.publish(&shop.bundle("vdi", "a")).unwrap();
    assert!(left.iter().all(|path| !path.exists()));
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_not_stored() {
    let shop = shop();
    let path = shop.folder.path().join("file");
    std::fs::write(&path, "other bytes").unwrap();
    let expected = Digest::of(b"these bytes");
    let error = shop.store.put_file(&path, &expected, 11).unwrap_err();
    assert!(matches!(error, StoreError::WrongBlob { .. }), "{error}");
    assert!(!shop.store.has_blob(&expected, 11));
    assert_eq!(disk::list(shop.store.blob_path(&expected).parent().unwrap()).unwrap(), Vec::<String>::new());
}

#[test]
fn a_shared_file_has_its_bytes_on_the_disk_once_and_outlives_its_other_name() {
    use std::os::unix::fs::MetadataExt as _;

    let shop = shop();
    let path = shop.folder.path().join("file");
    std::fs::write(&path, "these bytes").unwrap();
    let digest = Digest::of(b"these bytes");
    let wrong = shop.store.share_file(&path, &Digest::of(b"other bytes"), 11).unwrap_err();
    assert!(matches!(wrong, StoreError::WrongBlob { .. }), "{wrong}");
    shop.store.share_file(&path, &digest, 11).unwrap();
    shop.store.share_file(&path, &digest, 11).unwrap();
    let blob = shop.store.blob_path(&digest);
    assert_eq!(std::fs::metadata(&blob).unwrap().ino(), std::fs::metadata(&path).unwrap().ino());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(std::fs::read(&blob).unwrap(), b"these bytes");
}

#[test]
fn what_is_not_there_is_named_with_the_next_step() {
    let shop = shop();
    shop.publish(&shop.bundle("vdi", "a")).unwrap();
    let says = |reference: &str| shop.store.resolve(&reference.parse().unwrap()).unwrap_err().to_string();
    assert_eq!(says("vdj"), "profile `vdj` has no release; run `bivouac publish vdj`, or did you mean `vdi`?");
    assert_eq!(says("vdi@7"), "profile `vdi` has no release 7; the newest is 1");
    assert_eq!(says("vdi:beta"), "profile `vdi` has no channel `beta`; it has stable");
    assert!(says(&"0".repeat(64)).contains("is not in the store"));
    let id = shop.store.resolve(&"vdi".parse().unwrap()).unwrap();
    assert_eq!(shop.store.resolve(&id.short().parse().unwrap()).unwrap(), id, "as listings shorten it");
    let staged = shop.store.staged(&name("kiosk")).unwrap_err().to_string();
    assert_eq!(staged, "profile `kiosk` has nothing to publish; run `bivouac build kiosk`");
}

#[test]
fn a_damaged_channel_stays_as_it_was_and_disturbs_no_other() {
    let shop = shop();
    for profile in ["kiosk", "vdi"] {
        shop.publish(&shop.bundle(profile, "a")).unwrap();
    }
    let (known, _) = shop.store.catalog(&Catalog::default()).unwrap();
    std::fs::write(shop.folder.path().join("store/profiles/kiosk/channels/stable"), "junk").unwrap();
    shop.publish(&shop.bundle("vdi", "b")).unwrap();
    let (catalog, problems) = shop.store.catalog(&known).unwrap();
    let release = |profile: &str| catalog.published(&name(profile), &ChannelName::default_channel()).unwrap().release;
    assert_eq!((release("kiosk"), release("vdi"), problems.len()), (1, 2, 1));
}

#[test]
fn a_bundle_keeps_the_key_it_was_published_with() {
    let shop = shop();
    let manifest = shop.bundle("vdi", "a");
    shop.publish(&manifest).unwrap();
    let other = SiteParts { initrd: shop.blob("site.img of another key"), ..shop.site() };
    let now = UNIX_EPOCH + Duration::from_secs(1_000);
    let refused = shop.store.publish(&manifest, &other, &ChannelName::default_channel(), now).unwrap_err().to_string();
    assert!(refused.contains("put the old key back into the folder `keys`"), "{refused}");
    assert_eq!(shop.store.site_parts(&manifest.id()).unwrap(), shop.site());
}

#[test]
fn a_manifest_that_was_changed_on_disk_is_refused() {
    let shop = shop();
    let manifest = shop.bundle("vdi", "a");
    shop.publish(&manifest).unwrap();
    let path = shop.folder.path().join(format!("store/bundles/{}.json", manifest.id()));
    let text = std::fs::read_to_string(&path).unwrap().replace("\"a\"", "\"b\"");
    std::fs::write(&path, text).unwrap();
    assert!(matches!(shop.store.manifest(&manifest.id()), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_clean_up_takes_only_blobs_that_no_bundle_needs_and_that_are_old_enough() {
    let shop = shop();
    let (published, staged) = (shop.bundle("vdi", "a"), shop.bundle("kiosk", "b"));
    shop.publish(&published).unwrap();
    shop.store.stage(&staged).unwrap();
    let left = shop.blob("left by a build that was stopped");
    let long_ago = UNIX_EPOCH + Duration::from_secs(1_000);
    let mut clean = Clean::up();
    shop.store.clean(long_ago, &mut clean).unwrap();
    assert_eq!((clean.files, shop.store.has_blob(&left.sha256, left.size)), (0, true));

    disk::set_time(&shop.store.blob_path(&left.sha256), UNIX_EPOCH).unwrap();
    for (digest, _) in published.blobs() {
        disk::set_time(&shop.store.blob_path(&digest), UNIX_EPOCH).unwrap();
    }
    shop.store.clean(long_ago, &mut clean).unwrap();
    assert_eq!((clean.files, clean.bytes), (1, left.size));
    assert!(!shop.store.has_blob(&left.sha256, left.size));
    for (digest, size) in published.blobs().chain(staged.blobs()) {
        assert!(shop.store.has_blob(&digest, size));
    }
    // Put once more, an old blob is as new.
    let again = shop.blob("left by a build that was stopped");
    disk::set_time(&shop.store.blob_path(&again.sha256), UNIX_EPOCH).unwrap();
    shop.blob("left by a build that was stopped");
    shop.store.clean(long_ago, &mut clean).unwrap();
    assert_eq!(clean.files, 1);
}

#[test]
fn nothing_is_cleaned_up_while_a_manifest_cannot_be_read() {
    let shop = shop();
    shop.publish(&shop.bundle("vdi", "a")).unwrap();
    let left = shop.blob("left");
    disk::set_time(&shop.store.blob_path(&left.sha256), UNIX_EPOCH).unwrap();
    std::fs::write(shop.folder.path().join("store/staged/kiosk.json"), b"{").unwrap();
    shop.store.clean(std::time::SystemTime::now(), &mut Clean::up()).unwrap_err();
    assert!(shop.store.has_blob(&left.sha256, left.size));
}

#[test]
fn a_store_that_is_out_of_reach_is_no_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Store::look_into(folder.path()).profiles().unwrap(), []);
    // The system does not look there, as in a folder of another user.
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let store = Store::look_into(&file);
    assert!(store.profiles().is_err() && store.channels(&"vdi".parse().unwrap()).is_err());
}
