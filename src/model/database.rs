//! Where the fleet's database is: in a file of its own, or on a PostgreSQL server that several servers share.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabasePlace {
    /// An SQLite file.
    File(PathBuf),
    /// A PostgreSQL server.
    Server(ServerUrl),
}

impl DatabasePlace {
    /// Whether there is nothing to be read yet. A server is asked to find out, and a file that is out of reach may be
    /// there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::File(path) if matches!(path.try_exists(), Ok(false)))
    }
}

impl From<PathBuf> for DatabasePlace {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl fmt::Display for DatabasePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(url) => url.fmt(f),
        }
    }
}

/// The URL of a PostgreSQL database. It may have a password, which only [`Self::with_password`] gives away.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

/// What is wrong with a database's URL. Says nothing of the URL, which may have a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServerUrlError {
    /// It is of something else, or of nothing.
    #[error("write a URL such as \"postgres://user@host/database\", or leave it out for a file in the state folder")]
    NoServer,
    /// Where a password would be shown with the rest.
    #[error("a password stands before the `@`, as in \"postgres://user:password@host/database\", or in PGPASSWORD")]
    PasswordParameter,
}

impl ServerUrl {
    /// All of it, to connect with.
    #[must_use]
    pub fn with_password(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or(ServerUrlError::NoServer)?;
        let (authority, path) = rest.split_once('/').ok_or(ServerUrlError::NoServer)?;
        let (database, parameters) = path.split_once('?').unwrap_or((path, ""));
        // A `/` or `?` of a password that is not escaped would end it early, and the rest would be shown.
        if authority.is_empty() || database.is_empty() || path.contains('@') || text.contains(char::is_whitespace) {
            return Err(ServerUrlError::NoServer);
        }
        // An escaped letter of the name would be read as that letter.
        let names = parameters.split('&').map(|parameter| parameter.split('=').next().unwrap_or_default());
        if names.into_iter().any(|name| name == "password" || name.contains('%')) {
            return Err(ServerUrlError::PasswordParameter);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else { return Ok(()) };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        write!(f, "{scheme}://")?;
        if let Some((who, host)) = authority.rsplit_once('@') {
            let user = who.split_once(':').map_or(who, |(user, _)| user);
            write!(f, "{user}@{host}/{path}")
        } else {
            write!(f, "{authority}/{path}")
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_out_of_reach_may_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        assert!(DatabasePlace::File(file.clone()).is_absent());
        std::fs::write(&file, "").unwrap();
        assert!(!DatabasePlace::File(file.clone()).is_absent());
        // The system does not look there, as in a folder of another user.
        assert!(!DatabasePlace::File(file.join("fleet.sqlite")).is_absent());
    }

    #[test]
    fn a_password_is_never_shown() {
        let url: ServerUrl = "postgres://bivouac:s3:cr@et@db.example:5433/fleet?sslmode=require".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://bivouac@db.example:5433/fleet?sslmode=require");
        assert!(!format!("{:?}", DatabasePlace::Server(url.clone())).contains("s3"));
        assert!(url.with_password().contains("s3:cr@et"));
        for plain in ["postgres://db/fleet", "postgresql://bivouac@localhost/fleet?host=/run/postgresql"] {
            assert_eq!(plain.parse::<ServerUrl>().unwrap().to_string(), plain);
        }
    }

    #[test]
    fn what_is_no_url_of_a_database_is_refused_without_being_repeated() {
        let cut_off = "postgres://bivouac:half/s3cret@db/fleet";
        for text in
            ["", "fleet.sqlite", "mysql://db/fleet", "postgres://db", "postgres://db/", "postgres:///f", cut_off]
        {
            assert_eq!(text.parse::<ServerUrl>(), Err(ServerUrlError::NoServer), "{text}");
        }
        for text in ["postgres://db/fleet?password=s3cret", "postgres://db/fleet?user=a&p%61ssword=s3cret"] {
            assert_eq!(text.parse::<ServerUrl>(), Err(ServerUrlError::PasswordParameter), "{text}");
        }
    }
}
