//! The fleet with its database, SQLite and PostgreSQL.

use std::borrow::Cow;
use std::convert::Infallible;

use futures_util::FutureExt as _;
use sqlx::sqlite::SqlitePool;

use super::*;
use crate::fleet::bed::{Bed, Postgres, on_both};
use crate::fleet::behind::MAX_EVENTS;
use crate::model::boot::{Sent, Step};
use crate::model::checkin::Inventory;
use crate::model::checkin::orders::{Reboot, heard};
use crate::model::ledger::Fact;
use crate::model::manifest::tests::sample;
use crate::model::plan::Published;
use crate::model::timeline::Stage;
use crate::model::token::tests::token;

on_both! {
    of_two_boots_in_one_millisecond_the_second_is_the_last,
    what_was_said_is_there_when_the_database_is_opened_again,
    the_last_good_files_of_a_machine_survive_a_restart_and_shared_ones_are_kept_once,
    a_locked_database_keeps_no_machine_from_its_script,
    check_ins_after_the_first_wait_for_no_database_and_the_last_one_is_written,
    a_list_of_packages_is_kept_though_its_machine_is_written_again_at_once,
    an_order_stands_until_it_is_done_whatever_the_clock_says,
    the_events_of_a_machine_are_read_in_order_and_the_oldest_go,
    what_each_boot_was_sent_to_is_read_unless_it_went_on_to_a_bundle,
    steps_that_are_written_together_are_read_one_by_one,
    a_transaction_that_has_to_be_repeated_removes_what_is_old_all_the_same,
    invented_addresses_fill_neither_the_memory_nor_the_queue_nor_delay_anybody,
    what_one_server_saw_the_other_knows,
    what_is_older_is_not_written_over_what_another_server_wrote,
    a_boot_that_another_server_began_ends_the_one_before,
    a_machine_that_is_forgotten_meanwhile_stops_no_writing,
    a_database_that_can_be_read_is_not_back_until_it_can_be_written,
    who_follows_does_not_wait_for_who_writes,
    who_follows_learns_what_another_server_saw,
}

fn plan() -> Plan<'static> {
    let manifest = sample("vdi");
    let published = Published { release: 12, bundle: manifest.id(), manifest: Arc::new(manifest) };
    Plan { profile: "vdi".parse().unwrap(), published: Cow::Owned(published) }
}

fn sighting(step: Step) -> Sighting {
    Sighting { step, seen: Seen::ByMac, sent: None, remark: "".into() }
}

async fn what_was_said_is_there_when_the_database_is_opened_again(bed: &Bed) {
    let identity: Arc<Identity> =
        Identity::from_texts("52:54:00:00:00:01".parse().unwrap(), "", "PC 7", "efi", "x86_64").into();
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_181_304_123);
    let fleet = Fleet::open(&bed.place).await.unwrap();
    fleet.reached(identity.mac, &sighting(Step::Discover), now);
    let concern = Concern::Lasting("a template failed".to_owned());
    fleet.scripted(&identity, plan(), token(1), Some(concern), now);
    fleet.reached(identity.mac, &sighting(Step::Kernel), now);
    fleet.flush().await;
    let machines = Fleet::read(&bed.place).await.unwrap();
    assert_eq!(machines.len(), 1);
    assert_eq!(machines[0].identity, identity);
    assert_eq!((machines[0].session.step, machines[0].session.step_at), (Step::Kernel, now));
    assert_eq!(machines[0].session.told.as_ref().unwrap().1, 12);
    assert_eq!(machines[0].session.problems, ["a template failed"]);
    let again = Fleet::open(&bed.place).await.unwrap();
    assert_eq!(again.told(token(1)), Some(plan().published.bundle));
}

async fn the_last_good_files_of_a_machine_survive_a_restart_and_shared_ones_are_kept_once(bed: &Bed) {
    let mac = |last: u8| -> Mac { format!("52:54:00:00:00:{last:02x}").parse().unwrap() };
    let made = |text: &str, release| Made {
        profile: "vdi".parse().unwrap(),
        release,
        bundle: Digest::of(b"bundle"),
        files: Digest::of(text.as_bytes()),
    };
    let fleet = Fleet::open(&bed.place).await.unwrap();
    for (last, text, release) in [(1, "old", 1), (1, "new", 2), (2, "new", 2)] {
        fleet.made(mac(last), made(text, release), &text.into());
    }
    fleet.flush().await;
    let again = Fleet::open(&bed.place).await.unwrap();
    assert_eq!(again.last_made(&mac(1)), Some(made("new", 2)));
    assert_eq!(again.last_made(&mac(2)), Some(made("new", 2)));
    assert_eq!(again.last_made(&mac(3)), None);
    assert_eq!(again.made_content(&Digest::of(b"new")).await.as_deref(), Some("new"));
    assert_eq!(again.made_content(&Digest::of(b"old")).await, None, "nobody has it any more");
}

