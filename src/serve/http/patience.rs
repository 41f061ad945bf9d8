//! How long hyper waits for a client, on one connection.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use crate::serve::lock;

/// All waits of one connection, by one timer of the runtime. A wait begins with each request and is given up a moment later,
/// which costs next to nothing here: the timer is set again only when it rang too early. It wakes one task, so whatever waits
/// has to belong to that one: to the connection.
#[derive(Debug, Clone)]
pub(super) struct Patience(Arc<Mutex<OneTimer>>);

#[derive(Debug)]
struct OneTimer {
    sleep: Pin<Box<tokio::time::Sleep>>,
    /// Whether it wakes somebody when it rings.
    is_heard: bool,
}

/// A wait until a moment.
#[derive(Debug)]
struct Wait {
    patience: Patience,
    until: tokio::time::Instant,
}

impl Patience {
    /// For a connection whose waits are this long, mostly.
    pub(super) fn of(usual: Duration) -> Self {
        Self(Arc::new(Mutex::new(OneTimer { sleep: Box::pin(tokio::time::sleep(usual)), is_heard: false })))
    }
}

impl Timer for Patience {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait { patience: self.clone(), until: deadline.into() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

impl Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        lock(&self.patience.0).poll_until(self.until, context)
    }
}

impl OneTimer {
    fn poll_until(&mut self, until: tokio::time::Instant, context: &mut Context<'_>) -> Poll<()> {
        let Self { sleep, is_heard } = self;
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
            *is_heard = false;
        }
        if *is_heard && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        loop {
            *is_heard = sleep.as_mut().poll(context).is_pending();
            if *is_heard {
                return Poll::Pending;
            }
            if sleep.deadline() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Whether a wait goes on, looked at once.
    async fn goes_on(wait: &mut Pin<Box<dyn Sleep>>) -> bool {
        poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_pending())).await
    }

    #[tokio::test(start_paused = true)]
    async fn every_wait_ends_when_it_shall() {
        let second = Duration::from_secs(1);
        let patience = Patience::of(20 * second);
        let began = tokio::time::Instant::now();
        for given_up in 1..=50 {
            drop(patience.sleep(20 * second));
            let mut wait = patience.sleep(20 * second);
            assert!(goes_on(&mut wait).await, "{given_up}");
            tokio::time::advance(second).await;
        }
        patience.sleep(20 * second).await;
        assert_eq!(began.elapsed(), 70 * second);
        patience.sleep(second).await;
        assert_eq!(began.elapsed(), 71 * second, "one that is shorter than the one before");
        let (mut long, mut short) = (patience.sleep(9 * second), patience.sleep(3 * second));
        assert!(goes_on(&mut long).await);
        (&mut short).await;
        assert_eq!(began.elapsed(), 74 * second);
        long.await;
        assert_eq!(began.elapsed(), 80 * second);
    }
}
