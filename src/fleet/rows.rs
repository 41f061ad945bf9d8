//! Rows of the fleet's database as they are written: many in one statement, because each statement costs two changes of
//! threads, and of a fleet that is turned on at once there are thousands of rows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, AssertSqlSafe};

use super::Event;
use super::database::{Row, millis, moment};
use super::engine::Engine;
use super::roster::MAX_MACHINES;
use crate::model::boot::Step;
use crate::model::mac::Mac;
use crate::model::timeline::Stage;

/// How many rows one statement writes. Few kinds of statements stay prepared; of as many rows as there happen to be, to
/// read a statement would take as long as to do it.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];

/// How many machines are named in one statement.
const NAMED: usize = 1024;

/// How many boots of one machine are kept.
const KEPT_SESSIONS: i64 = 50;

/// How many events of one machine are kept: those of its last ten to twenty boots.
const KEPT_EVENTS: i64 = 400;

/// The last boot of each machine that was written: what is old of a machine goes once for each of its boots.
#[derive(Debug, Default)]
pub(super) struct Begun(Mutex<HashMap<Mac, SystemTime>>);

impl Begun {
    /// Of these boots, the machines whose last one was another when they were written before.
    pub(super) fn machines(&self, boots: &[(Mac, SystemTime)]) -> Vec<Mac> {
        let last = self.last();
        let is_other = |(mac, began): &&(Mac, SystemTime)| last.get(mac) != Some(began);
        let mut begun: Vec<Mac> = boots.iter().filter(is_other).map(|(mac, _)| *mac).collect();
        begun.sort_unstable();
        begun.dedup();
        begun
    }

    /// These boots are in the database, and what was old of their machines is not: a transaction that fails is repeated,
    /// and must find as much to do as it did before.
    pub(super) fn written(&self, boots: impl IntoIterator<Item = (Mac, SystemTime)>) {
        let mut last = self.last();
        if last.len() >= MAX_MACHINES {
            last.clear();
        }
        last.extend(boots);
    }