async fn a_locked_database_keeps_no_machine_from_its_script(bed: &Bed) {
    let fleet = Fleet::open(&bed.place).await.unwrap();
    let lock = bed.lock().await;
    let identity: Arc<Identity> = Identity::of("52:54:00:00:00:01".parse().unwrap()).into();
    fleet.scripted(&identity, plan(), token(1), None, SystemTime::now());
    assert_eq!(fleet.told(token(1)), Some(plan().published.bundle));
    lock.rollback().await.unwrap();
    fleet.flush().await;
    assert_eq!(Fleet::read(&bed.place).await.unwrap().len(), 1, "written once the lock was gone");
}

#[tokio::test]
async fn who_says_the_same_of_itself_from_the_same_place_again_is_known_by_that() {
    let bed = Bed::file();
    let fleet = Fleet::open(&bed.place).await.unwrap();
    let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
    let (mac, now) = ("52:54:00:00:00:01".parse().unwrap(), SystemTime::now());
    let said = |serial| Arc::new(Identity::from_texts(mac, "", serial, "efi", "x86_64"));
    let known = |words, address| Some(fleet.again(&mac, words, address, now)?.identity);
    let one = said("PC 7");
    fleet.remember(&one, "PC 7", here);
    assert_eq!(known("PC 7", here), None, "it has no script yet");
    fleet.scripted(&one, plan(), token(1), None, now);
    fleet.remember(&one, "PC 7", here);
    assert!(known("PC 7", here).is_some_and(|identity| Arc::ptr_eq(&identity, &one)));
    assert_eq!((known("PC 8", here), known("PC 7", there)), (None, None));
    let visitor = fleet.again(&mac, "PC 7", here, now).unwrap();
    assert_eq!(visitor.attempts.count(plan().published.bundle), 1);
    let other = said("PC 8");
    fleet.scripted(&other, plan(), token(2), None, now);
    assert_eq!(known("PC 7", here), None, "another computer booted with its card");
    fleet.remember(&one, "PC 7", here);
    assert_eq!(known("PC 7", here), None, "what came too late");
}

/// A fleet with one machine that was told to boot and given the token `token(1)`, and what it reports.
async fn one_machine(place: &DatabasePlace) -> (Fleet, Arc<Identity>, Report) {
    let fleet = Fleet::open(place).await.unwrap();
    let identity: Arc<Identity> = Identity::of("52:54:00:00:00:01".parse().unwrap()).into();
    fleet.scripted(&identity, plan(), token(1), None, SystemTime::now());
    let text = format!("bundle {}\nhostname vdi\nuptime 7\n", plan().published.bundle);
    (fleet, identity, Report::parse(text.as_bytes()).unwrap())
}

async fn check_ins_after_the_first_wait_for_no_database_and_the_last_one_is_written(bed: &Bed) {
    let (fleet, _, mut report) = one_machine(&bed.place).await;
    let list = Digest::of(b"list");
    let well = || Differences { boot: Vec::new(), packages: Some(Vec::new()) };
    report.inventory = Inventory::Here(Some(list));
    fleet.check_in(token(1), report.clone(), well(), SystemTime::now()).await.unwrap();
    let lock = bed.lock().await;
    report.inventory = Inventory::Earlier(list);
    for second in 0..QUEUE as u64 + 1000 {
        report.vitals.uptime = Some(Duration::from_secs(second));
        let check_in = fleet.check_in(token(1), report.clone(), Differences::default(), SystemTime::now());
        assert!(check_in.now_or_never().expect("nothing is waited for").is_ok());
    }
    assert!(fleet.writes.capacity() > QUEUE / 2, "they take no place in the queue");
    lock.rollback().await.unwrap();
    fleet.flush().await;
    let session = &Fleet::read(&bed.place).await.unwrap()[0].session;
    let uptime = session.vitals.as_ref().unwrap().uptime;
    assert_eq!((uptime, session.is_good), (Some(Duration::from_secs(QUEUE as u64 + 999)), true));
}

