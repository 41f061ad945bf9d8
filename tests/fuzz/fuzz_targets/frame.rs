//! Frames and the datagrams in them: never a panic, and what is read is written back and read the same.
#![no_main]

use bivouac::wire::ethernet::Frame;
use bivouac::wire::udp::Datagram;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(frame) = Frame::read(bytes) else { return };
    assert_eq!(Frame::read(&frame.write()), Some(frame));
    if let Some(datagram) = Datagram::read(frame.packet) {
        let packet = datagram.write().expect("it was in a packet");
        assert_eq!(Datagram::read(&packet), Some(datagram));
    }
});
