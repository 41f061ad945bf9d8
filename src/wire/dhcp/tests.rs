use dhcproto::v4::OptionCode;
use dhcproto::{Decodable, Decoder};
use proptest::prelude::*;

use super::*;

/// Packets sent by real firmware: iPXE as Debian 12 packages it, and OVMF.
const IPXE_DISCOVER: &str = include_str!("testdata/ipxe-discover.hex");
const IPXE_REQUEST: &str = include_str!("testdata/ipxe-request.hex");
const OVMF_DISCOVER: &str = include_str!("testdata/ovmf-discover.hex");
const OVMF_REQUEST: &str = include_str!("testdata/ovmf-request.hex");

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn decode(hex: &str) -> Packet {
    Packet::decode(&bytes(hex)).unwrap()
}

/// A request with these bytes in its options field.
fn with_options(field: &[u8]) -> Vec<u8> {
    let mut packet = bytes(OVMF_DISCOVER);
    packet.truncate(HEADER);
    packet.extend_from_slice(field);
    packet
}

#[test]
fn what_ipxe_sends_is_understood() {
    let packet = decode(IPXE_DISCOVER);
    assert_eq!(packet.direction, Direction::Request);
    assert_eq!(packet.mac(), Some(Mac([0x52, 0x54, 0, 0xce, 0, 1])));
    assert_eq!(packet.xid, 0x1c63_297e);
    assert_eq!(packet.secs, 4);
    assert_eq!(packet.flags, 0);
    let options = &packet.options;
    assert_eq!(options.message_type(), Some(MessageType::Discover));
    assert_eq!(options.payload_limit(), 1472 - 28);
    assert_eq!(options.architectures().collect::<Vec<_>>(), [7]);
    assert_eq!(options.interface(), Some([1, 3, 10]));
    assert_eq!(options.vendor_class(), b"PXEClient:Arch:00007:UNDI:003010");
    assert!(options.has_user_class(b"iPXE"));
    assert!(options.asks_for(code::BOOT_FILE) && !options.asks_for(code::MACHINE_ID));
    assert_eq!(options.get(code::CLIENT_ID), Some(&[1, 0x52, 0x54, 0, 0xce, 0, 1][..]));
    assert_eq!(options.machine_id(), Some(&[0; 17][..]));
    let ipxe = options.ipxe().unwrap();
    assert_eq!(sub_option(ipxe, 0x13), Some(&[1][..]), "HTTP");
    assert_eq!(sub_option(ipxe, 0x14), None, "no HTTPS");
    assert_eq!(sub_option(ipxe, 0xeb), Some(&[1, 0, 0][..]), "version");
}

#[test]
fn what_ipxe_requests_names_server_and_address() {
    let packet = decode(IPXE_REQUEST);
    assert_eq!(packet.message_type(), Some(MessageType::Request));
    assert_eq!(packet.options.server_id(), Some(Ipv4Addr::new(10, 251, 8, 1)));
    assert_eq!(packet.options.requested_address(), Some(Ipv4Addr::new(10, 251, 8, 56)));
}

#[test]
fn what_ovmf_sends_is_understood() {
    let packet = decode(OVMF_DISCOVER);
    assert_eq!(packet.mac(), Some(Mac([0x52, 0x54, 0, 0xce, 0, 2])));
    assert_eq!(packet.flags, BROADCAST);
    let options = &packet.options;
    assert_eq!(options.message_type(), Some(MessageType::Discover));
    assert_eq!(options.architectures().collect::<Vec<_>>(), [7]);
    assert_eq!(options.vendor_class(), b"PXEClient:Arch:00007:UNDI:003000");
    assert!(options.asks_for(code::MACHINE_ID) && options.asks_for(code::TFTP_SERVER));
    assert_eq!(options.ipxe(), None);
    assert_eq!(options.machine_id().map(<[u8]>::len), Some(17));
    let request = decode(OVMF_REQUEST);
    assert_eq!(request.options.requested_address(), Some(Ipv4Addr::new(10, 251, 8, 57)));
    assert_eq!(request.options.payload_limit(), 1472 - 28, "65280 is more than a frame");
}

#[test]
fn real_packets_survive_a_round_trip() {
    for hex in [IPXE_DISCOVER, IPXE_REQUEST, OVMF_DISCOVER, OVMF_REQUEST] {
        let packet = decode(hex);
        let again = packet.encode(1472);
        assert_eq!(Packet::decode(&again).unwrap(), packet);
        assert_eq!(again, bytes(hex), "53 was first already, and 300 bytes are exceeded");
    }
}

