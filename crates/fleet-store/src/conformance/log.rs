//! Change log, pages, outbox, catalog.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_domain::JobState;

use super::fixture::{Fixture, OTHER_VIN, VIN};
use crate::{
    Advanced, ArtifactRow, BenchFilter, BenchState, ChangeKind, JobFilter, OutboxAdvance, OutboxCursor, Page,
    ProcedureRow, Retention, StoreError,
};

/// A reader that follows the log misses nothing, and is told when it was away too long.
pub async fn the_change_log_has_every_change_once(mut fixture: Fixture) {
    fixture.lease_all().await;
    let start = fixture.store.changes(0, 10).await.unwrap();
    assert_eq!((start.head, start.truncated), (0, false));
    let bench = fixture.online("bench-1", VIN, &[]).await;
    let job = fixture.offered(VIN).await.job.id;
    let all = fixture.store.changes(0, 1000).await.unwrap();
    assert_eq!(all.rows.last().unwrap().seq, all.head);
    let about: BTreeSet<_> = all
        .rows
        .iter()
        .map(|row| (row.kind.as_str(), row.id.clone()))
        .collect();
    assert!(about.contains(&("bench", bench.device.to_string())));
    assert!(about.contains(&("job", job.to_string())));
    let mut followed = Vec::new();
    let mut since = 0;
    loop {
        let part = fixture.store.changes(since, 1).await.unwrap();
        let Some(last) = part.rows.last() else { break };
        since = last.seq;
        followed.extend(part.rows);
    }
    assert_eq!(followed, all.rows);
    assert!(
        fixture.store.changes(all.head + 1, 10).await.unwrap().truncated,
        "of another database"
    );
    fixture
        .store
        .prune(fixture.now, Retention::default())
        .await
        .unwrap();
    assert!(!fixture.store.changes(0, 10).await.unwrap().truncated);
    fixture.pass(2 * 3600);
    fixture
        .store
        .prune(fixture.now, Retention::default())
        .await
        .unwrap();
    let gone = fixture.store.changes(0, 10).await.unwrap();
    assert_eq!((gone.truncated, gone.head), (true, all.head));
    let current = fixture.store.changes(all.head, 10).await.unwrap();
    assert_eq!((current.truncated, current.rows.len()), (false, 0));
    fixture.offered(OTHER_VIN).await;
    let more = fixture.store.changes(all.head, 10).await.unwrap();
    assert!(more.rows.iter().any(|row| row.kind == ChangeKind::Job));
    assert!(
        more.rows.iter().all(|row| row.seq > all.head),
        "a place is never given twice"
    );
}

