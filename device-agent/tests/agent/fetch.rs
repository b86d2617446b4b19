//! Files by HTTP against a small real server that breaks off, lies and forgets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::get;
use device_agent::fetch::{FetchError, Fetcher, Wanted, client};
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};

/// What the server does with its next request.
#[derive(Debug, Clone)]
enum Answer {
    /// What is asked for.
    Good,
    /// Announces all, breaks off after so many bytes.
    BreakOff(usize),
    /// Everything, whatever range was asked for.
    IgnoreRange,
    /// Other bytes of the same length.
    OtherBytes,
    /// More than was ordered.
    Longer,
    /// Less, and says so.
    Shorter,
    Status(u16),
}

#[derive(Default)]
struct Server {
    bytes: Vec<u8>,
    answers: Vec<Answer>,
    ranges: Vec<Option<String>>,
}

type Shared = Arc<Mutex<Server>>;

async fn serve(State(server): State<Shared>, headers: HeaderMap) -> Response<Body> {
    let mut server = server.lock().unwrap();
    let range = headers
        .get(header::RANGE)
        .map(|value| value.to_str().unwrap().to_owned());
    server.ranges.push(range.clone());
    let answer = if server.answers.is_empty() {
        Answer::Good
    } else {
        server.answers.remove(0)
    };
    let whole = server.bytes.clone();
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let reply = |status: u16, bytes: Vec<u8>| {
        Response::builder()
            .status(status)
            .body(Body::from(bytes))
            .unwrap()
    };
    match (answer, from) {
        (Answer::Status(status), _) => reply(status, Vec::new()),
        (Answer::IgnoreRange, _) | (Answer::Good, None) => reply(200, whole),
        (Answer::OtherBytes, _) => reply(200, vec![0xEE; whole.len()]),
        (Answer::Longer, _) => reply(200, [whole, vec![0]].concat()),
        (Answer::Shorter, _) => reply(200, whole[1..].to_vec()),
        (Answer::Good, Some(from)) if from >= whole.len() => reply(416, Vec::new()),
        (Answer::Good, Some(from)) => Response::builder()
            .status(StatusCode::PARTIAL_CONTENT)
            .header(
                header::CONTENT_RANGE,
                format!("bytes {from}-{}/{}", whole.len() - 1, whole.len()),
            )
            .body(Body::from(whole[from..].to_vec()))
            .unwrap(),
        (Answer::BreakOff(after), from) => {
            let from = from.unwrap_or(0);
            let first = Bytes::from(whole[from..from + after].to_vec());
            // The server sends what it has while it waits for more; only then the wire is pulled.
            let broken = async {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                Err(std::io::Error::other("the wire was pulled"))
            };
            let stream = futures::stream::iter([Ok(first)]).chain(futures::stream::once(broken));
            let status = if from > 0 { 206 } else { 200 };
            Response::builder()
                .status(status)
                .header(header::CONTENT_LENGTH, whole.len() - from)
                .header(
                    header::CONTENT_RANGE,
                    format!("bytes {from}-{}/{}", whole.len() - 1, whole.len()),
                )
                .body(Body::from_stream(stream))
                .unwrap()
        }
    }
}

struct Site {
    server: Shared,
    fetcher: Fetcher,
    wanted: Wanted,
    folder: tempfile::TempDir,
}

async fn site(answers: &[Answer]) -> Site {
    let bytes: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
    let wanted = Wanted {
        path: "/api/v1/artifacts/esp-app/7.4.1".to_owned(),
        sha256: hex::encode(Sha256::digest(&bytes)),
        size: Some(bytes.len() as u64),
        at_most: 1 << 20,
    };
    let server = Arc::new(Mutex::new(Server {
        bytes,
        answers: answers.to_vec(),
        ranges: Vec::new(),
    }));
    let app = Router::new().fallback(get(serve)).with_state(server.clone());
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let folder = tempfile::tempdir().unwrap();
    Site {
        fetcher: Fetcher::new(client().unwrap(), url, folder.path().join("artifacts")),
        server,
        wanted,
        folder,
    }
}

