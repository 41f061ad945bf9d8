//! The timeline of one boot: what is known of each step, which step is missing, and what that usually means
//! (netboot.md, C1, C2, C5, C9, C10, C12).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::model::boot::Step;

/// The longest remark that is kept of a step; longer ones are cut.
pub const MAX_REMARK: usize = 120;

/// How long the next step may take before it counts as missing. Firmware asks DHCP for half a minute, and an
/// initramfs of 100 MB over a slow link takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that happened at one step of one boot so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The step.
    pub step: Step,
    /// When it was first seen.
    pub began: SystemTime,
    /// When something last happened at it.
    pub last: SystemTime,
    /// How often something happened that is no end of a transfer: packets and requests.
    pub asked: u32,
    /// Transfers the machine has taken to their end.
    pub files: u32,
    /// Transfers that broke off.
    pub broken: u32,
    /// Bytes of all transfers that ended, also of those that broke off.
    pub bytes: u64,
    /// The time these transfers took together.
    pub took: Duration,
    /// What was last said of it: the firmware, the loader, the bundle, or why nothing was offered.
    pub remark: Option<Arc<str>>,
}

impl Stage {
    /// A step of which nothing is known but that it was reached.
    #[must_use]
    pub fn begin(step: Step, now: SystemTime) -> Self {
        Self {
            step,
            began: now,
            last: now,
            asked: 0,
            files: 0,
            broken: 0,
            bytes: 0,
            took: Duration::ZERO,
            remark: None,
        }
    }

    /// How fast its transfers were, in bytes a second; nothing when there were none, or none that took time.
    #[must_use]
    pub fn speed(&self) -> Option<u64> {
        let took = self.took.as_micros();
        if self.bytes == 0 || took == 0 {
            return None;
        }
        u64::try_from(u128::from(self.bytes) * 1_000_000 / took).ok()
    }

    /// Whether the machine has done this step: asked, or taken a file to its end where the step is a transfer.
    #[must_use]
    pub fn is_done(&self) -> bool {
        if self.step.is_transfer() { self.files > 0 } else { self.asked > 0 }
    }

    /// Whether something is being sent, or was when the machine was last heard of.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.step.is_transfer() && self.asked > self.files.saturating_add(self.broken)
    }
}

/// A text that may come from the network, as it is kept: printable and bounded.
#[must_use]
pub fn remark(text: Arc<str>) -> Arc<str> {
    // As nearly every one is.
    if text.len() <= MAX_REMARK && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text;
    }
    text.chars().filter(|c| !c.is_control()).take(MAX_REMARK).collect::<String>().into()
}

/// What is known of one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// When it began.
    pub began: SystemTime,
    /// What is known of each step, in the order of steps; steps that were not seen are not there.
    pub stages: Vec<Stage>,
    /// What the machine was sent to when that is no bundle: its menu, its local disk, an entry of the site's menu.
    pub sent_to: Option<String>,
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was seen.
    Seen,
    /// It was not seen, and later ones were: something else did it, or nobody had to.
    Passed,
    /// It is being sent.
    UnderWay,
    /// It is the one to come, and there is still time.
    Expected,
    /// It is the one to come, and it should have been seen by now.
    Missing,
    /// It comes after the one that is expected.
    Ahead,
}

impl Timeline {
    /// The timeline of a boot from what was written down of it, oldest first: each is what was known of a step at that
    /// time.
    #[must_use]
    pub fn of(began: SystemTime, noted: impl IntoIterator<Item = Stage>) -> Self {
        let mut stages: Vec<Stage> = Vec::new();
        for stage in noted {
            match stages.binary_search_by_key(&stage.step, |known| known.step) {
                Err(place) => stages.insert(place, stage),
                Ok(place) => {
                    if let Some(known) = stages.get_mut(place) {
                        // A server that was started anew counts from nothing.
                        let began = known.began.min(stage.began);
                        let remark = stage.remark.clone().or(known.remark.take());
                        *known = Stage { began, remark, ..stage };
                    }
                }
            }
        }
        Self { began, stages, sent_to: None }
    }

    /// The same boot, of which is known what the machine was sent to when that is no bundle.
    #[must_use]
    pub fn and_sent_to(self, sent_to: Option<String>) -> Self {
        Self { sent_to, ..self }
    }

