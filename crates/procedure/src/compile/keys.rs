//! Unknown keys, all at once, with the nearest known one. The JSON Schema is the list of what is known.

use std::sync::LazyLock;

use serde_json::Value;

use super::Findings;
use crate::document::schema;
use crate::spans::{Node, join};

pub(super) fn check(root: &Node, findings: &mut Findings) {
    static SCHEMA: LazyLock<Value> = LazyLock::new(schema);
    walk(root, &SCHEMA, &SCHEMA, "", findings);
}

fn walk(node: &Node, schema: &Value, root: &Value, path: &str, findings: &mut Findings) {
    let schema = resolve(schema, root);
    match node {
        Node::Map(entries) => {
            let known = schema.get("properties").and_then(Value::as_object);
            let other = schema.get("additionalProperties");
            for (key, value) in entries {
                let at = join(path, &key.value);
                if let Some(inner) = known.and_then(|known| known.get(&key.value)) {
                    walk(&value.value, inner, root, &at, findings);
                } else if other == Some(&Value::Bool(false)) {
                    let names: Vec<&str> = known
                        .into_iter()
                        .flat_map(|known| known.keys().map(String::as_str))
                        .collect();
                    findings.add(
                        &at,
                        format!("unknown key `{}`", key.value),
                        suggestion(&key.value, &names),
                    );
                } else if let Some(inner) = other {
                    walk(&value.value, inner, root, &at, findings);
                }
            }
        }
        Node::Seq(items) => {
            if let Some(inner) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    walk(&item.value, inner, root, &format!("{path}[{index}]"), findings);
                }
            }
        }
        Node::Scalar => {}
    }
}

/// Follows references and the `null` of optional fields.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let target = name.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or(schema, |target| resolve(target, root));
    }
    let choices = schema.get("anyOf").and_then(Value::as_array);
    let real = choices
        .into_iter()
        .flatten()
        .find(|choice| choice.get("type").and_then(Value::as_str) != Some("null"));
    real.map_or(schema, |choice| resolve(choice, root))
}

fn suggestion(written: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|name| (distance(written, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 2.max(name.len() / 3) => format!("did you mean `{name}`?"),
        _ => format!("known here: {}", known.join(", ")),
    }
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (j, y) in b.chars().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or_default();
            let best = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = above;
            left = best;
            if let Some(cell) = row.get_mut(j + 1) {
                *cell = best;
            }
        }
        if let Some(cell) = row.first_mut() {
            *cell = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
