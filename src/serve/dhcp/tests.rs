use std::os::unix::net::UnixDatagram;

use dhcproto::v4::MessageType;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio::net::UdpSocket;
use tokio_util::sync::DropGuard;

use super::*;
use crate::model::boot::Step;
use crate::model::firmware::Firmware;
use crate::model::mac::Mac;
use crate::model::net::{AddressPlan, Parts, Subnet};
use crate::serve::loaders::{Loader, Loaders};
use crate::serve::observe::Observed;
use crate::serve::rules::Rules;
use crate::wire::dhcp::{DOCTOR, Packet, code};
use crate::wire::ethernet::{BROADCAST, Frame};
use crate::wire::udp::Datagram;

#[derive(Default)]
struct Seen(Mutex<Vec<Observed>>);

impl Observer for Seen {
    fn observe(&self, seen: Observed) {
        self.0.lock().unwrap().push(seen);
    }
}

/// A server on loopback, running.
struct Site {
    server: SocketAddr,
    boot: SocketAddr,
    counters: Arc<DhcpCounters>,
    seen: Arc<Seen>,
    /// Stops it also when a test fails, which would otherwise wait for its threads.
    stop: DropGuard,
    task: tokio::task::JoinHandle<()>,
}

impl Site {
    fn start(mode: DhcpMode) -> Self {
        Self::keeping(mode, None)
    }

    fn keeping(mode: DhcpMode, leases: Option<&std::path::Path>) -> Self {
        let loader = Loader::new("ipxe.efi", Firmware::EfiX64, "x".into(), "x".into());
        let seen = Arc::new(Seen::default());
        let settings = Settings {
            listen: Listen::Address(Ipv4Addr::LOCALHOST, mode),
            leases: leases.map(std::path::Path::to_owned),
            port: 0,
            boot_port: 0,
            given: Given::default(),
            http_port: 8080,
        };
        let loaders = Arc::new(Loaders::of(vec![loader]));
        let rules = InForce::new(Rules { plan: Arc::new(plan()), loaders, ..Rules::default() });
        let observer: Arc<dyn Observer> = Arc::<Seen>::clone(&seen);
        let server = DhcpServer::bind(settings, rules, observer, Arc::default()).unwrap();
        let at = |port| server.addresses().into_iter().find(|(own, _)| *own == port).unwrap().1;
        let (stop, counters) = (CancellationToken::new(), server.counters());
        let (boot, address) = (at(Port::Boot), at(Port::Server));
        let task = tokio::spawn(server.run(stop.clone()));
        Self { server: address, boot, counters, seen, stop: stop.drop_guard(), task }
    }

    async fn end(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }
}

fn plan() -> AddressPlan {
    let parts = Parts {
        network: [127, 0, 0, 0].into(),
        netmask: [255, 255, 255, 0].into(),
        ranges: vec![[127, 0, 0, 1].into()..=[127, 0, 0, 99].into()],
        router: None,
        dns: vec![],
        domain: None,
        lease: Duration::from_secs(600),
    };
    AddressPlan::new(vec![Subnet::new(parts).unwrap()], BTreeMap::new()).unwrap()
}

fn request(kind: MessageType, ciaddr: Ipv4Addr) -> Packet {
    let mut packet = Packet::decode(&[&[1, 1, 6, 0][..], &[0; 232], &[99, 130, 83, 99]].concat()).unwrap();
    packet.chaddr[..6].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1]);
    packet.ciaddr = ciaddr;
    packet.options.put(code::MESSAGE_TYPE, &[kind.into()]);
    packet
}

fn firmware(kind: MessageType) -> Packet {
    let mut packet = request(kind, Ipv4Addr::LOCALHOST);
    packet.options.put(code::VENDOR_CLASS, b"PXEClient:Arch:00007:UNDI:003016");
    packet.options.put(code::ARCHITECTURE, &[0, 7]);
    packet
}

#[tokio::test]
async fn the_doctor_is_answered_however_often_it_asks_and_is_no_machine() {
    let site = Site::start(DhcpMode::Proxy);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut asks = firmware(MessageType::Discover);
    asks.options.put(code::CLIENT_ID, DOCTOR);
    for xid in 0..20 {
        client.send_to(&Packet { xid, ..asks.clone() }.encode(1472), site.server).await.unwrap();
        let (offer, _) = answer(&client).await;
        assert_eq!((offer.xid, offer.file.as_slice()), (xid, &b"ipxe.efi"[..]));
    }
    assert!(site.seen.0.lock().unwrap().is_empty());
    site.end().await;
}

