//! What is kept: the state folder and its disk, the clock, what was published, and the fleet's database.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, eaccess};

use super::{Finding, Looker, Patient};
use crate::fleet::{Fleet, FleetError, Trouble};
use crate::model::database::DatabasePlace;
use crate::model::name::ProfileName;
use crate::model::plan::Assignment;
use crate::serve::rollouts::Chain;
use crate::store::{Store, StoreError};

/// Free space below which the next build or database write may fail.
const LITTLE_SPACE: u64 = 1 << 30;

/// This program is newer than any clock that says less: 2026-01-01.
const BORN: Duration = Duration::from_secs(1_767_225_600);

/// This program is not in use for longer than this, so that a clock that says more is wrong: 20 years.
const LIFE: Duration = Duration::from_secs(20 * 31_556_952);

/// Disk, clock, what was published, and the fleet's database.
pub async fn state(patient: &Patient, store: &Path, fleet: &DatabasePlace) -> Vec<Finding> {
    let looker = Looker::now();
    let mut findings = vec![space(&patient.state), clock(SystemTime::now())];
    let read = std::fs::read_dir(&patient.state).map(drop);
    // What is in a folder that nobody may look into is not known.
    let is_known = read.is_ok() || is_missing(&read);
    findings.extend(folder(&patient.state, read, eaccess(&patient.state, AccessFlags::W_OK), looker));
    if is_known {
        findings.extend(published(&Store::look_into(store), looker));
    }
    if is_known || matches!(fleet, DatabasePlace::Server(_)) {
        findings.push(match Fleet::examine(fleet).await {
            Ok(machines) => Finding::good("database", format!("{machines} machines were seen so far")),
            Err(error) => database(&error, fleet, looker),
        });
    }
    findings
}

