//! Properties of messages.

use std::time::Duration;

use fleet_wire::EVENT_CONTENT_TYPE;
use rumqttc::v5::mqttbytes::v5::PublishProperties;

use super::{SILENCE, SOON};
use crate::fault::Fault;
use crate::report::Findings;
use crate::runner::Run;

const LIFE: u32 = 60;
/// How long the session is away: longer than the short life.
const AWAY: Duration = Duration::from_millis(3500);

fn expiring(seconds: u32) -> PublishProperties {
    PublishProperties {
        message_expiry_interval: Some(seconds),
        ..PublishProperties::default()
    }
}

pub(super) async fn properties(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    kept(run, findings).await?;
    expiry(run, findings).await
}

async fn kept(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("properties", "bench", "events");
    let mut reader = run.session("properties").await?;
    reader.subscribe(&topic).await?;
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    // The same key twice, an empty value and more than ASCII.
    let user = vec![
        pair("seq", "7"),
        pair("spool", "s"),
        pair("after", "x"),
        pair("seq", "8"),
        pair("empty", ""),
        pair("Prüfstand", "2 µm"),
    ];
    let properties = PublishProperties {
        content_type: Some(EVENT_CONTENT_TYPE.to_owned()),
        user_properties: user.clone(),
        ..PublishProperties::default()
    };
    let mut writer = run.passing("properties-writer").await?;
    writer.publish_as(&topic, "{}", false, properties).await?;
    writer.settled().await?;
    let message = reader.next(SOON).await?;
    reader.acknowledge(&message).await?;
    let came = message.properties.user_properties;
    let (ours, added) = came.split_at_checked(user.len()).unwrap_or((&came, &[]));
    let same_type = message.properties.content_type.as_deref() == Some(EVENT_CONTENT_TYPE);
    let of_broker = match added {
        [] => String::new(),
        [first, ..] => format!(
            " ({} more added by the broker, the first is {})",
            added.len(),
            first.0
        ),
    };
    findings.judge(
        "properties.kept",
        ours == user && same_type,
        format!(
            "{} user properties {}{of_broker}, content type {}",
            user.len(),
            if ours == user {
                "came in order".to_owned()
            } else {
                format!("came as {ours:?}")
            },
            if same_type {
                "kept".to_owned()
            } else {
                format!("{:?}", message.properties.content_type)
            },
        ),
    );
    reader.disconnect().await
}

async fn expiry(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("properties", "bench", "receipts");
    let mut reader = run.session("expiry").await?;
    reader.subscribe(&topic).await?;
    reader.disconnect().await?;
    let mut writer = run.passing("expiry-writer").await?;
    writer.publish_as(&topic, "short", false, expiring(1)).await?;
    writer.publish_as(&topic, "long", false, expiring(LIFE)).await?;
    writer.settled().await?;
    tokio::time::sleep(AWAY).await;
    let mut reader = run.session("expiry").await?;
    let messages = reader.drain(2, SILENCE).await?;
    let came: Vec<_> = messages
        .iter()
        .map(|message| String::from_utf8_lossy(&message.payload).into_owned())
        .collect();
    findings.judge(
        "properties.expired",
        came == ["long"],
        format!(
            "after {} ms away, of lives of 1 s and {LIFE} s: {came:?} came",
            AWAY.as_millis()
        ),
    );
    let left = messages
        .last()
        .and_then(|message| message.properties.message_expiry_interval);
    findings.judge(
        "properties.expiry_left",
        left.is_some_and(|left| left < LIFE && left > LIFE / 2),
        left.map_or("not told".to_owned(), |left| format!("{left} s of {LIFE} s")),
    );
    reader.disconnect().await
}
