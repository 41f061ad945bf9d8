//! What kind of trouble an error of the database is, for advice on it: most of it loses nothing, and moving the file away
//! would.

use sqlx::error::DatabaseError;

use super::FleetError;
use crate::model::database::DatabasePlace;

/// What is wrong with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A newer program wrote it.
    Newer,
    /// Another program has it for itself.
    Busy,
    /// There is no room.
    Full,
    /// This user may not read or write it.
    Refused,
    /// What is in it is not what was written.
    Damaged,
    /// The server is not there, or does not let us in.
    Unreachable,
    /// Anything else.
    Other,
}

impl FleetError {
    /// What kind of trouble it is.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Version { .. } => Trouble::Newer,
            Self::Locked { .. } => Trouble::Busy,
            Self::Damaged { .. } => Trouble::Damaged,
            Self::Database { source: sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }, .. } => {
                Trouble::Damaged
            }
            Self::Database { place: DatabasePlace::Server(_), .. } => Trouble::Unreachable,
            Self::Database { source: sqlx::Error::Io(error), .. } => match error.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Trouble::Full,
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Trouble::Refused,
                _ => Trouble::Other,
            },
            Self::Database { source, .. } => {
                of_file(source.as_database_error().and_then(DatabaseError::code).as_deref())
            }
        }
    }
}

/// By the code that SQLite gives (<https://www.sqlite.org/rescode.html>); its lowest byte is the kind, the rest the reason.
fn of_file(code: Option<&str>) -> Trouble {
    match code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff) {
        // BUSY, LOCKED.
        Some(5 | 6) => Trouble::Busy,
        // PERM, READONLY, CANTOPEN.
        Some(3 | 8 | 14) => Trouble::Refused,
        // CORRUPT, NOTADB.
        Some(11 | 26) => Trouble::Damaged,
        Some(13) => Trouble::Full,
        _ => Trouble::Other,
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, SqliteConnection};

    use super::super::Fleet;
    use super::*;

    async fn found(path: &std::path::Path) -> Trouble {
        Fleet::examine(&path.to_owned().into()).await.unwrap_err().trouble()
    }

    async fn other(path: &std::path::Path) -> SqliteConnection {
        SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap()
    }

    #[tokio::test]
    async fn each_trouble_is_told_from_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.sqlite");
        assert_eq!(Fleet::examine(&path.clone().into()).await.unwrap(), 0);
        assert!(!path.exists(), "looking makes nothing");
        drop(Fleet::open(&path.clone().into()).await.unwrap());
        assert_eq!(Fleet::examine(&path.clone().into()).await.unwrap(), 0);
        let mut connection = other(&path).await;
        let garbage = "INSERT INTO ledger (number, at, who, fact) VALUES (1, 0, 'root', 'garbage')";
        sqlx::raw_sql(garbage).execute(&mut connection).await.unwrap();
        let error = Fleet::examine(&path.clone().into()).await.unwrap_err();
        assert_eq!(error.trouble(), Trouble::Damaged);
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("fact of entry 1 of the ledger"), "{source}");
        sqlx::raw_sql("DELETE FROM ledger; PRAGMA user_version = 70").execute(&mut connection).await.unwrap();
        assert_eq!(found(&path).await, Trouble::Newer);
        let no_database = folder.path().join("no database");
        std::fs::write(&no_database, "this is no database, and never was one\n").unwrap();
        assert_eq!(found(&no_database).await, Trouble::Damaged);
        // Nobody may open it as a file, as with one of another user.
        assert_eq!(found(folder.path()).await, Trouble::Refused);
    }

    #[tokio::test]
    async fn a_page_that_is_not_as_it_was_written_is_found_although_it_can_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.sqlite");
        drop(Fleet::open(&path.clone().into()).await.unwrap());
        let mut connection = other(&path).await;
        // Nothing that is read at the start goes by this index.
        let index = "CREATE INDEX spoilt ON ledger (who); INSERT INTO ledger (number, at, who, fact) VALUES (1, 0, 'root', '{}');";
        sqlx::raw_sql(index).execute(&mut connection).await.unwrap();
        let page = "SELECT rootpage FROM sqlite_master WHERE name = 'spoilt'";
        let page: i64 = sqlx::query_scalar(page).fetch_one(&mut connection).await.unwrap();
        sqlx::raw_sql("DELETE FROM ledger; PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let size = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        let at = size * (usize::try_from(page).unwrap() - 1);
        bytes[at..at + size].fill(0xff);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(found(&path).await, Trouble::Damaged);
    }

    #[test]
    fn codes_are_told_by_their_kind() {
        for (code, trouble) in [
            ("5", Trouble::Busy),
            ("261", Trouble::Busy),
            ("8", Trouble::Refused),
            ("1544", Trouble::Refused),
            ("14", Trouble::Refused),
            ("13", Trouble::Full),
            ("11", Trouble::Damaged),
            ("267", Trouble::Damaged),
            ("10", Trouble::Other),
            ("what", Trouble::Other),
        ] {
            assert_eq!(of_file(Some(code)), trouble, "{code}");
        }
    }
}
