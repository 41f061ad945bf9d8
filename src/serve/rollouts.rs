//! Rollouts go on while the server runs: what machines did is written to the ledger, and what is decided on it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::App;
use crate::fleet::{DecideError, Order, SERVER};
use crate::model::checkin::orders::{Orders, Reboot};
use crate::model::ledger::{Fact, Ledger, Request};
use crate::model::mac::Mac;
use crate::model::machine::MachineId;
use crate::model::rollout::{Clock, Rollout, Step, Wish, advance, wish};
use crate::store::StoreError;

/// How often rollouts are looked at, and the database for what others wrote.
const EVERY: Duration = Duration::from_secs(1);

/// A clock that was this far from where it should be was set, or the computer slept.
const JUMP: Duration = Duration::from_secs(10);

/// Why rollouts do not go on for now.
#[derive(Debug, thiserror::Error)]
enum AdvanceError {
    #[error(transparent)]
    Decide(#[from] DecideError<Infallible>),
    #[error("the channel of a rollout that is done cannot be moved")]
    Store(#[from] StoreError),
}

/// Looks at rollouts until `stop`.
pub(super) async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut watch = Watch::begin();
    let mut is_well = true;
    // What was asked while no server ran is heard too, if it is about the boot a machine is in.
    let mut heard = 0;
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let went = async {
            app.advance(watch.look()).await?;
            app.hear(&mut heard).await
        };
        let went = went.await;
        match &went {
            Ok(()) if !is_well => info!("rollouts go on"),
            Err(error) if is_well => {
                warn!(error = %Chain(error), "rollouts wait; machines boot what they were given before");
            }
            _ => {}
        }
        is_well = went.is_ok();
    }
}

/// An error with its causes in one line.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut error = Some(self.0);
        let mut is_first = true;
        while let Some(cause) = error {
            write!(f, "{}{cause}", if is_first { "" } else { ": " })?;
            is_first = false;
            error = cause.source();
        }
        Ok(())
    }
}

/// Since when machines could be heard without a break.
#[derive(Debug)]
struct Watch {
    listening_since: SystemTime,
    last: (SystemTime, Instant),
}

impl Watch {
    fn begin() -> Self {
        let now = SystemTime::now();
        Self { listening_since: now, last: (now, Instant::now()) }
    }

    fn look(&mut self) -> Clock {
        self.at(SystemTime::now(), Instant::now())
    }

    fn at(&mut self, now: SystemTime, instant: Instant) -> Clock {
        let (last, last_instant) = self.last;
        let passed = instant.duration_since(last_instant);
        let expected = last + passed;
        let off = now.duration_since(expected).unwrap_or_else(|back| back.duration());
        if off > JUMP || passed > EVERY + JUMP {
            self.listening_since = now;
        }
        self.last = (now, instant);
        Clock { now, listening_since: self.listening_since }
    }
}

