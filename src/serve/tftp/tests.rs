use std::net::Ipv4Addr;
use std::sync::Mutex;

use super::*;
use crate::serve::observe::Observed;

#[derive(Default)]
struct Seen(Mutex<Vec<Observed>>);

impl Observer for Seen {
    fn observe(&self, seen: Observed) {
        self.0.lock().unwrap().push(seen);
    }
}

struct OneFile(Bytes);

impl Files for OneFile {
    fn open(&self, _: Client, path: &str) -> Option<Served> {
        (path == "ipxe.efi").then(|| Served { content: self.0.clone(), step: Some(Step::Loader), mac: None })
    }
}

/// A server on loopback, running.
struct Site {
    address: SocketAddr,
    content: Bytes,
    counters: Arc<TftpCounters>,
    seen: Arc<Seen>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Site {
    fn start(listen: &str) -> Self {
        Self::start_with(listen, TransferPorts::Own)
    }

    fn start_with(listen: &str, ports: TransferPorts) -> Self {
        let content: Bytes = (0..100_000u32).flat_map(u32::to_be_bytes).collect::<Vec<u8>>().into();
        let seen = Arc::new(Seen::default());
        let observer: Arc<dyn Observer> = Arc::<Seen>::clone(&seen);
        let files = Arc::new(OneFile(content.clone()));
        let server = TftpServer::bind(listen.parse().unwrap(), ports, files, observer).unwrap();
        let (address, counters, stop) = (server.address().unwrap(), server.counters(), CancellationToken::new());
        let task = tokio::spawn(server.run(stop.clone()));
        Self { address, content, counters, seen, stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn client() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 2048];
    let received = tokio::time::timeout(Duration::from_secs(10), socket.recv_from(&mut buffer)).await;
    let (length, from) = received.expect("a packet").unwrap();
    buffer.truncate(length);
    (buffer, from)
}

/// Waits until a counter says so; the client hears of the end before the server has counted it.
async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("the counter moves");
}

/// Reads a file as firmware does.
async fn read(server: SocketAddr, request: Request) -> Vec<u8> {
    read_from(server, request).await.0
}

/// The same, and where it came from.
async fn read_from(server: SocketAddr, request: Request) -> (Vec<u8>, SocketAddr) {
    let socket = client().await;
    let (block_size, window) = (request.block_size.unwrap_or(512), request.window_size.unwrap_or(1));
    socket.send_to(&Packet::Read(request.clone()).encode(), server).await.unwrap();
    let (mut content, mut have, mut unanswered) = (Vec::new(), 0u16, 0);
    loop {
        let (bytes, from) = receive(&socket).await;
        match Packet::decode(&bytes).unwrap() {
            Packet::OptionAck(_) => drop(socket.send_to(&Packet::Ack(0).encode(), from).await.unwrap()),
            Packet::Data { block, data } if block == have.wrapping_add(1) => {
                content.extend_from_slice(data);
                have = block;
                unanswered += 1;
                let done = data.len() < block_size.into();
                if done || unanswered == window {
                    unanswered = 0;
                    socket.send_to(&Packet::Ack(have).encode(), from).await.unwrap();
                }
                if done {
                    return (content, from);
                }
            }
            // On a busy computer a block may come again.
            Packet::Data { .. } => drop(socket.send_to(&Packet::Ack(have).encode(), from).await.unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

fn asked(block_size: Option<u16>, window_size: Option<u16>) -> Request {
    Request { block_size, window_size, wants_size: block_size.is_some(), ..Request::new("ipxe.efi") }
}

#[tokio::test]
async fn clients_old_and_new_read_the_whole_file() {
    let site = Site::start("127.0.0.1:0");
    for request in [asked(None, None), asked(Some(1432), None), asked(Some(1468), Some(4)), asked(Some(1024), Some(16))]
    {
        assert_eq!(read(site.address, request).await, site.content);
    }
    let counters = Arc::clone(&site.counters);
    until(|| counters.completed.value() == 4).await;
    assert_eq!(counters.bytes.value(), 4 * 400_000);
    let seen = site.seen.0.lock().unwrap()[0].clone();
    assert_eq!((seen.step, &*seen.detail), (Step::Loader, "ipxe.efi"));
    assert!(seen.sent.is_some_and(|sent| sent.is_whole() && sent.of == 400_000), "{seen:?}");
    assert_eq!(seen.peer, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    site.end().await;
}

#[tokio::test]
async fn many_clients_read_at_once() {
    let site = Site::start("127.0.0.1:0");
    let mut clients = JoinSet::new();
    for _ in 0..32 {
        clients.spawn(read(site.address, asked(Some(1468), Some(16))));
    }
    while let Some(content) = clients.join_next().await {
        assert_eq!(content.unwrap(), site.content);
    }
    site.end().await;
}

#[tokio::test]
async fn the_answer_comes_from_the_address_that_was_asked() {
    let site = Site::start("0.0.0.0:0");
    let socket = client().await;
    let target = SocketAddr::from(([127, 0, 0, 5], site.address.port()));
    socket.send_to(&Packet::Read(asked(Some(1468), None)).encode(), target).await.unwrap();
    let (_, from) = receive(&socket).await;
    assert_eq!(from.ip(), target.ip());
    socket.send_to(&Packet::Error { code: 8, message: String::new() }.encode(), from).await.unwrap();
    site.end().await;
}

#[tokio::test]
async fn a_probe_for_the_size_is_followed_by_the_transfer_from_the_same_port() {
    let site = Site::start("127.0.0.1:0");
    let socket = client().await;
    let request = Packet::Read(asked(Some(1468), Some(4))).encode();
    socket.send_to(&request, site.address).await.unwrap();
    let (bytes, from) = receive(&socket).await;
    let Packet::OptionAck(options) = Packet::decode(&bytes).unwrap() else { panic!("{bytes:?}") };
    assert_eq!(options[0], ("tsize".to_owned(), "400000".to_owned()));
    socket.send_to(&Packet::Error { code: 8, message: "User aborted".to_owned() }.encode(), from).await.unwrap();
    let counters = Arc::clone(&site.counters);
    until(|| counters.cancelled.value() == 1).await;
    until(|| site.seen.0.lock().unwrap().is_empty()).await;
    socket.send_to(&request, site.address).await.unwrap();
    let (again, other) = receive(&socket).await;
    assert_eq!(again, bytes);
    assert_ne!(from, other);
    site.end_with_cancel(&socket, other).await;
}

#[tokio::test]
async fn a_client_that_ends_a_transfer_and_asks_again_in_one_breath_is_answered() {
    for ports in [TransferPorts::Own, TransferPorts::Single] {
        let site = Site::start_with("127.0.0.1:0", ports);
        let socket = client().await;
        let request = Packet::Read(asked(Some(1468), Some(4))).encode();
        let cancel = Packet::Error { code: 8, message: "User aborted".to_owned() }.encode();
        socket.send_to(&request, site.address).await.unwrap();
        let (_, mut from) = receive(&socket).await;
        for answered in [false, false, true, true] {
            if answered {
                socket.send_to(&Packet::Ack(0).encode(), from).await.unwrap();
                next_block(&socket).await;
            }
            // Both are there before the server looks at either.
            socket.try_send_to(&cancel, from).unwrap();
            socket.try_send_to(&request, site.address).unwrap();
            from = loop {
                let (bytes, from) = receive(&socket).await;
                if let Packet::OptionAck(_) = Packet::decode(&bytes).unwrap() {
                    break from;
                }
            };
        }
        let counters = Arc::clone(&site.counters);
        until(|| counters.cancelled.value() == 4).await;
        assert_eq!((counters.started.value(), counters.resent.value(), counters.lost.value()), (5, 0, 0), "{ports:?}");
        site.end_with_cancel(&socket, from).await;
    }
}

#[tokio::test]
async fn a_client_that_asks_for_something_else_from_the_same_port_gets_that() {
    let site = Site::start("127.0.0.1:0");
    let socket = client().await;
    socket.send_to(&Packet::Read(asked(Some(1468), None)).encode(), site.address).await.unwrap();
    let (_, first) = receive(&socket).await;
    socket.send_to(&Packet::Read(asked(Some(1024), None)).encode(), site.address).await.unwrap();
    let (bytes, second) = receive(&socket).await;
    assert_ne!(first, second);
    let Packet::OptionAck(options) = Packet::decode(&bytes).unwrap() else { panic!("{bytes:?}") };
    assert!(options.contains(&("blksize".to_owned(), "1024".to_owned())), "{options:?}");
    let counters = Arc::clone(&site.counters);
    until(|| counters.cancelled.value() == 1).await;
    site.end_with_cancel(&socket, second).await;
}

impl Site {
    /// Ends the last transfer, so that stopping need not wait for it.
    async fn end_with_cancel(self, socket: &UdpSocket, transfer: SocketAddr) {
        socket.send_to(&Packet::Error { code: 0, message: String::new() }.encode(), transfer).await.unwrap();
        self.end().await;
    }
}

/// The number of the next DATA packet, with its sender.
async fn next_block(socket: &UdpSocket) -> (u16, SocketAddr) {
    loop {
        let (bytes, from) = receive(socket).await;
        if let Packet::Data { block, .. } = Packet::decode(&bytes).unwrap() {
            return (block, from);
        }
    }
}

#[tokio::test]
async fn a_repeated_request_does_not_begin_a_second_transfer() {
    let site = Site::start("127.0.0.1:0");
    let socket = client().await;
    let request = Packet::Read(asked(Some(1468), None)).encode();
    for _ in 0..3 {
        socket.send_to(&request, site.address).await.unwrap();
    }
    let (_, first) = receive(&socket).await;
    let counters = Arc::clone(&site.counters);
    until(|| counters.received.value() == 3).await;
    assert_eq!((counters.started.value(), counters.ignored.value()), (1, 2));
    // Once answered, another request may be a new beginning, and may be an old packet. The first transfer goes on …
    socket.send_to(&Packet::Ack(0).encode(), first).await.unwrap();
    assert_eq!(next_block(&socket).await, (1, first));
    socket.send_to(&request, site.address).await.unwrap();
    until(|| counters.started.value() == 2).await;
    socket.send_to(&Packet::Ack(1).encode(), first).await.unwrap();
    let second = loop {
        let (bytes, from) = receive(&socket).await;
        match Packet::decode(&bytes).unwrap() {
            Packet::OptionAck(_) if from != first => break from,
            _ => {}
        }
    };
    assert_eq!(counters.cancelled.value(), 0);
    // … until the client answers the second one.
    socket.send_to(&Packet::Ack(0).encode(), second).await.unwrap();
    until(|| counters.cancelled.value() == 1).await;
    let seen = site.seen.0.lock().unwrap()[0].clone();
    assert!(seen.detail.starts_with("ipxe.efi: replaced") && !seen.sent.unwrap().is_whole(), "{seen:?}");
    site.end_with_cancel(&socket, second).await;
}

#[tokio::test]
async fn a_stranger_is_told_that_it_is_one_and_the_transfer_goes_on() {
    let site = Site::start("127.0.0.1:0");
    let (socket, stranger) = (client().await, client().await);
    socket.send_to(&Packet::Read(asked(Some(1468), None)).encode(), site.address).await.unwrap();
    let (_, transfer) = receive(&socket).await;
    // Neither ends the transfer, and only the second is answered.
    for packet in [Packet::Error { code: 0, message: String::new() }, Packet::Ack(0)] {
        stranger.send_to(&packet.encode(), transfer).await.unwrap();
    }
    let (bytes, from) = receive(&stranger).await;
    assert!(matches!(Packet::decode(&bytes), Ok(Packet::Error { code: error_code::UNKNOWN_PORT, .. })), "{bytes:?}");
    assert_eq!(from, transfer);
    socket.send_to(&Packet::Ack(0).encode(), transfer).await.unwrap();
    assert_eq!(next_block(&socket).await, (1, transfer));
    site.end_with_cancel(&socket, transfer).await;
}

#[tokio::test]
async fn with_a_single_port_everything_comes_from_the_one_that_was_asked() {
    let site = Site::start_with("0.0.0.0:0", TransferPorts::Single);
    let target = SocketAddr::from(([127, 0, 0, 5], site.address.port()));
    let mut clients = JoinSet::new();
    for window in [None, Some(4), Some(16), Some(64)] {
        clients.spawn(read_from(target, asked(Some(1468), window)));
    }
    while let Some(read) = clients.join_next().await {
        let (content, from) = read.unwrap();
        assert_eq!(from, target);
        assert_eq!(content, site.content);
    }
    // A transfer that is running when the server is told to stop comes to its end.
    let socket = client().await;
    socket.send_to(&Packet::Read(asked(Some(1468), None)).encode(), target).await.unwrap();
    receive(&socket).await;
    site.stop.cancel();
    tokio::task::yield_now().await;
    socket.send_to(&Packet::Ack(0).encode(), target).await.unwrap();
    assert_eq!(next_block(&socket).await, (1, target));
    site.end_with_cancel(&socket, target).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_is_given_up_after_twelve_seconds() {
    let site = Site::start("127.0.0.1:0");
    let socket = client().await;
    socket.send_to(&Packet::Read(asked(Some(1468), None)).encode(), site.address).await.unwrap();
    let counters = Arc::clone(&site.counters);
    until(|| counters.started.value() == 1).await;
    let started = tokio::time::Instant::now();
    while counters.lost.value() == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(started.elapsed().as_secs(), 12);
    assert_eq!(counters.resent.value(), 6);
    for _ in 0..7 {
        assert!(matches!(Packet::decode(&receive(&socket).await.0), Ok(Packet::OptionAck(_))));
    }
    assert!(site.seen.0.lock().unwrap()[0].detail.contains("fell silent; 6 packets were sent again"));
    site.end().await;
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_with_a_reason() {
    let site = Site::start("127.0.0.1:0");
    let socket = client().await;
    for (request, code, text) in [
        (&b"\0\x01no.efi\0octet\0"[..], 1, "no such file"),
        (b"\0\x01../ipxe.efi\0octet\0", 1, "no such file"),
        (b"\0\x02ipxe.efi\0octet\0", 2, "this server is read only"),
        (b"\0\x01ipxe.efi\0netascii\0", 0, "only octet (binary) transfers are served"),
        (b"\0\x01ipxe.efi\0octet", 4, "the request is malformed"),
        (b"\0\x01\xe9\0octet\0", 4, "the request is malformed"),
    ] {
        socket.send_to(request, site.address).await.unwrap();
        let (bytes, _) = receive(&socket).await;
        assert_eq!(Packet::decode(&bytes), Ok(Packet::Error { code, message: text.to_owned() }), "{request:?}");
    }
    let counters = Arc::clone(&site.counters);
    until(|| counters.refused.value() == 4 && counters.malformed.value() == 2).await;
    assert_eq!(counters.started.value(), 0);
    site.end().await;
}

#[tokio::test]
async fn noise_is_counted_and_not_answered() {
    let site = Site::start("127.0.0.1:0");
    let socket = client().await;
    let noise = [
        &b""[..],
        b"\0",
        b"\0\x03",
        b"\0\x07abc",
        b"\xff\xff\xff",
        b"\0\x03\0\x01data",
        b"\0\x04\0\x01",
        b"\0\x05\0\x01x\0",
        b"\0\x06a\0b\0",
    ];
    for (sent, datagram) in noise.iter().enumerate() {
        socket.send_to(datagram, site.address).await.unwrap();
        let counters = Arc::clone(&site.counters);
        until(|| counters.received.value() == sent as u64 + 1).await;
    }
    let counters = Arc::clone(&site.counters);
    until(|| counters.malformed.value() == 5 && counters.ignored.value() == 4).await;
    // The first answer belongs to the one good request.
    socket.send_to(b"\0\x01no.efi\0octet\0", site.address).await.unwrap();
    let (bytes, _) = receive(&socket).await;
    assert!(matches!(Packet::decode(&bytes), Ok(Packet::Error { code: 1, .. })));
    site.end().await;
}