#[test]
fn a_packet_cut_off_in_its_header_is_refused() {
    let whole = bytes(OVMF_DISCOVER);
    for length in 0..HEADER {
        assert_eq!(Packet::decode(&whole[..length]), Err(DecodeError::Short(length)));
    }
    assert!(Packet::decode(&whole[..HEADER]).unwrap().message_type().is_none());
}

#[test]
fn a_header_that_cannot_be_is_refused() {
    let spoilt = |at: usize, value: u8| {
        let mut packet = bytes(OVMF_DISCOVER);
        packet[at] = value;
        Packet::decode(&packet)
    };
    assert_eq!(spoilt(0, 0), Err(DecodeError::Operation(0)));
    assert_eq!(spoilt(0, 3), Err(DecodeError::Operation(3)));
    assert_eq!(spoilt(239, 0x64), Err(DecodeError::Cookie));
    assert_eq!(spoilt(2, 17), Err(DecodeError::HardwareLength(17)));
    assert_eq!(spoilt(2, 255), Err(DecodeError::HardwareLength(255)));
    assert_eq!(spoilt(2, 0).unwrap().mac(), None);
    assert_eq!(spoilt(2, 16).unwrap().mac(), None);
}

#[test]
fn an_option_cut_off_ends_the_list_and_keeps_what_was_before() {
    let whole = with_options(&[53, 1, 1, 93, 2, 0, 7]);
    let before = Packet::decode(&whole[..HEADER + 3]).unwrap();
    for cut in [HEADER + 4, HEADER + 5, HEADER + 6] {
        assert_eq!(Packet::decode(&whole[..cut]).unwrap(), before);
    }
}

#[test]
fn an_option_of_the_wrong_size_hides_no_later_one() {
    // A Latin-1 host name, an address of three bytes, no message type at all, then what matters.
    let field =
        [&[12, 4, b'c', b'a', b'f', 0xe9, 50, 3, 1, 2, 3, 53, 0, 57, 1, 5][..], &[93, 3, 0, 7, 9, 60, 1, b'x', 255]]
            .concat();
    let options = Packet::decode(&with_options(&field)).unwrap().options;
    assert_eq!(options.requested_address(), None);
    assert_eq!(options.message_type(), None);
    assert_eq!(options.payload_limit(), 548);
    assert_eq!(options.architectures().collect::<Vec<_>>(), [7]);
    assert_eq!(options.vendor_class(), b"x");
}

#[test]
fn parts_of_an_option_are_joined_wherever_they_are() {
    let options =
        Packet::decode(&with_options(&[43, 2, 1, 2, 60, 1, b'x', 0, 43, 1, 3, 255, 43, 1, 4])).unwrap().options;
    assert_eq!(options.get(43), Some(&[1, 2, 3][..]), "nothing after the end mark counts");
    assert_eq!(options.iter().count(), 2);
}

#[test]
fn overloaded_fields_are_read_file_first() {
    for (bits, expected, file, sname) in [
        (1, &b"opt-file"[..], &b""[..], &b"C\x05-name\xff"[..]),
        (2, b"opt-name", b"C\x05-file\xff", b""),
        (3, b"opt-file-name", b"", b""),
        (0, b"opt", b"C\x05-file\xff", b"C\x05-name\xff"),
        (4, b"opt", b"C\x05-file\xff", b"C\x05-name\xff"),
    ] {
        let mut packet = with_options(&[52, 1, bits, 67, 3, b'o', b'p', b't', 255]);
        packet[44..52].copy_from_slice(b"C\x05-name\xff");
        packet[108..116].copy_from_slice(b"C\x05-file\xff");
        let packet = Packet::decode(&packet).unwrap();
        assert_eq!(packet.options.get(code::BOOT_FILE), Some(expected), "{bits}");
        assert_eq!((&packet.file[..], &packet.sname[..]), (file, sname), "{bits}");
    }
}

#[test]
fn a_user_class_counts_raw_and_with_its_length() {
    let class = |field: &[u8]| {
        let mut options = Options::default();
        options.put(code::USER_CLASS, field);
        options.has_user_class(b"iPXE")
    };
    assert!(class(b"iPXE") && class(b"\x04iPXE") && class(b"\x03abc\x04iPXE"));
    assert!(!class(b"") && !class(b"iPXE2") && !class(b"\x05iPXE") && !class(b"\x04gPXE"));
    assert!(!Options::default().has_user_class(b"iPXE"));
}

