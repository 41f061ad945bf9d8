//! The fleet in its database: one row for each machine, one for each of its boots, and what happened at each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::any::AnyRow;
use sqlx::error::DatabaseError;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::behind::Write;
use super::engine::Engine;
use super::journal::Boot;
use super::others::{Fresh, Others};
use super::roster::MAX_EARLIER;
use super::rows::{self, Begun, Earlier};
use super::{EarlierBoots, Event, FleetError, Machine, Made, Session, Told};
use crate::model::boot::Step;
use crate::model::boot_guard::Attempts;
use crate::model::database::DatabasePlace;
use crate::model::digest::Digest;
use crate::model::identity::Identity;
use crate::model::identity::evidence::Conflict;
use crate::model::ledger::Entry;
use crate::model::mac::Mac;
use crate::model::timeline::Stage;
use crate::model::token::Token;

/// What makes the database, step by step, in words that both kinds of databases know, or that [`Engine`] translates.
const MIGRATIONS: [&str; 7] = [
    include_str!("schema.sql"),
    include_str!("events.sql"),
    include_str!("health.sql"),
    include_str!("ledger.sql"),
    include_str!("shared.sql"),
    include_str!("identity.sql"),
    include_str!("together.sql"),
];

/// The version this program reads and writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// The condition that every machine meets.
const EVERY_MACHINE: &str = "TRUE";

/// In the place of a report where none is wanted.
const NO_REPORT: &str = "CAST(NULL AS TEXT)";

/// How many events are read at once.
const READ_EVENTS: i64 = 1000;

/// The open database.
#[derive(Debug)]
pub(super) struct Database {
    engine: Engine,
    others: Others,
    begun: Begun,
    /// Held while machines are written, and while those are read that others wrote: whoever read meanwhile would take in
    /// what is older than what the writer found.
    pub(super) writing: tokio::sync::Mutex<()>,
}

/// What others wrote.
#[derive(Debug, Default)]
pub(super) struct Theirs {
    /// Machines that other servers saw, as they are now.
    pub(super) machines: Vec<Machine>,
    /// What was decided, in order.
    pub(super) entries: Vec<Entry>,
}

/// What is written for one change: the machine with its current boot, and without what is never written.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) identity: Arc<Identity>,
    pub(super) first_seen: SystemTime,
    pub(super) last_seen: SystemTime,
    pub(super) session: Session,
    pub(super) attempts: Attempts,
    pub(super) conflicts: Vec<Conflict>,
}

impl Row {
    pub(super) fn of(machine: &Machine) -> Self {
        let Machine { identity, first_seen, last_seen, session, attempts, conflicts, .. } = machine;
        Self {
            identity: Arc::clone(identity),
            first_seen: *first_seen,
            last_seen: *last_seen,
            session: session.clone(),
            attempts: attempts.clone(),
            conflicts: conflicts.clone(),
        }
    }

    pub(super) fn mac(&self) -> Mac {
        self.identity.mac
    }

    /// The boot it is of.
    fn boot(&self) -> (Mac, SystemTime) {
        (self.identity.mac, self.session.started)
    }

    /// Whether it is of the first boot of its machine, before which there was nothing.
    fn is_first(&self) -> bool {
        self.session.started == self.first_seen
    }

    /// Whether nobody knows yet who the machine is: all that was seen of it is its firmware, at its first boot. Addresses
    /// are free to invent, and the other servers hear of a machine when it is worth something.
    fn is_bare(&self) -> bool {
        self.is_first() && self.session.step < Step::Script
    }
}

impl Database {
    pub(super) async fn open(place: &DatabasePlace) -> Result<Self, FleetError> {
        let engine = Engine::open(place, &MIGRATIONS).await?;
        let (others, begun, writing) = (Others::new(), Begun::default(), tokio::sync::Mutex::default());
        Ok(Self { engine, others, begun, writing })
    }

    /// Looks for damage.
    pub(super) async fn check(&self) -> Result<(), FleetError> {
        self.engine.check().await
    }