fn is_missing(read: &io::Result<()>) -> bool {
    read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether the state folder can be read and written; nothing when it is not there yet.
fn folder(state: &Path, read: io::Result<()>, written: Result<(), Errno>, looker: Looker) -> Option<Finding> {
    let shown = state.display();
    if is_missing(&read) {
        return None;
    }
    Some(match (read, written) {
        (Err(error), _) => {
            let fix = format!("make {shown} a folder that the server can read and write");
            let said = format!("{shown} cannot be read: {error}");
            match error.kind() {
                io::ErrorKind::PermissionDenied => looker.refused("state", said, fix),
                _ => Finding::wrong("state", said, fix),
            }
        }
        (Ok(()), Ok(())) => Finding::good("state", format!("{shown} can be read and written")),
        (Ok(()), Err(Errno::EROFS)) => {
            let said = format!("{shown} is on a file system that can only be read");
            Finding::wrong("state", said, "mount it for writing, or name another folder with `state`")
        }
        (Ok(()), Err(error)) => {
            let said = format!("{shown} cannot be written: {}", error.desc());
            looker.refused("state", said, "let the server write there")
        }
    })
}

fn space(state: &Path) -> Finding {
    // A relative folder that is not there yet is made in the working folder.
    let whole = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
    let existing = whole.ancestors().find(|folder| folder.exists()).unwrap_or(state);
    match statvfs(existing) {
        Ok(found) => {
            let free = found.blocks_available() * found.fragment_size();
            let said = format!("{} MiB are free for {}", free >> 20, state.display());
            if free < LITTLE_SPACE {
                Finding::wrong("disk", said, "`bivouac gc` deletes what nothing needs; or make room")
            } else {
                Finding::good("disk", said)
            }
        }
        Err(error) => Finding::wrong("disk", format!("{}: {error}", state.display()), "make the folder readable"),
    }
}

fn clock(now: SystemTime) -> Finding {
    let said = format!("it says {}", humantime::format_rfc3339_seconds(now));
    let fix = "set the clock (chronyd, ntpd or `date -s`): certificates and signatures are judged by it";
    match now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().checked_sub(BORN) {
        None => Finding::wrong("clock", format!("{said}, which is over"), fix),
        Some(age) if age > LIFE => Finding::wrong("clock", format!("{said}, which is far ahead"), fix),
        Some(_) => Finding::good("clock", said),
    }
}

fn published(store: &Store, looker: Looker) -> Vec<Finding> {
    let profiles = match store.profiles() {
        Ok(profiles) => profiles,
        Err(error) => return vec![unreadable(&error, looker)],
    };
    if profiles.is_empty() {
        let fix = "`bivouac up PROFILE` builds and publishes";
        return vec![Finding::wrong("store", "nothing is published, so nothing can boot", fix)];
    }
    profiles.iter().map(|profile| of_profile(store, profile, looker)).collect()
}

fn of_profile(store: &Store, profile: &ProfileName, looker: Looker) -> Finding {
    let channels = match store.channels(profile) {
        Ok(channels) => channels,
        Err(error) => return unreadable(&error, looker),
    };
    let mut wrong = Vec::new();
    for channel in &channels {
        match store.channel(profile, channel).and_then(|release| store.manifest(&release.bundle)) {
            Ok(manifest) => {
                let lost = manifest.blobs().filter(|(digest, size)| !store.has_blob(digest, *size)).count();
                if lost > 0 {
                    wrong.push(format!("{profile}:{channel} lacks {lost} of its files"));
                }
            }
            Err(error) if is_refused(&error) => return unreadable(&error, looker),
            Err(error) => wrong.push(format!("{profile}:{channel}: {}", Chain(&error))),
        }
    }
    let names: Vec<String> = channels.iter().map(ToString::to_string).collect();
    if wrong.is_empty() {
        Finding::good("store", format!("{profile} is published ({})", names.join(", ")))
    } else {
        Finding::wrong("store", wrong.join("; "), "build and publish it again")
    }
}

/// What the site file has machines boot: why `unpublished` cannot be followed, and whether there is a `fallback` for
/// machines that nobody named.
#[must_use]
pub fn assigned(unpublished: &[StoreError], fallback: Option<&Assignment>) -> Vec<Finding> {
    let wrong = |error: &StoreError| {
        let fix = "`serve` does not start like this: build and publish it, or correct `default-profile` or `machines` in the \
                   site file";
        Finding::wrong("profile", Chain(error).to_string(), fix)
    };
    let mut findings: Vec<Finding> = unpublished.iter().map(wrong).collect();
    if fallback.is_none() {
        let said = "machines that the site file does not name will not boot";
        findings.push(Finding::doubtful("profile", said, "set `default-profile`, unless each has its own"));
    }
    findings
}

fn unreadable(error: &StoreError, looker: Looker) -> Finding {
    let said = Chain(error).to_string();
    if is_refused(error) {
        looker.refused("store", said, "let the server read the folder")
    } else {
        Finding::wrong("store", said, "make the folder readable")
    }
}

/// Whether an error, or one of its causes, says that this user may not.
fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    })
}

/// What to do about a database that cannot be used. It has what people decided, which nothing brings back.
fn database(error: &FleetError, place: &DatabasePlace, looker: Looker) -> Finding {
    let is_file = matches!(place, DatabasePlace::File(_));
    let fix = match error.trouble() {
        Trouble::Newer => "use the program that wrote it, or a newer one; nothing is lost",
        Trouble::Busy => "let the other program end, or stop it, and ask again; nothing is lost",
        Trouble::Full => "make room: `bivouac gc` deletes what nothing needs; nothing that was written is lost",
        Trouble::Refused => {
            let fix = "let the server read and write the file and its folder; nothing is lost";
            return looker.refused("database", Chain(error).to_string(), fix);
        }
        Trouble::Damaged if is_file => {
            "stop the server and put a backup of the file back. Without one, keep a copy, and move the file away with those \
             beside it that end in -wal and -shm: machines are written down anew as they boot, but what people decided is \
             lost: assignments, labels, values, approvals and rollouts"
        }
        Trouble::Damaged => "restore a backup of this database: what people decided is in it and nowhere else",
        Trouble::Unreachable => {
            "start PostgreSQL, and let it take this user and database; a server that runs goes on without it"
        }
        Trouble::Other => {
            "look at the disk it is on; copy the file before anything else is tried, because what people decided is in it \
             and nowhere else"
        }
    };
    Finding::wrong("database", Chain(error).to_string(), fix)
}

