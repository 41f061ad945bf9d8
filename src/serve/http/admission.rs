//! How many large files are sent at once. In a boot storm, hundreds of machines that share one link each get so little of
//! it that all of them are late and switches drop what overflows; a limit lets the first ones finish, which then need
//! nothing more.
//!
//! Over the limit, iPXE is sent away with `503` and `Retry-After`, which it obeys by itself for as long as it takes
//! (netboot.md, E3). No other client of a boot does: those wait in order, clients with the fewest transfers first. One
//! client can have no more than its share, so that nobody is kept out by a machine with many connections. Small answers
//! never come here.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// How many clients may wait. More are sent away, whoever they are.
const MAX_WAITING: usize = 8192;

/// How long a client waits before it is sent away all the same; busybox wget hangs up after 15 minutes.
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);

/// Those who are sent away come back after 1, 2, 3 … seconds up to this, in turn, so that they do not come all at once.
const SPREAD: u64 = 10;

/// One address has a quarter of all transfers at most, for there may be a router with many machines behind it …
const SHARES: usize = 4;

/// … and at least so many, where the limit allows it: one machine has a few connections.
const SMALLEST_SHARE: usize = 4;

/// Who asks for a large file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) address: IpAddr,
    pub(super) standing: Standing,
    pub(super) manner: Manner,
}

/// How many transfers a client may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// A machine of the network: its share.
    Machine,
    /// A program of this computer, such as a proxy that asks for all machines: no fewer than there are.
    Local,
}

/// What a client does when it cannot be served at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It comes back when it was told to.
    ComesBack,
    /// It has to be let in or kept waiting.
    Waits,
}

/// A client is not let in; it may ask again after so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SentAway {
    pub(super) retry_after: u64,
}

/// The gate, shared by all connections.
#[derive(Debug)]
pub(super) struct Admission {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    waiting: usize,
    /// Clients that have transfers or wait for one.
    clients: HashMap<IpAddr, Transfers>,
    /// Counts those who wait; the number of one is its place.
    arrivals: u64,
    sent_away: u64,
}

/// Of one client.
#[derive(Debug, Default)]
struct Transfers {
    share: usize,
    running: usize,
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// A transfer that is let in; others may follow when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.admission.lock().release(self.address, self.admission.limit);
    }
}

/// A place among those who wait. The client may hang up at any moment.
#[derive(Debug)]
struct Waiting {
    admission: Arc<Admission>,
    address: IpAddr,
    number: u64,
    is_admitted: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_admitted {
            return;
        }
        let mut state = self.admission.lock();
        if !state.leave(self.address, self.number) {
            // It was called in just now.
            state.release(self.address, self.admission.limit);
        }
    }
}

