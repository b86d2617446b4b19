//! The live stream.

use std::time::Duration;

use fleet_domain::JobId;
use fleet_wire::Channel;
use fleet_wire::live::Live;
use serde_json::{Value, json};

use super::bench::Bench;
use super::support::{SOON, Server, new_job};

struct Reader {
    response: reqwest::Response,
    buffer: String,
}

#[derive(Debug)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

impl Reader {
    async fn open(server: &Server, query: &str) -> Self {
        let url = format!("{}/api/v1/stream{query}", server.http);
        let response = server.client.get(url).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            buffer: String::new(),
        }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((frame, rest)) = self.buffer.split_once("\n\n") {
                let field = |name: &str| {
                    frame
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .unwrap_or_default()
                        .trim()
                        .to_owned()
                };
                let data = serde_json::from_str(&field("data:")).expect("data is JSON");
                let event = Event {
                    name: field("event:"),
                    id: field("id:"),
                    data,
                };
                self.buffer = String::from(rest);
                return Some(event);
            }
            let chunk = tokio::time::timeout(SOON, self.response.chunk())
                .await
                .expect("an event in time");
            match chunk {
                Ok(Some(bytes)) => self.buffer.push_str(std::str::from_utf8(&bytes).expect("UTF-8")),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let end = tokio::time::Instant::now() + SOON;
        loop {
            let event = tokio::time::timeout_at(end, self.next())
                .await
                .expect("in time")
                .expect("the stream goes on");
            assert!(!event.id.is_empty(), "{event:?} has no cursor");
            if wanted(&event) {
                return event;
            }
        }
    }
}

#[tokio::test]
async fn changes_of_benches_and_jobs_arrive_as_whole_states() {
    let server = Server::start().await.with_procedure().await;
    let mut reader = Reader::open(&server, "").await;
    let hello = reader.next().await.unwrap();
    assert_eq!(hello.name, "hello");
    assert_eq!(hello.data["cursor"], hello.id);
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.begin().await;
    let event = reader
        .until(|event| event.name == "bench" && event.data["online"] == true)
        .await;
    let api = server.get("/api/v1/benches/bench-1").await.expect(200);
    assert_eq!(
        (&event.data["device"], &event.data["vin"]),
        (&api["device"], &api["vin"])
    );
    let job = server.post("/api/v1/jobs", &new_job()).await.expect(201);
    let event = reader
        .until(|event| event.name == "job" && event.data["state"] == "offered")
        .await;
    assert_eq!(event.data["id"], job["id"]);
    server.stop().await;
}

#[tokio::test]
async fn a_cursor_goes_on_where_it_was_and_a_foreign_one_begins_anew() {
    let mut server = Server::start().await.with_procedure().await;
    let snapshot = server.get("/api/v1/jobs").await.expect(200);
    let cursor = snapshot["stream_cursor"].as_str().unwrap().to_owned();
    let job = server.post("/api/v1/jobs", &new_job()).await.expect(201);
    let mut reader = Reader::open(&server, &format!("?since={cursor}")).await;
    assert_eq!(reader.next().await.unwrap().name, "hello");
    let missed = reader.until(|event| event.name == "job").await;
    assert_eq!(missed.data["id"], job["id"]);

    // The cursor holds over a restart of the server.
    server.restart().await;
    let mut reader = Reader::open(&server, &format!("?since={cursor}")).await;
    reader
        .until(|event| event.name == "job" && event.data["id"] == job["id"])
        .await;

    let foreign = format!("{}-1", uuid::Uuid::from_u128(1).simple());
    let (epoch, _) = cursor.split_once('-').unwrap();
    for since in [foreign, format!("{epoch}-999999999")] {
        let mut reader = Reader::open(&server, &format!("?since={since}")).await;
        assert_eq!(reader.next().await.unwrap().name, "hello");
        let reset = reader.next().await.unwrap();
        assert_eq!(reset.name, "reset", "{since}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_heartbeat_comes_each_five_seconds_and_the_stream_ends_with_the_server() {
    let server = Server::start().await;
    let mut reader = Reader::open(&server, "").await;
    let began = tokio::time::Instant::now();
    reader.until(|event| event.name == "heartbeat").await;
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    let stopping = tokio::spawn(server.stop());
    while reader.next().await.is_some() {}
    stopping.await.unwrap();
}

#[tokio::test]
async fn live_progress_arrives_coalesced_with_the_last_state_in_the_end() {
    let server = Server::start().await;
    let bench = Bench::connect(&server, "bench-1").await;
    let mut reader = Reader::open(&server, "").await;
    let topic = bench.topic(Channel::Live).to_string();
    let job_id = JobId(fleet_clock::new_uuid());
    for done in 1..=100 {
        let live = Live {
            job_id,
            attempt: 1,
            step: "transfer".to_owned(),
            step_index: 3,
            steps_total: 9,
            bytes_done: done,
            bytes_total: 100,
            time: fleet_clock::wall_now(),
        };
        bench.publish(&topic, Vec::new(), live.encode()).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut count = 0;
    loop {
        let event = reader.until(|event| event.name == "live").await;
        count += 1;
        assert_eq!(event.data["device"], "bench-1");
        if event.data["bytes_done"] == json!(100) {
            break;
        }
    }
    assert!(count <= 12, "{count} events for about a second");
    server.stop().await;
}

#[tokio::test]
async fn live_messages_and_syncs_move_when_a_bench_was_seen() {
    let server = Server::start().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.begin().await;
    let seen = |bench: &Value| {
        bench["last_seen"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    let first = seen(&server.get("/api/v1/benches/bench-1").await.expect(200));
    bench.sync().await;
    let second = seen(&server.get("/api/v1/benches/bench-1").await.expect(200));
    assert!(second > first, "a sync moves it");
    let live = Live {
        job_id: JobId(fleet_clock::new_uuid()),
        attempt: 1,
        step: "transfer".to_owned(),
        step_index: 0,
        steps_total: 1,
        bytes_done: 1,
        bytes_total: 2,
        time: fleet_clock::wall_now(),
    };
    bench
        .publish(&bench.topic(Channel::Live).to_string(), Vec::new(), live.encode())
        .await;
    let path = "/api/v1/benches/bench-1";
    server.until(path, |bench| seen(bench) > second).await;
    let list = server.get("/api/v1/benches").await.expect(200);
    assert!(seen(&list["items"][0]) > second);
    server.stop().await;
}

#[tokio::test]
async fn readers_over_the_limit_are_refused_and_a_seat_is_free_again_when_one_leaves() {
    let server = Server::start_with(|config| config.http.max_stream_readers = 1).await;
    let mut first = Reader::open(&server, "").await;
    first.next().await.unwrap();
    server
        .get("/api/v1/stream")
        .await
        .problem(503, "too_many_readers", "a second reader");
    drop(first);
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let url = format!("{}/api/v1/stream", server.http);
        if server.client.get(url).send().await.unwrap().status() == 200 {
            break;
        }
        assert!(tokio::time::Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.stop().await;
}
