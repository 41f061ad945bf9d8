//! The fleet's database when it is not as it should be: each command says so at once, and changes nothing.

use sqlx::{Connection as _, SqliteConnection};

use crate::support::site::{Ran, Site};

const ONE: &str = "52:54:00:00:00:01";

fn refused(site: &Site, arguments: &[&str]) -> String {
    let Ran { code, out, err } = site.run(arguments);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
    err
}

#[test]
fn a_file_that_is_no_database_is_said_at_once() {
    let site = Site::new();
    site.write("state/fleet.sqlite", "this is no database, and never was one\n");
    for arguments in [&["machines"][..], &["events"], &["machines", "label", ONE, "room=1"], &["rollout", "status"]] {
        let err = refused(&site, arguments);
        assert!(err.contains("cannot use the fleet database state/fleet.sqlite"), "{err}");
        assert!(err.contains("file is not a database") && !err.contains("ERROR"), "{err}");
    }
}

#[test]
fn a_database_that_another_program_writes_to_is_waited_for_and_then_said() {
    let site = Site::new();
    assert_eq!(site.run(&["machines", "label", ONE, "room=1"]).code, Some(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = format!("sqlite://{}", site.path("state/fleet.sqlite").display());
    let mut other = runtime.block_on(SqliteConnection::connect(&url)).unwrap();
    runtime.block_on(sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other)).unwrap();
    let err = refused(&site, &["machines", "label", ONE, "room=2"]);
    assert!(err.contains("is being written by another program, for seconds already; try again"), "{err}");
    let shown = site.run(&["events"]);
    assert!(shown.code == Some(0) && !shown.out.contains("room=2"), "reading goes on: {}{}", shown.out, shown.err);
    runtime.block_on(sqlx::raw_sql("ROLLBACK").execute(&mut other)).unwrap();
    assert_eq!(site.run(&["machines", "label", ONE, "room=2"]).code, Some(0));
}
