//! `mutants/mutants.toml`: which rules are broken on purpose, and what has to notice.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

/// The whole table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// By name.
    pub(crate) proof: BTreeMap<String, Proof>,
    /// In the order of the file.
    pub(crate) mutant: Vec<Mutant>,
}

/// A command that must pass on the shipped code and must not on a mutant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proof {
    /// What it is, for people.
    pub(crate) about: String,
    /// Builds everything that `run` needs. Failing, it proves nothing.
    pub(crate) build: Vec<String>,
    /// The proof itself.
    pub(crate) run: Vec<String>,
    /// Environment of both.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Longest time of `run`, seconds.
    pub(crate) seconds: u64,
    /// A line of the output that holds this text is a judgement.
    #[serde(default)]
    pub(crate) judgement: Option<String>,
    /// It takes `--report FILE` and writes its judgement there as JSON: a key of `expect` that is neither 0 nor null.
    #[serde(default)]
    pub(crate) report: bool,
    /// It builds programs by their names: it must not share the folder of the shipped ones.
    #[serde(default)]
    pub(crate) programs: bool,
}

/// A rule that is broken.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    /// Its name, and that of its patch without `.patch`.
    pub(crate) name: String,
    /// The rule, with its number in the delivery contract where it has one.
    pub(crate) rule: String,
    /// What the code does instead.
    pub(crate) breaks: String,
    /// Who has to notice.
    pub(crate) proof: String,
    /// A judgement counts when it holds one of these words.
    pub(crate) expect: Vec<String>,
    /// Environment of its proof beside the proof's own, such as a seed that is known to show it soon.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
}

impl Table {
    /// Reads the table and checks that it belongs together.
    ///
    /// # Errors
    /// Names what is wrong in it and what to do.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let table: Self = toml::from_str(text).context("the table of mutants can't be read")?;
        let mut names = BTreeSet::new();
        for mutant in &table.mutant {
            let name = &mutant.name;
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            ensure!(
                !name.is_empty() && name.chars().all(plain),
                "mutant {name:?}: a name has small letters, digits and dashes"
            );
            ensure!(names.insert(name), "mutant {name} is there twice");
            ensure!(
                table.proof.contains_key(&mutant.proof),
                "mutant {name}: there is no proof {:?}",
                mutant.proof
            );
            ensure!(
                !mutant.expect.is_empty() && mutant.expect.iter().all(|word| !word.is_empty()),
                "mutant {name}: expect names what the judgement must say"
            );
        }
        for (name, proof) in &table.proof {
            ensure!(
                !proof.build.is_empty() && !proof.run.is_empty(),
                "proof {name}: build and run must be set"
            );
            let said = proof.judgement.as_ref().is_some_and(|text| !text.is_empty());
            ensure!(
                said != proof.report,
                "proof {name}: either judgement is a text, or report is true"
            );
        }
        Ok(table)
    }

    /// The mutants of these names, all when there are none.
    ///
    /// # Errors
    /// Names the one that is not there and those that are.
    pub(crate) fn select(&self, names: &[String]) -> anyhow::Result<Vec<Mutant>> {
        for name in names {
            if !self.mutant.iter().any(|mutant| mutant.name == *name) {
                let known: Vec<_> = self.mutant.iter().map(|mutant| mutant.name.as_str()).collect();
                bail!("there is no mutant {name:?}; there are {}", known.join(", "));
            }
        }
        let wanted = |mutant: &&Mutant| names.is_empty() || names.contains(&mutant.name);
        Ok(self.mutant.iter().filter(wanted).cloned().collect())
    }
}

impl Proof {
    /// The judgement in an output that says one of `expect`: the line of the judgement, or one of those below it.
    pub(crate) fn finding(&self, output: &str, expect: &[String]) -> Option<String> {
        let judgement = self.judgement.as_ref()?;
        let mut head = None;
        for line in output.lines() {
            if line.contains(judgement.as_str()) {
                head = Some((line.trim(), 0));
            } else if let Some((_, below)) = &mut head {
                *below += 1;
            }
            let Some((judged, below)) = head.filter(|(_, below)| *below <= LINES_OF_A_JUDGEMENT) else {
                continue;
            };
            if !counts_none(line) && expect.iter().any(|word| line.contains(word.as_str())) {
                let more = if below > 0 {
                    format!(" {}", line.trim())
                } else {
                    String::new()
                };
                return Some(format!("{judged}{more}"));
            }
        }
        None
    }
}

/// So many lines below its first one belong to a judgement.
const LINES_OF_A_JUDGEMENT: usize = 40;

/// A line of a table that says that there is none, such as `lost   0`.
fn counts_none(line: &str) -> bool {
    line.split_whitespace().next_back() == Some("0")
}

