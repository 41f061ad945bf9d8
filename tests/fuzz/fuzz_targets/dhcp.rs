//! DHCP packets: never a panic, and what is read can be written and read again.
#![no_main]

use bivouac::model::identity::Relay;
use bivouac::wire::dhcp::Packet;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(packet) = Packet::decode(bytes) {
        let again = Packet::decode(&packet.encode(65_535)).expect("what was written can be read");
        assert_eq!(again.xid, packet.xid);
        let relay = Relay::of(packet.giaddr, packet.options.relay(1), packet.options.relay(2));
        assert!(!relay.to_string().contains(char::is_control));
    }
});