#[test]
fn a_short_answer_is_filled_up_and_the_relay_option_comes_last() {
    let mut answer = decode(OVMF_DISCOVER).answer(MessageType::Offer);
    answer.options.put(code::RELAY_AGENT, &[1, 2, 0xab, 0xcd, 1, 1, 9]);
    answer.options.put(code::SERVER_ID, &[10, 0, 0, 1]);
    let bytes = answer.encode(548);
    assert_eq!(bytes.len(), 300);
    let field = [&[53, 1, 2, 54, 4, 10, 0, 0, 1][..], &[82, 7, 1, 2, 0xab, 0xcd, 1, 1, 9, 255, 0]].concat();
    assert_eq!(bytes[HEADER..HEADER + field.len()], field);
    assert_eq!(bytes[..4], [2, 1, 6, 0]);
    assert!(bytes[HEADER + field.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn what_does_not_fit_is_left_out_and_the_relay_option_never() {
    let mut answer = decode(OVMF_DISCOVER).answer(MessageType::Offer);
    answer.options.put(code::RELAY_AGENT, &[7; 200]);
    answer.options.put(code::DNS, &[1; 200]);
    answer.options.put(code::BOOT_FILE, b"loader");
    let bytes = answer.encode(548);
    assert!(bytes.len() <= 548);
    let read = Packet::decode(&bytes).unwrap().options;
    assert_eq!(read.get(code::DNS), None);
    assert_eq!(read.get(code::BOOT_FILE), Some(&b"loader"[..]));
    assert_eq!(read.get(code::RELAY_AGENT), Some(&[7; 200][..]));
    assert_eq!(Packet::decode(&answer.encode(1472)).unwrap().options.get(code::DNS), Some(&[1; 200][..]));
}

#[test]
fn a_long_option_is_split_and_joined_again() {
    let mut answer = decode(OVMF_DISCOVER).answer(MessageType::Offer);
    answer.options.put(code::BOOT_FILE, &[b'a'; 600]);
    let bytes = answer.encode(1472);
    assert_eq!(bytes.len(), HEADER + 3 + options::written_size(600) + 2);
    assert_eq!(Packet::decode(&bytes).unwrap().options.get(code::BOOT_FILE), Some(&[b'a'; 600][..]));
    // UEFI writes a NUL behind it: the end of the options is not what it overwrites.
    assert_eq!(bytes[bytes.len() - 3..], [b'a', code::PAD, code::END]);
}

#[test]
fn option_codes_are_those_of_the_registry() {
    for (own, theirs) in [
        (code::NETMASK, OptionCode::SubnetMask),
        (code::VENDOR, OptionCode::VendorExtensions),
        (code::OVERLOAD, OptionCode::OptionOverload),
        (code::MESSAGE_TYPE, OptionCode::MessageType),
        (code::SERVER_ID, OptionCode::ServerIdentifier),
        (code::PARAMETERS, OptionCode::ParameterRequestList),
        (code::MAX_SIZE, OptionCode::MaxMessageSize),
        (code::VENDOR_CLASS, OptionCode::ClassIdentifier),
        (code::CLIENT_ID, OptionCode::ClientIdentifier),
        (code::BOOT_FILE, OptionCode::BootfileName),
        (code::RELAY_AGENT, OptionCode::RelayAgentInformation),
        (code::ARCHITECTURE, OptionCode::ClientSystemArchitecture),
        (code::MACHINE_ID, OptionCode::ClientMachineIdentifier),
    ] {
        assert_eq!(OptionCode::from(own), theirs);
    }
}

/// Options with 53 first and 82 last, which is how they are written.
fn any_options() -> impl Strategy<Value = Options> {
    let other = (1..=254u8, prop::collection::vec(any::<u8>(), 0..40));
    (any::<u8>(), prop::collection::vec(other, 0..12), prop::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(kind, others, relay)| {
            let mut options = Options::default();
            options.put(code::MESSAGE_TYPE, &[kind]);
            for (code, data) in others {
                // 52 would turn the text fields into options.
                if !matches!(code, code::MESSAGE_TYPE | code::RELAY_AGENT | code::OVERLOAD) {
                    options.put(code, &data);
                }
            }
            options.put(code::RELAY_AGENT, &relay);
            options
        },
    )
}

proptest! {
    /// A list of pairs is what options are to whoever uses them.
    #[test]
    fn options_are_a_list_in_the_order_of_first_appearance(
        puts in prop::collection::vec((0..8u8, prop::collection::vec(any::<u8>(), 0..300)), 0..24),
    ) {
        let (mut options, mut list) = (Options::default(), Vec::<(u8, Vec<u8>)>::new());
        for (code, data) in puts.into_iter().map(|(code, data)| (code.wrapping_sub(1), data)) {
            options.put(code, &data);
            match list.iter_mut().find(|(own, _)| *own == code) {
                Some((_, old)) => *old = data,
                None if matches!(code, code::PAD | code::END) => {}
                None => list.push((code, data)),
            }
        }
        prop_assert!(options.iter().eq(list.iter().map(|(code, data)| (*code, data.as_slice()))));
        prop_assert!(list.iter().all(|(code, data)| options.get(*code) == Some(data)));
    }

    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        let _ = Packet::decode(&bytes);
    }

    #[test]
    fn decoding_options_never_panics_nor_grows(field in prop::collection::vec(any::<u8>(), 0..500), overload in 0..5u8) {
        let bytes = with_options(&[&[52, 1, overload][..], &field].concat());
        let packet = Packet::decode(&bytes).unwrap();
        let size: usize = packet.options.iter().map(|(_, data)| data.len()).sum();
        prop_assert!(size <= bytes.len());
        let options = &packet.options;
        let _ = (options.payload_limit(), options.machine_id(), options.architectures().count(), options.has_user_class(b"x"));
        let _ = (options.relay_address(5), options.ipxe().map(|ipxe| sub_options(ipxe).count()), options.lease_time());
        let again = packet.encode(1472);
        prop_assert!(again.len() <= 1472);
        prop_assert!(Packet::decode(&again).is_ok());
    }

    #[test]
    fn what_is_written_is_read_back(
        numbers in (any::<u8>(), 0..=16u8, any::<u8>(), any::<u32>(), any::<u16>(), any::<u16>()),
        addresses in any::<[u32; 4]>(),
        chaddr in any::<[u8; 16]>(),
        texts in ("[a-z]{0,64}", "[a-z]{0,128}"),
        options in any_options(),
    ) {
        let (htype, hlen, hops, xid, secs, flags) = numbers;
        let [ciaddr, yiaddr, siaddr, giaddr] = addresses.map(Ipv4Addr::from_bits);
        let packet = Packet {
            direction: Direction::Request,
            htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr,
            sname: texts.0.into_bytes().into(),
            file: texts.1.into_bytes().into(),
            options,
        };
        prop_assert_eq!(Packet::decode(&packet.encode(1472)).unwrap(), packet);
    }

    /// Where the full decoder of `dhcproto` accepts a packet, both see the same.
    #[test]
    fn a_second_decoder_agrees(options in any_options(), xid in any::<u32>(), flags in any::<u16>()) {
        let mut packet = decode(OVMF_DISCOVER);
        packet.xid = xid;
        packet.flags = flags;
        packet.options = Options::default();
        // `dhcproto` subtracts from the lengths of these unchecked, which a test build turns into a panic.
        for (code, data) in options.iter().filter(|(code, _)| !matches!(code, 80 | 81 | 94 | 152..=155)) {
            packet.options.put(code, data);
        }
        let bytes = packet.encode(1472);
        if let Ok(theirs) = v4::Message::decode(&mut Decoder::new(&bytes)) {
            prop_assert_eq!(theirs.xid(), packet.xid);
            prop_assert_eq!(u16::from(theirs.flags()), packet.flags);
            prop_assert_eq!(theirs.chaddr(), &packet.chaddr[..6]);
            prop_assert_eq!(theirs.opts().msg_type(), packet.message_type());
            let unknown = theirs.opts().iter().filter_map(|(code, option)| match option {
                v4::DhcpOption::Unknown(option) => Some((u8::from(*code), option.data())),
                _ => None,
            });
            for (code, data) in unknown {
                prop_assert_eq!(packet.options.get(code), Some(data));
            }
            for (code, _) in theirs.opts().iter() {
                // Option 37 is read as 23.
                prop_assert!(u8::from(*code) == 23 || packet.options.get(u8::from(*code)).is_some());
            }
        }
        let borrowed = borrowed::Message::new(&bytes).unwrap();
        for option in borrowed.opts() {
            prop_assert_eq!(packet.options.get(option.code().into()), Some(option.data()));
        }
    }
}
