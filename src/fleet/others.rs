//! What other servers on the same database write, so that each knows the machines that the others saw, and none writes
//! what it knew earlier over what another one knows by now.
//!
//! Times are compared between servers, so their clocks have to agree to about a second, as they have to for certificates.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use sqlx::{AnyConnection, AssertSqlSafe};

use super::Machine;
use super::database::Row;
use crate::model::mac::Mac;
use crate::model::token::Token;

/// How many machines one statement touches.
const TOUCHED_AT_ONCE: usize = 1000;

/// What is remembered of the others.
#[derive(Debug)]
pub(super) struct Others {
    /// Who this server is among them.
    writer: i64,
    /// The last change that was looked at.
    looked: AtomicI64,
    /// How far others were with machines that they wrote last.
    ahead: Mutex<HashMap<Mac, Ahead>>,
}

/// How far another server was with a machine.
#[derive(Debug)]
struct Ahead {
    last_seen: SystemTime,
    /// Each boot that has a token, by it, with how far it was.
    boots: HashMap<Token, Reached>,
}

/// How far a boot is: when it last checked in, and when it reached its step.
type Reached = (Option<SystemTime>, SystemTime);

/// What of a row may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fresh {
    /// What is known of the machine itself.
    pub(super) machine: bool,
    /// Its boot.
    pub(super) session: bool,
}

impl Others {
    /// Somebody who has read everything up to the change numbered `looked`.
    pub(super) fn new() -> Self {
        // Seeded anew in each process.
        let writer = RandomState::new().hash_one("writer").cast_signed();
        Self { writer, looked: AtomicI64::new(0), ahead: Mutex::default() }
    }

    /// The number of the next change; no other server writes machines until this one has committed.
    pub(super) async fn next(connection: &mut AnyConnection) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("UPDATE changes SET last = last + 1 RETURNING last").fetch_one(connection).await
    }

    /// The number of the last change.
    pub(super) async fn last(connection: &mut AnyConnection) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT last FROM changes").fetch_one(connection).await
    }

    /// Whether the change numbered `last` was looked at.
    pub(super) fn has_seen(&self, last: i64) -> bool {
        self.looked.load(Ordering::Relaxed) >= last
    }

    /// Everything up to the change numbered `last` was read.
    pub(super) fn seen(&self, last: i64) {
        self.looked.fetch_max(last, Ordering::Relaxed);
    }

    /// The condition of machines that others have written since, for a table with a column `mac`.
    pub(super) fn since(&self) -> String {
        let (looked, writer) = (self.looked.load(Ordering::Relaxed), self.writer);
        format!("mac IN (SELECT mac FROM touched WHERE change > {looked} AND writer <> {writer})")
    }

    /// These machines were read, as others wrote them.
    pub(super) fn note(&self, machines: &[Machine]) {
        let mut ahead = self.ahead();
        for machine in machines {
            let boots = machine.sessions();
            let boots = boots.filter_map(|session| Some((session.token?, (session.last_check_in, session.step_at))));
            ahead.insert(machine.identity.mac, Ahead { last_seen: machine.last_seen, boots: boots.collect() });
        }
    }

    /// What of a machine is no older than what others wrote.
    pub(super) fn fresh(&self, machine: &Row) -> Fresh {
        let ahead = self.ahead();
        let Some(theirs) = ahead.get(&machine.identity.mac) else { return Fresh { machine: true, session: true } };
        let session = &machine.session;
        let reached = (session.last_check_in, session.step_at);
        Fresh {
            machine: machine.last_seen >= theirs.last_seen,
            session: session.token.and_then(|token| theirs.boots.get(&token)).is_none_or(|theirs| reached >= *theirs),
        }
    }

    /// These machines are written by this server in the change numbered `change`.
    pub(super) async fn touch(
        &self,
        connection: &mut AnyConnection,
        change: i64,
        macs: &BTreeSet<Mac>,
    ) -> Result<(), sqlx::Error> {
        let macs: Vec<&Mac> = macs.iter().collect();
        for macs in macs.chunks(TOUCHED_AT_ONCE) {
            // An address is hexadecimal digits and colons.
            let rows: Vec<String> = macs.iter().map(|mac| format!("('{mac}', {change}, {})", self.writer)).collect();
            let statement = format!(
                "INSERT INTO touched (mac, change, writer) VALUES {} \
                 ON CONFLICT (mac) DO UPDATE SET change = excluded.change, writer = excluded.writer",
                rows.join(", ")
            );
            // Of as many rows as there happen to be: such a statement is not needed again.
            sqlx::query(AssertSqlSafe(statement)).persistent(false).execute(&mut *connection).await?;
        }
        Ok(())
    }

    fn ahead(&self) -> MutexGuard<'_, HashMap<Mac, Ahead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A machine is remembered no more.
    pub(super) fn forget(&self, mac: &Mac) {
        self.ahead().remove(mac);
    }
}