impl App {
    /// Every rollout goes as far as it can now.
    async fn advance(self: &Arc<Self>, clock: Clock) -> Result<(), AdvanceError> {
        let book = self.fleet.book();
        let ledger = self.fleet.follow().await.map_err(DecideError::from)?;
        let active: Vec<u64> = ledger.active().map(|rollout| rollout.spec.number).collect();
        for number in active {
            loop {
                let ledger = book.known();
                let census = self.fleet.census(&ledger, &self.rules().assignments, clock.now);
                let steps = |rollout: &Rollout| advance(rollout, &census, clock);
                let Some(rollout) = ledger.rollout(number) else { break };
                let next = steps(rollout);
                // Mostly: then the database is not asked again.
                if next.is_empty() {
                    break;
                }
                if next.contains(&Step::Finished) {
                    // Before it is written down: a server that is killed between the two does both again.
                    self.move_channel(rollout).await?;
                }
                let decide = |ledger: &Ledger| {
                    let steps = ledger.rollout(number).map(steps).unwrap_or_default();
                    Ok::<_, Infallible>(steps.into_iter().map(|step| Fact::Rollout { number, step }).collect())
                };
                let written = book.decide(SERVER, decide).await?;
                for entry in &written {
                    info!(number = entry.number, "{}", entry.fact);
                }
                if written.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// What people asked of machines since the entry numbered `heard`.
    async fn hear(&self, heard: &mut u64) -> Result<(), AdvanceError> {
        let book = self.fleet.book();
        if book.known().last() <= *heard {
            return Ok(());
        }
        for entry in book.entries(*heard).await.map_err(DecideError::from)? {
            let macs = entry.fact.machines().iter().filter_map(MachineId::mac);
            match &entry.fact {
                Fact::Asked { request, .. } => macs.for_each(|mac| self.ask(mac, request, entry.at)),
                Fact::Forgotten { .. } => macs.for_each(|mac| self.fleet.forget_booted_before(mac, entry.at)),
                _ => {}
            }
            *heard = entry.number;
        }
        Ok(())
    }

    fn ask(&self, mac: Mac, request: &Request, at: SystemTime) {
        // A machine that was given a script since has rebooted.
        if self.fleet.scripted_since(&mac, at) {
            return;
        }
        let seconds = |seconds: &u64| Duration::from_secs(*seconds);
        let order = match request {
            Request::Reboot => Order::Reboot(Reboot::Now),
            Request::RebootIdle(after) => Order::Reboot(Reboot::Idle(seconds(after))),
            Request::RebootWithin(from, until) => {
                Order::Reboot(Reboot::Window { from: at + seconds(from), until: at + seconds(until) })
            }
            Request::Stay => Order::Reboot(Reboot::TakenBack),
            Request::Message(text) => Order::Message(text.clone()),
        };
        self.fleet.order(mac, order);
    }

    async fn move_channel(&self, rollout: &Rollout) -> Result<(), StoreError> {
        let (profile, channel, number) =
            (rollout.spec.profile.clone(), rollout.spec.channel.clone(), rollout.spec.to.number);
        self.ask_store(move |store| store.point(&profile, &channel, number)).await?;
        Ok(())
    }

    /// What a machine is told that checks in: what people asked of it, or else what its rollout wants.
    pub(super) fn orders(&self, mac: &Mac, now: SystemTime) -> Orders {
        let orders = self.fleet.orders(mac);
        Orders { reboot: orders.reboot.or_else(|| self.reboot_of(mac, now)), ..orders }
    }

    fn reboot_of(&self, mac: &Mac, now: SystemTime) -> Option<Reboot> {
        let ledger = self.fleet.book().known();
        let id = MachineId::from(*mac);
        let rollout = ledger.rollouts().rev().find(|rollout| rollout.members.contains_key(&id))?;
        let view = self.fleet.view(mac, &ledger, &self.rules().assignments, now)?;
        Some(match wish(rollout, &id, &view, now) {
            Some(Wish::Now) => Reboot::Now,
            Some(Wish::Idle(after)) => Reboot::Idle(after),
            Some(Wish::Within(rest)) => Reboot::Window { from: now, until: now + rest },
            // It may have been told to, before the hours were over or somebody ended the rollout.
            None => Reboot::TakenBack,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_was_heard_while_the_computer_slept_or_its_clock_was_wrong() {
        let (now, instant) = (SystemTime::now(), Instant::now());
        let second = Duration::from_secs(1);
        let mut watch = Watch { listening_since: now, last: (now, instant) };
        assert_eq!(watch.at(now + second, instant + second).listening_since, now);
        let jumped = now + Duration::from_secs(3600);
        assert_eq!(watch.at(jumped, instant + 2 * second).listening_since, jumped);
        assert_eq!(watch.at(jumped + second, instant + 3 * second).listening_since, jumped);
        let slept = jumped + Duration::from_secs(600);
        assert_eq!(watch.at(slept, instant + Duration::from_secs(603)).listening_since, slept);
        assert_eq!(watch.at(now, instant + Duration::from_secs(604)).listening_since, now, "set back");
    }
}
