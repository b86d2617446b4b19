//! JSON Schemas of every document and the AsyncAPI 3 description, generated from the types.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::command::{COMMANDS_TYPE, Commands};
use crate::envelope::Envelope;
use crate::event::{
    AgentStarted, EventType, JobAccepted, JobFinished, JobRejected, JobStarted, SpoolHole, StepFinished,
};
use crate::live::{LIVE_TYPE, Live};
use crate::presence::{PRESENCE_TYPE, Presence};
use crate::properties;
use crate::receipt::{RECEIPT_TYPE, Receipt, SYNC_ANSWER_TYPE, SyncAnswer};
use crate::sync::{SYNC_TYPE, Sync};
use crate::topic::Channel;
use crate::{CONTROL_CONTENT_TYPE, EVENT_CONTENT_TYPE};

fn schema<T: JsonSchema>() -> Value {
    let schema: Schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>();
    schema.to_value()
}

fn control<T: JsonSchema>(name: &str) -> Value {
    let mut schema = schema::<T>();
    require(&mut schema, "type", &json!({ "const": name }));
    schema
}

fn event<T: JsonSchema>(name: &str) -> Value {
    let mut data = schema::<T>();
    let definitions = data.as_object_mut().and_then(|data| {
        data.remove("$schema");
        data.remove("$defs")
    });
    let mut envelope = schema::<Envelope>();
    require(&mut envelope, "type", &json!({ "const": name }));
    require(&mut envelope, "specversion", &json!({ "const": "1.0" }));
    require(&mut envelope, "data", &data);
    if let (Some(Value::Object(from)), Some(envelope)) = (definitions, envelope.as_object_mut()) {
        let into = envelope.entry("$defs").or_insert_with(|| json!({}));
        if let Some(into) = into.as_object_mut() {
            into.extend(from);
        }
    }
    envelope
}

fn require(schema: &mut Value, property: &str, is: &Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert(property.to_owned(), is.clone());
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut)
        && !required.iter().any(|name| name == property)
    {
        required.push(json!(property));
    }
}

/// The channel of each document with its schema, by type, in a fixed order.
pub fn schemas() -> Vec<(Channel, &'static str, Value)> {
    let mut all = vec![
        (Channel::Sync, SYNC_TYPE, control::<Sync>(SYNC_TYPE)),
        (Channel::Live, LIVE_TYPE, control::<Live>(LIVE_TYPE)),
        (
            Channel::Presence,
            PRESENCE_TYPE,
            control::<Presence>(PRESENCE_TYPE),
        ),
        (Channel::Receipts, RECEIPT_TYPE, control::<Receipt>(RECEIPT_TYPE)),
        (
            Channel::Receipts,
            SYNC_ANSWER_TYPE,
            control::<SyncAnswer>(SYNC_ANSWER_TYPE),
        ),
        (
            Channel::Commands,
            COMMANDS_TYPE,
            control::<Commands>(COMMANDS_TYPE),
        ),
    ];
    for known in EventType::KNOWN {
        let schema: fn(&str) -> Value = match known {
            EventType::AgentStarted => event::<AgentStarted>,
            EventType::JobAccepted => event::<JobAccepted>,
            EventType::JobRejected => event::<JobRejected>,
            EventType::JobStarted => event::<JobStarted>,
            EventType::StepFinished => event::<StepFinished>,
            EventType::JobFinished => event::<JobFinished>,
            EventType::SpoolHole => event::<SpoolHole>,
            EventType::Unknown(_) => continue,
        };
        all.push((Channel::Events, known.as_str(), schema(known.as_str())));
    }
    all
}

/// What a channel is for, who publishes on it and how.
fn channel_description(channel: Channel) -> (&'static str, &'static str, u8, bool) {
    match channel {
        Channel::Events => (
            "receive",
            "Durable events of a bench, in the order of its spool.",
            1,
            false,
        ),
        Channel::Sync => (
            "receive",
            "What a bench holds and believes, at connect and each minute.",
            1,
            false,
        ),
        Channel::Live => ("receive", "Progress of a running job. Never stored.", 0, false),
        Channel::Presence => ("receive", "Whether a bench is connected. Also its will.", 1, true),
        Channel::Receipts => (
            "send",
            "What the server has committed, and answers to sync.",
            1,
            false,
        ),
        Channel::Commands => ("send", "The complete list of a bench's open jobs.", 1, false),
    }
}

/// The MQTT 5 user properties of an event.
fn user_properties() -> Value {
    let (uuid, position) = (
        json!({ "type": "string", "format": "uuid" }),
        json!({ "type": "string", "pattern": "^(0|[1-9][0-9]{0,18})$" }),
    );
    json!({
        "type": "object",
        "required": [properties::SPOOL, properties::SEQ],
        "properties": {
            properties::SPOOL: uuid,
            properties::SEQ: position,
            properties::PREV_SPOOL: uuid,
            properties::PREV_LAST_SEQ: position,
            properties::HOLE_TO: position,
        },
        "dependentRequired": {
            properties::PREV_SPOOL: [properties::PREV_LAST_SEQ],
            properties::PREV_LAST_SEQ: [properties::PREV_SPOOL],
        },
    })
}

/// The AsyncAPI 3 description of the wire, from the server's side.
pub fn asyncapi() -> Value {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    let all = schemas();
    for channel in Channel::ALL {
        let (action, description, qos, retain) = channel_description(channel);
        let name = channel.as_str();
        let mut of_channel = Map::new();
        for (_, r#type, _) in all.iter().filter(|(c, ..)| *c == channel) {
            of_channel.insert(
                (*r#type).to_owned(),
                json!({ "$ref": format!("#/components/messages/{type}") }),
            );
        }
        channels.insert(
            name.to_owned(),
            json!({
                "address": format!("vds/v1/{{plant}}/{{slot}}/{{device}}/{name}"),
                "description": description,
                "parameters": {
                    "plant": { "description": "Plant, [A-Za-z0-9_-]{1,64}" },
                    "slot": { "description": "CRC-32C of the device id mod 16, one lower-case hexadecimal digit" },
                    "device": { "description": "Device, [A-Za-z0-9_-]{1,64}; also the MQTT client identifier" },
                },
                "messages": of_channel,
            }),
        );
        operations.insert(
            format!("{action}_{name}"),
            json!({
                "action": action,
                "channel": { "$ref": format!("#/channels/{name}") },
                "bindings": { "mqtt": { "qos": qos, "retain": retain, "bindingVersion": "0.2.0" } },
            }),
        );
    }
    for (channel, r#type, _) in &all {
        let content = if *channel == Channel::Events {
            EVENT_CONTENT_TYPE
        } else {
            CONTROL_CONTENT_TYPE
        };
        let mut message = json!({
            "name": r#type,
            "contentType": content,
            "payload": { "$ref": format!("./schemas/{type}.schema.json") },
        });
        if let (Channel::Events, Some(message)) = (channel, message.as_object_mut()) {
            message.insert("headers".to_owned(), user_properties());
        }
        messages.insert((*r#type).to_owned(), message);
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "VDS Fleet wire contract",
            "version": "1",
            "description": "Messages between test benches and the fleet server over MQTT 5. See docs/protocol.md.",
        },
        "defaultContentType": CONTROL_CONTENT_TYPE,
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages },
    })
}

/// The generated files: path below `docs/` and bytes.
pub fn files() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = schemas()
        .into_iter()
        .map(|(_, r#type, schema)| (format!("schemas/{type}.schema.json"), pretty(&schema)))
        .collect();
    files.push(("asyncapi.json".to_owned(), pretty(&asyncapi())));
    files
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}