async fn a_list_of_packages_is_kept_though_its_machine_is_written_again_at_once(bed: &Bed) {
    let (fleet, _, report) = one_machine(&bed.place).await;
    let lock = bed.lock().await;
    let list = Digest::of(b"list");
    let listing = |name: &str| Report {
        inventory: Inventory::Here(Some(list)),
        packages: vec![name.to_owned()],
        ..report.clone()
    };
    let earlier = Report { inventory: Inventory::Earlier(list), ..report.clone() };
    // The first waits for the database, so that the others come while it is being written.
    for report in [listing("vi-9-r0"), listing("vim-9-r0"), earlier] {
        let found = Differences { boot: Vec::new(), packages: Some(Vec::new()) };
        fleet.check_in(token(1), report, found, SystemTime::now()).await.unwrap();
    }
    lock.rollback().await.unwrap();
    fleet.flush().await;
    let session = &Fleet::read(&bed.place).await.unwrap()[0].session;
    assert_eq!(session.report.as_ref().unwrap().packages, ["vim-9-r0"]);
}

async fn an_order_stands_until_it_is_done_whatever_the_clock_says(bed: &Bed) {
    let (fleet, identity, report) = one_machine(&bed.place).await;
    let mac = identity.mac;
    let now = SystemTime::now();
    fleet.order(mac, Order::Reboot(Reboot::Now));
    fleet.order(mac, Order::Message("hello".to_owned()));
    fleet.check_in(token(1), report.clone(), Differences::default(), now).await.unwrap();
    let orders = Orders { interval: DEFAULT_INTERVAL, reboot: Some(Reboot::Now), message: Some("hello".to_owned()) };
    assert_eq!(fleet.orders(&mac), orders);
    // The server's clock was wrong.
    let before = now - Duration::from_secs(7200);
    fleet.scripted(&identity, plan(), token(2), None, before);
    let heard = Report { heard: Some(heard("hello")), ..report };
    fleet.check_in(token(2), heard.clone(), Differences::default(), before).await.unwrap();
    assert_eq!(fleet.orders(&mac), Orders { reboot: None, message: None, ..orders });
    let over = fleet.check_in(token(1), heard, Differences::default(), now).await.unwrap_err();
    assert_eq!(over, CheckInError::Over(mac));
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.sqlite");
    let place = DatabasePlace::File(path.clone());
    drop(Fleet::open(&place).await.unwrap());
    let other = SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 70").execute(&other).await.unwrap();
    let error = Fleet::read(&place).await.unwrap_err().to_string();
    let said = format!("has version 70, and this program reads {}; use the program that wrote it", database::VERSION);
    assert!(error.ends_with(&said), "{error}");
}

#[tokio::test]
async fn a_database_of_an_older_program_is_brought_up_to_date_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.sqlite");
    let place = DatabasePlace::File(path.clone());
    let old = SqlitePool::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap();
    sqlx::raw_sql(include_str!("schema.sql")).execute(&old).await.unwrap();
    let rows = "INSERT INTO machines (mac, first_seen, last_seen) VALUES ('52:54:00:00:00:01', 1000, 2000); \
                INSERT INTO sessions (token, mac, started, step, step_at) \
                VALUES ('t1', '52:54:00:00:00:01', 1000, 'overlay', 2000); PRAGMA user_version = 1";
    sqlx::raw_sql(rows).execute(&old).await.unwrap();
    let machines = Fleet::read(&place).await.unwrap();
    assert_eq!(machines[0].session.step, Step::SiteInitrd);
    assert_eq!(machines[0].session.sent_to, None);
}

async fn of_two_boots_in_one_millisecond_the_second_is_the_last(bed: &Bed) {
    let fleet = Fleet::open(&bed.place).await.unwrap();
    let identity: Arc<Identity> = Identity::of("52:54:00:00:00:01".parse().unwrap()).into();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_181_304);
    for number in [9, 1, 5] {
        fleet.scripted(&identity, plan(), token(number), None, now);
    }
    fleet.flush().await;
    let machines = Fleet::read(&bed.place).await.unwrap();
    let last = &machines[0].session;
    let then = now + Duration::from_millis(2);
    assert_eq!((last.token, last.step_at, last.started), (Some(token(5)), then, then));
}