/// Page after page gives every row once, newest first, with filters.
pub async fn pages_hold_every_row_once(mut fixture: Fixture) {
    fixture.lease_all().await;
    for n in 0..7 {
        fixture.online(&format!("bench-{n}"), VIN, &[]).await;
        let vin = if n == 0 { OTHER_VIN } else { VIN };
        let request = fixture.request(vin, "ESP");
        fixture.store.create_job(request, fixture.now).await.unwrap();
    }
    let mut page = Page {
        limit: 3,
        after: None,
    };
    let mut jobs = Vec::new();
    loop {
        let part = fixture.store.jobs(&JobFilter::default(), &page).await.unwrap();
        assert!(part.items.len() <= 3);
        jobs.extend(part.items);
        page.after = part.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(jobs.len(), 7);
    assert!(jobs.windows(2).all(|pair| pair[0].job.id > pair[1].job.id));
    let mut benches = Vec::new();
    page.after = None;
    loop {
        let part = fixture
            .store
            .benches(&BenchFilter::default(), &page)
            .await
            .unwrap();
        benches.extend(part.items.into_iter().map(|bench| bench.device.to_string()));
        page.after = part.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(benches, (0..7).map(|n| format!("bench-{n}")).collect::<Vec<_>>());
    let filter = JobFilter {
        states: vec![JobState::Queued, JobState::Running],
        vin: Some(OTHER_VIN.parse().unwrap()),
        ..JobFilter::default()
    };
    assert_eq!(
        fixture
            .store
            .jobs(&filter, &Page::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    for (part, expected) in [
        ("A000002", 1),
        ("1110101", 7),
        ("a000002", 0),
        ("%", 0),
        ("___", 0),
    ] {
        let filter = JobFilter {
            vin_part: Some(part.to_owned()),
            ..JobFilter::default()
        };
        let found = fixture.store.jobs(&filter, &Page::default()).await.unwrap();
        assert_eq!(found.items.len(), expected, "{part}");
    }
    let text = |text: &str, state| BenchFilter {
        state,
        text: Some(text.to_owned()),
    };
    for (filter, expected) in [
        (text("BENCH-3", None), 1),
        (text("Station 7", Some(BenchState::Online)), 7),
        (text("%", None), 0),
        (text("bench", Some(BenchState::Offline)), 0),
    ] {
        let found = fixture.store.benches(&filter, &Page::default()).await.unwrap();
        assert_eq!(found.items.len(), expected, "{filter:?}");
    }
    page.after = Some("'; DROP TABLE jobs; --".to_owned());
    let error = fixture
        .store
        .jobs(&JobFilter::default(), &page)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::NotFound(_)), "{error}");
}

/// In commit order; the cursor never goes back; the row it stands on stays.
pub async fn the_outbox_keeps_order_and_its_newest_relayed_row(mut fixture: Fixture) {
    fixture.lease_all().await;
    for n in 0..5 {
        fixture.online(&format!("bench-{n}"), VIN, &[]).await;
    }
    let rows = fixture.store.outbox_read(0, 100).await.unwrap();
    assert_eq!(rows.len(), 5);
    assert!(rows.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert!(rows.iter().all(|row| row.topic == "vds.device-state.v1"));
    let tokens: BTreeSet<_> = rows.iter().map(|row| row.token).collect();
    assert_eq!(tokens.len(), 5);
    let part = fixture.store.outbox_read(rows[1].seq, 2).await.unwrap();
    assert_eq!(part, rows[2..4]);
    let term = fixture
        .store
        .claim_relay("relay", fixture.now, Duration::from_secs(6))
        .await
        .unwrap()
        .unwrap();
    for row in [&rows[2], &rows[0]] {
        let advance = OutboxAdvance {
            term,
            through: OutboxCursor::behind(row),
            already: Vec::new(),
        };
        let advanced = fixture.store.outbox_advance(&advance, fixture.now).await.unwrap();
        assert_eq!(advanced, Advanced::Done);
    }
    assert_eq!(fixture.store.ledger_totals().await.unwrap().in_outbox, 2);
    fixture
        .store
        .prune(fixture.now, Retention::default())
        .await
        .unwrap();
    let left = fixture.store.outbox_read(0, 100).await.unwrap();
    assert_eq!(left, rows[2..]);
    fixture.online("bench-9", VIN, &[]).await;
    assert!(
        fixture
            .store
            .outbox_read(0, 100)
            .await
            .unwrap()
            .last()
            .unwrap()
            .seq
            > rows[4].seq
    );
}

/// Procedures and artifacts.
pub async fn a_version_never_changes(fixture: Fixture) {
    let store = &fixture.store;
    let procedure = ProcedureRow {
        id: "flash.esp.app".to_owned(),
        version: "1.0".to_owned(),
        sha256: "00".repeat(32),
        yaml: "id: flash.esp.app".to_owned(),
        created_at: fixture.now,
        created_by: "operator".to_owned(),
    };
    store.put_procedure(procedure.clone()).await.unwrap();
    store.put_procedure(procedure.clone()).await.unwrap();
    let mut other = procedure.clone();
    "id: something.else".clone_into(&mut other.yaml);
    let error = store.put_procedure(other).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
    assert_eq!(
        store.procedure("flash.esp.app", "1.0").await.unwrap(),
        Some(procedure.clone())
    );
    assert_eq!(store.procedure("flash.esp.app", "1.1").await.unwrap(), None);
    assert_eq!(store.procedures().await.unwrap(), [procedure]);
    let artifact = ArtifactRow {
        name: "esp-app".to_owned(),
        version: "2.0".to_owned(),
        sha256: "11".repeat(32),
        size: 65536,
        created_at: fixture.now,
        created_by: "operator".to_owned(),
    };
    store.put_artifact(artifact.clone()).await.unwrap();
    let mut other = artifact.clone();
    other.size += 1;
    let error = store.put_artifact(other).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
    assert_eq!(
        store.artifact("esp-app", "2.0").await.unwrap(),
        Some(artifact.clone())
    );
    assert_eq!(store.artifacts().await.unwrap(), [artifact]);
}
