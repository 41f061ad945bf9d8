use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { block_size: 1468, window_size: 16 };

fn content(length: usize) -> Bytes {
    (0..length).map(|index| u8::try_from(index * 7 % 251).unwrap()).collect::<Vec<u8>>().into()
}

fn request(block_size: Option<u16>, window_size: Option<u16>) -> Request {
    Request { block_size, window_size, ..Request::new("ipxe.efi") }
}

/// Everything that is to be sent now, as packets.
fn drain(transfer: &mut Transfer) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while let Some(sending) = transfer.next_sending() {
        match sending {
            Sending::Options(packet) => packets.push(packet.to_vec()),
            Sending::Blocks(blocks) => {
                let before = packets.len();
                packets.extend(blocks.packets().map(|(header, data)| [&header[..], data].concat()));
                assert_eq!(packets.len() - before, blocks.count());
                let (last, full) = packets[before..].split_last().unwrap();
                assert!(full.iter().all(|packet| packet.len() == usize::from(blocks.packet_size())));
                assert!(last.len() <= usize::from(blocks.packet_size()));
            }
        }
    }
    packets
}

/// The numbers of DATA packets, 0 for an OACK.
fn numbers(packets: &[Vec<u8>]) -> Vec<u16> {
    packets
        .iter()
        .map(|packet| match Packet::decode(packet).unwrap() {
            Packet::Data { block, .. } => block,
            Packet::OptionAck(_) => 0,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn ack(transfer: &mut Transfer, block: u16) -> Vec<u16> {
    transfer.receive(&Packet::Ack(block), Instant::now());
    numbers(&drain(transfer))
}

#[test]
fn a_request_without_options_gets_its_first_block_at_once() {
    let mut transfer = Transfer::new(&Request::new("f"), content(1024), LIMITS, Instant::now());
    assert_eq!(numbers(&drain(&mut transfer)), [1]);
    assert_eq!(ack(&mut transfer, 1), [2]);
    assert_eq!(ack(&mut transfer, 2), [3], "1024 bytes end with an empty block");
    assert_eq!(ack(&mut transfer, 3), [0u16; 0]);
    assert_eq!(transfer.ended(), Some(&Ended::Completed));
}

#[test]
fn options_are_agreed_on_within_the_limits_before_data_flows() {
    let asked = Request { wants_size: true, timeout: Some(2), ..request(Some(65464), Some(65535)) };
    let mut transfer = Transfer::new(&asked, content(3000), LIMITS, Instant::now());
    let packets = drain(&mut transfer);
    let expected = [("tsize", "3000"), ("blksize", "1468"), ("timeout", "2"), ("windowsize", "16")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    assert_eq!(packets.len(), 1);
    assert_eq!(Packet::decode(&packets[0]), Ok(Packet::OptionAck(expected)));
    assert_eq!((transfer.block_size(), transfer.window_size()), (1468, 16));
    assert_eq!(ack(&mut transfer, 7), [0u16; 0], "only 0 answers an OACK");
    assert_eq!(ack(&mut transfer, 0), [1, 2, 3]);
    assert_eq!(ack(&mut transfer, 3), [0u16; 0]);
    assert_eq!(transfer.ended(), Some(&Ended::Completed));
}

#[test]
fn an_empty_file_is_one_empty_block() {
    let mut transfer = Transfer::new(&Request::new("f"), Bytes::new(), LIMITS, Instant::now());
    assert_eq!(drain(&mut transfer), [vec![0, 3, 0, 1]]);
    assert_eq!(ack(&mut transfer, 1), [0u16; 0]);
    assert_eq!(transfer.ended(), Some(&Ended::Completed));
}

#[test]
fn a_probe_for_the_size_ends_with_an_error_and_is_normal() {
    let asked = Request { wants_size: true, ..request(Some(1468), Some(4)) };
    let mut transfer = Transfer::new(&asked, content(5000), LIMITS, Instant::now());
    drain(&mut transfer);
    transfer.receive(&Packet::decode(b"\0\x05\0\x08User aborted the transfer\0").unwrap(), Instant::now());
    let message = "User aborted the transfer".to_owned();
    assert_eq!(transfer.ended(), Some(&Ended::Probed { code: 8, message }));
    transfer.time_out(Instant::now() + Duration::from_secs(60));
    assert!(drain(&mut transfer).is_empty(), "nothing more is sent");
}

#[test]
fn an_error_in_the_middle_ends_it_too() {
    let mut transfer = Transfer::new(&Request::new("f"), content(5000), LIMITS, Instant::now());
    drain(&mut transfer);
    ack(&mut transfer, 1);
    transfer.receive(&Packet::Error { code: 0, message: String::new() }, Instant::now());
    assert_eq!(transfer.ended(), Some(&Ended::Cancelled { code: 0, message: String::new() }));
}

#[test]
fn a_repeated_ack_sends_no_block_twice() {
    let mut transfer = Transfer::new(&Request::new("f"), content(5000), LIMITS, Instant::now());
    drain(&mut transfer);
    assert_eq!(ack(&mut transfer, 1), [2]);
    assert_eq!(ack(&mut transfer, 1), [0u16; 0]);
    assert_eq!(ack(&mut transfer, 1), [0u16; 0]);
    assert_eq!(ack(&mut transfer, 2), [3]);
}

#[test]
fn a_window_goes_back_to_the_first_block_missing() {
    let mut transfer = Transfer::new(&request(Some(8), Some(4)), content(100), LIMITS, Instant::now());
    drain(&mut transfer);
    assert_eq!(ack(&mut transfer, 0), [1, 2, 3, 4]);
    assert_eq!(ack(&mut transfer, 2), [3, 4, 5, 6], "3 was lost");
    assert_eq!(ack(&mut transfer, 2), [0u16; 0], "the client says so for every block it could not use");
    assert_eq!(ack(&mut transfer, 4), [7, 8], "too early to believe in another loss");
    assert_eq!(ack(&mut transfer, 8), [9, 10, 11, 12]);
    assert_eq!(ack(&mut transfer, 8), [9, 10, 11, 12], "9 was lost: the ACK of the block before the window counts");
    assert_eq!(ack(&mut transfer, 8), [0u16; 0], "but once");
    assert_eq!(ack(&mut transfer, 7), [0u16; 0], "an old ACK is stale");
    assert_eq!(ack(&mut transfer, 60), [0u16; 0], "as is one from the future");
}

#[test]
fn block_numbers_start_over_at_zero() {
    let mut transfer = Transfer::new(&request(Some(8), Some(16)), content(8 * 70_000), LIMITS, Instant::now());
    drain(&mut transfer);
    let mut next = ack(&mut transfer, 0);
    let mut received = 0u64;
    while let Some(&last) = next.last() {
        received += next.len() as u64;
        next = ack(&mut transfer, last);
    }
    assert_eq!(received, 70_001);
    assert_eq!(transfer.ended(), Some(&Ended::Completed));
}

#[test]
fn a_silent_client_is_waited_for_longer_each_time_and_then_given_up() {
    let start = Instant::now();
    let mut transfer = Transfer::new(&request(Some(1468), None), content(5000), LIMITS, start);
    let mut sent = 0;
    while transfer.ended().is_none() {
        assert_eq!(numbers(&drain(&mut transfer)), [0]);
        sent += 1;
        transfer.time_out(transfer.deadline());
    }
    assert_eq!((transfer.ended(), sent, transfer.resent()), (Some(&Ended::Lost), 7, 6));
    assert_eq!((transfer.deadline() - start).as_secs(), 12);
}

#[test]
fn what_the_client_has_and_what_it_was_sent_twice_is_known() {
    let mut transfer = Transfer::new(&request(Some(100), Some(4)), content(1050), LIMITS, Instant::now());
    drain(&mut transfer);
    assert_eq!(ack(&mut transfer, 0), [1, 2, 3, 4]);
    assert_eq!(ack(&mut transfer, 2), [3, 4, 5, 6]);
    assert_eq!((transfer.delivered(), transfer.resent()), (200, 2));
    transfer.time_out(transfer.deadline());
    assert_eq!(numbers(&drain(&mut transfer)), [3, 4, 5, 6]);
    assert_eq!(transfer.resent(), 6);
    assert_eq!(ack(&mut transfer, 6), [7, 8, 9, 10]);
    assert_eq!(ack(&mut transfer, 10), [11]);
    assert_eq!(ack(&mut transfer, 11), [0u16; 0]);
    assert_eq!((transfer.delivered(), transfer.resent()), (1050, 6));
    assert_eq!(transfer.ended(), Some(&Ended::Completed));
}

#[test]
fn who_never_answered_is_sent_a_block_at_most_twice() {
    let mut transfer = Transfer::new(&Request::new("f"), content(5000), LIMITS, Instant::now());
    let mut blocks = 0;
    while transfer.ended().is_none() {
        blocks += drain(&mut transfer).len();
        transfer.time_out(transfer.deadline());
    }
    assert_eq!(blocks, 2);
}

#[test]
fn a_slow_client_without_options_is_listened_to_and_sent_its_block_for_the_asking() {
    let start = Instant::now();
    let slow = || {
        let mut transfer = Transfer::new(&Request::new("f"), content(5000), LIMITS, start);
        assert_eq!(numbers(&drain(&mut transfer)), [1]);
        transfer.ask_again(start);
        assert!(drain(&mut transfer).is_empty(), "it is sent again by itself");
        for expected in [vec![1], vec![]] {
            transfer.time_out(transfer.deadline());
            assert_eq!(numbers(&drain(&mut transfer)), expected);
        }
        transfer
    };
    let mut transfer = slow();
    assert_eq!(ack(&mut transfer, 1), [2], "after a second");
    let mut transfer = slow();
    for _ in 0..3 {
        transfer.ask_again(start + Duration::from_secs(4));
        assert_eq!(numbers(&drain(&mut transfer)), [1]);
    }
    assert_eq!((transfer.ended(), transfer.resent()), (None, 4));
    assert_eq!(ack(&mut transfer, 1), [2]);
}

#[test]
fn time_before_the_deadline_changes_nothing() {
    let mut transfer = Transfer::new(&Request::new("f"), content(5000), LIMITS, Instant::now());
    drain(&mut transfer);
    transfer.time_out(transfer.deadline() - Duration::from_millis(1));
    assert!(drain(&mut transfer).is_empty());
}

/// A client as RFC 7440 has it, on a network in virtual time.
struct Client {
    window_size: u16,
    received: Vec<u8>,
    /// The last block in order.
    have: u64,
    /// Blocks since the last ACK.
    unanswered: u16,
    done: bool,
    block_size: usize,
}

impl Client {
    fn take(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        match Packet::decode(packet).unwrap() {
            Packet::OptionAck(_) if self.have == 0 => Some(Packet::Ack(0).encode()),
            Packet::Data { block, data } if block == on_wire(self.have + 1) => {
                self.have += 1;
                self.received.extend_from_slice(data);
                self.unanswered += 1;
                self.done = data.len() < self.block_size;
                if self.done || self.unanswered == self.window_size { self.answer() } else { None }
            }
            // Out of order, or seen already: say what there is.
            Packet::Data { .. } => self.answer(),
            _ => None,
        }
    }

    fn answer(&mut self) -> Option<Vec<u8>> {
        self.unanswered = 0;
        Some(Packet::Ack(on_wire(self.have)).encode())
    }
}

/// Runs a transfer over a network that loses, doubles and delays packets as `faults` says; returns what the client has
/// and how many packets the server sent.
fn run(length: usize, block_size: u16, window_size: u16, faults: &[u8]) -> (Vec<u8>, Option<Ended>, usize) {
    let start = Instant::now();
    let mut server = Transfer::new(&request(Some(block_size), Some(window_size)), content(length), LIMITS, start);
    let mut client = Client {
        window_size: server.window_size(),
        received: Vec::new(),
        have: 0,
        unanswered: 0,
        done: false,
        block_size: block_size.into(),
    };
    // (when, order) -> (to the server, packet)
    let mut wire: BTreeMap<(Duration, u64), (bool, Vec<u8>)> = BTreeMap::new();
    let (mut now, mut order, mut sent) = (Duration::ZERO, 0, 0);
    let mut faults = faults.iter().copied();
    let mut send = |wire: &mut BTreeMap<_, _>, now: Duration, to_server: bool, packet: Vec<u8>| {
        order += 1;
        let delay = Duration::from_micros(500);
        let mut put = |delay| wire.insert((now + delay, order), (to_server, packet.clone()));
        match faults.next() {
            Some(0..=1) => None,
            Some(2) => {
                put(delay);
                put(delay * 3)
            }
            Some(3) => put(delay * 5),
            _ => put(delay),
        };
    };
    let mut client_deadline = Duration::from_secs(1);
    for _ in 0..100_000 {
        for packet in drain(&mut server) {
            sent += 1;
            send(&mut wire, now, false, packet);
        }
        if server.ended().is_some() {
            break;
        }
        let deadline = (server.deadline() - start).min(client_deadline);
        match wire.first_key_value() {
            Some((&(when, _), _)) if when <= deadline => {
                let ((when, _), (to_server, packet)) = wire.pop_first().unwrap();
                now = when;
                if to_server {
                    server.receive(&Packet::decode(&packet).unwrap(), start + now);
                } else {
                    client_deadline = now + Duration::from_secs(1);
                    if let Some(answer) = client.take(&packet) {
                        send(&mut wire, now, true, answer);
                    }
                }
            }
            _ => {
                now = deadline;
                server.time_out(start + now);
                if now == client_deadline {
                    client_deadline += Duration::from_secs(1);
                    if let Some(answer) = client.answer() {
                        send(&mut wire, now, true, answer);
                    }
                }
            }
        }
    }
    (client.received, server.ended().cloned(), sent)
}

#[test]
fn a_clean_network_carries_every_block_once_at_every_window() {
    for window in 1..=64 {
        let (received, ended, sent) = run(10_000, 100, window, &[]);
        assert_eq!(received, content(10_000));
        assert_eq!(ended, Some(Ended::Completed));
        assert_eq!(sent, 102, "an OACK, 100 blocks and an empty one; window {window}");
    }
}

#[test]
fn one_doubled_packet_does_not_double_the_rest_of_the_file() {
    for window in 1..=16 {
        let (received, _, sent) = run(10_000, 10, window, &[2]);
        assert_eq!(received, content(10_000));
        assert!(sent < 1002 * 3 / 2, "{sent} packets for 1002; window {window}");
    }
}

proptest! {
    /// Whatever a network loses, doubles and reorders, the client has the file and nothing but the file.
    #[test]
    fn a_bad_network_delays_a_file_and_does_not_change_it(
        length in 0..6000usize,
        block_size in 8..600u16,
        window_size in 1..64u16,
        faults in prop::collection::vec(0..20u8, 0..300),
    ) {
        let (received, ended, sent) = run(length, block_size, window_size, &faults);
        prop_assert_eq!(&received[..], &content(length)[..received.len()]);
        // The last ACK may be lost, and then the server cannot know.
        prop_assert!(matches!(ended, Some(Ended::Completed | Ended::Lost)));
        prop_assert_eq!(received.len(), length);
        let blocks = length / usize::from(block_size) + 2;
        prop_assert!(sent <= blocks + 16 * (faults.len() + 8), "{} packets for {} blocks", sent, blocks);
    }

    #[test]
    fn whatever_a_client_sends_a_transfer_stays_within_its_window(
        packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<u8>()), 0..100),
    ) {
        let mut now = Instant::now();
        let mut transfer = Transfer::new(&request(Some(8), Some(9)), content(4000), LIMITS, now);
        for (bytes, choice) in packets {
            prop_assert!(drain(&mut transfer).len() <= 9);
            let bytes = if choice < 200 { vec![0, 4, 0, choice] } else { bytes };
            if let Ok(packet) = Packet::decode(&bytes) {
                transfer.receive(&packet, now);
            }
            if choice % 7 == 0 {
                now += Duration::from_millis(300);
                transfer.time_out(now);
            }
        }
    }
}
