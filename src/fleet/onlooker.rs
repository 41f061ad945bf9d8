//! The fleet as its database has it, for programs besides the server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::database::Database;
use super::{Book, Event, FleetError, Machine};
use crate::model::mac::Mac;

/// The fleet as its database has it, for a program besides the server.
#[derive(Debug)]
pub struct Onlooker {
    pub(super) database: Arc<Database>,
    pub(super) book: Book,
}

impl Onlooker {
    /// The ledger.
    #[must_use]
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Every machine, by address, without what it reported.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn machines(&self) -> Result<Vec<Machine>, FleetError> {
        self.database.load_without_reports().await
    }

    /// Removes all that was written of a machine but the ledger.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn forget(&self, mac: &Mac) -> Result<(), FleetError> {
        self.database.forget(mac).await
    }

    /// Every machine, by address, with what it reported last.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn machines_with_reports(&self) -> Result<Vec<Machine>, FleetError> {
        self.database.load().await
    }

    /// What was written of a machine's boots after the event numbered `after`, oldest first, with the numbers. Not more
    /// than a thousand at once.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn events(&self, mac: &Mac, after: i64) -> Result<Vec<(i64, Event)>, FleetError> {
        self.database.events(mac, after).await
    }

    /// What each boot of a machine was sent to that was sent to no bundle, by when it began.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sent_to(&self, mac: &Mac) -> Result<BTreeMap<SystemTime, String>, FleetError> {
        self.database.sent_to(mac).await
    }
}
