//! The iPXE scripts a machine runs (netboot.md, section E3).
//!
//! The first is the same for every machine and hands over who is asking. The second is the machine's own: it names one
//! bundle, and every later URL of that boot names the same bundle.

use crate::model::cmdline::CommandLine;
use crate::model::digest::Digest;
use crate::model::manifest::{BundleId, Manifest};

/// The name under which the initrd with the overlay and the site's key is served.
pub const SITE_INITRD: &str = "site.img";

/// Seconds between attempts; short enough for a person who waits, long enough for a server that is restarting.
const PAUSE: u32 = 5;

/// How often a machine asks for the files of one bundle before it asks again which bundle to boot.
const ATTEMPTS: u32 = 12;

/// The script every iPXE is sent to: it asks `base` for the machine's own script until there is an answer.
///
/// Texts are escaped with `:uristring`; the UUID must not be, because iPXE would take its sixteen bytes for the text and
/// cut the URL at the first zero.
#[must_use]
pub fn entry(base: &str) -> String {
    format!(
        "#!ipxe\n\
         # Bivouac: says who is asking and fetches this machine's own script.\n\
         :again\n\
         chain --autofree --replace {base}/script?mac=${{netX/mac}}&uuid=${{uuid}}\
         &serial=${{serial:uristring}}&platform=${{platform:uristring}}&arch=${{buildarch:uristring}} ||\n\
         echo Bivouac: {base} does not answer; asking again in {PAUSE} seconds\n\
         sleep {PAUSE}\n\
         goto again\n"
    )
}

/// The script that boots one bundle.
///
/// A download that fails is tried again, because nothing may boot without its overlay (DESIGN 4.3); after
/// some attempts the machine asks anew, since the answer may have changed meanwhile. `own_files` is the digest of what
/// was made from the bundle's templates for this machine, when it has some.
#[must_use]
pub fn boot(base: &str, id: &BundleId, manifest: &Manifest, token: &str, own_files: Option<&Digest>) -> String {
    let bundle = format!("{base}/b/{id}");
    let site = match own_files {
        Some(files) => format!("{base}/m/{files}/{SITE_INITRD}"),
        None => format!("{bundle}/{SITE_INITRD}"),
    };
    let kernel = &manifest.kernel.name;
    let initramfs = &manifest.initramfs.name;
    let line = CommandLine {
        initrds: vec![initramfs, SITE_INITRD],
        alpine_repo: format!("{bundle}/packages"),
        modloop: format!("{bundle}/{}", manifest.modloop.name),
        apkovl: format!("/{}", manifest.apkovl.name),
        check_in: format!("{base}/check-in/{token}"),
        bundle: id.to_string(),
        profile: &manifest.kernel_args,
    };
    format!(
        "#!ipxe\n\
         # Bivouac: profile {profile}, bundle {id}\n\
         set attempt:int32 0\n\
         :again\n\
         imgfree\n\
         kernel {bundle}/{kernel} {line} || goto failed\n\
         initrd {bundle}/{initramfs} || goto failed\n\
         initrd {site} || goto failed\n\
         boot || goto failed\n\
         :failed\n\
         inc attempt\n\
         echo Bivouac: attempt ${{attempt}} to load the bundle failed; again in {PAUSE} seconds\n\
         sleep {PAUSE}\n\
         iseq ${{attempt}} {ATTEMPTS} && goto anew || goto again\n\
         :anew\n\
         imgfree\n\
         chain --autofree --replace {base}/boot.ipxe || goto failed\n",
        profile = manifest.profile,
    )
}

/// A script that shows `text` on the machine's screen and asks again later: what a machine gets that may not boot.
#[must_use]
pub fn notice(base: &str, text: &str) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control() && !matches!(c, '$' | '\\' | '|' | '&')).collect();
    format!(
        "#!ipxe\n\
         echo Bivouac: {shown}\n\
         echo Bivouac: asking again in 30 seconds\n\
         sleep 30\n\
         :again\n\
         chain --autofree --replace {base}/boot.ipxe ||\n\
         sleep {PAUSE}\n\
         goto again\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::tests::sample;

    #[test]
    fn the_entry_script_hands_over_who_asks_and_never_ends() {
        let script = entry("http://10.0.0.1:8080");
        assert!(script.starts_with("#!ipxe\n"));
        assert!(script.contains("http://10.0.0.1:8080/script?mac=${netX/mac}&uuid=${uuid}&serial="));
        assert!(script.ends_with("goto again\n"));
    }

    #[test]
    fn every_url_of_a_boot_names_the_bundle() {
        let manifest = sample("vdi");
        let id = manifest.id();
        let script = boot("http://10.0.0.1", &id, &manifest, "t0", None);
        for file in ["vmlinuz-virt", "initramfs-virt", "site.img", "modloop-virt", "packages"] {
            assert!(script.contains(&format!("http://10.0.0.1/b/{id}/{file}")), "{file}");
        }
        assert!(script.contains("apkovl=/vdi.apkovl.tar.gz"));
        assert!(script.contains("bivouac=http://10.0.0.1/check-in/t0"));
        for line in script.lines().filter(|line| line.starts_with("kernel") || line.starts_with("initrd")) {
            assert!(line.ends_with("|| goto failed"), "{line}");
        }
    }

    #[test]
    fn a_machine_with_files_of_its_own_gets_them_by_their_digest() {
        let (manifest, files) = (sample("vdi"), Digest::of(b"files"));
        let script = boot("http://10.0.0.1", &manifest.id(), &manifest, "t0", Some(&files));
        assert!(script.contains(&format!("initrd http://10.0.0.1/m/{files}/site.img || goto failed\n")), "{script}");
        assert_eq!(script.matches("site.img").count(), 2, "{script}");
    }

    #[test]
    fn a_notice_cannot_carry_commands() {
        let script = notice("http://10.0.0.1", "no profile\nshell ${mac} || reboot");
        assert!(script.contains("echo Bivouac: no profileshell {mac}  reboot\n"));
    }
}
