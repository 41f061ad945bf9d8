//! Leases that survive a restart: a text file that grows by a line for each change, and is written anew when most of its
//! lines are old.
//!
//! ```text
//! lease 10.0.0.109 52:54:00:00:00:01 1796000000     until this time, in seconds since 1970
//! rest 10.0.0.110 1796000000                        nobody gets it until then
//! free 10.0.0.109
//! ```
//!
//! A thread of its own writes, so that no disk delays an answer (DESIGN 4.5): it gathers what changed for a few
//! milliseconds, appends it, and asks the disk once a second to keep it. What a crash loses is the last moment; the
//! machines of that moment ask for the address they have, and get it because it is free.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::warn;

use super::leases::{Change, Use};
use crate::disk::{self, DiskError, Lock};
use crate::model::mac::Mac;

/// How long changes are gathered before they are written.
const GATHER: Duration = Duration::from_millis(20);

/// How often the disk is asked to keep what was written, and how long the writer rests after a failure.
const SYNC: Duration = Duration::from_secs(1);

/// Lines beyond which a file is written anew when most of them are old.
const SPARE_LINES: usize = 4096;

/// The largest file that is read: some ten times what the largest plan fills.
const LARGEST: u64 = 64 << 20;

/// What the file says of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Who has it; nobody while it rests because somebody unknown was found on it.
    pub by: Option<Mac>,
    /// When that ends, in seconds since 1970.
    pub until: u64,
}

/// Reads a journal: the last word on each address. Lines that are none, such as one that a crash cut, are passed over.
#[must_use]
pub fn parse(text: &str) -> BTreeMap<Ipv4Addr, Record> {
    let mut records = BTreeMap::new();
    for line in text.lines() {
        match line_of(line) {
            Some((address, Some(record))) => drop(records.insert(address, record)),
            Some((address, None)) => drop(records.remove(&address)),
            None => {}
        }
    }
    records
}

fn line_of(line: &str) -> Option<(Ipv4Addr, Option<Record>)> {
    let mut words = line.split(' ');
    let (kind, address) = (words.next()?, words.next()?.parse().ok()?);
    let record = match kind {
        "lease" => {
            let mac = words.next()?.parse().ok()?;
            Some(Record { by: Some(mac), until: words.next()?.parse().ok()? })
        }
        "rest" => Some(Record { by: None, until: words.next()?.parse().ok()? }),
        "free" => None,
        _ => return None,
    };
    words.next().is_none().then_some((address, record))
}

fn write_line(text: &mut String, address: Ipv4Addr, record: Option<Record>) {
    let written = match record {
        Some(Record { by: Some(mac), until }) => writeln!(text, "lease {address} {mac} {until}"),
        Some(Record { by: None, until }) => writeln!(text, "rest {address} {until}"),
        None => writeln!(text, "free {address}"),
    };
    written.expect("a text takes everything");
}

/// Reads the leases below a folder, for people; nothing when no server wrote any.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read(folder: &Path) -> Result<BTreeMap<Ipv4Addr, Record>, DiskError> {
    match disk::read_bounded(&file(folder), LARGEST) {
        Ok(bytes) => Ok(parse(&String::from_utf8_lossy(&bytes))),
        Err(error) if error.is_not_found() => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("leases")
}

/// The file, and the thread that writes it.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    /// Two servers must not write the same file.
    _lock: Lock,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    woken: Condvar,
}

impl Shared {
    /// Waits for something to write, for the end, or for a time to pass; says whether it is the end.
    fn wait(&self, at_most: Option<Duration>) -> bool {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |pending: &mut Pending| pending.changes.is_empty() && !pending.closed;
        match at_most {
            Some(time) => {
                self.woken.wait_timeout_while(pending, time, is_idle).unwrap_or_else(PoisonError::into_inner).0.closed
            }
            None => self.woken.wait_while(pending, is_idle).unwrap_or_else(PoisonError::into_inner).closed,
        }
    }
}

/// What is to be written: never more than one line for each address there is.
#[derive(Debug, Default)]
struct Pending {
    changes: BTreeMap<Ipv4Addr, Option<Record>>,
    closed: bool,
}

