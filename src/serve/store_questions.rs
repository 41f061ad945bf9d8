//! Questions to the store, which may be slow, hang or be away: asked on threads that may wait, and for a machine never
//! longer than that may wait itself (DESIGN 4.5).

use std::sync::Arc;

use super::{App, STORE_WAIT};
use crate::store::{Store, StoreError};

/// How many questions of machines the store is asked at once: one that hangs must not take a thread for each machine that
/// asks.
pub(super) const MAX_QUESTIONS: usize = 8;

/// Why a machine's question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum QuestionError {
    /// The store's own answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It may be there again a moment later.
    #[error("the store of this server does not answer; look whether its disk is there")]
    Silent,
}

impl App {
    /// Asks the store, and waits for as long as it takes.
    pub(super) async fn ask_store<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.store.clone();
        let asked = tokio::task::spawn_blocking(move || question(&store));
        match asked.await {
            Ok(answer) => answer,
            // It is not cancelled, so only a panic makes it fail, and that is a defect.
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Asks the store for a machine, which waits no longer than [`STORE_WAIT`].
    pub(super) async fn ask_in_time<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, QuestionError> {
        let turn = Arc::clone(&self.questioning);
        let asked = async {
            let permit = turn.acquire_owned().await.expect("nobody closes it");
            let question = move |store: &Store| {
                // Given back when the store has answered, also when nobody waits for that any more.
                let _permit = permit;
                question(store)
            };
            self.ask_store(question).await
        };
        match tokio::time::timeout(STORE_WAIT, asked).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(QuestionError::Silent),
        }
    }
}
