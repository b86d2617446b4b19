//! The JSON Schema is current and agrees with the compiler.

use procedure::{compile, schema};

fn root(path: &str) -> String {
    format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Without the words of YAML 1.1 that look like booleans.
fn yaml_1_2(yaml: &str) -> serde_json::Value {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(yaml, options).unwrap()
}

#[test]
fn the_committed_schema_is_current() {
    let committed = std::fs::read_to_string(root("docs/schemas/procedure.schema.json")).unwrap();
    let current = format!("{:#}\n", schema());
    assert!(
        committed == current,
        "run `cargo run -p procedure --example generate -- docs/schemas`"
    );
}

#[test]
fn the_procedures_of_the_demo_compile_and_match_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(root("demo/procedures")).unwrap() {
        let path = entry.unwrap().path();
        let yaml = std::fs::read_to_string(&path).unwrap();
        let plan = compile(&yaml).unwrap_or_else(|errors| panic!("{}: {}", path.display(), errors[0]));
        assert_eq!(path.file_stem().unwrap().to_str(), Some(plan.id.as_str()));
        let document: serde_json::Value = yaml_1_2(&yaml);
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn the_schema_refuses_unknown_keys_as_well() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let yaml = std::fs::read_to_string(root("demo/procedures/eol.test.yaml")).unwrap();
    let document: serde_json::Value = yaml_1_2(&yaml.replace("unit: A", "units: A"));
    assert!(!validator.is_valid(&document));
}