impl Journal {
    /// Opens the file below a folder, and returns what it says as it is now.
    ///
    /// # Errors
    /// When it cannot be read or written, or another server writes it.
    pub fn open(folder: &Path) -> Result<(Self, Vec<(Ipv4Addr, Use)>), DiskError> {
        disk::create_dir_all(folder)?;
        let lock = Lock::try_acquire(&folder.join("leases.lock"))?;
        let records = read(folder)?;
        let clock = Clock::now();
        let uses = records.iter().map(|(address, record)| (*address, clock.use_of(*record))).collect();
        let mut writer = Writer::new(file(folder), records)?;
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let writer = thread::Builder::new().name("leases".to_owned()).spawn(move || writer.run(&seen));
        let writer = writer.map_err(disk::failed("start a thread for", &file(folder)))?;
        Ok((Self { shared, writer: Some(writer), _lock: lock }, uses))
    }

    /// Has changes written down soon.
    pub fn note(&self, changes: BTreeMap<Ipv4Addr, Change>) {
        if changes.is_empty() {
            return;
        }
        let clock = Clock::now();
        let mut pending = self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = pending.changes.is_empty();
        for (address, change) in changes {
            pending.changes.insert(address, change.map(|lease| clock.record_of(lease)));
        }
        drop(pending);
        if was_empty {
            self.shared.woken.notify_one();
        }
    }
}

/// Writes what is still to be written.
impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.woken.notify_one();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            warn!("the thread that writes leases panicked; the last ones may be lost");
        }
    }
}

/// One moment on both clocks: leases run on the one that never jumps, the file needs the one that goes on when the
/// computer is off.
#[derive(Debug, Clone, Copy)]
struct Clock {
    steady: Instant,
    /// Seconds since 1970.
    wall: u64,
}

impl Clock {
    fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { steady: Instant::now(), wall }
    }

    fn record_of(self, lease: Use) -> Record {
        let rest = lease.until.saturating_duration_since(self.steady).as_secs();
        Record { by: lease.by, until: self.wall + rest }
    }

    /// A lease never lasts longer than a year from now, whatever a clock said when it was written.
    fn use_of(self, record: Record) -> Use {
        const LONGEST: u64 = 366 * 86_400;
        let rest = record.until.saturating_sub(self.wall).min(LONGEST);
        Use { by: record.by, until: self.steady + Duration::from_secs(rest), is_offer: false }
    }
}

/// What the thread has.
#[derive(Debug)]
struct Writer {
    path: PathBuf,
    file: File,
    /// What the file says.
    records: BTreeMap<Ipv4Addr, Record>,
    lines: usize,
    /// Whether the last line may be half a line.
    is_torn: bool,
}

impl Writer {
    /// Writes the file anew, so that what a crash left of a last line does not spoil the next.
    fn new(path: PathBuf, records: BTreeMap<Ipv4Addr, Record>) -> Result<Self, DiskError> {
        let file = anew(&path, &records)?;
        Ok(Self { path, file, lines: records.len(), records, is_torn: false })
    }

    fn run(&mut self, shared: &Shared) {
        let mut synced = Instant::now();
        let mut is_dirty = false;
        loop {
            let closed = shared.wait(is_dirty.then_some(SYNC));
            if !closed {
                thread::sleep(GATHER);
            }
            let changes = std::mem::take(&mut shared.pending.lock().unwrap_or_else(PoisonError::into_inner).changes);
            is_dirty |= !changes.is_empty();
            if let Err(error) = self.write(&changes) {
                warn!(error = &error as &dyn std::error::Error, "leases cannot be written; they are kept in memory");
                if !closed {
                    put_back(shared, changes);
                    thread::sleep(SYNC);
                }
            }
            if is_dirty && (closed || synced.elapsed() >= SYNC) {
                if let Err(error) = self.file.sync_data() {
                    warn!(%error, path = %self.path.display(), "the disk does not keep leases");
                }
                (synced, is_dirty) = (Instant::now(), false);
            }
            if closed {
                return;
            }
        }
    }

    fn write(&mut self, changes: &BTreeMap<Ipv4Addr, Option<Record>>) -> Result<(), DiskError> {
        let mut text = String::new();
        for (address, record) in changes {
            write_line(&mut text, *address, *record);
            match record {
                Some(record) => drop(self.records.insert(*address, *record)),
                None => drop(self.records.remove(address)),
            }
        }
        self.lines += changes.len();
        if self.is_torn || self.lines > self.records.len() * 4 + SPARE_LINES {
            self.file = anew(&self.path, &self.records)?;
            (self.lines, self.is_torn) = (self.records.len(), false);
            return Ok(());
        }
        let written = self.file.write_all(text.as_bytes());
        // The next attempt must not go on behind half a line.
        self.is_torn = written.is_err();
        written.map_err(disk::failed("write", &self.path))
    }
}

