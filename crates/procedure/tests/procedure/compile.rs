//! What the compiler refuses, where it points and what it advises.

use procedure::{Action, Diagnostic, compile};
use proptest::prelude::*;

use crate::bench::FLASH;

#[track_caller]
fn refused(yaml: &str) -> Vec<Diagnostic> {
    compile(yaml).expect_err("it should be refused")
}

/// Changes one place of the good procedure.
#[track_caller]
fn changed(from: &str, to: &str) -> String {
    assert!(FLASH.contains(from), "{from}");
    FLASH.replacen(from, to, 1)
}

/// The place of a text in the good procedure: line and column from 1.
fn place(yaml: &str, text: &str) -> (u64, u64) {
    let at = yaml.find(text).unwrap();
    let before = &yaml[..at];
    let line = before.matches('\n').count() + 1;
    let column = at - before.rfind('\n').map_or(0, |end| end + 1) + 1;
    (line as u64, column as u64)
}

#[test]
fn the_good_procedure_compiles() {
    let plan = compile(FLASH).unwrap();
    assert_eq!(
        (plan.id.as_str(), plan.version.as_str(), plan.steps_total()),
        ("flash.test", "1", 12)
    );
    assert!(plan.writes());
    assert_eq!(plan.artifacts, ["image"]);
    assert_eq!(plan.steps[5].on_link_loss.unwrap().from, 0);
    assert!(matches!(
        plan.steps[4].action,
        Action::Routine {
            id: 0xFF00,
            writes: true,
            ..
        }
    ));
    assert_eq!(plan.sha256.len(), 64);
}

