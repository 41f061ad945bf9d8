//! The two kinds of databases behind one set of statements: how each is opened, brought up to date and locked. All
//! other SQL is the same for both.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_drivers};
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Transaction};

use super::FleetError;
use crate::model::database::DatabasePlace;

/// How long a statement waits for another program's lock, and for a connection to a server.
const BUSY: Duration = Duration::from_secs(5);

/// How many connections to a server there may be: one writes, the others read meanwhile.
const CONNECTIONS: u32 = 4;

/// The number of the advisory lock under which a server's tables are made. Any number will do that nobody else takes.
const MAKING: i64 = 0x0062_6976_6f75_6163;

/// What SQLite says when another program writes to the file, for longer than [`BUSY`].
const SQLITE_BUSY: &str = "5";

/// What SQLite says when the disk is full.
const SQLITE_FULL: &str = "13";

/// What ends a path in a URL too early.
const PATH: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#').add(b' ');

/// An open database of either kind.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) pool: AnyPool,
    place: DatabasePlace,
}

impl Engine {
    /// Opens the database and takes the steps among `migrations` that were not taken yet.
    pub(super) async fn open(place: &DatabasePlace, migrations: &[&str]) -> Result<Self, FleetError> {
        let engine = Self::connect(place).await?;
        engine.prepare(migrations).await?;
        Ok(engine)
    }

    /// Opens the database as it is.
    pub(super) async fn connect(place: &DatabasePlace) -> Result<Self, FleetError> {
        static DRIVERS: Once = Once::new();
        // Fails when somebody has installed some already, which are the same ones then.
        DRIVERS.call_once(|| drop(install_drivers(&[sqlx::sqlite::any::DRIVER, sqlx::postgres::any::DRIVER])));
        let pool = match place {
            DatabasePlace::File(path) => open_file(path).await,
            DatabasePlace::Server(url) => open_server(url.with_password()).await,
        };
        Ok(Self { pool: pool.map_err(|source| failed(place, source))?, place: place.clone() })
    }

    /// Begins to write. Others can neither have written what this does not see nor write before it is committed, except
    /// to a server's tables that this does not touch.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.pool
            .begin_with(match self.place {
                DatabasePlace::File(_) => "BEGIN IMMEDIATE",
                DatabasePlace::Server(_) => "BEGIN",
            })
            .await
    }

    /// The places of the values of so many rows: `(?, ?), (?, ?)`, and `($1, $2), ($3, $4)` for a server. A number is a
    /// name to SQLite, which looks for each among all before it: thousands of them take longer than the rows.
    pub(super) fn places(&self, rows: usize, columns: usize) -> String {
        let mut text = String::with_capacity(rows * columns * "$12345, ".len());
        for place in 0..rows * columns {
            text.push_str(match place % columns {
                0 if place > 0 => "), (",
                0 => "(",
                _ => ", ",
            });
            match self.place {
                DatabasePlace::File(_) => text.push('?'),
                // A text has always room.
                DatabasePlace::Server(_) => drop(write!(text, "${}", place + 1)),
            }
        }
        text.push(')');
        text
    }

    /// Has a file look whether what is in it holds together, while others may read and write it. A server looks after
    /// itself.
    pub(super) async fn check(&self) -> Result<(), FleetError> {
        let DatabasePlace::File(_) = self.place else { return Ok(()) };
        let found = sqlx::query_scalar::<_, String>("PRAGMA quick_check(1)").fetch_one(&self.pool).await;
        match found.map_err(|error| self.failed(error))? {
            good if good == "ok" => Ok(()),
            found => Err(FleetError::Damaged { place: self.place.clone(), found }),
        }
    }

    pub(super) fn failed(&self, source: sqlx::Error) -> FleetError {
        failed(&self.place, source)
    }

    async fn prepare(&self, migrations: &[&str]) -> Result<(), FleetError> {
        let version = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
        // Looked at without a lock first: reading a database that somebody writes must not wait for him.
        let mut connection = self.pool.acquire().await.map_err(|error| self.failed(error))?;
        if self.version(&mut connection).await.map_err(|error| self.failed(error))? == version {
            return Ok(());
        }
        drop(connection);
        let mut transaction = self.begin().await.map_err(|error| self.failed(error))?;
        if matches!(self.place, DatabasePlace::Server(_)) {
            let lock = "SELECT 1 FROM pg_advisory_xact_lock($1)";
            let locked = sqlx::query(lock).bind(MAKING).execute(&mut *transaction).await;
            locked.map_err(|error| self.failed(error))?;
        }
        let found = self.version(&mut transaction).await.map_err(|error| self.failed(error))?;
        let made = usize::try_from(found).ok().filter(|made| *made <= migrations.len());
        let made = made.ok_or_else(|| FleetError::Version { place: self.place.clone(), found })?;
        let missing: String = migrations.iter().skip(made).copied().collect();
        let counted = format!("{}\n{}", self.dialect(&missing), self.counting(version));
        sqlx::raw_sql(AssertSqlSafe(counted)).execute(&mut *transaction).await.map_err(|error| self.failed(error))?;
        transaction.commit().await.map_err(|error| self.failed(error))
    }

    /// How many of the migrations were made.
    async fn version(&self, connection: &mut AnyConnection) -> Result<i64, sqlx::Error> {
        match self.place {
            DatabasePlace::File(_) => sqlx::query_scalar("PRAGMA user_version").fetch_one(connection).await,
            DatabasePlace::Server(_) => {
                let is_there = "SELECT to_regclass('schema_version') IS NOT NULL";
                if !sqlx::query_scalar::<_, bool>(is_there).fetch_one(&mut *connection).await? {
                    return Ok(0);
                }
                sqlx::query_scalar("SELECT version FROM schema_version").fetch_one(connection).await
            }
        }
    }

    /// The statements that say how many migrations were made.
    fn counting(&self, version: i64) -> String {
        match self.place {
            DatabasePlace::File(_) => format!("PRAGMA user_version = {version};"),
            DatabasePlace::Server(_) => format!(
                "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL); \
                 DELETE FROM schema_version; INSERT INTO schema_version (version) VALUES ({version});"
            ),
        }
    }

    /// A migration in the words of this kind of database. They differ in how rows are numbered.
    fn dialect(&self, migration: &str) -> String {
        match self.place {
            DatabasePlace::File(_) => migration.to_owned(),
            DatabasePlace::Server(_) => migration
                .replace("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
        }
    }
}

