//! Which cluster is meant, and how it is reached.

use std::path::PathBuf;
use std::time::Duration;

use super::{ANSWER_TIME, Access, Client, ProxmoxError, TOKEN_VARIABLE, Token, Trust};

/// A cluster as the site file names it. The token and the authority's certificate are read when a client is made, so
/// that new ones count without a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The address of its API without a path, if it has one.
    pub server: Option<String>,
    /// The file with the token.
    pub token_file: Option<PathBuf>,
    /// By what the server is known.
    pub trust: Trust,
    /// The tag by which virtual machines are ours.
    pub tag: String,
    /// How long a task may take.
    pub task_time: Duration,
}

impl Place {
    /// A client with the token of the environment, or else of the file.
    ///
    /// # Errors
    /// When no server is named, or there is no token or certificate that can be used.
    pub fn client(&self) -> Result<Client, ProxmoxError> {
        let server = self.server.clone().ok_or(ProxmoxError::NoServer)?;
        let variable = std::env::var(TOKEN_VARIABLE).ok();
        let token = Token::find(variable.as_deref(), self.token_file.as_deref())?;
        let (answer_time, task_time) = (ANSWER_TIME, self.task_time);
        Client::new(Access { server, token, trust: self.trust.clone(), answer_time, task_time })
    }
}
