//! Single files: retries, continuation, limits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bivouac::fetch::{Downloader, Expect, FetchError, HttpSettings, Progress, Proxy};
use bivouac::model::digest::Digest;

use crate::support::server::{Reply, Server, downloader};

/// Enough that it does not fit into one piece.
fn sample() -> Vec<u8> {
    (0..300_000_u32).flat_map(|it| it.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// What was expected of the sample.
fn expect() -> Expect {
    let bytes = sample();
    Expect::at_most(1 << 24).size(bytes.len() as u64).sha256(Digest::of(&bytes))
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_ended() {
    let server = Server::start().await;
    server.put("/file", Reply::Cut { bytes: sample(), after: 1000, times: 1 });
    assert_eq!(downloader().bytes(&server.url("/file"), &expect()).await.unwrap(), sample());
    assert_eq!(server.requests(), ["/file", "/file bytes=1000-"]);
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_downloaded_from_the_start() {
    let (server, bytes) = (Server::start().await, sample());
    server.put("/file", Reply::Changing { bytes: vec![0; bytes.len()], after: 1000, changed: bytes.clone() });
    assert_eq!(downloader().bytes(&server.url("/file"), &expect()).await.unwrap(), bytes);
    assert_eq!(server.requests(), ["/file", "/file bytes=1000-"]);
}

#[tokio::test]
async fn a_rest_that_begins_elsewhere_is_not_taken() {
    let server = Server::start().await;
    server.put("/file", Reply::Misplaced { bytes: sample(), after: 1000 });
    assert_eq!(downloader().bytes(&server.url("/file"), &expect()).await.unwrap(), sample());
    assert_eq!(server.requests(), ["/file", "/file bytes=1000-", "/file"]);
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let server = Server::start().await;
    for (status, times, requests) in [(503, 2, 3), (429, 1, 2)] {
        server.put("/file", Reply::Status { status, times, bytes: b"x".to_vec() });
        assert_eq!(downloader().bytes(&server.url("/file"), &Expect::at_most(1)).await.unwrap(), b"x");
        assert_eq!(server.requests().len(), requests);
    }
    server.put("/file", Reply::Status { status: 502, times: 3, bytes: vec![] });
    let error = downloader().bytes(&server.url("/file"), &Expect::at_most(1)).await.unwrap_err();
    assert_eq!(
        server.chain(&error),
        "gave up on BASE/file after 3 attempts; check the network and the proxy settings, or use another mirror | BASE/file was \
         answered with 502 Bad Gateway; the file was expected"
    );
    server.requests();
    server.put("/file", Reply::Status { status: 401, times: 1, bytes: vec![] });
    downloader().bytes(&server.url("/file"), &Expect::at_most(1)).await.unwrap_err();
    assert_eq!(server.requests(), ["/file"]);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let server = Server::start().await;
    server.put("/file", Reply::Silence(b"begin".to_vec()));
    let settings = HttpSettings {
        read_timeout: Duration::from_millis(200),
        attempts: 1,
        proxy: Proxy::Direct,
        ..HttpSettings::default()
    };
    let expect = Expect::at_most(9).size(9);
    let error = Downloader::new(settings).unwrap().bytes(&server.url("/file"), &expect).await.unwrap_err();
    let FetchError::GaveUp { source, attempts: 1, .. } = error else { panic!("{error}") };
    // On a busy machine the time may be up before the first bytes are in.
    let (FetchError::Cut { source: Some(reason), .. } | FetchError::Unreachable { source: reason, .. }) = *source
    else {
        panic!("{source}")
    };
    assert!(reason.is_timeout(), "{reason}");
}

#[tokio::test]
async fn a_server_that_hardly_sends_anything_is_left() {
    let server = Server::start().await;
    server.put("/file", Reply::File(sample()));
    let refusal = async |settings: HttpSettings| {
        let downloader = Downloader::new(HttpSettings { attempts: 1, proxy: Proxy::Direct, ..settings }).unwrap();
        server.chain(&downloader.bytes(&server.url("/file"), &expect()).await.unwrap_err())
    };
    // With no patience at all, every piece is too little.
    let refused = refusal(HttpSettings { slowest: (u64::MAX, Duration::ZERO), ..HttpSettings::default() }).await;
    assert!(
        refused.contains("| BASE/file came with only ") && refused.contains(" bytes in 0s; at least "),
        "{refused}"
    );
    let refused = refusal(HttpSettings { time_limit: Duration::ZERO, ..HttpSettings::default() }).await;
    assert_eq!(refused, "BASE/file was not complete after 0s; use a nearer mirror");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file", listener.local_addr().unwrap());
    drop(listener);
    let error = downloader().bytes(&url, &Expect::at_most(1)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("gave up on {url} after 3 attempts; check the network and the proxy settings, or use another mirror")
    );
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), format!("no answer from {url}"));
}

#[tokio::test]
async fn a_file_that_is_not_what_was_expected_is_refused_with_both() {
    let server = Server::start().await;
    server.put("/file", Reply::File(b"evil".to_vec()));
    let expected = Expect::at_most(4).sha256(Digest::of(b"good"));
    let error = downloader().bytes(&server.url("/file"), &expected).await.unwrap_err();
    assert_eq!(
        server.chain(&error),
        format!(
            "BASE/file has the SHA-256 checksum {}, expected {}; do not use it: try again or use another mirror",
            Digest::of(b"evil"),
            Digest::of(b"good")
        )
    );
    let refusal =
        async |expect: Expect| server.chain(&downloader().bytes(&server.url("/file"), &expect).await.unwrap_err());
    assert_eq!(
        refusal(Expect::at_most(9).size(5)).await,
        "BASE/file has 4 bytes, expected 5; the mirror may be out of date or broken: use another one"
    );
    assert_eq!(
        refusal(Expect::at_most(3)).await,
        "BASE/file has more than 3 bytes, which is all it may have; the mirror may be broken: use another one"
    );
}

/// Writes down what it is told.
#[derive(Default)]
struct Written(Mutex<Vec<String>>);

impl Progress for Written {
    fn started(&self, what: &str, total: Option<u64>) {
        self.0.lock().unwrap().push(format!("started {what} {total:?}"));
    }

    fn advanced(&self, what: &str, done: u64) {
        self.0.lock().unwrap().push(format!("advanced {what} {done}"));
    }

    fn finished(&self, what: &str) {
        self.0.lock().unwrap().push(format!("finished {what}"));
    }
}

#[tokio::test]
async fn progress_is_told_from_start_to_end() {
    let (server, written) = (Server::start().await, Arc::new(Written::default()));
    server.put("/a/file", Reply::File(b"content".to_vec()));
    let downloader = downloader().with_progress(Arc::clone(&written) as _);
    downloader.bytes(&server.url("/a/file"), &Expect::at_most(9)).await.unwrap();
    assert_eq!(*written.0.lock().unwrap(), ["started file Some(7)", "advanced file 7", "finished file"]);
}
