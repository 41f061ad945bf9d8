//! One transfer on its way: the state machine of [`super::transfer`] with a socket and a clock.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{debug, info};

use super::Shared;
use super::line::{Line, largest_block};
use super::place::{Ask, Datagrams, Place};
use super::transfer::{Ended, Limits, Transfer};
use crate::serve::observe::{Observed, Sent};
use crate::wire::tftp::Packet;

/// The largest window. More gains little on a local network and costs bursts.
const MAX_WINDOW: u16 = 16;

/// The longest packet of a client that counts: an ERROR with its message. What is longer is cut off.
const MAX_PACKET: usize = 516;

/// How much of a name is told on.
const SHOWN: usize = 100;

/// A transfer that has its place.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) place: Place,
    /// What arrives for it on the server's port, when it has none of its own.
    pub(super) datagrams: Option<Datagrams>,
    pub(super) ask: Ask,
}

impl Session {
    /// Runs the transfer to its end and tells how it went; and so with the next one, which the client asked for in the same
    /// breath in which it ended this.
    pub(super) async fn run(self) {
        let mut next = Some(self);
        while let Some(mut session) = next {
            let ended = session.run_once().await;
            let is_ended_by_client = matches!(ended, Ended::Probed { .. } | Ended::Cancelled { .. });
            next = if is_ended_by_client { session.begin_anew() } else { None };
        }
    }

    async fn run_once(&mut self) -> Ended {
        let started = Instant::now();
        let limits = Limits { block_size: largest_block(&self.ask.asked), window_size: MAX_WINDOW };
        let content = self.ask.served.content.clone();
        let mut transfer = Transfer::new(&self.ask.request, content, limits, started.into_std());
        if let Err(error) = self.transfer(&mut transfer).await {
            debug!(peer = %self.ask.asked.peer, %error, "the socket of a TFTP transfer failed");
        }
        let ended = transfer.ended().cloned().unwrap_or(Ended::Lost);
        self.tell(&transfer, &ended, started.elapsed());
        ended
    }

    /// The transfer for the request that was repeated while this one was not over, if one was.
    fn begin_anew(self) -> Option<Self> {
        let ask = self.place.repeated()?;
        let shared = self.shared;
        drop(self.place);
        shared.begin(ask)
    }

    async fn transfer(&mut self, transfer: &mut Transfer) -> io::Result<()> {
        let Self { shared, place, ask, .. } = self;
        let mut line = match self.datagrams.take() {
            Some(datagrams) => Line::shared(&ask.asked, &shared.socket, datagrams, shared.segments),
            None => Line::own(&ask.asked, shared.segments)?,
        };
        let mut buffer = [0; MAX_PACKET];
        let mut is_answered = false;
        let mut replaced = pin!(place.replaced());
        let mut alarm = pin!(sleep_until(transfer.deadline().into()));
        loop {
            while let Some(sending) = transfer.next_sending() {
                line.send(sending, place.is_alone()).await;
            }
            if transfer.ended().is_some() {
                return Ok(());
            }
            if !is_answered && transfer.is_seen() {
                is_answered = true;
                place.set_answered();
            }
            // The deadline moves with each packet, and the alarm only when it would ring too late, or has rung too
            // early: setting it costs as much as a packet does.
            if Instant::from_std(transfer.deadline()) < alarm.deadline() {
                alarm.as_mut().reset(transfer.deadline().into());
            }
            tokio::select! {
                biased;
                received = line.receive(&mut buffer, place.is_alone()) => {
                    if let Ok(packet) = Packet::decode(received?) {
                        transfer.receive(&packet, Instant::now().into_std());
                    }
                }
                () = &mut alarm => {
                    transfer.time_out(Instant::now().into_std());
                    alarm.as_mut().reset(transfer.deadline().into());
                }
                () = &mut replaced => transfer.replace(),
                () = place.asked_again(), if !is_answered => transfer.ask_again(Instant::now().into_std()),
            }
        }
    }

    /// Counts, logs and reports how it went.
    fn tell(&self, transfer: &Transfer, ended: &Ended, took: Duration) {
        let Ask { asked, request, served } = &self.ask;
        let (peer, file) = (asked.peer.ip().to_canonical(), &request.path);
        let (bytes, of, resent) = (transfer.delivered(), served.content.len() as u64, transfer.resent());
        let (block_size, window_size) = (transfer.block_size(), transfer.window_size());
        let counters = &self.shared.counters;
        counters.resent.add_many(resent);
        if let Ended::Probed { .. } = ended {
            debug!(%peer, file, of, ?took, %ended, "TFTP");
        } else {
            info!(%peer, file, bytes, of, ?took, resent, block_size, window_size, %ended, "TFTP");
            if let Some(step) = served.step {
                // It is shown on screens, and a client may write anything before a name that is known.
                let mut detail: String = file.chars().filter(|char| !char.is_control()).take(SHOWN).collect();
                if *ended != Ended::Completed {
                    detail = format!("{detail}: {ended}");
                }
                if resent > 0 {
                    detail = format!("{detail}; {resent} packets were sent again");
                }
                let (detail, sent) = (detail.into(), Some(Sent { bytes, of, took }));
                self.shared.observer.observe(Observed { mac: served.mac, peer: Some(peer), step, detail, sent });
            }
        }
        // Last, so that who waits for a counter finds everything told.
        match ended {
            Ended::Completed => {
                counters.bytes.add_many(of);
                counters.completed.add();
            }
            Ended::Probed { .. } | Ended::Cancelled { .. } | Ended::Replaced => counters.cancelled.add(),
            Ended::Lost => counters.lost.add(),
        }
    }
}
