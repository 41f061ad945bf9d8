//! The files that are held: named by what they are, within a size, the ones used least recently going first.
//!
//! When a file was used last is known exactly while the program runs and after it ended in good order, and to the hour
//! after a crash: the time of the file says it, and is not set for each request. Other processes may put files here and
//! take some away; what they did is noticed when the next file is put.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tracing::{debug, warn};

use crate::disk::{self, DiskError, TempFile};

/// How exactly the time of a file says when it was used.
const NOTED: Duration = Duration::from_secs(60 * 60);

/// How many files stay open, which costs no memory to speak of.
const MOST_OPEN: usize = 256;

/// A place for such files.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    /// The most bytes they may have together.
    limit: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<String, Held>,
    /// The length of all files that are held.
    bytes: u64,
    /// Promised to files on their way.
    promised: u64,
    /// Those that are open, the one opened last at the end.
    open: VecDeque<String>,
    /// When the folder was changed last, as far as this process knows.
    seen: Option<SystemTime>,
}

#[derive(Debug)]
struct Held {
    size: u64,
    /// When it was used last.
    used: SystemTime,
    /// When its time was set.
    noted: SystemTime,
    /// Whether this process has compared its bytes with what it should be.
    is_checked: bool,
    open: Option<Bytes>,
    /// Somebody else has this too while the bytes are being sent.
    is_lent: Arc<()>,
}

/// The bytes of a file, of which it is known that they are in use.
struct Lent {
    bytes: Bytes,
    _is_lent: Arc<()>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A promise of room for one file, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    shelf: Arc<Shelf>,
    size: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shelf.lock().promised -= self.size;
    }
}

