//! The API token: who asks, and the secret. It is never shown.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The environment variable that may hold it.
pub const TOKEN_VARIABLE: &str = "BIVOUAC_PROXMOX_TOKEN";

/// The largest file that is read.
const MAX_FILE: u64 = 4096;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Neither the file nor the variable is named.
    #[error(
        "there is no API token; write USER@REALM!NAME=SECRET into a file of mode 0600 and name it with \
         `proxmox.token-file` in the site file, or set {TOKEN_VARIABLE}"
    )]
    None,
    /// The file cannot be read.
    #[error("cannot read the API token {}, which `proxmox.token-file` of the site file names", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read it.
    #[error(
        "others than its owner can read the API token {} (mode {mode:04o}); make it private with `chmod 600 {}`",
        path.display(), path.display()
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is none.
    #[error(
        "what {0} holds is no API token; one is USER@REALM!NAME=SECRET, as `pveum user token add USER@REALM NAME` shows it"
    )]
    Form(String),
}

/// An API token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: String,
    secret: String,
}

impl Token {
    /// That of the variable, or else of the file.
    ///
    /// # Errors
    /// When there is none, others can read it, or it is no token.
    pub fn find(variable: Option<&str>, file: Option<&Path>) -> Result<Self, TokenError> {
        match (variable, file) {
            (Some(text), _) => text.parse().map_err(|()| TokenError::Form(TOKEN_VARIABLE.to_owned())),
            (None, Some(path)) => Self::load(path),
            (None, None) => Err(TokenError::None),
        }
    }

    fn load(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Readable { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
        text.parse().map_err(|()| TokenError::Form(path.display().to_string()))
    }

    /// Who asks: `USER@REALM!NAME`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What stands in the header `Authorization`.
    pub(super) fn header(&self) -> String {
        format!("PVEAPIToken={}={}", self.id, self.secret)
    }
}

impl FromStr for Token {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (id, secret) = text.trim().split_once('=').ok_or(())?;
        let (user, name) = id.split_once('!').ok_or(())?;
        let (login, realm) = user.rsplit_once('@').ok_or(())?;
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        let is_whole = [login, realm, name, secret].into_iter().all(is_word) && !id.contains(['/', ':']);
        if is_whole { Ok(Self { id: id.to_owned(), secret: secret.to_owned() }) } else { Err(()) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_shown_without_its_secret() {
        let token: Token = "boot@pve!bivouac=0e0d8d0f-s3cret\n".parse().unwrap();
        assert_eq!(token.header(), "PVEAPIToken=boot@pve!bivouac=0e0d8d0f-s3cret");
        assert_eq!(format!("{token:?} {}", token.id()), "Token(boot@pve!bivouac) boot@pve!bivouac");
        for wrong in ["", "boot@pve=x", "boot!x=y", "boot@pve!x", "boot@pve!x=", "a b@pve!x=y", "@pve!x=y"] {
            assert!(wrong.parse::<Token>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "boot@pve!bivouac=s3cret\n").unwrap();
        for (mode, is_good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o660, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let found = Token::find(None, Some(&path));
            assert_eq!(found.is_ok(), is_good, "{mode:o}: {found:?}");
        }
        assert!(Token::find(None, None).unwrap_err().to_string().contains(TOKEN_VARIABLE));
        assert!(Token::find(Some("a@b!c=d"), Some(&path)).is_ok(), "the variable goes before the file");
    }
}