/// The keys of `expect` that a report states to be something.
pub(crate) fn reported(report: &serde_json::Value, expect: &[String]) -> Option<String> {
    let found: Vec<String> = expect
        .iter()
        .filter_map(|key| match report.get(key)? {
            serde_json::Value::Null => None,
            serde_json::Value::Number(count) if count.as_f64() == Some(0.0) => None,
            serde_json::Value::Bool(said) => said.then(|| key.clone()),
            value => Some(format!("{key}: {value}")),
        })
        .collect();
    (!found.is_empty()).then(|| found.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
        [proof.sim]
        about = "the simulation"
        build = ["cargo", "build"]
        run = ["cargo", "run"]
        seconds = 60
        judgement = "SEED="

        [[mutant]]
        name = "no-fsync"
        rule = "1: an event counts once it is fsynced"
        breaks = "the spool does not sync"
        proof = "sim"
        expect = ["lost", "counted"]
        env = { SEEDS = "10" }
    "#;

    fn broken(from: &str, to: &str) -> String {
        assert!(TABLE.contains(from));
        let error = Table::parse(&TABLE.replace(from, to)).expect_err("the table is wrong");
        format!("{error:#}")
    }

    #[test]
    fn a_table_is_read() {
        let table = Table::parse(TABLE).unwrap();
        assert_eq!(table.mutant[0].env["SEEDS"], "10");
        assert!(!table.proof["sim"].programs);
        assert_eq!(table.select(&[]).unwrap().len(), 1);
        assert_eq!(table.select(&["no-fsync".to_owned()]).unwrap().len(), 1);
        let error = table.select(&["no-sync".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no-sync") && error.contains("no-fsync"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_table_is_named() {
        assert!(broken("proof = \"sim\"", "proof = \"chaos\"").contains("no proof \"chaos\""));
        assert!(broken("name = \"no-fsync\"", "name = \"../no\"").contains("../no"));
        assert!(broken("expect = [\"lost\", \"counted\"]", "expect = []").contains("expect"));
        assert!(broken("judgement = \"SEED=\"", "judgement = \"\"").contains("judgement"));
        assert!(broken("seconds = 60", "secs = 60").contains("secs"));
        let twice = format!("{TABLE}{}", TABLE.split("[[mutant]]").nth(1).unwrap());
        assert!(Table::parse(&twice).is_err());
        let (head, mutant) = TABLE.split_once("[[mutant]]").unwrap();
        let twice = format!("{head}[[mutant]]{mutant}[[mutant]]{mutant}");
        assert!(Table::parse(&twice).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn only_a_judgement_with_the_expected_word_is_a_finding() {
        let table = Table::parse(TABLE).unwrap();
        let (proof, expect) = (&table.proof["sim"], &table.mutant[0].expect);
        let output = "lost connection to the index\nSEED=3: stuck\n  SEED=7: event 5 was lost\n";
        assert_eq!(
            proof.finding(output, expect).as_deref(),
            Some("SEED=7: event 5 was lost")
        );
        assert_eq!(proof.finding("error: it was lost\nSEED=3: stuck", expect), None);
        let table = "SEED=3: broken:\n  lost     0\n  doubled  2\n";
        assert_eq!(proof.finding(table, expect), None);
        let table = "SEED=3: broken:\n  lost     1\n";
        assert_eq!(
            proof.finding(table, expect).as_deref(),
            Some("SEED=3: broken: lost     1")
        );
    }

    #[test]
    fn a_report_states_something_when_it_is_neither_zero_nor_null() {
        let expect = ["lost".to_owned(), "outstanding".to_owned()];
        let said = |text| reported(&serde_json::from_str(text).unwrap(), &expect);
        assert_eq!(said(r#"{"lost": 0, "outstanding": null, "duplicates": 7}"#), None);
        assert_eq!(said(r#"{"lost": 3}"#).as_deref(), Some("lost: 3"));
        assert_eq!(
            said(r#"{"lost": 0, "outstanding": "5 open"}"#).as_deref(),
            Some("outstanding: \"5 open\"")
        );
        assert_eq!(said("[]"), None);
    }

    #[test]
    fn the_committed_table_and_its_patches_belong_together() {
        let folder = super::super::folder();
        let text = std::fs::read_to_string(folder.join("mutants.toml")).unwrap();
        let table = Table::parse(&text).unwrap();
        let named: BTreeSet<_> = table.mutant.iter().map(|m| format!("{}.patch", m.name)).collect();
        let found: BTreeSet<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| {
                std::path::Path::new(name)
                    .extension()
                    .is_some_and(|kind| kind == "patch")
            })
            .collect();
        assert_eq!(named, found);
    }
}
