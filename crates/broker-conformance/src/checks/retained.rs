//! Retained messages, and publishes that are not allowed.

use rumqttc::v5::mqttbytes::v5::PublishProperties;

use super::{SILENCE, SOON};
use crate::client::Connection;
use crate::fault::Fault;
use crate::report::Findings;
use crate::runner::Run;

async fn retain(writer: &mut Connection, topic: &str, payload: &'static str) -> Result<(), Fault> {
    writer
        .publish_as(topic, payload, true, PublishProperties::default())
        .await?;
    writer.settled().await?;
    Ok(())
}

/// What a fresh subscription brings: payload and retain flag.
async fn stored(run: &Run, name: &str, filter: &str) -> Result<Option<(String, bool)>, Fault> {
    let mut reader = run.passing(name).await?;
    reader.subscribe(filter).await?;
    let first = reader.look(1, SILENCE).await?;
    reader.disconnect().await?;
    let first = first.first();
    Ok(first.map(|message| {
        (
            String::from_utf8_lossy(&message.payload).into_owned(),
            message.retain,
        )
    }))
}

pub(super) async fn retained(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("retained", "bench", "presence");
    let filter = run.topic("retained", "+", "presence");
    run.retains(&topic);
    let mut live = run.passing("retained-live").await?;
    live.subscribe(&filter).await?;
    let mut writer = run.passing("retained-writer").await?;
    retain(&mut writer, &topic, "online").await?;
    let at_once = live.next(SOON).await?;
    live.acknowledge(&at_once).await?;
    let set = stored(run, "retained-reader-1", &filter).await?;
    retain(&mut writer, &topic, "offline").await?;
    let replaced = stored(run, "retained-reader-2", &filter).await?;
    retain(&mut writer, &topic, "").await?;
    let cleared = stored(run, "retained-reader-3", &filter).await?;
    let payload = |stored: &Option<(String, bool)>| stored.as_ref().map(|(payload, _)| payload.clone());
    let seen = [payload(&set), payload(&replaced), payload(&cleared)];
    let wanted = [Some("online".to_owned()), Some("offline".to_owned()), None];
    findings.judge(
        "retained.life",
        seen == wanted,
        if seen == wanted {
            "set, replaced, cleared".to_owned()
        } else {
            format!("after set, replaced, cleared a subscription brought {seen:?}")
        },
    );
    let stored_flag = [&set, &replaced].into_iter().flatten().all(|(_, flag)| *flag);
    findings.judge(
        "retained.flag",
        stored_flag && !at_once.retain,
        format!(
            "{} on stored messages, {} on live ones",
            if stored_flag { "set" } else { "not set" },
            if at_once.retain { "set" } else { "not set" }
        ),
    );
    live.disconnect().await
}

/// The broker's own topics are nobody's to publish on.
pub(super) async fn refused(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let mut writer = run.passing("refused").await?;
    let topic = format!("$SYS/broker/{}", run.id("refused"));
    writer.publish(&topic, "not allowed").await?;
    let (is_told, what) = match writer.settled().await {
        Ok(answers) => match answers.refusal {
            Some(reason) => (true, format!("PUBACK said {reason:?}")),
            None => (false, "PUBACK said success".to_owned()),
        },
        Err(Fault::Ended { ended, .. }) => (true, format!("the connection ended: {ended}")),
        Err(fault) => return Err(fault),
    };
    findings.judge("refused.told", is_told, format!("a publish on $SYS: {what}"));
    Ok(())
}