impl Site {
    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        self.fetcher.fetch(&self.wanted).await
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.server.lock().unwrap().ranges.clone()
    }

    fn bytes(&self) -> Vec<u8> {
        self.server.lock().unwrap().bytes.clone()
    }

    fn cached(&self) -> std::path::PathBuf {
        self.folder.path().join("artifacts").join(&self.wanted.sha256)
    }
}

fn parts(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder.join("artifacts")).unwrap();
    entries
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some())
        .count()
}

#[tokio::test]
async fn a_file_is_fetched_once() {
    let site = site(&[]).await;
    assert_eq!(site.fetch().await.unwrap(), site.bytes());
    assert_eq!(site.fetch().await.unwrap(), site.bytes());
    assert_eq!(site.ranges(), [None]);
    assert_eq!(parts(site.folder.path()), 0);
}

#[tokio::test]
async fn a_transfer_that_broke_off_goes_on_where_it_stopped() {
    let site = site(&[Answer::BreakOff(30_000), Answer::BreakOff(60_000)]).await;
    assert_eq!(site.fetch().await.unwrap(), site.bytes());
    let ranges = site.ranges();
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1].as_deref(), Some("bytes=30000-"));
    assert_eq!(ranges[2].as_deref(), Some("bytes=90000-"));
}

#[tokio::test]
async fn a_server_without_ranges_is_taken_from_the_start() {
    let site = site(&[Answer::BreakOff(30_000), Answer::IgnoreRange]).await;
    assert_eq!(site.fetch().await.unwrap(), site.bytes());
}

#[tokio::test]
async fn a_broken_start_from_an_earlier_process_is_thrown_away_once() {
    let site = site(&[]).await;
    std::fs::create_dir_all(site.folder.path().join("artifacts")).unwrap();
    let part = site.cached().with_extension("part");
    std::fs::write(&part, vec![7; 1000]).unwrap();
    assert_eq!(site.fetch().await.unwrap(), site.bytes());
    assert_eq!(site.ranges(), [Some("bytes=1000-".to_owned()), None]);
}

#[tokio::test]
async fn a_part_longer_than_the_file_is_thrown_away() {
    let site = site(&[]).await;
    std::fs::create_dir_all(site.folder.path().join("artifacts")).unwrap();
    std::fs::write(site.cached().with_extension("part"), vec![7; 300_000]).unwrap();
    assert_eq!(site.fetch().await.unwrap(), site.bytes());
}

#[tokio::test]
async fn other_bytes_than_the_job_says_are_refused_and_not_kept() {
    let site = site(&[Answer::OtherBytes]).await;
    assert!(matches!(site.fetch().await, Err(FetchError::Hash { .. })));
    assert_eq!(parts(site.folder.path()), 0);
    assert!(!site.cached().exists());
}

#[tokio::test]
async fn another_size_than_the_job_says_is_refused() {
    for answer in [Answer::Longer, Answer::Shorter] {
        let site = site(std::slice::from_ref(&answer)).await;
        let result = site.fetcher.fetch_once(&site.wanted).await;
        let refused = matches!(
            result,
            Err(FetchError::Size { .. } | FetchError::Truncated { .. })
        );
        assert!(refused, "{answer:?}: {result:?}");
        assert!(!site.cached().exists());
    }
}

#[tokio::test]
async fn a_file_that_changed_on_the_disk_is_fetched_again() {
    let site = site(&[]).await;
    site.fetch().await.unwrap();
    let mut rotten = site.bytes();
    rotten[17] ^= 1;
    std::fs::write(site.cached(), rotten).unwrap();
    assert_eq!(site.fetch().await.unwrap(), site.bytes());
    assert_eq!(site.ranges().len(), 2);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_will_not_is_said_at_once() {
    let site_down = site(&[Answer::Status(503), Answer::Status(429)]).await;
    assert_eq!(site_down.fetch().await.unwrap(), site_down.bytes());
    let missing = site(&[Answer::Status(404)]).await;
    let result = missing.fetch().await;
    assert!(matches!(result, Err(FetchError::Status { status, .. }) if status == 404));
    assert_eq!(missing.ranges().len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_fault_that_may_pass() {
    let site = site(&[]).await;
    let folder = site.folder.path().join("artifacts");
    let nowhere = Fetcher::new(client().unwrap(), "http://127.0.0.1:9".to_owned(), folder);
    let error = nowhere.fetch_once(&site.wanted).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}