impl Shelf {
    /// Looks at what a folder has, which is made when it is missing.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn open(folder: &Path, limit: u64) -> Result<Self, DiskError> {
        disk::create_dir_all(folder)?;
        let shelf = Self { folder: folder.to_owned(), limit, state: Mutex::default() };
        shelf.look_again()?;
        Ok(shelf)
    }

    /// How many files are held, and their length in bytes.
    pub(super) fn content(&self) -> (usize, u64) {
        let state = self.lock();
        (state.held.len(), state.bytes)
    }

    /// The most bytes that are held.
    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether a file is held, as far as this process knows.
    pub(super) fn has(&self, name: &str) -> bool {
        self.lock().held.contains_key(name)
    }

    /// A file that is open already. Never waits for the disk.
    pub(super) fn lend_open(&self, name: &str, now: SystemTime) -> Option<Bytes> {
        let mut state = self.lock();
        let held = state.held.get_mut(name)?;
        let is_noted = now.duration_since(held.noted).is_ok_and(|age| age < NOTED);
        let bytes = held.open.clone().filter(|_| is_noted)?;
        held.used = now;
        Some(bytes)
    }

    /// A file, when it is held. Its bytes are compared by `check` once in the life of the process; a damaged file is
    /// removed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn lend(
        &self,
        name: &str,
        now: SystemTime,
        check: impl FnOnce(&Bytes) -> bool,
    ) -> Result<Option<Bytes>, DiskError> {
        let path = self.folder.join(name);
        let bytes = match disk::map(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => {
                self.lock().forget(name);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let is_checked = self.lock().held.get(name).is_some_and(|held| held.is_checked);
        if !is_checked && !check(&bytes) {
            warn!(path = %path.display(), "a file that the caching mirror holds is damaged; it is removed");
            disk::remove(&path)?;
            self.lock().forget(name);
            return Ok(None);
        }
        if let Err(error) = disk::set_time(&path, now) {
            debug!(%error, "cannot say that a file of the caching mirror is in use");
        }
        Ok(Some(self.lock().take_in(name, bytes, now)))
    }

    /// Counts a file as used, if it is held.
    pub(super) fn use_now(&self, name: &str, now: SystemTime) {
        let is_held = self.lock().held.get_mut(name).map(|held| (held.used, held.noted) = (now, now)).is_some();
        if is_held && let Err(error) = disk::set_time(&self.folder.join(name), now) {
            debug!(%error, "cannot say that a file of the caching mirror is in use");
        }
    }

    /// Writes down when each file was used last.
    pub(super) fn note_uses(&self) {
        let note = |(name, held): (&String, &mut Held)| {
            held.noted = held.used;
            (name.clone(), held.used)
        };
        let uses: Vec<_> = self.lock().held.iter_mut().filter(|(_, held)| held.used > held.noted).map(note).collect();
        for (name, used) in uses {
            if let Err(error) = disk::set_time(&self.folder.join(name), used) {
                debug!(%error, "cannot say that a file of the caching mirror is in use");
            }
        }
    }

    /// Makes room for a file, for which others are removed that were used less recently; nothing when that is not
    /// enough, or too much of it is being sent.
    ///
    /// # Errors
    /// When the folder cannot be read or a file cannot be removed.
    pub(super) fn room(self: &Arc<Self>, size: u64) -> Result<Option<Room>, DiskError> {
        if self.lock().seen != self.changed() {
            self.look_again()?;
        }
        let victims = {
            let mut state = self.lock();
            let needed = (state.bytes + state.promised).saturating_add(size).saturating_sub(self.limit);
            let Some(victims) = state.victims(needed) else { return Ok(None) };
            for name in &victims {
                state.forget(name);
            }
            state.promised += size;
            victims
        };
        let room = Room { shelf: Arc::clone(self), size };
        for name in victims {
            debug!(file = name, "removed from the caching mirror to make room");
            disk::remove(&self.folder.join(name))?;
        }
        self.lock().seen = self.changed();
        Ok(Some(room))
    }

    /// Takes a verified file in, for which there is room, and lends it.
    ///
    /// # Errors
    /// When it cannot be put in place.
    pub(super) fn keep(&self, room: Room, file: TempFile, name: &str, now: SystemTime) -> Result<Bytes, DiskError> {
        let path = self.folder.join(name);
        file.publish(&path)?;
        let bytes = disk::map(&path)?;
        drop(room);
        let mut state = self.lock();
        state.seen = self.changed();
        Ok(state.take_in(name, bytes, now))
    }

    /// Gives a file from elsewhere a name here too, so that it is stored once; whether it was there, and there is room.
    ///
    /// # Errors
    /// As [`Shelf::room`].
    pub(super) fn adopt(self: &Arc<Self>, name: &str, from: &Path) -> Result<bool, DiskError> {
        let Ok((size, _)) = disk::examine(from) else { return Ok(false) };
        // The room is taken by the file as soon as somebody looks at it.
        let Some(_room) = self.room(size)? else { return Ok(false) };
        Ok(fs::hard_link(from, self.folder.join(name)).is_ok())
    }

    /// Compares what is known with what is there.
    fn look_again(&self) -> Result<(), DiskError> {
        let seen = self.changed();
        let mut found = HashMap::new();
        for name in disk::list(&self.folder)? {
            // Somebody may have removed it meanwhile.
            if let Ok((size, used)) = disk::examine(&self.folder.join(&name)) {
                found.insert(name, (size, used));
            }
        }
        let mut state = self.lock();
        let gone: Vec<String> = state.held.keys().filter(|name| !found.contains_key(*name)).cloned().collect();
        for name in gone {
            state.forget(&name);
        }
        for (name, (size, used)) in found {
            if !state.held.contains_key(&name) {
                state.bytes += size;
                let held = Held { size, used, noted: used, is_checked: false, open: None, is_lent: Arc::default() };
                state.held.insert(name, held);
            }
        }
        state.seen = seen;
        Ok(())
    }

    /// When somebody put a file into the folder last, or took one away.
    fn changed(&self) -> Option<SystemTime> {
        fs::metadata(&self.folder).and_then(|found| found.modified()).ok()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each critical section leaves the numbers right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Whether nobody is being sent its bytes. That it is open does not count.
    fn is_free(&mut self) -> bool {
        self.open = None;
        Arc::strong_count(&self.is_lent) == 1
    }
}

impl State {
    /// Remembers a file that is there and was compared.
    fn take_in(&mut self, name: &str, bytes: Bytes, now: SystemTime) -> Bytes {
        // Some of it may still be on its way to somebody.
        let is_lent = self.held.get(name).map(|held| Arc::clone(&held.is_lent)).unwrap_or_default();
        let size = bytes.len() as u64;
        self.forget(name);
        let bytes = Bytes::from_owner(Lent { bytes, _is_lent: Arc::clone(&is_lent) });
        let open = Some(bytes.clone());
        self.bytes += size;
        self.held.insert(name.to_owned(), Held { size, used: now, noted: now, is_checked: true, open, is_lent });
        self.open.push_back(name.to_owned());
        if self.open.len() > MOST_OPEN
            && let Some(oldest) = self.open.pop_front()
            && let Some(held) = self.held.get_mut(&oldest)
        {
            held.open = None;
        }
        bytes
    }

    /// The files to remove for `needed` bytes: those used least recently, of which nobody is being sent any. Nothing
    /// when all of them would not be enough.
    fn victims(&mut self, needed: u64) -> Option<Vec<String>> {
        let (mut victims, mut freed) = (Vec::new(), 0);
        if needed > 0 {
            let mut order: Vec<_> = self.held.iter().map(|(name, held)| (held.used, name.clone())).collect();
            order.sort_unstable();
            for (_, name) in order {
                if let Some(held) = self.held.get_mut(&name).filter(|_| freed < needed)
                    && held.is_free()
                {
                    freed += held.size;
                    victims.push(name);
                }
            }
        }
        (freed >= needed).then_some(victims)
    }

    fn forget(&mut self, name: &str) {
        if let Some(held) = self.held.remove(name) {
            self.bytes -= held.size;
            self.open.retain(|open| open != name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    struct Place {
        folder: tempfile::TempDir,
        shelf: Arc<Shelf>,
    }

    impl Place {
        fn new(limit: u64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let shelf = Arc::new(Shelf::open(&folder.path().join("files"), limit).unwrap());
            Self { folder, shelf }
        }

        fn put(&self, name: &str, size: u64, now: u64) -> Option<Bytes> {
            let room = self.shelf.room(size).unwrap()?;
            let mut file = TempFile::new_in(self.folder.path()).unwrap();
            file.file().write_all(&vec![7; usize::try_from(size).unwrap()]).unwrap();
            Some(self.shelf.keep(room, file, name, at(now)).unwrap())
        }

        fn names(&self) -> Vec<String> {
            disk::list(&self.folder.path().join("files")).unwrap()
        }
    }

    #[test]
    fn what_was_used_least_recently_makes_room() {
        let place = Place::new(10);
        for (name, now) in [("a", 1), ("b", 2), ("c", 3)] {
            place.put(name, 3, now).unwrap();
        }
        assert!(place.shelf.lend_open("a", at(4)).is_some());
        place.put("d", 4, 5).unwrap();
        assert_eq!(place.names(), ["a", "c", "d"]);
        assert_eq!(place.shelf.content(), (3, 10));
        assert!(place.shelf.lend_open("b", at(6)).is_none());
    }

    #[test]
    fn what_is_being_sent_stays_and_what_cannot_fit_is_not_kept() {
        let place = Place::new(10);
        let sent = place.put("a", 6, 1).unwrap();
        assert!(place.put("b", 6, 2).is_none());
        assert_eq!((place.names(), place.shelf.content()), (vec!["a".to_owned()], (1, 6)));
        // Lent again, it is still lent to the first.
        drop(place.shelf.lend("a", at(2), |_| true).unwrap());
        assert!(place.put("b", 6, 2).is_none());
        drop(sent);
        assert!(place.put("b", 6, 3).is_some());
        assert_eq!(place.names(), ["b"]);
        assert!(place.put("c", 11, 4).is_none());
        assert_eq!(place.names(), ["b"]);
    }

    #[test]
    fn room_that_was_promised_counts_until_it_is_given_back() {
        let place = Place::new(10);
        let room = place.shelf.room(6).unwrap();
        assert!(place.shelf.room(6).unwrap().is_none());
        drop(room);
        assert!(place.shelf.room(6).unwrap().is_some());
    }

    #[test]
    fn a_restart_knows_what_is_held_and_in_which_order() {
        let place = Place::new(10);
        for (name, now) in [("a", 2), ("b", 1), ("c", 3)] {
            place.put(name, 3, now).unwrap();
            disk::set_time(&place.folder.path().join("files").join(name), at(now)).unwrap();
        }
        let place = Place { shelf: Arc::new(Shelf::open(&place.folder.path().join("files"), 10).unwrap()), ..place };
        assert_eq!(place.shelf.content(), (3, 9));
        place.put("d", 3, 4).unwrap();
        assert_eq!(place.names(), ["a", "c", "d"]);
    }

    #[test]
    fn what_others_put_and_took_is_noticed() {
        let place = Place::new(10);
        place.put("a", 4, 1).unwrap();
        let files = place.folder.path().join("files");
        fs::remove_file(files.join("a")).unwrap();
        fs::write(files.join("b"), [7; 5]).unwrap();
        assert_eq!(place.shelf.lend("b", at(2), |bytes| bytes.len() == 5).unwrap().unwrap().len(), 5);
        assert!(place.shelf.lend("a", at(2), |_| true).unwrap().is_none());
        place.put("c", 5, 3).unwrap();
        assert_eq!((place.names(), place.shelf.content()), (vec!["b".to_owned(), "c".to_owned()], (2, 10)));
    }

    #[test]
    fn a_damaged_file_is_removed_and_a_good_one_is_compared_once() {
        let place = Place::new(10);
        let files = place.folder.path().join("files");
        fs::write(files.join("bad"), [7; 5]).unwrap();
        assert!(place.shelf.lend("bad", at(1), |_| false).unwrap().is_none());
        assert_eq!((place.names(), place.shelf.content()), (Vec::new(), (0, 0)));
        fs::write(files.join("good"), [7; 5]).unwrap();
        assert!(place.shelf.lend("good", at(1), |_| true).unwrap().is_some());
        assert!(place.shelf.lend("good", at(1), |_| panic!("compared twice")).unwrap().is_some());
    }

    #[test]
    fn a_file_from_elsewhere_is_stored_once() {
        let place = Place::new(10);
        let elsewhere = place.folder.path().join("elsewhere");
        fs::write(&elsewhere, [7; 5]).unwrap();
        assert!(place.shelf.adopt("a", &elsewhere).unwrap());
        assert!(place.shelf.lend("a", at(1), |_| true).unwrap().is_some());
        assert_eq!(place.shelf.content(), (1, 5));
        assert!(!place.shelf.adopt("b", &place.folder.path().join("nowhere")).unwrap());
        fs::write(&elsewhere, [7; 11]).unwrap();
        assert!(!place.shelf.adopt("c", &elsewhere).unwrap());
    }

    #[test]
    fn the_time_of_a_file_follows_its_use_by_the_hour() {
        let place = Place::new(10);
        place.put("a", 1, 10_000).unwrap();
        assert!(place.shelf.lend_open("a", at(10_000 + 3599)).is_some());
        // Now somebody has to write it down.
        assert!(place.shelf.lend_open("a", at(10_000 + 3600)).is_none());
        place.shelf.lend("a", at(20_000), |_| true).unwrap().unwrap();
        assert_eq!(disk::examine(&place.folder.path().join("files/a")).unwrap().1, at(20_000));
        assert!(place.shelf.lend_open("a", at(20_001)).is_some());
    }
}
