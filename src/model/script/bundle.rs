//! The script that boots one bundle.

use super::{SITE_INITRD, WHO, Word};
use crate::model::cmdline::CommandLine;
use crate::model::digest::Digest;
use crate::model::manifest::{BundleId, Manifest};
use crate::model::token::{DIGITS, Token};

/// How often a machine tries to load a bundle before it asks for another one. The pauses between are 1, 2, 4, 8 and 16
/// seconds: half a minute together.
const ATTEMPTS: u32 = 6;

/// Seconds until a machine that cannot ask either tries everything again.
const LONG_PAUSE: u32 = 15;

/// One boot of one machine.
#[derive(Debug, Clone, Copy)]
pub struct Boot<'a> {
    /// The base URL the machine is told.
    pub base: &'a str,
    /// The bundle.
    pub bundle: &'a BundleId,
    /// What it is.
    pub manifest: &'a Manifest,
    /// The digest of what was made from the bundle's templates for this machine, when it has some.
    pub own_files: Option<&'a Digest>,
    /// The longest command line the bundle's kernel takes, in bytes without its final NUL.
    pub limit: usize,
}

/// Why a bundle cannot be booted by a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// The kernel would cut it, and boot without its end.
    #[error(
        "the kernel command line is {length} bytes long and this kernel takes {limit}; take kernel arguments out of the profile, or advertise a shorter address"
    )]
    TooLong {
        /// How long it is.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A value of the bundle would be taken for a command.
    #[error("`{0}` cannot stand in a boot script; build the bundle again")]
    Word(String),
}

/// The script that boots a bundle, for every machine that boots it with the same files: all but the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootScript {
    before: String,
    after: String,
}

impl BootScript {
    /// The script of one boot, which checks in with `token`.
    #[must_use]
    pub fn with(&self, token: Token) -> String {
        [&self.before, token.digits(&mut [0; DIGITS]), &self.after].concat()
    }
}

