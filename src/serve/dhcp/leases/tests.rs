use proptest::prelude::*;

use super::*;
use crate::model::net::Parts;

fn plan(last: u8, reserved: &[(u8, u8)]) -> Arc<AddressPlan> {
    let parts = |network: u8| Parts {
        network: [10, 0, network, 0].into(),
        netmask: [255, 255, 255, 0].into(),
        ranges: vec![[10, 0, network, 10].into()..=[10, 0, network, last].into()],
        router: Some([10, 0, network, 11].into()),
        dns: vec![],
        domain: None,
        lease: Duration::from_secs(3600),
    };
    let subnets = [0, 1].map(|network| Subnet::new(parts(network)).unwrap()).to_vec();
    let reserved = reserved.iter().map(|(machine, last)| (mac(*machine), ip(*last))).collect();
    Arc::new(AddressPlan::new(subnets, reserved).unwrap())
}

const LEASE: Duration = Duration::from_secs(3600);

fn table(last: u8) -> (LeaseTable, Instant) {
    (LeaseTable::new(plan(last, &[])), Instant::now())
}

fn mac(number: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, number])
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

/// Offers and grants of the first network, to all.
impl LeaseTable {
    fn offers(&mut self, mac: Mac, wants: Option<Ipv4Addr>, now: Instant) -> Option<Ipv4Addr> {
        self.offer(Whom::All, 0, mac, wants, now)
    }

    fn grants(&mut self, mac: Mac, address: Ipv4Addr, now: Instant) -> Result<(), Refusal> {
        self.grant(Whom::All, 0, mac, address, now)
    }
}

#[test]
fn a_machine_gets_the_same_address_from_a_server_that_lost_everything() {
    let (mut one, now) = table(200);
    let first = one.offers(mac(1), None, now);
    assert!(first.is_some());
    assert_eq!(one.offers(mac(1), None, now), first, "asking twice changes nothing");
    let (mut restarted, now) = table(200);
    assert_eq!(restarted.offers(mac(1), None, now), first);
    // Written down, so that an upgrade does not renumber a site.
    assert_eq!(first, Some(ip(109)));
}

#[test]
fn every_address_is_given_once_and_then_there_is_none() {
    let (mut table, now) = table(29);
    table.set_own([ip(15)].into());
    let mut given: Vec<Ipv4Addr> = (0..18).map(|number| table.offers(mac(number), None, now).unwrap()).collect();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 18);
    assert!(!given.contains(&ip(15)), "our own");
    assert!(!given.contains(&ip(11)), "the router's");
    assert_eq!(table.offers(mac(99), None, now), None);
    assert!(table.offers(mac(99), None, now + OFFER).is_some(), "offers nobody took are free again");
}

#[test]
fn the_address_that_is_free_for_the_longest_time_is_given_again_first() {
    let (mut table, now) = table(13);
    for (number, last) in [(1, 10), (2, 12), (3, 13)] {
        table.grants(mac(number), ip(last), now + Duration::from_secs(u64::from(number))).unwrap();
    }
    let later = now + LEASE + Duration::from_secs(9);
    assert_eq!(table.offers(mac(9), None, later), Some(ip(10)));
    assert_eq!(table.offers(mac(8), None, later), Some(ip(12)));
    assert_eq!(table.offers(mac(1), None, later), Some(ip(13)));
    assert_eq!(table.offers(mac(7), None, later), None);
}

#[test]
fn a_wish_is_granted_when_the_address_is_free() {
    let (mut table, now) = table(29);
    assert_eq!(table.offers(mac(1), Some(ip(20)), now), Some(ip(20)));
    assert_ne!(table.offers(mac(2), Some(ip(20)), now), Some(ip(20)));
    assert!(table.offers(mac(3), Some([192, 0, 2, 1].into()), now).is_some());
    assert_eq!(table.offers(mac(1), Some(ip(21)), now), Some(ip(20)), "what it has comes first");
}