async fn answer(client: &UdpSocket) -> (Packet, SocketAddr) {
    let mut buffer = [0; 2048];
    let received = tokio::time::timeout(Duration::from_secs(10), client.recv_from(&mut buffer)).await;
    let (length, from) = received.expect("an answer").unwrap();
    (Packet::decode(&buffer[..length]).unwrap(), from)
}

#[tokio::test]
async fn the_boot_server_answers_from_its_port_to_the_port_it_was_asked_from() {
    let site = Site::start(DhcpMode::Proxy);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(&firmware(MessageType::Request).encode(1472), site.boot).await.unwrap();
    let (packet, from) = answer(&client).await;
    assert_eq!(from, site.boot);
    assert_eq!(packet.message_type(), Some(MessageType::Ack));
    assert_eq!(packet.file.as_slice(), b"ipxe.efi");
    assert_eq!(packet.siaddr, Ipv4Addr::LOCALHOST);
    assert_eq!(site.seen.0.lock().unwrap()[0].step, Step::Offer);
    // It is counted after it is sent.
    while site.counters.answered.value() == 0 {
        tokio::task::yield_now().await;
    }
    site.end().await;
}

#[tokio::test]
async fn an_address_is_renewed_where_it_is_used() {
    let site = Site::start(DhcpMode::Full);
    let client = UdpSocket::bind("127.0.0.7:0").await.unwrap();
    let renewal = request(MessageType::Request, Ipv4Addr::new(127, 0, 0, 7)).encode(1472);
    client.send_to(&renewal, site.server).await.unwrap();
    let (packet, from) = answer(&client).await;
    assert_eq!(from, site.server);
    assert_eq!(packet.yiaddr, Ipv4Addr::new(127, 0, 0, 7));
    site.end().await;
}

#[tokio::test]
async fn a_lease_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let renewal = |machine: u8| {
        let mut packet = request(MessageType::Request, Ipv4Addr::new(127, 0, 0, 7));
        packet.chaddr[5] = machine;
        packet.encode(1472)
    };
    let client = UdpSocket::bind("127.0.0.7:0").await.unwrap();
    for machine in [1, 2] {
        let site = Site::keeping(DhcpMode::Full, Some(folder.path()));
        client.send_to(&renewal(machine), site.server).await.unwrap();
        let expected = if machine == 1 { MessageType::Ack } else { MessageType::Nak };
        // A refusal is a broadcast, which nobody hears on loopback.
        if machine == 1 {
            assert_eq!(answer(&client).await.0.message_type(), Some(expected));
        }
        while site.counters.received.value() == 0 {
            tokio::task::yield_now().await;
        }
        site.end().await;
    }
    let kept = journal::read(folder.path()).unwrap();
    assert_eq!(
        kept[&Ipv4Addr::new(127, 0, 0, 7)].by,
        Some(Mac([0x52, 0x54, 0, 0, 0, 1])),
        "the second one was refused"
    );
}

#[tokio::test]
async fn noise_changes_nothing_but_a_counter() {
    let site = Site::start(DhcpMode::Full);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut runner = TestRunner::deterministic();
    // Bytes of any kind, and such that begin as a packet does.
    let bytes = prop::collection::vec(any::<u8>(), 0..600);
    let valid = firmware(MessageType::Discover).encode(1472);
    for number in 0..400 {
        let noise = bytes.new_tree(&mut runner).unwrap().current();
        let datagram = match number % 4 {
            0 => [&valid[..240], &noise].concat(),
            1 => [&valid[..noise.len().min(240)], &noise].concat(),
            _ => noise,
        };
        // One at a time, so that no buffer overflows and every datagram counts.
        let before = site.counters.received.value();
        client.send_to(&datagram, if number % 2 == 0 { site.server } else { site.boot }).await.unwrap();
        while site.counters.received.value() == before {
            tokio::task::yield_now().await;
        }
    }
    client.send_to(&firmware(MessageType::Inform).encode(1472), site.boot).await.unwrap();
    let (packet, _) = answer(&client).await;
    assert_eq!(packet.message_type(), Some(MessageType::Ack));
    let counters = &site.counters;
    let accounted =
        counters.answered.value() + counters.malformed.value() + counters.ignored.value() + counters.unsent.value();
    assert_eq!(counters.received.value(), 401);
    assert!(counters.malformed.value() > 200);
    assert!(accounted >= 400, "the last one may still be counted: {accounted}");
    site.end().await;
}

