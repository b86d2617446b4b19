//! A process under `fleet-telemetry` and the collector understand each other.

use std::time::Duration;

use fleet_telemetry::{TelemetryConfig, current_traceparent, init, set_parent};
use fleet_testkit::{Collector, ReceivedSpan};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn named<'a>(spans: &'a [ReceivedSpan], name: &str) -> Option<&'a ReceivedSpan> {
    spans.iter().find(|span| span.name == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_receives_spans_with_their_parents_over_otlp() {
    let collector = Collector::start().await.expect("a collector");
    let config = TelemetryConfig {
        otlp_endpoint: Some(collector.endpoint()),
        ..TelemetryConfig::default()
    };
    let guard = init("bench", &config).expect("telemetry");

    let job = tracing::info_span!("agent.run_job", job.id = "0190");
    set_parent(&job, PARENT);
    let stated = job.in_scope(|| {
        tracing::info_span!("procedure.run_step").in_scope(|| tracing::info!("a step"));
        current_traceparent().expect("a span is open")
    });
    drop(job);
    // Dropping blocks until the last spans are sent; the collector needs a thread meanwhile.
    tokio::task::spawn_blocking(move || drop(guard))
        .await
        .expect("the last spans are sent");

    let (job, step) = collector
        .wait_for("job and step", Duration::from_secs(10), |spans| {
            Some((
                named(spans, "agent.run_job")?.clone(),
                named(spans, "procedure.run_step")?.clone(),
            ))
        })
        .await
        .expect("both spans");
    assert_eq!(job.service, "bench");
    assert_eq!(stated, format!("00-{}-{}-01", job.trace_id, job.span_id));
    assert_eq!(
        (job.trace_id.as_str(), job.parent_span_id.as_str()),
        (&PARENT[3..35], &PARENT[36..52])
    );
    assert_eq!(
        (&step.trace_id, &step.parent_span_id),
        (&job.trace_id, &job.span_id)
    );
    assert_eq!(job.attributes.get("job.id").map(String::as_str), Some("0190"));

    let missing = collector.wait_for("a span that is not there", Duration::from_millis(10), |spans| {
        named(spans, "nobody").cloned()
    });
    let message = missing.await.expect_err("no such span").to_string();
    assert!(message.contains("bench/agent.run_job"), "{message}");

    let twice = init("bench", &TelemetryConfig::default());
    assert!(twice.is_err(), "a process is set up once");
}
