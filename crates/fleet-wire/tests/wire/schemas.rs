use std::path::PathBuf;

use fleet_wire::documents;
use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn golden(name: &str) -> Value {
    let path = root()
        .join("crates/fleet-wire/tests/golden/v1")
        .join(format!("{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn generated_files_are_current() {
    for (path, bytes) in documents::files() {
        let found = std::fs::read(root().join("docs").join(&path)).unwrap_or_default();
        assert!(found == bytes, "docs/{path} is stale: run `cargo xtask generate`");
    }
}

#[test]
fn every_golden_document_is_valid_by_its_schema() {
    for (_, name, schema) in documents::schemas() {
        let validator = jsonschema::validator_for(&schema).unwrap();
        let document = golden(name);
        let errors: Vec<_> = validator.iter_errors(&document).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}

#[test]
fn a_schema_refuses_a_document_that_lacks_a_required_field() {
    for (_, name, schema) in documents::schemas() {
        let validator = jsonschema::validator_for(&schema).unwrap();
        let required = schema["required"].as_array().unwrap().clone();
        for field in required {
            let mut document = golden(name);
            document.as_object_mut().unwrap().remove(field.as_str().unwrap());
            assert!(!validator.is_valid(&document), "{name} without {field}");
        }
    }
}

#[test]
fn the_asyncapi_description_names_every_document_once() {
    let description = documents::asyncapi();
    let messages = description["components"]["messages"].as_object().unwrap();
    assert_eq!(messages.len(), documents::schemas().len());
    for (channel, name, _) in documents::schemas() {
        assert!(
            description["channels"][channel.as_str()]["messages"][name].is_object(),
            "{name}"
        );
    }
}