/// (what is changed, into what, path, part of the message, part of the help)
#[rustfmt::skip]
const TABLE: &[(&str, &str, &str, &str, &str)] = &[
    ("limits: {ge: 12", "limit: {ge: 12", "preconditions[0].limit", "unknown key `limit`", "did you mean `limits`?"),
    ("limits: {ge: 12", "limits: {gte: 12", "preconditions[0].limits.gte", "unknown key `gte`", "did you mean"),
    ("title: Test", "titel: Test", "titel", "unknown key `titel`", "did you mean `title`?"),
    ("unit: V, ", "", "preconditions[0]", "a number without `unit`", "`1` for a count"),
    ("ge: 12, le: 15", "ge: 15, le: 12", "preconditions[0].limits", "no value", "below"),
    ("ge: 12, le: 15", "ge: 12, gt: 12", "preconditions[0].limits", "both `ge` and `gt`", "keep the one"),
    ("limits: {ge: 12, le: 15}, ", "", "preconditions[0]", "nothing is judged", "give `limits` or `equals`"),
    ("{id: ubat, read: 0x2110, decode: u16, scale: 0.01, unit: V, limits: {ge: 12, le: 15}, on_fail: abort}", "{id: ubat, session: 3}", "preconditions[0]", "is no reading", "move the rest to `steps`"),
    ("on_fail: abort", "on_fail: continue", "preconditions[0].on_fail", "is none", "use `abort`"),
    ("{id: ext, session: 3}", "{id: ext}", "steps[0]", "does nothing", "session"),
    ("{id: ext, session: 3}", "{id: ext, session: 3, reset: hard}", "steps[0].reset", "`session` and `reset` in one step", "two steps"),
    ("{id: ext, session: 3}", "{id: ext, session: 3, unit: V}", "steps[0].unit", "does not belong to `session`", "functional"),
    ("{id: ext, session: 3}", "{id: ext, session: 3, on_fail: abort}", "steps[0].on_fail", "cannot abort", "precondition"),
    ("id: prog", "id: ext", "steps[2].id", "there twice", "its own id"),
    ("id: prog", "id: Prog", "steps[2].id", "is no id", "small letters"),
    ("level: 0x11", "level: 0x12", "steps[3].security.level", "no level of a seed", "odd"),
    (", writes: true, point_of_no_return", ", point_of_no_return", "steps[4]", "without `writes`", "writes: true"),
    (", point_of_no_return: true", "", "steps[5]", "point of no return", "the step that erases"),
    ("{artifact: image}", "{artifact: picture}", "steps[5].download.artifact", "there is no input `picture`", "declare it"),
    ("restart_from: ext", "restart_from: nowhere", "steps[5].on_link_loss.restart_from", "there is no step `nowhere`", "name one of: ext"),
    ("restart_from: ext", "restart_from: erase", "steps[5].on_link_loss.restart_from", "neither session nor security", "restart from `ext`"),
    ("restart_from: ext", "restart_from: reset", "steps[5].on_link_loss.restart_from", "lies after", "before it"),
    ("${image.crc32}", "${image.crc16}", "steps[6].option", "`crc16` is unknown", "variables"),
    ("${image.crc32}", "${other.crc32}", "steps[6].option", "no input `other`", "declare it"),
    ("${image.crc32}", "xyz", "steps[6].option", "not hexadecimal", "two digits"),
    ("${image.crc32}", "${image.crc32", "steps[6].option", "without `}`", "variables"),
    ("{byte0: 0}", "{first: 0}", "steps[6].expect.first", "names no byte", "byte0"),
    ("equals: \"${image.version}\"", "equals: \"${image.crc32}\"", "verify[0].equals", "after a restart", "compare `version`"),
    ("equals: \"${image.version}\"", "equals: \"2\", scale: 2", "verify[0].scale", "belongs to a number", "decode"),
    ("equals: \"${image.version}\"", "equals: \"${param.speed}\"", "verify[0].equals", "no parameter `speed`", "parameters"),
    ("verify:\n  - {id: sw, read: 0xF189, equals: \"${image.version}\"}\n", "", "verify", "nothing is read back", "add `verify`"),
    ("{id: sw, read: 0xF189, equals: \"${image.version}\"}", "{id: sw, dtcs: {mask: 9}}", "verify", "not verified by a `read`", "software version"),
    ("{id: sw, read: 0xF189, equals: \"${image.version}\"}", "{id: sw, dtcs: {mask: 0}}", "verify[0].dtcs.mask", "selects no fault", "0x09"),
    ("restore_comm, ", "", "steps[1]", "communication is never enabled", "restore_comm"),
    ("restore_dtc, ", "", "steps[1]", "never switched on again", "restore_dtc"),
    (", session_default", "", "steps[0]", "never left", "session_default"),
    ("part: [P1]", "part: []", "target.part", "no part number", "name the part"),
    ("id: flash.test", "id: Flash Test", "id", "is no id", "small letters"),
    ("version: \"1\"", "version: \"1 0\"", "version", "is no version", "letters"),
    ("inputs: {image: {type: artifact}}", "inputs: {image: {type: artifact}, more: {type: artifact}}", "inputs.more", "no step downloads", "take it out"),
    ("id: reset, reset: hard", "id: reset, wait_s: 61", "steps[7].wait_s", "no time to wait", "0 to 60"),
    ("id: reset, reset: hard", "id: reset, write: 0x1000", "steps[7]", "`write` without `value`", "write the value"),
    ("id: reset, reset: hard", "id: reset, write: 0x1000, value: \"300\", encode: u8", "steps[7].value", "cannot be written", "change `value`"),
    ("id: reset, reset: hard", "id: reset, reset: hard, retry: {max: 2, nrc: [0x35]}", "steps[7].retry.nrc", "never tried again", "take it out"),
    ("id: reset, reset: hard", "id: reset, clear_dtcs: 0x1FFFFFF", "steps[7].clear_dtcs", "24 bits", "0xFFFFFF"),
    ("id: reset, reset: hard", "id: reset, actuate: 0x3101", "steps[7]", "without `state`", "hexadecimal"),
    ("id: reset, reset: hard", "id: reset, clear_dtcs: 0xFFFFFF, on_fail: continue", "steps[7].on_fail", "cannot be passed over", "stop"),
    ("kind: flash", "kind: flush", "kind", "flush", "schema"),
    ("session: 3", "session: three", "steps[0].session", "three", "schema"),
    ("session: 3", "session: 300", "steps[0].session", "", "schema"),
    ("schema: proc/1", "schema: proc/2", "schema", "proc/2", "schema"),
];