#[test]
fn an_unknown_machine_may_keep_a_free_address_and_no_other() {
    let (mut table, now) = table(29);
    assert_eq!(table.grants(mac(1), ip(20), now), Ok(()));
    assert_eq!(table.grants(mac(1), ip(20), now), Ok(()), "renewal");
    assert_eq!(table.grants(mac(2), ip(20), now), Err(Refusal::Taken));
    assert_eq!(table.grants(mac(2), ip(11), now), Err(Refusal::Taken));
    assert_eq!(table.grants(mac(2), ip(30), now), Err(Refusal::Outside));
    assert_eq!(table.grants(mac(2), ip(20), now + LEASE), Ok(()), "it ran out");
    assert_eq!(table.in_use(now + LEASE), 1);
}

#[test]
fn a_released_address_is_free_and_comes_back_to_its_machine() {
    let (mut table, now) = table(29);
    table.grants(mac(1), ip(20), now).unwrap();
    table.release(0, mac(1), ip(21), now);
    table.release(0, mac(2), ip(20), now);
    assert_eq!(table.in_use(now), 1, "neither is its own");
    table.release(0, mac(1), ip(20), now);
    assert_eq!(table.in_use(now), 0);
    assert_eq!(table.offers(mac(1), None, now), Some(ip(20)));
    table.release(0, mac(1), ip(20), now);
    assert_eq!(table.grants(mac(2), ip(20), now), Ok(()));
    assert_ne!(table.offers(mac(1), None, now), Some(ip(20)));
}

#[test]
fn who_goes_elsewhere_leaves_its_offer_and_keeps_its_lease() {
    let (mut table, now) = table(29);
    let offered = table.offers(mac(1), None, now).unwrap();
    table.withdraw(0, mac(1), now);
    assert_eq!((table.in_use(now), table.grants(mac(2), offered, now)), (0, Ok(())));
    table.offers(mac(2), None, now).unwrap();
    table.withdraw(0, mac(2), now);
    assert_eq!(table.in_use(now), 1, "another offer of what it has takes nothing away");
}

#[test]
fn a_machine_that_is_offered_another_address_leaves_the_one_it_had() {
    let mut table = LeaseTable::new(plan(29, &[]));
    let now = Instant::now();
    table.grants(mac(1), ip(20), now).unwrap();
    table.take_changes();
    table.keep_to(&plan(29, &[(1, 25)]), now);
    assert_eq!(table.offers(mac(1), None, now), Some(ip(25)));
    assert_eq!(table.take_changes().into_iter().collect::<Vec<_>>(), [(ip(20), None)]);
}

#[test]
fn a_clock_that_was_wrong_keeps_no_address_for_months() {
    let (mut table, now) = table(29);
    let until = now + Duration::from_secs(200 * 86_400);
    table.restore([(ip(20), Use { by: Some(mac(1)), until, is_offer: false })], now);
    assert_eq!(table.grants(mac(2), ip(20), now + LEASE), Err(Refusal::Taken));
    assert_eq!(table.grants(mac(2), ip(20), now + LEASE.max(LONGEST_LEFT)), Ok(()));
}

#[test]
fn a_declined_address_rests_and_only_its_machine_may_decline_it() {
    let (mut table, now) = table(29);
    let address = table.offers(mac(1), None, now).unwrap();
    table.decline(0, mac(2), address, now);
    assert_eq!(table.grants(mac(1), address, now), Ok(()));
    table.decline(0, mac(1), address, now);
    assert_eq!(table.grants(mac(1), address, now), Err(Refusal::Taken));
    assert_ne!(table.offers(mac(1), None, now), Some(address));
    assert_eq!(table.grants(mac(2), address, now + QUARANTINE), Ok(()));
}

#[test]
fn an_offer_does_not_shorten_a_lease() {
    let (mut table, now) = table(29);
    let address = table.offers(mac(1), None, now).unwrap();
    table.grants(mac(1), address, now).unwrap();
    table.offers(mac(1), None, now).unwrap();
    assert_eq!(table.grants(mac(2), address, now + 2 * OFFER), Err(Refusal::Taken));
}