    fn last(&self) -> MutexGuard<'_, HashMap<Mac, SystemTime>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what is known of machines themselves.
pub(super) async fn save_machines(
    engine: &Engine,
    connection: &mut AnyConnection,
    machines: &[&Row],
) -> Result<(), sqlx::Error> {
    for machines in pieces(machines) {
        let statement = format!(
            "INSERT INTO machines \
             (mac, uuid, serial, platform, buildarch, first_seen, last_seen, attempts, hardware, conflicts) VALUES {} \
             ON CONFLICT (mac) DO UPDATE SET hardware = excluded.hardware, conflicts = excluded.conflicts, \
             uuid = excluded.uuid, serial = excluded.serial, platform = excluded.platform, \
             buildarch = excluded.buildarch, last_seen = excluded.last_seen, attempts = excluded.attempts",
            engine.places(machines.len(), 10)
        );
        let mut insert = sqlx::query(AssertSqlSafe(statement));
        for Row { identity, first_seen, last_seen, attempts, conflicts, .. } in machines.iter().copied() {
            let attempts = if attempts.is_empty() { None } else { Some(json(attempts)?) };
            insert = insert
                .bind(identity.mac.to_string())
                .bind(&identity.uuid)
                .bind(&identity.serial)
                .bind(&identity.platform)
                .bind(&identity.buildarch)
                .bind(millis(*first_seen))
                .bind(millis(*last_seen))
                .bind(attempts)
                .bind(json(&identity.hardware)?)
                .bind(json(conflicts)?);
        }
        insert.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Another server knew more of these machines; somebody may have had them forgotten since, and boots belong to machines.
pub(super) async fn keep_machines(
    engine: &Engine,
    connection: &mut AnyConnection,
    machines: &[&Row],
) -> Result<(), sqlx::Error> {
    for machines in pieces(machines) {
        let statement = format!(
            "INSERT INTO machines (mac, first_seen, last_seen) VALUES {} ON CONFLICT (mac) DO NOTHING",
            engine.places(machines.len(), 3)
        );
        let mut insert = sqlx::query(AssertSqlSafe(statement));
        for machine in machines {
            let mac = machine.identity.mac.to_string();
            insert = insert.bind(mac).bind(millis(machine.first_seen)).bind(millis(machine.last_seen));
        }
        insert.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Writes the last boots of machines that were written before.
pub(super) async fn save_sessions(
    engine: &Engine,
    connection: &mut AnyConnection,
    machines: &[&Row],
) -> Result<(), sqlx::Error> {
    for machines in pieces(machines) {
        // Before its script a boot has no token; machine and start name it, and the row is replaced when the script comes.
        let firmware = |machine: &Row| format!("{} {}", machine.identity.mac, millis(machine.session.started));
        let scripted = machines.iter().filter(|machine| machine.session.token.is_some());
        let scripted: Vec<String> = scripted.map(|machine| firmware(machine)).collect();
        for names in pieces(&scripted) {
            let statement = format!("DELETE FROM sessions WHERE token IN {}", engine.places(1, names.len()));
            let mut delete = sqlx::query(AssertSqlSafe(statement));
            for name in names {
                delete = delete.bind(name);
            }
            delete.execute(&mut *connection).await?;
        }
        let statement = format!(
            "INSERT INTO sessions (token, mac, started, profile, release, bundle, step, step_at, report, problems, \
             sent_to, last_check_in, first_good, good, vitals, alarm, scripted, health_since) VALUES {} \
             ON CONFLICT (token) DO UPDATE SET step = excluded.step, step_at = excluded.step_at, \
             report = COALESCE(excluded.report, sessions.report), problems = excluded.problems, \
             sent_to = excluded.sent_to, last_check_in = excluded.last_check_in, first_good = excluded.first_good, \
             good = excluded.good, vitals = excluded.vitals, alarm = excluded.alarm, \
             health_since = excluded.health_since",
            engine.places(machines.len(), 18)
        );
        let mut insert = sqlx::query(AssertSqlSafe(statement));
        for machine in machines.iter().copied() {
            let session = &machine.session;
            let token = session.token.map_or_else(|| firmware(machine), |token| token.to_string());
            let told = session.told.as_ref();
            insert = insert
                .bind(token)
                .bind(machine.identity.mac.to_string())
                .bind(millis(session.started))
                .bind(told.map(|(profile, _, _)| profile.to_string()))
                .bind(told.map(|(_, release, _)| i64::try_from(*release).unwrap_or(i64::MAX)))
                .bind(told.map(|(_, _, bundle)| bundle.to_string()))
                .bind(session.step.as_str())
                .bind(millis(session.step_at))
                .bind(session.report.as_ref().map(json).transpose()?)
                .bind(json(&session.problems)?)
                .bind(&session.sent_to)
                .bind(session.last_check_in.map(millis))
                .bind(session.first_good.map(millis))
                .bind(i64::from(session.is_good))
                .bind(session.vitals.as_ref().map(json).transpose()?)
                .bind(&session.alarm)
                .bind(millis(session.scripted_at))
                .bind(millis(session.health_since));
        }
        insert.execute(&mut *connection).await?;
    }
    Ok(())
}

/// A step of a boot that was written together with a later one. Names are those of the columns.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Earlier {
    step: Step,
    at: i64,
    began: i64,
    asked: u32,
    files: u32,
    broken: u32,
    bytes: u64,
    took: u64,
    remark: Option<String>,
}

impl From<&Stage> for Earlier {
    fn from(stage: &Stage) -> Self {
        Self {
            step: stage.step,
            at: millis(stage.last),
            began: millis(stage.began),
            asked: stage.asked,
            files: stage.files,
            broken: stage.broken,
            bytes: stage.bytes,
            took: u64::try_from(stage.took.as_millis()).unwrap_or(u64::MAX),
            remark: stage.remark.as_deref().map(str::to_owned),
        }
    }
}

impl From<Earlier> for Stage {
    fn from(earlier: Earlier) -> Self {
        let Earlier { step, at, began, asked, files, broken, bytes, took, remark } = earlier;
        let (began, last, took) = (moment(began), moment(at), Duration::from_millis(took));
        Self { step, began, last, asked, files, broken, bytes, took, remark: remark.map(Arc::from) }
    }
}

/// Adds what was seen of boots; what follows each other in one boot is one row.
pub(super) async fn add_events(
    engine: &Engine,
    connection: &mut AnyConnection,
    events: &[Event],
) -> Result<(), sqlx::Error> {
    let boots: Vec<&[Event]> = events.chunk_by(|one, next| (one.mac, one.boot) == (next.mac, next.boot)).collect();
    for boots in pieces(&boots) {
        let statement = format!(
            "INSERT INTO events (mac, boot, at, step, began, asked, files, broken, bytes, took, remark, earlier) VALUES {}",
            engine.places(boots.len(), 12)
        );
        let mut insert = sqlx::query(AssertSqlSafe(statement));
        for (Event { mac, boot, stage }, earlier) in boots.iter().filter_map(|boot| boot.split_last()) {
            let earlier: Vec<Earlier> = earlier.iter().map(|event| Earlier::from(&event.stage)).collect();
            let earlier = if earlier.is_empty() { None } else { Some(json(&earlier)?) };
            insert = insert
                .bind(mac.to_string())
                .bind(millis(*boot))
                .bind(millis(stage.last))
                .bind(stage.step.as_str())
                .bind(millis(stage.began))
                .bind(i64::from(stage.asked))
                .bind(i64::from(stage.files))
                .bind(i64::from(stage.broken))
                .bind(i64::try_from(stage.bytes).unwrap_or(i64::MAX))
                .bind(i64::try_from(stage.took.as_millis()).unwrap_or(i64::MAX))
                .bind(stage.remark.as_deref())
                .bind(earlier);
        }
        insert.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Removes the boots of these machines that are too many.
pub(super) async fn drop_old_sessions(connection: &mut AnyConnection, macs: &[Mac]) -> Result<(), sqlx::Error> {
    drop_old(connection, macs, "sessions", "token", "started", KEPT_SESSIONS).await
}

/// Removes the events of these machines that are too many.
pub(super) async fn drop_old_events(connection: &mut AnyConnection, macs: &[Mac]) -> Result<(), sqlx::Error> {
    drop_old(connection, macs, "events", "id", "id", KEPT_EVENTS).await
}

/// Keeps as many rows of each of these machines in a table, the last ones by the column `order`. Of a machine that has no
/// more, nothing is looked at but the index.
async fn drop_old(
    connection: &mut AnyConnection,
    macs: &[Mac],
    table: &str,
    key: &str,
    order: &str,
    kept: i64,
) -> Result<(), sqlx::Error> {
    for macs in macs.chunks(NAMED) {
        // An address is hexadecimal digits and colons.
        let macs: Vec<String> = macs.iter().map(|mac| format!("'{mac}'")).collect();
        let statement = format!(
            "DELETE FROM {table} WHERE {key} IN (SELECT {table}.{key} FROM \
             (SELECT mac, (SELECT {order} FROM {table} AS kept WHERE kept.mac = machines.mac \
             ORDER BY {order} DESC LIMIT 1 OFFSET {kept}) AS last FROM machines WHERE mac IN ({})) AS ends \
             JOIN {table} ON {table}.mac = ends.mac AND {table}.{order} <= ends.last)",
            macs.join(", ")
        );
        sqlx::query(AssertSqlSafe(statement)).persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The rows, in pieces of few sizes.
fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rows.len())?;
        let (piece, rest) = rows.split_at(size);
        rows = rest;
        Some(piece)
    })
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_in_pieces_of_few_sizes_and_none_is_left_out() {
        let rows: Vec<usize> = (0..406).collect();
        let sizes: Vec<usize> = pieces(&rows).map(<[usize]>::len).collect();
        assert_eq!(sizes, [256, 64, 64, 16, 4, 1, 1]);
        assert_eq!(pieces(&rows).flatten().copied().collect::<Vec<_>>(), rows);
        assert_eq!(pieces::<usize>(&[]).count(), 0);
    }

    #[test]
    fn what_is_old_is_looked_for_once_in_each_boot() {
        let begun = Begun::default();
        let (one, other) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let first = [(other, at(1)), (one, at(1)), (one, at(1))];
        assert_eq!(begun.machines(&first), [one, other]);
        assert_eq!(begun.machines(&first), [one, other], "it was not written yet");
        begun.written(first);
        assert_eq!(begun.machines(&[(one, at(1)), (other, at(2))]), [other]);
    }
}