// A pool tries again for a while and then says only that it took too long. A first connection by itself says at once what
// is wrong.

async fn open_file(path: &Path) -> Result<AnyPool, sqlx::Error> {
    let path = std::path::absolute(path)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let path = path.to_str().ok_or_else(|| sqlx::Error::Configuration("the path is not UTF-8".into()))?;
    let options: AnyConnectOptions = format!("sqlite://{}?mode=rwc", utf8_percent_encode(path, PATH)).parse()?;
    // WAL lets `bivouac machines` read while the server writes; NORMAL loses nothing when the program is killed.
    let pragmas =
        format!("PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;", BUSY.as_millis());
    let mut first = AnyConnection::connect_with(&options).await?;
    sqlx::raw_sql(AssertSqlSafe(pragmas.clone())).execute(&mut first).await?;
    first.close().await?;
    // A file does not hang up, so a connection need not be tried before each use.
    let pool =
        AnyPoolOptions::new().max_connections(1).test_before_acquire(false).after_connect(move |connection, _| {
            let pragmas = AssertSqlSafe(pragmas.clone());
            Box::pin(async move { sqlx::raw_sql(pragmas).execute(connection).await.map(drop) })
        });
    pool.connect_with(options).await
}

async fn open_server(url: &str) -> Result<AnyPool, sqlx::Error> {
    let options: AnyConnectOptions = url.parse()?;
    let first = tokio::time::timeout(BUSY, AnyConnection::connect_with(&options)).await;
    first.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??.close().await?;
    AnyPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(BUSY).connect_with(options).await
}

fn failed(place: &DatabasePlace, source: sqlx::Error) -> FleetError {
    let code = source.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let place = place.clone();
    match (&place, code.as_deref()) {
        (DatabasePlace::File(_), Some(SQLITE_BUSY)) => FleetError::Locked { place },
        // As every other full disk is said.
        (DatabasePlace::File(_), Some(SQLITE_FULL)) => {
            FleetError::Database { place, source: std::io::Error::from(std::io::ErrorKind::StorageFull).into() }
        }
        _ => FleetError::Database { place, source },
    }
}