async fn the_events_of_a_machine_are_read_in_order_and_the_oldest_go(bed: &Bed) {
    let fleet = Fleet::open(&bed.place).await.unwrap();
    let identity: Arc<Identity> = Identity::of("52:54:00:00:00:01".parse().unwrap()).into();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_181_304);
    for boot in 0..1000 {
        let now = start + Duration::from_secs(boot);
        fleet.scripted(&identity, plan(), token(boot), None, now);
    }
    fleet.flush().await;
    let onlooker = Fleet::look_on(&bed.place).await.unwrap();
    let events = onlooker.events(&identity.mac, 0).await.unwrap();
    assert_eq!(events.len(), 400);
    assert!(events.is_sorted_by_key(|(number, _)| *number));
    let (last, event) = events.last().unwrap();
    assert_eq!((event.boot, event.stage.step), (start + Duration::from_secs(999), Step::Script));
    assert_eq!(onlooker.events(&identity.mac, *last).await.unwrap(), []);
}

async fn what_each_boot_was_sent_to_is_read_unless_it_went_on_to_a_bundle(bed: &Bed) {
    let fleet = Fleet::open(&bed.place).await.unwrap();
    let identity: Arc<Identity> = Identity::of("52:54:00:00:00:01".parse().unwrap()).into();
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_181_304 + seconds);
    // A menu and what was chosen there are one boot each.
    for (began, sent_to) in [(0, "local disk"), (100, "memtest"), (200, "")] {
        fleet.reached(identity.mac, &sighting(Step::Discover), at(began));
        fleet.sent_to(&identity, "menu".to_owned(), None, at(began + 1));
        match sent_to {
            "" => fleet.scripted(&identity, plan(), token(1), None, at(began + 2)),
            other => fleet.sent_to(&identity, other.to_owned(), None, at(began + 2)),
        }
        fleet.flush().await;
    }
    let sent_to = Fleet::look_on(&bed.place).await.unwrap().sent_to(&identity.mac).await.unwrap();
    let expected = [(at(0), "local disk".to_owned()), (at(100), "memtest".to_owned())];
    assert_eq!(sent_to, expected.into());
}

async fn steps_that_are_written_together_are_read_one_by_one(bed: &Bed) {
    let fleet = Fleet::open(&bed.place).await.unwrap();
    let identity: Arc<Identity> = Identity::of("52:54:00:00:00:01".parse().unwrap()).into();
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_181_304_123);
    let said = |step, remark: &str| Sighting { remark: remark.into(), ..sighting(step) };
    fleet.reached(identity.mac, &said(Step::Discover, "BIOS by PXE"), start);
    fleet.reached(identity.mac, &sighting(Step::Offer), start + Duration::from_millis(1));
    let sent = Some(Sent { bytes: 70_000, of: 70_000, took: Duration::from_millis(40) });
    fleet.reached(identity.mac, &Sighting { sent, ..sighting(Step::Loader) }, start + Duration::from_millis(60));
    fleet.scripted(&identity, plan(), token(1), None, start + Duration::from_millis(70));
    fleet.flush().await;
    let events = Fleet::look_on(&bed.place).await.unwrap().events(&identity.mac, 0).await.unwrap();
    let stages: Vec<&Stage> = events.iter().map(|(_, event)| &event.stage).collect();
    assert_eq!(
        stages.iter().map(|stage| stage.step).collect::<Vec<_>>(),
        [Step::Discover, Step::Offer, Step::Loader, Step::Script]
    );
    assert_eq!((stages[0].remark.as_deref(), stages[0].began, stages[0].asked), (Some("BIOS by PXE"), start, 1));
    assert_eq!((stages[2].bytes, stages[2].files, stages[2].took), (70_000, 1, Duration::from_millis(40)));
    assert_eq!(
        (stages[2].began, stages[2].last),
        (start + Duration::from_millis(20), start + Duration::from_millis(60))
    );
    assert!(events.iter().all(|(number, event)| event.boot == start && *number == events[0].0));
}

async fn a_transaction_that_has_to_be_repeated_removes_what_is_old_all_the_same(bed: &Bed) {
    let database = Database::open(&bed.place).await.unwrap();
    let other = bed.other().await;
    let mut roster = Roster::default();
    let identity: Arc<Identity> = Identity::of("52:54:00:00:00:01".parse().unwrap()).into();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_181_304);
    for boot in 0..60 {
        let now = start + Duration::from_secs(boot);
        let machine = roster.answered(&identity, Answer::boot(plan(), token(boot), None, now)).machine;
        let write = [Write::Seen(Box::new(Row::of(machine)))];
        if boot == 59 {
            // What is written after what is old has been removed.
            sqlx::raw_sql("ALTER TABLE touched RENAME TO away").execute(&other).await.unwrap();
            database.save(&write, &[]).await.unwrap_err();
            sqlx::raw_sql("ALTER TABLE away RENAME TO touched").execute(&other).await.unwrap();
        }
        database.save(&write, &[]).await.unwrap();
    }
    let kept: Vec<String> =
        sqlx::query_scalar("SELECT token FROM sessions ORDER BY token").fetch_all(&other).await.unwrap();
    assert_eq!((kept.len(), kept[0].as_str()), (50, token(10).to_string().as_str()));
}

