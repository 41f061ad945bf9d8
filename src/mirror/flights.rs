//! One piece of work at a time for each thing, however many wait for it. Who waits may go away: the work goes on.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

type Running<K, V> = Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>;

/// Work under way, by what it is for.
#[derive(Debug)]
pub(super) struct Flights<K: Eq + Hash, V>(Running<K, V>);

impl<K: Eq + Hash, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// Takes the work out of the list, however it ends.
struct Landing<K: Eq + Hash, V>(Running<K, V>, K);

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl<K, V> Flights<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// What the work for `key` comes to: of that which is under way, or of `work`, which is begun. Nothing when it
    /// panicked.
    ///
    /// Who finds nothing under way may have come just after it ended, so `work` looks first whether it is needed.
    pub(super) async fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut outcome = self.board(key, work);
        let landed = outcome.wait_for(Option::is_some).await;
        landed.ok().and_then(|outcome| outcome.clone())
    }

    fn board<F>(&self, key: K, work: impl FnOnce() -> F) -> watch::Receiver<Option<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = running.get(&key) {
            return outcome.clone();
        }
        let (tell, outcome) = watch::channel(None);
        running.insert(key.clone(), outcome.clone());
        let (landing, work) = (Landing(Arc::clone(&self.0), key), work());
        tokio::spawn(async move {
            let landed = work.await;
            // First the list: who is told must be able to ask again.
            drop(landing);
            tell.send_replace(Some(landed));
        });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn many_wait_for_one_piece_of_work_and_the_first_may_go_away() {
        let flights = Arc::new(Flights::<u8, u32>::default());
        let (begun, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let join = |key: u8| {
            let (flights, begun, gate) = (Arc::clone(&flights), Arc::clone(&begun), Arc::clone(&gate));
            async move {
                let work = || async move {
                    gate.notified().await;
                    begun.fetch_add(1, Ordering::SeqCst) + 1
                };
                flights.join(key, work).await
            }
        };
        let first = tokio::spawn(join(1));
        tokio::task::yield_now().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let waiting: Vec<_> = (0..200).map(|_| tokio::spawn(join(1))).collect();
        tokio::task::yield_now().await;
        gate.notify_one();
        for outcome in waiting {
            assert_eq!(outcome.await.unwrap(), Some(1));
        }
        gate.notify_one();
        assert_eq!(join(1).await, Some(2));
    }

    #[tokio::test]
    async fn work_that_panics_ends_and_the_next_is_begun() {
        let flights = Flights::<u8, u32>::default();
        assert_eq!(flights.join(1, || async { panic!("on purpose") }).await, None);
        assert_eq!(flights.join(1, || async { 7 }).await, Some(7));
    }
}