/// Writes the script.
///
/// A download that fails is tried again, later each time, because nothing may boot without its overlay (DESIGN 4.3).
/// After some attempts the machine says which bundle it cannot load and asks again: the server then names the last one
/// that is known to be good. A server that is too busy says so by `503` with `Retry-After`, which iPXE obeys by itself.
///
/// # Errors
/// When the command line is longer than the kernel takes, or a value cannot stand in a script.
pub fn boot(boot: &Boot<'_>) -> Result<BootScript, ScriptError> {
    let Boot { base, bundle, manifest, own_files, limit } = *boot;
    let id = bundle.to_string();
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
        check_in: format!("{base}/check-in/"),
        bundle: id.clone(),
        profile: &manifest.kernel_args,
    };
    let names = [kernel, initramfs, &manifest.modloop.name, &manifest.apkovl.name];
    for word in names.into_iter().chain(&manifest.kernel_args) {
        Word::of(word).ok_or_else(|| ScriptError::Word(word.chars().take(80).collect()))?;
    }
    let [start, rest] = line.around_token();
    let length = CommandLine::length(&start) + DIGITS + rest.len();
    if length > limit {
        return Err(ScriptError::TooLong { length, limit });
    }
    let before = format!(
        "#!ipxe\n\
         # Bivouac: profile {profile}, bundle {id}\n\
         :anew\n\
         set attempt:int32 0\n\
         set pause:int32 1\n\
         :again\n\
         imgfree\n\
         kernel {bundle}/{kernel} {start}",
        profile = manifest.profile,
    );
    let after = format!(
        "{rest} || goto failed\n\
         initrd {bundle}/{initramfs} || goto failed\n\
         initrd {site} || goto failed\n\
         boot || goto failed\n\
         :failed\n\
         inc attempt\n\
         iseq ${{attempt}} {ATTEMPTS} && goto fallback ||\n\
         echo Bivouac: attempt ${{attempt}} to load the bundle failed; again in ${{pause}} seconds\n\
         sleep ${{pause}}\n\
         inc pause ${{pause}}\n\
         goto again\n\
         :fallback\n\
         imgfree\n\
         echo Bivouac: the bundle cannot be loaded; asking for the last good one\n\
         chain --autofree --replace {base}/script?{WHO}&failed={id} ||\n\
         echo Bivouac: {base} does not answer; trying again in {LONG_PAUSE} seconds\n\
         sleep {LONG_PAUSE}\n\
         goto anew\n",
    );
    Ok(BootScript { before, after })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cmdline::MAX_LENGTH;
    use crate::model::manifest::tests::sample;
    use crate::model::token::tests::token;

    fn written(manifest: &Manifest, own_files: Option<&Digest>, limit: usize) -> Result<String, ScriptError> {
        let id = &manifest.id();
        let script = boot(&Boot { base: "http://10.0.0.1", bundle: id, manifest, own_files, limit })?;
        Ok(script.with(token(0)))
    }

    #[test]
    fn every_url_of_a_boot_names_the_bundle() {
        let manifest = sample("vdi");
        let id = manifest.id();
        let script = written(&manifest, None, MAX_LENGTH).unwrap();
        for file in ["vmlinuz-virt", "initramfs-virt", "site.img", "modloop-virt", "packages"] {
            assert!(script.contains(&format!("http://10.0.0.1/b/{id}/{file}")), "{file}");
        }
        assert!(script.contains("apkovl=/vdi.apkovl.tar.gz"));
        assert!(script.contains("bivouac=http://10.0.0.1/check-in/00000000000000000000000000000000"));
        assert!(script.contains("initrd=initramfs-virt initrd=site.img"));
        assert!(script.contains("BOOTIF=01-${netX/mac:hexhyp}"));
        for line in script.lines().filter(|line| line.starts_with("kernel") || line.starts_with("initrd")) {
            assert!(line.ends_with("|| goto failed"), "{line}");
        }
    }

    #[test]
    fn the_token_has_its_place_whatever_else_looks_like_the_check_in() {
        let mut manifest = sample("vdi");
        manifest.kernel_args.push("bivouac_debug=http://10.0.0.1/check-in/".to_owned());
        let id = &manifest.id();
        // An address that has the argument in it, as nobody sane would choose it.
        let base = "http://10.0.0.1/?x=%20bivouac=http://10.0.0.1";
        let boot = Boot { base, bundle: id, manifest: &manifest, own_files: None, limit: MAX_LENGTH };
        let script = super::boot(&boot).unwrap();
        let [one, two] = [token(1), token(2)];
        let marked = script.with(one);
        assert_eq!(marked.replacen(&one.to_string(), &two.to_string(), 1), script.with(two));
        assert!(marked.contains(&format!(" bivouac={base}/check-in/{one} bivouac_bundle={id} ")), "{marked}");
    }

    #[test]
    fn a_bundle_that_cannot_be_loaded_is_named_and_the_pauses_grow() {
        let manifest = sample("vdi");
        let script = written(&manifest, None, MAX_LENGTH).unwrap();
        assert!(script.contains("inc pause ${pause}\n"), "{script}");
        assert!(script.contains(&format!("&failed={} ||\n", manifest.id())), "{script}");
        assert!(script.ends_with("goto anew\n"));
    }

    #[test]
    fn a_machine_with_files_of_its_own_gets_them_by_their_digest() {
        let (manifest, files) = (sample("vdi"), Digest::of(b"files"));
        let script = written(&manifest, Some(&files), MAX_LENGTH).unwrap();
        assert!(script.contains(&format!("initrd http://10.0.0.1/m/{files}/site.img || goto failed\n")), "{script}");
        assert_eq!(script.matches("site.img").count(), 2, "{script}");
    }

    #[test]
    fn a_command_line_the_kernel_would_cut_is_an_error_with_both_lengths() {
        let mut manifest = sample("vdi");
        assert!(matches!(written(&manifest, None, 255), Err(ScriptError::TooLong { limit: 255, .. })));
        manifest.kernel_args.push("x".repeat(2000));
        let error = written(&manifest, None, MAX_LENGTH).unwrap_err().to_string();
        assert!(error.starts_with("the kernel command line is 2") && error.contains("takes 2047"), "{error}");
    }

    #[test]
    fn an_argument_that_is_a_command_to_ipxe_boots_nothing() {
        for argument in ["||", "&&", ";", "#x", "${x}", "a b", "a\nreboot"] {
            let mut manifest = sample("vdi");
            manifest.kernel_args.push(argument.to_owned());
            assert!(matches!(written(&manifest, None, MAX_LENGTH), Err(ScriptError::Word(_))), "{argument}");
        }
    }
}