async fn invented_addresses_fill_neither_the_memory_nor_the_queue_nor_delay_anybody(bed: &Bed) {
    let fleet = Fleet::open(&bed.place).await.unwrap();
    let lock = bed.lock().await;
    for number in 0..50_000_u32 {
        let [a, b, c, d] = number.to_be_bytes();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_181_304);
        fleet.reached(Mac([2, 0, a, b, c, d]), &sighting(Step::Discover), now);
        fleet.reached(Mac([2, 0, a, b, c, d]), &sighting(Step::Offer), now);
    }
    assert!(fleet.known.pending.lock().unwrap().events.len() <= MAX_EVENTS);
    assert_eq!(fleet.lock().len(), MAX_MACHINES);
    lock.rollback().await.unwrap();
    let other = bed.other().await;
    let events = loop {
        // A server that ends waits no longer than its manager would; so much is not written in that time everywhere.
        fleet.flush().await;
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM events").fetch_one(&other).await;
        if let Some(events) = Some(count.unwrap()).filter(|events: &i64| *events > 0) {
            break events;
        }
    };
    assert!(events <= 2 * MAX_EVENTS as i64, "{events}");
}

async fn a_database_that_can_be_read_is_not_back_until_it_can_be_written(bed: &Bed) {
    let fleet = Fleet::open(&bed.place).await.unwrap();
    fleet.known.went(Err(&sqlx::Error::WorkerCrashed));
    fleet.follow().await.unwrap();
    assert!(fleet.known.is_lost());
}

async fn who_follows_does_not_wait_for_who_writes(bed: &Bed) {
    let fleet = Fleet::open(&bed.place).await.unwrap();
    let by = By { who: "root", why: None };
    let floor = Fact::Floor { profile: "vdi".parse().unwrap(), release: 3, is_one: true };
    let book = Fleet::look_on(&bed.place).await.unwrap().book;
    book.decide(by, |_| Ok::<_, Infallible>(vec![floor.clone()])).await.unwrap();
    let writing = fleet.database.writing.lock().await;
    let followed = tokio::time::timeout(Duration::from_secs(30), fleet.follow()).await;
    assert_eq!(followed.expect("it waits for the writer").unwrap().last(), 1);
    drop(writing);
}

async fn who_follows_learns_what_another_server_saw(bed: &Bed) {
    let (one, other, identity, report) = two_servers(bed).await;
    assert!(other.told_by_any(token(1)).await.is_some());
    other.check_in(token(1), report, Differences::default(), SystemTime::now()).await.unwrap();
    other.flush().await;
    assert_eq!(one.lock().machine(&identity.mac).unwrap().good, None);
    one.follow().await.unwrap();
    assert_eq!(one.lock().machine(&identity.mac).unwrap().good, plan_told());
}

/// Two servers on one database, of which the first has a machine that was given the token `token(1)`.
async fn two_servers(bed: &Bed) -> (Fleet, Fleet, Arc<Identity>, Report) {
    let (one, identity, report) = one_machine(&bed.place).await;
    let other = Fleet::open(&bed.place).await.unwrap();
    one.flush().await;
    (one, other, identity, report)
}

async fn what_one_server_saw_the_other_knows(bed: &Bed) {
    let (one, other, identity, report) = two_servers(bed).await;
    let mac = identity.mac;
    assert_eq!(other.told_by_any(token(0)).await, None);
    assert_eq!(other.told_by_any(token(1)).await, Some(plan().published.bundle));
    let first = other.check_in(token(1), report.clone(), Differences::default(), SystemTime::now()).await.unwrap();
    assert!(first.is_first);
    assert_eq!(other.lock().machine(&mac).unwrap().good, plan_told());
    // Whoever writes finds out what the others wrote.
    one.flush().await;
    let known = one.lock().machine(&mac).cloned().unwrap();
    assert_eq!((known.good, known.attempts.is_empty()), (plan_told(), true));
    let second = one.check_in(token(1), report, Differences::default(), SystemTime::now()).await.unwrap();
    assert!(!second.is_first && !second.is_change);
}