#[cfg(test)]
mod tests {
    use super::super::{AS_ROOT, Verdict};
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_room_of_where_it_will_be() {
        for folder in ["not made yet", "/not made/yet"] {
            let said = space(Path::new(folder)).text;
            assert!(said.contains(&format!("MiB are free for {folder}")), "{said}");
        }
    }

    #[test]
    fn a_state_folder_that_cannot_be_read_or_written_is_said() {
        let state = Path::new("/var/lib/bivouac");
        let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
        for (read, written, looker, verdict, said) in [
            (Ok(()), Ok(()), Looker::Other, Verdict::Good, "can be read and written"),
            (Err(refused()), Err(Errno::EACCES), Looker::Other, Verdict::Doubtful, "cannot be read: permission denied"),
            (Err(refused()), Err(Errno::EACCES), Looker::Root, Verdict::Wrong, "cannot be read: permission denied"),
            (Ok(()), Err(Errno::EACCES), Looker::Other, Verdict::Doubtful, "cannot be written: Permission denied"),
            (Ok(()), Err(Errno::EROFS), Looker::Other, Verdict::Wrong, "is on a file system that can only be read"),
            (
                Err(io::ErrorKind::NotADirectory.into()),
                Ok(()),
                Looker::Root,
                Verdict::Wrong,
                "cannot be read: not a dir",
            ),
        ] {
            let found = folder(state, read, written, looker).unwrap();
            assert_eq!(found.verdict, verdict, "{found:?}");
            assert!(found.text.starts_with(&format!("/var/lib/bivouac {said}")), "{found:?}");
            assert_eq!(found.fix.as_deref() == Some(AS_ROOT), verdict == Verdict::Doubtful, "{found:?}");
        }
        let missing = Err(io::ErrorKind::NotFound.into());
        assert_eq!(folder(state, missing, Err(Errno::ENOENT), Looker::Root), None);
    }

    #[test]
    fn a_channel_folder_that_cannot_be_read_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("profiles/vdi")).unwrap();
        std::fs::write(folder.path().join("profiles/vdi/channels"), "").unwrap();
        let found = published(&Store::look_into(folder.path()), Looker::Root);
        assert_eq!((found.len(), found[0].verdict), (1, Verdict::Wrong), "{found:?}");
        assert!(found[0].text.contains("cannot list") && found[0].text.contains("channels"), "{found:?}");
    }

    #[test]
    fn a_clock_of_the_past_or_of_the_far_future_is_wrong() {
        let verdict = |since: Duration| clock(SystemTime::UNIX_EPOCH + since).verdict;
        assert_eq!(verdict(Duration::from_secs(9)), Verdict::Wrong);
        assert_eq!(verdict(BORN), Verdict::Good);
        assert_eq!(verdict(BORN + LIFE), Verdict::Good);
        assert_eq!(verdict(BORN + LIFE + Duration::from_secs(1)), Verdict::Wrong);
    }

    #[test]
    fn only_a_damaged_database_is_moved_away_and_what_is_lost_is_said() {
        let place = || DatabasePlace::File("fleet.sqlite".into());
        let fix = |error| database(&error, &place(), Looker::Root).fix.unwrap();
        let io = |kind: io::ErrorKind| FleetError::Database { place: place(), source: io::Error::from(kind).into() };
        for (error, said) in [
            (FleetError::Version { place: place(), found: 70 }, "use the program that wrote it"),
            (FleetError::Locked { place: place() }, "let the other program end"),
            (io(io::ErrorKind::StorageFull), "make room"),
            (io(io::ErrorKind::PermissionDenied), "let the server read and write the file"),
            (io(io::ErrorKind::BrokenPipe), "copy the file before anything else is tried"),
        ] {
            let fix = fix(error);
            assert!(fix.contains(said) && !fix.contains("move"), "{fix}");
        }
        let damaged = fix(FleetError::Damaged { place: place(), found: "page 3".to_owned() });
        assert!(damaged.contains("put a backup of the file back"), "{damaged}");
        assert!(damaged.contains("what people decided is lost: assignments, labels"), "{damaged}");
        let other = database(&io(io::ErrorKind::PermissionDenied), &place(), Looker::Other);
        assert_eq!((other.verdict, other.fix.as_deref()), (Verdict::Doubtful, Some(AS_ROOT)));
    }
}
