//! One trace from the REST request to the recording, over two processes.

use std::collections::BTreeMap;

use anyhow::ensure;
use fleet_testkit::{Collector, ReceivedSpan, Settings};

use crate::plant::{Plant, WITHIN, Work};

/// Spans of one trace from `last` up to the root, by their parents.
fn chain<'a>(spans: &'a BTreeMap<&str, &'a ReceivedSpan>, last: &'a ReceivedSpan) -> Vec<&'a ReceivedSpan> {
    let mut chain = vec![last];
    while let Some(parent) = chain
        .last()
        .and_then(|span| spans.get(span.parent_span_id.as_str()))
    {
        chain.push(parent);
    }
    chain
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_leads_from_the_request_over_the_bench_to_the_recorded_event() -> anyhow::Result<()> {
    let collector = Collector::start().await?;
    let endpoint = collector.endpoint();
    let telemetry = || Settings::new().with("telemetry.otlp_endpoint", endpoint.as_str());
    let mut plant = Plant::start(telemetry(), &[], &[]).await?;
    plant.start_bench_with(1, telemetry(), &[])?;
    let job = plant.queue(Work::Calibrate).await?;
    plant.job_passes(&job).await?;
    plant.settles().await?;
    // The exporters hand over the rest at their end.
    plant.stop().await?;
    let names = collector
        .wait_for("the whole chain", WITHIN, |all| {
            let root = all.iter().find(|span| span.name == "http.post_job")?;
            let of_trace = all.iter().filter(|span| span.trace_id == root.trace_id);
            let by_id: BTreeMap<_, _> = of_trace.map(|span| (span.span_id.as_str(), span)).collect();
            let stored = by_id.values().filter(|span| span.name == "ingest.store_event");
            let chains = stored.map(|span| {
                let chain = chain(&by_id, span);
                chain
                    .iter()
                    .map(|span| (span.service.clone(), span.name.clone()))
                    .collect::<Vec<_>>()
            });
            chains
                .filter(|chain| chain.iter().any(|(_, name)| name == "procedure.run_step"))
                .max_by_key(Vec::len)
        })
        .await?;
    let expected = [
        ("fleet-server", "ingest.store_event"),
        ("device-agent", "procedure.run_step"),
        ("device-agent", "agent.run_job"),
        ("fleet-server", "http.post_job"),
        ("fleet-server", "http.request"),
    ];
    let names: Vec<_> = names.iter().map(|(s, n)| (s.as_str(), n.as_str())).collect();
    ensure!(names == expected, "the chain is {names:?}");
    Ok(())
}
