//! JSON Schemas of types that come from elsewhere.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A timestamp of RFC 3339.
pub(crate) struct DateTime;

impl JsonSchema for DateTime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DateTime".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}
