use proptest::prelude::*;

use super::*;

fn read(bytes: &[u8]) -> Request {
    match Packet::decode(bytes) {
        Ok(Packet::Read(request)) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_real_firmware_asks_for_is_understood() {
    let ipxe = read(b"\0\x01ipxe.efi\0octet\0blksize\x001432\0tsize\x000\0");
    assert_eq!(ipxe, Request { block_size: Some(1432), wants_size: true, ..Request::new("ipxe.efi") });
    let probe = read(b"\0\x01ipxe.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0");
    let ovmf = Request { block_size: Some(1468), wants_size: true, window_size: Some(4), ..Request::new("ipxe.efi") };
    assert_eq!(probe, ovmf);
    assert_eq!(
        Packet::decode(b"\0\x05\0\x08User aborted the transfer\0"),
        Ok(Packet::Error { code: 8, message: "User aborted the transfer".to_owned() })
    );
}

#[test]
fn names_lose_what_roms_add() {
    for name in [
        &b"ipxe.efi"[..],
        b"/ipxe.efi",
        b"\\ipxe.efi",
        b"//ipxe.efi",
        b"ipxe.efi\xff",
        b"ipxe.efi \xff\xff",
        b"ipxe.efi\r\n\x01",
    ] {
        assert_eq!(read(&[b"\0\x01", name, b"\0octet\0"].concat()).path, "ipxe.efi");
    }
    assert_eq!(read(b"\0\x01a\\b\\c.efi\0octet\0").path, "a/b/c.efi");
    assert_eq!(read(b"\0\x01\0octet\0").path, "");
    assert_eq!(Packet::decode(b"\0\x01caf\xe9.efi\0octet\0"), Err(DecodeError::Name));
}

#[test]
fn case_filler_and_unknown_options_do_not_matter() {
    let request = read(b"\0\x01f\0OcTeT\0BLKSIZE\x001000\0multicast\0\0x\0y\0TimeOut\x003\0\0\0");
    assert!(request.octet);
    assert_eq!((request.block_size, request.timeout), (Some(1000), Some(3)));
    assert!(!read(b"\0\x01f\0netascii\0").octet);
}

#[test]
fn values_out_of_bounds_are_as_good_as_absent() {
    let request = read(b"\0\x01f\0octet\0blksize\x007\0timeout\x000\0windowsize\x0065536\0tsize\0x\0");
    assert!(!request.has_options());
    let request = read(b"\0\x01f\0octet\0blksize\x0065465\0timeout\x00256\0windowsize\x000\0");
    assert!(!request.has_options());
}

#[test]
fn a_packet_cut_off_is_refused_with_its_field() {
    for (bytes, field) in [
        (&b""[..], "operation"),
        (b"\0", "operation"),
        (b"\0\x01f", "file name"),
        (b"\0\x01f\0octet", "mode"),
        (b"\0\x01f\0octet\0blksize", "option name"),
        (b"\0\x01f\0octet\0blksize\x0010", "option value"),
        (b"\0\x03\0", "block number"),
        (b"\0\x04\0", "block number"),
        (b"\0\x05\0", "error code"),
        (b"\0\x06blksize\x0010", "option value"),
    ] {
        assert_eq!(Packet::decode(bytes), Err(DecodeError::Short(field)), "{bytes:?}");
    }
    assert_eq!(Packet::decode(b"\0\x07"), Err(DecodeError::Operation(7)));
    // Options nobody knows are left out, however many they are (RFC 2347).
    let many = [&b"\0\x01f\0octet\0"[..], &b"a\0b\0".repeat(200), b"blksize\x001024\0"].concat();
    let Ok(Packet::Read(request)) = Packet::decode(&many) else { panic!("{many:?}") };
    assert_eq!(request, Request { block_size: Some(1024), ..Request::new("f") });
}

fn any_request() -> impl Strategy<Value = Request> {
    let path = "[a-z0-9.-]{1,20}(/[a-z0-9.-]{1,20}){0,3}";
    let options =
        (prop::option::of(8..=65464u16), any::<bool>(), prop::option::of(1..=255u8), prop::option::of(1..=65535u16));
    (path, any::<bool>(), options).prop_map(|(path, octet, (block_size, wants_size, timeout, window_size))| Request {
        path,
        octet,
        block_size,
        wants_size,
        timeout,
        window_size,
    })
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Packet::decode(&bytes);
    }

    #[test]
    fn decoding_a_request_never_panics(rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Packet::decode(&[&[0, 1][..], &rest].concat());
    }

    #[test]
    fn requests_survive_a_round_trip(request in any_request()) {
        let packet = Packet::Read(request);
        let bytes = packet.encode();
        prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
    }

    #[test]
    fn answers_survive_a_round_trip(block in any::<u16>(), data in prop::collection::vec(any::<u8>(), 0..600), text in "[ -~]{0,90}") {
        for packet in [
            Packet::Data { block, data: &data },
            Packet::Ack(block),
            Packet::Error { code: block, message: text.clone() },
            Packet::OptionAck(vec![("blksize".to_owned(), block.to_string())]),
        ] {
            let bytes = packet.encode();
        prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
        }
    }
}