    /// What is known of a step.
    #[must_use]
    pub fn stage(&self, step: Step) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.step == step)
    }

    /// The furthest step the machine has done.
    #[must_use]
    pub fn furthest(&self) -> Option<Step> {
        self.stages.iter().rfind(|stage| stage.is_done()).map(|stage| stage.step)
    }

    /// What the machine was sent to, when its script was the last that it came for: there it loads nothing from here.
    #[must_use]
    pub fn elsewhere(&self) -> Option<&str> {
        self.sent_to.as_deref().filter(|_| self.furthest() == Some(Step::Script))
    }

    /// The step that should come next; nothing after the last, and nothing for a machine that was sent elsewhere.
    #[must_use]
    pub fn next(&self) -> Option<Step> {
        if self.elsewhere().is_some() {
            return None;
        }
        let furthest = self.furthest();
        Step::ALL.into_iter().find(|step| Some(*step) > furthest)
    }

    /// How a step stands at `now`.
    #[must_use]
    pub fn standing(&self, step: Step, now: SystemTime) -> Standing {
        let furthest = self.furthest();
        let stage = self.stage(step);
        let is_late = self.silence(now) > PATIENCE;
        if stage.is_some_and(|stage| stage.is_done() || Some(step) < furthest) {
            Standing::Seen
        } else if Some(step) < furthest {
            Standing::Passed
        } else if self.next() != Some(step) {
            Standing::Ahead
        } else if stage.is_some_and(Stage::is_under_way) && !is_late {
            Standing::UnderWay
        } else if is_late {
            Standing::Missing
        } else {
            Standing::Expected
        }
    }

    /// The step that should have been seen by `now`.
    #[must_use]
    pub fn missing(&self, now: SystemTime) -> Option<Step> {
        self.next().filter(|next| self.standing(*next, now) == Standing::Missing)
    }

    /// How long nothing was heard of this boot.
    #[must_use]
    pub fn silence(&self, now: SystemTime) -> Duration {
        let last = self.stages.iter().map(|stage| stage.last).max().unwrap_or(self.began);
        now.duration_since(last).unwrap_or_default()
    }

    /// What it usually means that the step after the furthest one does not come. Nothing for a boot that is at its end.
    #[must_use]
    pub fn diagnosis(&self) -> Option<&'static str> {
        let next = self.next()?;
        let stage = self.stage(next);
        if stage.is_some_and(Stage::is_under_way) && next != Step::Loader {
            return Some(
                "the machine asked for it and has not taken all of it: the link is slow, or a network driver of iPXE \
                 hangs in large files; hand the machine the other kind of iPXE (`[[loader]]` in the site file)",
            );
        }
        if stage.is_some_and(|stage| stage.broken > 0) {
            return Some(match next {
                Step::Loader => {
                    "the loader's transfer breaks off: TFTP through NAT (a container without the host's network), a \
                     firewall that lets only the first packet through, or packets too large for the way there"
                }
                _ => {
                    "the transfer breaks off: the link or the cable, or a network driver of iPXE that hangs in large \
                     files; hand the machine the other kind of iPXE (`[[loader]]` in the site file)"
                }
            });
        }
        Some(match next {
            Step::Discover | Step::Offer => {
                "nothing was offered: the firmware is of a kind there is no loader for, or DHCP is switched off here; \
                 `bivouac loaders` lists what there is"
            }
            Step::Loader => {
                "the machine did not come for its loader: UDP port 69 (or the HTTP port, for a machine that boots by \
                 HTTP) is filtered on the way to this server, UDP port 4011 is filtered for firmware that asks there \
                 first, or another boot server's offer was taken; look for PXE-E16, E53 or E55 on its screen"
            }
            Step::Ipxe => {
                "the loader was taken and iPXE does not run: Secure Boot refuses it, it is for another processor, or it \
                 finds no network card; hand the machine the other kind of iPXE (`[[loader]]` in the site file)"
            }
            Step::Script => {
                "iPXE runs and does not come for its script: the HTTP port of this server is filtered, `http.advertise` \
                 names an address the machine cannot reach, or the switch port takes longer than iPXE waits (spanning \
                 tree)"
            }
            Step::Kernel => {
                "the machine has its script and does not take a kernel: it was refused, which the row of the script says, \
                 or iPXE hangs or was switched off before it asked"
            }
            Step::Initramfs | Step::SiteInitrd => {
                "loading stopped between two files: iPXE hangs or the machine was switched off; it tries again by \
                 itself when a file cannot be had"
            }
            Step::Packages => {
                "everything was loaded and the started system asked for no packages: the kernel has no driver for the \
                 network card (the flavor `virt` is for virtual machines), got no address, or stopped; its console says \
                 which"
            }
            Step::Modloop => {
                "packages were asked for and the modloop was not: the installation stopped, or OpenRC's `modloop` service \
                 is not in the profile"
            }
            Step::CheckIn => {
                "the system came up and did not check in: the overlay `check-in` is not in the profile, or a service \
                 before it hangs"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    /// A step that was done.
    fn asked(step: Step, seconds: u64) -> Stage {
        Stage { asked: 1, files: u32::from(step.is_transfer()), ..Stage::begin(step, at(seconds)) }
    }

    #[test]
    fn an_offer_without_a_loader_names_the_ports_to_look_at() {
        let timeline = Timeline::of(at(0), [asked(Step::Discover, 0), asked(Step::Offer, 0)]);
        assert_eq!(timeline.next(), Some(Step::Loader));
        assert_eq!(timeline.standing(Step::Loader, at(30)), Standing::Expected);
        assert_eq!(timeline.standing(Step::Loader, at(61)), Standing::Missing);
        assert_eq!(timeline.standing(Step::Kernel, at(61)), Standing::Ahead);
        let why = timeline.diagnosis().unwrap();
        assert!(why.contains("UDP port 69") && why.contains("4011"), "{why}");
    }

    #[test]
    fn a_loader_that_broke_off_is_still_missing_and_for_another_reason() {
        let broken = Stage { broken: 2, bytes: 1024, ..Stage::begin(Step::Loader, at(1)) };
        let timeline = Timeline::of(at(0), [asked(Step::Offer, 0), broken]);
        assert_eq!((timeline.furthest(), timeline.next()), (Some(Step::Offer), Some(Step::Loader)));
        assert!(timeline.diagnosis().unwrap().contains("breaks off"));
    }

    #[test]
    fn a_file_that_is_being_sent_is_neither_missing_nor_done() {
        let kernel = Stage { files: 0, ..asked(Step::Kernel, 1) };
        let timeline = Timeline::of(at(0), [asked(Step::Script, 0), kernel]);
        assert_eq!(timeline.standing(Step::Kernel, at(20)), Standing::UnderWay);
        assert_eq!(timeline.standing(Step::Kernel, at(90)), Standing::Missing);
        assert!(timeline.diagnosis().unwrap().contains("not taken all of it"));
    }

    #[test]
    fn steps_others_did_are_passed_and_a_finished_boot_misses_nothing() {
        let timeline = Timeline::of(at(0), [asked(Step::Ipxe, 0), asked(Step::CheckIn, 30)]);
        assert_eq!(timeline.standing(Step::Loader, at(999)), Standing::Passed);
        assert_eq!((timeline.next(), timeline.diagnosis()), (None, None));
    }

    #[test]
    fn a_machine_that_was_sent_elsewhere_misses_nothing_unless_it_goes_on() {
        let steps = |last| [Step::Ipxe, Step::Script].into_iter().chain(last).map(|step| asked(step, 0));
        let boot = |last| Timeline::of(at(0), steps(last)).and_sent_to(Some("local disk".to_owned()));
        let sent = boot(None);
        assert_eq!((sent.elsewhere(), sent.next(), sent.missing(at(999))), (Some("local disk"), None, None));
        assert_eq!(sent.standing(Step::Kernel, at(999)), Standing::Ahead);
        let other = boot(Some(Step::Kernel));
        assert_eq!((other.elsewhere(), other.missing(at(999))), (None, Some(Step::Initramfs)));
        // A machine that waits for its approval begins anew, and is not at its script yet.
        let anew = Timeline::of(at(0), [asked(Step::Offer, 0)]).and_sent_to(Some("inbox".to_owned()));
        assert_eq!((anew.elsewhere(), anew.missing(at(999))), (None, Some(Step::Loader)));
    }

    #[test]
    fn the_last_word_on_a_step_counts_and_its_beginning_stays() {
        let first = Stage { remark: Some("vmlinuz".into()), ..asked(Step::Kernel, 5) };
        let took = Duration::from_secs(2);
        let last = Stage { last: at(7), files: 1, bytes: 3_000_000, took, ..asked(Step::Kernel, 6) };
        let timeline = Timeline::of(at(0), [first, last]);
        let kernel = timeline.stage(Step::Kernel).unwrap();
        assert_eq!((kernel.began, kernel.last, kernel.bytes), (at(5), at(7), 3_000_000));
        assert_eq!((kernel.speed(), kernel.remark.as_deref()), (Some(1_500_000), Some("vmlinuz")));
    }

    #[test]
    fn every_step_that_may_be_missing_has_its_meaning() {
        for (place, step) in Step::ALL.into_iter().enumerate() {
            let timeline = Timeline::of(at(0), Step::ALL.into_iter().take(place).map(|step| asked(step, 0)));
            assert_eq!(timeline.next(), Some(step));
            assert!(timeline.diagnosis().is_some_and(|why| why.len() > 40), "{step}");
        }
    }

    #[test]
    fn what_machines_say_is_bounded_and_printable() {
        assert_eq!(&*remark("a\u{1b}[2J\nb".into()), "a[2Jb");
        assert_eq!(remark("x".repeat(5000).into()).len(), MAX_REMARK);
    }
}