#[test]
fn a_machine_with_an_address_of_its_own_gets_that_and_nobody_else_does() {
    // One within the range, one outside of it.
    for last in [20, 200] {
        let mut table = LeaseTable::new(plan(29, &[(1, last)]));
        let now = Instant::now();
        assert_eq!(table.offers(mac(2), Some(ip(last)), now).filter(|address| *address == ip(last)), None);
        assert!(table.grants(mac(2), ip(last), now).is_err());
        assert_eq!(table.offers(mac(1), Some(ip(25)), now), Some(ip(last)));
        assert_eq!(table.grants(mac(1), ip(25), now), Err(Refusal::Taken), "it has to take its own");
        assert_eq!(table.grants(mac(1), ip(last), now), Ok(()));
        assert!(table.offer(Whom::All, 1, mac(1), None, now).is_some(), "in another network it is like any other");
        assert_eq!(table.offer(Whom::Reserved, 0, mac(1), None, now), Some(ip(last)));
        assert_eq!(table.offer(Whom::Reserved, 0, mac(2), None, now), None);
        assert!(table.grant(Whom::Reserved, 0, mac(2), ip(22), now).is_err());
        table.decline(0, mac(1), ip(last), now);
        let other = table.offers(mac(1), None, now).unwrap();
        assert_ne!(other, ip(last), "while somebody else sits on it, it gets another");
        assert_eq!(table.grants(mac(1), other, now), Ok(()));
    }
}

#[test]
fn what_changed_is_told_once_and_put_back_it_is_the_same_table() {
    let (mut table, now) = table(29);
    table.offers(mac(8), Some(ip(29)), now);
    assert!(table.take_changes().is_empty(), "an offer is no lease");
    table.grants(mac(1), ip(20), now).unwrap();
    table.grants(mac(2), ip(21), now).unwrap();
    table.grants(mac(2), ip(22), now).unwrap();
    table.grants(mac(3), ip(23), now).unwrap();
    table.decline(0, mac(3), ip(23), now);
    let changes = table.take_changes();
    assert_eq!(changes.keys().copied().collect::<Vec<_>>(), [ip(20), ip(21), ip(22), ip(23)]);
    assert_eq!(changes[&ip(21)], None, "the machine moved");
    assert!(table.take_changes().is_empty());

    let mut restarted = LeaseTable::new(plan(22, &[(4, 21)]));
    restarted.restore(changes.into_iter().filter_map(|(address, change)| Some((address, change?))), now);
    assert!(restarted.take_changes().is_empty());
    assert_eq!(restarted.grants(mac(9), ip(20), now), Err(Refusal::Taken));
    assert_eq!(restarted.offers(mac(1), None, now), Some(ip(20)));
    assert_eq!(restarted.offers(mac(2), None, now), Some(ip(22)));
    assert_eq!(restarted.in_use(now), 2, "10.0.0.23 is no longer given out");
}

proptest! {
    /// Whatever machines do, no two have the same address, and the table stays bounded.
    #[test]
    fn two_machines_never_have_the_same_address(
        steps in prop::collection::vec((0..12u8, 0..6u8, 8..22u8, 0..200u64), 0..200),
    ) {
        let (mut table, mut now) = (LeaseTable::new(plan(19, &[(3, 15), (4, 30)])), Instant::now());
        for (machine, action, last, seconds) in steps {
            let (mac, address) = (mac(machine), ip(last));
            now += Duration::from_secs(seconds);
            match action {
                0 => drop(table.offers(mac, Some(address), now)),
                1 => drop(table.grants(mac, address, now)),
                2 => table.release(0, mac, address, now),
                4 => table.withdraw(0, mac, now),
                3 => table.decline(0, mac, address, now),
                _ => drop(table.offers(mac, None, now)),
            }
            let network = &table.networks[0];
            prop_assert!(network.addresses.len() <= 11);
            for (mac, address) in &network.machines {
                prop_assert_eq!(network.addresses.get(address).and_then(|lease| lease.by), Some(*mac));
            }
            let owned = network.addresses.values().filter(|lease| lease.by.is_some()).count();
            prop_assert_eq!(owned, network.machines.len());
            let endings: BTreeSet<_> = network.addresses.iter().map(|(address, it)| (it.until, *address)).collect();
            prop_assert_eq!(&network.endings, &endings);
            prop_assert!(!network.addresses.contains_key(&ip(11)));
        }
    }
}
