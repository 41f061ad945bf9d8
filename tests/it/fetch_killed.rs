//! A fetch that ends as in a power cut, at twenty moments: nothing half-made is ever used, and the next fetch goes on
//! where that one was.
//!
//! Moments are chosen by how many bytes the mirror has let through, by requests, by lines of the program and by files
//! in the cache; never by time.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use bivouac::model::digest::Digest;

use crate::support::alpine::{SIGNATURE, TARBALL, list, members_trusting, release, signer, tarball};
use crate::support::server::{Gate, Reply};
use crate::support::site::{KEY, Ran, Site, signing_key};

/// The list of releases that the profile `hello` is about.
const STABLE_LIST: &str = "/latest-stable/releases/x86_64/latest-releases.yaml";

/// The bytes that make the kernel and the modloop larger, each.
const NOISE: usize = 2 << 20;

/// A seventh of the tarball, nearly.
const PART: usize = 2 * NOISE / 7;

/// When a fetch is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// When it has asked for this, and got the head of an answer at most.
    Asked(&'static str),
    /// When this many bytes of the tarball are on the disk.
    Received(usize),
    /// When this many were let through, and this file is being unpacked.
    Unpacking(usize, &'static str),
    /// When it has all bytes and says that it checks them.
    Checking,
    /// When a folder of the cache has this many files, finished or not; or later.
    There(&'static str, usize),
    /// When it has said what it fetched.
    Done,
}

/// A mirror whose files are delivered step by step.
struct Stage {
    site: Site,
    tarball: Vec<u8>,
    /// What a fetch says that nobody disturbs, and what is in the cache then.
    line: String,
    files: Vec<String>,
}

/// Bytes that cannot be compressed; the same ones for the same seed.
fn noise(seed: u64) -> impl Iterator<Item = u64> {
    // Xorshift with Marsaglia's triple 13, 7, 17.
    std::iter::successors(Some(seed), |state| {
        let mut state = *state;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state)
    })
    .skip(1)
}

impl Stage {
    fn new() -> Self {
        let site = Site::new();
        let mut members = members_trusting((KEY, &signing_key().public_pem().unwrap()));
        members.retain(|member| !member.name.ends_with(b"-lts"));
        for (seed, name) in [(1, "boot/modloop-virt"), (2, "boot/vmlinuz-virt")] {
            let member = members.iter_mut().find(|member| member.name == name.as_bytes()).unwrap();
            member.content.extend(noise(seed).take(NOISE / 8).flat_map(u64::to_le_bytes));
        }
        let tarball = tarball(&members);
        assert!(tarball.len() > 2 * NOISE);
        let mut stage = Self { site, tarball, line: String::new(), files: Vec::new() };
        stage.mend();
        let undisturbed = stage.fetch(&[]);
        assert_eq!(undisturbed.code, Some(0), "{}", undisturbed.err);
        (stage.line, stage.files) = (undisturbed.out, stage.site.cached());
        stage.forget();
        stage
    }

    /// The mirror delivers everything at once.
    fn mend(&self) {
        release(&self.site.mirror.server, &self.tarball);
    }

    /// An empty cache again.
    fn forget(&self) {
        std::fs::remove_dir_all(self.site.path("state")).unwrap();
        self.site.mirror.server.requests();
    }

    fn fetch(&self, more: &[&str]) -> Ran {
        self.site.run(&[&["fetch", "hello"], more].concat())
    }

    /// How much of the tarball is on the disk, when it is there.
    fn partial(&self) -> Option<usize> {
        let path = self.site.path("state/cache/partial").join(format!("{}.tar.gz", Digest::of(&self.tarball)));
        Some(std::fs::metadata(path).ok()?.len().try_into().unwrap())
    }

    /// The files in a folder of the cache, also unfinished ones.
    fn files_in(&self, folder: &str) -> Vec<String> {
        // A file may vanish between two looks, because the program is at work.
        let path = self.site.path("state/cache").join(folder);
        bivouac::disk::walk(&path).map_or_else(
            |_| Vec::new(),
            |walk| walk.into_iter().map(|found| found.relative.display().to_string()).collect(),
        )
    }

    /// Starts a fetch, and kills it at a moment.
    fn kill_at(&self, moment: Moment) {
        let server = &self.site.mirror.server;
        self.mend();
        server.requests();
        let gate = Gate::closed();
        match moment {
            Moment::Asked(path) => {
                let bytes = match path {
                    SIGNATURE => signer().sign(&self.tarball).into_bytes(),
                    TARBALL => self.tarball.clone(),
                    _ => list(&self.tarball).into_bytes(),
                };
                server.put(path, Reply::Gated(bytes, gate.clone()));
            }
            Moment::Received(bytes) | Moment::Unpacking(bytes, _) => {
                server.put(TARBALL, Reply::Gated(self.tarball.clone(), gate.clone()));
                gate.open_to(bytes);
            }
            Moment::Checking | Moment::There(..) | Moment::Done => {}
        }
        let mut command = self.site.command(&["fetch", "hello"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        match moment {
            Moment::Asked(path) => until(&mut child, || server.was_asked(path)),
            Moment::Received(bytes) => until(&mut child, || self.partial() == Some(bytes)),
            Moment::Unpacking(_, name) => {
                until(&mut child, || self.files_in("unpack").iter().any(|it| it.ends_with(name)));
            }
            Moment::There(folder, count) => until(&mut child, || self.files_in(folder).len() >= count),
            Moment::Checking => {
                let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
                assert!(lines.any(|line| line.unwrap().starts_with("check alpine-netboot-")));
            }
            Moment::Done => {
                let mut line = String::new();
                BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
                assert_eq!(line.replace(&server.base, "MIRROR"), self.line);
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// What is in the cache is what it is called, and a fetch without a network works or says what is missing; whether
    /// it works.
    fn is_sound(&self) -> bool {
        for name in self.files_in("files") {
            let path = self.site.path("state/cache/files").join(&name);
            assert_eq!(Digest::of(&std::fs::read(path).unwrap()).to_string(), name);
        }
        let offline = self.fetch(&["--offline"]);
        if offline.code == Some(0) {
            assert_eq!(offline.out, self.line);
            return true;
        }
        assert_eq!((offline.code, offline.out.as_str()), (Some(2), ""));
        let said = ["caused by: Alpine latest-stable x86_64 virt", " cannot be had offline; "];
        assert!(said.iter().all(|it| offline.err.contains(it)), "{}", offline.err);
        false
    }

    /// The next fetch finishes, asks for no byte again that is there, and leaves what any other leaves.
    fn recovers(&self, moment: Moment) {
        let records = self.files_in("releases").iter().filter(|name| !name.starts_with('.')).count();
        let expected = match (records, self.partial()) {
            (1.., _) => vec![],
            (0, None | Some(0)) => vec![SIGNATURE.to_owned(), TARBALL.to_owned()],
            (0, Some(all)) if all == self.tarball.len() => vec![SIGNATURE.to_owned()],
            (0, Some(part)) => vec![SIGNATURE.to_owned(), format!("{TARBALL} bytes={part}-")],
        };
        self.mend();
        self.site.mirror.server.requests();
        let next = self.fetch(&[]);
        assert_eq!(next.code, Some(0), "{moment:?}: {}", next.err);
        assert_eq!(next.out, self.line);
        assert_eq!(self.site.mirror.server.requests(), [vec![STABLE_LIST.to_owned()], expected].concat(), "{moment:?}");
        assert_eq!(self.site.cached(), self.files, "{moment:?}");
        assert_eq!(self.files_in("unpack"), Vec::<String>::new(), "{moment:?}");
        assert!(self.is_sound());
    }
}

/// Waits for something a program does, or for its end.
fn until(child: &mut Child, happened: impl Fn() -> bool) {
    while !happened() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
}

#[test]
fn a_fetch_killed_at_any_of_twenty_moments_leaves_nothing_half_made_and_is_continued() {
    let stage = Stage::new();
    let all = stage.tarball.len();
    let mut chance = noise(0x5eed);
    // One place in each part of the tarball.
    let mut places = (0..7).map(|part| part * PART + 1 + chance.next().unwrap() as usize % PART);
    let mut moments = vec![Moment::Asked(STABLE_LIST), Moment::Asked(SIGNATURE), Moment::Asked(TARBALL)];
    moments.extend(places.by_ref().map(Moment::Received));
    moments.extend([
        Moment::Received(all - 1),
        Moment::Unpacking(all / 3, "modloop-virt"),
        Moment::Unpacking(all - 1, "vmlinuz-virt"),
        Moment::Checking,
        Moment::There("files", 1),
        Moment::There("files", 2),
        Moment::There("files", 3),
        Moment::There("releases", 1),
        Moment::There("names", 1),
        Moment::Done,
    ]);
    assert_eq!(moments.len(), 20);
    for moment in moments {
        stage.kill_at(moment);
        let is_whole = stage.is_sound();
        match moment {
            Moment::Asked(_) | Moment::Received(_) | Moment::Unpacking(..) => assert!(!is_whole, "{moment:?}"),
            Moment::Done => assert!(is_whole),
            Moment::Checking | Moment::There(..) => {}
        }
        stage.recovers(moment);
        stage.forget();
    }
}

#[test]
fn a_fetch_that_is_killed_again_and_again_gets_there() {
    let stage = Stage::new();
    let all = stage.tarball.len();
    let mut had = None;
    for part in 1..4 {
        let moment = Moment::Received(part * all / 4);
        stage.kill_at(moment);
        let asked = had.map_or_else(|| TARBALL.to_owned(), |had| format!("{TARBALL} bytes={had}-"));
        assert_eq!(stage.site.mirror.server.requests(), [STABLE_LIST.to_owned(), SIGNATURE.to_owned(), asked]);
        assert!(!stage.is_sound());
        had = stage.partial();
        assert_eq!(had, Some(part * all / 4));
    }
    stage.recovers(Moment::Done);
}