    /// Every machine with its last boots, by address, and with what each reported last, which may be long.
    pub(super) async fn load(&self) -> Result<Vec<Machine>, FleetError> {
        let load = async {
            let mut connection = self.engine.pool.acquire().await?;
            load(&mut connection, "CASE WHEN place = 1 THEN report END", EVERY_MACHINE).await
        };
        load.await.map_err(|error| self.failed(error))
    }

    /// Every machine with its last boots, by address. What others write from now on is found by [`Self::look`].
    pub(super) async fn load_without_reports(&self) -> Result<Vec<Machine>, FleetError> {
        let load = async {
            let mut connection = self.engine.pool.acquire().await?;
            let last = Others::last(&mut connection).await?;
            let machines = load(&mut connection, NO_REPORT, EVERY_MACHINE).await?;
            self.others.seen(last);
            Ok(machines)
        };
        load.await.map_err(|error: sqlx::Error| self.failed(error))
    }

    /// What others have written: machines since the last look, and entries of the ledger after the one numbered `after`.
    /// Waits for no writer, who reads what others wrote himself.
    pub(super) async fn look(&self, after: u64) -> Result<Theirs, sqlx::Error> {
        let mut theirs = Theirs::default();
        let mut connection = self.engine.pool.acquire().await?;
        // Mostly there is nothing, and each statement costs two changes of threads.
        let last = "SELECT last, (SELECT COALESCE(MAX(number), 0) FROM ledger) FROM changes";
        let (change, entry): (i64, i64) = sqlx::query_as(last).fetch_one(&mut *connection).await?;
        if entry > i64::try_from(after).unwrap_or(i64::MAX) {
            theirs.entries = entries(&mut connection, after).await?;
        }
        if !self.others.has_seen(change)
            && let Ok(_writing) = self.writing.try_lock()
        {
            // After the number of the change: what is written meanwhile is read again then.
            theirs.machines = load(&mut connection, NO_REPORT, &self.others.since()).await?;
            self.others.note(&theirs.machines);
            self.others.seen(change);
        }
        Ok(theirs)
    }

    /// The machine of which a boot was given this token, by whichever server.
    pub(super) async fn machine_with(&self, token: Token) -> Result<Option<Machine>, sqlx::Error> {
        let mut connection = self.engine.pool.acquire().await?;
        let found = sqlx::query_scalar("SELECT mac FROM sessions WHERE token = $1 AND bundle IS NOT NULL");
        let found: Option<String> = found.bind(token.to_string()).fetch_optional(&mut *connection).await?;
        let Some(mac) = found else { return Ok(None) };
        let mac: Mac = parsed("mac", &mac)?;
        Ok(load(&mut connection, NO_REPORT, &format!("mac = '{mac}'")).await?.pop())
    }

    /// The events of a machine that were written after those numbered `after`, oldest first, with their numbers; those
    /// that were written together have the same one. Not many more than a thousand: whoever wants all asks again.
    pub(super) async fn events(&self, mac: &Mac, after: i64) -> Result<Vec<(i64, Event)>, FleetError> {
        let rows = sqlx::query(
            "SELECT id, mac, boot, at, step, began, asked, files, broken, bytes, took, remark, earlier FROM events \
             WHERE mac = $1 AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(mac.to_string())
        .bind(after)
        .bind(READ_EVENTS)
        .fetch_all(&self.engine.pool)
        .await
        .map_err(|error| self.failed(error))?;
        let events = rows.iter().map(read_events).collect::<Result<Vec<_>, _>>().map_err(|error| self.failed(error))?;
        Ok(events.into_iter().flatten().collect())
    }

    /// What each boot of a machine was sent to that was sent to no bundle, by when it began.
    pub(super) async fn sent_to(&self, mac: &Mac) -> Result<BTreeMap<SystemTime, String>, FleetError> {
        let rows = sqlx::query(
            "SELECT started, sent_to FROM sessions WHERE mac = $1 AND sent_to IS NOT NULL AND bundle IS NULL",
        )
        .bind(mac.to_string())
        .fetch_all(&self.engine.pool)
        .await
        .map_err(|error| self.failed(error))?;
        let read = |row: &AnyRow| Ok((moment(row.try_get("started")?), row.try_get("sent_to")?));
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| self.failed(error))
    }

