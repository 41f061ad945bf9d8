//! Where tests have their databases: each test of the fleet runs on both kinds.

#[path = "../../tests/it/support/postgres.rs"]
mod postgres;

use sqlx::{Any, AnyPool, Transaction};
use tempfile::TempDir;

use super::engine::Engine;
pub(super) use postgres::Postgres;

use crate::model::database::DatabasePlace;

/// An empty database, or none yet.
pub(super) struct Bed {
    pub(super) place: DatabasePlace,
    _folder: TempDir,
}

impl Bed {
    /// A file in a folder that is not there yet.
    pub(super) fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made on first use, 100 %?/fleet.sqlite");
        Self { place: DatabasePlace::File(path), _folder: folder }
    }

    /// A database of a server; nothing where there is no PostgreSQL.
    pub(super) fn server() -> Option<Self> {
        Postgres::shared().map(Self::of)
    }

    /// A database of this server.
    pub(super) fn of(server: &Postgres) -> Self {
        let url = server.database().parse().unwrap();
        Self { place: DatabasePlace::Server(url), _folder: tempfile::tempdir().unwrap() }
    }

    /// Connections of somebody else, who finds no tables that nobody has made yet.
    pub(super) async fn other(&self) -> AnyPool {
        Engine::connect(&self.place).await.unwrap().pool
    }

    /// Keeps everybody else from writing until it is rolled back. The tables have to be there.
    pub(super) async fn lock(&self) -> Transaction<'static, Any> {
        let other = self.other().await;
        match self.place {
            DatabasePlace::File(_) => other.begin_with("BEGIN EXCLUSIVE").await.unwrap(),
            DatabasePlace::Server(_) => {
                let mut lock = other.begin().await.unwrap();
                sqlx::query("LOCK TABLE machines, sessions, events").execute(&mut *lock).await.unwrap();
                lock
            }
        }
    }
}

/// Runs tests, each of which takes a [`Bed`], on both kinds of databases.
macro_rules! on_both {
    ($($name:ident,)*) => {
        mod on_sqlite {
            $(#[tokio::test] async fn $name() { super::$name(&super::Bed::file()).await; })*
        }
        mod on_postgres {
            $(#[tokio::test] async fn $name() {
                if let Some(bed) = super::Bed::server() {
                    super::$name(&bed).await;
                }
            })*
        }
    };
}
pub(super) use on_both;