#[test]
fn each_fault_is_named_with_place_path_and_help() {
    for (from, to, path, message, help) in TABLE {
        let yaml = changed(from, to);
        let diagnostics = refused(&yaml);
        let found = diagnostics
            .iter()
            .find(|one| one.path == *path && one.message.contains(message) && one.help.contains(help));
        assert!(found.is_some(), "{from} -> {to}: {diagnostics:#?}");
        assert!(
            diagnostics.iter().all(|one| one.line > 0 && one.column > 0),
            "{diagnostics:#?}"
        );
    }
}

#[test]
fn line_and_column_point_at_the_key() {
    let yaml = changed("limits: {ge: 12", "limit: {ge: 12");
    let found = &refused(&yaml)[0];
    assert_eq!((found.line, found.column), place(&yaml, "limit: {"));
    let yaml = changed("level: 0x11", "level: 0x12");
    let found = &refused(&yaml)[0];
    assert_eq!((found.line, found.column), place(&yaml, "level: 0x12"));
    let yaml = changed("session: 3", "session: three");
    let found = &refused(&yaml)[0];
    assert_eq!(found.line, place(&yaml, "three").0);
}

#[test]
fn all_faults_are_said_at_once() {
    let yaml = changed("limits: {ge: 12", "limit: {ge: 12")
        .replace("expect:", "expects:")
        .replace("title:", "tittle:");
    let paths: Vec<String> = refused(&yaml).into_iter().map(|one| one.path).collect();
    assert_eq!(paths, ["tittle", "preconditions[0].limit", "steps[6].expects"]);
    let yaml = changed("level: 0x11", "level: 0x12").replace("{artifact: image}", "{artifact: none}");
    assert_eq!(refused(&yaml).len(), 2);
}

#[test]
fn what_is_no_yaml_has_one_diagnostic_with_its_place() {
    let diagnostics = refused("schema: [proc/1\nid: x\n");
    assert_eq!(diagnostics.len(), 1);
    assert!(diagnostics[0].line >= 1);
    assert_eq!(refused("").len(), 1);
    assert_eq!(
        refused("schema: proc/1\nschema: proc/1\n").len(),
        1,
        "a key that is there twice"
    );
    assert!(refused(&"a".repeat(300 * 1024))[0].message.contains("bytes"));
    assert_eq!(refused("[1, 2]").len(), 1);
}

#[test]
fn a_procedure_that_only_reads_needs_no_verification() {
    let yaml = r#"schema: proc/1
id: read.only
version: "1"
title: Read
kind: document
target: {ecu: ESP, la: 0x1001, part: [P1]}
steps:
  - {id: sw, read: 0xF189, equals: "2"}
"#;
    assert!(!compile(yaml).unwrap().writes());
}

proptest! {
    #[test]
    fn the_compiler_is_total(text in "[ -~\n]{0,200}") {
        let _ = compile(&text);
    }

    /// Any line taken out or doubled: a plan, or diagnostics.
    #[test]
    fn a_damaged_procedure_is_refused_or_compiled(line in 0_usize..24, double in any::<bool>()) {
        let mut lines: Vec<&str> = FLASH.lines().collect();
        let line = line % lines.len();
        if double { lines.insert(line, lines[line]) } else { lines.remove(line); }
        if let Err(diagnostics) = compile(&lines.join("\n")) {
            prop_assert!(!diagnostics.is_empty());
        }
    }
}