fn plan_told() -> Option<Told> {
    let Plan { profile, published } = plan();
    Some((profile, published.release, published.bundle))
}

async fn what_is_older_is_not_written_over_what_another_server_wrote(bed: &Bed) {
    let (one, other, identity, report) = two_servers(bed).await;
    let row = one.lock().machine(&identity.mac).map(Row::of).unwrap();
    let later = SystemTime::now() + Duration::from_secs(5);
    assert!(other.told_by_any(token(1)).await.is_some());
    other.check_in(token(1), report, Differences::default(), later).await.unwrap();
    other.flush().await;
    // As if it had waited in the queue while the database was away.
    one.save(row, None);
    one.flush().await;
    let machine = Fleet::read(&bed.place).await.unwrap().remove(0);
    assert_eq!((machine.session.step, machine.session.is_good), (Step::CheckIn, true));
    assert!(machine.attempts.is_empty() && machine.session.report.is_some());
    assert!(machine.last_seen >= later - Duration::from_secs(1));
}

async fn a_machine_that_is_forgotten_meanwhile_stops_no_writing(bed: &Bed) {
    let (one, other, identity, report) = two_servers(bed).await;
    one.scripted(&identity, plan(), token(2), None, SystemTime::now());
    let row = one.lock().machine(&identity.mac).map(Row::of).unwrap();
    one.flush().await;
    let later = SystemTime::now() + Duration::from_secs(5);
    assert!(other.told_by_any(token(2)).await.is_some());
    other.check_in(token(2), report, Differences::default(), later).await.unwrap();
    one.flush().await;
    Fleet::look_on(&bed.place).await.unwrap().forget(&identity.mac).await.unwrap();
    // As if it had waited in the queue: older than what the other one wrote, of a boot that is in no row any more.
    one.save(row, None);
    one.flush().await;
    assert!(!one.known.is_lost());
}

async fn a_boot_that_another_server_began_ends_the_one_before(bed: &Bed) {
    let (one, other, identity, report) = two_servers(bed).await;
    let (now, well) = (SystemTime::now(), Differences::default);
    one.check_in(token(1), report.clone(), well(), now).await.unwrap();
    let later = now + Duration::from_secs(60);
    other.scripted(&identity, plan(), token(2), None, later);
    other.flush().await;
    one.flush().await;
    one.check_in(token(2), report.clone(), well(), later + Duration::from_secs(60)).await.unwrap();
    let over = one.check_in(token(1), report.clone(), well(), later + Duration::from_secs(120)).await;
    assert_eq!(over, Err(CheckInError::Over(identity.mac)));
    one.flush().await;
    other.flush().await;
    assert_eq!(other.check_in(token(1), report, well(), later).await, Err(CheckInError::Over(identity.mac)));
}

#[tokio::test]
async fn a_database_that_is_gone_stops_no_boot_and_has_everything_once_it_is_back() {
    let Some(server) = Postgres::start() else { return };
    let bed = Bed::of(&server);
    let (fleet, identity, report) = one_machine(&bed.place).await;
    fleet.flush().await;
    server.order("stop");
    let refused = Fleet::read(&bed.place).await.unwrap_err();
    assert!(refused.to_string().starts_with("cannot use the fleet database postgres://bivouac@localhost/fleet0"));
    fleet.check_in(token(1), report.clone(), Differences::default(), SystemTime::now()).await.unwrap();
    for last in 0..100 {
        let (identity, token) = (Identity::of(Mac([2, 0, 0, 0, 1, last])).into(), token(1000 + u64::from(last)));
        fleet.scripted(&identity, plan(), token, None, SystemTime::now());
        // It waits for the disk only until it is known that there is none.
        fleet.check_in(token, report.clone(), Differences::default(), SystemTime::now()).await.unwrap();
    }
    assert_eq!(fleet.told_by_any(token(7)).await, None);
    server.order("start");
    while fleet.known.is_lost() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fleet.flush().await;
    let machines = Fleet::read(&bed.place).await.unwrap();
    assert_eq!(machines.len(), 101);
    assert!(machines.iter().all(|machine| machine.session.is_good));
    assert!(machines.iter().any(|machine| machine.identity == identity));
}

#[tokio::test]
async fn invented_tokens_are_looked_for_a_few_times_a_second() {
    let now = Instant::now();
    let mut looks = Looks { since: now, count: 0 };
    assert_eq!((0..1000).filter(|_| looks.another(now)).count(), LOOKS_A_SECOND as usize);
    assert!(looks.another(now + Duration::from_secs(1)));
}
