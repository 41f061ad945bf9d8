//! The ledger in the database, and as it was last read.
//!
//! Whoever decides reads what is new, decides, and adds what he decided under the next number. When somebody else was
//! quicker that number is taken, and everything begins anew: two servers on one database, or a server and a person at
//! the command line, never act on what the other has changed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};

use super::FleetError;
use super::database::Database;
use crate::model::ledger::{Entry, Fact, Ledger};

/// How often others may be quicker before somebody gives up. Each time, one of them was not.
const ROUNDS: usize = 100;

/// Who adds to the ledger, and why.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// Who.
    pub who: &'a str,
    /// The reason he gave.
    pub why: Option<&'a str>,
}

/// Who the server is in the ledger.
pub const SERVER: By<'_> = By { who: "bivouac", why: None };

/// Why something was not decided.
#[derive(Debug, thiserror::Error)]
pub enum DecideError<E: std::error::Error + 'static> {
    /// It may not be.
    #[error(transparent)]
    Refused(E),
    /// The ledger cannot be read or written.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// Others wrote to the ledger all the time.
    #[error("others write to the fleet's ledger without a pause; try again")]
    Busy,
}

/// The ledger, to be read and added to.
#[derive(Debug)]
pub struct Book {
    database: Arc<Database>,
    known: ArcSwap<Ledger>,
    /// Held while entries are taken in.
    taking: Mutex<()>,
}

impl Book {
    pub(super) fn new(database: Arc<Database>) -> Self {
        Self { database, known: ArcSwap::default(), taking: Mutex::default() }
    }

    /// The ledger as it was last read.
    #[must_use]
    pub fn known(&self) -> Guard<Arc<Ledger>> {
        self.known.load()
    }

    /// Reads what is new; the ledger as it is now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn read(&self) -> Result<Arc<Ledger>, FleetError> {
        let last = self.known().last();
        let entries = self.database.entries(last).await?;
        Ok(self.take(&entries))
    }

    /// Every entry after the one numbered `after`, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn entries(&self, after: u64) -> Result<Vec<Entry>, FleetError> {
        self.database.entries(after).await
    }

    /// Adds what `decide` makes of the ledger as it is now; what was added. Nothing is written when that is nothing.
    ///
    /// # Errors
    /// When `decide` refuses, or the database cannot be read or written.
    pub async fn decide<E: std::error::Error + 'static>(
        &self,
        by: By<'_>,
        decide: impl Fn(&Ledger) -> Result<Vec<Fact>, E>,
    ) -> Result<Vec<Entry>, DecideError<E>> {
        for _ in 0..ROUNDS {
            let ledger = self.read().await?;
            let facts = decide(&ledger).map_err(DecideError::Refused)?;
            if facts.is_empty() {
                return Ok(Vec::new());
            }
            let now = SystemTime::now();
            let entry = |(number, fact)| Entry {
                number,
                at: now,
                who: by.who.to_owned(),
                why: by.why.map(str::to_owned),
                fact,
            };
            let entries: Vec<Entry> = (ledger.last() + 1..).zip(facts).map(entry).collect();
            if self.database.append(&entries).await? {
                self.take(&entries);
                return Ok(entries);
            }
        }
        Err(DecideError::Busy)
    }

    /// Takes in entries, of which some may be known already.
    pub(super) fn take(&self, entries: &[Entry]) -> Arc<Ledger> {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.known.load_full();
        let is_news = entries.last().is_some_and(|entry| entry.number > known.last());
        for entry in entries {
            if entry.number == known.last() + 1 {
                Arc::make_mut(&mut known).apply(entry);
            }
        }
        if is_news {
            self.known.store(Arc::clone(&known));
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::fleet::bed::{Bed, on_both};
    use crate::model::database::DatabasePlace;
    use crate::model::machine::MachineId;
    use crate::model::name::ProfileName;

    on_both! {
        two_who_decide_at_once_see_what_the_other_decided,
        a_ledger_is_read_back_with_who_and_why,
    }

    async fn book(place: &DatabasePlace) -> Book {
        Book::new(Arc::new(Database::open(place).await.unwrap()))
    }

    fn floor(release: u64) -> Fact {
        Fact::Floor { profile: "vdi".parse::<ProfileName>().unwrap(), release, is_one: true }
    }

    async fn two_who_decide_at_once_see_what_the_other_decided(bed: &Bed) {
        let (one, other) = (book(&bed.place).await, book(&bed.place).await);
        // Each takes the next release as a floor, if it is the one after the last.
        let next = |ledger: &Ledger| {
            let last = ledger.floors(&"vdi".parse().unwrap()).last().unwrap_or(0);
            Ok::<_, Infallible>(if last < 40 { vec![floor(last + 1)] } else { Vec::new() })
        };
        let many = |book: Book| async move {
            for _ in 0..40 {
                book.decide(SERVER, next).await.unwrap();
            }
            book
        };
        let (one, _) = tokio::join!(tokio::spawn(many(one)), tokio::spawn(many(other)));
        let ledger = one.unwrap().read().await.unwrap();
        assert_eq!(ledger.last(), 40, "no floor was written twice");
        assert_eq!(ledger.floors(&"vdi".parse().unwrap()).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
    }

    async fn a_ledger_is_read_back_with_who_and_why(bed: &Bed) {
        let by = By { who: "root", why: Some("the old one has a hole") };
        let machine: MachineId = "52:54:00:00:00:01".parse().unwrap();
        let facts = vec![floor(3), Fact::Forgotten { machine }];
        let written = book(&bed.place).await.decide(by, |_| Ok::<_, Infallible>(facts.clone())).await.unwrap();
        assert_eq!(written.len(), 2);
        let again = Database::open(&bed.place).await.unwrap().entries(0).await.unwrap();
        let seen = |entry: &Entry| (entry.number, entry.who.clone(), entry.why.clone(), entry.fact.clone());
        assert_eq!(again.iter().map(seen).collect::<Vec<_>>(), written.iter().map(seen).collect::<Vec<_>>());
    }
}
