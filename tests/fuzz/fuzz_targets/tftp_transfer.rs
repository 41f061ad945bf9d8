//! A transfer with a client that sends anything at any time: never a panic, never more than a window at once, and never
//! a byte that is not in the file.
#![no_main]

use std::time::{Duration, Instant};

use bivouac::serve::tftp::transfer::{Limits, Sending, Transfer};
use bivouac::wire::tftp::{Packet, Request};

libfuzzer_sys::fuzz_target!(|input: (Vec<u8>, u16, Option<u16>, Option<u16>, Vec<(u16, Vec<u8>)>)| {
    let (request, length, block_size, window_size, packets) = input;
    let asked = match Packet::decode(&request) {
        Ok(Packet::Read(request)) => request,
        _ => Request { block_size, window_size, ..Request::new("f") },
    };
    let content: Vec<u8> = (0..length).map(|index| index.to_le_bytes()[0]).collect();
    let mut now = Instant::now();
    let limits = Limits { block_size: 1468, window_size: 16 };
    let mut transfer = Transfer::new(&asked, content.clone().into(), limits, now);
    for (wait, packet) in packets {
        while let Some(sending) = transfer.next_sending() {
            if let Sending::Blocks(blocks) = sending {
                assert!(blocks.count() <= 16);
                let sent: Vec<u8> = blocks.packets().flat_map(|(_, data)| data.to_vec()).collect();
                assert!(sent.is_empty() || content.windows(sent.len()).any(|part| part == sent));
            }
        }
        now += Duration::from_millis(wait.into());
        transfer.time_out(now);
        if let Ok(packet) = Packet::decode(&packet) {
            transfer.receive(&packet, now);
        }
        assert!(transfer.delivered() <= u64::from(length));
    }
});