    /// The entries of the ledger after the one numbered `after`, in order.
    pub(super) async fn entries(&self, after: u64) -> Result<Vec<Entry>, FleetError> {
        let read = async { entries(&mut *self.engine.pool.acquire().await?, after).await };
        read.await.map_err(|error| self.failed(error))
    }

    /// Adds entries, all or none; false when somebody else has added one of these numbers.
    pub(super) async fn append(&self, entries: &[Entry]) -> Result<bool, FleetError> {
        match self.try_append(entries).await {
            Ok(()) => Ok(true),
            Err(error) if error.as_database_error().is_some_and(DatabaseError::is_unique_violation) => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn try_append(&self, entries: &[Entry]) -> Result<(), sqlx::Error> {
        let mut transaction = self.engine.begin().await?;
        for Entry { number, at, who, why, fact } in entries {
            let fact = serde_json::to_string(fact).map_err(|error| sqlx::Error::Encode(error.into()))?;
            sqlx::query("INSERT INTO ledger (number, at, who, why, fact) VALUES ($1, $2, $3, $4, $5)")
                .bind(i64::try_from(*number).unwrap_or(i64::MAX))
                .bind(millis(*at))
                .bind(who)
                .bind(why)
                .bind(fact)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    }

    /// Removes all that was written of a machine but the ledger.
    pub(super) async fn forget(&self, mac: &Mac) -> Result<(), FleetError> {
        let forget = async {
            let mut transaction = self.engine.begin().await?;
            // A server that writes the machine at this moment would have its boots refer to nothing.
            Others::next(&mut transaction).await?;
            forget(&mut transaction, mac).await?;
            transaction.commit().await
        };
        forget.await.map_err(|error| self.failed(error))
    }

    /// Writes changes in one transaction; the machines that other servers have written since the last look, as they were
    /// before. What is older than what they wrote is left out.
    pub(super) async fn save(&self, writes: &[Write], events: &[Event]) -> Result<Vec<Machine>, sqlx::Error> {
        let _writing = self.writing.lock().await;
        let mut transaction = self.engine.begin().await?;
        let change = Others::next(&mut transaction).await?;
        let theirs = match self.others.has_seen(change - 1) {
            true => Vec::new(),
            false => load(&mut transaction, NO_REPORT, &self.others.since()).await?,
        };
        self.others.note(&theirs);
        let (mut touched, mut told) = (BTreeSet::new(), BTreeSet::new());
        // Of each machine only its last state is to be kept, and what it reported, which only one row has.
        let last: HashMap<Mac, usize> =
            writes.iter().enumerate().filter_map(|(number, write)| Some((write.row()?.mac(), number))).collect();
        // Nothing is older than they are.
        self.begun.written(writes.iter().filter_map(Write::row).filter(|row| row.is_first()).map(|row| row.boot()));
        let mut gathered: Vec<&Row> = Vec::new();
        let mut boots: Vec<(Mac, SystemTime)> = events.iter().map(|event| (event.mac, event.boot)).collect();
        for (number, write) in writes.iter().enumerate() {
            match write {
                Write::Save(row, _) | Write::Seen(row) => {
                    if last.get(&row.mac()) == Some(&number) || row.session.report.is_some() {
                        // One statement can write no row twice.
                        if !touched.insert(row.mac()) {
                            self.write(&mut transaction, &std::mem::take(&mut gathered)).await?;
                        }
                        if !row.is_bare() {
                            told.insert(row.mac());
                        }
                        gathered.push(row);
                        boots.push(row.boot());
                    }
                }
                Write::Forget(mac) => {
                    self.write(&mut transaction, &std::mem::take(&mut gathered)).await?;
                    self.others.forget(mac);
                    touched.remove(mac);
                    told.remove(mac);
                    forget(&mut transaction, mac).await?;
                }
                Write::Made(mac, made, content) => save_made(&mut transaction, mac, made, content).await?,
                Write::Flush(_) => {}
            }
        }
        self.write(&mut transaction, &gathered).await?;
        rows::add_events(&self.engine, &mut transaction, events).await?;
        let begun = self.begun.machines(&boots);
        rows::drop_old_sessions(&mut transaction, &begun).await?;
        rows::drop_old_events(&mut transaction, &begun).await?;
        self.others.touch(&mut transaction, change, &told).await?;
        transaction.commit().await?;
        self.others.seen(change);
        self.begun.written(boots);
        Ok(theirs)
    }

    /// Writes machines with their boots, each once; what is older than what other servers wrote is left out.
    async fn write(&self, connection: &mut AnyConnection, rows: &[&Row]) -> Result<(), sqlx::Error> {
        let (mut machines, mut kept, mut sessions) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows.iter().copied() {
            let Fresh { machine, session } = self.others.fresh(row);
            if machine {
                machines.push(row)
            } else {
                kept.push(row)
            }
            if session {
                sessions.push(row);
            }
        }
        rows::save_machines(&self.engine, connection, &machines).await?;
        rows::keep_machines(&self.engine, connection, &kept).await?;
        rows::save_sessions(&self.engine, connection, &sessions).await
    }

    /// The last good files of each machine, by their digests; contents that nobody has any more go.
    pub(super) async fn load_made(&self) -> Result<HashMap<Mac, Made>, FleetError> {
        let clean_up = async {
            let mut transaction = self.engine.begin().await?;
            // A server that writes a machine's files at this moment would refer to what is deleted here.
            Others::next(&mut transaction).await?;
            let unused = "DELETE FROM made WHERE files NOT IN (SELECT files FROM last_made)";
            sqlx::query(unused).execute(&mut *transaction).await?;
            transaction.commit().await
        };
        clean_up.await.map_err(|error| self.failed(error))?;
        self.made().await
    }

    /// The last good files of each machine, by their digests.
    pub(super) async fn made(&self) -> Result<HashMap<Mac, Made>, FleetError> {
        let rows = sqlx::query("SELECT mac, profile, release, bundle, files FROM last_made")
            .fetch_all(&self.engine.pool)
            .await
            .map_err(|error| self.failed(error))?;
        let made = |row: &AnyRow| {
            let text = |column: &str| row.try_get::<String, _>(column);
            let made = Made {
                profile: parsed("profile", &text("profile")?)?,
                release: u64::try_from(row.try_get::<i64, _>("release")?).unwrap_or_default(),
                bundle: parsed("bundle", &text("bundle")?)?,
                files: parsed("files", &text("files")?)?,
            };
            Ok((parsed("mac", &text("mac")?)?, made))
        };
        rows.iter().map(made).collect::<Result<_, _>>().map_err(|error| self.failed(error))
    }

    /// The content of a machine's files.
    pub(super) async fn made_content(&self, files: &Digest) -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT content FROM made WHERE files = $1")
            .bind(files.to_string())
            .fetch_optional(&self.engine.pool)
            .await
    }

    pub(super) fn failed(&self, source: sqlx::Error) -> FleetError {
        self.engine.failed(source)
    }
}

/// The machines that meet a condition on their address, with their last boots, by address.
async fn load(connection: &mut AnyConnection, report: &str, whose: &str) -> Result<Vec<Machine>, sqlx::Error> {
    let query = format!(
        "SELECT machines.mac, uuid, serial, platform, buildarch, hardware, conflicts, first_seen, last_seen, attempts, \
         token, started, profile, release, bundle, sent_to, step, step_at, {report} AS report, problems, \
         last_check_in, first_good, good, vitals, alarm, scripted, health_since \
         FROM machines JOIN (SELECT *, ROW_NUMBER() OVER \
         (PARTITION BY mac ORDER BY step_at DESC, started DESC) AS place FROM sessions WHERE {whose}) AS boots \
         ON boots.mac = machines.mac WHERE place <= {} ORDER BY machines.mac, place",
        MAX_EARLIER + 1
    );
    let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(&mut *connection).await?;
    let mut machines: Vec<Machine> = Vec::new();
    for row in &rows {
        let machine = machine(row)?;
        match machines.last_mut().filter(|last| last.identity.mac == machine.identity.mac) {
            Some(last) if machine.session.token.is_some() => {
                last.earlier.push_older(Session { report: None, vitals: None, ..machine.session });
            }
            Some(_) => {}
            None => machines.push(machine),
        }
    }
    let mut good = good(connection, whose).await?;
    for machine in &mut machines {
        machine.good = good.remove(&machine.identity.mac);
    }
    Ok(machines)
}

/// What each of these machines last came up with as it was told to.
async fn good(connection: &mut AnyConnection, whose: &str) -> Result<HashMap<Mac, Told>, sqlx::Error> {
    let query = format!(
        "SELECT mac, profile, release, bundle FROM sessions \
         WHERE first_good IS NOT NULL AND bundle IS NOT NULL AND {whose} ORDER BY first_good"
    );
    let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(connection).await?;
    // The last of each machine stays.
    let mut good = HashMap::new();
    for row in &rows {
        if let Some(told) = told(row)? {
            good.insert(parsed("mac", &row.try_get::<String, _>("mac")?)?, told);
        }
    }
    Ok(good)
}

async fn entries(connection: &mut AnyConnection, after: u64) -> Result<Vec<Entry>, sqlx::Error> {
    let rows = sqlx::query("SELECT number, at, who, why, fact FROM ledger WHERE number > $1 ORDER BY number")
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &AnyRow) -> Result<Entry, sqlx::Error> {
    let fact: String = row.try_get("fact")?;
    let number = u64::try_from(row.try_get::<i64, _>("number")?).unwrap_or_default();
    let damaged = |error: serde_json::Error| sqlx::Error::ColumnDecode {
        index: format!("fact of entry {number} of the ledger"),
        source: error.into(),
    };
    Ok(Entry {
        number,
        at: moment(row.try_get("at")?),
        who: row.try_get("who")?,
        why: row.try_get("why")?,
        fact: serde_json::from_str(&fact).map_err(damaged)?,
    })
}

async fn save_made(connection: &mut AnyConnection, mac: &Mac, made: &Made, content: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO made (files, content) VALUES ($1, $2) ON CONFLICT (files) DO NOTHING")
        .bind(made.files.to_string())
        .bind(content)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO last_made (mac, profile, release, bundle, files) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (mac) DO UPDATE SET profile = excluded.profile, release = excluded.release, \
         bundle = excluded.bundle, files = excluded.files",
    )
    .bind(mac.to_string())
    .bind(made.profile.to_string())
    .bind(i64::try_from(made.release).unwrap_or(i64::MAX))
    .bind(made.bundle.to_string())
    .bind(made.files.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// The events of a row, with its number.
fn read_events(row: &AnyRow) -> Result<Vec<(i64, Event)>, sqlx::Error> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let time = |column: &str| row.try_get::<i64, _>(column).map(moment);
    let count = |column: &str| row.try_get::<i64, _>(column).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    let number = |column: &str| row.try_get::<i64, _>(column).map(|number| u64::try_from(number).unwrap_or_default());
    let stage = Stage {
        step: parsed("step", &text("step")?)?,
        began: time("began")?,
        last: time("at")?,
        asked: count("asked")?,
        files: count("files")?,
        broken: count("broken")?,
        bytes: number("bytes")?,
        took: Duration::from_millis(number("took")?),
        remark: row.try_get::<Option<String>, _>("remark")?.map(Arc::from),
    };
    let earlier = row.try_get::<Option<String>, _>("earlier")?.map(|text| serde_json::from_str::<Vec<Earlier>>(&text));
    let earlier = earlier.transpose().map_err(|error| sqlx::Error::Decode(error.into()))?.unwrap_or_default();
    let (id, mac, boot) = (row.try_get("id")?, parsed("mac", &text("mac")?)?, time("boot")?);
    let stages = earlier.into_iter().map(Stage::from).chain([stage]);
    Ok(stages.map(|stage| (id, Event { mac, boot, stage })).collect())
}

async fn forget(connection: &mut AnyConnection, mac: &Mac) -> Result<(), sqlx::Error> {
    for statement in [
        "DELETE FROM sessions WHERE mac = $1",
        "DELETE FROM machines WHERE mac = $1",
        "DELETE FROM last_made WHERE mac = $1",
        "DELETE FROM events WHERE mac = $1",
        "DELETE FROM touched WHERE mac = $1",
    ] {
        sqlx::query(statement).bind(mac.to_string()).execute(&mut *connection).await?;
    }
    Ok(())
}

fn machine(row: &AnyRow) -> Result<Machine, sqlx::Error> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let optional = |column: &str| row.try_get::<Option<String>, _>(column);
    let time = |column: &str| row.try_get::<i64, _>(column).map(moment);
    let optional_time = |column: &str| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(moment));
    let mac = parsed("mac", &text("mac")?)?;
    let told = told(row)?;
    let json = |error: serde_json::Error| sqlx::Error::Decode(error.into());
    let report = optional("report")?.map(|text| serde_json::from_str(&text)).transpose().map_err(json)?;
    let problems = optional("problems")?.map(|text| serde_json::from_str(&text)).transpose().map_err(json)?;
    let vitals = optional("vitals")?.map(|text| serde_json::from_str(&text)).transpose().map_err(json)?;
    let attempts = optional("attempts")?.map(|text| serde_json::from_str(&text)).transpose().map_err(json)?;
    let hardware = optional("hardware")?.map(|text| serde_json::from_str(&text)).transpose().map_err(json)?;
    let conflicts = optional("conflicts")?.map(|text| serde_json::from_str(&text)).transpose().map_err(json)?;
    // What a boot has in its place that was given none is a name.
    let token = if told.is_some() { Some(parsed("token", &text("token")?)?) } else { None };
    // Older programs wrote neither.
    let started = time("started")?;
    let step_at = time("step_at")?;
    Ok(Machine {
        identity: Identity {
            mac,
            uuid: optional("uuid")?,
            serial: optional("serial")?,
            platform: optional("platform")?,
            buildarch: optional("buildarch")?,
            hardware: hardware.unwrap_or_default(),
        }
        .into(),
        first_seen: time("first_seen")?,
        last_seen: time("last_seen")?,
        session: Session {
            token,
            started,
            turn: 0,
            told,
            sent_to: optional("sent_to")?,
            step: parsed("step", &text("step")?)?,
            step_at,
            report,
            problems: problems.unwrap_or_default(),
            alarm: optional("alarm")?,
            scripted_at: optional_time("scripted")?.unwrap_or(started),
            health_since: optional_time("health_since")?.unwrap_or(step_at),
            last_check_in: optional_time("last_check_in")?,
            is_good: row.try_get::<i64, _>("good")? != 0,
            first_good: optional_time("first_good")?,
            vitals,
            inventory: None,
        },
        earlier: EarlierBoots::default(),
        good: None,
        attempts: attempts.unwrap_or_default(),
        conflicts: conflicts.unwrap_or_default(),
        rounds: Vec::new(),
        seen: Boot::begin(started),
        words: None,
    })
}

fn told(row: &AnyRow) -> Result<Option<Told>, sqlx::Error> {
    let text = |column: &str| row.try_get::<Option<String>, _>(column);
    Ok(match (text("profile")?, row.try_get::<Option<i64>, _>("release")?, text("bundle")?) {
        (Some(profile), Some(release), Some(bundle)) => {
            Some((parsed("profile", &profile)?, u64::try_from(release).unwrap_or_default(), parsed("bundle", &bundle)?))
        }
        _ => None,
    })
}

fn parsed<T: std::str::FromStr>(column: &str, text: &str) -> Result<T, sqlx::Error>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().map_err(|error: T::Err| sqlx::Error::ColumnDecode { index: column.to_owned(), source: error.into() })
}

pub(super) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn moment(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