#[tokio::test]
async fn off_opens_nothing_and_stops_when_told() {
    let observer: Arc<dyn Observer> = Arc::new(Seen::default());
    let settings = Settings {
        listen: Listen::Address(Ipv4Addr::LOCALHOST, DhcpMode::Off),
        leases: None,
        port: 0,
        boot_port: 0,
        given: Given::default(),
        http_port: 80,
    };
    let server = DhcpServer::bind(settings, InForce::default(), observer, Arc::default()).unwrap();
    assert!(server.addresses().is_empty());
    let stop = CancellationToken::new();
    let task = tokio::spawn(server.run(stop.clone()));
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_on_a_cable_is_answered_as_beside_another_server_and_noise_is_not() {
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
    let (own, card) = (Mac([0x52, 0x55, 10, 0, 2, 2]), Mac([0x52, 0x54, 0, 0, 0, 1]));
    let (machine, ours) = UnixDatagram::pair().unwrap();
    machine.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let cable = Cable::new(ours, ADDRESS, own, Duration::from_millis(50)).unwrap();
    let loader = Loader::new("ipxe.efi", Firmware::EfiX64, "x".into(), "x".into());
    let settings = Settings {
        listen: Listen::Cable(Arc::new(cable)),
        leases: None,
        port: 67,
        boot_port: 4011,
        given: Given::default(),
        http_port: 8080,
    };
    let seen = Arc::new(Seen::default());
    let observer: Arc<dyn Observer> = Arc::<Seen>::clone(&seen);
    let rules = InForce::new(Rules { loaders: Arc::new(Loaders::of(vec![loader])), ..Rules::default() });
    let server = DhcpServer::bind(settings, rules, observer, Arc::default()).unwrap();
    assert_eq!(server.addresses(), [(Port::Server, "10.0.2.2:67".parse().unwrap())]);
    let (stop, counters) = (CancellationToken::new(), server.counters());
    let _stopped = stop.clone().drop_guard();
    let task = tokio::spawn(server.run(stop.clone()));
    let frame = |packet: &Packet, from: &str, to: &str, destination: Mac| {
        let payload = packet.encode(1472);
        let datagram = Datagram { source: from.parse().unwrap(), destination: to.parse().unwrap(), payload: &payload };
        Frame { destination, source: card, packet: &datagram.write().unwrap() }.write()
    };
    let discover = firmware(MessageType::Discover);
    let everybody = "255.255.255.255:67";
    let noise = [
        vec![],
        vec![0xff; 60],
        frame(&discover, "0.0.0.0:68", everybody, BROADCAST)[..200].to_vec(),
        // To a port and to a computer that are not ours.
        frame(&discover, "0.0.0.0:68", "255.255.255.255:68", BROADCAST),
        frame(&discover, "0.0.0.0:68", "10.0.2.3:67", BROADCAST),
    ];
    for bytes in noise {
        machine.send(&bytes).unwrap();
    }
    let hear = || {
        let mut buffer = [0; 2048];
        let length = machine.recv(&mut buffer).unwrap();
        let frame = Frame::read(&buffer[..length]).unwrap();
        let Datagram { source, destination, payload } = Datagram::read(frame.packet).unwrap();
        (
            frame.source,
            frame.destination,
            [source, destination].map(|end| end.to_string()),
            Packet::decode(payload).unwrap(),
        )
    };
    let unaddressed = Packet { ciaddr: Ipv4Addr::UNSPECIFIED, ..discover };
    machine.send(&frame(&unaddressed, "0.0.0.0:68", everybody, BROADCAST)).unwrap();
    let (source, destination, ends, offer) = hear();
    assert_eq!((source, destination), (own, BROADCAST));
    assert_eq!(ends, ["10.0.2.2:67", "255.255.255.255:68"]);
    assert_eq!((offer.message_type(), offer.yiaddr), (Some(MessageType::Offer), Ipv4Addr::UNSPECIFIED));
    assert_eq!((offer.file.as_slice(), offer.siaddr), (&b"ipxe.efi"[..], ADDRESS));
    let asks = Packet { ciaddr: [10, 0, 2, 15].into(), ..firmware(MessageType::Request) };
    machine.send(&frame(&asks, "10.0.2.15:4011", "10.0.2.2:4011", own)).unwrap();
    let (_, destination, ends, answer) = hear();
    assert_eq!(destination, card);
    assert_eq!(ends, ["10.0.2.2:4011", "10.0.2.15:4011"]);
    assert_eq!((answer.message_type(), answer.file.as_slice()), (Some(MessageType::Ack), &b"ipxe.efi"[..]));
    assert_eq!(counters.malformed.value(), 0);
    stop.cancel();
    task.await.unwrap();
}