/// What changed in the meantime wins.
fn put_back(shared: &Shared, changes: BTreeMap<Ipv4Addr, Option<Record>>) {
    let mut pending = shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
    for (address, record) in changes {
        pending.changes.entry(address).or_insert(record);
    }
}

fn anew(path: &Path, records: &BTreeMap<Ipv4Addr, Record>) -> Result<File, DiskError> {
    let mut text = String::new();
    for (address, record) in records {
        write_line(&mut text, *address, Some(*record));
    }
    disk::write_atomic(path, text.as_bytes())?;
    let opened = OpenOptions::new().append(true).open(path);
    opened.map_err(disk::failed("open", path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn lease(number: u8, seconds: u64) -> Use {
        let until = Instant::now() + Duration::from_secs(seconds);
        Use { by: Some(Mac([2, 0, 0, 0, 0, number])), until, is_offer: false }
    }

    #[test]
    fn what_was_noted_is_there_after_a_restart_and_a_cut_line_spoils_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, uses) = Journal::open(folder.path()).unwrap();
        assert!(uses.is_empty());
        journal.note([(ip(1), Some(lease(1, 3600))), (ip(2), Some(lease(2, 3600)))].into());
        journal.note([(ip(3), Some(Use { by: None, ..lease(0, 600) })), (ip(2), None)].into());
        drop(journal);
        let path = file(folder.path());
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("lease 10.0.0.4 02:00:");
        std::fs::write(&path, text).unwrap();

        let (journal, uses) = Journal::open(folder.path()).unwrap();
        let uses: BTreeMap<Ipv4Addr, Use> = uses.into_iter().collect();
        assert_eq!(uses.keys().copied().collect::<Vec<_>>(), [ip(1), ip(3)]);
        assert_eq!(uses[&ip(1)].by, Some(Mac([2, 0, 0, 0, 0, 1])));
        let rest = uses[&ip(1)].until.saturating_duration_since(Instant::now()).as_secs();
        assert!((3590..=3601).contains(&rest), "{rest}");
        assert!(Journal::open(folder.path()).is_err(), "one server at a time");
        journal.note([(ip(5), Some(lease(5, 60)))].into());
        drop(journal);
        assert_eq!(read(folder.path()).unwrap().len(), 3);
    }

    #[test]
    fn a_file_does_not_grow_with_the_number_of_renewals() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(file(folder.path()), BTreeMap::new()).unwrap();
        for until in 0..20_000 {
            let record = Record { by: Some(Mac([2; 6])), until };
            writer.write(&[(ip(1), Some(record))].into()).unwrap();
        }
        let text = std::fs::read_to_string(file(folder.path())).unwrap();
        assert!(text.lines().count() <= SPARE_LINES + 5);
        assert_eq!(parse(&text)[&ip(1)].until, 19_999);
    }

    #[test]
    fn clocks_that_jump_make_no_lease_endless() {
        let clock = Clock { steady: Instant::now(), wall: 1000 };
        let until = |until| clock.use_of(Record { by: None, until }).until.saturating_duration_since(clock.steady);
        assert_eq!(until(500), Duration::ZERO);
        assert_eq!(until(1060), Duration::from_secs(60));
        assert_eq!(until(u64::MAX), Duration::from_secs(366 * 86_400));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            entries in prop::collection::btree_map(any::<u32>(), (any::<Option<[u8; 6]>>(), any::<u64>()), 0..20),
        ) {
            let records: BTreeMap<Ipv4Addr, Record> = entries
                .into_iter()
                .map(|(address, (by, until))| (address.into(), Record { by: by.map(Mac), until }))
                .collect();
            let mut text = String::new();
            for (address, record) in &records {
                write_line(&mut text, *address, Some(*record));
            }
            prop_assert_eq!(parse(&text), records);
        }

        #[test]
        fn no_text_is_too_odd(text in "((lease|rest|free|x) [0-9a-f.: ]{0,30}\n){0,5}") {
            drop(parse(&text));
        }
    }
}