impl Admission {
    /// Lets `limit` transfers run at once; no fewer than one.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), state: Mutex::default() }
    }

    /// Lets a client in, at once or when its turn comes.
    pub(super) async fn admit(self: &Arc<Self>, client: Client) -> Result<Slot, SentAway> {
        let address = client.address;
        let (mut waiting, called) = {
            let mut state = self.lock();
            let share = self.share(client.standing);
            if state.may_run(address, share, self.limit) {
                state.run(address, share);
                return Ok(Slot { admission: Arc::clone(self), address });
            }
            if client.manner == Manner::ComesBack || state.waiting >= MAX_WAITING {
                return Err(state.send_away());
            }
            let (number, called) = state.wait(address, share);
            (Waiting { admission: Arc::clone(self), address, number, is_admitted: false }, called)
        };
        match timeout(MAX_WAIT, called).await {
            Ok(Ok(())) => {
                waiting.is_admitted = true;
                Ok(Slot { admission: Arc::clone(self), address })
            }
            // The other end of `called` stays in the queue until it is used or `waiting` is dropped, so it was time.
            Ok(Err(_)) | Err(_) => Err(self.lock().send_away()),
        }
    }

    fn share(&self, standing: Standing) -> usize {
        match standing {
            Standing::Machine => (self.limit / SHARES).max(SMALLEST_SHARE).min(self.limit),
            Standing::Local => self.limit,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each critical section leaves the counts true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a client that arrives now need not wait. While there is room, those who wait have all their share.
    fn may_run(&self, address: IpAddr, share: usize, limit: usize) -> bool {
        self.running < limit && self.clients.get(&address).is_none_or(|it| it.running < share)
    }

    fn run(&mut self, address: IpAddr, share: usize) {
        let client = self.clients.entry(address).or_default();
        client.share = share;
        client.running += 1;
        self.running += 1;
    }

    /// Puts a client at the end of its queue.
    fn wait(&mut self, address: IpAddr, share: usize) -> (u64, oneshot::Receiver<()>) {
        let (call, called) = oneshot::channel();
        let number = self.arrivals;
        self.arrivals += 1;
        self.waiting += 1;
        let client = self.clients.entry(address).or_default();
        client.share = share;
        client.waiting.push_back((number, call));
        (number, called)
    }

    /// Takes a client out of its queue; false when it is not there any more because it was called.
    fn leave(&mut self, address: IpAddr, number: u64) -> bool {
        let Some(client) = self.clients.get_mut(&address) else { return false };
        let Some(at) = client.waiting.iter().position(|(it, _)| *it == number) else { return false };
        client.waiting.remove(at);
        self.waiting -= 1;
        self.forget(address);
        true
    }

    /// Ends a transfer of a client, and calls who is next.
    fn release(&mut self, address: IpAddr, limit: usize) {
        if let Some(client) = self.clients.get_mut(&address) {
            client.running -= 1;
            self.running -= 1;
        }
        while self.running < limit && self.call_next() {}
        self.forget(address);
    }

    /// Lets in one of those who wait and have not all their share: of the client with the fewest transfers, and of
    /// several such, of the one that has waited longest.
    fn call_next(&mut self) -> bool {
        let may_run = self.clients.values_mut().filter(|client| client.running < client.share);
        let first = |client: &&mut Transfers| client.waiting.front().map(|(number, _)| (client.running, *number));
        let next = may_run.filter(|client| !client.waiting.is_empty()).min_by_key(first);
        let Some((client, (_, call))) = next.and_then(|client| client.waiting.pop_front().map(|it| (client, it)))
        else {
            return false;
        };
        client.running += 1;
        self.running += 1;
        self.waiting -= 1;
        // Whoever hangs up leaves the queue first, so somebody hears this; see `Waiting`.
        let _ = call.send(());
        true
    }

    fn forget(&mut self, address: IpAddr) {
        if self.clients.get(&address).is_some_and(|client| client.running == 0 && client.waiting.is_empty()) {
            self.clients.remove(&address);
        }
    }

    fn send_away(&mut self) -> SentAway {
        let retry_after = 1 + self.sent_away % SPREAD;
        self.sent_away += 1;
        SentAway { retry_after }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::task::JoinHandle;

    use super::*;

    fn client(last: u8, manner: Manner) -> Client {
        Client { address: IpAddr::from([10, 0, 0, last]), standing: Standing::Machine, manner }
    }

    /// Asks in a task of its own, and lets it come as far as it can.
    async fn ask(admission: &Arc<Admission>, client: Client) -> JoinHandle<Result<Slot, SentAway>> {
        let admission = Arc::clone(admission);
        let asked = tokio::spawn(async move { admission.admit(client).await });
        settle().await;
        asked
    }

    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_back_are_sent_away_for_different_times() {
        let admission = Arc::new(Admission::new(2));
        let _running = [
            admission.admit(client(1, Manner::ComesBack)).await.unwrap(),
            admission.admit(client(2, Manner::Waits)).await.unwrap(),
        ];
        let mut times = Vec::new();
        for last in 3..16 {
            times.push(admission.admit(client(last, Manner::ComesBack)).await.unwrap_err().retry_after);
        }
        assert_eq!(times, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3]);
        assert_eq!(admission.lock().clients.len(), 2, "nothing is kept of them");
    }

    #[tokio::test(start_paused = true)]
    async fn the_others_wait_in_order() {
        let admission = Arc::new(Admission::new(1));
        let first = admission.admit(client(1, Manner::Waits)).await.unwrap();
        let second = ask(&admission, client(2, Manner::Waits)).await;
        let third = ask(&admission, client(3, Manner::Waits)).await;
        assert!(!second.is_finished() && !third.is_finished());
        drop(first);
        settle().await;
        assert!(second.is_finished() && !third.is_finished());
        drop(second.await.unwrap().unwrap());
        settle().await;
        assert!(third.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_with_many_connections_keeps_nobody_out() {
        let admission = Arc::new(Admission::new(16));
        let mut greedy = Vec::new();
        for _ in 0..40 {
            greedy.push(ask(&admission, client(1, Manner::Waits)).await);
        }
        assert_eq!(greedy.iter().filter(|it| it.is_finished()).count(), 4, "a quarter");
        let others: Vec<_> =
            futures_util::future::join_all((2..14).map(|last| admission.admit(client(last, Manner::Waits)))).await;
        assert!(others.iter().all(Result::is_ok));
        let late = ask(&admission, client(20, Manner::Waits)).await;
        // Although the others have waited longer.
        drop(greedy.remove(0).await.unwrap());
        settle().await;
        assert!(late.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_hangs_up_leaves_the_queue_and_a_call_it_did_not_hear_goes_to_the_next() {
        let admission = Arc::new(Admission::new(1));
        let first = admission.admit(client(1, Manner::Waits)).await.unwrap();
        let gone = ask(&admission, client(2, Manner::Waits)).await;
        let called = ask(&admission, client(3, Manner::Waits)).await;
        let last = ask(&admission, client(4, Manner::Waits)).await;
        gone.abort();
        settle().await;
        assert_eq!(admission.lock().waiting, 2);
        drop(first);
        // It is called and ends in the same moment, before it runs.
        called.abort();
        settle().await;
        assert!(last.is_finished());
        drop((called.await, last.await));
        let state = admission.lock();
        assert_eq!((state.running, state.waiting, state.clients.len()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let admission = Arc::new(Admission::new(1));
        let _first = admission.admit(client(1, Manner::Waits)).await.unwrap();
        // Time runs by itself as long as nothing else happens.
        let second = admission.admit(client(2, Manner::Waits)).await;
        assert_eq!(second.unwrap_err(), SentAway { retry_after: 1 });
        assert_eq!(admission.lock().waiting, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_of_this_computer_may_have_all_of_it() {
        let admission = Arc::new(Admission::new(40));
        let local = Client { standing: Standing::Local, ..client(1, Manner::ComesBack) };
        let slots = futures_util::future::join_all((0..40).map(|_| admission.admit(local))).await;
        assert!(slots.iter().all(Result::is_ok));
        assert!(admission.admit(local).await.is_err());
    }

    proptest! {
        #[test]
        fn whatever_happens_the_limit_holds_and_nothing_is_lost(
            limit in 1_usize..7,
            steps in proptest::collection::vec((0_u8..4, 0_u8..4, 0_usize..8), 0..80),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let admission = Arc::new(Admission::new(limit));
                let mut asked = Vec::new();
                for (step, last, which) in steps {
                    let manner = if step == 0 { Manner::ComesBack } else { Manner::Waits };
                    if step < 2 {
                        asked.push(ask(&admission, client(last, manner)).await);
                    } else if which < asked.len() {
                        let ended = asked.remove(which);
                        ended.abort();
                        drop(ended.await);
                    }
                    settle().await;
                    let state = admission.lock();
                    let all: usize = state.clients.values().map(|it| it.running).sum();
                    assert!(state.running <= limit && all == state.running);
                    let is_eager = |it: &&Transfers| it.running < it.share && !it.waiting.is_empty();
                    assert!(state.running == limit || !state.clients.values().any(|it| is_eager(&it)));
                }
                while let Some(ended) = asked.pop() {
                    ended.abort();
                    drop(ended.await);
                    settle().await;
                }
                let state = admission.lock();
                assert_eq!((state.running, state.waiting, state.clients.len()), (0, 0, 0));
            });
        }
    }
}
